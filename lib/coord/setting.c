/* Setting the fields of a record from outside: every value is checked against its table, and a refusal names
 * the field and what is allowed. */
#include "coord/record.h"

#include "base/check.h"
#include "coord/cron.h"
#include "coord/operation.h"

static const uint64_t uint_max = ((uint64_t)1 << 53) - 1;

static bool complain(struct setting *setting, const struct field *field, const char *what)
{
    setting->complaint = arena_printf(setting->arena, "%s %s", field->name, what);
    return false;
}

static uint64_t bit(const struct setting *setting, const struct field *field)
{
    size_t position = (size_t)(field - setting->record->fields);
    CHECK(position < setting->record->field_count && position < 64);
    return (uint64_t)1 << position;
}

static bool once(struct setting *setting, const struct field *field)
{
    if (setting->given & bit(setting, field)) return complain(setting, field, "is given twice");
    setting->given |= bit(setting, field);
    return true;
}

static void *place_of(struct setting *setting, const struct field *field)
{
    return (char *)setting->data + field->offset;
}

static bool out_of_range(struct setting *setting, const struct field *field, uint64_t max)
{
    const char *unit = field->type == FIELD_DURATION ? " ms" : "";
    setting->complaint = arena_printf(setting->arena, "%s must be from %llu%s to %llu%s", field->name,
                                      (unsigned long long)field->min, unit, (unsigned long long)max, unit);
    return false;
}

static bool put_number(struct setting *setting, const struct field *field, uint64_t value)
{
    uint64_t max = field->max ? field->max : field->type == FIELD_TIME ? FIELD_TIME_MAX : uint_max;
    if (field->type != FIELD_LEASE && (value < field->min || value > max))
        return out_of_range(setting, field, max);
    memcpy(place_of(setting, field), &value, sizeof value);
    return once(setting, field);
}

static bool digits(struct slice text, uint64_t *value)
{
    *value = 0;
    if (!text.size || text.size > 16) return false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        *value = *value * 10 + (uint64_t)(text.data[i] - '0');
    }
    return *value <= uint_max;
}

bool duration_from_text(struct slice text, uint64_t *ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    size_t size = 0;
    while (size < text.size && text.data[size] >= '0' && text.data[size] <= '9') size++;
    if (!digits(slice_of(text.data, size), ms)) return false;
    if (size == text.size) return true;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (slice_is(slice_skip(text, size), units[i].unit)) {
            if (*ms > uint_max / units[i].ms) return false;
            *ms *= units[i].ms;
            return true;
        }
    return false;
}

uint64_t lease_from_text(struct slice text)
{
    uint64_t lease = 0;
    if (text.size < 2 || text.size > 17 || text.data[0] != 'L' || text.data[1] == '0') return 0;
    for (size_t i = 1; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c >= '0' && c <= '9')
            lease = lease << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            lease = lease << 4 | (uint64_t)(c - 'a' + 10);
        else
            return 0;
    }
    return lease;
}

static bool plain_text(struct slice text, bool lines)
{
    for (size_t i = 0; i < text.size; i++) {
        bool control = text.data[i] < 0x20 || text.data[i] == 0x7f;
        if (control && !(lines && memchr("\n\r\t", text.data[i], 3))) return false;
    }
    return utf8_valid(text);
}

static bool check_text(struct setting *setting, const struct field *field, struct slice text)
{
    if (!plain_text(text, field->flags & FIELD_LINES))
        return complain(setting, field, "must be UTF-8 without control characters");
    size_t min = field->type == FIELD_NAME && field->min == 0 ? 1 : (size_t)field->min;
    size_t max = field->max && field->type != FIELD_TEXTS ? (size_t)field->max : 255;
    if (text.size >= min && text.size <= max) return true;
    setting->complaint =
        arena_printf(setting->arena, "%s must be %zu to %zu bytes long", field->name, min, max);
    return false;
}

static bool put_text(struct setting *setting, const struct field *field, struct slice text)
{
    if (!check_text(setting, field, text)) return false;
    text = arena_copy(setting->arena, text);
    memcpy(place_of(setting, field), &text, sizeof text);
    return once(setting, field);
}

static bool put_cron(struct setting *setting, const struct field *field, struct slice text)
{
    struct cron cron;
    const char *why;
    if (plain_text(text, false) && !cron_parse(text, &cron, &why)) {
        setting->complaint = arena_printf(setting->arena, "%s: %s", field->name, why);
        return false;
    }
    return put_text(setting, field, text);
}

/* Resolved here and now: what is replicated is the rule, whatever the next version's table of names says. */
static bool put_zone(struct setting *setting, const struct field *field, struct slice text)
{
    struct zone zone;
    struct slice rule;
    if (!check_text(setting, field, text)) return false;
    enum zone_known known = zone_by_name(text, &rule);
    if (known == ZONE_IRREGULAR)
        return complain(
            setting, field,
            "names a place whose clock follows no yearly rule: give the rule that shall hold, such as "
            "<+01>-1");
    if (known == ZONE_KNOWN)
        text = arena_printf(setting->arena, "%.*s %.*s", SLICE_ARGS(text), SLICE_ARGS(rule));
    else if (!zone_parse(text, &zone))
        return complain(setting, field,
                        "must be a time zone: a name such as Europe/Berlin, UTC, or a POSIX rule such as "
                        "CET-1CEST,M3.5.0,M10.5.0/3");
    else
        text = arena_copy(setting->arena, text);
    memcpy(place_of(setting, field), &text, sizeof text);
    return once(setting, field);
}

bool setting_bytes(struct setting *setting, const struct field *field, struct slice bytes)
{
    size_t max = field->max ? (size_t)field->max : 255;
    if (field->type != FIELD_BYTES) return complain(setting, field, "has the wrong type");
    if (bytes.size < field->min || bytes.size > max) {
        setting->complaint = arena_printf(setting->arena, "%s must be %zu to %zu bytes long", field->name,
                                          (size_t)field->min, max);
        return false;
    }
    bytes = arena_copy(setting->arena, bytes);
    memcpy(place_of(setting, field), &bytes, sizeof bytes);
    return once(setting, field);
}

static bool put_choice(struct setting *setting, const struct field *field, struct slice text)
{
    struct buffer all = {0};
    for (uint64_t i = 0; field->choices[i]; i++) {
        if (slice_is(text, field->choices[i])) {
            buffer_free(&all);
            uint64_t value = i + 1;
            memcpy(place_of(setting, field), &value, sizeof value);
            return once(setting, field);
        }
        buffer_printf(&all, "%s%s", i ? ", " : "", field->choices[i]);
    }
    setting->complaint =
        arena_printf(setting->arena, "%s must be one of: %.*s", field->name, SLICE_ARGS(buffer_slice(&all)));
    buffer_free(&all);
    return false;
}

bool setting_bool(struct setting *setting, const struct field *field, bool value)
{
    if (field->type != FIELD_BOOL) return complain(setting, field, "cannot be true or false");
    memcpy(place_of(setting, field), &value, sizeof value);
    return once(setting, field);
}

bool setting_uint(struct setting *setting, const struct field *field, uint64_t value)
{
    if (field->type != FIELD_UINT && field->type != FIELD_DURATION && field->type != FIELD_TIME)
        return complain(setting, field, "cannot be a number");
    return put_number(setting, field, value);
}

bool setting_json(struct setting *setting, const struct field *field, struct slice compact_json)
{
    if (field->type != FIELD_JSON) return complain(setting, field, "has the wrong type");
    size_t max = field->max ? (size_t)field->max : 4096;
    if (compact_json.size > max) {
        setting->complaint =
            arena_printf(setting->arena, "%s must be at most %zu bytes of JSON", field->name, max);
        return false;
    }
    compact_json = arena_copy(setting->arena, compact_json);
    memcpy(place_of(setting, field), &compact_json, sizeof compact_json);
    return once(setting, field);
}

/* A query parameter can only be text: it becomes a JSON string. */
static bool put_text_as_json(struct setting *setting, const struct field *field, struct slice text)
{
    if (!utf8_valid(text)) return complain(setting, field, "must be UTF-8");
    struct buffer out = {0};
    json_text(&(struct json){&out, false}, text);
    bool done = setting_json(setting, field, buffer_slice(&out));
    buffer_free(&out);
    return done;
}

static bool put_lease(struct setting *setting, const struct field *field, struct slice text)
{
    uint64_t lease = lease_from_text(text);
    if (!lease) return complain(setting, field, "must be a lease's id, such as L32c00");
    return put_number(setting, field, lease);
}

static bool put_items(struct setting *setting, const struct field *field, struct slice text)
{
    while (text.size) {
        const uint8_t *comma = memchr(text.data, ',', text.size);
        size_t size = comma ? (size_t)(comma - text.data) : text.size;
        if (!setting_item(setting, field, slice_of(text.data, size))) return false;
        text = slice_skip(text, comma ? size + 1 : size);
    }
    return true;
}

bool setting_text(struct setting *setting, const struct field *field, struct slice text)
{
    uint64_t number;
    switch ((enum field_type)field->type) {
    case FIELD_UINT:
    case FIELD_TIME:
        return digits(text, &number) ? put_number(setting, field, number)
                                     : complain(setting, field, "must be an integer below 2^53");
    case FIELD_DURATION:
        return duration_from_text(text, &number)
                   ? put_number(setting, field, number)
                   : complain(setting, field,
                              "must be a duration: 30s, 1500ms, 2m, 1h, or an integer of milliseconds");
    case FIELD_LEASE:
        return put_lease(setting, field, text);
    case FIELD_CHOICE:
        return put_choice(setting, field, text);
    case FIELD_BOOL:
        if (slice_is(text, "true") || slice_is(text, "false"))
            return setting_bool(setting, field, slice_is(text, "true"));
        return complain(setting, field, "must be true or false");
    case FIELD_TEXT:
    case FIELD_NAME:
        return put_text(setting, field, text);
    case FIELD_CRON:
        return put_cron(setting, field, text);
    case FIELD_ZONE:
        return put_zone(setting, field, text);
    case FIELD_JSON:
        return put_text_as_json(setting, field, text);
    case FIELD_BYTES:
        return setting_bytes(setting, field, text);
    case FIELD_TEXTS:
    case FIELD_LEASES:
        return put_items(setting, field, text);
    case FIELD_OPERATIONS:
    case FIELD_RESULTS:
    case FIELD_REMAINING:
    case FIELD_LIST:
    case FIELD_RECORD:
        break;
    }
    return complain(setting, field, "cannot be given as text");
}

/* Lists double their room in the arena; what they outgrow lies there until the request ends. */
static void *grown(struct setting *setting, const struct field *field, size_t item_size)
{
    struct list list;
    memcpy(&list, place_of(setting, field), sizeof list);
    size_t max = field->max ? (size_t)field->max : 1000;
    if (list.count == max) {
        setting->complaint = arena_printf(setting->arena, "%s must have at most %zu items", field->name, max);
        return NULL;
    }
    if ((list.count & (list.count - 1)) == 0) {
        size_t room = list.count ? list.count * 2 : 1;
        void *items = arena_alloc(setting->arena, room * item_size);
        if (list.count) memcpy(items, list.items, list.count * item_size);
        list.items = items;
    }
    void *item = (char *)list.items + list.count++ * item_size;
    memcpy(place_of(setting, field), &list, sizeof list);
    setting->given |= bit(setting, field);
    return item;
}

bool setting_item(struct setting *setting, const struct field *field, struct slice text)
{
    if (field->type == FIELD_TEXTS) {
        if (!check_text(setting, field, text)) return false;
        struct slice *item = grown(setting, field, sizeof *item);
        if (!item) return false;
        *item = arena_copy(setting->arena, text);
        return true;
    }
    if (field->type != FIELD_LEASES) return complain(setting, field, "is not a list");
    uint64_t lease = lease_from_text(text);
    if (!lease) return complain(setting, field, "must hold leases' ids, such as L32c00");
    uint64_t *item = grown(setting, field, sizeof *item);
    if (item) *item = lease;
    return item;
}

void *setting_operation(struct setting *setting, const struct field *field, struct slice name,
                        const struct operation **operation)
{
    *operation = field->type == FIELD_OPERATIONS ? operation_among(field->among, 0, &name) : NULL;
    if (field->type != FIELD_OPERATIONS) {
        complain(setting, field, "is not a list of operations");
    } else if (!*operation) {
        setting->complaint = arena_printf(setting->arena, "%s: there is no operation \"%.*s\"", field->name,
                                          (int)(name.size < 64 ? name.size : 64), (const char *)name.data);
    } else if (!operation_in_txn(*operation)) {
        setting->complaint = arena_printf(setting->arena, "%s: %s cannot stand in a transaction", field->name,
                                          (*operation)->name);
    } else {
        struct operation_item *item = grown(setting, field, sizeof *item);
        if (!item) return NULL;
        *item = (struct operation_item){*operation, arena_alloc(setting->arena, (*operation)->args->size)};
        return item->args;
    }
    return NULL;
}

void *setting_record(struct setting *setting, const struct field *field)
{
    if (field->type == FIELD_LIST) return grown(setting, field, field->record->size);
    if (field->type != FIELD_RECORD) {
        complain(setting, field, "is not an object");
        return NULL;
    }
    if (!once(setting, field)) return NULL;
    void *nested = arena_alloc(setting->arena, field->record->size);
    memcpy(place_of(setting, field), &nested, sizeof nested);
    return nested;
}

bool setting_done(struct setting *setting)
{
    for (size_t i = 0; i < setting->record->field_count; i++) {
        const struct field *field = &setting->record->fields[i];
        if (setting->given & (uint64_t)1 << i) continue;
        if (field->flags & FIELD_REQUIRED) return complain(setting, field, "is missing");
        if (field->initial) memcpy(place_of(setting, field), &field->initial, sizeof field->initial);
    }
    return true;
}
