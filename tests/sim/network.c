/* peers.h over a simulated network: packets are lost, doubled, delayed and overtake each other; links are cut
 * in one direction or both. */
#include "tests/sim/sim.h"

#include "base/memory.h"

#include <stdio.h>

enum { GREET_MS = 500 };

/* A connection greets both ways. */
enum greeting { NO_GREETING, GREETING, GREETING_BACK };

struct packet {
    struct timer at;
    unsigned from, to;
    enum greeting greeting;
    uint64_t cluster, id, to_id; /* to_id 0: whoever is there */
    size_t size;
    uint8_t bytes[];
};

static struct heap packets;

static struct sim_node *of_peers(const struct peers *peers)
{
    return (struct sim_node *)(uintptr_t)peers;
}

struct peers *peers_open(const struct peers_settings *settings, char *error, size_t error_size)
{
    struct sim_node *sim = sim_current;
    (void)error, (void)error_size;
    sim->identity = settings->identity;
    sim->target_count = 0;
    sim->greet_at_ms = 0;
    return (struct peers *)sim;
}

void network_forget(struct sim_node *sim)
{
    sim->frames = NULL;
    sim->frames_end = &sim->frames;
    arena_free(&sim->inbox);
    arena_free(&sim->taken);
    sim->target_count = 0;
}

void peers_close(struct peers *peers)
{
    network_forget(of_peers(peers));
}

unsigned peers_port(const struct peers *peers)
{
    (void)peers;
    return 1;
}

const char *peers_address(const struct peers *peers)
{
    return of_peers(peers)->address;
}

void peers_identify(struct peers *peers, uint64_t cluster)
{
    of_peers(peers)->identity.cluster = cluster;
    of_peers(peers)->greet_at_ms = 0;
}

void peers_follow(struct peers *peers, const struct peers_target *targets, size_t count)
{
    struct sim_node *sim = of_peers(peers);
    sim->target_count = count;
    memcpy(sim->targets, targets, count * sizeof *targets);
    for (size_t i = 0; i < count; i++) { /* the text is the caller's: keep the simulation's own */
        for (size_t n = 1; n <= world.node_count; n++)
            if (strcmp(nodes[n].address, targets[i].address) == 0) sim->targets[i].address = nodes[n].address;
    }
    sim->greet_at_ms = 0;
}

static unsigned number_at(const char *address)
{
    for (unsigned n = 1; n <= world.node_count; n++)
        if (strcmp(nodes[n].address, address) == 0) return n;
    return 0;
}

static unsigned number_of(uint64_t id)
{
    for (unsigned n = 1; n <= world.node_count; n++)
        if (nodes[n].id == id) return n;
    return 0;
}

static void post_once(const struct sim_node *from, unsigned to, uint64_t to_id, enum greeting greeting,
                      struct slice body)
{
    struct packet *packet = memory_new(sizeof *packet + body.size);
    *packet = (struct packet){.from = from->number,
                              .to = to,
                              .greeting = greeting,
                              .cluster = from->identity.cluster,
                              .id = from->identity.node,
                              .to_id = to_id,
                              .size = body.size};
    if (body.size) memcpy(packet->bytes, body.data, body.size);
    uint64_t delay_ms = draw(world.faults.latency_ms);
    if (chance(world.faults.delayed)) {
        world.counts[FAULT_DELAYED]++;
        delay_ms += draw(world.faults.delay_ms);
    }
    uint64_t at_ms = sim_local_ms(from) + delay_ms;
    if (at_ms < from->clogged_until_ms[to]) {
        mark(MARK_LINK_CLOGGED);
        at_ms = from->clogged_until_ms[to];
    }
    heap_set(&packets, &packet->at, at_ms);
}

static void post(const struct sim_node *from, unsigned to, uint64_t to_id, enum greeting greeting,
                 struct slice body)
{
    if (!to || to == from->number || from->cut[to]) return;
    if (chance(world.faults.lost)) {
        world.counts[FAULT_LOST]++;
        return;
    }
    post_once(from, to, to_id, greeting, body);
    uint8_t kind = body.size ? body.data[0] : 0;
    if (kind == WIRE_EXPECT) mark(MARK_STREAM_GAP);
    if (!chance(world.faults.doubled)) return;
    world.counts[FAULT_DOUBLED]++;
    if (kind == WIRE_PROPOSE) mark(MARK_STREAM_DUPLICATE);
    post_once(from, to, to_id, greeting, body);
}

static void greet(struct sim_node *sim)
{
    if (world.now_ms < sim->greet_at_ms) return;
    sim->greet_at_ms = world.now_ms + GREET_MS;
    for (size_t i = 0; i < sim->target_count; i++) {
        const struct peers_target *target = &sim->targets[i];
        post(sim, number_at(target->address), target->node, GREETING, slice_of(NULL, 0));
    }
}

void peers_wait(struct peers *peers, uint64_t until_ms)
{
    struct sim_node *sim = of_peers(peers);
    greet(sim);
    sim->took_input = sim->frames || sim->calls || sim->notices;
    uint64_t local_ms = boottime_ms();
    uint64_t wait_ms = until_ms > local_ms ? until_ms - local_ms : 0;
    if (sim->took_input) wait_ms = 0;
    if (wait_ms > 1000) wait_ms = 1000;
    sim->run_at_ms = sim_local_ms(sim) + wait_ms + (wait_ms > 0);
}

const struct peer_frame *peers_take(struct peers *peers)
{
    struct sim_node *sim = of_peers(peers);
    arena_free(&sim->taken);
    sim->taken = sim->inbox;
    sim->inbox = (struct arena){0};
    const struct peer_frame *first = sim->frames;
    sim->frames = NULL;
    sim->frames_end = &sim->frames;
    return first;
}

bool peers_send(struct peers *peers, uint64_t to, struct slice body)
{
    struct sim_node *sim = of_peers(peers);
    unsigned number = number_of(to);
    witness_said(sim, body);
    post(sim, number, to, NO_GREETING, body);
    return number != 0;
}

void peers_flush(struct peers *peers)
{
    (void)peers;
}

struct peer_link_state peers_state(const struct peers *peers, uint64_t node)
{
    unsigned number = number_of(node);
    struct peer_link_state link = {.error = "cut"};
    link.up = number && nodes[number].node && !of_peers(peers)->cut[number];
    return link;
}

static void deliver(const struct packet *packet)
{
    struct sim_node *to = &nodes[packet->to];
    bool strangers = packet->cluster && to->identity.cluster && packet->cluster != to->identity.cluster;
    if (!to->node || strangers || (packet->to_id && packet->to_id != to->identity.node)) return;
    if (nodes[packet->from].cut[packet->to]) return;
    struct peer_frame *frame = arena_alloc(&to->inbox, sizeof *frame);
    *frame = (struct peer_frame){.from = packet->id,
                                 .cluster = packet->cluster,
                                 .greeting = packet->greeting != NO_GREETING,
                                 .name = nodes[packet->from].name,
                                 .address = nodes[packet->from].address,
                                 .body = arena_copy(&to->inbox, slice_of(packet->bytes, packet->size))};
    *to->frames_end = frame;
    to->frames_end = (struct peer_frame **)(uintptr_t)&frame->next;
    if (to->run_at_ms > world.now_ms) to->run_at_ms = world.now_ms;
    if (packet->greeting == GREETING) post(to, packet->from, packet->id, GREETING_BACK, slice_of(NULL, 0));
}

uint64_t network_next_ms(void)
{
    const struct timer *first = heap_first(&packets);
    return first ? first->at_ms : UINT64_MAX;
}

void network_step(void)
{
    for (struct timer *first; (first = heap_first(&packets)) && first->at_ms <= world.now_ms;) {
        struct packet *packet = CONTAINER_OF(first, struct packet, at);
        heap_remove(&packets, first);
        deliver(packet);
        free(packet);
    }
}
