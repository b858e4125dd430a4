/* Requests that wait for a change: long polls of queries with an object, and waits for conditions. A call is
 * kept while it is run again and again, at most once a turn, each time something touched what it reads. */
#include "base/check.h"
#include "base/memory.h"
#include "coordd/watch_internal.h"

enum { RUNS_PER_TURN = 256, ROWS_LOOKED_AT = 256 };

/* --- has it changed? --- */

/* Whether an event since then touched the object; when the history is too long to tell, it has. */
static bool is_touched(struct watches *watches, const struct call *call)
{
    struct watch_request request = {0};
    struct arena arena = {0};
    uint64_t at = call->since;
    bool touched = at < events_floor(watches->view.rows);
    watch_object(&request, &arena, call->operation->object, call->operation->args, call->args);
    for (size_t rows = 0; !touched && at < watches->view.applied; rows++) {
        struct event *events = events_next(watches->view.rows, &arena, at);
        if (!events) break;
        touched = rows == ROWS_LOOKED_AT;
        for (struct event *event = events; event && !touched; event = event->next)
            touched = watch_scope_holds(&request.scopes[0], event->path);
        at = events->revision;
    }
    arena_free(&arena);
    return touched;
}

/* What is said of one object bears the revision of its last change. */
static bool is_unchanged(struct watches *watches, const struct call *call, const struct answer *answer)
{
    const struct operation *operation = call->operation;
    if (operation->watch) return answer->outcome == OUTCOME_UNCHANGED;
    if (!call->since_given || !operation->object || answer->outcome == OUTCOME_SENSELESS) return false;
    bool one = !strchr(operation->object, '*');
    bool dated = one && answer->shape && answer->shape == operation->result &&
                 record_field(answer->shape, SLICE("revision"));
    if (dated) return record_number(answer->shape, answer->data, "revision") <= call->since;
    return !is_touched(watches, call);
}

/* --- keeping --- */

static void let_go(struct watches *watches, struct parked *parked)
{
    for (size_t i = 0; i < parked->interest_count; i++) {
        link_remove(&parked->interests[i].of_topic);
        topics_drop(&watches->topics, parked->interests[i].topic);
    }
    link_remove(&parked->of_woken);
    heap_remove(&watches->deadlines, &parked->deadline);
    heap_remove(&watches->revisions, &parked->revision);
    map_remove(&watches->parked, parked->call->number);
}

static struct parked *park(struct watches *watches, struct call *call, const struct watch_request *request)
{
    struct parked *parked =
        arena_alloc(&call->arena, sizeof *parked + request->scope_count * sizeof parked->interests[0]);
    parked->call = call;
    parked->interest_count = request->scope_count;
    for (size_t i = 0; i < request->scope_count; i++) {
        struct interest *interest = &parked->interests[i];
        interest->parked = parked;
        interest->topic = topics_hold(&watches->topics, &request->scopes[i], (struct list){0});
        link_add(&interest->topic->polls, &interest->of_topic);
    }
    map_put(&watches->parked, call->number, parked);
    if (request->revision > watches->view.applied)
        heap_set(&watches->revisions, &parked->revision, request->revision);
    return parked;
}

static bool is_over(const struct watches *watches, const struct call *call)
{
    return call->last_look || watches->view.now_ms >= call->arrived_ms + call->wait_ms;
}

bool watches_keep(struct watches *watches, struct call *call, struct apply *apply, struct answer *answer)
{
    *answer = *apply->answers;
    bool waits = call->operation->watch || call->since_given;
    if (!waits || !is_unchanged(watches, call, answer)) return false;
    answer->outcome = OUTCOME_UNCHANGED;
    if (is_over(watches, call)) return false;
    if (map_get(&watches->parked, call->number)) return true;
    struct watch_request request = {0};
    if (call->operation->watch)
        call->operation->watch(&call->arena, call->args, &request);
    else
        watch_object(&request, &call->arena, call->operation->object, call->operation->args, call->args);
    struct parked *parked = park(watches, call, &request);
    heap_set(&watches->deadlines, &parked->deadline, call->arrived_ms + call->wait_ms);
    return true;
}

void polls_ahead(struct watches *watches, struct call *call)
{
    struct watch_request request = {.revision = call->since};
    struct parked *parked = park(watches, call, &request);
    heap_set(&watches->deadlines, &parked->deadline, watches->view.now_ms + WATCH_AHEAD_MS);
}

/* --- waking --- */

static void wake(struct watches *watches, struct parked *parked)
{
    if (!parked->of_woken.next) link_add(&watches->woken, &parked->of_woken);
}

void polls_wake(struct watches *watches, struct topic *topic)
{
    for (struct link *link = topic->polls.next; link != &topic->polls; link = link->next)
        wake(watches, CONTAINER_OF(link, struct interest, of_topic)->parked);
}

void polls_reached(struct watches *watches)
{
    for (struct timer *first;
         (first = heap_first(&watches->revisions)) && first->at_ms <= watches->view.applied;) {
        heap_remove(&watches->revisions, first);
        wake(watches, CONTAINER_OF(first, struct parked, revision));
    }
}

static void reply(struct watches *watches, struct call *call, const struct answer *answer)
{
    if (call->stale)
        pending_reply_stale(watches->pending, call, answer, watches->view.applied);
    else
        pending_reply(watches->pending, call, answer, watches->view.applied);
}

/* It is taken in as if it had just come. */
static void again(struct watches *watches, struct call *call)
{
    call->next = NULL;
    *watches->due_end = call;
    watches->due_end = &call->next;
}

/* The rows of this node are at least as new as those that the call was first run on. */
static void run(struct watches *watches, struct parked *parked)
{
    struct call *call = parked->call;
    const struct watches_view *view = &watches->view;
    link_remove(&parked->of_woken);
    if (call->operation->kind == OPERATION_STREAM) {
        let_go(watches, parked);
        watches_open(watches, call);
        return;
    }
    struct apply apply;
    struct answer answer;
    apply_begin(&apply, view->rows, &watches->arena, view->applied, view->term, view->time_ms);
    coord_query(&apply, call->operation, call->args);
    if (!watches_keep(watches, call, &apply, &answer)) {
        let_go(watches, parked);
        if ((call->operation->flags & OPERATION_AT_LEADER) && !call->stale)
            again(watches, call);
        else
            reply(watches, call, &answer);
    }
    arena_reset(&watches->arena);
}

/* A client that asked for the newest state is told by the leader's word that nothing has changed. */
static void end_wait(struct watches *watches, struct parked *parked)
{
    struct call *call = parked->call;
    let_go(watches, parked);
    if (call->operation->kind == OPERATION_STREAM) {
        struct answer ahead = {.outcome = OUTCOME_MIN_REVISION_AHEAD};
        pending_reply(watches->pending, call, &ahead, watches->view.applied);
        return;
    }
    call->last_look = true;
    again(watches, call);
}

void polls_step(struct watches *watches)
{
    for (size_t i = 0; i < RUNS_PER_TURN && !link_is_empty(&watches->woken); i++)
        run(watches, CONTAINER_OF(watches->woken.next, struct parked, of_woken));
    for (struct timer *first;
         (first = heap_first(&watches->deadlines)) && first->at_ms <= watches->view.now_ms;)
        end_wait(watches, CONTAINER_OF(first, struct parked, deadline));
}

struct call *watches_due(struct watches *watches)
{
    struct call *due = watches->due;
    watches->due = NULL;
    watches->due_end = &watches->due;
    return due;
}

/* --- ends --- */

static void refuse(struct watches *watches, struct parked *parked, enum outcome outcome)
{
    struct call *call = parked->call;
    let_go(watches, parked);
    pending_refuse(watches->pending, call, outcome, "");
}

void polls_gone(struct watches *watches, uint64_t number)
{
    struct parked *parked = map_get(&watches->parked, number);
    if (parked) refuse(watches, parked, OUTCOME_WAIT_BROKEN_OFF);
}

void polls_stop(struct watches *watches)
{
    for (size_t i = 0; i < watches->parked.capacity; i++)
        while (watches->parked.slots[i].value)
            refuse(watches, watches->parked.slots[i].value, OUTCOME_SHUTTING_DOWN);
}
