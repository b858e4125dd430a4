/* A byte buffer that grows at its end. A buffer of zeroes is empty and ready; buffer_free gives it back. */
#ifndef COORDD_BASE_BUFFER_H
#define COORDD_BASE_BUFFER_H

#include "base/slice.h"

struct buffer {
    uint8_t *data;
    size_t size, capacity;
};

/* Makes room for `size` more bytes and returns where they go; the caller adds what it wrote to buffer->size.
 */
uint8_t *buffer_reserve(struct buffer *buffer, size_t size);
void buffer_add(struct buffer *buffer, const void *data, size_t size);
void buffer_printf(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buffer_free(struct buffer *buffer);

static inline void buffer_add_slice(struct buffer *buffer, struct slice s)
{
    buffer_add(buffer, s.data, s.size);
}

static inline void buffer_add_text(struct buffer *buffer, const char *text)
{
    buffer_add(buffer, text, strlen(text));
}

static inline void buffer_add_byte(struct buffer *buffer, uint8_t byte)
{
    *buffer_reserve(buffer, 1) = byte;
    buffer->size++;
}

/* An unsigned integer in base 128, low group first, top bit set on all but the last: 1 to 10 bytes. */
void buffer_add_varint(struct buffer *buffer, uint64_t value);

/* A signed-free decimal number. */
void buffer_add_decimal(struct buffer *buffer, uint64_t value);

/* Fixed sizes. Little-endian is the byte order of files and frames, big-endian that of keys (it sorts). */
void buffer_add_u32le(struct buffer *buffer, uint32_t value);
void buffer_add_u64le(struct buffer *buffer, uint64_t value);
void buffer_add_u64be(struct buffer *buffer, uint64_t value);

static inline struct slice buffer_slice(const struct buffer *buffer)
{
    return slice_of(buffer->data, buffer->size);
}

/* Reading back. Each takes its bytes off the front of *from; false, and nothing taken, when they are not
 * there or (varint) not in their shortest form. */
bool take_varint(struct slice *from, uint64_t *value);
bool take_u32le(struct slice *from, uint32_t *value);
bool take_u64le(struct slice *from, uint64_t *value);
bool take_u64be(struct slice *from, uint64_t *value);
bool take_bytes(struct slice *from, size_t size, struct slice *bytes);

#endif
