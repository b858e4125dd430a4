/* Owners of keys, by weighted rendezvous hashing: each member has a score for a key, the highest own it. When
 * a member comes or goes only its own keys move, and a member of twice the weight owns twice as many.
 *
 * The score is weight / -log2(u), u in (0, 1) drawn by hashing member and key; in integers, so that everybody
 * comes to the same: -log2(u) as a fixed-point number of 64 - (bits before the point) . 32 bits, by repeated
 * squaring. */
#include "base/check.h"
#include "coord/beats.h"

enum { OWNERS_MAX = 100, FRACTION_BITS = 24 };

/* FNV-1a over the member, a zero byte and the key, then the finalizer of splitmix64. */
uint64_t group_draw(struct slice key, struct slice member)
{
    const struct slice parts[] = {member, slice_of("", 1), key};
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t part = 0; part < 3; part++)
        for (size_t i = 0; i < parts[part].size; i++) hash = (hash ^ parts[part].data[i]) * 0x100000001b3u;
    hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ hash >> 27) * 0x94d049bb133111ebu;
    return hash ^ hash >> 31;
}

/* -log2(x / 2^64) in units of 2^-FRACTION_BITS, for x > 0. */
static uint64_t minus_log2(uint64_t x)
{
    unsigned zeroes = (unsigned)__builtin_clzll(x);
    uint64_t log = (uint64_t)(63 - zeroes) << FRACTION_BITS, mantissa = x << zeroes >> 32; /* 1.31 bits */
    for (int bit = FRACTION_BITS - 1; bit >= 0; bit--) {
        uint64_t square = mantissa * mantissa;
        bool above_two = square >> 63;
        if (above_two) log |= 1ull << bit;
        mantissa = above_two ? square >> 32 : square >> 31;
    }
    return (64ull << FRACTION_BITS) - log;
}

uint64_t group_score(struct slice key, struct slice member, uint64_t weight)
{
    uint64_t drawn = group_draw(key, member);
    if (!weight) return 0;
    return (weight << 40) / minus_log2(drawn ? drawn : 1);
}

/* --- the query --- */

struct owners_args {
    struct slice group, key;
    uint64_t n;
};
#define ASKED(member) .offset = offsetof(struct owners_args, member), .name = #member
static const struct field args_fields[] = {
    {.number = 1, .type = FIELD_NAME, .flags = FIELD_REQUIRED, ASKED(group), .max = 255, .about = "its name"},
    {.number = 2,
     .type = FIELD_TEXT,
     .flags = FIELD_REQUIRED,
     ASKED(key),
     .max = 480,
     .about = "whose owners are wanted"},
    {.number = 3,
     .type = FIELD_UINT,
     ASKED(n),
     .min = 1,
     .max = OWNERS_MAX,
     .initial = 1,
     .about = "how many: the first, and those that follow when it goes"},
};
const struct record group_owners_args_record = RECORD("group_owners_args", owners_args, args_fields);

struct owner {
    struct slice id, address;
    uint64_t token, score;
};
#define OWNER(member) .offset = offsetof(struct owner, member), .name = #member
static const struct field owner_fields[] = {
    {.number = 1, .type = FIELD_TEXT, OWNER(id), .about = "of the member"},
    {.number = 2, .type = FIELD_TEXT, .flags = FIELD_NULL, OWNER(address), .about = "where it is reached"},
    {.number = 3, .type = FIELD_UINT, OWNER(token), .about = "of its membership"},
};
static const struct record owner_record = RECORD("group_owner", owner, owner_fields);

struct owners {
    struct slice key;
    struct list owners, members; /* struct slice; struct owner */
    uint64_t revision;
};
#define OWNERS(member) .offset = offsetof(struct owners, member), .name = #member
static const struct field owners_fields[] = {
    {.number = 1, .type = FIELD_TEXT, OWNERS(key), .about = "as asked"},
    {.number = 2, .type = FIELD_TEXTS, OWNERS(owners), .about = "ids of the members, the first one first"},
    {.number = 3,
     .type = FIELD_LIST,
     OWNERS(members),
     .record = &owner_record,
     .about = "the same, with addresses"},
    {.number = 4, .type = FIELD_UINT, OWNERS(revision), .about = "of the group: of its last transition"},
};
const struct record group_owners_record = RECORD("group_owners", owners, owners_fields);

/* Sorted in, highest score first; ids decide between equals. */
static size_t insert(struct owner *owners, size_t count, size_t max, const struct owner *owner)
{
    size_t at = count;
    while (at && (owners[at - 1].score < owner->score ||
                  (owners[at - 1].score == owner->score && slice_compare(owner->id, owners[at - 1].id) < 0)))
        at--;
    if (at == max) return count;
    size_t kept = count < max ? count : max - 1;
    memmove(owners + at + 1, owners + at, (kept - at) * sizeof *owners);
    owners[at] = *owner;
    return kept + 1;
}

static size_t find_owners(const struct roster *roster, struct slice key, struct owner *owners, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; roster && i < roster->eligible; i++) {
        const struct seat *seat = roster->seats[i];
        if (!seat->weight) continue;
        struct owner owner = {.id = seat->id,
                              .address = seat->address,
                              .token = seat->token,
                              .score = group_score(key, seat->id, seat->weight)};
        count = insert(owners, count, max, &owner);
    }
    return count;
}

void group_owners(struct apply *apply, const void *arguments)
{
    const struct owners_args *args = arguments;
    struct group group;
    group_load(&group, apply, args->group);
    if (!group.exists) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
        return;
    }
    if (!apply->beats) {
        group_refuse(&group, NULL, OUTCOME_SENSELESS,
                     SLICE("owners are told by the leader: not by a stale read"));
        return;
    }
    struct owner *owners = arena_alloc(apply->arena, args->n * sizeof *owners);
    size_t count = find_owners(beats_roster(apply->beats, args->group), args->key, owners, args->n);
    struct slice *ids = arena_alloc(apply->arena, count * sizeof *ids);
    for (size_t i = 0; i < count; i++) ids[i] = owners[i].id;
    struct owners *result = arena_alloc(apply->arena, sizeof *result);
    *result = (struct owners){
        .key = args->key, .owners = {ids, count}, .members = {owners, count}, .revision = group.row.version};
    apply_answer(apply, OUTCOME_OK, &group_owners_record, result);
}
