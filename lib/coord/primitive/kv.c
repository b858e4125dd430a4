/* Keys: the commands. Operation codes 100 to 119. */
#include "coord/primitive/kv.h"

#include "base/check.h"
#include "coord/primitive/object.h"

/* --- put --- */

struct put_args {
    struct slice key, value;
    uint64_t ttl_ms, lease, if_match;
    bool if_none_match, prev, if_exists;
};
#define PUT(member) .offset = offsetof(struct put_args, member)
static const struct field put_fields[] = {
    {.number = 1,
     .type = FIELD_BYTES,
     .flags = FIELD_REQUIRED,
     PUT(key),
     .name = "key",
     .min = 1,
     .max = KV_KEY_MAX,
     .about = "any bytes"},
    {.number = 2,
     .type = FIELD_BYTES,
     PUT(value),
     .name = "value",
     .max = KV_VALUE_MAX,
     .about = "any bytes, at most 1 MiB: the body of a PUT"},
    {.number = 3,
     .type = FIELD_DURATION,
     PUT(ttl_ms),
     .name = "ttl",
     .min = LEASE_TTL_MIN_MS,
     .max = LEASE_TTL_MAX_MS,
     .about = "of a lease of its own, which ends with the key or the next put; not with lease"},
    {.number = 4,
     .type = FIELD_LEASE,
     PUT(lease),
     .name = "lease",
     .about = "a lease that lives already, to hang the key on"},
    {.number = 5,
     .type = FIELD_UINT,
     PUT(if_match),
     .name = "if_match",
     .min = 1,
     .about = "only while that is the key's revision (header If-Match)"},
    {.number = 6,
     .type = FIELD_BOOL,
     PUT(if_none_match),
     .name = "if_none_match",
     .about = "only while there is no such key (header If-None-Match: *)"},
    {.number = 7, .type = FIELD_BOOL, PUT(prev), .name = "prev", .about = "give back what was there before"},
    {.number = 8,
     .type = FIELD_BOOL,
     PUT(if_exists),
     .name = "if_exists",
     .about = "only while there is such a key (header If-Match: *)"},
};
static const struct record put_record = RECORD("kv_put", put_args, put_fields);

struct put_result {
    struct slice key;
    uint64_t revision, create_revision, version, lease, expires_in_ms;
    bool created;
    const void *prev;
};
#define DONE(member) .offset = offsetof(struct put_result, member), .name = #member
static const struct field put_result_fields[] = {
    {.number = 1, .type = FIELD_BYTES, DONE(key), .about = "as given"},
    {.number = 2, .type = FIELD_UINT, DONE(revision), .about = "of this put"},
    {.number = 3, .type = FIELD_UINT, DONE(create_revision), .about = "that made the key"},
    {.number = 4,
     .type = FIELD_UINT,
     DONE(version),
     .about = "1 when the key was made, one more for each put"},
    {.number = 5, .type = FIELD_LEASE, DONE(lease), .about = "on which it hangs"},
    {.number = 6,
     .type = FIELD_REMAINING,
     .flags = FIELD_NULL,
     DONE(expires_in_ms),
     .about = "with ttl: what is left of it"},
    {.number = 7, .type = FIELD_BOOL, DONE(created), .about = "true: it was not there before"},
    {.number = 8,
     .type = FIELD_RECORD,
     DONE(prev),
     .record = &kv_prev_record,
     .about = "with prev: what was there before"},
};
static const struct record put_result_record = RECORD("kv_put_result", put_result, put_result_fields);

static bool refuse(struct apply *apply, const char *why)
{
    apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL, slice_text(why));
    return false;
}

static bool sensible(struct apply *apply, const struct put_args *args)
{
    if (args->ttl_ms && args->lease)
        return refuse(apply, "a key lives as long as its lease: give either lease or ttl");
    if ((args->if_match || args->if_exists) && args->if_none_match)
        return refuse(apply, "if_match and if_exists need the key to be there, if_none_match that it is not");
    return true;
}

/* A transaction changes a key once, since a version is named by the entry that made it. */
static bool changed_already(struct apply *apply, const struct kv_version *newest)
{
    return newest && newest->revision == apply->index;
}

/* if_match 0: any revision will do. */
static bool holds(struct apply *apply, struct slice key, uint64_t if_match, bool if_exists,
                  const struct kv_version *live)
{
    if (live ? !if_match || live->revision == if_match : !if_match && !if_exists) return true;
    kv_refuse(apply, OUTCOME_PRECONDITION_FAILED, key, live);
    return false;
}

static bool is_new(struct apply *apply, const struct put_args *args, const struct kv_version *live)
{
    if (!args->if_none_match || !live) return true;
    kv_refuse(apply, OUTCOME_PRECONDITION_FAILED, args->key, live);
    return false;
}

static bool has_room(struct apply *apply, const struct put_args *args, const struct kv_version *live)
{
    if (!args->lease || (live && live->lease == args->lease)) return true;
    if (kv_lease_keys(apply, args->lease) < KV_LEASE_KEYS_MAX) return true;
    struct kv_refusal *facts = arena_alloc(apply->arena, sizeof *facts);
    *facts = (struct kv_refusal){.key = args->key, .lease = args->lease, .limit = KV_LEASE_KEYS_MAX};
    apply_answer(apply, OUTCOME_LEASE_FULL, &kv_refusal_record, facts);
    return false;
}

/* Off the lease it hung on, which ends when it was its own, and onto the new one. */
static uint64_t hang(struct apply *apply, const struct put_args *args, const struct kv_version *live)
{
    uint64_t before = live ? live->lease : 0, lease = args->lease;
    if (lease && lease == before) return lease;
    if (before) kv_detach(apply, args->key, before);
    if (args->ttl_ms) lease = lease_start(apply, LEASE_OWN, args->ttl_ms, SLICE(""), SLICE(""));
    if (lease) kv_attach(apply, args->key, lease);
    return lease;
}

static void put(struct apply *apply, const void *arguments)
{
    const struct put_args *args = arguments;
    struct kv_version newest, made;
    const struct kv_version *old = kv_newest(apply, args->key, &newest) ? &newest : NULL;
    const struct kv_version *live = old && !old->deleted ? old : NULL;
    if (!sensible(apply, args) || (args->lease && !object_lease_usable(apply, args->lease)) ||
        kv_guarded(apply, args->key))
        return;
    if (changed_already(apply, old)) {
        refuse(apply, "duplicate key: a transaction changes a key once");
        return;
    }
    if (!holds(apply, args->key, args->if_match, args->if_exists, live) || !is_new(apply, args, live) ||
        !has_room(apply, args, live))
        return;
    struct put_result *result = arena_alloc(apply->arena, sizeof *result);
    if (args->prev && live) result->prev = kv_prev(apply, args->key, live->revision);
    kv_write(apply, args->key, old, args->value, hang(apply, args, live), &made);
    result->key = args->key;
    result->revision = made.revision;
    result->create_revision = made.create_revision;
    result->version = made.version;
    result->lease = made.lease;
    result->expires_in_ms = args->ttl_ms ? made.lease : 0;
    result->created = !live;
    apply_answer(apply, live ? OUTCOME_OK : OUTCOME_CREATED, &put_result_record, result);
}

/* --- delete --- */

struct delete_args {
    struct slice key;
    uint64_t if_match;
    bool prev, if_exists;
};
#define DELETE(member) .offset = offsetof(struct delete_args, member), .name = #member
static const struct field delete_fields[] = {
    {.number = 1,
     .type = FIELD_BYTES,
     .flags = FIELD_REQUIRED,
     DELETE(key),
     .min = 1,
     .max = KV_KEY_MAX,
     .about = "any bytes"},
    {.number = 2,
     .type = FIELD_UINT,
     DELETE(if_match),
     .min = 1,
     .about = "only while that is the key's revision (header If-Match)"},
    {.number = 3, .type = FIELD_BOOL, DELETE(prev), .about = "give back what was there before"},
    {.number = 4,
     .type = FIELD_BOOL,
     DELETE(if_exists),
     .about = "412 when there is no such key (header If-Match: *)"},
};
static const struct record delete_record = RECORD("kv_delete", delete_args, delete_fields);

struct delete_result {
    struct slice key;
    uint64_t revision;
    bool deleted;
    const void *prev;
};
#define GONE(member) .offset = offsetof(struct delete_result, member), .name = #member
static const struct field delete_result_fields[] = {
    {.number = 1, .type = FIELD_BYTES, GONE(key), .about = "as given"},
    {.number = 2, .type = FIELD_BOOL, GONE(deleted), .about = "false: it was not there"},
    {.number = 3, .type = FIELD_UINT, GONE(revision), .about = "of this request"},
    {.number = 4,
     .type = FIELD_RECORD,
     GONE(prev),
     .record = &kv_prev_record,
     .about = "with prev: what was there before"},
};
static const struct record delete_result_record =
    RECORD("kv_delete_result", delete_result, delete_result_fields);

static void erase(struct apply *apply, struct slice key, const struct kv_version *live)
{
    if (live->lease) kv_detach(apply, key, live->lease);
    kv_erase(apply, key, live, KV_END_DELETED);
}

static void delete_one(struct apply *apply, const void *arguments)
{
    const struct delete_args *args = arguments;
    struct kv_version newest;
    const struct kv_version *live = kv_newest(apply, args->key, &newest) && !newest.deleted ? &newest : NULL;
    if (kv_guarded(apply, args->key)) return;
    if (changed_already(apply, live)) {
        refuse(apply, "duplicate key: a transaction changes a key once");
        return;
    }
    if (!holds(apply, args->key, args->if_match, args->if_exists, live)) return;
    struct delete_result *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct delete_result){.key = args->key, .deleted = live, .revision = apply->index};
    if (args->prev && live) result->prev = kv_prev(apply, args->key, live->revision);
    if (live) erase(apply, args->key, live);
    apply_answer(apply, OUTCOME_OK, &delete_result_record, result);
}

/* --- delete many --- */

struct delete_prefix_args {
    struct slice prefix, from, to;
    uint64_t limit;
};
#define RANGE(member) .offset = offsetof(struct delete_prefix_args, member), .name = #member
static const struct field delete_prefix_fields[] = {
    {.number = 1, .type = FIELD_BYTES, RANGE(prefix), .max = KV_KEY_MAX, .about = "of the keys"},
    {.number = 2, .type = FIELD_BYTES, RANGE(from), .max = KV_KEY_MAX + 1, .about = "the first key"},
    {.number = 3, .type = FIELD_BYTES, RANGE(to), .max = KV_KEY_MAX + 1, .about = "behind the last key"},
    {.number = 4,
     .type = FIELD_UINT,
     RANGE(limit),
     .min = 1,
     .max = KV_DELETE_MAX,
     .about = "only the first so many; without it more than 10,000 are refused"},
};
static const struct record delete_prefix_record =
    RECORD("kv_delete_prefix", delete_prefix_args, delete_prefix_fields);

struct delete_prefix_result {
    uint64_t deleted, revision;
    bool more;
};
#define WENT(member) .offset = offsetof(struct delete_prefix_result, member), .name = #member
static const struct field delete_prefix_result_fields[] = {
    {.number = 1, .type = FIELD_UINT, WENT(deleted), .about = "how many keys"},
    {.number = 2, .type = FIELD_BOOL, WENT(more), .about = "true: there are more, since a limit was given"},
    {.number = 3, .type = FIELD_UINT, WENT(revision), .about = "of this request"},
};
static const struct record delete_prefix_result_record =
    RECORD("kv_delete_prefix_result", delete_prefix_result, delete_prefix_result_fields);

/* May each of the first `limit` keys be deleted? How many they are, and whether there are more. Answers when
 * not. */
static bool survey(struct apply *apply, struct kv_scan scan, uint64_t limit,
                   struct delete_prefix_result *found)
{
    bool guards = kv_any_guard(apply);
    struct kv_version version;
    struct slice key;
    uint64_t looks = limit + 1;
    while (!found->more && kv_scan_next(apply, &scan, &looks, &key, &version)) {
        found->more = found->deleted == limit;
        if (found->more) break;
        if (guards && kv_guarded(apply, key)) return false;
        if (changed_already(apply, &version))
            return refuse(apply, "duplicate key: a transaction changes a key once");
        found->deleted++;
    }
    return true;
}

static void delete_prefix(struct apply *apply, const void *arguments)
{
    const struct delete_prefix_args *args = arguments;
    struct delete_prefix_result *result = arena_alloc(apply->arena, sizeof *result);
    if (!args->prefix.size && !args->from.size && !args->to.size) {
        refuse(apply, "say which keys: a prefix, or from and to");
        return;
    }
    struct kv_scan scan = kv_scan(apply->arena, args->prefix, args->from, args->to, KV_NEWEST);
    uint64_t room = KV_DELETE_MAX - apply->keys_deleted;
    bool limited = args->limit && args->limit <= room;
    if (!survey(apply, scan, limited ? args->limit : room, result)) return;
    if (result->more && !limited) {
        kv_refuse_limit(apply, KV_DELETE_MAX,
                        apply->keys_deleted ? SLICE("a transaction deletes no more than one request may")
                                            : SLICE("give a limit, and repeat while there are more"));
        return;
    }
    apply->keys_deleted += result->deleted;
    struct kv_version version;
    struct slice key;
    uint64_t looks = result->deleted;
    for (uint64_t i = 0; i < result->deleted; i++) {
        CHECK(kv_scan_next(apply, &scan, &looks, &key, &version));
        erase(apply, key, &version);
    }
    result->revision = apply->index;
    apply_answer(apply, OUTCOME_OK, &delete_prefix_result_record, result);
}

/* --- tables --- */

static const struct operation operations[] = {
    {.code = 100,
     .name = "kv.put",
     .method = "PUT",
     .path = "/v1/kv/{key...}",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_GROWS | OPERATION_RAW,
     .args = &put_record,
     .result = &put_result_record,
     .refusal = &kv_refusal_record,
     .apply = put,
     .about = "Sets a key to a value, on conditions if wanted."},
    {.code = 101,
     .name = "kv.get",
     .method = "GET",
     .path = "/v1/kv/{key...}",
     .kind = OPERATION_QUERY,
     .flags = OPERATION_RAW,
     .args = &kv_get_args_record,
     .result = &kv_entry_record,
     .refusal = &kv_refusal_record,
     .apply = kv_get,
     .object = "/kv/{key}",
     .about = "The value of a key, now or at a recent revision."},
    {.code = 102,
     .name = "kv.list",
     .method = "GET",
     .path = "/v1/kv",
     .kind = OPERATION_QUERY,
     .args = &kv_list_args_record,
     .result = &kv_list_record,
     .refusal = &kv_refusal_record,
     .apply = kv_list,
     .object = "/kv/{prefix}*",
     .about = "Keys in the order of their bytes, now or at a recent revision."},
    {.code = 103,
     .name = "kv.delete",
     .method = "DELETE",
     .path = "/v1/kv/{key...}",
     .kind = OPERATION_COMMAND,
     .args = &delete_record,
     .result = &delete_result_record,
     .refusal = &kv_refusal_record,
     .apply = delete_one,
     .about = "Deletes a key."},
    {.code = 104,
     .name = "kv.delete_prefix",
     .method = "DELETE",
     .path = "/v1/kv",
     .kind = OPERATION_COMMAND,
     .args = &delete_prefix_record,
     .result = &delete_prefix_result_record,
     .refusal = &kv_refusal_record,
     .apply = delete_prefix,
     .about = "Deletes all keys of a prefix or a range at one revision."},
    {.code = 105,
     .name = "kv.compare",
     .kind = OPERATION_QUERY,
     .flags = OPERATION_TXN,
     .args = &kv_compare_args_record,
     .result = &kv_compare_record,
     .refusal = &kv_refusal_record,
     .apply = kv_compare,
     .about = "Compares a key, or all keys of a range: a condition of transactions."},
    {.code = 106,
     .name = "guard.put",
     .method = "PUT",
     .path = "/v1/guards/{prefix...}",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_GROWS,
     .args = &kv_guard_put_record,
     .result = &kv_guard_record,
     .apply = kv_guard_put,
     .about = "Binds a prefix of keys to a lock: writes need its current fence."},
    {.code = 107,
     .name = "guard.get",
     .method = "GET",
     .path = "/v1/guards/{prefix...}",
     .kind = OPERATION_QUERY,
     .args = &kv_guard_prefix_record,
     .result = &kv_guard_record,
     .apply = kv_guard_get,
     .object = "/guards/{prefix}",
     .about = "The lock that a prefix of keys is bound to."},
    {.code = 108,
     .name = "guard.list",
     .method = "GET",
     .path = "/v1/guards",
     .kind = OPERATION_QUERY,
     .args = &kv_guard_list_args_record,
     .result = &kv_guard_list_record,
     .apply = kv_guard_list,
     .object = "/guards/{prefix}*",
     .about = "The guards, in the order of their prefixes."},
    {.code = 109,
     .name = "guard.delete",
     .method = "DELETE",
     .path = "/v1/guards/{prefix...}",
     .kind = OPERATION_COMMAND,
     .args = &kv_guard_prefix_record,
     .result = &kv_unguarded_record,
     .apply = kv_guard_delete,
     .about = "Takes a guard off a prefix of keys."},
};

const struct primitive kv_primitive = {
    .name = "kv",
    .code = KV_CODE,
    .operations = operations,
    .operation_count = sizeof operations / sizeof *operations,
    .lease_ended = kv_lease_ended,
    .path = kv_path,
    .events = kv_events,
    .event_count = KV_EVENTS,
    .event_read = kv_event_read,
    .event_gone = kv_event_gone,
    .check = kv_check,
};
