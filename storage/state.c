/* The state in LMDB.
 *
 * Data base "rows":  key -> value, CRC-32C of key and value (4 bytes, little-endian).
 * Data base "about": "mark" -> format, cluster, node, applied, term, time_ms, digest (8 bytes each, little-endian), CRC-32C of those.
 *
 * Invariants: 1. the write transaction is open except inside state_commit. 2. the mark in "about" describes the rows of the same
 * transaction. 3. digest is the sum of row_hash over all rows. */
#include "storage/state.h"

#include "base/buffer.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/memory.h"
#include "storage/disk.h"

#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FORMAT = 1, CRC_SIZE = 4, MARK_NUMBERS = 7 };

struct rows {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi, about;
    MDB_cursor *cursor; /* of the open transaction */
    uint64_t digest;
    size_t dirty;
    struct buffer scratch;
};

struct state {
    struct rows rows;
    uint64_t cluster, node;
    struct state_mark mark, committed, synced;
    char path[512];
};

static void must(int error, const char *what)
{
    if (error) fatal("the state cannot be used (%s: %s); restart this node, or empty its data directory and add it anew", what, mdb_strerror(error));
}

/* --- rows --- */

static struct slice checked(struct slice key, const MDB_val *value)
{
    uint32_t crc;
    if (value->mv_size >= CRC_SIZE) {
        size_t size = value->mv_size - CRC_SIZE;
        memcpy(&crc, (const char *)value->mv_data + size, CRC_SIZE);
        if (crc == crc32c(crc32c(0, key.data, key.size), value->mv_data, size)) return slice_of(value->mv_data, size);
    }
    fatal("the state is damaged: a row of kind '%c' has a wrong checksum; empty this node's data directory and add it anew",
          key.size ? key.data[0] : '?');
}

static MDB_val val(struct slice bytes)
{
    return (MDB_val){bytes.size, (void *)(uintptr_t)bytes.data};
}

bool rows_get(struct rows *rows, struct slice key, struct slice *value)
{
    MDB_val k = val(key), v;
    int error = mdb_get(rows->txn, rows->dbi, &k, &v);
    if (error == MDB_NOTFOUND) return false;
    must(error, "get");
    *value = checked(key, &v);
    return true;
}

void rows_put(struct rows *rows, struct slice key, struct slice value)
{
    struct slice old;
    if (rows_get(rows, key, &old)) {
        if (slice_equal(old, value)) return;
        rows->digest -= row_hash(key, old);
    }
    rows->digest += row_hash(key, value);
    rows->dirty++;
    uint32_t crc = crc32c(crc32c(0, key.data, key.size), value.data, value.size);
    rows->scratch.size = 0;
    buffer_add_slice(&rows->scratch, value);
    buffer_add(&rows->scratch, &crc, CRC_SIZE);
    MDB_val k = val(key), v = val(buffer_slice(&rows->scratch));
    must(mdb_put(rows->txn, rows->dbi, &k, &v, 0), "put");
}

bool rows_delete(struct rows *rows, struct slice key)
{
    struct slice old;
    if (!rows_get(rows, key, &old)) return false;
    rows->digest -= row_hash(key, old);
    rows->dirty++;
    MDB_val k = val(key);
    must(mdb_del(rows->txn, rows->dbi, &k, NULL), "delete");
    return true;
}

static bool at_cursor(struct rows *rows, int error, MDB_val *k, MDB_val *v, struct slice *key, struct slice *value)
{
    if (error == MDB_NOTFOUND) return false;
    must(error, "seek");
    (void)rows;
    *key = slice_of(k->mv_data, k->mv_size);
    *value = checked(*key, v);
    return true;
}

bool rows_seek(struct rows *rows, struct slice from, struct slice *key, struct slice *value)
{
    MDB_val k = val(from), v;
    int error = mdb_cursor_get(rows->cursor, &k, &v, from.size ? MDB_SET_RANGE : MDB_FIRST);
    return at_cursor(rows, error, &k, &v, key, value);
}

bool rows_seek_back(struct rows *rows, struct slice before, struct slice *key, struct slice *value)
{
    MDB_val k = val(before), v;
    int error = before.size ? mdb_cursor_get(rows->cursor, &k, &v, MDB_SET_RANGE) : MDB_NOTFOUND;
    if (before.size == 0) return false;
    error = mdb_cursor_get(rows->cursor, &k, &v, error == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
    return at_cursor(rows, error, &k, &v, key, value);
}

uint64_t rows_digest(const struct rows *rows)
{
    return rows->digest;
}

/* --- the mark --- */

static void encode_mark(const struct state *state, const struct state_mark *mark, uint64_t digest, struct buffer *out)
{
    const uint64_t numbers[MARK_NUMBERS] = {FORMAT, state->cluster, state->node, mark->applied, mark->term, mark->time_ms, digest};
    for (size_t i = 0; i < MARK_NUMBERS; i++) buffer_add_u64le(out, numbers[i]);
    buffer_add_u32le(out, crc32c(0, out->data, out->size));
}

static int put_mark(struct state *state)
{
    struct buffer bytes = {0};
    encode_mark(state, &state->mark, state->rows.digest, &bytes);
    MDB_val k = {4, (void *)(uintptr_t) "mark"}, v = val(buffer_slice(&bytes));
    int error = mdb_put(state->rows.txn, state->rows.about, &k, &v, 0);
    buffer_free(&bytes);
    return error;
}

static bool decode_mark(struct slice bytes, uint64_t numbers[MARK_NUMBERS])
{
    uint32_t crc;
    uint32_t right = bytes.size > 4 ? crc32c(0, bytes.data, bytes.size - 4) : 0;
    for (size_t i = 0; i < MARK_NUMBERS; i++)
        if (!take_u64le(&bytes, &numbers[i])) return false;
    return take_u32le(&bytes, &crc) && bytes.size == 0 && crc == right;
}

#define REFUSE(error, size, ...) (snprintf(error, size, __VA_ARGS__), false)

static bool read_mark(struct state *state, char *error, size_t size)
{
    uint64_t numbers[MARK_NUMBERS];
    MDB_val k = {4, (void *)(uintptr_t) "mark"}, v;
    int rc = mdb_get(state->rows.txn, state->rows.about, &k, &v);
    if (rc || !decode_mark(slice_of(v.mv_data, v.mv_size), numbers))
        return REFUSE(error, size, "%s is damaged (no valid mark); empty this node's data directory and add it anew", state->path);
    if (numbers[0] != FORMAT)
        return REFUSE(error, size, "%s has format %llu, this coordd reads %d; run the coordd that wrote it", state->path,
                      (unsigned long long)numbers[0], FORMAT);
    if (numbers[1] != state->cluster || numbers[2] != state->node)
        return REFUSE(error, size, "%s belongs to another node or cluster; put back the directory that belongs to this log", state->path);
    state->mark = (struct state_mark){numbers[3], numbers[4], numbers[5], numbers[6]};
    state->committed = state->mark;
    state->rows.digest = numbers[6];
    return true;
}

/* --- open, commit --- */

static int begin(struct state *state)
{
    int error = mdb_txn_begin(state->rows.env, NULL, 0, &state->rows.txn);
    if (!error && state->rows.dbi) error = mdb_cursor_open(state->rows.txn, state->rows.dbi, &state->rows.cursor);
    return error;
}

static int open_env(const char *path, size_t map_bytes, MDB_env **env)
{
    int error = mdb_env_create(env);
    if (!error) error = mdb_env_set_mapsize(*env, map_bytes);
    if (!error) error = mdb_env_set_maxdbs(*env, 2);
    if (!error) error = mdb_env_set_maxreaders(*env, 512);
    if (!error) error = mdb_env_open(*env, path, MDB_NOTLS | MDB_NOMETASYNC, 0600);
    return error;
}

static int open_tables(struct state *state, unsigned flags)
{
    int error = begin(state);
    if (!error) error = mdb_dbi_open(state->rows.txn, "rows", flags, &state->rows.dbi);
    if (!error) error = mdb_dbi_open(state->rows.txn, "about", flags, &state->rows.about);
    if (!error) error = mdb_cursor_open(state->rows.txn, state->rows.dbi, &state->rows.cursor);
    return error;
}

/* A file shorter than its pages say would be a SIGBUS at the first touch: LMDB maps it without looking. */
static bool whole(const char *path, MDB_env *env, char *error, size_t size)
{
    char file[600];
    struct stat facts;
    MDB_envinfo info;
    MDB_stat stat_;
    snprintf(file, sizeof file, "%s/data.mdb", path);
    mdb_env_info(env, &info);
    mdb_env_stat(env, &stat_);
    if (stat(file, &facts) == 0 && (uint64_t)facts.st_size >= (uint64_t)(info.me_last_pgno + 1) * stat_.ms_psize) return true;
    return REFUSE(error, size, "%s is shorter than it was; empty this node's data directory and add it anew", file);
}

static bool prepare(struct state *state, const char *path, size_t map_bytes, char *error, size_t size)
{
    char file[600];
    struct stat facts;
    snprintf(file, sizeof file, "%s/data.mdb", path);
    if (stat(file, &facts) || facts.st_size < 2 * 4096)
        return REFUSE(error, size, "%s is missing or cut short; empty this node's data directory and add it anew", file);
    int rc = open_env(path, map_bytes, &state->rows.env);
    if (rc)
        return REFUSE(error, size, "%s cannot be opened (%s); when it is damaged, empty this node's data directory and add it anew", file,
                      mdb_strerror(rc));
    int dead;
    mdb_reader_check(state->rows.env, &dead);
    if (!whole(path, state->rows.env, error, size)) return false;
    rc = open_tables(state, 0);
    if (rc)
        return REFUSE(error, size, "%s is damaged (%s); empty this node's data directory and add it anew", file, mdb_strerror(rc));
    if (!read_mark(state, error, size)) return false;
    must(mdb_env_sync(state->rows.env, 1), "sync"); /* what a crash of the process alone left in the page cache */
    state->synced = state->committed;
    return true;
}

struct state *state_open(const char *dir, uint64_t cluster, uint64_t node, size_t map_bytes, char *error, size_t error_size)
{
    struct state *state = memory_new(sizeof *state);
    state->cluster = cluster;
    state->node = node;
    snprintf(state->path, sizeof state->path, "%s", dir);
    if (prepare(state, dir, map_bytes, error, error_size)) return state;
    state_close(state);
    return NULL;
}

void state_close(struct state *state)
{
    if (state->rows.cursor) mdb_cursor_close(state->rows.cursor);
    if (state->rows.txn) mdb_txn_abort(state->rows.txn);
    if (state->rows.env) mdb_env_close(state->rows.env);
    buffer_free(&state->rows.scratch);
    free(state);
}

/* Made beside its place and renamed: a directory of that name is a whole state. */
int state_create(const char *dir, uint64_t cluster, uint64_t node, char *error, size_t error_size)
{
    char making[600], file[700];
    struct state state = {.cluster = cluster, .node = node};
    snprintf(making, sizeof making, "%s.new", dir);
    snprintf(file, sizeof file, "%s/data.mdb", making);
    int rc = mkdir(making, 0700) ? errno : open_env(making, 16 * 1024 * 1024, &state.rows.env);
    if (!rc) rc = open_tables(&state, MDB_CREATE);
    if (!rc) rc = put_mark(&state);
    if (state.rows.cursor) mdb_cursor_close(state.rows.cursor);
    if (!rc) rc = mdb_txn_commit(state.rows.txn);
    else if (state.rows.txn) mdb_txn_abort(state.rows.txn);
    if (!rc) rc = mdb_env_sync(state.rows.env, 1);
    if (state.rows.env) mdb_env_close(state.rows.env);
    if (!rc) rc = -disk_sync_directory(making);
    if (!rc) rc = -disk_rename(making, dir);
    if (rc) snprintf(error, error_size, "cannot make the state %s: %s", dir, mdb_strerror(rc));
    return rc ? (rc > 0 ? -rc : -EIO) : 0;
}

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

size_t state_dirty(const struct state *state)
{
    return state->rows.dirty;
}

/* With MDB_NOMETASYNC the flush of a commit covers its pages and the meta page of the commit before; its own meta page goes with the next
 * flush. So what this commit makes certain, and the log may be trimmed behind, is the commit before. */
int state_commit(struct state *state)
{
    must(put_mark(state), "mark");
    mdb_cursor_close(state->rows.cursor);
    state->rows.cursor = NULL;
    int error = mdb_txn_commit(state->rows.txn);
    state->rows.txn = NULL;
    state->rows.dirty = 0;
    bool full = error == ENOSPC || (error == EIO && disk_free_bytes(state->path) < 1024 * 1024);
    if (error && !full) must(error, "commit");
    if (!error) {
        state->synced = state->committed;
        state->committed = state_mark(state);
    }
    must(begin(state), "begin");
    if (full) {
        char reason[256];
        CHECK(read_mark(state, reason, sizeof reason));
        return -ENOSPC;
    }
    return 0;
}
