// links: lib support
/* Random entries of one to four operations on a few keys, beside a model that knows nothing of rows: the list
 * of all that ever changed. After each entry: every invariant of the state, the events it told, and reads,
 * lists and counts at revisions old and new, for histories of all lengths. */
#include <stdint.h>

static uint64_t kept_bytes, looks_max;
#define EVENT_BYTES_KEPT kept_bytes
#include "coord/event.c"
#define KV_LIST_LOOKS looks_max
#define KV_COUNT_LOOKS looks_max
#include "coord/primitive/kv_view.c"

#include "coord/coord.h"
#include "coord/primitive/kv.h"
#include "tests/support/rows_memory.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/kv_model.h"

#include <stdio.h>
#include <stdlib.h>

/* --- operations --- */

static const struct answer *run(struct apply *apply, struct args *args)
{
    assert_true(setting_done(&args->setting));
    struct answer **end = apply->answers_end;
    apply->settled = false;
    apply->fence.lock = fence ? slice_text(locks[fence - 1]) : (struct slice){0};
    args->operation->apply(apply, args->setting.data);
    assert_non_null(*end);
    assert_null((*end)->next);
    return *end;
}

static const struct answer *run_query(struct args *args)
{
    struct apply *apply = arena_alloc(&arena, sizeof *apply);
    apply_begin(apply, rows, &arena, model.index, 1, now_ms);
    return run(apply, args);
}

static uint64_t some_lease(void)
{
    if (!model.lease_count || !draw(30)) return draw(2) ? (uint64_t)77 << LEASE_ENTRY_BITS << 12 : 5;
    size_t newest = model.lease_count < 6 ? model.lease_count : 6;
    return model.leases[model.lease_count - 1 - draw(newest)];
}

static enum outcome lease_outcome(uint64_t lease)
{
    size_t place = lease_place(lease);
    if (place < LEASES) return model.over[place] ? OUTCOME_LEASE_OVER : OUTCOME_OK;
    return lease >> LEASE_ENTRY_BITS && lease >> LEASE_ENTRY_BITS <= model.index ? OUTCOME_LEASE_OVER
                                                                                 : OUTCOME_LEASE_NOT_FOUND;
}

static uint64_t some_revision(const struct change *live)
{
    return live && draw(3) ? live->index : 1 + draw(model.index);
}

struct put {
    unsigned key;
    uint64_t lease, if_match;
    bool ttl, if_none_match, if_exists;
};

static enum outcome put_outcome(const struct put *put, const struct change *live)
{
    if ((put->ttl && put->lease) || ((put->if_match || put->if_exists) && put->if_none_match))
        return OUTCOME_SENSELESS;
    if (put->lease && lease_outcome(put->lease) != OUTCOME_OK) return lease_outcome(put->lease);
    if (is_guarded(put->key)) return OUTCOME_GUARDED;
    if (changed_now(put->key)) return OUTCOME_SENSELESS;
    if (put->if_match && (!live || live->index != put->if_match)) return OUTCOME_PRECONDITION_FAILED;
    if (put->if_none_match && live) return OUTCOME_PRECONDITION_FAILED;
    if (put->if_exists && !live) return OUTCOME_PRECONDITION_FAILED;
    return live ? OUTCOME_OK : OUTCOME_CREATED;
}

static enum outcome put_key(struct apply *apply)
{
    struct put put = {
        .key = (unsigned)draw(KEYS), .ttl = !draw(5), .if_none_match = !draw(8), .if_exists = !draw(9)};
    struct args args = args_of("kv.put");
    const struct change *live = there(put.key, UINT64_MAX), *old = live;
    struct change change = {.kind = KV_PUT, .key = put.key, .random = draw(1000), .size = draw(60)};
    bool prev = !draw(3);
    if (!draw(3)) put.lease = some_lease();
    if (!draw(6)) put.if_match = some_revision(live);
    set_bytes(&args, "key", key_number_(put.key));
    set_bytes(&args, "value", value_of(change.random, change.size));
    if (put.ttl) set_number(&args, "ttl", 5000);
    if (put.lease) set_lease(&args, "lease", put.lease);
    if (put.if_match) set_number(&args, "if_match", put.if_match);
    if (put.if_none_match) set_true(&args, "if_none_match");
    if (put.if_exists) set_true(&args, "if_exists");
    if (prev) set_true(&args, "prev");
    const struct answer *answer = run(apply, &args);
    enum outcome outcome = put_outcome(&put, live);
    assert_int_equal(answer->outcome, outcome);
    if (outcome >= OUTCOME_NOTHING) return outcome;
    uint64_t lease = record_number(answer->shape, answer->data, "lease");
    if (put.ttl) note_lease(lease, true);
    change.lease = put.ttl ? lease : put.lease;
    change.create = live ? live->create : model.index;
    change.version = live ? live->version + 1 : 1;
    struct change *added = add(change);
    if (live) left_lease(live->lease);
    same_version(answer->shape, answer->data, added);
    assert_int_equal(record_number(answer->shape, answer->data, "revision"), model.index);
    assert_int_equal(record_number(answer->shape, answer->data, "expires_in_ms"),
                     put.ttl ? lease : 0); /* what is left of it */
    assert_true(flag_at(answer->shape, answer->data, "created") == !live);
    same_prev(answer->shape, answer->data, prev ? old : NULL);
    return outcome;
}

static enum outcome delete_one(struct apply *apply)
{
    unsigned key = (unsigned)draw(KEYS);
    struct args args = args_of("kv.delete");
    const struct change *live = there(key, UINT64_MAX);
    uint64_t if_match = draw(4) ? 0 : some_revision(live);
    bool prev = draw(2);
    set_bytes(&args, "key", key_number_(key));
    if (if_match) set_number(&args, "if_match", if_match);
    if (prev) set_true(&args, "prev");
    const struct answer *answer = run(apply, &args);
    enum outcome outcome = OUTCOME_OK;
    if (is_guarded(key))
        outcome = OUTCOME_GUARDED;
    else if (live && changed_now(key))
        outcome = OUTCOME_SENSELESS;
    else if (if_match && (!live || live->index != if_match))
        outcome = OUTCOME_PRECONDITION_FAILED;
    assert_int_equal(answer->outcome, outcome);
    if (outcome != OUTCOME_OK) return outcome;
    assert_true(flag_at(answer->shape, answer->data, "deleted") == (live != NULL));
    assert_int_equal(record_number(answer->shape, answer->data, "revision"), model.index);
    same_prev(answer->shape, answer->data, prev ? live : NULL);
    if (live) {
        delete_key(key, KV_END_DELETED);
        left_lease(live->lease);
    }
    return outcome;
}

/* --- ranges --- */

struct range {
    struct slice prefix, from, to;
};

static struct range draw_range(struct args *args)
{
    struct range range = {0};
    range.prefix = prefixes[draw(PREFIXES)];
    if (!draw(3)) range.from = key_number_((unsigned)draw(KEYS));
    if (!draw(3)) range.to = key_number_((unsigned)draw(KEYS));
    if (range.prefix.size) set_bytes(args, "prefix", range.prefix);
    if (range.from.size) set_bytes(args, "from", range.from);
    if (range.to.size) set_bytes(args, "to", range.to);
    return range;
}

static bool within(const struct range *range, unsigned number)
{
    struct slice key = key_number_(number);
    return slice_starts_with(key, range->prefix) && slice_compare(key, range->from) >= 0 &&
           (!range->to.size || slice_compare(key, range->to) < 0);
}

static enum outcome delete_many(struct apply *apply)
{
    struct args args = args_of("kv.delete_prefix");
    struct range range = draw_range(&args);
    uint64_t limit = draw(2) ? 0 : 1 + draw(4), count = 0;
    if (limit) set_number(&args, "limit", limit);
    const struct answer *answer = run(apply, &args);
    enum outcome outcome = OUTCOME_OK;
    unsigned found[KEYS];
    bool more = false;
    if (!range.prefix.size && !range.from.size && !range.to.size) outcome = OUTCOME_SENSELESS;
    for (unsigned key = 0; key < KEYS && outcome == OUTCOME_OK; key++) {
        if (!within(&range, key) || !there(key, UINT64_MAX)) continue;
        if (limit && count == limit) {
            more = true;
            break;
        }
        if (is_guarded(key))
            outcome = OUTCOME_GUARDED;
        else if (changed_now(key))
            outcome = OUTCOME_SENSELESS;
        found[count++] = key;
    }
    assert_int_equal(answer->outcome, outcome);
    if (outcome != OUTCOME_OK) return outcome;
    assert_int_equal(record_number(answer->shape, answer->data, "deleted"), count);
    assert_int_equal(record_number(answer->shape, answer->data, "revision"), model.index);
    assert_true(flag_at(answer->shape, answer->data, "more") == more);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t lease = there(found[i], UINT64_MAX)->lease;
        delete_key(found[i], KV_END_DELETED);
        left_lease(lease);
    }
    return outcome;
}

static enum outcome change_guard(struct apply *apply)
{
    unsigned number = (unsigned)draw(GUARDS), lock = (unsigned)draw(2);
    struct guard *guard = &model.guards[number];
    bool put = draw(2), changes_ = put ? !guard->there || guard->lock != lock : guard->there;
    struct args args = args_of(put ? "guard.put" : "guard.delete");
    set_bytes(&args, "prefix", guarded[number]);
    if (put) set_text(&args, "lock", slice_text(locks[lock]));
    const struct answer *answer = run(apply, &args);
    assert_int_equal(answer->outcome, put && !guard->there ? OUTCOME_CREATED : OUTCOME_OK);
    if (!put) assert_true(flag_at(answer->shape, answer->data, "deleted") == guard->there);
    if (changes_) add((struct change){.kind = put ? KV_GUARDED : KV_UNGUARDED, .key = number});
    *guard = put ? (struct guard){true, lock} : (struct guard){0};
    return OUTCOME_OK;
}

static enum outcome change_lease(struct apply *apply)
{
    uint64_t lease = some_lease();
    if (draw(2)) {
        struct args args = args_of("lease.create");
        const struct answer *answer = run(apply, &args);
        note_lease(record_number(answer->shape, answer->data, "lease"), false);
        return OUTCOME_OK;
    }
    struct args args = args_of("lease.revoke");
    set_lease(&args, "id", lease);
    const struct answer *answer = run(apply, &args);
    enum outcome outcome = lease_outcome(lease);
    assert_int_equal(answer->outcome, outcome == OUTCOME_OK ? OUTCOME_NOTHING : outcome);
    if (outcome == OUTCOME_OK) end_lease(lease, KV_END_LEASE + END_REVOKED - 1);
    return outcome;
}

/* Two leases may go at once; a wrong generation keeps one. */
static enum outcome expire_some(struct apply *apply)
{
    struct lease_expire_item items[2];
    struct lease_expire_args args = {1, {items, 0}};
    struct lease_row row;
    uint64_t ended[2];
    size_t count = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t lease = some_lease();
        if (lease_outcome(lease) != OUTCOME_OK || (count && ended[0] == lease)) continue;
        assert_true(lease_get(apply, lease, &row));
        bool wrong = !draw(6);
        items[args.items.count++] = (struct lease_expire_item){lease, row.generation + wrong};
        if (!wrong) ended[count++] = lease;
    }
    apply->settled = false;
    operation_lease_expire->apply(apply, &args);
    for (size_t i = 0; i < count; i++) end_lease(ended[i], KV_END_LEASE + END_EXPIRED - 1);
    return OUTCOME_OK;
}

static bool holds(uint64_t result, int order)
{
    return result == 1 ? order == 0 : result == 2 ? order != 0 : result == 3 ? order > 0 : order < 0;
}

static int order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static bool compare_one(unsigned target, uint64_t result, const struct change *live, uint64_t number,
                        struct slice value)
{
    switch (target) {
    case 0:
        return holds(result, order(live ? live->index : 0, number));
    case 1:
        return holds(result, order(live ? live->version : 0, number));
    case 2:
        return live && holds(result, slice_compare(value_of(live->random, live->size), value));
    case 3:
        return holds(result, (live != NULL) - (number != 0));
    case 4:
        return holds(result, order(live ? live->create : 0, number));
    default:
        return holds(result, order(live ? live->lease : 0, number));
    }
}

static void set_operand(struct args *args, unsigned target, uint64_t number, struct slice value)
{
    static const char *const names[] = {"revision", "version", "value", "exists", "create_revision", "lease"};
    if (draw(2) || (target == 2 && !value.size) || (target == 5 && !number))
        set_text(args, "target", slice_text(names[target]));
    if (target == 2 && value.size) set_bytes(args, "value", value);
    if (target == 3) assert_true(setting_bool(&args->setting, field_of(args, "exists"), number != 0));
    if (target == 5 && number) set_lease(args, "lease", number);
    if (target != 2 && target != 3 && target != 5) set_number(args, names[target], number);
}

static void compare(struct apply *apply)
{
    static const char *const results[] = {"equal", "not_equal", "greater", "less"};
    struct args args = args_of("kv.compare");
    unsigned key = (unsigned)draw(KEYS), target = (unsigned)draw(6);
    const struct change *live = there(key, UINT64_MAX);
    uint64_t result = 1 + draw(target == 3 ? 2 : 4), number = draw(4);
    struct slice value = {0};
    if (target == 0 || target == 4) number = draw(4) ? some_revision(live) : 0;
    if (target == 2 && live && draw(3)) value = value_of(live->random, draw(2) ? live->size : live->size / 2);
    if (target == 3) number = draw(2);
    if (target == 5) number = live && draw(2) ? live->lease : draw(2) ? some_lease() : 0;
    set_operand(&args, target, number, value);
    set_text(&args, "result", slice_text(results[result - 1]));
    bool all = true, any = false;
    if (draw(2)) {
        set_bytes(&args, "key", key_number_(key));
        all = compare_one(target, result, live, number, value);
    } else {
        struct range range = draw_range(&args);
        if (!range.prefix.size && !range.from.size && !range.to.size) return;
        for (unsigned i = 0; i < KEYS; i++) {
            const struct change *found = within(&range, i) ? there(i, UINT64_MAX) : NULL;
            any |= found != NULL;
            if (found) all &= compare_one(target, result, found, number, value);
        }
        if (!any) all = compare_one(target, result, NULL, number, value);
    }
    assert_int_equal(run(apply, &args)->outcome, all ? OUTCOME_OK : OUTCOME_PRECONDITION_FAILED);
}

/* --- entries --- */

static enum outcome one_operation(struct apply *apply)
{
    uint64_t dice = draw(100);
    fence = (unsigned)draw(3);
    if (dice < 50) return put_key(apply);
    if (dice < 68) return delete_one(apply);
    if (dice < 74) return delete_many(apply);
    if (dice < 79) return change_guard(apply);
    if (dice < 92) return change_lease(apply);
    return expire_some(apply);
}

/* As a transaction does it: all, or nothing. */
static void entry(void)
{
    struct apply apply;
    struct model before = model;
    uint64_t digest = rows_digest(rows), count = draw(3) ? 1 : 1 + draw(OPERATIONS_MAX);
    bool keep = count == 1 || draw(4);
    model.index++;
    apply_begin(&apply, rows, &arena, model.index, 1, now_ms += draw(50));
    rows_try(rows);
    for (uint64_t i = 0; i < count; i++) {
        one_operation(&apply);
        compare(&apply);
    }
    rows_decide(rows, keep);
    if (keep) {
        events_keep(&apply);
        return;
    }
    assert_int_equal(rows_digest(rows), digest);
    model = before;
    model.index++;
}

/* --- what can be read --- */

static void same_event(const struct event *event, const struct change *change, size_t place)
{
    struct slice name = change->kind <= KV_DELETED ? key_number_(change->key) : guarded[change->key];
    struct slice path = arena_printf(&arena, "%s", change->kind <= KV_DELETED ? "/kv/" : "/guards/");
    assert_int_equal(event->kind->code, change->kind);
    assert_int_equal(event->revision, change->index);
    assert_true(slice_starts_with(event->path, path) &&
                slice_equal(slice_skip(event->path, path.size), name));
    if (change->kind > KV_DELETED) return;
    assert_true(slice_equal(bytes_at(event->shape, event->data, "key"), name));
    same_prev(event->shape, event->data, last_change(change->key, UINT64_MAX, place));
    if (change->kind == KV_DELETED) {
        assert_int_equal(record_number(event->shape, event->data, "reason"), change->reason);
        return;
    }
    same_version(event->shape, event->data, change);
    same_value(event->shape, event->data, change);
    assert_true(flag_at(event->shape, event->data, "created") == (change->version == 1));
}

/* All that is left of the history, or its end. */
static void replay(uint64_t after)
{
    size_t place = 0;
    while (place < model.changes && changes[place].index <= after) place++;
    for (struct event *event = events_next(rows, &arena, after); event;
         event = events_next(rows, &arena, after)) {
        after = event->revision;
        for (; event; event = event->next) {
            if (event->primitive != &kv_primitive) continue;
            assert_true(place < model.changes);
            same_event(event, &changes[place], place);
            place++;
        }
    }
    assert_int_equal(place, model.changes);
}

static enum outcome readable(uint64_t at)
{
    if (at > model.index) return OUTCOME_REVISION_AHEAD;
    return at < events_floor(rows) ? OUTCOME_REVISION_GONE : OUTCOME_OK;
}

static void same_entry(const void *data, const struct change *change, bool value)
{
    assert_true(slice_equal(bytes_at(&kv_entry_record, data, "key"), key_number_(change->key)));
    assert_int_equal(record_number(&kv_entry_record, data, "revision"), change->index);
    assert_int_equal(record_number(&kv_entry_record, data, "size"), change->size);
    same_version(&kv_entry_record, data, change);
    if (value)
        same_value(&kv_entry_record, data, change);
    else
        assert_int_equal(bytes_at(&kv_entry_record, data, "value").size, 0);
}

static void look_at_key(unsigned key, uint64_t at)
{
    struct args args = args_of("kv.get");
    set_bytes(&args, "key", key_number_(key));
    if (at) set_number(&args, "at", at);
    const struct answer *answer = run_query(&args);
    enum outcome outcome = at ? readable(at) : OUTCOME_OK;
    const struct change *change = there(key, at ? at : UINT64_MAX);
    if (outcome == OUTCOME_OK && !change) outcome = OUTCOME_KEY_NOT_FOUND;
    assert_int_equal(answer->outcome, outcome);
    if (outcome == OUTCOME_OK) same_entry(answer->data, change, true);
}

/* One page; gives where the next one begins, empty at the end. */
static struct slice look_at_page(const struct args *asked, struct slice cursor, uint64_t limit,
                                 bool keys_only, const struct range *range, uint64_t at, unsigned *next)
{
    struct args args = args_of("kv.list");
    memcpy(args.setting.data, asked->setting.data, asked->operation->args->size);
    if (cursor.size) set_bytes(&args, "cursor", cursor);
    if (at) set_number(&args, "at", at);
    if (keys_only) set_true(&args, "keys_only");
    set_number(&args, "limit", limit);
    const struct answer *answer = run_query(&args);
    assert_int_equal(answer->outcome, at ? readable(at) : OUTCOME_OK);
    if (answer->outcome != OUTCOME_OK) return (struct slice){0};
    struct list list;
    memcpy(&list, field_at(answer->shape, answer->data, "keys"), sizeof list);
    assert_int_equal(record_number(answer->shape, answer->data, "count"), list.count);
    assert_int_equal(record_number(answer->shape, answer->data, "revision"), at ? at : model.index);
    for (size_t i = 0; i < list.count; i++, ++*next) {
        while (*next < KEYS && !(within(range, *next) && there(*next, at ? at : UINT64_MAX))) ++*next;
        assert_true(*next < KEYS);
        same_entry((const char *)list.items + i * kv_entry_record.size, there(*next, at ? at : UINT64_MAX),
                   !keys_only);
    }
    bool more = flag_at(answer->shape, answer->data, "more");
    struct slice after = bytes_at(answer->shape, answer->data, "cursor");
    assert_true(more == (after.size != 0) && (!more || list.count == limit || looks_max <= KEYS));
    for (unsigned key = *next; key < KEYS && !more; key++)
        assert_false(within(range, key) && there(key, at ? at : UINT64_MAX));
    return after;
}

static uint64_t counted(const struct args *asked, uint64_t at)
{
    struct slice cursor = {0};
    uint64_t count = 0;
    do {
        struct args args = args_of("kv.list");
        memcpy(args.setting.data, asked->setting.data, asked->operation->args->size);
        if (cursor.size) set_bytes(&args, "cursor", cursor);
        if (at) set_number(&args, "at", at);
        set_true(&args, "count_only");
        const struct answer *answer = run_query(&args);
        assert_int_equal(answer->outcome, OUTCOME_OK);
        count += record_number(answer->shape, answer->data, "count");
        cursor = bytes_at(answer->shape, answer->data, "cursor");
        assert_true(flag_at(answer->shape, answer->data, "more") == (cursor.size != 0));
        assert_true(!cursor.size || looks_max <= KEYS);
    } while (cursor.size);
    return count;
}

static void look_at_range(uint64_t at)
{
    struct args args = args_of("kv.list");
    struct range range = draw_range(&args);
    struct slice cursor = {0};
    uint64_t limit = 1 + draw(6), count = 0;
    unsigned next = 0;
    bool keys_only = draw(2);
    do cursor = look_at_page(&args, cursor, limit, keys_only, &range, at, &next);
    while (cursor.size);
    for (unsigned key = 0; key < KEYS; key++)
        count += within(&range, key) && there(key, at ? at : UINT64_MAX);
    if (!at || readable(at) == OUTCOME_OK) assert_int_equal(counted(&args, at), count);
}

static void look_at_leases(void)
{
    struct apply apply = {.rows = rows, .arena = &arena};
    struct lease_row row;
    for (size_t i = 0; i < model.lease_count; i++)
        assert_true(lease_get(&apply, model.leases[i], &row) == !model.over[i]);
}

static void look_at_dense_revisions(void)
{
    uint64_t floor = events_floor(rows);
    assert_int_equal(kv_index_of_revision(rows, model.dense + 1), 0);
    for (size_t i = 0; i < model.changes; i++) {
        if (changes[i].kind > KV_DELETED || draw(4)) continue;
        uint64_t index = kv_index_of_revision(rows, changes[i].dense);
        assert_true(index == changes[i].index || (!index && changes[i].index <= floor));
    }
}

static void look(void)
{
    uint64_t floor = events_floor(rows);
    assert_true(floor >= floor_before && floor <= model.index);
    floor_before = floor;
    struct arena checking = {0};
    coord_check(rows, &checking);
    arena_free(&checking);
    replay(model.index - 1);
    if (!draw(20)) replay(floor);
    if (!draw(5)) look_at_dense_revisions();
    look_at_leases();
    for (unsigned key = 0; key < KEYS; key++) {
        look_at_key(key, 0);
        look_at_key(key, floor ? floor : 1);
        look_at_key(key, 1 + draw(model.index + 2));
    }
    look_at_range(0);
    look_at_range(1 + draw(model.index + 1));
    look_at_range(floor ? floor : 1);
    arena_reset(&arena);
}

static void keys_are_what_a_list_of_changes_says(void **unused)
{
    (void)unused;
    static const uint64_t kept[] = {1, 400, 2500, 12000, (uint64_t)1 << 40};
    memset(long_key, 0xff, sizeof long_key);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        state = seed;
        kept_bytes = kept[seed % (sizeof kept / sizeof *kept)];
        looks_max = draw(2) ? 1 + draw(4) : 1000;
        rows = rows_memory_new();
        model = (struct model){.dense = 1};
        floor_before = 0;
        now_ms = 1000000;
        while (model.index < ENTRIES) {
            entry();
            look();
            if (!draw(5)) model.index += 1 + draw(3); /* entries of others */
        }
        rows_memory_free(rows);
    }
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keys_are_what_a_list_of_changes_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
