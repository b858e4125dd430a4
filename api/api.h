/* The HTTP edge: Debian's libh2o-evloop 2.2.5, HTTP/1.1, one thread (or more) with its own loop. Traps and
 * measures: shared/facts/http.md. */
#ifndef COORDD_API_API_H
#define COORDD_API_API_H

#include "api/mailbox.h"

struct api_settings {
    const char
        *listen; /* "127.0.0.1:7400", "[::1]:7400", "0.0.0.0:7400"; port 0: any free one (api_port tells) */
    unsigned threads;
    const char *node;  /* this node's name: header Coord-Node */
    const char *hosts; /* further Host names to accept, comma-separated; loopback literals, localhost, the
                          node's name and the listen address always are; "*" accepts any */
    unsigned connections_max;
    unsigned streams_max; /* 0: 16,384 */
    struct mailbox *mailbox;
};

struct api;

/* Binds and starts the threads. NULL with one line for the operator in error. */
struct api *api_start(const struct api_settings *settings, char *error, size_t error_size);
unsigned api_port(const struct api *api);
/* Stops accepting, lets answered requests leave (at most limit_ms), ends the threads. The node has answered
 * all calls before. */
void api_stop(struct api *api, uint64_t limit_ms);

#endif
