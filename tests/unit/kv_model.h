/* The model beside which test_kv_random.c holds the key store: the list of all that ever changed, and what
 * follows from it; and how answers are compared with it. Of one test program, so all is static. */
#ifndef COORDD_TESTS_KV_MODEL_H
#define COORDD_TESTS_KV_MODEL_H

#include "coord/primitive/kv.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/kv_arguments.h"

enum { SEEDS = 60, ENTRIES = 250, KEYS = 14, CHANGES = 8192, LEASES = 2048, GUARDS = 4, OPERATIONS_MAX = 4 };

struct change {
    unsigned kind, key;
    uint64_t index, dense, create, version, lease, random, size, reason;
};

struct guard {
    bool there;
    unsigned lock;
};

/* What must be so. Small enough to be copied, for entries that are taken back. */
struct model {
    uint64_t index, dense;
    size_t changes, lease_count;
    struct guard guards[GUARDS];
    bool over[LEASES], own[LEASES];
    uint64_t leases[LEASES];
};

static struct change changes[CHANGES];
static struct model model;
static struct rows *rows;
static uint64_t state, now_ms, floor_before;
static unsigned fence; /* 0: none, else number of the lock + 1 */
static uint8_t long_key[KV_KEY_MAX];

/* In the order of bytes; with NULs, bytes that are no UTF-8, and keys that begin others. */
static struct slice key_number_(unsigned number)
{
    static const struct slice keys[KEYS - 1] = {
        {(const uint8_t *)"\0", 1},       {(const uint8_t *)"\0\0", 2},      {(const uint8_t *)"a", 1},
        {(const uint8_t *)"a\0", 2},      {(const uint8_t *)"a\0b", 3},      {(const uint8_t *)"a/", 2},
        {(const uint8_t *)"a/b", 3},      {(const uint8_t *)"a/b/c", 5},     {(const uint8_t *)"a/c", 3},
        {(const uint8_t *)"a\xff", 2},    {(const uint8_t *)"a\xff\xff", 3}, {(const uint8_t *)"b", 1},
        {(const uint8_t *)"\xff\xff", 2},
    };
    return number < KEYS - 1 ? keys[number] : slice_of(long_key, sizeof long_key);
}

static const struct slice prefixes[] = {
    {(const uint8_t *)"", 0},     {(const uint8_t *)"a", 1},        {(const uint8_t *)"a/", 2},
    {(const uint8_t *)"a/b", 3},  {(const uint8_t *)"\0", 1},       {(const uint8_t *)"a\xff", 2},
    {(const uint8_t *)"\xff", 1}, {(const uint8_t *)"\xff\xff", 2}, {(const uint8_t *)"zzz", 3}};
enum { PREFIXES = sizeof prefixes / sizeof *prefixes };
static const struct slice guarded[GUARDS] = {{(const uint8_t *)"a", 1},
                                             {(const uint8_t *)"a/b", 3},
                                             {(const uint8_t *)"a/b/c", 5},
                                             {(const uint8_t *)"\0", 1}};
static const char *const locks[] = {"one", "two"};

static uint64_t draw(uint64_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % below;
}

static struct slice value_of(uint64_t random, uint64_t size)
{
    uint8_t *bytes = arena_alloc(&arena, size + 1);
    for (uint64_t i = 0; i < size; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (uint8_t)(random >> 56);
    }
    return slice_of(bytes, size);
}

/* --- the model --- */

static const struct change *last_change(unsigned key, uint64_t at, size_t before)
{
    for (size_t i = before; i--;)
        if (changes[i].kind <= KV_DELETED && changes[i].key == key && changes[i].index <= at)
            return &changes[i];
    return NULL;
}

/* NULL: not there. */
static const struct change *there(unsigned key, uint64_t at)
{
    const struct change *change = last_change(key, at, model.changes);
    return change && change->kind == KV_PUT ? change : NULL;
}

static struct change *add(struct change change)
{
    assert_true(model.changes < CHANGES);
    change.index = model.index;
    if (change.kind <= KV_DELETED) {
        const struct change *last = NULL;
        for (size_t i = model.changes; i-- && !last;)
            if (changes[i].kind <= KV_DELETED) last = &changes[i];
        if (!last || last->index != model.index) model.dense++;
    }
    change.dense = model.dense;
    changes[model.changes] = change;
    return &changes[model.changes++];
}

static size_t lease_place(uint64_t lease)
{
    for (size_t i = 0; i < model.lease_count; i++)
        if (model.leases[i] == lease) return i;
    return LEASES;
}

static void note_lease(uint64_t lease, bool own)
{
    assert_true(model.lease_count < LEASES && lease && lease_place(lease) == LEASES);
    model.own[model.lease_count] = own;
    model.over[model.lease_count] = false;
    model.leases[model.lease_count++] = lease;
}

/* An own lease ends with the last key that hangs on it. */
static void left_lease(uint64_t lease)
{
    size_t place = lease_place(lease);
    if (!lease || !model.own[place]) return;
    for (unsigned key = 0; key < KEYS; key++) {
        const struct change *change = there(key, UINT64_MAX);
        if (change && change->lease == lease) return;
    }
    model.over[place] = true;
}

static void delete_key(unsigned key, uint64_t reason)
{
    add((struct change){.kind = KV_DELETED, .key = key, .reason = reason});
}

static void end_lease(uint64_t lease, uint64_t reason)
{
    model.over[lease_place(lease)] = true;
    for (unsigned key = 0; key < KEYS; key++) {
        const struct change *change = there(key, UINT64_MAX);
        if (change && change->lease == lease) delete_key(key, reason);
    }
}

static bool is_guarded(unsigned key)
{
    size_t longest = GUARDS;
    for (size_t i = 0; i < GUARDS; i++)
        if (model.guards[i].there && slice_starts_with(key_number_(key), guarded[i]) &&
            (longest == GUARDS || guarded[i].size > guarded[longest].size))
            longest = i;
    return longest < GUARDS && model.guards[longest].lock + 1 != fence;
}

static bool changed_now(unsigned key)
{
    const struct change *last = last_change(key, UINT64_MAX, model.changes);
    return last && last->index == model.index;
}

/* --- answers --- */

static void same_version(const struct record *shape, const void *data, const struct change *change)
{
    assert_int_equal(record_number(shape, data, "create_revision"), change->create);
    assert_int_equal(record_number(shape, data, "version"), change->version);
    assert_int_equal(record_number(shape, data, "lease"), change->lease);
}

static void same_value(const struct record *shape, const void *data, const struct change *change)
{
    assert_true(slice_equal(bytes_at(shape, data, "value"), value_of(change->random, change->size)));
}

static void same_prev(const struct record *shape, const void *data, const struct change *change)
{
    const void *prev = pointer_at(shape, data, "prev");
    if (!change || change->kind != KV_PUT) {
        assert_null(prev);
        return;
    }
    assert_non_null(prev);
    assert_int_equal(record_number(&kv_prev_record, prev, "revision"), change->index);
    same_version(&kv_prev_record, prev, change);
    same_value(&kv_prev_record, prev, change);
}

#endif
