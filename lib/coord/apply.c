#include "coord/apply.h"

#include "base/check.h"

void apply_begin(struct apply *apply, struct rows *rows, struct arena *arena, uint64_t index, uint64_t term,
                 uint64_t time_ms)
{
    *apply = (struct apply){.rows = rows, .arena = arena, .index = index, .term = term, .time_ms = time_ms};
    apply->answers_end = &apply->answers;
    apply->lease_changes_end = &apply->lease_changes;
    apply->events_end = &apply->events;
}

static void add_answer(struct apply *apply, struct answer answer)
{
    if (answer.to_index == apply->index) {
        CHECK(!apply->settled);
        apply->settled = true;
    }
    struct answer *added = arena_alloc(apply->arena, sizeof *added);
    *added = answer;
    *apply->answers_end = added;
    apply->answers_end = &added->next;
}

void apply_answer(struct apply *apply, enum outcome outcome, const struct record *shape, const void *data)
{
    apply_answer_detail(apply, outcome, shape, data, (struct slice){0});
}

void apply_answer_detail(struct apply *apply, enum outcome outcome, const struct record *shape,
                         const void *data, struct slice detail)
{
    add_answer(
        apply,
        (struct answer){
            .to_index = apply->index, .outcome = outcome, .shape = shape, .data = data, .detail = detail});
}

void apply_answer_again(struct apply *apply, enum outcome outcome, const struct record *shape,
                        const void *data, struct slice detail, bool replayed)
{
    add_answer(apply, (struct answer){.to_index = apply->index,
                                      .outcome = outcome,
                                      .shape = shape,
                                      .data = data,
                                      .detail = detail,
                                      .replayed = replayed});
}

void apply_answer_to(struct apply *apply, uint64_t index, enum outcome outcome, const struct record *shape,
                     const void *data)
{
    add_answer(apply, (struct answer){.to_index = index, .outcome = outcome, .shape = shape, .data = data});
}

void apply_waits(struct apply *apply)
{
    CHECK(!apply->settled);
    apply->settled = true;
}

void apply_lease_change(struct apply *apply, uint64_t lease, uint64_t ttl_ms, uint64_t generation)
{
    struct lease_change *added = arena_alloc(apply->arena, sizeof *added);
    *added = (struct lease_change){.lease = lease, .ttl_ms = ttl_ms, .generation = generation};
    *apply->lease_changes_end = added;
    apply->lease_changes_end = &added->next;
}

void apply_renews(struct apply *apply, uint64_t lease)
{
    apply_renews_noting(apply, lease, slice_of(NULL, 0));
}

void apply_renews_noting(struct apply *apply, uint64_t lease, struct slice note)
{
    if ((apply->renewal_count & (apply->renewal_count - 1)) == 0) {
        size_t room = apply->renewal_count ? apply->renewal_count * 2 : 1;
        struct renewal *renewals = arena_alloc(apply->arena, room * sizeof *renewals);
        if (apply->renewal_count) memcpy(renewals, apply->renewals, apply->renewal_count * sizeof *renewals);
        apply->renewals = renewals;
    }
    apply->renewals[apply->renewal_count++] = (struct renewal){.lease = lease, .note = note};
}

bool row_get(struct apply *apply, struct slice key, const struct record *record, void *data)
{
    struct slice value;
    if (!rows_get(apply->rows, key, &value)) return false;
    value = arena_copy(apply->arena, value);
    if (!record_decode(record, data, value, apply->arena))
        fatal("the state is damaged: a row of kind '%c' is no %s; restore this node from the others",
              key.data[0], record->name);
    return true;
}

void row_put(struct apply *apply, struct slice key, const struct record *record, const void *data)
{
    struct buffer value = {0};
    record_encode(record, data, &value);
    rows_put(apply->rows, key, buffer_slice(&value));
    buffer_free(&value);
}
