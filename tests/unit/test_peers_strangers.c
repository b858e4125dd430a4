// links: daemon
/* What no node does to a peer port: garbage, floods, half greetings, frames cut off; and signals meanwhile.
 */
#include "tests/unit/peers_test.h"

#include "coordd/peer_session.h"

#include <sys/time.h>

static struct party *a, *b;

/* Two nodes with a link between them. */
static int make_two(void **state)
{
    (void)state;
    a = party_new(1, 7);
    b = party_new(2, 7);
    follow(a, 2, b->address);
    UNTIL(is_up(a, 2) && is_up(b, 1));
    return 0;
}

static void assert_undisturbed(void)
{
    assert_true(send_numbered(a, 2, b->next_number, 1000));
    size_t before = b->frames;
    UNTIL(b->frames == before + 1);
    assert_true(b->in_order);
    assert_int_equal(a->greetings, 1);
    assert_int_equal(b->greetings, 1);
}

static void say(int fd, const void *bytes, size_t size)
{
    assert_int_equal(send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL), size);
}

static void whoever_says_something_else_is_closed(void **state)
{
    (void)state;
    static const char http[] = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";
    uint8_t noise[100000];
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)(i * 167 + (i >> 8));
    int one = raw_connect(b), other = raw_connect(b), third = raw_connect(b);
    say(one, http, sizeof http - 1);
    say(other, noise, sizeof noise);
    say(third, "refused!", 8); /* the beginning of a refusal, and no more */
    UNTIL(raw_closed(one));
    UNTIL(raw_closed(other));
    UNTIL(raw_closed(third));
    close(one);
    close(other);
    close(third);
    assert_undisturbed();
}

static void whoever_is_slow_is_closed(void **state)
{
    (void)state;
    int silent = raw_connect(b), half = raw_connect(b);
    say(half, "coordpr1\1\0\0\0", 12);
    uint64_t begin_ms = boottime_ms();
    UNTIL(raw_closed(silent));
    UNTIL(raw_closed(half));
    assert_true(boottime_ms() - begin_ms >= 500);
    close(silent);
    close(half);
    assert_undisturbed();
}

static void a_flood_of_strangers_keeps_no_node_out(void **state)
{
    (void)state;
    int flood[400];
    size_t count = sizeof flood / sizeof *flood;
    for (size_t i = 0; i < count; i++) {
        flood[i] = raw_connect(b);
        if (i % 20 == 19) step_all();
    }
    struct party *c = party_new(3, 7);
    follow(c, 2, b->address);
    UNTIL(is_up(c, 2) && is_up(b, 3));
    assert_true(is_up(a, 2));
    assert_int_equal(a->greetings, 1);
    for (size_t i = 0; i < count; i++) {
        UNTIL(raw_closed(flood[i]));
        close(flood[i]);
    }
}

/* A greeting as node `node` and "ready": up, without a secret. */
static int intruder(uint64_t node)
{
    struct peer_greeting greeting = {
        .version = PEER_VERSION, .cluster = 7, .from = node, .name = "n4", .address = "127.0.0.1:1"};
    struct buffer bytes = {0};
    uint8_t head[PEER_HEAD_SIZE];
    peer_greeting_encode(&greeting, &bytes);
    peer_head_encode(slice_of(NULL, 0), head);
    buffer_add(&bytes, head, sizeof head);
    int fd = raw_connect(b);
    say(fd, bytes.data, bytes.size);
    buffer_free(&bytes);
    UNTIL(is_up(b, node));
    return fd;
}

static void a_frame_that_is_damaged_or_too_long_ends_the_connection(void **state)
{
    (void)state;
    uint8_t head[PEER_HEAD_SIZE];
    static const uint32_t sizes[] = {PEERS_FRAME_MAX + 1, UINT32_MAX, 3};
    for (size_t i = 0; i < 3; i++) {
        int fd = intruder(4);
        peer_head_encode(slice_text("abc"), head);
        memcpy(head, &sizes[i], sizeof sizes[i]);
        say(fd, head, sizeof head);
        if (i == 2) say(fd, "abd", 3);
        UNTIL(raw_closed(fd) && !is_up(b, 4));
        close(fd);
        assert_int_equal(b->frames, 0);
    }
}

static void a_frame_that_is_cut_off_does_not_come(void **state)
{
    (void)state;
    uint8_t head[PEER_HEAD_SIZE];
    int fd = intruder(4);
    peer_head_encode(slice_text("abcd"), head);
    say(fd, head, sizeof head);
    say(fd, "abc", 3);
    step_for(50);
    assert_true(is_up(b, 4));
    close(fd);
    UNTIL(!is_up(b, 4));
    assert_int_equal(b->frames, 0);
}

static void the_newest_connection_of_a_node_counts(void **state)
{
    (void)state;
    int first = intruder(4), second = intruder(4);
    UNTIL(raw_closed(first));
    assert_true(is_up(b, 4) && !raw_closed(second));
    size_t greetings = b->greetings;
    assert_int_equal(greetings, 3); /* of node 1, and of each of these */
    close(first);
    close(second);
}

static void nothing(int signal_number)
{
    (void)signal_number;
}

/* A signal cuts a pass of h2o's loop short: that is no error, and nothing is lost or hangs. */
static void signals_change_nothing(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = nothing};
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (uint32_t i = 0; i < 200; i++) {
        bool up = is_up(a, 2);
        if (up) send_numbered(a, 2, b->next_number, 20000);
        peers_flush(a->peers);
        if (up && i % 3 == 2) peers_follow(a->peers, NULL, 0);
        if (!up) follow(a, 2, b->address);
        step_all();
        if (!b->in_order) b->in_order = true; /* ends lose frames here */
    }
    follow(a, 2, b->address);
    UNTIL(is_up(a, 2) && is_up(b, 1));
    setitimer(ITIMER_REAL, &never, NULL);
    size_t before = b->frames;
    assert_true(send_numbered(a, 2, 0, 1000));
    UNTIL(b->frames > before);
    signal(SIGALRM, SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whoever_says_something_else_is_closed, make_two, parties_close),
        cmocka_unit_test_setup_teardown(whoever_is_slow_is_closed, make_two, parties_close),
        cmocka_unit_test_setup_teardown(a_flood_of_strangers_keeps_no_node_out, make_two, parties_close),
        cmocka_unit_test_setup_teardown(a_frame_that_is_damaged_or_too_long_ends_the_connection, make_two,
                                        parties_close),
        cmocka_unit_test_setup_teardown(a_frame_that_is_cut_off_does_not_come, make_two, parties_close),
        cmocka_unit_test_setup_teardown(the_newest_connection_of_a_node_counts, make_two, parties_close),
        cmocka_unit_test_setup_teardown(signals_change_nothing, make_two, parties_close),
    };
    return cmocka_run_group_tests(tests, sockets_may_break, NULL);
}
