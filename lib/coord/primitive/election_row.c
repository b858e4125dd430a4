/* The rows of elections. */
#include "base/check.h"
#include "coord/primitive/election.h"

const char *const election_reason_choices[] = {"resigned",    "expired",     "revoked", "broken",
                                               "transferred", "client_gone", NULL};

#define TERM(member) .offset = offsetof(struct term, member), .name = #member
static const struct field term_fields[] = {
    {.number = 1, .type = FIELD_UINT, TERM(token)},    {.number = 2, .type = FIELD_UINT, TERM(lease)},
    {.number = 3, .type = FIELD_UINT, TERM(since_ms)}, {.number = 4, .type = FIELD_TEXT, TERM(candidate)},
    {.number = 5, .type = FIELD_JSON, TERM(value)},
};
static const struct record term_record = RECORD("term_row", term, term_fields);

#define PAST(member) .offset = offsetof(struct term_past, member), .name = #member
static const struct field past_fields[] = {
    {.number = 1, .type = FIELD_UINT, PAST(token)},
    {.number = 2, .type = FIELD_UINT, PAST(since_ms)},
    {.number = 3, .type = FIELD_UINT, PAST(ended_ms)},
    {.number = 4, .type = FIELD_CHOICE, PAST(reason), .choices = election_reason_choices},
    {.number = 5, .type = FIELD_TEXT, PAST(candidate)},
    {.number = 6, .type = FIELD_TEXT, PAST(detail)},
};
static const struct record past_record = RECORD("term_past_row", term_past, past_fields);

#define ROW(member) .offset = offsetof(struct election_row, member), .name = #member
static const struct field row_fields[] = {
    {.number = 1, .type = FIELD_RECORD, ROW(leader), .record = &term_record},
    {.number = 2, .type = FIELD_UINT, ROW(candidates)},
    {.number = 3, .type = FIELD_UINT, ROW(token)},
    {.number = 4, .type = FIELD_UINT, ROW(revision)},
    {.number = 5, .type = FIELD_BOOL, ROW(pulse)},
    {.number = 6, .type = FIELD_LIST, ROW(history), .record = &past_record},
};
static const struct record row_record = RECORD("election_row", election_row, row_fields);

#define CANDIDACY(member) .offset = offsetof(struct candidacy, member), .name = #member
static const struct field candidacy_fields[] = {
    {.number = 1, .type = FIELD_TEXT, CANDIDACY(candidate)},
    {.number = 2, .type = FIELD_JSON, CANDIDACY(value)},
    {.number = 3, .type = FIELD_UINT, CANDIDACY(priority)},
    {.number = 4, .type = FIELD_UINT, CANDIDACY(lease)},
    {.number = 5, .type = FIELD_UINT, CANDIDACY(ttl_ms)},
    {.number = 6, .type = FIELD_UINT, CANDIDACY(since_ms)},
    {.number = 7, .type = FIELD_UINT, CANDIDACY(arrived)},
    {.number = 8, .type = FIELD_UINT, CANDIDACY(answer_index)},
    {.number = 9, .type = FIELD_UINT, CANDIDACY(origin)},
};
static const struct record candidacy_record = RECORD("candidate_row", candidacy, candidacy_fields);

/* --- the election itself --- */

static struct key election_key(struct slice name)
{
    struct key key = key_of(KEY_ELECTION);
    key_bytes(&key, name);
    return key;
}

static bool idle(const struct election_row *row)
{
    return !row->leader && !row->candidates && !row->pulse;
}

static bool is_idle(struct apply *apply, struct slice name)
{
    struct election election;
    election_load(&election, apply, name);
    CHECK(election.exists);
    return idle(&election.row);
}

static const struct object_kind kept = {KEY_ELECTION, KEY_ELECTION_KEPT, ELECTION_KEPT_MAX, is_idle};

void election_load(struct election *election, struct apply *apply, struct slice name)
{
    *election = (struct election){.apply = apply, .name = name};
    struct key key = election_key(name);
    election->exists = row_get(apply, key_slice(&key), &row_record, &election->row);
}

void election_save(struct election *election)
{
    if (!election->changed) return;
    struct key key = election_key(election->name);
    election->row.revision = election->apply->index;
    row_put(election->apply, key_slice(&key), &row_record, &election->row);
    if (!election->exists)
        object_keep(election->apply, &kept, election->name);
    else if (idle(&election->row))
        object_forget_surplus(election->apply, &kept);
    election->exists = true;
    election->changed = false;
}

/* --- candidates --- */

enum { PLACE_SIZE = 9 };

struct slice election_place(struct apply *apply, const struct candidacy *candidacy)
{
    struct key place;
    place.size = 0;
    key_byte(&place, (uint8_t)(ELECTION_PRIORITY_MAX - candidacy->priority));
    key_number(&place, candidacy->arrived);
    return arena_copy(apply->arena, key_slice(&place));
}

static struct key candidate_key(struct slice name, struct slice place)
{
    struct key key = key_of(KEY_CANDIDATE);
    key_name(&key, name);
    key_bytes(&key, place);
    return key;
}

bool election_next(struct election *election, struct slice *place, struct candidacy *candidacy)
{
    struct apply *apply = election->apply;
    struct key from = candidate_key(election->name, *place);
    size_t head = from.size - place->size;
    struct slice key, value;
    if (place->size) key_byte(&from, 0);
    if (!election->row.candidates || !rows_seek(apply->rows, key_slice(&from), &key, &value)) return false;
    if (!slice_starts_with(key, slice_of(from.bytes, head)) || key.size != head + PLACE_SIZE) return false;
    key = arena_copy(apply->arena, key);
    *place = slice_skip(key, head);
    return row_get(apply, key, &candidacy_record, candidacy);
}

bool election_at(struct election *election, struct slice place, struct candidacy *candidacy)
{
    struct key key = candidate_key(election->name, place);
    return row_get(election->apply, key_slice(&key), &candidacy_record, candidacy);
}

void election_put(struct election *election, const struct candidacy *candidacy)
{
    election->changed = true;
    struct key key = candidate_key(election->name, election_place(election->apply, candidacy));
    row_put(election->apply, key_slice(&key), &candidacy_record, candidacy);
}

void election_delete(struct election *election, const struct candidacy *candidacy)
{
    election->changed = true;
    struct key key = candidate_key(election->name, election_place(election->apply, candidacy));
    CHECK(rows_delete(election->apply->rows, key_slice(&key)));
}

bool election_awaited_by(struct election *election, uint64_t lease, struct candidacy *candidacy)
{
    struct slice place;
    if (!election->row.candidates ||
        !object_attached(election->apply, lease, ELECTION_CODE, election->name, 'c', &place))
        return false;
    CHECK(election_at(election, place, candidacy));
    return true;
}

/* --- invariants --- */

static bool hangs(struct apply *apply, uint64_t lease, struct slice what)
{
    struct key key = key_of(KEY_ATTACHMENT);
    struct slice value;
    struct lease_row row;
    key_number(&key, lease);
    key_byte(&key, ELECTION_CODE);
    key_bytes(&key, what);
    return lease_get(apply, lease, &row) && rows_get(apply->rows, key_slice(&key), &value);
}

static void check_leader(struct election *election)
{
    const struct term *leader = election->row.leader;
    const struct term_past *past = election->row.history.items;
    for (size_t i = 0; i < election->row.history.count; i++) {
        CHECK(past[i].token <= election->row.token && past[i].reason >= END_RELEASED);
        CHECK(i == 0 || past[i].token < past[i - 1].token);
    }
    CHECK(election->row.history.count <= ELECTION_HISTORY);
    if (!leader) return;
    CHECK(leader->token == election->row.token && leader->candidate.size > 0);
    CHECK(election->row.history.count == 0 || past[0].token < leader->token);
    struct slice what = object_what(election->apply, election->name, 't', slice_of(NULL, 0));
    CHECK(hangs(election->apply, leader->lease, what));
}

static void check_candidates(struct election *election)
{
    struct candidacy candidacy, awaited;
    struct slice place = {0};
    uint64_t count = 0;
    for (; election_next(election, &place, &candidacy); count++) {
        uint64_t lease = candidacy.lease ? candidacy.lease : candidacy.origin;
        CHECK(slice_equal(place, election_place(election->apply, &candidacy)));
        CHECK(!lease ||
              hangs(election->apply, lease, object_what(election->apply, election->name, 'c', place)));
        if (!candidacy.lease) continue;
        CHECK(election_awaited_by(election, candidacy.lease, &awaited) &&
              awaited.arrived == candidacy.arrived);
        CHECK(!election->row.leader || election->row.leader->lease != candidacy.lease);
    }
    CHECK(count == election->row.candidates && count <= ELECTION_CANDIDATES_MAX);
    CHECK(election->row.leader || !count || election->row.pulse);
}

void election_check(struct rows *rows, struct arena *arena)
{
    struct apply apply;
    struct key from = object_first(KEY_ELECTION, (struct slice){0}, (struct slice){0});
    struct slice name;
    uint64_t count = 0;
    apply_begin(&apply, rows, arena, UINT64_MAX, 0, 0);
    for (; object_next(&apply, &from, (struct slice){0}, &name); count++) {
        struct election election;
        election_load(&election, &apply, name);
        CHECK(election.exists && (election.row.token || election.row.candidates));
        check_leader(&election);
        check_candidates(&election);
    }
    object_check_kept(rows, arena, &kept, count);
}
