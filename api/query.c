#include "api/query.h"

#include "api/percent.h"

static bool take_pair(struct slice *raw, struct slice *name, struct slice *value)
{
    if (!raw->size) return false;
    const uint8_t *end = memchr(raw->data, '&', raw->size);
    struct slice pair = slice_of(raw->data, end ? (size_t)(end - raw->data) : raw->size);
    *raw = slice_skip(*raw, pair.size + (end != NULL));
    const uint8_t *equals = pair.size ? memchr(pair.data, '=', pair.size) : NULL;
    size_t size = equals ? (size_t)(equals - pair.data) : pair.size;
    *name = slice_of(pair.data, size);
    *value = equals ? slice_skip(pair, size + 1) : (struct slice){0};
    return true;
}

static bool set_consistency(struct argument *argument, struct slice value, bool *given,
                            struct query_options *options)
{
    if (*given) return argument_refuse(argument, SLICE("consistency"), "is given twice");
    *given = true;
    options->stale = slice_is(value, "stale");
    return options->stale || slice_is(value, "linearizable") ||
           argument_refuse(argument, SLICE("consistency"), "must be one of: linearizable, stale");
}

static bool set_min_revision(struct argument *argument, struct slice value, bool *given,
                             struct query_options *options)
{
    enum { DIGITS_MAX = 16 };
    if (*given) return argument_refuse(argument, SLICE("min_revision"), "is given twice");
    *given = true;
    bool valid = value.size && value.size <= DIGITS_MAX;
    for (size_t i = 0; valid && i < value.size; i++) {
        valid = value.data[i] >= '0' && value.data[i] <= '9';
        options->min_revision = options->min_revision * 10 + (uint64_t)(value.data[i] - '0');
    }
    return (valid && options->min_revision >> 53 == 0) ||
           argument_refuse(argument, SLICE("min_revision"), "must be an integer below 2^53");
}

bool query_parse(struct slice raw, enum operation_kind kind, struct argument *argument,
                 struct query_options *options)
{
    *options = (struct query_options){0};
    bool consistency_given = false, min_revision_given = false;
    struct slice name, value;
    while (take_pair(&raw, &name, &value)) {
        struct arena *arena = argument->setting.arena;
        if (!name.size && !value.size) continue;
        if (!percent_decode(name, PERCENT_FORM, arena, &name))
            return argument_refuse(argument, name, "has a % that is not followed by two hexadecimal digits");
        if (!percent_decode(value, PERCENT_FORM, arena, &value))
            return argument_refuse(argument, name, "has a % that is not followed by two hexadecimal digits");
        bool done;
        if (kind == OPERATION_QUERY && slice_is(name, "consistency")) {
            done = set_consistency(argument, value, &consistency_given, options);
        } else if (kind == OPERATION_QUERY && slice_is(name, "min_revision")) {
            done = set_min_revision(argument, value, &min_revision_given, options);
        } else {
            const struct field *field = argument_field(argument, name);
            done = field && argument_text(argument, field, value);
        }
        if (!done) return false;
    }
    return true;
}
