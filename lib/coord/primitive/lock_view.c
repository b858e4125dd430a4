/* What is said of locks: grants, refusals, views, lists. */
#include "coord/primitive/lock.h"

#include "base/check.h"
#include "coord/key.h"

#define NAME_FIELD(structure)                                                                                \
    {                                                                                                        \
        .number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED,                                            \
        .offset = offsetof(struct structure, name), .name = "name", .max = 255, .about = "of the lock"       \
    }

static const struct field name_fields[] = {NAME_FIELD(lock_token_args)};
const struct record lock_name_record = RECORD("lock_name", lock_token_args, name_fields);
static const struct field token_fields[] = {
    NAME_FIELD(lock_token_args),
    {.number = 2,
     .type = FIELD_UINT,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct lock_token_args, token),
     .name = "token",
     .min = 1,
     .about = "of the grant"},
};
const struct record lock_token_record = RECORD("lock_token", lock_token_args, token_fields);

/* --- a grant --- */

struct grant {
    struct slice name, owner;
    uint64_t token, lease, mode, permits, count, expires_in_ms, waited_ms;
};
#define GRANT(member) .offset = offsetof(struct grant, member), .name = #member
static const struct field grant_fields[] = {
    {.number = 1, .type = FIELD_NAME, GRANT(name), .about = "of the lock"},
    {.number = 2,
     .type = FIELD_UINT,
     GRANT(token),
     .about = "fencing token: larger than that of every earlier grant"},
    {.number = 3, .type = FIELD_LEASE, GRANT(lease), .about = "on which the hold hangs"},
    {.number = 4, .type = FIELD_TEXT, GRANT(owner), .about = "as given"},
    {.number = 5, .type = FIELD_CHOICE, GRANT(mode), .choices = lock_mode_choices, .about = "as given"},
    {.number = 6, .type = FIELD_UINT, GRANT(permits), .about = "as given"},
    {.number = 7, .type = FIELD_UINT, GRANT(count), .about = "how often this lease took it (reentrant)"},
    {.number = 8,
     .type = FIELD_REMAINING,
     GRANT(expires_in_ms),
     .about = "counted from when the request was sent; after a wait, from the answer"},
    {.number = 9, .type = FIELD_UINT, GRANT(waited_ms), .about = "in the queue"},
};
const struct record lock_grant_record = RECORD("lock_grant", grant, grant_fields);

const void *lock_granted(struct lock *lock, const struct holder_row *holder, uint64_t waited_ms)
{
    struct grant *grant = arena_alloc(lock->apply->arena, sizeof *grant);
    *grant = (struct grant){.name = lock->name,
                            .owner = holder->owner,
                            .token = holder->token,
                            .lease = holder->lease,
                            .mode = holder->mode,
                            .permits = holder->permits,
                            .count = holder->count,
                            .expires_in_ms = holder->lease,
                            .waited_ms = waited_ms};
    return grant;
}

/* --- why not --- */

struct held_by {
    struct slice owner;
    uint64_t token, since_ms, expires_in_ms;
};
#define BY(member) .offset = offsetof(struct held_by, member)
static const struct field by_fields[] = {
    {.number = 1, .type = FIELD_TEXT, BY(owner), .name = "owner", .about = "as it said"},
    {.number = 2, .type = FIELD_UINT, BY(token), .name = "token", .about = "of its grant"},
    {.number = 3, .type = FIELD_TIME, BY(since_ms), .name = "since", .about = "of its grant"},
    {.number = 4,
     .type = FIELD_REMAINING,
     BY(expires_in_ms),
     .name = "expires_in_ms",
     .about = "without a renewal"},
};
static const struct record by_record = RECORD("lock_held_by", held_by, by_fields);

#define STEP(member) .offset = offsetof(struct lock_cycle_step, member), .name = #member
static const struct field step_fields[] = {
    {.number = 1, .type = FIELD_LEASE, STEP(lease), .about = "that waits; null: a request for several locks"},
    {.number = 2, .type = FIELD_TEXT, STEP(owner), .about = "as it said"},
    {.number = 3, .type = FIELD_NAME, STEP(waits_for), .about = "the lock"},
    {.number = 4, .type = FIELD_LEASE, STEP(held_by), .about = "the next in the circle"},
    {.number = 5,
     .type = FIELD_BOOL,
     STEP(queued),
     .about = "true: the next one does not hold it, but is before this one in its queue"},
};
static const struct record step_record = RECORD("lock_cycle_step", lock_cycle_step, step_fields);

struct held {
    struct slice name;
    uint64_t mode, token, waiters, position, delayed_ms;
    const struct held_by *holder;
    struct list cycle;
};
#define HELD(member) .offset = offsetof(struct held, member), .name = #member
static const struct field held_fields[] = {
    {.number = 1, .type = FIELD_NAME, HELD(name), .about = "of the lock"},
    {.number = 2,
     .type = FIELD_CHOICE,
     HELD(mode),
     .choices = lock_mode_choices,
     .about = "in which it is held"},
    {.number = 3,
     .type = FIELD_RECORD,
     HELD(holder),
     .record = &by_record,
     .about = "the first of its holders"},
    {.number = 4, .type = FIELD_UINT, HELD(token), .flags = FIELD_NULL, .about = "the highest one granted"},
    {.number = 5, .type = FIELD_UINT, HELD(waiters), .about = "how many wait"},
    {.number = 6,
     .type = FIELD_UINT,
     HELD(position),
     .flags = FIELD_NULL,
     .about = "in the queue, of this lease"},
    {.number = 7,
     .type = FIELD_REMAINING,
     HELD(delayed_ms),
     .flags = FIELD_NULL,
     .about = "of the lock-delay after an expiry"},
    {.number = 8,
     .type = FIELD_LIST,
     HELD(cycle),
     .record = &step_record,
     .about = "of a deadlock: who waits for whom"},
};
const struct record lock_held_record = RECORD("lock_held", held, held_fields);

static struct held *facts(struct lock *lock, uint64_t position)
{
    struct held *held = arena_alloc(lock->apply->arena, sizeof *held);
    struct holder_row holder;
    *held = (struct held){.name = lock->name,
                          .mode = lock->row.mode,
                          .token = lock->row.token,
                          .waiters = lock->row.waiters,
                          .position = position,
                          .delayed_ms = lock->row.delay};
    if (!lock_next_holder(lock, 0, &holder)) return held;
    struct held_by *by = arena_alloc(lock->apply->arena, sizeof *by);
    *by = (struct held_by){holder.owner, holder.token, holder.since_ms, holder.lease};
    held->holder = by;
    return held;
}

const void *lock_facts(struct lock *lock, uint64_t position)
{
    return facts(lock, position);
}

const void *lock_facts_of_cycle(struct lock *lock, struct list cycle)
{
    struct held *held = facts(lock, 0);
    held->cycle = cycle;
    return held;
}

/* --- check --- */

struct check_result {
    struct slice name, owner;
    uint64_t token, lease, expires_in_ms, mode;
    bool current;
};
#define CURRENT(member) .offset = offsetof(struct check_result, member), .name = #member
static const struct field check_fields[] = {
    {.number = 1, .type = FIELD_NAME, CURRENT(name), .about = "of the lock"},
    {.number = 2, .type = FIELD_UINT, CURRENT(token), .about = "as asked"},
    {.number = 3, .type = FIELD_BOOL, CURRENT(current), .about = "true: a holder has it now"},
    {.number = 4,
     .type = FIELD_CHOICE,
     CURRENT(mode),
     .choices = lock_mode_choices,
     .about = "in which it is held"},
    {.number = 5, .type = FIELD_TEXT, CURRENT(owner), .about = "of the holder"},
    {.number = 6, .type = FIELD_LEASE, CURRENT(lease), .about = "of the holder"},
    {.number = 7, .type = FIELD_REMAINING, CURRENT(expires_in_ms), .about = "without a renewal"},
};
const struct record lock_check_record = RECORD("lock_check", check_result, check_fields);

void lock_check_token(struct apply *apply, const void *arguments)
{
    const struct lock_token_args *args = arguments;
    struct lock lock;
    struct holder_row holder;
    lock_load(&lock, apply, args->name);
    if (!lock_holder(&lock, args->token, &holder)) {
        apply_answer(apply, OUTCOME_FENCED, &lock_held_record, lock_facts(&lock, 0));
        return;
    }
    struct check_result *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct check_result){args->name,   holder.owner, holder.token, holder.lease,
                                    holder.lease, holder.mode,  true};
    apply_answer(apply, OUTCOME_OK, &lock_check_record, result);
}

/* --- the whole lock --- */

struct holder_view {
    struct slice owner, meta;
    uint64_t token, lease, since_ms, expires_in_ms, mode, permits, count;
};
#define HOLDER(member) .offset = offsetof(struct holder_view, member)
static const struct field holder_fields[] = {
    {.number = 1, .type = FIELD_TEXT, HOLDER(owner), .name = "owner", .about = "as it said"},
    {.number = 2, .type = FIELD_UINT, HOLDER(token), .name = "token", .about = "of its grant"},
    {.number = 3, .type = FIELD_LEASE, HOLDER(lease), .name = "lease", .about = "on which it hangs"},
    {.number = 4, .type = FIELD_TIME, HOLDER(since_ms), .name = "since", .about = "of its grant"},
    {.number = 5,
     .type = FIELD_REMAINING,
     HOLDER(expires_in_ms),
     .name = "expires_in_ms",
     .about = "without a renewal"},
    {.number = 6,
     .type = FIELD_CHOICE,
     HOLDER(mode),
     .name = "mode",
     .choices = lock_mode_choices,
     .about = "in which it holds"},
    {.number = 7, .type = FIELD_UINT, HOLDER(permits), .name = "permits", .about = "of the semaphore"},
    {.number = 8, .type = FIELD_UINT, HOLDER(count), .name = "count", .about = "how often taken (reentrant)"},
    {.number = 9, .type = FIELD_JSON, HOLDER(meta), .name = "meta", .about = "as given"},
};
static const struct record holder_record = RECORD("lock_holder", holder_view, holder_fields);

struct waiter_view {
    struct slice owner, meta;
    uint64_t position, waited_ms, mode, permits, priority, lease, locks;
};
#define WAITER(member) .offset = offsetof(struct waiter_view, member), .name = #member
static const struct field waiter_fields[] = {
    {.number = 1, .type = FIELD_TEXT, WAITER(owner), .about = "as it said"},
    {.number = 2, .type = FIELD_UINT, WAITER(position), .about = "1 is next"},
    {.number = 3, .type = FIELD_UINT, WAITER(waited_ms), .about = "so far"},
    {.number = 4,
     .type = FIELD_CHOICE,
     WAITER(mode),
     .choices = lock_mode_choices,
     .about = "that it asked for"},
    {.number = 5, .type = FIELD_UINT, WAITER(permits), .about = "that it asked for"},
    {.number = 6, .type = FIELD_UINT, WAITER(priority), .about = "higher goes first"},
    {.number = 7, .type = FIELD_LEASE, WAITER(lease), .about = "that it named"},
    {.number = 8, .type = FIELD_JSON, WAITER(meta), .about = "as given"},
    {.number = 9, .type = FIELD_UINT, WAITER(locks), .about = "how many it waits for at once"},
};
static const struct record waiter_record = RECORD("lock_waiter", waiter_view, waiter_fields);

struct past_view {
    struct slice owner, detail;
    uint64_t token, mode, since_ms, ended_ms, reason;
};
#define PAST(member) .offset = offsetof(struct past_view, member)
static const struct field past_fields[] = {
    {.number = 1, .type = FIELD_TEXT, PAST(owner), .name = "owner", .about = "as it said"},
    {.number = 2, .type = FIELD_UINT, PAST(token), .name = "token", .about = "of its grant"},
    {.number = 3,
     .type = FIELD_CHOICE,
     PAST(mode),
     .name = "mode",
     .choices = lock_mode_choices,
     .about = "in which it held"},
    {.number = 4, .type = FIELD_TIME, PAST(since_ms), .name = "since", .about = "of its grant"},
    {.number = 5, .type = FIELD_TIME, PAST(ended_ms), .name = "ended", .about = "of its end"},
    {.number = 6,
     .type = FIELD_CHOICE,
     PAST(reason),
     .name = "reason",
     .choices = end_reason_choices,
     .about = "why it ended"},
    {.number = 7,
     .type = FIELD_TEXT,
     PAST(detail),
     .name = "detail",
     .flags = FIELD_NULL,
     .about = "what was said of it"},
};
static const struct record past_record = RECORD("lock_past", past_view, past_fields);

struct lock_view {
    struct slice name;
    uint64_t mode, limit, used, token, waiter_count, delayed_ms, revision;
    struct list holders, waiters, history;
    const struct yield_request *yield;
};
#define VIEW(member) .offset = offsetof(struct lock_view, member), .name = #member
static const struct field view_fields[] = {
    {.number = 1, .type = FIELD_NAME, VIEW(name), .about = "of the lock"},
    {.number = 2,
     .type = FIELD_CHOICE,
     VIEW(mode),
     .choices = lock_mode_choices,
     .about = "null: nobody holds it"},
    {.number = 3, .type = FIELD_UINT, VIEW(token), .flags = FIELD_NULL, .about = "the highest one granted"},
    {.number = 4, .type = FIELD_UINT, VIEW(limit), .flags = FIELD_NULL, .about = "of the semaphore in use"},
    {.number = 5, .type = FIELD_UINT, VIEW(used), .about = "permits"},
    {.number = 6, .type = FIELD_LIST, VIEW(holders), .record = &holder_record, .about = "the first 1,000"},
    {.number = 7,
     .type = FIELD_LIST,
     VIEW(waiters),
     .record = &waiter_record,
     .about = "the first 1,000, in order"},
    {.number = 8, .type = FIELD_UINT, VIEW(waiter_count), .about = "all of them"},
    {.number = 9,
     .type = FIELD_LIST,
     VIEW(history),
     .record = &past_record,
     .about = "the last 8 holders, newest first"},
    {.number = 10,
     .type = FIELD_REMAINING,
     VIEW(delayed_ms),
     .flags = FIELD_NULL,
     .about = "of the lock-delay after an expiry"},
    {.number = 11, .type = FIELD_UINT, VIEW(revision), .about = "of its last change"},
    {.number = 12,
     .type = FIELD_RECORD,
     VIEW(yield),
     .record = &lease_yield_record,
     .about = "a request that the holders give it up"},
};
const struct record lock_view_record = RECORD("lock_view", lock_view, view_fields);

enum { SHOWN_MAX = 1000, SCANNED_MAX = 10000 };

static size_t shown(uint64_t count)
{
    return count < SHOWN_MAX ? (size_t)count : SHOWN_MAX;
}

static struct list view_holders(struct lock *lock)
{
    struct list list = {.count = shown(lock->row.holders)};
    struct holder_view *views = arena_alloc(lock->apply->arena, list.count * sizeof *views);
    struct holder_row row = {0};
    for (size_t i = 0; i < list.count; i++) {
        CHECK(lock_next_holder(lock, row.token, &row));
        views[i] = (struct holder_view){row.owner, row.meta, row.token,   row.lease, row.since_ms,
                                        row.lease, row.mode, row.permits, row.count};
    }
    list.items = views;
    return list;
}

static struct list view_waiters(struct lock *lock)
{
    struct list list = {.count = shown(lock->row.waiters)};
    struct waiter_view *views = arena_alloc(lock->apply->arena, list.count * sizeof *views);
    struct lock_request row;
    struct slice place = {0};
    uint64_t now_ms = lock->apply->time_ms;
    for (size_t i = 0; i < list.count; i++) {
        CHECK(lock_next_waiter(lock, &place, &row));
        uint64_t waited_ms = now_ms > row.since_ms ? now_ms - row.since_ms : 0;
        views[i] = (struct waiter_view){row.owner,    row.meta,  i + 1,
                                        waited_ms,    row.mode,  row.permits,
                                        row.priority, row.lease, row.many ? row.many : 1};
    }
    list.items = views;
    return list;
}

static struct list view_history(struct lock *lock)
{
    struct list list = lock_history(lock);
    struct past_view *views = arena_alloc(lock->apply->arena, list.count * sizeof *views);
    const struct lock_past *pasts = list.items;
    for (size_t i = 0; i < list.count; i++)
        views[i] = (struct past_view){pasts[i].owner,    pasts[i].detail,   pasts[i].token, pasts[i].mode,
                                      pasts[i].since_ms, pasts[i].ended_ms, pasts[i].reason};
    list.items = views;
    return list;
}

void lock_get(struct apply *apply, const void *arguments)
{
    const struct lock_token_args *args = arguments;
    struct lock lock;
    lock_load(&lock, apply, args->name);
    struct lock_view *view = arena_alloc(apply->arena, sizeof *view);
    *view = (struct lock_view){.name = args->name,
                               .mode = lock.row.mode,
                               .limit = lock.row.limit,
                               .used = lock.row.used,
                               .token = lock.row.token,
                               .waiter_count = lock.row.waiters,
                               .delayed_ms = lock.row.delay,
                               .revision = lock.row.revision};
    view->holders = view_holders(&lock);
    view->waiters = view_waiters(&lock);
    view->history = view_history(&lock);
    view->yield = lock_yield_of(&lock);
    apply_answer(apply, OUTCOME_OK, &lock_view_record, view);
}

/* --- lists --- */

struct list_args {
    struct slice prefix, cursor;
    uint64_t limit;
    bool held;
};
#define ASKED(member) .offset = offsetof(struct list_args, member), .name = #member
static const struct field list_args_fields[] = {
    {.number = 1, .type = FIELD_TEXT, ASKED(prefix), .max = 255, .about = "of the name"},
    {.number = 2, .type = FIELD_BOOL, ASKED(held), .about = "true: only those somebody holds"},
    {.number = 3,
     .type = FIELD_UINT,
     ASKED(limit),
     .min = 1,
     .max = 1000,
     .initial = 100,
     .about = "at most that many"},
    {.number = 4, .type = FIELD_TEXT, ASKED(cursor), .max = 255, .about = "of the page before"},
};
const struct record lock_list_args_record = RECORD("lock_list_args", list_args, list_args_fields);

struct list_item {
    struct slice name;
    uint64_t mode, token, holders, waiters, revision;
};
#define ITEM(member) .offset = offsetof(struct list_item, member), .name = #member
static const struct field item_fields[] = {
    {.number = 1, .type = FIELD_NAME, ITEM(name), .about = "of the lock"},
    {.number = 2,
     .type = FIELD_CHOICE,
     ITEM(mode),
     .choices = lock_mode_choices,
     .about = "null: nobody holds it"},
    {.number = 3, .type = FIELD_UINT, ITEM(token), .flags = FIELD_NULL, .about = "the highest one granted"},
    {.number = 4, .type = FIELD_UINT, ITEM(holders), .about = "how many hold it"},
    {.number = 5, .type = FIELD_UINT, ITEM(waiters), .about = "how many wait"},
    {.number = 6, .type = FIELD_UINT, ITEM(revision), .about = "of its last change"},
};
static const struct record item_record = RECORD("lock_item", list_item, item_fields);

struct list_result {
    struct list locks;
    struct slice cursor;
    uint64_t revision;
};
#define PAGE(member) .offset = offsetof(struct list_result, member), .name = #member
static const struct field list_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     PAGE(locks),
     .record = &item_record,
     .about = "in the order of their names"},
    {.number = 2,
     .type = FIELD_TEXT,
     PAGE(cursor),
     .flags = FIELD_NULL,
     .about = "for the next page; null at the end"},
    {.number = 3, .type = FIELD_UINT, PAGE(revision), .about = "of the state that was read"},
};
const struct record lock_list_record = RECORD("locks", list_result, list_fields);

void lock_list(struct apply *apply, const void *arguments)
{
    const struct list_args *args = arguments;
    struct list_result *result = arena_alloc(apply->arena, sizeof *result);
    struct list_item *items = arena_alloc(apply->arena, args->limit * sizeof *items);
    struct key from = object_first(KEY_LOCK, args->prefix, args->cursor);
    struct slice name, before = {0};
    size_t scanned = 0;
    result->locks.items = items;
    result->revision = apply->index;
    while (object_next(apply, &from, args->prefix, &name)) {
        struct lock lock;
        lock_load(&lock, apply, name);
        if (result->locks.count == args->limit || scanned++ == SCANNED_MAX) {
            result->cursor = before;
            break;
        }
        before = name;
        if (args->held && !lock.row.holders) continue;
        items[result->locks.count++] = (struct list_item){
            name, lock.row.mode, lock.row.token, lock.row.holders, lock.row.waiters, lock.row.revision};
    }
    apply_answer(apply, OUTCOME_OK, &lock_list_record, result);
}

/* --- what leases say of their holds --- */

struct slice lock_path(struct apply *apply, struct slice what)
{
    struct slice name, rest;
    char kind;
    CHECK(object_parse_what(what, &name, &kind, &rest));
    return arena_printf(apply->arena, "/locks/%.*s", SLICE_ARGS(name));
}

uint64_t lock_waiters(struct apply *apply, struct slice what)
{
    struct slice name, rest;
    struct lock lock;
    char kind;
    CHECK(object_parse_what(what, &name, &kind, &rest));
    lock_load(&lock, apply, name);
    return kind == 'h' ? lock.row.waiters : 0;
}
