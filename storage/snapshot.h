/* Logical snapshots of the state: what a node gets that is too far behind for the log.
 *
 * A snapshot is a header and chunks: the position in the log that it stands for, the cluster's members there,
 * and every row in order of keys, with a count and the digest at the end. Each chunk carries a CRC-32C and is
 * checked before any row of it is used. It is written bit by bit by the node thread from a read transaction,
 * into a file that needs no flush: it can be made again at any time, and a start removes what is left over.
 * It is never read back into this node.
 *
 * The receiver builds a new state directory from the chunks as they come, and switches to it by one record in
 * the log (datadir_switch); a crash leaves the old state or the new one. */
#ifndef COORDD_STORAGE_SNAPSHOT_H
#define COORDD_STORAGE_SNAPSHOT_H

#include "raft/raft.h"
#include "storage/datadir.h"

enum { SNAPSHOT_CHUNK_MAX = 512 * 1024 }; /* bytes of one chunk, unless a single row is larger (2 MiB) */

/* The last entry whose effects are in it. */
struct snapshot_place {
    uint64_t index, term, time_ms, digest;
    uint32_t chain;
    struct raft_config config; /* in force at index */
};

/* --- the sender --- */

struct snapshot;
/* Begins one of the last committed state: state_committed(state) says where it stands; the caller gives term,
 * chain and configuration there. NULL when the disk has no room for it (what went wrong is in error). */
struct snapshot *snapshot_begin(struct datadir *directory, struct state *state,
                                const struct snapshot_place *place, char *error, size_t error_size);
/* Writes about `bytes` more. False when it was the last: it is complete then, and holds no transaction. A
 * full disk makes snapshot_failed true. */
bool snapshot_step(struct snapshot *snapshot, size_t bytes);
bool snapshot_complete(const struct snapshot *snapshot);
bool snapshot_failed(const struct snapshot *snapshot);
const struct snapshot_place *snapshot_place(const struct snapshot *snapshot);
uint64_t snapshot_chunks(const struct snapshot *snapshot); /* how many, once complete */
/* Reads chunk `number` (from 0) of a complete one into the arena. False when the file cannot be read: drop
 * the snapshot and make another. */
bool snapshot_chunk(struct snapshot *snapshot, uint64_t number, struct arena *arena, struct slice *chunk);
void snapshot_end(struct snapshot *snapshot); /* removes the file */

/* --- the receiver --- */

struct snapshot_intake;
/* Begins to receive: an empty new state beside the one in use. NULL with why in error. */
struct snapshot_intake *snapshot_intake_begin(struct datadir *directory, char *error, size_t error_size);
enum intake_result {
    INTAKE_MORE,    /* taken; the next chunk please */
    INTAKE_WHOLE,   /* taken, and it was the last: everything agrees, the new state is durable */
    INTAKE_BAD,     /* not the next chunk of this snapshot, damaged, or not what it says: begin anew */
    INTAKE_NO_ROOM, /* the disk is full */
};
enum intake_result snapshot_intake_chunk(struct snapshot_intake *intake, uint64_t number, struct slice chunk);
/* Known from the first chunk on. */
const struct snapshot_place *snapshot_intake_place(const struct snapshot_intake *intake);
/* Gives it up, whatever was received is removed. */
void snapshot_intake_end(struct snapshot_intake *intake);

/* After INTAKE_WHOLE: the log begins anew behind the snapshot, with `hard` (its commit raised to the
 * snapshot's index), and the received state takes the place of the one in use, which is closed and removed.
 * One record in the log decides: durable on return 0. -ENOSPC: nothing has changed, try again. Ends the
 * intake when it returns 0; contents->state is the new one then. */
int snapshot_switch(struct snapshot_intake *intake, struct datadir_contents *contents,
                    const struct raft_hard *hard);

#endif
