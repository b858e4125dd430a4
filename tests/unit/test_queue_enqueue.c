// links: api lib support
/* Making tasks: states they begin in, limits, what is refused, unique keys, many at once. */
#include "tests/unit/queue_world.h"

#define Q "'queue':'q'"
#define N(number) ((unsigned long long)(number))

static enum outcome enqueue(struct coord_world *world, const char *more)
{
    return DO("queue.enqueue", "{" Q "%s}", more);
}

static struct slice payload_of(struct coord_world *world, uint64_t id)
{
    struct apply apply;
    struct task_body body;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    task_body(&apply, id, &body);
    return body.payload;
}

/* --- how a task begins --- */

static void a_task_gets_the_next_id_of_all_queues(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(enqueue(world, ",'payload':{'b':[1,2]}"), OUTCOME_CREATED);
    SAYS("{\"id\":\"1\",\"queue\":\"q\",\"state\":\"ready\",\"deduplicated\":false}");
    DO("queue.enqueue", "{'queue':'other'}");
    SAYS("{\"id\":\"2\",\"queue\":\"other\"");
    assert_text(payload_of(world, 1), "{\"b\":[1,2]}");
    assert_text(payload_of(world, 2), "");
    assert_int_equal(task_of(world, 1).priority, QUEUE_PRIORITY_DEFAULT);
    assert_int_equal(queue_of(world, "q").row.enqueued, 1);
}

static void it_is_scheduled_when_its_time_is_to_come(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, ",'delay':'10s'");
    SAYS("\"state\":\"scheduled\"");
    DO("queue.enqueue", "{" Q ",'not_before':%llu}", N(world->time_ms + 10000));
    SAYS("\"state\":\"scheduled\"");
    DO("queue.enqueue", "{" Q ",'not_before':%llu}", N(world->time_ms));
    SAYS("\"state\":\"ready\"");
    pass(world, 9999);
    assert_state(world, 1, TASK_SCHEDULED);
    pass(world, 1);
    assert_state(world, 1, TASK_READY);
    assert_state(world, 2, TASK_READY);
}

static void it_has_its_own_limits_or_the_queues(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'ttl':'1m','timeout':'2m'}");
    enqueue(world, "");
    enqueue(world, ",'ttl':'3s','timeout':'4s','deadline':'5s','max_attempts':6,'max_losses':7,'priority':0");
    struct task task = task_of(world, 1);
    assert_int_equal(task.ttl_ms, 60000);
    assert_int_equal(task.timeout_ms, 120000);
    assert_int_equal(task.deadline_ms, 0);
    task = task_of(world, 2);
    assert_int_equal(task.ttl_ms, 3000);
    assert_int_equal(task.expires_ms, world->time_ms + 3000);
    assert_int_equal(task.timeout_ms, 4000);
    assert_int_equal(task.deadline_ms, world->time_ms + 5000);
    assert_int_equal(task.max_attempts, 6);
    assert_int_equal(task.max_losses, 7);
    assert_int_equal(task.priority, 0);
    assert_true(claim(world));
    assert_state(world, 2, TASK_CLAIMED); /* priority 0 is first */
}

static void a_claim_that_waits_gets_it_in_the_same_entry(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(DO("queue.claim", "{" Q ",'wait':'1m'}"), 0);
    uint64_t waiting = world->index;
    assert_int_equal(enqueue(world, ""), OUTCOME_CREATED);
    assert_int_equal(world->others, 1);
    assert_int_equal(world->other_index, waiting);
    assert_int_equal(task_of(world, 1).token, world->index);
}

/* --- refusals --- */

static void what_contradicts_itself_is_refused(void **state)
{
    static const char *const senseless[] = {
        ",'delay':'1s','not_before':1800000000000",
        ",'not_before':2000000000000",
        ",'deadline':'5s','delay':'5s'",
        ",'dedup':'live'",
        ",'duplicate':'reject'",
        ",'key':'k','dedup':'off','duplicate':'reject'",
    };
    struct coord_world *world = *state;
    uint64_t digest = rows_digest(world->rows);
    for (size_t i = 0; i < sizeof senseless / sizeof *senseless; i++)
        assert_int_equal(enqueue(world, senseless[i]), OUTCOME_SENSELESS);
    assert_int_equal(DO("queue.enqueue_many", "{" Q ",'tasks':[{},{'delay':1,'not_before':1800000000000}]}"),
                     OUTCOME_SENSELESS);
    SAYS("#2 of the tasks: give either delay or not_before");
    assert_true(rows_digest(world->rows) == digest);
    assert_int_equal(enqueue(world, ",'deadline':'5s','delay':'4999ms'"), OUTCOME_CREATED);
}

static bool is_taken(const char *text)
{
    const struct record *record = &queue_enqueue_record;
    struct arena arena = {0};
    struct problem problem = {0};
    struct argument argument = {
        .setting = {.record = record, .data = arena_alloc(&arena, record->size), .arena = &arena},
        .problem = &problem};
    bool taken =
        body_parse(slice_text(json_of("{'queue':'q'%s}", text)), &argument) && argument_done(&argument);
    arena_free(&arena);
    return taken;
}

static void what_is_out_of_range_is_refused_at_the_edge(void **state)
{
    static const char *const wrong[] = {
        ",'priority':16",    ",'priority':-1",  ",'delay':'367d'", ",'ttl':'367d'",
        ",'timeout':'367d'", ",'deadline':-1",  ",'after':'1'",    ",'on_dep_fail':'whatever'",
        ",'dedup':'on'",     ",'duplicate':''", ",'unknown':1",
    };
    static const char *const right[] = {",'priority':15", ",'priority':0", ",'delay':'366d'", ",'after':[]"};
    char text[QUEUE_KEY_MAX + 20];
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(is_taken(wrong[i]));
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) assert_true(is_taken(right[i]));
    snprintf(text, sizeof text, ",'key':'%0*d'", QUEUE_KEY_MAX, 0);
    assert_true(is_taken(text));
    snprintf(text, sizeof text, ",'group':'%0*d'", QUEUE_KEY_MAX + 1, 0);
    assert_false(is_taken(text));
}

static void a_queue_that_is_full_or_drains_takes_nothing(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'max_len':3}");
    enqueue(world, "");
    assert_true(claim(world)); /* what is claimed does not count */
    enqueue(world, "");
    enqueue(world, ",'delay':'1h'");
    enqueue(world, ",'after':['1']");
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(enqueue(world, ""), OUTCOME_QUEUE_FULL);
    SAYS("{\"queue\":\"q\",\"paused\":false,\"draining\":false,\"len\":3,\"max_len\":3,\"id\":null,\"state\":"
         "null}");
    assert_true(rows_digest(world->rows) == digest);
    DO("queue.cancel", "{" Q ",'id':'4'}");
    assert_int_equal(enqueue(world, ""), OUTCOME_CREATED);
    DO("queue.drain", "{" Q "}");
    assert_int_equal(enqueue(world, ""), OUTCOME_QUEUE_DRAINING);
    SAYS("\"draining\":true");
}

static void a_task_that_is_needed_must_be_known(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "");
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(enqueue(world, ",'after':['1','2']"), OUTCOME_TASK_NOT_FOUND);
    SAYS("after: there is no task \"2\"");
    assert_int_equal(enqueue(world, ",'after':['#1']"), OUTCOME_TASK_NOT_FOUND);
    assert_int_equal(enqueue(world, ",'after':['01']"), OUTCOME_TASK_NOT_FOUND);
    assert_true(rows_digest(world->rows) == digest);
}

/* --- unique keys --- */

static void a_key_is_unique_among_live_tasks(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, ",'key':'k','payload':1");
    assert_int_equal(enqueue(world, ",'key':'k','payload':2"), OUTCOME_OK);
    SAYS("{\"id\":\"1\",\"queue\":\"q\",\"state\":\"ready\",\"deduplicated\":true}");
    assert_text(payload_of(world, 1), "1");
    uint64_t token = claim(world);
    assert_int_equal(enqueue(world, ",'key':'k'"), OUTCOME_OK);
    SAYS("\"id\":\"1\",\"queue\":\"q\",\"state\":\"claimed\"");
    assert_int_equal(DO("queue.enqueue", "{'queue':'other','key':'k'}"), OUTCOME_CREATED);
    DO("queue.complete", "{" Q ",'id':'1','token':%llu}", N(token));
    assert_int_equal(enqueue(world, ",'key':'k'"), OUTCOME_CREATED);
    assert_int_equal(queue_of(world, "q").row.deduplicated, 2);
    assert_int_equal(queue_of(world, "q").row.enqueued, 2);
}

static void every_end_frees_the_key(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, ",'key':'k'");
    DO("queue.cancel", "{" Q ",'id':'1'}");
    assert_int_equal(enqueue(world, ",'key':'k','ttl':'1s'"), OUTCOME_CREATED);
    pass(world, 1000); /* expired */
    assert_int_equal(enqueue(world, ",'key':'k'"), OUTCOME_CREATED);
    uint64_t token = claim(world);
    DO("queue.fail", "{" Q ",'id':'3','token':%llu,'retry_after':'1s'}", N(token));
    assert_int_equal(enqueue(world, ",'key':'k'"), OUTCOME_OK); /* it lives on */
    pass(world, 1000);
    token = claim(world);
    DO("queue.fail", "{" Q ",'id':'3','token':%llu,'permanent':true}", N(token));
    assert_int_equal(enqueue(world, ",'key':'k'"), OUTCOME_CREATED);
}

static void a_key_may_be_unique_only_until_its_task_is_claimed(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, ",'key':'k','dedup':'waiting'");
    assert_int_equal(enqueue(world, ",'key':'k','dedup':'waiting'"), OUTCOME_OK);
    uint64_t token = claim(world);
    assert_int_equal(enqueue(world, ",'key':'k','dedup':'waiting'"), OUTCOME_CREATED);
    DO("queue.release", "{" Q ",'id':'1','token':%llu}", N(token));
    assert_int_equal(enqueue(world, ",'key':'k','dedup':'waiting'"), OUTCOME_OK);
    SAYS("\"id\":\"2\"");
}

static void a_key_need_not_be_unique(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'dedup':'off'}");
    assert_int_equal(enqueue(world, ",'key':'k'"), OUTCOME_CREATED);
    assert_int_equal(enqueue(world, ",'key':'k'"), OUTCOME_CREATED);
    assert_int_equal(enqueue(world, ",'key':'k','dedup':'live'"), OUTCOME_CREATED);
    assert_int_equal(enqueue(world, ",'key':'k','dedup':'live'"), OUTCOME_OK);
    SAYS("\"id\":\"3\"");
}

static void a_duplicate_may_be_rejected(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, ",'key':'k'");
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(enqueue(world, ",'key':'k','duplicate':'reject'"), OUTCOME_TASK_DUPLICATE);
    SAYS("\"id\":\"1\",\"state\":\"ready\"}");
    assert_true(rows_digest(world->rows) == digest);
}

static void a_duplicate_may_replace_what_is_to_be_done(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, ",'key':'k','payload':1");
    enqueue(world, "");
    assert_int_equal(
        enqueue(world, ",'key':'k','payload':2,'duplicate':'replace','timeout':'9s','priority':9"),
        OUTCOME_OK);
    SAYS("\"id\":\"1\",\"queue\":\"q\",\"state\":\"ready\",\"deduplicated\":true");
    assert_text(payload_of(world, 1), "2");
    assert_int_equal(task_of(world, 1).timeout_ms, 9000);
    assert_int_equal(task_of(world, 1).priority, 9);
    assert_true(claim(world));
    assert_state(world, 1, TASK_CLAIMED); /* it has kept its place */
    assert_int_equal(enqueue(world, ",'key':'k','payload':3,'duplicate':'replace'"), OUTCOME_OK);
    SAYS("\"state\":\"claimed\"");
    assert_text(payload_of(world, 1), "2");
}

/* Debouncing: each request puts it off. */
static void a_duplicate_may_put_a_scheduled_task_off(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, ",'key':'k','delay':'5s','duplicate':'replace','payload':1");
    pass(world, 4000);
    enqueue(world, ",'key':'k','delay':'5s','duplicate':'replace','payload':2");
    SAYS("\"id\":\"1\",\"queue\":\"q\",\"state\":\"scheduled\"");
    pass(world, 4999);
    assert_state(world, 1, TASK_SCHEDULED);
    enqueue(world, ",'key':'k','duplicate':'replace','payload':3"); /* says nothing of the time */
    assert_state(world, 1, TASK_SCHEDULED);
    pass(world, 1);
    assert_state(world, 1, TASK_READY);
    assert_text(payload_of(world, 1), "3");
    enqueue(world, ",'key':'k2','delay':'5s'");
    DO("queue.enqueue", "{" Q ",'key':'k2','duplicate':'replace','not_before':%llu}", N(world->time_ms));
    assert_state(world, 2, TASK_READY);
    enqueue(world, ",'key':'k2','duplicate':'replace','delay':'5s'"); /* is ready: keeps its place */
    assert_state(world, 2, TASK_READY);
}

/* Its backoff is not cut short. */
static void a_duplicate_does_not_hurry_a_task_that_failed(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, ",'key':'k'");
    uint64_t token = claim(world);
    DO("queue.fail", "{" Q ",'id':'1','token':%llu,'retry_after':'1h'}", N(token));
    uint64_t until_ms = task_of(world, 1).not_before_ms;
    enqueue(world, ",'key':'k','duplicate':'replace','delay':'1s','payload':2");
    assert_int_equal(task_of(world, 1).not_before_ms, until_ms);
    assert_text(payload_of(world, 1), "2");
}

static void what_is_replaced_has_a_new_time_to_live(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, ",'key':'k','ttl':'5s'");
    pass(world, 4000);
    enqueue(world, ",'key':'k','ttl':'3s','duplicate':'replace'");
    pass(world, 2999);
    assert_state(world, 1, TASK_READY);
    pass(world, 1);
    assert_state(world, 1, TASK_EXPIRED);
    enqueue(world, ",'key':'k','ttl':'5s'");
    enqueue(world, ",'key':'k','duplicate':'replace'");
    pass(world, 60000);
    assert_state(world, 2, TASK_READY);
    enqueue(world, ",'key':'k','duplicate':'replace','ttl':'2s'");
    pass(world, 2000);
    assert_state(world, 2, TASK_EXPIRED);
}

/* --- many --- */

static void many_are_made_in_one_entry(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, ",'key':'k'");
    assert_int_equal(DO("queue.enqueue_many",
                        "{" Q ",'tasks':[{'payload':1},{'key':'k'},{'key':'n','delay':'1s'},{'key':'n'}]}"),
                     OUTCOME_CREATED);
    SAYS("{\"tasks\":[{\"id\":\"2\",\"queue\":\"q\",\"state\":\"ready\",\"deduplicated\":false},"
         "{\"id\":\"1\",\"queue\":\"q\",\"state\":\"ready\",\"deduplicated\":true},"
         "{\"id\":\"3\",\"queue\":\"q\",\"state\":\"scheduled\",\"deduplicated\":false},"
         "{\"id\":\"3\",\"queue\":\"q\",\"state\":\"scheduled\",\"deduplicated\":true}]}");
    assert_int_equal(DO("queue.enqueue_many", "{" Q ",'tasks':[{'key':'k'}]}"), OUTCOME_OK);
}

static void one_that_is_refused_refuses_all(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'max_len':3}");
    enqueue(world, ",'key':'k'");
    assert_int_equal(DO("queue.claim", "{" Q "}"), OUTCOME_OK);
    assert_int_equal(DO("queue.claim", "{" Q ",'wait':'1m'}"), 0);
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(DO("queue.enqueue_many", "{" Q ",'tasks':[{},{},{},{'payload':4}]}"),
                     OUTCOME_QUEUE_FULL);
    SAYS("#4 of the tasks: the queue is full");
    SAYS("\"len\":0,\"max_len\":3");
    assert_int_equal(world->others, 0);
    assert_int_equal(DO("queue.enqueue_many", "{" Q ",'tasks':[{},{'key':'k','duplicate':'reject'}]}"),
                     OUTCOME_TASK_DUPLICATE);
    SAYS("\"id\":\"1\",\"state\":\"claimed\"");
    SAYS("#2 of the tasks: a live task has that key");
    assert_int_equal(
        DO("queue.enqueue_many", "{" Q ",'tasks':[{'key':'n'},{'key':'n','duplicate':'reject'}]}"),
        OUTCOME_TASK_DUPLICATE);
    SAYS("\"id\":null,\"state\":null"); /* the other one was in the request, and is not made either */
    assert_int_equal(DO("queue.enqueue_many", "{" Q ",'tasks':[{},{'after':['7']}]}"),
                     OUTCOME_TASK_NOT_FOUND);
    SAYS("#2 of the tasks: after: there is no task \"7\"");
    assert_true(rows_digest(world->rows) == digest);
    assert_int_equal(DO("queue.enqueue_many", "{" Q ",'tasks':[{},{},{}]}"), OUTCOME_CREATED);
    SAYS("\"id\":\"2\"");
    assert_int_equal(world->others, 1);
}

static void in_a_transaction_a_refusal_takes_all_of_it_back(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{" Q ",'max_len':2}");
    uint64_t digest = rows_digest(world->rows);
    assert_int_equal(DO("txn", "{'then':[{'op':'kv.put','key':'a','value':'1'},"
                               "{'op':'queue.enqueue_many'," Q ",'tasks':[{},{},{}]}]}"),
                     OUTCOME_TXN_REFUSED);
    SAYS("\"code\":\"queue_full\"");
    assert_true(rows_digest(world->rows) == digest);
    assert_int_equal(DO("txn", "{'then':[{'op':'kv.put','key':'a','value':'1'},"
                               "{'op':'queue.enqueue_many'," Q ",'tasks':[{},{}]},"
                               "{'op':'queue.enqueue','queue':'other','after':['1']}]}"),
                     OUTCOME_OK);
    assert_state(world, 3, TASK_BLOCKED);
}

static void those_of_one_request_may_need_those_before_them_only(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, ",'key':'k'");
    static const char *const wrong[] = {"#2", "#3", "#0", "#", "#x", "#01"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(DO("queue.enqueue_many", "{" Q ",'tasks':[{},{'after':['%s']},{}]}", wrong[i]),
                         OUTCOME_TASK_NOT_FOUND);
    assert_int_equal(DO("queue.enqueue_many", "{" Q ",'tasks':[{'key':'k'},{'after':['#1']}]}"),
                     OUTCOME_CREATED);
    assert_int_equal(task_of(world, 1).dependants, 1); /* it was there already */
}

static void a_request_has_a_bounded_number_of_dependencies(void **state)
{
    static char tasks[1 << 16];
    static const char after[] = "'1','1','1','1','1','1','1','1','1','1'";
    struct coord_world *world = *state;
    size_t size = 0;
    enqueue(world, "");
    for (int i = 0; i < 1000; i++)
        size += (size_t)snprintf(tasks + size, sizeof tasks - size, "%s{'after':[%s]}", i ? "," : "", after);
    assert_int_equal(DO("queue.enqueue_many", "{" Q ",'tasks':[%s]}", tasks), OUTCOME_CREATED);
    assert_int_equal(task_of(world, 1).dependants, 1000);
    tasks[size - 2] = 0;
    assert_int_equal(DO("queue.enqueue_many", "{" Q ",'tasks':[%s,'1']}]}", tasks), OUTCOME_SENSELESS);
    SAYS("#1000 of the tasks: after has more than 10,000 ids");
}

static void a_retried_request_makes_nothing_anew(void **state)
{
    struct coord_world *world = *state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(coord_world_guarded(world, "once", NULL, 0, "queue.enqueue", json_of("{" Q "}")),
                         OUTCOME_CREATED);
        SAYS("\"id\":\"1\"");
    }
    assert_true(world->replayed);
    assert_int_equal(queue_of(world, "q").row.enqueued, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_world_begin, queue_world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_task_gets_the_next_id_of_all_queues),
        TEST(it_is_scheduled_when_its_time_is_to_come),
        TEST(it_has_its_own_limits_or_the_queues),
        TEST(a_claim_that_waits_gets_it_in_the_same_entry),
        TEST(what_contradicts_itself_is_refused),
        TEST(what_is_out_of_range_is_refused_at_the_edge),
        TEST(a_queue_that_is_full_or_drains_takes_nothing),
        TEST(a_task_that_is_needed_must_be_known),
        TEST(a_key_is_unique_among_live_tasks),
        TEST(every_end_frees_the_key),
        TEST(a_key_may_be_unique_only_until_its_task_is_claimed),
        TEST(a_key_need_not_be_unique),
        TEST(a_duplicate_may_be_rejected),
        TEST(a_duplicate_may_replace_what_is_to_be_done),
        TEST(a_duplicate_may_put_a_scheduled_task_off),
        TEST(a_duplicate_does_not_hurry_a_task_that_failed),
        TEST(what_is_replaced_has_a_new_time_to_live),
        TEST(many_are_made_in_one_entry),
        TEST(one_that_is_refused_refuses_all),
        TEST(in_a_transaction_a_refusal_takes_all_of_it_back),
        TEST(those_of_one_request_may_need_those_before_them_only),
        TEST(a_request_has_a_bounded_number_of_dependencies),
        TEST(a_retried_request_makes_nothing_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
