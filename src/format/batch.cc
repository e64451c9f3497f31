#include "format/batch.h"

#include <algorithm>

#include "base/bytes.h"

namespace tokvault {
namespace {

Error corrupt_batch(const char* what) {
  return Error(Errc::corrupt, std::string("damaged batch: ") + what);
}

// Nodes as how far they lie back; 0 is none.
std::uint64_t encode_node(std::uint32_t node, std::uint32_t count) {
  return node == kNoNode ? 0 : std::uint64_t{count} - node;
}

bool decode_node(std::uint64_t value, std::uint32_t count, std::uint32_t& out) {
  if (value > count) return false;
  out = value == 0 ? kNoNode : static_cast<std::uint32_t>(count - value);
  return true;
}

}  // namespace

std::uint32_t BatchBuilder::add_model(std::string_view name) {
  tag(BatchTag::model);
  append_sized(body_, name);
  added_.string_bytes += name.size();
  return counts_.models++;
}

std::uint32_t BatchBuilder::add_application(std::string_view name) {
  tag(BatchTag::application);
  append_sized(body_, name);
  added_.string_bytes += name.size();
  return counts_.applications++;
}

std::uint32_t BatchBuilder::add_form(std::string_view form) {
  tag(BatchTag::form);
  append_sized(body_, form);
  ++added_.forms;
  added_.string_bytes += form.size();
  return counts_.forms++;
}

SegmentRef BatchBuilder::add_segment(Stream stream, ByteView code) {
  tag(stream == kTokenStream ? BatchTag::token_segment : BatchTag::byte_segment);
  append_varint(body_, code.size());
  text_ += code;
  codes_.push_back({body_.size(), text_.size()});
  ++added_.segments[stream];
  return SegmentRef::local(counts_.segments[stream]++);
}

Buffer BatchBuilder::body_with_text() const {
  Buffer out;
  out.reserve(body_.size() + text_.size());
  CodePlace done;
  for (const CodePlace& code : codes_) {
    out.append(body_, done.body, code.body - done.body);
    out.append(text_, done.text_end, code.text_end - done.text_end);
    done = code;
  }
  out.append(body_, done.body);
  return out;
}

SegmentRef BatchBuilder::add_external(const External& e) {
  tag(BatchTag::external);
  body_.push_back(static_cast<char>(e.stream));
  body_.append(reinterpret_cast<const char*>(e.digest.data()), e.digest.size());
  append_varint(body_, e.file_hint);
  ++added_.externals;
  return SegmentRef::external(counts_.externals++);
}

// A reference as how far it lies back, with a bit for external ones: what is new costs one byte.
void BatchBuilder::append_refs(const FormInfo& info, std::span<const SegmentRef> refs) {
  added_.references += refs.size();
  for (std::size_t i = 0; i < refs.size(); ++i) {
    const std::uint32_t count =
        refs[i].is_external() ? counts_.externals : counts_.segments[info.stream_of(i)];
    append_varint(
        body_, 2 * (std::uint64_t{count} - 1 - refs[i].number()) + (refs[i].is_external() ? 1 : 0));
  }
}

std::uint32_t BatchBuilder::add_node(std::uint32_t parent, std::uint32_t form, const FormInfo& info,
                                     std::span<const SegmentRef> refs) {
  tag(BatchTag::node);
  append_varint(body_, encode_node(parent, counts_.nodes));
  append_varint(body_, form);
  append_refs(info, refs);
  ++added_.nodes;
  return counts_.nodes++;
}

std::uint64_t BatchBuilder::add_conversation(std::string_view id, const Row& row,
                                             const FormInfo& info,
                                             std::span<const SegmentRef> refs) {
  tag(BatchTag::conversation);
  append_sized(body_, id);
  append_varint(body_, row.model);
  append_varint(body_, row.application);
  append_varint(body_, zigzag(row.time_ms));
  append_varint(body_, row.first_sequence == 0 ? 0 : counts_.next_sequence - row.first_sequence);
  append_varint(body_, row.form);
  append_varint(body_, encode_node(row.leaf, counts_.nodes));
  append_varint(body_, row.tokens);
  append_varint(body_, row.text_bytes);
  append_refs(info, refs);
  ++added_.rows;
  added_.string_bytes += id.size();
  return counts_.next_sequence++;
}

void BatchBuilder::note(ByteView key) {
  IdKey id;
  if (parse_id_key(key, RecordKind::deletion, id)) changes_.deleted.push_back(id.id);
  if (parse_id_key(key, RecordKind::tag, id)) changes_.tagged.push_back(id.id);
}

std::uint64_t BatchBuilder::put_record(ByteView key, ByteView value) {
  note(key);
  tag(BatchTag::put_record);
  append_sized(body_, key);
  append_sized(body_, value);
  return counts_.next_sequence++;
}

std::uint64_t BatchBuilder::remove_record(ByteView key) {
  note(key);
  tag(BatchTag::remove_record);
  append_sized(body_, key);
  return counts_.next_sequence++;
}

Status parse_batch(ByteView body, std::optional<std::uint64_t> text_size,
                   BatchBuilder::Counts& counts, BatchVisitor& visitor) {
  ByteReader in(body);
  std::uint64_t text_done = 0;
  std::vector<SegmentRef> refs;
  auto take_refs = [&](std::uint32_t form) {
    const FormInfo& info = visitor.form_info(form);
    refs.clear();
    for (std::size_t i = 0; i < info.ref_count(); ++i) {
      const std::uint64_t v = in.varint();
      const bool external = v % 2 == 1;
      const Stream stream = info.stream_of(i);
      const std::uint64_t count = external ? counts.externals : counts.segments[stream];
      if (!in.ok() || v / 2 >= count) return false;
      const auto number = static_cast<std::uint32_t>(count - 1 - v / 2);
      if (external && visitor.external_stream(number) != stream) return false;
      refs.push_back(external ? SegmentRef::external(number) : SegmentRef::local(number));
    }
    return true;
  };
  while (in.ok() && !in.at_end()) {
    const auto tag = static_cast<BatchTag>(in.le<std::uint8_t>());
    switch (tag) {
      case BatchTag::model:
      case BatchTag::application:
      case BatchTag::form: {
        const ByteView text = in.sized();
        if (!in.ok()) break;
        if (tag == BatchTag::model) {
          ++counts.models;
          visitor.on_model(text);
        } else if (tag == BatchTag::application) {
          ++counts.applications;
          visitor.on_application(text);
        } else {
          if (!has_known_holes(text)) return corrupt_batch("an unknown hole");
          ++counts.forms;
          visitor.on_form(text);
        }
        break;
      }
      case BatchTag::token_segment:
      case BatchTag::byte_segment: {
        const std::uint64_t size = in.varint();
        const std::uint64_t room = text_size ? *text_size - text_done : in.left();
        if (!in.ok() || size > room) return corrupt_batch("segment");
        const std::uint64_t offset = text_size ? text_done : body.size() - in.left();
        if (text_size) {
          text_done += size;
        } else {
          in.bytes(size);
        }
        const Stream stream = tag == BatchTag::token_segment ? kTokenStream : kByteStream;
        ++counts.segments[stream];
        visitor.on_segment(stream, offset, size);
        break;
      }
      case BatchTag::external: {
        External e;
        const auto stream = in.le<std::uint8_t>();
        const ByteView digest = in.bytes(e.digest.size());
        e.file_hint = in.varint();
        if (!in.ok() || stream >= kStreams) return corrupt_batch("external");
        e.stream = static_cast<Stream>(stream);
        std::copy(digest.begin(), digest.end(), e.digest.begin());
        ++counts.externals;
        visitor.on_external(e);
        break;
      }
      case BatchTag::node: {
        std::uint32_t parent = kNoNode;
        const bool parent_ok = decode_node(in.varint(), counts.nodes, parent);
        const std::uint32_t form = in.varint32();
        if (!in.ok() || !parent_ok || form >= counts.forms || !take_refs(form)) {
          return corrupt_batch("node");
        }
        ++counts.nodes;
        visitor.on_node(parent, form, refs);
        break;
      }
      case BatchTag::conversation: {
        const ByteView id = in.sized();
        Row row;
        row.model = in.varint32();
        row.application = in.varint32();
        row.time_ms = in.svarint();
        const std::uint64_t back = in.varint();
        row.form = in.varint32();
        const bool leaf_ok = decode_node(in.varint(), counts.nodes, row.leaf);
        row.tokens = in.varint();
        row.text_bytes = in.varint();
        if (!in.ok() || !leaf_ok || row.model >= counts.models ||
            row.application >= counts.applications || row.form >= counts.forms ||
            back >= counts.next_sequence || !take_refs(row.form)) {
          return corrupt_batch("conversation");
        }
        row.sequence = counts.next_sequence++;
        row.first_sequence = row.sequence - back;
        visitor.on_conversation(id, row, refs);
        break;
      }
      case BatchTag::put_record:
      case BatchTag::remove_record: {
        Record record;
        record.key = in.sized();
        if (tag == BatchTag::put_record) record.value = Buffer(in.sized());
        if (!in.ok()) break;
        record.sequence = counts.next_sequence++;
        visitor.on_record(std::move(record));
        break;
      }
      default:
        return corrupt_batch("unknown tag");
    }
  }
  if (!in.ok()) return corrupt_batch("it ends too early");
  if (text_size && text_done != *text_size) return corrupt_batch("text that no segment has");
  return {};
}

}  // namespace tokvault
