#include "api/reply.h"

#include "api/plain.h"

static uint64_t number_at(const struct field *field, const void *data)
{
    uint64_t number;
    memcpy(&number, (const char *)data + field->offset, sizeof number);
    return number;
}

/* --- which form --- */

static struct slice trim(struct slice text)
{
    while (text.size && text.data[0] == ' ') text = slice_skip(text, 1);
    while (text.size && text.data[text.size - 1] == ' ') text.size--;
    return text;
}

static struct slice take_until(struct slice *from, char end)
{
    const uint8_t *at = from->size ? memchr(from->data, end, from->size) : NULL;
    struct slice taken = slice_of(from->data, at ? (size_t)(at - from->data) : from->size);
    *from = slice_skip(*from, taken.size + (at != NULL));
    return trim(taken);
}

/* "q=0.5" among the parameters, in thousandths. */
static unsigned quality(struct slice parameters)
{
    while (parameters.size) {
        struct slice parameter = take_until(&parameters, ';');
        if (!slice_starts_with(parameter, SLICE("q="))) continue;
        if (parameter.size > 2 && parameter.data[2] == '1') return 1000;
        unsigned value = 0, digit = 100;
        for (size_t i = 4; i < parameter.size && digit; i++, digit /= 10)
            if (parameter.data[i] >= '0' && parameter.data[i] <= '9')
                value += (unsigned)(parameter.data[i] - '0') * digit;
        return value;
    }
    return 1000;
}

static enum reply_form stream_reply_form(struct slice accept)
{
    if (!accept.size) return REPLY_SSE;
    unsigned lines = 0, events = 0;
    while (accept.size) {
        struct slice parameters = take_until(&accept, ','), type = take_until(&parameters, ';');
        unsigned q = quality(parameters);
        bool json = slice_is(type, "application/x-ndjson") || slice_is(type, "application/ndjson") ||
                    slice_is(type, "application/jsonl");
        bool any = slice_is(type, "*/*") || slice_is(type, "text/*") || slice_is(type, "text/event-stream");
        unsigned *place = json ? &lines : any ? &events : NULL;
        if (place && q > *place) *place = q;
    }
    return lines > events ? REPLY_NDJSON : events ? REPLY_SSE : lines ? REPLY_NDJSON : REPLY_NOT_ACCEPTABLE;
}

enum reply_form reply_form(struct slice accept, const struct operation *operation)
{
    if (operation->kind == OPERATION_STREAM) return stream_reply_form(accept);
    bool raw = (operation->flags & OPERATION_RAW) && operation->kind == OPERATION_QUERY;
    if (raw && operation->type) return REPLY_RAW; /* made for one reader, who has no use for an envelope */
    if (slice_is(accept, "application/json")) return REPLY_JSON;
    if (!accept.size || slice_is(accept, "*/*")) return raw ? REPLY_RAW : REPLY_JSON;
    unsigned json = 0, plain = 0, any = 0;
    while (accept.size) {
        struct slice parameters = take_until(&accept, ','), type = take_until(&parameters, ';');
        unsigned q = quality(parameters);
        unsigned *place = slice_is(type, "text/plain")                                            ? &plain
                          : slice_is(type, "*/*")                                                 ? &any
                          : slice_is(type, "application/json") || slice_is(type, "application/*") ? &json
                                                                                                  : NULL;
        if (place && q > *place) *place = q;
    }
    if (raw) return json > any ? REPLY_JSON : REPLY_RAW; /* its type is whatever the client put there */
    bool plainly = plain && plain_exists(operation) && (json ? plain > json : plain >= any);
    return plainly ? REPLY_PLAIN : json || any ? REPLY_JSON : REPLY_NOT_ACCEPTABLE;
}

/* --- replies --- */

static void write_success(const struct call *call, enum reply_form form, struct reply *reply,
                          struct buffer *body)
{
    if (reply->status == 204 || reply->status == 304) return;
    reply->type = form == REPLY_PLAIN ? "text/plain; charset=utf-8"
                  : form == REPLY_RAW ? operation_raw_type(call->operation)
                                      : "application/json";
    if (form == REPLY_RAW && call->shape) {
        struct slice value;
        const struct field *field = record_field(call->shape, SLICE("value"));
        memcpy(&value, (const char *)call->result + field->offset, sizeof value);
        buffer_add_slice(body, value);
        return;
    }
    if (form == REPLY_PLAIN && call->shape && call->shape == call->operation->result) {
        plain_write(call->operation, call->result, body);
        return;
    }
    if (call->shape)
        record_json(call->shape, call->result, &(struct json){body, false});
    else
        buffer_add_text(body, "{}");
    buffer_add_byte(body, '\n');
}

/* A header takes no other bytes. */
static bool is_printable(struct slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] <= ' ' || text.data[i] >= 0x7f) return false;
    return text.size > 0;
}

static void set_id(const struct field *field, const void *data, struct reply *reply)
{
    struct slice id;
    memcpy(&id, (const char *)data + field->offset, sizeof id);
    if (is_printable(id)) reply->id = id;
}

/* Of the first of several: what a shell that takes one at a time needs. */
static void set_first_headers(const struct route *route, const struct call *call, struct reply *reply)
{
    struct list list;
    memcpy(&list, (const char *)call->result + route->listed->offset, sizeof list);
    if (!list.count) return;
    const struct field *expires = record_field(route->listed->record, SLICE("expires_in_ms"));
    if (route->listed_id) set_id(route->listed_id, list.items, reply);
    if (!expires || route->expires_in_ms) return;
    reply->expires_in_ms = number_at(expires, list.items);
    reply->has_expires = reply->expires_in_ms != RECORD_UNKNOWN;
}

static void set_result_headers(const struct route *route, const struct call *call, struct reply *reply)
{
    if (call->shape != route->operation->result || !call->result) return;
    if (route->id) set_id(route->id, call->result, reply);
    if (route->listed) set_first_headers(route, call, reply);
    if (route->token) reply->token = number_at(route->token, call->result);
    if (route->lease) reply->lease = number_at(route->lease, call->result);
    if (route->revision) reply->revision = number_at(route->revision, call->result);
    reply->has_revision |= route->revision != NULL;
    if (route->expires_in_ms) reply->expires_in_ms = number_at(route->expires_in_ms, call->result);
    if (route->version) reply->version = number_at(route->version, call->result);
    if (route->create_revision) reply->create_revision = number_at(route->create_revision, call->result);
    bool none = route->expires_in_ms && (route->expires_in_ms->flags & FIELD_NULL) && !reply->expires_in_ms;
    if (route->expires_in_ms) reply->has_expires = !none && reply->expires_in_ms != RECORD_UNKNOWN;
}

struct reply reply_to_problem(const struct problem *problem, struct buffer *body)
{
    int status = problem_facts(problem->outcome)->status;
    problem_json(problem, body);
    return (struct reply){
        .status = status,
        .type = "application/problem+json",
        .retry_after = status == 429 || status == 503,
        .close = problem->outcome == OUTCOME_SHUTTING_DOWN,
        .allow = problem->allow,
    };
}

struct reply reply_to_call(const struct route *route, const struct call *call, enum reply_form form,
                           struct buffer *body)
{
    struct reply reply = {.status = problem_facts(call->outcome)->status};
    if (reply.status < 400) {
        write_success(call, form, &reply, body);
    } else {
        struct problem problem = {call->outcome, call->detail, .shape = call->shape, .facts = call->result};
        reply = reply_to_problem(&problem, body);
    }
    reply.revision = call->revision;
    reply.has_revision = call->revision != 0;
    if (reply.status < 400) {
        set_result_headers(route, call, &reply);
        reply.tagged = route->tagged;
    }
    reply.replayed = call->replayed;
    reply.has_age = call->stale;
    reply.age_ms = call->age_ms;
    return reply;
}
