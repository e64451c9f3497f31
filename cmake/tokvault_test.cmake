# tokvault_test_timeout(NAME seconds): no test takes longer, eight times as long under a sanitizer.
function(tokvault_test_timeout name seconds)
  if(CMAKE_CXX_FLAGS MATCHES "-fsanitize")  # ten times as slow, and --full finds no idle machine
    math(EXPR seconds "8 * ${seconds}")
  endif()
  # What may take longest runs first, so that none runs alone at the end.
  set_tests_properties(${name} PROPERTIES TIMEOUT ${seconds} COST ${seconds})
endfunction()

# tokvault_test(NAME file.cc ... [LABEL unit|system] [TIMEOUT seconds]): a GoogleTest program that
# sees src/. Does nothing without TOKVAULT_DEV. The label decides when the test runs
# (docs/testing.md).
function(tokvault_test name)
  if(NOT TOKVAULT_DEV)
    return()
  endif()
  cmake_parse_arguments(arg "" "LABEL;TIMEOUT" "LIBS" ${ARGN})
  if(NOT arg_LABEL)
    set(arg_LABEL unit)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE tokvault tokvault_warnings GTest::gtest_main
                        Threads::Threads ${arg_LIBS})
  add_test(NAME ${name} COMMAND ${name})
  set(environment
    "TOKVAULT_SOURCE=${PROJECT_SOURCE_DIR}"
    "TOKVAULT_BIN=${PROJECT_BINARY_DIR}/tokvault"
    "TOKVAULT_TOKENIZERS=${PROJECT_BINARY_DIR}/tokenizers")
  set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} ENVIRONMENT "${environment}")
  tokvault_test_timeout(${name} ${arg_TIMEOUT})
endfunction()
