/* Any bytes as the first segment of a Raft log: opened or refused, never a crash; what is opened can be read
 * back. */
#include "base/check.h"
#include "storage/raftlog.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64], file[128];

static void begin(void)
{
    snprintf(directory, sizeof directory, "/tmp/fuzz_log.XXXXXX");
    if (!mkdtemp(directory)) abort();
    snprintf(file, sizeof file, "%s/log", directory);
    if (mkdir(file, 0700)) abort();
}

/* A good segment, on which the input is laid at an offset that its first two bytes choose. */
static void make(const uint8_t *data, size_t size)
{
    char error[256];
    struct raftlog_creation creation = {
        .identity = {1, 2, "n1"},
        .config = {.members[0] = {.node = 2, .membership = RAFT_VOTER}, .member_count = 1},
        .state_dir = "state-1",
        .segment_bytes = RAFTLOG_SEGMENT_BYTES_MIN};
    char path[160];
    snprintf(path, sizeof path, "%s/log", directory);
    if (raftlog_create(path, &creation, error, sizeof error)) abort();
    struct arena arena = {0};
    struct raftlog_found found;
    struct raftlog *log = raftlog_open(path, &arena, &found, error, sizeof error);
    if (!log) abort();
    struct raft_entry entry = {.index = 1, .term = 1, .kind = RAFT_COMMAND, .payload = SLICE("payload")};
    entry.chain = raft_chain(0, &entry);
    struct raft_hard hard = {1, 2, 0};
    if (raftlog_append(log, &(struct raftlog_write){&hard, &entry, 1})) abort();
    raftlog_close(log);
    arena_free(&arena);
    snprintf(path, sizeof path, "%s/log/0000000001.log", directory);
    int segment = open(path, O_RDWR | O_CLOEXEC);
    off_t at = size > 2 ? (off_t)(data[0] | data[1] << 8) % (RAFTLOG_SEGMENT_BYTES_MIN - 1) : 0;
    if (segment < 0 || (size > 2 && pwrite(segment, data + 2, size - 2, at) < 0)) abort();
    close(segment);
}

static void clear(void)
{
    char command[160];
    snprintf(command, sizeof command, "%s/log/spare", directory);
    unlink(command);
    for (int i = 1; i < 4; i++) {
        snprintf(command, sizeof command, "%s/log/%010d.log", directory, i);
        unlink(command);
    }
    snprintf(command, sizeof command, "%s/ballast", directory);
    unlink(command);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!*directory) begin();
    char error[512];
    struct arena arena = {0};
    struct raftlog_found found;
    make(data, size);
    snprintf(file, sizeof file, "%s/log", directory);
    struct raftlog *log = raftlog_open(file, &arena, &found, error, sizeof error);
    for (size_t i = 0; log && i < found.entry_count; i++) {
        struct raft_entry entry;
        CHECK(raftlog_read(log, found.entries[i].index, &arena, &entry) == 0 &&
              entry.chain == found.entries[i].chain);
    }
    if (log)
        raftlog_close(log);
    else
        CHECK(error[0]);
    arena_free(&arena);
    clear();
    return 0;
}
