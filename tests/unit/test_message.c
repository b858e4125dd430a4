// links: lib
/* Messages of Raft as bytes: what goes in comes out, and nothing else is taken. */
#include "raft/message.h"
#include "tests/unit/cmocka_all.h"

static void same_message(const struct raft_message *a, const struct raft_message *b)
{
    assert_true(a->kind == b->kind && a->from == b->from && a->to == b->to && a->term == b->term);
    assert_true(a->index == b->index && a->log_term == b->log_term && a->chain == b->chain);
    assert_true(a->commit == b->commit && a->round == b->round);
    assert_true(a->reject == b->reject && a->transfer == b->transfer && a->entry_count == b->entry_count);
    for (size_t i = 0; i < a->entry_count; i++) {
        const struct raft_entry *one = &a->entries[i], *other = &b->entries[i];
        assert_true(one->index == other->index && one->term == other->term && one->kind == other->kind);
        assert_true(one->chain == other->chain && slice_equal(one->payload, other->payload));
    }
}

static void there_and_back(const struct raft_message *message)
{
    struct buffer bytes = {0};
    struct arena arena = {0};
    struct raft_message back;
    raft_message_encode(message, &bytes);
    assert_true(raft_message_decode(buffer_slice(&bytes), &arena, &back));
    same_message(message, &back);
    for (size_t size = 0; size < bytes.size; size++)
        assert_false(raft_message_decode(slice_of(bytes.data, size), &arena, &back));
    buffer_add_byte(&bytes, 0);
    assert_false(raft_message_decode(buffer_slice(&bytes), &arena, &back));
    buffer_free(&bytes);
    arena_free(&arena);
}

static void every_kind_there_and_back(void **state)
{
    (void)state;
    for (int kind = RAFT_PRE_VOTE; kind <= RAFT_TIMEOUT_NOW; kind++) {
        struct raft_message message = {.kind = (enum raft_message_kind)kind,
                                       .from = UINT64_MAX,
                                       .to = 1,
                                       .term = 300,
                                       .index = 1u << 30,
                                       .log_term = 299,
                                       .chain = 0xdeadbeef,
                                       .commit = 127,
                                       .round = 128,
                                       .reject = kind % 2 == 0,
                                       .transfer = kind % 3 == 0};
        there_and_back(&message);
    }
    there_and_back(&(struct raft_message){.kind = RAFT_APPEND}); /* all least */
}

static void entries_there_and_back(void **state)
{
    (void)state;
    struct raft_entry entries[] = {
        {.index = 8, .term = 3, .kind = RAFT_NOOP, .chain = 1},
        {.index = 9, .term = 3, .kind = RAFT_COMMAND, .chain = 2, .payload = SLICE("a command")},
        {.index = 10, .term = 4, .kind = RAFT_CONFIG, .chain = 3, .payload = SLICE("\0")}};
    struct raft_message message = {
        .kind = RAFT_APPEND, .from = 1, .to = 2, .term = 4, .index = 7, .entries = entries, .entry_count = 3};
    there_and_back(&message);
}

static void big_payloads_are_not_copied(void **state)
{
    (void)state;
    struct buffer bytes = {0}, payload = {0};
    struct arena arena = {0};
    struct raft_message back;
    memset(buffer_reserve(&payload, RAFT_PAYLOAD_MAX + 1), 'x', RAFT_PAYLOAD_MAX + 1);
    for (size_t over = 0; over < 2; over++) {
        payload.size = RAFT_PAYLOAD_MAX + over;
        struct raft_entry entry = {
            .index = 1, .term = 1, .kind = RAFT_COMMAND, .payload = buffer_slice(&payload)};
        struct raft_message message = {.kind = RAFT_APPEND, .entries = &entry, .entry_count = 1};
        bytes.size = 0;
        raft_message_encode(&message, &bytes);
        assert_int_equal(raft_message_decode(buffer_slice(&bytes), &arena, &back), over == 0);
        if (over) continue;
        const uint8_t *at = back.entries[0].payload.data;
        assert_true(at >= bytes.data && at < bytes.data + bytes.size);
    }
    buffer_free(&payload);
    buffer_free(&bytes);
    arena_free(&arena);
}

/* One byte of a good message changed to what encode does not make. */
static void what_encode_does_not_make_is_refused(void **state)
{
    (void)state;
    enum { KIND = 0, FLAGS = 1, TERM = 18, INDEX = 19, COUNT = 27, ENTRY_KIND = 29, SIZE = 34 };
    struct raft_entry entry = {.index = 1, .term = 1, .kind = RAFT_COMMAND, .payload = SLICE("p")};
    struct raft_message back,
        message = {.kind = RAFT_APPEND, .from = 1, .to = 2, .term = 1, .entries = &entry, .entry_count = 1};
    struct {
        size_t place;
        uint8_t byte;
    } bad[] = {{KIND, 0},
               {KIND, RAFT_TIMEOUT_NOW + 1},
               {KIND, RAFT_VOTE /* with entries */},
               {FLAGS, 4},
               {TERM, 0x80 /* not the shortest */},
               {COUNT, 0},
               {COUNT, 2},
               {COUNT, 0x7f},
               {ENTRY_KIND, 0},
               {ENTRY_KIND, 4},
               {SIZE, 2}};
    struct buffer bytes = {0};
    struct arena arena = {0};
    raft_message_encode(&message, &bytes);
    assert_true(raft_message_decode(buffer_slice(&bytes), &arena, &back));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t good = bytes.data[bad[i].place];
        bytes.data[bad[i].place] = bad[i].byte;
        assert_false(raft_message_decode(buffer_slice(&bytes), &arena, &back));
        bytes.data[bad[i].place] = good;
    }
    message.index = UINT64_MAX; /* its entries would begin at 0 */
    bytes.size = 0;
    raft_message_encode(&message, &bytes);
    assert_false(raft_message_decode(buffer_slice(&bytes), &arena, &back));
    buffer_free(&bytes);
    arena_free(&arena);
}

/* Whatever bit is wrong: refused, or another message, whose bytes are just those (no two ways to say one
 * thing).
 */
static void every_flipped_bit_is_refused_or_means_another(void **state)
{
    (void)state;
    struct raft_entry entries[] = {
        {.index = 300, .term = 200, .kind = RAFT_COMMAND, .chain = 7, .payload = SLICE("a command")},
        {.index = 301, .term = 201, .kind = RAFT_NOOP, .chain = 8}};
    struct raft_message back, message = {.kind = RAFT_APPEND,
                                         .from = 1,
                                         .to = 2,
                                         .term = 201,
                                         .index = 299,
                                         .log_term = 200,
                                         .commit = 298,
                                         .round = 9,
                                         .entries = entries,
                                         .entry_count = 2};
    struct buffer bytes = {0}, again = {0};
    struct arena arena = {0};
    size_t refused = 0;
    raft_message_encode(&message, &bytes);
    for (size_t bit = 0; bit < 8 * bytes.size; bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (raft_message_decode(buffer_slice(&bytes), &arena, &back)) {
            again.size = 0;
            raft_message_encode(&back, &again);
            assert_true(slice_equal(buffer_slice(&bytes), buffer_slice(&again)));
        } else {
            refused++;
        }
        bytes.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(refused > 0 && refused < 8 * bytes.size);
    buffer_free(&again);
    buffer_free(&bytes);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_there_and_back),
        cmocka_unit_test(entries_there_and_back),
        cmocka_unit_test(big_payloads_are_not_copied),
        cmocka_unit_test(what_encode_does_not_make_is_refused),
        cmocka_unit_test(every_flipped_bit_is_refused_or_means_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
