// links: lib support
/* The rules of the Raft core, one by one, by scripted nets. Numbers are those of
 * shared/facts/raft-checklist.md. */
#include "base/buffer.h"
#include "tests/unit/raft_rules.h"

/* 4: one voter elects itself at its first tick and commits only after its own flush. */
static void one_voter_commits_after_its_flush(void **state)
{
    (void)state;
    struct net *net = net_new(1, 1);
    struct raft *raft = net->nodes[1].raft;
    struct raft_output output;
    raft_tick(raft, net->now_ms);
    assert_int_equal(raft_status(raft).role, RAFT_LEADER);
    assert_false(raft_status(raft).ready);
    raft_output(raft, &output);
    assert_true(output.save_hard && output.hard.term == 1 && output.hard.vote == 1);
    assert_true(output.entry_count == 1 && output.entries[0].kind == RAFT_NOOP);
    assert_int_equal(raft_committed(raft), 0);
    raft_saved(raft);
    assert_int_equal(raft_committed(raft), 1);
    assert_true(raft_status(raft).ready);
    net_propose(net, 1, 7);
    raft_output(raft, &output);
    assert_int_equal(raft_committed(raft), 1);
    raft_saved(raft);
    assert_int_equal(raft_committed(raft), 2);
    raft_output(raft, &output);
    assert_false(output.save_hard || output.entry_count); /* idle turns write nothing */
    raft_saved(raft);
    net_free(net);
}

/* 39: a lone voter's rounds take the same road: confirmed once the output that carries them was taken, never
 * reused. */
static void rounds_of_one_voter(void **state)
{
    (void)state;
    struct net *net = net_new(1, 1);
    struct raft *raft = net->nodes[1].raft;
    assert_int_equal(raft_read(raft), 0); /* not leader yet */
    net_pass(net, 10);
    uint64_t round = raft_read(raft);
    assert_true(round > 0 && raft_read(raft) == round); /* shared until it is sent */
    assert_true(raft_round_confirmed(raft) < round);
    net_turn(net, 1);
    assert_true(raft_round_confirmed(raft) >= round);
    assert_true(raft_read(raft) > round);
    net_free(net);
}

/* 39: a round needs a quorum that answered a heartbeat sent after it was opened; an isolated leader confirms
 * none. */
static void an_isolated_leader_confirms_no_round(void **state)
{
    (void)state;
    struct net *net = net_new(3, 3);
    net_pass(net, 500);
    uint64_t leader = net_leader(net);
    struct raft *raft = net->nodes[leader].raft;
    uint64_t round = raft_read(raft);
    net_turn(net, leader);
    assert_true(raft_round_confirmed(raft) < round);
    net_deliver_all(net);
    assert_true(raft_round_confirmed(raft) >= round);
    net_isolate(net, leader, true);
    round = raft_read(raft);
    net_turn(net, leader);
    net_deliver_all(net);
    assert_true(raft_round_confirmed(raft) < round);
    net_pass(net, 200); /* 16: and it steps down */
    assert_int_not_equal(net_status(net, leader).role, RAFT_LEADER);
    assert_int_equal(raft_round_confirmed(raft), 0);
    assert_int_equal(raft_read(raft), 0);
    net_free(net);
}

/* 7, 8: an equal request is granted again; an older log is refused, whatever its length. */
static void votes_follow_the_logs(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    net_crash(net, 1);
    net_put(net, 1, 1, 1, 11);
    net_put(net, 1, 2, 3, 12);
    net_start(net, 1);
    assert_true(answer(net, vote(2, 4, 9, 2)).reject); /* longer, older last term */
    assert_true(answer(net, vote(2, 5, 1, 3)).reject); /* same term, shorter */
    struct raft_message granted = answer(net, vote(2, 6, 2, 3));
    assert_true(!granted.reject && granted.term == 6);
    assert_false(answer(net, vote(2, 6, 2, 3)).reject); /* again */
    assert_true(answer(net, vote(3, 6, 9, 9)).reject);  /* another, in the same term */
    assert_false(answer(net, vote(3, 7, 1, 4)).reject); /* shorter, newer last term */
    assert_true(answer(net, vote(2, 6, 9, 9)).reject);  /* a term that is over */
    net_free(net);
}

/* 9, 10: pre-votes change nothing durable; a node that was alone rejoins with the term it left with. */
static void an_isolated_node_disturbs_nobody(void **state)
{
    (void)state;
    struct net *net = net_new(3, 5);
    net_pass(net, 500);
    uint64_t leader = net_leader(net), other = leader % 3 + 1, term = net_status(net, leader).term;
    net_isolate(net, other, true);
    struct raft_hard before = net->nodes[other].hard;
    net_pass(net, 5000);
    assert_memory_equal(&before, &net->nodes[other].hard, sizeof before);
    net_isolate(net, other, false);
    net_pass(net, 500);
    assert_int_equal(net_leader(net), leader);
    assert_int_equal(net_status(net, leader).term, term);
    net_free(net);
}

/* 25: the schedule of figure 8: an entry of an older term on a majority is not committed by counting. */
static void entries_of_older_terms_are_not_counted(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    for (uint64_t id = 1; id <= 3; id++) net_crash(net, id);
    net_put(net, 1, 1, 1, 1);
    net_put(net, 1, 2, 2, 2); /* of a leader that crashed; on a minority */
    net_put(net, 2, 1, 1, 1);
    net_put(net, 3, 1, 1, 1);
    net->nodes[1].hard.term = net->nodes[2].hard.term = net->nodes[3].hard.term = 3;
    net_start(net, 1);
    net_start(net, 2);
    struct raft *raft = net->nodes[1].raft;
    while (raft_status(raft).role != RAFT_LEADER) { /* only node 1 sees time pass */
        net->now_ms += 10;
        raft_tick(raft, net->now_ms);
        if (raft_status(raft).role == RAFT_LEADER) break;
        net_turn(net, 1);
        while (net->queued && raft_status(raft).role != RAFT_LEADER) {
            uint64_t to = net->queue[0]->to;
            net_give(net, 0);
            if (raft_status(raft).role != RAFT_LEADER) net_turn(net, to);
        }
    }
    /* Node 2 has entry 2 now, but not yet the no-op of the new term: nothing beyond the old commit is
     * committed. */
    struct raft_output output;
    raft_output(raft, &output);
    raft_saved(raft);
    struct raft_message reply = {
        .kind = RAFT_APPEND_REPLY, .from = 2, .to = 1, .term = raft_status(raft).term, .index = 2};
    raft_receive(raft, &reply, net->now_ms);
    assert_int_equal(raft_status(raft).commit, 0);
    reply.index = 3;
    raft_receive(raft, &reply, net->now_ms);
    assert_int_equal(raft_status(raft).commit, 3);
    net_free(net);
}

/* 24: a heartbeat does not commit a stale suffix beyond what it matched. */
static void a_heartbeat_commits_only_what_it_matched(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    net_crash(net, 1);
    for (uint64_t index = 1; index <= 4; index++) net_put(net, 1, index, 1, index);
    net_start(net, 1);
    struct raft_message heartbeat = {.kind = RAFT_APPEND,
                                     .from = 2,
                                     .to = 1,
                                     .term = 2,
                                     .index = 2,
                                     .log_term = 1,
                                     .chain = net->nodes[1].log[2].chain,
                                     .commit = 4};
    struct raft_message reply = answer(net, heartbeat);
    assert_true(!reply.reject && reply.index == 2);
    assert_int_equal(raft_status(net->nodes[1].raft).commit, 2);
    net_free(net);
}

/* 20, 21, 29: duplicates and older appends shorten nothing; a conflict is found in one step a term. */
static void conflicts_converge_by_terms(void **state)
{
    (void)state;
    struct net *net = net_new(3, 2);
    for (uint64_t id = 1; id <= 3; id++) net_crash(net, id);
    for (uint64_t index = 1; index <= 200; index++)
        net_put(net, 1, index, index <= 5 ? 1 : 2, index); /* a long stale suffix */
    for (uint64_t index = 1; index <= 100; index++)
        net_put(net, 2, index, index <= 5 ? 1 : 3, index <= 5 ? index : index + 1000);
    for (uint64_t index = 1; index <= 100; index++)
        net_put(net, 3, index, index <= 5 ? 1 : 3, index <= 5 ? index : index + 1000);
    for (uint64_t id = 1; id <= 3; id++) net_start(net, id);
    net_pass(net, 1000);
    uint64_t leader = net_leader(net);
    assert_int_not_equal(leader, 1);
    assert_int_equal(net->nodes[1].last, net->nodes[leader].last);
    assert_int_equal(net->nodes[1].applied, net->nodes[leader].last);
    assert_int_equal(net->nodes[1].log[50].value, 1050);
    net_free(net);
}

/* 36 and the chain: equal index and term with another content is damage, not a conflict to be settled. */
static void damaged_entries_are_not_accepted(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    uint64_t value = 5;
    struct raft_entry entry = {.index = 1, .term = 1, .kind = RAFT_COMMAND, .payload = slice_of(&value, 8)};
    entry.chain = raft_chain(0, &entry) + 1;
    struct raft_message message = {
        .kind = RAFT_APPEND, .from = 2, .to = 1, .term = 1, .entries = &entry, .entry_count = 1};
    raft_receive(net->nodes[1].raft, &message, net->now_ms);
    assert_int_equal(net_status(net, 1).last_index, 0);
    entry.chain--;
    entry.term = 2; /* later than its leader */
    raft_receive(net->nodes[1].raft, &message, net->now_ms);
    assert_int_equal(net_status(net, 1).last_index, 0);
    net_free(net);
}

/* 30: what is not for this node, of nobody, or of a stranger with a lower term changes nothing. */
static void strange_messages_are_dropped(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    net_pass(net, 500);
    uint64_t leader = net_leader(net);
    struct raft_status before = net_status(net, leader);
    struct raft_message strange[] = {
        {.kind = RAFT_APPEND, .from = leader, .to = leader, .term = 99},
        {.kind = RAFT_APPEND, .from = 2, .to = 77, .term = 99},
        {.kind = RAFT_APPEND, .from = 0, .to = leader, .term = 99},
        {.kind = RAFT_VOTE_REPLY, .from = 55, .to = leader, .term = 99},
        {.kind = RAFT_APPEND_REPLY, .from = 55, .to = leader, .term = 99},
        {.kind = RAFT_APPEND, .from = 55, .to = leader, .term = before.term - 1},
        {.kind = RAFT_VOTE, .from = 55, .to = leader, .term = 99, .index = 99, .log_term = 99}, /* sticky */
        {.kind = RAFT_APPEND_REPLY, .from = leader % 3 + 1, .to = leader, .term = before.term, .index = 1000},
    };
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        raft_receive(net->nodes[leader].raft, &strange[i], net->now_ms);
        raft_check(net->nodes[leader].raft);
    }
    struct raft_status after = net_status(net, leader);
    assert_true(after.role == RAFT_LEADER && after.term == before.term && after.commit == before.commit);
    net_free(net);
}

/* 46, 47: a configuration is in force from append, undone by truncation, and the newest in the log counts at
 * restart. */
static void a_configuration_comes_and_goes_with_its_entry(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft *raft = net->nodes[1].raft;
    struct raft_config five = {.member_count = 5};
    for (uint64_t i = 0; i < 5; i++)
        five.members[i] = (struct raft_member){.node = i + 1, .membership = RAFT_VOTER};
    struct buffer payload = {0};
    raft_config_encode(&five, &payload);
    struct raft_entry entry = {.index = 1, .term = 1, .kind = RAFT_CONFIG, .payload = buffer_slice(&payload)};
    entry.chain = raft_chain(0, &entry);
    struct raft_message message = {
        .kind = RAFT_APPEND, .from = 2, .to = 1, .term = 1, .entries = &entry, .entry_count = 1};
    assert_false(answer(net, message).reject);
    net->now_ms += 200;
    struct raft_output output;
    raft_tick(raft, net->now_ms);
    raft_output(raft, &output);
    assert_int_equal(output.now_count, 4); /* pre-votes to all of five */
    raft_saved(raft);
    struct raft_entry other = {.index = 1, .term = 2, .kind = RAFT_NOOP};
    other.chain = raft_chain(0, &other);
    message = (struct raft_message){
        .kind = RAFT_APPEND, .from = 2, .to = 1, .term = 2, .entries = &other, .entry_count = 1};
    assert_false(answer(net, message).reject);
    net->now_ms += 200;
    raft_tick(raft, net->now_ms);
    raft_output(raft, &output);
    assert_int_equal(output.now_count, 2);
    raft_saved(raft);
    buffer_free(&payload);
    net_free(net);
}

static void configurations_decode_strictly(void **state)
{
    (void)state;
    struct raft_config back,
        config = {
            .members = {{.node = 7, .membership = RAFT_VOTER, .name = "n7", .address = "a.example:7401"},
                        {.node = 8, .membership = RAFT_LEARNER, .name = "n8"}},
            .member_count = 2};
    struct buffer payload = {0};
    raft_config_encode(&config, &payload);
    assert_true(raft_config_decode(buffer_slice(&payload), &back));
    assert_memory_equal(&config, &back, sizeof back);
    for (size_t size = 0; size < payload.size; size++)
        assert_false(raft_config_decode(slice_of(payload.data, size), &back));
    buffer_add_byte(&payload, 0);
    assert_false(raft_config_decode(buffer_slice(&payload), &back));
    struct slice bad[] = {
        SLICE("\x00"),                                           /* nobody */
        SLICE("\x0a"),                                           /* too many */
        SLICE("\1\1\0\0\0\0\0\0\0\4\0\0"),                       /* an unknown membership */
        SLICE("\1\0\0\0\0\0\0\0\0\1\0\0"),                       /* node 0 */
        SLICE("\1\1\0\0\0\0\0\0\0\1\1\0\0"),                     /* a zero in a name */
        SLICE("\1\1\0\0\0\0\0\0\0\1\x40\0"),                     /* a name that is too long */
        SLICE("\2\1\0\0\0\0\0\0\0\1\0\0\1\0\0\0\0\0\0\0\1\0\0"), /* one node twice */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(raft_config_decode(bad[i], &back));
    buffer_free(&payload);
}

/* 18: timeouts lie strictly above the stickiness window, and differ from one draw to the next. */
static void election_timeouts_are_drawn_anew(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft *raft = net->nodes[1].raft;
    struct raft_message heartbeat = {.kind = RAFT_APPEND, .from = 2, .to = 1, .term = 1};
    uint64_t least = UINT64_MAX, most = 0;
    for (int i = 0; i < 2000; i++) {
        raft_receive(raft, &heartbeat, net->now_ms);
        uint64_t span = raft_next_ms(raft) - net->now_ms;
        if (span < least) least = span;
        if (span > most) most = span;
    }
    assert_int_equal(least, 51);
    assert_int_equal(most, 99);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_voter_commits_after_its_flush),
        cmocka_unit_test(rounds_of_one_voter),
        cmocka_unit_test(an_isolated_leader_confirms_no_round),
        cmocka_unit_test(votes_follow_the_logs),
        cmocka_unit_test(an_isolated_node_disturbs_nobody),
        cmocka_unit_test(entries_of_older_terms_are_not_counted),
        cmocka_unit_test(a_heartbeat_commits_only_what_it_matched),
        cmocka_unit_test(conflicts_converge_by_terms),
        cmocka_unit_test(damaged_entries_are_not_accepted),
        cmocka_unit_test(strange_messages_are_dropped),
        cmocka_unit_test(a_configuration_comes_and_goes_with_its_entry),
        cmocka_unit_test(configurations_decode_strictly),
        cmocka_unit_test(election_timeouts_are_drawn_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
