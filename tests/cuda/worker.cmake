# The worker on a pretended device, included by CMakeLists.txt of this folder.
add_executable(cuda_card_memory ${CMAKE_CURRENT_LIST_DIR}/card_memory.c)
target_link_libraries(cuda_card_memory PRIVATE cf_backends_host cf_worker PkgConfig::CMOCKA)
target_compile_options(cuda_card_memory PRIVATE ${CYTOFOLD_WARNINGS})
set_target_properties(cuda_card_memory PROPERTIES LINKER_LANGUAGE CXX)
add_test(NAME cuda/card_memory COMMAND cuda_card_memory)
set_tests_properties(cuda/card_memory PROPERTIES TIMEOUT 300 ENVIRONMENT "CF_SHIM_MEMORY=8192")

add_executable(cuda_predict_features ${PROJECT_SOURCE_DIR}/tests/unit/test_predict_features.c)
target_link_libraries(cuda_predict_features PRIVATE cf_backends_host cf_worker PkgConfig::CMOCKA m)
target_compile_options(cuda_predict_features PRIVATE ${CYTOFOLD_WARNINGS})
set_target_properties(cuda_predict_features PROPERTIES LINKER_LANGUAGE CXX)
add_test(NAME cuda/predict_features COMMAND cuda_predict_features)
set_tests_properties(cuda/predict_features PROPERTIES TIMEOUT 300
  ENVIRONMENT "CF_SHIM_MEMORY=8192;CYTOFOLD_TEST_DEVICE=cuda")
