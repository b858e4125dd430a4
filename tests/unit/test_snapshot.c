// links: storage lib
/* Snapshots from one data directory to another: what arrives is what was sent, or it is not taken. */
#include "tests/unit/snapshot_test.h"

static void all_rows_arrive(void **state)
{
    struct fixture *f = *state;
    make_rows(&f->from, 5000, 300);
    make_rows(&f->to, 10, 10); /* which go */
    write_snapshot(f);
    assert_true(snapshot_chunks(f->snapshot) > 4);
    receive(f);
    struct snapshot_place sent = *snapshot_place(f->snapshot), got = *snapshot_intake_place(f->intake);
    assert_true(got.index == sent.index && got.term == sent.term && got.time_ms == sent.time_ms &&
                got.digest == sent.digest && got.chain == 4711);
    assert_memory_equal(&got.config, &sent.config, sizeof got.config);
    assert_int_equal(state_mark(f->to.contents.state).digest == sent.digest, 0);
    assert_int_equal(switch_over(f), 0);
    check_same(f);
    assert_string_equal(f->to.contents.found.state_dir, "state-2");
    assert_false(exists(f->to.path, "state-1"));
    reopen_side(f, &f->to);
    check_same(f);
    const struct raftlog_found *found = &f->to.contents.found;
    assert_true(found->base_index == sent.index && found->base_term == 1 && found->base_chain == 4711);
    assert_true(found->hard.term == 9 && found->hard.commit == sent.index && found->entry_count == 0);
    assert_memory_equal(&found->config, &sent.config, sizeof sent.config);
    assert_string_equal(found->state_dir, "state-2");
}

static void the_node_goes_on_with_what_it_received(void **state)
{
    struct fixture *f = *state;
    make_rows(&f->from, 100, 10);
    write_snapshot(f);
    receive(f);
    assert_int_equal(switch_over(f), 0);
    struct raft_hard hard = {9, 0, 1};
    struct raft_entry entry = {2, 9, RAFT_NOOP, 0, {0}};
    entry.chain = raft_chain(4711, &entry);
    assert_int_equal(raftlog_append(f->to.contents.log, &(struct raftlog_write){&hard, &entry, 1}), 0);
    put_row(state_rows(f->to.contents.state), 100, 20);
    state_set_mark(f->to.contents.state, 2, 9, 2000);
    assert_int_equal(state_commit(f->to.contents.state), 0);
    reopen_side(f, &f->to);
    assert_int_equal(state_mark(f->to.contents.state).applied, 2);
    assert_int_equal(state_check(f->to.contents.state), 101);
    stop_sending(f);
    f->from.contents.found.config.members[0].node++; /* another one, to state-3 */
    make_rows(&f->from, 200, 10);
    make_rows(&f->from, 300, 10);
    write_snapshot(f);
    receive(f);
    assert_int_equal(switch_over(f), 0);
    assert_string_equal(f->to.contents.found.state_dir, "state-3");
    assert_false(exists(f->to.path, "state-2"));
    reopen_side(f, &f->to);
    check_same(f);
}

static void an_empty_state_is_a_snapshot_too(void **state)
{
    struct fixture *f = *state;
    make_rows(&f->from, 0, 0);
    make_rows(&f->to, 10, 10);
    state_set_mark(f->from.contents.state, 2, 1, 5000);
    assert_int_equal(state_commit(f->from.contents.state), 0);
    write_snapshot(f);
    receive(f);
    assert_int_equal(switch_over(f), 0);
    reopen_side(f, &f->to);
    check_same(f);
    assert_int_equal(state_check(f->to.contents.state), 0);
}

static void it_stands_for_the_last_commit(void **state)
{
    struct fixture *f = *state;
    struct rows *rows = state_rows(f->from.contents.state);
    make_rows(&f->from, 3000, 300);
    uint64_t digest = state_committed(f->from.contents.state).digest;
    put_row(rows, 7, 5); /* not committed */
    assert_true(begin_sending(f));
    assert_true(snapshot_step(f->snapshot, 1000));
    put_row(rows, 2999, 5);
    put_row(rows, 5000, 5);
    rows_delete(rows, SLICE("row 00002000"));
    state_set_mark(f->from.contents.state, 2, 1, 2000);
    assert_int_equal(state_commit(f->from.contents.state), 0); /* while it is being written */
    while (snapshot_step(f->snapshot, 1000)) put_row(rows, 5001, 5);
    assert_true(snapshot_complete(f->snapshot));
    receive(f);
    assert_int_equal(switch_over(f), 0);
    assert_true(state_mark(f->to.contents.state).digest == digest);
    assert_int_equal(state_check(f->to.contents.state), 3000);
}

static void rows_of_every_size_fit(void **state)
{
    struct fixture *f = *state;
    struct rows *rows = state_rows(f->from.contents.state);
    const size_t sizes[] = {0, 1, 2048, SNAPSHOT_CHUNK_MAX - 4096, SNAPSHOT_CHUNK_MAX, 2 * 1024 * 1024, 0, 7};
    uint8_t key[511];
    for (unsigned i = 0; i < 8; i++) put_row(rows, i, sizes[i]);
    memset(key, 255, sizeof key);
    rows_put(rows, slice_of(key, sizeof key), SLICE("the longest key"));
    rows_put(rows, SLICE("\0"), SLICE(""));
    make_rows(&f->from, 0, 0);
    write_snapshot(f);
    for (uint64_t i = 0; i < snapshot_chunks(f->snapshot); i++) {
        size_t size = chunk_of(f, i).size;
        assert_true(size <= SNAPSHOT_CHUNK_MAX || size <= 2 * 1024 * 1024 + 64);
    }
    receive(f);
    assert_int_equal(switch_over(f), 0);
    check_same(f);
    assert_int_equal(state_check(f->to.contents.state), 10);
}

/* The file */

static void a_step_writes_about_what_it_is_told(void **state)
{
    struct fixture *f = *state;
    make_rows(&f->from, 4000, 1000);
    assert_true(begin_sending(f));
    int steps = 1;
    while (snapshot_step(f->snapshot, 100 * 1000)) steps++;
    assert_in_range(steps, 38, 42);
    assert_false(snapshot_step(f->snapshot, 1000)); /* no more to do */
}

static void its_file_goes_with_it_or_with_a_start(void **state)
{
    struct fixture *f = *state;
    make_rows(&f->from, 10, 10);
    write_snapshot(f);
    const char *name = "snap/00000000000000000001-1.snap";
    assert_true(exists(f->from.path, name));
    stop_sending(f);
    assert_false(exists(f->from.path, name));
    write_at(path_in(f->from.path, name), 0, "left over", 9);
    write_snapshot(f); /* in its place */
    receive(f);
    stop_sending(f);
    write_at(path_in(f->from.path, name), 0, "left over", 9);
    reopen_side(f, &f->from);
    assert_false(exists(f->from.path, "snap"));
}

static void what_the_file_does_not_give_back_is_not_sent(void **state)
{
    struct fixture *f = *state;
    struct slice chunk;
    make_rows(&f->from, 10, 1000);
    write_snapshot(f);
    const char *file = path_in(f->from.path, "snap/00000000000000000001-1.snap");
    assert_int_equal(snapshot_chunks(f->snapshot), 3);
    for (uint64_t i = 0; i < 3; i++) chunk_of(f, i);
    flip_at(file, 3000, 1);
    assert_false(snapshot_chunk(f->snapshot, 1, &f->arena, &chunk));
    assert_true(snapshot_chunk(f->snapshot, 2, &f->arena, &chunk));
    flip_at(file, 3000, 1);
    assert_true(snapshot_chunk(f->snapshot, 1, &f->arena, &chunk));
    assert_int_equal(truncate(file, 9000), 0);
    assert_false(snapshot_chunk(f->snapshot, 2, &f->arena, &chunk));
}

static void a_full_disk_fails_the_snapshot_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    make_rows(&f->from, 5000, 300);
    faults.write = (struct fault){.countdown = 1, .error = ENOSPC};
    assert_false(begin_sending(f));
    assert_non_null(strstr(f->error, "-1.snap cannot be written: there is no room"));
    assert_false(exists(f->from.path, "snap/00000000000000000001-1.snap"));
    for (int at = 2; at <= 5; at++) {
        faults_clear();
        assert_true(begin_sending(f));
        faults.write = (struct fault){.countdown = at - 1, .error = ENOSPC, .partly = 100};
        while (snapshot_step(f->snapshot, 100000)) assert_false(snapshot_failed(f->snapshot));
        assert_true(snapshot_failed(f->snapshot) && !snapshot_complete(f->snapshot));
        assert_false(snapshot_step(f->snapshot, 100000));
        stop_sending(f);
        assert_false(exists(f->from.path, "snap/00000000000000000001-1.snap"));
    }
    faults_clear();
    write_snapshot(f);
    receive(f);
    assert_int_equal(switch_over(f), 0);
    check_same(f);
}

static void without_its_directory_there_is_none(void **state)
{
    struct fixture *f = *state;
    make_rows(&f->from, 1, 1);
    write_at(path_in(f->from.path, "snap"), 0, "a file", 6);
    assert_false(begin_sending(f));
    assert_non_null(strstr(f->error, "cannot be made: Not a directory"));
}

static void send_uncommitted(void *context)
{
    struct fixture *f = context;
    struct snapshot_place place = place_of(&f->from);
    place.index++;
    snapshot_begin(f->from.directory, f->from.contents.state, &place, f->error, sizeof f->error);
}

static void damaged_rows_are_not_sent(void *context)
{
    write_snapshot(context);
}

static void what_must_not_be_sent_ends_the_process(void **state)
{
    struct fixture *f = *state;
    make_rows(&f->from, 1, 1);
    assert_fatal(send_uncommitted, f, "invariant broken");
    make_rows(&f->from, 20, 1000);
    close_side(&f->from);
    static uint8_t bytes[1 << 20];
    const char *file = path_in(f->from.path, "state-1/data.mdb");
    int data = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t size = read(data, bytes, sizeof bytes);
    close(data);
    int flipped = 0;
    for (ssize_t i = 0; i + 8 < size; i++) /* all copies of it, the newest and old ones */
        if (memcmp(bytes + i, "\x07\x07\x07\x07\x07\x07\x07\x07", 8) == 0) {
            flip_at(file, i, 1);
            i += 1000;
            flipped++;
        }
    assert_true(flipped > 0);
    assert_true(open_side(f, &f->from));
    assert_fatal(damaged_rows_are_not_sent, f,
                 "the state is damaged: a row of kind 'r' has a wrong checksum");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_rows_arrive, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_node_goes_on_with_what_it_received, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_state_is_a_snapshot_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_stands_for_the_last_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_of_every_size_fit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_step_writes_about_what_it_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(its_file_goes_with_it_or_with_a_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_the_file_does_not_give_back_is_not_sent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_fails_the_snapshot_and_nothing_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_its_directory_there_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_must_not_be_sent_ends_the_process, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
