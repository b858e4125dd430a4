#include "coordd/peer_session.h"

#include "base/check.h"

#include <stdio.h>

enum { SEALED_HEAD = PEER_HEAD_SIZE + PEER_MAC_SIZE };

static bool has_secret(const struct peer_session *session)
{
    return session->world->secret->size > 0;
}

static struct slice both_greetings(const struct peer_session *session)
{
    return slice_of(session->greetings, sizeof session->greetings);
}

void peer_session_begin(struct peer_session *session, const uint8_t nonce[PEER_NONCE_SIZE])
{
    const struct peers_identity *identity = session->world->identity;
    struct peer_greeting mine = {.version = PEER_VERSION,
                                 .secret = has_secret(session),
                                 .cluster = identity->cluster,
                                 .from = identity->node,
                                 .to = session->expected};
    memcpy(mine.nonce, nonce, sizeof mine.nonce);
    snprintf(mine.name, sizeof mine.name, "%s", identity->name);
    snprintf(mine.address, sizeof mine.address, "%s", session->world->advertise);
    peer_greeting_encode(&mine, &session->out);
    memcpy(session->greetings + (session->dials ? 0 : PEER_GREETING_SIZE), session->out.data,
           PEER_GREETING_SIZE);
}

void peer_session_free(struct peer_session *session)
{
    peer_seal_end(&session->sealing);
    peer_seal_end(&session->opening);
    buffer_free(&session->out);
}

void peer_session_end(struct peer_session *session, const char *why)
{
    if (session->stage == PEER_OVER) return;
    session->stage = PEER_OVER;
    session->out.size = 0;
    snprintf(session->why, sizeof session->why, "%s", why);
}

static void refuse(struct peer_session *session, enum peer_refusal code, const char *why)
{
    peer_session_end(session, why);
    session->code = code;
    peer_refusal_encode(code, why, &session->out);
}

/* --- who is there --- */

static const struct peers_member *member(const struct peer_world *world, uint64_t node)
{
    for (size_t i = 0; i < world->member_count; i++)
        if (world->members[i].node == node) return &world->members[i];
    return NULL;
}

/* A certificate proves a name; which node has which name only the cluster knows. */
static const char *name_objection(const struct peer_session *session)
{
    const struct peer_greeting *theirs = &session->theirs;
    const struct peers_member *known = member(session->world, theirs->from);
    if (!session->tls) return NULL;
    if (!peer_tls_names(session->tls, theirs->name)) return "the certificate is not of the node that it says";
    if (known && strcmp(known->name, theirs->name) != 0)
        return "the certificate is of another node of the cluster";
    return NULL;
}

/* 0: none. */
static enum peer_refusal objection(const struct peer_session *session, const char **why)
{
    const struct peer_greeting *theirs = &session->theirs;
    const struct peers_identity *mine = session->world->identity;
    if (theirs->from == mine->node) {
        *why = "this is the node itself";
        return PEER_REFUSES_SELF;
    }
    if (theirs->cluster && mine->cluster && theirs->cluster != mine->cluster) {
        *why = "a node of another cluster";
        return PEER_REFUSES_CLUSTER;
    }
    if (theirs->to && theirs->to != mine->node) {
        *why = "another node than was called lives at this address";
        return PEER_REFUSES_NODE;
    }
    if (session->expected && theirs->from != session->expected) {
        *why = "another node lives at this address";
        return PEER_REFUSES_NODE;
    }
    if (theirs->secret != has_secret(session)) {
        *why = "one side has a cluster secret, the other has none";
        return PEER_REFUSES_SECRET;
    }
    *why = name_objection(session);
    return *why ? PEER_REFUSES_NAME : 0;
}

static void agree(struct peer_session *session)
{
    session->stage = PEER_AGREEING;
    peer_session_send(session, slice_of(NULL, 0));
}

static void add_proof(struct peer_session *session)
{
    uint8_t proof[PEER_PROOF_SIZE];
    peer_prove(session->world->secret, session->dials, both_greetings(session), proof);
    buffer_add(&session->out, proof, sizeof proof);
}

static size_t take_greeting(struct peer_session *session, struct slice bytes)
{
    uint32_t version = peer_greeting_version(bytes);
    if (bytes.size < 8) return 0; /* it may become a refusal */
    if (!peer_greeting_begins(bytes)) {
        peer_session_end(session, "no greeting of a coordd node");
        return 0;
    }
    if (version && version != PEER_VERSION) {
        session->theirs.version = version;
        refuse(session, PEER_REFUSES_VERSION, "another version of the peer protocol");
        return 0;
    }
    if (bytes.size < PEER_GREETING_SIZE) return 0;
    bytes.size = PEER_GREETING_SIZE;
    if (!peer_greeting_decode(bytes, &session->theirs)) {
        peer_session_end(session, "a damaged greeting");
        return 0;
    }
    const char *why;
    enum peer_refusal code = objection(session, &why);
    if (code) {
        refuse(session, code, why);
        return bytes.size;
    }
    memcpy(session->greetings + (session->dials ? PEER_GREETING_SIZE : 0), bytes.data, bytes.size);
    if (has_secret(session)) {
        peer_seal_begin(&session->sealing, session->world->secret, session->dials, both_greetings(session));
        peer_seal_begin(&session->opening, session->world->secret, !session->dials, both_greetings(session));
        session->stage = PEER_PROVING;
        if (session->dials) add_proof(session);
    } else {
        agree(session);
    }
    return bytes.size;
}

static size_t take_proof(struct peer_session *session, struct slice bytes)
{
    uint8_t proof[PEER_PROOF_SIZE];
    if (bytes.size < sizeof proof) return 0;
    peer_prove(session->world->secret, !session->dials, both_greetings(session), proof);
    if (!peer_equal(proof, bytes.data, sizeof proof)) {
        refuse(session, PEER_REFUSES_SECRET, "the cluster secret differs");
    } else {
        if (!session->dials) add_proof(session);
        agree(session);
    }
    return sizeof proof;
}

/* --- frames --- */

static size_t take_frame(struct peer_session *session, struct slice bytes, struct slice *body)
{
    size_t head = has_secret(session) ? SEALED_HEAD : PEER_HEAD_SIZE;
    uint32_t size, crc;
    uint8_t mac[PEER_MAC_SIZE];
    if (bytes.size < PEER_HEAD_SIZE) return 0;
    if (!peer_head_decode(bytes.data, &size, &crc)) {
        peer_session_end(session, "a frame that is too long");
        return 0;
    }
    if (session->stage == PEER_AGREEING && size) {
        peer_session_end(session, "a frame before it was agreed to");
        return 0;
    }
    if (bytes.size < head + size) return 0;
    struct slice inside = slice_of(bytes.data + head, size);
    if (peer_crc(inside) != crc) {
        peer_session_end(session, "a frame with a wrong checksum");
        return 0;
    }
    if (has_secret(session)) {
        peer_seal_next(&session->opening, inside, mac);
        if (!peer_equal(mac, bytes.data + PEER_HEAD_SIZE, sizeof mac)) {
            peer_session_end(session, "a frame that was not sealed with the cluster secret");
            return 0;
        }
    }
    if (session->stage == PEER_AGREEING) {
        session->stage = PEER_UP;
        session->was_up = true;
    }
    if (size) *body = inside;
    return head + size;
}

void peer_session_send(struct peer_session *session, struct slice body)
{
    uint8_t head[PEER_HEAD_SIZE], mac[PEER_MAC_SIZE];
    CHECK(session->stage == PEER_UP || session->stage == PEER_AGREEING);
    peer_head_encode(body, head);
    buffer_add(&session->out, head, sizeof head);
    if (has_secret(session)) {
        peer_seal_next(&session->sealing, body, mac);
        buffer_add(&session->out, mac, sizeof mac);
    }
    buffer_add_slice(&session->out, body);
}

/* --- what came --- */

static void be_refused(struct peer_session *session, uint32_t code, const char *text)
{
    char why[sizeof session->why];
    snprintf(why, sizeof why, "the other side refuses: %.100s", text);
    peer_session_end(session, why);
    session->code = code;
}

size_t peer_session_take(struct peer_session *session, struct slice bytes, struct slice *body)
{
    char text[PEER_REFUSAL_SIZE];
    uint32_t code;
    *body = slice_of(NULL, 0);
    if (!bytes.size) return 0;
    if (session->stage < PEER_UP && peer_is_refusal(bytes, &code, text)) {
        if (text[0]) be_refused(session, code, text);
        return 0;
    }
    switch (session->stage) {
    case PEER_GREETING:
        return take_greeting(session, bytes);
    case PEER_PROVING:
        return take_proof(session, bytes);
    case PEER_AGREEING:
    case PEER_UP:
        return take_frame(session, bytes, body);
    case PEER_OVER:
        break;
    }
    return 0;
}
