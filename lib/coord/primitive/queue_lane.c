/* Lanes: a group, or the tasks of one key, with at most so many slots and so many tasks in a span of time.
 *
 * A task that becomes ready takes a slot of its group, then one of its key; then it may be handed out. It
 * keeps them until its claim is over, so the slots are taken in one order and nobody waits in a circle. A
 * lane is charged for its rate when a task passes, and at most a burst of tasks stands passed and not
 * claimed.
 *
 * Invariants: 1. while tasks wait in a lane none can pass, unless a pulse of the lane is wanted or its timer
 * is set.
 * 2. a lane without tasks, pulse and timer has no row. */
#include "base/check.h"
#include "base/mutant.h"
#include "coord/primitive/queue.h"

enum { PASSES_MAX = 64 /* tasks through a lane in one go; more go by pulse */, LANES_MAX = 64 };

#define LANE(member) .offset = offsetof(struct lane, member), .name = #member
static const struct field lane_fields[] = {
    {.number = 1, .type = FIELD_UINT, LANE(held)},    {.number = 2, .type = FIELD_UINT, LANE(unclaimed)},
    {.number = 3, .type = FIELD_UINT, LANE(waiting)}, {.number = 4, .type = FIELD_UINT, LANE(rate_us)},
    {.number = 5, .type = FIELD_UINT, LANE(due_ms)},  {.number = 6, .type = FIELD_BOOL, LANE(pulse)},
};
const struct record lane_record = RECORD("lane_row", lane, lane_fields);

/* --- rates: the generic cell rate algorithm (ITU-T I.371), in us --- */

static uint64_t interval_us(uint64_t rate, const struct queue_config *config)
{
    return config->rate_per_ms * 1000 / rate;
}

static uint64_t slack_us(uint64_t rate, const struct queue_config *config)
{
    return (config->rate_burst - 1) * interval_us(rate, config);
}

/* More than a burst ahead: charged under an earlier, lower rate. It does not count under this one. */
static bool is_of_earlier_rate(uint64_t rate, const struct queue_config *config, uint64_t rate_us,
                               uint64_t now_ms)
{
    return rate_us > now_ms * 1000 + slack_us(rate, config) + interval_us(rate, config);
}

bool rate_allows(uint64_t rate, const struct queue_config *config, uint64_t rate_us, uint64_t now_ms,
                 uint64_t *at_ms)
{
    if (!rate || is_of_earlier_rate(rate, config, rate_us, now_ms)) return true;
    if (rate_us <= now_ms * 1000 + slack_us(rate, config)) return true;
    *at_ms = (rate_us - slack_us(rate, config) + 999) / 1000;
    return false;
}

uint64_t rate_taken(uint64_t rate, const struct queue_config *config, uint64_t rate_us, uint64_t now_ms)
{
    if (!rate) return rate_us;
    if (rate_us < now_ms * 1000 || is_of_earlier_rate(rate, config, rate_us, now_ms)) rate_us = now_ms * 1000;
    return rate_us + interval_us(rate, config);
}

/* --- a lane in hand --- */

struct lane_hand {
    struct queue *queue;
    struct lane row;
    enum lane_kind kind;
    struct slice name;
    uint64_t concurrency, rate;
};

static struct key lane_key(struct slice queue, enum lane_kind kind, struct slice name)
{
    struct key key = queue_key_of(KEY_LANE, queue);
    key_byte(&key, (uint8_t)kind);
    key_bytes(&key, name);
    return key;
}

static struct key waiting_key(struct slice queue, enum lane_kind kind, struct slice name)
{
    struct key key = queue_key_of(KEY_LANE_TASK, queue);
    key_byte(&key, (uint8_t)kind);
    key_name(&key, name);
    return key;
}

static struct slice lane_what(struct lane_hand *lane)
{
    struct apply *apply = lane->queue->apply;
    struct key key = lane_key(lane->queue->name, lane->kind, lane->name);
    return queue_work_what(apply, WORK_LANE, slice_skip(key_slice(&key), 1));
}

static struct lane_hand take(struct queue *queue, enum lane_kind kind, struct slice name)
{
    const struct queue_config *config = &queue->config;
    bool group = kind == LANE_GROUP;
    struct lane_hand lane = {.queue = queue,
                             .kind = kind,
                             .name = name,
                             .concurrency = group ? config->group_concurrency : config->key_concurrency,
                             .rate = group ? config->group_rate : config->key_rate};
    struct key key = lane_key(queue->name, kind, name);
    row_get(queue->apply, key_slice(&key), &lane_record, &lane.row);
    return lane;
}

static bool limited(const struct queue *queue, enum lane_kind kind, struct slice name)
{
    const struct queue_config *config = &queue->config;
    if (!name.size) return false;
    return kind == LANE_GROUP ? config->group_concurrency || config->group_rate
                              : config->key_concurrency || config->key_rate;
}

/* May another pass? When it is the rate that says no, *at_ms is when to look again. */
static bool may_pass(const struct lane_hand *lane, uint64_t *at_ms)
{
    *at_ms = 0;
    if (lane->concurrency && lane->row.held >= lane->concurrency) return false;
    if (!lane->rate) return true;
    return lane->row.unclaimed < lane->queue->config.rate_burst &&
           rate_allows(lane->rate, &lane->queue->config, lane->row.rate_us, lane->queue->apply->time_ms,
                       at_ms);
}

static void pass(struct lane_hand *lane)
{
    lane->row.held++;
    lane->row.unclaimed++;
    lane->row.rate_us =
        rate_taken(lane->rate, &lane->queue->config, lane->row.rate_us, lane->queue->apply->time_ms);
}

static void hold(const struct lane_hand *lane, struct task *task)
{
    if (lane->kind == LANE_GROUP)
        task->holds_group = true;
    else
        task->holds_key = true;
}

static void set_timer(struct lane_hand *lane, uint64_t at_ms)
{
    if (lane->row.due_ms == at_ms) return;
    struct apply *apply = lane->queue->apply;
    if (lane->row.due_ms) due_clear(apply, lane->row.due_ms, QUEUE_CODE, lane_what(lane));
    if (at_ms) due_set(apply, at_ms, QUEUE_CODE, lane_what(lane));
    lane->row.due_ms = at_ms;
}

/* Looks after the pulse, the timer and the row itself. */
static void put(struct lane_hand *lane)
{
    struct apply *apply = lane->queue->apply;
    struct lane *row = &lane->row;
    struct key key = lane_key(lane->queue->name, lane->kind, lane->name);
    uint64_t at_ms, charged_ms = (row->rate_us + 999) / 1000;
    if (row->waiting && may_pass(lane, &at_ms)) {
        if (!row->pulse) pulse_want(apply, QUEUE_CODE, lane_what(lane));
        row->pulse = true;
        at_ms = 0;
    } else if (!row->waiting) {
        bool alone = !row->held && !row->pulse && charged_ms > apply->time_ms;
        at_ms = alone ? charged_ms : 0;
    }
    set_timer(lane, at_ms);
    if (row->held || row->waiting || row->pulse || row->due_ms)
        row_put(apply, key_slice(&key), &lane_record, row);
    else
        rows_delete(apply->rows, key_slice(&key));
}

/* --- tasks on their way --- */

/* True: it has the slot, or needs none. False: it waits. */
static bool enter(struct queue *queue, struct task *task, enum lane_kind kind)
{
    struct slice name = kind == LANE_GROUP ? task->group : task->key;
    bool holds = kind == LANE_GROUP ? task->holds_group : task->holds_key;
    uint64_t at_ms;
    if (!holds && !limited(queue, kind, name)) return true;
    struct lane_hand lane = take(queue, kind, name);
    if (holds) {
        lane.row.unclaimed++;
    } else if (!lane.row.waiting && may_pass(&lane, &at_ms)) {
        pass(&lane);
        hold(&lane, task);
        holds = true;
    } else {
        struct key key = waiting_key(queue->name, kind, name);
        key_number(&key, task->id);
        rows_put(queue->apply->rows, key_slice(&key), slice_of(NULL, 0));
        lane.row.waiting++;
        task->stage = kind == LANE_GROUP ? STAGE_GROUP : STAGE_KEY;
    }
    put(&lane);
    return holds;
}

static void go_on_from_group(struct queue *queue, struct task *task)
{
    if (!enter(queue, task, LANE_KEY)) return;
    struct key key = task_ready_key(task);
    rows_put(queue->apply->rows, key_slice(&key), slice_of(NULL, 0));
    task->stage = STAGE_READY;
}

void lane_enter(struct queue *queue, struct task *task)
{
    if (enter(queue, task, LANE_GROUP)) go_on_from_group(queue, task);
}

static bool first_waiting(struct lane_hand *lane, uint64_t *id)
{
    struct key prefix = waiting_key(lane->queue->name, lane->kind, lane->name), from = prefix;
    bool found = lane->row.waiting && queue_next_id(lane->queue->apply, key_slice(&prefix), &from, id);
    if (MUTANT(93) && found) queue_next_id(lane->queue->apply, key_slice(&prefix), &from, id);
    return found;
}

static void stop_waiting(struct lane_hand *lane, uint64_t id)
{
    struct key key = waiting_key(lane->queue->name, lane->kind, lane->name);
    key_number(&key, id);
    CHECK(rows_delete(lane->queue->apply->rows, key_slice(&key)));
    lane->row.waiting--;
}

/* Lets through whom the lane has room for. The tasks that pass are not in anybody's hand: they waited. */
static void advance(struct lane_hand *lane)
{
    struct queue *queue = lane->queue;
    uint64_t at_ms, passed[PASSES_MAX];
    struct task task;
    size_t count = 0;
    while (count < PASSES_MAX && may_pass(lane, &at_ms) && first_waiting(lane, &passed[count])) {
        stop_waiting(lane, passed[count++]);
        pass(lane);
    }
    put(lane);
    for (size_t i = 0; i < count; i++) {
        CHECK(task_get(queue->apply, passed[i], &task));
        hold(lane, &task);
        if (lane->kind == LANE_GROUP)
            go_on_from_group(queue, &task);
        else {
            struct key key = task_ready_key(&task);
            rows_put(queue->apply->rows, key_slice(&key), slice_of(NULL, 0));
            task.stage = STAGE_READY;
        }
        task_put(queue->apply, &task);
        queue->changed = true;
    }
}

void lane_look(struct queue *queue, enum lane_kind kind, struct slice name)
{
    struct lane_hand lane = take(queue, kind, name);
    advance(&lane);
}

/* One of those that passed and are not claimed has left the state ready. */
static void leave_unclaimed(struct queue *queue, enum lane_kind kind, struct slice name)
{
    struct lane_hand lane = take(queue, kind, name);
    CHECK(lane.row.unclaimed);
    lane.row.unclaimed--;
    put(&lane);
}

void lane_leave(struct queue *queue, struct task *task)
{
    if (task->stage == STAGE_READY) {
        struct key key = task_ready_key(task);
        CHECK(rows_delete(queue->apply->rows, key_slice(&key)));
    } else {
        bool group = task->stage == STAGE_GROUP;
        struct lane_hand lane = take(queue, group ? LANE_GROUP : LANE_KEY, group ? task->group : task->key);
        stop_waiting(&lane, task->id);
        put(&lane);
    }
    task->stage = STAGE_NONE;
    if (task->holds_group) leave_unclaimed(queue, LANE_GROUP, task->group);
    if (task->holds_key) leave_unclaimed(queue, LANE_KEY, task->key);
}

void lane_claimed(struct queue *queue, struct task *task)
{
    if (task->holds_group && queue->config.group_rate) lane_look(queue, LANE_GROUP, task->group);
    if (task->holds_key && queue->config.key_rate) lane_look(queue, LANE_KEY, task->key);
}

static void give_back(struct queue *queue, enum lane_kind kind, struct slice name)
{
    struct lane_hand lane = take(queue, kind, name);
    CHECK(lane.row.held);
    lane.row.held -= !(MUTANT(82) && kind == LANE_GROUP) && !(MUTANT(84) && kind == LANE_KEY);
    advance(&lane);
}

void lane_give_back(struct queue *queue, struct task *task, bool keep_group)
{
    if (task->holds_key) {
        task->holds_key = false;
        give_back(queue, LANE_KEY, task->key);
    }
    if (task->holds_group && !keep_group) {
        task->holds_group = false;
        give_back(queue, LANE_GROUP, task->group);
    }
}

/* --- timers, pulses --- */

/* Of `rest`: queue 0 kind name. */
static bool parse(struct slice rest, struct slice *queue, enum lane_kind *kind, struct slice *name)
{
    char letter;
    if (!object_parse_what(rest, queue, &letter, name)) return false;
    *kind = letter == LANE_GROUP ? LANE_GROUP : LANE_KEY;
    return true;
}

void lane_work(struct apply *apply, struct slice rest, bool pulse)
{
    struct queue queue;
    struct slice name, lane_name;
    enum lane_kind kind;
    CHECK(parse(rest, &name, &kind, &lane_name));
    queue_load(&queue, apply, name);
    struct lane_hand lane = take(&queue, kind, lane_name);
    if (pulse)
        lane.row.pulse = false;
    else
        lane.row.due_ms = 0;
    advance(&lane);
    queue_hand_out(&queue);
    queue_save(&queue);
}

void queue_look_at_lanes(struct queue *queue, struct slice after)
{
    struct apply *apply = queue->apply;
    struct key prefix = queue_key_of(KEY_LANE, queue->name), from = prefix;
    struct slice key, value, name;
    key_bytes(&from, after);
    if (after.size) key_byte(&from, 0);
    for (int looked = 0;
         rows_seek(apply->rows, key_slice(&from), &key, &value) && slice_starts_with(key, key_slice(&prefix));
         looked++) {
        if (looked == LANES_MAX) {
            struct slice rest = slice_of(from.bytes + 1, from.size - 2); /* without the zero that goes on */
            pulse_want(apply, QUEUE_CODE, queue_work_what(apply, WORK_LANES, rest));
            return;
        }
        from = key_after(key);
        name = arena_copy(apply->arena, slice_skip(key, prefix.size));
        lane_look(queue, name.data[0] == LANE_GROUP ? LANE_GROUP : LANE_KEY, slice_skip(name, 1));
    }
}

void lanes_pulse(struct apply *apply, struct slice rest)
{
    struct queue queue;
    const uint8_t *zero = memchr(rest.data, 0, rest.size);
    CHECK(zero);
    struct slice name = slice_of(rest.data, (size_t)(zero - rest.data));
    queue_load(&queue, apply, name);
    queue_look_at_lanes(&queue, slice_skip(rest, name.size + 1));
    queue_hand_out(&queue);
    queue_save(&queue);
}
