/* The rosters: the members that are alive or suspect, and their groups' settings, as the rows say. */
#include "coord/beats_internal.h"

#include "base/check.h"
#include "base/memory.h"

static uint64_t hash(uint64_t from, struct slice bytes)
{
    for (size_t i = 0; i < bytes.size; i++) from = (from ^ bytes.data[i]) * 0x100000001b3u;
    return from;
}

uint64_t beats_hash(struct slice group, struct slice id)
{
    uint64_t hashed = hash(hash(0xcbf29ce484222325u, group) * 0x100000001b3u, id);
    return hashed ? hashed : 1;
}

/* --- groups --- */

static struct crew *find_crew(const struct beats *beats, struct slice group)
{
    struct crew *crew = map_get(&beats->crews, beats_hash(group, slice_of(NULL, 0)));
    while (crew && !slice_equal(crew->roster.group, group)) crew = crew->next;
    return crew;
}

static struct crew *add_crew(struct beats *beats, struct slice group)
{
    uint64_t hashed = beats_hash(group, slice_of(NULL, 0));
    struct crew *crew = memory_new(sizeof *crew + group.size);
    uint8_t *name = (uint8_t *)(crew + 1);
    memcpy(name, group.data, group.size);
    crew->roster.group = slice_of(name, group.size);
    crew->next = map_get(&beats->crews, hashed);
    map_put(&beats->crews, hashed, crew);
    return crew;
}

static void drop_crew(struct beats *beats, struct crew *crew)
{
    uint64_t hashed = beats_hash(crew->roster.group, slice_of(NULL, 0));
    struct crew *first = map_remove(&beats->crews, hashed), *left = NULL;
    for (struct crew *next; first; first = next) {
        next = first->next;
        if (first == crew) continue;
        first->next = left;
        left = first;
    }
    if (left) map_put(&beats->crews, hashed, left);
    free(crew->beats);
    free(crew);
}

/* --- places: the eligible ones are the first, those on trial follow --- */

static void put_at(struct crew *crew, struct beat *beat, size_t place)
{
    crew->beats[place] = beat;
    beat->place = place;
}

static void exchange(struct crew *crew, size_t a, size_t b)
{
    struct beat *first = crew->beats[a];
    put_at(crew, crew->beats[b], a);
    put_at(crew, first, b);
}

/* From section to section: each is entered and left at its border. */
static void set_section(struct crew *crew, struct beat *beat, bool eligible, bool on_trial)
{
    struct roster *roster = &crew->roster;
    struct seat *seat = &beat->seat;
    if (seat->eligible == eligible && seat->on_trial == on_trial) return;
    if (seat->eligible) {
        exchange(crew, beat->place, --roster->eligible);
        roster->on_trial++;
    }
    if ((seat->eligible || seat->on_trial) && !eligible && !on_trial)
        exchange(crew, beat->place, roster->eligible + --roster->on_trial);
    if (!seat->eligible && !seat->on_trial)
        exchange(crew, beat->place, roster->eligible + roster->on_trial++);
    if (eligible) {
        exchange(crew, beat->place, roster->eligible++);
        roster->on_trial--;
    }
    seat->eligible = eligible;
    seat->on_trial = on_trial;
}

static void enter_crew(struct crew *crew, struct beat *beat)
{
    struct roster *roster = &crew->roster;
    if (roster->count == crew->capacity) {
        crew->capacity = crew->capacity ? crew->capacity * 2 : 4;
        crew->beats = memory_resize(crew->beats, crew->capacity * sizeof(struct beat *));
        roster->seats = (const struct seat *const *)(void *)crew->beats;
    }
    beat->crew = crew;
    put_at(crew, beat, roster->count++);
}

static void leave_crew(struct beats *beats, struct beat *beat)
{
    struct crew *crew = beat->crew;
    set_section(crew, beat, false, false);
    exchange(crew, beat->place, --crew->roster.count);
    if (!crew->roster.count) drop_crew(beats, crew);
}

/* --- members --- */

static bool is_named(const struct beat *beat, struct slice group, struct slice id)
{
    return slice_equal(beat->seat.id, id) && slice_equal(beat->crew->roster.group, group);
}

struct beat *beats_find(const struct beats *beats, struct slice group, struct slice id)
{
    struct beat *beat = map_get(&beats->by_name, beats_hash(group, id));
    while (beat && !is_named(beat, group, id)) beat = beat->next;
    return beat;
}

static void unname(struct beats *beats, struct beat *beat)
{
    uint64_t hashed = beats_hash(beat->crew->roster.group, beat->seat.id);
    struct beat *first = map_remove(&beats->by_name, hashed), *left = NULL;
    for (struct beat *next; first; first = next) {
        next = first->next;
        if (first == beat) continue;
        first->next = left;
        left = first;
    }
    if (left) map_put(&beats->by_name, hashed, left);
}

static void free_beat(struct beat *beat)
{
    beat_acquit(beat);
    free((void *)(uintptr_t)beat->seat.metrics.data);
    free(beat->text);
    free(beat);
}

static void forget(struct beats *beats, struct beat *beat)
{
    beat_want_no_more(beats, beat, ~0u);
    heap_remove(&beats->deadlines, &beat->deadline);
    if (beat->seat.lease) map_remove(&beats->by_lease, beat->seat.lease);
    unname(beats, beat);
    leave_crew(beats, beat);
    free_beat(beat);
}

static struct slice place_text(uint8_t **at, struct slice text)
{
    struct slice placed = slice_of(*at, text.size);
    if (text.size) memcpy(*at, text.data, text.size);
    *at += text.size;
    return placed;
}

static void set_text(struct beat *beat, const struct member *member)
{
    struct seat *seat = &beat->seat;
    if (beat->text && slice_equal(seat->zone, member->zone) && slice_equal(seat->address, member->address))
        return;
    uint8_t *text = memory_new(member->id.size + member->zone.size + member->address.size), *at = text;
    seat->id = place_text(&at, member->id);
    seat->zone = place_text(&at, member->zone);
    seat->address = place_text(&at, member->address);
    free(beat->text);
    beat->text = text;
}

static void set_lease(struct beats *beats, struct beat *beat, uint64_t lease)
{
    if (lease == beat->seat.lease) return;
    if (beat->seat.lease) map_remove(&beats->by_lease, beat->seat.lease);
    if (lease) map_put(&beats->by_lease, lease, beat);
    beat->seat.lease = lease;
}

static struct beat *add(struct beats *beats, struct crew *crew, const struct member *member)
{
    struct beat *beat = memory_new(sizeof *beat);
    uint64_t hashed = beats_hash(crew->roster.group, member->id);
    set_text(beat, member);
    beat->next = map_get(&beats->by_name, hashed);
    map_put(&beats->by_name, hashed, beat);
    enter_crew(crew, beat);
    return beat;
}

void beats_load_member(struct beats *beats, struct group *group, const struct member *member, uint64_t now_ms)
{
    struct beat *beat = beats_find(beats, group->name, member->id);
    struct crew *crew = beat ? beat->crew : find_crew(beats, group->name);
    if (!crew) {
        crew = add_crew(beats, group->name);
        crew->roster.config = group->config;
    }
    if (!beat) beat = add(beats, crew, member);
    struct seat *seat = &beat->seat;
    bool anew = seat->token != member->token;
    set_text(beat, member);
    set_lease(beats, beat, member->lease);
    seat->token = member->token;
    seat->weight = member->weight;
    seat->state = member->state;
    seat->ttl_ms = member->ttl_ms;
    seat->logged_health = member->health;
    seat->draining = member->draining;
    uint64_t time_ms = group->apply->time_ms, breaker = member_breaker(member);
    set_section(crew, beat, member_is_eligible(member, time_ms),
                member_is_fit(member, time_ms) && breaker == BREAKER_HALF_OPEN);
    bool turned = seat->ejected_ms != member->ejected_ms || seat->half_open_ms != member->half_open_ms;
    seat->ejected_ms = member->ejected_ms;
    seat->half_open_ms = member->half_open_ms;
    if (turned) beat_turned(beats, beat);
    if (anew) beat_begin(beats, beat, now_ms);
    beat_look(beats, beat, now_ms);
}

void beats_read_member(struct beats *beats, struct apply *reading, struct slice group_name, struct slice id,
                       uint64_t now_ms)
{
    struct group group;
    struct member member;
    group_load(&group, reading, group_name);
    bool there =
        member_get(&group, id, &member) && (member.state == MEMBER_ALIVE || member.state == MEMBER_SUSPECT);
    struct beat *beat = there ? NULL : beats_find(beats, group_name, id);
    if (there) beats_load_member(beats, &group, &member, now_ms);
    if (beat) forget(beats, beat);
}

void beats_read_group(struct beats *beats, struct apply *reading, struct slice group_name)
{
    struct group group;
    struct crew *crew = find_crew(beats, group_name);
    if (!crew) return;
    group_load(&group, reading, group_name);
    if (memcmp(&crew->roster.config, &group.config, sizeof group.config) == 0) return;
    crew->roster.config = group.config;
    for (size_t i = 0; i < crew->roster.count; i++) beat_schedule(beats, crew->beats[i]);
}

void beats_forget_all(struct beats *beats)
{
    for (size_t i = 0; i < beats->crews.capacity; i++)
        for (struct crew *crew = beats->crews.slots[i].value, *next; crew; crew = next) {
            next = crew->next;
            for (size_t k = 0; k < crew->roster.count; k++) free_beat(crew->beats[k]);
            free(crew->beats);
            free(crew);
        }
    map_free(&beats->crews);
    map_free(&beats->by_name);
    map_free(&beats->by_lease);
    heap_free(&beats->deadlines);
    beats->first_wanting = beats->last_wanting = NULL;
}

/* --- for queries --- */

const struct roster *beats_roster(const struct beats *beats, struct slice group)
{
    const struct crew *crew = find_crew(beats, group);
    return crew ? &crew->roster : NULL;
}

const struct seat *beats_seat(const struct beats *beats, struct slice group, struct slice id)
{
    const struct beat *beat = beats_find(beats, group, id);
    return beat ? &beat->seat : NULL;
}

uint64_t beats_next_turn(struct beats *beats, struct slice group)
{
    struct crew *crew = find_crew(beats, group);
    return crew ? crew->turn++ : 0;
}

static void check_crew(const struct beats *beats, const struct crew *crew)
{
    const struct roster *roster = &crew->roster;
    CHECK(roster->count && roster->eligible + roster->on_trial <= roster->count);
    for (size_t i = 0; i < crew->roster.count; i++) {
        const struct beat *beat = crew->beats[i];
        CHECK(beat->place == i && beat->crew == crew && beat->seat.eligible == (i < roster->eligible));
        CHECK(beat->seat.on_trial == (i >= roster->eligible && i < roster->eligible + roster->on_trial));
        CHECK(beats_find(beats, crew->roster.group, beat->seat.id) == beat);
        CHECK(!beat->seat.lease || map_get(&beats->by_lease, beat->seat.lease) == beat);
        CHECK((beat->deadline.place != 0) == (beat->seat.state == MEMBER_ALIVE));
        CHECK(!beat->deadline.place || beat->told || beat->deadline.at_ms <= beat_deadline_ms(beats, beat));
    }
}

void beats_check(const struct beats *beats)
{
    size_t alive = 0, wanting = 0, chained = 0;
    CHECK(beats->in_office || (!beats->crews.count && !beats->ready));
    for (size_t i = 0; i < beats->crews.capacity; i++)
        for (const struct crew *crew = beats->crews.slots[i].value; crew; crew = crew->next) {
            check_crew(beats, crew);
            for (size_t k = 0; k < crew->roster.count; k++) {
                alive += crew->beats[k]->seat.state == MEMBER_ALIVE;
                wanting += crew->beats[k]->wants != 0;
            }
        }
    for (const struct beat *beat = beats->first_wanting; beat; beat = beat->wants_after) chained++;
    CHECK(alive == beats->deadlines.count && wanting == chained);
}

size_t beats_count(const struct beats *beats)
{
    size_t count = 0;
    for (size_t i = 0; i < beats->crews.capacity; i++)
        for (const struct crew *crew = beats->crews.slots[i].value; crew; crew = crew->next)
            count += crew->roster.count;
    return count;
}
