// links: daemon support
/* Watches without sockets, node or clock: every watcher gets each event that concerns it once, in order, in
 * whole revisions, whatever its credit. */
#include "tests/unit/watches_test.h"

/* --- live --- */

static void each_gets_what_it_watches(void **state)
{
    struct world *world = *state;
    struct stream all = {0}, exact = {0}, prefix = {0}, gone = {0}, other = {0};
    open_now(world, &all, "", 0);
    open_now(world, &exact, "ab", EXACT);
    open_now(world, &prefix, "ab", 0);
    open_now(world, &gone, "a", GONE_ONLY);
    open_now(world, &other, "b", 0);
    one(world, "ab", 1);
    one(world, "abc", 2);
    begin(world);
    tell_large(world, "ab", 3, KIND_GONE, 0);
    end(world);
    deliver(world);
    assert_int_equal(delivered_count, 5);
    assert_int_equal(delivered[0]->outcome, OUTCOME_OK);
    assert_string_equal(told(&all), "made ab 1 at 1;made abc 2 at 2;gone ab 3 at 3;");
    assert_string_equal(told(&exact), "made ab 1 at 1;gone ab 3 at 3;");
    assert_string_equal(told(&prefix), "made ab 1 at 1;made abc 2 at 2;gone ab 3 at 3;");
    assert_string_equal(told(&gone), "gone ab 3 at 3;");
    assert_string_equal(told(&other), "");
}

static void the_bytes_are_made_once_for_all(void **state)
{
    struct world *world = *state;
    enum { COUNT = 1000 };
    static struct stream streams[COUNT];
    memset(streams, 0, sizeof streams);
    for (size_t i = 0; i < COUNT; i++) open_now(world, &streams[i], "a", i % 2 ? EXACT : 0);
    deliver(world);
    parcel_count = 0;
    one(world, "a", 1);
    uint64_t alive = chunk_bytes_alive();
    deliver(world);
    assert_int_equal(parcel_count, 1);
    assert_true(alive > 0 && alive < 1000);
    for (size_t i = 0; i < COUNT; i++) assert_string_equal(told(&streams[i]), "made a 1 at 1;");
}

static void a_revision_is_whole(void **state)
{
    struct world *world = *state;
    struct stream all = {0}, some = {0}, sse = {0};
    open_now(world, &all, "", 0);
    open_now(world, &some, "b", 0);
    open_now(world, &sse, "", SSE);
    deliver(world);
    buffer_free(&sse.text);
    begin(world);
    tell(world, "a", 1);
    tell(world, "b1", 2);
    tell(world, "b2", 3);
    tell(world, "c", 4);
    end(world);
    deliver(world);
    assert_string_equal(told(&all), "made a 1 at 1+;made b1 2 at 1+;made b2 3 at 1+;made c 4 at 1;");
    assert_string_equal(told(&some), "made b1 2 at 1+;made b2 3 at 1;");
    buffer_add_byte(&sse.text, 0);
    const char *text = (const char *)sse.text.data, *id = strstr(text, "id: 1\n");
    assert_non_null(id);
    assert_ptr_equal(id, strstr(text, "id: "));
    assert_true(id > strstr(text, "/things/b2"));
    assert_null(strstr(id + 1, "id: "));
    buffer_free(&sse.text);
}

/* What is shared with one stream must not come to another before what that one was sent earlier. */
static void what_comes_to_a_stream_keeps_its_order(void **state)
{
    struct world *world = *state;
    struct stream live = {0}, late = {0};
    for (unsigned i = 1; i <= 3; i++) one(world, "a", i);
    one(world, "b", 4);
    deliver(world);
    open_since(world, &late, "a", 0);
    open_now(world, &live, "", 0);
    turn(world);
    buffer_add_byte(&late.text, 0);
    const char *text = (const char *)late.text.data, *last = strstr(text, "{\"revision\":4,");
    assert_non_null(last);
    assert_true(last > strstr(text, "{\"revision\":3,"));
    buffer_free(&late.text);
    buffer_free(&live.text);
}

/* --- catching up --- */

static void from_a_revision_on(void **state)
{
    struct world *world = *state;
    struct stream early = {0}, late = {0};
    for (unsigned i = 1; i <= 5; i++) one(world, i % 2 ? "a" : "b", i);
    open_since(world, &early, "a", 0);
    open_since(world, &late, "", 3);
    turn(world);
    one(world, "a", 6);
    turn(world);
    assert_string_equal(told(&early), "made a 1 at 1;made a 3 at 3;made a 5 at 5;made a 6 at 6;");
    assert_string_equal(told(&late), "made b 4 at 4;made a 5 at 5;made a 6 at 6;");
    assert_int_equal(watches_counts(world->watches).live, 2);
}

static void a_turn_reads_a_bounded_piece_of_the_history(void **state)
{
    struct world *world = *state;
    enum { COUNT = 2000 };
    struct stream stream = {0};
    for (unsigned i = 1; i <= COUNT; i++) one(world, "a", i);
    struct call *call = open_since(world, &stream, "", 0);
    size_t turns = 0, next = 1;
    while (!watches_counts(world->watches).live) {
        assert_int_equal(watches_next_ms(world->watches), 0);
        if (turns++ < 3) one(world, "a", COUNT + turns); /* the history grows meanwhile */
        turn(world);
        for (const char *at = told(&stream); *at; at = strchr(at, ';') + 1)
            assert_int_equal(strtoul(strstr(at, "made a ") + 7, NULL, 10), next++);
        credit(world, call, &stream);
    }
    assert_int_equal(next, COUNT + 4);
    assert_true(turns > 5);
}

static void too_old_a_revision_is_refused(void **state)
{
    struct world *world = *state;
    struct stream stream = {0};
    for (unsigned i = 0; i < 6; i++) {
        begin(world);
        tell_large(world, "a", i, KIND_MADE, 20u << 20);
        end(world);
    }
    uint64_t floor = events_floor(world->rows);
    assert_true(floor > 1);
    struct call *call = open_since(world, &stream, "", floor - 1);
    deliver(world);
    assert_int_equal(call->outcome, OUTCOME_REVISION_GONE);
    const struct watch_refused *refused = call->result;
    assert_int_equal(refused->oldest, floor);
    assert_int_equal(refused->revision, 6);
    open_since(world, &stream, "", floor);
    turn(world);
    assert_non_null(strstr(told(&stream), "at 6;"));
}

static void one_that_is_overtaken_by_the_trimming_is_told_so(void **state)
{
    struct world *world = *state;
    struct stream stream = {0};
    open_now(world, &stream, "", 0);
    deliver(world);
    told(&stream);
    uint64_t revision = 0;
    while (stream.unsent < WATCH_WINDOW) {
        revision = one(world, "a", 7);
        deliver(world);
    }
    buffer_free(&stream.text);
    one(world, "a", 8);
    assert_int_equal(watches_counts(world->watches).live, 0);
    for (unsigned i = 0; i < 6; i++) {
        begin(world);
        tell_large(world, "b", i, KIND_MADE, 20u << 20);
        end(world);
    }
    for (unsigned i = 0; i < 400; i++) one(world, "c", i); /* what is trimmed goes in bounded pieces */
    assert_true(events_floor(world->rows) > revision);
    turn(world);
    assert_false(stream.last);
    struct call *call = delivered[0];
    credit(world, call, &stream);
    turn(world);
    assert_true(stream.last);
    assert_string_equal(told(&stream), "reset;");
    assert_int_equal(watches_counts(world->watches).streams, 0);
    assert_int_equal(watches_counts(world->watches).resets, 1);
}

static void what_is_unsent_is_bounded_and_nothing_is_lost(void **state)
{
    struct world *world = *state;
    struct stream slow = {0}, quick = {0};
    struct call *call = open_now(world, &slow, "", 0), *other = open_now(world, &quick, "", 0);
    enum { COUNT = 4000 };
    for (unsigned i = 1; i <= COUNT; i++) {
        one(world, "a", i);
        turn(world);
        credit(world, other, &quick);
    }
    assert_true(slow.unsent < WATCH_WINDOW + 1000);
    assert_int_equal(watches_counts(world->watches).live, 1);
    unsigned next = 1;
    for (unsigned i = 0; i < 100 && next <= COUNT; i++) {
        for (const char *at = told(&slow); *at; at = strchr(at, ';') + 1)
            assert_int_equal(strtoul(strstr(at, "made a ") + 7, NULL, 10), next++);
        credit(world, call, &slow);
        turn(world);
    }
    assert_int_equal(next, COUNT + 1);
    assert_int_equal(watches_counts(world->watches).live, 2);
    buffer_free(&quick.text);
}

static void a_revision_to_come_is_waited_for(void **state)
{
    struct world *world = *state;
    struct stream stream = {0}, never = {0};
    one(world, "a", 1);
    struct call *call = open_since(world, &stream, "", 3), *other = open_since(world, &never, "", 100);
    turn(world);
    assert_int_equal(delivered_count, 0);
    for (unsigned i = 2; i <= 5; i++) one(world, "a", i);
    turn(world);
    turn(world);
    assert_int_equal(call->outcome, OUTCOME_OK);
    assert_string_equal(told(&stream), "made a 4 at 4;made a 5 at 5;");
    assert_true(watches_next_ms(world->watches) > world->view.now_ms);
    world->view.now_ms += WATCH_AHEAD_MS;
    turn(world);
    assert_int_equal(other->outcome, OUTCOME_MIN_REVISION_AHEAD);
    assert_int_equal(watches_counts(world->watches).kept, 0);
}

static void other_rows_take_over(void **state)
{
    struct world *world = *state;
    struct stream stream = {0};
    open_now(world, &stream, "", 0);
    one(world, "a", 1);
    struct rows *after = rows_memory_clone(world->rows);
    struct world ahead = *world;
    ahead.rows = ahead.view.rows = after;
    for (unsigned i = 2; i <= 4; i++) {
        begin(&ahead);
        tell(&ahead, "a", i);
        events_keep(&ahead.apply);
        ahead.view.applied++;
        arena_reset(&ahead.arena);
    }
    watches_switched(world->watches);
    struct rows *before = world->rows;
    world->rows = world->view.rows = after;
    world->view.applied = ahead.view.applied;
    world->arena = ahead.arena;
    rows_memory_free(before);
    turn(world);
    one(world, "a", 5);
    turn(world);
    assert_string_equal(told(&stream),
                        "made a 1 at 1;made a 2 at 2;made a 3 at 3;made a 4 at 4;made a 5 at 5;");
}

/* --- the present state first --- */

static void things_as_they_are_then_what_happens(void **state)
{
    struct world *world = *state;
    struct stream stream = {0}, alone = {0}, none = {0};
    const char *const names[] = {"a", "b", "c", "d", "e", "f", "g"};
    for (unsigned i = 0; i < 7; i++) one(world, names[i], i);
    open_now(world, &stream, "", INITIAL);
    open_now(world, &alone, "c", INITIAL | EXACT);
    open_now(world, &none, "x", INITIAL | EXACT);
    for (unsigned i = 0; i < 10; i++) turn(world);
    one(world, "c", 9);
    deliver(world);
    assert_string_equal(told(&stream),
                        "present a 0 at 7+;present b 1 at 7+;present c 2 at 7+;present d 3 at 7+;"
                        "present e 4 at 7+;present f 5 at 7+;present g 6 at 7+;made c 9 at 8;");
    assert_string_equal(told(&alone), "present c 2 at 7+;made c 9 at 8;");
    assert_string_equal(told(&none), "");
}

/* Applied in order, what a stream tells is the state, at any revision that can be resumed from. */
struct model {
    uint64_t numbers[26];
};

static void follow(struct model *model, const char *text)
{
    for (const char *at = text; *at; at = strchr(at, ';') + 1) {
        char type[32], name;
        unsigned long long number;
        assert_int_equal(sscanf(at, "%31s %c %llu", type, &name, &number), 3);
        uint64_t *place = &model->numbers[name - 'a'];
        assert_true(strcmp(type, "present") != 0 || *place == 0);
        *place = strcmp(type, "gone") == 0 ? 0 : number;
    }
}

static void change(struct world *world, struct model *model)
{
    static uint64_t number;
    begin(world);
    for (unsigned used = 0, i = 0; i < 1 + (unsigned)rand() % 3; i++) {
        unsigned which = (unsigned)rand() % 26;
        char name[2] = {(char)('a' + which), 0};
        if (used >> which & 1) continue;
        used |= 1u << which;
        bool goes = rand() % 4 == 0;
        model->numbers[which] = goes ? 0 : ++number;
        tell_large(world, name, number, goes ? KIND_GONE : KIND_MADE, 0);
    }
    end(world);
}

static void the_present_state_while_it_changes(void **state)
{
    struct world *world = *state;
    struct model model = {0};
    srand(7);
    for (unsigned i = 0; i < 50; i++) change(world, &model);
    for (unsigned round = 0; round < 100; round++) {
        struct stream stream = {0};
        struct model seen = {0};
        struct call *call = open_now(world, &stream, "", INITIAL);
        for (unsigned i = 0;
             i < 1000 &&
             !strstr((const char *)stream.text.data ? (const char *)stream.text.data : "", "bookmark");
             i++) {
            for (unsigned more = i >= 20 ? 0 : rand() % 10 ? 1 : 150; more; more--) change(world, &model);
            watches_see(world->watches, &world->view);
            watches_turn(world->watches);
            deliver(world);
            buffer_add_byte(&stream.text, 0);
            stream.text.size--;
        }
        change(world, &model);
        deliver(world);
        follow(&seen, told(&stream));
        assert_memory_equal(&seen, &model, sizeof model);
        watches_gone(world->watches, call->number);
        deliver(world);
        assert_true(stream.last);
    }
}

/* --- signs of life and ends --- */

static void signs_of_life_come_in_time(void **state)
{
    struct world *world = *state;
    enum { COUNT = 50 };
    static struct stream streams[COUNT];
    memset(streams, 0, sizeof streams);
    for (size_t i = 0; i < COUNT; i++) open_now(world, &streams[i], "", i % 2 ? SSE : 0);
    deliver(world);
    for (size_t i = 0; i < COUNT; i++) buffer_free(&streams[i].text);
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t end_ms = world->view.now_ms + WATCH_HEARTBEAT_MS; world->view.now_ms < end_ms;) {
            uint64_t next_ms = watches_next_ms(world->watches);
            assert_true(next_ms > world->view.now_ms && next_ms <= world->view.now_ms + 1000);
            world->view.now_ms = next_ms;
            turn(world);
        }
        for (size_t i = 0; i < COUNT; i++) {
            assert_true(streams[i].text.size > 0 && streams[i].text.size < 200);
            buffer_free(&streams[i].text);
        }
    }
}

static void the_end_is_told(void **state)
{
    struct world *world = *state;
    struct stream live = {0}, behind = {0}, polled = {0};
    one(world, "a", 1);
    open_now(world, &live, "", 0);
    open_since(world, &behind, "", 0);
    open_since(world, &polled, "", 100);
    watches_stop(world->watches);
    deliver(world);
    assert_true(live.last && behind.last && !polled.last);
    assert_string_equal(told(&live), "end;");
    assert_string_equal(told(&behind), "end;");
    assert_int_equal(delivered[2]->outcome, OUTCOME_SHUTTING_DOWN);
}

static void a_node_without_a_leader_ends_its_streams(void **state)
{
    struct world *world = *state;
    struct stream stream = {0}, refused = {0};
    open_now(world, &stream, "", 0);
    world->view.unable_since_ms = world->view.now_ms;
    world->view.now_ms += WATCH_ALONE_MS - 1;
    turn(world);
    assert_false(stream.last);
    world->view.now_ms++;
    turn(world);
    assert_true(stream.last);
    assert_string_equal(told(&stream), "end;");
    struct call *call = open_now(world, &refused, "", 0);
    deliver(world);
    assert_int_equal(call->outcome, OUTCOME_NO_LEADER);
    world->view.unable_since_ms = 0;
    turn(world);
    call = open_now(world, &refused, "", 0);
    deliver(world);
    assert_int_equal(call->outcome, OUTCOME_OK);
    buffer_free(&refused.text);
}

static void a_client_that_is_gone_gets_a_last_parcel(void **state)
{
    struct world *world = *state;
    struct stream stream = {0}, waits = {0};
    struct call *call = open_now(world, &stream, "", 0), *other = open_since(world, &waits, "", 100);
    deliver(world);
    told(&stream);
    watches_gone(world->watches, call->number);
    watches_gone(world->watches, other->number);
    watches_gone(world->watches, 12345678);
    one(world, "a", 1);
    deliver(world);
    assert_true(stream.last);
    assert_string_equal(told(&stream), "");
    assert_int_equal(other->outcome, OUTCOME_WAIT_BROKEN_OFF);
    watches_credit(world->watches, call->number, 100);
}
/* --- all at once --- */

struct reader {
    struct stream stream;
    struct call *call;
    char prefix[3];
    uint64_t last; /* seen whole */
    uint64_t count;
};

/* Checks that what came is what the log of events holds for its prefix, and takes it. */
static void read_all(struct reader *reader, const char *log, const uint64_t *revisions, size_t count)
{
    size_t at = 0;
    while (at < count && revisions[at] <= reader->last) at++;
    for (const char *text = told(&reader->stream); *text; text = strchr(text, ';') + 1) {
        char name;
        unsigned long long number, revision;
        assert_int_equal(sscanf(text, "%*s %c%*c %llu at %llu", &name, &number, &revision), 3);
        while (at < count && reader->prefix[0] && log[at] != reader->prefix[0]) at++;
        assert_true(at < count && log[at] == name && revisions[at] == revision && number == at);
        at++;
        reader->last = revision;
        reader->count++;
        assert_true(strchr(text, ';')[-1] != '+' || at < count);
    }
}

static void whoever_reads_however_slowly_gets_all_of_it_once(void **state)
{
    struct world *world = *state;
    enum { READERS = 30, REVISIONS = 6000 };
    static char log[3 * REVISIONS];
    static uint64_t revisions[3 * REVISIONS];
    static struct reader readers[READERS];
    size_t count = 0;
    srand(11);
    memset(readers, 0, sizeof readers);
    for (unsigned i = 0; i < READERS; i++) {
        if (i % 3) readers[i].prefix[0] = (char)('a' + i % 3);
        readers[i].call = open_since(world, &readers[i].stream, readers[i].prefix, 0);
    }
    for (unsigned i = 0; i < REVISIONS; i++) {
        begin(world);
        for (unsigned k = 0, more = 1 + (unsigned)rand() % 3; k < more; k++, count++) {
            char name[3] = {(char)('a' + rand() % 4), 'z', 0};
            log[count] = name[0];
            revisions[count] = world->apply.index;
            tell(world, name, count);
        }
        end(world);
        if (rand() % 4 == 0) turn(world);
        struct reader *reader = &readers[rand() % READERS];
        if (rand() % 50 == 0) {
            deliver(world);
            read_all(reader, log, revisions, count);
            credit(world, reader->call, &reader->stream);
        }
        if (rand() % 200 == 0) { /* it breaks off, and goes on where it was */
            deliver(world);
            read_all(reader, log, revisions, count);
            watches_gone(world->watches, reader->call->number);
            deliver(world);
            reader->stream = (struct stream){0};
            reader->call = open_since(world, &reader->stream, reader->prefix, reader->last);
        }
    }
    for (unsigned round = 0; round < 200; round++) {
        turn(world);
        for (unsigned i = 0; i < READERS; i++) {
            read_all(&readers[i], log, revisions, count);
            credit(world, readers[i].call, &readers[i].stream);
        }
    }
    assert_int_equal(watches_counts(world->watches).live, READERS);
    for (unsigned i = 0; i < READERS; i++) {
        size_t wanted = 0;
        for (size_t k = 0; k < count; k++) wanted += !readers[i].prefix[0] || log[k] == readers[i].prefix[0];
        assert_int_equal(readers[i].count, wanted);
    }
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_gets_what_it_watches),
        TEST(the_bytes_are_made_once_for_all),
        TEST(a_revision_is_whole),
        TEST(what_comes_to_a_stream_keeps_its_order),
        TEST(from_a_revision_on),
        TEST(a_turn_reads_a_bounded_piece_of_the_history),
        TEST(too_old_a_revision_is_refused),
        TEST(one_that_is_overtaken_by_the_trimming_is_told_so),
        TEST(what_is_unsent_is_bounded_and_nothing_is_lost),
        TEST(a_revision_to_come_is_waited_for),
        TEST(other_rows_take_over),
        TEST(things_as_they_are_then_what_happens),
        TEST(the_present_state_while_it_changes),
        TEST(signs_of_life_come_in_time),
        TEST(the_end_is_told),
        TEST(a_node_without_a_leader_ends_its_streams),
        TEST(a_client_that_is_gone_gets_a_last_parcel),
        TEST(whoever_reads_however_slowly_gets_all_of_it_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
