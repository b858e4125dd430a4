// links: lib
/* The codec of records, and setting fields from outside. */
#include "coord/record.h"
#include "tests/unit/cmocka_all.h"

struct inner {
    uint64_t number;
    struct slice text;
};

struct outer {
    uint64_t count, ttl_ms, at_ms, lease, left, mode, hidden;
    bool flag;
    struct slice text, name, meta;
    struct list texts, leases, items;
    const struct inner *one;
};

static const char *const modes[] = {"exclusive", "shared", NULL};
static const struct field inner_fields[] = {
    {.number = 1, .type = FIELD_UINT, .offset = offsetof(struct inner, number), .name = "number"},
    {.number = 2, .type = FIELD_TEXT, .offset = offsetof(struct inner, text), .name = "text"},
};
static const struct record inner_record = RECORD("inner", inner, inner_fields);
#define AT(member) .offset = offsetof(struct outer, member)
static const struct field outer_fields[] = {
    {.number = 1, .type = FIELD_UINT, AT(count), .name = "count", .min = 1, .max = 9, .initial = 3},
    {.number = 2, .type = FIELD_DURATION, AT(ttl_ms), .name = "ttl", .min = 500, .max = 60000},
    {.number = 3, .type = FIELD_TIME, AT(at_ms), .name = "at"},
    {.number = 4, .type = FIELD_LEASE, AT(lease), .name = "lease"},
    {.number = 5, .type = FIELD_REMAINING, AT(left), .name = "expires_in_ms", .flags = FIELD_NULL},
    {.number = 6, .type = FIELD_CHOICE, AT(mode), .name = "mode", .choices = modes},
    {.number = 7, .type = FIELD_UINT, AT(hidden), .name = "hidden", .flags = FIELD_HIDDEN},
    {.number = 8, .type = FIELD_BOOL, AT(flag), .name = "flag"},
    {.number = 9, .type = FIELD_TEXT, AT(text), .name = "text", .max = 5, .flags = FIELD_NULL},
    {.number = 10, .type = FIELD_NAME, AT(name), .name = "name", .flags = FIELD_REQUIRED},
    {.number = 12, .type = FIELD_JSON, AT(meta), .name = "meta", .max = 20},
    {.number = 13, .type = FIELD_TEXTS, AT(texts), .name = "texts", .max = 3},
    {.number = 14, .type = FIELD_LEASES, AT(leases), .name = "leases"},
    {.number = 15, .type = FIELD_LIST, AT(items), .name = "items", .record = &inner_record, .max = 2},
    {.number = 16, .type = FIELD_RECORD, AT(one), .name = "one", .record = &inner_record},
};
static const struct record outer_record = RECORD("outer", outer, outer_fields);

static struct arena arena;

static struct setting begin(struct outer *outer)
{
    *outer = (struct outer){0};
    return (struct setting){.record = &outer_record, .data = outer, .arena = &arena};
}

static bool set(struct setting *setting, const char *name, const char *text)
{
    return setting_text(setting, record_field(&outer_record, slice_text(name)), slice_text(text));
}

static void full(struct outer *outer)
{
    struct setting setting = begin(outer);
    assert_true(set(&setting, "count", "9") && set(&setting, "ttl", "2s") && set(&setting, "lease", "L1a0"));
    assert_true(set(&setting, "mode", "shared") && set(&setting, "flag", "true") &&
                set(&setting, "text", "\xc3\xbc"));
    assert_true(set(&setting, "name", "a/b") && set(&setting, "meta", "x\"") &&
                set(&setting, "texts", "a,b,c"));
    assert_true(set(&setting, "leases", "L1,L2ff"));
    struct inner *item = setting_record(&setting, record_field(&outer_record, SLICE("items")));
    *item = (struct inner){5, SLICE("five")};
    item = setting_record(&setting, record_field(&outer_record, SLICE("items")));
    *item = (struct inner){0, SLICE("")};
    item = setting_record(&setting, record_field(&outer_record, SLICE("one")));
    item->number = 1;
    assert_true(setting_done(&setting));
    outer->at_ms = 1000;
    outer->left = 0x1a0;
    outer->hidden = 77;
}

static struct slice json_of(const struct outer *outer)
{
    struct buffer out = {0};
    record_json(&outer_record, outer, &(struct json){&out, false});
    struct slice copy = arena_copy(&arena, buffer_slice(&out));
    buffer_free(&out);
    return copy;
}

static const char full_json[] =
    "{\"count\":9,\"ttl\":2000,\"at\":\"1970-01-01T00:00:01.000Z\",\"lease\":\"L1a0\",\"expires_in_ms\":416,"
    "\"mode\":\"shared\","
    "\"flag\":true,\"text\":\"\xc3\xbc\",\"name\":\"a/"
    "b\",\"meta\":\"x\\\"\",\"texts\":[\"a\",\"b\",\"c\"],\"leases\":[\"L1\",\"L2ff\"],"
    "\"items\":[{\"number\":5,\"text\":\"five\"},{\"number\":0,\"text\":\"\"}],\"one\":{\"number\":1,"
    "\"text\":\"\"}}";

static void every_type_becomes_json(void **state)
{
    (void)state;
    struct outer outer;
    full(&outer);
    assert_true(slice_is(json_of(&outer), full_json));
    begin(&outer);
    assert_true(
        slice_is(json_of(&outer),
                 "{\"count\":0,\"ttl\":0,\"at\":null,\"lease\":null,\"expires_in_ms\":null,\"mode\":null,"
                 "\"flag\":false,\"text\":null,\"name\":\"\",\"meta\":null,\"texts\":[],\"leases\":[],"
                 "\"items\":[],\"one\":null}"));
}

static void binary_form_comes_back_the_same(void **state)
{
    (void)state;
    struct outer outer, back;
    struct buffer bytes = {0}, again = {0};
    full(&outer);
    record_encode(&outer_record, &outer, &bytes);
    assert_true(record_decode(&outer_record, &back, buffer_slice(&bytes), &arena));
    assert_true(slice_is(json_of(&back), full_json));
    assert_int_equal(back.hidden, 77);
    record_encode(&outer_record, &back, &again);
    assert_true(slice_equal(buffer_slice(&bytes), buffer_slice(&again)));
    buffer_free(&again);
    /* Every cut and every changed byte either fails or decodes to something that encodes to just those bytes.
     */
    for (size_t size = 0; size < bytes.size; size++) {
        struct buffer form = {0};
        if (record_decode(&outer_record, &back, slice_of(bytes.data, size), &arena)) {
            record_encode(&outer_record, &back, &form);
            assert_true(slice_equal(slice_of(bytes.data, size), buffer_slice(&form)));
        }
        buffer_free(&form);
    }
    for (size_t i = 0; i < bytes.size; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes.data[i] ^= (uint8_t)(1u << bit);
            record_decode(&outer_record, &back, buffer_slice(&bytes), &arena);
            bytes.data[i] ^= (uint8_t)(1u << bit);
        }
    buffer_free(&bytes);
}

static void decoding_is_strict(void **state)
{
    (void)state;
    struct outer outer;
    const struct slice bad[] = {
        SLICE("\x16\x01"),             /* 11: no such number */
        SLICE("\x10\x01\x02\x01"),     /* numbers fall */
        SLICE("\x02\x01\x02\x01"),     /* twice */
        SLICE("\x02"),                 /* no value */
        SLICE("\x02\x00"),             /* zero is absent */
        SLICE("\x03\x01\x01"),         /* a number with a size */
        SLICE("\x13\x02\x61"),         /* text beyond the end */
        SLICE("\x13\x00"),             /* empty text is absent */
        SLICE("\x10\x02"),             /* a boolean of 2 */
        SLICE("\x1f\x03\x02\x08\x01"), /* a bad record in a list */
        SLICE("\x1b\x02\x05\x61"),     /* a bad text in a list */
        SLICE("\x02\x81\x00"),         /* an overlong varint */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(record_decode(&outer_record, &outer, bad[i], &arena));
    assert_true(record_decode(&outer_record, &outer, SLICE(""), &arena));
}

static uint64_t half(void *context, uint64_t lease)
{
    assert_ptr_equal(context, &arena);
    return lease / 2;
}

static void a_copy_is_deep_and_knows_what_remains(void **state)
{
    (void)state;
    struct arena own = {0};
    struct outer outer;
    full(&outer);
    struct outer *copy = record_copy(&outer_record, &outer, &own, half, &arena);
    assert_int_equal(copy->left, 0x1a0 / 2);
    assert_ptr_not_equal(copy->text.data, outer.text.data);
    assert_ptr_not_equal(copy->one, outer.one);
    assert_ptr_not_equal(((struct slice *)copy->texts.items)[1].data,
                         ((struct slice *)outer.texts.items)[1].data);
    copy->left = outer.left;
    assert_true(slice_is(json_of(copy), full_json));
    assert_int_equal(record_number(&outer_record, copy, "lease"), 0x1a0);
    assert_int_equal(record_number(&outer_record, copy, "text"), 0);
    assert_int_equal(record_number(&outer_record, copy, "nothing"), 0);
    assert_null(record_field(&outer_record, SLICE("hidden")));
    arena_free(&own);
}

static void refused(const char *name, const char *text, const char *complaint)
{
    struct outer outer;
    struct setting setting = begin(&outer);
    assert_false(set(&setting, name, text));
    if (!slice_is(setting.complaint, complaint)) print_message("%.*s\n", SLICE_ARGS(setting.complaint));
    assert_true(slice_is(setting.complaint, complaint));
}

static void refusals_name_the_field(void **state)
{
    (void)state;
    refused("count", "10", "count must be from 1 to 9");
    refused("count", "0", "count must be from 1 to 9");
    refused("count", "-1", "count must be an integer below 2^53");
    refused("count", "9007199254740992", "count must be an integer below 2^53");
    refused("count", "", "count must be an integer below 2^53");
    refused("ttl", "499ms", "ttl must be from 500 ms to 60000 ms");
    refused("at", "253402300800000", "at must be from 0 to 253402300799999"); /* the year 10000 */
    refused("ttl", "2 s", "ttl must be a duration: 30s, 1500ms, 2m, 1h, or an integer of milliseconds");
    refused("lease", "l1", "lease must be a lease's id, such as L32c00");
    refused("mode", "sharedx", "mode must be one of: exclusive, shared");
    refused("flag", "1", "flag must be true or false");
    refused("text", "123456", "text must be 0 to 5 bytes long");
    refused("text", "a\nb", "text must be UTF-8 without control characters");
    refused("text", "\xff", "text must be UTF-8 without control characters");
    refused("name", "", "name must be 1 to 255 bytes long");
    refused("meta", "this is far too long a text", "meta must be at most 20 bytes of JSON");
    refused("texts", "a,b,c,d", "texts must have at most 3 items");
    refused("items", "x", "items cannot be given as text");
}

static void twice_and_missing_are_refused(void **state)
{
    (void)state;
    struct outer outer;
    struct setting setting = begin(&outer);
    assert_true(set(&setting, "count", "4"));
    assert_false(set(&setting, "count", "4"));
    assert_true(slice_is(setting.complaint, "count is given twice"));
    setting = begin(&outer);
    assert_false(setting_done(&setting));
    assert_true(slice_is(setting.complaint, "name is missing"));
    setting = begin(&outer);
    assert_true(set(&setting, "name", "x") && setting_done(&setting));
    assert_int_equal(outer.count, 3);
    setting = begin(&outer);
    const struct field *items = record_field(&outer_record, SLICE("items"));
    assert_non_null(setting_record(&setting, items));
    assert_non_null(setting_record(&setting, items));
    assert_null(setting_record(&setting, items));
}

static void durations_and_leases_read_as_people_write_them(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"0", 0},       {"1500", 1500},    {"1500ms", 1500}, {"30s", 30000},
                {"2m", 120000}, {"24h", 86400000}, {"7d", 604800000}};
    uint64_t ms;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(duration_from_text(slice_text(good[i].text), &ms) && ms == good[i].ms);
    static const char *const bad[] = {
        "", "s", "1.5s", "-1s", "1w", "1S", "99999999999999999s", "9007199254740991h", "1s ", "+1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(duration_from_text(slice_text(bad[i]), &ms));
    assert_int_equal(lease_from_text(SLICE("L32c00")), 0x32c00);
    static const char *const not_leases[] = {"",    "L", "L0", "L0a", "LA", "32c00", "L1234567890abcdef0",
                                             "L12x"};
    for (size_t i = 0; i < sizeof not_leases / sizeof *not_leases; i++)
        assert_int_equal(lease_from_text(slice_text(not_leases[i])), 0);
}

static int done(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_becomes_json),
        cmocka_unit_test(binary_form_comes_back_the_same),
        cmocka_unit_test(decoding_is_strict),
        cmocka_unit_test(a_copy_is_deep_and_knows_what_remains),
        cmocka_unit_test(refusals_name_the_field),
        cmocka_unit_test(twice_and_missing_are_refused),
        cmocka_unit_test(durations_and_leases_read_as_people_write_them),
    };
    return cmocka_run_group_tests(tests, NULL, done);
}
