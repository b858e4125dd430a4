/* Log lines: a fact and what follows from it, as logfmt or JSON, on standard error. One line is one write. */
#ifndef COORDD_LOG_H
#define COORDD_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_pair {
    const char *key, *value;
};

void log_configure(enum log_level least, bool json);
void log_pairs(enum log_level level, const char *fact, const struct log_pair *pairs, unsigned count);

/* LOG(INFO, "ready", {"listen", address}, {"term", log_number(term)}); every value is text and is escaped. */
#define LOG(level, fact, ...)                                                                                \
    log_pairs(LOG_##level, fact, (const struct log_pair[]){{"", ""}, __VA_ARGS__},                           \
              sizeof((const struct log_pair[]){{"", ""}, __VA_ARGS__}) / sizeof(struct log_pair))

/* The same without pairs. */
#define LOG_FACT(level, fact) log_pairs(LOG_##level, fact, NULL, 0)

/* Text that lives until the end of the enclosing block. */
#define log_number(n) (log_decimal((n), (char[24]){0}))
const char *log_decimal(uint64_t number, char text[24]);

#define log_hex(n) (log_hexadecimal((n), (char[24]){0}))
const char *log_hexadecimal(uint64_t number, char text[24]);

#endif
