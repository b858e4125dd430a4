/* A borrowed run of bytes: a pointer and a size. Whoever made the bytes frees them; a slice never does. */
#ifndef COORDD_BASE_SLICE_H
#define COORDD_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *data; /* NULL only when size is 0 */
    size_t size;
};

/* The slice of a string literal, without its NUL. */
#define SLICE(literal) ((struct slice){(const uint8_t *)("" literal), sizeof(literal) - 1})

/* For printf's %.*s. */
#define SLICE_ARGS(s) (int)(s).size, (const char *)((s).size ? (const void *)(s).data : (const void *)"")

static inline struct slice slice_of(const void *data, size_t size)
{
    return (struct slice){(const uint8_t *)data, size};
}

static inline struct slice slice_text(const char *text)
{
    return slice_of(text, strlen(text));
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool slice_is(struct slice a, const char *text)
{
    return slice_equal(a, slice_text(text));
}

/* Bytewise, shorter first when one is the other's prefix: the order of keys in the rows. */
static inline int slice_compare(struct slice a, struct slice b)
{
    size_t shorter = a.size < b.size ? a.size : b.size;
    int order = shorter ? memcmp(a.data, b.data, shorter) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static inline bool slice_starts_with(struct slice a, struct slice prefix)
{
    return a.size >= prefix.size && (prefix.size == 0 || memcmp(a.data, prefix.data, prefix.size) == 0);
}

static inline struct slice slice_skip(struct slice a, size_t count)
{
    return slice_of(a.data + count, a.size - count);
}

#endif
