// The commands that hand out content: get, export, tokenize, detokenize.
#include <cstdio>
#include <filesystem>

#include "commands.h"
#include "ids.h"
#include "output.h"
#include "readable.h"
#include "values.h"

namespace tokvault::cli {
namespace {

// So many conversations of a long list of ids are in memory at once.
constexpr std::size_t kGetBatch = 64;

Status print_conversation(const Conversation& conversation, Format format) {
  if (format == Format::text) {
    print(readable(conversation));
    return {};
  }
  TOKVAULT_ASSIGN(const std::string json, to_json(conversation));
  print_line(json);
  return {};
}

Result<Conversation> get_as(const Vault& vault, const std::string& id, const GetCommand& command) {
  return command.format == Format::tokens ? vault.get_tokens(id, command.tenant)
                                          : vault.get(id, command.tenant);
}

Result<std::vector<Result<Conversation>>> get_some(const Vault& vault,
                                                   std::span<const std::string> ids,
                                                   const GetCommand& command) {
  if (command.format != Format::tokens) return vault.get_batch(ids, command.tenant);
  std::vector<Result<Conversation>> all;
  for (const std::string& id : ids) all.push_back(get_as(vault, id, command));
  return all;
}

}  // namespace

bool is_rank_file(const std::string& tokenizer) {
  return tokenizer.ends_with(".tiktoken") || tokenizer.find('/') != std::string::npos;
}

Result<std::string> pattern_of(const std::string& tokenizer, const std::string& pattern) {
  if (pattern.empty()) return std::string(kDefaultPattern);
  if (is_rank_file(tokenizer)) return pattern;
  return Error(Errc::invalid, "--pattern is for a rank file; the tokenizer " +
                                  in_quotes(tokenizer) + " has a splitter of its own");
}

namespace {

// A tokenizer by name, or a rank file by path.
Result<std::shared_ptr<const Tokenizer>> named_tokenizer(const TokenizeCommand& command) {
  TOKVAULT_ASSIGN(const std::string pattern, pattern_of(command.tokenizer, command.pattern));
  if (!is_rank_file(command.tokenizer)) return open_tokenizer(command.tokenizer);
  TOKVAULT_ASSIGN(const std::string ranks, read_all(command.tokenizer));
  return make_tokenizer(std::filesystem::path(command.tokenizer).stem(), pattern, ranks);
}

}  // namespace

ExitStatus run_get(const GetCommand& command) {
  if (command.json && command.format == Format::text) {
    return Error(Errc::invalid, "--format text is not JSON; leave out --json");
  }
  if (command.ids.empty() && command.ids_from.empty()) {
    return Error(Errc::invalid, "get needs the id of a conversation");
  }
  TOKVAULT_ASSIGN(const auto all, all_ids(command.ids, command.ids_from));
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  Errc first_failure = Errc::ok;
  const std::span<const std::string> ids(all);
  for (std::size_t at = 0; at < ids.size(); at += kGetBatch) {
    const auto some = ids.subspan(at, std::min(kGetBatch, ids.size() - at));
    TOKVAULT_ASSIGN(const auto found, get_some(*vault, some, command));
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (found[i]) {
        if (at + i > 0 && command.format == Format::text) print("\n");
        TOKVAULT_TRY(print_conversation(*found[i], command.format));
        continue;
      }
      if (first_failure == Errc::ok) first_failure = found[i].code();
      print_error(found[i].error(), command.json);
    }
  }
  return exit_code(first_failure);
}

ExitStatus run_export(const ExportCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_reader(command, command.keep_going));
  TOKVAULT_TRY(check_tenant(*vault, command.filter.tenant));
  TOKVAULT_TRY(outside_of(command.vault, command.output));
  TOKVAULT_ASSIGN(const auto writer, LineWriter::open(command.output));
  ProgressLine progress("export");
  Status status;
  std::uint64_t conversations = 0;
  std::uint64_t bytes = 0;
  std::uint64_t lost = 0;
  const auto visit = [&](const Summary& summary, Result<Conversation> conversation) {
    if (command.leave_out.contains(summary.id)) return true;
    Result<std::string> json = std::string();
    if (!conversation) {
      json = std::move(conversation).error();  // names it
    } else if (json = to_json(*conversation); !json) {
      json = std::move(json).error().with("conversation " + summary.id);
    }
    if (!json) {
      Error why = std::move(json).error();
      if (!command.keep_going) {
        status = std::move(why);
        return false;
      }
      print_error(why, command.json);
      ++lost;
      return true;
    }
    if (command.output == "-") hide_progress();
    status = writer->write(*json);
    ++conversations;
    bytes += json->size() + 1;
    progress.show(bytes, 0);
    return static_cast<bool>(status);
  };
  TOKVAULT_TRY(vault->scan(command.filter, visit));
  if (!status) return std::move(status).error();
  TOKVAULT_TRY(writer->finish());
  if (command.output != "-") {
    if (command.json) {
      print_line(JsonObject()
                     .field("conversations", conversations)
                     .field("bytes", bytes)
                     .field("lost", lost)
                     .text());
    } else {
      print_line(format_counted(conversations, "conversation") + ", " + format_bytes(bytes) +
                 " to " + printable(command.output));
    }
  }
  const int damaged = command.keep_going ? report_damage(*vault, command) : 0;
  return lost > 0 ? exit_code(Errc::corrupt) : damaged;
}

ExitStatus run_tokenize(const TokenizeCommand& command) {
  TOKVAULT_ASSIGN(const auto tokenizer, named_tokenizer(command));
  TOKVAULT_ASSIGN(const std::string text, read_all(command.file));
  std::vector<Token> tokens;
  const auto encoder = tokenizer->make_encoder();
  if (command.special) {
    encoder->encode_with_special(text, tokens);
  } else {
    encoder->encode(text, tokens);
  }
  if (command.json) {
    JsonObject out;
    out.field("tokenizer", tokenizer->name()).field("count", tokens.size());
    if (!command.count)
      out.raw("tokens", std::string("[").append(join_tokens(tokens, ',')).append("]"));
    print_line(out.text());
  } else if (command.count) {
    print_line(std::to_string(tokens.size()));
  } else {
    print_line(join_tokens(tokens, ' '));
  }
  return 0;
}

ExitStatus run_detokenize(const TokenizeCommand& command) {
  TOKVAULT_ASSIGN(const auto tokenizer, named_tokenizer(command));
  TOKVAULT_ASSIGN(const std::string text, read_all(command.file));
  TOKVAULT_ASSIGN(const std::vector<Token> tokens, parse_tokens(text));
  std::string out;
  TOKVAULT_TRY(tokenizer->decode(tokens, out));
  if (command.json) {
    std::string quoted;
    if (!append_json_string(out, quoted)) {
      return Error(Errc::invalid, "the bytes of these tokens are no text; leave out --json");
    }
    print_line(JsonObject().field("tokenizer", tokenizer->name()).raw("text", quoted).text());
  } else {
    print(out);
  }
  return 0;
}

}  // namespace tokvault::cli
