/* Who may ask: the checks on a request's head that come before its path is looked at. They keep web pages of
 * other sites away from a server on loopback (DNS rebinding, forged forms) and refuse what proxies and
 * servers read differently. */
#ifndef COORDD_API_GATE_H
#define COORDD_API_GATE_H

#include "api/problem.h"

enum { GATE_HEADERS_MAX = 16 * 1024, GATE_VERSION_1_1 = 0x101 };

struct request_head {
    struct slice method, target; /* target: path and query as sent */
    struct slice host;           /* data NULL: none sent */
    struct slice origin, site;   /* Origin, Sec-Fetch-Site; empty: none */
    struct slice accept;
    struct slice if_match, if_none_match, retry_key /* Idempotency-Key */, fence /* Coord-Fence */;
    struct slice last_event_id;
    bool repeated;       /* one of those came twice */
    size_t header_bytes; /* names and values of all headers */
    int version;         /* 0x101 is HTTP/1.1 */
    bool nameless;       /* a header without a name: a folded line */
    bool has_body;
};

struct gate;

/* `listen` is HOST:PORT as configured. Accepted as Host, with any port: localhost, loopback addresses,
 * `node`, the listen host, the comma-separated `hosts`; any literal address when listening on all of them;
 * anything when `hosts` holds "*". */
struct gate *gate_new(const char *listen, const char *node, const char *hosts);
void gate_free(struct gate *gate);

/* False: refused, see problem. `open` pages (health) ask neither for a Host nor about sites. */
bool gate_admits(const struct gate *gate, const struct request_head *head, bool open,
                 struct problem *problem);

#endif
