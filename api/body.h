/* JSON bodies into arguments. Strict: one object, known members, each once, exact integers, no trailing
 * bytes. */
#ifndef COORDD_API_BODY_H
#define COORDD_API_BODY_H

#include "api/argument.h"

enum { BODY_MAX = 1536 * 1024, BODY_DEPTH_MAX = 32 };

/* Before the first parse, while there is one thread: seeds the hash of the JSON library. */
void body_init(void);

/* Sets the members of the object in `body` (at most BODY_MAX bytes) on top of what path and query gave; null
 * is not given. An empty body is no members. False: refused (BAD_JSON with the byte offset, or BAD_FIELD).
 * Call argument_done after it. */
bool body_parse(struct slice body, struct argument *argument);

/* Does the body begin as a JSON array? Then the items of that array become those of `list`. */
bool body_is_array(struct slice body);
bool body_parse_array(struct slice body, struct argument *argument, const struct field *list);

#endif
