/* Records what this program and the libraries in it do to the files below one directory: the calls of libc
 * that change files are defined here, and pass on to the system. What is written through a mapping is not
 * seen (LMDB's lock file alone). */
#ifndef COORDD_TESTS_CRASH_RECORDER_H
#define COORDD_TESTS_CRASH_RECORDER_H

#include "tests/crash/shadow.h"

struct recording {
    struct op *ops;
    size_t count, capacity;
    struct shadow start;
};

/* One at a time. The directory exists, nothing in it is open. `start` says what of it is certain; NULL: all.
 */
void recorder_begin(struct recording *recording, const char *path, const struct shadow *start);
void recorder_note(uint64_t which, uint64_t value);
void recorder_end(void);
void recording_free(struct recording *recording);

#endif
