/* The breakers of members, as a leader works them: reports in, proposals into the log, timers. */
#ifndef COORDD_TESTS_UNIT_BREAKER_TEST_H
#define COORDD_TESTS_UNIT_BREAKER_TEST_H

#include "tests/unit/beats_test.h"

#define WEB ",\"ttl\":\"1h\"" /* of members: nobody is suspect */

/* What the leader has to propose goes through the log. */
static inline void propose(struct leader *leader)
{
    while (due(leader)) observe(leader, TERM);
}

/* Time passes, and every timer comes in its own time. */
static inline void pass(struct leader *leader, uint64_t span_ms)
{
    uint64_t end_ms = leader->now_ms + span_ms, due_ms;
    while ((due_ms = coord_due_ms(leader->rows)) <= WALL_MS + end_ms - START_MS) {
        if (due_ms > wall_ms(leader)) leader->now_ms = START_MS + due_ms - WALL_MS;
        run(leader, operation_due, &(struct due_args){0}, TERM);
    }
    leader->now_ms = end_ms;
    beats_clock(leader->beats, leader->now_ms, wall_ms(leader));
}

static inline struct member member_of(struct leader *leader, const char *id)
{
    struct apply apply;
    struct group group;
    struct member member = {0};
    apply_begin(&apply, leader->rows, &leader->arena, leader->index, TERM, wall_ms(leader));
    group_load(&group, &apply, SLICE("web"));
    assert_true(member_get(&group, slice_text(id), &member));
    return member;
}

static inline enum breaker breaker_of(struct leader *leader, const char *id)
{
    struct member member = member_of(leader, id);
    return (enum breaker)member_breaker(&member);
}

static inline void report(struct leader *leader, const char *reporter, const char *id, unsigned ok,
                          unsigned failed)
{
    char json[200];
    snprintf(json, sizeof json,
             "{\"group\":\"web\",\"reporter\":\"%s\",\"results\":[{\"id\":\"%s\",\"ok\":%u,\"failed\":%u}]}",
             reporter, id, ok, failed);
    assert_int_equal(ask(leader, "group.report", json, false), OUTCOME_OK);
}

/* As many callers as it takes see it fail. */
static inline void eject(struct leader *leader, const char *id)
{
    assert_int_equal(breaker_of(leader, id), BREAKER_CLOSED);
    for (int i = 0; i < 10; i++) report(leader, (char[]){(char)('p' + i), 0}, id, 0, 100);
    propose(leader);
}

/* Ejected, and that is over. */
static inline void put_on_trial(struct leader *leader, const char *id)
{
    eject(leader, id);
    assert_int_equal(breaker_of(leader, id), BREAKER_OPEN);
    pass(leader, member_of(leader, id).ejected_ms - wall_ms(leader));
    assert_int_equal(breaker_of(leader, id), BREAKER_HALF_OPEN);
}

#endif
