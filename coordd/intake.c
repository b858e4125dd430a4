/* Requests on their way in: commands to the log, queries and renewals to a read round, and notices. */
#include "coordd/node_internal.h"

#include "base/check.h"
#include "base/memory.h"
#include "coordd/clock.h"
#include "coordd/log.h"

void reading_add(struct readings *readings, struct reading *reading)
{
    reading->next = NULL;
    *readings->end = reading;
    readings->end = &reading->next;
}

static struct reading *reading_take(struct readings *readings)
{
    struct reading *first = readings->first;
    readings->first = first->next;
    if (!readings->first) readings->end = &readings->first;
    return first;
}

/* --- commands --- */

static uint64_t stamp(struct node *node)
{
    uint64_t now_ms = wallclock_ms();
    if (now_ms > node->stamped_ms) node->stamped_ms = now_ms;
    return node->stamped_ms;
}

uint64_t node_propose(struct node *node, const struct operation *operation, const void *args, uint64_t origin,
                      uint64_t request)
{
    node->payload.size = 0;
    command_encode(&(struct command){stamp(node), operation, origin, request, args}, &node->payload);
    return raft_propose(node->raft, RAFT_COMMAND, buffer_slice(&node->payload));
}

static bool no_room(struct node *node, const struct operation *operation)
{
    return (operation->flags & OPERATION_GROWS) &&
           (raftlog_full(node->log, node->now_ms) || node->commit_blocked);
}

static void propose_call(struct node *node, struct call *call)
{
    if (node->stopping) {
        pending_refuse(node->pending, call, OUTCOME_SHUTTING_DOWN, "");
    } else if (no_room(node, call->operation)) {
        pending_refuse(node->pending, call, OUTCOME_STORAGE_FULL,
                       "make room on the disk of the data directory; no restart is needed");
    } else {
        pending_add(node->pending, call, node->session);
        CHECK(node_propose(node, call->operation, call->args, node->session, call->number));
    }
}

/* What one turn proposes fits one frame of the log; the rest stays queued for the next. */
void intake_propose(struct node *node)
{
    size_t bytes = 0;
    while (node->queue && node->office_term && node->session && bytes < PROPOSED_BYTES_MAX) {
        struct call *call = node->queue;
        node->queue = call->next;
        if (!node->queue) node->queue_end = &node->queue;
        propose_call(node, call);
        bytes += node->payload.size + 64;
    }
}

static void enqueue(struct node *node, struct call *call)
{
    call->next = NULL;
    *node->queue_end = call;
    node->queue_end = &call->next;
}

/* --- queries and renewals --- */

static void read_call(struct node *node, struct call *call)
{
    uint64_t round = 0;
    bool confirmed = !call->stale;
    if (confirmed && (!node->office_term || !(round = raft_read(node->raft)))) {
        pending_refuse(node->pending, call, OUTCOME_NO_LEADER, "");
    } else if (call->min_revision > raft_status(node->raft).last_index) {
        pending_refuse(node->pending, call, OUTCOME_MIN_REVISION_AHEAD, "");
    } else {
        struct reading *reading = memory_new(sizeof *reading);
        *reading = (struct reading){.call = call, .round = round};
        reading_add(&node->readings, reading);
    }
}

void intake_calls(struct node *node, struct call *calls)
{
    for (struct call *call = calls, *next; call; call = next) {
        next = call->next;
        node->view.batches += call == calls;
        bool command = call->operation->kind == OPERATION_COMMAND;
        if (node->save_blocked && (!command ? !call->stale : (call->operation->flags & OPERATION_GROWS) != 0))
            pending_refuse(node->pending, call, OUTCOME_STORAGE_FULL,
                           "make room on the disk of the data directory; no restart is needed");
        else if (node->stopping)
            pending_refuse(node->pending, call, OUTCOME_SHUTTING_DOWN, "");
        else if (!command)
            read_call(node, call);
        else if (!node->office_term && !node->save_blocked)
            pending_refuse(node->pending, call, OUTCOME_NO_LEADER, "");
        else
            enqueue(node, call);
    }
}

static void begin(struct node *node, struct apply *apply)
{
    struct state_mark mark = state_mark(node->state);
    apply_begin(apply, node->rows, &node->arena, node->applied, mark.term, mark.time_ms);
}

static bool any_expiring(const struct node *node, const struct apply *apply)
{
    for (size_t i = 0; i < apply->renewal_count; i++)
        if (lease_clock_standing(node->leases, apply->renewals[i].lease) == LEASE_EXPIRING) return true;
    return false;
}

/* Step 3 of leases.md; false when it must be parked (2a). */
static bool renew(struct node *node, struct call *call, struct apply *apply)
{
    call->operation->renews(apply, call->args);
    if (apply->answers) return true;
    if (any_expiring(node, apply)) return false;
    for (size_t i = 0; i < apply->renewal_count; i++) {
        struct renewal *renewal = &apply->renewals[i];
        renewal->renewed = lease_clock_renew(node->leases, renewal->lease, call->arrived_ms);
        node->view.renewals += renewal->renewed;
    }
    call->operation->renewed(apply, call->args, apply->renewals, apply->renewal_count);
    return true;
}

static void answer_read(struct node *node, struct reading *reading)
{
    struct call *call = reading->call;
    struct apply apply;
    begin(node, &apply);
    if (!call) {
        lease_clock_renew(node->leases, node->session, node->session_renewed_ms);
    } else if (call->operation->kind == OPERATION_RENEWAL && !renew(node, call, &apply)) {
        reading_add(&node->parked, reading);
        return;
    } else {
        if (call->operation->kind == OPERATION_QUERY) coord_query(&apply, call->operation, call->args);
        CHECK(apply.answers);
        pending_reply(node->pending, call, apply.answers, node->applied);
    }
    arena_reset(&node->arena);
    free(reading);
}

/* Empties the list; its readings as a chain. */
static struct reading *take_all(struct readings *readings)
{
    struct reading *first = readings->first;
    *readings = (struct readings){NULL, &readings->first};
    return first;
}

static void answer_confirmed(struct node *node, struct reading *reading)
{
    uint64_t confirmed = raft_round_confirmed(node->raft);
    for (struct reading *next; reading; reading = next) {
        next = reading->next;
        bool behind = reading->call && reading->call->min_revision > node->applied;
        if (reading->round > confirmed || behind)
            reading_add(&node->readings, reading);
        else
            answer_read(node, reading);
    }
}

/* The parked ones first: they came first. */
void intake_answer_reads(struct node *node)
{
    struct reading *parked = take_all(&node->parked), *readings = take_all(&node->readings);
    answer_confirmed(node, parked);
    answer_confirmed(node, readings);
}

static void refuse_readings(struct node *node, struct readings *readings, enum outcome outcome)
{
    while (readings->first) {
        struct reading *reading = reading_take(readings);
        if (reading->call) pending_refuse(node->pending, reading->call, outcome, "");
        free(reading);
    }
}

void intake_refuse_all(struct node *node, enum outcome outcome)
{
    refuse_readings(node, &node->readings, outcome);
    refuse_readings(node, &node->parked, outcome);
    while (node->queue) {
        struct call *call = node->queue;
        node->queue = call->next;
        pending_refuse(node->pending, call, outcome, "");
    }
    node->queue_end = &node->queue;
}

/* --- notices --- */

/* A grant that nobody received is taken back, unless it hangs on a lease that the client named and may still
 * count on. */
static void undo(struct node *node, struct call *call)
{
    const struct operation *undo =
        call->operation->undo ? operation_by_name(slice_text(call->operation->undo)) : NULL;
    bool own = record_number(call->operation->args, call->args, "lease") == 0;
    if (!undo || !own || !call->result || !node->office_term || node->save_blocked) return;
    void *args = arena_alloc(&call->arena, undo->args->size);
    struct setting setting = {undo->args, args, &call->arena, 0, {0}};
    const struct field *name = record_field(call->shape, SLICE("name"));
    struct slice text;
    memcpy(&text, (const char *)call->result + name->offset, sizeof text);
    CHECK(setting_text(&setting, record_field(undo->args, SLICE("name")), text));
    CHECK(setting_uint(&setting, record_field(undo->args, SLICE("token")),
                       record_number(call->shape, call->result, "token")));
    CHECK(setting_done(&setting));
    node_propose(node, undo, args, 0, 0);
}

static void stop(struct node *node)
{
    LOG(INFO, "stopping: waiting requests are answered 503",
        {"waiting", log_number(pending_waiting(node->pending))});
    node->stopping = true;
}

void intake_notices(struct node *node, struct notice *notices)
{
    for (struct notice *notice = notices, *next; notice; notice = next) {
        next = notice->next;
        switch (notice->kind) {
        case NOTICE_GONE:
            pending_gone(node->pending, notice->number);
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
}
