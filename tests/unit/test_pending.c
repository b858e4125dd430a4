// links: daemon
/* Requests between the mailbox and their answers: each leaves exactly once. */
#include "coordd/pending.h"
#include "tests/unit/cmocka_all.h"

static struct call *delivered[64];
static size_t delivered_count;
static struct lease_clock *clock; /* out of office */

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

static void sent(struct pending *pending, struct call *call, uint64_t origin)
{
    pending_add(pending, call);
    pending_sent(pending, call->number, origin);
}

/* Its entry was applied; with an outcome it was answered there, without it waits. */
static void applied(struct pending *pending, uint64_t origin, uint64_t request, uint64_t index,
                    enum outcome outcome)
{
    pending_reached(pending, origin, request, index);
    if (outcome)
        pending_answer(pending, &(struct answer){.to_index = index, .outcome = outcome}, index, NULL);
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
    sent(pending, call, 5);
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
    sent(pending, call, 5);
    assert_int_equal(pending_next_ms(pending), UINT64_MAX); /* its entry decides first */
    applied(pending, 5, call->number, 10, 0);
    assert_int_equal(pending_waiting(pending), 1);
    assert_int_equal(pending_next_ms(pending), 150);
    assert_false(pending_next_cancel(pending, 149, &cancel));
    pending_answer(pending, &(struct answer){.to_index = 10, .outcome = OUTCOME_CREATED}, 12, NULL);
    assert_int_equal(call->revision, 12);
    assert_int_equal(pending_next_ms(pending), UINT64_MAX);
    left(pending, call, OUTCOME_CREATED);
}

static void a_passed_deadline_is_cancelled_once_and_the_log_decides(void **state)
{
    struct pending *pending = *state;
    struct call *call = waiting_call(100, 50);
    struct wait_cancel_args cancel;
    sent(pending, call, 5);
    applied(pending, 5, call->number, 10, 0);
    assert_true(pending_next_cancel(pending, 150, &cancel));
    assert_true(cancel.index == 10 && cancel.reason == END_TIMEOUT);
    assert_false(pending_next_cancel(pending, 1000, &cancel));
    nobody_left(pending);
    pending_answer(pending, &(struct answer){.to_index = 10, .outcome = OUTCOME_CREATED}, 11,
                   NULL); /* the grant came first */
    pending_cancelled(pending, 10);
    left(pending, call, OUTCOME_CREATED);
}

static void a_client_that_goes_is_cancelled(void **state)
{
    struct pending *pending = *state;
    struct wait_cancel_args cancel;
    struct call *early = waiting_call(0, 60000), *late = waiting_call(0, 60000);
    sent(pending, early, 5);
    sent(pending, late, 5);
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
    pending_answer(pending, &(struct answer){.to_index = 11, .outcome = OUTCOME_CREATED}, 12, NULL);
    pending_cancelled(pending, 11);
    left(pending, late, OUTCOME_CREATED);
}

static void stopping_answers_everybody_once(void **state)
{
    struct pending *pending = *state;
    struct call *calls[40];
    for (size_t i = 0; i < 40; i++) {
        calls[i] = waiting_call(0, 60000);
        sent(pending, calls[i], 5);
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

/* --- leases in answers --- */

struct granted {
    uint64_t token, expires_in_ms, other_in_ms;
};
static const struct field granted_fields[] = {
    {.number = 1, .type = FIELD_UINT, .offset = offsetof(struct granted, token), .name = "token"},
    {.number = 2,
     .type = FIELD_REMAINING,
     .offset = offsetof(struct granted, expires_in_ms),
     .name = "expires"},
    {.number = 3, .type = FIELD_REMAINING, .offset = offsetof(struct granted, other_in_ms), .name = "other"},
};
static const struct record granted_record = RECORD("granted", granted, granted_fields);

static struct answer granting(uint64_t to_index, const struct granted *granted)
{
    return (struct answer){
        .to_index = to_index, .outcome = OUTCOME_CREATED, .shape = &granted_record, .data = granted};
}

/* Out of office too: it holds for its whole time, counted from when the client sent the request. */
static void a_grant_of_the_own_entry_needs_no_question(void **state)
{
    struct pending *pending = *state;
    struct call *call = waiting_call(1000, 0);
    struct lease_change begun = {.lease = 77, .ttl_ms = 5000};
    struct granted granted = {12, 77, 0};
    struct answer answer = granting(10, &granted);
    pending_clock(pending, clock, 1200);
    sent(pending, call, 5);
    pending_reached(pending, 5, call->number, 10);
    pending_answer(pending, &answer, 10, &begun);
    assert_null(pending_unresolved(pending));
    assert_int_equal(((const struct granted *)call->result)->expires_in_ms, 5000);
    left(pending, call, OUTCOME_CREATED);
}

/* Whoever waited was granted by another entry; and other leases are the leader's to tell. */
static void other_leases_are_asked_for(void **state)
{
    struct pending *pending = *state;
    struct lease_change begun = {.lease = 77, .ttl_ms = 5000};
    struct granted granted = {12, 77, 78};
    for (uint64_t revision = 10; revision <= 11; revision++) {
        struct call *call = waiting_call(1000, 50);
        struct answer answer = granting(10, &granted);
        sent(pending, call, 5);
        pending_reached(pending, 5, call->number, 10);
        pending_answer(pending, &answer, revision, &begun);
        nobody_left(pending);
        struct unresolved *unresolved = pending_unresolved(pending);
        assert_ptr_equal(unresolved->call, call);
        assert_int_equal(unresolved->count, 2);
        assert_true(unresolved->leases[0] == 77 && unresolved->leases[1] == 78);
        assert_null(pending_unresolved(pending));
        pending_resolve(pending, unresolved, (uint64_t[]){41, 42});
        const struct granted *told = call->result;
        assert_true(told->token == 12 && told->expires_in_ms == 41 && told->other_in_ms == 42);
        left(pending, call, OUTCOME_CREATED);
    }
}

static void a_stale_answer_does_not_guess(void **state)
{
    struct pending *pending = *state;
    struct call *call = waiting_call(1000, 0);
    struct granted granted = {12, 77, 0};
    struct answer answer = granting(0, &granted);
    pending_reply_stale(pending, call, &answer, 9);
    assert_true(((const struct granted *)call->result)->expires_in_ms == RECORD_UNKNOWN);
    left(pending, call, OUTCOME_CREATED);
}

/* --- fates that cannot be seen --- */

static void a_call_that_was_never_proposed_can_end(void **state)
{
    struct pending *pending = *state;
    struct call *call = waiting_call(0, 0);
    pending_add(pending, call);
    uint64_t number = call->number;
    assert_true(pending_end(pending, number, OUTCOME_NO_LEADER, "why"));
    assert_true(slice_is(call->detail, "why"));
    left(pending, call, OUTCOME_NO_LEADER);
    assert_false(pending_end(pending, number, OUTCOME_NO_LEADER, ""));
}

static void a_proposal_sent_again_is_known_by_its_new_origin(void **state)
{
    struct pending *pending = *state;
    struct call *call = waiting_call(0, 0);
    sent(pending, call, 5);
    pending_sent(pending, call->number, 6);
    applied(pending, 5, call->number, 10, OUTCOME_OK);
    nobody_left(pending);
    applied(pending, 6, call->number, 11, OUTCOME_OK);
    left(pending, call, OUTCOME_OK);
}

static void who_waits_is_let_go_when_entries_are_skipped(void **state)
{
    struct pending *pending = *state;
    struct call *waits = waiting_call(0, 60000), *queued = waiting_call(0, 0);
    sent(pending, waits, 5);
    applied(pending, 5, waits->number, 10, 0);
    pending_add(pending, queued);
    pending_stop_sent(pending);
    left(pending, waits, OUTCOME_OUTCOME_UNKNOWN);
    assert_true(pending_end(pending, queued->number, OUTCOME_NO_LEADER, ""));
    left(pending, queued, OUTCOME_NO_LEADER);
}

static int set_up(void **state)
{
    struct pending *pending = pending_new();
    clock = lease_clock_new(100);
    pending_clock(pending, clock, 0);
    *state = pending;
    return 0;
}

static int tear_down(void **state)
{
    pending_free(*state);
    lease_clock_free(clock);
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
        cmocka_unit_test_setup_teardown(a_grant_of_the_own_entry_needs_no_question, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_leases_are_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stale_answer_does_not_guess, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_call_that_was_never_proposed_can_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_proposal_sent_again_is_known_by_its_new_origin, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_waits_is_let_go_when_entries_are_skipped, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
