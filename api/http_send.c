#include "api/http.h"

#include <netinet/tcp.h>

/* --- headers --- */

enum header {
    HEADER_CONTENT_TYPE,
    HEADER_CACHE_CONTROL,
    HEADER_CONTENT_TYPE_OPTIONS,
    HEADER_NODE,
    HEADER_LEADER,
    HEADER_TERM,
    HEADER_ID,
    HEADER_TOKEN,
    HEADER_LEASE,
    HEADER_REVISION,
    HEADER_EXPIRES,
    HEADER_AGE,
    HEADER_VERSION,
    HEADER_CREATE_REVISION,
    HEADER_REPLAYED,
    HEADER_ETAG,
    HEADER_ALLOW,
    HEADER_RETRY_AFTER,
    HEADER_COUNT
};

/* h2o wants names in lower case; the form people read has the same length. */
static const struct {
    h2o_iovec_t name;
    const char *shown;
} headers[HEADER_COUNT] = {
    [HEADER_CONTENT_TYPE] = {{H2O_STRLIT("content-type")}, "Content-Type"},
    [HEADER_CACHE_CONTROL] = {{H2O_STRLIT("cache-control")}, "Cache-Control"},
    [HEADER_CONTENT_TYPE_OPTIONS] = {{H2O_STRLIT("x-content-type-options")}, "X-Content-Type-Options"},
    [HEADER_NODE] = {{H2O_STRLIT("coord-node")}, "Coord-Node"},
    [HEADER_LEADER] = {{H2O_STRLIT("coord-leader")}, "Coord-Leader"},
    [HEADER_TERM] = {{H2O_STRLIT("coord-term")}, "Coord-Term"},
    [HEADER_ID] = {{H2O_STRLIT("coord-id")}, "Coord-Id"},
    [HEADER_TOKEN] = {{H2O_STRLIT("coord-token")}, "Coord-Token"},
    [HEADER_LEASE] = {{H2O_STRLIT("coord-lease")}, "Coord-Lease"},
    [HEADER_REVISION] = {{H2O_STRLIT("coord-revision")}, "Coord-Revision"},
    [HEADER_EXPIRES] = {{H2O_STRLIT("coord-expires-in-ms")}, "Coord-Expires-In-Ms"},
    [HEADER_AGE] = {{H2O_STRLIT("coord-age-ms")}, "Coord-Age-Ms"},
    [HEADER_VERSION] = {{H2O_STRLIT("coord-version")}, "Coord-Version"},
    [HEADER_CREATE_REVISION] = {{H2O_STRLIT("coord-create-revision")}, "Coord-Create-Revision"},
    [HEADER_REPLAYED] = {{H2O_STRLIT("idempotency-replayed")}, "Idempotency-Replayed"},
    [HEADER_ETAG] = {{H2O_STRLIT("etag")}, "ETag"},
    [HEADER_ALLOW] = {{H2O_STRLIT("allow")}, "Allow"},
    [HEADER_RETRY_AFTER] = {{H2O_STRLIT("retry-after")}, "Retry-After"},
};

/* Values need to live only until h2o_send has written the head. */
struct header_writer {
    h2o_req_t *req;
    char numbers[8][24];
    size_t number_count;
};

static void add_text(struct header_writer *writer, enum header header, const char *text, size_t size)
{
    h2o_headers_t *to = &writer->req->res.headers;
    h2o_iovec_t *name = (h2o_iovec_t *)(uintptr_t)&headers[header].name; /* h2o does not write to it */
    to->entries[to->size++] = (h2o_header_t){name, headers[header].shown, {(char *)(uintptr_t)text, size}};
}

/* `around` stands before the number, a quote also behind it; printf would cost more than the rest of the
 * head. */
static void add_number(struct header_writer *writer, enum header header, const char *around, uint64_t number,
                       unsigned base)
{
    char *start = writer->numbers[writer->number_count++], *end = start + sizeof writer->numbers[0],
         *at = end;
    if (around[0] == '"') *--at = '"';
    do *--at = "0123456789abcdef"[number % base];
    while (number /= base);
    if (around[0]) *--at = around[0];
    add_text(writer, header, at, (size_t)(end - at));
}

static void add_common(struct header_writer *writer, struct loop *loop)
{
    loop_view(loop);
    add_text(writer, HEADER_CACHE_CONTROL, H2O_STRLIT("no-store"));
    add_text(writer, HEADER_CONTENT_TYPE_OPTIONS, H2O_STRLIT("nosniff"));
    add_text(writer, HEADER_NODE, loop->api->node, loop->api->node_size);
    add_text(writer, HEADER_LEADER, loop->leader, loop->leader_size);
    add_text(writer, HEADER_TERM, loop->term, loop->term_size);
}

static void add_facts(struct header_writer *writer, const struct reply *reply)
{
    if (reply->id.size) add_text(writer, HEADER_ID, (const char *)reply->id.data, reply->id.size);
    if (reply->token) add_number(writer, HEADER_TOKEN, "", reply->token, 10);
    if (reply->lease) add_number(writer, HEADER_LEASE, "L", reply->lease, 16);
    if (reply->has_revision) add_number(writer, HEADER_REVISION, "", reply->revision, 10);
    if (reply->has_expires) add_number(writer, HEADER_EXPIRES, "", reply->expires_in_ms, 10);
    if (reply->has_age) add_number(writer, HEADER_AGE, "", reply->age_ms, 10);
    if (reply->version) add_number(writer, HEADER_VERSION, "", reply->version, 10);
    if (reply->create_revision) add_number(writer, HEADER_CREATE_REVISION, "", reply->create_revision, 10);
    if (reply->replayed) add_text(writer, HEADER_REPLAYED, H2O_STRLIT("true"));
    if (reply->tagged) add_number(writer, HEADER_ETAG, "\"", reply->revision, 10);
    if (reply->allow) add_text(writer, HEADER_ALLOW, reply->allow, strlen(reply->allow));
    if (reply->retry_after) add_text(writer, HEADER_RETRY_AFTER, H2O_STRLIT("1"));
}

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {409, "Conflict"},
        {410, "Gone"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {422, "Unprocessable Content"},
        {423, "Locked"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status) return reasons[i].reason;
    return "Unknown";
}

static void write_head(struct header_writer *writer, struct loop *loop, const struct reply *reply,
                       size_t body_size)
{
    h2o_req_t *req = writer->req;
    req->res.status = reply->status;
    req->res.reason = reason_of(reply->status);
    if (reply->type) req->res.content_length = body_size; /* none on a 204, which then stays persistent */
    if (loop->draining || reply->close) req->http1_is_persistent = 0;
    req->res.headers.size = 0;
    h2o_vector_reserve(&req->pool, &req->res.headers, HEADER_COUNT);
    if (reply->type) add_text(writer, HEADER_CONTENT_TYPE, reply->type, strlen(reply->type));
    add_common(writer, loop);
    add_facts(writer, reply);
}

/* --- replies --- */

/* A client that sends head and body in two segments otherwise waits 40 ms for the acknowledgement of the
 * first. */
static void acknowledge_quickly(const struct connection *connection)
{
    if (connection->splits)
        setsockopt(h2o_socket_get_fd(connection->socket), IPPROTO_TCP, TCP_QUICKACK, &(int){1}, sizeof(int));
}

void send_reply(struct loop *loop, h2o_req_t *req, const struct reply *reply, struct slice body)
{
    static h2o_generator_t generator;
    struct connection *connection = connection_of(req);
    struct header_writer writer = {.req = req};
    write_head(&writer, loop, reply, body.size);
    h2o_start_response(req, &generator);
    bool head_only = h2o_memis(req->input.method.base, req->input.method.len, H2O_STRLIT("HEAD"));
    if (!body.size || head_only) {
        h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
    } else {
        h2o_iovec_t copy = h2o_strdup(&req->pool, (const char *)body.data, body.size);
        h2o_send(req, &copy, 1, H2O_SEND_STATE_FINAL);
        metric_add(&loop->metrics->body_bytes_out, body.size);
    }
    acknowledge_quickly(connection);
}

void send_head(struct loop *loop, h2o_req_t *req, const struct reply *reply, h2o_generator_t *generator)
{
    /* in the pool: the head is written when the body begins */
    struct header_writer *writer = h2o_mem_alloc_pool(&req->pool, sizeof *writer);
    *writer = (struct header_writer){.req = req};
    write_head(writer, loop, reply, 0);
    req->res.content_length = SIZE_MAX;
    h2o_start_response(req, generator);
}

void send_problem(struct loop *loop, h2o_req_t *req, const struct problem *problem)
{
    loop->scratch.size = 0;
    struct reply reply = reply_to_problem(problem, &loop->scratch);
    send_reply(loop, req, &reply, buffer_slice(&loop->scratch));
}

/* --- what h2o refuses by itself --- */

struct replacement {
    h2o_ostream_t super;
    h2o_iovec_t body;
};

static void send_replacement(h2o_ostream_t *stream, h2o_req_t *req, h2o_iovec_t *parts, size_t count,
                             h2o_send_state_t state)
{
    struct replacement *replacement = (struct replacement *)stream;
    bool head_only = count == 0;
    (void)parts;
    h2o_ostream_send_next(stream, req, &replacement->body, head_only ? 0 : 1, state);
}

static bool is_ours(const h2o_req_t *req)
{
    for (size_t i = 0; i < req->res.headers.size; i++)
        if (req->res.headers.entries[i].name == &headers[HEADER_NODE].name) return true;
    return false;
}

static void replace_refusal(h2o_req_t *req, h2o_ostream_t **slot)
{
    struct loop *loop = connection_of(req)->loop;
    struct problem problem = {.outcome = OUTCOME_BAD_REQUEST};
    if (req->res.status == 413) {
        problem.outcome = OUTCOME_BODY_TOO_LARGE;
        problem.limit = BODY_MAX;
    } else if (req->res.status == 417) {
        problem.detail = SLICE("the only known expectation is 100-continue");
    } else {
        problem.detail = SLICE("the length of the body, or its coding in chunks, is broken");
    }
    loop->scratch.size = 0;
    struct reply reply = reply_to_problem(&problem, &loop->scratch);
    struct header_writer writer = {.req = req};
    write_head(&writer, loop, &reply, loop->scratch.size);
    struct replacement *replacement = (struct replacement *)h2o_add_ostream(req, sizeof *replacement, slot);
    replacement->super.do_send = send_replacement;
    replacement->body = h2o_strdup(&req->pool, (const char *)loop->scratch.data, loop->scratch.size);
    metrics_request(loop->metrics, metrics_row_of_none(loop->metrics), problem.outcome, 0);
}

static void on_setup_ostream(h2o_filter_t *filter, h2o_req_t *req, h2o_ostream_t **slot)
{
    (void)filter;
    if (!is_ours(req)) {
        replace_refusal(req, slot);
        slot = &(*slot)->next;
    }
    h2o_setup_next_ostream(req, slot);
}

void send_register_filter(h2o_pathconf_t *path)
{
    h2o_create_filter(path, sizeof(h2o_filter_t))->on_setup_ostream = on_setup_ostream;
}
