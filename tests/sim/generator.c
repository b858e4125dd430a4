/* Calls drawn from the tables of operations: whatever primitive there is, each of its commands, queries and
 * renewals comes up with any arguments that its records allow. Times are short, so that a life sees their
 * ends; names, tokens and leases are mostly ones that mean something. */
#include "tests/sim/sim.h"

#include "base/check.h"

#include <stdio.h>

enum { DURATION_MAX_MS = 8000, SPREAD = 8, TEXT_MAX = 32, TRIES = 20 };

static uint64_t between(const struct field *field, uint64_t most)
{
    uint64_t max = field->max && field->max < most ? field->max : most;
    return max > field->min ? field->min + draw(max - field->min + 1) : field->min;
}

static struct slice draw_lease(const struct known *known, struct arena *arena)
{
    uint64_t lease = known->lease_count ? known->leases[draw(known->lease_count)] : 0;
    return arena_printf(arena, "L%llx", (unsigned long long)(lease ? lease : 1 + draw(100)));
}

/* The id of a task that some client was told; its queue and its token are drawn with it. */
static struct slice draw_task(const struct known *known, struct arena *arena)
{
    uint64_t id = known->task_count ? known->task->id : 1 + draw(50);
    return arena_printf(arena, "%llu", (unsigned long long)id);
}

static bool is_task(const struct field *field, const struct known *known)
{
    bool names = strcmp(field->name, "id") == 0 || strcmp(field->name, "after") == 0;
    return names && known->task && draw(8);
}

static uint64_t draw_number(const struct field *field, const struct known *known)
{
    if (strcmp(field->name, "token") == 0 && known->task && known->task->token && draw(2))
        return known->task->token;
    if (strcmp(field->name, "token") == 0 && known->token_count && draw(8))
        return known->tokens[draw(known->token_count)];
    return between(field, field->min + SPREAD);
}

static struct slice draw_text(const struct field *field, const struct known *known, struct arena *arena)
{
    char text[TEXT_MAX];
    if (is_task(field, known)) return draw_task(known, arena);
    if (strcmp(field->name, "queue") == 0 && known->task && draw(4))
        return arena_copy(arena, slice_of(&known->task->queue, 1));
    size_t size = field->min > 1 ? field->min : 1;
    CHECK(size <= sizeof text);
    memset(text, 'a' + (int)draw(LOCKS), size);
    return arena_copy(arena, slice_of(text, size));
}

static bool draw_record(struct setting *setting, const struct known *known);
static const struct operation *draw_operation(bool in_txn);

/* An operation within a transaction. */
static bool draw_inner(struct setting *setting, const struct field *field, const struct known *known)
{
    const struct operation *operation = draw_operation(true);
    void *args = setting_operation(setting, field, slice_text(operation->name), &operation);
    struct setting inner = {.record = operation->args, .data = args, .arena = setting->arena};
    return args && draw_record(&inner, known);
}

static bool draw_field(struct setting *setting, const struct field *field, const struct known *known)
{
    static const char *const crons[] = {"* * * * *", "*/2 * * * * *", "*/5 * * * * *"};
    static const char *const zones[] = {"UTC", "Europe/Berlin", "Australia/Lord_Howe", "<-03>3"};
    size_t choices = 0, items = 1 + draw(3);
    switch ((enum field_type)field->type) {
    case FIELD_UINT:
        return setting_uint(setting, field, draw_number(field, known));
    case FIELD_DURATION:
        return setting_uint(setting, field, between(field, DURATION_MAX_MS));
    case FIELD_TIME:
        return setting_uint(setting, field, 1700000000000 + world.now_ms + draw(DURATION_MAX_MS));
    case FIELD_LEASE:
        return setting_text(setting, field, draw_lease(known, setting->arena));
    case FIELD_CHOICE:
        while (field->choices[choices]) choices++;
        return setting_text(setting, field, slice_text(field->choices[draw(choices)]));
    case FIELD_BOOL:
        return setting_bool(setting, field, draw(2));
    case FIELD_NAME:
    case FIELD_TEXT:
        return setting_text(setting, field, draw_text(field, known, setting->arena));
    case FIELD_CRON:
        return setting_text(setting, field, slice_text(crons[draw(sizeof crons / sizeof *crons)]));
    case FIELD_ZONE:
        return setting_text(setting, field, slice_text(zones[draw(sizeof zones / sizeof *zones)]));
    case FIELD_JSON:
        return setting_json(setting, field, draw(2) ? SLICE("{\"a\":[1,null]}") : SLICE("7"));
    case FIELD_TEXTS:
        while (items--)
            if (!setting_item(setting, field, draw_text(field, known, setting->arena))) return false;
        return true;
    case FIELD_LEASES:
        while (items--)
            if (!setting_item(setting, field, draw_lease(known, setting->arena))) return false;
        return true;
    case FIELD_RECORD:
        items = 1;
        /* fall through */
    case FIELD_LIST:
        while (items--) {
            struct setting inner = {
                .record = field->record, .data = setting_record(setting, field), .arena = setting->arena};
            if (!inner.data || !draw_record(&inner, known)) return false;
        }
        return true;
    case FIELD_BYTES:
        return setting_bytes(setting, field, draw_text(field, known, setting->arena));
    case FIELD_OPERATIONS:
        while (items--)
            if (!draw_inner(setting, field, known)) return false;
        return true;
    case FIELD_RESULTS:
    case FIELD_REMAINING:
        break;
    }
    return (field->flags & FIELD_REQUIRED) == 0;
}

static bool draw_record(struct setting *setting, const struct known *known)
{
    for (size_t i = 0; i < setting->record->field_count; i++) {
        const struct field *field = &setting->record->fields[i];
        if (field->flags & FIELD_HIDDEN) continue;
        bool lasts = strcmp(field->name, "ttl") == 0 || (strcmp(field->name, "wait") == 0 && field->initial);
        bool given = (field->flags & FIELD_REQUIRED) || lasts || draw(3) == 0;
        if (given && !draw_field(setting, field, known)) return false;
    }
    return setting_done(setting);
}

static const struct operation *draw_operation(bool in_txn)
{
    const struct operation *drawn = NULL;
    uint64_t count = 0;
    for (size_t p = 0; primitives[p]; p++)
        for (size_t i = 0; i < primitives[p]->operation_count; i++) {
            const struct operation *operation = &primitives[p]->operations[i];
            bool inner = operation_in_txn(operation) && strcmp(operation->name, "txn") != 0;
            bool outer = operation->path && operation->kind != OPERATION_CLUSTER &&
                         operation->kind != OPERATION_STREAM;
            if (in_txn ? !inner : !outer) continue;
            if (draw(++count) == 0) drawn = operation;
        }
    return drawn;
}

struct call *generator_call(struct known *known)
{
    known->task = known->task_count ? &known->tasks[draw(known->task_count)] : NULL;
    for (int try = 0; try < TRIES; try++) {
        struct call *call = call_new();
        call->operation = draw_operation(false);
        call->args = arena_alloc(&call->arena, call->operation->args->size);
        struct setting setting = {.record = call->operation->args, .data = call->args, .arena = &call->arena};
        if (draw_record(&setting, known)) {
            call->stale = call->operation->kind == OPERATION_QUERY && draw(4) == 0;
            if (call->operation->flags & OPERATION_WAITS)
                call->wait_ms = operation_wait_ms(call->operation, call->args);
            return call;
        }
        call_free(call);
    }
    return NULL;
}
