/* Records: C structs described by tables, and the one codec that walks those tables. Arguments, results and
 * rows are all records.
 *
 * From one table come the binary form (log and rows), JSON out, the setting of a field from text (query
 * parameters, scripts, configuration), the OpenAPI schema and the random generators of the tests.
 *
 * Binary form: for each field that is not zero or empty, in the order of their numbers,
 *     varint(number << 1 | sized)  then  varint(value)                 numbers, booleans, choices, leases,
 * times or    varint(size) + size bytes     text, JSON, bytes, records, lists A list of records or texts is
 * varint(size) + bytes for each item; a list of leases is varints. Absent fields decode as zero, so a table
 * may grow; a number is never reused. Decoding is strict: unknown or out-of-order numbers, overlong varints,
 * bad sizes fail. */
#ifndef COORDD_COORD_RECORD_H
#define COORDD_COORD_RECORD_H

#include "base/arena.h"
#include "base/json.h"

enum field_type {
    /* uint64_t in the struct: */
    FIELD_UINT,     /* JSON: an integer below 2^53 */
    FIELD_DURATION, /* ms; in: "1500ms" "30s" "2m" "24h" or an integer of ms; out: an integer (name it ..._ms)
                     */
    FIELD_TIME,     /* ms since 1970; out: RFC 3339, 0: null */
    FIELD_LEASE,    /* a lease's id; "L" and lower-case hex; 0: null */
    FIELD_REMAINING, /* results only: a lease's id, replaced by the ms it has left when the answer leaves
                        (record_copy); RECORD_UNKNOWN: null, in stale answers of a node that does not lead */
    FIELD_CHOICE,    /* 1-based position in `choices`; 0: none, null */
    /* bool: */
    FIELD_BOOL,
    /* struct slice: */
    FIELD_TEXT, /* UTF-8 without control characters */
    FIELD_NAME, /* the same, at least 1 byte: what stands in a path */
    FIELD_CRON, /* a cron pattern (cron.h) */
    FIELD_ZONE, /* a time zone: an IANA name or a POSIX TZ rule; in the struct "NAME RULE" or the rule
                   (zone.h), empty: UTC; out: the name, or the rule */
    FIELD_JSON, /* the text of one JSON value; from a query parameter: that text as a JSON string; empty: null
                 */
    FIELD_BYTES, /* any bytes. JSON: a string when they are UTF-8 without U+0000, else {"base64":"..."}; both
                    are taken */
    /* struct list: */
    FIELD_TEXTS,      /* items: struct slice */
    FIELD_LEASES,     /* items: uint64_t */
    FIELD_LIST,       /* items: structs of `record` */
    FIELD_OPERATIONS, /* items: struct operation_item (operation.h); JSON:
                         {"op":"lock.release","name":"x",...} */
    FIELD_RESULTS,    /* results only; items: struct operation_result (operation.h) */
    /* const void *: */
    FIELD_RECORD, /* a struct of `record`, or NULL */
};

#define RECORD_UNKNOWN UINT64_MAX
#define FIELD_TIME_MAX 253402300799999ull /* the end of the year 9999: RFC 3339 has no later one */

enum field_flag {
    FIELD_REQUIRED = 1, /* must be given */
    FIELD_NULL = 2,     /* out: null instead of 0 or "" */
    FIELD_HIDDEN = 4,   /* in rows only: never in JSON, never settable */
    FIELD_LINES = 8,    /* TEXT: may have several lines, and tabs */
};

struct list {
    void *items;
    size_t count;
};

struct record;
struct primitive;
struct operation;

struct field {
    uint8_t number;
    uint8_t type;
    uint8_t flags;
    uint16_t offset;
    const char *name;
    uint64_t min,
        max; /* numbers: the value; text, JSON: bytes; lists: items. max 0: no limit but the type's own */
    uint64_t initial;           /* numbers and choices: the value when not given */
    const char *const *choices; /* NULL-terminated */
    const struct record *record;
    const struct primitive *const *among; /* OPERATIONS, RESULTS: of these primitives */
    const char *about;                    /* one phrase for the OpenAPI document */
};

struct record {
    const char *name; /* schema name in the OpenAPI document */
    size_t size;
    const struct field *fields; /* numbers rise */
    size_t field_count;         /* at most 64 */
};

#define FIELDS(array) (array), sizeof(array) / sizeof *(array)
#define RECORD(name, structure, fields)                                                                      \
    {                                                                                                        \
        (name), sizeof(struct structure), FIELDS(fields)                                                     \
    }

void record_encode(const struct record *record, const void *data, struct buffer *out);
/* `data` is zeroed first; slices point into `from`, lists go into the arena. */
bool record_decode(const struct record *record, void *data, struct slice from, struct arena *arena);
/* Members only, without the braces: the caller may add its own. */
void record_json_members(const struct record *record, const void *data, struct json *json);
void record_json(const struct record *record, const void *data, struct json *json);

/* A deep copy in the arena. `remaining` gives the ms left of a lease for FIELD_REMAINING (NULL: the field
 * becomes 0). */
typedef uint64_t record_remaining(void *context, uint64_t lease);
void *record_copy(const struct record *record, const void *data, struct arena *arena,
                  record_remaining *remaining, void *context);

const struct field *record_field(const struct record *record,
                                 struct slice name); /* NULL: no such; hidden ones are not found */
/* Numeric value of the field of that name, 0 when there is none: how headers find "token" in any result. */
uint64_t record_number(const struct record *record, const void *data, const char *name);

/* Setting arguments. `given` has a bit per field position; a field set twice is refused. On false,
 * `complaint` is a sentence that names the field and what is allowed, in the arena. */
struct setting {
    const struct record *record;
    void *data;
    struct arena *arena;
    uint64_t given;
    struct slice complaint;
};
bool setting_text(struct setting *setting, const struct field *field,
                  struct slice text); /* any type but lists of records and records */
bool setting_uint(struct setting *setting, const struct field *field,
                  uint64_t value); /* UINT, DURATION, TIME */
bool setting_bool(struct setting *setting, const struct field *field, bool value);
bool setting_bytes(struct setting *setting, const struct field *field, struct slice bytes);
bool setting_json(struct setting *setting, const struct field *field, struct slice compact_json);
/* TEXTS and LEASES: one call an item; LIST: each gives a zeroed struct to fill through a setting of its own,
 * NULL when there are too many. */
bool setting_item(struct setting *setting, const struct field *field, struct slice text);
void *setting_record(struct setting *setting, const struct field *field);
/* OPERATIONS: adds one by its name; gives its zeroed arguments to fill through a setting of their own. NULL:
 * there is no such, it may not stand there, or there are too many. */
void *setting_operation(struct setting *setting, const struct field *field, struct slice name,
                        const struct operation **operation);
/* Fills in the initial values and refuses when a required field is missing. Call once, last (for every nested
 * setting too). */
bool setting_done(struct setting *setting);

/* "L" and hex -> id; 0 when it is not one. */
uint64_t lease_from_text(struct slice text);
/* Durations as people write them -> ms. */
bool duration_from_text(struct slice text, uint64_t *ms);

#endif
