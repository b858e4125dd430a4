/* What the judge knows of each task, from answers and events in the order of the log: never from rows. */
#ifndef COORDD_TESTS_SIM_QUEUE_MODEL_H
#define COORDD_TESTS_SIM_QUEUE_MODEL_H

#include "coord/primitive/queue.h"
#include "tests/sim/sim.h"

enum { MODEL_NAME = 24, MODEL_AFTER = 8 };

struct model_queue {
    struct model_queue *next;
    char name[MODEL_NAME];
    struct queue_config config; /* as shown */
    bool paused;                /* after the entry before */
    bool steady;                /* its limits have been these as long as any of its tasks was alive */
};

struct model_task {
    struct model_task *next; /* all, newest first */
    uint64_t id;
    struct model_queue *queue;
    char group[MODEL_NAME], key[MODEL_NAME];
    uint64_t state, changed_index, changed_ms; /* state 0: forgotten */
    uint64_t last_state;                       /* before it was forgotten */
    bool was_over;                             /* once */
    bool replaced;                             /* its limits may have been lowered behind its attempts */
    uint64_t made_index;
    uint64_t left_index, left_lease; /* its last claim was over then; on what it hung */
    uint64_t left_token, left_state; /* its token; what it became */
    bool shown;                      /* its settings are known */
    uint64_t not_before_ms, deadline_ms, timeout_ms, expires_ms;
    uint64_t after[MODEL_AFTER], after_count, on_dep_fail;
    uint64_t max_attempts, most;       /* most: times it may be handed out, as of the last time; 0: any */
    uint64_t token, lease, claimed_ms; /* of the present claim, or the last */
    uint64_t claims, releases;         /* since it was made or redriven */
    uint64_t cancel_ms;                /* taken away then; 0: not */
    uint64_t asked_index;              /* it was asked to stop then */
    uint64_t ended_index;              /* an answer of that entry says that its claim is over */
    uint64_t told_index;               /* an answer of that entry hands it out */
};

const struct operation *model_operation(const struct command *command); /* within a guard */
struct model_task *model_find(uint64_t id);
struct model_task *model_all(void);
struct model_queue *model_queue(const char *name);
struct model_queue *model_queues(void);
bool model_live(const struct model_task *task);
/* A change that was told: judged by what the task was. */
void model_event(const struct apply *apply, const struct command *command, const struct event *event);
void model_look(struct model_task *task); /* its times, as shown */
void model_refresh_all(void);
void judge_schedule_event(const struct apply *apply, const struct event *event); /* judge_schedule.c */

#endif
