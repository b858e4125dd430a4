/* The OpenAPI 3.1 document, made from the operation tables. */
#ifndef COORDD_API_OPENAPI_H
#define COORDD_API_OPENAPI_H

#include "api/route.h"

void openapi_json(const struct routes *routes, struct buffer *out);

#endif
