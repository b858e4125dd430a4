#include "coordd/peer_link.h"

#include "base/check.h"
#include "base/memory.h"
#include "api/mailbox.h"
#include "coordd/clock.h"

#include <errno.h>
#include <h2o.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>

_Static_assert(H2O_USE_LIBUV == 0, "the headers' other layout");
_Static_assert(sizeof(h2o_timeout_t) == 48, "the headers' other layout");

enum {
    CONNECT_MS = 1000,
    GREET_MS = 2000,
    PING_MAX_MS = 250,         /* shorter than the patience of any node, however short its heartbeat */
    BUFFER_KEPT = 1024 * 1024, /* memory of a big write is given back */
    UNACKNOWLEDGED_MS = 5000,  /* of sent bytes: then the kernel gives up */
};

/* The head of h2o's own structure, frozen in Debian's 2.2.5: it has no accessor for the connection. */
struct h2o_tls_head {
    SSL_CTX *context;
    SSL *connection;
};

static SSL *tls_of(const struct peer_link *link)
{
    const struct h2o_tls_head *head = (const void *)link->socket->ssl;
    return head ? head->connection : NULL;
}

bool peer_link_up(const struct peer_link *link)
{
    return link->session.stage == PEER_UP;
}

bool peer_link_over(const struct peer_link *link)
{
    return link->session.stage == PEER_OVER;
}

void peer_link_end(struct peer_link *link, const char *why)
{
    peer_session_end(&link->session, why);
}

void peer_link_free(struct peer_link *link)
{
    SSL *tls = tls_of(link);
    if (tls) SSL_set_quiet_shutdown(tls, 1); /* a farewell would wait for the other side's */
    h2o_socket_close(link->socket);
    ERR_clear_error();
    peer_session_free(&link->session);
    buffer_free(&link->writing);
    free(link);
}

/* --- writing --- */

static void end_write(struct peer_link *link)
{
    link->is_writing = false;
    link->writing.size = link->written = 0;
    if (link->writing.capacity > BUFFER_KEPT) buffer_free(&link->writing);
}

/* What cannot be written is forgotten; that the connection is no more is left to the reading side, which may
 * still find there why. */
static void break_write(struct peer_link *link)
{
    link->is_broken = true;
    link->session.out.size = 0;
    end_write(link);
}

static void on_tls_written(h2o_socket_t *socket, const char *error)
{
    struct peer_link *link = socket->data;
    link->is_touched = true;
    end_write(link);
    if (error)
        break_write(link);
    else
        peer_link_flush(link);
}

static void on_writable(h2o_socket_t *socket, const char *error);

/* Past h2o as far as the kernel takes it: h2o would report only in its next pass that a write is complete,
 * and would abort in a later one if this one had left the socket unwritable. */
static void write_plain(struct peer_link *link)
{
    while (link->written < link->writing.size) {
        ssize_t size = send(h2o_socket_get_fd(link->socket), link->writing.data + link->written,
                            link->writing.size - link->written, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (size >= 0) {
            link->written += (size_t)size;
        } else if (errno == EAGAIN) {
            h2o_socket_notify_write(link->socket, on_writable);
            return;
        } else if (errno != EINTR) {
            break_write(link);
            return;
        }
    }
    end_write(link);
}

static void on_writable(h2o_socket_t *socket, const char *error)
{
    struct peer_link *link = socket->data;
    if (error)
        break_write(link);
    else
        write_plain(link);
    peer_link_flush(link);
}

void peer_link_flush(struct peer_link *link)
{
    struct buffer *out = &link->session.out;
    if (link->is_broken) out->size = 0;
    if (!out->size || link->is_writing || link->wire != WIRE_OPEN) return;
    struct buffer swap = link->writing;
    link->writing = *out;
    *out = swap;
    link->is_writing = true;
    link->said_ms = boottime_ms();
    if (link->tls) {
        h2o_iovec_t bytes = {(char *)link->writing.data, link->writing.size};
        h2o_socket_write(link->socket, &bytes, 1, on_tls_written);
    } else {
        write_plain(link);
    }
}

/* --- reading --- */

static void take_all(struct peer_link *link)
{
    h2o_buffer_t *input = link->socket->input;
    struct slice left = slice_of(input->bytes, input->size), body;
    size_t taken;
    if (!left.size) return;
    do {
        bool was_up = peer_link_up(link);
        taken = peer_session_take(&link->session, left, &body);
        left = slice_skip(left, taken);
        if (!was_up && peer_link_up(link)) peers_link_up(link->peers, link);
        if (body.size && peer_link_up(link)) peers_link_frame(link->peers, link, body);
    } while (taken && left.size);
    size_t done = input->size - left.size;
    h2o_buffer_consume(&link->socket->input, peer_link_over(link) ? input->size : done);
    peer_link_flush(link);
}

static void end_broken(struct peer_link *link, const char *error)
{
    char reason[72] = "", why[128];
    if (link->tls) peer_tls_reason(tls_of(link), reason, sizeof reason);
    if (error == h2o_socket_error_closed) error = "the other side closed the connection";
    if (error == h2o_socket_error_io) error = "the connection broke";
    if (error == h2o_socket_error_conn_fail) error = "the connection was refused, or nobody is there";
    snprintf(why, sizeof why, "%.48s%s%s", error, reason[0] ? ": " : "", reason);
    link->left = link->wire == WIRE_OPEN && !reason[0] && !peer_link_over(link);
    peer_link_end(link, why);
}

static void on_read(h2o_socket_t *socket, const char *error)
{
    struct peer_link *link = socket->data;
    link->heard_ms = boottime_ms();
    take_all(link);
    if (error || peer_link_over(link)) h2o_socket_read_stop(socket);
    if (error) end_broken(link, error);
}

static void begin(struct peer_link *link)
{
    uint8_t nonce[PEER_NONCE_SIZE];
    uint64_t numbers[] = {random_number(), random_number()};
    memcpy(nonce, numbers, sizeof nonce);
    link->wire = WIRE_OPEN;
    link->is_touched = true;
    link->session.tls = link->tls ? tls_of(link) : NULL;
    peer_session_begin(&link->session, nonce);
    peer_link_flush(link);
    h2o_socket_read_start(link->socket, on_read);
    if (link->socket->input->size) take_all(link); /* came with the end of the TLS handshake */
}

static void on_secured(h2o_socket_t *socket, const char *error)
{
    struct peer_link *link = socket->data;
    if (peer_link_over(link)) return;
    if (error)
        end_broken(link, error);
    else
        begin(link);
}

static void connected(struct peer_link *link)
{
    if (!link->tls) {
        begin(link);
        return;
    }
    link->wire = WIRE_SECURING;
    /* h2o checks no name under TLS 1.3 whatever it is given; the session does, once it knows the name. */
    h2o_socket_ssl_handshake(link->socket, link->session.dials ? link->tls->client : link->tls->server,
                             link->session.dials ? "peer" : NULL, on_secured);
}

static void on_connect(h2o_socket_t *socket, const char *error)
{
    struct peer_link *link = socket->data;
    if (peer_link_over(link)) return;
    if (error)
        end_broken(link, error);
    else
        connected(link);
}

/* --- beginnings --- */

static struct peer_link *make(struct peers *peers, h2o_socket_t *socket, const struct peer_world *world,
                              const struct peer_tls *tls)
{
    struct peer_link *link = memory_new(sizeof *link);
    link->peers = peers;
    link->socket = socket;
    link->tls = tls;
    link->session.world = world;
    link->began_ms = link->heard_ms = link->said_ms = boottime_ms();
    socket->data = link;
    int one = 1, timeout_ms = UNACKNOWLEDGED_MS;
    setsockopt(h2o_socket_get_fd(socket), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(h2o_socket_get_fd(socket), IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
    return link;
}

static void name_it(struct peer_link *link, const struct sockaddr *address, socklen_t size)
{
    char host[48] = "?", port[8] = "?";
    getnameinfo(address, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(link->from, sizeof link->from, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

struct peer_link *peer_link_accepted(struct peers *peers, h2o_socket_t *socket,
                                     const struct peer_world *world, const struct peer_tls *tls)
{
    struct peer_link *link = make(peers, socket, world, tls);
    struct sockaddr_storage address = {0};
    socklen_t size = h2o_socket_getpeername(socket, (struct sockaddr *)&address);
    name_it(link, (struct sockaddr *)&address, size);
    connected(link);
    return link;
}

struct peer_link *peer_link_dial(struct peers *peers, h2o_evloop_t *loop,
                                 const struct sockaddr_storage *address, socklen_t size,
                                 const struct peer_world *world, const struct peer_tls *tls,
                                 uint64_t expected)
{
    struct sockaddr_storage to = *address;
    h2o_socket_t *socket = h2o_socket_connect(loop, (struct sockaddr *)&to, size, on_connect);
    if (!socket) return NULL;
    struct peer_link *link = make(peers, socket, world, tls);
    link->session.dials = true;
    link->session.expected = expected;
    name_it(link, (const struct sockaddr *)address, size);
    return link;
}

/* --- time --- */

static uint64_t later(uint64_t at_ms, uint64_t time_ms, uint64_t now_ms)
{
    return at_ms + time_ms < now_ms ? at_ms + time_ms : now_ms;
}

void peer_link_held_up(struct peer_link *link, uint64_t time_ms, uint64_t now_ms)
{
    link->began_ms = later(link->began_ms, time_ms, now_ms);
    link->heard_ms = later(link->heard_ms, time_ms, now_ms);
}

/* What is late gets one more pass of the loop: when this thread itself was held up, the answer lies in the
 * kernel. */
static bool is_late(struct peer_link *link, uint64_t deadline_ms, uint64_t now_ms, const char *why)
{
    bool again = link->overdue;
    link->overdue = now_ms >= deadline_ms;
    if (link->overdue && again) peer_link_end(link, why);
    return link->overdue;
}

uint64_t peer_link_tend(struct peer_link *link, uint64_t now_ms, uint64_t heartbeat_ms)
{
    uint64_t connect_ms = link->began_ms + CONNECT_MS, greet_ms = link->began_ms + GREET_MS;
    uint64_t silent_ms = link->heard_ms + peer_link_patience_ms(heartbeat_ms);
    uint64_t ping_after_ms = 2 * heartbeat_ms < PING_MAX_MS ? 2 * heartbeat_ms : PING_MAX_MS;
    if (peer_link_over(link)) return now_ms;
    if (!peer_link_up(link)) {
        bool connects = link->wire == WIRE_CONNECTING;
        uint64_t deadline_ms = connects ? connect_ms : greet_ms;
        return is_late(link, deadline_ms, now_ms,
                       connects ? "no answer" : "the greeting was not finished in time")
                   ? now_ms
                   : deadline_ms;
    }
    if (is_late(link, silent_ms, now_ms, "silent for too long")) return now_ms;
    if (now_ms >= link->said_ms + ping_after_ms) {
        link->said_ms = now_ms;
        if (!link->is_writing) peer_session_send(&link->session, slice_of(NULL, 0));
    }
    uint64_t ping_ms = link->said_ms + ping_after_ms;
    return ping_ms < silent_ms ? ping_ms : silent_ms;
}
