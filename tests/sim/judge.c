/* The judge: one more replica, that applies every entry the first time any node applies it, and knows what
 * clients were told and promised.
 *
 * Held after every turn of a node: the core's own invariants; one leader a term; every node applies the same
 * entries and comes to the same digest; no request is executed twice, or although it was said that nothing
 * was changed; no lease expires before what was promised; tokens only rise. Held of every answer: it is the
 * one that the log gives, at an index that lies after all that was acknowledged before the request. */
#include "tests/sim/sim.h"

#include "base/check.h"
#include "base/memory.h"
#include "tests/support/rows_memory.h"

#include <stdlib.h>

enum { STORM = 64 /* ends in one entry: as many as it takes */ };

struct seen_entry {
    uint64_t term, digest;
    uint32_t chain;
    uint32_t locks[LOCKS]; /* hash of what lock.get says of each */
};

struct given { /* what the log answers to a request */
    enum outcome outcome;
    uint64_t token, index, tasks; /* tasks: hash of those that were handed out */
};

static struct {
    struct rows *rows;
    struct arena arena;
    struct seen_entry *entries; /* by index - 1 */
    uint64_t count, capacity, time_ms;
    struct map requests; /* index of the entry -> number of the request */
    struct map executed; /* number -> struct given */
    struct map denied;   /* numbers of which it was said that nothing was changed */
    struct map promises; /* lease -> true time until which it must not expire, + 1 */
    struct map leaders;  /* term -> node */
} judge;

void judge_open(void)
{
    judge.rows = rows_memory_new();
}

uint64_t judge_last(void)
{
    return judge.count;
}

size_t judge_leases(void)
{
    struct lease_row row;
    size_t count = 0;
    for (uint64_t from = 0; lease_next(judge.rows, &judge.arena, from, &row); from = row.id)
        count += row.kind != LEASE_SESSION;
    arena_reset(&judge.arena);
    return count;
}

struct rows *judge_rows(void)
{
    return judge.rows;
}

uint64_t judge_time_ms(void)
{
    return judge.time_ms;
}

const struct answer *judge_ask(const char *name, const char *line)
{
    const struct operation *operation = operation_by_name(slice_text(name));
    struct apply apply;
    CHECK(operation);
    void *args = arena_alloc(&judge.arena, operation->args->size);
    struct setting setting = {operation->args, args, &judge.arena, 0, {0}};
    make_args(&setting, line);
    apply_begin(&apply, judge.rows, &judge.arena, judge.count, 0, judge.time_ms);
    coord_query(&apply, operation, args);
    return apply.answers;
}

/* --- what was promised --- */

void judge_promise(uint64_t lease, uint64_t until_ms)
{
    uint64_t before_ms = (uint64_t)(uintptr_t)map_get(&judge.promises, lease);
    if (world.faults.wild_clocks) return;
    if (lease && until_ms + 1 > before_ms) map_put(&judge.promises, lease, (void *)(uintptr_t)(until_ms + 1));
}

static void check_expiry(const struct apply *apply, const struct command *command)
{
    size_t ended = 0;
    if (command->operation != operation_lease_expire) return;
    for (const struct lease_change *change = apply->lease_changes; change; change = change->next) {
        if (change->ttl_ms) continue;
        mark(MARK_LEASE_EXPIRED);
        if (++ended == STORM) mark(MARK_LEASE_STORM);
        uint64_t until_ms = (uint64_t)(uintptr_t)map_get(&judge.promises, change->lease);
        if (until_ms && world.now_ms < until_ms - 1)
            sim_fail("lease L%llx expired at entry %llu, %llu ms before what a client was promised",
                     (unsigned long long)change->lease, (unsigned long long)apply->index,
                     (unsigned long long)(until_ms - 1 - world.now_ms));
    }
}

/* --- what a lock looks like --- */

/* How long somebody has waited depends on when one looks. */
static void forget_ages(const struct record *shape, void *data)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct field *field = &shape->fields[i];
        char *place = (char *)data + field->offset;
        struct list list = {0};
        if (strcmp(field->name, "waited_ms") == 0) memset(place, 0, sizeof(uint64_t));
        if (field->type == FIELD_LIST) memcpy(&list, place, sizeof list);
        for (size_t item = 0; item < list.count; item++)
            forget_ages(field->record, (char *)list.items + item * field->record->size);
    }
}

static uint32_t hash_of(const struct record *shape, const void *data)
{
    struct buffer bytes = {0};
    struct arena arena = {0};
    void *copy = record_copy(shape, data, &arena, NULL, NULL);
    forget_ages(shape, copy);
    record_encode(shape, copy, &bytes);
    uint32_t hash = (uint32_t)row_hash(SLICE("x"), buffer_slice(&bytes));
    buffer_free(&bytes);
    arena_free(&arena);
    return hash;
}

static void look_at_locks(uint64_t index, uint64_t term, struct seen_entry *seen)
{
    static const struct operation *get;
    if (!get) get = operation_by_name(SLICE("lock.get"));
    for (size_t i = 0; i < LOCKS; i++) {
        struct apply apply;
        char name = (char)('a' + i);
        void *args = arena_alloc(&judge.arena, get->args->size);
        struct setting setting = {get->args, args, &judge.arena, 0, {0}};
        CHECK(setting_text(&setting, record_field(get->args, SLICE("name")), slice_of(&name, 1)) &&
              setting_done(&setting));
        apply_begin(&apply, judge.rows, &judge.arena, index, term, judge.time_ms);
        coord_query(&apply, get, args);
        seen->locks[i] = apply.answers->shape ? hash_of(apply.answers->shape, apply.answers->data) : 0;
    }
}

/* --- entries --- */

/* Of the ids and tokens of the tasks in an answer. */
static uint64_t tasks_hash(const struct record *shape, const void *data)
{
    const struct field *field = shape ? record_field(shape, SLICE("tasks")) : NULL;
    uint64_t hash = 0;
    if (!field || field->type != FIELD_LIST) return 0;
    struct list tasks = view_list(shape, data, "tasks");
    for (size_t i = 0; i < tasks.count; i++) {
        const void *task = (const char *)tasks.items + i * field->record->size;
        hash = hash * 1000003 + view_id(field->record, task, "id");
        hash = hash * 1000003 + record_number(field->record, task, "token");
    }
    return hash;
}

static void note_answers(const struct apply *apply)
{
    for (const struct answer *answer = apply->answers; answer; answer = answer->next) {
        uint64_t number = (uint64_t)(uintptr_t)map_get(&judge.requests, answer->to_index);
        struct given *given = number ? map_get(&judge.executed, number) : NULL;
        uint64_t token = answer->shape ? record_number(answer->shape, answer->data, "token") : 0;
        if (answer->outcome == OUTCOME_CREATED && token) {
            if (token > apply->index)
                sim_fail("token %llu at entry %llu", (unsigned long long)token,
                         (unsigned long long)apply->index);
        }
        if (given)
            *given =
                (struct given){answer->outcome, token, apply->index, tasks_hash(answer->shape, answer->data)};
    }
}

static void note_request(struct command *command, uint64_t index)
{
    if (!command->origin || !command->request) return;
    if (command->request >> 62)
        command->request ^= command->origin << 20; /* a node's own: counted by process */
    if (map_get(&judge.executed, command->request))
        sim_fail("request %llu was executed twice, now in entry %llu", (unsigned long long)command->request,
                 (unsigned long long)index);
    if (map_get(&judge.denied, command->request))
        sim_fail("request %llu was executed in entry %llu although it was said that nothing was changed",
                 (unsigned long long)command->request, (unsigned long long)index);
    map_put(&judge.executed, command->request, memory_new(sizeof(struct given)));
    map_put(&judge.requests, index, (void *)(uintptr_t)command->request);
}

static void apply_entry(const struct raft_entry *entry, struct seen_entry *seen)
{
    if (entry->kind == RAFT_COMMAND) {
        struct command command;
        struct apply apply;
        if (!command_decode(entry->payload, &judge.arena, &command))
            sim_fail("entry %llu cannot be decoded", (unsigned long long)entry->index);
        if (command.time_ms < judge.time_ms)
            sim_fail("time fell at entry %llu", (unsigned long long)entry->index);
        judge.time_ms = command.time_ms;
        apply_begin(&apply, judge.rows, &judge.arena, entry->index, entry->term, command.time_ms);
        coord_apply(&apply, &command);
        note_request(&command, entry->index);
        note_answers(&apply);
        check_expiry(&apply, &command);
        members_entry(&apply);
        judge_group_entry(&apply, &command);
        judge_queue_entry(&apply, &command);
        if (command.operation == operation_pulse) mark(MARK_PULSE_DONE);
        if (command.operation == operation_digest) mark(MARK_DIGEST_COMPARED);
    }
    seen->digest = rows_digest(judge.rows);
    look_at_locks(entry->index, entry->term, seen);
    arena_reset(&judge.arena);
    if (entry->index % 64 == 0) {
        coord_check(judge.rows, &judge.arena);
        arena_reset(&judge.arena);
    }
}

static struct seen_entry *add_entry(void)
{
    if (judge.count == judge.capacity) {
        judge.capacity = judge.capacity ? judge.capacity * 2 : 1024;
        judge.entries = memory_resize(judge.entries, judge.capacity * sizeof *judge.entries);
    }
    return &judge.entries[judge.count++];
}

static void judge_entry(struct sim_node *sim, uint64_t index)
{
    struct arena arena = {0};
    struct raft_entry entry;
    const struct raft_entry *kept = raft_entry_at(sim->node->raft, index);
    if (!kept) {
        CHECK(raftlog_read(sim->node->contents.log, index, &arena, &entry) == 0);
        kept = &entry;
    }
    if (index == judge.count + 1) {
        struct seen_entry seen = {.term = kept->term, .chain = kept->chain};
        witness_applied(sim, kept);
        apply_entry(kept, &seen);
        *add_entry() = seen;
    } else if (judge.entries[index - 1].chain != kept->chain) {
        sim_fail("%s applied another entry %llu than somebody before", sim->name, (unsigned long long)index);
    }
    arena_free(&arena);
}

/* --- after each turn --- */

static void check_leader(struct sim_node *sim, const struct raft_status *status)
{
    if (status->role != RAFT_LEADER) return;
    uint64_t before = (uint64_t)(uintptr_t)map_get(&judge.leaders, status->term);
    if (before && before != sim->id) sim_fail("two leaders in term %llu", (unsigned long long)status->term);
    if (!before) mark(MARK_LEADER_CHANGED);
    map_put(&judge.leaders, status->term, (void *)(uintptr_t)sim->id);
    for (size_t n = 1; n <= world.node_count; n++)
        if (nodes[n].node && &nodes[n] != sim && nodes[n].seen_leader) mark(MARK_TWO_LEADERS_OF_TERMS);
}

static void note_situations(struct sim_node *sim, const struct node *node)
{
    bool expiring = node->expiry.stage != EXPIRY_IDLE;
    if (node->output.truncates && node->output.entry_count) mark(MARK_LOG_SUFFIX_REPLACED);
    if (sim->seen_expiring && sim->seen_office && !node->office_term) mark(MARK_EXPIRY_ABORTED);
    if (sim->seen_session && !node->session) mark(MARK_SESSION_LOST);
    if (sim->seen_session != node->session)
        sim_trace("%s: session L%llx", sim->name, (unsigned long long)node->session);
    for (const struct ask *ask = node->asks.first; ask; ask = ask->next)
        if (ask->kind == ASK_UNRESOLVED) mark(MARK_ANSWER_ASKED_FOR_LEASE);
    const struct proposal *queued = node->proposals.queued.next;
    if (queued != &node->proposals.queued && queued->session && !queued->term) mark(MARK_PROPOSAL_SENT_AGAIN);
    sim->seen_expiring = expiring;
    sim->seen_session = node->session;
    sim->seen_office = node->office_term;
}

static bool change_is_open(void)
{
    for (size_t n = 1; n <= world.node_count; n++) {
        if (!nodes[n].node || !nodes[n].node->raft) continue;
        struct raft_status status = raft_status(nodes[n].node->raft);
        if (status.change_index > status.commit) return true;
    }
    return false;
}

void judge_applied(struct sim_node *sim)
{
    const struct node *node = sim->node;
    uint64_t first = sim->seen_applied + 1;
    if (first < node->view.first_index) {
        if (sim->seen_applied) mark(MARK_SNAPSHOT_INSTALLED);
        if (change_is_open()) mark(MARK_SNAPSHOT_DURING_CHANGE);
        first = node->view.first_index;
    }
    for (uint64_t index = first; index <= node->applied; index++) judge_entry(sim, index);
    sim->seen_applied = node->applied;
}

void judge_node(struct sim_node *sim)
{
    struct node *node = sim->node;
    if (!node->raft) return;
    struct raft_status status = raft_status(node->raft);
    raft_check(node->raft);
    if (draw(64) == 0) {
        lease_clock_check(node->leases);
        beats_check(node->beats);
    }
    witness_turn(sim);
    check_leader(sim, &status);
    sim->seen_leader = status.role == RAFT_LEADER;
    if (status.term < sim->seen_term) sim_fail("%s: the term fell", sim->name);
    if (!node->save_blocked) sim->seen_term = status.term; /* else it was never said to anybody */
    if (node->applied > status.commit || status.commit > status.last_index)
        sim_fail("%s: applied %llu, committed %llu, last %llu", sim->name, (unsigned long long)node->applied,
                 (unsigned long long)status.commit, (unsigned long long)status.last_index);
    if (node->view.first_index > sim->seen_base + 1) {
        mark(MARK_LOG_TRIMMED);
        sim->seen_base = node->view.first_index - 1;
    }
    note_situations(sim, node);
    judge_applied(sim);
    if (status.change_index != sim->seen_change) {
        if (status.change_index < sim->seen_change) mark(MARK_CHANGE_UNDONE);
        sim->seen_change = status.change_index;
    }
    if (node->applied && rows_digest(node->rows) != judge.entries[node->applied - 1].digest)
        sim_fail("%s: another state after entry %llu", sim->name, (unsigned long long)node->applied);
}

/* --- answers --- */

void judge_denied(uint64_t number)
{
    if (map_get(&judge.executed, number))
        sim_fail("request %llu was answered \"nothing was changed\" after it was executed",
                 (unsigned long long)number);
    map_put(&judge.denied, number, &judge);
}

static void check_read(const struct call *call, uint64_t acked_before)
{
    struct slice name;
    if (!call->stale && call->revision < acked_before)
        sim_fail("request %llu read state %llu although %llu was acknowledged before",
                 (unsigned long long)call->number, (unsigned long long)call->revision,
                 (unsigned long long)acked_before);
    if (strcmp(call->operation->name, "lock.get") != 0 || !call->shape || !call->revision) return;
    memcpy(&name, (const char *)call->args + record_field(call->operation->args, SLICE("name"))->offset,
           sizeof name);
    uint32_t hash = hash_of(call->shape, call->result);
    if (hash != judge.entries[call->revision - 1].locks[name.data[0] - 'a'])
        sim_fail("request %llu read something else of lock %c than state %llu had",
                 (unsigned long long)call->number, name.data[0], (unsigned long long)call->revision);
}

void judge_query(const struct call *call, uint64_t time_ms)
{
    struct apply apply;
    if (call->operation->kind != OPERATION_QUERY || (call->operation->flags & OPERATION_AT_LEADER) ||
        !call->revision || call->revision != judge.count || !(call->outcome == OUTCOME_OK || call->shape))
        return;
    apply_begin(&apply, judge.rows, &judge.arena, judge.count, judge.entries[judge.count - 1].term, time_ms);
    coord_query(&apply, call->operation, call->args);
    const struct answer *answer = apply.answers;
    bool same =
        answer->outcome == call->outcome && answer->shape == call->shape &&
        (!answer->shape || hash_of(answer->shape, answer->data) == hash_of(call->shape, call->result));
    if (!same)
        sim_fail("request %llu (%s) was told something else than state %llu says",
                 (unsigned long long)call->number, call->operation->name, (unsigned long long)call->revision);
    mark(MARK_QUERY_COMPARED);
    arena_reset(&judge.arena);
}

void judge_told(uint64_t number, const struct call *call, uint64_t acked_before)
{
    if (call->operation->kind != OPERATION_COMMAND) {
        check_read(call, acked_before);
        return;
    }
    const struct given *given = map_get(&judge.executed, number);
    uint64_t token = call->shape ? record_number(call->shape, call->result, "token") : 0;
    if (!given || !given->index)
        sim_fail("request %llu was answered, but the log does not", (unsigned long long)number);
    if (given->index != call->revision || given->outcome != call->outcome || given->token != token ||
        given->tasks != tasks_hash(call->shape, call->result))
        sim_fail("request %llu was told %d at %llu (token %llu), the log says %d at %llu (token %llu)",
                 (unsigned long long)number, (int)call->outcome, (unsigned long long)call->revision,
                 (unsigned long long)token, (int)given->outcome, (unsigned long long)given->index,
                 (unsigned long long)given->token);
    if (call->revision <= acked_before)
        sim_fail("request %llu took place at %llu, but %llu was acknowledged before it began",
                 (unsigned long long)number, (unsigned long long)call->revision,
                 (unsigned long long)acked_before);
}

void judge_end(void)
{
    judge_queue_end();
    coord_check(judge.rows, &judge.arena);
}
