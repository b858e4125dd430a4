/* Jansson parses, this file walks the tables of the records beside the parsed tree. */
#include "api/body.h"

#include "base/base64.h"
#include "base/check.h"
#include "coord/operation.h"

/* base/json.h has a json_null of its own; this file needs only jansson's json_is_null. */
#define json_null jansson_null
#include <jansson.h>
#undef json_null

void body_init(void)
{
    json_object_seed(0);
}

/* --- before parsing --- */

enum { VALUES_MAX = 100 * 1000 }; /* a parsed value takes some hundred bytes */

/* Where the text becomes too deep or too much, or SIZE_MAX. The parser is recursive and builds a tree, so it
 * never sees such a text. */
static size_t too_much_at(struct slice body, const char **what)
{
    size_t depth = 0, values = 0;
    bool text = false;
    for (size_t i = 0; i < body.size; i++) {
        uint8_t byte = body.data[i];
        if (text) {
            if (byte == '\\')
                i++;
            else if (byte == '"')
                text = false;
            continue;
        }
        if (byte == '"') text = true;
        if ((byte == '}' || byte == ']') && depth) depth--;
        if (byte == '{' || byte == '[') depth++;
        if (byte == ',') values++;
        *what = depth > BODY_DEPTH_MAX ? "is nested deeper than 32 levels" : "holds more than 100000 values";
        if (depth > BODY_DEPTH_MAX || values >= VALUES_MAX) return i;
    }
    return SIZE_MAX;
}

static bool refuse_json(struct argument *argument, size_t offset, struct slice detail)
{
    argument->problem->outcome = OUTCOME_BAD_JSON;
    argument->problem->has_byte_offset = true;
    argument->problem->byte_offset = offset;
    argument->problem->detail = detail;
    return false;
}

/* --- any value, written compact --- */

static void write_value(const json_t *value, struct json *json);

/* The shortest of the usual forms that reads back as the same number. */
static void write_real(double value, struct json *json)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    if (!strpbrk(text, ".e")) strcat(text, ".0");
    json_raw(json, slice_text(text));
}

static void write_integer(json_int_t value, struct json *json)
{
    char text[24];
    snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, value);
    json_raw(json, slice_text(text));
}

static struct slice text_of(const json_t *string)
{
    return slice_of(json_string_value(string), json_string_length(string));
}

static void write_object(const json_t *object, struct json *json)
{
    json_t *walked = (json_t *)(uintptr_t)object; /* the iterator is not const, but it changes nothing */
    json_open(json, '{');
    for (void *at = json_object_iter(walked); at; at = json_object_iter_next(walked, at)) {
        json_text(json, slice_text(json_object_iter_key(at)));
        buffer_add_byte(json->out, ':');
        json->comma = false;
        write_value(json_object_iter_value(at), json);
    }
    json_close(json, '}');
}

static void write_value(const json_t *value, struct json *json)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        write_object(value, json);
        break;
    case JSON_ARRAY:
        json_open(json, '[');
        for (size_t i = 0; i < json_array_size(value); i++) write_value(json_array_get(value, i), json);
        json_close(json, ']');
        break;
    case JSON_STRING:
        json_text(json, text_of(value));
        break;
    case JSON_INTEGER:
        write_integer(json_integer_value(value), json);
        break;
    case JSON_REAL:
        write_real(json_real_value(value), json);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        json_bool(json, json_is_true(value));
        break;
    case JSON_NULL:
        json_raw(json, SLICE("null"));
        break;
    }
}

/* --- members into fields --- */

static bool set_members(struct argument *argument, const json_t *object);

static bool set_json(struct argument *argument, const struct field *field, const json_t *value)
{
    struct buffer text = {0};
    write_value(value, &(struct json){&text, false});
    bool done = setting_json(&argument->setting, field, buffer_slice(&text));
    buffer_free(&text);
    return done || argument_refuse_complaint(argument, field);
}

/* What a value of the wrong type is told. */
static bool refuse_type(struct argument *argument, const struct field *field)
{
    static const char *const wanted[] = {
        [FIELD_UINT] = "must be an integer from 0 to 2^53 - 1",
        [FIELD_DURATION] =
            "must be a duration: \"30s\", \"1500ms\", \"2m\", \"1h\", or an integer of milliseconds",
        [FIELD_TIME] = "must be an integer of milliseconds since 1970",
        [FIELD_LEASE] = "must be a string: a lease's id, such as \"L32c00\"",
        [FIELD_REMAINING] = "cannot be given",
        [FIELD_CHOICE] = "must be a string",
        [FIELD_BOOL] = "must be true or false",
        [FIELD_TEXT] = "must be a string",
        [FIELD_NAME] = "must be a string",
        [FIELD_CRON] = "must be a string: a cron pattern",
        [FIELD_ZONE] = "must be a string: a time zone",
        [FIELD_JSON] = "must be a JSON value",
        [FIELD_BYTES] = "must be a string, or {\"base64\":\"...\"}",
        [FIELD_TEXTS] = "must be an array of strings",
        [FIELD_LEASES] = "must be an array of leases' ids",
        [FIELD_LIST] = "must be an array of objects",
        [FIELD_OPERATIONS] = "must be an array of operations: [{\"op\":\"lock.release\",...}]",
        [FIELD_RESULTS] = "cannot be given",
        [FIELD_RECORD] = "must be an object",
    };
    return argument_refuse(argument, slice_text(field->name), wanted[field->type]);
}

static bool set_object(struct argument *argument, const struct field *field, const json_t *value,
                       struct slice path)
{
    if (!json_is_object(value)) return refuse_type(argument, field);
    struct arena *arena = argument->setting.arena;
    void *data = setting_record(&argument->setting, field);
    if (!data) return argument_refuse_complaint(argument, field);
    struct argument nested = {
        .setting = {.record = field->record, .data = data, .arena = arena},
        .within = arena_printf(arena, "%.*s.", SLICE_ARGS(path)),
        .problem = argument->problem,
    };
    return set_members(&nested, value) && argument_done(&nested);
}

static bool set_bytes(struct argument *argument, const struct field *field, const json_t *value)
{
    if (json_is_string(value)) return argument_text(argument, field, text_of(value));
    const json_t *text =
        json_is_object(value) && json_object_size(value) == 1 ? json_object_get(value, "base64") : NULL;
    struct buffer bytes = {0};
    if (!json_is_string(text) || !base64_decode(text_of(text), &bytes)) {
        buffer_free(&bytes);
        return refuse_type(argument, field);
    }
    bool done = setting_bytes(&argument->setting, field, buffer_slice(&bytes)) ||
                argument_refuse_complaint(argument, field);
    buffer_free(&bytes);
    return done;
}

/* The member "op" says what the others are. */
static bool set_operation(struct argument *argument, const struct field *field, const json_t *value,
                          struct slice path)
{
    if (!json_is_object(value)) return refuse_type(argument, field);
    const json_t *name = json_object_get(value, "op");
    struct arena *arena = argument->setting.arena;
    struct argument unnamed = {.setting.arena = arena, .within = path, .problem = argument->problem};
    if (!json_is_string(name)) return argument_refuse(&unnamed, SLICE(".op"), "must be an operation's name");
    const struct operation *operation;
    void *data = setting_operation(&argument->setting, field, text_of(name), &operation);
    if (!data) {
        argument_refuse_complaint(argument, field);
        bool wrong_name = !operation || !operation_in_txn(operation);
        if (wrong_name) argument->problem->field = arena_printf(arena, "%.*s.op", SLICE_ARGS(path));
        return false;
    }
    struct argument nested = {
        .setting = {.record = operation->args, .data = data, .arena = arena},
        .within = arena_printf(arena, "%.*s.", SLICE_ARGS(path)),
        .skipped = "op",
        .problem = argument->problem,
    };
    return set_members(&nested, value) && argument_done(&nested);
}

static bool set_array(struct argument *argument, const struct field *field, const json_t *value)
{
    if (!json_is_array(value)) return refuse_type(argument, field);
    if (!json_array_size(value) && (field->flags & FIELD_REQUIRED))
        return argument_refuse(argument, slice_text(field->name), "must have at least 1 item");
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        if (field->type == FIELD_LIST) {
            struct slice path = arena_printf(argument->setting.arena, "%.*s%s[%zu]",
                                             SLICE_ARGS(argument->within), field->name, i);
            if (!set_object(argument, field, item, path)) return false;
        } else if (field->type == FIELD_OPERATIONS) {
            struct slice path = arena_printf(argument->setting.arena, "%.*s%s[%zu]",
                                             SLICE_ARGS(argument->within), field->name, i);
            if (!set_operation(argument, field, item, path)) return false;
        } else if (!json_is_string(item)) {
            return refuse_type(argument, field);
        } else if (!setting_item(&argument->setting, field, text_of(item))) {
            return argument_refuse_complaint(argument, field);
        }
    }
    return true;
}

static bool set_integer(struct argument *argument, const struct field *field, const json_t *value)
{
    bool number = field->type == FIELD_UINT || field->type == FIELD_DURATION || field->type == FIELD_TIME;
    if (!number || json_integer_value(value) < 0) return refuse_type(argument, field);
    return setting_uint(&argument->setting, field, (uint64_t)json_integer_value(value)) ||
           argument_refuse_complaint(argument, field);
}

static bool set_string(struct argument *argument, const struct field *field, const json_t *value)
{
    bool texts = field->type == FIELD_DURATION || field->type == FIELD_LEASE || field->type == FIELD_CHOICE ||
                 field->type == FIELD_TEXT || field->type == FIELD_NAME || field->type == FIELD_CRON ||
                 field->type == FIELD_ZONE;
    return texts ? argument_text(argument, field, text_of(value)) : refuse_type(argument, field);
}

static bool set_value(struct argument *argument, const struct field *field, const json_t *value)
{
    if (field->type == FIELD_JSON) return set_json(argument, field, value);
    if (field->type == FIELD_BYTES) return set_bytes(argument, field, value);
    if (field->type == FIELD_TEXTS || field->type == FIELD_LEASES || field->type == FIELD_LIST ||
        field->type == FIELD_OPERATIONS)
        return set_array(argument, field, value);
    if (field->type == FIELD_RECORD)
        return set_object(
            argument, field, value,
            arena_printf(argument->setting.arena, "%.*s%s", SLICE_ARGS(argument->within), field->name));
    if (json_is_integer(value)) return set_integer(argument, field, value);
    if (json_is_string(value)) return set_string(argument, field, value);
    if (json_is_boolean(value) && field->type == FIELD_BOOL)
        return setting_bool(&argument->setting, field, json_is_true(value)) ||
               argument_refuse_complaint(argument, field);
    return refuse_type(argument, field);
}

static bool set_members(struct argument *argument, const json_t *object)
{
    json_t *walked = (json_t *)(uintptr_t)object;
    for (void *at = json_object_iter(walked); at; at = json_object_iter_next(walked, at)) {
        const char *name = json_object_iter_key(at);
        if (argument->skipped && strcmp(name, argument->skipped) == 0) continue;
        const struct field *field = argument_field(argument, slice_text(name));
        if (!field) return false;
        const json_t *value = json_object_iter_value(at);
        if (!json_is_null(value) && !set_value(argument, field, value)) return false;
    }
    return true;
}

static bool blank(struct slice body)
{
    for (size_t i = 0; i < body.size; i++)
        if (!memchr(" \t\r\n", body.data[i], 4)) return false;
    return true;
}

/* The parser's complaint quotes the text, and may cut it within a character. */
static void printable(char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e) *text = '?';
}

bool body_is_array(struct slice body)
{
    for (size_t i = 0; i < body.size; i++)
        if (!memchr(" \t\r\n", body.data[i], 4)) return body.data[i] == '[';
    return false;
}

/* NULL: refused. The caller lets go of it. */
static json_t *parse(struct slice body, struct argument *argument)
{
    struct arena *arena = argument->setting.arena;
    const char *what;
    size_t at = too_much_at(body, &what);
    if (at != SIZE_MAX) {
        refuse_json(argument, at, arena_printf(arena, "the body %s", what));
        return NULL;
    }
    json_error_t error;
    json_t *root =
        json_loadb((const char *)body.data, body.size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!root) {
        size_t offset = error.position > 0 ? (size_t)error.position : 0;
        printable(error.text);
        refuse_json(argument, offset, arena_printf(arena, "%s, at byte %zu", error.text, offset));
    }
    return root;
}

bool body_parse(struct slice body, struct argument *argument)
{
    if (blank(body)) return true;
    json_t *root = parse(body, argument);
    if (!root) return false;
    bool done = json_is_object(root) ? set_members(argument, root)
                                     : refuse_json(argument, 0, SLICE("the body must be one JSON object"));
    json_decref(root);
    return done;
}

bool body_parse_array(struct slice body, struct argument *argument, const struct field *list)
{
    json_t *root = parse(body, argument);
    if (!root) return false;
    bool done = argument_field(argument, slice_text(list->name)) && set_array(argument, list, root);
    json_decref(root);
    return done;
}
