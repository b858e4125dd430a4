#include "base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct slice bytes, struct buffer *out)
{
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t word = (uint32_t)bytes.data[i] << 16;
        if (left > 1) word |= (uint32_t)bytes.data[i + 1] << 8;
        if (left > 2) word |= bytes.data[i + 2];
        buffer_add_byte(out, (uint8_t)alphabet[word >> 18]);
        buffer_add_byte(out, (uint8_t)alphabet[word >> 12 & 63]);
        buffer_add_byte(out, left > 1 ? (uint8_t)alphabet[word >> 6 & 63] : '=');
        buffer_add_byte(out, left > 2 ? (uint8_t)alphabet[word & 63] : '=');
    }
}

static bool digit(uint8_t byte, uint32_t *value)
{
    const char *at = byte ? memchr(alphabet, byte, 64) : NULL;
    if (at) *value = (uint32_t)(at - alphabet);
    return at;
}

bool base64_decode(struct slice text, struct buffer *out)
{
    if (text.size % 4) return false;
    for (size_t i = 0; i < text.size; i += 4) {
        bool last = i + 4 == text.size;
        size_t padding = last && text.data[i + 3] == '=' ? 1 + (text.data[i + 2] == '=') : 0;
        uint32_t word = 0;
        for (size_t k = 0; k < 4; k++) {
            uint32_t value = 0;
            if (k < 4 - padding && !digit(text.data[i + k], &value)) return false;
            word = word << 6 | value;
        }
        if (padding && word & ((1u << 8 * padding) - 1)) return false;
        buffer_add_byte(out, (uint8_t)(word >> 16));
        if (padding < 2) buffer_add_byte(out, (uint8_t)(word >> 8));
        if (padding < 1) buffer_add_byte(out, (uint8_t)word);
    }
    return true;
}
