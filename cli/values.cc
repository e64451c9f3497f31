#include "values.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "output.h"

namespace tokvault::cli {

Result<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t v = 0;
  const char* const end = text.data() + text.size();
  const auto [after, failed] = std::from_chars(text.data(), end, v);
  std::string_view unit(after, static_cast<std::size_t>(end - after));
  int shift = -1;
  if (unit.empty() || unit == "B") shift = 0;
  for (std::size_t i = 0; i < 4 && !unit.empty(); ++i) {
    const std::string_view rest = unit.substr(1);
    const bool is_unit = unit[0] == "KMGT"[i] || unit[0] == "kmgt"[i];
    if (is_unit && (rest.empty() || rest == "B" || rest == "iB")) {
      shift = 10 * (static_cast<int>(i) + 1);
    }
  }
  if (failed != std::errc() || shift < 0 || (v << shift) >> shift != v) {
    return Error(Errc::invalid, in_quotes(text) + " is not a size (1000, 64K, 64M or 1G)");
  }
  return v << shift;
}

Result<std::uint64_t> parse_number(std::string_view text, std::uint64_t max) {
  std::uint64_t v = 0;
  const char* const end = text.data() + text.size();
  const auto [after, failed] = std::from_chars(text.data(), end, v);
  if (failed == std::errc::invalid_argument || after != end) {
    return Error(Errc::invalid, in_quotes(text) + " is not a number");
  }
  if (failed != std::errc() || v > max) {
    return Error(Errc::invalid, in_quotes(text) + " is more than " + std::to_string(max));
  }
  return v;
}

Result<double> parse_fraction(std::string_view text) {
  double v = 0;
  const char* const end = text.data() + text.size();
  const auto [after, failed] = std::from_chars(text.data(), end, v, std::chars_format::fixed);
  if (failed != std::errc() || after != end || !(v >= 0 && v <= 1)) {
    return Error(Errc::invalid, in_quotes(text) + " is not a number from 0 to 1");
  }
  return v;
}

namespace {

bool is_number(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return '0' <= c && c <= '9'; });
}

// A time as parse_time_ms() reads it, or YYYY for when that begins. Another number below 100000000
// (of seconds: 1973) is refused, because it is more likely a date in another form.
Result<std::int64_t> parse_moment_ms(std::string_view text) {
  if (text.size() == 4 && is_number(text)) return parse_time_ms(std::string(text) + "-01-01");
  const bool is_negative = text.starts_with('-');
  if (is_number(text.substr(is_negative ? 1 : 0))) {
    const auto v = parse_number(text, INT64_MAX);
    if (is_negative || (v && *v < 100000000)) {
      return Error(Errc::invalid, in_quotes(text) +
                                      " is too small for seconds since 1970; a date is written "
                                      "2026, 2026-11 or 2026-11-21");
    }
    return parse_time_ms(text);
  }
  auto moment = parse_time_ms(text);
  if (moment) return moment;
  return Error(Errc::invalid, in_quotes(text) +
                                  " is neither a time (2026-11-21, "
                                  "2026-11-21T10:00Z, or seconds or milliseconds "
                                  "since 1970) nor an age (90m, 36h, 7d, 8w)");
}

}  // namespace

Result<std::int64_t> parse_past_ms(std::string_view text) {
  constexpr std::string_view kUnits = "mhdw";
  constexpr std::int64_t kMinutes[] = {1, 60, 24 * 60, 7 * 24 * 60};
  const std::size_t unit = text.empty() ? kUnits.npos : kUnits.find(text.back());
  const std::string_view count_text = text.substr(0, text.size() - (unit == kUnits.npos ? 0 : 1));
  if (unit == kUnits.npos || !is_number(count_text)) return parse_moment_ms(text);
  TOKVAULT_ASSIGN(const std::uint64_t count, parse_number(count_text, 1'000'000));
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count() -
         static_cast<std::int64_t>(count) * kMinutes[unit] * 60'000;
}

bool is_text(std::string_view text) {
  // The library takes surrogates, which JSON may have alone, in bytes of their own for text.
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    if (text[i] == '\xed' && static_cast<unsigned char>(text[i + 1]) >= 0xa0) return false;
  }
  std::string json;
  return static_cast<bool>(append_json_string(text, json));
}

std::string format_count(std::uint64_t count) {
  std::string digits = std::to_string(count);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ',');
  return digits;
}

std::string format_counted(std::uint64_t count, std::string_view noun) {
  std::string out = format_count(count) + " ";
  out += noun;
  return count == 1 ? out : out + "s";
}

std::string format_rate(double per_second) {
  char text[32];
  const int decimals = per_second >= 100 ? 0 : per_second >= 10 ? 1 : 2;
  std::snprintf(text, sizeof text, "%.*f", decimals, per_second);
  return text;
}

std::string format_bytes(std::uint64_t bytes) {
  if (bytes < 1000) return std::to_string(bytes) + " B";
  double v = static_cast<double>(bytes) / 1000;
  const char* unit = "KB";
  for (const char* next : {"MB", "GB", "TB", "PB", "EB"}) {
    if (v < 999.5) break;
    v /= 1000;
    unit = next;
  }
  return format_rate(v) + " " + unit;
}

std::string format_percent(double part, double whole) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", whole > 0 ? 100 * part / whole : 0.0);
  return text;
}

namespace {

// The size of the UTF-8 character at the beginning of a text; 0 if there is none.
std::size_t character_size(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return 1;
  const std::size_t size = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  return size <= text.size() && is_text(text.substr(0, size)) ? size : 0;
}

// Escapes what is no character, and control characters except those in `kept`. Those from 128 to
// 159 do to some terminals what the first 32 do.
std::string escaped(std::string_view text, std::string_view kept) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  while (!text.empty()) {
    const std::size_t size = character_size(text);
    const std::string_view character = text.substr(0, std::max<std::size_t>(size, 1));
    text.remove_prefix(character.size());
    const auto byte = static_cast<unsigned char>(character[0]);
    const bool is_control =
        size == 0 || byte < 0x20 || byte == 0x7f || (byte == 0xc2 && character[1] < '\xa0');
    if (!is_control || kept.find(character[0]) != std::string_view::npos) {
      out += character;
    } else if (character == "\n") {
      out += "\\n";
    } else if (character == "\t") {
      out += "\\t";
    } else {
      for (char c : character) {
        out += "\\x";
        out += kDigits[static_cast<unsigned char>(c) >> 4];
        out += kDigits[static_cast<unsigned char>(c) & 15];
      }
    }
  }
  return out;
}

}  // namespace

std::string printable(std::string_view text) { return escaped(text, ""); }

std::string printable_text(std::string_view text) { return escaped(text, "\n\t"); }

std::string to_hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::string in_quotes(std::string_view text) {
  std::string out("\"");
  return out.append(printable(text)).append("\"");
}

Result<std::string> read_all(const std::string& path) {
  const bool is_file = path != "-";
  const bool is_typed = !is_file && ::isatty(STDIN_FILENO) == 1;
  if (is_typed) allow_progress(false);
  std::ifstream file;
  std::istream& in = is_file ? file : std::cin;
  if (is_file) {
    std::error_code failed;
    if (std::filesystem::is_directory(path, failed)) {
      return Error(Errc::invalid, path + " is a folder, not a file");
    }
    file.open(path, std::ios::binary);
    if (!file) {
      return std::filesystem::exists(path, failed) ? Error(Errc::denied, "cannot read " + path)
                                                   : Error(Errc::not_found, "no file " + path);
    }
  }
  std::string all;
  char part[1 << 16];
  while (in.read(part, sizeof part), in.gcount() > 0) {
    all.append(part, static_cast<std::size_t>(in.gcount()));
  }
  if (is_typed) allow_progress(true);
  if (in.bad()) {
    return Error(Errc::io, "cannot read " + (is_file ? path : std::string("standard input")));
  }
  return all;
}

namespace {

// Where a path lies that need not be there.
enum class Lies : std::uint8_t { elsewhere, inside, same };
Lies place_of(const std::string& name, const std::string& folder_name) {
  std::error_code failed;
  const std::filesystem::path folder = std::filesystem::canonical(folder_name, failed);
  if (failed) return Lies::elsewhere;  // it is not there, and so nothing in it
  const std::filesystem::path path = std::filesystem::weakly_canonical(name, failed);
  if (failed) return Lies::elsewhere;  // cannot be written either
  const auto where = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  if (where.first != folder.end()) return Lies::elsewhere;
  return where.second == path.end() ? Lies::same : Lies::inside;
}

}  // namespace

Status folder_outside_of(const std::string& folder_name, const std::string& folder) {
  const Lies lies = place_of(folder, folder_name);
  if (lies == Lies::elsewhere) return {};
  const std::string why =
      lies == Lies::inside ? "it is inside " + folder_name : "it is what is exported from";
  return Error(Errc::invalid, "cannot write into " + folder + ": " + why);
}

Status outside_of(const std::string& folder_name, const std::string& file) {
  if (file.empty() || file == "-") return {};
  if (place_of(file, folder_name) != Lies::inside) return {};
  return Error(Errc::invalid, "cannot write " + file + ": it is inside " + folder_name);
}

std::string join_tokens(const std::vector<Token>& tokens, char separator) {
  std::string out;
  char digits[16];
  for (Token token : tokens) {
    if (!out.empty()) out += separator;
    out.append(digits, std::to_chars(digits, digits + sizeof digits, token).ptr);
  }
  return out;
}

Result<std::vector<Token>> parse_tokens(std::string_view text) {
  constexpr std::string_view kBetween = " \t\r\n,[]";
  std::vector<Token> tokens;
  std::size_t at = 0;
  while ((at = text.find_first_not_of(kBetween, at)) != std::string_view::npos) {
    const std::size_t end = std::min(text.find_first_of(kBetween, at), text.size());
    Token token = 0;
    const auto [after, failed] = std::from_chars(text.data() + at, text.data() + end, token);
    if (failed != std::errc() || after != text.data() + end) {
      const std::string_view shown = text.substr(at, std::min<std::size_t>(end - at, 40));
      return Error(Errc::invalid, in_quotes(shown) + " is not a token id");
    }
    tokens.push_back(token);
    at = end;
  }
  return tokens;
}

}  // namespace tokvault::cli
