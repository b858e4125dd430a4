/* What keys tell the history. The rows of events hold only where to find the versions: the revision before,
 * which they keep alive. An entry may have deleted thousands of large values: an event that is read has none
 * of them copied. */
#include "coord/primitive/kv.h"

#include "base/check.h"

const char *const kv_end_choices[] = {"deleted",     "released",    "expired", "revoked",    "broken",
                                      "transferred", "client_gone", "timeout", "downgraded", NULL};

static const struct slice keys_path = {(const uint8_t *)"/kv/", 4},
                          guards_path = {(const uint8_t *)"/guards/", 8};

/* --- shapes --- */

struct prev {
    struct slice value;
    uint64_t revision, create_revision, version, lease;
};
#define PREV(member) .offset = offsetof(struct prev, member), .name = #member
static const struct field prev_fields[] = {
    {.number = 1, .type = FIELD_BYTES, PREV(value), .about = "as it was"},
    {.number = 2, .type = FIELD_UINT, PREV(revision), .about = "that made it"},
    {.number = 3, .type = FIELD_UINT, PREV(create_revision), .about = "that made the key"},
    {.number = 4, .type = FIELD_UINT, PREV(version), .about = "1 when the key was made"},
    {.number = 5, .type = FIELD_LEASE, PREV(lease), .about = "on which it hung"},
};
const struct record kv_prev_record = RECORD("kv_prev", prev, prev_fields);

struct kept {
    uint64_t before, reason;
};
#define KEPT(member) .offset = offsetof(struct kept, member), .name = #member
static const struct field kept_fields[] = {
    {.number = 1, .type = FIELD_UINT, KEPT(before)},
    {.number = 2, .type = FIELD_CHOICE, KEPT(reason), .choices = kv_end_choices},
};
static const struct record kept_record = RECORD("kv_kept", kept, kept_fields);

struct told_put {
    struct slice key, value;
    uint64_t create_revision, version, lease;
    bool created;
    const void *prev;
};
#define PUT(member) .offset = offsetof(struct told_put, member), .name = #member
static const struct field put_fields[] = {
    {.number = 1, .type = FIELD_BYTES, PUT(key), .about = "that was put"},
    {.number = 2, .type = FIELD_BYTES, PUT(value), .about = "its value"},
    {.number = 3, .type = FIELD_UINT, PUT(create_revision), .about = "that made the key"},
    {.number = 4, .type = FIELD_UINT, PUT(version), .about = "1 when the key was made"},
    {.number = 5, .type = FIELD_LEASE, PUT(lease), .about = "on which it hangs"},
    {.number = 6, .type = FIELD_BOOL, PUT(created), .about = "true: it was not there before"},
    {.number = 7,
     .type = FIELD_RECORD,
     PUT(prev),
     .record = &kv_prev_record,
     .about = "what was there before"},
};
static const struct record put_record = RECORD("kv_put_event", told_put, put_fields);

struct told_deleted {
    struct slice key;
    uint64_t reason;
    const void *prev;
};
#define DELETED(member) .offset = offsetof(struct told_deleted, member), .name = #member
static const struct field deleted_fields[] = {
    {.number = 1, .type = FIELD_BYTES, DELETED(key), .about = "that is gone"},
    {.number = 2,
     .type = FIELD_CHOICE,
     DELETED(reason),
     .choices = kv_end_choices,
     .about = "deleted, or how its lease ended"},
    {.number = 3,
     .type = FIELD_RECORD,
     DELETED(prev),
     .record = &kv_prev_record,
     .about = "what was there before"},
};
static const struct record deleted_record = RECORD("kv_deleted_event", told_deleted, deleted_fields);

struct told_guard {
    struct slice lock;
};
static const struct field guard_fields[] = {
    {.number = 1,
     .type = FIELD_TEXT,
     .offset = offsetof(struct told_guard, lock),
     .name = "lock",
     .about = "whose fence writes need"},
};
static const struct record guard_record = RECORD("kv_guard_event", told_guard, guard_fields);

const struct event_kind kv_events[] = {
    {KV_PUT, "put", &kept_record, &put_record},
    {KV_DELETED, "deleted", &kept_record, &deleted_record},
    {KV_GUARDED, "guarded", &guard_record, NULL},
    {KV_UNGUARDED, "unguarded", &guard_record, NULL},
};
_Static_assert(sizeof kv_events / sizeof *kv_events == KV_EVENTS, "kv.h says how many there are");

/* --- telling --- */

static void tell(struct apply *apply, enum kv_event kind, struct slice under, struct slice name,
                 const void *data, uint64_t extra_bytes)
{
    uint8_t path[EVENT_PATH_MAX];
    CHECK(under.size + name.size <= sizeof path);
    memcpy(path, under.data, under.size);
    memcpy(path + under.size, name.data, name.size);
    event_add(apply, &kv_primitive, (uint8_t)kind, slice_of(path, under.size + name.size), data, extra_bytes);
}

static const void *kept(struct apply *apply, uint64_t before, uint64_t reason)
{
    struct kept *kept = arena_alloc(apply->arena, sizeof *kept);
    *kept = (struct kept){before, reason};
    return kept;
}

void kv_tell_put(struct apply *apply, struct slice key, uint64_t before, uint64_t extra_bytes)
{
    tell(apply, KV_PUT, keys_path, key, kept(apply, before, 0), extra_bytes);
}

void kv_tell_deleted(struct apply *apply, struct slice key, uint64_t before, uint64_t reason,
                     uint64_t extra_bytes)
{
    tell(apply, KV_DELETED, keys_path, key, kept(apply, before, reason), extra_bytes);
}

void kv_tell_guard(struct apply *apply, enum kv_event kind, struct slice prefix, struct slice lock)
{
    struct told_guard *told = arena_alloc(apply->arena, sizeof *told);
    told->lock = lock;
    tell(apply, kind, guards_path, prefix, told, 0);
}

/* --- reading --- */

static struct prev *prev_of(struct apply *apply, const struct kv_version *version)
{
    struct prev *prev = arena_alloc(apply->arena, sizeof *prev);
    *prev = (struct prev){version->value, version->revision, version->create_revision, version->version,
                          version->lease};
    return prev;
}

static struct prev *find_prev(struct apply *apply, struct slice key, uint64_t revision)
{
    struct kv_version version;
    if (!revision) return NULL;
    CHECK(kv_version_of(apply, key, revision, &version));
    return version.deleted ? NULL : prev_of(apply, &version);
}

const void *kv_prev(struct apply *apply, struct slice key, uint64_t revision)
{
    struct prev *prev = find_prev(apply, key, revision);
    if (prev) prev->value = arena_copy(apply->arena, prev->value);
    return prev;
}

static const void *read_put(struct apply *apply, struct slice key, uint64_t revision, const struct kept *kept)
{
    struct kv_version version;
    struct told_put *told = arena_alloc(apply->arena, sizeof *told);
    CHECK(kv_version_of(apply, key, revision, &version));
    *told = (struct told_put){.key = key,
                              .value = version.value,
                              .create_revision = version.create_revision,
                              .version = version.version,
                              .lease = version.lease,
                              .created = version.version == 1};
    told->prev = find_prev(apply, key, kept->before);
    return told;
}

/* What the same entry had put is before the delete. */
static const void *read_deleted(struct apply *apply, struct slice key, uint64_t revision,
                                const struct kept *kept)
{
    struct kv_version version;
    struct told_deleted *told = arena_alloc(apply->arena, sizeof *told);
    *told = (struct told_deleted){.key = key, .reason = kept->reason};
    CHECK(kv_version_of(apply, key, revision, &version));
    told->prev = version.version ? prev_of(apply, &version) : find_prev(apply, key, kept->before);
    return told;
}

void kv_event_read(struct rows *rows, struct arena *arena, struct event *event)
{
    struct apply reading = {.rows = rows, .arena = arena};
    struct slice key = slice_skip(event->path, event->kind->code <= KV_DELETED ? keys_path.size : 0);
    if (event->kind->code == KV_PUT)
        event->data = read_put(&reading, key, event->revision, event->data);
    else if (event->kind->code == KV_DELETED)
        event->data = read_deleted(&reading, key, event->revision, event->data);
    event->shape = event->kind->shape ? event->kind->shape : event->kind->kept;
}

void kv_event_gone(struct apply *apply, const struct event *event)
{
    if (event->kind->code > KV_DELETED) return;
    const struct kept *kept = event->data;
    struct slice key = slice_skip(event->path, keys_path.size);
    if (kept->before) kv_forget(apply, key, kept->before);
    if (event->kind->code == KV_DELETED) kv_forget_deleted(apply, key, event->revision);
}
