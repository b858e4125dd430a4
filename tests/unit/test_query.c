// links: api lib
/* Query parameters into arguments. */
#include "api/body.h"
#include "api/query.h"
#include "tests/unit/api_tables.h"
#include "tests/unit/cmocka_all.h"

struct parsed {
    bool done;
    struct thing_args args;
    struct problem problem;
    struct query_options options;
};

static struct arena arena;

static struct parsed parse_as(enum operation_kind kind, const char *query)
{
    struct parsed parsed = {0};
    struct argument argument = {.setting = {.record = &thing_record, .data = &parsed.args, .arena = &arena},
                                .problem = &parsed.problem};
    struct operation operation = {.kind = kind, .method = "GET", .args = &thing_record};
    parsed.done = query_parse(slice_text(query), &operation, &argument, &parsed.options);
    return parsed;
}

static struct parsed parse(const char *query)
{
    return parse_as(OPERATION_COMMAND, query);
}

static void refused(const char *query, const char *field, const char *detail)
{
    struct parsed parsed = parse(query);
    assert_false(parsed.done);
    assert_int_equal(parsed.problem.outcome, OUTCOME_BAD_FIELD);
    assert_memory_equal(parsed.problem.field.data, field, strlen(field));
    assert_int_equal(parsed.problem.field.size, strlen(field));
    assert_non_null(memmem(parsed.problem.detail.data, parsed.problem.detail.size, detail, strlen(detail)));
}

static void sets_every_type(void **state)
{
    (void)state;
    struct parsed parsed = parse("name=n&owner=ci-42&ttl=2s&count=7&mode=shared&lease=L32c00&force=true&"
                                 "names=a,b&leases=L1,L2&wait=1500");
    assert_true(parsed.done);
    assert_true(slice_is(parsed.args.owner, "ci-42"));
    assert_int_equal(parsed.args.ttl_ms, 2000);
    assert_int_equal(parsed.args.count, 7);
    assert_int_equal(parsed.args.mode, 2);
    assert_int_equal(parsed.args.lease, 0x32c00);
    assert_true(parsed.args.force);
    assert_int_equal(parsed.args.names.count, 2);
    assert_int_equal(parsed.args.leases.count, 2);
    assert_int_equal(parsed.args.wait_ms, 1500);
}

static void durations_in_all_forms(void **state)
{
    static const struct {
        const char *query;
        uint64_t ms;
    } cases[] = {{"ttl=30s", 30000}, {"ttl=1500ms", 1500}, {"ttl=1m", 60000},   {"ttl=1500", 1500},
                 {"wait=0", 0},      {"wait=0s", 0},       {"wait=10m", 600000}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct parsed parsed = parse(cases[i].query);
        assert_true(parsed.done);
        assert_int_equal(parsed.args.ttl_ms + parsed.args.wait_ms, cases[i].ms);
    }
    refused("ttl=1.5s", "ttl", "must be a duration");
    refused("ttl=-1s", "ttl", "must be a duration");
    refused("ttl=", "ttl", "must be a duration");
    refused("ttl=1w", "ttl", "must be a duration");
    refused("ttl=499ms", "ttl", "from 500 ms to 60000 ms");
    refused("ttl=61s", "ttl", "from 500 ms to 60000 ms");
    refused("wait=601s", "wait", "from 0 ms to 600000 ms");
}

static void decodes_escapes_and_plus(void **state)
{
    (void)state;
    assert_true(slice_is(parse("owner=a%20b").args.owner, "a b"));
    assert_true(slice_is(parse("owner=a+b").args.owner, "a b"));
    assert_true(slice_is(parse("owner=a%2Bb%26c%3Dd").args.owner, "a+b&c=d"));
    assert_true(slice_is(parse("o%77ner=x").args.owner, "x"));
    assert_true(slice_is(parse("owner=a=b").args.owner, "a=b"));
    assert_true(slice_is(parse("owner=%C3%A4").args.owner, "\xc3\xa4"));
    refused("owner=%", "owner", "two hexadecimal digits");
    refused("owner=%f", "owner", "two hexadecimal digits");
    refused("owner=%zz", "owner", "two hexadecimal digits");
    refused("%zz=1", "%zz", "two hexadecimal digits");
    refused("owner=%ff", "owner", "UTF-8");
    refused("owner=a%00b", "owner", "control");
    refused("owner=a%0ab", "owner", "control");
}

static void empty_pairs_are_passed_over(void **state)
{
    (void)state;
    struct parsed parsed = parse("&&owner=x&&count=2&");
    assert_true(parsed.done);
    assert_true(slice_is(parsed.args.owner, "x"));
    assert_true(parse("").done);
    refused("=x", "\"\"", "unknown");
}

static void refuses_by_name(void **state)
{
    (void)state;
    refused("colour=red", "colour", "colour is unknown here");
    refused("Owner=x", "Owner", "unknown");
    refused("owner=a&owner=a", "owner", "given twice");
    refused("names=a&names=b", "names", "given twice");
    refused("mode=1", "mode", "one of: exclusive, shared");
    refused("count=0", "count", "from 1 to 10");
    refused("count=11", "count", "from 1 to 10");
    refused("count=1.0", "count", "integer");
    refused("count=99999999999999999999", "count", "integer");
    refused("force=1", "force", "true or false");
    refused("force", "force", "true or false");
    refused("lease=32c00", "lease", "lease's id");
    refused("names=a,b,c,d", "names", "at most 3");
    refused("parts=x", "parts", "cannot be given as text");
    refused("a%0a\xc3\xa4=x", "a???", "unknown");
}

static bool finish(const char *query, const char *body, struct give_args *args, struct problem *problem)
{
    struct argument argument = {.setting = {.record = &give_record, .data = args, .arena = &arena},
                                .problem = problem};
    struct query_options options;
    struct operation operation = {.kind = OPERATION_COMMAND, .method = "POST", .args = &give_record};
    *args = (struct give_args){.number = 0};
    return query_parse(slice_text(query), &operation, &argument, &options) &&
           body_parse(slice_text(body), &argument) && argument_done(&argument);
}

static void a_record_is_given_by_its_fields(void **state)
{
    struct give_args args;
    struct problem problem = {0};
    (void)state;
    assert_true(finish("ask.wait=10s&name=x&ask.who=me", "{\"number\":3}", &args, &problem));
    assert_true(slice_is(args.ask->who, "me"));
    assert_int_equal(args.ask->wait_ms, 10000);
    assert_int_equal(args.ask->max, 1); /* its initial value */
    assert_int_equal(args.number, 3);
    assert_true(finish("name=x", "", &args, &problem));
    assert_null(args.ask);
}

static void fields_of_a_record_are_refused_by_path(void **state)
{
    static const struct {
        const char *query, *body, *field, *detail;
    } cases[] = {
        {"name=x&ask.wait=1s", "", "ask.who", "ask.who is missing"},
        {"name=x&ask.who=me&ask.max=10", "", "ask.max", "ask.max must be from 1 to 9"},
        {"name=x&ask.who=me&ask.who=you", "", "ask.who", "given twice"},
        {"name=x&ask.colour=red", "", "ask.colour", "ask.colour is unknown here"},
        {"name=x&ask.=red", "", "ask.\"\"", "unknown"},
        {"name=x&ask.who.a=red", "", "ask.who.a", "unknown"},
        {"name=x&ask=red", "", "ask", "cannot be given as text"},
        {"name=x&asks.who=red", "", "asks.who", "unknown"},
        {"name=x&number.who=1", "", "number.who", "unknown"},
        {"name=x&ask.who=me", "{\"ask\":{\"who\":\"you\"}}", "ask", "given twice"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct give_args args;
        struct problem problem = {0};
        assert_false(finish(cases[i].query, cases[i].body, &args, &problem));
        assert_int_equal(problem.outcome, OUTCOME_BAD_FIELD);
        assert_true(slice_is(problem.field, cases[i].field));
        assert_non_null(
            memmem(problem.detail.data, problem.detail.size, cases[i].detail, strlen(cases[i].detail)));
    }
}

static void what_the_path_gave_is_not_given_again(void **state)
{
    (void)state;
    struct thing_args args = {0};
    struct problem problem = {0};
    struct query_options options;
    struct argument argument = {.setting = {.record = &thing_record, .data = &args, .arena = &arena},
                                .problem = &problem};
    assert_true(argument_text(&argument, record_field(&thing_record, SLICE("name")), SLICE("x")));
    struct operation operation = {.kind = OPERATION_COMMAND, .method = "POST", .args = &thing_record};
    assert_false(query_parse(SLICE("name=x"), &operation, &argument, &options));
    assert_true(slice_is(problem.detail, "name is given twice"));
}

static void queries_take_common_options(void **state)
{
    (void)state;
    struct parsed parsed = parse_as(OPERATION_QUERY, "consistency=stale&min_revision=812&owner=x");
    assert_true(parsed.done);
    assert_true(parsed.options.stale);
    assert_int_equal(parsed.options.min_revision, 812);
    assert_false(parse_as(OPERATION_QUERY, "consistency=linearizable").options.stale);
    assert_true(parse_as(OPERATION_QUERY, "consistency=linearizable").done);
    static const char *const bad[] = {"consistency=eventual",
                                      "consistency=",
                                      "consistency=stale&consistency=stale",
                                      "min_revision=",
                                      "min_revision=-1",
                                      "min_revision=x",
                                      "min_revision=9007199254740992",
                                      "min_revision=10000000000000000",
                                      "min_revision=1&min_revision=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        parsed = parse_as(OPERATION_QUERY, bad[i]);
        assert_false(parsed.done);
        assert_int_equal(parsed.problem.outcome, OUTCOME_BAD_FIELD);
    }
    assert_int_equal(parse_as(OPERATION_QUERY, "min_revision=9007199254740991").options.min_revision,
                     ((uint64_t)1 << 53) - 1);
    refused("consistency=stale", "consistency", "unknown");
    refused("min_revision=1", "min_revision", "unknown");
}

static int forget(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_every_type),
        cmocka_unit_test(durations_in_all_forms),
        cmocka_unit_test(decodes_escapes_and_plus),
        cmocka_unit_test(empty_pairs_are_passed_over),
        cmocka_unit_test(refuses_by_name),
        cmocka_unit_test(a_record_is_given_by_its_fields),
        cmocka_unit_test(fields_of_a_record_are_refused_by_path),
        cmocka_unit_test(what_the_path_gave_is_not_given_again),
        cmocka_unit_test(queries_take_common_options),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
