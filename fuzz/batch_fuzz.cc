// The body of a batch: never crashes, every number that comes out is in range, and what was read is
// written again as the same bytes: a body has one form only.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "format/batch.h"

namespace {

using namespace tokvault;

constexpr std::uint64_t kFirstSequence = 1000;

void expect(bool condition) {
  if (!condition) std::abort();
}

class Writer final : public BatchVisitor {
 public:
  explicit Writer(const BatchBuilder::Counts& counts) : builder(counts) {}

  void on_model(std::string_view name) override { builder.add_model(name); }
  void on_application(std::string_view name) override { builder.add_application(name); }
  void on_form(std::string_view form) override {
    forms_.push_back(analyse_form(form));
    builder.add_form(form);
  }
  void on_segment(Stream stream, std::uint64_t, ByteView code) override {
    builder.add_segment(stream, code);
  }
  void on_external(const External& external) override { builder.add_external(external); }
  void on_node(std::uint32_t parent, std::uint32_t form,
               std::span<const SegmentRef> refs) override {
    expect(parent == kNoNode || parent < builder.counts().nodes);
    check_refs(form, refs);
    builder.add_node(parent, form, forms_[form], refs);
  }
  void on_conversation(std::string_view id, Row row, std::span<const SegmentRef> refs) override {
    expect(row.leaf == kNoNode || row.leaf < builder.counts().nodes);
    expect(row.model < builder.counts().models && row.application < builder.counts().applications);
    expect(row.first_sequence >= 1 && row.first_sequence <= row.sequence);
    check_refs(row.form, refs);
    if (row.first_sequence == row.sequence) row.first_sequence = 0;
    builder.add_conversation(id, row, forms_[row.form], refs);
  }
  void on_record(Record record) override {
    if (record.value) {
      builder.put_record(record.key, *record.value);
    } else {
      builder.remove_record(record.key);
    }
  }
  const FormInfo& form_info(std::uint32_t form) const override {
    expect(form < forms_.size());
    return forms_[form];
  }

  BatchBuilder builder;

 private:
  void check_refs(std::uint32_t form, std::span<const SegmentRef> refs) {
    const FormInfo& info = form_info(form);
    expect(refs.size() == info.ref_count());
    for (std::size_t i = 0; i < refs.size(); ++i) {
      const auto& counts = builder.counts();
      expect(refs[i].number() <
             (refs[i].is_external() ? counts.externals : counts.segments[info.stream_of(i)]));
    }
  }
  std::vector<FormInfo> forms_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView body(reinterpret_cast<const char*>(data), size);
  BatchBuilder::Counts counts;
  counts.next_sequence = kFirstSequence;
  Writer writer(counts);
  if (parse_batch(body, counts, writer)) expect(writer.builder.body() == body);
  return 0;
}
