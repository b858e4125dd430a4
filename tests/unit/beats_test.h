/* A leader without a node: a state machine in memory whose entries its memory of heartbeats follows, and its
 * lease clock. */
#ifndef COORDD_TESTS_UNIT_BEATS_TEST_H
#define COORDD_TESTS_UNIT_BEATS_TEST_H

#include "api/body.h"
#include "base/check.h"
#include "base/memory.h"
#include "coord/beats.h"
#include "coord/coord.h"
#include "coord/lease_clock.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>

enum { START_MS = 1000000, TERM = 3, ITEMS_MAX = 64 };
#define WALL_MS UINT64_C(1700000000000)

struct leader {
    struct rows *rows;
    struct arena arena;
    struct beats *beats;
    struct lease_clock *leases;
    uint64_t index, now_ms;
    struct buffer answer; /* JSON of the last one, followed by a NUL */
    enum outcome outcome;
    struct observe_item items[ITEMS_MAX]; /* last handed out */
    size_t count;
};

static inline uint64_t wall_ms(const struct leader *leader)
{
    return WALL_MS + leader->now_ms - START_MS;
}

static inline void load(struct leader *leader)
{
    beats_clock(leader->beats, leader->now_ms, wall_ms(leader));
    while (!beats_load(leader->beats, leader->rows, &leader->arena, leader->now_ms, 2)) {
    }
    beats_check(leader->beats);
}

static inline void take_office(struct leader *leader)
{
    beats_take_office(leader->beats);
    lease_clock_take_office(leader->leases, leader->rows, &leader->arena, leader->now_ms);
    load(leader);
}

static inline struct leader *leader_new(void)
{
    struct leader *leader = memory_new(sizeof *leader);
    leader->rows = rows_memory_new();
    leader->beats = beats_new();
    leader->leases = lease_clock_new(100);
    leader->index = 7;
    leader->now_ms = START_MS;
    take_office(leader);
    return leader;
}

static inline int leader_set_up(void **state)
{
    *state = leader_new();
    return 0;
}

static inline int leader_tear_down(void **state)
{
    struct leader *leader = *state;
    beats_free(leader->beats);
    lease_clock_free(leader->leases);
    rows_memory_free(leader->rows);
    arena_free(&leader->arena);
    buffer_free(&leader->answer);
    free(leader);
    return 0;
}

#define LEADER_TEST(name) cmocka_unit_test_setup_teardown(name, leader_set_up, leader_tear_down)

static inline const struct operation *parse(struct leader *leader, const char *name, struct slice json,
                                            void **args)
{
    const struct operation *operation = operation_by_name(slice_text(name));
    struct problem problem = {0};
    CHECK(operation);
    *args = arena_alloc(&leader->arena, operation->args->size);
    struct argument argument = {
        .setting = {.record = operation->args, .data = *args, .arena = &leader->arena}, .problem = &problem};
    if (!body_parse(json, &argument) || !argument_done(&argument))
        fatal("%s %.*s: %.*s", name, SLICE_ARGS(json), SLICE_ARGS(problem.detail));
    return operation;
}

static inline uint64_t left(void *context, uint64_t lease)
{
    const struct leader *leader = context;
    return lease_clock_remaining(leader->leases, lease, leader->now_ms);
}

static inline void note_answer(struct leader *leader, const struct apply *apply)
{
    const struct answer *answer = apply->answers;
    CHECK(answer);
    leader->outcome = answer->outcome;
    leader->answer.size = 0;
    if (answer->shape)
        record_json(answer->shape, record_copy(answer->shape, answer->data, &leader->arena, left, leader),
                    &(struct json){&leader->answer, false});
    buffer_add_slice(&leader->answer, answer->detail);
    buffer_add_byte(&leader->answer, 0);
}

/* Applies a command as the next entry, of term `term`. */
static inline void run(struct leader *leader, const struct operation *operation, const void *args,
                       uint64_t term)
{
    struct apply apply;
    struct command command = {.time_ms = wall_ms(leader), .operation = operation, .args = args};
    apply_begin(&apply, leader->rows, &leader->arena, ++leader->index, term, command.time_ms);
    coord_apply(&apply, &command);
    lease_clock_follow(leader->leases, apply.lease_changes, leader->now_ms);
    beats_follow(leader->beats, leader->rows, &leader->arena, apply.events, leader->now_ms);
    note_answer(leader, &apply);
    coord_check(leader->rows, &leader->arena);
    beats_check(leader->beats);
    arena_reset(&leader->arena);
}

static inline enum outcome command(struct leader *leader, const char *name, const char *json)
{
    void *args;
    const struct operation *operation = parse(leader, name, slice_text(json), &args);
    run(leader, operation, args, TERM);
    return leader->outcome;
}

/* Joins group web; its token is leader->index then. */
static inline uint64_t join(struct leader *leader, const char *id, const char *more)
{
    char json[300];
    snprintf(json, sizeof json, "{\"group\":\"web\",\"id\":\"%s\"%s}", id, more);
    assert_int_equal(command(leader, "group.join", json), OUTCOME_CREATED);
    return leader->index;
}

static inline void settle(struct leader *leader, const char *settings)
{
    char json[300];
    snprintf(json, sizeof json, "{\"group\":\"web\"%s}", settings);
    command(leader, "group.put", json);
    assert_true(leader->outcome == OUTCOME_OK || leader->outcome == OUTCOME_CREATED);
}

/* A renewal as the node does it: which leases, the round, the answer. */
static inline enum outcome renew(struct leader *leader, const char *name, const char *json)
{
    void *args;
    struct apply apply;
    const struct operation *operation = parse(leader, name, slice_text(json), &args);
    apply_begin(&apply, leader->rows, &leader->arena, leader->index, TERM, wall_ms(leader));
    beats_clock(leader->beats, leader->now_ms, wall_ms(leader));
    operation->renews(&apply, args);
    for (size_t i = 0; !apply.answers && i < apply.renewal_count; i++) {
        struct renewal *renewal = &apply.renewals[i];
        renewal->renewed = lease_clock_renew(leader->leases, renewal->lease, leader->now_ms);
        if (renewal->renewed) beats_hear(leader->beats, renewal->lease, leader->now_ms, renewal->note);
    }
    if (!apply.answers) operation->renewed(&apply, args, apply.renewals, apply.renewal_count);
    note_answer(leader, &apply);
    beats_check(leader->beats);
    arena_reset(&leader->arena);
    return leader->outcome;
}

static inline enum outcome beat(struct leader *leader, const char *id, uint64_t token, const char *more)
{
    char json[300];
    snprintf(json, sizeof json, "{\"group\":\"web\",\"id\":\"%s\",\"token\":%llu%s}", id,
             (unsigned long long)token, more);
    return renew(leader, "group.heartbeat", json);
}

/* A query that the leader's memory is shown to, or (stale) not. */
static inline enum outcome ask(struct leader *leader, const char *name, const char *json, bool stale)
{
    void *args;
    struct apply apply;
    const struct operation *operation = parse(leader, name, slice_text(json), &args);
    apply_begin(&apply, leader->rows, &leader->arena, leader->index, TERM, wall_ms(leader));
    beats_clock(leader->beats, leader->now_ms, wall_ms(leader));
    if (!stale) apply.beats = apply.beats_told = leader->beats;
    coord_query(&apply, operation, args);
    note_answer(leader, &apply);
    beats_check(leader->beats);
    arena_reset(&leader->arena);
    return leader->outcome;
}

static inline bool says(const struct leader *leader, const char *part)
{
    return strstr((const char *)leader->answer.data, part) != NULL;
}

/* What is due by now; how many. */
static inline size_t due(struct leader *leader)
{
    beats_clock(leader->beats, leader->now_ms, wall_ms(leader));
    leader->count = beats_next_ms(leader->beats) > leader->now_ms
                        ? 0
                        : beats_due(leader->beats, leader->now_ms, leader->items, ITEMS_MAX);
    beats_check(leader->beats);
    return leader->count;
}

/* The log does as the leader proposed. */
static inline void observe(struct leader *leader, uint64_t term)
{
    struct group_observe_args args = {term, {leader->items, leader->count}};
    run(leader, operation_group_observe, &args, TERM);
}

static inline bool is_due(const struct leader *leader, const char *id, enum observed what)
{
    const struct seat *seat = beats_seat(leader->beats, SLICE("web"), slice_text(id));
    for (size_t i = 0; seat && i < leader->count; i++)
        if (leader->items[i].lease == seat->lease && leader->items[i].what == what) return true;
    return false;
}

static inline uint64_t state_of(const struct leader *leader, const char *id)
{
    const struct seat *seat = beats_seat(leader->beats, SLICE("web"), slice_text(id));
    return seat ? seat->state : 0;
}

#endif
