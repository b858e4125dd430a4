/* What watches see of queues and tasks. Codes of kinds are for ever. A task tells one event a change, so its
 * record is kept short: id and queue stand in the path, the state in the kind. */
#include "base/check.h"
#include "coord/primitive/queue.h"

struct task_event {
    struct slice id, queue, worker, group, key, reason, error, progress;
    uint64_t state, outcome, dead_reason, attempts, token, wait_ms, run_ms, failures, losses, releases;
    uint64_t not_before;
};
#define EVENT(member) .offset = offsetof(struct task_event, member), .name = #member
enum { IN_PATH = 2 /* fields that the rows do not hold */ };
static const struct field task_fields[] = {
    {.number = 1, .type = FIELD_TEXT, EVENT(id), .about = "of the task"},
    {.number = 2, .type = FIELD_TEXT, EVENT(queue), .about = "that it is in"},
    {.number = 3,
     .type = FIELD_CHOICE,
     EVENT(state),
     .choices = task_state_choices,
     .about = "in which it is now"},
    {.number = 4, .type = FIELD_TEXT, .flags = FIELD_NULL, EVENT(group), .about = "as given"},
    {.number = 5, .type = FIELD_TEXT, .flags = FIELD_NULL, EVENT(key), .about = "as given"},
    {.number = 6,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     EVENT(worker),
     .about = "who has it, or had it until now"},
    {.number = 7, .type = FIELD_UINT, .flags = FIELD_NULL, EVENT(token), .about = "of that claim"},
    {.number = 8,
     .type = FIELD_CHOICE,
     EVENT(outcome),
     .choices = attempt_end_choices,
     .about = "how its claim ended; null: it had none"},
    {.number = 9, .type = FIELD_UINT, EVENT(wait_ms), .about = "ready before the claim (claimed)"},
    {.number = 10, .type = FIELD_UINT, EVENT(run_ms), .about = "of the claim that ended"},
    {.number = 11, .type = FIELD_UINT, EVENT(attempts), .about = "claims so far"},
    {.number = 12, .type = FIELD_UINT, EVENT(failures), .about = "of them that failed"},
    {.number = 13, .type = FIELD_UINT, EVENT(losses), .about = "of them that were lost"},
    {.number = 14, .type = FIELD_UINT, EVENT(releases), .about = "of them that were given back"},
    {.number = 15,
     .type = FIELD_CHOICE,
     EVENT(dead_reason),
     .choices = dead_reason_choices,
     .about = "why it is dead"},
    {.number = 16,
     .type = FIELD_TEXT,
     .flags = FIELD_NULL,
     EVENT(reason),
     .about = "why it is, or is to be, cancelled"},
    {.number = 17, .type = FIELD_TEXT, .flags = FIELD_NULL, EVENT(error), .about = "of the claim that ended"},
    {.number = 18, .type = FIELD_TIME, EVENT(not_before), .about = "until when it is scheduled"},
    {.number = 19, .type = FIELD_JSON, EVENT(progress), .about = "as its worker said (progress)"},
};
static const struct record task_record = RECORD("queue_task_event", task_event, task_fields);
static const struct record task_kept_record = {"queue_task_event_row", sizeof(struct task_event),
                                               task_fields + IN_PATH,
                                               sizeof task_fields / sizeof *task_fields - IN_PATH};

struct set_event {
    bool paused, draining;
};
static const struct field set_fields[] = {
    {.number = 1,
     .type = FIELD_BOOL,
     .offset = offsetof(struct set_event, paused),
     .name = "paused",
     .about = "true: it hands nothing out"},
    {.number = 2,
     .type = FIELD_BOOL,
     .offset = offsetof(struct set_event, draining),
     .name = "draining",
     .about = "true: it takes no more tasks"},
};
static const struct record set_record = RECORD("queue_event", set_event, set_fields);

#define OF_TASK(kind, name)                                                                                  \
    {                                                                                                        \
        kind, name, &task_kept_record, &task_record                                                          \
    }
const struct event_kind queue_events[QUEUE_EVENTS] = {
    OF_TASK(QUEUE_TASK_SCHEDULED, "scheduled"),
    OF_TASK(QUEUE_TASK_BLOCKED, "blocked"),
    OF_TASK(QUEUE_TASK_READY, "ready"),
    OF_TASK(QUEUE_TASK_CLAIMED, "claimed"),
    OF_TASK(QUEUE_TASK_DONE, "done"),
    OF_TASK(QUEUE_TASK_DEAD, "dead"),
    OF_TASK(QUEUE_TASK_CANCELLED, "cancelled"),
    OF_TASK(QUEUE_TASK_EXPIRED, "expired"),
    OF_TASK(QUEUE_TASK_PROGRESS, "progress"),
    OF_TASK(QUEUE_TASK_CANCEL_REQUESTED, "cancel_requested"),
    OF_TASK(QUEUE_TASK_FORGOTTEN, "forgotten"),
    {QUEUE_SET, "set", &set_record, NULL},
    {QUEUE_REMOVED, "removed", &set_record, NULL},
};

/* The claim that ended with this change; NULL: none did. */
static const struct attempt *ended_now(const struct queue *queue, const struct task *task)
{
    const struct attempt *last = task->history.items;
    bool now = task->history.count && last->token == task->token && last->ended_ms == queue->apply->time_ms;
    return now && task->state != TASK_CLAIMED && task->order == queue->apply->index ? last : NULL;
}

static void add_claim(const struct queue *queue, const struct task *task, struct task_event *told)
{
    const struct attempt *ended = ended_now(queue, task);
    if (!ended && task->state != TASK_CLAIMED) return;
    told->worker = task->worker;
    told->token = task->token;
    if (!ended) return;
    told->outcome = ended->end;
    told->run_ms = ended->ended_ms - ended->since_ms;
    told->error = ended->error;
}

void task_tell(struct queue *queue, const struct task *task, enum queue_event event)
{
    struct task_event *told = arena_alloc(queue->apply->arena, sizeof *told);
    *told = (struct task_event){.group = task->group,
                                .key = task->key,
                                .attempts = task->attempts,
                                .failures = task->failures,
                                .losses = task->losses,
                                .releases = task->releases};
    bool entered = (uint64_t)event == task->state;
    if (!entered) told->state = task->state;
    if (event != QUEUE_TASK_FORGOTTEN) add_claim(queue, task, told);
    if (event == QUEUE_TASK_CLAIMED) told->wait_ms = task->attempt_waited_ms;
    if (event == QUEUE_TASK_SCHEDULED) told->not_before = task->not_before_ms;
    if (event == QUEUE_TASK_DEAD) told->dead_reason = task->dead_reason;
    if (event == QUEUE_TASK_PROGRESS) told->progress = task->progress;
    if (event == QUEUE_TASK_CANCELLED || event == QUEUE_TASK_CANCEL_REQUESTED)
        told->reason = task->cancel_reason;
    event_add(queue->apply, &queue_primitive, (uint8_t)event, task_path(queue->apply, task), told, 0);
}

void queue_tell(struct queue *queue, enum queue_event event)
{
    struct set_event *told = arena_alloc(queue->apply->arena, sizeof *told);
    *told = (struct set_event){queue->row.paused, queue->row.draining};
    event_add(queue->apply, &queue_primitive, (uint8_t)event,
              arena_printf(queue->apply->arena, "/queues/%.*s", SLICE_ARGS(queue->name)), told, 0);
}

void queue_event_read(struct rows *rows, struct arena *arena, struct event *event)
{
    const struct slice parent = SLICE("/queues/"), between = SLICE("/tasks/");
    (void)rows;
    event->shape = event->kind->shape ? event->kind->shape : event->kind->kept;
    if (event->kind->code >= QUEUE_SET) return;
    struct task_event *told = arena_alloc(arena, sizeof *told);
    *told = *(const struct task_event *)event->data;
    struct slice path = slice_skip(event->path, parent.size);
    size_t digits = 0;
    while (path.data[path.size - digits - 1] != '/') digits++;
    told->id = slice_skip(path, path.size - digits);
    told->queue = slice_of(path.data, path.size - digits - between.size);
    if (event->kind->code <= TASK_STATES) told->state = event->kind->code;
    event->data = told;
}
