// links: api lib support
/* Random lives of tasks: two queues, groups, keys, dependencies across them, workers that come too late,
 * leases that end, cancellations, redrives, time. After each entry every invariant of the state is checked,
 * and what became of each task is compared with what may become of it. At the end all works again: nothing
 * stays but what is held for the sake of a task that failed. */
#include "tests/unit/queue_world.h"

#include <stdlib.h>

enum { SEEDS = 30, STEPS = 160, TASKS_MAX = 400, PARENTS = 3 };
#define N(number) ((unsigned long long)(number))

struct life {
    uint64_t state, token, group, parents[PARENTS], on_dep_fail;
    size_t parent_count;
    bool was_done, was_failed, redriven;
};

struct lives {
    struct coord_world *world;
    struct life tasks[TASKS_MAX + 1]; /* by id */
    uint64_t last, random;
};

static uint64_t draw(struct lives *lives, uint64_t below)
{
    lives->random = lives->random * 6364136223846793005u + 1442695040888963407u;
    return (lives->random >> 33) % below;
}

static const char *queue_name(uint64_t number)
{
    return number ? "b" : "a";
}

/* --- what may become of a task --- */

/* In one entry; a task may go through several states in it. */
static bool may_become(uint64_t before, uint64_t after, bool same_token)
{
    if (before == after) return true;
    if (before == TASK_DEAD) return after == TASK_READY || after == TASK_CLAIMED;
    if (task_is_over(before)) return false;
    switch ((enum task_state)after) {
    case TASK_BLOCKED:
        return before == 0;
    case TASK_SCHEDULED:
        return before == 0 || before == TASK_BLOCKED || before == TASK_CLAIMED;
    case TASK_CLAIMED:
        return !same_token;
    case TASK_DONE:
        return before == TASK_CLAIMED && same_token;
    case TASK_EXPIRED:
        return before == TASK_READY;
    case TASK_READY:
    case TASK_DEAD:
    case TASK_CANCELLED:
        return true;
    }
    return false;
}

static bool is_fulfilled(const struct life *child, const struct life *parent)
{
    return parent->was_done || (parent->was_failed && child->on_dep_fail == DEP_FAIL_RUN);
}

static void compare_task(struct lives *lives, uint64_t id)
{
    struct life *life = &lives->tasks[id];
    struct task task = task_of(lives->world, id);
    assert_true(task.state);
    assert_true(task.token >= life->token && task.token <= lives->world->index);
    assert_true(may_become(life->state, task.state, life->token == task.token));
    if (task.token != life->token) assert_int_equal(task.token, lives->world->index);
    life->redriven = life->redriven || (life->state == TASK_DEAD && task.state != TASK_DEAD);
    life->state = task.state;
    life->token = task.token;
    life->was_done = life->was_done || task.state == TASK_DONE;
    life->was_failed = life->was_failed || task_has_failed(task.state);
}

static void compare_parents(const struct lives *lives, const struct life *life)
{
    bool runs = life->state == TASK_SCHEDULED || life->state == TASK_READY || life->state == TASK_CLAIMED ||
                life->state == TASK_DONE;
    for (size_t i = 0; i < life->parent_count && runs && !life->redriven; i++)
        assert_true(is_fulfilled(life, &lives->tasks[life->parents[i]]));
}

/* Groups of queue a have one slot. */
static void compare_groups(struct lives *lives)
{
    size_t claimed[4] = {0}, held[4] = {0};
    for (uint64_t id = 1; id <= lives->last; id++) {
        struct task task = task_of(lives->world, id);
        if (!slice_is(task.queue, "a") || !lives->tasks[id].group) continue;
        claimed[lives->tasks[id].group] += task.state == TASK_CLAIMED;
        held[lives->tasks[id].group] += task.holds_group;
    }
    for (size_t group = 1; group < 4; group++) assert_true(claimed[group] <= 1 && held[group] <= 1);
}

static void compare(struct lives *lives)
{
    for (uint64_t id = 1; id <= lives->last; id++) compare_task(lives, id);
    for (uint64_t id = 1; id <= lives->last; id++) compare_parents(lives, &lives->tasks[id]);
    compare_groups(lives);
    arena_reset(&lives->world->arena);
}

/* --- what happens --- */

static void draw_parents(struct lives *lives, struct life *life, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "[");
    for (uint64_t tries = draw(lives, 2) ? draw(lives, PARENTS + 1) : 0; tries && lives->last; tries--) {
        uint64_t id = 1 + draw(lives, lives->last);
        used += (size_t)snprintf(text + used, size - used, "%s'%llu'", used > 1 ? "," : "", N(id));
        life->parents[life->parent_count++] = id;
    }
    snprintf(text + used, size - used, "]");
}

static void enqueue(struct lives *lives)
{
    struct coord_world *world = lives->world;
    struct life life = {.on_dep_fail = 1 + draw(lives, 3), .group = draw(lives, 4)};
    char parents[100], key[60] = "", group[30] = "";
    if (lives->last == TASKS_MAX) return;
    draw_parents(lives, &life, parents, sizeof parents);
    if (life.group) snprintf(group, sizeof group, ",'group':'g%llu'", N(life.group));
    if (!draw(lives, 4))
        snprintf(key, sizeof key, ",'key':'k%llu','dedup':'%s'", N(draw(lives, 3)),
                 dedup_choices[draw(lives, 2)]);
    DO("queue.enqueue",
       "{'queue':'%s','after':%s,'on_dep_fail':'%s','priority':%llu,'delay':%llu,'ttl':%llu,'deadline':%llu,"
       "'timeout':%llu%s%s}",
       queue_name(draw(lives, 2)), parents, dep_fail_choices[life.on_dep_fail - 1], N(draw(lives, 16)),
       N(draw(lives, 3) ? 0 : draw(lives, 3000)), N(draw(lives, 8) ? 0 : 1 + draw(lives, 5000)),
       N(draw(lives, 8) ? 0 : 3001 + draw(lives, 9000)), N(draw(lives, 4) ? 0 : 1 + draw(lives, 4000)), key,
       group);
    if (world->outcome != OUTCOME_CREATED) return;
    lives->last++;
    assert_int_equal(task_of(world, lives->last).id, lives->last);
    life.state = 0;
    lives->tasks[lives->last] = life;
}

static void claim_some(struct lives *lives)
{
    struct coord_world *world = lives->world;
    DO("queue.claim", "{'queue':'%s','worker':'w%llu','max':%llu,'wait':%llu}", queue_name(draw(lives, 2)),
       N(draw(lives, 3)), N(1 + draw(lives, 4)), N(draw(lives, 3) ? 0 : 60000));
}

/* With its token, or that of an attempt before: then nothing may come of it. */
static void finish_one(struct lives *lives)
{
    static const char *const ways[] = {"complete", "complete", "fail", "release", "progress"};
    struct coord_world *world = lives->world;
    if (!lives->last) return;
    uint64_t id = 1 + draw(lives, lives->last), token = lives->tasks[id].token;
    for (uint64_t tries = 10; tries && lives->tasks[id].state != TASK_CLAIMED; tries--)
        id = 1 + draw(lives, lives->last), token = lives->tasks[id].token;
    bool stale = token > 1 && !draw(lives, 5), claimed = lives->tasks[id].state == TASK_CLAIMED;
    const char *way = ways[draw(lives, 5)];
    char name[30], more[60] = "";
    snprintf(name, sizeof name, "queue.%s", way);
    if (!strcmp(way, "progress")) snprintf(more, sizeof more, ",'progress':1");
    if (!strcmp(way, "fail") && !draw(lives, 4)) snprintf(more, sizeof more, ",'permanent':true");
    if (!strcmp(way, "release")) snprintf(more, sizeof more, ",'delay':%llu", N(draw(lives, 2) * 500));
    struct task task = task_of(world, id);
    uint64_t digest = rows_digest(world->rows);
    enum outcome outcome = DO(name, "{'queue':'%.*s','id':'%llu','token':%llu%s}", SLICE_ARGS(task.queue),
                              N(id), N(token ? token - stale : 1), more);
    if (claimed && !stale) {
        assert_int_equal(outcome, OUTCOME_OK);
        return;
    }
    bool again = !strcmp(way, "complete") && !stale && lives->tasks[id].state == TASK_DONE;
    assert_int_equal(outcome, again ? OUTCOME_OK : OUTCOME_CLAIM_LOST);
    assert_true(rows_digest(world->rows) == digest);
}

static void lose_one(struct lives *lives)
{
    struct coord_world *world = lives->world;
    for (uint64_t id = lives->last; id; id--) {
        struct task task = task_of(world, id);
        if (task.state != TASK_CLAIMED || draw(lives, 3)) continue;
        assert_int_equal(DO("lease.revoke", "{'id':'L%llx'}", N(task.lease)), OUTCOME_NOTHING);
        return;
    }
}

static void cancel_one(struct lives *lives)
{
    struct coord_world *world = lives->world;
    if (!lives->last) return;
    uint64_t id = 1 + draw(lives, lives->last);
    struct task task = task_of(world, id);
    enum outcome outcome = DO("queue.cancel", "{'queue':'%.*s','id':'%llu','grace':%llu}",
                              SLICE_ARGS(task.queue), N(id), N(draw(lives, 2) * 2000));
    assert_int_equal(outcome, task_is_over(lives->tasks[id].state) ? OUTCOME_TASK_OVER : OUTCOME_OK);
}

static void redrive(struct lives *lives)
{
    struct coord_world *world = lives->world;
    DO("queue.redrive", "{'queue':'%s','limit':%llu}", queue_name(draw(lives, 2)), N(1 + draw(lives, 3)));
}

static void set_queue(struct lives *lives)
{
    static const char *const ways[] = {"queue.pause", "queue.resume"};
    struct coord_world *world = lives->world;
    DO(ways[draw(lives, 2)], "{'queue':'%s'}", queue_name(draw(lives, 2)));
}

/* In one entry: what ends may be handed out again, but not twice with one token. */
static void do_several(struct lives *lives)
{
    struct coord_world *world = lives->world;
    uint64_t id = lives->last ? 1 + draw(lives, lives->last) : 1;
    for (uint64_t tries = 10; tries && lives->last && lives->tasks[id].state != TASK_CLAIMED; tries--)
        id = 1 + draw(lives, lives->last);
    struct task task = task_of(world, id);
    if (task.state != TASK_CLAIMED) return;
    DO("txn",
       "{'then':[{'op':'queue.release','queue':'%.*s','id':'%llu','token':%llu},"
       "{'op':'queue.claim','queue':'%.*s','worker':'w0','max':2},"
       "{'op':'queue.cancel','queue':'%.*s','id':'%llu','grace':%llu}]}",
       SLICE_ARGS(task.queue), N(id), N(task.token), SLICE_ARGS(task.queue), SLICE_ARGS(task.queue), N(id),
       N(draw(lives, 2)));
}

static void go_on(struct lives *lives)
{
    struct coord_world *world = lives->world;
    if (coord_wants_pulse(world->rows))
        DO("pulse", "{}");
    else if (coord_due_ms(world->rows) <= world->time_ms)
        DO("due", "{}");
    else
        world->time_ms += draw(lives, 1500);
}

static void step(struct lives *lives)
{
    static void (*const steps[])(struct lives *) = {
        enqueue,    enqueue, enqueue,   claim_some, claim_some, finish_one, finish_one, finish_one, lose_one,
        cancel_one, redrive, set_queue, do_several, go_on,      go_on,      go_on,      go_on,      go_on};
    steps[draw(lives, sizeof steps / sizeof *steps)](lives);
    compare(lives);
}

/* --- the end --- */

static bool work_off(struct lives *lives)
{
    struct coord_world *world = lives->world;
    bool any = false;
    for (uint64_t queue = 0; queue < 2; queue++) {
        DO("queue.claim", "{'queue':'%s','worker':'w','max':100}", queue_name(queue));
        compare(lives);
    }
    for (uint64_t id = 1; id <= lives->last; id++) {
        struct task task = task_of(world, id);
        if (task.state != TASK_CLAIMED) continue;
        any = true;
        assert_int_equal(DO("queue.complete", "{'queue':'%.*s','id':'%llu','token':%llu}",
                            SLICE_ARGS(task.queue), N(id), N(task.token)),
                         OUTCOME_OK);
        compare(lives);
    }
    while (coord_wants_pulse(world->rows) || coord_due_ms(world->rows) <= world->time_ms) {
        go_on(lives);
        compare(lives);
    }
    return any;
}

/* Backoffs and graces are over within two minutes; what is done is kept longer. */
static void work_all_off(struct lives *lives)
{
    struct coord_world *world = lives->world;
    for (uint64_t queue = 0; queue < 2; queue++) {
        assert_int_equal(DO("queue.resume", "{'queue':'%s'}", queue_name(queue)), OUTCOME_OK);
        compare(lives);
    }
    for (int round = 0; round < 60; round++) {
        while (work_off(lives)) continue;
        world->time_ms += 2000;
    }
}

static bool is_held(const struct lives *lives, const struct life *life)
{
    if (life->state != TASK_BLOCKED) return false;
    for (size_t i = 0; i < life->parent_count; i++) {
        const struct life *parent = &lives->tasks[life->parents[i]];
        if (life->on_dep_fail == DEP_FAIL_HOLD && task_has_failed(parent->state)) return true;
        if (is_held(lives, parent)) return true;
    }
    return false;
}

static void live(uint64_t seed)
{
    static struct lives lives;
    struct coord_world *world = coord_world_new();
    lives = (struct lives){.world = world, .random = seed};
    for (uint64_t queue = 0; queue < 2; queue++)
        DO("queue.put", "{'queue':'%s','backoff_max':'2s','max_attempts':4,'group_on_fail':'%s'%s}",
           queue_name(queue), draw(&lives, 2) ? "block" : "skip",
           queue ? ",'group_concurrency':2,'key_concurrency':1,'concurrency':3" : "");
    for (int i = 0; i < STEPS; i++) step(&lives);
    work_all_off(&lives);
    for (uint64_t id = 1; id <= lives.last; id++)
        assert_true(task_is_over(lives.tasks[id].state) || is_held(&lives, &lives.tasks[id]));
    coord_world_free(world);
}

/* SEEDS="FROM TO" in the environment: others, by hand. */
static void tasks_live_as_they_may(void **state)
{
    unsigned long long from = 1, to = SEEDS;
    (void)state;
    if (getenv("SEEDS")) sscanf(getenv("SEEDS"), "%llu %llu", &from, &to);
    for (unsigned long long seed = from; seed <= to; seed++) {
        if (getenv("SEEDS")) fprintf(stderr, "\r%llu ", seed);
        live(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tasks_live_as_they_may)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
