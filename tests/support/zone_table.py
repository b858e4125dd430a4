"""Prints lib/coord/zone_table.c: the rules of the time zones in this machine's tzdata, as POSIX TZ strings.

    /usr/bin/python3 tests/support/zone_table.py | clang-format > lib/coord/zone_table.c

A zone file (RFC 8536) ends in the rule that holds after its last listed change. Zones whose listed changes go on and
contradict that rule (their clocks follow Ramadan) get an empty one."""

import struct
import sys
import textwrap
import time
from pathlib import Path

TOP = Path("/usr/share/zoneinfo")
SKIPPED = {"Factory", "localtime", "posixrules"}


def changes_and_rule(data):
    """(time, offset) of each listed change, and the rule behind them."""
    def counts(at):
        return struct.unpack(">6l", data[at + 20:at + 44])
    isut, isstd, leap, times, types, chars = counts(0)
    second = 44 + times * 5 + types * 6 + chars + leap * 8 + isstd + isut
    isut, isstd, leap, times, types, chars = counts(second)
    at = second + 44
    when = struct.unpack(f">{times}q", data[at:at + times * 8])
    which = data[at + times * 8:at + times * 9]
    infos = at + times * 9
    offset = [struct.unpack(">l", data[infos + 6 * t:infos + 6 * t + 4])[0] for t in range(types)]
    footer = infos + types * 6 + chars + leap * 12 + isstd + isut
    return [(t, offset[w]) for t, w in zip(when, which)], data[footer:].decode().strip()


def main():
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.support.zone_rule import offset_at  # an independent reading of such rules

    now, names_of = time.time(), {}
    for path in sorted(TOP.rglob("*")):
        name = str(path.relative_to(TOP))
        if not path.is_file() or name.startswith(("posix/", "right/")) or name in SKIPPED:
            continue
        data = path.read_bytes()
        if data[:4] != b"TZif":
            continue
        changes, rule = changes_and_rule(data)
        regular = all(offset_at(rule, at) == offset and offset_at(rule, at - 1) == before
                      for (_, before), (at, offset) in zip(changes, changes[1:]) if at > now)
        names_of.setdefault(rule if regular else "", []).append(name)
    names_of["UTC0"].sort(key=lambda name: name != "UTC")
    version = (TOP / "tzdata.zi").read_text(encoding="utf-8").split("\n", 1)[0].split()[-1]
    print(f"/* Made by tests/support/zone_table.py from tzdata {version}: do not edit.\n *\n"
          " * The names of time zones, by the rule that holds from now on. */\n"
          '#include "coord/zone.h"\n\nconst struct zone_table_row zone_table[] = {')
    for rule, names in sorted(names_of.items()):
        lines = textwrap.wrap(" ".join(names), 96, break_on_hyphens=False)
        print(f'    {{"{rule}",\n     " ' + ' "\n     "'.join(lines) + ' "},')
    print("    {NULL, NULL},\n};")


main()
