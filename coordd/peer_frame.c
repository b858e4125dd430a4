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

bool peer_greeting_begins(struct slice bytes)
{
    return memcmp(bytes.data, magic, bytes.size < sizeof magic ? bytes.size : sizeof magic) == 0;
}

uint32_t peer_greeting_version(struct slice bytes)
{
    uint32_t version = 0;
    struct slice rest;
    if (!take_bytes(&bytes, sizeof magic, &rest) || !take_u32le(&bytes, &version)) return 0;
    return version ? version : UINT32_MAX; /* there never was a version 0 */
}

bool peer_greeting_decode(struct slice bytes, struct peer_greeting *greeting)
{
    uint32_t crc, flags;
    struct slice rest = bytes, nonce;
    *greeting = (struct peer_greeting){0};
    if (bytes.size != PEER_GREETING_SIZE || !peer_greeting_begins(bytes)) return false;
    rest = slice_skip(rest, sizeof magic);
    if (!take_u32le(&rest, &greeting->version) || greeting->version != PEER_VERSION ||
        !take_u32le(&rest, &flags) || flags > 1 || !take_u64le(&rest, &greeting->cluster) ||
        !take_u64le(&rest, &greeting->from) || !take_u64le(&rest, &greeting->to) ||
        !take_bytes(&rest, PEER_NONCE_SIZE, &nonce) ||
        !take_text(&rest, greeting->name, sizeof greeting->name) ||
        !take_text(&rest, greeting->address, sizeof greeting->address) || !take_u32le(&rest, &crc))
        return false;
    greeting->secret = flags == 1;
    memcpy(greeting->nonce, nonce.data, PEER_NONCE_SIZE);
    return greeting->from && crc == crc32c(0, bytes.data, CRC_AT);
}

void peer_refusal_encode(enum peer_refusal code, const char *text, struct buffer *out)
{
    char padded[PEER_REFUSAL_SIZE - sizeof refused - 4] = "";
    snprintf(padded, sizeof padded, "%s", text);
    buffer_add(out, refused, sizeof refused);
    buffer_add_u32le(out, code);
    buffer_add(out, padded, sizeof padded);
}

bool peer_is_refusal(struct slice bytes, uint32_t *code, char text[PEER_REFUSAL_SIZE])
{
    struct slice rest = bytes, begin;
    text[0] = 0;
    *code = 0;
    if (!take_bytes(&rest, sizeof refused, &begin) || memcmp(begin.data, refused, sizeof refused) != 0)
        return false;
    if (bytes.size < PEER_REFUSAL_SIZE || !take_u32le(&rest, code)) return true;
    size_t size = PEER_REFUSAL_SIZE - sizeof refused - 4;
    for (size_t i = 0; i < size; i++) { /* it goes into a log line */
        char c = (char)rest.data[i];
        text[i] = c == 0 || (c >= ' ' && c <= '~') ? c : '?';
    }
    text[size - 1] = 0;
    if (!text[0]) memcpy(text, "?", 2);
    return true;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "heads and counters are copied as they lie");

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
