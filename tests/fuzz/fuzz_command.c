/* Commands as they lie in log entries, several after one another (each behind its size, one byte), applied to
 * one state whose invariants are checked. Whatever decodes must be applied without an abort: the log may hold
 * it. */
#include "coord/coord.h"
#include "tests/support/rows_memory.h"

/* The edge has held numbers and names to their limits before they reach the log. */
static bool within_limits(const struct field *field, const void *args, const struct record *record)
{
    uint64_t number = field->type <= FIELD_CHOICE ? record_number(record, args, field->name) : 0;
    uint64_t max = field->type == FIELD_CHOICE ? 3 : field->max ? field->max : (uint64_t)1 << 53;
    if (field->type <= FIELD_CHOICE && number == 0)
        return !field->initial && !(field->flags & FIELD_REQUIRED);
    if (field->type == FIELD_UINT || field->type == FIELD_DURATION || field->type == FIELD_CHOICE)
        return number >= field->min && number <= max;
    if (field->type != FIELD_NAME) return true;
    struct slice name;
    memcpy(&name, (const char *)args + field->offset, sizeof name);
    return name.size > 0 && name.size <= 255 && !memchr(name.data, 0, name.size);
}

static bool plausible(const struct command *command)
{
    const struct record *record = command->operation->args;
    if (command->time_ms > (uint64_t)1 << 50 || command->origin) return false;
    if (command->operation == operation_wait_cancel) {
        uint64_t reason = record_number(record, command->args, "reason");
        return reason == END_TIMEOUT || reason == END_CLIENT_GONE;
    }
    if (slice_is(slice_text(command->operation->name), "lease.session") &&
        !record_number(record, command->args, "ttl"))
        return false;
    for (size_t i = 0; i < record->field_count; i++)
        if (!within_limits(&record->fields[i], command->args, record)) return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rows *rows = rows_memory_new();
    struct arena arena = {0};
    struct slice rest = slice_of(data, size), payload;
    uint64_t time_ms = 0;
    for (uint64_t index = 1; rest.size; index++) {
        size_t wanted = rest.data[0];
        rest = slice_skip(rest, 1);
        if (!take_bytes(&rest, wanted < rest.size ? wanted : rest.size, &payload)) break;
        struct command command;
        struct apply apply;
        if (!command_decode(payload, &arena, &command) || !plausible(&command)) continue;
        time_ms = command.time_ms > time_ms ? command.time_ms : time_ms;
        apply_begin(&apply, rows, &arena, index, 1, time_ms);
        coord_apply(&apply, &command);
        coord_check(rows, &arena);
        arena_reset(&arena);
    }
    arena_free(&arena);
    rows_memory_free(rows);
    return 0;
}
