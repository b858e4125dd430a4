// links: api lib support
/* What streams look like to clients, what they go on from, and how their bytes get from one thread to the
 * other. */
#include "api/inbox.h"
#include "api/query.h"
#include "api/reply.h"
#include "base/memory.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>

/* --- events --- */

struct data {
    uint64_t token;
};
static const struct field data_fields[] = {
    {.number = 1, .type = FIELD_UINT, .offset = offsetof(struct data, token), .name = "token"}};
static const struct record data_record = RECORD("data", data, data_fields);

static const char *text_of(struct buffer *buffer)
{
    static char text[1024];
    assert_true(buffer->size < sizeof text);
    snprintf(text, sizeof text, "%.*s", (int)buffer->size, (const char *)buffer->data);
    buffer_free(buffer);
    return text;
}

static const char *event(struct slice path, const void *data, bool more, enum stream_form form)
{
    struct event event = {
        .revision = 913, .time_ms = 1000, .path = path, .shape = data ? &data_record : NULL};
    struct buffer out = {0};
    event.data = data;
    stream_event(&event, "acquired", more, form, &out);
    return text_of(&out);
}

static void events_in_both_forms(void **state)
{
    (void)state;
    struct data data = {812};
    assert_string_equal(event(SLICE("/locks/a"), &data, false, STREAM_NDJSON),
                        "{\"revision\":913,\"more\":false,\"type\":\"acquired\",\"path\":\"/locks/a\","
                        "\"time\":\"1970-01-01T00:00:01.000Z\",\"data\":{\"token\":812}}\n");
    assert_string_equal(
        event(SLICE("/locks/a"), &data, false, STREAM_SSE),
        "id: 913\ndata: {\"revision\":913,\"more\":false,\"type\":\"acquired\",\"path\":\"/locks/"
        "a\",\"time\":\"1970-01-01T00:00:01.000Z\",\"data\":{\"token\":812}}\n\n");
    assert_string_equal(event(SLICE("/x"), NULL, true, STREAM_SSE),
                        "data: {\"revision\":913,\"more\":true,\"type\":\"acquired\",\"path\":\"/x\","
                        "\"time\":\"1970-01-01T00:00:01.000Z\",\"data\":null}\n\n");
}

/* A line break in a name would end the event. */
static void paths_are_bytes(void **state)
{
    (void)state;
    assert_non_null(strstr(event(SLICE("/kv/a\nb"), NULL, false, STREAM_SSE), "\"path\":\"/kv/a\\nb\""));
    assert_non_null(
        strstr(event(SLICE("/kv/\xff"), NULL, false, STREAM_SSE), "\"path\":{\"base64\":\"L2t2L/8=\"}"));
}

static void what_a_stream_says_of_itself(void **state)
{
    (void)state;
    struct buffer out = {0};
    stream_control("bookmark", 7, true, (struct slice){0}, STREAM_SSE, &out);
    assert_string_equal(
        text_of(&out),
        "event: bookmark\nid: 7\ndata: {\"revision\":7,\"more\":false,\"type\":\"bookmark\"}\n\n");
    stream_control("reset", 7, false, SLICE("why"), STREAM_SSE, &out);
    assert_string_equal(
        text_of(&out),
        "event: reset\ndata: {\"revision\":7,\"more\":true,\"type\":\"reset\",\"detail\":\"why\"}\n\n");
    stream_control("end", 7, false, SLICE("why"), STREAM_NDJSON, &out);
    assert_string_equal(text_of(&out),
                        "{\"revision\":7,\"more\":true,\"type\":\"end\",\"detail\":\"why\"}\n");
    stream_heartbeat(7, STREAM_SSE, &out);
    assert_string_equal(text_of(&out), ": heartbeat\n\n");
    stream_heartbeat(7, STREAM_NDJSON, &out);
    assert_string_equal(text_of(&out), "{\"revision\":7,\"more\":false,\"type\":\"bookmark\"}\n");
}

static void the_form_is_what_the_client_prefers(void **state)
{
    (void)state;
    static const struct operation operation = {.kind = OPERATION_STREAM, .method = "GET"};
    static const struct {
        const char *accept;
        enum reply_form form;
    } cases[] = {
        {"", REPLY_SSE},
        {"*/*", REPLY_SSE},
        {"text/event-stream", REPLY_SSE},
        {"text/*", REPLY_SSE},
        {"application/x-ndjson", REPLY_NDJSON},
        {"application/ndjson, text/event-stream;q=0.5", REPLY_NDJSON},
        {"application/jsonl;q=0.1, */*", REPLY_SSE},
        {"application/x-ndjson;q=0.2, text/event-stream;q=0.1", REPLY_NDJSON},
        {"application/json", REPLY_NOT_ACCEPTABLE},
        {"text/html", REPLY_NOT_ACCEPTABLE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(reply_form(slice_text(cases[i].accept), &operation), cases[i].form);
}

/* --- where it goes on --- */

struct args {
    uint64_t number, wait_ms;
    bool initial;
};
static const struct field args_fields[] = {
    {.number = 1, .type = FIELD_UINT, .offset = offsetof(struct args, number), .name = "number"},
    {.number = 2, .type = FIELD_BOOL, .offset = offsetof(struct args, initial), .name = "initial"},
};
static const struct record args_record = RECORD("args", args, args_fields);
static const struct operation get = {
    .kind = OPERATION_QUERY, .method = "GET", .args = &args_record, .object = "/x/{number}"};
static const struct operation plain = {.kind = OPERATION_QUERY, .method = "GET", .args = &args_record};
static const struct operation watch = {.kind = OPERATION_STREAM, .method = "GET", .args = &args_record};
static const struct operation hold = {.kind = OPERATION_STREAM, .method = "POST", .args = &args_record};

struct asked {
    bool done;
    struct query_options options;
    struct problem problem;
};

static struct asked ask(const struct operation *operation, const char *query, const char *tag, const char *id)
{
    struct asked asked = {0};
    struct arena arena = {0};
    struct args args;
    struct argument argument = {.setting = {.record = &args_record, .data = &args, .arena = &arena},
                                .problem = &asked.problem};
    asked.done = query_parse(slice_text(query), operation, &argument, &asked.options) &&
                 query_seen(slice_text(tag), slice_text(id), operation, &argument, &asked.options);
    if (!asked.done) assert_int_equal(asked.problem.outcome, OUTCOME_BAD_FIELD);
    arena_free(&arena);
    return asked;
}

static void since_of_what_can_be_waited_for(void **state)
{
    (void)state;
    struct asked asked = ask(&get, "since=7&wait=1500ms", "", "");
    assert_true(asked.done && asked.options.since_given);
    assert_int_equal(asked.options.since, 7);
    assert_int_equal(asked.options.wait_ms, 1500);
    assert_true(ask(&get, "since=0&wait=10m", "", "").done);
    assert_true(ask(&watch, "since=0", "", "").options.since_given);
    assert_false(ask(&get, "", "", "").options.since_given);
    assert_false(ask(&plain, "since=7", "", "").done);
    assert_false(ask(&hold, "since=7", "", "").done);
    static const char *const bad[] = {"since=",
                                      "since=x",
                                      "since=9007199254740992",
                                      "since=1&since=1",
                                      "wait=1s",
                                      "since=1&wait=600001",
                                      "since=1&wait=x",
                                      "since=1&wait=1&wait=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(ask(&get, bad[i], "", "").done);
    assert_false(ask(&watch, "since=1&wait=1s", "", "").done);
    assert_false(ask(&watch, "since=1&initial=true", "", "").done);
}

static void tags_of_what_can_be_waited_for(void **state)
{
    (void)state;
    static const char *const tags[] = {"\"7\"", "W/\"7\""}, *const foreign[] = {"\"x\"", "*", "\"1\", \"2\"",
                                                                                "\"\""};
    for (size_t i = 0; i < 2; i++) {
        struct asked asked = ask(&get, "wait=1s", tags[i], "");
        assert_true(asked.done && asked.options.since_given && asked.options.since == 7);
    }
    for (size_t i = 0; i < 4; i++) {
        struct asked asked = ask(&get, "wait=1s", foreign[i], "");
        assert_true(asked.done && !asked.options.since_given);
    }
    assert_false(ask(&get, "since=1", "\"7\"", "").done);
    assert_false(ask(&plain, "", "\"7\"", "").options.since_given);
    assert_false(ask(&get, "", "", "7").options.since_given);
}

static void streams_go_on_behind_their_last_event(void **state)
{
    (void)state;
    struct asked asked = ask(&watch, "since=3", "", "7");
    assert_true(asked.done && asked.options.since == 7);
    assert_true(ask(&watch, "initial=true", "", "7").options.since_given);
    assert_false(ask(&watch, "", "", "7x").done);
    assert_false(ask(&hold, "", "", "7").options.since_given);
}

/* --- chunks and parcels --- */

static void a_chunk_lives_as_long_as_anybody_holds_it(void **state)
{
    (void)state;
    uint64_t before = chunk_bytes_alive();
    struct chunk *chunk = chunk_new(SLICE("bytes"));
    struct parcel *parcel = parcel_new(NULL, chunk, false);
    chunk_release(chunk);
    assert_int_equal(chunk_bytes_alive(), before + 5);
    assert_memory_equal(parcel->chunk->bytes, "bytes", 5);
    parcel_free(parcel);
    assert_int_equal(chunk_bytes_alive(), before);
}

static void parcels_come_to_their_home_in_order_behind_the_calls(void **state)
{
    (void)state;
    struct mailbox *mailbox = mailbox_new();
    struct api_loop loops[2] = {0};
    struct stream *const streams[] = {(struct stream *)(void *)&loops[0], (struct stream *)(void *)&loops[1]};
    for (size_t i = 0; i < 2; i++) inbox_open(&loops[i], mailbox);
    struct parcel *first = NULL, **end = &first;
    for (size_t i = 0; i < 6; i++) {
        *end = parcel_new(&loops[i % 2], NULL, i == 5);
        (*end)->sequence = i;
        parcel_add(*end, streams[i % 2]);
        end = &(*end)->next;
    }
    struct call *call = call_new();
    call->home = &loops[1];
    mailbox_deliver(call);
    mailbox_post(first);
    for (size_t i = 0; i < 2; i++) {
        struct inbox inbox = inbox_take(&loops[i]);
        assert_ptr_equal(inbox.calls, i ? call : NULL);
        uint64_t next = i;
        for (struct parcel *parcel = inbox.parcels, *after; parcel; parcel = after, next += 2) {
            after = parcel->next;
            assert_int_equal(parcel->sequence, next);
            assert_int_equal(parcel->count, 1);
            assert_ptr_equal(parcel->streams[0], streams[i]);
            assert_int_equal(parcel->last, next == 5);
            parcel_free(parcel);
        }
        assert_int_equal(next, 6 + i);
        assert_null(inbox_take(&loops[i]).parcels);
    }
    call_free(call);
    mailbox_post(parcel_new(&loops[0], NULL, true)); /* nobody takes it */
    for (size_t i = 0; i < 2; i++) inbox_close(&loops[i]);
    mailbox_free(mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_in_both_forms),
        cmocka_unit_test(paths_are_bytes),
        cmocka_unit_test(what_a_stream_says_of_itself),
        cmocka_unit_test(the_form_is_what_the_client_prefers),
        cmocka_unit_test(since_of_what_can_be_waited_for),
        cmocka_unit_test(tags_of_what_can_be_waited_for),
        cmocka_unit_test(streams_go_on_behind_their_last_event),
        cmocka_unit_test(a_chunk_lives_as_long_as_anybody_holds_it),
        cmocka_unit_test(parcels_come_to_their_home_in_order_behind_the_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
