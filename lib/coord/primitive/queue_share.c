/* Sharing out: what may be handed out goes, task by task, to the claim whose worker has the fewest in flight
 * in this queue, and among those to the one that waits longest.
 *
 * Those that wait are looked at in order of arrival, SHARED_AMONG at a time; the next ones come up when all
 * of these are full. An entry does a bounded piece of it; the rest goes by pulse. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/queue_claim.h"

enum {
    SHARED_AMONG = 64,
    LEAVING_MAX = 256, /* claims about to leave that one entry looks at */
    PASSED_MAX = 256,  /* tasks given back in this entry that it looks at */
    TASKS_MAX = 1000,
    LEASES_MAX = 1000, /* that one entry starts for claims that waited */
    BYTES_MAX = 8 * 1024 * 1024,
    TASK_BYTES = 256, /* of an answer, beside the texts in it */
    INPUT_BYTES = 64
};

struct worker {
    struct slice name;
    struct worker_row row;
    bool changed;
};

/* A claim and what it has got so far. */
struct share {
    struct claimer claimer;
    struct worker *worker; /* NULL: it has no name */
    bool is_new;           /* of this entry: it has no row */
    bool full;
    uint64_t lease, bytes;
    struct claimed_task *tasks;
    size_t count, room;
};

struct sharing {
    struct queue *queue;
    const struct claimer *claimer; /* the new one, until it is among the shares */
    struct share shares[SHARED_AMONG];
    struct worker workers[SHARED_AMONG];
    size_t share_count, worker_count;
    struct key next; /* where the next claims are */
    size_t leaving;
    bool all;    /* there are no more claims */
    bool served; /* the new one got tasks */
};

/* A task that may be handed out, as an answer shows it. */
struct offer {
    struct task task;
    struct claimed_task shown;
    size_t bytes;
};

/* --- who --- */

static struct worker *worker_of(struct sharing *sharing, struct slice name)
{
    if (!name.size) return NULL;
    for (size_t i = 0; i < sharing->worker_count; i++)
        if (slice_equal(sharing->workers[i].name, name)) return &sharing->workers[i];
    struct worker *worker = &sharing->workers[sharing->worker_count++];
    worker->name = name;
    worker->changed = false;
    worker_load(sharing->queue->apply, sharing->queue->name, name, &worker->row);
    return worker;
}

static void add_share(struct sharing *sharing, const struct claimer *claimer, bool is_new)
{
    sharing->shares[sharing->share_count++] =
        (struct share){.claimer = *claimer, .worker = worker_of(sharing, claimer->worker), .is_new = is_new};
}

/* The next of those to share among, the new claim last; false: that is all for now. */
static bool gather_one(struct sharing *sharing)
{
    struct queue *queue = sharing->queue;
    struct claimer claimer;
    if (sharing->share_count == SHARED_AMONG) return false;
    while (!sharing->all && sharing->leaving < LEAVING_MAX) {
        if (!queue->row.claimers || !claimer_next(queue, &sharing->next, &claimer)) {
            sharing->all = true;
        } else if (claimer_leaves(queue->apply, &claimer)) {
            sharing->leaving++;
        } else {
            add_share(sharing, &claimer, false);
            return true;
        }
    }
    if (!sharing->claimer) return false;
    add_share(sharing, sharing->claimer, true);
    sharing->claimer = NULL;
    return true;
}

static bool has_room(const struct share *share)
{
    return !share->full && share->count < share->claimer.max;
}

static bool anybody_has_room(const struct sharing *sharing)
{
    for (size_t i = 0; i < sharing->share_count; i++)
        if (has_room(&sharing->shares[i])) return true;
    return false;
}

static uint64_t in_flight(const struct share *share)
{
    return share->worker ? share->worker->row.claimed : share->count;
}

static struct share *first_among_gathered(struct sharing *sharing, const struct offer *offer)
{
    struct share *first = NULL;
    for (size_t i = 0; i < sharing->share_count; i++) {
        struct share *share = &sharing->shares[i];
        if (share->count && share->bytes + offer->bytes > QUEUE_ANSWER_BYTES_MAX) share->full = true;
        if (has_room(share) && (!first || in_flight(share) < in_flight(first))) first = share;
    }
    return first;
}

/* Whose it is; NULL: all are full. One that has no room for this task gets none after it either. Who has
 * nothing in flight is before all that arrived later, so these need not be read. */
static struct share *choose(struct sharing *sharing, const struct offer *offer)
{
    for (;;) {
        struct share *first = first_among_gathered(sharing, offer);
        if ((first && !in_flight(first)) || !gather_one(sharing)) return first;
    }
}

/* --- what --- */

/* Results that do not fit are left out, for the worker to read them itself. */
static struct list inputs_of(struct apply *apply, struct list after, size_t *bytes)
{
    struct task_input *inputs = arena_alloc(apply->arena, after.count * sizeof *inputs);
    const uint64_t *parents = after.items;
    bool fits = true;
    *bytes += after.count * INPUT_BYTES;
    for (size_t i = 0; i < after.count; i++) {
        inputs[i].id = task_id_text(apply, parents[i]);
        inputs[i].state = queue_task_state(apply, parents[i]);
        struct slice result = {0};
        if (fits && inputs[i].state == TASK_DONE) result = task_result(apply, parents[i]);
        fits = fits && *bytes + result.size <= QUEUE_ANSWER_BYTES_MAX;
        if (!fits) continue;
        inputs[i].result = result;
        *bytes += result.size;
    }
    return (struct list){inputs, after.count};
}

static void show(struct apply *apply, struct offer *offer)
{
    const struct task *task = &offer->task;
    struct task_body body;
    task_body(apply, task->id, &body);
    offer->bytes = body.payload.size + body.origin.size + task->progress.size + task->key.size +
                   task->group.size + TASK_BYTES;
    offer->shown = (struct claimed_task){.id = task_id_text(apply, task->id),
                                         .payload = body.payload,
                                         .key = task->key,
                                         .group = task->group,
                                         .progress = task->progress,
                                         .origin = body.origin,
                                         .failures = task->failures,
                                         .losses = task->losses,
                                         .priority = task->priority,
                                         .enqueued_ms = task->enqueued_ms,
                                         .timeout_ms = task->timeout_ms,
                                         .deadline_ms = task->deadline_ms};
    if (body.after.count) offer->shown.inputs = inputs_of(apply, body.after, &offer->bytes);
}

/* The first that may be handed out. A task is handed out once an entry, since that is its token: one that was
 * given back in this very entry is passed over. */
static bool next_offer(struct queue *queue, struct offer *offer, size_t *passed)
{
    struct apply *apply = queue->apply;
    struct key prefix = queue_key_of(KEY_READY, queue->name), from = prefix;
    uint64_t id;
    for (*passed = 0; *passed < PASSED_MAX; ++*passed) {
        if (!queue_next_id(apply, key_slice(&prefix), &from, &id)) return false;
        CHECK(task_get(apply, id, &offer->task) && offer->task.state == TASK_READY);
        if (offer->task.token == apply->index) continue;
        show(apply, offer);
        return true;
    }
    return false;
}

static bool may_hand_out(const struct queue *queue, uint64_t *at_ms)
{
    const struct queue_config *config = &queue->config;
    *at_ms = 0;
    if (queue->row.paused && !MUTANT(87)) return false;
    if (config->concurrency && queue->row.counts[TASK_CLAIMED] >= config->concurrency) return false;
    return rate_allows(config->rate, config, queue->row.rate_us, queue->apply->time_ms, at_ms);
}

/* --- giving --- */

static void count(struct queue *queue, struct share *share)
{
    queue->row.rate_us =
        rate_taken(queue->config.rate, &queue->config, queue->row.rate_us, queue->apply->time_ms);
    if (!share->worker) return;
    share->worker->row.claimed++;
    share->worker->row.attempts++;
    share->worker->row.last_ms = queue->apply->time_ms;
    share->worker->changed = true;
}

static uint64_t lease_of(struct queue *queue, struct share *share)
{
    const struct claimer *claimer = &share->claimer;
    if (!share->lease && claimer->lease) share->lease = claimer->lease;
    if (!share->lease)
        share->lease =
            lease_start(queue->apply, LEASE_OWN, claimer->ttl_ms ? claimer->ttl_ms : queue->config.lease_ms,
                        claimer->worker, slice_of(NULL, 0));
    return share->lease;
}

static void add_task(struct apply *apply, struct share *share, const struct claimed_task *shown)
{
    if (share->count == share->room) {
        share->room = share->room ? share->room * 2 : 1;
        struct claimed_task *tasks = arena_alloc(apply->arena, share->room * sizeof *tasks);
        if (share->count) memcpy(tasks, share->tasks, share->count * sizeof *tasks);
        share->tasks = tasks;
    }
    share->tasks[share->count++] = *shown;
}

static void give(struct sharing *sharing, struct share *share, struct offer *offer)
{
    struct queue *queue = sharing->queue;
    struct apply *apply = queue->apply;
    struct task *task = &offer->task;
    task->lease = lease_of(queue, share);
    task->token = apply->index;
    task->worker = share->claimer.worker;
    task->claimed_ms = apply->time_ms;
    task->cancel_ms = task->cancel_asked_ms = 0;
    task->attempts++;
    lease_attach(apply, task->lease, QUEUE_CODE, task_what(apply, task->id));
    task_enter(queue, task, TASK_CLAIMED);
    count(queue, share);
    offer->shown.token = task->token;
    offer->shown.lease = offer->shown.expires = task->lease;
    offer->shown.attempts = task->attempts;
    add_task(apply, share, &offer->shown);
    share->bytes += offer->bytes;
    if (share->is_new) return;
    apply->bytes_shared += offer->bytes;
    apply->tasks_shared++;
}

/* An entry may share out many times: a lease ends, with many tasks, and each makes room for another. */
static bool has_done_enough(const struct apply *apply)
{
    return apply->tasks_shared >= TASKS_MAX || apply->bytes_shared >= BYTES_MAX;
}

/* The bound is on what others get by the way: a claim that does not wait gets its lease. */
static bool starts_too_many(const struct sharing *sharing, const struct share *share)
{
    return !share->lease && !share->claimer.lease && !share->is_new &&
           sharing->queue->apply->lease_count >= LEASES_MAX;
}

/* Among at most SHARED_AMONG. *full: all of them are. */
static enum share_end share_round(struct sharing *sharing, bool *full)
{
    struct queue *queue = sharing->queue;
    struct offer offer;
    uint64_t at_ms;
    size_t passed;
    sharing->share_count = sharing->worker_count = 0;
    for (*full = false;;) {
        if (!may_hand_out(queue, &at_ms)) return at_ms ? SHARE_RATE : SHARE_DONE;
        *full = !anybody_has_room(sharing) && !gather_one(sharing);
        if (*full) return SHARE_DONE;
        if (!next_offer(queue, &offer, &passed)) return passed ? SHARE_LATER : SHARE_DONE;
        if (has_done_enough(queue->apply)) return SHARE_LATER;
        struct share *share = choose(sharing, &offer);
        if (!share) continue;
        if (starts_too_many(sharing, share)) return SHARE_LATER;
        give(sharing, share, &offer);
    }
}

/* The answer comes before the row goes: the claim may be all that hung on its lease. */
static void answer(struct sharing *sharing)
{
    struct queue *queue = sharing->queue;
    for (size_t i = 0; i < sharing->share_count; i++) {
        const struct share *share = &sharing->shares[i];
        if (!share->count) continue;
        claimer_answer(queue, &share->claimer, share->lease, share->tasks, share->count);
        if (share->is_new)
            sharing->served = true;
        else
            claimer_dequeue(queue, &share->claimer);
    }
    for (size_t i = 0; i < sharing->worker_count; i++) {
        const struct worker *worker = &sharing->workers[i];
        if (worker->changed) worker_save(queue->apply, queue->name, worker->name, &worker->row);
    }
}

enum share_end queue_share(struct queue *queue, const struct claimer *claimer, bool *served)
{
    struct sharing sharing;
    enum share_end end;
    bool full;
    sharing.queue = queue;
    sharing.claimer = claimer;
    sharing.next = queue_key_of(KEY_CLAIMER, queue->name);
    sharing.leaving = 0;
    sharing.all = sharing.served = false;
    do {
        end = share_round(&sharing, &full);
        answer(&sharing);
    } while (full && !sharing.all && sharing.leaving < LEAVING_MAX);
    *served = sharing.served;
    return full && !sharing.all ? SHARE_LATER : end;
}

void queue_share_later(struct queue *queue, enum share_end end)
{
    struct apply *apply = queue->apply;
    uint64_t at_ms;
    if (!queue->row.claimers) return;
    if (end == SHARE_RATE && !queue->row.rate_due_ms && !may_hand_out(queue, &at_ms)) {
        queue->row.rate_due_ms = at_ms;
        queue->changed = true;
        due_set(apply, at_ms, QUEUE_CODE, queue_work_what(apply, WORK_RATE, queue->name));
    }
    if (end == SHARE_LATER && !queue->row.pulse) {
        queue->row.pulse = queue->changed = true;
        pulse_want(apply, QUEUE_CODE, queue_work_what(apply, WORK_HAND_OUT, queue->name));
    }
}

void queue_hand_out(struct queue *queue)
{
    bool served;
    if (queue->row.claimers) queue_share_later(queue, queue_share(queue, NULL, &served));
}
