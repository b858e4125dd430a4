#include "coord/operation.h"

#include "base/check.h"

const char *const end_reason_choices[] = {"released",    "expired", "revoked",    "broken", "transferred",
                                          "client_gone", "timeout", "downgraded", NULL};

const struct operation *operation_by_code(uint64_t code)
{
    return operation_among(primitives, code, NULL);
}

const struct operation *operation_by_name(struct slice name)
{
    return operation_among(primitives, 0, &name);
}

const struct primitive *primitive_by_code(uint8_t code)
{
    for (size_t p = 0; primitives[p]; p++)
        if (primitives[p]->code == code) return primitives[p];
    return NULL;
}
