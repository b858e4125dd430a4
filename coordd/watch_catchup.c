/* Watchers that are behind catch up together: one convoy goes through the history and each row is read once
 * for all who need it. A watcher joins when it has what lies before the convoy; at the end of the history all
 * who are left in it become live, in the same step, so nothing falls in between. */
#include "base/check.h"
#include "coordd/watch_internal.h"

enum { ROWS_PER_TURN = 256, BYTES_PER_TURN = 1024 * 1024 };

static struct watcher *watcher_of(struct link *link)
{
    return CONTAINER_OF(link, struct watcher, of_state);
}

bool catchup_has_work(const struct watches *watches)
{
    return watches->state_counts[WATCHER_WAITING] || watches->state_counts[WATCHER_CONVOY];
}

static void begin(struct watches *watches)
{
    struct link *head = &watches->states[WATCHER_WAITING];
    watches->convoy_at = UINT64_MAX;
    for (struct link *link = head->next; link != head; link = link->next)
        if (watcher_of(link)->seen < watches->convoy_at) watches->convoy_at = watcher_of(link)->seen;
}

static void join(struct watches *watches)
{
    struct link *head = &watches->states[WATCHER_WAITING];
    for (struct link *link = head->next, *next; link != head; link = next) {
        next = link->next;
        struct watcher *watcher = watcher_of(link);
        if (watcher->seen >= watches->convoy_at) watcher_enter(watches, watcher, WATCHER_CONVOY);
    }
}

/* The history was trimmed past some of them. */
static void drop_overtaken(struct watches *watches)
{
    struct link *head = &watches->states[WATCHER_CONVOY];
    uint64_t floor = events_floor(watches->view.rows);
    if (watches->convoy_at >= floor) return;
    for (struct link *link = head->next, *next; link != head; link = next) {
        next = link->next;
        if (watcher_of(link)->seen < floor) watcher_reset(watches, watcher_of(link), floor);
    }
    watches->convoy_at = floor;
}

static void arrive(struct watches *watches)
{
    struct link *head = &watches->states[WATCHER_CONVOY];
    for (struct link *link = head->next, *next; link != head; link = next) {
        next = link->next;
        struct watcher *watcher = watcher_of(link);
        watcher_enter(watches, watcher, WATCHER_LIVE);
        watcher_bookmark(watches, watcher, watches->view.applied);
    }
    watches->convoy_at = watches->view.applied;
}

static size_t size_of(const struct event *events)
{
    size_t size = 0;
    for (; events; events = events->next) size += events->path.size + events->extra_bytes + 100;
    return size;
}

void catchup_step(struct watches *watches)
{
    if (!catchup_has_work(watches)) return;
    if (!watches->state_counts[WATCHER_CONVOY]) begin(watches);
    join(watches);
    drop_overtaken(watches);
    uint64_t made = chunk_bytes_alive();
    size_t read = 0;
    for (size_t rows = 0; rows < ROWS_PER_TURN && read < BYTES_PER_TURN; rows++) {
        if (!watches->state_counts[WATCHER_CONVOY]) return;
        struct event *events = events_next(watches->view.rows, &watches->arena, watches->convoy_at);
        if (!events) {
            arrive(watches);
            return;
        }
        send_revision(watches, &watches->arena, events, WATCHER_CONVOY, false);
        watches->convoy_at = events->revision;
        read += size_of(events);
        uint64_t alive = chunk_bytes_alive();
        if (alive > made) read += alive - made; /* values that the rows hold elsewhere */
        made = alive;
        arena_reset(&watches->arena);
    }
}
