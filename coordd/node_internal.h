/* What the files of the node share: node.c (the turn), gather.c (what came from the peers), proposals.c
 * (commands on their way into the log), intake.c (requests and notices), asks.c (what only the leader can
 * tell), duties.c (what the node proposes by itself), office.c (leadership and leases), members.c (the
 * cluster itself), catchup.c (snapshots), founding.c (a node without a cluster), restore.c (start). */
#ifndef COORDD_NODE_INTERNAL_H
#define COORDD_NODE_INTERNAL_H

#include "base/map.h"
#include "coord/beats.h"
#include "coord/lease_clock.h"
#include "coord/primitive/cluster.h"
#include "coordd/node.h"
#include "coordd/peers.h"
#include "coordd/pending.h"
#include "coordd/transfer.h"
#include "coordd/watch.h"
#include "coordd/wire.h"
#include "storage/snapshot.h"

#ifndef DIGEST_ENTRIES /* the simulator's lives are short: it says less of each */
#define DIGEST_ENTRIES 1024
#define KEPT_ENTRIES                                                                                         \
    1024 /* applied ones whose payloads stay in memory, for members that are a little behind */
#define APPEND_BYTES_MAX (1024 * 1024) /* of entries in one message */
#endif

enum {
    SESSION_TTL_MS = 10000,
    PROPOSED_BYTES_MAX = 2 * 1024 * 1024,
    COMMIT_PAGES = 8192,
    COMMIT_MS = 200,
    DIGESTS_KEPT = 8,
    HELD_MAX = 65536 /* requests that wait for a leader */
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
    uint64_t index;    /* of the newest entry: the next comes when it is applied here */
    uint64_t after_ms; /* and not before: others write between */
};

/* Transitions of members are proposed as expiries are, after a round that began when they fell due: who is
 * cut off from the others suspects nobody. One proposal at a time. */
struct observing {
    uint64_t round, by_ms; /* round 0: none is awaited */
    uint64_t index;        /* of the newest proposal */
    uint64_t after_ms;     /* not before: others write between, or one failed */
};

/* --- commands on their way into the log (proposals.c) --- */

/* A command of this node's clients, or of the node itself, until its entry is applied here.
 *
 * On a follower it goes to the leader in a stream: (term, session) and its place in it. The leader takes a
 * stream in order and without gaps, each place once, so it can be sent again when a frame was lost. What was
 * sent in one term and is not applied when an entry of a later term is, can never be any more: then, and only
 * then, it is proposed anew. */
struct proposal {
    struct proposal *previous, *next;
    const struct operation *operation;
    const void *args;
    struct call *call; /* in whose arena this lies; NULL: the node's own, in `arena` */
    uint64_t number;   /* of the request */
    uint64_t session;  /* under which it was sent */
    uint64_t term;     /* in which it was sent, 0: not yet */
    uint64_t place;    /* in the stream; 0: this node was leader */
    struct arena arena;
};

struct stream { /* the leader's view of a node's */
    uint64_t node, session, next;
    uint64_t nonce, opens_at; /* the entry that opens the session asked for under that nonce */
};

struct proposals {
    struct proposal queued, sent; /* heads of rings; both in the order in which they are to go */
    struct map by_number;         /* the sent ones */
    size_t count;                 /* of both */
    uint64_t own_number;          /* last given to a command of the node itself */
    uint64_t term, session, next; /* the own stream */
    uint64_t moved_ms;            /* when it was last heard to move, or asked about */
    struct stream streams[RAFT_MEMBERS_MAX];
    size_t stream_count;
};

void proposals_open(struct proposals *proposals);
void proposals_add_call(struct node *node, struct call *call);
void proposals_add_own(struct node *node, const struct operation *operation, const void *args);
void proposals_send(struct node *node); /* into the log or to the leader, as far as can be now */
void proposals_applied(struct node *node, uint64_t origin, uint64_t number);
void proposals_term_applied(struct node *node, uint64_t term);
void proposals_office(struct node *node); /* taken: the others may send again */
void proposals_refuse(struct node *node, enum outcome outcome, const char *detail, bool all);
void proposals_forget_sent(struct node *node); /* their fate cannot be seen any more */
bool proposals_idle(const struct node *node);  /* nothing to send, or nobody to send it to */
uint64_t proposals_next_ms(const struct node *node);
void proposals_session(struct node *node, uint64_t from, const struct wire_session *session);
void proposals_receive(struct node *node, uint64_t from, const struct wire_propose *propose);
void proposals_expected(struct node *node, const struct wire_expect *expect);
void proposals_refused(struct node *node, const struct wire_refuse *refuse);
void proposals_free(struct node *node);

/* --- questions to the leader (asks.c) --- */

enum ask_kind {
    ASK_CALL,       /* a query or renewal of a client */
    ASK_UNRESOLVED, /* an answer that names leases */
    ASK_SESSION,    /* the renewal of this node's session */
    ASK_REMOTE,     /* of another node, when this one leads */
    ASK_REMOTE_CALL /* a query of another node's client that only the leader answers */
};

/* Answered by a read round that begins after it came: here when this node is in office, else by the leader.
 */
struct ask {
    struct ask *next;
    enum ask_kind kind;
    uint64_t number;
    struct call *call;                 /* ASK_CALL */
    struct unresolved *unresolved;     /* ASK_UNRESOLVED */
    uint64_t from, remote_number;      /* ASK_REMOTE, ASK_REMOTE_CALL */
    const struct operation *operation; /* ASK_REMOTE_CALL */
    const void *args;
    uint64_t came_ms;       /* a renewal counts from here */
    uint64_t give_up_ms;    /* renewals: a third of the shortest TTL; 0: not known yet */
    uint64_t round;         /* in office: the round that answers it; 0: not begun */
    uint64_t sent_ms;       /* to the leader, last; 0: not sent */
    uint64_t first_sent_ms; /* the answer may be to the first of several sendings */
    bool renews;
    uint64_t *leases, *lefts_ms; /* asked, told */
    struct slice *notes;         /* that go with the leases */
    size_t count;
    struct answer *answer; /* of the leader, to a call that only it answers; index: its revision */
    bool told;
    uint64_t index; /* told: the state must have this */
    struct arena arena;
};

struct asks {
    struct ask *first, **end;
    struct map by_number; /* those sent to the leader */
    uint64_t last_number;
};

void asks_open(struct asks *asks);
void asks_call(struct node *node, struct call *call);
void asks_session(struct node *node);
void asks_begin(struct node *node);  /* before the output: rounds, and frames to the leader */
void asks_answer(struct node *node); /* after apply: all that can be answered */
void asks_begin_anew(struct node *node);
void asks_gone(struct node *node, uint64_t number); /* the client of that call is gone: it is not to wait */
void asks_refuse(struct node *node, enum outcome outcome, const char *detail, bool all);
uint64_t asks_next_ms(const struct node *node);
void asks_receive(struct node *node, uint64_t from, const struct wire_ask *wire);
void asks_told(struct node *node, const struct wire_told *told);
/* A query that only the leader answers, of another node's client; and the answer. */
void asks_receive_call(struct node *node, uint64_t from, const struct operation *operation,
                       const struct wire_call *wire);
bool asks_answered(struct node *node,
                   const struct wire_answer *answer); /* false: the answer is to none of them */
void asks_free(struct asks *asks);

/* --- the cluster itself (members.c), and operations on it (cluster_calls.c) --- */

#define MEMBERS_REMOVED "this node was removed from the cluster"

struct members {
    bool follows;
    uint64_t followed_index, followed_term; /* of the configuration that the links follow */
    bool was_member;                        /* this node, in a configuration that it has seen */
    uint64_t
        removed_index; /* a committed configuration that does not hold this node, as others say; 0: none */
    bool says_removed;
    struct {
        uint64_t node;
        char address[RAFT_ADDRESS_SIZE]; /* as it said itself when it greeted */
    } heard[RAFT_MEMBERS_MAX];
};

void members_greeted(struct node *node, const struct peer_frame *frame);
void members_join(struct node *node, uint64_t from, const struct wire_join *join);
void members_tell_removed(struct node *node, uint64_t to); /* if it is so */
void members_told_removed(struct node *node, const struct wire_removed *removed);
bool members_removed(const struct node *node); /* this node was a member, and is none for good */
void members_tend(struct node *node);          /* links, promotions, addresses; before the output */
const char *members_name(const struct node *node, uint64_t id); /* "" unknown */
/* What is missing, for people; valid until the turn ends. */
const char *members_missing(struct node *node);

/* An operation on the cluster under way: it waits for its entry, for a transfer, or for the leader's answer.
 */
struct cluster_call {
    struct cluster_call *next;
    const struct operation *operation;
    struct call *call;            /* of a client here; NULL: of another node, or of this one itself */
    uint64_t from, remote_number; /* of another node; from 0: nobody waits for the answer */
    const void *args;             /* in the call's arena, or for this turn only */
    uint64_t number;              /* passed on to the leader under this one; 0: not */
    uint64_t passed_to;
    uint64_t index, term;      /* its entry; 0: none */
    struct raft_member member; /* whom the change is about, as it will be */
    bool removes;
    uint64_t transfers_in; /* the term in which leadership is being handed over; 0: it is not */
    uint64_t since_ms;
};
struct cluster_calls {
    struct cluster_call *first;
    uint64_t last_number;
};

void cluster_calls_take(struct node *node, struct call *call);
void cluster_calls_own(struct node *node, const struct operation *operation, const void *args);
void cluster_calls_receive(struct node *node, uint64_t from, const struct wire_call *wire);
void cluster_calls_answered(struct node *node, const struct wire_answer *answer);
void cluster_calls_applied(struct node *node, const struct raft_entry *entry);
void cluster_calls_tend(struct node *node);
void cluster_calls_end(struct node *node, enum outcome outcome);

/* --- members that are too far behind for the log (catchup.c) --- */

struct catchup {
    struct snapshot *snapshot; /* the one being written or sent */
    uint64_t wanted_ms;        /* when somebody last needed it */
    uint64_t failed_ms;        /* when one could not be made; 0: never */
    struct transfer transfers[RAFT_MEMBERS_MAX];
    size_t transfer_count;
    struct snapshot_intake *intake; /* the one being received */
    uint64_t intake_from, intake_term, intake_index, intake_log_term, intake_next;
    uint64_t intake_moved_ms;
    bool whole; /* it is complete and takes over at the next turn */
};

void catchup_send(struct node *node); /* before the output */
void catchup_chunk(struct node *node, uint64_t from, const struct wire_chunk *chunk);
void catchup_taken(struct node *node, uint64_t from, const struct wire_chunk_taken *taken);
void catchup_switch(
    struct node *node); /* before anything is fed to the core: the state received takes over */
uint64_t catchup_next_ms(const struct node *node);
/* The log may be trimmed up to `index` at most, as far as snapshots under way are concerned. */
uint64_t catchup_keep(const struct node *node, uint64_t index);
void catchup_close(struct node *node);

/* --- the node --- */

struct founding;

struct node {
    struct node_settings settings;
    struct datadir *directory;
    struct datadir_contents contents;
    struct rows *rows;
    struct raft *raft; /* NULL while it belongs to no cluster */
    struct founding *founding;
    struct raftlog_identity identity;
    struct peers *peers;
    struct pending *pending;
    struct watches *watches;
    struct lease_clock *leases;
    struct beats *beats;
    struct arena arena;    /* one entry's, or one query's */
    struct arena turn;     /* one turn's */
    struct buffer payload; /* of the command being proposed, the frame being sent */

    uint64_t now_ms;     /* when this turn's world was gathered */
    uint64_t saved_ms;   /* when this turn's save was done: its answers leave then, perhaps much later */
    uint64_t opened_ms;  /* when this process began */
    uint64_t stamped_ms; /* newest time stamped on an entry */
    uint64_t paced_ms, paced_at_ms, paced_term; /* node_time_ms */
    uint64_t applied;                           /* index */
    uint64_t applied_term;
    uint64_t unable_since_ms;  /* no leader is known since then; 0: one is */
    struct raft_status status; /* as of the last look in this turn */

    struct proposals proposals;
    struct asks asks;
    struct members members;
    struct cluster_calls cluster_calls;
    struct catchup catchup;

    uint64_t session, session_nonce, session_asked_ms, session_renewed_ms, session_since_ms;
    uint64_t session_until_ms;       /* until then the leader keeps it, as far as this node has heard */
    uint64_t office_term;            /* 0: not in office */
    uint64_t leader_seen, term_seen; /* to notice a change */
    struct expiry expiry;
    struct observing observing;
    size_t pulses_out, pulse_burst;
    uint64_t due_index, due_term; /* newest entry proposed for what was due, and when */
    struct {
        uint64_t index, digest;
    } digests[DIGESTS_KEPT];
    uint64_t digest_told; /* newest one proposed or seen in the log */

    struct raft_output output;
    bool save_blocked; /* the disk was full: output is still to be saved */
    bool stopping, stopped, commit_blocked, hurry, handed_over;
    uint64_t stopping_ms;
    uint64_t full_ms;      /* when it last tried to hand over for want of room; 0: never */
    uint64_t committed_ms; /* when the state was last committed, or that was last tried */
    struct node_view view;
};

/* intake.c */
void intake_calls(struct node *node, struct call *calls);
/* Gives those back that say that a client is gone: they are for intake_gone, after the calls. */
struct notice *intake_notices(struct node *node, struct notice *notices);
void intake_gone(struct node *node, struct notice *gone);
void intake_again(struct node *node, struct call *calls); /* reads that are to be run once more */
void intake_refuse_all(struct node *node, enum outcome outcome, const char *detail);
void intake_hold(struct node *node); /* refuses what has waited too long for a leader */

/* duties.c */
void duties_propose(struct node *node);
void duties_confirmed(struct node *node); /* after the answers: the expiry's own round */
uint64_t duties_next_ms(struct node *node);
void duties_digest(struct node *node, uint64_t index);
void duties_compare(struct node *node, const struct digest_args *args);

/* office.c */
void office_follow(struct node *node); /* takes or leaves office as the core says */

/* gather.c */
void gather_frames(struct node *node, const struct peer_frame *frames);

/* restore.c */
void node_replay(struct node *node); /* after the state fell back to its last commit: applies the log again,
                                        silently */
bool node_enter(struct node *node, const struct datadir_founding *founding, char *error, size_t error_size);

/* founding.c */
bool founding_wanted(const struct node_settings *settings);
struct founding *founding_open(const struct node_settings *settings, const char *name, char *error,
                               size_t error_size);
bool founding_turn(struct node *node);
const char *founding_address(struct founding *founding, const char *name); /* the one named for it, or NULL */
void founding_free(struct founding *founding);

/* node.c */
void node_apply(struct node *node, const struct raft_entry *entry, bool answers);
void node_show(struct node *node);
void node_see(struct node *node); /* what the watches are to see of the state */
bool node_tell(struct node *node, uint64_t to, enum wire_kind kind, const void *data);
uint64_t node_hold_ms(const struct node *node); /* how long a request may wait for a leader */
uint64_t node_time_ms(struct node *node);       /* in office: what an entry is stamped with, ms since 1970 */
uint64_t node_read_time_ms(const struct node *node); /* of reads: ages grow while nothing is written, too */
/* Appends a command to the leader's log; 0 when this node cannot. */
uint64_t node_propose(struct node *node, const struct operation *operation, const void *args, uint64_t origin,
                      uint64_t request);
/* The term this node may propose in: in office, or with a leader known. 0: none. */
uint64_t node_open_term(const struct node *node);

#endif
