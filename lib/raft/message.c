/* Numbers are varints, in the order below; a flag byte says what follows.
 *   kind byte, flags byte (1 reject, 2 transfer), from u64le, to u64le, term, index, log_term, chain u32le,
 *   commit, round, entry count; each entry: term, kind byte, chain u32le, size, payload.
 * An entry's index is the message's index plus its place. */
#include "raft/message.h"

enum { REJECT = 1, TRANSFER = 2, ENTRY_BYTES_MIN = 7 };

void raft_message_encode(const struct raft_message *message, struct buffer *out)
{
    buffer_add_byte(out, (uint8_t)message->kind);
    buffer_add_byte(out, (uint8_t)((message->reject ? REJECT : 0) | (message->transfer ? TRANSFER : 0)));
    buffer_add_u64le(out, message->from);
    buffer_add_u64le(out, message->to);
    buffer_add_varint(out, message->term);
    buffer_add_varint(out, message->index);
    buffer_add_varint(out, message->log_term);
    buffer_add_u32le(out, message->chain);
    buffer_add_varint(out, message->commit);
    buffer_add_varint(out, message->round);
    buffer_add_varint(out, message->entry_count);
    for (size_t i = 0; i < message->entry_count; i++) {
        const struct raft_entry *entry = &message->entries[i];
        buffer_add_varint(out, entry->term);
        buffer_add_byte(out, (uint8_t)entry->kind);
        buffer_add_u32le(out, entry->chain);
        buffer_add_varint(out, entry->payload.size);
        buffer_add_slice(out, entry->payload);
    }
}

static bool take_byte(struct slice *from, uint8_t *byte)
{
    struct slice bytes;
    if (!take_bytes(from, 1, &bytes)) return false;
    *byte = bytes.data[0];
    return true;
}

static bool take_entry(struct slice *from, struct raft_entry *entry)
{
    uint8_t kind;
    uint64_t size;
    if (!take_varint(from, &entry->term) || !take_byte(from, &kind) || !take_u32le(from, &entry->chain) ||
        !take_varint(from, &size))
        return false;
    if (kind < RAFT_COMMAND || kind > RAFT_CONFIG || size > RAFT_PAYLOAD_MAX) return false;
    entry->kind = (enum raft_entry_kind)kind;
    return take_bytes(from, (size_t)size, &entry->payload);
}

static bool take_entries(struct slice *from, struct arena *arena, struct raft_message *message)
{
    uint64_t count;
    if (!take_varint(from, &count) || count > from->size / ENTRY_BYTES_MIN) return false;
    if (count && message->kind != RAFT_APPEND) return false;
    struct raft_entry *entries = count ? arena_alloc(arena, (size_t)count * sizeof *entries) : NULL;
    for (size_t i = 0; i < count; i++) {
        if (!take_entry(from, &entries[i])) return false;
        entries[i].index = message->index + 1 + i;
    }
    message->entries = entries;
    message->entry_count = (size_t)count;
    return true;
}

bool raft_message_decode(struct slice from, struct arena *arena, struct raft_message *message)
{
    uint8_t kind, flags;
    *message = (struct raft_message){0};
    if (!take_byte(&from, &kind) || kind < RAFT_PRE_VOTE || kind > RAFT_TIMEOUT_NOW) return false;
    if (!take_byte(&from, &flags) || flags > (REJECT | TRANSFER)) return false;
    message->kind = (enum raft_message_kind)kind;
    message->reject = flags & REJECT;
    message->transfer = flags & TRANSFER;
    return take_u64le(&from, &message->from) && take_u64le(&from, &message->to) &&
           take_varint(&from, &message->term) && take_varint(&from, &message->index) &&
           message->index < UINT64_MAX / 2 && take_varint(&from, &message->log_term) &&
           take_u32le(&from, &message->chain) && take_varint(&from, &message->commit) &&
           take_varint(&from, &message->round) && take_entries(&from, arena, message) && from.size == 0;
}
