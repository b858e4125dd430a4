/* A log under test, and entries for it. */
#ifndef COORDD_TESTS_RAFTLOG_TEST_H
#define COORDD_TESTS_RAFTLOG_TEST_H

#include "base/buffer.h"
#include "storage/raftlog.h"
#include "tests/unit/storage_test.h"

enum { SEGMENT = RAFTLOG_SEGMENT_BYTES_MIN, ENTRIES_MAX = 4096 };

/* What should be in the log, beside the log. `payloads` belongs to the entries. */
struct fixture {
    char *root;
    char dir[400];
    struct raftlog *log;
    struct raftlog_found found;
    char error[1000];
    struct arena arena;
    struct raft_hard hard;
    struct raft_entry entries[ENTRIES_MAX]; /* entries[i] has index i; 0 is the base of an empty log */
    uint64_t last;
};

static const struct raftlog_creation creation = {
    .identity = {71, 72, "n1"},
    .config = {.members[0] = {.node = 72, .membership = RAFT_VOTER}, .member_count = 1},
    .state_dir = "state-1",
    .segment_bytes = SEGMENT};

static inline bool open_log(struct fixture *f)
{
    f->error[0] = 0;
    f->log = raftlog_open(f->dir, &f->arena, &f->found, f->error, sizeof f->error);
    return f->log != NULL;
}

static inline void close_log(struct fixture *f)
{
    if (f->log) raftlog_close(f->log);
    f->log = NULL;
}

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->root = temporary_directory();
    snprintf(f->dir, sizeof f->dir, "%s/log", f->root);
    assert_int_equal(mkdir(f->dir, 0700), 0);
    assert_int_equal(raftlog_create(f->dir, &creation, f->error, sizeof f->error), 0);
    assert_true(open_log(f));
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    faults_clear();
    close_log(f);
    arena_free(&f->arena);
    remove_tree(f->root);
    free(f->root);
    free(f);
    return 0;
}

static inline struct slice payload_of(struct fixture *f, uint64_t index, uint64_t term, size_t size)
{
    struct slice text = arena_printf(&f->arena, "entry %d of term %d|", (int)index, (int)term);
    uint8_t *bytes = arena_alloc(&f->arena, size);
    for (size_t i = 0; i < size; i++) bytes[i] = text.data[i % text.size];
    return slice_of(bytes, size);
}

static inline struct raft_entry *prepare(struct fixture *f, uint64_t index, uint64_t term,
                                         enum raft_entry_kind kind, struct slice payload)
{
    assert_true(index < ENTRIES_MAX);
    struct raft_entry *entry = &f->entries[index];
    *entry = (struct raft_entry){index, term, kind, 0, payload};
    entry->chain = raft_chain(f->entries[index - 1].chain, entry);
    return entry;
}

/* Writes entries first..last of the term and the hard state; the payloads have `size` bytes. */
static inline int append(struct fixture *f, uint64_t first, uint64_t last, uint64_t term, size_t size)
{
    for (uint64_t i = first; i <= last; i++) prepare(f, i, term, RAFT_COMMAND, payload_of(f, i, term, size));
    if (term > f->hard.term) f->hard = (struct raft_hard){term, 72, f->hard.commit};
    struct raftlog_write write = {&f->hard, &f->entries[first], (size_t)(last + 1 - first)};
    int error = raftlog_append(f->log, &write);
    if (!error) f->last = last;
    return error;
}

/* The log, as it was opened last, has all and only what was written. */
static inline void check_found(struct fixture *f)
{
    uint64_t base = f->found.base_index;
    assert_int_equal(base + f->found.entry_count, f->last);
    assert_memory_equal(&f->found.hard, &f->hard, sizeof f->hard);
    assert_int_equal(f->found.base_term, f->entries[base].term);
    assert_int_equal(f->found.base_chain, f->entries[base].chain);
    for (uint64_t i = base + 1; i <= f->last; i++) {
        const struct raft_entry *found = &f->found.entries[i - base - 1], *expected = &f->entries[i];
        assert_true(found->index == i && found->term == expected->term && found->kind == expected->kind &&
                    found->chain == expected->chain);
    }
}

static inline void check_read(struct fixture *f)
{
    struct raft_entry entry;
    struct arena arena = {0};
    for (uint64_t i = f->found.base_index + 1; i <= f->last; i++) {
        assert_int_equal(raftlog_read(f->log, i, &arena, &entry), 0);
        assert_true(entry.index == i && entry.term == f->entries[i].term && entry.kind == f->entries[i].kind);
        assert_true(slice_equal(entry.payload, f->entries[i].payload));
        arena_reset(&arena);
    }
    assert_int_equal(raftlog_read(f->log, f->last + 1, &arena, &entry), -ENOENT);
    assert_int_equal(raftlog_read(f->log, f->found.base_index, &arena, &entry), -ENOENT);
    arena_free(&arena);
}

static inline void reopen(struct fixture *f)
{
    close_log(f);
    if (!open_log(f)) fail_msg("refused: %s", f->error);
    check_found(f);
    check_read(f);
}

static inline const char *segment(struct fixture *f, unsigned number)
{
    char name[32];
    snprintf(name, sizeof name, "%010u.log", number);
    return path_in(f->dir, name);
}

static inline unsigned segments(struct fixture *f)
{
    unsigned count = 0;
    for (unsigned i = 1; i < 1000; i++) count += access(segment(f, i), F_OK) == 0;
    return count;
}

#endif
