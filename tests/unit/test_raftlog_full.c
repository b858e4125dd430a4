// links: storage lib
/* A disk that is full, and one that fails. */
#include "storage/ballast.h"
#include "tests/unit/raftlog_test.h"

static void a_full_disk_at_a_write_changes_nothing(void **state)
{
    struct fixture *f = *state;
    append(f, 1, 3, 1, 200);
    uint64_t last = f->last;
    struct raft_hard hard = f->hard;
    const size_t parts[] = {0, 1, 40, 48, 100, 500, 900};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        faults.write = (struct fault){.countdown = 1, .error = ENOSPC, .partly = parts[i]};
        assert_int_equal(append(f, last + 1, last + 4, 2, 200), -ENOSPC);
        assert_int_equal(append(f, last + 1, last + 4, 2, 200), -ENOSPC);
        faults_clear();
        f->hard = hard;
        check_read(f);
    }
    f->hard = hard;
    reopen(f); /* a crash before there is room */
    faults.write = (struct fault){.countdown = 1, .error = ENOSPC, .partly = 900};
    assert_int_equal(append(f, last + 1, last + 4, 2, 200), -ENOSPC);
    faults_clear();
    assert_int_equal(append(f, last + 1, last + 1, 2, 0), 0); /* shorter than what the failed one left */
    reopen(f);
    assert_int_equal(f->found.cut_bytes, 0);
    assert_int_equal(append(f, last + 2, last + 9, 2, 300), 0);
    reopen(f);
}

static void a_full_disk_at_the_end_of_a_segment_changes_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t i = 1;
    for (; segments(f) < 2; i++) assert_int_equal(append(f, i, i, 1, 1000), 0);
    assert_false(raftlog_full(f->log, 1000));
    faults.allocate = (struct fault){.countdown = 1, .error = ENOSPC};
    for (; segments(f) < 3; i++) assert_int_equal(append(f, i, i, 1, 1000), 0); /* into the spare */
    assert_true(raftlog_full(f->log, 1001)); /* another could not be made */
    while (append(f, i, i, 1, 1000) == 0) i++;
    assert_int_equal(segments(f), 3);
    check_read(f);
    reopen(f);
    assert_int_equal(append(f, i, i, 1, 1000), -ENOSPC);
    faults_clear();
    assert_int_equal(append(f, i, i, 1, 1000), 0);
    assert_int_equal(segments(f), 4);
    reopen(f);
}

static void a_full_disk_at_a_new_name_changes_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t i = 1;
    faults.rename = (struct fault){.countdown = 1, .error = ENOSPC};
    while (append(f, i, i, 1, 1000) == 0) i++;
    assert_int_equal(segments(f), 1);
    check_read(f);
    reopen(f);
    faults_clear();
    assert_int_equal(append(f, i, i, 1, 1000), 0);
    reopen(f);
}

static void full_is_asked_once_a_second(void **state)
{
    struct fixture *f = *state;
    assert_false(raftlog_full(f->log, 5000));
    faults.free_bytes = SEGMENT - 1; /* reserves are there, but hardly anything else */
    assert_false(raftlog_full(f->log, 5999));
    assert_true(raftlog_full(f->log, 6000));
    faults.free_bytes = 10 * SEGMENT;
    assert_true(raftlog_full(f->log, 6999));
    assert_false(raftlog_full(f->log, 7000));
}

static void the_ballast_comes_back_when_twice_as_much_is_free(void **state)
{
    struct fixture *f = *state;
    assert_true(exists(f->root, "ballast"));
    ballast_drop(f->dir);
    assert_false(exists(f->root, "ballast"));
    faults.free_bytes = SEGMENT + 5000;
    assert_true(raftlog_full(f->log, 1000));
    assert_false(exists(f->root, "ballast"));
    faults.free_bytes = 3 * SEGMENT;
    assert_false(raftlog_full(f->log, 2000));
    assert_true(exists(f->root, "ballast"));
    assert_int_equal(truncate(path_in(f->root, "ballast"), 5), 0);
    assert_false(raftlog_full(f->log, 3000));
    struct stat facts;
    assert_int_equal(stat(path_in(f->root, "ballast"), &facts), 0);
    assert_int_equal(facts.st_size, SEGMENT);
}

static void opening_works_on_a_full_disk(void **state)
{
    struct fixture *f = *state;
    append(f, 1, 3, 1, 200);
    close_log(f);
    remove(path_in(f->dir, "spare"));
    remove(path_in(f->root, "ballast"));
    faults.allocate = (struct fault){.countdown = 1, .error = ENOSPC};
    faults.free_bytes = 0;
    reopen(f);
    assert_true(raftlog_full(f->log, 1000));
    assert_false(exists(f->dir, "spare"));
    assert_int_equal(append(f, 4, 4, 1, 10), 0);
    faults_clear();
    assert_false(raftlog_full(f->log, 2000));
    assert_true(exists(f->dir, "spare"));
}

static void a_spare_of_another_size_is_made_anew(void **state)
{
    struct fixture *f = *state;
    close_log(f);
    assert_int_equal(truncate(path_in(f->dir, "spare"), 100), 0);
    reopen(f);
    struct stat facts;
    assert_int_equal(stat(path_in(f->dir, "spare"), &facts), 0);
    assert_int_equal(facts.st_size, SEGMENT);
}

static void append_failing(void *f)
{
    append(f, 2, 2, 1, 10);
}

static void append_rolling(void *context)
{
    struct fixture *f = context;
    for (uint64_t i = 2; i < 30; i++) append(f, i, i, 1, 1000);
}

static void trim_all(void *f)
{
    raftlog_trim(((struct fixture *)f)->log, ((struct fixture *)f)->last);
}

static void a_failing_disk_ends_the_process(void **state)
{
    struct fixture *f = *state;
    append(f, 1, 1, 1, 10);
    faults.write = (struct fault){.countdown = 1, .error = EIO};
    assert_fatal(append_failing, f,
                 "cannot be written: Input/output error; what is on this disk is uncertain");
    faults_clear();
    const int errors[] = {EIO, ENOSPC, EDQUOT, EROFS};
    for (size_t i = 0; i < 4; i++) {
        faults.sync = (struct fault){.countdown = 1, .error = errors[i]};
        assert_fatal(append_failing, f, "what is on this disk is uncertain");
        faults_clear();
        close_log(f);
        assert_true(open_log(f));
        assert_int_equal(f->found.entry_count, 2); /* written, though not flushed then: flushed now */
    }
    for (int at = 1; at < 20; at++) { /* at the header of a new segment, and at its name */
        faults.sync = (struct fault){.countdown = at, .error = EIO};
        assert_fatal(append_rolling, f, "cannot be written");
        faults_clear();
        close_log(f);
        if (!open_log(f)) fail_msg("refused: %s", f->error);
        f->last = f->found.base_index + f->found.entry_count;
        if (segments(f) > 1) break;
    }
    assert_true(segments(f) > 1);
    faults.sync = (struct fault){.countdown = 1, .error = EIO};
    assert_fatal(trim_all, f, "cannot be trimmed");
}

static void making_a_log_on_a_full_disk_leaves_none(void **state)
{
    struct fixture *f = *state;
    close_log(f);
    char dir[600];
    snprintf(dir, sizeof dir, "%s/fresh", f->root);
    assert_int_equal(mkdir(dir, 0700), 0);
    faults.allocate = (struct fault){.countdown = 1, .error = ENOSPC};
    assert_int_equal(raftlog_create(dir, &creation, f->error, sizeof f->error), -ENOSPC);
    assert_non_null(strstr(f->error, "No space left on device; make room"));
    faults_clear();
    assert_int_equal(raftlog_create(dir, &creation, f->error, sizeof f->error), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_disk_at_a_write_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_at_the_end_of_a_segment_changes_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_at_a_new_name_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_is_asked_once_a_second, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_ballast_comes_back_when_twice_as_much_is_free, set_up, tear_down),
        cmocka_unit_test_setup_teardown(opening_works_on_a_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_spare_of_another_size_is_made_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failing_disk_ends_the_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(making_a_log_on_a_full_disk_leaves_none, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
