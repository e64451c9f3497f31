// docs/errors.md and the code say the same: every code with its number, name and exit status.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <regex>
#include <set>
#include <string>

#include "tokvault/result.h"

namespace tokvault {
namespace {

TEST(Errors, TheDocumentAndTheCodeAgree) {
  const char* const source = std::getenv("TOKVAULT_SOURCE");
  ASSERT_NE(source, nullptr) << "run by ctest, or set TOKVAULT_SOURCE";
  std::ifstream document(std::string(source) + "/docs/errors.md");
  ASSERT_TRUE(document);
  // | `not_found` | 1 | 3 | ...
  const std::regex row(R"(\| `([a-z_]+)` \| (\d+) \| (\d+) \|.*)");
  std::set<int> codes;
  std::string line;
  while (std::getline(document, line)) {
    std::smatch match;
    if (!std::regex_match(line, match, row)) continue;
    const int code = std::stoi(match[2]);
    EXPECT_EQ(errc_name(static_cast<Errc>(code)), match[1].str());
    EXPECT_EQ(exit_code(static_cast<Errc>(code)), std::stoi(match[3])) << match[1];
    EXPECT_TRUE(codes.insert(code).second) << match[1];
  }
  // All of them, without a gap, and no two with one exit status.
  std::set<int> statuses;
  for (int code = 0; code <= static_cast<int>(Errc::cancelled); ++code) {
    EXPECT_TRUE(codes.contains(code)) << code;
    EXPECT_TRUE(statuses.insert(exit_code(static_cast<Errc>(code))).second) << code;
  }
  EXPECT_EQ(codes.size(), static_cast<std::size_t>(Errc::cancelled) + 1);
  EXPECT_EQ(errc_name(static_cast<Errc>(static_cast<int>(Errc::cancelled) + 1)), "unknown");
}

}  // namespace
}  // namespace tokvault
