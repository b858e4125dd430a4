/* The power goes out, thousands of times: the real log and state live on a directory while everything they do
 * to it is recorded; images of what a power loss may leave are built from that and opened again by the same
 * code.
 *
 *   crash [--seed N] [--runs N] [--images N (of each run)] [--steps N] [--damage N (of each run)]
 *
 * Each image is checked in a process of its own. What fails prints its seed, and leaves its image. */
#include "base/memory.h"
#include "tests/crash/verify.h"

#include "storage/frame.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { INNER_IMAGES = 4, PATH_SIZE = 600 };

struct run {
    uint64_t seed, random;
    char root[PATH_SIZE], image[PATH_SIZE + 20], inner[PATH_SIZE + 20];
    struct tally *tally; /* shared with the processes that check */
};

static uint64_t identity_random;

/* Identities too are drawn from the seed. */
ssize_t getrandom(void *bytes, size_t size, unsigned flags)
{
    (void)flags;
    uint64_t value = random_next(&identity_random);
    memcpy(bytes, &value, size < sizeof value ? size : sizeof value);
    return (ssize_t)size;
}

/* Runs in a process of its own: a crash is a failure like any other. */
static bool in_child(bool (*check)(void *context), void *context)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) _exit(check(context) ? 0 : 1);
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) return false;
    if (WIFSIGNALED(status)) fprintf(stderr, "wrong: ended by signal %d\n", WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Power losses */

struct image {
    struct run *run;
    const struct moment *moment;
    struct aftermath aftermath;
};

static bool check_image(void *context)
{
    struct image *image = context;
    struct run *run = image->run;
    return verify(run->image, &image->moment->expected, &image->aftermath, &run->random, run->tally);
}

/* Most images are of a power loss. After some of them, and after some mere deaths of the process, the power
 * goes while the node starts again or soon after. */
static bool stop_here(void *context, const struct moment *moment)
{
    struct run *run = context;
    struct image image = {run, moment, {0, NULL, run->inner}};
    unsigned choice = (unsigned)random_below(&run->random, 8);
    bool killed = choice == 0;
    if (choice < 3) image.aftermath.power_losses = INNER_IMAGES;
    if (killed) image.aftermath.killed = moment->shadow;
    run->tally->images++;
    shadow_build(moment->shadow, killed, &run->random, run->image);
    if (!in_child(check_image, &image)) {
        fprintf(stderr, "seed %llu, image %llu, %s at operation %zu: see %s\n", (unsigned long long)run->seed,
                (unsigned long long)run->tally->images, killed ? "killed" : "power lost", moment->at,
                run->image);
        return false;
    }
    remove_tree(run->image);
    return true;
}

static bool live_and_cut(struct run *run, struct node *node, size_t steps, size_t images)
{
    struct recording recording;
    struct history *nothing = memory_new(sizeof *nothing);
    char path[PATH_SIZE + 20];
    snprintf(path, sizeof path, "%s/live", run->root);
    nothing->seed = node->history.seed = run->seed;
    if (mkdir(path, 0700)) return false;
    recorder_begin(&recording, path, NULL);
    snprintf(path, sizeof path, "%s/live/data", run->root);
    bool good = node_start(node, path);
    recorder_note(NOTE_OPENED, 0);
    good = good && node_live(node, &run->random, steps);
    if (good) node_stop(node);
    recorder_end();
    struct expectation at_start = {.saved = nothing, .identity = node->contents.found.identity};
    good = good && at_moments(&recording, node->steps, &at_start, images, &run->random, stop_here, run);
    recording_free(&recording);
    free(nothing);
    return good;
}

/* Damage */

struct damage {
    struct run *run;
    bool log, refused; /* what was damaged; whether it must be refused */
};

static bool check_damage(void *context)
{
    struct damage *damage = context;
    struct node *node = memory_new(sizeof *node);
    char path[PATH_SIZE + 40];
    snprintf(path, sizeof path, "%s/data", damage->run->image);
    int quiet = open("/dev/null", O_WRONLY | O_CLOEXEC), loud = dup(STDERR_FILENO);
    dup2(quiet, STDERR_FILENO);
    bool opened = node_start(node, path);
    dup2(loud, STDERR_FILENO);
    bool good = damage->log ? opened != damage->refused && (!opened || node->contents.found.cut_bytes) : true;
    if (!good)
        fprintf(stderr, "wrong: %s\n", opened ? "opened as if it were whole" : "refused for a torn tail");
    if (opened) state_check(node->contents.state);
    if (opened) node_stop(node);
    free(node);
    return good;
}

static void flip(const char *path, uint64_t offset, uint8_t bits)
{
    uint8_t byte = 0;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (pread(file, &byte, 1, (off_t)offset) == 1) byte ^= bits;
    if (file < 0 || pwrite(file, &byte, 1, (off_t)offset) != 1) abort();
    close(file);
}

/* Where the last frame of a segment begins, which is its end when there is none. */
static uint64_t last_frame(const char *path)
{
    uint8_t bytes[SEGMENT_BYTES];
    uint32_t size;
    uint64_t at = SEGMENT_HEADER_SIZE, last = at;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (pread(file, bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) abort();
    close(file);
    for (; at + 4 <= sizeof bytes; at += size) {
        memcpy(&size, bytes + at, sizeof size);
        if (size == 0) break;
        last = at;
    }
    return last;
}

/* One byte of the log changes. Only in the last frame, or behind it, can that pass for a torn write. */
static bool damage_log(struct run *run, uint64_t first, uint64_t last)
{
    uint64_t number = first + random_below(&run->random, last - first + 1);
    uint64_t offset = random_below(&run->random, SEGMENT_BYTES);
    char path[PATH_SIZE + 60];
    snprintf(path, sizeof path, "%s/data/log/%010llu.log", run->image, (unsigned long long)number);
    struct damage damage = {run, true, number < last || offset < last_frame(path)};
    flip(path, offset, (uint8_t)(1 << random_below(&run->random, 8)));
    if (in_child(check_damage, &damage)) return true;
    fprintf(stderr, "seed %llu, byte %llu of segment %llu was flipped: see %s\n",
            (unsigned long long)run->seed, (unsigned long long)offset, (unsigned long long)number,
            run->image);
    return false;
}

/* The end of the state's file is gone: it is refused, or nothing of it was needed. */
static bool damage_state(struct run *run)
{
    char path[PATH_SIZE + 60];
    struct stat facts;
    struct damage damage = {run, false, false};
    unsigned number = 1; /* one more with each snapshot taken */
    do snprintf(path, sizeof path, "%s/data/state-%u/data.mdb", run->image, number);
    while (stat(path, &facts) && ++number < STEPS_MAX);
    if (number == STEPS_MAX) abort();
    uint64_t size =
        random_below(&run->random, (uint64_t)facts.st_size / 4096) * 4096 + random_below(&run->random, 2);
    if (truncate(path, (off_t)size)) abort();
    if (in_child(check_damage, &damage)) return true;
    fprintf(stderr, "seed %llu, data.mdb was cut to %llu bytes: see %s\n", (unsigned long long)run->seed,
            (unsigned long long)size, run->image);
    return false;
}

static bool damage(struct run *run, size_t count)
{
    char path[PATH_SIZE + 60];
    uint64_t first = 0, last = 0;
    for (uint64_t i = 1; i < 1000; i++) {
        snprintf(path, sizeof path, "%s/live/data/log/%010llu.log", run->root, (unsigned long long)i);
        if (access(path, F_OK) != 0) continue;
        first = first ? first : i;
        last = i;
    }
    for (size_t i = 0; i < count; i++) {
        struct shadow whole;
        snprintf(path, sizeof path, "%s/live", run->root);
        shadow_load(&whole, path);
        shadow_build(&whole, true, &run->random, run->image);
        shadow_free(&whole);
        if (!(i % 5 == 0 ? damage_state(run) : damage_log(run, first, last))) return false;
        remove_tree(run->image);
    }
    return true;
}

/* Runs */

static bool one_run(struct run *run, size_t steps, size_t images, size_t damages)
{
    const char *base = getenv("TMPDIR");
    snprintf(run->root, sizeof run->root, "%s/coordd-crash-XXXXXX", base && *base ? base : "/dev/shm");
    if (!mkdtemp(run->root)) {
        fprintf(stderr, "no directory %s can be made: set TMPDIR\n", run->root);
        return false;
    }
    snprintf(run->image, sizeof run->image, "%s/image", run->root);
    snprintf(run->inner, sizeof run->inner, "%s/inner", run->root);
    identity_random = run->random = run->seed;
    struct node *node = memory_new(sizeof *node);
    bool good = live_and_cut(run, node, steps, images) && damage(run, damages);
    free(node);
    if (good) remove_tree(run->root);
    return good;
}

static bool met(const char *what, uint64_t times)
{
    printf("  %-45s %llu\n", what, (unsigned long long)times);
    if (times == 0) fprintf(stderr, "never met: %s\n", what);
    return times > 0;
}

static bool report(const struct tally *tally)
{
    bool all = met("images", tally->images);
    all &= met("images after another stop", tally->inner_images);
    all &= met("first starts made again", tally->made_again);
    all &= met("torn tails cut", tally->torn);
    all &= met("unacknowledged writes lost", tally->flying_lost);
    all &= met("unacknowledged writes kept", tally->flying_kept);
    all &= met("commits of the state lost", tally->commits_lost);
    all &= met("trimmed logs", tally->trimmed);
    all &= met("switches to a snapshot undone", tally->snapshots_lost);
    return all & met("switches to a snapshot kept", tally->snapshots_kept);
}

static bool take_option(int argc, char **argv, int at, const char *name, uint64_t *value)
{
    char *end = NULL;
    if (strcmp(argv[at], name) != 0 || at + 1 == argc) return false;
    *value = strtoull(argv[at + 1], &end, 10);
    return *argv[at + 1] && !*end;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, runs = 8, images = 250, steps = 150, damages = 50;
    for (int i = 1; i < argc; i += 2) {
        if (take_option(argc, argv, i, "--seed", &seed) || take_option(argc, argv, i, "--runs", &runs) ||
            take_option(argc, argv, i, "--images", &images) ||
            take_option(argc, argv, i, "--steps", &steps) || take_option(argc, argv, i, "--damage", &damages))
            continue;
        fprintf(stderr, "usage: crash [--seed N] [--runs N] [--images N] [--steps N] [--damage N]\n");
        return 2;
    }
    struct run run = {
        .tally = mmap(NULL, sizeof *run.tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)};
    if (run.tally == MAP_FAILED) return 1;
    for (uint64_t i = 0; i < runs; i++) {
        run.seed = seed + i;
        bool short_life = i % 4 == 3; /* whose images are of the first start, most of them */
        if (!one_run(&run, short_life ? 3 : (size_t)steps, (size_t)images, (size_t)damages)) return 1;
    }
    printf("%llu runs from seed %llu: nothing acknowledged was lost, nothing invented\n",
           (unsigned long long)runs, (unsigned long long)seed);
    return report(run.tally) ? 0 : 1;
}
