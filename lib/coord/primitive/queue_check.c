/* The invariants of queue.h, by its numbers. All rows are gone through once or twice; what rows of one kind
 * say of others is tallied meanwhile, by the hash of what they speak of. */
#include "base/check.h"
#include "base/map.h"
#include "coord/primitive/queue_claim.h"

struct edges {
    uint64_t needs, parents, dependants;
};
struct lane_tally {
    uint64_t held, unclaimed, waiting, pulses;
};
struct queue_tally {
    uint64_t counts[TASK_STATES + 1];
    uint64_t ready, claimers, minutes, hand_outs, looks; /* hand_outs, looks: pulses */
};
struct checking {
    struct apply apply;
    struct map edges, lanes, queues, workers; /* by id; by hash */
    uint64_t tasks, highest, ready, waiting, owners, claimed, timers, results;
    uint64_t lanes_used;
};

static bool next_row(struct checking *checking, enum key_kind kind, struct key *from, struct slice *rest,
                     struct slice *value)
{
    struct slice key;
    if (!rows_seek(checking->apply.rows, key_slice(from), &key, value) || key.data[0] != kind) return false;
    *from = key_after(key);
    *rest = slice_skip(key, 1);
    return true;
}

static bool is_there(struct checking *checking, const struct key *key)
{
    struct slice value;
    return rows_get(checking->apply.rows, key_slice(key), &value);
}

static uint64_t count_rows(struct checking *checking, enum key_kind kind)
{
    struct key from = key_of(kind);
    struct slice rest, value;
    uint64_t count = 0;
    while (next_row(checking, kind, &from, &rest, &value)) count++;
    return count;
}

static void *tally(struct checking *checking, struct map *map, uint64_t number, size_t size)
{
    void *found = map_get(map, number);
    if (found) return found;
    found = arena_alloc(checking->apply.arena, size);
    map_put(map, number, found);
    return found;
}

static uint64_t hash_of(struct slice name)
{
    uint64_t hash = row_hash(name, slice_of(NULL, 0));
    return hash ? hash : 1;
}

static struct edges *edges_of(struct checking *checking, uint64_t id)
{
    return tally(checking, &checking->edges, id, sizeof(struct edges));
}

static struct queue_tally *queue_of(struct checking *checking, struct slice name)
{
    return tally(checking, &checking->queues, hash_of(name), sizeof(struct queue_tally));
}

/* `name`: queue 0 kind name. */
static struct lane_tally *lane_of(struct checking *checking, struct slice name)
{
    return tally(checking, &checking->lanes, hash_of(name), sizeof(struct lane_tally));
}

static uint64_t *worker_of(struct checking *checking, struct slice queue, struct slice worker)
{
    struct key name = queue_key_of(KEY_WORKER, queue);
    key_bytes(&name, worker);
    return tally(checking, &checking->workers, hash_of(slice_skip(key_slice(&name), 1)), sizeof(uint64_t));
}

static struct slice take_name(struct slice *rest)
{
    const uint8_t *zero = rest->size ? memchr(rest->data, 0, rest->size) : NULL;
    CHECK(zero);
    struct slice name = slice_of(rest->data, (size_t)(zero - rest->data));
    *rest = slice_skip(*rest, name.size + 1);
    return name;
}

/* --- what rows say of others --- */

static void tally_edges(struct checking *checking)
{
    struct key from = key_of(KEY_TASK_AFTER);
    struct slice rest, value;
    uint64_t parent, child;
    while (next_row(checking, KEY_TASK_AFTER, &from, &rest, &value)) {
        CHECK(take_u64be(&rest, &parent) && take_u64be(&rest, &child) && !rest.size && value.size <= 1);
        edges_of(checking, parent)->dependants++;
        edges_of(checking, child)->parents++;
        edges_of(checking, child)->needs += !value.size;
    }
}

static void tally_of_queues(struct checking *checking)
{
    static const enum key_kind kinds[] = {KEY_TASK_STATE, KEY_READY, KEY_CLAIMER, KEY_QUEUE_MINUTE};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct key from = key_of(kinds[i]);
        struct slice rest, value;
        while (next_row(checking, kinds[i], &from, &rest, &value)) {
            struct queue_tally *of = queue_of(checking, take_name(&rest));
            if (kinds[i] == KEY_TASK_STATE) {
                CHECK(rest.data[0] && rest.data[0] <= TASK_STATES);
                of->counts[rest.data[0]]++;
            }
            of->ready += kinds[i] == KEY_READY;
            of->claimers += kinds[i] == KEY_CLAIMER;
            of->minutes += kinds[i] == KEY_QUEUE_MINUTE;
        }
    }
}

static void tally_pulses(struct checking *checking)
{
    struct key from = key_of(KEY_PULSE);
    struct slice rest, value;
    while (next_row(checking, KEY_PULSE, &from, &rest, &value)) {
        if (value.data[0] != QUEUE_CODE) continue;
        struct slice of = slice_skip(value, 2);
        if (value.data[1] == WORK_HAND_OUT) queue_of(checking, of)->hand_outs++;
        if (value.data[1] == WORK_LANES) queue_of(checking, take_name(&of))->looks++;
        if (value.data[1] == WORK_LANE) lane_of(checking, of)->pulses++;
    }
}

/* --- tasks --- */

static struct key numbered(enum key_kind kind, uint64_t number)
{
    struct key key = key_of(kind);
    key_number(&key, number);
    return key;
}

static void check_due(struct checking *checking, uint64_t due_ms, enum queue_work work, struct slice rest)
{
    struct slice what = queue_work_what(&checking->apply, work, rest);
    struct key key = numbered(KEY_DUE, due_ms);
    key_byte(&key, QUEUE_CODE);
    key_bytes(&key, what);
    CHECK(!due_ms || is_there(checking, &key));
}

static void check_rows(struct checking *checking, const struct task *task)
{
    struct key state = task_state_key(task), body = numbered(KEY_TASK_BODY, task->id),
               result = numbered(KEY_TASK_RESULT, task->id);
    CHECK(is_there(checking, &state) && is_there(checking, &body));
    bool has_result = is_there(checking, &result);
    CHECK(!has_result || task->state == TASK_DONE);
    checking->results += has_result;
    if (!task->owns_key) return;
    struct key key = queue_key_of(KEY_TASK_KEY, task->queue);
    key_bytes(&key, task->key);
    CHECK(!task_is_over(task->state) && rows_number(checking->apply.rows, key_slice(&key)) == task->id);
    checking->owners++;
}

/* 2, 4 */
static void check_lane(struct checking *checking, const struct task *task, enum lane_kind kind)
{
    bool group = kind == LANE_GROUP, holds = group ? task->holds_group : task->holds_key;
    struct slice name = group ? task->group : task->key;
    bool waits = task->stage == (group ? STAGE_GROUP : STAGE_KEY);
    if (!holds && !waits) return;
    CHECK(holds != waits && name.size && !task_is_over(task->state));
    struct key lane = queue_key_of(KEY_LANE, task->queue), waiting = queue_key_of(KEY_LANE_TASK, task->queue);
    key_byte(&lane, (uint8_t)kind);
    key_bytes(&lane, name);
    key_byte(&waiting, (uint8_t)kind);
    key_name(&waiting, name);
    key_number(&waiting, task->id);
    struct lane_tally *of = lane_of(checking, slice_skip(key_slice(&lane), 1));
    checking->lanes_used += !of->held && !of->waiting;
    of->held += holds;
    of->unclaimed += holds && task->state == TASK_READY;
    of->waiting += waits;
    CHECK(!waits || is_there(checking, &waiting));
    checking->waiting += waits;
}

static void check_place(struct checking *checking, const struct task *task)
{
    CHECK((task->state == TASK_READY) == (task->stage != STAGE_NONE));
    if (task->stage == STAGE_READY) {
        struct key ready = task_ready_key(task);
        CHECK(is_there(checking, &ready));
        checking->ready++;
    }
    check_lane(checking, task, LANE_GROUP);
    check_lane(checking, task, LANE_KEY);
}

/* 3 */
static void check_claim(struct checking *checking, const struct task *task)
{
    CHECK((task->state == TASK_CLAIMED) == (task->lease != 0));
    if (task->state != TASK_CLAIMED) return;
    struct key lease = numbered(KEY_LEASE, task->lease), attachment = numbered(KEY_ATTACHMENT, task->lease);
    key_byte(&attachment, QUEUE_CODE);
    key_number(&attachment, task->id);
    CHECK(task->token && task->attempts);
    CHECK(is_there(checking, &lease) && is_there(checking, &attachment));
    if (task->worker.size) ++*worker_of(checking, task->queue, task->worker);
    checking->claimed++;
}

/* 5. A pulse lets the parents of a task that is over go by and by. */
static void check_edges(struct checking *checking, const struct task *task)
{
    static const struct edges none;
    const struct edges *edges = map_get(&checking->edges, task->id);
    if (!edges) edges = &none;
    CHECK(task->dependants == edges->dependants);
    CHECK(task_is_over(task->state) ? edges->parents <= task->parents : edges->parents == task->parents);
    if (!task_is_over(task->state)) CHECK(task->needs == edges->needs);
    CHECK(task->state != TASK_BLOCKED || task->needs);
}

static void check_tasks(struct checking *checking)
{
    struct key from = key_of(KEY_TASK);
    struct slice rest, value;
    uint64_t id;
    for (; next_row(checking, KEY_TASK, &from, &rest, &value); checking->tasks++) {
        struct task task;
        CHECK(take_u64be(&rest, &id) && !rest.size && task_get(&checking->apply, id, &task));
        CHECK(task.id == id && task.state && task.state <= TASK_STATES && task.queue.size);
        check_rows(checking, &task);
        check_place(checking, &task);
        check_claim(checking, &task);
        check_edges(checking, &task);
        CHECK(!task.due_ms || !task_is_over(task.state)); /* 6 */
        CHECK(task.due_ms || task.state != TASK_SCHEDULED);
        check_due(checking, task.due_ms, WORK_TASK, task_what(&checking->apply, id));
        checking->timers += task.due_ms != 0;
        checking->highest = id;
    }
}

/* There are no more than those that were looked for. */
static void check_strays(struct checking *checking)
{
    struct key last = key_of(KEY_TASK_ID), from;
    struct slice rest, value;
    uint64_t timers = 0, attached = 0;
    CHECK(checking->highest <= rows_number(checking->apply.rows, key_slice(&last)));
    CHECK(count_rows(checking, KEY_TASK_BODY) == checking->tasks);
    CHECK(count_rows(checking, KEY_TASK_STATE) == checking->tasks);
    CHECK(count_rows(checking, KEY_TASK_RESULT) == checking->results);
    CHECK(count_rows(checking, KEY_READY) == checking->ready);
    CHECK(count_rows(checking, KEY_LANE_TASK) == checking->waiting);
    CHECK(count_rows(checking, KEY_TASK_KEY) == checking->owners);
    for (from = key_of(KEY_DUE); next_row(checking, KEY_DUE, &from, &rest, &value);)
        timers += rest.size > 9 && rest.data[8] == QUEUE_CODE && rest.data[9] == WORK_TASK;
    CHECK(timers == checking->timers);
    for (from = key_of(KEY_ATTACHMENT); next_row(checking, KEY_ATTACHMENT, &from, &rest, &value);)
        attached += rest.data[8] == QUEUE_CODE && rest.size == 17;
    CHECK(attached == checking->claimed);
}

/* --- queues --- */

/* 7 */
static void check_waits(const struct queue *queue, const struct queue_tally *of)
{
    const struct queue_row *row = &queue->row;
    uint64_t most = queue->config.concurrency;
    bool open = !row->paused && (!most || row->counts[TASK_CLAIMED] < most);
    if (of->claimers && of->ready && open) CHECK(row->pulse || row->rate_due_ms);
}

static void check_queue(struct checking *checking, struct slice name)
{
    struct queue queue;
    uint64_t over = 0;
    struct queue_tally *of = queue_of(checking, name);
    queue_load(&queue, &checking->apply, name);
    const struct queue_row *row = &queue.row;
    for (size_t state = 1; state <= TASK_STATES; state++) { /* 1 */
        CHECK(row->counts[state] == of->counts[state]);
        if (task_is_over(state)) over += of->counts[state];
    }
    CHECK(row->claimers == of->claimers);
    CHECK(!row->pulse || of->hand_outs);
    CHECK(queue.exists ||
          (!queue_live(row) && !over && !row->claimers && !row->sweep_due_ms && !row->rate_due_ms));
    CHECK(row->sweep_due_ms || (!over && !of->minutes));
    check_due(checking, row->sweep_due_ms, WORK_SWEEP, name);
    check_due(checking, row->rate_due_ms, WORK_RATE, name);
    check_waits(&queue, of);
    memset(of, 0, sizeof *of);
}

static void check_queues(struct checking *checking)
{
    struct key from = key_of(KEY_QUEUE);
    struct slice name, value;
    uint64_t count = 0, left = 0;
    for (; next_row(checking, KEY_QUEUE, &from, &name, &value); count++)
        check_queue(checking, arena_copy(checking->apply.arena, name));
    queue_check_kept(checking->apply.rows, checking->apply.arena, count);
    for (size_t i = 0; i < checking->queues.capacity; i++) {
        const struct queue_tally *of = checking->queues.slots[i].value;
        if (!checking->queues.slots[i].key) continue;
        for (size_t state = 1; state <= TASK_STATES; state++) left += of->counts[state];
        left += of->ready + of->claimers + of->minutes;
    }
    CHECK(!left);
}

/* --- lanes, workers --- */

/* Those whose turn to be looked at under new settings is still to come may have room. */
static void check_room(struct checking *checking, const struct queue *queue, struct slice kind,
                       const struct lane *lane)
{
    const struct queue_config *config = &queue->config;
    bool group = kind.data[0] == LANE_GROUP;
    uint64_t most = group ? config->group_concurrency : config->key_concurrency;
    uint64_t rate = group ? config->group_rate : config->key_rate;
    bool full = (most && lane->held >= most) || (rate && lane->unclaimed >= config->rate_burst);
    if (lane->waiting && !full && !queue_of(checking, queue->name)->looks) CHECK(lane->pulse || lane->due_ms);
}

static void check_lanes(struct checking *checking)
{
    struct key from = key_of(KEY_LANE);
    struct slice rest, value;
    uint64_t used = 0;
    while (next_row(checking, KEY_LANE, &from, &rest, &value)) {
        struct queue queue;
        struct lane lane;
        struct key key = key_of(KEY_LANE);
        key_bytes(&key, rest);
        rest = slice_skip(key_slice(&key), 1);
        CHECK(row_get(&checking->apply, key_slice(&key), &lane_record, &lane));
        struct lane_tally *of = lane_of(checking, rest);
        CHECK(lane.held == of->held && lane.unclaimed == of->unclaimed && lane.waiting == of->waiting);
        CHECK(!lane.pulse || of->pulses);
        CHECK(lane.held || lane.waiting || lane.pulse || lane.due_ms);
        check_due(checking, lane.due_ms, WORK_LANE, rest);
        used += lane.held || lane.waiting;
        queue_load(&queue, &checking->apply, take_name(&rest));
        check_room(checking, &queue, rest, &lane);
    }
    CHECK(used == checking->lanes_used);
}

static void check_workers(struct checking *checking)
{
    struct key from = key_of(KEY_WORKER);
    struct slice rest, value;
    uint64_t count = 0, claimed = 0, named = 0;
    for (; next_row(checking, KEY_WORKER, &from, &rest, &value); count++) {
        struct worker_row row;
        struct slice worker = rest, queue = take_name(&worker);
        worker_load(&checking->apply, queue, worker, &row);
        CHECK(row.claimed == *worker_of(checking, queue, worker));
        claimed += row.claimed;
    }
    for (size_t i = 0; i < checking->workers.capacity; i++)
        if (checking->workers.slots[i].key) named += *(const uint64_t *)checking->workers.slots[i].value;
    CHECK(claimed == named);
    object_check_kept(checking->apply.rows, checking->apply.arena, &queue_workers_kept, count);
}

void queue_check(struct rows *rows, struct arena *arena)
{
    struct checking checking = {.apply = {.rows = rows, .arena = arena}};
    tally_edges(&checking);
    tally_of_queues(&checking);
    tally_pulses(&checking);
    check_tasks(&checking);
    check_strays(&checking);
    check_lanes(&checking);
    check_workers(&checking);
    check_queues(&checking);
    map_free(&checking.edges);
    map_free(&checking.lanes);
    map_free(&checking.queues);
    map_free(&checking.workers);
}
