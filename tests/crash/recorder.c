#include "tests/crash/recorder.h"

#include "base/check.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILES_MAX = 1024, DEPTH_MAX = 8 };

struct opened {
    uint32_t inode;
    bool known, durable;
};

static struct {
    struct recording *recording; /* NULL: off */
    char path[512];
    struct names names; /* as the running program sees them */
    uint32_t next_inode;
    struct opened files[FILES_MAX];
} recorder;

static struct op *add(enum op_kind kind)
{
    struct recording *recording = recorder.recording;
    if (recording->count == recording->capacity) {
        recording->capacity = recording->capacity ? recording->capacity * 2 : 1024;
        recording->ops = memory_resize(recording->ops, recording->capacity * sizeof *recording->ops);
    }
    struct op *op = &recording->ops[recording->count++];
    *op = (struct op){.kind = kind};
    return op;
}

void recorder_begin(struct recording *recording, const char *path, const struct shadow *start)
{
    CHECK(!recorder.recording && strlen(path) < sizeof recorder.path);
    *recording = (struct recording){0};
    if (start)
        shadow_copy(&recording->start, start);
    else
        shadow_load(&recording->start, path);
    memset(&recorder, 0, sizeof recorder);
    snprintf(recorder.path, sizeof recorder.path, "%s", path);
    shadow_names(&recording->start, &recorder.names);
    recorder.next_inode = (uint32_t)recording->start.inode_count;
    recorder.recording = recording;
}

void recorder_note(uint64_t which, uint64_t value)
{
    if (!recorder.recording) return;
    struct op *op = add(OP_NOTE);
    op->offset = which;
    op->size = value;
}

void recorder_end(void)
{
    recorder.recording = NULL;
    free(recorder.names.names);
    recorder.names = (struct names){0};
}

void recording_free(struct recording *recording)
{
    for (size_t i = 0; i < recording->count; i++) free(recording->ops[i].data);
    free(recording->ops);
    shadow_free(&recording->start);
}

/* Paths */

struct place {
    uint32_t dir, inode;
    char name[NAME_SIZE]; /* "": the directory recorded itself */
    bool found;
};

/* Where a path leads. False when that is not below the directory recorded. */
static bool locate(const char *path, struct place *place)
{
    size_t size = strlen(recorder.path);
    if (!recorder.recording || strncmp(path, recorder.path, size) != 0 || (path[size] && path[size] != '/'))
        return false;
    uint32_t way[DEPTH_MAX] = {ROOT};
    size_t depth = 0;
    *place = (struct place){.inode = ROOT, .found = true};
    for (path += size + strspn(path + size, "/"); *path; path += strspn(path, "/")) {
        size_t length = strcspn(path, "/");
        CHECK(place->found && length < NAME_SIZE && depth + 1 < DEPTH_MAX);
        bool up = length == 2 && strncmp(path, "..", 2) == 0;
        CHECK(!up || depth > 0);
        *place = (struct place){.dir = way[depth]};
        memcpy(place->name, up ? "" : path, up ? 0 : length);
        struct name *name = up ? NULL : names_find(&recorder.names, place->dir, place->name);
        place->found = up || name;
        if (up) place->inode = way[--depth];
        if (name) place->inode = way[++depth] = name->inode;
        path += length;
    }
    return true;
}

static void record_make(struct place *place, bool directory)
{
    struct op *op = add(OP_MAKE);
    op->inode = place->inode = recorder.next_inode++;
    op->dir = place->dir;
    op->directory = directory;
    memcpy(op->name, place->name, sizeof op->name);
    names_apply(&recorder.names, op);
    place->found = true;
}

static struct opened *opened(int file)
{
    if (!recorder.recording || file < 0 || file >= FILES_MAX || !recorder.files[file].known) return NULL;
    return &recorder.files[file];
}

static void record_size(int file, uint64_t size)
{
    struct opened *in = opened(file);
    if (!in) return;
    struct op *op = add(OP_SIZE);
    op->inode = in->inode;
    op->size = size;
}

static void record_write(int file, off_t offset, const void *data, ssize_t size)
{
    struct opened *in = opened(file);
    if (!in || size <= 0) return;
    struct op *op = add(OP_WRITE);
    op->inode = in->inode;
    op->durable = in->durable;
    op->offset = (uint64_t)offset;
    op->size = (uint64_t)size;
    op->data = memory_resize(NULL, (size_t)size);
    memcpy(op->data, data, (size_t)size);
}

static void record_sync(int file)
{
    struct opened *in = opened(file);
    if (in) add(OP_SYNC)->inode = in->inode;
}

/* The calls */

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    struct place place = {0};
    bool below = locate(path, &place);
    int file = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (file < 0 || file >= FILES_MAX || !below) return file;
    if (!place.found) record_make(&place, false);
    recorder.files[file] = (struct opened){place.inode, true, (flags & O_DSYNC) != 0};
    CHECK(!(flags & O_TRUNC));
    return file;
}

int close(int file)
{
    if (file >= 0 && file < FILES_MAX) recorder.files[file].known = false;
    return (int)syscall(SYS_close, file);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset)
{
    ssize_t done = syscall(SYS_pwrite64, file, data, size, offset);
    record_write(file, offset, data, done);
    return done;
}

ssize_t write(int file, const void *data, size_t size)
{
    off_t offset = opened(file) ? lseek(file, 0, SEEK_CUR) : 0;
    ssize_t done = syscall(SYS_write, file, data, size);
    record_write(file, offset, data, done);
    return done;
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    off_t offset = opened(file) ? lseek(file, 0, SEEK_CUR) : 0;
    ssize_t done = syscall(SYS_writev, file, parts, count), left = done;
    for (int i = 0; i < count && left > 0; i++) {
        ssize_t part = (ssize_t)parts[i].iov_len < left ? (ssize_t)parts[i].iov_len : left;
        record_write(file, offset, parts[i].iov_base, part);
        offset += part;
        left -= part;
    }
    return done;
}

int fdatasync(int file)
{
    int result = (int)syscall(SYS_fdatasync, file);
    if (result == 0) record_sync(file);
    return result;
}

int fsync(int file)
{
    int result = (int)syscall(SYS_fsync, file);
    if (result == 0) record_sync(file);
    return result;
}

int ftruncate(int file, off_t size)
{
    int result = (int)syscall(SYS_ftruncate, file, size);
    if (result == 0) record_size(file, (uint64_t)size);
    return result;
}

int posix_fallocate(int file, off_t offset, off_t size)
{
    struct stat facts;
    if (syscall(SYS_fallocate, file, 0, offset, size) != 0) return errno;
    CHECK(fstat(file, &facts) == 0);
    record_size(file, (uint64_t)facts.st_size);
    return 0;
}

int mkdir(const char *path, mode_t mode)
{
    struct place place;
    bool below = locate(path, &place);
    int result = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (result == 0 && below) record_make(&place, true);
    return result;
}

int rename(const char *from, const char *to)
{
    struct place source, target;
    bool below = locate(from, &source) && locate(to, &target);
    int result = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (result != 0 || !below) return result;
    CHECK(source.found && source.dir == target.dir);
    struct op *op = add(OP_RENAME);
    op->inode = source.inode;
    op->dir = source.dir;
    memcpy(op->name, source.name, sizeof op->name);
    memcpy(op->to, target.name, sizeof op->to);
    names_apply(&recorder.names, op);
    return 0;
}

static int record_remove(const char *path, int flags)
{
    struct place place;
    bool below = locate(path, &place);
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, flags);
    if (result != 0 || !below) return result;
    struct op *op = add(OP_REMOVE);
    op->inode = place.inode;
    op->dir = place.dir;
    memcpy(op->name, place.name, sizeof op->name);
    names_apply(&recorder.names, op);
    return 0;
}

int unlink(const char *path)
{
    return record_remove(path, 0);
}

int rmdir(const char *path)
{
    return record_remove(path, AT_REMOVEDIR);
}

int remove(const char *path)
{
    int result = unlink(path);
    return result != 0 && errno == EISDIR ? rmdir(path) : result;
}
