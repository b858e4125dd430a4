/* Events to watchers: what they look like is made once, for the first who gets it. */
#include "base/check.h"
#include "base/memory.h"
#include "coordd/watch_internal.h"

void send_chunk(struct watches *watches, struct watcher *watcher, struct chunk *chunk, bool last)
{
    /* A parcel that is under way may take another stream along, unless a later one already goes to that
     * stream: parcels arrive in order. */
    struct parcel *parcel = chunk && !last ? chunk->parcel : NULL;
    if (!parcel || parcel->home != watcher->home || parcel->sequence < watcher->sequence) {
        parcel = parcel_new(watcher->home, chunk, last);
        parcel->sequence = ++watches->sequence;
        *watches->parcels_end = parcel;
        watches->parcels_end = &parcel->next;
        if (chunk && !last) chunk->parcel = parcel;
    }
    parcel_add(parcel, watcher->stream);
    watcher->sequence = parcel->sequence;
    if (chunk) watcher->unsent += chunk->size;
}

/* --- one revision --- */

struct shown {
    struct event *event;
    struct topic **topics;
    size_t topic_count;
    struct chunk *chunks[STREAM_FORMS][2]; /* by form, and whether there is more */
};

struct sending {
    struct watches *watches;
    struct arena *arena;
    struct event *events;
    struct shown *shown;
    size_t count;
    enum watcher_state whom;
    bool complete;
};

static void look_up(struct sending *sending)
{
    for (struct event *event = sending->events; event; event = event->next) sending->count++;
    sending->shown = arena_alloc(sending->arena, sending->count * sizeof *sending->shown);
    size_t at = 0;
    for (struct event *event = sending->events; event; event = event->next, at++) {
        struct shown *shown = &sending->shown[at];
        shown->event = event;
        shown->topics =
            topics_of(&sending->watches->topics, event->path, sending->arena, &shown->topic_count);
    }
}

static struct watcher *watcher_of(struct link *link)
{
    return CONTAINER_OF(link, struct watcher, of_topic);
}

static bool concerns(const struct sending *sending, const struct watcher *watcher, uint64_t revision)
{
    return watcher->state == sending->whom && (sending->whom == WATCHER_LIVE || watcher->seen < revision);
}

static void mark_last(const struct sending *sending, size_t at)
{
    const struct shown *shown = &sending->shown[at];
    uint64_t revision = shown->event->revision;
    for (size_t i = 0; i < shown->topic_count; i++) {
        if (!topic_wants(shown->topics[i], shown->event->kind->name)) continue;
        struct link *head = &shown->topics[i]->watchers;
        for (struct link *link = head->next; link != head; link = link->next) {
            struct watcher *watcher = watcher_of(link);
            if (!concerns(sending, watcher, revision) || !hold_wants(watcher, shown->event)) continue;
            watcher->matched_revision = revision;
            watcher->matched_last = at;
        }
    }
}

static struct chunk *chunk_of(struct sending *sending, struct shown *shown, enum stream_form form, bool more)
{
    struct chunk **place = &shown->chunks[form][more];
    if (*place) return *place;
    if (sending->complete) {
        events_complete(sending->watches->view.rows, sending->arena, sending->events);
        sending->complete = false;
    }
    struct buffer text = {0};
    stream_event(shown->event, shown->event->kind->name, more, form, &text);
    *place = chunk_new(buffer_slice(&text));
    buffer_free(&text);
    return *place;
}

/* Whole revisions: who has no room for the first event of one gets none of it now. */
static void send_to(struct sending *sending, struct watcher *watcher, size_t at)
{
    struct shown *shown = &sending->shown[at];
    uint64_t revision = shown->event->revision;
    if (watcher->sent_revision != revision && !watcher_has_room(watcher)) {
        watcher->seen = revision - 1;
        watcher_enter(sending->watches, watcher, WATCHER_BLOCKED);
        return;
    }
    bool more = sending->count > 1 && watcher->matched_last != at;
    watcher->sent_revision = revision;
    if (!more) watcher->told = revision;
    send_chunk(sending->watches, watcher, chunk_of(sending, shown, watcher->form, more), false);
    hold_seen(sending->watches, watcher, shown->event);
}

static void send_one(struct sending *sending, size_t at)
{
    struct shown *shown = &sending->shown[at];
    for (size_t i = 0; i < shown->topic_count; i++) {
        struct topic *topic = shown->topics[i];
        if (sending->whom == WATCHER_LIVE) polls_wake(sending->watches, topic);
        if (!topic_wants(topic, shown->event->kind->name)) continue;
        for (struct link *link = topic->watchers.next; link != &topic->watchers; link = link->next) {
            struct watcher *watcher = watcher_of(link);
            if (concerns(sending, watcher, shown->event->revision) && hold_wants(watcher, shown->event))
                send_to(sending, watcher, at);
        }
    }
}

void send_revision(struct watches *watches, struct arena *arena, struct event *events,
                   enum watcher_state whom, bool complete)
{
    struct sending sending = {
        .watches = watches, .arena = arena, .events = events, .whom = whom, .complete = complete};
    look_up(&sending);
    for (size_t at = 0; sending.count > 1 && at < sending.count; at++) mark_last(&sending, at);
    for (size_t at = 0; at < sending.count; at++) send_one(&sending, at);
    for (size_t at = 0; at < sending.count; at++)
        for (size_t i = 0; i < STREAM_FORMS; i++)
            for (size_t more = 0; more < 2; more++)
                if (sending.shown[at].chunks[i][more]) chunk_release(sending.shown[at].chunks[i][more]);
}
