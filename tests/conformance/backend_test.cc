// The backends of this tree, through the suite that every backend must pass.
#include "storage/fault.h"
#include "tests/conformance/backend_conformance.h"
#include "tests/conformance/temp_dir.h"

namespace tokvault {
namespace {

class MemoryHarness final : public BackendHarness {
 public:
  std::unique_ptr<Backend> open() override { return make_memory_backend(); }
};

class FaultHarness final : public BackendHarness {
 public:
  std::unique_ptr<Backend> open() override { return std::make_unique<FaultBackend>(disk_); }
  std::unique_ptr<Backend> open_again() override { return open(); }
  std::unique_ptr<Backend> power_cut(std::uint64_t round) override {
    return std::make_unique<FaultBackend>(disk_.power_cut(round));
  }

 private:
  FaultBackend disk_;
};

class DirectoryHarness final : public BackendHarness {
 public:
  std::unique_ptr<Backend> open() override {
    DirectoryOptions options;
    options.create = true;
    return std::move(make_directory_backend(dir_ / "v", options)).value();
  }
  std::unique_ptr<Backend> open_again() override { return open(); }

 private:
  TempDir dir_;
};

template <class T>
std::unique_ptr<BackendHarness> make() {
  return std::make_unique<T>();
}

INSTANTIATE_TEST_SUITE_P(Memory, BackendConformance, testing::Values(&make<MemoryHarness>));
INSTANTIATE_TEST_SUITE_P(Fault, BackendConformance, testing::Values(&make<FaultHarness>));
INSTANTIATE_TEST_SUITE_P(Directory, BackendConformance, testing::Values(&make<DirectoryHarness>));
INSTANTIATE_TEST_SUITE_P(Fault, BackendHandles, testing::Values(&make<FaultHarness>));
INSTANTIATE_TEST_SUITE_P(Fault, BackendDurability, testing::Values(&make<FaultHarness>));
INSTANTIATE_TEST_SUITE_P(Directory, BackendHandles, testing::Values(&make<DirectoryHarness>));

}  // namespace
}  // namespace tokvault
