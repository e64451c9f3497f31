#include "query/condition.h"

#include <algorithm>

#include "tokvault/interchange.h"

namespace tokvault::query {
namespace {

constexpr std::int64_t kDayMs = 86'400'000;
// The first and last millisecond of the years 1 to 9999, since 1970.
constexpr std::int64_t kTimeMsMin = -62'135'596'800'000;
constexpr std::int64_t kTimeMsMax = 253'402'300'799'999;

// Times whose texts may compare with `text` as equal: those before `first_ms` have smaller texts,
// those from `until_ms` on larger ones. Known for texts that begin with a year, month or day.
struct TextRange {
  std::int64_t first_ms = 0;
  std::int64_t until_ms = 0;
};

std::optional<TextRange> range_of_text(const std::string& text, bool is_day) {
  constexpr std::string_view kShape = "dddd-dd-dd";
  const std::size_t shaped = std::min(text.size(), kShape.size());
  for (std::size_t i = 0; i < shaped; ++i) {
    const bool is_digit = text[i] >= '0' && text[i] <= '9';
    if (kShape[i] == 'd' ? !is_digit : text[i] != '-') return std::nullopt;
  }
  std::string date = text.substr(0, shaped);
  if (shaped == 4) date += "-01-01";
  if (shaped == 7) date += "-01";
  if (date.size() != kShape.size()) return std::nullopt;
  const auto begin = parse_time_ms(date);
  if (!begin) return std::nullopt;
  // Every text of a time is longer than a date, and larger if it begins with it.
  const bool ends_before_it_begins = is_day ? text.size() < kShape.size() : text.size() == shaped;
  return TextRange{*begin, ends_before_it_begins ? *begin : *begin + kDayMs};
}

}  // namespace

bool takes(Role role, Op op) {
  switch (role) {
    case Role::none:
      return false;
    case Role::time_ms:
    case Role::time:
    case Role::day:
      return true;
    default:
      return op == Op::equal;
  }
}

void Condition::add_text(std::optional<std::string>& to, const std::string& text) {
  if (to && *to != text) is_empty = true;
  to = text;
}

void Condition::add_filter_text(std::string& to, const std::string& text) {
  if (text.empty()) return;
  if (!to.empty() && to != text) is_empty = true;
  to = text;
}

void Condition::add_time(Op op, std::int64_t first_ms, std::int64_t until_ms) {
  if (op == Op::equal || op == Op::greater || op == Op::greater_equal) {
    filter.time_from_ms = std::max(filter.time_from_ms, first_ms);
  }
  if (op == Op::equal || op == Op::less || op == Op::less_equal) {
    filter.time_until_ms = std::min(filter.time_until_ms, until_ms);
  }
}

void Condition::add(Role role, Op op, const SqlValue& value) {
  if (value.type == SqlValue::Type::null) {
    is_empty = true;  // no comparison with NULL is true
    return;
  }
  if (role == Role::time_ms) {
    // Not with the largest: there is no time behind it to end before.
    if (value.type != SqlValue::Type::integer || value.integer == INT64_MAX) return;
    add_time(op, value.integer, value.integer + 1);
    return;
  }
  // A column of numbers that is compared with one of texts makes numbers of the texts.
  if (value.type != SqlValue::Type::text) return;
  switch (role) {
    case Role::tenant:
      return add_text(tenant, value.bytes);
    case Role::id:
      return add_text(id, value.bytes);
    case Role::holder:
      return add_text(holder, value.bytes);
    case Role::model:
      return add_filter_text(filter.model, value.bytes);
    case Role::application:
      return add_filter_text(filter.application, value.bytes);
    case Role::tag:
      if (!value.bytes.empty()) filter.tags.push_back(value.bytes);
      return;
    case Role::time:
    case Role::day:
      if (const auto range = range_of_text(value.bytes, role == Role::day)) {
        add_time(op, range->first_ms, range->until_ms);
      }
      return;
    case Role::none:
    case Role::time_ms:
      return;
  }
}

std::optional<std::string> time_text(std::int64_t time_ms) {
  if (time_ms < kTimeMsMin || time_ms > kTimeMsMax) return std::nullopt;
  std::string text = format_time_ms(time_ms);
  if (text.find('.') == std::string::npos) text.insert(text.size() - 1, ".000");
  return text;
}

}  // namespace tokvault::query
