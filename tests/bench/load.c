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
#include "loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum workload { PAIRS, CONTENDED, RENEW, HELLO, ETCD_PAIRS, ETCD_CONTENDED };

struct client {
    struct connection connection;
    bool holds;
    unsigned long long token;
    char lease[32], key[256]; /* etcd's */
};

static enum workload workload;
static struct times all_times, acquire_times;
static unsigned long long errors;
static bool draining;
static int drained, never; /* drained: clients that ask no more */

/* Names of a length that is a multiple of four are base64 of something: etcd wants its names so. */
static int ask_etcd(const struct client *c, char *text, size_t room)
{
    char body[400];
    const char *path = !c->lease[0] ? "lease/grant" : !c->holds ? "lock/lock" : "lock/unlock";
    if (!c->lease[0])
        snprintf(body, sizeof body, "{\"TTL\":\"60\"}");
    else if (!c->holds)
        snprintf(body, sizeof body, "{\"name\":\"bench%07d%04d\",\"lease\":\"%s\"}", (int)getpid() % 10000000,
                 workload == ETCD_CONTENDED ? 0 : c->connection.number % 10000, c->lease);
    else
        snprintf(body, sizeof body, "{\"key\":\"%s\"}", c->key);
    return snprintf(text, room, "POST /v3/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                    path, strlen(body), body);
}

static void ask(struct client *c)
{
    char text[700];
    int lock = workload == CONTENDED ? 0 : c->connection.number, size;
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
    connection_send(&c->connection, text, (size_t)size);
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

static bool take_etcd(struct client *c)
{
    if (c->lease[0]) {
        if (!c->holds) copy_text(c->connection.answer, "\"key\":\"", c->key, sizeof c->key);
        c->holds = !c->holds;
        return true;
    }
    copy_text(c->connection.answer, "\"ID\":\"", c->lease, sizeof c->lease);
    if (!c->lease[0]) fprintf(stderr, "%s\n", c->connection.answer), exit(1);
    return false; /* only preparation */
}

static void take(struct client *c)
{
    bool acquires = !c->holds;
    if (workload >= ETCD_PAIRS && !take_etcd(c)) return;
    double us = now_us() - c->connection.sent_us;
    times_add(&all_times, us);
    if (acquires) times_add(&acquire_times, us);
    if (c->connection.answer[9] != '2' && errors++ == 0) fprintf(stderr, "%s\n", c->connection.answer);
    char *token = strstr(c->connection.answer, "\r\nCoord-Token:");
    if (workload >= HELLO) return;
    if (!c->holds && token) c->token = strtoull(token + 14, NULL, 10);
    c->holds = workload == RENEW || !c->holds;
}

static void readable(void *which)
{
    struct client *c = which;
    connection_read(&c->connection);
    if (!http_whole(&c->connection)) return;
    take(c);
    if (draining && !c->holds)
        drained++;
    else
        ask(c);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"pairs", "contended",  "renew",
                                        "hello", "etcd-pairs", "etcd-contended"};
    if (argc < 5) return fputs("usage: load PORT[,PORT]... WORKLOAD CONNECTIONS SECONDS [PID]\n", stderr), 2;
    while (workload <= ETCD_CONTENDED && strcmp(names[workload], argv[2]) != 0) workload++;
    int count = atoi(argv[3]), epoll = epoll_create1(EPOLL_CLOEXEC);
    if (workload > ETCD_CONTENDED || count < 1 || count > 10000 || epoll < 0) return 2;
    struct client *all = calloc((size_t)count, sizeof *all);
    if (!all) fail("calloc");
    times_make(&all_times);
    times_make(&acquire_times);
    connections_open(all, sizeof *all, count, argv[1], epoll, 8192);
    for (int i = 0; i < count; i++) ask(&all[i]);
    double cpu = argc > 5 ? cpu_us(argv[5]) : 0, start = now_us(), end = start + atof(argv[4]) * 1e6;
    loop_serve(epoll, end, &never, 1, readable);
    double seconds = (now_us() - start) / 1e6, served = (double)(all_times.count ? all_times.count : 1);
    cpu = argc > 5 ? (cpu_us(argv[5]) - cpu) / served : 0;
    const struct times *t = &all_times, *a = &acquire_times;
    printf("%s %d: %.0f requests/s, p50 %u p95 %u p99 %u us, %.1f us CPU, acquire p50 %u p99 %u us, %llu "
           "errors\n",
           argv[2], count, (double)t->count / seconds, times_percentile(t, 0.5), times_percentile(t, 0.95),
           times_percentile(t, 0.99), cpu, times_percentile(a, 0.5), times_percentile(a, 0.99), errors);
    /* Who hangs up while it waits leaves work behind for the next round: etcd 3.4 then stalls other locks. */
    draining = workload != RENEW && workload != HELLO;
    if (draining) loop_serve(epoll, now_us() + 5e6, &drained, count, readable);
    return errors != 0;
}
