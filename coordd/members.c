/* The cluster itself: the links follow the configuration, new nodes are told where they belong and old ones
 * that they were removed, members that say another address than the configuration knows are put right,
 * learners that have caught up become voters. */
#include "coordd/node_internal.h"

#include "coordd/log.h"

const char *members_name(const struct node *node, uint64_t id)
{
    const struct raft_member *member =
        node->raft ? raft_config_member(raft_config_in_force(node->raft), id) : NULL;
    return member ? member->name : "";
}

/* --- what is missing --- */

static void add_voter(struct node *node, const struct raft_member *member, struct buffer *text,
                      size_t *reached)
{
    if (member->node == node->identity.node) {
        ++*reached;
        return;
    }
    struct peer_link_state link = peers_state(node->peers, member->node);
    *reached += link.up;
    if (!link.up)
        buffer_printf(text, "%s%s (%s: %s)", text->size ? ", " : "", member->name, member->address,
                      link.error[0] ? link.error : "not connected yet");
}

const char *members_missing(struct node *node)
{
    const struct raft_config *config = raft_config_in_force(node->raft);
    struct buffer text = {0};
    size_t reached = 0, voters = 0;
    for (size_t i = 0; i < config->member_count; i++) {
        if (config->members[i].membership != RAFT_VOTER) continue;
        voters++;
        add_voter(node, &config->members[i], &text, &reached);
    }
    const struct raft_member *self = raft_config_member(config, node->identity.node);
    struct slice missing =
        members_removed(node)   ? arena_printf(&node->turn, "%s%c", MEMBERS_REMOVED, 0)
        : !config->member_count ? arena_printf(&node->turn, "this node waits to be added to a cluster%c", 0)
        : !self ? arena_printf(&node->turn, "this node is no member of the cluster (any more)%c", 0)
                : arena_printf(&node->turn, "%zu of %zu voters can be reached%s%.*s%c", reached, voters,
                               text.size ? ", missing: " : "", (int)text.size,
                               text.data ? (char *)text.data : "", 0);
    buffer_free(&text);
    return (const char *)missing.data;
}

/* --- who was removed --- */

static const struct raft_member *self_in(const struct node *node, const struct raft_config *config)
{
    return raft_config_member(config, node->identity.node);
}

/* A member that is behind does not know who was added since, so only an index beyond one's own counts: of two
 * configurations the later one tells. A node that catches up goes through configurations without itself. */
bool members_removed(const struct node *node)
{
    const struct members *members = &node->members;
    uint64_t index = node->status.change_index;
    if (self_in(node, raft_config_in_force(node->raft))) return members->removed_index > index;
    return members->was_member && (index <= node->status.commit || members->removed_index >= index);
}

void members_tell_removed(struct node *node, uint64_t to)
{
    const struct raft_config *config = raft_config_in_force(node->raft);
    struct wire_removed removed = {node->status.change_index};
    if (removed.index <= node->status.commit && self_in(node, config) && !raft_config_member(config, to))
        node_tell(node, to, WIRE_REMOVED, &removed);
}

void members_told_removed(struct node *node, const struct wire_removed *removed)
{
    if (removed->index > node->members.removed_index) node->members.removed_index = removed->index;
}

static void say_removed(struct node *node)
{
    struct members *members = &node->members;
    const struct raft_config *config = raft_config_in_force(node->raft);
    uint64_t index = node->status.change_index;
    if (!members->follows && index)
        config = raft_config_at(node->raft, index - 1); /* right after the start */
    members->was_member |= self_in(node, config) != NULL;
    bool removed = members_removed(node);
    if (removed && !members->says_removed)
        LOG(WARN, MEMBERS_REMOVED, {"name", node->identity.name}, {"node", log_hex(node->identity.node)},
            {"index", log_number(members->removed_index > index ? members->removed_index : index)},
            {"so", "it serves nobody; its data are untouched"},
            {"do", "stop it; to have it back, empty its data directory and start it with --join HOST:7401"});
    members->says_removed = removed;
}

/* --- links --- */

static void follow(struct node *node)
{
    const struct raft_config *config = raft_config_in_force(node->raft);
    struct members *members = &node->members;
    if (members->followed_index == node->status.change_index && members->followed_term == node->status.term &&
        members->follows)
        return;
    struct peers_target targets[RAFT_MEMBERS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < config->member_count; i++)
        if (config->members[i].node != node->identity.node && config->members[i].address[0])
            targets[count++] = (struct peers_target){config->members[i].node, config->members[i].address};
    peers_follow(node->peers, targets, count);
    members->followed_index = node->status.change_index;
    members->followed_term = node->status.term;
    members->follows = true;
}

/* --- who greets --- */

static void tell_founded(struct node *node, uint64_t to)
{
    struct buffer config = {0}, founding = {0};
    raft_config_encode(raft_config_in_force(node->raft), &config);
    if (node->view.first_index == 1) raft_config_encode(raft_config_at(node->raft, 0), &founding);
    struct wire_founded founded = {node->identity.cluster, buffer_slice(&config), buffer_slice(&founding)};
    if (raft_config_in_force(node->raft)->member_count) node_tell(node, to, WIRE_FOUNDED, &founded);
    buffer_free(&config);
    buffer_free(&founding);
}

static void note_address(struct node *node, uint64_t from, const char *address)
{
    struct members *members = &node->members;
    const struct raft_config *config = raft_config_in_force(node->raft);
    if (!raft_config_member(config, from) || !*address || strlen(address) >= RAFT_ADDRESS_SIZE) return;
    size_t place = RAFT_MEMBERS_MAX;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        bool free = !raft_config_member(config, members->heard[i].node);
        if (members->heard[i].node == from || (free && place == RAFT_MEMBERS_MAX)) place = i;
        if (members->heard[i].node == from) break;
    }
    if (place == RAFT_MEMBERS_MAX) return;
    members->heard[place].node = from;
    memcpy(members->heard[place].address, address, strlen(address) + 1);
}

void members_greeted(struct node *node, const struct peer_frame *frame)
{
    if (frame->cluster == 0)
        tell_founded(node, frame->from);
    else
        note_address(node, frame->from, frame->address);
    if (frame->cluster) members_tell_removed(node, frame->from);
}

/* --- duties of the leader --- */

static void change(struct node *node, const struct raft_config *next, const char *what,
                   const struct raft_member *member)
{
    enum raft_refusal why;
    if (raft_change(node->raft, next, &why))
        LOG(INFO, what, {"name", member->name}, {"peer", member->address}, {"node", log_hex(member->node)});
}

/* A member whose address is another one by now: after a restart elsewhere. */
static const char *new_address(const struct node *node, const struct raft_member *member)
{
    const char *address = NULL;
    if (member->node == node->identity.node) address = peers_address(node->peers);
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (node->members.heard[i].node == member->node) address = node->members.heard[i].address;
    return address && *address && strcmp(address, member->address) != 0 ? address : NULL;
}

static void tend_members(struct node *node)
{
    struct raft_config next = *raft_config_in_force(node->raft);
    uint64_t learner = raft_learner_ready(node->raft);
    for (size_t i = 0; i < next.member_count; i++) {
        struct raft_member *member = &next.members[i];
        const char *address = new_address(node, member);
        if (address) {
            memset(member->address, 0, sizeof member->address);
            memcpy(member->address, address, strlen(address));
            change(node, &next, "a member has a new address: telling the cluster", member);
            return;
        }
        if (member->node == learner) {
            member->membership = RAFT_VOTER;
            change(node, &next, "a learner has caught up: it becomes a voter", member);
            return;
        }
    }
}

void members_tend(struct node *node)
{
    say_removed(node);
    follow(node);
    if (node->office_term && node->status.change_index <= node->status.commit &&
        !raft_transferring(node->raft))
        tend_members(node);
    cluster_calls_tend(node);
}

/* --- nodes that want to be members --- */

void members_join(struct node *node, uint64_t from, const struct wire_join *join)
{
    tell_founded(node, from);
    if (raft_config_member(raft_config_in_force(node->raft), from)) return;
    struct cluster_add_args args = {.name = join->name,
                                    .id = arena_printf(&node->turn, "%016llx", (unsigned long long)from),
                                    .peer = join->address};
    cluster_calls_own(node, operation_cluster_add, &args);
}
