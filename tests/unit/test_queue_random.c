// links: api lib support
/* Queues under random use by workers who mostly know what they do: small limits, short times, dependencies,
 * groups, keys, leases that end, waits that are broken off, operators. After each entry: the invariants of
 * the state; a task goes only from states to states that are allowed, as its events tell and its row says; a
 * token of a task only rises. At the end all is worked off, and nothing is left over. */
#include "coord/primitive/queue.h"
#include "tests/unit/coord_world.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 400, TASKS_MAX = 4096, LEASES = 4, NODES = 2, INDEX_MAX = 60000 };

struct known {
    uint64_t state, token;
    bool touched;
};

static struct {
    struct coord_world *world;
    struct known tasks[TASKS_MAX];
    uint64_t random, highest, leases[LEASES], sessions[NODES];
    bool waits[INDEX_MAX];
    uint64_t claims, lost, over; /* of all lives: that the test does something */
} life;

static uint64_t draw(uint64_t below)
{
    life.random = life.random * 6364136223846793005u + 1442695040888963407u;
    return (life.random >> 33) % below;
}

/* --- what events tell --- */

static bool may_follow(uint64_t from, uint64_t to)
{
    switch (from) {
    case 0:
        return to == TASK_SCHEDULED || to == TASK_BLOCKED || to == TASK_READY;
    case TASK_SCHEDULED:
    case TASK_BLOCKED:
        return to == TASK_READY || to == TASK_CANCELLED || to == TASK_DEAD ||
               (from == TASK_BLOCKED && to == TASK_SCHEDULED);
    case TASK_READY:
        return to == TASK_CLAIMED || to == TASK_CANCELLED || to == TASK_EXPIRED || to == TASK_DEAD;
    case TASK_CLAIMED:
        return to == TASK_DONE || to == TASK_READY || to == TASK_SCHEDULED || to == TASK_DEAD ||
               to == TASK_CANCELLED;
    default:
        return from == TASK_DEAD && to == TASK_READY;
    }
}

static uint64_t id_in(struct slice path)
{
    size_t digits = 0;
    while (path.data[path.size - digits - 1] != '/') digits++;
    return task_id_of(slice_skip(path, path.size - digits));
}

static void follow(const struct event *event)
{
    if (event->primitive != &queue_primitive || event->kind->code >= QUEUE_SET) return;
    uint64_t id = id_in(event->path), to = event->kind->code;
    assert_true(id && id < TASKS_MAX);
    struct known *task = &life.tasks[id];
    task->touched = true;
    if (id > life.highest) life.highest = id;
    if (to == QUEUE_TASK_FORGOTTEN) {
        assert_true(task_is_over(task->state));
        task->state = UINT64_MAX;
    } else if (to <= TASK_STATES) {
        assert_true(may_follow(task->state, to));
        life.claims += to == TASK_CLAIMED;
        life.over += task_is_over(to);
        task->state = to;
    } else {
        assert_int_equal(task->state, TASK_CLAIMED);
    }
}

static void compare(struct apply *apply)
{
    for (uint64_t id = 1; id <= life.highest; id++) {
        struct known *known = &life.tasks[id];
        struct task task;
        if (!known->touched) continue;
        known->touched = false;
        bool there = task_get(apply, id, &task);
        assert_true(there == (known->state != UINT64_MAX));
        if (!there) continue;
        assert_int_equal(task.state, known->state);
        assert_true(task.token >= known->token);
        if (task.state == TASK_CLAIMED && task.token != known->token)
            assert_int_equal(task.token, apply->index);
        known->token = task.token;
    }
}

/* --- entries --- */

static void note_waits(const struct apply *apply)
{
    bool own = false;
    for (const struct answer *answer = apply->answers; answer; answer = answer->next) {
        if (answer->to_index == apply->index)
            own = true;
        else
            assert_true(life.waits[answer->to_index]);
        life.waits[answer->to_index] = false;
    }
    life.waits[apply->index] = !own;
}

static void apply_payload(const struct operation *operation, const void *args)
{
    struct coord_world *world = life.world;
    struct command command = {world->time_ms, operation, draw(2) ? life.sessions[draw(NODES)] : 0, 1, args};
    struct buffer bytes = {0};
    struct apply apply;
    command_encode(&command, &bytes);
    CHECK(command_decode(arena_copy(&world->arena, buffer_slice(&bytes)), &world->arena, &command));
    buffer_free(&bytes);
    world->index++;
    assert_true(world->index < INDEX_MAX);
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    coord_apply(&apply, &command);
    note_waits(&apply);
    for (const struct event *event = apply.events; event; event = event->next) follow(event);
    compare(&apply);
    for (const struct lease_change *change = apply.lease_changes; change; change = change->next)
        if (change->ttl_ms && draw(2)) life.leases[draw(LEASES)] = change->lease;
    if (getenv("SHOW")) {
        printf("%llu %s", (unsigned long long)world->index, operation->name);
        for (const struct answer *answer = apply.answers; answer; answer = answer->next)
            printf(" [%llu %s]", (unsigned long long)answer->to_index, outcome_facts(answer->outcome)->code);
        for (const struct event *event = apply.events; event; event = event->next)
            printf(" %.*s %s", SLICE_ARGS(event->path), event->kind->name);
        printf("\n");
        fflush(stdout);
    }
    coord_check(world->rows, &world->arena);
    arena_reset(&world->arena);
}

struct text {
    size_t size;
    char bytes[4096];
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text->bytes + text->size, sizeof text->bytes - text->size, format, arguments);
    va_end(arguments);
    CHECK(size >= 0 && (text->size += (size_t)size) < sizeof text->bytes);
}

static void act(const char *name, struct text *json)
{
    void *args;
    for (size_t i = 0; i < json->size; i++)
        if (json->bytes[i] == '\'') json->bytes[i] = '"';
    if (getenv("SHOW")) printf("> %s %s\n", name, json->bytes);
    const struct operation *operation = read_command(life.world, name, json->bytes, &args);
    if (operation->kind == OPERATION_COMMAND) {
        apply_payload(operation, args);
        return;
    }
    struct apply apply;
    apply_begin(&apply, life.world->rows, &life.world->arena, life.world->index, 1, life.world->time_ms);
    coord_query(&apply, operation, args);
    assert_non_null(apply.answers);
    arena_reset(&life.world->arena);
}

/* --- what workers and others ask for --- */

static const char *const queues[] = {"a", "b"};

static const char *some_queue(void)
{
    return queues[draw(4) == 0];
}

/* A task that there is, in that state if any is found; 0: none. */
static uint64_t some_task(uint64_t state)
{
    for (int try = 0; try < 60 && life.highest; try++) {
        uint64_t id = life.highest - draw(life.highest < 40 ? life.highest : 40);
        if (life.tasks[id].state == state || (!state && life.tasks[id].state != UINT64_MAX)) return id;
    }
    return 0;
}

static struct task row_of(uint64_t id)
{
    struct apply apply = {.rows = life.world->rows, .arena = &life.world->arena};
    struct task task;
    CHECK(task_get(&apply, id, &task));
    return task;
}

static void add_spec(struct text *json)
{
    uint64_t id, key = draw(3);
    add(json, "'payload':%d", (int)draw(9));
    if (!draw(3)) add(json, ",'priority':%d", (int)draw(16));
    if (!draw(4)) add(json, ",'delay':%d", (int)draw(4000));
    if (!key) add(json, ",'key':'k%d'", (int)draw(3));
    if (!key && !draw(2)) add(json, ",'duplicate':'%s'", duplicate_choices[draw(3)]);
    if (!key && !draw(3)) add(json, ",'dedup':'%s'", dedup_choices[draw(2)]);
    if (!draw(2)) add(json, ",'group':'g%d'", (int)draw(3));
    if (!draw(8)) add(json, ",'ttl':%d", 1 + (int)draw(3000));
    if (!draw(8)) add(json, ",'timeout':%d", 1 + (int)draw(3000));
    if (!draw(8)) add(json, ",'deadline':%d", 1 + (int)draw(9000));
    if (!draw(4)) add(json, ",'max_attempts':%d", 1 + (int)draw(3));
    if (!draw(4)) add(json, ",'max_losses':%d", 1 + (int)draw(2));
    if (draw(3) || !(id = some_task(0))) return;
    add(json, ",'after':['%llu'", (unsigned long long)id);
    uint64_t other = some_task(0), many = draw(6) ? 0 : 30;
    if (other && other != id) add(json, ",'%llu'", (unsigned long long)other);
    for (uint64_t i = 1; i <= many && i <= life.highest; i++)
        if (i != id && i != other && life.tasks[i].state != UINT64_MAX)
            add(json, ",'%llu'", (unsigned long long)i);
    add(json, "],'on_dep_fail':'%s'", dep_fail_choices[draw(3)]);
}

static void add_ask(struct text *json, bool waits)
{
    add(json, "'worker':'w%d','max':%d", (int)draw(3), 1 + (int)draw(4));
    if (waits && draw(2)) add(json, ",'wait':%d", 1 + (int)draw(5000));
    if (!draw(3))
        add(json, ",'lease':'L%llx'", (unsigned long long)life.leases[draw(LEASES)]);
    else if (!draw(3))
        add(json, ",'ttl':%d", 500 + (int)draw(5000));
}

static void add_claim(struct text *json, const struct task *task)
{
    uint64_t token = draw(12) ? task->token : 1 + draw(life.world->index);
    add(json, "'queue':'%.*s','id':'%llu','token':%llu", SLICE_ARGS(task->queue),
        (unsigned long long)task->id, (unsigned long long)(token ? token : 1));
}

static const char *finishing(struct text *json, uint64_t id)
{
    struct task task = row_of(id);
    uint64_t dice = draw(10);
    if (dice < 1) {
        add(json, "{'queue':'%.*s','id':'%llu','grace':%d}", SLICE_ARGS(task.queue), (unsigned long long)id,
            (int)draw(3000));
        return "queue.cancel";
    }
    add(json, "{");
    add_claim(json, &task);
    if (dice < 4) {
        if (draw(2)) add(json, ",'result':%d", (int)draw(100));
        add(json, "}");
        return "queue.complete";
    }
    if (dice < 7) {
        if (!draw(5)) add(json, ",'permanent':true");
        if (!draw(4)) add(json, ",'retry_after':%d", 1 + (int)draw(2000));
        add(json, ",'error':'no'}");
        return "queue.fail";
    }
    if (dice < 9) {
        if (draw(2)) add(json, ",'delay':%d", 1 + (int)draw(2000));
        add(json, "}");
        return "queue.release";
    }
    add(json, ",'progress':{'at':1}}");
    return "queue.progress";
}

static const char *operator(struct text *json)
{
    static const char *const names[] = {"queue.pause",  "queue.drain", "queue.resume",  "queue.resume",
                                        "queue.resume", "queue.purge", "queue.redrive", "queue.redrive",
                                        "queue.delete", "queue.put"};
    size_t which = draw(3) ? draw(10) : 9;
    const char *name = names[which];
    add(json, "{'queue':'%s'", some_queue());
    if (which == 5) {
        if (draw(2)) add(json, ",'state':'%s'", task_state_choices[draw(TASK_STATES)]);
        if (!draw(3)) add(json, ",'dry_run':true");
        add(json, ",'limit':%d", 1 + (int)draw(6));
    } else if (which == 8) {
        add(json, ",'force':%s", draw(2) ? "true" : "false");
    } else if (which == 9) {
        add(json, ",'lease':%d,'backoff':%d,'max_losses':%d", 500 + (int)draw(4000), (int)draw(2000),
            1 + (int)draw(3));
        if (!draw(3)) add(json, ",'concurrency':%d", 1 + (int)draw(3));
        if (!draw(2)) add(json, ",'group_concurrency':%d", (int)draw(3));
        if (!draw(3)) add(json, ",'key_concurrency':%d", 1 + (int)draw(2));
        if (!draw(4)) add(json, ",'rate':%d,'rate_burst':%d", 1 + (int)draw(3), 1 + (int)draw(3));
        if (!draw(4)) add(json, ",'group_rate':%d", 1 + (int)draw(3));
        if (!draw(4)) add(json, ",'key_rate':%d", 1 + (int)draw(3));
        if (!draw(4)) add(json, ",'aging':%d", (int)draw(2) * 3000);
        if (!draw(3)) add(json, ",'dead_letter':'%s'", draw(2) ? "dead" : "b");
        if (!draw(3))
            add(json, ",'retain_done':%d,'retain_cancelled':%d,'retain_dead':2000", (int)draw(2000),
                (int)draw(900));
        if (!draw(3)) add(json, ",'retain_max':%d", 1 + (int)draw(4));
        if (!draw(3)) add(json, ",'max_len':%d", 1 + (int)draw(20));
        if (!draw(3)) add(json, ",'group_on_fail':'%s'", group_on_fail_choices[draw(2)]);
        if (!draw(3)) add(json, ",'dedup':'%s'", dedup_choices[draw(3)]);
        if (!draw(6)) add(json, ",'ttl':2000,'timeout':3000");
    }
    add(json, "}");
    return name;
}

static void add_finished(struct text *json, const char *queue)
{
    add(json, "{'queue':'%s','done':[", queue);
    uint64_t first = some_task(TASK_CLAIMED), second = some_task(TASK_CLAIMED);
    if (first)
        add(json, "{'id':'%llu','token':%llu,'result':1}", (unsigned long long)first,
            (unsigned long long)row_of(first).token);
    add(json, "],'failed':[");
    if (second && second != first)
        add(json, "{'id':'%llu','token':%llu,'error':'x'}", (unsigned long long)second,
            (unsigned long long)row_of(second).token);
    add(json, "]");
}

/* One that may stand in a transaction too, then without waiting. */
static const char *command(struct text *json, bool waits)
{
    uint64_t dice = draw(100), id = some_task(TASK_CLAIMED);
    if (dice < 30) {
        add(json, "{'queue':'%s',", some_queue());
        add_spec(json);
        add(json, "}");
        return "queue.enqueue";
    }
    if (dice < 50) {
        add(json, "{'queue':'%s',", some_queue());
        add_ask(json, waits);
        add(json, "}");
        return "queue.claim";
    }
    if (dice < 75 && id) return finishing(json, id);
    if (dice < 82) {
        add_finished(json, some_queue());
        if (draw(3)) {
            add(json, ",'claim':{");
            add_ask(json, waits);
            add(json, "}");
        }
        add(json, "}");
        return "queue.next";
    }
    if (dice < 86 && some_task(0)) {
        id = some_task(0);
        if (!id) id = 1;
        add(json, "{'queue':'%s','id':'%llu','grace':%d}", some_queue(), (unsigned long long)id,
            (int)draw(2000));
        return "queue.cancel";
    }
    if (dice < 89) {
        add(json, "{'queue':'%s','tasks':[{", some_queue());
        add_spec(json);
        add(json, "},{");
        add_spec(json);
        add(json, "}]}");
        return "queue.enqueue_many";
    }
    return operator(json);
}

static void transaction(void)
{
    struct text json = {0}, inner;
    add(&json, "{'then':[");
    for (uint64_t left = 1 + draw(3); left; left--) {
        inner = (struct text){0};
        const char *name = command(&inner, false);
        add(&json, "{'op':'%s',%s%s", name, inner.bytes + 1, left > 1 ? "," : "");
    }
    add(&json, "]}");
    act("txn", &json);
}

/* Given back in the entry that handed it out to one who waits: nobody else may have it before the next. */
static void hand_over_and_back(void)
{
    struct text json = {0};
    const char *queue = some_queue();
    add(&json, "{'then':[{'op':'queue.enqueue','queue':'%s','payload':1},{'op':'queue.release','queue':'%s',",
        queue, queue);
    add(&json, "'id':'%llu','token':%llu}]}", (unsigned long long)life.highest + 1,
        (unsigned long long)life.world->index + 1);
    act("txn", &json);
}

static void ask(void)
{
    static const char *const names[] = {"queue.get", "queue.list_tasks", "queue.list_workers"};
    struct text json = {0};
    size_t which = draw(3);
    add(&json, "{'queue':'%s'", some_queue());
    if (which == 1 && draw(2)) add(&json, ",'payload':true,'limit':2");
    if (which == 1 && draw(2)) add(&json, ",'group':'g1'");
    add(&json, "}");
    act(names[which], &json);
    uint64_t id = some_task(0);
    if (!id) return;
    json = (struct text){0};
    add(&json, "{'queue':'a','id':'%llu','wait':%d}", (unsigned long long)id, (int)draw(2) * 100);
    act("queue.get_task", &json);
}

/* --- what nodes propose --- */

static void expire(void)
{
    struct lease_expire_item item;
    struct lease_expire_args args = {1, {&item, 0}};
    struct lease_row row;
    for (uint64_t from = 0; lease_next(life.world->rows, &life.world->arena, from, &row); from = row.id)
        if (!args.items.count || !draw(3))
            item = (struct lease_expire_item){row.id, row.generation}, args.items.count = 1;
    life.lost += args.items.count;
    apply_payload(operation_lease_expire, &args);
}

static void open_session(uint64_t node)
{
    struct lease_session_args args = {1 + node, life.world->index, 10000};
    apply_payload(operation_lease_session, &args);
    life.sessions[node] = lease_session_of(life.world->rows, 1 + node);
}

static void break_off(void)
{
    struct wait_cancel_args args = {0, draw(2) ? END_TIMEOUT : END_CLIENT_GONE};
    for (uint64_t index = life.world->index; index && !args.index; index--)
        if (life.waits[index] && draw(2)) args.index = index;
    if (!args.index) return;
    life.waits[args.index] = args.reason == END_TIMEOUT;
    apply_payload(operation_wait_cancel, &args);
    life.waits[args.index] = false;
}

static void settle(void)
{
    for (int i = 0; i < 20000; i++) {
        if (coord_wants_pulse(life.world->rows))
            apply_payload(operation_pulse, &(struct pulse_args){0});
        else if (coord_due_ms(life.world->rows) <= life.world->time_ms)
            apply_payload(operation_due, &(struct due_args){0});
        else
            return;
    }
    fail_msg("pulses or timers without end");
}

static void step(void)
{
    struct text json = {0};
    uint64_t dice = draw(100);
    const char *name;
    if (dice < 70) {
        name = command(&json, true);
        act(name, &json);
    } else if (dice < 75) {
        transaction();
    } else if (dice < 77) {
        hand_over_and_back();
    } else if (dice < 80) {
        ask();
    } else if (dice < 86) {
        expire();
    } else if (dice < 87) {
        open_session(draw(NODES));
    } else if (dice < 90) {
        break_off();
    } else if (dice < 92) {
        add(&json, "{'ttl':%d}", 500 + (int)draw(4000));
        act("lease.create", &json);
    } else if (coord_wants_pulse(life.world->rows)) {
        apply_payload(operation_pulse, &(struct pulse_args){0});
    } else {
        settle();
    }
    life.world->time_ms += draw(300);
    if (!draw(4)) settle();
    arena_reset(&life.world->arena);
}

/* Everything is worked off, whatever it was: at last there is no task, and with the queues goes the rest. */
static void end_it(void)
{
    struct key first = key_of(KEY_TASK);
    struct slice key, value;
    for (int round = 0;
         rows_seek(life.world->rows, key_slice(&first), &key, &value) && key.data[0] == KEY_TASK; round++) {
        assert_true(round < 200);
        struct text json = {0};
        expire();
        life.world->time_ms += 60 * 1000;
        settle();
        for (size_t i = 0; i < 3; i++) {
            json = (struct text){0};
            add(&json, "{'queue':'%s'}", (const char *const[]){"a", "b", "dead"}[i]);
            act("queue.purge", &json);
            settle();
        }
    }
    for (size_t i = 0; i < 3; i++) {
        struct text json = {0};
        add(&json, "{'queue':'%s','force':true}", (const char *const[]){"a", "b", "dead"}[i]);
        act("queue.delete", &json);
    }
    life.world->time_ms += 24 * 3600 * 1000;
    settle();
    for (uint64_t id = 1; id <= life.highest; id++)
        assert_true(life.tasks[id].state == UINT64_MAX || life.tasks[id].state == 0);
    static const enum key_kind kinds[] = {KEY_TASK,  KEY_TASK_AFTER,   KEY_LANE, KEY_LANE_TASK, KEY_TASK_KEY,
                                          KEY_READY, KEY_QUEUE_MINUTE, KEY_DUE,  KEY_PULSE};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct key from = key_of(kinds[i]);
        assert_false(rows_seek(life.world->rows, key_slice(&from), &key, &value) && key.data[0] == kinds[i]);
    }
}

static void live(uint64_t seed)
{
    struct text json = {0};
    uint64_t sums[] = {life.claims, life.lost, life.over};
    memset(&life, 0, sizeof life);
    life.claims = sums[0], life.lost = sums[1], life.over = sums[2];
    life.random = seed * 0x9e3779b97f4a7c15u;
    life.world = coord_world_new();
    for (size_t i = 0; i < LEASES; i++) life.leases[i] = 1;
    for (size_t i = 0; i < NODES; i++) open_session(i);
    if (draw(2)) {
        add(&json, "{'queue':'a','lease':2000,'backoff':500}");
        act("queue.put", &json);
    }
    for (int i = 0; i < STEPS; i++) step();
    end_it();
    coord_world_free(life.world);
}

/* SEEDS="FROM TO" in the environment: more of them, by hand. */
static void nothing_goes_wrong(void **state)
{
    unsigned long long from = 1, to = 60;
    (void)state;
    if (getenv("SEEDS")) sscanf(getenv("SEEDS"), "%llu %llu", &from, &to);
    for (unsigned long long seed = from; seed <= to; seed++) {
        if (getenv("SEEDS")) fprintf(stderr, "\r%llu ", seed);
        live(seed);
    }
    assert_true(life.claims > 20 * (to - from + 1) && life.lost && life.over > 20 * (to - from + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_goes_wrong)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
