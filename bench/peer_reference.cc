// The reference scheme, a token store as one would first write it: each distinct message is stored
// once, found by the SHA-256 of its tokens, as one frame of its own: LEB128 token ids under zstd -3
// with a trained dictionary of 110 KB.
//
//   peer_reference input=FILE.jsonl database=FILE.db [tokenizer=cl100k_base] [count=5000] [seed=1]
//
// Frames stand in one SQLite database and not in a file each, which would take 4 KB or more a
// message: `bytes` is that file with its indexes, `payload_bytes` the frames and the dictionary
// alone. What is not text (keys, roles, numbers, order) is a row for each conversation, zstd -3
// without a dictionary: the JSON with holes that JsonReader makes, and the numbers of the segments
// that belong into them.
// The dictionary is trained on all distinct messages before any frame is written, which a store
// that grows cannot do. What is read back is compared with what went in. Prints one line of JSON.
#include <openssl/sha.h>
#include <sqlite3.h>
#include <zdict.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <unordered_map>

#include "bench/bench_tools.h"
#include "tokvault/interchange.h"
#include "tokvault/tokenizer.h"

namespace tokvault::bench {
namespace {

constexpr std::size_t kDictionaryBytes = 110 << 10;
constexpr std::size_t kTrainingBytesMax = std::size_t{256} << 20;
constexpr int kLevel = 3;

template <class T, auto Free>
struct Freed {
  void operator()(T* it) const { Free(it); }
};
using Database = std::unique_ptr<sqlite3, Freed<sqlite3, sqlite3_close>>;
using Statement = std::unique_ptr<sqlite3_stmt, Freed<sqlite3_stmt, sqlite3_finalize>>;

void put_leb(std::uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

// The bytes are ours: they were written by this program in this run.
std::uint64_t take_leb(std::string_view& in) {
  std::uint64_t value = 0;
  for (int shift = 0; !in.empty(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(in.front());
    in.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) break;
  }
  return value;
}

std::string_view take(std::string_view& in, std::size_t size) {
  const std::string_view taken = in.substr(0, size);
  in.remove_prefix(taken.size());
  return taken;
}

std::string digest_of(const std::vector<Token>& tokens) {
  std::string bytes;
  for (const Token token : tokens) {
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(token >> shift));
  }
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

// zstd -3 with and without the dictionary.
class Zstd {
 public:
  void train(const std::string& samples, const std::vector<std::size_t>& sizes) {
    dictionary_.resize(kDictionaryBytes);
    const std::size_t size =
        ZDICT_trainFromBuffer(dictionary_.data(), dictionary_.size(), samples.data(), sizes.data(),
                              static_cast<unsigned>(sizes.size()));
    dictionary_.resize(ZDICT_isError(size) ? 0 : size);  // too little text to train on
    compress_with_.reset(ZSTD_createCDict(dictionary_.data(), dictionary_.size(), kLevel));
    decompress_with_.reset(ZSTD_createDDict(dictionary_.data(), dictionary_.size()));
  }
  const std::string& dictionary() const { return dictionary_; }
  std::string pack(std::string_view bytes, bool with_dictionary) {
    std::string out(ZSTD_compressBound(bytes.size()), '\0');
    const std::size_t size =
        with_dictionary ? ZSTD_compress_usingCDict(compressor_.get(), out.data(), out.size(),
                                                   bytes.data(), bytes.size(), compress_with_.get())
                        : ZSTD_compressCCtx(compressor_.get(), out.data(), out.size(), bytes.data(),
                                            bytes.size(), kLevel);
    if (ZSTD_isError(size)) die("zstd", ZSTD_getErrorName(size));
    out.resize(size);
    return out;
  }
  std::string unpack(std::string_view frame, bool with_dictionary) {
    std::string out(ZSTD_getFrameContentSize(frame.data(), frame.size()), '\0');
    const std::size_t size =
        with_dictionary
            ? ZSTD_decompress_usingDDict(decompressor_.get(), out.data(), out.size(), frame.data(),
                                         frame.size(), decompress_with_.get())
            : ZSTD_decompressDCtx(decompressor_.get(), out.data(), out.size(), frame.data(),
                                  frame.size());
    if (size != out.size()) die("zstd", "another size came back");
    return out;
  }

 private:
  std::string dictionary_;
  std::unique_ptr<ZSTD_CCtx, Freed<ZSTD_CCtx, ZSTD_freeCCtx>> compressor_{ZSTD_createCCtx()};
  std::unique_ptr<ZSTD_DCtx, Freed<ZSTD_DCtx, ZSTD_freeDCtx>> decompressor_{ZSTD_createDCtx()};
  std::unique_ptr<ZSTD_CDict, Freed<ZSTD_CDict, ZSTD_freeCDict>> compress_with_;
  std::unique_ptr<ZSTD_DDict, Freed<ZSTD_DDict, ZSTD_freeDDict>> decompress_with_;
};

class Store {
 public:
  Store(const std::string& path, std::shared_ptr<const Tokenizer> tokenizer)
      : tokenizer_(std::move(tokenizer)), encoder_(tokenizer_->make_encoder()) {
    sqlite3* raw = nullptr;
    if (sqlite3_open(path.c_str(), &raw) != SQLITE_OK) die(path, "cannot be opened");
    database_.reset(raw);
    run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "CREATE TABLE dictionary(bytes BLOB);"
        "CREATE TABLE digests(digest BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID;"
        "CREATE TABLE frames(number INTEGER PRIMARY KEY, frame BLOB);"
        "CREATE TABLE conversations(number INTEGER PRIMARY KEY, manifest BLOB)");
  }

  // In memory until write(), because the dictionary has to be there before the first frame.
  void add(const Conversation& conversation) {
    std::string manifest;
    put_leb(conversation.messages.size(), manifest);
    add_part(conversation.form, conversation.values, manifest);
    for (const Message& message : conversation.messages) {
      add_part(message.form, message.values, manifest);
    }
    manifests_.push_back(std::move(manifest));
  }

  void write() {
    std::string samples;
    std::vector<std::size_t> sizes;
    for (const auto& segment : segments_) {
      if (samples.size() + segment.leb.size() > kTrainingBytesMax) break;
      samples += segment.leb;
      sizes.push_back(segment.leb.size());
    }
    zstd_.train(samples, sizes);
    payload_bytes_ = zstd_.dictionary().size();
    run("BEGIN");
    const Statement dictionary = prepare("INSERT INTO dictionary VALUES(?)");
    bind(dictionary, 1, zstd_.dictionary());
    step(dictionary);
    const Statement digest = prepare("INSERT INTO digests VALUES(?,?)");
    const Statement segment = prepare("INSERT INTO frames VALUES(?,?)");
    for (std::size_t i = 0; i < segments_.size(); ++i) {
      const std::string frame = zstd_.pack(segments_[i].leb, true);
      payload_bytes_ += frame.size();
      sqlite3_bind_int64(segment.get(), 1, static_cast<sqlite3_int64>(i));
      bind(segment, 2, frame);
      step(segment);
      bind(digest, 1, segments_[i].digest);
      sqlite3_bind_int64(digest.get(), 2, static_cast<sqlite3_int64>(i));
      step(digest);
      if (i % 1000 == 999) run("COMMIT; BEGIN");
    }
    const Statement conversation = prepare("INSERT INTO conversations VALUES(?,?)");
    for (std::size_t i = 0; i < manifests_.size(); ++i) {
      const std::string frame = zstd_.pack(manifests_[i], false);
      sqlite3_bind_int64(conversation.get(), 1, static_cast<sqlite3_int64>(i));
      bind(conversation, 2, frame);
      step(conversation);
      if (i % 1000 == 999) run("COMMIT; BEGIN");
    }
    run("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
    select_conversation_ = prepare("SELECT manifest FROM conversations WHERE number = ?");
    select_segment_ = prepare("SELECT frame FROM frames WHERE number = ?");
  }

  Conversation get(std::uint64_t number) {
    const std::string manifest = zstd_.unpack(row(select_conversation_, number), false);
    std::string_view in = manifest;
    Conversation conversation;
    conversation.messages.resize(take_leb(in));
    get_part(in, conversation.form, conversation.values);
    for (Message& message : conversation.messages) get_part(in, message.form, message.values);
    return conversation;
  }

  std::size_t conversations() const { return manifests_.size(); }
  std::size_t segments() const { return segments_.size(); }
  std::uint64_t payload_bytes() const { return payload_bytes_; }

 private:
  struct Segment {
    std::string digest;
    std::string leb;
  };

  // The kind of a value stands in the form: the control byte of its hole.
  static std::vector<Hole> holes_of(std::string_view form) {
    std::vector<Hole> holes;
    for (const char byte : form) {
      if (is_value_hole(byte)) holes.push_back(static_cast<Hole>(byte));
    }
    return holes;
  }

  void add_part(const std::string& form, const std::vector<Value>& values, std::string& manifest) {
    put_leb(form.size(), manifest);
    manifest += form;
    const std::vector<Hole> holes = holes_of(form);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (holes[i] == Hole::text || holes[i] == Hole::tokens) {
        tokens_ = values[i].tokens;
        if (holes[i] == Hole::text) encoder_->encode(values[i].bytes, tokens_);
        put_leb(segment_of(tokens_), manifest);
      } else {
        put_leb(values[i].bytes.size(), manifest);
        manifest += values[i].bytes;
      }
    }
  }

  std::uint64_t segment_of(const std::vector<Token>& tokens) {
    std::string digest = digest_of(tokens);
    const auto [known, is_new] = known_.try_emplace(digest, segments_.size());
    if (is_new) {
      std::string leb;
      for (const Token token : tokens) put_leb(token, leb);
      segments_.push_back({std::move(digest), std::move(leb)});
    }
    return known->second;
  }

  void get_part(std::string_view& in, std::string& form, std::vector<Value>& values) {
    form = take(in, take_leb(in));
    for (const Hole hole : holes_of(form)) {
      Value& value = values.emplace_back();
      const std::uint64_t number_or_size = take_leb(in);
      if (hole != Hole::text && hole != Hole::tokens) {
        value.bytes = take(in, number_or_size);
        continue;
      }
      const std::string leb = zstd_.unpack(row(select_segment_, number_or_size), true);
      for (std::string_view rest = leb; !rest.empty();) {
        value.tokens.push_back(static_cast<Token>(take_leb(rest)));
      }
      if (hole == Hole::text) {
        need(tokenizer_->decode(value.tokens, value.bytes), "decode");
        value.tokens.clear();
      }
    }
  }

  void run(const char* sql) {
    if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
      die(sql, sqlite3_errmsg(database_.get()));
    }
  }
  Statement prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(database_.get(), sql, -1, &statement, nullptr) != SQLITE_OK) {
      die(sql, sqlite3_errmsg(database_.get()));
    }
    return Statement(statement);
  }
  static void bind(const Statement& statement, int index, std::string_view bytes) {
    sqlite3_bind_blob64(statement.get(), index, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
  }
  void step(const Statement& statement) {
    if (sqlite3_step(statement.get()) != SQLITE_DONE) {
      die("insert", sqlite3_errmsg(database_.get()));
    }
    sqlite3_reset(statement.get());
  }
  std::string row(const Statement& statement, std::uint64_t number) {
    sqlite3_reset(statement.get());
    sqlite3_bind_int64(statement.get(), 1, static_cast<sqlite3_int64>(number));
    if (sqlite3_step(statement.get()) != SQLITE_ROW) {
      die("select", sqlite3_errmsg(database_.get()));
    }
    return {static_cast<const char*>(sqlite3_column_blob(statement.get(), 0)),
            static_cast<std::size_t>(sqlite3_column_bytes(statement.get(), 0))};
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<Tokenizer::Encoder> encoder_;
  Database database_;
  Statement select_conversation_;
  Statement select_segment_;
  Zstd zstd_;
  std::vector<Segment> segments_;
  std::unordered_map<std::string, std::uint64_t> known_;
  std::vector<std::string> manifests_;
  std::vector<Token> tokens_;
  std::uint64_t payload_bytes_ = 0;
};

void measure(const Arguments& arguments) {
  const std::string path = arguments.text("database");
  Store store(path, need(open_tokenizer(arguments.text("tokenizer", "cl100k_base")), "tokenizer"));
  std::ifstream input(arguments.text("input"), std::ios::binary);
  if (!input) die(arguments.text("input"), "cannot be read");
  JsonReader reader;
  std::string line;
  std::vector<std::string> lines;
  std::uint64_t bytes = 0;
  const Stopwatch import;
  while (std::getline(input, line)) {
    store.add(need(reader.conversation(line), "line"));
    bytes += line.size() + 1;
    lines.push_back(line);
  }
  if (lines.empty()) die(arguments.text("input"), "is empty");
  store.write();
  const double import_seconds = import.seconds();

  Random random(arguments.count("seed", 1));
  std::vector<double> micros;
  const std::uint64_t count = arguments.count("count", 5000);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t number = random.below(lines.size());
    const Stopwatch watch;
    const Conversation got = store.get(number);
    micros.push_back(watch.micros());
    const Conversation wanted = need(reader.conversation(lines[number]), "line");
    if (got.form != wanted.form || got.values != wanted.values || got.messages != wanted.messages) {
      die("get", "another conversation came back");
    }
  }
  print_json({{"conversations", static_cast<double>(store.conversations())},
              {"segments", static_cast<double>(store.segments())},
              {"bytes", static_cast<double>(std::filesystem::file_size(path))},
              {"payload_bytes", static_cast<double>(store.payload_bytes())},
              {"import_mb_per_s", static_cast<double>(bytes) / import_seconds / 1e6},
              {"p50_us", quantile(micros, 0.5)},
              {"p99_us", quantile(micros, 0.99)},
              {"peak_rss_mb", peak_rss_mb()}});
}

}  // namespace
}  // namespace tokvault::bench

int main(int argc, char** argv) {
  tokvault::bench::measure(tokvault::bench::Arguments(argc, argv));
  return 0;
}
