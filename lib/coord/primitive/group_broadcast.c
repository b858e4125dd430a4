/* Broadcasts: something is told to the members that are up, and each acknowledges it. To whom it goes is
 * decided when it is sent. Members hear of it by watching the group, or by asking for what they have not
 * acknowledged; so it is delivered at least once, in order. The last GROUP_BROADCASTS_KEPT of a group are
 * kept, fewer when they were for very many members.
 *
 * Invariants: 1. a broadcast has as many KEY_BROADCAST_ACK rows as `targeted` says, `acked` of them with a
 * time. 2. one that is open has its timer. 3. the group's row counts the broadcasts and the targets of all.
 */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/group_broadcast.h"

enum {
    TARGETS_MAX = 10000,
    TARGETS_KEPT_MAX = 3 * TARGETS_MAX, /* rows of acknowledgements of a group: they go in one entry */
    PERCENT = 100,
    TIMEOUT_MAX_MS = 24 * 3600 * 1000,
    TIMEOUT_MS = 60 * 1000
};
const char *const broadcast_state_choices[] = {"open", "satisfied", "partial", "expired", NULL};

#define ROW(member) .offset = offsetof(struct broadcast, member), .name = #member
static const struct field row_fields[] = {
    {.number = 1, .type = FIELD_TEXT, ROW(name)},
    {.number = 2, .type = FIELD_JSON, ROW(payload)},
    {.number = 3, .type = FIELD_TEXT, ROW(zone)},
    {.number = 4, .type = FIELD_TEXT, ROW(tag)},
    {.number = 5, .type = FIELD_UINT, ROW(number)},
    {.number = 6, .type = FIELD_CHOICE, ROW(state), .choices = broadcast_state_choices},
    {.number = 7, .type = FIELD_UINT, ROW(sent_ms)},
    {.number = 8, .type = FIELD_UINT, ROW(ends_ms)},
    {.number = 9, .type = FIELD_UINT, ROW(done_ms)},
    {.number = 10, .type = FIELD_UINT, ROW(targeted)},
    {.number = 11, .type = FIELD_UINT, ROW(wanted)},
    {.number = 12, .type = FIELD_UINT, ROW(acked)},
};
static const struct record row_record = RECORD("broadcast_row", broadcast, row_fields);

#define ACK(member) .offset = offsetof(struct broadcast_ack, member), .name = #member
static const struct field ack_fields[] = {
    {.number = 1, .type = FIELD_UINT, ACK(at_ms)},
    {.number = 2, .type = FIELD_JSON, ACK(response)},
};
static const struct record ack_record = RECORD("broadcast_ack_row", broadcast_ack, ack_fields);

/* --- rows --- */

struct key broadcast_key(enum key_kind kind, struct slice group, uint64_t number)
{
    struct key key = group_key_of(kind, group);
    key_number(&key, number);
    return key;
}

static struct key ack_key(struct slice group, uint64_t number, struct slice id)
{
    struct key key = broadcast_key(KEY_BROADCAST_ACK, group, number);
    key_bytes(&key, id);
    return key;
}

bool broadcast_get(struct group *group, uint64_t number, struct broadcast *broadcast)
{
    struct key key = broadcast_key(KEY_BROADCAST, group->name, number);
    return row_get(group->apply, key_slice(&key), &row_record, broadcast);
}

bool broadcast_ack_get(struct group *group, uint64_t number, struct slice id, struct broadcast_ack *ack)
{
    struct key key = ack_key(group->name, number, id);
    return row_get(group->apply, key_slice(&key), &ack_record, ack);
}

static void put(struct group *group, const struct broadcast *broadcast)
{
    struct key key = broadcast_key(KEY_BROADCAST, group->name, broadcast->number);
    row_put(group->apply, key_slice(&key), &row_record, broadcast);
}

bool broadcast_next(struct group *group, struct key *from, struct broadcast *broadcast)
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

bool broadcast_next_ack(struct group *group, uint64_t number, struct key *from, struct slice *id,
                        struct broadcast_ack *ack)
{
    struct key prefix = broadcast_key(KEY_BROADCAST_ACK, group->name, number);
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
    {.number = 7,
     .type = FIELD_CHOICE,
     EVENT(state),
     .choices = broadcast_state_choices,
     .about = "that it is in"},
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
            row_put(group->apply, key_slice(&key), &ack_record, &(struct broadcast_ack){0});
            targeted++;
        }
    }
    return targeted;
}

static void forget(struct group *group, struct broadcast *broadcast)
{
    struct key from = broadcast_key(KEY_BROADCAST_ACK, group->name, broadcast->number),
               row = broadcast_key(KEY_BROADCAST, group->name, broadcast->number);
    struct slice id;
    struct broadcast_ack ack;
    while (broadcast_next_ack(group, broadcast->number, &from, &id, &ack)) {
        struct key key = ack_key(group->name, broadcast->number, id);
        CHECK(rows_delete(group->apply->rows, key_slice(&key)));
    }
    if (broadcast->state == BROADCAST_OPEN) { /* who waits for its end need not wait longer */
        due_clear(group->apply, broadcast->ends_ms, GROUP_CODE, timer_what(group, broadcast->number));
        broadcast->state = broadcast->acked ? BROADCAST_PARTIAL : BROADCAST_EXPIRED;
        tell(group, broadcast, GROUP_BROADCAST_DONE);
    }
    CHECK(rows_delete(group->apply->rows, key_slice(&row)) && group->row.broadcasts);
    group->row.broadcasts--;
    group->row.targets -= broadcast->targeted;
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
    struct key from = broadcast_key(KEY_BROADCAST, group->name, 0);
    struct broadcast oldest;
    struct broadcast broadcast = {.name = args->name,
                                  .payload = args->payload,
                                  .zone = args->zone,
                                  .tag = args->tag,
                                  .number = apply->index,
                                  .state = BROADCAST_OPEN,
                                  .sent_ms = apply->time_ms,
                                  .ends_ms = apply->time_ms + args->timeout_ms};
    uint64_t most = group->row.counts[MEMBER_ALIVE] + group->row.counts[MEMBER_SUSPECT];
    while ((group->row.broadcasts >= GROUP_BROADCASTS_KEPT || group->row.targets + most > TARGETS_KEPT_MAX) &&
           broadcast_next(group, &from, &oldest))
        forget(group, &oldest);
    broadcast.targeted = target(group, args, broadcast.number);
    broadcast.wanted =
        args->count ? args->count : (broadcast.targeted * args->percent + PERCENT - 1) / PERCENT;
    group->row.broadcasts++;
    group->row.targets += broadcast.targeted;
    if (broadcast.ends_ms > group->row.broadcasts_end_ms) group->row.broadcasts_end_ms = broadcast.ends_ms;
    group->changed = true;
    put(group, &broadcast);
    tell(group, &broadcast, GROUP_BROADCAST_SENT);
    if (broadcast.wanted)
        due_set(apply, broadcast.ends_ms, GROUP_CODE, timer_what(group, broadcast.number));
    else
        end(group, &broadcast, BROADCAST_SATISFIED); /* for nobody */
    apply_answer(apply, OUTCOME_CREATED, &group_broadcast_view_record,
                 broadcast_view(group, &broadcast, true));
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
    else if (broadcast_get(&group, apply->index, &other))
        group_refuse(&group, NULL, OUTCOME_SENSELESS, SLICE("a transaction sends one broadcast to a group"));
    else
        send(&group, args);
    group_save(&group);
}

void group_broadcasts_forget(struct group *group)
{
    struct key from = broadcast_key(KEY_BROADCAST, group->name, 0);
    struct broadcast broadcast;
    while (broadcast_next(group, &from, &broadcast)) forget(group, &broadcast);
}

void group_broadcast_due(struct apply *apply, struct slice name, struct slice rest)
{
    struct group group;
    struct broadcast broadcast;
    uint64_t number;
    group_load(&group, apply, name);
    CHECK(take_u64be(&rest, &number) && broadcast_get(&group, number, &broadcast) &&
          broadcast.state == BROADCAST_OPEN);
    end(&group, &broadcast, broadcast.acked ? BROADCAST_PARTIAL : BROADCAST_EXPIRED);
}

void group_broadcasts_check(struct group *group, struct group_totals *totals)
{
    struct key from = broadcast_key(KEY_BROADCAST, group->name, 0);
    struct broadcast broadcast;
    uint64_t count = 0, targets = 0, timers = 0;
    for (; broadcast_next(group, &from, &broadcast); count++) {
        struct key acks = broadcast_key(KEY_BROADCAST_ACK, group->name, broadcast.number);
        uint64_t targeted = 0, acked = 0;
        struct slice id;
        struct broadcast_ack ack;
        for (; broadcast_next_ack(group, broadcast.number, &acks, &id, &ack); targeted++)
            acked += ack.at_ms > 0;
        CHECK(targeted == broadcast.targeted && acked == broadcast.acked);
        targets += targeted;
        timers += broadcast.state == BROADCAST_OPEN;
        if (broadcast.state == BROADCAST_OPEN)
            CHECK(group_timer_is_set(group->apply, broadcast.ends_ms, timer_what(group, broadcast.number)));
    }
    CHECK(count == group->row.broadcasts && targets == group->row.targets);
    totals->broadcasts += count;
    totals->acks += targets;
    totals->timers += timers;
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

static void acknowledge(struct group *group, struct broadcast *broadcast, struct broadcast_ack *ack,
                        const struct ack_args *args)
{
    struct key key = ack_key(group->name, args->number, args->member);
    if (!ack->at_ms || MUTANT(112)) {
        *ack = (struct broadcast_ack){group->apply->time_ms, args->response};
        row_put(group->apply, key_slice(&key), &ack_record, ack);
        broadcast->acked++;
        if (broadcast->state == BROADCAST_OPEN && broadcast->acked >= broadcast->wanted) {
            if (!MUTANT(113))
                due_clear(group->apply, broadcast->ends_ms, GROUP_CODE, timer_what(group, broadcast->number));
            end(group, broadcast, BROADCAST_SATISFIED);
        } else {
            put(group, broadcast);
        }
    }
    apply_answer(group->apply, OUTCOME_OK, &group_broadcast_view_record,
                 broadcast_view(group, broadcast, false));
}

void group_broadcast_ack(struct apply *apply, const void *arguments)
{
    const struct ack_args *args = arguments;
    struct group group;
    struct member member;
    struct broadcast broadcast;
    struct broadcast_ack ack;
    group_load(&group, apply, args->group);
    if (!group_member_holds(&group, args->member, args->token, &member)) return;
    if (!broadcast_get(&group, args->number, &broadcast))
        group_refuse(&group, &member, OUTCOME_BROADCAST_NOT_FOUND, slice_of(NULL, 0));
    else if (!broadcast_ack_get(&group, args->number, args->member, &ack))
        group_refuse(&group, &member, OUTCOME_NOT_TARGETED, slice_of(NULL, 0));
    else
        acknowledge(&group, &broadcast, &ack, args);
}
