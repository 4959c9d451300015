"""What tests/lint checks: the arrows of the house, where vendor headers may stand, and sizes.

A change here is a change of the design: say so in the commit.
"""

# Rooms of this repository that a folder may include, itself always allowed. Longest matching folder counts.
# "worker" and "coordinator" must not know each other; "proto" stands on kernels/base and the formulas.
ARROWS = {
    "kernels/base": [],
    "kernels/math": ["kernels/base"],
    "kernels/graph": ["kernels/base", "kernels/math"],
    "kernels/comm": ["kernels/base"],
    "kernels/cpu": ["kernels/base", "kernels/math", "kernels/graph", "kernels/backend.h"],
    "kernels/cuda": ["kernels/base", "kernels/math", "kernels/graph", "kernels/backend.h"],
    "kernels": ["kernels"],
    "proto": ["kernels/base", "kernels/math"],
    "coordinator": ["kernels/base", "kernels/math", "kernels/comm", "proto"],
    "worker": ["kernels", "proto"],
    "launch": ["kernels", "proto", "coordinator", "worker"],
    "tests": ["kernels", "proto", "coordinator", "worker", "launch", "tests"],
}

# Vendor header (regular expression) -> files (regular expression) that may include it.
VENDOR = {
    r"mpi\.h": r"(kernels/comm|launch|tests)/|worker/worker\.h$|coordinator/coordinator\.h$",
    r"(oneapi/dnnl/)?dnnl.*\.h": r"kernels/cpu/dnnl[^/]*",
    r"png\.h|j(peglib|error)\.h|turbojpeg\.h|setjmp\.h": r"tests/|worker/data/[^/]*(image|png|jpeg)[^/]*|coordinator/canvas_png\.c",
    r"tiff(io)?\.h": r"tests/|worker/data/image_tiff\.c",
    r"cairo.*\.h": r"tests/|worker/data/sheet[^/]*\.c|coordinator/canvas_png\.c",
    r"vl/.*\.h": r"worker/data/check_(near|sift)\.c",
    r"yaml\.h": r"proto/yaml\.[ch]",
    r"jansson\.h": r"proto/(safetensors_read|map_origin)\.c|tests/",
    r".*\.pb-c\.h|protobuf-c/.*": r"proto/",
    r"xxhash\.h": r"kernels/base/",
    r"cmocka\.h": r"tests/",
    r"cud(a|nn).*\.h|nccl\.h": r"kernels/(cuda|comm)/|tests/cuda/",
}
# Headers that give their includers a vendor header: allowed there, not elsewhere.
CARRIERS = {
    "kernels/comm/comm_mpi.h": r"(kernels/comm|coordinator|worker|launch|tests)/",
    "kernels/comm/vote.h": r"(kernels/comm|coordinator|worker|launch|tests)/",
    "kernels/comm/channel.h": r"(kernels/comm|coordinator|worker|launch|tests)/",
}

MAX_FUNCTION_LINES = 80
MAX_FILE_LINES = 500
MAX_IFS_PER_1000_LINES = 5.0
# Words for unfinished work, in two halves so that this line is not found.
WORDS = [a + b for a, b in (("TO", "DO"), ("FIX", "ME"), ("X", "XX"), ("HA", "CK"))]
# Ends the process, which only the mains may do.
ENDERS = r"\b(exit|abort|_Exit|quick_exit)\s*\("
ENDERS_ALLOWED = r"(launch|tests)/"

# Objects of kernels/cuda that must get by without local memory -> names of those of their kernels that must use
# tensor cores (regular expression on the mangled name; None: no kernel must).
CUDA_OBJECTS = {
    "slab_forward.cu": r"cf_slab_gather",
    "slab_data.cu": r"cf_slab_gather",
    "slab_weights.cu": r"cf_slab_correlate",
    "gemm_forward.cu": r"forward_kernel",
    "gemm_data.cu": r"data_kernel",
    "gemm_weights.cu": r"weights_kernel",
    "norm.cu": None,
    "norm_backward.cu": None,
    "pool.cu": None,
    "dense.cu": None,
    "sums.cu": None,
    "update.cu": None,
    "digest.cu": None,
    "augment.cu": None,
    "direct.cu": None,
    "direct_weights.cu": None,
}

SKIPPED_FOLDERS = r"(^|/)(\.git|build|build-[^/]*|run[^/]*|__pycache__|node_modules)$"
TEXT_FILES = r"\.(c|h|cpp|cu|cuh|def|proto|py|sh|cmake|txt|md|yaml|yml|json)$|^\.ci/run$"
