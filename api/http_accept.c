#include "api/http.h"

#include "base/memory.h"

#include <errno.h>
#include <sys/socket.h>

enum {
    ACCEPTS_PER_PASS = 16,
    ACCEPT_AGAIN_MS = 100, /* after the kernel had no descriptor or memory for one more */
};

static void on_accept(h2o_socket_t *listener, const char *error);

static void listen_again(struct loop *loop)
{
    if (loop->listening || loop->draining || loop->connection_count >= loop->connections_max) return;
    h2o_socket_read_start(loop->listener, on_accept);
    loop->listening = true;
}

static void listen_pause(struct loop *loop)
{
    h2o_socket_read_stop(loop->listener);
    loop->listening = false;
}

static void on_close(void *arg)
{
    struct connection *connection = arg;
    struct loop *loop = connection->loop;
    if (connection->next) connection->next->place = connection->place;
    *connection->place = connection->next;
    free(connection);
    loop->connection_count--;
    metric_set(&loop->metrics->connections, loop->connection_count);
    listen_again(loop);
}

static void open_connection(struct loop *loop, h2o_socket_t *socket)
{
    struct connection *connection = memory_new(sizeof *connection);
    *connection = (struct connection){
        .loop = loop, .socket = socket, .next = loop->connections, .place = &loop->connections};
    if (loop->connections) loop->connections->place = &connection->next;
    loop->connections = connection;
    loop->connection_count++;
    metric_set(&loop->metrics->connections, loop->connection_count);
    metric_add(&loop->metrics->accepted, 1);
    socket->on_close.cb = on_close;
    socket->on_close.data = connection;
    h2o_accept(&loop->accept, socket);
}

/* An accept that fails for want of descriptors would spin: the listener stays readable. */
static void pause_on_shortage(struct loop *loop)
{
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
    listen_pause(loop);
    heap_set(&loop->deadlines, &loop->accept_again, loop_now_ms(loop) + ACCEPT_AGAIN_MS);
}

/* A barrier promises that all that came before it was read: then the whole backlog is taken. */
static void on_accept(h2o_socket_t *listener, const char *error)
{
    struct loop *loop = listener->data;
    if (error) return;
    bool all = loop->barriers || loop->draining;
    for (size_t i = 0; (all || i < ACCEPTS_PER_PASS) && loop->connection_count < loop->connections_max; i++) {
        h2o_socket_t *socket = h2o_evloop_socket_accept(listener);
        if (!socket) {
            pause_on_shortage(loop);
            return;
        }
        open_connection(loop, socket);
    }
    if (loop->connection_count >= loop->connections_max) listen_pause(loop);
}

void accept_start(struct loop *loop)
{
    if (!loop->listener) {
        loop->listener = h2o_evloop_socket_create(loop->evloop, loop->listen_fd, H2O_SOCKET_FLAG_DONT_READ);
        loop->listener->data = loop;
    }
    listen_again(loop);
}

void accept_stop(struct loop *loop)
{
    loop->draining = true;
    on_accept(loop->listener, NULL);
    h2o_socket_close(loop->listener);
    loop->listener = NULL;
    loop->listening = false;
}

/* h2o has no way to close an idle connection, but it closes one whose client is done sending. */
void connections_shut(struct loop *loop, bool all)
{
    for (struct connection *connection = loop->connections; connection; connection = connection->next)
        if (all || !connection->held)
            shutdown(h2o_socket_get_fd(connection->socket), all ? SHUT_RDWR : SHUT_RD);
}
