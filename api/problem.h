/* Refusals as people and programs read them: application/problem+json (RFC 9457) with a stable `code`. */
#ifndef COORDD_API_PROBLEM_H
#define COORDD_API_PROBLEM_H

#include "base/buffer.h"
#include "coord/outcome.h"
#include "coord/record.h"

struct problem {
    enum outcome outcome;
    struct slice detail;        /* a sentence; empty: the title says it all */
    const struct record *shape; /* facts of the state machine; NULL: none */
    const void *facts;
    /* facts of the edge, each written only when it was set */
    struct slice field;   /* the field or parameter it is about, as "items[3].id" */
    const char *allow;    /* methods, "GET, HEAD" */
    uint64_t limit;       /* what was exceeded */
    bool has_byte_offset; /* where in the body */
    uint64_t byte_offset;
};

/* One JSON object and a newline. */
void problem_json(const struct problem *problem, struct buffer *out);

/* outcome_facts() without the search. */
const struct outcome_facts *problem_facts(enum outcome outcome);
/* All outcomes in the order of the table: 0 .. problem_outcome_count() - 1. */
size_t problem_outcome_count(void);
const struct outcome_facts *problem_outcome_at(size_t position);
size_t problem_outcome_position(enum outcome outcome);

#endif
