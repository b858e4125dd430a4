#include "storage/state_view.h"

#include "base/memory.h"
#include "storage/state_internal.h"

struct state_view {
    MDB_txn *txn;
    MDB_cursor *cursor;
};

struct state_view *state_view_open(struct state *state)
{
    struct rows *rows = state_rows(state);
    struct state_view *view = memory_new(sizeof *view);
    state_must(mdb_txn_begin(rows->env, NULL, MDB_RDONLY, &view->txn), "view");
    state_must(mdb_cursor_open(view->txn, rows->dbi, &view->cursor), "view");
    return view;
}

bool state_view_next(struct state_view *view, struct slice *key, struct slice *value)
{
    MDB_val k, v;
    int error = mdb_cursor_get(view->cursor, &k, &v, MDB_NEXT);
    if (error == MDB_NOTFOUND) return false;
    state_must(error, "view");
    *key = slice_of(k.mv_data, k.mv_size);
    *value = rows_checked(*key, &v);
    return true;
}

void state_view_close(struct state_view *view)
{
    mdb_cursor_close(view->cursor);
    mdb_txn_abort(view->txn);
    free(view);
}
