/* The links to the other nodes: framed, authenticated connections on the peer port, driven by the node thread
 * (no thread of its own but one that resolves names). The simulator links its own definitions.
 *
 * Every node dials every member it follows; frames flow both ways over any connection, so that a node that
 * is not a member here can be answered. A frame is delivered whole, unchanged and from whom it says, or not
 * at all; it may be lost, and frames that went over different connections may overtake each other.
 *
 * Ownership: peers_send copies. What peers_take gives lives until the next peers_take. */
#ifndef COORDD_PEERS_H
#define COORDD_PEERS_H

#include "base/slice.h"
#include "raft/raft.h"

enum {
    PEERS_FRAME_MAX = 5 * 1024 * 1024, /* body of a frame; longer ones are refused before memory is taken */
    PEERS_QUEUE_MAX = 16 * 1024 * 1024 /* bytes that wait for one slow peer; beyond, frames are dropped */
};

struct peers;

struct peers_identity {
    uint64_t cluster; /* 0: not known yet: a node that waits to be founded or added */
    uint64_t node;
    const char *name;
};

struct peers_settings {
    struct peers_identity identity;
    const char *listen;      /* HOST:PORT; NULL: no peer port (a cluster of one) */
    const char *advertise;   /* HOST:PORT by which the others reach this node; NULL: listen */
    const char *secret_file; /* authentication by shared secret; or by certificates: */
    const char *cert_file, *key_file, *ca_file;
    int wake; /* a descriptor whose readability ends peers_wait; negative: none */
    uint64_t heartbeat_ms;
};

/* NULL with one line for the operator in error: an address that cannot be had, a secret or certificate that
 * cannot be read, a listen address beyond loopback without either kind of authentication. */
struct peers *peers_open(const struct peers_settings *settings, char *error, size_t error_size);
void peers_close(struct peers *peers);
unsigned peers_port(const struct peers *peers);       /* of the peer port; 0: none */
const char *peers_address(const struct peers *peers); /* what this node advertises, HOST:PORT */

/* From now on this is who we are (a node without a cluster found one): every connection is made anew. */
void peers_identify(struct peers *peers, uint64_t cluster);

/* Whom to keep a link to; ends the links to all others. `node` 0: whoever answers at that address. */
struct peers_target {
    uint64_t node;
    const char *address;
};
void peers_follow(struct peers *peers, const struct peers_target *targets, size_t count);

/* With certificates: which node has which name. Whoever says that it is one of these nodes and shows the
 * certificate of another name is refused, from now on. Copies. */
struct peers_member {
    uint64_t node;
    char name[RAFT_NAME_SIZE];
};
void peers_know(struct peers *peers, const struct peers_member *members, size_t count);

/* Waits until until_ms (CLOCK_BOOTTIME), a frame or greeting has come, or `wake` is readable; never longer.
 */
void peers_wait(struct peers *peers, uint64_t until_ms);

/* What came since the last call, in the order of arrival per connection. A greeting (body empty) comes once
 * for each connection that was made, before its frames. */
struct peer_frame {
    const struct peer_frame *next;
    uint64_t from;    /* authenticated as a node of this cluster (with a secret: as one that says so) */
    uint64_t cluster; /* of the sender; 0: it has none yet */
    bool greeting;
    const char *name, *address; /* greeting: the sender's name and advertised address */
    struct slice body;
};
const struct peer_frame *peers_take(struct peers *peers);

/* Hands a frame to a link to that node. False: there is none, or its queue is full; then it is lost. */
bool peers_send(struct peers *peers, uint64_t to, struct slice body);
/* Everything that was handed over is given to the kernel as far as it takes it. */
void peers_flush(struct peers *peers);

/* How the link to a followed node stands, for people. */
struct peer_link_state {
    bool up;
    uint64_t since_ms; /* CLOCK_BOOTTIME of the last change; 0: never connected */
    char error[128];   /* why it is down: "connection refused" */
};
struct peer_link_state peers_state(const struct peers *peers, uint64_t node);

#endif
