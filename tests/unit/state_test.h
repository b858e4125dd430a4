/* A state under test. */
#ifndef COORDD_TESTS_STATE_TEST_H
#define COORDD_TESTS_STATE_TEST_H

#include "storage/state.h"
#include "tests/unit/storage_test.h"

enum { CLUSTER = 5, NODE = 6 };

struct fixture {
    char *root;
    char dir[400];
    struct state *state;
    struct rows *rows;
    char error[1000];
    uint64_t applied;
};

static inline bool open_state(struct fixture *f)
{
    f->error[0] = 0;
    f->state = state_open(f->dir, CLUSTER, NODE, 1 << 30, f->error, sizeof f->error);
    f->rows = f->state ? state_rows(f->state) : NULL;
    return f->state != NULL;
}

static inline void close_state(struct fixture *f)
{
    if (f->state) state_close(f->state);
    f->state = NULL;
}

static inline void reopen(struct fixture *f)
{
    close_state(f);
    if (!open_state(f)) fail_msg("refused: %s", f->error);
    f->applied = state_mark(f->state).applied;
}

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->root = temporary_directory();
    snprintf(f->dir, sizeof f->dir, "%s/state-1", f->root);
    assert_int_equal(state_create(f->dir, CLUSTER, NODE, f->error, sizeof f->error), 0);
    assert_true(open_state(f));
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    faults_clear();
    close_state(f);
    remove_tree(f->root);
    free(f->root);
    free(f);
    return 0;
}

static inline void put(struct fixture *f, const char *key, const char *value)
{
    rows_put(f->rows, slice_text(key), slice_text(value));
}

static inline bool has(struct fixture *f, const char *key, const char *value)
{
    struct slice stored;
    return rows_get(f->rows, slice_text(key), &stored) && slice_is(stored, value);
}

static inline void mark(struct fixture *f)
{
    f->applied++;
    state_set_mark(f->state, f->applied, 1 + f->applied / 10, 1000 + f->applied);
}

#endif
