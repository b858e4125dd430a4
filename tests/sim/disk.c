/* disk.h in memory, one disk a node. A write is in the file at once and on the device with the next flush; a
 * crash keeps, of each write since, all, nothing, or some of its sectors. Names are on the device at once:
 * what a directory without a flush can lose is the crash campaign's matter (tests/crash). */
#include "tests/sim/sim.h"

#include "base/check.h"
#include "base/memory.h"
#include "storage/disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { SECTOR = 512, DISK_BYTES = 1 << 30, DAMAGE_BYTES_MIN = 4096, HUNG_MS = 10000, SNAPSHOT_ROT = 300 };

static struct sim_file *find(const char *path)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (sim_current->files[i].linked && strcmp(sim_current->files[i].path, path) == 0)
            return &sim_current->files[i];
    return NULL;
}

/* Any step may be the last one. */
static void maybe_crash(void)
{
    if (!world.calm && chance(world.faults.crash)) {
        world.counts[FAULT_CRASH_IN_DISK]++;
        sim_die(DEATH_CRASH);
    }
}

/* A thread of the shipped program ends the process when the node stands still for so long (coordd/main.c). */
static void hang(void)
{
    world.counts[FAULT_HUNG]++;
    mark(MARK_DISK_HUNG);
    sim_current->lag_ms += 5000 + draw(15000);
    if (sim_current->lag_ms < HUNG_MS) return;
    sim_current->lag_ms = HUNG_MS;
    sim_die(DEATH_CRASH);
}

static bool full(void)
{
    return sim_local_ms(sim_current) < sim_current->full_until_ms;
}

static void forget_writes(struct sim_file *file)
{
    for (size_t i = 0; i < file->write_count; i++) free(file->writes[i].before);
    free(file->writes);
    file->writes = NULL;
    file->write_count = 0;
}

static void free_file(struct sim_file *file)
{
    forget_writes(file);
    free(file->data);
    *file = (struct sim_file){0};
}

int disk_open(const char *path, bool create)
{
    struct sim_file *file = find(path);
    maybe_crash();
    if (create && file) return -EEXIST;
    if (!create && !file) return -ENOENT;
    for (size_t i = 0; create && !file && i < FILES_MAX; i++)
        if (!sim_current->files[i].used) file = &sim_current->files[i];
    CHECK(file && strlen(path) < sizeof file->path);
    if (create) {
        *file = (struct sim_file){.used = true, .linked = true};
        memcpy(file->path, path, strlen(path) + 1);
    }
    file->opens++;
    return (int)(file - sim_current->files) + 1;
}

static struct sim_file *of(int file)
{
    CHECK(file > 0 && file <= FILES_MAX && sim_current->files[file - 1].used);
    return &sim_current->files[file - 1];
}

void disk_close(int file)
{
    struct sim_file *closed = of(file);
    if (--closed->opens == 0 && !closed->linked) free_file(closed);
}

static void grow(struct sim_file *file, size_t size)
{
    if (size <= file->size) return;
    file->data = memory_resize(file->data, size);
    memset(file->data + file->size, 0, size - file->size);
    file->size = size;
}

int disk_allocate(int file, uint64_t size)
{
    maybe_crash();
    if (full()) return -ENOSPC;
    grow(of(file), (size_t)size);
    return 0;
}

int64_t disk_size(int file)
{
    return (int64_t)of(file)->size;
}

int64_t disk_size_at(const char *path)
{
    const struct sim_file *file = find(path);
    return file ? (int64_t)file->size : -ENOENT;
}

int disk_read(int descriptor, uint64_t offset, void *data, size_t size)
{
    const struct sim_file *file = of(descriptor);
    if (offset + size > file->size) return -ENODATA;
    memcpy(data, file->data + offset, size);
    if (size && world.faults.rot && strstr(file->path, ".snap") && chance(SNAPSHOT_ROT)) {
        world.counts[FAULT_ROT]++;
        ((uint8_t *)data)[draw(size)] ^= 1;
    }
    return 0;
}

int disk_write(int descriptor, uint64_t offset, struct slice data)
{
    struct sim_file *file = of(descriptor);
    maybe_crash();
    if (full() && offset + data.size > file->size) return -ENOSPC;
    grow(file, (size_t)offset + data.size);
    file->writes = memory_resize(file->writes, (file->write_count + 1) * sizeof *file->writes);
    struct sim_write *write = &file->writes[file->write_count++];
    *write = (struct sim_write){offset, data.size, memory_resize(NULL, data.size ? data.size : 1)};
    if (data.size) {
        memcpy(write->before, file->data + offset, data.size);
        memcpy(file->data + offset, data.data, data.size);
    }
    maybe_crash();
    return 0;
}

int disk_sync(int descriptor)
{
    struct sim_file *file = of(descriptor);
    maybe_crash();
    if (!world.calm && chance(world.faults.eio)) {
        world.counts[FAULT_EIO]++;
        sim_current->eio = true;
        return -EIO;
    }
    sim_current->lag_ms += draw(3);
    if (!world.calm && chance(world.faults.slow)) {
        world.counts[FAULT_SLOW]++;
        sim_current->lag_ms += draw(3000);
        if (draw(10) == 0) hang();
    }
    forget_writes(file);
    maybe_crash();
    return 0;
}

int disk_sync_directory(const char *path)
{
    (void)path;
    maybe_crash();
    return 0;
}

int disk_make_directory(const char *path)
{
    (void)path;
    return 0;
}

static void unlink_file(struct sim_file *file)
{
    file->linked = false;
    if (!file->opens) free_file(file);
}

int disk_rename(const char *from, const char *to)
{
    struct sim_file *file = find(from), *old = find(to);
    maybe_crash();
    if (!file) return -ENOENT;
    if (old) unlink_file(old);
    memcpy(file->path, to, strlen(to) + 1);
    maybe_crash();
    return 0;
}

int disk_remove(const char *path)
{
    struct sim_file *file = find(path);
    maybe_crash();
    if (!file) return -ENOENT;
    unlink_file(file);
    return 0;
}

int disk_list(const char *path, void (*each)(void *context, const char *name), void *context)
{
    size_t size = strlen(path);
    for (size_t i = 0; i < FILES_MAX; i++) {
        const struct sim_file *file = &sim_current->files[i];
        if (file->linked && strncmp(file->path, path, size) == 0 && file->path[size] == '/')
            each(context, file->path + size + 1);
    }
    return 0;
}

int64_t disk_free_bytes(const char *path)
{
    (void)path;
    return full() ? 0 : DISK_BYTES;
}

/* --- crashes --- */

static void undo(struct sim_file *file, const struct sim_write *write)
{
    uint64_t how = draw(3); /* all of it reached the device, nothing, or some of its sectors */
    if (how == 0) return;
    if (how == 2) world.counts[FAULT_TORN]++;
    for (size_t at = 0; at < write->size;) {
        size_t size = SECTOR - (size_t)((write->offset + at) % SECTOR);
        if (size > write->size - at) size = write->size - at;
        if (how == 1 || draw(2)) memcpy(file->data + write->offset + at, write->before + at, size);
        at += size;
    }
}

void disk_crash(struct sim_node *sim)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct sim_file *file = &sim->files[i];
        if (!file->used) continue;
        for (size_t w = file->write_count; w-- > 0;) undo(file, &file->writes[w]);
        forget_writes(file);
        file->opens = 0;
        if (!file->linked) free_file(file);
    }
}

void disk_wipe(struct sim_node *sim)
{
    for (size_t i = 0; i < FILES_MAX; i++) free_file(&sim->files[i]);
}

/* --- damage --- */

static size_t held(const struct sim_file *file)
{
    size_t size = file->size;
    while (size && !file->data[size - 1]) size--;
    return size;
}

/* A write that went to the wrong place: sectors of the second half lie in the first, too. */
static bool misdirect(struct sim_file *file, size_t size)
{
    size_t from = (size / 2 + draw(size / 2 - SECTOR)) / SECTOR * SECTOR,
           to = draw(size / 2 / SECTOR) * SECTOR;
    if (memcmp(file->data + to, file->data + from, SECTOR) == 0) return false;
    memcpy(file->data + to, file->data + from, SECTOR);
    return true;
}

/* In the first half of what a segment holds: damage at the very end cannot be told from a torn write. */
bool disk_damage(struct sim_node *sim)
{
    struct sim_file *logs[FILES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < FILES_MAX; i++)
        if (sim->files[i].linked && strstr(sim->files[i].path, ".log")) logs[count++] = &sim->files[i];
    if (!count) return false;
    struct sim_file *file = logs[draw(count)];
    size_t size = held(file);
    if (size < DAMAGE_BYTES_MIN || file->write_count) return false;
    sim->misdirected = draw(2);
    if (sim->misdirected && !misdirect(file, size)) return false;
    if (!sim->misdirected) file->data[draw(size / 2)] ^= (uint8_t)(1 << draw(8));
    memcpy(sim->damaged, file->path, sizeof sim->damaged);
    return true;
}

bool disk_is_damaged(const struct sim_node *sim)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (sim->files[i].linked && strcmp(sim->files[i].path, sim->damaged) == 0) return true;
    return false;
}
