# Explanations on a pretended device, included by CMakeLists.txt of this folder.
add_executable(cuda_explainer ${PROJECT_SOURCE_DIR}/tests/unit/test_explainer.c)
target_link_libraries(cuda_explainer PRIVATE cf_backends_host cf_insight PkgConfig::CMOCKA m)
target_compile_options(cuda_explainer PRIVATE ${CYTOFOLD_WARNINGS})
set_target_properties(cuda_explainer PROPERTIES LINKER_LANGUAGE CXX)
add_test(NAME cuda/explainer COMMAND cuda_explainer)
set_tests_properties(cuda/explainer PROPERTIES TIMEOUT 300
  ENVIRONMENT "CF_SHIM_MEMORY=8192;CYTOFOLD_TEST_DEVICE=cuda")

add_executable(cuda_explain ${PROJECT_SOURCE_DIR}/tests/unit/test_explain.c)
target_link_libraries(cuda_explain PRIVATE cf_backends_host cf_insight PkgConfig::CMOCKA m)
target_compile_options(cuda_explain PRIVATE ${CYTOFOLD_WARNINGS})
set_target_properties(cuda_explain PROPERTIES LINKER_LANGUAGE CXX)
add_test(NAME cuda/explain COMMAND cuda_explain)
set_tests_properties(cuda/explain PROPERTIES TIMEOUT 300
  ENVIRONMENT "CF_SHIM_MEMORY=8192;CYTOFOLD_TEST_DEVICE=cuda")
