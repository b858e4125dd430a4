/* The plain form of results (Accept: text/plain): what a shell reads without a JSON parser.
 *
 * Of an operation whose table names fields (`plain`): those, in one line with a space between them; or a line
 * for each of a list. A text without escapes is bare, anything else is JSON, which has no line breaks; what
 * is null or empty is "-". Of others: "TOKEN" of a grant; "TOKEN OWNER EXPIRES_IN_MS" of what is held, or
 * "free". */
#ifndef COORDD_API_PLAIN_H
#define COORDD_API_PLAIN_H

#include "coord/operation.h"

/* Has it one? Operations with `plain`, with a token in their result, or with holders of tokens. */
bool plain_exists(const struct operation *operation);
/* The list whose items are the lines; NULL: the result itself is the line. Aborts when `plain` names what the
 * result lacks. */
const struct field *plain_list(const struct operation *operation);
/* Writes what is of the operation's result. */
void plain_write(const struct operation *operation, const void *result, struct buffer *out);

#endif
