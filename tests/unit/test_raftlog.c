// links: storage lib
/* The log: appending, replacing, reading, rolling over and trimming, seen again after reopening. */
#include "tests/unit/raftlog_test.h"

static void a_new_log_is_empty_and_knows_whose_it_is(void **state)
{
    struct fixture *f = *state;
    check_found(f);
    assert_int_equal(f->found.identity.cluster, 71);
    assert_int_equal(f->found.identity.node, 72);
    assert_string_equal(f->found.identity.name, "n1");
    assert_string_equal(f->found.state_dir, "state-1");
    assert_int_equal(f->found.config.member_count, 1);
    assert_int_equal(f->found.config.members[0].node, 72);
    assert_int_equal(f->found.cut_bytes, 0);
    assert_int_equal(raftlog_create(f->dir, &creation, f->error, sizeof f->error), -EEXIST);
    assert_non_null(strstr(f->error, "exists"));
}

static void entries_and_hard_state_come_back(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(append(f, 1, 1, 1, 0), 0);
    assert_int_equal(append(f, 2, 5, 1, 13), 0);
    f->hard.commit = 4;
    assert_int_equal(append(f, 6, 6, 3, 1000), 0);
    check_read(f);
    reopen(f);
    reopen(f);
    assert_int_equal(append(f, 7, 7, 3, 8), 0);
    reopen(f);
}

static void a_hard_state_needs_no_entries_and_entries_no_hard_state(void **state)
{
    struct fixture *f = *state;
    f->hard = (struct raft_hard){9, 0, 0};
    assert_int_equal(raftlog_append(f->log, &(struct raftlog_write){.hard = &f->hard}), 0);
    f->hard.vote = 73;
    assert_int_equal(raftlog_append(f->log, &(struct raftlog_write){.hard = &f->hard}), 0);
    reopen(f);
    prepare(f, 1, 9, RAFT_NOOP, SLICE(""));
    assert_int_equal(raftlog_append(f->log, &(struct raftlog_write){NULL, &f->entries[1], 1}), 0);
    f->last = 1;
    reopen(f);
    assert_int_equal(raftlog_append(f->log, &(struct raftlog_write){0}), 0);
    reopen(f);
}

static void a_conflicting_suffix_is_replaced(void **state)
{
    struct fixture *f = *state;
    append(f, 1, 10, 1, 20);
    f->hard.commit = 4;
    assert_int_equal(append(f, 5, 7, 2, 30), 0);
    check_read(f);
    reopen(f);
    assert_int_equal(append(f, 7, 7, 3, 30), 0);
    assert_int_equal(append(f, 8, 20, 3, 1), 0);
    reopen(f);
}

static void it_goes_on_over_many_segments(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 500; i++)
        assert_int_equal(append(f, i, i, 1 + i / 100, (size_t)(i * 37 % 900)), 0);
    assert_true(segments(f) > 10);
    assert_int_equal(raftlog_bytes(f->log), (segments(f) + 1) * SEGMENT);
    assert_true(exists(f->dir, "spare"));
    check_read(f);
    reopen(f);
    for (uint64_t i = 501; i <= 600; i++) assert_int_equal(append(f, i, i, 9, 500), 0);
    reopen(f);
}

static void a_frame_may_fill_a_segment_to_the_last_byte(void **state)
{
    struct fixture *f = *state;
    size_t most = SEGMENT - 4096 - 48 - 32;
    assert_int_equal(append(f, 1, 1, 1, most), 0);
    assert_int_equal(segments(f), 1);
    assert_int_equal(append(f, 2, 2, 1, most), 0);
    assert_int_equal(segments(f), 2);
    reopen(f);
    assert_int_equal(append(f, 3, 3, 1, 0), 0);
    assert_int_equal(segments(f), 3);
    reopen(f);
}

static void a_write_larger_than_a_segment_takes_several_frames(void **state)
{
    struct fixture *f = *state;
    append(f, 1, 3, 1, 100);
    f->hard.commit = 2;
    assert_int_equal(append(f, 4, 40, 2, 1800), 0);
    assert_true(segments(f) >= 6);
    f->hard.commit = 39;
    assert_int_equal(append(f, 41, 80, 2, 1800), 0);
    reopen(f);
}

/* What a header was written for may be replaced later; then the segments before must not be needed. */
static void replacing_entries_of_an_earlier_segment_begins_a_new_one(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 30; i++) append(f, i, i, 1, 1000);
    unsigned before = segments(f);
    assert_true(before >= 3);
    f->hard.commit = 3;
    assert_int_equal(append(f, 5, 6, 2, 1000), 0);
    assert_int_equal(segments(f), before + 1);
    check_read(f);
    reopen(f);
    f->hard.commit = 6;
    append(f, 7, 20, 2, 100);
    reopen(f);
    assert_int_equal(raftlog_trim(f->log, 3), 0);
    uint64_t base = raftlog_trim(f->log, 6);
    assert_int_equal(base, 4);
    f->found.base_index = base;
    check_read(f);
    reopen(f);
    assert_int_equal(f->found.base_index, 4);
}

static void trimming_removes_whole_segments_and_never_what_is_needed(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 100; i++) append(f, i, i, 1 + i / 30, 1000);
    f->hard.commit = 100;
    raftlog_append(f->log, &(struct raftlog_write){.hard = &f->hard});
    uint64_t base = 0;
    for (uint64_t index = 0; index <= 100; index += 7) {
        uint64_t now = raftlog_trim(f->log, index);
        assert_true(now >= base && now <= index && index - now < 24);
        base = now;
        f->found.base_index = base;
        check_read(f);
        reopen(f);
        assert_int_equal(f->found.base_index, base);
        assert_int_equal(raftlog_bytes(f->log), (segments(f) + 1) * SEGMENT);
    }
    assert_true(base > 80);
    assert_int_equal(raftlog_trim(f->log, 1), base);
    append(f, 101, 120, 8, 1000);
    reopen(f);
}

/* Segments go one by one, and a log cannot begin with each of those that are left meanwhile. */
static void a_trim_that_was_cut_off_is_finished_at_the_next_start(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 30; i++) append(f, i, i, 1, 1000);
    f->hard.commit = 3;
    unsigned newest = segments(f) + 1;
    append(f, 5, 6, 2, 100);
    assert_true(newest >= 4 && segments(f) == newest);
    close_log(f);
    assert_int_equal(remove(segment(f, 1)), 0);
    reopen(f);
    assert_int_equal(f->found.base_index, 4);
    assert_int_equal(segments(f), 1);
    assert_int_equal(access(segment(f, newest), F_OK), 0);
    append(f, 7, 30, 2, 1000);
    reopen(f);
}

static void trimming_everything_keeps_the_hard_state(void **state)
{
    struct fixture *f = *state;
    append(f, 1, 12, 4, 900);
    f->hard = (struct raft_hard){6, 73, 12};
    for (uint64_t i = 13; i <= 16; i++) append(f, i, i, 6, 900);
    assert_int_equal(raftlog_trim(f->log, 16), 13);
    f->found.base_index = 13;
    reopen(f);
    assert_int_equal(f->found.hard.vote, 73);
}

static struct slice config_payload(struct fixture *f, size_t voter_count)
{
    struct raft_config config = {.member_count = voter_count};
    for (size_t i = 0; i < voter_count; i++)
        config.members[i] = (struct raft_member){.node = 72 + i, .membership = RAFT_VOTER};
    struct buffer bytes = {0};
    raft_config_encode(&config, &bytes);
    struct slice payload = arena_copy(&f->arena, buffer_slice(&bytes));
    buffer_free(&bytes);
    return payload;
}

static void append_config(struct fixture *f, uint64_t index, uint64_t term, size_t voter_count)
{
    prepare(f, index, term, RAFT_CONFIG, config_payload(f, voter_count));
    f->hard.term = term;
    assert_int_equal(raftlog_append(f->log, &(struct raftlog_write){&f->hard, &f->entries[index], 1}), 0);
    f->last = index;
}

static void the_configuration_at_the_base_follows_the_entries(void **state)
{
    struct fixture *f = *state;
    append(f, 1, 3, 1, 10);
    append_config(f, 4, 1, 2);
    append_config(f, 5, 1, 3);
    append_config(f, 5, 2, 4); /* in place of the one with three */
    reopen(f);
    assert_int_equal(f->found.config.member_count, 1);
    assert_true(slice_equal(f->found.entries[3].payload, f->entries[4].payload));
    assert_true(slice_equal(f->found.entries[4].payload, f->entries[5].payload));
    assert_int_equal(f->found.entries[0].payload.size, 0);
    for (uint64_t i = 6; i <= 20; i++) append(f, i, i, 2, 1000);
    append_config(f, 21, 2, 5);
    for (uint64_t i = 22; i <= 60; i++) append(f, i, i, 2, 1000);
    assert_true((f->found.base_index = raftlog_trim(f->log, 18)) > 5);
    reopen(f);
    assert_int_equal(f->found.config.member_count, 4);
    assert_true((f->found.base_index = raftlog_trim(f->log, 60)) > 21);
    reopen(f);
    assert_int_equal(f->found.config.member_count, 5);
}

/* What Raft must never ask for ends the process before it is written. */

static void write_second(struct fixture *f, struct raft_entry entry, struct raft_hard hard)
{
    raftlog_append(f->log, &(struct raftlog_write){&hard, &entry, 1});
}

static void write_gap(void *f)
{
    write_second(f, (struct raft_entry){.index = 5, .term = 1, .kind = RAFT_NOOP},
                 (struct raft_hard){2, 72, 1});
}

static void write_old_term(void *f)
{
    struct raft_entry entry = {.index = 4, .term = 1, .kind = RAFT_NOOP};
    entry.chain = raft_chain(((struct fixture *)f)->entries[3].chain, &entry);
    write_second(f, entry, (struct raft_hard){2, 72, 1});
}

static void write_wrong_chain(void *f)
{
    write_second(f, (struct raft_entry){.index = 4, .term = 2, .kind = RAFT_NOOP, .chain = 5},
                 (struct raft_hard){2, 72, 1});
}

static void write_over_committed(void *f)
{
    append(f, 1, 1, 3, 0);
}

static void write_entry_above_term(void *f)
{
    struct raft_entry entry = {.index = 4, .term = 3, .kind = RAFT_NOOP};
    entry.chain = raft_chain(((struct fixture *)f)->entries[3].chain, &entry);
    write_second(f, entry, (struct raft_hard){2, 72, 1});
}

static void write_hard(void *context, struct raft_hard hard)
{
    raftlog_append(((struct fixture *)context)->log, &(struct raftlog_write){.hard = &hard});
}

static void write_second_vote(void *f)
{
    write_hard(f, (struct raft_hard){2, 73, 1});
}

static void write_lower_term(void *f)
{
    write_hard(f, (struct raft_hard){1, 72, 1});
}

static void write_commit_beyond_the_end(void *f)
{
    write_hard(f, (struct raft_hard){2, 72, 4});
}

static void trim_beyond_the_end(void *f)
{
    raftlog_trim(((struct fixture *)f)->log, 4);
}

static void what_raft_must_never_write_is_not_written(void **state)
{
    struct fixture *f = *state;
    append(f, 1, 1, 1, 0);
    f->hard.commit = 1;
    append(f, 2, 3, 2, 10);
    void (*const wrong[])(void *) = {write_gap,
                                     write_old_term,
                                     write_wrong_chain,
                                     write_over_committed,
                                     write_entry_above_term,
                                     write_second_vote,
                                     write_lower_term,
                                     write_commit_beyond_the_end,
                                     trim_beyond_the_end};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_fatal(wrong[i], f, "invariant broken");
    reopen(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_new_log_is_empty_and_knows_whose_it_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(entries_and_hard_state_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_hard_state_needs_no_entries_and_entries_no_hard_state, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_conflicting_suffix_is_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_goes_on_over_many_segments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_frame_may_fill_a_segment_to_the_last_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_write_larger_than_a_segment_takes_several_frames, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(replacing_entries_of_an_earlier_segment_begins_a_new_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(trimming_removes_whole_segments_and_never_what_is_needed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_trim_that_was_cut_off_is_finished_at_the_next_start, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(trimming_everything_keeps_the_hard_state, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_configuration_at_the_base_follows_the_entries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_raft_must_never_write_is_not_written, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
