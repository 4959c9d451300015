"""VLFeat from the system, named in packages.yaml (libvlfeat-dev on Debian):

    packages: {vlfeat: {buildable: false, externals: [{spec: vlfeat@0.9.21, prefix: /usr}]}}
"""

from spack.package import *


class Vlfeat(Package):
    """Algorithms of computer vision: SIFT features and kd-forests."""

    homepage = "https://www.vlfeat.org"
    license("BSD-2-Clause")
    version("0.9.21")
    has_code = False

    def install(self, spec, prefix):
        raise InstallError("vlfeat is taken from the system: name it in packages.yaml, see package.py")
