// links: lib support
/* Elections in numbers: many that one entry decides, long queues, and the forgetting of idle ones. */
#include "coord/coord.h"
#include "coord/primitive/election.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>

struct world {
    struct rows *rows;
    struct arena arena;
    uint64_t index;
};

static const struct operation *prepare(struct world *world, const char *name, const char *const *pairs,
                                       void **args)
{
    const struct operation *operation = operation_by_name(slice_text(name));
    *args = arena_alloc(&world->arena, operation->args->size);
    struct setting setting = {.record = operation->args, .data = *args, .arena = &world->arena};
    for (; *pairs; pairs += 2)
        assert_true(setting_text(&setting, record_field(operation->args, slice_text(pairs[0])),
                                 slice_text(pairs[1])));
    assert_true(setting_done(&setting));
    return operation;
}

/* Returns how many requests the command answered with `outcome`. */
static size_t run(struct world *world, enum outcome outcome, const char *name, const char *const *pairs)
{
    void *args;
    const struct operation *operation = prepare(world, name, pairs, &args);
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, 1000);
    coord_apply(&apply, &(struct command){.operation = operation, .args = args});
    size_t count = 0;
    for (const struct answer *answer = apply.answers; answer; answer = answer->next)
        count += answer->outcome == outcome;
    arena_reset(&world->arena);
    return count;
}
#define RUN(world, outcome, name, ...) run(world, outcome, name, (const char *const[]){__VA_ARGS__, NULL})

/* The number of that name in the answer of a query, and how many items its list has. */
static uint64_t ask(struct world *world, const char *name, const char *number, const char *list_name,
                    size_t *items, const char *const *pairs)
{
    void *args;
    const struct operation *operation = prepare(world, name, pairs, &args);
    struct apply apply;
    struct list list;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, 1000);
    coord_query(&apply, operation, args);
    const struct answer *answer = apply.answers;
    const struct field *field = record_field(answer->shape, slice_text(list_name));
    memcpy(&list, (const char *)answer->data + field->offset, sizeof list);
    uint64_t found = record_number(answer->shape, answer->data, number);
    *items = list.count;
    arena_reset(&world->arena);
    return found;
}

static void check(struct world *world)
{
    coord_check(world->rows, &world->arena);
    arena_reset(&world->arena);
}

/* A lease on which thousands of terms hang ends: each has a candidate that needs a lease of its own. */
static void an_entry_elects_a_bounded_number_and_pulses_do_the_rest(void **state)
{
    struct world *world = *state;
    char name[32];
    RUN(world, OUTCOME_CREATED, "lease.create", "owner", "x");
    for (int i = 0; i < 2500; i++) {
        snprintf(name, sizeof name, "e%d", i);
        assert_int_equal(RUN(world, OUTCOME_CREATED, "election.campaign", "name", name, "candidate", "x",
                             "lease", "L100000"),
                         1);
        assert_int_equal(
            RUN(world, OUTCOME_CREATED, "election.campaign", "name", name, "candidate", "y", "wait", "1m"),
            0);
    }
    size_t elected = RUN(world, OUTCOME_CREATED, "lease.revoke", "id", "L100000");
    assert_int_equal(elected, 1000);
    check(world);
    for (int i = 0; coord_wants_pulse(world->rows); i++) {
        assert_true(i < 3000);
        elected += run(world, OUTCOME_CREATED, "pulse", (const char *const[]){NULL});
    }
    assert_int_equal(elected, 2500);
    check(world);
}

/* Between the entry that ended a term and the pulse that elects: who comes waits behind who was there, unless
 * the priority is higher; who only tries is refused. */
static void who_comes_before_the_pulse_keeps_the_order(void **state)
{
    struct world *world = *state;
    char name[32];
    size_t items;
    RUN(world, OUTCOME_CREATED, "lease.create", "owner", "x");
    for (int i = 0; i < 1002; i++) {
        snprintf(name, sizeof name, "e%04d", i);
        RUN(world, OUTCOME_CREATED, "election.campaign", "name", name, "candidate", "x", "lease", "L100000");
        RUN(world, OUTCOME_CREATED, "election.campaign", "name", name, "candidate", "y", "wait", "1m");
    }
    RUN(world, OUTCOME_NOTHING, "lease.revoke", "id", "L100000");
    assert_true(coord_wants_pulse(world->rows));
#define LATE(...) RUN(world, OUTCOME_CREATED, "election.campaign", "candidate", "late", __VA_ARGS__)
    assert_int_equal(
        RUN(world, OUTCOME_ELECTION_HELD, "election.campaign", "candidate", "z", "name", "e1000"), 1);
    assert_int_equal(LATE("name", "e1000", "wait", "1m"), 0);
    assert_int_equal(ask(world, "election.get", "candidate_count", "candidates", &items,
                         (const char *const[]){"name", "e1000", NULL}),
                     2);
    assert_int_equal(LATE("name", "e1001", "priority", "1"), 1); /* before all who wait */
    check(world);
    assert_int_equal(run(world, OUTCOME_CREATED, "pulse", (const char *const[]){NULL}), 1);
    assert_int_equal(run(world, OUTCOME_CREATED, "pulse", (const char *const[]){NULL}), 0); /* has a leader */
    assert_false(coord_wants_pulse(world->rows));
    check(world);
}

static void a_queue_has_an_end(void **state)
{
    struct world *world = *state;
    size_t items;
    RUN(world, OUTCOME_CREATED, "election.campaign", "name", "e", "candidate", "x");
    for (int i = 0; i < ELECTION_CANDIDATES_MAX; i++)
        assert_int_equal(RUN(world, OUTCOME_TOO_MANY_WAITERS, "election.campaign", "name", "e", "candidate",
                             "y", "wait", "1m"),
                         0);
    assert_int_equal(RUN(world, OUTCOME_TOO_MANY_WAITERS, "election.campaign", "name", "e", "candidate", "y",
                         "wait", "1m"),
                     1);
    assert_int_equal(RUN(world, OUTCOME_ELECTION_HELD, "election.campaign", "name", "e", "candidate", "y"),
                     1);
    assert_int_equal(ask(world, "election.get", "candidate_count", "candidates", &items,
                         (const char *const[]){"name", "e", NULL}),
                     ELECTION_CANDIDATES_MAX);
    assert_int_equal(items, 1000);
    check(world);
}

static void campaign_and_resign(struct world *world, const char *name)
{
    char token[32];
    RUN(world, OUTCOME_CREATED, "election.campaign", "name", name, "candidate", "x");
    snprintf(token, sizeof token, "%llu", (unsigned long long)world->index);
    assert_int_equal(RUN(world, OUTCOME_OK, "election.resign", "name", name, "token", token), 1);
}

static void idle_ones_are_forgotten_but_never_one_in_use(void **state)
{
    struct world *world = *state;
    char name[32];
    size_t items;
    RUN(world, OUTCOME_CREATED, "election.campaign", "name", "precious", "candidate", "x");
    for (int i = 0; i < ELECTION_KEPT_MAX + 2000; i++) {
        snprintf(name, sizeof name, "e%05d", i);
        campaign_and_resign(world, name);
    }
    check(world);
    assert_int_equal(
        RUN(world, OUTCOME_ELECTION_HELD, "election.campaign", "name", "precious", "candidate", "y"), 1);
    /* The oldest went, the newest has its history. */
    ask(world, "election.get", "token", "history", &items, (const char *const[]){"name", "e00000", NULL});
    assert_int_equal(items, 0);
    ask(world, "election.get", "token", "history", &items, (const char *const[]){"name", "e11999", NULL});
    assert_int_equal(items, 1);
    ask(world, "election.list", "revision", "elections", &items,
        (const char *const[]){"limit", "1000", NULL});
    assert_int_equal(items, 1000);
}

static void those_held_at_once_are_forgotten_when_they_become_idle(void **state)
{
    struct world *world = *state;
    char name[32], token[32];
    size_t before = rows_memory_count(world->rows);
    for (int i = 1; i <= ELECTION_KEPT_MAX + 3000; i++) {
        snprintf(name, sizeof name, "e%d", i);
        RUN(world, OUTCOME_CREATED, "election.campaign", "name", name, "candidate", "x");
    }
    size_t held = rows_memory_count(world->rows);
    for (int i = 1; i <= ELECTION_KEPT_MAX + 3000; i++) {
        snprintf(name, sizeof name, "e%d", i);
        snprintf(token, sizeof token, "%d", i);
        RUN(world, OUTCOME_OK, "election.resign", "name", name, "token", token);
    }
    check(world);
    /* Each had an election, its place in the index, a lease with an attachment, and told one event; the end
     * told another. */
    size_t each = (held - before) / (ELECTION_KEPT_MAX + 3000);
    assert_int_equal(each, 5);
    assert_true(rows_memory_count(world->rows) <=
                2 * ELECTION_KEPT_MAX + 2 * (ELECTION_KEPT_MAX + 3000) + 10);
}

static int set_up(void **state)
{
    struct world *world = test_calloc(1, sizeof *world);
    world->rows = rows_memory_new();
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    rows_memory_free(world->rows);
    arena_free(&world->arena);
    test_free(world);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_entry_elects_a_bounded_number_and_pulses_do_the_rest, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_comes_before_the_pulse_keeps_the_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_queue_has_an_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(idle_ones_are_forgotten_but_never_one_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(those_held_at_once_are_forgotten_when_they_become_idle, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
