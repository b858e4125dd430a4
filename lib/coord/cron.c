#include "coord/cron.h"

enum { DAY_S = 24 * 3600, DAYS_AHEAD = 9 * 366 /* a 29th of February may be 8 years away */ };
static const uint64_t all_hours = ((uint64_t)1 << 24) - 1;

/* --- reading a pattern --- */

struct part {
    const char *const *names; /* from the lowest on; NULL: numbers only */
    unsigned lowest, highest;
};

static const char *const month_names[] = {"jan", "feb", "mar", "apr", "may", "jun", "jul",
                                          "aug", "sep", "oct", "nov", "dec", NULL};
static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};
enum { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY, PARTS };
static const struct part parts[PARTS] = {
    {NULL, 0, 59}, {NULL, 0, 59}, {NULL, 0, 23}, {NULL, 1, 31}, {month_names, 1, 12}, {day_names, 0, 7},
};

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

static bool is_word(struct slice text, const char *word)
{
    if (text.size != strlen(word)) return false;
    for (size_t i = 0; i < text.size; i++)
        if (lower(text.data[i]) != (uint8_t)word[i]) return false;
    return true;
}

/* What stands before the first `c`; the rest stays in *text. */
static struct slice take_until(struct slice *text, char c)
{
    const uint8_t *end = text->size ? memchr(text->data, c, text->size) : NULL;
    struct slice taken = slice_of(text->data, end ? (size_t)(end - text->data) : text->size);
    *text = slice_skip(*text, end ? taken.size + 1 : taken.size);
    return taken;
}

static bool number_of(struct slice text, unsigned *number)
{
    *number = 0;
    if (!text.size || text.size > 2) return false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        *number = *number * 10 + (unsigned)(text.data[i] - '0');
    }
    return true;
}

static bool value_of(const struct part *part, struct slice text, unsigned *value)
{
    for (unsigned i = 0; part->names && part->names[i]; i++)
        if (is_word(text, part->names[i])) {
            *value = part->lowest + i;
            return true;
        }
    return number_of(text, value) && *value >= part->lowest && *value <= part->highest;
}

static bool take_range(const struct part *part, struct slice text, bool stepped, unsigned *from, unsigned *to)
{
    *from = part->lowest;
    *to = part->highest;
    if (slice_is(text, "*")) return true;
    bool range = text.size && memchr(text.data, '-', text.size);
    struct slice first = take_until(&text, '-');
    if (!value_of(part, first, from)) return false;
    if (!range) {
        if (!stepped) *to = *from;
        return true;
    }
    if (!value_of(part, text, to)) return false;
    if (part->names == day_names && *to == 0 && *from > 0) *to = 7;
    return *from <= *to;
}

static bool take_item(const struct part *part, struct slice text, uint64_t *set)
{
    unsigned from, to, step = 1;
    bool stepped = text.size && memchr(text.data, '/', text.size);
    struct slice range = take_until(&text, '/');
    if (stepped && (!number_of(text, &step) || !step || step > part->highest)) return false;
    if (!take_range(part, range, stepped, &from, &to)) return false;
    for (unsigned value = from; value <= to; value += step)
        *set |= (uint64_t)1 << (part->highest == 7 ? value % 7 : value);
    return true;
}

static bool take_list(const struct part *part, struct slice text, uint64_t *set)
{
    *set = 0;
    if (!text.size || text.data[text.size - 1] == ',') return false;
    while (text.size)
        if (!take_item(part, take_until(&text, ','), set)) return false;
    return true;
}

static struct slice named(struct slice text)
{
    static const struct {
        const char *name, *pattern;
    } names[] = {{"@hourly", "0 * * * *"},  {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
                 {"@weekly", "0 0 * * 0"},  {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
                 {"@annually", "0 0 1 1 *"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (is_word(text, names[i].name)) return slice_text(names[i].pattern);
    return text;
}

/* Words between blanks; false when there are too many. */
static bool take_words(struct slice text, struct slice words[PARTS], size_t *count)
{
    for (*count = 0; text.size;) {
        struct slice word = take_until(&text, ' ');
        if (!word.size) continue;
        if (*count == PARTS) return false;
        words[(*count)++] = word;
    }
    return true;
}

/* A weekday comes in every month; else some month must have such a day. */
static bool ever(const struct cron *cron)
{
    if (cron->any_day || !cron->any_weekday) return true;
    for (unsigned month = 1; month <= 12; month++)
        for (unsigned day = 1; day <= date_month_size(2000, month); day++)
            if (cron->months >> month & 1 && cron->days >> day & 1) return true;
    return false;
}

bool cron_parse(struct slice text, struct cron *cron, const char **why)
{
    static const char *const wrong[PARTS] = {
        "seconds must be 0 to 59, as a number, list, range or step",
        "minutes must be 0 to 59, as a number, list, range or step",
        "hours must be 0 to 23, as a number, list, range or step",
        "days of the month must be 1 to 31, as a number, list, range or step",
        "months must be 1 to 12 or jan to dec, as a number, list, range or step",
        "weekdays must be 0 to 7 or sun to sat, as a number, list, range or step",
    };
    struct slice words[PARTS] = {{0}};
    size_t count;
    uint64_t *sets[PARTS] = {&cron->seconds, &cron->minutes, &cron->hours,
                             &cron->days,    &cron->months,  &cron->weekdays};
    *cron = (struct cron){0};
    *why = "must have 5 fields (minute hour day month weekday), 6 (second first), or be @hourly, @daily, "
           "@weekly, @monthly or @yearly";
    if (!take_words(named(text), words, &count) || count < PARTS - 1) return false;
    if (count == PARTS - 1) {
        memmove(words + 1, words, count * sizeof *words);
        words[SECOND] = SLICE("0");
    }
    for (size_t i = 0; i < PARTS; i++) {
        *why = wrong[i];
        if (!take_list(&parts[i], words[i], sets[i])) return false;
    }
    cron->any_day = words[DAY].data[0] == '*';
    cron->any_weekday = words[WEEKDAY].data[0] == '*';
    *why = "names a day that never comes";
    return ever(cron);
}

/* --- the next firing --- */

static bool day_matches(const struct cron *cron, int64_t days)
{
    int64_t year;
    unsigned month, day;
    date_of(days, &year, &month, &day);
    if (!(cron->months >> month & 1)) return false;
    bool by_day = cron->days >> day & 1, by_weekday = cron->weekdays >> date_weekday(days) & 1;
    return cron->any_day || cron->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

/* The lowest of the set that is `from` or higher; `none` when there is none. */
static unsigned at_least(uint64_t set, unsigned from, unsigned none)
{
    while (from < none && !(set >> from & 1)) from++;
    return from;
}

/* The first matching time of the day from that second on; DAY_S: none. */
static int64_t time_from(const struct cron *cron, int64_t second_of_day)
{
    unsigned hour = (unsigned)(second_of_day / 3600), minute = (unsigned)(second_of_day / 60 % 60),
             second = at_least(cron->seconds, (unsigned)(second_of_day % 60), 60);
    if (second == 60) minute++;
    unsigned next_minute = at_least(cron->minutes, minute, 60);
    if (next_minute != minute || second == 60) second = at_least(cron->seconds, 0, 60);
    if (next_minute == 60) hour++;
    unsigned next_hour = at_least(cron->hours, hour, 24);
    if (next_hour != hour || next_minute == 60) {
        next_minute = at_least(cron->minutes, 0, 60);
        second = at_least(cron->seconds, 0, 60);
    }
    return next_hour == 24 ? DAY_S : (int64_t)next_hour * 3600 + next_minute * 60 + second;
}

/* The first local time that matches, from that one on; INT64_MAX: none. */
static int64_t local_from(const struct cron *cron, int64_t local_s)
{
    int64_t days = (local_s >= 0 ? local_s : local_s - (DAY_S - 1)) / DAY_S;
    int64_t from = local_s - days * DAY_S;
    for (int64_t last = days + DAYS_AHEAD; days < last; days++, from = 0) {
        int64_t time = day_matches(cron, days) ? time_from(cron, from) : DAY_S;
        if (time < DAY_S) return days * DAY_S + time;
    }
    return INT64_MAX;
}

static int64_t next_in_real_time(const struct cron *cron, struct zone *zone, int64_t from_s)
{
    for (;;) {
        int64_t offset = zone_offset(zone, from_s), change = zone_next_change(zone, from_s);
        int64_t local = local_from(cron, from_s + offset);
        if (local == INT64_MAX) return INT64_MAX;
        if (local - offset < change) return local - offset;
        from_s = change;
    }
}

/* In the second of two passes through the same local times all of them have been; on behind them. */
static int64_t local_after(struct zone *zone, int64_t after_s)
{
    int64_t local = after_s + zone_offset(zone, after_s);
    int64_t passed = after_s - zone_instant(zone, local);
    if (passed <= 0) return local + 1;
    int64_t change = zone_next_change(zone, after_s - passed);
    return change + zone_offset(zone, change - 1);
}

int64_t cron_next(const struct cron *cron, struct zone *zone, int64_t after_s)
{
    if (cron->hours == all_hours) return next_in_real_time(cron, zone, after_s + 1);
    int64_t local = local_from(cron, local_after(zone, after_s));
    return local == INT64_MAX ? local : zone_instant(zone, local);
}
