/* See transfer.h. */
#include "coordd/transfer.h"

#include "base/mutant.h"

void transfer_turn(struct transfer *transfer, uint64_t now_ms)
{
    if (transfer->sent > transfer->next && now_ms >= transfer->moved_ms + TRANSFER_RETRY_MS)
        transfer->sent = transfer->next;
    if (transfer->sent == transfer->next) transfer->moved_ms = now_ms;
}

bool transfer_may_send(const struct transfer *transfer, uint64_t count)
{
    return transfer->sent < count && transfer->sent < transfer->next + TRANSFER_WINDOW;
}

void transfer_wants(struct transfer *transfer, uint64_t next, uint64_t now_ms)
{
    uint64_t since_ms = MUTANT(77) ? transfer->moved_ms : transfer->taken_ms;
    if (next > transfer->next) {
        transfer->next = next;
        if (transfer->sent < next) transfer->sent = next;
        transfer->moved_ms = transfer->taken_ms = now_ms;
    } else if (next < transfer->next && (next == 0 || now_ms >= since_ms + TRANSFER_RETRY_MS)) {
        transfer->next = transfer->sent = next; /* it began anew: after a restart, for example */
        transfer->moved_ms = transfer->taken_ms = now_ms;
    }
}

void transfer_anew(struct transfer *transfer, uint64_t now_ms)
{
    transfer->next = transfer->sent = 0;
    transfer->moved_ms = now_ms;
}
