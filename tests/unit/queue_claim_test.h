/* What the tests of claims share: commands on the queue "q" of a world, and a look at its rows. */
#ifndef COORDD_TESTS_UNIT_QUEUE_CLAIM_TEST_H
#define COORDD_TESTS_UNIT_QUEUE_CLAIM_TEST_H

#include "coord/primitive/queue_claim.h"
#include "tests/unit/coord_world.h"
#include "tests/unit/cmocka_all.h"

#include <stdarg.h>
#include <stdio.h>

#define SAYS(part) assert_true(coord_world_says(world, part))
#define SAYS_NOT(part) assert_false(coord_world_says(world, part))

#define CLAIM_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static inline int set_up(void **state)
{
    *state = coord_world_new();
    return 0;
}

static inline int tear_down(void **state)
{
    coord_world_free(*state);
    return 0;
}

/* The operation "queue.NAME" with that JSON. */
__attribute__((format(printf, 3, 4))) static inline enum outcome
queue_do(struct coord_world *world, const char *name, const char *json, ...)
{
    char full[64], text[4096];
    va_list arguments;
    va_start(arguments, json);
    int size = vsnprintf(text, sizeof text, json, arguments);
    va_end(arguments);
    CHECK(size >= 0 && (size_t)size < sizeof text);
    snprintf(full, sizeof full, "queue.%s", name);
    return coord_world_do(world, full, text);
}

/* Enqueues a task with those more members (", \"priority\": 1", or ""); its id. */
static inline uint64_t enqueue(struct coord_world *world, const char *more)
{
    struct key key = key_of(KEY_TASK_ID);
    assert_int_equal(queue_do(world, "enqueue", "{\"queue\":\"q\",\"payload\":1%s}", more), OUTCOME_CREATED);
    return rows_number(world->rows, key_slice(&key));
}

/* Claims as that worker, with those more members. The outcome; 0: it waits. */
static inline enum outcome claim(struct coord_world *world, const char *worker, const char *more)
{
    return queue_do(world, "claim", "{\"queue\":\"q\",\"worker\":\"%s\"%s}", worker, more);
}

/* A claim that must wait; its place. */
static inline uint64_t wait_for(struct coord_world *world, const char *worker, const char *more)
{
    char text[512];
    snprintf(text, sizeof text, ",\"wait\":\"1m\"%s", more);
    assert_int_equal(claim(world, worker, text), 0);
    return world->index;
}

static inline void look(struct coord_world *world, struct apply *apply)
{
    apply_begin(apply, world->rows, &world->arena, world->index, 1, world->time_ms);
}

static inline struct task task_now(struct coord_world *world, uint64_t id)
{
    struct apply apply;
    struct task task;
    look(world, &apply);
    assert_true(task_get(&apply, id, &task));
    return task;
}

static inline bool is_claimed_by(struct coord_world *world, uint64_t id, const char *worker)
{
    struct task task = task_now(world, id);
    return task.state == TASK_CLAIMED && slice_is(task.worker, worker);
}

static inline struct worker_row figures(struct coord_world *world, const char *worker)
{
    struct apply apply;
    struct worker_row row;
    look(world, &apply);
    worker_load(&apply, SLICE("q"), slice_text(worker), &row);
    return row;
}

static inline struct queue_row queue_now_is(struct coord_world *world)
{
    struct apply apply;
    struct queue queue;
    look(world, &apply);
    queue_load(&queue, &apply, SLICE("q"));
    return queue.row;
}

/* A lease of a client's own. */
static inline uint64_t new_lease(struct coord_world *world)
{
    assert_int_equal(coord_world_do(world, "lease.create", "{\"ttl\":\"30s\"}"), OUTCOME_CREATED);
    return world->index << LEASE_ENTRY_BITS;
}

static inline void end_lease(struct coord_world *world, uint64_t lease)
{
    char text[64];
    snprintf(text, sizeof text, "{\"id\":\"L%llx\"}", (unsigned long long)lease);
    assert_int_equal(coord_world_do(world, "lease.revoke", text), OUTCOME_NOTHING);
}

static inline void cancel_wait(struct coord_world *world, uint64_t index, const char *reason)
{
    char text[64];
    snprintf(text, sizeof text, "{\"index\":%llu,\"reason\":\"%s\"}", (unsigned long long)index, reason);
    assert_int_equal(coord_world_do(world, "wait.cancel", text), OUTCOME_OK);
}

/* Also a queue that nobody has used yet. */
static inline void pause_queue(struct coord_world *world)
{
    assert_true(queue_do(world, "put", "{\"queue\":\"q\"}") < OUTCOME_LOCK_HELD);
    assert_true(queue_do(world, "pause", "{\"queue\":\"q\"}") < OUTCOME_LOCK_HELD);
}

static inline void pulse(struct coord_world *world)
{
    assert_true(coord_wants_pulse(world->rows));
    coord_world_do(world, "pulse", "{}");
}

#endif
