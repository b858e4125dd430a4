#include "api/argument.h"

/* Names come from outside; what is shown of them is short and printable. */
static struct slice shown(struct argument *argument, struct slice name)
{
    enum { SHOWN_MAX = 64 };
    if (!name.size) return SLICE("\"\"");
    struct slice cut = slice_of(name.data, name.size < SHOWN_MAX ? name.size : SHOWN_MAX);
    struct slice copy = arena_copy(argument->setting.arena, cut);
    for (size_t i = 0; i < copy.size; i++)
        if (copy.data[i] < 0x20 || copy.data[i] >= 0x7f) ((uint8_t *)(uintptr_t)copy.data)[i] = '?';
    return copy;
}

static struct slice path_of(struct argument *argument, struct slice name)
{
    return arena_printf(argument->setting.arena, "%.*s%.*s", SLICE_ARGS(argument->within), SLICE_ARGS(name));
}

bool argument_refuse(struct argument *argument, struct slice name, const char *what)
{
    struct slice path = path_of(argument, shown(argument, name));
    argument->problem->outcome = OUTCOME_BAD_FIELD;
    argument->problem->field = path;
    argument->problem->detail = arena_printf(argument->setting.arena, "%.*s %s", SLICE_ARGS(path), what);
    return false;
}

bool argument_refuse_complaint(struct argument *argument, const struct field *field)
{
    argument->problem->outcome = OUTCOME_BAD_FIELD;
    argument->problem->field = path_of(argument, field ? slice_text(field->name) : (struct slice){0});
    argument->problem->detail = path_of(argument, argument->setting.complaint);
    return false;
}

const struct field *argument_field(struct argument *argument, struct slice name)
{
    const struct field *field = record_field(argument->setting.record, name);
    if (!field) {
        argument_refuse(argument, name, "is unknown here");
        return NULL;
    }
    size_t position = (size_t)(field - argument->setting.record->fields);
    if (argument->setting.given >> position & 1) {
        argument_refuse(argument, name, "is given twice");
        return NULL;
    }
    return field;
}

bool argument_text(struct argument *argument, const struct field *field, struct slice text)
{
    return setting_text(&argument->setting, field, text) || argument_refuse_complaint(argument, field);
}

/* The record that is given by its members; this is the first, or one after it. NULL: refused. */
static struct argument *nested_of(struct argument *argument, const struct field *record)
{
    struct argument *nested = argument->nested;
    while (nested && nested->record != record) nested = nested->next_nested;
    if (nested) return nested;
    struct arena *arena = argument->setting.arena;
    if (!argument_field(argument, slice_text(record->name))) return NULL;
    nested = arena_alloc(arena, sizeof *nested);
    *nested = (struct argument){
        .setting = {.record = record->record,
                    .data = setting_record(&argument->setting, record),
                    .arena = arena},
        .within = arena_printf(arena, "%.*s%s.", SLICE_ARGS(argument->within), record->name),
        .problem = argument->problem,
        .record = record,
        .next_nested = argument->nested,
    };
    argument->nested = nested;
    return nested;
}

bool argument_named(struct argument *argument, struct slice name, struct slice text)
{
    const uint8_t *dot = name.size ? memchr(name.data, '.', name.size) : NULL;
    size_t before = dot ? (size_t)(dot - name.data) : 0;
    const struct field *record =
        dot ? record_field(argument->setting.record, slice_of(name.data, before)) : NULL;
    if (record && record->type == FIELD_RECORD) {
        struct argument *nested = nested_of(argument, record);
        return nested && argument_named(nested, slice_skip(name, before + 1), text);
    }
    const struct field *field = argument_field(argument, name);
    return field && argument_text(argument, field, text);
}

/* Only a missing field ends here: the first required one that was not given. */
static const struct field *missing(const struct setting *setting)
{
    for (size_t i = 0; i < setting->record->field_count; i++)
        if ((setting->record->fields[i].flags & FIELD_REQUIRED) && !(setting->given >> i & 1))
            return &setting->record->fields[i];
    return NULL;
}

bool argument_done(struct argument *argument)
{
    for (struct argument *nested = argument->nested; nested; nested = nested->next_nested)
        if (!argument_done(nested)) return false;
    return setting_done(&argument->setting) ||
           argument_refuse_complaint(argument, missing(&argument->setting));
}
