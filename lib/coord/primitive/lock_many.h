/* Several locks in one request: what lock_many.c and lock_acquire_many.c share. */
#ifndef COORDD_COORD_PRIMITIVE_LOCK_MANY_H
#define COORDD_COORD_PRIMITIVE_LOCK_MANY_H

#include "coord/primitive/lock.h"

struct slice lock_many_name(const struct lock_many *many, size_t i);
/* The locks as the rows have them now. Not two of these arrays at a time: each would save over the other. */
struct lock *lock_many_load(struct apply *apply, const struct lock_many *many);
void lock_many_save(struct lock *locks, size_t count);
/* What was changed is in the rows: the locks go on, one after the other. */
void lock_many_advance(struct apply *apply, const struct lock_many *many);

/* Which of the locks to grant: all, or the first that is ready. False: it has to wait. */
struct lock_chosen {
    size_t from, to;
};
bool lock_many_choose(struct lock *locks, const struct lock_many *many, struct lock_chosen *chosen);
void lock_many_grant(struct apply *apply, struct lock *locks, const struct lock_many *many,
                     struct lock_chosen chosen);
/* Into the queues; the row and the waiters may be there already, then they say what it says. */
void lock_many_wait(struct apply *apply, const struct lock_many *many);

struct lock_granted_item {
    struct slice name;
    uint64_t token;
};
/* Answers its request, if anybody listens. */
void lock_many_answer(struct apply *apply, const struct lock_many *many, uint64_t lease,
                      struct lock_granted_item *items, size_t count);
/* Facts of the first lock that it waits for. */
const void *lock_many_in_the_way(struct apply *apply, const struct lock_many *many, uint64_t position);

#endif
