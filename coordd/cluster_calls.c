/* Operations on the cluster itself: the leader does them, other nodes pass them on to it and bring the answer
 * back. A change of members is answered once its entry is applied here. */
#include "coordd/node_internal.h"

#include "base/check.h"
#include "base/memory.h"
#include "coordd/log.h"

#include <stdlib.h>

static const char *const roles[] = {
    [RAFT_VOTER] = "follower", [RAFT_LEARNER] = "learner", [RAFT_OBSERVER] = "observer"};

static struct slice hex(struct node *node, uint64_t number)
{
    return arena_printf(&node->turn, "%016llx", (unsigned long long)number);
}

/* --- answering --- */

static void answer(struct node *node, const struct cluster_call *call, enum outcome outcome,
                   const void *result, const char *detail)
{
    const struct record *shape = result ? call->operation->result : NULL;
    if (call->call) {
        struct answer told = {
            .outcome = outcome, .shape = shape, .data = result, .detail = slice_text(detail)};
        pending_reply(node->pending, call->call, &told, node->applied);
    } else if (call->from) {
        struct buffer data = {0};
        if (shape) record_encode(shape, result, &data);
        struct wire_answer wire = {.number = call->remote_number,
                                   .outcome = outcome,
                                   .shape = shape ? WIRE_RESULT : WIRE_NOTHING,
                                   .revision = node->applied,
                                   .data = buffer_slice(&data),
                                   .detail = slice_text(detail)};
        node_tell(node, call->from, WIRE_ANSWER, &wire);
        buffer_free(&data);
    } else if (outcome >= OUTCOME_BAD_REQUEST) {
        LOG(WARN, "a node that wants to join is not added", {"why", outcome_facts(outcome)->code},
            {"detail", detail});
    }
}

static void keep(struct node *node, struct cluster_call call)
{
    struct cluster_call *kept = memory_new(sizeof *kept);
    *kept = call;
    kept->since_ms = node->now_ms;
    kept->next = node->cluster_calls.first;
    node->cluster_calls.first = kept;
}

/* --- looking --- */

static const struct raft_peer_status *peer_of(const struct raft_peer_status *peers, size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++)
        if (peers[i].node == id) return &peers[i];
    return NULL;
}

static bool answers(const struct node *node, const struct raft_peer_status *peer)
{
    return peer && peer->heard_ms && node->now_ms - peer->heard_ms < node->settings.election_ms;
}

static struct slice link_text(struct node *node, uint64_t id)
{
    struct peer_link_state link = peers_state(node->peers, id);
    if (id == node->identity.node || link.up) return SLICE("up");
    return arena_printf(&node->turn, "%s", link.error[0] ? link.error : "not connected yet");
}

static struct cluster_member view_member(struct node *node, const struct raft_member *member,
                                         const struct raft_peer_status *peer)
{
    bool self = member->node == node->identity.node, leads = member->node == node->status.leader;
    uint64_t last = node->status.last_index, match = self ? last : peer ? peer->match : 0;
    uint64_t heard_ms = peer && peer->heard_ms ? peer->heard_ms : node->opened_ms;
    return (struct cluster_member){
        .name = slice_text(member->name),
        .id = hex(node, member->node),
        .role = slice_text(leads ? "leader" : roles[member->membership]),
        .peer = slice_text(member->address),
        .healthy =
            self || (node->office_term ? answers(node, peer) : peers_state(node->peers, member->node).up),
        .match_index = match,
        .lag = last - match,
        .silent_ms = self ? 0 : node->now_ms - heard_ms,
        .link = link_text(node, member->node)};
}

static void view(struct node *node, const struct cluster_call *call)
{
    const struct raft_config *config = raft_config_in_force(node->raft);
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    struct cluster_member members[RAFT_MEMBERS_MAX];
    size_t count = raft_peers(node->raft, peers), shown = 0;
    bool removed = members_removed(node);
    for (size_t i = 0; i < config->member_count; i++) {
        const struct raft_member *each = &config->members[i];
        if (removed && each->node == node->identity.node) continue;
        members[shown++] = view_member(node, each, peer_of(peers, count, each->node));
    }
    struct cluster_view result = {.cluster_id = hex(node, node->identity.cluster),
                                  .leader = slice_text(members_name(node, node->status.leader)),
                                  .term = node->status.term,
                                  .commit_index = node->status.commit,
                                  .change_index = node->status.change_index,
                                  .members = {members, shown},
                                  .note = slice_text(removed ? MEMBERS_REMOVED : "")};
    answer(node, call, OUTCOME_OK, &result, "");
}

static const struct raft_member *member_named(const struct raft_config *config, struct slice name)
{
    for (size_t i = 0; i < config->member_count; i++)
        if (slice_is(name, config->members[i].name)) return &config->members[i];
    return NULL;
}

static void can_stop(struct node *node, const struct cluster_call *call)
{
    const struct cluster_can_stop_args *args = call->args;
    const struct raft_config *config = raft_config_in_force(node->raft);
    const struct raft_member *member = member_named(config, args->node);
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    size_t count = raft_peers(node->raft, peers), voters = 0, left = 0;
    if (!member) {
        answer(node, call, OUTCOME_MEMBER_NOT_FOUND, NULL, "");
        return;
    }
    for (size_t i = 0; i < config->member_count; i++) {
        const struct raft_member *each = &config->members[i];
        if (each->membership != RAFT_VOTER) continue;
        voters++;
        bool here = each->node == node->identity.node || answers(node, peer_of(peers, count, each->node));
        left += each != member && here;
    }
    size_t quorum = voters / 2 + 1;
    bool can = member->membership != RAFT_VOTER || left >= quorum;
    struct slice reason = member->membership != RAFT_VOTER
                              ? SLICE("it does not vote")
                              : arena_printf(&node->turn, "%zu of %zu voters would be left, %zu are needed%s",
                                             left, voters, quorum, voters == 1 ? ": it is the only one" : "");
    answer(node, call, OUTCOME_OK, &(struct cluster_can_stop){args->node, can, reason}, "");
}

/* --- changing --- */

static void refuse(struct node *node, const struct cluster_call *call, enum raft_refusal why)
{
    switch (why) {
    case RAFT_CHANGE_PENDING:
        answer(node, call, OUTCOME_CHANGE_PENDING, NULL, "");
        break;
    case RAFT_BEHIND:
        answer(node, call, OUTCOME_LEARNER_BEHIND, NULL, "");
        break;
    case RAFT_NO_QUORUM:
        answer(node, call, OUTCOME_QUORUM_AT_RISK, NULL, members_missing(node));
        break;
    case RAFT_SENSELESS:
        answer(node, call, OUTCOME_CHANGE_REFUSED, NULL,
               "at most 7 voters and 9 members; the last voter cannot be removed");
        break;
    case RAFT_ACCEPTED:
    case RAFT_NOT_LEADER:
    case RAFT_NOT_READY:
    case RAFT_TRANSFERRING:
        answer(node, call, OUTCOME_NO_LEADER, NULL, "leadership is changing");
        break;
    }
}

static struct cluster_changed changed(struct node *node, const struct cluster_call *call)
{
    const struct raft_member *member = &call->member;
    return (struct cluster_changed){.name = arena_printf(&node->turn, "%s", member->name),
                                    .id = hex(node, member->node),
                                    .role = slice_text(call->removes ? "removed" : roles[member->membership]),
                                    .peer = arena_printf(&node->turn, "%s", member->address),
                                    .change_index = call->index};
}

static void change(struct node *node, struct cluster_call call, const struct raft_config *next)
{
    enum raft_refusal why;
    call.index = raft_change(node->raft, next, &why);
    call.term = node->status.term;
    if (!call.index) {
        refuse(node, &call, why);
        return;
    }
    LOG(INFO, "changing the members", {"operation", call.operation->name}, {"name", call.member.name},
        {"node", log_hex(call.member.node)}, {"index", log_number(call.index)});
    node->status = raft_status(node->raft); /* others of this turn look at it */
    keep(node, call);
}

/* The configuration in force is committed, and its change applied here. */
static bool is_settled(const struct node *node)
{
    return node->status.change_index <= node->applied;
}

/* What is asked for is so already; but nothing is said of what is not committed yet. */
static void answer_so(struct node *node, struct cluster_call call)
{
    if (!is_settled(node)) {
        refuse(node, &call, RAFT_CHANGE_PENDING);
        return;
    }
    call.index = node->status.change_index;
    struct cluster_changed result = changed(node, &call);
    answer(node, &call, OUTCOME_OK, &result, "");
}

static bool parse_id(struct slice text, uint64_t *id)
{
    char digits[17] = "", *end;
    if (text.size > 16) return false;
    memcpy(digits, text.data, text.size);
    if (strspn(digits, "0123456789abcdefABCDEF") != text.size) return false;
    *id = strtoull(digits, &end, 16);
    return *id != 0;
}

static void copy_text(char *text, size_t room, struct slice from)
{
    memset(text, 0, room);
    if (from.size) memcpy(text, from.data, from.size < room ? from.size : room - 1);
}

static void add(struct node *node, struct cluster_call call)
{
    const struct cluster_add_args *args = call.args;
    struct raft_config next = *raft_config_in_force(node->raft);
    struct raft_member member = {.membership = args->observer ? RAFT_OBSERVER : RAFT_LEARNER};
    const char *colon = args->peer.size ? memrchr(args->peer.data, ':', args->peer.size) : NULL;
    if (!parse_id(args->id, &member.node) || !colon || !args->name.size ||
        args->name.size >= RAFT_NAME_SIZE || args->peer.size >= RAFT_ADDRESS_SIZE) {
        answer(node, &call, OUTCOME_CHANGE_REFUSED, NULL, "id is up to 16 hex digits, peer is HOST:PORT");
        return;
    }
    copy_text(member.name, sizeof member.name, args->name);
    copy_text(member.address, sizeof member.address, args->peer);
    for (size_t i = 0; i < next.member_count; i++) {
        const struct raft_member *each = &next.members[i];
        bool same = each->node == member.node && strcmp(each->name, member.name) == 0;
        if (same) { /* asked twice */
            call.member = *each;
            answer_so(node, call);
            return;
        }
        if (each->node == member.node || strcmp(each->name, member.name) == 0 ||
            strcmp(each->address, member.address) == 0) {
            answer(node, &call, OUTCOME_MEMBER_EXISTS, NULL,
                   "remove the old member first (DELETE /v1/cluster/members/NAME)");
            return;
        }
    }
    if (next.member_count == RAFT_MEMBERS_MAX) {
        refuse(node, &call, RAFT_SENSELESS);
        return;
    }
    next.members[next.member_count++] = member;
    call.member = member;
    change(node, call, &next);
}

static void promote(struct node *node, struct cluster_call call, struct raft_config next, size_t place)
{
    call.member = next.members[place];
    if (call.member.membership == RAFT_VOTER) {
        answer_so(node, call);
        return;
    }
    next.members[place].membership = call.member.membership = RAFT_VOTER;
    change(node, call, &next);
}

static void take_away(struct node *node, struct cluster_call call, struct raft_config next, size_t place)
{
    call.member = next.members[place];
    call.removes = true;
    next.member_count--;
    memmove(&next.members[place], &next.members[place + 1],
            (next.member_count - place) * sizeof next.members[0]);
    memset(&next.members[next.member_count], 0, sizeof next.members[0]);
    change(node, call, &next);
}

static void change_named(struct node *node, struct cluster_call call)
{
    const struct cluster_name_args *args = call.args;
    const struct raft_config *config = raft_config_in_force(node->raft);
    const struct raft_member *member = member_named(config, args->name);
    if (!member && !is_settled(node))
        refuse(node, &call, RAFT_CHANGE_PENDING);
    else if (!member)
        answer(node, &call, OUTCOME_MEMBER_NOT_FOUND, NULL, "");
    else if (call.operation == operation_cluster_promote)
        promote(node, call, *config, (size_t)(member - config->members));
    else
        take_away(node, call, *config, (size_t)(member - config->members));
}

static void transfer(struct node *node, struct cluster_call call)
{
    const struct cluster_transfer_args *args = call.args;
    const struct raft_member *to =
        args->to.size ? member_named(raft_config_in_force(node->raft), args->to) : NULL;
    if (args->to.size && !to) {
        answer(node, &call, OUTCOME_MEMBER_NOT_FOUND, NULL, "");
        return;
    }
    if (to && to->node == node->identity.node) {
        struct cluster_transferred result = {slice_text(to->name), node->status.term};
        answer(node, &call, OUTCOME_OK, &result, "");
        return;
    }
    enum raft_refusal why = raft_transfer(node->raft, to ? to->node : 0);
    if (why != RAFT_ACCEPTED) {
        answer(node, &call, OUTCOME_TRANSFER_FAILED, NULL,
               why == RAFT_TRANSFERRING ? "leadership is being handed over already"
                                        : "that node does not vote, or does not answer now");
        return;
    }
    call.transfers_in = node->status.term;
    keep(node, call);
}

static void perform(struct node *node, struct cluster_call call)
{
    if (call.operation == operation_cluster_get)
        view(node, &call);
    else if (call.operation == operation_cluster_can_stop)
        can_stop(node, &call);
    else if (call.operation == operation_cluster_add)
        add(node, call);
    else if (call.operation == operation_cluster_transfer)
        transfer(node, call);
    else
        change_named(node, call);
}

/* --- passing on --- */

static void pass_on(struct node *node, struct cluster_call *call)
{
    node->payload.size = 0;
    record_encode(call->operation->args, call->args, &node->payload);
    struct slice args = arena_copy(&node->turn, buffer_slice(&node->payload));
    struct wire_call wire = {call->number, call->operation->code, args};
    call->passed_to = node->status.leader;
    if (call->operation == operation_cluster_remove) {
        const struct cluster_name_args *named = call->args;
        const struct raft_member *member = member_named(raft_config_in_force(node->raft), named->name);
        if (member) call->member = *member;
        call->removes = member != NULL;
    }
    node_tell(node, node->status.leader, WIRE_CALL, &wire);
}

static void take(struct node *node, struct cluster_call call)
{
    bool leader = node_open_term(node) != 0;
    if (node->office_term) {
        perform(node, call);
    } else if (!leader && call.operation == operation_cluster_get) {
        view(node, &call); /* what this node knows by itself */
    } else if (call.call) {
        call.number = ++node->cluster_calls.last_number;
        if (leader) pass_on(node, &call);
        keep(node, call);
    } else if (leader && !call.from) {
        pass_on(node, &call);
    } else if (call.from) {
        answer(node, &call, OUTCOME_NO_LEADER, NULL, "");
    }
}

void cluster_calls_take(struct node *node, struct call *call)
{
    take(node, (struct cluster_call){.operation = call->operation, .call = call, .args = call->args});
}

void cluster_calls_own(struct node *node, const struct operation *operation, const void *args)
{
    take(node, (struct cluster_call){.operation = operation, .args = args});
}

void cluster_calls_receive(struct node *node, uint64_t from, const struct wire_call *wire)
{
    const struct operation *operation = operation_by_code(wire->code);
    if (!operation || operation->kind != OPERATION_CLUSTER) return;
    void *args = arena_alloc(&node->turn, operation->args->size);
    struct cluster_call call = {
        .operation = operation, .from = wire->number ? from : 0, .remote_number = wire->number, .args = args};
    if (!record_decode(operation->args, args, wire->args, &node->turn)) return;
    if (node->office_term)
        perform(node, call);
    else
        answer(node, &call, OUTCOME_NO_LEADER, NULL, "");
}

/* --- ends --- */

static void drop(struct cluster_call **at)
{
    struct cluster_call *call = *at;
    *at = call->next;
    free(call);
}

void cluster_calls_answered(struct node *node, const struct wire_answer *wire)
{
    for (struct cluster_call **at = &node->cluster_calls.first; *at; at = &(*at)->next) {
        struct cluster_call *call = *at;
        if (!call->call || !call->number || call->number != wire->number) continue;
        const struct record *shape = wire->shape == WIRE_RESULT ? call->operation->result : NULL;
        void *result = shape ? arena_alloc(&call->call->arena, shape->size) : NULL;
        if (shape && !record_decode(shape, result, wire->data, &call->call->arena)) return;
        struct answer told = {
            .outcome = (enum outcome)wire->outcome, .shape = shape, .data = result, .detail = wire->detail};
        pending_reply(node->pending, call->call, &told, wire->revision);
        drop(at);
        return;
    }
}

void cluster_calls_applied(struct node *node, const struct raft_entry *entry)
{
    for (struct cluster_call **at = &node->cluster_calls.first; *at;) {
        struct cluster_call *call = *at;
        if (!call->index || call->index > entry->index) {
            at = &call->next;
            continue;
        }
        if (call->index == entry->index && call->term == entry->term) {
            struct cluster_changed result = changed(node, call);
            answer(node, call, OUTCOME_OK, &result, "");
        } else {
            answer(node, call, OUTCOME_NO_LEADER, NULL, "leadership changed before it was done");
        }
        drop(at);
    }
}

/* True when it is over. */
static bool tend_transfer(struct node *node, const struct cluster_call *call)
{
    uint64_t leader = node->status.leader;
    bool over = node->status.term > call->transfers_in && leader && leader != node->identity.node;
    if (over) {
        struct cluster_transferred result = {slice_text(members_name(node, leader)), node->status.term};
        answer(node, call, OUTCOME_OK, &result, "");
    } else if (node->office_term && !raft_transferring(node->raft)) {
        answer(node, call, OUTCOME_TRANSFER_FAILED, NULL, "this node leads on");
        over = true;
    }
    return over;
}

/* The leader that was to remove itself may be gone before its answer is: the configuration tells. */
static bool was_removed(struct node *node, struct cluster_call *call)
{
    if (!call->removes || !is_settled(node) ||
        raft_config_member(raft_config_in_force(node->raft), call->member.node))
        return false;
    call->index = node->status.change_index;
    struct cluster_changed result = changed(node, call);
    answer(node, call, OUTCOME_OK, &result, "");
    return true;
}

static bool tend_passed(struct node *node, struct cluster_call *call)
{
    if (was_removed(node, call)) return true;
    bool looks = call->operation == operation_cluster_get || call->operation == operation_cluster_can_stop;
    bool unsent = call->passed_to == 0;
    if (node_open_term(node) && (unsent || (looks && call->passed_to != node->status.leader))) {
        if (node->office_term) {
            struct cluster_call again = *call;
            again.number = 0;
            perform(node, again);
            return true;
        }
        pass_on(node, call);
    }
    bool hopeless = node->unable_since_ms && members_removed(node);
    if (node->now_ms < call->since_ms + 2 * node_hold_ms(node) && !hopeless) return false;
    if (unsent || looks)
        answer(node, call, OUTCOME_NO_LEADER, NULL, members_missing(node));
    else
        answer(node, call, OUTCOME_OUTCOME_UNKNOWN, NULL, "the leader did not answer");
    return true;
}

void cluster_calls_tend(struct node *node)
{
    struct cluster_call *calls = node->cluster_calls.first;
    node->cluster_calls.first = NULL;
    for (struct cluster_call *next; calls; calls = next) {
        next = calls->next;
        bool over = calls->transfers_in ? tend_transfer(node, calls)
                    : calls->number     ? tend_passed(node, calls)
                                        : false;
        if (over) {
            free(calls);
        } else {
            calls->next = node->cluster_calls.first;
            node->cluster_calls.first = calls;
        }
    }
}

void cluster_calls_end(struct node *node, enum outcome outcome)
{
    while (node->cluster_calls.first) {
        struct cluster_call *call = node->cluster_calls.first;
        bool begun = call->index || call->passed_to || call->transfers_in;
        answer(node, call, begun ? OUTCOME_OUTCOME_UNKNOWN : outcome, NULL, "");
        drop(&node->cluster_calls.first);
    }
}
