/* Requests on their way in: commands to the log, queries and renewals to the leader's round, and notices. */
#include "coordd/node_internal.h"

#include "base/check.h"
#include "base/memory.h"
#include "coord/primitive/txn.h"
#include "coordd/log.h"

#define NO_ROOM_DETAIL "make room on the disk of the data directory; no restart is needed"

/* --- stale reads --- */

/* How old the state may be: since when this node knows that it had all that was committed. */
static uint64_t age_ms(const struct node *node)
{
    if (node->office_term && raft_config_in_force(node->raft)->member_count == 1) return 0;
    uint64_t heard_ms = node->status.heard_ms ? node->status.heard_ms : node->opened_ms;
    return node->now_ms > heard_ms ? node->now_ms - heard_ms : 0;
}

static void answer_stale(struct node *node, struct call *call)
{
    struct apply apply;
    struct state_mark mark = state_mark(node->contents.state);
    call->age_ms = age_ms(node);
    apply_begin(&apply, node->rows, &node->arena, node->applied, mark.term, node_read_time_ms(node));
    coord_query(&apply, call->operation, call->args);
    struct answer answer;
    if (!watches_keep(node->watches, call, &apply, &answer))
        pending_reply_stale(node->pending, call, &answer, node->applied);
    arena_reset(&node->arena);
}

/* --- calls --- */

static bool is_held_too_long(const struct node *node)
{
    return node->unable_since_ms &&
           (node->now_ms >= node->unable_since_ms + node_hold_ms(node) || members_removed(node));
}

static void take_command(struct node *node, struct call *call)
{
    if (is_held_too_long(node))
        pending_refuse(node->pending, call, OUTCOME_NO_LEADER, members_missing(node));
    else if (node->proposals.count >= HELD_MAX)
        pending_refuse(node->pending, call, OUTCOME_OVERLOADED, "too many requests wait to be committed");
    else
        proposals_add_call(node, call);
}

static void take_read(struct node *node, struct call *call)
{
    if (call->stale &&
        call->min_revision <= node->applied) /* else what is missing comes with the leader's word */
        answer_stale(node, call);
    else if (is_held_too_long(node))
        pending_refuse(node->pending, call, OUTCOME_NO_LEADER, members_missing(node));
    else
        asks_call(node, call);
}

static bool is_blocked(const struct node *node, const struct call *call)
{
    bool command = call->operation->kind == OPERATION_COMMAND;
    if (call->operation->kind == OPERATION_STREAM) return false; /* from what is applied */
    return node->save_blocked && (command ? (call->operation->flags & OPERATION_GROWS) != 0 : !call->stale);
}

void intake_calls(struct node *node, struct call *calls)
{
    for (struct call *call = calls, *next; call; call = next) {
        next = call->next;
        node->view.batches += call == calls;
        held_prepare(call);
        if (is_blocked(node, call))
            pending_refuse(node->pending, call, OUTCOME_STORAGE_FULL, NO_ROOM_DETAIL);
        else if (node->stopping)
            pending_refuse(node->pending, call, OUTCOME_SHUTTING_DOWN, "");
        else if (call->operation->kind == OPERATION_COMMAND)
            take_command(node, call);
        else if (call->operation->kind == OPERATION_CLUSTER)
            cluster_calls_take(node, call);
        else if (call->operation->kind == OPERATION_STREAM)
            watches_open(node->watches, call);
        else
            take_read(node, call);
    }
}

/* A client whose wait is over is told of the newest state: the time that it has waited does not count. */
void intake_again(struct node *node, struct call *calls)
{
    for (struct call *call = calls, *next; call; call = next) {
        next = call->next;
        call->arrived_ms = node->now_ms;
        take_read(node, call);
    }
}

void intake_refuse_all(struct node *node, enum outcome outcome, const char *detail)
{
    proposals_refuse(node, outcome, detail, true);
    asks_refuse(node, outcome, detail, true);
    cluster_calls_end(node, outcome);
}

/* Renewals have a limit of their own even while a leader is known. */
void intake_hold(struct node *node)
{
    if (is_held_too_long(node)) {
        proposals_refuse(node, OUTCOME_NO_LEADER, members_missing(node), false);
        asks_refuse(node, OUTCOME_NO_LEADER, members_missing(node), false);
    } else {
        asks_refuse(node, OUTCOME_NO_QUORUM, "the lease was not renewed", false);
    }
}

/* --- notices --- */

/* A grant that nobody received is taken back, unless it hangs on a lease that the client named and may still
 * count on. */
static void undo(struct node *node, struct call *call)
{
    const struct operation *undo =
        call->operation->undo ? operation_by_name(slice_text(call->operation->undo)) : NULL;
    const struct guarded_args *guard = call->guard;
    bool own = record_number(call->operation->args, call->args, "lease") == 0;
    if (guard && guard->retry_key.size) return; /* who asks again is told of this grant */
    if (!undo || !own || !call->result || call->shape != call->operation->result) return;
    proposals_add_own(node, undo, call_undo_args(call, undo));
}

static void stop(struct node *node)
{
    LOG(INFO, "stopping: waiting requests are answered 503",
        {"waiting", log_number(pending_waiting(node->pending))});
    node->stopping = true;
    watches_stop(node->watches);
    pending_break(node->pending);
    node->stopping_ms = node->now_ms;
}

/* What streams held that have ended is given back. */
static void give_back(struct node *node)
{
    for (struct held *held = watches_ended(node->watches), *next; held; held = next) {
        next = held->next;
        proposals_add_own(node, held->undo, held->undo_args);
        held_free(held);
    }
}

/* After the calls: a client may have gone as soon as it had come. */
void intake_gone(struct node *node, struct notice *gone)
{
    for (struct notice *notice = gone, *next; notice; notice = next) {
        next = notice->next;
        pending_gone(node->pending, notice->number);
        watches_gone(node->watches, notice->number);
        asks_gone(node, notice->number);
        free(notice);
    }
    give_back(node);
}

struct notice *intake_notices(struct node *node, struct notice *notices)
{
    struct notice *gone = NULL, **end = &gone;
    for (struct notice *notice = notices, *next; notice; notice = next) {
        next = notice->next;
        switch (notice->kind) {
        case NOTICE_GONE:
            notice->next = NULL;
            *end = notice;
            end = &notice->next;
            continue;
        case NOTICE_CREDIT:
            watches_credit(node->watches, notice->number, notice->bytes);
            break;
        case NOTICE_UNDELIVERED:
            undo(node, notice->call);
            call_free(notice->call);
            break;
        case NOTICE_BARRIER:
            if (notice->number == node->expiry.number && node->expiry.awaited) node->expiry.awaited--;
            break;
        case NOTICE_STOP:
            stop(node);
            break;
        }
        free(notice);
    }
    give_back(node);
    return gone;
}
