/* Requests between the mailbox and their answers: the only door by which an answer leaves.
 *
 * A command's call is known by its number until its entry is applied, and by the entry's index after that. It
 * leaves because its entry was applied, a later entry answered it, its deadline passed or its client went
 * away (both: by a logged wait.cancel, so that the log decides between the grant and the end of the wait), or
 * because the node stops.
 *
 * Invariants: 1. a call handed in by pending_add is delivered exactly once. 2. A call whose entry waits is in
 * `by_index` until it is delivered. */
#ifndef COORDD_PENDING_H
#define COORDD_PENDING_H

#include "api/mailbox.h"
#include "coord/coord.h"
#include "coord/lease_clock.h"

struct pending;

struct pending *pending_new(void);
void pending_free(struct pending *pending);

/* What fills FIELD_REMAINING in answers. */
void pending_clock(struct pending *pending, const struct lease_clock *clock, uint64_t now_ms);

/* A call was proposed under this origin. */
void pending_add(struct pending *pending, struct call *call, uint64_t origin);
/* Entry `index` carries (origin, request) and was applied; then pending_answer for each of its answers; then
 * pending_applied. */
void pending_reached(struct pending *pending, uint64_t origin, uint64_t request, uint64_t index);
void pending_answer(struct pending *pending, const struct answer *answer, uint64_t revision);
/* The entry at index left its request waiting, if it is one of ours and still here. */
void pending_applied(struct pending *pending, uint64_t index);
/* A wait.cancel for the request of entry `index` was applied: a call whose client is gone leaves now. */
void pending_cancelled(struct pending *pending, uint64_t index);

void pending_gone(struct pending *pending, uint64_t number);

/* The next wait to be cancelled by a command, marked so; false when there is none. */
bool pending_next_cancel(struct pending *pending, uint64_t now_ms, struct wait_cancel_args *cancel);
uint64_t pending_next_ms(const struct pending *pending); /* UINT64_MAX: none */

/* Answers a call at once, one that was never added. */
void pending_refuse(struct pending *pending, struct call *call, enum outcome outcome, const char *detail);
void pending_reply(struct pending *pending, struct call *call, const struct answer *answer,
                   uint64_t revision);

/* Everything still here is answered with `waiting` when its entry waits and `proposed` when its fate is open.
 */
void pending_stop(struct pending *pending, enum outcome waiting, enum outcome proposed);

/* Hands all answered calls to their api threads. */
void pending_deliver(struct pending *pending);
size_t pending_waiting(const struct pending *pending);

#endif
