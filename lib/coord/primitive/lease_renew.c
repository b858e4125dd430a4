/* Renewing leases, and what their owners are told then. */
#include "coord/primitive/lease.h"

#include "base/check.h"

enum { HOLDS_MAX = 100 /* looked at in one answer */ };

#define ASKED(member) .offset = offsetof(struct yield_request, member)
static const struct field yield_fields[] = {
    {.number = 1, .type = FIELD_TEXT, ASKED(owner), .name = "owner", .about = "who asks"},
    {.number = 2,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     ASKED(reason),
     .name = "reason",
     .about = "as given"},
    {.number = 3, .type = FIELD_TIME, ASKED(since_ms), .name = "since", .about = "of the request"},
};
const struct record lease_yield_record = RECORD("yield_request", yield_request, yield_fields);

/* What of a lease is asked for. */
struct asked_hold {
    struct slice path;
    const struct yield_request *yield;
};
static const struct field asked_hold_fields[] = {
    {.number = 1,
     .type = FIELD_TEXT,
     .offset = offsetof(struct asked_hold, path),
     .name = "path",
     .about = "of the hold"},
    {.number = 2,
     .type = FIELD_RECORD,
     .offset = offsetof(struct asked_hold, yield),
     .name = "yield",
     .record = &lease_yield_record,
     .about = "the request"},
};
static const struct record asked_hold_record = RECORD("yield_asked", asked_hold, asked_hold_fields);

static const struct field lease_result_fields[] = {
    {.number = 1,
     .type = FIELD_LEASE,
     .offset = offsetof(struct lease_result, lease),
     .name = "lease",
     .about = "its id"},
    {.number = 2,
     .type = FIELD_TEXT,
     .offset = offsetof(struct lease_result, owner),
     .name = "owner",
     .about = "as given"},
    {.number = 3,
     .type = FIELD_UINT,
     .offset = offsetof(struct lease_result, ttl_ms),
     .name = "ttl_ms",
     .about = "as given"},
    {.number = 4,
     .type = FIELD_UINT,
     .offset = offsetof(struct lease_result, expires_in_ms),
     .name = "expires_in_ms",
     .about = "counted from when the request was sent"},
    {.number = 5,
     .type = FIELD_UINT,
     .offset = offsetof(struct lease_result, waiters),
     .name = "waiters",
     .about = "how many wait for what it holds (its first 100 holds)"},
    {.number = 6,
     .type = FIELD_JSON,
     .offset = offsetof(struct lease_result, meta),
     .name = "meta",
     .about = "as given"},
    {.number = 7,
     .type = FIELD_LIST,
     .offset = offsetof(struct lease_result, yield),
     .name = "yield",
     .record = &asked_hold_record,
     .about = "what of its first 100 holds somebody asks it to give up"},
};
const struct record lease_renewed_record = RECORD("lease", lease_result, lease_result_fields);

struct lease_result *lease_result_of(struct apply *apply, const struct lease_row *row)
{
    struct lease_result *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct lease_result){.lease = row->id,
                                    .ttl_ms = row->ttl_ms,
                                    .expires_in_ms = row->ttl_ms,
                                    .owner = row->owner,
                                    .meta = row->meta};
    return result;
}

void lease_renews(struct apply *apply, const void *arguments)
{
    const struct lease_id_args *args = arguments;
    struct lease_row row;
    if (lease_named(apply, args->id, &row)) apply_renews(apply, args->id);
}

static void look_at_hold(struct apply *apply, uint8_t primitive, struct slice what, void *context)
{
    struct lease_result *result = context;
    const struct primitive *whose = primitive_by_code(primitive);
    if (whose->waiters) result->waiters += whose->waiters(apply, what);
    const struct yield_request *yield = whose->yield ? whose->yield(apply, what) : NULL;
    if (!yield) return;
    if (!result->yield.items)
        result->yield.items = arena_alloc(apply->arena, HOLDS_MAX * sizeof(struct asked_hold));
    ((struct asked_hold *)result->yield.items)[result->yield.count++] =
        (struct asked_hold){whose->path(apply, what), yield};
}

void lease_renewed(struct apply *apply, const void *arguments, const struct renewal *renewals, size_t count)
{
    const struct lease_id_args *args = arguments;
    struct lease_row row;
    CHECK(count == 1);
    if (!renewals[0].renewed || !lease_get(apply, args->id, &row)) {
        apply_answer(apply, lease_missing(apply, args->id), NULL, NULL);
        return;
    }
    struct lease_result *result = lease_result_of(apply, &row);
    lease_each_attachment(apply, row.id, HOLDS_MAX, look_at_hold, result);
    apply_answer(apply, OUTCOME_OK, &lease_renewed_record, result);
}

struct renew_many_args {
    struct list ids;
};

static const struct field renew_many_fields[] = {
    {.number = 1,
     .type = FIELD_LEASES,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct renew_many_args, ids),
     .name = "ids",
     .max = LEASE_BATCH_MAX,
     .about = "the leases"},
};
const struct record lease_renew_many_record = RECORD("lease_renew_many", renew_many_args, renew_many_fields);

struct renewed_item {
    uint64_t lease, expires_in_ms;
};
static const struct field renewed_item_fields[] = {
    {.number = 1,
     .type = FIELD_LEASE,
     .offset = offsetof(struct renewed_item, lease),
     .name = "lease",
     .about = "its id"},
    {.number = 2,
     .type = FIELD_UINT,
     .offset = offsetof(struct renewed_item, expires_in_ms),
     .name = "expires_in_ms",
     .about = "counted from when the request was sent"},
};
static const struct record renewed_item_record = RECORD("renewed_lease", renewed_item, renewed_item_fields);

struct renew_many_result {
    struct list renewed, gone;
};
static const struct field renew_many_result_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     .offset = offsetof(struct renew_many_result, renewed),
     .name = "renewed",
     .record = &renewed_item_record,
     .about = "those that live on"},
    {.number = 2,
     .type = FIELD_LEASES,
     .offset = offsetof(struct renew_many_result, gone),
     .name = "gone",
     .about = "those that are over"},
};
const struct record lease_renewed_many_record =
    RECORD("renewed_leases", renew_many_result, renew_many_result_fields);

void lease_renews_many(struct apply *apply, const void *arguments)
{
    const struct renew_many_args *args = arguments;
    struct lease_row row;
    for (size_t i = 0; i < args->ids.count; i++) {
        uint64_t lease = ((const uint64_t *)args->ids.items)[i];
        bool known = lease_get(apply, lease, &row) && lease_is_clients(&row);
        apply_renews(apply, known ? lease : 0); /* 0 is never renewed: counted as gone below */
    }
}

void lease_renewed_many(struct apply *apply, const void *arguments, const struct renewal *renewals,
                        size_t count)
{
    const struct renew_many_args *args = arguments;
    struct renew_many_result *result = arena_alloc(apply->arena, sizeof *result);
    struct renewed_item *alive = arena_alloc(apply->arena, count * sizeof *alive);
    uint64_t *gone = arena_alloc(apply->arena, count * sizeof *gone);
    result->renewed.items = alive;
    result->gone.items = gone;
    for (size_t i = 0; i < count; i++) {
        uint64_t lease = ((const uint64_t *)args->ids.items)[i];
        struct lease_row row;
        if (renewals[i].renewed && lease_get(apply, lease, &row))
            alive[result->renewed.count++] = (struct renewed_item){lease, row.ttl_ms};
        else
            gone[result->gone.count++] = lease;
    }
    apply_answer(apply, OUTCOME_OK, &lease_renewed_many_record, result);
}
