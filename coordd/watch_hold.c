/* Streams that hold something: from the grant to the end of what they hold, or of them. */
#include "base/check.h"
#include "coordd/watch_internal.h"

static void add_ended(struct watches *watches, struct held *held)
{
    held->next = watches->ended;
    watches->ended = held;
}

struct held *watches_ended(struct watches *watches)
{
    struct held *ended = watches->ended;
    watches->ended = NULL;
    return ended;
}

void watches_session(struct watches *watches, uint64_t until_ms)
{
    watches->session_until_ms = until_ms;
}

/* The first event says what was granted. Everything after that revision is still to come. */
static void begin(struct watches *watches, struct call *call, struct held *held)
{
    struct event event = {.revision = call->revision,
                          .time_ms = watches->view.time_ms,
                          .path = held->request.scopes[0].path,
                          .shape = call->shape,
                          .data = call->result};
    struct buffer text = {0};
    stream_event(&event, "held", false, call->form, &text);
    struct chunk *chunk = chunk_new(buffer_slice(&text));
    buffer_free(&text);
    struct watcher *watcher = watcher_new(watches, call, &held->request);
    watcher->held = held;
    watcher->seen = watcher->told = event.revision;
    link_add(&watches->holders, &watcher->of_holders);
    if (watcher->seen < watches->view.applied) watcher_enter(watches, watcher, WATCHER_WAITING);
    pending_reply(watches->pending, call, &(struct answer){.outcome = OUTCOME_OK}, event.revision);
    send_chunk(watches, watcher, chunk, false);
    chunk_release(chunk);
}

void holds_begin(struct watches *watches)
{
    for (struct call *call = pending_granted(watches->pending), *next; call; call = next) {
        next = call->next;
        struct held *held = held_new(call);
        call->hold = NULL;
        if (!watches->stopped) {
            begin(watches, call, held);
            continue;
        }
        add_ended(watches, held);
        pending_refuse(watches->pending, call, OUTCOME_SHUTTING_DOWN, "");
    }
}

bool hold_wants(const struct watcher *watcher, const struct event *event)
{
    return !watcher->held || (!watcher->over && held_concerns(watcher->held, event));
}

void hold_seen(struct watches *watches, struct watcher *watcher, const struct event *event)
{
    if (!watcher->held || !held_ends(watcher->held, event)) return;
    watcher->over = true;
    link_remove(&watcher->of_holders);
    link_add(&watches->over, &watcher->of_holders);
}

void hold_let_go(struct watches *watches, struct watcher *watcher)
{
    if (!watcher->held) return;
    link_remove(&watcher->of_holders);
    if (watcher->over)
        held_free(watcher->held);
    else
        add_ended(watches, watcher->held);
}

static struct watcher *first_of(struct link *head)
{
    return CONTAINER_OF(head->next, struct watcher, of_holders);
}

void holds_step(struct watches *watches)
{
    while (!link_is_empty(&watches->over)) watcher_end(watches, first_of(&watches->over), NULL);
    while (!link_is_empty(&watches->holders) && watches->view.now_ms >= watches->session_until_ms) {
        struct watcher *watcher = first_of(&watches->holders);
        struct chunk *chunk =
            watch_control("lost", watches->view.applied, false,
                          "this node was cut off from the others for too long: what was held "
                          "may be another's by now",
                          watcher->form);
        watcher_end(watches, watcher, chunk);
        chunk_release(chunk);
    }
}
