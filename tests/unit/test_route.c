// links: api lib
/* Paths to operations: literals before parts, one decoding, and what is no path at all. */
#include "api/route.h"
#include "tests/unit/api_tables.h"
#include "tests/unit/cmocka_all.h"

struct tools {
    struct routes *routes;
    struct arena arena;
};

static int set_up(void **state)
{
    static struct tools tools;
    tools = (struct tools){.routes = routes_new(thing_primitives)};
    *state = &tools;
    return 0;
}

static int tear_down(void **state)
{
    struct tools *tools = *state;
    routes_free(tools->routes);
    arena_free(&tools->arena);
    return 0;
}

static struct route_match find(struct tools *tools, const char *method, const char *path)
{
    return route_find(tools->routes, slice_text(method), slice_text(path), &tools->arena);
}

static void expect(struct tools *tools, const char *method, const char *path, const char *name)
{
    struct route_match match = find(tools, method, path);
    assert_int_equal(match.outcome, OUTCOME_OK);
    assert_string_equal(match.route->operation->name, name);
}

static void finds_each_operation_by_method_and_path(void **state)
{
    expect(*state, "POST", "/v1/things/a/take", "thing.take");
    expect(*state, "GET", "/v1/things/a", "thing.get");
    expect(*state, "DELETE", "/v1/things/a", "thing.drop");
    expect(*state, "GET", "/v1/things", "thing.list");
    expect(*state, "PUT", "/v1/things/a/owners/b", "thing.part");
}

static void head_means_get(void **state)
{
    expect(*state, "HEAD", "/v1/things/a", "thing.get");
    assert_int_equal(find(*state, "HEAD", "/v1/things/a/take").outcome, OUTCOME_METHOD_NOT_ALLOWED);
}

static void a_literal_wins_where_it_knows_the_method(void **state)
{
    expect(*state, "POST", "/v1/things/take", "thing.take_many");
    expect(*state, "GET", "/v1/things/take", "thing.get");
    expect(*state, "POST", "/v1/things/take/take", "thing.take");
}

static void operations_without_a_path_are_not_reachable(void **state)
{
    const struct tools *tools = *state;
    assert_int_equal(routes_count(tools->routes), 13);
    for (size_t i = 0; i < routes_count(tools->routes); i++) {
        assert_int_equal(routes_at(tools->routes, i)->number, i);
        assert_string_not_equal(routes_at(tools->routes, i)->operation->name, "thing.internal");
    }
}

static void parts_are_decoded_once(void **state)
{
    static const struct {
        const char *path, *name;
    } cases[] = {
        {"/v1/things/plain", "plain"},       {"/v1/things/a%2Fb", "a/b"},
        {"/v1/things/a%2fb%20c", "a/b c"},   {"/v1/things/100%2525", "100%25"},
        {"/v1/things/a+b", "a+b"},           {"/v1/things/%C3%A4", "\xc3\xa4"},
        {"/v1/things/\xc3\xa4", "\xc3\xa4"}, {"/v1/things/...", "..."},
        {"/v1/things/%2e%2e%2e", "..."},     {"/v1/things/a%3Fb%23", "a?b#"},
        {"/v1/things/%2F..%2F", "/../"},     {"/v%31/th%69ngs/x", "x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct route_match match = find(*state, "GET", cases[i].path);
        assert_int_equal(match.outcome, OUTCOME_OK);
        assert_true(slice_is(match.parts[0], cases[i].name));
    }
}

static void several_parts_keep_their_order(void **state)
{
    struct route_match match = find(*state, "PUT", "/v1/things/a%2Fb/owners/c");
    assert_int_equal(match.route->part_count, 2);
    assert_string_equal(match.route->parts[0]->name, "name");
    assert_string_equal(match.route->parts[1]->name, "owner");
    assert_true(slice_is(match.parts[0], "a/b"));
    assert_true(slice_is(match.parts[1], "c"));
}

static void malformed_paths_are_refused(void **state)
{
    static const char *const paths[] = {
        "",
        "v1/things",
        "http://evil/v1/things",
        "*",
        "//v1/things",
        "/v1//things",
        "/v1/things//take",
        "/v1/./things",
        "/v1/../v1/things",
        "/v1/things/..",
        "/v1/things/%2e",
        "/v1/things/%2E%2e",
        "/v1/things/%",
        "/v1/things/%4",
        "/v1/things/%zz",
        "/v1/things/%4g",
        "/v1/things/%00",
        "/v1/things/a%00b",
        "/v1/things/a%0ab",
        "/v1/things/%7f",
        "/v1/things/%ff",
        "/v1/things/\xff",
        "/v1/things/%C0%AF",
        "/v1/things/%ED%A0%80",
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct route_match match = find(*state, "GET", paths[i]);
        assert_int_equal(match.outcome, OUTCOME_BAD_PATH);
        assert_non_null(match.detail);
        assert_null(match.route);
    }
}

static void a_raw_nul_is_refused(void **state)
{
    struct tools *tools = *state;
    struct slice path = slice_of("/v1/things/a\0b", 14);
    assert_int_equal(route_find(tools->routes, SLICE("GET"), path, &tools->arena).outcome, OUTCOME_BAD_PATH);
}

static void unknown_paths_are_not_found(void **state)
{
    static const char *const paths[] = {"/",
                                        "/v1",
                                        "/v1/",
                                        "/v2/things",
                                        "/v1/things/",
                                        "/v1/things/a/",
                                        "/v1/things/a/take/",
                                        "/v1/things/a/give",
                                        "/v1/things/a/take/b",
                                        "/v1/Things",
                                        "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_int_equal(find(*state, "GET", paths[i]).outcome, OUTCOME_ROUTE_NOT_FOUND);
}

static void expect_allow(struct tools *tools, const char *method, const char *path, const char *allow)
{
    struct route_match match = find(tools, method, path);
    assert_int_equal(match.outcome, OUTCOME_METHOD_NOT_ALLOWED);
    assert_string_equal(match.allow, allow);
}

static void a_known_path_tells_its_methods(void **state)
{
    expect_allow(*state, "GET", "/v1/things/a/take", "POST");
    expect_allow(*state, "POST", "/v1/things/a", "GET, HEAD, DELETE");
    expect_allow(*state, "OPTIONS", "/v1/things", "GET, HEAD");
    expect_allow(*state, "get", "/v1/things", "GET, HEAD");
    expect_allow(*state, "PATCH", "/v1/things/take", "POST, GET, HEAD, DELETE");
}

static void routes_know_the_fields_of_headers(void **state)
{
    const struct route *take = find(*state, "POST", "/v1/things/a/take").route;
    assert_string_equal(take->token->name, "token");
    assert_string_equal(take->lease->name, "lease");
    assert_string_equal(take->expires_in_ms->name, "expires_in_ms");
    assert_null(take->revision);
    assert_false(take->tagged);
    const struct route *get = find(*state, "GET", "/v1/things/a").route;
    assert_non_null(get->revision);
    assert_true(get->tagged);
    assert_false(find(*state, "GET", "/v1/things").route->tagged);
    assert_true(find(*state, "GET", "/v1/blobs/a").route->tagged);
    assert_true(find(*state, "PUT", "/v1/blobs/a").route->tagged);
    assert_false(find(*state, "PUT", "/v1/things/a/owners/b").route->tagged);
    assert_false(find(*state, "GET", "/v1/blobs").route->tagged);
}

/* --- arrays and waits --- */

static void an_array_is_an_operation_of_its_own(void **state)
{
    const struct route *one = find(*state, "POST", "/v1/things/a/parts").route, *many = one->array;
    assert_null(one->items);
    assert_string_equal(many->operation->name, "thing.give_many");
    assert_string_equal(many->items->name, "parts");
    assert_int_equal(many->part_count, 1);
    assert_ptr_equal(many->parts[0], &give_many_fields[0]);
    assert_int_not_equal(many->number, one->number);
    assert_null(many->array);
    assert_null(many->token);
    assert_non_null(many->revision);
    assert_null(find(*state, "POST", "/v1/things/a/take").route->array);
}

static void routes_know_the_lines_of_plain_text(void **state)
{
    const struct route *split = find(*state, "POST", "/v1/things/a/split").route;
    assert_string_equal(split->listed->name, "pieces");
    assert_ptr_equal(split->listed_id, &piece_fields[0]);
    assert_null(split->id);
    const struct route *piece = find(*state, "GET", "/v1/things/a/piece").route;
    assert_null(piece->listed);
    assert_ptr_equal(piece->id, &piece_fields[0]);
}

static const struct operation *operation_of(void **state, const char *method, const char *path)
{
    return find(*state, method, path).route->operation;
}

static void a_wait_is_found_in_a_record_too(void **state)
{
    const struct operation *take = operation_of(state, "POST", "/v1/things/a/take");
    const struct operation *give = operation_of(state, "POST", "/v1/things/a/parts");
    const struct operation *get = operation_of(state, "GET", "/v1/things/a");
    const struct field *within;
    assert_ptr_equal(operation_wait_field(take, &within), &thing_fields[7]);
    assert_null(within);
    assert_ptr_equal(operation_wait_field(give, &within), &ask_fields[2]);
    assert_ptr_equal(within, &give_fields[2]);
    assert_null(operation_wait_field(get, &within)); /* has the field, but does not wait */

    struct ask_args ask = {.wait_ms = 7};
    assert_int_equal(operation_wait_ms(take, &(struct thing_args){.wait_ms = 5}), 5);
    assert_int_equal(operation_wait_ms(give, &(struct give_args){.ask = &ask}), 7);
    assert_int_equal(operation_wait_ms(give, &(struct give_args){.number = 3}), 0);
    assert_int_equal(operation_wait_ms(get, &(struct thing_args){.wait_ms = 5}), 0);
}

/* --- paths with a tail --- */

static void a_tail_takes_all_the_rest(void **state)
{
    static const struct {
        const char *path, *name;
        size_t size;
    } cases[] = {
        {"/v1/blobs/a", "a", 1},
        {"/v1/blobs/a/b/c", "a/b/c", 5},
        {"/v1/blobs/a%2Fb", "a/b", 3},
        {"/v1/blobs//", "/", 1},
        {"/v1/blobs//a//b/", "/a//b/", 6},
        {"/v1/blobs/.", ".", 1},
        {"/v1/blobs/../things", "../things", 9},
        {"/v1/blobs/%2e%2e/", "../", 3},
        {"/v1/blobs/%00", "\0", 1},
        {"/v1/blobs/a%00b", "a\0b", 3},
        {"/v1/blobs/%FF%fe", "\xff\xfe", 2},
        {"/v1/blobs/\xc3(", "\xc3(", 2},
        {"/v1/blobs/%0a\t", "\n\t", 2},
        {"/v1/blobs/a+b%2525", "a+b%25", 6},
        {"/v1/blobs/a?b", "a?b", 3}, /* the query is cut off before */
        {"/v1/blobs/1/2/3/4/5/6/7/8/9/10/11/12/13", "1/2/3/4/5/6/7/8/9/10/11/12/13", 29},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct route_match match = find(*state, "PUT", cases[i].path);
        assert_int_equal(match.outcome, OUTCOME_OK);
        assert_string_equal(match.route->operation->name, "thing.store");
        assert_string_equal(match.route->parts[0]->name, "name");
        assert_true(slice_equal(match.parts[0], slice_of(cases[i].name, cases[i].size)));
        assert_string_equal(find(*state, "HEAD", cases[i].path).route->operation->name, "thing.load");
    }
}

static void a_tail_is_not_empty(void **state)
{
    assert_int_equal(find(*state, "PUT", "/v1/blobs/").outcome, OUTCOME_ROUTE_NOT_FOUND);
    expect(*state, "GET", "/v1/blobs", "thing.blobs");
    assert_int_equal(find(*state, "PUT", "/v1/blobs").outcome, OUTCOME_METHOD_NOT_ALLOWED);
    assert_int_equal(find(*state, "PUT", "/v1/blob/a").outcome, OUTCOME_ROUTE_NOT_FOUND);
    assert_int_equal(find(*state, "PUT", "/v1/Blobs/a").outcome, OUTCOME_ROUTE_NOT_FOUND);
    assert_int_equal(find(*state, "PUT", "/v1//blobs/a").outcome, OUTCOME_BAD_PATH);
}

static void a_tail_has_escapes_and_methods(void **state)
{
    static const char *const paths[] = {"/v1/blobs/%", "/v1/blobs/a%4", "/v1/blobs/a/%zz/b"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct route_match match = find(*state, "GET", paths[i]);
        assert_int_equal(match.outcome, OUTCOME_BAD_PATH);
        assert_non_null(match.detail);
        assert_null(match.route);
    }
    expect_allow(*state, "POST", "/v1/blobs/a/b", "PUT, GET, HEAD");
    expect_allow(*state, "put", "/v1/blobs/a", "PUT, GET, HEAD");
}

/* What leads to a tail is decoded like any other segment. */
static void escapes_before_a_tail(void **state)
{
    struct route_match match = find(*state, "GET", "/v1/%62lobs/a%2Fb");
    assert_int_equal(match.outcome, OUTCOME_OK);
    assert_true(slice_is(match.parts[0], "a/b"));
    assert_int_equal(find(*state, "GET", "/v1/%62lobs").outcome, OUTCOME_OK);
    static const char *const others[] = {"/v1%2Fblobs/a", "/v1/blobs%2Fa", "/v1/%42lobs/a", "/v1/%6",
                                         "/v1/%62",       "/v1/%62lobs/",  "%2Fv1/blobs/a"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_not_equal(find(*state, "GET", others[i]).outcome, OUTCOME_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(finds_each_operation_by_method_and_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(head_means_get, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_literal_wins_where_it_knows_the_method, set_up, tear_down),
        cmocka_unit_test_setup_teardown(operations_without_a_path_are_not_reachable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts_are_decoded_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(several_parts_keep_their_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(malformed_paths_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_raw_nul_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unknown_paths_are_not_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_known_path_tells_its_methods, set_up, tear_down),
        cmocka_unit_test_setup_teardown(routes_know_the_fields_of_headers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_array_is_an_operation_of_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(routes_know_the_lines_of_plain_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wait_is_found_in_a_record_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_tail_takes_all_the_rest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_tail_is_not_empty, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_tail_has_escapes_and_methods, set_up, tear_down),
        cmocka_unit_test_setup_teardown(escapes_before_a_tail, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
