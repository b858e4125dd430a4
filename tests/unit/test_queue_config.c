// links: api lib support
/* Settings of queues and what operators do: defaults, limits, changes that count at once, pause, drain,
 * purge, redrive, delete. Entry 8 is the first of a world. */
#include "tests/unit/queue_world.h"

#define TEST(name) cmocka_unit_test_setup_teardown(name, queue_world_begin, queue_world_end)
#define ASK(name, ...) coord_world_ask(world, name, json_of(__VA_ARGS__))

static void enqueue(struct coord_world *world, const char *queue, const char *more)
{
    assert_int_equal(DO("queue.enqueue", "{'queue':'%s','payload':1%s}", queue, more), OUTCOME_CREATED);
}

static uint64_t live(struct coord_world *world)
{
    struct queue queue = queue_of(world, "q");
    return queue_live(&queue.row);
}

/* --- settings --- */

static void what_is_not_given_is_the_default(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(DO("queue.put", "{'queue':'q','concurrency':3,'dead_letter':'d'}"), OUTCOME_CREATED);
    struct queue queue = queue_of(world, "q");
    struct queue_config expected = queue_config_default;
    assert_int_equal(queue.config.concurrency, 3);
    assert_text(queue.config.dead_letter, "d");
    expected.concurrency = 3;
    queue.config.dead_letter = expected.dead_letter;
    assert_memory_equal(&queue.config, &expected, sizeof expected);
    assert_int_equal(DO("queue.put", "{'queue':'q'}"), OUTCOME_OK);
    queue = queue_of(world, "q");
    assert_memory_equal(&queue.config, &queue_config_default, sizeof queue_config_default);
    assert_non_null(queue.row.config);
}

static void the_defaults_are_those_of_the_api(void **state)
{
    const struct queue_config *config = &queue_config_default;
    (void)state;
    assert_int_equal(config->lease_ms, 30000);
    assert_int_equal(config->max_attempts, 10);
    assert_int_equal(config->max_losses, 3);
    assert_int_equal(config->backoff_ms, 1000);
    assert_int_equal(config->backoff_max_ms, 600000);
    assert_int_equal(config->backoff_factor, 2);
    assert_int_equal(config->backoff_jitter, 20);
    assert_int_equal(config->retain_done_ms, 3600000);
    assert_int_equal(config->retain_cancelled_ms, 86400000);
    assert_int_equal(config->retain_dead_ms, 14 * 86400000ull);
    assert_int_equal(config->retain_max, 10000);
    assert_int_equal(config->group_concurrency, 1);
    assert_int_equal(config->rate_per_ms, 1000);
    assert_int_equal(config->rate_burst, 1);
    assert_int_equal(config->max_len, 10000000);
    assert_int_equal(config->aging_ms, 30000);
    assert_true(!config->concurrency && !config->key_concurrency && !config->rate && !config->group_rate &&
                !config->key_rate && !config->ttl_ms && !config->timeout_ms && !config->dead_letter.size);
    assert_int_equal(config->dedup, DEDUP_LIVE);
    assert_int_equal(config->group_on_fail, GROUP_BLOCK);
}

static void contradictions_are_refused(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(DO("queue.put", "{'queue':'q','backoff':'2s','backoff_max':'1s'}"), OUTCOME_SENSELESS);
    SAYS("backoff is longer than backoff_max");
    assert_int_equal(DO("queue.put", "{'queue':'q','dead_letter':'q'}"), OUTCOME_SENSELESS);
    assert_int_equal(ASK("queue.get", "{'queue':'q'}"), OUTCOME_QUEUE_NOT_FOUND);
}

/* A queue that was set is kept, whatever else comes; one that was only used is not. */
static void what_was_set_is_no_idle_queue(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{'queue':'q'}");
    assert_true(queue_of(world, "q").row.config != NULL);
    enqueue(world, "used", "");
    assert_null(queue_of(world, "used").row.config);
}

static void more_concurrency_counts_at_once(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{'queue':'q','concurrency':1}");
    for (int i = 0; i < 3; i++) enqueue(world, "q", "");
    DO("queue.claim", "{'queue':'q','worker':'w','max':3}");
    assert_int_equal(queue_of(world, "q").row.counts[TASK_CLAIMED], 1);
    DO("queue.claim", "{'queue':'q','worker':'v','max':3,'wait':'1m'}");
    assert_int_equal(world->outcome, 0);
    uint64_t waits = world->index;
    DO("queue.put", "{'queue':'q','concurrency':2}");
    assert_int_equal(world->others, 1);
    assert_int_equal(world->other_index, waits);
    assert_int_equal(queue_of(world, "q").row.counts[TASK_CLAIMED], 2);
}

/* More lanes than one entry looks at: the rest follows by pulses. */
static void wider_groups_count_at_once(void **state)
{
    struct coord_world *world = *state;
    enum { GROUPS = 150 };
    for (int i = 0; i < 2 * GROUPS; i++) {
        char more[40];
        snprintf(more, sizeof more, ",'group':'g%d'", i % GROUPS);
        enqueue(world, "q", more);
    }
    DO("queue.claim", "{'queue':'q','worker':'w','max':256}");
    assert_int_equal(queue_of(world, "q").row.counts[TASK_CLAIMED], GROUPS);
    DO("queue.claim", "{'queue':'q','worker':'w','max':256}");
    SAYS("\"tasks\":[]");
    DO("queue.put", "{'queue':'q','group_concurrency':2}");
    settle(world);
    DO("queue.claim", "{'queue':'q','worker':'w','max':256}");
    assert_int_equal(queue_of(world, "q").row.counts[TASK_CLAIMED], 2 * GROUPS);
}

/* --- aging --- */

static uint64_t next_task(struct coord_world *world)
{
    uint64_t token = claim(world);
    for (uint64_t id = 1; id <= 1100; id++)
        if (task_of(world, id).state == TASK_CLAIMED && task_of(world, id).token == token) return id;
    return 0;
}

static void what_has_waited_ages(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "q", ",'priority':9");
    world->time_ms += 29999;
    enqueue(world, "q", ",'priority':8");
    world->time_ms += 2;
    enqueue(world, "q", ",'priority':8");
    assert_int_equal(next_task(world), 2);
    assert_int_equal(next_task(world), 1);
    assert_int_equal(next_task(world), 3);
}

static void another_aging_orders_anew(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "q", ",'priority':9");
    world->time_ms += 60000;
    enqueue(world, "q", ",'priority':8");
    enqueue(world, "q", ",'priority':9,'group':'g'");
    enqueue(world, "q", ",'priority':7,'group':'g'");
    assert_int_equal(DO("queue.put", "{'queue':'q','aging':0}"), OUTCOME_OK);
    world->time_ms += 1;
    assert_int_equal(next_task(world), 2);
    assert_int_equal(next_task(world), 1);
    enqueue(world, "q", ",'priority':10");
    assert_int_equal(DO("queue.put", "{'queue':'q','aging':'1s'}"), OUTCOME_OK);
    world->time_ms += 3000;
    enqueue(world, "q", ",'priority':8");
    assert_int_equal(next_task(world), 3);
    assert_int_equal(next_task(world), 5);
}

static void aging_is_not_changed_over_too_many(void **state)
{
    struct coord_world *world = *state;
    enqueue_alike(world, 1000, "");
    enqueue(world, "q", "");
    assert_int_equal(DO("queue.put", "{'queue':'q','aging':0}"), OUTCOME_QUEUE_NOT_EMPTY);
    SAYS("at most 1000 tasks");
    assert_int_equal(DO("queue.put", "{'queue':'q','concurrency':5}"), OUTCOME_OK);
    claim(world);
    assert_int_equal(DO("queue.put", "{'queue':'q','aging':0}"), OUTCOME_OK);
}

/* --- pause, drain --- */

static void a_pause_is_no_end(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "q", "");
    uint64_t token = claim(world);
    DO("queue.pause", "{'queue':'q'}");
    uint64_t revision = queue_of(world, "q").row.revision;
    assert_int_equal(DO("queue.pause", "{'queue':'q'}"), OUTCOME_OK);
    assert_int_equal(queue_of(world, "q").row.revision, revision);
    enqueue(world, "q", "");
    assert_int_equal(DO("queue.complete", "{'queue':'q','id':'1','token':%d}", (int)token), OUTCOME_OK);
    assert_int_equal(claim(world), 0);
    DO("queue.drain", "{'queue':'q'}");
    SAYS("\"paused\":true,\"draining\":true");
    DO("queue.resume", "{'queue':'q'}");
    SAYS("\"paused\":false,\"draining\":false");
    assert_true(claim(world) > 0);
}

/* --- purge --- */

static void purge_goes_on_where_it_stopped(void **state)
{
    struct coord_world *world = *state;
    for (int i = 0; i < 5; i++) enqueue(world, "q", i % 2 ? ",'group':'g'" : "");
    DO("queue.purge", "{'queue':'q','group':'g','limit':1}");
    SAYS("\"purged\":1,\"kept\":0,\"more\":true");
    DO("queue.purge", "{'queue':'q','group':'g','limit':1}");
    SAYS("\"purged\":1");
    DO("queue.purge", "{'queue':'q','group':'g','limit':1}");
    SAYS("\"purged\":0,\"kept\":0,\"more\":false,\"cursor\":null");
    assert_int_equal(queue_of(world, "q").row.counts[TASK_READY], 3);
}

/* More than the queue keeps of cancelled ones: what purge has cancelled may be gone before it looks again. */
static void purge_and_retention(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{'queue':'q','retain_max':1,'key_concurrency':1}");
    for (int i = 0; i < 6; i++) enqueue(world, "q", i % 2 ? "" : ",'key':'k','dedup':'off'");
    enqueue(world, "p", ",'after':['1','2','6']");
    DO("queue.purge", "{'queue':'q'}");
    SAYS("\"purged\":3,\"kept\":3,\"more\":false");
    settle(world);
    assert_state(world, 7, TASK_CANCELLED);
    DO("queue.purge", "{'queue':'q'}");
    assert_int_equal(live(world), 0);
    assert_state(world, 1, (enum task_state)0);
    assert_state(world, 6, (enum task_state)0);
}

static void a_dry_run_changes_nothing(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "q", "");
    enqueue(world, "q", ",'after':['1']");
    uint64_t revision = queue_of(world, "q").row.revision;
    DO("queue.purge", "{'queue':'q','dry_run':true}");
    SAYS("\"purged\":2,\"kept\":0");
    assert_int_equal(queue_of(world, "q").row.revision, revision);
    assert_int_equal(live(world), 2);
}

/* --- redrive --- */

static void die(struct coord_world *world, uint64_t id)
{
    uint64_t token = claim(world);
    assert_int_equal(
        DO("queue.fail", "{'queue':'q','id':'%d','token':%d,'permanent':true}", (int)id, (int)token),
        OUTCOME_OK);
    assert_state(world, id, TASK_DEAD);
}

static void what_is_redriven_has_its_budget_again(void **state)
{
    struct coord_world *world = *state;
    enqueue(world, "q", ",'max_attempts':1,'deadline':'10s','ttl':'5s'");
    die(world, 1);
    world->time_ms += 20000;
    assert_int_equal(DO("queue.redrive", "{'queue':'q','id':'1'}"), OUTCOME_OK);
    SAYS("\"redriven\":1,\"kept\":0");
    struct task task = task_of(world, 1);
    assert_true(task.state == TASK_READY && !task.failures && !task.dead_reason && !task.deadline_ms);
    assert_int_equal(task.attempts, 1);
    uint64_t token = claim(world);
    assert_true(token > task.token);
    assert_int_equal(DO("queue.complete", "{'queue':'q','id':'1','token':%d}", (int)token), OUTCOME_OK);
}

static void a_part_of_the_dead_is_redriven(void **state)
{
    struct coord_world *world = *state;
    for (uint64_t id = 1; id <= 3; id++) {
        enqueue(world, "q", id == 2 ? ",'group':'g'" : "");
        die(world, id);
    }
    DO("queue.redrive", "{'queue':'q','limit':1}");
    SAYS("\"redriven\":1,\"kept\":0,\"more\":true");
    assert_state(world, 1, TASK_READY);
    DO("queue.redrive", "{'queue':'q','group':'g'}");
    assert_state(world, 2, TASK_READY);
    assert_state(world, 3, TASK_DEAD);
    assert_int_equal(DO("queue.redrive", "{'queue':'p','id':'3'}"), OUTCOME_QUEUE_NOT_FOUND);
    enqueue(world, "p", "");
    assert_int_equal(DO("queue.redrive", "{'queue':'p','id':'3'}"), OUTCOME_TASK_NOT_FOUND);
}

/* --- delete --- */

static void a_queue_with_too_many_tasks_is_purged_first(void **state)
{
    struct coord_world *world = *state;
    enqueue_alike(world, 1000, "");
    enqueue(world, "q", "");
    assert_int_equal(DO("queue.delete", "{'queue':'q'}"), OUTCOME_QUEUE_NOT_EMPTY);
    assert_int_equal(DO("queue.delete", "{'queue':'q','force':true}"), OUTCOME_QUEUE_NOT_EMPTY);
    SAYS("purge it first");
    DO("queue.purge", "{'queue':'q'}");
    SAYS("\"purged\":1000,\"kept\":0,\"more\":true");
    assert_int_equal(DO("queue.delete", "{'queue':'q','force':true}"), OUTCOME_OK);
    assert_int_equal(ASK("queue.get", "{'queue':'q'}"), OUTCOME_QUEUE_NOT_FOUND);
}

/* What was wanted of the queue before it went does not bring it back: a task that was handed out and given
 * back in one entry is left to a pulse. */
static void a_removed_queue_stays_removed(void **state)
{
    struct coord_world *world = *state;
    DO("queue.put", "{'queue':'q','group_rate':1,'rate_per':'1m'}");
    enqueue(world, "q", ",'group':'g'");
    claim(world);
    DO("queue.claim", "{'queue':'q','worker':'u','wait':'1m'}");
    DO("queue.claim", "{'queue':'q','worker':'v','wait':'1m'}");
    DO("txn",
       "{'then':[{'op':'queue.enqueue','queue':'q','payload':1},"
       "{'op':'queue.release','queue':'q','id':'2','token':%d},{'op':'queue.delete','queue':'q','force':true}"
       "]}",
       (int)world->index + 1);
    assert_int_equal(world->outcome, OUTCOME_OK);
    assert_int_equal(world->others, 2);
    assert_true(coord_wants_pulse(world->rows));
    pass(world, 24 * 3600 * 1000);
    assert_int_equal(ASK("queue.get", "{'queue':'q'}"), OUTCOME_QUEUE_NOT_FOUND);
    enqueue(world, "q", "");
    assert_int_equal(queue_of(world, "q").row.counts[TASK_READY], 1);
    assert_int_equal(queue_of(world, "q").row.enqueued, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_not_given_is_the_default),
        TEST(the_defaults_are_those_of_the_api),
        TEST(contradictions_are_refused),
        TEST(what_was_set_is_no_idle_queue),
        TEST(more_concurrency_counts_at_once),
        TEST(wider_groups_count_at_once),
        TEST(what_has_waited_ages),
        TEST(another_aging_orders_anew),
        TEST(aging_is_not_changed_over_too_many),
        TEST(a_pause_is_no_end),
        TEST(purge_goes_on_where_it_stopped),
        TEST(purge_and_retention),
        TEST(a_dry_run_changes_nothing),
        TEST(what_is_redriven_has_its_budget_again),
        TEST(a_part_of_the_dead_is_redriven),
        TEST(a_queue_with_too_many_tasks_is_purged_first),
        TEST(a_removed_queue_stays_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
