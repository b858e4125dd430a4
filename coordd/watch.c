/* Streams from their opening to their end: credit, signs of life, last events. */
#include "coordd/watch_internal.h"

#include "base/check.h"
#include "base/memory.h"

enum { SLOT_MS = WATCH_HEARTBEAT_MS / WATCH_SLOTS };

struct watches *watches_new(struct pending *pending, const struct lease_clock *leases)
{
    struct watches *watches = memory_new(sizeof *watches);
    watches->pending = pending;
    watches->leases = leases;
    for (size_t i = 0; i < WATCHER_STATES; i++) link_open(&watches->states[i]);
    for (size_t i = 0; i < WATCH_SLOTS; i++) link_open(&watches->slots[i]);
    link_open(&watches->woken);
    link_open(&watches->holders);
    link_open(&watches->over);
    watches->parcels_end = &watches->parcels;
    watches->due_end = &watches->due;
    return watches;
}

static void free_watcher(struct watches *watches, struct watcher *watcher)
{
    hold_let_go(watches, watcher);
    link_remove(&watcher->of_state);
    link_remove(&watcher->of_topic);
    link_remove(&watcher->of_slot);
    watches->state_counts[watcher->state]--;
    map_remove(&watches->watchers, watcher->number);
    topics_drop(&watches->topics, watcher->topic);
    if (watcher->initial) initial_free(watcher->initial);
    free(watcher);
}

void watches_free(struct watches *watches)
{
    CHECK(watches->parked.count == 0);
    for (size_t i = 0; i < WATCHER_STATES; i++)
        while (!link_is_empty(&watches->states[i]))
            free_watcher(watches, CONTAINER_OF(watches->states[i].next, struct watcher, of_state));
    while (watches->parcels) {
        struct parcel *parcel = watches->parcels;
        watches->parcels = parcel->next;
        parcel_free(parcel);
    }
    for (struct held *held = watches_ended(watches), *next; held; held = next) {
        next = held->next;
        held_free(held);
    }
    topics_free(&watches->topics);
    map_free(&watches->watchers);
    map_free(&watches->parked);
    heap_free(&watches->deadlines);
    heap_free(&watches->revisions);
    arena_free(&watches->arena);
    free(watches);
}

void watches_see(struct watches *watches, const struct watches_view *view)
{
    watches->view = *view;
    polls_reached(watches);
    holds_begin(watches);
}

/* --- watchers --- */

void watcher_enter(struct watches *watches, struct watcher *watcher, enum watcher_state state)
{
    link_remove(&watcher->of_state);
    watches->state_counts[watcher->state]--;
    watcher->state = state;
    watches->state_counts[state]++;
    link_add(&watches->states[state], &watcher->of_state);
}

bool watcher_has_room(const struct watcher *watcher)
{
    if (watcher->unsent < WATCH_NARROW_WINDOW) return true;
    return watcher->unsent < WATCH_WINDOW && chunk_bytes_alive() < WATCH_BUDGET;
}

void watcher_end(struct watches *watches, struct watcher *watcher, struct chunk *last)
{
    send_chunk(watches, watcher, last, true);
    free_watcher(watches, watcher);
}

struct chunk *watch_control(const char *type, uint64_t revision, bool resumable, const char *detail,
                            enum stream_form form)
{
    struct buffer text = {0};
    stream_control(type, revision, resumable, slice_text(detail), form, &text);
    struct chunk *chunk = chunk_new(buffer_slice(&text));
    buffer_free(&text);
    return chunk;
}

void watcher_reset(struct watches *watches, struct watcher *watcher, uint64_t floor)
{
    struct chunk *chunk =
        watch_control("reset", floor, false,
                      "the history that was still to be sent is trimmed: read the present state "
                      "anew (initial=true) and watch on from there",
                      watcher->form);
    watches->resets++;
    watcher_end(watches, watcher, chunk);
    chunk_release(chunk);
}

static void send_bookmark(struct watches *watches, struct watcher *watcher, uint64_t revision)
{
    struct chunk **place = &watches->bookmarks[watcher->form];
    if (*place && watches->bookmarked[watcher->form] != revision) {
        chunk_release(*place);
        *place = NULL;
    }
    if (!*place) *place = watch_control("bookmark", revision, true, "", watcher->form);
    watches->bookmarked[watcher->form] = revision;
    watcher->told = revision;
    send_chunk(watches, watcher, *place, false);
}

void watcher_bookmark(struct watches *watches, struct watcher *watcher, uint64_t revision)
{
    if (watcher->told < revision && watcher->unsent < WATCH_NARROW_WINDOW)
        send_bookmark(watches, watcher, revision);
}

static bool is_alone(const struct watches *watches)
{
    const struct watches_view *view = &watches->view;
    return view->unable_since_ms && view->now_ms >= view->unable_since_ms + WATCH_ALONE_MS;
}

static void end_all(struct watches *watches, const char *why)
{
    struct chunk *ends[STREAM_FORMS];
    for (size_t i = 0; i < STREAM_FORMS; i++)
        ends[i] = watch_control("end", watches->view.applied, false, why, (enum stream_form)i);
    for (size_t i = 0; i < WATCHER_STATES; i++)
        while (!link_is_empty(&watches->states[i])) {
            struct watcher *watcher = CONTAINER_OF(watches->states[i].next, struct watcher, of_state);
            watcher_end(watches, watcher, ends[watcher->form]);
        }
    for (size_t i = 0; i < STREAM_FORMS; i++) chunk_release(ends[i]);
}

/* --- opening --- */

static void refuse(struct watches *watches, struct call *call, enum outcome outcome,
                   const struct watch_refused *facts, struct slice detail)
{
    bool shaped = facts && call->operation->refusal == &watch_refused_record;
    struct answer answer = {.outcome = outcome, .detail = detail};
    if (shaped) answer.shape = &watch_refused_record, answer.data = facts;
    pending_reply(watches->pending, call, &answer, watches->view.applied);
}

struct watcher *watcher_new(struct watches *watches, struct call *call, const struct watch_request *request)
{
    struct watcher *watcher = memory_new(sizeof *watcher);
    watcher->stream = call->stream;
    watcher->home = call->home;
    watcher->number = call->number;
    watcher->form = call->form;
    watcher->seen = call->since_given ? call->since : watches->view.applied;
    watcher->topic = topics_hold(&watches->topics, &request->scopes[0], request->types);
    link_add(&watcher->topic->watchers, &watcher->of_topic);
    if (!watches->watchers.count)
        watches->slot_ms = watches->view.now_ms + SLOT_MS; /* nobody wanted the slots until now */
    link_add(&watches->slots[watcher->number % WATCH_SLOTS], &watcher->of_slot);
    map_put(&watches->watchers, watcher->number, watcher);
    watches->state_counts[WATCHER_LIVE]++; /* as zeroed; it leaves at once when it has to catch up */
    watcher_enter(watches, watcher, WATCHER_LIVE);
    return watcher;
}

static void add(struct watches *watches, struct call *call, const struct watch_request *request)
{
    struct watcher *watcher = watcher_new(watches, call, request);
    pending_reply(watches->pending, call, &(struct answer){.outcome = OUTCOME_OK}, watcher->seen);
    if (request->initial && !call->since_given) {
        watcher->initial = initial_new(&request->scopes[0], watches->view.applied);
        watcher_enter(watches, watcher, WATCHER_INITIAL);
        return;
    }
    if (watcher->seen < watches->view.applied) watcher_enter(watches, watcher, WATCHER_WAITING);
    send_bookmark(watches, watcher, watcher->seen); /* so that the answer begins at once */
}

void watches_open(struct watches *watches, struct call *call)
{
    struct watch_request request = {0};
    uint64_t floor = events_floor(watches->view.rows), applied = watches->view.applied;
    call->operation->watch(&call->arena, call->args, &request);
    if (request.refusal.size) {
        refuse(watches, call, OUTCOME_SENSELESS, NULL, request.refusal);
    } else if (is_alone(watches)) {
        refuse(watches, call, OUTCOME_NO_LEADER, NULL, (struct slice){0});
    } else if (call->since_given && call->since > applied) {
        polls_ahead(watches, call);
    } else if (call->since_given && call->since < floor) {
        refuse(watches, call, OUTCOME_REVISION_GONE, &(struct watch_refused){floor, applied},
               SLICE("the history since that revision is trimmed: read the present state anew "
                     "(initial=true)"));
    } else {
        CHECK(request.scope_count == 1 && request.scopes[0].path.size <= EVENT_PATH_MAX);
        add(watches, call, &request);
    }
}

/* --- from the api --- */

void watches_gone(struct watches *watches, uint64_t number)
{
    struct watcher *watcher = map_get(&watches->watchers, number);
    if (watcher)
        watcher_end(watches, watcher, NULL);
    else
        polls_gone(watches, number);
}

void watches_credit(struct watches *watches, uint64_t number, uint64_t bytes)
{
    struct watcher *watcher = map_get(&watches->watchers, number);
    if (!watcher) return;
    CHECK(bytes <= watcher->unsent);
    watcher->unsent -= bytes;
    if (watcher->state != WATCHER_BLOCKED || watcher->unsent > WATCH_WINDOW / 2) return;
    if (watcher_has_room(watcher))
        watcher_enter(watches, watcher, watcher->initial ? WATCHER_INITIAL : WATCHER_WAITING);
}

/* --- along --- */

void watches_applied(struct watches *watches, struct arena *arena, uint64_t index, struct event *events)
{
    watches->view.applied = index;
    if (events && watches->topics.count) send_revision(watches, arena, events, WATCHER_LIVE, true);
}

void watches_switched(struct watches *watches)
{
    static const enum watcher_state behind[] = {WATCHER_LIVE, WATCHER_CONVOY};
    uint64_t applied = watches->view.applied;
    for (size_t i = 0; i < 2; i++) {
        struct link *head = &watches->states[behind[i]];
        while (!link_is_empty(head)) {
            struct watcher *watcher = CONTAINER_OF(head->next, struct watcher, of_state);
            uint64_t at = behind[i] == WATCHER_LIVE ? applied : watches->convoy_at;
            if (watcher->seen < at) watcher->seen = at;
            watcher_enter(watches, watcher, WATCHER_WAITING);
        }
    }
    for (size_t i = 0; i < watches->parked.capacity; i++) {
        struct parked *parked = watches->parked.slots[i].value;
        if (parked && !parked->of_woken.next) link_add(&watches->woken, &parked->of_woken);
    }
}

/* Comments in SSE, also while it is unknown what the client has. */
static void give_sign(struct watches *watches, struct watcher *watcher, struct chunk *comment)
{
    uint64_t known = watcher->state == WATCHER_LIVE ? watches->view.applied : watcher->seen;
    if (watcher->state == WATCHER_CONVOY && watches->convoy_at > known) known = watches->convoy_at;
    if (watcher->unsent >= WATCH_NARROW_WINDOW) return;
    if (watcher->form == STREAM_SSE) send_chunk(watches, watcher, comment, false);
    if (watcher->initial) return;
    if (watcher->form == STREAM_NDJSON || watcher->told < known) send_bookmark(watches, watcher, known);
}

static void give_signs(struct watches *watches)
{
    struct buffer text = {0};
    stream_heartbeat(0, STREAM_SSE, &text);
    struct chunk *comment = chunk_new(buffer_slice(&text));
    struct link *head = &watches->slots[watches->slot];
    for (struct link *link = head->next; link != head; link = link->next)
        give_sign(watches, CONTAINER_OF(link, struct watcher, of_slot), comment);
    chunk_release(comment);
    buffer_free(&text);
    watches->slot = (watches->slot + 1) % WATCH_SLOTS;
}

void watches_turn(struct watches *watches)
{
    initial_step(watches);
    catchup_step(watches);
    polls_step(watches);
    holds_step(watches);
    uint64_t now_ms = watches->view.now_ms;
    if (watches->watchers.count && is_alone(watches))
        end_all(watches,
                "this node knows of no leader: watch on at another one, since the last revision that "
                "you have");
    if (!watches->watchers.count || now_ms < watches->slot_ms) return;
    give_signs(watches);
    watches->slot_ms = watches->slot_ms + SLOT_MS > now_ms ? watches->slot_ms + SLOT_MS : now_ms + SLOT_MS;
}

void watches_post(struct watches *watches)
{
    for (size_t i = 0; i < STREAM_FORMS; i++)
        if (watches->bookmarks[i]) {
            chunk_release(watches->bookmarks[i]);
            watches->bookmarks[i] = NULL;
        }
    struct parcel *parcels = watches->parcels;
    watches->parcels = NULL;
    watches->parcels_end = &watches->parcels;
    for (struct parcel *parcel = parcels; parcel; parcel = parcel->next)
        if (parcel->chunk) parcel->chunk->parcel = NULL;
    if (parcels) mailbox_post(parcels);
}

uint64_t watches_next_ms(const struct watches *watches)
{
    bool busy = catchup_has_work(watches) || watches->state_counts[WATCHER_INITIAL] ||
                !link_is_empty(&watches->woken) || watches->due || !link_is_empty(&watches->over) ||
                watches->ended || pending_has_granted(watches->pending);
    if (busy) return 0;
    uint64_t until_ms = watches->watchers.count ? watches->slot_ms : UINT64_MAX;
    if (!link_is_empty(&watches->holders) && watches->session_until_ms < until_ms)
        until_ms = watches->session_until_ms;
    const struct timer *first = heap_first(&watches->deadlines);
    return first && first->at_ms < until_ms ? first->at_ms : until_ms;
}

void watches_stop(struct watches *watches)
{
    watches->stopped = true;
    polls_stop(watches);
    end_all(watches,
            "the node is shutting down: watch on at another one, since the last revision that you have");
}

struct watches_counts watches_counts(const struct watches *watches)
{
    return (struct watches_counts){watches->watchers.count, watches->state_counts[WATCHER_LIVE],
                                   watches->parked.count, watches->resets};
}

void watches_check(const struct watches *watches)
{
    size_t count = 0;
    for (size_t i = 0; i < WATCHER_STATES; i++) {
        size_t here = 0;
        for (const struct link *link = watches->states[i].next; link != &watches->states[i];
             link = link->next)
            here++;
        CHECK(here == watches->state_counts[i]);
        count += here;
    }
    CHECK(count == watches->watchers.count);
}
