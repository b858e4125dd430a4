// links: daemon
/* Peer links by their contract: greetings, frames, ends and new beginnings, limits. */
#include "tests/unit/peers_test.h"

#include <poll.h>
#include <sys/eventfd.h>

static void frames_go_both_ways_over_one_connection(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7), *b = party_new(2, 7);
    assert_false(peers_send(a->peers, 2, slice_text("nobody yet")));
    follow(a, 2, b->address);
    UNTIL(a->greetings && b->greetings);
    assert_true(is_up(a, 2) && is_up(b, 1));
    assert_string_equal(a->greeted_name, "n2");
    assert_int_equal(b->from, 1);
    assert_int_equal(b->cluster, 7);
    assert_true(peers_send(a->peers, 2, slice_text("there")));
    assert_true(peers_send(b->peers, 1, slice_text("and back")));
    assert_false(peers_send(a->peers, 3, slice_text("to nobody")));
    UNTIL(a->frames && b->frames);
    assert_memory_equal(b->last.data, "there", b->last.size);
    assert_memory_equal(a->last.data, "and back", a->last.size);
    assert_int_equal(a->greetings, 1);
}

static void a_greeting_says_what_is_advertised(void **state)
{
    (void)state;
    struct party *a = party_make(1, 7), *b = party_new(2, 0);
    a->settings.advertise = "node1.example:7070";
    party_open(a);
    assert_string_equal(peers_address(a->peers), "node1.example:7070");
    follow(a, 0, b->address);
    UNTIL(a->greetings && b->greetings);
    assert_string_equal(b->greeted_name, "n1");
    assert_string_equal(b->greeted_address, "node1.example:7070");
    assert_int_equal(a->cluster, 0);
    assert_int_equal(a->from, 2);
}

static void frames_of_all_sizes_come_whole_and_in_order(void **state)
{
    (void)state;
    static const size_t sizes[] = {4, 5, 100, 4096, 65536, PEERS_FRAME_MAX - 1, 4, PEERS_FRAME_MAX};
    struct party *a = party_new(1, 7), *b = party_new(2, 7);
    follow(a, 2, b->address);
    UNTIL(is_up(a, 2) && is_up(b, 1));
    assert_false(peers_send(a->peers, 2, slice_of(NULL, 0)));
    uint8_t *too_long = memory_new(PEERS_FRAME_MAX + 1);
    assert_false(peers_send(a->peers, 2, slice_of(too_long, PEERS_FRAME_MAX + 1)));
    free(too_long);
    size_t count = sizeof sizes / sizeof *sizes, bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        assert_true(send_numbered(a, 2, i, sizes[i]));
        bytes += sizes[i];
    }
    UNTIL(b->frames == count);
    assert_true(b->in_order);
    assert_int_equal(b->bytes, bytes);
    assert_int_equal(b->last.size, PEERS_FRAME_MAX);
    assert_int_equal(b->last.data[PEERS_FRAME_MAX - 1], count - 1);
}

static void both_may_dial_each_other(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7), *b = party_new(2, 7);
    follow(a, 2, b->address);
    follow(b, 1, a->address);
    UNTIL(a->greetings == 2 && b->greetings == 2);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(send_numbered(a, 2, i, 100));
        assert_true(send_numbered(b, 1, i, 100));
    }
    UNTIL(a->frames == 1000 && b->frames == 1000);
    assert_true(a->in_order && b->in_order);
}

static void who_comes_back_is_dialled_again(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7), *b = party_new(2, 7);
    follow(a, 2, b->address);
    UNTIL(is_up(a, 2));
    char listen_at[64];
    memcpy(listen_at, b->address, sizeof listen_at);
    party_close(b);
    UNTIL(!is_up(a, 2));
    assert_false(send_numbered(a, 2, 0, 4));
    UNTIL(peers_state(a->peers, 2).error[0]);
    step_for(150);
    b->settings.listen = listen_at;
    party_open(b);
    UNTIL(is_up(a, 2) && is_up(b, 1));
    assert_true(send_numbered(a, 2, 0, 4));
    UNTIL(b->frames == 1);
}

static void a_new_address_is_followed_and_the_old_link_ends(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7), *b = party_new(2, 7), *c = party_new(3, 7);
    follow(a, 2, b->address);
    UNTIL(is_up(a, 2));
    follow(a, 2, b->address); /* the same again changes nothing */
    step_for(50);
    assert_int_equal(a->greetings, 1);
    follow(a, 3, c->address);
    UNTIL(is_up(a, 3) && !is_up(a, 2) && !is_up(b, 1));
    peers_follow(a->peers, NULL, 0);
    UNTIL(!is_up(a, 3) && !is_up(c, 1));
}

static void another_node_at_the_address_is_not_taken(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7), *b = party_new(2, 7);
    follow(a, 3, b->address);
    UNTIL(error_says(a, 3, "another node"));
    assert_false(is_up(b, 1));
    assert_int_equal(a->greetings + b->greetings, 0);
}

static void a_node_of_another_cluster_is_refused(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7), *b = party_new(2, 8);
    follow(a, 2, b->address);
    UNTIL(error_says(a, 2, "another cluster"));
    assert_int_equal(a->greetings + b->greetings, 0);
}

static void a_node_does_not_talk_to_itself(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7);
    follow(a, 0, a->address);
    UNTIL(error_says(a, 0, "itself"));
    assert_int_equal(a->greetings, 0);
}

static void who_finds_a_cluster_greets_anew(void **state)
{
    (void)state;
    struct party *a = party_new(1, 0), *b = party_new(2, 7);
    follow(a, 0, b->address);
    UNTIL(a->greetings == 1 && b->greetings == 1);
    assert_int_equal(b->cluster, 0);
    peers_identify(a->peers, 7);
    UNTIL(a->greetings == 2 && b->greetings == 2);
    assert_int_equal(b->cluster, 7);
    peers_identify(a->peers, 9);
    UNTIL(error_says(a, 0, "another cluster"));
}

static void a_queue_has_its_limit_and_empties(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7), *b = party_new(2, 7);
    follow(a, 2, b->address);
    UNTIL(is_up(a, 2) && is_up(b, 1));
    uint32_t sent = 0;
    const size_t size = 1 << 20;
    while (sent < 100 && send_numbered(a, 2, sent, size)) { /* nobody reads */
        sent++;
        peers_flush(a->peers);
    }
    assert_in_range(sent, 15, 16 + 12); /* the queue and what the kernel takes */
    UNTIL(b->frames == sent);
    assert_true(b->in_order);
    assert_true(send_numbered(a, 2, sent, size));
    UNTIL(b->frames == sent + 1);
    assert_true(b->in_order);
}

static void a_silent_peer_is_given_up(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7), *b = party_new(2, 7);
    follow(a, 2, b->address);
    UNTIL(is_up(a, 2) && is_up(b, 1));
    step_for(8 * HEARTBEAT_MS + 600); /* idle is not silent */
    assert_int_equal(a->greetings, 1);
    b->frozen = true;
    uint64_t begin_ms = boottime_ms();
    UNTIL(!is_up(a, 2));
    assert_true(boottime_ms() - begin_ms >= 400);
    b->frozen = false;
    UNTIL(is_up(a, 2) && is_up(b, 1));
}

static void who_slept_first_reads_what_came_meanwhile(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7), *b = party_make(2, 7);
    b->settings.heartbeat_ms = 1000; /* more patient than a is */
    party_open(b);
    follow(a, 2, b->address);
    UNTIL(is_up(a, 2) && is_up(b, 1));
    a->frozen = true;
    step_for(5 * HEARTBEAT_MS + 500 + 300);
    a->frozen = false;
    step_for(200);
    assert_true(is_up(a, 2) && is_up(b, 1));
    assert_int_equal(a->greetings, 1);
}

/* A whole machine that stood still: whoever wakes first finds nothing of the others, and waits for them. */
static void nobody_is_silent_while_all_stand_still(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7), *b = party_new(2, 7);
    follow(a, 2, b->address);
    UNTIL(is_up(a, 2) && is_up(b, 1));
    step_for(3 * HEARTBEAT_MS);
    poll(NULL, 0, 5 * HEARTBEAT_MS + 500 + 300);
    b->frozen = true;
    for (int i = 0; i < 20; i++) step_all();
    b->frozen = false;
    step_for(200);
    assert_true(is_up(a, 2) && is_up(b, 1));
    assert_int_equal(a->greetings, 1);
}

/* h2o has still to report what was written when the link ends, in each of the ways it can. */
static void links_may_end_while_they_write(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7), *b = party_new(2, 7);
    uint32_t number = 0;
    for (int i = 0; i < 6; i++) {
        follow(a, 2, b->address);
        UNTIL(is_up(a, 2) && is_up(b, 1));
        step_for(3);
        assert_true(send_numbered(a, 2, number++, i % 2 ? 4 : PEERS_FRAME_MAX)); /* complete, or not */
        peers_flush(a->peers);
        if (i / 2 == 0)
            peers_follow(a->peers, NULL, 0);
        else if (i / 2 == 1)
            peers_identify(a->peers, 7);
        else
            party_close(a);
        if (!a->peers) party_open(a);
        UNTIL(!is_up(a, 2));
        UNTIL(!is_up(b, 1));
    }
    assert_true(b->bytes % 4 == 0);
}

static void a_readable_descriptor_ends_the_wait(void **state)
{
    (void)state;
    for (int with_port = 0; with_port < 2; with_port++) {
        int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        struct party *a = party_make(1, 7);
        if (!with_port) a->settings.listen = NULL;
        a->settings.wake = wake;
        party_open(a);
        uint64_t begin_ms = boottime_ms();
        peers_wait(a->peers, 0);
        assert_true(boottime_ms() - begin_ms < 5000); /* its longest wait is twice that */
        for (uint64_t until_ms = begin_ms + 60; boottime_ms() < until_ms;) peers_wait(a->peers, until_ms);
        assert_true(boottime_ms() - begin_ms >= 60);
        eventfd_write(wake, 1);
        begin_ms = boottime_ms();
        peers_wait(a->peers, begin_ms + 60000);
        peers_wait(a->peers, begin_ms + 60000); /* it was not read: still readable */
        assert_true(boottime_ms() - begin_ms < 30000);
        party_close(a);
        eventfd_t count;
        assert_int_equal(eventfd_read(wake, &count), 0); /* the descriptor stays its owner's */
        close(wake);
    }
}

static void names_are_looked_up(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7), *b = party_new(2, 7);
    char address[64];
    snprintf(address, sizeof address, "localhost:%u", peers_port(b->peers));
    follow(a, 2, address);
    UNTIL(is_up(a, 2));
    follow(a, 2, "no port");
    UNTIL(!is_up(a, 2) && peers_state(a->peers, 2).error[0]);
    follow(a, 2, "name.invalid:1");
    step_for(100); /* whatever the resolver says and when: nothing hangs, also not the end */
    follow(a, 2, address);
    UNTIL(is_up(a, 2));
}

static void refuses(const char *listen_at, const char *advertise, const char *text)
{
    char error[512] = "";
    struct peers_settings settings = {.identity = {7, 1, "n1"},
                                      .listen = listen_at,
                                      .advertise = advertise,
                                      .wake = -1,
                                      .heartbeat_ms = HEARTBEAT_MS};
    struct peers *peers = peers_open(&settings, error, sizeof error);
    assert_null(peers);
    if (!strstr(error, text)) fail_msg("\"%s\" does not say \"%s\"", error, text);
}

static void addresses_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct party *a = party_new(1, 7);
    char long_name[200] = "";
    memset(long_name, 'x', sizeof long_name - 1);
    refuses("0.0.0.0:0", NULL, "secret");
    refuses("[::]:0", NULL, "head -c 32 /dev/urandom");
    refuses("192.0.2.1:0", NULL, "secret");
    refuses("127.0.0.1", NULL, "127.0.0.1");
    refuses("127.0.0.1:", NULL, "127.0.0.1:");
    refuses(a->address, NULL, "in use");
    refuses("127.0.0.1:0", long_name, "--advertise-peer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(frames_go_both_ways_over_one_connection, parties_close),
        cmocka_unit_test_teardown(a_greeting_says_what_is_advertised, parties_close),
        cmocka_unit_test_teardown(frames_of_all_sizes_come_whole_and_in_order, parties_close),
        cmocka_unit_test_teardown(both_may_dial_each_other, parties_close),
        cmocka_unit_test_teardown(who_comes_back_is_dialled_again, parties_close),
        cmocka_unit_test_teardown(a_new_address_is_followed_and_the_old_link_ends, parties_close),
        cmocka_unit_test_teardown(another_node_at_the_address_is_not_taken, parties_close),
        cmocka_unit_test_teardown(a_node_of_another_cluster_is_refused, parties_close),
        cmocka_unit_test_teardown(a_node_does_not_talk_to_itself, parties_close),
        cmocka_unit_test_teardown(who_finds_a_cluster_greets_anew, parties_close),
        cmocka_unit_test_teardown(a_queue_has_its_limit_and_empties, parties_close),
        cmocka_unit_test_teardown(a_silent_peer_is_given_up, parties_close),
        cmocka_unit_test_teardown(who_slept_first_reads_what_came_meanwhile, parties_close),
        cmocka_unit_test_teardown(nobody_is_silent_while_all_stand_still, parties_close),
        cmocka_unit_test_teardown(links_may_end_while_they_write, parties_close),
        cmocka_unit_test_teardown(a_readable_descriptor_ends_the_wait, parties_close),
        cmocka_unit_test_teardown(names_are_looked_up, parties_close),
        cmocka_unit_test_teardown(addresses_that_cannot_be_are_refused, parties_close),
    };
    return cmocka_run_group_tests(tests, sockets_may_break, NULL);
}
