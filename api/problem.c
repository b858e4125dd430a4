#include "api/problem.h"

#include "base/check.h"

enum { NUMBER_END = 256 };

enum {
#define X(name, number, status, code, retryable, title) POSITION_##name,
    OUTCOMES(X)
#undef X
        OUTCOME_COUNT
};

static const struct outcome_facts table[] = {
#define X(name, number, status, code, retryable, title) {OUTCOME_##name, status, code, retryable, title},
    OUTCOMES(X)
#undef X
};

static const uint8_t positions[NUMBER_END] = {
#define X(name, number, status, code, retryable, title) [number] = POSITION_##name + 1,
    OUTCOMES(X)
#undef X
};

size_t problem_outcome_count(void)
{
    return OUTCOME_COUNT;
}

const struct outcome_facts *problem_outcome_at(size_t position)
{
    CHECK(position < OUTCOME_COUNT);
    return &table[position];
}

size_t problem_outcome_position(enum outcome outcome)
{
    CHECK((unsigned)outcome < NUMBER_END && positions[outcome]);
    return positions[outcome] - 1u;
}

const struct outcome_facts *problem_facts(enum outcome outcome)
{
    return &table[problem_outcome_position(outcome)];
}

static void add_methods(struct json *json, const char *allow)
{
    json_key(json, "allow");
    json_open(json, '[');
    while (*allow) {
        size_t size = strcspn(allow, ", ");
        json_text(json, slice_of(allow, size));
        allow += size;
        allow += strspn(allow, ", ");
    }
    json_close(json, ']');
}

static void add_edge_facts(struct json *json, const struct problem *problem)
{
    if (problem->field.size) {
        json_key(json, "field");
        json_text(json, problem->field);
    }
    if (problem->allow) add_methods(json, problem->allow);
    if (problem->limit) {
        json_key(json, "limit");
        json_uint(json, problem->limit);
    }
    if (problem->has_byte_offset) {
        json_key(json, "byte_offset");
        json_uint(json, problem->byte_offset);
    }
}

void problem_json(const struct problem *problem, struct buffer *out)
{
    const struct outcome_facts *facts = problem_facts(problem->outcome);
    struct json json = {out, false};
    json_open(&json, '{');
    buffer_add_text(out, "\"type\":\"urn:coordd:");
    buffer_add_text(out, facts->code);
    buffer_add_byte(out, '"');
    json.comma = true;
    json_key(&json, "title");
    json_text(&json, slice_text(facts->title));
    json_key(&json, "status");
    json_uint(&json, (uint64_t)facts->status);
    json_key(&json, "code");
    json_text(&json, slice_text(facts->code));
    json_key(&json, "detail");
    json_text(&json, problem->detail.size ? problem->detail : slice_text(facts->title));
    json_key(&json, "retryable");
    json_bool(&json, facts->retryable);
    if (problem->shape) record_json_members(problem->shape, problem->facts, &json);
    add_edge_facts(&json, problem);
    json_close(&json, '}');
    buffer_add_byte(out, '\n');
}
