// links: api lib
/* Which requests are let in by their head alone. */
#include "api/gate.h"
#include "tests/unit/cmocka_all.h"

static struct request_head head_for(const char *host)
{
    return (struct request_head){
        .method = SLICE("POST"),
        .target = SLICE("/v1/locks/x/acquire"),
        .host = host ? slice_text(host) : (struct slice){0},
        .version = GATE_VERSION_1_1,
    };
}

static enum outcome ask(const struct gate *gate, const struct request_head *head)
{
    struct problem problem = {.outcome = OUTCOME_OK};
    bool admitted = gate_admits(gate, head, false, &problem);
    assert_int_equal(admitted, problem.outcome == OUTCOME_OK);
    return problem.outcome;
}

static enum outcome ask_host(const struct gate *gate, const char *host)
{
    struct request_head head = head_for(host);
    return ask(gate, &head);
}

static void loopback_and_own_names_are_hosts(void **state)
{
    (void)state;
    struct gate *gate = gate_new("127.0.0.1:7400", "n1", "coordd.example, db.internal");
    static const char *const good[] = {
        "127.0.0.1",  "127.0.0.1:7400", "127.9.9.9:1", "localhost", "LocalHost:7400",    "localhost.",
        "[::1]:7400", "[::1]",          "n1:7400",     "N1",        "coordd.example:80", "DB.internal"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(ask_host(gate, good[i]), OUTCOME_OK);
    static const char *const foreign[] = {"evil.example",
                                          "evil.example:7400",
                                          "localhost.evil.example",
                                          "127.0.0.1.evil.example",
                                          "10.0.0.1:7400",
                                          "[fe80::1]:7400",
                                          "n2",
                                          "*",
                                          "coordd.example.evil"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        assert_int_equal(ask_host(gate, foreign[i]), OUTCOME_BAD_HOST);
    gate_free(gate);
}

static void malformed_and_missing_hosts_are_bad_requests(void **state)
{
    (void)state;
    struct gate *gate = gate_new("127.0.0.1:7400", "n1", NULL);
    static const char *const bad[] = {
        "", ":7400", "localhost:x", "localhost:74000000", "localhost:1:2", "[::1", "[", "[]", "[::1]x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(ask_host(gate, bad[i]), OUTCOME_BAD_REQUEST);
    assert_int_equal(ask_host(gate, NULL), OUTCOME_BAD_REQUEST);
    gate_free(gate);
}

static void any_address_is_a_host_when_listening_on_all(void **state)
{
    (void)state;
    static const char *const listens[] = {"0.0.0.0:7400", "[::]:7400", "*:7400"};
    for (size_t i = 0; i < sizeof listens / sizeof *listens; i++) {
        struct gate *gate = gate_new(listens[i], "n1", NULL);
        assert_int_equal(ask_host(gate, "10.1.2.3:7400"), OUTCOME_OK);
        assert_int_equal(ask_host(gate, "[fd00::5]:7400"), OUTCOME_OK);
        assert_int_equal(ask_host(gate, "evil.example"), OUTCOME_BAD_HOST);
        gate_free(gate);
    }
    struct gate *gate = gate_new("10.1.2.3:7400", "n1", NULL);
    assert_int_equal(ask_host(gate, "10.1.2.3:7400"), OUTCOME_OK);
    assert_int_equal(ask_host(gate, "10.1.2.4:7400"), OUTCOME_BAD_HOST);
    gate_free(gate);
}

static void a_star_accepts_any_host(void **state)
{
    (void)state;
    struct gate *gate = gate_new("127.0.0.1:7400", "n1", "a,*");
    assert_int_equal(ask_host(gate, "evil.example"), OUTCOME_OK);
    assert_int_equal(ask_host(gate, NULL), OUTCOME_BAD_REQUEST);
    gate_free(gate);
}

static void pages_of_other_sites_are_refused(void **state)
{
    (void)state;
    struct gate *gate = gate_new("127.0.0.1:7400", "n1", NULL);
    struct request_head head = head_for("localhost:7400");
    head.origin = SLICE("http://localhost:7400");
    assert_int_equal(ask(gate, &head), OUTCOME_OK);
    head.origin = SLICE("https://localhost:7400");
    assert_int_equal(ask(gate, &head), OUTCOME_OK);
    static const char *const foreign[] = {"http://evil.example", "http://localhost:3000",
                                          "http://localhost",    "null",
                                          "localhost:7400",      "http://localhost:7400.evil"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        head.origin = slice_text(foreign[i]);
        assert_int_equal(ask(gate, &head), OUTCOME_CROSS_SITE);
    }
    head.origin = (struct slice){0};
    head.site = SLICE("cross-site");
    assert_int_equal(ask(gate, &head), OUTCOME_CROSS_SITE);
    head.site = SLICE("same-origin");
    assert_int_equal(ask(gate, &head), OUTCOME_OK);
    gate_free(gate);
}

static void health_asks_no_host(void **state)
{
    (void)state;
    struct gate *gate = gate_new("127.0.0.1:7400", "n1", NULL);
    struct request_head head = head_for(NULL);
    struct problem problem = {0};
    head.site = SLICE("cross-site");
    assert_true(gate_admits(gate, &head, true, &problem));
    head.header_bytes = GATE_HEADERS_MAX + 1;
    assert_false(gate_admits(gate, &head, true, &problem));
    gate_free(gate);
}

static void heads_have_limits(void **state)
{
    (void)state;
    struct gate *gate = gate_new("127.0.0.1:7400", "n1", NULL);
    struct request_head head = head_for("localhost");
    head.header_bytes = GATE_HEADERS_MAX;
    assert_int_equal(ask(gate, &head), OUTCOME_OK);
    head.header_bytes++;
    assert_int_equal(ask(gate, &head), OUTCOME_HEADERS_TOO_LARGE);
    head = head_for("localhost");
    head.nameless = true;
    assert_int_equal(ask(gate, &head), OUTCOME_BAD_REQUEST);
    head = head_for("localhost");
    head.version = 0x100;
    assert_int_equal(ask(gate, &head), OUTCOME_OK);
    head.has_body = true;
    assert_int_equal(ask(gate, &head), OUTCOME_BAD_REQUEST);
    gate_free(gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback_and_own_names_are_hosts),
        cmocka_unit_test(malformed_and_missing_hosts_are_bad_requests),
        cmocka_unit_test(any_address_is_a_host_when_listening_on_all),
        cmocka_unit_test(a_star_accepts_any_host),
        cmocka_unit_test(pages_of_other_sites_are_refused),
        cmocka_unit_test(health_asks_no_host),
        cmocka_unit_test(heads_have_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
