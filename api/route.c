/* A tree of path segments: each node has children by literal and at most one for a {part}. Paths that end in
 * a {part...}, which takes all the rest, stand beside it by the literal text before that part. */
#include "api/route.h"

#include "api/percent.h"
#include "api/plain.h"
#include "base/check.h"
#include "base/json.h"
#include "base/memory.h"

enum { METHODS_MAX = 6 };

struct node {
    struct slice literal; /* of the segment that leads here; empty: a {part} */
    struct node *sibling, *literals, *part;
    struct route *routes[METHODS_MAX];
    size_t route_count;
    char allow[64];
};

struct tail {
    struct tail *next;
    struct slice prefix; /* "/v1/kv/" */
    struct node node;
};

struct routes {
    struct node root;
    struct tail *tails;
    struct route *table;
    size_t count;
};

struct path {
    struct slice segments[ROUTE_DEPTH_MAX];
    size_t count;
};

/* --- making the table --- */

static struct node *child(struct node *node, struct slice segment)
{
    bool part = segment.data[0] == '{';
    struct node **place = part ? &node->part : &node->literals;
    while (*place && !part && !slice_equal((*place)->literal, segment)) place = &(*place)->sibling;
    if (!*place) {
        *place = memory_new(sizeof **place);
        if (!part) (*place)->literal = segment;
    }
    return *place;
}

static bool takes_the_rest(struct slice segment)
{
    return segment.size > 5 && memcmp(segment.data + segment.size - 4, "...}", 4) == 0;
}

static void add_part(struct route *route, struct slice segment)
{
    CHECK(route->part_count < ROUTE_PARTS_MAX && segment.size > 2 && segment.data[segment.size - 1] == '}');
    size_t around = takes_the_rest(segment) ? sizeof "{...}" - 1 : sizeof "{}" - 1;
    const struct field *field =
        record_field(route->operation->args, slice_of(segment.data + 1, segment.size - around));
    CHECK(field);
    route->parts[route->part_count++] = field;
}

static void allow(struct node *node, const char *method)
{
    size_t used = strlen(node->allow), size = strlen(method);
    CHECK(used + size + sizeof ", , HEAD" < sizeof node->allow);
    if (used) memcpy(node->allow + used, ", ", 3);
    strcat(node->allow, method);
    if (strcmp(method, "GET") == 0) strcat(node->allow, ", HEAD");
}

static struct node *tail_of(struct routes *routes, struct slice prefix)
{
    for (struct tail *tail = routes->tails; tail; tail = tail->next)
        if (slice_equal(tail->prefix, prefix)) return &tail->node;
    struct tail *tail = memory_new(sizeof *tail);
    *tail = (struct tail){.next = routes->tails, .prefix = prefix};
    routes->tails = tail;
    return &tail->node;
}

static void insert(struct routes *routes, struct route *route)
{
    struct node *node = &routes->root;
    const char *path = route->operation->path;
    CHECK(path[0] == '/');
    while (*path) {
        size_t size = strcspn(path + 1, "/");
        struct slice segment = slice_of(path + 1, size);
        CHECK(size);
        if (segment.data[0] == '{') add_part(route, segment);
        bool rest = takes_the_rest(segment);
        CHECK(!rest || (route->part_count == 1 && !path[size + 1]));
        size_t before = (size_t)(path + 1 - route->operation->path);
        node = rest ? tail_of(routes, slice_of(route->operation->path, before)) : child(node, segment);
        path += size + 1;
    }
    for (size_t i = 0; i < node->route_count; i++)
        CHECK(strcmp(node->routes[i]->operation->method, route->operation->method) != 0);
    CHECK(node->route_count < METHODS_MAX);
    node->routes[node->route_count++] = route;
    allow(node, route->operation->method);
}

static bool is_tagged(const struct operation *operation)
{
    bool object = operation->path[strlen(operation->path) - 1] == '}' || operation->object;
    bool reads = operation->kind != OPERATION_STREAM && strcmp(operation->method, "GET") == 0 && object;
    return reads || ((operation->flags & OPERATION_RAW) && operation->kind == OPERATION_COMMAND);
}

static const struct field *text_called_id(const struct record *record)
{
    const struct field *field = record_field(record, SLICE("id"));
    return field && (field->type == FIELD_TEXT || field->type == FIELD_NAME) ? field : NULL;
}

static void look_up_fields(struct route *route)
{
    const struct operation *operation = route->operation;
    const struct record *result = operation->result;
    const struct field *within;
    CHECK(!(operation->flags & OPERATION_WAITS) || operation_wait_field(operation, &within));
    route->tagged = operation->path && is_tagged(operation);
    if (!result) return;
    route->id = text_called_id(result);
    route->listed = plain_list(operation);
    if (route->listed) route->listed_id = text_called_id(route->listed->record);
    route->token = record_field(result, SLICE("token"));
    route->lease = record_field(result, SLICE("lease"));
    route->expires_in_ms = record_field(result, SLICE("expires_in_ms"));
    route->revision = record_field(result, SLICE("revision"));
    route->version = record_field(result, SLICE("version"));
    route->create_revision = record_field(result, SLICE("create_revision"));
}

static const struct field *list_of(const struct record *record)
{
    const struct field *list = NULL;
    for (size_t i = 0; i < record->field_count; i++) {
        if (record->fields[i].type != FIELD_LIST) continue;
        CHECK(!list);
        list = &record->fields[i];
    }
    return list;
}

static void add_array(struct routes *routes, struct route *route, const struct primitive *const *all)
{
    struct slice name = slice_text(route->operation->array);
    struct route *array = &routes->table[routes->count];
    *array = (struct route){.operation = operation_among(all, 0, &name), .number = routes->count++};
    CHECK(array->operation && !array->operation->path);
    for (size_t i = 0; i < route->part_count; i++) {
        array->parts[i] = record_field(array->operation->args, slice_text(route->parts[i]->name));
        CHECK(array->parts[i]);
    }
    array->part_count = route->part_count;
    array->items = list_of(array->operation->args);
    CHECK(array->items);
    look_up_fields(array);
    route->array = array;
}

static size_t count_rows(const struct primitive *const *all)
{
    size_t count = 0;
    for (; *all; all++)
        for (size_t i = 0; i < (*all)->operation_count; i++) {
            const struct operation *operation = &(*all)->operations[i];
            if (operation->path) count += operation->array ? 2 : 1;
        }
    return count;
}

struct routes *routes_new(const struct primitive *const *all)
{
    struct routes *routes = memory_new(sizeof *routes);
    routes->table = memory_new(count_rows(all) * sizeof *routes->table);
    for (const struct primitive *const *each = all; *each; each++)
        for (size_t i = 0; i < (*each)->operation_count; i++) {
            if (!(*each)->operations[i].path) continue;
            struct route *route = &routes->table[routes->count];
            route->operation = &(*each)->operations[i];
            route->number = routes->count++;
            insert(routes, route);
            look_up_fields(route);
        }
    for (size_t i = 0, count = routes->count; i < count; i++)
        if (routes->table[i].operation->array) add_array(routes, &routes->table[i], all);
    return routes;
}

static void free_nodes(struct node *node)
{
    while (node) {
        struct node *sibling = node->sibling;
        free_nodes(node->literals);
        free_nodes(node->part);
        free(node);
        node = sibling;
    }
}

void routes_free(struct routes *routes)
{
    for (struct tail *tail = routes->tails, *next; tail; tail = next) {
        next = tail->next;
        free(tail);
    }
    free_nodes(routes->root.literals);
    free_nodes(routes->root.part);
    free(routes->table);
    free(routes);
}

size_t routes_count(const struct routes *routes)
{
    return routes->count;
}

const struct route *routes_at(const struct routes *routes, size_t number)
{
    CHECK(number < routes->count);
    return &routes->table[number];
}

/* --- finding --- */

static const char *bad_segment(struct slice segment)
{
    if (!segment.size) return "the path has an empty segment";
    if (slice_is(segment, ".") || slice_is(segment, ".."))
        return "the path has a segment . or .. which would name another path";
    for (size_t i = 0; i < segment.size; i++)
        if (segment.data[i] < 0x20 || segment.data[i] == 0x7f) return "the path has a control character";
    return utf8_valid(segment) ? NULL : "the path is not UTF-8";
}

/* NULL, or what is wrong. More segments than any path of the table has: count becomes ROUTE_DEPTH_MAX + 1. */
static const char *split(struct slice raw, struct arena *arena, struct path *path)
{
    path->count = 0;
    if (!raw.size || raw.data[0] != '/') return "the request's target must be a path that begins with /";
    while (raw.size) {
        raw = slice_skip(raw, 1);
        const uint8_t *slash = raw.size ? memchr(raw.data, '/', raw.size) : NULL;
        struct slice segment = slice_of(raw.data, slash ? (size_t)(slash - raw.data) : raw.size);
        raw = slice_skip(raw, segment.size);
        if (!segment.size && !raw.size) {
            path->count = ROUTE_DEPTH_MAX + 1;
            return NULL;
        }
        struct slice text;
        if (!percent_decode(segment, PERCENT_PATH, arena, &text))
            return "the path has a % that is not followed by two hexadecimal digits";
        const char *bad = bad_segment(text);
        if (bad) return bad;
        if (path->count < ROUTE_DEPTH_MAX) path->segments[path->count] = text;
        if (path->count <= ROUTE_DEPTH_MAX) path->count++;
    }
    return NULL;
}

static const struct route *route_of(const struct node *node, struct slice method)
{
    for (size_t i = 0; i < node->route_count; i++)
        if (slice_is(method, node->routes[i]->operation->method)) return node->routes[i];
    return NULL;
}

struct search {
    const struct path *path;
    struct slice method;
    struct arena *arena;
    struct route_match *match;
    size_t part_count;
};

static bool lists(const char *allow, const char *method)
{
    size_t size = strlen(method);
    for (const char *at = strstr(allow, method); at; at = strstr(at + 1, method))
        if ((at == allow || at[-1] == ' ') && (at[size] == ',' || !at[size])) return true;
    return false;
}

/* The path may fit several nodes: `/v1/locks/acquire` is a literal and a lock's name. */
static void allow_also(struct search *search, const struct node *node)
{
    const char **all = &search->match->allow;
    if (!*all) {
        if (node->route_count) *all = node->allow;
        return;
    }
    for (size_t i = 0; i < node->route_count; i++) {
        const char *method = node->routes[i]->operation->method;
        if (lists(*all, method)) continue;
        const char *head = strcmp(method, "GET") == 0 ? ", HEAD" : "";
        *all = (const char *)arena_printf(search->arena, "%s, %s%s", *all, method, head).data;
    }
}

/* True once a route was found; until then gathers the methods of nodes whose path fits. */
static bool search_from(struct search *search, const struct node *node, size_t depth)
{
    if (depth == search->path->count) {
        search->match->route = route_of(node, search->method);
        if (!search->match->route) allow_also(search, node);
        return search->match->route;
    }
    struct slice segment = search->path->segments[depth];
    for (const struct node *next = node->literals; next; next = next->sibling)
        if (slice_equal(next->literal, segment) && search_from(search, next, depth + 1)) return true;
    if (!node->part || search->part_count == ROUTE_PARTS_MAX) return false;
    search->match->parts[search->part_count++] = segment;
    if (search_from(search, node->part, depth + 1)) return true;
    search->part_count--;
    return false;
}

/* How many bytes at the beginning of `raw` spell `prefix`; 0: it begins otherwise. An escaped slash separates
 * nothing. */
static size_t spelt(struct slice raw, struct slice prefix, struct arena *arena)
{
    size_t used = 0;
    for (size_t i = 0; i < prefix.size; i++) {
        size_t size = used < raw.size && raw.data[used] == '%' ? 3 : 1;
        struct slice byte;
        if (raw.size - used < size ||
            !percent_decode(slice_of(raw.data + used, size), PERCENT_PATH, arena, &byte) ||
            byte.data[0] != prefix.data[i] || (size == 3 && byte.data[0] == '/'))
            return 0;
        used += size;
    }
    return used;
}

static bool find_tail(const struct routes *routes, struct slice method, struct slice raw, struct arena *arena,
                      struct route_match *match)
{
    const struct tail *tail = routes->tails;
    size_t before = 0;
    for (; tail; tail = tail->next) {
        before = spelt(raw, tail->prefix, arena);
        if (before && before < raw.size) break;
    }
    if (!tail) return false;
    if (!percent_decode(slice_skip(raw, before), PERCENT_PATH, arena, &match->parts[0])) {
        match->outcome = OUTCOME_BAD_PATH;
        match->detail = "the path has a % that is not followed by two hexadecimal digits";
        return true;
    }
    match->route = route_of(&tail->node, method);
    match->outcome = match->route ? OUTCOME_OK : OUTCOME_METHOD_NOT_ALLOWED;
    if (!match->route) match->allow = tail->node.allow;
    return true;
}

struct route_match route_find(const struct routes *routes, struct slice method, struct slice raw,
                              struct arena *arena)
{
    struct route_match match = {.outcome = OUTCOME_ROUTE_NOT_FOUND};
    struct path path;
    if (slice_is(method, "HEAD")) method = SLICE("GET");
    if (find_tail(routes, method, raw, arena, &match)) return match;
    match.detail = split(raw, arena, &path);
    if (match.detail) {
        match.outcome = OUTCOME_BAD_PATH;
        return match;
    }
    struct search search = {&path, method, arena, &match, 0};
    if (path.count <= ROUTE_DEPTH_MAX && search_from(&search, &routes->root, 0))
        match.outcome = OUTCOME_OK;
    else if (match.allow)
        match.outcome = OUTCOME_METHOD_NOT_ALLOWED;
    return match;
}
