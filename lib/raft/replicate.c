/* Replication: what a leader sends, what a follower accepts, and what is committed. */
#include "raft/internal.h"

#include "base/check.h"

/* --- leader --- */

uint64_t raft_append_own(struct raft *raft, enum raft_entry_kind kind, struct slice payload)
{
    uint64_t last = entries_last(&raft->log);
    struct raft_entry entry = {.index = last + 1, .term = raft->hard.term, .kind = kind, .payload = payload};
    entry.chain = raft_chain(entries_chain_at(&raft->log, last), &entry);
    entries_append(&raft->log, &entry, true);
    if (kind == RAFT_CONFIG) raft_config_push(raft, entry.index, payload);
    return entry.index;
}

void raft_lead(struct raft *raft)
{
    CHECK(raft->role == RAFT_CANDIDATE);
    raft->role = RAFT_LEADER;
    raft->leader = raft->settings.self;
    raft_forget_rounds(raft);
    for (size_t i = 0; i < raft->peer_count; i++) peer_begin(&raft->peers[i], entries_last(&raft->log) + 1);
    raft->heartbeat_at_ms = raft->now_ms;
    raft->quorum_at_ms = raft->now_ms + raft->settings.election_ms;
    raft->noop = raft_append_own(raft, RAFT_NOOP, slice_of(NULL, 0));
}

static uint64_t match_of(const struct peer *peer)
{
    return peer->match;
}

static bool may_send_entries(const struct raft *raft, const struct peer *peer)
{
    return peer->state == PEER_REPLICATE ? peer->inflight_count < raft->settings.inflight_max
                                         : !peer->probing;
}

/* The only voter of a cluster leads before its term is saved. After a crash it would use that term again, for
 * other entries. */
bool raft_may_send(const struct raft *raft)
{
    return raft->role == RAFT_LEADER && (!raft->hard_dirty || MUTANT(22));
}

bool raft_wants_entries(struct raft *raft, uint64_t *node, uint64_t *first)
{
    if (!raft_may_send(raft)) return false;
    for (size_t i = 0; i < raft->peer_count; i++) {
        const struct peer *peer = &raft->peers[i];
        bool on_disk = peer->next > raft->log.base_index && peer->next < entries_window(&raft->log);
        if (!on_disk || !may_send_entries(raft, peer) || peer->supplied) continue;
        *node = peer->id;
        *first = peer->next;
        return true;
    }
    return false;
}

/* One message a turn: what is behind gets there by and by, and does not crowd out the others. */
void raft_supply(struct raft *raft, uint64_t node, const struct raft_entry *entries, size_t count)
{
    struct peer *peer = raft_peer(raft, node);
    CHECK(peer && count && entries[0].index == peer->next && !raft->saving);
    struct raft_message message = {.kind = RAFT_APPEND,
                                   .from = raft->settings.self,
                                   .to = peer->id,
                                   .term = raft->hard.term,
                                   .index = peer->next - 1,
                                   .commit = raft->hard.commit,
                                   .round = raft->round_sent,
                                   .entries = entries,
                                   .entry_count = count};
    CHECK(entries_term_at(&raft->log, message.index, &message.log_term) == TERM_KNOWN);
    message.chain = entries_chain_at(&raft->log, message.index);
    peer->supplied = true;
    peer_sent(peer, message.index + count);
    raft_send_now(raft, message);
}

void raft_snapshot_done(struct raft *raft, uint64_t node, uint64_t term, uint64_t index)
{
    struct peer *peer = raft_peer(raft, node);
    if (raft->role != RAFT_LEADER || !peer || term != raft->hard.term || index > raft->hard.commit) return;
    if (index <= peer->match) return;
    peer_probe(peer, index + 1);
    peer_matched(peer, index);
    raft_advance_commit(raft);
}

static uint64_t heard_of(const struct peer *peer)
{
    return peer->heard_ms;
}

uint64_t raft_quorum_heard_ms(const struct raft *raft)
{
    return raft_quorum_reached(raft, raft->now_ms, heard_of);
}

/* Only entries of the own term are counted (Raft 5.4.2, figure 8); the earlier ones go with them. */
void raft_advance_commit(struct raft *raft)
{
    uint64_t term = 0, reached = raft_quorum_reached(raft, raft->durable, match_of);
    if (raft->role != RAFT_LEADER || reached <= raft->hard.commit) return;
    if (entries_term_at(&raft->log, reached, &term) != TERM_KNOWN) return;
    if (term != raft->hard.term && !MUTANT(1)) return;
    raft->hard.commit = reached;
}

/* Entries from next on, as many as one message takes. */
static size_t take_entries(const struct raft *raft, uint64_t next, const struct raft_entry **entries)
{
    size_t count = 0, bytes = 0;
    uint64_t last = entries_last(&raft->log);
    *entries = entries_get(&raft->log, next);
    if (!*entries) return 0;
    for (uint64_t index = next; index <= last; index++) {
        bytes += (*entries)[count].payload.size;
        if (count && bytes > raft->settings.batch_bytes_max) break;
        count++;
    }
    return count;
}

static bool send_append(struct raft *raft, struct peer *peer, bool heartbeat)
{
    struct raft_message message = {.kind = RAFT_APPEND,
                                   .from = raft->settings.self,
                                   .to = peer->id,
                                   .term = raft->hard.term,
                                   .index = peer->next - 1,
                                   .commit = raft->hard.commit,
                                   .round = raft->round_sent};
    if (message.index < raft->log.base_index)
        message.index = raft->log.base_index; /* it needs a snapshot */
    else if (may_send_entries(raft, peer))
        message.entry_count = take_entries(raft, peer->next, &message.entries);
    bool tells_commit = peer->state == PEER_REPLICATE && peer->commit_told < raft->hard.commit;
    if (!message.entry_count && !heartbeat && !tells_commit) return false;
    peer->commit_told = raft->hard.commit;
    CHECK(entries_term_at(&raft->log, message.index, &message.log_term) == TERM_KNOWN);
    message.chain = entries_chain_at(&raft->log, message.index);
    if (message.entry_count) peer_sent(peer, message.index + message.entry_count);
    raft_send_now(raft, message);
    return message.entry_count && peer->state == PEER_REPLICATE;
}

static void forget_gone(struct raft *raft)
{
    size_t kept = 0;
    for (size_t i = 0; i < raft->peer_count; i++) {
        uint64_t at_ms = raft->peers[i].leaves_at_ms;
        if (at_ms && raft->now_ms >= at_ms) continue;
        if (kept != i) raft->peers[kept] = raft->peers[i];
        kept++;
    }
    raft->peer_count = kept;
}

void raft_send_appends(struct raft *raft)
{
    bool heartbeat = raft->round_open || raft->now_ms >= raft->heartbeat_at_ms;
    if (raft->now_ms >= raft->heartbeat_at_ms) {
        raft->heartbeat_at_ms = raft->now_ms + raft->settings.heartbeat_ms;
        forget_gone(raft);
    }
    if (raft->round_open) raft->round_sent = raft->round;
    raft->round_open = false;
    for (size_t i = 0; i < raft->peer_count; i++) {
        struct peer *peer = &raft->peers[i];
        peer->supplied = false;
        if (heartbeat) peer->probing = false; /* what was lost goes again */
        bool more = send_append(raft, peer, heartbeat);
        while (more) more = send_append(raft, peer, false);
    }
    raft_confirm_rounds(raft);
}

static void refused(struct raft *raft, struct peer *peer, const struct raft_message *message)
{
    uint64_t at = message->commit; /* the index that was refused */
    if (peer->state == PEER_REPLICATE) {
        if (at > peer->match && !MUTANT(32)) peer_probe(peer, peer->match + 1);
        return;
    }
    if (at != peer->next - 1 || message->index >= at) return; /* of an older append, or senseless */
    peer_probe(peer, entries_at_most(&raft->log, message->index, message->log_term) + 1);
}

void raft_receive_append_reply(struct raft *raft, const struct raft_message *message)
{
    struct peer *peer = raft_peer(raft, message->from);
    bool past = message->term != raft->hard.term;
    if (raft->role != RAFT_LEADER || !peer || (past && !MUTANT(14) && !MUTANT(15))) return;
    peer->active = true;
    peer->heard_ms = raft->now_ms;
    uint64_t round = MUTANT(27) ? raft->round_sent : MUTANT(15) && past ? 0 : message->round;
    if (round <= raft->round_sent && round > peer->round) peer->round = round;
    raft_confirm_rounds(raft);
    if (MUTANT(14) && past) return;
    if (message->reject)
        refused(raft, peer, message);
    else if (message->index <= entries_last(&raft->log)) {
        peer_matched(peer, message->index);
        raft_advance_commit(raft);
    }
}

/* --- follower --- */

static void diverged(const struct raft_entry *entry)
{
    fatal("the logs differ at entry %llu of term %llu although index and term agree: this node's data or the "
          "leader's are "
          "damaged; empty this node's data directory and add it anew",
          (unsigned long long)entry->index, (unsigned long long)entry->term);
}

static void truncate(struct raft *raft, uint64_t index)
{
    CHECK(index > raft->hard.commit);
    entries_truncate(&raft->log, index);
    raft_config_undo(raft, index);
    if (raft->unsaved > index) raft->unsaved = index;
    if (raft->durable >= index) raft->durable = index - 1;
}

/* The chains of what is offered follow from the one before: a message that breaks them was damaged on its
 * way. */
static bool chains_hold(uint32_t chain, const struct raft_entry *entries, size_t count, uint64_t index)
{
    for (size_t i = 0; i < count; i++) {
        if (entries[i].index != index + 1 + i || entries[i].chain != raft_chain(chain, &entries[i]))
            return false;
        chain = entries[i].chain;
    }
    return true;
}

static bool terms_hold(const struct raft_message *message)
{
    uint64_t term = message->log_term;
    struct raft_config config;
    for (size_t i = 0; i < message->entry_count; i++) {
        const struct raft_entry *entry = &message->entries[i];
        if (entry->term < term || entry->term > message->term) return false;
        if (entry->kind == RAFT_CONFIG && !raft_config_decode(entry->payload, &config)) return false;
        term = entry->term;
    }
    return true;
}

static void accept(struct raft *raft, const struct raft_entry *entry)
{
    uint64_t term = 0;
    enum term_at known = entries_term_at(&raft->log, entry->index, &term);
    if (known == TERM_COMPACTED) return;
    if (known == TERM_KNOWN && term == entry->term) {
        if (entries_chain_at(&raft->log, entry->index) != entry->chain) diverged(entry);
        return;
    }
    if (known == TERM_KNOWN && MUTANT(25)) return;
    if (known == TERM_KNOWN) truncate(raft, entry->index);
    entries_append(&raft->log, entry, true);
    if (entry->kind == RAFT_CONFIG) raft_config_push(raft, entry->index, entry->payload);
}

static void reply(struct raft *raft, const struct raft_message *to, bool reject, uint64_t index,
                  uint64_t log_term)
{
    struct raft_message message = {.kind = RAFT_APPEND_REPLY,
                                   .from = raft->settings.self,
                                   .to = to->from,
                                   .term = raft->hard.term,
                                   .index = index,
                                   .log_term = log_term,
                                   .commit = reject ? to->index : 0,
                                   .round = to->round,
                                   .reject = reject};
    if (MUTANT(2))
        raft_send_now(raft, message);
    else
        raft_send_after(raft, message);
}

static void refuse(struct raft *raft, const struct raft_message *message)
{
    uint64_t below = message->index ? message->index - 1 : 0, term = 0;
    uint64_t hint = entries_at_most(&raft->log, below, message->log_term);
    if (entries_term_at(&raft->log, hint, &term) != TERM_KNOWN) term = 0;
    reply(raft, message, true, hint, term);
}

static bool previous_matches(struct raft *raft, const struct raft_message *message)
{
    uint64_t term = 0;
    enum term_at known = entries_term_at(&raft->log, message->index, &term);
    if (known == TERM_COMPACTED) return true; /* at or below the base: committed, so equal */
    if (known == TERM_BEYOND || term != message->log_term) return false;
    if (message->chain && entries_chain_at(&raft->log, message->index) != message->chain)
        diverged(&(struct raft_entry){.index = message->index, .term = term});
    return true;
}

void raft_receive_append(struct raft *raft, const struct raft_message *message)
{
    if (message->term < raft->hard.term) {
        reply(raft, message, true, entries_last(&raft->log), entries_last_term(&raft->log));
        return;
    }
    if (!terms_hold(message) ||
        !chains_hold(message->chain, message->entries, message->entry_count, message->index))
        return;
    CHECK(raft->role != RAFT_LEADER || message->term > raft->hard.term); /* two leaders of one term */
    raft_become_follower(raft, message->term, message->from);
    if (!previous_matches(raft, message)) {
        refuse(raft, message);
        return;
    }
    for (size_t i = 0; i < message->entry_count; i++) accept(raft, &message->entries[i]);
    uint64_t last = message->index + message->entry_count;
    if (MUTANT(7) && last < entries_last(&raft->log) && last >= raft->hard.commit) truncate(raft, last + 1);
    if (MUTANT(28)) last = entries_last(&raft->log);
    uint64_t commit = message->commit < last || MUTANT(6) ? message->commit : last;
    if (commit > raft->hard.commit && commit <= entries_last(&raft->log)) raft->hard.commit = commit;
    reply(raft, message, false, last, 0);
}
