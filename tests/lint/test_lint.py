#!/usr/bin/env python3
"""The lint finds planted faults, and is quiet about sound code."""
import contextlib
import io
import os
import sys
import tempfile
import unittest

import lint
import rules

SOUND = '/* A room. */\n#include "kernels/base/err.h"\n\nint cf_sound(int a)\n{\n    return a;\n}\n'


class PlantedFaults(unittest.TestCase):
    def check(self, check, path, text):
        with tempfile.TemporaryDirectory() as root, contextlib.redirect_stdout(io.StringIO()):
            os.makedirs(os.path.dirname(os.path.join(root, path)))
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
            return check(root)

    def test_sound_code_has_no_faults(self):
        for check in (lint.arrows, lint.sizes, lint.words):
            self.assertEqual(self.check(check, "kernels/graph/a.c", SOUND), [])

    def test_arrow_up_is_found_with_line(self):
        faults = self.check(lint.arrows, "kernels/base/a.c", '\n#include "proto/csv.h"\n')
        self.assertEqual(len(faults), 1)
        self.assertTrue(faults[0].startswith("kernels/base/a.c:2: "))

    def test_coordinator_and_worker_do_not_know_each_other(self):
        self.assertTrue(self.check(lint.arrows, "coordinator/a.c", '#include "worker/models.h"\n'))
        self.assertTrue(self.check(lint.arrows, "worker/data/a.c", '#include "coordinator/grid.h"\n'))

    def test_vendor_header_outside_its_room_is_found(self):
        for header in ("mpi.h", "oneapi/dnnl/dnnl.h", "yaml.h", "control.pb-c.h", "png.h", "cuda_runtime.h"):
            self.assertTrue(self.check(lint.arrows, "worker/a.c", f"#include <{header}>\n"), header)

    def test_long_function_is_found_and_longest_allowed_is_not(self):
        body = "    a++;\n" * (rules.MAX_FUNCTION_LINES - 3)
        self.assertEqual(self.check(lint.sizes, "proto/a.c", f"int f(int a)\n{{\n{body}}}\n"), [])
        self.assertTrue(self.check(lint.sizes, "proto/a.c", f"int f(int a)\n{{\n{body}    a++;\n}}\n"))

    def test_braces_in_literals_and_comments_do_not_count(self):
        text = 'int f(char *s)\n{\n    s = "{"; /* { */ // {\n    return *s == \'{\';\n}\nint g(void)\n{\n}\n'
        self.assertEqual([n for n, _, _ in lint.functions(text)], ["f", "g"])

    def test_long_file_is_found(self):
        self.assertTrue(self.check(lint.sizes, "proto/a.h", "\n" * (rules.MAX_FILE_LINES + 1)))

    def test_many_ifs_are_found_and_guards_do_not_count(self):
        guard = "#ifndef A_H\n#define A_H\n#endif\n"
        self.assertEqual(self.check(lint.sizes, "proto/a.h", guard), [])
        self.assertTrue(self.check(lint.sizes, "proto/a.h", guard + "#ifdef B\n#endif\n"))

    def test_unfinished_work_is_found(self):
        for word in rules.WORDS:
            self.assertTrue(self.check(lint.words, "proto/a.c", f"/* {word}: later */\n"), word)

    def test_exit_is_found_below_launch_only(self):
        self.assertTrue(self.check(lint.words, "worker/a.c", "void f(void)\n{\n    exit(1);\n}\n"))
        self.assertEqual(self.check(lint.words, "launch/a.c", "void f(void)\n{\n    exit(1);\n}\n"), [])
        self.assertEqual(self.check(lint.words, "worker/a.c", "/* exit(1) */ int cf_on_exit(void);\n"), [])


if __name__ == "__main__":
    sys.exit(unittest.main())
