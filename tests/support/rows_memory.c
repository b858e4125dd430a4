#include "tests/support/rows_memory.h"

#include "base/check.h"
#include "base/memory.h"
#include "coord/undo.h"

/* A sorted array. What a put or delete replaces is freed at the next one: slices handed out stay valid just
 * as long as they must, and a sanitizer sees who keeps one longer. */
struct row {
    uint8_t *bytes; /* key, then value */
    size_t key_size, value_size;
};

struct rows {
    struct row *rows;
    size_t count, capacity;
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

/* The place of the first row whose key is >= key. */
static size_t place_of(const struct rows *rows, struct slice key)
{
    size_t low = 0, high = rows->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(key_of(&rows->rows[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct rows *rows, size_t place, struct slice key)
{
    return place < rows->count && slice_equal(key_of(&rows->rows[place]), key);
}

struct rows *rows_memory_new(void)
{
    return memory_new(sizeof(struct rows));
}

void rows_memory_free(struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) free(rows->rows[i].bytes);
    free(rows->doomed);
    undo_free(&rows->undo);
    free(rows->rows);
    free(rows);
}

struct rows *rows_memory_clone(const struct rows *rows)
{
    struct rows *clone = rows_memory_new();
    for (size_t i = 0; i < rows->count; i++)
        rows_put(clone, key_of(&rows->rows[i]), value_of(&rows->rows[i]));
    return clone;
}

size_t rows_memory_count(const struct rows *rows)
{
    return rows->count;
}

bool rows_get(struct rows *rows, struct slice key, struct slice *value)
{
    size_t place = place_of(rows, key);
    if (!is_at(rows, place, key)) return false;
    *value = value_of(&rows->rows[place]);
    return true;
}

static void doom(struct rows *rows, const struct row *row)
{
    rows->digest -= row_hash(key_of(row), value_of(row));
    free(rows->doomed);
    rows->doomed = row->bytes;
}

static void make_room(struct rows *rows, size_t place)
{
    if (rows->count == rows->capacity) {
        rows->capacity = rows->capacity ? rows->capacity * 2 : 64;
        rows->rows = memory_resize(rows->rows, rows->capacity * sizeof *rows->rows);
    }
    memmove(rows->rows + place + 1, rows->rows + place, (rows->count - place) * sizeof *rows->rows);
    rows->count++;
}

void rows_put(struct rows *rows, struct slice key, struct slice value)
{
    CHECK(key.size >= 1 && key.size <= 511);
    struct row row = {memory_new(key.size + value.size), key.size, value.size};
    memcpy(row.bytes, key.data, key.size);
    if (value.size) memcpy(row.bytes + key.size, value.data, value.size);
    size_t place = place_of(rows, key_of(&row));
    if (is_at(rows, place, key_of(&row))) {
        struct slice old = value_of(&rows->rows[place]);
        undo_note(&rows->undo, key_of(&row), &old);
        doom(rows, &rows->rows[place]);
    } else {
        undo_note(&rows->undo, key_of(&row), NULL);
        make_room(rows, place);
    }
    rows->rows[place] = row;
    rows->digest += row_hash(key_of(&row), value_of(&row));
}

bool rows_delete(struct rows *rows, struct slice key)
{
    size_t place = place_of(rows, key);
    if (!is_at(rows, place, key)) return false;
    struct slice old = value_of(&rows->rows[place]);
    undo_note(&rows->undo, key, &old);
    doom(rows, &rows->rows[place]);
    rows->count--;
    memmove(rows->rows + place, rows->rows + place + 1, (rows->count - place) * sizeof *rows->rows);
    return true;
}

static bool give(const struct rows *rows, size_t place, struct slice *key, struct slice *value)
{
    if (place >= rows->count) return false;
    *key = key_of(&rows->rows[place]);
    *value = value_of(&rows->rows[place]);
    return true;
}

bool rows_seek(struct rows *rows, struct slice from, struct slice *key, struct slice *value)
{
    return give(rows, place_of(rows, from), key, value);
}

bool rows_seek_back(struct rows *rows, struct slice before, struct slice *key, struct slice *value)
{
    size_t place = place_of(rows, before);
    return place > 0 && give(rows, place - 1, key, value);
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
