/* What the tests of the end of claims share: a task, its attempts, and the figures of its worker. */
#ifndef COORDD_TESTS_UNIT_QUEUE_FINISH_TEST_H
#define COORDD_TESTS_UNIT_QUEUE_FINISH_TEST_H

#include "tests/unit/queue_world.h"

#define Q "'queue':'q'"

static inline uint64_t enqueue_and_claim(struct coord_world *world, const char *more)
{
    assert_int_equal(DO("queue.enqueue", "{" Q "%s}", more), OUTCOME_CREATED);
    return claim(world);
}

static inline enum outcome finish(struct coord_world *world, const char *how, uint64_t id, uint64_t token,
                                  const char *more)
{
    return DO(how, "{" Q ",'id':'%llu','token':%llu%s}", (unsigned long long)id, (unsigned long long)token,
              more);
}

static inline const struct attempt *attempt_of(const struct task *task, size_t position)
{
    assert_true(position < task->history.count);
    return (const struct attempt *)task->history.items + position;
}

static inline struct worker_row worker_of(struct coord_world *world)
{
    struct apply apply;
    struct worker_row row;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    worker_load(&apply, SLICE("q"), SLICE("w"), &row);
    return row;
}

static inline void lose(struct coord_world *world, uint64_t id)
{
    assert_int_equal(DO("lease.revoke", "{'id':'L%llx'}", (unsigned long long)task_of(world, id).lease),
                     OUTCOME_NOTHING);
}

#endif
