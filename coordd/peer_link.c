/* Stages: connecting, securing (with certificates), greeting, proving (with a secret), up. Nothing that comes
 * is believed before it has passed all of them, and until then a connection may send a few hundred bytes. */
#include "coordd/peer_link.h"

#include "base/check.h"
#include "base/memory.h"
#include "api/mailbox.h"
#include "coordd/clock.h"

#include <stdio.h>

enum { SEALED_HEAD = PEER_HEAD_SIZE + PEER_MAC_SIZE };

/* The head of h2o's own structure, frozen in Debian's 2.2.5: it has no accessor for the connection. */
struct h2o_tls_head {
    SSL_CTX *context;
    SSL *connection;
};

static const struct peer_world *world(const struct peer_link *link)
{
    return peers_world(link->peers);
}

struct peer_link *peer_link_new(struct peers *peers, h2o_socket_t *socket, bool dials, uint64_t expected)
{
    struct peer_link *link = memory_new(sizeof *link);
    link->peers = peers;
    link->socket = socket;
    link->dials = dials;
    link->expected = expected;
    link->began_ms = link->heard_ms = link->said_ms = boottime_ms();
    socket->data = link;
    return link;
}

void peer_link_end(struct peer_link *link, const char *why)
{
    if (link->stage == PEER_OVER) return;
    link->stage = PEER_OVER;
    snprintf(link->why, sizeof link->why, "%s", why);
}

void peer_link_free(struct peer_link *link)
{
    if (link->socket) h2o_socket_close(link->socket);
    buffer_free(&link->out);
    buffer_free(&link->writing);
    free(link);
}

/* --- writing --- */

static void on_written(h2o_socket_t *socket, const char *error)
{
    struct peer_link *link = socket->data;
    link->is_writing = false;
    link->writing.size = 0;
    if (error)
        peer_link_end(link, error);
    else
        peer_link_flush(link);
}

void peer_link_flush(struct peer_link *link)
{
    if (!link->out.size || link->is_writing || link->stage == PEER_CONNECTING ||
        link->stage == PEER_SECURING || link->stage == PEER_OVER)
        return;
    struct buffer swap = link->writing;
    link->writing = link->out;
    link->out = swap;
    link->is_writing = true;
    link->said_ms = boottime_ms();
    h2o_iovec_t bytes = {(char *)link->writing.data, link->writing.size};
    h2o_socket_write(link->socket, &bytes, 1, on_written);
}

void peer_link_send(struct peer_link *link, struct slice body)
{
    uint8_t head[PEER_HEAD_SIZE], mac[PEER_MAC_SIZE];
    peer_head_encode(body, head);
    buffer_add(&link->out, head, sizeof head);
    if (world(link)->secret->size) {
        peer_seal_next(&link->sealing, body, mac);
        buffer_add(&link->out, mac, sizeof mac);
    }
    buffer_add_slice(&link->out, body);
}

/* --- greetings --- */

static void refuse(struct peer_link *link, const char *why)
{
    link->out.size = 0;
    peer_refusal_encode(why, &link->out);
    peer_link_flush(link);
    peer_link_end(link, why);
}

static void greet(struct peer_link *link)
{
    struct peer_greeting mine = {.version = PEER_VERSION,
                                 .secret = world(link)->secret->size > 0,
                                 .cluster = world(link)->identity->cluster,
                                 .from = world(link)->identity->node,
                                 .to = link->expected};
    uint64_t nonce[2] = {random_number(), random_number()};
    memcpy(mine.nonce, nonce, sizeof mine.nonce);
    snprintf(mine.name, sizeof mine.name, "%s", world(link)->identity->name);
    snprintf(mine.address, sizeof mine.address, "%s", world(link)->advertise);
    size_t begin = link->out.size;
    peer_greeting_encode(&mine, &link->out);
    memcpy(link->greetings + (link->dials ? 0 : PEER_GREETING_SIZE), link->out.data + begin,
           PEER_GREETING_SIZE);
    link->stage = PEER_GREETING;
    peer_link_flush(link);
}

static const char *objection(const struct peer_link *link)
{
    const struct peer_greeting *theirs = &link->theirs;
    const struct peers_identity *mine = world(link)->identity;
    if (theirs->version != PEER_VERSION) return "another version of the peer protocol";
    if (theirs->from == mine->node) return "this is the node itself";
    if (theirs->cluster && mine->cluster && theirs->cluster != mine->cluster)
        return "a node of another cluster";
    if (theirs->to && theirs->to != mine->node) return "another node than was called lives at this address";
    if (link->expected && theirs->from != link->expected) return "another node lives at this address";
    if (theirs->secret != (world(link)->secret->size > 0))
        return "one side has a cluster secret, the other has none";
    if (world(link)->tls) {
        const struct h2o_tls_head *head = (const void *)link->socket->ssl;
        if (!peer_tls_names(head->connection, theirs->name))
            return "the certificate is not of the node that it says";
    }
    return NULL;
}

static void go_up(struct peer_link *link)
{
    link->stage = PEER_UP;
    link->was_up = true;
    peers_link_up(link->peers, link);
}

static void take_greeting(struct peer_link *link, struct slice bytes)
{
    if (!peer_greeting_decode(bytes, &link->theirs)) {
        peer_link_end(link, "no greeting of a coordd node");
        return;
    }
    const char *why = objection(link);
    if (why) {
        refuse(link, why);
        return;
    }
    memcpy(link->greetings + (link->dials ? PEER_GREETING_SIZE : 0), bytes.data, PEER_GREETING_SIZE);
    if (!world(link)->secret->size) {
        go_up(link);
        return;
    }
    uint8_t proof[PEER_PROOF_SIZE];
    struct slice greetings = slice_of(link->greetings, sizeof link->greetings);
    peer_prove(world(link)->secret, link->dials, greetings, proof);
    peer_seal_begin(&link->sealing, world(link)->secret, link->dials, greetings);
    peer_seal_begin(&link->opening, world(link)->secret, !link->dials, greetings);
    buffer_add(&link->out, proof, sizeof proof);
    link->stage = PEER_PROVING;
    peer_link_flush(link);
}

static void take_proof(struct peer_link *link, const uint8_t *theirs)
{
    uint8_t proof[PEER_PROOF_SIZE];
    peer_prove(world(link)->secret, !link->dials, slice_of(link->greetings, sizeof link->greetings), proof);
    if (peer_equal(proof, theirs, sizeof proof))
        go_up(link);
    else
        refuse(link, "the cluster secret differs");
}

/* --- reading --- */

/* Takes one piece off the bytes; how many it took, 0: not all of it has come. */
static size_t take_frame(struct peer_link *link, struct slice bytes)
{
    bool sealed = world(link)->secret->size > 0;
    size_t head = sealed ? SEALED_HEAD : PEER_HEAD_SIZE;
    uint32_t size, crc;
    if (bytes.size < head) return 0;
    if (!peer_head_decode(bytes.data, &size, &crc)) {
        peer_link_end(link, "a frame that is too long");
        return 0;
    }
    if (bytes.size < head + size) return 0;
    struct slice body = slice_of(bytes.data + head, size);
    uint8_t mac[PEER_MAC_SIZE];
    if (sealed) peer_seal_next(&link->opening, body, mac);
    if (peer_crc(body) != crc)
        peer_link_end(link, "a frame with a wrong checksum");
    else if (sealed && !peer_equal(mac, bytes.data + PEER_HEAD_SIZE, sizeof mac))
        peer_link_end(link, "a frame that was not sealed with the cluster secret");
    else if (size)
        peers_link_frame(link->peers, link, body);
    return head + size;
}

static size_t take(struct peer_link *link, struct slice bytes)
{
    char text[PEER_REFUSAL_SIZE];
    switch (link->stage) {
    case PEER_GREETING:
    case PEER_PROVING:
        if (peer_is_refusal(bytes, text)) {
            if (text[0]) peer_link_end(link, text);
            return 0;
        }
        if (link->stage == PEER_GREETING) {
            if (bytes.size < PEER_GREETING_SIZE) return 0;
            take_greeting(link, slice_of(bytes.data, PEER_GREETING_SIZE));
            return PEER_GREETING_SIZE;
        }
        if (bytes.size < PEER_PROOF_SIZE) return 0;
        take_proof(link, bytes.data);
        return PEER_PROOF_SIZE;
    case PEER_UP:
        return take_frame(link, bytes);
    case PEER_CONNECTING:
    case PEER_SECURING:
    case PEER_OVER:
        break;
    }
    return 0;
}

static void take_all(struct peer_link *link)
{
    h2o_buffer_t *input = link->socket->input;
    size_t done = 0, taken;
    do {
        taken = take(link, slice_of(input->bytes + done, input->size - done));
        done += taken;
    } while (taken && link->stage != PEER_OVER);
    h2o_buffer_consume(&link->socket->input, done);
}

static void on_read(h2o_socket_t *socket, const char *error)
{
    struct peer_link *link = socket->data;
    link->heard_ms = boottime_ms();
    take_all(link);
    if (error) peer_link_end(link, "the other side closed the connection");
}

static void start_reading(struct peer_link *link)
{
    greet(link);
    h2o_socket_read_start(link->socket, on_read);
    if (link->socket->input->size) take_all(link); /* came with the end of the TLS handshake */
}

static void on_secured(h2o_socket_t *socket, const char *error)
{
    struct peer_link *link = socket->data;
    if (link->stage != PEER_SECURING) return;
    if (error)
        peer_link_end(link, error);
    else
        start_reading(link);
}

void peer_link_connected(struct peer_link *link)
{
    const struct peer_tls *tls = world(link)->tls;
    if (!tls) {
        start_reading(link);
        return;
    }
    link->stage = PEER_SECURING;
    h2o_socket_ssl_handshake(link->socket, link->dials ? tls->client : tls->server,
                             link->dials ? "peer" : NULL, on_secured);
}

void peer_link_on_connect(h2o_socket_t *socket, const char *error)
{
    struct peer_link *link = socket->data;
    if (link->stage != PEER_CONNECTING) return;
    if (error)
        peer_link_end(link, error);
    else
        peer_link_connected(link);
}
