#include "coord/key.h"

#include "base/check.h"

struct key key_of(enum key_kind kind)
{
    struct key key;
    key.size = 1;
    key.bytes[0] = (uint8_t)kind;
    return key;
}

void key_bytes(struct key *key, struct slice bytes)
{
    CHECK(bytes.size <= KEY_SIZE_MAX - key->size);
    if (bytes.size) memcpy(key->bytes + key->size, bytes.data, bytes.size);
    key->size += bytes.size;
}

void key_byte(struct key *key, uint8_t byte)
{
    key_bytes(key, slice_of(&byte, 1));
}

void key_number(struct key *key, uint64_t number)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < 8; i++) bytes[7 - i] = (uint8_t)(number >> (8 * i));
    key_bytes(key, slice_of(bytes, 8));
}

void key_name(struct key *key, struct slice name)
{
    key_bytes(key, name);
    key_byte(key, 0);
}

struct key key_after(struct slice key)
{
    struct key after;
    after.size = 0;
    key_bytes(&after, key);
    key_byte(&after, 0);
    return after;
}
