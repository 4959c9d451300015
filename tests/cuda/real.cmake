# Tests of the real cuDNN, included by tests/gpu where CUDA was found. Plans for described devices are made without
# one; what plans compute needs a card.
add_executable(cuda_cudnn ${CMAKE_CURRENT_LIST_DIR}/test_cudnn.c)
target_link_libraries(cuda_cudnn PRIVATE cf_backends PkgConfig::CMOCKA)
target_compile_options(cuda_cudnn PRIVATE ${CYTOFOLD_WARNINGS})
add_test(NAME cuda/cudnn_plans COMMAND cuda_cudnn)
set_tests_properties(cuda/cudnn_plans PROPERTIES LABELS cuda TIMEOUT 300)

add_executable(gpu_cudnn ${CMAKE_CURRENT_LIST_DIR}/test_cudnn_run.c)
target_link_libraries(gpu_cudnn PRIVATE gpu_reference cf_backends PkgConfig::CMOCKA)
target_compile_options(gpu_cudnn PRIVATE ${CYTOFOLD_WARNINGS})
# Each by its name, so that a machine without a card lists what was skipped.
foreach(case every_plan_is_right_in_fp32 every_plan_is_right_in_bf16 every_plan_is_right_in_fp16
    plan_gives_the_same_bits_again_and_recorded timed_choice_is_the_same_when_read)
  cf_gpu(cudnn_${case} $<TARGET_FILE:gpu_cudnn> ${case})
endforeach()
