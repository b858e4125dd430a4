/* One connection to another node: a session (peer_session.h) on an h2o socket, by itself or inside TLS. It is
 * made, used and ended on the node thread, and closed by its owner, never inside a callback of its socket. */
#ifndef COORDD_PEER_LINK_H
#define COORDD_PEER_LINK_H

#include "coordd/peer_session.h"

#include <sys/socket.h>

struct st_h2o_evloop_t;
struct st_h2o_socket_t;
struct peers;

enum peer_wire { WIRE_CONNECTING, WIRE_SECURING, WIRE_OPEN }; /* securing: the TLS handshake */

struct peer_link {
    struct peers *peers;
    struct st_h2o_socket_t *socket;
    const struct peer_tls *tls; /* NULL: none */
    enum peer_wire wire;
    struct peer_session session;
    size_t target;         /* of one that dials: which target */
    uint64_t began_ms;     /* of the connection */
    uint64_t heard_ms;     /* when bytes last came */
    uint64_t said_ms;      /* when bytes last went */
    bool overdue;          /* it is over unless the next pass of the loop brings something */
    bool lingered;         /* its refusal had one more pass of the loop to leave */
    bool left;             /* the other side closed it, nobody refused anything */
    bool is_writing;       /* `writing` has not wholly gone */
    bool is_broken;        /* nothing can be written any more */
    bool is_touched;       /* with TLS: h2o may want a pass before it is written to, see peers.c */
    struct buffer writing; /* what session.out was */
    size_t written;        /* of it, without TLS */
    char from[64];         /* its numeric address */
};

/* For an accepted connection; the session begins. */
struct peer_link *peer_link_accepted(struct peers *peers, struct st_h2o_socket_t *socket,
                                     const struct peer_world *world, const struct peer_tls *tls);
/* NULL with errno: it could not even be tried. `expected`: the node that is to answer, 0: any. */
struct peer_link *peer_link_dial(struct peers *peers, struct st_h2o_evloop_t *loop,
                                 const struct sockaddr_storage *address, socklen_t size,
                                 const struct peer_world *world, const struct peer_tls *tls,
                                 uint64_t expected);
/* What has come up or in goes to its owner (peers.c). */
void peers_link_up(struct peers *peers, struct peer_link *link);
void peers_link_frame(struct peers *peers, struct peer_link *link, struct slice body);

bool peer_link_up(const struct peer_link *link);
bool peer_link_over(const struct peer_link *link);
/* Hands what waits to the kernel unless a write is under way. With TLS, outside a pass of the loop, only when
 * it is not touched. */
void peer_link_flush(struct peer_link *link);
void peer_link_end(struct peer_link *link, const char *why);
void peer_link_free(struct peer_link *link);

/* After how much silence a link is given up. */
static inline uint64_t peer_link_patience_ms(uint64_t heartbeat_ms)
{
    return 5 * heartbeat_ms + 500;
}
/* This thread did not look for that long until now: nobody's time passed. */
void peer_link_held_up(struct peer_link *link, uint64_t time_ms, uint64_t now_ms);
/* What time brings: pings (to be flushed), and the ends of those that are too slow or silent. When to ask
 * again. */
uint64_t peer_link_tend(struct peer_link *link, uint64_t now_ms, uint64_t heartbeat_ms);

#endif
