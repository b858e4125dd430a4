#include "api/percent.h"

static int hex_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9') return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static bool has_escape(struct slice raw, enum percent_style style)
{
    return raw.size &&
           (memchr(raw.data, '%', raw.size) || (style == PERCENT_FORM && memchr(raw.data, '+', raw.size)));
}

bool percent_decode(struct slice raw, enum percent_style style, struct arena *arena, struct slice *text)
{
    *text = raw;
    if (!has_escape(raw, style)) return true;
    uint8_t *out = arena_alloc(arena, raw.size);
    size_t size = 0;
    for (size_t i = 0; i < raw.size; i++) {
        uint8_t byte = raw.data[i];
        if (byte == '%') {
            int high = raw.size - i > 2 ? hex_value(raw.data[i + 1]) : -1;
            int low = high >= 0 ? hex_value(raw.data[i + 2]) : -1;
            if (low < 0) return false;
            byte = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (byte == '+' && style == PERCENT_FORM) {
            byte = ' ';
        }
        out[size++] = byte;
    }
    *text = slice_of(out, size);
    return true;
}
