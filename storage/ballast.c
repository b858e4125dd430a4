#include "storage/ballast.h"

#include "storage/disk.h"

#include <stdio.h>

enum { PATH_SIZE = 1024 };

static void ballast_path(const char *dir, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%s/../ballast", dir);
}

bool ballast_keep(const char *dir, uint64_t size)
{
    char path[PATH_SIZE];
    ballast_path(dir, path);
    int64_t there = disk_size_at(path);
    if (there == (int64_t)size) return true;
    if (there >= 0) disk_remove(path);
    if (disk_free_bytes(dir) < 2 * (int64_t)size) return false;
    int file = disk_open(path, true);
    if (file < 0) return false;
    int error = disk_allocate(file, size);
    disk_close(file);
    if (error) disk_remove(path);
    return error == 0;
}

void ballast_drop(const char *dir)
{
    char path[PATH_SIZE];
    ballast_path(dir, path);
    disk_remove(path);
}
