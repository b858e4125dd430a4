// links: api lib support
/* What is shown of queues, tasks and workers: pages, filters, ages, rates; what waits for a task; events.
 * Entry 8 is the first of a world. */
#include "coord/primitive/watch.h"
#include "tests/unit/queue_world.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_world_begin, queue_world_end)
#define ASK(name, ...) coord_world_ask(world, name, json_of(__VA_ARGS__))

static void enqueue(struct coord_world *world, const char *queue, const char *more)
{
    assert_int_equal(DO("queue.enqueue", "{'queue':'%s','payload':1%s}", queue, more), OUTCOME_CREATED);
}

/* The text behind "cursor": in the last answer; empty: null. */
static const char *cursor(const struct coord_world *world)
{
    static char text[300];
    const char *at = strstr((const char *)world->answer.data, "\"cursor\":");
    assert_non_null(at);
    at += strlen("\"cursor\":");
    text[0] = 0;
    if (*at == '"') {
        size_t size = strcspn(at + 1, "\"");
        memcpy(text, at + 1, size);
        text[size] = 0;
    }
    return text;
}

static size_t count_of(const struct coord_world *world, const char *part)
{
    size_t count = 0;
    for (const char *at = (const char *)world->answer.data; (at = strstr(at, part)); at++) count++;
    return count;
}

/* --- queues --- */

static void ages_are_of_the_first_of_a_state(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "q", "");
    world->time_ms += 1000;
    enqueue(world, "q", ",'priority':0");
    world->time_ms += 500;
    ASK("queue.get", "{'queue':'q'}");
    SAYS("\"oldest_ready_ms\":1500,\"oldest_claimed_ms\":0");
    claim(world);
    world->time_ms += 250;
    ASK("queue.get", "{'queue':'q'}");
    SAYS("\"oldest_ready_ms\":1750,\"oldest_claimed_ms\":250");
    SAYS("\"length\":1");
}

static void length_is_what_max_len_is_about(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{'queue':'q','max_len':3}");
    enqueue(world, "q", "");
    claim(world);
    enqueue(world, "q", "");
    enqueue(world, "q", ",'delay':'1h'");
    enqueue(world, "q", ",'after':['2']");
    ASK("queue.get", "{'queue':'q'}");
    SAYS("\"scheduled\":1,\"blocked\":1,\"ready\":1,\"claimed\":1");
    SAYS("\"length\":3");
    assert_int_equal(DO("queue.enqueue", "{'queue':'q','payload':1}"), OUTCOME_QUEUE_FULL);
}

static void rates_are_of_the_last_minutes(void **state)
{
    struct coord_world *world = *state;
    world->time_ms = 28333334ull * 60000; /* a minute begins */
    for (int i = 0; i < 10; i++) enqueue(world, "q", "");
    world->time_ms += 2000;
    DO("queue.claim", "{'queue':'q','worker':'w','max':4}");
    uint64_t token = world->index;
    world->time_ms += 3000;
    DO("queue.complete", "{'queue':'q','id':'1','token':%d}", (int)token);
    world->time_ms += 2000;
    DO("queue.complete", "{'queue':'q','id':'2','token':%d}", (int)token);
    DO("queue.fail", "{'queue':'q','id':'3','token':%d}", (int)token);
    ASK("queue.get", "{'queue':'q'}");
    SAYS("\"1m\":{\"enqueued\":10,\"claimed\":4,\"done\":2,\"failed\":1,\"lost\":0,\"wait_ms\":2000,\"wait_"
         "max_ms\":"
         "2000,\"run_ms\":4000,\"run_max_ms\":5000}");
    world->time_ms += 53000 + 30000; /* half of that minute is in the last 60 s */
    ASK("queue.get", "{'queue':'q'}");
    SAYS("\"1m\":{\"enqueued\":5,\"claimed\":2,\"done\":1,\"failed\":0");
    SAYS("\"5m\":{\"enqueued\":10,\"claimed\":4,\"done\":2,\"failed\":1");
    world->time_ms += 60000;
    ASK("queue.get", "{'queue':'q'}");
    SAYS("\"1m\":{\"enqueued\":0,\"claimed\":0,\"done\":0,\"failed\":0,\"lost\":0,\"wait_ms\":0,\"wait_max_"
         "ms\":0,"
         "\"run_ms\":0,\"run_max_ms\":0}");
    world->time_ms += 4 * 60000;
    ASK("queue.get", "{'queue':'q'}");
    SAYS("\"5m\":{\"enqueued\":0");
    SAYS("\"15m\":{\"enqueued\":10");
    SAYS("\"totals\":{\"enqueued\":10,\"deduplicated\":0,\"claimed\":4,\"done\":2,\"failed\":1");
}

/* Minutes that no window needs go away by themselves. */
static void old_minutes_are_forgotten(void **state)
{
    struct coord_world *world = *state;
    struct key first = queue_key_of(KEY_QUEUE_MINUTE, SLICE("q"));
    struct slice key, value;
    enqueue(world, "q", "");
    assert_true(rows_seek(world->rows, key_slice(&first), &key, &value) &&
                slice_starts_with(key, key_slice(&first)));
    pass(world, 40 * 60000);
    assert_false(rows_seek(world->rows, key_slice(&first), &key, &value) &&
                 slice_starts_with(key, key_slice(&first)));
}

static void queues_by_prefix(void **state)
{
    struct coord_world *world = *state;
    const char *const names[] = {"mail", "mail/in", "mail/out", "main", "other"};
    for (size_t i = 0; i < 5; i++) enqueue(world, names[i], "");
    DO("queue.delete", "{'queue':'mail/in','force':true}");
    ASK("queue.list", "{'prefix':'mail'}");
    SAYS("{\"queue\":\"mail\",");
    SAYS("{\"queue\":\"mail/out\",");
    assert_int_equal(count_of(world, "\"queue\":"), 2);
    ASK("queue.list", "{'limit':2}");
    assert_string_equal(cursor(world), "mail/out");
    ASK("queue.list", "{'limit':2,'cursor':'mail/in'}"); /* that is no more */
    assert_int_equal(count_of(world, "\"queue\":"), 2);
    SAYS("{\"queue\":\"mail/out\",");
    assert_string_equal(cursor(world), "main");
    ASK("queue.list", "{'limit':2,'cursor':'main'}");
    SAYS("{\"queue\":\"other\",");
    assert_string_equal(cursor(world), "");
}

/* --- lists of tasks --- */

static void tasks_by_state(void **state)
{
    struct coord_world *world = *state;
    for (int i = 0; i < 7; i++) enqueue(world, "q", i % 2 ? ",'group':'g','key':'k','dedup':'off'" : "");
    enqueue(world, "q", ",'delay':'1h'");
    DO("queue.cancel", "{'queue':'q','id':'1'}");
    ASK("queue.list_tasks", "{'queue':'q'}");
    assert_int_equal(count_of(world, "\"id\":"), 8);
    const char *text = (const char *)world->answer.data;
    assert_true(strstr(text, "\"id\":\"8\"") < strstr(text, "\"id\":\"2\"") &&
                strstr(text, "\"id\":\"7\"") < strstr(text, "\"id\":\"1\""));
    ASK("queue.list_tasks", "{'queue':'q','state':'ready'}");
    assert_int_equal(count_of(world, "\"id\":"), 6);
    ASK("queue.list_tasks", "{'queue':'q','state':'done'}");
    SAYS("{\"tasks\":[],\"cursor\":null");
    ASK("queue.list_tasks", "{'queue':'q','group':'g'}");
    assert_int_equal(count_of(world, "\"id\":"), 3);
    ASK("queue.list_tasks", "{'queue':'q','key':'k','state':'ready','payload':true}");
    assert_int_equal(count_of(world, "\"payload\":1"), 3);
}

/* Every task once, whatever the size of the pages, while others come and go. */
static void pages_of_tasks(void **state)
{
    struct coord_world *world = *state;
    for (int i = 0; i < 20; i++) enqueue(world, "q", i % 3 ? "" : ",'delay':'1h'");
    for (int limit = 1; limit < 8; limit++) {
        char at[300] = "";
        size_t seen = 0, pages = 0;
        do {
            if (at[0])
                ASK("queue.list_tasks", "{'queue':'q','limit':%d,'cursor':'%s'}", limit, at);
            else
                ASK("queue.list_tasks", "{'queue':'q','limit':%d}", limit);
            size_t count = count_of(world, "\"id\":");
            assert_true(count <= (size_t)limit);
            seen += count;
            strcpy(at, cursor(world));
            assert_true(++pages < 100);
        } while (at[0]);
        assert_int_equal(seen, 20);
    }
}

static void cursors_of_other_lists_are_refused(void **state)
{
    struct coord_world *world = *state;
    const char *const wrong[] = {
        "x", "3", "3.1", "3.1.", "3.1.2.4", "0.1.2", "9.1.2", "3.12345678901234567.1", ".1.2", "3..1"};
    enqueue(world, "q", "");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ASK("queue.list_tasks", "{'queue':'q','cursor':'%s'}", wrong[i]);
        assert_int_equal(world->outcome, OUTCOME_SENSELESS);
    }
    assert_int_equal(ASK("queue.list_tasks", "{'queue':'q','state':'dead','cursor':'3.1.2'}"),
                     OUTCOME_SENSELESS);
    assert_int_equal(ASK("queue.list_tasks", "{'queue':'q','state':'ready','cursor':'3.1.2'}"), OUTCOME_OK);
}

static void a_page_is_no_larger_than_an_answer(void **state)
{
    struct coord_world *world = *state;
    enum { SIZE = 60000, COUNT = 40 };
    char *payload = test_calloc(1, SIZE + 1);
    memset(payload, 'x', SIZE);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(DO("queue.enqueue", "{'queue':'q','payload':'%s'}", payload), OUTCOME_CREATED);
    test_free(payload);
    ASK("queue.list_tasks", "{'queue':'q','limit':1000}");
    assert_int_equal(count_of(world, "\"id\":"), COUNT);
    ASK("queue.list_tasks", "{'queue':'q','limit':1000,'payload':true}");
    size_t count = count_of(world, "\"id\":");
    assert_true(count > 10 && count < 20);
    assert_true(cursor(world)[0] != 0);
}

/* --- one task --- */

static void a_task_and_all_that_is_known(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{'queue':'q','max_attempts':7,'backoff':'1s','backoff_jitter':0}");
    enqueue(world, "q", ",'key':'k','group':'g','priority':3,'timeout':'1m','max_losses':2,'ttl':'1h'");
    uint64_t token = claim(world);
    DO("queue.progress", "{'queue':'q','id':'1','token':%d,'progress':{'percent':5}}", (int)token);
    ASK("queue.get_task", "{'queue':'q','id':'1'}");
    SAYS("\"state\":\"claimed\",\"payload\":1,\"priority\":3,\"key\":\"k\",\"group\":\"g\"");
    SAYS("\"worker\":\"w\"");
    SAYS("\"progress\":{\"percent\":5}");
    SAYS("\"max_attempts\":7,\"max_losses\":2");
    SAYS("\"timeout_ms\":60000");
    SAYS("\"not_before\":null,\"token\":10");
    world->time_ms += 5;
    DO("queue.fail", "{'queue':'q','id':'1','token':%d,'error':'no'}", (int)token);
    ASK("queue.get_task", "{'queue':'q','id':'1'}");
    SAYS("\"state\":\"scheduled\"");
    SAYS("\"attempts\":1,\"failures\":1,\"losses\":0,\"releases\":0,\"worker\":\"w\",\"error\":\"no\"");
    SAYS("\"not_before\":\"2023-11-14T22:13:21.005Z\",\"token\":null,\"lease\":null,\"expires_in_ms\":null");
    SAYS("\"history\":[{\"attempt\":1,\"worker\":\"w\",\"token\":");
    SAYS("\"end\":\"failed\",\"error\":\"no\"}]");
    const char *const wrong[] = {"2", "01", "0", "x", "1x", "-1", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(ASK("queue.get_task", "{'queue':'q','id':'%s'}", wrong[i]), OUTCOME_TASK_NOT_FOUND);
    assert_int_equal(ASK("queue.get_task", "{'queue':'p','id':'1'}"), OUTCOME_TASK_NOT_FOUND);
}

static void who_waits_for_a_task_is_told_when_it_is_over(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "q", "");
    assert_int_equal(ASK("queue.get_task", "{'queue':'q','id':'1'}"), OUTCOME_OK);
    assert_int_equal(ASK("queue.get_task", "{'queue':'q','id':'1','wait':'1m'}"), OUTCOME_UNCHANGED);
    uint64_t token = claim(world);
    assert_int_equal(ASK("queue.get_task", "{'queue':'q','id':'1','wait':'1m'}"), OUTCOME_UNCHANGED);
    assert_int_equal(DO("txn", "{'then':[{'op':'queue.get_task','queue':'q','id':'1','wait':'1m'}]}"),
                     OUTCOME_SENSELESS);
    DO("queue.complete", "{'queue':'q','id':'1','token':%d,'result':[7]}", (int)token);
    assert_int_equal(ASK("queue.get_task", "{'queue':'q','id':'1','wait':'1m'}"), OUTCOME_OK);
    SAYS("\"result\":[7]");
    const struct operation *get = operation_by_name(SLICE("queue.get_task"));
    struct {
        struct slice queue, id;
        uint64_t wait_ms;
    } args = {SLICE("a/b"), SLICE("17"), 1000};
    struct watch_request request = {0};
    get->watch(&world->arena, &args, &request);
    assert_int_equal(request.scope_count, 1);
    assert_text(request.scopes[0].path, "/queues/a/b/tasks/17");
    assert_false(request.scopes[0].prefix);
}

/* --- workers --- */

static void workers_and_what_they_did(void **state)
{
    struct coord_world *world = *state;
    for (int i = 0; i < 4; i++) enqueue(world, "q", "");
    const char *const names[] = {"b", "a1", "a2"};
    for (size_t i = 0; i < 3; i++) DO("queue.claim", "{'queue':'q','worker':'%s'}", names[i]);
    DO("queue.claim", "{'queue':'other','worker':'z','wait':0}");
    world->time_ms += 40;
    DO("queue.complete", "{'queue':'q','id':'1','token':12}");
    ASK("queue.list_workers", "{'queue':'q'}");
    assert_int_equal(count_of(world, "\"worker\":"), 3);
    SAYS("{\"worker\":\"b\",\"claimed\":0,\"attempts\":1,\"done\":1,\"failed\":0,\"lost\":0,\"released\":0,"
         "\"run_ms\":40");
    ASK("queue.list_workers", "{'queue':'q','prefix':'a','limit':1}");
    SAYS("{\"worker\":\"a1\",\"claimed\":1");
    assert_string_equal(cursor(world), "a1");
    ASK("queue.list_workers", "{'queue':'q','prefix':'a','cursor':'a1'}");
    assert_int_equal(count_of(world, "\"worker\":"), 1);
    SAYS("\"worker\":\"a2\"");
    assert_string_equal(cursor(world), "");
}

/* --- events --- */

static struct event *last_event(struct coord_world *world)
{
    struct event *event = events_next(world->rows, &world->arena, world->index - 1);
    while (event->next) event = event->next;
    return event;
}

static void assert_event(struct coord_world *world, const char *kind, const char *path, const char *part)
{
    const struct event *event = last_event(world);
    struct buffer json = {0};
    assert_string_equal(event->kind->name, kind);
    assert_text(event->path, path);
    record_json(event->shape, event->data, &(struct json){&json, false});
    buffer_add_byte(&json, 0);
    if (!strstr((const char *)json.data, part)) fail_msg("%s", (const char *)json.data);
    buffer_free(&json);
}

static void events_say_what_happened(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{'queue':'a/tasks/b','max_attempts':2}");
    assert_event(world, "set", "/queues/a/tasks/b", "\"paused\":false");
    DO("queue.pause", "{'queue':'a/tasks/b'}");
    assert_event(world, "set", "/queues/a/tasks/b", "\"paused\":true");
    DO("queue.resume", "{'queue':'a/tasks/b'}");
    enqueue(world, "a/tasks/b", ",'group':'g'");
    const char *path = "/queues/a/tasks/b/tasks/1";
    assert_event(world, "ready", path,
                 "{\"id\":\"1\",\"queue\":\"a/tasks/"
                 "b\",\"state\":\"ready\",\"group\":\"g\",\"key\":null,\"worker\":null");
    world->time_ms += 300;
    DO("queue.claim", "{'queue':'a/tasks/b','worker':'w'}");
    int token = (int)world->index;
    assert_event(world, "claimed", path, "\"wait_ms\":300,\"run_ms\":0,\"attempts\":1");
    DO("queue.progress", "{'queue':'a/tasks/b','id':'1','token':%d,'progress':3}", token);
    assert_event(world, "progress", path, "\"progress\":3");
    DO("queue.cancel", "{'queue':'a/tasks/b','id':'1','reason':'why','grace':'1m'}");
    assert_event(world, "cancel_requested", path, "\"reason\":\"why\"");
    world->time_ms += 40;
    DO("queue.fail", "{'queue':'a/tasks/b','id':'1','token':%d,'permanent':true,'error':'e'}", token);
    const struct event *event = last_event(world);
    assert_true(!strcmp(event->kind->name, "cancelled") || !strcmp(event->kind->name, "dead"));
    assert_event(world, event->kind->name, path, "\"run_ms\":40");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ages_are_of_the_first_of_a_state),
        TEST(length_is_what_max_len_is_about),
        TEST(rates_are_of_the_last_minutes),
        TEST(old_minutes_are_forgotten),
        TEST(queues_by_prefix),
        TEST(tasks_by_state),
        TEST(pages_of_tasks),
        TEST(cursors_of_other_lists_are_refused),
        TEST(a_page_is_no_larger_than_an_answer),
        TEST(a_task_and_all_that_is_known),
        TEST(who_waits_for_a_task_is_told_when_it_is_over),
        TEST(workers_and_what_they_did),
        TEST(events_say_what_happened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
