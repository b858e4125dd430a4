/* The rows of the state machine: a sorted map from keys to values, both bytes. storage/state.c keeps them in
 * LMDB, tests/support in memory; the linker chooses. No call fails: a storage error ends the process and is
 * never turned into a result.
 *
 * Keys are 1 to 511 bytes, the first of which names the kind of row (lib/coord/key.h); values are at most 2
 * MiB. Slices handed out stay valid until the next put or delete on the same rows. */
#ifndef COORDD_COORD_ROWS_H
#define COORDD_COORD_ROWS_H

#include "base/slice.h"

struct rows;

bool rows_get(struct rows *rows, struct slice key, struct slice *value);
void rows_put(struct rows *rows, struct slice key, struct slice value); /* key and value are copied */
bool rows_delete(struct rows *rows, struct slice key);                  /* false when it was not there */

/* The first row whose key is >= from, in bytewise order; false when there is none. */
bool rows_seek(struct rows *rows, struct slice from, struct slice *key, struct slice *value);
/* The last row whose key is < before; false when there is none. */
bool rows_seek_back(struct rows *rows, struct slice before, struct slice *key, struct slice *value);

/* A number that is a row of its own, 8 bytes big-endian; 0: there is no row. */
uint64_t rows_number(struct rows *rows, struct slice key);
void rows_set_number(struct rows *rows, struct slice key, uint64_t number);

/* Between rows_try and rows_decide every put and delete can be taken back: with keep false they all are. One
 * at a time. */
void rows_try(struct rows *rows);
void rows_decide(struct rows *rows, bool keep);

/* A digest of the multiset of rows: the sum modulo 2^64 of row_hash over all of them, kept up to date by put
 * and delete. Equal on all replicas that applied the same entries. */
uint64_t rows_digest(const struct rows *rows);
uint64_t row_hash(struct slice key, struct slice value);

#endif
