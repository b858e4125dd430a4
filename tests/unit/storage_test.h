/* What the tests of storage/ share: a directory that goes away, calls that must end the process, and a disk
 * that fails on demand.
 *
 * The calls below replace libc's in this program and in the libraries it loads (LMDB too). Each fault counts
 * calls down: 1 hits the next one; it stays in force until it is set back to 0 with faults_clear. */
#ifndef COORDD_TESTS_STORAGE_TEST_H
#define COORDD_TESTS_STORAGE_TEST_H

#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

struct fault {
    int countdown; /* 0: off; 1: from the next call on */
    int error;
    size_t partly; /* bytes that are written before it fails */
};

static struct {
    struct fault write, sync, allocate, rename;
    int64_t free_bytes; /* negative: the truth */
} faults = {.free_bytes = -1};

static inline void faults_clear(void)
{
    memset(&faults, 0, sizeof faults);
    faults.free_bytes = -1;
}

static inline bool strikes(struct fault *fault)
{
    if (fault->countdown > 1)
        fault->countdown--;
    else if (fault->countdown == 1) {
        errno = fault->error;
        return true;
    }
    return false;
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset)
{
    if (!strikes(&faults.write)) return syscall(SYS_pwrite64, file, data, size, offset);
    if (faults.write.partly == 0) return -1;
    size_t part = faults.write.partly < size ? faults.write.partly : size;
    faults.write.partly = 0;
    return syscall(SYS_pwrite64, file, data, part, offset);
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    if (!strikes(&faults.write)) return syscall(SYS_writev, file, parts, count);
    return faults.write.partly ? syscall(SYS_writev, file, parts, 1) : -1;
}

int fdatasync(int file)
{
    return strikes(&faults.sync) ? -1 : (int)syscall(SYS_fdatasync, file);
}

int fsync(int file)
{
    return strikes(&faults.sync) ? -1 : (int)syscall(SYS_fsync, file);
}

int posix_fallocate(int file, off_t offset, off_t size)
{
    if (strikes(&faults.allocate)) return faults.allocate.error;
    return syscall(SYS_fallocate, file, 0, offset, size) ? errno : 0;
}

int rename(const char *from, const char *to)
{
    return strikes(&faults.rename) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int statvfs(const char *path, struct statvfs *facts)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    int result = file < 0 ? -1 : fstatvfs(file, facts);
    if (file >= 0) close(file);
    if (result == 0 && faults.free_bytes >= 0)
        facts->f_bavail = (fsblkcnt_t)faults.free_bytes / (fsblkcnt_t)facts->f_frsize;
    return result;
}

/* A directory in memory, where flushing costs nothing. */
static inline char *temporary_directory(void)
{
    char *path = strdup("/dev/shm/coordd-test-XXXXXX");
    if (access("/dev/shm", W_OK) != 0) memcpy(path, "/tmp/////", 9);
    assert_non_null(mkdtemp(path));
    return path;
}

static inline int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *where)
{
    (void)facts, (void)kind, (void)where;
    return remove(path);
}

static inline void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline const char *path_in(const char *dir, const char *name)
{
    static char paths[4][1024];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static inline bool exists(const char *dir, const char *name)
{
    return access(path_in(dir, name), F_OK) == 0;
}

static inline void read_at(const char *path, off_t offset, void *data, size_t size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(pread(file, data, size, offset), (ssize_t)size);
    close(file);
}

static inline void write_at(const char *path, off_t offset, const void *data, size_t size)
{
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_int_equal(syscall(SYS_pwrite64, file, data, size, offset), (long)size);
    close(file);
}

static inline void flip_at(const char *path, off_t offset, uint8_t bits)
{
    uint8_t byte;
    read_at(path, offset, &byte, 1);
    byte ^= bits;
    write_at(path, offset, &byte, 1);
}

/* Runs it in another process, which must abort with a last word that contains `text`. */
static inline void assert_fatal(void (*run)(void *context), void *context, const char *text)
{
    int ends[2];
    char said[2000];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        run(context);
        _exit(0);
    }
    close(ends[1]);
    size_t size = 0;
    for (ssize_t got; (got = read(ends[0], said + size, sizeof said - 1 - size)) > 0;) size += (size_t)got;
    said[size] = 0;
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        fail_msg("ended with status %d, said: %s", status, said);
    if (!strstr(said, text)) fail_msg("said \"%s\", not \"%s\"", said, text);
}

#endif
