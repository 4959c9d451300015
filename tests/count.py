#!/usr/bin/env python3
"""Counts test cases over ctest's JUnit files and test.sh's stages. usage: count.py JUNIT... STAGES; prints skipped and failed ones by name, and
last one line "N passed, N failed, N skipped". Exit code 1 when any failed or none ran.

A cmocka program's cases are read from its output, once each even where several MPI ranks print them; a case
counts as failed if it failed on any rank. A test that is no cmocka program counts as one case. A cmocka
program that fails without naming a case (crash, time-out, leak report) counts as one failed case more.
"""
import re
import sys
import xml.etree.ElementTree as tree

CASE = re.compile(r"\[\s*(OK|FAILED|SKIPPED|ERROR)\s*\] (\w+)\s*$")
WORST = {"passed": 0, "skipped": 1, "failed": 2}
MEANING = {"OK": "passed", "SKIPPED": "skipped", "FAILED": "failed", "ERROR": "failed"}


def cases_of(test):
    """{case name: result} of one <testcase> of ctest."""
    name, status = test.get("name"), test.get("status")
    output = test.findtext("system-out") or ""
    cases = {}
    for line in output.splitlines():
        found = CASE.search(line)
        if found:
            result, case = MEANING[found.group(1)], f"{name}: {found.group(2)}"
            if WORST[result] >= WORST[cases.get(case, "passed")]:
                cases[case] = result
    if status == "run":
        return cases or {name: "passed"}
    if status == "fail":
        if "failed" not in cases.values():
            cases[name] = "failed"
        return cases
    if status == "disabled" or "skipped" in cases.values():
        return cases or {name: "skipped"}
    # Not run: on purpose, or because ctest found no program.
    reason = test.find("skipped")
    meant = reason is not None and re.match("SKIP_", reason.get("message") or "")
    return {name: "skipped" if meant else "failed"}


def main(*paths):
    *junits, stages = paths
    cases = {}
    for junit in junits:
        try:
            for test in tree.parse(junit).getroot().iter("testcase"):
                cases.update(cases_of(test))
        except (OSError, tree.ParseError) as error:
            print(f"failed: {junit}: {error}")
            cases[junit] = "failed"
    with open(stages, encoding="utf-8") as lines:
        for line in lines:
            result, name = line.rstrip("\n").split(" ", 1)
            cases[name] = result
    for result in ("skipped", "failed"):
        for name in sorted(cases):
            if cases[name] == result:
                print(f"{result}: {name}")
    count = {result: list(cases.values()).count(result) for result in WORST}
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
