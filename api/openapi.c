/* Arguments are described in place, strictly; results are components by the names of their records, since
 * records share them. */
#include "api/openapi.h"

#include "api/body.h"
#include "api/openapi_schema.h"
#include "api/problem.h"
#include "api/query.h"

#include <stdio.h>

/* --- operations --- */

static void parameter(struct json *json, const char *name, const struct field *field, const char *place)
{
    json_open(json, '{');
    schema_text(json, "name", name);
    schema_text(json, "in", place);
    if (strcmp(place, "path") == 0) schema_true(json, "required", true);
    json_key(json, "schema");
    json_open(json, '{');
    schema_input(json, field);
    json_close(json, '}');
    if (field->type == FIELD_TEXTS || field->type == FIELD_LEASES) schema_true(json, "explode", false);
    schema_about(json, field);
    json_close(json, '}');
}

/* Of a record, its fields: "claim.max". `within` is "" or "claim.". */
static void query_parameters(struct json *json, const struct record *record, const struct route *route,
                             const char *within)
{
    for (size_t i = 0; i < record->field_count; i++) {
        const struct field *field = &record->fields[i];
        char name[128];
        if (!schema_is_input(route, field) || field->type == FIELD_LIST || field->type == FIELD_OPERATIONS)
            continue;
        bool nested = field->type == FIELD_RECORD;
        snprintf(name, sizeof name, "%s%s%s", within, field->name, nested ? "." : "");
        if (nested)
            query_parameters(json, field->record, NULL, name);
        else
            parameter(json, name, field, "query");
    }
}

static void parameters(struct json *json, const struct route *route)
{
    const struct record *args = route->operation->args;
    json_key(json, "parameters");
    json_open(json, '[');
    for (size_t i = 0; i < route->part_count; i++)
        parameter(json, route->parts[i]->name, route->parts[i], "path");
    query_parameters(json, args, route, "");
    if (route->operation->kind == OPERATION_QUERY) {
        json_raw(json, SLICE("{\"$ref\":\"#/components/parameters/consistency\"}"));
        json_raw(json, SLICE("{\"$ref\":\"#/components/parameters/min_revision\"}"));
    }
    if (query_takes_since(route->operation))
        json_raw(json, SLICE("{\"$ref\":\"#/components/parameters/since\"}"));
    if (query_takes_wait(route->operation)) {
        json_raw(json, SLICE("{\"$ref\":\"#/components/parameters/wait\"}"));
        json_raw(json, SLICE("{\"$ref\":\"#/components/parameters/if_none_match\"}"));
    }
    if (route->operation->kind == OPERATION_STREAM && query_takes_since(route->operation))
        json_raw(json, SLICE("{\"$ref\":\"#/components/parameters/last_event_id\"}"));
    if (record_field(args, SLICE("if_match")))
        json_raw(json, SLICE("{\"$ref\":\"#/components/parameters/if_match\"}"));
    if (record_field(args, SLICE("if_none_match")))
        json_raw(json, SLICE("{\"$ref\":\"#/components/parameters/if_absent\"}"));
    if (route->operation->kind == OPERATION_COMMAND) {
        json_raw(json, SLICE("{\"$ref\":\"#/components/parameters/idempotency_key\"}"));
        json_raw(json, SLICE("{\"$ref\":\"#/components/parameters/fence\"}"));
    }
    json_close(json, ']');
}

/* OpenAPI has no way to say that something may come as a parameter or in the body, but must come. */
static void required(struct json *json, const struct route *route)
{
    const struct record *args = route->operation->args;
    json_key(json, "x-required");
    json_open(json, '[');
    for (size_t i = 0; i < args->field_count; i++)
        if (schema_is_input(route, &args->fields[i]) && (args->fields[i].flags & FIELD_REQUIRED))
            json_text(json, slice_text(args->fields[i].name));
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

static void object_or_array(struct json *json, const struct route *route)
{
    const struct operation *many = route->array->operation;
    json_key(json, "oneOf");
    json_open(json, '[');
    json_open(json, '{');
    schema_input_object(json, route->operation->args, route);
    json_close(json, '}');
    json_open(json, '{');
    schema_text(json, "title", many->name);
    if (many->about) schema_text(json, "description", many->about);
    schema_input(json, route->array->items);
    json_close(json, '}');
    json_close(json, ']');
}

static void request_body(struct json *json, const struct route *route)
{
    if (strcmp(route->operation->method, "GET") == 0) return;
    json_key(json, "requestBody");
    json_open(json, '{');
    if (route->operation->flags & OPERATION_RAW) {
        schema_text(json, "description", "The value, as it is.");
        schema_true(json, "required", false);
        content(json, "application/octet-stream");
        content_end(json);
        json_close(json, '}');
        return;
    }
    schema_text(json, "description",
                "The same fields as the query parameters; each may be given in one place only.");
    schema_true(json, "required", false);
    content(json, "application/json");
    if (route->array)
        object_or_array(json, route);
    else
        schema_input_object(json, route->operation->args, route);
    content_end(json);
    json_close(json, '}');
}

static void refusal_facts(struct json *json, const struct operation *operation)
{
    if (!operation->refusal) return;
    json_open(json, '{');
    schema_text(json, "type", "object");
    json_key(json, "properties");
    json_open(json, '{');
    schema_output_properties(json, operation->refusal);
    json_close(json, '}');
    json_close(json, '}');
}

static void refusal_schema(struct json *json, const struct route *route)
{
    const struct operation *many = route->array ? route->array->operation : route->operation;
    if (!route->operation->refusal && !many->refusal) {
        schema_ref(json, "schemas", "problem");
        return;
    }
    json_key(json, "allOf");
    json_open(json, '[');
    json_raw(json, SLICE("{\"$ref\":\"#/components/schemas/problem\"}"));
    refusal_facts(json, route->operation);
    if (many->refusal != route->operation->refusal) refusal_facts(json, many);
    json_close(json, ']');
}

static void result_schema(struct json *json, const struct route *route)
{
    if (!route->array || !route->array->operation->result) {
        schema_output_reference(json, route->operation->result);
        return;
    }
    json_key(json, "oneOf");
    json_open(json, '[');
    for (const struct route *each = route; each; each = each->array) {
        json_open(json, '{');
        schema_output_reference(json, each->operation->result);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void responses_content(struct json *json, const struct route *route)
{
    const struct operation *operation = route->operation;
    json_key(json, "content");
    json_open(json, '{');
    if ((operation->flags & OPERATION_RAW) && operation->kind == OPERATION_QUERY)
        json_key(json, operation_raw_type(operation)), json_raw(json, SLICE("{\"schema\":{}}"));
    if (operation->type) {
        json_close(json, '}');
        return;
    }
    if (operation->plain) {
        json_key(json, "text/plain");
        json_open(json, '{');
        json_key(json, "schema");
        json_open(json, '{');
        schema_text(json, "type", "string");
        schema_text(json, "description", operation->plain);
        json_close(json, '}');
        json_close(json, '}');
    }
    json_key(json, "application/json");
    json_open(json, '{');
    json_key(json, "schema");
    json_open(json, '{');
    result_schema(json, route);
    json_close(json, '}');
    json_close(json, '}');
    json_close(json, '}');
}

/* Events of objects, and what the stream says of itself: bookmark, reset, end, lost. */
static void stream_content(struct json *json)
{
    json_key(json, "content");
    json_raw(json, SLICE("{\"text/event-stream\":{\"schema\":{\"type\":\"string\"}},"
                         "\"application/x-ndjson\":{\"schema\":{\"$ref\":\"#/components/schemas/event\"}}}"));
}

static void responses(struct json *json, const struct route *route)
{
    const struct operation *operation = route->operation;
    json_key(json, "responses");
    json_open(json, '{');
    if (query_takes_wait(operation) || (operation->kind == OPERATION_QUERY && operation->watch)) {
        json_key(json, "304");
        json_raw(json, SLICE("{\"description\":\"nothing has changed, and the wait is over\"}"));
    }
    json_key(json, "2XX");
    json_open(json, '{');
    schema_text(json, "description",
                operation->kind == OPERATION_STREAM ? "a stream of events, one after the other, without end"
                : operation->result                 ? "done"
                                                    : "done, nothing to say");
    if (operation->kind == OPERATION_STREAM) stream_content(json);
    if (operation->result) responses_content(json, route);
    json_close(json, '}');
    json_key(json, "default");
    json_open(json, '{');
    schema_text(json, "description", "refused: see code");
    content(json, "application/problem+json");
    refusal_schema(json, route);
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
    schema_text(json, "operationId", operation->name);
    if (operation->about) schema_text(json, "summary", operation->about);
    parameters(json, route);
    required(json, route);
    request_body(json, route);
    responses(json, route);
    json_close(json, '}');
}

static bool same_path(const struct route *one, const struct route *other)
{
    return one->operation->path && strcmp(one->operation->path, other->operation->path) == 0;
}

static bool path_seen(const struct routes *routes, size_t number)
{
    for (size_t i = 0; i < number; i++)
        if (same_path(routes_at(routes, i), routes_at(routes, number))) return true;
    return false;
}

/* OpenAPI has no mark for a part that takes the rest of the path. */
static const char *shown_path(const char *path, char *shown, size_t size)
{
    const char *dots = strstr(path, "...}");
    if (!dots) return path;
    snprintf(shown, size, "%.*s}", (int)(dots - path), path);
    return shown;
}

static void paths(struct json *json, const struct routes *routes)
{
    json_key(json, "paths");
    json_open(json, '{');
    for (size_t i = 0; i < routes_count(routes); i++) {
        const char *path = routes_at(routes, i)->operation->path;
        if (!path || path_seen(routes, i)) continue;
        char shown[128];
        json_key(json, shown_path(path, shown, sizeof shown));
        json_open(json, '{');
        for (size_t k = i; k < routes_count(routes); k++)
            if (same_path(routes_at(routes, k), routes_at(routes, i)))
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
    schema_text(json, "type", "object");
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
    schema_text(json, "type", "string");
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
        if (facts->status >= 400) schema_uint(json, facts->code, (uint64_t)facts->status);
    }
    json_close(json, '}');
    json_close(json, '}');
}

static void event_schema(struct json *json)
{
    json_key(json, "event");
    json_raw(
        json,
        SLICE("{\"type\":\"object\",\"required\":[\"revision\",\"more\",\"type\"],\"properties\":{"
              "\"revision\":{\"type\":\"integer\"},\"more\":{\"type\":\"boolean\",\"description\":"
              "\"further events of the same revision follow: go on since an earlier one\"},"
              "\"type\":{\"type\":\"string\"},\"path\":{\"description\":\"of the object; absent of what the "
              "stream says of itself\"},\"time\":{\"type\":\"string\",\"format\":\"date-time\"},"
              "\"data\":{},\"detail\":{\"type\":\"string\"}}}"));
}

/* NULL: there are no transactions. */
static const struct primitive *const *in_transactions(const struct routes *routes)
{
    for (size_t i = 0; i < routes_count(routes); i++) {
        const struct record *args = routes_at(routes, i)->operation->args;
        for (size_t k = 0; k < args->field_count; k++)
            if (args->fields[k].type == FIELD_OPERATIONS) return args->fields[k].among;
    }
    return NULL;
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
    for (size_t i = 0; i < records.count; i++) schema_output_object(json, records.all[i]);
    const struct primitive *const *among = in_transactions(routes);
    if (among) schema_operations(json, among);
    problem_schema(json);
    event_schema(json);
    json_close(json, '}');
    json_key(json, "parameters");
    json_raw(
        json,
        SLICE("{\"consistency\":{\"name\":\"consistency\",\"in\":\"query\",\"schema\":{\"type\":\"string\","
              "\"enum\":[\"linearizable\",\"stale\"],\"default\":\"linearizable\"},\"description\":"
              "\"stale: from local state at once, with its age in Coord-Age-Ms\"},"
              "\"min_revision\":{\"name\":\"min_revision\",\"in\":\"query\",\"schema\":{\"type\":"
              "\"integer\",\"minimum\":0,\"maximum\":9007199254740991},\"description\":"
              "\"not before this node has applied that revision\"},"
              "\"since\":{\"name\":\"since\",\"in\":\"query\",\"schema\":{\"type\":\"integer\","
              "\"minimum\":0,\"maximum\":9007199254740991},\"description\":"
              "\"the revision that was seen last: what has changed after it\"},"
              "\"wait\":{\"name\":\"wait\",\"in\":\"query\",\"schema\":{\"oneOf\":[{\"type\":\"string\"},"
              "{\"type\":\"integer\",\"minimum\":0,\"maximum\":600000}],\"default\":0},\"description\":"
              "\"how long for a change after since or If-None-Match; at most 10m; then 304\"},"
              "\"if_none_match\":{\"name\":\"If-None-Match\",\"in\":\"header\",\"schema\":{\"type\":"
              "\"string\"},\"description\":\"the ETag that was seen last, instead of since\"},"
              "\"last_event_id\":{\"name\":\"Last-Event-ID\",\"in\":\"header\",\"schema\":{\"type\":"
              "\"string\"},\"description\":\"the id of the last event, instead of since; wins over it\"},"
              "\"if_match\":{\"name\":\"If-Match\",\"in\":\"header\",\"schema\":{\"type\":"
              "\"string\"},\"description\":\"only while that is the ETag\"},"
              "\"if_absent\":{\"name\":\"If-None-Match\",\"in\":\"header\",\"schema\":{\"type\":"
              "\"string\",\"enum\":[\"*\"]},\"description\":\"only while there is none\"},"
              "\"idempotency_key\":{\"name\":\"Idempotency-Key\",\"in\":\"header\",\"schema\":{\"type\":"
              "\"string\",\"minLength\":1,\"maxLength\":255},\"description\":"
              "\"done once; a repetition within 10 minutes is given the first answer\"},"
              "\"fence\":{\"name\":\"Coord-Fence\",\"in\":\"header\",\"schema\":{\"type\":\"string\"},"
              "\"description\":\"LOCK:TOKEN: only while that is a current token of the lock\"}}"));
    json_close(json, '}');
}

void openapi_json(const struct routes *routes, struct buffer *out)
{
    struct json json = {out, false};
    json_open(&json, '{');
    schema_text(&json, "openapi", "3.1.0");
    json_key(&json, "info");
    json_open(&json, '{');
    schema_text(&json, "title", "coordd");
    schema_text(&json, "version", COORDD_VERSION);
    schema_text(
        &json, "description",
        "Locks, leases and more over HTTP. Every option is a query parameter and a JSON member alike.");
    json_close(&json, '}');
    paths(&json, routes);
    components(&json, routes);
    json_close(&json, '}');
    buffer_add_byte(out, '\n');
}
