/* The node: one thread that turns what came in into what is saved, sent, applied and answered (design.md 3).
 *
 * The same code runs in the simulator: it sees the world only through the mailbox, clock.h, storage/ and
 * (with more nodes) the peer links. */
#ifndef COORDD_NODE_H
#define COORDD_NODE_H

#include "api/mailbox.h"

struct node_settings {
    const char *data_dir;
    const char *name; /* NULL: what the data directory says, "n1" when it is new */
    uint64_t heartbeat_ms, election_ms;
    struct mailbox *mailbox;
};

struct node;

/* Opens the data directory and restores what is in it. NULL with one line for the operator in error. */
struct node *node_open(const struct node_settings *settings, char *error, size_t error_size);
const char *node_name(const struct node *node);
uint64_t node_cluster(const struct node *node);

/* One turn: waits for something to do, does it all. False once it has stopped (NOTICE_STOP): everybody is
 * answered and the state is saved. */
bool node_turn(struct node *node);
void node_close(struct node *node);

#endif
