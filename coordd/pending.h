/* Requests between the mailbox and their answers: the only door by which an answer leaves.
 *
 * A command's call is known by its number until its entry is applied, and by the entry's index after that. It
 * leaves because its entry was applied, a later entry answered it, its deadline passed or its client went
 * away (both: by a logged wait.cancel, so that the log decides between the grant and the end of the wait), or
 * because its fate cannot be known any more.
 *
 * Answers say how long leases still hold (FIELD_REMAINING). Only the leader knows; on other nodes such an
 * answer is set aside as unresolved until the leader has told.
 *
 * Invariants: 1. a call handed in by pending_add is delivered exactly once. 2. A call whose entry waits is in
 * `by_index` until it is answered. */
#ifndef COORDD_PENDING_H
#define COORDD_PENDING_H

#include "api/mailbox.h"
#include "coord/coord.h"
#include "coord/lease_clock.h"

struct pending;

struct pending *pending_new(void);
void pending_free(struct pending *pending);

/* What fills FIELD_REMAINING in answers, while it is in office. */
void pending_clock(struct pending *pending, const struct lease_clock *clock, uint64_t now_ms);

/* A call is to be proposed; it is sent under `origin` (again, if it was before). */
void pending_add(struct pending *pending, struct call *call);
void pending_sent(struct pending *pending, uint64_t number, uint64_t origin);
/* Entry `index` carries (origin, request) and was applied; then pending_answer for each of its answers; then
 * pending_applied. */
void pending_reached(struct pending *pending, uint64_t origin, uint64_t request, uint64_t index);
void pending_answer(struct pending *pending, const struct answer *answer, uint64_t revision,
                    const struct lease_change *changes);
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

/* An answer that names leases whose remaining time must be asked for. `leases` are in the order in which the
 * answer names them. */
struct unresolved {
    struct unresolved *next;
    struct call *call;
    const uint64_t *leases;
    size_t count;
};
/* Those set aside since the last call, as a chain. Each goes to pending_resolve once, with what the leases
 * have left. */
struct unresolved *pending_unresolved(struct pending *pending);
void pending_resolve(struct pending *pending, struct unresolved *unresolved, const uint64_t *lefts_ms);

/* Calls of streams that hold something (held.h), granted since the last call, as a chain: their streams can
 * begin. */
struct call *pending_granted(struct pending *pending);
bool pending_has_granted(const struct pending *pending);

/* The node stops: every wait is to be ended by a command (pending_next_cancel), and whoever is not granted
 * before that is told so. */
void pending_break(struct pending *pending);

/* The fate of an added call became unknown, or it was never proposed. False: it is not here. */
bool pending_end(struct pending *pending, uint64_t number, enum outcome outcome, const char *detail);

/* As pending_reply, at once: how long leases hold is left unknown unless this node is in office. */
void pending_reply_stale(struct pending *pending, struct call *call, const struct answer *answer,
                         uint64_t revision);
/* As pending_reply; `changes` tell how long leases hold that were heard of since the call arrived. */
void pending_reply_knowing(struct pending *pending, struct call *call, const struct answer *answer,
                           uint64_t revision, const struct lease_change *changes);

/* Everything that was sent or whose entry waits is answered OUTCOME_UNKNOWN: it cannot be followed any more.
 */
void pending_stop_sent(struct pending *pending);
/* Everything still here is answered with `waiting` when its entry waits and `proposed` when its fate is open.
 */
void pending_stop(struct pending *pending, enum outcome waiting, enum outcome proposed);

/* Hands all answered calls to their api threads. */
void pending_deliver(struct pending *pending);
size_t pending_waiting(const struct pending *pending);

#endif
