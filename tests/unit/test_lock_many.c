// links: lib support
/* Locks in numbers: many grants in one entry, and the forgetting of idle locks. */
#include "coord/coord.h"
#include "coord/event.h"
#include "coord/primitive/lock.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>

struct world {
    struct rows *rows;
    struct arena arena;
    uint64_t index;
};

/* Applies an operation given as in a script; returns how many requests it answered with `created`. */
static size_t run(struct world *world, const char *name, const char *const *pairs)
{
    const struct operation *operation = operation_by_name(slice_text(name));
    void *args = arena_alloc(&world->arena, operation->args->size);
    struct setting setting = {.record = operation->args, .data = args, .arena = &world->arena};
    for (; *pairs; pairs += 2)
        assert_true(setting_text(&setting, record_field(operation->args, slice_text(pairs[0])),
                                 slice_text(pairs[1])));
    assert_true(setting_done(&setting));
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, 1000);
    coord_apply(&apply, &(struct command){.operation = operation, .args = args});
    size_t created = 0;
    for (const struct answer *answer = apply.answers; answer; answer = answer->next)
        created += answer->outcome == OUTCOME_CREATED;
    arena_reset(&world->arena);
    return created;
}
#define RUN(world, name, ...) run(world, name, (const char *const[]){__VA_ARGS__, NULL})

/* Rows but for those of the history. */
static size_t rows_of_locks(struct world *world)
{
    size_t count = rows_memory_count(world->rows);
    for (uint64_t after = 0; after < world->index; after++) {
        struct event *event = events_next(world->rows, &world->arena, after);
        if (!event) break;
        after = event->revision - 1;
        count--;
        arena_reset(&world->arena);
    }
    return count;
}

static void check(struct world *world)
{
    coord_check(world->rows, &world->arena);
    arena_reset(&world->arena);
}

/* A lease that holds thousands of locks ends: each has a waiter that needs a lease of its own. */
static void an_entry_grants_a_bounded_number_and_pulses_do_the_rest(void **state)
{
    struct world *world = *state;
    char name[32];
    RUN(world, "lease.create", "owner", "x");
    for (int i = 0; i < 2500; i++) {
        snprintf(name, sizeof name, "lock%d", i);
        assert_int_equal(RUN(world, "lock.acquire", "name", name, "lease", "L100000"), 1);
        assert_int_equal(RUN(world, "lock.acquire", "name", name, "wait", "1m"), 0);
    }
    size_t granted = RUN(world, "lease.revoke", "id", "L100000");
    assert_int_equal(granted, 1000);
    check(world);
    for (int i = 0; coord_wants_pulse(world->rows); i++) {
        assert_true(i < 3000);
        granted += run(world, "pulse", (const char *const[]){NULL});
    }
    assert_int_equal(granted, 2500);
    check(world);
}

static void idle_locks_are_forgotten_but_never_one_in_use(void **state)
{
    struct world *world = *state;
    char name[32], token[32];
    RUN(world, "lock.acquire", "name", "precious", "ttl", "1h");
    for (int i = 0; i < LOCK_KEPT_MAX + 2000; i++) {
        snprintf(name, sizeof name, "lock%d", i);
        RUN(world, "lock.acquire", "name", name);
        snprintf(token, sizeof token, "%llu", (unsigned long long)world->index);
        RUN(world, "lock.release", "name", name, "token", token);
    }
    assert_true(rows_of_locks(world) <= 2 * LOCK_KEPT_MAX + 10);
    check(world);
    snprintf(token, sizeof token, "%d", 1);
    assert_int_equal(RUN(world, "lock.acquire", "name", "precious"), 0); /* still held */
}

static void locks_held_at_once_are_forgotten_when_they_become_idle(void **state)
{
    struct world *world = *state;
    char name[32], token[32];
    for (int i = 1; i <= LOCK_KEPT_MAX + 3000; i++) {
        snprintf(name, sizeof name, "lock%d", i);
        RUN(world, "lock.acquire", "name", name);
    }
    for (int i = 1; i <= LOCK_KEPT_MAX + 3000; i++) {
        snprintf(name, sizeof name, "lock%d", i);
        snprintf(token, sizeof token, "%d", i);
        RUN(world, "lock.release", "name", name, "token", token);
    }
    assert_true(rows_of_locks(world) <= 2 * LOCK_KEPT_MAX + 10);
    check(world);
}

/* Takes and gives back the locks from..to, named lock1 and so on: idle then, and known. */
static void use(struct world *world, int from, int to)
{
    char name[32], token[32];
    for (int i = from; i <= to; i++) {
        snprintf(name, sizeof name, "lock%d", i);
        RUN(world, "lock.acquire", "name", name);
        snprintf(token, sizeof token, "%llu", (unsigned long long)world->index);
        RUN(world, "lock.release", "name", name, "token", token);
    }
}

/* The oldest of all is idle until the row of the grant is written, and the new one makes room for itself. */
static void a_lock_that_is_granted_with_a_new_one_is_not_forgotten(void **state)
{
    struct world *world = *state;
    use(world, 1, LOCK_KEPT_MAX);
    assert_int_equal(RUN(world, "lock.acquire_many", "names", "new,lock1"), 1);
    check(world);
    assert_int_equal(RUN(world, "lock.acquire", "name", "lock1"), 0);
}

static void a_lock_that_is_waited_for_with_a_new_one_is_not_forgotten(void **state)
{
    struct world *world = *state;
    RUN(world, "lock.acquire", "name", "held", "ttl", "1h");
    use(world, 1, LOCK_KEPT_MAX - 1);
    assert_int_equal(RUN(world, "lock.acquire_many", "names", "new,lock1,held", "wait", "1m"), 0);
    check(world);
    RUN(world, "lock.break", "name", "held");
    assert_int_equal(run(world, "pulse", (const char *const[]){NULL}), 1);
    check(world);
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
        cmocka_unit_test_setup_teardown(an_entry_grants_a_bounded_number_and_pulses_do_the_rest, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(idle_locks_are_forgotten_but_never_one_in_use, set_up, tear_down),
        cmocka_unit_test_setup_teardown(locks_held_at_once_are_forgotten_when_they_become_idle, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_lock_that_is_granted_with_a_new_one_is_not_forgotten, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_lock_that_is_waited_for_with_a_new_one_is_not_forgotten, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
