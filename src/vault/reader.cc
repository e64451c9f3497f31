#include "vault/reader.h"

#include "base/bytes.h"

namespace tokvault {

std::size_t memory_bytes(const Conversation& c) {
  std::size_t bytes = sizeof(Conversation) + c.form.size();
  auto add = [&](const std::vector<Value>& values) {
    for (const Value& v : values) bytes += sizeof(Value) + v.bytes.size() + v.tokens.size() * 4;
  };
  add(c.values);
  for (const Message& m : c.messages) {
    bytes += sizeof(Message) + m.form.size();
    add(m.values);
  }
  return bytes;
}

Status ConversationReader::find_segment(const Source& source, const Tables& tables, SegmentRef ref,
                                        const Source*& holder, std::uint32_t& number) {
  holder = &source;
  number = ref.number();
  if (!ref.is_external()) return {};
  auto& known = located_[source.file()];
  auto it = known.find(ref.number());
  if (it == known.end()) {
    TOKVAULT_ASSIGN(auto found, state_.locate(tenant_, tables.externals[ref.number()], scratch_));
    it = known.emplace(ref.number(), std::move(found)).first;
  }
  holder = it->second.source.get();
  number = it->second.number;
  return {};
}

Status ConversationReader::read_segment(const Source& source, const Tables& tables, Stream stream,
                                        SegmentRef ref, bool as_text, Value& out) {
  const Source* from = nullptr;
  std::uint32_t number = 0;
  TOKVAULT_TRY(find_segment(source, tables, ref, from, number));
  TOKVAULT_ASSIGN(const ByteView code, from->code(stream, number, scratch_));
  if (stream == kByteStream) {
    out.bytes = code;
    return {};
  }
  if (!as_text) return from->decode_tokens(code, out.tokens);
  tokens_.clear();
  TOKVAULT_TRY(from->decode_tokens(code, tokens_));
  auto status = tokenizer_.decode(tokens_, out.bytes);
  if (!status) return Error(Errc::corrupt, std::string(status.error().message()));
  return {};
}

Status ConversationReader::read_values(const Source& source, const Tables& tables,
                                       std::uint32_t form, const SegmentRef* refs, bool as_tokens,
                                       std::string& form_out, std::vector<Value>& values) {
  const FormInfo& info = tables.form_infos[form];
  form_out = tables.forms[form];
  if (info.ref_count() == 0) return {};
  Value inline_values;
  std::size_t next = 0;
  if (info.has_inline) {
    TOKVAULT_TRY(read_segment(source, tables, kByteStream, refs[0], false, inline_values));
    next = 1;
  }
  ByteReader in(inline_values.bytes);
  for (char& c : form_out) {
    if (!is_value_hole(c)) continue;
    const auto hole = static_cast<Hole>(c);
    Value& value = values.emplace_back();
    if (hole == Hole::string || hole == Hole::scalar) {
      value.bytes = in.sized();
      continue;
    }
    const bool as_text = hole == Hole::text && !as_tokens;
    if (hole == Hole::text && as_tokens) c = static_cast<char>(Hole::tokens);
    TOKVAULT_TRY(read_segment(source, tables, info.stream_of(next), refs[next], as_text, value));
    ++next;
  }
  if (!in.ok() || !in.at_end()) {
    return Error(Errc::corrupt, source.name() + ": values do not fit their form");
  }
  return {};
}

Result<Conversation> ConversationReader::read(const Source& source, const Tables& tables,
                                              std::uint32_t number, bool as_tokens) {
  const Row& row = tables.rows[number];
  Conversation out;
  out.id = tables.ids[number];
  out.model = tables.models[row.model];
  out.application = tables.applications[row.application];
  out.time_ms = row.time_ms;
  auto with_id = [&](Error e) { return std::move(e).with("conversation " + out.id); };
  auto status =
      read_values(source, tables, row.form, tables.row_refs(row), as_tokens, out.form, out.values);
  if (!status) return with_id(std::move(status).error());
  const auto path = tables.path(row);
  out.messages.resize(path.size());
  for (std::size_t i = 0; i < path.size(); ++i) {
    const Node& node = tables.nodes[path[i]];
    Message& m = out.messages[i];
    status =
        read_values(source, tables, node.form, tables.node_refs(node), as_tokens, m.form, m.values);
    if (!status) return with_id(std::move(status).error());
  }
  return out;
}

Status ConversationReader::visit_texts(const Source& source, const Tables& tables,
                                       std::uint32_t row, const TextVisit& visit) {
  for (const std::uint32_t at : tables.path(tables.rows[row])) {
    const Node& node = tables.nodes[at];
    const FormInfo& info = tables.form_infos[node.form];
    const SegmentRef* const refs = tables.node_refs(node);
    for (std::size_t i = 0; i < info.ref_count(); ++i) {
      if (info.stream_of(i) != kTokenStream) continue;
      const Source* holder = nullptr;
      std::uint32_t number = 0;
      TOKVAULT_TRY(find_segment(source, tables, refs[i], holder, number));
      TOKVAULT_TRY(visit(*holder, number));
    }
  }
  return {};
}

Status ConversationReader::read_tokens(const Source& source, std::uint32_t number,
                                       std::vector<Token>& tokens) {
  TOKVAULT_ASSIGN(const ByteView code, source.code(kTokenStream, number, scratch_));
  tokens.clear();
  return source.decode_tokens(code, tokens);
}

}  // namespace tokvault
