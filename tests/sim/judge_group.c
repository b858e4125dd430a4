/* What groups promise, seen from outside: from the events of entries, as anybody can watch them.
 *
 * 1. A shard has one owner at most, a member that is up. It is given to another one, or free, only after its
 * owner let go of it when it was asked to, or has left, failed, or was taken over. Only a new number of
 * shards deals them out anew.
 * 2. Its token rises with each owner, and is the index of the entry that gave it.
 * 3. What GET shows of shards is what the events told.
 * 4. Heartbeats are not in the log.
 * 5. Who is silent is failed, also when the guard keeps it for a while (judge_group_up; sim.c waits). That
 * nobody is failed too soon is judged by its lease (judge_promise).
 * 6. While a group is guarded, the end of a lease fails nobody.
 * 7. A group has another leader only when the old one's lease is over, or it drains, or the settings change;
 * each term of office has a higher token.
 * 8. A broadcast is over once: satisfied when as many as it wants have acknowledged it, partial when some
 * have, expired when nobody has.
 * 9. A breaker that is closed or half-open may open, an open one gets half-open or closed, a half-open one
 * closed; and who comes or goes has a closed one. */
#include "tests/sim/sim.h"

#include "base/check.h"
#include "base/memory.h"
#include "coord/primitive/group.h"
#include "coord/primitive/txn.h"
#include "tests/sim/queue_model.h"

#include <stdio.h>

enum { NAME = 40, LOOK_EVERY = 64, SHOWN_DRAINING = MEMBER_STATES + 2 };

struct group_seen {
    struct group_seen *next;
    char name[NAME];
    uint64_t shards;
    bool guarded;
    char leader[NAME];
    uint64_t leader_token;
};

struct member_seen {
    struct member_seen *next;
    struct group_seen *group;
    char id[NAME];
    bool up, guarded, draining;
    uint64_t moved_index; /* when it came or went last */
    uint64_t breaker;     /* 0: closed still */
};

struct shard_seen {
    struct shard_seen *next;
    struct group_seen *group;
    uint64_t number, token, highest;
    char owner[NAME]; /* empty: free */
    bool revoking;
};

struct broadcast_seen {
    struct broadcast_seen *next;
    struct group_seen *group;
    uint64_t number;
    bool over;
};

static struct group_seen *groups;
static struct member_seen *members;
static struct shard_seen *shards;
static struct broadcast_seen *broadcasts;

static void copy(char *to, struct slice name)
{
    snprintf(to, NAME, "%.*s", SLICE_ARGS(name));
}

static struct group_seen *group_of(const char *name)
{
    struct group_seen *group = groups;
    while (group && strcmp(group->name, name) != 0) group = group->next;
    if (group) return group;
    group = memory_new(sizeof *group);
    *group = (struct group_seen){.next = groups};
    copy(group->name, slice_text(name));
    return groups = group;
}

static struct member_seen *member_of(struct group_seen *group, const char *id)
{
    struct member_seen *member = members;
    while (member && (member->group != group || strcmp(member->id, id) != 0)) member = member->next;
    if (member) return member;
    member = memory_new(sizeof *member);
    *member = (struct member_seen){.next = members, .group = group};
    copy(member->id, slice_text(id));
    return members = member;
}

static struct shard_seen *shard_of(struct group_seen *group, uint64_t number)
{
    struct shard_seen *shard = shards;
    while (shard && (shard->group != group || shard->number != number)) shard = shard->next;
    if (shard) return shard;
    shard = memory_new(sizeof *shard);
    *shard = (struct shard_seen){.next = shards, .group = group, .number = number};
    return shards = shard;
}

/* "/groups/G", and what follows behind the next slash; "" when nothing does. */
static struct group_seen *named(const struct event *event, const char **rest)
{
    static char path[4 * NAME];
    snprintf(path, sizeof path, "%.*s", SLICE_ARGS(event->path));
    CHECK(strncmp(path, "/groups/", 8) == 0);
    char *end = strchr(path + 8, '/');
    if (end) *end = 0;
    *rest = end ? end + 1 : "";
    return group_of(path + 8);
}

/* --- members --- */

static void all_gone(struct group_seen *group, uint64_t index)
{
    for (struct member_seen *member = members; member; member = member->next)
        if (member->group == group) {
            member->up = false;
            member->moved_index = index;
        }
}

/* Whom the guard kept until now fails by its timer. */
static void check_guard(const struct command *command, const struct member_seen *member)
{
    if (member->group->guarded && !member->guarded && command->operation == operation_lease_expire)
        sim_fail("%s of group %s is failed although the group is guarded", member->id, member->group->name);
}

static void check_breaker(const struct event *event, struct member_seen *member, bool anew)
{
    uint64_t kind = event->kind->code, before = member->breaker ? member->breaker : BREAKER_CLOSED;
    uint64_t now = view_number(event->shape, event->data, "breaker"), expected = before;
    bool may = true;
    if (anew) expected = BREAKER_CLOSED;
    if (kind == GROUP_EJECTED) expected = BREAKER_OPEN, may = before != BREAKER_OPEN;
    if (kind == GROUP_HALF_OPEN) expected = BREAKER_HALF_OPEN, may = before == BREAKER_OPEN;
    if (kind == GROUP_UNEJECTED) expected = BREAKER_CLOSED, may = before != BREAKER_CLOSED;
    if (!may || now != expected)
        sim_fail("the breaker of %s in group %s was %s and is %s: %s", member->id, member->group->name,
                 member_breaker_choices[before - 1], member_breaker_choices[now - 1], event->kind->name);
    if (kind == GROUP_EJECTED && before == BREAKER_HALF_OPEN) mark(MARK_BREAKER_OPEN_AGAIN);
    if (kind == GROUP_HALF_OPEN) mark(MARK_BREAKER_HALF_OPEN);
    if (kind == GROUP_UNEJECTED) mark(MARK_BREAKER_CLOSED);
    member->breaker = now;
}

static void member_event(const struct apply *apply, const struct command *command, const struct event *event)
{
    const char *rest;
    struct group_seen *group = named(event, &rest);
    uint64_t kind = event->kind->code;
    if (kind == GROUP_REMOVED) all_gone(group, apply->index);
    if (strncmp(rest, "members/", 8) != 0) return;
    struct member_seen *member = member_of(group, rest + 8);
    bool comes = kind == GROUP_JOINED || kind == GROUP_RECOVERED,
         goes = kind == GROUP_FAILED || kind == GROUP_LEFT;
    if (kind == GROUP_FAILED) check_guard(command, member);
    check_breaker(event, member, comes || goes);
    if (comes && member->up) mark(MARK_MEMBER_TAKEN_OVER);
    if (kind == GROUP_DRAINING) member->draining = true;
    if (comes || goes || kind == GROUP_UPDATED)
        member->draining = view_number(event->shape, event->data, "state") == SHOWN_DRAINING;
    member->guarded = view_bool(event->shape, event->data, "guarded");
    if (!comes && !goes) return;
    member->up = comes;
    member->moved_index = apply->index;
}

static void group_event(const struct apply *apply, const struct event *event)
{
    const char *rest;
    char leader[NAME];
    struct group_seen *group = named(event, &rest);
    uint64_t kind = event->kind->code;
    if (kind == GROUP_GUARDED) group->guarded = true;
    if (kind == GROUP_UNGUARDED || kind == GROUP_REMOVED) group->guarded = false;
    if (kind == GROUP_SET || kind == GROUP_REMOVED) group->leader[0] = 0; /* it may be another now */
    if (kind != GROUP_LEADER) return;
    copy(leader, view_text(event->shape, event->data, "leader"));
    uint64_t token = view_number(event->shape, event->data, "leader_token");
    const struct member_seen *before = group->leader[0] ? member_of(group, group->leader) : NULL;
    bool leads_on =
        before && before->up && before->moved_index != apply->index && !before->guarded && !before->draining;
    if (leads_on)
        sim_fail("%s leads group %s although %s is still there", leader, group->name, group->leader);
    if (leader[0] && token <= group->leader_token)
        sim_fail("group %s has the leader %s with the token of another", group->name, leader);
    if (leader[0] && before) mark(MARK_MEMBER_LEADS_AFTER_ANOTHER);
    copy(group->leader, slice_text(leader));
    if (leader[0]) group->leader_token = token;
}

/* --- broadcasts --- */

static struct broadcast_seen *broadcast_of(struct group_seen *group, uint64_t number)
{
    struct broadcast_seen *broadcast = broadcasts;
    while (broadcast && (broadcast->group != group || broadcast->number != number))
        broadcast = broadcast->next;
    if (broadcast) return broadcast;
    broadcast = memory_new(sizeof *broadcast);
    *broadcast = (struct broadcast_seen){.next = broadcasts, .group = group, .number = number};
    return broadcasts = broadcast;
}

static void check_end(const struct group_seen *group, const struct event *event)
{
    enum { OPEN = 1, SATISFIED, PARTIAL, EXPIRED };
    uint64_t state = view_number(event->shape, event->data, "state"),
             acked = view_number(event->shape, event->data, "acked"),
             targeted = view_number(event->shape, event->data, "targeted");
    bool right = acked <= targeted && (state == SATISFIED || (state == PARTIAL) == (acked > 0));
    if (!right || state == OPEN)
        sim_fail("a broadcast of group %s is over in state %llu with %llu of %llu", group->name,
                 (unsigned long long)state, (unsigned long long)acked, (unsigned long long)targeted);
    if (state == SATISFIED && targeted) mark(MARK_BROADCAST_SATISFIED);
}

static void broadcast_event(const struct event *event)
{
    const char *rest;
    uint64_t kind = event->kind->code;
    if (kind != GROUP_BROADCAST_SENT && kind != GROUP_BROADCAST_DONE) return;
    struct group_seen *group = named(event, &rest);
    struct broadcast_seen *seen = broadcast_of(group, view_number(event->shape, event->data, "number"));
    if (seen->over)
        sim_fail("broadcast %llu of group %s is over twice", (unsigned long long)seen->number, group->name);
    if (kind == GROUP_BROADCAST_SENT) return;
    seen->over = true;
    check_end(group, event);
}

size_t judge_group_up(void)
{
    size_t count = 0;
    for (const struct member_seen *member = members; member; member = member->next) count += member->up;
    return count;
}

/* --- shards --- */

static void forget_owners(struct group_seen *group)
{
    for (struct shard_seen *shard = shards; shard; shard = shard->next)
        if (shard->group == group) {
            shard->owner[0] = 0;
            shard->revoking = false;
        }
}

static void note_count(struct group_seen *group)
{
    char line[NAME + 8];
    snprintf(line, sizeof line, "group=%s", group->name);
    const struct answer *answer = judge_ask("group.get", line);
    bool there = answer->outcome == OUTCOME_OK;
    uint64_t count = !there ? 0
                            : view_number(view_item(answer->shape, "config"),
                                          view_record(answer->shape, answer->data, "config"), "shards");
    if (!there || count != group->shards) forget_owners(group);
    group->shards = count;
}

static bool is_acknowledged(const struct command *command, const struct shard_seen *shard)
{
    const struct operation *operation = model_operation(command);
    const void *args = command->args;
    if (command->operation == operation_guarded)
        args = ((const struct operation_item *)((const struct guarded_args *)args)->operation.items)->args;
    if (strcmp(operation->name, "txn") == 0)
        return true; /* it may have been; what its parts say is not looked at */
    return strcmp(operation->name, "group.shard_ack") == 0 && shard->revoking &&
           view_number(operation->args, args, "number") == shard->number &&
           view_number(operation->args, args, "token") == shard->token;
}

static bool let_go(const struct apply *apply, const struct command *command, const struct shard_seen *shard)
{
    const struct member_seen *owner = member_of(shard->group, shard->owner);
    if (!owner->up || owner->moved_index == apply->index) {
        mark(MARK_SHARD_LOST);
        return true;
    }
    if (!is_acknowledged(command, shard)) return false;
    mark(MARK_SHARD_HANDED_OVER);
    return true;
}

static void own(const struct apply *apply, struct shard_seen *shard, const char *owner, uint64_t token)
{
    if (token != apply->index || token <= shard->highest)
        sim_fail("shard %llu of group %s: token %llu after %llu", (unsigned long long)shard->number,
                 shard->group->name, (unsigned long long)token, (unsigned long long)shard->highest);
    copy(shard->owner, slice_text(owner));
    shard->token = shard->highest = token;
}

static void shard_event(const struct apply *apply, const struct command *command, const struct event *event)
{
    const char *rest;
    char owner[NAME];
    struct group_seen *group = named(event, &rest);
    uint64_t kind = event->kind->code, token;
    if (kind == GROUP_SET || kind == GROUP_REMOVED) note_count(group);
    if (kind != GROUP_SHARD_OWNED && kind != GROUP_SHARD_REVOKING && kind != GROUP_SHARD_FREE) return;
    struct shard_seen *shard = shard_of(group, view_number(event->shape, event->data, "number"));
    copy(owner, view_text(event->shape, event->data, "owner"));
    token = view_number(event->shape, event->data, "token");
    bool same = strcmp(shard->owner, owner) == 0 && shard->token == token;
    if (kind == GROUP_SHARD_REVOKING && !same)
        sim_fail("shard %llu of group %s is asked of %s, who does not have it",
                 (unsigned long long)shard->number, group->name, owner);
    if (!same && shard->owner[0] && !let_go(apply, command, shard))
        sim_fail("shard %llu of group %s goes to %s although %s has not let go of it",
                 (unsigned long long)shard->number, group->name, owner[0] ? owner : "nobody", shard->owner);
    if (kind == GROUP_SHARD_FREE) shard->owner[0] = 0;
    if (kind == GROUP_SHARD_OWNED && !same) own(apply, shard, owner, token);
    shard->revoking = kind == GROUP_SHARD_REVOKING;
}

static void check_owners(void)
{
    for (const struct shard_seen *shard = shards; shard; shard = shard->next) {
        if (!shard->owner[0]) continue;
        const struct member_seen *owner = member_of(shard->group, shard->owner);
        if (!owner->up || owner->moved_index > shard->token)
            sim_fail("shard %llu of group %s belongs to %s, who is not there any more",
                     (unsigned long long)shard->number, shard->group->name, shard->owner);
    }
}

static void look(struct group_seen *group)
{
    char line[NAME + 8], owner[NAME];
    snprintf(line, sizeof line, "group=%s", group->name);
    const struct answer *answer = judge_ask("group.shards", line);
    if (answer->outcome != OUTCOME_OK) return;
    struct list listed = view_list(answer->shape, answer->data, "shards");
    const struct record *shape = view_item(answer->shape, "shards");
    for (size_t i = 0; i < listed.count; i++) {
        const void *each = (const char *)listed.items + i * shape->size;
        const struct shard_seen *shard = shard_of(group, view_number(shape, each, "number"));
        copy(owner, view_text(shape, each, "owner"));
        if (strcmp(shard->owner, owner) != 0 ||
            (owner[0] && shard->token != view_number(shape, each, "token")))
            sim_fail("shard %llu of group %s is shown as %s's, told was '%s'",
                     (unsigned long long)shard->number, group->name, owner, shard->owner);
    }
}

/* --- entries --- */

void judge_group_entry(const struct apply *apply, const struct command *command)
{
    bool any = false;
    if (command->operation->kind == OPERATION_RENEWAL)
        sim_fail("%s is in the log, entry %llu", command->operation->name, (unsigned long long)apply->index);
    for (const struct event *event = apply->events; event; event = event->next)
        if (event->primitive == &group_primitive) {
            any = true;
            member_event(apply, command, event);
            group_event(apply, event);
            broadcast_event(event);
        }
    for (const struct event *event = any ? apply->events : NULL; event; event = event->next)
        if (event->primitive == &group_primitive) shard_event(apply, command, event);
    if (any) check_owners();
    for (struct group_seen *group = apply->index % LOOK_EVERY ? NULL : groups; group; group = group->next)
        look(group);
}
