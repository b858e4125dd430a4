// links: lib support
/* Keys at their limits: sizes, counts, fences, histories, what a transaction may do with them. */
#include <stdint.h>
#include <stdio.h>

static uint64_t kept_bytes = 64u * 1024 * 1024;
#define EVENT_BYTES_KEPT kept_bytes
#include "coord/event.c"

#include "coord/coord.h"
#include "coord/primitive/kv.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/kv_arguments.h"

static struct rows *rows;
static uint64_t entry_index;
static struct apply entry; /* the one being made */
static struct slice fence;

static int setup(void **unused)
{
    (void)unused;
    rows = rows_memory_new();
    entry_index = 0;
    kept_bytes = 64u * 1024 * 1024;
    fence = (struct slice){0};
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    rows_memory_free(rows);
    arena_free(&arena);
    return 0;
}

static void check(void)
{
    struct arena checking = {0};
    coord_check(rows, &checking);
    arena_free(&checking);
}

static void begin(void)
{
    entry_index++;
    apply_begin(&entry, rows, &arena, entry_index, 1, 1000000 + entry_index);
}

static const struct answer *run_in(struct apply *apply, struct args *args)
{
    assert_true(setting_done(&args->setting));
    struct answer **end = apply->answers_end;
    apply->settled = false;
    apply->fence.lock = fence;
    args->operation->apply(apply, args->setting.data);
    assert_non_null(*end);
    return *end;
}

/* An entry of its own, or for a query none. */
static const struct answer *run(struct args *args)
{
    if (args->operation->kind == OPERATION_QUERY) {
        struct apply *apply = arena_alloc(&arena, sizeof *apply);
        apply_begin(apply, rows, &arena, entry_index, 1, 0);
        return run_in(apply, args);
    }
    begin();
    const struct answer *answer = run_in(&entry, args);
    events_keep(&entry);
    return answer;
}

static struct args put_args(struct slice key, struct slice value)
{
    struct args args = args_of("kv.put");
    set_bytes(&args, "key", key);
    set_bytes(&args, "value", value);
    return args;
}

static enum outcome put(const char *key, const char *value)
{
    struct args args = put_args(slice_text(key), slice_text(value));
    return run(&args)->outcome;
}

static const struct answer *get(const char *key, uint64_t at)
{
    struct args args = args_of("kv.get");
    set_bytes(&args, "key", slice_text(key));
    if (at) set_number(&args, "at", at);
    return run(&args);
}

static bool reads(const char *key, uint64_t at, const char *value)
{
    const struct answer *answer = get(key, at);
    return answer->outcome == OUTCOME_OK && slice_is(bytes_at(answer->shape, answer->data, "value"), value);
}

static const struct answer *erase(const char *key)
{
    struct args args = args_of("kv.delete");
    set_bytes(&args, "key", slice_text(key));
    return run(&args);
}

static uint64_t new_lease(void)
{
    struct args args = args_of("lease.create");
    const struct answer *answer = run(&args);
    return record_number(answer->shape, answer->data, "lease");
}

static const struct answer *delete_prefix(const char *prefix, uint64_t limit)
{
    struct args args = args_of("kv.delete_prefix");
    set_bytes(&args, "prefix", slice_text(prefix));
    if (limit) set_number(&args, "limit", limit);
    return run(&args);
}

static size_t count_events(uint64_t index)
{
    size_t count = 0;
    for (struct event *event = events_next(rows, &arena, index - 1); event && event->revision == index;
         event = event->next)
        count++;
    return count;
}

/* --- sizes --- */

static void a_value_has_a_mebibyte_at_most(void **unused)
{
    (void)unused;
    size_t size = KV_VALUE_MAX;
    uint8_t *bytes = arena_alloc(&arena, size + 1);
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(i * 7 + (i >> 8));
    struct args args = put_args(SLICE("big"), slice_of(bytes, size));
    assert_int_equal(run(&args)->outcome, OUTCOME_CREATED);
    assert_true(slice_equal(bytes_at(&kv_entry_record, get("big", 0)->data, "value"), slice_of(bytes, size)));
    struct args over = args_of("kv.put");
    assert_false(setting_bytes(&over.setting, field_of(&over, "value"), slice_of(bytes, size + 1)));
    put("big", "small");
    const struct event *event = events_next(rows, &arena, 1);
    const void *prev = pointer_at(event->shape, event->data, "prev");
    assert_true(slice_equal(bytes_at(&kv_prev_record, prev, "value"), slice_of(bytes, size)));
    assert_true(slice_equal(bytes_at(&kv_entry_record, get("big", 1)->data, "value"), slice_of(bytes, size)));
    check();
}

static void a_key_has_480_bytes_at_most(void **unused)
{
    (void)unused;
    uint8_t bytes[KV_KEY_MAX + 1];
    memset(bytes, 0xff, sizeof bytes);
    struct args args = put_args(slice_of(bytes, KV_KEY_MAX), SLICE("x")), over = args_of("kv.put");
    set_lease(&args, "lease", new_lease());
    assert_int_equal(run(&args)->outcome, OUTCOME_CREATED);
    assert_false(setting_bytes(&over.setting, field_of(&over, "key"), slice_of(bytes, sizeof bytes)));
    check();
    struct args all = args_of("kv.list");
    const struct answer *answer = run(&all);
    struct list list;
    memcpy(&list, field_at(answer->shape, answer->data, "keys"), sizeof list);
    assert_int_equal(list.count, 1);
    assert_true(slice_equal(bytes_at(&kv_entry_record, list.items, "key"), slice_of(bytes, KV_KEY_MAX)));
}

static void a_page_ends_behind_two_mebibytes(void **unused)
{
    (void)unused;
    struct slice value = slice_of(arena_alloc(&arena, KV_VALUE_MAX), KV_VALUE_MAX);
    for (char name = 'a'; name <= 'e'; name++) {
        struct args args = put_args(slice_of(&name, 1), value);
        run(&args);
    }
    struct args args = args_of("kv.list"), keys = args_of("kv.list");
    const struct answer *answer = run(&args);
    assert_int_equal(record_number(answer->shape, answer->data, "count"), 2);
    assert_true(slice_is(bytes_at(answer->shape, answer->data, "cursor"), "b"));
    set_true(&keys, "keys_only");
    answer = run(&keys);
    assert_int_equal(record_number(answer->shape, answer->data, "count"), 5);
}

static void paths_of_keys_can_be_printed(void **unused)
{
    (void)unused;
    struct apply apply;
    apply_begin(&apply, rows, &arena, 1, 1, 1);
    assert_true(slice_is(kv_path(&apply, SLICE("a/b%c")), "/kv/a/b%c"));
    assert_true(slice_is(kv_path(&apply, SLICE("\xc3\xa4\n")), "/kv/\xc3\xa4%0A"));
    assert_true(slice_is(kv_path(&apply, slice_of("a\0%\xff", 4)), "/kv/a%00%25%FF"));
}

/* --- counts --- */

static void a_lease_has_ten_thousand_keys_at_most(void **unused)
{
    (void)unused;
    uint64_t lease = new_lease();
    char key[16];
    for (unsigned i = 0; i <= KV_LEASE_KEYS_MAX; i++) {
        snprintf(key, sizeof key, "k%05u", i);
        struct args args = put_args(slice_text(key), SLICE("v"));
        set_lease(&args, "lease", lease);
        const struct answer *answer = run(&args);
        assert_int_equal(answer->outcome, i < KV_LEASE_KEYS_MAX ? OUTCOME_CREATED : OUTCOME_LEASE_FULL);
        if (i == KV_LEASE_KEYS_MAX)
            assert_int_equal(record_number(answer->shape, answer->data, "limit"), KV_LEASE_KEYS_MAX);
        if (i < KV_LEASE_KEYS_MAX) arena_reset(&arena);
    }
    struct args again = put_args(SLICE("k00000"), SLICE("w"));
    set_lease(&again, "lease", lease);
    assert_int_equal(run(&again)->outcome, OUTCOME_OK);
    check();
    uint64_t dense = kv_space(&entry).space_revision;
    struct args revoke = args_of("lease.revoke");
    set_lease(&revoke, "id", lease);
    assert_int_equal(run(&revoke)->outcome, OUTCOME_NOTHING);
    assert_int_equal(kv_space(&entry).keys, 0);
    assert_int_equal(kv_space(&entry).space_revision, dense + 1);
    uint64_t after = entry_index - 1;
    const struct event *event = events_next(rows, &arena, after);
    struct slice last = {0};
    size_t count = 0;
    for (; event && event->revision == entry_index; event = event->next) {
        if (event->primitive != &kv_primitive) continue;
        assert_true(slice_compare(last, event->path) < 0);
        last = event->path;
        count++;
    }
    assert_int_equal(count, KV_LEASE_KEYS_MAX);
    check();
}

static void more_than_ten_thousand_go_by_a_limit(void **unused)
{
    (void)unused;
    char key[16];
    for (unsigned i = 0; i <= KV_DELETE_MAX; i++) {
        snprintf(key, sizeof key, "k%05u", i);
        put(key, "v");
        arena_reset(&arena);
    }
    const struct answer *answer = delete_prefix("k", 0);
    assert_int_equal(answer->outcome, OUTCOME_TOO_MANY_KEYS);
    assert_int_equal(record_number(answer->shape, answer->data, "limit"), KV_DELETE_MAX);
    assert_int_equal(count_events(entry_index), 0);
    begin(); /* nor do several requests of one entry delete more */
    for (int i = 0; i < 2; i++) {
        struct args args = args_of("kv.delete_prefix");
        set_bytes(&args, "prefix", slice_text(i ? "k" : "k0"));
        set_number(&args, "limit", i ? KV_DELETE_MAX - 4 : 5);
        rows_try(rows);
        assert_int_equal(run_in(&entry, &args)->outcome, i ? OUTCOME_TOO_MANY_KEYS : OUTCOME_OK);
        rows_decide(rows, false);
    }
    answer = delete_prefix("k", KV_DELETE_MAX);
    assert_int_equal(record_number(answer->shape, answer->data, "deleted"), KV_DELETE_MAX);
    assert_true(flag_at(answer->shape, answer->data, "more"));
    assert_int_equal(count_events(entry_index), KV_DELETE_MAX);
    answer = delete_prefix("k", 0);
    assert_int_equal(record_number(answer->shape, answer->data, "deleted"), 1);
    assert_false(flag_at(answer->shape, answer->data, "more"));
    check();
}

/* --- history --- */

static void old_versions_are_found_in_few_steps(void **unused)
{
    (void)unused;
    enum { VERSIONS = 4096, STEPS = 36 /* Myers: at most about 3 log2 */ };
    struct apply apply;
    struct kv_version version;
    for (unsigned i = 0; i < VERSIONS; i++) {
        put("a", "v");
        arena_reset(&arena);
    }
    apply_begin(&apply, rows, &arena, entry_index, 1, 1);
    for (uint64_t at = 1; at <= VERSIONS; at += 37) {
        unsigned steps = 0;
        assert_true(kv_newest(&apply, SLICE("a"), &version));
        for (; version.revision > at; steps++)
            assert_true(kv_version_of(&apply, SLICE("a"), version.jump > at ? version.jump : version.before,
                                      &version));
        assert_int_equal(version.revision, at);
        assert_true(steps <= STEPS);
    }
}

/* Two entries, of which the second stays: it is large enough for the trimming to be due. */
static void push_out(void)
{
    struct slice value = slice_of(arena_alloc(&arena, 16384), 16384);
    kept_bytes = 1;
    for (int i = 0; i < 2; i++) {
        struct args args = put_args(SLICE("zz"), value);
        run(&args);
    }
}

static void what_left_the_history_cannot_be_read(void **unused)
{
    (void)unused;
    put("a", "1");
    put("a", "2");
    push_out();
    const struct answer *answer = get("a", 2);
    assert_int_equal(answer->outcome, OUTCOME_REVISION_GONE);
    assert_int_equal(record_number(answer->shape, answer->data, "oldest"), 3);
    assert_true(reads("a", 3, "2") && reads("a", 4, "2"));
    answer = get("a", 5);
    assert_int_equal(answer->outcome, OUTCOME_REVISION_AHEAD);
    assert_int_equal(record_number(answer->shape, answer->data, "newest"), 4);
    check();
}

static void a_deleted_key_leaves_with_its_event(void **unused)
{
    (void)unused;
    struct apply apply;
    struct kv_version version;
    apply_begin(&apply, rows, &arena, 1, 1, 1);
    put("a", "1");
    erase("a");
    assert_true(kv_newest(&apply, SLICE("a"), &version) && version.deleted);
    push_out();
    assert_false(kv_newest(&apply, SLICE("a"), &version));
    assert_false(kv_version_of(&apply, SLICE("a"), 1, &version) ||
                 kv_version_of(&apply, SLICE("a"), 2, &version));
    check();
    put("a", "4");
    assert_true(reads("a", 0, "4"));
    assert_int_equal(record_number(&kv_entry_record, get("a", 0)->data, "version"), 1);
    check();
}

static void dense_revisions_count_changes_of_keys_only(void **unused)
{
    (void)unused;
    struct apply apply;
    apply_begin(&apply, rows, &arena, 1, 1, 1);
    assert_int_equal(kv_space(&apply).space_revision, 1);
    assert_int_equal(kv_index_of_revision(rows, 1), 0);
    put("a", "1");
    uint64_t lease = new_lease();
    erase("none");
    put("b", "1");
    struct args args = args_of("lease.revoke");
    set_lease(&args, "id", lease);
    run(&args);
    erase("a");
    assert_int_equal(kv_space(&apply).space_revision, 4);
    assert_int_equal(kv_index_of_revision(rows, 2), 1);
    assert_int_equal(kv_index_of_revision(rows, 3), 4);
    assert_int_equal(kv_index_of_revision(rows, 4), 6);
    assert_int_equal(kv_index_of_revision(rows, 5), 0);
    assert_int_equal(kv_index_of_revision(rows, 0), 0);
}

static void a_gone_dense_revision_is_not_found(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 10; i++) put("a", "v");
    put("b", "v");
    push_out();
    assert_int_equal(kv_index_of_revision(rows, 2), 0);
    assert_int_equal(kv_index_of_revision(rows, 10), 0);
    assert_int_equal(kv_index_of_revision(rows, 11), 10);
    assert_int_equal(kv_index_of_revision(rows, 12), 11);
    assert_int_equal(kv_index_of_revision(rows, 14), 13);
    assert_int_equal(kv_index_of_revision(rows, 15), 0);
    check();
}

/* --- transactions --- */

static void an_entry_puts_a_key_once(void **unused)
{
    (void)unused;
    begin();
    struct args first = put_args(SLICE("a"), SLICE("1")), second = put_args(SLICE("a"), SLICE("2")),
                other = put_args(SLICE("b"), SLICE("3"));
    assert_int_equal(run_in(&entry, &first)->outcome, OUTCOME_CREATED);
    assert_int_equal(run_in(&entry, &second)->outcome, OUTCOME_SENSELESS);
    struct args erase_args = args_of("kv.delete"), range = args_of("kv.delete_prefix");
    set_bytes(&erase_args, "key", SLICE("a"));
    assert_int_equal(run_in(&entry, &erase_args)->outcome, OUTCOME_SENSELESS);
    set_bytes(&range, "prefix", SLICE("a"));
    assert_int_equal(run_in(&entry, &range)->outcome, OUTCOME_SENSELESS);
    assert_int_equal(run_in(&entry, &other)->outcome, OUTCOME_CREATED);
    assert_int_equal(kv_space(&entry).space_revision, 2);
    assert_true(reads("a", 0, "1"));
    events_keep(&entry);
    check();
    assert_int_equal(put("a", "2"), OUTCOME_OK);
}

/* The lease ends after the put: the value was there for no one, but both are told. */
static void a_lease_may_take_what_the_entry_put(void **unused)
{
    (void)unused;
    uint64_t lease = new_lease();
    begin();
    struct args put_it = put_args(SLICE("a"), SLICE("1")), revoke = args_of("lease.revoke");
    set_lease(&put_it, "lease", lease);
    set_lease(&revoke, "id", lease);
    run_in(&entry, &put_it);
    run_in(&entry, &revoke);
    events_keep(&entry);
    check();
    assert_int_equal(get("a", 0)->outcome, OUTCOME_KEY_NOT_FOUND);
    struct event *event = events_next(rows, &arena, entry_index - 1);
    assert_true(event->primitive == &kv_primitive && event->kind->code == KV_PUT);
    assert_true(slice_is(bytes_at(event->shape, event->data, "value"), "1"));
    while (event->next) event = event->next;
    assert_true(event->primitive == &kv_primitive && event->kind->code == KV_DELETED);
    const void *prev = pointer_at(event->shape, event->data, "prev");
    assert_true(slice_is(bytes_at(&kv_prev_record, prev, "value"), "1"));
    assert_int_equal(put("a", "2"), OUTCOME_CREATED);
    check();
}

static void a_fence_opens_its_guard_only(void **unused)
{
    (void)unused;
    struct args guard = args_of("guard.put");
    set_bytes(&guard, "prefix", SLICE("db/"));
    set_text(&guard, "lock", SLICE("db"));
    run(&guard);
    assert_int_equal(put("db/a", "1"), OUTCOME_GUARDED);
    fence = SLICE("other");
    assert_int_equal(put("db/a", "1"), OUTCOME_GUARDED);
    fence = SLICE("db");
    assert_int_equal(put("db/a", "1"), OUTCOME_CREATED);
    assert_int_equal(put("db/b", "1"), OUTCOME_CREATED);
    assert_int_equal(erase("db/a")->outcome, OUTCOME_OK);
    fence = SLICE("d");
    assert_int_equal(delete_prefix("d", 0)->outcome, OUTCOME_GUARDED);
    assert_true(reads("db/b", 0, "1"));
    fence = SLICE("db");
    assert_int_equal(delete_prefix("d", 0)->outcome, OUTCOME_OK);
    assert_int_equal(get("db/b", 0)->outcome, OUTCOME_KEY_NOT_FOUND);
    check();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_value_has_a_mebibyte_at_most),        TEST(a_key_has_480_bytes_at_most),
        TEST(a_page_ends_behind_two_mebibytes),      TEST(paths_of_keys_can_be_printed),
        TEST(a_lease_has_ten_thousand_keys_at_most), TEST(more_than_ten_thousand_go_by_a_limit),
        TEST(old_versions_are_found_in_few_steps),   TEST(what_left_the_history_cannot_be_read),
        TEST(a_deleted_key_leaves_with_its_event),   TEST(dense_revisions_count_changes_of_keys_only),
        TEST(a_gone_dense_revision_is_not_found),    TEST(an_entry_puts_a_key_once),
        TEST(a_lease_may_take_what_the_entry_put),   TEST(a_fence_opens_its_guard_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
