// links: api lib
/* The OpenAPI document: complete, consistent and true to the tables. */
#include "api/openapi.h"
#include "api/problem.h"
#include "tests/unit/api_tables.h"
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>

#define json_null jansson_null /* base/json.h has its own */
#include <jansson.h>
#undef json_null

static json_t *document;

static json_t *at(json_t *from, const char *path)
{
    char name[128];
    for (; *path; path += strspn(path, "|")) {
        size_t size = strcspn(path, "|");
        memcpy(name, path, size);
        name[size] = 0;
        from = json_is_array(from) ? json_array_get(from, (size_t)atoi(name)) : json_object_get(from, name);
        assert_non_null(from);
        path += size;
    }
    return from;
}

static const char *text(json_t *from, const char *path)
{
    return json_string_value(at(from, path));
}

static json_t *parameter(json_t *operation, const char *name)
{
    json_t *list = at(operation, "parameters");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *found = json_string_value(json_object_get(json_array_get(list, i), "name"));
        if (found && strcmp(found, name) == 0) return json_array_get(list, i);
    }
    return NULL;
}

static void every_operation_is_there(void **state)
{
    (void)state;
    assert_string_equal(text(document, "openapi"), "3.1.0");
    assert_int_equal(json_object_size(at(document, "paths")), 10);
    assert_string_equal(text(document, "paths|/v1/things/{name}/take|post|operationId"), "thing.take");
    assert_string_equal(text(document, "paths|/v1/things/{name}/take|post|summary"), "Takes a thing.");
    assert_string_equal(text(document, "paths|/v1/things/{name}|get|operationId"), "thing.get");
    assert_string_equal(text(document, "paths|/v1/things/{name}|delete|operationId"), "thing.drop");
    assert_string_equal(text(document, "paths|/v1/things|get|operationId"), "thing.list");
    assert_string_equal(text(document, "paths|/v1/things/{name}/owners/{owner}|put|operationId"),
                        "thing.part");
}

static void arguments_are_parameters(void **state)
{
    (void)state;
    json_t *take = at(document, "paths|/v1/things/{name}/take|post");
    assert_string_equal(text(parameter(take, "name"), "in"), "path");
    assert_true(json_is_true(at(parameter(take, "name"), "required")));
    assert_string_equal(text(parameter(take, "name"), "description"), "what it is called");
    assert_string_equal(text(parameter(take, "owner"), "in"), "query");
    assert_int_equal(json_integer_value(at(parameter(take, "owner"), "schema|maxLength")), 40);
    assert_int_equal(json_integer_value(at(parameter(take, "count"), "schema|maximum")), 10);
    assert_int_equal(json_integer_value(at(parameter(take, "count"), "schema|default")), 1);
    assert_string_equal(text(parameter(take, "mode"), "schema|default"), "exclusive");
    assert_string_equal(text(parameter(take, "mode"), "schema|enum|1"), "shared");
    assert_int_equal(json_integer_value(at(parameter(take, "ttl"), "schema|oneOf|1|minimum")), 500);
    assert_true(json_is_false(at(parameter(take, "names"), "explode")));
    assert_null(parameter(take, "parts"));
    assert_null(parameter(take, "one"));
}

static void queries_share_two_more(void **state)
{
    (void)state;
    json_t *get = at(document, "paths|/v1/things/{name}|get"), *list = at(get, "parameters");
    size_t size = json_array_size(list);
    assert_string_equal(text(json_array_get(list, size - 2), "$ref"), "#/components/parameters/consistency");
    assert_string_equal(text(json_array_get(list, size - 1), "$ref"), "#/components/parameters/min_revision");
    assert_null(json_object_get(get, "requestBody"));
}

static void bodies_are_strict(void **state)
{
    (void)state;
    json_t *schema =
        at(document, "paths|/v1/things/{name}/take|post|requestBody|content|application/json|schema");
    assert_true(json_is_false(at(schema, "additionalProperties")));
    assert_null(json_object_get(at(schema, "properties"), "name"));
    assert_string_equal(text(schema, "properties|parts|type"), "array");
    assert_string_equal(text(schema, "properties|parts|items|required|0"), "number");
    assert_int_equal(json_integer_value(at(schema, "properties|parts|items|properties|number|maximum")), 9);
    assert_string_equal(text(schema, "properties|one|type"), "object");
    assert_int_equal(json_object_size(at(schema, "properties|meta")), 0);
}

static void results_are_components(void **state)
{
    (void)state;
    json_t *responses = at(document, "paths|/v1/things/{name}|get|responses");
    assert_string_equal(text(responses, "2XX|content|application/json|schema|$ref"),
                        "#/components/schemas/thing");
    json_t *thing = at(document, "components|schemas|thing");
    assert_int_equal(json_array_size(at(thing, "required")), 3);
    assert_string_equal(text(thing, "properties|holders|items|$ref"), "#/components/schemas/holder");
    assert_string_equal(text(document, "components|schemas|holder|properties|since|format"), "date-time");
    assert_null(json_object_get(at(document, "paths|/v1/things/{name}|delete|responses|2XX"), "content"));
    json_t *lines = at(document, "paths|/v1/things/{name}/piece|get|responses|2XX|content|text/plain|schema");
    assert_string_equal(text(lines, "description"), "mode payload");
}

static void refusals_show_their_facts(void **state)
{
    (void)state;
    json_t *schema =
        at(document,
           "paths|/v1/things/{name}/take|post|responses|default|content|application/problem+json|schema");
    assert_string_equal(text(schema, "allOf|0|$ref"), "#/components/schemas/problem");
    assert_string_equal(text(schema, "allOf|1|properties|holder|oneOf|0|$ref"),
                        "#/components/schemas/holder");
    json_t *codes = at(document, "components|schemas|problem|properties|code|enum");
    json_t *statuses = at(document, "components|schemas|problem|x-codes");
    size_t errors = 0;
    for (size_t i = 0; i < problem_outcome_count(); i++) {
        const struct outcome_facts *facts = problem_outcome_at(i);
        if (facts->status < 400) continue;
        assert_string_equal(json_string_value(json_array_get(codes, errors++)), facts->code);
        assert_int_equal(json_integer_value(at(statuses, facts->code)), facts->status);
    }
    assert_int_equal(json_array_size(codes), errors);
}

static void an_array_has_its_schemas(void **state)
{
    (void)state;
    json_t *give = at(document, "paths|/v1/things/{name}/parts|post");
    assert_string_equal(text(give, "operationId"), "thing.give");
    json_t *body = at(give, "requestBody|content|application/json|schema|oneOf");
    assert_int_equal(json_array_size(body), 2);
    assert_string_equal(text(body, "0|type"), "object");
    assert_int_equal(json_integer_value(at(body, "0|properties|number|maximum")), 9);
    assert_string_equal(text(body, "1|title"), "thing.give_many");
    assert_string_equal(text(body, "1|description"), "Gives several parts, or none.");
    assert_string_equal(text(body, "1|type"), "array");
    assert_int_equal(json_integer_value(at(body, "1|maxItems")), 3);
    assert_int_equal(json_integer_value(at(body, "1|minItems")), 1);
    assert_string_equal(text(body, "1|items|required|0"), "number");
    json_t *results = at(give, "responses|2XX|content|application/json|schema|oneOf");
    assert_string_equal(text(results, "0|$ref"), "#/components/schemas/taken");
    assert_string_equal(text(results, "1|$ref"), "#/components/schemas/thing");
    assert_non_null(at(give, "responses|default|content|application/problem+json|schema|allOf|1|properties|"
                             "holder"));
}

static void fields_of_records_are_parameters(void **state)
{
    (void)state;
    json_t *give = at(document, "paths|/v1/things/{name}/parts|post");
    assert_null(parameter(give, "ask"));
    assert_string_equal(text(parameter(give, "ask.who"), "in"), "query");
    assert_string_equal(text(parameter(give, "ask.who"), "description"), "who asks");
    assert_int_equal(json_integer_value(at(parameter(give, "ask.max"), "schema|maximum")), 9);
    assert_non_null(parameter(give, "ask.wait"));
    assert_int_equal(json_array_size(at(give, "x-required")), 0);
    json_t *take = at(document, "paths|/v1/things/{name}/take|post");
    assert_null(parameter(take, "parts"));
    assert_non_null(parameter(take, "one.number"));
}

static void check_references(json_t *node)
{
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_array(node)) json_array_foreach(node, i, value) check_references(value);
    if (!json_is_object(node)) return;
    json_object_foreach(node, key, value)
    {
        check_references(value);
        if (strcmp(key, "$ref") != 0) continue;
        char path[128];
        assert_int_equal(strncmp(json_string_value(value), "#/", 2), 0);
        strcpy(path, json_string_value(value) + 2);
        for (char *slash = path; (slash = strchr(slash, '/'));) *slash = '|';
        at(document, path);
    }
}

static void every_reference_leads_somewhere(void **state)
{
    (void)state;
    check_references(document);
}

static int set_up(void **state)
{
    (void)state;
    struct routes *routes = routes_new(thing_primitives);
    struct buffer out = {0};
    openapi_json(routes, &out);
    document = json_loadb((char *)out.data, out.size, JSON_REJECT_DUPLICATES, NULL);
    buffer_free(&out);
    routes_free(routes);
    return document ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(document);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_is_there),        cmocka_unit_test(arguments_are_parameters),
        cmocka_unit_test(queries_share_two_more),          cmocka_unit_test(bodies_are_strict),
        cmocka_unit_test(results_are_components),          cmocka_unit_test(refusals_show_their_facts),
        cmocka_unit_test(an_array_has_its_schemas),        cmocka_unit_test(fields_of_records_are_parameters),
        cmocka_unit_test(every_reference_leads_somewhere),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
