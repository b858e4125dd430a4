/* What came from the other nodes: each frame to where it belongs. Whoever has no cluster yet may only ask to
 * be added. */
#include "coordd/node_internal.h"

#include "coordd/log.h"
#include "raft/message.h"
#include "storage/raftlog.h"

static void take_raft(struct node *node, const struct peer_frame *frame, struct slice body)
{
    struct raft_message message;
    if (!raft_message_decode(body, &node->turn, &message) || message.from != frame->from) return;
    if (message.kind == RAFT_PRE_VOTE) members_tell_removed(node, frame->from);
    bool full = node->commit_blocked || raftlog_full(node->contents.log, node->now_ms);
    if (message.kind != RAFT_TIMEOUT_NOW || !full) /* who has no room does not take over */
        raft_receive(node->raft, &message, node->now_ms);
}

static void take_call(struct node *node, uint64_t from, const struct wire_call *wire)
{
    const struct operation *operation = operation_by_code(wire->code);
    if (operation && (operation->flags & OPERATION_AT_LEADER))
        asks_receive_call(node, from, operation, wire);
    else
        cluster_calls_receive(node, from, wire);
}

static void take_record(struct node *node, uint64_t from, enum wire_kind kind, const void *data)
{
    switch (kind) {
    case WIRE_PROPOSE:
        proposals_receive(node, from, data);
        break;
    case WIRE_EXPECT:
        proposals_expected(node, data);
        break;
    case WIRE_REFUSE:
        proposals_refused(node, data);
        break;
    case WIRE_SESSION:
        proposals_session(node, from, data);
        break;
    case WIRE_ASK:
        asks_receive(node, from, data);
        break;
    case WIRE_TOLD:
        asks_told(node, data);
        break;
    case WIRE_CALL:
        take_call(node, from, data);
        break;
    case WIRE_ANSWER:
        if (!asks_answered(node, data)) cluster_calls_answered(node, data);
        break;
    case WIRE_CHUNK:
        catchup_chunk(node, from, data);
        break;
    case WIRE_CHUNK_TAKEN:
        catchup_taken(node, from, data);
        break;
    case WIRE_REMOVED:
        members_told_removed(node, data);
        break;
    case WIRE_RAFT:
    case WIRE_JOIN:
    case WIRE_FOUNDED:
        break;
    }
}

static void take(struct node *node, const struct peer_frame *frame)
{
    struct slice body = frame->body;
    enum wire_kind kind = wire_take_kind(&body);
    if (kind == WIRE_RAFT) {
        if (frame->cluster) take_raft(node, frame, body);
        return;
    }
    const struct record *record = kind ? wire_record(kind) : NULL;
    if (!record) return;
    void *data = arena_alloc(&node->turn, record->size);
    if (!record_decode(record, data, body, &node->turn)) {
        LOG(WARN, "dropped a frame that cannot be read", {"from", members_name(node, frame->from)});
    } else if (kind == WIRE_JOIN) {
        members_join(node, frame->from, data);
    } else if (frame->cluster) {
        take_record(node, frame->from, kind, data);
    }
}

void gather_frames(struct node *node, const struct peer_frame *frames)
{
    for (const struct peer_frame *frame = frames; frame; frame = frame->next) {
        if (frame->greeting)
            members_greeted(node, frame);
        else
            take(node, frame);
        office_follow(node);
    }
}
