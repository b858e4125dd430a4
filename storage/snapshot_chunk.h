/* The bytes of a snapshot's chunks. Pure.
 *
 * Chunk    u32le crc: CRC-32C of its number (u64le) and all that follows; byte kind; then by kind
 *   'H'    the first: varint index, term, time_ms, digest, chain; the configuration (raft_config_encode)
 *   'R'    rows side by side, in order of keys: varint size and key, varint size and value
 *   'E'    the last: varint count of rows, digest */
#ifndef COORDD_STORAGE_SNAPSHOT_CHUNK_H
#define COORDD_STORAGE_SNAPSHOT_CHUNK_H

#include "base/buffer.h"
#include "storage/snapshot.h"

enum chunk_kind { CHUNK_HEAD = 'H', CHUNK_ROWS = 'R', CHUNK_END = 'E' };

/* A chunk under construction: begin, add what belongs to its kind, seal. */
void chunk_begin(struct buffer *chunk, enum chunk_kind kind);
void chunk_add_head(struct buffer *chunk, const struct snapshot_place *place);
void chunk_add_row(struct buffer *chunk, struct slice key, struct slice value);
void chunk_add_end(struct buffer *chunk, uint64_t rows, uint64_t digest);
void chunk_seal(struct buffer *chunk, uint64_t number);

/* Takes crc and kind off the chunk; 0 when the chunk of that number is not what was sealed. */
enum chunk_kind chunk_open(struct slice *chunk, uint64_t number);
bool chunk_take_head(struct slice chunk, struct snapshot_place *place);
bool chunk_take_row(struct slice *chunk, struct slice *key, struct slice *value);
bool chunk_take_end(struct slice chunk, uint64_t *rows, uint64_t *digest);

#endif
