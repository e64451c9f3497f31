// JSON to a conversation and back: never crashes, and what was read comes back the same.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tokvault/interchange.h"

using tokvault::JsonReader;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static JsonReader reader;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto conversation = reader.conversation(text)) {
    const auto json = to_json(*conversation);
    if (!json) std::abort();
    const auto again = reader.conversation(*json);
    if (!again || *again != *conversation) std::abort();
    const auto same = to_json(*again);
    if (!same || *same != *json) std::abort();
  }
  if (const auto message = reader.message(text)) {
    if (!message->check() || !message->token_arrays()) std::abort();
    (void)message->role();
    (void)message->text();
    const auto json = to_json(*message);
    if (!json) std::abort();
    const auto again = reader.message(*json);
    if (!again || *again != *message) std::abort();
  }
  return 0;
}
