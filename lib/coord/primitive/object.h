/* What named objects (locks, elections) have in common: the keys under which they hang on leases and wait,
 * the leases that clients name, lists by prefix, and the bound on idle ones.
 *
 * `what`, the key of an attachment or a wait, is: name 0 kind rest, where kind is a letter of the
 * primitive's.
 *
 * Rows of the bound, of each kind of object apart:
 *     KEPT index name -> nothing: every object's row once; the index orders them by age
 *     KEPT            -> how many there are */
#ifndef COORDD_COORD_PRIMITIVE_OBJECT_H
#define COORDD_COORD_PRIMITIVE_OBJECT_H

#include "coord/apply.h"
#include "coord/key.h"

struct slice object_what(struct apply *apply, struct slice name, char kind, struct slice rest);
bool object_parse_what(struct slice what, struct slice *name, char *kind, struct slice *rest);
/* The rest of the first attachment (lease, primitive, name, kind), in the arena; false: there is none. */
bool object_attached(struct apply *apply, uint64_t lease, uint8_t primitive, struct slice name, char kind,
                     struct slice *rest);

/* A lease that a client named may be used; else the request is answered. */
bool object_lease_usable(struct apply *apply, uint64_t lease);

/* Rows KEY name -> value, with names that begin with `prefix`. `from` is where to go on: object_first, then
 * as object_next leaves it. The cursor, when given, is the name before the first. */
struct key object_first(enum key_kind kind, struct slice prefix, struct slice cursor);
bool object_next(struct apply *apply, struct key *from, struct slice prefix, struct slice *name);

/* Objects that nobody uses keep their row, for their history, until there are more than `max` of all. */
struct object_kind {
    enum key_kind row, kept;
    uint64_t max;
    bool (*idle)(struct apply *apply, struct slice name); /* by its row: one in hand must be saved by now */
};
/* The object has got a row just now, which is there. */
void object_keep(struct apply *apply, const struct object_kind *kind, struct slice name);
/* It has become idle: pays for the forgetting of others, a few looks at a time. */
void object_forget_surplus(struct apply *apply, const struct object_kind *kind);
/* There are `count` rows, each kept once. */
void object_check_kept(struct rows *rows, struct arena *arena, const struct object_kind *kind,
                       uint64_t count);

#endif
