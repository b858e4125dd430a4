/* What rows_try needs to take puts and deletes back: for each, the key and what was there before. Every
 * definition of rows.h holds one and notes its changes. */
#ifndef COORDD_COORD_UNDO_H
#define COORDD_COORD_UNDO_H

#include "base/buffer.h"
#include "coord/rows.h"

struct undo {
    bool on;
    struct buffer notes; /* oldest first: key, value, whether it was there, sizes */
};

/* Before a put or delete: `value` is the row's present one, NULL when it has none. */
void undo_note(struct undo *undo, struct slice key, const struct slice *value);
void undo_start(struct undo *undo);
/* Ends it; with keep false puts everything back, newest change first, through rows_put and rows_delete. */
void undo_finish(struct undo *undo, struct rows *rows, bool keep);
void undo_free(struct undo *undo);

#endif
