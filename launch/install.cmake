# What a site gets besides the program: manual pages, completion, module files, job scripts, licence.
# Manual pages and completion are printed by the program itself when it is built.
option(CYTOFOLD_DOCS "make manual pages and shell completion (runs the program that was built)" ON)

set(CYTOFOLD_MAN ${PROJECT_BINARY_DIR}/man)
set(CYTOFOLD_COMPLETION ${PROJECT_BINARY_DIR}/completion)

# cf_page(FOLDER NAME WORD): FOLDER/NAME is what `cytofold --man WORD` prints
function(cf_page folder name word)
  add_custom_command(OUTPUT ${folder}/${name}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${folder}
    COMMAND cytofold --man ${word} > ${folder}/${name}
    DEPENDS cytofold VERBATIM)
  set(CYTOFOLD_PAGES ${CYTOFOLD_PAGES} ${folder}/${name} PARENT_SCOPE)
endfunction()

function(cf_completion script output)
  set(join ${PROJECT_SOURCE_DIR}/launch/completion/join.cmake)
  set(from ${PROJECT_SOURCE_DIR}/launch/completion/${script})
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:cytofold> -DSCRIPT=${from} -DOUTPUT=${output} -P ${join}
    DEPENDS cytofold ${from} ${join} VERBATIM)
endfunction()

if(CYTOFOLD_DOCS AND NOT CYTOFOLD_SANITIZE)
  set(CYTOFOLD_PAGES)
  cf_page(${CYTOFOLD_MAN}/man1 cytofold.1 cytofold)
  cf_page(${CYTOFOLD_MAN}/man5 cytofold.yaml.5 cytofold.yaml)
  file(GLOB verbs CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/cmd_*.c) # one for each verb
  foreach(verb IN LISTS verbs)
    string(REGEX REPLACE "^.*/cmd_(.*)\\.c$" "\\1" verb ${verb})
    cf_page(${CYTOFOLD_MAN}/man1 cytofold-${verb}.1 ${verb})
  endforeach()
  cf_completion(cytofold.bash ${CYTOFOLD_COMPLETION}/cytofold)
  cf_completion(_cytofold ${CYTOFOLD_COMPLETION}/_cytofold)
  add_custom_target(docs ALL DEPENDS ${CYTOFOLD_PAGES} ${CYTOFOLD_COMPLETION}/cytofold ${CYTOFOLD_COMPLETION}/_cytofold)
  install(DIRECTORY ${CYTOFOLD_MAN}/ DESTINATION ${CMAKE_INSTALL_MANDIR})
  install(FILES ${CYTOFOLD_COMPLETION}/cytofold DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${CYTOFOLD_COMPLETION}/_cytofold DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
endif()

if(IS_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/slurm)
  install(DIRECTORY slurm DESTINATION ${CMAKE_INSTALL_DATADIR}/cytofold USE_SOURCE_PERMISSIONS)
endif()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

# Module files with the prefix that is installed to, which `cmake --install --prefix` tells only then.
foreach(kind lua tcl)
  install(CODE "
    get_filename_component(CYTOFOLD_PREFIX \"\${CMAKE_INSTALL_PREFIX}\" ABSOLUTE)
    set(PROJECT_VERSION \"${PROJECT_VERSION}\")
    set(PROJECT_DESCRIPTION \"${PROJECT_DESCRIPTION}\")
    set(CMAKE_INSTALL_BINDIR \"${CMAKE_INSTALL_BINDIR}\")
    set(CMAKE_INSTALL_MANDIR \"${CMAKE_INSTALL_MANDIR}\")
    set(CMAKE_INSTALL_DATADIR \"${CMAKE_INSTALL_DATADIR}\")
    configure_file(\"${CMAKE_CURRENT_SOURCE_DIR}/modulefiles/cytofold.${kind}.in\"
      \"\$ENV{DESTDIR}\${CYTOFOLD_PREFIX}/${CMAKE_INSTALL_DATADIR}/cytofold/modulefiles/cytofold.${kind}\" @ONLY)")
endforeach()
