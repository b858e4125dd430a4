/* JSON bodies: the first byte chooses the operation, the rest is the body. What is taken fits the operation's limits:
 * its binary form comes back, and setting the same values as JSON once more gives the same bytes. */
#include "api/body.h"
#include "base/check.h"
#include "coord/operation.h"
#include "api/route.h"
#include "tests/fuzz/fuzz.h"

static struct routes *routes;

static const struct operation *chosen(uint8_t byte)
{
    if (!routes) {
        body_init();
        routes = routes_new(primitives);
    }
    return routes_at(routes, byte % routes_count(routes))->operation;
}

static bool parse(const struct operation *operation, struct slice body, struct arena *arena, void **args)
{
    struct problem problem = {0};
    *args = arena_alloc(arena, operation->args->size);
    struct argument argument = {{operation->args, *args, arena, 0, {0}}, {0}, &problem};
    if (body_parse(body, &argument) && argument_done(&argument)) return true;
    CHECK(problem.outcome == OUTCOME_BAD_JSON || problem.outcome == OUTCOME_BAD_FIELD);
    struct buffer text = {0};
    problem_json(&problem, &text);
    CHECK(utf8_valid(buffer_slice(&text)));
    buffer_free(&text);
    return false;
}

static void encode(const struct operation *operation, const void *args, struct buffer *out)
{
    out->size = 0;
    record_encode(operation->args, args, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct arena arena = {0};
    const struct operation *operation = chosen(data[0]);
    void *args, *again = NULL;
    struct buffer first = {0}, second = {0};
    if (parse(operation, slice_of(data + 1, size - 1), &arena, &args)) {
        encode(operation, args, &first);
        again = arena_alloc(&arena, operation->args->size);
        CHECK(record_decode(operation->args, again, buffer_slice(&first), &arena));
        encode(operation, again, &second);
        CHECK(slice_equal(buffer_slice(&first), buffer_slice(&second)));
    }
    buffer_free(&first);
    buffer_free(&second);
    arena_free(&arena);
    return 0;
}

void fuzz_seeds(void (*seed)(struct slice bytes))
{
    static const char *const bodies[] = {
        "{\"ttl\":\"30s\",\"owner\":\"me\",\"meta\":{\"a\":[1,2.5e3,null,true]}}",
        "{\"name\":\"a\",\"ttl\":500,\"wait\":\"1m\",\"mode\":\"shared\",\"priority\":1,\"delay\":\"5s\",\"reentrant\":true}",
        "{\"name\":\"\\u00e4\\ud83d\\ude00\",\"mode\":\"semaphore\",\"permits\":2,\"limit\":5,\"lease\":\"L300\"}",
        "{\"ids\":[\"L1\",\"L2\"]}",
        "{\"name\":\"a\",\"token\":3,\"to\":\"you\",\"reason\":\"why\"}",
        "{\"id\":\"L1\",\"prefix\":\"x\",\"limit\":10,\"cursor\":\"abc\",\"held\":true}",
        "{\"token\":9007199254740993}",
        "{} x",
        "[[[[[[[[",
    };
    chosen(0);
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        for (size_t operation = 0; operation < routes_count(routes); operation++) {
            struct buffer bytes = {0};
            buffer_add_byte(&bytes, (uint8_t)operation);
            buffer_add_text(&bytes, bodies[i]);
            seed(buffer_slice(&bytes));
            buffer_free(&bytes);
        }
}
