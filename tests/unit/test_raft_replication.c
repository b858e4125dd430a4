// links: lib support
/* Replication: what is acknowledged, what is committed, how what was lost gets there, what is kept in memory.
 */
#include "tests/unit/raft_rules.h"

#include "raft/entries.h"

/* The cluster's leader proposes; the messages stay queued. */
static uint64_t proposed(struct net *net, uint64_t leader)
{
    uint64_t index = net_propose(net, leader, 77);
    assert_true(index != 0);
    net_turn(net, leader);
    return index;
}

static struct raft_message reply_of(uint64_t from, uint64_t to, uint64_t term, uint64_t index)
{
    return (struct raft_message){
        .kind = RAFT_APPEND_REPLY, .from = from, .to = to, .term = term, .index = index};
}

static void receive(struct net *net, struct raft_message message)
{
    raft_receive(net->nodes[message.to].raft, &message, net->now_ms);
}

/* 3: an acknowledgement waits for the save. */
static void acknowledgements_wait_for_the_save(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft_entry entry = {.term = 1, .kind = RAFT_NOOP};
    struct raft_message message = append(net, 2, 1, &entry, 1);
    struct raft_output output;
    raft_receive(net->nodes[1].raft, &message, net->now_ms);
    raft_output(net->nodes[1].raft, &output);
    assert_int_equal(output.now_count, 0);
    assert_int_equal(output.after_count, 1);
    assert_int_equal(output.entry_count, 1);
    raft_saved(net->nodes[1].raft);
    net_free(net);
}

/* 4: a leader sends before its own save, and counts itself only behind it. */
static void a_leader_counts_itself_when_saved(void **state)
{
    (void)state;
    struct net *net = elected(1, 1);
    struct raft *raft = net->nodes[1].raft;
    struct raft_output output;
    uint64_t learner = net_add(net);
    assert_int_equal(net_change(net, 1, learner, RAFT_OBSERVER), RAFT_ACCEPTED);
    net_pass(net, 100);
    uint64_t index = net_propose(net, 1, 5);
    raft_output(raft, &output);
    assert_true(output.now_count == 1 && output.now[0].entry_count == 1);
    assert_int_equal(raft_status(raft).commit, index - 1);
    raft_saved(raft);
    assert_int_equal(raft_status(raft).commit, index);
    net_free(net);
}

/* 20, 21: an append that came before, or brings less, shortens nothing and rewrites nothing. */
static void older_appends_shorten_nothing(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft_entry entries[] = {
        {.term = 1, .kind = RAFT_NOOP}, {.term = 1, .kind = RAFT_NOOP}, {.term = 1, .kind = RAFT_NOOP}};
    struct raft_message all = append(net, 2, 1, entries, 3), first = all, heartbeat = all;
    first.entry_count = 1;
    heartbeat.entry_count = 0;
    assert_int_equal(answer(net, all).index, 3);
    struct raft_message again[] = {first, all, heartbeat};
    uint64_t matched[] = {1, 3, 0};
    for (size_t i = 0; i < 3; i++) {
        struct raft_output output;
        raft_receive(net->nodes[1].raft, &again[i], net->now_ms);
        raft_output(net->nodes[1].raft, &output);
        assert_int_equal(output.entry_count, 0);
        assert_int_equal(output.after[0].index,
                         matched[i]); /* what this message shows, not the end of the log */
        raft_saved(net->nodes[1].raft);
        assert_int_equal(net_status(net, 1).last_index, 3);
    }
    net_free(net);
}

/* 21: a conflict cuts from where the terms differ, and only there; the disk is told so. */
static void a_conflict_cuts_where_terms_differ(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    net_crash(net, 1);
    for (uint64_t index = 1; index <= 5; index++) net_put(net, 1, index, index <= 2 ? 1 : 2, index);
    net_start(net, 1);
    struct net_entry second = net->nodes[1].log[2];
    struct raft_entry entries[] = {{.index = 3, .term = 3, .kind = RAFT_NOOP}};
    entries[0].chain = raft_chain(second.chain, &entries[0]);
    struct raft_message message = {.kind = RAFT_APPEND,
                                   .from = 2,
                                   .to = 1,
                                   .term = 3,
                                   .index = 2,
                                   .log_term = 1,
                                   .chain = second.chain,
                                   .entries = entries,
                                   .entry_count = 1};
    struct raft_output output;
    raft_receive(net->nodes[1].raft, &message, net->now_ms);
    raft_output(net->nodes[1].raft, &output);
    assert_true(output.truncates && output.entry_count == 1 && output.entries[0].index == 3);
    assert_int_equal(net_status(net, 1).last_index, 3);
    assert_int_equal(output.after[0].index, 3);
    raft_saved(net->nodes[1].raft);
    net_free(net);
}

/* 22: what is committed is never cut: the process ends rather. */
static void cut_committed(void *net)
{
    struct raft_entry entry = {.index = 1, .term = 2, .kind = RAFT_NOOP};
    entry.chain = raft_chain(0, &entry);
    struct raft_message message = {
        .kind = RAFT_APPEND, .from = 2, .to = 1, .term = 2, .entries = &entry, .entry_count = 1};
    receive(net, message);
}

static void committed_entries_are_never_cut(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft_entry entry = {.term = 1, .kind = RAFT_NOOP};
    struct raft_message message = append(net, 2, 1, &entry, 1);
    message.commit = 1;
    assert_false(answer(net, message).reject);
    assert_int_equal(net_status(net, 1).commit, 1);
    aborts(cut_committed, net);
    net_free(net);
}

/* Index and term agree, the chain does not: somebody's data are damaged, and this node says so and ends. */
static void contradict(void *net)
{
    struct raft_message message = append(net, 2, 1, NULL, 0);
    message.chain++;
    receive(net, message);
}

static void logs_that_differ_end_the_process(void **state)
{
    (void)state;
    struct net *net = net_new(3, 1);
    struct raft_entry entry = {.term = 1, .kind = RAFT_NOOP};
    assert_false(answer(net, append(net, 2, 1, &entry, 1)).reject);
    aborts(contradict, net);
    net_free(net);
}

/* 15, 28: answers of an older term say nothing; 27: what a peer has never falls. */
static void what_a_peer_has_never_falls(void **state)
{
    (void)state;
    struct net *net = elected(3, 4);
    uint64_t leader = net_leader(net), peer = leader % 3 + 1, term = net_status(net, leader).term;
    net_isolate(net, leader, true);
    uint64_t index = proposed(net, leader), match = peer_status(net, leader, peer).match;
    forget_messages(net);
    receive(net, reply_of(peer, leader, term - 1, index));
    assert_int_equal(peer_status(net, leader, peer).match, match);
    receive(net, reply_of(peer, leader, term, index));
    assert_int_equal(peer_status(net, leader, peer).match, index);
    assert_int_equal(net_status(net, leader).commit, index);
    receive(net, reply_of(peer, leader, term, 1));
    assert_int_equal(peer_status(net, leader, peer).match, index);
    struct raft_message refusal = reply_of(peer, leader, term, 0);
    refusal.reject = true;
    for (uint64_t at = 0; at <= index; at++) { /* late ones */
        refusal.commit = at;
        receive(net, refusal);
        assert_int_equal(peer_status(net, leader, peer).match, index);
        assert_int_equal(peer_status(net, leader, peer).next, index + 1);
    }
    raft_check(net->nodes[leader].raft);
    net_free(net);
}

/* What was lost goes again with the next heartbeat, also when many were under way. */
static void lost_appends_go_again_with_the_heartbeat(void **state)
{
    (void)state;
    struct net *net = elected(3, 4);
    uint64_t leader = net_leader(net), peer = leader % 3 + 1, index = 0;
    net->cut[leader][peer] = true;
    for (int i = 0; i < 20; i++) index = proposed(net, leader);
    net_deliver_all(net);
    assert_int_equal(net_status(net, leader).commit, index); /* by the third */
    net->cut[leader][peer] = false;
    assert_true(net->nodes[peer].applied < index);
    net_pass(net, NET_HEARTBEAT_MS);
    assert_int_equal(net->nodes[peer].applied, index);
    assert_int_equal(net_leader(net), leader);
    net->cut[peer][leader] = true; /* the answers are lost */
    for (int i = 0; i < 20; i++) index = proposed(net, leader);
    net_deliver_all(net);
    net->cut[peer][leader] = false;
    net_pass(net, NET_HEARTBEAT_MS);
    assert_int_equal(net->nodes[peer].applied, index);
    assert_int_equal(peer_status(net, leader, peer).match, index);
    net_free(net);
}

/* Followers learn of a commit at once, by one message each. */
static void commits_are_told_at_once(void **state)
{
    (void)state;
    struct net *net = elected(3, 4);
    uint64_t leader = net_leader(net), index = proposed(net, leader);
    net_deliver_all(net);
    for (uint64_t id = 1; id <= 3; id++) assert_int_equal(net->nodes[id].applied, index);
    index = proposed(net, leader);
    uint64_t before = net->sent[RAFT_APPEND];
    while (net_status(net, leader).commit < index) net_deliver(net, 0);
    net_turn(net, leader);
    assert_int_equal(net->sent[RAFT_APPEND], before + 2);
    for (int i = 0; i < 5; i++) net_turn(net, leader);
    net_deliver_all(net);
    assert_int_equal(net->sent[RAFT_APPEND], before + 2); /* and nothing more is said */
    net_free(net);
}

/* 39: only answers to the round itself, or a later one, of this term, count for it. */
static void rounds_need_their_own_answers(void **state)
{
    (void)state;
    struct net *net = elected(3, 4);
    uint64_t leader = net_leader(net), peer = leader % 3 + 1, term = net_status(net, leader).term;
    struct raft *raft = net->nodes[leader].raft;
    net_isolate(net, leader, true);
    uint64_t first = raft_read(raft);
    net_turn(net, leader);
    uint64_t second = raft_read(raft);
    assert_true(second > first);
    struct raft_message reply = reply_of(peer, leader, term, 1);
    reply.round = first;
    receive(net, reply);
    assert_true(raft_round_confirmed(raft) == first);
    net_turn(net, leader);
    receive(net, reply);
    assert_true(raft_round_confirmed(raft) < second);
    reply.round = second;
    reply.term = term - 1; /* of a process or a term long gone */
    receive(net, reply);
    assert_true(raft_round_confirmed(raft) < second);
    reply.term = term;
    reply.round = second + 1; /* never sent */
    receive(net, reply);
    assert_true(raft_round_confirmed(raft) < second);
    reply.round = second;
    receive(net, reply);
    assert_true(raft_round_confirmed(raft) == second);
    net_free(net);
}

/* 40: a round ends with its term, even when the same node leads again. */
static void rounds_end_with_the_term(void **state)
{
    (void)state;
    struct net *net = elected(3, 4);
    uint64_t leader = net_leader(net);
    struct raft *raft = net->nodes[leader].raft;
    uint64_t round = raft_read(raft);
    net_turn(net, leader);
    net_deliver_all(net);
    assert_true(raft_round_confirmed(raft) >= round);
    for (int i = 0; i < 30; i++) { /* it is deposed, and leads again after a while */
        net_isolate(net, leader, true);
        net_pass(net, 300);
        assert_int_equal(raft_round_confirmed(raft), 0);
        net_isolate(net, leader, false);
        net_isolate(net, net_leader(net), true);
        net_pass(net, 300);
        memset(net->cut, 0, sizeof net->cut);
        if (net_leader(net) == leader) break;
    }
    assert_int_equal(net_leader(net), leader);
    assert_true(raft_read(raft) > round);
    net_free(net);
}

/* A peer that lacks what is no longer in memory gets it from the disk, a message at a time. */
static void old_entries_come_from_the_disk(void **state)
{
    (void)state;
    struct net *net = elected(3, 4);
    uint64_t leader = net_leader(net), peer = leader % 3 + 1, index = 0, node, first;
    struct raft *raft = net->nodes[leader].raft;
    net->keep = 2;
    net_crash(net, peer);
    for (int i = 0; i < 100; i++) index = proposed(net, leader);
    net_pass(net, 1000);
    assert_null(raft_entry_at(raft, index - 2));
    assert_non_null(raft_entry_at(raft, index - 1));
    uint64_t match = peer_status(net, leader, peer).match;
    struct raft_message refusal = reply_of(peer, leader, net_status(net, leader).term, match);
    refusal.reject = true;
    refusal.commit = index;
    receive(net, refusal);
    assert_true(raft_wants_entries(raft, &node, &first));
    assert_true(node == peer && first == match + 1);
    net_turn(net, leader); /* which hands them in */
    assert_int_equal(queued(net, RAFT_APPEND, peer), 1);
    assert_int_equal(net->queue[net->queued - 1]->raft.entries[0].index, match + 1);
    assert_false(raft_wants_entries(raft, &node, &first)); /* until it answers, or the next heartbeat */
    net_start(net, peer);
    net_pass(net, 500);
    assert_int_equal(net->nodes[peer].applied, index);
    net_free(net);
}

static void deliver_but_to(struct net *net, uint64_t peer)
{
    while (net->queued)
        if (net->queue[0]->to == peer)
            net_drop(net, 0);
        else
            net_deliver(net, 0);
}

/* Payloads are kept for a peer that keeps up, but no more of them than can be under way. */
static void payloads_are_not_kept_for_ever(void **state)
{
    (void)state;
    struct net *net = net_new(3, 4);
    for (uint64_t id = 1; id <= 3; id++) net_crash(net, id);
    net->batch_bytes_max = 500;
    net->keep = 0;
    for (uint64_t id = 1; id <= 3; id++) net_start(net, id);
    net_pass(net, 500);
    uint64_t leader = net_leader(net), peer = leader % 3 + 1;
    struct raft *raft = net->nodes[leader].raft;
    uint64_t index = proposed(net, leader);
    deliver_but_to(net, peer); /* it is slow */
    assert_int_equal(net_status(net, leader).commit, index);
    assert_non_null(raft_entry_at(raft, index));
    for (int i = 0; i < 200; i++) {
        index = proposed(net, leader);
        deliver_but_to(net, peer);
    }
    assert_int_equal(net_status(net, leader).commit, index);
    assert_null(raft_entry_at(raft, index - 100));
    net_free(net);
}

/* 26: the term of an entry is known, compacted away, or beyond the end. */
static void terms_have_three_answers(void **state)
{
    (void)state;
    struct entries log;
    uint64_t term = 0;
    entries_start(&log, 10, 3, 7);
    for (uint64_t index = 11; index <= 20; index++) {
        struct raft_entry entry = {.index = index, .term = index / 5, .kind = RAFT_NOOP};
        if (entry.term < 3) entry.term = 3;
        entry.chain = raft_chain(entries_chain_at(&log, index - 1), &entry);
        entries_append(&log, &entry, true);
    }
    assert_true(entries_term_at(&log, 9, &term) == TERM_COMPACTED && term == 0);
    assert_true(entries_term_at(&log, 10, &term) == TERM_KNOWN && term == 3);
    assert_true(entries_term_at(&log, 14, &term) == TERM_KNOWN && term == 3);
    assert_true(entries_term_at(&log, 15, &term) == TERM_KNOWN && term == 3);
    assert_true(entries_term_at(&log, 20, &term) == TERM_KNOWN && term == 4);
    assert_int_equal(entries_term_at(&log, 21, &term), TERM_BEYOND);
    assert_int_equal(entries_at_most(&log, 30, 3), 19);
    assert_int_equal(entries_at_most(&log, 30, 2), 9); /* not known */
    assert_int_equal(entries_at_most(&log, 5, 9), 5);
    entries_trim(&log, 19);
    assert_int_equal(entries_term_at(&log, 18, &term), TERM_COMPACTED);
    assert_true(entries_term_at(&log, 20, &term) == TERM_KNOWN && term == 4);
    entries_check(&log);
    entries_truncate(&log, 20);
    assert_int_equal(entries_last(&log), 19);
    assert_int_equal(entries_last_term(&log), 3);
    entries_check(&log);
    assert_int_equal(log.window_bytes, 0);
    entries_free(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acknowledgements_wait_for_the_save),
        cmocka_unit_test(a_leader_counts_itself_when_saved),
        cmocka_unit_test(older_appends_shorten_nothing),
        cmocka_unit_test(a_conflict_cuts_where_terms_differ),
        cmocka_unit_test(committed_entries_are_never_cut),
        cmocka_unit_test(logs_that_differ_end_the_process),
        cmocka_unit_test(what_a_peer_has_never_falls),
        cmocka_unit_test(lost_appends_go_again_with_the_heartbeat),
        cmocka_unit_test(commits_are_told_at_once),
        cmocka_unit_test(rounds_need_their_own_answers),
        cmocka_unit_test(rounds_end_with_the_term),
        cmocka_unit_test(old_entries_come_from_the_disk),
        cmocka_unit_test(payloads_are_not_kept_for_ever),
        cmocka_unit_test(terms_have_three_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
