# The large counts of RELIABILITY's table: hours to days, by hand, on an idle machine:
#   cmake --build BUILD --target soak -- -k 0      every part, one after the other, going on after a failure
#   cmake --build BUILD --target soak-row-4        one of them
add_custom_target(soak)

# cf_soak(NAME COMMAND... [DEPENDS TARGETS...])
function(cf_soak name)
  cmake_parse_arguments(soak "" "" "COMMAND;DEPENDS" ${ARGN})
  add_custom_target(soak-${name} COMMAND ${soak_COMMAND} USES_TERMINAL VERBATIM)
  if(soak_DEPENDS)
    add_dependencies(soak-${name} ${soak_DEPENDS})
  endif()
  add_dependencies(soak soak-${name})
endfunction()

foreach(row 1 3 4 6 16 17)
  cf_soak(row-${row} DEPENDS cytofold cytofold_inject
    COMMAND ${PYTHON3} ${CMAKE_CURRENT_SOURCE_DIR}/faults.py $<TARGET_FILE:cytofold> ${row} --soak
    --inject $<TARGET_FILE:cytofold_inject>)
endforeach()

set(hangs)
foreach(n RANGE 1 15) # of seven cases: 105
  list(APPEND hangs stopped-worker stopped-coordinator stopped-both stopped-set-up stopped-leaving stuck-loader stuck-disk)
endforeach()
cf_soak(row-18 DEPENDS cytofold cf_stuck
  COMMAND ${PYTHON3} ${PROJECT_SOURCE_DIR}/tests/hang/watch.py $<TARGET_FILE:cytofold> $<TARGET_FILE:cf_stuck> ${hangs})
cf_soak(row-21 DEPENDS test_folds_make
  COMMAND ${CMAKE_COMMAND} -E env CYTOFOLD_TEST_TRIALS=100000 $<TARGET_FILE:test_folds_make>)
cf_soak(row-23 DEPENDS cytofold # 13 of each of four cases: 52
  COMMAND ${PROJECT_SOURCE_DIR}/tests/net/hosts.sh $<TARGET_FILE:cytofold> 13
  undisturbed slowed cut-worker cut-coordinator)
# Rows 2, 7, 8, 19 and 20 are tests/disk's, row 5 is tests/slurm's. Row 10, 8 hours a target, is apart:
# tests/fuzz/run.sh 28800
add_dependencies(soak soak-disk soak-slurm)
