/* Request lines: METHOD, a blank, the raw target. Routing and query parameters either refuse with the status that they
 * may, or give arguments whose names are well-formed. */
#include "api/query.h"
#include "api/route.h"
#include "base/check.h"
#include "tests/fuzz/fuzz.h"

static struct routes *routes;

static void ask(const struct route_match *match, struct slice query, struct arena *arena)
{
    const struct operation *operation = match->route->operation;
    struct problem problem = {0};
    struct query_options options = {0};
    void *args = arena_alloc(arena, operation->args->size);
    struct argument argument = {{operation->args, args, arena, 0, {0}}, {0}, &problem};
    bool good = true;
    for (size_t i = 0; good && i < match->route->part_count; i++) {
        CHECK(match->parts[i].size > 0 && utf8_valid(match->parts[i]));
        good = argument_text(&argument, match->route->parts[i], match->parts[i]);
    }
    good = good && query_parse(query, operation->kind, &argument, &options) && argument_done(&argument);
    if (!good) {
        CHECK(problem.outcome == OUTCOME_BAD_FIELD || problem.outcome == OUTCOME_BAD_REQUEST);
        CHECK(utf8_valid(problem.detail) && utf8_valid(problem.field));
        return;
    }
    CHECK(operation->kind == OPERATION_QUERY || (!options.stale && options.min_revision == 0));
    struct buffer bytes = {0};
    record_encode(operation->args, args, &bytes);
    CHECK(record_decode(operation->args, args, buffer_slice(&bytes), arena));
    buffer_free(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!routes) routes = routes_new(primitives);
    const uint8_t *blank = size ? memchr(data, ' ', size) : NULL;
    if (!blank) return 0;
    struct slice method = slice_of(data, (size_t)(blank - data));
    struct slice target = slice_of(blank + 1, size - method.size - 1), query = {0};
    const uint8_t *mark = target.size ? memchr(target.data, '?', target.size) : NULL;
    if (mark) {
        query = slice_skip(target, (size_t)(mark - target.data) + 1);
        target.size = (size_t)(mark - target.data);
    }
    struct arena arena = {0};
    struct route_match match = route_find(routes, method, target, &arena);
    switch (match.outcome) {
    case OUTCOME_OK:
        ask(&match, query, &arena);
        break;
    case OUTCOME_BAD_PATH:
        CHECK(match.detail);
        break;
    case OUTCOME_METHOD_NOT_ALLOWED:
        CHECK(match.allow && *match.allow);
        break;
    default:
        CHECK(match.outcome == OUTCOME_ROUTE_NOT_FOUND);
    }
    arena_free(&arena);
    return 0;
}

void fuzz_seeds(void (*seed)(struct slice bytes))
{
    static const char *const lines[] = {
        "POST /v1/locks/deploy/acquire?ttl=30s&wait=60s&owner=ci-42&mode=shared",
        "POST /v1/locks/a%2Fb%20c/acquire?mode=semaphore&permits=2&limit=5&priority=9&lease=L300&meta=%7B%7D",
        "POST /v1/locks/%C3%A4/release?token=3",
        "POST /v1/locks/a/transfer?token=3&to=you",
        "POST /v1/locks/a/break?reason=why+not",
        "GET /v1/locks/a/check?token=3&consistency=stale&min_revision=7",
        "GET /v1/locks?prefix=a&held=true&limit=10&cursor=x",
        "HEAD /v1/locks/a",
        "PATCH /v1/locks/a",
        "POST /v1/leases?ttl=1500ms&owner=me",
        "POST /v1/leases/renew?ids=L1,L2",
        "DELETE /v1/leases/L300",
        "GET /v1/locks/../leases",
        "GET //v1/locks/%00%zz%2",
        "GET /v1/locks/a/",
        "GET *",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) seed(slice_text(lines[i]));
}
