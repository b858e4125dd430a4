#include "storage/snapshot_chunk.h"

#include "base/crc32c.h"

enum { CRC_SIZE = 4 };

static uint32_t crc_of(const uint8_t *data, size_t size, uint64_t number)
{
    return crc32c(crc32c(0, &number, sizeof number), data, size);
}

void chunk_begin(struct buffer *chunk, enum chunk_kind kind)
{
    chunk->size = 0;
    buffer_add_u32le(chunk, 0);
    buffer_add_byte(chunk, (uint8_t)kind);
}

void chunk_add_head(struct buffer *chunk, const struct snapshot_place *place)
{
    buffer_add_varint(chunk, place->index);
    buffer_add_varint(chunk, place->term);
    buffer_add_varint(chunk, place->time_ms);
    buffer_add_varint(chunk, place->digest);
    buffer_add_varint(chunk, place->chain);
    raft_config_encode(&place->config, chunk);
}

static void add_sized(struct buffer *chunk, struct slice bytes)
{
    buffer_add_varint(chunk, bytes.size);
    buffer_add_slice(chunk, bytes);
}

void chunk_add_row(struct buffer *chunk, struct slice key, struct slice value)
{
    add_sized(chunk, key);
    add_sized(chunk, value);
}

void chunk_add_end(struct buffer *chunk, uint64_t rows, uint64_t digest)
{
    buffer_add_varint(chunk, rows);
    buffer_add_varint(chunk, digest);
}

void chunk_seal(struct buffer *chunk, uint64_t number)
{
    uint32_t crc = crc_of(chunk->data + CRC_SIZE, chunk->size - CRC_SIZE, number);
    memcpy(chunk->data, &crc, sizeof crc);
}

enum chunk_kind chunk_open(struct slice *chunk, uint64_t number)
{
    uint32_t crc;
    struct slice kind;
    if (!take_u32le(chunk, &crc) || crc != crc_of(chunk->data, chunk->size, number) ||
        !take_bytes(chunk, 1, &kind))
        return 0;
    switch (kind.data[0]) {
    case CHUNK_HEAD:
    case CHUNK_ROWS:
    case CHUNK_END:
        return (enum chunk_kind)kind.data[0];
    }
    return 0;
}

bool chunk_take_head(struct slice chunk, struct snapshot_place *place)
{
    uint64_t chain;
    *place = (struct snapshot_place){0};
    if (!take_varint(&chunk, &place->index) || !take_varint(&chunk, &place->term) ||
        !take_varint(&chunk, &place->time_ms) || !take_varint(&chunk, &place->digest) ||
        !take_varint(&chunk, &chain) || chain > UINT32_MAX)
        return false;
    place->chain = (uint32_t)chain;
    return place->index && place->term && raft_config_decode(chunk, &place->config);
}

static bool take_sized(struct slice *from, struct slice *bytes)
{
    uint64_t size;
    return take_varint(from, &size) && size <= from->size && take_bytes(from, (size_t)size, bytes);
}

bool chunk_take_row(struct slice *chunk, struct slice *key, struct slice *value)
{
    return take_sized(chunk, key) && take_sized(chunk, value) && key->size >= 1 && key->size <= 511;
}

bool chunk_take_end(struct slice chunk, uint64_t *rows, uint64_t *digest)
{
    return take_varint(&chunk, rows) && take_varint(&chunk, digest) && chunk.size == 0;
}
