#include "tokvault/result.h"

#include <array>

namespace tokvault {
namespace {

constexpr std::array<std::string_view, 12> kNames = {
    "ok", "not_found", "exists",    "invalid", "corrupt",  "unsupported",
    "io", "busy",      "exhausted", "denied",  "conflict", "cancelled"};

}  // namespace

std::string_view errc_name(Errc code) {
  const auto index = static_cast<std::size_t>(code);
  return index < kNames.size() ? kNames[index] : "unknown";
}

int exit_code(Errc code) {
  switch (code) {
    case Errc::ok:
      return 0;
    case Errc::invalid:
      return 2;  // what shells and CLI parsers use for a wrong call
    case Errc::not_found:
      return 3;
    case Errc::exists:
      return 4;
    default:
      return static_cast<int>(code) + 1;
  }
}

Error::Error(Errc code, std::string message, int os_code)
    : rep_(new Rep{code, os_code, std::move(message)}) {}

Error Error::clone() const {
  if (!rep_) return {};
  return Error(rep_->code, rep_->message, rep_->os_code);
}

Error Error::with(std::string_view context) && {
  if (rep_) rep_->message.insert(0, std::string(context) + ": ");
  return std::move(*this);
}

}  // namespace tokvault
