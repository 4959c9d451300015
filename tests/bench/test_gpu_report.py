#!/usr/bin/env python3
"""The report of gpu-check holds what was measured, and nothing where a step failed."""
import json
import os
import sys
import tempfile
import unittest

import gpu_report

SPREAD = {"median": 5000.0, "min": 4900.0, "max": 5100.0}
BENCH = {"size": 250, "batch": 256, "torch": "2.9", "pytorch_kinds": {"bf16": 2400.0, "fp16": 2500.0},
         "cytofold_kinds": {"bf16": 5000.0}, "cytofold": SPREAD | {"precision": "bf16"},
         "pytorch": {"median": 2500.0, "min": 2400.0, "max": 2600.0, "precision": "fp16", "compiled": True},
         "ratio": {"median": 2.0, "min": 1.9, "max": 2.1},
         "peaks": {"copy_bytes_per_second": 3.0e12, "matmul_flops_per_second": 790e12}}
MATEK = {"backend": "cuda", "image_size": 250, "images_per_second": 5000.0, "batch": 32, "precision": "bf16"}


def report(files, kind="none"):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(content if isinstance(content, str) else json.dumps(content))
        arguments = type("Arguments", (), {"results": folder, "build": folder, "device": kind})
        return gpu_report.gather(arguments)


class Report(unittest.TestCase):
    def test_measured_steps_are_in_both_forms(self):
        made = report({"bench.json": BENCH, "matek.json": MATEK, "tests.txt": "9 passed, 0 failed, 1 skipped\n",
                       "steps.tsv": "bench\tpassed\t90\tmeasured\n", "cuda-versions.txt": "cuDNN 9.1.0\n",
                       "bits.json": {"files": 12, "sha256": "ab" * 32, "same": True}})
        self.assertEqual(made["versions"]["cuDNN"], "9.1.0")
        self.assertEqual(made["tests"], {"passed": 9, "failed": 0, "skipped": 1})
        text = gpu_report.markdown(made)
        for part in ("| bench | passed | 90 | measured |", "2 (1.9–2.1)", "12 files, the same bytes", "9 passed"):
            self.assertIn(part, text)

    def test_share_is_of_the_cards_own_copy_rate(self):
        lines = gpu_report.roofline(BENCH)["memory"]
        self.assertAlmostEqual(lines[3]["images_per_second"], 3.0e12 / 393e6)
        self.assertAlmostEqual(lines[3]["share"], 5000 / (3.0e12 / 393e6))
        self.assertIsNone(gpu_report.roofline(BENCH | {"size": 64}), "the table is of 250x250")

    def test_projection_counts_five_folds_of_thirteen_epochs(self):
        made = gpu_report.projection(MATEK)
        self.assertEqual(made["draws"], 34125000)
        self.assertAlmostEqual(made["hours"], (34125000 + 171374 / 3) / 5000 / 3600)
        self.assertIsNone(gpu_report.projection(MATEK | {"backend": "cpu"}), "no projection from a rehearsal")

    def test_failed_steps_leave_their_part_out(self):
        made = report({"bench.json": "{", "steps.tsv": "bench\tfailed\t240\tover the limit\n"})
        self.assertIsNone(made["bench"])
        self.assertIsNone(made["projection"])
        text = gpu_report.markdown(made)
        self.assertIn("| bench | failed | 240 | over the limit |", text)
        self.assertIn("rehearsal on the CPU: no figure of a GPU", text)
        self.assertNotIn("beside PyTorch", text)


if __name__ == "__main__":
    sys.exit(unittest.main())
