// links: lib support
/* Random commands on a few locks by a few leases. After each: every invariant of the state; beside it, kept
 * apart from the rows: a request is answered exactly once, tokens only rise over all locks, and what the
 * answers say of who holds what never lets two exclude each other at once. */
#include "coord/coord.h"
#include "coord/primitive/lock.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>

enum { STEPS = 400, LOCKS = 4, LEASES = 5, HOLDS = 4096 };

struct hold {
    uint64_t lock, token, lease, mode, permits;
};

struct world {
    struct rows *rows;
    struct arena arena, kept;
    uint64_t index, random, time_ms, token;
    uint64_t leases[LEASES];
    bool waits[STEPS + 8192]; /* by index: not answered yet */
    struct hold holds[HOLDS];
    size_t hold_count, deadlocks;
};

static uint64_t draw(struct world *world, uint64_t below)
{
    world->random = world->random * 6364136223846793005u + 1442695040888963407u;
    return (world->random >> 33) % below;
}

static uint64_t value(const struct answer *answer, const char *name)
{
    return record_number(answer->shape, answer->data, name);
}

/* A grant: nobody who excludes it holds the lock by the state's own account (lock.get), and its token is new.
 */
static void granted(struct world *world, const struct answer *answer)
{
    const struct field *field = record_field(answer->shape, SLICE("name"));
    struct slice name;
    memcpy(&name, (const char *)answer->data + field->offset, sizeof name);
    uint64_t token = value(answer, "token");
    assert_true(token == world->index);
    assert_true(world->hold_count < HOLDS);
    world->holds[world->hold_count++] = (struct hold){.lock = name.data[0],
                                                      .token = token,
                                                      .lease = value(answer, "lease"),
                                                      .mode = value(answer, "mode"),
                                                      .permits = value(answer, "permits")};
    if (token > world->token) world->token = token;
}

/* Several at once: all by the same entry. */
static void granted_many(struct world *world, const struct answer *answer)
{
    const struct field *field = record_field(answer->shape, SLICE("locks"));
    struct list list;
    memcpy(&list, (const char *)answer->data + field->offset, sizeof list);
    const struct field *name = record_field(field->record, SLICE("name"));
    assert_true(list.count >= 1 && list.count <= LOCKS);
    for (size_t i = 0; i < list.count; i++) {
        const char *item = (const char *)list.items + i * field->record->size;
        struct slice text;
        memcpy(&text, item + name->offset, sizeof text);
        assert_true(record_number(field->record, item, "token") == world->index);
        assert_true(world->hold_count < HOLDS);
        world->holds[world->hold_count++] = (struct hold){.lock = text.data[0],
                                                          .token = world->index,
                                                          .lease = value(answer, "lease"),
                                                          .mode = value(answer, "mode"),
                                                          .permits = 1};
    }
    world->token = world->index;
}

/* Each step's next is the one that comes after it, the last one's is the first. */
static void look_at_cycle(struct world *world, const struct answer *answer)
{
    const struct field *field = record_field(answer->shape, SLICE("cycle"));
    struct list list;
    memcpy(&list, (const char *)answer->data + field->offset, sizeof list);
    const struct lock_cycle_step *steps = list.items;
    assert_true(list.count >= 2);
    for (size_t i = 0; i < list.count; i++)
        assert_true(steps[i].held_by == steps[(i + 1) % list.count].lease && steps[i].waits_for.size == 1);
    world->deadlocks++;
}

static void look_at_answers(struct world *world, const struct apply *apply, bool transfer)
{
    bool own = false;
    for (const struct answer *answer = apply->answers; answer; answer = answer->next) {
        assert_true(answer->to_index <= world->index);
        if (answer->to_index == world->index) {
            assert_false(own);
            own = true;
        } else {
            assert_true(world->waits[answer->to_index]);
            world->waits[answer->to_index] = false;
        }
        if (answer->outcome == OUTCOME_CREATED && answer->shape == &lock_grant_record) granted(world, answer);
        if (answer->outcome == OUTCOME_DEADLOCK) look_at_cycle(world, answer);
        if (answer->outcome == OUTCOME_CREATED && answer->shape == &lock_many_grant_record)
            granted_many(world, answer);
        if (transfer && answer->outcome == OUTCOME_OK) {
            bool said = false; /* the new holder's own request may have been answered in the same entry */
            for (size_t i = 0; i < world->hold_count; i++) said |= world->holds[i].token == world->index;
            if (!said) granted(world, answer);
        }
    }
    world->waits[world->index] = !own;
}

static void apply_command(struct world *world, const struct operation *operation, const void *args)
{
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, ++world->index, 1, world->time_ms += draw(world, 50));
    coord_apply(&apply, &(struct command){.operation = operation, .args = args});
    look_at_answers(world, &apply, slice_is(slice_text(operation->name), "lock.transfer"));
    coord_check(world->rows, &world->kept);
    arena_reset(&world->kept);
    arena_reset(&world->arena);
}

/* "name=value" pairs, as in scripts. */
static void run(struct world *world, const char *name, const char *line)
{
    const struct operation *operation = operation_by_name(slice_text(name));
    struct arena arena = {0};
    void *args = arena_alloc(&arena, operation->args->size);
    struct setting setting = {.record = operation->args, .data = args, .arena = &arena};
    for (const char *at = line; *at;) {
        const char *equals = strchr(at, '='), *end = strchr(at, ' ');
        if (!end) end = at + strlen(at);
        const struct field *field = record_field(operation->args, slice_of(at, (size_t)(equals - at)));
        assert_true(setting_text(&setting, field, slice_of(equals + 1, (size_t)(end - equals - 1))));
        at = *end ? end + 1 : end;
    }
    if (setting_done(&setting)) apply_command(world, operation, args);
    arena_free(&arena);
}

/* The holds that the state knows of a lock must be among those the answers told, and fit each other. */
static void look_at_lock(struct world *world, char name)
{
    struct apply apply;
    struct lock lock;
    struct holder_row holder;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    lock_load(&lock, &apply, slice_of(&name, 1));
    uint64_t count = 0, exclusive = 0, permits = 0;
    for (uint64_t last = 0; lock_next_holder(&lock, last, &holder); last = holder.token) {
        bool told = false;
        for (size_t i = 0; i < world->hold_count; i++)
            told |= world->holds[i].token == holder.token && world->holds[i].lock == (uint64_t)name;
        for (size_t i = 0; i < LEASES; i++)
            told |= holder.lease == world->leases[i]; /* granted while its client was away */
        assert_true(told);
        count++;
        exclusive += holder.mode == LOCK_EXCLUSIVE;
        permits += holder.mode == LOCK_SEMAPHORE ? holder.permits : 0;
    }
    assert_true(exclusive == 0 || count == 1);
    assert_true(permits <= 3);
    arena_reset(&world->arena);
}

/* --- who waits for whom, beside the search of the program: all pairs, then whether any leads back --- */

struct graph {
    uint64_t members[64]; /* leases, and requests for several locks (odd numbers) */
    bool waits_for[64][64];
    size_t count;
};

static size_t member(struct graph *graph, uint64_t lease, uint64_t arrived)
{
    uint64_t id = lease ? lease << 1 : arrived << 1 | 1;
    for (size_t i = 0; i < graph->count; i++)
        if (graph->members[i] == id) return i;
    assert_true(graph->count < 64);
    graph->members[graph->count] = id;
    return graph->count++;
}

/* It cannot be granted the lock while the other holds it, whatever else is given back. */
static bool excluded(const struct lock *lock, const struct lock_request *waiter,
                     const struct holder_row *holder)
{
    if (waiter->mode == LOCK_SEMAPHORE) return holder->permits > lock->row.limit - waiter->permits;
    return waiter->mode == LOCK_EXCLUSIVE || holder->mode == LOCK_EXCLUSIVE;
}

static void add_waiter(struct graph *graph, struct lock *lock, const struct lock_request *waiter,
                       struct slice place)
{
    struct lock_request other;
    struct holder_row holder;
    size_t who = member(graph, waiter->lease, waiter->arrived);
    for (uint64_t last = 0; lock_next_holder(lock, last, &holder); last = holder.token)
        if (holder.lease != waiter->lease && excluded(lock, waiter, &holder))
            graph->waits_for[who][member(graph, holder.lease, 0)] = true;
    for (struct slice at = {0}; lock_next_waiter(lock, &at, &other) && slice_compare(at, place) < 0;)
        if ((other.lease || other.many) && (!other.lease || other.lease != waiter->lease))
            graph->waits_for[who][member(graph, other.lease, other.arrived)] = true;
}

static void nobody_waits_in_a_circle(struct world *world)
{
    struct graph graph = {.count = 0};
    for (char name = 'a'; name < 'a' + LOCKS; name++) {
        struct apply apply;
        struct lock lock;
        struct lock_request waiter;
        apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
        lock_load(&lock, &apply, slice_of(&name, 1));
        for (struct slice at = {0}; lock_next_waiter(&lock, &at, &waiter);)
            if ((waiter.lease || waiter.many) && !waiter.any) add_waiter(&graph, &lock, &waiter, at);
    }
    for (size_t via = 0; via < graph.count; via++)
        for (size_t i = 0; i < graph.count; i++)
            for (size_t k = 0; k < graph.count; k++)
                graph.waits_for[i][k] |= graph.waits_for[i][via] && graph.waits_for[via][k];
    for (size_t i = 0; i < graph.count; i++) assert_false(graph.waits_for[i][i]);
    arena_reset(&world->arena);
}

static void acquire(struct world *world, char name)
{
    static const char *const modes[] = {"",
                                        " mode=exclusive",
                                        " mode=shared",
                                        " mode=shared",
                                        " mode=semaphore limit=3 permits=1",
                                        " mode=semaphore limit=3 permits=2",
                                        " mode=semaphore limit=3 permits=3"};
    char line[200], lease[40] = "";
    uint64_t which = draw(world, LEASES * 2);
    if (which < LEASES)
        snprintf(lease, sizeof lease, " lease=L%llx", (unsigned long long)world->leases[which]);
    snprintf(line, sizeof line, "name=%c%s%s%s priority=%u%s%s", name, modes[draw(world, 7)], lease,
             draw(world, 3) ? " wait=1m" : "", (unsigned)draw(world, 3), draw(world, 6) ? "" : " delay=5s",
             *lease && !draw(world, 4) ? " reentrant=true" : "");
    run(world, "lock.acquire", line);
}

static void acquire_many(struct world *world)
{
    static const char *const names[] = {"a,b", "d,a", "a,b,c", "c,a", "b,c", "b"};
    char line[200], lease[40] = "";
    uint64_t which = draw(world, LEASES * 2);
    if (which < LEASES)
        snprintf(lease, sizeof lease, " lease=L%llx", (unsigned long long)world->leases[which]);
    snprintf(line, sizeof line, "names=%s%s%s%s%s priority=%u", names[draw(world, 6)], lease,
             draw(world, 3) ? " wait=1m" : "", draw(world, 4) ? "" : " mode=shared",
             draw(world, 4) ? "" : " any=true", (unsigned)draw(world, 3));
    run(world, "lock.acquire_many", line);
}

static void release_many(struct world *world)
{
    char line[80];
    if (!world->hold_count) return;
    const struct hold *hold =
        &world->holds[world->hold_count - 1 - draw(world, world->hold_count < 6 ? world->hold_count : 6)];
    snprintf(line, sizeof line, "lease=L%llx token=%llu", (unsigned long long)hold->lease,
             (unsigned long long)hold->token);
    run(world, "lock.release_many", line);
}

static void expire_some(struct world *world)
{
    struct lease_expire_item items[3];
    struct lease_expire_args args = {1, {items, 0}};
    struct lease_row row;
    for (uint64_t from = 0; args.items.count < 3 && lease_next(world->rows, &world->kept, from, &row);
         from = row.id)
        if (!draw(world, 3))
            items[args.items.count++] =
                (struct lease_expire_item){row.id, draw(world, 5) ? row.generation : 1};
    apply_command(world, operation_lease_expire, &args);
}

static uint64_t some_token(struct world *world)
{
    return world->hold_count ? world
                                   ->holds[world->hold_count - 1 -
                                           draw(world, world->hold_count < 6 ? world->hold_count : 6)]
                                   .token
                             : 1;
}

static void step(struct world *world)
{
    char line[80], name = (char)('a' + draw(world, LOCKS));
    uint64_t dice = draw(world, 100);
    if (dice < 32)
        acquire(world, name);
    else if (dice < 46)
        acquire_many(world);
    else if (dice < 50)
        release_many(world);
    else if (dice < 65) {
        snprintf(line, sizeof line, "name=%c token=%llu", name, (unsigned long long)some_token(world));
        run(world, "lock.release", line);
    } else if (dice < 72)
        expire_some(world);
    else if (dice < 80) {
        struct wait_cancel_args args = {1 + draw(world, world->index),
                                        draw(world, 2) ? END_TIMEOUT : END_CLIENT_GONE};
        apply_command(world, operation_wait_cancel, &args);
    } else if (dice < 84) {
        snprintf(line, sizeof line, "name=%c token=%llu to=L%llx", name,
                 (unsigned long long)some_token(world),
                 (unsigned long long)world->leases[draw(world, LEASES)]);
        run(world, "lock.transfer", line);
    } else if (dice < 86) {
        snprintf(line, sizeof line, "name=%c", name);
        run(world, "lock.break", line);
    } else if (dice < 90) {
        uint64_t which = draw(world, LEASES);
        snprintf(line, sizeof line, "id=L%llx", (unsigned long long)world->leases[which]);
        run(world, "lease.revoke", line);
        run(world, "lease.create", "ttl=30s");
        world->leases[which] = world->index << LEASE_ENTRY_BITS;
    } else if (coord_wants_pulse(world->rows)) {
        apply_command(world, operation_pulse, &(struct pulse_args){0});
    }
}

static uint64_t waiters(struct world *world)
{
    uint64_t all = 0;
    for (char name = 'a'; name < 'a' + LOCKS; name++) {
        struct apply apply;
        struct lock lock;
        apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
        lock_load(&lock, &apply, slice_of(&name, 1));
        all += lock.row.waiters;
        arena_reset(&world->arena);
    }
    return all;
}

/* Whoever still waits comes to its turn when nobody keeps what it holds. */
static void drain(struct world *world)
{
    static const char *const locks[LOCKS] = {"name=a", "name=b", "name=c", "name=d"};
    for (int round = 0; waiters(world); round++) {
        assert_true(round < 500);
        for (int i = 0; i < LOCKS; i++) run(world, "lock.break", locks[i]);
        while (coord_wants_pulse(world->rows)) apply_command(world, operation_pulse, &(struct pulse_args){0});
    }
}

static void no_promise_is_broken_in_any_order(void **state)
{
    (void)state;
    size_t deadlocks = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct world *world = test_calloc(1, sizeof *world);
        world->rows = rows_memory_new();
        world->random = seed;
        world->time_ms = 1000000;
        for (int i = 0; i < LEASES; i++) {
            run(world, "lease.create", "ttl=30s");
            world->leases[i] = world->index << LEASE_ENTRY_BITS;
        }
        while (world->index < STEPS) {
            step(world);
            for (char name = 'a'; name < 'a' + LOCKS; name++) look_at_lock(world, name);
            nobody_waits_in_a_circle(world);
            if (!draw(world, 3)) world->index++; /* entries of others */
        }
        drain(world);
        deadlocks += world->deadlocks;
        rows_memory_free(world->rows);
        arena_free(&world->arena);
        arena_free(&world->kept);
        test_free(world);
    }
    assert_true(deadlocks > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_promise_is_broken_in_any_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
