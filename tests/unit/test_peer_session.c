// links: daemon
/* Two sides of a connection in memory: who agrees with whom, what a thief of bytes can do with them. */
#include "coordd/peer_session.h"
#include "tests/unit/cmocka_all.h"

#include <stdlib.h>

struct side {
    struct peers_identity identity;
    struct peer_secret secret;
    struct peer_world world;
    struct peer_session session;
    struct buffer came;   /* not taken yet */
    struct buffer bodies; /* of the frames, each with its size before it */
    size_t frames;
};

static struct side dialler, accepter;

static void make(struct side *side, uint64_t cluster, uint64_t node, const char *name, const char *secret)
{
    *side = (struct side){.identity = {cluster, node, name}};
    side->secret.size = strlen(secret);
    memcpy(side->secret.bytes, secret, side->secret.size);
    side->world =
        (struct peer_world){.identity = &side->identity, .advertise = "there:1", .secret = &side->secret};
    side->session.world = &side->world;
}

static void drop(struct side *side)
{
    peer_session_free(&side->session);
    buffer_free(&side->came);
    buffer_free(&side->bodies);
}

static void begin(uint8_t nonce)
{
    uint8_t one[PEER_NONCE_SIZE], other[PEER_NONCE_SIZE];
    memset(one, nonce, sizeof one);
    memset(other, nonce + 100, sizeof other);
    dialler.session.dials = true;
    peer_session_begin(&dialler.session, one);
    peer_session_begin(&accepter.session, other);
}

static void fresh(const char *secret)
{
    make(&dialler, 5, 1, "n1", secret);
    make(&accepter, 5, 2, "n2", secret);
    begin(1);
}

static void drop_both(void)
{
    drop(&dialler);
    drop(&accepter);
}

static void take(struct side *side)
{
    struct slice left = buffer_slice(&side->came), body;
    size_t taken;
    do {
        taken = peer_session_take(&side->session, left, &body);
        left = slice_skip(left, taken);
        if (!body.size) continue;
        side->frames++;
        buffer_add_u32le(&side->bodies, (uint32_t)body.size);
        buffer_add_slice(&side->bodies, body);
    } while (taken);
    memmove(side->came.data, left.data, left.size);
    side->came.size = left.size;
}

/* Bytes from one side to the other, at most so many at a time. */
static bool move(struct side *from, struct side *to, size_t piece)
{
    struct slice out = buffer_slice(&from->session.out);
    bool some = out.size > 0;
    struct buffer copy = {0};
    buffer_add_slice(&copy, out);
    from->session.out.size = 0;
    for (size_t at = 0; at < copy.size; at += piece) {
        buffer_add(&to->came, copy.data + at, copy.size - at < piece ? copy.size - at : piece);
        take(to);
    }
    buffer_free(&copy);
    return some;
}

static void talk(size_t piece)
{
    bool more;
    do {
        more = move(&dialler, &accepter, piece);
        more |= move(&accepter, &dialler, piece);
    } while (more);
}

static void assert_up(void)
{
    assert_int_equal(dialler.session.stage, PEER_UP);
    assert_int_equal(accepter.session.stage, PEER_UP);
    assert_int_equal(accepter.session.theirs.from, 1);
    assert_string_equal(accepter.session.theirs.name, "n1");
    assert_string_equal(dialler.session.theirs.name, "n2");
    assert_string_equal(dialler.session.theirs.address, "there:1");
    assert_int_equal(dialler.frames + accepter.frames, 0);
}

static void assert_both_refuse(uint32_t code, const char *why)
{
    talk(1000);
    struct side *sides[] = {&dialler, &accepter};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sides[i]->session.stage, PEER_OVER);
        assert_int_equal(sides[i]->session.code, code);
        assert_non_null(strstr(sides[i]->session.why, why));
        assert_false(sides[i]->session.was_up);
    }
    drop_both();
}

static const char *const secrets[] = {"", "the secret of this cluster"};

static void test_exchange_in_any_pieces(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 600; piece += piece < 40 ? 1 : 97)
        for (int i = 0; i < 2; i++) {
            fresh(secrets[i]);
            talk(piece);
            assert_up();
            peer_session_send(&dialler.session, SLICE("one"));
            peer_session_send(&dialler.session, SLICE(""));
            peer_session_send(&dialler.session, SLICE("three"));
            peer_session_send(&accepter.session, SLICE("four"));
            talk(piece);
            assert_int_equal(accepter.frames, 2);
            assert_memory_equal(accepter.bodies.data, "\3\0\0\0one\5\0\0\0three", 16);
            assert_int_equal(dialler.frames, 1);
            assert_memory_equal(dialler.bodies.data, "\4\0\0\0four", 8);
            assert_int_equal(dialler.session.stage, PEER_UP);
            drop_both();
        }
}

static void test_biggest_frame(void **state)
{
    (void)state;
    uint8_t *big = calloc(1, PEERS_FRAME_MAX);
    for (int i = 0; i < 2; i++) {
        fresh(secrets[i]);
        talk(1000);
        peer_session_send(&dialler.session, slice_of(big, PEERS_FRAME_MAX));
        talk(1 << 20);
        assert_int_equal(accepter.frames, 1);
        assert_int_equal(accepter.bodies.size, PEERS_FRAME_MAX + 4);
        drop_both();
    }
    free(big);
}

/* --- who does not belong --- */

static void test_other_cluster(void **state)
{
    (void)state;
    make(&dialler, 5, 1, "n1", "");
    make(&accepter, 6, 2, "n2", "");
    begin(1);
    assert_both_refuse(PEER_REFUSES_CLUSTER, "a node of another cluster");
}

/* Who has no cluster yet may talk to any: so are clusters founded and joined. */
static void test_no_cluster_yet(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        make(&dialler, i == 0 ? 5 : 0, 1, "n1", secrets[1]);
        make(&accepter, i == 1 ? 5 : 0, 2, "n2", secrets[1]);
        begin(1);
        talk(1000);
        assert_up();
        assert_int_equal(accepter.session.theirs.cluster, i == 0 ? 5 : 0);
        drop_both();
    }
}

static void test_itself(void **state)
{
    (void)state;
    make(&dialler, 5, 1, "n1", "");
    make(&accepter, 5, 1, "n1", "");
    begin(1);
    assert_both_refuse(PEER_REFUSES_SELF, "the node itself");
}

static void test_other_node_at_the_address(void **state)
{
    (void)state;
    make(&dialler, 5, 1, "n1", "");
    make(&accepter, 5, 2, "n2", "");
    dialler.session.expected = 3;
    begin(1);
    assert_both_refuse(PEER_REFUSES_NODE, "lives at this address");
    make(&dialler, 5, 1, "n1", "");
    make(&accepter, 5, 2, "n2", "");
    dialler.session.expected = 2;
    begin(1);
    talk(1000);
    assert_up();
    drop_both();
}

static void test_other_secret(void **state)
{
    (void)state;
    make(&dialler, 5, 1, "n1", "the secret of this cluster");
    make(&accepter, 5, 2, "n2", "the secret of that cluster");
    begin(1);
    assert_both_refuse(PEER_REFUSES_SECRET, "the cluster secret differs");
    for (int i = 0; i < 2; i++) {
        make(&dialler, 5, 1, "n1", secrets[i]);
        make(&accepter, 5, 2, "n2", secrets[!i]);
        begin(1);
        assert_both_refuse(PEER_REFUSES_SECRET, "one side has a cluster secret, the other has none");
    }
}

static void hear(struct side *side, const void *bytes, size_t size)
{
    buffer_add(&side->came, bytes, size);
    take(side);
}

static void test_other_version(void **state)
{
    (void)state;
    fresh("");
    accepter.session.out.size = 0;
    hear(&accepter, "coordpr1\2\0\0", 11);
    assert_int_equal(accepter.session.stage, PEER_GREETING);
    hear(&accepter, "\0", 1);
    assert_int_equal(accepter.session.stage, PEER_OVER);
    assert_int_equal(accepter.session.code, PEER_REFUSES_VERSION);
    move(&accepter, &dialler, 1000);
    assert_string_equal(dialler.session.why, "the other side refuses: another version of the peer protocol");
    drop_both();
}

static void test_garbage(void **state)
{
    (void)state;
    fresh(secrets[1]);
    hear(&accepter, "GET / HT", 8);
    assert_int_equal(accepter.session.stage, PEER_OVER);
    assert_string_equal(accepter.session.why, "no greeting of a coordd node");
    assert_int_equal(accepter.session.out.size, 0);
    drop_both();
    fresh(secrets[1]);
    dialler.session.out.data[30] ^= 1;
    talk(1000);
    assert_string_equal(accepter.session.why, "a damaged greeting");
    drop_both();
}

/* Who only knocks gets a greeting, and nothing that he could try secrets on. */
static void test_proof_only_for_proof(void **state)
{
    (void)state;
    fresh(secrets[1]);
    accepter.session.out.size = 0;
    hear(&accepter, dialler.session.out.data, dialler.session.out.size);
    assert_int_equal(accepter.session.stage, PEER_PROVING);
    assert_int_equal(accepter.session.out.size, 0);
    uint8_t guess[PEER_PROOF_SIZE] = {1};
    hear(&accepter, guess, sizeof guess);
    assert_int_equal(accepter.session.code, PEER_REFUSES_SECRET);
    assert_int_equal(accepter.session.out.size, PEER_REFUSAL_SIZE);
    drop_both();
}

/* A session whose bytes are recorded, and a new one with the same accepter to whom they are told again. */
static void test_replay_of_a_connection(void **state)
{
    (void)state;
    struct buffer heard = {0};
    fresh(secrets[1]);
    while (dialler.session.out.size) {
        buffer_add(&heard, dialler.session.out.data, dialler.session.out.size);
        move(&dialler, &accepter, 1000);
        move(&accepter, &dialler, 1000);
    }
    peer_session_send(&dialler.session, SLICE("give me the lock"));
    buffer_add(&heard, dialler.session.out.data, dialler.session.out.size);
    assert_true(accepter.session.was_up);
    drop_both();
    make(&dialler, 5, 1, "n1", secrets[1]);
    make(&accepter, 5, 2, "n2", secrets[1]);
    begin(2);
    hear(&accepter, heard.data, heard.size);
    assert_int_equal(accepter.session.stage, PEER_OVER);
    assert_int_equal(accepter.session.code, PEER_REFUSES_SECRET);
    assert_int_equal(accepter.frames, 0);
    drop_both();
    buffer_free(&heard);
}

/* One's own proof is no proof: roles are part of it. */
static void test_reflection(void **state)
{
    (void)state;
    fresh(secrets[1]);
    move(&dialler, &accepter, 1000);
    move(&accepter, &dialler, 1000);
    assert_int_equal(dialler.session.out.size, PEER_PROOF_SIZE);
    hear(&dialler, dialler.session.out.data, PEER_PROOF_SIZE);
    assert_int_equal(dialler.session.code, PEER_REFUSES_SECRET);
    drop_both();
}

static void assert_not_taken(const char *why)
{
    take(&accepter);
    assert_int_equal(accepter.session.stage, PEER_OVER);
    assert_string_equal(accepter.session.why, why);
    assert_int_equal(accepter.frames, 0);
    drop_both();
}

enum { SEALED = PEER_HEAD_SIZE + PEER_MAC_SIZE };
static const char unsealed[] = "a frame that was not sealed with the cluster secret";

static void three_frames(const char *secret)
{
    fresh(secret);
    talk(1000);
    peer_session_send(&dialler.session, SLICE("aaaa"));
    peer_session_send(&dialler.session, SLICE("bbbb"));
    peer_session_send(&dialler.session, SLICE("cccc"));
}

static void test_frames_twice_swapped_left_out(void **state)
{
    (void)state;
    const uint8_t *sent;
    size_t one = SEALED + 4;
    three_frames(secrets[1]);
    hear(&accepter, dialler.session.out.data, one);
    assert_int_equal(accepter.frames, 1);
    accepter.frames = 0;
    buffer_add(&accepter.came, dialler.session.out.data, one); /* again */
    assert_not_taken(unsealed);
    three_frames(secrets[1]);
    sent = dialler.session.out.data;
    buffer_add(&accepter.came, sent + one, one); /* the second first */
    buffer_add(&accepter.came, sent, one);
    assert_not_taken(unsealed);
    three_frames(secrets[1]);
    buffer_add(&accepter.came, dialler.session.out.data + 2 * one, one); /* the third alone */
    assert_not_taken(unsealed);
}

/* Frames of another connection, of the other direction, of another key. */
static void test_splices(void **state)
{
    (void)state;
    uint8_t other[SEALED + 4];
    make(&dialler, 5, 1, "n1", secrets[1]);
    make(&accepter, 5, 2, "n2", secrets[1]);
    begin(9);
    talk(1000);
    peer_session_send(&dialler.session, SLICE("aaaa"));
    memcpy(other, dialler.session.out.data, sizeof other);
    drop_both();
    three_frames(secrets[1]);
    assert_memory_equal(dialler.session.out.data, other, PEER_HEAD_SIZE);
    buffer_add(&accepter.came, other, sizeof other);
    assert_not_taken(unsealed);
    three_frames(secrets[1]);
    peer_session_send(&accepter.session, SLICE("aaaa"));
    buffer_add_slice(&accepter.came, buffer_slice(&accepter.session.out)); /* its own */
    assert_not_taken(unsealed);
}

static void test_changed_frames(void **state)
{
    (void)state;
    for (size_t at = 4; at < PEER_HEAD_SIZE + 4; at++) { /* checksum and body, without a secret */
        three_frames("");
        dialler.session.out.data[at] ^= 0x10;
        buffer_add_slice(&accepter.came, buffer_slice(&dialler.session.out));
        assert_not_taken("a frame with a wrong checksum");
    }
    for (size_t at = PEER_HEAD_SIZE; at < SEALED; at++) { /* the seal */
        three_frames(secrets[1]);
        dialler.session.out.data[at] ^= 1;
        buffer_add_slice(&accepter.came, buffer_slice(&dialler.session.out));
        assert_not_taken(unsealed);
    }
    three_frames(secrets[1]); /* the body, with a checksum that fits */
    dialler.session.out.data[SEALED] = 'b';
    peer_head_encode(SLICE("baaa"), dialler.session.out.data);
    buffer_add_slice(&accepter.came, buffer_slice(&dialler.session.out));
    assert_not_taken(unsealed);
}

static void test_too_long_a_frame(void **state)
{
    (void)state;
    uint32_t size = PEERS_FRAME_MAX + 1;
    for (int i = 0; i < 2; i++) {
        fresh(secrets[i]);
        talk(1000);
        buffer_add(&accepter.came, &size, sizeof size);
        buffer_add(&accepter.came, &size, sizeof size);
        assert_not_taken("a frame that is too long");
    }
}

/* Nothing counts before both sides have accepted. */
static void test_frame_instead_of_ready(void **state)
{
    (void)state;
    uint8_t head[PEER_HEAD_SIZE];
    fresh("");
    move(&dialler, &accepter, 1000);
    assert_int_equal(accepter.session.stage, PEER_AGREEING);
    peer_head_encode(SLICE("early"), head);
    buffer_add(&accepter.came, head, sizeof head);
    buffer_add(&accepter.came, "early", 5);
    assert_not_taken("a frame before it was agreed to");
}

/* A refusal after the greeting was accepted: so it is with certificates, which the accepter judges later. */
static void test_late_refusal(void **state)
{
    (void)state;
    fresh("");
    accepter.session.out.size = 0;
    accepter.session.theirs.from = 0;
    struct buffer refusal = {0};
    peer_refusal_encode(PEER_REFUSES_NAME, "the certificate is not of the node that it says", &refusal);
    struct peer_greeting theirs = {.version = PEER_VERSION, .cluster = 5, .from = 2};
    peer_greeting_encode(&theirs, &dialler.came);
    take(&dialler);
    assert_int_equal(dialler.session.stage, PEER_AGREEING);
    hear(&dialler, refusal.data, 100);
    assert_int_equal(dialler.session.stage, PEER_AGREEING);
    hear(&dialler, refusal.data + 100, refusal.size - 100);
    assert_int_equal(dialler.session.stage, PEER_OVER);
    assert_int_equal(dialler.session.code, PEER_REFUSES_NAME);
    assert_string_equal(dialler.session.why,
                        "the other side refuses: the certificate is not of the node that it says");
    buffer_free(&refusal);
    drop_both();
}

static void test_nothing_after_the_end(void **state)
{
    (void)state;
    fresh("");
    talk(1000);
    peer_session_send(&accepter.session, SLICE("x"));
    peer_session_end(&dialler.session, "first");
    peer_session_end(&dialler.session, "second");
    talk(1000);
    assert_int_equal(dialler.frames, 0);
    assert_string_equal(dialler.session.why, "first");
    drop_both();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange_in_any_pieces),
        cmocka_unit_test(test_biggest_frame),
        cmocka_unit_test(test_other_cluster),
        cmocka_unit_test(test_no_cluster_yet),
        cmocka_unit_test(test_itself),
        cmocka_unit_test(test_other_node_at_the_address),
        cmocka_unit_test(test_other_secret),
        cmocka_unit_test(test_other_version),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_proof_only_for_proof),
        cmocka_unit_test(test_replay_of_a_connection),
        cmocka_unit_test(test_reflection),
        cmocka_unit_test(test_frames_twice_swapped_left_out),
        cmocka_unit_test(test_splices),
        cmocka_unit_test(test_changed_frames),
        cmocka_unit_test(test_too_long_a_frame),
        cmocka_unit_test(test_frame_instead_of_ready),
        cmocka_unit_test(test_late_refusal),
        cmocka_unit_test(test_nothing_after_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
