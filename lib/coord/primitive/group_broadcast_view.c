/* Broadcasts as shown: one, with its acknowledgements; all; how many a member has not acknowledged. */
#include "coord/primitive/group_broadcast.h"
#include "coord/primitive/watch.h"

enum { SHOWN_MAX = 1000 /* acknowledgements, members that are missing */, PERCENT = 100 };

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
     .choices = broadcast_state_choices,
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
    struct key from = broadcast_key(KEY_BROADCAST_ACK, group->name, view->number);
    struct slice id;
    struct broadcast_ack ack;
    size_t acked = 0, missed = 0;
    while (broadcast_next_ack(group, view->number, &from, &id, &ack)) {
        if (ack.at_ms && acked < SHOWN_MAX) acks[acked++] = (struct acked_view){id, ack.response, ack.at_ms};
        if (!ack.at_ms && missed < SHOWN_MAX) missing[missed++] = id;
    }
    view->acks = (struct list){acks, acked};
    view->missing = (struct list){missing, missed};
}

const void *broadcast_view(struct group *group, const struct broadcast *broadcast, bool with_acks)
{
    struct view *view = arena_alloc(group->apply->arena, sizeof *view);
    *view = view_of(group, broadcast);
    if (with_acks) add_acks(group, view);
    return view;
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
    else if (!broadcast_get(&group, args->number, &broadcast))
        group_refuse(&group, NULL, OUTCOME_BROADCAST_NOT_FOUND, slice_of(NULL, 0));
    else
        apply_answer(apply,
                     args->wait_ms && broadcast.state == BROADCAST_OPEN ? OUTCOME_UNCHANGED : OUTCOME_OK,
                     &group_broadcast_view_record, broadcast_view(&group, &broadcast, true));
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
    struct broadcast_ack ack;
    return broadcast_ack_get(group, number, id, &ack) && !ack.at_ms;
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
    struct key from = broadcast_key(KEY_BROADCAST, args->group, 0);
    *result = (struct list_result){args->group, {views, 0}, apply->index};
    while (broadcast_next(&group, &from, &broadcast))
        if (!args->member.size || waits_for(&group, broadcast.number, args->member))
            views[result->broadcasts.count++] = view_of(&group, &broadcast);
    apply_answer(apply, OUTCOME_OK, &group_broadcasts_record, result);
}

uint64_t group_broadcasts_open(struct group *group, struct slice id)
{
    struct key from = broadcast_key(KEY_BROADCAST, group->name, 0);
    struct broadcast broadcast;
    uint64_t open = 0, now_ms = group->apply->time_ms;
    if (!group->row.broadcasts || group->row.broadcasts_end_ms <= now_ms) return 0;
    while (broadcast_next(group, &from, &broadcast))
        open += broadcast.ends_ms > now_ms && waits_for(group, broadcast.number, id);
    return open;
}
