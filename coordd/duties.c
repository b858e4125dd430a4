/* What the node proposes by itself: its session, expiries, pulses, ends of waits, digests. */
#include "coordd/node_internal.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/mutant.h"
#include "coordd/clock.h"

enum {
    EXPIRE_BATCH = 384, /* leases on which nothing hangs; that many in one entry take about a millisecond */
    HOLD_WORK = 3,      /* what hangs on a lease costs that many times as much: 96 members or locks */
    HOLDS_MAX = 20000,
    OBSERVE_BATCH = 128,
    PACE_MS = 4, /* from one entry of many to the next */
    PULSE_BURST_MAX = 64,
    CANCEL_BATCH = 1024,
    LOAD_BATCH = 2048 /* members in one turn of a new leader */
};

/* The session is the lease on which waits hang whose client this process holds. */
static void open_session(struct node *node)
{
    uint64_t again_ms = node->office_term ? SESSION_TTL_MS : 5 * node->settings.heartbeat_ms;
    if (node->session_asked_ms && node->now_ms - node->session_asked_ms < again_ms) return;
    if (!node->session_nonce) node->session_nonce = random_number();
    if (!node->session_asked_ms) node->session_until_ms = node->now_ms + SESSION_TTL_MS;
    node->session_asked_ms = node->now_ms;
    struct lease_session_args args = {node->identity.node, node->session_nonce, SESSION_TTL_MS};
    if (node->office_term)
        node_propose(node, operation_lease_session, &args, 0, 0);
    else
        node_tell(node, node->status.leader, WIRE_SESSION, &(struct wire_session){node->session_nonce});
}

static void keep_session(struct node *node)
{
    if (!node_open_term(node)) return;
    if (!node->session) {
        open_session(node);
    } else if (node->now_ms - node->session_renewed_ms >= SESSION_TTL_MS / 4) {
        node->session_asked_ms = 0;
        node->session_renewed_ms = node->now_ms;
        asks_session(node);
    }
}

static void count_hold(struct apply *apply, uint8_t primitive, struct slice what, void *context)
{
    (void)apply, (void)primitive, (void)what;
    *(size_t *)context += HOLD_WORK;
}

/* How many of the leases go into one entry: until it is enough work. */
static size_t ending_together(struct node *node, const struct lease_expire_item *items, size_t count)
{
    struct apply apply;
    size_t work = 0, ending = 0;
    apply_begin(&apply, node->rows, &node->arena, node->applied, 0, 0);
    for (; ending < count && work < EXPIRE_BATCH; work++)
        lease_each_attachment(&apply, items[ending++].lease, HOLDS_MAX, count_hold, &work);
    arena_reset(&node->arena);
    return ending;
}

/* What was confirmed holds for all that were due by then, however many entries it takes to end them. */
static void propose_expiry(struct node *node)
{
    struct expiry *expiry = &node->expiry;
    struct lease_expire_item *items = arena_alloc(&node->turn, EXPIRE_BATCH * sizeof *items);
    size_t due = lease_clock_due(node->leases, expiry->by_ms, items, EXPIRE_BATCH);
    size_t count = ending_together(node, items, due);
    struct lease_expire_args args = {node->office_term, {items, count}};
    uint64_t index = count ? node_propose(node, operation_lease_expire, &args, 0, 0) : 0;
    if (!index) count = 0;
    lease_clock_not_proposed(node->leases, items + count, due - count);
    node->view.expired_leases += count;
    if (index) {
        expiry->index = index;
        expiry->after_ms = node->now_ms + PACE_MS;
    }
    if (!index || lease_clock_next_ms(node->leases) > expiry->by_ms) expiry->stage = EXPIRY_IDLE;
}

/* When its next step is: at once (0), at that time, or when something else has come. */
static uint64_t expiry_next_ms(struct node *node)
{
    const struct expiry *expiry = &node->expiry;
    switch (expiry->stage) {
    case EXPIRY_IDLE:
        return lease_clock_next_ms(node->leases);
    case EXPIRY_DRAINING:
        return expiry->awaited ? UINT64_MAX : 0;
    case EXPIRY_CONFIRMING:
        return UINT64_MAX;
    case EXPIRY_READY:
        break;
    }
    return expiry->index > node->applied ? UINT64_MAX : expiry->after_ms;
}

static void step_expiry(struct node *node)
{
    struct expiry *expiry = &node->expiry;
    if (expiry->stage == EXPIRY_READY && expiry_next_ms(node) <= node->now_ms) propose_expiry(node);
    if (expiry->stage == EXPIRY_IDLE && lease_clock_next_ms(node->leases) <= node->now_ms) {
        expiry->stage = EXPIRY_DRAINING;
        expiry->by_ms = node->now_ms;
        expiry->number++;
        expiry->awaited = mailbox_barrier_count(node->settings.mailbox);
        if (expiry->awaited) mailbox_ask_barrier(node->settings.mailbox, expiry->number);
        return; /* what the peers had sent by now is read in the next turn at the latest */
    }
    if (expiry->stage == EXPIRY_DRAINING && expiry->awaited == 0) {
        expiry->stage = EXPIRY_CONFIRMING;
        expiry->round = raft_read(node->raft);
    }
}

void duties_confirmed(struct node *node)
{
    struct expiry *expiry = &node->expiry;
    if (MUTANT(61) && expiry->stage == EXPIRY_CONFIRMING) expiry->stage = EXPIRY_READY;
    if (expiry->stage == EXPIRY_CONFIRMING && raft_round_confirmed(node->raft) >= expiry->round)
        expiry->stage = EXPIRY_READY;
}

static void propose_observations(struct node *node)
{
    struct observing *observing = &node->observing;
    struct observe_item *items = arena_alloc(&node->turn, OBSERVE_BATCH * sizeof *items);
    size_t count = beats_due(node->beats, observing->by_ms, items, OBSERVE_BATCH);
    observing->round = 0;
    if (!count) return;
    struct group_observe_args args = {node->office_term, {items, count}};
    uint64_t index = node_propose(node, operation_group_observe, &args, 0, 0);
    if (index) {
        observing->index = index;
        observing->after_ms = node->now_ms + PACE_MS;
    } else {
        beats_not_proposed(node->beats, items, count);
        observing->after_ms = node->now_ms + node->settings.heartbeat_ms;
    }
}

/* When there is something to do about members: at once (0), at that time, or when something else has come. */
static uint64_t observing_next_ms(struct node *node)
{
    const struct observing *observing = &node->observing;
    if (!beats_ready(node->beats)) return 0;
    if (observing->round) return raft_round_confirmed(node->raft) >= observing->round ? 0 : UINT64_MAX;
    if (observing->index > node->applied) return UINT64_MAX;
    uint64_t next_ms = beats_next_ms(node->beats);
    return next_ms > observing->after_ms ? next_ms : observing->after_ms;
}

static void step_observing(struct node *node)
{
    struct observing *observing = &node->observing;
    bool loaded = beats_load(node->beats, node->rows, &node->arena, node->now_ms, LOAD_BATCH);
    arena_reset(&node->arena);
    if (!loaded || observing_next_ms(node) > node->now_ms) return;
    if (observing->round) {
        propose_observations(node);
        return;
    }
    observing->by_ms = node->now_ms;
    observing->round = raft_read(node->raft);
}

/* One pulse entry does one piece of work; while they all find some, twice as many go into the next turn. */
static void propose_pulses(struct node *node)
{
    if (node->pulses_out) return;
    if (!coord_wants_pulse(node->rows)) {
        node->pulse_burst = 1;
        return;
    }
    for (size_t i = 0; i < node->pulse_burst; i++)
        if (node_propose(node, operation_pulse, &(struct pulse_args){0}, 0, 0)) node->pulses_out++;
    if (node->pulse_burst < PULSE_BURST_MAX) node->pulse_burst *= 2;
}

/* Until what was set to a time is due, by what an entry would be stamped with; UINT64_MAX: nothing is, or an
 * entry that does it is under way. */
static uint64_t due_in_ms(struct node *node)
{
    uint64_t at_ms = coord_due_ms(node->rows);
    bool under_way = node->due_term == node->office_term && node->due_index > node->applied;
    if (at_ms == UINT64_MAX || under_way) return UINT64_MAX;
    uint64_t now_ms = node_time_ms(node);
    if (now_ms < node->stamped_ms) now_ms = node->stamped_ms;
    return at_ms > now_ms ? at_ms - now_ms : 0;
}

static void propose_due(struct node *node)
{
    if (due_in_ms(node) != 0) return;
    node->due_term = node->office_term;
    node->due_index = node_propose(node, operation_due, &(struct due_args){0}, 0, 0);
}

/* The end of a wait goes the way of the wait itself. */
static void propose_cancels(struct node *node)
{
    struct wait_cancel_args cancel;
    for (size_t i = 0; i < CANCEL_BATCH && pending_next_cancel(node->pending, node->now_ms, &cancel); i++)
        proposals_add_own(node, operation_wait_cancel, &cancel);
}

/* --- digests: every replica must come to the same state --- */

void duties_digest(struct node *node, uint64_t index)
{
    if (index % DIGEST_ENTRIES != 0) return;
    size_t slot = index / DIGEST_ENTRIES % DIGESTS_KEPT;
    node->digests[slot].index = index;
    node->digests[slot].digest = state_mark(node->contents.state).digest;
}

void duties_compare(struct node *node, const struct digest_args *args)
{
    size_t slot = args->index / DIGEST_ENTRIES % DIGESTS_KEPT;
    if (args->index > node->digest_told) node->digest_told = args->index;
    if (node->digests[slot].index == args->index && node->digests[slot].digest != args->digest)
        fatal("the state after entry %llu differs from the leader's: this node's data or the leader's are "
              "damaged; empty this node's data directory and add it anew, and compare the others",
              (unsigned long long)args->index);
}

static void propose_digest(struct node *node)
{
    uint64_t newest = node->applied / DIGEST_ENTRIES * DIGEST_ENTRIES;
    size_t slot = newest / DIGEST_ENTRIES % DIGESTS_KEPT;
    if (newest <= node->digest_told || node->digests[slot].index != newest) return;
    struct digest_args args = {newest, node->digests[slot].digest};
    if (node_propose(node, operation_digest, &args, 0, 0)) node->digest_told = newest;
}

void duties_propose(struct node *node)
{
    keep_session(node);
    watches_session(node->watches, node->session_until_ms);
    propose_cancels(node);
    if (!node->office_term) return;
    step_expiry(node);
    step_observing(node);
    propose_pulses(node);
    propose_due(node);
    propose_digest(node);
}

/* --- when to look again --- */

static void earliest(uint64_t *until_ms, uint64_t at_ms)
{
    if (at_ms < *until_ms) *until_ms = at_ms;
}

static bool works_at_once(const struct node *node)
{
    if (node->hurry || !proposals_idle(node)) return true;
    if (!node->session && !node->session_asked_ms && node_open_term(node)) return true;
    return node->office_term && !node->pulses_out && coord_wants_pulse(node->rows);
}

uint64_t duties_next_ms(struct node *node)
{
    uint64_t now_ms = node->now_ms, until_ms = now_ms + 1000;
    if (node->save_blocked) return now_ms + 100;
    if (works_at_once(node)) return 0;
    earliest(&until_ms, raft_next_ms(node->raft));
    earliest(&until_ms, pending_next_ms(node->pending));
    earliest(&until_ms, watches_next_ms(node->watches));
    earliest(&until_ms, proposals_next_ms(node));
    earliest(&until_ms, asks_next_ms(node));
    earliest(&until_ms, catchup_next_ms(node));
    if (state_dirty(node->contents.state))
        earliest(&until_ms,
                 node->committed_ms + COMMIT_MS > now_ms ? node->committed_ms + COMMIT_MS : now_ms + 1);
    if (node->unable_since_ms || node->stopping)
        earliest(&until_ms, now_ms + node->settings.heartbeat_ms / 2);
    if (!node->session) earliest(&until_ms, now_ms + node->settings.heartbeat_ms);
    if (!node->office_term) return until_ms;
    earliest(&until_ms, now_ms + node->settings.heartbeat_ms / 2);
    uint64_t due_ms = due_in_ms(node);
    if (due_ms < 1000) earliest(&until_ms, now_ms + (due_ms ? due_ms : 1));
    earliest(&until_ms, expiry_next_ms(node));
    earliest(&until_ms, observing_next_ms(node));
    return until_ms;
}
