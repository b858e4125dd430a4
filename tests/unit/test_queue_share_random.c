// links: api lib support
/* Sharing out against a model that looks at everybody each time: who gets which task, over random orders of
 * enqueueing, claiming, completing and giving up. */
#include "tests/unit/queue_claim_test.h"

enum { TASKS = 4000, CLAIMS = 40, STEPS = 400, NAMED = 5 };

struct model_claim {
    uint64_t index, max, got;
    unsigned worker; /* NAMED: no name */
    bool waits;
};

struct model {
    struct coord_world *world;
    uint64_t dice;
    struct model_claim claims[CLAIMS]; /* those that wait, by arrival, and the new one last */
    size_t claim_count;
    uint64_t in_flight[NAMED];
    uint64_t next, last; /* tasks: the first that is ready, the last of all */
    uint64_t claimed, concurrency;
    struct {
        unsigned worker;
        uint64_t claim; /* its entry */
        uint64_t token;
        bool over;
    } tasks[TASKS];
};

static uint64_t draw(struct model *model, uint64_t below)
{
    model->dice = model->dice * 6364136223846793005u + 1442695040888963407u;
    return (model->dice >> 33) % below;
}

static const char *name_of(unsigned worker)
{
    static const char *names[] = {"a", "b", "c", "d", "e", ""};
    return names[worker];
}

static uint64_t load_of(const struct model *model, const struct model_claim *claim)
{
    return claim->worker == NAMED ? claim->got : model->in_flight[claim->worker];
}

static struct model_claim *who(struct model *model)
{
    struct model_claim *found = NULL;
    for (size_t i = 0; i < model->claim_count; i++) {
        struct model_claim *claim = &model->claims[i];
        if (claim->got == claim->max) continue;
        if (!found || load_of(model, claim) < load_of(model, found)) found = claim;
    }
    return found;
}

/* What the entry that was just applied must have done. */
static void share_out(struct model *model)
{
    struct model_claim *claim;
    while (model->next <= model->last && (!model->concurrency || model->claimed < model->concurrency) &&
           (claim = who(model))) {
        model->tasks[model->next].worker = claim->worker;
        model->tasks[model->next].claim = claim->index;
        model->tasks[model->next++].token = model->world->index;
        model->claimed++;
        claim->got++;
        if (claim->worker < NAMED) model->in_flight[claim->worker]++;
    }
    size_t kept = 0;
    for (size_t i = 0; i < model->claim_count; i++)
        if (!model->claims[i].got && model->claims[i].waits) model->claims[kept++] = model->claims[i];
    model->claim_count = kept;
}

static void compare(struct model *model, uint64_t from)
{
    struct coord_world *world = model->world;
    for (uint64_t id = from; id < model->next; id++) {
        struct task task = task_now(world, id), before;
        assert_int_equal(task.state, TASK_CLAIMED);
        assert_true(slice_is(task.worker, name_of(model->tasks[id].worker)));
        assert_int_equal(task.token, model->tasks[id].token);
        for (uint64_t other = from; other < id; other++) {
            before = task_now(world, other);
            assert_int_equal(before.lease == task.lease, model->tasks[other].claim == model->tasks[id].claim);
        }
    }
    struct queue_row row = queue_now_is(world);
    assert_int_equal(row.counts[TASK_CLAIMED], model->claimed);
    assert_int_equal(row.counts[TASK_READY], model->last - model->next + 1);
    assert_int_equal(row.claimers, model->claim_count);
    for (unsigned i = 0; i < NAMED; i++)
        assert_int_equal(figures(world, name_of(i)).claimed, model->in_flight[i]);
    arena_reset(&world->arena);
}

static void enqueue_some(struct model *model)
{
    uint64_t count = 1 + draw(model, 12);
    char json[512];
    int size = sprintf(json, "{\"queue\":\"q\",\"tasks\":[");
    if (model->last + count >= TASKS) return;
    for (uint64_t i = 0; i < count; i++) size += sprintf(json + size, "%s{\"payload\":1}", i ? "," : "");
    sprintf(json + size, "]}");
    assert_true(coord_world_do(model->world, "queue.enqueue_many", json) < OUTCOME_LOCK_HELD);
    model->last += count;
    share_out(model);
}

static void claim_some(struct model *model)
{
    struct model_claim asks = {
        .max = 1 + draw(model, 6), .worker = (unsigned)draw(model, NAMED + 1), .waits = draw(model, 3) > 0};
    char more[64];
    if (model->claim_count == CLAIMS) return;
    snprintf(more, sizeof more, ",\"max\":%llu%s", (unsigned long long)asks.max,
             asks.waits ? ",\"wait\":\"1m\"" : "");
    enum outcome outcome = claim(model->world, name_of(asks.worker), more);
    asks.index = model->world->index;
    model->claims[model->claim_count++] = asks;
    size_t before = model->claim_count;
    share_out(model);
    bool waits = asks.waits && model->claim_count == before;
    assert_int_equal(outcome, waits ? 0 : OUTCOME_OK);
}

static void complete_one(struct model *model)
{
    uint64_t id = model->next > 1 ? 1 + draw(model, model->next - 1) : 0;
    for (; id && id < model->next && model->tasks[id].over; id++) {
    }
    if (!id || id >= model->next) return;
    assert_int_equal(queue_do(model->world, "complete", "{\"queue\":\"q\",\"id\":\"%llu\",\"token\":%llu}",
                              (unsigned long long)id, (unsigned long long)model->tasks[id].token),
                     OUTCOME_OK);
    model->tasks[id].over = true;
    model->claimed--;
    if (model->tasks[id].worker < NAMED) model->in_flight[model->tasks[id].worker]--;
    share_out(model);
}

static void give_up_one(struct model *model)
{
    if (!model->claim_count) return;
    size_t at = draw(model, model->claim_count);
    cancel_wait(model->world, model->claims[at].index, draw(model, 2) ? "timeout" : "client_gone");
    for (size_t i = at + 1; i < model->claim_count; i++) model->claims[i - 1] = model->claims[i];
    model->claim_count--;
}

static void as_the_model_does(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct model *model = memory_new(sizeof *model);
        model->world = coord_world_new();
        model->dice = seed;
        model->next = 1;
        model->concurrency = seed % 2 ? 0 : 7;
        queue_do(model->world, "put", "{\"queue\":\"q\",\"concurrency\":%d}", (int)model->concurrency);
        for (int step = 0; step < STEPS; step++) {
            uint64_t from = model->next, what = draw(model, 10);
            if (what < 2)
                enqueue_some(model);
            else if (what < 5)
                claim_some(model);
            else if (what < 9)
                complete_one(model);
            else
                give_up_one(model);
            compare(model, from);
        }
        coord_world_free(model->world);
        free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_the_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
