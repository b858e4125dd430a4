// links: lib support
/* Leadership transfer: quick when it works, over in time when not, and no way around the rules of voting. */
#include "tests/unit/raft_rules.h"

enum { T = NET_ELECTION_MS };

static uint64_t next_of(const struct net *net, uint64_t id)
{
    return id % net->count + 1;
}

/* The target leads without a moment passing, with all that was in the log; commands are taken again. */
static void leadership_moves_at_once(void **state)
{
    (void)state;
    for (int named = 0; named < 2; named++) {
        struct net *net = elected(3, 8);
        uint64_t leader = net_leader(net), to = next_of(net, leader), now_ms = net->now_ms;
        uint64_t index = net_propose(net, leader, 5); /* not even sent yet */
        assert_int_equal(raft_transfer(net->nodes[leader].raft, named ? to : 0), RAFT_ACCEPTED);
        assert_true(raft_transferring(net->nodes[leader].raft));
        assert_int_equal(net_propose(net, leader, 6), 0);
        assert_int_equal(raft_transfer(net->nodes[leader].raft, to), RAFT_TRANSFERRING);
        assert_int_equal(net_change(net, leader, to, RAFT_OBSERVER), RAFT_TRANSFERRING);
        net_turn(net, leader);
        net_deliver_all(net);
        raft_tick(net->nodes[leader].raft, net->now_ms); /* it has all now: the leader asks */
        net_turn(net, leader);
        net_deliver_all(net);
        assert_true(named ? net_leader(net) == to : net_leader(net) != leader);
        assert_int_equal(net->now_ms, now_ms);
        assert_false(raft_transferring(net->nodes[leader].raft));
        uint64_t heir = net_leader(net);
        assert_true(net_status(net, heir).ready && net_status(net, heir).commit > index);
        assert_true(net_propose(net, heir, 7) != 0);
        net_free(net);
    }
}

/* 59: who cannot lead is not asked: a learner, a dead one, a stranger, the leader itself. */
static void some_cannot_take_it(void **state)
{
    (void)state;
    struct net *net = elected(3, 8);
    uint64_t leader = net_leader(net), dead = next_of(net, leader), observer = net_add(net);
    struct raft *raft = net->nodes[leader].raft;
    assert_int_equal(net_change(net, leader, observer, RAFT_OBSERVER), RAFT_ACCEPTED);
    net_pass(net, 100);
    net_crash(net, dead);
    net_pass(net, 2 * T);
    assert_int_equal(raft_transfer(raft, observer), RAFT_NO_QUORUM);
    assert_int_equal(raft_transfer(raft, dead), RAFT_NO_QUORUM);
    assert_int_equal(raft_transfer(raft, 99), RAFT_NO_QUORUM);
    assert_int_equal(raft_transfer(raft, leader), RAFT_NO_QUORUM);
    assert_false(raft_transferring(raft));
    assert_int_equal(raft_transfer(net->nodes[observer].raft, leader), RAFT_NOT_LEADER);
    net_free(net);
}

/* 59: a target that lags is not asked before it has all; when it never has, all goes on after T, and neither
 * reads nor anything else makes that later. */
static void a_target_that_lags_ends_it_in_time(void **state)
{
    (void)state;
    struct net *net = elected(3, 8);
    uint64_t leader = net_leader(net), to = next_of(net, leader), term = net_status(net, leader).term;
    struct raft *raft = net->nodes[leader].raft;
    net->cut[leader][to] = true;
    net_propose(net, leader, 1);
    net_turn(net, leader);
    net_deliver_all(net);
    uint64_t end_ms = net->now_ms + T;
    assert_int_equal(raft_transfer(raft, to), RAFT_ACCEPTED);
    while (net->now_ms + 10 < end_ms) {
        net_read(net, leader);
        net_pass(net, 10);
        assert_true(raft_transferring(raft));
        assert_int_equal(net_propose(net, leader, 2), 0);
    }
    assert_int_equal(net->sent[RAFT_TIMEOUT_NOW], 0);
    net_pass(net, 10);
    assert_false(raft_transferring(raft));
    assert_true(net_propose(net, leader, 2) != 0);
    assert_int_equal(net_status(net, leader).term, term);
    net_free(net);
}

/* 59: asked, but dead by then. */
static void a_target_that_dies_ends_it_in_time(void **state)
{
    (void)state;
    struct net *net = elected(3, 8);
    uint64_t leader = net_leader(net), to = next_of(net, leader), term = net_status(net, leader).term;
    assert_int_equal(raft_transfer(net->nodes[leader].raft, to), RAFT_ACCEPTED);
    net_crash(net, to);
    net_pass(net, T);
    assert_int_equal(net_leader(net), leader);
    assert_int_equal(net_status(net, leader).term, term);
    assert_true(net_propose(net, leader, 2) != 0);
    net_free(net);
}

static struct raft_message stand(struct net *net, uint64_t from, uint64_t term)
{
    struct raft_message message = append(net, from, term, NULL, 0);
    message.kind = RAFT_TIMEOUT_NOW;
    return message;
}

/* 59: a word that came late, or of another log, is dropped; so is that of anyone but the leader of this term.
 */
static void a_stale_word_is_dropped(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft_entry entry = {.term = 4, .kind = RAFT_NOOP};
    no_answer(net, stand(net, 2, 1)); /* of nobody known */
    assert_false(answer(net, append(net, 2, 4, &entry, 1)).reject);
    struct raft_message stale[] = {stand(net, 2, 3), stand(net, 2, 5), stand(net, 3, 4), stand(net, 2, 4),
                                   stand(net, 2, 4)};
    stale[3].index = 0;
    stale[3].log_term = 0;
    stale[4].log_term = 3;
    for (size_t i = 0; i < sizeof stale / sizeof *stale; i++) {
        no_answer(net, stale[i]);
        assert_true(net_status(net, 1).role == RAFT_FOLLOWER && net_status(net, 1).term == 4);
    }
    give(net, stand(net, 2, 4));
    assert_true(net_status(net, 1).role == RAFT_CANDIDATE && net_status(net, 1).term == 5);
    assert_int_equal(queued(net, RAFT_VOTE, 0), 2); /* no pre-vote */
    assert_true(net->queue[0]->raft.transfer);
    no_answer(net, stand(net, 2, 4)); /* twice */
    assert_int_equal(net_status(net, 1).term, 5);
    net_free(net);
}

/* 59: an observer that is asked does not stand. */
static void an_observer_does_not_stand(void **state)
{
    (void)state;
    struct net *net = elected(3, 8);
    uint64_t leader = net_leader(net), observer = net_add(net);
    assert_int_equal(net_change(net, leader, observer, RAFT_OBSERVER), RAFT_ACCEPTED);
    net_pass(net, 100);
    struct raft_status status = net_status(net, observer);
    struct raft_message word = {.kind = RAFT_TIMEOUT_NOW,
                                .from = leader,
                                .to = observer,
                                .term = status.term,
                                .index = status.last_index,
                                .log_term = status.last_term};
    raft_receive(net->nodes[observer].raft, &word, net->now_ms);
    assert_int_equal(net_status(net, observer).role, RAFT_FOLLOWER);
    assert_int_equal(net_status(net, observer).term, status.term);
    net_free(net);
}

/* 19: the flag goes past stickiness, and past nothing else: not the vote given away, not the older log. */
static void the_flag_does_not_bend_the_vote(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft_entry entry = {.term = 1, .kind = RAFT_NOOP};
    assert_false(answer(net, append(net, 2, 1, &entry, 1)).reject);
    struct raft_message request = vote(3, 2, 1, 1);
    no_answer(net, request);
    request.transfer = true;
    assert_false(answer(net, request).reject);
    request.from = 2;
    assert_true(answer(net, request).reject);
    request.term = 3;
    request.index = 0;
    request.log_term = 0;
    assert_true(answer(net, request).reject);
    net_free(net);
}

/* A leader that votes for its heir is follower at once. */
static void the_leader_votes_for_its_heir(void **state)
{
    (void)state;
    struct net *net = elected(3, 8);
    uint64_t leader = net_leader(net), to = next_of(net, leader);
    struct raft_status status = net_status(net, leader);
    struct raft_message request = {.kind = RAFT_VOTE,
                                   .from = to,
                                   .to = leader,
                                   .term = status.term + 1,
                                   .index = status.last_index,
                                   .log_term = status.last_term};
    raft_receive(net->nodes[leader].raft, &request, net->now_ms);
    assert_int_equal(net_status(net, leader).role, RAFT_LEADER); /* without the flag it leads on */
    request.transfer = true;
    raft_receive(net->nodes[leader].raft, &request, net->now_ms);
    assert_int_equal(net_status(net, leader).role, RAFT_FOLLOWER);
    net_turn(net, leader);
    assert_int_equal(net->nodes[leader].hard.vote, to);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leadership_moves_at_once),
        cmocka_unit_test(some_cannot_take_it),
        cmocka_unit_test(a_target_that_lags_ends_it_in_time),
        cmocka_unit_test(a_target_that_dies_ends_it_in_time),
        cmocka_unit_test(a_stale_word_is_dropped),
        cmocka_unit_test(an_observer_does_not_stand),
        cmocka_unit_test(the_flag_does_not_bend_the_vote),
        cmocka_unit_test(the_leader_votes_for_its_heir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
