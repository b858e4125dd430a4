/* Outliers: members that answer their heartbeats but fail those who call them, as the callers report. One bad
 * caller condemns nobody: several must have seen it. */
#include "base/memory.h"
#include "coord/beats_internal.h"

void beat_acquit(struct beat *beat)
{
    if (beat->trial) free(beat->trial->reporters);
    free(beat->trial);
    beat->trial = NULL;
}

static struct trial *trial_of(struct beat *beat, uint64_t now_ms)
{
    if (!beat->trial) beat->trial = memory_new(sizeof *beat->trial);
    struct trial *trial = beat->trial;
    if (!trial->began_ms || now_ms >= trial->began_ms + GROUP_REPORT_WINDOW_MS) {
        free(trial->reporters);
        *trial = (struct trial){.began_ms = now_ms};
    }
    return trial;
}

static void add_reporter(struct trial *trial, struct slice name)
{
    uint64_t hashed = beats_hash(name, slice_of(NULL, 0));
    for (size_t i = 0; i < trial->reporter_count; i++)
        if (trial->reporters[i] == hashed) return;
    if (trial->reporter_count == REPORTERS_KEPT) return;
    if ((trial->reporter_count & (trial->reporter_count - 1)) == 0) {
        size_t room = trial->reporter_count ? trial->reporter_count * 2 : 1;
        trial->reporters = memory_resize(trial->reporters, room * sizeof *trial->reporters);
    }
    trial->reporters[trial->reporter_count++] = hashed;
}

/* How many must agree that a half-open member fails. It was condemned by eject_reporters of them before, and
 * its few probes may not come from as many: so no more than there can be when just the share of the probes
 * that condemns it fails, each with another caller. But two at least, where the group wants two and there are
 * two probes: one bad caller condemns nobody. */
static uint64_t reporters_of_a_trial(const struct group_config *config)
{
    uint64_t most = (config->eject_probes * config->eject_percent + 99) / 100;
    if (most < 2) most = config->eject_probes < 2 ? 1 : 2;
    return config->eject_reporters < most ? config->eject_reporters : most;
}

/* Once a window: a member that must not be ejected, since too many are, is not proposed with each report. */
static void judge(struct beats *beats, struct beat *beat)
{
    const struct group_config *config = &beat->crew->roster.config;
    struct trial *trial = beat->trial;
    bool half_open = beat->seat.half_open_ms > 0;
    uint64_t calls = trial->ok + trial->failed;
    uint64_t reporters = half_open ? reporters_of_a_trial(config) : config->eject_reporters;
    if (trial->judged || beat->seat.state != MEMBER_ALIVE) return;
    if (calls < (half_open ? config->eject_probes : config->eject_requests)) return;
    bool bad = trial->failed * 100 >= config->eject_percent * calls;
    if (bad ? trial->reporter_count < reporters : !half_open) return;
    trial->judged = true;
    beat_want(beats, beat, bad ? WANTS_EJECTION : WANTS_CLOSING);
}

bool beats_report(struct beats *beats, struct slice group, struct slice id, struct slice reporter,
                  uint64_t ok, uint64_t failed, uint64_t now_ms)
{
    struct beat *beat = beats_find(beats, group, id);
    if (!beat) return false;
    const struct group_config *config = &beat->crew->roster.config;
    if (!config->eject_percent || !(ok + failed) || beat->seat.ejected_ms) return true;
    struct trial *trial = trial_of(beat, now_ms);
    trial->ok += ok;
    trial->failed += failed;
    if (failed * 100 >= config->eject_percent * (ok + failed)) add_reporter(trial, reporter);
    judge(beats, beat);
    return true;
}

/* What was reported was of another time; so were the probes. */
void beat_turned(struct beats *beats, struct beat *beat)
{
    beat_acquit(beat);
    beat_want_no_more(beats, beat, WANTS_EJECTION | WANTS_CLOSING);
    beat->probing_ms = beat->probes = 0;
}

/* --- probes --- */

enum { PROBE_EVERY = 10 };

static struct crew *crew_of(const struct beats *beats, struct slice group)
{
    const struct roster *roster = beats_roster(beats, group);
    return roster ? CONTAINER_OF(roster, struct crew, roster) : NULL;
}

bool beats_probe_is_due(const struct beats *beats, struct slice group)
{
    const struct crew *crew = crew_of(beats, group);
    return crew && crew->turn >= crew->probe_turn;
}

size_t beats_probe_from(const struct beats *beats, struct slice group)
{
    const struct crew *crew = crew_of(beats, group);
    return crew ? crew->probe_from : 0;
}

static bool in_window(const struct beats *beats, const struct beat *beat)
{
    return beat->probes && beats->now_ms < beat->probing_ms + GROUP_REPORT_WINDOW_MS;
}

bool beats_has_probe(const struct beats *beats, const struct seat *seat)
{
    const struct beat *beat = CONTAINER_OF(seat, struct beat, seat);
    return seat->on_trial &&
           (!in_window(beats, beat) || beat->probes < beat->crew->roster.config.eject_probes);
}

void beats_probe(struct beats *beats, const struct seat *seat, size_t others)
{
    struct beat *beat = CONTAINER_OF(seat, struct beat, seat);
    struct crew *crew = beat->crew;
    if (!in_window(beats, beat)) {
        beat->probing_ms = beats->now_ms;
        beat->probes = 0;
    }
    beat->probes++;
    crew->probe_turn = crew->turn + (others < PROBE_EVERY ? others : PROBE_EVERY - 1);
    crew->probe_from = beat->place - crew->roster.eligible + 1;
}
