#include "coordd/config.h"

#include "base/check.h"
#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

extern char **environ;

enum kind { TEXT, CHOICE, NUMBER };

struct setting_row {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *initial; /* NULL: none */
    uint64_t min, max;   /* NUMBER */
    const char *choices; /* CHOICE: "a|b|c" */
    const char *about;
};

static const struct setting_row rows[] = {
    {"name", TEXT, offsetof(struct config, name), NULL, 0, 0, NULL,
     "this node's name (n1 when the data directory is new)"},
    {"data-dir", TEXT, offsetof(struct config, data_dir), "coordd-data", 0, 0, NULL,
     "where everything is kept"},
    {"listen", TEXT, offsetof(struct config, listen), "127.0.0.1:7400", 0, 0, NULL,
     "HOST:PORT of the HTTP API; port 0 takes any"},
    {"hosts", TEXT, offsetof(struct config, hosts), "", 0, 0, NULL,
     "further Host names to accept, comma-separated; * for any"},
    {"initial-cluster", TEXT, offsetof(struct config, initial_cluster), NULL, 0, 0, NULL,
     "NAME=HOST:PORT,...: found a cluster with these (a new node only)"},
    {"join", TEXT, offsetof(struct config, join), NULL, 0, 0, NULL,
     "HOST:PORT of a member's peer port: enter its cluster (a new node only)"},
    {"peer-listen", TEXT, offsetof(struct config, peer_listen), NULL, 0, 0, NULL,
     "HOST:PORT for the other nodes (127.0.0.1:7401 in a cluster of several)"},
    {"advertise-peer", TEXT, offsetof(struct config, advertise_peer), NULL, 0, 0, NULL,
     "HOST:PORT by which the others reach it (what --initial-cluster says, or --peer-listen)"},
    {"cluster-secret-file", TEXT, offsetof(struct config, cluster_secret_file), NULL, 0, 0, NULL,
     "a secret of 16 bytes or more that all nodes share"},
    {"peer-cert", TEXT, offsetof(struct config, peer_cert), NULL, 0, 0, NULL,
     "certificate of this node for its peers (PEM; DNS name = --name)"},
    {"peer-key", TEXT, offsetof(struct config, peer_key), NULL, 0, 0, NULL, "its key (PEM)"},
    {"peer-ca", TEXT, offsetof(struct config, peer_ca), NULL, 0, 0, NULL,
     "who signs the certificates of the peers (PEM)"},
    {"log-keep-mb", NUMBER, offsetof(struct config, log_keep_mb), "32", 0, 1048576, NULL,
     "MiB of log kept for members that were away; beyond, they get a snapshot"},
    {"heartbeat-ms", NUMBER, offsetof(struct config, heartbeat_ms), "100", 10, 10000, NULL,
     "between a leader's heartbeats"},
    {"election-timeout-ms", NUMBER, offsetof(struct config, election_timeout_ms), "1000", 50, 100000, NULL,
     "silence before an election; at least 5 heartbeats"},
    {"api-threads", NUMBER, offsetof(struct config, api_threads), "1", 1, 64, NULL,
     "threads that speak HTTP"},
    {"connections-max", NUMBER, offsetof(struct config, connections_max), "4096", 1, 1000000, NULL,
     "HTTP connections at once"},
    {"streams-max", NUMBER, offsetof(struct config, streams_max), "16384", 1, 1000000, NULL,
     "streams of events at once, of those connections"},
    {"log-format", CHOICE, offsetof(struct config, log_format), "text", 0, 0, "text|json",
     "of the lines on standard error"},
    {"log-level", CHOICE, offsetof(struct config, log_level), "info", 0, 0, "debug|info|warn|error",
     "the least that is logged"},
    {"config", TEXT, offsetof(struct config, config), NULL, 0, 0, NULL,
     "a file of `key = value` lines, # comments"},
};
enum { ROWS = sizeof rows / sizeof *rows };

struct reading {
    struct config *config;
    bool given[ROWS];
    char *error;
    size_t error_size;
};

#define REFUSE(reading, ...) (snprintf((reading)->error, (reading)->error_size, __VA_ARGS__), false)

static bool is_choice(const char *choices, const char *value)
{
    size_t size = strlen(value);
    for (const char *at = choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
        if (size && strncmp(at, value, size) == 0 && (at[size] == '|' || at[size] == 0)) return true;
    return false;
}

static bool put(struct reading *reading, const struct setting_row *row, const char *value)
{
    char *place = (char *)reading->config + row->offset;
    if (row->kind == NUMBER) {
        char *end;
        errno = 0;
        unsigned long long number = strtoull(value, &end, 10);
        if (errno || *end || *value < '0' || *value > '9' || number < row->min || number > row->max)
            return REFUSE(reading, "--%s must be a number from %llu to %llu, not '%s'", row->name,
                          (unsigned long long)row->min, (unsigned long long)row->max, value);
        *(uint64_t *)(void *)place = number;
        return true;
    }
    if (row->kind == CHOICE && !is_choice(row->choices, value))
        return REFUSE(reading, "--%s must be one of %s, not '%s'", row->name, row->choices, value);
    *(const char **)(void *)place = value;
    return true;
}

static const struct setting_row *find(const char *name, size_t size)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strlen(rows[i].name) == size && strncmp(rows[i].name, name, size) == 0) return &rows[i];
    return NULL;
}

static bool give(struct reading *reading, const struct setting_row *row, const char *value)
{
    if (reading->given[row - rows]) return true; /* an earlier source has said it */
    reading->given[row - rows] = true;
    return put(reading, row, value);
}

static bool read_flags(struct reading *reading, int argc, char *const *argv)
{
    for (int i = 0; i < argc; i++) {
        const char *flag = argv[i], *equals = strchr(flag, '=');
        if (strncmp(flag, "--", 2) != 0)
            return REFUSE(reading, "unknown argument '%s'; see coordd serve --help", flag);
        const struct setting_row *row =
            find(flag + 2, equals ? (size_t)(equals - flag - 2) : strlen(flag + 2));
        if (!row) return REFUSE(reading, "unknown flag '%s'; see coordd serve --help", flag);
        if (reading->given[row - rows]) return REFUSE(reading, "--%s is given twice", row->name);
        if (!equals && i + 1 == argc) return REFUSE(reading, "--%s needs a value", row->name);
        if (!give(reading, row, equals ? equals + 1 : argv[++i])) return false;
    }
    return true;
}

/* COORDD_DATA_DIR -> data-dir. */
static void flag_name(const char *variable, size_t size, char name[64])
{
    size_t i = 0;
    for (; i < size && i < 63; i++) {
        char c = variable[i];
        name[i] = c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : '?';
    }
    name[i] = 0;
}

static bool read_environment(struct reading *reading)
{
    for (char **at = environ; *at; at++) {
        const char *equals = strchr(*at, '=');
        if (strncmp(*at, "COORDD_", 7) != 0 || !equals) continue;
        char name[64];
        flag_name(*at + 7, (size_t)(equals - *at - 7), name);
        const struct setting_row *row = find(name, strlen(name));
        if (!row) return REFUSE(reading, "unknown setting %.*s in the environment", (int)(equals - *at), *at);
        if (!give(reading, row, equals + 1)) return false;
    }
    return true;
}

static char *trim(char *text)
{
    text += strspn(text, " \t\r\n");
    size_t size = strlen(text);
    while (size && strchr(" \t\r\n", text[size - 1])) text[--size] = 0;
    return text;
}

static bool read_line(struct reading *reading, bool *seen, unsigned number, char *line)
{
    line = trim(line);
    if (!*line || *line == '#') return true;
    char *equals = strchr(line, '=');
    if (!equals) return REFUSE(reading, "%s:%u: not a `key = value` line", reading->config->config, number);
    *equals = 0;
    char *key = trim(line), *value = trim(equals + 1);
    const struct setting_row *row = find(key, strlen(key));
    if (!row || strcmp(key, "config") == 0)
        return REFUSE(reading, "%s:%u: unknown setting '%s'", reading->config->config, number, key);
    if (seen[row - rows])
        return REFUSE(reading, "%s:%u: '%s' is given twice", reading->config->config, number, key);
    seen[row - rows] = true;
    return give(reading, row, value);
}

/* The file's text is kept for the process: settings point into it. */
static bool read_file(struct reading *reading)
{
    const char *path = reading->config->config;
    if (!path) return true;
    FILE *file = fopen(path, "re");
    if (!file) return REFUSE(reading, "cannot read --config %s: %s", path, strerror(errno));
    bool seen[ROWS] = {false}, good = true;
    char line[1024];
    for (unsigned number = 1; good && fgets(line, sizeof line, file); number++) {
        if (!strchr(line, '\n') && !feof(file)) {
            good = REFUSE(reading, "%s:%u: the line is longer than 1,000 bytes", path, number);
            break;
        }
        char *kept = memory_new(strlen(line) + 1);
        strcpy(kept, line);
        good = read_line(reading, seen, number, kept);
    }
    if (good && ferror(file)) good = REFUSE(reading, "cannot read --config %s: %s", path, strerror(errno));
    fclose(file);
    return good;
}

bool config_read(struct config *config, int argc, char *const *argv, char *error, size_t error_size)
{
    struct reading reading = {.config = config, .error = error, .error_size = error_size};
    *config = (struct config){0};
    if (!read_flags(&reading, argc, argv) || !read_environment(&reading) || !read_file(&reading))
        return false;
    for (size_t i = 0; i < ROWS; i++)
        if (!reading.given[i] && rows[i].initial) CHECK(put(&reading, &rows[i], rows[i].initial));
    if (config->election_timeout_ms < 5 * config->heartbeat_ms)
        return REFUSE(&reading, "--election-timeout-ms must be at least 5 times --heartbeat-ms");
    if (config->name && (!*config->name || strlen(config->name) > 63 || strpbrk(config->name, " \t\n\",=")))
        return REFUSE(&reading,
                      "--name must be 1 to 63 characters without blanks, quotes, commas and equals signs");
    return true;
}

void config_help(void)
{
    puts("usage: coordd serve [--FLAG VALUE]...\n\nEach flag is also an environment variable (--data-dir is "
         "COORDD_DATA_DIR) and a line"
         "\n`data-dir = VALUE` in a --config file; the first of flag, variable, file wins.\n");
    for (size_t i = 0; i < ROWS; i++)
        printf("  --%-20s %s%s%s%s\n", rows[i].name, rows[i].about,
               rows[i].initial && *rows[i].initial ? " (" : "", rows[i].initial ? rows[i].initial : "",
               rows[i].initial && *rows[i].initial ? ")" : "");
}
