#include "coordd/peer_tls.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

/* A key under a passphrase must not make a server ask the terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *data)
{
    (void)buffer, (void)size, (void)writing, (void)data;
    return -1;
}

static SSL_CTX *make(const SSL_METHOD *method, const char *cert, const char *key, const char *ca)
{
    SSL_CTX *context = SSL_CTX_new(method);
    if (!context) return NULL;
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (SSL_CTX_use_certificate_chain_file(context, cert) == 1 &&
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1 &&
        SSL_CTX_check_private_key(context) == 1 && SSL_CTX_load_verify_locations(context, ca, NULL) == 1)
        return context;
    SSL_CTX_free(context);
    return NULL;
}

bool peer_tls_open(struct peer_tls *tls, const char *cert, const char *key, const char *ca, char *error,
                   size_t error_size)
{
    *tls = (struct peer_tls){0};
    if (!cert || !key || !ca) {
        snprintf(error, error_size, "--peer-cert, --peer-key and --peer-ca belong together: give all three");
        return false;
    }
    tls->client = make(TLS_client_method(), cert, key, ca);
    tls->server = tls->client ? make(TLS_server_method(), cert, key, ca) : NULL;
    if (tls->server) return true;
    char reason[160] = "";
    ERR_error_string_n(ERR_get_error(), reason, sizeof reason);
    ERR_clear_error();
    peer_tls_close(tls);
    snprintf(error, error_size, "--peer-cert %s, --peer-key %s or --peer-ca %s cannot be used: %s", cert, key,
             ca, reason);
    return false;
}

void peer_tls_close(struct peer_tls *tls)
{
    SSL_CTX_free(tls->client);
    SSL_CTX_free(tls->server);
    *tls = (struct peer_tls){0};
}

bool peer_tls_names(SSL *connection, const char *name)
{
    X509 *certificate = SSL_get1_peer_certificate(connection);
    bool named =
        certificate && SSL_get_verify_result(connection) == X509_V_OK && name[0] && name[0] != '.' &&
        X509_check_host(certificate, name, 0,
                        X509_CHECK_FLAG_NO_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
    X509_free(certificate);
    return named;
}

void peer_tls_reason(const SSL *connection, char *text, size_t size)
{
    long verdict = connection ? SSL_get_verify_result(connection) : X509_V_OK;
    unsigned long error = ERR_peek_last_error();
    const char *reason = error ? ERR_reason_error_string(error) : NULL;
    if (verdict != X509_V_OK)
        snprintf(text, size, "its certificate: %s", X509_verify_cert_error_string(verdict));
    else
        snprintf(text, size, "%s", reason ? reason : "");
    ERR_clear_error();
}
