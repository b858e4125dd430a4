/* Task queues (api.md 5, shared/facts/queues.md): what their files share.
 *
 *     queue.c                     the table of operations and the primitive
 *     queue_row.c                 rows: a queue or a task in hand is loaded, changed, saved
 *     queue_state.c               a task enters and leaves a state: indexes, counts, events
 *     queue_lane.c                lanes: order, concurrency and rate of a group or a key
 *     queue_enqueue.c             making tasks; unique keys
 *     queue_after.c               dependencies
 *     queue_claim.c               claims: operations (queue_claim.h: what their files share)
 *     queue_claimer.c             claims that wait
 *     queue_share.c               sharing out
 *     queue_worker.c              figures of workers
 *     queue_finish.c              how claims and tasks end
 *     queue_finish_operations.c   complete, fail, release, extend, progress, cancel
 *     queue_due.c                 timers, pulses, retention
 *     queue_config.c              settings; pause, resume, drain, delete
 *     queue_operator.c            purge, redrive
 *     queue_view.c                what is shown of queues and workers
 *     queue_view_task.c           what is shown of tasks
 *     queue_event.c               what watches see
 *     queue_check.c               the invariants
 *
 * Rows:
 *
 *     KEY_QUEUE         queue                   -> queue_row
 *     KEY_QUEUE_KEPT    (object.h)
 *     KEY_QUEUE_MINUTE  queue 0 minute          -> queue_minute: the last 16 are kept
 *     KEY_TASK_ID       nothing                 -> the highest id of a task, of all queues
 *     KEY_TASK          id                      -> task: all that changes
 *     KEY_TASK_BODY     id                      -> task_body: what does not
 *     KEY_TASK_RESULT   id                      -> result as given (JSON); absent: none
 *     KEY_TASK_STATE    queue 0 state order id  -> nothing; order: index of the entry
 *     KEY_READY         queue 0 rank id         -> nothing: may be handed out, first first
 *     KEY_LANE          queue 0 kind name       -> lane
 *     KEY_LANE_TASK     queue 0 kind name 0 id  -> nothing: waits in the lane, lowest id first
 *     KEY_TASK_KEY      queue 0 key             -> id of the live task that has it for itself
 *     KEY_TASK_AFTER    parent child            -> nothing: it counts in the child's `needs`;
 *                                                  or 1 byte: not any more
 *     KEY_CLAIMER       queue 0 place           -> claimer; place: index of its entry
 *     KEY_WORKER        queue 0 worker          -> worker_row
 *     KEY_WORKER_KEPT   (object.h)
 *
 * Numbers in keys are 8 bytes, a state and a lane's kind one. `what`: of a task in hand (on leases, timers)
 * its id, 8 bytes; of a claimer (on leases, waits) 'c' queue 0 place; of timers and pulses see queue_due.c.
 *
 * Invariants:
 *
 * 1. A task has exactly one KEY_TASK_STATE row, that of its state; these rows are the queue's counts.
 * 2. A ready task stands in exactly one of: its group's lane, its key's lane, KEY_READY. No other does.
 * 3. A claimed task has a token, the index of the entry that handed it out, and hangs on its lease. No other
 *    task has one. A task's token only rises.
 * 4. A lane's `held` are the tasks that have a slot of it (holds_group, holds_key); never more than its
 *    concurrency, unless that was lowered since.
 * 5. A blocked task has `needs` > 0; that many of its KEY_TASK_AFTER rows are empty.
 * 6. A task has at most one timer, at due_ms.
 * 7. While claims wait in a queue, nothing in it may be handed out, unless a pulse is wanted or a timer set.
 */
#ifndef COORDD_COORD_PRIMITIVE_QUEUE_H
#define COORDD_COORD_PRIMITIVE_QUEUE_H

#include "coord/event.h"
#include "coord/primitive/lease.h"
#include "coord/primitive/object.h"

enum {
    QUEUE_CODE = 9,
    QUEUE_KEPT_MAX = 10000,    /* queues without tasks that nobody has set anything for */
    QUEUE_WORKERS_MAX = 10000, /* workers without claims whose figures are kept, of all queues */
    QUEUE_MANY_MAX = 1000,     /* tasks in one enqueue, purge, redrive */
    QUEUE_CLAIM_MAX = 256,     /* tasks in one claim, in one next */
    QUEUE_CLAIMERS_MAX = 10000,
    QUEUE_PRIORITY_MAX = 15,
    QUEUE_PRIORITY_DEFAULT = 8,
    QUEUE_KEY_MAX = 128, /* bytes of a key or a group */
    QUEUE_AFTER_MAX = 1000,
    QUEUE_PAYLOAD_MAX = 1024 * 1024,
    QUEUE_RESULT_MAX = 64 * 1024,
    QUEUE_GRACE_MS = 30 * 1000, /* from the wish to cancel a claimed task to its end, unless given */
    QUEUE_PROGRESS_MAX = 4096,
    QUEUE_ERROR_MAX = 1024,
    QUEUE_ATTEMPTS_KEPT = 8,
    QUEUE_ANSWER_BYTES_MAX = 1024 * 1024, /* payloads and inputs in one answer to a claim */
    QUEUE_WORK_MAX = 256                  /* tasks that a timer or a pulse looks at in one entry */
};
#define QUEUE_DURATION_MAX_MS (366ull * 24 * 3600 * 1000)

enum task_state {
    TASK_SCHEDULED = 1,
    TASK_BLOCKED,
    TASK_READY,
    TASK_CLAIMED,
    TASK_DONE,
    TASK_DEAD,
    TASK_CANCELLED,
    TASK_EXPIRED,
    TASK_STATES = TASK_EXPIRED
};
extern const char *const task_state_choices[];
static inline bool task_is_over(uint64_t state)
{
    return state >= TASK_DONE;
}

enum dead_reason {
    DEAD_FAILURES = 1,
    DEAD_LOSSES,
    DEAD_PERMANENT,
    DEAD_DEADLINE,
    DEAD_DEPENDENCY,
    DEAD_OPERATOR
};
extern const char *const dead_reason_choices[];
enum dedup { DEDUP_LIVE = 1, DEDUP_WAITING, DEDUP_OFF };
extern const char *const dedup_choices[]; /* "live", "waiting", "off" */
enum duplicate { DUPLICATE_EXISTING = 1, DUPLICATE_REJECT, DUPLICATE_REPLACE };
extern const char *const duplicate_choices[];
enum dep_fail { DEP_FAIL_CANCEL = 1, DEP_FAIL_RUN, DEP_FAIL_HOLD };
extern const char *const dep_fail_choices[];
enum group_on_fail { GROUP_BLOCK = 1, GROUP_SKIP };
extern const char *const group_on_fail_choices[];
/* How an attempt ended. */
enum attempt_end {
    ATTEMPT_DONE = 1,
    ATTEMPT_FAILED,
    ATTEMPT_LOST,
    ATTEMPT_TIMEOUT,
    ATTEMPT_RELEASED,
    ATTEMPT_CANCELLED,
    ATTEMPT_DEADLINE
};
extern const char *const attempt_end_choices[];

/* --- a queue --- */

/* Its settings; the fields of PUT. 0 of a limit: none. Rates are tasks per rate_per_ms, in bursts of
 * rate_burst. */
struct queue_config {
    uint64_t lease_ms; /* of a claim that names neither ttl nor lease */
    uint64_t max_attempts, max_losses;
    uint64_t backoff_ms, backoff_max_ms, backoff_factor, backoff_jitter; /* jitter in percent */
    struct slice dead_letter; /* a queue that gets a copy of each dead task; empty: none */
    uint64_t retain_done_ms, retain_cancelled_ms, retain_dead_ms, retain_max; /* cancelled: and expired */
    uint64_t concurrency, group_concurrency, key_concurrency;
    uint64_t rate, group_rate, key_rate, rate_per_ms, rate_burst;
    uint64_t group_on_fail;
    uint64_t dedup;
    uint64_t max_len; /* of scheduled, blocked and ready tasks */
    uint64_t aging_ms;
    uint64_t ttl_ms, timeout_ms; /* of tasks that give none; 0: none */
};
extern const struct record queue_config_record;
extern const struct queue_config queue_config_default;

struct queue_row {
    const struct queue_config *config;  /* NULL: the defaults */
    bool paused, draining, pulse;       /* pulse: one is wanted, to hand out */
    uint64_t counts[TASK_STATES + 1];   /* by state */
    uint64_t claimers;                  /* claims that wait */
    uint64_t created_ms, revision;      /* revision: index of the last change */
    uint64_t rate_us;                   /* GCRA: theoretical arrival time of the next task, us since 1970 */
    uint64_t rate_due_ms, sweep_due_ms; /* timers that are set; 0: none */
    uint64_t deduplicated, enqueued, claimed, done, failed, lost, released, dead; /* ever */
};

/* What happened in a minute. */
struct queue_minute {
    uint64_t minute; /* since 1970 */
    uint64_t enqueued, claimed, done, failed, lost, wait_ms, run_ms, wait_max_ms, run_max_ms;
};

/* A queue in the hands of one entry. No two in hand are the same. */
struct queue {
    struct apply *apply;
    struct slice name;
    struct queue_row row;
    struct queue_config config; /* the row's, or the defaults */
    struct queue_minute minute; /* internal: the present one, when it was asked for */
    bool exists;                /* for clients */
    bool kept;                  /* has a row: one that was deleted keeps an empty one for a while */
    bool changed;               /* and must be saved */
};

/* queue_row.c */
void queue_load(struct queue *queue, struct apply *apply, struct slice name);
/* Counts the change in the minute too; when nothing changed, nothing. */
void queue_save(struct queue *queue);
uint64_t queue_live(const struct queue_row *row);    /* tasks that are not over */
void queue_remove(struct queue *queue);              /* it has no tasks and no claims that wait */
struct queue_minute *queue_now(struct queue *queue); /* to count in; saved with the queue */
/* Forgets the old minutes; when the next is old: 0: none is left. */
uint64_t queue_minutes_forget(struct queue *queue);
void queue_check_kept(struct rows *rows, struct arena *arena, uint64_t count);
bool queue_minute_get(struct apply *apply, struct slice queue, uint64_t minute, struct queue_minute *figures);

/* --- a task --- */

struct attempt {
    uint64_t attempt, token, since_ms, ended_ms, end;
    struct slice worker, error;
};

struct task {
    uint64_t id;
    struct slice queue, key, group;
    uint64_t state, order;          /* order: of its KEY_TASK_STATE row */
    uint64_t priority, rank;        /* rank: of its KEY_READY row, of this stay in the state ready */
    uint64_t stage;                 /* enum task_stage, of a ready task */
    bool holds_group, holds_key;    /* slots */
    bool owns_key;                  /* has a KEY_TASK_KEY row */
    uint64_t enqueued_ms, since_ms; /* since: in this state */
    uint64_t not_before_ms;         /* scheduled: until then */
    uint64_t ttl_ms, expires_ms;    /* expires: set when first ready, ttl later */
    uint64_t deadline_ms, timeout_ms;
    uint64_t due_ms;                   /* its timer; 0: none */
    uint64_t token, lease, claimed_ms; /* of the present claim; token stays as the highest */
    uint64_t cancel_ms;                /* cancel requested: taken away then; 0: not */
    uint64_t attempts, failures, losses, releases;
    uint64_t max_attempts, max_losses;       /* 0: the queue's */
    uint64_t needs, on_dep_fail, dependants; /* dependants: KEY_TASK_AFTER rows with it as parent */
    uint64_t parents;                        /* of its body's `after`, how many KEY_TASK_AFTER rows it has */
    uint64_t dead_reason;
    struct slice worker, progress, error; /* of the present or the last attempt */
    struct slice cancel_reason;
    uint64_t cancel_asked_ms;
    uint64_t dedup;             /* enum dedup */
    uint64_t attempt_waited_ms; /* ready before the present or last claim */
    struct list history;        /* struct attempt, newest first, the last 8 */
};
enum task_stage { STAGE_NONE, STAGE_GROUP, STAGE_KEY, STAGE_READY };

struct task_body {
    struct slice payload; /* JSON */
    struct list after;    /* uint64_t: parents */
    struct slice origin;  /* "mail/17": a dead letter's; "@nightly": a schedule's */
    bool is_letter;       /* a dead letter */
};
extern const struct record task_body_record;

/* queue_row.c */
bool task_get(struct apply *apply, uint64_t id, struct task *task);
void task_put(struct apply *apply, const struct task *task);
void task_body(struct apply *apply, uint64_t id, struct task_body *body);
struct slice task_result(struct apply *apply, uint64_t id); /* in the arena; empty: none */
uint64_t task_new_id(struct apply *apply);
void task_delete(struct apply *apply, uint64_t id);       /* the rows of its own */
struct slice task_what(struct apply *apply, uint64_t id); /* 8 bytes, in the arena */
struct slice task_id_text(struct apply *apply, uint64_t id);
uint64_t task_id_of(struct slice text); /* 0: no id */
struct slice task_path(struct apply *apply, const struct task *task);
struct key queue_key_of(enum key_kind kind, struct slice queue); /* kind queue 0 */
struct key task_state_key(const struct task *task);
struct key task_ready_key(const struct task *task);
/* The first row of that kind and queue after `from` (a key as above or one found); id from its end. */
bool queue_next_id(struct apply *apply, struct slice prefix, struct key *from, uint64_t *id);

/* queue_state.c: every change of a task's state goes through these. They keep the indexes, counts, slots and
 * the timer, store the task and tell the event; they count enqueued, claimed (with its wait), done (with its
 * run) and dead. The caller counts what else happened, and saves the queue. Into READY: nothing else need be
 * set; SCHEDULED: not_before_ms; CLAIMED: token, lease, worker, claimed_ms, attempts; leaving CLAIMED:
 * nothing, the lease is let go of. task_begin gives the id. */
void task_begin(struct queue *queue, struct task *task, const struct task_body *body, enum task_state state);
void task_enter(struct queue *queue, struct task *task, enum task_state state); /* from another state */
/* Stores a task that changed within its state: timer and row. */
void task_store(struct queue *queue, struct task *task);
/* Writes over the body. */
void task_put_body(struct apply *apply, uint64_t id, const struct task_body *body);
void task_put_result(struct apply *apply, uint64_t id, struct slice result); /* nothing when it is empty */
void task_free_key(struct task *task, struct apply *apply);                  /* when it owns one */
/* Takes a task that is over away, with all its rows. */
void task_forget(struct queue *queue, struct task *task);
/* Its row is still needed: by tasks that depend on it, or to let go of its own parents. */
static inline bool task_is_needed(const struct task *task)
{
    return task->dependants || task->parents;
}
/* The same by id; one that is still needed is kept for another while. */
void task_forget_or_keep(struct queue *queue, uint64_t id);
uint64_t task_rank(const struct queue *queue, const struct task *task); /* if it becomes ready now */
uint64_t task_backoff_ms(const struct queue *queue, const struct task *task);

/* Tells of a task. */
enum queue_event {
    QUEUE_TASK_SCHEDULED = 1,
    QUEUE_TASK_BLOCKED,
    QUEUE_TASK_READY,
    QUEUE_TASK_CLAIMED,
    QUEUE_TASK_DONE,
    QUEUE_TASK_DEAD,
    QUEUE_TASK_CANCELLED,
    QUEUE_TASK_EXPIRED, /* = enum task_state */
    QUEUE_TASK_PROGRESS,
    QUEUE_TASK_CANCEL_REQUESTED,
    QUEUE_TASK_FORGOTTEN,
    QUEUE_SET,
    QUEUE_REMOVED, /* of the queue itself */
    QUEUE_EVENTS = QUEUE_REMOVED
};
extern const struct event_kind queue_events[QUEUE_EVENTS];
void task_tell(struct queue *queue, const struct task *task, enum queue_event event);
void queue_tell(struct queue *queue, enum queue_event event); /* QUEUE_SET, QUEUE_REMOVED */

/* --- lanes: queue_lane.c --- */

struct lane {
    uint64_t held, unclaimed, waiting; /* unclaimed: of the held, those not yet handed out */
    uint64_t rate_us, due_ms;
    bool pulse;
};
enum lane_kind { LANE_GROUP = 'g', LANE_KEY = 'k' };
/* A task in state ready goes on to where it belongs: a lane, or KEY_READY. Sets stage, slots; not stored. */
void lane_enter(struct queue *queue, struct task *task);
/* Handed out: the lanes whose slots it has may let another through, when it is a rate that held it. */
void lane_claimed(struct queue *queue, struct task *task);
/* It leaves the state ready while it stands in a lane or in KEY_READY: takes it out of there. */
void lane_leave(struct queue *queue, struct task *task);
/* Gives its slots back; others come through. keep_group: a failing head goes on blocking its group. */
void lane_give_back(struct queue *queue, struct task *task, bool keep_group);
/* Looks again at a lane whose limits or tokens may have changed (timers, pulses, a new config). */
void lane_look(struct queue *queue, enum lane_kind kind, struct slice name);
void queue_look_at_lanes(struct queue *queue, struct slice after);  /* all of them, by pulses */
void lanes_pulse(struct apply *apply, struct slice rest);           /* of WORK_LANES */
void lane_work(struct apply *apply, struct slice rest, bool pulse); /* of WORK_LANE, by pulse or timer */
extern const struct record lane_record;

/* Rates (GCRA): queue_lane.c. May one more pass now? When not, *at_ms is when. */
bool rate_allows(uint64_t rate, const struct queue_config *config, uint64_t rate_us, uint64_t now_ms,
                 uint64_t *at_ms);
uint64_t rate_taken(uint64_t rate, const struct queue_config *config, uint64_t rate_us, uint64_t now_ms);

/* --- making tasks: queue_enqueue.c --- */

/* What a request, a schedule or a dead letter asks for. Zero: the queue's or coordd's default. */
struct task_spec {
    struct slice payload, key, group, origin;
    uint64_t priority;                                                 /* + 1; 0: the default */
    uint64_t delay_ms, not_before_ms, ttl_ms, deadline_ms, timeout_ms; /* deadline: a duration from now */
    uint64_t max_attempts, max_losses, dedup, duplicate, on_dep_fail;
    struct list after; /* struct slice: ids */
    bool is_letter;    /* a dead letter: origin tells whose */
};
struct enqueued {
    struct slice id, queue;
    uint64_t state;
    bool deduplicated;
};
/* Makes the task in the queue in hand. OUTCOME_CREATED, OUTCOME_OK (deduplicated), or why not: then *detail
 * says it. The caller hands out and saves. */
enum outcome queue_add(struct queue *queue, const struct task_spec *spec, struct enqueued *made,
                       struct slice *detail);
/* The same by the queue's name: loads, hands out, saves. For schedules and dead letters. */
enum outcome queue_enqueue(struct apply *apply, struct slice name, const struct task_spec *spec,
                           struct enqueued *made, struct slice *detail);
/* queue_after.c */
static inline bool task_has_failed(uint64_t state)
{
    return task_is_over(state) && state != TASK_DONE;
}
/* The child, which has its id and is not stored yet, needs a task that is known; once. When that one has
 * failed already, it counts in `needs` unless the child runs nevertheless. */
void after_add(struct apply *apply, struct task *child, uint64_t parent, uint64_t *state);
/* Why a task is cancelled that needs one in that state. */
struct slice after_reason(struct apply *apply, uint64_t parent, uint64_t state);
/* A task is over: those that need it are told, by pulses. */
void dependants_tell(struct queue *queue, const struct task *task);
void dependants_pulse(struct apply *apply, struct slice rest); /* of WORK_DEPENDANTS: goes on with it */
/* It is over: its parents may be forgotten. Stores the task when that is done at once. */
void parents_let_go(struct apply *apply, struct task *task);
void parents_pulse(struct apply *apply, struct slice rest); /* of WORK_PARENTS: child, position of the next */

/* --- claims: queue_claim.c --- */

struct claim_ask {
    struct slice worker;
    uint64_t max, wait_ms, ttl_ms, lease;
};
extern const struct record claim_ask_record; /* as a nested argument of queue.next */
struct claimer {
    struct slice worker;
    uint64_t max, ttl_ms, lease;
    uint64_t arrived, since_ms; /* arrived: index of its entry, its place */
    uint64_t answer_index, origin;
    struct list finished; /* struct finished: what queue.next did before it waited */
    bool next;            /* answered in the shape of queue.next */
};
struct worker_row {
    uint64_t claimed, attempts, done, failed, lost, released, run_ms, last_ms;
};
void worker_load(struct apply *apply, struct slice queue, struct slice worker, struct worker_row *row);
void worker_save(struct apply *apply, struct slice queue, struct slice worker, const struct worker_row *row);

/* Answers the request being applied with tasks, or lets it wait. `finished`: of queue.next; NULL: a plain
 * claim. */
void queue_take(struct queue *queue, const struct claim_ask *ask, const struct list *finished);
/* Gives what may be handed out to the claims that wait. Call it last before queue_save, whenever something
 * may have become ready. */
void queue_hand_out(struct queue *queue);
void queue_claimers_end(struct queue *queue, enum outcome outcome); /* all that wait are answered so */
/* From queue_lease_ended: `what` begins with 'c', a claim that waits on that lease or session. */
void claimer_lease_ended(struct apply *apply, struct slice what, enum end_reason reason);

/* --- the end of claims: queue_finish.c --- */

struct finished { /* of queue.next: one that was to be finished */
    struct slice id;
    struct slice code; /* "done", "claim_lost", ...: the outcome's */
    uint64_t state;
};
extern const struct record finished_record;
/* The task of that id in that queue whose claim has that token. False: *refused says why
 * (OUTCOME_TASK_NOT_FOUND, OUTCOME_CLAIM_LOST; OUTCOME_OK: it was completed with that token already). */
bool claim_of(struct queue *queue, struct slice id, uint64_t token, struct task *task, enum outcome *refused);
void task_complete(struct queue *queue, struct task *task, struct slice result);
struct failing {
    struct slice error;
    bool permanent;
    uint64_t retry_after_ms; /* 0: by backoff */
};
void task_fail(struct queue *queue, struct task *task, const struct failing *failing);
void task_lose(struct queue *queue, struct task *task,
               enum attempt_end how); /* ATTEMPT_LOST or ATTEMPT_TIMEOUT */
void task_release(struct queue *queue, struct task *task, uint64_t delay_ms);
void task_cancel(struct queue *queue, struct task *task, struct slice reason);
void task_die(struct queue *queue, struct task *task, enum dead_reason reason);
/* Ends it as cancelled at once (its attempt too), or asks its worker to stop within the grace. */
void task_ask_to_cancel(struct queue *queue, struct task *task, struct slice reason, uint64_t grace_ms);
/* For schedules: the state of a task, 0 when it is not known (any more); cancels one that is not over, a
 * claimed one with the usual grace. */
enum task_state queue_task_state(struct apply *apply, uint64_t id);
void queue_cancel_task(struct apply *apply, uint64_t id, struct slice reason);

/* --- hooks of the primitive --- */
void queue_lease_ended(struct apply *apply, uint64_t lease, struct slice what, enum end_reason reason);
void queue_wait_ended(struct apply *apply, uint64_t index, struct slice what, enum end_reason reason);
struct slice queue_what_path(struct apply *apply, struct slice what);
const struct yield_request *queue_yield(struct apply *apply, struct slice what);
void queue_pulse(struct apply *apply, struct slice what);
void queue_due(struct apply *apply, uint64_t at_ms, struct slice what);
void queue_check(struct rows *rows, struct arena *arena);

/* Timers and pulses of the queue's own (queue_due.c): a letter and a rest. */
enum queue_work {
    WORK_TASK = 't',       /* timer: id */
    WORK_SWEEP = 's',      /* timer: queue. What is over long enough is forgotten */
    WORK_RATE = 'r',       /* timer: queue. Its rate allows more */
    WORK_LANE = 'l',       /* timer and pulse: queue 0 kind name */
    WORK_LANES = 'L',      /* pulse: queue 0 [kind name]: all lanes after that one */
    WORK_HAND_OUT = 'h',   /* pulse: queue */
    WORK_DEPENDANTS = 'd', /* pulse: parent, state (1 byte), child after which to go on */
    WORK_PARENTS = 'p'     /* pulse: child, position among its parents at which to go on */
};
struct slice queue_work_what(struct apply *apply, enum queue_work work, struct slice rest);
void queue_want_sweep(struct queue *queue); /* a task has entered a state that is over */
/* Sets the task's timer to the next of its times; clears the one before. */
void task_set_timer(struct queue *queue, struct task *task);

/* --- the operations: arguments, results and apply functions, for the table in queue.c --- */

extern const struct record queue_name_record; /* struct queue_name_args: {queue} */
struct queue_name_args {
    struct slice queue;
};
extern const struct record queue_task_args_record; /* struct queue_task_args: {queue, id} */
struct queue_task_args {
    struct slice queue, id;
};
/* Refusals; an operation has one shape of them. queue_refused (queue_enqueue.c): {queue, paused, draining,
 * len, max_len, id, state}, the last two of the live task that has the key. claim_refused (queue_finish.c):
 * {queue, id, state, attempt, worker, since}. */
extern const struct record queue_refused_record, claim_refused_record;
void queue_refuse(struct queue *queue, enum outcome outcome, struct slice detail);
void claim_refuse(struct queue *queue, struct slice id,
                  enum outcome outcome); /* CLAIM_LOST, TASK_NOT_FOUND ... */

/* queue_enqueue.c */
extern const struct record queue_enqueue_record, queue_enqueued_record, queue_enqueue_many_record,
    queue_enqueued_many_record;
void queue_enqueue_one(struct apply *apply, const void *args);
void queue_enqueue_many(struct apply *apply, const void *args); /* all or none */
/* queue_claim.c */
extern const struct record queue_claim_record, queue_claimed_record, queue_next_record,
    queue_next_result_record, queue_unclaim_record;
void queue_claim(struct apply *apply, const void *args);
void queue_next(struct apply *apply, const void *args);
void queue_unclaim(struct apply *apply,
                   const void *args); /* {queue, token, lease}: gives back what that claim got */
/* queue_finish.c */
extern const struct record queue_complete_record, queue_fail_record, queue_release_record,
    queue_progress_record, queue_extend_record, queue_extended_record, queue_cancel_record,
    queue_told_record; /* told: {id, queue, state,
attempts, failures, losses, releases, not_before, cancel_requested} */
void queue_complete(struct apply *apply, const void *args);
void queue_fail(struct apply *apply, const void *args);
void queue_release(struct apply *apply, const void *args);
void queue_progress(struct apply *apply, const void *args);
void queue_extends(struct apply *apply, const void *args); /* RENEWAL of the claim's lease */
void queue_extended(struct apply *apply, const void *args, const struct renewal *renewals, size_t count);
void queue_cancel(struct apply *apply, const void *args);
/* queue_config.c, queue_operator.c */
extern const struct record queue_put_record, queue_delete_record, queue_deleted_record, queue_purge_record,
    queue_purged_record, queue_redrive_record, queue_redriven_record;
void queue_put(struct apply *apply, const void *args);
void queue_delete(struct apply *apply, const void *args);
void queue_pause(struct apply *apply, const void *args);
void queue_resume(struct apply *apply, const void *args);
void queue_drain(struct apply *apply, const void *args);
void queue_purge(struct apply *apply, const void *args);
void queue_redrive(struct apply *apply, const void *args);
/* queue_view.c, queue_view_task.c */
extern const struct record queue_view_record, queue_list_args_record, queue_list_record, task_get_record,
    task_view_record, task_list_args_record, task_list_record, worker_list_args_record, worker_list_record;
const void *queue_shown(struct queue *queue); /* a struct of queue_view_record; the queue is saved */
void queue_get(struct apply *apply, const void *args);
void queue_list(struct apply *apply, const void *args);
void queue_get_task(struct apply *apply,
                    const void *args); /* with `wait`: OUTCOME_UNCHANGED until it is over */
void queue_watch_task(struct arena *arena, const void *args, struct watch_request *request);
void queue_list_tasks(struct apply *apply, const void *args);
void queue_list_workers(struct apply *apply, const void *args);
void queue_event_read(struct rows *rows, struct arena *arena, struct event *event);

/* The tasks of a queue, by state and then by when they entered it. They may be changed meanwhile. */
struct task_scan {
    struct apply *apply;
    struct key prefix, from;
    uint64_t looked;
};
/* state 0: all. The cursor goes on behind a task; false: it is none. */
bool task_scan_begin(struct task_scan *scan, struct apply *apply, struct slice queue, uint64_t state,
                     struct slice cursor);
bool task_scan_next(struct task_scan *scan, struct task *task);
struct slice task_cursor(struct apply *apply, const struct task *task);

extern const struct primitive queue_primitive;

#endif
