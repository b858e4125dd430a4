/* Picks: who should get the next request. Among the members that are eligible (alive, not draining, not on
 * probation, not ejected, healthy); when fewer than `panic` percent of those that are up are, among all that
 * are up (Envoy calls it the panic threshold). Those that are half-open get their probes (coord/beats.h).
 *
 * Chance comes from a counter of the group in the leader's memory, hashed: lib has no dice. */
#include "base/check.h"
#include "coord/beats.h"

enum { PICKS_MAX = 100, EXCLUDED_MAX = 32 };

enum policy {
    POLICY_TWO_CHOICES = 1,
    POLICY_ROUND_ROBIN,
    POLICY_RANDOM,
    POLICY_WEIGHTED,
    POLICY_LEAST_LOADED,
    POLICY_HASH
};
static const char *const policy_choices[] = {"two_choices",  "round_robin", "random", "weighted",
                                             "least_loaded", "hash",        NULL};
enum zone_rule { ZONE_PREFER = 1, ZONE_ONLY };
static const char *const zone_choices[] = {"prefer", "only", NULL};

struct pick_args {
    struct slice group, key, zone;
    uint64_t policy, zone_rule, n;
    struct list exclude;
};
#define ASKED(member) .offset = offsetof(struct pick_args, member)
static const struct field args_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     ASKED(group),
     .name = "group",
     .max = 255,
     .about = "its name"},
    {.number = 2,
     .type = FIELD_CHOICE,
     ASKED(policy),
     .name = "policy",
     .initial = POLICY_TWO_CHOICES,
     .choices = policy_choices,
     .about = "two_choices: the less loaded of two drawn ones; hash: the owner of key"},
    {.number = 3,
     .type = FIELD_TEXT,
     ASKED(key),
     .name = "key",
     .max = 480,
     .about = "with hash: what it is about"},
    {.number = 4,
     .type = FIELD_TEXT,
     ASKED(zone),
     .name = "zone",
     .max = 64,
     .about = "where the caller stands"},
    {.number = 5,
     .type = FIELD_CHOICE,
     ASKED(zone_rule),
     .name = "zone_rule",
     .initial = ZONE_PREFER,
     .choices = zone_choices,
     .about = "members of that zone, if there are any; or none others"},
    {.number = 6,
     .type = FIELD_UINT,
     ASKED(n),
     .name = "n",
     .min = 1,
     .max = PICKS_MAX,
     .initial = 1,
     .about = "how many different ones, the first choice first"},
    {.number = 7,
     .type = FIELD_TEXTS,
     ASKED(exclude),
     .name = "exclude",
     .max = EXCLUDED_MAX,
     .about = "ids that were tried already"},
};
const struct record group_pick_record = RECORD("group_pick", pick_args, args_fields);

struct picked_one {
    struct slice id, address, zone;
    uint64_t token;
    bool probe;
};
#define ONE(member) .offset = offsetof(struct picked_one, member), .name = #member
static const struct field one_fields[] = {
    {.number = 1, .type = FIELD_TEXT, ONE(id), .about = "of the member"},
    {.number = 2, .type = FIELD_TEXT, .flags = FIELD_NULL, ONE(address), .about = "where it is reached"},
    {.number = 3, .type = FIELD_TEXT, .flags = FIELD_NULL, ONE(zone), .about = "where it stands"},
    {.number = 4, .type = FIELD_UINT, ONE(token), .about = "of its membership"},
    {.number = 5, .type = FIELD_BOOL, ONE(probe), .about = "it is half-open: this is one of its probes"},
};
static const struct record one_record = RECORD("group_picked_one", picked_one, one_fields);

struct picked {
    struct slice id, address, zone;
    uint64_t token, candidates, revision;
    bool panic, probe;
    struct list all;
};
#define PICKED(member) .offset = offsetof(struct picked, member), .name = #member
static const struct field picked_fields[] = {
    {.number = 1, .type = FIELD_TEXT, PICKED(id), .about = "of the member"},
    {.number = 2, .type = FIELD_TEXT, .flags = FIELD_NULL, PICKED(address), .about = "where it is reached"},
    {.number = 3, .type = FIELD_TEXT, .flags = FIELD_NULL, PICKED(zone), .about = "where it stands"},
    {.number = 4, .type = FIELD_UINT, PICKED(token), .about = "of its membership"},
    {.number = 5,
     .type = FIELD_BOOL,
     PICKED(panic),
     .about = "too few are fit: picked among all that are up"},
    {.number = 6, .type = FIELD_UINT, PICKED(candidates), .about = "among how many"},
    {.number = 7,
     .type = FIELD_LIST,
     PICKED(all),
     .record = &one_record,
     .about = "with n: all of them, the first one too"},
    {.number = 8, .type = FIELD_UINT, PICKED(revision), .about = "of the group: of its last transition"},
    {.number = 9, .type = FIELD_BOOL, PICKED(probe), .about = "it is half-open: this is one of its probes"},
};
const struct record group_picked_record = RECORD("group_picked", picked, picked_fields);

/* --- among whom --- */

struct field_of {
    const struct seat *const *seats;
    size_t count;
    uint64_t dice;  /* state of the generator (splitmix64) */
    bool zone_only; /* of the zone that was asked for */
};

static uint64_t roll(struct field_of *among)
{
    uint64_t mixed = among->dice += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return mixed ^ mixed >> 31;
}

static bool is_excluded(const struct pick_args *args, const struct seat *seat)
{
    const struct slice *ids = args->exclude.items;
    for (size_t i = 0; i < args->exclude.count; i++)
        if (slice_equal(ids[i], seat->id)) return true;
    return false;
}

static bool is_asked_for(const struct pick_args *args, const struct seat *seat, bool zone_only)
{
    return (!zone_only || slice_equal(seat->zone, args->zone)) && !is_excluded(args, seat);
}

/* Those that may be picked as a matter of course; of a key, those on trial too, as long as they have probes:
 * a probe is one of the keys that will be theirs again. */
static size_t gather(struct apply *apply, const struct roster *roster, const struct pick_args *args,
                     bool panic, bool zone_only, const struct seat **seats)
{
    size_t count = 0, end = panic ? roster->count : roster->eligible;
    size_t trials = !panic && args->policy == POLICY_HASH ? roster->on_trial : 0;
    for (size_t i = 0; i < end + trials; i++) {
        const struct seat *seat = roster->seats[i];
        if (i >= end && !beats_has_probe(apply->beats, seat)) continue;
        if (is_asked_for(args, seat, zone_only)) seats[count++] = seat;
    }
    return count;
}

/* Nobody is to be left out: the roster itself will do, however many they are. */
static bool takes_all(const struct roster *roster, const struct pick_args *args)
{
    return !args->exclude.count && !args->zone.size && args->n == 1 &&
           (args->policy != POLICY_HASH || !roster->on_trial);
}

static struct field_of candidates(struct apply *apply, const struct roster *roster,
                                  const struct pick_args *args, bool panic)
{
    size_t end = panic ? roster->count : roster->eligible;
    struct field_of among = {.seats = roster->seats, .count = end, .zone_only = args->zone.size > 0};
    if (takes_all(roster, args)) return among;
    const struct seat **seats = arena_alloc(apply->arena, roster->count * sizeof *seats);
    among.seats = seats;
    among.count = gather(apply, roster, args, panic, among.zone_only, seats);
    if (!among.count && among.zone_only && args->zone_rule == ZONE_PREFER) {
        among.zone_only = false;
        among.count = gather(apply, roster, args, panic, false, seats);
    }
    return among;
}

static const struct seat *find_probe(const struct apply *apply, const struct roster *roster,
                                     const struct pick_args *args, bool zone_only)
{
    size_t from = beats_probe_from(apply->beats, args->group);
    for (size_t i = 0; i < roster->on_trial; i++) {
        const struct seat *seat = roster->seats[roster->eligible + (from + i) % roster->on_trial];
        if (args->policy == POLICY_WEIGHTED && !seat->weight) continue;
        if (is_asked_for(args, seat, zone_only) && beats_has_probe(apply->beats, seat)) return seat;
    }
    return NULL;
}

/* Whom this pick probes, whatever the others' load; NULL: nobody. A key is its owner's: see gather. */
static const struct seat *probe_of(const struct apply *apply, const struct roster *roster,
                                   const struct pick_args *args, const struct field_of *among)
{
    if (args->policy == POLICY_HASH || !roster->on_trial) return NULL;
    if (among->count && !beats_probe_is_due(apply->beats, args->group)) return NULL;
    const struct seat *probe = find_probe(apply, roster, args, args->zone.size > 0);
    return probe || among->zone_only ? probe : find_probe(apply, roster, args, false);
}

/* --- which --- */

static uint64_t load_of(const struct seat *seat)
{
    uint64_t scale = 1000000, load = seat->load * scale;
    if (seat->capacity) load = seat->inflight * scale / seat->capacity;
    if (!seat->capacity && seat->inflight) load = seat->inflight * scale;
    return seat->weight ? load / seat->weight : UINT64_MAX;
}

static size_t least_loaded(struct field_of *among)
{
    size_t start = (size_t)(roll(among) % among->count), best = start;
    for (size_t i = 1; i < among->count; i++) {
        size_t at = (start + i) % among->count;
        if (load_of(among->seats[at]) < load_of(among->seats[best])) best = at;
    }
    return best;
}

static size_t two_choices(struct field_of *among)
{
    size_t one = (size_t)(roll(among) % among->count);
    if (among->count == 1) return one;
    size_t other = (size_t)(roll(among) % (among->count - 1));
    other += other >= one;
    return load_of(among->seats[other]) < load_of(among->seats[one]) ? other : one;
}

static size_t weighted(struct field_of *among)
{
    uint64_t sum = 0, point;
    for (size_t i = 0; i < among->count; i++) sum += among->seats[i]->weight;
    if (!sum) return (size_t)(roll(among) % among->count);
    point = roll(among) % sum;
    for (size_t i = 0;; i++) {
        CHECK(i < among->count);
        if (point < among->seats[i]->weight) return i;
        point -= among->seats[i]->weight;
    }
}

static size_t owner(const struct field_of *among, struct slice key)
{
    size_t best = 0;
    uint64_t highest = 0;
    for (size_t i = 0; i < among->count; i++) {
        const struct seat *seat = among->seats[i];
        uint64_t score = group_score(key, seat->id, seat->weight);
        bool first = score == highest && slice_compare(seat->id, among->seats[best]->id) < 0;
        if (score < highest || (score == highest && !first)) continue;
        best = i;
        highest = score;
    }
    return best;
}

static size_t choose(struct field_of *among, const struct pick_args *args, uint64_t turn)
{
    switch ((enum policy)args->policy) {
    case POLICY_ROUND_ROBIN:
        return (size_t)(turn % among->count);
    case POLICY_RANDOM:
        return (size_t)(roll(among) % among->count);
    case POLICY_WEIGHTED:
        return weighted(among);
    case POLICY_LEAST_LOADED:
        return least_loaded(among);
    case POLICY_HASH:
        return owner(among, args->key);
    case POLICY_TWO_CHOICES:
        break;
    }
    return two_choices(among);
}

/* --- the query --- */

static struct field_of without(struct apply *apply, const struct field_of *among, size_t gone)
{
    const struct seat **seats = arena_alloc(apply->arena, among->count * sizeof *seats);
    size_t count = 0;
    for (size_t i = 0; i < among->count; i++)
        if (i != gone) seats[count++] = among->seats[i];
    return (struct field_of){seats, count, among->dice, among->zone_only};
}

static struct picked_one take(struct apply *apply, const struct seat *seat, size_t others, bool panic)
{
    bool probe = seat->on_trial && !panic;
    if (probe) beats_probe(apply->beats_told, seat, others);
    return (struct picked_one){seat->id, seat->address, seat->zone, seat->token, probe};
}

static void answer(struct group *group, const struct pick_args *args, struct field_of among, bool panic,
                   const struct seat *probe)
{
    struct apply *apply = group->apply;
    struct picked *picked = arena_alloc(apply->arena, sizeof *picked);
    struct picked_one *all = arena_alloc(apply->arena, args->n * sizeof *all);
    uint64_t turn = beats_next_turn(apply->beats_told, args->group);
    size_t count = 0, candidate_count = among.count + (probe != NULL);
    among.dice = group_score(args->group, SLICE("pick"), 1) ^ turn << 20;
    if (probe) all[count++] = take(apply, probe, among.count, panic);
    while (count < args->n && among.count) {
        size_t at = choose(&among, args, turn);
        all[count++] = take(apply, among.seats[at], among.count - 1, panic);
        if (count < args->n) among = without(apply, &among, at);
    }
    *picked = (struct picked){.id = all[0].id,
                              .address = all[0].address,
                              .zone = all[0].zone,
                              .token = all[0].token,
                              .probe = all[0].probe,
                              .candidates = candidate_count,
                              .revision = group->row.version,
                              .panic = panic,
                              .all = {all, count}};
    apply_answer(apply, OUTCOME_OK, &group_picked_record, picked);
}

/* Too few would be overrun. */
static bool panics(const struct group *group, const struct roster *roster)
{
    return roster->eligible * 100 < roster->count * group->config.panic_percent;
}

void group_pick(struct apply *apply, const void *arguments)
{
    const struct pick_args *args = arguments;
    struct group group;
    group_load(&group, apply, args->group);
    if (!group.exists) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
    } else if (!apply->beats) {
        group_refuse(&group, NULL, OUTCOME_SENSELESS, SLICE("the leader picks: not a stale read"));
    } else if ((args->policy == POLICY_HASH) != (args->key.size > 0)) {
        group_refuse(&group, NULL, OUTCOME_SENSELESS,
                     SLICE("the policy hash needs a key, no other takes one"));
    } else {
        const struct roster *roster = beats_roster(apply->beats, args->group);
        bool panic = roster && panics(&group, roster);
        struct field_of among = {0};
        if (roster) among = candidates(apply, roster, args, panic);
        const struct seat *probe = roster && !panic ? probe_of(apply, roster, args, &among) : NULL;
        if (among.count || probe)
            answer(&group, args, among, panic, probe);
        else
            group_refuse(&group, NULL, OUTCOME_NOBODY_ELIGIBLE, slice_of(NULL, 0));
    }
}
