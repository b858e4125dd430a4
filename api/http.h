/* All of h2o: only api/http*.c include this. One struct loop per api thread, made and run on that thread.
 *
 *   http.c          threads, start and stop, the passes of a loop, barriers
 *   http_accept.c   the listener and its connections
 *   http_request.c  a request on its way in: head, route, arguments, call
 *   http_hold.c     a request whose call is with the node: its answer, its deadline, its client going away
 *   http_stream.c   streams of events, fed by the node
 *   http_send.c     replies on their way out, and those that h2o would give by itself
 *
 * Invariants: 1. Everything in a loop is touched by its own thread only, but the inbox (inbox.h) and the
 * metrics.
 * 2. A connection holds at most one request; connection->held, request->call and call->request name each
 * other or nothing. 3. A call handed to the node comes back exactly once; with call->request NULL nobody
 * waits for it. 4. A request whose call was a stream's and was answered with a success has the stream instead
 * (connection->held and request->stream). */
#ifndef COORDD_API_HTTP_H
#define COORDD_API_HTTP_H

#include <h2o.h>
#include <h2o/http1.h>

#include "api/api.h"
#include "base/heap.h"
#include "api/body.h"
#include "api/gate.h"
#include "api/inbox.h"
#include "api/metrics.h"
#include "api/openapi.h"
#include "api/pages.h"

_Static_assert(H2O_USE_LIBUV == 0, "libh2o-evloop has the layouts of its own event loop");
_Static_assert(sizeof(h2o_timeout_t) == 48 && sizeof(h2o_context_t) == 864, "headers and library disagree");

enum {
    HTTP_REQUEST_MS = 10 * 1000,  /* for the whole of a request to arrive, and for an idle connection */
    HTTP_READER_MS = 10 * 1000,   /* a client that takes nothing of its answer for so long is cut off */
    HTTP_ANSWER_MS = 5 * 1000,    /* the node's time for an answer beyond the wait that was asked for */
    HTTP_CALLS_MAX = 64 * 1024,   /* with the node, in all threads */
    HTTP_WAITING_MAX = 16 * 1024, /* of those, with a wait */
    HTTP_STREAMS_MAX = 16 * 1024,
    HTTP_ENTITY_MAX = 2 * BODY_MAX, /* bodies beyond it are not even read */
};

struct loop {
    struct api_loop inbox; /* first: a call's home */
    struct api *api;
    pthread_t thread;
    int listen_fd;
    h2o_evloop_t *evloop;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    h2o_socket_t *listener, *wake, *alarm, *hangups;
    int timer_fd, hangup_epoll;

    struct connection *connections;
    size_t connection_count, connections_max;
    bool listening, draining;
    struct timer accept_again; /* after the kernel had no descriptor left */

    uint64_t now_ns;   /* CLOCK_BOOTTIME once asked for in this pass; 0: not yet */
    bool view_checked; /* in this pass */
    uint64_t view_version;
    struct node_view view;
    char leader[64], term[24]; /* for headers */
    size_t leader_size, term_size;

    struct call *submitted, **submitted_end; /* to the node at the end of the pass */
    size_t calls_out, waiting_out, calls_max, waiting_max;
    size_t stream_count, streams_max; /* those whose client is gone count until the node knows */
    size_t streams_high;              /* how many there were since memory was given back */
    struct heap deadlines;
    uint64_t alarm_ms; /* what timer_fd is set to; 0: not set */
    struct notice *barriers, *barriers_asked;
    size_t barrier_passes;
    struct buffer scratch; /* a body under construction */
    struct metrics *metrics;
};

struct connection {
    struct loop *loop;
    h2o_socket_t *socket;
    struct request *held;
    struct connection *next, **place;
    bool splits; /* its client sends head and body in two segments */
};

/* Lies in the pool of its h2o_req_t. */
struct request {
    struct connection *connection;
    h2o_req_t *req;
    struct call *call;
    struct stream *stream; /* once it has begun */
    const struct route *route;
    enum reply_form form;
    struct timer deadline;
    uint64_t started_ns;
    bool listening; /* h2o polls its socket for us */
    bool watched;   /* the socket is in hangup_epoll */
};

struct api {
    struct mailbox *mailbox;
    unsigned port;
    char *node;
    size_t node_size;
    struct gate *gate;
    struct routes *routes;
    struct buffer openapi;
    struct pages pages;
    struct metrics **metrics;
    h2o_globalconf_t config;
    h2o_hostconf_t *host;
    struct loop *loops;
    unsigned loop_count;
    pthread_barrier_t started;
    _Atomic uint64_t stop_ms; /* CLOCK_BOOTTIME by which connections must be gone; 0: run on */
};

/* http.c */
uint64_t loop_now_ns(struct loop *loop);
static inline uint64_t loop_now_ms(struct loop *loop)
{
    return loop_now_ns(loop) / 1000000;
}
const struct node_view *loop_view(struct loop *loop);

/* http_accept.c */
void accept_start(struct loop *loop);
void accept_stop(struct loop *loop);
/* Ends the reading of idle connections; with `all`, connections altogether. */
void connections_shut(struct loop *loop, bool all);
static inline struct connection *connection_of(h2o_req_t *req)
{
    return req->conn->callbacks->get_socket(req->conn)->on_close.data;
}

/* http_request.c: the handler of every path. */
int on_request(h2o_handler_t *handler, h2o_req_t *req);

/* http_hold.c */
void hold_request(struct loop *loop, h2o_req_t *req, const struct route *route, enum reply_form form,
                  struct call *call);
/* For the end, when the node has answered all that it took: what is still held never reached it. */
void hold_refuse_all(struct loop *loop);
void hold_expire(struct loop *loop);
void hold_answer(struct loop *loop, struct call *calls);
void hold_end_streams(struct loop *loop); /* those that the node has not ended */
void on_hangups(h2o_socket_t *socket, const char *error);

/* http_stream.c */
struct stream *stream_new(struct loop *loop, uint64_t number, enum stream_form form);
void stream_free(struct stream *stream);
/* The node has taken it: from now on what it sends goes to the request's client. */
void stream_begin(struct stream *stream, struct request *request);
void stream_lost(struct stream *stream);  /* there is no client any more */
void stream_close(struct stream *stream); /* the client closed its side */
void stream_take(struct loop *loop, struct parcel *parcels);

/* http_send.c */
/* The head of a body whose size is not known; what must follow is h2o_send, at once. */
void send_head(struct loop *loop, h2o_req_t *req, const struct reply *reply, h2o_generator_t *generator);
void send_reply(struct loop *loop, h2o_req_t *req, const struct reply *reply, struct slice body);
void send_problem(struct loop *loop, h2o_req_t *req, const struct problem *problem);
/* Turns what h2o refuses by itself (a body too large) into problem documents. */
void send_register_filter(h2o_pathconf_t *path);

#endif
