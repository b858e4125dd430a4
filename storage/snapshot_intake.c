/* The receiver: chunks become a new state beside the one in use.
 *
 * Invariants: 1. nothing of a chunk is used before all of it was checked. 2. The new state is named in the
 * log only when everything in it is on the device; until then a start removes it. */
#include "base/check.h"
#include "base/memory.h"
#include "base/mutant.h"
#include "storage/datadir_internal.h"
#include "storage/disk.h"
#include "storage/snapshot_chunk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { COMMIT_ROWS = 8192 };

struct snapshot_intake {
    struct datadir *directory;
    char name[RAFTLOG_STATE_DIR_MAX + 1], path[PATH_SIZE]; /* of the new state */
    struct state *state;
    struct snapshot_place place;
    uint64_t next, rows; /* chunk wanted next; rows taken */
    struct buffer last;  /* key of the newest row */
    bool whole;
    bool over;     /* a chunk was refused: what is here means nothing */
    bool switched; /* the state is the node's */
};

/* All there may be of it, also from an intake that a full disk ended while its state was being made. */
static void remove_new(const struct snapshot_intake *intake)
{
    char making[PATH_SIZE];
    snprintf(making, sizeof making, "%.*s.new", PATH_SIZE - 8, intake->path);
    datadir_remove(making);
    datadir_remove(intake->path);
}

static _Noreturn void disk_failed(const struct snapshot_intake *intake, int error)
{
    fatal("%s cannot be flushed: %s; what is on this disk is uncertain: check the disk, then start again",
          intake->directory->path, strerror(-error));
}

struct snapshot_intake *snapshot_intake_begin(struct datadir *directory, char *error, size_t error_size)
{
    struct snapshot_intake *intake = memory_new(sizeof *intake);
    intake->directory = directory;
    unsigned long long number = strtoull(directory->state_dir + strlen("state-"), NULL, 10);
    snprintf(intake->name, sizeof intake->name, "state-%llu", number + 1);
    datadir_inside(directory, intake->name, intake->path);
    remove_new(intake);
    if (!state_create(intake->path, directory->cluster, directory->node, error, error_size))
        intake->state = state_open(intake->path, directory->cluster, directory->node, 0, error, error_size);
    if (intake->state) return intake;
    snapshot_intake_end(intake);
    return NULL;
}

void snapshot_intake_end(struct snapshot_intake *intake)
{
    if (intake->state) state_close(intake->state);
    if (!intake->switched) remove_new(intake);
    buffer_free(&intake->last);
    free(intake);
}

const struct snapshot_place *snapshot_intake_place(const struct snapshot_intake *intake)
{
    return &intake->place;
}

/* Well-formed, and every key beyond the one before. */
static bool check_rows(const struct snapshot_intake *intake, struct slice chunk)
{
    struct slice key, value, before = buffer_slice(&intake->last);
    for (; chunk.size; before = key)
        if (!chunk_take_row(&chunk, &key, &value) || slice_compare(before, key) >= 0) return false;
    return true;
}

static enum intake_result take_rows(struct snapshot_intake *intake, struct slice chunk)
{
    struct slice key = {0}, value;
    if (!check_rows(intake, chunk)) return INTAKE_BAD;
    if (!chunk.size) return INTAKE_MORE;
    while (chunk.size) {
        CHECK(chunk_take_row(&chunk, &key, &value));
        rows_put(state_rows(intake->state), key, value);
        intake->rows++;
    }
    intake->last.size = 0;
    buffer_add_slice(&intake->last, key);
    if (state_dirty(intake->state) >= COMMIT_ROWS && state_commit(intake->state)) return INTAKE_NO_ROOM;
    return INTAKE_MORE;
}

static enum intake_result take_end(struct snapshot_intake *intake, struct slice chunk)
{
    uint64_t rows, digest;
    const struct snapshot_place *place = &intake->place;
    if (!chunk_take_end(chunk, &rows, &digest)) return INTAKE_BAD;
    bool same =
        rows == intake->rows && digest == place->digest && rows_digest(state_rows(intake->state)) == digest;
    if (!same && !MUTANT(42)) return INTAKE_BAD;
    struct state_mark mark = {place->index, place->term, place->time_ms, digest};
    state_adopt_mark(intake->state, &mark);
    if (state_commit(intake->state)) return INTAKE_NO_ROOM;
    intake->whole = true;
    if (MUTANT(43)) return INTAKE_WHOLE;
    state_sync(intake->state);
    int error = disk_sync_directory(intake->directory->path); /* the name of the new state's directory */
    if (error) disk_failed(intake, error);
    return INTAKE_WHOLE;
}

enum intake_result snapshot_intake_chunk(struct snapshot_intake *intake, uint64_t number, struct slice chunk)
{
    enum chunk_kind kind = chunk_open(&chunk, number);
    bool head = kind == CHUNK_HEAD;
    bool wanted = !intake->whole && !intake->over && kind && number == intake->next && head == (number == 0);
    enum intake_result result = INTAKE_BAD;
    if (wanted && head)
        result = chunk_take_head(chunk, &intake->place) ? INTAKE_MORE : INTAKE_BAD;
    else if (wanted)
        result = kind == CHUNK_ROWS ? take_rows(intake, chunk) : take_end(intake, chunk);
    if (result == INTAKE_MORE) intake->next++;
    if (!intake->whole) intake->over |= result != INTAKE_MORE;
    return result;
}

int snapshot_switch(struct snapshot_intake *intake, struct datadir_contents *contents,
                    const struct raft_hard *hard)
{
    struct datadir *directory = intake->directory;
    struct raftlog_beginning beginning = {.index = intake->place.index,
                                          .term = intake->place.term,
                                          .chain = intake->place.chain,
                                          .config = intake->place.config,
                                          .hard = *hard};
    char old[PATH_SIZE];
    CHECK(intake->whole);
    memcpy(beginning.state_dir, intake->name, sizeof beginning.state_dir);
    datadir_inside(directory, directory->state_dir, old);
    if (MUTANT(48)) datadir_remove(old);
    if (raftlog_begin_anew(contents->log, &beginning) == -ENOSPC) return -ENOSPC;
    state_close(contents->state);
    datadir_remove(old);
    memcpy(directory->state_dir, intake->name, sizeof directory->state_dir);
    memcpy(contents->found.state_dir, intake->name, sizeof contents->found.state_dir);
    contents->state = intake->state;
    intake->state = NULL;
    intake->switched = true;
    snapshot_intake_end(intake);
    return 0;
}
