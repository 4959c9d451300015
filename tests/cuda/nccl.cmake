# NCCL's comm over a fake NCCL, included by CMakeLists.txt of this folder: cf_nccl_host is kernels/comm/comm_nccl.c for
# programs on the shim; link it before cf_comm.
add_library(cf_nccl_host STATIC ${PROJECT_SOURCE_DIR}/kernels/comm/comm_nccl.c ${CMAKE_CURRENT_LIST_DIR}/nccl_fake.c)
target_include_directories(cf_nccl_host BEFORE PUBLIC ${CMAKE_CURRENT_LIST_DIR}/include)
target_compile_options(cf_nccl_host PRIVATE ${CYTOFOLD_WARNINGS})
target_link_libraries(cf_nccl_host PUBLIC cf_cuda_shim cf_comm)

add_executable(cuda_nccl ${CMAKE_CURRENT_LIST_DIR}/test_nccl.c)
target_link_libraries(cuda_nccl PRIVATE cf_nccl_host PkgConfig::CMOCKA)
target_compile_options(cuda_nccl PRIVATE ${CYTOFOLD_WARNINGS})
set_target_properties(cuda_nccl PROPERTIES LINKER_LANGUAGE CXX)
foreach(n 1 2 3)
  add_test(NAME cuda/nccl-${n} COMMAND ${MPIEXEC_EXECUTABLE} --oversubscribe --bind-to none
    ${MPIEXEC_NUMPROC_FLAG} ${n} $<TARGET_FILE:cuda_nccl>)
  set_tests_properties(cuda/nccl-${n} PROPERTIES TIMEOUT 120
    ENVIRONMENT "CF_SHIM_DEVICES=4;OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
endforeach()

# The registry's twin for comms, in the programs on the shim.
target_sources(cf_backends_host PRIVATE ${PROJECT_SOURCE_DIR}/kernels/nccl.c)
target_link_libraries(cf_backends_host PUBLIC cf_nccl_host)

if(NOT CYTOFOLD_SANITIZE)
  add_test(NAME cuda/jobs-nccl COMMAND ${CMAKE_CURRENT_LIST_DIR}/jobs_nccl.sh $<TARGET_FILE:cytofold_host>)
  set_tests_properties(cuda/jobs-nccl PROPERTIES TIMEOUT 600 PROCESSORS 2 ENVIRONMENT "CF_SHIM_MEMORY=8192")
endif()
