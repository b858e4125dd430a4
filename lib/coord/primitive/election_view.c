/* What is said of elections: terms, refusals, views, lists, events. */
#include "base/check.h"
#include "coord/primitive/election.h"

static const struct field name_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct election_name_args, name),
     .name = "name",
     .max = 255,
     .about = "of the election"},
};
const struct record election_name_record = RECORD("election_name", election_name_args, name_fields);

#define TOKEN(member) .offset = offsetof(struct election_token_args, member), .name = #member
static const struct field token_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     TOKEN(name),
     .max = 255,
     .about = "of the election"},
    {.number = 2,
     .type = FIELD_UINT,
     .flags = FIELD_REQUIRED,
     TOKEN(token),
     .min = 1,
     .about = "of the term of office"},
};
const struct record election_token_record = RECORD("election_token", election_token_args, token_fields);

/* --- a term, for its leader --- */

struct term_result {
    struct slice name, candidate, value;
    uint64_t token, lease, expires_in_ms, waited_ms;
};
#define TERM(member) .offset = offsetof(struct term_result, member), .name = #member
static const struct field term_fields[] = {
    {.number = 1, .type = FIELD_NAME, TERM(name), .about = "of the election"},
    {.number = 2,
     .type = FIELD_UINT,
     TERM(token),
     .about = "of the term of office: a fencing token, larger than that of every earlier term"},
    {.number = 3, .type = FIELD_LEASE, TERM(lease), .about = "on which the term hangs"},
    {.number = 4, .type = FIELD_TEXT, TERM(candidate), .about = "who leads"},
    {.number = 5, .type = FIELD_JSON, TERM(value), .about = "that it proclaims"},
    {.number = 6,
     .type = FIELD_REMAINING,
     TERM(expires_in_ms),
     .about = "counted from when the request was sent; after a wait, from the answer"},
    {.number = 7, .type = FIELD_UINT, TERM(waited_ms), .about = "in the queue"},
};
const struct record election_term_record = RECORD("election_term", term_result, term_fields);

const void *election_term(struct election *election, uint64_t waited_ms)
{
    const struct term *leader = election->row.leader;
    struct term_result *result = arena_alloc(election->apply->arena, sizeof *result);
    *result = (struct term_result){.name = election->name,
                                   .candidate = leader->candidate,
                                   .value = leader->value,
                                   .token = leader->token,
                                   .lease = leader->lease,
                                   .expires_in_ms = leader->lease,
                                   .waited_ms = waited_ms};
    return result;
}

/* --- the leader, for all others --- */

struct leader_view {
    struct slice candidate, value;
    uint64_t token, since_ms, lease, expires_in_ms;
};
#define LEADER(member) .offset = offsetof(struct leader_view, member)
static const struct field leader_fields[] = {
    {.number = 1, .type = FIELD_TEXT, LEADER(candidate), .name = "candidate", .about = "who leads"},
    {.number = 2, .type = FIELD_JSON, LEADER(value), .name = "value", .about = "that it proclaims"},
    {.number = 3, .type = FIELD_UINT, LEADER(token), .name = "token", .about = "of its term of office"},
    {.number = 4, .type = FIELD_TIME, LEADER(since_ms), .name = "since", .about = "of its election"},
    {.number = 5, .type = FIELD_LEASE, LEADER(lease), .name = "lease", .about = "on which its term hangs"},
    {.number = 6,
     .type = FIELD_REMAINING,
     LEADER(expires_in_ms),
     .name = "expires_in_ms",
     .about = "without a renewal"},
};
static const struct record leader_record = RECORD("election_leader", leader_view, leader_fields);

static const struct leader_view *leader_of(struct apply *apply, const struct election_row *row)
{
    const struct term *leader = row->leader;
    if (!leader) return NULL;
    struct leader_view *view = arena_alloc(apply->arena, sizeof *view);
    *view = (struct leader_view){.candidate = leader->candidate,
                                 .value = leader->value,
                                 .token = leader->token,
                                 .since_ms = leader->since_ms,
                                 .lease = leader->lease,
                                 .expires_in_ms = leader->lease};
    return view;
}

/* --- why not --- */

struct held {
    struct slice name;
    const struct leader_view *leader;
    uint64_t token, candidates, position;
};
#define HELD(member) .offset = offsetof(struct held, member), .name = #member
static const struct field held_fields[] = {
    {.number = 1, .type = FIELD_NAME, HELD(name), .about = "of the election"},
    {.number = 2, .type = FIELD_RECORD, HELD(leader), .record = &leader_record, .about = "null: none"},
    {.number = 3, .type = FIELD_UINT, HELD(token), .flags = FIELD_NULL, .about = "of the latest term"},
    {.number = 4, .type = FIELD_UINT, HELD(candidates), .about = "how many wait"},
    {.number = 5,
     .type = FIELD_UINT,
     HELD(position),
     .flags = FIELD_NULL,
     .about = "in the queue, of this lease"},
};
const struct record election_held_record = RECORD("election_held", held, held_fields);

const void *election_facts(struct election *election, uint64_t position)
{
    struct held *held = arena_alloc(election->apply->arena, sizeof *held);
    *held = (struct held){.name = election->name,
                          .leader = leader_of(election->apply, &election->row),
                          .token = election->row.token,
                          .candidates = election->row.candidates,
                          .position = position};
    return held;
}

/* --- check --- */

struct check_result {
    struct slice name, candidate;
    uint64_t token, lease, expires_in_ms;
    bool current;
};
#define CURRENT(member) .offset = offsetof(struct check_result, member), .name = #member
static const struct field check_fields[] = {
    {.number = 1, .type = FIELD_NAME, CURRENT(name), .about = "of the election"},
    {.number = 2, .type = FIELD_UINT, CURRENT(token), .about = "as asked"},
    {.number = 3, .type = FIELD_BOOL, CURRENT(current), .about = "true: it is of the present term"},
    {.number = 4, .type = FIELD_TEXT, CURRENT(candidate), .about = "who leads"},
    {.number = 5, .type = FIELD_LEASE, CURRENT(lease), .about = "on which the term hangs"},
    {.number = 6, .type = FIELD_REMAINING, CURRENT(expires_in_ms), .about = "without a renewal"},
};
const struct record election_check_record = RECORD("election_check", check_result, check_fields);

void election_check_token(struct apply *apply, const void *arguments)
{
    const struct election_token_args *args = arguments;
    struct election election;
    election_load(&election, apply, args->name);
    const struct term *leader = election.row.leader;
    if (!leader || leader->token != args->token) {
        apply_answer_detail(apply, OUTCOME_FENCED, &election_held_record, election_facts(&election, 0),
                            SLICE("the token is not of the election's present term of office"));
        return;
    }
    struct check_result *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct check_result){.name = args->name,
                                    .candidate = leader->candidate,
                                    .token = leader->token,
                                    .lease = leader->lease,
                                    .expires_in_ms = leader->lease,
                                    .current = true};
    apply_answer(apply, OUTCOME_OK, &election_check_record, result);
}

/* --- the whole election --- */

struct candidate_view {
    struct slice candidate;
    uint64_t position, waited_ms, priority, lease;
};
#define CANDIDATE(member) .offset = offsetof(struct candidate_view, member), .name = #member
static const struct field candidate_fields[] = {
    {.number = 1, .type = FIELD_TEXT, CANDIDATE(candidate), .about = "its name"},
    {.number = 2, .type = FIELD_UINT, CANDIDATE(position), .about = "1 is next"},
    {.number = 3, .type = FIELD_UINT, CANDIDATE(waited_ms), .about = "so far"},
    {.number = 4, .type = FIELD_UINT, CANDIDATE(priority), .about = "higher goes first"},
    {.number = 5, .type = FIELD_LEASE, CANDIDATE(lease), .about = "that it named"},
};
static const struct record candidate_record = RECORD("election_candidate", candidate_view, candidate_fields);

struct past_view {
    struct slice candidate, detail;
    uint64_t token, since_ms, ended_ms, reason;
};
#define PAST(member) .offset = offsetof(struct past_view, member)
static const struct field past_fields[] = {
    {.number = 1, .type = FIELD_TEXT, PAST(candidate), .name = "candidate", .about = "who led"},
    {.number = 2, .type = FIELD_UINT, PAST(token), .name = "token", .about = "of the term"},
    {.number = 3, .type = FIELD_TIME, PAST(since_ms), .name = "since", .about = "of the election"},
    {.number = 4, .type = FIELD_TIME, PAST(ended_ms), .name = "ended", .about = "of the term's end"},
    {.number = 5,
     .type = FIELD_CHOICE,
     PAST(reason),
     .name = "reason",
     .choices = election_reason_choices,
     .about = "why it ended"},
    {.number = 6,
     .type = FIELD_TEXT,
     PAST(detail),
     .name = "detail",
     .flags = FIELD_NULL,
     .about = "what was said of it"},
};
static const struct record past_record = RECORD("election_past", past_view, past_fields);

struct view {
    struct slice name;
    const struct leader_view *leader;
    uint64_t token, candidate_count, revision;
    struct list candidates, history;
};
#define VIEW(member) .offset = offsetof(struct view, member), .name = #member
static const struct field view_fields[] = {
    {.number = 1, .type = FIELD_NAME, VIEW(name), .about = "of the election"},
    {.number = 2,
     .type = FIELD_RECORD,
     VIEW(leader),
     .record = &leader_record,
     .about = "null: nobody leads"},
    {.number = 3, .type = FIELD_UINT, VIEW(token), .flags = FIELD_NULL, .about = "of the latest term"},
    {.number = 4,
     .type = FIELD_LIST,
     VIEW(candidates),
     .record = &candidate_record,
     .about = "that wait, in order: the first 1,000"},
    {.number = 5, .type = FIELD_UINT, VIEW(candidate_count), .about = "all that wait"},
    {.number = 6,
     .type = FIELD_LIST,
     VIEW(history),
     .record = &past_record,
     .about = "the last 16 terms that ended, newest first"},
    {.number = 7, .type = FIELD_UINT, VIEW(revision), .about = "of its last change"},
};
const struct record election_view_record = RECORD("election", view, view_fields);

enum { SHOWN_MAX = 1000 };

static struct list view_candidates(struct election *election)
{
    uint64_t count = election->row.candidates, now_ms = election->apply->time_ms;
    struct list list = {.count = count < SHOWN_MAX ? (size_t)count : SHOWN_MAX};
    struct candidate_view *views = arena_alloc(election->apply->arena, list.count * sizeof *views);
    struct candidacy candidacy;
    struct slice place = {0};
    for (size_t i = 0; i < list.count; i++) {
        CHECK(election_next(election, &place, &candidacy));
        views[i] = (struct candidate_view){
            .candidate = candidacy.candidate,
            .position = i + 1,
            .waited_ms = now_ms > candidacy.since_ms ? now_ms - candidacy.since_ms : 0,
            .priority = candidacy.priority,
            .lease = candidacy.lease,
        };
    }
    list.items = views;
    return list;
}

static struct past_view view_past(const struct term_past *past)
{
    return (struct past_view){.candidate = past->candidate,
                              .detail = past->detail,
                              .token = past->token,
                              .since_ms = past->since_ms,
                              .ended_ms = past->ended_ms,
                              .reason = past->reason};
}

static struct list view_history(struct election *election)
{
    struct list list = {.count = election->row.history.count};
    struct past_view *views = arena_alloc(election->apply->arena, list.count * sizeof *views);
    const struct term_past *past = election->row.history.items;
    for (size_t i = 0; i < list.count; i++) views[i] = view_past(&past[i]);
    list.items = views;
    return list;
}

void election_get(struct apply *apply, const void *arguments)
{
    const struct election_name_args *args = arguments;
    struct election election;
    struct view *view = arena_alloc(apply->arena, sizeof *view);
    election_load(&election, apply, args->name);
    *view = (struct view){.name = args->name,
                          .leader = leader_of(apply, &election.row),
                          .token = election.row.token,
                          .candidate_count = election.row.candidates,
                          .revision = election.row.revision,
                          .candidates = view_candidates(&election),
                          .history = view_history(&election)};
    apply_answer(apply, OUTCOME_OK, &election_view_record, view);
}

/* --- lists --- */

struct list_args {
    struct slice prefix, cursor;
    uint64_t limit;
};
#define ASKED(member) .offset = offsetof(struct list_args, member), .name = #member
static const struct field list_args_fields[] = {
    {.number = 1, .type = FIELD_TEXT, ASKED(prefix), .max = 255, .about = "of the name"},
    {.number = 2,
     .type = FIELD_UINT,
     ASKED(limit),
     .min = 1,
     .max = 1000,
     .initial = 100,
     .about = "at most that many"},
    {.number = 3, .type = FIELD_TEXT, ASKED(cursor), .max = 255, .about = "of the page before"},
};
const struct record election_list_args_record = RECORD("election_list_args", list_args, list_args_fields);

struct list_item {
    struct slice name;
    const struct leader_view *leader;
    uint64_t token, candidates, revision;
};
#define ITEM(member) .offset = offsetof(struct list_item, member), .name = #member
static const struct field item_fields[] = {
    {.number = 1, .type = FIELD_NAME, ITEM(name), .about = "of the election"},
    {.number = 2,
     .type = FIELD_RECORD,
     ITEM(leader),
     .record = &leader_record,
     .about = "null: nobody leads"},
    {.number = 3, .type = FIELD_UINT, ITEM(token), .flags = FIELD_NULL, .about = "of the latest term"},
    {.number = 4, .type = FIELD_UINT, ITEM(candidates), .about = "how many wait"},
    {.number = 5, .type = FIELD_UINT, ITEM(revision), .about = "of its last change"},
};
static const struct record item_record = RECORD("election_item", list_item, item_fields);

struct list_result {
    struct list elections;
    struct slice cursor;
    uint64_t revision;
};
#define PAGE(member) .offset = offsetof(struct list_result, member), .name = #member
static const struct field list_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     PAGE(elections),
     .record = &item_record,
     .about = "in the order of their names"},
    {.number = 2,
     .type = FIELD_TEXT,
     PAGE(cursor),
     .flags = FIELD_NULL,
     .about = "for the next page; null at the end"},
    {.number = 3, .type = FIELD_UINT, PAGE(revision), .about = "of the state that was read"},
};
const struct record election_list_record = RECORD("elections", list_result, list_fields);

void election_list(struct apply *apply, const void *arguments)
{
    const struct list_args *args = arguments;
    struct list_result *result = arena_alloc(apply->arena, sizeof *result);
    struct list_item *items = arena_alloc(apply->arena, args->limit * sizeof *items);
    struct key from = object_first(KEY_ELECTION, args->prefix, args->cursor);
    struct slice name, last = {0};
    result->elections.items = items;
    result->revision = apply->index;
    while (object_next(apply, &from, args->prefix, &name)) {
        if (result->elections.count == args->limit) {
            result->cursor = last;
            break;
        }
        struct election election;
        election_load(&election, apply, name);
        items[result->elections.count++] = (struct list_item){
            .name = name,
            .leader = leader_of(apply, &election.row),
            .token = election.row.token,
            .candidates = election.row.candidates,
            .revision = election.row.revision,
        };
        last = name;
    }
    apply_answer(apply, OUTCOME_OK, &election_list_record, result);
}

/* --- what leases say of their terms --- */

struct slice election_path(struct apply *apply, struct slice what)
{
    struct slice name, rest;
    char kind;
    CHECK(object_parse_what(what, &name, &kind, &rest));
    return arena_printf(apply->arena, "/elections/%.*s", SLICE_ARGS(name));
}

uint64_t election_waiters(struct apply *apply, struct slice what)
{
    struct slice name, rest;
    struct election election;
    char kind;
    CHECK(object_parse_what(what, &name, &kind, &rest));
    election_load(&election, apply, name);
    return kind == 't' ? election.row.candidates : 0;
}

/* --- events; codes are for ever --- */

struct term_event {
    struct slice candidate, value;
    uint64_t token, lease;
};
#define EVENT(member) .offset = offsetof(struct term_event, member), .name = #member
static const struct field elected_fields[] = {
    {.number = 1, .type = FIELD_TEXT, EVENT(candidate), .about = "who leads now"},
    {.number = 2, .type = FIELD_JSON, EVENT(value), .about = "that it proclaims"},
    {.number = 3, .type = FIELD_UINT, EVENT(token), .about = "of its term of office"},
    {.number = 4, .type = FIELD_LEASE, EVENT(lease), .about = "on which the term hangs"},
};
static const struct record elected_record = RECORD("election_elected", term_event, elected_fields);
static const struct field proclaimed_fields[] = {
    {.number = 1, .type = FIELD_TEXT, EVENT(candidate), .about = "who leads"},
    {.number = 2, .type = FIELD_JSON, EVENT(value), .about = "that it proclaims now"},
    {.number = 3, .type = FIELD_UINT, EVENT(token), .about = "of its term of office"},
};
static const struct record proclaimed_record = RECORD("election_proclaimed", term_event, proclaimed_fields);
static const struct record ended_record = RECORD("election_ended", past_view, past_fields);

const struct event_kind election_events[ELECTION_EVENTS] = {
    {.code = ELECTION_ELECTED, .name = "elected", .kept = &elected_record},
    {.code = ELECTION_PROCLAIMED, .name = "proclaimed", .kept = &proclaimed_record},
    {.code = ELECTION_ENDED, .name = "ended", .kept = &ended_record},
};

static const void *event_data(struct election *election, const struct term_past *past)
{
    const struct term *leader = election->row.leader;
    if (past) {
        struct past_view *ended = arena_alloc(election->apply->arena, sizeof *ended);
        *ended = view_past(past);
        return ended;
    }
    struct term_event *event = arena_alloc(election->apply->arena, sizeof *event);
    *event = (struct term_event){leader->candidate, leader->value, leader->token, leader->lease};
    return event;
}

void election_tell(struct election *election, enum election_event event, const struct term_past *past)
{
    struct slice what = object_what(election->apply, election->name, 't', slice_of(NULL, 0));
    event_add(election->apply, &election_primitive, (uint8_t)event, election_path(election->apply, what),
              event_data(election, past), 0);
}
