// links: storage lib
/* A log that begins anew behind a snapshot: one segment header decides, before it all is as it was, after it
 * nothing of what was counts any more. */
#include "storage/raftlog_internal.h"
#include "tests/unit/raftlog_test.h"

static struct raftlog_beginning beginning_at(struct fixture *f, uint64_t index, uint64_t term)
{
    struct raftlog_beginning beginning = {
        .index = index,
        .term = term,
        .chain = (uint32_t)(index * 1000 + term),
        .hard = {term > f->hard.term ? term : f->hard.term, term > f->hard.term ? 0 : f->hard.vote, index},
        .state_dir = "state-2"};
    beginning.config = (struct raft_config){.members[0] = {.node = 72, .membership = RAFT_VOTER},
                                            .members[1] = {.node = 73, .membership = RAFT_LEARNER},
                                            .member_count = 2};
    return beginning;
}

static int begin_anew(struct fixture *f, uint64_t index, uint64_t term)
{
    struct raftlog_beginning beginning = beginning_at(f, index, term);
    int error = raftlog_begin_anew(f->log, &beginning);
    if (error) return error;
    f->entries[index] = (struct raft_entry){.index = index, .term = term, .chain = beginning.chain};
    f->hard = beginning.hard;
    f->last = index;
    return 0;
}

static void fill(struct fixture *f, uint64_t first, uint64_t last, uint64_t term)
{
    for (uint64_t i = first; i <= last; i++) assert_int_equal(append(f, i, i, term, 1000), 0);
}

static void check_anew(struct fixture *f, uint64_t base)
{
    struct raftlog_beginning wanted = beginning_at(f, base, f->entries[base].term);
    reopen(f);
    assert_int_equal(f->found.base_index, base);
    assert_string_equal(f->found.state_dir, "state-2");
    assert_memory_equal(&f->found.config, &wanted.config, sizeof wanted.config);
    assert_memory_equal(&f->found.identity, &creation.identity, sizeof creation.identity);
}

static void it_begins_anew_beyond_its_end_and_goes_on(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, 40, 1);
    assert_true(segments(f) > 2);
    assert_int_equal(begin_anew(f, 1000, 3), 0);
    assert_int_equal(segments(f), 1);
    assert_int_equal(raftlog_last(f->log), 1000);
    struct raft_entry entry;
    assert_int_equal(raftlog_read(f->log, 40, &f->arena, &entry), -ENOENT);
    assert_int_equal(raftlog_read(f->log, 1000, &f->arena, &entry), -ENOENT);
    check_anew(f, 1000);
    fill(f, 1001, 1050, 3);
    check_anew(f, 1000);
    assert_int_equal(append(f, 1030, 1032, 4, 500), 0); /* what is behind the base can be replaced */
    check_anew(f, 1000);
}

static void it_begins_anew_before_its_end(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, 30, 1);
    f->hard.commit = 5;
    fill(f, 31, 31, 1);
    assert_int_equal(begin_anew(f, 6, 2), 0);
    check_anew(f, 6);
    fill(f, 7, 40, 2);
    check_anew(f, 6);
}

static void an_empty_log_begins_anew(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(begin_anew(f, 1, 1), 0);
    check_anew(f, 1);
    assert_int_equal(begin_anew(f, 2, 1), 0);
    check_anew(f, 2);
}

static void it_begins_anew_again_and_again(void **state)
{
    struct fixture *f = *state;
    for (uint64_t round = 1; round <= 5; round++) {
        assert_int_equal(begin_anew(f, round * 500, round), 0);
        if (round % 2) fill(f, round * 500 + 1, round * 500 + 25, round);
        assert_int_equal(segments(f), round % 2 ? 3 : 1);
        check_anew(f, round * 500);
    }
}

static void behind_a_new_beginning_it_is_trimmed_as_ever(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, 20, 1);
    assert_int_equal(begin_anew(f, 100, 2), 0);
    fill(f, 101, 159, 2);
    f->hard.commit = 140;
    fill(f, 160, 160, 2);
    uint64_t base = raftlog_trim(f->log, 140);
    assert_true(base > 100 && base <= 140);
    reopen(f);
    assert_int_equal(f->found.base_index, base);
    assert_string_equal(f->found.state_dir, "state-2");
    assert_int_equal(f->found.config.member_count, 2);
}

static void the_terms_and_the_vote_are_kept(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, 3, 7); /* term 7, voted for 72 */
    assert_int_equal(begin_anew(f, 10, 5), 0);
    check_anew(f, 10);
    assert_true(f->found.hard.term == 7 && f->found.hard.vote == 72 && f->found.hard.commit == 10);
}

static void configurations_of_the_past_are_gone(void **state)
{
    struct fixture *f = *state;
    struct buffer payload = {0};
    raft_config_encode(&creation.config, &payload);
    fill(f, 1, 3, 1);
    prepare(f, 4, 1, RAFT_CONFIG, arena_copy(&f->arena, buffer_slice(&payload)));
    struct raftlog_write write = {&f->hard, &f->entries[4], 1};
    assert_int_equal(raftlog_append(f->log, &write), 0);
    assert_int_equal(begin_anew(f, 50, 2), 0);
    check_anew(f, 50);
    prepare(f, 51, 2, RAFT_CONFIG, arena_copy(&f->arena, buffer_slice(&payload)));
    write.entries = &f->entries[51];
    assert_int_equal(raftlog_append(f->log, &write), 0);
    f->last = 51;
    fill(f, 52, 90, 2); /* the next segments' headers have it */
    check_anew(f, 50);
    buffer_free(&payload);
}

/* What a crash leaves */

static void copy(const char *from, const char *to)
{
    static uint8_t bytes[SEGMENT];
    read_at(from, 0, bytes, sizeof bytes);
    write_at(to, 0, bytes, sizeof bytes);
}

static const char *aside(struct fixture *f, unsigned number)
{
    char name[32];
    snprintf(name, sizeof name, "aside-%u", number);
    return path_in(f->root, name);
}

static void older_segments_that_a_crash_left_are_removed(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, 60, 1);
    unsigned count = segments(f);
    assert_true(count >= 4);
    for (unsigned i = 1; i <= count; i++) copy(segment(f, i), aside(f, i));
    assert_int_equal(begin_anew(f, 30, 2), 0);
    fill(f, 31, 50, 2);
    for (unsigned kept = count; kept >= 1; kept--) { /* they go one by one, the oldest first */
        close_log(f);
        for (unsigned i = kept; i <= count; i++) copy(aside(f, i), segment(f, i));
        check_anew(f, 30);
        for (unsigned i = 1; i <= count; i++) assert_int_not_equal(access(segment(f, i), F_OK), 0);
    }
}

static void must_refuse(struct fixture *f, const char *text)
{
    close_log(f);
    if (open_log(f)) fail_msg("opened, instead of refusing because of \"%s\"", text);
    if (!strstr(f->error, text)) fail_msg("said \"%s\", not \"%s\"", f->error, text);
}

static void a_damaged_new_beginning_does_not_bring_back_the_past(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, 3, 1);
    copy(segment(f, 1), path_in(f->root, "one"));
    assert_int_equal(begin_anew(f, 30, 2), 0);
    close_log(f);
    copy(path_in(f->root, "one"), segment(f, 1));
    flip_at(segment(f, 2), 200, 1); /* the very mark */
    must_refuse(f, "0000000002.log is damaged at byte 0: its header has a wrong checksum");
    flip_at(segment(f, 2), 200, 1);
    check_anew(f, 30);
}

static void an_unfinished_write_of_the_past_does_not_matter(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, 3, 1);
    faults.write = (struct fault){.countdown = 1, .error = ENOSPC, .partly = 700};
    assert_int_equal(append(f, 4, 5, 1, 1000), -ENOSPC);
    faults_clear();
    assert_int_equal(begin_anew(f, 9, 1), 0);
    check_anew(f, 9);
    assert_int_equal(f->found.cut_bytes, 0);
    fill(f, 10, 12, 1);
    check_anew(f, 9);
}

/* Disks that fail */

static void a_full_disk_leaves_it_as_it_was(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, 5, 1);
    faults.rename = (struct fault){.countdown = 1, .error = ENOSPC};
    assert_int_equal(begin_anew(f, 50, 2), -ENOSPC);
    faults_clear();
    fill(f, 6, 8, 1);
    reopen(f);
    assert_string_equal(f->found.state_dir, "state-1");
    close_log(f);
    remove(path_in(f->dir, "spare"));
    faults.free_bytes = 0; /* no spare is made ahead */
    assert_true(open_log(f));
    faults.allocate = (struct fault){.countdown = 1, .error = ENOSPC};
    assert_int_equal(begin_anew(f, 50, 2), -ENOSPC);
    assert_int_equal(begin_anew(f, 50, 2), -ENOSPC);
    faults_clear();
    fill(f, 9, 9, 1);
    assert_int_equal(begin_anew(f, 50, 2), 0);
    check_anew(f, 50);
    fill(f, 51, 80, 2); /* a spare whose header was written in vain serves as any other */
    check_anew(f, 50);
}

static void anew(void *context)
{
    struct fixture *f = context;
    begin_anew(f, f->last + 50, 2);
}

static void a_disk_that_fails_ends_the_process(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, 5, 1);
    faults.sync = (struct fault){.countdown = 1, .error = EIO}; /* of the segment */
    assert_fatal(anew, f, "cannot be begun anew: Input/output error; what is on this disk is uncertain");
    faults_clear();
    reopen(f);
    faults.write = (struct fault){.countdown = 1, .error = EIO};
    assert_fatal(anew, f, "cannot be begun anew: Input/output error");
    faults_clear();
    reopen(f);
    faults.allocate = (struct fault){.countdown = 1, .error = EIO};
    close_log(f);
    remove(path_in(f->dir, "spare"));
    assert_true(open_log(f));
    assert_fatal(anew, f, "cannot be begun anew: Input/output error");
    faults_clear();
    reopen(f);
}

/* The name is there, but nobody knows for how long: whichever the next start finds is good. */
static void what_fails_after_the_decision_is_decided(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, 5, 1);
    faults.sync = (struct fault){.countdown = 2, .error = EIO}; /* of the name */
    assert_fatal(anew, f, "cannot be begun anew");
    faults.sync.countdown = 0;
    f->entries[55] = (struct raft_entry){.index = 55, .term = 2, .chain = 55002};
    f->hard = (struct raft_hard){2, 0, 55};
    f->last = 55;
    check_anew(f, 55);
    faults.sync = (struct fault){.countdown = 3, .error = EIO}; /* of the removal */
    assert_fatal(anew, f, "cannot be trimmed");
    faults.sync.countdown = 0;
    f->entries[105] = (struct raft_entry){.index = 105, .term = 2, .chain = 105002};
    f->hard.commit = f->last = 105;
    check_anew(f, 105);
    assert_int_equal(segments(f), 1);
}

/* Rules */

struct attempt {
    struct fixture *f;
    struct raftlog_beginning beginning;
};

static void try_it(void *context)
{
    struct attempt *attempt = context;
    raftlog_begin_anew(attempt->f->log, &attempt->beginning);
}

static void what_breaks_a_rule_ends_the_process(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, 5, 4);
    f->hard.commit = 3;
    fill(f, 6, 6, 4);
    struct attempt attempts[6];
    for (size_t i = 0; i < 6; i++) attempts[i] = (struct attempt){f, beginning_at(f, 50, 4)};
    attempts[0].beginning.hard.term = 3;                                 /* terms never fall */
    attempts[1].beginning.hard.vote = 99;                                /* a second vote in a term */
    attempts[2].beginning.hard.commit = 49;                              /* a snapshot is committed */
    attempts[3].beginning.index = attempts[3].beginning.hard.commit = 3; /* it has that already */
    attempts[4].beginning.term = 5;                                      /* an entry of a term to come */
    attempts[5].beginning.hard.vote = 0;                                 /* a vote forgotten */
    for (size_t i = 0; i < 6; i++) assert_fatal(try_it, &attempts[i], "invariant broken");
    reopen(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_begins_anew_beyond_its_end_and_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_begins_anew_before_its_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_log_begins_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_begins_anew_again_and_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(behind_a_new_beginning_it_is_trimmed_as_ever, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_terms_and_the_vote_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(configurations_of_the_past_are_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(older_segments_that_a_crash_left_are_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_new_beginning_does_not_bring_back_the_past, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_unfinished_write_of_the_past_does_not_matter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_leaves_it_as_it_was, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_disk_that_fails_ends_the_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_fails_after_the_decision_is_decided, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_breaks_a_rule_ends_the_process, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
