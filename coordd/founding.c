/* A node whose data directory is empty and that is to be a member of a cluster: founded with others
 * (--initial-cluster), or added to one that is there (--join).
 *
 * Founding: all greet each other. The first one named, once it knows the ids of all, makes the cluster's id
 * and the founding configuration, and its log with it; every other takes them from whoever has them. A node
 * that finds its cluster founded without its own id has lost its disk: it must not vote as who it was, so it
 * says what to do and ends. */
#include "coordd/node_internal.h"

#include "base/memory.h"
#include "coordd/clock.h"
#include "coordd/log.h"

#include <stdio.h>
#include <unistd.h>

enum { TURN_MS = 200, JOIN_MS = 1000 };

struct founding {
    struct raft_config config; /* as named on the command line; ids as far as they are known */
    bool joins;
    char join[RAFT_ADDRESS_SIZE];
    uint64_t member; /* somebody who is in a cluster already */
    uint64_t asked_ms, told_ms;
};

bool founding_wanted(const struct node_settings *settings)
{
    return settings->initial_cluster || settings->join;
}

/* --- the command line --- */

static bool take_member(struct raft_config *config, const char *text, size_t size)
{
    const char *equals = memchr(text, '=', size);
    if (!equals || config->member_count == RAFT_VOTERS_MAX) return false;
    size_t name = (size_t)(equals - text), address = size - name - 1;
    if (!name || name >= RAFT_NAME_SIZE || !address || address >= RAFT_ADDRESS_SIZE ||
        !memchr(equals, ':', address + 1))
        return false;
    struct raft_member member = {.membership = RAFT_VOTER};
    memcpy(member.name, text, name);
    memcpy(member.address, equals + 1, address);
    for (size_t i = 0; i < config->member_count; i++)
        if (strcmp(config->members[i].name, member.name) == 0 ||
            strcmp(config->members[i].address, member.address) == 0)
            return false;
    config->members[config->member_count++] = member;
    return true;
}

static struct raft_member *named(struct raft_config *config, const char *name)
{
    for (size_t i = 0; i < config->member_count; i++)
        if (strcmp(config->members[i].name, name) == 0) return &config->members[i];
    return NULL;
}

static bool parse(struct raft_config *config, const char *text)
{
    for (size_t size; *text; text += size + (text[size] == ',')) {
        size = strcspn(text, ",");
        if (!take_member(config, text, size)) return false;
    }
    return config->member_count > 0;
}

struct founding *founding_open(const struct node_settings *settings, const char *name, char *error,
                               size_t error_size)
{
    struct founding *founding = memory_new(sizeof *founding);
    founding->joins = settings->join != NULL;
    if (settings->initial_cluster && settings->join) {
        snprintf(error, error_size,
                 "--initial-cluster founds a cluster, --join enters one: give one of them");
    } else if (settings->join &&
               (!strchr(settings->join, ':') || strlen(settings->join) >= RAFT_ADDRESS_SIZE)) {
        snprintf(error, error_size, "--join must be HOST:PORT of a member's peer port, not '%s'",
                 settings->join);
    } else if (settings->join) {
        memcpy(founding->join, settings->join, strlen(settings->join) + 1);
        return founding;
    } else if (!parse(&founding->config, settings->initial_cluster)) {
        snprintf(error, error_size,
                 "--initial-cluster must be NAME=HOST:PORT, comma-separated, at most %d, each once, not '%s'",
                 RAFT_VOTERS_MAX, settings->initial_cluster);
    } else if (!named(&founding->config, name)) {
        snprintf(error, error_size, "--initial-cluster does not name this node, %s (--name)", name);
    } else {
        return founding;
    }
    founding_free(founding);
    return NULL;
}

void founding_free(struct founding *founding)
{
    free(founding);
}

const char *founding_address(struct founding *founding, const char *name)
{
    const struct raft_member *member = named(&founding->config, name);
    return member ? member->address : NULL;
}

/* --- while it waits --- */

static void follow(struct node *node)
{
    struct founding *founding = node->founding;
    struct peers_target targets[RAFT_MEMBERS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < founding->config.member_count; i++)
        if (strcmp(founding->config.members[i].name, node->identity.name) != 0)
            targets[count++] = (struct peers_target){0, founding->config.members[i].address};
    if (founding->joins) targets[count++] = (struct peers_target){0, founding->join};
    peers_follow(node->peers, targets, count);
}

static void say_missing(const struct founding *founding, struct buffer *text)
{
    buffer_printf(text,
                  founding->joins ? "waiting to be added by %s" : "waiting for the other founding members:",
                  founding->join);
    for (size_t i = 0; i < founding->config.member_count; i++)
        if (!founding->config.members[i].node)
            buffer_printf(text, " %s (%s)", founding->config.members[i].name,
                          founding->config.members[i].address);
    buffer_add_byte(text, 0);
}

static void refuse_calls(struct node *node, struct call *calls)
{
    struct buffer text = {0};
    say_missing(node->founding, &text);
    for (struct call *call = calls, *next; call; call = next) {
        next = call->next;
        pending_refuse(node->pending, call, OUTCOME_STARTING, (const char *)text.data);
    }
    pending_deliver(node->pending);
    buffer_free(&text);
}

static void take_notices(struct node *node, struct notice *notices)
{
    for (struct notice *notice = notices, *next; notice; notice = next) {
        next = notice->next;
        if (notice->call) call_free(notice->call);
        if (notice->kind == NOTICE_STOP) node->stopped = true;
        free(notice);
    }
}

static void log_waiting(struct node *node)
{
    struct buffer text = {0};
    if (node->founding->told_ms && node->now_ms < node->founding->told_ms + 10000) return;
    node->founding->told_ms = node->now_ms;
    say_missing(node->founding, &text);
    LOG(INFO, "this node belongs to no cluster yet", {"so", (const char *)text.data},
        {"id", log_hex(node->identity.node)}, {"name", node->identity.name});
    buffer_free(&text);
}

/* --- becoming a member --- */

static void enter(struct node *node, uint64_t cluster, const struct raft_config *config)
{
    char error[512] = "";
    struct datadir_founding beginning = {.cluster = cluster};
    if (config) beginning.config = *config;
    if (!node_enter(node, &beginning, error, sizeof error)) {
        LOG(ERROR, "refused to start", {"why", error});
        _exit(1);
    }
    founding_free(node->founding);
    node->founding = NULL;
    peers_identify(node->peers, cluster);
}

static void found(struct node *node)
{
    struct founding *founding = node->founding;
    struct raft_config *config = &founding->config;
    if (founding->joins || strcmp(config->members[0].name, node->identity.name) != 0) return;
    for (size_t i = 0; i < config->member_count; i++)
        if (!config->members[i].node) return;
    uint64_t cluster = random_number();
    LOG(INFO, "founding the cluster", {"cluster", log_hex(cluster)},
        {"members", log_number(config->member_count)});
    enter(node, cluster, config);
}

/* The cluster is there without this node. */
static void check_lost(struct node *node, const struct raft_config *config)
{
    const struct raft_member *old = NULL;
    for (size_t i = 0; i < config->member_count; i++)
        if (strcmp(config->members[i].name, node->identity.name) == 0) old = &config->members[i];
    if (node->founding->joins && !old) return; /* it is being added */
    LOG(ERROR, "refused to start: the cluster exists, and this node's data directory is empty",
        {"why", old ? "it has a member of this name with another id: that one's disk was lost or is elsewhere"
                    : "it has no member of this name"},
        {"do",
         old ? "remove the old member (curl -X DELETE HOST:7400/v1/cluster/members/NAME on another node), "
               "then start this one with --join HOST:7401 instead of --initial-cluster"
             : "start this one with --join HOST:7401 instead of --initial-cluster"},
        {"name", node->identity.name}, {"old_id", log_hex(old ? old->node : 0)},
        {"id", log_hex(node->identity.node)});
    _exit(1);
}

static void take_founded(struct node *node, const struct wire_founded *founded)
{
    struct raft_config now, founding;
    if (!founded->cluster || !raft_config_decode(founded->config, &now)) return;
    bool has_founding = founded->founding.size && raft_config_decode(founded->founding, &founding);
    if (has_founding && raft_config_member(&founding, node->identity.node))
        enter(node, founded->cluster, &founding);
    else if (raft_config_member(&now, node->identity.node))
        enter(node, founded->cluster, NULL);
    else
        check_lost(node, &now);
}

static void take_frame(struct node *node, const struct peer_frame *frame)
{
    struct founding *founding = node->founding;
    if (frame->greeting) {
        struct raft_member *member = named(&founding->config, frame->name);
        if (frame->cluster)
            founding->member = frame->from;
        else if (member && strcmp(frame->name, node->identity.name) != 0)
            member->node = frame->from;
        return;
    }
    struct slice body = frame->body;
    struct wire_founded founded;
    if (frame->cluster && wire_take_kind(&body) == WIRE_FOUNDED &&
        record_decode(wire_record(WIRE_FOUNDED), &founded, body, &node->turn))
        take_founded(node, &founded);
}

static void ask_to_join(struct node *node)
{
    struct founding *founding = node->founding;
    if (!founding->joins || !founding->member || node->now_ms < founding->asked_ms + JOIN_MS) return;
    founding->asked_ms = node->now_ms;
    struct wire_join join = {slice_text(node->identity.name), slice_text(peers_address(node->peers))};
    node_tell(node, founding->member, WIRE_JOIN, &join);
}

/* A turn of a node without a cluster. */
bool founding_turn(struct node *node)
{
    struct raft_member *self = named(&node->founding->config, node->identity.name);
    if (self) self->node = node->identity.node;
    follow(node);
    log_waiting(node);
    peers_wait(node->peers, node->now_ms + TURN_MS);
    node->now_ms = boottime_ms();
    arena_reset(&node->turn);
    for (const struct peer_frame *frame = peers_take(node->peers); frame && node->founding;
         frame = frame->next)
        take_frame(node, frame);
    struct mail mail = mailbox_take(node->settings.mailbox);
    take_notices(node, mail.notices);
    if (!node->founding) { /* it is a member since a moment ago */
        node_see(node);
        intake_calls(node, mail.calls);
        return !node->stopped;
    }
    refuse_calls(node, mail.calls);
    ask_to_join(node);
    found(node);
    peers_flush(node->peers);
    node->view.turn_ms = node->now_ms;
    node->view.phase = node->stopped ? NODE_STOPPING : NODE_STARTING;
    mailbox_show(node->settings.mailbox, &node->view);
    return !node->stopped;
}
