// links: lib support
/* Logs that begin anew: behind a snapshot, behind what was trimmed. */
#include "tests/unit/raft_rules.h"

enum { T = NET_ELECTION_MS };

/* A leader of three whose log begins late, and a peer that was away and needs a snapshot; nothing said yet.
 */
static struct net *behind(uint64_t seed, uint64_t *leader, uint64_t *peer)
{
    struct net *net = elected(3, seed);
    *leader = net_leader(net);
    *peer = *leader % 3 + 1;
    net_isolate(net, *peer, true);
    for (uint64_t i = 0; i < 50; i++) assert_true(net_propose(net, *leader, i) != 0);
    net_pass(net, 100);
    net_sync(net, *leader);
    net_trim(net, *leader, net->nodes[*leader].applied - 5);
    return net;
}

/* 53: the follower's next entry is gone: it gets a snapshot, then the rest. */
static void who_is_too_far_behind_gets_a_snapshot(void **state)
{
    (void)state;
    uint64_t leader, peer;
    struct net *net = behind(9, &leader, &peer);
    net_isolate(net, peer, false);
    net_pass(net, 100);
    assert_int_equal(net->snapshots, 1);
    assert_int_equal(net_leader(net), leader);
    assert_true(net_propose(net, leader, 1) != 0);
    net_turn(net, leader);
    net_deliver_all(net);
    assert_int_equal(net->nodes[peer].applied, net->committed_last);
    assert_int_equal(peer_status(net, leader, peer).state, RAFT_PEER_REPLICATE);
    net_crash(net, peer); /* and it starts from what it got */
    net_start(net, peer);
    net_pass(net, 100);
    assert_int_equal(net->nodes[peer].applied, net->committed_last);
    net_free(net);
}

/* While it waits for the snapshot its answers count: for the look at the quorum and for rounds. */
static void who_needs_a_snapshot_still_counts(void **state)
{
    (void)state;
    uint64_t leader, peer;
    struct net *net = behind(9, &leader, &peer);
    uint64_t third = 6 - leader - peer;
    struct raft *raft = net->nodes[leader].raft;
    net_isolate(net, peer, false);
    net_crash(net, third);
    uint64_t round = 0;
    for (int i = 0; i < 40; i++) { /* no snapshot is sent here */
        net->now_ms += NET_HEARTBEAT_MS;
        raft_tick(raft, net->now_ms);
        if (i == 35) round = raft_read(raft);
        net_turn(net, leader);
        net_deliver_all(net);
    }
    assert_int_equal(raft_status(raft).role, RAFT_LEADER);
    assert_int_equal(peer_status(net, leader, peer).state, RAFT_PEER_NEEDS_SNAPSHOT);
    assert_true(peer_status(net, leader, peer).heard_ms == net->now_ms);
    assert_true(round && raft_round_confirmed(raft) >= round);
    assert_int_equal(net->nodes[peer].applied, net->nodes[peer].commit_seen);
    net_free(net);
}

/* 28, 54: what a peer is said to have got counts only in the leader's term, never for less than is known. */
static void reports_of_snapshots_are_checked(void **state)
{
    (void)state;
    uint64_t leader, peer;
    struct net *net = behind(9, &leader, &peer);
    struct raft *raft = net->nodes[leader].raft;
    struct raft_status status = raft_status(raft);
    struct raft_peer_status before = peer_status(net, leader, peer);
    raft_snapshot_done(raft, peer, status.term - 1, status.commit);
    raft_snapshot_done(raft, peer, status.term, status.commit + 1);
    raft_snapshot_done(raft, 99, status.term, status.commit);
    assert_int_equal(peer_status(net, leader, peer).match, before.match);
    raft_snapshot_done(raft, peer, status.term, status.commit);
    assert_int_equal(peer_status(net, leader, peer).match, status.commit);
    assert_int_equal(peer_status(net, leader, peer).state, RAFT_PEER_REPLICATE);
    raft_snapshot_done(raft, peer, status.term, status.commit - 3); /* an older one, late */
    assert_int_equal(peer_status(net, leader, peer).match, status.commit);
    assert_int_equal(peer_status(net, leader, peer).next, status.last_index + 1);
    net_free(net);
}

static struct raft_base base_of(uint64_t index, uint64_t term, uint64_t member)
{
    struct raft_base base = {.index = index, .term = term, .chain = 4711};
    base.config.members[0] = (struct raft_member){.node = 2, .membership = RAFT_VOTER};
    base.config.members[1] = (struct raft_member){.node = member, .membership = RAFT_VOTER};
    base.config.member_count = 2;
    return base;
}

static void install(struct net *net, const struct raft_base *base)
{
    struct net_node *node = &net->nodes[1];
    node->base = *base;
    node->last = node->synced = node->applied = node->hard.commit = base->index;
    net->committed_last = net->applied_last = base->index; /* elsewhere */
    net->committed_terms[base->index] = base->term;
    net->committed_chains[base->index] = base->chain;
    raft_install(node->raft, base);
    raft_check(node->raft);
}

/* 48: a snapshot brings its configuration; 56: nothing of the former log stays. */
static void a_snapshot_replaces_log_and_configuration(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft_entry entries[3] = {{.term = 1, .kind = RAFT_NOOP}, {.term = 1, .kind = RAFT_NOOP}};
    assert_int_equal(answer(net, append(net, 2, 1, entries, 2)).index, 2);
    answer(net, (struct raft_message){.kind = RAFT_APPEND, .from = 2, .to = 1, .term = 5});
    struct raft_base base = base_of(40, 5, 1);
    assert_false(raft_has(net->nodes[1].raft, 40, 5));
    install(net, &base);
    struct raft_status status = net_status(net, 1);
    assert_true(status.last_index == 40 && status.last_term == 5 && status.commit == 40);
    assert_int_equal(status.change_index, 40);
    assert_int_equal(raft_committed(net->nodes[1].raft), 40);
    assert_int_equal(net_membership(net, 1, 3), 0);
    assert_null(raft_entry_at(net->nodes[1].raft, 1));
    entries[0].term = entries[1].term = 6;
    struct raft_message reply = answer(net, append(net, 2, 6, entries, 2));
    assert_true(!reply.reject && reply.index == 42);
    assert_int_equal(net->nodes[1].last, 42);
    net_free(net);
}

/* Votes compare with the snapshot's end when nothing follows it. */
static void votes_know_the_snapshot(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    answer(net, (struct raft_message){.kind = RAFT_APPEND, .from = 2, .to = 1, .term = 5});
    struct raft_base base = base_of(40, 5, 1);
    install(net, &base);
    net->now_ms += T;
    assert_true(answer(net, vote(2, 6, 39, 5)).reject);
    assert_true(answer(net, vote(2, 7, 99, 4)).reject);
    assert_false(answer(net, vote(2, 8, 40, 5)).reject);
    net_free(net);
}

/* 23: what lies at or below the beginning is committed, so it matches; what overlaps is taken from there on.
 */
static void appends_below_the_beginning_match(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft_entry entries[6] = {{0}};
    for (size_t i = 0; i < 6; i++) entries[i] = (struct raft_entry){.term = 1, .kind = RAFT_NOOP};
    struct raft_message all = append(net, 2, 1, entries, 6), some = all;
    some.entry_count = 4;
    some.commit = 4;
    assert_int_equal(answer(net, some).index, 4);
    raft_applied(net->nodes[1].raft, 4, 0);
    net_sync(net, 1);
    net_trim(net, 1, 3);
    assert_int_equal(answer(net, all).index, 6);
    assert_int_equal(net_status(net, 1).last_index, 6);
    some.entry_count = 2; /* all of it below */
    struct raft_message reply = answer(net, some);
    assert_true(!reply.reject && reply.index == 2);
    assert_int_equal(net_status(net, 1).last_index, 6);
    net_free(net);
}

/* 54, 56: a snapshot is not needed when the log has its end, durably and of that term, or begins behind it.
 */
static void a_log_knows_what_it_has(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft *raft = net->nodes[1].raft;
    struct raft_entry entries[4] = {{0}};
    for (size_t i = 0; i < 4; i++) entries[i] = (struct raft_entry){.term = 2, .kind = RAFT_NOOP};
    struct raft_message message = append(net, 2, 2, entries, 4);
    raft_receive(raft, &message, net->now_ms);
    assert_false(raft_has(raft, 3, 2)); /* not saved */
    net_turn(net, 1);
    assert_false(raft_has(raft, 3, 1)); /* another entry */
    assert_false(raft_has(raft, 5, 2)); /* beyond */
    assert_int_equal(net_status(net, 1).commit, 0);
    assert_true(raft_has(raft, 3, 2));
    assert_int_equal(net_status(net, 1).commit, 3); /* for there is a snapshot of it */
    assert_true(raft_has(raft, 2, 2));
    assert_int_equal(net_status(net, 1).commit, 3);
    assert_false(raft_has(raft, 4, 1));
    net_turn(net, 1);
    net_sync(net, 1);
    net_trim(net, 1, 3);
    assert_true(raft_has(raft, 1, 2));
    net_free(net);
}

/* 22: a snapshot never takes back what is committed; a leader needs none. */
static void install_committed(void *net)
{
    struct raft_base base = base_of(3, 2, 1);
    raft_install(((struct net *)net)->nodes[1].raft, &base);
}

static void install_at_leader(void *net)
{
    struct raft_base base = base_of(1000, 1, 1);
    raft_install(((struct net *)net)->nodes[1].raft, &base);
}

static void senseless_snapshots_end_the_process(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    answer(net, (struct raft_message){.kind = RAFT_APPEND, .from = 2, .to = 1, .term = 5});
    struct raft_base base = base_of(40, 5, 1);
    install(net, &base);
    aborts(install_committed, net);
    net_free(net);
    net = elected(1, 1);
    aborts(install_at_leader, net);
    net_free(net);
}

/* A trimmed log knows terms and chains from its beginning on, and the configuration of each place. */
static void a_trimmed_log_knows_its_places(void **state)
{
    (void)state;
    struct net *net = elected(1, 1);
    struct raft *raft = net->nodes[1].raft;
    uint64_t term, spare = net_add(net), first = net_status(net, 1).last_index;
    uint32_t chain, base_chain;
    assert_int_equal(net_change(net, 1, spare, RAFT_OBSERVER), RAFT_ACCEPTED);
    net_pass(net, 50);
    assert_int_equal(net_change(net, 1, spare, 0), RAFT_ACCEPTED);
    net_pass(net, 50);
    uint64_t last = net_status(net, 1).last_index;
    assert_int_equal(last, first + 2);
    assert_int_equal(raft_config_at(raft, first)->member_count, 1);
    assert_int_equal(raft_config_at(raft, first + 1)->member_count, 2);
    assert_int_equal(raft_config_at(raft, last)->member_count, 1);
    assert_true(raft_place(raft, first + 1, &term, &base_chain));
    net_sync(net, 1);
    net_trim(net, 1, first + 1);
    assert_false(raft_place(raft, first, &term, &chain));
    assert_true(raft_place(raft, first + 1, &term, &chain) && chain == base_chain);
    assert_true(raft_place(raft, last, &term, &chain) && term == net_status(net, 1).term);
    assert_false(raft_place(raft, last + 1, &term, &chain));
    assert_int_equal(raft_config_at(raft, first + 1)->member_count, 2);
    assert_int_equal(raft_config_at(raft, last)->member_count, 1);
    net_crash(net, 1);
    net_start(net, 1);
    assert_int_equal(raft_config_at(net->nodes[1].raft, first + 1)->member_count, 2);
    assert_int_equal(raft_config_in_force(net->nodes[1].raft)->member_count, 1);
    net_free(net);
}

/* A new leader whose peers need what it trimmed long ago. */
static void a_node_joins_by_a_snapshot(void **state)
{
    (void)state;
    uint64_t leader, peer;
    struct net *net = behind(9, &leader, &peer);
    net_isolate(net, peer, false);
    net_pass(net, 200);
    uint64_t fourth = net_add(net);
    assert_int_equal(net_change(net, leader, fourth, RAFT_LEARNER), RAFT_ACCEPTED);
    net_pass(net, 300);
    assert_int_equal(net->snapshots, 2);
    assert_int_equal(net_membership(net, fourth, fourth), RAFT_VOTER);
    assert_int_equal(net->nodes[fourth].applied, net->committed_last);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_too_far_behind_gets_a_snapshot),
        cmocka_unit_test(who_needs_a_snapshot_still_counts),
        cmocka_unit_test(reports_of_snapshots_are_checked),
        cmocka_unit_test(a_snapshot_replaces_log_and_configuration),
        cmocka_unit_test(votes_know_the_snapshot),
        cmocka_unit_test(appends_below_the_beginning_match),
        cmocka_unit_test(a_log_knows_what_it_has),
        cmocka_unit_test(senseless_snapshots_end_the_process),
        cmocka_unit_test(a_trimmed_log_knows_its_places),
        cmocka_unit_test(a_node_joins_by_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
