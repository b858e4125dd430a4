/* A primitive is one file and one line in the list: linked with the archives as they ship, beside a list that
 * has the line, the barrier is routed, parsed, documented, logged, applied and told of its leases' ends. */
#include "api/body.h"
#include "api/openapi.h"
#include "api/query.h"
#include "base/memory.h"
#include "coord/coord.h"
#include "coord/primitive/lease.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"

struct house {
    struct routes *routes;
    struct rows *rows;
    struct arena arena;
    uint64_t index;
};

static int build(void **state)
{
    struct house *house = memory_new(sizeof *house);
    house->routes = routes_new(primitives);
    house->rows = rows_memory_new();
    body_init();
    *state = house;
    return 0;
}

static int tear_down(void **state)
{
    struct house *house = *state;
    routes_free(house->routes);
    rows_memory_free(house->rows);
    arena_free(&house->arena);
    free(house);
    return 0;
}

static const struct route *route_to(struct house *house, const char *method, const char *path,
                                    struct slice *name)
{
    struct route_match match = route_find(house->routes, slice_text(method), slice_text(path), &house->arena);
    assert_int_equal(match.outcome, OUTCOME_OK);
    *name = match.parts[0];
    return match.route;
}

/* The arguments as the HTTP edge makes them. */
static void *arguments(struct house *house, const struct route *route, struct slice name, const char *query,
                       const char *body)
{
    const struct operation *operation = route->operation;
    struct problem problem = {0};
    struct query_options options = {0};
    void *args = arena_alloc(&house->arena, operation->args->size);
    struct argument argument = {.setting = {.record = operation->args, .data = args, .arena = &house->arena},
                                .problem = &problem};
    assert_true(argument_text(&argument, route->parts[0], name));
    assert_true(query_parse(slice_text(query), operation, &argument, &options));
    assert_true(body_parse(slice_text(body), &argument));
    assert_true(argument_done(&argument));
    return args;
}

static void begin(struct house *house, struct apply *apply)
{
    house->index++;
    apply_begin(apply, house->rows, &house->arena, house->index, 1, 1000 * house->index);
}

/* Through the log's bytes and back, then applied: the answer as JSON. */
static const char *run(struct house *house, const struct operation *operation, const void *args)
{
    struct buffer payload = {0}, text = {0};
    struct apply apply;
    begin(house, &apply);
    if (operation->kind == OPERATION_QUERY) {
        coord_query(&apply, operation, args);
    } else {
        struct command command = {1000 * house->index, operation, 0, 0, args}, decoded;
        command_encode(&command, &payload);
        assert_true(command_decode(buffer_slice(&payload), &house->arena, &decoded));
        coord_apply(&apply, &decoded);
    }
    assert_non_null(apply.answers);
    buffer_printf(&text, "%s ", outcome_facts(apply.answers->outcome)->code);
    if (apply.answers->shape)
        record_json(apply.answers->shape, apply.answers->data, &(struct json){&text, false});
    const char *copy =
        (const char *)arena_printf(&house->arena, "%.*s", SLICE_ARGS(buffer_slice(&text))).data;
    coord_check(house->rows, &house->arena);
    buffer_free(&payload);
    buffer_free(&text);
    return copy;
}

static const char *lease_query(struct house *house, uint64_t lease)
{
    return (const char *)arena_printf(&house->arena, "lease=L%llx", (unsigned long long)lease).data;
}

static void it_is_applied_and_hangs_on_leases(void **state)
{
    struct house *house = *state;
    struct apply apply;
    begin(house, &apply);
    uint64_t first = lease_start(&apply, LEASE_NAMED, 5000, SLICE("me"), SLICE(""));
    uint64_t second = lease_start(&apply, LEASE_NAMED, 5000, SLICE("you"), SLICE(""));
    struct slice name;
    const struct route *enter = route_to(house, "POST", "/v1/barriers/gate%2F1/enter", &name);
    const struct route *get = route_to(house, "GET", "/v1/barriers/gate%2F1", &name);
    const char *my = lease_query(house, first), *your = lease_query(house, second);
    assert_string_equal(run(house, enter->operation, arguments(house, enter, name, my, "{\"parties\":1}")),
                        "ok {\"name\":\"gate/1\",\"parties\":1,\"inside\":1,\"open\":true}");
    assert_string_equal(run(house, enter->operation, arguments(house, enter, name, your, "")),
                        "ok {\"name\":\"gate/1\",\"parties\":2,\"inside\":2,\"open\":true}");
    assert_string_equal(run(house, enter->operation, arguments(house, enter, name, "lease=L1", "")),
                        "lease_not_found ");
    begin(house, &apply);
    lease_end(&apply, first, END_EXPIRED);
    assert_string_equal(run(house, get->operation, arguments(house, get, name, "", "")),
                        "ok {\"name\":\"gate/1\",\"parties\":2,\"inside\":1,\"open\":false}");
}

static void it_is_known_everywhere(void **state)
{
    struct house *house = *state;
    struct buffer document = {0};
    openapi_json(house->routes, &document);
    buffer_add_byte(&document, 0);
    assert_non_null(strstr((const char *)document.data, "\"/v1/barriers/{name}/enter\""));
    assert_non_null(strstr((const char *)document.data, "\"operationId\":\"barrier.get\""));
    assert_non_null(operation_by_name(SLICE("barrier.enter")));
    assert_non_null(operation_by_code(9902));
    assert_string_equal(primitive_by_code(99)->name, "barrier");
    buffer_free(&document);
}

static void its_arguments_are_checked_by_its_table(void **state)
{
    struct house *house = *state;
    struct slice name;
    const struct route *enter = route_to(house, "POST", "/v1/barriers/a/enter", &name);
    struct problem problem = {0};
    void *args = arena_alloc(&house->arena, enter->operation->args->size);
    struct argument argument = {
        .setting = {.record = enter->operation->args, .data = args, .arena = &house->arena},
        .problem = &problem};
    assert_false(body_parse(SLICE("{\"parties\":101}"), &argument));
    assert_int_equal(problem.outcome, OUTCOME_BAD_FIELD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_applied_and_hangs_on_leases, build, tear_down),
        cmocka_unit_test_setup_teardown(it_is_known_everywhere, build, tear_down),
        cmocka_unit_test_setup_teardown(its_arguments_are_checked_by_its_table, build, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
