#include "coord/operation.h"

#include "base/check.h"

const char *const end_reason_choices[] = {"released",    "expired", "revoked",    "broken", "transferred",
                                          "client_gone", "timeout", "downgraded", NULL};

const struct operation *operation_by_code(uint64_t code)
{
    for (size_t p = 0; primitives[p]; p++)
        for (size_t i = 0; i < primitives[p]->operation_count; i++)
            if (primitives[p]->operations[i].code == code) return &primitives[p]->operations[i];
    return NULL;
}

const struct operation *operation_by_name(struct slice name)
{
    for (size_t p = 0; primitives[p]; p++)
        for (size_t i = 0; i < primitives[p]->operation_count; i++)
            if (slice_is(name, primitives[p]->operations[i].name)) return &primitives[p]->operations[i];
    return NULL;
}

const struct primitive *primitive_by_code(uint8_t code)
{
    for (size_t p = 0; primitives[p]; p++)
        if (primitives[p]->code == code) return primitives[p];
    return NULL;
}
