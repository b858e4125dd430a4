#include "coordd/peer_auth.h"

#include "base/check.h"
#include "coordd/log.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <stdio.h>
#include <sys/stat.h>

static void warn_of_readers(const char *path, FILE *file)
{
    struct stat status;
    if (fstat(fileno(file), &status) || !S_ISREG(status.st_mode) || !(status.st_mode & 077)) return;
    char mode[8];
    snprintf(mode, sizeof mode, "%04o", (unsigned)status.st_mode & 07777);
    LOG(WARN, "others than this user may read the cluster secret", {"file", path}, {"mode", mode});
}

bool peer_secret_read(const char *path, struct peer_secret *secret, char *error, size_t error_size)
{
    uint8_t bytes[PEER_SECRET_MAX + 2]; /* a newline, and whether there is more */
    FILE *file = fopen(path, "re");
    secret->size = 0;
    size_t size = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (!file || ferror(file)) {
        snprintf(error, error_size, "cannot read --cluster-secret-file %s: %s", path, strerror(errno));
        if (file) fclose(file);
        return false;
    }
    if (size && bytes[size - 1] == '\n') size--;
    bool good = size >= PEER_SECRET_MIN && size <= PEER_SECRET_MAX;
    if (good) {
        memcpy(secret->bytes, bytes, size);
        secret->size = size;
        warn_of_readers(path, file);
    } else {
        snprintf(error, error_size,
                 "--cluster-secret-file %s must hold %d to %d bytes; make one with: head -c 32 /dev/urandom "
                 "| base64 > FILE",
                 path, PEER_SECRET_MIN, PEER_SECRET_MAX);
    }
    fclose(file);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return good;
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
    uint8_t key[PEER_PROOF_SIZE];
    EVP_MAC *kind = EVP_MAC_fetch(NULL, "HMAC", NULL);
    OSSL_PARAM settings[] = {OSSL_PARAM_construct_utf8_string("digest", (char[]){"SHA256"}, 0),
                             OSSL_PARAM_construct_end()};
    peer_seal_end(seal);
    labelled(secret, "coordd peer frames ", dialler, greetings, key);
    seal->mac = EVP_MAC_CTX_new(kind);
    CHECK(seal->mac && EVP_MAC_init(seal->mac, key, sizeof key, settings));
    EVP_MAC_free(kind);
    OPENSSL_cleanse(key, sizeof key);
}

void peer_seal_end(struct peer_seal *seal)
{
    EVP_MAC_CTX_free(seal->mac);
    *seal = (struct peer_seal){0};
}

void peer_seal_next(struct peer_seal *seal, struct slice body, uint8_t mac[PEER_MAC_SIZE])
{
    uint8_t full[PEER_PROOF_SIZE], head[16];
    uint64_t number = ++seal->counter, size = body.size;
    size_t written = 0;
    memcpy(head, &number, sizeof number);
    memcpy(head + 8, &size, sizeof size);
    CHECK(EVP_MAC_init(seal->mac, NULL, 0, NULL) && EVP_MAC_update(seal->mac, head, sizeof head) &&
          EVP_MAC_update(seal->mac, body.data, body.size) &&
          EVP_MAC_final(seal->mac, full, &written, sizeof full) && written == sizeof full);
    memcpy(mac, full, PEER_MAC_SIZE);
}

bool peer_equal(const uint8_t *a, const uint8_t *b, size_t size)
{
    return CRYPTO_memcmp(a, b, size) == 0;
}
