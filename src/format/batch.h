// The body of a batch of log: what it adds to the tables of its tenant in this log, in order.
//
// Numbers are those of the tables: the first node that a batch adds has the number of nodes that
// were there. Bodies of one section are compressed as one stream, so repetition costs little. The
// codes of segments stand in the body, or apart in a text of their own, which need not be decoded
// before somebody reads them.
// Format: docs/format/log.md
#ifndef TOKVAULT_FORMAT_BATCH_H_
#define TOKVAULT_FORMAT_BATCH_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "format/record.h"
#include "format/tables.h"
#include "tokvault/result.h"
#include "tokvault/types.h"

namespace tokvault {

// Part of the on-disk format, never renumber.
enum class BatchTag : std::uint8_t {
  model = 1,
  application = 2,
  form = 3,
  token_segment = 4,
  byte_segment = 5,
  external = 6,
  node = 7,
  conversation = 8,
  put_record = 9,
  remove_record = 10,
};

// Writes a body. Keeps count of what it adds, on top of the counts that it starts from.
class BatchBuilder {
 public:
  struct Counts {
    std::uint32_t models = 1;
    std::uint32_t applications = 1;
    std::uint32_t forms = 0;
    std::uint32_t nodes = 0;
    std::uint32_t externals = 0;
    std::array<std::uint32_t, kStreams> segments{};
    std::uint64_t next_sequence = 0;
  };
  explicit BatchBuilder(const Counts& counts) : counts_(counts) {}

  const Counts& counts() const { return counts_; }
  // The body whose codes stand apart, in text().
  const Buffer& body() const { return body_; }
  const Buffer& text() const { return text_; }
  // The same with the codes in it.
  Buffer body_with_text() const;
  // Of its records.
  const BatchChanges& changes() const { return changes_; }
  std::uint64_t conversation_count() const { return added_.rows; }
  // What it adds to tables.
  const TableSize& added() const { return added_; }

  std::uint32_t add_model(std::string_view name);
  std::uint32_t add_application(std::string_view name);
  std::uint32_t add_form(std::string_view form);
  // `code`: the tokens as codes without a list (TokenMap()), or the bytes.
  SegmentRef add_segment(Stream stream, ByteView code);
  SegmentRef add_external(const External& external);
  std::uint32_t add_node(std::uint32_t parent, std::uint32_t form, const FormInfo& info,
                         std::span<const SegmentRef> refs);
  // Fills in row.sequence. row.first_sequence == 0 means that this is the first version.
  std::uint64_t add_conversation(std::string_view id, const Row& row, const FormInfo& info,
                                 std::span<const SegmentRef> refs);
  std::uint64_t put_record(ByteView key, ByteView value);
  std::uint64_t remove_record(ByteView key);

 private:
  void tag(BatchTag t) { body_.push_back(static_cast<char>(t)); }
  void append_refs(const FormInfo& info, std::span<const SegmentRef> refs);

  void note(ByteView key);

  Counts counts_;
  Buffer body_;
  Buffer text_;
  // Of each segment: where its code would stand in the body, and where it ends in the text.
  struct CodePlace {
    std::uint64_t body = 0;
    std::uint64_t text_end = 0;
  };
  std::vector<CodePlace> codes_;
  BatchChanges changes_;
  TableSize added_;
};

// What parse_batch found, in order of the body.
class BatchVisitor {
 public:
  virtual ~BatchVisitor() = default;
  virtual void on_model(std::string_view name) = 0;
  virtual void on_application(std::string_view name) = 0;
  virtual void on_form(std::string_view form) = 0;
  // `offset`, `size`: where the code lies in the body, or in the text if it stands apart.
  virtual void on_segment(Stream stream, std::uint64_t offset, std::uint64_t size) = 0;
  virtual void on_external(const External& external) = 0;
  virtual void on_node(std::uint32_t parent, std::uint32_t form,
                       std::span<const SegmentRef> refs) = 0;
  virtual void on_conversation(std::string_view id, Row row, std::span<const SegmentRef> refs) = 0;
  virtual void on_record(Record record) = 0;
  // Of forms that were added, for the number of references that follow.
  virtual const FormInfo& form_info(std::uint32_t form) const = 0;
  // Of external segments that were added: in which stream they stand.
  virtual Stream external_stream(std::uint32_t number) const = 0;
};

// Reads a body; `counts` are those before it and become those after it. `text_size`: of its text,
// which the codes of its segments fill; nothing if they stand in the body. Every number that the
// visitor sees is in range.
Status parse_batch(ByteView body, std::optional<std::uint64_t> text_size,
                   BatchBuilder::Counts& counts, BatchVisitor& visitor);

}  // namespace tokvault

#endif  // TOKVAULT_FORMAT_BATCH_H_
