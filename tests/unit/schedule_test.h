/* A world with a schedule "s", whose tasks are made in the queue "q". */
#ifndef COORDD_TESTS_UNIT_SCHEDULE_TEST_H
#define COORDD_TESTS_UNIT_SCHEDULE_TEST_H

#include "coord/event.h"
#include "coord/key.h"
#include "coord/primitive/queue.h"
#include "coord/primitive/schedule.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/coord_world.h"

#include <stdio.h>

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR };
static const uint64_t noon = 1700049600000; /* 2023-11-15T12:00:00Z, a Wednesday */

static inline struct coord_world *begin(void **state)
{
    struct coord_world *world = *state;
    world->time_ms = noon;
    return world;
}

/* What nodes propose by themselves, until nothing is due. */
static inline void settle(struct coord_world *world)
{
    for (int entries = 0; entries < 1000; entries++) {
        if (coord_wants_pulse(world->rows))
            coord_world_do(world, "pulse", "{}");
        else if (coord_due_ms(world->rows) <= world->time_ms)
            coord_world_do(world, "due", "{}");
        else
            return;
    }
    fail_msg("it never settles");
}

/* The leader comes to it at that time: what is due before is late. */
static inline void at(struct coord_world *world, uint64_t time_ms)
{
    assert_true(time_ms >= world->time_ms);
    world->time_ms = time_ms;
    settle(world);
}

/* As an idle leader would: nothing is late. */
static inline void pass(struct coord_world *world, uint64_t ms)
{
    uint64_t until = world->time_ms + ms;
    while (coord_due_ms(world->rows) <= until) at(world, coord_due_ms(world->rows));
    at(world, until);
}

static inline void put(struct coord_world *world, const char *json)
{
    enum outcome outcome = coord_world_do(world, "schedule.put", json);
    if (outcome != OUTCOME_CREATED && outcome != OUTCOME_OK)
        fail_msg("%s: %d %s", json, outcome, (const char *)world->answer.data);
}

static inline void refused(struct coord_world *world, const char *json, enum outcome outcome, const char *why)
{
    assert_int_equal(coord_world_do(world, "schedule.put", json), outcome);
    if (!coord_world_says(world, why)) fail_msg("%s: %s", json, (const char *)world->answer.data);
    assert_int_equal(coord_world_ask(world, "schedule.get", "{\"schedule\":\"s\"}"),
                     OUTCOME_SCHEDULE_NOT_FOUND);
}

/* The view of the schedule "s" has that in it. */
static inline void shows(struct coord_world *world, const char *part)
{
    assert_int_equal(coord_world_ask(world, "schedule.get", "{\"schedule\":\"s\"}"), OUTCOME_OK);
    if (!coord_world_says(world, part)) fail_msg("no %s in %s", part, (const char *)world->answer.data);
}

static inline void counts(struct coord_world *world, unsigned fired, unsigned overlap, unsigned misfire)
{
    char part[200];
    snprintf(part, sizeof part,
             "\"counts\":{\"fired\":%u,\"manual\":0,\"skipped_overlap\":%u,\"skipped_misfire\":%u,", fired,
             overlap, misfire);
    shows(world, part);
}

/* Nominal times of the events "fired" and "skipped" of "s" after that entry, oldest first. */
static inline size_t runs_after(struct coord_world *world, uint64_t index, bool fired, uint64_t *nominal,
                                size_t room)
{
    size_t count = 0;
    for (struct event *event; (event = events_next(world->rows, &world->arena, index));) {
        index = event->revision;
        for (; event; event = event->next)
            if (event->primitive == &schedule_primitive &&
                event->kind->code == (fired ? SCHEDULE_FIRED : SCHEDULE_SKIPPED) && count < room)
                nominal[count++] = record_number(event->shape, event->data, "nominal");
    }
    return count;
}

/* Takes what is ready and finishes it. */
static inline void work(struct coord_world *world)
{
    for (;;) {
        assert_int_equal(coord_world_do(world, "queue.claim", "{\"queue\":\"q\",\"worker\":\"w\",\"max\":1}"),
                         OUTCOME_OK);
        unsigned long long id, token;
        const char *text = (const char *)world->answer.data, *task = strstr(text, "\"id\":\"");
        if (!task) break;
        assert_int_equal(sscanf(task, "\"id\":\"%llu\",\"token\":%llu", &id, &token), 2);
        char json[200];
        snprintf(json, sizeof json, "{\"queue\":\"q\",\"id\":\"%llu\",\"token\":%llu}", id, token);
        assert_int_equal(coord_world_do(world, "queue.complete", json), OUTCOME_OK);
        settle(world);
    }
}

static inline bool has_task(struct coord_world *world, unsigned id, const char *state)
{
    char json[60], part[60];
    snprintf(json, sizeof json, "{\"queue\":\"q\",\"id\":\"%u\"}", id);
    snprintf(part, sizeof part, "\"state\":\"%s\"", state);
    return coord_world_ask(world, "queue.get_task", json) == OUTCOME_OK && coord_world_says(world, part);
}

/* The first time that is due of a schedule; 0: none. */
static inline uint64_t next_due(struct coord_world *world)
{
    struct key from = key_of(KEY_DUE);
    struct slice key, value;
    while (rows_seek(world->rows, key_slice(&from), &key, &value) && key.data[0] == KEY_DUE) {
        struct slice rest = slice_skip(key, 1);
        uint64_t at_ms;
        assert_true(take_u64be(&rest, &at_ms) && rest.size);
        if (rest.data[0] == SCHEDULE_CODE) return at_ms;
        from.size = 0;
        key_bytes(&from, key);
        key_byte(&from, 0);
    }
    return 0;
}

#endif
