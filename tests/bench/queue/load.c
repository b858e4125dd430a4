/* The load generator of queues: each client enqueues, claims and completes as many tasks as a batch has, in
 * turn; all take from one queue. One thread, epoll, one request under way on each connection. No client finds
 * the queue empty, because each puts in what it is going to take out.
 *
 * bench_queue PORT[,PORT]... coordd|coordd-next|beanstalkd|redis BATCH CLIENTS SECONDS [QUEUE [FILL]]
 *   coordd        POST tasks, claim, complete
 *   coordd-next   POST tasks (an array), next: finishes the batch before and claims another
 *   beanstalkd    put, reserve, delete
 *   redis         LPUSH, LMOVE to a list of the client's own, LREM
 * FILL: only enqueues, so many tasks. Prints finished tasks/s and percentiles of each request in
 * microseconds. Clients are dealt out to the ports in turn. At the end each client completes what it has. */
#include "talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

static const struct talk *talk;
static int batch, ended, never;
static long fill; /* tasks still to be enqueued; 0: no filling */
static bool filling, draining;
static unsigned long long finished, errors;
static struct times times[STEPS];
static const char *const steps[] = {"enqueue", "claim", "complete"};

static void ask(struct client *client)
{
    static char text[ROOM];
    client->scanned = 0;
    client->lines = 0;
    if (client->step == COMPLETE && !talk->finishes_in_claim) client->count = client->claimed;
    connection_send(&client->connection, text, talk->ask(client, text, sizeof text));
}

/* The step after one that went well; had: tasks that the client had before it. A claim that got less than the
 * client put in is followed by another, so that the queue does not grow. */
static void go_on(struct client *client, int had)
{
    int left = client->count - client->claimed;
    switch (client->step) {
    case ENQUEUE:
        client->step = CLAIM;
        break;
    case CLAIM:
        if (talk->finishes_in_claim) finished += (unsigned long long)had;
        if (left && (talk->finishes_in_claim || !client->claimed)) {
            client->count = left;
            return;
        }
        client->step = talk->finishes_in_claim ? ENQUEUE : COMPLETE;
        if (draining && client->claimed) client->step = COMPLETE;
        break;
    case COMPLETE:
    case STEPS:
        finished += (unsigned long long)had;
        client->claimed = 0;
        client->step = ENQUEUE;
        break;
    }
    client->count = batch;
}

static void readable(void *which)
{
    struct client *client = which;
    int had = client->claimed;
    connection_read(&client->connection);
    if (!talk->whole(client)) return;
    times_add(&times[client->step], now_us() - client->connection.sent_us);
    if (talk->take(client))
        go_on(client, had);
    else if (errors++ == 0)
        fprintf(stderr, "%s: %.2000s\n", steps[client->step], client->connection.answer);
    if (filling) {
        client->step = ENQUEUE;
        if ((fill -= batch) < 0) {
            ended++;
            return;
        }
    }
    if (draining && client->step == ENQUEUE)
        ended++;
    else
        ask(client);
}

static const struct talk *talk_of(const char *name)
{
    static const struct talk *const all[] = {&talk_coordd, &talk_coordd_next, &talk_beanstalkd, &talk_redis};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i]->name, name) == 0) return all[i];
    return NULL;
}

static void print_times(void)
{
    for (int step = 0; step < STEPS; step++) {
        const struct times *t = &times[step];
        if (t->count)
            printf(", %s p50 %u p99 %u", steps[step], times_percentile(t, 0.5), times_percentile(t, 0.99));
    }
    printf(" us, %llu errors\n", errors);
}

int main(int argc, char **argv)
{
    if (argc < 6 || !(talk = talk_of(argv[2])))
        return fputs("usage: bench_queue PORT[,PORT]... SYSTEM BATCH CLIENTS SECONDS [QUEUE [FILL]]\n",
                     stderr),
               2;
    int clients = atoi(argv[4]), epoll = epoll_create1(EPOLL_CLOEXEC);
    batch = atoi(argv[3]);
    fill = argc > 7 ? atol(argv[7]) : 0;
    filling = fill > 0;
    bool many = batch > 1 && talk == &talk_coordd; /* `complete` is of one */
    if (batch < 1 || batch > BATCH_MAX || clients < 1 || clients > 1000 || epoll < 0 || (many && !filling))
        return 2;
    struct client *all = calloc((size_t)clients, sizeof *all);
    if (!all) fail("calloc");
    for (int step = 0; step < STEPS; step++) times_make(&times[step]);
    connections_open(all, sizeof *all, clients, argv[1], epoll, ROOM);
    double start = now_us();
    for (int i = 0; i < clients; i++) {
        all[i].queue = argc > 6 ? argv[6] : "bench";
        all[i].count = batch;
        if (filling && (fill -= batch) < 0)
            return fputs("FILL is less than a batch for each client\n", stderr), 2;
        ask(&all[i]);
    }
    loop_serve(epoll, filling ? start + 600e6 : start + atof(argv[5]) * 1e6, filling ? &ended : &never,
               filling ? clients : 1, readable);
    double seconds = (now_us() - start) / 1e6;
    double tasks = (double)(filling ? times[ENQUEUE].count * (unsigned long long)batch : finished);
    printf("%s %dx%d: %.0f tasks/s, %.0f in %.1f s", talk->name, clients, batch, tasks / seconds, tasks,
           seconds);
    print_times();
    draining = !filling;
    if (draining) loop_serve(epoll, now_us() + 10e6, &ended, clients, readable);
    if (draining && ended < clients) fputs("not all clients have ended\n", stderr), errors++;
    return errors != 0;
}
