/* Members come and go: join, update, leave, drain; an operator fails one. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/group.h"

enum { TTL_MIN_MS = 1000, BEATS_PER_TTL = 3, BEATS_PER_SECOND = 20000 };

/* A member that misses no beat is heard twice before its ttl is over, however many members there are. */
uint64_t group_heartbeat_ms(const struct member *member, uint64_t up)
{
    uint64_t asked_ms = member->ttl_ms / BEATS_PER_TTL, most_ms = member->ttl_ms * 2 / 5;
    uint64_t raised_ms = up * 1000 / BEATS_PER_SECOND;
    if (raised_ms <= asked_ms) return asked_ms;
    uint64_t jitter = group_draw(member->id, slice_of(&member->token, sizeof member->token)) % 401;
    raised_ms = raised_ms * (800 + jitter) / 1000;
    if (raised_ms < asked_ms) return asked_ms;
    return raised_ms < most_ms ? raised_ms : most_ms;
}

/* --- refusals --- */

struct refused {
    struct slice group, id;
    uint64_t state, token, since_ms, members;
};
#define REFUSED(member) .offset = offsetof(struct refused, member)
static const struct field refused_fields[] = {
    {.number = 1, .type = FIELD_NAME, REFUSED(group), .name = "group", .about = "its name"},
    {.number = 2,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     REFUSED(id),
     .name = "id",
     .about = "of the member"},
    {.number = 3,
     .type = FIELD_CHOICE,
     REFUSED(state),
     .name = "state",
     .choices = member_shown_choices,
     .about = "of the member"},
    {.number = 4,
     .type = FIELD_UINT,
     .flags = FIELD_NULL,
     REFUSED(token),
     .name = "token",
     .about = "the member's latest"},
    {.number = 5, .type = FIELD_TIME, REFUSED(since_ms), .name = "since", .about = "in that state"},
    {.number = 6, .type = FIELD_UINT, REFUSED(members), .name = "members", .about = "alive and suspect ones"},
};
const struct record group_refused_record = RECORD("group_refused", refused, refused_fields);

void group_refuse(struct group *group, const struct member *member, enum outcome outcome, struct slice detail)
{
    struct refused *facts = arena_alloc(group->apply->arena, sizeof *facts);
    *facts = (struct refused){
        .group = group->name,
        .members = group->row.counts[MEMBER_ALIVE] + group->row.counts[MEMBER_SUSPECT],
    };
    if (member) {
        facts->id = member->id;
        facts->state = member_shown(member, group->apply->time_ms);
        facts->token = member->token;
        facts->since_ms = member->since_ms;
    }
    apply_answer_detail(group->apply, outcome, &group_refused_record, facts, detail);
}

bool group_member_holds(struct group *group, struct slice id, uint64_t token, struct member *member)
{
    if (!group->exists)
        group_refuse(group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
    else if (!member_get(group, id, member))
        group_refuse(group, &(struct member){.id = id}, OUTCOME_MEMBER_UNKNOWN, slice_of(NULL, 0));
    else if (!member->lease)
        group_refuse(group, member, OUTCOME_MEMBER_GONE, slice_of(NULL, 0));
    else if (member->token != token && !MUTANT(108))
        group_refuse(group, member, OUTCOME_MEMBER_FENCED, slice_of(NULL, 0));
    else
        return true;
    return false;
}

/* --- join --- */

enum conflict { CONFLICT_TAKEOVER = 1, CONFLICT_REJECT };
static const char *const conflict_choices[] = {"takeover", "reject", NULL};

struct join_args {
    struct slice group, id, address, zone, version, meta;
    struct list tags;
    uint64_t weight, ttl_ms, token, on_conflict;
};
#define JOIN(member) .offset = offsetof(struct join_args, member)
static const struct field join_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     JOIN(group),
     .name = "group",
     .max = 255,
     .about = "its name; it makes itself"},
    {.number = 2,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     JOIN(id),
     .name = "id",
     .max = GROUP_ID_MAX,
     .about = "of the member, its own within the group"},
    {.number = 3,
     .type = FIELD_TEXT,
     JOIN(address),
     .name = "address",
     .max = 255,
     .about = "where it is reached, HOST:PORT"},
    {.number = 4, .type = FIELD_TEXT, JOIN(zone), .name = "zone", .max = 64, .about = "where it stands"},
    {.number = 5, .type = FIELD_TEXT, JOIN(version), .name = "version", .max = 64, .about = "that it runs"},
    {.number = 6,
     .type = FIELD_JSON,
     JOIN(meta),
     .name = "meta",
     .max = 4096,
     .about = "anything it wants to say"},
    {.number = 7, .type = FIELD_TEXTS, JOIN(tags), .name = "tags", .max = 32, .about = "to find it by"},
    {.number = 8,
     .type = FIELD_UINT,
     JOIN(weight),
     .name = "weight",
     .max = GROUP_WEIGHT_MAX,
     .initial = GROUP_WEIGHT_DEFAULT,
     .about = "its share among the others; 0: none"},
    {.number = 9,
     .type = FIELD_DURATION,
     JOIN(ttl_ms),
     .name = "ttl",
     .min = TTL_MIN_MS,
     .max = LEASE_TTL_MAX_MS,
     .about = "without a heartbeat for so long it is failed (the group's ttl unless given)"},
    {.number = 10,
     .type = FIELD_UINT,
     JOIN(token),
     .name = "token",
     .about = "its own, to change what it said of itself; without one it joins anew"},
    {.number = 11,
     .type = FIELD_CHOICE,
     JOIN(on_conflict),
     .name = "on_conflict",
     .initial = CONFLICT_TAKEOVER,
     .choices = conflict_choices,
     .about = "when a member of that id is alive: take its place, with a new token, or be refused"},
};
const struct record group_join_record = RECORD("group_join", join_args, join_fields);

struct joined {
    struct slice group, id;
    uint64_t token, lease, state, ttl_ms, heartbeat_ms, expires_in_ms;
};
#define JOINED(member) .offset = offsetof(struct joined, member)
static const struct field joined_fields[] = {
    {.number = 1, .type = FIELD_NAME, JOINED(group), .name = "group", .about = "its name"},
    {.number = 2, .type = FIELD_NAME, JOINED(id), .name = "id", .about = "of the member"},
    {.number = 3,
     .type = FIELD_UINT,
     JOINED(token),
     .name = "token",
     .about = "of this membership: its epoch"},
    {.number = 4,
     .type = FIELD_CHOICE,
     JOINED(state),
     .name = "state",
     .choices = member_shown_choices,
     .about = "recovered: on probation after a failure"},
    {.number = 5,
     .type = FIELD_LEASE,
     JOINED(lease),
     .name = "lease",
     .about = "of the membership: locks, claims and keys may hang on it"},
    {.number = 6,
     .type = FIELD_UINT,
     JOINED(ttl_ms),
     .name = "ttl_ms",
     .about = "failed after so long in silence"},
    {.number = 7,
     .type = FIELD_UINT,
     JOINED(heartbeat_ms),
     .name = "heartbeat_in_ms",
     .about = "when it should be heard again"},
    {.number = 8,
     .type = FIELD_REMAINING,
     JOINED(expires_in_ms),
     .name = "expires_in_ms",
     .about = "without one"},
};
const struct record group_joined_record = RECORD("group_member_joined", joined, joined_fields);

static const void *joined(struct group *group, const struct member *member)
{
    struct joined *result = arena_alloc(group->apply->arena, sizeof *result);
    struct census census = group_census(group->apply);
    *result = (struct joined){.group = group->name,
                              .id = member->id,
                              .token = member->token,
                              .lease = member->lease,
                              .state = member_shown(member, group->apply->time_ms),
                              .ttl_ms = member->ttl_ms,
                              .heartbeat_ms = group_heartbeat_ms(member, census_up(&census)),
                              .expires_in_ms = member->lease};
    return result;
}

static void say(struct member *member, const struct join_args *args)
{
    member->address = args->address;
    member->zone = args->zone;
    member->version = args->version;
    member->meta = args->meta;
    member->tags = args->tags;
    member->weight = args->weight;
}

static void update(struct group *group, struct member *member, const struct join_args *args)
{
    if (args->ttl_ms && args->ttl_ms != member->ttl_ms) {
        group_refuse(group, member, OUTCOME_SENSELESS,
                     SLICE("the ttl of a membership is for good: join anew, without a token"));
        return;
    }
    say(member, args);
    lease_touch(group->apply, member->lease);
    member_store(group, member, GROUP_UPDATED);
    apply_answer(group->apply, OUTCOME_OK, &group_joined_record, joined(group, member));
}

static bool is_full(const struct group *group)
{
    uint64_t members = 0;
    for (size_t state = MEMBER_ALIVE; state <= MEMBER_STATES; state++) members += group->row.counts[state];
    return members >= group->config.max_members;
}

static void join_anew(struct group *group, struct member *member, bool known, const struct join_args *args)
{
    bool alive = known && member->lease;
    if (alive && args->on_conflict == CONFLICT_REJECT) {
        group_refuse(group, member, OUTCOME_MEMBER_ALIVE, slice_of(NULL, 0));
    } else if (known && member->token == group->apply->index) {
        group_refuse(group, member, OUTCOME_SENSELESS,
                     SLICE("a transaction lets a member join at most once"));
    } else if (!known && is_full(group)) {
        group_refuse(group, NULL, OUTCOME_GROUP_FULL, slice_of(NULL, 0));
    } else {
        member->id = args->id;
        member->ttl_ms = args->ttl_ms ? args->ttl_ms : group->config.ttl_ms;
        say(member, args);
        member_begin(group, member, alive ? MEMBER_TAKEN_OVER : known ? MEMBER_REJOINED : MEMBER_JOINED);
        apply_answer(group->apply, OUTCOME_CREATED, &group_joined_record, joined(group, member));
    }
}

void group_join(struct apply *apply, const void *arguments)
{
    const struct join_args *args = arguments;
    struct group group;
    struct member member = {0};
    group_load(&group, apply, args->group);
    if (args->token) {
        if (group_member_holds(&group, args->id, args->token, &member)) update(&group, &member, args);
    } else {
        bool known = member_get(&group, args->id, &member);
        join_anew(&group, &member, known, args);
    }
    group_save(&group);
}

/* --- leave --- */

struct leave_args {
    struct slice group, id;
    uint64_t token;
    bool force;
};
#define LEAVE(member) .offset = offsetof(struct leave_args, member), .name = #member
#define MEMBER_FIELDS(structure)                                                                             \
    {.number = 1,                                                                                            \
     .type = FIELD_NAME,                                                                                     \
     .flags = FIELD_REQUIRED,                                                                                \
     .offset = offsetof(struct structure, group),                                                            \
     .name = "group",                                                                                        \
     .max = 255,                                                                                             \
     .about = "its name"},                                                                                   \
    {                                                                                                        \
        .number = 2, .type = FIELD_NAME, .flags = FIELD_REQUIRED, .offset = offsetof(struct structure, id),  \
        .name = "id", .max = GROUP_ID_MAX, .about = "of the member"                                          \
    }
static const struct field leave_fields[] = {
    MEMBER_FIELDS(leave_args),
    {.number = 3, .type = FIELD_UINT, LEAVE(token), .about = "of the membership"},
    {.number = 4, .type = FIELD_BOOL, LEAVE(force), .about = "whatever its token: for operators"},
};
const struct record group_leave_record = RECORD("group_leave", leave_args, leave_fields);

static const struct field member_fields[] = {MEMBER_FIELDS(group_member_args)};
const struct record group_member_record = RECORD("group_member_name", group_member_args, member_fields);

/* A member that is over already has left, if that was its token. */
void group_leave(struct apply *apply, const void *arguments)
{
    const struct leave_args *args = arguments;
    struct group group;
    struct member member;
    group_load(&group, apply, args->group);
    if (!member_get(&group, args->id, &member)) {
        enum outcome outcome = group.exists ? OUTCOME_MEMBER_UNKNOWN : OUTCOME_GROUP_NOT_FOUND;
        group_refuse(&group, &(struct member){.id = args->id}, outcome, slice_of(NULL, 0));
        return;
    }
    if (!args->force && member.token != args->token) {
        group_refuse(&group, &member, OUTCOME_MEMBER_FENCED, slice_of(NULL, 0));
        return;
    }
    apply_answer(apply, OUTCOME_NOTHING, NULL, NULL);
    if (member.state == MEMBER_ALIVE || member.state == MEMBER_SUSPECT)
        member_enter(&group, &member, MEMBER_LEFT, args->force ? MEMBER_REMOVED : MEMBER_LEAVES);
    group_save(&group);
}

/* --- drain --- */

struct drain_args {
    struct slice group, id;
    uint64_t token;
    bool undo;
};
#define DRAIN(member) .offset = offsetof(struct drain_args, member), .name = #member
static const struct field drain_fields[] = {
    MEMBER_FIELDS(drain_args),
    {.number = 3,
     .type = FIELD_UINT,
     DRAIN(token),
     .about = "of the membership; not needed: operators drain members too"},
    {.number = 4, .type = FIELD_BOOL, DRAIN(undo), .about = "it is to be picked again"},
};
const struct record group_drain_record = RECORD("group_drain", drain_args, drain_fields);

void group_drain(struct apply *apply, const void *arguments)
{
    const struct drain_args *args = arguments;
    struct group group;
    struct member member;
    group_load(&group, apply, args->group);
    uint64_t token = args->token;
    if (!token && member_get(&group, args->id, &member)) token = member.token;
    if (!group_member_holds(&group, args->id, token, &member)) return;
    if (member.draining == args->undo) {
        member.draining = !args->undo;
        member_store(&group, &member, args->undo ? GROUP_UPDATED : GROUP_DRAINING);
    }
    apply_answer(apply, OUTCOME_OK, &group_joined_record, joined(&group, &member));
    group_save(&group);
}

/* --- an operator knows that it is dead --- */

struct fail_args {
    struct slice group, id;
    uint64_t token;
};
#define FAIL(member) .offset = offsetof(struct fail_args, member), .name = #member
static const struct field fail_fields[] = {
    MEMBER_FIELDS(fail_args),
    {.number = 3, .type = FIELD_UINT, FAIL(token), .about = "when given: only if it is still the member's"},
};
const struct record group_fail_record = RECORD("group_fail", fail_args, fail_fields);

void group_fail(struct apply *apply, const void *arguments)
{
    const struct fail_args *args = arguments;
    struct group group;
    struct member member;
    group_load(&group, apply, args->group);
    bool known = member_get(&group, args->id, &member);
    if (known && member.guarded && (!args->token || args->token == member.token)) {
        apply_answer(apply, OUTCOME_NOTHING, NULL, NULL);
    } else {
        uint64_t token = args->token || !known ? args->token : member.token;
        if (!group_member_holds(&group, args->id, token, &member)) return;
        apply_answer(apply, OUTCOME_NOTHING, NULL, NULL);
    }
    member_enter(&group, &member, MEMBER_FAILED, MEMBER_FORCED);
    group_save(&group);
}
