"""Prints tests/unit/cron_table.h: what cron patterns must give, found by brute force with Python's zoneinfo, which
shares neither code nor arithmetic with lib/coord/cron.c.

    /usr/bin/python3 tests/support/cron_table.py | clang-format > tests/unit/cron_table.h

A pattern of every hour: each second of real time whose local time matches. Any other: each local second that matches,
turned into an instant: of two the first, of none the end of the jump."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

FIRINGS = 4
MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
DAYS = "sun mon tue wed thu fri sat".split()
NAMED = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *",
         "@yearly": "0 0 1 1 *"}


def values(text, low, high, names=(), base=0):
    found = set()
    for item in text.lower().split(","):
        body, _, step = item.partition("/")
        for number, name in enumerate(names, base):
            body = body.replace(name, str(number))
        ends = [low, high] if body == "*" else [int(end) for end in body.split("-")]
        if len(ends) == 1:
            ends.append(high if step else ends[0])
        if names is DAYS and ends[1] == 0 < ends[0]:
            ends[1] = 7
        found.update(range(ends[0], ends[1] + 1, int(step or 1)))
    return {value % 7 for value in found} if names is DAYS else found


class Pattern:
    def __init__(self, text):
        words = NAMED.get(text, text).split()
        words = ["0"] * (6 - len(words)) + words
        self.second, self.minute = values(words[0], 0, 59), values(words[1], 0, 59)
        self.hour, self.day = values(words[2], 0, 23), values(words[3], 1, 31)
        self.month, self.weekday = values(words[4], 1, 12, MONTHS, 1), values(words[5], 0, 7, DAYS)
        self.either = words[3][0] != "*" and words[5][0] != "*"

    def on(self, date):
        day, weekday = date.day in self.day, (date.weekday() + 1) % 7 in self.weekday
        return date.month in self.month and (day or weekday if self.either else day and weekday)

    def times(self):
        return [timedelta(hours=h, minutes=m, seconds=s)
                for h in sorted(self.hour) for m in sorted(self.minute) for s in sorted(self.second)]


def shown(instant, zone):
    return datetime.fromtimestamp(instant, zone).replace(tzinfo=None)


def instant_of(local, zone):
    """The first instant at which the clock shows that time, or the first at which it shows a later one."""
    first, second = (int(local.replace(tzinfo=zone, fold=fold).timestamp()) for fold in (0, 1))
    if shown(first, zone) == local:
        return first
    early, late = min(first, second), max(first, second)
    while late - early > 1:
        middle = (early + late) // 2
        early, late = (middle, late) if shown(middle, zone) < local else (early, middle)
    return late


def firings(text, zone, after):
    pattern, found = Pattern(text), []
    today = shown(after, zone).replace(hour=0, minute=0, second=0) - timedelta(1)
    for date in (today + timedelta(n) for n in range(40 * 366)):
        if not pattern.on(date):
            continue
        if pattern.hour == set(range(24)):
            begin = instant_of(date, zone)
            end = instant_of(date + timedelta(1), zone)
            for instant in range(max(begin, after + 1), end):
                local = shown(instant, zone)
                if local.minute in pattern.minute and local.second in pattern.second:
                    found.append(instant)
                    if len(found) >= 2 * FIRINGS:
                        break
        else:
            instants = {instant_of(date + time, zone) for time in pattern.times()}
            found += sorted(instant for instant in instants if instant > after)
        if len(found) >= FIRINGS:
            break
    return sorted(set(found))[:FIRINGS]


def cases():
    """(zone, pattern, instants after which to begin)"""
    changes = {"Europe/Berlin": ["2027-03-28T01:00", "2027-10-31T01:00"],
               "America/New_York": ["2027-03-14T07:00", "2027-11-07T06:00"],
               "Australia/Lord_Howe": ["2027-04-03T15:00", "2027-10-02T15:30"],
               "Europe/Dublin": ["2027-03-28T01:00", "2027-10-31T01:00"],
               "America/Santiago": ["2027-04-04T03:00", "2027-09-05T04:00"],
               "Africa/Cairo": ["2027-04-29T22:00", "2027-10-28T21:00"],
               "Antarctica/Troll": ["2027-03-28T01:00", "2027-10-31T01:00"],
               "America/Nuuk": ["2027-03-28T01:00", "2027-10-31T01:00"],
               "Pacific/Chatham": ["2027-04-03T14:00", "2027-09-25T14:00"]}
    for zone, instants in changes.items():
        for text in ("30 2 * * *", "*/20 1-3 * * *", "*/30 * * * *", "0 0 * * *", "15 0,23 * * *"):
            for instant in instants:
                for before in (3 * 3600, 1800, 0, -1800):
                    yield zone, text, instant, before
        yield zone, "*/10 59 1-2 * * *", instants[1], 1801
        yield zone, "15 * * * *", instants[0], 3600
        yield zone, "15 * * * *", instants[1], 3600
    for text in ("@hourly", "@daily", "@weekly", "@monthly", "@yearly", "0 0 29 2 *", "0 0 31 * *", "0 12 13 * 5",
                 "0 12 */10 * mon", "0 12 1-7 * *", "59 23 31 12 *", "0 9-17/2 * * MON-FRI", "5/20 6 * * *",
                 "0 0 * * fri-sun", "30 10 1,15 jan,JUL 7", "59 59 23 28-31 * *", "*/7 * * * * *", "1-2,58 0 0 * * *",
                 "0 0 30 2 1", "0 0 * 2 *", "0 0 1 1 0-6"):
        for instant in ("2026-12-31T23:59", "2028-02-28T23:59", "2095-12-31T00:00"):
            yield "UTC", text, instant, -30
            yield "Asia/Kathmandu", text, instant, 0


def main():
    print("/* Made by tests/support/cron_table.py: do not edit. Seconds since 1970. */\n"
          f"enum {{ FIRINGS = {FIRINGS} }};\n"
          "static const struct {\n    const char *zone, *pattern;\n    int64_t after, firings[FIRINGS];\n"
          "} cron_table[] = {")
    for zone, text, begin, before in cases():
        after = int(datetime.fromisoformat(begin).replace(tzinfo=timezone.utc).timestamp()) - before
        found = firings(text, ZoneInfo(zone), after)
        print(f'    {{"{zone}", "{text}", {after}, {{{", ".join(map(str, found))}}}}},')
    print("};")


main()
