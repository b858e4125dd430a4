/* What 100,000 members cost a leader, without sockets and disks: taking office, and batches of heartbeats.
 *
 *     bench_beats DIR [MEMBERS]       DIR does not exist yet */
#include "api/body.h"
#include "base/check.h"
#include "base/memory.h"
#include "coord/beats.h"
#include "coord/coord.h"
#include "coord/lease_clock.h"
#include "storage/state.h"

#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

enum { BATCH = 10000, MEMBERS = 100000, HEARTBEAT_MS = 100, CHUNK = 2048, ROUNDS = 20 };

struct bench {
    struct state *state;
    struct rows *rows;
    struct arena arena;
    uint64_t index, members;
    uint64_t *tokens;
    struct lease_clock *leases;
    struct beats *beats;
};

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static const struct operation *parse(struct arena *arena, const char *name, struct slice json, void **args)
{
    const struct operation *operation = operation_by_name(slice_text(name));
    struct problem problem = {0};
    CHECK(operation);
    *args = arena_alloc(arena, operation->args->size);
    struct argument argument = {.setting = {.record = operation->args, .data = *args, .arena = arena},
                                .problem = &problem};
    CHECK(body_parse(json, &argument) && argument_done(&argument));
    return operation;
}

static void begin(struct bench *bench, struct apply *apply)
{
    apply_begin(apply, bench->rows, &bench->arena, bench->index, 1, 1700000000000);
}

static void join(struct bench *bench, uint64_t number)
{
    struct command command = {.time_ms = 1700000000000};
    struct apply apply;
    void *args;
    command.operation = parse(
        &bench->arena, "group.join",
        arena_printf(&bench->arena,
                     "{\"group\":\"web\",\"id\":\"n%llu\",\"address\":\"10.0.0.1:8080\",\"zone\":\"z%llu\"}",
                     (unsigned long long)number, (unsigned long long)number % 3),
        &args);
    command.args = args;
    bench->index++;
    begin(bench, &apply);
    coord_apply(&apply, &command);
    CHECK(apply.answers->outcome == OUTCOME_CREATED);
    bench->tokens[number] = bench->index;
    state_set_mark(bench->state, bench->index, 1, 1700000000000);
    arena_reset(&bench->arena);
}

static void take_office(struct bench *bench)
{
    double began = now_ms(), loaded, longest = 0;
    lease_clock_take_office(bench->leases, bench->rows, &bench->arena, 1000);
    printf("lease_clock_take_office  %6.1f ms for %zu leases\n", now_ms() - began,
           lease_clock_count(bench->leases));
    arena_reset(&bench->arena);
    beats_take_office(bench->beats);
    beats_clock(bench->beats, 1000, 1700000000000);
    began = now_ms();
    for (bool done = false; !done;) {
        double from = now_ms();
        done = beats_load(bench->beats, bench->rows, &bench->arena, 1000, CHUNK);
        arena_reset(&bench->arena);
        loaded = now_ms() - from;
        if (loaded > longest) longest = loaded;
    }
    printf("beats_load               %6.1f ms for %zu members, at most %.1f ms a turn\n", now_ms() - began,
           beats_count(bench->beats), longest);
}

static void batch(struct bench *bench, struct slice json, double *parsing, double *renewing,
                  double *answering)
{
    struct apply apply;
    struct buffer out = {0};
    void *args;
    double from = now_ms();
    const struct operation *operation = parse(&bench->arena, "group.heartbeats", json, &args);
    *parsing += now_ms() - from;
    from = now_ms();
    begin(bench, &apply);
    operation->renews(&apply, args);
    for (size_t i = 0; i < apply.renewal_count; i++) {
        apply.renewals[i].renewed = lease_clock_renew(bench->leases, apply.renewals[i].lease, 2000);
        CHECK(apply.renewals[i].renewed);
        beats_hear(bench->beats, apply.renewals[i].lease, 2000, apply.renewals[i].note);
    }
    operation->renewed(&apply, args, apply.renewals, apply.renewal_count);
    *renewing += now_ms() - from;
    from = now_ms();
    record_json(apply.answers->shape, apply.answers->data, &(struct json){&out, false});
    *answering += now_ms() - from;
    buffer_free(&out);
    arena_reset(&bench->arena);
}

static void beat(struct bench *bench)
{
    double parsing = 0, renewing = 0, answering = 0;
    uint64_t size = bench->members < BATCH ? bench->members : BATCH, next = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct buffer json = {0};
        buffer_add_text(&json, "{\"members\":[");
        for (uint64_t i = 0; i < size; i++, next = (next + 7919) % bench->members)
            buffer_printf(&json, "%s{\"group\":\"web\",\"id\":\"n%llu\",\"token\":%llu,\"load\":%llu}",
                          i ? "," : "", (unsigned long long)next, (unsigned long long)bench->tokens[next],
                          (unsigned long long)i % 100);
        buffer_add_text(&json, "]}");
        batch(bench, buffer_slice(&json), &parsing, &renewing, &answering);
        buffer_free(&json);
    }
    double beats = (double)(size * ROUNDS);
    printf("a heartbeat in a batch   %6.2f us: %.2f JSON in, %.2f the node thread, %.2f JSON out\n",
           (parsing + renewing + answering) * 1e3 / beats, parsing * 1e3 / beats, renewing * 1e3 / beats,
           answering * 1e3 / beats);
}

/* Nobody is heard any more: all become suspect, 1,024 in an entry. */
static void suspect_all(struct bench *bench)
{
    enum { ITEMS = 1024, LATER_MS = 3600000 };
    static struct observe_item items[ITEMS];
    double began = now_ms(), longest = 0;
    size_t entries = 0;
    beats_clock(bench->beats, LATER_MS, 1700000000000 + LATER_MS);
    for (size_t due; (due = beats_due(bench->beats, LATER_MS, items, ITEMS)) > 0; entries++) {
        double from = now_ms();
        struct group_observe_args args = {1, {items, due}};
        struct command command = {
            .time_ms = 1700000000000 + LATER_MS, .operation = operation_group_observe, .args = &args};
        struct apply apply;
        bench->index++;
        begin(bench, &apply);
        apply.time_ms = command.time_ms;
        coord_apply(&apply, &command);
        beats_follow(bench->beats, bench->rows, &bench->arena, apply.events, LATER_MS);
        state_set_mark(bench->state, bench->index, 1, command.time_ms);
        arena_reset(&bench->arena);
        if (now_ms() - from > longest) longest = now_ms() - from;
    }
    printf("all of them suspect      %6.1f ms in %zu entries, at most %.1f ms each\n", now_ms() - began,
           entries, longest);
}

int main(int count, char **arguments)
{
    struct bench bench = {.members = count > 2 ? strtoull(arguments[2], NULL, 10) : MEMBERS};
    char error[500], dir[400];
    if (count < 2 || !bench.members) return fprintf(stderr, "bench_beats DIR [MEMBERS]\n"), 2;
    snprintf(dir, sizeof dir, "%s/state-1", arguments[1]);
    mkdir(arguments[1], 0700);
    if (state_create(dir, 1, 1, error, sizeof error) ||
        !(bench.state = state_open(dir, 1, 1, 0, error, sizeof error)))
        return fprintf(stderr, "%s\n", error), 1;
    bench.rows = state_rows(bench.state);
    bench.tokens = memory_new(bench.members * sizeof *bench.tokens);
    double began = now_ms();
    for (uint64_t i = 0; i < bench.members; i++) join(&bench, i);
    printf("joining                  %6.1f us each\n", (now_ms() - began) * 1e3 / (double)bench.members);
    state_commit(bench.state);
    bench.leases = lease_clock_new(HEARTBEAT_MS);
    bench.beats = beats_new();
    take_office(&bench);
    beat(&bench);
    suspect_all(&bench);
    beats_check(bench.beats);
    lease_clock_free(bench.leases);
    beats_free(bench.beats);
    free(bench.tokens);
    arena_free(&bench.arena);
    state_close(bench.state);
    return 0;
}
