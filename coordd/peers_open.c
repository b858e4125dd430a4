/* The peer port before it is used: keys, addresses, the listening socket. All that an operator can get wrong
 * is found here, and said in one line. */
#include "coordd/peers_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum { LOOKING_MS = 10, BACKLOG = 64 };

static bool is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24) == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static bool is_any(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static unsigned port_of(const struct sockaddr_storage *address)
{
    return ntohs(address->ss_family == AF_INET
                     ? ((const struct sockaddr_in *)(const void *)address)->sin_port
                     : ((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
}

static bool bind_port(struct peers *peers, const struct peer_addresses *found, char *error, size_t error_size)
{
    int one = 1;
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    peers->listen_fd = socket(found->list[0].ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (peers->listen_fd >= 0 &&
        setsockopt(peers->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(peers->listen_fd, (const struct sockaddr *)&found->list[0], found->sizes[0]) == 0 &&
        listen(peers->listen_fd, BACKLOG) == 0 &&
        getsockname(peers->listen_fd, (struct sockaddr *)&bound, &size) == 0) {
        peers->port = port_of(&bound);
        return true;
    }
    snprintf(error, error_size, "--peer-listen %s cannot be had: %s", peers->listen, strerror(errno));
    return false;
}

static void find(const char *address, struct peer_addresses *found)
{
    if (peer_resolve_now(address, true, found)) return;
    struct peer_lookup *lookup = peer_lookup_begin(address, -1); /* at the start there is time for it */
    while (!peer_lookup_done(lookup)) poll(NULL, 0, LOOKING_MS);
    peer_lookup_end(lookup, found);
}

/* Port 0 lets the system choose: the others must hear which. */
static void advertise_listen(struct peers *peers, const struct sockaddr_storage *address)
{
    const char *colon = strrchr(peers->listen, ':');
    if (port_of(address) || !colon)
        snprintf(peers->advertise, sizeof peers->advertise, "%s", peers->listen);
    else
        snprintf(peers->advertise, sizeof peers->advertise, "%.*s:%u", (int)(colon - peers->listen),
                 peers->listen, peers->port);
}

static bool open_port(struct peers *peers, char *error, size_t error_size)
{
    struct peer_addresses found;
    find(peers->listen, &found);
    if (!found.count) {
        snprintf(error, error_size, "--peer-listen %s is no address of this machine: %s", peers->listen,
                 found.error);
        return false;
    }
    if (!is_loopback(&found.list[0]) && !peers->secret.size && !peers->has_tls) {
        snprintf(
            error, error_size,
            "--peer-listen %s can be reached from elsewhere: give all nodes a --cluster-secret-file (head -c "
            "32 /dev/urandom | base64 > FILE) or certificates (--peer-cert --peer-key --peer-ca)",
            peers->listen);
        return false;
    }
    if (is_any(&found.list[0]) && !peers->advertise[0]) {
        snprintf(error, error_size,
                 "--peer-listen %s is every address of this machine: say by which one the others reach it "
                 "(--advertise-peer HOST:PORT)",
                 peers->listen);
        return false;
    }
    if (!bind_port(peers, &found, error, error_size)) return false;
    if (!peers->advertise[0]) advertise_listen(peers, &found.list[0]);
    return true;
}

static bool open_keys(struct peers *peers, char *error, size_t error_size)
{
    const struct peers_settings *settings = &peers->settings;
    if (settings->secret_file && !peer_secret_read(settings->secret_file, &peers->secret, error, error_size))
        return false;
    if (!settings->cert_file && !settings->key_file && !settings->ca_file) return true;
    peers->has_tls = peer_tls_open(&peers->tls, settings->cert_file, settings->key_file, settings->ca_file,
                                   error, error_size);
    return peers->has_tls;
}

bool peers_prepare(struct peers *peers, char *error, size_t error_size)
{
    if (!open_keys(peers, error, error_size)) return false;
    if (peers->settings.listen && !open_port(peers, error, error_size)) return false;
    if (strlen(peers->advertise) < RAFT_ADDRESS_SIZE) return true;
    snprintf(error, error_size, "%s takes at most %d bytes",
             peers->settings.advertise ? "--advertise-peer" : "--peer-listen", RAFT_ADDRESS_SIZE - 1);
    return false;
}
