// links: api lib support
/* Headers that make a request conditional: into arguments, and into a guard around a command. */
#include "api/condition.h"
#include "coord/primitive/txn.h"
#include "tests/unit/cmocka_all.h"

#include <stddef.h>

/* --- a write that has all conditions, and some that have fewer --- */

struct set_args {
    uint64_t if_match;
    bool if_none_match, if_exists;
};
#define SET(member) .offset = offsetof(struct set_args, member), .name = #member
static const struct field set_fields[] = {
    {.number = 1, .type = FIELD_UINT, SET(if_match), .min = 1},
    {.number = 2, .type = FIELD_BOOL, SET(if_none_match)},
    {.number = 3, .type = FIELD_BOOL, SET(if_exists)},
};
static const struct record set_record = RECORD("set", set_args, set_fields);
static const struct record strict_record = {"strict", sizeof(struct set_args), set_fields, 2};
static const struct record bare_record = {"bare", sizeof(struct set_args), set_fields, 0};

static const struct operation set = {.kind = OPERATION_COMMAND, .args = &set_record};
static const struct operation strict = {.kind = OPERATION_COMMAND, .args = &strict_record};
static const struct operation bare = {.kind = OPERATION_COMMAND, .args = &bare_record};
static const struct operation query = {.kind = OPERATION_QUERY, .args = &bare_record};
static const struct operation renewal = {.kind = OPERATION_RENEWAL, .args = &bare_record};
static const struct operation cluster = {.kind = OPERATION_CLUSTER, .args = &bare_record};
static const struct operation stream = {.kind = OPERATION_STREAM, .args = &bare_record};

struct tried {
    bool done;
    struct set_args args;
    struct problem problem;
    const struct guarded_args *guard;
    const void *call_args;
};

static struct arena arena;

static struct tried apply_to(const struct operation *operation, struct request_head head)
{
    struct tried tried = {0};
    struct set_args *args = arena_alloc(&arena, sizeof *args);
    struct call call = {.args = args};
    struct argument argument = {.setting = {.record = operation->args, .data = args, .arena = &arena},
                                .problem = &tried.problem};
    tried.done = conditions_apply(&head, operation, &argument, &call);
    tried.args = *args;
    tried.guard = call.guard;
    tried.call_args = args;
    return tried;
}

#define TRY(operation, ...) apply_to(&(operation), (struct request_head){__VA_ARGS__})

static void says(struct tried tried, const char *field, const char *detail)
{
    assert_false(tried.done);
    assert_int_equal(tried.problem.outcome, OUTCOME_BAD_FIELD);
    assert_true(slice_is(tried.problem.field, field));
    assert_non_null(memmem(tried.problem.detail.data, tried.problem.detail.size, detail, strlen(detail)));
    assert_null(tried.guard);
}

static void no_headers_no_conditions(void **state)
{
    (void)state;
    struct tried tried = TRY(set, .accept = SLICE("*/*"));
    assert_true(tried.done);
    assert_null(tried.guard);
    assert_true(!tried.args.if_match && !tried.args.if_none_match && !tried.args.if_exists);
}

/* --- If-Match, If-None-Match --- */

static void an_entity_tag_is_a_revision(void **state)
{
    (void)state;
    assert_int_equal(TRY(set, .if_match = SLICE("\"913\"")).args.if_match, 913);
    assert_int_equal(TRY(set, .if_match = SLICE("\"9007199254740991\"")).args.if_match, (1ull << 53) - 1);
    static const char *const bad[] = {
        "",
        "\"\"",
        "913",
        "\"913",
        "913\"",
        "\"-1\"",
        "\"a\"",
        "W/\"913\"",
        "\"1 \"",
        "\"1\",\"2\"",
        "\"",
        "\"9007199254740992\"",
        "\"00000000000000001\"",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        says(TRY(set, .if_match = slice_text(bad[i])), "If-Match", "must be one entity tag as ETag gave it");
    says(TRY(set, .if_match = SLICE("\"0\"")), "if_match", "from 1");
}

static void any_version_will_do(void **state)
{
    (void)state;
    struct tried tried = TRY(set, .if_match = SLICE("*"));
    assert_true(tried.done && tried.args.if_exists && !tried.args.if_match);
    says(TRY(strict, .if_match = SLICE("*")), "If-Match", "must be one entity tag");
}

static void none_must_be_there(void **state)
{
    (void)state;
    struct tried tried = TRY(set, .if_none_match = SLICE("*"));
    assert_true(tried.done && tried.args.if_none_match);
    says(TRY(set, .if_none_match = SLICE("\"913\"")), "If-None-Match", "must be *");
}

static void conditions_where_there_are_none(void **state)
{
    (void)state;
    const struct operation *const others[] = {&bare, &query, &renewal, &cluster, &stream};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        says(apply_to(others[i], (struct request_head){.if_match = SLICE("\"1\"")}), "If-Match",
             "cannot be a condition here");
    says(TRY(bare, .if_none_match = SLICE("*")), "If-None-Match", "cannot be a condition here");
    assert_true(TRY(query, .if_none_match = SLICE("\"1\"")).done); /* of long polls: api/query.c */
    assert_true(TRY(stream, .if_none_match = SLICE("\"1\"")).done);
}

static void a_condition_is_given_in_one_place(void **state)
{
    (void)state;
    struct set_args args = {.if_match = 7};
    struct problem problem = {0};
    struct call call = {.args = &args};
    struct argument argument = {
        .setting = {.record = &set_record, .data = &args, .arena = &arena, .given = 1}, .problem = &problem};
    struct request_head head = {.if_match = SLICE("\"8\"")};
    assert_false(conditions_apply(&head, &set, &argument, &call));
    assert_true(slice_is(problem.detail, "if_match is given twice"));
    assert_int_equal(args.if_match, 7);
}

static void a_header_comes_once(void **state)
{
    (void)state;
    says(TRY(set, .if_match = SLICE("\"1\""), .repeated = true), "headers", "once");
}

/* --- Idempotency-Key --- */

static void a_key_guards_a_command(void **state)
{
    (void)state;
    struct tried tried = TRY(set, .retry_key = SLICE("order-17"));
    assert_true(tried.done);
    assert_true(slice_is(tried.guard->retry_key, "order-17"));
    assert_false(tried.guard->fence_lock.size);
    assert_int_equal(tried.guard->operation.count, 1);
    const struct operation_item *item = tried.guard->operation.items;
    assert_ptr_equal(item->operation, &set);
    assert_ptr_equal(item->args, tried.call_args);
    assert_ptr_equal(guarded_operation(tried.guard), &set);
}

static void a_key_may_be_quoted(void **state)
{
    (void)state;
    assert_true(slice_is(TRY(set, .retry_key = SLICE("\"8e03978e\"")).guard->retry_key, "8e03978e"));
    assert_true(slice_is(TRY(set, .retry_key = SLICE("\"")).guard->retry_key, "\""));
    assert_true(slice_is(TRY(set, .retry_key = SLICE("a\"")).guard->retry_key, "a\""));
}

static void a_key_is_short_and_printable(void **state)
{
    (void)state;
    static const char rule[] = "must be 1 to 255 printable ASCII characters";
    char text[RETRY_KEY_MAX + 3];
    memset(text, '~', sizeof text);
    assert_int_equal(TRY(set, .retry_key = slice_of(text, RETRY_KEY_MAX)).guard->retry_key.size, 255);
    says(TRY(set, .retry_key = slice_of(text, RETRY_KEY_MAX + 1)), "Idempotency-Key", rule);
    text[0] = text[RETRY_KEY_MAX + 1] = '"'; /* the quotes do not count */
    assert_int_equal(TRY(set, .retry_key = slice_of(text, RETRY_KEY_MAX + 2)).guard->retry_key.size, 255);
    static const char *const bad[] = {"", "\"\"", "a b", "a\tb", "\x7f", "k\xc3\xa4se"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        says(TRY(set, .retry_key = slice_text(bad[i])), "Idempotency-Key", rule);
}

static void what_changes_nothing_takes_any_key(void **state)
{
    (void)state;
    const struct operation *const others[] = {&query, &renewal, &cluster, &stream};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct tried tried = apply_to(others[i], (struct request_head){.retry_key = SLICE("k")});
        assert_true(tried.done);
        assert_null(tried.guard);
    }
}

/* --- Coord-Fence --- */

static void a_fence_is_a_lock_and_a_token(void **state)
{
    static const struct {
        const char *text, *lock;
        uint64_t token;
    } good[] = {{"deploy:812", "deploy", 812},
                {"a:b:7", "a:b", 7},
                {"a%2Fb:1", "a/b", 1},
                {"100%25:1", "100%", 1},
                {"a%3a:1", "a:", 1},
                {"::5", ":", 5},
                {"%C3%A4:9007199254740991", "\xc3\xa4", (1ull << 53) - 1}};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct tried tried = TRY(set, .fence = slice_text(good[i].text));
        assert_true(tried.done);
        assert_true(slice_is(tried.guard->fence_lock, good[i].lock));
        assert_int_equal(tried.guard->fence_token, good[i].token);
        assert_false(tried.guard->retry_key.size);
    }
}

static void what_is_no_fence(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",     "deploy", "deploy:", ":812",  "deploy:0", "deploy:-1", "deploy:x",
        "a%:1", "a%zz:1", "a%00:1",  "%FF:1", "a:1 ",     "a%0a:1",    "a:9007199254740992",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        says(TRY(set, .fence = slice_text(bad[i])), "Coord-Fence", "must be LOCK:TOKEN");
    /* one lock of an odd name, not two */
    assert_true(slice_is(TRY(set, .fence = SLICE("a:1,b:2")).guard->fence_lock, "a:1,b"));
    char name[300];
    memset(name, 'n', sizeof name);
    memcpy(name + 255, ":1", 2);
    assert_int_equal(TRY(set, .fence = slice_of(name, 257)).guard->fence_lock.size, 255);
    memcpy(name + 255, "n:1", 3);
    says(TRY(set, .fence = slice_of(name, 258)), "Coord-Fence", "must be LOCK:TOKEN");
}

static void a_fence_goes_with_writes_only(void **state)
{
    (void)state;
    const struct operation *const others[] = {&query, &renewal, &cluster, &stream};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        says(apply_to(others[i], (struct request_head){.fence = SLICE("a:1")}), "Coord-Fence",
             "goes with writes only");
}

static void all_of_them_at_once(void **state)
{
    (void)state;
    struct tried tried = TRY(set, .if_match = SLICE("\"5\""), .if_none_match = SLICE("*"),
                             .retry_key = SLICE("k"), .fence = SLICE("a:1"));
    assert_true(tried.done);
    assert_true(tried.args.if_match == 5 && tried.args.if_none_match);
    assert_true(slice_is(tried.guard->retry_key, "k") && slice_is(tried.guard->fence_lock, "a"));
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_headers_no_conditions),
        TEST(an_entity_tag_is_a_revision),
        TEST(any_version_will_do),
        TEST(none_must_be_there),
        TEST(conditions_where_there_are_none),
        TEST(a_condition_is_given_in_one_place),
        TEST(a_header_comes_once),
        TEST(a_key_guards_a_command),
        TEST(a_key_may_be_quoted),
        TEST(a_key_is_short_and_printable),
        TEST(what_changes_nothing_takes_any_key),
        TEST(a_fence_is_a_lock_and_a_token),
        TEST(what_is_no_fence),
        TEST(a_fence_goes_with_writes_only),
        TEST(all_of_them_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
