/* A file that holds nothing but space, kept beside the log's and the state's directories. When a full disk
 * stops a commit of the state, the file is removed, so that what frees rows and log segments can go on; the
 * log makes it again when there is room. */
#ifndef COORDD_STORAGE_BALLAST_H
#define COORDD_STORAGE_BALLAST_H

#include <stdbool.h>
#include <stdint.h>

/* `dir` is the log's or the state's directory: the file is DIR/../ballast. True when it is there with `size`
 * bytes, made now if need be: when twice as much is free, so as not to take back what the state was given. */
bool ballast_keep(const char *dir, uint64_t size);
void ballast_drop(const char *dir);

#endif
