/* What the load generators share: kept-open connections with one request under way on each, one thread,
 * epoll; histograms of microseconds; the CPU time of a process. Whatever fails ends the program. */
#ifndef COORDD_BENCH_LOOP_H
#define COORDD_BENCH_LOOP_H

#include <stdbool.h>
#include <stddef.h>

/* The first member of a generator's own struct: that is what `readable` gets. */
struct connection {
    int fd, number;
    double sent_us; /* when the request under way left */
    size_t size, room;
    char *answer; /* `size` bytes so far, and a zero */
};

double now_us(void);
_Noreturn void fail(const char *what);

void connection_open(struct connection *connection, int number, int port, int epoll, size_t room);
/* Opens one of `count` each `stride` bytes, dealt out to the ports of "PORT,PORT" in turn. */
void connections_open(void *all, size_t stride, int count, const char *ports, int epoll, size_t room);
void connection_send(struct connection *connection, const char *text, size_t size);
void connection_read(struct connection *connection);
/* Head, and as much body as the head says. */
bool http_whole(const struct connection *connection);

/* Until end_us, or until *ended is ended_max. */
void loop_serve(int epoll, double end_us, const int *ended, int ended_max, void (*readable)(void *));

struct times {
    unsigned long long count;
    unsigned *histogram;
};
void times_make(struct times *times);
void times_add(struct times *times, double us);
unsigned times_percentile(const struct times *times, double share);

/* User and system time of the process, in microseconds. */
double cpu_us(const char *pid);

#endif
