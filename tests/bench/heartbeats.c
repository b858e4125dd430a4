/* Members and their heartbeats: each connection has one request under way.
 *
 * heartbeats PORT[,PORT]... TOKENS join MEMBERS CONNECTIONS      joins m0, m1 ... of group bench, writes
 * their tokens heartbeats PORT[,PORT]... TOKENS plain CONNECTIONS SECONDS     a heartbeat in a request
 * heartbeats PORT[,PORT]... TOKENS batch CONNECTIONS SECONDS SIZE    SIZE heartbeats in a request
 * heartbeats PORT TOKENS gap 1 SECONDS       as plain; then the longest time without a heartbeat that was
 * answered Connections are dealt out to the ports in turn, members in turn to requests. */
#include "loop.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum mode { JOIN, PLAIN, BATCH, GAP };
enum { ROOM = 2 * 1024 * 1024, ITEM = 120 };

struct client {
    struct connection connection;
    unsigned long long first; /* member of the request under way */
};

static enum mode mode;
static unsigned long long *tokens, members, next, size = 1, errors, gone;
static int joined, joined_max, never;
static struct times all_times;
static double answered_us, longest_us;
static char *text;

static size_t used;
__attribute__((format(printf, 1, 2))) static void add(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    used += (size_t)vsnprintf(text + used, ROOM - used, format, arguments);
    va_end(arguments);
}

static unsigned long long take_member(void)
{
    unsigned long long member = next;
    next = (next + 1) % members;
    return member;
}

static void ask_batch(struct client *c)
{
    used = 200; /* the head goes before it, when its length is known */
    add("{\"members\":[");
    for (unsigned long long i = 0; i < size; i++) {
        unsigned long long member = take_member();
        if (!i) c->first = member;
        add("%s{\"group\":\"bench\",\"id\":\"m%llu\",\"token\":%llu,\"load\":%llu}", i ? "," : "", member,
            tokens[member], member % 100);
    }
    add("]}");
    char head[200];
    int head_size = snprintf(head, sizeof head,
                             "POST /v1/heartbeats HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
                             used - 200);
    memcpy(text + 200 - head_size, head, (size_t)head_size);
    connection_send(&c->connection, text + 200 - head_size, used - 200 + (size_t)head_size);
}

static void ask(struct client *c)
{
    if (mode == BATCH) {
        ask_batch(c);
        return;
    }
    used = 0;
    c->first = take_member();
    if (mode == JOIN)
        add("PUT /v1/groups/bench/members/m%llu?ttl=30m&zone=z%llu&address=10.0.0.1:80 HTTP/1.1\r\n"
            "Host: localhost\r\nContent-Length: 0\r\n\r\n",
            c->first, c->first % 3);
    else
        add("POST /v1/groups/bench/members/m%llu/heartbeat?token=%llu&load=%llu HTTP/1.1\r\n"
            "Host: localhost\r\nContent-Length: 0\r\n\r\n",
            c->first, tokens[c->first], c->first % 100);
    connection_send(&c->connection, text, used);
}

static void take(struct client *c)
{
    const char *answer = c->connection.answer;
    bool ok = answer[9] == '2';
    times_add(&all_times, now_us() - c->connection.sent_us);
    if (!ok && errors++ == 0 && mode != GAP) fprintf(stderr, "%.600s\n", answer);
    if (ok && answered_us > 0 && now_us() - answered_us > longest_us) longest_us = now_us() - answered_us;
    if (ok) answered_us = now_us();
    if (ok && mode == BATCH && !strstr(answer, "\"gone\":[]")) gone++;
    const char *token = mode == JOIN ? strstr(answer, "\"token\":") : NULL;
    if (token) tokens[c->first] = strtoull(token + 8, NULL, 10);
    joined++;
}

static void readable(void *which)
{
    struct client *c = which;
    connection_read(&c->connection);
    if (!http_whole(&c->connection)) return;
    take(c);
    if (mode != JOIN || next != 0) ask(c);
}

static void read_tokens(const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "%llu", &members) != 1) fail(path);
    tokens = calloc(members, sizeof *tokens);
    for (unsigned long long i = 0; tokens && i < members; i++)
        if (fscanf(file, "%llu", &tokens[i]) != 1) fail(path);
    fclose(file);
}

static void write_tokens(const char *path)
{
    FILE *file = fopen(path, "we");
    if (!file) fail(path);
    fprintf(file, "%llu\n", members);
    for (unsigned long long i = 0; i < members; i++) fprintf(file, "%llu\n", tokens[i]);
    if (fclose(file)) fail(path);
}

static void report(const char *name, int count, double seconds)
{
    printf(
        "%s %d: %.0f heartbeats/s in %.0f requests/s, p50 %u p99 %u us, %llu errors, %llu with some gone\n",
        name, count, (double)(all_times.count * size) / seconds, (double)all_times.count / seconds,
        times_percentile(&all_times, 0.5), times_percentile(&all_times, 0.99), errors, gone);
    if (mode == GAP) printf("longest time without an answer: %.0f ms\n", longest_us / 1e3);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"join", "plain", "batch", "gap"};
    if (argc < 6)
        return fputs("usage: heartbeats PORT[,PORT]... TOKENS MODE ...: see its source\n", stderr), 2;
    while (mode <= GAP && strcmp(names[mode], argv[3]) != 0) mode++;
    int count = atoi(argv[mode == JOIN ? 5 : 4]), epoll = epoll_create1(EPOLL_CLOEXEC);
    if (mode > GAP || count < 1 || count > 10000 || epoll < 0) return 2;
    if (mode == JOIN)
        tokens = calloc(members = strtoull(argv[4], NULL, 10), sizeof *tokens);
    else
        read_tokens(argv[2]);
    if (mode == BATCH) size = argc > 6 ? strtoull(argv[6], NULL, 10) : 1000;
    struct client *all = calloc((size_t)count, sizeof *all);
    text = malloc(ROOM);
    if (!all || !text || !tokens || !members || size > members || size * ITEM > ROOM) return 2;
    times_make(&all_times);
    connections_open(all, sizeof *all, count, argv[1], epoll, mode == BATCH ? size * ITEM + 4096 : 8192);
    double start = now_us();
    for (int i = 0; i < count; i++) ask(&all[i]);
    joined_max = mode == JOIN ? (int)members : 1;
    loop_serve(epoll, mode == JOIN ? start + 600e6 : start + atof(argv[5]) * 1e6,
               mode == JOIN ? &joined : &never, joined_max, readable);
    report(argv[3], count, (now_us() - start) / 1e6);
    if (mode == JOIN) write_tokens(argv[2]);
    return mode != GAP && (errors || gone);
}
