// links: lib support
/* The leader's lease clock, by the steps of shared/facts/leases.md. Heartbeat 100 ms: a deadline lies at
 * contact + TTL * 1.01 + 100. */
#include "coord/lease_clock.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"

struct world {
    struct rows *rows;
    struct arena arena;
    struct lease_clock *clock;
    uint64_t index;
};

/* A lease of that TTL in the rows. */
static uint64_t make(struct world *world, uint64_t ttl_ms)
{
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, 0);
    return lease_start(&apply, LEASE_NAMED, ttl_ms, slice_of(NULL, 0), slice_of(NULL, 0));
}

static void follow(struct world *world, uint64_t lease, uint64_t ttl_ms, uint64_t generation, uint64_t now_ms)
{
    struct lease_change change = {.lease = lease, .ttl_ms = ttl_ms, .generation = generation};
    lease_clock_follow(world->clock, &change, now_ms);
    lease_clock_check(world->clock);
}

static size_t due(struct world *world, uint64_t by_ms, struct lease_expire_item *items, size_t max)
{
    size_t count = lease_clock_due(world->clock, by_ms, items, max);
    lease_clock_check(world->clock);
    return count;
}

static void take_office(struct world *world, uint64_t now_ms)
{
    lease_clock_take_office(world->clock, world->rows, &world->arena, now_ms);
    lease_clock_check(world->clock);
}

/* Step 1: whatever a leader before may have promised is over no sooner than a full TTL from now. */
static void taking_office_gives_everybody_a_full_ttl(void **state)
{
    struct world *world = *state;
    uint64_t lease = make(world, 1000);
    assert_false(lease_clock_in_office(world->clock));
    assert_int_equal(lease_clock_standing(world->clock, lease), LEASE_GONE);
    take_office(world, 50000);
    assert_true(lease_clock_in_office(world->clock));
    assert_int_equal(lease_clock_next_ms(world->clock), 50000 + 1010 + 100);
    assert_int_equal(lease_clock_remaining(world->clock, lease, 50000), 1000);
    assert_int_equal(lease_clock_remaining(world->clock, lease, 50999), 1);
    assert_int_equal(lease_clock_remaining(world->clock, lease, 51001), 0);
}

static void a_storm_is_spread_but_never_early(void **state)
{
    struct world *world = *state;
    enum { MANY = 5000 };
    struct lease_expire_item items[MANY];
    for (int i = 0; i < MANY; i++) make(world, 10000);
    take_office(world, 1000);
    assert_int_equal(due(world, 1000 + 10100 + 99, items, MANY), 0);
    size_t at_once = due(world, 1000 + 10100 + 100, items, MANY);
    assert_true(at_once >= 500 &&
                at_once <= 700); /* those beyond the first 500 have jitter, a few of it none */
    assert_int_equal(due(world, 1000 + 10100 + 100 + 1000, items, MANY), MANY - at_once);
}

/* Step 3: from when the renewal arrived, not from when its round was confirmed. */
static void a_renewal_counts_from_its_arrival(void **state)
{
    struct world *world = *state;
    uint64_t lease = make(world, 1000);
    take_office(world, 0);
    assert_true(lease_clock_renew(world->clock, lease, 700));
    assert_int_equal(lease_clock_next_ms(world->clock), 700 + 1010 + 100);
    assert_true(lease_clock_renew(world->clock, lease, 600)); /* an older one that was confirmed later */
    assert_int_equal(lease_clock_next_ms(world->clock), 700 + 1010 + 100);
    assert_int_equal(lease_clock_remaining(world->clock, lease, 800), 900);
    assert_false(lease_clock_renew(world->clock, 4711, 700));
    assert_false(lease_clock_renew(world->clock, 0, 700));
    lease_clock_check(world->clock);
}

/* Steps 2a, 3 and 4: what was handed out for an expiry is renewed no more, and handed out once. */
static void an_expiring_lease_is_not_renewed(void **state)
{
    struct world *world = *state;
    struct lease_expire_item items[4];
    uint64_t first = make(world, 1000), second = make(world, 2000);
    take_office(world, 0);
    assert_int_equal(due(world, 1109, items, 4), 0);
    assert_int_equal(due(world, 1110, items, 4), 1);
    assert_int_equal(items[0].lease, first);
    assert_int_equal(items[0].generation, 1);
    assert_int_equal(lease_clock_standing(world->clock, first), LEASE_EXPIRING);
    assert_int_equal(lease_clock_standing(world->clock, second), LEASE_ALIVE);
    assert_false(lease_clock_renew(world->clock, first, 1111));
    assert_int_equal(lease_clock_remaining(world->clock, first, 500), 0);
    assert_int_equal(due(world, 1110, items, 4), 0);
    follow(world, first, 0, 0, 1200); /* its end was applied */
    assert_int_equal(lease_clock_standing(world->clock, first), LEASE_GONE);
    assert_int_equal(lease_clock_count(world->clock), 1);
}

static void due_hands_out_at_most_what_is_asked(void **state)
{
    struct world *world = *state;
    struct lease_expire_item items[3];
    for (int i = 0; i < 8; i++) make(world, 1000);
    take_office(world, 0);
    assert_int_equal(due(world, 5000, items, 3), 3);
    assert_int_equal(due(world, 5000, items, 3), 3);
    assert_int_equal(due(world, 5000, items, 3), 2);
    assert_int_equal(lease_clock_next_ms(world->clock), UINT64_MAX);
}

/* The generation: a command of the owner that came into the log before voids the expiry. */
static void a_touch_voids_an_expiry(void **state)
{
    struct world *world = *state;
    struct lease_expire_item items[1];
    uint64_t lease = make(world, 1000);
    take_office(world, 0);
    assert_int_equal(due(world, 2000, items, 1), 1);
    follow(world, lease, 1000, 9, 2050);
    assert_int_equal(lease_clock_standing(world->clock, lease), LEASE_ALIVE);
    assert_int_equal(lease_clock_next_ms(world->clock), 2050 + 1010 + 100);
    assert_int_equal(due(world, 9000, items, 1), 1);
    assert_int_equal(items[0].generation, 9);
}

static void what_was_not_proposed_is_due_again(void **state)
{
    struct world *world = *state;
    struct lease_expire_item items[2], again[2];
    uint64_t first = make(world, 1000);
    make(world, 1000);
    take_office(world, 0);
    assert_int_equal(due(world, 2000, items, 2), 2);
    follow(world, first, 1000, 5, 2000); /* touched meanwhile */
    lease_clock_not_proposed(world->clock, items, 2);
    lease_clock_check(world->clock);
    assert_int_equal(due(world, 2000, again, 2), 1);
    assert_int_not_equal(again[0].lease, first);
}

/* Step 5: a leader that could not listen lets the time of its absence pass for nobody. */
static void a_gap_moves_every_deadline(void **state)
{
    struct world *world = *state;
    struct lease_expire_item items[2];
    make(world, 1000);
    make(world, 3000);
    take_office(world, 0);
    lease_clock_gap(world->clock, 5000);
    assert_int_equal(lease_clock_next_ms(world->clock), 1110 + 5000);
    assert_int_equal(due(world, 1110 + 4999, items, 2), 0);
    assert_int_equal(due(world, 3130 + 5000, items, 2), 2);
}

/* ... but a leader whose turns are all slow ends leases nevertheless, late by one gap. */
static void gaps_do_not_add_up(void **state)
{
    struct world *world = *state;
    struct lease_expire_item items[2];
    make(world, 1000);
    uint64_t renewed = make(world, 1000);
    take_office(world, 0);
    for (uint64_t now_ms = 300; now_ms <= 1200; now_ms += 300) lease_clock_gap(world->clock, 300);
    lease_clock_check(world->clock);
    assert_true(lease_clock_renew(world->clock, renewed, 1200));
    assert_int_equal(due(world, 1110 + 299, items, 2), 0);
    assert_int_equal(due(world, 1110 + 300, items, 2), 1);
    assert_int_equal(due(world, 1200 + 1110, items, 2), 1);
}

/* Step 6. */
static void losing_office_forgets_everything(void **state)
{
    struct world *world = *state;
    uint64_t lease = make(world, 1000);
    take_office(world, 0);
    lease_clock_lose_office(world->clock);
    lease_clock_check(world->clock);
    assert_int_equal(lease_clock_count(world->clock), 0);
    assert_int_equal(lease_clock_next_ms(world->clock), UINT64_MAX);
    assert_false(lease_clock_renew(world->clock, lease, 1));
    take_office(world, 9000);
    assert_int_equal(lease_clock_next_ms(world->clock), 9000 + 1010 + 100);
}

static int set_up(void **state)
{
    struct world *world = test_calloc(1, sizeof *world);
    world->rows = rows_memory_new();
    world->clock = lease_clock_new(100);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    lease_clock_free(world->clock);
    rows_memory_free(world->rows);
    arena_free(&world->arena);
    test_free(world);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(taking_office_gives_everybody_a_full_ttl),
        TEST(a_storm_is_spread_but_never_early),
        TEST(a_renewal_counts_from_its_arrival),
        TEST(an_expiring_lease_is_not_renewed),
        TEST(due_hands_out_at_most_what_is_asked),
        TEST(a_touch_voids_an_expiry),
        TEST(what_was_not_proposed_is_due_again),
        TEST(a_gap_moves_every_deadline),
        TEST(gaps_do_not_add_up),
        TEST(losing_office_forgets_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
