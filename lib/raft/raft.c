/* The core as its caller sees it: create, feed, output, saved.
 *
 * Invariants (raft_check): 1. durable <= last, unsaved = durable + 1 or less. 2. commit <= last. 3. the term
 * is at least that of every entry. 4. a leader's own term has its no-op. 5. match < next <= last + 1 for
 * every peer of a leader. 6. configurations rise by their indexes; only the first may lie at or before
 * base, none beyond last. 7. who stands has voted for itself. 8. confirmed rounds were sent,
 * sent ones opened; only a leader has any, or hands over. */
#include "raft/internal.h"

#include "base/buffer.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/memory.h"

uint32_t raft_chain(uint32_t previous, const struct raft_entry *entry)
{
    uint8_t head[21];
    memcpy(head, &previous, 4);
    memcpy(head + 4, &entry->index, 8);
    memcpy(head + 12, &entry->term, 8);
    head[20] = (uint8_t)entry->kind;
    uint32_t chain = crc32c(crc32c(0, head, sizeof head), entry->payload.data, entry->payload.size);
    return chain ? chain : 1; /* 0 means unknown */
}

static void check_settings(const struct raft_settings *settings)
{
    CHECK(settings->self && settings->heartbeat_ms && settings->election_ms >= 5 * settings->heartbeat_ms);
    CHECK(settings->batch_bytes_max && settings->inflight_max && settings->inflight_max <= PEER_INFLIGHT_MAX);
}

static void restore(struct raft *raft, const struct raft_restored *restored)
{
    entries_start(&raft->log, restored->base_index, restored->base_term, restored->base_chain);
    *(struct placed_config *)strip_push(&raft->configs) =
        (struct placed_config){restored->base_index, restored->config};
    for (size_t i = 0; i < restored->entry_count; i++) {
        const struct raft_entry *entry = &restored->entries[i];
        entries_append(&raft->log, entry, entry->index > restored->applied);
        if (entry->kind == RAFT_CONFIG && !(MUTANT(13) && entry->index > restored->hard.commit))
            raft_config_push(raft, entry->index, entry->payload);
    }
    uint64_t last = entries_last(&raft->log);
    raft->hard = restored->hard;
    if (MUTANT(34)) raft->hard.vote = 0;
    if (raft->hard.commit < restored->applied) raft->hard.commit = restored->applied;
    CHECK(raft->hard.commit <= last && restored->applied >= restored->base_index);
    CHECK(raft->hard.term >= entries_last_term(&raft->log));
    raft->durable = raft->written = last;
    raft->unsaved = last + 1;
}

struct raft *raft_new(const struct raft_settings *settings, const struct raft_restored *restored,
                      uint64_t now_ms)
{
    check_settings(settings);
    struct raft *raft = memory_new(sizeof *raft);
    raft->settings = *settings;
    raft->random = settings->seed ? settings->seed : 1;
    raft->now_ms = now_ms;
    raft->configs.item_size = sizeof(struct placed_config);
    raft->queued_now.item_size = raft->queued_after.item_size = sizeof(struct raft_message);
    raft->output_now.item_size = raft->output_after.item_size = sizeof(struct raft_message);
    restore(raft, restored);
    raft_follow_config(raft);
    raft_reset_election(raft);
    bool alone = raft_is_voter(raft, settings->self) && raft_quorum(raft) == 1;
    if (alone) raft->election_at_ms = now_ms; /* it needs nobody's vote */
    return raft;
}

void raft_free(struct raft *raft)
{
    entries_free(&raft->log);
    strip_free(&raft->configs);
    strip_free(&raft->queued_now);
    strip_free(&raft->queued_after);
    strip_free(&raft->output_now);
    strip_free(&raft->output_after);
    free(raft);
}

void raft_send_now(struct raft *raft, struct raft_message message)
{
    *(struct raft_message *)strip_push(&raft->queued_now) = message;
}

void raft_send_after(struct raft *raft, struct raft_message message)
{
    *(struct raft_message *)strip_push(&raft->queued_after) = message;
}

/* A leader that a quorum has not answered for an election timeout is leader no more. */
static void look_at_quorum(struct raft *raft)
{
    size_t active = raft_is_voter(raft, raft->settings.self);
    for (size_t i = 0; i < raft->peer_count; i++) {
        active += raft->peers[i].votes && raft->peers[i].active;
        raft->peers[i].active = false;
    }
    raft->quorum_at_ms = raft->now_ms + raft->settings.election_ms;
    if (active < raft_quorum(raft) && !MUTANT(26)) raft_become_follower(raft, raft->hard.term, 0);
}

void raft_tick(struct raft *raft, uint64_t now_ms)
{
    CHECK(!raft->saving && now_ms >= raft->now_ms);
    raft->now_ms = now_ms;
    if (raft->role == RAFT_LEADER) {
        raft_tend_transfer(raft);
        if (raft->peer_count && now_ms >= raft->quorum_at_ms) look_at_quorum(raft);
    } else if (now_ms >= raft->election_at_ms) {
        raft_campaign(raft);
    }
}

uint64_t raft_next_ms(const struct raft *raft)
{
    if (raft->role != RAFT_LEADER) return raft->election_at_ms;
    if (!raft->peer_count) return UINT64_MAX;
    return raft->heartbeat_at_ms < raft->quorum_at_ms ? raft->heartbeat_at_ms : raft->quorum_at_ms;
}

/* Messages of a later term make this node a follower of it, but for those that only ask about a term. False:
 * drop it. */
static bool accept_term(struct raft *raft, const struct raft_message *message)
{
    bool granted = message->kind == RAFT_PRE_VOTE_REPLY && !message->reject;
    if (message->term <= raft->hard.term || granted) return true;
    if (message->kind == RAFT_PRE_VOTE && !MUTANT(31)) return true;
    if (message->kind == RAFT_VOTE && !message->transfer && raft_heard_lately(raft)) return false;
    if (message->kind == RAFT_TIMEOUT_NOW) return false; /* of a leader that this node has not heard */
    if (message->kind != RAFT_APPEND) raft_become_follower(raft, message->term, 0);
    return true;
}

/* Answers count only of members; those of a former one do not depose anybody. */
static bool is_heard(const struct raft *raft, const struct raft_message *message)
{
    const struct peer *peer = raft_peer_of(raft, message->from);
    return peer && (!peer->leaves_at_ms || message->term <= raft->hard.term);
}

void raft_receive(struct raft *raft, const struct raft_message *message, uint64_t now_ms)
{
    CHECK(!raft->saving);
    if (now_ms > raft->now_ms) raft->now_ms = now_ms;
    uint64_t self = raft->settings.self;
    bool request = message->kind == RAFT_PRE_VOTE || message->kind == RAFT_VOTE ||
                   message->kind == RAFT_APPEND || message->kind == RAFT_TIMEOUT_NOW;
    if (message->to != self || message->from == self || message->from == 0 || message->term == 0) return;
    if (!request && !is_heard(raft, message)) return;
    if (!accept_term(raft, message)) return;
    switch (message->kind) {
    case RAFT_PRE_VOTE:
    case RAFT_VOTE:
        raft_receive_vote(raft, message);
        break;
    case RAFT_PRE_VOTE_REPLY:
    case RAFT_VOTE_REPLY:
        raft_receive_vote_reply(raft, message);
        break;
    case RAFT_APPEND:
        raft_receive_append(raft, message);
        break;
    case RAFT_APPEND_REPLY:
        raft_receive_append_reply(raft, message);
        break;
    case RAFT_TIMEOUT_NOW:
        raft_receive_timeout_now(raft, message);
        break;
    }
}

uint64_t raft_propose(struct raft *raft, enum raft_entry_kind kind, struct slice payload)
{
    CHECK(!raft->saving && payload.size <= RAFT_PAYLOAD_MAX);
    return raft->role == RAFT_LEADER && !raft->transfer_until_ms ? raft_append_own(raft, kind, payload) : 0;
}

static void hand_out(struct strip *queued, struct strip *output)
{
    strip_drop_last(output, output->count);
    struct strip swap = *output;
    *output = *queued;
    *queued = swap;
}

void raft_output(struct raft *raft, struct raft_output *output)
{
    CHECK(!raft->saving);
    raft->saving = true;
    if (raft_may_send(raft)) raft_send_appends(raft);
    hand_out(&raft->queued_now, &raft->output_now);
    hand_out(&raft->queued_after, &raft->output_after);
    uint64_t last = entries_last(&raft->log);
    *output =
        (struct raft_output){.hard = raft->hard,
                             .now = (const struct raft_message *)(const void *)raft->output_now.items,
                             .now_count = raft->output_now.count,
                             .after = (const struct raft_message *)(const void *)raft->output_after.items,
                             .after_count = raft->output_after.count};
    if (output->now_count) output->now = strip_at(&raft->output_now, 0);
    if (output->after_count) output->after = strip_at(&raft->output_after, 0);
    if (raft->unsaved <= last) {
        output->entries = entries_get(&raft->log, raft->unsaved);
        output->entry_count = (size_t)(last - raft->unsaved + 1);
        output->truncates = raft->unsaved <= raft->written;
        raft->unsaved = last + 1;
        raft->written = last;
    }
    output->save_hard = raft->hard_dirty || output->entry_count; /* the commit hint rides along */
    raft->hard_dirty = false;
    if (MUTANT(19)) {
        raft->durable = last;
        raft_advance_commit(raft);
    }
}

void raft_saved(struct raft *raft)
{
    CHECK(raft->saving);
    raft->saving = false;
    raft->durable = entries_last(&raft->log);
    raft_advance_commit(raft);
    raft_leave_if_removed(raft);
}

uint64_t raft_committed(const struct raft *raft)
{
    return raft->hard.commit < raft->durable ? raft->hard.commit : raft->durable;
}

const struct raft_entry *raft_entry_at(const struct raft *raft, uint64_t index)
{
    return entries_get(&raft->log, index);
}

void raft_applied(struct raft *raft, uint64_t index, uint64_t keep)
{
    CHECK(index <= raft_committed(raft));
    if (index <= keep) return;
    uint64_t upto = index - keep;
    bool room = raft->log.window_bytes < raft->settings.inflight_max * raft->settings.batch_bytes_max;
    for (size_t i = 0; i < raft->peer_count && raft->role == RAFT_LEADER && room; i++) {
        const struct peer *peer = &raft->peers[i];
        if (peer->state == PEER_REPLICATE && peer->match < upto && raft_hears(raft, peer)) upto = peer->match;
    }
    entries_drop_payloads(&raft->log, upto);
}

size_t raft_peers(const struct raft *raft, struct raft_peer_status *peers)
{
    size_t count = 0;
    for (size_t i = 0; i < raft->peer_count && raft->role == RAFT_LEADER; i++) {
        const struct peer *peer = &raft->peers[i];
        if (peer->leaves_at_ms) continue;
        bool lost = peer->next <= raft->log.base_index;
        peers[count++] = (struct raft_peer_status){
            .node = peer->id,
            .match = peer->match,
            .next = peer->next,
            .membership = raft_config_member(raft_config_now(raft), peer->id)->membership,
            .state = lost                            ? RAFT_PEER_NEEDS_SNAPSHOT
                     : peer->state == PEER_REPLICATE ? RAFT_PEER_REPLICATE
                                                     : RAFT_PEER_PROBE,
            .heard_ms = peer->heard_ms};
    }
    return count;
}

bool raft_place(const struct raft *raft, uint64_t index, uint64_t *term, uint32_t *chain)
{
    if (entries_term_at(&raft->log, index, term) != TERM_KNOWN) return false;
    *chain = entries_chain_at(&raft->log, index);
    return true;
}

bool raft_has(struct raft *raft, uint64_t index, uint64_t term)
{
    uint64_t here = 0;
    CHECK(!raft->saving);
    enum term_at known = entries_term_at(&raft->log, index, &here);
    if (known == TERM_COMPACTED || index <= raft_committed(raft)) return true;
    if (known == TERM_BEYOND || (here != term && !MUTANT(17))) return false;
    if (index > raft->durable && !MUTANT(35)) return false;
    if (index > raft->hard.commit) raft->hard.commit = index;
    return true;
}

void raft_install(struct raft *raft, const struct raft_base *base)
{
    CHECK(!raft->saving && raft->role != RAFT_LEADER && base->index > raft->hard.commit);
    CHECK(raft->hard.term >= base->term && base->index >= raft->log.base_index);
    entries_free(&raft->log);
    entries_start(&raft->log, base->index, base->term, base->chain);
    if (!MUTANT(30)) {
        strip_drop_last(&raft->configs, raft->configs.count);
        *(struct placed_config *)strip_push(&raft->configs) =
            (struct placed_config){base->index, base->config};
    }
    raft->hard.commit = raft->durable = raft->written = base->index;
    raft->unsaved = base->index + 1;
    raft_follow_config(raft);
}

void raft_trimmed(struct raft *raft, uint64_t index)
{
    if (index <= raft->log.base_index) return;
    CHECK(index <= raft_committed(raft));
    raft_config_trim(raft, index);
    entries_trim(&raft->log, index);
}

struct raft_status raft_status(const struct raft *raft)
{
    bool leads = raft->role == RAFT_LEADER;
    return (struct raft_status){.role = raft->role,
                                .term = raft->hard.term,
                                .leader = raft->leader,
                                .commit = raft->hard.commit,
                                .last_index = entries_last(&raft->log),
                                .last_term = entries_last_term(&raft->log),
                                .ready = leads && (raft->hard.commit >= raft->noop || MUTANT(36)),
                                .ready_index = leads ? raft->noop : 0,
                                .heard_ms = leads ? raft_quorum_heard_ms(raft) : raft->heard_at_ms,
                                .change_index = raft_placed_now(raft)->index};
}

static void check_configs(const struct raft *raft)
{
    uint64_t index = 0;
    CHECK(raft->configs.count > 0);
    for (size_t i = 0; i < raft->configs.count; i++) {
        const struct placed_config *placed = strip_at(&raft->configs, i);
        CHECK(i == 0 || (placed->index > index && placed->index > raft->log.base_index));
        index = placed->index;
    }
    CHECK(index <= entries_last(&raft->log));
}

void raft_check(const struct raft *raft)
{
    uint64_t last = entries_last(&raft->log), term = 0;
    entries_check(&raft->log);
    check_configs(raft);
    CHECK(raft->durable <= last && raft->unsaved <= last + 1 && raft->hard.commit <= last);
    CHECK(raft->hard.term >= entries_last_term(&raft->log));
    CHECK(raft->role != RAFT_CANDIDATE || raft->hard.vote == raft->settings.self);
    CHECK(raft->round_confirmed <= raft->round_sent && raft->round_sent <= raft->round);
    CHECK(raft->role == RAFT_LEADER || (!raft->round_sent && !raft->transfer_until_ms));
    for (size_t i = 0; i < raft->peer_count; i++)
        CHECK(raft_config_member(raft_config_now(raft), raft->peers[i].id)
                  ? !raft->peers[i].leaves_at_ms
                  : raft->peers[i].leaves_at_ms && raft->role == RAFT_LEADER && !raft->peers[i].votes);
    if (raft->role != RAFT_LEADER) return;
    CHECK(raft->leader == raft->settings.self);
    CHECK(entries_term_at(&raft->log, raft->noop, &term) != TERM_KNOWN || term == raft->hard.term);
    for (size_t i = 0; i < raft->peer_count; i++) {
        const struct peer *peer = &raft->peers[i];
        CHECK(peer->match < peer->next && peer->next <= last + 1);
        CHECK(peer->inflight_count <= raft->settings.inflight_max);
    }
}
