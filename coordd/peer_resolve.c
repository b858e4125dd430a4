#include "coordd/peer_resolve.h"

#include "base/memory.h"

#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { LOOKING, DONE, ABANDONED };

struct peer_lookup {
    _Atomic int state;
    int wake; /* its own copy: whom it would wake may be gone */
    char address[160];
    struct peer_addresses found;
};

static bool split(const char *address, char host[128], char port[16])
{
    const char *colon = strrchr(address, ':');
    size_t size = colon ? (size_t)(colon - address) : 0;
    if (!colon || strlen(colon + 1) >= 16 || strlen(colon + 1) == 0) return false;
    if (size >= 2 && address[0] == '[' && address[size - 1] == ']') {
        address++;
        size -= 2;
    }
    if (size == 0 || size >= 128) return false;
    memcpy(host, address, size);
    host[size] = 0;
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return true;
}

static int look_up(const char *address, int flags, struct peer_addresses *found)
{
    char host[128], port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags}, *list = NULL;
    *found = (struct peer_addresses){.count = 0};
    int error = split(address, host, port) ? getaddrinfo(host, port, &hints, &list) : EAI_SERVICE;
    for (struct addrinfo *at = list; !error && at && found->count < PEER_ADDRESSES_MAX; at = at->ai_next) {
        memcpy(&found->list[found->count], at->ai_addr, at->ai_addrlen);
        found->sizes[found->count++] = at->ai_addrlen;
    }
    if (list) freeaddrinfo(list);
    if (!found->count)
        snprintf(found->error, sizeof found->error, "%s", gai_strerror(error ? error : EAI_NONAME));
    return error;
}

bool peer_resolve_now(const char *address, bool passive, struct peer_addresses *found)
{
    int error = look_up(address, AI_NUMERICHOST | (passive ? AI_PASSIVE : 0), found);
    return !error || error != EAI_NONAME;
}

static void give_back(struct peer_lookup *lookup)
{
    if (lookup->wake >= 0) close(lookup->wake);
    free(lookup);
}

static void *run(void *argument)
{
    struct peer_lookup *lookup = argument;
    look_up(lookup->address, 0, &lookup->found);
    int wake = lookup->wake, looking = LOOKING;
    lookup->wake = -1;
    if (!atomic_compare_exchange_strong(&lookup->state, &looking, DONE)) give_back(lookup);
    if (wake < 0) return NULL;
    eventfd_write(wake, 1);
    close(wake);
    return NULL;
}

struct peer_lookup *peer_lookup_begin(const char *address, int wake)
{
    struct peer_lookup *lookup = memory_new(sizeof *lookup);
    pthread_t thread;
    lookup->wake = wake < 0 ? -1 : fcntl(wake, F_DUPFD_CLOEXEC, 0);
    snprintf(lookup->address, sizeof lookup->address, "%s", address);
    if (pthread_create(&thread, NULL, run, lookup)) {
        snprintf(lookup->found.error, sizeof lookup->found.error,
                 "no thread could be made to look the name up");
        lookup->state = DONE;
    } else {
        pthread_detach(thread);
    }
    return lookup;
}

bool peer_lookup_done(const struct peer_lookup *lookup)
{
    return atomic_load(&lookup->state) == DONE;
}

void peer_lookup_end(struct peer_lookup *lookup, struct peer_addresses *found)
{
    int looking = LOOKING;
    if (atomic_compare_exchange_strong(&lookup->state, &looking, ABANDONED)) return;
    *found = lookup->found;
    give_back(lookup);
}
