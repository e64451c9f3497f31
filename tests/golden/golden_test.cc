// Bytes of released versions: they are read as they were written, can be written on, and what is
// damaged in them is found and told by its code.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "tests/conformance/temp_dir.h"
#include "tests/golden/golden.h"
#include "tokvault/directory.h"

namespace tokvault {
namespace {

namespace fs = std::filesystem;

std::string golden(const std::string& name) {
  const char* source = std::getenv("TOKVAULT_SOURCE");
  return std::string(source ? source : ".") + "/tests/golden/" + name;
}

// The vaults of a version, as VERSION/NAME.
std::vector<std::string> vaults_of(const std::string& version) {
  std::vector<std::string> names;
  for (const auto& item : fs::directory_iterator(golden(version))) {
    if (item.is_directory()) names.push_back(version + "/" + item.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  EXPECT_GE(names.size(), 4u);
  return names;
}

std::vector<std::string> vaults() {
  auto names = vaults_of("v1");
  for (std::string& name : vaults_of("v2")) names.push_back(std::move(name));
  return names;
}

template <class T>
std::string why(const Result<T>& result) {
  return result ? "" : std::string(result.error().message());
}

// A golden vault that may be written to.
class Copy {
 public:
  explicit Copy(const std::string& name) : path_(dir_ / "vault") {
    fs::copy(golden(name), path_, fs::copy_options::recursive);
  }
  const std::string& path() const { return path_; }

 private:
  TempDir dir_;
  std::string path_;
};

std::string expected(const std::string& name) { return slurp(golden(name + ".jsonl")); }

void read_as_they_were_written(const std::string& version) {
  for (const std::string& name : vaults_of(version)) {
    auto vault = open_vault(golden(name), {.read_only = true});
    ASSERT_TRUE(vault) << name << ": " << why(vault);
    auto lines = golden_lines(**vault);
    ASSERT_TRUE(lines) << name << ": " << why(lines);
    EXPECT_EQ(*lines, expected(name)) << name;
    EXPECT_FALSE(lines->empty());
    // Segments that somebody holds are those of NAME.held, or none.
    auto held = golden_held_lines(**vault);
    ASSERT_TRUE(held) << name << ": " << why(held);
    const std::string path = golden(name + ".held");
    EXPECT_EQ(*held, fs::exists(path) ? slurp(path) : "") << name;
    auto report = (*vault)->check({.read_data = true});
    ASSERT_TRUE(report) << name << ": " << why(report);
    for (const Finding& f : report->findings) ADD_FAILURE() << name << ": " << f.message;
  }
}

TEST(Golden, VaultsOfVersion1ReadAsTheyWereWritten) { read_as_they_were_written("v1"); }

TEST(Golden, VaultsOfVersion2ReadAsTheyWereWritten) {
  read_as_they_were_written("v2");
  auto vault = open_vault(golden("v2/dictionary"), {.read_only = true});
  ASSERT_TRUE(vault) << why(vault);
  auto list = (*vault)->dictionaries().list();
  ASSERT_TRUE(list) << why(list);
  ASSERT_EQ(list->size(), 1u);
  EXPECT_EQ(list->front().id, 7000u);
  EXPECT_TRUE(list->front().active);
  auto bytes = (*vault)->dictionaries().get(7000);
  ASSERT_TRUE(bytes) << why(bytes);
  EXPECT_EQ(bytes->size(), list->front().size_bytes);
}

TEST(Golden, WithoutACatalogTheFilesSayTheSame) {
  for (const std::string& name : vaults()) {
    const Copy copy(name);
    fs::remove(copy.path() + "/catalog.db");
    auto report = repair_vault(copy.path());
    ASSERT_TRUE(report) << name << ": " << why(report);
    EXPECT_TRUE(report->findings.empty());
    auto vault = open_vault(copy.path());
    ASSERT_TRUE(vault) << name << ": " << why(vault);
    auto lines = golden_lines(**vault);
    ASSERT_TRUE(lines) << name << ": " << why(lines);
    EXPECT_EQ(*lines, expected(name)) << name;
  }
}

TEST(Golden, VaultsCanBeWrittenOnAndRewritten) {
  for (const std::string& name : vaults()) {
    const Copy copy(name);
    {
      auto vault = open_vault(copy.path());
      ASSERT_TRUE(vault) << name << ": " << why(vault);
      Conversation c;
      c.id = "new";
      c.time_ms = 1;
      c.messages = {Message::of_text("user", "written on")};
      ASSERT_TRUE((*vault)->put(c, {}));
      ASSERT_TRUE((*vault)->compact(Level::fast));
      auto erased = (*vault)->forget(std::vector<std::string>{"new"});
      ASSERT_TRUE(erased);
      EXPECT_EQ(*erased, 1u);
      ASSERT_TRUE((*vault)->gc(false));
    }
    auto vault = open_vault(copy.path());
    ASSERT_TRUE(vault) << name << ": " << why(vault);
    auto lines = golden_lines(**vault);
    ASSERT_TRUE(lines) << name << ": " << why(lines);
    EXPECT_EQ(*lines, expected(name)) << name;
  }
}

TEST(Golden, ALogIsReadAgainAfterEveryTruncation) {
  // What remains of a log is a prefix of its batches: never an error once the catalog is rebuilt,
  // and never anything that was not written.
  const std::string log = golden("v1/bytes/log/00000001.log");
  const std::string bytes = slurp(log);
  const std::string all = expected("v1/bytes");
  std::size_t whole = 0;
  for (std::size_t size = bytes.size(); size >= 117; size -= 3) {
    const Copy copy("v1/bytes");
    fs::remove(copy.path() + "/catalog.db");
    spill(copy.path() + "/log/00000001.log", bytes.substr(0, size));
    if (!repair_vault(copy.path())) break;  // the header is cut
    auto vault = open_vault(copy.path());
    ASSERT_TRUE(vault) << size << ": " << why(vault);
    auto lines = golden_lines(**vault);
    ASSERT_TRUE(lines) << size << ": " << why(lines);
    EXPECT_TRUE(all.starts_with(*lines)) << size;
    if (*lines == all) ++whole;
  }
  EXPECT_EQ(whole, 1u);
}

// tests/golden/bad/list.txt: FILE VAULT TARGET CODE. The vault with FILE in the place of TARGET
// must fail with that code, at opening, at reading, or in a check of all data; with the code ok it
// is another writing of the same content.
TEST(Golden, DamagedFilesFailWithTheirCode) {
  std::istringstream list(slurp(golden("bad/list.txt")));
  std::string line;
  int count = 0;
  while (std::getline(list, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    std::string file, name, target, code;
    ASSERT_TRUE(fields >> file >> name >> target >> code) << line;
    ++count;
    const Copy copy(name);
    fs::remove(copy.path() + "/" + target);
    fs::copy_file(golden("bad/" + file), copy.path() + "/" + target);
    std::string found = "ok";
    auto vault = open_vault(copy.path(), {.read_only = true});
    if (!vault) {
      found = errc_name(vault.error().code());
    } else if (auto lines = golden_lines(**vault); !lines) {
      found = errc_name(lines.error().code());
    } else if (code == "ok" && *lines != expected(name)) {
      found = "another content";
    } else if (auto report = (*vault)->check({.read_data = true}); !report) {
      found = errc_name(report.error().code());
    } else if (!report->findings.empty()) {
      found = errc_name(report->findings[0].code);
    }
    EXPECT_EQ(found, code) << line;
  }
  EXPECT_GE(count, 50);
}

TEST(Golden, ADumpSaysWhatStreamsAreCodedWith) {
  const auto bases = dump_file(golden("bad/v2_bases"), false);
  ASSERT_TRUE(bases);
  EXPECT_NE(
      bases->text.find("tokens_codec: zstd_bases\ntokens_blocks: 2\ntokens_blocks_with_bases: 1\n"),
      std::string::npos)
      << bases->text;
  const auto shared = dump_file(golden("v2/shared/packs/00000006.pack"), false);
  ASSERT_TRUE(shared);
  EXPECT_NE(shared->text.find("tokens_codec: zstd\ntokens_artifact: 4\n"), std::string::npos)
      << shared->text;
}

// Members of a set count together: without one of them, what they replace counts.
TEST(Golden, APackWhoseSetIsNotWholeDoesNotCount) {
  const Copy copy("v1/bytes");
  const std::string log = copy.path() + "/log/00000001.log";
  std::vector<std::string> packs;
  std::string with_second;
  {
    auto vault = open_vault(copy.path());
    ASSERT_TRUE(vault) << why(vault);
    Conversation c;
    c.id = "of another";
    c.messages = {Message::of_text("user", "a second member")};
    ASSERT_TRUE((*vault)->put(c, {.tenant = "second"}));
    with_second = slurp(log);
    ASSERT_TRUE((*vault)->seal());
    for (const auto& e : fs::directory_iterator(copy.path() + "/packs")) packs.push_back(e.path());
    ASSERT_EQ(packs.size(), 2u);
    spill(log, with_second);  // as if the rewrite had been interrupted before it was removed
  }
  auto read = [&](std::size_t& conversations) {
    fs::remove(copy.path() + "/catalog.db");
    auto report = repair_vault(copy.path());
    ASSERT_TRUE(report) << why(report);
    auto vault = open_vault(copy.path(), {.read_only = true});
    ASSERT_TRUE(vault) << why(vault);
    auto lines = golden_lines(**vault);
    ASSERT_TRUE(lines) << why(lines);
    conversations = static_cast<std::size_t>(std::count(lines->begin(), lines->end(), '\n'));
  };
  std::size_t conversations = 0;
  read(conversations);
  EXPECT_EQ(conversations, 3u);
  // Of one member nothing is left, and the log is there.
  spill(log, with_second);
  fs::remove(packs[0]);
  read(conversations);  // the log counts again, the other pack does not
  EXPECT_EQ(conversations, 3u);
}

}  // namespace
}  // namespace tokvault
