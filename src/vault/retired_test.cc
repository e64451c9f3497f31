// Which files a gc rewrites because of the artifacts that they name.
#include <gtest/gtest.h>

#include "vault/substrings.h"

namespace tokvault {
namespace {

class FileThatNames final : public Source {
 public:
  explicit FileThatNames(std::vector<ArtifactRef> artifacts) : artifacts_(std::move(artifacts)) {}
  std::uint64_t file() const override { return 1; }
  bool is_pack() const override { return true; }
  std::uint32_t tenant() const override { return 0; }
  std::string name() const override { return pack_name(1); }
  Range range() const override { return {}; }
  std::vector<ArtifactRef> artifacts() const override { return artifacts_; }
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
  const std::vector<ArtifactRef> artifacts_;
};

TEST(RetiredSets, AFileThatNamesOneIsRewritten) {
  constexpr auto kSet = ArtifactKind::substring_set;
  constexpr auto kDictionary = ArtifactKind::dictionary;
  TenantState tenant;
  auto is_due = [&](std::vector<ArtifactRef> artifacts) {
    return SubstringsImpl::names_retired(tenant, FileThatNames(std::move(artifacts)));
  };
  EXPECT_FALSE(is_due({}));
  EXPECT_TRUE(is_due({{5, kSet}})) << "none is active";
  tenant.active[kSet] = 5;
  EXPECT_FALSE(is_due({{5, kSet}}));
  EXPECT_TRUE(is_due({{4, kSet}}));
  EXPECT_TRUE(is_due({{5, kSet}, {4, kSet}}));
  // A dictionary is whole as long as it is there; it goes when a run of it does (shared_runs.h).
  tenant.active[kDictionary] = 7;
  EXPECT_FALSE(is_due({{6, kDictionary}, {5, kSet}}));
}

}  // namespace
}  // namespace tokvault
