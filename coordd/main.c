/* The program: subcommands, signals, and the life of `coordd serve`. */
#include "api/api.h"
#include "api/group_metrics.h"
#include "api/lock_metrics.h"
#include "api/queue_metrics.h"
#include "api/schedule_metrics.h"
#include "coordd/config.h"
#include "coordd/node.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HUNG_MS = 10000, STOP_LIMIT_MS = 800 };

static atomic_bool node_ended;

static void *run_node(void *node)
{
    while (node_turn(node)) {
    }
    node_close(node); /* here: LMDB ties a transaction to its thread */
    atomic_store(&node_ended, true);
    return NULL;
}

static void block_signals(sigset_t *signals)
{
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
}

/* A node thread that does not come back from its disk cannot be helped from inside: the process ends, and
 * leadership with it. */
static void watch(struct mailbox *mailbox, uint64_t last_look_ms)
{
    uint64_t now_ms = boottime_ms(), turn_ms = mailbox_view(mailbox).turn_ms;
    bool stood_still = now_ms - last_look_ms > 3000; /* so did we: stopped, or the machine slept */
    if (stood_still || turn_ms == 0 || now_ms < turn_ms + HUNG_MS) return;
    LOG(ERROR, "the node thread hangs, most likely on the disk: ending the process",
        {"for_ms", log_number(now_ms - turn_ms)});
    _exit(1);
}

static void wait_for_signal(const sigset_t *signals, struct mailbox *mailbox)
{
    for (uint64_t look_ms = boottime_ms();; look_ms = boottime_ms()) {
        int got = sigtimedwait(signals, NULL, &(struct timespec){.tv_sec = 1});
        if (got == SIGTERM || got == SIGINT) return;
        watch(mailbox, look_ms);
    }
}

/* A node that is alone is ready within a few turns; others say so when they are. */
static void wait_until_ready(struct mailbox *mailbox)
{
    for (int i = 0; i < 100000 && !mailbox_view(mailbox).ready; i++)
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static struct api *open_api(const struct config *config, const struct node *node, struct mailbox *mailbox)
{
    char error[512] = "";
    struct api_settings settings = {.listen = config->listen,
                                    .threads = (unsigned)config->api_threads,
                                    .node = node_name(node),
                                    .hosts = config->hosts,
                                    .connections_max = (unsigned)config->connections_max,
                                    .streams_max = (unsigned)config->streams_max,
                                    .mailbox = mailbox};
    struct api *api = api_start(&settings, error, sizeof error);
    if (!api) LOG(ERROR, "refused to start", {"why", error});
    return api;
}

static void stop_node(struct mailbox *mailbox, pthread_t thread)
{
    struct notice *notice = calloc(1, sizeof *notice);
    if (!notice) abort();
    notice->kind = NOTICE_STOP;
    mailbox_notify(mailbox, notice);
    uint64_t from_ms = boottime_ms();
    while (!atomic_load(&node_ended) && boottime_ms() < from_ms + HUNG_MS)
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    if (!atomic_load(&node_ended)) {
        LOG(ERROR, "the node thread did not stop: ending the process",
            {"after_ms", log_number(boottime_ms() - from_ms)});
        _exit(1);
    }
    pthread_join(thread, NULL);
}

static void announce(const char *fact, const struct config *config, unsigned port)
{
    char listen[300];
    const char *colon = strrchr(config->listen, ':');
    snprintf(listen, sizeof listen, "%.*s:%u", (int)(colon ? colon - config->listen : 0), config->listen,
             port);
    LOG(INFO, fact, {"listen", listen}, {"data_dir", config->data_dir}, {"version", COORDD_VERSION});
}

static int serve_node(const struct config *config, struct node *node, struct mailbox *mailbox,
                      const sigset_t *signals)
{
    pthread_t thread;
    bool alone = node_is_alone(node);
    if (pthread_create(&thread, NULL, run_node, node)) {
        LOG(ERROR, "refused to start", {"why", "no thread could be made"});
        node_close(node);
        return 1;
    }
    if (alone) wait_until_ready(mailbox);
    struct api *api = open_api(config, node, mailbox);
    if (api) {
        announce(alone ? "ready" : "listening: ready once there is a leader", config, api_port(api));
        wait_for_signal(signals, mailbox);
    }
    stop_node(mailbox, thread);
    if (api) api_stop(api, STOP_LIMIT_MS);
    LOG_FACT(INFO, "stopped");
    return api ? 0 : 1;
}

static void free_metrics(const struct node_settings *settings)
{
    lock_metrics_free(settings->lock_metrics);
    queue_metrics_free(settings->queue_metrics);
    group_metrics_free(settings->group_metrics);
    schedule_metrics_free(settings->schedule_metrics);
}

static int serve(int argc, char **argv)
{
    struct config config;
    char error[512];
    if (argc == 1 && strcmp(argv[0], "--help") == 0) {
        config_help();
        return 0;
    }
    if (!config_read(&config, argc, argv, error, sizeof error)) {
        fprintf(stderr, "coordd: %s\n", error);
        return 2;
    }
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++)
        if (strcmp(config.log_level, levels[i]) == 0)
            log_configure((enum log_level)i, strcmp(config.log_format, "json") == 0);
    umask(077);
    sigset_t signals;
    block_signals(&signals);
    struct mailbox *mailbox = mailbox_new();
    struct node_settings settings = {.data_dir = config.data_dir,
                                     .name = config.name,
                                     .heartbeat_ms = config.heartbeat_ms,
                                     .election_ms = config.election_timeout_ms,
                                     .log_keep_bytes = config.log_keep_mb << 20,
                                     .mailbox = mailbox,
                                     .lock_metrics = lock_metrics_new(),
                                     .queue_metrics = queue_metrics_new(),
                                     .group_metrics = group_metrics_new(),
                                     .schedule_metrics = schedule_metrics_new(),
                                     .peer_listen = config.peer_listen,
                                     .advertise_peer = config.advertise_peer,
                                     .initial_cluster = config.initial_cluster,
                                     .join = config.join,
                                     .cluster_secret_file = config.cluster_secret_file,
                                     .peer_cert = config.peer_cert,
                                     .peer_key = config.peer_key,
                                     .peer_ca = config.peer_ca};
    struct node *node = node_open(&settings, error, sizeof error);
    if (!node) {
        LOG(ERROR, "refused to start", {"why", error});
        mailbox_free(mailbox);
        free_metrics(&settings);
        return 1;
    }
    int status = serve_node(&config, node, mailbox, &signals);
    mailbox_free(mailbox);
    free_metrics(&settings);
    return status;
}

static int usage(FILE *out)
{
    fputs("usage: coordd serve [--FLAG VALUE]...   run a node (coordd serve --help lists the flags)\n"
          "       coordd version                   print the version\n",
          out);
    return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "serve") == 0) return serve(argc - 2, argv + 2);
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0)
        return puts("coordd " COORDD_VERSION) < 0;
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0) return usage(stdout);
    return usage(stderr);
}
