/* What nodes say to each other beside the links' own greetings: one byte of kind, then a record (a Raft
 * message has its own form, raft/message.h).
 *
 * Records decode strictly and grow only at their end, so a newer node understands an older one. */
#ifndef COORDD_WIRE_H
#define COORDD_WIRE_H

#include "coord/record.h"

enum wire_kind {
    WIRE_RAFT = 1,
    WIRE_PROPOSE, /* to the leader: commands, in a stream without gaps */
    WIRE_EXPECT,  /* the leader: which one of the stream comes next */
    WIRE_REFUSE,  /* the leader: this one is not in the log and will not be */
    WIRE_SESSION, /* to the leader: open a session for me */
    WIRE_ASK,     /* to the leader: a read round; leases to renew or to tell of */
    WIRE_TOLD,
    WIRE_CALL, /* to the leader: an operation on the cluster itself, or one that only it can answer */
    WIRE_ANSWER,
    WIRE_JOIN,        /* to a member: I want to be one */
    WIRE_FOUNDED,     /* to a node without a cluster: the one you belong to */
    WIRE_CHUNK,       /* a part of a snapshot */
    WIRE_CHUNK_TAKEN, /* how far the receiver is */
    WIRE_REMOVED      /* to a node of this cluster that is no member: it may not have heard of it */
};

struct wire_proposal {
    uint64_t code, number; /* the operation's; the request's */
    struct slice args;     /* encoded */
};

/* The stream of one session in one term. `first` is the place of the first one in it, counted from 1; without
 * commands it asks how far the leader is. */
struct wire_propose {
    uint64_t term, session, first;
    struct list proposals; /* struct wire_proposal */
};

struct wire_expect {
    uint64_t term, session, next; /* session 0: whatever yours is */
};

struct wire_refuse {
    uint64_t session, number, outcome;
    uint64_t term; /* in which it was proposed: in another one the command may have gone again since */
};

struct wire_session {
    uint64_t nonce;
};

struct wire_ask {
    uint64_t number;
    bool renews;
    struct list leases; /* uint64_t */
    struct list
        notes; /* struct slice: of each lease what its member says (struct beat_note); or none at all */
};

/* A quorum has confirmed a round that began after the question came; what was committed then is at most
 * index. `lefts` says of each lease how many ms it has left: 0 when it is over, or could not be renewed. */
struct wire_told {
    uint64_t number, index;
    struct list lefts; /* uint64_t */
};

struct wire_call {
    uint64_t number, code;
    struct slice args; /* encoded */
};

enum wire_shape { WIRE_NOTHING, WIRE_RESULT, WIRE_REFUSAL };

struct wire_answer {
    uint64_t number, outcome, shape, revision;
    struct slice data, detail; /* data: encoded as shape says */
};

struct wire_join {
    struct slice name, address;
};

struct wire_founded {
    uint64_t cluster;
    struct slice config;   /* in force (raft_config_encode) */
    struct slice founding; /* what the log began with; empty when it has been trimmed since */
};

struct wire_chunk {
    uint64_t term, index, log_term; /* the leader's term; the last entry in the snapshot and its term */
    uint64_t number, count;         /* of the chunk, from 0; of all chunks */
    struct slice bytes;
};

enum wire_intake { WIRE_TAKING = 1, WIRE_HAS, WIRE_BAD, WIRE_NO_ROOM };

struct wire_chunk_taken {
    uint64_t term, index, next, status; /* next: the chunk that is wanted; status: enum wire_intake */
};

struct wire_removed {
    uint64_t index; /* of the committed configuration that does not hold the receiver */
};

/* The record of a kind; NULL for WIRE_RAFT and what is unknown. */
const struct record *wire_record(enum wire_kind kind);
void wire_encode(enum wire_kind kind, const void *data, struct buffer *out);
/* Takes the kind off the body, 0 when there is none. */
enum wire_kind wire_take_kind(struct slice *body);

#endif
