# Warnings for our own targets; errors only where a preset says so (TOKVAULT_WERROR).
option(TOKVAULT_WERROR "Warnings are errors" OFF)
# -Wrestrict of g++ 12 sees overlaps in `"text" + std::string` that are not there.
# With its sanitizers it sees members of variants that "may be used uninitialized".
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  set(sanitizer_noise -Wno-maybe-uninitialized)
endif()
add_library(tokvault_warnings INTERFACE)
target_compile_options(tokvault_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wcast-qual -Wvla
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> ${sanitizer_noise}
  $<$<BOOL:${TOKVAULT_WERROR}>:-Werror>)
