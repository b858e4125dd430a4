/* Which operation a method and a path mean. The table is made once from the operations of all primitives. */
#ifndef COORDD_API_ROUTE_H
#define COORDD_API_ROUTE_H

#include "base/arena.h"
#include "coord/operation.h"

enum { ROUTE_PARTS_MAX = 4, ROUTE_DEPTH_MAX = 12 };

/* One operation that HTTP reaches, with what is looked up in its tables again and again. */
struct route {
    const struct operation *operation;
    size_t number; /* position in the table: names its counters */
    size_t part_count;
    const struct field *parts[ROUTE_PARTS_MAX]; /* fields of the arguments that stand in the path, in order */
    /* The operation that a JSON array in the body means, with parts of its own; NULL: none. */
    const struct route *array;
    const struct field *items;              /* of an array's: the argument that the array is */
    const struct field *listed, *listed_id; /* of the result: the list of its plain form, and "id" of that */
    const struct field *id, *token, *lease, *expires_in_ms, *revision, *version,
        *create_revision; /* of the result;
                             NULL: none */
    bool tagged;          /* GET of an object, PUT of a raw one: its reply has an ETag */
};

struct routes;

/* All operations with a path, of NULL-terminated primitives, and behind them those that arrays mean, which
 * have none. Aborts when a path is malformed, names a field that the arguments lack, or stands twice. */
struct routes *routes_new(const struct primitive *const *all);
void routes_free(struct routes *routes);
size_t routes_count(const struct routes *routes);
const struct route *routes_at(const struct routes *routes, size_t number);

struct route_match {
    enum outcome outcome;      /* OK, BAD_PATH, ROUTE_NOT_FOUND, METHOD_NOT_ALLOWED */
    const char *detail;        /* BAD_PATH: what is wrong */
    const struct route *route; /* OK */
    struct slice
        parts[ROUTE_PARTS_MAX]; /* OK: decoded, as route->parts; may point into `path` or the arena */
    const char *allow;          /* METHOD_NOT_ALLOWED: "GET, HEAD, PUT"; of the table or the arena */
};

/* A path that ends in "{key...}" takes all the rest as that one part: slashes, empty segments, any bytes.
 *
 * `path` is the raw path without the query. Literal segments win over {parts} where both know the method.
 * HEAD means GET. A segment that is empty, "." or "..", or holds bad escapes, control characters or bad UTF-8
 * is BAD_PATH; a trailing slash is a path that does not exist. */
struct route_match route_find(const struct routes *routes, struct slice method, struct slice path,
                              struct arena *arena);

#endif
