/* Several nodes' peer links in one process and one thread, stepped in turn, over loopback. A test waits for
 * what it wants to see, a few milliseconds as a rule; only what must not come costs its whole time. */
#ifndef COORDD_TESTS_UNIT_PEERS_TEST_H
#define COORDD_TESTS_UNIT_PEERS_TEST_H

#include "api/mailbox.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "coordd/peers.h"
#include "tests/unit/cmocka_all.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEARTBEAT_MS = 20, PATIENCE_MS = 60000 };

/* One node and what came to it. */
struct party {
    struct peers *peers;
    struct peers_settings settings;
    char address[64], name[16];
    size_t greetings, frames, bytes;
    uint64_t from, cluster; /* of what came last */
    char greeted_name[64], greeted_address[128];
    struct buffer last;    /* body of the last frame */
    uint32_t next_number;  /* of numbered frames: they must come without gaps */
    bool in_order, frozen; /* a frozen one is not stepped */
};

static struct party parties[4];

static inline void party_open(struct party *party)
{
    char error[512] = "";
    party->peers = peers_open(&party->settings, error, sizeof error);
    if (!party->peers) fail_msg("%s", error);
    snprintf(party->address, sizeof party->address, "127.0.0.1:%u", peers_port(party->peers));
}

/* Node `number` of the cluster, on a port of its own. The settings may be changed before party_open. */
static inline struct party *party_make(uint64_t number, uint64_t cluster)
{
    struct party *party = &parties[number - 1];
    buffer_free(&party->last);
    *party = (struct party){.in_order = true};
    snprintf(party->name, sizeof party->name, "n%u", (unsigned)number);
    party->settings = (struct peers_settings){.identity = {cluster, number, party->name},
                                              .listen = "127.0.0.1:0",
                                              .wake = -1,
                                              .heartbeat_ms = HEARTBEAT_MS};
    return party;
}

static inline struct party *party_new(uint64_t number, uint64_t cluster)
{
    struct party *party = party_make(number, cluster);
    party_open(party);
    return party;
}

static inline void party_close(struct party *party)
{
    if (party->peers) peers_close(party->peers);
    party->peers = NULL;
}

static inline int parties_close(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        party_close(&parties[i]);
        buffer_free(&parties[i].last);
    }
    return 0;
}

static inline int sockets_may_break(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    mallopt(M_PERTURB, 0xa5); /* h2o, which no sanitizer sees into, stumbles over what was freed */
    return 0;
}

static inline void follow(struct party *party, uint64_t node, const char *address)
{
    peers_follow(party->peers, &(struct peers_target){node, address}, 1);
}

static inline void party_take(struct party *party)
{
    for (const struct peer_frame *frame = peers_take(party->peers); frame; frame = frame->next) {
        party->from = frame->from;
        party->cluster = frame->cluster;
        if (frame->greeting) {
            party->greetings++;
            snprintf(party->greeted_name, sizeof party->greeted_name, "%s", frame->name);
            snprintf(party->greeted_address, sizeof party->greeted_address, "%s", frame->address);
            continue;
        }
        uint32_t number = 0;
        memcpy(&number, frame->body.data, frame->body.size < 4 ? frame->body.size : 4);
        party->in_order &= number == party->next_number++;
        party->frames++;
        party->bytes += frame->body.size;
        party->last.size = 0;
        buffer_add_slice(&party->last, frame->body);
    }
}

static inline void step_all(void)
{
    for (size_t i = 0; i < 4; i++) {
        if (!parties[i].peers || parties[i].frozen) continue;
        peers_wait(parties[i].peers, boottime_ms() + 1);
        party_take(&parties[i]);
        peers_flush(parties[i].peers);
    }
}

/* Steps all until the condition holds. */
#define UNTIL(condition)                                                                                     \
    do {                                                                                                     \
        uint64_t give_up_ms = boottime_ms() + PATIENCE_MS;                                                   \
        while (!(condition)) {                                                                               \
            step_all();                                                                                      \
            if (boottime_ms() > give_up_ms) fail_msg("did not come: %s", #condition);                        \
        }                                                                                                    \
    } while (0)

static inline void step_for(uint64_t time_ms)
{
    for (uint64_t end_ms = boottime_ms() + time_ms; boottime_ms() < end_ms;) step_all();
}

static inline bool is_up(const struct party *party, uint64_t node)
{
    return peers_state(party->peers, node).up;
}

static inline bool error_says(const struct party *party, uint64_t node, const char *text)
{
    struct peer_link_state state = peers_state(party->peers, node);
    return !state.up && strstr(state.error, text) != NULL;
}

/* A frame of `size` bytes, at least 4, that begins with its number. */
static inline bool send_numbered(struct party *party, uint64_t to, uint32_t number, size_t size)
{
    uint8_t *bytes = memory_new(size);
    memset(bytes, (int)(number % 251), size);
    memcpy(bytes, &number, sizeof number);
    bool sent = peers_send(party->peers, to, slice_of(bytes, size));
    free(bytes);
    return sent;
}

/* A plain connection to a party's port, for what no node would do. The parties go on meanwhile: with a full
 * backlog the kernel lets nobody in before they accept, and they live in this thread. */
static inline int raw_connect(const struct party *party)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)peers_port(party->peers)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct pollfd raw = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                         .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof error;
    assert_true(raw.fd >= 0);
    if (connect(raw.fd, (struct sockaddr *)&address, sizeof address) != 0)
        assert_int_equal(errno, EINPROGRESS);
    UNTIL(poll(&raw, 1, 0) == 1);
    assert_int_equal(getsockopt(raw.fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
    assert_int_equal(error, 0);
    return raw.fd;
}

/* Whether the other side closed it; what came is read and forgotten. */
static inline bool raw_closed(int fd)
{
    char bytes[4096];
    ssize_t size = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    return size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR);
}

#endif
