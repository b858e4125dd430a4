/* The simulator: the shipped code of several nodes in one thread, in a world drawn from one seed. This header
 * is what its files share; they define what the nodes see of the world (clock.h, mailbox.h, peers.h, disk.h,
 * state.h, datadir.h), chosen by the linker.
 *
 * Times are true milliseconds since the world began unless they say otherwise. */
#ifndef COORDD_TESTS_SIM_H
#define COORDD_TESTS_SIM_H

#include "api/mailbox.h"
#include "base/heap.h"
#include "coordd/node_internal.h"

#include <setjmp.h>

enum { NODES_MAX = 9, CLIENTS_MAX = 8, FILES_MAX = 64, STATES_MAX = 8, LOCKS = 3, TARGETS_MAX = 16 };

/* --- the world and its chances --- */

struct faults {                      /* of this seed; chances are in 10,000 */
    unsigned lost, doubled, delayed; /* of each packet */
    unsigned crash;                  /* at each operation of a disk */
    unsigned eio, slow;              /* at each flush */
    bool partitions, pauses, full_disks, crashes, changes, wall_jumps, drift, rot;
    bool wild_clocks; /* beyond the bound that the promise of leases rests on: only the rest must hold */
    uint64_t log_keep_bytes;
    uint64_t pace_ms;    /* at most between two of the faults that are not drawn at each step */
    uint64_t latency_ms; /* of a packet, at most */
    uint64_t delay_ms;   /* of a delayed one, at most on top */
    uint64_t restart_ms; /* after a crash, at most */
    unsigned operators;  /* of the clients, how many change the members and move leadership */
    unsigned hunt;       /* at each turn of a leader that appends: something befalls it just then */
    unsigned storm;      /* leases that begin, and end, all at once; 0: none */
    unsigned fat;        /* bytes of meta that an acquire carries */
    unsigned clog;       /* of 100 */
    unsigned queues;     /* of 100: how much of what clients do is at task queues */
    unsigned groups;     /* of 100: of the rest, how much more than usual is at groups */
};

struct world {
    uint64_t seed, random, now_ms;
    struct faults faults;
    bool calm;                /* the liveness phase: no faults any more */
    bool sweeping;            /* its end: clients finish what is left in the task queues */
    uint64_t answers_from_ms; /* what is asked from then on must be answered */
    bool aimed;               /* the next fault is to hit a change of the members under way */
    bool disk_lost;
    uint64_t lost_id;    /* a member that is to be removed before any other */
    uint64_t removed_ms; /* when a removal was last asked for */
    unsigned lost_number;
    size_t founders, node_count, client_count;
    uint64_t fault_at_ms;
    uint64_t acked; /* newest revision that a client was told */
    bool verbose;
    uint64_t counts[32]; /* faults injected, by kind */
};
extern struct world world;

uint64_t draw(uint64_t below); /* 0 .. below - 1 */
bool chance(unsigned of_10000);
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

enum fault_kind {
    FAULT_LOST,
    FAULT_DOUBLED,
    FAULT_DELAYED,
    FAULT_CRASH,
    FAULT_CRASH_IN_DISK,
    FAULT_TORN,
    FAULT_EIO,
    FAULT_SLOW,
    FAULT_FULL,
    FAULT_PAUSE,
    FAULT_PARTITION,
    FAULT_WALL,
    FAULT_CHANGE,
    FAULT_LEFT,
    FAULT_DISK_LOST,
    FAULT_ROT,
    FAULT_MISDIRECTED,
    FAULT_HUNG,
    FAULT_CLOGGED,
    FAULT_WILD_CLOCKS,
    FAULT_KINDS
};
extern const char *const fault_names[FAULT_KINDS];

/* --- marks: situations that a campaign must have seen --- */

#define MARKS(X)                                                                                             \
    X(LEADER_CHANGED)                                                                                        \
    X(PROPOSAL_SENT_AGAIN)                                                                                   \
    X(STREAM_GAP)                                                                                            \
    X(STREAM_DUPLICATE)                                                                                      \
    X(TORN_TAIL_CUT)                                                                                         \
    X(LOG_SUFFIX_REPLACED)                                                                                   \
    X(STATE_BEHIND_LOG)                                                                                      \
    X(SNAPSHOT_INSTALLED)                                                                                    \
    X(LOG_TRIMMED)                                                                                           \
    X(LEARNER_PROMOTED)                                                                                      \
    X(MEMBER_REMOVED)                                                                                        \
    X(LEADER_REMOVED)                                                                                        \
    X(NODE_JOINED)                                                                                           \
    X(TRANSFER_DONE)                                                                                         \
    X(LEASE_EXPIRED)                                                                                         \
    X(LEASE_STORM)                                                                                           \
    X(EXPIRY_ABORTED)                                                                                        \
    X(RENEWED_ON_FOLLOWER)                                                                                   \
    X(RENEWAL_REFUSED)                                                                                       \
    X(READ_ON_FOLLOWER)                                                                                      \
    X(READ_STALE)                                                                                            \
    X(GRANT_AFTER_WAIT)                                                                                      \
    X(WAIT_SURVIVED_FAILOVER)                                                                                \
    X(WAIT_TIMED_OUT)                                                                                        \
    X(CLIENT_LEFT)                                                                                           \
    X(GRANT_TAKEN_BACK)                                                                                      \
    X(NO_LEADER_ANSWERED)                                                                                    \
    X(OUTCOME_UNKNOWN)                                                                                       \
    X(SESSION_LOST)                                                                                          \
    X(DISK_FULL_SURVIVED)                                                                                    \
    X(NODE_FROZEN)                                                                                           \
    X(DIGEST_COMPARED)                                                                                       \
    X(TWO_LEADERS_OF_TERMS)                                                                                  \
    X(DISK_LOST_REFUSED)                                                                                     \
    X(RESTARTED)                                                                                             \
    X(CLUSTER_FOUNDED)                                                                                       \
    X(ANSWER_ASKED_FOR_LEASE)                                                                                \
    X(PULSE_DONE)                                                                                            \
    X(CHANGE_UNDONE)                                                                                         \
    X(ROT_REFUSED)                                                                                           \
    X(MISDIRECTED_REFUSED)                                                                                   \
    X(DAMAGE_TRIMMED)                                                                                        \
    X(SNAPSHOT_ROT_NOTICED)                                                                                  \
    X(DISK_HUNG)                                                                                             \
    X(LINK_CLOGGED)                                                                                          \
    X(GENERATED_GRANTED)                                                                                     \
    X(ANSWER_REPLAYED)                                                                                       \
    X(QUERY_COMPARED)                                                                                        \
    X(EVENTS_COMPARED)                                                                                       \
    X(SNAPSHOT_DURING_CHANGE)                                                                                \
    X(TASK_CLAIMED)                                                                                          \
    X(TASK_HANDED_TO_WAITER)                                                                                 \
    X(TASK_LOST)                                                                                             \
    X(TASK_TIMED_OUT)                                                                                        \
    X(TASK_DEAD)                                                                                             \
    X(TASK_EXPIRED)                                                                                          \
    X(TASK_UNBLOCKED)                                                                                        \
    X(TASK_DEDUPLICATED)                                                                                     \
    X(TASK_GROUP_ORDERED)                                                                                    \
    X(TASK_CLAIM_LOST_TOLD)                                                                                  \
    X(TASK_COMPLETED_TWICE)                                                                                  \
    X(TASK_SWEPT)                                                                                            \
    X(MEMBER_BEAT)                                                                                           \
    X(MEMBER_BEAT_ON_FOLLOWER)                                                                               \
    X(MEMBER_GONE_TOLD)                                                                                      \
    X(MEMBER_SUSPECTED)                                                                                      \
    X(MEMBER_CLEARED)                                                                                        \
    X(MEMBER_FAILED)                                                                                         \
    X(MEMBER_HEALTH)                                                                                         \
    X(MEMBER_EJECTED)                                                                                        \
    X(BREAKER_HALF_OPEN)                                                                                     \
    X(BREAKER_CLOSED)                                                                                        \
    X(BREAKER_OPEN_AGAIN)                                                                                    \
    X(MEMBER_PROBED)                                                                                         \
    X(GROUP_GUARDED)                                                                                         \
    X(GROUPS_GUARDED_FOR_ALL)                                                                                \
    X(MEMBER_TAKEN_OVER)                                                                                     \
    X(SHARD_HANDED_OVER)                                                                                     \
    X(SHARD_LOST)                                                                                            \
    X(SHARD_LATE_ACK)                                                                                        \
    X(MEMBER_LEADS_AFTER_ANOTHER)                                                                            \
    X(BROADCAST_SATISFIED)                                                                                   \
    X(LEADER_ASKED_FOR_FOLLOWER)                                                                             \
    X(CLAIM_REPLAYED)                                                                                        \
    X(SCHEDULE_FIRED)

enum mark {
#define X(name) MARK_##name,
    MARKS(X)
#undef X
        MARK_COUNT
};
extern uint64_t marks[MARK_COUNT];
void mark(enum mark which);

/* --- a node's surroundings --- */

struct sim_write { /* since the last flush */
    uint64_t offset;
    size_t size;
    uint8_t *before; /* what was there */
};
struct sim_file {
    char path[96];
    bool used, linked; /* linked: it has its name; else only open descriptors hold it */
    unsigned opens;
    uint8_t *data;
    size_t size;
    struct sim_write *writes;
    size_t write_count;
};

struct sim_image { /* a state's directory */
    char path[64];
    bool used;
    struct rows *committed, *synced;
    struct state_mark committed_mark, synced_mark;
};

struct sim_node {
    unsigned number;
    bool present; /* it is to run: restarted when it ends */
    bool joins;   /* it was not there at the founding */
    bool lost_disk;
    bool rotten, misdirected;              /* its log was damaged: by a flipped bit, by a stray write */
    char damaged[96];                      /* that file */
    struct node *node;                     /* NULL: down */
    uint64_t id, up_at_ms;                 /* restart then */
    uint64_t offset_ms, rate_ppm, wall_ms; /* its clocks */
    uint64_t run_at_ms, lag_ms;            /* next turn; time spent in this one */
    uint64_t busy_until_ms;                /* its last turn takes until then */
    uint64_t paused_until_ms, full_until_ms;
    bool took_input, eio;
    jmp_buf death;
    char name[16], address[24], data_dir[16];
    /* mailbox */
    struct call *calls, **calls_end;
    struct notice *notices, **notices_end;
    /* peers */
    struct peers_identity identity;
    struct peers_target targets[TARGETS_MAX];
    size_t target_count;
    uint64_t greet_at_ms;
    struct peer_frame *frames, **frames_end;
    struct arena inbox, taken;
    bool cut[NODES_MAX + 1];                  /* nothing gets from here to there */
    uint64_t clogged_until_ms[NODES_MAX + 1]; /* what goes from here to there waits so long */
    /* storage */
    struct sim_file files[FILES_MAX];
    struct sim_image images[STATES_MAX];
    /* what it was last seen as */
    uint64_t seen_applied, seen_term, seen_base, seen_change;
    uint64_t seen_session, seen_office;
    bool seen_leader, seen_expiring;
};
extern struct sim_node nodes[NODES_MAX + 1]; /* from 1 */
extern struct sim_node *sim_current;

enum death { DEATH_NONE, DEATH_CRASH, DEATH_FATAL, DEATH_EXIT };
_Noreturn void sim_die(enum death how);
uint64_t sim_local_ms(const struct sim_node *sim); /* true time within its turn */

bool sim_is_member(const struct sim_node *sim); /* as the leader has it */
const struct raft_config *sim_config(void);     /* the same; NULL: nobody leads */
void sim_died(struct sim_node *sim, enum death how);
void sim_wipe(struct sim_node *sim); /* its machine has an empty disk */

/* --- faults.c --- */

void faults_draw(void); /* which ones this life has */
void faults_one(void);
void faults_hunt(struct sim_node *leader);
void faults_calm_down(void);

void network_step(void); /* delivers what is due */
uint64_t network_next_ms(void);
void network_forget(struct sim_node *sim);
void disk_crash(struct sim_node *sim);
void disk_wipe(struct sim_node *sim);
bool disk_damage(struct sim_node *sim);           /* of what was flushed long ago; false: there is none */
bool disk_is_damaged(const struct sim_node *sim); /* the file is still there */
void store_crash(struct sim_node *sim);
void store_wipe(struct sim_node *sim);
void mailbox_crash(struct sim_node *sim);

/* --- clients and the judge --- */

void clients_open(void);
void clients_step(void);
uint64_t clients_next_ms(void);
void clients_node_died(struct sim_node *sim);
void clients_stop(void); /* no new requests */
bool clients_idle(void);
size_t clients_succeeded(void);
void clients_answer(struct call *call);

void readers_step(void);
void readers_answer(struct call *call); /* of a stream */
bool readers_arrived(void);             /* at what clients were told */
void readers_end(void);

struct told_task {
    char queue;
    uint64_t id, token; /* token: the newest that anybody was told; 0: none */
};
struct known { /* what a client has heard of */
    const uint64_t *tokens, *leases;
    size_t token_count, lease_count;
    const struct told_task *tasks, *task; /* task: the one that this call is about */
    size_t task_count;
};
struct call *generator_call(struct known *known); /* NULL: none came up that is valid */

/* `ttl_ms`: of the claim that it asks for, if any. */
struct call *workers_call(unsigned number, uint64_t lease, uint64_t *ttl_ms);
struct call *workers_sweep(unsigned number);
void workers_answered(unsigned number); /* well or not: it goes on with the next */
/* from_ms: since when what it was promised counts. */
void workers_told(unsigned number, const struct call *call, uint64_t from_ms, uint64_t ttl_ms);
size_t workers_known(const struct told_task **tasks);

/* --- members.c --- */

/* `ttl_ms`: of the membership that it asks for, if any. */
struct call *members_call(unsigned number, uint64_t *ttl_ms);
/* from_ms: when it was sent; follower: to a node that did not lead. */
void members_told(unsigned number, const struct call *call, uint64_t from_ms, bool follower);
void members_entry(const struct apply *apply);
/* crowd.c: many small groups that fall silent together. */
struct call *crowd_call(void);
void crowd_entry(const struct apply *apply);

/* --- judge_group.c --- */

void judge_group_entry(const struct apply *apply, const struct command *command);
size_t judge_group_up(void); /* members that are neither failed nor left */

/* --- view.c --- */

struct slice view_text(const struct record *shape, const void *data, const char *name);
bool view_bool(const struct record *shape, const void *data, const char *name);
uint64_t view_number(const struct record *shape, const void *data, const char *name);
struct list view_list(const struct record *shape, const void *data, const char *name);
const struct record *view_item(const struct record *shape, const char *name); /* of a list, or a record */
const void *view_record(const struct record *shape, const void *data, const char *name);
uint64_t view_id(const struct record *shape, const void *data, const char *name); /* of a task */
void make_args(struct setting *setting, const char *line);
struct call *make_call(const char *operation, const char *line);

void witness_turn(struct sim_node *sim); /* after each of its turns, once it belongs to a cluster */
void witness_died(struct sim_node *sim); /* before its process is forgotten */
void witness_wiped(struct sim_node *sim);
void witness_said(const struct sim_node *from, struct slice body);                /* a frame that leaves */
void witness_applied(const struct sim_node *sim, const struct raft_entry *entry); /* the first of its index */

void judge_open(void);
void judge_node(struct sim_node *sim);    /* after each of its turns */
void judge_applied(struct sim_node *sim); /* before its answers leave: it may die later in the turn */
void judge_told(uint64_t number, const struct call *call, uint64_t acked_before);
void judge_promise(uint64_t lease, uint64_t until_ms);
/* Compared when the judge is in the same state; time_ms: at which it was read. */
void judge_query(const struct call *call, uint64_t time_ms);
void judge_denied(uint64_t number); /* "nothing was changed" */
void judge_end(void);
uint64_t judge_last(void);
size_t judge_leases(void); /* of clients, that are there now */

/* --- judge_queue.c --- */

struct left_task {
    const char *queue;
    uint64_t id, state, due_in_ms; /* due: scheduled for then */
    bool held_up;                  /* it needs a task that did not succeed, and was told to wait */
};
/* What the judge asks of its own replica; in the arena of the judge. */
const struct answer *judge_ask(const char *operation, const char *line);
struct rows *judge_rows(void);
uint64_t judge_time_ms(void); /* of the newest entry */
void judge_queue_entry(struct apply *apply, const struct command *command);
bool judge_queue_left(struct left_task *left); /* some task that is not over; false: there is none */
size_t judge_queue_count(void);                /* of them */
void judge_queue_trace(void);                  /* those that are not over */
void judge_queue_end(void);

#endif
