// links: daemon support
/* Calls of streams that hold something, and the commands that undo a grant nobody received. */
#include "coord/coord.h"
#include "coord/primitive/lock.h"
#include "coordd/held.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>

struct world {
    struct rows *rows;
    struct arena arena;
    uint64_t index, origin;
};

/* "name=value" pairs, as in scripts. */
static void *args_of(struct arena *arena, const struct operation *operation, const char *at)
{
    void *args = arena_alloc(arena, operation->args->size);
    struct setting setting = {.record = operation->args, .data = args, .arena = arena};
    while (*at) {
        const char *equals = strchr(at, '='), *end = strchr(at, ' ');
        if (!end) end = at + strlen(at);
        const struct field *field = record_field(operation->args, slice_of(at, (size_t)(equals - at)));
        assert_true(setting_text(&setting, field, slice_of(equals + 1, (size_t)(end - equals - 1))));
        at = *end ? end + 1 : end;
    }
    assert_true(setting_done(&setting));
    return args;
}

static const struct answer *run(struct world *world, const struct operation *operation, const void *args)
{
    struct apply *apply = arena_alloc(&world->arena, sizeof *apply);
    world->index++;
    apply_begin(apply, world->rows, &world->arena, world->index, 1, 1000);
    coord_apply(apply, &(struct command){.operation = operation, .origin = world->origin, .args = args});
    for (const struct answer *answer = apply->answers; answer; answer = answer->next)
        if (answer->to_index == world->index) return answer;
    return NULL;
}

static struct call *call_of(struct world *world, const char *name, const char *line)
{
    struct call *call = call_new();
    call->operation = operation_by_name(slice_text(name));
    call->args = args_of(&call->arena, call->operation, line);
    (void)world;
    return call;
}

/* Done and answered, as pending would. */
static void answered(struct world *world, struct call *call)
{
    const struct answer *answer = run(world, call->operation, call->args);
    assert_non_null(answer);
    call->outcome = answer->outcome;
    call->shape = answer->shape;
    call->result = answer->shape ? record_copy(answer->shape, answer->data, &call->arena, NULL, NULL) : NULL;
}

static uint64_t holders(struct world *world, const char *name)
{
    struct apply apply;
    struct lock lock;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, 1000);
    lock_load(&lock, &apply, slice_text(name));
    return lock.row.holders;
}

static void undo(struct world *world, struct call *call)
{
    const struct operation *operation = operation_by_name(slice_text(call->operation->undo));
    assert_int_equal(run(world, operation, call_undo_args(call, operation))->outcome, OUTCOME_OK);
}

static void every_undo_of_this_build_can_be_filled_in(void **state)
{
    (void)state;
    size_t count = 0;
    for (size_t p = 0; primitives[p]; p++)
        for (size_t i = 0; i < primitives[p]->operation_count; i++) {
            const struct operation *operation = &primitives[p]->operations[i];
            if (!operation->undo) continue;
            const struct operation *back = operation_by_name(slice_text(operation->undo));
            assert_non_null(back);
            assert_int_equal(back->kind, OPERATION_COMMAND);
            for (size_t f = 0; f < back->args->field_count; f++) {
                const struct field *to = &back->args->fields[f];
                const struct field *from = record_field(operation->result, slice_text(to->name));
                assert_non_null(from);
                assert_true((from->type <= FIELD_BOOL) == (to->type <= FIELD_BOOL));
            }
            count++;
        }
    assert_true(count >= 3);
}

static void a_grant_of_one_and_of_several_is_undone(void **state)
{
    struct world *world = *state;
    struct call *one = call_of(world, "lock.acquire", "name=a"),
                *several = call_of(world, "lock.acquire_many", "names=b,c");
    answered(world, one);
    answered(world, several);
    assert_int_equal(holders(world, "a") + holders(world, "b") + holders(world, "c"), 3);
    undo(world, several);
    assert_int_equal(holders(world, "a"), 1);
    assert_int_equal(holders(world, "b") + holders(world, "c"), 0);
    undo(world, one);
    assert_int_equal(holders(world, "a"), 0);
    call_free(one);
    call_free(several);
}

static void only_streams_that_hold_have_a_first_command(void **state)
{
    struct world *world = *state;
    struct call *plain = call_of(world, "lock.acquire", "name=a"),
                *watch = call_of(world, "watch", "prefix=/"),
                *hold = call_of(world, "lock.hold", "name=a owner=me");
    assert_false(held_prepare(plain));
    assert_false(held_prepare(watch));
    assert_null(plain->hold);
    assert_true(held_prepare(hold));
    assert_string_equal(hold->operation->name, "lock.take");
    answered(world, hold);
    assert_true(held_granted(hold));
    assert_string_equal(hold->operation->name, "lock.hold");
    call_free(plain);
    call_free(watch);
    call_free(hold);
}

static void a_refusal_is_the_streams(void **state)
{
    struct world *world = *state;
    struct call *one = call_of(world, "lock.acquire", "name=a"),
                *hold = call_of(world, "lock.hold", "name=a");
    answered(world, one);
    assert_true(held_prepare(hold));
    answered(world, hold);
    assert_int_equal(hold->outcome, OUTCOME_LOCK_HELD);
    assert_false(held_granted(hold));
    assert_string_equal(hold->operation->name, "lock.hold");
    call_free(one);
    call_free(hold);
}

static struct held *held_of(struct world *world, const char *line)
{
    struct call *hold = call_of(world, "lock.hold", line);
    assert_true(held_prepare(hold));
    answered(world, hold);
    assert_true(held_granted(hold));
    struct held *held = held_new(hold);
    call_free(hold); /* it needs nothing of the call */
    return held;
}

/* The events of one command, each with what the hold thinks of it: E ends it, c concerns it, - not. */
static void thinks(struct world *world, const struct held *held, const char *name, const char *line,
                   const char *expected)
{
    const struct operation *operation = operation_by_name(slice_text(name));
    char thoughts[20] = "";
    size_t count = 0;
    run(world, operation, args_of(&world->arena, operation, line));
    for (const struct event *event = events_next(world->rows, &world->arena, world->index - 1); event;
         event = event->next)
        thoughts[count++] = held_ends(held, event) ? 'E' : held_concerns(held, event) ? 'c' : '-';
    assert_string_equal(thoughts, expected);
}

static void only_its_own_end_ends_it(void **state)
{
    struct world *world = *state;
    struct held *held = held_of(world, "name=a mode=shared"), *other = held_of(world, "name=a mode=shared");
    assert_true(held->token != other->token);
    assert_true(slice_is(held->request.scopes[0].path, "/locks/a"));
    thinks(world, held, "lock.yield", "name=a", "c");
    char line[60];
    snprintf(line, sizeof line, "name=a token=%llu", (unsigned long long)other->token);
    thinks(world, held, "lock.release", line, "-");
    assert_int_equal(run(world, other->undo, other->undo_args)->outcome, OUTCOME_OK); /* a second time */
    thinks(world, held, "lock.break", "name=a", "E");
    held_free(held);
    held_free(other);
}

static int set_up(void **state)
{
    struct world *world = test_calloc(1, sizeof *world);
    world->rows = rows_memory_new();
    struct lease_session_args args = {1, 1, 10000};
    const struct answer *answer = run(world, operation_lease_session, &args);
    world->origin = ((const struct lease_session_result *)answer->data)->lease;
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
        TEST(every_undo_of_this_build_can_be_filled_in),
        TEST(a_grant_of_one_and_of_several_is_undone),
        TEST(only_streams_that_hold_have_a_first_command),
        TEST(a_refusal_is_the_streams),
        TEST(only_its_own_end_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
