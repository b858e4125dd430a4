/* The rows of groups and members. */
#include "base/check.h"
#include "coord/primitive/group.h"

const char *const member_shown_choices[] = {"alive",     "suspect",  "failed", "left",
                                            "recovered", "draining", NULL};
const char *const member_health_choices[] = {"pass", "warn", "fail", NULL};
const char *const guard_cause_choices[] = {"group", "all", NULL};
const char *const member_reason_choices[] = {"joined",  "rejoined", "taken_over", "silent", "heard",
                                             "expired", "leaves",   "removed",    "forced", NULL};

enum { SHOWN_RECOVERED = MEMBER_STATES + 1, SHOWN_DRAINING };

#define ROW(member) .offset = offsetof(struct group_row, member), .name = #member
static const struct field group_fields[] = {
    {.number = 1, .type = FIELD_RECORD, ROW(config), .record = &group_config_record},
    {.number = 2, .type = FIELD_UINT, ROW(counts[MEMBER_ALIVE])},
    {.number = 3, .type = FIELD_UINT, ROW(counts[MEMBER_SUSPECT])},
    {.number = 4, .type = FIELD_UINT, ROW(counts[MEMBER_FAILED])},
    {.number = 5, .type = FIELD_UINT, ROW(counts[MEMBER_LEFT])},
    {.number = 6, .type = FIELD_UINT, ROW(version)},
    {.number = 7, .type = FIELD_UINT, ROW(created_ms)},
    {.number = 8, .type = FIELD_UINT, ROW(revision)},
    {.number = 9, .type = FIELD_TEXT, ROW(leader)},
    {.number = 10, .type = FIELD_UINT, ROW(leader_token)},
    {.number = 11, .type = FIELD_UINT, ROW(guarded_ms)},
    {.number = 12, .type = FIELD_UINT, ROW(window_ms)},
    {.number = 13, .type = FIELD_UINT, ROW(window_failed)},
    {.number = 16, .type = FIELD_UINT, ROW(guarded_total_ms)},
    {.number = 17, .type = FIELD_UINT, ROW(broadcasts)},
    {.number = 18, .type = FIELD_UINT, ROW(shards_moving)},
    {.number = 20, .type = FIELD_UINT, ROW(guard_due_ms)},
    {.number = 21, .type = FIELD_UINT, ROW(shards_due_ms)},
    {.number = 22, .type = FIELD_UINT, ROW(guarded)},
    {.number = 23, .type = FIELD_UINT, ROW(shards)},
    {.number = 24, .type = FIELD_UINT, ROW(shards_free)},
    {.number = 25, .type = FIELD_UINT, ROW(guard_round)},
    {.number = 26, .type = FIELD_UINT, ROW(targets)},
    {.number = 27, .type = FIELD_CHOICE, ROW(guard_cause), .choices = guard_cause_choices},
    {.number = 28, .type = FIELD_UINT, ROW(ejected)},
    {.number = 29, .type = FIELD_UINT, ROW(half_open)},
    {.number = 30, .type = FIELD_UINT, ROW(draining)},
    {.number = 31, .type = FIELD_UINT, ROW(broadcasts_end_ms)},
    {.number = 32, .type = FIELD_UINT, ROW(leader_due_ms)},
    {.number = 33, .type = FIELD_UINT, ROW(eligible)},
};
static const struct record group_record = RECORD("group_row", group_row, group_fields);

#define MEMBER(field) .offset = offsetof(struct member, field), .name = #field
static const struct field member_fields[] = {
    {.number = 1, .type = FIELD_TEXT, MEMBER(id)},
    {.number = 2, .type = FIELD_TEXT, MEMBER(address)},
    {.number = 3, .type = FIELD_TEXT, MEMBER(zone)},
    {.number = 4, .type = FIELD_TEXT, MEMBER(version)},
    {.number = 5, .type = FIELD_JSON, MEMBER(meta)},
    {.number = 6, .type = FIELD_TEXTS, MEMBER(tags)},
    {.number = 7, .type = FIELD_UINT, MEMBER(weight)},
    {.number = 8, .type = FIELD_UINT, MEMBER(ttl_ms)},
    {.number = 9, .type = FIELD_UINT, MEMBER(state)},
    {.number = 10, .type = FIELD_UINT, MEMBER(order)},
    {.number = 11, .type = FIELD_UINT, MEMBER(token)},
    {.number = 12, .type = FIELD_UINT, MEMBER(lease)},
    {.number = 13, .type = FIELD_UINT, MEMBER(joined_ms)},
    {.number = 14, .type = FIELD_UINT, MEMBER(since_ms)},
    {.number = 15, .type = FIELD_CHOICE, MEMBER(health), .choices = member_health_choices},
    {.number = 16, .type = FIELD_BOOL, MEMBER(draining)},
    {.number = 17, .type = FIELD_BOOL, MEMBER(guarded)},
    {.number = 18, .type = FIELD_UINT, MEMBER(flaps)},
    {.number = 19, .type = FIELD_UINT, MEMBER(flap_ms)},
    {.number = 20, .type = FIELD_UINT, MEMBER(probation_ms)},
    {.number = 21, .type = FIELD_UINT, MEMBER(ejected_ms)},
    {.number = 22, .type = FIELD_UINT, MEMBER(ejections)},
    {.number = 23, .type = FIELD_UINT, MEMBER(due_ms)},
    {.number = 24, .type = FIELD_UINT, MEMBER(ejected_last_ms)},
    {.number = 25, .type = FIELD_UINT, MEMBER(half_open_ms)},
    {.number = 26, .type = FIELD_BOOL, MEMBER(eligible)},
};
static const struct record member_record = RECORD("member_row", member, member_fields);

/* --- groups --- */

struct key group_key_of(enum key_kind kind, struct slice group)
{
    struct key key = key_of(kind);
    key_name(&key, group);
    return key;
}

static struct key group_key(struct slice name)
{
    struct key key = key_of(KEY_GROUP);
    key_bytes(&key, name);
    return key;
}

static bool idle(const struct group_row *row)
{
    uint64_t members = 0;
    for (size_t state = MEMBER_ALIVE; state <= MEMBER_STATES; state++) members += row->counts[state];
    return !row->config && !members && !row->broadcasts && !row->guard_due_ms && !row->shards_due_ms &&
           !row->leader_due_ms;
}

static bool is_idle(struct apply *apply, struct slice name)
{
    struct group group;
    group_load(&group, apply, name);
    CHECK(group.kept);
    return idle(&group.row);
}

static const struct object_kind kept = {KEY_GROUP, KEY_GROUP_KEPT, GROUP_KEPT_MAX, is_idle};

void group_load(struct group *group, struct apply *apply, struct slice name)
{
    *group = (struct group){.apply = apply, .name = name};
    struct key key = group_key(name);
    group->kept = row_get(apply, key_slice(&key), &group_record, &group->row);
    group->exists = group->row.created_ms > 0;
    group->config = group->row.config ? *group->row.config : group_config_default;
    census_begin(group);
}

void group_save(struct group *group)
{
    if (!group->changed) return;
    struct key key = group_key(group->name);
    if (!group->exists) group->row.created_ms = group->apply->time_ms;
    group->row.revision = group->apply->index;
    row_put(group->apply, key_slice(&key), &group_record, &group->row);
    census_end(group);
    if (!group->kept)
        object_keep(group->apply, &kept, group->name);
    else if (idle(&group->row))
        object_forget_surplus(group->apply, &kept);
    group->kept = group->exists = true;
    group->changed = false;
}

/* The row of one that was deleted stays as an empty one, until it is forgotten among the idle. */
void group_remove(struct group *group)
{
    struct key key = group_key(group->name);
    struct group_row empty = {0};
    CHECK(group->exists && !group->row.guard_due_ms && !group->row.shards_due_ms && !group->row.broadcasts);
    CHECK(!group->row.leader_due_ms);
    for (size_t state = MEMBER_ALIVE; state <= MEMBER_STATES; state++) CHECK(!group->row.counts[state]);
    group->row = empty;
    row_put(group->apply, key_slice(&key), &group_record, &empty);
    census_end(group);
    group->exists = group->changed = false;
}

void group_check_kept(struct rows *rows, struct arena *arena, uint64_t count)
{
    object_check_kept(rows, arena, &kept, count);
}

/* --- members --- */

static struct key member_key(enum key_kind kind, struct slice group, struct slice id)
{
    struct key key = group_key_of(kind, group);
    key_bytes(&key, id);
    return key;
}

struct key member_state_key(struct slice group, const struct member *member)
{
    struct key key = group_key_of(KEY_MEMBER_STATE, group);
    key_byte(&key, (uint8_t)member->state);
    key_number(&key, member->order);
    key_bytes(&key, member->id);
    return key;
}

static bool is_draining(const struct member *member)
{
    return member->state == MEMBER_ALIVE && member->draining;
}

bool member_get(struct group *group, struct slice id, struct member *member)
{
    struct key key = member_key(KEY_MEMBER, group->name, id);
    if (!row_get(group->apply, key_slice(&key), &member_record, member)) return false;
    member->counted_draining = is_draining(member);
    return true;
}

void member_put(struct group *group, struct member *member)
{
    struct key key = member_key(KEY_MEMBER, group->name, member->id);
    group->row.draining += is_draining(member);
    group->row.draining -= member->counted_draining;
    member->counted_draining = is_draining(member);
    group->row.eligible -= member->eligible;
    member->eligible = member_is_eligible(member, group->apply->time_ms);
    group->row.eligible += member->eligible;
    group->changed = true;
    row_put(group->apply, key_slice(&key), &member_record, member);
}

void member_delete(struct group *group, struct member *member)
{
    struct key rows[] = {member_key(KEY_MEMBER, group->name, member->id),
                         member_key(KEY_MEMBER_PAST, group->name, member->id),
                         member_state_key(group->name, member)};
    CHECK(!member->lease && !member->due_ms && group->row.counts[member->state]);
    for (size_t i = 0; i < 3; i++) CHECK(rows_delete(group->apply->rows, key_slice(&rows[i])));
    group->row.counts[member->state]--;
    group->changed = true;
}

struct key member_first(struct slice group, uint64_t state, struct slice cursor)
{
    struct key key = group_key_of(state ? KEY_MEMBER_STATE : KEY_MEMBER, group);
    if (state) key_byte(&key, (uint8_t)state);
    key_bytes(&key, cursor);
    return cursor.size ? key_after(key_slice(&key)) : key;
}

enum { ORDER_SIZE = 8 };

bool member_next(struct group *group, uint64_t state, struct key *from, struct member *member)
{
    struct key prefix = member_first(group->name, state, slice_of(NULL, 0));
    struct slice key, value;
    if (!rows_seek(group->apply->rows, key_slice(from), &key, &value) ||
        !slice_starts_with(key, key_slice(&prefix)))
        return false;
    *from = key_after(key);
    struct slice id = slice_skip(key, prefix.size + (state ? ORDER_SIZE : 0));
    CHECK(member_get(group, arena_copy(group->apply->arena, id), member));
    return true;
}

bool member_next_of_all(struct apply *apply, struct key *from, struct slice *group, struct member *member)
{
    struct slice key, value;
    if (!rows_seek(apply->rows, key_slice(from), &key, &value) || key.data[0] != KEY_MEMBER) return false;
    *from = key_after(key);
    key = slice_skip(arena_copy(apply->arena, key), 1);
    value = arena_copy(apply->arena, value);
    *group = slice_of(key.data, strnlen((const char *)key.data, key.size));
    if (!record_decode(&member_record, member, value, apply->arena))
        fatal("the state is damaged: a row of a member cannot be read; restore this node from the others");
    return true;
}

struct slice member_path(struct apply *apply, struct slice group, struct slice id)
{
    return arena_printf(apply->arena, "/groups/%.*s/members/%.*s", SLICE_ARGS(group), SLICE_ARGS(id));
}

/* --- what a member is just now --- */

bool member_on_probation(const struct member *member, uint64_t now_ms)
{
    return member->probation_ms > now_ms;
}

uint64_t member_shown(const struct member *member, uint64_t now_ms)
{
    if (member->state != MEMBER_ALIVE) return member->state;
    if (member->draining) return SHOWN_DRAINING;
    return member_on_probation(member, now_ms) ? SHOWN_RECOVERED : MEMBER_ALIVE;
}

bool member_is_fit(const struct member *member, uint64_t now_ms)
{
    return member->state == MEMBER_ALIVE && !member->draining && !member_on_probation(member, now_ms) &&
           member->health != HEALTH_FAIL;
}

bool member_is_eligible(const struct member *member, uint64_t now_ms)
{
    return member_is_fit(member, now_ms) && member_breaker(member) == BREAKER_CLOSED;
}
