/* Opens a data directory after a power loss, and says whether anything is lost, invented or wrong in it. */
#ifndef COORDD_TESTS_CRASH_VERIFY_H
#define COORDD_TESTS_CRASH_VERIFY_H

#include "tests/crash/recorder.h"
#include "tests/crash/workload.h"

/* What was known at the moment of the power loss. */
struct expectation {
    bool opened; /* the first start was over */
    struct raftlog_identity identity;
    const struct history *saved; /* acknowledged */
    const struct step *flying;   /* not yet acknowledged; NULL: none */
    uint64_t applied_max, synced, trimmed;
    /* What NOTE_OPENED makes of it: an opening has reported this, so it is as good as acknowledged. NULL:
     * nothing new. */
    const struct history *reported;
    uint64_t reported_applied;
};

/* How often what was met, over all images: a test that never sees a torn frame tests nothing. */
struct tally {
    uint64_t images, inner_images, made_again, torn, flying_lost, flying_kept, commits_lost, trimmed;
    uint64_t snapshots_lost, snapshots_kept;
};

/* What happens to the node after the image was checked and opened. */
struct aftermath {
    size_t power_losses; /* each from the opening on, independently; their images go to image_path */
    const struct shadow
        *killed; /* not NULL: the image is what a killed process left, of which only a part is certain */
    const char *image_path;
};

/* False, with the reason on standard error, when the image is not as it must be. Goes on writing to it. */
bool verify(const char *path, const struct expectation *expected, const struct aftermath *aftermath,
            uint64_t *random, struct tally *tally);

/* A moment in what was recorded. */
struct moment {
    size_t at; /* operation */
    const struct shadow *shadow;
    struct expectation expected;
};

/* Stops at `count` random moments of what was recorded (whose start is used up by that), until `check` is
 * false. */
bool at_moments(struct recording *recording, const struct step *steps, const struct expectation *at_start,
                size_t count, uint64_t *random, bool (*check)(void *context, const struct moment *moment),
                void *context);

void remove_tree(const char *path);

#endif
