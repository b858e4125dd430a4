/* Heartbeats: renewals of the leases of members, alone or thousands at once, with what the members say of
 * themselves for the leader's memory (coord/beats.h). Nothing of them is logged. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/beats.h"
#include "coord/primitive/group.h"

enum { BATCH_MAX = 10000, METRICS_MAX = 1024, HEARTBEAT_MS_MAX = 60000 };

/* --- what a member says --- */

struct beat_args { /* alone, and in a batch */
    struct slice group, id, metrics;
    uint64_t token, load, inflight, capacity, health;
};
#define BEAT(member) .offset = offsetof(struct beat_args, member), .name = #member
static const struct field beat_fields[] = {
    {.number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED, BEAT(group), .max = 255, .about = "its name"},
    {.number = 2,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     BEAT(id),
     .max = GROUP_ID_MAX,
     .about = "of the member"},
    {.number = 3,
     .type = FIELD_UINT,
     .flags = FIELD_REQUIRED,
     BEAT(token),
     .min = 1,
     .about = "of the membership, as join gave it"},
    {.number = 4,
     .type = FIELD_UINT,
     BEAT(load),
     .max = 1000000000,
     .about = "how busy it is, in any unit that the group agrees on"},
    {.number = 5,
     .type = FIELD_CHOICE,
     BEAT(health),
     .choices = member_health_choices,
     .about = "counts once it was said a few times in a row (the group's rise and fall)"},
    {.number = 6, .type = FIELD_UINT, BEAT(inflight), .max = 1000000000, .about = "requests it works on"},
    {.number = 7,
     .type = FIELD_UINT,
     BEAT(capacity),
     .max = 1000000000,
     .about = "requests it can work on at a time; 0: not known"},
    {.number = 8, .type = FIELD_JSON, BEAT(metrics), .max = METRICS_MAX, .about = "anything else"},
};
const struct record group_beat_record = RECORD("group_heartbeat", beat_args, beat_fields);

static void renew(struct apply *apply, const struct beat_args *args, uint64_t lease)
{
    struct beat_note note = {.said = true,
                             .load = args->load,
                             .inflight = args->inflight,
                             .capacity = args->capacity,
                             .health = args->health,
                             .metrics = args->metrics};
    struct buffer bytes = {0};
    record_encode(&beat_note_record, &note, &bytes);
    apply_renews_noting(apply, lease, arena_copy(apply->arena, buffer_slice(&bytes)));
    buffer_free(&bytes);
}

/* --- one --- */

struct beaten {
    struct slice group, id;
    uint64_t token, state, lease, heartbeat_ms, version, broadcasts;
    bool draining, leads;
};
#define BEATEN(member) .offset = offsetof(struct beaten, member)
static const struct field beaten_fields[] = {
    {.number = 1, .type = FIELD_NAME, BEATEN(group), .name = "group", .about = "its name"},
    {.number = 2, .type = FIELD_NAME, BEATEN(id), .name = "id", .about = "of the member"},
    {.number = 3, .type = FIELD_UINT, BEATEN(token), .name = "token", .about = "of the membership"},
    {.number = 4,
     .type = FIELD_CHOICE,
     BEATEN(state),
     .name = "state",
     .choices = member_shown_choices,
     .about = "suspect: it was silent for long, and that will be taken back"},
    {.number = 5,
     .type = FIELD_REMAINING,
     BEATEN(lease),
     .name = "expires_in_ms",
     .about = "counted from when the request was sent"},
    {.number = 6,
     .type = FIELD_UINT,
     BEATEN(heartbeat_ms),
     .name = "heartbeat_in_ms",
     .about = "when it should be heard again"},
    {.number = 7,
     .type = FIELD_UINT,
     BEATEN(version),
     .name = "version",
     .about = "of the group: rises with each change of its members"},
    {.number = 8,
     .type = FIELD_BOOL,
     BEATEN(draining),
     .name = "draining",
     .about = "it is not to be picked any more"},
    {.number = 9, .type = FIELD_BOOL, BEATEN(leads), .name = "leads", .about = "it is the group's leader"},
    {.number = 10,
     .type = FIELD_UINT,
     BEATEN(broadcasts),
     .name = "broadcasts",
     .about = "how many it has not acknowledged"},
};
const struct record group_beaten_record = RECORD("group_heartbeat_result", beaten, beaten_fields);

void group_beat_renews(struct apply *apply, const void *arguments)
{
    const struct beat_args *args = arguments;
    struct group group;
    struct member member;
    group_load(&group, apply, args->group);
    if (group_member_holds(&group, args->id, args->token, &member)) renew(apply, args, member.lease);
}

void group_beat_renewed(struct apply *apply, const void *arguments, const struct renewal *renewals,
                        size_t count)
{
    const struct beat_args *args = arguments;
    struct group group;
    struct member member;
    CHECK(count == 1);
    group_load(&group, apply, args->group);
    if (!group_member_holds(&group, args->id, args->token, &member)) return;
    if (!renewals[0].renewed) {
        group_refuse(&group, &member, OUTCOME_MEMBER_GONE, slice_of(NULL, 0));
        return;
    }
    struct beaten *result = arena_alloc(apply->arena, sizeof *result);
    struct census census = group_census(apply);
    *result =
        (struct beaten){.group = args->group,
                        .id = args->id,
                        .token = member.token,
                        .state = member_shown(&member, apply->time_ms),
                        .lease = member.lease,
                        .heartbeat_ms = group_heartbeat_ms(&member, census_up(&census)),
                        .version = group.row.version,
                        .draining = member.draining,
                        .leads = slice_equal(group.row.leader, member.id),
                        .broadcasts = group.row.broadcasts ? group_broadcasts_open(&group, member.id) : 0};
    apply_answer(apply, OUTCOME_OK, &group_beaten_record, result);
}

/* --- many --- */

struct beats_args {
    struct list members; /* struct beat_args */
};
static const struct field beats_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct beats_args, members),
     .name = "members",
     .max = BATCH_MAX,
     .record = &group_beat_record,
     .about = "those that an agent speaks for"},
};
const struct record group_beats_record = RECORD("group_heartbeats", beats_args, beats_fields);

struct beat_ok {
    struct slice group, id;
    uint64_t expires_in_ms;
};
static const struct field ok_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .offset = offsetof(struct beat_ok, group),
     .name = "group",
     .about = "its name"},
    {.number = 2,
     .type = FIELD_NAME,
     .offset = offsetof(struct beat_ok, id),
     .name = "id",
     .about = "of the member"},
    {.number = 3,
     .type = FIELD_UINT,
     .offset = offsetof(struct beat_ok, expires_in_ms),
     .name = "expires_in_ms",
     .about = "counted from when the request was sent"},
};
static const struct record ok_record = RECORD("group_heartbeat_ok", beat_ok, ok_fields);

struct beat_gone {
    struct slice group, id, code;
};
static const struct field gone_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .offset = offsetof(struct beat_gone, group),
     .name = "group",
     .about = "its name"},
    {.number = 2,
     .type = FIELD_NAME,
     .offset = offsetof(struct beat_gone, id),
     .name = "id",
     .about = "of the member"},
    {.number = 3,
     .type = FIELD_TEXT,
     .offset = offsetof(struct beat_gone, code),
     .name = "code",
     .about = "member_unknown, member_fenced (another has its place) or member_gone: join again"},
};
static const struct record gone_record = RECORD("group_heartbeat_gone", beat_gone, gone_fields);

struct beats_result {
    struct list ok, gone;
    uint64_t heartbeat_ms;
};
static const struct field result_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     .offset = offsetof(struct beats_result, ok),
     .name = "ok",
     .record = &ok_record,
     .about = "those that live on"},
    {.number = 2,
     .type = FIELD_LIST,
     .offset = offsetof(struct beats_result, gone),
     .name = "gone",
     .record = &gone_record,
     .about = "those that do not, or that have another token by now"},
    {.number = 3,
     .type = FIELD_UINT,
     .offset = offsetof(struct beats_result, heartbeat_ms),
     .name = "heartbeat_in_ms",
     .about = "when the first of them should be heard again"},
};
const struct record group_beats_result_record =
    RECORD("group_heartbeats_result", beats_result, result_fields);

/* Thousands of one group come in one batch: only the member's own row is read. OUTCOME_OK: it may beat. */
static enum outcome look(struct apply *apply, const struct beat_args *args, struct member *member)
{
    struct group named = {.apply = apply, .name = args->group};
    if (!member_get(&named, args->id, member)) return OUTCOME_MEMBER_UNKNOWN;
    if (!member->lease) return OUTCOME_MEMBER_GONE;
    return member->token == args->token || MUTANT(108) ? OUTCOME_OK : OUTCOME_MEMBER_FENCED;
}

void group_beats_renew(struct apply *apply, const void *arguments)
{
    const struct beats_args *args = arguments;
    const struct beat_args *beats = args->members.items;
    struct member member;
    for (size_t i = 0; i < args->members.count; i++)
        if (look(apply, &beats[i], &member) == OUTCOME_OK && !MUTANT(107))
            renew(apply, &beats[i], member.lease);
        else
            apply_renews(apply, 0); /* never renewed: counted as gone below */
}

void group_beats_renewed(struct apply *apply, const void *arguments, const struct renewal *renewals,
                         size_t count)
{
    const struct beats_args *args = arguments;
    const struct beat_args *beats = args->members.items;
    struct beats_result *result = arena_alloc(apply->arena, sizeof *result);
    struct beat_ok *ok = arena_alloc(apply->arena, count * sizeof *ok);
    struct beat_gone *gone = arena_alloc(apply->arena, count * sizeof *gone);
    *result = (struct beats_result){{ok, 0}, {gone, 0}, HEARTBEAT_MS_MAX};
    struct census census = group_census(apply);
    uint64_t up = census_up(&census);
    for (size_t i = 0; i < count; i++) {
        struct member member;
        enum outcome outcome = look(apply, &beats[i], &member);
        if (outcome == OUTCOME_OK && !renewals[i].renewed && !MUTANT(107)) outcome = OUTCOME_MEMBER_GONE;
        if (outcome == OUTCOME_OK) {
            uint64_t heartbeat_ms = group_heartbeat_ms(&member, up);
            if (heartbeat_ms < result->heartbeat_ms) result->heartbeat_ms = heartbeat_ms;
            ok[result->ok.count++] = (struct beat_ok){beats[i].group, beats[i].id, member.ttl_ms};
        } else {
            gone[result->gone.count++] =
                (struct beat_gone){beats[i].group, beats[i].id, slice_text(outcome_facts(outcome)->code)};
        }
    }
    apply_answer(apply, OUTCOME_OK, &group_beats_result_record, result);
}
