// links: storage lib
/* What a node takes as a snapshot, and what it does not; full disks, and starts in between. */
#include "tests/unit/snapshot_test.h"

static void nothing_is_changed(struct fixture *f)
{
    struct state_mark before = state_mark(f->to.contents.state);
    reopen_side(f, &f->to);
    struct state_mark after = state_mark(f->to.contents.state);
    assert_memory_equal(&before, &after, sizeof before);
    assert_false(exists(f->to.path, "state-2"));
    assert_false(exists(f->to.path, "state-2.new"));
    assert_string_equal(f->to.contents.found.state_dir, "state-1");
}

static void begin(struct fixture *f)
{
    make_rows(&f->from, 4000, 300);
    make_rows(&f->to, 10, 10);
    write_snapshot(f);
    assert_true(snapshot_chunks(f->snapshot) == 5);
    assert_true(begin_receiving(f));
}

static void begin_again(struct fixture *f)
{
    stop_receiving(f);
    assert_false(exists(f->to.path, "state-2"));
    assert_true(begin_receiving(f));
}

static void chunks_are_taken_in_order_only(void **state)
{
    struct fixture *f = *state;
    begin(f);
    assert_int_equal(snapshot_intake_chunk(f->intake, 1, chunk_of(f, 1)), INTAKE_BAD);
    for (uint64_t wrong = 0; wrong < 5; wrong++) {
        if (wrong == 2) continue;
        begin_again(f);
        hand_over(f, 0, 1);
        assert_int_equal(snapshot_intake_chunk(f->intake, wrong, chunk_of(f, wrong)), INTAKE_BAD);
        /* refused once, it is over */
        assert_int_equal(snapshot_intake_chunk(f->intake, 2, chunk_of(f, 2)), INTAKE_BAD);
    }
    begin_again(f);
    hand_over(f, 0, 0); /* as the second: sealed with another number */
    assert_int_equal(snapshot_intake_chunk(f->intake, 1, chunk_of(f, 2)), INTAKE_BAD);
    begin_again(f);
    hand_over(f, 0, 4);
    assert_int_equal(snapshot_intake_chunk(f->intake, 4, chunk_of(f, 4)), INTAKE_BAD);
    assert_int_equal(snapshot_intake_chunk(f->intake, 5, chunk_of(f, 4)), INTAKE_BAD);
    assert_int_equal(switch_over(f), 0); /* that does not spoil what is whole */
    check_same(f);
}

static void every_flipped_bit_is_noticed(void **state)
{
    struct fixture *f = *state;
    begin(f);
    for (uint64_t number = 0; number < 5; number++) {
        struct slice chunk = chunk_of(f, number);
        uint8_t *bytes = arena_alloc(&f->arena, chunk.size);
        memcpy(bytes, chunk.data, chunk.size);
        for (size_t at = 0; at < chunk.size; at += 1 + chunk.size / 50) {
            struct slice damaged = slice_of(bytes, chunk.size);
            bytes[at] ^= (uint8_t)(1 << at % 8);
            assert_int_equal(chunk_open(&damaged, number), 0);
            bytes[at] ^= (uint8_t)(1 << at % 8);
        }
        begin_again(f);
        if (number) hand_over(f, 0, number - 1);
        bytes[chunk.size - 1] ^= 1;
        assert_int_equal(snapshot_intake_chunk(f->intake, number, slice_of(bytes, chunk.size)), INTAKE_BAD);
        begin_again(f);
        if (number) hand_over(f, 0, number - 1);
        assert_int_equal(snapshot_intake_chunk(f->intake, number, slice_of(chunk.data, chunk.size - 1)),
                         INTAKE_BAD);
        begin_again(f);
        if (number) hand_over(f, 0, number - 1);
        assert_int_equal(snapshot_intake_chunk(f->intake, number, (struct slice){0}), INTAKE_BAD);
    }
    stop_receiving(f);
    nothing_is_changed(f);
}

/* Chunks made by hand, with right checksums. */
struct forged {
    struct snapshot_place place;
    const char *keys[4]; /* NULL: no more */
    uint64_t rows_more, digest_more;
    const char *trailing; /* behind the rows */
    bool no_rows, second_head, strange_kind;
};

static enum intake_result hand(struct fixture *f, struct buffer *chunk, uint64_t number)
{
    chunk_seal(chunk, number);
    return snapshot_intake_chunk(f->intake, number, buffer_slice(chunk));
}

static enum intake_result hand_forged(struct fixture *f, const struct forged *forged)
{
    struct buffer chunk = {0};
    uint64_t digest = 0, count = 0, number = 1;
    struct snapshot_place place = forged->place;
    for (; count < 4 && forged->keys[count]; count++)
        digest += row_hash(slice_text(forged->keys[count]), SLICE("value"));
    if (!place.digest) place.digest = digest;
    chunk_begin(&chunk, CHUNK_HEAD);
    chunk_add_head(&chunk, &place);
    enum intake_result result = hand(f, &chunk, 0);
    chunk_begin(&chunk, forged->strange_kind ? (enum chunk_kind)'X' : CHUNK_ROWS);
    for (uint64_t i = 0; i < count; i++) chunk_add_row(&chunk, slice_text(forged->keys[i]), SLICE("value"));
    if (forged->trailing) buffer_add_text(&chunk, forged->trailing);
    if (result == INTAKE_MORE && !forged->no_rows) result = hand(f, &chunk, number++);
    chunk_begin(&chunk, forged->second_head ? CHUNK_HEAD : CHUNK_END);
    if (forged->second_head)
        chunk_add_head(&chunk, &place);
    else
        chunk_add_end(&chunk, count + forged->rows_more, digest + forged->digest_more);
    if (result == INTAKE_MORE) result = hand(f, &chunk, number);
    buffer_free(&chunk);
    return result;
}

static void what_does_not_agree_with_itself_is_not_taken(void **state)
{
    struct fixture *f = *state;
    struct snapshot_place place = {.index = 7, .term = 3, .time_ms = 70};
    place.config = f->to.contents.found.config;
    struct forged good = {.place = place, .keys = {"a", "b", "c"}}, forged[16];
    size_t count = 0;
    for (size_t i = 0; i < 16; i++) forged[i] = good;
    forged[count++].keys[1] = "a";      /* a key twice */
    forged[count++].keys[2] = "Z";      /* not in order */
    forged[count++].keys[0] = "";       /* no key */
    forged[count++].rows_more = 1;      /* a row was lost on the way */
    forged[count++].digest_more = 1;    /* or another value */
    forged[count++].place.digest = 99;  /* the head is of another snapshot */
    forged[count++].trailing = "\x05x"; /* a row cut off */
    forged[count++].trailing = "\x01z"; /* a key without a value */
    forged[count++].no_rows = true;     /* a chunk was left out */
    forged[count++].second_head = true;
    forged[count++].strange_kind = true;
    forged[count++].place.index = 0;
    forged[count++].place.term = 0;
    forged[count++].place.config.member_count = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(begin_receiving(f));
        if (hand_forged(f, &forged[i]) != INTAKE_BAD) fail_msg("forged %zu is taken", i);
        stop_receiving(f);
    }
    nothing_is_changed(f);
    assert_true(begin_receiving(f));
    assert_int_equal(hand_forged(f, &good), INTAKE_WHOLE);
    assert_int_equal(switch_over(f), 0);
    assert_int_equal(state_check(f->to.contents.state), 3);
    assert_int_equal(state_mark(f->to.contents.state).applied, 7);
}

static void a_key_that_is_too_long_is_not_taken(void **state)
{
    struct fixture *f = *state;
    char text[513];
    struct forged forged = {.place = {.index = 7, .term = 3, .config = f->to.contents.found.config}};
    memset(text, 'k', sizeof text);
    text[512] = 0;
    forged.keys[0] = text;
    assert_true(begin_receiving(f));
    assert_int_equal(hand_forged(f, &forged), INTAKE_BAD);
    stop_receiving(f);
    text[511] = 0;
    assert_true(begin_receiving(f));
    assert_int_equal(hand_forged(f, &forged), INTAKE_WHOLE);
}

/* Given up, ended, or begun by a process that is no more */

static void until_the_switch_nothing_changes(void **state)
{
    struct fixture *f = *state;
    begin(f);
    for (uint64_t taken = 0; taken <= 5; taken++) {
        if (taken) hand_over(f, 0, taken - 1);
        stop_receiving(f);
        nothing_is_changed(f);
        assert_true(begin_receiving(f));
    }
    hand_over(f, 0, 4);
    make_rows(&f->to, 20, 20); /* the state in use goes on meanwhile */
    assert_int_equal(switch_over(f), 0);
    check_same(f);
}

struct death {
    struct fixture *f;
    uint64_t chunks;
};

static void die(void *context)
{
    struct death *death = context;
    reopen_side(death->f, &death->f->to);
    assert_true(begin_receiving(death->f));
    for (uint64_t i = 0; i < death->chunks; i++) hand_over(death->f, i, i);
    abort();
}

static void a_process_that_dies_while_receiving_leaves_the_old_state(void **state)
{
    struct fixture *f = *state;
    begin(f);
    stop_receiving(f);
    struct state_mark before = state_mark(f->to.contents.state);
    for (uint64_t chunks = 0; chunks <= 5; chunks++) {
        struct death death = {f, chunks};
        close_side(&f->to); /* the child must have it alone */
        assert_fatal(die, &death, "");
        assert_true(exists(f->to.path, "state-2"));
        assert_true(open_side(f, &f->to));
        struct state_mark after = state_mark(f->to.contents.state);
        assert_memory_equal(&before, &after, sizeof before);
        assert_false(exists(f->to.path, "state-2"));
    }
    receive(f);
    assert_int_equal(switch_over(f), 0);
    check_same(f);
}

/* Full disks */

static void no_room_to_begin(void **state)
{
    struct fixture *f = *state;
    begin(f);
    stop_receiving(f);
    for (int at = 1; at <= 3; at++) {
        faults.write = (struct fault){.countdown = at, .error = ENOSPC};
        if (begin_receiving(f)) {
            faults_clear();
            assert_true(at > 1);
            break;
        }
        assert_non_null(strstr(f->error, "no state can be made in"));
        faults_clear();
        assert_false(exists(f->to.path, "state-2.new"));
    }
    begin_again(f); /* as if nothing had been */
    hand_over(f, 0, 4);
    assert_int_equal(switch_over(f), 0);
    check_same(f);
}

static void no_room_for_the_rows(void **state)
{
    struct fixture *f = *state;
    make_rows(&f->from, 30000, 60); /* several commits */
    make_rows(&f->to, 10, 10);
    write_snapshot(f);
    uint64_t count = snapshot_chunks(f->snapshot);
    int met = 0;
    for (int at = 1; at <= 40; at++) {
        assert_true(begin_receiving(f));
        faults.write = (struct fault){.countdown = at, .error = ENOSPC};
        faults.allocate = (struct fault){.countdown = 1, .error = ENOSPC};
        enum intake_result result = INTAKE_MORE;
        uint64_t i = 0;
        for (; result == INTAKE_MORE && i < count; i++)
            result = snapshot_intake_chunk(f->intake, i, chunk_of(f, i));
        faults_clear();
        if (result == INTAKE_WHOLE) break;
        assert_int_equal(result, INTAKE_NO_ROOM);
        assert_int_equal(snapshot_intake_chunk(f->intake, i - 1, chunk_of(f, i - 1)), INTAKE_BAD);
        stop_receiving(f);
        met++;
    }
    assert_true(met >= 3);
    assert_int_equal(switch_over(f), 0);
    reopen_side(f, &f->to);
    check_same(f);
}

static void no_room_to_switch(void **state)
{
    struct fixture *f = *state;
    begin(f);
    hand_over(f, 0, 4);
    faults.rename = (struct fault){.countdown = 1, .error = ENOSPC};
    assert_int_equal(switch_over(f), -ENOSPC);
    assert_int_equal(switch_over(f), -ENOSPC);
    faults_clear();
    make_rows(&f->to, 20, 20); /* the old one is in use yet */
    assert_int_equal(switch_over(f), 0);
    check_same(f);
    reopen_side(f, &f->to);
    check_same(f);
}

static void end_it(void *context)
{
    struct fixture *f = context;
    hand_over(f, 4, 4);
}

static void switch_early(void *context)
{
    switch_over(context);
}

static void a_device_that_fails_ends_the_process(void **state)
{
    struct fixture *f = *state;
    begin(f);
    hand_over(f, 0, 3);
    assert_fatal(switch_early, f, "invariant broken");
    const char *const said[] = {"commit", "sync", "/to cannot be flushed: Input/output error"};
    for (int at = 1; at <= 3; at++) {
        faults.sync = (struct fault){.countdown = at, .error = EIO};
        assert_fatal(end_it, f, said[at - 1]);
        faults_clear();
        begin_again(f);
        hand_over(f, 0, 3);
    }
    stop_receiving(f);
    nothing_is_changed(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(chunks_are_taken_in_order_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_flipped_bit_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_does_not_agree_with_itself_is_not_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_that_is_too_long_is_not_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(until_the_switch_nothing_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_process_that_dies_while_receiving_leaves_the_old_state, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(no_room_to_begin, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_room_for_the_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_room_to_switch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_device_that_fails_ends_the_process, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
