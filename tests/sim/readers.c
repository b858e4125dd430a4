/* Readers of all events, as clients of whichever node they come to: each goes on at another one when its
 * stream ends, since the last revision that it has whole.
 *
 * What they are told is judged against each other: the same revision holds the same events, whoever tells it
 * and when, and comes behind the same revision. So a gap, a repetition, an event that was not committed, or
 * one that two nodes tell differently is found by the first reader that was told otherwise. In the end all
 * must have come to what clients were told. One seed in four has readers. */
#include "base/check.h"
#include "base/memory.h"
#include "coord/coord.h"
#include "coord/primitive/watch.h"
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

enum { READERS = 3, SEEDS_PER_READING = 4, PATIENCE_MS = 1500 };

/* A stream, from the call that asks for it until the node has let go of it or died. */
struct reading {
    struct reader *reader; /* NULL: nobody reads it any more */
    struct sim_node *at;
    const struct node *process;
    uint64_t number, uncredited;
    bool last;
};

struct reader {
    struct reading *stream; /* NULL: none */
    uint64_t last;          /* all up to it was told */
    uint64_t before;        /* the last revision that held an event */
    uint64_t hash;          /* of the events of the revision under way */
    uint64_t again_ms;
};

struct told {
    uint64_t before, hash;
};

static struct reader readers[READERS];
static struct map all; /* revision -> struct told */
static uint64_t random_state, told_count;

static bool has_readers(void)
{
    return world.seed % SEEDS_PER_READING == 0;
}

/* Chances of their own: the other lives stay as they are. */
static uint64_t draw_own(uint64_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u + world.seed;
    return (random_state >> 33) % below;
}

static void notify(const struct reading *stream, enum notice_kind kind, uint64_t bytes)
{
    struct notice *notice = memory_new(sizeof *notice);
    *notice = (struct notice){.kind = kind, .number = stream->number, .bytes = bytes};
    mailbox_notify((struct mailbox *)stream->at, notice);
}

static void leave(struct reader *reader)
{
    if (reader->stream) reader->stream->reader = NULL;
    reader->stream = NULL;
    reader->hash = 0;
    reader->again_ms = world.now_ms + draw_own(PATIENCE_MS);
}

/* --- what is told --- */

static void judge(struct reader *reader, uint64_t revision)
{
    struct told *told = map_get(&all, revision);
    if (revision <= reader->before)
        sim_fail("revision %llu is told after %llu", (unsigned long long)revision,
                 (unsigned long long)reader->before);
    if (!told) {
        told = memory_new(sizeof *told);
        *told = (struct told){reader->before, reader->hash};
        map_put(&all, revision, told);
    }
    if (told->hash != reader->hash)
        sim_fail("the events of revision %llu differ", (unsigned long long)revision);
    if (told->before != reader->before)
        sim_fail("before revision %llu came %llu, for another reader %llu", (unsigned long long)revision,
                 (unsigned long long)reader->before, (unsigned long long)told->before);
    reader->before = revision;
    reader->hash = 0;
    told_count++;
}

static void take_line(struct reader *reader, struct slice line)
{
    unsigned long long revision;
    char more[8], type[32], text[160];
    snprintf(text, sizeof text, "%.*s", SLICE_ARGS(line));
    if (sscanf(text, "{\"revision\":%llu,\"more\":%7[a-z],\"type\":\"%31[a-z_]", &revision, more, type) != 3)
        sim_fail("no event: %s", text);
    if (strcmp(type, "end") == 0) return;
    bool event = strcmp(type, "bookmark") != 0, whole = strcmp(more, "false") == 0;
    if (event && !memmem(line.data, line.size, "\"path\":", 7)) sim_fail("a stream says: %s", text);
    if (event) reader->hash = reader->hash * 31 + row_hash(line, (struct slice){0});
    if (!whole) return;
    if (revision < reader->last || (event && revision == reader->last))
        sim_fail("revision %llu after %llu", revision, (unsigned long long)reader->last);
    if (event)
        judge(reader, revision);
    else if (reader->hash)
        sim_fail("revision %llu breaks off", revision);
    reader->last = revision;
}

static void take(struct reading *stream, const struct parcel *parcel)
{
    if (stream->last) sim_fail("a stream goes on behind its end");
    stream->last = parcel->last;
    struct reader *reader = stream->reader;
    struct slice text = {0};
    if (parcel->chunk) text = slice_of(parcel->chunk->bytes, parcel->chunk->size);
    stream->uncredited += text.size;
    while (reader && text.size) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        CHECK(end);
        take_line(reader, slice_of(text.data, (size_t)(end - text.data)));
        text = slice_skip(text, (size_t)(end - text.data) + 1);
    }
    if (!stream->last) return;
    if (reader) leave(reader);
    free(stream);
}

void mailbox_post(struct parcel *parcels)
{
    for (struct parcel *next; parcels; parcels = next) {
        next = parcels->next;
        for (size_t i = 0; i < parcels->count; i++)
            take((struct reading *)(void *)parcels->streams[i], parcels);
        parcel_free(parcels);
    }
}

/* --- coming and going --- */

static void open_at(struct reader *reader, struct sim_node *sim)
{
    struct call *call = call_new();
    struct reading *stream = memory_new(sizeof *stream);
    *stream = (struct reading){.reader = reader, .at = sim, .process = sim->node, .number = call->number};
    call->operation = operation_by_name(SLICE("watch"));
    call->args = arena_alloc(&call->arena, call->operation->args->size);
    call->arrived_ms = sim_local_ms(sim);
    call->since_given = true;
    call->since = reader->last;
    call->stream = (struct stream *)(void *)stream;
    call->form = STREAM_NDJSON;
    reader->stream = stream;
    mailbox_submit((struct mailbox *)sim, call);
}

void readers_answer(struct call *call)
{
    struct reading *stream = (struct reading *)(void *)call->stream;
    if (call->outcome == OUTCOME_REVISION_GONE) sim_fail("the history is gone");
    if (call->outcome != OUTCOME_OK) {
        if (stream->reader) leave(stream->reader);
        free(stream);
    }
    call_free(call);
}

static bool is_broken(const struct reading *stream)
{
    return stream->at->node != stream->process;
}

void readers_step(void)
{
    for (size_t i = 0; has_readers() && i < READERS; i++) {
        struct reader *reader = &readers[i];
        if (reader->stream && is_broken(reader->stream)) leave(reader);
        struct reading *stream = reader->stream;
        if (!stream) {
            struct sim_node *sim = &nodes[1 + draw_own(world.node_count)];
            if (world.now_ms >= reader->again_ms && sim->node) open_at(reader, sim);
        } else if (stream->uncredited && draw_own(20) == 0) {
            notify(stream, NOTICE_CREDIT, stream->uncredited);
            stream->uncredited = 0;
        } else if (!world.calm && draw_own(3000) == 0) {
            notify(stream, NOTICE_GONE, 0);
            leave(reader);
        }
    }
}

bool readers_arrived(void)
{
    for (size_t i = 0; has_readers() && i < READERS; i++)
        if (readers[i].last < world.acked) return false;
    return true;
}

void readers_end(void)
{
    if (!readers_arrived()) sim_fail("a reader does not come to what clients were told");
    if (told_count) mark(MARK_EVENTS_COMPARED);
    for (size_t i = 0; i < READERS; i++) leave(&readers[i]);
    for (size_t i = 0; i < all.capacity; i++) free(all.slots[i].value);
    map_free(&all);
}
