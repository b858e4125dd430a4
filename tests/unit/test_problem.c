// links: api lib
/* Problem documents, replies in JSON and in plain text, and which of the two a client gets. */
#include "api/problem.h"
#include "api/reply.h"
#include "tests/unit/api_tables.h"
#include "tests/unit/cmocka_all.h"

#define json_null jansson_null /* base/json.h has its own */
#include <jansson.h>
#undef json_null

static void expect_text(const struct buffer *out, const char *text)
{
    assert_int_equal(out->size, strlen(text));
    assert_memory_equal(out->data, text, out->size);
}

static void problems_have_the_members_of_rfc_9457(void **state)
{
    (void)state;
    struct buffer out = {0};
    problem_json(&(struct problem){.outcome = OUTCOME_NO_LEADER}, &out);
    expect_text(
        &out, "{\"type\":\"urn:coordd:no_leader\",\"title\":\"no leader is known; nothing was changed\","
              "\"status\":503,\"code\":\"no_leader\",\"detail\":\"no leader is known; nothing was changed\","
              "\"retryable\":true}\n");
    buffer_free(&out);
}

static void problems_carry_facts(void **state)
{
    (void)state;
    struct buffer out = {0};
    struct holder holder = {SLICE("a\"b"), 812, 29000, 1000};
    struct refusal refusal = {&holder, 3};
    problem_json(&(struct problem){.outcome = OUTCOME_LOCK_HELD,
                                   .detail = SLICE("held by \"a\""),
                                   .shape = &refusal_record,
                                   .facts = &refusal},
                 &out);
    expect_text(&out, "{\"type\":\"urn:coordd:lock_held\",\"title\":\"the lock is held\",\"status\":423,"
                      "\"code\":\"lock_held\",\"detail\":\"held by \\\"a\\\"\",\"retryable\":false,"
                      "\"holder\":{\"owner\":\"a\\\"b\",\"token\":812,\"expires_in_ms\":29000,"
                      "\"since\":\"1970-01-01T00:00:01.000Z\"},\"waiters\":3}\n");
    buffer_free(&out);
}

static void problems_carry_facts_of_the_edge(void **state)
{
    (void)state;
    struct buffer out = {0};
    problem_json(&(struct problem){.outcome = OUTCOME_BAD_FIELD,
                                   .field = SLICE("a[0].b"),
                                   .allow = "GET, HEAD",
                                   .limit = 7,
                                   .has_byte_offset = true},
                 &out);
    const char *tail = "\"retryable\":false,\"field\":\"a[0].b\",\"allow\":[\"GET\",\"HEAD\"],\"limit\":7,"
                       "\"byte_offset\":0}\n";
    assert_true(out.size > strlen(tail));
    assert_memory_equal(out.data + out.size - strlen(tail), tail, strlen(tail));
    buffer_free(&out);
}

static void every_outcome_has_its_place(void **state)
{
    (void)state;
    assert_true(problem_outcome_count() > 30);
    for (size_t i = 0; i < problem_outcome_count(); i++) {
        const struct outcome_facts *facts = problem_outcome_at(i);
        assert_int_equal(problem_outcome_position(facts->outcome), i);
        assert_ptr_equal(problem_facts(facts->outcome), facts);
        assert_string_equal(outcome_facts(facts->outcome)->code, facts->code);
        assert_int_equal(outcome_facts(facts->outcome)->status, facts->status);
    }
}

static void every_problem_is_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < problem_outcome_count(); i++) {
        struct buffer out = {0};
        problem_json(&(struct problem){.outcome = problem_outcome_at(i)->outcome}, &out);
        assert_int_equal(out.data[out.size - 1], '\n');
        json_t *root = json_loadb((char *)out.data, out.size, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(root);
        assert_int_equal(json_integer_value(json_object_get(root, "status")), problem_outcome_at(i)->status);
        assert_string_equal(json_string_value(json_object_get(root, "code")), problem_outcome_at(i)->code);
        json_decref(root);
        buffer_free(&out);
    }
}

/* --- replies --- */

static const struct taken grant = {{(const uint8_t *)"x", 1}, 812, 0x32c00, 30000};

static struct call granted(enum outcome outcome)
{
    return (struct call){.operation = &thing_operations[0],
                         .outcome = outcome,
                         .shape = &taken_record,
                         .result = &grant,
                         .revision = 813};
}

static struct route route_of(struct routes *routes, size_t number)
{
    return *routes_at(routes, number);
}

static void a_grant_tells_shells_in_headers(void **state)
{
    struct route route = route_of(*state, 0);
    struct call call = granted(OUTCOME_CREATED);
    struct buffer out = {0};
    struct reply reply = reply_to_call(&route, &call, REPLY_JSON, &out);
    assert_int_equal(reply.status, 201);
    assert_string_equal(reply.type, "application/json");
    assert_int_equal(reply.token, 812);
    assert_int_equal(reply.lease, 0x32c00);
    assert_int_equal(reply.revision, 813);
    assert_true(reply.has_revision);
    assert_true(reply.has_expires);
    assert_int_equal(reply.expires_in_ms, 30000);
    assert_false(reply.tagged || reply.has_age || reply.retry_after);
    expect_text(&out, "{\"name\":\"x\",\"token\":812,\"lease\":\"L32c00\",\"expires_in_ms\":30000}\n");
    buffer_free(&out);
}

static void a_read_of_one_object_is_tagged(void **state)
{
    struct route route = route_of(*state, 1);
    struct thing_view view = {.name = SLICE("x"), .revision = 7};
    struct call call = {.operation = route.operation,
                        .outcome = OUTCOME_OK,
                        .shape = &view_record,
                        .result = &view,
                        .revision = 9,
                        .stale = true,
                        .age_ms = 12};
    struct buffer out = {0};
    struct reply reply = reply_to_call(&route, &call, REPLY_JSON, &out);
    assert_true(reply.tagged);
    assert_int_equal(reply.revision, 7);
    view.revision = 0;
    assert_true(reply_to_call(&route, &call, REPLY_JSON, &out).has_revision);
    assert_true(reply.has_age);
    assert_int_equal(reply.age_ms, 12);
    assert_false(reply.has_expires);
    buffer_free(&out);
}

static void nothing_to_say_has_no_body(void **state)
{
    struct route route = route_of(*state, 2);
    struct call call = {.operation = route.operation, .outcome = OUTCOME_NOTHING, .revision = 5};
    struct buffer out = {0};
    struct reply reply = reply_to_call(&route, &call, REPLY_JSON, &out);
    assert_int_equal(reply.status, 204);
    assert_null(reply.type);
    assert_int_equal(out.size, 0);
    assert_int_equal(reply.revision, 5);
    call.outcome = OUTCOME_OK;
    reply = reply_to_call(&route, &call, REPLY_JSON, &out);
    expect_text(&out, "{}\n");
    buffer_free(&out);
}

static void refusals_are_problems_in_every_form(void **state)
{
    struct route route = route_of(*state, 0);
    struct refusal refusal = {NULL, 2};
    struct call call = {.operation = route.operation,
                        .outcome = OUTCOME_TOO_MANY_WAITERS,
                        .shape = &refusal_record,
                        .result = &refusal,
                        .detail = SLICE("full"),
                        .revision = 5};
    for (enum reply_form form = REPLY_JSON; form <= REPLY_PLAIN; form++) {
        struct buffer out = {0};
        struct reply reply = reply_to_call(&route, &call, form, &out);
        assert_int_equal(reply.status, 429);
        assert_string_equal(reply.type, "application/problem+json");
        assert_true(reply.retry_after);
        assert_int_equal(reply.token, 0);
        assert_non_null(memmem(out.data, out.size, "\"detail\":\"full\"", 15));
        assert_non_null(memmem(out.data, out.size, "\"holder\":null,\"waiters\":2", 25));
        buffer_free(&out);
    }
}

static void retry_after_rides_with_429_and_503(void **state)
{
    (void)state;
    for (size_t i = 0; i < problem_outcome_count(); i++) {
        struct buffer out = {0};
        int status = problem_outcome_at(i)->status;
        struct reply reply =
            reply_to_problem(&(struct problem){.outcome = problem_outcome_at(i)->outcome}, &out);
        assert_int_equal(reply.retry_after, status == 429 || status == 503);
        assert_int_equal(reply.close, problem_outcome_at(i)->outcome == OUTCOME_SHUTTING_DOWN);
        buffer_free(&out);
    }
}

static void plain_text_is_one_bare_line(void **state)
{
    struct route take = route_of(*state, 0), get = route_of(*state, 1);
    struct call call = granted(OUTCOME_OK);
    struct buffer out = {0};
    struct reply reply = reply_to_call(&take, &call, REPLY_PLAIN, &out);
    assert_string_equal(reply.type, "text/plain; charset=utf-8");
    assert_int_equal(reply.token, 812);
    expect_text(&out, "812\n");
    out.size = 0;
    struct thing_view view = {.name = SLICE("x"), .revision = 7};
    call = (struct call){
        .operation = get.operation, .outcome = OUTCOME_OK, .shape = &view_record, .result = &view};
    reply_to_call(&get, &call, REPLY_PLAIN, &out);
    expect_text(&out, "free\n");
    out.size = 0;
    struct holder holders[] = {{SLICE("ci-42"), 812, 29000, 0}, {SLICE("other"), 813, 1, 0}};
    view.holders = (struct list){holders, 2};
    reply_to_call(&get, &call, REPLY_PLAIN, &out);
    expect_text(&out, "812 ci-42 29000\n");
    buffer_free(&out);
}

static struct reply line_of(void **state, const struct piece *piece, struct buffer *out)
{
    struct route route = route_of(*state, 11);
    struct call call = {
        .operation = route.operation, .outcome = OUTCOME_OK, .shape = &piece_record, .result = piece};
    assert_string_equal(route.operation->name, "thing.piece");
    out->size = 0;
    return reply_to_call(&route, &call, REPLY_PLAIN, out);
}

static void plain_text_is_the_fields_of_the_table(void **state)
{
    struct buffer out = {0};
    struct piece piece = {SLICE("17"), SLICE("\"data/a b.txt\""), 2, 30000};
    struct reply reply = line_of(state, &piece, &out);
    expect_text(&out, "shared data/a b.txt\n");
    assert_true(slice_is(reply.id, "17"));
    static const char *const others[][2] = {
        {"{\"a\":[1,\"b\"]}", "shared {\"a\":[1,\"b\"]}\n"},
        {"5", "shared 5\n"},
        {"null", "shared -\n"},
        {"", "shared -\n"},
        {"\"\"", "shared -\n"},
        {"\"two\\nlines\"", "shared \"two\\nlines\"\n"},
        {"\"say \\\"x\\\"\"", "shared \"say \\\"x\\\"\"\n"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        piece.payload = slice_text(others[i][0]);
        line_of(state, &piece, &out);
        expect_text(&out, others[i][1]);
    }
    piece = (struct piece){SLICE("\xc3\xa4"), {0}, 0, 0};
    reply = line_of(state, &piece, &out);
    expect_text(&out, "- -\n");
    assert_int_equal(reply.id.size, 0); /* no header can say it */
    buffer_free(&out);
}

static void plain_text_of_a_list_is_a_line_each(void **state)
{
    struct route route = route_of(*state, 10);
    struct piece items[] = {{SLICE("17"), SLICE("1"), 1, 30000}, {SLICE("18"), SLICE("\"x\""), 2, 20000}};
    struct pieces pieces = {812, {items, 2}};
    struct call call = {
        .operation = route.operation, .outcome = OUTCOME_OK, .shape = &pieces_record, .result = &pieces};
    struct buffer out = {0};
    struct reply reply = reply_to_call(&route, &call, REPLY_PLAIN, &out);
    expect_text(&out, "17 exclusive 1\n18 shared x\n");
    assert_true(slice_is(reply.id, "17"));
    assert_int_equal(reply.token, 812);
    assert_true(reply.has_expires);
    assert_int_equal(reply.expires_in_ms, 30000);
    out.size = 0;
    reply = reply_to_call(&route, &call, REPLY_JSON, &out);
    assert_true(slice_is(reply.id, "17"));
    out.size = 0;
    pieces = (struct pieces){0, {NULL, 0}};
    reply = reply_to_call(&route, &call, REPLY_PLAIN, &out);
    assert_int_equal(reply.status, 200);
    assert_int_equal(out.size, 0);
    assert_int_equal(reply.id.size, 0);
    assert_false(reply.has_expires);
    buffer_free(&out);
}

static void the_accept_header_chooses(void **state)
{
    static const struct {
        const char *accept;
        enum reply_form form;
    } cases[] = {
        {"", REPLY_JSON},
        {"*/*", REPLY_JSON},
        {"application/json", REPLY_JSON},
        {"application/*", REPLY_JSON},
        {"text/plain", REPLY_PLAIN},
        {"text/plain, */*", REPLY_PLAIN},
        {"text/plain;q=0.5, */*", REPLY_JSON},
        {"application/json, text/plain, */*", REPLY_JSON},
        {"application/json;q=0.3, text/plain;q=0.7", REPLY_PLAIN},
        {"application/json;q=0.3;x=y ,text/plain; q=0.25", REPLY_JSON},
        {"text/html,application/xhtml+xml,*/*;q=0.8", REPLY_JSON},
        {"text/plain;q=0, application/json", REPLY_JSON},
        {"text/html", REPLY_NOT_ACCEPTABLE},
        {"image/png, text/plain;q=0", REPLY_NOT_ACCEPTABLE},
        {"*/*;q=0", REPLY_NOT_ACCEPTABLE},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(reply_form(slice_text(cases[i].accept), &thing_operations[0]), cases[i].form);
    assert_int_equal(reply_form(SLICE("text/plain"), &thing_operations[1]), REPLY_PLAIN);
    assert_int_equal(reply_form(SLICE("text/plain"), &thing_operations[2]), REPLY_NOT_ACCEPTABLE);
    assert_int_equal(reply_form(SLICE("text/plain, */*"), &thing_operations[2]), REPLY_JSON);
    assert_int_equal(reply_form(SLICE("text/plain"), &thing_operations[13]), REPLY_PLAIN);
}

static int set_up(void **state)
{
    *state = routes_new(thing_primitives);
    return 0;
}

static int tear_down(void **state)
{
    routes_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(problems_have_the_members_of_rfc_9457),
        cmocka_unit_test(problems_carry_facts),
        cmocka_unit_test(problems_carry_facts_of_the_edge),
        cmocka_unit_test(every_outcome_has_its_place),
        cmocka_unit_test(every_problem_is_json),
        cmocka_unit_test(a_grant_tells_shells_in_headers),
        cmocka_unit_test(a_read_of_one_object_is_tagged),
        cmocka_unit_test(nothing_to_say_has_no_body),
        cmocka_unit_test(refusals_are_problems_in_every_form),
        cmocka_unit_test(retry_after_rides_with_429_and_503),
        cmocka_unit_test(plain_text_is_one_bare_line),
        cmocka_unit_test(plain_text_is_the_fields_of_the_table),
        cmocka_unit_test(plain_text_of_a_list_is_a_line_each),
        cmocka_unit_test(the_accept_header_chooses),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
