// Result<T> and Status: how every fallible function of tokvault answers.
//
// The library neither throws nor prints. A function that can fail returns Result<T> (a value or an
// Error) or Status (success or an Error); both are [[nodiscard]]. Error is one pointer wide, so a
// Status costs one word on success. A code exists only where the caller would act differently.
//
// Where memory is missing the standard library throws std::bad_alloc. A commit (of put(), tag() and
// the like), threads of the library and the C functions turn it into `exhausted`; elsewhere it
// passes through. What was acknowledged is safe.
#ifndef TOKVAULT_RESULT_H_
#define TOKVAULT_RESULT_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace tokvault {

// Why a call failed. The values are pinned: they are the C ABI's and (through exit_code) the
// command line's; docs/errors.md lists them with what a caller does about each.
enum class Errc : int {
  ok = 0,
  not_found = 1,    // the named thing is not there
  exists = 2,       // create found another one
  invalid = 3,      // the arguments (or the input file) break the contract
  corrupt = 4,      // stored bytes fail a check
  unsupported = 5,  // written by a newer format, or this backend cannot do it
  io = 6,           // the operating system or network failed; os_code() says how
  busy = 7,         // not now: a lock is held, a server throttles
  exhausted = 8,    // no space, quota or limit reached
  denied = 9,       // not allowed
  conflict = 10,    // somebody else changed it first
  cancelled = 11,   // the caller asked to stop
};

// The name of a code as documents and JSON output spell it: "not_found".
std::string_view errc_name(Errc code);
// The exit status of the command line for a code (docs/errors.md).
int exit_code(Errc code);

// What went wrong: a code, a sentence, and the errno where there was one.
// Threads: a value; const access from anywhere.
class [[nodiscard]] Error {
 public:
  Error() = default;
  Error(Errc code, std::string message, int os_code = 0);
  Error(Error&&) noexcept = default;
  Error& operator=(Error&&) noexcept = default;

  Errc code() const { return rep_ ? rep_->code : Errc::ok; }
  std::string_view message() const { return rep_ ? std::string_view(rep_->message) : ""; }
  int os_code() const { return rep_ ? rep_->os_code : 0; }
  Error clone() const;
  // Prefixes what was being done: `std::move(e).with("open pack 3")`. Never changes the code.
  Error with(std::string_view context) &&;

 private:
  struct Rep {
    Errc code;
    int os_code;
    std::string message;
  };
  std::unique_ptr<Rep> rep_;
};

// A value of T or an Error.
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  // REQUIRES: has_value()
  T& value() & { return *std::get_if<0>(&state_); }
  const T& value() const& { return *std::get_if<0>(&state_); }
  T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }
  // REQUIRES: !has_value()
  Error& error() & { return *std::get_if<1>(&state_); }
  const Error& error() const& { return *std::get_if<1>(&state_); }
  Error&& error() && { return std::move(*std::get_if<1>(&state_)); }
  Errc code() const { return has_value() ? Errc::ok : error().code(); }

 private:
  std::variant<T, Error> state_;
};

// Success or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}
  bool has_value() const { return error_.code() == Errc::ok; }
  explicit operator bool() const { return has_value(); }
  Error& error() & { return error_; }
  const Error& error() const& { return error_; }
  Error&& error() && { return std::move(error_); }
  Errc code() const { return error_.code(); }

 private:
  Error error_;
};

using Status = Result<void>;

}  // namespace tokvault

#define TOKVAULT_CONCAT_(a, b) a##b
#define TOKVAULT_CONCAT(a, b) TOKVAULT_CONCAT_(a, b)
// Evaluates a Result or Status; returns its error from the enclosing function if it failed.
#define TOKVAULT_TRY(expr)                                       \
  do {                                                           \
    auto&& tokvault_try_ = (expr);                               \
    if (!tokvault_try_) return std::move(tokvault_try_).error(); \
  } while (false)
// `TOKVAULT_ASSIGN(auto x, f())`: x becomes the value of f(), or the error is returned.
#define TOKVAULT_ASSIGN(lhs, expr) \
  TOKVAULT_ASSIGN_(TOKVAULT_CONCAT(tokvault_result_, __LINE__), lhs, expr)
#define TOKVAULT_ASSIGN_(tmp, lhs, expr)   \
  auto tmp = (expr);                       \
  if (!tmp) return std::move(tmp).error(); \
  lhs = std::move(tmp).value()

#endif  // TOKVAULT_RESULT_H_
