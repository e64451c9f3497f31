# Runs the example on a fresh store.
file(REMOVE_RECURSE ${STORE})
execute_process(COMMAND ${PROGRAM} ${STORE} RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "toy_transformer: ${status}")
endif()
