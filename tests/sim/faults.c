/* What goes wrong, and how often: drawn from the seed. */
#include "tests/sim/sim.h"

#include "base/check.h"

enum { REMOVAL_MS = 10000 };

/* --- the cluster --- */

/* Whether a quorum is left when that one's disk is lost for good: all voters are up, and there are three, of
 * which none is just being removed. */
static bool can_lose(const struct sim_node *lost)
{
    const struct raft_config *config = sim_config();
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
    if (sim->node) sim_died(sim, DEATH_CRASH);
    if (!damaged) sim_wipe(sim);
}

static void clog_a_link(void)
{
    unsigned from = 1 + (unsigned)draw(world.node_count), to = 1 + (unsigned)draw(world.node_count);
    world.counts[FAULT_CLOGGED]++;
    nodes[from].clogged_until_ms[to] = world.now_ms + draw(5000);
}

void faults_one(void)
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
        sim_died(sim, DEATH_CRASH);
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
void faults_hunt(struct sim_node *leader)
{
    unsigned count = (unsigned)world.node_count, spared = 1 + (unsigned)draw(count);
    if (draw(3) == 0) {
        world.counts[FAULT_CRASH]++;
        sim_died(leader, DEATH_CRASH);
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

void faults_calm_down(void)
{
    sim_trace("-- calm");
    world.calm = true;
    heal();
    for (size_t n = 1; n <= world.node_count; n++) {
        nodes[n].paused_until_ms = nodes[n].full_until_ms = 0;
        if (nodes[n].node && nodes[n].rotten) sim_died(&nodes[n], DEATH_CRASH);
        if (nodes[n].up_at_ms > world.now_ms + 500) nodes[n].up_at_ms = world.now_ms + 500;
    }
}

/* --- which faults a life has --- */

/* What a seed has much of. */
static void draw_swarm(struct faults *faults)
{
    static const unsigned queues[] = {0, 15, 15, 70};
    faults->queues = queues[draw(4)];
    if (draw(8) == 0) faults->groups = 50;
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

void faults_draw(void)
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
