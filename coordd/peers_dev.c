/* throwaway */
#pragma GCC diagnostic ignored "-Wmisleading-indentation"
#pragma GCC diagnostic ignored "-Wformat-truncation"
#include "coordd/peers.h"
#include "api/mailbox.h"
#include "base/memory.h"
#include "base/buffer.h"
#include "base/arena.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
struct conn {
    int fd;
    bool connecting, dead, greeted;
    uint64_t node, cluster;
    int target;
    struct buffer in, out;
    char name[64], address[124];
};
struct peers {
    struct peers_settings s;
    char listen[200], advertise[200];
    int lfd;
    unsigned port;
    struct conn *c[64];
    size_t n;
    struct {
        uint64_t node;
        char address[128];
        uint64_t next_ms;
    } t[16];
    size_t tn;
    struct arena arena;
    struct peer_frame *first, **end;
    struct peer_frame *taken;
    struct arena old;
};
static bool split(const char *a, char *h, char *p)
{
    const char *c = strrchr(a, ':');
    if (!c) return false;
    memcpy(h, a, (size_t)(c - a));
    h[c - a] = 0;
    strcpy(p, c + 1);
    return true;
}
struct peers *peers_open(const struct peers_settings *s, char *e, size_t es)
{
    struct peers *p = memory_new(sizeof *p);
    p->s = *s;
    p->lfd = -1;
    p->end = &p->first;
    if (s->listen) {
        char h[100], po[20];
        split(s->listen, h, po);
        struct addrinfo hi = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *r;
        if (getaddrinfo(h, po, &hi, &r)) {
            snprintf(e, es, "bad peer-listen");
            return NULL;
        }
        p->lfd = socket(r->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int one = 1;
        setsockopt(p->lfd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(p->lfd, r->ai_addr, r->ai_addrlen) || listen(p->lfd, 64)) {
            snprintf(e, es, "cannot listen %s: %s", s->listen, strerror(errno));
            return NULL;
        }
        freeaddrinfo(r);
        snprintf(p->listen, 200, "%s", s->listen);
    }
    snprintf(p->advertise, 200, "%s", s->advertise ? s->advertise : s->listen ? s->listen : "");
    return p;
}
static void kill_conn(struct peers *p, size_t i)
{
    struct conn *c = p->c[i];
    close(c->fd);
    buffer_free(&c->in);
    buffer_free(&c->out);
    free(c);
    p->c[i] = p->c[--p->n];
}
void peers_close(struct peers *p)
{
    while (p->n) kill_conn(p, 0);
    if (p->lfd >= 0) close(p->lfd);
    arena_free(&p->arena);
    arena_free(&p->old);
    free(p);
}
unsigned peers_port(const struct peers *p)
{
    return p->port;
}
const char *peers_address(const struct peers *p)
{
    return p->advertise;
}
static void put(struct conn *c, struct slice b)
{
    buffer_add_u32le(&c->out, (uint32_t)b.size);
    buffer_add_slice(&c->out, b);
}
static void hello(struct peers *p, struct conn *c)
{
    struct buffer b = {0};
    buffer_add_u64le(&b, p->s.identity.cluster);
    buffer_add_u64le(&b, p->s.identity.node);
    char t[188] = "";
    snprintf(t, 64, "%s", p->s.identity.name);
    snprintf(t + 64, 124, "%s", p->advertise);
    buffer_add(&b, t, sizeof t);
    put(c, buffer_slice(&b));
    buffer_free(&b);
}
static struct conn *add(struct peers *p, int fd, int target)
{
    struct conn *c = memory_new(sizeof *c);
    c->fd = fd;
    c->target = target;
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    p->c[p->n++] = c;
    hello(p, c);
    return c;
}
void peers_identify(struct peers *p, uint64_t cluster)
{
    p->s.identity.cluster = cluster;
    while (p->n) kill_conn(p, 0);
}
void peers_follow(struct peers *p, const struct peers_target *t, size_t n)
{
    bool same = n == p->tn;
    for (size_t i = 0; same && i < n; i++)
        same = t[i].node == p->t[i].node && !strcmp(t[i].address, p->t[i].address);
    if (same) return;
    for (size_t i = 0; i < p->n; i++)
        if (p->c[i]->target >= 0) p->c[i]->dead = true;
    for (size_t i = 0; i < n; i++) {
        p->t[i].node = t[i].node;
        snprintf(p->t[i].address, 128, "%s", t[i].address);
        p->t[i].next_ms = 0;
    }
    p->tn = n;
}
static void dial(struct peers *p)
{
    for (size_t i = 0; i < p->tn; i++) {
        bool have = false;
        for (size_t k = 0; k < p->n; k++) have |= p->c[k]->target == (int)i && !p->c[k]->dead;
        if (have || boottime_ms() < p->t[i].next_ms || p->n >= 60) continue;
        p->t[i].next_ms = boottime_ms() + 100;
        char h[100], po[20];
        split(p->t[i].address, h, po);
        struct addrinfo hi = {.ai_socktype = SOCK_STREAM}, *r;
        if (getaddrinfo(h, po, &hi, &r)) continue;
        int fd = socket(r->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int rc = connect(fd, r->ai_addr, r->ai_addrlen);
        freeaddrinfo(r);
        if (rc && errno != EINPROGRESS) {
            close(fd);
            continue;
        }
        add(p, fd, (int)i)->connecting = rc != 0;
    }
}
static void frame(struct peers *p, struct conn *c, bool g, struct slice b)
{
    struct peer_frame *f = arena_alloc(&p->arena, sizeof *f);
    *f = (struct peer_frame){.from = c->node,
                             .cluster = c->cluster,
                             .greeting = g,
                             .name = (const char *)arena_copy(&p->arena, slice_of(c->name, 64)).data,
                             .address = (const char *)arena_copy(&p->arena, slice_of(c->address, 124)).data,
                             .body = arena_copy(&p->arena, b)};
    *p->end = f;
    p->end = (struct peer_frame **)(void *)&f->next;
}
static void parse(struct peers *p, struct conn *c)
{
    size_t at = 0;
    while (c->in.size - at >= 4) {
        uint32_t n;
        memcpy(&n, c->in.data + at, 4);
        if (c->in.size - at - 4 < n) break;
        struct slice b = slice_of(c->in.data + at + 4, n);
        at += 4 + n;
        if (!c->greeted) {
            take_u64le(&b, &c->cluster);
            take_u64le(&b, &c->node);
            memcpy(c->name, b.data, 64);
            memcpy(c->address, b.data + 64, 124);
            c->greeted = true;
            if (c->cluster && p->s.identity.cluster && c->cluster != p->s.identity.cluster)
                c->dead = true;
            else
                frame(p, c, true, slice_of(NULL, 0));
        } else
            frame(p, c, false, b);
    }
    memmove(c->in.data, c->in.data + at, c->in.size - at);
    c->in.size -= at;
}
static void out(struct conn *c)
{
    while (c->out.size && !c->connecting) {
        ssize_t n = send(c->fd, c->out.data, c->out.size, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) c->dead = true;
            return;
        }
        memmove(c->out.data, c->out.data + n, c->out.size - (size_t)n);
        c->out.size -= (size_t)n;
    }
}
void peers_wait(struct peers *p, uint64_t until)
{
    dial(p);
    struct pollfd f[70];
    nfds_t n = 0;
    f[n++] = (struct pollfd){.fd = p->s.wake, .events = POLLIN};
    f[n++] = (struct pollfd){.fd = p->lfd, .events = POLLIN};
    for (size_t i = 0; i < p->n; i++)
        f[n++] = (struct pollfd){
            .fd = p->c[i]->fd,
            .events = (short)(POLLIN | (p->c[i]->connecting || p->c[i]->out.size ? POLLOUT : 0))};
    uint64_t now = boottime_ms();
    int ms = until > now ? (int)(until - now) : 0;
    if (p->tn && ms > 100) ms = 100;
    poll(f, n, ms);
    size_t had = p->n;
    for (size_t i = 0; i < had; i++) {
        struct conn *c = p->c[i];
        short re = f[2 + i].revents;
        if (c->connecting && re) {
            int er = 0;
            socklen_t l = sizeof er;
            getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &er, &l);
            if (er) c->dead = true;
            c->connecting = false;
        }
        if (re & POLLIN)
            for (;;) {
                ssize_t got = recv(c->fd, buffer_reserve(&c->in, 65536), 65536, 0);
                if (got > 0) {
                    c->in.size += (size_t)got;
                    continue;
                }
                if (got == 0 || errno != EAGAIN) c->dead = true;
                break;
            }
        else if (re & (POLLERR | POLLHUP))
            c->dead = true;
        parse(p, c);
        out(c);
    }
    if (f[1].revents) {
        int fd;
        while (p->n < 60 && (fd = accept4(p->lfd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
            add(p, fd, -1);
    }
    for (size_t i = p->n; i-- > 0;)
        if (p->c[i]->dead) kill_conn(p, i);
}
const struct peer_frame *peers_take(struct peers *p)
{
    arena_free(&p->old);
    p->old = p->arena;
    p->arena = (struct arena){0};
    struct peer_frame *r = p->first;
    p->first = NULL;
    p->end = &p->first;
    return r;
}
bool peers_send(struct peers *p, uint64_t to, struct slice b)
{
    struct conn *best = NULL;
    for (size_t i = 0; i < p->n; i++)
        if (p->c[i]->greeted && !p->c[i]->dead && p->c[i]->node == to && (!best || p->c[i]->target >= 0))
            best = p->c[i];
    if (!best || best->out.size > PEERS_QUEUE_MAX) return false;
    put(best, b);
    return true;
}
void peers_flush(struct peers *p)
{
    for (size_t i = 0; i < p->n; i++) out(p->c[i]);
}
struct peer_link peers_link(const struct peers *p, uint64_t node)
{
    struct peer_link l = {.error = "connection refused"};
    for (size_t i = 0; i < p->n; i++)
        if (p->c[i]->node == node && p->c[i]->greeted) l = (struct peer_link){.up = true};
    return l;
}
