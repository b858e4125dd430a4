// links: daemon
/* The bytes of the peer protocol: greetings, refusals, heads of frames; the file of the shared secret. */
#include "base/crc32c.h"
#include "coordd/log.h"
#include "coordd/peer_auth.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct peer_greeting example(void)
{
    struct peer_greeting greeting = {.version = PEER_VERSION,
                                     .secret = true,
                                     .cluster = 7,
                                     .from = 0x1122334455667788,
                                     .to = 3,
                                     .name = "n1",
                                     .address = "127.0.0.1:7601"};
    memset(greeting.nonce, 0xab, sizeof greeting.nonce);
    return greeting;
}

static void encode(const struct peer_greeting *greeting, uint8_t bytes[PEER_GREETING_SIZE])
{
    struct buffer out = {0};
    peer_greeting_encode(greeting, &out);
    assert_int_equal(out.size, PEER_GREETING_SIZE);
    memcpy(bytes, out.data, out.size);
    buffer_free(&out);
}

static void mend(uint8_t bytes[PEER_GREETING_SIZE])
{
    uint32_t crc = crc32c(0, bytes, PEER_GREETING_SIZE - 4);
    memcpy(bytes + PEER_GREETING_SIZE - 4, &crc, 4);
}

static bool decodes(const uint8_t bytes[PEER_GREETING_SIZE])
{
    struct peer_greeting greeting;
    return peer_greeting_decode(slice_of(bytes, PEER_GREETING_SIZE), &greeting);
}

static void test_greeting_comes_back(void **state)
{
    (void)state;
    struct peer_greeting mine = example(), theirs;
    uint8_t bytes[PEER_GREETING_SIZE];
    encode(&mine, bytes);
    assert_memory_equal(bytes, "coordpr1\1\0\0\0\1\0\0\0\7", 17); /* for ever: other versions read this */
    assert_true(peer_greeting_decode(slice_of(bytes, sizeof bytes), &theirs));
    assert_int_equal(theirs.version, PEER_VERSION);
    assert_true(theirs.secret);
    assert_int_equal(theirs.cluster, 7);
    assert_int_equal(theirs.from, 0x1122334455667788);
    assert_int_equal(theirs.to, 3);
    assert_memory_equal(theirs.nonce, mine.nonce, sizeof mine.nonce);
    assert_string_equal(theirs.name, "n1");
    assert_string_equal(theirs.address, "127.0.0.1:7601");
}

static void test_damage_is_seen(void **state)
{
    (void)state;
    struct peer_greeting mine = example();
    uint8_t bytes[PEER_GREETING_SIZE];
    encode(&mine, bytes);
    for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(decodes(bytes));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(decodes(bytes));
    struct peer_greeting theirs;
    assert_false(peer_greeting_decode(slice_of(bytes, sizeof bytes - 1), &theirs));
}

/* What is wrong although the checksum is right. */
static void test_what_no_node_says(void **state)
{
    (void)state;
    struct peer_greeting mine = example();
    uint8_t bytes[PEER_GREETING_SIZE];
    static const struct {
        size_t at, size;
        uint8_t with;
    } wrong[] = {{8, 1, 2}, {12, 1, 2}, {24, 8, 0}, {56, 64, 'n'}, {120, 124, '1'}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        encode(&mine, bytes);
        memset(bytes + wrong[i].at, wrong[i].with, wrong[i].size);
        mend(bytes);
        assert_false(decodes(bytes));
    }
}

static void test_beginnings(void **state)
{
    (void)state;
    assert_true(peer_greeting_begins(SLICE("")));
    assert_true(peer_greeting_begins(SLICE("coord")));
    assert_true(peer_greeting_begins(SLICE("coordpr1more")));
    assert_false(peer_greeting_begins(SLICE("GET / HTTP/1.1")));
    assert_false(peer_greeting_begins(SLICE("coordpr2")));
    assert_int_equal(peer_greeting_version(SLICE("coordpr1\1\0\0")), 0);
    assert_int_equal(peer_greeting_version(SLICE("coordpr1\1\0\0\0")), 1);
    assert_int_equal(peer_greeting_version(SLICE("coordpr1\2\0\0\0more")), 2);
    assert_int_equal(peer_greeting_version(SLICE("coordpr1\0\0\0\0")), UINT32_MAX);
}

static void test_refusals(void **state)
{
    (void)state;
    struct buffer out = {0};
    char text[PEER_REFUSAL_SIZE];
    uint32_t code;
    peer_refusal_encode(PEER_REFUSES_CLUSTER, "a node\nof another\x7f\x1b[31m cluster", &out);
    assert_int_equal(out.size, PEER_REFUSAL_SIZE);
    for (size_t size = 0; size < 8; size++)
        assert_false(peer_is_refusal(slice_of(out.data, size), &code, text));
    for (size_t size = 8; size < out.size; size++) {
        assert_true(peer_is_refusal(slice_of(out.data, size), &code, text));
        assert_string_equal(text, "");
    }
    assert_true(peer_is_refusal(buffer_slice(&out), &code, text));
    assert_int_equal(code, PEER_REFUSES_CLUSTER);
    assert_string_equal(text, "a node?of another??[31m cluster");
    memset(out.data + 12, 'x', out.size - 12);
    assert_true(peer_is_refusal(buffer_slice(&out), &code, text));
    assert_int_equal(strlen(text), PEER_REFUSAL_SIZE - 12 - 1);
    memset(out.data + 12, 0, out.size - 12);
    assert_true(peer_is_refusal(buffer_slice(&out), &code, text));
    assert_string_equal(text, "?");
    buffer_free(&out);
}

static void test_heads(void **state)
{
    (void)state;
    uint8_t head[PEER_HEAD_SIZE];
    uint32_t size, crc;
    peer_head_encode(SLICE("body"), head);
    assert_true(peer_head_decode(head, &size, &crc));
    assert_int_equal(size, 4);
    assert_int_equal(crc, peer_crc(SLICE("body")));
    assert_int_not_equal(peer_crc(SLICE("")), peer_crc(SLICE("\0")));
    size = PEERS_FRAME_MAX;
    memcpy(head, &size, 4);
    assert_true(peer_head_decode(head, &size, &crc));
    size = PEERS_FRAME_MAX + 1;
    memcpy(head, &size, 4);
    assert_false(peer_head_decode(head, &size, &crc));
}

/* --- the secret --- */

static bool reads(const char *text, size_t size, struct peer_secret *secret, char error[200])
{
    char path[] = "/tmp/test_peer_secret_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), size);
    close(fd);
    bool good = peer_secret_read(path, secret, error, 200);
    unlink(path);
    return good;
}

static void test_secret_files(void **state)
{
    (void)state;
    static struct peer_secret secret;
    char text[PEER_SECRET_MAX + 3], error[200] = "";
    memset(text, 's', sizeof text);
    assert_false(reads(text, 15, &secret, error));
    assert_non_null(strstr(error, "must hold 16 to 4096 bytes"));
    assert_int_equal(secret.size, 0);
    assert_true(reads(text, 16, &secret, error));
    assert_int_equal(secret.size, 16);
    assert_true(reads(text, PEER_SECRET_MAX, &secret, error));
    assert_int_equal(secret.size, PEER_SECRET_MAX);
    assert_false(reads(text, PEER_SECRET_MAX + 1, &secret, error));
    assert_false(reads(text, PEER_SECRET_MAX + 3, &secret, error));
    text[PEER_SECRET_MAX] = '\n';
    assert_true(reads(text, PEER_SECRET_MAX + 1, &secret, error));
    assert_int_equal(secret.size, PEER_SECRET_MAX);
    text[15] = '\n';
    assert_false(reads(text, 16, &secret, error));
    text[16] = '\n';
    assert_true(reads(text, 17, &secret, error)); /* one newline only */
    assert_int_equal(secret.size, 16);
    assert_false(peer_secret_read("/nowhere/secret", &secret, error, sizeof error));
    assert_non_null(strstr(error, "cannot read --cluster-secret-file /nowhere/secret: No such file"));
    assert_false(peer_secret_read("/tmp", &secret, error, sizeof error));
    assert_non_null(strstr(error, "Is a directory"));
}

/* A secret that others may read is used all the same: that is how containers are given theirs. */
static void test_readable_secret_is_told(void **state)
{
    (void)state;
    char path[] = "/tmp/test_peer_secret_XXXXXX", said[400] = "", error[200];
    static struct peer_secret secret;
    int fd = mkstemp(path), ends[2], before = dup(STDERR_FILENO);
    assert_true(fd >= 0 && before >= 0 && pipe(ends) == 0);
    assert_int_equal(write(fd, "0123456789abcdef", 16), 16);
    dup2(ends[1], STDERR_FILENO);
    bool private = peer_secret_read(path, &secret, error, sizeof error);
    assert_int_equal(fchmod(fd, 0444), 0);
    bool public = peer_secret_read(path, &secret, error, sizeof error);
    dup2(before, STDERR_FILENO);
    close(ends[1]);
    assert_true(read(ends[0], said, sizeof said - 1) > 0);
    assert_true(private && public);
    assert_non_null(strstr(said, "fact=\"others than this user may read the cluster secret\""));
    assert_non_null(strstr(said, "mode=0444"));
    assert_null(strstr(said, "mode=0600"));
    close(ends[0]);
    close(before);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting_comes_back),
        cmocka_unit_test(test_damage_is_seen),
        cmocka_unit_test(test_what_no_node_says),
        cmocka_unit_test(test_beginnings),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_secret_files),
        cmocka_unit_test(test_readable_secret_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
