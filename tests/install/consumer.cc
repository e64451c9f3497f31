// A user's first program: a vault in a directory, one conversation in and out, with a vocabulary
// that was installed with the library.
#include <tokvault/tokvault.h>

#include <cstdio>

namespace {

tokvault::Status keep_one(const std::string& path) {
  TOKVAULT_TRY(tokvault::create_vault(path, {.tokenizer = "o200k_base"}));
  TOKVAULT_ASSIGN(auto vault, tokvault::open_vault(path));
  tokvault::Conversation conversation;
  conversation.id = "first";
  conversation.messages.push_back(tokvault::Message::of_text("user", "Is it there?"));
  TOKVAULT_TRY(vault->put(conversation, {}));
  TOKVAULT_ASSIGN(const auto kept, vault->get("first"));
  if (kept.messages.size() != 1 || kept.messages[0].text() != "Is it there?") {
    return tokvault::Error(tokvault::Errc::corrupt, "another conversation came back");
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const tokvault::Status status = keep_one(argv[1]);
  if (!status) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(status.error().message().size()),
                 status.error().message().data());
    return 1;
  }
  return 0;
}
