/* Items of one size, side by side in memory: pushed at the end, dropped at either end, in amortized constant
 * time. A strip needs its item_size set and the rest zero. Pushing and dropping may move the items. */
#ifndef COORDD_RAFT_STRIP_H
#define COORDD_RAFT_STRIP_H

#include <stddef.h>
#include <stdint.h>

struct strip {
    uint8_t *items;
    size_t item_size, start, count, capacity;
};

void *strip_at(const struct strip *strip, size_t place);
void *strip_push(struct strip *strip); /* returns where the new last item goes */
void strip_drop_first(struct strip *strip, size_t count);
void strip_drop_last(struct strip *strip, size_t count);
void strip_free(struct strip *strip); /* empty and usable again */

#endif
