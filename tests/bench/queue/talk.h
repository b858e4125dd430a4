/* How the load generator of queues talks to a system: three requests (enqueue, claim, complete) of so many
 * tasks each, and what their answers say. */
#ifndef COORDD_BENCH_TALK_H
#define COORDD_BENCH_TALK_H

#include "../loop.h"

enum { BATCH_MAX = 1000, PAYLOAD = 100, ROOM = 1 << 20 };
enum step { ENQUEUE, CLAIM, COMPLETE, STEPS };

struct task {
    char id[PAYLOAD + 1]; /* of redis: the payload itself */
    unsigned long long token;
};

struct client {
    struct connection connection;
    const char *queue;
    enum step step;
    int count;               /* tasks that this step is of; CLAIM: at most so many */
    unsigned long long made; /* payloads: each is another */
    int claimed;
    struct task tasks[BATCH_MAX];
    size_t scanned; /* of the answer, lines that were seen */
    int lines;
};

struct talk {
    const char *name;
    bool finishes_in_claim; /* a claim completes what the client has; there is no COMPLETE but at the end */
    /* Writes the request of the client's step; returns its size. */
    size_t (*ask)(struct client *client, char *text, size_t room);
    bool (*whole)(struct client *client);
    /* False: an error. CLAIM: fills `tasks` and `claimed`. */
    bool (*take)(struct client *client);
};
extern const struct talk talk_coordd, talk_coordd_next, talk_beanstalkd, talk_redis;

/* The next payload, PAYLOAD bytes and a zero: unlike all others, of every client and every run. */
void payload_next(struct client *client, char *text);

#endif
