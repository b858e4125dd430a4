/* The state machine as the node sees it: encode a command, apply an entry, run a query, and what it wants
 * next. */
#ifndef COORDD_COORD_COORD_H
#define COORDD_COORD_COORD_H

#include "coord/apply.h"

/* A command as it lies in an entry:
 *   varint time_ms   stamped by the leader, never falls
 *   varint code      of the operation
 *   varint origin    session lease of the node process that answers the client; 0: nobody waits
 *   varint request   that process's number for it
 *   record           the arguments */
struct command {
    uint64_t time_ms;
    const struct operation *operation;
    uint64_t origin, request;
    const void *args;
};

void command_encode(const struct command *command, struct buffer *out);
/* False for bytes that are no command this version knows (the node then halts, it never skips). */
bool command_decode(struct slice payload, struct arena *arena, struct command *command);

/* Applies a decoded command; afterwards it is answered or waits. Aborts when it is neither. */
void coord_apply(struct apply *apply, const struct command *command);
void coord_query(struct apply *apply, const struct operation *operation, const void *args);

/* A pulse entry (operation "pulse") would find work. */
bool coord_wants_pulse(struct rows *rows);

/* When an entry of operation "due" would find work, ms since 1970; UINT64_MAX: no time is set. */
uint64_t coord_due_ms(struct rows *rows);

/* Every invariant of every primitive; aborts with the first broken one. */
void coord_check(struct rows *rows, struct arena *arena);

/* Arguments of the commands that nodes themselves propose. */
struct pulse_args {
    uint8_t nothing;
};
struct due_args {
    uint8_t nothing;
};
struct wait_cancel_args {
    uint64_t index;  /* the entry whose request waits */
    uint64_t reason; /* END_TIMEOUT or END_CLIENT_GONE */
};
struct digest_args { /* the leader's digest of the state after entry index: every replica compares its own */
    uint64_t index, digest;
};
extern const struct operation *const operation_pulse, *const operation_wait_cancel, *const operation_digest,
                                                                                        *const operation_due;

#endif
