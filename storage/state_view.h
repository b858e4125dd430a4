/* The rows as of the last commit, in order of keys, while the state goes on changing: an LMDB read
 * transaction. It keeps pages from being used again, so it must not live longer than it takes to copy the
 * rows to a file.
 */
#ifndef COORDD_STORAGE_STATE_VIEW_H
#define COORDD_STORAGE_STATE_VIEW_H

#include "storage/state.h"

struct state_view;

struct state_view *state_view_open(struct state *state);
/* The next row; false after the last one. Slices are valid until the next call. */
bool state_view_next(struct state_view *view, struct slice *key, struct slice *value);
void state_view_close(struct state_view *view);

#endif
