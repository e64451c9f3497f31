// The command delta: one conversation, or file, as edits of another.
#include <algorithm>

#include "commands.h"
#include "output.h"
#include "values.h"

namespace tokvault::cli {
namespace {

constexpr auto kRight = Table::Align::right;

// Its texts and token arrays in their order, one after another.
Result<std::vector<Token>> tokens_of(const Vault& vault, const std::string& id,
                                     const std::string& tenant) {
  TOKVAULT_ASSIGN(const Conversation c, vault.get_tokens(id, tenant));
  std::vector<Token> tokens;
  for (const Message& message : c.messages) {
    for (const Value& value : message.values) {
      tokens.insert(tokens.end(), value.tokens.begin(), value.tokens.end());
    }
  }
  return tokens;
}

Result<std::vector<Token>> tokens_of_file(const Vault& vault, const std::string& path,
                                          DeltaCommand::Of of) {
  TOKVAULT_ASSIGN(const std::string content, read_all(path));
  if (of == DeltaCommand::Of::token_files) {
    auto tokens = parse_tokens(content);
    if (!tokens) return std::move(tokens).error().with(path);
    return tokens;
  }
  std::vector<Token> tokens;
  vault.tokenizer()->make_encoder()->encode(content, tokens);
  return tokens;
}

std::string name_of(DeltaOp::Kind kind) {
  switch (kind) {
    case DeltaOp::Kind::copy:
      return "copy";
    case DeltaOp::Kind::skip:
      return "skip";
    case DeltaOp::Kind::insert:
      break;
  }
  return "insert";
}

// The tokens that an edit copies, passes over, goes back over, or brings. Moves the cursor.
TokenView tokens_of(const DeltaOp& op, TokenView base, std::size_t& at) {
  if (op.kind == DeltaOp::Kind::insert) return op.tokens;
  const std::size_t from = at;
  at = static_cast<std::size_t>(static_cast<std::int64_t>(at) + op.count);
  return base.subspan(std::min(from, at), std::max(from, at) - std::min(from, at));
}

// Of tokens that are in no vocabulary it is nothing.
std::string text_of(const Vault& vault, TokenView tokens) {
  std::string text;
  if (!vault.tokenizer() || !vault.tokenizer()->decode(tokens, text)) text.clear();
  return text;
}

// What the base has is shown by its ends: of copies, as it is the same in both, and of long skips,
// as text that was moved is passed over again and again.
std::string shown(const Vault& vault, DeltaOp::Kind kind, TokenView tokens) {
  constexpr std::size_t kEndTokens = 8, kSkipTokens = 64;
  const std::size_t whole_max = kind == DeltaOp::Kind::skip ? kSkipTokens : 2 * kEndTokens;
  if (kind == DeltaOp::Kind::insert || tokens.size() <= whole_max) {
    return printable(text_of(vault, tokens));
  }
  return printable(text_of(vault, tokens.first(kEndTokens))) + " ... " +
         printable(text_of(vault, tokens.last(kEndTokens)));
}

std::string op_json(const Vault& vault, const DeltaOp& op, TokenView tokens) {
  JsonObject out;
  out.field("op", name_of(op.kind)).field("count", op.count);
  if (op.kind == DeltaOp::Kind::insert) {
    out.raw("tokens", std::string("[").append(join_tokens(op.tokens, ',')).append("]"));
  }
  // A longer one is left out: text that was moved is passed over again and again.
  constexpr std::size_t kSkippedMax = 1024;
  if (op.kind == DeltaOp::Kind::insert ||
      (op.kind == DeltaOp::Kind::skip && tokens.size() <= kSkippedMax)) {
    const std::string text = text_of(vault, tokens);
    if (!text.empty() && is_text(text)) out.field("text", text);
  }
  return out.text();
}

}  // namespace

ExitStatus run_delta(const DeltaCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  TOKVAULT_TRY(check_tenant(*vault, command.tenant));
  if (!vault->tokenizer()) return Error(Errc::corrupt, "the vocabulary of the vault is not there");
  const auto read = [&](const std::string& name) {
    return command.of == DeltaCommand::Of::conversations ? tokens_of(*vault, name, command.tenant)
                                                         : tokens_of_file(*vault, name, command.of);
  };
  TOKVAULT_ASSIGN(const std::vector<Token> base, read(command.base));
  TOKVAULT_ASSIGN(const std::vector<Token> target, read(command.target));
  TOKVAULT_ASSIGN(const std::vector<DeltaOp> ops, diff_tokens(base, target));
  TOKVAULT_ASSIGN(const Buffer encoded, encode_ops(base, ops));

  std::vector<std::string> op_texts;
  Table table({{"EDIT"}, {"TOKENS", kRight}, {"TEXT"}});
  std::uint64_t inserted = 0;
  std::size_t at = 0;
  for (const DeltaOp& op : ops) {
    const TokenView tokens = tokens_of(op, base, at);
    if (op.kind == DeltaOp::Kind::insert) inserted += tokens.size();
    if (command.json) {
      op_texts.push_back(op_json(*vault, op, tokens));
    } else {
      table.add({name_of(op.kind), (op.count < 0 ? "-" : "") + format_count(tokens.size()),
                 shown(*vault, op.kind, tokens)});
    }
  }
  const std::uint64_t copied = target.size() - inserted;
  if (command.json) {
    print_line(JsonObject()
                   .field("base", command.base)
                   .field("target", command.target)
                   .field("base_tokens", base.size())
                   .field("target_tokens", target.size())
                   .field("copied_tokens", copied)
                   .field("inserted_tokens", inserted)
                   .field("encoded_bytes", encoded.size())
                   .raw("ops", json_array(op_texts))
                   .text());
    return 0;
  }
  if (!ops.empty()) table.print();
  print_line(format_counted(target.size(), "token") + " from " + format_count(base.size()) + ": " +
             format_count(copied) + " copied, " + format_count(inserted) + " inserted, " +
             format_bytes(encoded.size()) + " as a delta");
  return 0;
}

}  // namespace tokvault::cli
