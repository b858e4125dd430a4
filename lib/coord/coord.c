#include "coord/coord.h"

#include "base/check.h"
#include "coord/event.h"
#include "coord/primitive/txn.h"

void command_encode(const struct command *command, struct buffer *out)
{
    buffer_add_varint(out, command->time_ms);
    buffer_add_varint(out, command->operation->code);
    buffer_add_varint(out, command->origin);
    buffer_add_varint(out, command->request);
    record_encode(command->operation->args, command->args, out);
}

bool command_decode(struct slice payload, struct arena *arena, struct command *command)
{
    uint64_t code;
    *command = (struct command){0};
    if (!take_varint(&payload, &command->time_ms) || !take_varint(&payload, &code) ||
        !take_varint(&payload, &command->origin) || !take_varint(&payload, &command->request))
        return false;
    command->operation = operation_by_code(code);
    if (!command->operation || command->operation->kind != OPERATION_COMMAND) return false;
    void *args = arena_alloc(arena, command->operation->args->size);
    command->args = args;
    return record_decode(command->operation->args, args, payload, arena);
}

void coord_apply(struct apply *apply, const struct command *command)
{
    apply->origin = command->origin;
    command->operation->apply(apply, command->args);
    CHECK(apply->settled);
    retry_answered(apply);
    events_keep(apply);
}

void coord_query(struct apply *apply, const struct operation *operation, const void *args)
{
    CHECK(operation->kind == OPERATION_QUERY);
    operation->apply(apply, args);
    CHECK(apply->answers);
}

void coord_check(struct rows *rows, struct arena *arena)
{
    for (size_t p = 0; primitives[p]; p++)
        if (primitives[p]->check) primitives[p]->check(rows, arena);
    events_check(rows, arena);
}
