/* What watches see of groups and members. Codes of kinds are for ever. */
#include "base/check.h"
#include "coord/primitive/group.h"

struct member_event {
    struct slice group, id, address, zone;
    uint64_t state, token, weight, health, until_ms, breaker;
    bool guarded;
};
#define EVENT(member) .offset = offsetof(struct member_event, member), .name = #member
static const struct field member_fields[] = {
    {.number = 1, .type = FIELD_TEXT, EVENT(group), .about = "that it is in"},
    {.number = 2, .type = FIELD_TEXT, EVENT(id), .about = "of the member"},
    {.number = 3,
     .type = FIELD_CHOICE,
     EVENT(state),
     .choices = member_shown_choices,
     .about = "in which it is now"},
    {.number = 4, .type = FIELD_UINT, EVENT(token), .about = "of its membership"},
    {.number = 5, .type = FIELD_TEXT, .flags = FIELD_NULL, EVENT(address), .about = "as given"},
    {.number = 6, .type = FIELD_TEXT, .flags = FIELD_NULL, EVENT(zone), .about = "as given"},
    {.number = 7, .type = FIELD_UINT, EVENT(weight), .about = "as given"},
    {.number = 8,
     .type = FIELD_CHOICE,
     EVENT(health),
     .choices = member_health_choices,
     .about = "that counts at present"},
    {.number = 9,
     .type = FIELD_BOOL,
     EVENT(guarded),
     .about = "its time is over, the guard keeps it suspect"},
    {.number = 10,
     .type = FIELD_TIME,
     EVENT(until_ms),
     .about = "until when it is on probation, ejected or half-open"},
    {.number = 11,
     .type = FIELD_CHOICE,
     EVENT(breaker),
     .choices = member_breaker_choices,
     .about = "open: it is ejected; half_open: on trial after that"},
};
static const struct record member_record = RECORD("group_member_event", member_event, member_fields);

struct group_told {
    struct slice leader;
    uint64_t leader_token, alive, suspect, guard_cause;
    bool guarded;
};
#define TOLD(member) .offset = offsetof(struct group_told, member), .name = #member
static const struct field group_fields[] = {
    {.number = 1, .type = FIELD_TEXT, .flags = FIELD_NULL, TOLD(leader), .about = "id of the group's leader"},
    {.number = 2, .type = FIELD_UINT, .flags = FIELD_NULL, TOLD(leader_token), .about = "of its term"},
    {.number = 3, .type = FIELD_UINT, TOLD(alive), .about = "how many members are"},
    {.number = 4, .type = FIELD_UINT, TOLD(suspect), .about = "how many members are"},
    {.number = 5, .type = FIELD_BOOL, TOLD(guarded), .about = "too many were silent at once"},
    {.number = 6,
     .type = FIELD_CHOICE,
     .offset = offsetof(struct group_told, guard_cause),
     .name = "guarded_for",
     .choices = guard_cause_choices,
     .about = "too many of what"},
};
static const struct record group_record = RECORD("group_event", group_told, group_fields);

#define OF_MEMBER(kind, name)                                                                                \
    {                                                                                                        \
        kind, name, &member_record, NULL                                                                     \
    }
#define OF_GROUP(kind, name)                                                                                 \
    {                                                                                                        \
        kind, name, &group_record, NULL                                                                      \
    }
const struct event_kind group_events[GROUP_EVENTS] = {
    OF_MEMBER(GROUP_JOINED, "joined"),
    OF_MEMBER(GROUP_UPDATED, "updated"),
    OF_MEMBER(GROUP_SUSPECTED, "suspected"),
    OF_MEMBER(GROUP_CLEARED, "cleared"),
    OF_MEMBER(GROUP_FAILED, "failed"),
    OF_MEMBER(GROUP_RECOVERED, "recovered"),
    OF_MEMBER(GROUP_STEADY, "steady"),
    OF_MEMBER(GROUP_LEFT, "left"),
    OF_MEMBER(GROUP_REAPED, "reaped"),
    OF_MEMBER(GROUP_DRAINING, "draining"),
    OF_MEMBER(GROUP_HEALTH, "health"),
    OF_MEMBER(GROUP_EJECTED, "ejected"),
    OF_MEMBER(GROUP_UNEJECTED, "unejected"),
    OF_GROUP(GROUP_GUARDED, "guarded"),
    OF_GROUP(GROUP_UNGUARDED, "unguarded"),
    OF_GROUP(GROUP_LEADER, "leader"),
    {GROUP_SHARD_OWNED, "owned", &group_shard_event_record, NULL},
    {GROUP_SHARD_REVOKING, "revoking", &group_shard_event_record, NULL},
    {GROUP_SHARD_FREE, "free", &group_shard_event_record, NULL},
    {GROUP_BROADCAST_SENT, "sent", &group_broadcast_event_record, NULL},
    {GROUP_BROADCAST_DONE, "finished", &group_broadcast_event_record, NULL},
    OF_GROUP(GROUP_SET, "set"),
    OF_GROUP(GROUP_REMOVED, "removed"),
    OF_MEMBER(GROUP_HALF_OPEN, "half_open"),
};

static uint64_t until_ms(const struct member *member, enum group_event event)
{
    if (event == GROUP_EJECTED || event == GROUP_HALF_OPEN) return group_breaker_due_ms(member);
    return event == GROUP_RECOVERED ? member->probation_ms : 0;
}

static void tell_member(struct group *group, const struct member *member, enum group_event event)
{
    struct member_event *told = arena_alloc(group->apply->arena, sizeof *told);
    *told = (struct member_event){.group = group->name,
                                  .id = member->id,
                                  .address = member->address,
                                  .zone = member->zone,
                                  .state = member_shown(member, group->apply->time_ms),
                                  .token = member->token,
                                  .weight = member->weight,
                                  .health = member->health,
                                  .until_ms = until_ms(member, event),
                                  .breaker = member_breaker(member),
                                  .guarded = member->guarded};
    event_add(group->apply, &group_primitive, (uint8_t)event,
              member_path(group->apply, group->name, member->id), told, 0);
}

void group_tell(struct group *group, const struct member *member, enum group_event event)
{
    const struct group_row *row = &group->row;
    if (group_events[event - 1].kept == &member_record) {
        tell_member(group, member, event);
        return;
    }
    struct group_told *told = arena_alloc(group->apply->arena, sizeof *told);
    *told = (struct group_told){.leader = row->leader,
                                .leader_token = row->leader_token,
                                .alive = row->counts[MEMBER_ALIVE],
                                .suspect = row->counts[MEMBER_SUSPECT],
                                .guard_cause = row->guard_cause,
                                .guarded = row->guarded_ms > 0};
    event_add(group->apply, &group_primitive, (uint8_t)event,
              arena_printf(group->apply->arena, "/groups/%.*s", SLICE_ARGS(group->name)), told, 0);
}
