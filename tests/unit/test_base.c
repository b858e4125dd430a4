// links: lib
/* The ground floor: slices, arenas, buffers, maps, timers, CRC-32C, JSON out. */
#include "base/arena.h"
#include "base/buffer.h"
#include "base/crc32c.h"
#include "base/heap.h"
#include "base/json.h"
#include "base/map.h"
#include "base/memory.h"
#include "tests/unit/cmocka_all.h"

static void slices_order_like_keys(void **state)
{
    (void)state;
    assert_true(slice_compare(SLICE("a"), SLICE("ab")) < 0);
    assert_true(slice_compare(SLICE("b"), SLICE("ab")) > 0);
    assert_true(slice_compare(SLICE(""), SLICE("")) == 0);
    assert_true(slice_starts_with(SLICE("abc"), SLICE("ab")) && !slice_starts_with(SLICE("a"), SLICE("ab")));
}

static void arena_blocks_are_zeroed_aligned_and_stay(void **state)
{
    (void)state;
    struct arena arena = {0};
    uint8_t *first = arena_alloc(&arena, 3);
    memset(first, 7, 3);
    for (size_t i = 0; i < 2000; i++) {
        uint8_t *block = arena_alloc(&arena, i);
        assert_int_equal((uintptr_t)block % 16, 0);
        for (size_t k = 0; k < i; k++) assert_int_equal(block[k], 0);
        memset(block, 0xff, i);
    }
    assert_int_equal(first[2], 7);
    arena_reset(&arena);
    uint8_t *again = arena_alloc(&arena, 100);
    assert_int_equal(again[99], 0);
    assert_true(slice_is(arena_printf(&arena, "%d-%s", 7, "x"), "7-x"));
    arena_free(&arena);
}

static void varints_are_exact_and_shortest(void **state)
{
    (void)state;
    const uint64_t values[] = {0, 1, 127, 128, 300, 16383, 16384, UINT32_MAX, UINT64_MAX - 1, UINT64_MAX};
    struct buffer buffer = {0};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) buffer_add_varint(&buffer, values[i]);
    struct slice rest = buffer_slice(&buffer);
    uint64_t value;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        assert_true(take_varint(&rest, &value));
        assert_true(value == values[i]);
    }
    assert_int_equal(rest.size, 0);
    assert_false(take_varint(&rest, &value));
    struct slice padded = SLICE("\x80\x00"), cut = SLICE("\x80"),
                 wide = SLICE("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02");
    assert_false(take_varint(&padded, &value));
    assert_false(take_varint(&cut, &value));
    assert_false(take_varint(&wide, &value));
    assert_int_equal(cut.size, 1); /* nothing taken */
    buffer_free(&buffer);
}

static void fixed_numbers_come_back(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    buffer_add_u32le(&buffer, 0x01020304);
    buffer_add_u64le(&buffer, 0x0102030405060708);
    buffer_add_u64be(&buffer, 0x0102030405060708);
    assert_int_equal(buffer.data[0], 4);
    assert_int_equal(buffer.data[12], 1);
    struct slice rest = buffer_slice(&buffer);
    uint32_t small;
    uint64_t value;
    assert_true(take_u32le(&rest, &small) && small == 0x01020304);
    assert_true(take_u64le(&rest, &value) && value == 0x0102030405060708);
    assert_true(take_u64be(&rest, &value) && value == 0x0102030405060708);
    assert_false(take_u32le(&rest, &small));
    buffer_free(&buffer);
}

static void crc32c_knows_the_test_vectors(void **state)
{
    (void)state;
    uint8_t bytes[32] = {0};
    assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa); /* RFC 3720 B.4 */
    memset(bytes, 0xff, 32);
    assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

/* Against a plain array; keys that collide and wrap are frequent at this size. */
static void map_agrees_with_an_array(void **state)
{
    (void)state;
    static uint64_t seen[512];
    struct map map = {0};
    uint64_t random = 1;
    size_t count = 0;
    for (int i = 0; i < 200000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t key = 1 + (random >> 40) % 511;
        if (random >> 63) {
            count += !seen[key];
            seen[key] = (uint64_t)i + 1;
            map_put(&map, key << 32, (void *)(uintptr_t)seen[key]);
        } else {
            assert_true((uint64_t)(uintptr_t)map_remove(&map, key << 32) == seen[key]);
            count -= seen[key] != 0;
            seen[key] = 0;
        }
        assert_int_equal(map.count, count);
    }
    for (uint64_t key = 1; key < 512; key++)
        assert_true((uint64_t)(uintptr_t)map_get(&map, key << 32) == seen[key]);
    map_free(&map);
}

static void heap_gives_timers_in_order(void **state)
{
    (void)state;
    static struct timer timers[300];
    struct heap heap = {0};
    uint64_t random = 9;
    for (int i = 0; i < 3000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        struct timer *timer = &timers[(random >> 33) % 300];
        if ((random >> 60) % 3)
            heap_set(&heap, timer, (random >> 40) % 1000);
        else
            heap_remove(&heap, timer);
    }
    uint64_t last = 0;
    assert_true(heap.count > 0);
    for (struct timer *first; (first = heap_first(&heap)); last = first->at_ms) {
        assert_true(first->at_ms >= last);
        heap_remove(&heap, first);
        assert_int_equal(first->place, 0);
    }
    heap_free(&heap);
}

static void json_escapes_and_separates(void **state)
{
    (void)state;
    struct buffer buffer = {0};
    struct json json = {&buffer, false};
    json_open(&json, '{');
    json_key(&json, "a");
    json_text(&json, SLICE("q\" \\ \n \x01 \x7f \xc3\xbc"));
    json_key(&json, "b");
    json_open(&json, '[');
    json_uint(&json, UINT64_MAX);
    json_bool(&json, true);
    json_null(&json);
    json_open(&json, '{');
    json_close(&json, '}');
    json_close(&json, ']');
    json_key(&json, "t");
    json_time(&json, 951782400123u); /* a leap day */
    json_close(&json, '}');
    assert_true(slice_is(
        buffer_slice(&buffer),
        "{\"a\":\"q\\\" \\\\ \\n \\u0001 \\u007f \xc3\xbc\",\"b\":[18446744073709551615,true,null,{}],"
        "\"t\":\"2000-02-29T00:00:00.123Z\"}"));
    buffer_free(&buffer);
}

static void utf8_is_judged_strictly(void **state)
{
    (void)state;
    static const char *const good[] = {
        "", "a", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xc3",
                                      "\xe2\x82",
                                      "\xff"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(utf8_valid(slice_text(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(utf8_valid(slice_text(bad[i])));
    assert_false(utf8_valid(SLICE("a\0b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_order_like_keys),
        cmocka_unit_test(arena_blocks_are_zeroed_aligned_and_stay),
        cmocka_unit_test(varints_are_exact_and_shortest),
        cmocka_unit_test(fixed_numbers_come_back),
        cmocka_unit_test(crc32c_knows_the_test_vectors),
        cmocka_unit_test(map_agrees_with_an_array),
        cmocka_unit_test(heap_gives_timers_in_order),
        cmocka_unit_test(json_escapes_and_separates),
        cmocka_unit_test(utf8_is_judged_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
