#include "tests/crash/history.h"

#include "base/check.h"
#include "tests/crash/shadow.h"

#include <stdio.h>
#include <stdlib.h>

struct raft_entry history_entry(const struct history *history, struct arena *arena, uint64_t index,
                                uint64_t term)
{
    uint64_t random = history->seed ^ index << 20 ^ term;
    size_t size = (size_t)random_below(&random, random_below(&random, 8) ? 200 : 2500);
    uint8_t *bytes = arena_alloc(arena, size);
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)random_next(&random);
    return (struct raft_entry){index, term, size ? RAFT_COMMAND : RAFT_NOOP, 0, slice_of(bytes, size)};
}

void history_cut(struct history *history, uint64_t last)
{
    CHECK(last <= history->last);
    history->last = last;
}

void history_apply(struct history *history, const struct step *step)
{
    struct arena arena = {0};
    if (step->count) history_cut(history, step->first - 1);
    for (uint64_t i = step->first; i < step->first + step->count; i++) {
        CHECK(i < INDEX_MAX);
        struct raft_entry entry = history_entry(history, &arena, i, step->term);
        history->terms[i] = step->term;
        history->chains[i] = raft_chain(history->chains[i - 1], &entry);
        history->last = i;
        arena_reset(&arena);
    }
    history->hard = step->hard;
    arena_free(&arena);
}

/* A few rows per entry, some of them long, some removed. */
struct change {
    size_t key;
    struct slice value; /* NULL: removed */
};

static size_t changes_of(const struct raft_entry *entry, struct change changes[3])
{
    size_t count = 0;
    for (size_t at = 0; count < 3 && at + 2 < entry->payload.size; at += 70) {
        size_t size = (size_t)entry->payload.data[at + 1] * 16;
        if (size > entry->payload.size) size = entry->payload.size;
        bool removed = entry->payload.data[at + 2] < 60;
        changes[count++] = (struct change){entry->payload.data[at] % KEYS,
                                           removed ? (struct slice){0} : slice_of(entry->payload.data, size)};
    }
    return count;
}

static struct slice key_text(size_t key, char text[KEY_SIZE])
{
    return slice_of(text, (size_t)snprintf(text, KEY_SIZE, "k%zu", key));
}

void rows_follow(struct rows *rows, const struct raft_entry *entry)
{
    struct change changes[3];
    char text[KEY_SIZE];
    size_t count = changes_of(entry, changes);
    for (size_t i = 0; i < count; i++) {
        struct slice key = key_text(changes[i].key, text);
        if (changes[i].value.data)
            rows_put(rows, key, changes[i].value);
        else
            rows_delete(rows, key);
    }
}

void table_follow(struct table *table, const struct raft_entry *entry)
{
    struct change changes[3];
    size_t count = changes_of(entry, changes);
    for (size_t i = 0; i < count; i++)
        table->values[changes[i].key] =
            changes[i].value.data ? arena_copy(&table->arena, changes[i].value) : (struct slice){0};
}

uint64_t table_digest(const struct table *table)
{
    uint64_t digest = 0;
    char text[KEY_SIZE];
    for (size_t i = 0; i < KEYS; i++)
        if (table->values[i].data) digest += row_hash(key_text(i, text), table->values[i]);
    return digest;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

size_t table_rows(const struct table *table, struct slice keys[KEYS], struct slice values[KEYS],
                  char texts[KEYS][KEY_SIZE])
{
    size_t count = 0;
    for (size_t i = 0; i < KEYS; i++)
        if (table->values[i].data) key_text(i, texts[count++]);
    qsort(texts, count, KEY_SIZE, by_text);
    for (size_t i = 0; i < count; i++) {
        keys[i] = slice_text(texts[i]);
        values[i] = table->values[strtoul(texts[i] + 1, NULL, 10)];
    }
    return count;
}

bool table_equals(const struct table *table, struct rows *rows)
{
    char text[KEY_SIZE];
    struct slice value;
    for (size_t i = 0; i < KEYS; i++) {
        bool there = rows_get(rows, key_text(i, text), &value);
        if (there != (table->values[i].data != NULL) || (there && !slice_equal(value, table->values[i])))
            return false;
    }
    return true;
}
