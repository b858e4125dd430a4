/* Any bytes as the other side of a peer connection, in any pieces. No fuzzer finds a checksum or a seal by
 * chance: the input is a script whose steps are raw bytes or things that a node could say, with fields of the
 * fuzzer's choice and checksums, proofs and seals that fit, half of the time.
 *
 * Held: a session with a secret is never up before its proof has come; what it gives out as a frame was
 * sealed as the next one, or, without a secret, has its checksum; it takes no more than there is, wants a
 * bounded amount before it decides, and says at most a greeting, a proof, "ready" and a refusal until it is
 * up. */
#include "base/check.h"
#include "base/crc32c.h"
#include "coordd/peer_session.h"

enum {
    SAYS_MAX = PEER_GREETING_SIZE + PEER_PROOF_SIZE + PEER_HEAD_SIZE + PEER_MAC_SIZE + PEER_REFUSAL_SIZE,
    BODIES_MAX = 64,
};

struct drive {
    struct peers_identity identity;
    struct peer_secret secret;
    struct peer_world world;
    struct peer_session session;
    struct slice script;
    struct buffer wire;
    uint8_t greeting[PEER_GREETING_SIZE]; /* the fuzzer's, as it went */
    struct peer_seal sealing;             /* the fuzzer's */
    bool greeted, proved;
    size_t frames_said, frames_heard;
    uint32_t bodies[BODIES_MAX]; /* checksums of those said */
};

static uint8_t choice(struct drive *drive)
{
    uint8_t byte = drive->script.size ? drive->script.data[0] : 0;
    if (drive->script.size) drive->script = slice_skip(drive->script, 1);
    return byte;
}

static struct slice some(struct drive *drive)
{
    size_t size = choice(drive);
    struct slice bytes = {0};
    take_bytes(&drive->script, size < drive->script.size ? size : drive->script.size, &bytes);
    return bytes;
}

static void hear_frame(struct drive *drive, struct slice body)
{
    CHECK(drive->session.was_up);
    CHECK(!drive->secret.size || drive->proved);
    CHECK(body.size <= PEERS_FRAME_MAX);
    if (drive->secret.size) {
        CHECK(drive->frames_heard < drive->frames_said);
        CHECK(drive->bodies[drive->frames_heard] == peer_crc(body));
    }
    drive->frames_heard++;
}

static void deliver(struct drive *drive)
{
    struct slice left = buffer_slice(&drive->wire), body;
    size_t taken;
    do {
        bool over = drive->session.stage == PEER_OVER;
        taken = peer_session_take(&drive->session, left, &body);
        CHECK(taken <= left.size && !(over && taken));
        if (body.size) hear_frame(drive, body);
        if (taken) left = slice_skip(left, taken);
    } while (taken);
    CHECK(!drive->session.was_up || !drive->secret.size || drive->proved);
    if (drive->session.stage < PEER_AGREEING) CHECK(left.size < PEER_GREETING_SIZE);
    CHECK(drive->session.out.size <= SAYS_MAX);
    if (left.size) memmove(drive->wire.data, left.data, left.size);
    drive->wire.size = left.size;
}

static void say_greeting(struct drive *drive)
{
    uint8_t fields = choice(drive);
    struct peer_greeting theirs = {.version = PEER_VERSION + !(fields & 1),
                                   .secret = (fields & 2) ? drive->secret.size > 0 : drive->secret.size == 0,
                                   .cluster = fields >> 6,
                                   .from = (fields >> 2 & 3),
                                   .to = (fields >> 4 & 3),
                                   .name = "n2",
                                   .address = "there:1"};
    struct slice twist = some(drive);
    struct buffer out = {0};
    peer_greeting_encode(&theirs, &out);
    for (size_t i = 0; i + 1 < twist.size; i += 2)
        out.data[twist.data[i] % PEER_GREETING_SIZE] = twist.data[i + 1];
    if (choice(drive) & 1) {
        uint32_t crc = crc32c(0, out.data, PEER_GREETING_SIZE - 4);
        memcpy(out.data + PEER_GREETING_SIZE - 4, &crc, 4);
    }
    if (!drive->greeted) memcpy(drive->greeting, out.data, sizeof drive->greeting);
    drive->greeted = true;
    buffer_add_slice(&drive->wire, buffer_slice(&out));
    buffer_free(&out);
}

/* With what the session itself believes of the two greetings: the fuzzer knows the secret here. */
static void say_proof(struct drive *drive)
{
    uint8_t proof[PEER_PROOF_SIZE];
    struct slice greetings = slice_of(drive->session.greetings, sizeof drive->session.greetings);
    peer_prove(&drive->secret, !drive->session.dials, greetings, proof);
    uint8_t twist = choice(drive);
    if (twist & 1)
        proof[twist >> 3] ^= twist;
    else if (drive->session.stage == PEER_PROVING && !drive->wire.size)
        drive->proved = true;
    if (!drive->sealing.mac)
        peer_seal_begin(&drive->sealing, &drive->secret, !drive->session.dials, greetings);
    buffer_add(&drive->wire, proof, sizeof proof);
}

static void say_frame(struct drive *drive)
{
    struct slice body = some(drive);
    uint8_t head[PEER_HEAD_SIZE], mac[PEER_MAC_SIZE] = {0}, twist = choice(drive);
    peer_head_encode(body, head);
    if (twist & 1) head[twist >> 5] ^= twist;
    buffer_add(&drive->wire, head, sizeof head);
    if (drive->secret.size) {
        if (drive->sealing.mac) peer_seal_next(&drive->sealing, body, mac);
        if (twist & 2) mac[twist >> 4] ^= twist;
        buffer_add(&drive->wire, mac, sizeof mac);
        if (body.size && drive->frames_said < BODIES_MAX)
            drive->bodies[drive->frames_said++] = peer_crc(body);
    }
    buffer_add_slice(&drive->wire, body);
}

static void say_refusal(struct drive *drive)
{
    char text[200] = "";
    struct slice bytes = some(drive);
    if (bytes.size) memcpy(text, bytes.data, bytes.size < 199 ? bytes.size : 199);
    peer_refusal_encode(choice(drive), text, &drive->wire);
}

static void step(struct drive *drive)
{
    switch (choice(drive) % 8) {
    case 0:
        buffer_add_slice(&drive->wire, some(drive));
        break;
    case 1:
        say_greeting(drive);
        break;
    case 2:
        if (drive->secret.size) say_proof(drive);
        break;
    case 3:
    case 4:
        say_frame(drive);
        break;
    case 5:
        say_refusal(drive);
        break;
    case 6:
        if (drive->session.stage == PEER_UP) peer_session_send(&drive->session, some(drive));
        drive->session.out.size = 0;
        return;
    default: { /* only a part of what was said so far */
        size_t part = choice(drive) % (drive->wire.size + 1);
        struct buffer rest = {0};
        if (part < drive->wire.size) buffer_add(&rest, drive->wire.data + part, drive->wire.size - part);
        drive->wire.size = part;
        deliver(drive);
        buffer_add_slice(&drive->wire, buffer_slice(&rest));
        buffer_free(&rest);
        return;
    }
    }
    if (choice(drive) & 1) deliver(drive);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct drive drive;
    static const uint8_t nonce[PEER_NONCE_SIZE] = "a nonce";
    drive = (struct drive){.identity = {1, 1, "n1"}, .script = slice_of(data, size)};
    uint8_t kind = choice(&drive);
    if (kind & 1) {
        drive.secret.size = 16;
        memcpy(drive.secret.bytes, "0123456789abcdef", 16);
    }
    drive.world =
        (struct peer_world){.identity = &drive.identity, .advertise = "here:1", .secret = &drive.secret};
    drive.session =
        (struct peer_session){.world = &drive.world, .dials = kind & 2, .expected = kind >> 2 & 3};
    peer_session_begin(&drive.session, nonce);
    while (drive.script.size && drive.frames_said < BODIES_MAX) step(&drive);
    deliver(&drive);
    peer_session_free(&drive.session);
    peer_seal_end(&drive.sealing);
    buffer_free(&drive.wire);
    return 0;
}
