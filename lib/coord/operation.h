/* Operations are rows of tables; a primitive is one file with such a table. Everything the house knows of an
 * operation stands in its row.
 *
 * Codes and field numbers are for ever: append, never reuse. A removed operation leaves a tombstone (its code
 * with a NULL apply). */
#ifndef COORDD_COORD_OPERATION_H
#define COORDD_COORD_OPERATION_H

#include "coord/outcome.h"
#include "coord/record.h"
#include "coord/rows.h"

enum operation_kind {
    OPERATION_COMMAND = 1, /* goes through the log; `apply` runs on every replica */
    OPERATION_QUERY,       /* linearizable read; `apply` runs on one node and must not write */
    OPERATION_RENEWAL, /* extends leases off the log (shared/facts/leases.md): `renews`, a confirmed round,
                          then `renewed` */
    OPERATION_CLUSTER, /* about the cluster itself: done by the leader's node, no apply (primitive/cluster.h)
                        */
    OPERATION_STREAM,  /* a stream of events of the node that has the client (primitive/watch.h), no apply */
};

enum operation_flag {
    OPERATION_GROWS = 1, /* makes the state larger: refused with 507 when the disk is full */
    OPERATION_WAITS = 2, /* may be answered later; its arguments, or a record among them, have a duration
                            "wait" */
    OPERATION_RAW = 4, /* the body of the request is its argument "value" as it is; a success is answered with
                          its result's "value", unless JSON is asked for */
    OPERATION_TXN = 8, /* has no path of its own, but may stand in a transaction */
    OPERATION_AT_LEADER = 16, /* QUERY: the leader answers it, whose memory of heartbeats it is about; stale:
                                 any node, without that memory */
};

struct apply;
struct event;
struct event_kind;
struct watch_request;

/* A lease that a renewal is about, and after the confirmed round whether it was extended. */
struct renewal {
    uint64_t lease;
    bool renewed;
    struct slice note; /* a member's heartbeat: an encoded struct beat_note (coord/beats.h); else empty */
};

struct operation {
    uint16_t code;             /* in the log; unique over all kinds */
    const char *name;          /* "lock.acquire": metrics, txn, scripts */
    const char *method, *path; /* "POST", "/v1/locks/{name}/acquire"; NULL: not on HTTP */
    enum operation_kind kind;
    unsigned flags;
    const struct record *args;    /* {parts} of the path are fields of it, by name */
    const struct record *result;  /* of a success; NULL: nothing */
    const struct record *refusal; /* facts that ride in its problem documents; NULL: none */
    void (*apply)(struct apply *apply, const void *args);
    /* RENEWAL: says which leases, by apply_renews, or answers a refusal at once. Then `renewed` answers.
     * Neither writes. */
    void (*renews)(struct apply *apply, const void *args);
    void (*renewed)(struct apply *apply, const void *args, const struct renewal *renewals, size_t count);
    /* QUERY: path of the object it reads, for long polls (since=): "/locks/{name}", or "/locks/{prefix}*" for
     * all that begins so. Parts are arguments by name. NULL: no long poll. */
    const char *object;
    /* STREAM: which events, from which on. */
    void (*watch)(struct arena *arena, const void *args, struct watch_request *request);
    const char *undo; /* name of the command (its arguments: the fields of the result called so) that takes
                         back a grant whose answer could not be delivered */
    /* Name of the operation that is meant when the body of a request to this one is a JSON array: that is its
     * one FIELD_LIST; what stands in the path are fields of it too, by name. It has no path of its own. NULL:
     * the body is an object. */
    const char *array;
    /* With Accept: text/plain, a success is these fields of the result in one line: "state result"; or a line
     * for each of a list of it: "tasks: id token payload". NULL: by its tokens, see api/reply.h. */
    const char *plain;
    const char *type; /* RAW, QUERY: content type of the value, which is then the answer whatever a client
                       * accepts; NULL: any bytes, application/octet-stream, or JSON */
    const char *about;
};

enum end_reason {
    END_RELEASED = 1,
    END_EXPIRED,
    END_REVOKED,
    END_BROKEN,
    END_TRANSFERRED,
    END_CLIENT_GONE,
    END_TIMEOUT,
    END_DOWNGRADED
};
extern const char *const end_reason_choices[]; /* for FIELD_CHOICE, in that order */

/* Somebody asks a holder to give up what it has; it need not. */
struct yield_request {
    uint64_t since_ms;
    struct slice owner, reason;
};

struct primitive {
    const char *name;
    uint8_t code; /* in attachments, waits and pulses; for ever */
    const struct operation *operations;
    size_t operation_count;
    /* A lease has ended to which this primitive attached `what` (lease_attach). The attachment is gone
     * already. */
    void (*lease_ended)(struct apply *apply, uint64_t lease, struct slice what, enum end_reason reason);
    /* So much for leases that ended together: what it kept in hand from one to the next goes into the rows.
     * May be NULL. */
    void (*leases_ended)(struct apply *apply);
    /* The wait registered as (index, what) is over without a grant: END_TIMEOUT or END_CLIENT_GONE. The
     * registration is gone already. */
    void (*wait_ended)(struct apply *apply, uint64_t index, struct slice what, enum end_reason reason);
    /* Of what it attached to a lease: its path for people ("/locks/deploy"), and how many wait for it. Either
     * may be NULL. */
    struct slice (*path)(struct apply *apply, struct slice what);
    uint64_t (*waiters)(struct apply *apply, struct slice what);
    /* Of what it attached to a lease: a request that its holder give it up, NULL: none. May be NULL. */
    const struct yield_request *(*yield)(struct apply *apply, struct slice what);
    /* Kinds of events it tells (event.h); codes are for ever. */
    const struct event_kind *events;
    size_t event_count;
    /* Completes an event that is read, where its row does not hold all of its data; may be NULL. */
    void (*event_read)(struct rows *rows, struct arena *arena, struct event *event);
    /* An event leaves the history: rows kept only for its sake can go. May be NULL. */
    void (*event_gone)(struct apply *apply, const struct event *event);
    /* What pulse_want asked for: go on with `what`. */
    void (*pulse)(struct apply *apply, struct slice what);
    /* What due_set asked for: its time has come. */
    void (*due)(struct apply *apply, uint64_t at_ms, struct slice what);
    /* Aborts when the primitive's rows break an invariant. */
    void (*check)(struct rows *rows, struct arena *arena);
};

/* Items of FIELD_OPERATIONS and FIELD_RESULTS. */
struct operation_item {
    const struct operation *operation;
    void *args;
};
struct operation_result {
    const struct operation *operation;
    enum outcome outcome;
    const struct record *shape; /* operation->result, operation->refusal, or NULL: nothing */
    const void *data;
    struct slice detail;
};

/* All primitives, NULL-terminated: the one line to add for a new one (lib/coord/primitives.c). */
extern const struct primitive *const primitives[];

const struct operation *operation_by_code(uint64_t code); /* NULL: unknown */
const struct operation *operation_by_name(struct slice name);
const struct primitive *primitive_by_code(uint8_t code);
/* The one with that code or, when a name is given, that name, among NULL-terminated primitives. */
static inline const struct operation *operation_among(const struct primitive *const *all, uint64_t code,
                                                      const struct slice *name)
{
    for (; *all; all++)
        for (size_t i = 0; i < (*all)->operation_count; i++) {
            const struct operation *operation = &(*all)->operations[i];
            if (name ? slice_is(*name, operation->name) : operation->code == code) return operation;
        }
    return NULL;
}
/* Of OPERATION_WAITS: the duration "wait" of its arguments, or of the first record among them that has one:
 * then *within is the field of that record, else NULL. NULL: it has none. */
const struct field *operation_wait_field(const struct operation *operation, const struct field **within);
/* How long a request to that operation would wait; 0: not at all. */
uint64_t operation_wait_ms(const struct operation *operation, const void *args);
static inline const char *operation_raw_type(const struct operation *operation)
{
    return operation->type ? operation->type : "application/octet-stream";
}
/* May clients have it done within a transaction? */
static inline bool operation_in_txn(const struct operation *operation)
{
    bool kind = operation->kind == OPERATION_COMMAND ||
                (operation->kind == OPERATION_QUERY && !(operation->flags & OPERATION_AT_LEADER));
    return kind && (operation->path || (operation->flags & OPERATION_TXN));
}

#endif
