/* The present state, object by object, before the events that follow it. It takes many turns when there is
 * much, and entries are applied meanwhile. So before each page of objects, the events since the page before
 * are sent of those objects that were shown already; those of objects still to come show in their page. Then
 * a bookmark with the revision of the last page, and the watcher is live: as if all had been read at once.
 *
 * Objects are found by the tables: a query with the object "/locks/{prefix}*" lists names, the query with
 * "/locks/{name}", or "/queues/{queue}*", and a path that ends so shows each. Nothing before the bookmark
 * carries an id: whoever breaks off begins anew. */
#include "base/check.h"
#include "base/memory.h"
#include "coordd/watch_internal.h"

enum { PAGE = 32, ROWS = 64, STEPS_PER_TURN = 64 };

struct list_of_objects {
    const struct operation *list, *get;
    struct slice parent; /* "/locks/" */
    struct slice part;   /* "name": an argument of get, and of the list's items, or else their first member */
};

/* --- the tables --- */

static struct slice parent_of(const char *object)
{
    return slice_of(object, strcspn(object, "{*"));
}

static bool shows_one(const struct operation *operation)
{
    return operation->path && operation->path[strlen(operation->path) - 1] == '}';
}

/* A query of one object may have a prefix too: it changes with what is below it. */
static bool is_list(const struct operation *operation)
{
    if (operation->kind != OPERATION_QUERY || !operation->object || shows_one(operation)) return false;
    return operation->object[strlen(operation->object) - 1] == '*';
}

static const struct operation *get_of(struct slice parent, struct slice *part)
{
    for (size_t p = 0; primitives[p]; p++)
        for (size_t i = 0; i < primitives[p]->operation_count; i++) {
            const struct operation *operation = &primitives[p]->operations[i];
            if (operation->kind != OPERATION_QUERY || !operation->object || is_list(operation)) continue;
            const char *rest = operation->object + parent.size;
            if (!shows_one(operation)) continue; /* it asks something else of the object */
            if (!slice_equal(parent_of(operation->object), parent) || rest[strcspn(rest, "}")] != '}')
                continue;
            const char *behind = rest + strcspn(rest, "}") + 1;
            if (*behind && strcmp(behind, "*") != 0) continue;
            *part = slice_of(rest + 1, strcspn(rest + 1, ".}"));
            return operation;
        }
    return NULL;
}

/* The list at that position, of all of which the objects can be shown. */
static bool list_at(size_t position, struct list_of_objects *found)
{
    for (size_t p = 0; primitives[p]; p++)
        for (size_t i = 0; i < primitives[p]->operation_count; i++) {
            const struct operation *operation = &primitives[p]->operations[i];
            if (!is_list(operation)) continue;
            found->list = operation;
            found->parent = parent_of(operation->object);
            found->get = get_of(found->parent, &found->part);
            if (found->get && position-- == 0) return true;
        }
    return false;
}

static bool list_of(struct slice path, struct list_of_objects *found, size_t *position)
{
    struct list_of_objects each;
    bool any = false;
    for (size_t at = 0; list_at(at, &each); at++)
        if (slice_starts_with(path, each.parent) && (!any || each.parent.size > found->parent.size)) {
            *found = each;
            *position = at;
            any = true;
        }
    return any;
}

/* --- life --- */

struct initial *initial_new(const struct watch_scope *scope, uint64_t revision)
{
    struct initial *initial = memory_new(sizeof *initial + scope->path.size);
    uint8_t *path = (uint8_t *)(initial + 1);
    memcpy(path, scope->path.data, scope->path.size);
    initial->scope = (struct watch_scope){slice_of(path, scope->path.size), scope->prefix};
    initial->seen = revision;
    return initial;
}

void initial_free(struct initial *initial)
{
    buffer_free(&initial->cursor);
    free(initial);
}

/* --- one object --- */

static uint64_t remaining(void *context, uint64_t lease)
{
    const struct watches *watches = context;
    if (!lease_clock_in_office(watches->leases)) return RECORD_UNKNOWN;
    return lease_clock_remaining(watches->leases, lease, watches->view.now_ms);
}

static const struct answer *query(struct watches *watches, const struct operation *operation,
                                  const void *args)
{
    struct apply apply;
    const struct watches_view *view = &watches->view;
    apply_begin(&apply, view->rows, &watches->arena, view->applied, view->term, view->time_ms);
    coord_query(&apply, operation, args);
    return apply.answers;
}

static void show(struct watches *watches, struct watcher *watcher, struct slice path,
                 const struct operation *get, struct slice part, struct slice name)
{
    struct setting setting = {
        .record = get->args, .data = arena_alloc(&watches->arena, get->args->size), .arena = &watches->arena};
    const struct field *field = record_field(get->args, part);
    if (!field || !setting_text(&setting, field, name) || !setting_done(&setting)) return;
    const struct answer *answer = query(watches, get, setting.data);
    if (answer->outcome != OUTCOME_OK || !answer->shape) return;
    struct event event = {.revision = watches->view.applied,
                          .time_ms = watches->view.time_ms,
                          .path = path,
                          .shape = answer->shape};
    event.data = record_copy(answer->shape, answer->data, &watches->arena, remaining, watches);
    struct buffer text = {0};
    stream_event(&event, "present", true, watcher->form, &text);
    struct chunk *chunk = chunk_new(buffer_slice(&text));
    send_chunk(watches, watcher, chunk, false);
    chunk_release(chunk);
    buffer_free(&text);
}

/* --- a page --- */

static bool set_if_there(struct setting *setting, const char *name, struct slice text)
{
    const struct field *field = record_field(setting->record, slice_text(name));
    return !field || !text.size || setting_text(setting, field, text);
}

static const void *page_arguments(struct watches *watches, const struct initial *initial,
                                  const struct list_of_objects *list)
{
    const struct record *record = list->list->args;
    struct setting setting = {
        .record = record, .data = arena_alloc(&watches->arena, record->size), .arena = &watches->arena};
    struct slice prefix = {0};
    if (initial->scope.path.size > list->parent.size)
        prefix = slice_skip(initial->scope.path, list->parent.size);
    bool prefixed = strchr(list->list->object, '{') != NULL;
    const struct field *limit = record_field(record, SLICE("limit"));
    bool done = (!prefixed || set_if_there(&setting, "prefix", prefix)) &&
                set_if_there(&setting, "cursor", buffer_slice(&initial->cursor)) &&
                (!limit || setting_uint(&setting, limit, PAGE)) && setting_done(&setting);
    return done ? setting.data : NULL;
}

static struct slice text_of(const struct field *field, const void *data, struct arena *arena)
{
    const char *place = (const char *)data + field->offset;
    struct slice text = {0};
    uint64_t number;
    if (field->type == FIELD_LEASE) {
        memcpy(&number, place, sizeof number);
        if (number) text = arena_printf(arena, "L%llx", (unsigned long long)number);
    } else {
        memcpy(&text, place, sizeof text);
    }
    return text;
}

static const struct field *items_of(const struct record *result)
{
    for (size_t i = 0; i < result->field_count; i++)
        if (result->fields[i].type == FIELD_LIST) return &result->fields[i];
    return NULL;
}

static void put_buffer(struct buffer *buffer, struct slice text)
{
    buffer->size = 0;
    buffer_add_slice(buffer, text);
}

static void show_items(struct watches *watches, struct watcher *watcher, const struct list_of_objects *list,
                       const struct field *items, struct list all)
{
    struct initial *initial = watcher->initial;
    const struct field *name = record_field(items->record, list->part);
    if (!name) name = &items->record->fields[0];
    for (size_t i = 0; i < all.count; i++) {
        const char *item = (const char *)all.items + i * items->record->size;
        struct slice text = text_of(name, item, &watches->arena);
        struct buffer path = {0};
        buffer_add_slice(&path, list->parent);
        buffer_add_slice(&path, text);
        if (watch_scope_holds(&initial->scope, buffer_slice(&path)))
            show(watches, watcher, buffer_slice(&path), list->get, list->part, text);
        buffer_free(&path);
    }
}

/* True when the list goes on. */
static bool show_page(struct watches *watches, struct watcher *watcher, const struct list_of_objects *list)
{
    struct initial *initial = watcher->initial;
    const void *args = page_arguments(watches, initial, list);
    const struct field *items = items_of(list->list->result);
    if (!args || !items) return false;
    const struct answer *answer = query(watches, list->list, args);
    if (answer->outcome != OUTCOME_OK || answer->shape != list->list->result) return false;
    struct list all;
    memcpy(&all, (const char *)answer->data + items->offset, sizeof all);
    const struct field *cursor = record_field(answer->shape, SLICE("cursor"));
    struct slice next = cursor ? text_of(cursor, answer->data, &watches->arena) : (struct slice){0};
    show_items(watches, watcher, list, items, all);
    put_buffer(&initial->cursor, next);
    initial->number = next.size && cursor->type == FIELD_LEASE ? lease_from_text(next) : 0;
    return next.size != 0;
}

/* --- events of what was shown already --- */

/* What is below an object is shown with it, as far as it is shown at all. */
static bool is_below(const struct operation *get, struct slice name, struct slice shown)
{
    bool prefixed = get->object[strlen(get->object) - 1] == '*';
    return prefixed && shown.size && name.size > shown.size && slice_starts_with(name, shown) &&
           name.data[shown.size] == '/';
}

static bool is_shown(const struct initial *initial, struct slice path)
{
    struct list_of_objects list;
    size_t position;
    if (!list_of(path, &list, &position)) return true;
    if (position != initial->position) return position < initial->position;
    struct slice name = slice_skip(path, list.parent.size);
    uint64_t number = lease_from_text(name);
    if (!initial->begun) return false;
    if (initial->number) return number && number <= initial->number;
    struct slice shown = buffer_slice(&initial->cursor);
    return slice_compare(name, shown) <= 0 || is_below(list.get, name, shown);
}

static void send_shown(struct watches *watches, struct watcher *watcher, const struct event *events)
{
    for (const struct event *event = events; event; event = event->next) {
        if (!watch_scope_holds(&watcher->initial->scope, event->path)) continue;
        if (!topic_wants(watcher->topic, event->kind->name)) continue;
        if (!is_shown(watcher->initial, event->path)) continue;
        struct buffer text = {0};
        stream_event(event, event->kind->name, true, watcher->form, &text);
        struct chunk *chunk = chunk_new(buffer_slice(&text));
        send_chunk(watches, watcher, chunk, false);
        chunk_release(chunk);
        buffer_free(&text);
    }
}

/* True when nothing is left of the history. */
static bool catch_up(struct watches *watches, struct watcher *watcher)
{
    struct initial *initial = watcher->initial;
    for (size_t i = 0; i < ROWS; i++) {
        struct event *events = initial->seen == watches->view.applied
                                   ? NULL
                                   : events_next(watches->view.rows, &watches->arena, initial->seen);
        if (!events) {
            initial->seen = watches->view.applied;
            return true;
        }
        send_shown(watches, watcher, events);
        initial->seen = events->revision;
        arena_reset(&watches->arena);
    }
    return false;
}

/* --- steps --- */

static void finish(struct watches *watches, struct watcher *watcher)
{
    uint64_t applied = watches->view.applied;
    struct buffer text = {0};
    stream_control("bookmark", applied, true, (struct slice){0}, watcher->form, &text);
    struct chunk *chunk = chunk_new(buffer_slice(&text));
    send_chunk(watches, watcher, chunk, false);
    chunk_release(chunk);
    buffer_free(&text);
    watcher->told = applied;
    initial_free(watcher->initial);
    watcher->initial = NULL;
    watcher_enter(watches, watcher, WATCHER_LIVE);
}

static void show_alone(struct watches *watches, struct watcher *watcher)
{
    struct slice path = watcher->initial->scope.path;
    struct list_of_objects list;
    size_t position;
    if (list_of(path, &list, &position))
        show(watches, watcher, path, list.get, list.part, slice_skip(path, list.parent.size));
}

static bool is_wanted(const struct initial *initial, struct slice parent)
{
    return slice_starts_with(parent, initial->scope.path) || slice_starts_with(initial->scope.path, parent);
}

/* The next piece of what this watcher is to be shown. */
static void step(struct watches *watches, struct watcher *watcher)
{
    struct initial *initial = watcher->initial;
    uint64_t floor = events_floor(watches->view.rows);
    if (initial->seen < floor) {
        watcher_reset(watches, watcher, floor);
        return;
    }
    if (!catch_up(watches, watcher)) return;
    if (!initial->scope.prefix) {
        show_alone(watches, watcher);
        finish(watches, watcher);
        return;
    }
    struct list_of_objects list;
    bool more = list_at(initial->position, &list);
    if (!more) {
        finish(watches, watcher);
        return;
    }
    bool goes_on = is_wanted(initial, list.parent) && show_page(watches, watcher, &list);
    initial->begun = true;
    if (goes_on) return;
    initial->position++;
    initial->begun = false;
    initial->number = 0;
    initial->cursor.size = 0;
}

void initial_step(struct watches *watches)
{
    struct link *head = &watches->states[WATCHER_INITIAL];
    for (size_t i = 0; i < STEPS_PER_TURN && !link_is_empty(head); i++) {
        struct watcher *watcher = CONTAINER_OF(head->next, struct watcher, of_state);
        bool room = watcher_has_room(watcher);
        watcher_enter(watches, watcher,
                      room ? WATCHER_INITIAL : WATCHER_BLOCKED); /* to the end of the line */
        if (room) step(watches, watcher);
        arena_reset(&watches->arena);
    }
}
