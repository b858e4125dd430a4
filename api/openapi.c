/* Arguments are described in place, strictly; results are components by the names of their records, since
 * records share them. */
#include "api/openapi.h"

#include "api/body.h"
#include "api/problem.h"

#include <stdio.h>

static const uint64_t uint_max = ((uint64_t)1 << 53) - 1;

static void text_member(struct json *json, const char *key, const char *text)
{
    json_key(json, key);
    json_text(json, slice_text(text));
}

static void uint_member(struct json *json, const char *key, uint64_t value)
{
    json_key(json, key);
    json_uint(json, value);
}

static void true_member(struct json *json, const char *key, bool value)
{
    json_key(json, key);
    json_bool(json, value);
}

static void ref_member(struct json *json, const char *kind, const char *name)
{
    char text[128];
    snprintf(text, sizeof text, "#/components/%s/%s", kind, name);
    text_member(json, "$ref", text);
}

static void type_member(struct json *json, const char *type, bool null)
{
    if (!null) {
        text_member(json, "type", type);
        return;
    }
    json_key(json, "type");
    json_open(json, '[');
    json_text(json, slice_text(type));
    json_text(json, SLICE("null"));
    json_close(json, ']');
}

/* --- schemas of fields --- */

static void choices(struct json *json, const struct field *field, bool null)
{
    json_key(json, "enum");
    json_open(json, '[');
    for (size_t i = 0; field->choices[i]; i++) json_text(json, slice_text(field->choices[i]));
    if (null) json_raw(json, SLICE("null"));
    json_close(json, ']');
}

static void bounds(struct json *json, const struct field *field)
{
    uint_member(json, "minimum", field->min);
    uint_member(json, "maximum", field->max ? field->max : uint_max);
}

static void text_schema(struct json *json, const struct field *field, bool null)
{
    type_member(json, "string", null);
    if (field->type == FIELD_NAME || field->min) uint_member(json, "minLength", field->min ? field->min : 1);
    uint_member(json, "maxLength", field->max ? field->max : 255);
}

static void duration_schema(struct json *json, const struct field *field)
{
    json_key(json, "oneOf");
    json_open(json, '[');
    json_open(json, '{');
    text_member(json, "type", "string");
    text_member(json, "pattern", "^[0-9]+(ms|s|m|h|d)?$");
    json_close(json, '}');
    json_open(json, '{');
    text_member(json, "type", "integer");
    bounds(json, field);
    json_close(json, '}');
    json_close(json, ']');
}

static void input_object(struct json *json, const struct record *record, const struct route *route);
static void output_reference(struct json *json, const struct record *record);

static void bytes_schema(struct json *json, const struct field *field)
{
    json_key(json, "oneOf");
    json_open(json, '[');
    json_open(json, '{');
    text_member(json, "type", "string");
    uint_member(json, "maxLength", field->max ? field->max : 255);
    json_close(json, '}');
    json_raw(json,
             SLICE("{\"type\":\"object\",\"required\":[\"base64\"],\"additionalProperties\":false,"
                   "\"properties\":{\"base64\":{\"type\":\"string\",\"contentEncoding\":\"base64\"}}}"));
    if (field->flags & FIELD_NULL) json_raw(json, SLICE("{\"type\":\"null\"}"));
    json_close(json, ']');
}

/* Any operation that clients may put into a transaction: "op" and its arguments. */
static void operation_schema(struct json *json, const struct primitive *const *all)
{
    text_member(json, "type", "object");
    json_key(json, "required");
    json_raw(json, SLICE("[\"op\"]"));
    json_key(json, "properties");
    json_open(json, '{');
    json_key(json, "op");
    json_open(json, '{');
    json_key(json, "enum");
    json_open(json, '[');
    for (; *all; all++)
        for (size_t i = 0; i < (*all)->operation_count; i++)
            if (operation_in_txn(&(*all)->operations[i]))
                json_text(json, slice_text((*all)->operations[i].name));
    json_close(json, ']');
    json_close(json, '}');
    json_close(json, '}');
}

static void items_schema(struct json *json, const struct field *field, bool input)
{
    text_member(json, "type", "array");
    if (input) uint_member(json, "maxItems", field->max ? field->max : 1000);
    json_key(json, "items");
    json_open(json, '{');
    if (field->type == FIELD_OPERATIONS) {
        operation_schema(json, field->among);
    } else if (field->type == FIELD_RESULTS) {
        json_raw(json, SLICE("\"type\":\"object\",\"required\":[\"op\",\"status\",\"code\",\"result\"],"
                             "\"properties\":{\"op\":{\"type\":\"string\"},\"status\":{\"type\":\"integer\"},"
                             "\"code\":{\"type\":\"string\"},\"result\":{\"type\":[\"object\",\"null\"]},"
                             "\"detail\":{\"type\":\"string\"}}"));
    } else if (field->type != FIELD_LIST) {
        text_member(json, "type", "string");
        if (field->type == FIELD_LEASES) text_member(json, "pattern", "^L[0-9a-f]+$");
    } else if (input) {
        input_object(json, field->record, NULL);
    } else {
        output_reference(json, field->record);
    }
    json_close(json, '}');
}

static void initial_member(struct json *json, const struct field *field)
{
    if (!field->initial) return;
    if (field->type == FIELD_CHOICE)
        text_member(json, "default", field->choices[field->initial - 1]);
    else
        uint_member(json, "default", field->initial);
}

/* Members of the schema of an argument. */
static void input_schema(struct json *json, const struct field *field)
{
    switch ((enum field_type)field->type) {
    case FIELD_UINT:
    case FIELD_TIME:
        text_member(json, "type", "integer");
        bounds(json, field);
        break;
    case FIELD_DURATION:
        duration_schema(json, field);
        break;
    case FIELD_LEASE:
        text_member(json, "type", "string");
        text_member(json, "pattern", "^L[0-9a-f]+$");
        break;
    case FIELD_CHOICE:
        text_member(json, "type", "string");
        choices(json, field, false);
        break;
    case FIELD_BOOL:
        text_member(json, "type", "boolean");
        break;
    case FIELD_TEXT:
    case FIELD_NAME:
        text_schema(json, field, false);
        break;
    case FIELD_TEXTS:
    case FIELD_LEASES:
    case FIELD_LIST:
    case FIELD_OPERATIONS:
        items_schema(json, field, true);
        break;
    case FIELD_BYTES:
        bytes_schema(json, field);
        break;
    case FIELD_RECORD:
        input_object(json, field->record, NULL);
        break;
    case FIELD_JSON:
    case FIELD_RESULTS:
    case FIELD_REMAINING:
        break;
    }
    initial_member(json, field);
}

static void output_schema(struct json *json, const struct field *field)
{
    bool null = (field->flags & FIELD_NULL) || field->type == FIELD_REMAINING;
    switch ((enum field_type)field->type) {
    case FIELD_UINT:
    case FIELD_DURATION:
    case FIELD_REMAINING:
        type_member(json, "integer", null);
        break;
    case FIELD_TIME:
        type_member(json, "string", true);
        text_member(json, "format", "date-time");
        break;
    case FIELD_LEASE:
        type_member(json, "string", true);
        break;
    case FIELD_CHOICE:
        type_member(json, "string", true);
        choices(json, field, true);
        break;
    case FIELD_BOOL:
        text_member(json, "type", "boolean");
        break;
    case FIELD_TEXT:
    case FIELD_NAME:
        type_member(json, "string", null);
        break;
    case FIELD_TEXTS:
    case FIELD_LEASES:
    case FIELD_LIST:
    case FIELD_OPERATIONS:
    case FIELD_RESULTS:
        items_schema(json, field, false);
        break;
    case FIELD_BYTES:
        bytes_schema(json, field);
        break;
    case FIELD_RECORD:
        json_key(json, "oneOf");
        json_open(json, '[');
        json_open(json, '{');
        output_reference(json, field->record);
        json_close(json, '}');
        json_raw(json, SLICE("{\"type\":\"null\"}"));
        json_close(json, ']');
        break;
    case FIELD_JSON:
        break;
    }
}

/* --- schemas of records --- */

static bool in_path(const struct route *route, const struct field *field)
{
    for (size_t i = 0; route && i < route->part_count; i++)
        if (route->parts[i] == field) return true;
    return false;
}

static bool is_input(const struct route *route, const struct field *field)
{
    return !(field->flags & FIELD_HIDDEN) && field->type != FIELD_REMAINING && !in_path(route, field);
}

static void about_member(struct json *json, const struct field *field)
{
    if (field->about) text_member(json, "description", field->about);
}

/* What is required may come as a query parameter too, so at the top of a body nothing is. */
static void required_members(struct json *json, const struct record *record)
{
    json_key(json, "required");
    json_open(json, '[');
    for (size_t i = 0; i < record->field_count; i++)
        if (is_input(NULL, &record->fields[i]) && (record->fields[i].flags & FIELD_REQUIRED))
            json_text(json, slice_text(record->fields[i].name));
    json_close(json, ']');
}

static void input_object(struct json *json, const struct record *record, const struct route *route)
{
    text_member(json, "type", "object");
    true_member(json, "additionalProperties", false);
    if (!route) required_members(json, record);
    json_key(json, "properties");
    json_open(json, '{');
    for (size_t i = 0; i < record->field_count; i++) {
        const struct field *field = &record->fields[i];
        if (!is_input(route, field)) continue;
        json_key(json, field->name);
        json_open(json, '{');
        input_schema(json, field);
        about_member(json, field);
        json_close(json, '}');
    }
    json_close(json, '}');
}

static void output_reference(struct json *json, const struct record *record)
{
    ref_member(json, "schemas", record->name);
}

static void output_properties(struct json *json, const struct record *record)
{
    for (size_t i = 0; i < record->field_count; i++) {
        const struct field *field = &record->fields[i];
        if (field->flags & FIELD_HIDDEN) continue;
        json_key(json, field->name);
        json_open(json, '{');
        output_schema(json, field);
        about_member(json, field);
        json_close(json, '}');
    }
}

static void output_object(struct json *json, const struct record *record)
{
    json_key(json, record->name);
    json_open(json, '{');
    text_member(json, "type", "object");
    json_key(json, "required");
    json_open(json, '[');
    for (size_t i = 0; i < record->field_count; i++)
        if (!(record->fields[i].flags & FIELD_HIDDEN)) json_text(json, slice_text(record->fields[i].name));
    json_close(json, ']');
    json_key(json, "properties");
    json_open(json, '{');
    output_properties(json, record);
    json_close(json, '}');
    json_close(json, '}');
}

/* --- operations --- */

static void parameter(struct json *json, const struct field *field, const char *place)
{
    json_open(json, '{');
    text_member(json, "name", field->name);
    text_member(json, "in", place);
    if (strcmp(place, "path") == 0) true_member(json, "required", true);
    json_key(json, "schema");
    json_open(json, '{');
    input_schema(json, field);
    json_close(json, '}');
    if (field->type == FIELD_TEXTS || field->type == FIELD_LEASES) true_member(json, "explode", false);
    about_member(json, field);
    json_close(json, '}');
}

static void parameters(struct json *json, const struct route *route)
{
    const struct record *args = route->operation->args;
    json_key(json, "parameters");
    json_open(json, '[');
    for (size_t i = 0; i < route->part_count; i++) parameter(json, route->parts[i], "path");
    for (size_t i = 0; i < args->field_count; i++) {
        const struct field *field = &args->fields[i];
        bool text = field->type != FIELD_LIST && field->type != FIELD_RECORD;
        if (is_input(route, field) && text) parameter(json, field, "query");
    }
    if (route->operation->kind == OPERATION_QUERY) {
        json_raw(json, SLICE("{\"$ref\":\"#/components/parameters/consistency\"}"));
        json_raw(json, SLICE("{\"$ref\":\"#/components/parameters/min_revision\"}"));
    }
    json_close(json, ']');
}

static void content(struct json *json, const char *type)
{
    json_key(json, "content");
    json_open(json, '{');
    json_key(json, type);
    json_open(json, '{');
    json_key(json, "schema");
    json_open(json, '{');
}

static void content_end(struct json *json)
{
    json_close(json, '}');
    json_close(json, '}');
    json_close(json, '}');
}

static void request_body(struct json *json, const struct route *route)
{
    if (strcmp(route->operation->method, "GET") == 0) return;
    json_key(json, "requestBody");
    json_open(json, '{');
    text_member(json, "description",
                "The same fields as the query parameters; each may be given in one place only.");
    true_member(json, "required", false);
    content(json, "application/json");
    input_object(json, route->operation->args, route);
    content_end(json);
    json_close(json, '}');
}

static void refusal_schema(struct json *json, const struct operation *operation)
{
    if (!operation->refusal) {
        ref_member(json, "schemas", "problem");
        return;
    }
    json_key(json, "allOf");
    json_open(json, '[');
    json_raw(json, SLICE("{\"$ref\":\"#/components/schemas/problem\"}"));
    json_open(json, '{');
    text_member(json, "type", "object");
    json_key(json, "properties");
    json_open(json, '{');
    output_properties(json, operation->refusal);
    json_close(json, '}');
    json_close(json, '}');
    json_close(json, ']');
}

static void responses(struct json *json, const struct operation *operation)
{
    json_key(json, "responses");
    json_open(json, '{');
    json_key(json, "2XX");
    json_open(json, '{');
    text_member(json, "description", operation->result ? "done" : "done, nothing to say");
    if (operation->result) {
        content(json, "application/json");
        output_reference(json, operation->result);
        content_end(json);
    }
    json_close(json, '}');
    json_key(json, "default");
    json_open(json, '{');
    text_member(json, "description", "refused: see code");
    content(json, "application/problem+json");
    refusal_schema(json, operation);
    content_end(json);
    json_close(json, '}');
    json_close(json, '}');
}

static void one_operation(struct json *json, const struct route *route)
{
    static const char *const lower[] = {"get", "put", "post", "delete", "patch"};
    const struct operation *operation = route->operation;
    for (size_t i = 0; i < sizeof lower / sizeof *lower; i++)
        if (strcasecmp(lower[i], operation->method) == 0) json_key(json, lower[i]);
    json_open(json, '{');
    text_member(json, "operationId", operation->name);
    if (operation->about) text_member(json, "summary", operation->about);
    parameters(json, route);
    request_body(json, route);
    responses(json, operation);
    json_close(json, '}');
}

static bool path_seen(const struct routes *routes, size_t number)
{
    for (size_t i = 0; i < number; i++)
        if (strcmp(routes_at(routes, i)->operation->path, routes_at(routes, number)->operation->path) == 0)
            return true;
    return false;
}

static void paths(struct json *json, const struct routes *routes)
{
    json_key(json, "paths");
    json_open(json, '{');
    for (size_t i = 0; i < routes_count(routes); i++) {
        if (path_seen(routes, i)) continue;
        const char *path = routes_at(routes, i)->operation->path;
        json_key(json, path);
        json_open(json, '{');
        for (size_t k = i; k < routes_count(routes); k++)
            if (strcmp(routes_at(routes, k)->operation->path, path) == 0)
                one_operation(json, routes_at(routes, k));
        json_close(json, '}');
    }
    json_close(json, '}');
}

/* --- components --- */

enum { RECORDS_MAX = 512 };

struct records {
    const struct record *all[RECORDS_MAX];
    size_t count;
};

static void gather(struct records *records, const struct record *record)
{
    for (size_t i = 0; i < records->count; i++)
        if (strcmp(records->all[i]->name, record->name) == 0) return;
    if (records->count == RECORDS_MAX) return;
    records->all[records->count++] = record;
    for (size_t i = 0; i < record->field_count; i++)
        if (record->fields[i].record && !(record->fields[i].flags & FIELD_HIDDEN))
            gather(records, record->fields[i].record);
}

static void gather_nested(struct records *records, const struct record *record)
{
    for (size_t i = 0; record && i < record->field_count; i++)
        if (record->fields[i].record && !(record->fields[i].flags & FIELD_HIDDEN))
            gather(records, record->fields[i].record);
}

static void problem_schema(struct json *json)
{
    json_key(json, "problem");
    json_open(json, '{');
    text_member(json, "type", "object");
    json_key(json, "required");
    json_raw(json, SLICE("[\"type\",\"title\",\"status\",\"code\",\"detail\",\"retryable\"]"));
    json_key(json, "properties");
    json_open(json, '{');
    json_key(json, "type");
    json_raw(json, SLICE("{\"type\":\"string\"}"));
    json_key(json, "title");
    json_raw(json, SLICE("{\"type\":\"string\"}"));
    json_key(json, "status");
    json_raw(json, SLICE("{\"type\":\"integer\"}"));
    json_key(json, "code");
    json_open(json, '{');
    text_member(json, "type", "string");
    json_key(json, "enum");
    json_open(json, '[');
    for (size_t i = 0; i < problem_outcome_count(); i++)
        if (problem_outcome_at(i)->status >= 400) json_text(json, slice_text(problem_outcome_at(i)->code));
    json_close(json, ']');
    json_close(json, '}');
    json_key(json, "detail");
    json_raw(json, SLICE("{\"type\":\"string\"}"));
    json_key(json, "retryable");
    json_raw(json, SLICE("{\"type\":\"boolean\"}"));
    json_close(json, '}');
    json_key(json, "x-codes");
    json_open(json, '{');
    for (size_t i = 0; i < problem_outcome_count(); i++) {
        const struct outcome_facts *facts = problem_outcome_at(i);
        if (facts->status >= 400) uint_member(json, facts->code, (uint64_t)facts->status);
    }
    json_close(json, '}');
    json_close(json, '}');
}

static void components(struct json *json, const struct routes *routes)
{
    struct records records = {.count = 0};
    for (size_t i = 0; i < routes_count(routes); i++) {
        const struct operation *operation = routes_at(routes, i)->operation;
        if (operation->result) gather(&records, operation->result);
        gather_nested(&records, operation->refusal);
    }
    json_key(json, "components");
    json_open(json, '{');
    json_key(json, "schemas");
    json_open(json, '{');
    for (size_t i = 0; i < records.count; i++) output_object(json, records.all[i]);
    problem_schema(json);
    json_close(json, '}');
    json_key(json, "parameters");
    json_raw(
        json,
        SLICE("{\"consistency\":{\"name\":\"consistency\",\"in\":\"query\",\"schema\":{\"type\":\"string\","
              "\"enum\":[\"linearizable\",\"stale\"],\"default\":\"linearizable\"},\"description\":"
              "\"stale: from local state at once, with its age in Coord-Age-Ms\"},"
              "\"min_revision\":{\"name\":\"min_revision\",\"in\":\"query\",\"schema\":{\"type\":"
              "\"integer\",\"minimum\":0,\"maximum\":9007199254740991},\"description\":"
              "\"not before this node has applied that revision\"}}"));
    json_close(json, '}');
}

void openapi_json(const struct routes *routes, struct buffer *out)
{
    struct json json = {out, false};
    json_open(&json, '{');
    text_member(&json, "openapi", "3.1.0");
    json_key(&json, "info");
    json_open(&json, '{');
    text_member(&json, "title", "coordd");
    text_member(&json, "version", COORDD_VERSION);
    text_member(
        &json, "description",
        "Locks, leases and more over HTTP. Every option is a query parameter and a JSON member alike.");
    json_close(&json, '}');
    paths(&json, routes);
    components(&json, routes);
    json_close(&json, '}');
    buffer_add_byte(out, '\n');
}
