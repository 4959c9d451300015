#!/usr/bin/env python3
"""count.py counts cmocka cases once over ranks, and never takes a crash for a pass."""
import contextlib
import io
import os
import sys
import tempfile
import unittest
import xml.etree.ElementTree as tree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import count


def case(status, output="", reason=None):
    test = tree.Element("testcase", name="t", status=status)
    if reason:
        tree.SubElement(test, "skipped", message=reason)
    tree.SubElement(test, "system-out").text = output
    return count.cases_of(test)


class Counting(unittest.TestCase):
    def test_each_cmocka_case_counts(self):
        output = "[ RUN      ] a\n[       OK ] a\n[  SKIPPED ] b\n[  PASSED  ] 1 test(s).\n[  SKIPPED ] 1 test(s), listed below:\n"
        self.assertEqual(case("run", output), {"t: a": "passed", "t: b": "skipped"})

    def test_ranks_count_once_and_the_worst_counts(self):
        self.assertEqual(case("fail", "[       OK ] a\n[  FAILED  ] a\n[       OK ] a\n"), {"t: a": "failed"})

    def test_crash_after_good_cases_is_a_failure(self):
        self.assertEqual(case("fail", "[       OK ] a\n"), {"t: a": "passed", "t": "failed"})

    def test_other_programs_count_as_one(self):
        self.assertEqual(case("run", "fine"), {"t": "passed"})
        self.assertEqual(case("fail"), {"t": "failed"})
        self.assertEqual(case("notrun", reason="SKIP_RETURN_CODE=77"), {"t": "skipped"})
        self.assertEqual(case("disabled"), {"t": "skipped"})

    def test_program_that_is_missing_is_a_failure(self):
        self.assertEqual(case("notrun", reason="Unable to find executable: /x"), {"t": "failed"})


    def test_several_files_count_together_and_a_missing_one_fails(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as printed:
            paths = [os.path.join(folder, name) for name in ("a.xml", "b.xml", "stages")]
            for path in paths[:2]:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(f'<testsuite><testcase name="{path[-5]}" status="run"/></testsuite>')
            with open(paths[2], "w", encoding="utf-8") as file:
                file.write("skipped cuda not found\n")
            self.assertEqual(count.main(*paths), 0)
            self.assertEqual(printed.getvalue().splitlines()[-1], "2 passed, 0 failed, 1 skipped")
            self.assertEqual(count.main(paths[0], os.path.join(folder, "none.xml"), paths[2]), 1)


if __name__ == "__main__":
    sys.exit(unittest.main())
