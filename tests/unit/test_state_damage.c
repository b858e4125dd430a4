// links: storage lib
/* The state on a disk that is full, that fails, and that has lost or changed something. */
#include "base/crc32c.h"
#include "tests/unit/state_test.h"

#include <lmdb.h>

/* Full and failing disks */

static void fill(struct fixture *f, char letter)
{
    static const uint8_t large[20000];
    char key[16];
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "%c%02d", letter, i);
        rows_put(f->rows, slice_text(key), slice_of(large, sizeof large));
    }
}

static void a_full_disk_takes_the_state_back_to_the_last_commit(void **state)
{
    struct fixture *f = *state;
    const int errors[] = {ENOSPC, EIO}; /* EIO is what LMDB makes of a write cut short */
    for (size_t i = 0; i < 2; i++) {
        put(f, "a", i ? "1" : "2");
        mark(f);
        assert_int_equal(state_commit(f->state), 0);
        struct state_mark committed = state_mark(f->state), synced = state_synced(f->state);
        write_at(path_in(f->root, "ballast"), 0, "x", 1);
        fill(f, 'b');
        rows_delete(f->rows, SLICE("a"));
        mark(f);
        faults.write = (struct fault){.countdown = 1, .error = errors[i]};
        faults.allocate = (struct fault){.countdown = 1, .error = ENOSPC};
        assert_int_equal(state_commit(f->state), -ENOSPC);
        struct state_mark now = state_mark(f->state);
        assert_memory_equal(&now, &committed, sizeof now);
        now = state_synced(f->state);
        assert_memory_equal(&now, &synced, sizeof now);
        assert_int_equal(state_dirty(f->state), 0);
        assert_false(exists(f->root, "ballast"));
        assert_false(exists(f->dir, "probe"));
        f->applied--;
        assert_true(has(f, "a", i ? "1" : "2") && !has(f, "b00", ""));
        state_check(f->state);
        faults_clear(); /* there is room: the caller replays */
        fill(f, 'c');
        mark(f);
        assert_int_equal(state_commit(f->state), 0);
        reopen(f);
        state_check(f->state);
        assert_true(has(f, "a", i ? "1" : "2"));
    }
}

static void commit_something(void *context)
{
    struct fixture *f = context;
    fill(f, 'b');
    mark(f);
    state_commit(f->state);
}

static void a_failing_disk_ends_the_process(void **state)
{
    struct fixture *f = *state;
    faults.write = (struct fault){.countdown = 1, .error = EIO};
    assert_fatal(commit_something, f, "the state cannot be used (commit: Input/output error)");
    faults_clear();
    faults.sync = (struct fault){.countdown = 1, .error = EIO};
    assert_fatal(commit_something, f, "the state cannot be used (commit: Input/output error)");
    faults.sync = (struct fault){.countdown = 1, .error = ENOSPC};
    assert_fatal(commit_something, f, "the state cannot be used (commit: No space left on device)");
}

static void overflow_the_map(void *context)
{
    struct fixture *f = context;
    close_state(f);
    f->state = state_open(f->dir, CLUSTER, NODE, 1 << 20, f->error, sizeof f->error);
    f->rows = state_rows(f->state);
    fill(f, 'a');
    fill(f, 'b');
    mark(f);
    state_commit(f->state);
}

static void a_full_map_ends_the_process(void **state)
{
    assert_fatal(overflow_the_map, *state, "MDB_MAP_FULL");
}

static void state_cannot_be_made_where_there_is_none(void **state)
{
    struct fixture *f = *state;
    assert_int_not_equal(
        state_create(path_in(f->root, "none/state-1"), CLUSTER, NODE, f->error, sizeof f->error), 0);
    assert_non_null(strstr(f->error, "No such file or directory; make room, or name another directory"));
    faults.write = (struct fault){.countdown = 1, .error = ENOSPC};
    assert_int_equal(state_create(path_in(f->root, "state-2"), CLUSTER, NODE, f->error, sizeof f->error),
                     -ENOSPC);
    assert_false(exists(f->root, "state-2"));
}

/* Damage */

static void must_refuse(struct fixture *f, const char *text)
{
    close_state(f);
    if (open_state(f)) fail_msg("opened, instead of refusing because of \"%s\"", text);
    if (!strstr(f->error, text)) fail_msg("said \"%s\", not \"%s\"", f->error, text);
    assert_null(strchr(f->error, '\n'));
}

static void a_state_of_another_node_is_refused(void **state)
{
    struct fixture *f = *state;
    close_state(f);
    assert_null(state_open(f->dir, CLUSTER, NODE + 1, 0, f->error, sizeof f->error));
    assert_non_null(strstr(f->error, "belongs to another node"));
    assert_null(state_open(f->dir, CLUSTER + 1, NODE, 0, f->error, sizeof f->error));
    assert_non_null(strstr(f->error, "belongs to another node"));
    assert_true(open_state(f)); /* nothing stayed open */
}

static void a_truncated_file_is_refused_at_every_length(void **state)
{
    struct fixture *f = *state;
    fill(f, 'a');
    mark(f);
    assert_int_equal(state_commit(f->state), 0);
    close_state(f);
    const char *path = path_in(f->dir, "data.mdb");
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", path);
    struct stat facts;
    assert_int_equal(stat(copy, &facts), 0);
    for (off_t size = facts.st_size - 1; size > 0; size -= size > 20000 ? 100000 : 1999) {
        assert_int_equal(truncate(copy, size), 0);
        must_refuse(f, size >= 4096 + 152 ? "has been cut short" : "no good meta page");
    }
    remove(copy);
    must_refuse(f, "data.mdb is missing");
}

static bool ends_before_its_last_page(const char *path)
{
    struct stat facts;
    uint64_t pages[2], transactions[2];
    for (off_t i = 0; i < 2; i++) {
        read_at(path, i * 4096 + 136, &pages[i], sizeof pages[i]);
        read_at(path, i * 4096 + 144, &transactions[i], sizeof transactions[i]);
    }
    assert_int_equal(stat(path, &facts), 0);
    return (off_t)pages[transactions[1] > transactions[0]] * 4096 >= facts.st_size;
}

/* LMDB does not write pages that it took and gave back in one transaction: a file that ends before them is
 * whole. */
static void a_file_without_the_pages_that_nothing_needs_is_whole(void **state)
{
    struct fixture *f = *state;
    static const uint8_t large[400000];
    char path[1024];
    snprintf(path, sizeof path, "%s", path_in(f->dir, "data.mdb"));
    for (int i = 0; i < 8; i++) { /* the later ones find pages that the earlier ones gave back */
        put(f, "a", i % 2 ? "1" : "2");
        if (i > 3) rows_put(f->rows, SLICE("gone"), slice_of(large, sizeof large));
        if (i > 3) rows_delete(f->rows, SLICE("gone"));
        mark(f);
        assert_int_equal(state_commit(f->state), 0);
    }
    assert_true(ends_before_its_last_page(path));
    uint64_t digest = rows_digest(f->rows);
    reopen(f);
    state_check(f->state);
    assert_true(rows_digest(f->rows) == digest);
}

static void damaged_meta_pages_are_refused(void **state)
{
    struct fixture *f = *state;
    fill(f, 'a');
    mark(f);
    assert_int_equal(state_commit(f->state), 0);
    close_state(f);
    char path[1024];
    uint8_t whole[8192], zeroes[4096] = {0};
    snprintf(path, sizeof path, "%s", path_in(f->dir, "data.mdb"));
    read_at(path, 0, whole, sizeof whole);
    for (off_t page = 0; page < 2; page++) {
        write_at(path, page * 4096, zeroes, sizeof zeroes);
        must_refuse(f, "no good meta page");
        write_at(path, 0, whole, sizeof whole);
        const off_t places[] = {10, 16, 19, 20, 40, 41, 42, 43};
        for (size_t i = 0; i < sizeof places / sizeof *places; i++)
            for (int bit = 0; bit < 8; bit++) {
                flip_at(path, page * 4096 + places[i], (uint8_t)(1 << bit));
                must_refuse(f, "no good meta page");
                write_at(path, 0, whole, sizeof whole);
            }
    }
    flip_at(path, 136 + 5, 1), flip_at(path, 4096 + 136 + 5, 1);
    must_refuse(f, "has been cut short");
    write_at(path, 0, whole, sizeof whole);
    reopen(f);
    state_check(f->state);
}

/* Finds the bytes in the file and flips one of them, everywhere it stands. */
static void rot(struct fixture *f, const char *text)
{
    char path[1024];
    snprintf(path, sizeof path, "%s", path_in(f->dir, "data.mdb"));
    struct stat facts;
    assert_int_equal(stat(path, &facts), 0);
    char *bytes = malloc((size_t)facts.st_size);
    read_at(path, 0, bytes, (size_t)facts.st_size);
    size_t size = strlen(text), hits = 0;
    for (size_t i = 0; i + size <= (size_t)facts.st_size; i++)
        if (memcmp(bytes + i, text, size) == 0) flip_at(path, (off_t)(i + size - 1), 1), hits++;
    assert_true(hits > 0);
    free(bytes);
}

static void read_rotten(void *context)
{
    struct slice value;
    rows_get(((struct fixture *)context)->rows, SLICE("key"), &value);
}

static void seek_rotten(void *context)
{
    struct slice key, value;
    rows_seek(((struct fixture *)context)->rows, SLICE("k"), &key, &value);
}

static void seek_back_rotten(void *context)
{
    struct slice key, value;
    rows_seek_back(((struct fixture *)context)->rows, SLICE("l"), &key, &value);
}

static void replace_rotten(void *context)
{
    rows_put(((struct fixture *)context)->rows, SLICE("key"), SLICE("new"));
}

static void delete_rotten(void *context)
{
    rows_delete(((struct fixture *)context)->rows, SLICE("key"));
}

static void check_rotten(void *context)
{
    state_check(((struct fixture *)context)->state);
}

static void a_rotten_row_ends_the_process(void **state)
{
    struct fixture *f = *state;
    put(f, "key", "a value worth keeping");
    mark(f);
    assert_int_equal(state_commit(f->state), 0);
    close_state(f);
    rot(f, "a value worth keeping");
    assert_true(open_state(f));
    void (*const ways[])(void *) = {read_rotten,    seek_rotten,   seek_back_rotten,
                                    replace_rotten, delete_rotten, check_rotten};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        assert_fatal(ways[i], f, "a row of kind 'k' has a wrong checksum");
}

static void write_mark(struct fixture *f, const void *bytes, size_t size)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi about;
    MDB_val key = {4, (void *)(uintptr_t) "mark"}, value = {size, (void *)(uintptr_t)bytes};
    close_state(f);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 2), 0);
    assert_int_equal(mdb_env_open(env, f->dir, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "about", 0, &about), 0);
    assert_int_equal(size ? mdb_put(txn, about, &key, &value, 0) : mdb_del(txn, about, &key, NULL), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void a_mark_that_cannot_be_read_is_refused(void **state)
{
    struct fixture *f = *state;
    uint64_t numbers[8] = {2, CLUSTER, NODE, 0, 0, 0, 0, 0};
    uint32_t crc = crc32c(0, numbers, 56);
    memcpy(&numbers[7], &crc, 4);
    write_mark(f, numbers, 60);
    must_refuse(f, "has format 2, this coordd reads 1; run the version that wrote it");
    numbers[0] = 1;
    write_mark(f, numbers, 60);
    must_refuse(f, "no good mark");
    write_mark(f, numbers, 20);
    must_refuse(f, "no good mark");
    write_mark(f, NULL, 0);
    must_refuse(f, "no good mark");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_disk_takes_the_state_back_to_the_last_commit, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_failing_disk_ends_the_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_map_ends_the_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(state_cannot_be_made_where_there_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_state_of_another_node_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_truncated_file_is_refused_at_every_length, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_without_the_pages_that_nothing_needs_is_whole, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(damaged_meta_pages_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rotten_row_ends_the_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_mark_that_cannot_be_read_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
