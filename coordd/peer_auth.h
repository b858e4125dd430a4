/* Authentication of a peer connection by a secret that all nodes share: HMAC-SHA-256 (RFC 2104) over both
 * greetings, which hold a nonce of each side, proves that the other knows it; keys derived from it, one a
 * direction and connection, and a counter then seal every frame: what is replayed, reordered or spliced from
 * another connection does not pass. */
#ifndef COORDD_PEER_AUTH_H
#define COORDD_PEER_AUTH_H

#include "coordd/peer_frame.h"

enum { PEER_SECRET_MIN = 16, PEER_SECRET_MAX = 4096, PEER_PROOF_SIZE = 32 };

struct peer_secret {
    size_t size; /* 0: none */
    uint8_t bytes[PEER_SECRET_MAX];
};

/* Reads it from a file; one newline at its end does not count. False with one line in error. A file that
 * others may read is worth a line in the log, no more: that is how containers are given theirs. */
bool peer_secret_read(const char *path, struct peer_secret *secret, char *error, size_t error_size);

/* One direction of a connection. */
struct peer_seal {
    struct evp_mac_ctx_st *mac; /* keyed; NULL: not begun */
    uint64_t counter;
};

/* Of who dialled (or who accepted), for the greetings in the order dialler's, accepter's. */
void peer_prove(const struct peer_secret *secret, bool dialler, struct slice greetings,
                uint8_t proof[PEER_PROOF_SIZE]);
void peer_seal_begin(struct peer_seal *seal, const struct peer_secret *secret, bool dialler,
                     struct slice greetings);
void peer_seal_end(struct peer_seal *seal);
/* The MAC of the next frame in that direction. */
void peer_seal_next(struct peer_seal *seal, struct slice body, uint8_t mac[PEER_MAC_SIZE]);
bool peer_equal(const uint8_t *a, const uint8_t *b, size_t size); /* in constant time */

#endif
