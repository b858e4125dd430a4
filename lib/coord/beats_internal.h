/* What the files of beats share: beats.c (time: who is heard, who is due), beats_roster.c (members and groups
 * as the rows say), beats_report.c (reports of calls).
 *
 * Invariants: 1. every beat is in its crew's array at `place`, in `by_name`, and in `by_lease` when it has a
 * lease. 2. the eligible ones are the first of the array, those on trial follow. 3. who is alive is in the
 * heap, at its deadline or before; nobody else is. 4. who wants something proposed is in the ring. 5. out of
 * office there are none. */
#ifndef COORDD_COORD_BEATS_INTERNAL_H
#define COORDD_COORD_BEATS_INTERNAL_H

#include "base/heap.h"
#include "base/map.h"
#include "coord/beats.h"

enum { GAPS_KEPT = 32, REPORTERS_KEPT = 1000 };

struct crew { /* of a group */
    struct roster roster;
    struct crew *next; /* whose name has the same hash */
    struct beat **beats;
    size_t capacity;
    uint64_t turn, probe_turn; /* probe_turn: from which on one of them may be a probe */
    size_t probe_from;
};

enum wanted { WANTS_HEARD = 1, WANTS_HEALTH = 2, WANTS_EJECTION = 4, WANTS_CLOSING = 8 };

struct trial { /* reports in the present window */
    uint64_t began_ms, ok, failed;
    size_t reporter_count;
    uint64_t *reporters; /* hashes of those that saw it fail */
    bool judged;         /* then what is reported in the same window proves nothing more */
};

struct beat {
    struct seat seat;
    struct beat *next; /* whose name has the same hash */
    struct crew *crew;
    size_t place;
    uint8_t *text;                          /* id, zone, address */
    uint64_t contact_ms;                    /* the last beat; or since when it counts as heard */
    uint64_t heard_ms;                      /* the last beat in this office; 0: none */
    uint64_t intervals, mean16, variance16; /* of the times between beats: how many; 16 times the average */
    uint64_t streak; /* so many beats in a row said seat.health, unlike what is logged */
    struct timer deadline;
    bool told;      /* that it is silent: then the timer is for telling it again */
    unsigned wants; /* enum wanted */
    struct beat *wants_before, *wants_after;
    struct trial *trial;
    uint64_t probing_ms, probes; /* since when, in the present window of probes; how many */
};

struct gap {
    uint64_t at_ms, length_ms; /* at: its end */
};

struct beats {
    bool in_office, ready;
    struct key from; /* loading: where to go on */
    uint64_t now_ms, time_ms;
    struct map by_lease, by_name, crews; /* by_name: group and member */
    struct heap deadlines;
    struct beat *first_wanting, *last_wanting;
    struct gap gaps[GAPS_KEPT]; /* lengths fall, times rise */
    size_t gap_count;
};

/* beats.c */
uint64_t beat_span_ms(const struct beat *beat); /* of silence until it is suspect */
uint64_t beat_deadline_ms(const struct beats *beats, const struct beat *beat);
void beat_schedule(struct beats *beats, struct beat *beat);               /* by its state and deadline */
void beat_begin(struct beats *beats, struct beat *beat, uint64_t now_ms); /* a membership begins */
void beat_look(struct beats *beats, struct beat *beat, uint64_t now_ms);  /* it was read from its row */
void beat_want(struct beats *beats, struct beat *beat, enum wanted what);
void beat_want_no_more(struct beats *beats, struct beat *beat, unsigned what);

/* beats_roster.c */
uint64_t beats_hash(struct slice group, struct slice id); /* never 0 */
struct beat *beats_find(const struct beats *beats, struct slice group, struct slice id);
void beats_load_member(struct beats *beats, struct group *group, const struct member *member,
                       uint64_t now_ms);
void beats_read_member(struct beats *beats, struct apply *reading, struct slice group, struct slice id,
                       uint64_t now_ms);
void beats_read_group(struct beats *beats, struct apply *reading, struct slice group);
void beats_forget_all(struct beats *beats);

/* beats_report.c */
void beat_acquit(struct beat *beat);
void beat_turned(struct beats *beats, struct beat *beat); /* its breaker */

#endif
