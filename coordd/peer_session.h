/* The conversation with another node without the socket under it: bytes that came go in, in any pieces; bytes
 * to be sent gather in `out`. No clock and no randomness either: two sessions can be driven against each
 * other byte by byte.
 *
 *   who dialled                 who accepted
 *   greeting ------>            <------ greeting     both at once
 *   proof    ------>                                 with a shared secret: who only knocks gets no proof,
 *                               <------ proof        nothing to try secrets on
 *   ready    ------>            <------ ready        an empty frame: "you are accepted"
 *   frames   ------>            <------ frames       an empty one says only that the sender is there
 *
 * Invariants: 1. nothing that comes is believed before all of it has passed; until then a session takes no
 * memory but its own. 2. A session is up only once the other side has said that it accepts this one: with
 * TLS 1.3 a client's handshake is done before its certificate is judged. 3. After the end nothing is taken or
 * sent, but a refusal in `out`. */
#ifndef COORDD_PEER_SESSION_H
#define COORDD_PEER_SESSION_H

#include "coordd/peer_auth.h"
#include "coordd/peer_tls.h"

enum peer_stage {
    PEER_GREETING, /* waits for the greeting */
    PEER_PROVING,  /* for the proof */
    PEER_AGREEING, /* for "ready" */
    PEER_UP,
    PEER_OVER
};

/* Who this node is and what it asks of others; outlives its sessions. */
struct peer_world {
    const struct peers_identity *identity;
    const char *advertise;
    const struct peer_secret *secret;
    const struct peers_member *members; /* with certificates: whose names are known */
    size_t member_count;
};

struct peer_session {
    const struct peer_world *world;
    bool dials;        /* this side made the connection */
    uint64_t expected; /* node that is to answer, 0: any */
    SSL *tls;          /* what it runs over, NULL: nothing */
    enum peer_stage stage;
    bool was_up;
    struct peer_greeting theirs;
    uint8_t greetings[2 * PEER_GREETING_SIZE]; /* dialler's, accepter's */
    struct peer_seal sealing, opening;
    struct buffer out;
    uint32_t code; /* of the refusal that ended it, from either side; 0: none */
    char why[128]; /* it is over */
};

/* Zeroes but for world, dials, expected and tls; the greeting goes out with this nonce. */
void peer_session_begin(struct peer_session *session, const uint8_t nonce[PEER_NONCE_SIZE]);
void peer_session_free(struct peer_session *session); /* what it holds, not itself */

/* Takes one piece off the front of the bytes. Returns how many it took; 0: it wants more first, or is over.
 * A frame's body is set when one was complete. */
size_t peer_session_take(struct peer_session *session, struct slice bytes, struct slice *body);

void peer_session_send(struct peer_session *session, struct slice body); /* when up */
void peer_session_end(struct peer_session *session, const char *why);    /* the first reason counts */

#endif
