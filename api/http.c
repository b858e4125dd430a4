#include "api/http.h"

#include "base/check.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_PER_PASS = 256, /* compiled into h2o's loop */
    DRAIN_PASS_MS = 10,
    DRAIN_FORCED_MS = 200,
};

/* --- clock and view, once a pass --- */

uint64_t loop_now_ns(struct loop *loop)
{
    if (!loop->now_ns) {
        struct timespec now;
        clock_gettime(CLOCK_BOOTTIME, &now);
        loop->now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    }
    return loop->now_ns;
}

const struct node_view *loop_view(struct loop *loop)
{
    if (loop->view_checked) return &loop->view;
    loop->view_checked = true;
    if (mailbox_view_newer(loop->api->mailbox, &loop->view_version, &loop->view)) {
        loop->leader_size = strnlen(loop->view.leader, sizeof loop->leader);
        memcpy(loop->leader, loop->view.leader, loop->leader_size);
        int size = snprintf(loop->term, sizeof loop->term, "%llu", (unsigned long long)loop->view.term);
        loop->term_size = (size_t)size;
    }
    return &loop->view;
}

/* --- what wakes the loop beside its connections --- */

static void on_wake(h2o_socket_t *socket, const char *error)
{
    struct loop *loop = socket->data;
    (void)error;
    struct inbox inbox = inbox_take(&loop->inbox);
    struct notice **end = &loop->barriers_asked;
    while (*end) end = &(*end)->next;
    *end = inbox.barriers;
    hold_answer(loop, inbox.calls);
    stream_take(loop, inbox.parcels);
}

static void on_alarm(h2o_socket_t *socket, const char *error)
{
    struct loop *loop = socket->data;
    uint64_t times;
    (void)error;
    if (read(loop->timer_fd, &times, sizeof times) < 0 && errno != EAGAIN && errno != EINTR)
        fatal("timerfd: %s", strerror(errno));
    loop->alarm_ms = 0;
    hold_expire(loop);
}

static h2o_socket_t *add_descriptor(struct loop *loop, int fd, h2o_socket_cb callback)
{
    h2o_socket_t *socket = h2o_evloop_socket_create(loop->evloop, fd, H2O_SOCKET_FLAG_DONT_READ);
    socket->data = loop;
    h2o_socket_read_start(socket, callback);
    return socket;
}

/* --- a pass and what follows it --- */

/* An alarm that rings early finds nothing due and is set anew: so it is set once in seconds, not for each
 * call. */
static void set_alarm(struct loop *loop)
{
    const struct timer *first = heap_first(&loop->deadlines);
    if (!first || (loop->alarm_ms && loop->alarm_ms <= first->at_ms)) return;
    loop->alarm_ms = first->at_ms ? first->at_ms : 1;
    struct itimerspec at = {
        .it_value = {(time_t)(loop->alarm_ms / 1000), (long)(loop->alarm_ms % 1000) * 1000000}};
    if (timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &at, NULL)) fatal("timerfd: %s", strerror(errno));
}

static void submit(struct loop *loop)
{
    if (!loop->submitted) return;
    metric_set(&loop->metrics->under_way, loop->calls_out);
    metric_set(&loop->metrics->waiting, loop->waiting_out);
    mailbox_submit(loop->api->mailbox, loop->submitted);
    loop->submitted = NULL;
    loop->submitted_end = &loop->submitted;
}

/* One pass polls for so many readable sockets at most, those that waited longest first; and a connection
 * accepted in one pass is read in the next. */
static void follow_barriers(struct loop *loop)
{
    if (loop->barriers && --loop->barrier_passes == 0)
        while (loop->barriers) {
            struct notice *notice = loop->barriers;
            loop->barriers = notice->next;
            mailbox_notify(loop->api->mailbox, notice);
        }
    if (!loop->barriers && loop->barriers_asked) {
        loop->barriers = loop->barriers_asked;
        loop->barriers_asked = NULL;
        loop->barrier_passes = 2 + loop->connection_count / EVENTS_PER_PASS;
    }
}

static void pass(struct loop *loop, int32_t wait_ms)
{
    loop->now_ns = 0;
    loop->view_checked = false;
    if (h2o_evloop_run(loop->evloop, loop->barriers ? 0 : wait_ms) && errno != EINTR)
        fatal("event loop: %s", strerror(errno));
    submit(loop);
    set_alarm(loop);
    follow_barriers(loop);
}

/* --- a thread's life --- */

static void open_loop(struct loop *loop)
{
    struct api *api = loop->api;
    inbox_open(&loop->inbox, api->mailbox);
    loop->evloop = h2o_evloop_create();
    h2o_context_init(&loop->context, loop->evloop, &api->config);
    loop->accept = (h2o_accept_ctx_t){.ctx = &loop->context, .hosts = api->config.hosts};
    loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    loop->hangup_epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK(loop->timer_fd >= 0 && loop->hangup_epoll >= 0);
    loop->wake = add_descriptor(loop, fcntl(loop->inbox.event_fd, F_DUPFD_CLOEXEC, 0), on_wake);
    loop->alarm = add_descriptor(loop, loop->timer_fd, on_alarm);
    loop->hangups = add_descriptor(loop, loop->hangup_epoll, on_hangups);
    loop->submitted_end = &loop->submitted;
    loop->view = mailbox_view(api->mailbox);
    loop->term_size =
        (size_t)snprintf(loop->term, sizeof loop->term, "%llu", (unsigned long long)loop->view.term);
    accept_start(loop);
}

/* Everything that was answered leaves; then what is left is cut off. */
static void drain(struct loop *loop)
{
    uint64_t until_ms = atomic_load(&loop->api->stop_ms);
    loop->context.shutdown_requested =
        1; /* h2o's own call also starts a timer for HTTP/2, which we do not speak */
    accept_stop(loop);
    on_wake(loop->wake, NULL);
    hold_refuse_all(loop);
    hold_end_streams(loop);
    connections_shut(loop, false);
    while (loop->connection_count && boottime_ms() < until_ms) pass(loop, DRAIN_PASS_MS);
    if (!loop->connection_count) return;
    connections_shut(loop, true);
    until_ms += DRAIN_FORCED_MS;
    while (loop->connection_count && boottime_ms() < until_ms) pass(loop, DRAIN_PASS_MS);
}

static void close_loop(struct loop *loop)
{
    h2o_socket_close(loop->wake);
    h2o_socket_close(loop->alarm);
    h2o_socket_close(loop->hangups);
    if (!loop->connection_count) { /* h2o aborts when connections outlive it; the process ends soon anyway */
        h2o_context_dispose(&loop->context);
        h2o_evloop_destroy(loop->evloop);
    }
    for (struct notice *notice = loop->barriers, *next; notice; notice = next) {
        next = notice->next;
        free(notice);
    }
    for (struct notice *notice = loop->barriers_asked, *next; notice; notice = next) {
        next = notice->next;
        free(notice);
    }
    inbox_close(&loop->inbox);
    heap_free(&loop->deadlines);
    buffer_free(&loop->scratch);
}

static void *run(void *arg)
{
    struct loop *loop = arg;
    prctl(PR_SET_NAME, "api");
    open_loop(loop);
    pthread_barrier_wait(&loop->api->started);
    while (!atomic_load_explicit(&loop->api->stop_ms, memory_order_relaxed)) pass(loop, INT32_MAX);
    drain(loop);
    close_loop(loop);
    return NULL;
}

/* --- start and stop --- */

static void configure(struct api *api)
{
    h2o_config_init(&api->config);
    api->config.server_name = h2o_iovec_init(H2O_STRLIT("coordd"));
    api->config.max_request_entity_size = HTTP_ENTITY_MAX;
    api->config.http1.req_timeout = HTTP_REQUEST_MS;
    api->config.http1.upgrade_to_http2 = 0;
    api->host = h2o_config_register_host(&api->config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(api->host, "/", 0);
    h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = on_request;
    h2o_create_handler(&api->host->fallback_path, sizeof(h2o_handler_t))->on_req = on_request;
    send_register_filter(&api->host->fallback_path);
}

/* "HOST:PORT" or "[ADDRESS]:PORT" */
static struct addrinfo *resolve(const char *listen, char *error, size_t error_size)
{
    char host[256];
    const char *colon = strrchr(listen, ':');
    size_t size = colon ? (size_t)(colon - listen) : 0;
    bool port = colon && colon[1] && strlen(colon + 1) <= 5 &&
                strspn(colon + 1, "0123456789") == strlen(colon + 1) &&
                strtoul(colon + 1, NULL, 10) <= 65535; /* getaddrinfo takes 99999 for 34463 */
    if (!port || size >= sizeof host) {
        snprintf(error, error_size, "listen address %s is not HOST:PORT", listen);
        return NULL;
    }
    bool brackets = size > 2 && listen[0] == '[' && listen[size - 1] == ']';
    memcpy(host, listen + brackets, size);
    host[size - (brackets ? 2 : 0)] = 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *address = NULL;
    int rc = getaddrinfo(host[0] && strcmp(host, "*") != 0 ? host : NULL, colon + 1, &hints, &address);
    if (rc) snprintf(error, error_size, "listen address %s: %s", listen, gai_strerror(rc));
    return rc ? NULL : address;
}

static int listen_at(const struct sockaddr *address, socklen_t size, bool shared)
{
    enum { BACKLOG = 1024 };
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (shared) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    /* inherited by accepted connections: h2o has no limit for a client that does not read */
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &(unsigned){HTTP_READER_MS}, sizeof(unsigned));
    if (bind(fd, address, size) == 0 && listen(fd, BACKLOG) == 0) return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static bool listen_all(struct api *api, const char *listen, char *error, size_t error_size)
{
    struct addrinfo *info = resolve(listen, error, error_size);
    if (!info) return false;
    struct sockaddr_storage address = {0};
    socklen_t size = info->ai_addrlen;
    memcpy(&address, info->ai_addr, size);
    freeaddrinfo(info);
    for (unsigned i = 0; i < api->loop_count; i++) {
        int fd = listen_at((struct sockaddr *)&address, size, api->loop_count > 1);
        if (fd < 0) {
            snprintf(error, error_size, "cannot listen on %s: %s", listen, strerror(errno));
            while (i--) close(api->loops[i].listen_fd);
            return false;
        }
        api->loops[i].listen_fd = fd;
        CHECK(getsockname(fd, (struct sockaddr *)&address, &size) ==
              0); /* port 0 became a port: the others share it */
    }
    bool six = address.ss_family == AF_INET6;
    api->port = ntohs(six ? ((struct sockaddr_in6 *)&address)->sin6_port
                          : ((struct sockaddr_in *)&address)->sin_port);
    return true;
}

static void free_api(struct api *api)
{
    for (unsigned i = 0; i < api->loop_count; i++) metrics_free(api->metrics[i]);
    free(api->metrics);
    free(api->loops);
    routes_free(api->routes);
    buffer_free(&api->openapi);
    gate_free(api->gate);
    free(api->node);
    free(api);
}

/* Descriptors for connections, raising the process's limit when it may be raised: some are needed for the
 * rest, and a kernel that has none left for accept() makes the loop spin. */
static size_t possible_connections(size_t wanted)
{
    enum { RESERVED = 64 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) return wanted;
    if (limit.rlim_cur < wanted + RESERVED && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = wanted + RESERVED < limit.rlim_max ? wanted + RESERVED : limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) || getrlimit(RLIMIT_NOFILE, &limit)) return 1;
    }
    if (limit.rlim_cur >= wanted + RESERVED) return wanted;
    return limit.rlim_cur > 2 * RESERVED ? limit.rlim_cur - RESERVED : limit.rlim_cur / 2;
}

static struct api *make_api(const struct api_settings *settings)
{
    struct api *api = memory_new(sizeof *api);
    api->mailbox = settings->mailbox;
    api->node = h2o_strdup(NULL, settings->node, SIZE_MAX).base;
    api->node_size = strlen(api->node);
    api->gate = gate_new(settings->listen, settings->node, settings->hosts);
    api->routes = routes_new(primitives);
    openapi_json(api->routes, &api->openapi);
    api->loop_count = settings->threads ? settings->threads : 1;
    api->loops = memory_new(api->loop_count * sizeof *api->loops);
    api->metrics = memory_new(api->loop_count * sizeof *api->metrics);
    size_t connections = possible_connections(settings->connections_max) / api->loop_count;
    for (unsigned i = 0; i < api->loop_count; i++) {
        struct loop *loop = &api->loops[i];
        loop->metrics = api->metrics[i] = metrics_new(api->routes);
        loop->api = api;
        loop->connections_max = connections ? connections : 1;
        metric_set(&loop->metrics->connections_max, loop->connections_max);
        loop->calls_max = HTTP_CALLS_MAX / api->loop_count;
        loop->waiting_max = HTTP_WAITING_MAX / api->loop_count;
        loop->streams_max = settings->streams_max / api->loop_count;
        if (!loop->streams_max) loop->streams_max = settings->streams_max ? 1 : HTTP_STREAMS_MAX;
    }
    api->pages =
        (struct pages){api->node, api->routes, buffer_slice(&api->openapi), api->metrics, api->loop_count};
    return api;
}

struct api *api_start(const struct api_settings *settings, char *error, size_t error_size)
{
    body_init();
    struct api *api = make_api(settings);
    if (!listen_all(api, settings->listen, error, error_size)) {
        free_api(api);
        return NULL;
    }
    configure(api);
    CHECK(pthread_barrier_init(&api->started, NULL, api->loop_count + 1) == 0);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all,
                    &before); /* inherited: api threads take no signals, SIGPIPE included */
    for (unsigned i = 0; i < api->loop_count; i++)
        CHECK(pthread_create(&api->loops[i].thread, NULL, run, &api->loops[i]) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_barrier_wait(&api->started);
    return api;
}

unsigned api_port(const struct api *api)
{
    return api->port;
}

void api_stop(struct api *api, uint64_t limit_ms)
{
    atomic_store(&api->stop_ms, boottime_ms() + limit_ms);
    for (unsigned i = 0; i < api->loop_count; i++) inbox_wake(&api->loops[i].inbox);
    size_t left = 0;
    for (unsigned i = 0; i < api->loop_count; i++) {
        pthread_join(api->loops[i].thread, NULL);
        left += api->loops[i].connection_count;
    }
    pthread_barrier_destroy(&api->started);
    if (left) return; /* h2o still points into it */
    h2o_config_dispose(&api->config);
    free_api(api);
}

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
/* h2o keeps some memory per thread for good, and its queue of messages. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:h2o_mem_alloc_recycle\nleak:h2o_multithread_create_queue\n";
}
#endif
