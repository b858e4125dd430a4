/* Terms of office and the queue: how an election goes from one leader to the next. */
#include "base/check.h"
#include "coord/primitive/election.h"

enum { ELECTED_MAX = 1000 /* leases that one entry starts; further elections go by pulse */ };

static struct slice term_what(struct election *election)
{
    return object_what(election->apply, election->name, 't', slice_of(NULL, 0));
}

bool election_has_elected(const struct election *election)
{
    return election->row.token >= election->apply->index;
}

void election_elect(struct election *election, const struct candidacy *candidacy)
{
    struct apply *apply = election->apply;
    CHECK(!election->row.leader && !election_has_elected(election));
    struct term *term = arena_alloc(apply->arena, sizeof *term);
    *term = (struct term){.token = apply->index,
                          .lease = candidacy->lease,
                          .since_ms = apply->time_ms,
                          .candidate = candidacy->candidate,
                          .value = candidacy->value};
    if (!term->lease)
        term->lease =
            lease_start(apply, LEASE_OWN, candidacy->ttl_ms, candidacy->candidate, slice_of(NULL, 0));
    lease_attach(apply, term->lease, ELECTION_CODE, term_what(election));
    election->row.leader = term;
    election->row.token = term->token;
    election->changed = true;
    election_tell(election, ELECTION_ELECTED, NULL);
    if (!candidacy->answer_index) return;
    apply_answer_to(apply, candidacy->answer_index, OUTCOME_CREATED, &election_term_record,
                    election_term(election, apply->time_ms - candidacy->since_ms));
}

static void remember(struct election *election, const struct term_past *ended)
{
    struct list *history = &election->row.history;
    struct term_past *past = arena_alloc(election->apply->arena, ELECTION_HISTORY * sizeof *past);
    size_t kept = history->count < ELECTION_HISTORY ? history->count : ELECTION_HISTORY - 1;
    if (kept) memcpy(past + 1, history->items, kept * sizeof *past);
    past[0] = *ended;
    *history = (struct list){past, kept + 1};
}

void election_end_term(struct election *election, enum end_reason reason, struct slice detail)
{
    const struct term *term = election->row.leader;
    struct term_past past = {.token = term->token,
                             .since_ms = term->since_ms,
                             .ended_ms = election->apply->time_ms,
                             .reason = reason,
                             .candidate = term->candidate,
                             .detail = detail};
    election_tell(election, ELECTION_ENDED, &past);
    remember(election, &past);
    election->row.leader = NULL;
    election->changed = true;
    lease_detach(election->apply, term->lease, ELECTION_CODE, term_what(election));
}

static uint64_t hangs_on(const struct candidacy *candidacy)
{
    return candidacy->lease ? candidacy->lease : candidacy->origin;
}

static struct slice candidate_what(struct election *election, const struct candidacy *candidacy)
{
    struct apply *apply = election->apply;
    return object_what(apply, election->name, 'c', election_place(apply, candidacy));
}

void election_enqueue(struct election *election, const struct candidacy *candidacy)
{
    struct slice what = candidate_what(election, candidacy);
    election->row.candidates++;
    election_put(election, candidacy);
    if (hangs_on(candidacy)) lease_attach(election->apply, hangs_on(candidacy), ELECTION_CODE, what);
    if (candidacy->answer_index) wait_register(election->apply, candidacy->answer_index, ELECTION_CODE, what);
}

void election_dequeue(struct election *election, const struct candidacy *candidacy)
{
    struct slice what = candidate_what(election, candidacy);
    election->row.candidates--;
    election_delete(election, candidacy);
    if (hangs_on(candidacy)) lease_detach(election->apply, hangs_on(candidacy), ELECTION_CODE, what);
    if (candidacy->answer_index) wait_forget(election->apply, candidacy->answer_index);
}

void election_advance(struct election *election)
{
    struct apply *apply = election->apply;
    struct candidacy first;
    struct slice place = {0};
    struct lease_row lease;
    if (election->row.leader || !election_next(election, &place, &first)) return;
    if (hangs_on(&first) && !lease_get(apply, hangs_on(&first), &lease)) return; /* about to leave */
    if (!election_has_elected(election) && apply->lease_count < ELECTED_MAX) {
        election_elect(election, &first);
        election_dequeue(election, &first); /* after it: it may be all that hangs on its lease */
    } else if (!election->row.pulse) {
        election->row.pulse = election->changed = true;
        pulse_want(apply, ELECTION_CODE, election->name);
    }
}

void election_pulse(struct apply *apply, struct slice what)
{
    struct election election;
    election_load(&election, apply, what);
    CHECK(election.row.pulse); /* it keeps the election from being forgotten */
    election.row.pulse = false;
    election.changed = true;
    election_advance(&election);
    election_save(&election);
}

void election_lease_ended(struct apply *apply, uint64_t lease, struct slice what, enum end_reason reason)
{
    struct slice name, place;
    struct election election;
    struct candidacy candidacy;
    char kind;
    CHECK(object_parse_what(what, &name, &kind, &place));
    election_load(&election, apply, name);
    if (kind == 't') {
        CHECK(election.row.leader && election.row.leader->lease == lease);
        election_end_term(&election, reason, slice_of(NULL, 0));
    } else {
        CHECK(kind == 'c' && election_at(&election, place, &candidacy));
        election_dequeue(&election, &candidacy);
        enum outcome outcome = candidacy.lease ? OUTCOME_LEASE_OVER : OUTCOME_SESSION_OVER;
        if (candidacy.answer_index) apply_answer_to(apply, candidacy.answer_index, outcome, NULL, NULL);
    }
    election_advance(&election);
    election_save(&election);
}

void election_wait_ended(struct apply *apply, uint64_t index, struct slice what, enum end_reason reason)
{
    struct slice name, place;
    struct election election;
    struct candidacy candidacy;
    char kind;
    CHECK(object_parse_what(what, &name, &kind, &place) && kind == 'c');
    election_load(&election, apply, name);
    CHECK(election_at(&election, place, &candidacy) && candidacy.answer_index == index);
    candidacy.answer_index = 0;
    if (reason == END_CLIENT_GONE && candidacy.lease) { /* its lease keeps the place */
        election_put(&election, &candidacy);
        return;
    }
    election_dequeue(&election, &candidacy);
    if (reason == END_TIMEOUT)
        apply_answer_to(apply, index, OUTCOME_ELECTION_HELD, &election_held_record,
                        election_facts(&election, 0));
    election_save(&election);
}
