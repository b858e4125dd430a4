/* The kinds of rows: the first byte of every key. For ever: append, never reuse.
 *
 * Numbers inside keys are 8 bytes big-endian, so that they sort. A name inside a key is followed by a zero
 * byte (names have none). */
#ifndef COORDD_COORD_KEY_H
#define COORDD_COORD_KEY_H

#include "base/arena.h"

enum key_kind {
    KEY_LEASE = 'l',       /* lease                         -> lease_row */
    KEY_ATTACHMENT = 'a',  /* lease, primitive code, what   -> empty */
    KEY_SESSION = 's',     /* node id                       -> the node's session lease */
    KEY_WAIT = 'w',        /* entry index                   -> primitive code, what */
    KEY_PULSE = 'p',       /* entry index, number           -> primitive code, what */
    KEY_LOCK = 'L',        /* name                          -> lock_row */
    KEY_LOCK_HOLDER = 'H', /* name 0, token                -> holder_row */
    KEY_LOCK_WAITER = 'W', /* name 0, place in the queue   -> waiter_row */
    KEY_LOCK_KEPT = 'F',   /* entry index, name -> empty; alone -> how many there are */
};

enum { KEY_SIZE_MAX = 511 };

/* A key under construction. */
struct key {
    size_t size;
    uint8_t bytes[KEY_SIZE_MAX];
};

struct key key_of(enum key_kind kind);
void key_number(struct key *key, uint64_t number);
void key_byte(struct key *key, uint8_t byte);
void key_name(struct key *key, struct slice name);   /* and the zero byte */
void key_bytes(struct key *key, struct slice bytes); /* as they are */

static inline struct slice key_slice(const struct key *key)
{
    return slice_of(key->bytes, key->size);
}

#endif
