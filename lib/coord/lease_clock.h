/* The leader's volatile deadlines of leases, by the protocol of shared/facts/leases.md (numbers below are its
 * steps). It reads no clock: times are milliseconds of the leader's CLOCK_BOOTTIME, given by the caller.
 *
 * A deadline lies at contact + ttl * (1 + rho) + delta, rho = 1 %, delta = one heartbeat interval. Deadlines
 * only rise. */
#ifndef COORDD_COORD_LEASE_CLOCK_H
#define COORDD_COORD_LEASE_CLOCK_H

#include "coord/primitive/lease.h"

struct lease_clock;

struct lease_clock *lease_clock_new(uint64_t heartbeat_ms);
void lease_clock_free(struct lease_clock *clock);

/* Step 1, once the term's own no-op is applied: every lease in the rows gets its full time from now, with up
 * to 10 % of jitter (a hash of its id) when more than 1,000 would otherwise fall due within one second. */
void lease_clock_take_office(struct lease_clock *clock, struct rows *rows, struct arena *arena,
                             uint64_t now_ms);
void lease_clock_lose_office(struct lease_clock *clock); /* step 6 */
bool lease_clock_in_office(const struct lease_clock *clock);

/* After each applied entry while in office: leases begun or touched (a full TTL from now), and ended ones
 * forgotten. */
void lease_clock_follow(struct lease_clock *clock, const struct lease_change *changes, uint64_t now_ms);

enum lease_standing {
    LEASE_GONE,
    LEASE_ALIVE,
    LEASE_EXPIRING /* an expiry is in the log, not yet applied: park (2a) */
};
enum lease_standing lease_clock_standing(const struct lease_clock *clock, uint64_t lease);
/* Step 3, after the round: the lease holds from when its renewal arrived (t0). False when it is gone or
 * expiring. */
bool lease_clock_renew(struct lease_clock *clock, uint64_t lease, uint64_t arrived_ms);
/* Milliseconds that may still be promised: ttl less the time since the last contact, 0 when over or unknown.
 */
uint64_t lease_clock_remaining(const struct lease_clock *clock, uint64_t lease, uint64_t now_ms);

/* Step 4. When the next deadline falls (UINT64_MAX: none); leases due at or before `by_ms` are marked
 * expiring and handed out for one lease.expire command, at most `max`. by_ms is when the confirmed round
 * began. */
uint64_t lease_clock_next_ms(const struct lease_clock *clock);
size_t lease_clock_due(struct lease_clock *clock, uint64_t by_ms, struct lease_expire_item *items,
                       size_t max);
/* Those of the items that are still marked were proposed in vain (the disk was full): due again. */
void lease_clock_not_proposed(struct lease_clock *clock, const struct lease_expire_item *items, size_t count);

/* Step 5: the loop stood still. Whoever renewed meanwhile is heard at its end, so no lease falls due before
 * its deadline and the longest gap since its last contact have passed. Gaps do not add up: a leader whose
 * turns are all slow still ends leases. */
void lease_clock_gap(struct lease_clock *clock, uint64_t gap_ms);

size_t lease_clock_count(const struct lease_clock *clock);
void lease_clock_check(const struct lease_clock *clock);

#endif
