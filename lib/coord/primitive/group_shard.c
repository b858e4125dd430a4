/* Shards: a fixed number of pieces of work, each with one owner among the members, handed over in two steps.
 * Whose they are is decided in group_share.c.
 *
 * Who is to give up a shard lets go of it by an acknowledgement; only then the next owner gets it, with a
 * higher token. An owner that leaves or fails, or whose place is taken, has let go. What a member lost by a
 * failure waits for it (rebalance); it has it again at once when it joins, unless it fails again and again.
 *
 * Invariants: 1. a shard is free (no owner), owned, or revoking (owner, next). 2. the group counts those that
 * are free and those that are revoking. 3. a shard's token is the index of the entry that gave it to its
 * owner, and rises with each. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/group_shard.h"

enum { ACK_PACE_MS = 100 /* acknowledgements come many at a time: one decision for all of them */ };
static const char *const shard_choices[] = {"free", "owned", "revoking", NULL};

#define ROW(member) .offset = offsetof(struct shard, member), .name = #member
static const struct field row_fields[] = {
    {.number = 1, .type = FIELD_UINT, ROW(number)},
    {.number = 2, .type = FIELD_UINT, ROW(token)},
    {.number = 3, .type = FIELD_CHOICE, ROW(state), .choices = shard_choices},
    {.number = 4, .type = FIELD_UINT, ROW(since_ms)},
    {.number = 5, .type = FIELD_TEXT, ROW(owner)},
    {.number = 6, .type = FIELD_TEXT, ROW(next)},
    {.number = 7, .type = FIELD_TEXT, ROW(last)},
};
static const struct record row_record = RECORD("shard_row", shard, row_fields);

/* --- rows --- */

static struct key shard_key(struct slice group, uint64_t number)
{
    struct key key = group_key_of(KEY_SHARD, group);
    key_number(&key, number);
    return key;
}

static struct key shard_of_key(struct slice group, struct slice owner)
{
    struct key key = group_key_of(KEY_SHARD_OF, group);
    key_name(&key, owner);
    return key;
}

bool shard_get(struct group *group, uint64_t number, struct shard *shard)
{
    struct key key = shard_key(group->name, number);
    return row_get(group->apply, key_slice(&key), &row_record, shard);
}

static void count(struct group *group, const struct shard *shard, uint64_t by)
{
    if (shard->state == SHARD_FREE) group->row.shards_free += by;
    if (shard->state == SHARD_REVOKING) group->row.shards_moving += by;
}

/* The row that says whose it is comes or goes. */
static void mark_owner(struct group *group, const struct shard *shard, bool has)
{
    if (!shard->owner.size) return;
    struct key key = shard_of_key(group->name, shard->owner);
    key_number(&key, shard->number);
    if (has)
        rows_put(group->apply->rows, key_slice(&key), slice_of(NULL, 0));
    else
        CHECK(rows_delete(group->apply->rows, key_slice(&key)));
}

/* --- events --- */

struct shard_event {
    struct slice group, owner, next;
    uint64_t number, token;
};
#define EVENT(member) .offset = offsetof(struct shard_event, member), .name = #member
static const struct field event_fields[] = {
    {.number = 1, .type = FIELD_TEXT, EVENT(group), .about = "its name"},
    {.number = 2, .type = FIELD_UINT, EVENT(number), .about = "of the shard"},
    {.number = 3,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     EVENT(owner),
     .about = "id of the member that has it"},
    {.number = 4, .type = FIELD_UINT, .flags = FIELD_NULL, EVENT(token), .about = "of its ownership"},
    {.number = 5, .type = FIELD_TEXT, .flags = FIELD_NULL, EVENT(next), .about = "who is to have it"},
};
const struct record group_shard_event_record = RECORD("group_shard_event", shard_event, event_fields);

static void tell(struct group *group, const struct shard *shard)
{
    static const enum group_event events[] = {[SHARD_FREE] = GROUP_SHARD_FREE,
                                              [SHARD_OWNED] = GROUP_SHARD_OWNED,
                                              [SHARD_REVOKING] = GROUP_SHARD_REVOKING};
    struct apply *apply = group->apply;
    struct shard_event *told = arena_alloc(apply->arena, sizeof *told);
    *told = (struct shard_event){group->name, shard->owner, shard->next, shard->number, shard->token};
    event_add(apply, &group_primitive, (uint8_t)events[shard->state],
              arena_printf(apply->arena, "/groups/%.*s/shards/%llu", SLICE_ARGS(group->name),
                           (unsigned long long)shard->number),
              told, 0);
}

static void put(struct group *group, struct shard *shard, const struct shard *before)
{
    struct key key = shard_key(group->name, shard->number);
    count(group, before, UINT64_MAX); /* one less */
    count(group, shard, 1);
    mark_owner(group, before, false);
    mark_owner(group, shard, true);
    shard->since_ms = group->apply->time_ms;
    row_put(group->apply, key_slice(&key), &row_record, shard);
    group->row.version = group->apply->index;
    group->changed = true;
    tell(group, shard);
}

/* `last`: who is to have it again if it can. */
static void set_free(struct group *group, struct shard *shard, struct slice last)
{
    struct shard before = *shard;
    shard->last = last;
    shard->owner = shard->next = slice_of(NULL, 0);
    shard->state = SHARD_FREE;
    put(group, shard, &before);
}

void shard_give(struct group *group, struct shard *shard, struct slice owner)
{
    struct shard before = *shard;
    shard->owner = owner;
    shard->next = shard->last = slice_of(NULL, 0);
    shard->state = SHARD_OWNED;
    if (!MUTANT(105) || !shard->token) shard->token = group->apply->index;
    put(group, shard, &before);
}

void shard_revoke(struct group *group, struct shard *shard, struct slice next)
{
    struct shard before = *shard;
    shard->next = next;
    shard->state = SHARD_REVOKING;
    put(group, shard, &before);
}

/* It need not be let go of after all. */
void shard_return_to(struct group *group, struct shard *shard)
{
    struct shard before = *shard;
    shard->next = slice_of(NULL, 0);
    shard->state = SHARD_OWNED;
    put(group, shard, &before);
}

/* --- when --- */

void shards_set_timer(struct group *group, uint64_t at_ms)
{
    struct apply *apply = group->apply;
    struct slice what = group_work_what(apply, GROUP_WORK_SHARDS, group->name, slice_of(NULL, 0));
    if (at_ms == group->row.shards_due_ms) return;
    if (group->row.shards_due_ms) due_clear(apply, group->row.shards_due_ms, GROUP_CODE, what);
    if (at_ms) due_set(apply, at_ms, GROUP_CODE, what);
    group->row.shards_due_ms = at_ms;
    group->changed = true;
}

void shards_sooner(struct group *group, uint64_t at_ms)
{
    if (!group->row.shards_due_ms || at_ms < group->row.shards_due_ms) shards_set_timer(group, at_ms);
}

static void make(struct group *group)
{
    for (uint64_t number = 0; number < group->config.shards; number++) {
        struct shard shard = {.number = number, .state = SHARD_FREE};
        struct key key = shard_key(group->name, number);
        row_put(group->apply, key_slice(&key), &row_record, &shard);
    }
    group->row.shards_free = group->row.shards = group->config.shards;
    group->changed = true;
}

/* Shards that lie about although the time for their owner's return is over are given away at once. */
void group_shards_look(struct group *group)
{
    uint64_t now_ms = group->apply->time_ms;
    if (!group->config.shards) return;
    bool fresh = !group->row.shards;
    if (fresh) make(group);
    bool idle = group->row.shards_free && !group->row.shards_due_ms;
    shards_sooner(group, fresh || idle ? now_ms : now_ms + group->config.rebalance_ms);
}

/* What it was asked to let go of is the next one's now; what it lost by a failure waits for it. */
void group_shards_let_go(struct group *group, const struct member *member)
{
    struct key prefix = shard_of_key(group->name, member->id);
    struct slice key, value;
    struct shard shard;
    uint64_t number, now_ms = group->apply->time_ms;
    if (!group->row.shards) return;
    while (rows_seek(group->apply->rows, key_slice(&prefix), &key, &value) &&
           slice_starts_with(key, key_slice(&prefix))) {
        key = slice_skip(key, prefix.size);
        CHECK(take_u64be(&key, &number) && shard_get(group, number, &shard));
        set_free(group, &shard, shard.state == SHARD_REVOKING ? shard.next : shard.owner);
        uint64_t waits_ms = shard_waits_until_ms(group, &shard);
        if (group->config.shards) shards_sooner(group, waits_ms ? waits_ms : now_ms);
    }
}

/* It failed, and is back: what is still free of what it had is its own again. */
void group_shards_return(struct group *group, const struct member *member)
{
    struct shard shard;
    if (!group->row.shards_free || !member_may_resume(group, member)) return;
    for (uint64_t number = 0; number < group->row.shards; number++) {
        CHECK(shard_get(group, number, &shard));
        bool its = shard.state == SHARD_FREE && slice_equal(shard.last, member->id);
        if (its && shard.token != group->apply->index) shard_give(group, &shard, member->id);
    }
}

void group_shards_forget(struct group *group)
{
    for (uint64_t number = 0; number < group->row.shards; number++) {
        struct key key = shard_key(group->name, number);
        struct shard shard;
        CHECK(shard_get(group, number, &shard));
        mark_owner(group, &shard, false);
        CHECK(rows_delete(group->apply->rows, key_slice(&key)));
    }
    group->row.shards = group->row.shards_free = group->row.shards_moving = 0;
    shards_set_timer(group, 0);
    group->changed = true;
}

static void check_owner(struct group *group, const struct shard *shard)
{
    struct key mark = shard_of_key(group->name, shard->owner);
    struct member owner;
    struct slice value;
    key_number(&mark, shard->number);
    CHECK(rows_get(group->apply->rows, key_slice(&mark), &value));
    CHECK(member_get(group, shard->owner, &owner) && owner.state <= MEMBER_SUSPECT &&
          owner.token <= shard->token);
}

void group_shards_check(struct group *group, struct group_totals *totals)
{
    struct shard shard;
    uint64_t free = 0, moving = 0;
    for (uint64_t number = 0; number < group->row.shards; number++) {
        CHECK(shard_get(group, number, &shard) && shard.number == number);
        CHECK((shard.owner.size == 0) == (shard.state == SHARD_FREE));
        CHECK((shard.next.size != 0) == (shard.state == SHARD_REVOKING));
        if (shard.owner.size) check_owner(group, &shard);
        free += shard.state == SHARD_FREE;
        moving += shard.state == SHARD_REVOKING;
    }
    CHECK(free == group->row.shards_free && moving == group->row.shards_moving);
    CHECK(moving <= group->row.shards && group->row.shards == group->config.shards);
    totals->shards += group->row.shards;
    totals->owned += group->row.shards - free;
}

/* --- the operations --- */

struct shard_view {
    struct slice owner, next;
    uint64_t number, token, state, since_ms;
};
#define VIEW(member) .offset = offsetof(struct shard_view, member)
static const struct field view_fields[] = {
    {.number = 1, .type = FIELD_UINT, VIEW(number), .name = "number", .about = "from 0"},
    {.number = 2,
     .type = FIELD_CHOICE,
     VIEW(state),
     .name = "state",
     .choices = shard_choices,
     .about = "revoking: its owner is to let go of it"},
    {.number = 3,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     VIEW(owner),
     .name = "owner",
     .about = "id of the member that has it"},
    {.number = 4,
     .type = FIELD_UINT,
     .flags = FIELD_NULL,
     VIEW(token),
     .name = "token",
     .about = "of its ownership, or the last one's"},
    {.number = 5,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     VIEW(next),
     .name = "next",
     .about = "who gets it then"},
    {.number = 6, .type = FIELD_TIME, VIEW(since_ms), .name = "since", .about = "in that state"},
};
const struct record group_shard_record = RECORD("group_shard", shard_view, view_fields);

static struct shard_view view_of(const struct shard *shard)
{
    return (struct shard_view){.owner = shard->owner,
                               .next = shard->next,
                               .number = shard->number,
                               .token = shard->token,
                               .state = shard->state,
                               .since_ms = shard->since_ms};
}

struct shards_args {
    struct slice group, member, key;
};
#define ASKED(member) .offset = offsetof(struct shards_args, member)
static const struct field args_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     ASKED(group),
     .name = "group",
     .max = 255,
     .about = "its name"},
    {.number = 2,
     .type = FIELD_TEXT,
     ASKED(member),
     .name = "member",
     .max = GROUP_ID_MAX,
     .about = "only those that it has or is to have"},
    {.number = 3,
     .type = FIELD_TEXT,
     ASKED(key),
     .name = "key",
     .max = 480,
     .about = "only the one in which that key lies"},
};
const struct record group_shards_args_record = RECORD("group_shards_args", shards_args, args_fields);

struct shards {
    struct slice group;
    struct list shards;
    uint64_t free, moving, version, revision;
};
#define SHARDS(member) .offset = offsetof(struct shards, member), .name = #member
static const struct field shards_fields[] = {
    {.number = 1, .type = FIELD_NAME, SHARDS(group), .about = "its name"},
    {.number = 2, .type = FIELD_LIST, SHARDS(shards), .record = &group_shard_record, .about = "by number"},
    {.number = 3, .type = FIELD_UINT, SHARDS(free), .about = "how many have no owner"},
    {.number = 4, .type = FIELD_UINT, SHARDS(moving), .about = "how many are on the move"},
    {.number = 5, .type = FIELD_UINT, SHARDS(version), .about = "of the last transition of the group"},
    {.number = 6, .type = FIELD_UINT, SHARDS(revision), .about = "of the state that was read"},
};
const struct record group_shards_record = RECORD("group_shards", shards, shards_fields);

static bool is_wanted(const struct group *group, const struct shards_args *args, const struct shard *shard)
{
    bool its = slice_equal(shard->owner, args->member) || slice_equal(shard->next, args->member);
    if (args->member.size && !its) return false;
    return !args->key.size || group_draw(args->key, slice_of(NULL, 0)) % group->row.shards == shard->number;
}

void group_shards(struct apply *apply, const void *arguments)
{
    const struct shards_args *args = arguments;
    struct group group;
    struct shard shard;
    group_load(&group, apply, args->group);
    if (!group.exists) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
        return;
    }
    struct shards *result = arena_alloc(apply->arena, sizeof *result);
    struct shard_view *views = arena_alloc(apply->arena, group.row.shards * sizeof *views);
    *result = (struct shards){.group = args->group,
                              .shards = {views, 0},
                              .free = group.row.shards_free,
                              .moving = group.row.shards_moving,
                              .version = group.row.version,
                              .revision = apply->index};
    for (uint64_t number = 0; number < group.row.shards; number++) {
        CHECK(shard_get(&group, number, &shard));
        if (is_wanted(&group, args, &shard)) views[result->shards.count++] = view_of(&shard);
    }
    apply_answer(apply, OUTCOME_OK, &group_shards_record, result);
}

struct ack_args {
    struct slice group;
    uint64_t number, token;
};
#define ACK(member) .offset = offsetof(struct ack_args, member), .name = #member
static const struct field ack_fields[] = {
    {.number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED, ACK(group), .max = 255, .about = "its name"},
    {.number = 2, .type = FIELD_UINT, .flags = FIELD_REQUIRED, ACK(number), .about = "of the shard"},
    {.number = 3,
     .type = FIELD_UINT,
     .flags = FIELD_REQUIRED,
     ACK(token),
     .about = "of the ownership that ends"},
};
const struct record group_shard_ack_record = RECORD("group_shard_ack", ack_args, ack_fields);

/* Who is to have it may be unfit by now: then it lies about until the next decision, which is at once. */
static void hand_over(struct group *group, struct shard *shard)
{
    struct member next;
    uint64_t now_ms = group->apply->time_ms;
    bool there = member_get(group, shard->next, &next) && next.weight && member_is_eligible(&next, now_ms);
    if (there && shard->token != group->apply->index)
        shard_give(group, shard, next.id);
    else
        set_free(group, shard, slice_of(NULL, 0));
    bool more = shard->state == SHARD_OWNED && group->row.shards_moving;
    shards_sooner(group, more ? now_ms + ACK_PACE_MS : now_ms);
}

void group_shard_ack(struct apply *apply, const void *arguments)
{
    const struct ack_args *args = arguments;
    struct group group;
    struct shard shard;
    group_load(&group, apply, args->group);
    if (!group.exists) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
    } else if (args->number >= group.row.shards) {
        group_refuse(&group, NULL, OUTCOME_SHARD_NOT_FOUND, slice_of(NULL, 0));
    } else {
        CHECK(shard_get(&group, args->number, &shard));
        if (shard.state != SHARD_REVOKING || (shard.token != args->token && !MUTANT(101))) {
            group_refuse(&group, NULL, OUTCOME_SHARD_NOT_OWNED, slice_of(NULL, 0));
            return;
        }
        hand_over(&group, &shard);
        struct shard_view *view = arena_alloc(apply->arena, sizeof *view);
        *view = view_of(&shard);
        apply_answer(apply, OUTCOME_OK, &group_shard_record, view);
        group_save(&group);
    }
}
