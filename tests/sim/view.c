/* Looks into records by the names of their fields, as a client looks into JSON; and makes calls as one writes
 * them into a shell. */
#include "tests/sim/sim.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

static const void *place(const struct record *shape, const void *data, const char *name)
{
    const struct field *field = record_field(shape, slice_text(name));
    if (!field) sim_fail("%s has no %s", shape->name, name);
    return (const char *)data + field->offset;
}

struct slice view_text(const struct record *shape, const void *data, const char *name)
{
    struct slice text;
    memcpy(&text, place(shape, data, name), sizeof text);
    return text;
}

bool view_bool(const struct record *shape, const void *data, const char *name)
{
    return *(const bool *)place(shape, data, name);
}

uint64_t view_number(const struct record *shape, const void *data, const char *name)
{
    uint64_t number;
    memcpy(&number, place(shape, data, name), sizeof number);
    return number;
}

struct list view_list(const struct record *shape, const void *data, const char *name)
{
    struct list list;
    memcpy(&list, place(shape, data, name), sizeof list);
    return list;
}

const struct record *view_item(const struct record *shape, const char *name)
{
    const struct field *field = record_field(shape, slice_text(name));
    if (!field) sim_fail("%s has no %s", shape->name, name);
    return field->record;
}

const void *view_record(const struct record *shape, const void *data, const char *name)
{
    const void *nested;
    memcpy(&nested, place(shape, data, name), sizeof nested);
    return nested;
}

uint64_t view_id(const struct record *shape, const void *data, const char *name)
{
    struct slice text = view_text(shape, data, name);
    char digits[24];
    CHECK(text.size < sizeof digits);
    memcpy(digits, text.data, text.size);
    digits[text.size] = 0;
    return strtoull(digits, NULL, 10);
}

/* "name=value" pairs, as in scripts. */
void make_args(struct setting *setting, const char *line)
{
    for (const char *at = line; *at;) {
        const char *equals = strchr(at, '='), *end = strchr(at, ' ');
        if (!end) end = at + strlen(at);
        const struct field *field = record_field(setting->record, slice_of(at, (size_t)(equals - at)));
        if (!field || !setting_text(setting, field, slice_of(equals + 1, (size_t)(end - equals - 1))))
            sim_fail("%s: %s: %.*s", setting->record->name, line, (int)setting->complaint.size,
                     (const char *)setting->complaint.data);
        at = *end ? end + 1 : end;
    }
    if (!setting_done(setting))
        sim_fail("%s: %s: %.*s", setting->record->name, line, (int)setting->complaint.size,
                 (const char *)setting->complaint.data);
}

struct call *make_call(const char *operation, const char *line)
{
    struct call *call = call_new();
    call->operation = operation_by_name(slice_text(operation));
    if (!call->operation) sim_fail("there is no %s", operation);
    call->args = arena_alloc(&call->arena, call->operation->args->size);
    struct setting setting = {call->operation->args, call->args, &call->arena, 0, {0}};
    make_args(&setting, line);
    return call;
}
