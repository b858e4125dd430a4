/* Bytes as records of every shape that the operations have, and as a configuration of Raft. What decodes has
 * one form only, and can be said in JSON (but for choices: a number out of a table's range is the table's
 * business). */
#include "base/check.h"
#include "coord/operation.h"
#include "raft/raft.h"

static void try(const struct record *record, struct slice bytes)
{
    struct arena arena = {0};
    struct buffer again = {0};
    void *data = arena_alloc(&arena, record->size);
    if (record_decode(record, data, bytes, &arena)) {
        record_encode(record, data, &again);
        CHECK(slice_equal(bytes, buffer_slice(&again)));
        void *copy = record_copy(record, data, &arena, NULL, NULL);
        CHECK(copy);
    }
    buffer_free(&again);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_of(data, size);
    struct raft_config config;
    for (size_t p = 0; primitives[p]; p++)
        for (size_t i = 0; i < primitives[p]->operation_count; i++) {
            const struct operation *operation = &primitives[p]->operations[i];
            try(operation->args, bytes);
            if (operation->result) try(operation->result, bytes);
        }
    if (raft_config_decode(bytes, &config)) {
        struct buffer again = {0};
        raft_config_encode(&config, &again);
        CHECK(slice_equal(bytes, buffer_slice(&again)));
        buffer_free(&again);
    }
    return 0;
}
