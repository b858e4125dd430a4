/* Query parameters: every option of a call, by name, and what all queries take. */
#ifndef COORDD_API_QUERY_H
#define COORDD_API_QUERY_H

#include "api/argument.h"
#include "coord/operation.h"

enum { QUERY_WAIT_MAX_MS = 10 * 60 * 1000 };

/* What operations take beside their own fields. */
struct query_options {
    bool stale;            /* QUERY: consistency=stale */
    uint64_t min_revision; /* QUERY; 0: none */
    bool since_given;      /* QUERY with an object, and streams that one GETs */
    uint64_t since;
    bool wait_given; /* QUERY with an object and without a wait of its own */
    uint64_t wait_ms;
};

/* `raw` is what stands behind the '?'. Names and values are percent-decoded, '+' is a space, empty pairs are
 * passed over; an unknown or repeated name is refused. False: refused, see argument->problem. */
bool query_parse(struct slice raw, const struct operation *operation, struct argument *argument,
                 struct query_options *options);
bool query_takes_since(const struct operation *operation);
bool query_takes_wait(const struct operation *operation);

/* What a request says of what it has seen already, after query_parse: If-None-Match of a long
 * poll, Last-Event-ID of a stream that goes on. Empty: not given. False: refused. */
bool query_seen(struct slice if_none_match, struct slice last_event_id, const struct operation *operation,
                struct argument *argument, struct query_options *options);

#endif
