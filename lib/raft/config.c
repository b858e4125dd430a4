/* Configurations: in force from the moment they are appended, undone when their entry is truncated.
 * Payload: varint count, then each member: node u64le, membership varint, name and address as varint size and
 * bytes. */
#include "raft/internal.h"

#include "base/buffer.h"
#include "base/check.h"

static void add_text(struct buffer *out, const char *text)
{
    struct slice bytes = slice_text(text);
    buffer_add_varint(out, bytes.size);
    buffer_add_slice(out, bytes);
}

void raft_config_encode(const struct raft_config *config, struct buffer *out)
{
    buffer_add_varint(out, config->member_count);
    for (size_t i = 0; i < config->member_count; i++) {
        const struct raft_member *member = &config->members[i];
        buffer_add_u64le(out, member->node);
        buffer_add_varint(out, (uint64_t)member->membership);
        add_text(out, member->name);
        add_text(out, member->address);
    }
}

static bool take_text(struct slice *from, char *text, size_t room)
{
    uint64_t size;
    struct slice bytes;
    if (!take_varint(from, &size) || size >= room || !take_bytes(from, (size_t)size, &bytes)) return false;
    if (size && memchr(bytes.data, 0, bytes.size)) return false;
    if (size) memcpy(text, bytes.data, bytes.size);
    return true;
}

static bool take_member(struct slice *from, struct raft_member *member)
{
    uint64_t membership;
    if (!take_u64le(from, &member->node) || member->node == 0 || !take_varint(from, &membership))
        return false;
    if (membership < RAFT_VOTER || membership > RAFT_OBSERVER) return false;
    member->membership = (enum raft_membership)membership;
    return take_text(from, member->name, sizeof member->name) &&
           take_text(from, member->address, sizeof member->address);
}

bool raft_config_decode(struct slice payload, struct raft_config *config)
{
    uint64_t count;
    size_t voters = 0;
    *config = (struct raft_config){0};
    if (!take_varint(&payload, &count) || count == 0 || count > RAFT_MEMBERS_MAX) return false;
    for (size_t i = 0; i < count; i++) {
        struct raft_member member = {0};
        if (!take_member(&payload, &member) || raft_config_member(config, member.node)) return false;
        voters += member.membership == RAFT_VOTER;
        config->members[config->member_count++] = member;
    }
    return payload.size == 0 && voters <= RAFT_VOTERS_MAX;
}

const struct raft_member *raft_config_member(const struct raft_config *config, uint64_t node)
{
    for (size_t i = 0; i < config->member_count; i++)
        if (config->members[i].node == node) return &config->members[i];
    return NULL;
}

const struct placed_config *raft_placed_now(const struct raft *raft)
{
    return strip_at(&raft->configs, raft->configs.count - 1);
}

const struct raft_config *raft_config_now(const struct raft *raft)
{
    return &raft_placed_now(raft)->config;
}

const struct raft_config *raft_config_in_force(const struct raft *raft)
{
    return raft_config_now(raft);
}

const struct raft_config *raft_config_at(const struct raft *raft, uint64_t index)
{
    size_t place = raft->configs.count - 1;
    while (place > 0 && ((struct placed_config *)strip_at(&raft->configs, place))->index > index) place--;
    return &((struct placed_config *)strip_at(&raft->configs, place))->config;
}

bool raft_is_voter(const struct raft *raft, uint64_t node)
{
    const struct raft_member *member = raft_config_member(raft_config_now(raft), node);
    return member && member->membership == RAFT_VOTER;
}

/* A voter whose removal is not committed may be the only one that can commit it (thesis 4.2.2). */
bool raft_may_stand(const struct raft *raft)
{
    uint64_t self = raft->settings.self, index = raft_placed_now(raft)->index;
    if (raft_is_voter(raft, self) || MUTANT(29)) return true;
    if (index <= raft->hard.commit) return false;
    const struct raft_member *before = raft_config_member(raft_config_at(raft, index - 1), self);
    return before && before->membership == RAFT_VOTER;
}

size_t raft_quorum(const struct raft *raft)
{
    const struct raft_config *config = raft_config_now(raft);
    size_t voters = 0;
    for (size_t i = 0; i < config->member_count; i++) voters += config->members[i].membership == RAFT_VOTER;
    return MUTANT(39) ? (voters + 1) / 2 : voters / 2 + 1;
}

/* Who is removed gets the log on for a while: it is to hear of it, and to stand no more. */
static void keep_leaving(struct raft *raft, const struct peer *peer)
{
    bool over = peer->leaves_at_ms && raft->now_ms >= peer->leaves_at_ms;
    if (raft->role != RAFT_LEADER || over || raft->peer_count == RAFT_MEMBERS_MAX) return;
    struct peer *kept = &raft->peers[raft->peer_count++];
    *kept = *peer;
    kept->votes = false;
    if (!kept->leaves_at_ms) kept->leaves_at_ms = raft->now_ms + 2 * raft->settings.election_ms;
}

void raft_follow_config(struct raft *raft)
{
    const struct raft_config *config = raft_config_now(raft);
    struct peer before[RAFT_MEMBERS_MAX];
    size_t before_count = raft->peer_count;
    memcpy(before, raft->peers, sizeof before);
    raft->peer_count = 0;
    for (size_t i = 0; i < config->member_count; i++) {
        if (config->members[i].node == raft->settings.self) continue;
        struct peer *peer = &raft->peers[raft->peer_count++];
        *peer = (struct peer){.id = config->members[i].node,
                              .votes = config->members[i].membership == RAFT_VOTER};
        peer_begin(peer, entries_last(&raft->log) + 1);
        for (size_t k = 0; k < before_count; k++)
            if (before[k].id == peer->id) {
                bool votes = peer->votes;
                *peer = before[k];
                peer->votes = votes;
                peer->leaves_at_ms = 0;
            }
    }
    for (size_t k = 0; k < before_count; k++)
        if (!raft_config_member(config, before[k].id)) keep_leaving(raft, &before[k]);
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
    if (MUTANT(12)) return;
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

const struct peer *raft_peer_of(const struct raft *raft, uint64_t node)
{
    for (size_t i = 0; i < raft->peer_count; i++)
        if (raft->peers[i].id == node) return &raft->peers[i];
    return NULL;
}

bool raft_hears(const struct raft *raft, const struct peer *peer)
{
    return peer && peer->heard_ms && raft->now_ms - peer->heard_ms < raft->settings.election_ms;
}

uint64_t raft_quorum_reached(const struct raft *raft, uint64_t own, uint64_t (*of)(const struct peer *peer))
{
    uint64_t values[RAFT_MEMBERS_MAX];
    size_t count = 0;
    if (raft_is_voter(raft, raft->settings.self) || MUTANT(24)) values[count++] = own;
    for (size_t i = 0; i < raft->peer_count; i++)
        if (raft->peers[i].votes || MUTANT(11)) values[count++] = of(&raft->peers[i]);
    for (size_t i = 1; i < count; i++) /* falling order */
        for (size_t k = i; k > 0 && values[k - 1] < values[k]; k--) {
            uint64_t swap = values[k];
            values[k] = values[k - 1];
            values[k - 1] = swap;
        }
    size_t quorum = raft_quorum(raft);
    return quorum <= count ? values[quorum - 1] : 0;
}
