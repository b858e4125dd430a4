/* A shadow of a directory on a disk that may lose power: what is certainly there, and what was done since
 * without a flush. From it come images: certain things kept, of the rest any part, 512 bytes by 512 bytes and
 * name by name.
 *
 * Harsher than any real file system on purpose: creations, renames and removals in one directory are lost
 * each by itself, and flushing a file does not make its name certain. */
#ifndef COORDD_TESTS_CRASH_SHADOW_H
#define COORDD_TESTS_CRASH_SHADOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NAME_SIZE = 32, ROOT = 0 };

enum op_kind { OP_MAKE, OP_RENAME, OP_REMOVE, OP_WRITE, OP_SIZE, OP_SYNC, OP_NOTE };

struct op {
    enum op_kind kind;
    uint32_t inode; /* what it is done to */
    uint32_t dir;   /* of the names */
    char name[NAME_SIZE], to[NAME_SIZE];
    bool directory;        /* OP_MAKE */
    bool durable;          /* OP_WRITE through O_DSYNC */
    uint64_t offset, size; /* OP_NOTE: which, and its value */
    uint8_t *data;
};

struct name {
    uint32_t dir, inode;
    char name[NAME_SIZE];
};

struct names {
    struct name *names;
    size_t count, capacity;
};

struct name *names_find(const struct names *names, uint32_t dir, const char *name); /* NULL: none */
void names_apply(struct names *names, const struct op *op); /* OP_MAKE, OP_RENAME, OP_REMOVE */

struct pending {
    const struct op **ops;
    size_t count, capacity;
};

struct inode {
    bool directory;
    uint8_t *bytes; /* certain */
    size_t size;
    struct pending pending; /* OP_WRITE, OP_SIZE */
};

struct shadow {
    struct inode *inodes;
    size_t inode_count, inode_capacity;
    struct names names;     /* certain */
    struct pending pending; /* OP_MAKE, OP_RENAME, OP_REMOVE */
};

/* Begins with what is in the directory, as certain. */
void shadow_load(struct shadow *shadow, const char *path);
void shadow_copy(struct shadow *copy, const struct shadow *shadow);
void shadow_free(struct shadow *shadow);
/* What a program sees that runs on, whether certain or not. */
void shadow_names(const struct shadow *shadow, struct names *names);
/* The operation must live as long as the shadow. */
void shadow_apply(struct shadow *shadow, const struct op *op);
/* Makes the directory `path` as it may be after a power loss now, or, with `all`, as it is when only the
 * process is killed. */
void shadow_build(const struct shadow *shadow, bool all, uint64_t *random, const char *path);

uint64_t random_next(uint64_t *random);
/* 0 .. below - 1 */
uint64_t random_below(uint64_t *random, uint64_t below);

#endif
