/* The configuration of `coordd serve`: flags, then environment (COORDD_DATA_DIR for --data-dir), then a
 * --config file of `key = value` lines; the first that names a setting wins. Whatever is unknown or out of
 * range is refused by name. */
#ifndef COORDD_CONFIG_H
#define COORDD_CONFIG_H

#include "coordd/log.h"

#include <stddef.h>

struct config {
    const char *name; /* NULL: what the data directory says, at first "n1" */
    const char *data_dir, *listen, *hosts, *log_format, *log_level, *config;
    const char *peer_listen, *advertise_peer, *initial_cluster, *join; /* NULL: not given */
    const char *cluster_secret_file, *peer_cert, *peer_key, *peer_ca;
    uint64_t log_keep_mb, heartbeat_ms, election_timeout_ms, api_threads, connections_max, streams_max;
};

/* False with one line for the operator in error. The texts live as long as argv, the environment and the
 * process. */
bool config_read(struct config *config, int argc, char *const *argv, char *error, size_t error_size);
/* One line a setting: flag, default, what it means. */
void config_help(void);

#endif
