/* Headers that make a request conditional: If-Match and If-None-Match become arguments of operations that
 * have them, Idempotency-Key and Coord-Fence a guard around a command. */
#ifndef COORDD_API_CONDITION_H
#define COORDD_API_CONDITION_H

#include "api/argument.h"
#include "api/gate.h"
#include "api/mailbox.h"

/* Call when path and query are read, before the body is. False: refused, see argument->problem. */
bool conditions_apply(const struct request_head *head, const struct operation *operation,
                      struct argument *argument, struct call *call);

#endif
