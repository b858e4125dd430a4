#include "storage/raftlog_internal.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/mutant.h"
#include "storage/ballast.h"
#include "storage/disk.h"

#include <errno.h>
#include <stdio.h>

enum { LOOK_AGAIN_MS = 1000, BUFFER_KEPT_MAX = 256 * 1024 };

static _Noreturn void disk_failed(const struct raftlog *log, const char *what, int error)
{
    fatal(
        "the log in %s cannot be %s: %s; what is on this disk is uncertain: check the disk, then start again",
        log->dir, what, strerror(-error));
}

/* What is kept in memory */

uint64_t raftlog_last(const struct raftlog *log)
{
    return log->base.index + log->place_count;
}

static const struct place *place_of(const struct raftlog *log, uint64_t index)
{
    CHECK(index > log->base.index && index <= raftlog_last(log));
    return &log->places[index - log->base.index - 1];
}

uint32_t raftlog_chain_at(const struct raftlog *log, uint64_t index)
{
    return index == log->base.index ? log->base.chain : place_of(log, index)->chain;
}

const struct raft_config *raftlog_config_at(const struct raftlog *log, uint64_t index)
{
    size_t at = log->config_count - 1;
    while (at > 0 && log->configs[at].index > index) at--;
    return &log->configs[at].config;
}

/* Returns the array with room for one element more than `count`. */
static void *grown(void *array, size_t count, size_t *capacity, size_t element_size)
{
    if (count < *capacity) return array;
    *capacity = *capacity ? *capacity * 2 : 16;
    return memory_resize(array, *capacity * element_size);
}

void raftlog_add_segment(struct raftlog *log, const struct segment_header *header, int file)
{
    log->segments = grown(log->segments, log->segment_count, &log->segment_capacity, sizeof *log->segments);
    log->segments[log->segment_count++] =
        (struct segment){header->number, file, {header->base_index, header->base_term, header->base_chain}};
    log->end = SEGMENT_HEADER_SIZE;
}

void raftlog_forget(struct raftlog *log, uint64_t index, uint64_t term)
{
    CHECK(index > log->base.index && index <= raftlog_last(log) + 1);
    log->place_count = index - log->base.index - 1;
    log->last_term = term;
    while (log->config_count > 1 && log->configs[log->config_count - 1].index >= index) log->config_count--;
}

bool raftlog_note(struct raftlog *log, const struct raft_entry *entry, uint64_t offset)
{
    CHECK(entry->index == raftlog_last(log) + 1);
    if (entry->kind == RAFT_CONFIG) {
        struct placed_config placed = {.index = entry->index};
        if (!raft_config_decode(entry->payload, &placed.config)) return false;
        log->configs = grown(log->configs, log->config_count, &log->config_capacity, sizeof *log->configs);
        log->configs[log->config_count++] = placed;
    }
    log->places = grown(log->places, log->place_count, &log->place_capacity, sizeof *log->places);
    log->places[log->place_count++] =
        (struct place){(uint32_t)log->segments[log->segment_count - 1].number, (uint32_t)offset, entry->chain,
                       (uint32_t)entry->payload.size};
    log->last_term = entry->term;
    return true;
}

/* Reading */

static int file_of(const struct raftlog *log, const struct place *place)
{
    return log->segments[place->segment - log->segments[0].number].file;
}

int raftlog_read(struct raftlog *log, uint64_t index, struct arena *arena, struct raft_entry *entry)
{
    if (index <= log->base.index || index > raftlog_last(log)) return -ENOENT;
    const struct place *place = place_of(log, index);
    size_t size = (size_t)frame_entry_size(place->size);
    uint8_t *bytes = arena_alloc(arena, size);
    int error = disk_read(file_of(log, place), place->offset, bytes, size);
    if (error) disk_failed(log, "read", error);
    struct slice rest = slice_of(bytes, size);
    if (!frame_take_entry(&rest, entry) || entry->index != index || entry->chain != place->chain ||
        entry->chain != raft_chain(raftlog_chain_at(log, index - 1), entry))
        fatal(
            "the log in %s is damaged: entry %llu in segment %u is not what was written; check the disk, and "
            "put back a good copy of the data directory or begin with an empty one",
            log->dir, (unsigned long long)index, place->segment);
    return 0;
}

static uint64_t term_at(struct raftlog *log, uint64_t index)
{
    if (index == log->base.index) return log->base.term;
    if (index == raftlog_last(log)) return log->last_term;
    struct arena arena = {0};
    struct raft_entry entry;
    CHECK(raftlog_read(log, index, &arena, &entry) == 0);
    arena_free(&arena);
    return entry.term;
}

/* Room */

/* Ahead of need, the spare leaves as much to the state as it takes. */
static void provide_spare(struct raftlog *log)
{
    if (log->spare < 0 && disk_free_bytes(log->dir) >= 2 * (int64_t)log->segment_bytes)
        log->spare = segment_spare(log->dir, log->segment_bytes);
    log->full = log->full || log->spare < 0;
}

void raftlog_provide(struct raftlog *log)
{
    int64_t size = (int64_t)log->segment_bytes;
    provide_spare(log);
    bool ballast = ballast_keep(log->dir, log->segment_bytes);
    int64_t left = disk_free_bytes(log->dir);
    log->full = log->spare < 0 || !ballast || (left >= 0 && left < size);
}

bool raftlog_full(struct raftlog *log, uint64_t now_ms)
{
    if (!log->looked || now_ms >= log->looked_ms + LOOK_AGAIN_MS) {
        raftlog_provide(log);
        log->looked = true;
        log->looked_ms = now_ms;
    }
    return log->full;
}

/* Begins a new segment whose first entry will be `next`. -ENOSPC: nothing changed. */
static int rotate(struct raftlog *log, uint64_t next)
{
    if (log->spare < 0) log->spare = segment_spare(log->dir, log->segment_bytes);
    log->full = log->full || log->spare < 0;
    if (log->spare < 0) return log->spare;
    struct segment_header header = {.number = log->segments[log->segment_count - 1].number + 1,
                                    .segment_bytes = log->segment_bytes,
                                    .identity = log->identity,
                                    .frame_number = log->next_number,
                                    .frame_crc = log->last_crc,
                                    .base_index = next - 1,
                                    .base_term = term_at(log, next - 1),
                                    .base_chain = raftlog_chain_at(log, next - 1),
                                    .hard = log->hard,
                                    .config = *raftlog_config_at(log, next - 1)};
    memcpy(header.state_dir, log->state_dir, sizeof header.state_dir);
    CHECK(header.number <= UINT32_MAX);
    int error = segment_begin(log->dir, log->spare, &header);
    if (error) return error;
    if (next <= raftlog_last(log)) raftlog_forget(log, next, header.base_term);
    raftlog_add_segment(log, &header, log->spare);
    log->soiled = 0;
    log->spare = -1;
    provide_spare(log);
    return 0;
}

/* Appending */

static void check_write(struct raftlog *log, const struct raftlog_write *write)
{
    uint64_t last = raftlog_last(log), term = log->last_term;
    if (write->entry_count) {
        uint64_t first = write->entries[0].index;
        CHECK(first <= last + 1 && first > log->hard.commit && first > log->base.index);
        term = term_at(log, first - 1);
        uint32_t chain = raftlog_chain_at(log, first - 1);
        for (size_t i = 0; i < write->entry_count; i++) {
            const struct raft_entry *entry = &write->entries[i];
            CHECK(entry->index == first + i && entry->term >= term &&
                  entry->chain == raft_chain(chain, entry));
            CHECK(FRAME_HEAD_SIZE + frame_entry_size(entry->payload.size) <=
                  log->segment_bytes - SEGMENT_HEADER_SIZE);
            chain = entry->chain;
            term = entry->term;
        }
        last = first + write->entry_count - 1;
    }
    const struct raft_hard *hard = write->hard ? write->hard : &log->hard;
    CHECK(hard->term >= log->hard.term && hard->term >= term && hard->commit <= last);
    CHECK(hard->term > log->hard.term || log->hard.vote == 0 || hard->vote == log->hard.vote);
}

/* What an earlier write left behind, when the disk was full in its middle, must not stand behind a shorter
 * frame. */
static int clean(struct raftlog *log, int file)
{
    if (log->soiled <= log->end) return 0;
    size_t size = (size_t)(log->soiled - log->end);
    uint8_t *zeroes = memory_new(size);
    int error = disk_write(file, log->end, slice_of(zeroes, size));
    free(zeroes);
    if (!error) error = disk_sync(file);
    if (!error) log->soiled = 0;
    return error;
}

static int write_frame(struct raftlog *log, struct slice bytes)
{
    int file = log->segments[log->segment_count - 1].file;
    int error = clean(log, file);
    if (!error) {
        error = disk_write(file, log->end, bytes);
        if (error) log->soiled = log->end + bytes.size;
    }
    if (!error && !MUTANT(45)) error = disk_sync(file);
    return error;
}

static void note_frame(struct raftlog *log, const struct frame *frame, const struct raft_entry *entries)
{
    if (frame->entry_count && entries[0].index <= raftlog_last(log))
        raftlog_forget(log, entries[0].index, term_at(log, entries[0].index - 1));
    uint64_t offset = log->end + FRAME_HEAD_SIZE;
    for (uint32_t i = 0; i < frame->entry_count; i++) {
        CHECK(raftlog_note(log, &entries[i], offset));
        offset += frame_entry_size(entries[i].payload.size);
    }
    log->hard = frame->hard;
    log->next_number++;
    log->last_crc = frame->crc;
    log->end = offset;
}

static int append_frame(struct raftlog *log, const struct raft_hard *hard, const struct raft_entry *entries,
                        size_t count, uint64_t size)
{
    bool behind_base = count && entries[0].index <= log->segments[log->segment_count - 1].base.index;
    if (log->end + size > log->segment_bytes || behind_base) {
        int error = rotate(log, count ? entries[0].index : raftlog_last(log) + 1);
        if (error) return error;
    }
    struct frame frame = {.number = log->next_number,
                          .before = log->last_crc,
                          .entry_count = (uint32_t)count,
                          .hard = hard && !(MUTANT(40) && count) ? *hard : log->hard};
    uint64_t last = count ? entries[count - 1].index : raftlog_last(log);
    if (frame.hard.commit > last)
        frame.hard.commit = last; /* the rest of the write follows in the next frame */
    log->writing.size = 0;
    frame.crc = frame_encode(&frame, entries, log->seed, &log->writing);
    CHECK(log->writing.size == size);
    int error = write_frame(log, buffer_slice(&log->writing));
    if (!error) note_frame(log, &frame, entries);
    if (log->writing.capacity > BUFFER_KEPT_MAX) buffer_free(&log->writing);
    return error;
}

int raftlog_append(struct raftlog *log, const struct raftlog_write *write)
{
    if (!write->hard && !write->entry_count) return 0;
    check_write(log, write);
    size_t done = 0;
    do {
        uint64_t size = FRAME_HEAD_SIZE;
        size_t count = 0;
        for (; done + count < write->entry_count; count++) {
            uint64_t more = frame_entry_size(write->entries[done + count].payload.size);
            if (size + more > log->segment_bytes - SEGMENT_HEADER_SIZE) break;
            size += more;
        }
        int error = append_frame(log, write->hard, count ? write->entries + done : NULL, count, size);
        if (error == -ENOSPC) return error;
        if (error) disk_failed(log, "written", error);
        done += count;
    } while (done < write->entry_count);
    return 0;
}

/* Trimming */

static void rebase(struct raftlog *log, const struct raftlog_base *base)
{
    size_t gone = base->index - log->base.index;
    if (gone) memmove(log->places, log->places + gone, (log->place_count - gone) * sizeof *log->places);
    log->place_count -= gone;
    size_t old = 0;
    while (old + 1 < log->config_count && log->configs[old + 1].index <= base->index) old++;
    memmove(log->configs, log->configs + old, (log->config_count - old) * sizeof *log->configs);
    log->config_count -= old;
    log->base = *base;
}

static void remove_first_segment(struct raftlog *log)
{
    disk_close(log->segments[0].file);
    int error = segment_remove(log->dir, log->segments[0].number);
    if (error) disk_failed(log, "trimmed", error);
    log->segment_count--;
    memmove(log->segments, log->segments + 1, log->segment_count * sizeof *log->segments);
}

uint64_t raftlog_trim(struct raftlog *log, uint64_t index)
{
    CHECK(index <= raftlog_last(log));
    if (MUTANT(41)) index = raftlog_last(log);
    size_t first = log->segment_count - 1;
    while (first > 0 && log->segments[first].base.index > index) first--;
    if (first == 0) return log->base.index;
    struct raftlog_base base = log->segments[first].base;
    rebase(log, &base);
    for (; first > 0; first--) remove_first_segment(log);
    return log->base.index;
}

/* Beginning anew */

static void check_beginning(const struct raftlog *log, const struct raftlog_beginning *beginning)
{
    const struct raft_hard *hard = &beginning->hard;
    CHECK(hard->commit == beginning->index && hard->term >= beginning->term && hard->term >= log->hard.term);
    CHECK(hard->term > log->hard.term || log->hard.vote == 0 || hard->vote == log->hard.vote);
    CHECK(beginning->index > log->hard.commit);
}

int raftlog_begin_anew(struct raftlog *log, const struct raftlog_beginning *beginning)
{
    check_beginning(log, beginning);
    if (log->spare < 0) log->spare = segment_spare(log->dir, log->segment_bytes);
    if (log->spare == -ENOSPC) return -ENOSPC;
    if (log->spare < 0) disk_failed(log, "begun anew", log->spare);
    struct segment_header header = {.number = log->segments[log->segment_count - 1].number + 1,
                                    .segment_bytes = log->segment_bytes,
                                    .identity = log->identity,
                                    .frame_number = log->next_number,
                                    .frame_crc = log->last_crc,
                                    .base_index = beginning->index,
                                    .base_term = beginning->term,
                                    .base_chain = beginning->chain,
                                    .hard = beginning->hard,
                                    .anew = true,
                                    .config = beginning->config};
    memcpy(header.state_dir, beginning->state_dir, sizeof header.state_dir);
    int error = segment_begin(log->dir, log->spare, &header);
    if (error == -ENOSPC) return error;
    if (error) disk_failed(log, "begun anew", error);
    log->place_count = 0;
    log->base = (struct raftlog_base){beginning->index, beginning->term, beginning->chain};
    log->configs[0] = (struct placed_config){beginning->index, beginning->config};
    log->config_count = 1;
    log->last_term = beginning->term;
    log->hard = beginning->hard;
    log->soiled = 0;
    memcpy(log->state_dir, beginning->state_dir, sizeof log->state_dir);
    raftlog_add_segment(log, &header, log->spare);
    log->spare = -1;
    while (log->segment_count > 1) remove_first_segment(log);
    provide_spare(log);
    return 0;
}

uint64_t raftlog_before_last(const struct raftlog *log, size_t segments)
{
    size_t first = log->segment_count > segments ? log->segment_count - segments : 0;
    return log->segments[first].base.index;
}

uint64_t raftlog_bytes(const struct raftlog *log)
{
    return (log->segment_count + (log->spare >= 0)) * log->segment_bytes;
}

void raftlog_close(struct raftlog *log)
{
    for (size_t i = 0; i < log->segment_count; i++) disk_close(log->segments[i].file);
    if (log->spare >= 0) disk_close(log->spare);
    buffer_free(&log->writing);
    free(log->segments);
    free(log->places);
    free(log->configs);
    free(log);
}
