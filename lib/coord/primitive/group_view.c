/* Groups and members as they are shown. */
#include "base/check.h"
#include "coord/beats.h"
#include "coord/primitive/watch.h"

enum { SCANNED_MAX = 10000, LISTED_MAX = 1000 };

/* --- groups --- */

struct view {
    struct slice group, leader;
    uint64_t counts[MEMBER_STATES + 1], leader_token, guarded, guarded_ms, guard_cause;
    uint64_t created_ms, version, revision;
    uint64_t ejected, half_open;
    const struct group_config *config;
};
#define VIEW(member) .offset = offsetof(struct view, member)
static const struct field view_fields[] = {
    {.number = 1, .type = FIELD_NAME, VIEW(group), .name = "group", .about = "its name"},
    {.number = 2, .type = FIELD_UINT, VIEW(counts[MEMBER_ALIVE]), .name = "alive", .about = "members"},
    {.number = 3, .type = FIELD_UINT, VIEW(counts[MEMBER_SUSPECT]), .name = "suspect", .about = "members"},
    {.number = 4,
     .type = FIELD_UINT,
     VIEW(counts[MEMBER_FAILED]),
     .name = "failed",
     .about = "members, until they are forgotten"},
    {.number = 5,
     .type = FIELD_UINT,
     VIEW(counts[MEMBER_LEFT]),
     .name = "left",
     .about = "members, until they are forgotten"},
    {.number = 6,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     VIEW(leader),
     .name = "leader",
     .about = "id of the member that leads; null: nobody, or none is wanted"},
    {.number = 7,
     .type = FIELD_UINT,
     .flags = FIELD_NULL,
     VIEW(leader_token),
     .name = "leader_token",
     .about = "rises with each leader"},
    {.number = 8,
     .type = FIELD_UINT,
     VIEW(guarded),
     .name = "guarded",
     .about = "members whose time is over and that the guard keeps suspect"},
    {.number = 9,
     .type = FIELD_TIME,
     VIEW(guarded_ms),
     .name = "guarded_since",
     .about = "too many were silent at once; null: not so"},
    {.number = 10,
     .type = FIELD_RECORD,
     VIEW(config),
     .name = "config",
     .record = &group_config_record,
     .about = "settings, as of PUT"},
    {.number = 11,
     .type = FIELD_TIME,
     VIEW(created_ms),
     .name = "created",
     .about = "when it was first used"},
    {.number = 12, .type = FIELD_UINT, VIEW(version), .name = "version", .about = "of the last transition"},
    {.number = 13, .type = FIELD_UINT, VIEW(revision), .name = "revision", .about = "of the last change"},
    {.number = 14,
     .type = FIELD_UINT,
     VIEW(ejected),
     .name = "ejected",
     .about = "members that fail their callers: not picked"},
    {.number = 15,
     .type = FIELD_UINT,
     VIEW(half_open),
     .name = "half_open",
     .about = "members that were ejected and are on trial now"},
    {.number = 16,
     .type = FIELD_CHOICE,
     VIEW(guard_cause),
     .name = "guarded_for",
     .choices = guard_cause_choices,
     .about = "too many of what were silent: of the group, or of all members of all groups"},
};
const struct record group_view_record = RECORD("group", view, view_fields);

static struct view view_of(struct group *group)
{
    const struct group_row *row = &group->row;
    struct group_config *config = arena_alloc(group->apply->arena, sizeof *config);
    *config = group->config;
    struct view view = {.group = group->name,
                        .leader = row->leader,
                        .leader_token = row->leader.size ? row->leader_token : 0,
                        .guarded = row->guarded,
                        .guarded_ms = row->guarded_ms,
                        .guard_cause = row->guard_cause,
                        .created_ms = row->created_ms,
                        .version = row->version,
                        .revision = row->revision,
                        .ejected = row->ejected,
                        .half_open = row->half_open,
                        .config = config};
    memcpy(view.counts, row->counts, sizeof view.counts);
    return view;
}

const void *group_view_of(struct group *group)
{
    struct view *view = arena_alloc(group->apply->arena, sizeof *view);
    *view = view_of(group);
    return view;
}

void group_get(struct apply *apply, const void *arguments)
{
    const struct group_name_args *args = arguments;
    struct group group;
    group_load(&group, apply, args->group);
    if (group.exists)
        apply_answer(apply, OUTCOME_OK, &group_view_record, group_view_of(&group));
    else
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
}

struct list_args {
    struct slice prefix, cursor;
    uint64_t limit;
};
#define LIST(member) .offset = offsetof(struct list_args, member), .name = #member
static const struct field list_args_fields[] = {
    {.number = 1, .type = FIELD_TEXT, LIST(prefix), .max = 255, .about = "of the name"},
    {.number = 2,
     .type = FIELD_UINT,
     LIST(limit),
     .min = 1,
     .max = LISTED_MAX,
     .initial = 100,
     .about = "at most that many"},
    {.number = 3, .type = FIELD_TEXT, LIST(cursor), .max = 255, .about = "of the page before"},
};
const struct record group_list_args_record = RECORD("group_list_args", list_args, list_args_fields);

struct list_result {
    struct list groups;
    struct slice cursor;
    uint64_t revision;
};
#define LISTED(member) .offset = offsetof(struct list_result, member), .name = #member
static const struct field list_fields[] = {
    {.number = 1, .type = FIELD_LIST, LISTED(groups), .record = &group_view_record, .about = "by name"},
    {.number = 2,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     LISTED(cursor),
     .about = "for the next page; null at the end"},
    {.number = 3, .type = FIELD_UINT, LISTED(revision), .about = "of the state that was read"},
};
const struct record group_list_record = RECORD("groups", list_result, list_fields);

void group_list(struct apply *apply, const void *arguments)
{
    const struct list_args *args = arguments;
    struct list_result *result = arena_alloc(apply->arena, sizeof *result);
    struct view *views = arena_alloc(apply->arena, args->limit * sizeof *views);
    struct key from = object_first(KEY_GROUP, args->prefix, args->cursor);
    struct slice name, last = {0};
    struct group group;
    *result = (struct list_result){.groups = {views, 0}, .revision = apply->index};
    for (size_t scanned = 0; object_next(apply, &from, args->prefix, &name); scanned++) {
        if (result->groups.count == args->limit || scanned == SCANNED_MAX) {
            result->cursor = last;
            break;
        }
        last = name;
        group_load(&group, apply, name);
        if (group.exists) views[result->groups.count++] = view_of(&group);
    }
    apply_answer(apply, OUTCOME_OK, &group_list_record, result);
}

/* --- members --- */

struct member_view {
    struct slice group, id, address, zone, version, meta, metrics;
    struct list tags;
    uint64_t state, weight, token, lease, expires_in_ms, ttl_ms, joined_ms, since_ms;
    uint64_t health, load, inflight, capacity, said_ms;
    uint64_t probation_ms, ejected_ms, flaps, breaker, half_open_ms;
    bool eligible, guarded, leads;
};
#define MEMBER(field) .offset = offsetof(struct member_view, field)
static const struct field member_fields[] = {
    {.number = 1, .type = FIELD_NAME, MEMBER(id), .name = "id", .about = "of the member"},
    {.number = 2,
     .type = FIELD_CHOICE,
     MEMBER(state),
     .name = "state",
     .choices = member_shown_choices,
     .about = "recovered: alive, on probation"},
    {.number = 3,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     MEMBER(address),
     .name = "address",
     .about = "as given"},
    {.number = 4, .type = FIELD_UINT, MEMBER(weight), .name = "weight", .about = "as given"},
    {.number = 5, .type = FIELD_TEXT, .flags = FIELD_NULL, MEMBER(zone), .name = "zone", .about = "as given"},
    {.number = 6,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     MEMBER(version),
     .name = "version",
     .about = "as given"},
    {.number = 7, .type = FIELD_TEXTS, MEMBER(tags), .name = "tags", .about = "as given"},
    {.number = 8, .type = FIELD_JSON, MEMBER(meta), .name = "meta", .about = "as given"},
    {.number = 9, .type = FIELD_UINT, MEMBER(load), .name = "load", .about = "as its last heartbeat said"},
    {.number = 10,
     .type = FIELD_CHOICE,
     MEMBER(health),
     .name = "health",
     .choices = member_health_choices,
     .about = "that counts"},
    {.number = 11,
     .type = FIELD_UINT,
     MEMBER(inflight),
     .name = "inflight",
     .about = "as its last heartbeat said"},
    {.number = 12,
     .type = FIELD_UINT,
     MEMBER(capacity),
     .name = "capacity",
     .about = "as its last heartbeat said"},
    {.number = 13,
     .type = FIELD_JSON,
     MEMBER(metrics),
     .name = "metrics",
     .about = "as its last heartbeat said"},
    {.number = 14,
     .type = FIELD_TIME,
     MEMBER(said_ms),
     .name = "as_of",
     .about = "of that heartbeat; null: this leader has heard none"},
    {.number = 15, .type = FIELD_UINT, MEMBER(token), .name = "token", .about = "of the membership"},
    {.number = 16,
     .type = FIELD_LEASE,
     MEMBER(lease),
     .name = "lease",
     .about = "of the membership; null: it is over"},
    {.number = 17,
     .type = FIELD_REMAINING,
     MEMBER(expires_in_ms),
     .name = "expires_in_ms",
     .about = "without a heartbeat"},
    {.number = 18, .type = FIELD_UINT, MEMBER(ttl_ms), .name = "ttl_ms", .about = "as given"},
    {.number = 19, .type = FIELD_TIME, MEMBER(joined_ms), .name = "joined", .about = "with that token"},
    {.number = 20, .type = FIELD_TIME, MEMBER(since_ms), .name = "since", .about = "in that state"},
    {.number = 21,
     .type = FIELD_BOOL,
     MEMBER(eligible),
     .name = "eligible",
     .about = "may be picked and own"},
    {.number = 22,
     .type = FIELD_BOOL,
     MEMBER(guarded),
     .name = "guarded",
     .about = "its time is over, the guard keeps it suspect"},
    {.number = 23, .type = FIELD_BOOL, MEMBER(leads), .name = "leads", .about = "it is the group's leader"},
    {.number = 24,
     .type = FIELD_TIME,
     MEMBER(probation_ms),
     .name = "probation_until",
     .about = "null: it is not on probation"},
    {.number = 25,
     .type = FIELD_TIME,
     MEMBER(ejected_ms),
     .name = "ejected_until",
     .about = "null: it is not ejected"},
    {.number = 26,
     .type = FIELD_UINT,
     MEMBER(flaps),
     .name = "flaps",
     .about = "failures from which it came back lately"},
    {.number = 27,
     .type = FIELD_CHOICE,
     MEMBER(breaker),
     .name = "breaker",
     .choices = member_breaker_choices,
     .about = "open: it is ejected; half_open: on trial after that, it gets a few probes"},
    {.number = 28,
     .type = FIELD_TIME,
     MEMBER(half_open_ms),
     .name = "half_open_until",
     .about = "null: it is not half-open"},
};
const struct record member_view_record = RECORD("group_member", member_view, member_fields);

static struct member_view view_member(const struct group *group, const struct member *member)
{
    uint64_t now_ms = group->apply->time_ms;
    struct member_view view = {.group = group->name,
                               .id = member->id,
                               .address = member->address,
                               .zone = member->zone,
                               .version = member->version,
                               .meta = member->meta,
                               .tags = member->tags,
                               .state = member_shown(member, now_ms),
                               .weight = member->weight,
                               .token = member->token,
                               .lease = member->lease,
                               .expires_in_ms = member->lease,
                               .ttl_ms = member->ttl_ms,
                               .joined_ms = member->joined_ms,
                               .since_ms = member->since_ms,
                               .health = member->health,
                               .probation_ms = member_on_probation(member, now_ms) ? member->probation_ms : 0,
                               .ejected_ms = member->ejected_ms,
                               .flaps = member_flaps(member, now_ms),
                               .breaker = member_breaker(member),
                               .half_open_ms = member->half_open_ms,
                               .eligible = member_is_eligible(member, now_ms),
                               .guarded = member->guarded,
                               .leads = group->row.leader.size && slice_equal(group->row.leader, member->id)};
    const struct seat *seat =
        group->apply->beats ? beats_seat(group->apply->beats, group->name, member->id) : NULL;
    if (!seat || seat->token != member->token) return view;
    view.load = seat->load;
    view.inflight = seat->inflight;
    view.capacity = seat->capacity;
    view.metrics = seat->metrics;
    view.said_ms = seat->said_ms;
    return view;
}

void group_get_member(struct apply *apply, const void *arguments)
{
    const struct group_member_args *args = arguments;
    struct group group;
    struct member member;
    group_load(&group, apply, args->group);
    if (!group.exists) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
    } else if (!member_get(&group, args->id, &member)) {
        group_refuse(&group, &(struct member){.id = args->id}, OUTCOME_MEMBER_UNKNOWN, slice_of(NULL, 0));
    } else {
        struct member_view *view = arena_alloc(apply->arena, sizeof *view);
        *view = view_member(&group, &member);
        apply_answer(apply, OUTCOME_OK, &member_view_record, view);
    }
}

struct members_args {
    struct slice group, zone, tag, cursor;
    uint64_t state, limit, breaker;
    bool eligible;
};
#define ASKED(member) .offset = offsetof(struct members_args, member), .name = #member
static const struct field members_args_fields[] = {
    {.number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED, ASKED(group), .max = 255, .about = "its name"},
    {.number = 2, .type = FIELD_CHOICE, ASKED(state), .choices = member_shown_choices, .about = "only these"},
    {.number = 3, .type = FIELD_TEXT, ASKED(zone), .max = 64, .about = "only these"},
    {.number = 4, .type = FIELD_TEXT, ASKED(tag), .max = 255, .about = "only those that have it"},
    {.number = 5, .type = FIELD_BOOL, ASKED(eligible), .about = "only those that may be picked"},
    {.number = 6,
     .type = FIELD_UINT,
     ASKED(limit),
     .min = 1,
     .max = LISTED_MAX,
     .initial = 100,
     .about = "at most that many"},
    {.number = 7, .type = FIELD_TEXT, ASKED(cursor), .max = GROUP_ID_MAX, .about = "of the page before"},
    {.number = 8,
     .type = FIELD_CHOICE,
     ASKED(breaker),
     .choices = member_breaker_choices,
     .about = "only these"},
};
const struct record member_list_args_record = RECORD("group_members_args", members_args, members_args_fields);

struct members {
    struct slice group, cursor;
    struct list members;
    uint64_t version, revision;
};
#define MEMBERS(member) .offset = offsetof(struct members, member), .name = #member
static const struct field members_fields[] = {
    {.number = 1, .type = FIELD_NAME, MEMBERS(group), .about = "its name"},
    {.number = 2, .type = FIELD_LIST, MEMBERS(members), .record = &member_view_record, .about = "by id"},
    {.number = 3,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     MEMBERS(cursor),
     .about = "for the next page; null at the end"},
    {.number = 4, .type = FIELD_UINT, MEMBERS(version), .about = "of the last transition of the group"},
    {.number = 5, .type = FIELD_UINT, MEMBERS(revision), .about = "of the state that was read"},
};
const struct record member_list_record = RECORD("group_members", members, members_fields);

static bool has_tag(const struct member *member, struct slice tag)
{
    const struct slice *tags = member->tags.items;
    for (size_t i = 0; i < member->tags.count; i++)
        if (slice_equal(tags[i], tag)) return true;
    return !tag.size;
}

static bool is_wanted(const struct members_args *args, const struct member *member, uint64_t now_ms)
{
    if (args->state && member_shown(member, now_ms) != args->state) return false;
    if (args->zone.size && !slice_equal(args->zone, member->zone)) return false;
    if (args->breaker && member_breaker(member) != args->breaker) return false;
    return has_tag(member, args->tag) && (!args->eligible || member_is_eligible(member, now_ms));
}

void group_members(struct apply *apply, const void *arguments)
{
    const struct members_args *args = arguments;
    struct group group;
    struct member member;
    struct slice last = {0};
    group_load(&group, apply, args->group);
    if (!group.exists) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
        return;
    }
    struct members *result = arena_alloc(apply->arena, sizeof *result);
    struct member_view *views = arena_alloc(apply->arena, args->limit * sizeof *views);
    struct key from = member_first(args->group, 0, args->cursor);
    *result = (struct members){
        .group = args->group, .members = {views, 0}, .version = group.row.version, .revision = apply->index};
    for (size_t scanned = 0; member_next(&group, 0, &from, &member); scanned++) {
        if (result->members.count == args->limit || scanned == SCANNED_MAX) {
            result->cursor = last;
            break;
        }
        last = member.id;
        if (is_wanted(args, &member, apply->time_ms))
            views[result->members.count++] = view_member(&group, &member);
    }
    apply_answer(apply, OUTCOME_OK, &member_list_record, result);
}
