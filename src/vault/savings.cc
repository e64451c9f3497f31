#include "vault/savings.h"

#include <algorithm>
#include <utility>

#include "codec/token_lz.h"
#include "codec/token_model.h"
#include "vault/pack_builder.h"

namespace tokvault {
namespace {

// Texts by themselves are short, and little larger at this level than at the highest.
constexpr int kAloneLevel = 9;
constexpr int kSequenceLevel = 3;
// The least that zstd writes to end a piece, which a pack does not.
constexpr std::size_t kPieceBytes = 4;

PackPurpose purpose_of(PackMaker maker) {
  switch (maker) {
    case PackMaker::sealing:
      return PackPurpose::seal;
    case PackMaker::compaction:
      return PackPurpose::compact;
    case PackMaker::merging:
      break;
  }
  return PackPurpose::merge;
}

PackBuilder::Levels levels_of(const PackFile& pack) {
  return PackBuilder::levels_of(pack.footer().level, purpose_of(pack.footer().made_by));
}

// Up to `text_max` bytes of an ended text, whole segments.
ByteView part_of(ByteView text, std::uint64_t text_max) {
  if (text.size() <= text_max) return text;
  const std::size_t end = text.rfind(kSegmentEnd, text_max - 1);
  return end == ByteView::npos ? text : text.substr(0, end + 1);
}

// With its checksum.
Result<double> block_bytes(Result<Buffer> code) {
  if (!code) return std::move(code).error();
  return static_cast<double>(code->size() + 4);
}

// The model of a text, and its code.
std::unique_ptr<TokenModel> model_of(Stream stream, ByteView text, Buffer& code) {
  const auto trainer = ModelTrainer::make(
      unit_of(stream), std::min<std::uint64_t>(text.size(), 2 * kDictionaryTextBytes));
  return trainer->add(text) ? trainer->finish(code) : nullptr;
}

// One text without its artifact: the smallest of what the encoder tries, as in improve_one_text()
// of pack_builder.cc.
Result<double> without_artifact(const PackFile& pack, Stream stream, ByteView text, double zstd) {
  const PackBuilder::Levels levels = levels_of(pack);
  double least = zstd;
  if (least <= static_cast<double>(levels.lz_work) / 2) {
    TOKVAULT_ASSIGN(const TokenLzCode code, token_lz_encode(unit_of(stream), text));
    if (code.work <= levels.lz_work) {
      least = std::min(least, static_cast<double>(code.bytes.size()));
    }
  }
  Buffer code;
  if (pack.footer().level == Level::dense && model_of(stream, text, code) != nullptr) {
    least = std::min(least, static_cast<double>(code.size()));
  }
  return least;
}

// Under zstd and without an artifact there is nothing to leave out.
Result<StreamTrial> try_one_text(const PackFile& pack, Stream stream, std::uint64_t text_max) {
  const PackStream& ps = pack.footer().streams[stream];
  StreamTrial out;
  out.stored = static_cast<double>(ps.dictionary.size);
  out.without_artifact = out.zstd = out.stored;
  if (ps.dictionary.size == 0 || (ps.codec == PackCodec::zstd && ps.artifacts.empty())) return out;
  TOKVAULT_ASSIGN(const Buffer text, pack.dictionary_text(stream));
  const ByteView tried = part_of(text, text_max);
  const double part = static_cast<double>(text.size()) / static_cast<double>(tried.size());
  TOKVAULT_ASSIGN(const Buffer frame, zstd_compress(tried, levels_of(pack).dictionary));
  const auto zstd = static_cast<double>(frame.size());
  out.zstd = std::max(out.stored, zstd * part);
  if (ps.artifacts.empty()) return out;
  TOKVAULT_ASSIGN(const double least, without_artifact(pack, stream, tried, zstd));
  out.without_artifact = std::max(out.stored, least * part);
  return out;
}

// Blocks under zstd, behind the dictionary or bases.
Result<StreamTrial> try_blocks(const PackFile& pack, Stream stream, std::uint64_t text_max) {
  const PackStream& ps = pack.footer().streams[stream];
  const int level = levels_of(pack).blocks;
  TOKVAULT_ASSIGN(const Buffer dictionary, pack.dictionary_text(stream));
  TOKVAULT_ASSIGN(const auto behind, BlockEncoder::make(dictionary, level));
  TOKVAULT_ASSIGN(const auto alone, BlockEncoder::make({}, level));
  const std::uint64_t every = ps.text_bytes / text_max + 1;
  double stored = 0, without_bases = 0, without_dictionary = 0;
  Scratch scratch;
  for (std::uint64_t i = every / 2; i < ps.block_count; i += every) {
    TOKVAULT_ASSIGN(const PackFile::Block block,
                    pack.block(stream, static_cast<std::uint32_t>(i), scratch));
    const auto own = static_cast<double>(block.disk_bytes);
    stored += own;
    double with_dictionary = own;
    if (block.has_bases) {
      TOKVAULT_ASSIGN(with_dictionary, block_bytes(behind->encode(block.text)));
    }
    without_bases += std::max(own, with_dictionary);
    TOKVAULT_ASSIGN(const double single, block_bytes(alone->encode(block.text)));
    without_dictionary += std::max(own, single);
  }
  const double times = stored == 0 ? 0 : static_cast<double>(ps.blocks.size) / stored;
  const auto head = static_cast<double>(ps.dictionary.size);
  StreamTrial out;
  out.stored = static_cast<double>(ps.dictionary.size + ps.blocks.size);
  out.without_artifact = out.zstd = out.stored;
  out.without_bases = std::max(out.stored, head + without_bases * times);
  out.without_dictionary = std::max(out.without_bases, head + without_dictionary * times);
  return out;
}

// Blocks under a model. Under zstd the stream would be one text, or blocks behind a dictionary that
// is longer.
Result<StreamTrial> try_model_blocks(const PackFile& pack, Stream stream, std::uint64_t text_max) {
  const PackStream& ps = pack.footer().streams[stream];
  const PackBuilder::Levels levels = levels_of(pack);
  TOKVAULT_ASSIGN(Buffer first, pack.dictionary_text(stream));
  std::unique_ptr<TokenModel> model;  // that has not learned from the artifact
  double without_artifact = static_cast<double>(ps.dictionary.size);
  if (!ps.artifacts.empty()) {
    const ByteView tried = part_of(first, text_max);
    Buffer code;
    model = model_of(stream, tried, code);
    if (model != nullptr) {
      without_artifact = static_cast<double>(code.size()) * static_cast<double>(first.size()) /
                         static_cast<double>(tried.size());
    }
  }
  const bool is_one_text = ps.text_bytes <= kFingerprintlessTextBytes;
  const std::uint64_t first_max = is_one_text ? UINT64_MAX : kDictionaryTextBytes;
  const std::uint64_t every = ps.text_bytes / text_max + 1;
  TOKVAULT_ASSIGN(const auto alone, BlockEncoder::make({}, levels.blocks));
  std::unique_ptr<BlockEncoder> behind;
  double left = static_cast<double>(ps.blocks.size);  // on disk, of what is not in the first text
  double tried = 0, plain = 0, rest = 0, rest_zstd = 0, rest_alone = 0;
  Scratch scratch;
  for (std::uint64_t i = 0; i < ps.block_count; ++i) {
    const bool is_first = first.size() < first_max;
    const bool is_tried = i % every == every / 2;
    if (!is_first && !is_tried) continue;
    TOKVAULT_ASSIGN(const PackFile::Block block,
                    pack.block(stream, static_cast<std::uint32_t>(i), scratch));
    const auto own = static_cast<double>(block.disk_bytes);
    if (is_tried) {
      tried += own;
      double without = own;
      if (model != nullptr) {
        TOKVAULT_ASSIGN(without, block_bytes(model->encode_block(block.text)));
      }
      plain += without;
    }
    if (is_first) {
      first += block.text;
      left -= own;
      continue;
    }
    if (!behind) {
      TOKVAULT_ASSIGN(behind, BlockEncoder::make(first, levels.blocks));
    }
    TOKVAULT_ASSIGN(const double with_dictionary, block_bytes(behind->encode(block.text)));
    TOKVAULT_ASSIGN(const double single, block_bytes(alone->encode(block.text)));
    rest += own;
    rest_zstd += with_dictionary;
    rest_alone += std::max(with_dictionary, single);
  }
  const ByteView head_tried = part_of(first, text_max);
  TOKVAULT_ASSIGN(const Buffer frame, zstd_compress(head_tried, levels.dictionary));
  const double head = static_cast<double>(frame.size()) * static_cast<double>(first.size()) /
                      static_cast<double>(std::max<std::size_t>(1, head_tried.size()));
  const double times = rest == 0 ? 0 : left / rest;
  StreamTrial out;
  out.stored = static_cast<double>(ps.dictionary.size + ps.blocks.size);
  if (tried > 0) without_artifact += plain * static_cast<double>(ps.blocks.size) / tried;
  out.without_artifact = model == nullptr ? out.stored : std::max(out.stored, without_artifact);
  out.zstd = std::max(out.without_artifact, head + rest_zstd * times);
  out.without_bases = out.zstd;
  out.without_dictionary = std::max(out.zstd, head + rest_alone * times);
  return out;
}

}  // namespace

Result<TextMeter> TextMeter::make(std::uint64_t every) {
  TextMeter out(std::max<std::uint64_t>(1, every));
  TOKVAULT_ASSIGN(out.alone_, BlockEncoder::make({}, kAloneLevel));
  TOKVAULT_ASSIGN(out.sequence_, StreamEncoder::make(kSequenceLevel, {}));
  return out;
}

Status TextMeter::add(ByteView code, bool is_near, double copied, bool always, TextSums& sums) {
  const bool is_tried = number_++ % every_ == 0 || always;
  if (code.empty()) return {};
  piece_.clear();
  TOKVAULT_TRY(sequence_->write(code, true, piece_));
  const auto in_sequence =
      static_cast<double>(piece_.size() - std::min(piece_.size() - 1, kPieceBytes));
  sums.code_bytes += code.size();
  sums.in_sequence += in_sequence;
  if (!is_tried) return {};
  TOKVAULT_ASSIGN(const Buffer frame, alone_->encode(code));
  const auto alone = static_cast<double>(frame.size());
  const double saved = std::max(0.0, alone - in_sequence);
  // A passage that is copied costs next to nothing.
  const double passages = is_near ? 0 : std::min(saved, alone * copied);
  sums.tried_bytes += code.size();
  sums.alone += alone;
  sums.substring += passages;
  (is_near ? sums.near : sums.context) += saved - passages;
  return {};
}

Result<StreamTrial> try_stream(const PackFile& pack, Stream stream, std::uint64_t text_max) {
  const PackStream& ps = pack.footer().streams[stream];
  if (ps.block_count > 0) {
    return ps.codec == PackCodec::token_model ? try_model_blocks(pack, stream, text_max)
                                              : try_blocks(pack, stream, text_max);
  }
  TOKVAULT_ASSIGN(StreamTrial out, try_one_text(pack, stream, text_max));
  out.without_bases = out.without_dictionary = out.zstd;
  return out;
}

void StreamTrial::scale(double times) {
  for (double* bytes : {&stored, &without_artifact, &zstd, &without_bases, &without_dictionary}) {
    *bytes *= times;
  }
}

StreamSavings StreamSavings::of(const StreamTrial& trial, double alone, const TextSums& sums) {
  StreamSavings out;
  out.disk = trial.stored;
  out.artifact = trial.without_artifact - trial.stored;
  out.model = trial.zstd - trial.without_artifact;
  out.alone = std::max(alone, trial.zstd);
  const double shared = out.alone - trial.zstd;
  const double all = sums.near + sums.substring + sums.context;
  out.near = all > 0 ? shared * sums.near / all : 0;
  out.substring = all > 0 ? shared * sums.substring / all : 0;
  out.context = shared - out.near - out.substring;
  out.bases = std::min(shared, trial.without_bases - trial.zstd);
  out.pack_dictionary =
      std::min(shared - out.bases, trial.without_dictionary - trial.without_bases);
  return out;
}

void StreamSavings::add(const StreamSavings& other, double times) {
  alone += other.alone * times;
  near += other.near * times;
  substring += other.substring * times;
  context += other.context * times;
  model += other.model * times;
  artifact += other.artifact * times;
  pack_dictionary += other.pack_dictionary * times;
  bases += other.bases * times;
  disk += other.disk * times;
}

}  // namespace tokvault
