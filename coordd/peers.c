/* The links of a node: the loop that drives them, what came, what goes, who is let in.
 *
 * Invariants: 1. everything of h2o is made and used on the thread that first waits, follows or sends. 2. A
 * link is closed in sweep() only, never inside a callback of its socket. 3. At most one link that dials per
 * target; of incoming ones that are up at most one per node, the newest. 4. Connections that have not proved
 * who they are never keep others out: beyond their number the oldest has to go. */
#include "coordd/peers_internal.h"

#include "base/check.h"
#include "base/memory.h"
#include "api/mailbox.h"
#include "coordd/log.h"

#include <errno.h>
#include <fcntl.h>
#include <h2o.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    COMPLAINT_MS = 10000,
    ACCEPTS_PER_PASS = 16,
    ACCEPT_PAUSE_MS = 100, /* no descriptor is free */
    WAIT_MAX_MS = 10000,
};

/* --- opening --- */

struct peers *peers_open(const struct peers_settings *settings, char *error, size_t error_size)
{
    struct peers *peers = memory_new(sizeof *peers);
    peers->settings = *settings;
    peers->identity = settings->identity;
    snprintf(peers->name, sizeof peers->name, "%s", settings->identity.name);
    peers->identity.name = peers->name;
    snprintf(peers->listen, sizeof peers->listen, "%s", settings->listen ? settings->listen : "");
    snprintf(peers->advertise, sizeof peers->advertise, "%s", settings->advertise ? settings->advertise : "");
    peers->world = (struct peer_world){&peers->identity, peers->advertise, &peers->secret, peers->members, 0};
    peers->listen_fd = peers->found_fd = -1;
    peers->frames_end = &peers->frames;
    if (peers_prepare(peers, error, error_size)) return peers;
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

/* This thread looks again, as it should have at due_ms. Nobody was silent because it was busy for long, or
 * because the whole machine stood still and the others with it. */
static uint64_t look(struct peers *peers, uint64_t due_ms)
{
    uint64_t now_ms = boottime_ms();
    if (now_ms >= due_ms + peer_link_patience_ms(peers->settings.heartbeat_ms) / 2)
        for (size_t i = 0; i < peers->link_count; i++)
            peer_link_held_up(peers->links[i], now_ms - due_ms, now_ms);
    peers->looked_ms = now_ms;
    return now_ms;
}

/* False: a signal (SIGCONT, a debugger) cut it short, and nothing was reported. */
static bool pass(struct peers *peers, int wait_ms)
{
    for (size_t i = 0; i < peers->link_count; i++) peers->links[i]->is_touched = false;
    uint64_t begin_ms = look(peers, peers->looked_ms);
    bool whole = h2o_evloop_run(peers->loop, wait_ms) == 0;
    if (!whole && errno != EINTR) fatal("peer loop: %s", strerror(errno));
    look(peers, begin_ms + (uint64_t)wait_ms);
    return whole;
}

void peers_close(struct peers *peers)
{
    for (size_t i = 0; i < peers->target_count; i++)
        if (peers->targets[i].lookup) peer_lookup_end(peers->targets[i].lookup, &peers->targets[i].found);
    while (peers->loop && !pass(peers, 0)) /* see sweep() */
        ;
    while (peers->link_count) peer_link_free(peers->links[--peers->link_count]);
    if (peers->listener)
        h2o_socket_close(peers->listener);
    else if (peers->listen_fd >= 0)
        close(peers->listen_fd);
    if (peers->waker) h2o_socket_close(peers->waker);
    if (peers->finder) h2o_socket_close(peers->finder);
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
}

void peers_know(struct peers *peers, const struct peers_member *members, size_t count)
{
    CHECK(count <= MEMBERS_MAX);
    memcpy(peers->members, members, count * sizeof *members);
    peers->world.member_count = count;
}

/* --- ends --- */

/* Whoever is refused comes back at once: at most one line in ten seconds. */
static void complain(struct peers *peers, const struct peer_link *link)
{
    uint64_t now_ms = boottime_ms();
    const struct peer_session *session = &link->session;
    if (session->was_up || link->left) {
        LOG(DEBUG, "an incoming link is down", {"name", session->theirs.name},
            {"node", log_hex(session->theirs.from)}, {"why", session->why});
        return;
    }
    if (peers->complained_ms && now_ms < peers->complained_ms + COMPLAINT_MS) {
        peers->uncomplained++;
        return;
    }
    LOG(WARN, "refused a connection on the peer port", {"from", link->from}, {"name", session->theirs.name},
        {"node", log_hex(session->theirs.from)}, {"why", session->why},
        {"refused_unsaid", log_number(peers->uncomplained)});
    peers->complained_ms = now_ms;
    peers->uncomplained = 0;
}

/* The text of a refusal is on its way: it gets one more pass. */
static bool lingers(struct peer_link *link)
{
    if (link->lingered || !link->is_writing || !link->session.out.size) return false;
    link->lingered = true;
    return true;
}

/* Only right after a whole pass of the loop: h2o's lists break when a socket is closed of which it has still
 * to report what was written. */
static void sweep(struct peers *peers)
{
    for (size_t i = peers->link_count; i-- > 0;) {
        struct peer_link *link = peers->links[i];
        if (!peer_link_over(link) || lingers(link)) continue;
        if (!target_down(peers, link)) complain(peers, link);
        peers->links[i] = peers->links[--peers->link_count];
        peer_link_free(link);
    }
}

/* --- what comes --- */

static void add_frame(struct peers *peers, struct peer_frame *frame)
{
    *peers->frames_end = frame;
    peers->frames_end = (struct peer_frame **)(uintptr_t)&frame->next;
}

void peers_link_up(struct peers *peers, struct peer_link *link)
{
    const struct peer_greeting *theirs = &link->session.theirs;
    for (size_t i = 0; i < peers->link_count; i++) {
        struct peer_link *other = peers->links[i];
        if (other != link && !other->session.dials && !link->session.dials && peer_link_up(other) &&
            other->session.theirs.from == theirs->from)
            peer_link_end(other, "a newer connection of the same node took its place");
    }
    if (link->session.dials)
        target_up(peers, link);
    else
        LOG(DEBUG, "an incoming link is up", {"name", theirs->name}, {"from", link->from},
            {"node", log_hex(theirs->from)});
    struct peer_frame *frame = arena_alloc(&peers->inbox, sizeof *frame);
    struct slice name = slice_of(theirs->name, sizeof theirs->name);
    struct slice address = slice_of(theirs->address, sizeof theirs->address);
    *frame = (struct peer_frame){.from = theirs->from,
                                 .cluster = theirs->cluster,
                                 .greeting = true,
                                 .name = (const char *)arena_copy(&peers->inbox, name).data,
                                 .address = (const char *)arena_copy(&peers->inbox, address).data};
    add_frame(peers, frame);
}

void peers_link_frame(struct peers *peers, struct peer_link *link, struct slice body)
{
    struct peer_frame *frame = arena_alloc(&peers->inbox, sizeof *frame);
    *frame = (struct peer_frame){.from = link->session.theirs.from,
                                 .cluster = link->session.theirs.cluster,
                                 .name = "",
                                 .address = "",
                                 .body = arena_copy(&peers->inbox, body)};
    add_frame(peers, frame);
}

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

/* --- who comes --- */

static bool is_stranger(const struct peer_link *link)
{
    return !link->session.dials && link->session.stage < PEER_UP;
}

/* A node that belongs here is done in a few round trips; who floods the port pushes out his own. */
static void make_room(struct peers *peers)
{
    struct peer_link *oldest = NULL;
    size_t strangers = 0;
    for (size_t i = 0; i < peers->link_count; i++) {
        struct peer_link *link = peers->links[i];
        if (!is_stranger(link)) continue;
        strangers++;
        if (!oldest || link->began_ms < oldest->began_ms) oldest = link;
    }
    if (strangers >= STRANGERS_MAX)
        peer_link_end(oldest, "too many connections that do not say who they are");
}

static void stop_accepting(struct peers *peers)
{
    h2o_socket_read_stop(peers->listener);
    peers->accept_again_ms = boottime_ms() + ACCEPT_PAUSE_MS;
}

static void on_accept(h2o_socket_t *listener, const char *error)
{
    struct peers *peers = listener->data;
    (void)error;
    for (int i = 0; i < ACCEPTS_PER_PASS; i++) {
        errno = 0;
        h2o_socket_t *socket = h2o_evloop_socket_accept(listener);
        if (!socket) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                stop_accepting(peers);
            return;
        }
        make_room(peers);
        if (peers->link_count >= LINKS_MAX - TARGETS_MAX)
            h2o_socket_close(socket); /* it must not stay in the kernel's queue */
        else
            peers->links[peers->link_count++] =
                peer_link_accepted(peers, socket, &peers->world, peers_tls(peers));
    }
}

/* --- the loop --- */

static void on_wake(h2o_socket_t *socket, const char *error)
{
    struct peers *peers = socket->data;
    (void)error;
    peers->woken = true;
}

static void on_found(h2o_socket_t *socket, const char *error)
{
    struct peers *peers = socket->data;
    eventfd_t ignored;
    (void)error;
    eventfd_read(peers->found_fd, &ignored); /* tend() looks which */
}

static h2o_socket_t *watch(struct peers *peers, int fd, h2o_socket_cb callback)
{
    CHECK(fd >= 0);
    h2o_socket_t *socket = h2o_evloop_socket_create(peers->loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    socket->data = peers;
    h2o_socket_read_start(socket, callback);
    return socket;
}

void peers_need_loop(struct peers *peers)
{
    if (peers->loop) return;
    peers->loop = h2o_evloop_create();
    peers->found_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    peers->finder = watch(peers, peers->found_fd, on_found);
    if (peers->listen_fd >= 0) peers->listener = watch(peers, peers->listen_fd, on_accept);
    if (peers->settings.wake >= 0)
        peers->waker = watch(peers, fcntl(peers->settings.wake, F_DUPFD_CLOEXEC, 0), on_wake);
}

/* h2o notes at the beginning of a pass whether a socket is to be watched for becoming writable. When one
 * whose state has changed since (begun, or a write that had to wait) is written to before that, and takes it
 * all but becomes unwritable, h2o goes on watching for nobody, and aborts when it becomes writable. */
static bool must_settle(const struct peers *peers)
{
    for (size_t i = 0; i < peers->link_count; i++) {
        const struct peer_link *link = peers->links[i];
        if (link->tls && link->is_touched && !link->is_writing && link->session.out.size) return true;
    }
    return false;
}

static void flush_all(struct peers *peers)
{
    while (must_settle(peers)) pass(peers, 0);
    for (size_t i = 0; i < peers->link_count; i++)
        if (!peer_link_over(peers->links[i])) peer_link_flush(peers->links[i]);
}

/* Everything that is due; when to look again. */
static uint64_t tend(struct peers *peers, uint64_t now_ms)
{
    uint64_t next_ms = UINT64_MAX;
    for (size_t i = 0; i < peers->link_count; i++) {
        uint64_t at_ms = peer_link_tend(peers->links[i], now_ms, peers->settings.heartbeat_ms);
        if (at_ms < next_ms) next_ms = at_ms;
    }
    flush_all(peers);
    for (size_t i = 0; i < peers->target_count; i++) {
        uint64_t at_ms = target_tend(peers, &peers->targets[i], now_ms);
        if (at_ms < next_ms) next_ms = at_ms;
    }
    if (peers->accept_again_ms && now_ms >= peers->accept_again_ms) {
        peers->accept_again_ms = 0;
        h2o_socket_read_start(peers->listener, on_accept);
    } else if (peers->accept_again_ms && peers->accept_again_ms < next_ms) {
        next_ms = peers->accept_again_ms;
    }
    return next_ms;
}

static int span(uint64_t until_ms, uint64_t now_ms)
{
    uint64_t wait_ms = until_ms > now_ms ? until_ms - now_ms : 0;
    return (int)(wait_ms < WAIT_MAX_MS ? wait_ms : WAIT_MAX_MS);
}

/* With no port and nobody to dial there is nothing but the mailbox to wait for. */
static void wait_alone(const struct peers *peers, uint64_t until_ms)
{
    struct pollfd watched = {.fd = peers->settings.wake, .events = POLLIN};
    int ready;
    do ready = poll(&watched, 1, span(until_ms, boottime_ms()));
    while (ready <= 0 && boottime_ms() < until_ms);
}

/* With TLS a write that is complete is known to be so only after a pass: sleeping on it would hold up what
 * follows. */
static bool is_unreported(const struct peers *peers)
{
    for (size_t i = 0; i < peers->link_count; i++)
        if (peers->links[i]->tls && peers->links[i]->is_writing) return true;
    return false;
}

void peers_wait(struct peers *peers, uint64_t until_ms)
{
    if (peers->listen_fd < 0 && !peers->target_count && !peers->link_count) {
        wait_alone(peers, until_ms);
        return;
    }
    peers_need_loop(peers);
    peers->woken = false;
    uint64_t now_ms = look(peers, peers->looked_ms);
    bool at_once = is_unreported(peers);
    do {
        uint64_t next_ms = tend(peers, now_ms);
        at_once |= peers->frames != NULL;
        if (pass(peers, at_once ? 0 : span(until_ms < next_ms ? until_ms : next_ms, now_ms))) sweep(peers);
        at_once = false;
        now_ms = boottime_ms();
    } while (!peers->frames && !peers->woken && now_ms < until_ms);
}

/* --- what goes --- */

static struct peer_link *link_to(const struct peers *peers, uint64_t node)
{
    struct peer_link *best = NULL;
    for (size_t i = 0; i < peers->link_count; i++) {
        struct peer_link *link = peers->links[i];
        if (!peer_link_up(link) || link->session.theirs.from != node) continue;
        if (!best || (link->session.dials && !best->session.dials) ||
            (link->session.dials == best->session.dials && link->began_ms > best->began_ms))
            best = link;
    }
    return best;
}

bool peers_send(struct peers *peers, uint64_t to, struct slice body)
{
    struct peer_link *link = link_to(peers, to);
    if (!link || !body.size || body.size > PEERS_FRAME_MAX ||
        link->session.out.size + link->writing.size + body.size > PEERS_QUEUE_MAX)
        return false;
    peer_session_send(&link->session, body);
    return true;
}

void peers_flush(struct peers *peers)
{
    bool waits = false;
    flush_all(peers);
    for (size_t i = 0; i < peers->link_count; i++)
        waits |= peers->links[i]->session.out.size > 0 && peers->links[i]->is_writing;
    if (waits) pass(peers, 0); /* the write before it may be done: then its callback goes on */
}
