/* What the files about claims share: queue_claim.c (the operations), queue_share.c (sharing out),
 * queue_claimer.c (claims that wait), queue_worker.c (figures of workers). */
#ifndef COORDD_COORD_PRIMITIVE_QUEUE_CLAIM_H
#define COORDD_COORD_PRIMITIVE_QUEUE_CLAIM_H

#include "coord/primitive/queue.h"

enum {
    QUEUE_WORKER_MAX = 240,      /* a worker's name stands in a key behind an index and a queue's name */
    QUEUE_LEASE_TASKS_MAX = 4096 /* tasks of a queue on one lease */
};

/* An answer to a claim, or to queue.next. */
struct claimed {
    struct list finished; /* struct finished */
    struct slice queue;
    uint64_t token, lease, expires; /* expires: the lease, for FIELD_REMAINING */
    struct list tasks;              /* struct claimed_task */
};

/* queue_worker.c */
extern const struct object_kind queue_workers_kept; /* names: queue 0 worker */

/* What a task that is needed came to. */
struct task_input {
    struct slice id, result;
    uint64_t state;
};

struct claimed_task {
    struct slice id, payload, key, group, progress, origin;
    uint64_t token, attempts, failures, losses, priority, lease, expires;
    uint64_t enqueued_ms, timeout_ms, deadline_ms;
    struct list inputs; /* struct task_input */
};

/* Answers the claim, with no tasks when `count` is 0. */
void claimer_answer(struct queue *queue, const struct claimer *claimer, uint64_t lease,
                    const struct claimed_task *tasks, size_t count);

/* queue_claimer.c */
/* What a claim hangs on leases and waits by: 'c' queue 0 place. */
struct slice claimer_what(struct apply *apply, struct slice queue, uint64_t arrived);
bool claimer_parse_what(struct slice what, struct slice *queue, uint64_t *arrived);
/* Those that wait, in order of arrival. `from` is queue_key_of(KEY_CLAIMER, name) at first. */
bool claimer_next(struct queue *queue, struct key *from, struct claimer *claimer);
void claimer_enqueue(struct queue *queue, const struct claimer *claimer);
void claimer_dequeue(struct queue *queue, const struct claimer *claimer);
/* Its lease or session has ended, and it is about to be told. */
bool claimer_leaves(struct apply *apply, const struct claimer *claimer);

/* queue_share.c */
enum share_end {
    SHARE_DONE,  /* nothing is left that may be handed out, or nobody who waits for it */
    SHARE_RATE,  /* until the queue's rate allows more */
    SHARE_LATER, /* there is more, but not for this entry */
};
/* Shares out among the claims that wait and `claimer`, a new one (NULL: none). *served: it got tasks and is
 * answered. */
enum share_end queue_share(struct queue *queue, const struct claimer *claimer, bool *served);
/* Sees to it that those that wait now are looked at again. */
void queue_share_later(struct queue *queue, enum share_end end);

#endif
