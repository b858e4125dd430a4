#include "coordd/peer_auth.h"

#include "base/check.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <stdio.h>

bool peer_secret_read(const char *path, struct peer_secret *secret, char *error, size_t error_size)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        snprintf(error, error_size, "cannot read --cluster-secret-file %s: %s", path, strerror(errno));
        return false;
    }
    secret->size = fread(secret->bytes, 1, sizeof secret->bytes, file);
    bool more = fgetc(file) != EOF, failed = ferror(file);
    fclose(file);
    if (secret->size && secret->bytes[secret->size - 1] == '\n') secret->size--;
    if (!failed && !more && secret->size >= PEER_SECRET_MIN) return true;
    snprintf(
        error, error_size,
        "--cluster-secret-file %s must hold %d to %d bytes; make one with: head -c 32 /dev/urandom | base64",
        path, PEER_SECRET_MIN, PEER_SECRET_MAX);
    secret->size = 0;
    return false;
}

static void hmac(struct slice key, struct slice message, uint8_t out[PEER_PROOF_SIZE])
{
    unsigned size = 0;
    CHECK(HMAC(EVP_sha256(), key.data, (int)key.size, message.data, message.size, out, &size) &&
          size == PEER_PROOF_SIZE);
}

static void labelled(const struct peer_secret *secret, const char *label, bool dialler,
                     struct slice greetings, uint8_t out[PEER_PROOF_SIZE])
{
    struct buffer message = {0};
    buffer_add_text(&message, label);
    buffer_add_byte(&message, dialler ? 'D' : 'A');
    buffer_add_slice(&message, greetings);
    hmac(slice_of(secret->bytes, secret->size), buffer_slice(&message), out);
    buffer_free(&message);
}

void peer_prove(const struct peer_secret *secret, bool dialler, struct slice greetings,
                uint8_t proof[PEER_PROOF_SIZE])
{
    labelled(secret, "coordd peer proof ", dialler, greetings, proof);
}

void peer_seal_begin(struct peer_seal *seal, const struct peer_secret *secret, bool dialler,
                     struct slice greetings)
{
    labelled(secret, "coordd peer frames ", dialler, greetings, seal->key);
    seal->counter = 0;
}

void peer_seal_next(struct peer_seal *seal, struct slice body, uint8_t mac[PEER_MAC_SIZE])
{
    uint8_t full[PEER_PROOF_SIZE], head[16];
    uint64_t number = ++seal->counter, size = body.size;
    memcpy(head, &number, sizeof number);
    memcpy(head + 8, &size, sizeof size);
    static EVP_MAC *kind; /* fetched once: the node thread's alone */
    if (!kind) kind = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(kind);
    OSSL_PARAM settings[] = {OSSL_PARAM_construct_utf8_string("digest", (char[]){"SHA256"}, 0),
                             OSSL_PARAM_construct_end()};
    size_t written = 0;
    CHECK(context && EVP_MAC_init(context, seal->key, sizeof seal->key, settings) &&
          EVP_MAC_update(context, head, sizeof head) && EVP_MAC_update(context, body.data, body.size) &&
          EVP_MAC_final(context, full, &written, sizeof full));
    EVP_MAC_CTX_free(context);
    memcpy(mac, full, PEER_MAC_SIZE);
}

bool peer_equal(const uint8_t *a, const uint8_t *b, size_t size)
{
    return CRYPTO_memcmp(a, b, size) == 0;
}
