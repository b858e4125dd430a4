/* The api side of the mailboxes: where answers for one api thread lie. Beneath mailbox.h, for api/ only. */
#ifndef COORDD_API_INBOX_H
#define COORDD_API_INBOX_H

#include "api/mailbox.h"

#include <pthread.h>

/* One per api thread; api/http.h puts it first in its own structure. */
struct api_loop {
    struct mailbox *mailbox;
    int event_fd; /* readable when something came */
    pthread_mutex_t mutex;
    bool woken; /* event_fd was written and not yet emptied */
    struct call *calls, **calls_end;
    struct notice *barriers, **barriers_end;
    struct parcel *parcels, **parcels_end;
    struct call *batch, **batch_end;                 /* the node thread's, within one mailbox_deliver */
    struct parcel *parcel_batch, **parcel_batch_end; /* the same, of mailbox_post */
    struct api_loop *next_batch;
};

/* Joins the mailbox. Aborts when there is no file descriptor left: this happens at start only. */
void inbox_open(struct api_loop *loop, struct mailbox *mailbox);
/* Leaves it; answers still here are freed. */
void inbox_close(struct api_loop *loop);

struct inbox {
    struct call *calls;      /* answered, in order */
    struct notice *barriers; /* to be handed to mailbox_notify after the passes that they ask for */
    struct parcel *parcels;  /* in order; to be looked at after the calls */
};
struct inbox inbox_take(struct api_loop *loop);
/* Ends one round of waiting on event_fd from another thread. */
void inbox_wake(struct api_loop *loop);

/* Copies the view when it is newer than *version. */
bool mailbox_view_newer(struct mailbox *mailbox, uint64_t *version, struct node_view *view);

#endif
