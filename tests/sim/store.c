/* state.h, state_view.h and datadir.h in memory, with the same crash semantics: a crash falls back to the
 * last commit or, since its own meta page may not be on the device, to the one before. */
#include "tests/sim/sim.h"

#include "base/check.h"
#include "base/memory.h"
#include "storage/datadir_internal.h"
#include "storage/state_view.h"
#include "tests/support/rows_memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { SEGMENT_BYTES = RAFTLOG_SEGMENT_BYTES_MIN };

struct state {
    struct sim_image *image;
    struct rows *rows;
    struct state_mark mark;
    size_t dirty;
};

static struct sim_image *find(struct sim_node *sim, const char *path)
{
    for (size_t i = 0; i < STATES_MAX; i++)
        if (sim->images[i].used && strcmp(sim->images[i].path, path) == 0) return &sim->images[i];
    return NULL;
}

static void drop(struct sim_image *image)
{
    if (image->synced != image->committed) rows_memory_free(image->synced);
    rows_memory_free(image->committed);
    *image = (struct sim_image){0};
}

/* --- the state --- */

int state_create(const char *dir, uint64_t cluster, uint64_t node, char *error, size_t error_size)
{
    (void)cluster, (void)node, (void)error, (void)error_size;
    struct sim_image *image = sim_current->images;
    CHECK(!find(sim_current, dir) && strlen(dir) < sizeof image->path);
    while (image->used) image++;
    CHECK(image < sim_current->images + STATES_MAX);
    *image = (struct sim_image){.used = true};
    memcpy(image->path, dir, strlen(dir) + 1);
    image->committed = image->synced = rows_memory_new();
    return 0;
}

struct state *state_open(const char *dir, uint64_t cluster, uint64_t node, size_t map_bytes, char *error,
                         size_t error_size)
{
    (void)cluster, (void)node, (void)map_bytes, (void)error, (void)error_size;
    struct state *state = memory_new(sizeof *state);
    state->image = find(sim_current, dir);
    CHECK(state->image);
    state->rows = rows_memory_clone(state->image->committed);
    state->mark = state->image->committed_mark;
    return state;
}

void state_close(struct state *state)
{
    rows_memory_free(state->rows);
    free(state);
}

struct rows *state_rows(struct state *state)
{
    return state->rows;
}

struct state_mark state_mark(const struct state *state)
{
    struct state_mark mark = state->mark;
    mark.digest = rows_digest(state->rows);
    return mark;
}

struct state_mark state_committed(const struct state *state)
{
    return state->image->committed_mark;
}

struct state_mark state_synced(const struct state *state)
{
    return state->image->synced_mark;
}

void state_set_mark(struct state *state, uint64_t applied, uint64_t term, uint64_t time_ms)
{
    CHECK(applied == state->mark.applied + 1 && term >= state->mark.term && time_ms >= state->mark.time_ms);
    state->mark = (struct state_mark){.applied = applied, .term = term, .time_ms = time_ms};
    state->dirty++;
}

void state_adopt_mark(struct state *state, const struct state_mark *mark)
{
    CHECK(state->mark.applied == 0);
    state->mark = *mark;
    state->dirty++;
}

size_t state_dirty(const struct state *state)
{
    return state->dirty;
}

size_t state_pages(const struct state *state)
{
    return state->dirty;
}

static void commit(struct state *state)
{
    struct sim_image *image = state->image;
    if (image->synced != image->committed) rows_memory_free(image->synced);
    image->synced = image->committed;
    image->synced_mark = image->committed_mark;
    image->committed = rows_memory_clone(state->rows);
    image->committed_mark = state_mark(state);
    state->dirty = 0;
}

/* The rows as they were committed, in the same object. */
static void fall_back(struct state *state)
{
    struct buffer from = {0};
    struct slice key, value;
    while (rows_seek(state->rows, slice_of(NULL, 0), &key, &value)) {
        from.size = 0;
        buffer_add_slice(&from, key);
        rows_delete(state->rows, buffer_slice(&from));
    }
    from.size = 0;
    while (rows_seek(state->image->committed, buffer_slice(&from), &key, &value)) {
        rows_put(state->rows, key, value);
        from.size = 0;
        buffer_add_slice(&from, key);
        buffer_add_byte(&from, 0);
    }
    buffer_free(&from);
}

int state_commit(struct state *state)
{
    if (sim_local_ms(sim_current) < sim_current->full_until_ms && draw(2)) {
        fall_back(state);
        state->mark = state->image->committed_mark;
        state->dirty = 0;
        return -ENOSPC;
    }
    commit(state);
    return 0;
}

void state_sync(struct state *state)
{
    struct sim_image *image = state->image;
    if (image->synced != image->committed) rows_memory_free(image->synced);
    image->synced = image->committed;
    image->synced_mark = image->committed_mark;
}

uint64_t state_check(struct state *state)
{
    return rows_memory_count(state->rows);
}

void store_crash(struct sim_node *sim)
{
    for (size_t i = 0; i < STATES_MAX; i++) {
        struct sim_image *image = &sim->images[i];
        if (!image->used || draw(2) || image->synced == image->committed) continue;
        rows_memory_free(image->committed);
        image->committed = image->synced;
        image->committed_mark = image->synced_mark;
    }
}

void store_wipe(struct sim_node *sim)
{
    for (size_t i = 0; i < STATES_MAX; i++)
        if (sim->images[i].used) drop(&sim->images[i]);
}

/* --- views --- */

struct state_view {
    struct rows *rows;
    struct buffer last; /* key, then a zero byte: the least key beyond it */
};

struct state_view *state_view_open(struct state *state)
{
    struct state_view *view = memory_new(sizeof *view);
    view->rows = rows_memory_clone(state->image->committed);
    return view;
}

bool state_view_next(struct state_view *view, struct slice *key, struct slice *value)
{
    if (!rows_seek(view->rows, buffer_slice(&view->last), key, value)) return false;
    view->last.size = 0;
    buffer_add_slice(&view->last, *key);
    buffer_add_byte(&view->last, 0);
    return true;
}

void state_view_close(struct state_view *view)
{
    rows_memory_free(view->rows);
    buffer_free(&view->last);
    free(view);
}

/* --- the data directory --- */

void datadir_inside(const struct datadir *directory, const char *name, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%s/%s", directory->path, name);
}

int datadir_remove(const char *path)
{
    struct sim_image *image = find(sim_current, path);
    if (image) drop(image);
    return 0;
}

static bool has_log(const struct sim_node *sim)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (sim->files[i].linked && strstr(sim->files[i].path, ".log")) return true;
    return false;
}

struct datadir *datadir_take(const char *path, char *error, size_t error_size)
{
    struct datadir *directory = memory_new(sizeof *directory);
    (void)error, (void)error_size;
    snprintf(directory->path, sizeof directory->path, "%s", path);
    directory->fresh = !has_log(sim_current);
    return directory;
}

bool datadir_fresh(const struct datadir *directory)
{
    return directory->fresh;
}

uint64_t datadir_node(struct datadir *directory, char *error, size_t error_size)
{
    (void)error, (void)error_size;
    if (!sim_current->id) sim_current->id = draw(UINT32_MAX) + 1;
    return directory->node = sim_current->id;
}

static bool create(struct datadir *directory, const struct datadir_settings *settings, char *error,
                   size_t size)
{
    char path[PATH_SIZE];
    struct raftlog_creation creation = {.identity = {settings->founding->cluster, directory->node, ""},
                                        .config = settings->founding->config,
                                        .state_dir = "state-1",
                                        .segment_bytes = SEGMENT_BYTES};
    snprintf(creation.identity.name, sizeof creation.identity.name, "%s", settings->name);
    datadir_inside(directory, "state-1", path);
    datadir_remove(path);
    CHECK(state_create(path, 0, 0, error, size) == 0);
    datadir_inside(directory, "log", path);
    return raftlog_create(path, &creation, error, size) == 0;
}

bool datadir_open(struct datadir *directory, const struct datadir_settings *settings, struct arena *arena,
                  struct datadir_contents *contents, char *error, size_t error_size)
{
    char path[PATH_SIZE];
    *contents = (struct datadir_contents){.fresh = directory->fresh};
    if (directory->fresh && !create(directory, settings, error, error_size)) return false;
    datadir_inside(directory, "log", path);
    contents->log = raftlog_open(path, arena, &contents->found, error, error_size);
    if (!contents->log) return false;
    CHECK(contents->found.identity.node == sim_current->id);
    if (contents->found.cut_bytes) mark(MARK_TORN_TAIL_CUT);
    directory->cluster = contents->found.identity.cluster;
    memcpy(directory->state_dir, contents->found.state_dir, sizeof directory->state_dir);
    for (size_t i = 0; i < STATES_MAX; i++) { /* left over from a snapshot that was not taken */
        struct sim_image *image = &sim_current->images[i];
        datadir_inside(directory, directory->state_dir, path);
        if (image->used && strcmp(image->path, path) != 0) drop(image);
    }
    contents->state = state_open(path, 0, 0, 0, error, error_size);
    uint64_t applied = state_mark(contents->state).applied;
    CHECK(applied >= contents->found.base_index &&
          applied <= contents->found.base_index + contents->found.entry_count);
    if (applied < contents->found.hard.commit) mark(MARK_STATE_BEHIND_LOG);
    directory->fresh = false;
    return true;
}

void datadir_close(struct datadir *directory)
{
    free(directory);
}
