/* Commands as they lie in log entries, several after one another (each behind its size, one byte), applied to
 * one state whose invariants are checked. Whatever decodes must be applied without an abort: the log may hold
 * it. */
#include "coord/coord.h"
#include "tests/support/rows_memory.h"

static bool plausible_args(const struct record *record, const void *args);

static bool plausible_number(const struct field *field, uint64_t number)
{
    uint64_t choices = 0, max = field->max ? field->max : (uint64_t)1 << 53;
    if (number == 0) return !field->initial && !(field->flags & FIELD_REQUIRED);
    if (field->type == FIELD_LEASE) return true;
    if (field->type != FIELD_CHOICE) return number >= field->min && number <= max;
    while (field->choices[choices]) choices++;
    return number <= choices;
}

static bool plausible_bytes(const struct field *field, struct slice bytes)
{
    uint64_t max = field->max && field->type != FIELD_TEXTS ? field->max : 255;
    uint64_t min = field->type == FIELD_NAME || (field->flags & FIELD_REQUIRED) ? 1 : field->min;
    if (!bytes.size) return min == 0 || (field->type != FIELD_NAME && !(field->flags & FIELD_REQUIRED));
    return bytes.size >= min && bytes.size <= max &&
           (field->type == FIELD_BYTES || !memchr(bytes.data, 0, bytes.size));
}

static bool plausible_items(const struct field *field, struct list list)
{
    const struct operation_item *items = list.items;
    if (list.count > (field->max ? field->max : 1000) || list.count < field->min) return false;
    if (!list.count && (field->flags & FIELD_REQUIRED)) return false;
    for (size_t i = 0; i < list.count; i++) {
        if (field->type == FIELD_TEXTS) {
            struct slice text = ((const struct slice *)list.items)[i];
            if (!text.size || !plausible_bytes(field, text)) return false;
        } else if (field->type == FIELD_LIST) {
            if (!plausible_args(field->record, (const char *)list.items + i * field->record->size))
                return false;
        } else if (field->type == FIELD_OPERATIONS) {
            if (!operation_in_txn(items[i].operation) ||
                !plausible_args(items[i].operation->args, items[i].args))
                return false;
        }
    }
    return true;
}

/* The edge has held everything to its limits before it reaches the log. */
static bool plausible_args(const struct record *record, const void *args)
{
    for (size_t i = 0; i < record->field_count; i++) {
        const struct field *field = &record->fields[i];
        const char *place = (const char *)args + field->offset;
        if (field->type <= FIELD_CHOICE) {
            if (!plausible_number(field, record_number(record, args, field->name))) return false;
        } else if (field->type >= FIELD_TEXTS && field->type < FIELD_RECORD) {
            struct list list;
            memcpy(&list, place, sizeof list);
            if (!plausible_items(field, list)) return false;
        } else if (field->type >= FIELD_TEXT && field->type <= FIELD_BYTES) {
            struct slice bytes;
            memcpy(&bytes, place, sizeof bytes);
            if (!plausible_bytes(field, bytes)) return false;
        } else if (field->type == FIELD_RECORD) {
            const void *nested;
            memcpy(&nested, place, sizeof nested);
            if (nested && !plausible_args(field->record, nested)) return false;
        }
    }
    return true;
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
    return plausible_args(record, command->args);
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
