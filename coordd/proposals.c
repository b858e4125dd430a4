/* Commands on their way into the log. See struct proposal in node_internal.h.
 *
 * Invariants
 * 1. A proposal is in `queued` or in `sent`, in `sent` exactly when its term is not 0 and it is in by_number.
 * 2. Terms never fall along `sent`.
 * 3. Numbers of the node's own commands lie above those of calls. */
#include "coordd/node_internal.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/mutant.h"
#include "coord/primitive/lease.h"
#include "coord/primitive/txn.h"
#include "coordd/clock.h"

enum { FRAME_BYTES = 512 * 1024, FRAME_PROPOSALS = 1024, PROPOSAL_OVERHEAD = 64 };
#define OWN_NUMBERS ((uint64_t)1 << 62)

static void ring_open(struct proposal *head)
{
    head->next = head->previous = head;
}

static void ring_add(struct proposal *before, struct proposal *proposal)
{
    proposal->next = before;
    proposal->previous = before->previous;
    before->previous->next = proposal;
    before->previous = proposal;
}

static void ring_remove(struct proposal *proposal)
{
    proposal->previous->next = proposal->next;
    proposal->next->previous = proposal->previous;
}

void proposals_open(struct proposals *proposals)
{
    ring_open(&proposals->queued);
    ring_open(&proposals->sent);
    proposals->own_number = OWN_NUMBERS;
}

static void add(struct node *node, struct proposal *proposal)
{
    node->proposals.count++;
    ring_add(&node->proposals.queued, proposal);
}

void proposals_add_call(struct node *node, struct call *call)
{
    struct proposal *proposal = arena_alloc(&call->arena, sizeof *proposal);
    *proposal = (struct proposal){.operation = call->guard ? operation_guarded : call->operation,
                                  .args = call->guard ? call->guard : call->args,
                                  .call = call,
                                  .number = call->number};
    pending_add(node->pending, call);
    add(node, proposal);
}

void proposals_add_own(struct node *node, const struct operation *operation, const void *args)
{
    struct proposal *proposal = memory_new(sizeof *proposal);
    proposal->operation = operation;
    proposal->args = record_copy(operation->args, args, &proposal->arena, NULL, NULL);
    proposal->number = ++node->proposals.own_number;
    add(node, proposal);
}

/* Takes it out of its ring; a call's lives on with the call. */
static void drop(struct node *node, struct proposal *proposal)
{
    ring_remove(proposal);
    node->proposals.count--;
    if (proposal->term) map_remove(&node->proposals.by_number, proposal->number);
    if (proposal->call) return;
    arena_free(&proposal->arena);
    free(proposal);
}

static void end(struct node *node, struct proposal *proposal, enum outcome outcome, const char *detail)
{
    bool call = proposal->call != NULL;
    uint64_t number = proposal->number;
    drop(node, proposal);
    if (call) CHECK(pending_end(node->pending, number, outcome, detail));
}

/* --- sending --- */

static void mark_sent(struct node *node, struct proposal *proposal, uint64_t term, uint64_t place)
{
    ring_remove(proposal);
    proposal->term = term;
    proposal->place = place;
    proposal->session = node->session;
    ring_add(&node->proposals.sent, proposal);
    map_put(&node->proposals.by_number, proposal->number, proposal);
    if (proposal->call) pending_sent(node->pending, proposal->number, node->session);
}

static bool no_room(struct node *node, const struct operation *operation, const void *args)
{
    if (operation == operation_guarded) operation = guarded_operation(args);
    return (operation->flags & OPERATION_GROWS) &&
           (raftlog_full(node->contents.log, node->now_ms) || node->commit_blocked);
}

#define NO_ROOM_DETAIL "make room on the disk of the data directory; no restart is needed"

/* What one turn proposes fits one frame of the log; the rest stays queued for the next. */
static void propose_here(struct node *node)
{
    struct proposal *head = &node->proposals.queued;
    size_t bytes = 0;
    while (head->next != head && bytes < PROPOSED_BYTES_MAX && !raft_transferring(node->raft)) {
        struct proposal *proposal = head->next;
        if (no_room(node, proposal->operation, proposal->args)) {
            end(node, proposal, OUTCOME_STORAGE_FULL, NO_ROOM_DETAIL);
            continue;
        }
        mark_sent(node, proposal, node->office_term, 0);
        CHECK(node_propose(node, proposal->operation, proposal->args, node->session, proposal->number));
        bytes += node->payload.size + PROPOSAL_OVERHEAD;
    }
}

/* One frame: the proposals from `from` on that belong to the own stream and lie side by side in it. Returns
 * the one after the last. */
static struct proposal *tell(struct node *node, struct proposal *from)
{
    struct proposals *proposals = &node->proposals;
    struct wire_proposal items[FRAME_PROPOSALS];
    struct wire_propose propose = {.term = proposals->term,
                                   .session = proposals->session,
                                   .first = from->place,
                                   .proposals = {items, 0}};
    size_t bytes = 0;
    while (from != &proposals->sent && propose.proposals.count < FRAME_PROPOSALS && bytes < FRAME_BYTES &&
           from->place == propose.first + propose.proposals.count) {
        node->payload.size = 0;
        record_encode(from->operation->args, from->args, &node->payload);
        struct slice args = arena_copy(&node->turn, buffer_slice(&node->payload));
        items[propose.proposals.count++] = (struct wire_proposal){from->operation->code, from->number, args};
        bytes += args.size + PROPOSAL_OVERHEAD;
        from = from->next;
    }
    node_tell(node, node->status.leader, WIRE_PROPOSE, &propose);
    return from;
}

static void tell_from(struct node *node, uint64_t place)
{
    struct proposals *proposals = &node->proposals;
    struct proposal *at = proposals->sent.next;
    while (at != &proposals->sent &&
           (at->term != proposals->term || at->session != proposals->session || at->place < place))
        at = at->next;
    while (at != &proposals->sent) at = tell(node, at);
    proposals->moved_ms = node->now_ms;
}

static bool stream_has_open_ones(const struct proposals *proposals)
{
    const struct proposal *last = proposals->sent.previous;
    return last != &proposals->sent && last->term == proposals->term && last->place;
}

/* Nothing was heard for a while: a frame may be lost. Asks where the leader is; the answer tells what to send
 * again. */
static void ask_again(struct node *node)
{
    struct proposals *proposals = &node->proposals;
    if (!stream_has_open_ones(proposals) || proposals->term != node->status.term ||
        node->now_ms < proposals->moved_ms + 2 * node->settings.heartbeat_ms)
        return;
    struct wire_propose question = {
        .term = proposals->term, .session = proposals->session, .first = proposals->next};
    node_tell(node, node->status.leader, WIRE_PROPOSE, &question);
    proposals->moved_ms = node->now_ms;
}

static void send_to_leader(struct node *node)
{
    struct proposals *proposals = &node->proposals;
    if (proposals->term != node->status.term || proposals->session != node->session) {
        proposals->term = node->status.term;
        proposals->session = node->session;
        proposals->next = 1;
    }
    uint64_t first = proposals->next;
    while (proposals->queued.next != &proposals->queued)
        mark_sent(node, proposals->queued.next, proposals->term, proposals->next++);
    if (proposals->next > first) tell_from(node, first);
}

/* The leader takes nothing more that goes under a session before the present one; what it took before may
 * still be on its way here. When nothing has come for a while, nobody can tell. */
static void give_up_former(struct node *node)
{
    struct proposal *head = &node->proposals.sent;
    if (node->now_ms < node->session_since_ms + node_hold_ms(node)) return;
    while (head->next != head && head->next->session != node->session)
        end(node, head->next, OUTCOME_OUTCOME_UNKNOWN, "");
}

void proposals_send(struct node *node)
{
    if (!node->session || !node_open_term(node)) return;
    give_up_former(node);
    if (node->office_term) {
        propose_here(node);
        return;
    }
    send_to_leader(node);
    ask_again(node);
}

bool proposals_idle(const struct node *node)
{
    return node->proposals.queued.next == &node->proposals.queued || !node->session ||
           !node_open_term(node) || raft_transferring(node->raft);
}

uint64_t proposals_next_ms(const struct node *node)
{
    const struct proposals *proposals = &node->proposals;
    bool asks = !node->office_term && node_open_term(node) && stream_has_open_ones(proposals);
    return asks ? proposals->moved_ms + 2 * node->settings.heartbeat_ms : UINT64_MAX;
}

/* --- what became of them --- */

void proposals_applied(struct node *node, uint64_t origin, uint64_t number)
{
    struct proposal *proposal = number ? map_get(&node->proposals.by_number, number) : NULL;
    if (!proposal || proposal->session != origin) return;
    node->proposals.moved_ms = node->now_ms;
    drop(node, proposal);
}

/* Entries of earlier terms that are not applied now never will be. What was sent in them goes again, before
 * what is queued. */
void proposals_term_applied(struct node *node, uint64_t term)
{
    struct proposals *proposals = &node->proposals;
    struct proposal *before = proposals->queued.next;
    while (proposals->sent.next != &proposals->sent && proposals->sent.next->term < term) {
        struct proposal *proposal = proposals->sent.next;
        ring_remove(proposal);
        map_remove(&proposals->by_number, proposal->number);
        proposal->term = 0;
        ring_add(before, proposal);
    }
}

void proposals_refuse(struct node *node, enum outcome outcome, const char *detail, bool all)
{
    struct proposal *head = MUTANT(72) ? &node->proposals.sent : &node->proposals.queued;
    for (struct proposal *at = head->next, *next; at != head; at = next) {
        next = at->next;
        if (all || (at->call && node->now_ms >= at->call->arrived_ms + node_hold_ms(node)))
            end(node, at, outcome, detail);
    }
}

void proposals_forget_sent(struct node *node)
{
    struct proposal *head = &node->proposals.sent;
    while (head->next != head) {
        bool call = head->next->call != NULL;
        uint64_t number = head->next->number;
        drop(node, head->next);
        if (call) pending_end(node->pending, number, OUTCOME_OUTCOME_UNKNOWN, "");
    }
}

void proposals_free(struct node *node)
{
    struct proposal *heads[] = {&node->proposals.queued, &node->proposals.sent};
    for (size_t i = 0; i < 2; i++)
        while (heads[i]->next && heads[i]->next != heads[i]) drop(node, heads[i]->next);
    map_free(&node->proposals.by_number);
}

/* --- the leader's side --- */

static struct stream *stream_of(struct node *node, uint64_t from)
{
    struct proposals *proposals = &node->proposals;
    for (size_t i = 0; i < proposals->stream_count; i++)
        if (proposals->streams[i].node == from) return &proposals->streams[i];
    if (!raft_config_member(raft_config_in_force(node->raft), from)) return NULL;
    if (proposals->stream_count == RAFT_MEMBERS_MAX) { /* somebody there is no member any more */
        size_t gone = 0;
        while (raft_config_member(raft_config_in_force(node->raft), proposals->streams[gone].node)) gone++;
        proposals->streams[gone] = proposals->streams[--proposals->stream_count];
    }
    struct stream *stream = &proposals->streams[proposals->stream_count++];
    *stream = (struct stream){.node = from};
    return stream;
}

static void expect(struct node *node, const struct stream *stream)
{
    struct wire_expect expect = {node->office_term, stream->session, stream->next};
    node_tell(node, stream->node, WIRE_EXPECT, &expect);
}

static bool session_lives(struct node *node, uint64_t opened_at)
{
    struct lease_row row;
    uint64_t session = opened_at << LEASE_ENTRY_BITS;
    bool lives = lease_next(node->rows, &node->arena, session - 1, &row) && row.id == session;
    arena_reset(&node->arena);
    return lives;
}

/* Another node's process asks for its session; again when the entry that opens it takes long to get there.
 * One more would end the session under which it sends by then. */
void proposals_session(struct node *node, uint64_t from, const struct wire_session *session)
{
    struct stream *stream = node->office_term ? stream_of(node, from) : NULL;
    if (!stream) return;
    bool asked = stream->opens_at && stream->nonce == session->nonce;
    if (asked && (stream->opens_at > node->applied || session_lives(node, stream->opens_at)) && !MUTANT(76))
        return;
    struct lease_session_args args = {from, session->nonce, SESSION_TTL_MS};
    stream->nonce = session->nonce;
    stream->opens_at = node_propose(node, operation_lease_session, &args, 0, 0);
}

static bool propose_for(struct node *node, const struct stream *stream, const struct wire_proposal *item)
{
    const struct operation *operation = operation_by_code(item->code);
    if (!operation || operation->kind != OPERATION_COMMAND) return false;
    void *args = arena_alloc(&node->turn, operation->args->size);
    if (!record_decode(operation->args, args, item->args, &node->turn)) return false;
    if (no_room(node, operation, args)) {
        struct wire_refuse refuse = {stream->session, item->number, OUTCOME_STORAGE_FULL, node->office_term};
        node_tell(node, stream->node, WIRE_REFUSE, &refuse);
        return true;
    }
    return node_propose(node, operation, args, stream->session, item->number) != 0;
}

void proposals_receive(struct node *node, uint64_t from, const struct wire_propose *propose)
{
    if (!node->office_term || propose->term != node->office_term) return;
    struct stream *stream = stream_of(node, from);
    bool current = MUTANT(70) || lease_session_of(node->rows, from) == propose->session;
    if (!stream || !current || propose->session < stream->session) return;
    if (propose->session > stream->session) {
        stream->session = propose->session;
        stream->next = 1;
    }
    uint64_t last = propose->first + propose->proposals.count;
    if (MUTANT(65)) stream->next = propose->first;
    if (propose->first > stream->next || propose->proposals.count == 0) {
        expect(node, stream);
        return;
    }
    const struct wire_proposal *items = propose->proposals.items;
    while (stream->next < last && propose_for(node, stream, &items[stream->next - propose->first]))
        stream->next++;
}

/* Who sent before this node was in office was not heard. */
void proposals_office(struct node *node)
{
    const struct raft_config *config = raft_config_in_force(node->raft);
    struct wire_expect expect = {.term = node->office_term, .next = 1};
    node->proposals.stream_count = 0;
    for (size_t i = 0; i < config->member_count; i++)
        if (config->members[i].node != node->identity.node)
            node_tell(node, config->members[i].node, WIRE_EXPECT, &expect);
}

/* --- the follower's side --- */

void proposals_expected(struct node *node, const struct wire_expect *expect)
{
    const struct proposals *proposals = &node->proposals;
    bool mine = expect->session == proposals->session || expect->session == 0;
    if (node->office_term || expect->term != proposals->term || expect->term != node->status.term || !mine)
        return;
    if (expect->next < proposals->next) tell_from(node, expect->next);
}

void proposals_refused(struct node *node, const struct wire_refuse *refuse)
{
    struct proposal *proposal = map_get(&node->proposals.by_number, refuse->number);
    if (!proposal || proposal->session != refuse->session || refuse->outcome != OUTCOME_STORAGE_FULL) return;
    if (proposal->term != refuse->term && !MUTANT(74)) return;
    end(node, proposal, OUTCOME_STORAGE_FULL, "make room on the disk of the leader; no restart is needed");
}
