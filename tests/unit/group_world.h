/* Groups in a state machine in memory (coord_world.h): what nodes propose of them, and what is asked most. */
#ifndef COORDD_TESTS_UNIT_GROUP_WORLD_H
#define COORDD_TESTS_UNIT_GROUP_WORLD_H

#include "coord/primitive/group.h"
#include "tests/unit/coord_world.h"

#include <stdarg.h>
#include <stdio.h>

/* An entry that no client asks for; all invariants hold after it. */
static inline void group_world_propose(struct coord_world *world, const struct operation *operation,
                                       const void *args)
{
    struct apply apply;
    struct command command = {world->time_ms, operation, 0, 0, args};
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms);
    coord_apply(&apply, &command);
    note_all(world, apply.answers);
    coord_check(world->rows, &world->arena);
    arena_reset(&world->arena);
}

/* Time passes, and every timer comes in its own time. */
static inline void group_world_pass(struct coord_world *world, uint64_t span_ms)
{
    uint64_t end_ms = world->time_ms + span_ms, due_ms;
    while ((due_ms = coord_due_ms(world->rows)) <= end_ms) {
        if (due_ms > world->time_ms) world->time_ms = due_ms;
        group_world_propose(world, operation_due, &(struct due_args){0});
    }
    world->time_ms = end_ms;
}

static inline bool group_world_member(struct coord_world *world, const char *name, const char *id,
                                      struct member *member)
{
    struct apply apply;
    struct group group;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    group_load(&group, &apply, slice_text(name));
    return member_get(&group, slice_text(id), member);
}

/* Some leases end in one entry, as the leader's clock has it; those that are over already are passed over. */
static inline void group_world_expire(struct coord_world *world, const uint64_t *leases, size_t count)
{
    struct lease_expire_item *items = arena_alloc(&world->arena, count * sizeof *items);
    struct lease_expire_args args = {1, {items, 0}};
    for (size_t i = 0; i < count; i++) {
        struct apply apply;
        struct lease_row row;
        apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
        if (lease_get(&apply, leases[i], &row))
            items[args.items.count++] = (struct lease_expire_item){row.id, row.generation};
    }
    group_world_propose(world, operation_lease_expire, &args);
}

static inline void group_world_silence(struct coord_world *world, const char *name, const char *id)
{
    struct member member;
    CHECK(group_world_member(world, name, id, &member) && member.lease);
    group_world_expire(world, &member.lease, 1);
}

static inline void group_world_observe(struct coord_world *world, uint64_t term, const char *name,
                                       const char *id, uint64_t what, uint64_t value)
{
    struct member member;
    CHECK(group_world_member(world, name, id, &member));
    struct observe_item item = {member.lease, member.token, what, value};
    struct group_observe_args args = {term, {&item, 1}};
    group_world_propose(world, operation_group_observe, &args);
}

/* `json` with ' for ". */
static inline const char *group_world_json(struct coord_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline const char *group_world_json(struct coord_world *world, const char *format, ...)
{
    static char text[2][1024];
    static int turn;
    char *out = text[turn = !turn];
    va_list list;
    (void)world;
    va_start(list, format);
    vsnprintf(out, sizeof text[0], format, list);
    va_end(list);
    for (char *at = out; *at; at++)
        if (*at == '\'') *at = '"';
    return out;
}

#define GROUP_DO(world, name, ...) coord_world_do(world, name, group_world_json(world, __VA_ARGS__))
#define GROUP_ASK(world, name, ...) coord_world_ask(world, name, group_world_json(world, __VA_ARGS__))

#endif
