/* Making and opening a log: the scan that decides what on the disk is the log, what is a torn tail, and what
 * is damage.
 *
 * A bad frame is a torn tail only when it lies in the last segment and no good frame lies behind it: the next
 * frame, and the next segment, are begun only after it was flushed. What is cut is overwritten with zeroes
 * and flushed before anything else is written, so that no rest of it can ever stand behind a new frame as its
 * successor. */
#include "storage/raftlog_internal.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/mutant.h"
#include "storage/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define REMEDY "put back a good copy of the data directory, or begin with an empty one"

/* A segment that is there. */
struct candidate {
    uint64_t number;
    int file; /* negative: not opened, or the log's by now */
    struct segment_header header;
};

struct scan {
    struct raftlog *log;
    struct arena *arena;
    char path[SEGMENT_PATH_MAX]; /* of the segment being read */
    uint8_t *bytes;              /* it */
    struct candidate *candidates;
    size_t candidate_count, candidate_capacity;
    struct raft_entry *entries;
    size_t entry_count, entry_capacity;
    uint64_t cut_bytes;
    char *error;
    size_t error_size;
};

__attribute__((format(printf, 2, 3))) static bool refuse(struct scan *scan, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(scan->error, scan->error_size, format, arguments);
    va_end(arguments);
    return false;
}

static bool refuse_damaged(struct scan *scan, uint64_t at, const char *what)
{
    return refuse(scan, "%s is damaged at byte %" PRIu64 ": %s; check the disk, then " REMEDY, scan->path, at,
                  what);
}

static bool refuse_disk(struct scan *scan, const char *path, int64_t error)
{
    return refuse(scan, "%s cannot be read or written: %s; check the disk and who may use it", path,
                  strerror((int)-error));
}

/* Which segments there are */

static void collect(void *context, const char *name)
{
    struct scan *scan = context;
    uint64_t number = segment_number(name);
    if (!number) return;
    if (scan->candidate_count == scan->candidate_capacity) {
        scan->candidate_capacity = scan->candidate_capacity ? scan->candidate_capacity * 2 : 16;
        scan->candidates =
            memory_resize(scan->candidates, scan->candidate_capacity * sizeof *scan->candidates);
    }
    scan->candidates[scan->candidate_count++] = (struct candidate){.number = number, .file = -1};
}

static int by_number(const void *a, const void *b)
{
    uint64_t left = ((const struct candidate *)a)->number, right = ((const struct candidate *)b)->number;
    return (left > right) - (left < right);
}

static bool find_segments(struct scan *scan)
{
    const char *dir = scan->log->dir;
    int error = disk_sync_directory(dir); /* names that a crash of the process alone left in memory */
    if (!error) error = disk_list(dir, collect, scan);
    if (error) return refuse_disk(scan, dir, error);
    if (scan->candidate_count == 0) return refuse(scan, "there is no log in %s; " REMEDY, dir);
    qsort(scan->candidates, scan->candidate_count, sizeof *scan->candidates, by_number);
    for (size_t i = 1; i < scan->candidate_count; i++) {
        uint64_t expected = scan->candidates[i - 1].number + 1;
        if (scan->candidates[i].number == expected) continue;
        segment_path(dir, expected, scan->path);
        return refuse(scan, "%s is missing, but later segments are there; " REMEDY, scan->path);
    }
    return true;
}

/* Headers */

static bool read_header(struct scan *scan, struct candidate *candidate)
{
    struct segment_header *header = &candidate->header;
    uint8_t block[SEGMENT_HEADER_SIZE];
    int64_t size = disk_size(candidate->file);
    if (size < 0) return refuse_disk(scan, scan->path, size);
    if (size < SEGMENT_HEADER_SIZE) return refuse_damaged(scan, (uint64_t)size, "the file ends there");
    int error = disk_read(candidate->file, 0, block, sizeof block);
    if (error) return refuse_disk(scan, scan->path, error);
    switch (segment_header_decode(slice_of(block, sizeof block), header)) {
    case HEADER_FOREIGN:
        return refuse_damaged(scan, 0, "it does not begin as a log does");
    case HEADER_FORMAT:
        return refuse(scan,
                      "%s has another format than this coordd reads (%d); run the version that wrote it",
                      scan->path, LOG_FORMAT);
    case HEADER_DAMAGED:
        return refuse_damaged(scan, 0, "its header has a wrong checksum");
    case HEADER_GOOD:
        break;
    }
    if (header->number != candidate->number)
        return refuse_damaged(scan, 16, "it has the name of another segment");
    if (header->segment_bytes != (uint64_t)size)
        return refuse_damaged(scan, (uint64_t)size, "the file does not end where it should");
    return true;
}

static bool read_headers(struct scan *scan)
{
    for (size_t i = 0; i < scan->candidate_count; i++) {
        struct candidate *candidate = &scan->candidates[i];
        segment_path(scan->log->dir, candidate->number, scan->path);
        candidate->file = disk_open(scan->path, false);
        if (candidate->file < 0) return refuse_disk(scan, scan->path, candidate->file);
        if (!read_header(scan, candidate)) return false;
    }
    return true;
}

/* See invariant 2 of raftlog_internal.h. */
static size_t first_segment(const struct scan *scan)
{
    size_t first = scan->candidate_count - 1;
    uint64_t least = scan->candidates[first].header.base_index;
    for (size_t i = first; i-- > 0;) {
        uint64_t base = scan->candidates[i].header.base_index;
        if (scan->candidates[first].header.anew && !MUTANT(47))
            break; /* what lies before it does not count any more */
        if (base > least) continue;
        least = base;
        first = i;
    }
    return first;
}

static void begin_at(struct raftlog *log, const struct segment_header *header)
{
    log->identity = header->identity;
    log->seed = frame_seed(&header->identity);
    log->segment_bytes = header->segment_bytes;
    log->base = (struct raftlog_base){header->base_index, header->base_term, header->base_chain};
    log->last_term = header->base_term;
    log->hard = header->hard;
    log->next_number = header->frame_number;
    log->last_crc = header->frame_crc;
    log->configs = memory_new(sizeof *log->configs);
    log->configs[0] = (struct placed_config){header->base_index, header->config};
    log->config_count = log->config_capacity = 1;
}

static uint64_t term_at(const struct scan *scan, uint64_t index)
{
    const struct raftlog_base *base = &scan->log->base;
    return index == base->index ? base->term : scan->entries[index - base->index - 1].term;
}

static bool same_hard(const struct raft_hard *a, const struct raft_hard *b)
{
    return a->term == b->term && a->vote == b->vote && a->commit == b->commit;
}

static bool same_config(const struct raft_config *a, const struct raft_config *b)
{
    return memcmp(a, b, sizeof *a) == 0; /* no padding, and what is unused is zero */
}

static void forget(struct scan *scan, uint64_t index)
{
    raftlog_forget(scan->log, index, term_at(scan, index - 1));
    scan->entry_count = index - scan->log->base.index - 1;
}

/* A later segment goes on where the one before it ended, or replaces the end of it. */
static bool go_on_at(struct scan *scan, const struct segment_header *header)
{
    struct raftlog *log = scan->log;
    uint64_t base = header->base_index;
    if (header->identity.cluster != log->identity.cluster || header->identity.node != log->identity.node)
        return refuse(scan, "%s belongs to another node's log; " REMEDY, scan->path);
    if (header->frame_number != log->next_number || header->frame_crc != log->last_crc ||
        !same_hard(&header->hard, &log->hard))
        return refuse_damaged(scan, 0, "the segment before it does not end where this one begins");
    if (base < log->base.index || base > raftlog_last(log) || base < log->hard.commit ||
        header->base_chain != raftlog_chain_at(log, base) || header->base_term != term_at(scan, base) ||
        !same_config(&header->config, raftlog_config_at(log, base)))
        return refuse_damaged(scan, 0, "its header does not fit the entries before it");
    if (base < raftlog_last(log)) forget(scan, base + 1);
    return true;
}

/* Frames */

static void keep_entry(struct scan *scan, const struct raft_entry *entry)
{
    if (scan->entry_count == scan->entry_capacity) {
        scan->entry_capacity = scan->entry_capacity ? scan->entry_capacity * 2 : 1024;
        scan->entries = memory_resize(scan->entries, scan->entry_capacity * sizeof *scan->entries);
    }
    scan->entries[scan->entry_count] = *entry;
    scan->entries[scan->entry_count++].payload =
        entry->kind == RAFT_CONFIG ? arena_copy(scan->arena, entry->payload) : (struct slice){0};
}

static bool take_entries(struct scan *scan, const struct frame *frame, uint64_t at)
{
    struct raftlog *log = scan->log;
    struct slice rest = frame->entries;
    struct raft_entry entry;
    uint64_t own_base = log->segments[log->segment_count - 1].base.index;
    for (uint32_t i = 0; i < frame->entry_count; i++) {
        uint64_t offset = at + (uint64_t)(rest.data - frame->entries.data) + FRAME_HEAD_SIZE;
        CHECK(frame_take_entry(&rest, &entry));
        uint64_t last = raftlog_last(log);
        if (i == 0 && entry.index <= last && entry.index > own_base && entry.index > log->hard.commit) {
            forget(scan, entry.index);
            last = entry.index - 1;
        }
        if (entry.index != last + 1)
            return refuse_damaged(scan, offset, "an entry does not follow the one before");
        if (entry.term < log->last_term || entry.chain != raft_chain(raftlog_chain_at(log, last), &entry))
            return refuse_damaged(scan, offset, "an entry does not fit its chain");
        if (!raftlog_note(log, &entry, offset))
            return refuse_damaged(scan, offset, "a configuration cannot be read");
        keep_entry(scan, &entry);
    }
    return true;
}

static bool take_frame(struct scan *scan, const struct frame *frame, uint64_t at)
{
    struct raftlog *log = scan->log;
    if (frame->number != log->next_number || frame->before != log->last_crc)
        return refuse_damaged(scan, at, "a record does not follow the one before");
    if (!take_entries(scan, frame, at)) return false;
    const struct raft_hard *hard = &frame->hard;
    bool second_vote = hard->term == log->hard.term && log->hard.vote && hard->vote != log->hard.vote;
    if (hard->term < log->hard.term || second_vote || hard->term < log->last_term)
        return refuse_damaged(scan, at, "term and vote do not fit what was there before");
    if (hard->commit > raftlog_last(log)) return refuse_damaged(scan, at, "more is committed than there is");
    log->hard = *hard;
    log->next_number++;
    log->last_crc = frame->crc;
    log->end = at + frame->size;
    return true;
}

/* Tails */

static bool good_frame_behind(const struct raftlog *log, struct slice rest)
{
    struct frame frame;
    uint64_t number;
    for (; rest.size >= FRAME_HEAD_SIZE; rest = slice_skip(rest, 8)) {
        memcpy(&number, rest.data + 8, sizeof number);
        bool later = number >= log->next_number && number - log->next_number <= log->segment_bytes;
        if (later && frame_decode(rest, log->seed, &frame)) return true;
    }
    return false;
}

static bool settle_tail(struct scan *scan, int file, bool last_segment)
{
    struct raftlog *log = scan->log;
    struct slice rest = slice_of(scan->bytes + log->end, (size_t)(log->segment_bytes - log->end));
    while (rest.size && rest.data[rest.size - 1] == 0) rest.size--;
    if (rest.size == 0) return true;
    if (MUTANT(44)) last_segment = true;
    if (!last_segment ||
        (!MUTANT(44) && good_frame_behind(log, slice_of(rest.data, (size_t)(log->segment_bytes - log->end)))))
        return refuse_damaged(scan, log->end, "a bad record lies before good ones, so it is no torn write");
    scan->cut_bytes = rest.size;
    if (MUTANT(46)) return true;
    memset(scan->bytes + log->end, 0, rest.size);
    int error = disk_write(file, log->end, rest);
    if (!error) error = disk_sync(file);
    return error ? refuse_disk(scan, scan->path, error) : true;
}

static bool scan_frames(struct scan *scan, int file, bool last_segment)
{
    struct raftlog *log = scan->log;
    struct frame frame;
    int error = disk_read(file, 0, scan->bytes, (size_t)log->segment_bytes);
    if (error) return refuse_disk(scan, scan->path, error);
    for (uint64_t at = log->end;
         frame_decode(slice_of(scan->bytes + at, (size_t)(log->segment_bytes - at)), log->seed, &frame);
         at = log->end)
        if (!take_frame(scan, &frame, at)) return false;
    return settle_tail(scan, file, last_segment);
}

static bool scan_segment(struct scan *scan, struct candidate *candidate, bool last_segment)
{
    struct raftlog *log = scan->log;
    const struct segment_header *header = &candidate->header;
    segment_path(log->dir, candidate->number, scan->path);
    if (log->segment_count == 0)
        begin_at(log, header);
    else if (!go_on_at(scan, header))
        return false;
    memcpy(log->state_dir, header->state_dir, sizeof log->state_dir);
    scan->bytes = memory_resize(scan->bytes, (size_t)header->segment_bytes);
    raftlog_add_segment(log, header, candidate->file);
    candidate->file = -1;
    return scan_frames(scan, log->segments[log->segment_count - 1].file, last_segment);
}

static bool scan_all(struct scan *scan)
{
    if (!find_segments(scan) || !read_headers(scan)) return false;
    size_t first = first_segment(scan);
    for (size_t i = first; i < scan->candidate_count; i++)
        if (!scan_segment(scan, &scan->candidates[i], i + 1 == scan->candidate_count)) return false;
    for (size_t i = 0; i < first; i++) {
        int error = segment_remove(scan->log->dir, scan->candidates[i].number);
        if (error) return refuse_disk(scan, scan->log->dir, error);
    }
    return true;
}

/* Doors */

static void report(const struct scan *scan, struct raftlog_found *found)
{
    const struct raftlog *log = scan->log;
    *found = (struct raftlog_found){.identity = log->identity,
                                    .hard = log->hard,
                                    .config = log->configs[0].config,
                                    .base_index = log->base.index,
                                    .base_term = log->base.term,
                                    .base_chain = log->base.chain,
                                    .entry_count = scan->entry_count,
                                    .cut_bytes = scan->cut_bytes};
    memcpy(found->state_dir, log->state_dir, sizeof found->state_dir);
    size_t size = scan->entry_count * sizeof *scan->entries;
    found->entries = arena_alloc(scan->arena, size);
    if (size) memcpy(found->entries, scan->entries, size);
}

struct raftlog *raftlog_open(const char *dir, struct arena *arena, struct raftlog_found *found, char *error,
                             size_t error_size)
{
    struct raftlog *log = memory_new(sizeof *log);
    struct scan scan = {.log = log, .arena = arena, .error = error, .error_size = error_size};
    snprintf(log->dir, sizeof log->dir, "%s", dir);
    log->spare = -1;
    bool good = scan_all(&scan);
    if (good) {
        report(&scan, found);
        raftlog_provide(log);
    } else {
        raftlog_close(log);
    }
    for (size_t i = 0; i < scan.candidate_count; i++)
        if (scan.candidates[i].file >= 0) disk_close(scan.candidates[i].file);
    free(scan.bytes);
    free(scan.candidates);
    free(scan.entries);
    return good ? log : NULL;
}

static void note_any(void *context, const char *name)
{
    *(bool *)context |= segment_number(name) != 0;
}

int raftlog_create(const char *dir, const struct raftlog_creation *creation, char *error, size_t error_size)
{
    uint64_t bytes = creation->segment_bytes;
    CHECK(bytes >= RAFTLOG_SEGMENT_BYTES_MIN && bytes <= RAFTLOG_SEGMENT_BYTES_MAX &&
          bytes % SEGMENT_HEADER_SIZE == 0);
    CHECK(creation->identity.cluster && creation->identity.node);
    struct segment_header header = {.number = 1,
                                    .segment_bytes = bytes,
                                    .identity = creation->identity,
                                    .frame_number = 1,
                                    .config = creation->config};
    memcpy(header.state_dir, creation->state_dir, sizeof header.state_dir);
    bool there = false;
    int failed = disk_list(dir, note_any, &there);
    if (!failed && there) failed = -EEXIST;
    int spare = failed ? failed : segment_spare(dir, bytes);
    failed = spare < 0 ? spare : segment_begin(dir, spare, &header);
    if (spare >= 0) disk_close(spare);
    if (failed)
        snprintf(error, error_size, "no log can be made in %s: %s; make room, or name another directory", dir,
                 strerror(-failed));
    return failed;
}
