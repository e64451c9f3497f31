# Warnings for our own targets; errors only where a preset says so (TOKVAULT_WERROR).
option(TOKVAULT_WERROR "Warnings are errors" OFF)
# -Wrestrict of g++ 12 sees overlaps in `"text" + std::string` that are not there.
add_library(tokvault_warnings INTERFACE)
target_compile_options(tokvault_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wcast-qual -Wvla
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  $<$<BOOL:${TOKVAULT_WERROR}>:-Werror>)
