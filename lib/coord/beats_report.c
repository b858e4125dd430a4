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
    if (!trial->began_ms || now_ms >= trial->began_ms + REPORT_WINDOW_MS) {
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

bool beats_report(struct beats *beats, struct slice group, struct slice id, struct slice reporter,
                  uint64_t ok, uint64_t failed, uint64_t now_ms)
{
    struct beat *beat = beats_find(beats, group, id);
    if (!beat) return false;
    const struct group_config *config = &beat->crew->roster.config;
    if (!config->eject_percent || !(ok + failed)) return true;
    struct trial *trial = trial_of(beat, now_ms);
    trial->ok += ok;
    trial->failed += failed;
    if (failed * 100 >= config->eject_percent * (ok + failed)) add_reporter(trial, reporter);
    uint64_t requests = trial->ok + trial->failed;
    if (requests < config->eject_requests || trial->failed * 100 < config->eject_percent * requests ||
        trial->reporter_count < config->eject_reporters)
        return true;
    beat_acquit(beat);
    if (beat->seat.state == MEMBER_ALIVE) beat_want(beats, beat, WANTS_EJECTION);
    return true;
}
