/* What watches see of locks. Codes of kinds are for ever. The records are kept for every acquire and release:
 * what a reader can know from the path or the revision is not in them. */
#include "coord/primitive/lock.h"

#include "base/check.h"
#include "coord/event.h"

struct held_event {
    struct slice owner;
    uint64_t token, mode, permits, lease, waited_ms, replaces, count;
};
#define HELD(member) .offset = offsetof(struct held_event, member), .name = #member
static const struct field acquired_fields[] = {
    {.number = 1, .type = FIELD_UINT, HELD(token), .about = "of the grant"},
    {.number = 2, .type = FIELD_TEXT, HELD(owner), .about = "as it said"},
    {.number = 3, .type = FIELD_CHOICE, HELD(mode), .choices = lock_mode_choices, .about = "of the hold"},
    {.number = 4, .type = FIELD_UINT, HELD(permits), .about = "of the semaphore"},
    {.number = 5, .type = FIELD_LEASE, HELD(lease), .about = "on which it hangs"},
    {.number = 6, .type = FIELD_UINT, HELD(waited_ms), .about = "in the queue"},
    {.number = 7,
     .type = FIELD_UINT,
     .flags = FIELD_NULL,
     HELD(replaces),
     .about = "the token of the hold that this one took the place of (an upgrade)"},
};
static const struct record acquired_record = RECORD("lock_acquired", held_event, acquired_fields);

static const struct field changed_fields[] = {
    {.number = 1, .type = FIELD_UINT, HELD(token), .about = "of the grant"},
    {.number = 2, .type = FIELD_TEXT, HELD(owner), .about = "as it said"},
    {.number = 3, .type = FIELD_CHOICE, HELD(mode), .choices = lock_mode_choices, .about = "of the hold"},
    {.number = 4, .type = FIELD_UINT, HELD(permits), .about = "of the semaphore"},
    {.number = 8, .type = FIELD_UINT, HELD(count), .about = "how often it is taken (reentrant)"},
};
static const struct record changed_record = RECORD("lock_changed", held_event, changed_fields);

struct ended_event {
    struct slice owner, detail;
    uint64_t token, lease, held_ms, delay_ms;
};
#define ENDED(member) .offset = offsetof(struct ended_event, member), .name = #member
static const struct field ended_fields[] = {
    {.number = 1, .type = FIELD_UINT, ENDED(token), .about = "of the grant"},
    {.number = 2, .type = FIELD_TEXT, ENDED(owner), .about = "as it said"},
    {.number = 3, .type = FIELD_LEASE, ENDED(lease), .about = "on which it hung"},
    {.number = 4, .type = FIELD_UINT, ENDED(held_ms), .about = "by the cluster's clock"},
    {.number = 5,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     ENDED(detail),
     .about = "what was said of it (broken)"},
    {.number = 6,
     .type = FIELD_UINT,
     ENDED(delay_ms),
     .about = "for that long nobody gets the lock (expired)"},
};
static const struct record ended_record = RECORD("lock_ended", ended_event, ended_fields);

static const struct field nothing_fields[] = {
    {.number = 1, .type = FIELD_UINT, HELD(token), .about = "the highest one granted"},
};
static const struct record nothing_record = RECORD("lock_delay_over", held_event, nothing_fields);

struct yield_event {
    uint64_t token;
    struct slice owner, reason;
};
#define YIELD(member) .offset = offsetof(struct yield_event, member), .name = #member
static const struct field yield_fields[] = {
    {.number = 1, .type = FIELD_UINT, YIELD(token), .about = "the highest one granted"},
    {.number = 2, .type = FIELD_TEXT, YIELD(owner), .about = "who asks"},
    {.number = 3, .type = FIELD_TEXT, YIELD(reason), .flags = FIELD_NULL, .about = "as given"},
};
static const struct record yield_record = RECORD("lock_yield_asked", yield_event, yield_fields);

const struct event_kind lock_events[LOCK_EVENTS] = {
    {LOCK_ACQUIRED, "acquired", &acquired_record, NULL},
    {LOCK_DOWNGRADED, "downgraded", &changed_record, NULL},
    {LOCK_COUNTED, "counted", &changed_record, NULL},
    {LOCK_DELAY_OVER, "delay_over", &nothing_record, NULL},
    {LOCK_YIELD, "yield", &yield_record, NULL},
    {LOCK_ENDED + END_RELEASED, "released", &ended_record, NULL},
    {LOCK_ENDED + END_EXPIRED, "expired", &ended_record, NULL},
    {LOCK_ENDED + END_REVOKED, "revoked", &ended_record, NULL},
    {LOCK_ENDED + END_BROKEN, "broken", &ended_record, NULL},
    {LOCK_ENDED + END_TRANSFERRED, "transferred", &ended_record, NULL},
    {LOCK_ENDED + END_CLIENT_GONE, "client_gone", &ended_record, NULL},
};

static void tell(struct lock *lock, unsigned kind, const void *data)
{
    uint8_t path[EVENT_PATH_MAX];
    static const char head[] = "/locks/";
    CHECK(lock->name.size < sizeof path - sizeof head);
    memcpy(path, head, sizeof head - 1);
    memcpy(path + sizeof head - 1, lock->name.data, lock->name.size);
    event_add(lock->apply, &lock_primitive, (uint8_t)kind, slice_of(path, sizeof head - 1 + lock->name.size),
              data, 0);
}

static struct held_event *held(struct lock *lock, const struct holder_row *holder)
{
    struct held_event *event = arena_alloc(lock->apply->arena, sizeof *event);
    *event = (struct held_event){.owner = holder->owner,
                                 .token = holder->token,
                                 .mode = holder->mode,
                                 .permits = holder->permits,
                                 .lease = holder->lease,
                                 .count = holder->count};
    return event;
}

void lock_tell(struct lock *lock, enum lock_event kind, const struct holder_row *holder)
{
    struct holder_row nobody = {.token = lock->row.token};
    tell(lock, kind, held(lock, holder ? holder : &nobody));
}

void lock_tell_acquired(struct lock *lock, const struct holder_row *holder, uint64_t waited_ms,
                        uint64_t replaces)
{
    struct held_event *event = held(lock, holder);
    event->waited_ms = waited_ms;
    event->replaces = replaces;
    tell(lock, LOCK_ACQUIRED, event);
}

void lock_tell_yield(struct lock *lock)
{
    struct yield_event *event = arena_alloc(lock->apply->arena, sizeof *event);
    *event = (struct yield_event){lock->row.token, lock->row.yield_owner, lock->row.yield_reason};
    tell(lock, LOCK_YIELD, event);
}

void lock_tell_ended(struct lock *lock, const struct holder_row *holder, enum end_reason reason,
                     struct slice detail)
{
    struct ended_event *event = arena_alloc(lock->apply->arena, sizeof *event);
    *event = (struct ended_event){.owner = holder->owner,
                                  .detail = detail,
                                  .token = holder->token,
                                  .lease = holder->lease,
                                  .held_ms = lock->apply->time_ms - holder->since_ms,
                                  .delay_ms = reason == END_EXPIRED ? holder->delay_ms : 0};
    tell(lock, LOCK_ENDED + (unsigned)reason, event);
}
