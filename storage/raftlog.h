/* The Raft log on disk: an append-only file in preallocated segments, DIR/0000000001.log and so on.
 *
 * One turn is one write and one fdatasync, however much it carries: its entries and the hard state lie in one
 * frame with one CRC-32C, so a torn write is the loss of the whole last frame, never of a part of it. A frame
 * is only ever begun after the one before it was flushed; therefore a bad frame with a good later one is
 * corruption, and opening is refused; a bad frame with nothing good after it is a torn tail, and is cut.
 *
 * raftlog_append returns an error only for a full disk; every other failure of the device ends the process,
 * since what is on the disk is then unknown (Rebello et al., "Can Applications Recover from fsync Failures?",
 * ATC 2020).
 *
 * frame.h has the byte layout. One thread at a time may use a log. */
#ifndef COORDD_STORAGE_RAFTLOG_H
#define COORDD_STORAGE_RAFTLOG_H

#include "base/arena.h"
#include "raft/raft.h"

struct raftlog;

enum {
    RAFTLOG_SEGMENT_BYTES = 8 * 1024 * 1024,
    RAFTLOG_SEGMENT_BYTES_MIN = 16 * 1024, /* for tests: an entry must fit into a segment */
    RAFTLOG_SEGMENT_BYTES_MAX = 1024 * 1024 * 1024,
    RAFTLOG_STATE_DIR_MAX = 31
};

/* Whose log it is, in every segment's header. */
struct raftlog_identity {
    uint64_t cluster, node; /* random, non-zero */
    char name[64];          /* the node's name, for people */
};

struct raftlog_creation {
    struct raftlog_identity identity;
    struct raft_config config;                 /* the first members; none: the node waits to be added */
    char state_dir[RAFTLOG_STATE_DIR_MAX + 1]; /* name of the state's directory: "state-1" */
    uint64_t segment_bytes;                    /* a multiple of 4096 */
};

/* What opening found: enough to start Raft with. Of the entries only configurations have their payload
 * (raftlog_read gets the others). */
struct raftlog_found {
    struct raftlog_identity identity;
    struct raft_hard hard;
    struct raft_config config; /* in force at base */
    uint64_t base_index, base_term;
    uint32_t base_chain;
    struct raft_entry *entries; /* allocated in the arena given to raftlog_open */
    size_t entry_count;
    uint64_t cut_bytes; /* of a torn tail */
    char state_dir[RAFTLOG_STATE_DIR_MAX + 1];
};

/* Makes an empty log in dir (which exists and holds no log). 0, or a negative errno with the reason in error;
 * a crash leaves no log or all of it. */
int raftlog_create(const char *dir, const struct raftlog_creation *creation, char *error, size_t error_size);
/* Opens and scans the log: every frame's CRC, the chains, contiguity, terms that never fall. What it found is
 * on the device when it returns. NULL with a line for the operator (what is wrong, and what to do) in error
 * when there is none, it is damaged or of another version. */
struct raftlog *raftlog_open(const char *dir, struct arena *arena, struct raftlog_found *found, char *error,
                             size_t error_size);
void raftlog_close(struct raftlog *log);

struct raftlog_write {
    const struct raft_hard *hard; /* NULL: unchanged */
    const struct raft_entry *entries;
    size_t entry_count;
};
/* Durable on return 0. entries[0].index at or before the last one kept replaces the suffix from there. A
 * write larger than a segment takes several frames, each flushed before the next. -ENOSPC: nothing was
 * written, or of a larger write only its first frames; the same call again may succeed later, and must be the
 * next one. */
int raftlog_append(struct raftlog *log, const struct raftlog_write *write);

/* Begins the log anew after (index, term, chain), with no entries, for a state received from another node:
 * `state_dir` is the state that goes with it from now on. hard->commit is index. Durable on return 0: what
 * was there before is then gone, or it is all still there (-ENOSPC, or a crash before). */
struct raftlog_beginning {
    uint64_t index, term;
    uint32_t chain;
    struct raft_config config; /* in force at index */
    struct raft_hard hard;
    char state_dir[RAFTLOG_STATE_DIR_MAX + 1];
};
int raftlog_begin_anew(struct raftlog *log, const struct raftlog_beginning *beginning);

/* Reads an entry back, its payload into the arena. 0, or -ENOENT when it is before the base or beyond the
 * end. An entry that does not fit its chain any more ends the process. */
int raftlog_read(struct raftlog *log, uint64_t index, struct arena *arena, struct raft_entry *entry);

/* Entries up to index are in the synced state: removes the segments that hold nothing later. Returns the new
 * base index (<= index): the log begins after it. */
uint64_t raftlog_trim(struct raftlog *log, uint64_t index);

/* True when there is room for releases and renewals only: the next segment or the ballast (ballast.h) cannot
 * be made, or less than a segment would be left to the state beside them. Looks, and tries to make them, at
 * most once a second of now_ms. */
bool raftlog_full(struct raftlog *log, uint64_t now_ms);

/* What to trim up to in order to keep that many segments: the base of the first of them. */
uint64_t raftlog_before_last(const struct raftlog *log, size_t segments);

uint64_t raftlog_bytes(const struct raftlog *log); /* on disk */

#endif
