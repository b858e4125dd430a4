#include "coord/zone.h"

#include "base/check.h"

enum { DAY_S = 24 * 3600, YEARS_MIN = 2000, YEARS_SEEN = 28 /* all weekdays and leap days once */ };

/* --- the calendar; after Howard Hinnant's "chrono-compatible low-level date algorithms" --- */

int64_t date_days(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

void date_of(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t from_march = (5 * day_of_year + 2) / 153;
    *day = (unsigned)(day_of_year - (153 * from_march + 2) / 5 + 1);
    *month = (unsigned)(from_march < 10 ? from_march + 3 : from_march - 9);
    *year = year_of_era + era * 400 + (*month <= 2);
}

unsigned date_weekday(int64_t days)
{
    int64_t day = (days + 4) % 7;
    return (unsigned)(day < 0 ? day + 7 : day);
}

static bool leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

unsigned date_month_size(int64_t year, unsigned month)
{
    static const unsigned char sizes[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && leap(year) ? 29 : sizes[month - 1];
}

/* --- reading a rule --- */

static bool take(struct slice *text, char c)
{
    if (!text->size || text->data[0] != (uint8_t)c) return false;
    *text = slice_skip(*text, 1);
    return true;
}

static bool take_number(struct slice *text, unsigned max, unsigned *number)
{
    size_t size = 0;
    *number = 0;
    while (size < text->size && size < 4 && text->data[size] >= '0' && text->data[size] <= '9')
        *number = *number * 10 + (unsigned)(text->data[size++] - '0');
    *text = slice_skip(*text, size);
    return size && *number <= max;
}

/* [+-]hh[:mm[:ss]] */
static bool take_time(struct slice *text, unsigned hours_max, int32_t *seconds)
{
    unsigned hours, minutes = 0, rest = 0;
    bool negative = take(text, '-');
    if (!negative) take(text, '+');
    if (!take_number(text, hours_max, &hours)) return false;
    if (take(text, ':')) {
        if (!take_number(text, 59, &minutes)) return false;
        if (take(text, ':') && !take_number(text, 59, &rest)) return false;
    }
    *seconds = (int32_t)(hours * 3600 + minutes * 60 + rest);
    if (negative) *seconds = -*seconds;
    return true;
}

static bool letter(uint8_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* "CET", or "<+0330>" */
static bool take_name(struct slice *text)
{
    bool quoted = take(text, '<');
    size_t size = 0;
    for (; size < text->size; size++) {
        uint8_t c = text->data[size];
        bool inner = letter(c) || (quoted && ((c >= '0' && c <= '9') || c == '+' || c == '-'));
        if (!inner) break;
    }
    if (size < 3 || size > 16) return false;
    *text = slice_skip(*text, size);
    return !quoted || take(text, '>');
}

static bool take_change(struct slice *text, struct zone_change *change)
{
    unsigned month = 0, week = 0, day;
    *change = (struct zone_change){.kind = 'N', .time_s = 2 * 3600};
    if (!take(text, ',')) return false;
    if (take(text, 'M')) {
        change->kind = 'M';
        if (!take_number(text, 12, &month) || !month || !take(text, '.')) return false;
        if (!take_number(text, 5, &week) || !week || !take(text, '.')) return false;
        if (!take_number(text, 6, &day)) return false;
    } else {
        if (take(text, 'J')) change->kind = 'J';
        if (!take_number(text, 365, &day) || (change->kind == 'J' && !day)) return false;
    }
    change->month = (uint8_t)month;
    change->week = (uint8_t)week;
    change->day = (uint16_t)day;
    return !take(text, '/') || take_time(text, 167, &change->time_s);
}

/* --- when the offset changes --- */

static int64_t change_day(const struct zone_change *change, int64_t year)
{
    if (change->kind == 'J')
        return date_days(year, 1, 1) + change->day - 1 + (leap(year) && change->day >= 60);
    if (change->kind == 'N') return date_days(year, 1, 1) + change->day;
    int64_t first = date_days(year, change->month, 1);
    unsigned skipped = (change->day + 7 - date_weekday(first)) % 7;
    unsigned in_month = skipped + 7 * (change->week - 1u);
    if (in_month >= date_month_size(year, change->month)) in_month -= 7;
    return first + in_month;
}

static int64_t summer_begins(const struct zone *zone, int64_t year)
{
    return change_day(&zone->begins, year) * DAY_S + zone->begins.time_s - zone->offset_s;
}

static int64_t summer_ends(const struct zone *zone, int64_t year)
{
    return change_day(&zone->ends, year) * DAY_S + zone->ends.time_s - zone->summer_s;
}

static int64_t year_of(int64_t utc_s)
{
    int64_t year, days = (utc_s >= 0 ? utc_s : utc_s - (DAY_S - 1)) / DAY_S;
    unsigned month, day;
    date_of(days, &year, &month, &day);
    return year;
}

/* A week between changes is more than any offset: what zone_instant and cron_next rely on. */
static bool far_apart(const struct zone *zone)
{
    enum { WEEK_S = 7 * DAY_S };
    for (int64_t year = YEARS_MIN; year <= YEARS_MIN + YEARS_SEEN; year++) {
        int64_t begins = summer_begins(zone, year), ends = summer_ends(zone, year);
        bool north = begins < ends;
        int64_t first = north ? begins : ends, second = north ? ends : begins;
        int64_t next_begins = summer_begins(zone, year + 1), next_ends = summer_ends(zone, year + 1);
        int64_t third = next_begins < next_ends ? next_begins : next_ends;
        if (second - first < WEEK_S || third - second < WEEK_S) return false;
        if ((next_begins < next_ends) != north) return false;
    }
    return true;
}

bool zone_parse(struct slice rule, struct zone *zone)
{
    int32_t west;
    *zone = (struct zone){0};
    if (!take_name(&rule) || !take_time(&rule, 24, &west)) return false;
    zone->offset_s = -west;
    if (!rule.size) return true;
    zone->changes = true;
    zone->summer_s = zone->offset_s + 3600;
    if (!take_name(&rule)) return false;
    if (rule.size && rule.data[0] != ',') {
        if (!take_time(&rule, 24, &west)) return false;
        zone->summer_s = -west;
    }
    int32_t step = zone->summer_s - zone->offset_s;
    return step >= -DAY_S && step <= DAY_S && take_change(&rule, &zone->begins) &&
           take_change(&rule, &zone->ends) && !rule.size && far_apart(zone);
}

static const uint8_t *blank_in(struct slice stored)
{
    return stored.size ? memchr(stored.data, ' ', stored.size) : NULL;
}

struct slice zone_shown(struct slice stored)
{
    const uint8_t *blank = blank_in(stored);
    if (!stored.size) return SLICE("UTC");
    return blank ? slice_of(stored.data, (size_t)(blank - stored.data)) : stored;
}

struct slice zone_rule(struct slice stored)
{
    const uint8_t *blank = blank_in(stored);
    if (!stored.size) return SLICE("UTC0");
    return blank ? slice_skip(stored, (size_t)(blank - stored.data) + 1) : stored;
}

bool zone_of(struct slice stored, struct zone *zone)
{
    return zone_parse(zone_rule(stored), zone);
}

enum zone_known zone_by_name(struct slice name, struct slice *rule)
{
    char between[ZONE_TEXT_MAX + 3] = " ";
    if (!name.size || name.size > ZONE_TEXT_MAX || blank_in(name)) return ZONE_UNKNOWN;
    memcpy(between + 1, name.data, name.size);
    between[name.size + 1] = ' ';
    for (const struct zone_table_row *row = zone_table; row->rule; row++)
        if (strstr(row->names, between)) {
            *rule = slice_text(row->rule);
            return rule->size ? ZONE_KNOWN : ZONE_IRREGULAR;
        }
    return ZONE_UNKNOWN;
}

/* --- offsets and instants --- */

static void look_at(struct zone *zone, int64_t at_s, int64_t offset_s, int64_t utc_s)
{
    if (at_s > utc_s && at_s < zone->known.until_s) zone->known.until_s = at_s;
    if (at_s > utc_s || at_s <= zone->known.since_s) return;
    zone->known.since_s = at_s;
    zone->known.offset_s = offset_s;
}

/* A change may be set so many hours off its day that it falls into the year beside. */
static void look_around(struct zone *zone, int64_t utc_s)
{
    if (utc_s >= zone->known.since_s && utc_s < zone->known.until_s) return;
    int64_t year = zone->changes ? year_of(utc_s) : 0;
    zone->known.since_s = INT64_MIN;
    zone->known.until_s = INT64_MAX;
    zone->known.offset_s = zone->offset_s;
    for (int64_t y = year - 2; zone->changes && y <= year + 2; y++) {
        look_at(zone, summer_begins(zone, y), zone->summer_s, utc_s);
        look_at(zone, summer_ends(zone, y), zone->offset_s, utc_s);
    }
}

int64_t zone_offset(struct zone *zone, int64_t utc_s)
{
    look_around(zone, utc_s);
    return zone->known.offset_s;
}

int64_t zone_next_change(struct zone *zone, int64_t utc_s)
{
    look_around(zone, utc_s);
    return zone->known.until_s;
}

int64_t zone_instant(struct zone *zone, int64_t local_s)
{
    if (!zone->changes) return local_s - zone->offset_s;
    int64_t most = zone->offset_s > zone->summer_s ? zone->offset_s : zone->summer_s;
    int64_t least = zone->offset_s + zone->summer_s - most;
    int64_t early = local_s - most, late = local_s - least;
    if (zone_offset(zone, early) == most) return early;
    if (zone_offset(zone, late) == least) return late;
    return zone_next_change(zone, early);
}
