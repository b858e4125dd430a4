/* The sender: rows of a read transaction into a file of chunks. */
#include "storage/snapshot.h"

#include "base/check.h"
#include "base/memory.h"
#include "storage/datadir_internal.h"
#include "storage/disk.h"
#include "storage/snapshot_chunk.h"
#include "storage/state_view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { CHUNK_BYTES = SNAPSHOT_CHUNK_MAX - 4096 };

struct snapshot {
    struct snapshot_place place;
    char path[PATH_SIZE];
    int file;                /* descriptor; negative: none */
    struct state_view *view; /* NULL once all is copied */
    uint64_t *ends;          /* of each chunk in the file */
    uint64_t count, capacity, rows;
    struct buffer chunk; /* the one being filled */
    bool failed;
};

static void write_chunk(struct snapshot *snapshot)
{
    uint64_t at = snapshot->count ? snapshot->ends[snapshot->count - 1] : 0;
    chunk_seal(&snapshot->chunk, snapshot->count);
    if (disk_write(snapshot->file, at, buffer_slice(&snapshot->chunk))) {
        snapshot->failed = true;
        return;
    }
    if (snapshot->count == snapshot->capacity) {
        snapshot->capacity = snapshot->capacity ? snapshot->capacity * 2 : 16;
        snapshot->ends = memory_resize(snapshot->ends, snapshot->capacity * sizeof *snapshot->ends);
    }
    snapshot->ends[snapshot->count++] = at + snapshot->chunk.size;
}

struct snapshot *snapshot_begin(struct datadir *directory, struct state *state,
                                const struct snapshot_place *place, char *error, size_t error_size)
{
    struct snapshot *snapshot = memory_new(sizeof *snapshot);
    char name[64], folder[PATH_SIZE];
    CHECK(state_committed(state).applied == place->index);
    snapshot->place = *place;
    datadir_inside(directory, "snap", folder);
    snprintf(name, sizeof name, "snap/%020" PRIu64 "-%" PRIu64 ".snap", place->index, place->term);
    datadir_inside(directory, name, snapshot->path);
    int failed = disk_make_directory(folder);
    if (!failed) failed = disk_remove(snapshot->path);
    snapshot->file = failed && failed != -ENOENT ? failed : disk_open(snapshot->path, true);
    if (snapshot->file < 0) {
        snprintf(error, error_size, "%s cannot be made: %s", snapshot->path, strerror(-snapshot->file));
        free(snapshot);
        return NULL;
    }
    chunk_begin(&snapshot->chunk, CHUNK_HEAD);
    chunk_add_head(&snapshot->chunk, place);
    write_chunk(snapshot);
    if (snapshot->failed) {
        snprintf(error, error_size, "%s cannot be written: there is no room", snapshot->path);
        snapshot_end(snapshot);
        return NULL;
    }
    chunk_begin(&snapshot->chunk, CHUNK_ROWS);
    snapshot->view = state_view_open(state);
    return snapshot;
}

static void close_view(struct snapshot *snapshot)
{
    if (snapshot->view) state_view_close(snapshot->view);
    snapshot->view = NULL;
}

static void write_end(struct snapshot *snapshot)
{
    write_chunk(snapshot);
    chunk_begin(&snapshot->chunk, CHUNK_END);
    chunk_add_end(&snapshot->chunk, snapshot->rows, snapshot->place.digest);
    if (!snapshot->failed) write_chunk(snapshot);
    close_view(snapshot);
    buffer_free(&snapshot->chunk);
}

bool snapshot_step(struct snapshot *snapshot, size_t bytes)
{
    struct slice key, value;
    size_t done = 0;
    while (snapshot->view && !snapshot->failed && done < bytes) {
        if (!state_view_next(snapshot->view, &key, &value)) {
            write_end(snapshot);
            break;
        }
        if (snapshot->chunk.size + key.size + value.size > CHUNK_BYTES) {
            write_chunk(snapshot);
            chunk_begin(&snapshot->chunk, CHUNK_ROWS);
        }
        chunk_add_row(&snapshot->chunk, key, value);
        snapshot->rows++;
        done += key.size + value.size;
    }
    if (snapshot->failed) close_view(snapshot);
    return snapshot->view != NULL;
}

bool snapshot_complete(const struct snapshot *snapshot)
{
    return !snapshot->view && !snapshot->failed;
}

bool snapshot_failed(const struct snapshot *snapshot)
{
    return snapshot->failed;
}

const struct snapshot_place *snapshot_place(const struct snapshot *snapshot)
{
    return &snapshot->place;
}

uint64_t snapshot_chunks(const struct snapshot *snapshot)
{
    return snapshot->count;
}

bool snapshot_chunk(struct snapshot *snapshot, uint64_t number, struct arena *arena, struct slice *chunk)
{
    CHECK(snapshot_complete(snapshot) && number < snapshot->count);
    uint64_t at = number ? snapshot->ends[number - 1] : 0;
    size_t size = (size_t)(snapshot->ends[number] - at);
    uint8_t *bytes = arena_alloc(arena, size);
    *chunk = slice_of(bytes, size);
    struct slice rest = *chunk;
    return disk_read(snapshot->file, at, bytes, size) == 0 && chunk_open(&rest, number) != 0;
}

void snapshot_end(struct snapshot *snapshot)
{
    close_view(snapshot);
    disk_close(snapshot->file);
    disk_remove(snapshot->path);
    buffer_free(&snapshot->chunk);
    free(snapshot->ends);
    free(snapshot);
}
