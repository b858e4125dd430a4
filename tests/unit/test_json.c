// links: api lib
/* JSON bodies into arguments. */
#include "api/body.h"
#include "tests/unit/api_tables.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

struct parsed {
    bool done;
    struct thing_args args;
    struct problem problem;
};

static struct arena arena;

static struct parsed parse_bytes(struct slice body)
{
    struct parsed parsed = {0};
    struct argument argument = {.setting = {.record = &thing_record, .data = &parsed.args, .arena = &arena},
                                .problem = &parsed.problem};
    parsed.done = body_parse(body, &argument);
    return parsed;
}

static struct parsed parse(const char *body)
{
    return parse_bytes(slice_text(body));
}

static void expect_field(struct parsed parsed, const char *field, const char *detail)
{
    assert_false(parsed.done);
    assert_int_equal(parsed.problem.outcome, OUTCOME_BAD_FIELD);
    assert_int_equal(parsed.problem.field.size, strlen(field));
    assert_memory_equal(parsed.problem.field.data, field, strlen(field));
    assert_non_null(memmem(parsed.problem.detail.data, parsed.problem.detail.size, detail, strlen(detail)));
    assert_false(parsed.problem.has_byte_offset);
}

static void refused(const char *body, const char *field, const char *detail)
{
    expect_field(parse(body), field, detail);
}

static void malformed(const char *body, size_t offset)
{
    struct parsed parsed = parse(body);
    assert_false(parsed.done);
    assert_int_equal(parsed.problem.outcome, OUTCOME_BAD_JSON);
    assert_true(parsed.problem.has_byte_offset);
    assert_int_equal(parsed.problem.byte_offset, offset);
    assert_true(parsed.problem.detail.size > 0);
}

static void sets_every_type(void **state)
{
    (void)state;
    struct parsed parsed =
        parse("{\"name\":\"n\",\"owner\":\"ci\",\"ttl\":\"2s\",\"count\":7,\"mode\":\"shared\","
              "\"lease\":\"L32c00\",\"wait\":1500,\"force\":true,\"names\":[\"a\",\"b\"],"
              "\"leases\":[\"L1\"],\"meta\":{\"k\":[1]},"
              "\"parts\":[{\"number\":1},{\"number\":2,\"text\":\"t\",\"words\":[\"w\"]}],"
              "\"one\":{\"number\":3}}");
    assert_true(parsed.done);
    assert_true(slice_is(parsed.args.name, "n"));
    assert_int_equal(parsed.args.ttl_ms, 2000);
    assert_int_equal(parsed.args.count, 7);
    assert_int_equal(parsed.args.mode, 2);
    assert_int_equal(parsed.args.lease, 0x32c00);
    assert_int_equal(parsed.args.wait_ms, 1500);
    assert_true(parsed.args.force);
    assert_true(slice_is(((struct slice *)parsed.args.names.items)[1], "b"));
    assert_int_equal(((uint64_t *)parsed.args.leases.items)[0], 1);
    assert_true(slice_is(parsed.args.meta, "{\"k\":[1]}"));
    const struct part_args *parts = parsed.args.parts.items;
    assert_int_equal(parsed.args.parts.count, 2);
    assert_int_equal(parts[1].number, 2);
    assert_true(slice_is(parts[1].text, "t"));
    assert_int_equal(parts[1].words.count, 1);
    assert_int_equal(parsed.args.one->number, 3);
}

static void nothing_is_no_arguments(void **state)
{
    (void)state;
    assert_true(parse("").done);
    assert_true(parse(" \r\n\t").done);
    assert_true(parse("{}").done);
    assert_true(parse(" { } \n").done);
}

static void null_is_not_given(void **state)
{
    (void)state;
    struct parsed parsed = parse("{\"owner\":null,\"count\":null,\"meta\":null,\"names\":null,\"one\":null}");
    assert_true(parsed.done);
    assert_int_equal(parsed.args.owner.size, 0);
    assert_null(parsed.args.one);
    refused("{\"colour\":null}", "colour", "unknown");
    refused("{\"names\":[null]}", "names", "array of strings");
    refused("{\"parts\":[null]}", "parts", "array of objects");
}

static void wrong_types_are_named(void **state)
{
    (void)state;
    refused("{\"owner\":1}", "owner", "must be a string");
    refused("{\"owner\":true}", "owner", "must be a string");
    refused("{\"owner\":{}}", "owner", "must be a string");
    refused("{\"owner\":[]}", "owner", "must be a string");
    refused("{\"count\":\"7\"}", "count", "must be an integer");
    refused("{\"count\":7.0}", "count", "must be an integer");
    refused("{\"count\":7e0}", "count", "must be an integer");
    refused("{\"count\":-1}", "count", "must be an integer");
    refused("{\"count\":true}", "count", "must be an integer");
    refused("{\"ttl\":2.5}", "ttl", "must be a duration");
    refused("{\"ttl\":-1}", "ttl", "must be a duration");
    refused("{\"ttl\":true}", "ttl", "must be a duration");
    refused("{\"force\":\"true\"}", "force", "true or false");
    refused("{\"force\":1}", "force", "true or false");
    refused("{\"mode\":1}", "mode", "must be a string");
    refused("{\"lease\":12}", "lease", "must be a string");
    refused("{\"names\":\"a\"}", "names", "array of strings");
    refused("{\"names\":[1]}", "names", "array of strings");
    refused("{\"leases\":[1]}", "leases", "array of leases' ids");
    refused("{\"parts\":{}}", "parts", "array of objects");
    refused("{\"parts\":[1]}", "parts", "array of objects");
    refused("{\"one\":[]}", "one", "must be an object");
}

static void values_out_of_range_are_named(void **state)
{
    (void)state;
    refused("{\"count\":11}", "count", "from 1 to 10");
    refused("{\"count\":9223372036854775807}", "count", "from 1 to 10");
    refused("{\"mode\":\"both\"}", "mode", "one of: exclusive, shared");
    refused("{\"ttl\":\"1s \"}", "ttl", "must be a duration");
    refused("{\"owner\":\"a\\nb\"}", "owner", "control characters");
    refused("{\"names\":[\"a\",\"b\",\"c\",\"d\"]}", "names", "at most 3");
    refused("{\"leases\":[\"x\"]}", "leases", "leases' ids");
    refused("{\"parts\":[{\"number\":1},{\"number\":1},{\"number\":1},{\"number\":1}]}", "parts",
            "at most 3");
    refused("{\"meta\":\"0123456789012345678901234567890123456789012345678901234567890123456789\"}", "meta",
            "at most 64 bytes");
}

static void nested_fields_are_named_by_path(void **state)
{
    (void)state;
    refused("{\"parts\":[{\"number\":1},{\"number\":10}]}", "parts[1].number", "from 0 to 9");
    refused("{\"parts\":[{\"number\":1,\"colour\":2}]}", "parts[0].colour", "unknown");
    refused("{\"parts\":[{\"number\":\"1\"}]}", "parts[0].number", "integer");
    refused("{\"parts\":[{}]}", "parts[0].number", "is missing");
    refused("{\"one\":{\"number\":1,\"words\":[\"a\",\"b\",\"c\"]}}", "one.words", "at most 2");
    refused("{\"one\":{}}", "one.number", "one.number is missing");
}

static void unknown_and_repeated_members_are_refused(void **state)
{
    (void)state;
    refused("{\"colour\":1}", "colour", "unknown");
    refused("{\"\":1}", "\"\"", "unknown");
    malformed("{\"owner\":\"a\",\"owner\":\"a\"}", 20);
    malformed("{\"meta\":{\"a\":1,\"a\":2}}", 18);
    struct parsed parsed = {0};
    struct argument argument = {.setting = {.record = &thing_record, .data = &parsed.args, .arena = &arena},
                                .problem = &parsed.problem};
    assert_true(argument_text(&argument, record_field(&thing_record, SLICE("names")), SLICE("a")));
    parsed.done = body_parse(SLICE("{\"names\":[\"b\"]}"), &argument);
    expect_field(parsed, "names", "given twice");
}

static void syntax_errors_tell_the_byte(void **state)
{
    (void)state;
    malformed("{", 1);
    malformed("{\"owner\":", 9);
    malformed("{\"owner\":\"a\"", 12);
    malformed("{\"owner\":\"a\"}x", 14);
    malformed("{} {}", 4);
    malformed("nonsense", 8);
    malformed("{'owner':1}", 2);
    malformed("{\"owner\":\"\xff\"}", 10);
    malformed("{\"owner\":\"\\u0000\"}", 17);
    malformed("{\"count\":01}", 10);
    malformed("{\"meta\":1e400}", 13);
    malformed("{\"count\":9223372036854775808}", 28);
    malformed("{\"owner\":\"\\ud800\"}", 17);
}

static void only_an_object_is_a_body(void **state)
{
    (void)state;
    malformed("[]", 0);
    malformed("1", 0);
    malformed("\"text\"", 0);
    malformed("null", 0);
}

struct many {
    bool done;
    struct give_many_args args;
    struct problem problem;
};

static struct many parse_many(const char *body)
{
    struct many many = {0};
    struct argument argument = {.setting = {.record = &give_many_record, .data = &many.args, .arena = &arena},
                                .problem = &many.problem};
    assert_true(argument_text(&argument, &give_many_fields[0], SLICE("x")));
    assert_true(body_is_array(slice_text(body)));
    many.done =
        body_parse_array(slice_text(body), &argument, &give_many_fields[1]) && argument_done(&argument);
    return many;
}

static void an_array_is_a_list(void **state)
{
    (void)state;
    struct many many = parse_many(" \r\n\t[{\"number\":1},{\"text\":\"t\",\"number\":2}]\n");
    assert_true(many.done);
    assert_int_equal(many.args.parts.count, 2);
    const struct part_args *parts = many.args.parts.items;
    assert_int_equal(parts[0].number, 1);
    assert_int_equal(parts[1].number, 2);
    assert_true(slice_is(parts[1].text, "t"));
    assert_false(body_is_array(SLICE("")));
    assert_false(body_is_array(SLICE(" ")));
    assert_false(body_is_array(SLICE("{\"a\":[]}")));
    assert_false(body_is_array(SLICE("x[")));
}

static void items_of_an_array_are_named(void **state)
{
    static const struct {
        const char *body, *field, *detail;
    } cases[] = {
        {"[{\"number\":1},{\"number\":10}]", "parts[1].number", "parts[1].number must be from 0 to 9"},
        {"[{\"number\":1},{}]", "parts[1].number", "parts[1].number is missing"},
        {"[{\"number\":1,\"colour\":1}]", "parts[0].colour", "parts[0].colour is unknown here"},
        {"[1]", "parts", "parts must be an array of objects"},
        {"[]", "parts", "parts must have at least 1 item"},
        {"[{\"number\":1},{\"number\":1},{\"number\":1},{\"number\":1}]", "parts", "at most 3 items"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct many many = parse_many(cases[i].body);
        assert_false(many.done);
        assert_int_equal(many.problem.outcome, OUTCOME_BAD_FIELD);
        assert_true(slice_is(many.problem.field, cases[i].field));
        assert_non_null(memmem(many.problem.detail.data, many.problem.detail.size, cases[i].detail,
                               strlen(cases[i].detail)));
    }
    struct many broken = parse_many("[{\"number\":1}");
    assert_false(broken.done);
    assert_int_equal(broken.problem.outcome, OUTCOME_BAD_JSON);
    assert_int_equal(broken.problem.byte_offset, 13);
}

static void a_nul_byte_ends_nothing(void **state)
{
    (void)state;
    struct parsed parsed = parse_bytes(slice_of("{}\0{\"owner\":1}", 14));
    assert_false(parsed.done);
    assert_int_equal(parsed.problem.outcome, OUTCOME_BAD_JSON);
}

static char *repeat(const char *open, size_t count, const char *middle, const char *close)
{
    size_t size = count * (strlen(open) + strlen(close)) + strlen(middle) + 1;
    char *text = malloc(size), *at = text;
    for (size_t i = 0; i < count; i++) at = stpcpy(at, open);
    at = stpcpy(at, middle);
    for (size_t i = 0; i < count; i++) at = stpcpy(at, close);
    return text;
}

static void nesting_has_a_limit(void **state)
{
    (void)state;
    char *deep = repeat("[", BODY_DEPTH_MAX - 1, "1", "]"), *body;
    assert_true(asprintf(&body, "{\"meta\":%s}", deep) > 0);
    struct parsed parsed = parse(body);
    assert_true(parsed.done); /* the object itself is one level */
    free(body);
    free(deep);
    deep = repeat("[", BODY_DEPTH_MAX, "", "]");
    assert_true(asprintf(&body, "{\"meta\":%s}", deep) > 0);
    malformed(body, 8 + BODY_DEPTH_MAX - 1);
    free(body);
    free(deep);
    deep = repeat("[", 500000, "", "]");
    malformed(deep, BODY_DEPTH_MAX);
    free(deep);
    assert_true(parse("{\"owner\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}").done);
    assert_true(parse("{\"owner\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}").done);
}

static void the_number_of_values_has_a_limit(void **state)
{
    (void)state;
    char *commas = repeat("1,", 200000, "1", "");
    char *body;
    assert_true(asprintf(&body, "{\"names\":[%s]}", commas) > 0);
    struct parsed parsed = parse(body);
    assert_false(parsed.done);
    assert_int_equal(parsed.problem.outcome, OUTCOME_BAD_JSON);
    assert_non_null(memmem(parsed.problem.detail.data, parsed.problem.detail.size, "more than 100000", 16));
    free(body);
    free(commas);
}

static void any_value_keeps_its_meaning(void **state)
{
    static const struct {
        const char *given, *kept;
    } cases[] = {
        {"0.1", "0.1"},
        {"19.99", "19.99"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"1.0", "1.0"},
        {"1e3", "1000.0"},
        {"-2.5e-7", "-2.5e-07"},
        {"1e22", "1e+22"},
        {"9007199254740993", "9007199254740993"},
        {"-5", "-5"},
        {"true", "true"},
        {"\"a\\u00e4\\n\\\"\\\\\"", "\"a\xc3\xa4\\n\\\"\\\\\""},
        {"[ 1 , null , false ]", "[1,null,false]"},
        {"{ \"b\" : 1 , \"a\" : { } }", "{\"b\":1,\"a\":{}}"},
        {"[[],{}]", "[[],{}]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *body;
        assert_true(asprintf(&body, "{\"meta\":%s}", cases[i].given) > 0);
        struct parsed parsed = parse(body);
        assert_true(parsed.done);
        assert_int_equal(parsed.args.meta.size, strlen(cases[i].kept));
        assert_memory_equal(parsed.args.meta.data, cases[i].kept, parsed.args.meta.size);
        free(body);
    }
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
        cmocka_unit_test(nothing_is_no_arguments),
        cmocka_unit_test(null_is_not_given),
        cmocka_unit_test(wrong_types_are_named),
        cmocka_unit_test(values_out_of_range_are_named),
        cmocka_unit_test(nested_fields_are_named_by_path),
        cmocka_unit_test(unknown_and_repeated_members_are_refused),
        cmocka_unit_test(syntax_errors_tell_the_byte),
        cmocka_unit_test(only_an_object_is_a_body),
        cmocka_unit_test(an_array_is_a_list),
        cmocka_unit_test(items_of_an_array_are_named),
        cmocka_unit_test(a_nul_byte_ends_nothing),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(the_number_of_values_has_a_limit),
        cmocka_unit_test(any_value_keeps_its_meaning),
    };
    body_init();
    return cmocka_run_group_tests(tests, NULL, forget);
}
