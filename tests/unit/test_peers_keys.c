// links: daemon
/* Peer links with a shared secret and with certificates, over real sockets: who gets in, and who does not. */
#include "tests/unit/peers_certs.h"
#include "tests/unit/peers_test.h"

enum { DAY_S = 24 * 3600 };

static char directory[] = "/tmp/coordd-test-XXXXXX";
static char secret[64], other_secret[64], short_secret[64];
static struct cert *authority, *other_authority, *n1, *n2, *n2_of_other, *n2_old, *any_name;

static void write_file(char path[64], const char *name, const char *text)
{
    snprintf(path, 64, "%s/%s", directory, name);
    FILE *file = fopen(path, "we");
    assert_true(file && fputs(text, file) >= 0);
    fclose(file);
}

static int make_keys(void **state)
{
    sockets_may_break(state);
    assert_non_null(mkdtemp(directory));
    write_file(secret, "secret", "the quick brown fox jumps\n");
    write_file(other_secret, "other", "over the lazy dog and back\n");
    write_file(short_secret, "short", "tiny\n");
    authority = cert_make(directory, "authority", NULL, NULL, -DAY_S, DAY_S);
    other_authority = cert_make(directory, "other-authority", NULL, NULL, -DAY_S, DAY_S);
    n1 = cert_make(directory, "cert1", "n1", authority, -DAY_S, DAY_S);
    n2 = cert_make(directory, "cert2", "n2", authority, -DAY_S, DAY_S);
    n2_of_other = cert_make(directory, "cert2-other", "n2", other_authority, -DAY_S, DAY_S);
    n2_old = cert_make(directory, "cert2-old", "n2", authority, -2 * DAY_S, -DAY_S);
    any_name = cert_make(directory, "cert-any", "*", authority, -DAY_S, DAY_S);
    return 0;
}

static int remove_keys(void **state)
{
    (void)state;
    struct cert *certs[] = {authority, other_authority, n1, n2, n2_of_other, n2_old, any_name};
    for (size_t i = 0; i < sizeof certs / sizeof *certs; i++) cert_free(certs[i]);
    remove(secret);
    remove(other_secret);
    remove(short_secret);
    return remove(directory);
}

static struct party *with_secret(uint64_t number, const char *file)
{
    struct party *party = party_make(number, 7);
    party->settings.secret_file = file;
    party_open(party);
    return party;
}

static struct party *with_cert(uint64_t number, const struct cert *cert, const struct cert *ca)
{
    struct party *party = party_make(number, 7);
    party->settings.cert_file = cert->cert_file;
    party->settings.key_file = cert->key_file;
    party->settings.ca_file = ca->cert_file;
    party_open(party);
    return party;
}

static void exchange(struct party *a, struct party *b)
{
    static const size_t sizes[] = {4, 1000, 70000, PEERS_FRAME_MAX, 16};
    size_t count = sizeof sizes / sizeof *sizes;
    follow(a, 2, b->address);
    UNTIL(is_up(a, 2) && is_up(b, 1));
    for (uint32_t i = 0; i < count; i++) {
        assert_true(send_numbered(a, 2, i, sizes[i]));
        assert_true(send_numbered(b, 1, i, sizes[count - 1 - i]));
        peers_flush(a->peers);
    }
    UNTIL(a->frames == count && b->frames == count);
    assert_true(a->in_order && b->in_order);
    step_for(10 * HEARTBEAT_MS + 600); /* pings pass too */
    assert_int_equal(a->greetings + b->greetings, 2);
}

/* Neither side takes the other for a node, in whichever direction it is dialled. */
static void stay_apart(struct party *a, struct party *b)
{
    follow(a, 2, b->address);
    UNTIL(peers_state(a->peers, 2).error[0]);
    follow(b, 1, a->address);
    UNTIL(peers_state(b->peers, 1).error[0]);
    step_for(200);
    assert_int_equal(a->greetings + b->greetings + a->frames + b->frames, 0);
    assert_false(is_up(a, 2) || is_up(b, 1));
}

static void the_same_secret_lets_in(void **state)
{
    (void)state;
    exchange(with_secret(1, secret), with_secret(2, secret));
}

static void another_secret_does_not(void **state)
{
    (void)state;
    struct party *a = with_secret(1, secret), *b = with_secret(2, other_secret);
    stay_apart(a, b);
    assert_true(error_says(a, 2, "secret"));
    assert_true(error_says(b, 1, "secret"));
}

static void none_does_not(void **state)
{
    (void)state;
    struct party *a = with_secret(1, secret), *b = with_secret(2, NULL);
    stay_apart(a, b);
    assert_true(error_says(a, 2, "secret"));
    assert_true(error_says(b, 1, "secret"));
}

static void certificates_let_in(void **state)
{
    (void)state;
    exchange(with_cert(1, n1, authority), with_cert(2, n2, authority));
}

static void certificates_and_a_secret_let_in(void **state)
{
    (void)state;
    struct party *a = party_make(1, 7), *b = party_make(2, 7);
    a->settings.cert_file = n1->cert_file;
    a->settings.key_file = n1->key_file;
    b->settings.cert_file = n2->cert_file;
    b->settings.key_file = n2->key_file;
    a->settings.ca_file = b->settings.ca_file = authority->cert_file;
    a->settings.secret_file = b->settings.secret_file = secret;
    party_open(a);
    party_open(b);
    exchange(a, b);
}

static void a_certificate_of_another_name_does_not(void **state)
{
    (void)state;
    stay_apart(with_cert(1, n1, authority), with_cert(2, n1, authority));
    parties_close(state);
    stay_apart(with_cert(1, n1, authority), with_cert(2, any_name, authority));
}

static void a_certificate_of_another_authority_does_not(void **state)
{
    (void)state;
    stay_apart(with_cert(1, n1, authority), with_cert(2, n2_of_other, authority));
    parties_close(state);
    stay_apart(with_cert(1, n1, authority), with_cert(2, n2_of_other, other_authority));
}

static void a_certificate_that_ran_out_does_not(void **state)
{
    (void)state;
    stay_apart(with_cert(1, n1, authority), with_cert(2, n2_old, authority));
}

static void who_has_no_certificate_does_not_get_in(void **state)
{
    (void)state;
    stay_apart(with_cert(1, n1, authority), party_new(2, 7));
}

static void tls_links_may_end_at_any_time(void **state)
{
    (void)state;
    struct party *a = with_cert(1, n1, authority), *b = with_cert(2, n2, authority);
    for (int i = 0; i < 20; i++) {
        follow(a, 2, b->address);
        for (int k = 0; k < i; k++) step_all(); /* somewhere in the handshake, or up */
        if (i % 3 == 0) send_numbered(a, 2, 0, PEERS_FRAME_MAX);
        peers_flush(a->peers);
        peers_follow(a->peers, NULL, 0);
        if (i % 4 == 1) {
            party_close(i % 8 == 1 ? a : b);
            party_open(i % 8 == 1 ? a : b);
        }
        UNTIL(!is_up(a, 2) && !is_up(b, 1));
    }
    follow(a, 2, b->address);
    UNTIL(is_up(a, 2) && is_up(b, 1));
}

static void refuses(struct peers_settings settings, const char *text)
{
    char error[512] = "";
    settings.identity = (struct peers_identity){7, 1, "n1"};
    settings.listen = "127.0.0.1:0";
    settings.wake = -1;
    settings.heartbeat_ms = HEARTBEAT_MS;
    assert_null(peers_open(&settings, error, sizeof error));
    if (!strstr(error, text)) fail_msg("\"%s\" does not say \"%s\"", error, text);
}

static void keys_that_cannot_be_used_are_told(void **state)
{
    (void)state;
    refuses((struct peers_settings){.secret_file = "/nowhere/secret"}, "/nowhere/secret");
    refuses((struct peers_settings){.secret_file = short_secret}, "head -c 32 /dev/urandom");
    refuses((struct peers_settings){.cert_file = n1->cert_file}, "all three");
    refuses((struct peers_settings){.cert_file = n1->cert_file, .key_file = n1->key_file}, "all three");
    struct peers_settings mixed = {
        .cert_file = n1->cert_file, .key_file = n2->key_file, .ca_file = authority->cert_file};
    refuses(mixed, n2->key_file);
    mixed.key_file = "/nowhere/key";
    refuses(mixed, "/nowhere/key");
}

static void a_secret_opens_the_port_to_others(void **state)
{
    (void)state;
    struct party *a = party_make(1, 7);
    a->settings.secret_file = secret;
    a->settings.listen = "0.0.0.0:0";
    a->settings.advertise = "127.0.0.1:1";
    party_open(a);
    exchange(a, with_secret(2, secret));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_same_secret_lets_in, parties_close),
        cmocka_unit_test_teardown(another_secret_does_not, parties_close),
        cmocka_unit_test_teardown(none_does_not, parties_close),
        cmocka_unit_test_teardown(certificates_let_in, parties_close),
        cmocka_unit_test_teardown(certificates_and_a_secret_let_in, parties_close),
        cmocka_unit_test_teardown(a_certificate_of_another_name_does_not, parties_close),
        cmocka_unit_test_teardown(a_certificate_of_another_authority_does_not, parties_close),
        cmocka_unit_test_teardown(a_certificate_that_ran_out_does_not, parties_close),
        cmocka_unit_test_teardown(who_has_no_certificate_does_not_get_in, parties_close),
        cmocka_unit_test_teardown(tls_links_may_end_at_any_time, parties_close),
        cmocka_unit_test_teardown(keys_that_cannot_be_used_are_told, parties_close),
        cmocka_unit_test_teardown(a_secret_opens_the_port_to_others, parties_close),
    };
    return cmocka_run_group_tests(tests, make_keys, remove_keys);
}
