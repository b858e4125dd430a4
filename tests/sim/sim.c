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

enum { SAFETY_MS = 30000, CALM_MS = 40000, MARKS_FROM = 1000, RECOVERY_MS = 5000, REMOVAL_MS = 10000 };

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

static const struct raft_config *config_now(void)
{
    for (size_t n = 1; n <= world.node_count; n++)
        if (nodes[n].node && nodes[n].node->office_term) return raft_config_in_force(nodes[n].node->raft);
    return NULL;
}

bool sim_is_member(const struct sim_node *sim)
{
    const struct raft_config *config = config_now();
    return config && raft_config_member(config, sim->id);
}

static void died(struct sim_node *sim, enum death how)
{
    sim_trace("%s is down (%d)", sim->name, (int)how);
    if (how == DEATH_EXIT && !sim->eio) sim->present = false;
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

static void wipe(struct sim_node *sim)
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
        died(sim, DEATH_FATAL);
        return;
    }
    if (!sim->rotten) sim_fail("%s refused to start: %s", sim->name, error);
    sim_trace("%s refused to start: %s", sim->name, error);
    mark(sim->misdirected ? MARK_MISDIRECTED_REFUSED : MARK_ROT_REFUSED);
    wipe(sim);
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
        died(sim, (enum death)how);
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
        died(sim, (enum death)how);
    }
    sim_current = NULL;
}

static void hunt(struct sim_node *leader);

static uint64_t runs_at_ms(const struct sim_node *sim)
{
    uint64_t at_ms = sim->run_at_ms;
    if (at_ms < sim->busy_until_ms) at_ms = sim->busy_until_ms;
    return at_ms < sim->paused_until_ms ? sim->paused_until_ms : at_ms;
}

/* A removed member's machine is switched off and emptied, unless it has become a member again meanwhile. */
static void switch_off(struct sim_node *sim)
{
    if (!config_now()) {
        sim->up_at_ms = world.now_ms + 500;
    } else if (sim_is_member(sim)) {
        sim->present = true;
    } else {
        if (sim->node) died(sim, DEATH_CRASH);
        wipe(sim);
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
            hunt(sim);
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

/* --- the cluster --- */

/* Whether a quorum is left when that one's disk is lost for good: all voters are up, and there are three, of
 * which none is just being removed. */
static bool can_lose(const struct sim_node *lost)
{
    const struct raft_config *config = config_now();
    size_t voters = 0, up = 0;
    bool votes = false;
    if (world.removed_ms && world.now_ms < world.removed_ms + REMOVAL_MS) return false;
    for (size_t i = 0; config && i < config->member_count; i++) {
        if (config->members[i].membership != RAFT_VOTER) continue;
        voters++;
        votes |= config->members[i].node == lost->id;
        for (size_t n = 1; n <= world.node_count; n++)
            up += nodes[n].present && nodes[n].node && nodes[n].id == config->members[i].node;
    }
    return votes && voters >= 3 && up == voters;
}

/* --- faults --- */

static void cut(unsigned from, unsigned to, bool off)
{
    nodes[from].cut[to] = off;
}

static void partition(void)
{
    unsigned count = (unsigned)world.node_count, kind = (unsigned)draw(4);
    unsigned one = 1 + (unsigned)draw(count), two = 1 + (unsigned)draw(count);
    for (unsigned n = 1; n <= count; n++) /* whom it hurts most */
        if (nodes[n].node && nodes[n].seen_leader && draw(2)) one = n;
    world.counts[FAULT_PARTITION]++;
    sim_trace("-- partition %u of %u", kind, one);
    for (unsigned n = 1; n <= count; n++) {
        if (kind == 0 && n != one) cut(one, n, true), cut(n, one, true); /* alone */
        if (kind == 1 && n != one) cut(one, n, true);                    /* nobody hears it */
        if (kind == 2 && n != one) cut(n, one, true);                    /* it hears nobody */
        for (unsigned m = 1; kind == 3 && m <= count; m++)               /* two sides with a bridge */
            if (n != two && m != two && (n < one) != (m < one)) cut(n, m, true);
    }
}

static void heal(void)
{
    for (unsigned n = 1; n <= NODES_MAX; n++)
        for (unsigned m = 1; m <= NODES_MAX; m++) cut(n, m, false);
}

static bool damage(struct sim_node *sim)
{
    if (!disk_damage(sim)) return false;
    world.counts[sim->misdirected ? FAULT_MISDIRECTED : FAULT_ROT]++;
    sim_trace("-- %s is damaged", sim->damaged);
    sim->rotten = true;
    return true;
}

/* Gone, or damaged: then the node notices when it starts, or before, when it reads what is damaged. */
static void lose_disk(struct sim_node *sim)
{
    bool damaged = world.faults.rot && damage(sim);
    world.disk_lost = true; /* once in a life: its machine comes back with an empty disk */
    world.lost_id = sim->id;
    world.lost_number = sim->number;
    world.counts[FAULT_DISK_LOST]++;
    if (damaged && draw(2)) return;
    if (sim->node) died(sim, DEATH_CRASH);
    if (!damaged) wipe(sim);
}

static void clog_a_link(void)
{
    unsigned from = 1 + (unsigned)draw(world.node_count), to = 1 + (unsigned)draw(world.node_count);
    world.counts[FAULT_CLOGGED]++;
    nodes[from].clogged_until_ms[to] = world.now_ms + draw(5000);
}

static void fault(void)
{
    struct sim_node *sim = &nodes[1 + draw(world.node_count)];
    const struct faults *faults = &world.faults;
    uint64_t dice = draw(100);
    bool aimed = world.aimed;
    world.aimed = false;
    if (dice < 25 && !aimed) {
        heal();
    } else if (dice >= 100 - faults->clog && faults->partitions && !aimed) {
        clog_a_link();
    } else if ((dice < 45 || aimed) && faults->partitions) {
        partition();
    } else if (dice < 60 && faults->crashes && sim->node) {
        world.counts[FAULT_CRASH]++;
        died(sim, DEATH_CRASH);
    } else if (dice < 72 && faults->pauses && sim->node) {
        world.counts[FAULT_PAUSE]++;
        mark(MARK_NODE_FROZEN);
        sim->paused_until_ms = world.now_ms + draw(draw(4) ? 3000 : 30000);
        sim_trace("-- %s is frozen until %llu", sim->name, (unsigned long long)sim->paused_until_ms);
    } else if (dice < 80 && faults->full_disks) {
        world.counts[FAULT_FULL]++;
        sim->full_until_ms = world.now_ms + draw(4000);
    } else if (dice < 82 && faults->changes && !world.disk_lost && sim->id && can_lose(sim) &&
               sim->number <= world.founders) {
        lose_disk(sim);
    } else if (dice < 86 && faults->wall_jumps) {
        world.counts[FAULT_WALL]++;
        sim->wall_ms = draw(7200000);
    }
    world.fault_at_ms = world.now_ms + 200 + draw(faults->pace_ms);
}

/* A leader that has just appended is what the hard cases of Raft begin with: it ends, or is cut off from all
 * but one. */
static void hunt(struct sim_node *leader)
{
    unsigned count = (unsigned)world.node_count, spared = 1 + (unsigned)draw(count);
    if (draw(3) == 0) {
        world.counts[FAULT_CRASH]++;
        died(leader, DEATH_CRASH);
        return;
    }
    sim_trace("-- %s reaches only n%u", leader->name, spared);
    world.counts[FAULT_PARTITION]++;
    for (unsigned n = 1; n <= count; n++) {
        if (n == leader->number || n == spared) continue;
        cut(leader->number, n, true);
        if (draw(2)) cut(n, leader->number, true);
    }
}

static void calm_down(void)
{
    sim_trace("-- calm");
    world.calm = true;
    heal();
    for (size_t n = 1; n <= world.node_count; n++) {
        nodes[n].paused_until_ms = nodes[n].full_until_ms = 0;
        if (nodes[n].node && nodes[n].rotten) died(&nodes[n], DEATH_CRASH);
        if (nodes[n].up_at_ms > world.now_ms + 500) nodes[n].up_at_ms = world.now_ms + 500;
    }
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
    if (!world.calm && world.now_ms >= world.fault_at_ms) fault();
}

static void run_until(uint64_t until_ms)
{
    while (world.now_ms < until_ms) step();
}

static bool settled(void)
{
    const struct raft_config *config = config_now();
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

/* Faults have ended: whoever asks is answered again, all come to the same state, and nothing that nobody
 * renews is left. */
static void live_on(void)
{
    calm_down();
    size_t before = clients_succeeded();
    world.answers_from_ms = all_turns_end_ms() + RECOVERY_MS;
    run_until(world.answers_from_ms + 8000);
    for (uint64_t limit_ms = world.now_ms + 20000; clients_succeeded() == before; step())
        if (world.now_ms >= limit_ms) sim_fail("no request succeeds in the calm");
    clients_stop();
    uint64_t limit_ms = world.now_ms + CALM_MS;
    while (world.now_ms < limit_ms &&
           (judge_leases() || !clients_idle() || !settled() || !readers_arrived()))
        step();
    if (!clients_idle()) sim_fail("a client got no answer");
    if (judge_leases()) sim_fail("%zu leases are left that nobody renews", judge_leases());
    if (!settled()) sim_fail("the nodes do not come to the same state");
    readers_end();
    judge_end();
}

/* What a seed has much of. */
static void draw_swarm(struct faults *faults)
{
    if (draw(100) == 0) faults->storm = 2500;
    switch (draw(8)) {
    case 0: /* members come and go over a slow network */
        faults->changes = faults->partitions = true;
        faults->operators = 3;
        faults->latency_ms = 10 + draw(150);
        faults->pace_ms = 1500;
        break;
    case 1: /* elections */
        faults->partitions = faults->crashes = true;
        faults->pace_ms = 700;
        faults->restart_ms = 400;
        faults->clog = 30;
        faults->delayed = 1500;
        faults->delay_ms = 4000;
        faults->operators = 2;
        break;
    case 4: /* logs that grow fast and apart: who was away needs a snapshot */
        faults->crashes = faults->changes = true;
        faults->restart_ms = 9000;
        faults->fat = 1000;
        faults->partitions = true;
        faults->log_keep_bytes = 0;
        faults->pace_ms = 1500;
        break;
    case 2: /* disks */
        faults->full_disks = true;
        faults->delayed = 1500;
        faults->delay_ms = 3000;
        faults->crash = 20 + (unsigned)draw(150);
        faults->restart_ms = 300;
        break;
    case 3: /* leaders */
        faults->hunt = 20 + (unsigned)draw(300);
        faults->restart_ms = 600;
        faults->pace_ms = 1500;
        break;
    default:
        break;
    }
}

static void draw_faults(void)
{
    struct faults *faults = &world.faults;
    bool gentle = draw(8) == 0;
    *faults = (struct faults){.lost = gentle ? 0 : (unsigned)draw(draw(2) ? 300 : 2000),
                              .doubled = (unsigned)draw(500),
                              .delayed = (unsigned)draw(draw(2) ? 100 : 1500),
                              .crash = draw(2) ? (unsigned)draw(20) : 0,
                              .eio = draw(4) ? 0 : (unsigned)draw(20),
                              .slow = draw(3) ? 0 : (unsigned)draw(100),
                              .partitions = !gentle && draw(4),
                              .pauses = draw(3) == 0,
                              .full_disks = draw(4) == 0,
                              .crashes = draw(3),
                              .changes = draw(2),
                              .wall_jumps = draw(2),
                              .drift = draw(2),
                              .rot = draw(2),
                              .wild_clocks = draw(16) == 0,
                              .log_keep_bytes = draw(3) * RAFTLOG_SEGMENT_BYTES_MIN,
                              .pace_ms = draw(3) ? 4000 : 700,
                              .latency_ms = 4,
                              .delay_ms = 400,
                              .restart_ms = 6000,
                              .operators = 1,
                              .clog = 10};
    draw_swarm(faults);
}

static void live(uint64_t seed)
{
    static const size_t sizes[] = {3, 3, 2, 5, 5, 1, 4, 7};
    world.seed = seed;
    world.random = seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
    for (int i = 0; i < 8; i++) draw(2);
    draw_faults();
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
