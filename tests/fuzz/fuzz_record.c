/* Records out of rows and log: the first two bytes choose one of all records that the operations name, the rest is its
 * binary form. What decodes encodes to bytes that decode to the same, copies, and prints as JSON text. */
#include "base/check.h"
#include "coord/operation.h"
#include "tests/fuzz/fuzz.h"

#define json_null jansson_null /* base/json.h has its own */
#include <jansson.h>
#undef json_null

enum { RECORDS_MAX = 256 };

static const struct record *all[RECORDS_MAX];
static size_t count;

static void add(const struct record *record)
{
    for (size_t i = 0; record && i < count; i++)
        if (all[i] == record) return;
    if (!record) return;
    CHECK(count < RECORDS_MAX);
    all[count++] = record;
    for (size_t i = 0; i < record->field_count; i++) add(record->fields[i].record);
}

static void collect(void)
{
    for (const struct primitive *const *each = primitives; *each && !count; each++)
        for (const struct primitive *const *primitive = primitives; *primitive; primitive++)
            for (size_t i = 0; i < (*primitive)->operation_count; i++) {
                add((*primitive)->operations[i].args);
                add((*primitive)->operations[i].result);
                add((*primitive)->operations[i].refusal);
            }
}

static uint64_t remaining(void *context, uint64_t lease)
{
    (void)context;
    return lease % 1000;
}

static void print(const struct record *record, const void *data)
{
    struct buffer text = {0};
    record_json(record, data, &(struct json){&text, false});
    buffer_free(&text);
}

static void check(const struct record *record, struct slice bytes, struct arena *arena)
{
    void *data = arena_alloc(arena, record->size), *again = arena_alloc(arena, record->size);
    struct buffer first = {0}, second = {0};
    if (!record_decode(record, data, bytes, arena)) return;
    record_encode(record, data, &first);
    CHECK(record_decode(record, again, buffer_slice(&first), arena));
    record_encode(record, again, &second);
    CHECK(slice_equal(buffer_slice(&first), buffer_slice(&second)));
    print(record, record_copy(record, data, arena, remaining, NULL));
    buffer_free(&first);
    buffer_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_of(data, size);
    struct arena arena = {0};
    collect();
    const struct record *record = all[fuzz_short(&bytes) % count];
    check(record, bytes, &arena);
    arena_free(&arena);
    return 0;
}

/* One of each record with every number and text set. */
static void fill(const struct record *record, void *data)
{
    for (size_t i = 0; i < record->field_count; i++) {
        const struct field *field = &record->fields[i];
        void *place = (char *)data + field->offset;
        if (field->type <= FIELD_LEASE)
            memcpy(place, &(uint64_t){field->min + 1}, sizeof(uint64_t));
        else if (field->type == FIELD_CHOICE)
            memcpy(place, &(uint64_t){1}, sizeof(uint64_t));
        else if (field->type == FIELD_BOOL)
            memcpy(place, &(bool){true}, sizeof(bool));
        else if (field->type >= FIELD_TEXT && field->type <= FIELD_JSON)
            memcpy(place, &SLICE("12"), sizeof(struct slice));
    }
}

void fuzz_seeds(void (*seed)(struct slice bytes))
{
    struct arena arena = {0};
    collect();
    for (size_t i = 0; i < count; i++) {
        struct buffer bytes = {0};
        void *data = arena_alloc(&arena, all[i]->size);
        fill(all[i], data);
        buffer_add_byte(&bytes, (uint8_t)(i >> 8));
        buffer_add_byte(&bytes, (uint8_t)i);
        record_encode(all[i], data, &bytes);
        seed(buffer_slice(&bytes));
        buffer_free(&bytes);
    }
    arena_free(&arena);
}
