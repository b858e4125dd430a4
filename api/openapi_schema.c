/* The JSON schemas of fields and records. */
#include "api/openapi_schema.h"

#include <stdio.h>

static const uint64_t uint_max = ((uint64_t)1 << 53) - 1;

void schema_text(struct json *json, const char *key, const char *text)
{
    json_key(json, key);
    json_text(json, slice_text(text));
}

void schema_uint(struct json *json, const char *key, uint64_t value)
{
    json_key(json, key);
    json_uint(json, value);
}

void schema_true(struct json *json, const char *key, bool value)
{
    json_key(json, key);
    json_bool(json, value);
}

void schema_ref(struct json *json, const char *kind, const char *name)
{
    char text[128];
    snprintf(text, sizeof text, "#/components/%s/%s", kind, name);
    schema_text(json, "$ref", text);
}

static void type_member(struct json *json, const char *type, bool null)
{
    if (!null) {
        schema_text(json, "type", type);
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
    schema_uint(json, "minimum", field->min);
    uint64_t max = field->type == FIELD_TIME ? FIELD_TIME_MAX : uint_max;
    schema_uint(json, "maximum", field->max ? field->max : max);
}

static void text_schema(struct json *json, const struct field *field, bool null)
{
    type_member(json, "string", null);
    if (field->type == FIELD_NAME || field->min) schema_uint(json, "minLength", field->min ? field->min : 1);
    schema_uint(json, "maxLength", field->max ? field->max : 255);
}

static void duration_schema(struct json *json, const struct field *field)
{
    json_key(json, "oneOf");
    json_open(json, '[');
    json_open(json, '{');
    schema_text(json, "type", "string");
    schema_text(json, "pattern", "^[0-9]+(ms|s|m|h|d)?$");
    json_close(json, '}');
    json_open(json, '{');
    schema_text(json, "type", "integer");
    bounds(json, field);
    json_close(json, '}');
    json_close(json, ']');
}

static void bytes_schema(struct json *json, const struct field *field)
{
    json_key(json, "oneOf");
    json_open(json, '[');
    json_open(json, '{');
    schema_text(json, "type", "string");
    schema_uint(json, "maxLength", field->max ? field->max : 255);
    json_close(json, '}');
    json_raw(json,
             SLICE("{\"type\":\"object\",\"required\":[\"base64\"],\"additionalProperties\":false,"
                   "\"properties\":{\"base64\":{\"type\":\"string\",\"contentEncoding\":\"base64\"}}}"));
    if (field->flags & FIELD_NULL) json_raw(json, SLICE("{\"type\":\"null\"}"));
    json_close(json, ']');
}

static void items_schema(struct json *json, const struct field *field, bool input)
{
    schema_text(json, "type", "array");
    if (input && (field->flags & FIELD_REQUIRED)) schema_uint(json, "minItems", 1);
    if (input) schema_uint(json, "maxItems", field->max ? field->max : 1000);
    json_key(json, "items");
    json_open(json, '{');
    if (field->type == FIELD_OPERATIONS) {
        schema_ref(json, "schemas", "operation");
    } else if (field->type == FIELD_RESULTS) {
        json_raw(json, SLICE("\"type\":\"object\",\"required\":[\"op\",\"status\",\"code\",\"result\"],"
                             "\"properties\":{\"op\":{\"type\":\"string\"},\"status\":{\"type\":\"integer\"},"
                             "\"code\":{\"type\":\"string\"},\"result\":{\"type\":[\"object\",\"null\"]},"
                             "\"detail\":{\"type\":\"string\"}}"));
    } else if (field->type != FIELD_LIST) {
        schema_text(json, "type", "string");
        if (field->type == FIELD_LEASES) schema_text(json, "pattern", "^L[0-9a-f]+$");
    } else if (input) {
        schema_input_object(json, field->record, NULL);
    } else {
        schema_output_reference(json, field->record);
    }
    json_close(json, '}');
}

static void initial_member(struct json *json, const struct field *field)
{
    if (!field->initial) return;
    if (field->type == FIELD_CHOICE)
        schema_text(json, "default", field->choices[field->initial - 1]);
    else
        schema_uint(json, "default", field->initial);
}

/* Members of the schema of an argument. */
void schema_input(struct json *json, const struct field *field)
{
    switch ((enum field_type)field->type) {
    case FIELD_UINT:
    case FIELD_TIME:
        schema_text(json, "type", "integer");
        bounds(json, field);
        break;
    case FIELD_DURATION:
        duration_schema(json, field);
        break;
    case FIELD_LEASE:
        schema_text(json, "type", "string");
        schema_text(json, "pattern", "^L[0-9a-f]+$");
        break;
    case FIELD_CHOICE:
        schema_text(json, "type", "string");
        choices(json, field, false);
        break;
    case FIELD_BOOL:
        schema_text(json, "type", "boolean");
        break;
    case FIELD_TEXT:
    case FIELD_NAME:
        text_schema(json, field, false);
        break;
    case FIELD_CRON:
    case FIELD_ZONE:
        schema_text(json, "type", "string");
        schema_text(json, "format", field->type == FIELD_CRON ? "cron" : "time-zone");
        schema_uint(json, "maxLength", 255);
        if (field->type == FIELD_ZONE) schema_text(json, "default", "UTC");
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
        schema_input_object(json, field->record, NULL);
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
        schema_text(json, "format", "date-time");
        break;
    case FIELD_LEASE:
        type_member(json, "string", true);
        break;
    case FIELD_CHOICE:
        type_member(json, "string", true);
        choices(json, field, true);
        break;
    case FIELD_BOOL:
        schema_text(json, "type", "boolean");
        break;
    case FIELD_TEXT:
    case FIELD_NAME:
    case FIELD_CRON:
    case FIELD_ZONE:
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
        schema_output_reference(json, field->record);
        json_close(json, '}');
        json_raw(json, SLICE("{\"type\":\"null\"}"));
        json_close(json, ']');
        break;
    case FIELD_JSON:
        break;
    }
}

/* --- schemas of records --- */

bool schema_in_path(const struct route *route, const struct field *field)
{
    for (size_t i = 0; route && i < route->part_count; i++)
        if (route->parts[i] == field) return true;
    return false;
}

bool schema_is_input(const struct route *route, const struct field *field)
{
    return !(field->flags & FIELD_HIDDEN) && field->type != FIELD_REMAINING && !schema_in_path(route, field);
}

void schema_about(struct json *json, const struct field *field)
{
    if (field->about) schema_text(json, "description", field->about);
}

/* What is required may come as a query parameter too, so at the top of a body nothing is. `also`: one more.
 */
static void required_members(struct json *json, const struct record *record, const char *also)
{
    json_key(json, "required");
    json_open(json, '[');
    if (also) json_text(json, slice_text(also));
    for (size_t i = 0; i < record->field_count; i++)
        if (schema_is_input(NULL, &record->fields[i]) && (record->fields[i].flags & FIELD_REQUIRED))
            json_text(json, slice_text(record->fields[i].name));
    json_close(json, ']');
}

static void input_properties(struct json *json, const struct record *record, const struct route *route)
{
    for (size_t i = 0; i < record->field_count; i++) {
        const struct field *field = &record->fields[i];
        if (!schema_is_input(route, field)) continue;
        json_key(json, field->name);
        json_open(json, '{');
        schema_input(json, field);
        schema_about(json, field);
        json_close(json, '}');
    }
}

void schema_input_object(struct json *json, const struct record *record, const struct route *route)
{
    schema_text(json, "type", "object");
    schema_true(json, "additionalProperties", false);
    if (!route) required_members(json, record, NULL);
    json_key(json, "properties");
    json_open(json, '{');
    input_properties(json, record, route);
    json_close(json, '}');
}

static void operation_name(const struct operation *operation, char *name, size_t size)
{
    snprintf(name, size, "op.%s", operation->name);
}

static void one_operation(struct json *json, const struct operation *operation)
{
    char name[64];
    operation_name(operation, name, sizeof name);
    json_key(json, name);
    json_open(json, '{');
    if (operation->about) schema_text(json, "description", operation->about);
    schema_text(json, "type", "object");
    schema_true(json, "additionalProperties", false);
    required_members(json, operation->args, "op");
    json_key(json, "properties");
    json_open(json, '{');
    json_key(json, "op");
    json_open(json, '{');
    schema_text(json, "const", operation->name);
    json_close(json, '}');
    input_properties(json, operation->args, NULL);
    json_close(json, '}');
    json_close(json, '}');
}

void schema_operations(struct json *json, const struct primitive *const *all)
{
    json_key(json, "operation");
    json_open(json, '{');
    json_key(json, "oneOf");
    json_open(json, '[');
    for (const struct primitive *const *one = all; *one; one++)
        for (size_t i = 0; i < (*one)->operation_count; i++) {
            char name[64];
            if (!operation_in_txn(&(*one)->operations[i])) continue;
            operation_name(&(*one)->operations[i], name, sizeof name);
            json_open(json, '{');
            schema_ref(json, "schemas", name);
            json_close(json, '}');
        }
    json_close(json, ']');
    json_close(json, '}');
    for (; *all; all++)
        for (size_t i = 0; i < (*all)->operation_count; i++)
            if (operation_in_txn(&(*all)->operations[i])) one_operation(json, &(*all)->operations[i]);
}

void schema_output_reference(struct json *json, const struct record *record)
{
    schema_ref(json, "schemas", record->name);
}

void schema_output_properties(struct json *json, const struct record *record)
{
    for (size_t i = 0; i < record->field_count; i++) {
        const struct field *field = &record->fields[i];
        if (field->flags & FIELD_HIDDEN) continue;
        json_key(json, field->name);
        json_open(json, '{');
        output_schema(json, field);
        schema_about(json, field);
        json_close(json, '}');
    }
}

void schema_output_object(struct json *json, const struct record *record)
{
    json_key(json, record->name);
    json_open(json, '{');
    schema_text(json, "type", "object");
    json_key(json, "required");
    json_open(json, '[');
    for (size_t i = 0; i < record->field_count; i++)
        if (!(record->fields[i].flags & FIELD_HIDDEN)) json_text(json, slice_text(record->fields[i].name));
    json_close(json, ']');
    json_key(json, "properties");
    json_open(json, '{');
    schema_output_properties(json, record);
    json_close(json, '}');
    json_close(json, '}');
}
