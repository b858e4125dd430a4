/* The bytes of a Raft message between nodes. Pure: bytes in, message out. Frames, checksums and
 * authentication are the link's (coordd/peers.h). */
#ifndef COORDD_RAFT_MESSAGE_H
#define COORDD_RAFT_MESSAGE_H

#include "base/arena.h"
#include "base/buffer.h"
#include "raft/raft.h"

void raft_message_encode(const struct raft_message *message, struct buffer *out);
/* Strict: false for whatever encode does not make. Payloads point into `from`, the array of entries lies in
 * the arena. */
bool raft_message_decode(struct slice from, struct arena *arena, struct raft_message *message);

#endif
