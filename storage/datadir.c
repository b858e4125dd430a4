/* Invariants
 * 1. Without "first-start" the directory is whole or has never been used: that file is durable before
 * anything is made beside it, and removed when all of it is durable.
 * 2. What is there without it is never made anew, whatever is missing: data that cannot be found is not data
 * that never was. */
#include "storage/datadir_internal.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "base/memory.h"
#include "base/buffer.h"
#include "storage/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define REMEDY "put back a good copy of the data directory, or begin with an empty one"
#define FIRST_START "first-start"
#define NODE_ID "node-id"
#define FIRST_STATE "state-1"

__attribute__((format(printf, 2, 3))) static bool refuse(struct datadir *directory, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(directory->error, directory->error_size, format, arguments);
    va_end(arguments);
    return false;
}

static bool refuse_system(struct datadir *directory, const char *what, int error)
{
    return refuse(directory,
                  "%s %s: %s; check the disk and who may use it, or name another directory (--data-dir)",
                  directory->path, what, strerror(error));
}

void datadir_inside(const struct datadir *directory, const char *name, char path[PATH_SIZE])
{
    snprintf(path, PATH_SIZE, "%s/%s", directory->path, name);
}

/* Taking it */

static bool local_file_system(struct datadir *directory)
{
    static const struct {
        unsigned long type;
        const char *name;
    } remote[] = {{0x6969, "NFS"},      {0x517B, "SMB"},     {0xFF534D42, "CIFS"},  {0xFE534D42, "SMB2"},
                  {0x01021997, "9P"},   {0x5346414F, "AFS"}, {0x73757245, "Coda"},  {0x00C36400, "Ceph"},
                  {0x65735546, "FUSE"}, {0x564C, "NCP"},     {0x0BD00BD0, "Lustre"}};
    struct statfs facts;
    if (statfs(directory->path, &facts)) return refuse_system(directory, "cannot be used", errno);
    for (size_t i = 0; i < sizeof remote / sizeof remote[0]; i++)
        if ((unsigned long)facts.f_type == remote[i].type)
            return refuse(directory,
                          "%s lies on a network file system (%s), where neither locks nor flushes can be "
                          "trusted; name a "
                          "directory on a local disk (--data-dir)",
                          directory->path, remote[i].name);
    return true;
}

static bool make_directory(struct datadir *directory)
{
    struct stat facts;
    if (mkdir(directory->path, 0700) == 0) return true;
    if (errno != EEXIST) return refuse_system(directory, "cannot be made", errno);
    if (stat(directory->path, &facts)) return refuse_system(directory, "cannot be used", errno);
    return S_ISDIR(facts.st_mode) || refuse_system(directory, "cannot be used", ENOTDIR);
}

static bool take_lock(struct datadir *directory)
{
    char path[PATH_SIZE], text[16] = "";
    datadir_inside(directory, "LOCK", path);
    directory->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (directory->lock < 0) return refuse_system(directory, "cannot be used", errno);
    if (flock(directory->lock, LOCK_EX | LOCK_NB) == 0) {
        /* For people only: when the disk is too full even for this, that is no reason not to start. */
        int size = snprintf(text, sizeof text, "%-10ld\n", (long)getpid());
        (void)!pwrite(directory->lock, text, (size_t)size, 0);
        return true;
    }
    if (errno != EWOULDBLOCK) return refuse_system(directory, "cannot be locked", errno);
    if (pread(directory->lock, text, sizeof text - 1, 0) < 0) text[0] = 0;
    text[strspn(text, "0123456789")] = 0;
    return refuse(
        directory,
        "%s is in use by process %s; stop that one, or give this node a directory of its own (--data-dir)",
        directory->path, text[0] ? text : "(unknown)");
}

/* What is there */

struct listing {
    struct datadir *directory;
    bool first_start, used, foreign;
    const char *state_dir; /* the one in use, when removing what is left over */
};

static bool is_state(const char *name)
{
    return strncmp(name, "state-", 6) == 0;
}

static void note(void *context, const char *name)
{
    struct listing *listing = context;
    if (strcmp(name, FIRST_START) == 0)
        listing->first_start = true;
    else if (strcmp(name, "log") == 0 || is_state(name))
        listing->used = true;
    else if (name[0] != '.' && strcmp(name, "lost+found") != 0 && strcmp(name, "LOCK") != 0 &&
             strcmp(name, "ballast") != 0 && strcmp(name, NODE_ID) != 0 && strcmp(name, "snap") != 0)
        listing->foreign = true;
}

struct emptying {
    const char *path;
    int error;
};

static void remove_one(void *context, const char *name)
{
    struct emptying *emptying = context;
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", emptying->path, name);
    int error = disk_remove(path);
    if (error) emptying->error = error;
}

int datadir_remove(const char *path)
{
    struct emptying emptying = {.path = path};
    int error = disk_list(path, remove_one, &emptying);
    if (error == -ENOENT) return 0;
    if (!error) error = emptying.error;
    return error ? error : disk_remove(path);
}

static void remove_half_made(void *context, const char *name)
{
    struct listing *listing = context;
    char path[PATH_SIZE];
    bool unwanted = strcmp(name, "log") == 0 || is_state(name);
    if (!unwanted ||
        (listing->state_dir && (strcmp(name, "log") == 0 || strcmp(name, listing->state_dir) == 0)))
        return;
    datadir_inside(listing->directory, name, path);
    datadir_remove(path);
}

/* The first start */

static void parent_of(const char *path, char parent[PATH_SIZE])
{
    snprintf(parent, PATH_SIZE, "%s", path);
    size_t size = strlen(parent);
    while (size > 1 && parent[size - 1] == '/') size--;
    while (size > 0 && parent[size - 1] != '/') size--;
    while (size > 1 && parent[size - 1] == '/') size--;
    parent[size] = 0;
    if (size == 0) memcpy(parent, ".", 2);
}

/* Its own name, which it may have had since a first start that a crash ended; an operator's parent that
 * cannot be read is the operator's. */
static int sync_own_name(const struct datadir *directory)
{
    char parent[PATH_SIZE];
    parent_of(directory->path, parent);
    int error = disk_sync_directory(parent);
    return error == -EACCES ? 0 : error;
}

static uint64_t random_id(void)
{
    uint64_t id = 0;
    while (id == 0)
        if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id) fatal("the system gives no random numbers");
    return id;
}

/* The id of a node that has no log yet: 8 bytes and their CRC-32C. */

enum { ID_SIZE = 12 };

static bool write_id(struct datadir *directory, uint64_t id)
{
    char making[PATH_SIZE], path[PATH_SIZE];
    struct buffer bytes = {0};
    datadir_inside(directory, NODE_ID, path);
    datadir_inside(directory, "." NODE_ID, making);
    buffer_add_u64le(&bytes, id);
    buffer_add_u32le(&bytes, crc32c(0, bytes.data, bytes.size));
    disk_remove(making);
    int file = disk_open(making, true);
    int error = file < 0 ? file : disk_write(file, 0, buffer_slice(&bytes));
    if (!error) error = disk_sync(file);
    if (file >= 0) disk_close(file);
    if (!error) error = disk_rename(making, path);
    buffer_free(&bytes);
    return error == 0 || refuse_system(directory, "cannot hold this node's id", -error);
}

/* Once the log has it. */
static void remove_id(struct datadir *directory)
{
    char path[PATH_SIZE];
    datadir_inside(directory, NODE_ID, path);
    disk_remove(path);
    datadir_inside(directory, "." NODE_ID, path);
    disk_remove(path);
}

static bool read_id(struct datadir *directory, uint64_t *id)
{
    char path[PATH_SIZE];
    uint8_t bytes[ID_SIZE];
    uint32_t crc = 0;
    *id = 0;
    datadir_inside(directory, NODE_ID, path);
    int file = disk_open(path, false);
    if (file == -ENOENT) return true;
    int error = file < 0 ? file : disk_read(file, 0, bytes, sizeof bytes);
    if (file >= 0) disk_close(file);
    if (error && error != -ENODATA) return refuse_system(directory, "does not tell this node's id", -error);
    struct slice rest = slice_of(bytes, sizeof bytes);
    bool good =
        !error && take_u64le(&rest, id) && take_u32le(&rest, &crc) && *id && crc == crc32c(0, bytes, 8);
    return good ||
           refuse(directory, "%s is damaged; remove it if this node was never a member of a cluster", path);
}

static void borrow_error(struct datadir *directory, char *error, size_t error_size)
{
    directory->error = error;
    directory->error_size = error_size;
}

uint64_t datadir_node(struct datadir *directory, char *error, size_t error_size)
{
    borrow_error(directory, error, error_size);
    if (directory->node) return directory->node;
    if (!directory->fresh) {
        char path[PATH_SIZE];
        struct arena arena = {0};
        struct raftlog_found found = {0};
        datadir_inside(directory, "log", path);
        struct raftlog *log = raftlog_open(path, &arena, &found, error, error_size);
        if (log) raftlog_close(log);
        arena_free(&arena);
        directory->node = log ? found.identity.node : 0;
        return directory->node;
    }
    uint64_t id;
    if (!read_id(directory, &id)) return 0;
    if (!id) {
        id = random_id();
        if (!write_id(directory, id)) return 0;
    }
    int failed = sync_own_name(directory); /* also when a crash left it in memory */
    if (!failed) failed = disk_sync_directory(directory->path);
    if (failed) return refuse_system(directory, "cannot be used", -failed);
    return directory->node = id;
}

static bool make_log_and_state(struct datadir *directory, const struct datadir_settings *settings)
{
    char path[PATH_SIZE];
    const struct datadir_founding *founding = settings->founding;
    struct raftlog_creation creation = {
        .identity = {founding ? founding->cluster : random_id(), directory->node, ""},
        .state_dir = FIRST_STATE,
        .segment_bytes = settings->segment_bytes ? settings->segment_bytes : RAFTLOG_SEGMENT_BYTES};
    snprintf(creation.identity.name, sizeof creation.identity.name, "%s",
             settings->name ? settings->name : "n1");
    struct raft_member self = {.node = directory->node, .membership = RAFT_VOTER};
    memcpy(self.name, creation.identity.name, sizeof self.name);
    creation.config =
        founding ? founding->config : (struct raft_config){.members = {self}, .member_count = 1};
    datadir_inside(directory, FIRST_STATE, path);
    if (state_create(path, creation.identity.cluster, creation.identity.node, directory->error,
                     directory->error_size))
        return false;
    datadir_inside(directory, "log", path);
    if (mkdir(path, 0700)) return refuse_system(directory, "cannot hold a log", errno);
    return raftlog_create(path, &creation, directory->error, directory->error_size) == 0;
}

static bool first_start(struct datadir *directory, const struct datadir_settings *settings)
{
    char marker[PATH_SIZE];
    struct listing listing = {.directory = directory};
    datadir_inside(directory, FIRST_START, marker);
    if (!directory->first_start) {
        int file = disk_open(marker, true);
        if (file < 0) return refuse_system(directory, "cannot be used", -file);
        disk_close(file);
    }
    int error = disk_sync_directory(directory->path);
    if (!error) error = disk_list(directory->path, remove_half_made, &listing);
    if (error) return refuse_system(directory, "cannot be used", -error);
    if (!make_log_and_state(directory, settings)) return false;
    error = disk_sync_directory(directory->path);
    if (!error) error = disk_remove(marker);
    if (!error) error = disk_sync_directory(directory->path);
    return error == 0 || refuse_system(directory, "cannot be used", -error);
}

static bool look(struct datadir *directory)
{
    struct listing listing = {.directory = directory};
    int error = disk_sync_directory(directory->path); /* what is decided here must not be undone by a crash */
    if (!error) error = disk_list(directory->path, note, &listing);
    if (error) return refuse_system(directory, "cannot be read", -error);
    directory->first_start = listing.first_start;
    directory->fresh = listing.first_start || !listing.used;
    if (directory->fresh && !listing.first_start && listing.foreign)
        return refuse(directory,
                      "%s holds files that are not coordd's, and no data of coordd's; name an empty "
                      "directory, or one that "
                      "does not exist yet (--data-dir)",
                      directory->path);
    return true;
}

bool datadir_fresh(const struct datadir *directory)
{
    return directory->fresh;
}

/* Opening */

static bool right_name(struct datadir *directory, const char *name, const char *stored)
{
    if (!name || strcmp(name, stored) == 0) return true;
    return refuse(
        directory,
        "%s belongs to node %s, not %s; start with --name %s, or give %s a directory of its own (--data-dir)",
        directory->path, stored, name, stored, name);
}

/* The rows must be the result of a part of this log: the newest entry in them is one that the log has, or its
 * base. */
static bool state_fits(struct datadir *directory, const struct datadir_contents *contents)
{
    const struct raftlog_found *found = &contents->found;
    struct state_mark mark = state_mark(contents->state);
    uint64_t base = found->base_index, last = base + found->entry_count;
    if (mark.applied > last)
        return refuse(
            directory,
            "%s: the state has entry %llu, but the log ends at %llu: a part of the log is missing; " REMEDY,
            directory->path, (unsigned long long)mark.applied, (unsigned long long)last);
    if (mark.applied < base)
        return refuse(directory,
                      "%s: the state ends at entry %llu, but the log begins after %llu: one of them is not "
                      "of the same time; " REMEDY,
                      directory->path, (unsigned long long)mark.applied, (unsigned long long)base);
    uint64_t term = mark.applied == base ? found->base_term : found->entries[mark.applied - base - 1].term;
    if (term != mark.term)
        return refuse(directory, "%s: entry %llu has term %llu in the log and %llu in the state; " REMEDY,
                      directory->path, (unsigned long long)mark.applied, (unsigned long long)term,
                      (unsigned long long)mark.term);
    return true;
}

static bool open_contents(struct datadir *directory, const struct datadir_settings *settings,
                          struct arena *arena, struct datadir_contents *contents)
{
    char path[PATH_SIZE];
    datadir_inside(directory, "log", path);
    contents->log = raftlog_open(path, arena, &contents->found, directory->error, directory->error_size);
    if (!contents->log) return false;
    const struct raftlog_identity *identity = &contents->found.identity;
    directory->node = identity->node;
    if (!right_name(directory, settings->name, identity->name)) return false;
    datadir_inside(directory, contents->found.state_dir, path);
    contents->state =
        state_open(path, identity->cluster, identity->node, 0, directory->error, directory->error_size);
    if (!contents->state || !state_fits(directory, contents)) return false;
    memcpy(directory->state_dir, contents->found.state_dir, sizeof directory->state_dir);
    directory->cluster = identity->cluster;
    struct listing listing = {.directory = directory, .state_dir = directory->state_dir};
    disk_list(directory->path, remove_half_made, &listing);
    datadir_inside(directory, "snap", path);
    datadir_remove(path);
    remove_id(directory); /* which a crash may have left */
    return true;
}

struct datadir *datadir_take(const char *path, char *error, size_t error_size)
{
    struct datadir *directory = memory_new(sizeof *directory);
    *directory = (struct datadir){.lock = -1, .error = error, .error_size = error_size};
    size_t size = strlen(path);
    bool good = size >= 1 && size < DIRECTORY_MAX;
    if (!good)
        refuse(directory, "--data-dir takes 1 to %d bytes, not %zu; choose another", DIRECTORY_MAX - 1, size);
    else
        memcpy(directory->path, path, size + 1);
    if (good && make_directory(directory) && local_file_system(directory) && take_lock(directory) &&
        look(directory))
        return directory;
    datadir_close(directory);
    return NULL;
}

bool datadir_open(struct datadir *directory, const struct datadir_settings *settings, struct arena *arena,
                  struct datadir_contents *contents, char *error, size_t error_size)
{
    borrow_error(directory, error, error_size);
    *contents = (struct datadir_contents){.fresh = directory->fresh};
    size_t name_size = settings->name ? strlen(settings->name) : 1;
    bool good = name_size >= 1 && name_size < sizeof contents->found.identity.name;
    if (!good) refuse(directory, "--name takes 1 to 63 bytes, not %zu; choose another", name_size);
    good = good &&
           (!directory->fresh ||
            (datadir_node(directory, error, error_size) != 0 && first_start(directory, settings))) &&
           open_contents(directory, settings, arena, contents);
    if (good) {
        directory->fresh = directory->first_start = false;
        return true;
    }
    if (contents->state) state_close(contents->state);
    if (contents->log) raftlog_close(contents->log);
    *contents = (struct datadir_contents){0};
    return false;
}

void datadir_close(struct datadir *directory)
{
    if (directory->lock >= 0) close(directory->lock);
    free(directory);
}
