#include "interchange/form.h"

#include <algorithm>
#include <unordered_set>

#include "interchange/json_text.h"

namespace tokvault {
namespace {

// A string of up to so many bytes stays in the form where its key says that it repeats.
constexpr std::size_t kInlineBytesMax = 64;
// Any other string is worth a tokenizer from here on, unless it is letters and digits without
// words.
constexpr std::size_t kTextBytesMin = 32;
// Such a string is a segment of its own from here on.
constexpr std::size_t kOpaqueBytesMin = 64;

// Whether a string says nothing to a tokenizer: base64, in a data URL or by itself, hexadecimal
// digits, ids, signatures. It finds tokens of one or two letters there, which take an eighth more
// than the letters do. Told by what they have of digits, and of large and small letters.
bool is_opaque(std::string_view text) {
  constexpr std::string_view kBase64 = ";base64,";
  constexpr std::size_t kMediaTypeBytesMax = 128;
  std::size_t data = 0;  // where that of a data URL begins
  if (text.starts_with("data:")) {
    data = text.substr(0, kMediaTypeBytesMax).find(kBase64);
    if (data == std::string_view::npos) return false;
    data += kBase64.size();
  }
  std::size_t digits = 0;
  std::size_t large = 0;
  std::size_t small = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c >= '0' && c <= '9') {
      ++digits;
    } else if (c >= 'A' && c <= 'Z') {
      ++large;
    } else if (c >= 'a' && c <= 'z') {
      ++small;
    } else if (std::string_view("+/-_=.:").find(c) == std::string_view::npos &&
               (i >= data || (c != ';' && c != ','))) {
      return false;
    }
  }
  const std::size_t size = text.size();
  return data > 0 || digits >= size / 5 ||
         (digits >= size / 16 && large >= size / 8 && small >= size / 8);
}

// Reads a form once, checking all of it.
class FormWalker {
 public:
  FormWalker(std::string_view form, std::span<const Value> values, bool in_conversation,
             std::function<void(const FormItem&)> visit, int depth = 0)
      : begin_(form.data()),
        p_(form.data()),
        end_(form.data() + form.size()),
        values_(values),
        in_conversation_(in_conversation),
        visit_(std::move(visit)),
        depth_(depth) {}

  Status run() {
    if (!at('{')) fail("not an object");
    if (is_one_value() && next_ != values_.size()) fail("more values than holes");
    if (error_ == nullptr) return {};
    return Error(Errc::invalid, std::string("malformed form: ") + error_ + ", at byte " +
                                    std::to_string(p_ - begin_ + 1));
  }

 private:
  bool fail(const char* why) {
    error_ = why;
    return false;
  }
  bool at(char c) const { return p_ != end_ && *p_ == c; }

  bool is_one_value() {
    if (!json::is_utf8({begin_, static_cast<std::size_t>(end_ - begin_)})) {
      return fail("not valid UTF-8");
    }
    if (error_ != nullptr || !value(depth_)) return false;
    return p_ == end_ || fail("something follows the value");
  }

  // The raw text of the string at p_, without quotes.
  bool string(std::string_view& raw) {
    const char* p = p_ + 1;
    while (true) {
      p = json::find_special(p, end_);
      if (p == end_ || static_cast<unsigned char>(*p) < 0x20) return fail("an unfinished string");
      if (*p == '"') break;
      if (end_ - p < 2) return fail("an unfinished escape");
      has_escapes_ = true;
      p += 2;
    }
    raw = std::string_view(p_ + 1, static_cast<std::size_t>(p - p_ - 1));
    if (has_escapes_) {
      has_escapes_ = false;
      if (!is_canonical(raw)) return fail("a string that is not escaped as it must be");
    }
    p_ = p + 1;
    return true;
  }

  // One way to write each string, so that equal keys and equal messages are equal bytes.
  static bool is_canonical(std::string_view raw) {
    std::string quoted("\"");
    quoted.append(raw).append("\"");
    std::string scratch(quoted.size() + 8, '\0');
    std::string_view text;
    const char* why = nullptr;
    std::string again;
    return json::scan_string(quoted.data() + 1, quoted.data() + quoted.size(), scratch.data(), text,
                             why) != nullptr &&
           json::append_string(text, again) && again == quoted;
  }

  bool object(int depth) {
    if (depth > json::kDepthMax + 2) return fail("nested too deeply");
    ++p_;
    if (at('}')) return ++p_, true;
    std::unordered_set<std::string_view> many;
    std::vector<std::string_view> few;
    while (true) {
      std::string_view key;
      if (!at('"')) return fail("expected a key");
      if (!string(key)) return false;
      bool is_new = true;
      if (few.size() < 16) {
        is_new = std::find(few.begin(), few.end(), key) == few.end();
        few.push_back(key);
      } else {
        if (many.empty()) many.insert(few.begin(), few.end());
        is_new = many.insert(key).second;
      }
      if (!is_new) return fail("a key stands twice in an object");
      if (!at(':')) return fail("expected : after a key");
      ++p_;
      path_.push_back({false, key});
      if (!value(depth)) return false;
      path_.pop_back();
      if (at('}')) return ++p_, true;
      if (!at(',')) return fail("expected , or } in an object");
      ++p_;
    }
  }

  bool array(int depth) {
    if (depth > json::kDepthMax + 2) return fail("nested too deeply");
    ++p_;
    if (at(']')) return ++p_, true;
    path_.push_back({true, {}});
    while (true) {
      if (!value(depth)) return false;
      if (at(']')) break;
      if (!at(',')) return fail("expected , or ] in an array");
      ++p_;
    }
    path_.pop_back();
    return ++p_, true;
  }

  bool value(int depth) {
    if (p_ == end_) return fail("ends too early");
    if (*p_ == '{') return object(depth + 1);
    if (*p_ == '[') return array(depth + 1);
    FormItem item;
    const char* const start = p_;
    std::string_view text;
    if (static_cast<unsigned char>(*p_) < 0x20) {
      item.hole = *p_;
      if (!hole(item)) return false;
      ++p_;
    } else if (*p_ == '"') {
      if (!string(text)) return false;
    } else if (const auto literal = json::scan_literal(p_, end_); !literal.empty()) {
      p_ += literal.size();
    } else if (const char* const after = json::scan_number(p_, end_); after != nullptr) {
      p_ = after;
    } else {
      return fail("not a JSON value");
    }
    if (item.hole == 0) item.raw = std::string_view(start, static_cast<std::size_t>(p_ - start));
    item.path = path_;
    if (visit_) visit_(item);
    return true;
  }

  bool hole(FormItem& item) {
    if (!is_value_hole(item.hole)) {
      const bool known = item.hole >= static_cast<char>(Hole::messages) &&
                         item.hole <= static_cast<char>(Hole::time_ms);
      if (!known) return fail("an unknown hole");
      if (!in_conversation_) return fail("a hole that only a conversation has");
      if (path_.size() != 1) return fail("a hole that must stand in the outermost object");
      return true;
    }
    if (next_ == values_.size()) return fail("more holes than values");
    const Value& value = values_[next_++];
    item.value = &value;
    const bool has_tokens = item.hole == static_cast<char>(Hole::tokens);
    if (has_tokens ? !value.bytes.empty() : !value.tokens.empty()) {
      return fail("bytes where there must be tokens, or tokens where there must be bytes");
    }
    if (item.hole == static_cast<char>(Hole::scalar)) {
      const char* const begin = value.bytes.data();
      const char* const end = begin + value.bytes.size();
      if (json::scan_number(begin, end) != end) return fail("a value that is not a number");
    }
    if (item.hole == static_cast<char>(Hole::json) &&
        !is_json(value.bytes, static_cast<int>(path_.size()))) {
      return fail("a value that is not minified JSON");
    }
    return true;
  }

  // True for minified JSON of any kind that may stand so deep.
  static bool is_json(std::string_view text, int depth) {
    for (char c : text) {
      if (static_cast<unsigned char>(c) < 0x20) return false;  // a hole, or not minified
    }
    return FormWalker(text, {}, false, {}, depth).is_one_value();
  }

  const char* begin_;
  const char* p_;
  const char* end_;
  std::span<const Value> values_;
  bool in_conversation_;
  std::function<void(const FormItem&)> visit_;
  int depth_;  // of what the form stands in
  std::size_t next_ = 0;
  bool has_escapes_ = false;
  const char* error_ = nullptr;
  std::vector<FormItem::Step> path_;
};

}  // namespace

KeyKind key_kind(std::string_view key) {
  switch (key.size()) {
    case 4:
      if (key == "text") return KeyKind::text;
      if (key == "role" || key == "type" || key == "name") return KeyKind::repeats;
      break;
    case 5:
      if (key == "input") return KeyKind::text;
      if (key == "model") return KeyKind::repeats;
      break;
    case 6:
      if (key == "output" || key == "system") return KeyKind::text;
      if (key == "object") return KeyKind::repeats;
      break;
    case 7:
      if (key == "content") return KeyKind::text;
      break;
    case 8:
      if (key == "thinking") return KeyKind::text;
      break;
    case 9:
      if (key == "arguments" || key == "reasoning") return KeyKind::text;
      break;
    case 11:
      if (key == "description") return KeyKind::text;
      break;
    case 13:
      if (key == "finish_reason") return KeyKind::repeats;
      break;
    case 17:
      if (key == "reasoning_content") return KeyKind::text;
      break;
    default:
      break;
  }
  return KeyKind::other;
}

void append_string_value(KeyKind kind, std::string_view text, std::string& form,
                         std::vector<Value>& values) {
  if (kind == KeyKind::repeats && text.size() <= kInlineBytesMax) {
    const std::size_t size = form.size();
    if (json::append_string(text, form)) return;
    form.resize(size);
  }
  Hole hole = kind == KeyKind::text || text.size() >= kTextBytesMin ? Hole::text : Hole::string;
  if (hole == Hole::text && kind == KeyKind::other && is_opaque(text)) {
    hole = text.size() < kOpaqueBytesMin ? Hole::string : Hole::json;
  }
  Value value;
  if (hole == Hole::json) {  // there is nothing to escape, and it may be large
    value.bytes.reserve(text.size() + 2);
    value.bytes.append(1, '"').append(text).append(1, '"');
  } else {
    value.bytes = text;
  }
  append_hole(hole, form);
  values.push_back(std::move(value));
}

std::size_t element_size(TokenArray::Type type) { return type == TokenArray::Type::u8 ? 1 : 4; }

std::string_view element_name(TokenArray::Type type) {
  switch (type) {
    case TokenArray::Type::f32:
      return "f32";
    case TokenArray::Type::i32:
      return "i32";
    default:
      return "u8";
  }
}

std::optional<TokenArray::Type> element_type(std::string_view name) {
  for (auto type : {TokenArray::Type::f32, TokenArray::Type::i32, TokenArray::Type::u8}) {
    if (element_name(type) == name) return type;
  }
  return std::nullopt;
}

std::string default_form(const Conversation& conversation) {
  std::string form = "{";
  const auto member = [&](std::string_view name, Hole hole) {
    form.append(form.size() > 1 ? ",\"" : "\"").append(name).append("\":");
    append_hole(hole, form);
  };
  if (!conversation.id.empty()) member("id", Hole::id);
  if (!conversation.model.empty()) member("model", Hole::model);
  if (!conversation.application.empty()) member("application", Hole::application);
  member("messages", Hole::messages);
  form.push_back('}');
  return form;
}

Status walk_form(std::string_view form, std::span<const Value> values, bool in_conversation,
                 const std::function<void(const FormItem&)>& visit) {
  return FormWalker(form, values, in_conversation, visit).run();
}

}  // namespace tokvault
