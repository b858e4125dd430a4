/* A state machine in memory: commands as JSON in, answers as JSON out, the invariants checked
 * after each. */
#ifndef COORDD_TESTS_UNIT_COORD_WORLD_H
#define COORDD_TESTS_UNIT_COORD_WORLD_H

#include "api/body.h"
#include "base/check.h"
#include "base/memory.h"
#include "coord/coord.h"
#include "coord/primitive/txn.h"
#include "tests/support/rows_memory.h"

#include <string.h>

struct coord_world {
    struct rows *rows;
    struct arena arena;
    uint64_t index, time_ms;
    uint64_t origin; /* the session that commands come from; 0: none */
    /* the last command */
    enum outcome outcome; /* 0: it waits */
    bool replayed;
    struct buffer answer; /* JSON, followed by a NUL */
    size_t others;        /* answers to earlier requests */
    uint64_t other_index; /* the last of them */
    enum outcome other_outcome;
};

static inline struct coord_world *coord_world_new(void)
{
    struct coord_world *world = memory_new(sizeof *world);
    world->rows = rows_memory_new();
    world->index = 7;
    world->time_ms = 1700000000000;
    return world;
}

static inline void coord_world_free(struct coord_world *world)
{
    rows_memory_free(world->rows);
    arena_free(&world->arena);
    buffer_free(&world->answer);
    free(world);
}

static inline int coord_world_set_up(void **state)
{
    *state = coord_world_new();
    return 0;
}

static inline int coord_world_tear_down(void **state)
{
    coord_world_free(*state);
    return 0;
}

/* A test whose state is a world of its own. */
#define COORD_TEST(name) cmocka_unit_test_setup_teardown(name, coord_world_set_up, coord_world_tear_down)

static const struct operation *read_command(struct coord_world *world, const char *name, const char *json,
                                            void **args)
{
    const struct operation *operation = operation_by_name(slice_text(name));
    CHECK(operation);
    *args = arena_alloc(&world->arena, operation->args->size);
    struct problem problem = {0};
    struct argument argument = {.setting = {.record = operation->args, .data = *args, .arena = &world->arena},
                                .problem = &problem};
    if (!body_parse(slice_text(json), &argument) || !argument_done(&argument))
        fatal("%s %s: %.*s", name, json, SLICE_ARGS(problem.detail));
    return operation;
}

static uint64_t remaining(void *context, uint64_t lease)
{
    (void)context;
    return lease ? 1000 : 0;
}

static inline void note(struct coord_world *world, const struct answer *answer)
{
    world->outcome = answer->outcome;
    world->replayed = answer->replayed;
    if (answer->shape)
        record_json(answer->shape, record_copy(answer->shape, answer->data, &world->arena, remaining, NULL),
                    &(struct json){&world->answer, false});
    buffer_add_slice(&world->answer, answer->detail);
}

static inline void note_all(struct coord_world *world, const struct answer *answers)
{
    world->answer.size = 0;
    world->outcome = (enum outcome)0;
    world->others = 0;
    for (const struct answer *answer = answers; answer; answer = answer->next) {
        if (answer->to_index == world->index) {
            note(world, answer);
            continue;
        }
        world->others++;
        world->other_index = answer->to_index;
        world->other_outcome = answer->outcome;
    }
    buffer_add_byte(&world->answer, 0);
    arena_reset(&world->arena);
}

/* Applies operation `name` with `json` as its body, as the next entry, through its binary form. `key` and
 * `fence_lock` may be NULL. */
static inline enum outcome coord_world_guarded(struct coord_world *world, const char *key,
                                               const char *fence_lock, uint64_t fence_token, const char *name,
                                               const char *json)
{
    void *args;
    const struct operation *operation = read_command(world, name, json, &args);
    struct operation_item item = {operation, args};
    struct guarded_args guarded = {
        slice_text(key ? key : ""), slice_text(fence_lock ? fence_lock : ""), fence_token, {&item, 1}};
    bool guard = key || fence_lock;
    struct command command = {world->time_ms, guard ? operation_guarded : operation, world->origin, 0,
                              guard ? (const void *)&guarded : args};
    struct buffer bytes = {0};
    command_encode(&command, &bytes);
    CHECK(command_decode(arena_copy(&world->arena, buffer_slice(&bytes)), &world->arena, &command));
    buffer_free(&bytes);
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
    coord_apply(&apply, &command);
    note_all(world, apply.answers);
    coord_check(world->rows, &world->arena);
    arena_reset(&world->arena);
    return world->outcome;
}

static inline enum outcome coord_world_do(struct coord_world *world, const char *name, const char *json)
{
    return coord_world_guarded(world, NULL, NULL, 0, name, json);
}

/* A query of the present state. */
static inline enum outcome coord_world_ask(struct coord_world *world, const char *name, const char *json)
{
    void *args;
    const struct operation *operation = read_command(world, name, json, &args);
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    coord_query(&apply, operation, args);
    note_all(world, apply.answers);
    return world->outcome;
}

static inline bool coord_world_says(const struct coord_world *world, const char *part)
{
    return strstr((const char *)world->answer.data, part) != NULL;
}

#endif
