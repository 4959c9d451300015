#!/usr/bin/env python3
"""The check of compiled kernels finds spills and missing tensor-core instructions in cuobjdump's text."""
import sys
import unittest

import cuda_objects

USAGE = """
Fatbin elf code:
================
arch = sm_90
code version = [1,8]

Resource usage:
 Common:
  GLOBAL:0
 Function _Z4slabPf:
  REG:90 STACK:{stack} SHARED:0 LOCAL:0 CONSTANT[0]:560 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function _Z4joinPf:
  REG:16 STACK:0 SHARED:0 LOCAL:{local} CONSTANT[0]:544 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
SASS = """
Fatbin elf code:
================
arch = sm_90
\tcode for sm_90
\t\tFunction : _Z4slabPf
\t.headerflags\t@"EF_CUDA_SM90"
        /*00b0*/                   {first} ;        /* 0x000000080404723c */
                                                    /* 0x001fc000000418ff */
        /*00c0*/                   EXIT ;           /* 0x000000000000794d */
\t\tFunction : _Z4joinPf
\t.headerflags\t@"EF_CUDA_SM90"
        /*0010*/                   {second} ;       /* 0x0000001401007387 */
"""
HMMA = "HMMA.16816.F32.BF16 R4, R4, R8, RZ"
ADD = "IADD3 R1, R1, -0x80, RZ"


def faults(first=HMMA, second=ADD, stack=0, local=0, pattern="slab"):
    usage = cuda_objects.parse_usage(USAGE.format(stack=stack, local=local))
    return cuda_objects.faults_of("slab.cu", pattern, usage,
                                  cuda_objects.parse_sass(SASS.format(first=first, second=second)))


class CompiledKernels(unittest.TestCase):
    def test_sound_kernels_have_no_faults(self):
        self.assertEqual(faults(), [])

    def test_missing_tensor_core_instruction_is_found_where_it_is_wanted(self):
        self.assertEqual(faults(first=ADD), ["slab.cu: sm_90: _Z4slabPf: no tensor-core instruction"])
        self.assertEqual(faults(first=ADD, pattern=None), [])

    def test_hopper_matrix_instruction_counts(self):
        self.assertEqual(faults(first="HGMMA.64x64x16.F32.BF16 R24, gdesc[UR4], RZ, !UPT"), [])

    def test_spilled_registers_are_found(self):
        self.assertEqual(len(faults(stack=128)), 1)
        self.assertEqual(len(faults(local=64)), 1)
        self.assertIn("_Z4joinPf", faults(second="STL.128 [R1+0x10], R16")[0])
        self.assertIn("1 accesses", faults(second="@!P0 LDL R8, [R15]")[0])

    def test_shared_and_matrix_loads_are_not_local(self):
        for instruction in ("LDS.128 R4, [R2]", "STS [R2], R4", "LDSM.16.M88.4 R4, [R2]", "STG.E [R2.64], R5"):
            self.assertEqual(faults(second=instruction), [], instruction)

    def test_kernel_that_was_renamed_is_found(self):
        self.assertTrue(any("no kernel is named" in fault for fault in faults(pattern="slub")))

    def test_empty_object_is_found(self):
        self.assertTrue(cuda_objects.faults_of("slab.cu", "slab", {}, {}))


if __name__ == "__main__":
    sys.exit(unittest.main())
