/* What datadir.c and snapshot.c share. */
#ifndef COORDD_STORAGE_DATADIR_INTERNAL_H
#define COORDD_STORAGE_DATADIR_INTERNAL_H

#include "storage/datadir.h"

enum { PATH_SIZE = 1024, DIRECTORY_MAX = 400 };

struct datadir {
    char path[DIRECTORY_MAX];
    int lock; /* descriptor; negative: not taken */
    bool fresh, first_start;
    uint64_t cluster, node;                    /* 0: not known yet */
    char state_dir[RAFTLOG_STATE_DIR_MAX + 1]; /* the one in use */
    char *error;
    size_t error_size;
};

void datadir_inside(const struct datadir *directory, const char *name, char path[PATH_SIZE]);
/* Removes a directory of plain files; no error when it is not there. */
int datadir_remove(const char *path);

#endif
