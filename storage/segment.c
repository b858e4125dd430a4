#include "storage/segment.h"

#include "base/mutant.h"
#include "storage/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_DIGITS = 10 };

void segment_path(const char *dir, uint64_t number, char path[SEGMENT_PATH_MAX])
{
    snprintf(path, SEGMENT_PATH_MAX, "%s/%010" PRIu64 ".log", dir, number);
}

uint64_t segment_number(const char *name)
{
    if (strspn(name, "0123456789") != NAME_DIGITS || strcmp(name + NAME_DIGITS, ".log") != 0) return 0;
    return strtoull(name, NULL, 10);
}

static void spare_path(const char *dir, char path[SEGMENT_PATH_MAX])
{
    snprintf(path, SEGMENT_PATH_MAX, "%s/spare", dir);
}

int segment_spare(const char *dir, uint64_t segment_bytes)
{
    char path[SEGMENT_PATH_MAX];
    spare_path(dir, path);
    int file = disk_open(path, false);
    if (file >= 0 && disk_size(file) == (int64_t)segment_bytes) return file;
    if (file >= 0) {
        disk_close(file);
        disk_remove(path);
    }
    file = disk_open(path, true);
    if (file < 0) return file;
    int error = disk_allocate(file, segment_bytes);
    if (!error) return file;
    disk_close(file);
    disk_remove(path);
    return error;
}

int segment_begin(const char *dir, int spare, const struct segment_header *header)
{
    char from[SEGMENT_PATH_MAX], to[SEGMENT_PATH_MAX];
    struct buffer block = {0};
    spare_path(dir, from);
    segment_path(dir, header->number, to);
    segment_header_encode(header, &block);
    int error = disk_write(spare, 0, buffer_slice(&block));
    buffer_free(&block);
    if (!error) error = disk_sync(spare);
    if (!error) error = disk_rename(from, to);
    if (!error && !MUTANT(49)) error = disk_sync_directory(dir);
    return error;
}

int segment_remove(const char *dir, uint64_t number)
{
    char path[SEGMENT_PATH_MAX];
    segment_path(dir, number, path);
    int error = disk_remove(path);
    return error || MUTANT(50) ? error : disk_sync_directory(dir);
}
