/* What happens when a nominal time has come, and when one was missed. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/queue.h"
#include "coord/primitive/schedule.h"

/* --- the tasks that were made --- */

/* Takes out those that are over. True when one of the others still waits for one before it. */
static bool drop_over(struct schedule *schedule)
{
    struct list *tasks = &schedule->row.tasks;
    struct schedule_task *kept = arena_alloc(schedule->apply->arena, (SCHEDULE_TASKS + 1) * sizeof *kept);
    size_t count = 0;
    bool blocked = false;
    for (size_t i = 0; i < tasks->count; i++) {
        struct schedule_task task = ((const struct schedule_task *)tasks->items)[i];
        enum task_state state = queue_task_state(schedule->apply, task.id);
        if (!state || task_is_over(state)) continue;
        kept[count++] = task;
        blocked |= state == TASK_BLOCKED;
    }
    *tasks = (struct list){kept, count};
    return blocked;
}

/* There is room for one more behind what drop_over left. */
static void remember_task(struct schedule *schedule, uint64_t id)
{
    struct list *tasks = &schedule->row.tasks;
    struct schedule_task *items = tasks->items;
    for (size_t i = 0; i < tasks->count; i++)
        if (items[i].id == id) return;
    items[tasks->count++] = (struct schedule_task){id};
    if (tasks->count > SCHEDULE_TASKS) {
        tasks->items = items + 1;
        tasks->count--;
    }
}

static struct list tasks_as_texts(struct schedule *schedule)
{
    struct list tasks = schedule->row.tasks, texts = {.count = tasks.count};
    struct slice *items = arena_alloc(schedule->apply->arena, tasks.count * sizeof *items);
    for (size_t i = 0; i < tasks.count; i++)
        items[i] = task_id_text(schedule->apply, ((const struct schedule_task *)tasks.items)[i].id);
    texts.items = items;
    return texts;
}

static void cancel_tasks(struct schedule *schedule)
{
    struct list tasks = schedule->row.tasks;
    for (size_t i = 0; i < tasks.count; i++)
        queue_cancel_task(schedule->apply, ((const struct schedule_task *)tasks.items)[i].id,
                          SLICE("its schedule fired again"));
    drop_over(schedule);
}

/* --- runs --- */

static void record_run(struct schedule *schedule, struct run run)
{
    struct schedule_row *row = &schedule->row;
    size_t before = row->runs.count < SCHEDULE_RUNS ? row->runs.count : SCHEDULE_RUNS - 1;
    struct run *runs = arena_alloc(schedule->apply->arena, (before + 1) * sizeof *runs);
    uint64_t *counts[RUN_OUTCOMES + 1] = {
        [RUN_FIRED] = &row->fired,
        [RUN_MANUAL] = &row->manual,
        [RUN_SKIPPED_OVERLAP] = &row->skipped_overlap,
        [RUN_SKIPPED_MISFIRE] = &row->skipped_misfire,
        [RUN_DEDUPLICATED] = &row->deduplicated,
        [RUN_REFUSED] = &row->refused,
    };
    run.at_ms = schedule->apply->time_ms;
    runs[0] = run;
    if (before) memcpy(runs + 1, row->runs.items, before * sizeof *runs);
    row->runs = (struct list){runs, before + 1};
    *counts[run.outcome] += run.count;
    schedule->changed = true;
    schedule_tell_run(schedule, &runs[0]);
}

static enum outcome make_task(struct schedule *schedule, struct list after, struct enqueued *made,
                              struct slice *detail)
{
    const struct schedule_config *config = schedule->row.config;
    struct task_spec spec = {.payload = config->payload,
                             .key = config->key,
                             .group = config->group,
                             .origin =
                                 arena_printf(schedule->apply->arena, "@%.*s", SLICE_ARGS(schedule->name)),
                             .priority = config->priority + 1,
                             .ttl_ms = config->ttl_ms,
                             .timeout_ms = config->timeout_ms,
                             .on_dep_fail = after.count ? DEP_FAIL_RUN : 0,
                             .after = after};
    return queue_enqueue(schedule->apply, config->queue, &spec, made, detail);
}

/* Records what the queue said. */
static void record_made(struct schedule *schedule, struct run run, enum outcome outcome,
                        const struct enqueued *made, struct slice detail)
{
    if (outcome == OUTCOME_CREATED || outcome == OUTCOME_OK) {
        run.task = task_id_of(made->id);
        remember_task(schedule, run.task);
    }
    if (outcome == OUTCOME_OK) {
        run.outcome = RUN_DEDUPLICATED;
    } else if (outcome != OUTCOME_CREATED) {
        run.outcome = RUN_REFUSED;
        run.detail = detail.size ? detail : slice_text(outcome_facts(outcome)->title);
    }
    record_run(schedule, run);
}

enum outcome schedule_run_now(struct schedule *schedule, struct enqueued *made, struct slice *detail)
{
    drop_over(schedule);
    enum outcome outcome = make_task(schedule, (struct list){0}, made, detail);
    if (outcome == OUTCOME_CREATED || outcome == OUTCOME_OK)
        record_made(schedule, (struct run){.outcome = RUN_MANUAL, .count = 1}, outcome, made, *detail);
    return outcome;
}

/* Who must wait for another does so as a task with a dependency: that needs no look at the queue later. */
static void fire(struct schedule *schedule, uint64_t nominal_ms)
{
    struct run run = {.nominal_ms = nominal_ms, .outcome = RUN_FIRED, .count = 1};
    bool blocked = drop_over(schedule), live = schedule->row.tasks.count > 0;
    struct list after = {0};
    struct enqueued made = {0};
    struct slice detail = {0};
    switch ((enum overlap)schedule->row.config->overlap) {
    case OVERLAP_ALLOW:
        break;
    case OVERLAP_SKIP:
        if (live) run.outcome = RUN_SKIPPED_OVERLAP;
        break;
    case OVERLAP_QUEUE_ONE:
        if (blocked) run.outcome = RUN_SKIPPED_OVERLAP;
        after = tasks_as_texts(schedule);
        break;
    case OVERLAP_CANCEL_RUNNING:
        cancel_tasks(schedule);
        after = tasks_as_texts(schedule);
        break;
    }
    if (run.outcome == RUN_SKIPPED_OVERLAP) {
        record_run(schedule, run);
        return;
    }
    enum outcome outcome = make_task(schedule, after, &made, &detail);
    record_made(schedule, run, outcome, &made, detail);
}

/* --- misfires --- */

/* How many nominal times there are from that one to `horizon_ms`; counts no further than `most`. */
static uint64_t count_until(struct schedule *schedule, uint64_t nominal_ms, uint64_t horizon_ms,
                            uint64_t most)
{
    uint64_t count = 0;
    for (; nominal_ms && nominal_ms <= horizon_ms && count < most; count++)
        nominal_ms = schedule_after(schedule, nominal_ms);
    return count;
}

/* The nominal time with which the newest `keep` up to the horizon begin, found by halving. */
static uint64_t newest(struct schedule *schedule, uint64_t nominal_ms, uint64_t horizon_ms, uint64_t keep)
{
    uint64_t low_ms = nominal_ms - 1, high_ms = horizon_ms;
    while (keep && high_ms - low_ms > 1) {
        uint64_t middle_ms = low_ms + (high_ms - low_ms) / 2;
        uint64_t from_ms = schedule_after(schedule, middle_ms);
        if (count_until(schedule, from_ms, horizon_ms, keep) == keep)
            low_ms = middle_ms;
        else
            high_ms = middle_ms;
    }
    return schedule_after(schedule, keep ? low_ms : horizon_ms);
}

/* The nominal time to go on with, when that one and perhaps others were missed; what lies between is skipped.
 */
static uint64_t skip_missed(struct schedule *schedule, uint64_t nominal_ms, uint64_t grace_ms)
{
    const struct schedule_config *config = schedule->row.config;
    uint64_t now_ms = schedule->apply->time_ms, keep = 0, horizon_ms = now_ms, first_ms = nominal_ms;
    if (config->misfire == MISFIRE_SKIP) horizon_ms = now_ms - grace_ms - 1;
    if (config->misfire == MISFIRE_ONCE) keep = 1;
    if (config->misfire == MISFIRE_ALL) keep = config->misfire_max;
    uint64_t most = keep + SCHEDULE_SKIPS_COUNTED;
    uint64_t count = count_until(schedule, nominal_ms, horizon_ms, most);
    uint64_t skipped = count > keep ? count - keep : 0;
    if (count == most)
        nominal_ms = newest(schedule, nominal_ms, horizon_ms, keep);
    else
        for (uint64_t i = 0; i < skipped; i++) nominal_ms = schedule_after(schedule, nominal_ms);
    if (skipped)
        record_run(schedule,
                   (struct run){.nominal_ms = first_ms, .outcome = RUN_SKIPPED_MISFIRE, .count = skipped});
    return nominal_ms;
}

static uint64_t grace_of(struct schedule *schedule, uint64_t nominal_ms)
{
    uint64_t following_ms = schedule_after(schedule, nominal_ms);
    bool soon = following_ms && following_ms - nominal_ms < SCHEDULE_GRACE_MS;
    return soon ? following_ms - nominal_ms : SCHEDULE_GRACE_MS;
}

void schedule_due(struct apply *apply, uint64_t at_ms, struct slice what)
{
    struct schedule schedule;
    struct slice name;
    uint64_t nominal_ms;
    CHECK(schedule_parse_what(what, &name, &nominal_ms));
    schedule_load(&schedule, apply, name);
    CHECK(schedule.exists && schedule.row.next_ms == nominal_ms && schedule.row.due_ms == at_ms);
    uint64_t grace = grace_of(&schedule, nominal_ms);
    if (apply->time_ms - at_ms > grace) nominal_ms = skip_missed(&schedule, nominal_ms, grace);
    if (nominal_ms && schedule_due_ms(&schedule, nominal_ms) <= apply->time_ms) {
        fire(&schedule, nominal_ms);
        nominal_ms = schedule_after(&schedule, MUTANT(95) ? apply->time_ms : nominal_ms);
    }
    schedule_set_next(&schedule, nominal_ms);
    schedule_save(&schedule);
}
