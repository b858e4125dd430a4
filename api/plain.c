#include "api/plain.h"

#include "base/check.h"

/* The first field whose records have tokens: holders of a lock, the leader of an election. */
static const struct field *holders_of(const struct record *result)
{
    for (size_t i = 0; i < result->field_count; i++) {
        const struct field *field = &result->fields[i];
        bool records = field->type == FIELD_LIST || field->type == FIELD_RECORD;
        if (records && record_field(field->record, SLICE("token"))) return field;
    }
    return NULL;
}

bool plain_exists(const struct operation *operation)
{
    if (operation->plain || !operation->result) return operation->plain;
    return record_field(operation->result, SLICE("token")) || holders_of(operation->result);
}

/* --- fields that the table names --- */

static struct slice take_name(struct slice *names)
{
    size_t size = 0;
    while (size < names->size && names->data[size] != ' ') size++;
    struct slice name = slice_of(names->data, size);
    *names = slice_skip(*names, size < names->size ? size + 1 : size);
    return name;
}

static struct slice list_name(const char *plain)
{
    const char *colon = strchr(plain, ':');
    return slice_of(plain, colon ? (size_t)(colon - plain) : 0);
}

static struct slice names_of(const char *plain)
{
    size_t list = list_name(plain).size;
    return slice_skip(slice_text(plain), list ? list + sizeof ": " - 1 : 0);
}

const struct field *plain_list(const struct operation *operation)
{
    if (!operation->plain) return NULL;
    struct slice name = list_name(operation->plain), names = names_of(operation->plain);
    const struct field *list = name.size ? record_field(operation->result, name) : NULL;
    CHECK(!name.size || (list && list->type == FIELD_LIST));
    while (names.size) CHECK(record_field(list ? list->record : operation->result, take_name(&names)));
    return list;
}

/* `from` is where its JSON begins in `out`. */
static void make_bare(struct buffer *out, size_t from)
{
    struct slice text = slice_of(out->data + from, out->size - from);
    if (slice_is(text, "null") || slice_is(text, "\"\"")) {
        out->size = from;
        buffer_add_byte(out, '-');
    } else if (text.data[0] == '"' && !memchr(text.data, '\\', text.size)) {
        memmove(out->data + from, text.data + 1, text.size - 2);
        out->size -= 2;
    }
}

static void write_field(const struct field *field, const void *data, struct buffer *out)
{
    const struct record one = {.fields = field, .field_count = 1};
    size_t begin = out->size, before = strlen(field->name) + sizeof "\"\":" - 1;
    record_json_members(&one, data, &(struct json){out, false});
    memmove(out->data + begin, out->data + begin + before, out->size - begin - before);
    out->size -= before;
    make_bare(out, begin);
}

static void write_line(const struct record *record, const void *data, struct slice names, struct buffer *out)
{
    while (names.size) {
        write_field(record_field(record, take_name(&names)), data, out);
        buffer_add_byte(out, names.size ? ' ' : '\n');
    }
}

static void write_named(const struct operation *operation, const void *result, struct buffer *out)
{
    struct slice names = names_of(operation->plain);
    const struct field *field = plain_list(operation);
    if (!field) {
        write_line(operation->result, result, names, out);
        return;
    }
    struct list list;
    memcpy(&list, (const char *)result + field->offset, sizeof list);
    for (size_t i = 0; i < list.count; i++)
        write_line(field->record, (const char *)list.items + i * field->record->size, names, out);
}

/* --- tokens --- */

static void add_named_text(const struct record *record, const void *data, const char *name,
                           struct buffer *out)
{
    const struct field *field = record_field(record, slice_text(name));
    if (!field || (field->type != FIELD_TEXT && field->type != FIELD_NAME)) return;
    struct slice text;
    memcpy(&text, (const char *)data + field->offset, sizeof text);
    buffer_add_byte(out, ' ');
    buffer_add_slice(out, text);
}

static const void *first_holder(const struct field *field, const void *result)
{
    const char *place = (const char *)result + field->offset;
    const void *holder;
    struct list list;
    if (field->type == FIELD_RECORD) {
        memcpy(&holder, place, sizeof holder);
        return holder;
    }
    memcpy(&list, place, sizeof list);
    return list.count ? list.items : NULL;
}

static void write_tokens(const struct record *shape, const void *result, struct buffer *out)
{
    const struct field *field = holders_of(shape);
    const void *holder = field ? first_holder(field, result) : NULL;
    if (!field) {
        buffer_add_decimal(out, record_number(shape, result, "token"));
    } else if (holder) {
        buffer_add_decimal(out, record_number(field->record, holder, "token"));
        add_named_text(field->record, holder, "owner", out);
        add_named_text(field->record, holder, "candidate", out);
        if (record_field(field->record, SLICE("expires_in_ms"))) {
            buffer_add_byte(out, ' ');
            buffer_add_decimal(out, record_number(field->record, holder, "expires_in_ms"));
        }
    } else {
        buffer_add_text(out, "free");
    }
    buffer_add_byte(out, '\n');
}

void plain_write(const struct operation *operation, const void *result, struct buffer *out)
{
    if (operation->plain)
        write_named(operation, result, out);
    else
        write_tokens(operation->result, result, out);
}
