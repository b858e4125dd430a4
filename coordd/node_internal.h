/* What the files of the node share: node.c (the turn), intake.c (requests), duties.c (what the node proposes
 * by itself), office.c (leadership and leases), restore.c (start). */
#ifndef COORDD_NODE_INTERNAL_H
#define COORDD_NODE_INTERNAL_H

#include "coord/lease_clock.h"
#include "coordd/node.h"
#include "coordd/pending.h"
#include "storage/datadir.h"
#include "storage/raftlog.h"
#include "storage/state.h"

enum {
    SESSION_TTL_MS = 10000,
    PROPOSED_BYTES_MAX = 3 * 1024 * 1024,
    COMMIT_OPERATIONS = 8192,
    COMMIT_MS = 200,
    KEPT_ENTRIES = 1024
};

/* Step 4 of shared/facts/leases.md: a lease is due; what the api threads had already received is drained; a
 * quorum confirms a round that began after that; only then is the expiry proposed. */
enum expiry_stage { EXPIRY_IDLE, EXPIRY_DRAINING, EXPIRY_CONFIRMING, EXPIRY_READY };

struct expiry {
    enum expiry_stage stage;
    uint64_t by_ms;  /* leases due by then */
    uint64_t number; /* of the barrier */
    size_t awaited;  /* barrier notices still to come */
    uint64_t round;
};

/* A query or renewal on its way: answered once its round is confirmed and the state has what it must. */
struct reading {
    struct reading *next;
    struct call *call; /* NULL: the node's own renewal of its session */
    uint64_t round;    /* 0: none needed */
};

struct readings {
    struct reading *first, **end;
};

struct node {
    struct node_settings settings;
    struct datadir *directory;
    struct raftlog *log;
    struct state *state;
    struct rows *rows;
    struct raft *raft;
    struct raftlog_identity identity;
    struct pending *pending;
    struct lease_clock *leases;
    struct arena arena;    /* one entry's, or one query's */
    struct buffer payload; /* of the command being proposed */

    uint64_t now_ms;                  /* when this turn's world was gathered */
    uint64_t stamped_ms;              /* newest time stamped on an entry */
    uint64_t applied;                 /* index */
    struct call *queue, **queue_end;  /* commands not yet proposed */
    struct readings readings, parked; /* parked: renewals that met an expiry in the log (2a) */

    uint64_t session, session_nonce, session_asked_ms, session_renewed_ms;
    uint64_t office_term; /* 0: not in office */
    struct expiry expiry;
    size_t pulses_out, pulse_burst;

    struct raft_output output;
    bool save_blocked; /* the disk was full: output is still to be saved */
    bool stopping, stopped, commit_blocked;
    uint64_t committed_ms; /* when the state was last committed, or that was last tried */
    struct node_view view;
};

/* intake.c */
void intake_calls(struct node *node, struct call *calls);
void intake_notices(struct node *node, struct notice *notices);
void intake_propose(struct node *node);      /* queued commands, within the turn's budget */
void intake_answer_reads(struct node *node); /* all that are confirmed */
void intake_refuse_all(struct node *node, enum outcome outcome);
uint64_t node_propose(struct node *node, const struct operation *operation, const void *args, uint64_t origin,
                      uint64_t request);
void reading_add(struct readings *readings, struct reading *reading);

/* duties.c */
void duties_propose(struct node *node);
void duties_confirmed(struct node *node); /* after the readings: the expiry's own round */
uint64_t duties_next_ms(const struct node *node);

/* office.c */
void office_follow(struct node *node); /* takes or leaves office as the core says */

/* restore.c */
void node_replay(
    struct node *node); /* after the state fell back to its last commit: applies the log again, silently */

/* node.c */
void node_apply(struct node *node, const struct raft_entry *entry, bool answers);
void node_show(struct node *node);

#endif
