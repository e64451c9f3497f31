// From JSON text to conversations: one pass over a line.
//
// What becomes a hole is decided by key and size alone (append_string_value), never by what was
// seen before, so that the same message has the same form wherever it stands.
#include <charconv>
#include <cmath>
#include <cstring>
#include <deque>
#include <unordered_set>

#include "base/clock.h"
#include "interchange/form.h"
#include "interchange/json_text.h"
#include "interchange/time_text.h"
#include "tokvault/interchange.h"

namespace tokvault {
namespace {

// Arrays of at least so many numbers are one value.
constexpr std::size_t kNumbersMin = 8;
// Objects with more keys than this are checked for duplicates with a hash table.
constexpr std::size_t kLinearKeysMax = 16;
// The count of an array whose bytes are not a whole number of elements.
constexpr std::size_t kBrokenCount = std::string::npos;

// The text of an integer in [0, 2^32) without sign, exponent or leading zero.
bool parse_token(std::string_view text, Token& token) {
  if (text.empty() || text.size() > 10 || (text[0] == '0' && text.size() > 1)) return false;
  std::uint64_t v = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    v = v * 10 + static_cast<std::uint64_t>(c - '0');
  }
  token = static_cast<Token>(v);
  return v <= 0xffffffffu;
}

// Where values go: the form and values of a message or of a conversation.
struct Sink {
  std::string& form;
  std::vector<Value>& values;

  void hole(Hole hole, Value value) {
    append_hole(hole, form);
    values.push_back(std::move(value));
  }
  void hole_bytes(Hole hole_kind, std::string_view bytes) {
    hole(hole_kind, Value{std::string(bytes), {}});
  }
};

// A field that may be the time of the conversation.
struct TimeField {
  int rank = 0;  // of its key; 0 is preferred
  std::int64_t time_ms = 0;
  Hole hole = Hole::scalar;     // time_s or time_ms if exactly that can be written back
  std::size_t form_offset = 0;  // of its hole
  std::size_t value_index = 0;
};

int time_rank(std::string_view key) {
  if (key == "created") return 0;
  if (key == "created_at") return 1;
  if (key == "timestamp") return 2;
  return -1;
}

}  // namespace

struct JsonReader::Impl {
  Result<Conversation> conversation(std::string_view line);
  Result<Message> message(std::string_view json);

 private:
  Status begin(std::string_view text);
  Status end_of_text();
  bool fail(std::string why);
  Error error() const;

  void skip() { p_ = json::skip_space(p_, end_); }
  bool at(char c) const { return p_ != end_ && *p_ == c; }
  // Fails if a conversation has more values than it may have, these being the last of them.
  bool count(const std::vector<Value>& values);
  bool string(std::string_view& text);
  bool value(Sink sink, KeyKind kind, int depth);
  bool array(Sink sink, KeyKind kind, int depth);
  enum class Numbers { no, yes };
  Numbers number_array(Sink sink, bool any_count);
  template <class Member>
  bool object(std::string& form, int depth, Member&& member);
  bool add_key(std::string_view key, std::size_t first,
               std::optional<std::unordered_set<std::string_view>>& seen);

  // `has_arrays`: `token_arrays` may be such, and is not JSON like any other.
  bool read_message(Message& message, int depth, bool has_arrays = true);
  bool token_arrays(Sink sink, int depth, std::vector<std::pair<std::string, std::size_t>>& counts);
  bool read_conversation(Conversation& conversation);
  bool messages(Conversation& conversation);
  bool named_string(Sink sink, Hole hole, std::string_view key, std::string& member);
  bool id_field(Sink sink, std::string& id);
  bool time_field(Sink sink, int rank, std::optional<TimeField>& time);
  static void set_time(const TimeField& field, Conversation& conversation);

  const char* begin_ = nullptr;
  const char* p_ = nullptr;
  const char* end_ = nullptr;
  std::string error_;
  const char* error_at_ = nullptr;
  int open_ = 0;  // objects

  std::unique_ptr<char[]> scratch_;
  std::size_t scratch_size_ = 0;
  std::vector<std::string_view> keys_;    // of all objects that are open
  std::deque<std::string> escaped_keys_;  // what keys_ points to where the input has escapes
  std::vector<Token> tokens_;
  std::size_t message_values_ = 0;  // of the messages that were read
};

Status JsonReader::Impl::begin(std::string_view text) {
  begin_ = p_ = text.data();
  end_ = p_ + text.size();
  error_.clear();
  open_ = 0;
  keys_.clear();
  escaped_keys_.clear();
  message_values_ = 0;
  if (!json::is_utf8(text)) return Error(Errc::invalid, "not valid UTF-8");
  if (scratch_size_ < text.size() + 8) {
    scratch_size_ = text.size() + text.size() / 4 + 4096;
    scratch_ = std::make_unique_for_overwrite<char[]>(scratch_size_);
  }
  skip();
  if (at('[')) {
    return Error(Errc::invalid, "an array, where an object is expected: jq -c '.[]'");
  }
  if (!at('{')) return Error(Errc::invalid, "not a JSON object");
  return {};
}

Status JsonReader::Impl::end_of_text() {
  skip();
  if (p_ == end_) return {};
  fail("something follows the object");
  return error();
}

bool JsonReader::Impl::fail(std::string why) {
  error_ = std::move(why);
  error_at_ = p_;
  return false;
}

Error JsonReader::Impl::error() const {
  // Most often one that goes on in the next lines, for people.
  if (open_ > 0 && error_at_ == end_) {
    return Error(Errc::invalid,
                 "the object does not end on this line: one object a line (jq -c .)");
  }
  if (error_at_ == nullptr) return Error(Errc::invalid, error_);
  return Error(Errc::invalid, error_ + ", at byte " + std::to_string(error_at_ - begin_ + 1));
}

bool JsonReader::Impl::count(const std::vector<Value>& values) {
  if (message_values_ + values.size() <= kValuesMax) return true;
  return fail("a conversation has at most " + std::to_string(kValuesMax) + " values");
}

// At a quote. `text` lives until the next string is read.
bool JsonReader::Impl::string(std::string_view& text) {
  const char* why = nullptr;
  const char* const after = json::scan_string(p_ + 1, end_, scratch_.get(), text, why);
  if (after == nullptr) return fail(why);
  p_ = after;
  return true;
}

bool JsonReader::Impl::value(Sink sink, KeyKind kind, int depth) {
  if (!count(sink.values)) return false;
  skip();
  if (p_ == end_) return fail("the text ends too early");
  switch (*p_) {
    case '"': {
      std::string_view text;
      if (!string(text)) return false;
      append_string_value(kind, text, sink.form, sink.values);
      return true;
    }
    case '{':
      return object(sink.form, depth + 1,
                    [&](std::string_view key) { return value(sink, key_kind(key), depth + 1); });
    case '[':
      if (number_array(sink, false) == Numbers::yes) return true;
      return array(sink, kind, depth + 1);
    default:
      break;
  }
  if (const char* const after = json::scan_number(p_, end_); after != nullptr) {
    sink.hole_bytes(Hole::scalar, {p_, static_cast<std::size_t>(after - p_)});
    p_ = after;
    return true;
  }
  const std::string_view literal = json::scan_literal(p_, end_);
  if (literal.empty()) return fail("not a JSON value");
  sink.form.append(literal);
  p_ += literal.size();
  return true;
}

// At a bracket.
bool JsonReader::Impl::array(Sink sink, KeyKind kind, int depth) {
  if (depth > json::kDepthMax) return fail("nested too deeply");
  ++p_;
  sink.form.push_back('[');
  skip();
  if (at(']')) {
    ++p_;
    sink.form.push_back(']');
    return true;
  }
  while (true) {
    if (!value(sink, kind, depth)) return false;
    skip();
    if (at(',')) {
      ++p_;
      sink.form.push_back(',');
    } else if (at(']')) {
      ++p_;
      sink.form.push_back(']');
      return true;
    } else {
      return fail("expected , or ] in an array");
    }
  }
}

// At a bracket: takes an array of numbers that is to be one value. Otherwise nothing is consumed.
JsonReader::Impl::Numbers JsonReader::Impl::number_array(Sink sink, bool any_count) {
  const char* const start = p_;
  const char* p = json::skip_space(p_ + 1, end_);
  std::size_t count = 0;
  bool all_tokens = true;
  tokens_.clear();
  while (true) {
    const char* const after = json::scan_number(p, end_);
    if (after == nullptr) return Numbers::no;
    ++count;
    Token token = 0;
    all_tokens = all_tokens && parse_token({p, static_cast<std::size_t>(after - p)}, token);
    if (all_tokens) tokens_.push_back(token);
    p = json::skip_space(after, end_);
    if (p == end_ || (*p != ',' && *p != ']')) return Numbers::no;
    if (*p == ']') break;
    p = json::skip_space(p + 1, end_);
  }
  ++p;
  if (all_tokens && (any_count || count >= kNumbersMin)) {
    sink.hole(Hole::tokens, Value{{}, tokens_});
  } else if (count >= kNumbersMin) {
    Value minified;
    for (const char* q = start; q != p; ++q) {
      if (json::skip_space(q, q + 1) == q) minified.bytes.push_back(*q);
    }
    sink.hole(Hole::json, std::move(minified));
  } else {
    return Numbers::no;
  }
  p_ = p;
  return Numbers::yes;
}

// At a brace. Copies keys to the form; `member(key)` does the same for the value behind each.
template <class Member>
bool JsonReader::Impl::object(std::string& form, int depth, Member&& member) {
  if (depth > json::kDepthMax) return fail("nested too deeply");
  ++p_;
  ++open_;
  form.push_back('{');
  skip();
  if (at('}')) {
    ++p_;
    --open_;
    form.push_back('}');
    return true;
  }
  const std::size_t first_key = keys_.size();
  std::optional<std::unordered_set<std::string_view>> seen;
  while (true) {
    if (!at('"')) return fail("expected a key");
    const char* const start = p_;
    std::string_view key;
    if (!string(key)) return false;
    if (key.data() != start + 1) key = escaped_keys_.emplace_back(key);
    if (!add_key(key, first_key, seen)) return false;
    if (key.data() == start + 1) {
      form.append(start, p_);
    } else {
      json::append_string(key, form);
    }
    skip();
    if (!at(':')) return fail("expected : after a key");
    ++p_;
    form.push_back(':');
    if (!member(key)) return false;
    skip();
    if (at('}')) break;
    if (!at(',')) return fail("expected , or } in an object");
    ++p_;
    form.push_back(',');
    skip();
  }
  ++p_;
  --open_;
  form.push_back('}');
  keys_.resize(first_key);
  return true;
}

bool JsonReader::Impl::add_key(std::string_view key, std::size_t first,
                               std::optional<std::unordered_set<std::string_view>>& seen) {
  bool is_new = true;
  if (seen) {
    is_new = seen->insert(key).second;
  } else {
    for (std::size_t i = first; i < keys_.size() && is_new; ++i) is_new = keys_[i] != key;
    keys_.push_back(key);
    if (keys_.size() - first > kLinearKeysMax) {
      seen.emplace(keys_.begin() + static_cast<std::ptrdiff_t>(first), keys_.end());
    }
  }
  if (is_new) return true;
  std::string name;
  json::append_string(key.substr(0, 200), name);
  return fail("the key " + name + " stands twice in an object");
}

bool JsonReader::Impl::read_message(Message& message, int depth, bool has_arrays) {
  const char* const begin = p_;
  const Sink sink{message.form, message.values};
  std::optional<std::size_t> content_tokens;
  std::vector<std::pair<std::string, std::size_t>> counts;  // of token arrays, by name
  const bool ok = object(message.form, depth, [&](std::string_view key) {
    if (key == "content") {
      skip();
      const std::size_t start = message.form.size();
      if (at('[') && number_array(sink, true) == Numbers::yes) {
        if (message.form.back() == static_cast<char>(Hole::tokens)) {
          content_tokens = message.values.back().tokens.size();
        }
        return true;
      }
      if (!value(sink, KeyKind::text, depth)) return false;
      if (std::string_view(message.form).substr(start) == "[]") content_tokens = 0;
      return true;
    }
    if (key == "token_arrays") {
      skip();
      if (has_arrays && at('{') && token_arrays(sink, depth + 1, counts)) return true;
      counts.clear();
    }
    return value(sink, key_kind(key), depth);
  });
  if (!ok) return false;
  if (!content_tokens && !counts.empty()) {
    // They are of no token ids, wherever the content stands: then they are JSON like any other.
    p_ = begin;
    message = Message();
    return read_message(message, depth, false);
  }
  for (const auto& [name, count] : counts) {
    if (count == kBrokenCount) {
      return fail("token array \"" + name + "\" ends within an element");
    }
    if (count != *content_tokens) {
      return fail("token array \"" + name + "\" has " + std::to_string(count) + " elements for " +
                  std::to_string(*content_tokens) + " tokens");
    }
  }
  return true;
}

// At a brace: takes an object of token arrays. If it is anything else, nothing is consumed.
bool JsonReader::Impl::token_arrays(Sink sink, int depth,
                                    std::vector<std::pair<std::string, std::size_t>>& counts) {
  const char* const start = p_;
  const std::size_t form_size = sink.form.size();
  const std::size_t value_count = sink.values.size();
  const std::size_t key_count = keys_.size();
  const int open = open_;
  const bool ok = object(sink.form, depth, [&](std::string_view name) {
    skip();
    if (!at('{') || !count(sink.values)) return false;
    std::size_t types = 0;
    return object(sink.form, depth + 1,
                  [&](std::string_view type_name) {
                    const auto type = element_type(type_name);
                    skip();
                    std::string_view text;
                    Value value;
                    if (!type || ++types > 1 || !at('"') || !string(text) ||
                        !json::decode_base64(text, value.bytes)) {
                      return false;
                    }
                    const std::size_t size = element_size(*type);
                    counts.emplace_back(name, value.bytes.size() % size == 0
                                                  ? value.bytes.size() / size
                                                  : kBrokenCount);
                    sink.hole(Hole::binary, std::move(value));
                    return true;
                  }) &&
           types == 1;
  });
  if (ok && !counts.empty()) return true;
  p_ = start;
  sink.form.resize(form_size);
  sink.values.resize(value_count);
  keys_.resize(key_count);
  open_ = open;
  return false;
}

bool JsonReader::Impl::messages(Conversation& conversation) {
  skip();
  if (!at('[')) return fail("messages is not an array");
  ++p_;
  skip();
  if (at(']')) {
    ++p_;
    return true;
  }
  while (true) {
    skip();
    if (!at('{')) return fail("a message is not an object");
    if (conversation.messages.size() == kMessagesMax) {
      return fail("a conversation has at most " + std::to_string(kMessagesMax) + " messages");
    }
    Message& message = conversation.messages.emplace_back();
    if (!read_message(message, 3)) return false;
    if (!count(message.values)) return false;
    message_values_ += message.values.size();
    skip();
    if (at(']')) break;
    if (!at(',')) return fail("expected , or ] in messages");
    ++p_;
  }
  ++p_;
  return true;
}

// A field that is a member of Conversation if it is a string with something in it.
bool JsonReader::Impl::named_string(Sink sink, Hole hole, std::string_view key,
                                    std::string& member) {
  skip();
  if (!at('"')) return value(sink, key_kind(key), 1);
  std::string_view text;
  if (!string(text)) return false;
  if (text.empty()) {
    append_string_value(key_kind(key), text, sink.form, sink.values);
  } else {
    member = text;
    append_hole(hole, sink.form);
  }
  return true;
}

// The id is a string or a number; null and the empty string are none. Anything else would be kept,
// but the conversation could not be found by it, which whoever wrote it expects.
bool JsonReader::Impl::id_field(Sink sink, std::string& id) {
  skip();
  const char* const start = p_;
  const bool is_number = json::scan_number(p_, end_) != nullptr;
  if (!named_string(sink, Hole::id, "id", id)) return false;
  if (is_number) id.assign(start, p_);
  const std::string_view given(start, p_);
  if (!id.empty() || given == "null" || given == "\"\"") return true;
  p_ = start;
  return fail("the id is neither a string nor a number");
}

// Reads a value and notes it if it is a time that is preferred to what was seen before.
bool JsonReader::Impl::time_field(Sink sink, int rank, std::optional<TimeField>& time) {
  skip();
  const char* const start = p_;
  TimeField field{rank, 0, Hole::scalar, sink.form.size(), sink.values.size()};
  if (!value(sink, KeyKind::other, 1)) return false;
  const std::string_view text(start, static_cast<std::size_t>(p_ - start));
  std::optional<std::int64_t> ms;
  if (text[0] == '"') {
    ms = parse_iso8601(text.substr(1, text.size() - 2));
  } else if (text[0] == '-' || (text[0] >= '0' && text[0] <= '9')) {
    std::int64_t integer = 0;
    const auto [after, failed] = std::from_chars(text.data(), text.data() + text.size(), integer);
    if (failed == std::errc() && after == text.data() + text.size()) {
      ms = ms_of_integer(integer);
      if (text != "-0") field.hole = *ms == integer ? Hole::time_ms : Hole::time_s;
    } else {
      double number = 0;
      (void)std::from_chars(text.data(), text.data() + text.size(), number);
      const double exact =
          std::abs(number) >= static_cast<double>(kFirstMs) ? number : number * 1000;
      if (std::abs(exact) < 1e15) ms = std::llround(exact);
    }
  }
  // Zero is what a conversation without a time has.
  if (!ms || *ms == 0 || *ms < kTimeMsMin || *ms > kTimeMsMax) return true;
  field.time_ms = *ms;
  if (!time || rank < time->rank) time = field;
  return true;
}

void JsonReader::Impl::set_time(const TimeField& field, Conversation& conversation) {
  conversation.time_ms = field.time_ms;
  if (field.hole == Hole::scalar) return;
  conversation.form[field.form_offset] = static_cast<char>(field.hole);
  conversation.values.erase(conversation.values.begin() +
                            static_cast<std::ptrdiff_t>(field.value_index));
}

bool JsonReader::Impl::read_conversation(Conversation& conversation) {
  const Sink sink{conversation.form, conversation.values};
  std::optional<TimeField> time;
  bool has_messages = false;
  const bool ok = object(conversation.form, 1, [&](std::string_view key) {
    if (key == "messages") {
      has_messages = true;
      append_hole(Hole::messages, conversation.form);
      return messages(conversation);
    }
    if (key == "model") return named_string(sink, Hole::model, key, conversation.model);
    if (key == "application") {
      return named_string(sink, Hole::application, key, conversation.application);
    }
    if (key == "id") return id_field(sink, conversation.id);
    if (const int rank = time_rank(key); rank >= 0) return time_field(sink, rank, time);
    return value(sink, key_kind(key), 1);
  });
  if (!ok) return false;
  if (!has_messages) {
    fail(R"(the object has no "messages", such as [{"role":"user","content":"Hello"}])");
    error_at_ = nullptr;  // nowhere
    return false;
  }
  if (!count(conversation.values)) return false;
  if (time) set_time(*time, conversation);
  return true;
}

Result<Conversation> JsonReader::Impl::conversation(std::string_view line) {
  constexpr std::size_t kKeptBytes = 4u << 20;
  TOKVAULT_TRY(begin(line));
  Conversation conversation;
  if (!read_conversation(conversation)) return error();
  TOKVAULT_TRY(end_of_text());
  if (scratch_size_ > kKeptBytes) {
    scratch_.reset();
    scratch_size_ = 0;
  }
  return conversation;
}

Result<Message> JsonReader::Impl::message(std::string_view json) {
  TOKVAULT_TRY(begin(json));
  Message message;
  // As deep as in a conversation, so that what is read here can be read there.
  if (!read_message(message, 3)) return error();
  TOKVAULT_TRY(end_of_text());
  return message;
}

JsonReader::JsonReader() : impl_(std::make_unique<Impl>()) {}
JsonReader::~JsonReader() = default;
JsonReader::JsonReader(JsonReader&&) noexcept = default;
JsonReader& JsonReader::operator=(JsonReader&&) noexcept = default;

Result<Conversation> JsonReader::conversation(std::string_view line) {
  return impl_->conversation(line);
}
Result<Message> JsonReader::message(std::string_view json) { return impl_->message(json); }

}  // namespace tokvault
