/* Cron patterns: "MINUTE HOUR DAY MONTH WEEKDAY", with a field of seconds before it when there are six;
 * @hourly
 * @daily (@midnight) @weekly @monthly @yearly (@annually). A field is a list of items between commas: "*", a
 * number or a name ("jan", "MON"), a range, each with a step "/N" if wanted (with a lone number: from it to
 * the highest). Weekdays are 0 to 7, 0 and 7 Sunday.
 *
 * A day matches when the day of the month and the weekday do; when both are restricted (begin with no "*"),
 * when either does.
 *
 * A pattern whose hours are all of them follows real time: it fires whenever the clock of the zone shows a
 * time that matches, so an hour that is lived through twice has twice the firings and one that is jumped over
 * has none. Any other names times of the day, each fired once a day: of a time that comes twice the first
 * counts, and one that is jumped over fires at the end of the jump. */
#ifndef COORDD_COORD_CRON_H
#define COORDD_COORD_CRON_H

#include "coord/zone.h"

enum { CRON_TEXT_MAX = 255 };

struct cron {
    uint64_t seconds, minutes, hours, days, months, weekdays; /* bit n: n matches */
    bool any_day, any_weekday;                                /* not restricted */
};

/* False: `why` says what is wrong with it, a static text. */
bool cron_parse(struct slice text, struct cron *cron, const char **why);
/* The first firing after that instant, both in seconds since 1970. INT64_MAX: none (only when the pattern was
 * never parsed). */
int64_t cron_next(const struct cron *cron, struct zone *zone, int64_t after_s);

#endif
