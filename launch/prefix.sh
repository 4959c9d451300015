# shellcheck shell=bash
# A folder of unpacked Debian packages, for machines where nothing can be installed; sourced, not run.
# It holds libraries for x86-64 and glibc 2.36 or newer. Compiler and CMake are the machine's own.

# What the build asks for, and what those packages need beyond what every system has. Open MPI's network
# plugins stay unused, so their libraries are left out.
prefix_list="libopenmpi-dev libopenmpi3 openmpi-bin openmpi-common libhwloc15 libpmix2 libmunge2 libnuma1 libudev1
  libevent-core-2.1-7 libevent-pthreads-2.1-7 libdnnl-dev libdnnl2 ocl-icd-libopencl1 libgomp1
  libprotobuf-c-dev libprotobuf-c1
  protobuf-c-compiler libprotobuf32 libprotoc32 libyaml-dev libyaml-0-2 libpng-dev libpng16-16 zlib1g-dev zlib1g
  libjansson-dev libjansson4 libjpeg-dev libjpeg62-turbo-dev libjpeg62-turbo libtiff-dev libtiff6 libdeflate0 libjbig0 liblerc4 libwebp7
  libzstd1 liblzma5 libxxhash-dev libxxhash0 libcairo2-dev libcairo2
  libpixman-1-0 libfontconfig1 libfreetype6 libexpat1 libbrotli1 libx11-6 libxext6 libxrender1 libxcb1 libxcb-render0
  libxcb-shm0 libxau6 libxdmcp6 libbsd0 libmd0 libvlfeat-dev libvlfeat1 libcmocka-dev libcmocka0 pkgconf
  pkgconf-bin libpkgconf3 ninja-build"

# prefix_make DIR: downloads them, about 23 MiB; nothing is installed.
prefix_make() {
  mkdir -p "$1/packages" || return 1
  # shellcheck disable=SC2086
  (cd "$1/packages" && apt-get download -q $prefix_list) || return 1
  echo "$1: $(find "$1/packages" -name '*.deb' | wc -l) packages, $(du -sm "$1/packages" | cut -f1) MiB"
}

# prefix_unpack DIR: packages into DIR/root, about 70 MiB.
prefix_unpack() {
  local folder="$1/root.part" package link library
  rm -rf "$folder" && mkdir -p "$folder" || return 1
  for package in "$1"/packages/*.deb; do
    if command -v dpkg >/dev/null; then
      dpkg -x "$package" "$folder" || return 1
    else
      ar p "$package" data.tar.xz | tar -xJf - -C "$folder" || return 1
    fi
  done
  find "$folder" -name '*.a' -delete
  # Links that count on an installation in /.
  find "$folder" -type l -lname '/*' | while read -r link; do ln -sfr "$folder$(readlink "$link")" "$link"; done
  # What the machine has itself may be newer, and other programs use it.
  for library in libgomp.so.1 libudev.so.1 libz.so.1 libnuma.so.1 libOpenCL.so.1 \
    libzstd.so.1 liblzma.so.5; do
    if "$(command -v ldconfig || echo /sbin/ldconfig)" -p | grep -qF "$library "; then
      find "$folder" -name "$library" -delete
    fi
  done
  # Names that an installation would have made.
  ln -sf opal_wrapper "$folder/usr/bin/mpicc"
  ln -sf orterun "$folder/usr/bin/mpirun"
  ln -sf orterun "$folder/usr/bin/mpiexec"
  ln -sf pkgconf "$folder/usr/bin/pkg-config"
  mv "$folder" "$1/root"
}

# prefix_use DIR: builds and runs find what is in it.
prefix_use() {
  local folder libraries
  [ -d "$1/root" ] || prefix_unpack "$1" || return 1
  folder="$(cd "$1/root" && pwd)" || return 1
  libraries="$folder/usr/lib/x86_64-linux-gnu"
  [ -e "$libraries/libmpi.so.40" ] || { echo "$1: no libmpi.so.40 in it; see --make-prefix" >&2; return 1; }
  export PATH="$folder/usr/bin:$PATH"
  export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries:$folder/lib/x86_64-linux-gnu"
  export LIBRARY_PATH="${LIBRARY_PATH:+$LIBRARY_PATH:}$libraries"
  export CMAKE_PREFIX_PATH="$folder/usr${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}"
  export PKG_CONFIG_PATH="$libraries/pkgconfig:$folder/usr/share/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$folder"
  # Open MPI and PMIx look for their plugins and texts below these.
  export OPAL_PREFIX="$folder/usr" OPAL_LIBDIR="$libraries/openmpi/lib" OPAL_INCLUDEDIR="$libraries/openmpi/include"
  export OPAL_PKGLIBDIR="$libraries/openmpi/lib/openmpi3" OPAL_SYSCONFDIR="$folder/etc/openmpi"
  export PMIX_INSTALL_PREFIX="$libraries/pmix2" PMIX_PREFIX="$libraries/pmix2" PMIX_SYSCONFDIR="$folder/etc/pmix"
  export PMIX_MCA_pcompress_base_silence_warning=1
  export OMPI_MCA_mca_base_component_show_load_errors=0 OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader
  export OMPI_MCA_plm=isolated # one host: no remote shell is looked for
}
