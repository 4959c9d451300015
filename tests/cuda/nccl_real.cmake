# The NCCL comm over the real library, included by tests/gpu where CUDA was found: alone on a card, and what it says
# without one.
add_executable(gpu_nccl ${CMAKE_CURRENT_LIST_DIR}/test_nccl_run.c)
target_link_libraries(gpu_nccl PRIVATE cf_comm PkgConfig::CMOCKA)
target_compile_options(gpu_nccl PRIVATE ${CYTOFOLD_WARNINGS})
add_test(NAME cuda/nccl_without_a_card COMMAND gpu_nccl)
set_tests_properties(cuda/nccl_without_a_card PROPERTIES LABELS cuda TIMEOUT 120)
cf_gpu(nccl_alone $<TARGET_FILE:gpu_nccl>)
add_dependencies(gpu_check gpu_nccl)
