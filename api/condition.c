#include "api/condition.h"

#include "api/percent.h"
#include "coord/primitive/txn.h"

static bool refuse(struct argument *argument, const char *header, const char *what)
{
    return argument_refuse(argument, slice_text(header), what);
}

/* An entity tag of ours is a revision: "913". */
static bool revision_of(struct slice tag, uint64_t *revision)
{
    enum { DIGITS_MAX = 16 };
    if (tag.size < 3 || tag.size > DIGITS_MAX + 2 || tag.data[0] != '"' || tag.data[tag.size - 1] != '"')
        return false;
    *revision = 0;
    for (size_t i = 1; i + 1 < tag.size; i++) {
        if (tag.data[i] < '0' || tag.data[i] > '9') return false;
        *revision = *revision * 10 + (uint64_t)(tag.data[i] - '0');
    }
    return *revision >> 53 == 0;
}

static bool apply_match(struct argument *argument, struct slice value)
{
    const struct field *any = record_field(argument->setting.record, SLICE("if_exists"));
    const struct field *field = record_field(argument->setting.record, SLICE("if_match"));
    uint64_t revision;
    if (!field) return refuse(argument, "If-Match", "cannot be a condition here");
    if (any && slice_is(value, "*")) {
        return argument_field(argument, SLICE("if_exists")) && setting_bool(&argument->setting, any, true);
    }
    if (!revision_of(value, &revision))
        return refuse(argument, "If-Match", "must be one entity tag as ETag gave it, such as \"913\"");
    if (!argument_field(argument, SLICE("if_match"))) return false;
    return setting_uint(&argument->setting, field, revision) || argument_refuse_complaint(argument, field);
}

static bool apply_none_match(struct argument *argument, struct slice value)
{
    const struct field *field = record_field(argument->setting.record, SLICE("if_none_match"));
    if (!field || !slice_is(value, "*"))
        return refuse(argument, "If-None-Match", field ? "must be *" : "cannot be a condition here");
    return argument_field(argument, SLICE("if_none_match")) && setting_bool(&argument->setting, field, true);
}

/* The draft wants a quoted string; most clients send it bare. */
static bool read_key(struct argument *argument, struct slice value, struct guarded_args *guard)
{
    bool quoted = value.size > 1 && value.data[0] == '"' && value.data[value.size - 1] == '"';
    if (quoted) value = slice_of(value.data + 1, value.size - 2);
    bool printable = value.size > 0 && value.size <= RETRY_KEY_MAX;
    for (size_t i = 0; printable && i < value.size; i++)
        printable = value.data[i] > ' ' && value.data[i] < 0x7f;
    if (!printable)
        return refuse(argument, "Idempotency-Key",
                      "must be 1 to 255 printable ASCII characters without spaces");
    guard->retry_key = arena_copy(argument->setting.arena, value);
    return true;
}

static const struct field fence_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct guarded_args, fence_lock),
     .name = "lock",
     .max = 255},
    {.number = 2,
     .type = FIELD_UINT,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct guarded_args, fence_token),
     .name = "token",
     .min = 1},
};
static const struct record fence_record = RECORD("fence", guarded_args, fence_fields);

/* LOCK:TOKEN; the lock's name percent-encoded where it is not plain. */
static bool read_fence(struct argument *argument, struct slice value, struct guarded_args *guard)
{
    size_t colon = value.size;
    while (colon && value.data[colon - 1] != ':') colon--;
    struct setting setting = {&fence_record, guard, argument->setting.arena, 0, {0}};
    struct slice name;
    bool done = colon > 1 &&
                percent_decode(slice_of(value.data, colon - 1), PERCENT_PATH, setting.arena, &name) &&
                setting_text(&setting, &fence_fields[0], name) &&
                setting_text(&setting, &fence_fields[1], slice_skip(value, colon));
    return done ||
           refuse(argument, "Coord-Fence", "must be LOCK:TOKEN, the lock's name percent-encoded once");
}

static bool guard(const struct request_head *head, const struct operation *operation,
                  struct argument *argument, struct call *call)
{
    struct arena *arena = argument->setting.arena;
    struct guarded_args *guard = arena_alloc(arena, sizeof *guard);
    struct operation_item *item = arena_alloc(arena, sizeof *item);
    if (operation->kind != OPERATION_COMMAND)
        return !head->fence.data || refuse(argument, "Coord-Fence", "goes with writes only");
    if (head->retry_key.data && !read_key(argument, head->retry_key, guard)) return false;
    if (head->fence.data && !read_fence(argument, head->fence, guard)) return false;
    *item = (struct operation_item){operation, call->args};
    guard->operation = (struct list){item, 1};
    call->guard = guard;
    return true;
}

bool conditions_apply(const struct request_head *head, const struct operation *operation,
                      struct argument *argument, struct call *call)
{
    bool query = operation->kind == OPERATION_QUERY || operation->kind == OPERATION_STREAM;
    if (head->repeated)
        return refuse(argument, "headers",
                      "may hold If-Match, If-None-Match, Idempotency-Key and Coord-Fence once");
    if (head->if_match.data && !apply_match(argument, head->if_match)) return false;
    if (head->if_none_match.data && !query && !apply_none_match(argument, head->if_none_match)) return false;
    if (!head->retry_key.data && !head->fence.data) return true;
    return guard(head, operation, argument, call);
}
