/* Percent-encoding of URLs (RFC 3986), decoded exactly once. */
#ifndef COORDD_API_PERCENT_H
#define COORDD_API_PERCENT_H

#include "base/arena.h"

enum percent_style {
    PERCENT_PATH, /* '+' is itself */
    PERCENT_FORM, /* '+' is a space, as forms and `curl --data-urlencode` write it */
};

/* Decodes `raw`; text without escapes is returned as it lies, anything else is written into the arena. False
 * when an escape is not % and two hexadecimal digits. The result may hold any byte. */
bool percent_decode(struct slice raw, enum percent_style style, struct arena *arena, struct slice *text);

#endif
