// links: lib support
/* The search for circles in numbers: what it finds behind long queues, and where it stops. */
#include "coord/coord.h"
#include "coord/primitive/lock.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>

struct world {
    struct rows *rows;
    struct arena arena;
    uint64_t index;
};

enum { WAITS = 0 };

/* The outcome of a command given as in a script; WAITS: it waits. */
static int run(struct world *world, const char *name, const char *at)
{
    const struct operation *operation = operation_by_name(slice_text(name));
    void *args = arena_alloc(&world->arena, operation->args->size);
    struct setting setting = {.record = operation->args, .data = args, .arena = &world->arena};
    while (*at) {
        const char *equals = strchr(at, '='), *end = strchr(at, ' ');
        if (!end) end = at + strlen(at);
        const struct field *field = record_field(operation->args, slice_of(at, (size_t)(equals - at)));
        assert_true(setting_text(&setting, field, slice_of(equals + 1, (size_t)(end - equals - 1))));
        at = *end ? end + 1 : end;
    }
    assert_true(setting_done(&setting));
    struct apply apply;
    world->index++;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, 1000);
    coord_apply(&apply, &(struct command){.operation = operation, .args = args});
    int outcome = WAITS;
    for (const struct answer *answer = apply.answers; answer; answer = answer->next)
        if (answer->to_index == world->index) outcome = (int)answer->outcome;
    arena_reset(&world->arena);
    return outcome;
}

static uint64_t new_lease(struct world *world)
{
    assert_int_equal(run(world, "lease.create", "ttl=30s"), OUTCOME_CREATED);
    return world->index << LEASE_ENTRY_BITS;
}

static int acquire(struct world *world, const char *lock, uint64_t lease)
{
    char line[80];
    snprintf(line, sizeof line, "name=%s lease=L%llx wait=1m", lock, (unsigned long long)lease);
    return run(world, "lock.acquire", line);
}

/* Thousands wait before it, all of them for locks of their own besides; the circle is with the holder. */
static void a_long_queue_does_not_hide_a_circle_of_holders(void **state)
{
    struct world *world = *state;
    uint64_t one = new_lease(world), two = new_lease(world);
    char name[20];
    assert_int_equal(acquire(world, "x", one), OUTCOME_CREATED);
    assert_int_equal(acquire(world, "y", two), OUTCOME_CREATED);
    for (int i = 0; i < 3000; i++) {
        uint64_t lease = new_lease(world);
        snprintf(name, sizeof name, "h%d", i);
        assert_int_equal(acquire(world, name, lease), OUTCOME_CREATED);
        assert_int_equal(acquire(world, "x", lease), WAITS);
    }
    assert_int_equal(acquire(world, "y", one), WAITS);
    assert_int_equal(acquire(world, "x", two), OUTCOME_DEADLOCK);
    coord_check(world->rows, &world->arena);
}

/* Each waits for the next; the last for the first. */
static int chain(struct world *world, int length)
{
    uint64_t leases[2000];
    char name[20];
    for (int i = 0; i < length; i++) {
        leases[i] = new_lease(world);
        snprintf(name, sizeof name, "%d-%d", length, i);
        assert_int_equal(acquire(world, name, leases[i]), OUTCOME_CREATED);
    }
    for (int i = 0; i + 1 < length; i++) {
        snprintf(name, sizeof name, "%d-%d", length, i + 1);
        assert_int_equal(acquire(world, name, leases[i]), WAITS);
    }
    snprintf(name, sizeof name, "%d-0", length);
    return acquire(world, name, leases[length - 1]);
}

static void circles_are_found_up_to_the_bound_of_the_search(void **state)
{
    assert_int_equal(chain(*state, 2), OUTCOME_DEADLOCK);
    assert_int_equal(chain(*state, 200), OUTCOME_DEADLOCK);
    assert_int_equal(chain(*state, 1500), WAITS);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_long_queue_does_not_hide_a_circle_of_holders),
        TEST(circles_are_found_up_to_the_bound_of_the_search),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
