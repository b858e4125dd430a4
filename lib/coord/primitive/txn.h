/* Transactions (api.md 8) and safe retries (Idempotency-Key, Coord-Fence): operations within an operation. */
#ifndef COORDD_COORD_PRIMITIVE_TXN_H
#define COORDD_COORD_PRIMITIVE_TXN_H

#include "coord/apply.h"

enum {
    TXN_CODE = 7,
    TXN_OPERATIONS_MAX = 128, /* conditions and operations, nested ones too */
    TXN_DEPTH_MAX = 4,
    TXN_ANSWER_MAX = 1536 * 1024, /* bytes of all results */
    RETRY_KEY_MAX = 255,
    RETRY_KEPT_MS = 10 * 60 * 1000, /* how long a first answer is kept */
    RETRY_KEPT_MAX = 1000 * 1000,   /* how many */
    RETRY_ANSWER_MAX = 1792 * 1024  /* bytes of one */
};

/* Runs one operation in this entry and takes its answer out of apply->answers. False: it has none yet, it
 * waits. */
bool txn_run(struct apply *apply, const struct operation_item *item, struct operation_result *result,
             bool *replayed);

/* The command around a command: it is done once for its key, and only while the fence is current. */
struct guarded_args {
    struct slice retry_key;  /* empty: none */
    struct slice fence_lock; /* empty: none */
    uint64_t fence_token;
    struct list operation; /* one struct operation_item */
};
extern const struct operation *const operation_guarded;
/* The operation within; itself when there is none. */
const struct operation *guarded_operation(const struct guarded_args *args);
void guarded_apply(struct apply *apply, const void *args);
extern const struct record guarded_record;

/* The requests that wait and have just been answered in this entry: their answers are kept. */
void retry_answered(struct apply *apply);
/* The wait of the request of entry `index` ended without an answer: its key is free again. */
void retry_forget(struct apply *apply, uint64_t index);
void retry_due(struct apply *apply, uint64_t at_ms, struct slice name);
void retry_check(struct rows *rows, struct arena *arena);

extern const struct primitive txn_primitive;

#endif
