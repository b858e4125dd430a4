/* Two lists under two kinds of lock. The node and the api threads sleep in their event loops on eventfds; a
 * descriptor is written only when its list was empty, so a burst costs one wake-up.
 *
 * Invariants: 1. lists keep the order of arrival. 2. `woken` is true exactly while event_fd is readable. 3. A
 * call is in one list at most. */
#include "api/inbox.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOPS_MAX = 64,
    SPARE_CALLS_MAX = 256, /* per thread, each with at most 64 KiB of arena */
};

struct mailbox {
    pthread_mutex_t mutex;
    int event_fd; /* readable when something came */
    bool woken;
    struct call *calls, **calls_end;
    struct notice *notices, **notices_end;
    struct api_loop *loops[LOOPS_MAX];
    size_t loop_count;
    pthread_mutex_t view_mutex;
    _Atomic uint64_t view_version;
    struct node_view view;
};

/* --- calls --- */

static __thread struct spare_calls {
    struct call *first;
    size_t count;
} spare;

static pthread_key_t spare_key;
static pthread_once_t spare_once = PTHREAD_ONCE_INIT;

static void free_spare(void *arg)
{
    struct spare_calls *calls = arg;
    while (calls->first) {
        struct call *call = calls->first;
        calls->first = call->next;
        arena_free(&call->arena);
        free(call);
    }
    calls->count = 0;
}

static void make_spare_key(void)
{
    CHECK(pthread_key_create(&spare_key, free_spare) == 0);
}

struct call *call_new(void)
{
    static _Atomic uint64_t numbers;
    struct call *call = spare.first;
    if (call) {
        spare.first = call->next;
        spare.count--;
        struct arena arena = call->arena;
        *call = (struct call){.arena = arena};
    } else {
        call = memory_new(sizeof *call);
    }
    call->number = atomic_fetch_add_explicit(&numbers, 1, memory_order_relaxed) + 1;
    return call;
}

void call_free(struct call *call)
{
    if (spare.count == SPARE_CALLS_MAX) {
        arena_free(&call->arena);
        free(call);
        return;
    }
    if (!spare.first) {
        pthread_once(&spare_once, make_spare_key);
        pthread_setspecific(spare_key, &spare);
    }
    arena_reset(&call->arena);
    call->next = spare.first;
    spare.first = call;
    spare.count++;
}

static void free_calls(struct call *calls)
{
    while (calls) {
        struct call *next = calls->next;
        call_free(calls);
        calls = next;
    }
}

static void free_notices(struct notice *notices)
{
    while (notices) {
        struct notice *next = notices->next;
        if (notices->call) call_free(notices->call);
        free(notices);
        notices = next;
    }
}

static void free_parcels(struct parcel *parcels)
{
    while (parcels) {
        struct parcel *next = parcels->next;
        parcel_free(parcels);
        parcels = next;
    }
}

/* --- api to node --- */

struct mailbox *mailbox_new(void)
{
    struct mailbox *mailbox = memory_new(sizeof *mailbox);
    mailbox->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(mailbox->event_fd >= 0);
    CHECK(pthread_mutex_init(&mailbox->mutex, NULL) == 0);
    CHECK(pthread_mutex_init(&mailbox->view_mutex, NULL) == 0);
    mailbox->calls_end = &mailbox->calls;
    mailbox->notices_end = &mailbox->notices;
    mailbox->view.role = "follower";
    return mailbox;
}

void mailbox_free(struct mailbox *mailbox)
{
    CHECK(mailbox->loop_count == 0);
    free_calls(mailbox->calls);
    free_notices(mailbox->notices);
    close(mailbox->event_fd);
    pthread_mutex_destroy(&mailbox->mutex);
    pthread_mutex_destroy(&mailbox->view_mutex);
    free(mailbox);
}

static void unlock_and_wake(struct mailbox *mailbox)
{
    bool wake = !mailbox->woken;
    mailbox->woken = true;
    if (wake) CHECK(eventfd_write(mailbox->event_fd, 1) == 0);
    pthread_mutex_unlock(&mailbox->mutex);
}

void mailbox_submit(struct mailbox *mailbox, struct call *calls)
{
    if (!calls) return;
    struct call *last = calls;
    while (last->next) last = last->next;
    pthread_mutex_lock(&mailbox->mutex);
    *mailbox->calls_end = calls;
    mailbox->calls_end = &last->next;
    unlock_and_wake(mailbox);
}

void mailbox_notify(struct mailbox *mailbox, struct notice *notice)
{
    notice->next = NULL;
    pthread_mutex_lock(&mailbox->mutex);
    *mailbox->notices_end = notice;
    mailbox->notices_end = &notice->next;
    unlock_and_wake(mailbox);
}

struct mail mailbox_take(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    struct mail mail = {mailbox->calls, mailbox->notices};
    mailbox->calls = NULL;
    mailbox->calls_end = &mailbox->calls;
    mailbox->notices = NULL;
    mailbox->notices_end = &mailbox->notices;
    if (mailbox->woken) {
        eventfd_t ignored;
        CHECK(eventfd_read(mailbox->event_fd, &ignored) == 0);
        mailbox->woken = false;
    }
    pthread_mutex_unlock(&mailbox->mutex);
    return mail;
}

int mailbox_descriptor(const struct mailbox *mailbox)
{
    return mailbox->event_fd;
}

/* --- node to api --- */

void inbox_open(struct api_loop *loop, struct mailbox *mailbox)
{
    loop->mailbox = mailbox;
    loop->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(loop->event_fd >= 0);
    CHECK(pthread_mutex_init(&loop->mutex, NULL) == 0);
    loop->calls_end = &loop->calls;
    loop->barriers_end = &loop->barriers;
    loop->batch_end = &loop->batch;
    loop->parcels_end = &loop->parcels;
    loop->parcel_batch_end = &loop->parcel_batch;
    pthread_mutex_lock(&mailbox->mutex);
    CHECK(mailbox->loop_count < LOOPS_MAX);
    mailbox->loops[mailbox->loop_count++] = loop;
    pthread_mutex_unlock(&mailbox->mutex);
}

void inbox_close(struct api_loop *loop)
{
    struct mailbox *mailbox = loop->mailbox;
    pthread_mutex_lock(&mailbox->mutex);
    size_t at = 0;
    while (mailbox->loops[at] != loop) at++;
    mailbox->loops[at] = mailbox->loops[--mailbox->loop_count];
    pthread_mutex_unlock(&mailbox->mutex);
    free_calls(loop->calls);
    free_notices(loop->barriers);
    free_parcels(loop->parcels);
    close(loop->event_fd);
    pthread_mutex_destroy(&loop->mutex);
}

static void unlock_and_write(struct api_loop *loop)
{
    bool wake = !loop->woken;
    loop->woken = true;
    if (wake) CHECK(eventfd_write(loop->event_fd, 1) == 0);
    pthread_mutex_unlock(&loop->mutex);
}

void inbox_wake(struct api_loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    unlock_and_write(loop);
}

static void deliver_batch(struct api_loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    *loop->calls_end = loop->batch;
    loop->calls_end = loop->batch_end;
    unlock_and_write(loop);
    loop->batch = NULL;
    loop->batch_end = &loop->batch;
}

void mailbox_deliver(struct call *calls)
{
    struct api_loop *touched = NULL;
    for (struct call *call = calls, *next; call; call = next) {
        next = call->next;
        struct api_loop *loop = call->home;
        if (!loop->batch) {
            loop->next_batch = touched;
            touched = loop;
        }
        call->next = NULL;
        *loop->batch_end = call;
        loop->batch_end = &call->next;
    }
    for (; touched; touched = touched->next_batch) deliver_batch(touched);
}

static void post_batch(struct api_loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    *loop->parcels_end = loop->parcel_batch;
    loop->parcels_end = loop->parcel_batch_end;
    unlock_and_write(loop);
    loop->parcel_batch = NULL;
    loop->parcel_batch_end = &loop->parcel_batch;
}

void mailbox_post(struct parcel *parcels)
{
    struct api_loop *touched = NULL;
    for (struct parcel *parcel = parcels, *next; parcel; parcel = next) {
        next = parcel->next;
        struct api_loop *loop = parcel->home;
        if (!loop->parcel_batch) {
            loop->next_batch = touched;
            touched = loop;
        }
        parcel->next = NULL;
        *loop->parcel_batch_end = parcel;
        loop->parcel_batch_end = &parcel->next;
    }
    for (; touched; touched = touched->next_batch) post_batch(touched);
}

void mailbox_ask_barrier(struct mailbox *mailbox, uint64_t number)
{
    pthread_mutex_lock(&mailbox->mutex);
    for (size_t i = 0; i < mailbox->loop_count; i++) {
        struct api_loop *loop = mailbox->loops[i];
        struct notice *notice = memory_new(sizeof *notice);
        *notice = (struct notice){.kind = NOTICE_BARRIER, .number = number};
        pthread_mutex_lock(&loop->mutex);
        *loop->barriers_end = notice;
        loop->barriers_end = &notice->next;
        unlock_and_write(loop);
    }
    pthread_mutex_unlock(&mailbox->mutex);
}

size_t mailbox_barrier_count(const struct mailbox *mailbox)
{
    struct mailbox *lockable = (struct mailbox *)(uintptr_t)mailbox;
    pthread_mutex_lock(&lockable->mutex);
    size_t count = mailbox->loop_count;
    pthread_mutex_unlock(&lockable->mutex);
    return count;
}

struct inbox inbox_take(struct api_loop *loop)
{
    pthread_mutex_lock(&loop->mutex);
    struct inbox inbox = {loop->calls, loop->barriers, loop->parcels};
    loop->calls = NULL;
    loop->calls_end = &loop->calls;
    loop->barriers = NULL;
    loop->barriers_end = &loop->barriers;
    loop->parcels = NULL;
    loop->parcels_end = &loop->parcels;
    if (loop->woken) {
        eventfd_t ignored;
        CHECK(eventfd_read(loop->event_fd, &ignored) == 0);
        loop->woken = false;
    }
    pthread_mutex_unlock(&loop->mutex);
    return inbox;
}

/* --- the window --- */

void mailbox_show(struct mailbox *mailbox, const struct node_view *view)
{
    pthread_mutex_lock(&mailbox->view_mutex);
    mailbox->view = *view;
    atomic_fetch_add_explicit(&mailbox->view_version, 1, memory_order_release);
    pthread_mutex_unlock(&mailbox->view_mutex);
}

struct node_view mailbox_view(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->view_mutex);
    struct node_view view = mailbox->view;
    pthread_mutex_unlock(&mailbox->view_mutex);
    return view;
}

bool mailbox_view_newer(struct mailbox *mailbox, uint64_t *version, struct node_view *view)
{
    uint64_t now = atomic_load_explicit(&mailbox->view_version, memory_order_acquire);
    if (now == *version) return false;
    *view = mailbox_view(mailbox);
    *version = now;
    return true;
}

uint64_t boottime_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
