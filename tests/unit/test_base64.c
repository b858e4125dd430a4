// links: lib
#include "base/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void assert_both_ways(const char *bytes, const char *text)
{
    struct buffer out = {0};
    base64_encode(slice_text(bytes), &out);
    assert_true(slice_is(buffer_slice(&out), text));
    out.size = 0;
    assert_true(base64_decode(slice_text(text), &out));
    assert_true(slice_is(buffer_slice(&out), bytes));
    buffer_free(&out);
}

/* RFC 4648, 10. */
static void the_vectors_of_the_rfc(void **state)
{
    (void)state;
    assert_both_ways("", "");
    assert_both_ways("f", "Zg==");
    assert_both_ways("fo", "Zm8=");
    assert_both_ways("foo", "Zm9v");
    assert_both_ways("foob", "Zm9vYg==");
    assert_both_ways("fooba", "Zm9vYmE=");
    assert_both_ways("foobar", "Zm9vYmFy");
}

static void every_byte_at_every_place(void **state)
{
    (void)state;
    struct buffer text = {0}, back = {0};
    for (size_t size = 1; size <= 4; size++)
        for (unsigned byte = 0; byte < 256; byte++) {
            uint8_t bytes[4];
            memset(bytes, (int)byte, sizeof bytes);
            text.size = back.size = 0;
            base64_encode(slice_of(bytes, size), &text);
            assert_int_equal(text.size, (size + 2) / 3 * 4);
            assert_true(base64_decode(buffer_slice(&text), &back));
            assert_true(slice_equal(buffer_slice(&back), slice_of(bytes, size)));
        }
    buffer_free(&text);
    buffer_free(&back);
}

static void other_forms_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"Z",    "Zg",     "Zg=",   "Zm9",      "Zm9vYg", "Zh==",
                                      "Zm9=", "====",   "Z===",  "Zg==Zg==", "Zm 9",   "Zm_v",
                                      "Zm-v", "Zm9v\n", "Zm9v=", "Z=9v",     "=m9v"};
    struct buffer out = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(base64_decode(slice_text(bad[i]), &out));
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_of_the_rfc),
        cmocka_unit_test(every_byte_at_every_place),
        cmocka_unit_test(other_forms_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
