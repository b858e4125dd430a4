/* A node's life with its disk: the real raftlog and state, driven as node_turn drives them. */
#ifndef COORDD_TESTS_CRASH_WORKLOAD_H
#define COORDD_TESTS_CRASH_WORKLOAD_H

#include "storage/datadir.h"
#include "tests/crash/history.h"
#include "tests/crash/shadow.h"

enum { STEPS_MAX = 1000, SEGMENT_BYTES = RAFTLOG_SEGMENT_BYTES_MIN };

/* What recorder_note says. */
enum note {
    NOTE_OPENED,  /* the data directory is open for the first time */
    NOTE_BEGIN,   /* that step's append is called */
    NOTE_SAVED,   /* it has returned */
    NOTE_APPLIED, /* the state may from now on be found with entries up to there */
    NOTE_SYNCED,  /* the state says that no crash undoes entries up to there */
    NOTE_TRIM     /* segments with entries up to there may be gone */
};

struct node {
    char path[1024];
    struct datadir_settings settings;
    struct datadir *directory;
    struct datadir_contents contents;
    struct history history;
    struct step steps[STEPS_MAX];
    size_t step_count;
    uint64_t applied, committed;
};

/* Each returns false, with the reason on standard error, when storage refused. */
bool node_start(struct node *node, const char *path);
void node_stop(struct node *node);
/* Appends as the step says, with the notes. */
void node_append(struct node *node, const struct step *step);
bool node_live(struct node *node, uint64_t *random, size_t steps);

#endif
