// links: lib support
/* Random commands on a few elections by a few leases, beside a model that knows no rows: who leads, who waits
 * in which order, the terms that ended. After each command: every request is answered as the model says and
 * exactly once, the events tell what changed and nothing else, rows and model agree, and every invariant
 * holds. */
#include "coord/coord.h"
#include "coord/primitive/election.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>

enum { SEEDS = 300, STEPS = 400, ELECTIONS = 3, LEASES = 5, BUSY = 64, LINE = 200 };

struct standing {
    uint64_t lease, priority, arrived, answer; /* lease 0: waits on the session; answer 0: nobody listens */
    char who, value;
};

struct office {
    struct standing leader;
    uint64_t token, highest; /* token 0: nobody leads */
    struct standing queue[STEPS];
    size_t count;
    struct term_past past[ELECTION_HISTORY];
    size_t past_count;
};

struct told {
    uint64_t index;
    enum outcome outcome;
};
struct change {
    enum election_event kind;
    char election;
    uint64_t token;
};

struct world {
    struct rows *rows;
    struct arena arena, kept;
    uint64_t index, random, time_ms, session;
    uint64_t leases[LEASES];
    struct office offices[ELECTIONS];
    struct told told[BUSY]; /* what the model expects of the command under way */
    struct change changes[BUSY];
    size_t told_count, change_count;
    size_t elected, transferred, broken_off, session_over; /* seen at all */
};

static uint64_t draw(struct world *world, uint64_t below)
{
    world->random = world->random * 6364136223846793005u + 1442695040888963407u;
    return (world->random >> 33) % below;
}

/* --- the model --- */

static void expect(struct world *world, uint64_t index, enum outcome outcome)
{
    assert_true(world->told_count < BUSY);
    world->told[world->told_count++] = (struct told){index, outcome};
}

static void changes(struct world *world, enum election_event kind, const struct office *office,
                    uint64_t token)
{
    assert_true(world->change_count < BUSY);
    world->changes[world->change_count++] =
        (struct change){kind, (char)('a' + (office - world->offices)), token};
}

static void elect(struct world *world, struct office *office, struct standing standing)
{
    office->leader = standing;
    office->token = office->highest = world->index;
    changes(world, ELECTION_ELECTED, office, world->index);
    if (standing.answer) expect(world, standing.answer, OUTCOME_CREATED);
    world->elected++;
}

static struct standing leave(struct office *office, size_t place)
{
    struct standing left = office->queue[place];
    office->count--;
    memmove(&office->queue[place], &office->queue[place + 1],
            (office->count - place) * sizeof *office->queue);
    return left;
}

static void advance(struct world *world, struct office *office)
{
    if (!office->token && office->count) elect(world, office, leave(office, 0));
}

static void stand(struct office *office, struct standing standing)
{
    size_t place = 0;
    while (place < office->count && (office->queue[place].priority > standing.priority ||
                                     (office->queue[place].priority == standing.priority &&
                                      office->queue[place].arrived < standing.arrived)))
        place++;
    memmove(&office->queue[place + 1], &office->queue[place],
            (office->count - place) * sizeof *office->queue);
    office->queue[place] = standing;
    office->count++;
}

static void end(struct world *world, struct office *office, enum end_reason reason)
{
    size_t kept = office->past_count < ELECTION_HISTORY ? office->past_count : ELECTION_HISTORY - 1;
    memmove(&office->past[1], &office->past[0], kept * sizeof *office->past);
    office->past[0] = (struct term_past){.token = office->token, .reason = reason};
    office->past_count = kept + 1;
    changes(world, ELECTION_ENDED, office, office->token);
    office->token = 0;
}

static size_t place_of_lease(const struct office *office, uint64_t lease)
{
    size_t place = 0;
    while (place < office->count && office->queue[place].lease != lease) place++;
    return place;
}

/* Leases that end together: all who hang on them go, then the next ones lead. */
static void leases_end(struct world *world, const uint64_t *leases, size_t count, enum end_reason reason)
{
    for (size_t e = 0; e < ELECTIONS; e++) {
        struct office *office = &world->offices[e];
        for (size_t i = 0; i < count; i++) {
            size_t place = place_of_lease(office, leases[i]);
            if (office->token && office->leader.lease == leases[i]) end(world, office, reason);
            if (place == office->count) continue;
            struct standing left = leave(office, place);
            if (left.answer) expect(world, left.answer, OUTCOME_LEASE_OVER);
        }
        advance(world, office);
    }
}

static void session_ends(struct world *world)
{
    for (size_t e = 0; e < ELECTIONS; e++)
        for (size_t place = 0; place < world->offices[e].count;) {
            if (world->offices[e].queue[place].lease) {
                place++;
                continue;
            }
            expect(world, leave(&world->offices[e], place).answer, OUTCOME_SESSION_OVER);
            world->session_over++;
        }
}

static void model_campaign(struct world *world, struct office *office, struct standing standing, bool wait)
{
    size_t place = standing.lease ? place_of_lease(office, standing.lease) : office->count;
    if (standing.lease && office->token && office->leader.lease == standing.lease) {
        if (office->leader.who != standing.who) {
            expect(world, world->index, OUTCOME_SENSELESS);
            return;
        }
        if (standing.value && standing.value != office->leader.value) {
            office->leader.value = standing.value;
            changes(world, ELECTION_PROCLAIMED, office, office->token);
        }
        expect(world, world->index, OUTCOME_OK);
    } else if (place < office->count && office->queue[place].who != standing.who) {
        expect(world, world->index, OUTCOME_SENSELESS);
    } else if (place < office->count && wait) {
        struct standing before = leave(office, place);
        if (before.answer) expect(world, before.answer, OUTCOME_WAIT_BROKEN_OFF);
        if (before.priority == standing.priority) standing.arrived = before.arrived;
        if (!standing.value) standing.value = before.value;
        stand(office, standing);
        world->broken_off++;
    } else if (!office->token) {
        elect(world, office, standing);
    } else if (wait) {
        stand(office, standing);
    } else {
        expect(world, world->index, OUTCOME_ELECTION_HELD);
    }
}

static void model_resign(struct world *world, struct office *office, uint64_t token)
{
    bool leads = token && token == office->token, resigned = false;
    for (size_t i = 0; i < office->past_count; i++)
        resigned |= office->past[i].token == token && office->past[i].reason == END_RELEASED;
    expect(world, world->index, leads || resigned ? OUTCOME_OK : OUTCOME_NOT_LEADER);
    if (leads) end(world, office, END_RELEASED);
    advance(world, office);
}

static void model_transfer(struct world *world, struct office *office, uint64_t token, char who,
                           uint64_t lease)
{
    size_t place = 0;
    while (place < office->count && office->queue[place].who != who) place++;
    if (!who) place = place_of_lease(office, lease);
    if (!token || token != office->token) {
        expect(world, world->index, OUTCOME_NOT_LEADER);
    } else if (place == office->count) {
        expect(world, world->index, OUTCOME_CANDIDATE_NOT_FOUND);
    } else {
        end(world, office, END_TRANSFERRED);
        elect(world, office, leave(office, place));
        expect(world, world->index, OUTCOME_OK);
        world->transferred++;
    }
}

static void model_cancel(struct world *world, uint64_t index, enum end_reason reason)
{
    for (size_t e = 0; e < ELECTIONS; e++)
        for (size_t place = 0; place < world->offices[e].count; place++) {
            struct standing *waits = &world->offices[e].queue[place];
            if (waits->answer != index) continue;
            waits->answer = 0;
            if (reason == END_TIMEOUT) expect(world, index, OUTCOME_ELECTION_HELD);
            if (reason == END_TIMEOUT || !waits->lease) leave(&world->offices[e], place);
            return;
        }
}

/* --- what came --- */

static void look_at_answers(struct world *world, const struct apply *apply)
{
    size_t count = 0;
    for (const struct answer *answer = apply->answers; answer; answer = answer->next, count++) {
        size_t i = 0;
        while (i < world->told_count && world->told[i].index != answer->to_index) i++;
        assert_true(i < world->told_count);
        assert_int_equal(answer->outcome, world->told[i].outcome);
        world->told[i].index = 0;
        if (answer->outcome == OUTCOME_CREATED && answer->shape == &election_term_record)
            assert_int_equal(record_number(answer->shape, answer->data, "token"), world->index);
    }
    assert_int_equal(count, world->told_count);
    world->told_count = 0;
}

static void look_at_events(struct world *world, const struct apply *apply)
{
    size_t count = 0;
    for (const struct event *event = apply->events; event; event = event->next) {
        if (event->primitive != &election_primitive) continue;
        size_t i = 0;
        uint64_t token = record_number(event->shape, event->data, "token");
        while (i < world->change_count &&
               (world->changes[i].token != token || world->changes[i].kind != event->kind->code ||
                world->changes[i].election != event->path.data[event->path.size - 1]))
            i++;
        assert_true(i < world->change_count);
        world->changes[i].token = 0;
        count++;
    }
    assert_int_equal(count, world->change_count);
    world->change_count = 0;
}

static char letter(struct slice text, char start)
{
    return text.size ? (char)text.data[start == 'v'] : '\0';
}

/* The model learns which lease a term got of its own. */
static void look_at_leader(struct world *world, struct office *office, const struct term *leader)
{
    struct apply apply;
    struct lease_row lease;
    assert_int_equal(leader != NULL, office->token != 0);
    if (!leader) return;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    assert_int_equal(leader->token, office->token);
    assert_int_equal(letter(leader->candidate, 'n'), office->leader.who);
    assert_int_equal(letter(leader->value, 'v'), office->leader.value);
    assert_true(lease_get(&apply, leader->lease, &lease));
    if (office->leader.lease) assert_int_equal(leader->lease, office->leader.lease);
    office->leader.lease = leader->lease;
}

static void look_at_election(struct world *world, size_t which)
{
    struct office *office = &world->offices[which];
    struct apply apply;
    struct election election;
    struct candidacy candidacy;
    struct slice place = {0};
    char name = (char)('a' + which);
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    election_load(&election, &apply, slice_of(&name, 1));
    look_at_leader(world, office, election.row.leader);
    assert_int_equal(election.row.token, office->highest);
    assert_int_equal(election.row.candidates, office->count);
    for (size_t i = 0; election_next(&election, &place, &candidacy); i++) {
        assert_true(i < office->count);
        assert_int_equal(candidacy.lease, office->queue[i].lease);
        assert_int_equal(candidacy.answer_index, office->queue[i].answer);
        assert_int_equal(letter(candidacy.candidate, 'n'), office->queue[i].who);
        assert_int_equal(letter(candidacy.value, 'v'), office->queue[i].value);
    }
    const struct term_past *past = election.row.history.items;
    assert_int_equal(election.row.history.count, office->past_count);
    for (size_t i = 0; i < office->past_count; i++) {
        assert_int_equal(past[i].token, office->past[i].token);
        assert_int_equal(past[i].reason, office->past[i].reason);
    }
}

/* --- commands --- */

static void apply_command(struct world *world, const struct operation *operation, const void *args)
{
    struct apply apply;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms += draw(world, 50));
    coord_apply(&apply, &(struct command){.operation = operation, .args = args, .origin = world->session});
    look_at_answers(world, &apply);
    look_at_events(world, &apply);
    for (size_t e = 0; e < ELECTIONS; e++) look_at_election(world, e);
    coord_check(world->rows, &world->kept);
    assert_false(coord_wants_pulse(world->rows));
    arena_reset(&world->kept);
    arena_reset(&world->arena);
}

/* "name=value" pairs, as in scripts. */
static void run(struct world *world, const char *name, const char *line)
{
    const struct operation *operation = operation_by_name(slice_text(name));
    struct arena arena = {0};
    void *args = arena_alloc(&arena, operation->args->size);
    struct setting setting = {.record = operation->args, .data = args, .arena = &arena};
    for (const char *at = line; *at;) {
        const char *equals = strchr(at, '='), *end_ = strchr(at, ' ');
        if (!end_) end_ = at + strlen(at);
        const struct field *field = record_field(operation->args, slice_of(at, (size_t)(equals - at)));
        assert_true(setting_text(&setting, field, slice_of(equals + 1, (size_t)(end_ - equals - 1))));
        at = *end_ ? end_ + 1 : end_;
    }
    assert_true(setting_done(&setting));
    apply_command(world, operation, args);
    arena_free(&arena);
}

static void make_lease(struct world *world, size_t which)
{
    world->index++;
    expect(world, world->index, OUTCOME_CREATED);
    run(world, "lease.create", "ttl=30s");
    world->leases[which] = world->index << LEASE_ENTRY_BITS;
}

static void open_session(struct world *world)
{
    struct lease_session_args args = {1, draw(world, 1000), 10000};
    uint64_t before = world->session;
    world->index++;
    world->session = 0;
    expect(world, world->index, OUTCOME_OK);
    if (before) session_ends(world);
    apply_command(world, operation_lease_session, &args);
    world->session = world->index << LEASE_ENTRY_BITS;
}

static void campaign(struct world *world, struct office *office)
{
    char line[LINE], lease[40] = "", value[20] = "";
    size_t which = draw(world, LEASES * 2);
    bool wait = draw(world, 3) > 0;
    world->index++;
    struct standing standing = {.priority = draw(world, 3),
                                .arrived = world->index,
                                .answer = world->index,
                                .who = (char)('p' + draw(world, LEASES)),
                                .value = draw(world, 2) ? (char)('0' + draw(world, 10)) : '\0'};
    if (which < LEASES) {
        standing.lease = world->leases[which];
        if (draw(world, 8)) standing.who = (char)('p' + which);
        snprintf(lease, sizeof lease, " lease=L%llx", (unsigned long long)standing.lease);
    }
    if (standing.value) snprintf(value, sizeof value, " value=%c", standing.value);
    snprintf(line, sizeof line, "name=%c candidate=%c priority=%u%s%s%s",
             (char)('a' + (office - world->offices)), standing.who, (unsigned)standing.priority, lease, value,
             wait ? " wait=1m" : "");
    model_campaign(world, office, standing, wait);
    run(world, "election.campaign", line);
}

/* Of the present term, of one that ended, of another election, or of none. */
static uint64_t some_token(struct world *world, const struct office *office)
{
    const struct office *other = &world->offices[draw(world, ELECTIONS)];
    uint64_t dice = draw(world, 8);
    if (dice < 4 && office->token) return office->token;
    if (dice < 6 && office->past_count) return office->past[draw(world, office->past_count)].token;
    return other->highest && draw(world, 2) ? other->highest : 1 + draw(world, world->index);
}

static void with_token(struct world *world, struct office *office)
{
    char line[LINE], name = (char)('a' + (office - world->offices)), to[40];
    uint64_t token = some_token(world, office), dice = draw(world, 100);
    int size = snprintf(line, sizeof line, "name=%c token=%llu", name, (unsigned long long)token);
    world->index++;
    if (dice < 50) {
        model_resign(world, office, token);
        run(world, "election.resign", line);
    } else if (dice < 75) {
        char value = (char)('0' + draw(world, 3));
        bool leads = token == office->token;
        expect(world, world->index, leads ? OUTCOME_OK : OUTCOME_NOT_LEADER);
        if (leads && office->leader.value != value) {
            office->leader.value = value;
            changes(world, ELECTION_PROCLAIMED, office, token);
        }
        snprintf(line + size, sizeof line - (size_t)size, " value=%c", value);
        run(world, "election.proclaim", line);
    } else {
        size_t which = draw(world, LEASES);
        char who = draw(world, 2) ? (char)('p' + which) : '\0';
        snprintf(to, sizeof to, "L%llx", (unsigned long long)world->leases[which]);
        snprintf(line + size, sizeof line - (size_t)size, " to=%.*s", who ? 1 : 40, who ? &who : to);
        model_transfer(world, office, token, who, world->leases[which]);
        run(world, "election.transfer", line);
    }
}

static void break_term(struct world *world, struct office *office)
{
    char line[LINE];
    world->index++;
    expect(world, world->index, office->token ? OUTCOME_OK : OUTCOME_NOBODY_LEADS);
    if (office->token) end(world, office, END_BROKEN);
    advance(world, office);
    snprintf(line, sizeof line, "name=%c", (char)('a' + (office - world->offices)));
    run(world, "election.break", line);
}

static void replace_lease(struct world *world, uint64_t lease)
{
    for (size_t i = 0; i < LEASES; i++)
        if (world->leases[i] == lease) make_lease(world, i);
}

static void expire_some(struct world *world)
{
    struct lease_expire_item items[3];
    struct lease_expire_args args = {1, {items, 0}};
    struct lease_row row;
    uint64_t ended[3];
    size_t count = 0;
    for (uint64_t from = 0; args.items.count < 3 && lease_next(world->rows, &world->kept, from, &row);
         from = row.id) {
        if (row.kind == LEASE_SESSION || draw(world, 3)) continue;
        bool touched_since = draw(world, 5) == 0;
        items[args.items.count++] =
            (struct lease_expire_item){row.id, touched_since ? row.generation + 1 : row.generation};
        if (!touched_since) ended[count++] = row.id;
    }
    world->index++;
    expect(world, world->index, OUTCOME_OK);
    leases_end(world, ended, count, END_EXPIRED);
    apply_command(world, operation_lease_expire, &args);
    for (size_t i = 0; i < count; i++) replace_lease(world, ended[i]);
}

static void revoke(struct world *world)
{
    char line[LINE];
    uint64_t lease = world->leases[draw(world, LEASES)];
    world->index++;
    expect(world, world->index, OUTCOME_NOTHING);
    leases_end(world, &lease, 1, END_REVOKED);
    snprintf(line, sizeof line, "id=L%llx", (unsigned long long)lease);
    run(world, "lease.revoke", line);
    replace_lease(world, lease);
}

static void cancel(struct world *world)
{
    const struct office *office = &world->offices[draw(world, ELECTIONS)];
    struct wait_cancel_args args = {1 + draw(world, world->index),
                                    draw(world, 2) ? END_TIMEOUT : END_CLIENT_GONE};
    if (office->count && draw(world, 4)) args.index = office->queue[draw(world, office->count)].answer;
    world->index++;
    expect(world, world->index, OUTCOME_OK);
    if (args.index) model_cancel(world, args.index, (enum end_reason)args.reason);
    apply_command(world, operation_wait_cancel, &args);
}

static void step(struct world *world)
{
    struct office *office = &world->offices[draw(world, ELECTIONS)];
    uint64_t dice = draw(world, 100);
    if (dice < 45)
        campaign(world, office);
    else if (dice < 75)
        with_token(world, office);
    else if (dice < 83)
        expire_some(world);
    else if (dice < 86)
        revoke(world);
    else if (dice < 96)
        cancel(world);
    else if (dice < 99)
        break_term(world, office);
    else
        open_session(world);
}

static void rows_and_model_agree_in_any_order(void **state)
{
    (void)state;
    size_t elected = 0, transferred = 0, broken_off = 0, session_over = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *world = test_calloc(1, sizeof *world);
        world->rows = rows_memory_new();
        world->random = seed;
        world->time_ms = 1000000;
        open_session(world);
        for (size_t i = 0; i < LEASES; i++) make_lease(world, i);
        while (world->index < STEPS) {
            step(world);
            if (!draw(world, 3)) world->index++; /* entries of others */
        }
        elected += world->elected;
        transferred += world->transferred;
        broken_off += world->broken_off;
        session_over += world->session_over;
        rows_memory_free(world->rows);
        arena_free(&world->arena);
        arena_free(&world->kept);
        test_free(world);
    }
    assert_true(elected > 10 * SEEDS && transferred > SEEDS && broken_off > SEEDS &&
                session_over > SEEDS / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_and_model_agree_in_any_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
