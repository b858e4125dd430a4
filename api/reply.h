/* What an answered call looks like over HTTP: status, body and the facts that ride in headers. No h2o here.
 */
#ifndef COORDD_API_REPLY_H
#define COORDD_API_REPLY_H

#include "api/mailbox.h"
#include "api/problem.h"
#include "api/route.h"

enum reply_form { REPLY_NOT_ACCEPTABLE, REPLY_JSON, REPLY_PLAIN, REPLY_RAW, REPLY_SSE, REPLY_NDJSON };

struct reply {
    int status;
    const char *type; /* NULL: no body */
    /* headers; 0, NULL or empty: not sent, but where a flag says so */
    struct slice id; /* points into the call's result */
    uint64_t token, lease, revision;
    uint64_t version, create_revision;
    bool has_revision, has_expires, has_age, tagged, retry_after, replayed;
    bool close; /* the connection after it: the node is going */
    uint64_t expires_in_ms, age_ms;
    const char *allow;
};

/* By the Accept header, and what forms (api/plain.h) the operation has. */
enum reply_form reply_form(struct slice accept, const struct operation *operation);

/* Writes the body behind what is in `body`. */
struct reply reply_to_call(const struct route *route, const struct call *call, enum reply_form form,
                           struct buffer *body);
struct reply reply_to_problem(const struct problem *problem, struct buffer *body);

#endif
