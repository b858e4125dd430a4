/* Clients: each does one thing after another at some node, believes what it is told, and leaves when it takes
 * too long. One of them is the operator, who changes the members and moves leadership. */
#include "tests/sim/sim.h"

#include "base/check.h"
#include "base/memory.h"
#include "coord/primitive/txn.h"

#include <stdio.h>
#include <stdlib.h>

enum { HOLDS = 6, LEASES_KEPT = 3, PATIENCE_MS = 6000 };

struct hold {
    char lock;
    uint64_t token, lease;
};

struct client {
    unsigned number;
    struct call *call; /* NULL: idle */
    struct sim_node *at;
    uint64_t call_number, sent_ms, give_up_ms, next_ms, acked_before, ttl_ms;
    uint64_t term_before;
    bool answered, waited, generated;
    unsigned subject; /* of the operator's work */
    bool subject_led;
    struct hold holds[HOLDS];
    size_t hold_count;
    uint64_t leases[LEASES_KEPT], lease_ttl_ms[LEASES_KEPT];
    unsigned once; /* number of the request that is repeated until it is answered; see repeat() */
    bool repeats;
};

struct due { /* an answer on its way to its client */
    struct timer at;
    struct call *call;
    struct sim_node *from;
    struct node *process;
};

static struct client clients[CLIENTS_MAX];
static struct client storm; /* sends many at once, and takes what comes back */
static uint64_t storm_at_ms;
static struct heap answers;
static bool stopped;
static size_t succeeded;

static uint64_t value(const struct call *call, const char *name)
{
    return call->shape ? record_number(call->shape, call->result, name) : 0;
}

void clients_open(void)
{
    for (unsigned i = 0; i < world.client_count; i++) {
        clients[i].number = i;
        clients[i].next_ms = 500 + draw(2000);
    }
    storm.number = CLIENTS_MAX;
    storm_at_ms = world.faults.storm ? 3000 + draw(30000) : UINT64_MAX;
}

void clients_stop(void)
{
    stopped = true;
}

bool clients_idle(void)
{
    for (size_t i = 0; i < world.client_count; i++)
        if (clients[i].call) return false;
    return true;
}

size_t clients_succeeded(void)
{
    return succeeded;
}

/* --- asking --- */

static struct sim_node *some_node(void)
{
    struct sim_node *up[NODES_MAX];
    size_t count = 0;
    for (size_t n = 1; n <= world.node_count; n++)
        if (nodes[n].node) up[count++] = &nodes[n];
    return count ? up[draw(count)] : NULL;
}

static void ask(struct client *client, struct call *call, uint64_t wait_ms, uint64_t ttl_ms)
{
    client->at = some_node();
    if (!client->at) {
        call_free(call);
        client->next_ms = world.now_ms + 100;
        return;
    }
    struct sim_node *before = sim_current;
    sim_current = client->at;
    call->arrived_ms = boottime_ms();
    sim_current = before;
    call->wait_ms = wait_ms;
    call->request = client;
    client->call = call;
    client->answered = client->generated = false;
    client->call_number = call->number;
    client->sent_ms = world.now_ms;
    client->give_up_ms = world.now_ms + wait_ms + PATIENCE_MS;
    client->acked_before = judge_last();
    client->ttl_ms = ttl_ms;
    client->waited = wait_ms > 0;
    client->term_before = client->at->seen_term;
    if (wait_ms && chance(1500)) client->give_up_ms = world.now_ms + draw(wait_ms);
    sim_trace("c%u -> %s: %s (%llu)", client->number, client->at->name, call->operation->name,
              (unsigned long long)call->number);
    mailbox_submit((struct mailbox *)client->at, call);
}

static void burst(void)
{
    storm_at_ms = world.now_ms + 1000;
    for (unsigned i = 0; i < world.faults.storm; i++) {
        ask(&storm, make_call("lease.create", "ttl=3s"), 0, 3000);
        if (!storm.at) return;
        storm.call = NULL;
    }
    storm_at_ms = UINT64_MAX;
}

static void acquire(struct client *client)
{
    static const char *const modes[] = {"", " mode=shared", " mode=semaphore limit=3 permits=2"};
    char line[1400], lease[40] = "", meta[1100] = "";
    size_t which = draw(LEASES_KEPT);
    uint64_t ttl_ms = 700 + draw(6000), wait_ms = draw(2) ? 500 + draw(15000) : 0;
    if (client->leases[which] && draw(2))
        snprintf(lease, sizeof lease, " lease=L%llx", (unsigned long long)client->leases[which]);
    else
        snprintf(lease, sizeof lease, " ttl=%llums", (unsigned long long)ttl_ms);
    if (world.faults.fat) snprintf(meta, sizeof meta, " meta=%0*u", (int)world.faults.fat, client->number);
    snprintf(line, sizeof line, "name=%c%s%s wait=%llums%s%s", (char)('a' + draw(LOCKS)),
             draw(3) ? "" : modes[draw(3)], lease, (unsigned long long)wait_ms, draw(8) ? "" : " delay=2s",
             meta);
    ask(client, make_call("lock.acquire", line), wait_ms, lease[1] == 't' ? ttl_ms : 0);
}

static void with_token(struct client *client, const char *operation)
{
    char line[80];
    const struct hold *hold = &client->holds[draw(client->hold_count)];
    snprintf(line, sizeof line, "name=%c token=%llu", hold->lock, (unsigned long long)hold->token);
    ask(client, make_call(operation, line), 0, 0);
}

static void with_lease(struct client *client, const char *operation)
{
    char line[80];
    size_t which = draw(LEASES_KEPT);
    if (!client->leases[which]) return;
    snprintf(line, sizeof line, "id=L%llx", (unsigned long long)client->leases[which]);
    ask(client, make_call(operation, line), 0, client->lease_ttl_ms[which]);
}

static void create_lease(struct client *client)
{
    char line[40];
    uint64_t ttl_ms = 600 + draw(8000);
    snprintf(line, sizeof line, "ttl=%llums", (unsigned long long)ttl_ms);
    ask(client, make_call("lease.create", line), 0, ttl_ms);
}

static void look(struct client *client, bool stale)
{
    char line[20];
    snprintf(line, sizeof line, "name=%c", (char)('a' + draw(LOCKS)));
    struct call *call = make_call("lock.get", line);
    call->stale = stale;
    if (!stale && draw(3) == 0) call->min_revision = world.acked;
    ask(client, call, 0, 0);
}

static void generated(struct client *client)
{
    uint64_t tokens[HOLDS];
    for (size_t i = 0; i < client->hold_count; i++) tokens[i] = client->holds[i].token;
    struct known known = {.tokens = tokens,
                          .leases = client->leases,
                          .token_count = client->hold_count,
                          .lease_count = LEASES_KEPT};
    known.task_count = workers_known(&known.tasks);
    struct call *call = generator_call(&known);
    if (!call) return;
    ask(client, call, call->wait_ms, 0);
    client->generated = true;
}

/* Something is asked for under an Idempotency-Key, again and again until there is an answer. However often it
 * is sent, and wherever, it is done once: the judge sees to it, and the version of a key of its own is 1. */
static void repeat(struct client *client)
{
    char line[80], key[40];
    client->once += !client->repeats;
    client->repeats = true;
    unsigned kind = world.faults.queues ? client->once % 3 : 0;
    static const char *const names[] = {"kv.put", "queue.enqueue", "queue.claim"};
    if (kind == 0) snprintf(line, sizeof line, "key=once-%u-%u value=x", client->number, client->once);
    if (kind == 1) snprintf(line, sizeof line, "queue=o payload=3 group=g");
    if (kind == 2) snprintf(line, sizeof line, "queue=o worker=w%u max=2 ttl=3s", client->number);
    snprintf(key, sizeof key, "retry-%u-%u", client->number, client->once);
    struct call *call = make_call(names[kind], line);
    struct operation_item *item = arena_alloc(&call->arena, sizeof *item);
    struct guarded_args *guard = arena_alloc(&call->arena, sizeof *guard);
    *item = (struct operation_item){call->operation, call->args};
    *guard =
        (struct guarded_args){.retry_key = arena_copy(&call->arena, slice_text(key)), .operation = {item, 1}};
    call->guard = guard;
    ask(client, call, 0, 0);
}

static void repeated(struct client *client, const struct call *call)
{
    client->repeats = false;
    if (call->replayed) mark(MARK_ANSWER_REPLAYED);
    if (call->replayed && strcmp(call->operation->name, "queue.claim") == 0) mark(MARK_CLAIM_REPLAYED);
    if (world.faults.wall_jumps) return; /* leaders whose clocks differ by hours may forget a key too early */
    if (strcmp(call->operation->name, "kv.put") != 0) return;
    if (call->outcome == OUTCOME_OK || (call->outcome == OUTCOME_CREATED && value(call, "version") != 1))
        sim_fail("what was asked for once was done twice");
}

static void work(struct client *client)
{
    uint64_t ttl_ms = 0;
    struct call *call = world.sweeping
                            ? workers_sweep(client->number)
                            : workers_call(client->number, client->leases[draw(LEASES_KEPT)], &ttl_ms);
    ask(client, call, call->wait_ms, ttl_ms);
}

static void attend(struct client *client)
{
    uint64_t ttl_ms = 0;
    struct call *call = members_call(client->number, &ttl_ms);
    ask(client, call, 0, ttl_ms);
}

/* --- the operator --- */

static void operate(struct client *client)
{
    char line[80];
    uint64_t dice = draw(100);
    client->subject = 1 + (unsigned)draw(world.node_count);
    if (world.lost_id) client->subject = world.lost_number;
    struct sim_node *subject = &nodes[client->subject];
    client->subject_led = subject->seen_leader;
    if (dice < 40) {
        ask(client, make_call("cluster.get", ""), 0, 0);
    } else if (dice < 65) {
        snprintf(line, sizeof line, "to=%s", subject->name);
        ask(client, make_call("cluster.transfer", draw(2) ? line : ""), 0, 0);
    } else if (!world.faults.changes) {
        return;
    } else if (dice < 80 && (subject->present || world.lost_id)) {
        world.counts[FAULT_CHANGE]++;
        snprintf(line, sizeof line, "name=%s", subject->name);
        ask(client, make_call("cluster.remove", line), 0, 0);
        world.removed_ms = world.now_ms;
        world.aimed = draw(3) == 0;
        if (world.aimed) world.fault_at_ms = world.now_ms + draw(20);
    } else if (!subject->present && !world.lost_id) { /* a machine with an empty disk takes its place */
        world.counts[FAULT_CHANGE]++;
        subject->present = subject->joins = true;
        subject->lost_disk = false;
        subject->up_at_ms = world.now_ms;
    }
}

static void operated(struct client *client, const struct call *call)
{
    struct sim_node *subject = &nodes[client->subject];
    if (strcmp(call->operation->name, "cluster.transfer") == 0 && call->outcome == OUTCOME_OK)
        mark(MARK_TRANSFER_DONE);
    if (strcmp(call->operation->name, "cluster.remove") != 0 || call->outcome != OUTCOME_OK) return;
    mark(MARK_MEMBER_REMOVED);
    if (world.lost_id) {
        world.lost_id = 0;
        return;
    }
    if (client->subject_led) mark(MARK_LEADER_REMOVED);
    subject->present = false; /* its machine is switched off and emptied */
    subject->up_at_ms = world.now_ms + draw(3000);
}

/* --- what to do next --- */

static void act(struct client *client)
{
    uint64_t dice = draw(100);
    client->next_ms = world.now_ms + draw(400);
    if (world.sweeping || draw(100) < world.faults.queues)
        work(client);
    else if (client->repeats || draw(12) == 0)
        repeat(client);
    else if (client->number < world.faults.operators && dice < 25)
        operate(client);
    else if (draw(8) == 0)
        generated(client);
    else if (draw(5) == 0 || draw(100) < world.faults.groups)
        attend(client);
    else if (dice < 45 || !client->hold_count)
        dice % 7 ? acquire(client) : create_lease(client);
    else if (dice < 65)
        with_token(client, "lock.release");
    else if (dice < 78)
        with_token(client, "lock.renew");
    else if (dice < 86)
        with_lease(client, "lease.renew");
    else if (dice < 88)
        with_lease(client, "lease.revoke");
    else
        look(client, dice > 96);
}

uint64_t clients_next_ms(void)
{
    const struct timer *first = heap_first(&answers);
    uint64_t next_ms = first && first->at_ms < storm_at_ms ? first->at_ms : storm_at_ms;
    for (size_t i = 0; i < world.client_count; i++) {
        uint64_t at_ms = clients[i].call ? clients[i].give_up_ms : stopped ? UINT64_MAX : clients[i].next_ms;
        if (at_ms < next_ms) next_ms = at_ms;
    }
    return next_ms;
}

static void leave(struct client *client)
{
    struct call *call = client->call;
    if (world.answers_from_ms && client->sent_ms >= world.answers_from_ms && sim_is_member(client->at) &&
        world.now_ms >= client->sent_ms + call->wait_ms + PATIENCE_MS)
        sim_fail("request %llu got no answer in the calm", (unsigned long long)call->number);
    sim_trace("c%u leaves (%llu)", client->number, (unsigned long long)call->number);
    world.counts[FAULT_LEFT]++;
    mark(MARK_CLIENT_LEFT);
    call->request = NULL;
    client->call = NULL;
    client->next_ms = world.now_ms + draw(300);
    if (!call->wait_ms) return;
    struct notice *notice = memory_new(sizeof *notice);
    *notice = (struct notice){.kind = NOTICE_GONE, .number = client->call_number};
    mailbox_notify((struct mailbox *)client->at, notice);
}

void clients_node_died(struct sim_node *sim)
{
    for (size_t i = 0; i < world.client_count; i++) {
        if (!clients[i].call || clients[i].at != sim || clients[i].answered) continue;
        clients[i].call = NULL; /* the connection broke: whatever becomes of it */
        clients[i].next_ms = world.now_ms + draw(200);
    }
}

/* --- answers --- */

static bool is_denial(enum outcome outcome)
{
    return outcome == OUTCOME_NO_LEADER || outcome == OUTCOME_NO_QUORUM || outcome == OUTCOME_OVERLOADED ||
           outcome == OUTCOME_SHUTTING_DOWN || outcome == OUTCOME_STARTING ||
           outcome == OUTCOME_STORAGE_FULL || outcome == OUTCOME_MIN_REVISION_AHEAD;
}

static void forget(struct client *client, uint64_t token)
{
    for (size_t i = 0; i < client->hold_count; i++)
        if (client->holds[i].token == token) client->holds[i--] = client->holds[--client->hold_count];
}

/* Counted from when the request was sent; a grant that was waited for counts from the answer. */
static void believe(const struct client *client, const struct call *call)
{
    uint64_t lease = value(call, "lease"), left_ms = value(call, "expires_in_ms");
    sim_trace("c%u believes in L%llx for %llu ms", client->number, (unsigned long long)lease,
              (unsigned long long)left_ms);
    uint64_t from_ms = value(call, "waited_ms") ? world.now_ms : client->sent_ms;
    if (left_ms) judge_promise(lease, from_ms + left_ms - left_ms / 50 - (left_ms > 2 ? 2 : 0));
    if (client->ttl_ms && !value(call, "waited_ms")) judge_promise(lease, client->sent_ms + client->ttl_ms);
}

static void granted(struct client *client, const struct call *call)
{
    struct slice name;
    memcpy(&name, (const char *)call->args + record_field(call->operation->args, SLICE("name"))->offset,
           sizeof name);
    if (client->hold_count < HOLDS)
        client->holds[client->hold_count++] =
            (struct hold){(char)name.data[0], value(call, "token"), value(call, "lease")};
    if (world.now_ms < client->sent_ms + 100 || !client->waited) return;
    mark(MARK_GRANT_AFTER_WAIT);
    if (client->at->seen_term > client->term_before) mark(MARK_WAIT_SURVIVED_FAILOVER);
}

static void take_success(struct client *client, const struct call *call)
{
    const char *name = call->operation->name;
    bool follower = !client->at->seen_leader;
    succeeded++;
    if (client->generated && value(call, "token")) mark(MARK_GENERATED_GRANTED);
    if (strcmp(name, "lock.acquire") == 0) {
        granted(client, call);
    } else if (strcmp(name, "lock.release") == 0) {
        forget(client, value(call, "token"));
    } else if (strcmp(name, "lease.create") == 0) {
        size_t which = draw(LEASES_KEPT);
        client->leases[which] = value(call, "lease");
        client->lease_ttl_ms[which] = client->ttl_ms;
    } else if (call->operation->kind == OPERATION_RENEWAL) {
        if (follower) mark(MARK_RENEWED_ON_FOLLOWER);
    } else if (call->operation->kind == OPERATION_QUERY) {
        mark(call->stale ? MARK_READ_STALE : follower ? MARK_READ_ON_FOLLOWER : MARK_READ_STALE);
    }
    if (call->operation->kind != OPERATION_QUERY) believe(client, call);
    bool later = call->index != call->revision; /* it was handed out after it had waited */
    workers_told(client->number, call, later ? world.now_ms : client->sent_ms, later ? 0 : client->ttl_ms);
}

static void note_outcome(const struct call *call)
{
    if (call->outcome == OUTCOME_NO_LEADER) mark(MARK_NO_LEADER_ANSWERED);
    if (call->outcome == OUTCOME_OUTCOME_UNKNOWN) mark(MARK_OUTCOME_UNKNOWN);
    if (call->outcome == OUTCOME_STORAGE_FULL) mark(MARK_DISK_FULL_SURVIVED);
    if (call->outcome == OUTCOME_LOCK_HELD && call->wait_ms) mark(MARK_WAIT_TIMED_OUT);
    if (call->outcome == OUTCOME_NO_QUORUM) mark(MARK_RENEWAL_REFUSED);
}

static void take(struct client *client, const struct call *call)
{
    note_outcome(call);
    if (call->operation->kind == OPERATION_CLUSTER) {
        operated(client, call);
    } else if (is_denial(call->outcome)) {
        if (call->operation->kind == OPERATION_COMMAND) judge_denied(call->number);
    } else if (call->outcome != OUTCOME_OUTCOME_UNKNOWN) {
        judge_told(call->number, call, client->acked_before);
        if (call->guard) repeated(client, call);
        if (!client->generated) members_told(client->number, call, client->sent_ms, !client->at->seen_leader);
        workers_answered(client->number);
        bool good = call->outcome == OUTCOME_OK || call->outcome == OUTCOME_CREATED ||
                    call->outcome == OUTCOME_NOTHING;
        if (good)
            take_success(client, call);
        else if (call->outcome == OUTCOME_STALE_TOKEN || call->outcome == OUTCOME_LEASE_OVER ||
                 call->outcome == OUTCOME_LOCK_NOT_HELD)
            client->hold_count -= client->hold_count > 0;
        if (!call->stale && call->revision > world.acked) world.acked = call->revision;
    }
}

/* What was answered leaves when the turn has come so far. */
void clients_answer(struct call *call)
{
    struct due *due = memory_new(sizeof *due);
    struct client *client = call->request;
    *due = (struct due){.call = call, .from = sim_current, .process = sim_current->node};
    if (client) client->answered = true;
    if (call->revision) judge_query(call, node_read_time_ms(sim_current->node));
    heap_set(&answers, &due->at, sim_local_ms(sim_current));
    sim_trace("%s answers %llu, left %llu", sim_current->name, (unsigned long long)call->number,
              (unsigned long long)value(call, "expires_in_ms"));
}

/* The api hands back what it could not deliver. */
static void hand_back(const struct due *due)
{
    if (due->from->node != due->process) return;
    struct notice *notice = memory_new(sizeof *notice);
    *notice = (struct notice){.kind = NOTICE_UNDELIVERED, .call = due->call};
    if (value(due->call, "token") && due->call->operation->undo) mark(MARK_GRANT_TAKEN_BACK);
    mailbox_notify((struct mailbox *)due->from, notice);
}

static void arrive(struct due *due)
{
    struct call *call = due->call;
    struct client *client = call->request;
    if (!client) {
        hand_back(due);
        return;
    }
    sim_trace("c%u <- %s: %s %d at %llu (%llu)", client->number, client->at->name, call->operation->name,
              (int)call->outcome, (unsigned long long)call->revision, (unsigned long long)call->number);
    client->call = NULL;
    client->next_ms = world.now_ms + draw(world.sweeping ? 100 : 300);
    take(client, call);
    call_free(call);
}

void clients_step(void)
{
    for (struct timer *first; (first = heap_first(&answers)) && first->at_ms <= world.now_ms;) {
        struct due *due = CONTAINER_OF(first, struct due, at);
        heap_remove(&answers, first);
        arrive(due);
        free(due);
    }
    if (world.now_ms >= storm_at_ms) burst();
    for (size_t i = 0; i < world.client_count; i++) {
        struct client *client = &clients[i];
        if (client->call && world.now_ms >= client->give_up_ms) leave(client);
        if (!client->call && !stopped && world.now_ms >= client->next_ms) act(client);
    }
}
