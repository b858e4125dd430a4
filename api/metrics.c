#include "api/metrics.h"

#include "api/group_metrics.h"
#include "api/lock_metrics.h"
#include "api/queue_metrics.h"
#include "api/schedule_metrics.h"
#include "base/memory.h"
#include "api/problem.h"

#include <dirent.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* Upper bounds in microseconds; the last bucket is everything above. */
static const uint64_t bounds_us[METRICS_BUCKETS - 1] = {100,   250,   500,    1000,    2500,   5000,
                                                        10000, 50000, 250000, 1000000, 5000000};

struct metrics *metrics_new(const struct routes *routes)
{
    struct metrics *metrics = memory_new(sizeof *metrics);
    metrics->operation_count = routes_count(routes) + 2;
    metrics->operations = memory_new(metrics->operation_count * sizeof *metrics->operations);
    for (size_t i = 0; i < metrics->operation_count; i++)
        metrics->operations[i].by_outcome = memory_new(problem_outcome_count() * sizeof(metric));
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    for (size_t i = 0; i < metrics->operation_count; i++) free((void *)metrics->operations[i].by_outcome);
    free(metrics->operations);
    free(metrics);
}

size_t metrics_row_of_pages(const struct metrics *metrics)
{
    return metrics->operation_count - 2;
}

size_t metrics_row_of_none(const struct metrics *metrics)
{
    return metrics->operation_count - 1;
}

void metrics_request(struct metrics *metrics, size_t row, enum outcome outcome, uint64_t duration_ns)
{
    struct operation_metrics *operation = &metrics->operations[row];
    uint64_t duration_us = duration_ns / 1000;
    size_t bucket = 0;
    while (bucket < METRICS_BUCKETS - 1 && duration_us > bounds_us[bucket]) bucket++;
    metric_add(&operation->by_outcome[problem_outcome_position(outcome)], 1);
    metric_add(&operation->by_duration[bucket], 1);
    metric_add(&operation->duration_us, duration_us);
}

/* --- the text --- */

struct exposition {
    struct metrics *const *all;
    size_t count;
    const struct routes *routes;
    struct buffer *out;
};

static uint64_t value_of(const metric *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void head(struct buffer *out, const char *name, const char *type, const char *help)
{
    buffer_printf(out, "# HELP coordd_%s %s\n# TYPE coordd_%s %s\n", name, help, name, type);
}

static void one(struct buffer *out, const char *name, const char *type, const char *help, uint64_t value)
{
    head(out, name, type, help);
    buffer_printf(out, "coordd_%s %llu\n", name, (unsigned long long)value);
}

static const char *row_name(const struct exposition *exposition, size_t row)
{
    size_t routes = routes_count(exposition->routes);
    if (row < routes) return routes_at(exposition->routes, row)->operation->name;
    return row == routes ? "page" : "none";
}

static uint64_t outcome_sum(const struct exposition *exposition, size_t row, size_t position)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < exposition->count; i++)
        sum += value_of(&exposition->all[i]->operations[row].by_outcome[position]);
    return sum;
}

static void requests(const struct exposition *exposition)
{
    struct buffer *out = exposition->out;
    head(out, "requests_total", "counter", "Requests answered, by operation and code of the outcome.");
    for (size_t row = 0; row < exposition->all[0]->operation_count; row++)
        for (size_t position = 0; position < problem_outcome_count(); position++) {
            uint64_t sum = outcome_sum(exposition, row, position);
            if (!sum) continue;
            buffer_printf(out, "coordd_requests_total{operation=\"%s\",code=\"%s\"} %llu\n",
                          row_name(exposition, row), problem_outcome_at(position)->code,
                          (unsigned long long)sum);
        }
}

static void duration_of(const struct exposition *exposition, size_t row)
{
    uint64_t buckets[METRICS_BUCKETS] = {0}, total = 0, sum_us = 0;
    for (size_t i = 0; i < exposition->count; i++) {
        const struct operation_metrics *operation = &exposition->all[i]->operations[row];
        for (size_t b = 0; b < METRICS_BUCKETS; b++) buckets[b] += value_of(&operation->by_duration[b]);
        sum_us += value_of(&operation->duration_us);
    }
    for (size_t b = 0; b < METRICS_BUCKETS; b++) total += buckets[b];
    if (!total) return;
    const char *name = row_name(exposition, row), *metric_name = "coordd_request_duration_seconds";
    uint64_t below = 0;
    for (size_t b = 0; b < METRICS_BUCKETS - 1; b++) {
        below += buckets[b];
        buffer_printf(exposition->out, "%s_bucket{operation=\"%s\",le=\"%g\"} %llu\n", metric_name, name,
                      (double)bounds_us[b] / 1e6, (unsigned long long)below);
    }
    buffer_printf(exposition->out,
                  "%s_bucket{operation=\"%s\",le=\"+Inf\"} %llu\n%s_sum{operation=\"%s\"} %.6f\n"
                  "%s_count{operation=\"%s\"} %llu\n",
                  metric_name, name, (unsigned long long)total, metric_name, name, (double)sum_us / 1e6,
                  metric_name, name, (unsigned long long)total);
}

static void durations(const struct exposition *exposition)
{
    head(exposition->out, "request_duration_seconds", "histogram",
         "From reading a request to its answer, waits included.");
    for (size_t row = 0; row < exposition->all[0]->operation_count; row++) duration_of(exposition, row);
}

static void edge(const struct exposition *exposition)
{
    struct metrics sum = {0};
    for (size_t i = 0; i < exposition->count; i++) {
        const struct metrics *each = exposition->all[i];
        metric_add(&sum.connections, value_of(&each->connections));
        metric_add(&sum.connections_max, value_of(&each->connections_max));
        metric_add(&sum.accepted, value_of(&each->accepted));
        metric_add(&sum.under_way, value_of(&each->under_way));
        metric_add(&sum.waiting, value_of(&each->waiting));
        metric_add(&sum.streams, value_of(&each->streams));
        metric_add(&sum.body_bytes_in, value_of(&each->body_bytes_in));
        metric_add(&sum.body_bytes_out, value_of(&each->body_bytes_out));
        metric_add(&sum.gone, value_of(&each->gone));
        metric_add(&sum.undelivered, value_of(&each->undelivered));
    }
    struct buffer *out = exposition->out;
    one(out, "http_connections", "gauge", "Open client connections.", value_of(&sum.connections));
    one(out, "http_connections_max", "gauge", "How many connections may be open at once.",
        value_of(&sum.connections_max));
    one(out, "http_connections_accepted_total", "counter", "Client connections accepted.",
        value_of(&sum.accepted));
    one(out, "http_requests_under_way", "gauge", "Requests handed to the node and not yet answered.",
        value_of(&sum.under_way));
    one(out, "http_requests_waiting", "gauge", "Of those, requests that asked to wait.",
        value_of(&sum.waiting));
    one(out, "http_streams", "gauge", "Streams of events that are open.", value_of(&sum.streams));
    one(out, "http_request_body_bytes_total", "counter", "Bytes of request bodies.",
        value_of(&sum.body_bytes_in));
    one(out, "http_response_body_bytes_total", "counter", "Bytes of response bodies.",
        value_of(&sum.body_bytes_out));
    one(out, "http_clients_gone_total", "counter", "Clients that went away while they waited.",
        value_of(&sum.gone));
    one(out, "http_answers_undelivered_total", "counter", "Grants that came too late and were handed back.",
        value_of(&sum.undelivered));
}

static void roles(struct buffer *out, const struct node_view *view)
{
    static const char *const all[] = {"leader", "follower", "candidate", "learner"};
    head(out, "role", "gauge", "1 for the role that this node has.");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buffer_printf(out, "coordd_role{role=\"%s\"} %d\n", all[i],
                      view->role && strcmp(view->role, all[i]) == 0);
}

static void node_gauges(struct buffer *out, const struct node_view *view)
{
    one(out, "ready", "gauge", "1 when linearizable requests can be served.", view->ready);
    one(out, "storage_full", "gauge", "1 when the disk has no room.", view->storage_full);
    roles(out, view);
    one(out, "raft_term", "gauge", "The current term.", view->term);
    one(out, "raft_commit_index", "gauge", "Newest committed entry.", view->commit);
    one(out, "raft_applied_index", "gauge", "Newest applied entry.", view->applied);
    one(out, "raft_last_index", "gauge", "Newest entry in the log.", view->last_index);
    one(out, "raft_first_index", "gauge", "Oldest entry in the log.", view->first_index);
    one(out, "log_bytes", "gauge", "Bytes of the log on disk.", view->log_bytes);
    one(out, "state_rows_dirty", "gauge", "Changed rows not yet committed to the state file.",
        view->state_rows_dirty);
    one(out, "leases", "gauge", "Leases alive, as the leader counts them.", view->leases);
    one(out, "locks_held", "gauge", "Locks that are held.", view->locks_held);
    one(out, "waiters", "gauge", "Requests that wait in the state.", view->waiters);
    one(out, "watches", "gauge", "Streams of events that this node feeds.", view->watches);
    one(out, "watches_behind", "gauge", "Of those, streams that catch up from the history.",
        view->watches_behind);
    one(out, "requests_kept", "gauge", "Long polls and waits that are kept until something changes.",
        view->requests_kept);
}

static void node_counters(struct buffer *out, const struct node_view *view)
{
    one(out, "log_syncs_total", "counter", "Flushes of the log: one for each batch of entries.", view->syncs);
    one(out, "log_entries_saved_total", "counter", "Entries written to the log.", view->entries_saved);
    one(out, "batches_total", "counter", "Batches of requests taken from the api threads.", view->batches);
    one(out, "snapshots_total", "counter", "Snapshots written.", view->snapshots);
    one(out, "leases_expired_total", "counter", "Leases that ended because nobody renewed them.",
        view->expired_leases);
    one(out, "renewals_total", "counter", "Leases renewed.", view->renewals);
    one(out, "watches_reset_total", "counter",
        "Streams that ended because the history was trimmed past them.", view->watches_reset);
    one(out, "leaderships_total", "counter", "Times that this node became leader.", view->offices);
}

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file) return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1) pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t open_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    if (!directory) return 0;
    uint64_t count = 0;
    for (const struct dirent *entry; (entry = readdir(directory));) count += entry->d_name[0] != '.';
    closedir(directory);
    return count ? count - 1 : 0; /* less the one that looks */
}

static void process(struct buffer *out)
{
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    buffer_printf(out,
                  "# HELP process_cpu_seconds_total User and system CPU time.\n"
                  "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %lld.%06ld\n",
                  (long long)cpu.tv_sec, cpu.tv_nsec / 1000);
    buffer_printf(out,
                  "# HELP process_resident_memory_bytes Resident memory.\n"
                  "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %llu\n",
                  (unsigned long long)resident_bytes());
    buffer_printf(out,
                  "# HELP process_open_fds Open file descriptors.\n"
                  "# TYPE process_open_fds gauge\nprocess_open_fds %llu\n",
                  (unsigned long long)open_files());
}

static uint64_t time_of_day_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void metrics_text(struct metrics *const *all, size_t count, const struct routes *routes,
                  const struct node_view *view, const char *node, struct buffer *out)
{
    struct exposition exposition = {all, count, routes, out};
    head(out, "info", "gauge", "The version of this node.");
    buffer_printf(out, "coordd_info{version=\"%s\",node=\"%s\"} 1\n", COORDD_VERSION, node);
    requests(&exposition);
    durations(&exposition);
    edge(&exposition);
    node_gauges(out, view);
    node_counters(out, view);
    if (view->locks) lock_metrics_text(view->locks, out);
    if (view->queues) queue_metrics_text(view->queues, time_of_day_ms(), out);
    if (view->groups) group_metrics_text(view->groups, view->heartbeats, out);
    if (view->schedules) schedule_metrics_text(view->schedules, out);
    process(out);
}
