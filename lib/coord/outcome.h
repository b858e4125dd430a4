/* Every way a request can end: one table of name, HTTP status, stable code, whether a retry may help, and the
 * title people read.
 *
 * The first part are outcomes: normal, replicated answers that the state machine gives. The second part are
 * errors of the edge, which the log never sees. Numbers are never reused: add at the end of a part's range.
 */
#ifndef COORDD_COORD_OUTCOME_H
#define COORDD_COORD_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

/*  X(NAME, number, status, code, retryable, title) */
#define OUTCOMES(X)                                                                                          \
    X(OK, 1, 200, "ok", false, "done")                                                                       \
    X(CREATED, 2, 201, "created", false, "made")                                                             \
    X(NOTHING, 3, 204, "nothing", false, "done, nothing to say")                                             \
    X(LOCK_HELD, 10, 423, "lock_held", false, "the lock is held")                                            \
    X(STALE_TOKEN, 11, 409, "stale_token", false, "the token is not current")                                \
    X(FENCED, 12, 412, "fenced", false, "the token is not the lock's current one")                           \
    X(LEASE_NOT_FOUND, 13, 404, "lease_not_found", false, "no such lease")                                   \
    X(LEASE_OVER, 14, 410, "lease_over", false, "the lease is over")                                         \
    X(DEADLOCK, 15, 409, "deadlock", false, "waiting would close a cycle")                                   \
    X(MODE_CONFLICT, 16, 409, "mode_conflict", false, "the lock is in use in another mode")                  \
    X(LIMIT_MISMATCH, 17, 409, "limit_mismatch", false, "the semaphore has another limit")                   \
    X(PERMITS_EXCEED_LIMIT, 18, 422, "permits_exceed_limit", false, "more permits than the limit")           \
    X(WAITER_NOT_FOUND, 19, 404, "waiter_not_found", false, "nobody of that name waits")                     \
    X(LOCK_NOT_HELD, 20, 409, "lock_not_held", false, "the lock is not held")                                \
    X(TOO_MANY_WAITERS, 21, 429, "too_many_waiters", true, "too many wait already")                          \
    X(SENSELESS, 22, 422, "senseless", false, "the fields contradict each other")                            \
    X(WAIT_BROKEN_OFF, 23, 409, "wait_broken_off", false, "the wait was broken off")                         \
    X(SESSION_OVER, 24, 503, "session_over", true,                                                           \
      "the node was cut off while the request waited; nothing was changed")                                  \
    X(ELECTION_HELD, 25, 423, "election_held", false, "somebody else leads")                                 \
    X(KEY_NOT_FOUND, 26, 404, "key_not_found", false, "no such key")                                         \
    X(PRECONDITION_FAILED, 27, 412, "precondition_failed", false, "the condition does not hold")             \
    X(GUARDED, 28, 428, "guarded", false, "the key is guarded by a lock: give its current fence")            \
    X(REVISION_GONE, 29, 410, "revision_gone", false, "the history up to that revision is trimmed")          \
    X(REVISION_AHEAD, 30, 422, "revision_ahead", false, "that revision is still to come")                    \
    X(TOO_MANY_KEYS, 31, 422, "too_many_keys", false, "too many keys for one request")                       \
    X(TXN_REFUSED, 32, 409, "txn_refused", false, "an operation was refused; nothing was changed")           \
    X(RETRY_MISMATCH, 33, 422, "idempotency_key_reused", false,                                              \
      "the Idempotency-Key belongs to another request")                                                      \
    X(RETRY_IN_FLIGHT, 34, 409, "duplicate_in_flight", true,                                                 \
      "a request with this Idempotency-Key is under way")                                                    \
    X(RETRY_FULL, 35, 429, "too_many_idempotency_keys", true, "too many Idempotency-Keys are remembered")    \
    X(LEASE_FULL, 36, 422, "lease_full", false, "too much hangs on the lease already")                       \
    X(NOT_LEADER, 37, 409, "not_leader", false, "the token is not of the present term of office")            \
    X(CANDIDATE_NOT_FOUND, 38, 404, "candidate_not_found", false, "no candidate of that name")               \
    X(GUARD_NOT_FOUND, 39, 404, "guard_not_found", false, "no guard on that prefix")                         \
    X(UNCHANGED, 40, 304, "unchanged", false, "nothing has changed")                                         \
    X(NOBODY_LEADS, 41, 409, "nobody_leads", false, "nobody leads")                                          \
    X(PARTLY_HELD, 42, 409, "partly_held", false, "the lease holds some of the locks already")               \
    X(CLAIM_LOST, 43, 410, "claim_lost", false,                                                              \
      "the claim is lost: its token is not the task's current one")                                          \
    X(TASK_NOT_FOUND, 44, 404, "task_not_found", false, "no such task in this queue")                        \
    X(QUEUE_NOT_FOUND, 45, 404, "queue_not_found", false, "no such queue")                                   \
    X(QUEUE_FULL, 46, 429, "queue_full", true, "the queue is full")                                          \
    X(QUEUE_DRAINING, 47, 409, "queue_draining", false, "the queue drains: it takes no more tasks")          \
    X(QUEUE_NOT_EMPTY, 48, 409, "queue_not_empty", false, "the queue has tasks that are not over")           \
    X(TASK_DUPLICATE, 49, 409, "task_duplicate", false, "a live task has that key")                          \
    X(TASK_OVER, 50, 409, "task_over", false, "the task is over already")                                    \
    X(SCHEDULE_NOT_FOUND, 51, 404, "schedule_not_found", false, "no such schedule")                          \
    X(TOO_MANY_SCHEDULES, 52, 429, "too_many_schedules", false, "there are too many schedules")              \
    X(GROUP_NOT_FOUND, 53, 404, "group_not_found", false, "no such group")                                   \
    X(MEMBER_GONE, 54, 410, "member_gone", false, "the membership is over: join again")                      \
    X(MEMBER_FENCED, 55, 409, "member_fenced", false, "the token is not the member's current one")           \
    X(MEMBER_UNKNOWN, 56, 404, "member_unknown", false, "no member of that id in this group")                \
    X(MEMBER_ALIVE, 57, 409, "member_alive", false, "a member of that id is alive already")                  \
    X(GROUP_FULL, 58, 429, "group_full", true, "the group is full")                                          \
    X(GROUP_NOT_EMPTY, 59, 409, "group_not_empty", false, "the group has members that are alive")            \
    X(NOBODY_ELIGIBLE, 60, 503, "nobody_eligible", true, "no member can be picked")                          \
    X(SHARD_NOT_FOUND, 61, 404, "shard_not_found", false, "no such shard in this group")                     \
    X(SHARD_NOT_OWNED, 62, 409, "shard_not_owned", false, "the token is not of the shard's present owner")   \
    X(BROADCAST_NOT_FOUND, 63, 404, "broadcast_not_found", false, "no such broadcast in this group")         \
    X(NOT_TARGETED, 64, 409, "not_targeted", false, "the broadcast was not for this member")                 \
    /* errors of the edge */                                                                                 \
    X(BAD_REQUEST, 100, 400, "bad_request", false, "the request is malformed")                               \
    X(BAD_JSON, 101, 400, "bad_json", false, "the body is not valid JSON")                                   \
    X(BAD_FIELD, 102, 400, "bad_field", false, "a field is unknown or out of range")                         \
    X(BAD_PATH, 103, 400, "bad_path", false, "the path is malformed")                                        \
    X(BAD_HOST, 104, 403, "bad_host", false, "the Host header names another server")                         \
    X(CROSS_SITE, 105, 403, "cross_site", false, "requests from other sites' pages are refused")             \
    X(ROUTE_NOT_FOUND, 106, 404, "route_not_found", false, "no such path")                                   \
    X(METHOD_NOT_ALLOWED, 107, 405, "method_not_allowed", false, "the path knows other methods")             \
    X(BODY_TOO_LARGE, 108, 413, "body_too_large", false, "the body is too large")                            \
    X(HEADERS_TOO_LARGE, 109, 431, "headers_too_large", false, "the headers are too large")                  \
    X(NOT_ACCEPTABLE, 110, 406, "not_acceptable", false, "no such representation")                           \
    X(NO_LEADER, 120, 503, "no_leader", true, "no leader is known; nothing was changed")                     \
    X(NO_QUORUM, 121, 503, "no_quorum", true, "the leader has lost its quorum; nothing was changed")         \
    X(OVERLOADED, 122, 503, "overloaded", true, "too much is under way; nothing was changed")                \
    X(SHUTTING_DOWN, 123, 503, "shutting_down", true, "the node is shutting down; nothing was changed")      \
    X(STARTING, 124, 503, "starting", true, "the node is starting; nothing was changed")                     \
    X(OUTCOME_UNKNOWN, 125, 504, "outcome_unknown", true, "submitted, but the outcome is unknown")           \
    X(STORAGE_FULL, 126, 507, "storage_full", false,                                                         \
      "no room: only reads, releases, deletes and renewals work")                                            \
    X(MIN_REVISION_AHEAD, 127, 503, "min_revision_ahead", true, "this node has not reached that revision")   \
    X(MEMBER_NOT_FOUND, 128, 404, "member_not_found", false, "no member of that name")                       \
    X(MEMBER_EXISTS, 129, 409, "member_exists", false, "there is a member of that name, id or address")      \
    X(CHANGE_PENDING, 130, 503, "change_pending", true, "another change of members is under way")            \
    X(LEARNER_BEHIND, 131, 503, "learner_behind", true, "the learner has not caught up yet")                 \
    X(QUORUM_AT_RISK, 132, 409, "quorum_at_risk", false, "too few voters that answer would be left")         \
    X(TRANSFER_FAILED, 133, 503, "transfer_failed", true, "leadership was not taken over in time")           \
    X(CHANGE_REFUSED, 134, 422, "change_refused", false, "the cluster cannot be changed like that")

enum outcome {
#define X(name, number, status, code, retryable, title) OUTCOME_##name = (number),
    OUTCOMES(X)
#undef X
};

struct outcome_facts {
    enum outcome outcome;
    int status;
    const char *code;
    bool retryable;
    const char *title;
};

bool outcome_exists(uint64_t number);
/* Never NULL for a value of the enumeration. */
const struct outcome_facts *outcome_facts(enum outcome outcome);

#endif
