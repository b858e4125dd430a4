/* Keys (api.md 7): what their files share. kv.c: commands and table; kv_row.c: rows, versions, leases;
 * kv_event.c: the history; kv_view.c: get and list; kv_compare.c: conditions; kv_guard.c: guards; kv_check.c.
 *
 * Rows:
 *     KEY_KEY key                -> kv_version without its value: the newest one of a key that is there
 *     KEY_KEY_GONE key           -> the same of a deleted key; apart, so that nothing of now has to pass them
 * by KEY_VERSION index key      -> kv_version KEY_SPACE                  -> kv_space KEY_LEASE_KEYS lease ->
 * how many keys hang on it, when more than one KEY_GUARD prefix           -> guard_row
 *
 * A revision is the index of an entry. Beside it every entry that changes a key has a dense revision: 2 for
 * the first one, and one more each time; nothing else takes one. An etcd gateway shows those.
 *
 * A version's row lives as long as it is the newest one, or the event of the entry that replaced it is in the
 * history; a delete's as long as its own event is. So what stood at a revision that the history reaches back
 * to can be read. The versions of a key form a chain (`before`) with pointers that skip (`jump`), by which
 * the one of a revision is found in a logarithm of steps: E. Myers, "An applicative random-access stack",
 * 1983.
 *
 * Invariants (kv_check):
 *
 * 1. A KEY_KEY or KEY_KEY_GONE row agrees with its KEY_VERSION row, and a key has but one. Revisions fall
 * along a chain; it ends at a version that made the key, or where the history ends.
 * 2. A version before the newest is there as long as the history holds what replaced it, and no longer; so is
 *    the row of a deleted key. No KEY_VERSION row is outside a chain.
 * 3. A key that is there and names a lease is attached to it, and every attachment is such a key's.
 *    KEY_LEASE_KEYS counts them.
 * 4. The dense revision rises with the index; KEY_SPACE holds the last one, and how many keys there are.
 * 5. An entry changes a key once; but the end of a lease may take away what the entry has just put. Its row
 *    then is a delete that still has the facts and the value of the put. */
#ifndef COORDD_COORD_PRIMITIVE_KV_H
#define COORDD_COORD_PRIMITIVE_KV_H

#include "coord/event.h"
#include "coord/key.h"
#include "coord/primitive/lease.h"

enum {
    KV_CODE = 6,
    KV_KEY_MAX = 480,
    KV_VALUE_MAX = 1024 * 1024,
    KV_LEASE_KEYS_MAX = 10000,
    KV_DELETE_MAX = 10000
};
#define KV_NEWEST UINT64_MAX

struct kv_version {
    uint64_t revision, space_revision; /* of the entry that made it: its index, its dense revision */
    uint64_t create_revision, create_space_revision;
    uint64_t version;           /* 1 when created; 0: deleted (but see invariant 5) */
    uint64_t lease;             /* 0: none */
    uint64_t size;              /* of the value */
    uint64_t before;            /* revision of the version before; 0: none */
    uint64_t height;            /* how many were before it when its row was made */
    uint64_t jump, jump_height; /* a version farther back, its revision and height; 0: none */
    bool deleted;
    struct slice value;
};

struct kv_space {
    uint64_t space_revision, revision; /* of the last entry that changed a key */
    uint64_t keys;                     /* that are there now */
};

/* kv_row.c. Of what is read, values point into the rows: until the next put or delete. */
bool kv_newest(struct apply *apply, struct slice key, struct kv_version *version); /* also a delete */
bool kv_version_of(struct apply *apply, struct slice key, uint64_t revision, struct kv_version *version);
/* The one that stood after the entry `at` (KV_NEWEST: now), when the key was there. `at` must be kv_readable.
 */
bool kv_at(struct apply *apply, struct slice key, uint64_t at, struct kv_version *version);
struct slice kv_value(struct apply *apply, struct slice key, uint64_t revision); /* a copy in the arena */
struct kv_space kv_space(struct apply *apply);
/* Makes a new version; `old` is the newest (NULL: the key is new to the rows), both leave leases alone. */
void kv_write(struct apply *apply, struct slice key, const struct kv_version *old, struct slice value,
              uint64_t lease, struct kv_version *made);
/* `reason`: see kv_end_choices. */
void kv_erase(struct apply *apply, struct slice key, const struct kv_version *old, uint64_t reason);
uint64_t kv_lease_keys(struct apply *apply, uint64_t lease);
void kv_attach(struct apply *apply, struct slice key, uint64_t lease);
void kv_detach(struct apply *apply, struct slice key, uint64_t lease);
void kv_lease_ended(struct apply *apply, uint64_t lease, struct slice what, enum end_reason reason);
struct slice kv_path(struct apply *apply, struct slice what);
/* The row of the version goes; and when it is a delete and the newest, the key's. */
void kv_forget(struct apply *apply, struct slice key, uint64_t revision);
void kv_forget_deleted(struct apply *apply, struct slice key, uint64_t revision);
/* The entry that made a dense revision, at least as long as the history holds it; 0: it is gone, or still to
 * come. */
uint64_t kv_index_of_revision(struct rows *rows, uint64_t space_revision);

/* Keys from `next` up to `to`, in the order of bytes. */
struct kv_scan {
    struct key next; /* KEY_KEY and the first key */
    struct slice to; /* the first key that is not of it */
    bool endless;    /* there is no `to` */
    uint64_t at;
    struct key found;
};
/* All keys that begin with prefix, from `from` on, before `to`: each may be empty. */
struct kv_scan kv_scan(struct arena *arena, struct slice prefix, struct slice from, struct slice to,
                       uint64_t at);
/* The next key that is there; `key` until the next call, the version without its value. At most `looks` rows
 * are looked at, and counted off; false with looks 0: there may be more. */
bool kv_scan_next(struct apply *apply, struct kv_scan *scan, uint64_t *looks, struct slice *key,
                  struct kv_version *version);

/* kv_event.c */
enum kv_event { KV_PUT = 1, KV_DELETED, KV_GUARDED, KV_UNGUARDED };
enum { KV_END_DELETED = 1, KV_END_LEASE /* + enum end_reason - 1 */ };
extern const char *const kv_end_choices[];
extern const struct event_kind kv_events[];
enum { KV_EVENTS = 4 };
extern const struct record kv_prev_record;
/* A version for people, NULL when there is none or it is a delete; in the arena. */
const void *kv_prev(struct apply *apply, struct slice key, uint64_t revision);
void kv_tell_put(struct apply *apply, struct slice key, uint64_t before, uint64_t extra_bytes);
void kv_tell_deleted(struct apply *apply, struct slice key, uint64_t before, uint64_t reason,
                     uint64_t extra_bytes);
void kv_tell_guard(struct apply *apply, enum kv_event kind, struct slice prefix, struct slice lock);
/* Values are not copied: they are until the next put or delete on the rows. */
void kv_event_read(struct rows *rows, struct arena *arena, struct event *event);
void kv_event_gone(struct apply *apply, const struct event *event);

/* kv_view.c */
extern const struct record kv_refusal_record, kv_get_args_record, kv_entry_record, kv_list_args_record,
    kv_list_record;
struct kv_refusal { /* facts of a problem; what does not apply is null */
    struct slice key, guard, lock;
    uint64_t revision, create_revision, version, lease, limit, oldest, newest;
};
/* Answers; `version` NULL or deleted: the key is not there. */
void kv_refuse(struct apply *apply, enum outcome outcome, struct slice key, const struct kv_version *version);
void kv_refuse_limit(struct apply *apply, uint64_t limit, struct slice detail);
/* Can the state after the entry `at` still be read? Answers when not. 0 becomes KV_NEWEST. */
bool kv_readable(struct apply *apply, uint64_t *at);
void kv_get(struct apply *apply, const void *args);
void kv_list(struct apply *apply, const void *args);

/* kv_compare.c */
extern const struct record kv_compare_args_record, kv_compare_record;
void kv_compare(struct apply *apply, const void *args);

/* kv_guard.c */
extern const struct record kv_guard_put_record, kv_guard_prefix_record, kv_guard_record,
    kv_guard_list_args_record, kv_guard_list_record, kv_unguarded_record;
/* Is there a guard on the key whose lock is not the one that the request is fenced by? Answers when so. */
bool kv_guarded(struct apply *apply, struct slice key);
bool kv_any_guard(struct apply *apply);
void kv_guard_put(struct apply *apply, const void *args);
void kv_guard_get(struct apply *apply, const void *args);
void kv_guard_list(struct apply *apply, const void *args);
void kv_guard_delete(struct apply *apply, const void *args);
void kv_guard_check(struct rows *rows, struct arena *arena);

/* kv_check.c */
void kv_check(struct rows *rows, struct arena *arena);

extern const struct primitive kv_primitive;

#endif
