# Installation: the library with its headers, tokvaultConfig.cmake and tokvault.pc (the command and
# the vocabularies are installed where they are built). A static library does not carry what it
# links, so the config recreates those targets before it reads ours and tokvault.pc names them under
# Requires.private. Neither holds an absolute path: tests/install moves the prefix and builds
# against it.
include(CMakePackageConfigHelpers)

# pkg-config names of everything in target_link_libraries(tokvault PRIVATE ...).
set(TOKVAULT_PC_REQUIRES libzstd libcrypto sqlite3 liburing zlib simdjson)
list(JOIN TOKVAULT_PC_REQUIRES ", " TOKVAULT_PC_REQUIRES)

set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/tokvault)
install(TARGETS tokvault EXPORT tokvaultTargets)
install(EXPORT tokvaultTargets NAMESPACE tokvault:: DESTINATION ${config_folder})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/tokvault TYPE INCLUDE)
# The suites for backends and catalogs of a user's own: tokvault::conformance.
install(FILES ${PROJECT_SOURCE_DIR}/tests/conformance/backend_conformance.h
              ${PROJECT_SOURCE_DIR}/tests/conformance/catalog_conformance.h
              ${PROJECT_SOURCE_DIR}/tests/conformance/catalog_states.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tokvault/conformance)

# Where CMake finds no package: a config in the root of a build folder that is on PATH, or in
# CMAKE_PREFIX_PATH, would be taken for the installed one, and lacks the targets. Earlier builds
# made it there.
set(package_folder ${PROJECT_BINARY_DIR}/package)
file(REMOVE ${PROJECT_BINARY_DIR}/tokvaultConfig.cmake
            ${PROJECT_BINARY_DIR}/tokvaultConfigVersion.cmake ${PROJECT_BINARY_DIR}/tokvault.pc)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/tokvaultConfig.cmake.in
  ${package_folder}/tokvaultConfig.cmake INSTALL_DESTINATION ${config_folder})
write_basic_package_version_file(${package_folder}/tokvaultConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${package_folder}/tokvaultConfig.cmake
              ${package_folder}/tokvaultConfigVersion.cmake DESTINATION ${config_folder})

# The prefix as seen from the folder of the .pc, wherever both are moved to.
file(RELATIVE_PATH TOKVAULT_PC_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
string(REGEX REPLACE "/$" "" TOKVAULT_PC_PREFIX "${TOKVAULT_PC_PREFIX}")
configure_file(${CMAKE_CURRENT_LIST_DIR}/tokvault.pc.in ${package_folder}/tokvault.pc @ONLY)
install(FILES ${package_folder}/tokvault.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
