/* The HTTP edge in front of a node that does as it is told: for what a real node does too rarely or too
 * quickly.
 *
 * A thing named "now..." is granted at once, any other call is kept. Lines on standard input: "answer" grants
 * all that is kept, "barrier N" asks for one, "ready 0" and "ready 1" set what /readyz sees, "turn" tells
 * that the node is alive, "stop" ends. Lines on standard output: "port N", "call NAME", "gone NAME",
 * "undelivered NAME", "barrier N after C calls", "done". */
#include "api/api.h"
#include "base/memory.h"
#include "tests/unit/api_tables.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

const struct primitive *const primitives[] = {&thing_primitive, NULL};

static struct mailbox *mailbox;
static struct node_view view = {
    .phase = NODE_RUNNING, .role = "leader", .leader = "f1", .term = 7, .ready = true};
static struct call *kept, **kept_end = &kept;
static unsigned long long calls;

static struct slice name_of(const struct call *call)
{
    return ((const struct thing_args *)call->args)->name;
}

static void say(const char *what, struct slice name)
{
    printf("%s %.*s\n", what, SLICE_ARGS(name));
}

/* Of several: the thing, held by as many as were given. */
static void grant_many(struct call *call)
{
    const struct give_many_args *args = call->args;
    struct thing_view *thing = arena_alloc(&call->arena, sizeof *thing);
    struct holder *holders = arena_alloc(&call->arena, args->parts.count * sizeof *holders);
    const struct part_args *parts = args->parts.items;
    for (size_t i = 0; i < args->parts.count; i++)
        holders[i] = (struct holder){.owner = parts[i].text, .token = parts[i].number};
    *thing = (struct thing_view){args->name, call->number, {holders, args->parts.count}};
    call->shape = &view_record;
    call->result = thing;
}

static void grant(struct call *call)
{
    struct taken *taken = arena_alloc(&call->arena, sizeof *taken);
    *taken = (struct taken){name_of(call), call->number, 0x100, 30000};
    call->outcome = OUTCOME_CREATED;
    call->shape = &taken_record;
    call->result = taken;
    call->revision = call->number;
    if (call->operation->args == &give_many_record) grant_many(call);
    call->next = NULL;
    mailbox_deliver(call);
}

static void take_calls(struct call *list)
{
    for (struct call *call = list, *next; call; call = next) {
        next = call->next;
        calls++;
        if (slice_starts_with(name_of(call), SLICE("now"))) {
            grant(call);
            continue;
        }
        say("call", name_of(call));
        call->next = NULL;
        *kept_end = call;
        kept_end = &call->next;
    }
}

static void take_notices(struct notice *list)
{
    for (struct notice *notice = list, *next; notice; notice = next) {
        next = notice->next;
        if (notice->kind == NOTICE_BARRIER)
            printf("barrier %llu after %llu calls\n", (unsigned long long)notice->number, calls);
        for (const struct call *call = kept; call && notice->kind == NOTICE_GONE; call = call->next)
            if (call->number == notice->number) say("gone", name_of(call));
        if (notice->kind == NOTICE_UNDELIVERED) {
            say("undelivered", name_of(notice->call));
            call_free(notice->call);
        }
        free(notice);
    }
}

static void answer_kept(void)
{
    for (struct call *call = kept, *next; call; call = next) {
        next = call->next;
        grant(call);
    }
    kept = NULL;
    kept_end = &kept;
}

static bool obey(const char *line)
{
    unsigned long long number = 0;
    if (sscanf(line, "barrier %llu", &number) == 1) mailbox_ask_barrier(mailbox, number);
    if (sscanf(line, "ready %llu", &number) == 1) view.ready = number;
    if (strcmp(line, "answer\n") == 0) answer_kept();
    view.turn_ms = boottime_ms();
    mailbox_show(mailbox, &view);
    return strcmp(line, "stop\n") != 0;
}

static atomic_bool stopping;

static void *turn(void *arg)
{
    while (!stopping) {
        struct pollfd watched = {.fd = mailbox_descriptor(mailbox), .events = POLLIN};
        poll(&watched, 1, 50);
        struct mail mail = mailbox_take(mailbox);
        pthread_mutex_lock(arg);
        take_calls(mail.calls);
        take_notices(mail.notices);
        pthread_mutex_unlock(arg);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    char error[256], line[256];
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    setvbuf(stdout, NULL, _IOLBF, 0);
    mailbox = mailbox_new();
    struct api *api =
        api_start(&(struct api_settings){.listen = "127.0.0.1:0",
                                         .threads = argc > 1 ? (unsigned)atoi(argv[1]) : 1,
                                         .node = "f1",
                                         .connections_max = argc > 2 ? (unsigned)atoi(argv[2]) : 4096,
                                         .mailbox = mailbox},
                  error, sizeof error);
    if (!api) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, turn, &mutex)) return 1;
    obey("turn\n");
    printf("port %u\n", api_port(api));
    for (bool more = true; more && fgets(line, sizeof line, stdin);) {
        pthread_mutex_lock(&mutex);
        more = obey(line);
        pthread_mutex_unlock(&mutex);
    }
    stopping = true;
    pthread_join(thread, NULL);
    answer_kept();
    api_stop(api, 1000);
    mailbox_free(mailbox);
    printf("done\n");
    return 0;
}
