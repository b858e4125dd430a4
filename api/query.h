/* Query parameters: every option of a call, by name, and what all queries take. */
#ifndef COORDD_API_QUERY_H
#define COORDD_API_QUERY_H

#include "api/argument.h"
#include "coord/operation.h"

/* What every QUERY operation takes beside its own fields. */
struct query_options {
    bool stale;            /* consistency=stale */
    uint64_t min_revision; /* 0: none */
};

/* `raw` is what stands behind the '?'. Names and values are percent-decoded, '+' is a space, empty pairs are
 * passed over; an unknown or repeated name is refused. False: refused, see argument->problem. */
bool query_parse(struct slice raw, enum operation_kind kind, struct argument *argument,
                 struct query_options *options);

#endif
