/* The log in memory. Of every entry kept: its term (as runs of equal terms) and its chain value, about 4
 * bytes each; of the newest ones, the "window", the entry itself with its payload.
 *
 * Invariants
 * 1. Indexes are contiguous: base_index + 1 .. last; the window is the end of that range (it may be empty).
 * 2. Terms never fall: the runs' first indexes and terms both strictly rise, the first run begins after base.
 * 3. Entries in the window lie side by side, so any range of it is an array that can be handed out. */
#ifndef COORDD_RAFT_ENTRIES_H
#define COORDD_RAFT_ENTRIES_H

#include "raft/raft.h"
#include "raft/strip.h"

struct entries {
    uint64_t base_index, base_term; /* the entry just before the first one kept */
    uint32_t base_chain;
    struct strip runs;   /* of struct term_run */
    struct strip chains; /* of uint32_t */
    struct strip window; /* of struct raft_entry, each owning its payload */
    size_t window_bytes; /* what the window takes in memory, about */
};

void entries_start(struct entries *log, uint64_t base_index, uint64_t base_term, uint32_t base_chain);
void entries_free(struct entries *log);

uint64_t entries_last(const struct entries *log);
uint64_t entries_last_term(const struct entries *log);

enum term_at { TERM_KNOWN, TERM_COMPACTED /* before base */, TERM_BEYOND /* after last */ };
/* Sets *term only when it is known. The base entry itself is known. */
enum term_at entries_term_at(const struct entries *log, uint64_t index, uint64_t *term);
uint32_t entries_chain_at(const struct entries *log, uint64_t index); /* base_index <= index <= last */

/* The largest known index that is <= index and whose term is <= term. When there is none, or index is before
 * base, what lies there is not known: index itself or base_index - 1, whichever is less. */
uint64_t entries_at_most(const struct entries *log, uint64_t index, uint64_t term);

/* Adds the entry after last, taking its chain as given. With `payload` its payload is copied into the window;
 * without, the window begins anew after it. */
void entries_append(struct entries *log, const struct raft_entry *entry, bool payload);
void entries_truncate(struct entries *log,
                      uint64_t index); /* drops index and all after it; index > base_index */
void entries_drop_payloads(struct entries *log,
                           uint64_t index);             /* up to index; nothing when they are gone already */
void entries_trim(struct entries *log, uint64_t index); /* the entry at index becomes the base */

/* The first index in the window, last + 1 when it is empty. */
uint64_t entries_window(const struct entries *log);
const struct raft_entry *entries_get(const struct entries *log,
                                     uint64_t index); /* NULL when not in the window */

void entries_check(const struct entries *log);

#endif
