/* Where an operation's arguments say how long it may wait. Apart from operation.c, which knows all
 * primitives.
 */
#include "coord/operation.h"

static const struct field *wait_of(const struct record *record)
{
    const struct field *wait = record_field(record, SLICE("wait"));
    return wait && wait->type == FIELD_DURATION ? wait : NULL;
}

const struct field *operation_wait_field(const struct operation *operation, const struct field **within)
{
    const struct record *args = operation->args;
    const struct field *wait = NULL;
    *within = NULL;
    if (!(operation->flags & OPERATION_WAITS) || (wait = wait_of(args))) return wait;
    for (size_t i = 0; i < args->field_count && !wait; i++) {
        if (args->fields[i].type != FIELD_RECORD || !(wait = wait_of(args->fields[i].record))) continue;
        *within = &args->fields[i];
    }
    return wait;
}

uint64_t operation_wait_ms(const struct operation *operation, const void *args)
{
    const struct field *within, *wait = operation_wait_field(operation, &within);
    uint64_t wait_ms = 0;
    if (wait && within) memcpy(&args, (const char *)args + within->offset, sizeof args);
    if (wait && args) memcpy(&wait_ms, (const char *)args + wait->offset, sizeof wait_ms);
    return wait_ms;
}
