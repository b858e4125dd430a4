/* A primitive that the product does not have, as somebody would add it: this file in lib/coord/primitive, and
 * its line in the list. People enter a barrier; when as many are there as it is for, it is open. A lease
 * holds each place: whose lease ends, leaves.
 *
 * Rows:  'J' name 0 -> barrier_row    on leases hang: name 0 */
#include "coord/primitive/lease.h"

#include "base/check.h"
#include "coord/key.h"

enum { BARRIER_CODE = 99, KEY_BARRIER = 'J' };

extern const struct primitive barrier_primitive;

struct barrier_args {
    struct slice name;
    uint64_t parties, lease;
};
struct barrier_row {
    uint64_t parties, inside;
};
struct barrier_view {
    struct slice name;
    uint64_t parties, inside;
    bool open;
};

#define ARGS(member) .offset = offsetof(struct barrier_args, member)
static const struct field enter_fields[] = {
    {.number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED, ARGS(name), .name = "name", .max = 255},
    {.number = 2, .type = FIELD_UINT, ARGS(parties), .name = "parties", .min = 1, .max = 100, .initial = 2},
    {.number = 3, .type = FIELD_LEASE, .flags = FIELD_REQUIRED, ARGS(lease), .name = "lease"},
};
static const struct record enter_args = RECORD("barrier_enter", barrier_args, enter_fields);
static const struct field get_fields[] = {
    {.number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED, ARGS(name), .name = "name", .max = 255},
};
static const struct record get_args = RECORD("barrier_get", barrier_args, get_fields);

#define ROW(member) .offset = offsetof(struct barrier_row, member)
static const struct field row_fields[] = {
    {.number = 1, .type = FIELD_UINT, ROW(parties), .name = "parties"},
    {.number = 2, .type = FIELD_UINT, ROW(inside), .name = "inside"},
};
static const struct record row_record = RECORD("barrier_row", barrier_row, row_fields);

#define VIEW(member) .offset = offsetof(struct barrier_view, member)
static const struct field view_fields[] = {
    {.number = 1, .type = FIELD_TEXT, VIEW(name), .name = "name"},
    {.number = 2, .type = FIELD_UINT, VIEW(parties), .name = "parties"},
    {.number = 3, .type = FIELD_UINT, VIEW(inside), .name = "inside"},
    {.number = 4, .type = FIELD_BOOL, VIEW(open), .name = "open"},
};
static const struct record view_record = RECORD("barrier", barrier_view, view_fields);

static struct key row_key(struct slice name)
{
    struct key key = key_of((enum key_kind)KEY_BARRIER);
    key_name(&key, name);
    return key;
}

static void answer(struct apply *apply, struct slice name, const struct barrier_row *row)
{
    struct barrier_view *view = arena_alloc(apply->arena, sizeof *view);
    *view = (struct barrier_view){name, row->parties, row->inside, row->inside >= row->parties};
    apply_answer(apply, OUTCOME_OK, &view_record, view);
}

static void enter(struct apply *apply, const void *data)
{
    const struct barrier_args *args = data;
    struct barrier_row row = {0};
    struct lease_row lease;
    struct key key = row_key(args->name);
    if (!lease_get(apply, args->lease, &lease)) {
        apply_answer(apply, OUTCOME_LEASE_NOT_FOUND, NULL, NULL);
        return;
    }
    row_get(apply, key_slice(&key), &row_record, &row);
    row.parties = args->parties;
    row.inside++;
    row_put(apply, key_slice(&key), &row_record, &row);
    lease_attach(apply, args->lease, BARRIER_CODE, slice_skip(key_slice(&key), 1));
    answer(apply, args->name, &row);
}

static void get(struct apply *apply, const void *data)
{
    const struct barrier_args *args = data;
    struct barrier_row row = {0};
    struct key key = row_key(args->name);
    row_get(apply, key_slice(&key), &row_record, &row);
    answer(apply, args->name, &row);
}

static void lease_ended(struct apply *apply, uint64_t lease, struct slice what, enum end_reason reason)
{
    (void)lease, (void)reason;
    struct barrier_row row;
    struct key key = row_key(slice_of(what.data, what.size - 1));
    CHECK(row_get(apply, key_slice(&key), &row_record, &row));
    row.inside--;
    row_put(apply, key_slice(&key), &row_record, &row);
}

static const struct operation operations[] = {
    {.code = 9901,
     .name = "barrier.enter",
     .method = "POST",
     .path = "/v1/barriers/{name}/enter",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_GROWS,
     .args = &enter_args,
     .result = &view_record,
     .apply = enter,
     .about = "Takes a place in a barrier."},
    {.code = 9902,
     .name = "barrier.get",
     .method = "GET",
     .path = "/v1/barriers/{name}",
     .kind = OPERATION_QUERY,
     .args = &get_args,
     .result = &view_record,
     .apply = get,
     .about = "Who is there."},
};

const struct primitive barrier_primitive = {
    .name = "barrier",
    .code = BARRIER_CODE,
    .operations = operations,
    .operation_count = sizeof operations / sizeof *operations,
    .lease_ended = lease_ended,
};
