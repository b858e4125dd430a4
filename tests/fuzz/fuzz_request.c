/* Method, path, query and body of a request, as the edge reads them: first line "METHOD PATH?QUERY", the rest
 * is the body. What is accepted must come back from its binary form. */
#include "api/body.h"
#include "api/query.h"
#include "api/route.h"
#include "base/check.h"

#include <stdint.h>

static struct routes *routes;

static bool parse_body(const struct route *route, struct slice body, struct argument *argument)
{
    return route->items ? body_parse_array(body, argument, route->items) : body_parse(body, argument);
}

static void parse(const struct route_match *match, struct slice query, struct slice body, struct arena *arena)
{
    const struct operation *operation = match->route->operation;
    void *args = arena_alloc(arena, operation->args->size);
    struct problem problem = {0};
    struct query_options options = {0};
    struct argument argument = {.setting = {.record = operation->args, .data = args, .arena = arena},
                                .problem = &problem};
    for (size_t i = 0; i < match->route->part_count; i++)
        if (!argument_text(&argument, match->route->parts[i], match->parts[i])) return;
    if (!query_parse(query, operation, &argument, &options) || !parse_body(match->route, body, &argument) ||
        !argument_done(&argument))
        return;
    struct buffer bytes = {0}, again = {0};
    void *back = arena_alloc(arena, operation->args->size);
    record_encode(operation->args, args, &bytes);
    CHECK(record_decode(operation->args, back, buffer_slice(&bytes), arena));
    record_encode(operation->args, back, &again);
    CHECK(slice_equal(buffer_slice(&bytes), buffer_slice(&again)));
    buffer_free(&bytes);
    buffer_free(&again);
}

static struct slice cut(struct slice *text, char at)
{
    const uint8_t *end = text->size ? memchr(text->data, at, text->size) : NULL;
    size_t size = end ? (size_t)(end - text->data) : text->size;
    struct slice part = slice_of(text->data, size);
    *text = slice_skip(*text, end ? size + 1 : size);
    return part;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!routes) {
        body_init();
        routes = routes_new(primitives);
    }
    struct arena arena = {0};
    struct slice body = slice_of(data, size), line = cut(&body, '\n'), method = cut(&line, ' '),
                 path = cut(&line, '?');
    struct route_match match = route_find(routes, method, path, &arena);
    if (match.outcome == OUTCOME_OK && match.route->array && body_is_array(body))
        match.route = match.route->array;
    if (match.outcome == OUTCOME_OK) parse(&match, line, body, &arena);
    arena_free(&arena);
    return 0;
}
