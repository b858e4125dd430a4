// links: lib support
/* Locks within transactions: a lock is granted once an entry, nothing waits, and what is refused leaves no
 * trace. */
#include "coord/coord.h"
#include "coord/event.h"
#include "coord/primitive/lock.h"
#include "coord/primitive/txn.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"

struct world {
    struct rows *rows;
    struct arena arena, kept;
    uint64_t index;
    struct apply apply;
};

static void set_words(struct setting *setting, const char *at)
{
    while (*at) {
        const char *equals = strchr(at, '='), *end = strchr(at, ' ');
        if (!end) end = at + strlen(at);
        const struct field *field = record_field(setting->record, slice_of(at, (size_t)(equals - at)));
        assert_true(setting_text(setting, field, slice_of(equals + 1, (size_t)(end - equals - 1))));
        at = *end ? end + 1 : end;
    }
}

static struct slice take_operation(const char **line)
{
    const char *end = strchr(*line, ' ');
    size_t size = end ? (size_t)(end - *line) : strlen(*line);
    struct slice name = slice_of(*line, size);
    *line += end ? size + 1 : size;
    return name;
}

/* The answer to the entry. */
static const struct answer *apply(struct world *world, const struct operation *operation, const void *args)
{
    const struct answer *own = NULL;
    world->index++;
    apply_begin(&world->apply, world->rows, &world->arena, world->index, 1, 1000 + world->index);
    coord_apply(&world->apply, &(struct command){.operation = operation, .args = args});
    for (const struct answer *answer = world->apply.answers; answer; answer = answer->next)
        if (answer->to_index == world->index) own = answer;
    coord_check(world->rows, &world->kept);
    arena_reset(&world->kept);
    return own;
}

/* One command as in a script. */
static const struct answer *run(struct world *world, const char *line)
{
    const struct operation *operation = operation_by_name(take_operation(&line));
    assert_non_null(operation);
    void *args = arena_alloc(&world->arena, operation->args->size);
    struct setting setting = {.record = operation->args, .data = args, .arena = &world->arena};
    set_words(&setting, line);
    assert_true(setting_done(&setting));
    return apply(world, operation, args);
}

/* Several as one transaction. */
static const struct answer *run_txn(struct world *world, const char *const *lines)
{
    const struct operation *txn = operation_by_name(SLICE("txn"));
    void *args = arena_alloc(&world->arena, txn->args->size);
    struct setting setting = {.record = txn->args, .data = args, .arena = &world->arena};
    for (; *lines; lines++) {
        const char *line = *lines;
        const struct operation *operation;
        struct slice name = take_operation(&line);
        void *inner = setting_operation(&setting, record_field(txn->args, SLICE("then")), name, &operation);
        assert_non_null(inner);
        struct setting nested = {.record = operation->args, .data = inner, .arena = &world->arena};
        set_words(&nested, line);
        assert_true(setting_done(&nested));
    }
    assert_true(setting_done(&setting));
    return apply(world, txn, args);
}
#define TXN(world, ...) run_txn(world, (const char *const[]){__VA_ARGS__, NULL})

/* Refused as a whole because of that operation, with that outcome; the rows are as before. */
#define ASSERT_REFUSED(world, which, why, ...)                                                               \
    do {                                                                                                     \
        uint64_t digest_before = rows_digest((world)->rows);                                                 \
        const struct answer *answer_ = TXN(world, __VA_ARGS__);                                              \
        assert_int_equal(answer_->outcome, OUTCOME_TXN_REFUSED);                                             \
        assert_int_equal(record_number(answer_->shape, answer_->data, "position"), which);                   \
        assert_int_equal(refused_outcome(answer_), why);                                                     \
        assert_true(rows_digest((world)->rows) == digest_before);                                            \
        assert_null((world)->apply.events);                                                                  \
    } while (0)

static enum outcome refused_outcome(const struct answer *answer)
{
    const struct field *field = record_field(answer->shape, SLICE("refused"));
    struct list list;
    memcpy(&list, (const char *)answer->data + field->offset, sizeof list);
    assert_int_equal(list.count, 1);
    return ((const struct operation_result *)list.items)->outcome;
}

static uint64_t token_of(struct world *world, const char *name)
{
    struct apply reading;
    struct lock lock;
    apply_begin(&reading, world->rows, &world->arena, world->index, 1, 1000);
    lock_load(&lock, &reading, slice_text(name));
    return lock.row.holders ? lock.row.token : 0;
}

static void several_locks_are_taken_and_given_back_as_one(void **state)
{
    struct world *world = *state;
    assert_int_equal(run(world, "lease.create owner=x")->outcome, OUTCOME_CREATED);
    const struct answer *answer = TXN(world, "lock.acquire name=a lease=L100000",
                                      "lock.acquire name=b lease=L100000", "lock.acquire name=c");
    assert_int_equal(answer->outcome, OUTCOME_OK);
    assert_int_equal(token_of(world, "a"), 2);
    assert_int_equal(token_of(world, "b"), 2);
    assert_int_equal(token_of(world, "c"), 2);
    ASSERT_REFUSED(world, 1, OUTCOME_STALE_TOKEN, "lock.release name=a token=2",
                   "lock.release name=b token=1");
    answer = TXN(world, "lock.release name=a token=2", "lock.release name=b token=2",
                 "lock.acquire name=d lease=L100000");
    assert_int_equal(answer->outcome, OUTCOME_OK);
    assert_int_equal(token_of(world, "a"), 0);
    assert_int_equal(token_of(world, "d"), 4);
}

static void a_held_lock_refuses_the_whole(void **state)
{
    struct world *world = *state;
    run(world, "lock.acquire name=b");
    ASSERT_REFUSED(world, 1, OUTCOME_LOCK_HELD, "lock.acquire name=a", "lock.acquire name=b",
                   "lock.acquire name=c");
    assert_int_equal(TXN(world, "lock.acquire name=a wait=1s")->outcome, OUTCOME_SENSELESS);
}

static void one_entry_grants_a_lock_once(void **state)
{
    struct world *world = *state;
    run(world, "lease.create owner=x");
    run(world, "lease.create owner=y");
    ASSERT_REFUSED(world, 1, OUTCOME_SENSELESS, "lock.acquire name=a mode=shared",
                   "lock.acquire name=a mode=shared");
    ASSERT_REFUSED(world, 1, OUTCOME_SENSELESS, "lock.acquire name=a mode=shared lease=L100000",
                   "lock.acquire name=a lease=L100000");
    run(world, "lock.acquire name=a lease=L100000");
    /* the freed lock can be taken, but not by two; nor handed over after that */
    uint64_t index = world->index;
    assert_int_equal(index, 5);
    ASSERT_REFUSED(world, 2, OUTCOME_SENSELESS, "lock.release name=a token=5",
                   "lock.acquire name=a mode=shared lease=L100000",
                   "lock.acquire name=a mode=shared lease=L200000");
    ASSERT_REFUSED(world, 1, OUTCOME_SENSELESS, "lock.transfer name=a token=5 to=L200000",
                   "lock.transfer name=a token=7 to=L100000");
    assert_int_equal(TXN(world, "lock.release name=a token=5", "lock.acquire name=a lease=L200000")->outcome,
                     OUTCOME_OK);
    assert_int_equal(token_of(world, "a"), 8);
}

/* Who waits gets it when the transaction frees it, and a later operation of the same transaction does not. */
static void a_waiter_comes_before_the_rest_of_the_transaction(void **state)
{
    struct world *world = *state;
    run(world, "lock.acquire name=a");
    assert_null(run(world, "lock.acquire name=a wait=1m owner=w"));
    ASSERT_REFUSED(world, 1, OUTCOME_LOCK_HELD, "lock.release name=a token=1", "lock.acquire name=a");
    assert_null(world->apply.answers->next); /* the waiter was not told of what was taken back */
    assert_int_equal(TXN(world, "lock.break name=a", "lock.acquire name=b")->outcome, OUTCOME_OK);
    assert_int_equal(token_of(world, "a"), 4);
    assert_int_equal(world->apply.answers->to_index, 2);
}

static void an_upgrade_within_a_transaction_is_done_or_refused(void **state)
{
    struct world *world = *state;
    run(world, "lease.create owner=x");
    run(world, "lock.acquire name=a mode=shared lease=L100000");
    assert_int_equal(TXN(world, "lock.acquire name=a lease=L100000", "lock.acquire name=b")->outcome,
                     OUTCOME_OK);
    assert_int_equal(token_of(world, "a"), 3);
    run(world, "lock.acquire name=s mode=shared lease=L100000");
    run(world, "lock.acquire name=s mode=shared");
    ASSERT_REFUSED(world, 0, OUTCOME_LOCK_HELD, "lock.acquire name=s lease=L100000");
}

static void several_at_once_within_a_transaction(void **state)
{
    struct world *world = *state;
    run(world, "lease.create owner=x");
    ASSERT_REFUSED(world, 1, OUTCOME_SENSELESS, "lock.acquire name=b mode=shared",
                   "lock.acquire_many names=a,b mode=shared");
    ASSERT_REFUSED(world, 1, OUTCOME_SENSELESS, "lock.acquire_many names=a,b mode=shared",
                   "lock.acquire name=a mode=shared lease=L100000");
    ASSERT_REFUSED(world, 1, OUTCOME_LOCK_HELD, "lock.acquire_many names=a,b", "lock.acquire_many names=c,a");
    const struct answer *answer =
        TXN(world, "lock.acquire_many names=a,b lease=L100000", "lock.acquire_many names=b,c any=true");
    assert_int_equal(answer->outcome, OUTCOME_OK);
    uint64_t index = world->index;
    assert_int_equal(token_of(world, "a"), index);
    assert_int_equal(token_of(world, "b"), index);
    assert_int_equal(token_of(world, "c"), index);
    assert_int_equal(TXN(world, "lock.acquire_many names=d,e wait=1s")->outcome, OUTCOME_SENSELESS);
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
    arena_free(&world->kept);
    test_free(world);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(several_locks_are_taken_and_given_back_as_one),
        TEST(a_held_lock_refuses_the_whole),
        TEST(one_entry_grants_a_lock_once),
        TEST(a_waiter_comes_before_the_rest_of_the_transaction),
        TEST(an_upgrade_within_a_transaction_is_done_or_refused),
        TEST(several_at_once_within_a_transaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
