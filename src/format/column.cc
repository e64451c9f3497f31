#include "format/column.h"

#include <algorithm>
#include <charconv>

#include "base/bytes.h"
#include "base/zstd.h"

namespace tokvault {
namespace {

// Part of the on-disk format, never renumber.
enum IntegerEncoding : std::uint8_t {
  kConstant = 0,  // one varint for all
  kPlain = 1,     // varints
  kDelta = 2,     // zigzag varints of the differences, the first from 0
  kBytes = 3,     // one byte each
};
enum StringEncoding : std::uint8_t {
  kLengths = 0,  // integers column of lengths, then the bytes
  kFields = 1,   // differences of fields from the string before
};
enum FieldOp : char {
  kEnd = 0,     // the string ends
  kSame = 1,    // as in the string before
  kNext = 2,    // number one larger than before
  kStep = 3,    // number differs by a zigzag varint
  kNumber = 4,  // number, varint
  kText = 5,    // sized bytes
  kHex = 6,     // lower-case hex of even length: varint of the byte count, bytes
};
constexpr std::uint64_t kColumnBytesMax = std::uint64_t{1} << 30;

Error corrupt_column() { return Error(Errc::corrupt, "damaged column"); }

// --- fields of an id ---------------------------------------------------------------------------

struct Field {
  std::string_view text;
  bool is_number = false;
  std::uint64_t number = 0;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

Field make_field(std::string_view text) {
  Field f{text, false, 0};
  if (text.empty() || text.size() > 18 || !std::all_of(text.begin(), text.end(), is_digit)) {
    return f;
  }
  if (text.size() > 1 && text[0] == '0') return f;  // would not come back with its zeros
  f.is_number = true;
  for (char c : text) f.number = f.number * 10 + static_cast<std::uint64_t>(c - '0');
  return f;
}

bool is_even_hex(std::string_view s) {
  return s.size() >= 4 && s.size() % 2 == 0 && std::all_of(s.begin(), s.end(), [](char c) {
           return is_digit(c) || (c >= 'a' && c <= 'f');
         });
}

// Runs of letters and digits, with the digits at the end of a word apart (unless the word is hex),
// and everything between.
void split_fields(std::string_view s, std::vector<Field>& out) {
  out.clear();
  std::size_t i = 0;
  while (i < s.size()) {
    std::size_t j = i;
    if (is_digit(s[i]) || is_letter(s[i])) {
      while (j < s.size() && is_letter(s[j])) ++j;
      const std::size_t letters_end = j;
      while (j < s.size() && is_digit(s[j])) ++j;
      const bool word_ends = j == s.size() || !(is_digit(s[j]) || is_letter(s[j]));
      if (word_ends && letters_end > i && j > letters_end && !is_even_hex(s.substr(i, j - i))) {
        out.push_back(make_field(s.substr(i, letters_end - i)));
        i = letters_end;
      } else {
        while (j < s.size() && (is_digit(s[j]) || is_letter(s[j]))) ++j;
      }
    } else {
      while (j < s.size() && !is_digit(s[j]) && !is_letter(s[j])) ++j;
    }
    out.push_back(make_field(s.substr(i, j - i)));
    i = j;
  }
}

int nibble(char c) { return is_digit(c) ? c - '0' : c - 'a' + 10; }

// Empty if there are strings of too many fields.
Result<Buffer> encode_fields(const StringTable& strings, int level) {
  Buffer ops, numbers, texts;
  std::vector<Field> fields, before;
  for (std::size_t i = 0; i < strings.size(); ++i) {
    split_fields(strings[i], fields);
    if (fields.size() > kColumnFieldsMax) return Buffer();
    for (std::size_t k = 0; k < fields.size(); ++k) {
      const Field& f = fields[k];
      const Field* b = k < before.size() ? &before[k] : nullptr;
      if (b && b->text == f.text) {
        ops.push_back(kSame);
      } else if (f.is_number && b && b->is_number && f.number == b->number + 1) {
        ops.push_back(kNext);
      } else if (f.is_number && b && b->is_number) {
        ops.push_back(kStep);
        append_varint(numbers, zigzag(static_cast<std::int64_t>(f.number) -
                                      static_cast<std::int64_t>(b->number)));
      } else if (f.is_number && !(b && !b->is_number && is_even_hex(f.text))) {
        ops.push_back(kNumber);
        append_varint(numbers, f.number);
      } else if (is_even_hex(f.text)) {
        ops.push_back(kHex);
        append_varint(numbers, f.text.size() / 2);
        for (std::size_t h = 0; h < f.text.size(); h += 2) {
          texts.push_back(static_cast<char>(nibble(f.text[h]) << 4 | nibble(f.text[h + 1])));
        }
      } else {
        ops.push_back(kText);
        append_varint(numbers, f.text.size());
        texts.append(f.text);
      }
    }
    ops.push_back(kEnd);
    std::swap(fields, before);
  }
  Buffer out;
  for (const Buffer* part : {&ops, &numbers, &texts}) {
    TOKVAULT_ASSIGN(Buffer packed, encode_bytes(*part, level));
    append_varint(out, part->size());
    append_sized(out, packed);
  }
  return out;
}

Status decode_fields(ByteView column, std::uint64_t count, std::uint64_t text_bytes_max,
                     StringTable& out) {
  ByteReader in(column);
  Buffer parts[3];
  // A field has text, and no more bytes of numbers and texts than that but for the varints.
  const std::uint64_t sizes_max[] = {text_bytes_max + count, 2 * text_bytes_max, text_bytes_max};
  for (std::size_t i = 0; i < 3; ++i) {
    const std::uint64_t size = in.varint();
    const ByteView packed = in.sized();
    if (!in.ok() || size > sizes_max[i]) return corrupt_column();
    TOKVAULT_TRY(decode_bytes(packed, size, parts[i]));
  }
  if (!in.at_end()) return corrupt_column();
  const Buffer& ops = parts[0];
  std::size_t next_op = 0;
  ByteReader numbers(parts[1]), texts(parts[2]);
  if (ops.size() < count) return corrupt_column();
  // A field where it stands in `out`. Whether it is a number, and which, is found out when that is
  // asked, if it was not written as one.
  constexpr std::uint64_t kUnknown = ~std::uint64_t{0};
  constexpr std::uint64_t kNone = kUnknown - 1;
  struct Place {
    std::size_t begin = 0;
    std::size_t size = 0;
    std::uint64_t number = kUnknown;
  };
  constexpr std::uint64_t kNumbersEnd = 1'000'000'000'000'000'000;  // 19 digits are no number
  const std::size_t text_end_max = out.bytes() + text_bytes_max;
  std::vector<Place> before, fields;
  auto append_number = [&](std::uint64_t number) {
    char digits[20];
    const char* const end = std::to_chars(digits, digits + sizeof digits, number).ptr;
    out.append({digits, static_cast<std::size_t>(end - digits)});
    return number < kNumbersEnd ? number : kNone;
  };
  auto append_hex = [&](ByteView bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    char digits[64];
    while (!bytes.empty()) {
      const ByteView some = bytes.substr(0, sizeof digits / 2);
      for (std::size_t i = 0; i < some.size(); ++i) {
        const auto byte = static_cast<unsigned char>(some[i]);
        digits[2 * i] = kDigits[byte >> 4];
        digits[2 * i + 1] = kDigits[byte & 15];
      }
      out.append({digits, 2 * some.size()});
      bytes.remove_prefix(some.size());
    }
  };
  out.reserve(out.size() + count, 0);
  for (std::uint64_t i = 0; i < count; ++i) {
    fields.clear();
    for (;;) {
      if (next_op == ops.size()) return corrupt_column();
      const char op = ops[next_op++];
      if (op == kEnd) break;
      const std::size_t k = fields.size();
      Place* const old = k < before.size() ? &before[k] : nullptr;
      if (old == nullptr && op <= kStep) return corrupt_column();
      if (op == kSame) {
        // Those that follow each other are copied together.
        std::size_t end = k + 1;
        while (end < before.size() && next_op < ops.size() && ops[next_op] == kSame) {
          ++end;
          ++next_op;
        }
        const std::size_t shift = out.bytes() - old->begin;
        out.append_again(old->begin, before[end - 1].begin + before[end - 1].size - old->begin);
        if (out.bytes() > text_end_max || end > kColumnFieldsMax) return corrupt_column();
        for (std::size_t same = k; same < end; ++same) {
          fields.push_back({before[same].begin + shift, before[same].size, before[same].number});
        }
        continue;
      }
      Place field{out.bytes()};
      switch (op) {
        case kNext:
        case kStep: {
          if (old->number == kUnknown) {
            const Field f = make_field(out.view(old->begin, old->size));
            old->number = f.is_number ? f.number : kNone;
          }
          if (old->number == kNone) return corrupt_column();
          const std::uint64_t step =
              op == kNext ? 1 : static_cast<std::uint64_t>(numbers.svarint());
          field.number = append_number(old->number + step);
          break;
        }
        case kNumber:
          field.number = append_number(numbers.varint());
          break;
        case kText:
          out.append(texts.bytes(numbers.varint()));
          break;
        case kHex:
          append_hex(texts.bytes(numbers.varint()));
          break;
        default:
          return corrupt_column();
      }
      field.size = out.bytes() - field.begin;
      if (!numbers.ok() || !texts.ok() || out.bytes() > text_end_max ||
          fields.size() == kColumnFieldsMax) {
        return corrupt_column();
      }
      fields.push_back(field);
    }
    out.finish();
    std::swap(before, fields);
  }
  if (next_op != ops.size() || !numbers.at_end() || !texts.at_end()) return corrupt_column();
  out.shrink();
  return {};
}

Result<Buffer> encode_lengths(const StringTable& strings, int level) {
  std::vector<std::uint64_t> lengths(strings.size());
  Buffer all;
  for (std::size_t i = 0; i < strings.size(); ++i) {
    lengths[i] = strings[i].size();
    all.append(strings[i]);
  }
  Buffer out;
  TOKVAULT_ASSIGN(Buffer column, encode_integers(lengths, level));
  append_sized(out, column);
  TOKVAULT_ASSIGN(Buffer packed, encode_bytes(all, level));
  out.append(packed);
  return out;
}

Status decode_lengths(ByteView column, std::uint64_t count, std::uint64_t text_bytes_max,
                      StringTable& out) {
  ByteReader in(column);
  const ByteView lengths_column = in.sized();
  if (!in.ok()) return corrupt_column();
  std::vector<std::uint64_t> lengths;
  TOKVAULT_TRY(decode_integers(lengths_column, count, lengths));
  std::uint64_t total = 0;
  for (std::uint64_t n : lengths) {
    total += n;
    if (n > text_bytes_max || total > text_bytes_max) return corrupt_column();
  }
  Buffer all;
  TOKVAULT_TRY(decode_bytes(in.rest(), total, all));
  out.reserve(count, total);
  std::size_t at = 0;
  for (std::uint64_t n : lengths) {
    out.add(std::string_view(all).substr(at, n));
    at += n;
  }
  return {};
}

}  // namespace

Result<Buffer> encode_bytes(ByteView bytes, int level) {
  if (bytes.size() > kColumnBytesMax) {
    return Error(Errc::exhausted, "more than a column of 1 GB holds");
  }
  Buffer raw(1, '\0');
  if (bytes.size() < 12) return raw.append(bytes), raw;
  TOKVAULT_ASSIGN(Buffer frame, zstd_compress(bytes, level));
  if (frame.size() >= bytes.size()) return raw.append(bytes), raw;
  return Buffer(1, '\1') + frame;
}

Status decode_bytes(ByteView column, std::uint64_t size, Buffer& out) {
  if (column.empty() || size > kColumnBytesMax) return corrupt_column();
  const ByteView rest = column.substr(1);
  if (column[0] == 0) {
    if (rest.size() != size) return corrupt_column();
    out.assign(rest);
    return {};
  }
  if (column[0] != 1) return corrupt_column();
  return zstd_decompress(rest, size, out);
}

Result<Buffer> encode_integers(std::span<const std::uint64_t> values, int level) {
  Buffer out;
  if (std::all_of(values.begin(), values.end(), [&](std::uint64_t v) { return v == values[0]; })) {
    out.push_back(kConstant);
    append_varint(out, values.empty() ? 0 : values[0]);
    return out;
  }
  Buffer candidates[3];
  std::uint64_t before = 0;
  bool bytes_fit = true;
  for (std::uint64_t v : values) {
    append_varint(candidates[0], v);
    append_varint(candidates[1], zigzag(static_cast<std::int64_t>(v - before)));
    before = v;
    if (v > 255) bytes_fit = false;
    if (bytes_fit) candidates[2].push_back(static_cast<char>(v));
  }
  for (int i = 0; i < (bytes_fit ? 3 : 2); ++i) {
    TOKVAULT_ASSIGN(Buffer packed, encode_bytes(candidates[i], level));
    Buffer column(1, static_cast<char>(kPlain + i));
    append_varint(column, candidates[i].size());
    column += packed;
    if (out.empty() || column.size() < out.size()) out = std::move(column);
  }
  return out;
}

Status decode_integers(ByteView column, std::uint64_t count, std::vector<std::uint64_t>& out) {
  if (count > kColumnValuesMax) return corrupt_column();
  ByteReader in(column);
  const auto encoding = in.le<std::uint8_t>();
  if (encoding == kConstant) {
    const std::uint64_t v = in.varint();
    if (!in.ok() || !in.at_end()) return corrupt_column();
    out.assign(count, v);
    return {};
  }
  const std::uint64_t size = in.varint();
  // A value takes at least one byte and at most ten.
  if (!in.ok() || size < count || size > count * 10) return corrupt_column();
  Buffer raw;
  TOKVAULT_TRY(decode_bytes(in.rest(), size, raw));
  out.resize(count);
  if (encoding == kBytes) {
    if (size != count) return corrupt_column();
    for (std::uint64_t i = 0; i < count; ++i) out[i] = static_cast<std::uint8_t>(raw[i]);
    return {};
  }
  if (encoding != kPlain && encoding != kDelta) return corrupt_column();
  ByteReader values(raw);
  if (encoding == kPlain) {
    for (std::uint64_t& v : out) v = values.varint();
  } else {
    std::uint64_t before = 0;
    for (std::uint64_t& v : out) {
      before = v = before + static_cast<std::uint64_t>(values.svarint());
    }
  }
  if (!values.ok() || !values.at_end()) return corrupt_column();
  return {};
}

Result<Buffer> encode_strings(const StringTable& strings, int level) {
  TOKVAULT_ASSIGN(Buffer lengths, encode_lengths(strings, level));
  TOKVAULT_ASSIGN(Buffer fields, encode_fields(strings, level));
  if (!fields.empty() && fields.size() < lengths.size()) return Buffer(1, kFields) + fields;
  return Buffer(1, kLengths) + lengths;
}

Status decode_strings(ByteView column, std::uint64_t count, StringTable& out,
                      std::uint64_t text_bytes_max) {
  if (column.empty() || count > kColumnValuesMax) return corrupt_column();
  if (column[0] == kFields) {
    return decode_fields(column.substr(1), count, text_bytes_max, out);
  }
  if (column[0] == kLengths) {
    return decode_lengths(column.substr(1), count, text_bytes_max, out);
  }
  return corrupt_column();
}

}  // namespace tokvault
