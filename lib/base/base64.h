/* Base64 with the standard alphabet and padding (RFC 4648, 4). */
#ifndef COORDD_BASE_BASE64_H
#define COORDD_BASE_BASE64_H

#include "base/buffer.h"

void base64_encode(struct slice bytes, struct buffer *out);
/* False for anything but the one canonical form: bad characters, missing padding, bits behind the end. */
bool base64_decode(struct slice text, struct buffer *out);

#endif
