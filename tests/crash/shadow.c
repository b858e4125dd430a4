#include "tests/crash/shadow.h"

#include "base/check.h"
#include "base/memory.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, BLOCK = 4096, PATH_SIZE = 1024 };

uint64_t random_next(uint64_t *random)
{
    uint64_t z = *random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t random_below(uint64_t *random, uint64_t below)
{
    return random_next(random) % below;
}

/* Names */

struct name *names_find(const struct names *names, uint32_t dir, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (names->names[i].dir == dir && strcmp(names->names[i].name, name) == 0) return &names->names[i];
    return NULL;
}

static void names_drop(struct names *names, uint32_t dir, const char *name)
{
    struct name *found = names_find(names, dir, name);
    if (found) *found = names->names[--names->count];
}

static void names_set(struct names *names, uint32_t dir, const char *name, uint32_t inode)
{
    names_drop(names, dir, name);
    if (names->count == names->capacity) {
        names->capacity = names->capacity ? names->capacity * 2 : 16;
        names->names = memory_resize(names->names, names->capacity * sizeof *names->names);
    }
    struct name *new = &names->names[names->count++];
    *new = (struct name){.dir = dir, .inode = inode};
    snprintf(new->name, sizeof new->name, "%s", name);
}

void names_apply(struct names *names, const struct op *op)
{
    struct name *found = names_find(names, op->dir, op->name);
    bool same = found && found->inode == op->inode;
    if (op->kind == OP_MAKE) names_set(names, op->dir, op->name, op->inode);
    if (op->kind == OP_REMOVE && same) names_drop(names, op->dir, op->name);
    if (op->kind == OP_RENAME) {
        if (same) names_drop(names, op->dir, op->name);
        names_set(names, op->dir, op->to, op->inode);
    }
}

/* The shadow */

static void pending_add(struct pending *pending, const struct op *op)
{
    if (pending->count == pending->capacity) {
        pending->capacity = pending->capacity ? pending->capacity * 2 : 8;
        pending->ops = memory_resize(pending->ops, pending->capacity * sizeof(struct op *));
    }
    pending->ops[pending->count++] = op;
}

static struct inode *add_inode(struct shadow *shadow, uint32_t number, bool directory)
{
    CHECK(number == shadow->inode_count);
    if (shadow->inode_count == shadow->inode_capacity) {
        shadow->inode_capacity = shadow->inode_capacity ? shadow->inode_capacity * 2 : 16;
        shadow->inodes = memory_resize(shadow->inodes, shadow->inode_capacity * sizeof *shadow->inodes);
    }
    struct inode *inode = &shadow->inodes[shadow->inode_count++];
    *inode = (struct inode){.directory = directory};
    return inode;
}

static void load_file(struct inode *inode, const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat facts;
    CHECK(file >= 0 && fstat(file, &facts) == 0);
    inode->size = (size_t)facts.st_size;
    inode->bytes = memory_new(inode->size + 1);
    CHECK(pread(file, inode->bytes, inode->size, 0) == (ssize_t)inode->size);
    close(file);
}

static void load_directory(struct shadow *shadow, uint32_t dir, const char *path)
{
    DIR *directory = opendir(path);
    CHECK(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        char inner[PATH_SIZE + 300];
        struct stat facts;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        CHECK(stat(inner, &facts) == 0 && strlen(inner) < PATH_SIZE);
        uint32_t number = (uint32_t)shadow->inode_count;
        struct inode *inode = add_inode(shadow, number, S_ISDIR(facts.st_mode));
        names_set(&shadow->names, dir, entry->d_name, number);
        if (inode->directory)
            load_directory(shadow, number, inner);
        else
            load_file(inode, inner);
    }
    closedir(directory);
}

void shadow_load(struct shadow *shadow, const char *path)
{
    *shadow = (struct shadow){0};
    add_inode(shadow, ROOT, true);
    load_directory(shadow, ROOT, path);
}

static void *copied(const void *bytes, size_t size)
{
    void *copy = memory_resize(NULL, size + 1);
    if (size) memcpy(copy, bytes, size);
    return copy;
}

static void copy_pending(struct pending *copy, const struct pending *pending)
{
    *copy = (struct pending){copied(pending->ops, pending->count * sizeof *pending->ops), pending->count,
                             pending->count};
}

void shadow_copy(struct shadow *copy, const struct shadow *shadow)
{
    *copy = *shadow;
    copy->inodes = copied(shadow->inodes, shadow->inode_count * sizeof *shadow->inodes);
    copy->inode_capacity = shadow->inode_count;
    for (size_t i = 0; i < shadow->inode_count; i++) {
        copy->inodes[i].bytes = copied(shadow->inodes[i].bytes, shadow->inodes[i].size);
        copy_pending(&copy->inodes[i].pending, &shadow->inodes[i].pending);
    }
    copy->names.names = copied(shadow->names.names, shadow->names.count * sizeof *shadow->names.names);
    copy->names.capacity = shadow->names.count;
    copy_pending(&copy->pending, &shadow->pending);
}

void shadow_free(struct shadow *shadow)
{
    for (size_t i = 0; i < shadow->inode_count; i++) {
        free(shadow->inodes[i].bytes);
        free(shadow->inodes[i].pending.ops);
    }
    free(shadow->inodes);
    free(shadow->names.names);
    free(shadow->pending.ops);
}

static void resize(uint8_t **bytes, size_t *size, size_t wanted)
{
    *bytes = memory_resize(*bytes, wanted + 1);
    if (wanted > *size) memset(*bytes + *size, 0, wanted - *size);
    *size = wanted;
}

static void settle_file(struct inode *inode)
{
    for (size_t i = 0; i < inode->pending.count; i++) {
        const struct op *op = inode->pending.ops[i];
        if (op->kind == OP_SIZE) {
            resize(&inode->bytes, &inode->size, (size_t)op->size);
            continue;
        }
        if (op->offset + op->size > inode->size)
            resize(&inode->bytes, &inode->size, (size_t)(op->offset + op->size));
        memcpy(inode->bytes + op->offset, op->data, (size_t)op->size);
    }
    inode->pending.count = 0;
}

static void settle_directory(struct shadow *shadow, uint32_t dir)
{
    size_t kept = 0;
    for (size_t i = 0; i < shadow->pending.count; i++) {
        const struct op *op = shadow->pending.ops[i];
        if (op->dir == dir)
            names_apply(&shadow->names, op);
        else
            shadow->pending.ops[kept++] = op;
    }
    shadow->pending.count = kept;
}

void shadow_apply(struct shadow *shadow, const struct op *op)
{
    switch (op->kind) {
    case OP_MAKE:
        add_inode(shadow, op->inode, op->directory);
        pending_add(&shadow->pending, op);
        break;
    case OP_RENAME:
    case OP_REMOVE:
        pending_add(&shadow->pending, op);
        break;
    case OP_WRITE:
    case OP_SIZE:
        pending_add(&shadow->inodes[op->inode].pending, op);
        break;
    case OP_SYNC:
        if (shadow->inodes[op->inode].directory)
            settle_directory(shadow, op->inode);
        else
            settle_file(&shadow->inodes[op->inode]);
        break;
    case OP_NOTE:
        break;
    }
}

/* Images */

/* How likely something unflushed is kept, in quarters: also images in which nothing or everything is. */
static unsigned draw_mercy(uint64_t *random, bool all)
{
    if (all) return 4;
    static const unsigned quarters[] = {0, 1, 2, 2, 3, 4};
    return quarters[random_below(random, sizeof quarters / sizeof *quarters)];
}

static bool kept(uint64_t *random, unsigned mercy)
{
    return random_below(random, 4) < mercy;
}

static void write_out(const char *path, const uint8_t *bytes, size_t size)
{
    static const uint8_t zeroes[BLOCK];
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(file >= 0 && ftruncate(file, (off_t)size) == 0);
    for (size_t at = 0; at < size; at += BLOCK) {
        size_t part = size - at < BLOCK ? size - at : BLOCK;
        if (memcmp(bytes + at, zeroes, part) == 0) continue;
        CHECK(pwrite(file, bytes + at, part, (off_t)at) == (ssize_t)part);
    }
    close(file);
}

static void tear_write(uint8_t *bytes, size_t size, const struct op *op, uint64_t *random, unsigned mercy)
{
    for (uint64_t at = op->offset, end = op->offset + op->size; at < end;) {
        uint64_t next = (at / SECTOR + 1) * SECTOR;
        if (next > end) next = end;
        bool keep = op->durable || kept(random, mercy);
        if (keep && at < size)
            memcpy(bytes + at, op->data + (at - op->offset), (size_t)((next > size ? size : next) - at));
        at = next;
    }
}

static void build_file(const struct inode *inode, bool all, uint64_t *random, const char *path)
{
    unsigned mercy = draw_mercy(random, all);
    size_t size = inode->size;
    uint8_t *bytes = memory_resize(NULL, size + 1);
    if (size) memcpy(bytes, inode->bytes, size);
    for (size_t i = 0; i < inode->pending.count; i++) {
        const struct op *op = inode->pending.ops[i];
        bool keep = op->durable || kept(random, mercy);
        size_t wanted = (size_t)(op->kind == OP_SIZE ? op->size : op->offset + op->size);
        if (keep && (op->kind == OP_SIZE || wanted > size)) resize(&bytes, &size, wanted);
        if (op->kind == OP_WRITE) tear_write(bytes, size, op, random, mercy);
    }
    write_out(path, bytes, size);
    free(bytes);
}

static void build_directory(const struct shadow *shadow, const struct names *names, uint32_t dir, bool all,
                            uint64_t *random, const char *path)
{
    CHECK(mkdir(path, 0700) == 0);
    for (size_t i = 0; i < names->count; i++) {
        const struct name *name = &names->names[i];
        const struct inode *inode = &shadow->inodes[name->inode];
        char inner[PATH_SIZE];
        if (name->dir != dir) continue;
        CHECK((size_t)snprintf(inner, sizeof inner, "%s/%s", path, name->name) < sizeof inner);
        if (inode->directory)
            build_directory(shadow, names, name->inode, all, random, inner);
        else
            build_file(inode, all, random, inner);
    }
}

static void names_left(const struct shadow *shadow, struct names *names, uint64_t *random, unsigned mercy)
{
    for (size_t i = 0; i < shadow->names.count; i++)
        names_set(names, shadow->names.names[i].dir, shadow->names.names[i].name,
                  shadow->names.names[i].inode);
    for (size_t i = 0; i < shadow->pending.count; i++)
        if (mercy == 4 || kept(random, mercy)) names_apply(names, shadow->pending.ops[i]);
}

void shadow_names(const struct shadow *shadow, struct names *names)
{
    names_left(shadow, names, NULL, 4);
}

void shadow_build(const struct shadow *shadow, bool all, uint64_t *random, const char *path)
{
    struct names names = {0};
    names_left(shadow, &names, random, draw_mercy(random, all));
    build_directory(shadow, &names, ROOT, all, random, path);
    free(names.names);
}
