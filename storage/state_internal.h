/* What state.c (the environment, the mark, commits) and state_rows.c (the rows) share. */
#ifndef COORDD_STORAGE_STATE_INTERNAL_H
#define COORDD_STORAGE_STATE_INTERNAL_H

#include "base/buffer.h"
#include "coord/undo.h"
#include "storage/state.h"

#include <lmdb.h>
#include <pthread.h>

enum { TOUCHED_PAGES = 1 << 16 };

struct rows {
    MDB_env *env;
    MDB_dbi dbi, about;
    MDB_txn *txn;       /* NULL between a commit and the next use */
    MDB_cursor *cursor; /* on dbi, as long as txn is open */
    pthread_t owner;    /* of txn */
    uint64_t digest;
    size_t dirty;
    size_t pages;                         /* bits of `touched`, and large values */
    uint64_t touched[TOUCHED_PAGES / 64]; /* pages written to since the last commit, by their addresses */
    struct buffer scratch;
    struct undo undo;
};

/* The open write transaction; begins one when there is none. */
MDB_txn *rows_transaction(struct rows *rows);
/* The value within what is stored under the key; a wrong checksum ends the process. */
struct slice rows_checked(struct slice key, const MDB_val *stored);
/* Ends the process when LMDB reports an error. */
void state_must(int error, const char *what);

static inline MDB_val state_val(struct slice bytes)
{
    return (MDB_val){bytes.size, (void *)(uintptr_t)bytes.data};
}

#endif
