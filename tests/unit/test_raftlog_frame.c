// links: storage lib
/* The bytes of the log: what is written is read back, and nothing else passes. */
#include "base/crc32c.h"
#include "storage/frame.h"
#include "tests/unit/cmocka_all.h"

static const struct segment_header sample_header = {
    .number = 7,
    .segment_bytes = 65536,
    .identity = {11, 22, "n1"},
    .state_dir = "state-3",
    .frame_number = 900,
    .frame_crc = 33,
    .base_chain = 44,
    .base_index = 55,
    .base_term = 6,
    .hard = {8, 22, 54},
    .anew = true,
    .config = {.members[0] = {.node = 22, .membership = RAFT_VOTER},
               .members[1] = {.node = 23, .membership = RAFT_VOTER},
               .members[2] = {.node = 24, .membership = RAFT_VOTER},
               .member_count = 3}};

static void a_header_comes_back(void **state)
{
    (void)state;
    struct buffer bytes = {0};
    struct segment_header back;
    segment_header_encode(&sample_header, &bytes);
    assert_int_equal(bytes.size, SEGMENT_HEADER_SIZE);
    assert_int_equal(segment_header_decode(buffer_slice(&bytes), &back), HEADER_GOOD);
    assert_int_equal(back.number, 7);
    assert_int_equal(back.segment_bytes, 65536);
    assert_int_equal(back.identity.cluster, 11);
    assert_int_equal(back.identity.node, 22);
    assert_string_equal(back.identity.name, "n1");
    assert_string_equal(back.state_dir, "state-3");
    assert_int_equal(back.frame_number, 900);
    assert_int_equal(back.frame_crc, 33);
    assert_int_equal(back.base_chain, 44);
    assert_int_equal(back.base_index, 55);
    assert_int_equal(back.base_term, 6);
    assert_memory_equal(&back.hard, &sample_header.hard, sizeof back.hard);
    assert_true(back.anew);
    assert_memory_equal(&back.config, &sample_header.config, sizeof back.config);
    struct segment_header other = sample_header;
    other.anew = false;
    other.config = (struct raft_config){0};
    bytes.size = 0;
    segment_header_encode(&other, &bytes);
    assert_int_equal(segment_header_decode(buffer_slice(&bytes), &back), HEADER_GOOD);
    assert_false(back.anew);
    assert_int_equal(back.config.member_count, 0);
    buffer_free(&bytes);
}

static void every_damaged_bit_of_a_header_is_noticed(void **state)
{
    (void)state;
    struct buffer bytes = {0};
    struct segment_header back;
    segment_header_encode(&sample_header, &bytes);
    for (size_t at = 0; at < SEGMENT_HEADER_SIZE; at++)
        for (int bit = 0; bit < 8; bit++) {
            bytes.data[at] ^= (uint8_t)(1 << bit);
            enum header_fault expected = at < 8 ? HEADER_FOREIGN : at < 12 ? HEADER_FORMAT : HEADER_DAMAGED;
            assert_int_equal(segment_header_decode(buffer_slice(&bytes), &back), expected);
            bytes.data[at] ^= (uint8_t)(1 << bit);
        }
    assert_int_equal(segment_header_decode(slice_of(bytes.data, bytes.size - 1), &back), HEADER_FOREIGN);
    buffer_free(&bytes);
}

static void sample_entries(struct raft_entry entries[3])
{
    entries[0] = (struct raft_entry){5, 2, RAFT_COMMAND, 0, SLICE("a payload of twenty-one")};
    entries[1] = (struct raft_entry){6, 2, RAFT_NOOP, 0, {0}};
    entries[2] = (struct raft_entry){7, 3, RAFT_CONFIG, 0, SLICE("12345678")};
    uint32_t chain = 99;
    for (size_t i = 0; i < 3; i++) chain = entries[i].chain = raft_chain(chain, &entries[i]);
}

static const struct frame sample_frame = {.number = 12, .before = 77, .entry_count = 3, .hard = {3, 22, 4}};

static void a_frame_comes_back(void **state)
{
    (void)state;
    struct raft_entry entries[3], back;
    struct buffer bytes = {0};
    struct frame frame;
    sample_entries(entries);
    uint64_t size = FRAME_HEAD_SIZE;
    for (size_t i = 0; i < 3; i++) size += frame_entry_size(entries[i].payload.size);
    uint32_t crc = frame_encode(&sample_frame, entries, 1234, &bytes);
    assert_int_equal(bytes.size, size);
    buffer_add(&bytes, "what comes after", 16);
    assert_true(frame_decode(buffer_slice(&bytes), 1234, &frame));
    assert_int_equal(frame.size, size);
    assert_int_equal(frame.crc, crc);
    assert_int_equal(frame.number, 12);
    assert_int_equal(frame.before, 77);
    assert_memory_equal(&frame.hard, &sample_frame.hard, sizeof frame.hard);
    for (size_t i = 0; i < 3; i++) {
        assert_true(frame_take_entry(&frame.entries, &back));
        assert_int_equal(back.index, entries[i].index);
        assert_int_equal(back.term, entries[i].term);
        assert_int_equal(back.kind, entries[i].kind);
        assert_int_equal(back.chain, entries[i].chain);
        assert_true(slice_equal(back.payload, entries[i].payload));
    }
    assert_false(frame_take_entry(&frame.entries, &back));
    buffer_free(&bytes);
}

static void nothing_else_passes_as_a_frame(void **state)
{
    (void)state;
    struct raft_entry entries[3];
    struct buffer bytes = {0};
    struct frame frame;
    sample_entries(entries);
    frame_encode(&sample_frame, entries, 1234, &bytes);
    for (size_t i = 0; i < bytes.size * 8; i++) {
        bytes.data[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_false(frame_decode(buffer_slice(&bytes), 1234, &frame));
        bytes.data[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t size = 0; size < bytes.size; size++)
        assert_false(frame_decode(slice_of(bytes.data, size), 1234, &frame));
    assert_false(frame_decode(buffer_slice(&bytes), 1235, &frame)); /* of another node */
    assert_true(frame_decode(buffer_slice(&bytes), 1234, &frame));
    uint8_t zeroes[256] = {0};
    assert_false(frame_decode(slice_of(zeroes, sizeof zeroes), 0, &frame));
    buffer_free(&bytes);
}

/* Right checksums over wrong contents: what only a bug could write. */
static void entries_must_fill_their_frame_exactly(void **state)
{
    (void)state;
    struct raft_entry entries[3];
    struct buffer bytes = {0};
    struct frame frame = sample_frame, back;
    sample_entries(entries);
    frame.entry_count = 2;
    frame_encode(&frame, entries, 1, &bytes);
    for (size_t at = 20, count = 0; count < 4; count++) { /* another entry count */
        struct buffer copy = {0};
        buffer_add_slice(&copy, buffer_slice(&bytes));
        copy.data[at] = (uint8_t)count;
        uint32_t crc = crc32c(crc32c(1, copy.data, 4), copy.data + 8, copy.size - 8);
        memcpy(copy.data + 4, &crc, 4);
        assert_int_equal(frame_decode(buffer_slice(&copy), 1, &back), count == 2);
        buffer_free(&copy);
    }
    const struct {
        size_t at;
        uint8_t value;
    } wrong[] = {{48 + 20, 0}, {48 + 20, 4}, {48 + 23, 1}, {48 + 24, 200}, {48 + 27, 255}, {48 + 28, 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct slice rest = slice_of(bytes.data + FRAME_HEAD_SIZE, bytes.size - FRAME_HEAD_SIZE),
                     before = rest;
        struct raft_entry entry;
        uint8_t was = bytes.data[wrong[i].at];
        bytes.data[wrong[i].at] = wrong[i].value;
        assert_false(frame_take_entry(&rest, &entry));
        assert_true(rest.data == before.data && rest.size == before.size);
        bytes.data[wrong[i].at] = was;
    }
    buffer_free(&bytes);
}

static void seeds_differ_by_both_ids(void **state)
{
    (void)state;
    struct raftlog_identity a = {1, 2, "x"}, b = {1, 3, "x"}, c = {2, 2, "x"}, d = {1, 2, "y"};
    assert_int_not_equal(frame_seed(&a), frame_seed(&b));
    assert_int_not_equal(frame_seed(&a), frame_seed(&c));
    assert_int_equal(frame_seed(&a), frame_seed(&d)); /* names may change */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_comes_back),
        cmocka_unit_test(every_damaged_bit_of_a_header_is_noticed),
        cmocka_unit_test(a_frame_comes_back),
        cmocka_unit_test(nothing_else_passes_as_a_frame),
        cmocka_unit_test(entries_must_fill_their_frame_exactly),
        cmocka_unit_test(seeds_differ_by_both_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
