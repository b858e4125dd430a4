#include "coord/outcome.h"

#include "base/check.h"

#include <stddef.h>

static const struct outcome_facts all[] = {
#define X(name, number, status, code, retryable, title) {OUTCOME_##name, status, code, retryable, title},
    OUTCOMES(X)
#undef X
};

bool outcome_exists(uint64_t number)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if ((uint64_t)all[i].outcome == number) return true;
    return false;
}

const struct outcome_facts *outcome_facts(enum outcome outcome)
{
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].outcome == outcome) return &all[i];
    check_failed(__FILE__, __LINE__, "an outcome of the table");
}
