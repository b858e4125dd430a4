#include "storage/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* A quota that is used up is a full disk. */
static int failed(int error)
{
    return error == EDQUOT ? -ENOSPC : -error;
}

/* After a flush that failed nobody knows what is on the device, whatever the reason was. */
static int flushed(int result)
{
    if (result == 0) return 0;
    return errno == ENOSPC || errno == EDQUOT ? -EIO : -errno;
}

/* What a process that died had written but not flushed can be read from the page cache, and can still be
 * lost; what could not be flushed can be read there, and is not on the device at all. */
static int settle(int file)
{
    int error = flushed(fdatasync(file));
    if (!error) posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    return error;
}

int disk_open(const char *path, bool create)
{
    int flags = O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_EXCL : 0);
    int file = open(path, flags, 0600);
    if (file < 0) return failed(errno);
    int error = create ? 0 : settle(file);
    if (!error) return file;
    close(file);
    return error;
}

void disk_close(int file)
{
    close(file);
}

int disk_allocate(int file, uint64_t size)
{
    int error;
    do error = posix_fallocate(file, 0, (off_t)size);
    while (error == EINTR);
    return failed(error);
}

int64_t disk_size(int file)
{
    struct stat facts;
    return fstat(file, &facts) ? -errno : (int64_t)facts.st_size;
}

int64_t disk_size_at(const char *path)
{
    struct stat facts;
    return stat(path, &facts) ? -errno : (int64_t)facts.st_size;
}

int disk_read(int file, uint64_t offset, void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(file, (char *)data + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -errno;
        if (got == 0) return -ENODATA;
        done += (size_t)got;
    }
    return 0;
}

int disk_write(int file, uint64_t offset, struct slice data)
{
    for (size_t done = 0; done < data.size;) {
        ssize_t put = pwrite(file, data.data + done, data.size - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return failed(errno);
        if (put == 0) return -ENOSPC;
        done += (size_t)put;
    }
    return 0;
}

int disk_sync(int file)
{
    return flushed(fdatasync(file));
}

int disk_sync_directory(const char *path)
{
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return -errno;
    int error = flushed(fsync(directory));
    close(directory);
    return error;
}

int disk_make_directory(const char *path)
{
    return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

int disk_rename(const char *from, const char *to)
{
    return rename(from, to) ? failed(errno) : 0;
}

int disk_remove(const char *path)
{
    return remove(path) ? -errno : 0;
}

int disk_list(const char *path, void (*each)(void *context, const char *name), void *context)
{
    DIR *directory = opendir(path);
    if (!directory) return -errno;
    errno = 0;
    for (struct dirent *entry; (entry = readdir(directory)); errno = 0)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) each(context, entry->d_name);
    int error = -errno;
    closedir(directory);
    return error;
}

int64_t disk_free_bytes(const char *path)
{
    struct statvfs facts;
    if (statvfs(path, &facts)) return -errno;
    return (int64_t)facts.f_bavail * (int64_t)facts.f_frsize;
}
