/* One connection to another node: greeting, proof, frames. It is made, used and ended on the node thread. */
#ifndef COORDD_PEER_LINK_H
#define COORDD_PEER_LINK_H

#include "coordd/peer_auth.h"
#include "coordd/peer_tls.h"

#include <h2o.h>

_Static_assert(H2O_USE_LIBUV == 0, "the headers' other layout");

struct peers;

enum peer_stage {
    PEER_CONNECTING,
    PEER_SECURING, /* TLS handshake */
    PEER_GREETING,
    PEER_PROVING,
    PEER_UP,
    PEER_OVER /* to be closed: not inside a callback of the socket */
};

struct peer_link {
    struct peers *peers;
    h2o_socket_t *socket;
    enum peer_stage stage;
    bool dials;        /* this side made the connection */
    uint64_t expected; /* node that is to answer, 0: any */
    size_t target;     /* of one that dials: which target */
    uint64_t began_ms, heard_ms, said_ms;
    struct peer_greeting theirs;
    uint8_t greetings[2 * PEER_GREETING_SIZE]; /* dialler's, accepter's */
    struct peer_seal sealing, opening;
    struct buffer out, writing; /* waiting; with the kernel until the callback */
    bool is_writing, was_up;
    char why[128]; /* it is over */
};

/* What a link needs of its surroundings (peers.c). */
struct peer_world {
    const struct peers_identity *identity;
    const char *advertise;
    const struct peer_secret *secret;
    const struct peer_tls *tls; /* NULL: none */
};
const struct peer_world *peers_world(const struct peers *peers);
void peers_link_up(struct peers *peers, struct peer_link *link);
void peers_link_frame(struct peers *peers, struct peer_link *link, struct slice body);

struct peer_link *peer_link_new(struct peers *peers, h2o_socket_t *socket, bool dials, uint64_t expected);
void peer_link_connected(
    struct peer_link *link); /* an accepted one at once, one that dials in its callback */
void peer_link_on_connect(h2o_socket_t *socket, const char *error);
void peer_link_send(struct peer_link *link, struct slice body); /* an empty body keeps the link alive */
void peer_link_flush(struct peer_link *link);
void peer_link_end(struct peer_link *link, const char *why); /* the first reason counts */
void peer_link_free(struct peer_link *link);

#endif
