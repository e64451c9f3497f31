#include "interchange/json_text.h"

#include <simdjson.h>

#include <array>
#include <cstring>

namespace tokvault::json {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

const char* skip_digits(const char* p, const char* end) {
  while (p != end && is_digit(*p)) ++p;
  return p;
}

// The value of four hex digits at `p`, or -1.
int parse_hex4(const char* p, const char* end) {
  if (end - p < 4) return -1;
  int v = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = p[i];
    int digit = 0;
    if (is_digit(c)) {
      digit = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = c - 'A' + 10;
    } else {
      return -1;
    }
    v = v * 16 + digit;
  }
  return v;
}

bool is_high_surrogate(int c) { return c >= 0xd800 && c < 0xdc00; }
bool is_low_surrogate(int c) { return c >= 0xdc00 && c < 0xe000; }

// Writes a code point, a surrogate like any other of its size.
char* put_code_point(int c, char* out) {
  const auto byte = [](int v) { return static_cast<char>(v); };
  if (c < 0x80) {
    *out++ = byte(c);
  } else if (c < 0x800) {
    *out++ = byte(0xc0 | (c >> 6));
    *out++ = byte(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    *out++ = byte(0xe0 | (c >> 12));
    *out++ = byte(0x80 | ((c >> 6) & 0x3f));
    *out++ = byte(0x80 | (c & 0x3f));
  } else {
    *out++ = byte(0xf0 | (c >> 18));
    *out++ = byte(0x80 | ((c >> 12) & 0x3f));
    *out++ = byte(0x80 | ((c >> 6) & 0x3f));
    *out++ = byte(0x80 | (c & 0x3f));
  }
  return out;
}

// What a one-letter escape stands for; 0 if it is none.
char simple_escape(char c) {
  switch (c) {
    case '"':
    case '\\':
    case '/':
      return c;
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return 0;
  }
}

// Unescapes what follows a backslash. Returns the rest, or nullptr.
const char* unescape_one(const char* p, const char* end, char*& out) {
  if (p == end) return nullptr;
  if (*p != 'u') {
    const char c = simple_escape(*p);
    if (c == 0) return nullptr;
    *out++ = c;
    return p + 1;
  }
  int c = parse_hex4(p + 1, end);
  if (c < 0) return nullptr;
  p += 5;
  if (is_high_surrogate(c) && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
    const int low = parse_hex4(p + 2, end);
    if (is_low_surrogate(low)) {
      c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
      p += 6;
    }
  }
  out = put_code_point(c, out);
  return p;
}

void append_escaped_byte(char c, std::string& out) {
  out.push_back('\\');
  switch (c) {
    case '"':
    case '\\':
      out.push_back(c);
      return;
    case '\b':
      out.push_back('b');
      return;
    case '\f':
      out.push_back('f');
      return;
    case '\n':
      out.push_back('n');
      return;
    case '\r':
      out.push_back('r');
      return;
    case '\t':
      out.push_back('t');
      return;
    default:
      out.append(c < 0x10 ? "u000" : "u001");
      out.push_back("0123456789abcdef"[c & 15]);
      return;
  }
}

// Appends what is UTF-8, without quotes.
void append_escaped(std::string_view text, std::string& out) {
  const char* p = text.data();
  const char* const end = p + text.size();
  while (true) {
    const char* const special = find_special(p, end);
    out.append(p, special);
    if (special == end) return;
    append_escaped_byte(*special, out);
    p = special + 1;
  }
}

// The surrogate whose three bytes `text` begins with, or -1.
int leading_surrogate(std::string_view text) {
  if (text.size() < 3 || text[0] != '\xed') return -1;
  const auto second = static_cast<unsigned char>(text[1]);
  const auto third = static_cast<unsigned char>(text[2]);
  if (second < 0xa0 || second > 0xbf || third < 0x80 || third > 0xbf) return -1;
  return 0xd000 | ((second & 0x3f) << 6) | (third & 0x3f);
}

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<std::uint8_t, 256> make_base64_values() {
  std::array<std::uint8_t, 256> values{};
  values.fill(0xff);
  for (std::size_t i = 0; i < kBase64.size(); ++i) {
    values[static_cast<unsigned char>(kBase64[i])] = static_cast<std::uint8_t>(i);
  }
  return values;
}
constexpr std::array<std::uint8_t, 256> kBase64Values = make_base64_values();

}  // namespace

const char* scan_number(const char* p, const char* end) {
  if (p != end && *p == '-') ++p;
  if (p == end || !is_digit(*p)) return nullptr;
  p = *p == '0' ? p + 1 : skip_digits(p, end);
  if (p != end && *p == '.') {
    const char* const digits = p + 1;
    p = skip_digits(digits, end);
    if (p == digits) return nullptr;
  }
  if (p != end && (*p == 'e' || *p == 'E')) {
    ++p;
    if (p != end && (*p == '+' || *p == '-')) ++p;
    const char* const digits = p;
    p = skip_digits(digits, end);
    if (p == digits) return nullptr;
  }
  return p;
}

std::string_view scan_literal(const char* p, const char* end) {
  const std::string_view rest(p, static_cast<std::size_t>(end - p));
  for (std::string_view literal : {"true", "false", "null"}) {
    if (rest.starts_with(literal)) return literal;
  }
  return {};
}

const char* scan_string(const char* p, const char* end, char* scratch, std::string_view& text,
                        const char*& why) {
  const char* special = find_special(p, end);
  if (special != end && *special == '"') {
    text = std::string_view(p, static_cast<std::size_t>(special - p));
    return special + 1;
  }
  char* out = scratch;
  const std::size_t head = static_cast<std::size_t>(special - p);
  std::memcpy(out, p, head);
  out += head;
  p = special;
  // Here p is at a special byte or at the end.
  while (p != end) {
    if (*p == '"') {
      text = std::string_view(scratch, static_cast<std::size_t>(out - scratch));
      return p + 1;
    }
    if (*p != '\\') {
      why = "a control character in a string";
      return nullptr;
    }
    p = unescape_one(p + 1, end, out);
    if (p == nullptr) {
      why = "a bad escape in a string";
      return nullptr;
    }
    // Copies eight bytes at a time, past what is wanted, and steps by what was plain.
    std::uint64_t marks = 0;
    while (marks == 0 && end - p >= 8) {
      const std::uint64_t x = load_le<std::uint64_t>(p);
      store_le(x, out);
      marks = string_specials(x);
      const int plain = marks == 0 ? 8 : std::countr_zero(marks) / 8;
      p += plain;
      out += plain;
    }
    if (marks == 0) {
      special = find_special(p, end);
      while (p != special) *out++ = *p++;
    }
  }
  why = "a string without an end";
  return nullptr;
}

bool is_utf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

bool append_string(std::string_view text, std::string& out) {
  out.push_back('"');
  if (is_utf8(text)) {
    append_escaped(text, out);
    out.push_back('"');
    return true;
  }
  int before = 0;  // the surrogate directly before, if any
  while (!text.empty()) {
    const int surrogate = leading_surrogate(text);
    if (surrogate >= 0) {
      // Escapes of a high and a low surrogate in a row would be read as one character.
      if (is_high_surrogate(before) && is_low_surrogate(surrogate)) return false;
      before = surrogate;
      static constexpr char kDigits[] = "0123456789abcdef";
      const char escape[] = {'\\',
                             'u',
                             'd',
                             kDigits[(surrogate >> 8) & 15],
                             kDigits[(surrogate >> 4) & 15],
                             kDigits[surrogate & 15]};
      out.append(escape, sizeof escape);
      text.remove_prefix(3);
      continue;
    }
    before = 0;
    // Up to the next byte that may begin a surrogate.
    std::size_t run = text.find('\xed', 1);
    if (run == std::string_view::npos) run = text.size();
    // A character that begins with ED and is no surrogate stays with the run before it.
    while (run < text.size() && leading_surrogate(text.substr(run)) < 0) {
      run = std::min(text.find('\xed', run + 1), text.size());
    }
    if (!is_utf8(text.substr(0, run))) return false;
    append_escaped(text.substr(0, run), out);
    text.remove_prefix(run);
  }
  out.push_back('"');
  return true;
}

bool decode_base64(std::string_view text, std::string& out) {
  out.clear();
  if (text.size() % 4 != 0) return false;
  if (text.empty()) return true;
  std::size_t padding = 0;
  while (padding < 2 && text[text.size() - 1 - padding] == '=') ++padding;
  const std::size_t digits = text.size() - padding;
  out.resize(text.size() / 4 * 3);
  char* to = out.data();
  const auto value = [&](std::size_t i) -> std::uint32_t {
    return i < digits ? kBase64Values[static_cast<unsigned char>(text[i])] : 0;
  };
  for (std::size_t i = 0; i < text.size(); i += 4) {
    const std::uint32_t a = value(i), b = value(i + 1), c = value(i + 2), d = value(i + 3);
    if ((a | b | c | d) > 63) return false;
    const std::uint32_t v = (a << 18) | (b << 12) | (c << 6) | d;
    *to++ = static_cast<char>(v >> 16);
    *to++ = static_cast<char>(v >> 8);
    *to++ = static_cast<char>(v);
  }
  // What padding leaves over must be zero, or two texts would stand for the same bytes.
  for (std::size_t i = 0; i < padding; ++i) {
    if (out.back() != 0) return false;
    out.pop_back();
  }
  return true;
}

void append_base64(std::string_view bytes, std::string& out) {
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t v = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      v = (v << 8) | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      out.push_back(k <= count ? kBase64[(v >> (18 - 6 * k)) & 63] : '=');
    }
  }
}

}  // namespace tokvault::json
