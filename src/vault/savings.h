// What the text of packs would take with one mechanism less, for explain().
//
// Two measures, since coding everything again in every way would take longer than an import. A
// stream of a pack is coded again as a whole, at the pack's own level and by its own encoders: what
// that gives is what the pack would be. What of it which text saved is told by a quick code, zstd
// at a low level, of each text by itself and after all texts before it.
#ifndef TOKVAULT_VAULT_SAVINGS_H_
#define TOKVAULT_VAULT_SAVINGS_H_

#include <cstdint>
#include <memory>

#include "base/zstd.h"
#include "tokvault/result.h"
#include "tokvault/types.h"
#include "tokvault/vault.h"
#include "vault/pack_file.h"

namespace tokvault {

// Of texts of one file, by the quick code.
struct TextSums {
  std::uint64_t code_bytes = 0;   // of all texts
  double in_sequence = 0;         // what they take, each after those before it
  std::uint64_t tried_bytes = 0;  // codes of the texts that the rest is of
  double alone = 0;               // what those take by themselves
  // What they save by standing in sequence: of texts that are nearly the same as an earlier one, in
  // passages that an earlier one has, and the rest.
  double near = 0;
  double substring = 0;
  double context = 0;
};

// Codes the texts of one file quickly, in the order in which they came.
class TextMeter {
 public:
  // Texts with numbers that `every` divides are coded by themselves, and others if they are asked
  // for.
  static Result<TextMeter> make(std::uint64_t every);
  // `copied`: the part of it that an earlier text has; `is_near`: which is nearly all of it.
  Status add(ByteView code, bool is_near, double copied, bool always, TextSums& sums);

 private:
  explicit TextMeter(std::uint64_t every) : every_(every) {}

  std::uint64_t every_;
  std::uint64_t number_ = 0;
  std::unique_ptr<BlockEncoder> alone_;
  std::unique_ptr<StreamEncoder> sequence_;
  Buffer piece_;
};

// What a stream of a pack takes, and would take with ever fewer mechanisms, in bytes.
struct StreamTrial {
  double stored = 0;
  double without_artifact = 0;    // if it copies, or has learned, from one
  double zstd = 0;                // and without token LZ or model
  double without_bases = 0;       // and each block behind the pack's dictionary
  double without_dictionary = 0;  // and each block by itself

  void scale(double times);
};
// Codes up to `text_max` bytes of its text again, and the rest is taken to be like that.
Result<StreamTrial> try_stream(const PackFile& pack, Stream stream, std::uint64_t text_max);

// The steps from what texts take by themselves to what a stream of tokens takes, in bytes.
struct StreamSavings {
  double alone = 0;
  double near = 0;
  double substring = 0;
  double context = 0;
  double model = 0;
  double artifact = 0;
  double pack_dictionary = 0;
  double bases = 0;
  double disk = 0;

  // `alone`: what the texts take by themselves, `sums`: for the shares of what they have in common.
  static StreamSavings of(const StreamTrial& trial, double alone, const TextSums& sums);
  void add(const StreamSavings& other, double times);
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_SAVINGS_H_
