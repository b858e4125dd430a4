/* See loop.h. Sockets block: a request is written whole, and read is called only when epoll says so. */
#include "loop.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HISTOGRAM = 2000000 };

double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

_Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

void connection_open(struct connection *c, int number, int port, int epoll, size_t room)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *c = (struct connection){.number = number, .room = room, .answer = malloc(room)};
    if (!c->answer) fail("malloc");
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event)) fail("epoll_ctl");
}

void connections_open(void *all, size_t stride, int count, const char *ports, int epoll, size_t room)
{
    const char *port = ports;
    for (int i = 0; i < count; i++) {
        connection_open((void *)((char *)all + stride * (size_t)i), i, atoi(port), epoll, room);
        port = strchr(port, ',') ? strchr(port, ',') + 1 : ports;
    }
}

void connection_send(struct connection *c, const char *text, size_t size)
{
    c->sent_us = now_us();
    c->size = 0;
    for (size_t sent = 0; sent < size;) {
        ssize_t wrote = write(c->fd, text + sent, size - sent);
        if (wrote <= 0) fail("write");
        sent += (size_t)wrote;
    }
}

void connection_read(struct connection *c)
{
    if (c->size == c->room - 1) fputs("an answer is longer than the room for it\n", stderr), exit(1);
    ssize_t got = read(c->fd, c->answer + c->size, c->room - 1 - c->size);
    if (got <= 0) fail("the server closed a connection");
    c->size += (size_t)got;
    c->answer[c->size] = 0;
}

bool http_whole(const struct connection *c)
{
    const char *end = strstr(c->answer, "\r\n\r\n"), *length = strcasestr(c->answer, "\r\ncontent-length:");
    return end && c->size >= (size_t)(end + 4 - c->answer) +
                                 (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
}

void loop_serve(int epoll, double end_us, const int *ended, int ended_max, void (*readable)(void *))
{
    struct epoll_event events[256];
    while (now_us() < end_us && *ended < ended_max) {
        int ready = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < ready; i++) readable(events[i].data.ptr);
    }
}

void times_make(struct times *times)
{
    *times = (struct times){.histogram = calloc(HISTOGRAM, sizeof *times->histogram)};
    if (!times->histogram) fail("calloc");
}

void times_add(struct times *times, double us)
{
    times->histogram[us < HISTOGRAM - 1 ? (size_t)us : HISTOGRAM - 1]++;
    times->count++;
}

unsigned times_percentile(const struct times *times, double share)
{
    unsigned long long seen = 0;
    for (unsigned us = 0; us < HISTOGRAM; us++)
        if ((double)(seen += times->histogram[us]) >= share * (double)times->count) return us;
    return HISTOGRAM;
}

double cpu_us(const char *pid)
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
