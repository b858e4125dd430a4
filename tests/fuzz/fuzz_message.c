/* Any bytes as a Raft message, and the same bytes to a follower and a candidate: what decodes has one form
 * only; what is received breaks no invariant, and says nothing that is not saved.
 *
 * A message that contradicts the log under the same index and term ends the process by design (the data are
 * damaged): such are not handed on. */
#include "base/check.h"
#include "raft/message.h"

static bool contradicts(const struct raft *raft, const struct raft_message *message)
{
    uint64_t term;
    uint32_t chain;
    if (message->kind != RAFT_APPEND) return false;
    if (raft_place(raft, message->index, &term, &chain) && term == message->log_term &&
        chain != message->chain)
        return true;
    for (size_t i = 0; i < message->entry_count; i++)
        if (raft_place(raft, message->index + 1 + i, &term, &chain) && term == message->entries[i].term &&
            chain != message->entries[i].chain)
            return true;
    return false;
}

/* No fuzzer finds a CRC by chance. */
static void mend_chains(struct raft_message *message, struct raft_entry *entries)
{
    uint32_t chain = message->chain;
    for (size_t i = 0; i < message->entry_count; i++)
        chain = entries[i].chain = raft_chain(chain, &entries[i]);
}

static bool cuts_committed(const struct raft *raft, const struct raft_message *message)
{
    uint64_t term, committed = raft_status(raft).commit;
    uint32_t chain;
    for (size_t i = 0; i < message->entry_count; i++)
        if (message->index + 1 + i <= committed && raft_place(raft, message->index + 1 + i, &term, &chain) &&
            term != message->entries[i].term)
            return true;
    return false;
}

static void receive(struct raft *raft, const struct raft_message *message)
{
    struct raft_output output;
    if (contradicts(raft, message) || cuts_committed(raft, message)) return; /* no leader sends that */
    if (raft_status(raft).role == RAFT_LEADER && message->kind == RAFT_APPEND &&
        message->term == raft_status(raft).term)
        return; /* nor are there two of one term */
    raft_receive(raft, message, 1000);
    raft_output(raft, &output);
    for (size_t i = 0; i < output.after_count; i++) CHECK(output.after[i].term == output.hard.term);
    raft_saved(raft);
    raft_applied(raft, raft_committed(raft), 2);
    raft_check(raft);
}

static struct raft *begin(void)
{
    struct raft_settings settings = {.self = 1,
                                     .seed = 1,
                                     .heartbeat_ms = 10,
                                     .election_ms = 100,
                                     .batch_bytes_max = 1000,
                                     .inflight_max = 4};
    struct raft_restored restored = {.config = {.member_count = 3}};
    for (uint64_t i = 0; i < 3; i++)
        restored.config.members[i] = (struct raft_member){.node = i + 1, .membership = RAFT_VOTER};
    return raft_new(&settings, &restored, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of(data, size), bytes;
    struct arena arena = {0};
    struct raft *raft = begin();
    uint64_t length;
    if (size % 2) raft_tick(raft, 500);
    while (take_varint(&rest, &length) && take_bytes(&rest, (size_t)length, &bytes)) {
        struct raft_message message;
        struct buffer again = {0};
        if (!raft_message_decode(bytes, &arena, &message)) continue;
        raft_message_encode(&message, &again);
        CHECK(slice_equal(bytes, buffer_slice(&again)));
        buffer_free(&again);
        receive(raft, &message);
        mend_chains(&message, (struct raft_entry *)(uintptr_t)message.entries);
        receive(raft, &message);
    }
    raft_free(raft);
    arena_free(&arena);
    return 0;
}
