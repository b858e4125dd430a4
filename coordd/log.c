#include "coordd/log.h"

#include "base/json.h"
#include "coordd/clock.h"

#include <stdio.h>
#include <unistd.h>

static enum log_level least_level = LOG_INFO;
static bool as_json;

void log_configure(enum log_level least, bool json)
{
    least_level = least;
    as_json = json;
}

const char *log_decimal(uint64_t number, char text[24])
{
    snprintf(text, 24, "%llu", (unsigned long long)number);
    return text;
}

const char *log_hexadecimal(uint64_t number, char text[24])
{
    snprintf(text, 24, "%016llx", (unsigned long long)number);
    return text;
}

static bool is_bare(struct slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] <= ' ' || text.data[i] == '"' || text.data[i] == '=' || text.data[i] == '\\' ||
            text.data[i] > 126)
            return false;
    return text.size > 0;
}

static void add_logfmt(struct buffer *line, const char *key, const char *value)
{
    buffer_printf(line, " %s=", key);
    if (is_bare(slice_text(value)))
        buffer_add_text(line, value);
    else
        json_text(&(struct json){line, false}, slice_text(value));
}

static void add_json(struct json *json, const char *key, const char *value)
{
    json_key(json, key);
    json_text(json, slice_text(value));
}

void log_pairs(enum log_level level, const char *fact, const struct log_pair *pairs, unsigned count)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (level < least_level) return;
    struct buffer line = {0};
    struct json json = {&line, false};
    if (as_json) {
        json_open(&json, '{');
        json_key(&json, "time");
        json_time(&json, wallclock_ms());
        add_json(&json, "level", names[level]);
        add_json(&json, "fact", fact);
        for (unsigned i = 1; i < count; i++) add_json(&json, pairs[i].key, pairs[i].value);
        json_close(&json, '}');
    } else {
        buffer_add_text(&line, "time=");
        struct buffer time = {0};
        json_time(&(struct json){&time, false}, wallclock_ms());
        buffer_add(&line, time.data + 1, time.size - 2);
        buffer_free(&time);
        buffer_printf(&line, " level=%s", names[level]);
        add_logfmt(&line, "fact", fact);
        for (unsigned i = 1; i < count; i++) add_logfmt(&line, pairs[i].key, pairs[i].value);
    }
    buffer_add_byte(&line, '\n');
    ssize_t ignored = write(STDERR_FILENO, line.data, line.size);
    (void)ignored; /* nobody is left to tell */
    buffer_free(&line);
}
