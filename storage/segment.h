/* The files of the Raft log: DIR/0000000001.log and so on, and DIR/spare, the next one, allocated ahead. */
#ifndef COORDD_STORAGE_SEGMENT_H
#define COORDD_STORAGE_SEGMENT_H

#include "storage/frame.h"

enum { SEGMENT_PATH_MAX = 1024 };

void segment_path(const char *dir, uint64_t number, char path[SEGMENT_PATH_MAX]);
uint64_t segment_number(const char *name); /* 0: not the name of a segment */

/* Opens the spare, made now if it is not there with that size: all zeroes behind its first
 * SEGMENT_HEADER_SIZE bytes. Returns the descriptor or a negative errno. */
int segment_spare(const char *dir, uint64_t segment_bytes);
/* Makes the spare the segment of header->number. Durable on return 0; -ENOSPC: it still is the spare. */
int segment_begin(const char *dir, int spare, const struct segment_header *header);
/* Durable on return 0: so no segment is gone while one before it has come back. */
int segment_remove(const char *dir, uint64_t number);

#endif
