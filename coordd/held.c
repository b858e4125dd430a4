#include "coordd/held.h"

#include "base/check.h"
#include "base/memory.h"

struct call_hold {
    struct watch_request request;
    const struct operation *stream; /* the call's own */
};

bool held_prepare(struct call *call)
{
    if (call->operation->kind != OPERATION_STREAM || !(call->operation->flags & OPERATION_WAITS))
        return false;
    struct call_hold *hold = arena_alloc(&call->arena, sizeof *hold);
    hold->stream = call->operation;
    call->operation->watch(&call->arena, call->args, &hold->request);
    CHECK(hold->request.first && hold->request.scope_count == 1);
    call->args = arena_alloc(&call->arena, hold->request.first->args->size);
    memcpy(call->args, hold->request.first_args, hold->request.first->args->size);
    call->operation = hold->request.first;
    call->hold = hold;
    return true;
}

bool held_granted(struct call *call)
{
    bool granted = outcome_facts(call->outcome)->status < 300;
    call->operation = call->hold->stream;
    return granted;
}

const void *call_undo_args(struct call *call, const struct operation *undo)
{
    char *args = arena_alloc(&call->arena, undo->args->size);
    for (size_t i = 0; i < undo->args->field_count; i++) {
        const struct field *to = &undo->args->fields[i], *from;
        from = record_field(call->shape, slice_text(to->name));
        CHECK(from && (from->type <= FIELD_BOOL) == (to->type <= FIELD_BOOL));
        size_t size = to->type == FIELD_BOOL   ? sizeof(bool)
                      : to->type < FIELD_BOOL  ? sizeof(uint64_t)
                      : to->type < FIELD_TEXTS ? sizeof(struct slice)
                                               : sizeof(struct list);
        memcpy(args + to->offset, (const char *)call->result + from->offset, size);
    }
    return args;
}

struct held *held_new(struct call *call)
{
    struct held *held = memory_new(sizeof *held);
    const struct watch_request *request = &call->hold->request;
    struct watch_scope *scope = &held->request.scopes[0];
    held->undo = operation_by_name(slice_text(request->first->undo));
    held->undo_args =
        record_copy(held->undo->args, call_undo_args(call, held->undo), &held->arena, NULL, NULL);
    held->token = record_number(call->shape, call->result, "token");
    held->request.scope_count = 1;
    *scope = (struct watch_scope){arena_copy(&held->arena, request->scopes[0].path), false};
    struct slice *ends = arena_alloc(&held->arena, request->ends.count * sizeof *ends);
    struct slice *types = arena_alloc(&held->arena, request->types.count * sizeof *types);
    memcpy(ends, request->ends.items, request->ends.count * sizeof *ends);
    memcpy(types, request->types.items, request->types.count * sizeof *types);
    held->request.ends = (struct list){ends, request->ends.count};
    held->request.types = (struct list){types, request->types.count};
    return held;
}

void held_free(struct held *held)
{
    if (!held) return;
    arena_free(&held->arena);
    free(held);
}

static bool is_an_end(const struct held *held, const struct event *event)
{
    const struct slice *ends = held->request.ends.items;
    for (size_t i = 0; i < held->request.ends.count; i++)
        if (slice_is(ends[i], event->kind->name)) return true;
    return false;
}

bool held_ends(const struct held *held, const struct event *event)
{
    return is_an_end(held, event) && record_number(event->shape, event->data, "token") == held->token;
}

bool held_concerns(const struct held *held, const struct event *event)
{
    return !is_an_end(held, event) || held_ends(held, event);
}
