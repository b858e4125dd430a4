#include "base/buffer.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>

uint8_t *buffer_reserve(struct buffer *buffer, size_t size)
{
    if (buffer->capacity - buffer->size < size) {
        CHECK(size < SIZE_MAX / 4 && buffer->size < SIZE_MAX / 4);
        size_t capacity = buffer->capacity ? buffer->capacity * 2 : 256;
        while (capacity - buffer->size < size) capacity *= 2;
        buffer->data = memory_resize(buffer->data, capacity);
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->size;
}

void buffer_add(struct buffer *buffer, const void *data, size_t size)
{
    if (!size) return;
    memcpy(buffer_reserve(buffer, size), data, size);
    buffer->size += size;
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    CHECK(size >= 0);
    vsnprintf((char *)buffer_reserve(buffer, (size_t)size + 1), (size_t)size + 1, format, again);
    va_end(again);
    buffer->size += (size_t)size;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

void buffer_add_varint(struct buffer *buffer, uint64_t value)
{
    uint8_t *at = buffer_reserve(buffer, 10), *start = at;
    for (; value >= 128; value >>= 7) *at++ = (uint8_t)(value | 128);
    *at++ = (uint8_t)value;
    buffer->size += (size_t)(at - start);
}

void buffer_add_decimal(struct buffer *buffer, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    buffer_add(buffer, digits + at, sizeof digits - at);
}

static void add_bytes(struct buffer *buffer, uint64_t value, size_t size, bool big_endian)
{
    uint8_t *at = buffer_reserve(buffer, size);
    for (size_t i = 0; i < size; i++) at[big_endian ? size - 1 - i : i] = (uint8_t)(value >> (8 * i));
    buffer->size += size;
}

void buffer_add_u32le(struct buffer *buffer, uint32_t value)
{
    add_bytes(buffer, value, 4, false);
}

void buffer_add_u64le(struct buffer *buffer, uint64_t value)
{
    add_bytes(buffer, value, 8, false);
}

void buffer_add_u64be(struct buffer *buffer, uint64_t value)
{
    add_bytes(buffer, value, 8, true);
}

bool take_varint(struct slice *from, uint64_t *value)
{
    uint64_t result = 0;
    for (size_t i = 0; i < from->size && i < 10; i++) {
        uint8_t byte = from->data[i];
        if (i == 9 && byte > 1) return false;
        result |= (uint64_t)(byte & 127) << (7 * i);
        if (byte & 128) continue;
        if (i > 0 && byte == 0) return false;
        *value = result;
        *from = slice_skip(*from, i + 1);
        return true;
    }
    return false;
}

static bool take_fixed(struct slice *from, size_t size, bool big_endian, uint64_t *value)
{
    if (from->size < size) return false;
    *value = 0;
    for (size_t i = 0; i < size; i++) *value = *value << 8 | from->data[big_endian ? i : size - 1 - i];
    *from = slice_skip(*from, size);
    return true;
}

bool take_u32le(struct slice *from, uint32_t *value)
{
    uint64_t wide;
    if (!take_fixed(from, 4, false, &wide)) return false;
    *value = (uint32_t)wide;
    return true;
}

bool take_u64le(struct slice *from, uint64_t *value)
{
    return take_fixed(from, 8, false, value);
}

bool take_u64be(struct slice *from, uint64_t *value)
{
    return take_fixed(from, 8, true, value);
}

bool take_bytes(struct slice *from, size_t size, struct slice *bytes)
{
    if (from->size < size) return false;
    *bytes = slice_of(from->data, size);
    *from = slice_skip(*from, size);
    return true;
}
