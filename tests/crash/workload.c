#include "tests/crash/workload.h"

#include "base/check.h"
#include "base/memory.h"
#include "storage/snapshot_chunk.h"
#include "tests/crash/recorder.h"

#include <stdio.h>
#include <stdlib.h>

bool node_start(struct node *node, const char *path)
{
    char error[1000] = "";
    struct arena arena = {0};
    if (path != node->path) snprintf(node->path, sizeof node->path, "%s", path);
    node->settings = (struct datadir_settings){.segment_bytes = SEGMENT_BYTES};
    node->directory = datadir_take(node->path, error, sizeof error);
    bool open = node->directory &&
                datadir_open(node->directory, &node->settings, &arena, &node->contents, error, sizeof error);
    if (!open) fprintf(stderr, "refused: %s\n", error);
    if (!open && node->directory) datadir_close(node->directory);
    arena_free(&arena);
    node->contents.found.entries = NULL;
    return open;
}

void node_stop(struct node *node)
{
    state_close(node->contents.state);
    raftlog_close(node->contents.log);
    datadir_close(node->directory);
}

void node_append(struct node *node, const struct step *step)
{
    struct arena arena = {0};
    CHECK(node->step_count < STEPS_MAX);
    node->steps[node->step_count] = *step;
    bool same_hard = memcmp(&step->hard, &node->history.hard, sizeof step->hard) == 0;
    history_apply(&node->history, step);
    struct raft_entry *entries = arena_alloc(&arena, (step->count + 1) * sizeof *entries);
    for (size_t i = 0; i < step->count; i++) {
        entries[i] = history_entry(&node->history, &arena, step->first + i, step->term);
        entries[i].chain = node->history.chains[step->first + i];
    }
    struct raftlog_write write = {same_hard ? NULL : &step->hard, entries, step->count};
    recorder_note(NOTE_BEGIN, node->step_count);
    CHECK(raftlog_append(node->contents.log, &write) == 0);
    recorder_note(NOTE_SAVED, node->step_count);
    node->step_count++;
    arena_free(&arena);
}

static void append_entries(struct node *node, uint64_t *random)
{
    const struct history *history = &node->history;
    struct step step = {.hard = history->hard, .first = history->last + 1, .term = history->hard.term};
    step.count = 1 + (size_t)random_below(random, random_below(random, 12) ? 8 : 120);
    if (step.term == 0) step.hard.term = step.term = 1;
    if (random_below(random, 3) == 0) step.hard.commit = node->committed;
    node_append(node, &step);
}

static void change_term(struct node *node, uint64_t *random)
{
    struct step step = {.hard = node->history.hard, .first = node->history.last + 1};
    bool vote = step.hard.vote == 0 && random_below(random, 2);
    if (!vote) step.hard = (struct raft_hard){step.hard.term + 1, 0, step.hard.commit};
    if (vote || random_below(random, 2)) step.hard.vote = 1 + random_below(random, 3);
    node_append(node, &step);
}

static void replace_suffix(struct node *node, uint64_t *random)
{
    const struct history *history = &node->history;
    if (node->committed == history->last) return;
    struct step step = {.hard = {history->hard.term + 1, random_below(random, 3), node->committed}};
    step.first = node->committed + 1 + random_below(random, history->last - node->committed);
    step.count = 1 + (size_t)random_below(random, random_below(random, 6) ? 5 : 60);
    step.term = step.hard.term;
    node_append(node, &step);
}

static void apply(struct node *node, uint64_t *random)
{
    struct arena arena = {0};
    struct raft_entry entry;
    node->committed += random_below(random, node->history.last - node->committed + 1);
    while (node->applied < node->committed) {
        CHECK(raftlog_read(node->contents.log, ++node->applied, &arena, &entry) == 0);
        rows_follow(state_rows(node->contents.state), &entry);
        state_set_mark(node->contents.state, entry.index, entry.term, entry.index * 10);
        arena_reset(&arena);
    }
    arena_free(&arena);
}

static void commit_state(struct node *node)
{
    recorder_note(NOTE_APPLIED, node->applied);
    CHECK(state_commit(node->contents.state) == 0);
    recorder_note(NOTE_SYNCED, state_synced(node->contents.state).applied);
}

static void trim(struct node *node)
{
    uint64_t index = state_synced(node->contents.state).applied;
    recorder_note(NOTE_TRIM, index);
    raftlog_trim(node->contents.log, index);
}

/* Another node's snapshot: of what is committed here, and of entries that this node never had. */

struct received {
    struct step step;
    struct snapshot_place place;
    struct table table;
};

static void draw_snapshot(struct node *node, uint64_t *random, struct received *received)
{
    const struct history *history = &node->history;
    struct history *there = memory_new(sizeof *there);
    struct arena arena = {0};
    *there = *history;
    struct step *step = &received->step;
    *step = (struct step){.hard = history->hard, .first = node->committed + 1, .snapshot = true};
    step->term = history->hard.term + random_below(random, 2);
    if (step->term == 0) step->term = 1;
    step->count = 1 + (size_t)random_below(random, 100);
    history_apply(there, step);
    uint64_t last = there->last;
    for (uint64_t i = 1; i <= last; i++) {
        struct raft_entry entry = history_entry(there, &arena, i, there->terms[i]);
        table_follow(&received->table, &entry);
        arena_reset(&arena);
    }
    received->place = (struct snapshot_place){.index = last,
                                              .term = step->term,
                                              .time_ms = last * 10,
                                              .digest = table_digest(&received->table),
                                              .chain = there->chains[last],
                                              .config = node->contents.found.config};
    arena_free(&arena);
    free(there);
}

static enum intake_result hand_over(struct snapshot_intake *intake, struct buffer *chunk, uint64_t number)
{
    chunk_seal(chunk, number);
    return snapshot_intake_chunk(intake, number, buffer_slice(chunk));
}

/* What comes in between goes on in the old log and state. */
static void meanwhile(struct node *node, uint64_t *random)
{
    unsigned choice = (unsigned)random_below(random, 8);
    if (choice == 0) append_entries(node, random);
    if (choice == 1) commit_state(node);
}

static void receive(struct node *node, uint64_t *random, const struct received *received,
                    struct snapshot_intake *intake)
{
    struct slice keys[KEYS], values[KEYS];
    char texts[KEYS][KEY_SIZE];
    struct buffer chunk = {0};
    uint64_t number = 0;
    size_t count = table_rows(&received->table, keys, values, texts), done = 0;
    chunk_begin(&chunk, CHUNK_HEAD);
    chunk_add_head(&chunk, &received->place);
    CHECK(hand_over(intake, &chunk, number++) == INTAKE_MORE);
    while (done < count) {
        chunk_begin(&chunk, CHUNK_ROWS);
        for (size_t i = 1 + (size_t)random_below(random, 20); i > 0 && done < count; i--, done++)
            chunk_add_row(&chunk, keys[done], values[done]);
        CHECK(hand_over(intake, &chunk, number++) == INTAKE_MORE);
        meanwhile(node, random);
    }
    chunk_begin(&chunk, CHUNK_END);
    chunk_add_end(&chunk, count, received->place.digest);
    CHECK(hand_over(intake, &chunk, number) == INTAKE_WHOLE);
    meanwhile(node, random);
    buffer_free(&chunk);
}

static void switch_over(struct node *node, struct received *received, struct snapshot_intake *intake)
{
    struct step *step = &received->step;
    step->hard = node->history.hard;
    if (step->term > step->hard.term) step->hard = (struct raft_hard){.term = step->term};
    step->hard.commit = received->place.index;
    node->steps[node->step_count] = *step;
    recorder_note(NOTE_APPLIED, received->place.index);
    recorder_note(NOTE_TRIM, received->place.index);
    recorder_note(NOTE_BEGIN, node->step_count);
    CHECK(snapshot_switch(intake, &node->contents, &step->hard) == 0);
    recorder_note(NOTE_SAVED, node->step_count);
    recorder_note(NOTE_SYNCED, received->place.index);
    node->step_count++;
    history_apply(&node->history, step);
    node->applied = node->committed = received->place.index;
}

static void take_snapshot(struct node *node, uint64_t *random)
{
    char error[500];
    struct received *received = memory_new(sizeof *received);
    draw_snapshot(node, random, received);
    struct snapshot_intake *intake = snapshot_intake_begin(node->directory, error, sizeof error);
    CHECK(intake);
    receive(node, random, received, intake);
    if (random_below(random, 5))
        switch_over(node, received, intake);
    else
        snapshot_intake_end(intake);
    arena_free(&received->table.arena);
    free(received);
}

/* A process that ends without a crash of the machine. */
static bool restart(struct node *node)
{
    node_stop(node);
    if (!node_start(node, node->path)) return false;
    node->applied = state_mark(node->contents.state).applied;
    return true;
}

bool node_live(struct node *node, uint64_t *random, size_t steps)
{
    for (size_t i = 0; i < steps && node->history.last + 200 < INDEX_MAX; i++) {
        unsigned choice = (unsigned)random_below(random, 100);
        if (choice < 45)
            append_entries(node, random);
        else if (choice < 53)
            change_term(node, random);
        else if (choice < 65)
            replace_suffix(node, random);
        else if (choice < 75)
            apply(node, random);
        else if (choice < 87)
            commit_state(node);
        else if (choice < 94)
            trim(node);
        else if (choice < 97)
            take_snapshot(node, random);
        else if (!restart(node))
            return false;
    }
    return true;
}
