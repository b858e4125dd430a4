#include "base/json.h"

#include "base/check.h"

#include <stdio.h>

static void element(struct json *json)
{
    if (json->comma) buffer_add_byte(json->out, ',');
    json->comma = true;
}

void json_open(struct json *json, char bracket)
{
    element(json);
    buffer_add_byte(json->out, (uint8_t)bracket);
    json->comma = false;
}

void json_close(struct json *json, char bracket)
{
    buffer_add_byte(json->out, (uint8_t)bracket);
    json->comma = true;
}

void json_key(struct json *json, const char *key)
{
    element(json);
    buffer_add_byte(json->out, '"');
    buffer_add_text(json->out, key);
    buffer_add(json->out, "\":", 2);
    json->comma = false;
}

static void add_escaped(struct buffer *out, uint8_t byte)
{
    static const char letters[] = "btn\0fr"; /* for 8 to 13 */
    if (byte == '"' || byte == '\\') {
        uint8_t pair[2] = {'\\', byte};
        buffer_add(out, pair, 2);
    } else if (byte >= 8 && byte <= 13 && letters[byte - 8]) {
        uint8_t pair[2] = {'\\', (uint8_t)letters[byte - 8]};
        buffer_add(out, pair, 2);
    } else {
        buffer_printf(out, "\\u%04x", byte);
    }
}

void json_text(struct json *json, struct slice utf8)
{
    element(json);
    buffer_add_byte(json->out, '"');
    size_t plain = 0;
    for (size_t i = 0; i < utf8.size; i++) {
        uint8_t byte = utf8.data[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7f) continue;
        buffer_add(json->out, utf8.data + plain, i - plain);
        add_escaped(json->out, byte);
        plain = i + 1;
    }
    if (plain < utf8.size) buffer_add(json->out, utf8.data + plain, utf8.size - plain);
    buffer_add_byte(json->out, '"');
}

void json_uint(struct json *json, uint64_t value)
{
    element(json);
    buffer_add_decimal(json->out, value);
}

void json_bool(struct json *json, bool value)
{
    element(json);
    buffer_add_text(json->out, value ? "true" : "false");
}

void json_null(struct json *json)
{
    element(json);
    buffer_add_text(json->out, "null");
}

void json_raw(struct json *json, struct slice text)
{
    element(json);
    buffer_add_slice(json->out, text);
}

/* Days to a civil date: Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days. */
void json_time(struct json *json, uint64_t ms)
{
    uint64_t seconds = ms / 1000, days = seconds / 86400 + 719468;
    unsigned second = (unsigned)(seconds % 86400);
    uint64_t era = days / 146097, day_of_era = days % 146097;
    uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t shifted = (5 * day_of_year + 2) / 153, day = day_of_year - (153 * shifted + 2) / 5 + 1;
    uint64_t month = shifted < 10 ? shifted + 3 : shifted - 9;
    uint64_t year = year_of_era + era * 400 + (month <= 2);
    element(json);
    buffer_printf(json->out, "\"%04u-%02u-%02uT%02u:%02u:%02u.%03uZ\"", (unsigned)year, (unsigned)month,
                  (unsigned)day, second / 3600, second / 60 % 60, second % 60, (unsigned)(ms % 1000));
}

bool utf8_valid(struct slice bytes)
{
    for (size_t i = 0; i < bytes.size;) {
        uint8_t lead = bytes.data[i];
        size_t more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
        if (lead == 0 || (lead >= 0x80 && lead < 0xc2) || lead > 0xf4 || bytes.size - i <= more) return false;
        uint32_t point = more == 0 ? lead : lead & (0x3fu >> more);
        for (size_t k = 1; k <= more; k++) {
            if ((bytes.data[i + k] & 0xc0) != 0x80) return false;
            point = point << 6 | (bytes.data[i + k] & 0x3f);
        }
        if ((more == 2 && (point < 0x800 || (point >= 0xd800 && point < 0xe000))) ||
            (more == 3 && (point < 0x10000 || point > 0x10ffff)))
            return false;
        i += more + 1;
    }
    return true;
}
