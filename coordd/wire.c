#include "coordd/wire.h"

#include "base/check.h"

/* Bytes travel as FIELD_TEXT: the binary form takes any. */
#define FIELD(place, structure, kind, member)                                                                \
    {                                                                                                        \
        .number = (place), .type = FIELD_##kind, .offset = offsetof(struct structure, member),               \
        .name = #member                                                                                      \
    }

static const struct field proposal_fields[] = {
    FIELD(1, wire_proposal, UINT, code),
    FIELD(2, wire_proposal, UINT, number),
    FIELD(3, wire_proposal, TEXT, args),
};
static const struct record proposal_record = RECORD("wire_proposal", wire_proposal, proposal_fields);

static const struct field propose_fields[] = {
    FIELD(1, wire_propose, UINT, term),
    FIELD(2, wire_propose, LEASE, session),
    FIELD(3, wire_propose, UINT, first),
    {.number = 4,
     .type = FIELD_LIST,
     .offset = offsetof(struct wire_propose, proposals),
     .name = "proposals",
     .record = &proposal_record},
};
static const struct record propose_record = RECORD("wire_propose", wire_propose, propose_fields);

static const struct field expect_fields[] = {
    FIELD(1, wire_expect, UINT, term),
    FIELD(2, wire_expect, LEASE, session),
    FIELD(3, wire_expect, UINT, next),
};
static const struct record expect_record = RECORD("wire_expect", wire_expect, expect_fields);

static const struct field refuse_fields[] = {
    FIELD(1, wire_refuse, LEASE, session),
    FIELD(2, wire_refuse, UINT, number),
    FIELD(3, wire_refuse, UINT, outcome),
    FIELD(4, wire_refuse, UINT, term),
};
static const struct record refuse_record = RECORD("wire_refuse", wire_refuse, refuse_fields);

static const struct field session_fields[] = {
    FIELD(1, wire_session, UINT, nonce),
};
static const struct record session_record = RECORD("wire_session", wire_session, session_fields);

static const struct field ask_fields[] = {
    FIELD(1, wire_ask, UINT, number),
    FIELD(2, wire_ask, BOOL, renews),
    FIELD(3, wire_ask, LEASES, leases),
    FIELD(4, wire_ask, TEXTS, notes),
};
static const struct record ask_record = RECORD("wire_ask", wire_ask, ask_fields);

static const struct field told_fields[] = {
    FIELD(1, wire_told, UINT, number),
    FIELD(2, wire_told, UINT, index),
    FIELD(3, wire_told, LEASES, lefts),
};
static const struct record told_record = RECORD("wire_told", wire_told, told_fields);

static const struct field call_fields[] = {
    FIELD(1, wire_call, UINT, number),
    FIELD(2, wire_call, UINT, code),
    FIELD(3, wire_call, TEXT, args),
};
static const struct record call_record = RECORD("wire_call", wire_call, call_fields);

static const struct field answer_fields[] = {
    FIELD(1, wire_answer, UINT, number), FIELD(2, wire_answer, UINT, outcome),
    FIELD(3, wire_answer, UINT, shape),  FIELD(4, wire_answer, UINT, revision),
    FIELD(5, wire_answer, TEXT, data),   FIELD(6, wire_answer, TEXT, detail),
};
static const struct record answer_record = RECORD("wire_answer", wire_answer, answer_fields);

static const struct field join_fields[] = {
    FIELD(1, wire_join, TEXT, name),
    FIELD(2, wire_join, TEXT, address),
};
static const struct record join_record = RECORD("wire_join", wire_join, join_fields);

static const struct field founded_fields[] = {
    FIELD(1, wire_founded, UINT, cluster),
    FIELD(2, wire_founded, TEXT, config),
    FIELD(3, wire_founded, TEXT, founding),
};
static const struct record founded_record = RECORD("wire_founded", wire_founded, founded_fields);

static const struct field chunk_fields[] = {
    FIELD(1, wire_chunk, UINT, term),     FIELD(2, wire_chunk, UINT, index),
    FIELD(3, wire_chunk, UINT, log_term), FIELD(4, wire_chunk, UINT, number),
    FIELD(5, wire_chunk, UINT, count),    FIELD(6, wire_chunk, TEXT, bytes),
};
static const struct record chunk_record = RECORD("wire_chunk", wire_chunk, chunk_fields);

static const struct field chunk_taken_fields[] = {
    FIELD(1, wire_chunk_taken, UINT, term),
    FIELD(2, wire_chunk_taken, UINT, index),
    FIELD(3, wire_chunk_taken, UINT, next),
    FIELD(4, wire_chunk_taken, UINT, status),
};
static const struct record chunk_taken_record =
    RECORD("wire_chunk_taken", wire_chunk_taken, chunk_taken_fields);

static const struct field removed_fields[] = {
    FIELD(1, wire_removed, UINT, index),
};
static const struct record removed_record = RECORD("wire_removed", wire_removed, removed_fields);

const struct record *wire_record(enum wire_kind kind)
{
    static const struct record *const records[] = {
        [WIRE_PROPOSE] = &propose_record, [WIRE_EXPECT] = &expect_record,
        [WIRE_REFUSE] = &refuse_record,   [WIRE_SESSION] = &session_record,
        [WIRE_ASK] = &ask_record,         [WIRE_TOLD] = &told_record,
        [WIRE_CALL] = &call_record,       [WIRE_ANSWER] = &answer_record,
        [WIRE_JOIN] = &join_record,       [WIRE_FOUNDED] = &founded_record,
        [WIRE_CHUNK] = &chunk_record,     [WIRE_CHUNK_TAKEN] = &chunk_taken_record,
        [WIRE_REMOVED] = &removed_record,
    };
    return (unsigned)kind < sizeof records / sizeof *records ? records[kind] : NULL;
}

void wire_encode(enum wire_kind kind, const void *data, struct buffer *out)
{
    const struct record *record = wire_record(kind);
    CHECK(record);
    buffer_add_byte(out, (uint8_t)kind);
    record_encode(record, data, out);
}

enum wire_kind wire_take_kind(struct slice *body)
{
    if (!body->size) return 0;
    uint8_t kind = body->data[0];
    *body = slice_skip(*body, 1);
    return kind == WIRE_RAFT || wire_record((enum wire_kind)kind) ? (enum wire_kind)kind : 0;
}
