/* The figures of workers, by queue. A worker without a name has none. */
#include "coord/primitive/queue_claim.h"

static struct key worker_name(struct slice queue, struct slice worker)
{
    struct key name = {.size = 0};
    key_name(&name, queue);
    key_bytes(&name, worker);
    return name;
}

static struct key worker_key(const struct key *name)
{
    struct key key = key_of(KEY_WORKER);
    key_bytes(&key, key_slice(name));
    return key;
}

#define ROW(member) .offset = offsetof(struct worker_row, member), .name = #member
static const struct field row_fields[] = {
    {.number = 1, .type = FIELD_UINT, ROW(claimed)}, {.number = 2, .type = FIELD_UINT, ROW(attempts)},
    {.number = 3, .type = FIELD_UINT, ROW(done)},    {.number = 4, .type = FIELD_UINT, ROW(failed)},
    {.number = 5, .type = FIELD_UINT, ROW(lost)},    {.number = 6, .type = FIELD_UINT, ROW(released)},
    {.number = 7, .type = FIELD_UINT, ROW(run_ms)},  {.number = 8, .type = FIELD_UINT, ROW(last_ms)},
};
static const struct record row_record = RECORD("worker_row", worker_row, row_fields);

static bool is_idle(struct apply *apply, struct slice name)
{
    struct key key = key_of(KEY_WORKER);
    struct worker_row row;
    key_bytes(&key, name);
    return row_get(apply, key_slice(&key), &row_record, &row) && !row.claimed;
}

const struct object_kind queue_workers_kept = {KEY_WORKER, KEY_WORKER_KEPT, QUEUE_WORKERS_MAX, is_idle};

void worker_load(struct apply *apply, struct slice queue, struct slice worker, struct worker_row *row)
{
    struct key name = worker_name(queue, worker), key = worker_key(&name);
    *row = (struct worker_row){0};
    if (worker.size) row_get(apply, key_slice(&key), &row_record, row);
}

void worker_save(struct apply *apply, struct slice queue, struct slice worker, const struct worker_row *row)
{
    struct key name = worker_name(queue, worker), key = worker_key(&name);
    struct slice before;
    if (!worker.size) return;
    bool existed = rows_get(apply->rows, key_slice(&key), &before);
    row_put(apply, key_slice(&key), &row_record, row);
    if (!existed)
        object_keep(apply, &queue_workers_kept, key_slice(&name));
    else if (!row->claimed)
        object_forget_surplus(apply, &queue_workers_kept);
}
