/* The applied state: the state machine's rows in LMDB (DIR/data.mdb), with the applied index, term, entry time and digest in the same transaction.
 *
 * One write transaction stays open across turns; state_commit makes it durable. A crash loses at most what came
 * since, and the log replays it. struct rows (lib/coord/rows.h) is implemented here: each row carries a CRC-32C,
 * a wrong one ends the process; so does every error of LMDB but a full disk at commit.
 * Flags: MDB_NOTLS | MDB_NOMETASYNC; see shared/facts/storage.md for why not others. */
#ifndef COORDD_STORAGE_STATE_H
#define COORDD_STORAGE_STATE_H

#include "coord/rows.h"

struct state;

struct state_mark {
    uint64_t applied, term; /* of the last applied entry; 0 at the start */
    uint64_t time_ms;       /* its entry time */
    uint64_t digest;        /* see rows_digest */
};

/* Makes dir with an empty state, durable before the directory has its name. 0, or a negative errno with the reason in error. */
int state_create(const char *dir, uint64_t cluster, uint64_t node, char *error, size_t error_size);
/* Opens it, and the write transaction. NULL with a line for the operator in error when it is damaged, of another version, or of another node.
 * map_bytes reserves address space, nothing else (64 GiB; 4 GiB under sanitizers). */
struct state *state_open(const char *dir, uint64_t cluster, uint64_t node, size_t map_bytes, char *error, size_t error_size);
void state_close(struct state *state); /* without committing */

struct rows *state_rows(struct state *state);
/* The mark as of the last state_set_mark (in memory) and as of the last durable commit. */
struct state_mark state_mark(const struct state *state);
struct state_mark state_synced(const struct state *state);
/* applied, term and time of the entry just applied; the digest follows the rows by itself. */
void state_set_mark(struct state *state, uint64_t applied, uint64_t term, uint64_t time_ms);

/* Operations (puts and deletes) since the last commit. */
size_t state_dirty(const struct state *state);
/* Commits and flushes everything so far, and opens the next transaction. -ENOSPC: the disk was full, the rows are back at state_synced and
 * the caller replays the log from there. */
int state_commit(struct state *state);

#endif
