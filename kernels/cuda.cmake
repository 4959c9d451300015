# What the GPU backend needs: nvcc (12 or newer), cuDNN 9, NCCL (2.20 or newer). Prints a line for each, sets
# CYTOFOLD_CUDA_FOUND, and where it is TRUE enables the language CUDA and makes the targets cudnn and nccl.
#
# Looked at in this order: CYTOFOLD_CUDNN_ROOT and CYTOFOLD_NCCL_ROOT, the environment (CUDA_HOME, CUDA_PATH,
# CUDNN_HOME, NCCL_HOME), the folder of nvcc, /usr/local/cuda, Python's site-packages, the system.
string(TOUPPER "${CYTOFOLD_CUDA}" CYTOFOLD_CUDA_MODE)
if(NOT CYTOFOLD_CUDA_MODE MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "CYTOFOLD_CUDA is '${CYTOFOLD_CUDA}', expected AUTO, ON or OFF")
endif()
set(CYTOFOLD_CUDNN_ROOT "" CACHE PATH "cuDNN to use (include/ and lib/)")
set(CYTOFOLD_NCCL_ROOT "" CACHE PATH "NCCL to use (include/ and lib/)")
set(CYTOFOLD_CUDA_ARCHITECTURES "80-real;90" CACHE STRING
    "GPUs to compile for: machine code for sm_80 and sm_90, PTX of 90 for later ones")

set(CYTOFOLD_CUDA_FOUND FALSE)
if(CYTOFOLD_CUDA_MODE STREQUAL "OFF")
  message(STATUS "CUDA: off")
  return()
endif()

# ---- looking ----------------------------------------------------------------------------------------------

# The wheels of cuDNN and NCCL stand in site-packages/nvidia/*, their libraries under versioned names only.
function(cytofold_wheel_roots out)
  find_program(CYTOFOLD_PYTHON python3)
  set(roots "")
  if(CYTOFOLD_PYTHON)
    execute_process(COMMAND ${CYTOFOLD_PYTHON} -c "import sys; print(';'.join(sys.path))"
      OUTPUT_VARIABLE paths OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    foreach(path IN LISTS paths)
      file(GLOB found LIST_DIRECTORIES TRUE ${path}/nvidia/*)
      list(APPEND roots ${found})
    endforeach()
  endif()
  set(${out} "${roots}" PARENT_SCOPE)
endfunction()

# cytofold_version(FILE OUT NAMES...): the numbers that a header defines, joined by dots.
function(cytofold_version file out)
  set(numbers "")
  foreach(name IN LISTS ARGN)
    file(STRINGS ${file} line REGEX "^#define +${name} +[0-9]+" LIMIT_COUNT 1)
    if(line MATCHES "${name} +([0-9]+)")
      list(APPEND numbers ${CMAKE_MATCH_1})
    endif()
  endforeach()
  list(JOIN numbers "." text)
  set(${out} "${text}" PARENT_SCOPE)
endfunction()

cytofold_wheel_roots(wheels)
find_program(CYTOFOLD_NVCC nvcc
  HINTS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin PATHS ENV PATH)
get_filename_component(nvcc_real "${CYTOFOLD_NVCC}" REALPATH)
get_filename_component(cuda_root "${nvcc_real}" DIRECTORY)
get_filename_component(cuda_root "${cuda_root}" DIRECTORY)
set(cuda_hints $ENV{CUDA_HOME} $ENV{CUDA_PATH} ${cuda_root} /usr/local/cuda ${wheels})
set(cudnn_hints ${CYTOFOLD_CUDNN_ROOT} $ENV{CUDNN_HOME} ${cuda_hints})
set(nccl_hints ${CYTOFOLD_NCCL_ROOT} $ENV{NCCL_HOME} ${cuda_hints})
set(library_folders lib lib64 lib/x86_64-linux-gnu targets/x86_64-linux/lib)
# A library is looked for beside its header first: two versions may be there.
foreach(name CUDNN NCCL)
  string(TOLOWER ${name} lower)
  set(versioned libcudnn.so.9)
  if(name STREQUAL "NCCL")
    set(versioned libnccl.so.2)
  endif()
  find_path(CYTOFOLD_${name}_INCLUDE ${lower}.h HINTS ${${lower}_hints} PATH_SUFFIXES include)
  get_filename_component(root "${CYTOFOLD_${name}_INCLUDE}" DIRECTORY)
  find_library(CYTOFOLD_${name}_LIBRARY NAMES ${lower} ${versioned} NAMES_PER_DIR
    HINTS ${root} ${${lower}_hints} PATH_SUFFIXES ${library_folders})
endforeach()

# ---- what was found ---------------------------------------------------------------------------------------

set(cuda_missing "")
# cytofold_cuda_part(NAME FOUND VERSION OLDEST WHERE HOW): one line, and a place in cuda_missing where it lacks.
macro(cytofold_cuda_part name found version oldest where how)
  if(NOT ${found})
    message(STATUS "CUDA: ${name} not found (${how})")
    list(APPEND cuda_missing "${name} (${how})")
  elseif("${version}" VERSION_LESS "${oldest}")
    message(STATUS "CUDA: ${name} ${version} in ${where} is too old, expected ${oldest} (${how})")
    list(APPEND cuda_missing "${name} ${oldest}, found ${version} in ${where} (${how})")
  else()
    message(STATUS "CUDA: ${name} ${version} found: ${where}")
  endif()
endmacro()

set(nvcc_version "")
if(CYTOFOLD_NVCC)
  execute_process(COMMAND ${CYTOFOLD_NVCC} --version OUTPUT_VARIABLE text ERROR_QUIET)
  if(text MATCHES "V([0-9.]+)")
    set(nvcc_version ${CMAKE_MATCH_1})
  endif()
endif()
set(cudnn_version "")
if(CYTOFOLD_CUDNN_INCLUDE AND EXISTS ${CYTOFOLD_CUDNN_INCLUDE}/cudnn_version.h)
  cytofold_version(${CYTOFOLD_CUDNN_INCLUDE}/cudnn_version.h cudnn_version
    CUDNN_MAJOR CUDNN_MINOR CUDNN_PATCHLEVEL)
endif()
set(nccl_version "")
if(CYTOFOLD_NCCL_INCLUDE)
  cytofold_version(${CYTOFOLD_NCCL_INCLUDE}/nccl.h nccl_version NCCL_MAJOR NCCL_MINOR NCCL_PATCH)
endif()
cytofold_cuda_part(nvcc CYTOFOLD_NVCC "${nvcc_version}" 12.0 "${CYTOFOLD_NVCC}" "set CUDA_HOME")
foreach(name CUDNN NCCL)
  set(CYTOFOLD_${name}_FOUND FALSE)
  if(CYTOFOLD_${name}_LIBRARY AND CYTOFOLD_${name}_INCLUDE)
    set(CYTOFOLD_${name}_FOUND TRUE)
  endif()
endforeach()
cytofold_cuda_part(cuDNN CYTOFOLD_CUDNN_FOUND "${cudnn_version}" 9.0 "${CYTOFOLD_CUDNN_LIBRARY}"
  "set CUDNN_HOME or CYTOFOLD_CUDNN_ROOT")
cytofold_cuda_part(NCCL CYTOFOLD_NCCL_FOUND "${nccl_version}" 2.20 "${CYTOFOLD_NCCL_LIBRARY}"
  "set NCCL_HOME or CYTOFOLD_NCCL_ROOT")

if(NOT cuda_missing AND NOT CMAKE_CUDA_COMPILER)
  # Does nvcc get along with this host compiler? AUTO must not fail over it.
  set(ENV{CUDACXX} ${CYTOFOLD_NVCC})
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    message(STATUS "CUDA: nvcc compiles nothing here")
    list(APPEND cuda_missing "an nvcc that works with this host compiler (set CUDAHOSTCXX)")
  endif()
endif()

if(cuda_missing)
  list(JOIN cuda_missing ", " text)
  if(CYTOFOLD_CUDA_MODE STREQUAL "ON")
    message(FATAL_ERROR "CYTOFOLD_CUDA=ON, but this is missing: ${text}. "
      "CYTOFOLD_CUDA=AUTO or OFF builds the program for the CPU.")
  endif()
  message(STATUS "CUDA: building for the CPU")
  return()
endif()

file(WRITE ${PROJECT_BINARY_DIR}/cuda-versions.txt
  "nvcc ${nvcc_version}\ncuDNN ${cudnn_version}\nNCCL ${nccl_version}\n")

# ---- setting up -------------------------------------------------------------------------------------------

set(CYTOFOLD_CUDA_FOUND TRUE)
set(CMAKE_CUDA_ARCHITECTURES ${CYTOFOLD_CUDA_ARCHITECTURES})
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
if(CCACHE AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)
# The libraries may stand in places that the loader does not know. CMake would leave out those that it takes
# for the compiler's own.
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH TRUE)
foreach(library ${CYTOFOLD_CUDNN_LIBRARY} ${CYTOFOLD_NCCL_LIBRARY})
  get_filename_component(folder ${library} DIRECTORY)
  list(APPEND CMAKE_BUILD_RPATH ${folder})
  list(APPEND CMAKE_INSTALL_RPATH ${folder})
endforeach()
message(STATUS "CUDA: building for the CPU and for GPUs ${CYTOFOLD_CUDA_ARCHITECTURES}")

foreach(name cudnn nccl)
  string(TOUPPER ${name} upper)
  add_library(${name} INTERFACE)
  target_include_directories(${name} SYSTEM INTERFACE ${CYTOFOLD_${upper}_INCLUDE})
  target_link_libraries(${name} INTERFACE ${CYTOFOLD_${upper}_LIBRARY})
endforeach()
# The static runtime: a program built with it starts where there is no driver.
add_library(cudart INTERFACE)
target_include_directories(cudart SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
target_link_libraries(cudart INTERFACE CUDA::cudart_static)

# Shared formulas give the host's bits (no fused multiply-add unless written), and device code calls nothing
# that lives on the host alone.
set(CYTOFOLD_CUDA_OPTIONS --fmad=false -lineinfo -Xcompiler=-ffp-contract=off -Xcompiler=-Wall,-Wextra)
if(CYTOFOLD_WERROR)
  list(APPEND CYTOFOLD_CUDA_OPTIONS -Werror=all-warnings -Werror=cross-execution-space-call)
endif()
