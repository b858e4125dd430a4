/* Many watchers of one key on one node: what they cost, and how long an event takes to reach them all.
 *
 *     bench_watchers PORT [WATCHERS [EVENTS [sse|ndjson]]]
 *
 * One line a measure: resident memory and CPU time of the server (from its /metrics), and for each event the
 * time from sending its PUT until the first, the middle and the last watcher have read it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int port;
static bool ndjson;

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, ": %s\n", strerror(errno));
    exit(1);
}

static int dial(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    return fd;
}

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text)) die("write");
}

/* An answer with a Content-Length, on a connection of its own. */
static void ask(const char *request, char *answer, size_t size)
{
    int fd = dial();
    size_t got = 0;
    say(fd, request);
    for (ssize_t n; got + 1 < size && (n = read(fd, answer + got, size - 1 - got)) > 0;) got += (size_t)n;
    answer[got] = 0;
    close(fd);
}

static double metric(const char *line)
{
    static char answer[4 << 20];
    ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", answer, sizeof answer);
    const char *at = strstr(answer, line);
    return at ? strtod(at + strlen(line), NULL) : 0;
}

static double resident_mb(void)
{
    return metric("\nprocess_resident_memory_bytes ") / 1e6;
}

static double cpu_ms(void)
{
    return metric("\nprocess_cpu_seconds_total ") * 1e3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Reads until every watcher has got something that holds `mark`; when each did goes into at_ms. */
static void all_read(int epoll, size_t count, const char *mark, double begin_ms, double *at_ms)
{
    size_t left = count;
    while (left) {
        struct epoll_event events[512];
        int ready = epoll_wait(epoll, events, 512, 30000);
        if (ready <= 0) die("%zu watchers got nothing", left);
        for (int i = 0; i < ready; i++) {
            char data[4096];
            ssize_t got = read(events[i].data.fd, data, sizeof data - 1);
            if (got <= 0) die("a stream ended");
            data[got] = 0;
            if (strstr(data, mark)) at_ms[--left] = now_ms() - begin_ms;
        }
    }
    qsort(at_ms, count, sizeof *at_ms, by_size);
}

static void open_watchers(int epoll, size_t count, double *at_ms)
{
    char request[256];
    snprintf(request, sizeof request,
             "GET /v1/watch?path=/kv/bench HTTP/1.1\r\nHost: localhost\r\nAccept: %s\r\n\r\n",
             ndjson ? "application/x-ndjson" : "text/event-stream");
    double begin_ms = now_ms();
    for (size_t i = 0; i < count; i++) {
        int fd = dial();
        say(fd, request);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
    }
    all_read(epoll, count, "bookmark", begin_ms, at_ms);
    printf("opened %zu watchers in %.0f ms\n", count, at_ms[count - 1]);
}

static void one_event(int epoll, size_t count, unsigned number, double *at_ms)
{
    char request[256], mark[64], answer[4096];
    int fd = dial();
    snprintf(mark, sizeof mark, "\"event-%u\"", number);
    snprintf(request, sizeof request,
             "PUT /v1/kv/bench HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\nevent-%u",
             strlen(mark) - 2, number);
    double begin_ms = now_ms();
    say(fd, request);
    all_read(epoll, count, mark, begin_ms, at_ms);
    if (read(fd, answer, sizeof answer) <= 0) die("no answer");
    close(fd);
    printf("event %u: first %.1f ms, middle %.1f ms, last %.1f ms\n", number, at_ms[0], at_ms[count / 2],
           at_ms[count - 1]);
}

int main(int argc, char **argv)
{
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 10000;
    unsigned events = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 10;
    struct rlimit limit;
    if (argc < 2) {
        fprintf(stderr, "bench_watchers PORT [WATCHERS [EVENTS [sse|ndjson]]]\n");
        return 2;
    }
    port = atoi(argv[1]);
    ndjson = argc > 4 && strcmp(argv[4], "ndjson") == 0;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    double *at_ms = calloc(count, sizeof *at_ms), *lasts = calloc(events + 1, sizeof *lasts);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!at_ms || !lasts || epoll < 0) die("start");
    double before_mb = resident_mb();
    open_watchers(epoll, count, at_ms);
    printf("server: %.1f MB before, %.1f MB with %zu watchers\n", before_mb, resident_mb(), count);
    double spent_ms = cpu_ms();
    for (unsigned i = 0; i < events; i++) {
        one_event(epoll, count, i, at_ms);
        lasts[i] = at_ms[count - 1];
    }
    if (events) printf("server: %.1f ms of CPU for each event\n", (cpu_ms() - spent_ms) / events);
    qsort(lasts, events, sizeof *lasts, by_size);
    printf("last of all: best %.1f ms, median %.1f ms, worst %.1f ms; server %.1f MB\n", lasts[0],
           lasts[events / 2], lasts[events ? events - 1 : 0], resident_mb());
    return 0;
}
