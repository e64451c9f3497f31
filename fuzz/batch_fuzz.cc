// The body of a batch, with the codes in it and with a text apart: never crashes, every number that
// comes out is in range, and what was read is written again as the same bytes: a body has one form
// only.
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
  Writer(const BatchBuilder::Counts& counts, ByteView codes) : builder(counts), codes_(codes) {}

  void on_model(std::string_view name) override { builder.add_model(name); }
  void on_application(std::string_view name) override { builder.add_application(name); }
  void on_form(std::string_view form) override {
    forms_.push_back(analyse_form(form));
    builder.add_form(form);
  }
  void on_segment(Stream stream, std::uint64_t offset, std::uint64_t size) override {
    expect(offset <= codes_.size() && size <= codes_.size() - offset);
    builder.add_segment(stream, codes_.substr(offset, size));
  }
  void on_external(const External& external) override {
    externals_.push_back(external.stream);
    builder.add_external(external);
  }
  Stream external_stream(std::uint32_t number) const override {
    expect(number < externals_.size());
    return externals_[number];
  }
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
      expect(!refs[i].is_external() || externals_[refs[i].number()] == info.stream_of(i));
    }
  }
  const ByteView codes_;  // what segments lie in
  std::vector<FormInfo> forms_;
  std::vector<Stream> externals_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView body(reinterpret_cast<const char*>(data), size);
  BatchBuilder::Counts before;
  before.next_sequence = kFirstSequence;
  {
    BatchBuilder::Counts counts = before;
    Writer writer(before, body);
    if (parse_batch(body, std::nullopt, counts, writer)) {
      expect(writer.builder.body_with_text() == body);
    }
  }
  // The last two bytes say how long the text is.
  if (size < 2) return 0;
  const Buffer text(data[size - 1] * std::size_t{256} + data[size - 2], 't');
  BatchBuilder::Counts counts = before;
  Writer writer(before, text);
  if (parse_batch(body.substr(0, size - 2), text.size(), counts, writer)) {
    expect(writer.builder.body() == body.substr(0, size - 2));
    expect(writer.builder.text() == text);
  }
  return 0;
}
