// links: api lib support
/* Members as other programs read them: what somebody says of itself cannot be read as something else.
 * (Control characters are refused in every text.) */
#include "tests/unit/cmocka_all.h"
#include "tests/unit/group_world.h"

static void join(struct coord_world *world, const char *id, const char *address)
{
    assert_int_equal(GROUP_DO(world, "group.join", "{'group':'g','id':'%s','address':'%s'}", id, address),
                     OUTCOME_CREATED);
}

static struct slice text(struct coord_world *world, void (*write)(struct apply *, const void *))
{
    struct apply apply;
    struct group_name_args args = {SLICE("g")};
    struct slice value;
    apply_begin(&apply, world->rows, &world->arena, world->index, 1, world->time_ms);
    write(&apply, &args);
    assert_true(apply.answers && apply.answers->outcome == OUTCOME_OK);
    memcpy(&value, apply.answers->data, sizeof value); /* its only field */
    value = arena_copy(&world->arena, value);
    return value;
}

static bool is_text(struct coord_world *world, void (*write)(struct apply *, const void *), const char *is)
{
    struct slice came = text(world, write);
    if (slice_equal(came, slice_text(is))) return true;
    print_message("%.*s\n", SLICE_ARGS(came));
    return false;
}

static void addresses_cannot_say_more_than_where(void **state)
{
    struct coord_world *world = *state;
    static const char *const bad[] = {"h:1 backup", "h:1;server i:2", "h:1}location /{", "h:1#",
                                      "\\\"h:1",    "$h:1",           "\\\\h:1",         "unix:/x y"};
    join(world, "good", "10.0.0.1:80");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char id[16];
        snprintf(id, sizeof id, "bad%zu", i);
        join(world, id, bad[i]);
        assert_true(is_text(world, group_nginx, "server 10.0.0.1:80 weight=100;\n"));
    }
    assert_true(is_text(world, group_http_sd,
                        "[{\"targets\":[\"10.0.0.1:80\"],\"labels\":{\"__meta_coordd_group\":\"g\","
                        "\"__meta_coordd_member\":\"good\",\"__meta_coordd_zone\":\"\"}}]\n"));
}

/* Ids and zones may be anything: JSON bears it. */
static void ids_are_quoted(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(GROUP_DO(world, "group.join",
                              "{'group':'g','id':'a\\\"]}','address':'h:1','zone':'z\\\\z','weight':0}"),
                     OUTCOME_CREATED);
    assert_true(is_text(world, group_http_sd,
                        "[{\"targets\":[\"h:1\"],\"labels\":{\"__meta_coordd_group\":\"g\","
                        "\"__meta_coordd_member\":\"a\\\"]}\",\"__meta_coordd_zone\":\"z\\\\z\"}}]\n"));
    assert_true(is_text(world, group_nginx, "server h:1 weight=1;\n"));
}

static void nobody_is_said_to_be_nobody(void **state)
{
    struct coord_world *world = *state;
    assert_int_equal(GROUP_DO(world, "group.put", "{'group':'g'}"), OUTCOME_CREATED);
    assert_true(is_text(world, group_nginx, "server 127.0.0.1:9 down; # nobody is there\n"));
    assert_true(is_text(world, group_http_sd, "[]\n"));
}

/* What is left out is not left out in silence. */
static void more_than_a_thousand_are_not_listed(void **state)
{
    struct coord_world *world = *state;
    for (unsigned i = 0; i < 1000; i++) {
        char id[16];
        snprintf(id, sizeof id, "m%u", i);
        join(world, id, "h:1");
    }
    struct slice all = text(world, group_nginx);
    assert_int_equal(all.size, 1000 * strlen("server h:1 weight=100;\n"));
    join(world, "one_more", "h:1");
    struct slice more = text(world, group_nginx);
    const struct slice note = SLICE("# the first 1,000 that are well, of 10,000: others are left out\n");
    assert_int_equal(more.size, all.size + note.size);
    assert_memory_equal(more.data + all.size, note.data, note.size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        COORD_TEST(addresses_cannot_say_more_than_where),
        COORD_TEST(ids_are_quoted),
        COORD_TEST(nobody_is_said_to_be_nobody),
        COORD_TEST(more_than_a_thousand_are_not_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
