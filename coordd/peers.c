/* The links of a node: whom it dials, who dialled it, what came, and when to give up.
 *
 * Invariants: 1. everything of h2o is made and used on the thread that first waits, follows or sends. 2. A
 * link is closed in sweep() only, never inside a callback of its socket. 3. At most one link that dials per
 * target; of incoming ones at most one per node is kept, the newest. */
#include "coordd/peers.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/memory.h"
#include "coordd/clock.h"
#include "coordd/log.h"
#include "coordd/peer_link.h"
#include "coordd/peer_resolve.h"

#include "api/mailbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum {
    TARGETS_MAX = 16,
    LINKS_MAX = 96,
    STRANGERS_MAX = 32, /* connections that have not proved who they are */
    CONNECT_MS = 1000,
    GREET_MS = 2000,
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 1000,
    LOOKING_MS = 20, /* between looks at a name that is being resolved */
    COMPLAINT_MS = 10000
};

struct target {
    uint64_t node;
    char address[160];
    struct peer_link *link;
    struct peer_lookup *lookup;
    struct peer_addresses found;
    size_t next_address;
    uint64_t dial_at_ms, backoff_ms, changed_ms;
    char error[128];
};

struct peers {
    struct peers_settings settings;
    struct peers_identity identity;
    char name[64], listen[160], advertise[160];
    struct peer_secret secret;
    struct peer_tls tls;
    struct peer_world world;
    int listen_fd;
    unsigned port;
    h2o_evloop_t *loop;
    h2o_socket_t *listener, *waker;
    struct peer_link *links[LINKS_MAX];
    size_t link_count;
    struct target targets[TARGETS_MAX];
    size_t target_count;
    struct arena inbox, taken;
    struct peer_frame *frames, **frames_end;
    uint64_t complained_ms;
};

const struct peer_world *peers_world(const struct peers *peers)
{
    return &peers->world;
}

/* --- opening --- */

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24) == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static bool bind_port(struct peers *peers, const struct peer_addresses *found, char *error, size_t error_size)
{
    int one = 1;
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    peers->listen_fd = socket(found->list[0].ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (peers->listen_fd >= 0 &&
        setsockopt(peers->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(peers->listen_fd, (const struct sockaddr *)&found->list[0], found->sizes[0]) == 0 &&
        listen(peers->listen_fd, 64) == 0 &&
        getsockname(peers->listen_fd, (struct sockaddr *)&bound, &size) == 0) {
        peers->port = ntohs(bound.ss_family == AF_INET ? ((struct sockaddr_in *)(void *)&bound)->sin_port
                                                       : ((struct sockaddr_in6 *)(void *)&bound)->sin6_port);
        return true;
    }
    snprintf(error, error_size, "--peer-listen %s cannot be had: %s", peers->listen, strerror(errno));
    return false;
}

static bool open_port(struct peers *peers, char *error, size_t error_size)
{
    struct peer_addresses found;
    if (!peer_resolve_now(peers->listen, true, &found)) { /* a name: at the start there is time for it */
        struct peer_lookup *lookup = peer_lookup_begin(peers->listen);
        while (!peer_lookup_done(lookup)) poll(NULL, 0, LOOKING_MS);
        peer_lookup_end(lookup, &found);
    }
    if (!found.count) {
        snprintf(error, error_size, "--peer-listen %s is no address of this machine: %s", peers->listen,
                 found.error);
        return false;
    }
    if (!is_loopback(&found.list[0]) && !peers->secret.size && !peers->world.tls) {
        snprintf(
            error, error_size,
            "--peer-listen %s can be reached from elsewhere: give all nodes a --cluster-secret-file (head -c "
            "32 /dev/urandom | base64 > FILE) or certificates (--peer-cert --peer-key --peer-ca)",
            peers->listen);
        return false;
    }
    return bind_port(peers, &found, error, error_size);
}

static bool open_keys(struct peers *peers, char *error, size_t error_size)
{
    const struct peers_settings *settings = &peers->settings;
    if (settings->secret_file && !peer_secret_read(settings->secret_file, &peers->secret, error, error_size))
        return false;
    if (!settings->cert_file && !settings->key_file && !settings->ca_file) return true;
    if (!peer_tls_open(&peers->tls, settings->cert_file, settings->key_file, settings->ca_file, error,
                       error_size))
        return false;
    peers->world.tls = &peers->tls;
    return true;
}

struct peers *peers_open(const struct peers_settings *settings, char *error, size_t error_size)
{
    struct peers *peers = memory_new(sizeof *peers);
    peers->settings = *settings;
    peers->identity = settings->identity;
    snprintf(peers->name, sizeof peers->name, "%s", settings->identity.name);
    peers->identity.name = peers->name;
    snprintf(peers->listen, sizeof peers->listen, "%s", settings->listen ? settings->listen : "");
    snprintf(peers->advertise, sizeof peers->advertise, "%s",
             settings->advertise ? settings->advertise : peers->listen);
    peers->world = (struct peer_world){&peers->identity, peers->advertise, &peers->secret, NULL};
    peers->listen_fd = -1;
    peers->frames_end = &peers->frames;
    bool good = strlen(peers->advertise) < RAFT_ADDRESS_SIZE;
    if (!good) snprintf(error, error_size, "--advertise-peer takes at most %d bytes", RAFT_ADDRESS_SIZE - 1);
    if (good && open_keys(peers, error, error_size) &&
        (!settings->listen || open_port(peers, error, error_size)))
        return peers;
    peers_close(peers);
    return NULL;
}

unsigned peers_port(const struct peers *peers)
{
    return peers->port;
}

const char *peers_address(const struct peers *peers)
{
    return peers->advertise;
}

/* --- links --- */

static struct peer_link *add_link(struct peers *peers, h2o_socket_t *socket, bool dials, uint64_t expected)
{
    int one = 1, timeout_ms = (int)(5 * peers->settings.heartbeat_ms + 5000);
    setsockopt(h2o_socket_get_fd(socket), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(h2o_socket_get_fd(socket), IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
    struct peer_link *link = peer_link_new(peers, socket, dials, expected);
    peers->links[peers->link_count++] = link;
    return link;
}

/* At most one line in ten seconds: whoever is refused comes back at once. */
static void complain(struct peers *peers, const struct peer_link *link)
{
    uint64_t now_ms = boottime_ms();
    if (link->dials || link->was_up) return;
    if (peers->complained_ms && now_ms < peers->complained_ms + COMPLAINT_MS) return;
    peers->complained_ms = now_ms;
    LOG(WARN, "refused a connection on the peer port", {"name", link->theirs.name},
        {"node", log_hex(link->theirs.from)}, {"why", link->why});
}

/* What is logged of an end: of links that were up, and once of each other reason. */
static void note_end(struct peers *peers, struct peer_link *link)
{
    bool was_up = link->was_up;
    struct target *target =
        link->dials && link->target < peers->target_count ? &peers->targets[link->target] : NULL;
    if (target && target->link != link) target = NULL;
    if (target) {
        bool news = strcmp(target->error, link->why) != 0;
        target->link = NULL;
        target->changed_ms = boottime_ms();
        snprintf(target->error, sizeof target->error, "%s", link->why);
        uint64_t wait_ms = was_up ? BACKOFF_MIN_MS : target->backoff_ms;
        target->dial_at_ms = target->changed_ms + wait_ms / 2 + random_number() % (wait_ms / 2 + 1);
        target->backoff_ms = wait_ms * 2 < BACKOFF_MAX_MS ? wait_ms * 2 : BACKOFF_MAX_MS;
        if (news || was_up)
            LOG(INFO, was_up ? "a link is down: dialling again" : "no link: trying again",
                {"peer", target->address}, {"why", link->why});
    } else {
        complain(peers, link);
    }
}

static void close_link(struct peers *peers, size_t at)
{
    struct peer_link *link = peers->links[at];
    note_end(peers, link);
    peers->links[at] = peers->links[--peers->link_count];
    peer_link_free(link);
}

/* Only right after a pass of the loop: h2o's lists break when a socket is closed of which it has still to
 * report what was written. */
static void sweep(struct peers *peers)
{
    for (size_t i = peers->link_count; i-- > 0;)
        if (peers->links[i]->stage == PEER_OVER) close_link(peers, i);
}

void peers_link_up(struct peers *peers, struct peer_link *link)
{
    for (size_t i = 0; i < peers->link_count; i++) {
        struct peer_link *other = peers->links[i];
        if (other != link && !other->dials && !link->dials && other->stage == PEER_UP &&
            other->theirs.from == link->theirs.from)
            peer_link_end(other, "a newer connection of the same node took its place");
    }
    if (link->dials && link->target < peers->target_count && peers->targets[link->target].link == link) {
        struct target *target = &peers->targets[link->target];
        target->changed_ms = boottime_ms();
        target->backoff_ms = BACKOFF_MIN_MS;
        target->error[0] = 0;
        LOG(INFO, "a link is up", {"name", link->theirs.name}, {"peer", target->address});
    }
    struct peer_frame *frame = arena_alloc(&peers->inbox, sizeof *frame);
    struct slice name = slice_of(link->theirs.name, sizeof link->theirs.name);
    struct slice address = slice_of(link->theirs.address, sizeof link->theirs.address);
    *frame = (struct peer_frame){.from = link->theirs.from,
                                 .cluster = link->theirs.cluster,
                                 .greeting = true,
                                 .name = (const char *)arena_copy(&peers->inbox, name).data,
                                 .address = (const char *)arena_copy(&peers->inbox, address).data};
    *peers->frames_end = frame;
    peers->frames_end = (struct peer_frame **)(uintptr_t)&frame->next;
}

void peers_link_frame(struct peers *peers, struct peer_link *link, struct slice body)
{
    struct peer_frame *frame = arena_alloc(&peers->inbox, sizeof *frame);
    *frame = (struct peer_frame){.from = link->theirs.from,
                                 .cluster = link->theirs.cluster,
                                 .name = "",
                                 .address = "",
                                 .body = arena_copy(&peers->inbox, body)};
    *peers->frames_end = frame;
    peers->frames_end = (struct peer_frame **)(uintptr_t)&frame->next;
}

/* --- the loop --- */

static void on_wake(h2o_socket_t *socket, const char *error)
{
    (void)socket, (void)error; /* that the loop woke is all that is wanted */
}

static size_t strangers(const struct peers *peers)
{
    size_t count = 0;
    for (size_t i = 0; i < peers->link_count; i++)
        count += !peers->links[i]->dials && peers->links[i]->stage != PEER_UP;
    return count;
}

/* Beyond the limits a connection is taken and closed: it must not stay in the kernel's queue. */
static void on_accept(h2o_socket_t *listener, const char *error)
{
    struct peers *peers = listener->data;
    (void)error;
    for (int i = 0; i < 16; i++) {
        h2o_socket_t *socket = h2o_evloop_socket_accept(listener);
        if (!socket) return;
        if (peers->link_count >= LINKS_MAX - TARGETS_MAX || strangers(peers) >= STRANGERS_MAX)
            h2o_socket_close(socket);
        else
            peer_link_connected(add_link(peers, socket, false, 0));
    }
}

static h2o_socket_t *watch(struct peers *peers, int fd, h2o_socket_cb callback)
{
    h2o_socket_t *socket = h2o_evloop_socket_create(peers->loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    socket->data = peers;
    h2o_socket_read_start(socket, callback);
    return socket;
}

static void need_loop(struct peers *peers)
{
    if (peers->loop) return;
    peers->loop = h2o_evloop_create();
    if (peers->listen_fd >= 0) peers->listener = watch(peers, peers->listen_fd, on_accept);
    if (peers->settings.wake >= 0)
        peers->waker = watch(peers, fcntl(peers->settings.wake, F_DUPFD_CLOEXEC, 0), on_wake);
}

void peers_close(struct peers *peers)
{
    for (size_t i = 0; i < peers->target_count; i++)
        if (peers->targets[i].lookup) peer_lookup_end(peers->targets[i].lookup, &peers->targets[i].found);
    if (peers->loop) h2o_evloop_run(peers->loop, 0); /* see sweep */
    while (peers->link_count) peer_link_free(peers->links[--peers->link_count]);
    if (peers->listener)
        h2o_socket_close(peers->listener);
    else if (peers->listen_fd >= 0)
        close(peers->listen_fd);
    if (peers->waker) h2o_socket_close(peers->waker);
    if (peers->loop) {
        h2o_evloop_run(peers->loop, 0); /* closed sockets are disposed of in a pass */
        h2o_evloop_destroy(peers->loop);
    }
    peer_tls_close(&peers->tls);
    arena_free(&peers->inbox);
    arena_free(&peers->taken);
    free(peers);
}

void peers_identify(struct peers *peers, uint64_t cluster)
{
    peers->identity.cluster = cluster;
    for (size_t i = 0; i < peers->link_count; i++)
        peer_link_end(peers->links[i], "this node found its cluster");
    for (size_t i = 0; i < peers->target_count; i++) peers->targets[i].backoff_ms = BACKOFF_MIN_MS;
}

/* --- targets --- */

static void drop_target(struct peers *peers, struct target *target)
{
    if (target->link) peer_link_end(target->link, "no longer a member");
    if (target->lookup) peer_lookup_end(target->lookup, &target->found);
    (void)peers;
}

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
    need_loop(peers);
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
        }
    }
    for (size_t k = 0; k < before_count; k++) drop_target(peers, &before[k]);
}

static void fail(struct target *target, const char *why)
{
    bool news = strcmp(target->error, why) != 0;
    snprintf(target->error, sizeof target->error, "%s", why);
    target->changed_ms = boottime_ms();
    target->dial_at_ms = target->changed_ms + target->backoff_ms;
    target->backoff_ms = target->backoff_ms * 2 < BACKOFF_MAX_MS ? target->backoff_ms * 2 : BACKOFF_MAX_MS;
    if (news) LOG(INFO, "no link: trying again", {"peer", target->address}, {"why", why});
}

static void dial(struct peers *peers, struct target *target)
{
    struct peer_addresses *found = &target->found;
    if (!found->count) {
        fail(target, found->error);
        return;
    }
    size_t at = target->next_address++ % found->count;
    h2o_socket_t *socket = h2o_socket_connect(peers->loop, (struct sockaddr *)&found->list[at],
                                              found->sizes[at], peer_link_on_connect);
    if (!socket) {
        fail(target, strerror(errno));
        return;
    }
    target->link = add_link(peers, socket, true, target->node);
    target->link->target = (size_t)(target - peers->targets);
}

static void tend_target(struct peers *peers, struct target *target, uint64_t now_ms)
{
    if (target->lookup && peer_lookup_done(target->lookup)) {
        peer_lookup_end(target->lookup, &target->found);
        target->lookup = NULL;
        dial(peers, target);
    } else if (!target->lookup && !target->link && now_ms >= target->dial_at_ms) {
        if (peer_resolve_now(target->address, false, &target->found))
            dial(peers, target);
        else
            target->lookup = peer_lookup_begin(target->address);
    }
}

/* --- time --- */

static void tend_link(struct peers *peers, struct peer_link *link, uint64_t now_ms)
{
    uint64_t silence_ms = 5 * peers->settings.heartbeat_ms + 500;
    if (link->stage == PEER_CONNECTING && now_ms >= link->began_ms + CONNECT_MS)
        peer_link_end(link, "no answer");
    else if (link->stage < PEER_UP && now_ms >= link->began_ms + GREET_MS)
        peer_link_end(link, "the greeting was not finished in time");
    else if (link->stage == PEER_UP && now_ms >= link->heard_ms + silence_ms)
        peer_link_end(link, "silent for too long");
    else if (link->stage == PEER_UP && now_ms >= link->said_ms + 2 * peers->settings.heartbeat_ms &&
             !link->is_writing)
        peer_link_send(link, slice_of(NULL, 0));
}

/* Everything that is due; when to look again. */
static uint64_t tend(struct peers *peers)
{
    uint64_t now_ms = boottime_ms(), next_ms = now_ms + 2 * peers->settings.heartbeat_ms;
    for (size_t i = 0; i < peers->link_count; i++) {
        tend_link(peers, peers->links[i], now_ms);
        peer_link_flush(peers->links[i]);
    }
    for (size_t i = 0; i < peers->target_count; i++) {
        struct target *target = &peers->targets[i];
        tend_target(peers, target, now_ms);
        uint64_t at_ms = target->lookup ? now_ms + LOOKING_MS
                         : target->link ? UINT64_MAX
                                        : target->dial_at_ms;
        if (at_ms < next_ms) next_ms = at_ms;
    }
    return next_ms;
}

static int span(uint64_t until_ms, uint64_t now_ms)
{
    uint64_t wait_ms = until_ms > now_ms ? until_ms - now_ms : 0;
    return (int)(wait_ms < 10000 ? wait_ms : 10000);
}

/* With no port and nobody to dial there is nothing but the mailbox to wait for. */
static void wait_alone(const struct peers *peers, uint64_t until_ms)
{
    struct pollfd watched = {.fd = peers->settings.wake, .events = POLLIN};
    poll(&watched, 1, span(until_ms, boottime_ms()));
}

void peers_wait(struct peers *peers, uint64_t until_ms)
{
    if (peers->listen_fd < 0 && !peers->target_count && !peers->link_count) {
        wait_alone(peers, until_ms);
        return;
    }
    need_loop(peers);
    uint64_t next_ms = tend(peers);
    if (peers->frames) until_ms = 0;
    h2o_evloop_run(peers->loop, span(until_ms < next_ms ? until_ms : next_ms, boottime_ms()));
    sweep(peers);
}

/* --- frames --- */

const struct peer_frame *peers_take(struct peers *peers)
{
    arena_reset(&peers->taken);
    struct arena swap = peers->taken;
    peers->taken = peers->inbox;
    peers->inbox = swap;
    const struct peer_frame *first = peers->frames;
    peers->frames = NULL;
    peers->frames_end = &peers->frames;
    return first;
}

static struct peer_link *link_to(const struct peers *peers, uint64_t node)
{
    struct peer_link *best = NULL;
    for (size_t i = 0; i < peers->link_count; i++) {
        struct peer_link *link = peers->links[i];
        if (link->stage != PEER_UP || link->theirs.from != node) continue;
        if (!best || link->dials || (!best->dials && link->began_ms > best->began_ms)) best = link;
    }
    return best;
}

bool peers_send(struct peers *peers, uint64_t to, struct slice body)
{
    struct peer_link *link = link_to(peers, to);
    if (!link || !body.size || body.size > PEERS_FRAME_MAX || link->out.size + body.size > PEERS_QUEUE_MAX)
        return false;
    peer_link_send(link, body);
    return true;
}

void peers_flush(struct peers *peers)
{
    bool waits = false;
    for (size_t i = 0; i < peers->link_count; i++) {
        peer_link_flush(peers->links[i]);
        waits |= peers->links[i]->out.size > 0 && peers->links[i]->is_writing;
    }
    if (waits) h2o_evloop_run(peers->loop, 0); /* the write before it is done: on_written goes on */
}

struct peer_link_state peers_state(const struct peers *peers, uint64_t node)
{
    struct peer_link_state state = {.up = link_to(peers, node) != NULL};
    for (size_t i = 0; i < peers->target_count; i++) {
        if (peers->targets[i].node != node) continue;
        state.since_ms = peers->targets[i].changed_ms;
        memcpy(state.error, peers->targets[i].error, sizeof state.error);
    }
    return state;
}
