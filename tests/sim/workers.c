/* Workers: what clients do at task queues. They make tasks, claim some, renew, finish, fail or give them
 * back, answer late and twice, and sometimes vanish with what they have.
 *
 * Queues a, b and c are those that the generator draws too, with whatever settings it comes upon; o is as
 * queues are by themselves, so its groups are ordered; p has several of a group at once, one of a key, and
 * short pauses. Schedules are the same a, b and c, and s and t. In the calm, sweepers take all limits away
 * and finish whatever is left (workers_sweep). */
#include "tests/sim/sim.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { HELD = 8, TOLD = 48, LINE = 400, QUEUES = 5, SWEPT_AT_ONCE = 8, FAR_MS = 4000 };

struct claimed_one {
    struct told_task task;
    uint64_t lease;
};

static struct worker {
    struct claimed_one held[HELD];
    size_t count;
    unsigned turn; /* of a sweeper */
} workers[CLIENTS_MAX];

static const char queues[QUEUES + 1] = "abcop", schedules[QUEUES + 1] = "abcst";
static struct told_task told[TOLD]; /* of all workers, the newest */
static size_t told_count;
static bool p_is_set;

size_t workers_known(const struct told_task **tasks)
{
    *tasks = told;
    return told_count < TOLD ? told_count : TOLD;
}

static void remember(struct told_task task)
{
    size_t known = told_count < TOLD ? told_count : TOLD;
    for (size_t i = 0; i < known; i++)
        if (told[i].id == task.id) {
            if (task.token) told[i].token = task.token;
            return;
        }
    told[told_count++ % TOLD] = task;
}

static char some_queue(void)
{
    return queues[draw(3) ? 3 + draw(2) : draw(QUEUES)];
}

static unsigned long long ms(uint64_t most)
{
    return (unsigned long long)(1 + draw(most));
}

/* --- making tasks --- */

__attribute__((format(printf, 3, 4))) static void option(char *line, unsigned of, const char *format, ...)
{
    va_list arguments;
    size_t size = strlen(line);
    if (draw(of)) return;
    va_start(arguments, format);
    int added = vsnprintf(line + size, LINE - size, format, arguments);
    va_end(arguments);
    CHECK(added >= 0 && size + (size_t)added < LINE);
}

static void describe(char *line, bool plain)
{
    static const char *const dedup[] = {"live", "waiting", "off"};
    static const char *const duplicate[] = {"existing", "reject", "replace"};
    static const char *const on_dep_fail[] = {"cancel", "run", "hold"};
    option(line, 2, " group=%c", (char)('g' + draw(2)));
    option(line, 4, " priority=%u", (unsigned)draw(16));
    option(line, 5, " delay=%llums", ms(3000));
    if (plain) return;
    option(line, 4, " key=%c", (char)('k' + draw(3)));
    option(line, 8, " ttl=%llums", ms(6000));
    option(line, 8, " deadline=%llums", ms(9000));
    option(line, 5, " timeout=%llums", ms(4000));
    option(line, 5, " max_attempts=%u", 1 + (unsigned)draw(4));
    option(line, 6, " max_losses=%u", 1 + (unsigned)draw(2));
    option(line, 4, " dedup=%s", dedup[draw(3)]);
    option(line, 4, " duplicate=%s", duplicate[draw(3)]);
    if (!told_count || draw(4)) return;
    size_t known = told_count < TOLD ? told_count : TOLD;
    option(line, 1, " after=%llu", (unsigned long long)told[draw(known)].id);
    option(line, 3, ",%llu", (unsigned long long)told[draw(known)].id);
    option(line, 2, " on_dep_fail=%s", on_dep_fail[draw(3)]);
}

static struct call *enqueue(char queue)
{
    char line[LINE];
    snprintf(line, sizeof line, "queue=%c payload=1", queue);
    describe(line, queue == 'o');
    return make_call("queue.enqueue", line);
}

static struct call *enqueue_many(char queue)
{
    struct call *call = call_new();
    call->operation = operation_by_name(SLICE("queue.enqueue_many"));
    call->args = arena_alloc(&call->arena, call->operation->args->size);
    struct setting setting = {call->operation->args, call->args, &call->arena, 0, {0}};
    const struct field *tasks = record_field(call->operation->args, SLICE("tasks"));
    CHECK(setting_text(&setting, record_field(call->operation->args, SLICE("queue")), slice_of(&queue, 1)));
    for (uint64_t count = 1 + draw(6); count; count--) {
        char line[LINE] = "payload=2";
        struct setting inner = {tasks->record, setting_record(&setting, tasks), &call->arena, 0, {0}};
        describe(line, queue == 'o');
        CHECK(inner.data);
        make_args(&inner, line);
    }
    CHECK(setting_done(&setting));
    return call;
}

/* --- claims --- */

static void claim_line(char *line, unsigned number, uint64_t lease, uint64_t *wait_ms, uint64_t *ttl_ms)
{
    *wait_ms = draw(2) ? 300 + draw(6000) : 0;
    *ttl_ms = 700 + draw(5000);
    size_t size = strlen(line);
    snprintf(line + size, LINE - size, " worker=w%u max=%u", number, 1 + (unsigned)draw(4));
    if (*wait_ms) option(line, 1, " wait=%llums", (unsigned long long)*wait_ms);
    if (lease && draw(4) == 0) {
        *ttl_ms = 0;
        option(line, 1, " lease=L%llx", (unsigned long long)lease);
    } else {
        option(line, 1, " ttl=%llums", (unsigned long long)*ttl_ms);
    }
}

static struct call *claim(unsigned number, uint64_t lease, uint64_t *ttl_ms)
{
    char line[LINE];
    uint64_t wait_ms;
    snprintf(line, sizeof line, "queue=%c", some_queue());
    claim_line(line, number, lease, &wait_ms, ttl_ms);
    struct call *call = make_call("queue.claim", line);
    call->wait_ms = wait_ms;
    return call;
}

/* What it has of that queue, or had, into the list of what it says of it. */
static void add_finished(struct setting *setting, const char *list, struct worker *worker, char queue)
{
    char line[LINE];
    const struct field *field = record_field(setting->record, slice_text(list));
    CHECK(field);
    for (size_t i = 0; i < worker->count; i++) {
        const struct told_task *task = &worker->held[i].task;
        if (task->queue != queue || (!world.sweeping && draw(3) == 0)) continue;
        struct setting inner = {field->record, setting_record(setting, field), setting->arena, 0, {0}};
        snprintf(line, sizeof line, "id=%llu token=%llu", (unsigned long long)task->id,
                 (unsigned long long)task->token);
        CHECK(inner.data);
        make_args(&inner, line);
        if (!world.sweeping) worker->held[i--] = worker->held[--worker->count];
    }
}

/* A sweeper says it again until it is answered. */
static void drop_swept(struct worker *worker, struct slice queue)
{
    for (size_t i = 0; world.sweeping && i < worker->count; i++)
        if (slice_is(queue, (const char[]){worker->held[i].task.queue, 0}))
            worker->held[i--] = worker->held[--worker->count];
}

static struct call *next_of(unsigned number, char queue, const char *claim_text)
{
    struct call *call = call_new();
    call->operation = operation_by_name(SLICE("queue.next"));
    const struct record *args = call->operation->args;
    call->args = arena_alloc(&call->arena, args->size);
    struct setting setting = {args, call->args, &call->arena, 0, {0}};
    const struct field *ask = record_field(args, SLICE("claim"));
    CHECK(setting_text(&setting, record_field(args, SLICE("queue")), slice_of(&queue, 1)));
    add_finished(&setting, "done", &workers[number], queue);
    if (!world.sweeping && draw(3) == 0) add_finished(&setting, "failed", &workers[number], queue);
    struct setting inner = {ask->record, setting_record(&setting, ask), &call->arena, 0, {0}};
    make_args(&inner, claim_text);
    CHECK(setting_done(&setting));
    return call;
}

static struct call *next(unsigned number, uint64_t lease, uint64_t *ttl_ms)
{
    char line[LINE] = "";
    uint64_t wait_ms;
    char queue = workers[number].held[0].task.queue;
    claim_line(line, number, lease, &wait_ms, ttl_ms);
    struct call *call = next_of(number, queue, line + 1);
    call->wait_ms = wait_ms;
    return call;
}

/* --- what becomes of a claim --- */

/* The task is done, and a key says so, in one entry. */
static struct call *complete_in_txn(const struct told_task *task)
{
    struct call *call = call_new();
    call->operation = operation_by_name(SLICE("txn"));
    call->args = arena_alloc(&call->arena, call->operation->args->size);
    struct setting setting = {call->operation->args, call->args, &call->arena, 0, {0}};
    const struct field *then = record_field(call->operation->args, SLICE("then"));
    char lines[2][LINE];
    static const char *const names[2] = {"queue.complete", "kv.put"};
    snprintf(lines[0], LINE, "queue=%c id=%llu token=%llu", task->queue, (unsigned long long)task->id,
             (unsigned long long)task->token);
    snprintf(lines[1], LINE, "key=done-%llu value=x", (unsigned long long)task->id);
    for (size_t i = 0; i < 2; i++) {
        const struct operation *operation;
        struct setting inner = {.arena = &call->arena};
        inner.data = setting_operation(&setting, then, slice_text(names[i]), &operation);
        CHECK(inner.data);
        inner.record = operation->args;
        make_args(&inner, lines[i]);
    }
    CHECK(setting_done(&setting));
    return call;
}

static struct call *with_claim(const char *operation, const struct told_task *task, const char *more)
{
    char line[LINE];
    snprintf(line, sizeof line, "queue=%c id=%llu token=%llu%s", task->queue, (unsigned long long)task->id,
             (unsigned long long)task->token, more);
    return make_call(operation, line);
}

static struct call *finish(struct worker *worker)
{
    size_t which = draw(worker->count);
    struct told_task task = worker->held[which].task;
    uint64_t dice = draw(100);
    char more[LINE] = "";
    if (dice < 14) {
        option(more, 2, " progress=7");
        return with_claim("queue.extend", &task, "");
    }
    if (dice < 20) return with_claim("queue.progress", &task, " progress=3");
    if (draw(7)) worker->held[which] = worker->held[--worker->count]; /* else it will be said again */
    if (dice < 45) return with_claim("queue.complete", &task, draw(2) ? " result=4" : "");
    if (dice < 60) return complete_in_txn(&task);
    if (dice < 75) {
        option(more, 6, " permanent=true");
        option(more, 3, " retry_after=%llums", ms(2000));
        return with_claim("queue.fail", &task, more);
    }
    if (dice < 85) {
        option(more, 3, " delay=%llums", ms(2000));
        return with_claim("queue.release", &task, more);
    }
    char line[LINE];
    snprintf(line, sizeof line, "queue=%c id=%llu", task.queue, (unsigned long long)task.id);
    return make_call("queue.cancel", line);
}

/* --- operators of queues --- */

static struct call *operate(void)
{
    static const char *const some[] = {"queue.pause", "queue.resume", "queue.resume",
                                       "queue.drain", "queue.purge",  "queue.redrive"};
    char line[LINE];
    if (told_count && draw(3) == 0) {
        const struct told_task *task = &told[draw(told_count < TOLD ? told_count : TOLD)];
        snprintf(line, sizeof line, "queue=%c id=%llu", task->queue, (unsigned long long)task->id);
        return make_call("queue.cancel", line);
    }
    snprintf(line, sizeof line, "queue=%c", queues[draw(QUEUES)]);
    return make_call(some[draw(sizeof some / sizeof *some)], line);
}

static struct call *operate_schedule(void)
{
    static const char *const some[] = {"schedule.pause", "schedule.resume", "schedule.resume", "schedule.run",
                                       "schedule.delete"};
    static const char *const overlap[] = {"allow", "skip", "queue_one", "cancel_running"};
    static const char *const misfire[] = {"skip", "once", "all"};
    char line[LINE], name = schedules[3 + draw(2)];
    snprintf(line, sizeof line, "schedule=%c", name);
    if (draw(2)) return make_call(some[draw(sizeof some / sizeof *some)], line);
    snprintf(line, sizeof line, "schedule=%c queue=%c every=%llums overlap=%s misfire=%s", name, some_queue(),
             1000 + ms(3000), overlap[draw(4)], misfire[draw(3)]);
    option(line, 3, " group=g");
    option(line, 4, " key=k");
    option(line, 4, " jitter=500ms");
    option(line, 4, " ttl=2s");
    return make_call("schedule.put", line);
}

static struct call *set_p(void)
{
    p_is_set = true;
    return make_call("queue.put",
                     "queue=p group_concurrency=2 key_concurrency=1 backoff=200ms backoff_max=2s "
                     "retain_done=2s concurrency=6 lease=4s");
}

struct call *workers_call(unsigned number, uint64_t lease, uint64_t *ttl_ms)
{
    struct worker *worker = &workers[number];
    uint64_t dice = draw(100);
    *ttl_ms = 0;
    if (!p_is_set) return set_p();
    if (dice < 3) worker->count = 0; /* it vanished: nobody renews, nobody answers */
    if (dice < 5) return operate_schedule();
    if (dice < 10) return operate();
    if (worker->count && dice < 18) return next(number, lease, ttl_ms);
    if (worker->count && dice < 55) return finish(worker);
    if (dice < 78) return draw(4) ? enqueue(some_queue()) : enqueue_many(some_queue());
    return claim(number, lease, ttl_ms);
}

/* --- sweeping --- */

/* Whoever waits for what cannot come is cancelled; all others are to be claimed. */
struct call *workers_sweep(unsigned number)
{
    struct worker *worker = &workers[number];
    struct left_task left;
    char line[LINE];
    if (worker->turn < QUEUES) {
        snprintf(line, sizeof line, "schedule=%c", schedules[worker->turn]);
        return make_call("schedule.delete", line);
    }
    if (worker->turn < 3 * QUEUES) {
        snprintf(line, sizeof line, "queue=%c", queues[worker->turn % QUEUES]);
        return make_call(worker->turn < 2 * QUEUES ? "queue.put" : "queue.resume", line);
    }
    bool some = judge_queue_left(&left);
    if (some && draw(3) == 0 && (left.held_up || left.due_in_ms > FAR_MS)) {
        snprintf(line, sizeof line, "queue=%s id=%llu", left.queue, (unsigned long long)left.id);
        return make_call("queue.cancel", line);
    }
    char queue = worker->count ? worker->held[0].task.queue : some ? left.queue[0] : 'o';
    snprintf(line, sizeof line, "worker=w%u max=%u ttl=3s", number, SWEPT_AT_ONCE);
    return next_of(number, queue, line);
}

/* --- what they are told --- */

static void take_claimed(struct worker *worker, const struct call *call, uint64_t from_ms, uint64_t ttl_ms)
{
    struct list tasks = view_list(call->shape, call->result, "tasks");
    const struct record *shape = view_item(call->shape, "tasks");
    struct slice queue = view_text(call->operation->args, call->args, "queue");
    drop_swept(worker, queue);
    for (size_t i = 0; i < tasks.count; i++) {
        const void *task = (const char *)tasks.items + i * shape->size;
        uint64_t lease = record_number(shape, task, "lease"),
                 left_ms = record_number(shape, task, "expires_in_ms");
        struct claimed_one held = {
            {(char)queue.data[0], view_id(shape, task, "id"), record_number(shape, task, "token")}, lease};
        if (left_ms) judge_promise(lease, from_ms + left_ms - left_ms / 50 - (left_ms > 2 ? 2 : 0));
        if (ttl_ms) judge_promise(lease, from_ms + ttl_ms);
        remember(held.task);
        if (worker->count < HELD) worker->held[worker->count++] = held;
        mark(MARK_TASK_CLAIMED);
    }
}

static void take_made(const struct record *shape, const void *made, char queue)
{
    remember((struct told_task){queue, view_id(shape, made, "id"), 0});
}

void workers_answered(unsigned number)
{
    if (world.sweeping) workers[number].turn++;
}

/* from_ms: since when what it was promised counts. */
void workers_told(unsigned number, const struct call *call, uint64_t from_ms, uint64_t ttl_ms)
{
    const char *name = call->operation->name;
    if (strncmp(name, "queue.", 6) != 0 || !call->shape || call->operation->kind != OPERATION_COMMAND) return;
    if (strcmp(name, "queue.claim") == 0 || strcmp(name, "queue.next") == 0) {
        take_claimed(&workers[number], call, from_ms, ttl_ms);
    } else if (strcmp(name, "queue.enqueue") == 0) {
        take_made(call->shape, call->result,
                  (char)view_text(call->operation->args, call->args, "queue").data[0]);
    } else if (strcmp(name, "queue.enqueue_many") == 0) {
        struct list tasks = view_list(call->shape, call->result, "tasks");
        const struct record *shape = view_item(call->shape, "tasks");
        for (size_t i = 0; i < tasks.count; i++)
            take_made(shape, (const char *)tasks.items + i * shape->size,
                      (char)view_text(call->operation->args, call->args, "queue").data[0]);
    }
}
