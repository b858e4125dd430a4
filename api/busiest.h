/* Figures of single things by their names, of a bounded number of names: the busiest are shown in /metrics.
 * Not for several threads at once.
 *
 * Invariant: at most `max` names are known at a time. One that is not known takes the place of one that had
 * little to do lately, and begins at zero. */
#ifndef COORDD_API_BUSIEST_H
#define COORDD_API_BUSIEST_H

#include "base/buffer.h"

struct busiest;

/* What the caller's struct of figures begins with. */
struct busiest_name {
    uint32_t hash;
    uint8_t size;
    uint8_t name[255];
    uint64_t lately; /* uses, halved whenever somebody looks for a place */
    uint64_t weight; /* by which the busiest are found; the caller's to raise */
};

struct busiest *busiest_new(size_t figures_size, size_t max);
void busiest_free(struct busiest *busiest);

/* The figures of that name (at most 255 bytes), new ones when it is not known. NULL: another name has the
 * same hash; this one is left out. */
void *busiest_use(struct busiest *busiest, struct slice name);
/* The same without making or using one. NULL: not known. */
void *busiest_find(const struct busiest *busiest, struct slice name);
size_t busiest_known(const struct busiest *busiest);
/* Copies the figures of the `max` heaviest, heaviest first; of equals, the one known longer. Gives how many.
 */
size_t busiest_shown(const struct busiest *busiest, void *figures, size_t max);

/* {LABEL="NAME" without the closing brace, as Prometheus wants it. */
void busiest_label(const struct busiest_name *name, const char *label, struct buffer *out);

#endif
