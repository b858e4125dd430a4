/* Any bytes as the chunks of a snapshot: taken or refused, never a crash, and what is taken as a whole
 * becomes a good state.
 *
 * Input: flags, then chunks: size u16le and bytes. Flags: 1 the checksums are put right, the bytes begin with
 * the kind; 2 a good head goes before them; 4 an end that fits goes behind them. */
#include "base/check.h"
#include "storage/raftlog_internal.h"
#include "storage/snapshot_chunk.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEAL = 1, HEAD = 2, END = 4 };

static char root[64];
static struct datadir *directory;
static struct datadir_contents contents;

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *where)
{
    (void)facts, (void)kind, (void)where;
    return remove(path);
}

static void clear(void)
{
    if (*root) nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void begin(void)
{
    static const struct datadir_settings settings = {.segment_bytes = RAFTLOG_SEGMENT_BYTES_MIN};
    char error[512], path[80];
    struct arena arena = {0};
    if (!*root) {
        snprintf(root, sizeof root, "%s/fuzz_snapshot.XXXXXX",
                 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        atexit(clear);
        if (!mkdtemp(root)) abort();
    } else {
        clear();
        if (mkdir(root, 0700)) abort();
    }
    snprintf(path, sizeof path, "%s/data", root);
    directory = datadir_take(path, error, sizeof error);
    if (!directory || !datadir_open(directory, &settings, &arena, &contents, error, sizeof error)) abort();
    arena_free(&arena);
}

static void end(void)
{
    state_close(contents.state);
    raftlog_close(contents.log);
    datadir_close(directory);
    directory = NULL;
}

static enum intake_result hand(struct snapshot_intake *intake, struct buffer *chunk, uint64_t number,
                               bool seal)
{
    if (seal) chunk_seal(chunk, number);
    return snapshot_intake_chunk(intake, number, buffer_slice(chunk));
}

/* What of the rows so far the end must say. */
static void count(const struct buffer *chunk, uint64_t *rows, uint64_t *digest)
{
    struct slice rest = slice_of(chunk->data + 5, chunk->size - 5), key, value;
    for (; chunk_take_row(&rest, &key, &value); (*rows)++) *digest += row_hash(key, value);
}

static uint64_t digest_of(struct slice rest)
{
    struct slice size, bytes;
    uint64_t rows = 0, digest = 0;
    while (take_bytes(&rest, 2, &size) &&
           take_bytes(&rest, (size_t)(size.data[0] | size.data[1] << 8), &bytes)) {
        struct slice key, value;
        if (!bytes.size) break;
        for (bytes = slice_skip(bytes, 1); chunk_take_row(&bytes, &key, &value); rows++)
            digest += row_hash(key, value);
    }
    return digest;
}

static enum intake_result feed(struct snapshot_intake *intake, uint8_t flags, struct slice rest)
{
    struct buffer chunk = {0};
    struct slice size, bytes;
    enum intake_result result = INTAKE_MORE;
    uint64_t number = 0, rows = 0, digest = 0;
    bool seal = flags & SEAL;
    if (flags & HEAD) {
        struct snapshot_place place = {.index = 9, .term = 3, .digest = digest_of(rest)};
        place.config = contents.found.config;
        chunk_begin(&chunk, CHUNK_HEAD);
        chunk_add_head(&chunk, &place);
        result = hand(intake, &chunk, number++, true);
        CHECK(result == INTAKE_MORE);
    }
    while (result == INTAKE_MORE && take_bytes(&rest, 2, &size) &&
           take_bytes(&rest, (size_t)(size.data[0] | size.data[1] << 8), &bytes)) {
        chunk.size = 0;
        if (seal) buffer_add_u32le(&chunk, 0);
        buffer_add_slice(&chunk, bytes);
        if (seal && bytes.size) count(&chunk, &rows, &digest);
        result = hand(intake, &chunk, number++, seal && bytes.size);
    }
    if (result == INTAKE_MORE && flags & END) {
        chunk_begin(&chunk, CHUNK_END);
        chunk_add_end(&chunk, rows, digest);
        result = hand(intake, &chunk, number, true);
    }
    buffer_free(&chunk);
    return result;
}

static void take_over(struct snapshot_intake *intake)
{
    const struct snapshot_place *place = snapshot_intake_place(intake);
    struct raft_hard hard = {place->term, 0, place->index};
    uint64_t digest = place->digest;
    CHECK(snapshot_switch(intake, &contents, &hard) == 0);
    state_check(contents.state);
    CHECK(state_mark(contents.state).digest == digest);
    end();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[512];
    if (!directory) begin();
    if (size == 0) return 0;
    struct snapshot_intake *intake = snapshot_intake_begin(directory, error, sizeof error);
    CHECK(intake);
    if (feed(intake, data[0], slice_of(data + 1, size - 1)) == INTAKE_WHOLE)
        take_over(intake);
    else
        snapshot_intake_end(intake);
    return 0;
}
