/* The data directory of one node: taking it for this process alone, making what is in it at the first start,
 * and opening the log and the state together, checked against each other.
 *
 *   LOCK         flock, with the process id for people
 *   first-start  there only while a first start is under way; what lies beside it then is made again
 *   ballast      space kept for a full disk (ballast.h)
 *   log/         raftlog.h
 *   state-N/     state.h; the log says which N */
#ifndef COORDD_STORAGE_DATADIR_H
#define COORDD_STORAGE_DATADIR_H

#include "storage/raftlog.h"
#include "storage/state.h"

struct datadir;

struct datadir_settings {
    const char *path;
    const char *name;       /* NULL: the stored one; "n1" at the first start */
    uint64_t segment_bytes; /* of a log made at the first start; 0: RAFTLOG_SEGMENT_BYTES */
};

struct datadir_contents {
    bool fresh; /* made by this call: a cluster of one, whose only voter is this node */
    struct raftlog *log;
    struct raftlog_found found;
    struct state *state;
};

/* Takes the directory and opens what is in it; makes it all (mode 0700, never its parents) when it is not
 * there or empty. The entries of contents->found are allocated in the arena. NULL with one line for the
 * operator (what is wrong, what to do) in error when it is in use, on a network file system, of another node
 * or version, or damaged; nothing is open then. */
struct datadir *datadir_open(const struct datadir_settings *settings, struct arena *arena,
                             struct datadir_contents *contents, char *error, size_t error_size);
/* Gives the directory free. The caller has closed the log and the state before. */
void datadir_close(struct datadir *directory);

#endif
