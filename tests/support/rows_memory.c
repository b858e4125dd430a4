#include "tests/support/rows_memory.h"

#include "base/check.h"
#include "base/memory.h"
#include "coord/undo.h"

/* Sorted rows in blocks, none of them empty: a put moves few rows, however many there are. What a put or
 * delete replaces is freed at the next one: slices handed out stay valid just as long as they must, and a
 * sanitizer sees who keeps one longer. */
enum { BLOCK_ROWS = 128 };

struct row {
    uint8_t *bytes; /* key, then value */
    size_t key_size, value_size;
};

struct block {
    size_t count;
    struct row rows[BLOCK_ROWS];
};

struct rows {
    struct block **blocks;
    size_t block_count, block_capacity, count;
    uint64_t digest;
    uint8_t *doomed;
    struct undo undo;
};

static struct slice key_of(const struct row *row)
{
    return slice_of(row->bytes, row->key_size);
}

static struct slice value_of(const struct row *row)
{
    return slice_of(row->bytes + row->key_size, row->value_size);
}

struct place {
    size_t block, row;
};

/* The place of the first row whose key is >= key. */
static struct place place_of(const struct rows *rows, struct slice key)
{
    struct place place = {0, 0};
    for (size_t high = rows->block_count; place.block < high;) {
        size_t middle = (place.block + high) / 2;
        const struct block *block = rows->blocks[middle];
        if (slice_compare(key_of(&block->rows[block->count - 1]), key) < 0)
            place.block = middle + 1;
        else
            high = middle;
    }
    if (place.block == rows->block_count) return place;
    const struct block *block = rows->blocks[place.block];
    for (size_t high = block->count; place.row < high;) {
        size_t middle = (place.row + high) / 2;
        if (slice_compare(key_of(&block->rows[middle]), key) < 0)
            place.row = middle + 1;
        else
            high = middle;
    }
    return place;
}

static struct row *row_at(const struct rows *rows, struct place place)
{
    return place.block < rows->block_count ? &rows->blocks[place.block]->rows[place.row] : NULL;
}

static struct row *find(const struct rows *rows, struct slice key)
{
    struct row *row = row_at(rows, place_of(rows, key));
    return row && slice_equal(key_of(row), key) ? row : NULL;
}

struct rows *rows_memory_new(void)
{
    return memory_new(sizeof(struct rows));
}

void rows_memory_free(struct rows *rows)
{
    for (size_t i = 0; i < rows->block_count; i++) {
        for (size_t j = 0; j < rows->blocks[i]->count; j++) free(rows->blocks[i]->rows[j].bytes);
        free(rows->blocks[i]);
    }
    free(rows->blocks);
    free(rows->doomed);
    undo_free(&rows->undo);
    free(rows);
}

static void *copy(const void *data, size_t size)
{
    return memcpy(memory_new(size), data, size);
}

struct rows *rows_memory_clone(const struct rows *rows)
{
    struct rows *clone = rows_memory_new();
    clone->block_count = clone->block_capacity = rows->block_count;
    clone->blocks = memory_new(rows->block_count * sizeof(struct block *));
    clone->count = rows->count;
    clone->digest = rows->digest;
    for (size_t i = 0; i < rows->block_count; i++) {
        struct block *block = clone->blocks[i] = copy(rows->blocks[i], sizeof *block);
        for (size_t j = 0; j < block->count; j++)
            block->rows[j].bytes =
                copy(block->rows[j].bytes, block->rows[j].key_size + block->rows[j].value_size);
    }
    return clone;
}

size_t rows_memory_count(const struct rows *rows)
{
    return rows->count;
}

bool rows_get(struct rows *rows, struct slice key, struct slice *value)
{
    const struct row *row = find(rows, key);
    if (!row) return false;
    *value = value_of(row);
    return true;
}

static void doom(struct rows *rows, const struct row *row)
{
    rows->digest -= row_hash(key_of(row), value_of(row));
    free(rows->doomed);
    rows->doomed = row->bytes;
}

/* An empty block before that one; whoever asks fills it. */
static struct block *new_block(struct rows *rows, size_t before)
{
    if (rows->block_count == rows->block_capacity) {
        rows->block_capacity = rows->block_capacity ? rows->block_capacity * 2 : 16;
        rows->blocks = memory_resize(rows->blocks, rows->block_capacity * sizeof(struct block *));
    }
    memmove(rows->blocks + before + 1, rows->blocks + before,
            (rows->block_count - before) * sizeof(struct block *));
    rows->block_count++;
    return rows->blocks[before] = memory_new(sizeof(struct block));
}

static void insert(struct rows *rows, struct place place, struct row row)
{
    if (rows->block_count == 0) new_block(rows, 0);
    if (place.block == rows->block_count) { /* behind all */
        place.block--;
        place.row = rows->blocks[place.block]->count;
    }
    struct block *block = rows->blocks[place.block];
    if (block->count == BLOCK_ROWS) {
        size_t half = BLOCK_ROWS / 2;
        struct block *upper = new_block(rows, place.block + 1);
        memcpy(upper->rows, block->rows + half, half * sizeof *block->rows);
        block->count = upper->count = half;
        if (place.row > half) {
            block = upper;
            place.row -= half;
        }
    }
    memmove(block->rows + place.row + 1, block->rows + place.row,
            (block->count - place.row) * sizeof *block->rows);
    block->rows[place.row] = row;
    block->count++;
    rows->count++;
}

void rows_put(struct rows *rows, struct slice key, struct slice value)
{
    CHECK(key.size >= 1 && key.size <= 511);
    struct row row = {memory_new(key.size + value.size), key.size, value.size};
    memcpy(row.bytes, key.data, key.size);
    if (value.size) memcpy(row.bytes + key.size, value.data, value.size);
    struct row *there = find(rows, key);
    if (there) {
        struct slice old = value_of(there);
        undo_note(&rows->undo, key_of(&row), &old);
        doom(rows, there);
        *there = row;
    } else {
        undo_note(&rows->undo, key_of(&row), NULL);
        insert(rows, place_of(rows, key), row);
    }
    rows->digest += row_hash(key_of(&row), value_of(&row));
}

bool rows_delete(struct rows *rows, struct slice key)
{
    struct row *row = find(rows, key);
    if (!row) return false;
    struct slice old = value_of(row);
    undo_note(&rows->undo, key, &old);
    struct place place = place_of(rows, key);
    doom(rows, row);
    struct block *block = rows->blocks[place.block];
    block->count--;
    rows->count--;
    memmove(row, row + 1, (block->count - place.row) * sizeof *row);
    if (block->count == 0) {
        free(block);
        rows->block_count--;
        memmove(rows->blocks + place.block, rows->blocks + place.block + 1,
                (rows->block_count - place.block) * sizeof(struct block *));
    }
    return true;
}

static bool give(const struct row *row, struct slice *key, struct slice *value)
{
    if (!row) return false;
    *key = key_of(row);
    *value = value_of(row);
    return true;
}

bool rows_seek(struct rows *rows, struct slice from, struct slice *key, struct slice *value)
{
    return give(row_at(rows, place_of(rows, from)), key, value);
}

bool rows_seek_back(struct rows *rows, struct slice before, struct slice *key, struct slice *value)
{
    struct place place = place_of(rows, before);
    if (place.row == 0) {
        if (place.block == 0) return false;
        place.row = rows->blocks[--place.block]->count;
    }
    place.row--;
    return give(row_at(rows, place), key, value);
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
