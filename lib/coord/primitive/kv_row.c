/* The rows of keys: versions and their chains, the dense revision, what hangs on leases. */
#include "coord/primitive/kv.h"

#include "base/check.h"

enum { ROW_BYTES = 64 /* of a version's row beside key and value, about */ };

#define VERSION(member) .offset = offsetof(struct kv_version, member), .name = #member
static const struct field version_fields[] = {
    {.number = 1, .type = FIELD_UINT, VERSION(revision)},
    {.number = 2, .type = FIELD_UINT, VERSION(space_revision)},
    {.number = 3, .type = FIELD_UINT, VERSION(create_revision)},
    {.number = 4, .type = FIELD_UINT, VERSION(create_space_revision)},
    {.number = 5, .type = FIELD_UINT, VERSION(version)},
    {.number = 6, .type = FIELD_UINT, VERSION(lease)},
    {.number = 7, .type = FIELD_UINT, VERSION(size)},
    {.number = 8, .type = FIELD_UINT, VERSION(before)},
    {.number = 9, .type = FIELD_UINT, VERSION(height)},
    {.number = 10, .type = FIELD_UINT, VERSION(jump)},
    {.number = 11, .type = FIELD_UINT, VERSION(jump_height)},
    {.number = 12, .type = FIELD_BOOL, VERSION(deleted)},
    {.number = 13, .type = FIELD_BYTES, VERSION(value)},
};
static const struct record version_record = RECORD("kv_version", kv_version, version_fields);

#define SPACE(member) .offset = offsetof(struct kv_space, member), .name = #member
static const struct field space_fields[] = {
    {.number = 1, .type = FIELD_UINT, SPACE(space_revision)},
    {.number = 2, .type = FIELD_UINT, SPACE(revision)},
    {.number = 3, .type = FIELD_UINT, SPACE(keys)},
};
static const struct record space_record = RECORD("kv_space", kv_space, space_fields);

static struct key key_key(enum key_kind kind, struct slice key)
{
    struct key row = key_of(kind);
    key_bytes(&row, key);
    return row;
}

static struct key version_key(struct slice key, uint64_t revision)
{
    struct key row = key_of(KEY_VERSION);
    key_number(&row, revision);
    key_bytes(&row, key);
    return row;
}

/* --- reading --- */

/* Values may be large: unlike row_get, without a copy. */
static void decode(struct slice row, struct kv_version *version)
{
    struct arena none = {0};
    if (!record_decode(&version_record, version, row, &none))
        fatal("the state is damaged: a row is no version of a key; restore this node from the others");
}

static bool read(struct apply *apply, const struct key *at, struct kv_version *version)
{
    struct slice row;
    if (!rows_get(apply->rows, key_slice(at), &row)) return false;
    decode(row, version);
    return true;
}

bool kv_newest(struct apply *apply, struct slice key, struct kv_version *version)
{
    struct key there = key_key(KEY_KEY, key), gone = key_key(KEY_KEY_GONE, key);
    return read(apply, &there, version) || read(apply, &gone, version);
}

bool kv_version_of(struct apply *apply, struct slice key, uint64_t revision, struct kv_version *version)
{
    struct key at = version_key(key, revision);
    return read(apply, &at, version);
}

/* What replaced a version after the entry `at` is in the history, so the version is in the rows. */
static bool back_to(struct apply *apply, struct slice key, uint64_t at, struct kv_version *version)
{
    while (version->revision > at) {
        uint64_t next = version->jump > at ? version->jump : version->before;
        if (!next) return false;
        CHECK(kv_version_of(apply, key, next, version));
    }
    return !version->deleted;
}

bool kv_at(struct apply *apply, struct slice key, uint64_t at, struct kv_version *version)
{
    return kv_newest(apply, key, version) && back_to(apply, key, at, version);
}

struct slice kv_value(struct apply *apply, struct slice key, uint64_t revision)
{
    struct kv_version version;
    CHECK(kv_version_of(apply, key, revision, &version));
    return arena_copy(apply->arena, version.value);
}

struct kv_space kv_space(struct apply *apply)
{
    struct kv_space space = {.space_revision = 1};
    struct key key = key_of(KEY_SPACE);
    row_get(apply, key_slice(&key), &space_record, &space);
    return space;
}

/* --- writing --- */

static void put(struct apply *apply, const struct key *at, const struct kv_version *version)
{
    row_put(apply, key_slice(at), &version_record, version);
}

/* `old` is what stood there before; NULL: nothing did. */
static void put_both(struct apply *apply, struct slice key, const struct kv_version *old,
                     const struct kv_version *version)
{
    struct key of_version = version_key(key, version->revision);
    struct key of_key = key_key(version->deleted ? KEY_KEY_GONE : KEY_KEY, key);
    struct key other = key_key(version->deleted ? KEY_KEY : KEY_KEY_GONE, key);
    struct kv_version newest = *version;
    newest.value = (struct slice){0};
    put(apply, &of_version, version);
    put(apply, &of_key, &newest);
    if (old && old->deleted != version->deleted) rows_delete(apply->rows, key_slice(&other));
}

/* The dense revision of this entry. The row says whether it has one already: a transaction that was taken
 * back took back the row, too. */
static uint64_t advance(struct apply *apply, uint64_t made, uint64_t ended)
{
    struct key key = key_of(KEY_SPACE);
    struct kv_space space = kv_space(apply);
    if (space.revision != apply->index) space.space_revision++;
    space.revision = apply->index;
    space.keys = space.keys + made - ended;
    row_put(apply, key_slice(&key), &space_record, &space);
    return apply->space_revision = space.space_revision;
}

/* The jump goes twice as far as the last one when the last two went equally far. */
static void link_back(struct apply *apply, struct slice key, const struct kv_version *old,
                      struct kv_version *made)
{
    struct kv_version far;
    made->before = made->jump = old->revision;
    made->jump_height = old->height;
    made->height = old->height + 1;
    if (!old->jump || !kv_version_of(apply, key, old->jump, &far)) return;
    if (old->height - old->jump_height != old->jump_height - far.jump_height) return;
    made->jump = far.jump;
    made->jump_height = far.jump_height;
}

static uint64_t row_bytes(struct slice key, const struct kv_version *version)
{
    return ROW_BYTES + key.size + version->size;
}

void kv_write(struct apply *apply, struct slice key, const struct kv_version *old, struct slice value,
              uint64_t lease, struct kv_version *made)
{
    bool created = !old || old->deleted;
    uint64_t space_revision = advance(apply, created, 0);
    *made =
        (struct kv_version){.revision = apply->index,
                            .space_revision = space_revision,
                            .create_revision = created ? apply->index : old->create_revision,
                            .create_space_revision = created ? space_revision : old->create_space_revision,
                            .version = created ? 1 : old->version + 1,
                            .lease = lease,
                            .size = value.size,
                            .value = value};
    if (old) {
        CHECK(old->revision < apply->index);
        link_back(apply, key, old, made);
    }
    put_both(apply, key, old, made);
    kv_tell_put(apply, key, made->before, old ? row_bytes(key, old) : 0);
}

void kv_erase(struct apply *apply, struct slice key, const struct kv_version *old, uint64_t reason)
{
    CHECK(!old->deleted);
    uint64_t space_revision = advance(apply, 0, 1);
    struct kv_version made = {.revision = apply->index, .space_revision = space_revision, .deleted = true};
    if (old->revision == apply->index) {
        made = *old;
        made.value = kv_value(apply, key, old->revision);
        made.deleted = true;
    } else {
        link_back(apply, key, old, &made);
    }
    put_both(apply, key, old, &made);
    kv_tell_deleted(apply, key, made.before, reason, row_bytes(key, old) + row_bytes(key, &made));
}

void kv_forget(struct apply *apply, struct slice key, uint64_t revision)
{
    struct key at = version_key(key, revision);
    rows_delete(apply->rows, key_slice(&at));
}

void kv_forget_deleted(struct apply *apply, struct slice key, uint64_t revision)
{
    struct key gone = key_key(KEY_KEY_GONE, key);
    struct kv_version newest;
    if (!read(apply, &gone, &newest) || newest.revision != revision) return;
    rows_delete(apply->rows, key_slice(&gone));
    kv_forget(apply, key, revision);
}

/* --- leases --- */

static struct key lease_keys_key(uint64_t lease)
{
    struct key key = key_of(KEY_LEASE_KEYS);
    key_number(&key, lease);
    return key;
}

static bool has_key(struct apply *apply, uint64_t lease)
{
    struct key from = key_of(KEY_ATTACHMENT);
    struct slice key, value;
    key_number(&from, lease);
    key_byte(&from, KV_CODE);
    return rows_seek(apply->rows, key_slice(&from), &key, &value) && slice_starts_with(key, key_slice(&from));
}

/* Most leases have one key, which needs no count. */
uint64_t kv_lease_keys(struct apply *apply, uint64_t lease)
{
    struct key key = lease_keys_key(lease);
    uint64_t count = rows_number(apply->rows, key_slice(&key));
    return count ? count : has_key(apply, lease);
}

static void set_lease_keys(struct apply *apply, uint64_t lease, uint64_t count)
{
    struct key key = lease_keys_key(lease);
    rows_set_number(apply->rows, key_slice(&key), count > 1 ? count : 0);
}

void kv_attach(struct apply *apply, struct slice key, uint64_t lease)
{
    set_lease_keys(apply, lease, kv_lease_keys(apply, lease) + 1);
    lease_attach(apply, lease, KV_CODE, key);
}

void kv_detach(struct apply *apply, struct slice key, uint64_t lease)
{
    set_lease_keys(apply, lease, kv_lease_keys(apply, lease) - 1);
    lease_detach(apply, lease, KV_CODE, key);
}

/* All of its keys go, so the count goes with the first. */
void kv_lease_ended(struct apply *apply, uint64_t lease, struct slice what, enum end_reason reason)
{
    struct kv_version newest;
    set_lease_keys(apply, lease, 0);
    CHECK(kv_newest(apply, what, &newest) && !newest.deleted && newest.lease == lease);
    kv_erase(apply, what, &newest, KV_END_LEASE + reason - 1);
}

/* Keys that are no text are shown with their bytes percent-encoded. */
struct slice kv_path(struct apply *apply, struct slice what)
{
    bool text = utf8_valid(what);
    struct buffer path = {0};
    buffer_add_text(&path, "/kv/");
    for (size_t i = 0; i < what.size; i++) {
        uint8_t byte = what.data[i];
        if (byte < 0x20 || byte == 0x7f || (!text && (byte >= 0x80 || byte == '%')))
            buffer_printf(&path, "%%%02X", byte);
        else
            buffer_add_byte(&path, byte);
    }
    struct slice copy = arena_copy(apply->arena, buffer_slice(&path));
    buffer_free(&path);
    return copy;
}

/* --- by dense revision --- */

/* The first version's row at the index or after it. */
static bool version_from(struct rows *rows, uint64_t index, struct kv_version *version)
{
    struct key from = key_of(KEY_VERSION);
    struct slice key, row;
    key_number(&from, index);
    if (!rows_seek(rows, key_slice(&from), &key, &row) || key.data[0] != KEY_VERSION) return false;
    decode(row, version);
    return true;
}

/* Below the history rows are missing, but what is there rises all the same. */
uint64_t kv_index_of_revision(struct rows *rows, uint64_t space_revision)
{
    struct arena arena = {0};
    struct apply reading = {.rows = rows, .arena = &arena};
    struct kv_version found;
    uint64_t low = 1, high = kv_space(&reading).revision + 1;
    arena_free(&arena);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (version_from(rows, middle, &found) && found.space_revision < space_revision)
            low = found.revision + 1;
        else
            high = middle;
    }
    return version_from(rows, low, &found) && found.space_revision == space_revision ? found.revision : 0;
}

/* --- ranges --- */

/* The least upper bound of all that begins with prefix: its last byte that can, raised by one. */
static struct slice behind(struct arena *arena, struct slice prefix)
{
    while (prefix.size && prefix.data[prefix.size - 1] == 0xff) prefix.size--;
    if (!prefix.size) return prefix;
    uint8_t *bytes = arena_alloc(arena, prefix.size);
    memcpy(bytes, prefix.data, prefix.size);
    bytes[prefix.size - 1]++;
    return slice_of(bytes, prefix.size);
}

struct kv_scan kv_scan(struct arena *arena, struct slice prefix, struct slice from, struct slice to,
                       uint64_t at)
{
    struct kv_scan scan = {.to = behind(arena, prefix), .at = at};
    struct slice first = slice_compare(from, prefix) > 0 ? from : prefix;
    scan.endless = !scan.to.size && !to.size;
    if (to.size && (!scan.to.size || slice_compare(to, scan.to) < 0)) scan.to = to;
    scan.next = key_key(KEY_KEY, first);
    return scan;
}

/* The next row of the kind that is of the scan; the slices are until the next put or delete. */
static bool next_row(struct apply *apply, const struct kv_scan *scan, enum key_kind kind, struct slice *key,
                     struct slice *row)
{
    struct key from = key_key(kind, slice_skip(key_slice(&scan->next), 1));
    if (!rows_seek(apply->rows, key_slice(&from), key, row) || key->data[0] != kind) return false;
    *key = slice_skip(*key, 1);
    return scan->endless || slice_compare(*key, scan->to) < 0;
}

/* Of the past, keys that are gone now are looked at, too: two sequences become one. */
static bool next_newest(struct apply *apply, struct kv_scan *scan, struct kv_version *newest)
{
    struct slice key, row, other, other_row;
    bool there = next_row(apply, scan, KEY_KEY, &key, &row);
    bool gone = scan->at != KV_NEWEST && next_row(apply, scan, KEY_KEY_GONE, &other, &other_row);
    if (gone && (!there || slice_compare(other, key) < 0)) {
        key = other;
        row = other_row;
    } else if (!there) {
        return false;
    }
    scan->found.size = 0;
    key_bytes(&scan->found, key);
    scan->next = key_key(KEY_KEY, key);
    key_byte(&scan->next, 0);
    decode(row, newest);
    return true;
}

bool kv_scan_next(struct apply *apply, struct kv_scan *scan, uint64_t *looks, struct slice *key,
                  struct kv_version *version)
{
    for (; *looks; --*looks) {
        if (!next_newest(apply, scan, version)) return false;
        *key = key_slice(&scan->found);
        if (!back_to(apply, *key, scan->at, version)) continue;
        version->value = (struct slice){0};
        --*looks;
        return true;
    }
    return false;
}
