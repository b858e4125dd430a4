/* A small primitive for tests of the edge: things with a name, that can be taken. */
#ifndef COORDD_TESTS_API_TABLES_H
#define COORDD_TESTS_API_TABLES_H

#include "coord/operation.h"

#include <stddef.h>

struct part_args {
    uint64_t number;
    struct slice text;
    struct list words;
};
struct thing_args {
    struct slice name, owner, meta;
    uint64_t ttl_ms, count, mode, lease, wait_ms;
    bool force;
    struct list names, leases, parts;
    const struct part_args *one;
};
struct holder {
    struct slice owner;
    uint64_t token, expires_in_ms, since;
};
struct thing_view {
    struct slice name;
    uint64_t revision;
    struct list holders;
};
struct taken {
    struct slice name;
    uint64_t token, lease, expires_in_ms;
};
struct refusal {
    const struct holder *holder;
    uint64_t waiters;
};
struct blob {
    struct slice name, value;
};

static const char *const mode_choices[] = {"exclusive", "shared", NULL};

#define PART(member) .offset = offsetof(struct part_args, member)
static const struct field part_fields[] = {
    {.number = 1, .type = FIELD_UINT, .flags = FIELD_REQUIRED, PART(number), .name = "number", .max = 9},
    {.number = 2, .type = FIELD_TEXT, PART(text), .name = "text"},
    {.number = 3, .type = FIELD_TEXTS, PART(words), .name = "words", .max = 2},
};
static const struct record part_record = RECORD("part", part_args, part_fields);

#define THING(member) .offset = offsetof(struct thing_args, member)
static const struct field thing_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     THING(name),
     .name = "name",
     .about = "what it is called"},
    {.number = 2, .type = FIELD_TEXT, THING(owner), .name = "owner", .max = 40},
    {.number = 3, .type = FIELD_JSON, THING(meta), .name = "meta", .max = 64},
    {.number = 4,
     .type = FIELD_DURATION,
     THING(ttl_ms),
     .name = "ttl",
     .min = 500,
     .max = 60000,
     .initial = 30000},
    {.number = 5, .type = FIELD_UINT, THING(count), .name = "count", .min = 1, .max = 10, .initial = 1},
    {.number = 6, .type = FIELD_CHOICE, THING(mode), .name = "mode", .choices = mode_choices, .initial = 1},
    {.number = 7, .type = FIELD_LEASE, THING(lease), .name = "lease"},
    {.number = 8, .type = FIELD_DURATION, THING(wait_ms), .name = "wait", .max = 600000},
    {.number = 9, .type = FIELD_BOOL, THING(force), .name = "force"},
    {.number = 10, .type = FIELD_TEXTS, THING(names), .name = "names", .max = 3},
    {.number = 11, .type = FIELD_LEASES, THING(leases), .name = "leases"},
    {.number = 12, .type = FIELD_LIST, THING(parts), .name = "parts", .record = &part_record, .max = 3},
    {.number = 13, .type = FIELD_RECORD, THING(one), .name = "one", .record = &part_record},
};
static const struct record thing_record = RECORD("thing_args", thing_args, thing_fields);

#define HOLDER(member) .offset = offsetof(struct holder, member)
static const struct field holder_fields[] = {
    {.number = 1, .type = FIELD_TEXT, HOLDER(owner), .name = "owner"},
    {.number = 2, .type = FIELD_UINT, HOLDER(token), .name = "token"},
    {.number = 3, .type = FIELD_REMAINING, HOLDER(expires_in_ms), .name = "expires_in_ms"},
    {.number = 4, .type = FIELD_TIME, HOLDER(since), .name = "since"},
};
static const struct record holder_record = RECORD("holder", holder, holder_fields);

#define VIEW(member) .offset = offsetof(struct thing_view, member)
static const struct field view_fields[] = {
    {.number = 1, .type = FIELD_NAME, VIEW(name), .name = "name"},
    {.number = 2, .type = FIELD_LIST, VIEW(holders), .name = "holders", .record = &holder_record},
    {.number = 3, .type = FIELD_UINT, VIEW(revision), .name = "revision"},
};
static const struct record view_record = RECORD("thing", thing_view, view_fields);

#define TAKEN(member) .offset = offsetof(struct taken, member)
static const struct field taken_fields[] = {
    {.number = 1, .type = FIELD_NAME, TAKEN(name), .name = "name"},
    {.number = 2, .type = FIELD_UINT, TAKEN(token), .name = "token"},
    {.number = 3, .type = FIELD_LEASE, TAKEN(lease), .name = "lease"},
    {.number = 4, .type = FIELD_REMAINING, TAKEN(expires_in_ms), .name = "expires_in_ms"},
};
static const struct record taken_record = RECORD("taken", taken, taken_fields);

#define REFUSAL(member) .offset = offsetof(struct refusal, member)
static const struct field refusal_fields[] = {
    {.number = 1, .type = FIELD_RECORD, REFUSAL(holder), .name = "holder", .record = &holder_record},
    {.number = 2, .type = FIELD_UINT, REFUSAL(waiters), .name = "waiters"},
};
static const struct record refusal_record = RECORD("refusal", refusal, refusal_fields);

#define BLOB(member) .type = FIELD_BYTES, .offset = offsetof(struct blob, member), .name = #member
static const struct field blob_fields[] = {
    {.number = 1, BLOB(name), .flags = FIELD_REQUIRED, .min = 1},
    {.number = 2, BLOB(value), .max = 1024},
};
static const struct record blob_record = RECORD("blob", blob, blob_fields);

struct ask_args {
    struct slice who;
    uint64_t max, wait_ms;
};
struct give_args {
    struct slice name;
    uint64_t number;
    const struct ask_args *ask;
};
struct give_many_args {
    struct slice name;
    struct list parts;
};

#define ASK(member) .offset = offsetof(struct ask_args, member)
static const struct field ask_fields[] = {
    {.number = 1, .type = FIELD_TEXT, .flags = FIELD_REQUIRED, ASK(who), .name = "who", .about = "who asks"},
    {.number = 2, .type = FIELD_UINT, ASK(max), .name = "max", .min = 1, .max = 9, .initial = 1},
    {.number = 3, .type = FIELD_DURATION, ASK(wait_ms), .name = "wait", .max = 600000},
};
static const struct record ask_record = RECORD("ask", ask_args, ask_fields);

#define GIVE(member) .offset = offsetof(struct give_args, member), .name = #member
static const struct field give_fields[] = {
    {.number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED, GIVE(name)},
    {.number = 2, .type = FIELD_UINT, GIVE(number), .max = 9},
    {.number = 3, .type = FIELD_RECORD, GIVE(ask), .record = &ask_record},
};
static const struct record give_record = RECORD("give_args", give_args, give_fields);

#define GIVE_MANY(member) .offset = offsetof(struct give_many_args, member), .name = #member
static const struct field give_many_fields[] = {
    {.number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED, GIVE_MANY(name)},
    {.number = 2,
     .type = FIELD_LIST,
     .flags = FIELD_REQUIRED,
     GIVE_MANY(parts),
     .record = &part_record,
     .max = 3},
};
static const struct record give_many_record = RECORD("give_many_args", give_many_args, give_many_fields);

struct piece {
    struct slice id, payload;
    uint64_t mode, expires_in_ms;
};
struct pieces {
    uint64_t token;
    struct list pieces;
};
#define PIECE(member) .offset = offsetof(struct piece, member), .name = #member
static const struct field piece_fields[] = {
    {.number = 1, .type = FIELD_TEXT, PIECE(id)},
    {.number = 2, .type = FIELD_JSON, PIECE(payload)},
    {.number = 3, .type = FIELD_CHOICE, PIECE(mode), .choices = mode_choices},
    {.number = 4, .type = FIELD_REMAINING, PIECE(expires_in_ms)},
};
static const struct record piece_record = RECORD("piece", piece, piece_fields);

#define PIECES(member) .offset = offsetof(struct pieces, member), .name = #member
static const struct field pieces_fields[] = {
    {.number = 1, .type = FIELD_UINT, PIECES(token)},
    {.number = 2, .type = FIELD_LIST, PIECES(pieces), .record = &piece_record},
};
static const struct record pieces_record = RECORD("pieces", pieces, pieces_fields);

static const struct operation thing_operations[] = {
    {.code = 1,
     .name = "thing.take",
     .method = "POST",
     .path = "/v1/things/{name}/take",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_WAITS,
     .args = &thing_record,
     .result = &taken_record,
     .refusal = &refusal_record,
     .undo = "thing.drop",
     .about = "Takes a thing."},
    {.code = 2,
     .name = "thing.get",
     .method = "GET",
     .path = "/v1/things/{name}",
     .kind = OPERATION_QUERY,
     .args = &thing_record,
     .result = &view_record},
    {.code = 3,
     .name = "thing.drop",
     .method = "DELETE",
     .path = "/v1/things/{name}",
     .kind = OPERATION_COMMAND,
     .args = &thing_record},
    {.code = 4,
     .name = "thing.take_many",
     .method = "POST",
     .path = "/v1/things/take",
     .kind = OPERATION_COMMAND,
     .args = &thing_record},
    {.code = 5,
     .name = "thing.list",
     .method = "GET",
     .path = "/v1/things",
     .kind = OPERATION_QUERY,
     .args = &thing_record,
     .result = &view_record},
    {.code = 6, .name = "thing.internal", .kind = OPERATION_COMMAND, .args = &thing_record},
    {.code = 7,
     .name = "thing.part",
     .method = "PUT",
     .path = "/v1/things/{name}/owners/{owner}",
     .kind = OPERATION_COMMAND,
     .args = &thing_record},
    {.code = 8,
     .name = "thing.store",
     .method = "PUT",
     .path = "/v1/blobs/{name...}",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_RAW,
     .args = &blob_record,
     .result = &taken_record},
    {.code = 9,
     .name = "thing.load",
     .method = "GET",
     .path = "/v1/blobs/{name...}",
     .kind = OPERATION_QUERY,
     .flags = OPERATION_RAW,
     .args = &blob_record,
     .result = &blob_record},
    {.code = 10,
     .name = "thing.blobs",
     .method = "GET",
     .path = "/v1/blobs",
     .kind = OPERATION_QUERY,
     .args = &thing_record,
     .result = &view_record},
    {.code = 11,
     .name = "thing.give",
     .method = "POST",
     .path = "/v1/things/{name}/parts",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_WAITS,
     .args = &give_record,
     .result = &taken_record,
     .array = "thing.give_many"},
    {.code = 12,
     .name = "thing.give_many",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_TXN,
     .args = &give_many_record,
     .result = &view_record,
     .refusal = &refusal_record,
     .about = "Gives several parts, or none."},
    {.code = 13,
     .name = "thing.split",
     .method = "POST",
     .path = "/v1/things/{name}/split",
     .kind = OPERATION_COMMAND,
     .args = &thing_record,
     .result = &pieces_record,
     .plain = "pieces: id mode payload"},
    {.code = 14,
     .name = "thing.piece",
     .method = "GET",
     .path = "/v1/things/{name}/piece",
     .kind = OPERATION_QUERY,
     .args = &thing_record,
     .result = &piece_record,
     .plain = "mode payload"},
};
static const struct primitive thing_primitive = {
    .name = "thing",
    .code = 1,
    .operations = thing_operations,
    .operation_count = sizeof thing_operations / sizeof *thing_operations,
};
static const struct primitive *const thing_primitives[] = {&thing_primitive, NULL};

#endif
