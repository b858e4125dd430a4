// links: storage lib
/* Opening what a power cut or a bad disk left: a torn tail is cut, everything else is refused with a line
 * that says what to do. */
#include "base/crc32c.h"
#include "storage/frame.h"
#include "tests/unit/raftlog_test.h"

static void must_refuse(struct fixture *f, const char *text)
{
    close_log(f);
    if (open_log(f)) fail_msg("opened, instead of refusing because of \"%s\"", text);
    if (!strstr(f->error, text)) fail_msg("said \"%s\", not \"%s\"", f->error, text);
    assert_null(strchr(f->error, '\n'));
}

static void check_cut(struct fixture *f, bool cut)
{
    assert_int_equal(f->found.cut_bytes > 0, cut);
}

/* Where the frames of a segment begin, and where the last one ends. */
static size_t frame_starts(const char *path, uint32_t starts[100])
{
    size_t count = 0;
    uint32_t at = SEGMENT_HEADER_SIZE, size;
    for (;; at += size) {
        starts[count++] = at;
        read_at(path, at, &size, sizeof size);
        if (size == 0) return count - 1;
    }
}

static void a_torn_last_frame_is_cut_wherever_it_tore(void **state)
{
    struct fixture *f = *state;
    uint32_t starts[100];
    uint8_t whole[SEGMENT], torn[SEGMENT];
    append(f, 1, 2, 1, 50);
    close_log(f);
    open_log(f);
    struct raft_hard before = f->hard;
    append(f, 3, 4, 2, 704); /* without zeroes at its end, which would not be missed */
    size_t count = frame_starts(segment(f, 1), starts);
    read_at(segment(f, 1), 0, whole, sizeof whole);
    f->hard = before;
    f->last = 2;
    for (uint32_t kept = starts[count - 1]; kept < starts[count]; kept += 1 + kept % 5) {
        close_log(f);
        memcpy(torn, whole, sizeof torn);
        memset(torn + kept, 0, sizeof torn - kept);
        write_at(segment(f, 1), 0, torn, sizeof torn);
        reopen(f);
        check_cut(f, kept > starts[count - 1]);
        reopen(f);
        check_cut(f, false);
    }
}

/* Any part of the last frame may be missing, its beginning too. */
static void a_last_frame_with_holes_is_cut(void **state)
{
    struct fixture *f = *state;
    uint32_t starts[100];
    uint8_t whole[SEGMENT], torn[SEGMENT];
    append(f, 1, 2, 1, 50);
    struct raft_hard before = f->hard;
    append(f, 3, 5, 2, 2000);
    size_t count = frame_starts(segment(f, 1), starts);
    read_at(segment(f, 1), 0, whole, sizeof whole);
    f->hard = before;
    f->last = 2;
    for (uint32_t lost = 1; lost < 4000; lost = lost * 7 % 4096 + 1) {
        close_log(f);
        memcpy(torn, whole, sizeof torn);
        for (uint32_t sector = 0; sector * 512 < starts[count]; sector++) {
            uint32_t from = sector * 512 < starts[count - 1] ? starts[count - 1] : sector * 512,
                     to = sector * 512 + 512;
            if (to > from && lost >> (sector % 12) & 1) memset(torn + from, 0, to - from);
        }
        if (memcmp(torn, whole, sizeof torn) == 0) continue;
        write_at(segment(f, 1), 0, torn, sizeof torn);
        reopen(f);
        check_cut(f, true);
        append(f, 3, 3, 2, 10);
        reopen(f);
        f->hard = before;
        f->last = 2;
    }
}

/* A long frame is torn and cut, a short one takes its place, and then its successor is as long as to end
 * where the old one had more. */
static void what_was_cut_never_stands_behind_a_new_frame(void **state)
{
    struct fixture *f = *state;
    uint32_t starts[100];
    append(f, 1, 1, 1, 50);
    append(f, 2, 3, 1, 3000);
    size_t count = frame_starts(segment(f, 1), starts);
    close_log(f);
    flip_at(segment(f, 1), starts[count - 1] + 60, 1);
    f->last = 1;
    reopen(f);
    check_cut(f, true);
    append(f, 2, 2, 1, 0);
    close_log(f);
    uint8_t rest[SEGMENT];
    count = frame_starts(segment(f, 1), starts);
    read_at(segment(f, 1), 0, rest, sizeof rest);
    for (size_t i = starts[count]; i < sizeof rest; i++) assert_int_equal(rest[i], 0);
    reopen(f);
    check_cut(f, false);
}

static void garbage_behind_the_end_is_cut(void **state)
{
    struct fixture *f = *state;
    append(f, 1, 3, 1, 50);
    close_log(f);
    write_at(segment(f, 1), SEGMENT - 9, "garbage", 7);
    reopen(f);
    check_cut(f, true);
}

static void every_flipped_byte_before_the_last_frame_is_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t starts[100];
    for (uint64_t i = 1; i <= 4; i++) append(f, i, i, i, 40);
    size_t count = frame_starts(segment(f, 1), starts);
    for (uint32_t at = starts[0]; at < starts[count - 1]; at++) {
        flip_at(segment(f, 1), at, 0x10);
        must_refuse(f, "a bad record lies before good ones");
        assert_non_null(strstr(f->error, "0000000001.log is damaged at byte "));
        flip_at(segment(f, 1), at, 0x10);
    }
    reopen(f);
}

static void every_flipped_byte_of_the_last_frame_loses_only_that(void **state)
{
    struct fixture *f = *state;
    uint32_t starts[100];
    uint8_t whole[SEGMENT];
    append(f, 1, 1, 1, 40);
    append(f, 2, 2, 2, 40);
    struct raft_hard before = f->hard;
    append(f, 3, 3, 3, 40);
    size_t count = frame_starts(segment(f, 1), starts);
    read_at(segment(f, 1), 0, whole, sizeof whole);
    f->hard = before;
    f->last = 2;
    for (uint32_t at = starts[count - 1]; at < starts[count]; at++) {
        close_log(f);
        write_at(segment(f, 1), 0, whole, sizeof whole);
        flip_at(segment(f, 1), at, 0x01);
        reopen(f);
        check_cut(f, true);
    }
}

static void a_frame_that_vanished_is_missed(void **state)
{
    struct fixture *f = *state;
    uint32_t starts[100];
    uint8_t whole[SEGMENT], holed[SEGMENT];
    for (uint64_t i = 1; i <= 5; i++) append(f, i, i, 1, 40);
    size_t count = frame_starts(segment(f, 1), starts);
    read_at(segment(f, 1), 0, whole, sizeof whole);
    for (size_t i = 0; i + 1 < count; i++) {
        memcpy(holed, whole, sizeof holed);
        memset(holed + starts[i], 0, starts[i + 1] - starts[i]); /* as if never written */
        write_at(segment(f, 1), 0, holed, sizeof holed);
        must_refuse(f, "a bad record lies before good ones");
        memcpy(holed + starts[i], whole + starts[i + 1], sizeof holed - starts[i + 1]); /* closed up */
        write_at(segment(f, 1), 0, holed, sizeof holed);
        must_refuse(f, "a record does not follow the one before");
    }
}

static void damage_in_an_earlier_segment_is_refused_even_in_its_last_frame(void **state)
{
    struct fixture *f = *state;
    uint32_t starts[100];
    for (uint64_t i = 1; i <= 40; i++) append(f, i, i, 1, 1000);
    size_t count = frame_starts(segment(f, 2), starts);
    uint8_t whole[SEGMENT], holed[SEGMENT];
    read_at(segment(f, 2), 0, whole, sizeof whole);
    memcpy(holed, whole, sizeof holed);
    flip_at(segment(f, 2), starts[count - 1] + 50, 4);
    must_refuse(f, "a bad record lies before good ones");
    memset(holed + starts[count - 1], 0, starts[count] - starts[count - 1]);
    write_at(segment(f, 2), 0, holed, sizeof holed);
    must_refuse(f, "the segment before it does not end where this one begins");
    write_at(segment(f, 2), 0, whole, sizeof whole);
    write_at(segment(f, 2), SEGMENT - 1, "x", 1);
    must_refuse(f, "a bad record lies before good ones");
    write_at(segment(f, 2), 0, whole, sizeof whole);
    reopen(f);
}

static void a_bad_header_is_refused(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 30; i++) append(f, i, i, 1, 1000);
    for (unsigned number = 1; number <= 2; number++)
        for (off_t at = 0; at < SEGMENT_HEADER_SIZE; at += at < 280 ? 1 : 257) {
            flip_at(segment(f, number), at, 0x20);
            must_refuse(
                f, at < 8    ? "does not begin as a log does"
                   : at < 12 ? "has another format than this coordd reads (2); run the version that wrote it"
                             : "wrong checksum");
            flip_at(segment(f, number), at, 0x20);
        }
    reopen(f);
}

static void segments_that_are_missing_short_or_renamed_are_refused(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 45; i++) append(f, i, i, 1, 1000);
    close_log(f);
    assert_int_equal(rename(segment(f, 2), path_in(f->dir, "x")), 0);
    must_refuse(f, "0000000002.log is missing, but later segments are there");
    assert_int_equal(rename(segment(f, 3), segment(f, 2)), 0);
    assert_int_equal(rename(path_in(f->dir, "x"), segment(f, 3)), 0);
    must_refuse(f, "has the name of another segment");
    assert_int_equal(rename(segment(f, 3), path_in(f->dir, "x")), 0);
    assert_int_equal(rename(segment(f, 2), segment(f, 3)), 0);
    assert_int_equal(rename(path_in(f->dir, "x"), segment(f, 2)), 0);
    reopen(f);
    assert_int_equal(truncate(segment(f, 2), SEGMENT - 1), 0);
    must_refuse(f, "the file does not end where it should");
    assert_int_equal(truncate(segment(f, 2), 100), 0);
    must_refuse(f, "the file ends there");
}

static void the_first_segment_may_only_be_missing_when_the_next_begins_there(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 30; i++) append(f, i, i, 1, 1000);
    close_log(f);
    assert_int_equal(remove(segment(f, 1)), 0);
    assert_true(open_log(f)); /* as if trimmed: the state, which must reach the base, decides */
    assert_true(f->found.base_index > 5);
    reopen(f);
}

static void no_log_and_other_logs_are_refused(void **state)
{
    struct fixture *f = *state, other = {.root = f->root};
    for (uint64_t i = 1; i <= 30; i++) append(f, i, i, 1, 1000);
    struct raftlog_creation foreign = creation;
    foreign.identity.node = 99;
    snprintf(other.dir, sizeof other.dir, "%s/other", f->root);
    assert_int_equal(mkdir(other.dir, 0700), 0);
    must_refuse(&other, "there is no log in");
    assert_int_equal(raftlog_create(other.dir, &foreign, f->error, sizeof f->error), 0);
    assert_true(open_log(&other));
    for (uint64_t i = 1; i <= 30; i++) append(&other, i, i, 1, 1000);
    close_log(&other);
    close_log(f);
    assert_int_equal(rename(segment(&other, 2), segment(f, 2)), 0);
    must_refuse(f, "belongs to another node's log");
    /* a foreign frame behind the own ones is no frame at all */
    arena_free(&other.arena);
    snprintf(other.dir, sizeof other.dir, "%s/none", f->root);
    must_refuse(&other, "cannot be read or written: No such file or directory");
}

/* Good checksums over a history that cannot be. */
static void write_forged(struct fixture *f, struct frame frame, const struct raft_entry *entries,
                         const char *text)
{
    uint32_t starts[100];
    struct buffer bytes = {0};
    struct frame last;
    uint8_t whole[SEGMENT];
    close_log(f);
    size_t count = frame_starts(segment(f, 1), starts);
    read_at(segment(f, 1), 0, whole, sizeof whole);
    uint32_t seed = frame_seed(&creation.identity);
    assert_true(frame_decode(slice_of(whole + starts[count - 1], SEGMENT - starts[count - 1]), seed, &last));
    frame.number = last.number + 1;
    frame.before = last.crc;
    frame_encode(&frame, entries, seed, &bytes);
    write_at(segment(f, 1), starts[count], bytes.data, bytes.size);
    if (text)
        must_refuse(f, text);
    else
        assert_true(open_log(f));
    close_log(f);
    write_at(segment(f, 1), 0, whole, sizeof whole);
    buffer_free(&bytes);
}

static void impossible_histories_are_refused(void **state)
{
    struct fixture *f = *state;
    append(f, 1, 2, 2, 10);
    f->hard.commit = 1;
    append(f, 3, 3, 2, 10);
    struct raft_entry good = {4, 2, RAFT_NOOP, 0, {0}}, bad;
    good.chain = raft_chain(f->entries[3].chain, &good);
    struct frame with = {.entry_count = 1, .hard = {2, 72, 1}}, without = {.hard = {2, 72, 1}};
    write_forged(f, with, &good, NULL);
    bad = good, bad.index = 5;
    write_forged(f, with, &bad, "does not follow the one before");
    bad = good, bad.index = 1; /* committed */
    write_forged(f, with, &bad, "does not follow the one before");
    bad = good, bad.chain ^= 1;
    write_forged(f, with, &bad, "does not fit its chain");
    bad = good, bad.term = 1;
    bad.chain = raft_chain(f->entries[3].chain, &bad);
    write_forged(f, with, &bad, "does not fit its chain");
    bad = good, bad.kind = RAFT_CONFIG;
    bad.chain = raft_chain(f->entries[3].chain, &bad);
    write_forged(f, with, &bad, "a configuration cannot be read");
    without.hard = (struct raft_hard){1, 72, 1};
    write_forged(f, without, NULL, "term and vote do not fit");
    without.hard = (struct raft_hard){2, 73, 1};
    write_forged(f, without, NULL, "term and vote do not fit");
    bad = good, bad.term = 3;
    bad.chain = raft_chain(f->entries[3].chain, &bad);
    write_forged(f, with, &bad, "term and vote do not fit");
    without.hard = (struct raft_hard){2, 72, 4};
    write_forged(f, without, NULL, "more is committed than there is");
}

struct reading {
    struct fixture *fixture;
    uint64_t index;
};

static void read_one(void *context)
{
    struct reading *reading = context;
    struct raft_entry entry;
    raftlog_read(reading->fixture->log, reading->index, &reading->fixture->arena, &entry);
}

static void an_entry_that_rots_while_open_is_not_handed_out(void **state)
{
    struct fixture *f = *state;
    append(f, 1, 3, 1, 96);
    off_t second = SEGMENT_HEADER_SIZE + FRAME_HEAD_SIZE + ENTRY_HEAD_SIZE + 96;
    for (off_t at = second; at < second + ENTRY_HEAD_SIZE + 96; at++) {
        flip_at(segment(f, 1), at, 0x80);
        struct reading reading = {f, 2};
        assert_fatal(read_one, &reading, "is damaged: entry 2 in segment 1 is not what was written");
        flip_at(segment(f, 1), at, 0x80);
    }
    check_read(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_torn_last_frame_is_cut_wherever_it_tore, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_last_frame_with_holes_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_cut_never_stands_behind_a_new_frame, set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage_behind_the_end_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_flipped_byte_before_the_last_frame_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(every_flipped_byte_of_the_last_frame_loses_only_that, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_frame_that_vanished_is_missed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_in_an_earlier_segment_is_refused_even_in_its_last_frame,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_header_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(segments_that_are_missing_short_or_renamed_are_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_first_segment_may_only_be_missing_when_the_next_begins_there,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_log_and_other_logs_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(impossible_histories_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_that_rots_while_open_is_not_handed_out, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
