/* Waiting until so many members of a group are there. */
#include "coord/primitive/group.h"
#include "coord/primitive/watch.h"

enum counted { COUNT_ALIVE = 1, COUNT_ELIGIBLE };
static const char *const counted_choices[] = {"alive", "eligible", NULL};

struct wait_args {
    struct slice group;
    uint64_t count, state, wait_ms;
};
#define ASKED(member) .offset = offsetof(struct wait_args, member)
static const struct field args_fields[] = {
    {.number = 1,
     .type = FIELD_NAME,
     .flags = FIELD_REQUIRED,
     ASKED(group),
     .name = "group",
     .max = 255,
     .about = "its name; it need not exist yet"},
    {.number = 2,
     .type = FIELD_UINT,
     ASKED(count),
     .name = "count",
     .min = 1,
     .max = 1000000,
     .initial = 1,
     .about = "at least that many members"},
    {.number = 3,
     .type = FIELD_CHOICE,
     ASKED(state),
     .name = "state",
     .initial = COUNT_ALIVE,
     .choices = counted_choices,
     .about = "alive, or alive and fit to be picked"},
    {.number = 4,
     .type = FIELD_DURATION,
     ASKED(wait_ms),
     .name = "wait",
     .max = 600000,
     .initial = 60000,
     .about = "at most that long; then 304"},
};
const struct record group_wait_args_record = RECORD("group_wait_args", wait_args, args_fields);

struct wait_result {
    struct slice group;
    uint64_t count, version, revision;
};
#define RESULT(member) .offset = offsetof(struct wait_result, member), .name = #member
static const struct field result_fields[] = {
    {.number = 1, .type = FIELD_NAME, RESULT(group), .about = "its name"},
    {.number = 2, .type = FIELD_UINT, RESULT(count), .about = "how many there are now"},
    {.number = 3, .type = FIELD_UINT, RESULT(version), .about = "of the last transition of the group"},
    {.number = 4, .type = FIELD_UINT, RESULT(revision), .about = "of the state that was read"},
};
const struct record group_wait_record = RECORD("group_waited", wait_result, result_fields);

void group_wait(struct apply *apply, const void *arguments)
{
    const struct wait_args *args = arguments;
    struct group group;
    group_load(&group, apply, args->group);
    struct wait_result *result = arena_alloc(apply->arena, sizeof *result);
    *result =
        (struct wait_result){.group = args->group, .version = group.row.version, .revision = apply->index};
    result->count = args->state == COUNT_ALIVE ? group.row.counts[MEMBER_ALIVE] : group.row.eligible;
    bool there = result->count >= args->count;
    apply_answer(apply, there ? OUTCOME_OK : OUTCOME_UNCHANGED, &group_wait_record, result);
}

void group_watch(struct arena *arena, const void *arguments, struct watch_request *request)
{
    const struct wait_args *args = arguments;
    watch_scope_add(request, arena, "/groups/", arena_printf(arena, "%.*s/members/", SLICE_ARGS(args->group)),
                    true);
}
