/* What raftlog.c (append, read, trim) and raftlog_open.c (the scan) share.
 *
 * Invariants
 * 1. places[i] says where the entry base.index + 1 + i lies; configs[0] is the configuration in force at
 * base, the others those of the entries kept, in order.
 * 2. No frame of a segment holds an entry at or before that segment's own base: a write that replaces such an
 * entry begins a new segment. A log can begin with a segment when no later one has a smaller base; it does
 * begin with the first such segment (what lies before that is left over from a trim that was cut off), and
 * raftlog_trim ends at one. A segment that begins anew ends the search: nothing before it counts.
 * 3. Behind `end`, and behind the last frame of an earlier segment, there are only zeroes, or below `soiled`
 * what is left of a write that met a full disk.
 * 4. hard.term is at least the last entry's, hard.commit at most its index. */
#ifndef COORDD_STORAGE_RAFTLOG_INTERNAL_H
#define COORDD_STORAGE_RAFTLOG_INTERNAL_H

#include "storage/segment.h"

/* The entry that the first one kept follows. */
struct raftlog_base {
    uint64_t index, term;
    uint32_t chain;
};

struct segment {
    uint64_t number;
    int file;
    struct raftlog_base base; /* in its header */
};

struct place {
    uint32_t segment; /* its number */
    uint32_t offset;
    uint32_t chain;
    uint32_t size; /* of the payload */
};

struct placed_config {
    uint64_t index;
    struct raft_config config;
};

struct raftlog {
    char dir[512];
    struct raftlog_identity identity;
    char state_dir[RAFTLOG_STATE_DIR_MAX + 1];
    uint64_t segment_bytes;
    uint32_t seed;

    struct raftlog_base base;
    struct segment *segments;
    struct place *places;
    struct placed_config *configs;
    size_t segment_count, place_count, config_count;
    size_t segment_capacity, place_capacity, config_capacity;

    struct raft_hard hard;
    uint64_t last_term;
    uint64_t next_number;  /* of the next frame */
    uint32_t last_crc;     /* of the frame before it */
    uint64_t end;          /* where it goes in the last segment */
    uint64_t soiled;       /* see invariant 3; 0: nothing */
    struct buffer writing; /* the frame being written */

    int spare; /* its descriptor; negative: there is none */
    bool full, looked;
    uint64_t looked_ms;
};

uint64_t raftlog_last(const struct raftlog *log);
uint32_t raftlog_chain_at(const struct raftlog *log, uint64_t index); /* base.index <= index <= last */
const struct raft_config *raftlog_config_at(const struct raftlog *log, uint64_t index);

void raftlog_add_segment(struct raftlog *log, const struct segment_header *header, int file);
/* Notes an entry at that place of the last segment, in place of what was kept from its index on. False when
 * it is a configuration that cannot be read. */
bool raftlog_note(struct raftlog *log, const struct raft_entry *entry, uint64_t offset);
/* Forgets the entries from index on. `term` is that of the entry before. */
void raftlog_forget(struct raftlog *log, uint64_t index, uint64_t term);

/* Tries to have a spare and the ballast, and sets log->full. */
void raftlog_provide(struct raftlog *log);

#endif
