// links: lib support
/* Random commands of all primitives, drawn from their tables: inside and outside of transactions, with and
 * without Idempotency-Keys and fences, and what nodes propose. Two replicas do the same: one keeps its rows,
 * the other begins anew from a copy of them now and then, and its memory is dirty. After each entry: every
 * invariant of the state, the same answers, events, changes of leases and rows on both; and every request is
 * answered once or has a row that waits. */
#include <stdint.h>

static uint64_t kept_bytes;
#define EVENT_BYTES_KEPT kept_bytes
#include "coord/event.c"

#include "base/check.h"
#include "coord/coord.h"
#include "coord/primitive/group.h"
#include "coord/primitive/lease.h"
#include "coord/primitive/txn.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 250, INDEX_MAX = 8192, LEASES = 6, TOKENS = 8, TASKS = 12, NODES = 2, SPREAD = 4, TRIES = 50 };

struct replica {
    struct rows *rows;
    struct arena arena;
    struct buffer told; /* all that the last entry gave, as bytes */
};

struct world {
    struct replica replicas[2];
    struct arena arena;
    uint64_t index, random, time_ms, term;
    uint64_t leases[LEASES], tokens[TOKENS], sessions[NODES];
    size_t lease_count, token_count;
    const struct primitive *favourite; /* NULL: none */
    bool waits[INDEX_MAX];             /* by index: not answered yet */
    bool gone[INDEX_MAX];              /* its client went away */
};

static struct world *world;

static uint64_t draw(uint64_t below)
{
    world->random = world->random * 6364136223846793005u + 1442695040888963407u;
    return (world->random >> 33) % below;
}

/* --- arguments from tables --- */

static uint64_t between(const struct field *field, uint64_t most)
{
    uint64_t max = field->max && field->max < most ? field->max : most;
    if (field->max && !draw(40)) return field->max;
    return max > field->min ? field->min + draw(max - field->min + 1) : field->min;
}

static struct slice draw_lease(struct arena *arena)
{
    uint64_t which = draw(LEASES + 1);
    uint64_t lease = which < world->lease_count ? world->leases[which] : 1 + draw(world->index << 20);
    return arena_printf(arena, "L%llx", (unsigned long long)(lease ? lease : 1));
}

static uint64_t draw_number(const struct field *field)
{
    bool token = strcmp(field->name, "token") == 0 || strcmp(field->name, "if_match") == 0;
    token |= strcmp(field->name, "number") == 0 && !field->max; /* of a broadcast: an entry's index too */
    if (token && world->token_count && draw(8)) return world->tokens[draw(world->token_count)];
    return between(field, field->min + SPREAD);
}

/* Tasks have numbers for names: one that was given, or the next. */
static struct slice draw_task(struct arena *arena)
{
    struct key key = key_of(KEY_TASK_ID);
    uint64_t known = rows_number(world->replicas[0].rows, key_slice(&key));
    uint64_t newest = known > TASKS && draw(4) ? known - TASKS : 0;
    return arena_printf(arena, "%llu", (unsigned long long)(newest + 1 + draw(known - newest + 1)));
}

static struct slice draw_text(const struct field *field, struct arena *arena)
{
    char text[8];
    bool task = strcmp(field->name, "id") == 0 && field->type != FIELD_NAME; /* members have names */
    if (task || strcmp(field->name, "after") == 0) return draw_task(arena);
    size_t size = field->min > 1 ? field->min : 1;
    CHECK(size <= sizeof text);
    memset(text, 'a' + (int)draw(3), size);
    if (field->type == FIELD_BYTES && !draw(4)) text[size - 1] = (char)draw(256);
    if (size + 1 < sizeof text && !draw(6)) text[size++] = 'b';
    return arena_copy(arena, slice_of(text, size));
}

static bool draw_record(struct setting *setting, unsigned depth);
static const struct operation *draw_operation(unsigned depth);

static bool draw_inner(struct setting *setting, const struct field *field, unsigned depth)
{
    const struct operation *operation = draw_operation(depth + 1);
    if (strcmp(field->name, "if") == 0)
        while (operation->kind != OPERATION_QUERY) operation = draw_operation(depth + 1);
    void *args = setting_operation(setting, field, slice_text(operation->name), &operation);
    struct setting inner = {.record = operation->args, .data = args, .arena = setting->arena};
    return args && draw_record(&inner, depth + 1);
}

static bool draw_many(struct setting *setting, const struct field *field, unsigned depth)
{
    for (size_t items = 1 + draw(3); items--;) {
        bool set = false;
        if (field->type == FIELD_TEXTS)
            set = setting_item(setting, field, draw_text(field, setting->arena));
        else if (field->type == FIELD_LEASES)
            set = setting_item(setting, field, draw_lease(setting->arena));
        else if (field->type == FIELD_OPERATIONS)
            set = draw_inner(setting, field, depth);
        else if (field->type == FIELD_LIST) {
            struct setting inner = {
                .record = field->record, .data = setting_record(setting, field), .arena = setting->arena};
            set = inner.data && draw_record(&inner, depth);
        }
        if (!set) return false;
    }
    return true;
}

static bool draw_field(struct setting *setting, const struct field *field, unsigned depth)
{
    static const char *const crons[] = {"* * * * *", "*/2 * * * * *", "30 2 * * sun", "@hourly",
                                        "0 3 29 2 *"};
    static const char *const zones[] = {"UTC", "Europe/Berlin", "Australia/Lord_Howe", "<-03>3"};
    size_t choices = 0;
    switch ((enum field_type)field->type) {
    case FIELD_UINT:
        return setting_uint(setting, field, draw_number(field));
    case FIELD_DURATION:
        return setting_uint(setting, field, between(field, field->min + 8000));
    case FIELD_TIME:
        return setting_uint(setting, field, world->time_ms + draw(8000));
    case FIELD_LEASE:
        return setting_text(setting, field, draw_lease(setting->arena));
    case FIELD_CHOICE:
        while (field->choices[choices]) choices++;
        return setting_text(setting, field, slice_text(field->choices[draw(choices)]));
    case FIELD_BOOL:
        return setting_bool(setting, field, draw(2));
    case FIELD_NAME:
    case FIELD_TEXT:
        return setting_text(setting, field, draw_text(field, setting->arena));
    case FIELD_CRON:
        return setting_text(setting, field, slice_text(crons[draw(sizeof crons / sizeof *crons)]));
    case FIELD_ZONE:
        return setting_text(setting, field, slice_text(zones[draw(sizeof zones / sizeof *zones)]));
    case FIELD_JSON:
        return setting_json(setting, field, draw(2) ? SLICE("{\"a\":[1,null]}") : SLICE("7"));
    case FIELD_BYTES:
        return setting_bytes(setting, field, draw_text(field, setting->arena));
    case FIELD_TEXTS:
    case FIELD_LEASES:
    case FIELD_LIST:
    case FIELD_OPERATIONS:
        return draw_many(setting, field, depth);
    case FIELD_RECORD:
    case FIELD_RESULTS:
    case FIELD_REMAINING:
        break;
    }
    return (field->flags & FIELD_REQUIRED) == 0;
}

static bool draw_record(struct setting *setting, unsigned depth)
{
    uint64_t one_in = draw(3) ? 3 : 12; /* many fields make more sense when few of them are given */
    for (size_t i = 0; i < setting->record->field_count; i++) {
        const struct field *field = &setting->record->fields[i];
        if (field->flags & FIELD_HIDDEN) continue;
        bool wait = strcmp(field->name, "wait") == 0;
        bool given =
            (field->flags & FIELD_REQUIRED) || (wait && depth ? !draw(40) : draw(wait ? 2 : one_in) == 0);
        if (given && !draw_field(setting, field, depth)) return false;
    }
    return setting_done(setting);
}

/* Of depth 0: any that a client may ask for; deeper: what may stand in a transaction. Every second life is
 * mostly about one primitive. */
static const struct operation *draw_operation(unsigned depth)
{
    const struct operation *drawn = NULL;
    uint64_t count = 0;
    bool favourite = world->favourite && draw(8);
    for (size_t p = 0; primitives[p]; p++)
        for (size_t i = 0; i < primitives[p]->operation_count; i++) {
            const struct operation *operation = &primitives[p]->operations[i];
            bool usable = depth ? operation_in_txn(operation)
                                : operation->path && (operation->kind == OPERATION_COMMAND ||
                                                      operation->kind == OPERATION_QUERY);
            bool txn = operation == &txn_primitive.operations[0];
            if (!usable || (txn && depth > 2)) continue;
            if (favourite && primitives[p] != world->favourite && !(txn && !depth)) continue;
            uint64_t weight = txn && !depth ? (favourite ? 4 : 12) : 1;
            count += weight;
            if (draw(count) < weight) drawn = operation;
        }
    return drawn;
}

static void *draw_args(const struct operation *operation)
{
    for (int try = 0; try < TRIES; try++) {
        void *args = arena_alloc(&world->arena, operation->args->size);
        struct setting setting = {.record = operation->args, .data = args, .arena = &world->arena};
        if (draw_record(&setting, 0)) return args;
    }
    return NULL;
}

/* --- doing it on both --- */

static void tell_record(struct buffer *told, const struct record *shape, const void *data)
{
    if (!shape) return;
    record_encode(shape, data, told);
    record_json(shape, data, &(struct json){told, false});
}

static void tell_answers(struct buffer *told, const struct answer *answers)
{
    for (const struct answer *answer = answers; answer; answer = answer->next) {
        buffer_printf(told, "\n%llu %d %d %s ", (unsigned long long)answer->to_index, (int)answer->outcome,
                      answer->replayed, answer->shape ? answer->shape->name : "-");
        tell_record(told, answer->shape, answer->data);
        buffer_add_slice(told, answer->detail);
    }
}

static void tell_events(struct buffer *told, const struct event *events)
{
    for (const struct event *event = events; event; event = event->next) {
        buffer_printf(told, "\n%llu %llu %s %.*s ", (unsigned long long)event->revision,
                      (unsigned long long)event->time_ms, event->kind->name, SLICE_ARGS(event->path));
        tell_record(told, event->shape, event->data);
    }
}

static void soil(struct arena *arena)
{
    arena_reset(arena);
    memset(arena_alloc(arena, 4096), 0xa5, 4096);
}

static void apply_on(struct replica *replica, struct slice payload, struct apply *apply)
{
    struct command command;
    soil(&replica->arena);
    apply_begin(apply, replica->rows, &replica->arena, world->index, world->term, world->time_ms);
    CHECK(command_decode(arena_copy(&replica->arena, payload), &replica->arena, &command));
    coord_apply(apply, &command);
    replica->told.size = 0;
    tell_answers(&replica->told, apply->answers);
    for (const struct lease_change *change = apply->lease_changes; change; change = change->next)
        buffer_printf(&replica->told, "\nlease %llx %llu %llu", (unsigned long long)change->lease,
                      (unsigned long long)change->ttl_ms, (unsigned long long)change->generation);
    events_complete(replica->rows, &replica->arena, apply->events);
    tell_events(&replica->told, apply->events);
}

static void note_answers(const struct apply *apply)
{
    bool own = false;
    for (const struct answer *answer = apply->answers; answer; answer = answer->next) {
        if (answer->to_index == world->index) {
            assert_false(own);
            own = true;
        } else {
            assert_true(answer->to_index < world->index && world->waits[answer->to_index]);
            world->waits[answer->to_index] = false;
        }
        uint64_t token = answer->shape ? record_number(answer->shape, answer->data, "token") : 0;
        if (!token && answer->shape) token = record_number(answer->shape, answer->data, "revision");
        if (token) world->tokens[world->token_count < TOKENS ? world->token_count++ : draw(TOKENS)] = token;
    }
    world->waits[world->index] = !own;
    for (const struct lease_change *change = apply->lease_changes; change; change = change->next)
        if (change->ttl_ms && !draw(2))
            world->leases[world->lease_count < LEASES ? world->lease_count++ : draw(LEASES)] = change->lease;
}

static bool has_row(enum key_kind kind, uint64_t index)
{
    struct key key = key_of(kind);
    struct slice value;
    key_number(&key, index);
    return rows_get(world->replicas[0].rows, key_slice(&key), &value);
}

/* Every request waits in the rows until it is answered, or nobody waits for the answer any more. */
static void look_at_waits(void)
{
    for (uint64_t index = 1; index <= world->index; index++) {
        if (has_row(KEY_WAIT, index)) assert_true(world->waits[index] && !world->gone[index]);
        if (has_row(KEY_RETRY_WAIT, index)) assert_true(has_row(KEY_WAIT, index));
        if (world->waits[index] && !world->gone[index]) assert_true(has_row(KEY_WAIT, index));
    }
}

static void apply_command(const struct operation *operation, const void *args, uint64_t origin)
{
    struct buffer payload = {0};
    struct command command = {world->time_ms, operation, origin, origin ? 7 : 0, args};
    struct apply applies[2];
    command_encode(&command, &payload);
    world->index++;
    assert_true(world->index < INDEX_MAX);
    for (int i = 0; i < 2; i++) apply_on(&world->replicas[i], buffer_slice(&payload), &applies[i]);
    if (getenv("SHOW"))
        printf("%llu %s\n%.*s\n", (unsigned long long)world->index, operation->name,
               (int)world->replicas[0].told.size, (const char *)world->replicas[0].told.data);
    assert_true(slice_equal(buffer_slice(&world->replicas[0].told), buffer_slice(&world->replicas[1].told)));
    assert_true(rows_digest(world->replicas[0].rows) == rows_digest(world->replicas[1].rows));
    note_answers(&applies[0]);
    for (int i = 0; i < 2; i++) coord_check(world->replicas[i].rows, &world->replicas[i].arena);
    look_at_waits();
    buffer_free(&payload);
}

static void ask(const struct operation *operation, const void *args)
{
    for (int i = 0; i < 2; i++) {
        struct replica *replica = &world->replicas[i];
        struct apply apply;
        uint64_t before = rows_digest(replica->rows);
        soil(&replica->arena);
        apply_begin(&apply, replica->rows, &replica->arena, world->index, world->term, world->time_ms);
        coord_query(&apply, operation, args);
        replica->told.size = 0;
        tell_answers(&replica->told, apply.answers);
        assert_true(rows_digest(replica->rows) == before && !apply.events && !apply.lease_changes);
    }
    assert_true(slice_equal(buffer_slice(&world->replicas[0].told), buffer_slice(&world->replicas[1].told)));
}

/* --- steps --- */

static uint64_t draw_origin(void)
{
    return draw(3) ? world->sessions[draw(NODES)] : 0;
}

static void client(void)
{
    const struct operation *operation = draw_operation(0);
    struct operation_item item = {operation, draw_args(operation)};
    if (!item.args) return;
    if (operation->kind == OPERATION_QUERY) {
        ask(operation, item.args);
        return;
    }
    struct guarded_args guarded = {.operation = {&item, 1}};
    if (!draw(3)) guarded.retry_key = arena_printf(&world->arena, "k%llu", (unsigned long long)draw(16));
    if (!draw(4) && world->token_count) {
        guarded.fence_lock = draw(2) ? SLICE("a") : SLICE("b");
        guarded.fence_token = world->tokens[draw(world->token_count)];
    }
    bool guard = guarded.retry_key.size || guarded.fence_lock.size;
    int times = guard && !draw(4) ? 2 : 1;
    while (times--)
        apply_command(guard ? operation_guarded : operation, guard ? (const void *)&guarded : item.args,
                      draw_origin());
}

static void expire_some(void)
{
    struct lease_expire_item items[4];
    struct lease_expire_args args = {draw(8) ? world->term : world->term - 1, {items, 0}};
    struct lease_row row;
    for (uint64_t from = 0;
         args.items.count < 4 && lease_next(world->replicas[0].rows, &world->arena, from, &row);
         from = row.id)
        if (!draw(3))
            items[args.items.count++] = (struct lease_expire_item){row.id, draw(5) ? row.generation : 1};
    apply_command(operation_lease_expire, &args, 0);
}

/* What a leader says it observed of members, some of whom are others by now. */
static void observe_some(void)
{
    struct observe_item items[6];
    struct group_observe_args args = {draw(8) ? world->term : world->term - 1, {items, 0}};
    struct apply reading;
    struct key from = key_of(KEY_MEMBER);
    struct slice name;
    struct member member;
    apply_begin(&reading, world->replicas[0].rows, &world->arena, world->index, world->term, world->time_ms);
    while (args.items.count < 6 && member_next_of_all(&reading, &from, &name, &member))
        if (member.lease && draw(3))
            items[args.items.count++] = (struct observe_item){
                member.lease, draw(8) ? member.token : 1, OBSERVED_SILENT + draw(4), HEALTH_PASS + draw(3)};
    if (args.items.count) apply_command(operation_group_observe, &args, 0);
}

static void open_session(void)
{
    struct lease_session_args args = {1 + draw(NODES), world->index, 10000};
    apply_command(operation_lease_session, &args, 0);
    world->sessions[args.node - 1] = lease_session_of(world->replicas[0].rows, args.node);
}

static void cancel(void)
{
    struct wait_cancel_args args = {0, draw(2) ? END_TIMEOUT : END_CLIENT_GONE};
    for (int try = 0; try < 200 && !(args.index && world->waits[args.index]); try++)
        args.index = 1 + draw(world->index);
    if (args.reason == END_CLIENT_GONE) world->gone[args.index] = true;
    apply_command(operation_wait_cancel, &args, 0);
}

static void catch_up(void)
{
    struct replica *second = &world->replicas[1];
    struct rows *copy = rows_memory_clone(world->replicas[0].rows);
    rows_memory_free(second->rows);
    second->rows = copy;
}

static void read_history(void)
{
    struct event *events;
    uint64_t after = events_floor(world->replicas[0].rows);
    for (int i = 0; i < 2; i++) {
        struct replica *replica = &world->replicas[i];
        replica->told.size = 0;
        soil(&replica->arena);
        for (uint64_t at = after; (events = events_next(replica->rows, &replica->arena, at));
             at = events->revision)
            tell_events(&replica->told, events);
    }
    assert_true(slice_equal(buffer_slice(&world->replicas[0].told), buffer_slice(&world->replicas[1].told)));
}

static void step(void)
{
    struct rows *rows = world->replicas[0].rows;
    uint64_t dice = draw(100);
    if (dice < 70)
        client();
    else if (dice < 74)
        expire_some();
    else if (dice < 75)
        observe_some();
    else if (dice < 77)
        open_session();
    else if (dice < 82)
        cancel();
    else if (dice < 90 && coord_wants_pulse(rows))
        apply_command(operation_pulse, &(struct pulse_args){0}, 0);
    else if (dice < 95) {
        if (!draw(12)) world->time_ms += 11 * 60 * 1000;
        if (coord_due_ms(rows) <= world->time_ms) apply_command(operation_due, &(struct due_args){0}, 0);
    } else if (dice < 96)
        world->term++;
    else if (dice < 98)
        catch_up();
    else
        read_history();
    world->time_ms += draw(400);
    if (!draw(5)) world->index++; /* entries of others */
    arena_reset(&world->arena);
}

static bool has_commands(const struct primitive *primitive)
{
    bool commands = false, queries = false;
    for (size_t i = 0; i < primitive->operation_count; i++) {
        const struct operation *operation = &primitive->operations[i];
        commands |= operation->path && operation->kind == OPERATION_COMMAND;
        queries |= operation_in_txn(operation) && operation->kind == OPERATION_QUERY;
    }
    return commands && queries;
}

static void live(uint64_t seed)
{
    world = test_calloc(1, sizeof *world);
    world->random = seed * 0x9e3779b97f4a7c15u;
    size_t count = 0;
    while (primitives[count]) count++;
    while (draw(2) && !world->favourite) {
        const struct primitive *drawn = primitives[draw(count)];
        if (has_commands(drawn)) world->favourite = drawn;
    }
    if (getenv("SHOW")) printf("favourite: %s\n", world->favourite ? world->favourite->name : "none");
    kept_bytes = (uint64_t[]){300, 3000, 20000, 1 << 26}[draw(4)];
    world->index = 1;
    world->term = 2;
    world->time_ms = 1700000000000;
    for (int i = 0; i < 2; i++) world->replicas[i].rows = rows_memory_new();
    for (int i = 0; i < 3; i++) open_session();
    for (int i = 0; i < STEPS; i++) step();
    for (int i = 0; i < 2; i++) {
        rows_memory_free(world->replicas[i].rows);
        arena_free(&world->replicas[i].arena);
        buffer_free(&world->replicas[i].told);
    }
    arena_free(&world->arena);
    test_free(world);
}

/* SEEDS="FROM TO" in the environment: more of them, by hand. */
static void replicas_agree_whatever_comes(void **state)
{
    unsigned long long from = 1, to = RANDOM_LIVES(150);
    (void)state;
    if (getenv("SEEDS")) sscanf(getenv("SEEDS"), "%llu %llu", &from, &to);
    for (unsigned long long seed = from; seed <= to; seed++) {
        if (getenv("SEEDS")) fprintf(stderr, "\r%llu ", seed);
        live(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(replicas_agree_whatever_comes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
