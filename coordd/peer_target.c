/* Whom to dial: names into addresses, one attempt after the other with pauses that grow.
 *
 * Invariants: 1. a target has at most one of: a look-up, a link that is not over, a time to dial at. 2. The
 * name is looked up anew for every round; a round tries every address once, without a pause between them. */
#include "coordd/peers_internal.h"

#include "base/check.h"
#include "api/mailbox.h"
#include "coordd/clock.h"
#include "coordd/log.h"

#include <errno.h>
#include <stdio.h>

enum {
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 1000,
    LOOK_AGAIN_MS = 200, /* at a name that is being looked up, in case no eventfd could be had */
    LOOKING_LONG_MS = 1000,
};

void target_drop(struct target *target)
{
    if (target->link) peer_link_end(target->link, "no longer a member");
    if (target->lookup) peer_lookup_end(target->lookup, &target->found);
}

/* A reason is logged when it is news, however often it comes. */
static void set_error(struct target *target, const char *why)
{
    if (strncmp(target->error, why, sizeof target->error - 1) == 0) return;
    snprintf(target->error, sizeof target->error, "%s", why);
    LOG(INFO, "no link: trying again", {"peer", target->address}, {"why", why});
}

static bool more_addresses(const struct target *target)
{
    return target->tried < target->found.count;
}

/* With jitter: nodes that lost each other at once do not come back at once. */
static void back_off(struct target *target)
{
    uint64_t half_ms = target->backoff_ms / 2;
    target->dial_at_ms = boottime_ms() + half_ms + random_number() % (half_ms + 1);
    target->backoff_ms = target->backoff_ms * 2 < BACKOFF_MAX_MS ? target->backoff_ms * 2 : BACKOFF_MAX_MS;
    target->found.count = target->tried = 0;
}

static void dial(struct peers *peers, struct target *target)
{
    const char *why = target->found.error;
    while (more_addresses(target) && !target->link && peers->link_count < LINKS_MAX) {
        size_t at = target->tried++;
        target->link = peer_link_dial(peers, peers->loop, &target->found.list[at], target->found.sizes[at],
                                      &peers->world, peers_tls(peers), target->node);
        if (!target->link) why = strerror(errno);
    }
    if (target->link) {
        target->link->target = (size_t)(target - peers->targets);
        peers->links[peers->link_count++] = target->link;
        return;
    }
    set_error(target, why[0] ? why : "too many connections");
    back_off(target);
}

uint64_t target_tend(struct peers *peers, struct target *target, uint64_t now_ms)
{
    if (target->link) return UINT64_MAX;
    if (target->lookup) {
        if (!peer_lookup_done(target->lookup)) {
            if (now_ms >= target->lookup_began_ms + LOOKING_LONG_MS)
                set_error(target, "its name is still being looked up");
            return now_ms + LOOK_AGAIN_MS;
        }
        peer_lookup_end(target->lookup, &target->found);
        target->lookup = NULL;
        dial(peers, target);
    } else if (more_addresses(target)) {
        dial(peers, target);
    } else if (now_ms >= target->dial_at_ms) {
        target->tried = 0;
        if (peer_resolve_now(target->address, false, &target->found)) {
            dial(peers, target);
        } else {
            target->lookup = peer_lookup_begin(target->address, peers->found_fd);
            target->lookup_began_ms = now_ms;
            return now_ms + LOOK_AGAIN_MS;
        }
    }
    return target->link ? UINT64_MAX : target->dial_at_ms;
}

static struct target *target_of(struct peers *peers, const struct peer_link *link)
{
    if (!link->session.dials || link->target >= peers->target_count) return NULL;
    struct target *target = &peers->targets[link->target];
    return target->link == link ? target : NULL;
}

void target_up(struct peers *peers, struct peer_link *link)
{
    struct target *target = target_of(peers, link);
    if (!target) return;
    target->changed_ms = boottime_ms();
    target->backoff_ms = BACKOFF_MIN_MS;
    target->found.count = target->tried = 0;
    target->error[0] = 0;
    LOG(INFO, "a link is up", {"name", link->session.theirs.name}, {"peer", target->address},
        {"node", log_hex(link->session.theirs.from)});
}

bool target_down(struct peers *peers, struct peer_link *link)
{
    struct target *target = target_of(peers, link);
    if (!target) return link->session.dials;
    target->link = NULL;
    if (link->session.was_up) {
        target->changed_ms = boottime_ms();
        snprintf(target->error, sizeof target->error, "%s", link->session.why);
        LOG(INFO, "a link is down: dialling again", {"name", link->session.theirs.name},
            {"peer", target->address}, {"why", link->session.why});
    } else {
        set_error(target, link->session.why);
    }
    if (!more_addresses(target)) back_off(target);
    return true;
}

/* --- whom to follow --- */

static bool same_targets(const struct peers *peers, const struct peers_target *targets, size_t count)
{
    bool same = count == peers->target_count;
    for (size_t i = 0; same && i < count; i++)
        same = peers->targets[i].node == targets[i].node &&
               strcmp(peers->targets[i].address, targets[i].address) == 0;
    return same;
}

void peers_follow(struct peers *peers, const struct peers_target *targets, size_t count)
{
    struct target before[TARGETS_MAX];
    size_t before_count = peers->target_count;
    CHECK(count <= TARGETS_MAX);
    if (same_targets(peers, targets, count)) return;
    peers_need_loop(peers);
    memcpy(before, peers->targets, sizeof before);
    peers->target_count = count;
    for (size_t i = 0; i < count; i++) {
        struct target *target = &peers->targets[i];
        *target = (struct target){.node = targets[i].node, .backoff_ms = BACKOFF_MIN_MS};
        snprintf(target->address, sizeof target->address, "%s", targets[i].address);
        for (size_t k = 0; k < before_count; k++) {
            if (before[k].node != target->node || strcmp(before[k].address, target->address) != 0) continue;
            *target = before[k];
            if (target->link) target->link->target = i;
            before[k] = (struct target){0};
            break;
        }
    }
    for (size_t k = 0; k < before_count; k++) target_drop(&before[k]);
}

struct peer_link_state peers_state(const struct peers *peers, uint64_t node)
{
    struct peer_link_state state = {0};
    for (size_t i = 0; i < peers->target_count; i++) {
        if (peers->targets[i].node != node) continue;
        state.since_ms = peers->targets[i].changed_ms;
        memcpy(state.error, peers->targets[i].error, sizeof state.error);
    }
    for (size_t i = 0; i < peers->link_count; i++) {
        const struct peer_link *link = peers->links[i];
        if (!peer_link_up(link) || link->session.theirs.from != node) continue;
        state.up = true;
        state.error[0] = 0;
    }
    return state;
}
