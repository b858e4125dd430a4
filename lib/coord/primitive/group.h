/* Groups: membership by heartbeat (api.md 6, shared/facts/membership.md): what their files share.
 *
 *     group.c            the table of operations and the primitive
 *     group_row.c        the rows: a group or a member in hand is loaded, changed, saved
 *     group_state.c      transitions of members: counts, history, events, what follows for the group
 *     group_past.c       what is kept of them for their history
 *     group_join.c       join, update, leave, drain
 *     group_beat.c       heartbeats
 *     group_detect.c     what the leader's beats propose; expiry and the guard
 *     group_breaker.c    ejections of members that fail their callers, and their trials
 *     group_config.c     the group's settings, delete, force
 *     group_view.c       members and groups as shown; group_wait.c, group_history.c, group_text.c
 *     group_pick.c       picks; group_owners.c: owners of keys; group_report.c: how calls went
 *     group_shard.c      shards: rows, two-phase hand-over; group_share.c: whose they are
 *     group_broadcast.c  broadcasts and acknowledgements
 *     group_census.c     sums over all groups, the guard over all groups
 *     group_check.c      the invariants
 *     ../beats.[ch]      the leader's memory of heartbeats: never in the rows, never in the log
 *
 * A member is a lease of kind LEASE_MEMBER; its heartbeats renew it like any lease (shared/facts/leases.md),
 * so they are confirmed by a shared quorum round and never logged, and the promise of leases is that of
 * members: nobody is failed while its heartbeats were answered within their TTL. Only transitions are
 * commands.
 *
 * Rows:
 *     KEY_GROUP          group                  -> group_row
 *     KEY_GROUP_KEPT     (object.h)
 *     KEY_CENSUS                            -> census: sums over all groups, group_census.c
 *     KEY_MEMBER         group 0 member         -> member
 *     KEY_MEMBER_PAST    group 0 member         -> member_past: history
 *     KEY_MEMBER_STATE   group 0 state order(8) member -> nothing; order: index of the entry of the
 * transition KEY_SHARD          group 0 number(8)      -> shard
 *     KEY_SHARD_OF       group 0 member 0 number(8) -> nothing: the member has that shard; KEY_BROADCAST
 * group 0 number(8)      -> broadcast; number: index of its entry KEY_BROADCAST_ACK  group 0 number(8) member
 * -> its response; a row without one: not acknowledged yet
 *
 * On leases hangs 'm' group 0 member. Timers: a letter and a rest, see enum group_work.
 *
 * Invariants:
 * 1. A member in state ALIVE or SUSPECT has a lease of kind LEASE_MEMBER on which it hangs; no other member
 * has one.
 * 2. The group's counts are those of its members' states; each member has one KEY_MEMBER_STATE row.
 * 3. A member's token is the index of the entry in which it joined or came back; it only rises.
 * 4. A shard has one owner at most; a shard that is `revoking` has its old owner until that one has let go,
 * has left or is failed; its token rises with each new owner.
 * 5. `leader` of a group that wants one is a member whose lease is not over: an alive one, or one that became
 * suspect since. */
#ifndef COORDD_COORD_PRIMITIVE_GROUP_H
#define COORDD_COORD_PRIMITIVE_GROUP_H

#include "coord/event.h"
#include "coord/primitive/lease.h"
#include "coord/primitive/object.h"

enum {
    GROUP_CODE = 11,
    GROUP_KEPT_MAX = 10000,
    GROUP_ID_MAX = 128, /* bytes of a member's id */
    GROUP_TRANSITIONS_KEPT = 64,
    GROUP_DAYS_KEPT = 90,
    GROUP_SHARDS_MAX = 4096,
    GROUP_SHARD_MEMBERS_MAX = 1000, /* alive ones among which shards are shared */
    GROUP_BROADCAST_MAX = 8192,     /* bytes of a payload */
    GROUP_RESPONSE_MAX = 1024,
    GROUP_REPORT_WINDOW_MS = 10000, /* calls that are reported within it are judged together */
    GROUP_BROADCASTS_KEPT = 100,
    GROUP_WEIGHT_DEFAULT = 100,
    GROUP_WEIGHT_MAX = 10000,
    GROUP_WORK_MAX = 256
};

enum member_state {
    MEMBER_ALIVE = 1,
    MEMBER_SUSPECT,
    MEMBER_FAILED,
    MEMBER_LEFT,
    MEMBER_STATES = MEMBER_LEFT
};
/* As shown: "alive" "suspect" "failed" "left" "recovered" (alive, on probation) "draining" (alive, says or is
 * told so) */
extern const char *const member_shown_choices[];
enum member_health { HEALTH_PASS = 1, HEALTH_WARN, HEALTH_FAIL };
extern const char *const member_health_choices[];
/* Open: ejected. Half-open: on trial after an ejection, given a few probes. */
enum breaker { BREAKER_CLOSED = 1, BREAKER_OPEN, BREAKER_HALF_OPEN };
extern const char *const member_breaker_choices[];
enum detector { DETECTOR_FIXED = 1, DETECTOR_PHI };
enum guard_cause { GUARD_GROUP = 1, GUARD_ALL };
extern const char *const guard_cause_choices[];

struct group_config {
    uint64_t ttl_ms;        /* of members that give none: 15 s */
    uint64_t suspect_ms;    /* silence until suspect; 0: 2/3 of the ttl + 500 ms */
    uint64_t detector, phi; /* phi * 10; detector: of suspicion only */
    uint64_t probation_ms;  /* 60 s; doubles with each flap within the last hour, up to 30 min */
    uint64_t reap_failed_ms, reap_left_ms;           /* 72 h, 24 h */
    uint64_t guard_percent, guard_min, guard_max_ms; /* 30, 3, 120 s; percent 0: no guard */
    uint64_t rise, fall;                             /* equal healths in a row until it counts: 2, 2 */
    uint64_t panic_percent;                          /* 50 */
    uint64_t eject_percent, eject_requests, eject_reporters, eject_ms, eject_max_ms, eject_max_percent;
    uint64_t shards, rebalance_ms, move_limit; /* shards 0: none */
    bool leader;                               /* wants one */
    uint64_t max_members;
    uint64_t eject_probes; /* of a half-open member, in a window of reports: 3 */
};

extern const struct record group_config_record;
extern const struct group_config group_config_default;

struct group_row {
    const struct group_config *config; /* NULL: the defaults */
    uint64_t counts[MEMBER_STATES + 1];
    uint64_t version; /* index of the last transition or change */
    uint64_t created_ms, revision;
    struct slice leader; /* id; empty: none */
    uint64_t leader_token;
    /* guard */
    uint64_t guarded_ms;               /* since; 0: not */
    uint64_t window_ms, window_failed; /* failures in the window that began then */
    uint64_t guarded_total_ms;
    uint64_t guarded;                       /* members whose lease is over and that the guard keeps suspect */
    uint64_t broadcasts, broadcasts_end_ms; /* the latest end of one */
    uint64_t shards, shards_free, shards_moving;         /* rows; of them without an owner; to be let go of */
    uint64_t guard_due_ms, shards_due_ms, leader_due_ms; /* timers that are set; 0: none */
    uint64_t guard_round;        /* how many of the guarded are yet to fail in this round */
    uint64_t targets;            /* of all broadcasts that are kept */
    uint64_t ejected, half_open; /* members that are (group_breaker.c) */
    uint64_t eligible;           /* of the members, as of when each was stored last */
    uint64_t guard_cause;        /* enum guard_cause: of what is silent; 0: not guarded */
    uint64_t draining;           /* of those that are alive */
};

/* Over all groups: group_census.c. */
struct group_sums {
    uint64_t groups; /* with members, of whatever state */
    uint64_t counts[MEMBER_STATES + 1], draining;
    uint64_t guarded_groups, guarded, ejected, half_open;
    uint64_t watched, silent; /* up in groups with a guard; of them silent */
};
struct census {
    struct group_sums sums;
    uint64_t window_ms, window_end_ms, window_failed; /* of those watched, for want of heartbeats */
    uint64_t round_ms, round_members;                 /* the last round of GUARD_ALL that was given away */
};

struct group {
    struct apply *apply;
    struct slice name;
    struct group_row row;
    struct group_config config;
    bool exists, kept, changed;
    struct group_sums counted; /* its part in the census */
    bool census_read;
    struct census census;
};

struct member {
    struct slice id, address, zone, version;
    struct slice meta; /* JSON */
    struct list tags;  /* struct slice */
    uint64_t weight, ttl_ms, state, order;
    uint64_t token, lease;
    uint64_t joined_ms, since_ms;
    uint64_t health;                        /* as logged */
    bool draining, guarded;                 /* guarded: its time is over, the guard keeps it suspect */
    uint64_t flaps, flap_ms, probation_ms;  /* probation: until */
    uint64_t ejected_ms, ejections;         /* until; how often lately */
    uint64_t ejected_last_ms, half_open_ms; /* when last; until when on trial, 0: not so */
    uint64_t due_ms;                        /* its timer: probation, ejection, reaping; 0: none */
    bool counted_draining;                  /* not in its row: as the group's row has it */
    bool eligible;                          /* as of when it was stored last: what the group counts */
};

/* What is kept of a member for its history; changed at transitions only. */
struct transition {
    uint64_t at_ms, from, to, reason; /* reason: enum member_reason */
};
struct member_day {
    uint64_t day; /* since 1970 */
    uint64_t up_ms, down_ms, failures;
};
struct member_past {
    uint64_t first_ms; /* joined for the first time */
    uint64_t up_ms,
        down_ms; /* in closed stretches: alive or suspect; failed. Left and draining count as neither */
    uint64_t guarded_ms;
    uint64_t failures, recoveries, longest_down_ms;
    struct list transitions; /* newest first, the last 64 */
    struct list days;        /* newest first, the last 90 */
};

enum member_reason {
    MEMBER_JOINED = 1,
    MEMBER_REJOINED,
    MEMBER_TAKEN_OVER,
    MEMBER_SILENT,
    MEMBER_HEARD,
    MEMBER_EXPIRED,
    MEMBER_LEAVES,
    MEMBER_REMOVED,
    MEMBER_FORCED
};
extern const char *const member_reason_choices[];

/* group_row.c */
void group_load(struct group *group, struct apply *apply, struct slice name);
void group_save(struct group *group);
void group_remove(struct group *group); /* it has no members, broadcasts, timers */
void group_check_kept(struct rows *rows, struct arena *arena, uint64_t count);
bool member_get(struct group *group, struct slice id, struct member *member);
void member_put(struct group *group, struct member *member);     /* row only */
void member_delete(struct group *group, struct member *member);  /* all rows of its own; it has no lease */
struct key group_key_of(enum key_kind kind, struct slice group); /* kind group 0 */
/* Members in the order of their ids, or of when they entered a state (state != 0). `from` is where to go on.
 */
struct key member_first(struct slice group, uint64_t state, struct slice cursor);
bool member_next(struct group *group, uint64_t state, struct key *from, struct member *member);
/* Members of all groups, in the order of groups and ids; `from`: key_of(KEY_MEMBER) at first. */
bool member_next_of_all(struct apply *apply, struct key *from, struct slice *group, struct member *member);
struct key member_state_key(struct slice group, const struct member *member);
struct slice member_path(struct apply *apply, struct slice group,
                         struct slice id); /* "/groups/web/members/n1" */
bool member_on_probation(const struct member *member, uint64_t now_ms);
uint64_t member_flaps(const struct member *member, uint64_t now_ms); /* in the last hour; group_state.c */
uint64_t member_shown(const struct member *member, uint64_t now_ms); /* 1-based in member_shown_choices */
/* May picks, owners and shards use it: fit, and its breaker is closed. Fit: alive, not draining, not on
 * probation, health not fail. */
bool member_is_fit(const struct member *member, uint64_t now_ms);
bool member_is_eligible(const struct member *member, uint64_t now_ms);

/* group_past.c */
void member_past_get(struct group *group, struct slice id, struct member_past *past);
/* The transition that is about to come, into its history. */
void member_remember(struct group *group, const struct member *member, uint64_t to,
                     enum member_reason reason);

/* group_census.c: of a group in hand, from group_load to group_save. */
struct census group_census(struct apply *apply);
uint64_t census_up(const struct census *census); /* alive or suspect, in all groups */
void census_begin(struct group *group);
void census_end(struct group *group);
/* The member's lease has ended: are more than half of all silent, so that it is not to be failed? */
bool census_guards(struct group *group, const struct member *member);
void census_fails(struct group *group, const struct member *member); /* after census_guards, in spite of it */
/* When that many members of a group that is guarded for the sake of all may fail. */
uint64_t census_round_ms(struct group *group, uint64_t members);
void census_add(const struct group *group, struct group_sums *sums);
void census_check(struct apply *apply, const struct group_sums *sums);

enum group_event {
    GROUP_JOINED = 1,
    GROUP_UPDATED,
    GROUP_SUSPECTED,
    GROUP_CLEARED,
    GROUP_FAILED,
    GROUP_RECOVERED,
    GROUP_STEADY /* probation over */,
    GROUP_LEFT,
    GROUP_REAPED,
    GROUP_DRAINING,
    GROUP_HEALTH,
    GROUP_EJECTED,
    GROUP_UNEJECTED,
    GROUP_GUARDED,
    GROUP_UNGUARDED,
    GROUP_LEADER,
    GROUP_SHARD_OWNED,
    GROUP_SHARD_REVOKING,
    GROUP_SHARD_FREE,
    GROUP_BROADCAST_SENT,
    GROUP_BROADCAST_DONE,
    GROUP_SET,
    GROUP_REMOVED,
    GROUP_HALF_OPEN,
    GROUP_EVENTS = GROUP_HALF_OPEN
};

/* group_state.c: every change of a member's state goes through these; they keep counts, state rows, lease,
 * history, timer, the group's version, leader and shards, and tell the event. The caller saves the group. */
void member_begin(struct group *group, struct member *member,
                  enum member_reason reason); /* joins: new or back */
void member_enter(struct group *group, struct member *member, enum member_state state,
                  enum member_reason reason);
void member_store(struct group *group, struct member *member, enum group_event event); /* within its state */
/* Of a member, or of the group itself (member NULL). */
void group_tell(struct group *group, const struct member *member, enum group_event event);
extern const struct event_kind group_events[GROUP_EVENTS];
extern const struct record group_shard_event_record, group_broadcast_event_record; /* of their files */

/* group_detect.c: commands that the leader proposes, each with its term (ignored when the entry's differs)
 * and items that are ignored when the member's token or state is another by now. */
struct observe_item {
    uint64_t lease, token;
    uint64_t what;  /* enum observed */
    uint64_t value; /* health; of reports: half_open_ms of the member they are about */
};
enum observed {
    OBSERVED_SILENT = 1,
    OBSERVED_HEARD,
    OBSERVED_HEALTH,
    OBSERVED_BAD, /* outlier: eject */
    OBSERVED_GOOD /* its trial went well */
};
struct group_observe_args {
    uint64_t term;
    struct list items; /* struct observe_item, at most 1,024 */
};
extern const struct operation *const operation_group_observe;
extern const struct record group_observe_record;
void group_observe(struct apply *apply, const void *args);
bool group_member_of_lease(struct apply *apply, uint64_t lease, struct slice *name, struct slice *id);
void group_lease_ended(struct apply *apply, uint64_t lease, struct slice what, enum end_reason reason);
void group_leases_ended(struct apply *apply);
struct slice group_what_path(struct apply *apply, struct slice what);
void group_guard_look(struct group *group); /* after any transition: is it over? */
void group_guard_due(struct apply *apply, struct slice name);
uint64_t group_force_guarded(struct group *group); /* fails those that the guard keeps; how many */

/* group_breaker.c. half_open_ms: as it was when the calls were reported; when it is another by now, they
 * prove nothing. */
uint64_t member_breaker(const struct member *member); /* enum breaker */
void group_breaker_bad(struct group *group, struct member *member, uint64_t half_open_ms);
void group_breaker_good(struct group *group, struct member *member, uint64_t half_open_ms);
uint64_t group_breaker_due_ms(const struct member *member);            /* 0: it is closed */
bool group_breaker_due(struct group *group, struct member *member);    /* its time has come: it turned */
void group_breaker_forget(struct group *group, struct member *member); /* the membership is over */

/* --- timers --- */
enum group_work {
    GROUP_WORK_MEMBER = 'm' /* group 0 id */,
    GROUP_WORK_GUARD = 'g' /* group */,
    GROUP_WORK_SHARDS = 's' /* group: rebalance */,
    GROUP_WORK_LEADER = 'l' /* group: one entry has had a leader already */,
    GROUP_WORK_BROADCAST = 'b' /* group 0 number */
};

struct slice group_work_what(struct apply *apply, enum group_work work, struct slice group,
                             struct slice rest);
void member_set_timer(struct group *group, struct member *member, uint64_t due_ms);
void member_due(struct apply *apply, struct slice name, struct slice id,
                uint64_t at_ms);                                        /* GROUP_WORK_MEMBER */
void group_due(struct apply *apply, uint64_t at_ms, struct slice what); /* hooks, group.c */

/* --- the operations: arguments, results and apply functions, for the table in group.c --- */

struct group_name_args {
    struct slice group;
};
struct group_member_args {
    struct slice group, id;
};
extern const struct record group_name_record, group_member_record;
/* The facts of refusals: {group, id, state, token, since, members}. */
extern const struct record group_refused_record;
void group_refuse(struct group *group, const struct member *member, enum outcome outcome,
                  struct slice detail);
/* The member whose present token it is; false: the request is answered (unknown, fenced, gone). */
bool group_member_holds(struct group *group, struct slice id, uint64_t token, struct member *member);

/* group_join.c */
extern const struct record group_join_record, group_joined_record, group_leave_record, group_drain_record,
    group_fail_record;
void group_join(struct apply *apply, const void *args);
void group_leave(struct apply *apply, const void *args);
void group_drain(struct apply *apply, const void *args);
void group_fail(struct apply *apply, const void *args);
/* How often it should be heard: three times in its ttl, or as often as lets 20,000 heartbeats a second do for
 * the `up` members of all groups (then some 20 % more or less, by a draw of its own); but at least twice. The
 * ttl stays as it is. */
uint64_t group_heartbeat_ms(const struct member *member, uint64_t up);
/* group_config.c */
extern const struct record group_put_record, group_delete_record, group_forced_record;
void group_put(struct apply *apply, const void *args);
void group_delete(struct apply *apply, const void *args);
void group_force(struct apply *apply, const void *args);
/* group_beat.c */
extern const struct record group_beat_record, group_beaten_record, group_beats_record,
    group_beats_result_record;
void group_beat_renews(struct apply *apply, const void *args);
void group_beat_renewed(struct apply *apply, const void *args, const struct renewal *renewals, size_t count);
void group_beats_renew(struct apply *apply, const void *args);
void group_beats_renewed(struct apply *apply, const void *args, const struct renewal *renewals, size_t count);
/* group_view.c: the group and its members; group_wait.c; group_history.c */
extern const struct record group_view_record, group_list_args_record, group_list_record, member_view_record,
    member_list_args_record, member_list_record, group_wait_args_record, group_wait_record,
    group_history_args_record, group_history_record;
const void *group_view_of(struct group *group); /* of group_view_record */
void group_get(struct apply *apply, const void *args);
void group_list(struct apply *apply, const void *args);
void group_get_member(struct apply *apply, const void *args);
void group_members(struct apply *apply, const void *args);
void group_wait(struct apply *apply, const void *args);
void group_watch(struct arena *arena, const void *args, struct watch_request *request); /* of group.wait */
void group_history(struct apply *apply, const void *args);
/* group_text.c */
extern const struct record group_text_record;
void group_nginx(struct apply *apply, const void *args);
void group_http_sd(struct apply *apply, const void *args);
/* group_pick.c, group_owners.c */
extern const struct record group_pick_record, group_picked_record, group_owners_args_record,
    group_owners_record;
void group_pick(struct apply *apply, const void *args);
void group_owners(struct apply *apply, const void *args);
/* Weighted rendezvous hashing (Schindelhauer, Schomaker 2005): the member with the highest score of a key
 * owns it. In integers, so that every replica and every client comes to the same. */
uint64_t group_draw(struct slice key, struct slice member); /* evenly over 64 bits */
uint64_t group_score(struct slice key, struct slice member, uint64_t weight);
/* group_report.c: in the leader's memory */
extern const struct record group_report_record, group_reported_record;
void group_report(struct apply *apply, const void *args);
/* group_shard.c */
extern const struct record group_shards_args_record, group_shards_record, group_shard_ack_record,
    group_shard_record;
void group_shards(struct apply *apply, const void *args);
void group_shard_ack(struct apply *apply, const void *args);
void group_shards_due(struct apply *apply, struct slice name); /* GROUP_WORK_SHARDS */
void group_shards_forget(struct group *group); /* the group has none any more, or is deleted */
/* group_broadcast.c */
extern const struct record group_broadcast_record, group_broadcast_view_record, group_broadcast_get_record,
    group_broadcast_ack_record, group_broadcasts_args_record, group_broadcasts_record;
void group_broadcast(struct apply *apply, const void *args);
void group_broadcast_get(struct apply *apply, const void *args);
void group_broadcast_watch(struct arena *arena, const void *args, struct watch_request *request);
void group_broadcast_ack(struct apply *apply, const void *args);
void group_broadcasts(struct apply *apply, const void *args);
void group_broadcast_due(struct apply *apply, struct slice group,
                         struct slice rest); /* GROUP_WORK_BROADCAST */
void group_broadcasts_forget(struct group *group);
/* That the member has not acknowledged and whose time is not over, satisfied or not. */
uint64_t group_broadcasts_open(struct group *group, struct slice id);
/* group_check.c */
struct group_totals { /* rows of all groups */
    uint64_t members, leases, timers, shards, owned, broadcasts, acks;
    struct group_sums sums;
};
void group_shards_check(struct group *group, struct group_totals *totals);
void group_broadcasts_check(struct group *group, struct group_totals *totals);
bool group_timer_is_set(struct apply *apply, uint64_t at_ms, struct slice what);
void group_check(struct rows *rows, struct arena *arena);

/* --- what follows from transitions --- */
void group_leader_due(struct apply *apply, struct slice name); /* GROUP_WORK_LEADER */
void group_leader_look(struct group *group);                   /* after any transition, when config.leader */
void group_shards_look(struct group *group);                   /* after any transition, when config.shards */
void group_shards_let_go(struct group *group, const struct member *member); /* it has failed or left */
void group_shards_return(struct group *group, const struct member *member); /* it is back from a failure */

extern const struct primitive group_primitive;

#endif
