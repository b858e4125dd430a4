/* Two data directories under test: rows go from the one to the other by a snapshot. */
#ifndef COORDD_TESTS_SNAPSHOT_TEST_H
#define COORDD_TESTS_SNAPSHOT_TEST_H

#include "base/buffer.h"
#include "storage/raftlog_internal.h"
#include "storage/snapshot.h"
#include "storage/snapshot_chunk.h"
#include "tests/unit/storage_test.h"

struct side {
    char path[400];
    struct datadir *directory;
    struct datadir_contents contents;
};

struct fixture {
    char *root;
    struct side from, to;
    struct arena arena;
    struct snapshot *snapshot;
    struct snapshot_intake *intake;
    char error[1000];
};

static inline bool open_side(struct fixture *f, struct side *side)
{
    static const struct datadir_settings settings = {.segment_bytes = RAFTLOG_SEGMENT_BYTES_MIN};
    side->directory = datadir_take(side->path, f->error, sizeof f->error);
    if (side->directory &&
        datadir_open(side->directory, &settings, &f->arena, &side->contents, f->error, sizeof f->error))
        return true;
    if (side->directory) datadir_close(side->directory);
    side->directory = NULL;
    return false;
}

static inline void close_side(struct side *side)
{
    if (!side->directory) return;
    state_close(side->contents.state);
    raftlog_close(side->contents.log);
    datadir_close(side->directory);
    side->directory = NULL;
}

static inline void reopen_side(struct fixture *f, struct side *side)
{
    close_side(side);
    if (!open_side(f, side)) fail_msg("refused: %s", f->error);
}

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->root = temporary_directory();
    snprintf(f->from.path, sizeof f->from.path, "%s/from", f->root);
    snprintf(f->to.path, sizeof f->to.path, "%s/to", f->root);
    assert_true(open_side(f, &f->from) && open_side(f, &f->to));
    *state = f;
    return 0;
}

static inline void stop_sending(struct fixture *f)
{
    if (f->snapshot) snapshot_end(f->snapshot);
    f->snapshot = NULL;
}

static inline void stop_receiving(struct fixture *f)
{
    if (f->intake) snapshot_intake_end(f->intake);
    f->intake = NULL;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    faults_clear();
    stop_sending(f);
    stop_receiving(f);
    close_side(&f->from);
    close_side(&f->to);
    arena_free(&f->arena);
    remove_tree(f->root);
    free(f->root);
    free(f);
    return 0;
}

/* A row whose key and value come from `i`. */
static inline void put_row(struct rows *rows, unsigned i, size_t size)
{
    static uint8_t value[3 * 1024 * 1024];
    char key[24];
    assert_true(size <= sizeof value);
    memset(value, (int)i, size);
    rows_put(rows, slice_of(key, (size_t)snprintf(key, sizeof key, "row %08u", i)), slice_of(value, size));
}

/* Rows of `size` bytes, as what the next entry made; committed. */
static inline void make_rows(struct side *side, unsigned count, size_t size)
{
    struct state_mark mark = state_mark(side->contents.state);
    struct raft_entry entry = {mark.applied + 1, 1, RAFT_NOOP, 0, {0}};
    struct raft_hard hard = {1, 0, 0};
    entry.chain = raft_chain(raftlog_chain_at(side->contents.log, mark.applied), &entry);
    assert_int_equal(raftlog_append(side->contents.log, &(struct raftlog_write){&hard, &entry, 1}), 0);
    for (unsigned i = 0; i < count; i++) put_row(state_rows(side->contents.state), i, size);
    state_set_mark(side->contents.state, mark.applied + 1, 1, mark.time_ms + 1000);
    assert_int_equal(state_commit(side->contents.state), 0);
}

static inline struct snapshot_place place_of(const struct side *side)
{
    struct state_mark mark = state_committed(side->contents.state);
    return (struct snapshot_place){.index = mark.applied,
                                   .term = mark.term,
                                   .time_ms = mark.time_ms,
                                   .digest = mark.digest,
                                   .chain = 4711,
                                   .config = side->contents.found.config};
}

static inline bool begin_sending(struct fixture *f)
{
    struct snapshot_place place = place_of(&f->from);
    f->error[0] = 0;
    f->snapshot =
        snapshot_begin(f->from.directory, f->from.contents.state, &place, f->error, sizeof f->error);
    return f->snapshot != NULL;
}

static inline void write_snapshot(struct fixture *f)
{
    assert_true(begin_sending(f));
    while (snapshot_step(f->snapshot, 100000)) assert_false(snapshot_complete(f->snapshot));
    assert_true(snapshot_complete(f->snapshot) && !snapshot_failed(f->snapshot));
}

static inline struct slice chunk_of(struct fixture *f, uint64_t number)
{
    struct slice chunk;
    assert_true(snapshot_chunk(f->snapshot, number, &f->arena, &chunk));
    return chunk;
}

static inline bool begin_receiving(struct fixture *f)
{
    f->error[0] = 0;
    f->intake = snapshot_intake_begin(f->to.directory, f->error, sizeof f->error);
    return f->intake != NULL;
}

/* Hands over chunks first .. last, of which each is taken. */
static inline void hand_over(struct fixture *f, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++)
        assert_int_equal(snapshot_intake_chunk(f->intake, i, chunk_of(f, i)),
                         i + 1 == snapshot_chunks(f->snapshot) ? INTAKE_WHOLE : INTAKE_MORE);
}

static inline void receive(struct fixture *f)
{
    if (!begin_receiving(f)) fail_msg("refused: %s", f->error);
    hand_over(f, 0, snapshot_chunks(f->snapshot) - 1);
}

static inline int switch_over(struct fixture *f)
{
    struct raft_hard hard = {9, 0, snapshot_intake_place(f->intake)->index};
    int error = snapshot_switch(f->intake, &f->to.contents, &hard);
    if (!error) f->intake = NULL;
    return error;
}

/* The receiver's rows are the sender's last committed ones. */
static inline void check_same(struct fixture *f)
{
    struct state_mark from = state_committed(f->from.contents.state), to = state_mark(f->to.contents.state);
    assert_memory_equal(&from, &to, sizeof from);
    state_check(f->to.contents.state);
}

#endif
