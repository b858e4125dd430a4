/* The census: sums over all groups, in one row, and the guard over all groups that looks at them.
 *
 * Row: KEY_CENSUS -> census; none while no group has a member.
 *
 * Invariants:
 * 1. The sums are those of the groups' rows. A group's part in them changes where its row is saved
 * (group_save, group_remove) and nowhere else: by what it is now less what it was when it was loaded.
 * 2. The guard over all groups ends as that of a group does: it makes groups guarded, and each of them leaves
 * its guard by itself. The census only puts their rounds one behind another, never further ahead than
 * ROUNDS_AHEAD_MS.
 *
 * The guard of a group lets the first few fail, so if the leader hears nobody, many small groups would all
 * be failed. Here it is the silence that counts: of members that are up in groups with a guard, those that
 * are suspect, and those that failed within the present window. A group with a suspicion of its own (suspect,
 * phi) may suspect early: there only those count whose time is over. */
#include "base/check.h"
#include "coord/primitive/group.h"

enum {
    SILENT_PERCENT = 50,
    MEMBERS_MIN = 10,
    WINDOW_MAX_MS = 120 * 1000,
    ROUND_MS = 10 * 1000,
    ROUND_PERCENT = 10,
    ROUNDS_AHEAD_MS = 90 * 1000
};

#define SUM(member) .type = FIELD_UINT, .offset = offsetof(struct census, sums.member), .name = #member
#define CENSUS(member) .type = FIELD_UINT, .offset = offsetof(struct census, member), .name = #member
static const struct field census_fields[] = {
    {.number = 1, SUM(groups)},
    {.number = 2, SUM(counts[MEMBER_ALIVE])},
    {.number = 3, SUM(counts[MEMBER_SUSPECT])},
    {.number = 4, SUM(counts[MEMBER_FAILED])},
    {.number = 5, SUM(counts[MEMBER_LEFT])},
    {.number = 6, SUM(draining)},
    {.number = 7, SUM(guarded_groups)},
    {.number = 8, SUM(guarded)},
    {.number = 9, SUM(watched)},
    {.number = 10, SUM(silent)},
    {.number = 11, CENSUS(window_ms)},
    {.number = 12, CENSUS(window_end_ms)},
    {.number = 13, CENSUS(window_failed)},
    {.number = 14, CENSUS(round_ms)},
    {.number = 15, CENSUS(round_members)},
    {.number = 16, SUM(ejected)},
    {.number = 17, SUM(half_open)},
};
static const struct record census_record = RECORD("census_row", census, census_fields);

enum { SUMS = sizeof(struct group_sums) / sizeof(uint64_t) };
_Static_assert(sizeof(struct group_sums) == SUMS * sizeof(uint64_t), "sums are numbers, and nothing else");

/* --- the row --- */

struct census group_census(struct apply *apply)
{
    struct census census;
    struct key key = key_of(KEY_CENSUS);
    return row_get(apply, key_slice(&key), &census_record, &census) ? census : (struct census){0};
}

static void put(struct apply *apply, const struct census *census)
{
    struct key key = key_of(KEY_CENSUS);
    if (census->sums.groups)
        row_put(apply, key_slice(&key), &census_record, census);
    else
        rows_delete(apply->rows, key_slice(&key));
}

uint64_t census_up(const struct census *census)
{
    return census->sums.counts[MEMBER_ALIVE] + census->sums.counts[MEMBER_SUSPECT];
}

/* --- the sums --- */

static bool suspects_by_itself(const struct group *group)
{
    return group->config.suspect_ms || group->config.detector == DETECTOR_PHI;
}

static struct group_sums sums_of(const struct group *group)
{
    const struct group_row *row = &group->row;
    struct group_sums sums = {.draining = row->draining,
                              .guarded_groups = row->guarded_ms > 0,
                              .guarded = row->guarded,
                              .ejected = row->ejected,
                              .half_open = row->half_open};
    for (size_t state = MEMBER_ALIVE; state <= MEMBER_STATES; state++) {
        sums.counts[state] = row->counts[state];
        if (row->counts[state]) sums.groups = 1;
    }
    if (!group->config.guard_percent) return sums;
    sums.watched = row->counts[MEMBER_ALIVE] + row->counts[MEMBER_SUSPECT];
    sums.silent = suspects_by_itself(group) ? row->guarded : row->counts[MEMBER_SUSPECT];
    return sums;
}

static void move(struct group_sums *sums, const struct group_sums *from, const struct group_sums *to)
{
    uint64_t numbers[3][SUMS];
    memcpy(numbers[0], sums, sizeof *sums);
    memcpy(numbers[1], from, sizeof *from);
    memcpy(numbers[2], to, sizeof *to);
    for (size_t i = 0; i < SUMS; i++) numbers[0][i] += numbers[2][i] - numbers[1][i];
    memcpy(sums, numbers[0], sizeof *sums);
}

void census_begin(struct group *group)
{
    group->counted = sums_of(group);
}

/* As if the group were saved just now. */
static struct census *census_of(struct group *group)
{
    struct group_sums now = sums_of(group);
    if (!group->census_read) group->census = group_census(group->apply);
    group->census_read = true;
    move(&group->census.sums, &group->counted, &now);
    group->counted = now;
    return &group->census;
}

void census_end(struct group *group)
{
    struct group_sums now = sums_of(group);
    if (group->census_read || memcmp(&now, &group->counted, sizeof now) != 0)
        put(group->apply, census_of(group));
    group->census_read = false;
}

/* --- the guard over all groups --- */

bool census_guards(struct group *group, const struct member *member)
{
    struct census *census = census_of(group);
    if (group->apply->time_ms >= census->window_end_ms) {
        census->window_ms = census->window_end_ms = group->apply->time_ms;
        census->window_failed = 0;
    }
    bool counted = member->state == MEMBER_SUSPECT && !suspects_by_itself(group);
    uint64_t silent = census->sums.silent + census->window_failed + !counted;
    uint64_t all = census->sums.watched + census->window_failed;
    return all >= MEMBERS_MIN && silent * 100 > all * SILENT_PERCENT;
}

void census_fails(struct group *group, const struct member *member)
{
    struct census *census = census_of(group);
    uint64_t span_ms = member->ttl_ms < WINDOW_MAX_MS ? member->ttl_ms : WINDOW_MAX_MS;
    census->window_failed++;
    if (census->window_end_ms < census->window_ms + span_ms)
        census->window_end_ms = census->window_ms + span_ms;
}

uint64_t census_round_ms(struct group *group, uint64_t members)
{
    struct census *census = census_of(group);
    uint64_t now_ms = group->apply->time_ms, most = (census->sums.watched * ROUND_PERCENT + 99) / 100;
    if (census->round_ms + ROUND_MS <= now_ms) {
        census->round_ms = now_ms;
        census->round_members = 0;
    } else if (census->round_members && census->round_members + members > most &&
               census->round_ms < now_ms + ROUNDS_AHEAD_MS) {
        census->round_ms += ROUND_MS;
        census->round_members = 0;
    }
    census->round_members += members;
    return census->round_ms > now_ms ? census->round_ms : now_ms;
}

/* --- invariants --- */

void census_add(const struct group *group, struct group_sums *sums)
{
    const struct group_sums none = {0}, now = sums_of(group);
    move(sums, &none, &now);
}

void census_check(struct apply *apply, const struct group_sums *sums)
{
    struct census census = group_census(apply);
    CHECK(memcmp(&census.sums, sums, sizeof *sums) == 0);
    CHECK(census.sums.silent <= census.sums.watched && census.window_ms <= census.window_end_ms &&
          census.window_end_ms <= census.window_ms + WINDOW_MAX_MS);
    CHECK(census.sums.draining <= census.sums.counts[MEMBER_ALIVE]);
}
