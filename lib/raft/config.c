/* Configurations: in force from the moment they are appended, undone when their entry is truncated.
 * Payload: varint count, then each voter as u64le. */
#include "raft/internal.h"

#include "base/buffer.h"
#include "base/check.h"

void raft_config_encode(const struct raft_config *config, struct buffer *out)
{
    buffer_add_varint(out, config->voter_count);
    for (size_t i = 0; i < config->voter_count; i++) buffer_add_u64le(out, config->voters[i]);
}

bool raft_config_decode(struct slice payload, struct raft_config *config)
{
    uint64_t count;
    *config = (struct raft_config){0};
    if (!take_varint(&payload, &count) || count == 0 || count > RAFT_VOTERS_MAX) return false;
    config->voter_count = (size_t)count;
    for (size_t i = 0; i < config->voter_count; i++) {
        if (!take_u64le(&payload, &config->voters[i]) || config->voters[i] == 0) return false;
        for (size_t k = 0; k < i; k++)
            if (config->voters[k] == config->voters[i]) return false;
    }
    return payload.size == 0;
}

const struct raft_config *raft_config_now(const struct raft *raft)
{
    return &((struct placed_config *)strip_at(&raft->configs, raft->configs.count - 1))->config;
}

bool raft_is_voter(const struct raft *raft, uint64_t node)
{
    const struct raft_config *config = raft_config_now(raft);
    for (size_t i = 0; i < config->voter_count; i++)
        if (config->voters[i] == node) return true;
    return false;
}

size_t raft_quorum(const struct raft *raft)
{
    return raft_config_now(raft)->voter_count / 2 + 1;
}

void raft_follow_config(struct raft *raft)
{
    const struct raft_config *config = raft_config_now(raft);
    struct peer before[RAFT_VOTERS_MAX];
    size_t before_count = raft->peer_count;
    memcpy(before, raft->peers, sizeof before);
    raft->peer_count = 0;
    for (size_t i = 0; i < config->voter_count; i++) {
        if (config->voters[i] == raft->settings.self) continue;
        struct peer *peer = &raft->peers[raft->peer_count++];
        *peer = (struct peer){.id = config->voters[i]};
        peer_begin(peer, entries_last(&raft->log) + 1);
        for (size_t k = 0; k < before_count; k++)
            if (before[k].id == peer->id) *peer = before[k];
    }
}

void raft_config_push(struct raft *raft, uint64_t index, struct slice payload)
{
    struct placed_config placed = {.index = index};
    CHECK(raft_config_decode(payload, &placed.config));
    *(struct placed_config *)strip_push(&raft->configs) = placed;
    raft_follow_config(raft);
}

void raft_config_undo(struct raft *raft, uint64_t from)
{
    size_t count = raft->configs.count;
    while (raft->configs.count > 1 &&
           ((struct placed_config *)strip_at(&raft->configs, raft->configs.count - 1))->index >= from)
        strip_drop_last(&raft->configs, 1);
    if (raft->configs.count != count) raft_follow_config(raft);
}

void raft_config_trim(struct raft *raft, uint64_t index)
{
    while (raft->configs.count > 1 && ((struct placed_config *)strip_at(&raft->configs, 1))->index <= index)
        strip_drop_first(&raft->configs, 1);
}

struct peer *raft_peer(struct raft *raft, uint64_t node)
{
    for (size_t i = 0; i < raft->peer_count; i++)
        if (raft->peers[i].id == node) return &raft->peers[i];
    return NULL;
}

uint64_t raft_quorum_reached(const struct raft *raft, uint64_t own, uint64_t (*of)(const struct peer *peer))
{
    uint64_t values[RAFT_VOTERS_MAX];
    size_t count = 0;
    if (raft_is_voter(raft, raft->settings.self)) values[count++] = own;
    for (size_t i = 0; i < raft->peer_count; i++) values[count++] = of(&raft->peers[i]);
    for (size_t i = 1; i < count; i++) /* falling order */
        for (size_t k = i; k > 0 && values[k - 1] < values[k]; k--) {
            uint64_t swap = values[k];
            values[k] = values[k - 1];
            values[k - 1] = swap;
        }
    return values[raft_quorum(raft) - 1];
}
