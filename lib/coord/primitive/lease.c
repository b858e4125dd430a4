/* Leases: the rows, and what hangs on them. lease_operations.c has the operations.
 *
 * Rows: KEY_LEASE lease -> lease_row; KEY_ATTACHMENT lease, primitive code, what -> nothing; KEY_SESSION node
 * -> session lease. Operation codes: 1 to 19.
 *
 * Invariants: 1. an attachment's lease exists. 2. a LEASE_OWN or LEASE_DELAY lease has an attachment. 3. a
 * session row's lease exists and is a LEASE_SESSION. */
#include "coord/primitive/lease.h"

#include "base/check.h"
#include "coord/key.h"

const char *const lease_kind_choices[] = {"named", "own", "delay", "session", "member", NULL};

static const struct field row_fields[] = {
    {.number = 1, .type = FIELD_LEASE, .offset = offsetof(struct lease_row, id), .name = "lease"},
    {.number = 2, .type = FIELD_UINT, .offset = offsetof(struct lease_row, ttl_ms), .name = "ttl_ms"},
    {.number = 3, .type = FIELD_UINT, .offset = offsetof(struct lease_row, generation), .name = "generation"},
    {.number = 4,
     .type = FIELD_CHOICE,
     .offset = offsetof(struct lease_row, kind),
     .name = "kind",
     .choices = lease_kind_choices},
    {.number = 5, .type = FIELD_TIME, .offset = offsetof(struct lease_row, created_ms), .name = "created"},
    {.number = 6, .type = FIELD_TEXT, .offset = offsetof(struct lease_row, owner), .name = "owner"},
    {.number = 7, .type = FIELD_JSON, .offset = offsetof(struct lease_row, meta), .name = "meta"},
};
static const struct record row_record = RECORD("lease_row", lease_row, row_fields);

/* --- events --- */

struct told {
    uint64_t lease, ttl_ms, reason;
    struct slice owner;
};
#define TOLD(member) .offset = offsetof(struct told, member), .name = #member
static const struct field granted_fields[] = {
    {.number = 1, .type = FIELD_LEASE, TOLD(lease), .about = "its id"},
    {.number = 2, .type = FIELD_TEXT, TOLD(owner), .about = "as given"},
    {.number = 3, .type = FIELD_UINT, TOLD(ttl_ms), .about = "as given"},
};
static const struct record granted_record = RECORD("lease_granted", told, granted_fields);
static const struct field ended_fields[] = {
    {.number = 1, .type = FIELD_LEASE, TOLD(lease), .about = "its id"},
    {.number = 2, .type = FIELD_TEXT, TOLD(owner), .about = "as given"},
    {.number = 4, .type = FIELD_CHOICE, TOLD(reason), .choices = end_reason_choices, .about = "why"},
};
static const struct record ended_record = RECORD("lease_ended", told, ended_fields);

const struct event_kind lease_events[LEASE_EVENTS] = {
    {LEASE_GRANTED, "granted", &granted_record, NULL},
    {LEASE_ENDED, "ended", &ended_record, NULL},
};

static void tell(struct apply *apply, enum lease_event kind, const struct lease_row *row, uint64_t reason)
{
    if (row->kind != LEASE_NAMED) return;
    struct told *told = arena_alloc(apply->arena, sizeof *told);
    *told = (struct told){row->id, row->ttl_ms, reason, row->owner};
    event_add(apply, &lease_primitive, (uint8_t)kind,
              arena_printf(apply->arena, "/leases/L%llx", (unsigned long long)row->id), told, 0);
}

/* --- rows --- */

static struct key lease_key(uint64_t lease)
{
    struct key key = key_of(KEY_LEASE);
    key_number(&key, lease);
    return key;
}

static struct key attachment_key(uint64_t lease, uint8_t primitive, struct slice what)
{
    struct key key = key_of(KEY_ATTACHMENT);
    key_number(&key, lease);
    key_byte(&key, primitive);
    key_bytes(&key, what);
    return key;
}

static bool get_row(struct rows *rows, struct arena *arena, uint64_t lease, struct lease_row *row)
{
    struct apply reading = {.rows = rows, .arena = arena};
    struct key key = lease_key(lease);
    return lease && row_get(&reading, key_slice(&key), &row_record, row);
}

static void put_row(struct apply *apply, const struct lease_row *row)
{
    struct key key = lease_key(row->id);
    row_put(apply, key_slice(&key), &row_record, row);
    apply_lease_change(apply, row->id, row->ttl_ms, row->generation);
}

static void delete_row(struct apply *apply, uint64_t lease)
{
    struct key key = lease_key(lease);
    CHECK(rows_delete(apply->rows, key_slice(&key)));
    apply_lease_change(apply, lease, 0, 0);
}

uint64_t lease_start(struct apply *apply, enum lease_kind kind, uint64_t ttl_ms, struct slice owner,
                     struct slice meta)
{
    CHECK(apply->lease_count >> LEASE_ENTRY_BITS == 0);
    struct lease_row row = {.id = apply->index << LEASE_ENTRY_BITS | apply->lease_count++,
                            .ttl_ms = ttl_ms,
                            .generation = apply->index,
                            .kind = kind,
                            .created_ms = apply->time_ms,
                            .owner = owner,
                            .meta = meta};
    put_row(apply, &row);
    tell(apply, LEASE_GRANTED, &row, 0);
    return row.id;
}

bool lease_get(struct apply *apply, uint64_t lease, struct lease_row *row)
{
    return get_row(apply->rows, apply->arena, lease, row);
}

void lease_touch(struct apply *apply, uint64_t lease)
{
    struct lease_row row;
    CHECK(lease_get(apply, lease, &row));
    row.generation = apply->index;
    put_row(apply, &row);
}

/* The first attachment, its key in the arena. */
static bool first_attachment(struct apply *apply, uint64_t lease, struct slice *key)
{
    struct key from = key_of(KEY_ATTACHMENT);
    struct slice value;
    key_number(&from, lease);
    if (!rows_seek(apply->rows, key_slice(&from), key, &value) || !slice_starts_with(*key, key_slice(&from)))
        return false;
    *key = arena_copy(apply->arena, *key);
    return true;
}

enum { ATTACHMENT_HEAD = 10 /* kind, lease, primitive code */ };

static void tell_attachments(struct apply *apply, uint64_t lease, enum end_reason reason)
{
    struct slice key;
    while (first_attachment(apply, lease, &key)) {
        const struct primitive *primitive = primitive_by_code(key.data[ATTACHMENT_HEAD - 1]);
        CHECK(primitive && primitive->lease_ended);
        rows_delete(apply->rows, key);
        primitive->lease_ended(apply, lease, slice_skip(key, ATTACHMENT_HEAD), reason);
    }
}

void lease_end_all(struct apply *apply, const uint64_t *leases, size_t count, enum end_reason reason)
{
    for (size_t i = 0; i < count; i++) {
        struct lease_row row;
        CHECK(lease_get(apply, leases[i], &row));
        delete_row(apply, leases[i]);
        tell(apply, LEASE_ENDED, &row, reason);
    }
    for (size_t i = 0; i < count; i++) tell_attachments(apply, leases[i], reason);
    for (size_t p = 0; primitives[p]; p++)
        if (primitives[p]->leases_ended) primitives[p]->leases_ended(apply);
}

void lease_end(struct apply *apply, uint64_t lease, enum end_reason reason)
{
    lease_end_all(apply, &lease, 1, reason);
}

void lease_attach(struct apply *apply, uint64_t lease, uint8_t primitive, struct slice what)
{
    struct key key = attachment_key(lease, primitive, what);
    rows_put(apply->rows, key_slice(&key), slice_of(NULL, 0));
}

/* When its lease has just ended, the row and the attachment are gone already. */
void lease_detach(struct apply *apply, uint64_t lease, uint8_t primitive, struct slice what)
{
    struct key key = attachment_key(lease, primitive, what);
    struct lease_row row;
    struct slice left;
    rows_delete(apply->rows, key_slice(&key));
    if (!lease_get(apply, lease, &row) || (row.kind != LEASE_OWN && row.kind != LEASE_DELAY)) return;
    if (!first_attachment(apply, lease, &left)) delete_row(apply, lease);
}

void lease_each_attachment(struct apply *apply, uint64_t lease, size_t max,
                           void (*each)(struct apply *apply, uint8_t primitive, struct slice what,
                                        void *context),
                           void *context)
{
    struct key prefix = key_of(KEY_ATTACHMENT);
    key_number(&prefix, lease);
    struct key from = prefix;
    struct slice key, value;
    while (max-- && rows_seek(apply->rows, key_slice(&from), &key, &value) &&
           slice_starts_with(key, key_slice(&prefix))) {
        key = arena_copy(apply->arena, key);
        each(apply, key.data[ATTACHMENT_HEAD - 1], slice_skip(key, ATTACHMENT_HEAD), context);
        from = key_after(key);
    }
}

bool lease_next(struct rows *rows, struct arena *arena, uint64_t from, struct lease_row *row)
{
    struct key key = lease_key(from + 1);
    struct slice found, value;
    if (!rows_seek(rows, key_slice(&key), &found, &value) || found.data[0] != KEY_LEASE) return false;
    if (!record_decode(&row_record, row, arena_copy(arena, value), arena))
        fatal("the state is damaged: a row of a lease cannot be read; restore this node from the others");
    return true;
}

bool lease_is_clients(const struct lease_row *row)
{
    return row->kind == LEASE_NAMED || row->kind == LEASE_OWN || row->kind == LEASE_MEMBER;
}

enum outcome lease_missing(const struct apply *apply, uint64_t lease)
{
    return lease >> LEASE_ENTRY_BITS <= apply->index && lease >> LEASE_ENTRY_BITS ? OUTCOME_LEASE_OVER
                                                                                  : OUTCOME_LEASE_NOT_FOUND;
}

static void check_attachments(struct apply *apply)
{
    struct key from = key_of(KEY_ATTACHMENT);
    struct slice key, value;
    struct lease_row row;
    while (rows_seek(apply->rows, key_slice(&from), &key, &value) && key.data[0] == KEY_ATTACHMENT) {
        from = key_after(key);
        uint64_t lease;
        CHECK(key.size >= ATTACHMENT_HEAD && primitive_by_code(key.data[ATTACHMENT_HEAD - 1]));
        key = slice_skip(key, 1);
        CHECK(take_u64be(&key, &lease) && lease_get(apply, lease, &row));
    }
}

void lease_check(struct rows *rows, struct arena *arena)
{
    struct apply apply = {.rows = rows, .arena = arena};
    struct lease_row row;
    struct slice key;
    for (uint64_t last = 0; lease_next(rows, arena, last, &row); last = row.id) {
        CHECK(row.ttl_ms > 0 && row.kind >= LEASE_NAMED && row.kind <= LEASE_MEMBER);
        if (row.kind == LEASE_OWN || row.kind == LEASE_DELAY) CHECK(first_attachment(&apply, row.id, &key));
    }
    check_attachments(&apply);
}
