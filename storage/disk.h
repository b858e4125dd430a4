/* The few file calls that the Raft log makes. disk.c is Linux; the simulator links its own definitions (a
 * disk that loses, tears and rots), so nothing in storage but LMDB and datadir.c touches a file by another
 * way.
 *
 * Every call returns 0 (or a non-negative result) or a negative errno. */
#ifndef COORDD_STORAGE_DISK_H
#define COORDD_STORAGE_DISK_H

#include "base/slice.h"

/* Opens for reading and writing; creates it (mode 0600, must not exist) when create is set. What is read from
 * a file that was there is what the device holds. Returns a descriptor. */
int disk_open(const char *path, bool create);
void disk_close(int file);
/* Makes [0, size) of the file real on the device, reading as zeroes: later writes inside cannot meet a full
 * disk. */
int disk_allocate(int file, uint64_t size);
int64_t disk_size(int file);
int64_t disk_size_at(const char *path); /* without opening it: opening flushes */
/* All `size` bytes or an error; a short read beyond the end is -ENODATA. */
int disk_read(int file, uint64_t offset, void *data, size_t size);
int disk_write(int file, uint64_t offset, struct slice data);
int disk_sync(int file);                   /* fdatasync; never -ENOSPC */
int disk_sync_directory(const char *path); /* makes creations, renames and removals in it durable */
int disk_make_directory(const char *path); /* mode 0700; no error when it is there */
int disk_rename(const char *from, const char *to);
int disk_remove(const char *path); /* a file, or an empty directory */
/* Calls `each` with every name in the directory but "." and "..". */
int disk_list(const char *path, void (*each)(void *context, const char *name), void *context);
/* Bytes an ordinary user can still write on the file system that holds path. */
int64_t disk_free_bytes(const char *path);

#endif
