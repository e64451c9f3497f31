// Which files a gc rewrites because of the artifacts that they name.
#include <gtest/gtest.h>

#include "vault/substrings.h"

namespace tokvault {
namespace {

class FileThatNames final : public Source {
 public:
  explicit FileThatNames(std::vector<std::uint64_t> artifacts) : artifacts_(std::move(artifacts)) {}
  std::uint64_t file() const override { return 1; }
  bool is_pack() const override { return true; }
  std::uint32_t tenant() const override { return 0; }
  std::string name() const override { return pack_name(1); }
  Range range() const override { return {}; }
  std::vector<std::uint64_t> artifacts() const override { return artifacts_; }
  Result<std::shared_ptr<const Tables>> tables() const override { return nothing(); }
  Result<std::vector<std::uint32_t>> rows_of(const IdHash&) const override { return nothing(); }
  Result<ByteView> code(Stream, std::uint32_t, Scratch&) const override { return nothing(); }
  Status decode_tokens(ByteView, std::vector<Token>&) const override { return nothing(); }
  Result<std::optional<std::uint32_t>> find_segment(Stream, const ShortDigest&,
                                                    Scratch&) const override {
    return nothing();
  }

 private:
  static Error nothing() { return Error(Errc::not_found, "nothing is in it"); }
  const std::vector<std::uint64_t> artifacts_;
};

TEST(RetiredSets, AFileThatNamesOneIsRewritten) {
  constexpr auto kSet = ArtifactKind::substring_set;
  constexpr auto kDictionary = ArtifactKind::dictionary;
  TenantState tenant;
  auto is_due = [&](std::vector<std::uint64_t> artifacts) {
    return SubstringsImpl::names_retired(tenant, FileThatNames(std::move(artifacts)));
  };
  EXPECT_FALSE(is_due({}));
  for (const std::uint64_t set : {4, 5}) tenant.artifacts[set].kind = kSet;
  for (const std::uint64_t dictionary : {6, 7}) tenant.artifacts[dictionary].kind = kDictionary;
  EXPECT_TRUE(is_due({5})) << "none is active";
  tenant.active[kSet] = 5;
  EXPECT_FALSE(is_due({5}));
  EXPECT_TRUE(is_due({4}));
  EXPECT_TRUE(is_due({5, 4}));
  // A dictionary is whole as long as it is there; it goes when a run of it does (shared_runs.h).
  tenant.active[kDictionary] = 7;
  EXPECT_FALSE(is_due({6, 5}));
}

}  // namespace
}  // namespace tokvault
