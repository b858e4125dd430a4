/* Names of peers into addresses, in a thread of its own for each look-up: a name server that does not answer
 * holds up nobody. Numeric addresses need no thread. */
#ifndef COORDD_PEER_RESOLVE_H
#define COORDD_PEER_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum { PEER_ADDRESSES_MAX = 8 };

struct peer_addresses {
    struct sockaddr_storage list[PEER_ADDRESSES_MAX];
    socklen_t sizes[PEER_ADDRESSES_MAX];
    size_t count;
    char error[96]; /* count 0: why */
};

struct peer_lookup;

/* "HOST:PORT", "[::1]:PORT". `passive`: to listen on. True when it is known at once: a numeric address, or
 * one that cannot be one. */
bool peer_resolve_now(const char *address, bool passive, struct peer_addresses *found);
/* wake: an eventfd that is written when it is done; negative: none. */
struct peer_lookup *peer_lookup_begin(const char *address, int wake);
bool peer_lookup_done(const struct peer_lookup *lookup);
/* What was found; when it is not done yet the thread gives it back itself later. */
void peer_lookup_end(struct peer_lookup *lookup, struct peer_addresses *found);

#endif
