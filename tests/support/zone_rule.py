"""The offset that a POSIX TZ rule gives at an instant, reckoned with Python's datetime: an oracle for lib/coord/zone.c
that shares none of its arithmetic."""

import re
from datetime import datetime, timedelta, timezone

NAME = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)"
TIME = r"[+-]?\d+(?::\d+){0,2}"
RULE = re.compile(rf"({NAME})({TIME})(?:({NAME})({TIME})?,([^,]+),([^,]+))?$")


def seconds(text):
    sign = -1 if text.startswith("-") else 1
    parts = [int(part) for part in text.lstrip("+-").split(":")] + [0, 0]
    return sign * (parts[0] * 3600 + parts[1] * 60 + parts[2])


def local_change(text, year):
    day, _, at = text.partition("/")
    if day.startswith("M"):
        month, week, weekday = map(int, day[1:].split("."))
        found = [date for date in (datetime(year, month, 1) + timedelta(n) for n in range(31))
                 if date.month == month and (date.weekday() + 1) % 7 == weekday]
        date = found[min(week, len(found)) - 1]
    elif day.startswith("J"):
        date = datetime(2001, 1, 1) + timedelta(int(day[1:]) - 1)
        date = date.replace(year=year)
    else:
        date = datetime(year, 1, 1) + timedelta(int(day))
    return date + timedelta(seconds=seconds(at) if at else 7200)


def offset_at(rule, instant):
    standard, summer, begins, ends = RULE.match(rule).group(2, 3, 5, 6)
    offset = -seconds(standard)
    if not summer:
        return offset
    given = RULE.match(rule).group(4)
    summer_offset = -seconds(given) if given else offset + 3600
    epoch, now = datetime(1970, 1, 1), datetime.fromtimestamp(instant, timezone.utc).replace(tzinfo=None)
    changes = []
    for year in range(now.year - 1, now.year + 2):
        changes.append(((local_change(begins, year) - epoch).total_seconds() - offset, summer_offset))
        changes.append(((local_change(ends, year) - epoch).total_seconds() - summer_offset, offset))
    return [after for at, after in sorted(changes) if at <= instant][-1]
