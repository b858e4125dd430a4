/* What clients saw of the members that they called: told to the leader's memory (coord/beats.h), which
 * proposes to eject those that fail. Neither rows nor log know of a report. */
#include "coord/beats.h"
#include "coord/primitive/group.h"

enum { RESULTS_MAX = 1000, CALLS_MAX = 1000000 };

struct result {
    struct slice id;
    uint64_t ok, failed, slow;
};
static const struct field result_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct result, id),
     .name = "id",
     .max = GROUP_ID_MAX,
     .about = "of the member"},
    {.number = 2,
     .type = FIELD_UINT,
     .offset = offsetof(struct result, ok),
     .name = "ok",
     .max = CALLS_MAX,
     .about = "calls that went well since the last report"},
    {.number = 3,
     .type = FIELD_UINT,
     .offset = offsetof(struct result, failed),
     .name = "failed",
     .max = CALLS_MAX,
     .about = "calls that failed"},
    {.number = 4,
     .type = FIELD_UINT,
     .offset = offsetof(struct result, slow),
     .name = "slow",
     .max = CALLS_MAX,
     .about = "calls that were answered too late to be of use: they count as failed"},
};
static const struct record result_record = RECORD("group_call_results", result, result_fields);

struct report_args {
    struct slice group, reporter;
    struct list results;
};
static const struct field report_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct report_args, group),
     .name = "group",
     .max = 255,
     .about = "its name"},
    {.number = 2,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct report_args, reporter),
     .name = "reporter",
     .max = 255,
     .about = "who saw it: several must agree before a member is ejected"},
    {.number = 3,
     .type = FIELD_LIST,
     .flags = FIELD_REQUIRED,
     .offset = offsetof(struct report_args, results),
     .name = "results",
     .max = RESULTS_MAX,
     .record = &result_record,
     .about = "one of each member that was called"},
};
const struct record group_report_record = RECORD("group_report", report_args, report_fields);

struct reported {
    struct slice group;
    uint64_t taken;
    struct list unknown;
};
static const struct field reported_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .offset = offsetof(struct reported, group),
     .name = "group",
     .about = "its name"},
    {.number = 2,
     .type = FIELD_UINT,
     .offset = offsetof(struct reported, taken),
     .name = "taken",
     .about = "results that count"},
    {.number = 3,
     .type = FIELD_TEXTS,
     .offset = offsetof(struct reported, unknown),
     .name = "unknown",
     .about = "members that are neither alive nor suspect: no result of them counts"},
};
const struct record group_reported_record = RECORD("group_reported", reported, reported_fields);

void group_report(struct apply *apply, const void *arguments)
{
    const struct report_args *args = arguments;
    const struct result *results = args->results.items;
    struct group group;
    if (!apply->beats_told) {
        apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL,
                            SLICE("reports are for the leader: not with consistency=stale"));
        return;
    }
    group_load(&group, apply, args->group);
    if (!group.exists) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
        return;
    }
    struct reported *reported = arena_alloc(apply->arena, sizeof *reported);
    struct slice *unknown = arena_alloc(apply->arena, args->results.count * sizeof *unknown);
    *reported = (struct reported){args->group, 0, {unknown, 0}};
    for (size_t i = 0; i < args->results.count; i++)
        if (beats_report(apply->beats_told, args->group, results[i].id, args->reporter, results[i].ok,
                         results[i].failed + results[i].slow, beats_now_ms(apply->beats_told)))
            reported->taken++;
        else
            unknown[reported->unknown.count++] = results[i].id;
    apply_answer(apply, OUTCOME_OK, &group_reported_record, reported);
}
