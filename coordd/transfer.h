/* A snapshot on its way to one member: which chunks are under way, and what the member's answers say of them.
 *
 * Answers say which chunk is wanted next. They may be late: one from before the member's death says more than
 * is true, one that was overtaken says less. So what says more is believed at once, and what says less when
 * nothing new was taken for a while, however often chunks were sent meanwhile. Too much belief costs chunks
 * that are sent twice; too little, and who began anew would never be sent what it wants. */
#ifndef COORDD_TRANSFER_H
#define COORDD_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

enum { TRANSFER_WINDOW = 4 /* chunks under way */, TRANSFER_RETRY_MS = 1000 };

struct transfer {
    uint64_t node, next, sent; /* chunks: wanted next, sent so far */
    uint64_t moved_ms;         /* when the next ones were sent, or taken */
    uint64_t taken_ms;         /* when one was taken that was not before */
};

/* Each turn: what was sent and is not taken goes again when nothing has moved for TRANSFER_RETRY_MS. */
void transfer_turn(struct transfer *transfer, uint64_t now_ms);
/* May the chunk numbered `sent` go now? count: chunks of the snapshot. */
bool transfer_may_send(const struct transfer *transfer, uint64_t count);
void transfer_wants(struct transfer *transfer, uint64_t next, uint64_t now_ms);
void transfer_anew(struct transfer *transfer, uint64_t now_ms); /* from the first chunk */

#endif
