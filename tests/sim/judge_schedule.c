/* Judges schedules by what they tell: every nominal time is met once, in its order, not before it has come,
 * and none between two is left out; a task that was made for one is there. */
#include "coord/primitive/schedule.h"
#include "base/memory.h"
#include "tests/sim/queue_model.h"

#include <stdio.h>

typedef unsigned long long number;

static struct model_schedule {
    struct model_schedule *next;
    char name[MODEL_NAME];
    uint64_t last_ms;     /* the newest nominal time that was met */
    uint64_t expected_ms; /* the one after it; 0: that is not known */
    uint64_t step_ms;
    bool counted_no_further; /* it may be a later one: so many were skipped that they were not counted */
} * schedules;

static struct model_schedule *find(struct slice name)
{
    for (struct model_schedule *schedule = schedules; schedule; schedule = schedule->next)
        if (slice_is(name, schedule->name)) return schedule;
    struct model_schedule *schedule = memory_new(sizeof *schedule);
    *schedule = (struct model_schedule){.next = schedules};
    snprintf(schedule->name, sizeof schedule->name, "%.*s", (int)name.size, (const char *)name.data);
    schedules = schedule;
    return schedule;
}

/* As shown now: how long from one nominal time to the next; 0: not always the same, or it is gone. */
static uint64_t every_ms(const struct model_schedule *schedule)
{
    char line[MODEL_NAME + 16];
    snprintf(line, sizeof line, "schedule=%s", schedule->name);
    const struct answer *answer = judge_ask("schedule.get", line);
    return answer->outcome == OUTCOME_OK ? view_number(answer->shape, answer->data, "every_ms") : 0;
}

static void judge_task(const struct apply *apply, const struct record *shape, const void *run)
{
    uint64_t id = view_text(shape, run, "task").size ? view_id(shape, run, "task") : 0;
    uint64_t outcome = view_number(shape, run, "outcome");
    struct model_task *task = model_find(id);
    if (outcome != RUN_FIRED && outcome != RUN_MANUAL) return;
    if (!task || task->made_index != apply->index)
        sim_fail("a schedule fired at entry %llu, but task %llu was not made then", (number)apply->index,
                 (number)id);
    mark(MARK_SCHEDULE_FIRED);
}

static void judge_run(const struct apply *apply, struct model_schedule *schedule, const struct record *shape,
                      const void *run)
{
    uint64_t nominal_ms = view_number(shape, run, "nominal"), count = view_number(shape, run, "count");
    sim_trace("  %llu: schedule %s meets %llu (%llu, outcome %llu)", (number)apply->index, schedule->name,
              (number)nominal_ms, (number)count, (number)view_number(shape, run, "outcome"));
    judge_task(apply, shape, run);
    if (!nominal_ms) return;
    if (apply->time_ms < nominal_ms)
        sim_fail("schedule %s fires %llu ms before its time", schedule->name,
                 (number)(nominal_ms - apply->time_ms));
    if (nominal_ms <= schedule->last_ms)
        sim_fail("schedule %s meets %llu after %llu", schedule->name, (number)nominal_ms,
                 (number)schedule->last_ms);
    uint64_t expected_ms = schedule->expected_ms;
    while (schedule->counted_no_further && expected_ms && expected_ms < nominal_ms)
        expected_ms += schedule->step_ms;
    if (expected_ms && nominal_ms != expected_ms)
        sim_fail("schedule %s meets %llu, not %llu", schedule->name, (number)nominal_ms, (number)expected_ms);
    uint64_t step_ms = every_ms(schedule);
    schedule->last_ms = nominal_ms + (count - 1) * step_ms;
    schedule->expected_ms = step_ms ? schedule->last_ms + step_ms : 0;
    schedule->step_ms = step_ms;
    schedule->counted_no_further = count >= SCHEDULE_SKIPS_COUNTED;
}

void judge_schedule_event(const struct apply *apply, const struct event *event)
{
    static const char head[] = "/schedules/";
    struct model_schedule *schedule = find(slice_skip(event->path, sizeof head - 1));
    uint64_t code = event->kind->code;
    if (code == SCHEDULE_FIRED || code == SCHEDULE_SKIPPED)
        judge_run(apply, schedule, event->kind->kept, event->data);
    else
        schedule->expected_ms = 0;
}
