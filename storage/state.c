/* The state in LMDB: the environment, the mark and the commits.
 *
 * Data base "rows":  see state_rows.c.
 * Data base "about": "mark" -> format, cluster, node, applied, term, time_ms, digest (8 bytes each,
 * little-endian), CRC-32C of those.
 *
 * Invariants
 * 1. The mark in "about" describes the rows of the same transaction.
 * 2. digest is the sum of row_hash over all rows.
 * 3. synced <= committed <= mark. With MDB_NOMETASYNC the flush of a commit covers its pages and the meta
 * page of the commit before; its own meta page goes with the next flush. So what a commit makes certain is
 * the commit before it.
 *
 * LMDB knows no checksums, and maps its file without looking at its size: what can be checked is checked
 * before it is opened. */
#include "storage/state_internal.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "base/memory.h"
#include "base/mutant.h"
#include "storage/ballast.h"
#include "storage/disk.h"
#include "storage/state_pages.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#define REMEDY "put back a good copy of the data directory, or begin with an empty one"

enum { FORMAT = 1, MARK_NUMBERS = 7, MARK_SIZE = MARK_NUMBERS * 8 + 4, PATH_SIZE = 1024, READERS_MAX = 512 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MAP_BYTES ((size_t)4 << 30)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MAP_BYTES ((size_t)4 << 30)
#endif
#endif
#ifndef MAP_BYTES
#define MAP_BYTES ((size_t)64 << 30)
#endif

struct state {
    struct rows rows;
    uint64_t cluster, node;
    struct state_mark mark, committed, synced;
    char dir[512];
};

void state_must(int error, const char *what)
{
    if (error)
        fatal(
            "the state cannot be used (%s: %s); check the disk and start again; when it comes back, " REMEDY,
            what, mdb_strerror(error));
}

static void assertion(MDB_env *env, const char *text)
{
    (void)env;
    fatal("the state is damaged (LMDB: %s); check the disk, then " REMEDY, text);
}

__attribute__((format(printf, 3, 4))) static bool refuse(char *error, size_t size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, size, format, arguments);
    va_end(arguments);
    return false;
}

/* The transaction */

static int begin(struct rows *rows)
{
    int error = mdb_txn_begin(rows->env, NULL, 0, &rows->txn);
    rows->owner = pthread_self();
    return error;
}

MDB_txn *rows_transaction(struct rows *rows)
{
    if (!rows->txn) {
        state_must(begin(rows), "begin");
        state_must(mdb_cursor_open(rows->txn, rows->dbi, &rows->cursor), "cursor");
    }
    return rows->txn;
}

static void let_go(struct rows *rows)
{
    if (rows->cursor) mdb_cursor_close(rows->cursor);
    rows->cursor = NULL;
}

static int finish(struct rows *rows, bool commit)
{
    let_go(rows);
    MDB_txn *txn = rows->txn;
    rows->txn = NULL;
    if (txn && commit) return mdb_txn_commit(txn);
    if (txn) mdb_txn_abort(txn);
    return 0;
}

/* The mark */

static MDB_val mark_key(void)
{
    return state_val(SLICE("mark"));
}

static int put_mark(struct state *state)
{
    struct state_mark mark = state_mark(state);
    const uint64_t numbers[MARK_NUMBERS] = {FORMAT,    state->cluster, state->node, mark.applied,
                                            mark.term, mark.time_ms,   mark.digest};
    struct buffer bytes = {0};
    for (size_t i = 0; i < MARK_NUMBERS; i++) buffer_add_u64le(&bytes, numbers[i]);
    buffer_add_u32le(&bytes, crc32c(0, bytes.data, bytes.size));
    MDB_val k = mark_key(), v = state_val(buffer_slice(&bytes));
    int error = mdb_put(state->rows.txn, state->rows.about, &k, &v, 0);
    buffer_free(&bytes);
    return error;
}

static bool decode_mark(struct slice bytes, uint64_t numbers[MARK_NUMBERS])
{
    uint32_t crc, right = bytes.size == MARK_SIZE ? crc32c(0, bytes.data, MARK_SIZE - 4) : 0;
    for (size_t i = 0; i < MARK_NUMBERS; i++)
        if (!take_u64le(&bytes, &numbers[i])) return false;
    return take_u32le(&bytes, &crc) && bytes.size == 0 && crc == right;
}

static bool read_mark(struct state *state, char *error, size_t size)
{
    uint64_t numbers[MARK_NUMBERS];
    MDB_val k = mark_key(), v;
    int failed = mdb_get(state->rows.txn, state->rows.about, &k, &v);
    if (failed || !decode_mark(slice_of(v.mv_data, v.mv_size), numbers))
        return refuse(error, size, "%s/data.mdb is damaged (no good mark); check the disk, then " REMEDY,
                      state->dir);
    if (numbers[0] != FORMAT)
        return refuse(error, size, "%s has format %llu, this coordd reads %d; run the version that wrote it",
                      state->dir, (unsigned long long)numbers[0], FORMAT);
    if (numbers[1] != state->cluster || numbers[2] != state->node)
        return refuse(error, size, "%s belongs to another node than the log beside it; " REMEDY, state->dir);
    state->mark = (struct state_mark){numbers[3], numbers[4], numbers[5], numbers[6]};
    state->committed = state->synced = state->mark;
    state->rows.digest = numbers[6];
    return true;
}

/* Opening */

static bool look_first(const char *dir, char *error, size_t error_size)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/data.mdb", dir);
    int file = disk_open(path, false);
    if (file == -ENOENT) return refuse(error, error_size, "%s is missing; " REMEDY, path);
    if (file < 0)
        return refuse(error, error_size, "%s cannot be read: %s; check the disk and who may use it", path,
                      strerror(-file));
    enum state_pages pages = state_pages_look(file);
    disk_close(file);
    switch (pages) {
    case STATE_PAGES_NO_META:
        return refuse(error, error_size, "%s is damaged (no good meta page); check the disk, then " REMEDY,
                      path);
    case STATE_PAGES_CUT:
        return refuse(error, error_size, "%s has been cut short or is damaged; check the disk, then " REMEDY,
                      path);
    case STATE_PAGES_UNREADABLE:
        return refuse(error, error_size, "%s cannot be read; check the disk", path);
    case STATE_PAGES_WHOLE:
        break;
    }
    return true;
}

static int open_environment(const char *dir, size_t map_bytes, unsigned flags, MDB_env **env)
{
    int error = mdb_env_create(env);
    if (!error) error = mdb_env_set_mapsize(*env, map_bytes);
    if (!error) error = mdb_env_set_maxdbs(*env, 2);
    if (!error) error = mdb_env_set_maxreaders(*env, READERS_MAX);
    if (!error) error = mdb_env_set_assert(*env, assertion);
    if (!error) error = mdb_env_open(*env, dir, MDB_NOTLS | flags, 0600);
    return error;
}

static int open_tables(struct rows *rows, unsigned flags)
{
    int error = begin(rows);
    if (!error) error = mdb_dbi_open(rows->txn, "rows", flags, &rows->dbi);
    if (!error) error = mdb_dbi_open(rows->txn, "about", flags, &rows->about);
    return error;
}

static bool open_checked(struct state *state, size_t map_bytes, char *error, size_t error_size)
{
    if (!look_first(state->dir, error, error_size)) return false;
    int failed =
        open_environment(state->dir, map_bytes ? map_bytes : MAP_BYTES, MDB_NOMETASYNC, &state->rows.env);
    if (failed == ENOMEM)
        return refuse(error, error_size, "no address space for %s; raise or remove the limit (ulimit -v)",
                      state->dir);
    if (!failed) failed = open_tables(&state->rows, 0);
    if (failed)
        return refuse(error, error_size, "%s/data.mdb cannot be opened: %s; check the disk, then " REMEDY,
                      state->dir, mdb_strerror(failed));
    int dead;
    return mdb_reader_check(state->rows.env, &dead) == 0 && read_mark(state, error, error_size) &&
           finish(&state->rows, true) == 0;
}

struct state *state_open(const char *dir, uint64_t cluster, uint64_t node, size_t map_bytes, char *error,
                         size_t error_size)
{
    struct state *state = memory_new(sizeof *state);
    state->cluster = cluster;
    state->node = node;
    snprintf(state->dir, sizeof state->dir, "%s", dir);
    if (open_checked(state, map_bytes, error, error_size)) return state;
    state_close(state);
    return NULL;
}

void state_close(struct state *state)
{
    finish(&state->rows, false);
    if (state->rows.env) mdb_env_close(state->rows.env);
    buffer_free(&state->rows.scratch);
    undo_free(&state->rows.undo);
    free(state);
}

static int fill_new(struct state *state, const char *making)
{
    enum { NEW_MAP_BYTES = 1024 * 1024 };
    int error = mkdir(making, 0700) ? errno : open_environment(making, NEW_MAP_BYTES, 0, &state->rows.env);
    if (!error) error = open_tables(&state->rows, MDB_CREATE);
    if (!error) error = put_mark(state);
    int ended = finish(&state->rows, error == 0);
    if (!error) error = ended;
    if (!error) error = mdb_env_sync(state->rows.env, 1);
    if (state->rows.env) mdb_env_close(state->rows.env);
    return error;
}

int state_create(const char *dir, uint64_t cluster, uint64_t node, char *error, size_t error_size)
{
    char making[PATH_SIZE];
    struct state state = {.cluster = cluster, .node = node};
    snprintf(making, sizeof making, "%s.new", dir);
    int failed = fill_new(&state, making);
    if (!failed) failed = -disk_sync_directory(making);
    if (!failed) failed = -disk_rename(making, dir);
    if (!failed) return 0;
    snprintf(error, error_size, "no state can be made in %s: %s; make room, or name another directory", dir,
             mdb_strerror(failed));
    return failed > 0 ? -failed : -EIO;
}

/* Marks and commits */

struct rows *state_rows(struct state *state)
{
    return &state->rows;
}

struct state_mark state_mark(const struct state *state)
{
    struct state_mark mark = state->mark;
    mark.digest = state->rows.digest;
    return mark;
}

struct state_mark state_committed(const struct state *state)
{
    return state->committed;
}

struct state_mark state_synced(const struct state *state)
{
    return state->synced;
}

void state_set_mark(struct state *state, uint64_t applied, uint64_t term, uint64_t time_ms)
{
    CHECK(applied == state->mark.applied + 1 && term >= state->mark.term && time_ms >= state->mark.time_ms);
    state->mark = (struct state_mark){.applied = applied, .term = term, .time_ms = time_ms};
    state->rows.dirty++;
}

void state_adopt_mark(struct state *state, const struct state_mark *mark)
{
    CHECK(state->mark.applied == 0);
    state->mark = *mark;
    state->rows.dirty++;
}

void state_sync(struct state *state)
{
    state_must(mdb_env_sync(state->rows.env, 1), "sync");
    state->synced = state->committed;
}

size_t state_dirty(const struct state *state)
{
    return state->rows.dirty;
}

size_t state_pages(const struct state *state)
{
    return state->rows.pages;
}

/* LMDB reports a write cut short by a full disk as EIO, so the disk itself is asked: a full one does not give
 * what the transaction needed. */
static bool disk_is_full(const struct state *state)
{
    enum { LEAST_BYTES = 1024 * 1024, BYTES_EACH = 8192 };
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/probe", state->dir);
    disk_remove(path);
    int file = disk_open(path, true);
    int error = file < 0 ? file : disk_allocate(file, LEAST_BYTES + (uint64_t)state->rows.pages * BYTES_EACH);
    if (file >= 0) disk_close(file);
    disk_remove(path);
    return error == -ENOSPC;
}

int state_commit(struct state *state)
{
    struct rows *rows = &state->rows;
    if (rows->dirty == 0) {
        finish(rows, false);
        return 0;
    }
    rows_transaction(rows);
    CHECK(pthread_equal(rows->owner, pthread_self()));
    state_must(put_mark(state), "mark");
    int error = finish(rows, true);
    if (error && ((error != ENOSPC && error != EIO) || !disk_is_full(state))) state_must(error, "commit");
    rows->dirty = rows->pages = 0;
    memset(rows->touched, 0, sizeof rows->touched);
    if (error) {
        state->mark = state->committed;
        rows->digest = state->committed.digest;
        ballast_drop(state->dir);
        return -ENOSPC;
    }
    state->synced = state->committed;
    state->committed = state_mark(state);
    if (MUTANT(51)) state->synced = state->committed;
    return 0;
}
