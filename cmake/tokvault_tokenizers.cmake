# The vocabularies beside the binary: <build>/tokenizers, from data/tokenizers (where
# scripts/fetch_tokenizers puts the rank files), installed to <datadir>/tokvault/tokenizers.
# A rank file that is fetched later needs no new configuration: the build looks at the folder.
add_executable(tokvault_make_vocab ${PROJECT_SOURCE_DIR}/cmake/make_vocab.cc)
target_include_directories(tokvault_make_vocab PRIVATE ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(tokvault_make_vocab PRIVATE tokvault tokvault_warnings)
set(tokvault_rank_files ${PROJECT_SOURCE_DIR}/data/tokenizers)
set(tokvault_vocabularies ${PROJECT_BINARY_DIR}/tokenizers)
file(MAKE_DIRECTORY ${tokvault_rank_files})
add_custom_command(
  OUTPUT ${tokvault_vocabularies}/cl100k_base.vocab ${tokvault_vocabularies}/o200k_base.vocab
  COMMAND tokvault_make_vocab ${tokvault_rank_files} ${tokvault_vocabularies}
  DEPENDS tokvault_make_vocab ${tokvault_rank_files}
  COMMENT "Vocabularies" VERBATIM)
add_custom_target(tokvault_tokenizers ALL
  DEPENDS ${tokvault_vocabularies}/cl100k_base.vocab ${tokvault_vocabularies}/o200k_base.vocab)
install(DIRECTORY ${PROJECT_BINARY_DIR}/tokenizers
  DESTINATION ${CMAKE_INSTALL_DATADIR}/tokvault OPTIONAL
  FILES_MATCHING PATTERN "*.tiktoken" PATTERN "*.vocab")
