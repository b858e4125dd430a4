// links: api lib
/* The mailboxes: order, one wake-up for many, barriers, the window; and two threads at once (TSan watches).
 */
#include "api/inbox.h"
#include "base/memory.h"
#include "tests/unit/cmocka_all.h"

#include <poll.h>
#include <sys/eventfd.h>

static struct mailbox *mailbox;

static int set_up(void **state)
{
    (void)state;
    mailbox = mailbox_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    mailbox_free(mailbox);
    return 0;
}

static bool readable(const struct api_loop *loop)
{
    struct pollfd poll_fd = {.fd = loop->event_fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}

static struct call *call_at(struct api_loop *home)
{
    struct call *call = call_new();
    call->home = home;
    return call;
}

static void calls_are_numbered_and_clean(void **state)
{
    (void)state;
    struct call *first = call_new();
    uint64_t number = first->number;
    first->stale = true;
    first->detail = arena_copy(&first->arena, SLICE("text"));
    call_free(first);
    struct call *second = call_new();
    assert_true(second->number > number);
    assert_false(second->stale);
    assert_int_equal(second->detail.size, 0);
    assert_null(second->request);
    call_free(second);
}

static void more_calls_than_are_kept_are_given_back(void **state)
{
    enum { MANY = 1000 };
    static struct call *calls[MANY];
    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        calls[i] = call_new();
        arena_alloc(&calls[i]->arena, 100000);
    }
    for (size_t i = 0; i < MANY; i++) call_free(calls[i]);
    for (size_t i = 0; i < MANY; i++) calls[i] = call_new();
    for (size_t i = 0; i < MANY; i++) call_free(calls[i]);
}

static void mail_keeps_its_order(void **state)
{
    (void)state;
    struct call *calls[4];
    for (size_t i = 0; i < 4; i++) calls[i] = call_new();
    calls[0]->next = calls[1];
    calls[2]->next = calls[3];
    mailbox_submit(mailbox, calls[0]);
    mailbox_submit(mailbox, NULL);
    mailbox_submit(mailbox, calls[2]);
    struct mail mail = mailbox_take(mailbox);
    struct call *at = mail.calls;
    for (size_t i = 0; i < 4; i++, at = at->next) assert_ptr_equal(at, calls[i]);
    assert_null(at);
    assert_null(mail.notices);
    for (size_t i = 0; i < 4; i++) call_free(calls[i]);
    mail = mailbox_take(mailbox);
    assert_null(mail.calls);
}

static void notices_keep_their_order(void **state)
{
    (void)state;
    struct notice *notices[3];
    for (size_t i = 0; i < 3; i++) {
        notices[i] = memory_new(sizeof *notices[i]);
        notices[i]->kind = NOTICE_GONE;
        mailbox_notify(mailbox, notices[i]);
    }
    struct notice *at = mailbox_take(mailbox).notices;
    for (size_t i = 0; i < 3; i++) {
        struct notice *next = at->next;
        assert_ptr_equal(at, notices[i]);
        free(at);
        at = next;
    }
    assert_null(at);
}

static bool mail_lies_there(int timeout_ms)
{
    struct pollfd watched = {.fd = mailbox_descriptor(mailbox), .events = POLLIN};
    return poll(&watched, 1, timeout_ms) == 1;
}

static void the_descriptor_tells_of_mail(void **state)
{
    (void)state;
    assert_false(mail_lies_there(0));
    mailbox_submit(mailbox, call_new());
    mailbox_submit(mailbox, call_new());
    assert_true(mail_lies_there(0));
    struct mail mail = mailbox_take(mailbox);
    assert_false(mail_lies_there(0));
    call_free(mail.calls->next);
    call_free(mail.calls);
    assert_null(mailbox_take(mailbox).calls);
}

static void answers_go_home_and_wake_once(void **state)
{
    (void)state;
    struct api_loop one = {0}, two = {0};
    inbox_open(&one, mailbox);
    inbox_open(&two, mailbox);
    struct call *calls[5];
    for (size_t i = 0; i < 5; i++) {
        calls[i] = call_at(i % 2 ? &two : &one);
        if (i) calls[i - 1]->next = calls[i];
    }
    assert_false(readable(&one));
    mailbox_deliver(calls[0]);
    assert_true(readable(&one) && readable(&two));
    struct call *more = call_at(&one);
    mailbox_deliver(more);
    eventfd_t wakes;
    assert_int_equal(eventfd_read(one.event_fd, &wakes), 0);
    assert_int_equal(wakes, 1);
    assert_int_equal(eventfd_write(one.event_fd, 1), 0);
    struct inbox inbox = inbox_take(&one);
    assert_false(readable(&one));
    assert_ptr_equal(inbox.calls, calls[0]);
    assert_ptr_equal(inbox.calls->next, calls[2]);
    assert_ptr_equal(inbox.calls->next->next, calls[4]);
    assert_ptr_equal(inbox.calls->next->next->next, more);
    assert_null(more->next);
    assert_ptr_equal(inbox_take(&two).calls, calls[1]);
    assert_ptr_equal(calls[1]->next, calls[3]);
    assert_null(inbox_take(&one).calls);
    for (size_t i = 0; i < 5; i++) call_free(calls[i]);
    call_free(more);
    inbox_close(&one);
    inbox_close(&two);
}

static void answers_nobody_took_are_freed(void **state)
{
    (void)state;
    struct api_loop loop = {0};
    inbox_open(&loop, mailbox);
    mailbox_deliver(call_at(&loop));
    mailbox_ask_barrier(mailbox, 1);
    inbox_close(&loop);
    assert_int_equal(mailbox_barrier_count(mailbox), 0);
}

static void barriers_are_asked_of_every_thread(void **state)
{
    (void)state;
    struct api_loop one = {0}, two = {0};
    inbox_open(&one, mailbox);
    inbox_open(&two, mailbox);
    assert_int_equal(mailbox_barrier_count(mailbox), 2);
    mailbox_ask_barrier(mailbox, 7);
    mailbox_ask_barrier(mailbox, 8);
    struct api_loop *loops[] = {&one, &two};
    for (size_t i = 0; i < 2; i++) {
        assert_true(readable(loops[i]));
        struct notice *notice = inbox_take(loops[i]).barriers;
        assert_int_equal(notice->kind, NOTICE_BARRIER);
        assert_int_equal(notice->number, 7);
        assert_int_equal(notice->next->number, 8);
        assert_null(notice->next->next);
        free(notice->next);
        free(notice);
    }
    inbox_close(&one);
    assert_int_equal(mailbox_barrier_count(mailbox), 1);
    inbox_close(&two);
}

static void a_wake_without_mail_is_a_wake(void **state)
{
    (void)state;
    struct api_loop loop = {0};
    inbox_open(&loop, mailbox);
    inbox_wake(&loop);
    inbox_wake(&loop);
    assert_true(readable(&loop));
    assert_null(inbox_take(&loop).calls);
    assert_false(readable(&loop));
    inbox_close(&loop);
}

static void the_window_shows_what_is_new(void **state)
{
    (void)state;
    uint64_t version = 0;
    struct node_view view = {.term = 3, .role = "leader"}, seen = {0};
    assert_non_null(mailbox_view(mailbox).role);
    assert_false(mailbox_view_newer(mailbox, &version, &seen));
    mailbox_show(mailbox, &view);
    assert_true(mailbox_view_newer(mailbox, &version, &seen));
    assert_int_equal(seen.term, 3);
    assert_false(mailbox_view_newer(mailbox, &version, &seen));
    view.term = 4;
    mailbox_show(mailbox, &view);
    assert_int_equal(mailbox_view(mailbox).term, 4);
    assert_true(mailbox_view_newer(mailbox, &version, &seen));
    assert_int_equal(seen.term, 4);
}

/* --- two threads --- */

enum { CALLS = 20000, BURST = 7 };

static void *node_thread(void *arg)
{
    struct node_view view = {.role = "leader"};
    (void)arg;
    for (size_t seen = 0; seen < CALLS;) {
        mail_lies_there(60000);
        struct mail mail = mailbox_take(mailbox);
        for (struct call *call = mail.calls; call; call = call->next) {
            call->revision = ++seen;
            view.applied = seen;
        }
        mailbox_show(mailbox, &view);
        mailbox_deliver(mail.calls);
    }
    return NULL;
}

static void two_threads_lose_nothing(void **state)
{
    (void)state;
    struct api_loop loop = {0};
    pthread_t thread;
    inbox_open(&loop, mailbox);
    assert_int_equal(pthread_create(&thread, NULL, node_thread, NULL), 0);
    uint64_t version = 0;
    struct node_view view = {0};
    size_t sent = 0, back = 0;
    while (back < CALLS) {
        struct call *list = NULL, **end = &list;
        for (size_t i = 0; i < BURST && sent < CALLS; i++, sent++) {
            *end = call_at(&loop);
            (*end)->arrived_ms = sent + 1;
            end = &(*end)->next;
        }
        mailbox_submit(mailbox, list);
        struct pollfd poll_fd = {.fd = loop.event_fd, .events = POLLIN};
        if (poll(&poll_fd, 1, sent < CALLS ? 0 : 60000) != 1) continue;
        for (struct call *call = inbox_take(&loop).calls, *next; call; call = next) {
            next = call->next;
            back++;
            assert_int_equal(call->arrived_ms, back);
            assert_int_equal(call->revision, back);
            call_free(call);
        }
        mailbox_view_newer(mailbox, &version, &view);
    }
    pthread_join(thread, NULL);
    mailbox_view_newer(mailbox, &version, &view);
    assert_int_equal(view.applied, CALLS);
    inbox_close(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(calls_are_numbered_and_clean, set_up, tear_down),
        cmocka_unit_test_setup_teardown(more_calls_than_are_kept_are_given_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mail_keeps_its_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(notices_keep_their_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_descriptor_tells_of_mail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_go_home_and_wake_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_nobody_took_are_freed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(barriers_are_asked_of_every_thread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wake_without_mail_is_a_wake, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_window_shows_what_is_new, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_threads_lose_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
