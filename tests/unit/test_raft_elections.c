// links: lib support
/* Elections: who may win, who is not disturbed, and that somebody wins in every topology. */
#include "tests/unit/raft_rules.h"

enum { T = NET_ELECTION_MS };

/* Time passes until some node leads in a term above `term` and has committed an entry of it; false when
 * `within_ms` is over before. */
static bool led_within(struct net *net, uint64_t term, uint64_t within_ms)
{
    for (uint64_t end = net->now_ms + within_ms; net->now_ms < end;) {
        net_pass(net, 10);
        for (uint64_t id = 1; id <= net->count; id++)
            if (net->nodes[id].raft && net_status(net, id).ready && net_status(net, id).term > term)
                return true;
    }
    return false;
}

/* 10, 17: who heard its leader lately neither votes nor pre-votes, whatever the term; after T it does. */
static void a_heard_leader_is_stuck_to(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft_message heartbeat = {.kind = RAFT_APPEND, .from = 2, .to = 1, .term = 1};
    assert_false(answer(net, heartbeat).reject);
    struct raft_message pre = vote(3, 2, 9, 9);
    pre.kind = RAFT_PRE_VOTE;
    net->now_ms += T - 1;
    assert_true(answer(net, pre).reject);
    no_answer(net, vote(3, 7, 9, 9));
    assert_int_equal(net_status(net, 1).term, 1);
    net->now_ms += 1;
    assert_false(answer(net, pre).reject);
    assert_int_equal(net_status(net, 1).term, 1);
    assert_false(answer(net, vote(3, 7, 9, 9)).reject);
    net_free(net);
}

/* 9: a pre-vote changes nothing durable, granted or refused; refused, it tells the term. */
static void a_pre_vote_changes_nothing(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    net_crash(net, 1);
    net_put(net, 1, 1, 4, 1);
    net_start(net, 1);
    struct raft_hard before = net->nodes[1].hard;
    struct raft_message pre = vote(2, 900, 1, 4);
    pre.kind = RAFT_PRE_VOTE;
    struct raft_message reply = answer(net, pre);
    assert_true(reply.kind == RAFT_PRE_VOTE_REPLY && !reply.reject && reply.term == 900);
    pre.log_term = 3; /* an older log */
    reply = answer(net, pre);
    assert_true(reply.reject && reply.term == 4);
    pre = vote(2, 4, 9, 9); /* a term that is here already */
    pre.kind = RAFT_PRE_VOTE;
    assert_true(answer(net, pre).reject);
    assert_memory_equal(&before, &net->nodes[1].hard, sizeof before);
    assert_int_equal(net_status(net, 1).term, 4);
    net_free(net);
}

/* A pre-candidate that is told of a later term follows it, and asks for one beyond. */
static void a_pre_candidate_learns_the_term(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    net->now_ms += 2 * T;
    raft_tick(net->nodes[1].raft, net->now_ms);
    net_turn(net, 1);
    assert_int_equal(queued(net, RAFT_PRE_VOTE, 0), 2);
    no_answer(net, (struct raft_message){
                       .kind = RAFT_PRE_VOTE_REPLY, .from = 2, .to = 1, .term = 8, .reject = true});
    assert_int_equal(net_status(net, 1).term, 8);
    assert_int_equal(net_status(net, 1).role, RAFT_FOLLOWER);
    assert_int_equal(net->nodes[1].hard.term, 8);
    net->now_ms += 2 * T;
    raft_tick(net->nodes[1].raft, net->now_ms);
    net_turn(net, 1);
    assert_int_equal(net->queue[0]->raft.term, 9);
    net_free(net);
}

/* 28: a vote of an election that is over does not count in the next. */
static void late_votes_do_not_count(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft *raft = net->nodes[1].raft;
    struct raft_message granted = {.kind = RAFT_PRE_VOTE_REPLY, .from = 2, .to = 1};
    for (uint64_t term = 1; term <= 2; term++) {
        net->now_ms += 2 * T;
        raft_tick(raft, net->now_ms);
        net_turn(net, 1);
        granted.kind = RAFT_PRE_VOTE_REPLY;
        granted.term = term;
        give(net, granted);
        assert_int_equal(net_status(net, 1).role, RAFT_CANDIDATE);
        assert_int_equal(queued(net, RAFT_VOTE, 0), 2);
    }
    granted.kind = RAFT_VOTE_REPLY;
    granted.term = 1;
    give(net, granted);
    assert_int_equal(net_status(net, 1).role, RAFT_CANDIDATE);
    granted.term = 2;
    give(net, granted);
    assert_int_equal(net_status(net, 1).role, RAFT_LEADER);
    net_free(net);
}

/* 1, 7: the vote is on the disk before it is said, and a restart knows it. */
static void a_vote_survives_a_restart(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft_output output;
    struct raft_message request = vote(2, 3, 0, 0);
    raft_receive(net->nodes[1].raft, &request, net->now_ms);
    raft_output(net->nodes[1].raft, &output);
    assert_int_equal(output.now_count, 0);
    assert_int_equal(output.after_count, 1);
    assert_true(output.save_hard && output.hard.term == 3 && output.hard.vote == 2);
    net->nodes[1].hard = output.hard;
    net_crash(net, 1);
    net_start(net, 1);
    assert_true(answer(net, vote(3, 3, 9, 9)).reject);
    assert_false(answer(net, vote(2, 3, 0, 0)).reject);
    net_free(net);
}

/* 2: a later term is saved by whoever hears of it, with or without a vote; then nothing is saved twice. */
static void a_later_term_is_saved(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    assert_true(answer(net, (struct raft_message){.kind = RAFT_APPEND, .from = 2, .to = 1, .term = 6}).term ==
                6);
    assert_true(net->nodes[1].hard.term == 6 && net->nodes[1].hard.vote == 0);
    struct raft_output output;
    raft_output(net->nodes[1].raft, &output);
    assert_false(output.save_hard);
    raft_saved(net->nodes[1].raft);
    no_answer(
        net, (struct raft_message){.kind = RAFT_APPEND_REPLY, .from = 3, .to = 1, .term = 9, .reject = true});
    assert_int_equal(net->nodes[1].hard.term, 9);
    net_free(net);
}

/* What was queued in a term that ended in the same turn is not said: the disk knows only the new one. */
static void a_turn_speaks_in_one_term(void **state)
{
    (void)state;
    struct net *net = net_new(5, 1);
    struct raft_entry entry = {.term = 1, .kind = RAFT_NOOP};
    struct raft_message first = append(net, 2, 1, &entry, 1), second = vote(3, 2, 9, 9);
    raft_receive(net->nodes[1].raft, &first, net->now_ms);
    net->now_ms += T;
    give(net, second);
    assert_int_equal(net->queued, 1);
    assert_true(net->queue[0]->raft.kind == RAFT_VOTE_REPLY && net->queue[0]->raft.term == 2);
    net_free(net);
}

/* 16: a leader that no quorum answers steps down within 2 T and is silent; reads and changes end. */
static void a_leader_without_a_quorum_steps_down(void **state)
{
    (void)state;
    struct net *net = elected(3, 3);
    uint64_t leader = net_leader(net);
    net_isolate(net, leader, true);
    net_pass(net, 2 * T);
    assert_int_not_equal(net_status(net, leader).role, RAFT_LEADER);
    assert_int_equal(net_status(net, leader).leader, 0);
    assert_false(net_status(net, leader).ready);
    uint64_t heard_ms = net_status(net, leader).heard_ms;
    assert_true(heard_ms && heard_ms <= net->now_ms - T);
    for (int i = 0; i < 100; i++) { /* while it is cut off */
        net->now_ms += 10;
        raft_tick(net->nodes[leader].raft, net->now_ms);
        net_turn(net, leader);
        assert_int_equal(queued(net, RAFT_APPEND, 0), 0);
        forget_messages(net);
    }
    net_free(net);
}

/* A leader is ready only when an entry of its own term is committed (38). */
static void a_new_leader_is_not_ready_at_once(void **state)
{
    (void)state;
    struct net *net = elected(3, 3);
    uint64_t old = net_leader(net);
    net_isolate(net, old, true);
    uint64_t other = 0;
    while (!other) {
        net->now_ms += 10;
        for (uint64_t id = 1; id <= 3; id++)
            if (id != old) raft_tick(net->nodes[id].raft, net->now_ms);
        for (uint64_t id = 1; id <= 3; id++)
            if (id != old) net_turn(net, id);
        while (net->queued && !other) {
            net_deliver(net, 0);
            other = net_leader(net) == old ? 0 : net_leader(net);
        }
    }
    struct raft_status status = net_status(net, other);
    assert_false(status.ready);
    assert_int_equal(status.ready_index, status.last_index);
    assert_int_equal(net_read(net, other), 0);
    net_deliver_all(net);
    assert_true(net_status(net, other).ready);
    net_free(net);
}

/* The only voter of a cluster says nothing in its new term before that is saved. */
static void a_lone_voter_saves_its_term_first(void **state)
{
    (void)state;
    struct net *net = elected(1, 1);
    struct raft_output output;
    uint64_t learner = net_add(net);
    assert_int_equal(net_change(net, 1, learner, RAFT_OBSERVER), RAFT_ACCEPTED);
    net_pass(net, 100);
    net_crash(net, 1);
    net_start(net, 1);
    net->now_ms += 2 * T;
    raft_tick(net->nodes[1].raft, net->now_ms);
    assert_int_equal(net_status(net, 1).role, RAFT_LEADER);
    raft_output(net->nodes[1].raft, &output);
    assert_true(output.save_hard && output.now_count == 0);
    raft_saved(net->nodes[1].raft);
    assert_true(raft_next_ms(net->nodes[1].raft) <= net->now_ms); /* it does not wait long */
    raft_output(net->nodes[1].raft, &output);
    assert_int_equal(output.now_count, 1);
    net_free(net);
}

/* 11: terms 5, 5 and 1; the leader dies. */
static void a_node_of_an_old_term_helps_to_elect(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct net *net = net_new(3, seed);
        for (uint64_t id = 1; id <= 3; id++) net_crash(net, id);
        net_put(net, 2, 1, 5, 1);
        net->nodes[3].hard.term = 1;
        net_start(net, 2);
        net_start(net, 3);
        assert_true(led_within(net, 5, 10 * T));
        assert_int_equal(net_leader(net), 2);
        net_free(net);
    }
}

/* 12: the longest log at an old term against a shorter one, and the highest term elsewhere still. */
static void two_cohorts_elect(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct net *net = net_new(4, seed);
        for (uint64_t id = 1; id <= 4; id++) net_crash(net, id);
        for (uint64_t id = 1; id <= 2; id++)
            for (uint64_t index = 1; index <= 9; index++) net_put(net, id, index, 2, index);
        for (uint64_t id = 3; id <= 4; id++) net_put(net, id, 1, 2, 1);
        net->nodes[3].hard.term = net->nodes[4].hard.term = 40;
        for (uint64_t id = 1; id <= 4; id++) net_start(net, id);
        assert_true(led_within(net, 0, 20 * T));
        assert_true(net_leader(net) <= 2);
        net_free(net);
    }
}

/* 13: a - bridge - b; the old leader reaches only the bridge, the fifth nobody. */
static void the_bridge_is_elected(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct net *net = elected(5, seed);
        uint64_t old = net_leader(net), bridge = old % 5 + 1, term = net_status(net, old).term;
        for (uint64_t id = 1; id <= 5; id++)
            for (uint64_t to = 1; to <= 5; to++) net->cut[id][to] = id != bridge && to != bridge;
        net_isolate(net, bridge % 5 + 1, true);
        assert_true(led_within(net, term, 10 * T));
        assert_int_equal(net_leader(net), bridge);
        net_free(net);
    }
}

/* 14: 1 and 3 do not see each other, 2 sees both (Cloudflare, November 2020): no to and fro. */
static void a_cut_cable_moves_the_leader_at_most_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct net *net = elected(3, seed);
        uint64_t before = net_status(net, net_leader(net)).term;
        net->cut[1][3] = net->cut[3][1] = true;
        net_pass(net, 100 * T);
        uint64_t leader = net_leader(net);
        assert_true(leader && net_status(net, leader).term <= before + 1);
        uint64_t index = net_propose(net, leader, 5);
        net_turn(net, leader);
        net_deliver_all(net);
        assert_true(net_status(net, leader).commit >= index);
        net_free(net);
    }
}

/* 15: each link cut in one direction. */
static void one_way_links_stop_nobody(void **state)
{
    (void)state;
    for (uint64_t from = 1; from <= 5; from++)
        for (uint64_t to = 1; to <= 5; to++) {
            if (from == to) continue;
            struct net *net = elected(5, from * 7 + to);
            net->cut[from][to] = true;
            net_pass(net, 20 * T);
            uint64_t leader = net_leader(net);
            uint64_t index = leader ? net_propose(net, leader, 5) : 0;
            assert_true(index != 0);
            net_turn(net, leader);
            net_deliver_all(net);
            assert_true(net_status(net, leader).commit >= index);
            net_free(net);
        }
}

/* 6, 37: a disk that cannot be is not started from. */
static void start_first(void *net)
{
    net_start(net, 1);
}

static void impossible_disks_are_refused(void **state)
{
    (void)state;
    struct net *net = net_new(1, 1);
    net_crash(net, 1);
    net_put(net, 1, 1, 3, 1);
    net->nodes[1].hard.term = 2; /* below the term of an entry */
    aborts(start_first, net);
    net->nodes[1].hard.term = 3;
    net->nodes[1].hard.commit = 2; /* beyond the end */
    aborts(start_first, net);
    net->nodes[1].hard.commit = 1;
    net_start(net, 1);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_heard_leader_is_stuck_to),
        cmocka_unit_test(a_pre_vote_changes_nothing),
        cmocka_unit_test(a_pre_candidate_learns_the_term),
        cmocka_unit_test(late_votes_do_not_count),
        cmocka_unit_test(a_vote_survives_a_restart),
        cmocka_unit_test(a_later_term_is_saved),
        cmocka_unit_test(a_turn_speaks_in_one_term),
        cmocka_unit_test(a_leader_without_a_quorum_steps_down),
        cmocka_unit_test(a_new_leader_is_not_ready_at_once),
        cmocka_unit_test(a_lone_voter_saves_its_term_first),
        cmocka_unit_test(a_node_of_an_old_term_helps_to_elect),
        cmocka_unit_test(two_cohorts_elect),
        cmocka_unit_test(the_bridge_is_elected),
        cmocka_unit_test(a_cut_cable_moves_the_leader_at_most_once),
        cmocka_unit_test(one_way_links_stop_nobody),
        cmocka_unit_test(impossible_disks_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
