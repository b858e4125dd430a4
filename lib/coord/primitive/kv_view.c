/* Keys: what can be read. */
#include "coord/primitive/kv.h"

#include "base/check.h"

enum { LIST_DEFAULT = 100, LIST_MAX = 1000, LIST_BYTES = 2 * 1024 * 1024 /* of values in a page */ };

/* Rows looked at for one answer, be they keys that are there or not. */
#ifndef KV_LIST_LOOKS
#define KV_LIST_LOOKS 20000
#define KV_COUNT_LOOKS 50000
#endif

/* --- refusals --- */

#define REFUSAL(member) .offset = offsetof(struct kv_refusal, member), .name = #member, .flags = FIELD_NULL
static const struct field refusal_fields[] = {
    {.number = 1, .type = FIELD_BYTES, REFUSAL(key), .about = "that it is about"},
    {.number = 2, .type = FIELD_UINT, REFUSAL(revision), .about = "of the key now; null: it is not there"},
    {.number = 3, .type = FIELD_UINT, REFUSAL(create_revision), .about = "that made the key"},
    {.number = 4, .type = FIELD_UINT, REFUSAL(version), .about = "of the key"},
    {.number = 5, .type = FIELD_LEASE, REFUSAL(lease), .about = "on which the key hangs"},
    {.number = 6, .type = FIELD_BYTES, REFUSAL(guard), .about = "the guarded prefix"},
    {.number = 7, .type = FIELD_TEXT, REFUSAL(lock), .about = "whose current fence is needed"},
    {.number = 8, .type = FIELD_UINT, REFUSAL(limit), .about = "that was exceeded"},
    {.number = 9, .type = FIELD_UINT, REFUSAL(oldest), .about = "revision that can be read"},
    {.number = 10, .type = FIELD_UINT, REFUSAL(newest), .about = "revision that can be read"},
};
const struct record kv_refusal_record = RECORD("kv_refusal", kv_refusal, refusal_fields);

static struct kv_refusal *refusal(struct apply *apply)
{
    return arena_alloc(apply->arena, sizeof(struct kv_refusal));
}

void kv_refuse(struct apply *apply, enum outcome outcome, struct slice key, const struct kv_version *version)
{
    struct kv_refusal *facts = refusal(apply);
    facts->key = arena_copy(apply->arena, key);
    if (version && !version->deleted) {
        facts->revision = version->revision;
        facts->create_revision = version->create_revision;
        facts->version = version->version;
        facts->lease = version->lease;
    }
    apply_answer(apply, outcome, &kv_refusal_record, facts);
}

void kv_refuse_limit(struct apply *apply, uint64_t limit, struct slice detail)
{
    struct kv_refusal *facts = refusal(apply);
    facts->limit = limit;
    apply_answer_detail(apply, OUTCOME_TOO_MANY_KEYS, &kv_refusal_record, facts, detail);
}

bool kv_readable(struct apply *apply, uint64_t *at)
{
    uint64_t oldest = events_floor(apply->rows);
    if (!*at) *at = KV_NEWEST;
    if (*at == KV_NEWEST || (*at >= oldest && *at <= apply->index)) return true;
    struct kv_refusal *facts = refusal(apply);
    facts->oldest = oldest;
    facts->newest = apply->index;
    apply_answer(apply, *at < oldest ? OUTCOME_REVISION_GONE : OUTCOME_REVISION_AHEAD, &kv_refusal_record,
                 facts);
    return false;
}

/* --- one key --- */

struct get_args {
    struct slice key;
    uint64_t at;
};
#define GET(member) .offset = offsetof(struct get_args, member), .name = #member
static const struct field get_args_fields[] = {
    {.number = 1,
     .type = FIELD_BYTES,
     .flags = FIELD_REQUIRED,
     GET(key),
     .min = 1,
     .max = KV_KEY_MAX,
     .about = "any bytes"},
    {.number = 2,
     .type = FIELD_UINT,
     GET(at),
     .min = 1,
     .about = "the revision whose state is read, as far as the history goes back; now unless given"},
};
const struct record kv_get_args_record = RECORD("kv_get", get_args, get_args_fields);

struct entry {
    struct slice key, value;
    uint64_t size, revision, create_revision, version, lease, expires_in_ms;
};
#define ENTRY(member) .offset = offsetof(struct entry, member), .name = #member
static const struct field entry_fields[] = {
    {.number = 1, .type = FIELD_BYTES, ENTRY(key), .about = "any bytes"},
    {.number = 2,
     .type = FIELD_BYTES,
     ENTRY(value),
     .about = "any bytes; \"\" where only keys were asked for"},
    {.number = 3, .type = FIELD_UINT, ENTRY(size), .about = "of the value, in bytes"},
    {.number = 4, .type = FIELD_UINT, ENTRY(revision), .about = "of its last put"},
    {.number = 5, .type = FIELD_UINT, ENTRY(create_revision), .about = "that made the key"},
    {.number = 6,
     .type = FIELD_UINT,
     ENTRY(version),
     .about = "1 when the key was made, one more for each put"},
    {.number = 7, .type = FIELD_LEASE, ENTRY(lease), .about = "on which it hangs"},
    {.number = 8,
     .type = FIELD_REMAINING,
     .flags = FIELD_NULL,
     ENTRY(expires_in_ms),
     .about = "of its lease, without a renewal"},
};
const struct record kv_entry_record = RECORD("kv_entry", entry, entry_fields);

static struct entry entry_of(struct apply *apply, struct slice key, const struct kv_version *version,
                             bool with_value)
{
    struct entry entry = {.key = arena_copy(apply->arena, key),
                          .size = version->size,
                          .revision = version->revision,
                          .create_revision = version->create_revision,
                          .version = version->version,
                          .lease = version->lease,
                          .expires_in_ms = version->lease};
    if (with_value) entry.value = kv_value(apply, key, version->revision);
    return entry;
}

void kv_get(struct apply *apply, const void *arguments)
{
    const struct get_args *args = arguments;
    struct kv_version version;
    uint64_t at = args->at;
    if (!kv_readable(apply, &at)) return;
    if (!kv_at(apply, args->key, at, &version)) {
        kv_refuse(apply, OUTCOME_KEY_NOT_FOUND, args->key, NULL);
        return;
    }
    struct entry *entry = arena_alloc(apply->arena, sizeof *entry);
    *entry = entry_of(apply, args->key, &version, true);
    apply_answer(apply, OUTCOME_OK, &kv_entry_record, entry);
}

/* --- many --- */

struct list_args {
    struct slice prefix, from, to, cursor;
    uint64_t limit, at;
    bool keys_only, count_only;
};
#define ASKED(member) .offset = offsetof(struct list_args, member), .name = #member
static const struct field list_args_fields[] = {
    {.number = 1, .type = FIELD_BYTES, ASKED(prefix), .max = KV_KEY_MAX, .about = "of the key"},
    {.number = 2, .type = FIELD_BYTES, ASKED(from), .max = KV_KEY_MAX + 1, .about = "the first key"},
    {.number = 3, .type = FIELD_BYTES, ASKED(to), .max = KV_KEY_MAX + 1, .about = "behind the last key"},
    {.number = 4,
     .type = FIELD_UINT,
     ASKED(limit),
     .min = 1,
     .max = LIST_MAX,
     .about = "at most that many (100 unless given); a page with large values may end sooner"},
    {.number = 5, .type = FIELD_BYTES, ASKED(cursor), .max = KV_KEY_MAX, .about = "of the page before"},
    {.number = 6,
     .type = FIELD_UINT,
     ASKED(at),
     .min = 1,
     .about = "the revision whose state is read, as far as the history goes back; now unless given"},
    {.number = 7, .type = FIELD_BOOL, ASKED(keys_only), .about = "true: without values"},
    {.number = 8,
     .type = FIELD_BOOL,
     ASKED(count_only),
     .about = "true: only how many there are, up to 50,000 at a time"},
};
const struct record kv_list_args_record = RECORD("kv_list", list_args, list_args_fields);

struct list_result {
    struct list keys;
    struct slice cursor;
    uint64_t count, revision;
    bool more;
};
#define PAGE(member) .offset = offsetof(struct list_result, member), .name = #member
static const struct field list_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     PAGE(keys),
     .record = &kv_entry_record,
     .about = "in the order of their bytes"},
    {.number = 2, .type = FIELD_UINT, PAGE(count), .about = "how many keys this page covers"},
    {.number = 3, .type = FIELD_BOOL, PAGE(more), .about = "true: there are more, or may be"},
    {.number = 4,
     .type = FIELD_BYTES,
     .flags = FIELD_NULL,
     PAGE(cursor),
     .about = "for the next page; null at the end"},
    {.number = 5, .type = FIELD_UINT, PAGE(revision), .about = "of the state that was read"},
};
const struct record kv_list_record = RECORD("kv_entries", list_result, list_fields);

/* Goes on behind the cursor, which lies within the range when it is one of ours. */
static struct kv_scan scan_of(struct apply *apply, const struct list_args *args, uint64_t at)
{
    struct kv_scan scan = kv_scan(apply->arena, args->prefix, args->from, args->to, at);
    struct key behind = key_of(KEY_KEY);
    key_bytes(&behind, args->cursor);
    key_byte(&behind, 0);
    if (args->cursor.size && slice_compare(key_slice(&behind), key_slice(&scan.next)) > 0) scan.next = behind;
    return scan;
}

static void end_page(struct list_result *result, struct apply *apply, const struct kv_scan *scan)
{
    result->more = true;
    result->cursor = arena_copy(apply->arena, key_slice(&scan->found));
}

static void count(struct apply *apply, struct kv_scan *scan, struct list_result *result)
{
    struct kv_version version;
    struct slice key;
    uint64_t looks = KV_COUNT_LOOKS;
    while (kv_scan_next(apply, scan, &looks, &key, &version)) result->count++;
    if (!looks) end_page(result, apply, scan);
}

static void collect(struct apply *apply, struct kv_scan *scan, uint64_t limit, bool values,
                    struct list_result *result)
{
    struct entry *entries = arena_alloc(apply->arena, limit * sizeof *entries);
    struct kv_scan before = *scan;
    struct kv_version version;
    struct slice key;
    uint64_t looks = KV_LIST_LOOKS, bytes = 0;
    result->keys.items = entries;
    while (kv_scan_next(apply, scan, &looks, &key, &version)) {
        if (result->count == limit || bytes >= LIST_BYTES) {
            end_page(result, apply, &before);
            break;
        }
        entries[result->count++] = entry_of(apply, key, &version, values);
        if (values) bytes += version.size;
        before = *scan;
    }
    result->keys.count = result->count;
    if (!looks && !result->more) end_page(result, apply, scan);
}

void kv_list(struct apply *apply, const void *arguments)
{
    const struct list_args *args = arguments;
    uint64_t at = args->at;
    if (!kv_readable(apply, &at)) return;
    struct list_result *result = arena_alloc(apply->arena, sizeof *result);
    struct kv_scan scan = scan_of(apply, args, at);
    result->revision = at == KV_NEWEST ? apply->index : at;
    if (args->count_only)
        count(apply, &scan, result);
    else
        collect(apply, &scan, args->limit ? args->limit : LIST_DEFAULT, !args->keys_only, result);
    apply_answer(apply, OUTCOME_OK, &kv_list_record, result);
}
