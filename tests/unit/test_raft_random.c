// links: lib support
/* Many short lives of 3 and 5 nodes under loss, duplication, reordering, partitions and crashes between any
 * two steps; the net checks every promise after every step. Then everything heals, and there must be
 * progress. One seed is one life: RAFT_SEED runs just that one, RAFT_SEEDS how many. */
#include "tests/support/raft_net.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

static void fault(struct net *net)
{
    uint64_t a = 1 + net_random(net, net->count), b = 1 + net_random(net, net->count);
    switch (net_random(net, 6)) {
    case 0:
        net_crash(net, a);
        break;
    case 1:
        net_output_then_crash(net, a);
        break;
    case 2:
        net->cut[a][b] = true;
        break;
    case 3:
        for (uint64_t id = 1; id <= net->count; id++) net->cut[a][id] = net->cut[id][a] = true;
        break;
    default:
        memset(net->cut, 0, sizeof net->cut);
    }
}

static void message_fate(struct net *net)
{
    size_t place = (size_t)net_random(net, net->queued);
    uint64_t dice = net_random(net, 20);
    if (dice == 0)
        net_drop(net, place);
    else if (dice == 1)
        net_duplicate(net, place);
    else
        net_deliver(net, net_random(net, 4) ? 0 : place);
}

static void step(struct net *net)
{
    uint64_t id = 1 + net_random(net, net->count), dice = net_random(net, 100);
    struct net_node *node = &net->nodes[id];
    if (dice < 70 && net->queued)
        message_fate(net);
    else if (dice < 72)
        fault(net);
    else if (!node->raft)
        net_start(net, id);
    else if (dice < 85) {
        net->now_ms += net_random(net, 30);
        raft_tick(node->raft, net->now_ms);
        net_turn(net, id);
    } else if (dice < 90) {
        raft_read(node->raft);
        net_turn(net, id);
    } else {
        for (uint64_t i = net_random(net, 5); i && node->last < NET_LOG_MAX - 100; i--)
            net_propose(net, id, net_random(net, 1u << 30) + 1);
        net_turn(net, id);
    }
}

static void heal(struct net *net, uint64_t seed)
{
    memset(net->cut, 0, sizeof net->cut);
    for (uint64_t id = 1; id <= net->count; id++)
        if (!net->nodes[id].raft) net_start(net, id);
    uint64_t committed = net->committed_last;
    net_pass(net, 2000);
    uint64_t leader = net_leader(net);
    uint64_t index = leader ? net_propose(net, leader, seed) : 0;
    net_turn(net, leader ? leader : 1);
    net_deliver_all(net);
    net_pass(net, 500);
    if (!index || net->committed_last < index || index <= committed)
        fail_msg("seed %llu: no progress after healing", (unsigned long long)seed);
    for (uint64_t id = 1; id <= net->count; id++) assert_true(net->nodes[id].applied == net->committed_last);
}

static void live(uint64_t seed)
{
    struct net *net = net_new(seed % 3 ? 3 : 5, seed);
    for (int i = 0; i < 1500; i++) step(net);
    heal(net, seed);
    net_free(net);
}

static void promises_hold_in_every_life(void **state)
{
    (void)state;
    const char *one = getenv("RAFT_SEED"), *many = getenv("RAFT_SEEDS");
    uint64_t count = many ? strtoull(many, NULL, 10) : 400;
    uint64_t first = one ? strtoull(one, NULL, 10) : 1, last = one ? first : count;
    for (uint64_t seed = first; seed <= last; seed++) {
        fprintf(stderr, "%s", seed % 100 ? "" : "."); /* a CHECK that fails aborts: see RAFT_SEED */
        live(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(promises_hold_in_every_life)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
