// Deltas: edits to bytes and back. Format: docs/format/delta.md.
//
// A delta is mostly a few numbers and the tokens that were inserted. Both are coded with adaptive
// probabilities under an arithmetic coder; an inserted token is first guessed from what followed
// the token before it in earlier insertions (a name that was changed in many places costs its
// tokens once), then named by its rank among the tokens of the base, and only then spelled out. As
// varints the same edits are 1.3 to 3 times as large (docs/format/delta.md).
#include "tokvault/delta.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "base/bytes.h"
#include "base/checksum.h"
#include "codec/number_model.h"
#include "codec/token_diff.h"

namespace tokvault {
namespace {

std::uint32_t target_checksum(TokenView tokens) {
  Buffer bytes;
  constexpr std::size_t kChunk = 1 << 14;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < tokens.size(); i += kChunk) {
    bytes.clear();
    for (Token t : tokens.subspan(i, std::min(kChunk, tokens.size() - i))) append_le(bytes, t);
    sum = checksum64(bytes, sum);
  }
  return static_cast<std::uint32_t>(sum);
}

// The tokens of a base by how often they occur, which numbers them; made when first asked for.
class BaseRanks {
 public:
  explicit BaseRanks(TokenView base) : base_(base) {}

  std::uint64_t size() { return make(), by_rank_.size(); }
  Token token(std::uint64_t rank) { return make(), by_rank_[rank]; }
  // The rank of a token, or nothing if the base does not have it.
  std::optional<std::uint64_t> rank(Token token) {
    make();
    const auto at = std::lower_bound(by_token_.begin(), by_token_.end(), token,
                                     [](const auto& entry, Token t) { return entry.first < t; });
    if (at == by_token_.end() || at->first != token) return std::nullopt;
    return at->second;
  }

 private:
  void make() {
    if (made_) return;
    made_ = true;
    std::vector<Token> sorted(base_.begin(), base_.end());
    std::sort(sorted.begin(), sorted.end());
    std::vector<std::pair<std::uint32_t, Token>> counts;
    for (std::size_t i = 0, next = 0; i < sorted.size(); i = next) {
      while (next < sorted.size() && sorted[next] == sorted[i]) ++next;
      counts.push_back({static_cast<std::uint32_t>(next - i), sorted[i]});
    }
    std::sort(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    for (const auto& c : counts) {
      by_token_.push_back({c.second, static_cast<std::uint32_t>(by_rank_.size())});
      by_rank_.push_back(c.second);
    }
    std::sort(by_token_.begin(), by_token_.end());
  }

  TokenView base_;
  bool made_ = false;
  std::vector<Token> by_rank_;
  std::vector<std::pair<Token, std::uint32_t>> by_token_;
};

// What a delta is about between two copies.
struct Edit {
  std::int64_t skip = 0;
  std::vector<Token> inserted;
  std::uint64_t copied = 0;  // behind them
};

// The model of edits, the same for both directions. Names of the fields as in the document.
template <class Coder>
class EditModel {
 public:
  EditModel(Coder& coder, TokenView base) : coder_(coder), base_(base), ranks_(base) {}

  // Codes the first or a later edit, of which the parts that come before `produced` of `count`
  // target tokens are known. False if what was read is not possible.
  bool code(Edit& edit, bool first, std::uint64_t cursor, std::uint64_t count,
            std::vector<Token>& target) {
    bool changes = true;
    if (first) changes = starts_with_edit_.code(coder_, edit.skip != 0 || !edit.inserted.empty());
    if (changes && !code_change(edit, cursor, count, target)) return false;
    cursor += static_cast<std::uint64_t>(edit.skip);
    if (target.size() == count) return coder_.ok();
    const std::uint64_t left = count - target.size();
    const bool to_end = copies_to_end_.code(coder_, edit.copied == left);
    edit.copied = to_end ? left : copied_.code(coder_, edit.copied - 1) + 1;
    if (!coder_.ok() || edit.copied == 0 || edit.copied > left ||
        edit.copied > base_.size() - cursor) {
      return false;
    }
    const TokenView copy = base_.subspan(cursor, edit.copied);
    target.insert(target.end(), copy.begin(), copy.end());
    return true;
  }

 private:
  struct Guess {
    std::uint64_t context = 0;
    Token token = 0;
    bool is_set = false;
  };

  bool code_change(Edit& edit, std::uint64_t cursor, std::uint64_t count,
                   std::vector<Token>& target) {
    const bool skips = skips_.code(coder_, edit.skip != 0);
    if (skips && !code_skip(edit, cursor)) return false;
    bool inserts = true;  // an edit that does not skip inserts
    if (skips) inserts = inserts_.code(coder_, !edit.inserted.empty());
    if (!inserts) return true;
    const std::uint64_t skipped = edit.skip > 0 ? static_cast<std::uint64_t>(edit.skip) : 0;
    bool as_many = false;
    if (skipped > 0) as_many = as_many_.code(coder_, edit.inserted.size() == skipped);
    const std::uint64_t n =
        as_many ? skipped : inserted_.code(coder_, edit.inserted.size() - 1) + 1;
    if (!coder_.ok() || n == 0 || n > count - target.size()) return false;
    // A name is guessed by what it replaces, else by what stands before it.
    std::uint64_t context = kNothingBefore;
    if (skipped > 0) {
      context = kReplaces | base_[cursor];
    } else if (!target.empty()) {
      context = target.back();
    }
    for (std::uint64_t i = 0; i < n; ++i) {
      const Token t = code_token(Coder::kDecodes ? 0 : edit.inserted[i], context);
      if (!coder_.ok()) return false;
      if (Coder::kDecodes) edit.inserted.push_back(t);
      target.push_back(t);
      context = t;
    }
    return true;
  }

  bool code_skip(Edit& edit, std::uint64_t cursor) {
    const bool back = back_.code(coder_, edit.skip < 0);
    const auto size = static_cast<std::uint64_t>(edit.skip < 0 ? -edit.skip : edit.skip);
    const std::uint64_t n = (back ? skipped_back_ : skipped_).code(coder_, size - 1) + 1;
    if (!coder_.ok() || n == 0 || n > (back ? cursor : base_.size() - cursor)) return false;
    edit.skip = back ? -static_cast<std::int64_t>(n) : static_cast<std::int64_t>(n);
    return true;
  }

  Token code_token(Token token, std::uint64_t context) {
    if (!guesses_) {
      guesses_ = std::make_unique<Guess[]>(kGuesses);
      for (std::size_t i = 1; i < base_.size(); ++i) {
        guess_of(base_[i - 1]) = {base_[i - 1], base_[i], true};
      }
    }
    Guess& guess = guess_of(context);
    if (guess.is_set && guess.context == context) {
      if (guessed_[last_guessed_].code(coder_, token == guess.token)) {
        last_guessed_ = true;
        return guess.token;
      }
      last_guessed_ = false;
    }
    token = code_unguessed(token);
    guess = {context, token, true};
    return token;
  }

  Guess& guess_of(std::uint64_t context) {
    return guesses_[(context * 0x9e3779b97f4a7c15u) >> (64 - kGuessBits)];
  }

  Token code_unguessed(Token token) {
    std::optional<std::uint64_t> rank;
    if (!Coder::kDecodes) rank = ranks_.rank(token);
    if (!base_.empty() && in_base_.code(coder_, rank.has_value())) {
      const std::uint64_t r = rank_.code(coder_, rank.value_or(0));
      return r < ranks_.size() ? ranks_.token(r) : fail();
    }
    const std::uint64_t t = spelled_.code(coder_, token);
    return t <= 0xffffffffu ? static_cast<Token>(t) : fail();
  }
  // The checksum finds what an impossible token was read for.
  Token fail() { return is_possible_ = false, 0; }

 public:
  bool is_possible() const { return is_possible_; }

 private:
  static constexpr int kGuessBits = 12;
  static constexpr std::size_t kGuesses = std::size_t{1} << kGuessBits;
  static constexpr std::uint64_t kReplaces = std::uint64_t{1} << 32;
  static constexpr std::uint64_t kNothingBefore = std::uint64_t{1} << 33;

  Coder& coder_;
  TokenView base_;
  BaseRanks ranks_;
  bool is_possible_ = true;
  AdaptiveBit starts_with_edit_, copies_to_end_, skips_, back_, inserts_, as_many_, in_base_;
  AdaptiveBit guessed_[2];
  bool last_guessed_ = false;
  NumberModel copied_, skipped_, skipped_back_, inserted_, rank_, spelled_;
  std::unique_ptr<Guess[]> guesses_;
};

// Edits as DeltaOps in their normal form.
class OpWriter {
 public:
  void add(Edit&& edit) {
    if (edit.skip != 0) ops_.push_back(DeltaOp::skip(edit.skip));
    if (!edit.inserted.empty()) ops_.push_back(DeltaOp::insert(edit.inserted));
    if (edit.copied > 0) ops_.push_back(DeltaOp::copy(edit.copied));
  }
  std::vector<DeltaOp> take() { return std::move(ops_); }

 private:
  std::vector<DeltaOp> ops_;
};

Error not_an_op(std::string_view what) {
  return Error(Errc::invalid, "delta: " + std::string(what));
}

// One op onto the target; `cursor` is moved.
Status apply_op(TokenView base, const DeltaOp& op, std::uint64_t tokens_max, std::uint64_t& cursor,
                std::vector<Token>& target) {
  const auto size = static_cast<std::int64_t>(base.size());
  const auto at = static_cast<std::int64_t>(cursor);
  switch (op.kind) {
    case DeltaOp::Kind::skip:
      if (op.count < -at || op.count > size - at) return not_an_op("a skip leaves the base");
      cursor = static_cast<std::uint64_t>(at + op.count);
      return {};
    case DeltaOp::Kind::copy: {
      if (op.count <= 0 || op.count > size - at) return not_an_op("a copy leaves the base");
      const auto count = static_cast<std::uint64_t>(op.count);
      if (count > tokens_max - target.size()) break;
      const TokenView copy = base.subspan(cursor, count);
      target.insert(target.end(), copy.begin(), copy.end());
      cursor += count;
      return {};
    }
    case DeltaOp::Kind::insert:
      if (op.count != static_cast<std::int64_t>(op.tokens.size())) {
        return not_an_op("an insert's count is not that of its tokens");
      }
      if (op.tokens.size() > tokens_max - target.size()) break;
      target.insert(target.end(), op.tokens.begin(), op.tokens.end());
      return {};
    default:
      return not_an_op("an op of no kind");
  }
  return Error(Errc::exhausted,
               "delta: the target has more than " + std::to_string(tokens_max) + " tokens");
}

// Ops as edits: what stands between two copies becomes one skip and one insert.
std::vector<Edit> edits_of(std::span<const DeltaOp> ops) {
  std::vector<Edit> edits(1);
  for (const DeltaOp& op : ops) {
    Edit& last = edits.back();
    if (op.kind == DeltaOp::Kind::copy) {
      last.copied += static_cast<std::uint64_t>(op.count);
      continue;
    }
    if (op.count == 0) continue;
    Edit& edit = last.copied > 0 ? edits.emplace_back() : last;
    if (op.kind == DeltaOp::Kind::skip) edit.skip += op.count;
    edit.inserted.insert(edit.inserted.end(), op.tokens.begin(), op.tokens.end());
  }
  return edits;
}

// A skip that is undone, or at the end, and copies on both sides of nothing.
std::vector<Edit> without_idle(std::vector<Edit> edits) {
  std::vector<Edit> out;
  for (Edit& e : edits) {
    const bool changes = e.skip != 0 || !e.inserted.empty();
    if (!out.empty() && !changes) {
      out.back().copied += e.copied;
    } else {
      out.push_back(std::move(e));
    }
  }
  while (!out.empty() && out.back().copied == 0 && out.back().inserted.empty()) out.pop_back();
  if (!out.empty() && out.back().copied == 0) out.back().skip = 0;
  return out;
}

Buffer encode_edits(TokenView base, TokenView target, std::vector<Edit> edits) {
  Buffer out;
  append_varint(out, zigzag(static_cast<std::int64_t>(target.size()) -
                            static_cast<std::int64_t>(base.size())));
  append_le(out, target_checksum(target));
  BinaryEncoder coder(out);
  EditModel<BinaryEncoder> model(coder, base);
  std::vector<Token> written;
  written.reserve(target.size());
  std::uint64_t cursor = 0;
  for (std::size_t i = 0; i < edits.size(); ++i) {
    (void)model.code(edits[i], i == 0, cursor, target.size(), written);
    cursor += static_cast<std::uint64_t>(edits[i].skip) + edits[i].copied;
  }
  coder.finish();
  return out;
}

struct Decoded {
  std::vector<Token> target;
  std::vector<DeltaOp> ops;
};

Result<Decoded> decode(TokenView base, ByteView delta, std::uint64_t tokens_max, bool with_ops) {
  const auto damaged = [](std::string_view what) {
    return Error(Errc::corrupt, "delta: " + std::string(what));
  };
  if (base.size() > kDeltaTokensMax) return not_an_op("the base is too long");
  ByteReader in(delta);
  const std::int64_t more = in.svarint();
  const auto sum = in.le<std::uint32_t>();
  if (!in.ok()) return damaged("it is cut short");
  const auto base_size = static_cast<std::int64_t>(base.size());
  if (more < -base_size || more > static_cast<std::int64_t>(kDeltaTokensMax) - base_size) {
    return damaged("no target has as many tokens");
  }
  const auto count = static_cast<std::uint64_t>(base_size + more);
  if (count > tokens_max) {
    return Error(Errc::exhausted, "delta: the target has " + std::to_string(count) +
                                      " tokens, more than " + std::to_string(tokens_max));
  }
  BinaryDecoder coder(in.rest());
  EditModel<BinaryDecoder> model(coder, base);
  Decoded out;
  OpWriter ops;
  std::uint64_t cursor = 0;
  for (bool first = true; out.target.size() < count; first = false) {
    Edit edit;
    if (!model.code(edit, first, cursor, count, out.target) || !model.is_possible()) {
      return damaged("an edit that cannot be");
    }
    cursor += static_cast<std::uint64_t>(edit.skip) + edit.copied;
    if (with_ops) ops.add(std::move(edit));
  }
  if (!coder.at_end()) return damaged("it does not end where it should");
  if (target_checksum(out.target) != sum) return damaged("damaged, or of another base");
  if (with_ops) out.ops = ops.take();
  return out;
}

}  // namespace

DeltaOp DeltaOp::copy(std::uint64_t count) {
  return {Kind::copy, static_cast<std::int64_t>(count), {}};
}
DeltaOp DeltaOp::skip(std::int64_t count) { return {Kind::skip, count, {}}; }
DeltaOp DeltaOp::insert(TokenView tokens) {
  return {Kind::insert, static_cast<std::int64_t>(tokens.size()), {tokens.begin(), tokens.end()}};
}

Result<std::vector<DeltaOp>> diff_tokens(TokenView base, TokenView target) {
  if (base.size() > kDeltaTokensMax || target.size() > kDeltaTokensMax) {
    return not_an_op("more than 2^31 - 1 tokens");
  }
  std::vector<DeltaOp> ops;
  std::uint64_t cursor = 0, produced = 0;
  for (const TokenMatch& m : match_tokens(base, target)) {
    if (m.base != cursor) {
      ops.push_back(
          DeltaOp::skip(static_cast<std::int64_t>(m.base) - static_cast<std::int64_t>(cursor)));
    }
    if (m.target > produced) {
      ops.push_back(DeltaOp::insert(target.subspan(produced, m.target - produced)));
    }
    ops.push_back(DeltaOp::copy(m.count));
    cursor = m.base + m.count;
    produced = m.target + m.count;
  }
  if (produced < target.size()) ops.push_back(DeltaOp::insert(target.subspan(produced)));
  return ops;
}

Result<std::vector<Token>> apply_ops(TokenView base, std::span<const DeltaOp> ops,
                                     std::uint64_t tokens_max) {
  if (base.size() > kDeltaTokensMax) return not_an_op("the base is too long");
  std::vector<Token> target;
  std::uint64_t cursor = 0;
  for (const DeltaOp& op : ops) TOKVAULT_TRY(apply_op(base, op, tokens_max, cursor, target));
  return target;
}

Result<Buffer> encode_ops(TokenView base, std::span<const DeltaOp> ops) {
  TOKVAULT_ASSIGN(const std::vector<Token> target, apply_ops(base, ops, kDeltaTokensMax));
  return encode_edits(base, target, without_idle(edits_of(ops)));
}

Result<Buffer> encode_delta(TokenView base, TokenView target) {
  TOKVAULT_ASSIGN(const std::vector<DeltaOp> ops, diff_tokens(base, target));
  return encode_edits(base, target, without_idle(edits_of(ops)));
}

Result<std::vector<Token>> apply_delta(TokenView base, ByteView delta, std::uint64_t tokens_max) {
  TOKVAULT_ASSIGN(Decoded decoded, decode(base, delta, tokens_max, false));
  return std::move(decoded.target);
}

Result<std::vector<DeltaOp>> read_delta(TokenView base, ByteView delta, std::uint64_t tokens_max) {
  TOKVAULT_ASSIGN(Decoded decoded, decode(base, delta, tokens_max, true));
  return std::move(decoded.ops);
}

}  // namespace tokvault
