# Warnings for our own targets; errors only where a preset says so (TOKVAULT_WERROR).
option(TOKVAULT_WERROR "Warnings are errors" OFF)
add_library(tokvault_warnings INTERFACE)
target_compile_options(tokvault_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wcast-qual -Wvla
  $<$<BOOL:${TOKVAULT_WERROR}>:-Werror>)
