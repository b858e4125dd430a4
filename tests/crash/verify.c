#include "tests/crash/verify.h"

#include "base/check.h"
#include "base/memory.h"
#include "storage/frame.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

enum { PATH_SIZE = 1024 };

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *where)
{
    (void)facts, (void)kind, (void)where;
    return remove(path);
}

void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

__attribute__((format(printf, 1, 2))) static bool wrong(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("wrong: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return false;
}

/* The log */

static bool is(const struct history *history, const struct raftlog_found *found)
{
    uint64_t last = found->base_index + found->entry_count;
    return memcmp(&history->hard, &found->hard, sizeof found->hard) == 0 && history->last == last &&
           history->terms[found->base_index] == found->base_term &&
           history->chains[found->base_index] == found->base_chain;
}

static bool takes_several_frames(const struct history *history, const struct step *step)
{
    struct arena arena = {0};
    uint64_t size = FRAME_HEAD_SIZE;
    for (size_t i = 0; i < step->count; i++)
        size += frame_entry_size(history_entry(history, &arena, step->first + i, step->term).payload.size);
    arena_free(&arena);
    return size > SEGMENT_BYTES - SEGMENT_HEADER_SIZE;
}

/* Sets *history to what the log must hold, to judge by its end; false when it can be neither what was
 * acknowledged nor that with what was being written. */
static bool choose(struct history *history, const struct expectation *expected,
                   const struct raftlog_found *found, struct tally *tally)
{
    *history = *expected->saved;
    if (is(history, found)) {
        bool snapshot = expected->flying && expected->flying->snapshot;
        tally->flying_lost += expected->flying && !snapshot;
        tally->snapshots_lost += snapshot;
        return true;
    }
    if (!expected->flying) return false;
    struct step step = *expected->flying;
    if (step.snapshot) {
        history_apply(history, &step);
        tally->snapshots_kept++;
        return is(history, found) && found->entry_count == 0;
    }
    uint64_t last = found->base_index + found->entry_count;
    if (step.count &&
        step.first <= history->last) { /* a new segment had begun, but the frame was not in it yet */
        history_cut(history, step.first - 1);
        if (is(history, found)) return true;
    }
    if (step.count && last >= step.first && last < step.first + step.count - 1) {
        if (!takes_several_frames(history, &step)) return false;
        step.count = last - step.first + 1;
        if (step.hard.commit > last) step.hard.commit = last;
    }
    history_apply(history, &step);
    tally->flying_kept++;
    return is(history, found);
}

static bool check_entries(struct node *node)
{
    const struct raftlog_found *found = &node->contents.found;
    struct arena arena = {0};
    bool good = true;
    for (uint64_t i = found->base_index + 1; good && i <= found->base_index + found->entry_count; i++) {
        struct raft_entry entry, right = history_entry(&node->history, &arena, i, node->history.terms[i]);
        good = raftlog_read(node->contents.log, i, &arena, &entry) == 0 && entry.index == i &&
               entry.term == right.term && entry.kind == right.kind &&
               entry.chain == node->history.chains[i] && slice_equal(entry.payload, right.payload);
        if (!good) wrong("entry %llu is not what was written", (unsigned long long)i);
        arena_reset(&arena);
    }
    arena_free(&arena);
    return good;
}

static bool check_log(struct node *node, const struct expectation *expected, struct tally *tally)
{
    const struct raftlog_found *found = &node->contents.found;
    uint64_t last = found->base_index + found->entry_count;
    if (expected->opened && memcmp(&found->identity, &expected->identity, sizeof found->identity) != 0)
        return wrong("another identity");
    if (last >= INDEX_MAX || !choose(&node->history, expected, found, tally))
        return wrong(
            "the log ends at %llu, term %llu, vote %llu, commit %llu; acknowledged were %llu, %llu, %llu, "
            "%llu",
            (unsigned long long)last, (unsigned long long)found->hard.term,
            (unsigned long long)found->hard.vote, (unsigned long long)found->hard.commit,
            (unsigned long long)expected->saved->last, (unsigned long long)expected->saved->hard.term,
            (unsigned long long)expected->saved->hard.vote, (unsigned long long)expected->saved->hard.commit);
    if (found->base_index > expected->trimmed) return wrong("more is trimmed than ever was to be");
    tally->torn += found->cut_bytes > 0;
    tally->trimmed += found->base_index > 0;
    return check_entries(node);
}

/* The state */

static bool check_rows(struct node *node, uint64_t applied)
{
    struct table table = {0};
    struct arena arena = {0};
    for (uint64_t i = 1; i <= applied; i++) {
        struct raft_entry entry = history_entry(&node->history, &arena, i, node->history.terms[i]);
        table_follow(&table, &entry);
        arena_reset(&arena);
    }
    state_check(node->contents.state);
    bool good = table_digest(&table) == state_mark(node->contents.state).digest &&
                table_equals(&table, state_rows(node->contents.state));
    arena_free(&arena);
    arena_free(&table.arena);
    return good || wrong("the rows are not what the entries up to %llu make", (unsigned long long)applied);
}

static bool check_state(struct node *node, const struct expectation *expected, struct tally *tally)
{
    struct state_mark mark = state_mark(node->contents.state);
    if (mark.applied < expected->synced || mark.applied > expected->applied_max ||
        mark.applied > node->history.last)
        return wrong("the state ends at %llu; certain were %llu, at most %llu of %llu",
                     (unsigned long long)mark.applied, (unsigned long long)expected->synced,
                     (unsigned long long)expected->applied_max, (unsigned long long)node->history.last);
    if (mark.term != node->history.terms[mark.applied] || mark.time_ms != mark.applied * 10)
        return wrong("the mark does not fit entry %llu", (unsigned long long)mark.applied);
    tally->commits_lost += mark.applied < expected->applied_max;
    return check_rows(node, mark.applied);
}

static bool open_and_check(struct node *node, const char *path, const struct expectation *expected,
                           struct tally *tally)
{
    char data[PATH_SIZE];
    snprintf(data, sizeof data, "%s/data", path);
    if (!node_start(node, data)) return false;
    if (node->contents.fresh) {
        tally->made_again++;
        if (expected->opened) return wrong("made anew, although it was in use");
    }
    bool good = check_log(node, expected, tally) && check_state(node, expected, tally);
    node->applied = node->committed = state_mark(node->contents.state).applied;
    if (node->committed < node->history.hard.commit) node->committed = node->history.hard.commit;
    return good;
}

/* Moments */

static void follow_note(struct expectation *now, const struct op *op, const struct step *steps,
                        struct history *saved)
{
    switch ((enum note)op->offset) {
    case NOTE_OPENED:
        now->opened = true;
        if (!now->reported) break;
        *saved = *now->reported;
        now->flying = NULL;
        now->synced = now->reported_applied;
        break;
    case NOTE_BEGIN:
        now->flying = &steps[op->size];
        break;
    case NOTE_SAVED:
        now->flying = NULL;
        history_apply(saved, &steps[op->size]);
        break;
    case NOTE_APPLIED:
        if (op->size > now->applied_max) now->applied_max = op->size;
        break;
    case NOTE_SYNCED:
        now->synced = op->size;
        break;
    case NOTE_TRIM:
        if (op->size > now->trimmed) now->trimmed = op->size;
        break;
    }
}

bool at_moments(struct recording *recording, const struct step *steps, const struct expectation *at_start,
                size_t count, uint64_t *random, bool (*check)(void *context, const struct moment *moment),
                void *context)
{
    struct history *saved = memory_new(sizeof *saved);
    unsigned *times = memory_new((recording->count + 1) * sizeof *times);
    struct moment now = {.shadow = &recording->start, .expected = *at_start};
    bool good = true;
    *saved = *at_start->saved;
    now.expected.saved = saved;
    for (size_t i = 0; i < count; i++) times[random_below(random, recording->count)]++;
    for (; good && now.at < recording->count; now.at++) {
        const struct op *op = &recording->ops[now.at];
        if (op->kind == OP_NOTE) follow_note(&now.expected, op, steps, saved);
        shadow_apply(&recording->start, op);
        for (unsigned i = 0; good && i < times[now.at]; i++) good = check(context, &now);
    }
    free(saved);
    free(times);
    return good;
}

/* One image */

/* A short life after the opening, which must be there again when it is opened once more. */
static bool go_on(struct node *node, const char *path, uint64_t *random)
{
    recorder_note(NOTE_OPENED, 0);
    uint64_t term = node->history.hard.term + 1;
    node_append(node, &(struct step){.hard = {term, 2, node->history.hard.commit},
                                     .first = node->history.last + 1,
                                     .term = term,
                                     .count = 1 + (size_t)random_below(random, 3)});
    if (!node_live(node, random, 6)) return false;
    node_stop(node);
    recorder_end();
    struct expectation exactly = {.opened = true,
                                  .identity = node->contents.found.identity,
                                  .saved = &node->history,
                                  .applied_max = INDEX_MAX,
                                  .trimmed = INDEX_MAX};
    struct node *again = memory_new(sizeof *again);
    struct tally ignored = {0};
    again->history.seed = node->history.seed;
    bool good = open_and_check(again, path, &exactly, &ignored);
    if (good) node_stop(again);
    if (good && again->contents.found.cut_bytes) good = wrong("something was torn without a power loss");
    free(again);
    return good || wrong("(when opened again)");
}

struct inner {
    const char *path;
    struct tally *tally;
    uint64_t *random;
};

static bool check_inner(void *context, const struct moment *moment)
{
    static const struct aftermath nothing;
    struct inner *inner = context;
    inner->tally->inner_images++;
    shadow_build(moment->shadow, false, inner->random, inner->path);
    if (!verify(inner->path, &moment->expected, &nothing, inner->random, inner->tally))
        return wrong("(after a power loss at operation %zu from the opening on, see %s)", moment->at,
                     inner->path);
    remove_tree(inner->path);
    return true;
}

bool verify(const char *path, const struct expectation *expected, const struct aftermath *aftermath,
            uint64_t *random, struct tally *tally)
{
    struct node *node = memory_new(sizeof *node);
    struct history *reported = memory_new(sizeof *reported);
    struct recording recording;
    struct expectation from_here = *expected;
    node->history.seed = expected->saved->seed;
    if (aftermath->power_losses) recorder_begin(&recording, path, aftermath->killed);
    bool good = open_and_check(node, path, expected, tally);
    if (good) {
        *reported = node->history;
        from_here.reported = reported;
        from_here.reported_applied = state_mark(node->contents.state).applied;
        from_here.identity = node->contents.found.identity;
        good = go_on(node, path, random);
    }
    recorder_end();
    if (good && aftermath->power_losses) {
        struct inner inner = {aftermath->image_path, tally, random};
        good = at_moments(&recording, node->steps, &from_here, aftermath->power_losses, random, check_inner,
                          &inner);
    }
    if (aftermath->power_losses) recording_free(&recording);
    free(reported);
    free(node);
    return good;
}
