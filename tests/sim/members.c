/* Members of groups: what clients do there. Each joins under a name of its own, beats alone or for others
 * too, looks, reports, drains, leaves, is silent for a while, and joins again when it is told that it is
 * gone. What a heartbeat promised is judged as of any lease.
 *
 * Group v is as groups are by themselves; w suspects soon, by what it has learnt, and ejects at once. */
#include "tests/sim/sim.h"

#include "base/check.h"
#include "coord/primitive/group.h"

#include <stdio.h>

enum { LINE = 200, BATCH = 4 };

struct membership {
    uint64_t token, lease, ttl_ms;
};

static struct attendant {
    char group;
    struct membership own, last, former; /* last: told of; former: the one before that */
    bool asks_as_former;
    struct membership asked[BATCH]; /* in the request under way */
    size_t asked_count;
    uint64_t shard, shard_token; /* that it is to let go of; token 0: none */
    uint64_t broadcast;          /* that it has not acknowledged; 0: none known */
} attendants[CLIENTS_MAX];
static bool w_is_set;

static struct call *join(struct attendant *attendant, unsigned number, uint64_t *ttl_ms)
{
    char line[LINE];
    attendant->group = draw(2) ? 'v' : 'w';
    attendant->own = (struct membership){.ttl_ms = 1000 + draw(draw(2) ? 6000 : 16000)};
    *ttl_ms = attendant->own.ttl_ms;
    snprintf(line, sizeof line, "group=%c id=m%u ttl=%llums zone=z%u", attendant->group, number,
             (unsigned long long)*ttl_ms, number % 2);
    return make_call("group.join", line);
}

static void say(char *line, unsigned number, uint64_t token)
{
    static const char *const healths[] = {"pass", "warn", "fail"};
    int size = snprintf(line, LINE, "group=%c id=m%u token=%llu load=%u", attendants[number].group, number,
                        (unsigned long long)token, (unsigned)draw(10));
    if (draw(2)) snprintf(line + size, LINE - (size_t)size, " health=%s metrics=7", healths[draw(3)]);
}

static struct call *beat(struct attendant *attendant, unsigned number)
{
    char line[LINE];
    attendant->asks_as_former = attendant->former.token && draw(12) == 0;
    if (attendant->asks_as_former) {
        say(line, number, attendant->former.token);
        return make_call("group.heartbeat", line);
    }
    say(line, number, attendant->own.token);
    attendant->asked[attendant->asked_count++] = attendant->own;
    return make_call("group.heartbeat", line);
}

/* The call of an operation with one list of records, and the setting to go on with. */
static struct call *begin(const char *name, struct setting *setting)
{
    struct call *call = call_new();
    call->operation = operation_by_name(slice_text(name));
    CHECK(call->operation);
    call->args = arena_alloc(&call->arena, call->operation->args->size);
    *setting = (struct setting){call->operation->args, call->args, &call->arena, 0, {0}};
    return call;
}

static void add(struct setting *setting, const char *list, const char *line)
{
    const struct field *field = record_field(setting->record, slice_text(list));
    struct setting inner = {field->record, setting_record(setting, field), setting->arena, 0, {0}};
    CHECK(inner.data);
    make_args(&inner, line);
}

static struct call *beat_for_many(struct attendant *attendant, unsigned number)
{
    struct setting setting;
    struct call *call = begin("group.heartbeats", &setting);
    for (unsigned other = number; attendant->asked_count < BATCH && other < world.client_count; other++) {
        char line[LINE];
        if (!attendants[other].own.token) continue;
        say(line, other, attendants[other].own.token);
        add(&setting, "members", line);
        attendant->asked[attendant->asked_count++] = attendants[other].own;
    }
    CHECK(setting_done(&setting));
    return call;
}

/* One of the group, mostly. */
static unsigned any_of(char group)
{
    unsigned some = (unsigned)draw(world.client_count);
    for (unsigned i = 0; i < world.client_count; i++) {
        unsigned other = (some + i) % (unsigned)world.client_count;
        if (attendants[other].own.token && attendants[other].group == group) return other;
    }
    return some;
}

/* A third of them fail all their callers. */
static struct call *report(char group)
{
    struct setting setting;
    struct call *call = begin("group.report", &setting);
    char line[LINE];
    CHECK(setting_text(&setting, record_field(setting.record, SLICE("group")), slice_of(&group, 1)));
    CHECK(setting_text(&setting, record_field(setting.record, SLICE("reporter")), SLICE("someone")));
    for (int i = 0; i < 3; i++) {
        unsigned other = any_of(group);
        snprintf(line, sizeof line, "id=m%u ok=%u failed=%u", other, other % 3 ? (unsigned)draw(4) : 0,
                 (unsigned)draw(6));
        add(&setting, "results", line);
    }
    CHECK(setting_done(&setting));
    return call;
}

static struct call *pick(char group)
{
    static const char *const how[] = {"", " policy=round_robin zone=z1", " policy=hash key=k",
                                      " policy=weighted n=2"};
    char line[LINE];
    snprintf(line, sizeof line, "group=%c%s", group, how[draw(4)]);
    return make_call("group.pick", line);
}

static struct call *look(char group, unsigned number)
{
    char line[LINE];
    if (draw(2))
        snprintf(line, sizeof line, "group=%c", group);
    else
        snprintf(line, sizeof line, "group=%c id=m%u", group, number);
    struct call *call = make_call(strchr(line, ' ') ? "group.get_member" : "group.members", line);
    call->stale = draw(4) == 0;
    if (!call->stale && draw(2)) call->min_revision = world.acked;
    return call;
}

/* What it has, and what it is to let go of; also what is not its own yet, and then in vain. */
static struct call *tend_shards(struct attendant *attendant, unsigned number)
{
    char line[LINE];
    if (!attendant->shard_token || draw(4) == 0) {
        snprintf(line, sizeof line, "group=%c member=m%u", attendant->group, number);
        return make_call("group.shards", line);
    }
    snprintf(line, sizeof line, "group=%c number=%llu token=%llu", attendant->group,
             (unsigned long long)attendant->shard, (unsigned long long)attendant->shard_token);
    if (draw(3)) attendant->shard_token = 0; /* else once more, late */
    return make_call("group.shard_ack", line);
}

static void take_shards(struct attendant *attendant, unsigned number, const struct call *call)
{
    const struct record *shape = view_item(call->shape, "shards");
    struct list listed = view_list(call->shape, call->result, "shards");
    char id[16];
    snprintf(id, sizeof id, "m%u", number);
    for (size_t i = 0; i < listed.count; i++) {
        const void *each = (const char *)listed.items + i * shape->size;
        bool its = slice_equal(view_text(shape, each, "owner"), slice_text(id));
        if (!view_text(shape, each, "next").size) continue;
        attendant->shard = view_number(shape, each, "number");
        attendant->shard_token = view_number(shape, each, "token") - !its;
    }
}

/* Something is told to all, or what was told is looked up and acknowledged. */
static struct call *tend_broadcasts(struct attendant *attendant, unsigned number)
{
    char line[LINE];
    if (draw(3) == 0) {
        snprintf(line, sizeof line, "group=%c name=n percent=%u timeout=%ums", attendant->group,
                 1 + (unsigned)draw(100), 500 + (unsigned)draw(12000));
        return make_call("group.broadcast", line);
    }
    if (!attendant->broadcast) {
        snprintf(line, sizeof line, "group=%c member=m%u", attendant->group, number);
        return make_call("group.broadcasts", line);
    }
    snprintf(line, sizeof line, "group=%c number=%llu member=m%u token=%llu", attendant->group,
             (unsigned long long)attendant->broadcast, number, (unsigned long long)attendant->own.token);
    if (draw(4)) attendant->broadcast = 0; /* else once more */
    return make_call("group.broadcast_ack", line);
}

static void take_broadcasts(struct attendant *attendant, const struct call *call)
{
    const struct record *shape = view_item(call->shape, "broadcasts");
    struct list listed = view_list(call->shape, call->result, "broadcasts");
    if (!listed.count) return;
    size_t which = draw(4) ? listed.count - 1 : draw(listed.count);
    const void *one = (const char *)listed.items + which * shape->size;
    attendant->broadcast = view_number(shape, one, "number");
}

static struct call *change(struct attendant *attendant, unsigned number)
{
    char line[LINE];
    bool leaves = draw(2);
    snprintf(line, sizeof line, "group=%c id=m%u token=%llu%s", attendant->group, number,
             (unsigned long long)attendant->own.token, leaves || draw(2) ? "" : " undo=true");
    if (leaves) attendant->own.token = 0;
    return make_call(leaves ? "group.leave" : "group.drain", line);
}

struct call *members_call(unsigned number, uint64_t *ttl_ms)
{
    struct attendant *attendant = &attendants[number];
    uint64_t dice = draw(20);
    attendant->asked_count = 0;
    attendant->asks_as_former = false;
    if (!w_is_set) {
        w_is_set = true;
        return make_call(
            "group.put",
            "group=w suspect=700ms detector=phi phi=20 eject=50 eject_requests=2 "
            "eject_reporters=1 panic=20 eject_for=1s eject_for_max=3s eject_max=100 probation=1s rise=1 "
            "leader=true guard_max=2s shards=7 rebalance=300ms move_limit=3");
    }
    if (draw(300) == 0) return crowd_call();
    if (!attendant->own.token || draw(40) == 0) return join(attendant, number, ttl_ms);
    if (attendant->group == 'w' && draw(attendant->shard_token ? 2 : 5) == 0)
        return tend_shards(attendant, number);
    if (attendant->group == 'w' && draw(5) == 0) return draw(2) ? report('w') : pick('w');
    if (draw(attendant->broadcast ? 3 : 10) == 0) return tend_broadcasts(attendant, number);
    if (dice < 8) return beat(attendant, number);
    if (dice < 12) return beat_for_many(attendant, number);
    if (dice < 15) return look(attendant->group, number);
    if (dice < 17) return draw(4) ? report(attendant->group) : pick(attendant->group);
    return dice < 19 ? beat(attendant, number) : change(attendant, number);
}

static void promised(const struct attendant *attendant, uint64_t token, uint64_t from_ms)
{
    for (size_t i = 0; i < attendant->asked_count; i++)
        if (attendant->asked[i].token == token)
            judge_promise(attendant->asked[i].lease, from_ms + attendant->asked[i].ttl_ms);
}

/* Who was told that it is gone joins again. */
static void take_batch(struct attendant *attendant, const struct call *call, uint64_t from_ms)
{
    const struct record *shape = view_item(call->shape, "ok");
    struct list ok = view_list(call->shape, call->result, "ok");
    for (size_t i = 0; i < ok.count; i++) {
        const void *each = (const char *)ok.items + i * shape->size;
        struct slice id = view_text(shape, each, "id");
        unsigned other = 0;
        for (size_t k = 1; k < id.size; k++) other = other * 10 + (unsigned)(id.data[k] - '0');
        CHECK(other < CLIENTS_MAX);
        promised(attendant, attendants[other].own.token, from_ms);
    }
}

void members_told(unsigned number, const struct call *call, uint64_t from_ms, bool follower)
{
    struct attendant *attendant = &attendants[number];
    const char *name = call->operation->name;
    bool good = call->outcome == OUTCOME_OK || call->outcome == OUTCOME_CREATED;
    if (strcmp(name, "group.join") == 0 && good && call->shape) {
        if (attendant->own.token) return; /* drawn by the generator */
        attendant->own.token = view_number(call->shape, call->result, "token");
        attendant->own.lease = view_number(call->shape, call->result, "lease");
        attendant->former = attendant->last;
        attendant->last = attendant->own;
    } else if (strcmp(name, "group.heartbeat") == 0) {
        if (good && attendant->asks_as_former)
            sim_fail("m%u of group %c is answered as a member with its former token", number,
                     attendant->group);
        if (good) promised(attendant, attendant->own.token, from_ms);
        if (good) mark(follower ? MARK_MEMBER_BEAT_ON_FOLLOWER : MARK_MEMBER_BEAT);
        bool over = call->outcome == OUTCOME_MEMBER_GONE || call->outcome == OUTCOME_MEMBER_FENCED ||
                    call->outcome == OUTCOME_MEMBER_UNKNOWN || call->outcome == OUTCOME_GROUP_NOT_FOUND;
        if (over && attendant->asked_count) attendant->own.token = 0;
        if (call->outcome == OUTCOME_MEMBER_GONE) mark(MARK_MEMBER_GONE_TOLD);
    } else if (strcmp(name, "group.heartbeats") == 0 && good) {
        take_batch(attendant, call, from_ms);
    } else if (strcmp(name, "group.shards") == 0 && good) {
        take_shards(attendant, number, call);
    } else if (strcmp(name, "group.broadcasts") == 0 && good) {
        take_broadcasts(attendant, call);
    } else if (strcmp(name, "group.shard_ack") == 0 && call->outcome == OUTCOME_SHARD_NOT_OWNED) {
        mark(MARK_SHARD_LATE_ACK);
    } else if (strcmp(name, "group.members") == 0 && good && follower && !call->stale) {
        mark(MARK_LEADER_ASKED_FOR_FOLLOWER);
    } else if (strcmp(name, "group.pick") == 0 && good && view_bool(call->shape, call->result, "probe")) {
        mark(MARK_MEMBER_PROBED);
    }
}

void members_entry(const struct apply *apply)
{
    crowd_entry(apply);
    for (const struct event *event = apply->events; event; event = event->next) {
        if (event->primitive->code != GROUP_CODE) continue;
        if (event->kind->code == GROUP_SUSPECTED) mark(MARK_MEMBER_SUSPECTED);
        if (event->kind->code == GROUP_CLEARED) mark(MARK_MEMBER_CLEARED);
        if (event->kind->code == GROUP_FAILED) mark(MARK_MEMBER_FAILED);
        if (event->kind->code == GROUP_HEALTH) mark(MARK_MEMBER_HEALTH);
        if (event->kind->code == GROUP_EJECTED) mark(MARK_MEMBER_EJECTED);
        if (event->kind->code == GROUP_GUARDED) mark(MARK_GROUP_GUARDED);
    }
}
