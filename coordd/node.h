/* The node: one thread that turns what came in into what is saved, sent, applied and answered (design.md 3).
 *
 * The same code runs in the simulator: it sees the world only through the mailbox, clock.h, storage/ and
 * peers.h. */
#ifndef COORDD_NODE_H
#define COORDD_NODE_H

#include "api/mailbox.h"

struct node_settings {
    const char *data_dir;
    const char *name; /* NULL: what the data directory says, "n1" when it is new */
    uint64_t heartbeat_ms, election_ms;
    uint64_t log_keep_bytes; /* of the log, behind what the state has, for members that were away */
    struct mailbox *mailbox;
    struct lock_metrics *lock_metrics;         /* NULL: not wanted */
    struct queue_metrics *queue_metrics;       /* NULL: not wanted */
    struct group_metrics *group_metrics;       /* NULL: not wanted */
    struct schedule_metrics *schedule_metrics; /* NULL: not wanted */
    /* NULL where not given: */
    const char *peer_listen, *advertise_peer; /* HOST:PORT */
    const char *initial_cluster;              /* "n1=HOST:PORT,n2=HOST:PORT"; only a new node looks at it */
    const char *join;                         /* HOST:PORT of a member; only a new node looks at it */
    const char *cluster_secret_file, *peer_cert, *peer_key, *peer_ca;
};

struct node;

/* Opens the data directory and the peer port, and restores what is there. NULL with one line for the operator
 * in error. */
struct node *node_open(const struct node_settings *settings, char *error, size_t error_size);
const char *node_name(const struct node *node);
/* It is the only voter: ready as soon as it has turned a few times. */
bool node_is_alone(const struct node *node);

/* One turn: waits for something to do, does it all. False once it has stopped (NOTICE_STOP): everybody is
 * answered and the state is saved. */
bool node_turn(struct node *node);
void node_close(struct node *node);

#endif
