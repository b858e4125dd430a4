/* The applied state: the state machine's rows in LMDB (DIR/data.mdb), with the applied index, term, entry
 * time and digest in the same transaction.
 *
 * One write transaction stays open across turns; state_commit makes it last. A crash loses at most what came
 * since, and perhaps the last commit; the log replays it. struct rows (lib/coord/rows.h) is implemented here:
 * each row carries a CRC-32C, a wrong one ends the process; so does every error of LMDB but a full disk at
 * commit.
 *
 * LMDB ties a write transaction to its thread. It begins with the first use of the rows after state_open or
 * state_commit; from there to the next state_commit all calls must come from the same thread. */
#ifndef COORDD_STORAGE_STATE_H
#define COORDD_STORAGE_STATE_H

#include "coord/rows.h"

struct state;

struct state_mark {
    uint64_t applied, term; /* of the last applied entry; 0 at the start */
    uint64_t time_ms;       /* its entry time */
    uint64_t digest;        /* see rows_digest */
};

/* Makes dir with an empty state, durable before the directory has its name. 0, or a negative errno with the
 * reason in error. */
int state_create(const char *dir, uint64_t cluster, uint64_t node, char *error, size_t error_size);
/* Opens it; what it holds is on the device when it returns. NULL with a line for the operator in error when
 * it is damaged, of another version, or of another node. map_bytes reserves address space, nothing else; 0:
 * 64 GiB (4 GiB under sanitizers). */
struct state *state_open(const char *dir, uint64_t cluster, uint64_t node, size_t map_bytes, char *error,
                         size_t error_size);
void state_close(struct state *state); /* without committing */

struct rows *state_rows(struct state *state);
/* As of the last state_set_mark, with the digest of the rows as they are. */
struct state_mark state_mark(const struct state *state);
/* As of the last commit. */
struct state_mark state_committed(const struct state *state);
/* What no power loss can undo: the commit before the last one (its flush came with the last one). */
struct state_mark state_synced(const struct state *state);
/* applied, term and time of the entry just applied; the digest follows the rows by itself. */
void state_set_mark(struct state *state, uint64_t applied, uint64_t term, uint64_t time_ms);

/* Work since the last commit: puts and deletes, a large value counting as one for each 4 KiB. */
size_t state_dirty(const struct state *state);
/* How many pages of 4 KiB the commit will write, about: half as many to as many. Commit by 8,192 or so: the
 * commit takes the longer, and beyond 100,000 LMDB would write to the disk before it. */
size_t state_pages(const struct state *state);
/* Commits everything so far and flushes it; the next use of the rows opens the next transaction. -ENOSPC: the
 * disk was full; the rows and state_mark are back at the last commit, the ballast (ballast.h) is given away,
 * and the caller replays the log from state_mark. */
int state_commit(struct state *state);

/* For a state received from another node: the mark that goes with its rows, set once, before the last commit.
 */
void state_adopt_mark(struct state *state, const struct state_mark *mark);
/* What was committed is on the device when it returns. */
void state_sync(struct state *state);

/* Reads every row: CRCs, order, digest. Returns how many there are; what is wrong ends the process. */
uint64_t state_check(struct state *state);

#endif
