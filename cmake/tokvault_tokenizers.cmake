# The vocabularies beside the binary: <build>/tokenizers, from data/tokenizers (where
# scripts/fetch_tokenizers puts the rank files), installed to <datadir>/tokvault/tokenizers.
# Looked at on every build, so that fetching them later needs no new configuration.
add_executable(tokvault_make_vocab ${PROJECT_SOURCE_DIR}/cmake/make_vocab.cc)
target_include_directories(tokvault_make_vocab PRIVATE ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(tokvault_make_vocab PRIVATE tokvault tokvault_warnings)
add_custom_target(tokvault_tokenizers ALL
  COMMAND tokvault_make_vocab ${PROJECT_SOURCE_DIR}/data/tokenizers
          ${PROJECT_BINARY_DIR}/tokenizers
  COMMENT "Vocabularies" VERBATIM)
install(DIRECTORY ${PROJECT_BINARY_DIR}/tokenizers
  DESTINATION ${CMAKE_INSTALL_DATADIR}/tokvault OPTIONAL
  FILES_MATCHING PATTERN "*.tiktoken" PATTERN "*.vocab")
