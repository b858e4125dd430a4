// links: storage lib
/* The few file calls: what they promise beyond the system calls. */
#include "storage/disk.h"
#include "tests/unit/storage_test.h"

static int set_up(void **state)
{
    *state = temporary_directory();
    return 0;
}

static int tear_down(void **state)
{
    faults_clear();
    remove_tree(*state);
    free(*state);
    return 0;
}

static void creating_means_it_was_not_there(void **state)
{
    const char *path = path_in(*state, "a");
    assert_int_equal(disk_open(path, false), -ENOENT);
    int file = disk_open(path, true);
    assert_true(file >= 0);
    assert_int_equal(disk_open(path, true), -EEXIST);
    struct stat facts;
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0600);
    disk_close(file);
}

static void what_is_written_is_read_back(void **state)
{
    char back[8];
    int file = disk_open(path_in(*state, "a"), true);
    assert_int_equal(disk_write(file, 5, SLICE("hello")), 0);
    assert_int_equal(disk_size(file), 10);
    assert_int_equal(disk_size_at(path_in(*state, "a")), 10);
    assert_int_equal(disk_size_at(path_in(*state, "none")), -ENOENT);
    assert_int_equal(disk_read(file, 4, back, 6), 0);
    assert_memory_equal(back, "\0hello", 6);
    assert_int_equal(disk_read(file, 5, back, 6), -ENODATA);
    assert_int_equal(disk_sync(file), 0);
    disk_close(file);
    assert_int_equal(disk_write(file, 0, SLICE("x")), -EBADF);
}

static void allocated_space_reads_as_zeroes(void **state)
{
    uint8_t bytes[4096], zeroes[4096] = {0};
    int file = disk_open(path_in(*state, "a"), true);
    assert_int_equal(disk_allocate(file, 65536), 0);
    assert_int_equal(disk_size(file), 65536);
    assert_int_equal(disk_read(file, 65536 - sizeof bytes, bytes, sizeof bytes), 0);
    assert_memory_equal(bytes, zeroes, sizeof bytes);
    disk_close(file);
}

static void a_short_write_goes_on(void **state)
{
    char back[5];
    int file = disk_open(path_in(*state, "a"), true);
    faults.write = (struct fault){.countdown = 1, .error = ENOSPC, .partly = 2};
    assert_int_equal(disk_write(file, 0, SLICE("hello")), -ENOSPC);
    assert_int_equal(disk_size(file), 2);
    faults_clear();
    assert_int_equal(disk_write(file, 0, SLICE("hello")), 0);
    assert_int_equal(disk_read(file, 0, back, 5), 0);
    assert_memory_equal(back, "hello", 5);
    disk_close(file);
}

static void a_quota_is_a_full_disk_but_a_failed_flush_never_is(void **state)
{
    int file = disk_open(path_in(*state, "a"), true);
    faults.write = (struct fault){.countdown = 1, .error = EDQUOT};
    faults.allocate = (struct fault){.countdown = 1, .error = EDQUOT};
    faults.rename = (struct fault){.countdown = 1, .error = EDQUOT};
    assert_int_equal(disk_write(file, 0, SLICE("x")), -ENOSPC);
    assert_int_equal(disk_allocate(file, 4096), -ENOSPC);
    assert_int_equal(disk_rename("x", "y"), -ENOSPC);
    faults.sync = (struct fault){.countdown = 1, .error = ENOSPC};
    assert_int_equal(disk_sync(file), -EIO);
    assert_int_equal(disk_sync_directory(*state), -EIO);
    disk_close(file);
    /* what cannot be flushed cannot be trusted either */
    assert_int_equal(disk_open(path_in(*state, "a"), false), -EIO);
}

static void add_length(void *context, const char *name)
{
    *(size_t *)context += strlen(name);
}

static void listing_renaming_removing(void **state)
{
    size_t length = 0;
    disk_close(disk_open(path_in(*state, "one"), true));
    disk_close(disk_open(path_in(*state, "three"), true));
    assert_int_equal(disk_list(*state, add_length, &length), 0);
    assert_int_equal(length, 8);
    assert_int_equal(disk_list(path_in(*state, "none"), add_length, &length), -ENOENT);
    assert_int_equal(disk_rename(path_in(*state, "one"), path_in(*state, "three")), 0);
    assert_false(exists(*state, "one"));
    assert_int_equal(disk_remove(path_in(*state, "three")), 0);
    assert_int_equal(disk_remove(path_in(*state, "three")), -ENOENT);
    assert_int_equal(disk_sync_directory(*state), 0);
    assert_true(disk_free_bytes(*state) > 0);
    assert_true(disk_free_bytes(path_in(*state, "none")) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(creating_means_it_was_not_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_written_is_read_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(allocated_space_reads_as_zeroes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_short_write_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_quota_is_a_full_disk_but_a_failed_flush_never_is, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(listing_renaming_removing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
