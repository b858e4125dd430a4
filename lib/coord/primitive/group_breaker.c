/* The circuit breaker of each member, moved by what its callers report (beats_report.c judges, in the
 * leader's memory) and by time:
 *
 *     closed    -- its callers fail -->                       open: ejected, until ejected_ms
 *     open      -- its time is over -->                       half-open: on trial, until half_open_ms
 *     half-open -- its probes go well, or its time is over --> closed
 *     half-open -- its probes fail -->                        open, for twice as long
 *
 * Only who is closed is picked as a matter of course, owns keys and has shards; who is half-open gets a few
 * probes (group_pick.c). A trial in which nobody calls, or too few do, proves nothing: it ends by itself.
 *
 * Invariants:
 * 1. ejected_ms and half_open_ms are not both set. With one of them the member is alive or suspect and has a
 * timer, then or before: no breaker stays open, or half-open, for ever.
 * 2. The group's `ejected` and `half_open` count them.
 * 3. When a member is ejected, all that are ejected or half-open are eject_max percent of the alive ones at
 * most, this one counted. (Later others may leave.) */
#include "base/check.h"
#include "coord/primitive/group.h"

enum { RESET_TIMES = 8 /* of the longest ejection, since the last one: then it is the first again */ };

const char *const member_breaker_choices[] = {"closed", "open", "half_open", NULL};

uint64_t member_breaker(const struct member *member)
{
    if (member->ejected_ms) return BREAKER_OPEN;
    return member->half_open_ms ? BREAKER_HALF_OPEN : BREAKER_CLOSED;
}

static void turn(struct group *group, struct member *member, uint64_t ejected_ms, uint64_t half_open_ms)
{
    struct group_row *row = &group->row;
    row->ejected -= member->ejected_ms > 0;
    row->half_open -= member->half_open_ms > 0;
    member->ejected_ms = ejected_ms;
    member->half_open_ms = half_open_ms;
    row->ejected += ejected_ms > 0;
    row->half_open += half_open_ms > 0;
    group->changed = true;
}

static bool leaves_enough(const struct group *group, const struct member *member)
{
    uint64_t out = group->row.ejected + group->row.half_open + (member_breaker(member) == BREAKER_CLOSED);
    return out * 100 <= group->row.counts[MEMBER_ALIVE] * group->config.eject_max_percent;
}

/* Twice as long as the one before, unless that was long ago. */
static uint64_t next_span_ms(const struct group *group, struct member *member)
{
    const struct group_config *config = &group->config;
    uint64_t span_ms = config->eject_ms;
    if (group->apply->time_ms > member->ejected_last_ms + RESET_TIMES * config->eject_max_ms)
        member->ejections = 0;
    for (uint64_t i = 0; i < member->ejections && span_ms < config->eject_max_ms; i++) span_ms *= 2;
    return span_ms < config->eject_max_ms ? span_ms : config->eject_max_ms;
}

void group_breaker_bad(struct group *group, struct member *member, uint64_t half_open_ms)
{
    uint64_t now_ms = group->apply->time_ms;
    bool stale = member->ejected_ms || member->half_open_ms != half_open_ms;
    if (stale || member->state != MEMBER_ALIVE) return;
    if (!group->config.eject_percent || !leaves_enough(group, member)) return;
    turn(group, member, now_ms + next_span_ms(group, member), 0);
    member->ejections++;
    member->ejected_last_ms = now_ms;
    member_store(group, member, GROUP_EJECTED);
}

void group_breaker_good(struct group *group, struct member *member, uint64_t half_open_ms)
{
    if (!member->half_open_ms || member->half_open_ms != half_open_ms) return;
    turn(group, member, 0, 0);
    member_store(group, member, GROUP_UNEJECTED);
}

uint64_t group_breaker_due_ms(const struct member *member)
{
    return member->ejected_ms ? member->ejected_ms : member->half_open_ms;
}

/* A trial is as long as the ejection was; but within less than a window of reports it could prove nothing. */
bool group_breaker_due(struct group *group, struct member *member)
{
    uint64_t now_ms = group->apply->time_ms, due_ms = group_breaker_due_ms(member);
    if (!due_ms || due_ms > now_ms) return false;
    bool tried = member->ejected_ms && group->config.eject_percent;
    uint64_t span_ms = member->ejected_ms - member->ejected_last_ms;
    if (span_ms < GROUP_REPORT_WINDOW_MS) span_ms = GROUP_REPORT_WINDOW_MS;
    turn(group, member, 0, tried ? now_ms + span_ms : 0);
    member_store(group, member, tried ? GROUP_HALF_OPEN : GROUP_UNEJECTED);
    return true;
}

void group_breaker_forget(struct group *group, struct member *member)
{
    if (member_breaker(member) != BREAKER_CLOSED) turn(group, member, 0, 0);
}
