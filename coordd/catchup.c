/* Members that are too far behind for the log get a snapshot: the leader writes one of its last committed
 * state, a little in each turn, and sends it in chunks; the receiver builds a new state of them and switches
 * to it.
 *
 * Sent chunks are acknowledged by the number wanted next; when nothing moves for a while they go again from
 * there. One snapshot serves all who need one, as long as the log still has what follows it. */
#include "coordd/node_internal.h"

#include "base/check.h"
#include "base/mutant.h"
#include "coordd/log.h"
#include <errno.h>

enum {
    STEP_BYTES = 1024 * 1024, /* written in one turn */
    KEEP_MS = 10000,          /* a snapshot that nobody needs any more */
    RETRY_MS = 1000,          /* when none could be made */
    INTAKE_MS = 60000         /* without a chunk: nobody sends any more */
};

static void give_up(struct node *node)
{
    struct catchup *catchup = &node->catchup;
    if (catchup->intake) snapshot_intake_end(catchup->intake);
    catchup->intake = NULL;
    catchup->intake_next = 0;
    catchup->whole = false;
}

/* --- the sender --- */

/* The term in which this node may send snapshots; 0: none. A leader need not be in office for it: it may be
 * the member that is behind who is missing to commit the first entry of the term. */
static uint64_t sending_term(const struct node *node)
{
    if (MUTANT(73)) return node->office_term;
    return node->status.role == RAFT_LEADER ? node->status.term : 0;
}

static void let_go(struct node *node)
{
    struct catchup *catchup = &node->catchup;
    if (catchup->snapshot) snapshot_end(catchup->snapshot);
    catchup->snapshot = NULL;
    catchup->transfer_count = 0;
}

static void begin(struct node *node)
{
    struct catchup *catchup = &node->catchup;
    if (catchup->failed_ms && node->now_ms < catchup->failed_ms + RETRY_MS) return;
    struct state_mark mark = state_committed(node->contents.state);
    struct snapshot_place place = {.index = mark.applied, .time_ms = mark.time_ms, .digest = mark.digest};
    char error[256] = "";
    if (!raft_place(node->raft, mark.applied, &place.term, &place.chain)) return;
    place.config = *raft_config_at(node->raft, mark.applied);
    catchup->snapshot = snapshot_begin(node->directory, node->contents.state, &place, error, sizeof error);
    catchup->failed_ms = catchup->snapshot ? 0 : node->now_ms;
    if (catchup->snapshot)
        LOG(INFO, "writing a snapshot for a member that is far behind", {"index", log_number(place.index)});
    else
        LOG(ERROR, "no snapshot can be made: a member stays behind", {"why", error});
}

static bool is_usable(const struct node *node)
{
    const struct snapshot *snapshot = node->catchup.snapshot;
    return snapshot && snapshot_place(snapshot)->index + 1 >= node->view.first_index;
}

static void write_on(struct node *node)
{
    struct catchup *catchup = &node->catchup;
    if (snapshot_step(catchup->snapshot, STEP_BYTES)) return;
    if (snapshot_failed(catchup->snapshot)) {
        LOG_FACT(ERROR, "the disk is full: no snapshot for the member that is behind; trying again");
        catchup->failed_ms = node->now_ms;
        let_go(node);
    } else {
        node->view.snapshots++;
    }
}

static struct transfer *transfer_to(struct catchup *catchup, uint64_t id)
{
    for (size_t i = 0; i < catchup->transfer_count; i++)
        if (catchup->transfers[i].node == id) return &catchup->transfers[i];
    if (catchup->transfer_count == RAFT_MEMBERS_MAX) catchup->transfer_count = 0; /* of members long gone */
    struct transfer *transfer = &catchup->transfers[catchup->transfer_count++];
    *transfer = (struct transfer){.node = id};
    return transfer;
}

static bool send_chunk(struct node *node, const struct transfer *transfer)
{
    struct snapshot *snapshot = node->catchup.snapshot;
    const struct snapshot_place *place = snapshot_place(snapshot);
    struct wire_chunk wire = {.term = sending_term(node),
                              .index = place->index,
                              .log_term = place->term,
                              .number = transfer->sent,
                              .count = snapshot_chunks(snapshot)};
    if (!snapshot_chunk(snapshot, transfer->sent, &node->turn, &wire.bytes)) {
        LOG_FACT(ERROR, "the snapshot cannot be read back: writing another");
        let_go(node);
        return false;
    }
    node_tell(node, transfer->node, WIRE_CHUNK, &wire);
    return true;
}

static void send_to(struct node *node, uint64_t id)
{
    struct transfer *transfer = transfer_to(&node->catchup, id);
    uint64_t count = snapshot_chunks(node->catchup.snapshot);
    transfer_turn(transfer, node->now_ms);
    while (transfer_may_send(transfer, count) && send_chunk(node, transfer)) transfer->sent++;
}

void catchup_send(struct node *node)
{
    struct catchup *catchup = &node->catchup;
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    size_t count = sending_term(node) ? raft_peers(node->raft, peers) : 0;
    bool wanted = false;
    for (size_t i = 0; i < count; i++) {
        bool here = peers[i].heard_ms && node->now_ms - peers[i].heard_ms < node->settings.election_ms;
        if (peers[i].state != RAFT_PEER_NEEDS_SNAPSHOT || !here) continue;
        wanted = true;
        if (catchup->snapshot && snapshot_complete(catchup->snapshot) && is_usable(node))
            send_to(node, peers[i].node);
    }
    if (wanted) catchup->wanted_ms = node->now_ms;
    if (wanted && !is_usable(node)) {
        let_go(node);
        begin(node);
    }
    if (catchup->snapshot && !snapshot_complete(catchup->snapshot)) write_on(node);
    if (catchup->snapshot && node->now_ms >= catchup->wanted_ms + KEEP_MS) let_go(node);
    if (catchup->intake && !catchup->whole && node->now_ms >= catchup->intake_moved_ms + INTAKE_MS)
        give_up(node);
}

void catchup_taken(struct node *node, uint64_t from, const struct wire_chunk_taken *taken)
{
    struct catchup *catchup = &node->catchup;
    if (!taken->term || taken->term != sending_term(node)) return;
    if (taken->status == WIRE_HAS) {
        raft_snapshot_done(node->raft, from, taken->term, taken->index);
        return;
    }
    if (!catchup->snapshot || snapshot_place(catchup->snapshot)->index != taken->index) return;
    struct transfer *transfer = transfer_to(catchup, from);
    if (taken->status == WIRE_TAKING) transfer_wants(transfer, taken->next, node->now_ms);
    if (taken->status == WIRE_BAD) transfer_anew(transfer, node->now_ms);
    /* WIRE_NO_ROOM: nothing moves, so the same chunk goes again by and by. */
}

uint64_t catchup_keep(const struct node *node, uint64_t index)
{
    const struct snapshot *snapshot = node->catchup.snapshot;
    uint64_t at = snapshot ? snapshot_place(snapshot)->index : index;
    return at < index ? at : index;
}

/* --- the receiver --- */

static void reply(struct node *node, enum wire_intake status)
{
    const struct catchup *catchup = &node->catchup;
    struct wire_chunk_taken taken = {catchup->intake_term, catchup->intake_index, catchup->intake_next,
                                     (uint64_t)status};
    node_tell(node, catchup->intake_from, WIRE_CHUNK_TAKEN, &taken);
}

static bool begin_intake(struct node *node)
{
    char error[256] = "";
    struct catchup *catchup = &node->catchup;
    catchup->intake = snapshot_intake_begin(node->directory, error, sizeof error);
    if (catchup->intake)
        LOG(INFO, "receiving a snapshot: this node is far behind",
            {"from", members_name(node, catchup->intake_from)}, {"index", log_number(catchup->intake_index)});
    else
        LOG(ERROR, "a snapshot cannot be received", {"why", error});
    return catchup->intake != NULL;
}

static void take_chunk(struct node *node, const struct wire_chunk *chunk)
{
    struct catchup *catchup = &node->catchup;
    switch (snapshot_intake_chunk(catchup->intake, chunk->number, chunk->bytes)) {
    case INTAKE_MORE:
        catchup->intake_next = chunk->number + 1;
        reply(node, WIRE_TAKING);
        break;
    case INTAKE_WHOLE: {
        const struct snapshot_place *place = snapshot_intake_place(catchup->intake);
        catchup->whole = place->index == catchup->intake_index && place->term == catchup->intake_log_term;
        catchup->intake_next = chunk->number + 1;
        if (!catchup->whole) give_up(node);
        break;
    }
    case INTAKE_BAD:
        LOG_FACT(WARN, "a chunk of the snapshot was not what it should be: beginning anew");
        give_up(node);
        reply(node, WIRE_BAD);
        break;
    case INTAKE_NO_ROOM:
        LOG_FACT(ERROR, "the disk is full: the snapshot cannot be received; beginning anew");
        give_up(node);
        reply(node, WIRE_BAD);
        break;
    }
}

void catchup_chunk(struct node *node, uint64_t from, const struct wire_chunk *chunk)
{
    struct catchup *catchup = &node->catchup;
    bool same = catchup->intake && catchup->intake_index == chunk->index &&
                catchup->intake_log_term == chunk->log_term;
    if (node->status.role == RAFT_LEADER || chunk->term < node->status.term || catchup->whole) return;
    if (!same) give_up(node);
    catchup->intake_moved_ms = node->now_ms;
    catchup->intake_from = from;
    catchup->intake_term = chunk->term;
    catchup->intake_index = chunk->index;
    catchup->intake_log_term = chunk->log_term;
    if (raft_has(node->raft, chunk->index, chunk->log_term)) {
        give_up(node);
        reply(node, WIRE_HAS);
    } else if (chunk->number != catchup->intake_next) {
        reply(node, WIRE_TAKING); /* what is wanted instead */
    } else if (catchup->intake || begin_intake(node)) {
        take_chunk(node, chunk);
    }
}

/* What happened to requests in the entries that the snapshot stands for cannot be seen here. The session ends
 * with the next one's beginning, and with it the waits that nobody here listens for any more. */
static void forget_requests(struct node *node)
{
    proposals_forget_sent(node);
    pending_stop_sent(node->pending);
    node->session = node->session_nonce = node->session_asked_ms = 0;
}

void catchup_switch(struct node *node)
{
    struct catchup *catchup = &node->catchup;
    if (!catchup->whole) return;
    struct snapshot_place place = *snapshot_intake_place(catchup->intake);
    if (node->status.role == RAFT_LEADER || raft_has(node->raft, place.index, place.term)) {
        give_up(node);
        return;
    }
    let_go(node); /* of the state that goes */
    struct raft_hard hard = node->output.hard;
    hard.commit = place.index;
    if (snapshot_switch(catchup->intake, &node->contents, &hard) == -ENOSPC) return;
    catchup->intake = NULL;
    catchup->whole = false;
    struct raft_base base = {place.index, place.term, place.chain, place.config};
    raft_install(node->raft, &base);
    node->rows = state_rows(node->contents.state);
    node->applied = place.index;
    node->applied_term = place.term;
    if (place.time_ms > node->stamped_ms) node->stamped_ms = place.time_ms;
    node->view.first_index = place.index + 1;
    node->view.snapshots++;
    forget_requests(node);
    watches_switched(node->watches);
    node_see(node);
    reply(node, WIRE_HAS);
    LOG(INFO, "a received snapshot is this node's state now", {"index", log_number(place.index)},
        {"term", log_number(place.term)});
}

uint64_t catchup_next_ms(const struct node *node)
{
    const struct catchup *catchup = &node->catchup;
    if (catchup->whole) return node->now_ms + 20;
    if (!catchup->snapshot) return UINT64_MAX;
    return snapshot_complete(catchup->snapshot) ? node->now_ms + node->settings.heartbeat_ms : 0;
}

void catchup_close(struct node *node)
{
    let_go(node);
    give_up(node);
}
