/* Shards: a fixed number of pieces of work, each with one owner among the members, handed over in two steps.
 *
 * Whom a shard belongs to is decided anew some time after members came or went (rebalance), or at once when
 * shards lie about: everybody has a quota by weight; who has too much, or drains, is asked to let go of what
 * is too much, and lets go by an acknowledgement; only then the next owner gets the shard, with a higher
 * token. An owner that leaves or fails has let go. What a member had and lost by a failure it gets back if it
 * returns before the next decision and is not on probation.
 *
 * Invariants: 1. a shard is free (no owner), owned, or revoking (owner, next). 2. the group counts those that
 * are free and those that are revoking. 3. a shard's token is the index of the entry that gave it to its
 * owner, and only rises. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/group.h"

enum { EVENTS_MAX = 1024 /* shards that change hands in one entry */ };
enum shard_state { SHARD_FREE = 1, SHARD_OWNED, SHARD_REVOKING };
static const char *const shard_choices[] = {"free", "owned", "revoking", NULL};

struct shard {
    uint64_t number, token, state, since_ms;
    struct slice owner, next, last; /* last: who had it before, of a free one */
};
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

static bool get(struct group *group, uint64_t number, struct shard *shard)
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

static void set_free(struct group *group, struct shard *shard)
{
    struct shard before = *shard;
    shard->last = shard->owner;
    shard->owner = shard->next = slice_of(NULL, 0);
    shard->state = SHARD_FREE;
    put(group, shard, &before);
}

static void give(struct group *group, struct shard *shard, struct slice owner)
{
    struct shard before = *shard;
    shard->owner = owner;
    shard->next = shard->last = slice_of(NULL, 0);
    shard->state = SHARD_OWNED;
    if (!MUTANT(105) || !shard->token) shard->token = group->apply->index;
    put(group, shard, &before);
}

static void revoke(struct group *group, struct shard *shard, struct slice next)
{
    struct shard before = *shard;
    shard->next = next;
    shard->state = SHARD_REVOKING;
    put(group, shard, &before);
}

/* It need not be let go of after all. */
static void return_to(struct group *group, struct shard *shard)
{
    struct shard before = *shard;
    shard->next = slice_of(NULL, 0);
    shard->state = SHARD_OWNED;
    put(group, shard, &before);
}

/* --- when --- */

static void set_timer(struct group *group, uint64_t at_ms)
{
    struct apply *apply = group->apply;
    struct slice what = group_work_what(apply, GROUP_WORK_SHARDS, group->name, slice_of(NULL, 0));
    if (at_ms == group->row.shards_due_ms) return;
    if (group->row.shards_due_ms) due_clear(apply, group->row.shards_due_ms, GROUP_CODE, what);
    if (at_ms) due_set(apply, at_ms, GROUP_CODE, what);
    group->row.shards_due_ms = at_ms;
    group->changed = true;
}

static void sooner(struct group *group, uint64_t at_ms)
{
    if (!group->row.shards_due_ms || at_ms < group->row.shards_due_ms) set_timer(group, at_ms);
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
    sooner(group, fresh || idle ? now_ms : now_ms + group->config.rebalance_ms);
}

void group_shards_let_go(struct group *group, const struct member *member)
{
    struct key prefix = shard_of_key(group->name, member->id);
    struct slice key, value;
    struct shard shard;
    uint64_t number, let_go = 0;
    if (!group->row.shards) return;
    for (; rows_seek(group->apply->rows, key_slice(&prefix), &key, &value) &&
           slice_starts_with(key, key_slice(&prefix));
         let_go++) {
        key = slice_skip(key, prefix.size);
        CHECK(take_u64be(&key, &number) && get(group, number, &shard));
        set_free(group, &shard);
    }
    if (!let_go || !group->config.shards) return;
    uint64_t wait_ms = member->state == MEMBER_FAILED ? group->config.rebalance_ms : 0;
    sooner(group, group->apply->time_ms + wait_ms);
}

void group_shards_forget(struct group *group)
{
    for (uint64_t number = 0; number < group->row.shards; number++) {
        struct key key = shard_key(group->name, number);
        struct shard shard;
        CHECK(get(group, number, &shard));
        mark_owner(group, &shard, false);
        CHECK(rows_delete(group->apply->rows, key_slice(&key)));
    }
    group->row.shards = group->row.shards_free = group->row.shards_moving = 0;
    set_timer(group, 0);
    group->changed = true;
}

/* --- who --- */

struct share {
    struct slice id;
    uint64_t weight, quota, has;
};

struct sharing {
    struct share shares[GROUP_SHARD_MEMBERS_MAX];
    size_t count, hint; /* hint: nobody before it has room */
    uint64_t weight;
};

static void gather(struct group *group, struct sharing *sharing)
{
    struct key from = member_first(group->name, MEMBER_ALIVE, slice_of(NULL, 0));
    struct member member;
    sharing->count = sharing->hint = 0;
    sharing->weight = 0;
    while (sharing->count < GROUP_SHARD_MEMBERS_MAX && member_next(group, MEMBER_ALIVE, &from, &member)) {
        if (!member.weight || !member_is_eligible(&member, group->apply->time_ms)) continue;
        sharing->shares[sharing->count++] = (struct share){.id = member.id, .weight = member.weight};
        sharing->weight += member.weight;
    }
}

/* By weight, rounded down; what is left over goes one each to the first. */
static void set_quotas(const struct group *group, struct sharing *sharing)
{
    uint64_t left = group->row.shards;
    for (size_t i = 0; i < sharing->count; i++) {
        struct share *share = &sharing->shares[i];
        share->quota = group->row.shards * share->weight / sharing->weight;
        left -= share->quota;
    }
    for (size_t i = 0; left; i++, left--) sharing->shares[i % sharing->count].quota++;
}

static struct share *share_of(struct sharing *sharing, struct slice id)
{
    for (size_t i = 0; id.size && i < sharing->count; i++)
        if (slice_equal(sharing->shares[i].id, id)) return &sharing->shares[i];
    return NULL;
}

static struct share *with_room(struct sharing *sharing)
{
    for (; sharing->hint < sharing->count; sharing->hint++) {
        struct share *share = &sharing->shares[sharing->hint];
        if (share->has < share->quota) return share;
    }
    return NULL;
}

/* Its owner is up but is not to have it: it drains, or has a weight of 0. Suspects and the like keep what
 * they have. */
static bool is_to_go(struct group *group, struct slice owner)
{
    struct member member;
    return !member_get(group, owner, &member) || member.draining || !member.weight;
}

/* What stays where it is fills the quotas first; false: this one is to move. */
static bool stays(struct group *group, struct sharing *sharing, const struct shard *shard)
{
    struct slice holder = shard->state == SHARD_REVOKING ? shard->next : shard->owner;
    struct share *share = share_of(sharing, holder);
    if (shard->state == SHARD_FREE) return false;
    if (!share) return shard->state == SHARD_OWNED && !is_to_go(group, holder);
    if (share->has == share->quota) return false;
    share->has++;
    return true;
}

static struct share *choose(struct sharing *sharing, const struct shard *shard)
{
    struct share *last = share_of(sharing, shard->last);
    return last && last->has < last->quota ? last : with_room(sharing);
}

/* False: enough for one entry. */
static bool move_one(struct group *group, struct sharing *sharing, struct shard *shard, size_t *changes)
{
    if (*changes == EVENTS_MAX) return false;
    bool moves = shard->state == SHARD_REVOKING;
    if (shard->state == SHARD_OWNED && group->row.shards_moving >= group->config.move_limit) return true;
    struct share *share = choose(sharing, shard);
    if (!share) return true;
    bool back = moves && slice_equal(share->id, shard->owner);
    share->has++;
    ++*changes;
    if (shard->state == SHARD_FREE)
        give(group, shard, share->id);
    else if (MUTANT(100))
        give(group, shard, share->id);
    else if (back)
        return_to(group, shard);
    else
        revoke(group, shard, share->id);
    return true;
}

static bool rebalance(struct group *group, struct sharing *sharing)
{
    bool *moving = arena_alloc(group->apply->arena, group->row.shards * sizeof *moving);
    struct shard shard;
    size_t changes = 0;
    set_quotas(group, sharing);
    for (uint64_t number = 0; number < group->row.shards; number++) {
        CHECK(get(group, number, &shard));
        moving[number] = !stays(group, sharing, &shard);
    }
    for (uint64_t number = 0; number < group->row.shards; number++) {
        if (!moving[number]) continue;
        CHECK(get(group, number, &shard));
        if (!move_one(group, sharing, &shard, &changes)) return false;
    }
    return true;
}

void group_shards_due(struct apply *apply, struct slice name)
{
    struct group group;
    struct sharing *sharing = arena_alloc(apply->arena, sizeof *sharing);
    group_load(&group, apply, name);
    group.row.shards_due_ms = 0;
    group.changed = true;
    gather(&group, sharing);
    /* The rest in the next entry: a timer of this one's own time would come in this one. */
    if (sharing->count && !rebalance(&group, sharing)) set_timer(&group, apply->time_ms + 1);
    group_save(&group);
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
        CHECK(get(group, number, &shard) && shard.number == number);
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
        CHECK(get(&group, number, &shard));
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

/* Who is to have it may have gone since: then it lies about until the next decision, which is at once. */
static void hand_over(struct group *group, struct shard *shard)
{
    struct member next;
    bool there = member_get(group, shard->next, &next) && next.state == MEMBER_ALIVE && !next.draining;
    if (there)
        give(group, shard, next.id);
    else
        set_free(group, shard);
    sooner(group, group->apply->time_ms);
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
        CHECK(get(&group, args->number, &shard));
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
