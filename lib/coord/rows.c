#include "coord/rows.h"

#include "base/buffer.h"
#include "base/check.h"
#include "coord/key.h"

static uint64_t mix(uint64_t hash, struct slice bytes)
{
    uint64_t word = 0;
    size_t at = 0;
    for (; bytes.size - at >= 8; at += 8) {
        memcpy(&word, bytes.data + at, 8); /* little-endian machines only, as the build checks */
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    word = bytes.size;
    for (; at < bytes.size; at++) word = word << 8 | bytes.data[at];
    hash = (hash ^ word) * 0xbf58476d1ce4e5b9u;
    return hash ^ hash >> 32;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "row_hash reads words as they lie");

uint64_t row_hash(struct slice key, struct slice value)
{
    return mix(mix(0x2545f4914f6cdd1du, key), value);
}

uint64_t rows_number(struct rows *rows, struct slice key)
{
    struct slice value;
    uint64_t number = 0;
    if (rows_get(rows, key, &value)) CHECK(take_u64be(&value, &number) && number && !value.size);
    return number;
}

void rows_set_number(struct rows *rows, struct slice key, uint64_t number)
{
    struct key value = {.size = 0};
    key_number(&value, number);
    if (number)
        rows_put(rows, key, key_slice(&value));
    else
        rows_delete(rows, key);
}
