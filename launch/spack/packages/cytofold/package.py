"""Spack's recipe of cytofold, for a source folder at hand:

    spack repo add launch/spack
    spack dev-build --source-path . cytofold@main        # or: spack develop --path . cytofold@main
    spack install cytofold@main +cuda cuda_arch=90 ^openmpi@5

Written after Spack's manual and not yet run by Spack itself.
VLFeat, which Spack's own repository does not have, is taken from the system: see the package beside this one.
"""

from spack.package import *


class Cytofold(CMakePackage, CudaPackage):
    """Trains and cross-validates image classifiers of blood and bone-marrow cells as one MPI job, with the same
    result on any number of ranks."""

    license("Apache-2.0")

    version("main")  # the source folder that dev-build is given

    variant("docs", default=True, description="Manual pages and shell completion")

    depends_on("c", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")

    depends_on("mpi@3.1:")
    depends_on("onednn@2.6: cpu_runtime=omp")
    depends_on("protobuf-c@1.4:")
    depends_on("libyaml@0.2:")
    depends_on("jansson@2.14:")
    depends_on("libpng@1.6:")
    depends_on("libjpeg-turbo@2.1:")
    depends_on("libtiff@4.5:")
    depends_on("xxhash@0.8:")
    depends_on("cairo@1.16: +png")
    depends_on("vlfeat@0.9.21:")

    with when("+cuda"):
        depends_on("cxx", type="build")
        depends_on("cuda@12:")
        depends_on("cudnn@9:")
        depends_on("nccl@2.20: +cuda")

    generator("ninja")

    def cmake_args(self):
        spec = self.spec
        args = [
            self.define("CYTOFOLD_TESTS", False),
            self.define("CYTOFOLD_WERROR", False),
            self.define("CYTOFOLD_CUDA", "ON" if spec.satisfies("+cuda") else "OFF"),
            self.define_from_variant("CYTOFOLD_DOCS", "docs"),
            # Spack's compiler wrapper sets -march from the spec's target.
            self.define("CYTOFOLD_ARCH", ""),
            self.define("CYTOFOLD_ONEDNN_ROOT", spec["onednn"].prefix),
            self.define("MPI_C_COMPILER", spec["mpi"].mpicc),
        ]
        if spec.satisfies("+cuda"):
            args.append(self.define("CYTOFOLD_CUDNN_ROOT", spec["cudnn"].prefix))
            args.append(self.define("CYTOFOLD_NCCL_ROOT", spec["nccl"].prefix))
            if not spec.satisfies("cuda_arch=none"):
                args.append(self.define("CYTOFOLD_CUDA_ARCHITECTURES", spec.variants["cuda_arch"].value))
        return args

    def test_help(self):
        """the installed program runs and lists its verbs"""
        program = which(self.prefix.bin.cytofold)
        assert "train" in program("--help", output=str.split, error=str.split)
