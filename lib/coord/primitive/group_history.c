/* How available members were: from the transitions that every replica has applied. A member is up while it is
 * alive or suspect, down while it is failed; after leaving it is neither. */
#include "base/check.h"
#include "coord/primitive/group.h"

enum { LISTED_MAX = 1000, SCANNED_MAX = 10000, PPM = 1000000 };
#define HOUR_MS (3600ull * 1000)
#define DAY_MS (24 * HOUR_MS)

static bool is_up(uint64_t state)
{
    return state == MEMBER_ALIVE || state == MEMBER_SUSPECT;
}

/* --- spans --- */

struct span {
    struct slice percent; /* JSON: a number with four digits behind the point; empty: null */
    uint64_t up_ms, down_ms;
};
#define SPAN(member) .offset = offsetof(struct span, member), .name = #member
static const struct field span_fields[] = {
    {.number = 1,
     .type = FIELD_JSON,
     SPAN(percent),
     .about = "of the time that it was up, of that in which it was up or failed; null: it was neither"},
    {.number = 2, .type = FIELD_UINT, SPAN(up_ms), .about = "alive or suspect"},
    {.number = 3, .type = FIELD_UINT, SPAN(down_ms), .about = "failed"},
};
static const struct record span_record = RECORD("group_availability", span, span_fields);

static uint64_t overlap(uint64_t from, uint64_t to, uint64_t since, uint64_t until)
{
    uint64_t first = from > since ? from : since, last = to < until ? to : until;
    return first < last ? last - first : 0;
}

/* What the days hold of the time between since_ms and until_ms, before which the transitions do not reach. A
 * day's figures are taken to be spread evenly over it. */
static void add_days(struct span *span, const struct member_past *past, uint64_t since_ms, uint64_t until_ms)
{
    const struct member_day *days = past->days.items;
    for (size_t i = 0; i < past->days.count; i++) {
        uint64_t begins = days[i].day * DAY_MS, here = overlap(begins, begins + DAY_MS, since_ms, until_ms);
        span->up_ms += days[i].up_ms * here / DAY_MS;
        span->down_ms += days[i].down_ms * here / DAY_MS;
    }
}

static void add_percent(struct span *span, struct arena *arena)
{
    uint64_t all = span->up_ms + span->down_ms;
    if (!all) return;
    uint64_t ppm = span->up_ms * PPM / all;
    span->percent = arena_printf(arena, "%llu.%04llu", (unsigned long long)(ppm / 10000),
                                 (unsigned long long)(ppm % 10000));
}

static struct span span_since(const struct member_past *past, uint64_t since_ms, uint64_t now_ms)
{
    struct span span = {.up_ms = 0};
    const struct transition *moves = past->transitions.items;
    uint64_t until_ms = now_ms;
    for (size_t i = 0; i < past->transitions.count && until_ms > since_ms; i++) {
        uint64_t here = overlap(moves[i].at_ms, until_ms, since_ms, now_ms);
        if (is_up(moves[i].to)) span.up_ms += here;
        if (moves[i].to == MEMBER_FAILED) span.down_ms += here;
        until_ms = moves[i].at_ms;
    }
    bool all_told = past->transitions.count < GROUP_TRANSITIONS_KEPT;
    if (until_ms > since_ms && !all_told) add_days(&span, past, since_ms, until_ms);
    return span;
}

/* --- one member --- */

struct move {
    uint64_t at_ms, from, to, reason;
};
#define MOVE(member) .offset = offsetof(struct move, member)
static const struct field move_fields[] = {
    {.number = 1, .type = FIELD_TIME, MOVE(at_ms), .name = "at", .about = "when"},
    {.number = 2,
     .type = FIELD_CHOICE,
     MOVE(from),
     .name = "from",
     .choices = member_shown_choices,
     .about = "state before; null: it was new"},
    {.number = 3,
     .type = FIELD_CHOICE,
     MOVE(to),
     .name = "to",
     .choices = member_shown_choices,
     .about = "state after"},
    {.number = 4,
     .type = FIELD_CHOICE,
     MOVE(reason),
     .name = "reason",
     .choices = member_reason_choices,
     .about = "why"},
};
static const struct record move_record = RECORD("group_transition", move, move_fields);

struct day {
    uint64_t begins_ms, up_ms, down_ms, failures;
};
#define DAY(member) .offset = offsetof(struct day, member)
static const struct field day_fields[] = {
    {.number = 1, .type = FIELD_TIME, DAY(begins_ms), .name = "day", .about = "its beginning, UTC"},
    {.number = 2, .type = FIELD_UINT, DAY(up_ms), .name = "up_ms", .about = "in stretches that are over"},
    {.number = 3, .type = FIELD_UINT, DAY(down_ms), .name = "down_ms", .about = "in stretches that are over"},
    {.number = 4, .type = FIELD_UINT, DAY(failures), .name = "failures", .about = "on that day"},
};
static const struct record day_record = RECORD("group_day", day, day_fields);

struct past_view {
    struct slice id;
    uint64_t state, since_ms, first_ms, uptime_ms, failures, recoveries;
    uint64_t mttf_ms, mttr_ms, longest_outage_ms, guarded_ms, flaps;
    struct span *hour, *day, *week, *month, *ever;
    struct list transitions, days;
};
#define PAST(member) .offset = offsetof(struct past_view, member)
#define WINDOW(position, member, label, phrase)                                                              \
    {                                                                                                        \
        .number = position, .type = FIELD_RECORD, PAST(member), .name = label, .record = &span_record,       \
        .about = phrase                                                                                      \
    }
static const struct field past_fields[] = {
    {.number = 1,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     PAST(id),
     .name = "id",
     .about = "of the member; of all of them: null"},
    {.number = 2,
     .type = FIELD_CHOICE,
     PAST(state),
     .name = "state",
     .choices = member_shown_choices,
     .about = "at present"},
    {.number = 3, .type = FIELD_TIME, PAST(since_ms), .name = "since", .about = "in that state"},
    {.number = 4,
     .type = FIELD_TIME,
     PAST(first_ms),
     .name = "first_joined",
     .about = "as long as it is known"},
    {.number = 5,
     .type = FIELD_UINT,
     PAST(uptime_ms),
     .name = "uptime_ms",
     .about = "without a failure until now"},
    {.number = 6, .type = FIELD_UINT, PAST(failures), .name = "failures", .about = "ever"},
    {.number = 7, .type = FIELD_UINT, PAST(recoveries), .name = "recoveries", .about = "from failures"},
    {.number = 8,
     .type = FIELD_UINT,
     .flags = FIELD_NULL,
     PAST(mttf_ms),
     .name = "mttf_ms",
     .about = "mean time to failure; null: none yet"},
    {.number = 9,
     .type = FIELD_UINT,
     .flags = FIELD_NULL,
     PAST(mttr_ms),
     .name = "mttr_ms",
     .about = "mean time to recovery; null: none yet"},
    {.number = 10,
     .type = FIELD_UINT,
     PAST(longest_outage_ms),
     .name = "longest_outage_ms",
     .about = "the present one too"},
    {.number = 11,
     .type = FIELD_UINT,
     PAST(guarded_ms),
     .name = "guarded_ms",
     .about = "up only because the guard kept it"},
    {.number = 12,
     .type = FIELD_UINT,
     PAST(flaps),
     .name = "flaps",
     .about = "failures from which it came back lately"},
    WINDOW(13, hour, "last_1h", "availability in the last hour"),
    WINDOW(14, day, "last_24h", "in the last 24 hours"),
    WINDOW(15, week, "last_7d", "in the last 7 days"),
    WINDOW(16, month, "last_30d", "in the last 30 days"),
    WINDOW(17, ever, "ever", "since it joined first"),
    {.number = 18,
     .type = FIELD_LIST,
     PAST(transitions),
     .name = "transitions",
     .record = &move_record,
     .about = "the last 64, newest first (with id=)"},
    {.number = 19,
     .type = FIELD_LIST,
     PAST(days),
     .name = "days",
     .record = &day_record,
     .about = "the last 90 with any, newest first (with id=)"},
};
static const struct record past_record = RECORD("group_member_history", past_view, past_fields);

/* What is closed, and the stretch that goes on. */
static struct span ever(const struct member *member, const struct member_past *past, uint64_t now_ms)
{
    struct span span = {.up_ms = past->up_ms, .down_ms = past->down_ms};
    if (is_up(member->state)) span.up_ms += now_ms - member->since_ms;
    if (member->state == MEMBER_FAILED) span.down_ms += now_ms - member->since_ms;
    return span;
}

static struct span *kept(struct arena *arena, struct span span)
{
    struct span *copy = arena_alloc(arena, sizeof *copy);
    *copy = span;
    add_percent(copy, arena);
    return copy;
}

static uint64_t uptime_ms(const struct member *member, const struct member_past *past, uint64_t now_ms)
{
    const struct transition *moves = past->transitions.items;
    uint64_t since_ms = member->since_ms;
    if (!is_up(member->state)) return 0;
    for (size_t i = 0; i < past->transitions.count && is_up(moves[i].to); i++) since_ms = moves[i].at_ms;
    return now_ms - since_ms;
}

static void add_details(struct past_view *view, const struct member_past *past, struct arena *arena)
{
    struct move *moves = arena_alloc(arena, past->transitions.count * sizeof *moves);
    struct day *days = arena_alloc(arena, past->days.count * sizeof *days);
    for (size_t i = 0; i < past->transitions.count; i++) {
        const struct transition *each = &((const struct transition *)past->transitions.items)[i];
        moves[i] = (struct move){each->at_ms, each->from, each->to, each->reason};
    }
    for (size_t i = 0; i < past->days.count; i++) {
        const struct member_day *each = &((const struct member_day *)past->days.items)[i];
        days[i] = (struct day){each->day * DAY_MS, each->up_ms, each->down_ms, each->failures};
    }
    view->transitions = (struct list){moves, past->transitions.count};
    view->days = (struct list){days, past->days.count};
}

struct sums {
    struct span windows[5];
    uint64_t failures, recoveries, flaps, down_closed_ms, longest_ms, guarded_ms, first_ms;
};
static const uint64_t window_ms[] = {HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS};

static void add_member(struct sums *sums, const struct member *member, const struct member_past *past,
                       uint64_t now_ms)
{
    for (size_t i = 0; i < 5; i++) {
        uint64_t since_ms = i < 4 && now_ms > window_ms[i] ? now_ms - window_ms[i] : 0;
        struct span span = i < 4 ? span_since(past, since_ms, now_ms) : ever(member, past, now_ms);
        sums->windows[i].up_ms += span.up_ms;
        sums->windows[i].down_ms += span.down_ms;
    }
    uint64_t outage_ms = member->state == MEMBER_FAILED ? now_ms - member->since_ms : 0;
    if (past->longest_down_ms > outage_ms) outage_ms = past->longest_down_ms;
    if (outage_ms > sums->longest_ms) sums->longest_ms = outage_ms;
    if (!sums->first_ms || past->first_ms < sums->first_ms) sums->first_ms = past->first_ms;
    sums->failures += past->failures;
    sums->recoveries += past->recoveries;
    sums->flaps += member_flaps(member, now_ms);
    sums->down_closed_ms += past->down_ms;
    sums->guarded_ms += past->guarded_ms;
}

static struct past_view view_of(const struct sums *sums, struct arena *arena)
{
    const struct span *windows = sums->windows;
    return (struct past_view){.first_ms = sums->first_ms,
                              .failures = sums->failures,
                              .recoveries = sums->recoveries,
                              .mttf_ms = sums->failures ? windows[4].up_ms / sums->failures : 0,
                              .mttr_ms = sums->recoveries ? sums->down_closed_ms / sums->recoveries : 0,
                              .longest_outage_ms = sums->longest_ms,
                              .guarded_ms = sums->guarded_ms,
                              .flaps = sums->flaps,
                              .hour = kept(arena, windows[0]),
                              .day = kept(arena, windows[1]),
                              .week = kept(arena, windows[2]),
                              .month = kept(arena, windows[3]),
                              .ever = kept(arena, windows[4])};
}

static struct past_view view_member(struct group *group, const struct member *member,
                                    const struct member_past *past)
{
    struct sums sums = {.failures = 0};
    uint64_t now_ms = group->apply->time_ms;
    add_member(&sums, member, past, now_ms);
    struct past_view view = view_of(&sums, group->apply->arena);
    view.id = member->id;
    view.state = member_shown(member, now_ms);
    view.since_ms = member->since_ms;
    view.uptime_ms = uptime_ms(member, past, now_ms);
    return view;
}

/* --- the query --- */

struct history_args {
    struct slice group, id, cursor;
    uint64_t limit;
};
#define ASKED(member) .offset = offsetof(struct history_args, member), .name = #member
static const struct field args_fields[] = {
    {.number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED, ASKED(group), .max = 255, .about = "its name"},
    {.number = 2,
     .type = FIELD_TEXT,
     ASKED(id),
     .max = GROUP_ID_MAX,
     .about = "of one member, with its transitions"},
    {.number = 3,
     .type = FIELD_UINT,
     ASKED(limit),
     .min = 1,
     .max = LISTED_MAX,
     .initial = 100,
     .about = "members at most"},
    {.number = 4, .type = FIELD_TEXT, ASKED(cursor), .max = GROUP_ID_MAX, .about = "of the page before"},
};
const struct record group_history_args_record = RECORD("group_history_args", history_args, args_fields);

struct history {
    struct slice group, cursor;
    const struct past_view *all;
    struct list members;
    uint64_t guarded_ms, revision;
};
#define HISTORY(member) .offset = offsetof(struct history, member), .name = #member
static const struct field history_fields[] = {
    {.number = 1, .type = FIELD_NAME, HISTORY(group), .about = "its name"},
    {.number = 2,
     .type = FIELD_RECORD,
     HISTORY(all),
     .record = &past_record,
     .about = "the members of this page together"},
    {.number = 3, .type = FIELD_LIST, HISTORY(members), .record = &past_record, .about = "by id"},
    {.number = 4,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     HISTORY(cursor),
     .about = "for the next page; null at the end"},
    {.number = 5, .type = FIELD_UINT, HISTORY(guarded_ms), .about = "for which the group was guarded"},
    {.number = 6, .type = FIELD_UINT, HISTORY(revision), .about = "of the state that was read"},
};
const struct record group_history_record = RECORD("group_history", history, history_fields);

static uint64_t guarded_ms(const struct group *group)
{
    uint64_t now = group->row.guarded_ms ? group->apply->time_ms - group->row.guarded_ms : 0;
    return group->row.guarded_total_ms + now;
}

static void add_one(struct group *group, struct history *history, struct sums *sums,
                    const struct member *member, bool details)
{
    struct member_past past;
    struct past_view *views = history->members.items;
    member_past_get(group, member->id, &past);
    add_member(sums, member, &past, group->apply->time_ms);
    views[history->members.count] = view_member(group, member, &past);
    if (details) add_details(&views[history->members.count], &past, group->apply->arena);
    history->members.count++;
}

static void answer(struct group *group, struct history *history, const struct sums *sums)
{
    struct past_view *all = arena_alloc(group->apply->arena, sizeof *all);
    *all = view_of(sums, group->apply->arena);
    history->all = all;
    apply_answer(group->apply, OUTCOME_OK, &group_history_record, history);
}

void group_history(struct apply *apply, const void *arguments)
{
    const struct history_args *args = arguments;
    struct group group;
    struct member member;
    struct sums sums = {.failures = 0};
    group_load(&group, apply, args->group);
    if (!group.exists) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
        return;
    }
    struct history *history = arena_alloc(apply->arena, sizeof *history);
    struct past_view *views = arena_alloc(apply->arena, args->limit * sizeof *views);
    *history = (struct history){.group = args->group,
                                .members = {views, 0},
                                .guarded_ms = guarded_ms(&group),
                                .revision = apply->index};
    if (args->id.size) {
        if (!member_get(&group, args->id, &member)) {
            group_refuse(&group, &(struct member){.id = args->id}, OUTCOME_MEMBER_UNKNOWN, slice_of(NULL, 0));
            return;
        }
        add_one(&group, history, &sums, &member, true);
        answer(&group, history, &sums);
        return;
    }
    struct key from = member_first(args->group, 0, args->cursor);
    while (member_next(&group, 0, &from, &member)) {
        if (history->members.count == args->limit) {
            history->cursor = views[args->limit - 1].id;
            break;
        }
        add_one(&group, history, &sums, &member, false);
    }
    answer(&group, history, &sums);
}
