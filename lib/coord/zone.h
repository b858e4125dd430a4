/* Time zones as POSIX TZ rules (IEEE 1003.1, 8.3, with the hours of RFC 8536): which offset holds when, and
 * which instant a local time is. The names of the IANA database are resolved to rules once, where a request
 * is parsed (zone_table.c), so that the log holds the rule itself and all replicas reckon alike.
 *
 * What is stored of a zone is "NAME RULE", or the rule alone when a rule was given; empty: UTC.
 *
 * Times here are seconds since 1970: of UTC (an instant), or as a clock in the zone shows them ("local"). */
#ifndef COORDD_COORD_ZONE_H
#define COORDD_COORD_ZONE_H

#include "base/slice.h"

enum { ZONE_TEXT_MAX = 255 };

/* When the offset changes, every year. */
struct zone_change {
    char kind; /* 'M': month, week, day of the week; 'J': day 1 to 365 without the 29th of February; 'N': 0 to
                * 365
                */
    uint8_t month, week;
    uint16_t day;
    int32_t time_s; /* of the local clock before the change */
};

struct zone {
    int32_t offset_s, summer_s; /* what to add to UTC; summer_s only when it changes */
    bool changes;
    struct zone_change begins, ends; /* of summer time */
    struct {
        int64_t since_s, until_s, offset_s;
    } known; /* internal: the time between changes that was looked at last */
};

/* A rule such as "CET-1CEST,M3.5.0,M10.5.0/3"; false: it is none, or its changes are less than a week apart.
 */
bool zone_parse(struct slice rule, struct zone *zone);
/* What is stored; false: it holds no rule. */
bool zone_of(struct slice stored, struct zone *zone);
/* What is stored, as people called it: the part before the blank; "UTC" when empty. */
struct slice zone_shown(struct slice stored);
struct slice zone_rule(struct slice stored);

enum zone_known {
    ZONE_UNKNOWN,
    ZONE_KNOWN,
    ZONE_IRREGULAR /* its clock follows no yearly rule */
};
/* The rule of a name of the IANA database (zone_table.c). */
enum zone_known zone_by_name(struct slice name, struct slice *rule);

int64_t zone_offset(struct zone *zone, int64_t utc_s);
/* The first change after utc_s; INT64_MAX: there is none. */
int64_t zone_next_change(struct zone *zone, int64_t utc_s);
/* The instant of a local time: of two the first; of none (the clock jumped over it) the end of the jump. */
int64_t zone_instant(struct zone *zone, int64_t local_s);

/* Days since 1970-01-01 in the proleptic Gregorian calendar. */
int64_t date_days(int64_t year, unsigned month, unsigned day);
void date_of(int64_t days, int64_t *year, unsigned *month, unsigned *day);
unsigned date_weekday(int64_t days); /* 0: Sunday */
unsigned date_month_size(int64_t year, unsigned month);

struct zone_table_row {
    const char *rule;  /* "": irregular */
    const char *names; /* between blanks, with one before the first and after the last */
};
extern const struct zone_table_row zone_table[]; /* rule NULL: the end */

#endif
