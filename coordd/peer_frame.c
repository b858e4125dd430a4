#include "coordd/peer_frame.h"

#include "base/check.h"
#include "base/crc32c.h"

#include <stdio.h>

static const char magic[8] = {'c', 'o', 'o', 'r', 'd', 'p', 'r', '1'};
static const char refused[8] = {'r', 'e', 'f', 'u', 's', 'e', 'd', '!'};

enum { CRC_AT = PEER_GREETING_SIZE - 4 };

void peer_greeting_encode(const struct peer_greeting *greeting, struct buffer *out)
{
    size_t begin = out->size;
    buffer_add(out, magic, sizeof magic);
    buffer_add_u32le(out, greeting->version);
    buffer_add_u32le(out, greeting->secret);
    buffer_add_u64le(out, greeting->cluster);
    buffer_add_u64le(out, greeting->from);
    buffer_add_u64le(out, greeting->to);
    buffer_add(out, greeting->nonce, sizeof greeting->nonce);
    buffer_add(out, greeting->name, sizeof greeting->name);
    buffer_add(out, greeting->address, sizeof greeting->address);
    buffer_add_u32le(out, crc32c(0, out->data + begin, CRC_AT));
    CHECK(out->size - begin == PEER_GREETING_SIZE);
}

static bool take_text(struct slice *from, char *text, size_t size)
{
    struct slice bytes;
    if (!take_bytes(from, size, &bytes)) return false;
    memcpy(text, bytes.data, size);
    return memchr(text, 0, size) != NULL;
}

bool peer_greeting_decode(struct slice bytes, struct peer_greeting *greeting)
{
    uint32_t crc, flags;
    struct slice rest = bytes, nonce;
    *greeting = (struct peer_greeting){0};
    if (bytes.size != PEER_GREETING_SIZE || memcmp(bytes.data, magic, sizeof magic) != 0) return false;
    rest = slice_skip(rest, sizeof magic);
    if (!take_u32le(&rest, &greeting->version)) return false;
    if (greeting->version != PEER_VERSION) return true;
    if (!take_u32le(&rest, &flags) || flags > 1 || !take_u64le(&rest, &greeting->cluster) ||
        !take_u64le(&rest, &greeting->from) || !take_u64le(&rest, &greeting->to) ||
        !take_bytes(&rest, PEER_NONCE_SIZE, &nonce) ||
        !take_text(&rest, greeting->name, sizeof greeting->name) ||
        !take_text(&rest, greeting->address, sizeof greeting->address) || !take_u32le(&rest, &crc))
        return false;
    greeting->secret = flags == 1;
    memcpy(greeting->nonce, nonce.data, PEER_NONCE_SIZE);
    return greeting->from && crc == crc32c(0, bytes.data, CRC_AT);
}

void peer_refusal_encode(const char *text, struct buffer *out)
{
    char padded[PEER_REFUSAL_SIZE] = "";
    memcpy(padded, refused, sizeof refused);
    snprintf(padded + sizeof refused, sizeof padded - sizeof refused, "%s", text);
    buffer_add(out, padded, sizeof padded);
}

bool peer_is_refusal(struct slice bytes, char text[PEER_REFUSAL_SIZE])
{
    text[0] = 0;
    if (bytes.size < sizeof refused || memcmp(bytes.data, refused, sizeof refused) != 0) return false;
    if (bytes.size < PEER_REFUSAL_SIZE) return true;
    size_t size = PEER_REFUSAL_SIZE - sizeof refused;
    for (size_t i = 0; i < size; i++) { /* it goes into a log line */
        char c = (char)bytes.data[sizeof refused + i];
        text[i] = c == 0 || (c >= ' ' && c <= '~') ? c : '?';
    }
    text[size - 1] = 0;
    return true;
}

uint32_t peer_crc(struct slice body)
{
    uint32_t size = (uint32_t)body.size;
    return crc32c(crc32c(0, &size, sizeof size), body.data, body.size);
}

void peer_head_encode(struct slice body, uint8_t head[PEER_HEAD_SIZE])
{
    uint32_t size = (uint32_t)body.size, crc = peer_crc(body);
    memcpy(head, &size, sizeof size);
    memcpy(head + 4, &crc, sizeof crc);
}

bool peer_head_decode(const uint8_t head[PEER_HEAD_SIZE], uint32_t *size, uint32_t *crc)
{
    memcpy(size, head, sizeof *size);
    memcpy(crc, head + 4, sizeof *crc);
    return *size <= PEERS_FRAME_MAX;
}
