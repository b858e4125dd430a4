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

static bool revision_of(struct slice text, uint64_t *revision)
{
    enum { DIGITS_MAX = 16 };
    bool valid = text.size && text.size <= DIGITS_MAX;
    *revision = 0;
    for (size_t i = 0; valid && i < text.size; i++) {
        valid = text.data[i] >= '0' && text.data[i] <= '9';
        *revision = *revision * 10 + (uint64_t)(text.data[i] - '0');
    }
    return valid && *revision >> 53 == 0;
}

static bool set_revision(struct argument *argument, const char *name, struct slice value, bool *given,
                         uint64_t *revision)
{
    if (*given) return argument_refuse(argument, slice_text(name), "is given twice");
    *given = true;
    return revision_of(value, revision) ||
           argument_refuse(argument, slice_text(name), "must be an integer below 2^53");
}

static bool set_wait(struct argument *argument, struct slice value, struct query_options *options)
{
    if (options->wait_given) return argument_refuse(argument, SLICE("wait"), "is given twice");
    options->wait_given = true;
    return (duration_from_text(value, &options->wait_ms) && options->wait_ms <= QUERY_WAIT_MAX_MS) ||
           argument_refuse(argument, SLICE("wait"), "must be a duration from 0 ms to 600000 ms, such as 30s");
}

/* Objects can be waited for; streams that one GETs go on where they were. */
bool query_takes_since(const struct operation *operation)
{
    return operation->kind == OPERATION_QUERY
               ? operation->object != NULL
               : operation->kind == OPERATION_STREAM && strcmp(operation->method, "GET") == 0;
}

bool query_takes_wait(const struct operation *operation)
{
    return operation->kind == OPERATION_QUERY && operation->object &&
           !record_field(operation->args, SLICE("wait"));
}

bool query_parse(struct slice raw, const struct operation *operation, struct argument *argument,
                 struct query_options *options)
{
    bool query = operation->kind == OPERATION_QUERY;
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
        if (query && slice_is(name, "consistency")) {
            done = set_consistency(argument, value, &consistency_given, options);
        } else if (query && slice_is(name, "min_revision")) {
            done = set_revision(argument, "min_revision", value, &min_revision_given, &options->min_revision);
        } else if (slice_is(name, "since") && query_takes_since(operation)) {
            done = set_revision(argument, "since", value, &options->since_given, &options->since);
        } else if (slice_is(name, "wait") && query_takes_wait(operation)) {
            done = set_wait(argument, value, options);
        } else {
            done = argument_named(argument, name, value);
        }
        if (!done) return false;
    }
    return true;
}

/* Any other entity tag than ours matches nothing: then the answer comes at once. */
static bool tag_of(struct slice tag, uint64_t *revision)
{
    if (slice_starts_with(tag, SLICE("W/"))) tag = slice_skip(tag, 2);
    return tag.size > 2 && tag.data[0] == '"' && tag.data[tag.size - 1] == '"' &&
           revision_of(slice_of(tag.data + 1, tag.size - 2), revision);
}

bool query_seen(struct slice if_none_match, struct slice last_event_id, const struct operation *operation,
                struct argument *argument, struct query_options *options)
{
    uint64_t revision;
    const struct field *initial = record_field(operation->args, SLICE("initial"));
    if (options->since_given && initial &&
        (argument->setting.given >> (initial - operation->args->fields) & 1))
        return argument_refuse(argument, SLICE("since"), "and initial exclude each other");
    if (operation->kind == OPERATION_STREAM && query_takes_since(operation) && last_event_id.size) {
        /* a client that goes on repeats its first request, with the since of then */
        if (!revision_of(last_event_id, &options->since))
            return argument_refuse(argument, SLICE("Last-Event-ID"), "must be the id of an event");
        options->since_given = true;
        return true;
    }
    bool tagged = operation->kind == OPERATION_QUERY && operation->object && if_none_match.size;
    if (tagged && options->since_given)
        return argument_refuse(argument, SLICE("since"), "and If-None-Match exclude each other");
    if (tagged && tag_of(if_none_match, &revision)) {
        options->since_given = true;
        options->since = revision;
    }
    if (options->wait_given && !options->since_given && !tagged)
        return argument_refuse(argument, SLICE("wait"), "goes with since or If-None-Match: wait for what?");
    return true;
}
