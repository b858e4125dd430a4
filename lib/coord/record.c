/* The codec of records: binary both ways, JSON out, deep copies. Setting fields from outside is setting.c. */
#include "coord/record.h"

#include "base/base64.h"
#include "base/check.h"
#include "coord/operation.h"
#include "coord/zone.h"

static uint64_t number_at(const struct field *field, const void *data)
{
    uint64_t number;
    memcpy(&number, (const char *)data + field->offset, sizeof number);
    return number;
}

static bool bool_at(const struct field *field, const void *data)
{
    bool value;
    memcpy(&value, (const char *)data + field->offset, sizeof value);
    return value;
}

static struct slice slice_at(const struct field *field, const void *data)
{
    struct slice value;
    memcpy(&value, (const char *)data + field->offset, sizeof value);
    return value;
}

static struct list list_at(const struct field *field, const void *data)
{
    struct list value;
    memcpy(&value, (const char *)data + field->offset, sizeof value);
    return value;
}

static const void *pointer_at(const struct field *field, const void *data)
{
    const void *value;
    memcpy(&value, (const char *)data + field->offset, sizeof value);
    return value;
}

static const char *item_at(const struct field *field, struct list list, size_t i)
{
    return (const char *)list.items + i * field->record->size;
}

static size_t item_size(const struct field *field)
{
    if (field->type == FIELD_TEXTS) return sizeof(struct slice);
    if (field->type == FIELD_LEASES) return sizeof(uint64_t);
    if (field->type == FIELD_OPERATIONS) return sizeof(struct operation_item);
    if (field->type == FIELD_RESULTS) return sizeof(struct operation_result);
    return field->record->size;
}

static bool is_number(const struct field *field)
{
    return field->type <= FIELD_CHOICE;
}

/* --- binary --- */

static void encode_sized(struct buffer *out, struct slice bytes)
{
    buffer_add_varint(out, bytes.size);
    buffer_add_slice(out, bytes);
}

/* A sized value whose size is known only once it is written: written behind, then moved by the size's own
 * length. */
static void encode_nested(struct buffer *out, const struct record *record, const void *data)
{
    size_t start = out->size;
    record_encode(record, data, out);
    size_t size = out->size - start;
    struct buffer head = {0};
    uint8_t bytes[10];
    head.data = bytes;
    head.capacity = sizeof bytes;
    buffer_add_varint(&head, size);
    buffer_reserve(out, head.size);
    memmove(out->data + start + head.size, out->data + start, size);
    memcpy(out->data + start, bytes, head.size);
    out->size += head.size;
}

static void encode_operation(const struct operation_item *item, struct buffer *out)
{
    struct buffer bytes = {0};
    buffer_add_varint(&bytes, item->operation->code);
    record_encode(item->operation->args, item->args, &bytes);
    encode_sized(out, buffer_slice(&bytes));
    buffer_free(&bytes);
}

enum { SHAPE_NONE, SHAPE_RESULT, SHAPE_REFUSAL };

static void encode_result(const struct operation_result *result, struct buffer *out)
{
    struct buffer bytes = {0}, data = {0};
    uint64_t shape = !result->shape                               ? SHAPE_NONE
                     : result->shape == result->operation->result ? SHAPE_RESULT
                                                                  : SHAPE_REFUSAL;
    CHECK(shape != SHAPE_REFUSAL || result->shape == result->operation->refusal);
    if (shape) record_encode(result->shape, result->data, &data);
    buffer_add_varint(&bytes, result->operation->code);
    buffer_add_varint(&bytes, result->outcome);
    buffer_add_varint(&bytes, shape);
    encode_sized(&bytes, buffer_slice(&data));
    encode_sized(&bytes, result->detail);
    encode_sized(out, buffer_slice(&bytes));
    buffer_free(&bytes);
    buffer_free(&data);
}

static void encode_list(const struct field *field, struct list list, struct buffer *out)
{
    for (size_t i = 0; i < list.count; i++) {
        if (field->type == FIELD_TEXTS) encode_sized(out, ((const struct slice *)list.items)[i]);
        if (field->type == FIELD_LEASES) buffer_add_varint(out, ((const uint64_t *)list.items)[i]);
        if (field->type == FIELD_LIST) encode_nested(out, field->record, item_at(field, list, i));
        if (field->type == FIELD_OPERATIONS)
            encode_operation(&((const struct operation_item *)list.items)[i], out);
        if (field->type == FIELD_RESULTS)
            encode_result(&((const struct operation_result *)list.items)[i], out);
    }
}

static void tag(const struct field *field, bool sized, struct buffer *out)
{
    buffer_add_varint(out, (uint64_t)field->number << 1 | sized);
}

static void encode_list_field(const struct field *field, struct list list, struct buffer *out)
{
    struct buffer items = {0};
    encode_list(field, list, &items);
    tag(field, true, out);
    encode_sized(out, buffer_slice(&items));
    buffer_free(&items);
}

static void encode_field(const struct field *field, const void *data, struct buffer *out)
{
    uint64_t number = is_number(field)            ? number_at(field, data)
                      : field->type == FIELD_BOOL ? bool_at(field, data)
                                                  : 0;
    if (is_number(field) || field->type == FIELD_BOOL) {
        if (!number) return;
        tag(field, false, out);
        buffer_add_varint(out, number);
    } else if (field->type == FIELD_RECORD) {
        if (!pointer_at(field, data)) return;
        tag(field, true, out);
        encode_nested(out, field->record, pointer_at(field, data));
    } else if (field->type >= FIELD_TEXTS) {
        if (list_at(field, data).count) encode_list_field(field, list_at(field, data), out);
    } else if (slice_at(field, data).size) {
        tag(field, true, out);
        encode_sized(out, slice_at(field, data));
    }
}

void record_encode(const struct record *record, const void *data, struct buffer *out)
{
    for (size_t i = 0; i < record->field_count; i++) encode_field(&record->fields[i], data, out);
}

static bool take_sized(struct slice *from, struct slice *bytes)
{
    uint64_t size;
    return take_varint(from, &size) && size <= from->size && take_bytes(from, (size_t)size, bytes);
}

/* Walks the items once to count them, so that the list is one allocation of the right size. */
static bool count_items(const struct field *field, struct slice from, size_t *count)
{
    struct slice bytes;
    uint64_t number;
    for (*count = 0; from.size; ++*count)
        if (field->type == FIELD_LEASES ? !take_varint(&from, &number) : !take_sized(&from, &bytes))
            return false;
    return true;
}

/* Operations may hold operations. */
enum { DEPTH_MAX = 16 };
struct decoding {
    struct arena *arena;
    unsigned depth;
};

static bool decode_record(const struct record *record, void *data, struct slice from,
                          const struct decoding *in);

static bool decode_operation(const struct field *field, struct slice from, const struct decoding *in,
                             struct operation_item *item)
{
    uint64_t code;
    if (!take_varint(&from, &code)) return false;
    item->operation = operation_among(field->among, code, NULL);
    if (!item->operation) return false;
    item->args = arena_alloc(in->arena, item->operation->args->size);
    return decode_record(item->operation->args, item->args, from, in);
}

static bool decode_result(const struct field *field, struct slice from, const struct decoding *in,
                          struct operation_result *result)
{
    uint64_t code, outcome, shape;
    struct slice data;
    if (!take_varint(&from, &code) || !take_varint(&from, &outcome) || !take_varint(&from, &shape) ||
        shape > SHAPE_REFUSAL || !take_sized(&from, &data) || !take_sized(&from, &result->detail) ||
        from.size)
        return false;
    result->operation = operation_among(field->among, code, NULL);
    if (!result->operation || !outcome_exists(outcome)) return false;
    result->outcome = (enum outcome)outcome;
    if (shape == SHAPE_NONE) return data.size == 0;
    result->shape = shape == SHAPE_RESULT ? result->operation->result : result->operation->refusal;
    if (!result->shape) return false;
    void *decoded = arena_alloc(in->arena, result->shape->size);
    result->data = decoded;
    return decode_record(result->shape, decoded, data, in);
}

static bool decode_list(const struct field *field, struct slice from, const struct decoding *in,
                        struct list *list)
{
    struct slice bytes;
    if (!count_items(field, from, &list->count)) return false;
    size_t size = item_size(field);
    char *items = arena_alloc(in->arena, list->count * size);
    list->items = items;
    for (size_t i = 0; i < list->count; i++) {
        if (field->type == FIELD_LEASES) {
            if (!take_varint(&from, &((uint64_t *)list->items)[i])) return false;
            continue;
        }
        if (!take_sized(&from, &bytes)) return false;
        bool done = true;
        if (field->type == FIELD_TEXTS)
            ((struct slice *)list->items)[i] = bytes;
        else if (field->type == FIELD_OPERATIONS)
            done = decode_operation(field, bytes, in, &((struct operation_item *)list->items)[i]);
        else if (field->type == FIELD_RESULTS)
            done = decode_result(field, bytes, in, &((struct operation_result *)list->items)[i]);
        else
            done = decode_record(field->record, items + i * size, bytes, in);
        if (!done) return false;
    }
    return true;
}

static bool decode_sized(const struct field *field, void *place, struct slice *from,
                         const struct decoding *in)
{
    struct slice bytes;
    if (!take_sized(from, &bytes)) return false;
    if (field->type == FIELD_RECORD) {
        void *nested = arena_alloc(in->arena, field->record->size);
        memcpy(place, &nested, sizeof nested);
        return decode_record(field->record, nested, bytes, in);
    }
    if (bytes.size == 0) return false; /* empty is absent: one form for one value */
    if (field->type < FIELD_TEXTS) {
        memcpy(place, &bytes, sizeof bytes);
        return true;
    }
    struct list list;
    if (!decode_list(field, bytes, in, &list)) return false;
    memcpy(place, &list, sizeof list);
    return true;
}

static bool decode_number(const struct field *field, void *place, struct slice *from)
{
    uint64_t number;
    if (!take_varint(from, &number) || number == 0) return false;
    if (field->type == FIELD_BOOL) {
        if (number != 1) return false;
        memcpy(place, &(bool){true}, sizeof(bool));
    } else {
        memcpy(place, &number, sizeof number);
    }
    return true;
}

static bool decode_record(const struct record *record, void *data, struct slice from,
                          const struct decoding *in)
{
    struct decoding inner = {in->arena, in->depth + 1};
    if (inner.depth > DEPTH_MAX) return false;
    memset(data, 0, record->size);
    size_t next = 0;
    while (from.size) {
        uint64_t key;
        if (!take_varint(&from, &key)) return false;
        while (next < record->field_count && record->fields[next].number < key >> 1) next++;
        if (next == record->field_count || record->fields[next].number != key >> 1) return false;
        const struct field *field = &record->fields[next++];
        void *place = (char *)data + field->offset;
        bool sized = field->type > FIELD_BOOL;
        if (sized != (key & 1)) return false;
        if (sized ? !decode_sized(field, place, &from, &inner) : !decode_number(field, place, &from))
            return false;
    }
    return true;
}

bool record_decode(const struct record *record, void *data, struct slice from, struct arena *arena)
{
    return decode_record(record, data, from, &(struct decoding){arena, 0});
}

/* --- JSON --- */

static void json_lease(struct json *json, uint64_t lease)
{
    char text[20] = "L";
    size_t size = 1;
    for (unsigned shift = 64; shift;) {
        shift -= 4;
        unsigned digit = (unsigned)(lease >> shift) & 15;
        if (digit || size > 1 || shift == 0) text[size++] = "0123456789abcdef"[digit];
    }
    json_text(json, slice_of(text, size));
}

static void json_number(const struct field *field, uint64_t number, struct json *json)
{
    bool null = number == 0 && ((field->flags & FIELD_NULL) || field->type == FIELD_TIME ||
                                field->type == FIELD_LEASE || field->type == FIELD_CHOICE);
    null |= field->type == FIELD_REMAINING && number == RECORD_UNKNOWN;
    if (null)
        json_null(json);
    else if (field->type == FIELD_TIME)
        json_time(json, number);
    else if (field->type == FIELD_LEASE)
        json_lease(json, number);
    else if (field->type == FIELD_CHOICE)
        json_text(json, slice_text(field->choices[number - 1]));
    else
        json_uint(json, number);
}

static void json_result(const struct operation_result *result, struct json *json)
{
    const struct outcome_facts *facts = outcome_facts(result->outcome);
    json_open(json, '{');
    json_key(json, "op");
    json_text(json, slice_text(result->operation->name));
    json_key(json, "status");
    json_uint(json, (uint64_t)facts->status);
    json_key(json, "code");
    json_text(json, slice_text(facts->code));
    json_key(json, "result");
    if (result->shape)
        record_json(result->shape, result->data, json);
    else
        json_null(json);
    if (result->detail.size) {
        json_key(json, "detail");
        json_text(json, result->detail);
    }
    json_close(json, '}');
}

static void json_operation(const struct operation_item *item, struct json *json)
{
    json_open(json, '{');
    json_key(json, "op");
    json_text(json, slice_text(item->operation->name));
    record_json_members(item->operation->args, item->args, json);
    json_close(json, '}');
}

static void json_list(const struct field *field, struct list list, struct json *json)
{
    json_open(json, '[');
    for (size_t i = 0; i < list.count; i++) {
        if (field->type == FIELD_TEXTS) json_text(json, ((const struct slice *)list.items)[i]);
        if (field->type == FIELD_LEASES) json_lease(json, ((const uint64_t *)list.items)[i]);
        if (field->type == FIELD_LIST) record_json(field->record, item_at(field, list, i), json);
        if (field->type == FIELD_OPERATIONS)
            json_operation(&((const struct operation_item *)list.items)[i], json);
        if (field->type == FIELD_RESULTS)
            json_result(&((const struct operation_result *)list.items)[i], json);
    }
    json_close(json, ']');
}

static void json_base64(struct slice bytes, struct json *json)
{
    struct buffer text = {0};
    base64_encode(bytes, &text);
    json_open(json, '{');
    json_key(json, "base64");
    json_text(json, buffer_slice(&text));
    json_close(json, '}');
    buffer_free(&text);
}

static void json_bytes(const struct field *field, struct slice bytes, struct json *json)
{
    if (field->type == FIELD_JSON && bytes.size)
        json_raw(json, bytes);
    else if (field->type == FIELD_ZONE)
        json_text(json, zone_shown(bytes));
    else if (field->type == FIELD_BYTES && !utf8_valid(bytes))
        json_base64(bytes, json);
    else if (bytes.size == 0 && (field->type == FIELD_JSON || (field->flags & FIELD_NULL)))
        json_null(json);
    else
        json_text(json, bytes);
}

void record_json_members(const struct record *record, const void *data, struct json *json)
{
    for (size_t i = 0; i < record->field_count; i++) {
        const struct field *field = &record->fields[i];
        if (field->flags & FIELD_HIDDEN) continue;
        json_key(json, field->name);
        if (is_number(field))
            json_number(field, number_at(field, data), json);
        else if (field->type == FIELD_BOOL)
            json_bool(json, bool_at(field, data));
        else if (field->type == FIELD_RECORD && !pointer_at(field, data))
            json_null(json);
        else if (field->type == FIELD_RECORD)
            record_json(field->record, pointer_at(field, data), json);
        else if (field->type >= FIELD_TEXTS)
            json_list(field, list_at(field, data), json);
        else
            json_bytes(field, slice_at(field, data), json);
    }
}

void record_json(const struct record *record, const void *data, struct json *json)
{
    json_open(json, '{');
    record_json_members(record, data, json);
    json_close(json, '}');
}

/* --- copies and look-ups --- */

struct copying {
    struct arena *arena;
    record_remaining *remaining;
    void *context;
};

static void copy_fields(const struct record *record, void *data, const struct copying *copying);

static const void *copy_of(const struct record *record, const void *data, const struct copying *copying)
{
    return record_copy(record, data, copying->arena, copying->remaining, copying->context);
}

static void copy_operation(struct operation_item *item, const struct copying *copying)
{
    item->args = (void *)(uintptr_t)copy_of(item->operation->args, item->args, copying);
}

static void copy_result(struct operation_result *result, const struct copying *copying)
{
    if (result->shape) result->data = copy_of(result->shape, result->data, copying);
    result->detail = arena_copy(copying->arena, result->detail);
}

static void copy_list(const struct field *field, void *place, const struct copying *copying)
{
    struct list list;
    memcpy(&list, place, sizeof list);
    if (!list.count) return;
    size_t size = item_size(field);
    list.items = (void *)(uintptr_t)arena_copy(copying->arena, slice_of(list.items, list.count * size)).data;
    for (size_t i = 0; i < list.count; i++) {
        if (field->type == FIELD_LIST) copy_fields(field->record, (char *)list.items + i * size, copying);
        if (field->type == FIELD_TEXTS) {
            struct slice *text = &((struct slice *)list.items)[i];
            *text = arena_copy(copying->arena, *text);
        }
        if (field->type == FIELD_OPERATIONS)
            copy_operation(&((struct operation_item *)list.items)[i], copying);
        if (field->type == FIELD_RESULTS) copy_result(&((struct operation_result *)list.items)[i], copying);
    }
    memcpy(place, &list, sizeof list);
}

static void copy_field(const struct field *field, void *place, const struct copying *copying)
{
    if (field->type == FIELD_REMAINING) {
        uint64_t lease;
        memcpy(&lease, place, sizeof lease);
        uint64_t left = lease && copying->remaining ? copying->remaining(copying->context, lease) : 0;
        memcpy(place, &left, sizeof left);
    } else if (field->type == FIELD_RECORD) {
        void *nested;
        memcpy(&nested, place, sizeof nested);
        if (!nested) return;
        nested = record_copy(field->record, nested, copying->arena, copying->remaining, copying->context);
        memcpy(place, &nested, sizeof nested);
    } else if (field->type >= FIELD_TEXTS) {
        copy_list(field, place, copying);
    } else if (field->type > FIELD_BOOL) {
        struct slice text;
        memcpy(&text, place, sizeof text);
        text = arena_copy(copying->arena, text);
        memcpy(place, &text, sizeof text);
    }
}

static void copy_fields(const struct record *record, void *data, const struct copying *copying)
{
    for (size_t i = 0; i < record->field_count; i++)
        copy_field(&record->fields[i], (char *)data + record->fields[i].offset, copying);
}

void *record_copy(const struct record *record, const void *data, struct arena *arena,
                  record_remaining *remaining, void *context)
{
    void *copy = arena_alloc(arena, record->size);
    memcpy(copy, data, record->size);
    copy_fields(record, copy, &(struct copying){arena, remaining, context});
    return copy;
}

const struct field *record_field(const struct record *record, struct slice name)
{
    for (size_t i = 0; i < record->field_count; i++)
        if (!(record->fields[i].flags & FIELD_HIDDEN) && slice_is(name, record->fields[i].name))
            return &record->fields[i];
    return NULL;
}

uint64_t record_number(const struct record *record, const void *data, const char *name)
{
    const struct field *field = record_field(record, slice_text(name));
    return field && is_number(field) ? number_at(field, data) : 0;
}
