/* Broadcasts: something is told to the members that are up, and each acknowledges it. To whom it goes is
 * decided when it is sent. Members hear of it by watching the group, or by asking for what they have not
 * acknowledged; so it is delivered at least once, in order. The last GROUP_BROADCASTS_KEPT of a group are
 * kept.
 *
 * Invariant: a broadcast has as many KEY_BROADCAST_ACK rows as `targeted` says, `acked` of them with a time.
 */
#include "base/check.h"
#include "coord/primitive/group.h"
#include "coord/primitive/watch.h"

enum {
    TARGETS_MAX = 10000,
    SHOWN_MAX = 1000,
    PERCENT = 100,
    TIMEOUT_MAX_MS = 24 * 3600 * 1000,
    TIMEOUT_MS = 60 * 1000
};
enum broadcast_state { BROADCAST_OPEN = 1, BROADCAST_SATISFIED, BROADCAST_PARTIAL, BROADCAST_EXPIRED };
static const char *const state_choices[] = {"open", "satisfied", "partial", "expired", NULL};

struct broadcast {
    struct slice name, payload, zone, tag;
    uint64_t number, state, sent_ms, ends_ms, done_ms, targeted, wanted, acked;
};
#define ROW(member) .offset = offsetof(struct broadcast, member), .name = #member
static const struct field row_fields[] = {
    {.number = 1, .type = FIELD_TEXT, ROW(name)},
    {.number = 2, .type = FIELD_JSON, ROW(payload)},
    {.number = 3, .type = FIELD_TEXT, ROW(zone)},
    {.number = 4, .type = FIELD_TEXT, ROW(tag)},
    {.number = 5, .type = FIELD_UINT, ROW(number)},
    {.number = 6, .type = FIELD_CHOICE, ROW(state), .choices = state_choices},
    {.number = 7, .type = FIELD_UINT, ROW(sent_ms)},
    {.number = 8, .type = FIELD_UINT, ROW(ends_ms)},
    {.number = 9, .type = FIELD_UINT, ROW(done_ms)},
    {.number = 10, .type = FIELD_UINT, ROW(targeted)},
    {.number = 11, .type = FIELD_UINT, ROW(wanted)},
    {.number = 12, .type = FIELD_UINT, ROW(acked)},
};
static const struct record row_record = RECORD("broadcast_row", broadcast, row_fields);

struct ack {
    uint64_t at_ms; /* 0: not yet */
    struct slice response;
};
#define ACK(member) .offset = offsetof(struct ack, member), .name = #member
static const struct field ack_fields[] = {
    {.number = 1, .type = FIELD_UINT, ACK(at_ms)},
    {.number = 2, .type = FIELD_JSON, ACK(response)},
};
static const struct record ack_record = RECORD("broadcast_ack_row", ack, ack_fields);

/* --- rows --- */

static struct key numbered(enum key_kind kind, struct slice group, uint64_t number)
{
    struct key key = group_key_of(kind, group);
    key_number(&key, number);
    return key;
}

static struct key ack_key(struct slice group, uint64_t number, struct slice id)
{
    struct key key = numbered(KEY_BROADCAST_ACK, group, number);
    key_bytes(&key, id);
    return key;
}

static bool get(struct group *group, uint64_t number, struct broadcast *broadcast)
{
    struct key key = numbered(KEY_BROADCAST, group->name, number);
    return row_get(group->apply, key_slice(&key), &row_record, broadcast);
}

static void put(struct group *group, const struct broadcast *broadcast)
{
    struct key key = numbered(KEY_BROADCAST, group->name, broadcast->number);
    row_put(group->apply, key_slice(&key), &row_record, broadcast);
}

/* Oldest first; `from` is where to go on: numbered(KEY_BROADCAST, name, 0) at first. */
static bool next(struct group *group, struct key *from, struct broadcast *broadcast)
{
    struct key prefix = group_key_of(KEY_BROADCAST, group->name);
    struct slice key, value;
    if (!rows_seek(group->apply->rows, key_slice(from), &key, &value) ||
        !slice_starts_with(key, key_slice(&prefix)))
        return false;
    key = arena_copy(group->apply->arena, key);
    *from = key_after(key);
    return row_get(group->apply, key, &row_record, broadcast);
}

/* The members it is for, by id. */
static bool next_ack(struct group *group, uint64_t number, struct key *from, struct slice *id,
                     struct ack *ack)
{
    struct key prefix = numbered(KEY_BROADCAST_ACK, group->name, number);
    struct slice key, value;
    if (!rows_seek(group->apply->rows, key_slice(from), &key, &value) ||
        !slice_starts_with(key, key_slice(&prefix)))
        return false;
    key = arena_copy(group->apply->arena, key);
    *from = key_after(key);
    *id = slice_skip(key, prefix.size);
    return row_get(group->apply, key, &ack_record, ack);
}

static struct slice timer_what(struct group *group, uint64_t number)
{
    struct key rest;
    rest.size = 0;
    key_number(&rest, number);
    return group_work_what(group->apply, GROUP_WORK_BROADCAST, group->name, key_slice(&rest));
}

/* --- events --- */

struct broadcast_event {
    struct slice group, name, payload, zone, tag;
    uint64_t number, state, targeted, acked;
};
#define EVENT(member) .offset = offsetof(struct broadcast_event, member), .name = #member
static const struct field event_fields[] = {
    {.number = 1, .type = FIELD_TEXT, EVENT(group), .about = "its name"},
    {.number = 2, .type = FIELD_UINT, EVENT(number), .about = "of the broadcast"},
    {.number = 3, .type = FIELD_TEXT, EVENT(name), .about = "as given"},
    {.number = 4, .type = FIELD_JSON, EVENT(payload), .about = "as given (sent)"},
    {.number = 5, .type = FIELD_TEXT, .flags = FIELD_NULL, EVENT(zone), .about = "only members there"},
    {.number = 6, .type = FIELD_TEXT, .flags = FIELD_NULL, EVENT(tag), .about = "only members that have it"},
    {.number = 7, .type = FIELD_CHOICE, EVENT(state), .choices = state_choices, .about = "that it is in"},
    {.number = 8, .type = FIELD_UINT, EVENT(targeted), .about = "for how many members"},
    {.number = 9, .type = FIELD_UINT, EVENT(acked), .about = "by how many of them acknowledged"},
};
const struct record group_broadcast_event_record =
    RECORD("group_broadcast_event", broadcast_event, event_fields);

static void tell(struct group *group, const struct broadcast *broadcast, enum group_event event)
{
    struct apply *apply = group->apply;
    struct broadcast_event *told = arena_alloc(apply->arena, sizeof *told);
    *told = (struct broadcast_event){.group = group->name,
                                     .name = broadcast->name,
                                     .zone = broadcast->zone,
                                     .tag = broadcast->tag,
                                     .number = broadcast->number,
                                     .state = broadcast->state,
                                     .targeted = broadcast->targeted,
                                     .acked = broadcast->acked};
    if (event == GROUP_BROADCAST_SENT) told->payload = broadcast->payload;
    event_add(apply, &group_primitive, (uint8_t)event,
              arena_printf(apply->arena, "/groups/%.*s/broadcasts/%llu", SLICE_ARGS(group->name),
                           (unsigned long long)broadcast->number),
              told, 0);
}

/* --- what is answered --- */

struct acked_view {
    struct slice id, response;
    uint64_t at_ms;
};
#define ACKED(member) .offset = offsetof(struct acked_view, member)
static const struct field acked_fields[] = {
    {.number = 1, .type = FIELD_TEXT, ACKED(id), .name = "id", .about = "of the member"},
    {.number = 2, .type = FIELD_TIME, ACKED(at_ms), .name = "at", .about = "when it did"},
    {.number = 3, .type = FIELD_JSON, ACKED(response), .name = "response", .about = "what it said"},
};
static const struct record acked_record = RECORD("group_broadcast_acked", acked_view, acked_fields);

struct view {
    struct slice group, name, payload, coverage;
    uint64_t number, state, sent_ms, ends_ms, targeted, wanted, acked, revision;
    struct list acks, missing;
};
#define VIEW(member) .offset = offsetof(struct view, member)
static const struct field view_fields[] = {
    {.number = 1, .type = FIELD_NAME, VIEW(group), .name = "group", .about = "its name"},
    {.number = 2,
     .type = FIELD_UINT,
     VIEW(number),
     .name = "number",
     .about = "of the broadcast: they only rise"},
    {.number = 3, .type = FIELD_TEXT, VIEW(name), .name = "name", .about = "as given"},
    {.number = 4, .type = FIELD_JSON, VIEW(payload), .name = "payload", .about = "as given"},
    {.number = 5,
     .type = FIELD_CHOICE,
     VIEW(state),
     .name = "state",
     .choices = state_choices,
     .about = "satisfied: as many as wanted have acknowledged"},
    {.number = 6, .type = FIELD_TIME, VIEW(sent_ms), .name = "sent", .about = "when"},
    {.number = 7,
     .type = FIELD_TIME,
     VIEW(ends_ms),
     .name = "ends",
     .about = "then it is partial or expired, if not satisfied"},
    {.number = 8,
     .type = FIELD_UINT,
     VIEW(targeted),
     .name = "targeted",
     .about = "for how many members: those that were up"},
    {.number = 9,
     .type = FIELD_UINT,
     VIEW(wanted),
     .name = "wanted",
     .about = "acknowledgements that satisfy it"},
    {.number = 10,
     .type = FIELD_UINT,
     VIEW(acked),
     .name = "acked",
     .about = "by how many it was acknowledged"},
    {.number = 11,
     .type = FIELD_JSON,
     VIEW(coverage),
     .name = "coverage",
     .about = "percent: acked of targeted"},
    {.number = 12,
     .type = FIELD_LIST,
     VIEW(acks),
     .name = "acks",
     .record = &acked_record,
     .about = "the first 1,000, by id"},
    {.number = 13,
     .type = FIELD_TEXTS,
     VIEW(missing),
     .name = "missing",
     .about = "ids of members that have not: the first 1,000"},
    {.number = 14,
     .type = FIELD_UINT,
     VIEW(revision),
     .name = "revision",
     .about = "of the state that was read"},
};
const struct record group_broadcast_view_record = RECORD("group_broadcast", view, view_fields);

static struct slice percent_of(struct apply *apply, uint64_t part, uint64_t whole)
{
    uint64_t hundredths = whole ? part * PERCENT * PERCENT / whole : PERCENT * PERCENT;
    return arena_printf(apply->arena, "%llu.%02llu", (unsigned long long)(hundredths / PERCENT),
                        (unsigned long long)(hundredths % PERCENT));
}

static struct view view_of(struct group *group, const struct broadcast *broadcast)
{
    return (struct view){.group = group->name,
                         .name = broadcast->name,
                         .payload = broadcast->payload,
                         .coverage = percent_of(group->apply, broadcast->acked, broadcast->targeted),
                         .number = broadcast->number,
                         .state = broadcast->state,
                         .sent_ms = broadcast->sent_ms,
                         .ends_ms = broadcast->ends_ms,
                         .targeted = broadcast->targeted,
                         .wanted = broadcast->wanted,
                         .acked = broadcast->acked,
                         .revision = group->apply->index};
}

static void add_acks(struct group *group, struct view *view)
{
    struct apply *apply = group->apply;
    struct acked_view *acks = arena_alloc(apply->arena, SHOWN_MAX * sizeof *acks);
    struct slice *missing = arena_alloc(apply->arena, SHOWN_MAX * sizeof *missing);
    struct key from = numbered(KEY_BROADCAST_ACK, group->name, view->number);
    struct slice id;
    struct ack ack;
    size_t acked = 0, missed = 0;
    while (next_ack(group, view->number, &from, &id, &ack)) {
        if (ack.at_ms && acked < SHOWN_MAX) acks[acked++] = (struct acked_view){id, ack.response, ack.at_ms};
        if (!ack.at_ms && missed < SHOWN_MAX) missing[missed++] = id;
    }
    view->acks = (struct list){acks, acked};
    view->missing = (struct list){missing, missed};
}

static void answer(struct group *group, const struct broadcast *broadcast, enum outcome outcome)
{
    struct view *view = arena_alloc(group->apply->arena, sizeof *view);
    *view = view_of(group, broadcast);
    add_acks(group, view);
    apply_answer(group->apply, outcome, &group_broadcast_view_record, view);
}

/* --- sending --- */

struct send_args {
    struct slice group, name, payload, zone, tag;
    uint64_t timeout_ms, percent, count;
};
#define SEND(member) .offset = offsetof(struct send_args, member)
static const struct field send_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     SEND(group),
     .name = "group",
     .max = 255,
     .about = "its name"},
    {.number = 2,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     SEND(name),
     .name = "name",
     .max = 255,
     .about = "what it is about"},
    {.number = 3,
     .type = FIELD_JSON,
     SEND(payload),
     .name = "payload",
     .max = GROUP_BROADCAST_MAX,
     .about = "anything"},
    {.number = 4,
     .type = FIELD_TEXT,
     SEND(zone),
     .name = "zone",
     .max = 64,
     .about = "only to members there"},
    {.number = 5,
     .type = FIELD_TEXT,
     SEND(tag),
     .name = "tag",
     .max = 255,
     .about = "only to members that have it"},
    {.number = 6,
     .type = FIELD_DURATION,
     SEND(timeout_ms),
     .name = "timeout",
     .min = 100,
     .max = TIMEOUT_MAX_MS,
     .initial = TIMEOUT_MS,
     .about = "for acknowledgements"},
    {.number = 7,
     .type = FIELD_UINT,
     SEND(percent),
     .name = "percent",
     .min = 1,
     .max = PERCENT,
     .initial = PERCENT,
     .about = "of those that it is for, whose acknowledgements satisfy it"},
    {.number = 8,
     .type = FIELD_UINT,
     SEND(count),
     .name = "count",
     .max = TARGETS_MAX,
     .about = "acknowledgements that satisfy it, instead of percent"},
};
const struct record group_broadcast_record = RECORD("group_broadcast_args", send_args, send_fields);

static bool is_target(const struct member *member, const struct send_args *args)
{
    const struct slice *tags = member->tags.items;
    if (args->zone.size && !slice_equal(member->zone, args->zone)) return false;
    for (size_t i = 0; args->tag.size && i < member->tags.count; i++)
        if (slice_equal(tags[i], args->tag)) return true;
    return !args->tag.size;
}

static uint64_t target(struct group *group, const struct send_args *args, uint64_t number)
{
    static const uint64_t states[] = {MEMBER_ALIVE, MEMBER_SUSPECT};
    uint64_t targeted = 0;
    struct member member;
    for (size_t i = 0; i < 2; i++) {
        struct key from = member_first(group->name, states[i], slice_of(NULL, 0));
        while (member_next(group, states[i], &from, &member)) {
            if (!is_target(&member, args)) continue;
            struct key key = ack_key(group->name, number, member.id);
            row_put(group->apply, key_slice(&key), &ack_record, &(struct ack){0});
            targeted++;
        }
    }
    return targeted;
}

static void forget(struct group *group, struct broadcast *broadcast)
{
    struct key from = numbered(KEY_BROADCAST_ACK, group->name, broadcast->number),
               row = numbered(KEY_BROADCAST, group->name, broadcast->number);
    struct slice id;
    struct ack ack;
    while (next_ack(group, broadcast->number, &from, &id, &ack)) {
        struct key key = ack_key(group->name, broadcast->number, id);
        CHECK(rows_delete(group->apply->rows, key_slice(&key)));
    }
    if (broadcast->state == BROADCAST_OPEN)
        due_clear(group->apply, broadcast->ends_ms, GROUP_CODE, timer_what(group, broadcast->number));
    CHECK(rows_delete(group->apply->rows, key_slice(&row)) && group->row.broadcasts);
    group->row.broadcasts--;
    group->changed = true;
}

static void end(struct group *group, struct broadcast *broadcast, enum broadcast_state state)
{
    broadcast->state = state;
    broadcast->done_ms = group->apply->time_ms;
    put(group, broadcast);
    tell(group, broadcast, GROUP_BROADCAST_DONE);
}

static void send(struct group *group, const struct send_args *args)
{
    struct apply *apply = group->apply;
    struct key from = numbered(KEY_BROADCAST, group->name, 0);
    struct broadcast oldest, broadcast = {.name = args->name,
                                          .payload = args->payload,
                                          .zone = args->zone,
                                          .tag = args->tag,
                                          .number = apply->index,
                                          .state = BROADCAST_OPEN,
                                          .sent_ms = apply->time_ms,
                                          .ends_ms = apply->time_ms + args->timeout_ms};
    if (group->row.broadcasts >= GROUP_BROADCASTS_KEPT && next(group, &from, &oldest)) forget(group, &oldest);
    broadcast.targeted = target(group, args, broadcast.number);
    broadcast.wanted =
        args->count ? args->count : (broadcast.targeted * args->percent + PERCENT - 1) / PERCENT;
    group->row.broadcasts++;
    group->changed = true;
    put(group, &broadcast);
    tell(group, &broadcast, GROUP_BROADCAST_SENT);
    if (broadcast.wanted)
        due_set(apply, broadcast.ends_ms, GROUP_CODE, timer_what(group, broadcast.number));
    else
        end(group, &broadcast, BROADCAST_SATISFIED); /* for nobody */
    answer(group, &broadcast, OUTCOME_CREATED);
}

void group_broadcast(struct apply *apply, const void *arguments)
{
    const struct send_args *args = arguments;
    struct group group;
    struct broadcast other;
    group_load(&group, apply, args->group);
    if (!group.exists)
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
    else if (group.row.counts[MEMBER_ALIVE] + group.row.counts[MEMBER_SUSPECT] > TARGETS_MAX)
        group_refuse(&group, NULL, OUTCOME_SENSELESS,
                     SLICE("broadcasts are for groups with up to 10,000 members that are up"));
    else if (get(&group, apply->index, &other))
        group_refuse(&group, NULL, OUTCOME_SENSELESS, SLICE("a transaction sends one broadcast to a group"));
    else
        send(&group, args);
    group_save(&group);
}

void group_broadcasts_forget(struct group *group)
{
    struct key from = numbered(KEY_BROADCAST, group->name, 0);
    struct broadcast broadcast;
    while (next(group, &from, &broadcast)) forget(group, &broadcast);
}

void group_broadcast_due(struct apply *apply, struct slice name, struct slice rest)
{
    struct group group;
    struct broadcast broadcast;
    uint64_t number;
    group_load(&group, apply, name);
    CHECK(take_u64be(&rest, &number) && get(&group, number, &broadcast) && broadcast.state == BROADCAST_OPEN);
    end(&group, &broadcast, broadcast.acked ? BROADCAST_PARTIAL : BROADCAST_EXPIRED);
}

/* --- acknowledging --- */

struct ack_args {
    struct slice group, member, response;
    uint64_t number, token;
};
#define ACKS(member) .offset = offsetof(struct ack_args, member), .name = #member
static const struct field ack_args_fields[] = {
    {.number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED, ACKS(group), .max = 255, .about = "its name"},
    {.number = 2, .type = FIELD_UINT, .flags = FIELD_REQUIRED, ACKS(number), .about = "of the broadcast"},
    {.number = 3,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     ACKS(member),
     .max = GROUP_ID_MAX,
     .about = "id of the member"},
    {.number = 4, .type = FIELD_UINT, .flags = FIELD_REQUIRED, ACKS(token), .about = "of its membership"},
    {.number = 5,
     .type = FIELD_JSON,
     ACKS(response),
     .max = GROUP_RESPONSE_MAX,
     .about = "anything it wants to say"},
};
const struct record group_broadcast_ack_record = RECORD("group_broadcast_ack", ack_args, ack_args_fields);

static void acknowledge(struct group *group, struct broadcast *broadcast, struct ack *ack,
                        const struct ack_args *args)
{
    struct key key = ack_key(group->name, args->number, args->member);
    if (!ack->at_ms) {
        *ack = (struct ack){group->apply->time_ms, args->response};
        row_put(group->apply, key_slice(&key), &ack_record, ack);
        broadcast->acked++;
        if (broadcast->state == BROADCAST_OPEN && broadcast->acked >= broadcast->wanted) {
            due_clear(group->apply, broadcast->ends_ms, GROUP_CODE, timer_what(group, broadcast->number));
            end(group, broadcast, BROADCAST_SATISFIED);
        } else {
            put(group, broadcast);
        }
    }
    struct view *view = arena_alloc(group->apply->arena, sizeof *view);
    *view = view_of(group, broadcast);
    apply_answer(group->apply, OUTCOME_OK, &group_broadcast_view_record, view);
}

void group_broadcast_ack(struct apply *apply, const void *arguments)
{
    const struct ack_args *args = arguments;
    struct group group;
    struct member member;
    struct broadcast broadcast;
    struct ack ack;
    group_load(&group, apply, args->group);
    if (!group_member_holds(&group, args->member, args->token, &member)) return;
    struct key key = ack_key(args->group, args->number, args->member);
    if (!get(&group, args->number, &broadcast))
        group_refuse(&group, &member, OUTCOME_BROADCAST_NOT_FOUND, slice_of(NULL, 0));
    else if (!row_get(apply, key_slice(&key), &ack_record, &ack))
        group_refuse(&group, &member, OUTCOME_NOT_TARGETED, slice_of(NULL, 0));
    else
        acknowledge(&group, &broadcast, &ack, args);
}

/* --- looking --- */

struct get_args {
    struct slice group;
    uint64_t number, wait_ms;
};
#define GET(member) .offset = offsetof(struct get_args, member)
static const struct field get_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     GET(group),
     .name = "group",
     .max = 255,
     .about = "its name"},
    {.number = 2,
     .type = FIELD_UINT,
     .flags = FIELD_REQUIRED,
     GET(number),
     .name = "number",
     .about = "of the broadcast"},
    {.number = 3,
     .type = FIELD_DURATION,
     GET(wait_ms),
     .name = "wait",
     .max = 600000,
     .about = "at most that long, until it is no longer open; then 304"},
};
const struct record group_broadcast_get_record = RECORD("group_broadcast_get", get_args, get_fields);

void group_broadcast_get(struct apply *apply, const void *arguments)
{
    const struct get_args *args = arguments;
    struct group group;
    struct broadcast broadcast;
    group_load(&group, apply, args->group);
    if (!group.exists)
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
    else if (!get(&group, args->number, &broadcast))
        group_refuse(&group, NULL, OUTCOME_BROADCAST_NOT_FOUND, slice_of(NULL, 0));
    else
        answer(&group, &broadcast,
               args->wait_ms && broadcast.state == BROADCAST_OPEN ? OUTCOME_UNCHANGED : OUTCOME_OK);
}

void group_broadcast_watch(struct arena *arena, const void *arguments, struct watch_request *request)
{
    const struct get_args *args = arguments;
    watch_scope_add(request, arena, "/groups/",
                    arena_printf(arena, "%.*s/broadcasts/%llu", SLICE_ARGS(args->group),
                                 (unsigned long long)args->number),
                    false);
}

struct list_args {
    struct slice group, member;
};
#define LIST(member) .offset = offsetof(struct list_args, member), .name = #member
static const struct field list_args_fields[] = {
    {.number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED, LIST(group), .max = 255, .about = "its name"},
    {.number = 2,
     .type = FIELD_TEXT,
     LIST(member),
     .max = GROUP_ID_MAX,
     .about = "id: only those for it that it has not acknowledged"},
};
const struct record group_broadcasts_args_record =
    RECORD("group_broadcasts_args", list_args, list_args_fields);

struct list_result {
    struct slice group;
    struct list broadcasts;
    uint64_t revision;
};
#define LISTED(member) .offset = offsetof(struct list_result, member), .name = #member
static const struct field list_fields[] = {
    {.number = 1, .type = FIELD_NAME, LISTED(group), .about = "its name"},
    {.number = 2,
     .type = FIELD_LIST,
     LISTED(broadcasts),
     .record = &group_broadcast_view_record,
     .about = "oldest first, without acks and missing"},
    {.number = 3, .type = FIELD_UINT, LISTED(revision), .about = "of the state that was read"},
};
const struct record group_broadcasts_record = RECORD("group_broadcasts", list_result, list_fields);

static bool waits_for(struct group *group, uint64_t number, struct slice id)
{
    struct key key = ack_key(group->name, number, id);
    struct ack ack;
    return row_get(group->apply, key_slice(&key), &ack_record, &ack) && !ack.at_ms;
}

void group_broadcasts(struct apply *apply, const void *arguments)
{
    const struct list_args *args = arguments;
    struct group group;
    struct broadcast broadcast;
    group_load(&group, apply, args->group);
    if (!group.exists) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
        return;
    }
    struct list_result *result = arena_alloc(apply->arena, sizeof *result);
    struct view *views = arena_alloc(apply->arena, group.row.broadcasts * sizeof *views);
    struct key from = numbered(KEY_BROADCAST, args->group, 0);
    *result = (struct list_result){args->group, {views, 0}, apply->index};
    while (next(&group, &from, &broadcast))
        if (!args->member.size || waits_for(&group, broadcast.number, args->member))
            views[result->broadcasts.count++] = view_of(&group, &broadcast);
    apply_answer(apply, OUTCOME_OK, &group_broadcasts_record, result);
}

uint64_t group_broadcasts_open(struct group *group, struct slice id)
{
    struct key from = numbered(KEY_BROADCAST, group->name, 0);
    struct broadcast broadcast;
    uint64_t open = 0;
    if (!group->row.broadcasts) return 0;
    while (next(group, &from, &broadcast))
        open += broadcast.state == BROADCAST_OPEN && waits_for(group, broadcast.number, id);
    return open;
}
