/* A request is held while its call is with the node. Meanwhile h2o polls its socket for us without reading,
 * so a client that dies is seen at once, and a keep-alive connection costs no change of its polling. A client
 * that closed its side, or sent its next request early, leaves the socket readable for good: then a second
 * epoll that looks for hang-ups only takes over for requests that wait. */
#include "api/http.h"

#include "base/check.h"
#include "base/memory.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static struct loop *loop_of(const struct request *request)
{
    return request->connection->loop;
}

static int descriptor_of(const struct request *request)
{
    return h2o_socket_get_fd(request->connection->socket);
}

static void notify(struct loop *loop, enum notice_kind kind, struct call *call, uint64_t number)
{
    struct notice *notice = memory_new(sizeof *notice);
    *notice = (struct notice){.kind = kind, .number = number, .call = call};
    mailbox_notify(loop->api->mailbox, notice);
}

/* --- the socket of a held request --- */

static void unlisten(struct request *request)
{
    if (!request->listening) return;
    h2o_socket_read_stop(request->connection->socket);
    h2o_socket_dont_read(request->connection->socket, 0);
    request->listening = false;
}

static void watch_hangup(struct request *request)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = request};
    int rc = epoll_ctl(loop_of(request)->hangup_epoll, EPOLL_CTL_ADD, descriptor_of(request), &event);
    request->watched = rc == 0;
}

static void unwatch(struct request *request)
{
    if (!request->watched) return;
    epoll_ctl(loop_of(request)->hangup_epoll, EPOLL_CTL_DEL, descriptor_of(request), NULL);
    request->watched = false;
}

/* Parts request and call, in whichever way the request ends. */
static struct call *release(struct request *request)
{
    struct call *call = request->call;
    unlisten(request);
    unwatch(request);
    heap_remove(&loop_of(request)->deadlines, &request->deadline);
    request->connection->held = NULL;
    request->call = NULL;
    call->request = NULL;
    return call;
}

/* --- ends without an answer --- */

static void tell_gone(struct loop *loop, const struct call *call)
{
    if (call->wait_ms || call->stream) notify(loop, NOTICE_GONE, NULL, call->number);
}

static void end(struct request *request, const struct problem *problem)
{
    struct loop *loop = loop_of(request);
    const struct call *call = release(request);
    tell_gone(loop, call);
    metrics_request(loop->metrics, request->route->number, problem->outcome,
                    loop_now_ns(loop) - request->started_ns);
    send_problem(loop, request->req, problem);
}

/* Nobody reads what is written now; writing is what makes h2o close the connection. */
static void gone(struct request *request)
{
    metric_add(&loop_of(request)->metrics->gone, 1);
    if (request->stream) {
        stream_close(request->stream);
        return;
    }
    request->req->http1_is_persistent = 0;
    end(request, &(struct problem){.outcome = OUTCOME_OUTCOME_UNKNOWN,
                                   .detail = SLICE("the client closed its side of the connection")});
}

static void out_of_time(struct request *request)
{
    bool query = request->route->operation->kind == OPERATION_QUERY ||
                 request->route->operation->kind == OPERATION_STREAM;
    end(request, &(struct problem){.outcome = query ? OUTCOME_OVERLOADED : OUTCOME_OUTCOME_UNKNOWN,
                                   .detail = SLICE("the node did not answer in time")});
}

/* The pool of the request is cleared while its call is still out: the connection broke. */
static void on_dispose(void *arg)
{
    struct request *request = arg;
    if (request->stream) {
        unwatch(request);
        request->connection->held = NULL;
        stream_lost(request->stream);
        return;
    }
    if (!request->call) return;
    struct loop *loop = loop_of(request);
    tell_gone(loop, release(request));
}

/* Readable while its request is held: the client died, closed, or sends its next request. One that closed
 * only its sending side still reads a quick answer; if it waits it counts as gone, since nothing tells the
 * two apart. */
static void on_stir(h2o_socket_t *socket, const char *error)
{
    struct request *request = ((struct connection *)socket->on_close.data)->held;
    char byte;
    ssize_t got = recv(h2o_socket_get_fd(socket), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    (void)error;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got < 0) {
        gone(request);
        return;
    }
    unlisten(request);
    if (request->call->wait_ms || request->call->stream) watch_hangup(request);
}

void on_hangups(h2o_socket_t *socket, const char *error)
{
    struct loop *loop = socket->data;
    struct epoll_event events[64];
    (void)error;
    int count = epoll_wait(loop->hangup_epoll, events, sizeof events / sizeof *events, 0);
    for (int i = 0; i < count; i++) gone(events[i].data.ptr);
}

void hold_expire(struct loop *loop)
{
    uint64_t now_ms = loop_now_ms(loop);
    for (struct timer *first; (first = heap_first(&loop->deadlines)) && first->at_ms <= now_ms;) {
        if (first == &loop->accept_again) {
            heap_remove(&loop->deadlines, first);
            accept_start(loop);
        } else {
            out_of_time(CONTAINER_OF(first, struct request, deadline));
        }
    }
}

void hold_refuse_all(struct loop *loop)
{
    for (struct connection *connection = loop->connections, *next; connection; connection = next) {
        next = connection->next;
        if (connection->held && connection->held->call)
            end(connection->held, &(struct problem){.outcome = OUTCOME_SHUTTING_DOWN});
    }
}

void hold_end_streams(struct loop *loop)
{
    for (struct connection *connection = loop->connections, *next; connection; connection = next) {
        next = connection->next;
        if (connection->held && connection->held->stream) stream_close(connection->held->stream);
    }
}

/* --- to the node and back --- */

static void count_out(struct loop *loop)
{
    metric_set(&loop->metrics->under_way, loop->calls_out);
    metric_set(&loop->metrics->waiting, loop->waiting_out);
}

void hold_request(struct loop *loop, h2o_req_t *req, const struct route *route, enum reply_form form,
                  struct call *call)
{
    struct request *request = h2o_mem_alloc_shared(&req->pool, sizeof *request, on_dispose);
    *request = (struct request){
        .connection = connection_of(req),
        .req = req,
        .call = call,
        .route = route,
        .form = form,
        .started_ns = loop_now_ns(loop),
        .listening = true,
    };
    CHECK(!request->connection->held);
    request->connection->held = request;
    call->request = request;
    call->next = NULL;
    *loop->submitted_end = call;
    loop->submitted_end = &call->next;
    loop->calls_out++;
    loop->waiting_out += call->wait_ms != 0;
    heap_set(&loop->deadlines, &request->deadline, call->arrived_ms + call->wait_ms + HTTP_ANSWER_MS);
    h2o_socket_dont_read(request->connection->socket, 1);
    h2o_socket_read_start(request->connection->socket, on_stir);
}

/* A grant that finds nobody goes back to the node, which undoes it. */
static void drop_late(struct loop *loop, struct call *call)
{
    if (call->stream && call->outcome == OUTCOME_OK)
        stream_lost(call->stream); /* the node may have heard of its end before its beginning */
    else if (call->stream)
        stream_free(call->stream);
    if (call->operation->undo && problem_facts(call->outcome)->status < 300) {
        metric_add(&loop->metrics->undelivered, 1);
        notify(loop, NOTICE_UNDELIVERED, call, call->number);
    } else {
        call_free(call);
    }
}

static void begin_stream(struct request *request, struct stream *stream)
{
    request->connection->held = request;
    request->stream = stream;
    watch_hangup(request);
    stream_begin(stream, request);
}

static void answer(struct loop *loop, struct call *call)
{
    struct request *request = call->request;
    loop->calls_out--;
    loop->waiting_out -= call->wait_ms != 0;
    if (!request) {
        drop_late(loop, call);
        return;
    }
    release(request);
    metrics_request(loop->metrics, request->route->number, call->outcome,
                    loop_now_ns(loop) - request->started_ns);
    if (call->stream && call->outcome == OUTCOME_OK) {
        begin_stream(request, call->stream);
        call_free(call);
        return;
    }
    if (call->stream) stream_free(call->stream);
    loop->scratch.size = 0;
    struct reply reply = reply_to_call(request->route, call, request->form, &loop->scratch);
    send_reply(loop, request->req, &reply, buffer_slice(&loop->scratch));
    call_free(call);
}

void hold_answer(struct loop *loop, struct call *calls)
{
    for (struct call *call = calls, *next; call; call = next) {
        next = call->next;
        answer(loop, call);
    }
    count_out(loop);
}
