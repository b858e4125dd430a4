/* Elections: the commands. Operation codes 80 to 99. */
#include "coord/primitive/election.h"

#include "base/check.h"
#include "coord/primitive/watch.h"

static void refuse(struct election *election, enum outcome outcome, uint64_t position)
{
    apply_answer(election->apply, outcome, &election_held_record, election_facts(election, position));
}

static void refuse_senseless(struct apply *apply, const char *why)
{
    apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL, slice_text(why));
}

/* --- campaign --- */

struct campaign_args {
    struct slice name, candidate, value;
    uint64_t ttl_ms, lease, wait_ms, priority;
};

#define CAMPAIGN(member) .offset = offsetof(struct campaign_args, member)
static const struct field campaign_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     CAMPAIGN(name),
     .name = "name",
     .max = 255,
     .about = "of the election"},
    {.number = 2,
     .type = FIELD_TEXT,
     .flags = FIELD_REQUIRED,
     CAMPAIGN(candidate),
     .name = "candidate",
     .min = 1,
     .max = 255,
     .about = "who you are"},
    {.number = 3,
     .type = FIELD_JSON,
     CAMPAIGN(value),
     .name = "value",
     .max = ELECTION_VALUE_MAX,
     .about = "what everybody shall know of you when you lead, an address for example"},
    {.number = 4,
     .type = FIELD_DURATION,
     CAMPAIGN(ttl_ms),
     .name = "ttl",
     .min = LEASE_TTL_MIN_MS,
     .max = LEASE_TTL_MAX_MS,
     .about = "of the lease that the term gets of its own (30s unless given); not with lease"},
    {.number = 5,
     .type = FIELD_LEASE,
     CAMPAIGN(lease),
     .name = "lease",
     .about = "a lease that lives already, to hang the candidacy and the term on"},
    {.number = 6,
     .type = FIELD_UINT,
     CAMPAIGN(priority),
     .name = "priority",
     .max = ELECTION_PRIORITY_MAX,
     .about = "higher is elected before lower; a leader is never displaced"},
    {.number = 7,
     .type = FIELD_DURATION,
     CAMPAIGN(wait_ms),
     .name = "wait",
     .max = 600000,
     .about = "at most that long in the queue; 0: only try"},
};
static const struct record campaign_record = RECORD("election_campaign", campaign_args, campaign_fields);

static struct candidacy candidacy_of(const struct apply *apply, const struct campaign_args *args)
{
    return (struct candidacy){.candidate = args->candidate,
                              .value = args->value,
                              .priority = args->priority,
                              .lease = args->lease,
                              .ttl_ms = args->ttl_ms ? args->ttl_ms : LEASE_TTL_DEFAULT_MS,
                              .since_ms = apply->time_ms,
                              .arrived = apply->index,
                              .answer_index = apply->index,
                              .origin = apply->origin};
}

/* A wait needs somebody who listens: the lease it names, or the session of the process that has the client.
 */
static bool can_wait(struct election *election, const struct candidacy *candidacy)
{
    struct apply *apply = election->apply;
    struct lease_row session;
    if (apply->in_txn)
        refuse_senseless(apply, "a transaction does not wait, and somebody else leads");
    else if (!candidacy->lease && candidacy->origin && !lease_get(apply, candidacy->origin, &session))
        apply_answer(apply, OUTCOME_SESSION_OVER, NULL, NULL);
    else if (election->row.candidates >= ELECTION_CANDIDATES_MAX)
        refuse(election, OUTCOME_TOO_MANY_WAITERS, 0);
    else
        return true;
    return false;
}

/* Nobody leads, and nobody waits who would be before it. */
static bool is_next(struct election *election, const struct candidacy *candidacy)
{
    struct candidacy first;
    struct slice place = {0};
    if (election->row.leader) return false;
    return !election_next(election, &place, &first) ||
           slice_compare(election_place(election->apply, candidacy), place) < 0;
}

static void campaign_anew(struct election *election, const struct candidacy *candidacy, bool wait)
{
    bool next = is_next(election, candidacy);
    if (next && election_has_elected(election)) {
        refuse_senseless(election->apply, "one transaction elects at most one leader of an election");
    } else if (next) {
        election_elect(election, candidacy);
    } else if (!wait) {
        refuse(election, OUTCOME_ELECTION_HELD, 0);
    } else if (can_wait(election, candidacy)) {
        election_enqueue(election, candidacy);
        apply_waits(election->apply);
    }
}

static void proclaim_value(struct election *election, struct slice value)
{
    struct term *term = arena_alloc(election->apply->arena, sizeof *term);
    *term = *election->row.leader;
    if (slice_equal(term->value, value)) return;
    term->value = value;
    election->row.leader = term;
    election->changed = true;
    election_tell(election, ELECTION_PROCLAIMED, NULL);
}

/* Its lease leads already: the same term again, with the value that it gives now. */
static void campaign_of_leader(struct election *election, const struct candidacy *candidacy)
{
    if (candidacy->value.size) proclaim_value(election, candidacy->value);
    apply_answer(election->apply, OUTCOME_OK, &election_term_record, election_term(election, 0));
}

static uint64_t position_of(struct election *election, const struct candidacy *candidacy)
{
    struct candidacy other;
    struct slice place = {0};
    for (uint64_t position = 1; election_next(election, &place, &other); position++)
        if (other.arrived == candidacy->arrived) return position;
    return 0;
}

/* Its lease waits already: the newer request takes the place over, or a new place when its priority is
 * another. */
static void campaign_again(struct election *election, struct candidacy *candidacy,
                           const struct candidacy *before, bool wait)
{
    struct apply *apply = election->apply;
    if (!wait || apply->in_txn) {
        refuse(election, OUTCOME_ELECTION_HELD, position_of(election, before));
        return;
    }
    if (!candidacy->value.size) candidacy->value = before->value;
    if (before->answer_index)
        apply_answer_to(apply, before->answer_index, OUTCOME_WAIT_BROKEN_OFF, NULL, NULL);
    if (candidacy->priority == before->priority) {
        candidacy->arrived = before->arrived;
        candidacy->since_ms = before->since_ms;
        if (before->answer_index) wait_forget(apply, before->answer_index);
        election->row.candidates--;
        election_enqueue(election, candidacy); /* the same rows, with what is new in them */
    } else {
        election_enqueue(election, candidacy); /* first: the old place may be all that hangs on the lease */
        election_dequeue(election, before);
    }
    apply_waits(apply);
}

static void campaign_by_lease(struct election *election, struct candidacy *candidacy, bool wait)
{
    const struct term *leader = election->row.leader;
    struct candidacy before;
    bool leads = leader && leader->lease == candidacy->lease;
    bool waits = !leads && election_awaited_by(election, candidacy->lease, &before);
    if ((leads && !slice_equal(leader->candidate, candidacy->candidate)) ||
        (waits && !slice_equal(before.candidate, candidacy->candidate)))
        refuse_senseless(election->apply, "the lease is that of another candidate of this election");
    else if (leads)
        campaign_of_leader(election, candidacy);
    else if (waits)
        campaign_again(election, candidacy, &before, wait);
    else
        campaign_anew(election, candidacy, wait);
}

static void campaign(struct apply *apply, const void *arguments)
{
    const struct campaign_args *args = arguments;
    struct election election;
    struct candidacy candidacy = candidacy_of(apply, args);
    if (args->lease && args->ttl_ms) {
        refuse_senseless(apply, "a term of office lives as long as its lease: give either lease or ttl");
        return;
    }
    if (args->lease && !object_lease_usable(apply, args->lease)) return;
    if (args->lease) lease_touch(apply, args->lease);
    election_load(&election, apply, args->name);
    if (args->lease)
        campaign_by_lease(&election, &candidacy, args->wait_ms > 0);
    else
        campaign_anew(&election, &candidacy, args->wait_ms > 0);
    election_save(&election);
}

/* --- what only the leader may do --- */

/* Loads the election; false: the token is not of the present term, and the request is answered. */
static bool leads(struct election *election, struct apply *apply, struct slice name, uint64_t token)
{
    election_load(election, apply, name);
    if (election->row.leader && election->row.leader->token == token) return true;
    refuse(election, OUTCOME_NOT_LEADER, 0);
    return false;
}

/* --- resign --- */

struct resign_result {
    struct slice name;
    uint64_t token, candidates;
};
#define RESIGNED(member) .offset = offsetof(struct resign_result, member), .name = #member
static const struct field resign_fields[] = {
    {.number = 1, .type = FIELD_NAME, RESIGNED(name), .about = "of the election"},
    {.number = 2, .type = FIELD_UINT, RESIGNED(token), .about = "of the term that ended"},
    {.number = 3, .type = FIELD_UINT, RESIGNED(candidates), .about = "how many waited for it"},
};
static const struct record resign_record = RECORD("election_resign", resign_result, resign_fields);

static void answer_resign(struct election *election, uint64_t token)
{
    struct resign_result *result = arena_alloc(election->apply->arena, sizeof *result);
    *result = (struct resign_result){election->name, token, election->row.candidates};
    apply_answer(election->apply, OUTCOME_OK, &resign_record, result);
}

/* A resignation that comes twice, because the first answer was lost, is not an error while the history
 * remembers it. */
static bool has_resigned(const struct election *election, uint64_t token)
{
    const struct term_past *past = election->row.history.items;
    for (size_t i = 0; i < election->row.history.count; i++)
        if (past[i].token == token && past[i].reason == END_RELEASED) return true;
    return false;
}

static void resign(struct apply *apply, const void *arguments)
{
    const struct election_token_args *args = arguments;
    struct election election;
    election_load(&election, apply, args->name);
    if (has_resigned(&election, args->token)) {
        answer_resign(&election, args->token);
        return;
    }
    if (!leads(&election, apply, args->name, args->token)) return;
    answer_resign(&election, args->token);
    election_end_term(&election, END_RELEASED, slice_of(NULL, 0));
    election_advance(&election);
    election_save(&election);
}

/* --- proclaim --- */

struct proclaim_args {
    struct slice name, value;
    uint64_t token;
};
#define PROCLAIM(member) .offset = offsetof(struct proclaim_args, member), .name = #member
static const struct field proclaim_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     PROCLAIM(name),
     .max = 255,
     .about = "of the election"},
    {.number = 2,
     .type = FIELD_UINT,
     .flags = FIELD_REQUIRED,
     PROCLAIM(token),
     .min = 1,
     .about = "of the term of office"},
    {.number = 3,
     .type = FIELD_JSON,
     .flags = FIELD_REQUIRED,
     PROCLAIM(value),
     .max = ELECTION_VALUE_MAX,
     .about = "what everybody shall know of the leader from now on"},
};
static const struct record proclaim_record = RECORD("election_proclaim", proclaim_args, proclaim_fields);

static void proclaim(struct apply *apply, const void *arguments)
{
    const struct proclaim_args *args = arguments;
    struct election election;
    if (!leads(&election, apply, args->name, args->token)) return;
    proclaim_value(&election, args->value);
    apply_answer(apply, OUTCOME_OK, &election_term_record, election_term(&election, 0));
    election_save(&election);
}

/* --- renew --- */

struct renew_result {
    struct slice name;
    uint64_t token, lease, expires_in_ms, candidates;
};
#define RENEWED(member) .offset = offsetof(struct renew_result, member), .name = #member
static const struct field renew_fields[] = {
    {.number = 1, .type = FIELD_NAME, RENEWED(name), .about = "of the election"},
    {.number = 2, .type = FIELD_UINT, RENEWED(token), .about = "of the term of office"},
    {.number = 3, .type = FIELD_LEASE, RENEWED(lease), .about = "that was renewed"},
    {.number = 4,
     .type = FIELD_UINT,
     RENEWED(expires_in_ms),
     .about = "counted from when the request was sent"},
    {.number = 5, .type = FIELD_UINT, RENEWED(candidates), .about = "how many wait"},
};
static const struct record renew_record = RECORD("election_renew", renew_result, renew_fields);

static void renews(struct apply *apply, const void *arguments)
{
    const struct election_token_args *args = arguments;
    struct election election;
    if (leads(&election, apply, args->name, args->token)) apply_renews(apply, election.row.leader->lease);
}

static void renewed(struct apply *apply, const void *arguments, const struct renewal *renewals, size_t count)
{
    const struct election_token_args *args = arguments;
    struct election election;
    struct lease_row lease;
    CHECK(count == 1);
    election_load(&election, apply, args->name);
    if (!renewals[0].renewed || !lease_get(apply, renewals[0].lease, &lease)) {
        refuse(&election, OUTCOME_LEASE_OVER, 0);
        return;
    }
    struct renew_result *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct renew_result){args->name, args->token, lease.id, lease.ttl_ms, election.row.candidates};
    apply_answer(apply, OUTCOME_OK, &renew_record, result);
}

/* --- transfer --- */

struct transfer_args {
    struct slice name, to;
    uint64_t token;
};
#define TRANSFER(member) .offset = offsetof(struct transfer_args, member), .name = #member
static const struct field transfer_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     TRANSFER(name),
     .max = 255,
     .about = "of the election"},
    {.number = 2,
     .type = FIELD_UINT,
     .flags = FIELD_REQUIRED,
     TRANSFER(token),
     .min = 1,
     .about = "of the term of office"},
    {.number = 3,
     .type = FIELD_TEXT,
     .flags = FIELD_REQUIRED,
     TRANSFER(to),
     .min = 1,
     .max = 255,
     .about = "a candidate that waits (the first of that name), or the lease of one"},
};
static const struct record transfer_record = RECORD("election_transfer", transfer_args, transfer_fields);

static bool find_candidate(struct election *election, struct slice to, struct candidacy *candidacy)
{
    struct slice place = {0};
    uint64_t lease = lease_from_text(to);
    while (election_next(election, &place, candidacy))
        if (slice_equal(candidacy->candidate, to)) return true;
    return lease && election_awaited_by(election, lease, candidacy);
}

static void transfer(struct apply *apply, const void *arguments)
{
    const struct transfer_args *args = arguments;
    struct election election;
    struct candidacy heir;
    if (!leads(&election, apply, args->name, args->token)) return;
    if (!find_candidate(&election, args->to, &heir)) {
        refuse(&election, OUTCOME_CANDIDATE_NOT_FOUND, 0);
    } else if (election_has_elected(&election)) {
        refuse_senseless(apply, "one transaction elects at most one leader of an election");
    } else {
        election_end_term(&election, END_TRANSFERRED, slice_of(NULL, 0));
        election_elect(&election, &heir);
        election_dequeue(&election, &heir); /* after it: it may be all that hangs on its lease */
        apply_answer(apply, OUTCOME_OK, &election_term_record, election_term(&election, 0));
        election_save(&election);
    }
}

/* --- break --- */

struct break_args {
    struct slice name, reason;
};
#define BREAK(member) .offset = offsetof(struct break_args, member), .name = #member
static const struct field break_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     BREAK(name),
     .max = 255,
     .about = "of the election"},
    {.number = 2, .type = FIELD_TEXT, BREAK(reason), .max = 255, .about = "why, for the history"},
};
static const struct record break_record = RECORD("election_break", break_args, break_fields);

struct broken {
    struct slice name, candidate;
    uint64_t token;
};
#define BROKEN(member) .offset = offsetof(struct broken, member), .name = #member
static const struct field broken_fields[] = {
    {.number = 1, .type = FIELD_NAME, BROKEN(name), .about = "of the election"},
    {.number = 2, .type = FIELD_TEXT, BROKEN(candidate), .about = "who led"},
    {.number = 3, .type = FIELD_UINT, BROKEN(token), .about = "of the term that ended"},
};
static const struct record broken_record = RECORD("election_broken", broken, broken_fields);

static void break_term(struct apply *apply, const void *arguments)
{
    const struct break_args *args = arguments;
    struct election election;
    election_load(&election, apply, args->name);
    const struct term *leader = election.row.leader;
    if (!leader) {
        refuse(&election, OUTCOME_NOBODY_LEADS, 0);
        return;
    }
    struct broken *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct broken){args->name, leader->candidate, leader->token};
    apply_answer(apply, OUTCOME_OK, &broken_record, result);
    election_end_term(&election, END_BROKEN, args->reason);
    election_advance(&election);
    election_save(&election);
}

/* --- observe --- */

static void observe(struct arena *arena, const void *arguments, struct watch_request *request)
{
    const struct election_name_args *args = arguments;
    watch_scope_add(request, arena, "/elections/", args->name, false);
    request->initial = true;
}

/* --- table --- */

static const struct operation operations[] = {
    {.code = 80,
     .name = "election.campaign",
     .method = "POST",
     .path = "/v1/elections/{name}/campaign",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_GROWS | OPERATION_WAITS,
     .args = &campaign_record,
     .result = &election_term_record,
     .refusal = &election_held_record,
     .apply = campaign,
     .undo = "election.resign",
     .about = "Stands for election: leads, or waits in the queue of candidates."},
    {.code = 81,
     .name = "election.resign",
     .method = "POST",
     .path = "/v1/elections/{name}/resign",
     .kind = OPERATION_COMMAND,
     .args = &election_token_record,
     .result = &resign_record,
     .refusal = &election_held_record,
     .apply = resign,
     .about = "Ends the own term of office; the next candidate leads."},
    {.code = 82,
     .name = "election.proclaim",
     .method = "POST",
     .path = "/v1/elections/{name}/proclaim",
     .kind = OPERATION_COMMAND,
     .flags = OPERATION_GROWS,
     .args = &proclaim_record,
     .result = &election_term_record,
     .refusal = &election_held_record,
     .apply = proclaim,
     .about = "Changes the leader's value, within its term of office."},
    {.code = 83,
     .name = "election.renew",
     .method = "POST",
     .path = "/v1/elections/{name}/renew",
     .kind = OPERATION_RENEWAL,
     .args = &election_token_record,
     .result = &renew_record,
     .refusal = &election_held_record,
     .renews = renews,
     .renewed = renewed,
     .about = "Renews the lease on which the term of office hangs."},
    {.code = 84,
     .name = "election.transfer",
     .method = "POST",
     .path = "/v1/elections/{name}/transfer",
     .kind = OPERATION_COMMAND,
     .args = &transfer_record,
     .result = &election_term_record,
     .refusal = &election_held_record,
     .apply = transfer,
     .about = "Hands the office to a candidate that waits, with a new token."},
    {.code = 85,
     .name = "election.break",
     .method = "POST",
     .path = "/v1/elections/{name}/break",
     .kind = OPERATION_COMMAND,
     .args = &break_record,
     .result = &broken_record,
     .refusal = &election_held_record,
     .apply = break_term,
     .about = "Ends the term of whoever leads: for operators."},
    {.code = 86,
     .name = "election.check",
     .method = "GET",
     .path = "/v1/elections/{name}/check",
     .kind = OPERATION_QUERY,
     .args = &election_token_record,
     .result = &election_check_record,
     .refusal = &election_held_record,
     .apply = election_check_token,
     .about = "Is this token of the present term? What a fenced resource asks."},
    {.code = 87,
     .name = "election.get",
     .method = "GET",
     .path = "/v1/elections/{name}",
     .kind = OPERATION_QUERY,
     .args = &election_name_record,
     .result = &election_view_record,
     .apply = election_get,
     .object = "/elections/{name}",
     .about = "An election: leader, candidates, history. In one never held nobody leads."},
    {.code = 88,
     .name = "election.list",
     .method = "GET",
     .path = "/v1/elections",
     .kind = OPERATION_QUERY,
     .args = &election_list_args_record,
     .result = &election_list_record,
     .apply = election_list,
     .object = "/elections/{prefix}*",
     .about = "Elections by the prefix of their names, with their leaders."},
    {.code = 89,
     .name = "election.observe",
     .method = "GET",
     .path = "/v1/elections/{name}/observe",
     .kind = OPERATION_STREAM,
     .args = &election_name_record,
     .refusal = &watch_refused_record,
     .watch = observe,
     .about = "A stream of leaders: the present one, then every change, with tokens that only rise."},
};

const struct primitive election_primitive = {
    .name = "election",
    .code = ELECTION_CODE,
    .operations = operations,
    .operation_count = sizeof operations / sizeof *operations,
    .lease_ended = election_lease_ended,
    .wait_ended = election_wait_ended,
    .path = election_path,
    .waiters = election_waiters,
    .events = election_events,
    .event_count = ELECTION_EVENTS,
    .pulse = election_pulse,
    .check = election_check,
};
