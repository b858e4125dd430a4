/* When members beat, who falls silent, and what the leader is to propose of it.
 *
 * A beat does not touch the heap: a timer that fires early looks how late it really is. So beats cost a look
 * in a map, and a member moves in the heap once in a while of silence that would make it suspect. */
#include "coord/beats.h"

#include "base/check.h"
#include "base/memory.h"
#include "coord/beats_internal.h"

enum {
    EWMA = 16,            /* an average forgets a sixteenth with each beat */
    INTERVALS_ENOUGH = 8, /* before that, the fixed rule */
    SIGMA_MIN_MS = 100,
    SUSPECT_MARGIN_MS = 500
};

#define NOTE(field) .offset = offsetof(struct beat_note, field), .name = #field
static const struct field note_fields[] = {
    {.number = 1, .type = FIELD_BOOL, NOTE(said)},
    {.number = 2, .type = FIELD_UINT, NOTE(load)},
    {.number = 3, .type = FIELD_UINT, NOTE(inflight)},
    {.number = 4, .type = FIELD_UINT, NOTE(capacity)},
    {.number = 5, .type = FIELD_CHOICE, NOTE(health), .choices = member_health_choices},
    {.number = 6, .type = FIELD_JSON, NOTE(metrics)},
};
const struct record beat_note_record = RECORD("beat_note", beat_note, note_fields);

/* --- office --- */

struct beats *beats_new(void)
{
    return memory_new(sizeof(struct beats));
}

void beats_free(struct beats *beats)
{
    beats_forget_all(beats);
    free(beats);
}

void beats_take_office(struct beats *beats)
{
    CHECK(!beats->in_office);
    beats->in_office = true;
    beats->from = key_of(KEY_MEMBER);
}

void beats_lose_office(struct beats *beats)
{
    beats_forget_all(beats);
    beats->in_office = beats->ready = false;
    beats->gap_count = 0;
}

bool beats_load(struct beats *beats, struct rows *rows, struct arena *arena, uint64_t now_ms, size_t max)
{
    struct apply reading = {.rows = rows, .arena = arena, .time_ms = beats->time_ms};
    struct group group = {0};
    struct slice name;
    struct member member;
    while (beats->in_office && !beats->ready && max--) {
        beats->ready = !member_next_of_all(&reading, &beats->from, &name, &member);
        if (beats->ready) break;
        if (member.state != MEMBER_ALIVE && member.state != MEMBER_SUSPECT) continue;
        if (!group.apply || !slice_equal(name, group.name)) group_load(&group, &reading, name);
        beats_load_member(beats, &group, &member, now_ms);
    }
    return beats->ready;
}

bool beats_ready(const struct beats *beats)
{
    return beats->ready;
}

void beats_clock(struct beats *beats, uint64_t now_ms, uint64_t time_ms)
{
    beats->now_ms = now_ms;
    beats->time_ms = time_ms;
}

uint64_t beats_now_ms(const struct beats *beats)
{
    return beats->now_ms;
}

/* --- following the log --- */

/* Names may hold slashes, so "/groups/a/members/b/members/c" may be of three things: all are read again. */
static void follow_path(struct beats *beats, struct apply *reading, struct slice path, uint64_t now_ms)
{
    const struct slice before = SLICE("/groups/"), between = SLICE("/members/");
    if (!slice_starts_with(path, before)) return;
    path = slice_skip(path, before.size);
    beats_read_group(beats, reading, path);
    for (size_t at = 1; at + between.size < path.size; at++)
        if (slice_starts_with(slice_skip(path, at), between))
            beats_read_member(beats, reading, slice_of(path.data, at), slice_skip(path, at + between.size),
                              now_ms);
}

void beats_follow(struct beats *beats, struct rows *rows, struct arena *arena, const struct event *events,
                  uint64_t now_ms)
{
    if (!beats->in_office) return;
    for (const struct event *event = events; event; event = event->next) {
        if (event->primitive->code != GROUP_CODE) continue;
        struct apply reading = {.rows = rows, .arena = arena, .time_ms = event->time_ms};
        follow_path(beats, &reading, event->path, now_ms);
    }
}

/* --- deadlines --- */

static uint64_t root(uint64_t square)
{
    uint64_t at = square, next = (square + 1) / 2;
    while (next < at) {
        at = next;
        next = (at + square / at) / 2;
    }
    return at;
}

/* How many thousandths of sigma a beat may be late until the chance of that is 10^-phi, for a whole phi. */
static uint64_t thousandths_of_sigma(uint64_t phi10)
{
    static const uint16_t at[] = {0,    1282, 2326, 3090, 3719, 4265, 4753, 5199, 5612,
                                  5998, 6361, 6706, 7035, 7349, 7651, 7941, 8222};
    enum { LAST = sizeof at / sizeof *at - 1 };
    uint64_t whole = phi10 / 10;
    if (whole >= LAST) return at[LAST];
    return at[whole] + (at[whole + 1] - at[whole]) * (phi10 % 10) / 10;
}

uint64_t beat_span_ms(const struct beat *beat)
{
    const struct group_config *config = &beat->crew->roster.config;
    if (config->detector == DETECTOR_PHI && beat->intervals >= INTERVALS_ENOUGH) {
        uint64_t sigma_ms = root(beat->variance16 / EWMA);
        if (sigma_ms < SIGMA_MIN_MS) sigma_ms = SIGMA_MIN_MS;
        return beat->mean16 / EWMA + sigma_ms * thousandths_of_sigma(config->phi) / 1000;
    }
    return config->suspect_ms ? config->suspect_ms : beat->seat.ttl_ms * 2 / 3 + SUSPECT_MARGIN_MS;
}

/* The longest gap that ended since then. */
static uint64_t longest_gap_ms(const struct beats *beats, uint64_t since_ms)
{
    for (size_t i = 0; i < beats->gap_count; i++)
        if (beats->gaps[i].at_ms >= since_ms) return beats->gaps[i].length_ms;
    return 0;
}

uint64_t beat_deadline_ms(const struct beats *beats, const struct beat *beat)
{
    return beat->contact_ms + beat_span_ms(beat) + longest_gap_ms(beats, beat->contact_ms);
}

void beat_schedule(struct beats *beats, struct beat *beat)
{
    beat->told = false;
    if (beat->seat.state != MEMBER_ALIVE)
        heap_remove(&beats->deadlines, &beat->deadline);
    else
        heap_set(&beats->deadlines, &beat->deadline, beat_deadline_ms(beats, beat));
}

/* Of gaps, each that is followed by a longer one is none to remember. Too many: the two oldest become one. */
void beats_gap(struct beats *beats, uint64_t gap_ms, uint64_t now_ms)
{
    if (!beats->in_office) return;
    while (beats->gap_count && beats->gaps[beats->gap_count - 1].length_ms <= gap_ms) beats->gap_count--;
    if (beats->gap_count == GAPS_KEPT) {
        beats->gaps[1].length_ms = beats->gaps[0].length_ms;
        memmove(&beats->gaps[0], &beats->gaps[1], --beats->gap_count * sizeof beats->gaps[0]);
    }
    beats->gaps[beats->gap_count++] = (struct gap){now_ms, gap_ms};
}

/* --- what is to be proposed --- */

void beat_want(struct beats *beats, struct beat *beat, enum wanted what)
{
    if (!beat->wants) {
        beat->wants_before = beats->last_wanting;
        beat->wants_after = NULL;
        if (beats->last_wanting)
            beats->last_wanting->wants_after = beat;
        else
            beats->first_wanting = beat;
        beats->last_wanting = beat;
    }
    beat->wants |= what;
}

void beat_want_no_more(struct beats *beats, struct beat *beat, unsigned what)
{
    if (!beat->wants) return;
    beat->wants &= ~what;
    if (beat->wants) return;
    if (beat->wants_before)
        beat->wants_before->wants_after = beat->wants_after;
    else
        beats->first_wanting = beat->wants_after;
    if (beat->wants_after)
        beat->wants_after->wants_before = beat->wants_before;
    else
        beats->last_wanting = beat->wants_before;
}

/* --- hearing --- */

void beat_begin(struct beats *beats, struct beat *beat, uint64_t now_ms)
{
    struct seat *seat = &beat->seat;
    beat_want_no_more(beats, beat, ~0u);
    beat_acquit(beat);
    beat->told = false;
    beat->contact_ms = now_ms;
    beat->heard_ms = 0;
    beat->intervals = beat->mean16 = beat->variance16 = beat->streak = 0;
    seat->said_ms = seat->load = seat->inflight = seat->capacity = seat->health = 0;
    free((void *)(uintptr_t)seat->metrics.data);
    seat->metrics = (struct slice){0};
}

/* A suspicion may have been on its way when it was heard. */
void beat_look(struct beats *beats, struct beat *beat, uint64_t now_ms)
{
    const struct seat *seat = &beat->seat;
    if (seat->state == MEMBER_ALIVE)
        beat_want_no_more(beats, beat, WANTS_HEARD);
    else if (beat->heard_ms && now_ms < beat_deadline_ms(beats, beat))
        beat_want(beats, beat, WANTS_HEARD);
    if (seat->health == seat->logged_health) {
        beat->streak = 0;
        beat_want_no_more(beats, beat, WANTS_HEALTH);
    }
    bool timed = beat->told || beat->deadline.at_ms <= beat_deadline_ms(beats, beat);
    if (seat->state != MEMBER_ALIVE || !beat->deadline.place || !timed) beat_schedule(beats, beat);
}

static void count_interval(struct beat *beat, uint64_t interval_ms)
{
    if (!beat->intervals++) {
        beat->mean16 = interval_ms * EWMA;
        return;
    }
    uint64_t mean_ms = beat->mean16 / EWMA;
    uint64_t off_ms = interval_ms > mean_ms ? interval_ms - mean_ms : mean_ms - interval_ms;
    beat->mean16 += interval_ms - mean_ms;
    beat->variance16 += off_ms * off_ms - beat->variance16 / EWMA;
}

static void hear_health(struct beats *beats, struct beat *beat, uint64_t health)
{
    const struct group_config *config = &beat->crew->roster.config;
    struct seat *seat = &beat->seat;
    beat->streak = health == seat->health ? beat->streak + 1 : 1;
    seat->health = health;
    if (health == seat->logged_health) {
        beat->streak = 0;
        beat_want_no_more(beats, beat, WANTS_HEALTH);
        return;
    }
    bool better = health < seat->logged_health;
    if (beat->streak >= (better ? config->rise : config->fall))
        beat_want(beats, beat, WANTS_HEALTH);
    else
        beat_want_no_more(beats, beat, WANTS_HEALTH);
}

static void set_metrics(struct seat *seat, struct slice metrics)
{
    if (slice_equal(seat->metrics, metrics)) return;
    uint8_t *kept = metrics.size ? memory_new(metrics.size) : NULL;
    if (kept) memcpy(kept, metrics.data, metrics.size);
    free((void *)(uintptr_t)seat->metrics.data);
    seat->metrics = slice_of(kept, metrics.size);
}

/* From another node of another version, it may be one that cannot be read: then it says nothing. */
static void take_note(struct beats *beats, struct beat *beat, uint64_t arrived_ms, struct slice bytes)
{
    struct beat_note note;
    struct arena none = {0};
    bool read = record_decode(&beat_note_record, &note, bytes, &none);
    arena_free(&none);
    if (!read) return;
    struct seat *seat = &beat->seat;
    uint64_t ago_ms = beats->now_ms > arrived_ms ? beats->now_ms - arrived_ms : 0;
    seat->said_ms = beats->time_ms > ago_ms ? beats->time_ms - ago_ms : 0;
    seat->load = note.load;
    seat->inflight = note.inflight;
    seat->capacity = note.capacity;
    set_metrics(seat, note.metrics);
    if (note.health) hear_health(beats, beat, note.health);
}

void beats_hear(struct beats *beats, uint64_t lease, uint64_t arrived_ms, struct slice note)
{
    struct beat *beat = lease ? map_get(&beats->by_lease, lease) : NULL;
    if (!beat) return;
    if (beat->heard_ms && arrived_ms > beat->heard_ms) count_interval(beat, arrived_ms - beat->heard_ms);
    if (arrived_ms > beat->heard_ms) beat->heard_ms = arrived_ms;
    if (arrived_ms > beat->contact_ms) beat->contact_ms = arrived_ms;
    if (beat->seat.state == MEMBER_SUSPECT)
        beat_want(beats, beat, WANTS_HEARD);
    else if (beat_deadline_ms(beats, beat) < beat->deadline.at_ms) /* it beats faster than it did (phi) */
        beat_schedule(beats, beat);
    if (note.size) take_note(beats, beat, arrived_ms, note);
}

/* --- what is due --- */

uint64_t beats_next_ms(struct beats *beats)
{
    struct timer *first;
    if (beats->first_wanting) return 0;
    while ((first = heap_first(&beats->deadlines)) && first->at_ms <= beats->now_ms) {
        struct beat *beat = CONTAINER_OF(first, struct beat, deadline);
        uint64_t deadline_ms = beat_deadline_ms(beats, beat);
        if (deadline_ms <= first->at_ms) break;
        heap_set(&beats->deadlines, first, deadline_ms);
    }
    return first ? first->at_ms : UINT64_MAX;
}

static struct observe_item item_of(const struct beat *beat, enum observed what, uint64_t value)
{
    return (struct observe_item){beat->seat.lease, beat->seat.token, what, value};
}

/* One of what it wants. */
static struct observe_item take_wish(struct beats *beats, struct beat *beat)
{
    enum wanted what = beat->wants & WANTS_HEARD     ? WANTS_HEARD
                       : beat->wants & WANTS_HEALTH  ? WANTS_HEALTH
                       : beat->wants & WANTS_CLOSING ? WANTS_CLOSING
                                                     : WANTS_EJECTION;
    beat_want_no_more(beats, beat, what);
    switch (what) {
    case WANTS_HEARD:
        return item_of(beat, OBSERVED_HEARD, 0);
    case WANTS_HEALTH:
        return item_of(beat, OBSERVED_HEALTH, beat->seat.health);
    case WANTS_CLOSING:
        return item_of(beat, OBSERVED_GOOD, beat->seat.half_open_ms);
    case WANTS_EJECTION:
        break;
    }
    return item_of(beat, OBSERVED_BAD, beat->seat.half_open_ms);
}

size_t beats_due(struct beats *beats, uint64_t by_ms, struct observe_item *items, size_t max)
{
    size_t count = 0;
    while (count < max && beats->first_wanting) items[count++] = take_wish(beats, beats->first_wanting);
    for (struct timer *first;
         count < max && (first = heap_first(&beats->deadlines)) && first->at_ms <= by_ms;) {
        struct beat *beat = CONTAINER_OF(first, struct beat, deadline);
        uint64_t deadline_ms = beat_deadline_ms(beats, beat);
        bool silent = deadline_ms <= by_ms;
        if (silent) items[count++] = item_of(beat, OBSERVED_SILENT, 0);
        /* Suspected, it leaves the heap; else (the log thought otherwise) it is due again some time later. */
        heap_set(&beats->deadlines, first, silent ? by_ms + 1 + beat_span_ms(beat) : deadline_ms);
        beat->told = silent;
    }
    return count;
}

void beats_not_proposed(struct beats *beats, const struct observe_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct beat *beat = items[i].lease ? map_get(&beats->by_lease, items[i].lease) : NULL;
        if (!beat) continue; /* the member has another lease by now */
        if (items[i].what == OBSERVED_HEARD) beat_want(beats, beat, WANTS_HEARD);
        if (items[i].what == OBSERVED_HEALTH) beat_want(beats, beat, WANTS_HEALTH);
        bool same_trial = items[i].value == beat->seat.half_open_ms && !beat->seat.ejected_ms;
        if (items[i].what == OBSERVED_BAD && same_trial) beat_want(beats, beat, WANTS_EJECTION);
        if (items[i].what == OBSERVED_GOOD && same_trial) beat_want(beats, beat, WANTS_CLOSING);
        if (items[i].what == OBSERVED_SILENT) beat_schedule(beats, beat);
    }
}
