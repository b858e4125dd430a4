/* The leader's memory of heartbeats: who was heard when, and what members say of their load and health. None
 * of it is in a row or an entry. Like lease_clock it reads no clock (times are milliseconds of the leader's
 * CLOCK_BOOTTIME, given by the caller), and out of office it is empty.
 *
 * It holds the members that are alive or suspect as the rows say ("rosters", one a group), follows them
 * through the events of applied entries, and says which transitions the leader is to propose (group.observe).
 * Whether a member fails is none of its business: that is the end of its lease (lease_clock). */
#ifndef COORDD_COORD_BEATS_H
#define COORDD_COORD_BEATS_H

#include "coord/primitive/group.h"

struct beats;

struct beats *beats_new(void);
void beats_free(struct beats *beats);

/* The members are loaded by beats_load, some at a time: a new leader does not wait for all of them. Each
 * counts as heard when it is loaded, and nothing that was heard or said in an office before is known. */
void beats_take_office(struct beats *beats);
/* Loads up to `max` members more. True when all are. */
bool beats_load(struct beats *beats, struct rows *rows, struct arena *arena, uint64_t now_ms, size_t max);
bool beats_ready(const struct beats *beats); /* in office, and all are loaded */
void beats_lose_office(struct beats *beats);
/* Which time it is, for seat->said_ms: once a turn. time_ms: ms since 1970. */
void beats_clock(struct beats *beats, uint64_t now_ms, uint64_t time_ms);

/* After each applied entry while in office: the members and groups that its events name are read again. */
void beats_follow(struct beats *beats, struct rows *rows, struct arena *arena, const struct event *events,
                  uint64_t now_ms);
/* A renewal of that lease was confirmed. `note`: an encoded struct beat_note that came with it, or empty.
 * Nothing when the lease is no member's. */
void beats_hear(struct beats *beats, uint64_t lease, uint64_t arrived_ms, struct slice note);
/* The loop stood still until now_ms: nobody falls due before the longest gap since its last beat has passed
 * on top of its deadline. Gaps do not add up. */
void beats_gap(struct beats *beats, uint64_t gap_ms, uint64_t now_ms);

/* When there will be something to propose; 0: at once, UINT64_MAX: nothing. */
uint64_t beats_next_ms(struct beats *beats);
/* What is to be proposed, of deadlines until by_ms: at most `max`, each once. */
size_t beats_due(struct beats *beats, uint64_t by_ms, struct observe_item *items, size_t max);
/* Those were proposed in vain (leadership is being handed over): they are due again. */
void beats_not_proposed(struct beats *beats, const struct observe_item *items, size_t count);

/* What a member says of itself with a heartbeat. Not in a heartbeat: 0, empty. */
struct beat_note {
    bool said; /* true: so that a note that says only zeroes is not empty */
    uint64_t load, inflight, capacity, health;
    struct slice metrics; /* JSON */
};
extern const struct record beat_note_record;

/* --- rosters, for queries: valid until the next call that changes the memory --- */

struct seat {
    struct slice id, zone;
    uint64_t token, lease, weight, state, ttl_ms;
    uint64_t logged_health; /* as the row says */
    bool eligible;          /* member_is_eligible, as of the last entry about it */
    bool on_trial;          /* fit, but half-open: it gets probes only */
    uint64_t ejected_ms, half_open_ms;
    bool draining;
    struct slice address;
    /* as it said last: */
    uint64_t said_ms; /* ms since 1970; 0: nothing yet in this office */
    uint64_t load, inflight, capacity, health;
    struct slice metrics;
};

struct roster {
    struct slice group;
    struct group_config config;
    const struct seat *const *seats; /* first the eligible ones, then those on trial; in no order within */
    size_t count, eligible, on_trial;
};

/* NULL: nobody of that group is alive or suspect. */
const struct roster *beats_roster(const struct beats *beats, struct slice group);
const struct seat *beats_seat(const struct beats *beats, struct slice group,
                              struct slice id); /* NULL: none */
/* The next number of the group's turn, from 0, for round robins. */
uint64_t beats_next_turn(struct beats *beats, struct slice group);

/* --- reports of calls (outliers), and probes --- */

/* `reporter` has called the member that often. A member is bad, and its ejection is proposed, when within
 * 10 s there were eject_requests, eject_percent of them failed, and eject_reporters different ones each saw
 * that share fail. A half-open member is judged by eject_probes calls, and by fewer reporters when so few
 * calls cannot come from as many (beats_report.c); when a smaller share failed, it is good, and the end of
 * its trial is proposed. What is told of one that is ejected is of calls before that: it proves nothing.
 * False: there is no such member. */
bool beats_report(struct beats *beats, struct slice group, struct slice id, struct slice reporter,
                  uint64_t ok, uint64_t failed, uint64_t now_ms);

/* A member on trial gets eject_probes picks in 10 s at most, so that a lost probe is followed by others.
 * Probes go first, else in a large group they were a matter of luck; but of the picks of a group only every
 * tenth is one, or, among fewer than nine others, as often as each of those is picked: beats_probe_is_due. */
bool beats_probe_is_due(const struct beats *beats, struct slice group);
bool beats_has_probe(const struct beats *beats, const struct seat *seat); /* one more in these 10 s */
/* Where among those on trial to look for the next one. */
size_t beats_probe_from(const struct beats *beats, struct slice group);
/* It is picked for one; `others`: that could have been picked as well. After beats_next_turn. */
void beats_probe(struct beats *beats, const struct seat *seat, size_t others);

/* When the present turn began, on the leader's clock: for beats_report. */
uint64_t beats_now_ms(const struct beats *beats);

size_t beats_count(const struct beats *beats); /* members */
void beats_check(const struct beats *beats);

#endif
