/* Members as other programs read them: nginx's upstream block, Prometheus' http_sd. Those that may be picked
 * and say where they are reached. */
#include "coord/primitive/group.h"

enum { LISTED_MAX = 1000, SCANNED_MAX = 10000 };

struct text {
    struct slice value;
};
static const struct field text_fields[] = {
    {.number = 1,
     .type = FIELD_BYTES,
     .offset = offsetof(struct text, value),
     .name = "value",
     .about = "the text"},
};
const struct record group_text_record = RECORD("group_text", text, text_fields);

static void answer_text(struct apply *apply, struct buffer *buffer)
{
    struct text *text = arena_alloc(apply->arena, sizeof *text);
    text->value = arena_copy(apply->arena, buffer_slice(buffer));
    buffer_free(buffer);
    apply_answer(apply, OUTCOME_OK, &group_text_record, text);
}

/* Those that are listed; not all of a very large group. */
struct listing {
    struct group group;
    struct member member;
    struct key from;
    size_t scanned, listed;
    bool more;
};

static bool begin(struct listing *listing, struct apply *apply, struct slice name)
{
    *listing = (struct listing){.from = member_first(name, MEMBER_ALIVE, slice_of(NULL, 0))};
    group_load(&listing->group, apply, name);
    if (!listing->group.exists)
        group_refuse(&listing->group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
    return listing->group.exists;
}

/* It may be picked and says where it is reached, with nothing in it that a format could not bear. (Control
 * characters are refused in every text.) */
static bool is_reached(const struct member *member, uint64_t now_ms)
{
    bool plain = member->address.size > 0;
    for (size_t i = 0; i < member->address.size; i++)
        plain &= !strchr(" ;{}\"'\\#$", member->address.data[i]);
    return plain && member_is_eligible(member, now_ms);
}

static bool next(struct listing *listing)
{
    while (member_next(&listing->group, MEMBER_ALIVE, &listing->from, &listing->member)) {
        listing->more = listing->scanned++ == SCANNED_MAX;
        if (listing->more) return false;
        if (!is_reached(&listing->member, listing->group.apply->time_ms)) continue;
        listing->more = listing->listed++ == LISTED_MAX;
        return !listing->more;
    }
    return false;
}

void group_nginx(struct apply *apply, const void *arguments)
{
    const struct group_name_args *args = arguments;
    struct listing listing;
    struct buffer buffer = {0};
    if (!begin(&listing, apply, args->group)) return;
    while (next(&listing))
        buffer_printf(&buffer, "server %.*s weight=%llu;\n", SLICE_ARGS(listing.member.address),
                      (unsigned long long)(listing.member.weight ? listing.member.weight : 1));
    if (!buffer.size) buffer_add_text(&buffer, "server 127.0.0.1:9 down; # nobody is there\n");
    if (listing.more)
        buffer_add_text(&buffer, "# the first 1,000 that are well, of 10,000: others are left out\n");
    answer_text(apply, &buffer);
}

void group_http_sd(struct apply *apply, const void *arguments)
{
    const struct group_name_args *args = arguments;
    struct listing listing;
    struct buffer buffer = {0};
    struct json json = {&buffer, false};
    if (!begin(&listing, apply, args->group)) return;
    json_open(&json, '[');
    while (next(&listing)) {
        json_open(&json, '{');
        json_key(&json, "targets"), json_open(&json, '['), json_text(&json, listing.member.address),
            json_close(&json, ']');
        json_key(&json, "labels"), json_open(&json, '{');
        json_key(&json, "__meta_coordd_group"), json_text(&json, args->group);
        json_key(&json, "__meta_coordd_member"), json_text(&json, listing.member.id);
        json_key(&json, "__meta_coordd_zone"), json_text(&json, listing.member.zone);
        json_close(&json, '}'), json_close(&json, '}');
    }
    json_close(&json, ']');
    buffer_add_byte(&buffer, '\n');
    answer_text(apply, &buffer);
}
