#include "api/http.h"

#include "api/argument.h"
#include "api/condition.h"
#include "api/query.h"

static struct slice slice_of_iovec(h2o_iovec_t iovec)
{
    return slice_of(iovec.base, iovec.len);
}

static bool read_condition(const h2o_header_t *header, struct request_head *head)
{
    static const struct {
        h2o_iovec_t name;
        size_t offset;
    } conditions[] = {
        {{H2O_STRLIT("if-match")}, offsetof(struct request_head, if_match)},
        {{H2O_STRLIT("if-none-match")}, offsetof(struct request_head, if_none_match)},
        {{H2O_STRLIT("idempotency-key")}, offsetof(struct request_head, retry_key)},
        {{H2O_STRLIT("coord-fence")}, offsetof(struct request_head, fence)},
    };
    for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++) {
        if (!h2o_memis(header->name->base, header->name->len, conditions[i].name.base,
                       conditions[i].name.len))
            continue;
        struct slice *value = (struct slice *)(void *)((char *)head + conditions[i].offset);
        head->repeated |= value->data != NULL;
        *value = slice_of_iovec(header->value);
        return true;
    }
    return false;
}

static void read_header(const h2o_header_t *header, struct request_head *head)
{
    const h2o_iovec_t *name = header->name;
    head->header_bytes += name->len + header->value.len;
    head->nameless |= name->len == 0;
    if (name == &H2O_TOKEN_ACCEPT->buf)
        head->accept = slice_of_iovec(header->value);
    else if (name->len >= sizeof "if-match" - 1 && read_condition(header, head))
        return;
    else if (h2o_memis(name->base, name->len, H2O_STRLIT("last-event-id")))
        head->last_event_id = slice_of_iovec(header->value);
    else if (h2o_memis(name->base, name->len, H2O_STRLIT("origin")))
        head->origin = slice_of_iovec(header->value);
    else if (h2o_memis(name->base, name->len, H2O_STRLIT("sec-fetch-site")))
        head->site = slice_of_iovec(header->value);
}

static struct request_head read_head(const h2o_req_t *req)
{
    struct request_head head = {
        .method = slice_of_iovec(req->input.method),
        .target = slice_of_iovec(req->input.path),
        .version = req->version,
        .has_body = req->entity.base != NULL,
    };
    /* h2o fills in the name of its virtual host when the client sent none. */
    if (req->input.authority.base != req->hostconf->authority.hostport.base)
        head.host = slice_of_iovec(req->input.authority);
    head.header_bytes = head.target.size + head.host.size;
    for (size_t i = 0; i < req->headers.size; i++) read_header(&req->headers.entries[i], &head);
    return head;
}

/* Whether the last bytes to arrive were body alone. */
static void note_body(struct loop *loop, const h2o_req_t *req, struct connection *connection)
{
    if (!req->entity.len) return;
    metric_add(&loop->metrics->body_bytes_in, req->entity.len);
    if (connection->socket->bytes_read <= req->entity.len) connection->splits = true;
}

static void refuse(struct loop *loop, h2o_req_t *req, size_t row, const struct problem *problem)
{
    metrics_request(loop->metrics, row, problem->outcome, 0);
    send_problem(loop, req, problem);
}

static void serve_page(struct loop *loop, h2o_req_t *req, const struct page *page, struct slice method)
{
    size_t row = metrics_row_of_pages(loop->metrics);
    if (!slice_is(method, "GET") && !slice_is(method, "HEAD")) {
        refuse(loop, req, row,
               &(struct problem){.outcome = OUTCOME_METHOD_NOT_ALLOWED, .allow = "GET, HEAD"});
        return;
    }
    enum outcome outcome = OUTCOME_OK;
    loop->scratch.size = 0;
    struct reply reply =
        page->write(&loop->api->pages, loop_view(loop), loop_now_ms(loop), &outcome, &loop->scratch);
    metrics_request(loop->metrics, row, outcome, 0);
    send_reply(loop, req, &reply, buffer_slice(&loop->scratch));
}

/* --- arguments --- */

/* The body as it is; a value that the query gave stands in for an empty one. */
static bool raw_value(struct argument *argument, struct slice body)
{
    const struct field *value = record_field(argument->setting.record, SLICE("value"));
    size_t position = (size_t)(value - argument->setting.record->fields);
    if (!body.size && (argument->setting.given >> position & 1)) return true;
    if (body.size > value->max) {
        argument->problem->outcome = OUTCOME_BODY_TOO_LARGE;
        argument->problem->limit = value->max;
        return false;
    }
    if (!argument_field(argument, SLICE("value"))) return false;
    return setting_bytes(&argument->setting, value, body) || argument_refuse_complaint(argument, value);
}

/* What the body gives: a raw value, the items of a list, or fields. */
static bool read_body(const struct route *route, struct argument *argument, struct slice body)
{
    const struct operation *operation = route->operation;
    if ((operation->flags & OPERATION_RAW) && operation->kind == OPERATION_COMMAND)
        return raw_value(argument, body);
    if (route->items) return body_parse_array(body, argument, route->items);
    return !body.size || body_parse(body, argument);
}

static bool read_arguments(h2o_req_t *req, const struct request_head *head, const struct route_match *match,
                           struct slice query, struct call *call, struct problem *problem)
{
    const struct operation *operation = match->route->operation;
    call->args = arena_alloc(&call->arena, operation->args->size);
    struct argument argument = {
        .setting = {.record = operation->args, .data = call->args, .arena = &call->arena},
        .problem = problem};
    for (size_t i = 0; i < match->route->part_count; i++)
        if (!argument_text(&argument, match->route->parts[i], match->parts[i])) return false;
    struct query_options options = {0};
    if (query.size && !query_parse(query, operation, &argument, &options)) return false;
    if (!query_seen(head->if_none_match, head->last_event_id, operation, &argument, &options)) return false;
    if (!conditions_apply(head, operation, &argument, call)) return false;
    if (!read_body(match->route, &argument, slice_of_iovec(req->entity))) return false;
    call->stale = options.stale;
    call->min_revision = options.min_revision;
    call->since_given = options.since_given;
    call->since = options.since;
    call->wait_ms = options.wait_ms;
    return argument_done(&argument);
}

static bool has_room(const struct loop *loop, const struct call *call, struct problem *problem)
{
    if (call->operation->kind == OPERATION_STREAM && loop->stream_count >= loop->streams_max) {
        problem->outcome = OUTCOME_OVERLOADED;
        problem->limit = loop->streams_max;
        problem->detail = SLICE("too many streams are open on this node");
        return false;
    }
    bool calls = loop->calls_out < loop->calls_max;
    if (calls && (!call->wait_ms || loop->waiting_out < loop->waiting_max)) return true;
    problem->outcome = OUTCOME_OVERLOADED;
    problem->limit = calls ? HTTP_WAITING_MAX : HTTP_CALLS_MAX;
    problem->detail =
        calls ? SLICE("too many requests wait on this node") : SLICE("too many requests are under way");
    return false;
}

/* Everything between the route and the node. False: refused. */
static bool make_call(struct loop *loop, h2o_req_t *req, const struct request_head *head,
                      const struct route_match *match, struct slice query, enum reply_form form,
                      struct call *call, struct problem *problem)
{
    if (form == REPLY_NOT_ACCEPTABLE) {
        problem->outcome = OUTCOME_NOT_ACCEPTABLE;
        problem->detail = match->route->operation->kind == OPERATION_STREAM
                              ? SLICE("this operation answers with text/event-stream or application/x-ndjson")
                              : SLICE("this operation answers with application/json");
        return false;
    }
    call->operation = match->route->operation;
    if (!read_arguments(req, head, match, query, call, problem)) return false;
    call->arrived_ms = loop_now_ms(loop);
    if (call->operation->flags & OPERATION_WAITS)
        call->wait_ms = operation_wait_ms(call->operation, call->args);
    call->home = &loop->inbox;
    return has_room(loop, call, problem);
}

/* A stream has a head, and a body without end that HEAD does not ask for. */
static void send_stream_head(struct loop *loop, h2o_req_t *req, enum stream_form form)
{
    struct reply reply = {.status = 200, .type = stream_type(form)};
    send_reply(loop, req, &reply, (struct slice){0});
}

static void submit_stream(struct loop *loop, h2o_req_t *req, const struct route *route, enum reply_form form,
                          struct call *call)
{
    call->form = form == REPLY_NDJSON ? STREAM_NDJSON : STREAM_SSE;
    if (h2o_memis(req->input.method.base, req->input.method.len, H2O_STRLIT("HEAD"))) {
        send_stream_head(loop, req, call->form);
        call_free(call);
        return;
    }
    call->stream = stream_new(loop, call->number, call->form);
    hold_request(loop, req, route, form, call);
}

/* --- the road of a request --- */

static void serve_operation(struct loop *loop, h2o_req_t *req, const struct request_head *head,
                            struct slice path, struct slice query)
{
    struct call *call = call_new();
    struct route_match match = route_find(loop->api->routes, head->method, path, &call->arena);
    struct problem problem = {.outcome = match.outcome};
    size_t row = metrics_row_of_none(loop->metrics);
    if (match.outcome == OUTCOME_OK) {
        if (match.route->array && body_is_array(slice_of_iovec(req->entity)))
            match.route = match.route->array;
        row = match.route->number;
        enum reply_form form = reply_form(head->accept, match.route->operation);
        if (make_call(loop, req, head, &match, query, form, call, &problem)) {
            if (match.route->operation->kind == OPERATION_STREAM)
                submit_stream(loop, req, match.route, form, call);
            else
                hold_request(loop, req, match.route, form, call);
            return;
        }
    } else {
        if (match.detail) problem.detail = slice_text(match.detail);
        problem.allow = match.allow;
    }
    refuse(loop, req, row, &problem);
    call_free(call);
}

static bool is_under_v1(struct slice target)
{
    return slice_starts_with(target, SLICE("/v1/")) && !slice_starts_with(target, SLICE("/v1/openapi.json"));
}

int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    (void)handler;
    struct connection *connection = connection_of(req);
    struct loop *loop = connection->loop;
    struct request_head head = read_head(req);
    const uint8_t *mark = head.target.size ? memchr(head.target.data, '?', head.target.size) : NULL;
    struct slice path =
        slice_of(head.target.data, mark ? (size_t)(mark - head.target.data) : head.target.size);
    struct slice query = mark ? slice_skip(head.target, path.size + 1) : (struct slice){0};
    const struct page *page = is_under_v1(head.target) ? NULL : page_find(path);
    size_t none = metrics_row_of_none(loop->metrics);
    struct problem problem = {0};
    note_body(loop, req, connection);
    if (!gate_admits(loop->api->gate, &head, page && page->open, &problem)) {
        refuse(loop, req, none, &problem);
    } else if (req->entity.len > BODY_MAX) {
        refuse(loop, req, none, &(struct problem){.outcome = OUTCOME_BODY_TOO_LARGE, .limit = BODY_MAX});
    } else if (page) {
        serve_page(loop, req, page, head.method);
    } else if (loop->draining) {
        refuse(loop, req, none, &(struct problem){.outcome = OUTCOME_SHUTTING_DOWN});
    } else {
        serve_operation(loop, req, &head, path, query);
    }
    return 0;
}
