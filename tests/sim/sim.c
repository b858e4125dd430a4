/* The world: time, faults, turns. sim [-v] [SEED [COUNT [FAILURES [JOBS]]]]: lives the seeds from SEED on,
 * each in a process of its own, until that many have failed; status 1 when one did, or when of 1,000 or more
 * some situation never arose. Each failure is named with the command that shows it again. */
#include "tests/sim/sim.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SAFETY_MS = 30000,
    CALM_MS = 40000,
    SWEEP_MS = 60000,
    MARKS_FROM = 1000,
    RECOVERY_MS = 5000,
    GUARD_MS = 400000
};

struct world world;
struct sim_node nodes[NODES_MAX + 1], *sim_current;
uint64_t marks[MARK_COUNT];

const char *const fault_names[FAULT_KINDS] = {"lost",
                                              "doubled",
                                              "delayed",
                                              "crash",
                                              "crash in disk",
                                              "torn write",
                                              "EIO",
                                              "slow disk",
                                              "full disk",
                                              "pause",
                                              "partition",
                                              "wall clock",
                                              "change",
                                              "client left",
                                              "disk lost",
                                              "bit rot",
                                              "misdirected write",
                                              "hung disk",
                                              "clogged link",
                                              "clocks beyond the bound"};
static const char *const mark_names[] = {
#define X(name) #name,
    MARKS(X)
#undef X
};

/* --- chance, words --- */

uint64_t draw(uint64_t below)
{
    world.random ^= world.random << 13;
    world.random ^= world.random >> 7;
    world.random ^= world.random << 17;
    return below ? (world.random >> 11) % below : 0;
}

bool chance(unsigned of_10000)
{
    return of_10000 && !world.calm && draw(10000) < of_10000;
}

void mark(enum mark which)
{
    marks[which]++;
}

void sim_trace(const char *format, ...)
{
    va_list arguments;
    if (!world.verbose) return;
    va_start(arguments, format);
    printf("%8llu ", (unsigned long long)(sim_current ? sim_local_ms(sim_current) : world.now_ms));
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

void sim_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    fprintf(stderr, "seed %llu, at %llu ms: ", (unsigned long long)world.seed,
            (unsigned long long)world.now_ms);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    quick_exit(1);
}

/* --- nodes --- */

const struct raft_config *sim_config(void)
{
    for (size_t n = 1; n <= world.node_count; n++)
        if (nodes[n].node && nodes[n].node->office_term) return raft_config_in_force(nodes[n].node->raft);
    return NULL;
}

bool sim_is_member(const struct sim_node *sim)
{
    const struct raft_config *config = sim_config();
    return config && raft_config_member(config, sim->id);
}

void sim_died(struct sim_node *sim, enum death how)
{
    bool full = sim->full_until_ms > sim_local_ms(sim); /* somebody makes room and starts it again */
    sim_trace("%s is down (%d)", sim->name, (int)how);
    if (how == DEATH_EXIT && !sim->eio && !full) sim->present = false;
    clients_node_died(sim);
    witness_died(sim);
    sim->node = NULL; /* its memory is gone with the process: not given back here */
    sim->up_at_ms = sim_local_ms(sim) + 20 + draw(world.calm ? 200 : world.faults.restart_ms);
    sim->lag_ms = 0;
    sim->eio = sim->seen_leader = false;
    network_forget(sim);
    mailbox_crash(sim);
    disk_crash(sim);
    store_crash(sim);
}

void sim_wipe(struct sim_node *sim)
{
    disk_wipe(sim);
    store_wipe(sim);
    witness_wiped(sim);
    sim->id = 0;
    sim->rotten = false;
    sim->seen_applied = sim->seen_term = sim->seen_base = sim->seen_change = 0;
}

/* A node whose log was damaged refuses to start; its machine comes back with an empty disk. One whose disk
 * failed just now may be lucky next time. */
static void refused(struct sim_node *sim, const char *error)
{
    if (sim->eio && !sim->rotten) {
        sim_died(sim, DEATH_FATAL);
        return;
    }
    if (!sim->rotten) sim_fail("%s refused to start: %s", sim->name, error);
    sim_trace("%s refused to start: %s", sim->name, error);
    mark(sim->misdirected ? MARK_MISDIRECTED_REFUSED : MARK_ROT_REFUSED);
    sim_wipe(sim);
    sim->up_at_ms = world.now_ms + draw(2000);
}

static void start(struct sim_node *sim)
{
    static char founders[400];
    char error[600] = "";
    size_t size = 0;
    for (size_t n = 1; n <= world.founders; n++)
        size += (size_t)snprintf(founders + size, sizeof founders - size, "%s%s=%s", n > 1 ? "," : "",
                                 nodes[n].name, nodes[n].address);
    struct sim_node *other = &nodes[1 + draw(world.node_count)];
    struct node_settings settings = {.data_dir = sim->data_dir,
                                     .name = sim->name,
                                     .heartbeat_ms = 100,
                                     .election_ms = 1000,
                                     .log_keep_bytes = world.faults.log_keep_bytes,
                                     .mailbox = (struct mailbox *)sim,
                                     .initial_cluster = sim->joins ? NULL : founders,
                                     .join = sim->joins ? other->address : NULL};
    sim_current = sim;
    sim->lag_ms = 0;
    int how = setjmp(sim->death);
    if (how == DEATH_NONE) {
        sim->offset_ms = draw(1000000) + 1000;
        sim->node = node_open(&settings, error, sizeof error);
        if (!sim->node) {
            refused(sim, error);
            sim_current = NULL;
            return;
        }
        if (sim->rotten && disk_is_damaged(sim)) sim_fail("%s starts although its log is damaged", sim->name);
        if (sim->rotten) mark(MARK_DAMAGE_TRIMMED);
        sim->rotten = false;
        if (sim->seen_applied) mark(MARK_RESTARTED);
        sim->seen_applied = sim->node->applied < sim->seen_applied ? sim->node->applied : sim->seen_applied;
        sim->run_at_ms = sim->busy_until_ms = sim_local_ms(sim);
        sim->lag_ms = 0;
        judge_node(sim);
    } else {
        sim_died(sim, (enum death)how);
    }
    sim_current = NULL;
}

static void turn(struct sim_node *sim)
{
    sim_current = sim;
    sim->lag_ms = 0;
    int how = setjmp(sim->death);
    if (how == DEATH_NONE) {
        if (!node_turn(sim->node)) sim_fail("%s stopped by itself", sim->name);
        judge_node(sim);
        sim->busy_until_ms = sim_local_ms(sim) + (draw(3) == 0);
        sim->lag_ms = 0;
    } else {
        sim_died(sim, (enum death)how);
    }
    sim_current = NULL;
}

static uint64_t runs_at_ms(const struct sim_node *sim)
{
    uint64_t at_ms = sim->run_at_ms;
    if (at_ms < sim->busy_until_ms) at_ms = sim->busy_until_ms;
    return at_ms < sim->paused_until_ms ? sim->paused_until_ms : at_ms;
}

/* A removed member's machine is switched off and emptied, unless it has become a member again meanwhile. */
static void switch_off(struct sim_node *sim)
{
    if (!sim_config()) {
        sim->up_at_ms = world.now_ms + 500;
    } else if (sim_is_member(sim)) {
        sim->present = true;
    } else {
        if (sim->node) sim_died(sim, DEATH_CRASH);
        sim_wipe(sim);
    }
}

static void nodes_step(void)
{
    for (size_t n = 1; n <= world.node_count; n++) {
        struct sim_node *sim = &nodes[n];
        if (!sim->present && sim->id && world.now_ms >= sim->up_at_ms) switch_off(sim);
        if (sim->present && !sim->node && world.now_ms >= sim->up_at_ms) start(sim);
        if (sim->node && world.now_ms >= runs_at_ms(sim)) turn(sim);
        if (sim->node && sim->seen_leader && sim->node->output.entry_count && chance(world.faults.hunt))
            faults_hunt(sim);
    }
}

static uint64_t nodes_next_ms(void)
{
    uint64_t next_ms = UINT64_MAX;
    for (size_t n = 1; n <= world.node_count; n++) {
        const struct sim_node *sim = &nodes[n];
        uint64_t at_ms = sim->node ? runs_at_ms(sim) : sim->present ? sim->up_at_ms : UINT64_MAX;
        if (!sim->present && sim->id && sim->up_at_ms < at_ms) at_ms = sim->up_at_ms;
        if (at_ms < next_ms) next_ms = at_ms;
    }
    return next_ms;
}

/* --- a life --- */

static void step(void)
{
    uint64_t next_ms = nodes_next_ms();
    uint64_t others[] = {network_next_ms(), clients_next_ms(), world.calm ? UINT64_MAX : world.fault_at_ms};
    for (size_t i = 0; i < 3; i++)
        if (others[i] < next_ms) next_ms = others[i];
    if (next_ms == UINT64_MAX) sim_fail("nothing happens any more");
    if (next_ms > world.now_ms) world.now_ms = next_ms;
    network_step();
    clients_step();
    readers_step();
    nodes_step();
    if (!world.calm && world.now_ms >= world.fault_at_ms) faults_one();
}

static void run_until(uint64_t until_ms)
{
    while (world.now_ms < until_ms) step();
}

static bool settled(void)
{
    const struct raft_config *config = sim_config();
    if (!config) return false;
    for (size_t n = 1; n <= world.node_count; n++) {
        const struct node *node = nodes[n].node;
        bool member = node && node->raft && raft_config_member(config, nodes[n].id);
        if (member && node->applied != judge_last()) return false;
    }
    return true;
}

/* A turn that waits for its disk ends when it ends. */
static uint64_t all_turns_end_ms(void)
{
    uint64_t end_ms = world.now_ms;
    for (size_t n = 1; n <= world.node_count; n++)
        if (nodes[n].node && nodes[n].busy_until_ms > end_ms) end_ms = nodes[n].busy_until_ms;
    return end_ms;
}

/* Whatever is left in the task queues can be claimed and done. */
static void sweep(void)
{
    world.sweeping = true;
    for (uint64_t limit_ms = world.now_ms + SWEEP_MS; judge_queue_count(); step()) {
        struct left_task left;
        mark(MARK_TASK_SWEPT);
        if (world.now_ms < limit_ms || !judge_queue_left(&left)) continue;
        judge_queue_trace();
        sim_fail("%zu tasks cannot be finished, such as %llu of queue %s, in state %llu", judge_queue_count(),
                 (unsigned long long)left.id, left.queue, (unsigned long long)left.state);
    }
}

/* Those that are silent are failed, also those that the guard keeps: after guard_max, one of them at least
 * every ten seconds. */
static void await_silent(void)
{
    for (uint64_t limit_ms = world.now_ms + GUARD_MS; judge_group_up(); step())
        if (world.now_ms >= limit_ms) sim_fail("%zu silent members are not failed", judge_group_up());
    for (uint64_t limit_ms = world.now_ms + CALM_MS; world.now_ms < limit_ms && !settled();) step();
}

/* Faults have ended: whoever asks is answered again, all come to the same state, and nothing that nobody
 * renews is left. */
static void live_on(void)
{
    faults_calm_down();
    size_t before = clients_succeeded();
    world.answers_from_ms = all_turns_end_ms() + RECOVERY_MS;
    run_until(world.answers_from_ms + 8000);
    for (uint64_t limit_ms = world.now_ms + 20000; clients_succeeded() == before; step())
        if (world.now_ms >= limit_ms) sim_fail("no request succeeds in the calm");
    sweep();
    clients_stop();
    uint64_t limit_ms = world.now_ms + CALM_MS;
    while (world.now_ms < limit_ms && (judge_leases() || !clients_idle() || !settled() || !readers_arrived()))
        step();
    if (!clients_idle()) sim_fail("a client got no answer");
    if (judge_leases()) sim_fail("%zu leases are left that nobody renews", judge_leases());
    await_silent();
    if (!settled()) sim_fail("the nodes do not come to the same state");
    readers_end();
    judge_end();
}

static void live(uint64_t seed)
{
    static const size_t sizes[] = {3, 3, 2, 5, 5, 1, 4, 7};
    world.seed = seed;
    world.random = seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
    for (int i = 0; i < 8; i++) draw(2);
    faults_draw();
    world.founders = sizes[draw(8)];
    world.node_count = world.founders + (world.faults.changes && world.founders < 7);
    world.client_count = 3 + draw(CLIENTS_MAX - 2);
    for (unsigned n = 1; n <= world.node_count; n++) {
        struct sim_node *sim = &nodes[n];
        sim->number = n;
        snprintf(sim->name, sizeof sim->name, "n%u", n);
        snprintf(sim->address, sizeof sim->address, "n%u:7401", n);
        snprintf(sim->data_dir, sizeof sim->data_dir, "d%u", n);
        sim->present = n <= world.founders;
        sim->joins = !sim->present;
        sim->rate_ppm = world.faults.wild_clocks ? draw(50000) : world.faults.drift ? draw(10000) : 0;
        sim->up_at_ms = draw(500);
        network_forget(sim);
        mailbox_crash(sim);
    }
    world.counts[FAULT_WILD_CLOCKS] += world.faults.wild_clocks;
    world.fault_at_ms = 3000 + draw(3000);
    judge_open();
    clients_open();
    run_until(SAFETY_MS);
    live_on();
}

/* --- the campaign --- */

struct totals {
    uint64_t marks[MARK_COUNT], faults[FAULT_KINDS], simulated_ms, succeeded, lived, failed;
};

static void add(uint64_t *sum, uint64_t number)
{
    __atomic_fetch_add(sum, number, __ATOMIC_RELAXED);
}

static void add_up(struct totals *totals)
{
    for (size_t i = 0; i < MARK_COUNT; i++) add(&totals->marks[i], marks[i]);
    for (size_t i = 0; i < FAULT_KINDS; i++) add(&totals->faults[i], world.counts[i]);
    add(&totals->simulated_ms, world.now_ms);
    add(&totals->succeeded, clients_succeeded());
}

static void report(const struct totals *totals)
{
    printf("%llu seeds, %llu simulated seconds, %llu requests succeeded\nfaults:",
           (unsigned long long)totals->lived, (unsigned long long)totals->simulated_ms / 1000,
           (unsigned long long)totals->succeeded);
    for (size_t i = 0; i < FAULT_KINDS; i++)
        printf(" %s %llu;", fault_names[i], (unsigned long long)totals->faults[i]);
    printf("\nmarks:");
    for (size_t i = 0; i < MARK_COUNT; i++)
        printf(" %s %llu;", mark_names[i], (unsigned long long)totals->marks[i]);
    printf("\n");
}

static bool run_seed(uint64_t seed, struct totals *totals)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        live(seed);
        add_up(totals);
        fflush(stdout);
        quick_exit(0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    if (status != 0) fprintf(stderr, "again: sim -v %llu\n", (unsigned long long)seed);
    return status == 0;
}

/* A job lives every jobs-th seed. */
static void run_job(uint64_t from, uint64_t end, uint64_t most, uint64_t step, struct totals *totals)
{
    for (uint64_t seed = from; seed < end && __atomic_load_n(&totals->failed, __ATOMIC_RELAXED) < most;
         seed += step) {
        if (!run_seed(seed, totals)) add(&totals->failed, 1);
        add(&totals->lived, 1);
    }
}

static bool every_mark_seen(const struct totals *totals)
{
    bool all = true;
    for (size_t i = 0; i < MARK_COUNT; i++) {
        if (totals->marks[i]) continue;
        fprintf(stderr, "never seen: %s\n", mark_names[i]);
        all = false;
    }
    return all;
}

static uint64_t number(int argc, char **argv, int place, uint64_t otherwise)
{
    return argc > place ? strtoull(argv[place], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "-v") == 0) {
        world.verbose = true;
        argc--;
        argv++;
    }
    uint64_t from = number(argc, argv, 1, 1), count = number(argc, argv, 2, 1),
             most = number(argc, argv, 3, 1);
    uint64_t jobs = number(argc, argv, 4, 1);
    struct totals *totals =
        mmap(NULL, sizeof *totals, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (uint64_t job = 1; job < jobs; job++) {
        if (fork()) continue;
        run_job(from + job, from + count, most, jobs, totals);
        quick_exit(0);
    }
    run_job(from, from + count, most, jobs, totals);
    while (wait(NULL) > 0) {
    }
    report(totals);
    return totals->failed || (totals->lived >= MARKS_FROM && !every_mark_seen(totals));
}
