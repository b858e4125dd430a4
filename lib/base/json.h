/* Writing JSON text (RFC 8259) into a buffer, compact, keys in the order they are written. The writer puts
 * the commas; the caller keeps the nesting right. */
#ifndef COORDD_BASE_JSON_H
#define COORDD_BASE_JSON_H

#include "base/buffer.h"

struct json {
    struct buffer *out;
    bool comma; /* the next member or element needs a comma before it */
};

void json_open(struct json *json, char bracket);   /* '{' or '[' */
void json_close(struct json *json, char bracket);  /* '}' or ']' */
void json_key(struct json *json, const char *key); /* then exactly one value */
void json_text(struct json *json, struct slice utf8);
void json_uint(struct json *json, uint64_t value);
void json_bool(struct json *json, bool value);
void json_null(struct json *json);
void json_raw(struct json *json, struct slice text); /* a value that is JSON already */
void json_time(struct json *json, uint64_t ms);      /* ms since 1970 -> "2026-11-21T01:02:03.004Z" */

/* True when the bytes are well-formed UTF-8 (RFC 3629) without U+0000. */
bool utf8_valid(struct slice bytes);

#endif
