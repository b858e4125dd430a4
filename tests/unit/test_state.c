// links: storage lib
/* The state in LMDB: rows as lib/coord/rows.h promises them, marks and commits. */
#include "tests/unit/state_test.h"

#include <pthread.h>

static void rows_are_a_sorted_map(void **state)
{
    struct fixture *f = *state;
    struct slice key, value;
    assert_false(rows_get(f->rows, SLICE("a"), &value));
    assert_false(rows_delete(f->rows, SLICE("a")));
    assert_false(rows_seek(f->rows, SLICE(""), &key, &value));
    assert_false(rows_seek_back(f->rows, SLICE("z"), &key, &value));
    put(f, "b", "2");
    put(f, "a", "1");
    put(f, "ab", "");
    put(f, "b", "two");
    assert_true(has(f, "a", "1") && has(f, "ab", "") && has(f, "b", "two") && !has(f, "c", ""));
    assert_true(rows_seek(f->rows, SLICE(""), &key, &value) && slice_is(key, "a") && slice_is(value, "1"));
    assert_true(rows_seek(f->rows, SLICE("aa"), &key, &value) && slice_is(key, "ab") && value.size == 0);
    assert_true(rows_seek(f->rows, SLICE("ab"), &key, &value) && slice_is(key, "ab"));
    assert_false(rows_seek(f->rows, SLICE("b\1"), &key, &value));
    assert_true(rows_seek_back(f->rows, SLICE("zz"), &key, &value) && slice_is(key, "b"));
    assert_true(rows_seek_back(f->rows, SLICE("b"), &key, &value) && slice_is(key, "ab"));
    assert_true(rows_seek_back(f->rows, SLICE("aa"), &key, &value) && slice_is(key, "a"));
    assert_false(rows_seek_back(f->rows, SLICE("a"), &key, &value));
    assert_false(rows_seek_back(f->rows, SLICE(""), &key, &value));
    assert_true(rows_delete(f->rows, SLICE("ab")));
    assert_false(rows_delete(f->rows, SLICE("ab")));
    assert_int_equal(state_check(f->state), 2);
}

static void keys_and_values_of_every_size(void **state)
{
    struct fixture *f = *state;
    static uint8_t long_key[600], large[2 * 1024 * 1024];
    memset(long_key, 'k', sizeof long_key);
    for (size_t i = 0; i < sizeof large; i++) large[i] = (uint8_t)(i * 31);
    struct slice key, value;
    const size_t sizes[] = {0, 1, 2000, 2023, 4096, 65536, sizeof large};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rows_put(f->rows, slice_of(long_key, 511 - i), slice_of(large, sizes[i]));
        assert_true(rows_get(f->rows, slice_of(long_key, 511 - i), &value));
        assert_true(slice_equal(value, slice_of(large, sizes[i])));
    }
    assert_false(rows_seek(f->rows, slice_of(long_key, 600), &key, &value)); /* just behind the longest key */
    assert_true(rows_seek_back(f->rows, slice_of(long_key, 600), &key, &value) && key.size == 511);
    mark(f);
    assert_int_equal(state_commit(f->state), 0);
    reopen(f);
    assert_int_equal(state_check(f->state), sizeof sizes / sizeof *sizes);
    assert_true(rows_get(f->rows, slice_of(long_key, 511 - 6), &value));
    assert_true(slice_equal(value, slice_of(large, sizeof large)));
}

/* The same random life for the rows and for a plain table. */
static void rows_agree_with_a_table(void **state)
{
    struct fixture *f = *state;
    enum { KEYS = 400 };
    static char table[KEYS][64];
    uint64_t random = 99, digest = 0;
    char key[16];
    memset(table, 0, sizeof table);
    for (int i = 0; i < 20000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t at = (random >> 33) % KEYS;
        snprintf(key, sizeof key, "%c%03zu", "xyz"[at % 3], at);
        struct slice value;
        assert_int_equal(rows_get(f->rows, slice_text(key), &value), table[at][0] != 0);
        if (table[at][0]) {
            assert_true(slice_is(value, table[at]));
            digest -= row_hash(slice_text(key), slice_text(table[at]));
        }
        if (random >> 60 < 6) {
            assert_int_equal(rows_delete(f->rows, slice_text(key)), table[at][0] != 0);
            table[at][0] = 0;
        } else {
            snprintf(table[at], sizeof table[at], "%0*d", 1 + (int)(random >> 40) % 60, i % 7);
            rows_put(f->rows, slice_text(key), slice_text(table[at]));
            digest += row_hash(slice_text(key), slice_text(table[at]));
        }
        assert_true(rows_digest(f->rows) == digest);
        if (i % 1000 != 0) continue;
        mark(f);
        assert_int_equal(state_commit(f->state), 0);
        if (i % 5000 == 0) reopen(f);
        state_check(f->state);
        assert_true(state_mark(f->state).digest == digest);
    }
}

/* Callers write what they have just read. */
static void what_was_read_may_be_written(void **state)
{
    struct fixture *f = *state;
    struct slice key, value;
    char name[16];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "k%03d", i);
        rows_put(f->rows, slice_text(name), SLICE(""));
        rows_put(f->rows, slice_text(name), slice_text("some value that is not short at all"));
    }
    for (int i = 0; i < 299; i++) {
        snprintf(name, sizeof name, "k%03d", i);
        assert_true(rows_seek(f->rows, slice_text(name), &key, &value));
        char longer[600];
        snprintf(longer, sizeof longer, "%.*s%.*s", SLICE_ARGS(value), SLICE_ARGS(value));
        struct slice again = value;
        rows_put(f->rows, key, slice_of(again.data, again.size - 1)); /* own key, own value */
        assert_true(rows_seek(f->rows, slice_text(name), &key, &value));
        assert_true(slice_is(key, name) && value.size == again.size - 1);
        rows_put(f->rows, SLICE("other"), value);
        assert_true(rows_get(f->rows, SLICE("other"), &value) && value.size == again.size - 1);
        rows_put(f->rows, slice_text(name), slice_text(longer));
    }
    assert_true(rows_seek(f->rows, SLICE("k299"), &key, &value));
    assert_true(rows_delete(f->rows, key));
    assert_int_equal(state_check(f->state), 300);
}

static void the_digest_forgets_the_way(void **state)
{
    struct fixture *f = *state;
    assert_true(rows_digest(f->rows) == 0);
    put(f, "a", "1");
    put(f, "b", "2");
    uint64_t digest = rows_digest(f->rows);
    put(f, "b", "2");
    assert_true(rows_digest(f->rows) == digest);
    put(f, "c", "3");
    assert_true(rows_digest(f->rows) != digest);
    rows_delete(f->rows, SLICE("c"));
    assert_true(rows_digest(f->rows) == digest);
    rows_delete(f->rows, SLICE("b"));
    rows_delete(f->rows, SLICE("a"));
    assert_true(rows_digest(f->rows) == 0);
    put(f, "b", "2");
    put(f, "a", "1");
    assert_true(rows_digest(f->rows) == digest);
    put(f, "a", "2");
    put(f, "b", "1");
    assert_true(rows_digest(f->rows) != digest);
}

static void only_what_is_committed_survives(void **state)
{
    struct fixture *f = *state;
    struct state_mark at_start = state_mark(f->state);
    assert_true(at_start.applied == 0 && at_start.term == 0 && at_start.time_ms == 0 && at_start.digest == 0);
    put(f, "a", "1");
    mark(f);
    assert_int_equal(state_commit(f->state), 0);
    struct state_mark committed = state_mark(f->state);
    put(f, "a", "2");
    put(f, "b", "2");
    mark(f);
    assert_true(state_mark(f->state).applied == 2 && state_mark(f->state).digest != committed.digest);
    reopen(f);
    struct state_mark now = state_mark(f->state);
    assert_memory_equal(&now, &committed, sizeof now);
    assert_true(committed.applied == 1 && committed.term == 1 && committed.time_ms == 1001);
    assert_true(has(f, "a", "1") && !has(f, "b", "2"));
}

static void synced_is_the_commit_before_the_last(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 5; i++) {
        put(f, "a", i % 2 ? "1" : "2");
        mark(f);
        assert_int_equal(state_synced(f->state).applied, i < 2 ? 0 : i - 2);
        assert_int_equal(state_commit(f->state), 0);
        assert_int_equal(state_synced(f->state).applied, i - 1);
        assert_int_equal(state_commit(f->state), 0); /* nothing new: nothing is made certain by it */
        assert_int_equal(state_synced(f->state).applied, i - 1);
    }
    reopen(f);
    assert_int_equal(state_synced(f->state).applied, 5);
}

static void pages_are_counted_not_rows(void **state)
{
    enum { LEAVES = 20, ROWS = LEAVES * 30, PAGE = 4096 };
    struct fixture *f = *state;
    static const uint8_t bytes[40960];
    char key[20];
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < ROWS; i++) {
            snprintf(key, sizeof key, "key-%05d", i);
            rows_put(f->rows, slice_text(key), slice_of(bytes, 50 + (size_t)round));
        }
    }
    assert_true(state_dirty(f->state) >= 8 * ROWS);
    assert_in_range(state_pages(f->state), ROWS * 50 / PAGE, 8 * ROWS * 100 / PAGE);
    mark(f);
    assert_int_equal(state_commit(f->state), 0);
    assert_int_equal(state_pages(f->state), 0);
    rows_put(f->rows, SLICE("b"), slice_of(bytes, sizeof bytes));
    assert_in_range(state_pages(f->state), sizeof bytes / PAGE, sizeof bytes / PAGE + 2);
    rows_delete(f->rows, SLICE("key-00000"));
    rows_delete(f->rows, SLICE("key-00599"));
    assert_in_range(state_pages(f->state), sizeof bytes / PAGE + 2, sizeof bytes / PAGE + 4);
}

static void dirty_counts_work_not_calls(void **state)
{
    struct fixture *f = *state;
    static const uint8_t large[40960];
    assert_int_equal(state_dirty(f->state), 0);
    put(f, "a", "1");
    put(f, "a", "1");
    assert_int_equal(state_dirty(f->state), 1);
    rows_put(f->rows, SLICE("b"), slice_of(large, sizeof large));
    assert_int_equal(state_dirty(f->state), 12);
    rows_delete(f->rows, SLICE("a"));
    rows_delete(f->rows, SLICE("a"));
    assert_int_equal(state_dirty(f->state), 13);
    mark(f);
    assert_int_equal(state_dirty(f->state), 14);
    assert_int_equal(state_commit(f->state), 0);
    assert_int_equal(state_dirty(f->state), 0);
}

static void *use_and_commit(void *context)
{
    struct fixture *f = context;
    put(f, "from another thread", "1");
    mark(f);
    return state_commit(f->state) ? f : NULL;
}

static void another_thread_may_take_over_after_a_commit(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    void *result;
    put(f, "a", "1");
    mark(f);
    assert_int_equal(state_commit(f->state), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&thread, NULL, use_and_commit, f), 0);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_null(result);
        assert_true(has(f, "from another thread", "1"));
        assert_int_equal(state_commit(f->state), 0); /* gives the transaction of that look back */
    }
}

static void *use(void *context)
{
    put(context, "a", "1");
    return NULL;
}

static void closing_by_another_thread_works(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, use, f), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    reopen(f);
    assert_false(has(f, "a", "1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_are_a_sorted_map, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_and_values_of_every_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_agree_with_a_table, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_read_may_be_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_digest_forgets_the_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_what_is_committed_survives, set_up, tear_down),
        cmocka_unit_test_setup_teardown(synced_is_the_commit_before_the_last, set_up, tear_down),
        cmocka_unit_test_setup_teardown(dirty_counts_work_not_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pages_are_counted_not_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_thread_may_take_over_after_a_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(closing_by_another_thread_works, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
