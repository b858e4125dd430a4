/* The data directory of one node: taking it for this process alone, making what is in it at the first start,
 * and opening the log and the state together, checked against each other.
 *
 *   LOCK         flock, with the process id for people
 *   node-id      of a directory that has no log yet: the random number that this node will have for ever
 *   first-start  there only while a first start is under way; what lies beside it then is made again
 *   ballast      space kept for a full disk (ballast.h)
 *   log/         raftlog.h
 *   state-N/     state.h; the log says which N
 *   snap/        snapshot.h; emptied at every start */
#ifndef COORDD_STORAGE_DATADIR_H
#define COORDD_STORAGE_DATADIR_H

#include "storage/raftlog.h"
#include "storage/state.h"

struct datadir;

/* Takes the directory; makes it (mode 0700, never its parents) when it is not there. NULL with one line for
 * the operator (what is wrong, what to do) in error when it is in use, on a network file system, or not
 * coordd's. */
struct datadir *datadir_take(const char *path, char *error, size_t error_size);
/* It has never held a log: this node belongs to no cluster yet. */
bool datadir_fresh(const struct datadir *directory);
/* This node's id: of the log, or of a fresh directory a random one that is durable when this returns. 0 with
 * why in error: it cannot be read or written. */
uint64_t datadir_node(struct datadir *directory, char *error, size_t error_size);

/* The beginning of a fresh directory's log. */
struct datadir_founding {
    uint64_t cluster;
    struct raft_config config; /* the founding members; none: the node waits to be added */
};
struct datadir_settings {
    const char *name;                        /* NULL: the stored one; "n1" when it is fresh */
    uint64_t segment_bytes;                  /* of a log made now; 0: RAFTLOG_SEGMENT_BYTES */
    const struct datadir_founding *founding; /* of a fresh directory; NULL: a cluster of one, with a random
                                                id. Not looked at when it is not fresh */
};

struct datadir_contents {
    bool fresh; /* made by this call */
    struct raftlog *log;
    struct raftlog_found found;
    struct state *state;
};

/* Opens what is in the directory, makes it all when it is fresh. The entries of contents->found are allocated
 * in the arena. False with one line for the operator in error when it is of another node or version, or
 * damaged; nothing is open then, and the directory is still taken. */
bool datadir_open(struct datadir *directory, const struct datadir_settings *settings, struct arena *arena,
                  struct datadir_contents *contents, char *error, size_t error_size);
/* Gives the directory free. The caller has closed the log and the state before. */
void datadir_close(struct datadir *directory);

#endif
