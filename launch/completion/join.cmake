# Puts what `PROGRAM --completion` prints in the place of @TABLE@ in SCRIPT and writes it to OUTPUT.
execute_process(COMMAND ${PROGRAM} --completion OUTPUT_VARIABLE table COMMAND_ERROR_IS_FATAL ANY)
file(READ ${SCRIPT} text)
string(REPLACE "@TABLE@" "${table}" text "${text}")
file(WRITE ${OUTPUT} "${text}")
