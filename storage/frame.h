/* The bytes of the Raft log: a segment's header and its frames. Pure: bytes in, numbers out.
 *
 * A segment is SEGMENT_HEADER_SIZE bytes of header, then frames side by side, then zeroes. Numbers are
 * little-endian.
 *
 * Header
 *   0 "coordlog"   8 format u32   12 crc u32 (CRC-32C of the block without these four bytes)
 *  16 number u64: of the segment, from 1   24 segment_bytes u64
 *  32 cluster u64   40 node u64   48 name[64]   112 state_dir[32]
 * 144 frame_number u64: of the first frame here   152 frame_crc u32: of the frame before it, 0 at the start
 * 156 base_chain u32   160 base_index u64   168 base_term u64: the entry that the first one here follows
 * 176 hard: term, vote, commit u64
 * 200 anew u32: 1 when the log begins anew here, whatever earlier segments hold
 * 204 config in force at base: size u32, then its bytes (raft_config_encode; size 0: no members), zeroes
 * Frame (head)
 *   0 size u32: of all of it, a multiple of 8   4 crc u32: CRC-32C of the rest, begun with frame_seed
 *   8 number u64: one more than the frame before   16 before u32: crc of the frame before
 *  20 entry_count u32   24 hard: term, vote, commit u64   48 entries side by side
 * Entry
 *   0 index u64   8 term u64   16 chain u32   20 kind u32   24 size u32   28 zero u32
 *  32 payload, zeroes up to a multiple of 8 */
#ifndef COORDD_STORAGE_FRAME_H
#define COORDD_STORAGE_FRAME_H

#include "base/buffer.h"
#include "storage/raftlog.h"

enum { LOG_FORMAT = 2, SEGMENT_HEADER_SIZE = 4096, FRAME_HEAD_SIZE = 48, ENTRY_HEAD_SIZE = 32 };

struct segment_header {
    uint64_t number, segment_bytes;
    struct raftlog_identity identity;
    char state_dir[RAFTLOG_STATE_DIR_MAX + 1];
    uint64_t frame_number;
    uint32_t frame_crc, base_chain;
    uint64_t base_index, base_term;
    struct raft_hard hard;
    bool anew;
    struct raft_config config;
};

void segment_header_encode(const struct segment_header *header,
                           struct buffer *out); /* SEGMENT_HEADER_SIZE bytes */

enum header_fault {
    HEADER_GOOD,
    HEADER_FOREIGN /* not a log */,
    HEADER_FORMAT /* of another version */,
    HEADER_DAMAGED
};
/* `block` is SEGMENT_HEADER_SIZE bytes. */
enum header_fault segment_header_decode(struct slice block, struct segment_header *header);

/* What a frame's CRC begins with: frames of another log do not pass. */
uint32_t frame_seed(const struct raftlog_identity *identity);

struct frame {
    uint32_t size, crc, before, entry_count;
    uint64_t number;
    struct raft_hard hard;
    struct slice entries; /* encoded, within the bytes decoded */
};

/* Bytes that an entry takes in a frame. */
uint64_t frame_entry_size(size_t payload_size);
/* Adds the frame to `out` and returns its crc. frame->size, crc and entries are not looked at. */
uint32_t frame_encode(const struct frame *frame, const struct raft_entry *entries, uint32_t seed,
                      struct buffer *out);
/* The frame that begins `bytes`; false when there is no good one. */
bool frame_decode(struct slice bytes, uint32_t seed, struct frame *frame);
/* Takes the next entry off `entries`, its payload within the bytes decoded; false when it is not well-formed
 * or there is none. */
bool frame_take_entry(struct slice *entries, struct raft_entry *entry);

#endif
