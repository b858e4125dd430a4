// links: lib support
/* Members come and go one at a time, and never in a way that lets two quorums miss each other. */
#include "base/buffer.h"
#include "tests/unit/raft_rules.h"

enum { T = NET_ELECTION_MS };

static uint64_t other_than(uint64_t a, uint64_t b)
{
    for (uint64_t id = 1;; id++)
        if (id != a && id != b) return id;
}

/* The leader proposes the change, everything is delivered, it is committed. */
static void changed(struct net *net, uint64_t node, int membership)
{
    uint64_t leader = net_leader(net);
    assert_int_equal(net_change(net, leader, node, membership), RAFT_ACCEPTED);
    net_turn(net, leader);
    net_deliver_all(net);
    net_pass(net, NET_HEARTBEAT_MS);
}

static void proposed(struct net *net, uint64_t leader, size_t count)
{
    for (size_t i = 0; i < count; i++) assert_true(net_propose(net, leader, i) != 0);
    net_turn(net, leader);
    net_deliver_all(net);
}

/* A node that waits to be added stands for nothing, answers whom it does not know, and is a voter once it has
 * caught up. */
static void a_waiting_node_becomes_a_voter(void **state)
{
    (void)state;
    struct net *net = elected(3, 1);
    uint64_t leader = net_leader(net);
    net->keep = 2;
    proposed(net, leader, 300);
    uint64_t fourth = net_add(net);
    net_pass(net, 1000);
    assert_true(net_status(net, fourth).term == 0 && net_status(net, fourth).last_index == 0);
    assert_int_equal(net_change(net, leader, fourth, RAFT_LEARNER), RAFT_ACCEPTED);
    net_pass(net, 500); /* the net promotes whom raft_learner_ready names */
    assert_int_equal(net_leader(net), leader);
    for (uint64_t id = 1; id <= 4; id++) {
        assert_int_equal(net_membership(net, id, fourth), RAFT_VOTER);
        assert_int_equal(net->nodes[id].applied, net->committed_last);
    }
    net_isolate(net, leader, true); /* 49 of the rest: three of four go on */
    net_pass(net, 500);
    assert_true(net_leader(net) != leader);
    proposed(net, net_leader(net), 1);
    net_free(net);
}

/* Learners and observers have the log, but count for nothing: not for commits, rounds, the look at the
 * quorum; and they never stand. */
static void learners_count_for_nothing(void **state)
{
    (void)state;
    struct net *net = elected(3, 2);
    uint64_t leader = net_leader(net), a = other_than(leader, 0), b = other_than(leader, a);
    uint64_t observer = net_add(net), second = net_add(net);
    changed(net, observer, RAFT_OBSERVER);
    changed(net, second, RAFT_OBSERVER);
    assert_int_equal(raft_learner_ready(net->nodes[leader].raft), 0);
    net_isolate(net, a, true);
    net_isolate(net, b, true);
    uint64_t commit = net_status(net, leader).commit, round = raft_read(net->nodes[leader].raft);
    uint64_t index = net_propose(net, leader, 1);
    net_turn(net, leader);
    net_deliver_all(net);
    assert_int_equal(peer_status(net, leader, observer).match, index);
    assert_int_equal(net_status(net, leader).commit, commit);
    assert_true(raft_round_confirmed(net->nodes[leader].raft) < round);
    net_pass(net, 2 * T);
    assert_int_equal(net_leader(net), 0);
    uint64_t term = net_status(net, observer).term;
    net_pass(net, 20 * T);
    for (uint64_t id = observer; id <= second; id++) {
        assert_int_equal(net_status(net, id).role, RAFT_FOLLOWER);
        assert_int_equal(net_status(net, id).term, term);
    }
    net_isolate(net, a, false);
    net_pass(net, 500);
    assert_true(net_leader(net) != 0);
    assert_int_equal(net->nodes[observer].applied, net->committed_last);
    net_free(net);
}

/* 44: before an entry of its own term is committed, a leader changes nothing. */
static void a_new_leader_changes_nothing_yet(void **state)
{
    (void)state;
    struct net *net = net_new(1, 1);
    uint64_t other = net_add(net);
    assert_int_equal(net_change(net, 1, other, RAFT_LEARNER), RAFT_NOT_LEADER);
    raft_tick(net->nodes[1].raft, net->now_ms);
    assert_int_equal(net_status(net, 1).role, RAFT_LEADER);
    assert_int_equal(net_change(net, 1, other, RAFT_LEARNER), RAFT_NOT_READY);
    net_turn(net, 1);
    assert_int_equal(net_change(net, 1, other, RAFT_LEARNER), RAFT_ACCEPTED);
    net_free(net);
}

/* 45: one change at a time, also when the pending one came from the leader before. */
static void one_change_at_a_time(void **state)
{
    (void)state;
    struct net *net = elected(3, 3);
    uint64_t leader = net_leader(net), a = other_than(leader, 0), b = other_than(leader, a);
    uint64_t one = net_add(net), two = net_add(net);
    assert_int_equal(net_change(net, leader, one, RAFT_OBSERVER), RAFT_ACCEPTED);
    assert_int_equal(net_change(net, leader, two, RAFT_OBSERVER), RAFT_CHANGE_PENDING);
    assert_true(net_status(net, leader).change_index > net_status(net, leader).commit);
    net->cut[leader][b] = true;
    net_turn(net, leader);
    while (net->queued && net_status(net, a).change_index == 0)
        net_deliver(net, 0); /* a has it, uncommitted */
    forget_messages(net);
    net_isolate(net, leader, true);
    while (net_leader(net) != a) {
        net->now_ms += 10;
        raft_tick(net->nodes[a].raft, net->now_ms);
        net_turn(net, a);
        while (net->queued && net_leader(net) != a) net_deliver(net, 0);
        if (net_status(net, b).term > net_status(net, a).term + 1) break;
    }
    assert_int_equal(net_leader(net), a);
    assert_int_equal(net_membership(net, a, one), RAFT_OBSERVER);
    enum raft_refusal why = net_change(net, a, two, RAFT_OBSERVER);
    assert_true(why == RAFT_NOT_READY || why == RAFT_CHANGE_PENDING);
    net_turn(net, a);
    net_deliver_all(net);
    assert_int_equal(net_change(net, a, two, RAFT_OBSERVER), RAFT_ACCEPTED);
    net_free(net);
}

static enum raft_refusal refused(struct net *net, uint64_t leader, const struct raft_config *next)
{
    enum raft_refusal why;
    assert_int_equal(raft_change(net->nodes[leader].raft, next, &why), 0);
    return why;
}

static void senseless_changes_are_refused(void **state)
{
    (void)state;
    struct net *net = elected(3, 4);
    uint64_t leader = net_leader(net), other = other_than(leader, 0), index = 0;
    const struct raft_config now = *raft_config_in_force(net->nodes[leader].raft);
    struct raft_config next = now;
    enum raft_refusal why;
    assert_int_equal(refused(net, leader, &next), RAFT_SENSELESS); /* no change */
    next.member_count = 1;
    memset(&next.members[1], 0, 2 * sizeof next.members[1]);
    assert_int_equal(refused(net, leader, &next), RAFT_SENSELESS); /* two leave */
    next = (struct raft_config){0};
    assert_int_equal(refused(net, leader, &next), RAFT_SENSELESS); /* nobody stays */
    next = now;
    next.members[3] = (struct raft_member){.node = 4, .membership = RAFT_VOTER};
    next.member_count = 4;
    assert_int_equal(refused(net, leader, &next), RAFT_SENSELESS); /* comes as a voter */
    next.members[3] = next.members[0];
    assert_int_equal(refused(net, leader, &next), RAFT_SENSELESS); /* twice the same */
    next.members[3] = (struct raft_member){.membership = RAFT_LEARNER};
    assert_int_equal(refused(net, leader, &next), RAFT_SENSELESS); /* node 0 */
    assert_int_equal(net_change(net, leader, other, RAFT_LEARNER), RAFT_SENSELESS);
    next = now;
    memcpy(next.members[1].address, "b:1", 4);
    index = raft_change(net->nodes[leader].raft, &next, &why);
    assert_true(index != 0 && why == RAFT_ACCEPTED);
    net_turn(net, leader);
    net_deliver_all(net);
    assert_string_equal(raft_config_in_force(net->nodes[other].raft)->members[1].address, "b:1");
    struct net *alone = elected(1, 1);
    assert_int_equal(net_change(alone, 1, 1, 0), RAFT_SENSELESS); /* the last voter */
    assert_int_equal(net_change(alone, 1, 1, RAFT_OBSERVER), RAFT_SENSELESS);
    net_free(alone);
    net_free(net);
}

static void there_are_at_most_nine_members_and_seven_voters(void **state)
{
    (void)state;
    struct net *net = elected(7, 4);
    uint64_t leader = net_leader(net), eighth = net_add(net);
    changed(net, eighth, RAFT_LEARNER);
    changed(net, net_add(net), RAFT_OBSERVER);
    net_pass(net, 500);
    assert_int_equal(net_membership(net, leader, eighth), RAFT_LEARNER); /* caught up, and no room */
    assert_int_equal(net_change(net, leader, eighth, RAFT_VOTER), RAFT_SENSELESS);
    assert_int_equal(raft_learner_ready(net->nodes[leader].raft), 0);
    assert_int_equal(net_change(net, leader, 10, RAFT_OBSERVER), RAFT_SENSELESS);
    net_free(net);
}

/* 50: who lags does not get a vote, nor does anyone while a quorum of the voters then does not answer. */
static void promotion_waits_until_it_is_safe(void **state)
{
    (void)state;
    struct net *net = elected(3, 5);
    uint64_t leader = net_leader(net), a = other_than(leader, 0), b = other_than(leader, a);
    uint64_t fourth = net_add(net);
    changed(net, fourth, RAFT_OBSERVER); /* so that the net does not promote it */
    net_isolate(net, fourth, true);
    proposed(net, leader, 300);
    net_isolate(net, fourth, false);
    assert_int_equal(net_change(net, leader, fourth, RAFT_VOTER), RAFT_BEHIND);
    net_pass(net, 100);
    net_crash(net, a);
    net_pass(net, 2 * T);                                            /* a is heard no more */
    assert_int_equal(net_change(net, leader, b, 0), RAFT_NO_QUORUM); /* two voters, one of them dead */
    net_crash(net, fourth);
    net_pass(net, 2 * T);
    assert_int_equal(net_leader(net), leader);
    assert_int_equal(net_change(net, leader, fourth, RAFT_VOTER), RAFT_BEHIND); /* dead */
    changed(net, a, 0);                                                         /* the dead one may go */
    assert_int_equal(net_change(net, leader, b, RAFT_OBSERVER), RAFT_ACCEPTED); /* alone: its own quorum */
    net_free(net);
}

/* 50: three voters, one dead: a fourth that answers may come; with two dead nothing is committed at all. */
static void a_fourth_may_come_while_a_quorum_answers(void **state)
{
    (void)state;
    struct net *net = elected(4, 5);
    uint64_t leader = net_leader(net), a = other_than(leader, 0), fifth = net_add(net);
    changed(net, fifth, RAFT_OBSERVER);
    net_pass(net, 100);
    net_crash(net, a);
    net_pass(net, 2 * T);
    assert_int_equal(net_leader(net), leader);
    assert_int_equal(net_change(net, leader, fifth, RAFT_VOTER), RAFT_ACCEPTED); /* four of five */
    net_free(net);
}

/* 49: a leader that removes itself does not count itself for it, leads until it is committed, and asks its
 * heir to stand at once. */
static void a_leader_removes_itself(void **state)
{
    (void)state;
    struct net *net = elected(3, 6);
    uint64_t leader = net_leader(net), a = other_than(leader, 0), term = net_status(net, leader).term;
    assert_int_equal(net_change(net, leader, leader, 0), RAFT_ACCEPTED);
    uint64_t index = net_status(net, leader).last_index;
    net_turn(net, leader);
    struct raft_message reply = {
        .kind = RAFT_APPEND_REPLY, .from = a, .to = leader, .term = term, .index = index};
    while (net->nodes[a].last < index) net_deliver(net, 0);
    forget_messages(net);
    raft_receive(net->nodes[leader].raft, &reply, net->now_ms);
    net_turn(net, leader);
    assert_int_equal(net_status(net, leader).commit, index - 1); /* one of two */
    assert_int_equal(net_status(net, leader).role, RAFT_LEADER);
    net->now_ms += NET_HEARTBEAT_MS;
    raft_tick(net->nodes[leader].raft, net->now_ms);
    net_turn(net, leader);
    net_deliver_all(net);
    assert_int_equal(net_status(net, leader).role, RAFT_FOLLOWER);
    assert_int_equal(net_status(net, leader).commit, index);
    net_turn(net, leader); /* no time passes */
    net_deliver_all(net);
    uint64_t heir = net_leader(net);
    assert_true(heir && heir != leader && net_status(net, heir).term == term + 1);
    assert_true(net_status(net, heir).ready);
    net_pass(net, 100 * T); /* 17: and the removed one disturbs nobody */
    assert_int_equal(net_leader(net), heir);
    assert_int_equal(net_status(net, heir).term, term + 1);
    assert_int_equal(net_status(net, leader).term, term);
    net_free(net);
}

/* The same by becoming an observer; it goes on following. */
static void a_leader_demotes_itself(void **state)
{
    (void)state;
    struct net *net = elected(3, 6);
    uint64_t leader = net_leader(net);
    changed(net, leader, RAFT_OBSERVER);
    net_pass(net, 500);
    assert_true(net_leader(net) && net_leader(net) != leader);
    assert_int_equal(net->nodes[leader].applied, net->committed_last);
    net_free(net);
}

/* A follower that is removed is told so for a while, and then left alone. */
static void a_removed_follower_hears_of_it(void **state)
{
    (void)state;
    struct net *net = elected(3, 6);
    uint64_t leader = net_leader(net), gone = other_than(leader, 0);
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    assert_int_equal(net_change(net, leader, gone, 0), RAFT_ACCEPTED);
    assert_int_equal(raft_peers(net->nodes[leader].raft, peers), 1);
    net_turn(net, leader);
    net_deliver_all(net);
    assert_int_equal(net_membership(net, gone, gone), 0);
    assert_true(net_status(net, gone).commit >= net_status(net, gone).change_index);
    net_pass(net, 3 * T);
    uint64_t votes = net->sent[RAFT_PRE_VOTE], index = net_status(net, gone).last_index;
    proposed(net, leader, 1);
    net_pass(net, 100 * T);
    assert_int_equal(net_status(net, gone).last_index, index);
    assert_int_equal(net->sent[RAFT_PRE_VOTE], votes);
    net_free(net);
}

/* 17: the answers of one that goes depose nobody, whatever its term. */
static void a_former_member_deposes_nobody(void **state)
{
    (void)state;
    struct net *net = elected(3, 6);
    uint64_t leader = net_leader(net), gone = other_than(leader, 0), term = net_status(net, leader).term;
    struct raft_message reply = {
        .kind = RAFT_APPEND_REPLY, .from = gone, .to = leader, .term = term + 1, .reject = true};
    assert_int_equal(net_change(net, leader, gone, 0), RAFT_ACCEPTED);
    net_turn(net, leader);
    raft_receive(net->nodes[leader].raft, &reply, net->now_ms);
    assert_int_equal(net_status(net, leader).role, RAFT_LEADER);
    reply.term = term; /* nor do they count */
    reply.reject = false;
    reply.index = net_status(net, leader).last_index;
    raft_receive(net->nodes[leader].raft, &reply, net->now_ms);
    assert_true(net_status(net, leader).commit < reply.index);
    assert_int_equal(raft_transfer(net->nodes[leader].raft, gone), RAFT_NO_QUORUM);
    net_deliver_all(net);
    assert_int_equal(net_change(net, leader, gone, RAFT_LEARNER), RAFT_ACCEPTED); /* and it may come back */
    net_turn(net, leader);
    net_deliver_all(net);
    net_pass(net, 10 * T);
    assert_int_equal(net_membership(net, gone, gone), RAFT_VOTER);
    assert_int_equal(net->nodes[gone].applied, net->committed_last);
    net_free(net);
}

/* 17: a server that never heard of its removal disturbs nobody, not even once its log is as long. */
static void a_removed_server_disturbs_nobody(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct net *net = elected(3, seed);
        uint64_t leader = net_leader(net), gone = other_than(leader, 0), term = net_status(net, leader).term;
        net_isolate(net, gone, true);
        changed(net, gone, 0);
        net_pass(net, 3 * T);
        net_isolate(net, gone, false);
        net_pass(net, 100 * T);
        assert_int_equal(net_leader(net), leader);
        assert_int_equal(net_status(net, leader).term, term);
        assert_int_equal(net_membership(net, gone, gone), RAFT_VOTER);
        net_free(net);
    }
}

/* 30: who is no member is answered all the same: it may be one in a configuration that is not here yet. */
static void strangers_get_votes(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    assert_false(answer(net, vote(77, 2, 0, 0)).reject);
    uint64_t waits = net_add(net);
    struct raft_message request = vote(77, 2, 0, 0);
    request.to = waits;
    raft_receive(net->nodes[waits].raft, &request, net->now_ms);
    forget_messages(net);
    net_turn(net, waits);
    assert_int_equal(net->queued, 1);
    assert_false(net->queue[0]->raft.reject);
    forget_messages(net);
    net_free(net);
}

/* A leader that is no member by a configuration that only this node has, and that was never committed: it is
 * told the term all the same, or this node would never follow anyone again. */
static void a_leader_that_is_a_stranger_hears_the_term(void **state)
{
    (void)state;
    struct net *net = elected(3, 6);
    uint64_t leader = net_leader(net), other = other_than(leader, 0);
    net_isolate(net, other, true);
    net_pass(net, 10);
    struct net_node *node = &net->nodes[other];
    net_crash(net, other);
    struct raft_config alone = {.member_count = 1};
    alone.members[0] = (struct raft_member){.node = other, .membership = RAFT_VOTER};
    struct buffer payload = {0};
    raft_config_encode(&alone, &payload);
    struct net_entry *entry = &node->log[++node->last];
    *entry = (struct net_entry){.term = node->hard.term, .kind = RAFT_CONFIG};
    entry->payload = arena_copy(&net->arena, buffer_slice(&payload));
    struct raft_entry placed = {
        .index = node->last, .term = entry->term, .kind = RAFT_CONFIG, .payload = entry->payload};
    entry->chain = raft_chain(node->log[node->last - 1].chain, &placed);
    buffer_free(&payload);
    node->hard.term += 3;
    net_start(net, other);
    struct raft_message heartbeat = {
        .kind = RAFT_APPEND, .from = leader, .to = other, .term = net_status(net, leader).term};
    forget_messages(net);
    raft_receive(node->raft, &heartbeat, net->now_ms);
    net_turn(net, other);
    assert_int_equal(net->queued, 1);
    assert_true(net->queue[0]->raft.reject && net->queue[0]->raft.term == node->hard.term);
    net_free(net);
}

/* A leader of two that removed itself and crashed before the other knew: without its vote the other cannot
 * win, so it stands itself, gets the other's vote, and goes for good (thesis 4.2.2). */
static void an_uncommitted_removal_stops_nobody(void **state)
{
    (void)state;
    struct net *net = elected(2, 6);
    uint64_t leader = net_leader(net), other = 3 - leader;
    assert_int_equal(net_change(net, leader, leader, 0), RAFT_ACCEPTED);
    net_isolate(net, leader, true);
    net_turn(net, leader);
    net_crash(net, leader);
    net_start(net, leader);
    assert_int_equal(net_membership(net, leader, leader), 0);
    net_isolate(net, leader, false);
    net_pass(net, 20 * T);
    assert_int_equal(net_leader(net), other);
    assert_int_equal(net_membership(net, other, leader), 0);
    assert_int_equal(raft_config_in_force(net->nodes[other].raft)->member_count, 1);
    proposed(net, other, 1);
    assert_int_equal(net_status(net, other).commit, net_status(net, other).last_index);
    net_free(net);
}

/* 46: truncated, a configuration gives way to the one before, also when that lies below the log's beginning.
 */
static void a_truncated_change_is_undone(void **state)
{
    (void)state;
    for (int trimmed = 0; trimmed < 2; trimmed++) {
        struct net *net = elected(3, 7);
        uint64_t leader = net_leader(net), spare = net_add(net);
        proposed(net, leader, 5);
        net_pass(net, 100);
        net_sync(net, leader);
        if (trimmed) net_trim(net, leader, net->nodes[leader].applied);
        net_isolate(net, leader, true);
        assert_int_equal(net_change(net, leader, spare, RAFT_OBSERVER), RAFT_ACCEPTED);
        net_turn(net, leader);
        net_pass(net, 10 * T);
        assert_int_equal(net_membership(net, leader, spare), RAFT_OBSERVER);
        net_crash(net, leader); /* 47: a restart takes the newest, committed or not */
        net_start(net, leader);
        assert_int_equal(net_membership(net, leader, spare), RAFT_OBSERVER);
        assert_true(net_status(net, leader).change_index > net_status(net, leader).commit);
        net_isolate(net, leader, false);
        net_pass(net, 10 * T);
        assert_int_equal(net_membership(net, leader, spare), 0);
        assert_true(net_status(net, leader).change_index <= net_status(net, leader).commit);
        net_free(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_waiting_node_becomes_a_voter),
        cmocka_unit_test(learners_count_for_nothing),
        cmocka_unit_test(a_new_leader_changes_nothing_yet),
        cmocka_unit_test(one_change_at_a_time),
        cmocka_unit_test(senseless_changes_are_refused),
        cmocka_unit_test(there_are_at_most_nine_members_and_seven_voters),
        cmocka_unit_test(promotion_waits_until_it_is_safe),
        cmocka_unit_test(a_fourth_may_come_while_a_quorum_answers),
        cmocka_unit_test(a_leader_removes_itself),
        cmocka_unit_test(a_leader_demotes_itself),
        cmocka_unit_test(a_removed_follower_hears_of_it),
        cmocka_unit_test(a_former_member_deposes_nobody),
        cmocka_unit_test(a_removed_server_disturbs_nobody),
        cmocka_unit_test(strangers_get_votes),
        cmocka_unit_test(a_leader_that_is_a_stranger_hears_the_term),
        cmocka_unit_test(an_uncommitted_removal_stops_nobody),
        cmocka_unit_test(a_truncated_change_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
