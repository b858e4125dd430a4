/* What only the leader can tell: that a read is not stale, that a lease is renewed, how long one still holds.
 * A question is answered by a read round that begins after it came; on another node than the leader it goes
 * there first. Asking twice does no harm, so a question that got no answer is sent again.
 *
 * shared/facts/leases.md: steps 2 and 3. The conditions of a renewal are looked at again after the round. */
#include "coordd/node_internal.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/mutant.h"
#include "coord/primitive/lease.h"

enum { LEASES_MAX = 16384 /* in one question of another node */ };
#define PASSED_ON (UINT64_C(1) << 62) /* in the numbers of calls, apart from those of cluster_calls.c */

void asks_open(struct asks *asks)
{
    asks->end = &asks->first;
}

static void append(struct asks *asks, struct ask *ask)
{
    ask->next = NULL;
    *asks->end = ask;
    asks->end = &ask->next;
}

static struct ask *add(struct node *node, enum ask_kind kind)
{
    struct ask *ask = memory_new(sizeof *ask);
    ask->kind = kind;
    ask->number = ++node->asks.last_number;
    ask->came_ms = node->now_ms;
    append(&node->asks, ask);
    return ask;
}

static void discard(struct node *node, struct ask *ask)
{
    map_remove(&node->asks.by_number, ask->number);
    arena_free(&ask->arena);
    free(ask);
}

void asks_call(struct node *node, struct call *call)
{
    struct ask *ask = add(node, ASK_CALL);
    ask->call = call;
    ask->came_ms = call->arrived_ms;
}

void asks_session(struct node *node)
{
    add(node, ASK_SESSION);
}

static void begin_apply(struct node *node, struct apply *apply)
{
    struct state_mark mark = state_mark(node->contents.state);
    apply_begin(apply, node->rows, &node->arena, node->applied, mark.term, node_read_time_ms(node));
}

static void query(struct node *node, struct apply *apply, const struct operation *operation, const void *args)
{
    if ((operation->flags & OPERATION_AT_LEADER) && node->office_term)
        apply->beats = apply->beats_told = node->beats;
    coord_query(apply, operation, args);
}

/* It is the leader's to answer, wherever its client is. */
static bool is_for_leader(const struct ask *ask)
{
    return ask->kind == ASK_REMOTE_CALL ||
           (ask->kind == ASK_CALL && (ask->call->operation->flags & OPERATION_AT_LEADER));
}

/* --- asking the leader --- */

static void want(struct ask *ask, const uint64_t *leases, size_t count, bool renews)
{
    arena_reset(&ask->arena);
    ask->renews = renews;
    ask->count = count;
    ask->notes = NULL;
    ask->leases = arena_alloc(&ask->arena, count * sizeof *ask->leases);
    ask->lefts_ms = arena_alloc(&ask->arena, count * sizeof *ask->lefts_ms);
    if (count) memcpy(ask->leases, leases, count * sizeof *leases);
}

static void want_notes(struct ask *ask, const struct slice *notes)
{
    ask->notes = arena_alloc(&ask->arena, ask->count * sizeof *ask->notes);
    for (size_t i = 0; i < ask->count; i++) ask->notes[i] = arena_copy(&ask->arena, notes[i]);
}

static void want_renewals(struct ask *ask, const struct apply *apply)
{
    uint64_t *leases = arena_alloc(apply->arena, apply->renewal_count * sizeof *leases);
    struct slice *notes = arena_alloc(apply->arena, apply->renewal_count * sizeof *notes);
    bool notes_any = false;
    for (size_t i = 0; i < apply->renewal_count; i++) {
        leases[i] = apply->renewals[i].lease;
        notes[i] = apply->renewals[i].note;
        notes_any |= notes[i].size > 0;
    }
    want(ask, leases, apply->renewal_count, true);
    if (notes_any) want_notes(ask, notes);
}

/* Which leases it is about, as far as this node's rows tell; the answer says whether they told right. */
static void prepare(struct node *node, struct ask *ask)
{
    struct apply apply;
    switch (ask->kind) {
    case ASK_SESSION:
        want(ask, &node->session, 1, true);
        break;
    case ASK_UNRESOLVED:
        want(ask, ask->unresolved->leases, ask->unresolved->count, false);
        break;
    case ASK_CALL:
        want(ask, NULL, 0, false);
        if (ask->call->operation->kind != OPERATION_RENEWAL) break;
        begin_apply(node, &apply);
        ask->call->operation->renews(&apply, ask->call->args);
        if (!apply.answers) want_renewals(ask, &apply);
        arena_reset(&node->arena);
        break;
    case ASK_REMOTE:
    case ASK_REMOTE_CALL:
        break;
    }
}

static void pass_on(struct node *node, const struct ask *ask)
{
    const struct call *call = ask->call;
    node->payload.size = 0;
    record_encode(call->operation->args, call->args, &node->payload);
    struct slice args = arena_copy(&node->turn, buffer_slice(&node->payload));
    struct wire_call wire = {ask->number | PASSED_ON, call->operation->code, args};
    node_tell(node, node->status.leader, WIRE_CALL, &wire);
}

static void send_to_leader(struct node *node, struct ask *ask)
{
    struct wire_ask wire = {
        ask->number, ask->renews, {ask->leases, ask->count}, {ask->notes, ask->notes ? ask->count : 0}};
    map_put(&node->asks.by_number, ask->number, ask);
    if (!ask->sent_ms || MUTANT(67)) ask->first_sent_ms = node->now_ms;
    ask->sent_ms = node->now_ms;
    if (is_for_leader(ask))
        pass_on(node, ask);
    else
        node_tell(node, node->status.leader, WIRE_ASK, &wire);
}

static uint64_t resend_ms(const struct node *node)
{
    return 4 * node->settings.heartbeat_ms;
}

void asks_begin(struct node *node)
{
    if (!node_open_term(node)) return;
    for (struct ask *ask = node->asks.first; ask; ask = ask->next) {
        if (node->office_term) {
            if (!ask->round) ask->round = raft_read(node->raft);
        } else if (!ask->told && ask->kind != ASK_REMOTE && ask->kind != ASK_REMOTE_CALL) {
            if (!ask->sent_ms) prepare(node, ask);
            if (!ask->sent_ms || node->now_ms >= ask->sent_ms + resend_ms(node)) send_to_leader(node, ask);
        }
    }
}

void asks_begin_anew(struct node *node)
{
    struct ask *ask = node->asks.first;
    node->asks.first = NULL;
    node->asks.end = &node->asks.first;
    for (struct ask *next; ask; ask = next) {
        next = ask->next;
        map_remove(&node->asks.by_number, ask->number);
        ask->round = ask->sent_ms = 0;
        ask->told = false;
        ask->answer = NULL;
        if (ask->kind == ASK_REMOTE || ask->kind == ASK_REMOTE_CALL)
            discard(node, ask); /* whoever asked asks the next leader */
        else
            append(&node->asks, ask);
    }
}

void asks_told(struct node *node, const struct wire_told *told)
{
    struct ask *ask = map_get(&node->asks.by_number, told->number);
    if (!ask || is_for_leader(ask) || node->office_term || told->lefts.count != ask->count) return;
    map_remove(&node->asks.by_number, ask->number);
    ask->told = true;
    ask->index = told->index;
    if (ask->count) memcpy(ask->lefts_ms, told->lefts.items, ask->count * sizeof *ask->lefts_ms);
}

bool asks_answered(struct node *node, const struct wire_answer *wire)
{
    if (!(wire->number & PASSED_ON)) return false;
    struct ask *ask = map_get(&node->asks.by_number, wire->number & ~PASSED_ON);
    if (!ask || !is_for_leader(ask) || node->office_term || !outcome_exists(wire->outcome)) return true;
    struct call *call = ask->call;
    const struct record *shape = wire->shape == WIRE_RESULT    ? call->operation->result
                                 : wire->shape == WIRE_REFUSAL ? call->operation->refusal
                                                               : NULL;
    void *data = shape ? arena_alloc(&call->arena, shape->size) : NULL;
    struct slice bytes = arena_copy(&call->arena, wire->data);
    if (shape && !record_decode(shape, data, bytes, &call->arena)) return true;
    map_remove(&node->asks.by_number, ask->number);
    ask->answer = arena_alloc(&call->arena, sizeof *ask->answer);
    *ask->answer = (struct answer){.outcome = (enum outcome)wire->outcome,
                                   .shape = shape,
                                   .data = data,
                                   .detail = arena_copy(&call->arena, wire->detail)};
    ask->told = true;
    ask->index = wire->revision;
    return true;
}

/* What is left was counted when the leader spoke; until the answer leaves, time has passed. 1: it was
 * renewed, and that is about all. */
static void age_lefts(const struct node *node, struct ask *ask)
{
    uint64_t since_ms = node->saved_ms - ask->first_sent_ms;
    for (size_t i = 0; i < ask->count; i++) {
        uint64_t left_ms = ask->lefts_ms[i];
        ask->lefts_ms[i] = left_ms == 0 ? 0 : left_ms > since_ms + 1 ? left_ms - since_ms : 1;
    }
    ask->first_sent_ms = node->saved_ms;
}

/* --- the leader's side --- */

void asks_receive(struct node *node, uint64_t from, const struct wire_ask *wire)
{
    if (!node->office_term || wire->leases.count > LEASES_MAX) return;
    struct ask *ask = add(node, ASK_REMOTE);
    ask->from = from;
    ask->remote_number = wire->number;
    want(ask, wire->leases.items, wire->leases.count, wire->renews);
    if (wire->notes.count && wire->notes.count == wire->leases.count) want_notes(ask, wire->notes.items);
}

void asks_receive_call(struct node *node, uint64_t from, const struct operation *operation,
                       const struct wire_call *wire)
{
    if (!node->office_term || operation->kind != OPERATION_QUERY) return;
    for (const struct ask *ask = node->asks.first; ask; ask = ask->next)
        if (ask->kind == ASK_REMOTE_CALL && ask->from == from && ask->remote_number == wire->number) return;
    struct ask *ask = add(node, ASK_REMOTE_CALL);
    void *args = arena_alloc(&ask->arena, operation->args->size);
    ask->from = from;
    ask->remote_number = wire->number;
    ask->operation = operation;
    ask->args = args;
    if (!record_decode(operation->args, args, arena_copy(&ask->arena, wire->args), &ask->arena))
        ask->operation = NULL;
}

static void answer_remote_call(struct node *node, struct ask *ask)
{
    struct apply apply;
    struct buffer data = {0};
    begin_apply(node, &apply);
    if (!ask->operation) return;
    query(node, &apply, ask->operation, ask->args);
    const struct answer *answer = apply.answers;
    struct wire_answer wire = {.number = ask->remote_number,
                               .outcome = answer->outcome,
                               .revision = node->applied,
                               .detail = answer->detail};
    if (answer->shape) {
        wire.shape = answer->shape == ask->operation->result ? WIRE_RESULT : WIRE_REFUSAL;
        CHECK(wire.shape == WIRE_RESULT || answer->shape == ask->operation->refusal);
        record_encode(answer->shape, answer->data, &data);
        wire.data = buffer_slice(&data);
    }
    node_tell(node, ask->from, WIRE_ANSWER, &wire);
    buffer_free(&data);
    arena_reset(&node->arena);
}

/* Step 3 for another node's question; false while an expiry is in the log (2a). */
static bool answer_remote(struct node *node, struct ask *ask)
{
    for (size_t i = 0; ask->renews && i < ask->count; i++)
        if (lease_clock_standing(node->leases, ask->leases[i]) == LEASE_EXPIRING) return false;
    for (size_t i = 0; i < ask->count; i++) {
        bool holds = !ask->renews || lease_clock_renew(node->leases, ask->leases[i], ask->came_ms);
        node->view.renewals += ask->renews && holds;
        node->view.heartbeats += ask->renews && holds && ask->notes && ask->notes[i].size;
        if (ask->renews && holds)
            beats_hear(node->beats, ask->leases[i], ask->came_ms,
                       ask->notes ? ask->notes[i] : slice_of(NULL, 0));
        ask->lefts_ms[i] = holds ? lease_clock_remaining(node->leases, ask->leases[i], node->saved_ms) : 0;
    }
    struct wire_told told = {ask->remote_number, node->applied, {ask->lefts_ms, ask->count}};
    node_tell(node, ask->from, WIRE_TOLD, &told);
    return true;
}

static bool any_expiring(const struct node *node, const struct apply *apply)
{
    for (size_t i = 0; i < apply->renewal_count; i++)
        if (lease_clock_standing(node->leases, apply->renewals[i].lease) == LEASE_EXPIRING) return true;
    return false;
}

/* --- answering the clients --- */

static bool renew_here(struct node *node, struct call *call, struct apply *apply)
{
    call->operation->renews(apply, call->args);
    if (apply->answers) return true;
    if (any_expiring(node, apply)) return false;
    for (size_t i = 0; i < apply->renewal_count; i++) {
        struct renewal *renewal = &apply->renewals[i];
        renewal->renewed = lease_clock_renew(node->leases, renewal->lease, call->arrived_ms);
        node->view.renewals += renewal->renewed;
        node->view.heartbeats += renewal->renewed && renewal->note.size; /* only heartbeats have one */
        if (renewal->renewed) beats_hear(node->beats, renewal->lease, call->arrived_ms, renewal->note);
    }
    call->operation->renewed(apply, call->args, apply->renewals, apply->renewal_count);
    return true;
}

/* The leader has renewed what was asked. False when the rows say by now that the call is about other leases:
 * then it asks again. */
static bool renewed_there(struct ask *ask, struct apply *apply)
{
    struct call *call = ask->call;
    call->operation->renews(apply, call->args);
    if (apply->answers) return true;
    bool same = ask->renews && apply->renewal_count == ask->count;
    for (size_t i = 0; same && i < ask->count; i++) {
        same = apply->renewals[i].lease == ask->leases[i];
        apply->renewals[i].renewed = ask->lefts_ms[i] != 0;
    }
    if (same) {
        call->operation->renewed(apply, call->args, apply->renewals, apply->renewal_count);
        return true;
    }
    ask->sent_ms = 0;
    ask->told = false;
    return false;
}

/* How long the leases hold that the answer to a renewal names: the leader has just told of them. */
static void reply_renewed(struct node *node, struct ask *ask, const struct answer *answer)
{
    struct lease_change *changes = arena_alloc(&node->turn, ask->count * sizeof *changes);
    for (size_t i = 0; i < ask->count; i++)
        changes[i] = (struct lease_change){.next = i + 1 < ask->count ? &changes[i + 1] : NULL,
                                           .lease = ask->leases[i],
                                           .ttl_ms = ask->lefts_ms[i]};
    pending_reply_knowing(node->pending, ask->call, answer, node->applied, ask->count ? changes : NULL);
}

/* A revision that the leader has not reached either is nothing to wait for. */
static bool refuse_revision(const struct node *node, const struct ask *ask, struct apply *apply)
{
    uint64_t reached = node->office_term ? node->status.last_index : ask->index;
    if (ask->call->min_revision <= reached) return false;
    apply_answer(apply, OUTCOME_MIN_REVISION_AHEAD, NULL, NULL);
    return true;
}

static bool answer_call(struct node *node, struct ask *ask)
{
    struct call *call = ask->call;
    struct apply apply;
    begin_apply(node, &apply);
    struct answer answer;
    bool renewal = call->operation->kind == OPERATION_RENEWAL;
    bool done = true, kept = false;
    if (renewal)
        done = node->office_term ? renew_here(node, call, &apply) : renewed_there(ask, &apply);
    else if (call->min_revision > node->applied)
        done = refuse_revision(node, ask, &apply);
    else
        query(node, &apply, call->operation, call->args);
    if (done) {
        CHECK(apply.answers);
        answer = *apply.answers;
        bool read = !renewal && call->min_revision <= node->applied;
        kept = read && watches_keep(node->watches, call, &apply, &answer);
    }
    if (done && !kept) {
        if (renewal && !node->office_term)
            reply_renewed(node, ask, &answer);
        else
            pending_reply(node->pending, call, &answer, node->applied);
    }
    arena_reset(&node->arena);
    return done;
}

static void answer_passed_on(struct node *node, struct ask *ask)
{
    struct call *call = ask->call;
    struct apply apply;
    struct answer answer;
    begin_apply(node, &apply);
    apply.answers = ask->answer;
    if (call->min_revision > ask->index)
        pending_refuse(node->pending, call, OUTCOME_MIN_REVISION_AHEAD, "");
    else if (!watches_keep(node->watches, call, &apply, &answer))
        pending_reply(node->pending, call, &answer, ask->index);
    arena_reset(&node->arena);
}

static bool answer_one(struct node *node, struct ask *ask)
{
    if (!node->office_term && ask->told) age_lefts(node, ask);
    if (ask->answer) {
        answer_passed_on(node, ask);
        return true;
    }
    switch (ask->kind) {
    case ASK_CALL:
        return answer_call(node, ask);
    case ASK_REMOTE:
        return answer_remote(node, ask);
    case ASK_REMOTE_CALL:
        answer_remote_call(node, ask);
        return true;
    case ASK_SESSION:
        if (node->office_term && lease_clock_renew(node->leases, node->session, ask->came_ms))
            node->session_until_ms = ask->came_ms + SESSION_TTL_MS;
        if (!node->office_term && ask->lefts_ms[0])
            node->session_until_ms = node->saved_ms + ask->lefts_ms[0];
        return true;
    case ASK_UNRESOLVED:
        for (size_t i = 0; node->office_term && i < ask->count; i++)
            ask->lefts_ms[i] = lease_clock_remaining(node->leases, ask->leases[i], node->saved_ms);
        pending_resolve(node->pending, ask->unresolved, ask->lefts_ms);
        return true;
    }
    return true;
}

static bool is_ready(const struct node *node, const struct ask *ask)
{
    if (MUTANT(60) && node->office_term) return true;
    if (ask->answer) return true;
    if (node->office_term && is_for_leader(ask) && !beats_ready(node->beats)) return false;
    if (node->office_term) return ask->round && ask->round <= raft_round_confirmed(node->raft);
    return ask->told && (MUTANT(64) || node->applied >= ask->index);
}

static void take_unresolved(struct node *node)
{
    struct unresolved *unresolved = pending_unresolved(node->pending);
    for (struct unresolved *next; unresolved; unresolved = next) {
        next = unresolved->next;
        struct ask *ask = add(node, ASK_UNRESOLVED);
        ask->unresolved = unresolved;
        want(ask, unresolved->leases, unresolved->count, false);
        node->hurry = true;
    }
}

void asks_answer(struct node *node)
{
    take_unresolved(node);
    struct ask *ask = node->asks.first;
    node->asks.first = NULL;
    node->asks.end = &node->asks.first;
    for (struct ask *next; ask; ask = next) {
        next = ask->next;
        if (is_ready(node, ask) && answer_one(node, ask))
            discard(node, ask);
        else
            append(&node->asks, ask);
    }
    take_unresolved(node);
}

/* --- giving up --- */

void asks_gone(struct node *node, uint64_t number)
{
    for (struct ask *ask = node->asks.first; ask; ask = ask->next)
        if (ask->kind == ASK_CALL && ask->call->number == number) ask->call->last_look = true;
}

/* A renewal is refused after a third of the shortest TTL: its holder must have time to act. */
static uint64_t give_up_ms(struct node *node, struct ask *ask)
{
    struct apply apply;
    struct lease_row row;
    uint64_t wait_ms = node_hold_ms(node);
    begin_apply(node, &apply);
    ask->call->operation->renews(&apply, ask->call->args);
    for (size_t i = 0; i < apply.renewal_count; i++)
        if (lease_get(&apply, apply.renewals[i].lease, &row) && row.ttl_ms / 3 < wait_ms)
            wait_ms = row.ttl_ms / 3;
    arena_reset(&node->arena);
    return ask->came_ms + wait_ms;
}

static bool gives_up(struct node *node, struct ask *ask)
{
    if (ask->kind != ASK_CALL) return false;
    if (node->now_ms < ask->came_ms + node->settings.heartbeat_ms) return false;
    if (ask->call->operation->kind == OPERATION_RENEWAL) {
        if (!ask->give_up_ms) ask->give_up_ms = give_up_ms(node, ask);
        return node->now_ms >= ask->give_up_ms;
    }
    return node->unable_since_ms && node->now_ms >= ask->came_ms + node_hold_ms(node);
}

void asks_refuse(struct node *node, enum outcome outcome, const char *detail, bool all)
{
    struct ask *ask = node->asks.first;
    node->asks.first = NULL;
    node->asks.end = &node->asks.first;
    for (struct ask *next; ask; ask = next) {
        next = ask->next;
        bool calls = ask->kind == ASK_CALL || (all && ask->kind == ASK_UNRESOLVED);
        if (!calls || !(all || gives_up(node, ask))) {
            append(&node->asks, ask);
            continue;
        }
        struct call *call = ask->kind == ASK_CALL ? ask->call : ask->unresolved->call;
        /* An answer whose leases nobody could tell of belongs to a command that was done. */
        pending_refuse(node->pending, call, ask->kind == ASK_CALL ? outcome : OUTCOME_OUTCOME_UNKNOWN,
                       detail);
        discard(node, ask);
    }
}

static void earliest(uint64_t *until_ms, uint64_t at_ms)
{
    if (at_ms < *until_ms) *until_ms = at_ms;
}

uint64_t asks_next_ms(const struct node *node)
{
    uint64_t until_ms = UINT64_MAX;
    for (const struct ask *ask = node->asks.first; ask; ask = ask->next) {
        if (!node->office_term && ask->sent_ms && !ask->told)
            earliest(&until_ms, ask->sent_ms + resend_ms(node));
        if (ask->kind != ASK_CALL) continue;
        uint64_t look_ms = ask->came_ms + node->settings.heartbeat_ms;
        if (node->now_ms < look_ms)
            earliest(&until_ms, look_ms);
        else
            earliest(&until_ms, ask->give_up_ms ? ask->give_up_ms : ask->came_ms + node_hold_ms(node));
    }
    return until_ms > node->now_ms ? until_ms : node->now_ms + 1;
}

void asks_free(struct asks *asks)
{
    while (asks->first) {
        struct ask *ask = asks->first;
        asks->first = ask->next;
        arena_free(&ask->arena);
        free(ask);
    }
    map_free(&asks->by_number);
}
