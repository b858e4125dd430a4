/* JSON schemas (2020-12, as OpenAPI 3.1 has them) of the fields and records of the operations' tables. */
#ifndef COORDD_API_OPENAPI_SCHEMA_H
#define COORDD_API_OPENAPI_SCHEMA_H

#include "api/route.h"
#include "base/json.h"

/* Members of the object under construction. */
void schema_text(struct json *json, const char *key, const char *text);
void schema_uint(struct json *json, const char *key, uint64_t value);
void schema_true(struct json *json, const char *key, bool value);
void schema_ref(struct json *json, const char *kind, const char *name); /* "$ref" to a component */
void schema_about(struct json *json, const struct field *field);

/* Is it given in the body or as a query parameter; in the path? */
bool schema_in_path(const struct route *route, const struct field *field);
bool schema_is_input(const struct route *route, const struct field *field);

void schema_input(struct json *json, const struct field *field);
/* Without what stands in the route's path; route NULL: a nested object, whose required members are named. */
void schema_input_object(struct json *json, const struct record *record, const struct route *route);
/* Components: every operation that may stand in a transaction, and "operation", which is any of them. */
void schema_operations(struct json *json, const struct primitive *const *all);
void schema_output_reference(struct json *json, const struct record *record);
/* The members of "required" and "properties" only. */
void schema_output_properties(struct json *json, const struct record *record);
void schema_output_object(struct json *json, const struct record *record);

#endif
