"""Adds up what ctest ran: count.py BROKEN REPORT... prints one line `N passed, N failed` and exits with 0 or 1.

A report is a file of `ctest --output-junit`. A ctest test that is a cmocka program or a pytest run counts by its
cases, any other counts as one. One that failed without naming a failed case (a crash, a time limit) is a failure
more, and so is one that could not be run. BROKEN is added to the failures.
"""

import re
import sys
import xml.etree.ElementTree as xml

CMOCKA = re.compile(r"^\[  (PASSED|FAILED|SKIPPED) +\] (\d+) test\(s\)", re.M)
PYTEST = re.compile(r"^(?:=+ )?((?:\d+ \w+, )*\d+ \w+) in [\d.]+s", re.M)
WORDS = {"passed": "passed", "failed": "failed", "error": "failed", "errors": "failed", "skipped": "skipped"}


def cases(output):
    """Cases by how they ended, from what one ctest test printed."""
    found = {"passed": 0, "failed": 0, "skipped": 0}
    for word, number in CMOCKA.findall(output):
        found[word.lower()] += int(number)
    for summary in PYTEST.findall(output):
        for number, word in re.findall(r"(\d+) (\w+)", summary):
            if word in WORDS:
                found[WORDS[word]] += int(number)
    return found


def count(test):
    """The same, for one testcase element of a report."""
    if test.find("skipped") is not None and "SKIP" in (test.find("skipped").get("message") or ""):
        return {"passed": 0, "failed": 0, "skipped": 1}
    passed = test.get("status") == "run"
    found = cases(test.findtext("system-out") or "")
    if passed and not any(found.values()):
        found["passed"] = 1
    if not passed and not found["failed"]:
        found["failed"] = 1
    return found


def main(arguments):
    sums = {"passed": 0, "failed": int(arguments[0]), "skipped": 0}
    for report in arguments[1:]:
        for test in xml.parse(report).getroot().iter("testcase"):
            for kind, number in count(test).items():
                sums[kind] += number
    skipped = f", {sums['skipped']} skipped" if sums["skipped"] else ""
    print(f"{sums['passed']} passed, {sums['failed']} failed{skipped}")
    return 0 if sums["failed"] == 0 and sums["passed"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
