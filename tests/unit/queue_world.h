/* Queues in a coord_world: commands in short, time that passes, and tasks as their rows say. */
#ifndef COORDD_TESTS_UNIT_QUEUE_WORLD_H
#define COORDD_TESTS_UNIT_QUEUE_WORLD_H

#include "coord/primitive/queue.h"
#include "tests/unit/coord_world.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>

#define DO(name, ...) coord_world_do(world, name, json_of(__VA_ARGS__))
#define SAYS(part) assert_true(coord_world_says(world, part))

/* A JSON text in which ' stands for ". */
static inline const char *json_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline const char *json_of(const char *format, ...)
{
    static char text[1 << 17];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    CHECK(size >= 0 && (size_t)size < sizeof text);
    for (char *c = text; *c; c++)
        if (*c == '\'') *c = '"';
    return text;
}

static inline int queue_world_begin(void **state)
{
    *state = coord_world_new();
    return 0;
}

static inline int queue_world_end(void **state)
{
    coord_world_free(*state);
    return 0;
}

/* Does what pulses and timers want now. */
static inline void settle(struct coord_world *world)
{
    for (int i = 0; i < 10000; i++) {
        if (coord_wants_pulse(world->rows))
            DO("pulse", "{}");
        else if (coord_due_ms(world->rows) <= world->time_ms)
            DO("due", "{}");
        else
            return;
    }
    fail_msg("pulses or timers without end");
}

static inline void pass(struct coord_world *world, uint64_t ms)
{
    uint64_t end_ms = world->time_ms + ms;
    settle(world);
    while (coord_due_ms(world->rows) <= end_ms) {
        world->time_ms = coord_due_ms(world->rows);
        settle(world);
    }
    world->time_ms = end_ms;
}

/* As its row says; what it points to lives until the next command. */
static inline struct task task_of(struct coord_world *world, uint64_t id)
{
    struct apply apply;
    struct task task = {.id = 0};
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    if (!task_get(&apply, id, &task)) task.state = 0;
    return task;
}

static inline void assert_state(struct coord_world *world, uint64_t id, enum task_state state)
{
    assert_int_equal(task_of(world, id).state, state);
}

static inline struct queue queue_of(struct coord_world *world, const char *name)
{
    struct apply apply;
    struct queue queue;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    queue_load(&queue, &apply, slice_text(name));
    queue.apply = NULL;
    return queue;
}

/* The next task of queue "q", claimed: its token, 0 when there is none. */
static inline uint64_t claim(struct coord_world *world)
{
    assert_int_equal(DO("queue.claim", "{'queue':'q','worker':'w'}"), OUTCOME_OK);
    return coord_world_says(world, "\"tasks\":[]") ? 0 : world->index;
}

/* At most 1,000 tasks, all alike, in queue "q". */
static inline void enqueue_alike(struct coord_world *world, size_t count, const char *each)
{
    struct buffer json = {0};
    for (size_t i = 0; i < count; i++) buffer_printf(&json, "%s{%s}", i ? "," : "", each);
    buffer_add_byte(&json, 0);
    assert_int_equal(DO("queue.enqueue_many", "{'queue':'q','tasks':[%s]}", (const char *)json.data),
                     OUTCOME_CREATED);
    buffer_free(&json);
}

static inline void assert_text(struct slice text, const char *expected)
{
    assert_int_equal(text.size, strlen(expected));
    if (text.size) assert_memory_equal(text.data, expected, text.size);
}

#endif
