/* TLS 1.3 between nodes: each shows a certificate that the given authority signed, and whose DNS names hold
 * the node's name (its id is a random number made at its first start, which no certificate can know). */
#ifndef COORDD_PEER_TLS_H
#define COORDD_PEER_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

struct peer_tls {
    SSL_CTX *client, *server;
};

/* False with one line for the operator in error. */
bool peer_tls_open(struct peer_tls *tls, const char *cert, const char *key, const char *ca, char *error,
                   size_t error_size);
void peer_tls_close(struct peer_tls *tls);
/* The certificate that came over this connection has the node's name, whole, among its DNS names: no common
 * name, no wildcard. */
bool peer_tls_names(SSL *connection, const char *name);

/* Why the handshake failed, or the other side broke off: as OpenSSL puts it; "" it does not say. */
void peer_tls_reason(const SSL *connection, char *text, size_t size);

#endif
