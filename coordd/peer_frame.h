/* The bytes of the peer protocol. Pure. Numbers are little-endian.
 *
 * Both sides of a connection begin with a greeting; what follows is in peer_session.h. Whoever does not go on
 * sends a refusal instead, and closes.
 *
 * Greeting   0 "coordpr1"   8 version u32   12 flags u32 (1: shared secret)   16 cluster u64   24 from u64
 *           32 to u64 (0: whoever you are)   40 nonce[16]   56 name[64]   120 address[124]   244 crc u32
 * Refusal    0 "refused!"   8 code u32   12 text[116], zeroes behind it
 * Frame      0 size u32 of the body   4 crc u32: CRC-32C of size and body   8 mac[16] with a shared secret
 *            body
 *
 * Magic and version stay where they are in every version; so does the refusal. */
#ifndef COORDD_PEER_FRAME_H
#define COORDD_PEER_FRAME_H

#include "base/buffer.h"
#include "coordd/peers.h"

enum {
    PEER_VERSION = 1,
    PEER_GREETING_SIZE = 248,
    PEER_REFUSAL_SIZE = 128,
    PEER_NONCE_SIZE = 16,
    PEER_MAC_SIZE = 16,
    PEER_HEAD_SIZE = 8
};

struct peer_greeting {
    uint32_t version;
    bool secret;
    uint64_t cluster, from, to;
    uint8_t nonce[PEER_NONCE_SIZE];
    char name[RAFT_NAME_SIZE], address[RAFT_ADDRESS_SIZE];
};

void peer_greeting_encode(const struct peer_greeting *greeting, struct buffer *out);
/* Whether what has come so far can be the beginning of a greeting, of any version. */
bool peer_greeting_begins(struct slice bytes);
/* 0: the version has not come yet. */
uint32_t peer_greeting_version(struct slice bytes);
/* PEER_GREETING_SIZE bytes of this version; false when they are no greeting, or damaged. */
bool peer_greeting_decode(struct slice bytes, struct peer_greeting *greeting);

enum peer_refusal {
    PEER_REFUSES_VERSION = 1,
    PEER_REFUSES_SELF,
    PEER_REFUSES_CLUSTER,
    PEER_REFUSES_NODE,
    PEER_REFUSES_SECRET,
    PEER_REFUSES_NAME
};

void peer_refusal_encode(enum peer_refusal code, const char *text, struct buffer *out);
/* True when what has come begins like a refusal; *text is set once all of it is there. */
bool peer_is_refusal(struct slice bytes, uint32_t *code, char text[PEER_REFUSAL_SIZE]);

/* The head of a frame without its MAC. */
void peer_head_encode(struct slice body, uint8_t head[PEER_HEAD_SIZE]);
/* False when the size is beyond PEERS_FRAME_MAX: no memory is taken for it. */
bool peer_head_decode(const uint8_t head[PEER_HEAD_SIZE], uint32_t *size, uint32_t *crc);
uint32_t peer_crc(struct slice body);

#endif
