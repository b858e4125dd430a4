/* A closed-loop load generator: each connection has one request under way. One thread, epoll, kept-open
 * connections.
 *
 * load PORT[,PORT]... WORKLOAD CONNECTIONS SECONDS [SERVER_PID]
 *   pairs      acquire and release, a lock of its own for each connection
 *   contended  the same, all on one lock, waiting in its queue
 *   renew      acquire once, then renew
 *   hello      GET /
 *   etcd-pairs, etcd-contended   the same of etcd, through its JSON gateway: a lease for each connection
 * first Connections are dealt out to the ports in turn. Prints requests/s, percentiles in microseconds, the
 * server's CPU time for a request, and the percentiles of the acquires among them. Any answer but 2xx is an
 * error. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum workload { PAIRS, CONTENDED, RENEW, HELLO, ETCD_PAIRS, ETCD_CONTENDED };

struct connection {
    int fd, number;
    bool holds;
    unsigned long long token;
    char lease[32], key[256]; /* etcd's */
    double sent_us;
    size_t size;
    char answer[8192];
};

static enum workload workload;
enum { HISTOGRAM = 2000000 };
struct times {
    unsigned long long count;
    unsigned *histogram; /* of microseconds */
};
static struct times all_times, acquire_times;
static unsigned long long errors;
static bool draining;
static int drained; /* connections that ask no more */

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Names of a length that is a multiple of four are base64 of something: etcd wants its names so. */
static int ask_etcd(const struct connection *c, char *text, size_t room)
{
    char body[400];
    const char *path = !c->lease[0] ? "lease/grant" : !c->holds ? "lock/lock" : "lock/unlock";
    if (!c->lease[0])
        snprintf(body, sizeof body, "{\"TTL\":\"60\"}");
    else if (!c->holds)
        snprintf(body, sizeof body, "{\"name\":\"bench%07d%04d\",\"lease\":\"%s\"}", (int)getpid() % 10000000,
                 workload == ETCD_CONTENDED ? 0 : c->number % 10000, c->lease);
    else
        snprintf(body, sizeof body, "{\"key\":\"%s\"}", c->key);
    return snprintf(text, room, "POST /v3/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                    path, strlen(body), body);
}

static void ask(struct connection *c)
{
    char text[700];
    int lock = workload == CONTENDED ? 0 : c->number, size;
    if (workload >= ETCD_PAIRS)
        size = ask_etcd(c, text, sizeof text);
    else if (workload == HELLO)
        size = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    else if (!c->holds)
        size = snprintf(text, sizeof text,
                        "POST /v1/locks/bench-%d-%d/acquire?ttl=30s%s HTTP/1.1\r\nHost: "
                        "localhost\r\nContent-Length: 0\r\n\r\n",
                        (int)getpid(), lock, workload == CONTENDED ? "&wait=60s" : "");
    else
        size = snprintf(text, sizeof text,
                        "POST /v1/locks/bench-%d-%d/%s?token=%llu HTTP/1.1\r\nHost: "
                        "localhost\r\nContent-Length: 0\r\n\r\n",
                        (int)getpid(), lock, workload == RENEW ? "renew" : "release", c->token);
    c->sent_us = now_us();
    c->size = 0;
    if (write(c->fd, text, (size_t)size) != size) fail("write");
}

/* The whole answer is there: head, and as much body as the head says. */
static bool complete(struct connection *c)
{
    c->answer[c->size] = 0;
    char *end = strstr(c->answer, "\r\n\r\n"), *length = strcasestr(c->answer, "\r\ncontent-length:");
    return end && c->size >= (size_t)(end + 4 - c->answer) +
                                 (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
}

/* The text of a JSON member, its first appearance. */
static void copy_text(const char *answer, const char *member, char *text, size_t room)
{
    const char *at = strstr(answer, member);
    size_t size = at ? strcspn(at + strlen(member), "\"") : 0;
    if (size >= room) size = 0;
    if (at) memcpy(text, at + strlen(member), size);
    text[size] = 0;
}

static bool take_etcd(struct connection *c)
{
    if (c->lease[0]) {
        if (!c->holds) copy_text(c->answer, "\"key\":\"", c->key, sizeof c->key);
        c->holds = !c->holds;
        return true;
    }
    copy_text(c->answer, "\"ID\":\"", c->lease, sizeof c->lease);
    if (!c->lease[0]) fprintf(stderr, "%s\n", c->answer), exit(1);
    return false; /* only preparation */
}

static void add_time(struct times *times, double us)
{
    times->histogram[us < HISTOGRAM - 1 ? (size_t)us : HISTOGRAM - 1]++;
    times->count++;
}

static void take(struct connection *c)
{
    bool acquires = !c->holds;
    if (workload >= ETCD_PAIRS && !take_etcd(c)) return;
    double us = now_us() - c->sent_us;
    add_time(&all_times, us);
    if (acquires) add_time(&acquire_times, us);
    if (c->answer[9] != '2' && errors++ == 0) fprintf(stderr, "%s\n", c->answer);
    char *token = strstr(c->answer, "\r\nCoord-Token:");
    if (workload >= HELLO) return;
    if (!c->holds && token) c->token = strtoull(token + 14, NULL, 10);
    c->holds = workload == RENEW || !c->holds;
}

static void readable(struct connection *c)
{
    ssize_t got = read(c->fd, c->answer + c->size, sizeof c->answer - 1 - c->size);
    if (got <= 0) fail("the server closed a connection");
    c->size += (size_t)got;
    if (!complete(c)) return;
    take(c);
    if (draining && !c->holds)
        drained++;
    else
        ask(c);
}

static void open_connection(struct connection *c, int number, int port, int epoll)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->number = number;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event)) fail("epoll_ctl");
}

/* User and system time of the process, in microseconds. */
static double cpu_us(const char *pid)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    char *rest = strrchr(text, ')');
    if (rest) sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    return (double)(user + system) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

static void serve(int epoll, double end_us, int drained_max)
{
    struct epoll_event events[256];
    while (now_us() < end_us && drained < drained_max) {
        int ready = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < ready; i++) readable(events[i].data.ptr);
    }
}

static unsigned percentile(const struct times *times, double share)
{
    unsigned long long seen = 0;
    for (unsigned us = 0; us < HISTOGRAM; us++)
        if ((double)(seen += times->histogram[us]) >= share * (double)times->count) return us;
    return HISTOGRAM;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"pairs", "contended",  "renew",
                                        "hello", "etcd-pairs", "etcd-contended"};
    if (argc < 5) return fputs("usage: load PORT[,PORT]... WORKLOAD CONNECTIONS SECONDS [PID]\n", stderr), 2;
    while (workload <= ETCD_CONTENDED && strcmp(names[workload], argv[2]) != 0) workload++;
    int count = atoi(argv[3]), epoll = epoll_create1(EPOLL_CLOEXEC);
    if (workload > ETCD_CONTENDED || count < 1 || count > 10000 || epoll < 0) return 2;
    struct connection *all = calloc((size_t)count, sizeof *all);
    all_times.histogram = calloc(HISTOGRAM, sizeof *all_times.histogram);
    acquire_times.histogram = calloc(HISTOGRAM, sizeof *acquire_times.histogram);
    if (!all || !all_times.histogram || !acquire_times.histogram) fail("calloc");
    const char *port = argv[1];
    for (int i = 0; i < count; i++) {
        open_connection(&all[i], i, atoi(port), epoll);
        port = strchr(port, ',') ? strchr(port, ',') + 1 : argv[1];
    }
    for (int i = 0; i < count; i++) ask(&all[i]);
    double cpu = argc > 5 ? cpu_us(argv[5]) : 0, start = now_us(), end = start + atof(argv[4]) * 1e6;
    serve(epoll, end, 1);
    double seconds = (now_us() - start) / 1e6, served = (double)(all_times.count ? all_times.count : 1);
    cpu = argc > 5 ? (cpu_us(argv[5]) - cpu) / served : 0;
    const struct times *t = &all_times, *a = &acquire_times;
    printf("%s %d: %.0f requests/s, p50 %u p95 %u p99 %u us, %.1f us CPU, acquire p50 %u p99 %u us, %llu "
           "errors\n",
           argv[2], count, (double)t->count / seconds, percentile(t, 0.5), percentile(t, 0.95),
           percentile(t, 0.99), cpu, percentile(a, 0.5), percentile(a, 0.99), errors);
    /* Who hangs up while it waits leaves work behind for the next round: etcd 3.4 then stalls other locks. */
    draining = workload != RENEW && workload != HELLO;
    if (draining) serve(epoll, now_us() + 5e6, count);
    return errors != 0;
}
