/* The bytes of the peer protocol. Pure. Numbers are little-endian.
 *
 * Both sides of a connection begin with a greeting. With a shared secret each then sends a proof
 * (peer_auth.h). After that come frames. Whoever does not go on sends a refusal instead, and closes.
 *
 * Greeting   0 "coordpr1"   8 version u32   12 flags u32 (1: shared secret)   16 cluster u64   24 from u64
 *           32 to u64 (0: whoever you are)   40 nonce[16]   56 name[64]   120 address[124]   244 crc u32
 * Refusal    0 "refused!"   8 text[120], zeroes behind it
 * Frame      0 size u32 of the body   4 crc u32: CRC-32C of size and body   8 mac[16] with a shared secret
 * body */
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
/* PEER_GREETING_SIZE bytes; false when they are no greeting, or damaged. Of another version only that is set.
 */
bool peer_greeting_decode(struct slice bytes, struct peer_greeting *greeting);

void peer_refusal_encode(const char *text, struct buffer *out);
/* True when what has come begins like a refusal; *text is set once all of it is there. */
bool peer_is_refusal(struct slice bytes, char text[PEER_REFUSAL_SIZE]);

/* The head of a frame without its MAC. */
void peer_head_encode(struct slice body, uint8_t head[PEER_HEAD_SIZE]);
/* False when the size is beyond PEERS_FRAME_MAX: no memory is taken for it. */
bool peer_head_decode(const uint8_t head[PEER_HEAD_SIZE], uint32_t *size, uint32_t *crc);
uint32_t peer_crc(struct slice body);

#endif
