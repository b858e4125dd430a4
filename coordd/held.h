/* Streams that hold something as long as they are open (lock.hold). While what they hold is still to be
 * granted, their call is that of the command that takes it; after that the watches feed the stream (watch.h)
 * and have the command undone when it ends before what it holds does. */
#ifndef COORDD_HELD_H
#define COORDD_HELD_H

#include "api/mailbox.h"
#include "coord/event.h"
#include "coord/primitive/watch.h"

/* A STREAM call that holds becomes the call of its first command: true. */
bool held_prepare(struct call *call);
/* The call is answered: it is the stream's again. True: with a grant, so that its stream can begin. */
bool held_granted(struct call *call);

struct held {
    struct held *next;
    struct arena arena; /* of all below */
    struct watch_request request;
    const struct operation *undo;
    const void *undo_args;
    uint64_t token;
};

struct held *held_new(struct call *call); /* of a granted call */
void held_free(struct held *held);
/* With this event the hold is over. */
bool held_ends(const struct held *held, const struct event *event);
/* Others may hold the same object: their ends are not for this stream. */
bool held_concerns(const struct held *held, const struct event *event);

/* The arguments of the command that undoes the call's grant: each is what the result calls so. In the call's
 * arena. */
const void *call_undo_args(struct call *call, const struct operation *undo);

#endif
