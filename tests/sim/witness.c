/* The witness: what Raft promises between its nodes, watched from outside. It keeps beside every node what
 * that node's disk must hold (the log's chains, term and vote), and notes what nodes say to each other.
 *
 * Held after every turn: 1. votes, appended entries and terms are saved before they are spoken of; what was
 * saved is there after a restart. 2. A node votes once in a term; a leader has the votes of a quorum, and
 * every committed entry. 3. Entries of one index and term are the same everywhere; what one node commits no
 * other commits differently. 4. What a leader commits is of its own term, and on the disks of a quorum of the
 * voters in force; what it believes of a peer is on that peer's disk, and was answered in its own term. 5.
 * The newest configuration in the log is the one in force; one change at a time, behind an entry of the own
 * term; a snapshot brings the one of its index. 6. Only voters stand; terms begin with somebody standing, out
 * of turn only at a leader's word; nobody deposes a leader that a quorum hears, or leads without one. */
#include "tests/sim/sim.h"

#include "base/buffer.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/memory.h"
#include "raft/internal.h"

struct known_entry { /* of one index: what nodes had there */
    struct known_entry *next;
    uint64_t term;
    uint32_t chain;
    bool config;
};

struct peer_view {
    uint64_t id, match, round;
};

struct watched {
    /* what is on the node's disk */
    uint64_t base, last, term, vote, config_index;
    uint64_t installed; /* the index of the newest snapshot that it took */
    uint32_t *chains;   /* by index - 1 */
    size_t capacity;
    bool cut_short; /* it ended in the middle of a turn: the disk may have lost, or gained, what was under way
                     */
    /* as of its last turn */
    bool running, blocked;
    enum raft_role role;
    uint64_t leader, heard_ms, commit, last_index, now_ms, lead_term, alone_ms;
    struct peer_view peers[NODES_MAX + 1]; /* of a leader: what it believes, by the peers' numbers */
};

struct place { /* by index - 1 */
    struct known_entry *entries;
    uint32_t committed; /* chain, 0: not known yet */
};

static struct watched watched[NODES_MAX + 1];
static struct {
    struct place *places;
    size_t count;
    struct map votes; /* term * 16 + number of the voter -> id of whom it voted for */
    struct map stood; /* terms for which somebody stood */
    struct map asked; /* term * 16 + number of who was asked to stand by the leader of that term */
    struct {
        uint64_t index;
        uint32_t hash;
    } configs[256]; /* committed ones; the first: the founders' */
    size_t config_count;
} seen;

static struct place *place_of(uint64_t index)
{
    CHECK(index);
    if (index > seen.count) {
        size_t count = (size_t)index * 2 + 256;
        seen.places = memory_resize(seen.places, count * sizeof *seen.places);
        memset(seen.places + seen.count, 0, (count - seen.count) * sizeof *seen.places);
        seen.count = count;
    }
    return &seen.places[index - 1];
}

static struct watched *watched_by(const struct sim_node *sim)
{
    return &watched[sim->number];
}

static unsigned number_of(uint64_t id)
{
    for (unsigned n = 1; n <= world.node_count; n++)
        if (id && nodes[n].id == id) return n;
    return 0;
}

static void set_flag(struct map *map, uint64_t key)
{
    if (key) map_put(map, key, &seen);
}

/* --- entries --- */

/* Of an entry that was applied at once the payload is gone; then the node itself is to be believed. */
static bool is_config(const struct raft *raft, uint64_t index)
{
    const struct raft_entry *kept = raft_entry_at(raft, index);
    bool placed = false;
    for (size_t i = 0; i < raft->configs.count; i++)
        placed |= ((const struct placed_config *)strip_at(&raft->configs, i))->index == index;
    return kept ? kept->kind == RAFT_CONFIG : placed;
}

static const struct known_entry *note_entry(const struct sim_node *sim, const struct raft *raft,
                                            uint64_t index)
{
    uint64_t term = 0;
    uint32_t chain = 0;
    struct place *place = place_of(index);
    CHECK(raft_place(raft, index, &term, &chain));
    for (const struct known_entry *entry = place->entries; entry; entry = entry->next) {
        if (entry->chain == chain) return entry;
        if (entry->term == term)
            sim_fail("%s has another entry %llu of term %llu than a node before", sim->name,
                     (unsigned long long)index, (unsigned long long)term);
    }
    struct known_entry *entry = memory_new(sizeof *entry);
    *entry = (struct known_entry){place->entries, term, chain, is_config(raft, index)};
    return place->entries = entry;
}

static void keep_entry(struct sim_node *sim, const struct raft *raft, uint64_t index)
{
    struct watched *watch = watched_by(sim);
    const struct known_entry *entry = note_entry(sim, raft, index);
    if (index > watch->capacity) {
        watch->capacity = (size_t)index * 2 + 256;
        watch->chains = memory_resize(watch->chains, watch->capacity * sizeof *watch->chains);
    }
    watch->chains[index - 1] = entry->chain;
    watch->last = index;
    if (entry->config) watch->config_index = index;
}

/* The chain that the node's disk holds at index; 0: none, or not known any more. */
static uint32_t kept_chain(const struct watched *watch, uint64_t index)
{
    return index > watch->base && index <= watch->last ? watch->chains[index - 1] : 0;
}

static void note_committed(const struct sim_node *sim, const struct raft *raft, uint64_t index)
{
    uint64_t term = 0;
    uint32_t chain = 0;
    if (!index || index <= raft->log.base_index || !raft_place(raft, index, &term, &chain)) return;
    struct place *place = place_of(index);
    if (place->committed && place->committed != chain)
        sim_fail("%s commits another entry %llu than a node before", sim->name, (unsigned long long)index);
    place->committed = chain;
}

void witness_applied(const struct sim_node *sim, const struct raft_entry *entry)
{
    struct place *place = place_of(entry->index);
    if (place->committed && place->committed != entry->chain)
        sim_fail("%s applies another entry %llu than a node committed", sim->name,
                 (unsigned long long)entry->index);
    place->committed = entry->chain;
    if (entry->kind != RAFT_CONFIG) return;
    CHECK(seen.config_count < sizeof seen.configs / sizeof seen.configs[0]);
    seen.configs[seen.config_count].index = entry->index;
    seen.configs[seen.config_count++].hash = crc32c(0, entry->payload.data, entry->payload.size);
}

/* --- what nodes say --- */

/* Of a Raft message's form (raft/message.c) what is before its entries. */
static bool take_head(struct slice body, struct raft_message *message)
{
    enum { KINDS = 3 /* of the frame, of the message, flags */ };
    if (body.size < KINDS || body.data[0] != WIRE_RAFT) return false;
    *message = (struct raft_message){.kind = (enum raft_message_kind)body.data[1],
                                     .reject = body.data[2] & 1,
                                     .transfer = body.data[2] & 2};
    if (message->kind == RAFT_APPEND) return false;
    body = slice_of(body.data + KINDS, body.size - KINDS);
    return take_u64le(&body, &message->from) && take_u64le(&body, &message->to) &&
           take_varint(&body, &message->term) && take_varint(&body, &message->index) &&
           take_varint(&body, &message->log_term) && take_u32le(&body, &message->chain) &&
           take_varint(&body, &message->commit) && take_varint(&body, &message->round);
}

static void heard_vote(const struct sim_node *from, const struct raft_message *message)
{
    uint64_t key = message->term * 16 + from->number;
    uint64_t before = (uint64_t)(uintptr_t)map_get(&seen.votes, key);
    if (before && before != message->to)
        sim_fail("%s votes twice in term %llu", from->name, (unsigned long long)message->term);
    map_put(&seen.votes, key, (void *)(uintptr_t)message->to);
}

static void heard_stand(const struct sim_node *from, const struct raft_message *message)
{
    set_flag(&seen.stood, message->term);
    if (message->transfer && !map_get(&seen.asked, (message->term - 1) * 16 + from->number))
        sim_fail("%s stands out of turn in term %llu, though no leader of the term before asked it to",
                 from->name, (unsigned long long)message->term);
}

static void heard_round(const struct sim_node *from, const struct raft_message *message)
{
    unsigned number = number_of(message->to);
    struct watched *leader = &watched[number];
    struct peer_view *view = &leader->peers[from->number];
    if (!number || !leader->running || leader->lead_term != message->term) return;
    if (message->round > view->round) view->round = message->round;
}

void witness_said(const struct sim_node *from, struct slice body)
{
    struct raft_message message;
    const struct raft *raft = from->node ? from->node->raft : NULL;
    if (!take_head(body, &message)) return;
    if (raft && raft->role == RAFT_CANDIDATE)
        set_flag(&seen.stood, raft->hard.term); /* if it ends just now */
    if (message.kind == RAFT_VOTE_REPLY && !message.reject) heard_vote(from, &message);
    if (message.kind == RAFT_VOTE) heard_stand(from, &message);
    if (message.kind == RAFT_APPEND_REPLY) heard_round(from, &message);
    if (message.kind == RAFT_TIMEOUT_NOW) set_flag(&seen.asked, message.term * 16 + number_of(message.to));
}

static void check_said(const struct sim_node *sim, const struct raft_message *messages, size_t count)
{
    const struct watched *watch = watched_by(sim);
    for (size_t i = 0; i < count; i++) {
        const struct raft_message *message = &messages[i];
        bool voted = message->term == watch->term &&
                     (message->kind == RAFT_VOTE ? watch->vote == sim->id : watch->vote == message->to);
        if (message->kind == RAFT_VOTE && !voted) sim_fail("%s stands before its vote is saved", sim->name);
        if (message->kind == RAFT_VOTE_REPLY && !message->reject && !voted)
            sim_fail("%s votes before its vote is saved", sim->name);
        if (message->kind == RAFT_APPEND_REPLY && !message->reject && message->index > watch->last)
            sim_fail("%s acknowledges entry %llu before it is saved", sim->name,
                     (unsigned long long)message->index);
        if (message->kind == RAFT_APPEND && message->term > watch->term)
            sim_fail("%s sends entries of a term that is not saved", sim->name);
        bool heard = watch->leader && watch->role == RAFT_FOLLOWER && watch->term + 1 == message->term &&
                     sim->node->now_ms - watch->heard_ms < sim->node->settings.election_ms;
        if (message->kind == RAFT_PRE_VOTE_REPLY && !message->reject && heard)
            sim_fail("%s would vote although it heard its leader lately", sim->name);
    }
}

/* --- the disk --- */

static void check_restart(const struct sim_node *sim, const struct raft *raft)
{
    const struct watched *watch = watched_by(sim);
    uint64_t last = entries_last(&raft->log), base = raft->log.base_index;
    if (raft->hard.term < watch->term) sim_fail("%s lost its term in a restart", sim->name);
    if (raft->hard.term == watch->term && watch->vote && raft->hard.vote != watch->vote)
        sim_fail("%s lost its vote in a restart", sim->name);
    if (watch->cut_short && base > watch->base) return;
    if (last < watch->last)
        sim_fail("%s lost entry %llu in a restart", sim->name, (unsigned long long)watch->last);
    for (uint64_t index = base + 1; index <= watch->last; index++)
        if (kept_chain(watch, index) && entries_chain_at(&raft->log, index) != kept_chain(watch, index))
            sim_fail("%s has another entry %llu after a restart", sim->name, (unsigned long long)index);
}

static void take_over_log(struct sim_node *sim, const struct raft *raft)
{
    struct watched *watch = watched_by(sim);
    watch->base = watch->last = raft->log.base_index;
    watch->config_index = 0;
    for (uint64_t index = watch->base + 1; index <= raft->durable; index++) keep_entry(sim, raft, index);
}

static void begin(struct sim_node *sim, const struct raft *raft)
{
    struct watched *watch = watched_by(sim);
    check_restart(sim, raft);
    take_over_log(sim, raft);
    watch->running = true;
    watch->blocked = watch->cut_short = false;
    watch->role = RAFT_FOLLOWER;
    watch->leader = watch->lead_term = watch->alone_ms = watch->heard_ms = 0;
    watch->commit = 0;
    watch->term = raft->hard.term;
    watch->vote = raft->hard.vote;
    watch->now_ms = raft->now_ms;
    set_flag(&seen.stood, raft->hard.term); /* perhaps by itself, in the turn in which it ended */
}

static void keep_output(struct sim_node *sim, const struct raft *raft)
{
    struct watched *watch = watched_by(sim);
    const struct raft_output *output = &sim->node->output;
    uint64_t first = raft->durable - output->entry_count + 1;
    if (raft->log.base_index > watch->last) watch->installed = raft->log.base_index;
    if (raft->log.base_index > watch->last || first > watch->last + 1) take_over_log(sim, raft);
    watch->base = raft->log.base_index > watch->base ? raft->log.base_index : watch->base;
    if (output->save_hard) {
        if (output->hard.term == watch->term && watch->vote && output->hard.vote != watch->vote)
            sim_fail("%s changed its vote in term %llu", sim->name, (unsigned long long)watch->term);
        watch->term = output->hard.term;
        watch->vote = output->hard.vote;
    }
    if (!output->entry_count) return;
    if (first <= watch->config_index) { /* replaced */
        take_over_log(sim, raft);
        return;
    }
    for (uint64_t index = first; index <= raft->durable; index++) keep_entry(sim, raft, index);
}

/* --- configurations --- */

static uint32_t hash_of(const struct raft_config *config)
{
    struct buffer bytes = {0};
    raft_config_encode(config, &bytes);
    uint32_t hash = crc32c(0, bytes.data, bytes.size);
    buffer_free(&bytes);
    return hash;
}

static bool votes(const struct raft_config *config, uint64_t id)
{
    const struct raft_member *member = raft_config_member(config, id);
    return member && member->membership == RAFT_VOTER;
}

static void check_config(const struct sim_node *sim, const struct raft *raft)
{
    const struct watched *watch = watched_by(sim);
    const struct placed_config *placed = raft_placed_now(raft), *first = strip_at(&raft->configs, 0);
    uint64_t index = watch->config_index > watch->base ? watch->config_index : 0;
    if (index ? placed->index != index : placed->index > watch->base)
        sim_fail("%s: the configuration in force is of entry %llu, the log's newest of %llu", sim->name,
                 (unsigned long long)placed->index, (unsigned long long)index);
    size_t at = seen.config_count;
    if (!at && !sim->joins) seen.configs[seen.config_count++].hash = hash_of(&first->config);
    if (!at || !watch->base || watch->base != watch->installed) return;
    while (at > 1 && seen.configs[at - 1].index > watch->base) at--;
    if (first->index <= watch->base && hash_of(&first->config) != seen.configs[at - 1].hash)
        sim_fail("%s has another configuration at entry %llu", sim->name, (unsigned long long)watch->base);
}

/* --- leaders --- */

/* Whether `holds` is true of so many voters that it is of a quorum. Of a member whose disk is gone nobody
 * knows: it may have been. */
static bool quorum(const struct raft_config *config, bool (*holds)(unsigned number, uint64_t what),
                   uint64_t what)
{
    size_t voters = 0, count = 0;
    for (size_t i = 0; i < config->member_count; i++) {
        if (config->members[i].membership != RAFT_VOTER) continue;
        unsigned number = number_of(config->members[i].node);
        voters++;
        count += !number || holds(number, what);
    }
    return count > voters / 2;
}

static uint64_t elected; /* whom voted_for asks about */

static bool voted_for(unsigned number, uint64_t term)
{
    return nodes[number].id == elected ||
           (uint64_t)(uintptr_t)map_get(&seen.votes, term * 16 + number) == elected;
}

static bool has_committed(unsigned number, uint64_t index)
{
    return watched[number].base >= index || kept_chain(&watched[number], index) == place_of(index)->committed;
}

/* Of the committed entry at index. */
static uint64_t term_of(uint64_t index)
{
    const struct known_entry *entry = place_of(index)->entries;
    while (entry && entry->chain != place_of(index)->committed) entry = entry->next;
    return entry ? entry->term : UINT64_MAX;
}

static void check_elected(const struct sim_node *sim, const struct raft *raft)
{
    struct watched *watch = watched_by(sim);
    uint64_t known = judge_last(), term = raft->hard.term;
    elected = sim->id;
    if (!quorum(raft_config_now(raft), voted_for, term))
        sim_fail("%s leads in term %llu without the votes of a quorum", sim->name, (unsigned long long)term);
    if (known > watch->base && term_of(known) < term && !watch->blocked &&
        kept_chain(watch, known) != place_of(known)->committed)
        sim_fail("%s leads in term %llu without the committed entry %llu", sim->name,
                 (unsigned long long)term, (unsigned long long)known);
    memset(watch->peers, 0, sizeof watch->peers);
    watch->lead_term = term;
    watch->alone_ms = 0;
}

static void check_peer(const struct sim_node *sim, const struct raft *raft, const struct peer *peer)
{
    unsigned number = number_of(peer->id);
    struct peer_view *view = &watched_by(sim)->peers[number];
    const struct watched *other = &watched[number];
    if (!number) return;
    if (view->id != peer->id) *view = (struct peer_view){.id = peer->id, .round = view->round};
    if (peer->match < view->match)
        sim_fail("%s: what %s has fell from %llu to %llu", sim->name, nodes[number].name,
                 (unsigned long long)view->match, (unsigned long long)peer->match);
    if (peer->round > view->round)
        sim_fail("%s: %s answered round %llu, not %llu", sim->name, nodes[number].name,
                 (unsigned long long)view->round, (unsigned long long)peer->round);
    view->match = peer->match;
    if (other->term > raft->hard.term || peer->match <= other->base || peer->match <= raft->log.base_index)
        return;
    if (kept_chain(other, peer->match) != entries_chain_at(&raft->log, peer->match))
        sim_fail("%s believes that %s has entry %llu", sim->name, nodes[number].name,
                 (unsigned long long)peer->match);
}

static void check_commit(const struct sim_node *sim, const struct raft *raft)
{
    const struct watched *watch = watched_by(sim);
    const struct placed_config *placed = raft_placed_now(raft);
    uint64_t commit = raft->hard.commit, term = 0;
    if (commit <= watch->commit || commit <= raft->log.base_index) return;
    entries_term_at(&raft->log, commit, &term);
    if (term != raft->hard.term)
        sim_fail("%s commits entry %llu of an older term", sim->name, (unsigned long long)commit);
    bool before = placed->index > watch->last_index && placed->index > commit; /* it came in this turn */
    if (!quorum(&placed->config, has_committed, commit) &&
        !(before && quorum(raft_config_at(raft, placed->index - 1), has_committed, commit)))
        sim_fail("%s commits entry %llu, which is not on the disks of a quorum", sim->name,
                 (unsigned long long)commit);
}

static void check_changes(const struct sim_node *sim, const struct raft *raft)
{
    size_t open = 0;
    for (size_t i = 1; i < raft->configs.count; i++)
        open += ((const struct placed_config *)strip_at(&raft->configs, i))->index > raft->hard.commit;
    if (raft->hard.commit >= raft->noop && open > 1)
        sim_fail("%s: %zu changes of the members at once", sim->name, open);
    if (raft_placed_now(raft)->index > raft->noop && raft->hard.commit < raft->noop)
        sim_fail("%s changes the members before an entry of its own term is committed", sim->name);
    if (raft_placed_now(raft)->index <= raft->hard.commit && !votes(raft_config_now(raft), sim->id))
        sim_fail("%s was removed and leads", sim->name);
}

/* A quorum that does not answer deposes a leader after one timeout, at the latest after two. Turns that come
 * late are not held against it. */
static void check_quorum_answers(const struct sim_node *sim, const struct raft *raft)
{
    enum { LATE_MS = 100 };
    struct watched *watch = watched_by(sim);
    uint64_t heard_ms = raft_quorum_heard_ms(raft), passed_ms = raft->now_ms - watch->now_ms;
    bool answered = heard_ms != watch->heard_ms || !raft->peer_count;
    watch->alone_ms = answered ? 0 : watch->alone_ms + (passed_ms < LATE_MS ? passed_ms : LATE_MS);
    if (watch->alone_ms > 3 * raft->settings.election_ms)
        sim_fail("%s leads although no quorum has answered for %llu ms", sim->name,
                 (unsigned long long)watch->alone_ms);
}

static void check_leader(const struct sim_node *sim, const struct raft *raft)
{
    struct watched *watch = watched_by(sim);
    bool new = watch->lead_term != raft->hard.term;
    if (new) check_elected(sim, raft);
    for (size_t i = 0; i < raft->peer_count; i++) check_peer(sim, raft, &raft->peers[i]);
    if (!new) check_commit(sim, raft);
    if (!new) check_quorum_answers(sim, raft);
    check_changes(sim, raft);
}

/* --- after each turn --- */

static void check_role(const struct sim_node *sim, const struct raft *raft)
{
    const struct placed_config *placed = raft_placed_now(raft);
    bool may = votes(&placed->config, sim->id) ||
               (placed->index > raft->hard.commit && votes(raft_config_at(raft, placed->index - 1), sim->id));
    if (raft->role != RAFT_FOLLOWER && raft->role != RAFT_LEADER && !may)
        sim_fail("%s stands but does not vote", sim->name);
    if (raft->role == RAFT_CANDIDATE || raft->role == RAFT_LEADER) set_flag(&seen.stood, raft->hard.term);
    if (raft->hard.term && !map_get(&seen.stood, raft->hard.term))
        sim_fail("%s is in term %llu, for which nobody stood", sim->name,
                 (unsigned long long)raft->hard.term);
}

void witness_turn(struct sim_node *sim)
{
    struct watched *watch = watched_by(sim);
    const struct node *node = sim->node;
    const struct raft *raft = node->raft;
    const struct raft_output *output = &node->output;
    if (!watch->running) {
        begin(sim, raft);
        return;
    }
    bool blocked = watch->blocked;
    watch->blocked = node->save_blocked;
    if (!blocked) check_said(sim, output->now, output->now_count);
    if (node->save_blocked) return;
    keep_output(sim, raft);
    check_said(sim, output->after, output->after_count);
    check_config(sim, raft);
    check_role(sim, raft);
    note_committed(sim, raft, raft->hard.commit);
    if (raft->role == RAFT_LEADER) check_leader(sim, raft);
    watch->role = raft->role;
    watch->leader = raft->leader;
    watch->heard_ms = raft->role == RAFT_LEADER ? raft_quorum_heard_ms(raft) : raft->heard_at_ms;
    watch->commit = raft->hard.commit;
    watch->last_index = entries_last(&raft->log);
    watch->now_ms = raft->now_ms;
}

/* What the turn in which it ended had saved may have been spoken of. What was still to be saved may have
 * replaced entries. */
void witness_died(struct sim_node *sim)
{
    struct watched *watch = watched_by(sim);
    const struct raft *raft = sim->node ? sim->node->raft : NULL;
    bool saved = raft && watch->running && !raft->saving && !sim->node->save_blocked;
    if (saved) keep_output(sim, raft);
    watch->running = false;
    watch->cut_short = true;
    watch->lead_term = 0;
    if (!raft || saved) return;
    if (watch->last > entries_last(&raft->log)) watch->last = entries_last(&raft->log);
    for (uint64_t index = raft->log.base_index + 1; index <= watch->last; index++)
        if (kept_chain(watch, index) && kept_chain(watch, index) != entries_chain_at(&raft->log, index))
            watch->last = index - 1;
}

void witness_wiped(struct sim_node *sim)
{
    struct watched *watch = watched_by(sim);
    free(watch->chains);
    *watch = (struct watched){0};
}
