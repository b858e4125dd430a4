/* Keys: conditions of transactions. Etcd's rules: what is not there has revision, version and lease 0, and no
 * value that could be compared; of a range every key must fit, and an empty one is like a key that is not
 * there. */
#include "coord/primitive/kv.h"

enum { KEYS_MAX = 10000 };

enum target { TARGET_REVISION = 1, TARGET_VERSION, TARGET_VALUE, TARGET_EXISTS, TARGET_CREATE, TARGET_LEASE };
static const char *const target_choices[] = {"revision",        "version", "value", "exists",
                                             "create_revision", "lease",   NULL};

enum result { RESULT_EQUAL = 1, RESULT_NOT_EQUAL, RESULT_GREATER, RESULT_LESS };
static const char *const result_choices[] = {"equal", "not_equal", "greater", "less", NULL};

struct compare_args {
    struct slice key, prefix, from, to, value;
    uint64_t target, result, revision, version, create_revision, lease;
    bool exists;
};
#define COMPARE(member) .offset = offsetof(struct compare_args, member), .name = #member
static const struct field compare_fields[] = {
    {.number = 1, .type = FIELD_BYTES, COMPARE(key), .min = 1, .max = KV_KEY_MAX, .about = "one key, or:"},
    {.number = 2,
     .type = FIELD_BYTES,
     COMPARE(prefix),
     .min = 1,
     .max = KV_KEY_MAX,
     .about = "every key that begins so"},
    {.number = 3,
     .type = FIELD_BYTES,
     COMPARE(from),
     .min = 1,
     .max = KV_KEY_MAX + 1,
     .about = "every key from this one on"},
    {.number = 4,
     .type = FIELD_BYTES,
     COMPARE(to),
     .min = 1,
     .max = KV_KEY_MAX + 1,
     .about = "before this one"},
    {.number = 5,
     .type = FIELD_CHOICE,
     COMPARE(target),
     .choices = target_choices,
     .about = "what is compared; needed only where it is compared with an empty value or no lease"},
    {.number = 6,
     .type = FIELD_CHOICE,
     COMPARE(result),
     .choices = result_choices,
     .initial = RESULT_EQUAL,
     .about = "how the key's must be, beside the given one"},
    {.number = 7, .type = FIELD_UINT, COMPARE(revision), .about = "of its last put; 0: it is not there"},
    {.number = 8, .type = FIELD_UINT, COMPARE(version), .about = "how often it was put; 0: it is not there"},
    {.number = 9,
     .type = FIELD_BYTES,
     COMPARE(value),
     .min = 1,
     .max = KV_VALUE_MAX,
     .about = "an empty one: leave it out, and say target=value"},
    {.number = 10, .type = FIELD_BOOL, COMPARE(exists), .about = "is it there?"},
    {.number = 11, .type = FIELD_UINT, COMPARE(create_revision), .about = "that made it; 0: it is not there"},
    {.number = 12,
     .type = FIELD_LEASE,
     COMPARE(lease),
     .about = "on which it hangs; none: leave it out, and say target=lease"},
};
const struct record kv_compare_args_record = RECORD("kv_compare", compare_args, compare_fields);

struct compared {
    struct slice key;
    uint64_t revision, create_revision, version, lease;
    bool exists;
};
#define COMPARED(member) .offset = offsetof(struct compared, member), .name = #member
static const struct field compared_fields[] = {
    {.number = 1,
     .type = FIELD_BYTES,
     COMPARED(key),
     .flags = FIELD_NULL,
     .about = "null: of a range, all fit"},
    {.number = 2, .type = FIELD_BOOL, COMPARED(exists), .about = "is it, or any of the range, there?"},
    {.number = 3, .type = FIELD_UINT, COMPARED(revision), .about = "of its last put"},
    {.number = 4, .type = FIELD_UINT, COMPARED(create_revision), .about = "that made it"},
    {.number = 5, .type = FIELD_UINT, COMPARED(version), .about = "how often it was put"},
    {.number = 6, .type = FIELD_LEASE, COMPARED(lease), .about = "on which it hangs"},
};
const struct record kv_compare_record = RECORD("kv_compared", compared, compared_fields);

/* --- what is asked --- */

/* Numbers are given by being there; where none is, 0 and false all say: the key is not there. */
static uint64_t target_of(const struct compare_args *args, unsigned *given)
{
    const bool has[] = {[TARGET_REVISION] = args->revision,      [TARGET_VERSION] = args->version,
                        [TARGET_VALUE] = args->value.size,       [TARGET_EXISTS] = args->exists,
                        [TARGET_CREATE] = args->create_revision, [TARGET_LEASE] = args->lease};
    uint64_t target = args->target ? args->target : TARGET_VERSION;
    *given = 0;
    for (unsigned i = TARGET_REVISION; i <= TARGET_LEASE; i++) {
        if (!has[i]) continue;
        ++*given;
        if (!args->target) target = i;
    }
    if (args->target && *given && !has[args->target]) ++*given;
    return target;
}

static const char *senseless(const struct compare_args *args, uint64_t target, unsigned given)
{
    bool range = args->prefix.size || args->from.size || args->to.size;
    if (range == (args->key.size != 0)) return "give either a key, or a prefix, from and to";
    if (given > 1) return "compare one of revision, version, value, exists, create_revision and lease";
    if (target == TARGET_EXISTS && args->result > RESULT_NOT_EQUAL)
        return "exists can only be equal or not_equal";
    return NULL;
}

/* --- comparing --- */

static bool result_is(const struct compare_args *args, int order)
{
    switch ((enum result)args->result) {
    case RESULT_EQUAL:
        return order == 0;
    case RESULT_NOT_EQUAL:
        return order != 0;
    case RESULT_GREATER:
        return order > 0;
    case RESULT_LESS:
        return order < 0;
    }
    return false;
}

static int order_of(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static bool value_fits(struct apply *apply, const struct compare_args *args, struct slice key,
                       const struct kv_version *version)
{
    struct kv_version full;
    if (!version->version || !kv_version_of(apply, key, version->revision, &full)) return false;
    return result_is(args, slice_compare(full.value, args->value));
}

static const struct kv_version none; /* of a key that is not there: all zeroes */

static bool fits(struct apply *apply, const struct compare_args *args, uint64_t target, struct slice key,
                 const struct kv_version *version)
{
    switch ((enum target)target) {
    case TARGET_REVISION:
        return result_is(args, order_of(version->revision, args->revision));
    case TARGET_VERSION:
        return result_is(args, order_of(version->version, args->version));
    case TARGET_VALUE:
        return value_fits(apply, args, key, version);
    case TARGET_EXISTS:
        return result_is(args, (version->version != 0) - args->exists);
    case TARGET_CREATE:
        return result_is(args, order_of(version->create_revision, args->create_revision));
    case TARGET_LEASE:
        return result_is(args, order_of(version->lease, args->lease));
    }
    return false;
}

static void answer_fits(struct apply *apply, struct slice key, bool exists, const struct kv_version *version)
{
    struct compared *compared = arena_alloc(apply->arena, sizeof *compared);
    *compared = (struct compared){.key = key,
                                  .exists = exists,
                                  .revision = version->revision,
                                  .create_revision = version->create_revision,
                                  .version = version->version,
                                  .lease = version->lease};
    apply_answer(apply, OUTCOME_OK, &kv_compare_record, compared);
}

static void compare_key(struct apply *apply, const struct compare_args *args, uint64_t target)
{
    struct kv_version version;
    bool there = kv_at(apply, args->key, KV_NEWEST, &version);
    if (!there) version = none;
    if (fits(apply, args, target, args->key, &version))
        answer_fits(apply, args->key, there, &version);
    else
        kv_refuse(apply, OUTCOME_PRECONDITION_FAILED, args->key, &version);
}

static void compare_range(struct apply *apply, const struct compare_args *args, uint64_t target)
{
    struct kv_scan scan = kv_scan(apply->arena, args->prefix, args->from, args->to, KV_NEWEST);
    struct kv_version version;
    struct slice key = {0};
    uint64_t looks = KEYS_MAX + 1, found = 0;
    for (; kv_scan_next(apply, &scan, &looks, &key, &version); found++)
        if (!fits(apply, args, target, key, &version)) {
            kv_refuse(apply, OUTCOME_PRECONDITION_FAILED, key, &version);
            return;
        }
    if (!looks)
        kv_refuse_limit(apply, KEYS_MAX, SLICE("compare fewer keys at once"));
    else if (found || fits(apply, args, target, key, &none))
        answer_fits(apply, (struct slice){0}, found, &none);
    else
        kv_refuse(apply, OUTCOME_PRECONDITION_FAILED, (struct slice){0}, NULL);
}

void kv_compare(struct apply *apply, const void *arguments)
{
    const struct compare_args *args = arguments;
    unsigned given;
    uint64_t target = target_of(args, &given);
    const char *why = senseless(args, target, given);
    if (why)
        apply_answer_detail(apply, OUTCOME_SENSELESS, NULL, NULL, slice_text(why));
    else if (args->key.size)
        compare_key(apply, args, target);
    else
        compare_range(apply, args, target);
}
