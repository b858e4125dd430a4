/* What is kept of members for their history.
 *
 * Row: KEY_MEMBER_PAST group 0 member -> member_past.
 *
 * Many members may fail at once, each with dozens of transitions and days behind it. So a transition leaves
 * the lists encoded: the new item goes before the others, and what is too old is cut off. */
#include "base/buffer.h"
#include "base/check.h"
#include "coord/primitive/group.h"

enum { DAY_MS = 24 * 3600 * 1000 };

#define MOVE(field) .offset = offsetof(struct transition, field), .name = #field
static const struct field transition_fields[] = {
    {.number = 1, .type = FIELD_UINT, MOVE(at_ms)},
    {.number = 2, .type = FIELD_UINT, MOVE(from)},
    {.number = 3, .type = FIELD_UINT, MOVE(to)},
    {.number = 4, .type = FIELD_CHOICE, MOVE(reason), .choices = member_reason_choices},
};
static const struct record transition_record = RECORD("transition_row", transition, transition_fields);

#define DAY(field) .offset = offsetof(struct member_day, field), .name = #field
static const struct field day_fields[] = {
    {.number = 1, .type = FIELD_UINT, DAY(day)},
    {.number = 2, .type = FIELD_UINT, DAY(up_ms)},
    {.number = 3, .type = FIELD_UINT, DAY(down_ms)},
    {.number = 4, .type = FIELD_UINT, DAY(failures)},
};
static const struct record day_record = RECORD("member_day_row", member_day, day_fields);

struct kept {
    struct member_past sums;        /* its lists are not set */
    struct slice transitions, days; /* newest first, each item behind its size */
};
#define KEPT(type_, member, label) .type = type_, .offset = offsetof(struct kept, member), .name = label
static const struct field kept_fields[] = {
    {.number = 1, KEPT(FIELD_UINT, sums.first_ms, "first_ms")},
    {.number = 2, KEPT(FIELD_UINT, sums.up_ms, "up_ms")},
    {.number = 3, KEPT(FIELD_UINT, sums.down_ms, "down_ms")},
    {.number = 4, KEPT(FIELD_UINT, sums.guarded_ms, "guarded_ms")},
    {.number = 5, KEPT(FIELD_UINT, sums.failures, "failures")},
    {.number = 6, KEPT(FIELD_UINT, sums.recoveries, "recoveries")},
    {.number = 7, KEPT(FIELD_UINT, sums.longest_down_ms, "longest_down_ms")},
    {.number = 8, KEPT(FIELD_BYTES, transitions, "transitions")},
    {.number = 9, KEPT(FIELD_BYTES, days, "days")},
};
static const struct record kept_record = RECORD("member_past_row", kept, kept_fields);

static struct key past_key(const struct group *group, struct slice id)
{
    struct key key = group_key_of(KEY_MEMBER_PAST, group->name);
    key_bytes(&key, id);
    return key;
}

static struct kept kept_of(struct group *group, struct slice id)
{
    struct kept kept;
    struct key key = past_key(group, id);
    return row_get(group->apply, key_slice(&key), &kept_record, &kept) ? kept : (struct kept){0};
}

/* --- lists --- */

static struct slice take_item(struct slice *items)
{
    uint64_t size;
    struct slice item;
    if (!take_varint(items, &size) || size > items->size || !take_bytes(items, (size_t)size, &item))
        fatal("the state is damaged: a row of a member's history cannot be read; restore this node from the "
              "others");
    return item;
}

static void take(struct apply *apply, struct slice *items, const struct record *record, void *data)
{
    if (!record_decode(record, data, take_item(items), apply->arena))
        fatal("the state is damaged: a row of kind '%c' is no %s; restore this node from the others",
              KEY_MEMBER_PAST, record->name);
}

static void add(struct buffer *items, const struct record *record, const void *data)
{
    struct buffer item = {0};
    record_encode(record, data, &item);
    buffer_add_varint(items, item.size);
    buffer_add_slice(items, buffer_slice(&item));
    buffer_free(&item);
}

/* The first of the items, `max` at most. */
static struct slice newest(struct slice items, size_t max)
{
    struct slice rest = items;
    while (max-- && rest.size) take_item(&rest);
    return slice_of(items.data, items.size - rest.size);
}

/* In the arena, as what the row is written from. */
static struct slice closed(struct apply *apply, struct buffer *items, struct slice older)
{
    buffer_add_slice(items, older);
    struct slice all = arena_copy(apply->arena, buffer_slice(items));
    buffer_free(items);
    return all;
}

static struct list list_of(struct apply *apply, struct slice items, const struct record *record)
{
    struct list list = {NULL, 0};
    for (struct slice rest = items; rest.size; list.count++) take_item(&rest);
    char *places = list.items = arena_alloc(apply->arena, list.count * record->size);
    for (size_t i = 0; i < list.count; i++) take(apply, &items, record, places + i * record->size);
    return list;
}

void member_past_get(struct group *group, struct slice id, struct member_past *past)
{
    struct kept kept = kept_of(group, id);
    *past = kept.sums;
    past->transitions = list_of(group->apply, kept.transitions, &transition_record);
    past->days = list_of(group->apply, kept.days, &day_record);
}

/* --- days --- */

/* Those that a transition writes, oldest first: the newest of before, and all that came since. */
struct days {
    struct member_day items[GROUP_DAYS_KEPT + 2];
    size_t count;
};

static struct member_day *day_of(struct days *days, uint64_t day)
{
    if (!days->count || days->items[days->count - 1].day < day) {
        CHECK(days->count < sizeof days->items / sizeof days->items[0]);
        days->items[days->count++] = (struct member_day){.day = day};
    }
    return &days->items[days->count - 1];
}

/* A stretch of being up or down is over; it is told to the days in which it lay, of which the last are kept.
 */
static void close_stretch(const struct member *member, uint64_t now_ms, struct member_past *sums,
                          struct days *days)
{
    uint64_t from_ms = member->since_ms, span_ms = now_ms - from_ms;
    bool up = member->state == MEMBER_ALIVE || member->state == MEMBER_SUSPECT;
    if (!up && member->state != MEMBER_FAILED) return;
    *(up ? &sums->up_ms : &sums->down_ms) += span_ms;
    if (!up && span_ms > sums->longest_down_ms) sums->longest_down_ms = span_ms;
    if (member->guarded) sums->guarded_ms += span_ms;
    if (from_ms + (uint64_t)GROUP_DAYS_KEPT * DAY_MS < now_ms)
        from_ms = now_ms - (uint64_t)GROUP_DAYS_KEPT * DAY_MS;
    while (from_ms < now_ms) {
        uint64_t day = from_ms / DAY_MS, end_ms = (day + 1) * DAY_MS < now_ms ? (day + 1) * DAY_MS : now_ms;
        struct member_day *told = day_of(days, day);
        *(up ? &told->up_ms : &told->down_ms) += end_ms - from_ms;
        from_ms = end_ms;
    }
}

static struct slice days_put(struct apply *apply, const struct days *days, struct slice older)
{
    struct buffer items = {0};
    size_t first = days->count > GROUP_DAYS_KEPT ? days->count - GROUP_DAYS_KEPT : 0;
    for (size_t i = days->count; i > first; i--) add(&items, &day_record, &days->items[i - 1]);
    return closed(apply, &items, newest(older, GROUP_DAYS_KEPT - (days->count - first)));
}

void member_remember(struct group *group, const struct member *member, uint64_t to, enum member_reason reason)
{
    struct apply *apply = group->apply;
    struct kept kept = kept_of(group, member->id);
    struct member_past *sums = &kept.sums;
    struct days days;
    struct buffer moves = {0};
    days.count = 0;
    if (kept.days.size) take(apply, &kept.days, &day_record, &days.items[days.count++]);
    if (!sums->first_ms) sums->first_ms = apply->time_ms;
    if (member->state) close_stretch(member, apply->time_ms, sums, &days);
    if (to == MEMBER_FAILED) {
        sums->failures++;
        day_of(&days, apply->time_ms / DAY_MS)->failures++;
    }
    sums->recoveries += member->state == MEMBER_FAILED && to == MEMBER_ALIVE;
    kept.days = days_put(apply, &days, kept.days);
    add(&moves, &transition_record, &(struct transition){apply->time_ms, member->state, to, reason});
    kept.transitions = closed(apply, &moves, newest(kept.transitions, GROUP_TRANSITIONS_KEPT - 1));
    struct key key = past_key(group, member->id);
    row_put(apply, key_slice(&key), &kept_record, &kept);
}
