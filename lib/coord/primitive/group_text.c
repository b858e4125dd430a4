/* Members as other programs read them: nginx's upstream block, Prometheus' http_sd. Those that may be picked
 * and say where they are reached. */
#include "coord/primitive/group.h"

enum { LISTED_MAX = 1000 };

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

/* The next that may be picked and says where it is reached, with nothing in it that the format could not
 * bear. */
static bool next_reached(struct group *group, struct key *from, struct member *member)
{
    while (member_next(group, MEMBER_ALIVE, from, member)) {
        bool plain = member->address.size > 0;
        for (size_t i = 0; i < member->address.size; i++)
            plain &= !strchr(" ;{}\"'\\#$", member->address.data[i]);
        if (plain && member_is_eligible(member, group->apply->time_ms)) return true;
    }
    return false;
}

void group_nginx(struct apply *apply, const void *arguments)
{
    const struct group_name_args *args = arguments;
    struct group group;
    struct member member;
    struct buffer buffer = {0};
    struct key from = member_first(args->group, MEMBER_ALIVE, slice_of(NULL, 0));
    group_load(&group, apply, args->group);
    if (!group.exists) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
        return;
    }
    for (size_t count = 0; count < LISTED_MAX && next_reached(&group, &from, &member); count++)
        buffer_printf(&buffer, "server %.*s weight=%llu;\n", SLICE_ARGS(member.address),
                      (unsigned long long)(member.weight ? member.weight : 1));
    if (!buffer.size) buffer_add_text(&buffer, "server 127.0.0.1:9 down; # nobody is there\n");
    answer_text(apply, &buffer);
}

void group_http_sd(struct apply *apply, const void *arguments)
{
    const struct group_name_args *args = arguments;
    struct group group;
    struct member member;
    struct buffer buffer = {0};
    struct json json = {&buffer, false};
    struct key from = member_first(args->group, MEMBER_ALIVE, slice_of(NULL, 0));
    group_load(&group, apply, args->group);
    if (!group.exists) {
        group_refuse(&group, NULL, OUTCOME_GROUP_NOT_FOUND, slice_of(NULL, 0));
        return;
    }
    json_open(&json, '[');
    for (size_t count = 0; count < LISTED_MAX && next_reached(&group, &from, &member); count++) {
        json_open(&json, '{');
        json_key(&json, "targets"), json_open(&json, '['), json_text(&json, member.address),
            json_close(&json, ']');
        json_key(&json, "labels"), json_open(&json, '{');
        json_key(&json, "__meta_coordd_group"), json_text(&json, args->group);
        json_key(&json, "__meta_coordd_member"), json_text(&json, member.id);
        json_key(&json, "__meta_coordd_zone"), json_text(&json, member.zone);
        json_close(&json, '}'), json_close(&json, '}');
    }
    json_close(&json, ']');
    buffer_add_byte(&buffer, '\n');
    answer_text(apply, &buffer);
}
