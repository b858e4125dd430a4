// links: lib support
/* Many short lives of one to five founders and up to four more nodes under loss, duplication, reordering,
 * partitions (also of one direction), crashes between any two steps, changes of the members, transfers,
 * compaction and snapshots; the net checks every promise after every step. Then everything heals, and there
 * must be progress. One seed is one life: RAFT_SEED runs just that one, RAFT_SEEDS how many. */
#include "tests/support/raft_net.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t any_node(struct net *net)
{
    return 1 + net_random(net, net->count);
}

static void fault(struct net *net)
{
    uint64_t a = any_node(net), b = any_node(net);
    switch (net_random(net, 8)) {
    case 0:
        net_crash(net, a);
        break;
    case 1:
        net_output_then_crash(net, a, net_random(net, 2));
        break;
    case 2:
        net->cut[a][b] = true;
        break;
    case 3:
        net_isolate(net, a, true);
        break;
    case 4: /* it does not see that its time is over */
        net->slow = net_leader(net);
        if (net->slow && net_random(net, 2)) net_isolate(net, net->slow, true);
        break;
    default:
        net->slow = 0;
        memset(net->cut, 0, sizeof net->cut);
    }
}

static void message_fate(struct net *net)
{
    uint64_t dice = net_random(net, 20);
    size_t place = net_random(net, 4) ? 0 : (size_t)net_random(net, net->queued);
    if (dice == 0)
        net_drop(net, place);
    else if (dice == 1)
        net_duplicate(net, place);
    else if (dice < 5)
        net_give(net, place); /* the turn comes later, with more of them */
    else
        net_deliver(net, place);
}

static void change(struct net *net, uint64_t id)
{
    uint64_t other = any_node(net), dice = net_random(net, 10);
    if (dice == 0 && net->count < NET_NODES_MAX)
        net_add(net);
    else
        net_change(net, id, other,
                   dice < 4   ? RAFT_LEARNER
                   : dice < 5 ? RAFT_OBSERVER
                   : dice < 7 ? RAFT_VOTER
                              : 0);
    net_turn(net, id);
}

static void duties(struct net *net, uint64_t id)
{
    struct net_node *node = &net->nodes[id];
    uint64_t dice = net_random(net, 8);
    if (dice < 3) {
        net_tend(net, id);
    } else if (dice < 4) {
        net_sync(net, id);
    } else if (dice < 5) {
        net_trim(net, id, node->base.index + net_random(net, node->synced - node->base.index + 1));
    } else if (dice < 7) {
        change(net, id);
    } else {
        uint64_t to = net_random(net, 2) ? any_node(net) : 0;
        net->transfers += raft_transfer(node->raft, to) == RAFT_ACCEPTED;
    }
    net_turn(net, id);
}

static void step(struct net *net, uint64_t rare)
{
    uint64_t id = any_node(net), dice = net_random(net, 100), leader = net_leader(net);
    if (leader && net_random(net, 3) == 0) id = leader; /* most of all happens there */
    struct net_node *node = &net->nodes[id];
    if (net_random(net, rare) == 0)
        fault(net);
    else if (dice < 66 && net->queued)
        message_fate(net);
    else if (!node->raft)
        net_start(net, id);
    else if (dice < 78) {
        net->now_ms += net_random(net, 20);
        if (id != net->slow) raft_tick(node->raft, net->now_ms);
        net_turn(net, id);
    } else if (dice < 83) {
        net_read(net, id);
        net_turn(net, id);
    } else if (dice < 91) {
        duties(net, id);
    } else {
        for (uint64_t i = net_random(net, 5); i && node->last < NET_LOG_MAX - 100; i--)
            net_propose(net, id, net_random(net, 1u << 30) + 1);
        if (net_random(net, 2)) net_turn(net, id);
    }
}

static void heal(struct net *net, uint64_t seed)
{
    net->slow = 0;
    memset(net->cut, 0, sizeof net->cut);
    for (uint64_t id = 1; id <= net->count; id++)
        if (!net->nodes[id].raft) net_start(net, id);
    uint64_t committed = net->committed_last;
    net_pass(net, 20 * NET_ELECTION_MS);
    uint64_t leader = net_leader(net);
    uint64_t index = leader ? net_propose(net, leader, seed) : 0;
    net_turn(net, leader ? leader : 1);
    net_deliver_all(net);
    if (!index || net->committed_last < index || index <= committed)
        fail_msg("seed %llu: no progress after healing", (unsigned long long)seed);
    for (uint64_t id = 1; id <= net->count; id++) /* told at once, not by a heartbeat */
        if (net_membership(net, leader, id) && net->nodes[id].applied < index)
            fail_msg("seed %llu: node %llu did not follow", (unsigned long long)seed, (unsigned long long)id);
}

static void live(uint64_t seed, struct net *totals)
{
    static const size_t founders[] = {3, 3, 3, 5, 2, 1};
    static const uint64_t keeps[] = {0, 3, NET_LOG_MAX}, rares[] = {200, 60, 1000};
    struct net *net = net_new(founders[seed % 6], seed);
    net->keep = keeps[seed / 6 % 3];
    net->batch_bytes_max = seed / 18 % 2 ? 64 : 4096;
    for (uint64_t i = net_random(net, 3); i; i--) net_add(net);
    for (int i = 0; i < 3000; i++) step(net, rares[seed / 36 % 3]);
    heal(net, seed);
    totals->committed_last += net->committed_last;
    totals->snapshots += net->snapshots;
    totals->changes += net->changes;
    totals->transfers += net->transfers;
    totals->reads += net->reads;
    net_free(net);
}

static void promises_hold_in_every_life(void **state)
{
    (void)state;
    const char *one = getenv("RAFT_SEED"), *many = getenv("RAFT_SEEDS");
    uint64_t count = many ? strtoull(many, NULL, 10) : 1000;
    uint64_t first = one ? strtoull(one, NULL, 10) : 1, last = one ? first : count;
    struct net *totals = calloc(1, sizeof *totals);
    for (uint64_t seed = first; seed <= last; seed++) {
        if (getenv("RAFT_TELL")) fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        live(seed, totals); /* a CHECK that fails aborts: RAFT_TELL says in which life */
    }
    uint64_t lives = last - first + 1;
    printf("%llu lives: %llu entries committed, %llu snapshots installed, %llu changes, %llu transfers, %llu "
           "reads\n",
           (unsigned long long)lives, (unsigned long long)totals->committed_last,
           (unsigned long long)totals->snapshots, (unsigned long long)totals->changes,
           (unsigned long long)totals->transfers, (unsigned long long)totals->reads);
    if (!one) /* the lives are worth something */
        assert_true(totals->snapshots > lives && totals->changes > 4 * lives && totals->transfers > lives &&
                    totals->reads > 20 * lives);
    free(totals);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(promises_hold_in_every_life)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
