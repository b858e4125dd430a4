#include "storage/frame.h"

#include "base/check.h"
#include "base/crc32c.h"

enum { HEADER_CRC_AT = 12, HEADER_USED = 204, FRAME_CRC_AT = 4 };

static const uint8_t magic[8] = {'c', 'o', 'o', 'r', 'd', 'l', 'o', 'g'};

static uint32_t header_crc(const uint8_t *block)
{
    uint32_t crc = crc32c(0, block, HEADER_CRC_AT);
    return crc32c(crc, block + HEADER_CRC_AT + 4, SEGMENT_HEADER_SIZE - HEADER_CRC_AT - 4);
}

static void add_hard(struct buffer *out, const struct raft_hard *hard)
{
    buffer_add_u64le(out, hard->term);
    buffer_add_u64le(out, hard->vote);
    buffer_add_u64le(out, hard->commit);
}

static bool take_hard(struct slice *from, struct raft_hard *hard)
{
    return take_u64le(from, &hard->term) && take_u64le(from, &hard->vote) && take_u64le(from, &hard->commit);
}

static void add_config(struct buffer *out, const struct raft_config *config)
{
    struct buffer bytes = {0};
    if (config->member_count) raft_config_encode(config, &bytes);
    buffer_add_u32le(out, (uint32_t)bytes.size);
    buffer_add_slice(out, buffer_slice(&bytes));
    buffer_free(&bytes);
}

void segment_header_encode(const struct segment_header *header, struct buffer *out)
{
    size_t begin = out->size;
    memset(buffer_reserve(out, SEGMENT_HEADER_SIZE), 0, SEGMENT_HEADER_SIZE);
    buffer_add(out, magic, sizeof magic);
    buffer_add_u32le(out, LOG_FORMAT);
    buffer_add_u32le(out, 0);
    buffer_add_u64le(out, header->number);
    buffer_add_u64le(out, header->segment_bytes);
    buffer_add_u64le(out, header->identity.cluster);
    buffer_add_u64le(out, header->identity.node);
    buffer_add(out, header->identity.name, sizeof header->identity.name);
    buffer_add(out, header->state_dir, sizeof header->state_dir);
    buffer_add_u64le(out, header->frame_number);
    buffer_add_u32le(out, header->frame_crc);
    buffer_add_u32le(out, header->base_chain);
    buffer_add_u64le(out, header->base_index);
    buffer_add_u64le(out, header->base_term);
    add_hard(out, &header->hard);
    buffer_add_u32le(out, header->anew);
    CHECK(out->size - begin == HEADER_USED);
    add_config(out, &header->config);
    CHECK(out->size - begin <= SEGMENT_HEADER_SIZE);
    out->size = begin + SEGMENT_HEADER_SIZE;
    uint32_t crc = header_crc(out->data + begin);
    memcpy(out->data + begin + HEADER_CRC_AT, &crc, sizeof crc);
}

static bool take_text(struct slice *from, char *text, size_t size)
{
    struct slice bytes;
    if (!take_bytes(from, size, &bytes)) return false;
    memcpy(text, bytes.data, size);
    return memchr(text, 0, size) != NULL;
}

static bool take_config(struct slice *from, struct raft_config *config)
{
    uint32_t size;
    struct slice bytes;
    if (!take_u32le(from, &size) || !take_bytes(from, size, &bytes)) return false;
    return size == 0 || raft_config_decode(bytes, config);
}

static bool take_anew(struct slice *from, bool *anew)
{
    uint32_t number;
    if (!take_u32le(from, &number) || number > 1) return false;
    *anew = number == 1;
    return true;
}

static bool take_header(struct slice rest, struct segment_header *header)
{
    return take_u64le(&rest, &header->number) && take_u64le(&rest, &header->segment_bytes) &&
           take_u64le(&rest, &header->identity.cluster) && take_u64le(&rest, &header->identity.node) &&
           take_text(&rest, header->identity.name, sizeof header->identity.name) &&
           take_text(&rest, header->state_dir, sizeof header->state_dir) &&
           take_u64le(&rest, &header->frame_number) && take_u32le(&rest, &header->frame_crc) &&
           take_u32le(&rest, &header->base_chain) && take_u64le(&rest, &header->base_index) &&
           take_u64le(&rest, &header->base_term) && take_hard(&rest, &header->hard) &&
           take_anew(&rest, &header->anew) && take_config(&rest, &header->config);
}

enum header_fault segment_header_decode(struct slice block, struct segment_header *header)
{
    *header = (struct segment_header){0};
    struct slice rest = block;
    uint32_t format, crc;
    if (block.size != SEGMENT_HEADER_SIZE || memcmp(block.data, magic, sizeof magic) != 0)
        return HEADER_FOREIGN;
    rest = slice_skip(rest, sizeof magic);
    if (!take_u32le(&rest, &format) || !take_u32le(&rest, &crc)) return HEADER_DAMAGED;
    if (format != LOG_FORMAT) return HEADER_FORMAT;
    if (crc != header_crc(block.data) || !take_header(rest, header)) return HEADER_DAMAGED;
    return HEADER_GOOD;
}

uint32_t frame_seed(const struct raftlog_identity *identity)
{
    struct buffer ids = {0};
    buffer_add_u64le(&ids, identity->cluster);
    buffer_add_u64le(&ids, identity->node);
    uint32_t seed = crc32c(0, ids.data, ids.size);
    buffer_free(&ids);
    return seed;
}

uint64_t frame_entry_size(size_t payload_size)
{
    return ENTRY_HEAD_SIZE + (((uint64_t)payload_size + 7) & ~(uint64_t)7);
}

static uint32_t frame_crc(const uint8_t *bytes, size_t size, uint32_t seed)
{
    uint32_t crc = crc32c(seed, bytes, FRAME_CRC_AT);
    return crc32c(crc, bytes + FRAME_CRC_AT + 4, size - FRAME_CRC_AT - 4);
}

static void add_entry(struct buffer *out, const struct raft_entry *entry)
{
    static const uint8_t zeroes[8];
    buffer_add_u64le(out, entry->index);
    buffer_add_u64le(out, entry->term);
    buffer_add_u32le(out, entry->chain);
    buffer_add_u32le(out, (uint32_t)entry->kind);
    buffer_add_u32le(out, (uint32_t)entry->payload.size);
    buffer_add_u32le(out, 0);
    buffer_add_slice(out, entry->payload);
    buffer_add(out, zeroes, -entry->payload.size & 7);
}

uint32_t frame_encode(const struct frame *frame, const struct raft_entry *entries, uint32_t seed,
                      struct buffer *out)
{
    size_t begin = out->size;
    uint64_t size = FRAME_HEAD_SIZE;
    for (uint32_t i = 0; i < frame->entry_count; i++) size += frame_entry_size(entries[i].payload.size);
    CHECK(size <= UINT32_MAX);
    buffer_reserve(out, (size_t)size);
    buffer_add_u32le(out, (uint32_t)size);
    buffer_add_u32le(out, 0);
    buffer_add_u64le(out, frame->number);
    buffer_add_u32le(out, frame->before);
    buffer_add_u32le(out, frame->entry_count);
    add_hard(out, &frame->hard);
    for (uint32_t i = 0; i < frame->entry_count; i++) add_entry(out, &entries[i]);
    CHECK(out->size - begin == size);
    uint32_t crc = frame_crc(out->data + begin, (size_t)size, seed);
    memcpy(out->data + begin + FRAME_CRC_AT, &crc, sizeof crc);
    return crc;
}

bool frame_take_entry(struct slice *entries, struct raft_entry *entry)
{
    struct slice rest = *entries, padding;
    uint32_t kind, size, zero;
    if (!take_u64le(&rest, &entry->index) || !take_u64le(&rest, &entry->term) ||
        !take_u32le(&rest, &entry->chain) || !take_u32le(&rest, &kind) || !take_u32le(&rest, &size) ||
        !take_u32le(&rest, &zero))
        return false;
    if (kind < RAFT_COMMAND || kind > RAFT_CONFIG || size > RAFT_PAYLOAD_MAX || zero != 0) return false;
    if (!take_bytes(&rest, size, &entry->payload) || !take_bytes(&rest, -(size_t)size & 7, &padding))
        return false;
    entry->kind = (enum raft_entry_kind)kind;
    *entries = rest;
    return true;
}

bool frame_decode(struct slice bytes, uint32_t seed, struct frame *frame)
{
    struct slice rest = bytes, entries;
    struct raft_entry entry;
    if (!take_u32le(&rest, &frame->size) || frame->size < FRAME_HEAD_SIZE || frame->size % 8 != 0 ||
        frame->size > bytes.size)
        return false;
    rest.size = frame->size - 4;
    if (!take_u32le(&rest, &frame->crc) || !take_u64le(&rest, &frame->number) ||
        !take_u32le(&rest, &frame->before) || !take_u32le(&rest, &frame->entry_count) ||
        !take_hard(&rest, &frame->hard))
        return false;
    if (frame->crc != frame_crc(bytes.data, frame->size, seed)) return false;
    frame->entries = entries = rest;
    for (uint32_t i = 0; i < frame->entry_count; i++)
        if (!frame_take_entry(&entries, &entry)) return false;
    return entries.size == 0;
}
