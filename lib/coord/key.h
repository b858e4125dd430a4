/* The kinds of rows: the first byte of every key. For ever: append, never reuse.
 *
 * Numbers inside keys are 8 bytes big-endian, so that they sort. A name inside a key is followed by a zero
 * byte (names have none). */
#ifndef COORDD_COORD_KEY_H
#define COORDD_COORD_KEY_H

#include "base/arena.h"

enum key_kind {
    KEY_LEASE = 'l',         /* lease                         -> lease_row */
    KEY_ATTACHMENT = 'a',    /* lease, primitive code, what   -> empty */
    KEY_SESSION = 's',       /* node id                       -> the node's session lease */
    KEY_WAIT = 'w',          /* entry index                   -> primitive code, what */
    KEY_PULSE = 'p',         /* entry index, number           -> primitive code, what */
    KEY_DUE = 'd',           /* ms since 1970, primitive code, what -> empty */
    KEY_LOCK = 'L',          /* name                          -> lock_row */
    KEY_LOCK_HOLDER = 'H',   /* name 0, token                -> holder_row */
    KEY_LOCK_WAITER = 'W',   /* name 0, place in the queue   -> waiter_row */
    KEY_LOCK_KEPT = 'F',     /* entry index, name -> empty; alone -> how many there are */
    KEY_LOCK_MANY = 'M',     /* entry index of its arrival    -> lock_many: a wait for several locks */
    KEY_EVENT = 'e',         /* entry index                   -> the events of that entry (event.h) */
    KEY_ELECTION = 'E',      /* name                          -> election_row */
    KEY_CANDIDATE = 'C',     /* name 0, place in the queue   -> candidate_row */
    KEY_ELECTION_KEPT = 'G', /* entry index, name -> empty; alone -> how many there are */
    KEY_KEY = 'k',           /* key                           -> kv_version: its newest, without the value */
    KEY_KEY_GONE = 'x',      /* key                           -> the same of a deleted one, for the history */
    KEY_VERSION = 'v',       /* entry index, key              -> kv_version: with the value */
    KEY_SPACE = 'K',         /* nothing                       -> kv_space: the dense revision */
    KEY_LEASE_KEYS = 'n',    /* lease                         -> how many keys hang on it, if more than one */
    KEY_GUARD = 'g',         /* prefix of keys                -> guard_row: the lock that guards them */
    KEY_RETRY = 'i',         /* Idempotency-Key -> retry_row; alone -> how many there are */
    KEY_RETRY_WAIT = 'j',    /* entry index of a request that waits -> its Idempotency-Key */
    KEY_QUEUE = 'Q',         /* queue                        -> queue_row; for all below see queue.h */
    KEY_QUEUE_KEPT = 'q',    /* entry index, queue -> empty; alone -> how many there are */
    KEY_QUEUE_MINUTE = 'm',  /* queue 0, minute              -> queue_minute: its figures */
    KEY_TASK_ID = 'I',       /* nothing                      -> the highest id of a task */
    KEY_TASK = 'T',          /* task                         -> task: what changes of it */
    KEY_TASK_BODY = 'B',     /* task                         -> task_body: what does not */
    KEY_TASK_RESULT = 'R',   /* task                         -> its result */
    KEY_TASK_STATE = 't',    /* queue 0, state, entry index, task -> empty */
    KEY_TASK_KEY = 'U',      /* queue 0, key                 -> the live task that has the key for itself */
    KEY_TASK_AFTER = 'A',    /* task, one that needs it      -> empty */
    KEY_READY = 'r',         /* queue 0, rank, task          -> empty: may be handed out */
    KEY_LANE = 'N',          /* queue 0, kind, name          -> lane: slots of a group or a key */
    KEY_LANE_TASK = 'O',     /* queue 0, kind, name 0, task  -> empty: waits in the lane */
    KEY_CLAIMER = 'c',       /* queue 0, entry index         -> claimer: a claim that waits */
    KEY_WORKER = 'Z',        /* queue 0, worker              -> worker_row: its figures */
    KEY_WORKER_KEPT = 'z',   /* entry index, queue 0 worker -> empty; alone -> how many there are */
    KEY_SCHEDULE = 'S',      /* name                         -> schedule_row */
    KEY_GROUP = 'P',         /* group                        -> group_row; for all below see group.h */
    KEY_GROUP_KEPT = 'f',    /* entry index, group -> empty; alone -> how many there are */
    KEY_MEMBER = 'D',        /* group 0, member              -> member */
    KEY_MEMBER_PAST = 'h',   /* group 0, member              -> member_past: its history */
    KEY_MEMBER_STATE = 'y',  /* group 0, state, entry index, member -> empty */
    KEY_SHARD = 'X',         /* group 0, number              -> shard */
    KEY_SHARD_OF = 'Y',      /* group 0, member 0, number    -> empty: it has that shard */
    KEY_BROADCAST = 'b',     /* group 0, entry index         -> broadcast */
    KEY_BROADCAST_ACK = 'u', /* group 0, entry index, member -> ack */
    KEY_CENSUS = 'J',        /* nothing                      -> census: sums over all groups */
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
/* The least key behind this one, which may lie in what the result is assigned to. */
struct key key_after(struct slice key);

static inline struct slice key_slice(const struct key *key)
{
    return slice_of(key->bytes, key->size);
}

#endif
