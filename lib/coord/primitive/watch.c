/* Watches and waits: the operations 120-129, and what a stream or a parked request asks for. No rows.
 *
 * A condition of /v1/wait is TYPE:NAME:WHAT. It is decided by the query that shows the object, found by its
 * name in the tables, so this file knows no other primitive. */
#include "coord/primitive/watch.h"

#include "base/check.h"
#include "coord/apply.h"
#include "coord/event.h"

/* --- scopes --- */

static void add(struct watch_request *request, struct slice path, bool prefix)
{
    CHECK(request->scope_count < WATCH_SCOPES_MAX);
    request->scopes[request->scope_count++] = (struct watch_scope){path, prefix};
}

void watch_scope_add(struct watch_request *request, struct arena *arena, const char *parent,
                     struct slice name, bool prefix)
{
    size_t size = strlen(parent);
    uint8_t *path = arena_alloc(arena, size + name.size);
    memcpy(path, parent, size);
    if (name.size) memcpy(path + size, name.data, name.size);
    add(request, slice_of(path, size + name.size), prefix);
}

void watch_types_are(struct watch_request *request, struct arena *arena, const char *const *names)
{
    struct slice *types = arena_alloc(arena, WATCH_TYPES_MAX * sizeof *types);
    request->types = (struct list){types, 0};
    for (; *names; names++) {
        CHECK(request->types.count < WATCH_TYPES_MAX);
        types[request->types.count++] = slice_text(*names);
    }
}

bool watch_scope_holds(const struct watch_scope *scope, struct slice path)
{
    return scope->prefix ? slice_starts_with(path, scope->path) : slice_equal(path, scope->path);
}

static void add_argument(const struct record *record, const void *args, struct slice name, struct buffer *out)
{
    const struct field *field = record_field(record, name);
    CHECK(field);
    const char *place = (const char *)args + field->offset;
    if (field->type == FIELD_LEASE) {
        uint64_t lease;
        memcpy(&lease, place, sizeof lease);
        buffer_printf(out, "L%llx", (unsigned long long)lease);
    } else {
        struct slice text;
        CHECK(field->type == FIELD_NAME || field->type == FIELD_TEXT || field->type == FIELD_BYTES);
        memcpy(&text, place, sizeof text);
        buffer_add_slice(out, text);
    }
}

void watch_object(struct watch_request *request, struct arena *arena, const char *object,
                  const struct record *record, const void *args)
{
    struct buffer path = {0};
    const char *at = object;
    for (const char *open; (open = strchr(at, '{')); at = strchr(open, '}') + 1) {
        buffer_add(&path, at, (size_t)(open - at));
        add_argument(record, args, slice_of(open + 1, strcspn(open + 1, ".}")), &path);
    }
    size_t rest = strlen(at);
    bool prefix = rest && at[rest - 1] == '*';
    buffer_add(&path, at, rest - prefix);
    add(request, arena_copy(arena, buffer_slice(&path)), prefix);
    buffer_free(&path);
}

/* --- watch --- */

struct watch_args {
    struct slice prefix, path;
    struct list types;
    bool initial;
};
#define WATCHED(member) .offset = offsetof(struct watch_args, member), .name = #member
static const struct field watch_fields[] = {
    {.number = 1,
     .type = FIELD_BYTES,
     WATCHED(prefix),
     .max = EVENT_PATH_MAX,
     .about = "objects whose paths begin so: /locks/, /kv/app/; absent: all"},
    {.number = 2,
     .type = FIELD_BYTES,
     WATCHED(path),
     .max = EVENT_PATH_MAX,
     .about = "this object alone: /locks/deploy"},
    {.number = 3,
     .type = FIELD_TEXTS,
     WATCHED(types),
     .max = WATCH_TYPES_MAX,
     .about = "only events of these types: acquired,released"},
    {.number = 4,
     .type = FIELD_BOOL,
     WATCHED(initial),
     .about = "the present state first: an event of type present for each object, then a bookmark"},
};
static const struct record watch_args_record = RECORD("watch_args", watch_args, watch_fields);

static const struct field refused_fields[] = {
    {.number = 1,
     .type = FIELD_UINT,
     .offset = offsetof(struct watch_refused, oldest),
     .name = "oldest",
     .about = "the smallest revision from which events can still be had"},
    {.number = 2,
     .type = FIELD_UINT,
     .offset = offsetof(struct watch_refused, revision),
     .name = "revision",
     .about = "the newest one of this node"},
};
const struct record watch_refused_record = RECORD("watch_refused", watch_refused, refused_fields);

static void watch(struct arena *arena, const void *arguments, struct watch_request *request)
{
    const struct watch_args *args = arguments;
    struct slice path = args->path.size ? args->path : args->prefix;
    (void)arena;
    request->types = args->types;
    request->initial = args->initial;
    if (args->path.size && args->prefix.size)
        request->refusal = SLICE("path and prefix exclude each other");
    else if (path.size && path.data[0] != '/')
        request->refusal = SLICE("the path of an object begins with /, as in /locks/deploy");
    else
        add(request, path.size ? path : SLICE("/"), !args->path.size);
}

/* --- wait --- */

struct wait_args {
    struct list until;
    bool any;
    uint64_t wait_ms;
};
static const struct field wait_fields[] = {
    {.number = 1,
     .type = FIELD_TEXTS,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct wait_args, until),
     .name = "until",
     .min = 1,
     .max = WATCH_SCOPES_MAX,
     .about = "conditions: lock:NAME:free, election:NAME:leader, key:NAME:exists, key:NAME:absent, "
              "key:NAME:=VALUE, revision:N"},
    {.number = 2,
     .type = FIELD_BOOL,
     .offset = offsetof(struct wait_args, any),
     .name = "any",
     .about = "one of them is enough; absent: all must hold at once"},
    {.number = 3,
     .type = FIELD_DURATION,
     .offset = offsetof(struct wait_args, wait_ms),
     .name = "wait",
     .max = 10 * 60 * 1000,
     .initial = 60 * 1000,
     .about = "how long; then the answer is 304"},
};
static const struct record wait_args_record = RECORD("wait_args", wait_args, wait_fields);

struct wait_condition {
    struct slice condition;
    bool holds;
};
static const struct field condition_fields[] = {
    {.number = 1,
     .type = FIELD_TEXT,
     .offset = offsetof(struct wait_condition, condition),
     .name = "condition",
     .about = "as given"},
    {.number = 2,
     .type = FIELD_BOOL,
     .offset = offsetof(struct wait_condition, holds),
     .name = "holds",
     .about = "at the revision"},
};
static const struct record condition_record = RECORD("wait_condition", wait_condition, condition_fields);

struct wait_result {
    struct list until;
    uint64_t revision;
};
static const struct field result_fields[] = {
    {.number = 1,
     .type = FIELD_LIST,
     .offset = offsetof(struct wait_result, until),
     .name = "until",
     .record = &condition_record,
     .about = "which of the conditions hold"},
    {.number = 2,
     .type = FIELD_UINT,
     .offset = offsetof(struct wait_result, revision),
     .name = "revision",
     .about = "of the state in which they do"},
};
static const struct record wait_result_record = RECORD("wait_result", wait_result, result_fields);

enum what { WHAT_FREE, WHAT_LEADER, WHAT_EXISTS, WHAT_ABSENT, WHAT_VALUE };

static const struct condition_kind {
    const char *type, *what;
    enum what kind;
    const char *query, *parent, *part; /* the query that shows the object; where its name goes */
} kinds[] = {
    {"lock", "free", WHAT_FREE, "lock.get", "/locks/", "name"},
    {"election", "leader", WHAT_LEADER, "election.get", "/elections/", "name"},
    {"key", "exists", WHAT_EXISTS, "kv.get", "/kv/", "key"},
    {"key", "absent", WHAT_ABSENT, "kv.get", "/kv/", "key"},
    {"key", "=", WHAT_VALUE, "kv.get", "/kv/", "key"},
};

struct condition {
    const struct condition_kind *kind; /* NULL: a revision */
    const struct operation *query;
    struct slice name, value;
    uint64_t revision;
};

static size_t find_last(struct slice text, char c)
{
    size_t at = text.size;
    while (at && text.data[at - 1] != (uint8_t)c) at--;
    return at ? at - 1 : text.size;
}

/* A value may hold colons: it begins behind the first ":=". */
static bool split_value(struct slice text, struct slice *name, struct slice *value)
{
    const uint8_t *at = memmem(text.data, text.size, ":=", 2);
    if (!at) return false;
    *name = slice_of(text.data, (size_t)(at - text.data));
    *value = slice_skip(text, name->size + 2);
    return true;
}

static bool parse_revision(struct slice text, uint64_t *revision)
{
    *revision = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        *revision = *revision * 10 + (uint64_t)(text.data[i] - '0');
    }
    return text.size && text.size <= 16;
}

static bool parse(struct slice text, struct condition *condition)
{
    *condition = (struct condition){0};
    const uint8_t *colon = text.size ? memchr(text.data, ':', text.size) : NULL;
    if (!colon) return false;
    struct slice type = slice_of(text.data, (size_t)(colon - text.data)),
                 rest = slice_skip(text, type.size + 1);
    if (slice_is(type, "revision")) return parse_revision(rest, &condition->revision);
    struct slice what = SLICE("=");
    if (!slice_is(type, "key") || !split_value(rest, &condition->name, &condition->value)) {
        size_t at = find_last(rest, ':');
        if (at == rest.size) return false;
        condition->name = slice_of(rest.data, at);
        what = slice_skip(rest, at + 1);
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (slice_is(type, kinds[i].type) && slice_is(what, kinds[i].what)) condition->kind = &kinds[i];
    if (condition->kind) condition->query = operation_by_name(slice_text(condition->kind->query));
    return condition->query && condition->name.size;
}

static const void *pointer_at(const struct record *shape, const void *data, const char *name)
{
    const struct field *field = record_field(shape, slice_text(name));
    return field ? (const char *)data + field->offset : NULL;
}

static bool decide(const struct condition *condition, const struct answer *answer)
{
    bool there = answer->outcome == OUTCOME_OK && answer->shape;
    struct list list = {0};
    struct slice value = {0};
    const void *record = NULL, *place;
    switch (condition->kind->kind) {
    case WHAT_FREE:
        place = there ? pointer_at(answer->shape, answer->data, "holders") : NULL;
        if (place) memcpy(&list, place, sizeof list);
        return place && !list.count;
    case WHAT_LEADER:
        place = there ? pointer_at(answer->shape, answer->data, "leader") : NULL;
        if (place) memcpy(&record, place, sizeof record);
        return record != NULL;
    case WHAT_EXISTS:
        return there;
    case WHAT_ABSENT:
        return answer->outcome == OUTCOME_KEY_NOT_FOUND;
    case WHAT_VALUE:
        place = there ? pointer_at(answer->shape, answer->data, "value") : NULL;
        if (place) memcpy(&value, place, sizeof value);
        return place && slice_equal(value, condition->value);
    }
    return false;
}

/* The arguments of the object's query; NULL: no object can have that name. */
static const void *arguments_of(const struct condition *condition, struct arena *arena)
{
    const struct record *record = condition->query->args;
    struct setting setting = {.record = record, .data = arena_alloc(arena, record->size), .arena = arena};
    const struct field *part = record_field(record, slice_text(condition->kind->part));
    bool done = part && setting_text(&setting, part, condition->name) && setting_done(&setting);
    return done ? setting.data : NULL;
}

static bool holds(struct apply *apply, const struct condition *condition)
{
    if (!condition->kind) return apply->index >= condition->revision;
    const void *args = arguments_of(condition, apply->arena);
    struct apply query;
    apply_begin(&query, apply->rows, apply->arena, apply->index, apply->term, apply->time_ms);
    condition->query->apply(&query, args);
    CHECK(query.answers);
    return decide(condition, query.answers);
}

static struct slice refusal_of(const struct wait_args *args, struct arena *arena)
{
    struct condition condition;
    const struct slice *texts = args->until.items;
    for (size_t i = 0; i < args->until.count; i++)
        if (!parse(texts[i], &condition) || (condition.kind && !arguments_of(&condition, arena)))
            return arena_printf(
                arena,
                "%.*s is no condition: lock:NAME:free, election:NAME:leader, key:NAME:exists, "
                "key:NAME:absent, key:NAME:=VALUE, revision:N",
                SLICE_ARGS(texts[i]));
    return (struct slice){0};
}

static void wait_until(struct apply *apply, const void *arguments)
{
    const struct wait_args *args = arguments;
    const struct slice *texts = args->until.items;
    struct slice refusal = refusal_of(args, apply->arena);
    if (refusal.size) {
        apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL, refusal);
        return;
    }
    struct wait_result *result = arena_alloc(apply->arena, sizeof *result);
    struct wait_condition *conditions = arena_alloc(apply->arena, args->until.count * sizeof *conditions);
    size_t held = 0;
    for (size_t i = 0; i < args->until.count; i++) {
        struct condition condition;
        CHECK(parse(texts[i], &condition));
        conditions[i] = (struct wait_condition){texts[i], holds(apply, &condition)};
        held += conditions[i].holds;
    }
    *result = (struct wait_result){{conditions, args->until.count}, apply->index};
    bool done = args->any ? held > 0 : held == args->until.count;
    apply_answer(apply, done ? OUTCOME_OK : OUTCOME_UNCHANGED, &wait_result_record, result);
}

static void wait_watch(struct arena *arena, const void *arguments, struct watch_request *request)
{
    const struct wait_args *args = arguments;
    for (size_t i = 0; i < args->until.count; i++) {
        struct condition condition;
        CHECK(parse(((const struct slice *)args->until.items)[i], &condition));
        if (condition.kind)
            watch_scope_add(request, arena, condition.kind->parent, condition.name, false);
        else if (args->any ? !request->revision || condition.revision < request->revision
                           : condition.revision > request->revision)
            request->revision = condition.revision;
    }
}

/* --- table --- */

static const struct operation operations[] = {
    {.code = 120,
     .name = "watch",
     .method = "GET",
     .path = "/v1/watch",
     .kind = OPERATION_STREAM,
     .args = &watch_args_record,
     .refusal = &watch_refused_record,
     .watch = watch,
     .about = "A stream of what happens to objects, in the order of the log, without gaps."},
    {.code = 125,
     .name = "wait",
     .method = "GET",
     .path = "/v1/wait",
     .kind = OPERATION_QUERY,
     .flags = OPERATION_WAITS,
     .args = &wait_args_record,
     .result = &wait_result_record,
     .apply = wait_until,
     .watch = wait_watch,
     .about = "Waits until conditions on locks, elections and keys hold."},
};

const struct primitive watch_primitive = {
    .name = "watch",
    .code = WATCH_CODE,
    .operations = operations,
    .operation_count = sizeof operations / sizeof *operations,
};
