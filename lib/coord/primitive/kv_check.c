/* The invariants of kv.h, by its numbers. */
#include "coord/primitive/kv.h"

#include "base/check.h"

static bool agree(const struct kv_version *a, const struct kv_version *b)
{
    return a->revision == b->revision && a->space_revision == b->space_revision &&
           a->create_revision == b->create_revision && a->create_space_revision == b->create_space_revision &&
           a->version == b->version && a->lease == b->lease && a->size == b->size && a->before == b->before &&
           a->height == b->height && a->jump == b->jump && a->jump_height == b->jump_height &&
           a->deleted == b->deleted;
}

static void check_version(const struct kv_version *version, uint64_t revision)
{
    bool put = version->version != 0;
    CHECK(version->revision == revision && version->size == version->value.size);
    CHECK(put || version->deleted);
    CHECK(put == (version->create_revision != 0) && put == (version->create_space_revision != 0));
    CHECK(version->create_revision <= version->revision);
    CHECK(version->create_space_revision <= version->space_revision);
    CHECK(!put || (version->version == 1) == (version->create_revision == version->revision));
    CHECK(version->before < version->revision && version->jump <= version->before);
    CHECK((version->before == 0) == (version->jump == 0) && (version->before == 0) == (version->height == 0));
}

/* 1, 2. How many rows the key's chain has. */
static uint64_t check_chain(struct apply *apply, struct slice key, const struct kv_version *newest)
{
    uint64_t floor = events_floor(apply->rows), count = 1;
    struct kv_version version, before, far;
    CHECK(kv_version_of(apply, key, newest->revision, &version) && agree(newest, &version));
    check_version(&version, newest->revision);
    CHECK(!newest->deleted || newest->revision >= floor);
    for (; version.before; version = before, count++) {
        bool there = kv_version_of(apply, key, version.before, &before);
        CHECK(there ? version.revision >= floor : version.revision <= floor);
        if (!there) break;
        check_version(&before, version.before);
        CHECK(before.height + 1 == version.height && before.space_revision < version.space_revision);
        if (kv_version_of(apply, key, version.jump, &far)) CHECK(far.height == version.jump_height);
        if (version.version > 1)
            CHECK(!before.deleted && before.version + 1 == version.version &&
                  before.create_revision == version.create_revision);
        else
            CHECK(before.deleted == (version.version == 1));
    }
    return count;
}

/* 3 */
static void check_lease(struct apply *apply, struct slice key, const struct kv_version *newest)
{
    struct key attachment = key_of(KEY_ATTACHMENT);
    struct slice value;
    if (!newest->lease || newest->deleted) return;
    key_number(&attachment, newest->lease);
    key_byte(&attachment, KV_CODE);
    key_bytes(&attachment, key);
    CHECK(rows_get(apply->rows, key_slice(&attachment), &value));
}

/* Every row of a kind, by its key without the kind. */
static bool next_row(struct rows *rows, enum key_kind kind, struct key *last, struct slice *key)
{
    struct slice value;
    struct key from = last->size ? key_after(key_slice(last)) : key_of(kind);
    if (!rows_seek(rows, key_slice(&from), key, &value) || key->data[0] != kind) return false;
    last->size = 0;
    key_bytes(last, *key);
    *key = slice_skip(key_slice(last), 1);
    return true;
}

static uint64_t check_keys(struct apply *apply, enum key_kind kind, uint64_t *rows, uint64_t *attached)
{
    struct key last = {.size = 0};
    struct kv_version newest;
    struct slice key, other;
    uint64_t keys = 0;
    while (next_row(apply->rows, kind, &last, &key)) {
        CHECK(key.size && key.size <= KV_KEY_MAX && kv_newest(apply, key, &newest) && !newest.value.size);
        CHECK(newest.deleted == (kind == KEY_KEY_GONE));
        struct key at = key_of(kind == KEY_KEY ? KEY_KEY_GONE : KEY_KEY);
        key_bytes(&at, key);
        CHECK(!rows_get(apply->rows, key_slice(&at), &other));
        *rows += check_chain(apply, key, &newest);
        check_lease(apply, key, &newest);
        keys++;
        *attached += newest.lease && !newest.deleted;
    }
    return keys;
}

/* 3: how many keys hang on a lease; `counts` loses one for a row that says so. */
static void check_count(struct apply *apply, uint64_t lease, uint64_t count, uint64_t *counts)
{
    CHECK(kv_lease_keys(apply, lease) == count);
    if (count > 1) --*counts;
}

static uint64_t count_rows(struct rows *rows, enum key_kind kind)
{
    struct key last = {.size = 0};
    struct slice key;
    uint64_t count = 0;
    while (next_row(rows, kind, &last, &key)) count++;
    return count;
}

/* 3: there are as many as keys that name a lease, so there is none beside. */
static void check_attachments(struct apply *apply, uint64_t attached)
{
    struct key last = {.size = 0};
    struct kv_version newest;
    struct slice key;
    uint64_t lease, of = 0, count = 0, counts = count_rows(apply->rows, KEY_LEASE_KEYS);
    while (next_row(apply->rows, KEY_ATTACHMENT, &last, &key)) {
        CHECK(take_u64be(&key, &lease) && key.size);
        if (key.data[0] != KV_CODE) continue;
        if (lease != of && of) check_count(apply, of, count, &counts);
        count = lease == of ? count + 1 : 1;
        of = lease;
        key = slice_skip(key, 1);
        CHECK(kv_newest(apply, key, &newest) && !newest.deleted && newest.lease == lease && attached--);
    }
    if (of) check_count(apply, of, count, &counts);
    CHECK(!attached && !counts);
}

/* 4: the rows lie in the order of their revisions. */
static uint64_t check_space(struct apply *apply, uint64_t keys)
{
    struct key last = {.size = 0};
    struct kv_space space = kv_space(apply);
    struct kv_version version, before = {.space_revision = 1};
    struct slice key;
    uint64_t rows = 0, revision;
    for (; next_row(apply->rows, KEY_VERSION, &last, &key); rows++, before = version) {
        CHECK(take_u64be(&key, &revision) && kv_version_of(apply, key, revision, &version));
        if (revision == before.revision)
            CHECK(version.space_revision == before.space_revision);
        else
            CHECK(version.space_revision > before.space_revision);
    }
    CHECK(before.revision <= space.revision && before.space_revision <= space.space_revision);
    CHECK(space.keys == keys);
    return rows;
}

void kv_check(struct rows *rows, struct arena *arena)
{
    struct apply apply = {.rows = rows, .arena = arena};
    uint64_t versions = 0, attached = 0, keys = check_keys(&apply, KEY_KEY, &versions, &attached);
    check_keys(&apply, KEY_KEY_GONE, &versions, &attached);
    CHECK(check_space(&apply, keys) == versions);
    check_attachments(&apply, attached);
    kv_guard_check(rows, arena);
}
