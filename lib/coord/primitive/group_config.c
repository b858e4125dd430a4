/* Groups as operators see to them: their settings, delete, force. */
#include "base/check.h"
#include "coord/primitive/group.h"

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DELETED_MAX = 1000, PROBES_DEFAULT = 3 };
#define DAY (24ull * HOUR)
#define YEAR (366ull * DAY)

static const char *const detector_choices[] = {"fixed", "phi", NULL};

/* X(number, type, member, name of the argument, min, max, initial, about): one list for the row, for what GET
 * shows, for PUT and for the defaults. */
#define SETTINGS(X)                                                                                          \
    X(2, DURATION, ttl_ms, "ttl", SECOND, DAY, 15 * SECOND,                                                  \
      "of members that give none: failed after so long in silence")                                          \
    X(3, DURATION, suspect_ms, "suspect", 0, DAY, 0,                                                         \
      "suspect after so long in silence; 0: two thirds of the ttl and half a second")                        \
    X(4, UINT, phi, "phi", 10, 160, 80, "tenths: with the detector phi, suspect from that suspicion on")     \
    X(5, DURATION, probation_ms, "probation", 0, DAY, MINUTE,                                                \
      "not picked so long after coming back from a failure; twice as long with each one more in an hour")    \
    X(6, DURATION, reap_failed_ms, "reap_failed", SECOND, YEAR, 72 * HOUR,                                   \
      "failed members are forgotten after that")                                                             \
    X(7, DURATION, reap_left_ms, "reap_left", SECOND, YEAR, DAY,                                             \
      "members that left are forgotten after that")                                                          \
    X(8, UINT, guard_percent, "guard", 0, 100, 30,                                                           \
      "percent: when more would fail within a ttl, they stay suspect; 0: no guard")                          \
    X(9, UINT, guard_min, "guard_min", 1, 100000, 3, "that many may fail whatever the share")                \
    X(10, DURATION, guard_max_ms, "guard_max", SECOND, DAY, 2 * MINUTE,                                      \
      "then the guard lets a tenth of the group fail every ten seconds")                                     \
    X(11, UINT, rise, "rise", 1, 100, 2, "better healths in a row until it counts")                          \
    X(12, UINT, fall, "fall", 1, 100, 2, "worse healths in a row until it counts")                           \
    X(13, UINT, panic_percent, "panic", 0, 100, 50,                                                          \
      "percent: when fewer members are fit to be picked, all that are up are")                               \
    X(14, UINT, eject_percent, "eject", 0, 100, 0,                                                           \
      "percent of failed calls from which on a member is ejected; 0: never")                                 \
    X(15, UINT, eject_requests, "eject_requests", 1, 1000000, 20,                                            \
      "calls in ten seconds below which nobody is")                                                          \
    X(16, UINT, eject_reporters, "eject_reporters", 1, 1000, 2, "clients that must agree")                   \
    X(17, DURATION, eject_ms, "eject_for", SECOND, DAY, 30 * SECOND, "twice as long each time")              \
    X(18, DURATION, eject_max_ms, "eject_for_max", SECOND, DAY, 5 * MINUTE, "and never longer")              \
    X(19, UINT, eject_max_percent, "eject_max", 0, 100, 30,                                                  \
      "percent of the members at once, the new one counted")                                                 \
    X(20, UINT, shards, "shards", 0, GROUP_SHARDS_MAX, 0, "shared out among the members; 0: none")           \
    X(21, DURATION, rebalance_ms, "rebalance", 0, DAY, 10 * SECOND,                                          \
      "after a change of members, before shards move")                                                       \
    X(22, UINT, move_limit, "move_limit", 1, GROUP_SHARDS_MAX, 64, "shards on the move at once")             \
    X(23, UINT, max_members, "max_members", 1, 1000000, 100000, "more are refused")

struct put_args {
    struct slice group;
    struct group_config config;
};

#define OF_ROW(position, kind, field, argument, least, most, first, phrase)                                  \
    {.number = position,                                                                                     \
     .type = FIELD_##kind,                                                                                   \
     .offset = offsetof(struct group_config, field),                                                         \
     .name = #field,                                                                                         \
     .about = phrase},
#define OF_PUT(position, kind, field, argument, least, most, first, phrase)                                  \
    {.number = position,                                                                                     \
     .type = FIELD_##kind,                                                                                   \
     .offset = offsetof(struct put_args, config.field),                                                      \
     .name = argument,                                                                                       \
     .min = least,                                                                                           \
     .max = most,                                                                                            \
     .initial = first,                                                                                       \
     .about = phrase},
#define OF_DEFAULT(position, kind, field, argument, least, most, first, phrase) .field = first,

#define DETECTOR "of suspicion: after a fixed silence, or (phi) one unusual for that member"
#define PROBES "calls that a member gets within ten seconds when its ejection is over, until they went well"
#define LEADER "one of the members leads: the one alive for the longest"

static const struct field config_fields[] = {
    SETTINGS(OF_ROW){.number = 25,
                     .type = FIELD_CHOICE,
                     .offset = offsetof(struct group_config, detector),
                     .name = "detector",
                     .choices = detector_choices,
                     .about = DETECTOR},
    {.number = 26,
     .type = FIELD_BOOL,
     .offset = offsetof(struct group_config, leader),
     .name = "leader",
     .about = LEADER},
    {.number = 27,
     .type = FIELD_UINT,
     .offset = offsetof(struct group_config, eject_probes),
     .name = "eject_probes",
     .about = PROBES},
};
const struct record group_config_record = RECORD("group_config", group_config, config_fields);

const struct group_config group_config_default = {SETTINGS(OF_DEFAULT).detector = DETECTOR_FIXED,
                                                  .eject_probes = PROBES_DEFAULT};

#define NAME_FIELD(structure)                                                                                \
    {                                                                                                        \
        .number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED,                                            \
        .offset = offsetof(struct structure, group), .name = "group", .max = 255, .about = "its name"        \
    }

static const struct field put_fields[] = {
    NAME_FIELD(put_args),
    SETTINGS(OF_PUT){.number = 25,
                     .type = FIELD_CHOICE,
                     .offset = offsetof(struct put_args, config.detector),
                     .name = "detector",
                     .initial = DETECTOR_FIXED,
                     .choices = detector_choices,
                     .about = DETECTOR},
    {.number = 26,
     .type = FIELD_BOOL,
     .offset = offsetof(struct put_args, config.leader),
     .name = "leader",
     .about = LEADER},
    {.number = 27,
     .type = FIELD_UINT,
     .offset = offsetof(struct put_args, config.eject_probes),
     .name = "eject_probes",
     .min = 1,
     .max = 1000,
     .initial = PROBES_DEFAULT,
     .about = PROBES},
};
const struct record group_put_record = RECORD("group_put", put_args, put_fields);

static const struct field name_fields[] = {NAME_FIELD(group_name_args)};
const struct record group_name_record = RECORD("group_name", group_name_args, name_fields);

void group_put(struct apply *apply, const void *arguments)
{
    const struct put_args *args = arguments;
    struct group group;
    group_load(&group, apply, args->group);
    bool made = !group.exists, deals_anew = args->config.shards != group.config.shards;
    if (deals_anew && group.row.shards != group.row.shards_free) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_EMPTY,
                     SLICE("its shards have owners: their number changes when the members have left"));
        return;
    }
    if (deals_anew) group_shards_forget(&group);
    group.config = args->config;
    group.row.config = &args->config;
    group.row.version = apply->index;
    group.changed = true;
    group_tell(&group, NULL, GROUP_SET);
    group_guard_look(&group);
    group_leader_look(&group);
    group_shards_look(&group);
    group_save(&group);
    apply_answer(apply, made ? OUTCOME_CREATED : OUTCOME_OK, &group_view_record, group_view_of(&group));
}

/* --- delete --- */

struct delete_args {
    struct slice group;
    bool force;
};
static const struct field delete_fields[] = {
    NAME_FIELD(delete_args),
    {.number = 2,
     .type = FIELD_BOOL,
     .offset = offsetof(struct delete_args, force),
     .name = "force",
     .about = "also when members are alive: they are told that they are gone"},
};
const struct record group_delete_record = RECORD("group_delete", delete_args, delete_fields);

static void delete_members(struct group *group)
{
    struct key from = member_first(group->name, 0, slice_of(NULL, 0));
    struct member member;
    while (member_next(group, 0, &from, &member)) {
        if (member.state == MEMBER_ALIVE || member.state == MEMBER_SUSPECT)
            member_enter(group, &member, MEMBER_LEFT, MEMBER_REMOVED);
        member_set_timer(group, &member, 0);
        member_delete(group, &member);
    }
}

void group_delete(struct apply *apply, const void *arguments)
{
    const struct delete_args *args = arguments;
    struct group group;
    uint64_t members = 0;
    group_load(&group, apply, args->group);
    const uint64_t *counts = group.row.counts;
    for (size_t state = MEMBER_ALIVE; state <= MEMBER_STATES; state++) members += counts[state];
    if (!group.exists) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
    } else if (!args->force && counts[MEMBER_ALIVE] + counts[MEMBER_SUSPECT]) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_EMPTY, slice_of(NULL, 0));
    } else if (members > DELETED_MAX) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_EMPTY,
                     SLICE("more than 1,000 members: let them leave and be forgotten first"));
    } else {
        group.config.leader = false;
        group.config.shards = 0;
        group_shards_forget(&group);
        delete_members(&group);
        group_broadcasts_forget(&group);
        group_tell(&group, NULL, GROUP_REMOVED);
        group_remove(&group);
        apply_answer(apply, OUTCOME_NOTHING, NULL, NULL);
    }
}

/* --- force --- */

struct forced {
    struct slice group;
    uint64_t failed, left;
};
#define FORCED(member) .offset = offsetof(struct forced, member), .name = #member
static const struct field forced_fields[] = {
    {.number = 1, .type = FIELD_NAME, FORCED(group), .about = "its name"},
    {.number = 2,
     .type = FIELD_UINT,
     FORCED(failed),
     .about = "members that were kept suspect and are failed now"},
    {.number = 3, .type = FIELD_UINT, FORCED(left), .about = "that follow at once"},
};
const struct record group_forced_record = RECORD("group_forced", forced, forced_fields);

void group_force(struct apply *apply, const void *arguments)
{
    const struct group_name_args *args = arguments;
    struct group group;
    group_load(&group, apply, args->group);
    if (!group.exists) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
        return;
    }
    struct forced *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct forced){.group = args->group, .failed = group_force_guarded(&group)};
    result->left = group.row.guarded;
    apply_answer(apply, OUTCOME_OK, &group_forced_record, result);
    group_save(&group);
}
