// links: storage lib
/* The id of a node: random, made once, and the same after any crash of the first start. */
#include "storage/datadir.h"
#include "tests/unit/storage_test.h"

struct fixture {
    char *root;
    char path[400];
    struct datadir *directory;
    struct datadir_settings settings;
    struct datadir_contents contents;
    struct arena arena;
    char error[1000];
};

static void take(struct fixture *f)
{
    f->directory = datadir_take(f->path, f->error, sizeof f->error);
    if (!f->directory) fail_msg("refused: %s", f->error);
}

static uint64_t node_of(struct fixture *f)
{
    return datadir_node(f->directory, f->error, sizeof f->error);
}

static bool open_contents(struct fixture *f)
{
    return datadir_open(f->directory, &f->settings, &f->arena, &f->contents, f->error, sizeof f->error);
}

static void let_go(struct fixture *f)
{
    if (f->contents.state) state_close(f->contents.state);
    if (f->contents.log) raftlog_close(f->contents.log);
    f->contents = (struct datadir_contents){0};
    if (f->directory) datadir_close(f->directory);
    f->directory = NULL;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->root = temporary_directory();
    snprintf(f->path, sizeof f->path, "%s/data", f->root);
    f->settings.segment_bytes = RAFTLOG_SEGMENT_BYTES_MIN;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    faults_clear();
    let_go(f);
    arena_free(&f->arena);
    remove_tree(f->root);
    free(f->root);
    free(f);
    return 0;
}

static void a_fresh_directory_has_an_id_before_it_has_a_log(void **state)
{
    struct fixture *f = *state;
    take(f);
    assert_true(datadir_fresh(f->directory));
    uint64_t node = node_of(f);
    assert_true(node != 0);
    assert_true(node_of(f) == node);
    assert_true(exists(f->path, "node-id") && !exists(f->path, "log"));
    let_go(f);
    take(f);
    assert_true(datadir_fresh(f->directory));
    assert_true(node_of(f) == node);
    assert_true(open_contents(f));
    assert_false(datadir_fresh(f->directory));
    assert_true(f->contents.found.identity.node == node);
    assert_true(node_of(f) == node);
    assert_false(exists(f->path, "node-id"));
    let_go(f);
    take(f);
    assert_false(datadir_fresh(f->directory));
    assert_true(node_of(f) == node); /* of the log */
}

static void two_directories_have_two_ids(void **state)
{
    struct fixture *f = *state;
    take(f);
    uint64_t one = node_of(f);
    let_go(f);
    remove_tree(f->path);
    take(f);
    assert_true(node_of(f) != one);
}

static void the_log_begins_as_founded(void **state)
{
    struct fixture *f = *state;
    struct datadir_founding founding = {.cluster = 4242};
    take(f);
    uint64_t node = node_of(f);
    founding.config.members[0] = (struct raft_member){.node = 11, .membership = RAFT_VOTER, .name = "a"};
    founding.config.members[1] = (struct raft_member){.node = node, .membership = RAFT_VOTER, .name = "b"};
    founding.config.member_count = 2;
    f->settings.founding = &founding;
    f->settings.name = "b";
    assert_true(open_contents(f));
    assert_true(f->contents.fresh && f->contents.found.identity.cluster == 4242);
    assert_memory_equal(&f->contents.found.config, &founding.config, sizeof founding.config);
    let_go(f);
    founding.cluster = 1; /* of a directory that is in use, it is not looked at */
    founding.config.member_count = 0;
    take(f);
    assert_true(open_contents(f));
    assert_true(!f->contents.fresh && f->contents.found.identity.cluster == 4242);
    assert_int_equal(f->contents.found.config.member_count, 2);
}

static void who_waits_to_be_added_has_no_members(void **state)
{
    struct fixture *f = *state;
    struct datadir_founding founding = {.cluster = 4242};
    f->settings.founding = &founding;
    take(f);
    assert_true(open_contents(f));
    let_go(f);
    take(f);
    assert_true(open_contents(f));
    assert_int_equal(f->contents.found.config.member_count, 0);
}

static void a_damaged_id_is_refused(void **state)
{
    struct fixture *f = *state;
    take(f);
    uint64_t node = node_of(f);
    let_go(f);
    char file[500];
    snprintf(file, sizeof file, "%s/node-id", f->path);
    for (off_t at = 0; at < 12; at++) {
        flip_at(file, at, 4);
        take(f);
        assert_true(node_of(f) == 0);
        assert_non_null(strstr(f->error,
                               "/data/node-id is damaged; remove it if this node was never a member "
                               "of a cluster"));
        assert_false(open_contents(f));
        assert_null(f->contents.log);
        assert_false(exists(f->path, "log"));
        let_go(f);
        flip_at(file, at, 4);
    }
    take(f);
    assert_true(node_of(f) == node);
    let_go(f);
    assert_int_equal(truncate(file, 11), 0);
    take(f);
    assert_true(node_of(f) == 0);
    assert_int_equal(remove(file), 0);
    assert_true(node_of(f) != 0);
}

static void what_is_left_of_an_id_beside_a_log_goes(void **state)
{
    struct fixture *f = *state;
    take(f);
    uint64_t node = node_of(f);
    assert_true(open_contents(f));
    let_go(f);
    write_at(path_in(f->path, "node-id"), 0, "of old", 6);
    write_at(path_in(f->path, ".node-id"), 0, "half", 4);
    take(f);
    assert_true(node_of(f) == node);
    assert_true(open_contents(f));
    assert_true(f->contents.found.identity.node == node);
    assert_false(exists(f->path, "node-id") || exists(f->path, ".node-id"));
}

static void a_half_written_id_is_written_again(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkdir(f->path, 0700), 0);
    write_at(path_in(f->path, ".node-id"), 0, "half", 4);
    take(f);
    assert_true(node_of(f) != 0);
    assert_false(exists(f->path, ".node-id"));
}

static void a_disk_that_fails_gives_no_id(void **state)
{
    struct fixture *f = *state;
    take(f);
    faults.write = (struct fault){.countdown = 1, .error = ENOSPC};
    assert_true(node_of(f) == 0);
    assert_non_null(strstr(f->error, "/data cannot hold this node's id: No space left on device; check"));
    faults_clear();
    faults.rename = (struct fault){.countdown = 1, .error = EIO};
    assert_true(node_of(f) == 0);
    faults_clear();
    assert_false(exists(f->path, "node-id"));
    for (int at = 1; at <= 3; at++) { /* of the file, of the directory's own name, of the file's name */
        faults.sync = (struct fault){.countdown = at, .error = EIO};
        assert_true(node_of(f) == 0);
        faults_clear();
        remove(path_in(f->path, "node-id"));
    }
    assert_true(node_of(f) != 0);
}

/* Told once, it is the node's: whatever happens to the first start. */
static void a_first_start_that_dies_keeps_the_id(void **state)
{
    struct fixture *f = *state;
    int met = 0;
    for (int at = 1; at < 50; at++) {
        int status;
        take(f);
        uint64_t told = node_of(f);
        let_go(f);
        faults.sync = (struct fault){.countdown = at, .error = EIO};
        pid_t child = fork();
        if (child == 0) {
            int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
            dup2(null, STDERR_FILENO);
            f->directory = datadir_take(f->path, f->error, sizeof f->error);
            _exit(f->directory && open_contents(f) ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        faults_clear();
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) break;
        take(f);
        assert_true(node_of(f) == told);
        assert_true(open_contents(f));
        assert_true(f->contents.found.identity.node == told);
        let_go(f);
        remove_tree(f->path);
        met++;
    }
    assert_true(met > 8);
}

static void a_directory_that_was_opened_in_vain_is_still_taken(void **state)
{
    struct fixture *f = *state;
    take(f);
    f->settings.name = "west";
    assert_true(open_contents(f));
    let_go(f);
    take(f);
    f->settings.name = "east";
    assert_false(open_contents(f));
    assert_null(f->contents.log);
    assert_null(datadir_take(f->path, f->error, sizeof f->error));
    assert_non_null(strstr(f->error, "is in use by process"));
    f->settings.name = NULL;
    assert_true(open_contents(f));
}

static void the_id_of_a_damaged_log_cannot_be_told(void **state)
{
    struct fixture *f = *state;
    take(f);
    assert_true(open_contents(f));
    let_go(f);
    flip_at(path_in(f->path, "log/0000000001.log"), 40, 1);
    take(f);
    assert_false(datadir_fresh(f->directory));
    assert_true(node_of(f) == 0);
    assert_non_null(strstr(f->error, "wrong checksum"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_fresh_directory_has_an_id_before_it_has_a_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_directories_have_two_ids, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_log_begins_as_founded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_waits_to_be_added_has_no_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_id_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_left_of_an_id_beside_a_log_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_half_written_id_is_written_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_disk_that_fails_gives_no_id, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_first_start_that_dies_keeps_the_id, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_directory_that_was_opened_in_vain_is_still_taken, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_id_of_a_damaged_log_cannot_be_told, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
