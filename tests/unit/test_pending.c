// links: daemon
/* Requests between the mailbox and their answers: each leaves exactly once, by one of the five reasons. */
#include "coordd/pending.h"
#include "tests/unit/cmocka_all.h"

static struct call *delivered[64];
static size_t delivered_count;

/* The api's end of the mailbox, here an array. */
void mailbox_deliver(struct call *calls)
{
    for (struct call *call = calls; call; call = call->next) delivered[delivered_count++] = call;
}

struct call *call_new(void)
{
    static uint64_t number;
    struct call *call = test_calloc(1, sizeof *call);
    call->number = ++number;
    return call;
}

void call_free(struct call *call)
{
    arena_free(&call->arena);
    test_free(call);
}

static struct call *waiting_call(uint64_t arrived_ms, uint64_t wait_ms)
{
    struct call *call = call_new();
    call->arrived_ms = arrived_ms;
    call->wait_ms = wait_ms;
    return call;
}

/* Its entry was applied; with an outcome it was answered there, without it waits. */
static void applied(struct pending *pending, uint64_t origin, uint64_t request, uint64_t index,
                    enum outcome outcome)
{
    pending_reached(pending, origin, request, index);
    if (outcome) pending_answer(pending, &(struct answer){.to_index = index, .outcome = outcome}, index);
    pending_applied(pending, index);
}

static void left(struct pending *pending, struct call *call, enum outcome outcome)
{
    delivered_count = 0;
    pending_deliver(pending);
    assert_int_equal(delivered_count, 1);
    assert_ptr_equal(delivered[0], call);
    assert_int_equal(call->outcome, outcome);
    delivered_count = 0;
    pending_deliver(pending);
    assert_int_equal(delivered_count, 0);
    call_free(call);
}

static void nobody_left(struct pending *pending)
{
    delivered_count = 0;
    pending_deliver(pending);
    assert_int_equal(delivered_count, 0);
}

static void an_entry_answers_its_request(void **state)
{
    struct pending *pending = *state;
    struct call *call = waiting_call(0, 0);
    pending_add(pending, call, 5);
    applied(pending, 6, call->number, 9, OUTCOME_OK); /* another process's request of that number */
    nobody_left(pending);
    applied(pending, 5, call->number, 10, OUTCOME_CREATED);
    assert_int_equal(call->revision, 10);
    left(pending, call, OUTCOME_CREATED);
}

static void a_later_entry_answers_who_waits(void **state)
{
    struct pending *pending = *state;
    struct call *call = waiting_call(100, 50);
    struct wait_cancel_args cancel;
    pending_add(pending, call, 5);
    assert_int_equal(pending_next_ms(pending), UINT64_MAX); /* its entry decides first */
    applied(pending, 5, call->number, 10, 0);
    assert_int_equal(pending_waiting(pending), 1);
    assert_int_equal(pending_next_ms(pending), 150);
    assert_false(pending_next_cancel(pending, 149, &cancel));
    pending_answer(pending, &(struct answer){.to_index = 10, .outcome = OUTCOME_CREATED}, 12);
    assert_int_equal(call->revision, 12);
    assert_int_equal(pending_next_ms(pending), UINT64_MAX);
    left(pending, call, OUTCOME_CREATED);
}

static void a_passed_deadline_is_cancelled_once_and_the_log_decides(void **state)
{
    struct pending *pending = *state;
    struct call *call = waiting_call(100, 50);
    struct wait_cancel_args cancel;
    pending_add(pending, call, 5);
    applied(pending, 5, call->number, 10, 0);
    assert_true(pending_next_cancel(pending, 150, &cancel));
    assert_true(cancel.index == 10 && cancel.reason == END_TIMEOUT);
    assert_false(pending_next_cancel(pending, 1000, &cancel));
    nobody_left(pending);
    pending_answer(pending, &(struct answer){.to_index = 10, .outcome = OUTCOME_CREATED},
                   11); /* the grant came first */
    pending_cancelled(pending, 10);
    left(pending, call, OUTCOME_CREATED);
}

static void a_client_that_goes_is_cancelled(void **state)
{
    struct pending *pending = *state;
    struct wait_cancel_args cancel;
    struct call *early = waiting_call(0, 60000), *late = waiting_call(0, 60000);
    pending_add(pending, early, 5);
    pending_add(pending, late, 5);
    pending_gone(pending, early->number); /* before its entry was applied */
    assert_false(pending_next_cancel(pending, 1000, &cancel));
    applied(pending, 5, early->number, 10, 0);
    applied(pending, 5, late->number, 11, 0);
    assert_true(pending_next_cancel(pending, 1000, &cancel));
    assert_true(cancel.index == 10 && cancel.reason == END_CLIENT_GONE);
    assert_false(pending_next_cancel(pending, 1000, &cancel));
    pending_cancelled(pending, 10);
    left(pending, early, OUTCOME_WAIT_BROKEN_OFF);
    pending_gone(pending, late->number);
    pending_gone(pending, 4711); /* long gone */
    assert_true(pending_next_cancel(pending, 1000, &cancel) && cancel.index == 11);
    pending_answer(pending, &(struct answer){.to_index = 11, .outcome = OUTCOME_CREATED}, 12);
    pending_cancelled(pending, 11);
    left(pending, late, OUTCOME_CREATED);
}

static void stopping_answers_everybody_once(void **state)
{
    struct pending *pending = *state;
    struct call *calls[40];
    for (size_t i = 0; i < 40; i++) {
        calls[i] = waiting_call(0, 60000);
        pending_add(pending, calls[i], 5);
        if (i % 2) applied(pending, 5, calls[i]->number, 100 + i, 0);
    }
    pending_stop(pending, OUTCOME_SHUTTING_DOWN, OUTCOME_OUTCOME_UNKNOWN);
    delivered_count = 0;
    pending_deliver(pending);
    assert_int_equal(delivered_count, 40);
    for (size_t i = 0; i < 40; i++) {
        assert_int_equal(calls[i]->outcome, i % 2 ? OUTCOME_SHUTTING_DOWN : OUTCOME_OUTCOME_UNKNOWN);
        call_free(calls[i]);
    }
    assert_int_equal(pending_waiting(pending), 0);
}

static int set_up(void **state)
{
    *state = pending_new();
    return 0;
}

static int tear_down(void **state)
{
    pending_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_entry_answers_its_request, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_later_entry_answers_who_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_passed_deadline_is_cancelled_once_and_the_log_decides, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_goes_is_cancelled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stopping_answers_everybody_once, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
