// links: storage lib
/* The data directory: the first start and its interruptions, taking it, and what is refused, always with one
 * line that says what to do. */
#include "storage/datadir.h"
#include "tests/unit/storage_test.h"

#include <sys/vfs.h>

struct fixture {
    char *root;
    char path[400];
    const char *where; /* path, or another that a test tries */
    struct datadir_settings settings;
    struct datadir *directory;
    struct datadir_contents contents;
    struct arena arena;
    char error[1000];
};

static long file_system_type;

int statfs(const char *path, struct statfs *facts)
{
    int result = (int)syscall(SYS_statfs, path, facts);
    if (file_system_type) facts->f_type = file_system_type;
    return result;
}

static bool open_directory(struct fixture *f)
{
    f->error[0] = 0;
    f->contents = (struct datadir_contents){0};
    f->directory = datadir_take(f->where, f->error, sizeof f->error);
    if (f->directory &&
        datadir_open(f->directory, &f->settings, &f->arena, &f->contents, f->error, sizeof f->error))
        return true;
    if (f->directory) datadir_close(f->directory);
    f->directory = NULL;
    return false;
}

static void close_directory(struct fixture *f)
{
    if (!f->directory) return;
    state_close(f->contents.state);
    raftlog_close(f->contents.log);
    datadir_close(f->directory);
    f->directory = NULL;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->root = temporary_directory();
    snprintf(f->path, sizeof f->path, "%s/data", f->root);
    f->where = f->path;
    f->settings = (struct datadir_settings){.segment_bytes = RAFTLOG_SEGMENT_BYTES_MIN};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    file_system_type = 0;
    faults_clear();
    close_directory(f);
    arena_free(&f->arena);
    remove_tree(f->root);
    free(f->root);
    free(f);
    return 0;
}

static void must_open(struct fixture *f)
{
    close_directory(f);
    if (!open_directory(f)) fail_msg("refused: %s", f->error);
}

static void must_refuse(struct fixture *f, const char *text)
{
    close_directory(f);
    if (open_directory(f)) fail_msg("opened, instead of refusing because of \"%s\"", text);
    if (!strstr(f->error, text)) fail_msg("said \"%s\", not \"%s\"", f->error, text);
    assert_null(strchr(f->error, '\n'));
    assert_null(f->contents.log);
    assert_null(f->contents.state);
}

/* Some entries, applied and committed twice, so that the newest of them are certain. */
static void live(struct fixture *f, uint64_t first, uint64_t last)
{
    uint64_t node = f->contents.found.identity.node;
    struct raft_hard hard = {1, node, 0};
    uint32_t chain = first == 1 ? 0 : f->contents.found.entries[first - 2].chain;
    for (uint64_t i = first; i <= last; i++) {
        struct raft_entry entry = {i, 1, RAFT_COMMAND, 0, SLICE("x")};
        chain = entry.chain = raft_chain(chain, &entry);
        assert_int_equal(raftlog_append(f->contents.log, &(struct raftlog_write){&hard, &entry, 1}), 0);
        rows_put(state_rows(f->contents.state), SLICE("key"), slice_of(&i, sizeof i));
        state_set_mark(f->contents.state, i, 1, i);
        assert_int_equal(state_commit(f->contents.state), 0);
    }
}

static void the_first_start_makes_a_cluster_of_one(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    const struct raftlog_found *found = &f->contents.found;
    assert_true(f->contents.fresh);
    assert_true(found->identity.cluster && found->identity.node &&
                found->identity.cluster != found->identity.node);
    assert_string_equal(found->identity.name, "n1");
    assert_string_equal(found->state_dir, "state-1");
    assert_int_equal(found->config.member_count, 1);
    assert_true(found->config.members[0].node == found->identity.node);
    assert_true(found->hard.term == 0 && found->hard.vote == 0 && found->hard.commit == 0);
    assert_true(found->base_index == 0 && found->entry_count == 0);
    assert_int_equal(state_mark(f->contents.state).applied, 0);
    struct stat facts;
    assert_int_equal(stat(f->path, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0700);
    assert_int_equal(stat(path_in(f->path, "log"), &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0700);
    assert_false(exists(f->path, "first-start"));
    struct raftlog_identity identity = found->identity;
    live(f, 1, 3);
    must_open(f);
    assert_false(f->contents.fresh);
    assert_memory_equal(&f->contents.found.identity, &identity, sizeof identity);
    assert_int_equal(state_mark(f->contents.state).applied, 3);
}

static void two_first_starts_make_two_clusters(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    struct raftlog_identity one = f->contents.found.identity;
    close_directory(f);
    remove_tree(f->path);
    must_open(f);
    assert_true(one.cluster != f->contents.found.identity.cluster &&
                one.node != f->contents.found.identity.node);
}

static void an_empty_directory_is_taken_and_parents_are_not_made(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkdir(f->path, 0755), 0);
    assert_int_equal(mkdir(path_in(f->path, "lost+found"), 0700), 0);
    write_at(path_in(f->path, ".hidden"), 0, "x", 1);
    must_open(f);
    assert_true(f->contents.fresh);
    close_directory(f);
    remove_tree(f->path);
    strcat(f->path, "/deeper");
    must_refuse(f, "/data/deeper cannot be made: No such file or directory");
}

static void only_one_process_may_have_it(void **state)
{
    struct fixture *f = *state, other = {.where = f->path, .settings = f->settings};
    char text[200];
    must_open(f);
    snprintf(text, sizeof text,
             "/data is in use by process %ld; stop that one, or give this node a directory of its own",
             (long)getpid());
    must_refuse(&other, text);
    arena_free(&other.arena);
    close_directory(f);
    write_at(path_in(f->path, "LOCK"), 0, "99999999999\n", 12); /* what is left there means nothing */
    must_open(f);
    must_refuse(&other, text);
}

static void the_name_is_kept(void **state)
{
    struct fixture *f = *state;
    f->settings.name = "west";
    must_open(f);
    assert_string_equal(f->contents.found.identity.name, "west");
    must_open(f);
    f->settings.name = NULL;
    must_open(f);
    assert_string_equal(f->contents.found.identity.name, "west");
    f->settings.name = "east";
    must_refuse(f, "belongs to node west, not east; start with --name west, or give east a directory of its "
                   "own (--data-dir)");
}

static void names_and_paths_have_limits(void **state)
{
    struct fixture *f = *state;
    char text[500];
    memset(text, 'n', sizeof text);
    text[64] = 0;
    f->settings.name = text;
    must_refuse(f, "--name takes 1 to 63 bytes, not 64");
    f->settings.name = "";
    must_refuse(f, "--name takes 1 to 63 bytes, not 0");
    assert_false(exists(f->path, "log"));
    text[63] = 0;
    f->settings.name = text;
    must_open(f);
    assert_int_equal(strlen(f->contents.found.identity.name), 63);
    f->settings.name = NULL;
    f->where = "";
    must_refuse(f, "--data-dir takes 1 to 399 bytes, not 0");
    text[63] = text[64] = 'n';
    text[499] = 0;
    f->where = text;
    must_refuse(f, "--data-dir takes 1 to 399 bytes, not 499");
}

static void somebody_elses_directory_is_left_alone(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkdir(f->path, 0755), 0);
    write_at(path_in(f->path, "thesis.txt"), 0, "x", 1);
    must_refuse(f, "holds files that are not coordd's, and no data of coordd's; name an empty directory");
    assert_true(exists(f->path, "thesis.txt"));
    assert_false(exists(f->path, "log"));
    f->where = path_in(f->path, "thesis.txt");
    must_refuse(f, "thesis.txt cannot be used: Not a directory");
}

static void network_file_systems_are_refused(void **state)
{
    struct fixture *f = *state;
    const long types[] = {0x6969, 0x517B, 0xFF534D42, 0xFE534D42, 0x01021997, 0x65735546, 0x00C36400};
    const char *const names[] = {"NFS", "SMB", "CIFS", "SMB2", "9P", "FUSE", "Ceph"};
    for (size_t i = 0; i < 7; i++) {
        char text[100];
        file_system_type = types[i];
        snprintf(text, sizeof text, "lies on a network file system (%s)", names[i]);
        must_refuse(f, text);
    }
    file_system_type = 0xEF53;
    must_open(f);
}

/* A first start may be cut off anywhere; the next one makes everything again. */
static void a_half_made_first_start_is_made_again(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    close_directory(f);
    uint64_t first = f->contents.found.identity.cluster;
    const char *const missing[] = {
        "log/0000000001.log", "log/spare", "log", "state-1/data.mdb", "state-1", "ballast", "LOCK"};
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        write_at(path_in(f->path, "first-start"), 0, "", 0);
        if (i % 2) assert_int_equal(mkdir(path_in(f->path, "state-1.new"), 0700), 0);
        remove_tree(path_in(f->path, missing[i]));
        must_open(f);
        assert_true(f->contents.fresh);
        assert_true(f->contents.found.identity.cluster != first);
        assert_false(exists(f->path, "first-start"));
        assert_false(exists(f->path, "state-1.new"));
        must_open(f);
        assert_false(f->contents.fresh);
        close_directory(f);
    }
}

static void open_once(void *context)
{
    struct fixture *f = context;
    if (!open_directory(f)) abort();
}

/* Ends the first start at each of its flushes, by a failure or by the process's death. */
static void a_failing_first_start_leaves_nothing_half_made(void **state)
{
    struct fixture *f = *state;
    int made_again = 0;
    bool finished = false;
    for (int at = 1; at < 50; at++) {
        faults.sync = (struct fault){.countdown = at, .error = EIO};
        int status;
        pid_t child = fork();
        if (child == 0) {
            int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
            dup2(null, STDERR_FILENO);
            open_once(f);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) break;
        faults_clear();
        must_open(f);
        assert_false(finished && f->contents.fresh); /* from some flush on all of it is there */
        finished = !f->contents.fresh;
        made_again += f->contents.fresh;
        live(f, 1, 2);
        must_open(f);
        assert_int_equal(state_mark(f->contents.state).applied, 2);
        close_directory(f);
        remove_tree(f->path);
    }
    assert_true(made_again > 8 && finished);
}

static void what_is_missing_is_never_made_anew(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    live(f, 1, 3);
    close_directory(f);
    char aside[500], log[500], kept[500], state_dir[500];
    snprintf(log, sizeof log, "%s/log", f->path);
    snprintf(state_dir, sizeof state_dir, "%s/state-1", f->path);
    snprintf(aside, sizeof aside, "%s/aside", f->root);
    snprintf(kept, sizeof kept, "%s/kept", f->root);
    assert_int_equal(rename(log, aside), 0);
    must_refuse(f, "/data/log cannot be read or written: No such file or directory");
    assert_int_equal(mkdir(log, 0700), 0);
    must_refuse(f, "there is no log in");
    assert_int_equal(remove(log), 0);
    assert_int_equal(rename(aside, log), 0);
    assert_int_equal(rename(state_dir, kept), 0);
    must_refuse(f, "/data/state-1/data.mdb is missing");
    assert_int_equal(rename(kept, state_dir), 0);
    must_open(f);
    assert_int_equal(state_mark(f->contents.state).applied, 3);
}

static void left_over_states_are_removed(void **state)
{
    struct fixture *f = *state;
    must_open(f);
    live(f, 1, 1);
    close_directory(f);
    assert_int_equal(mkdir(path_in(f->path, "state-2"), 0700), 0);
    assert_int_equal(mkdir(path_in(f->path, "state-1.new"), 0700), 0);
    write_at(path_in(f->path, "state-2/data.mdb"), 0, "x", 1);
    write_at(path_in(f->path, "notes.txt"), 0, "x", 1);
    must_open(f);
    assert_false(exists(f->path, "state-2"));
    assert_false(exists(f->path, "state-1.new"));
    assert_true(exists(f->path, "notes.txt"));
    assert_int_equal(state_mark(f->contents.state).applied, 1);
}

static void copy_file(const char *from, const char *to)
{
    char command[1200];
    snprintf(command, sizeof command, "cp -r %s %s", from, to);
    assert_int_equal(system(command), 0);
}

static void a_log_and_a_state_that_do_not_belong_together_are_refused(void **state)
{
    struct fixture *f = *state;
    char early[500], other[500];
    snprintf(early, sizeof early, "%s/early", f->root);
    snprintf(other, sizeof other, "%s/other", f->root);
    must_open(f);
    live(f, 1, 2);
    close_directory(f);
    copy_file(f->path, early);
    must_open(f);
    live(f, 3, 900); /* over several segments */
    assert_true(raftlog_trim(f->contents.log, 900) > 2);
    close_directory(f);

    remove_tree(path_in(early, "state-1"));
    copy_file(path_in(f->path, "state-1"), path_in(early, "state-1"));
    f->where = early;
    must_refuse(f, "the state has entry 900, but the log ends at 2: a part of the log is missing");

    f->where = other; /* another cluster's state */
    must_open(f);
    close_directory(f);
    remove_tree(path_in(early, "state-1"));
    copy_file(path_in(other, "state-1"), path_in(early, "state-1"));
    f->where = early;
    must_refuse(f, "belongs to another node than the log beside it");
}

static void a_state_older_than_the_log_is_refused(void **state)
{
    struct fixture *f = *state;
    char old[500];
    snprintf(old, sizeof old, "%s/old", f->root);
    must_open(f);
    live(f, 1, 2);
    close_directory(f);
    copy_file(path_in(f->path, "state-1"), old);
    must_open(f);
    live(f, 3, 900);
    assert_true(raftlog_trim(f->contents.log, 900) > 2);
    close_directory(f);
    remove_tree(path_in(f->path, "state-1"));
    copy_file(old, path_in(f->path, "state-1"));
    must_refuse(f, "the state ends at entry 2, but the log begins after");
}

static void a_full_disk_refuses_the_first_start_but_not_the_next(void **state)
{
    struct fixture *f = *state;
    faults.allocate = (struct fault){.countdown = 1, .error = ENOSPC};
    must_refuse(f, "No space left on device; make room, or name another directory");
    faults_clear();
    must_open(f);
    assert_true(f->contents.fresh);
    live(f, 1, 2);
    close_directory(f);
    faults.allocate = (struct fault){.countdown = 1, .error = ENOSPC};
    faults.write = (struct fault){.countdown = 1, .error = ENOSPC};
    faults.free_bytes = 0;
    must_open(f);
    assert_int_equal(state_mark(f->contents.state).applied, 2);
}

/* The real thing: a file system of 64 MiB (root only). */
static void on_a_small_file_system_it_fills_up_and_recovers(void **state)
{
    struct fixture *f = *state;
    char command[1000];
    snprintf(command, sizeof command, "mkdir %s && mount -t tmpfs -o size=64m tmpfs %s 2>/dev/null", f->path,
             f->path);
    if (geteuid() != 0 || system(command) != 0) {
        print_message("skipped: this needs root, to mount a small tmpfs\n");
        skip();
    }
    char data[500], hog[500];
    snprintf(data, sizeof data, "%s/data", f->path);
    snprintf(hog, sizeof hog, "%s/hog", f->path);
    f->settings = (struct datadir_settings){0};
    f->where = data;
    must_open(f);
    uint64_t now_ms = 1000;
    bool full_at_first = raftlog_full(f->contents.log, now_ms);
    snprintf(command, sizeof command, "head -c 100M /dev/zero > %s 2>/dev/null", hog);
    int filled = system(command);
    bool full = raftlog_full(f->contents.log, now_ms += 1000);
    static const uint8_t large[100000];
    for (int i = 0; i < 20; i++)
        rows_put(state_rows(f->contents.state), slice_of(&i, sizeof i), slice_of(large, sizeof large));
    state_set_mark(f->contents.state, 1, 1, 1);
    int first = state_commit(f->contents.state);
    struct raft_hard hard = {1, 0, 0};
    struct raft_entry entry = {1, 1, RAFT_NOOP, 0, {0}};
    entry.chain = raft_chain(0, &entry);
    int appended = raftlog_append(f->contents.log, &(struct raftlog_write){&hard, &entry, 1});
    for (int i = 0; i < 20; i++)
        rows_put(state_rows(f->contents.state), slice_of(&i, sizeof i), slice_of(large, sizeof large));
    state_set_mark(f->contents.state, 1, 1, 1);
    int second = state_commit(f->contents.state); /* from the ballast */
    bool still_full = raftlog_full(f->contents.log, now_ms += 1000);
    bool reopened = (close_directory(f), open_directory(f));
    remove(hog);
    bool full_at_last = !reopened || raftlog_full(f->contents.log, now_ms += 1000);
    bool ballast = exists(data, "ballast");
    close_directory(f);
    snprintf(command, sizeof command, "umount %s", f->path);
    assert_int_equal(system(command), 0);
    assert_false(full_at_first);
    assert_true(filled != 0 && full && still_full && reopened);
    assert_int_equal(first, -ENOSPC);
    assert_int_equal(appended, 0);
    assert_int_equal(second, 0);
    assert_false(full_at_last);
    assert_true(ballast);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_start_makes_a_cluster_of_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_first_starts_make_two_clusters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_directory_is_taken_and_parents_are_not_made, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(only_one_process_may_have_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_name_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_and_paths_have_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(somebody_elses_directory_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(network_file_systems_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_half_made_first_start_is_made_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failing_first_start_leaves_nothing_half_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_missing_is_never_made_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(left_over_states_are_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_and_a_state_that_do_not_belong_together_are_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_state_older_than_the_log_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_refuses_the_first_start_but_not_the_next, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(on_a_small_file_system_it_fills_up_and_recovers, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
