/* A crowd: a dozen groups of one member each, which join in one entry and are never heard again. More than
 * half of all members are silent then, so the guard over all groups keeps them, and lets them fail a few at a
 * time (sim.c waits for that). */
#include "tests/sim/sim.h"

#include "base/check.h"
#include "coord/primitive/group.h"
#include "coord/primitive/txn.h"

#include <stdio.h>

enum { CROWD = 12, LINE = 80 };

static void add(struct setting *setting, const char *name, const char *line)
{
    const struct operation *operation;
    const struct field *then = record_field(setting->record, SLICE("then"));
    struct setting inner = {.arena = setting->arena};
    inner.data = setting_operation(setting, then, slice_text(name), &operation);
    CHECK(inner.data);
    inner.record = operation->args;
    make_args(&inner, line);
}

struct call *crowd_call(void)
{
    struct call *call = call_new();
    char line[LINE];
    call->operation = operation_by_name(SLICE("txn"));
    call->args = arena_alloc(&call->arena, call->operation->args->size);
    struct setting setting = {call->operation->args, call->args, &call->arena, 0, {0}};
    for (unsigned i = 0; i < CROWD; i++) {
        snprintf(line, sizeof line, "group=c%u guard_max=2s", i);
        add(&setting, "group.put", line);
        snprintf(line, sizeof line, "group=c%u id=one ttl=2s", i);
        add(&setting, "group.join", line);
    }
    CHECK(setting_done(&setting));
    return call;
}

void crowd_entry(const struct apply *apply)
{
    for (const struct event *event = apply->events; event; event = event->next)
        if (event->primitive->code == GROUP_CODE && event->kind->code == GROUP_GUARDED &&
            view_number(event->shape, event->data, "guarded_for") == GUARD_ALL)
            mark(MARK_GROUPS_GUARDED_FOR_ALL);
}
