/* Leases: the operations. Codes 1 to 19. */
#include "coord/primitive/lease.h"

#include "base/check.h"
#include "coord/key.h"

enum { HOLDS_MAX = 100 /* looked at in one answer */, SCANNED_MAX = 10000 };

/* The lease a client named, or the answer that there is none. */
bool lease_named(struct apply *apply, uint64_t lease, struct lease_row *row)
{
    if (lease_get(apply, lease, row)) {
        if (lease_is_clients(row)) return true;
        apply_answer(apply, OUTCOME_LEASE_NOT_FOUND, NULL, NULL);
        return false;
    }
    apply_answer(apply, lease_missing(apply, lease), NULL, NULL);
    return false;
}

/* --- create --- */

struct create_args {
    uint64_t ttl_ms;
    struct slice owner, meta;
};

static const struct field create_fields[] = {
    {.number = 1,
     .type = FIELD_DURATION,
     .offset = offsetof(struct create_args, ttl_ms),
     .name = "ttl",
     .min = LEASE_TTL_MIN_MS,
     .max = LEASE_TTL_MAX_MS,
     .initial = LEASE_TTL_DEFAULT_MS,
     .about = "ends this long after the last renewal"},
    {.number = 2,
     .type = FIELD_TEXT,
     .offset = offsetof(struct create_args, owner),
     .name = "owner",
     .max = 255,
     .about = "who holds it, for people"},
    {.number = 3,
     .type = FIELD_JSON,
     .offset = offsetof(struct create_args, meta),
     .name = "meta",
     .max = 4096,
     .about = "anything the holder wants to say"},
};
static const struct record create_record = RECORD("lease_create", create_args, create_fields);

/* The answer to a create may be given again, to a retry: then less is left. */
#define MADE(member) .offset = offsetof(struct lease_result, member), .name = #member
static const struct field made_fields[] = {
    {.number = 1, .type = FIELD_LEASE, MADE(lease), .about = "its id"},
    {.number = 2, .type = FIELD_TEXT, MADE(owner), .about = "as given"},
    {.number = 3, .type = FIELD_UINT, MADE(ttl_ms), .about = "as given"},
    {.number = 4, .type = FIELD_REMAINING, MADE(expires_in_ms), .about = "without a renewal"},
    {.number = 5, .type = FIELD_UINT, MADE(waiters), .about = "none yet"},
    {.number = 6, .type = FIELD_JSON, MADE(meta), .about = "as given"},
};
static const struct record made_record = RECORD("lease_made", lease_result, made_fields);

static void create(struct apply *apply, const void *arguments)
{
    const struct create_args *args = arguments;
    struct lease_row row;
    uint64_t lease = lease_start(apply, LEASE_NAMED, args->ttl_ms, args->owner, args->meta);
    CHECK(lease_get(apply, lease, &row));
    struct lease_result *result = lease_result_of(apply, &row);
    result->expires_in_ms = lease;
    apply_answer(apply, OUTCOME_CREATED, &made_record, result);
}

static const struct field id_fields[] = {
    {.number = 1,
     .type = FIELD_LEASE,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct lease_id_args, id),
     .name = "id",
     .about = "the lease"},
};
const struct record lease_id_record = RECORD("lease_id", lease_id_args, id_fields);

/* --- revoke --- */

static void revoke(struct apply *apply, const void *arguments)
{
    const struct lease_id_args *args = arguments;
    struct lease_row row;
    if (!lease_named(apply, args->id, &row)) return;
    apply_answer(apply, OUTCOME_NOTHING, NULL, NULL);
    lease_end(apply, args->id, END_REVOKED);
}

/* --- look --- */

struct hold_item {
    struct slice path;
};
static const struct field hold_item_fields[] = {
    {.number = 1,
     .type = FIELD_TEXT,
     .offset = offsetof(struct hold_item, path),
     .name = "path",
     .about = "what hangs on the lease"},
};
static const struct record hold_item_record = RECORD("lease_hold", hold_item, hold_item_fields);

struct lease_view {
    uint64_t lease, ttl_ms, expires_in_ms, created_ms, kind;
    struct slice owner, meta;
    struct list holds;
};
static const struct field lease_view_fields[] = {
    {.number = 1,
     .type = FIELD_LEASE,
     .offset = offsetof(struct lease_view, lease),
     .name = "lease",
     .about = "its id"},
    {.number = 2,
     .type = FIELD_TEXT,
     .offset = offsetof(struct lease_view, owner),
     .name = "owner",
     .about = "as given"},
    {.number = 3,
     .type = FIELD_CHOICE,
     .offset = offsetof(struct lease_view, kind),
     .name = "kind",
     .choices = lease_kind_choices,
     .about = "named by a client, or made for one grant"},
    {.number = 4,
     .type = FIELD_UINT,
     .offset = offsetof(struct lease_view, ttl_ms),
     .name = "ttl_ms",
     .about = "as given"},
    {.number = 5,
     .type = FIELD_REMAINING,
     .offset = offsetof(struct lease_view, expires_in_ms),
     .name = "expires_in_ms",
     .about = "without a renewal"},
    {.number = 6,
     .type = FIELD_TIME,
     .offset = offsetof(struct lease_view, created_ms),
     .name = "created",
     .about = "when it was made"},
    {.number = 7,
     .type = FIELD_JSON,
     .offset = offsetof(struct lease_view, meta),
     .name = "meta",
     .about = "as given"},
    {.number = 8,
     .type = FIELD_LIST,
     .offset = offsetof(struct lease_view, holds),
     .name = "holds",
     .record = &hold_item_record,
     .about = "what hangs on it, the first 100"},
};
static const struct record lease_view_record = RECORD("lease_view", lease_view, lease_view_fields);

static void add_hold(struct apply *apply, uint8_t primitive, struct slice what, void *context)
{
    struct list *holds = context;
    const struct primitive *whose = primitive_by_code(primitive);
    if (whose && whose->path)
        ((struct hold_item *)holds->items)[holds->count++].path = whose->path(apply, what);
}

static void view(struct apply *apply, const struct lease_row *row, struct lease_view *view)
{
    *view = (struct lease_view){.lease = row->id,
                                .ttl_ms = row->ttl_ms,
                                .expires_in_ms = row->id,
                                .created_ms = row->created_ms,
                                .kind = row->kind,
                                .owner = row->owner,
                                .meta = row->meta};
    view->holds.items = arena_alloc(apply->arena, HOLDS_MAX * sizeof(struct hold_item));
    lease_each_attachment(apply, row->id, HOLDS_MAX, add_hold, &view->holds);
}

static void get(struct apply *apply, const void *arguments)
{
    const struct lease_id_args *args = arguments;
    struct lease_row row;
    if (!lease_named(apply, args->id, &row)) return;
    struct lease_view *result = arena_alloc(apply->arena, sizeof *result);
    view(apply, &row, result);
    apply_answer(apply, OUTCOME_OK, &lease_view_record, result);
}

struct list_args {
    struct slice prefix;
    uint64_t limit, cursor;
};
static const struct field list_fields[] = {
    {.number = 1,
     .type = FIELD_TEXT,
     .offset = offsetof(struct list_args, prefix),
     .name = "prefix",
     .max = 255,
     .about = "of the owner"},
    {.number = 2,
     .type = FIELD_UINT,
     .offset = offsetof(struct list_args, limit),
     .name = "limit",
     .min = 1,
     .max = 1000,
     .initial = 100,
     .about = "at most that many"},
    {.number = 3,
     .type = FIELD_LEASE,
     .offset = offsetof(struct list_args, cursor),
     .name = "cursor",
     .about = "of the page before"},
};
static const struct record list_record = RECORD("lease_list", list_args, list_fields);

struct list_result {
    struct list leases;
    uint64_t cursor, revision;
};
static const struct field list_result_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     .offset = offsetof(struct list_result, leases),
     .name = "leases",
     .record = &lease_view_record,
     .about = "in the order of their making"},
    {.number = 2,
     .type = FIELD_LEASE,
     .offset = offsetof(struct list_result, cursor),
     .name = "cursor",
     .about = "for the next page; null at the end"},
    {.number = 3,
     .type = FIELD_UINT,
     .offset = offsetof(struct list_result, revision),
     .name = "revision",
     .about = "of the state that was read"},
};
static const struct record list_result_record = RECORD("leases", list_result, list_result_fields);

static void list(struct apply *apply, const void *arguments)
{
    const struct list_args *args = arguments;
    struct list_result *result = arena_alloc(apply->arena, sizeof *result);
    struct lease_view *views = arena_alloc(apply->arena, args->limit * sizeof *views);
    struct lease_row row;
    result->leases.items = views;
    result->revision = apply->index;
    size_t scanned = 0;
    for (uint64_t last = args->cursor; lease_next(apply->rows, apply->arena, last, &row); last = row.id) {
        if (result->leases.count == args->limit || scanned++ == SCANNED_MAX) {
            result->cursor = last;
            break;
        }
        if (lease_is_clients(&row) && slice_starts_with(row.owner, args->prefix))
            view(apply, &row, &views[result->leases.count++]);
    }
    apply_answer(apply, OUTCOME_OK, &list_result_record, result);
}

/* --- what nodes propose --- */

static const struct field expire_item_fields[] = {
    {.number = 1, .type = FIELD_LEASE, .offset = offsetof(struct lease_expire_item, lease), .name = "lease"},
    {.number = 2,
     .type = FIELD_UINT,
     .offset = offsetof(struct lease_expire_item, generation),
     .name = "generation"},
};
static const struct record expire_item_record =
    RECORD("lease_expire_item", lease_expire_item, expire_item_fields);
static const struct field expire_fields[] = {
    {.number = 1, .type = FIELD_UINT, .offset = offsetof(struct lease_expire_args, term), .name = "term"},
    {.number = 2,
     .type = FIELD_LIST,
     .offset = offsetof(struct lease_expire_args, items),
     .name = "items",
     .record = &expire_item_record,
     .max = 1024},
};
static const struct record expire_record = RECORD("lease_expire", lease_expire_args, expire_fields);

/* A batch of another term was decided by a leader that may have promised more since; an item of another
 * generation was touched since. */
static void expire(struct apply *apply, const void *arguments)
{
    const struct lease_expire_args *args = arguments;
    apply_answer(apply, OUTCOME_OK, NULL, NULL);
    if (args->term != apply->term) return;
    uint64_t *over = arena_alloc(apply->arena, args->items.count * sizeof *over);
    size_t count = 0;
    for (size_t i = 0; i < args->items.count; i++) {
        const struct lease_expire_item *item = &((const struct lease_expire_item *)args->items.items)[i];
        struct lease_row row;
        bool again = false;
        for (size_t k = 0; k < count; k++) again |= over[k] == item->lease;
        if (!again && lease_get(apply, item->lease, &row) && row.generation == item->generation)
            over[count++] = item->lease;
    }
    lease_end_all(apply, over, count, END_EXPIRED);
}

static const struct field session_fields[] = {
    {.number = 1, .type = FIELD_UINT, .offset = offsetof(struct lease_session_args, node), .name = "node"},
    {.number = 2, .type = FIELD_UINT, .offset = offsetof(struct lease_session_args, nonce), .name = "nonce"},
    {.number = 3,
     .type = FIELD_DURATION,
     .offset = offsetof(struct lease_session_args, ttl_ms),
     .name = "ttl"},
};
static const struct record session_record = RECORD("lease_session", lease_session_args, session_fields);
static const struct field session_result_fields[] = {
    {.number = 1, .type = FIELD_UINT, .offset = offsetof(struct lease_session_result, node), .name = "node"},
    {.number = 2,
     .type = FIELD_UINT,
     .offset = offsetof(struct lease_session_result, nonce),
     .name = "nonce"},
    {.number = 3,
     .type = FIELD_LEASE,
     .offset = offsetof(struct lease_session_result, lease),
     .name = "lease"},
};
static const struct record session_result_record =
    RECORD("lease_session_result", lease_session_result, session_result_fields);

uint64_t lease_session_of(struct rows *rows, uint64_t node)
{
    struct key key = key_of(KEY_SESSION);
    key_number(&key, node);
    return rows_number(rows, key_slice(&key));
}

static void open_session(struct apply *apply, const void *arguments)
{
    const struct lease_session_args *args = arguments;
    struct key key = key_of(KEY_SESSION);
    struct lease_row before;
    key_number(&key, args->node);
    uint64_t old = lease_session_of(apply->rows, args->node);
    struct lease_session_result *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct lease_session_result){args->node, args->nonce, 0};
    result->lease = lease_start(apply, LEASE_SESSION, args->ttl_ms,
                                arena_printf(apply->arena, "node %016llx", (unsigned long long)args->node),
                                slice_of(NULL, 0));
    rows_set_number(apply->rows, key_slice(&key), result->lease);
    apply_answer(apply, OUTCOME_OK, &session_result_record, result);
    if (lease_get(apply, old, &before)) lease_end(apply, old, END_CLIENT_GONE);
}

/* --- tables --- */

static const struct operation operations[] = {
    {.code = 1,
     .name = "lease.create",
     .method = "POST",
     .path = "/v1/leases",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_GROWS,
     .args = &create_record,
     .result = &made_record,
     .apply = create,
     .about = "Makes a lease: it ends, with all that hangs on it, unless it is renewed."},
    {.code = 2,
     .name = "lease.renew",
     .method = "POST",
     .path = "/v1/leases/{id}/renew",
     .kind = OPERATION_RENEWAL,
     .args = &lease_id_record,
     .result = &lease_renewed_record,
     .renews = lease_renews,
     .renewed = lease_renewed,
     .about = "Renews a lease for its full time."},
    {.code = 3,
     .name = "lease.renew_many",
     .method = "POST",
     .path = "/v1/leases/renew",
     .kind = OPERATION_RENEWAL,
     .args = &lease_renew_many_record,
     .result = &lease_renewed_many_record,
     .renews = lease_renews_many,
     .renewed = lease_renewed_many,
     .about = "Renews up to 10,000 leases at once."},
    {.code = 4,
     .name = "lease.get",
     .method = "GET",
     .path = "/v1/leases/{id}",
     .kind = OPERATION_QUERY,
     .args = &lease_id_record,
     .result = &lease_view_record,
     .apply = get,
     .object = "/leases/{id}",
     .about = "A lease and what hangs on it."},
    {.code = 5,
     .name = "lease.list",
     .method = "GET",
     .path = "/v1/leases",
     .kind = OPERATION_QUERY,
     .args = &list_record,
     .result = &list_result_record,
     .apply = list,
     .object = "/leases/*",
     .about = "The leases, oldest first."},
    {.code = 6,
     .name = "lease.revoke",
     .method = "DELETE",
     .path = "/v1/leases/{id}",
     .kind = OPERATION_COMMAND,
     .args = &lease_id_record,
     .apply = revoke,
     .about = "Ends a lease and releases all that hangs on it."},
    {.code = 7,
     .name = "lease.expire",
     .kind = OPERATION_COMMAND,
     .args = &expire_record,
     .apply = expire,
     .about = "Ends leases whose time is over, as the leader of a term decided."},
    {.code = 8,
     .name = "lease.session",
     .kind = OPERATION_COMMAND,
     .args = &session_record,
     .result = &session_result_record,
     .apply = open_session,
     .about = "Opens the session of a node process and ends the one before."},
};
const struct operation *const operation_lease_expire = &operations[6], *const operation_lease_session =
                                                                           &operations[7];

const struct primitive lease_primitive = {
    .name = "lease",
    .code = 2,
    .operations = operations,
    .operation_count = sizeof operations / sizeof *operations,
    .events = lease_events,
    .event_count = LEASE_EVENTS,
    .check = lease_check,
};
