/* struct rows in LMDB: key -> value and CRC-32C of key and value (4 bytes, little-endian). */
#include "storage/state_internal.h"

#include "base/check.h"
#include "base/crc32c.h"

enum { CRC_SIZE = 4, KEY_MAX = 511, PAGE_BYTES = 4096 };

static uint32_t row_crc(struct slice key, struct slice value)
{
    return crc32c(crc32c(0, key.data, key.size), value.data, value.size);
}

struct slice rows_checked(struct slice key, const MDB_val *stored)
{
    uint32_t crc;
    if (stored->mv_size >= CRC_SIZE) {
        struct slice value = slice_of(stored->mv_data, stored->mv_size - CRC_SIZE);
        memcpy(&crc, value.data + value.size, CRC_SIZE);
        if (crc == row_crc(key, value)) return value;
    }
    fatal("the state is damaged: a row of kind '%c' has a wrong checksum; check the disk, then put back a "
          "good copy of "
          "the data directory, or begin with an empty one",
          key.size && key.data[0] >= ' ' && key.data[0] <= '~' ? key.data[0] : '?');
}

bool rows_get(struct rows *rows, struct slice key, struct slice *value)
{
    MDB_val k = state_val(key), v;
    int error = mdb_get(rows_transaction(rows), rows->dbi, &k, &v);
    if (error == MDB_NOTFOUND) return false;
    state_must(error, "get");
    *value = rows_checked(key, &v);
    return true;
}

/* A page that is changed lies in memory of its own, at another place than its like: by their addresses the
 * pages are told apart, well enough to say how much a commit will write. */
static void touch(struct rows *rows, const void *place, size_t value_size)
{
    uint64_t page = (uint64_t)(uintptr_t)place / PAGE_BYTES * 0x9e3779b97f4a7c15u >> 48;
    uint64_t *word = &rows->touched[page % TOUCHED_PAGES / 64], bit = (uint64_t)1 << page % 64;
    rows->pages += value_size / PAGE_BYTES + !(*word & bit);
    *word |= bit;
}

/* With the cursor, so that what is written next to it is found at once. */
static bool find(struct rows *rows, struct slice key, struct slice *old)
{
    rows_transaction(rows);
    MDB_val k = state_val(key), v;
    int error = mdb_cursor_get(rows->cursor, &k, &v, MDB_SET);
    if (error == MDB_NOTFOUND) return false;
    state_must(error, "get");
    *old = rows_checked(key, &v);
    return true;
}

/* What it writes is copied first: key and value may lie in the very page that LMDB moves things about in. */
void rows_put(struct rows *rows, struct slice key, struct slice value)
{
    struct slice old;
    uint8_t own_key[KEY_MAX];
    CHECK(key.size >= 1 && key.size <= KEY_MAX);
    bool present = find(rows, key, &old);
    if (present && slice_equal(old, value)) return;
    undo_note(&rows->undo, key, present ? &old : NULL);
    if (present) rows->digest -= row_hash(key, old);
    rows->digest += row_hash(key, value);
    rows->dirty += 1 + value.size / PAGE_BYTES;
    uint32_t crc = row_crc(key, value);
    rows->scratch.size = 0;
    buffer_add_slice(&rows->scratch, value);
    buffer_add(&rows->scratch, &crc, CRC_SIZE);
    memcpy(own_key, key.data, key.size);
    MDB_val k = {key.size, own_key}, v = {rows->scratch.size, NULL};
    state_must(mdb_cursor_put(rows->cursor, &k, &v, MDB_RESERVE), "put");
    memcpy(v.mv_data, rows->scratch.data, rows->scratch.size);
    touch(rows, v.mv_data, value.size);
}

bool rows_delete(struct rows *rows, struct slice key)
{
    struct slice old;
    if (!find(rows, key, &old)) return false;
    undo_note(&rows->undo, key, &old);
    rows->digest -= row_hash(key, old);
    rows->dirty++;
    touch(rows, old.data, 0);
    state_must(mdb_cursor_del(rows->cursor, 0), "delete");
    return true;
}

static bool found(int error, const MDB_val *k, const MDB_val *v, struct slice *key, struct slice *value)
{
    if (error == MDB_NOTFOUND) return false;
    state_must(error, "seek");
    *key = slice_of(k->mv_data, k->mv_size);
    *value = rows_checked(*key, v);
    return true;
}

bool rows_seek(struct rows *rows, struct slice from, struct slice *key, struct slice *value)
{
    rows_transaction(rows);
    MDB_val k = state_val(from), v;
    int error = mdb_cursor_get(rows->cursor, &k, &v, from.size ? MDB_SET_RANGE : MDB_FIRST);
    return found(error, &k, &v, key, value);
}

bool rows_seek_back(struct rows *rows, struct slice before, struct slice *key, struct slice *value)
{
    if (before.size == 0) return false;
    rows_transaction(rows);
    MDB_val k = state_val(before), v;
    int error = mdb_cursor_get(rows->cursor, &k, &v, MDB_SET_RANGE);
    if (error != MDB_NOTFOUND) state_must(error, "seek");
    error = mdb_cursor_get(rows->cursor, &k, &v, error == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
    return found(error, &k, &v, key, value);
}

void rows_try(struct rows *rows)
{
    undo_start(&rows->undo);
}

void rows_decide(struct rows *rows, bool keep)
{
    undo_finish(&rows->undo, rows, keep);
}

uint64_t rows_digest(const struct rows *rows)
{
    return rows->digest;
}

uint64_t state_check(struct state *state)
{
    struct rows *rows = state_rows(state);
    MDB_txn *txn = rows_transaction(rows);
    MDB_stat facts;
    MDB_val k, v;
    uint64_t count = 0, digest = 0;
    struct buffer last = {0};
    for (int error = mdb_cursor_get(rows->cursor, &k, &v, MDB_FIRST); error != MDB_NOTFOUND;
         error = mdb_cursor_get(rows->cursor, &k, &v, MDB_NEXT)) {
        state_must(error, "check");
        struct slice key = slice_of(k.mv_data, k.mv_size);
        CHECK(slice_compare(buffer_slice(&last), key) < 0);
        digest += row_hash(key, rows_checked(key, &v));
        last.size = 0;
        buffer_add_slice(&last, key);
        count++;
    }
    buffer_free(&last);
    state_must(mdb_stat(txn, rows->dbi, &facts), "check");
    CHECK(digest == rows->digest && count == facts.ms_entries);
    return count;
}
