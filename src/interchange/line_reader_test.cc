#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdio>
#include <filesystem>
#include <random>

#include "base/file.h"
#include "tokvault/interchange.h"

namespace tokvault {
namespace {

constexpr std::uint64_t kLimit = 64u << 20;

class LineReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        std::filesystem::temp_directory_path() / ("tokvault_lines_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string file(std::string_view bytes) {
    const std::string path = folder_ / "file";
    auto out = File::open(path, O_WRONLY | O_CREAT | O_TRUNC);
    EXPECT_TRUE(out && out->write(bytes));
    return path;
  }

  static std::vector<std::string> lines(const std::string& path, std::uint64_t limit = kLimit) {
    std::vector<std::string> all;
    auto reader = LineReader::open(path, limit);
    EXPECT_TRUE(reader) << reader.error().message();
    if (!reader) return all;
    LineReader::Line line;
    while (true) {
      auto more = (*reader)->next(line);
      EXPECT_TRUE(more) << more.error().message();
      if (!more || !*more) return all;
      EXPECT_EQ(line.number, all.size() + 1);
      all.emplace_back(line.too_long ? "<too long>" : line.text);
    }
  }
  // The error that reading all of a file ends with.
  static Error failure(const std::string& path) {
    auto reader = LineReader::open(path, kLimit);
    if (!reader) return std::move(reader).error();
    LineReader::Line line;
    while (true) {
      auto more = (*reader)->next(line);
      if (!more) return std::move(more).error();
      if (!*more) return {};
    }
  }

  static std::string gzip(std::string_view text) {
    z_stream stream{};
    EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    std::string in(text);
    std::string out(text.size() + 1000, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(in.data());
    stream.avail_in = static_cast<uInt>(in.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
  }
  // As the command writes it from a pipe: a window is stated, not the size.
  static std::string zstd(std::string_view text, int window_log = 20) {
    ZSTD_CCtx* const context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    std::string out(ZSTD_compressBound(text.size()), '\0');
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    ZSTD_inBuffer from{text.data(), text.size(), 0};
    EXPECT_FALSE(ZSTD_isError(ZSTD_compressStream2(context, &to, &from, ZSTD_e_continue)));
    EXPECT_EQ(ZSTD_compressStream2(context, &to, &from, ZSTD_e_end), 0u);
    out.resize(to.pos);
    ZSTD_freeCCtx(context);
    return out;
  }

  std::filesystem::path folder_;
};

using Lines = std::vector<std::string>;

TEST_F(LineReaderTest, Lines) {
  EXPECT_EQ(lines(file("")), Lines{});
  EXPECT_EQ(lines(file("\n")), Lines{""});
  EXPECT_EQ(lines(file("a\n\nb\r\nc")), (Lines{"a", "", "b\r", "c"}));
  EXPECT_EQ(lines(file("a\nb\n")), (Lines{"a", "b"}));
  EXPECT_EQ(lines(file(std::string("\0\n\x1f\n", 4))), (Lines{std::string(1, '\0'), "\x1f"}));
  EXPECT_EQ(lines(file("\x1f")), Lines{"\x1f"});
}

TEST_F(LineReaderTest, RandomLinesInEveryCompression) {
  std::mt19937 random(7);
  Lines all;
  std::string text;
  for (int i = 0; i < 3000; ++i) {
    // Some of them longer than the buffer and its steps.
    const std::size_t size = i % 1000 == 499 ? 1'300'000 : i % 100 == 49 ? 100'000 : random() % 300;
    std::string line(size, 'a');
    for (std::size_t k = 0; k < size; k += 1 + random() % 40) {
      line[k] = static_cast<char>('b' + random() % 20);
    }
    text += line + "\n";
    all.push_back(std::move(line));
  }
  const std::string plain = file(text);
  EXPECT_EQ(lines(plain), all);
  const Buffer source = (*LineReader::open(plain, kLimit))->source();
  const std::size_t half = text.size() / 2;
  const std::string_view a = std::string_view(text).substr(0, half);
  const std::string_view b = std::string_view(text).substr(half);
  for (const std::string& bytes :
       {gzip(text), gzip(a) + gzip(b), gzip(a) + gzip("") + gzip(b) + std::string(512, '\0'),
        zstd(text), zstd(a) + zstd(b), zstd("") + zstd(text, 27),
        std::string("\x50\x2a\x4d\x18\x03\0\0\0abc", 11) + zstd(text)}) {
    const std::string path = file(bytes);
    EXPECT_TRUE(lines(path) == all);
    // The same input, however it is compressed.
    EXPECT_EQ((*LineReader::open(path, kLimit))->source(), source);
  }
}

TEST_F(LineReaderTest, PassesOverLinesThatAreTooLong) {
  for (std::size_t limit : {std::size_t{10}, std::size_t{1} << 20, std::size_t{3} << 20}) {
    const std::string fits(limit, 'f');
    const std::string long_line(limit + 1, 'l');
    const std::string huge(limit * 3 + (5u << 20), 'h');
    const std::string text =
        "a\n" + fits + "\n" + long_line + "\nb\n" + huge + "\n" + fits + "\n" + huge;
    const std::string path = file(text);
    EXPECT_EQ(lines(path, limit),
              (Lines{"a", fits, "<too long>", "b", "<too long>", fits, "<too long>"}));
    auto reader = LineReader::open(path, limit);
    LineReader::Line line;
    while (*(*reader)->next(line)) {
    }
    EXPECT_EQ(line.end_offset, text.size());
    EXPECT_EQ((*reader)->consumed_bytes(), text.size());
    EXPECT_EQ((*reader)->size_bytes(), text.size());
  }
}

TEST_F(LineReaderTest, OffsetsAndStateFollowTheLines) {
  const std::string path = file("aa\nb\n\nccc");
  auto reader = LineReader::open(path, kLimit);
  LineReader::Line line;
  std::vector<std::uint64_t> offsets;
  std::vector<Buffer> states;
  while (*(*reader)->next(line)) {
    offsets.push_back(line.end_offset);
    states.push_back((*reader)->state_hash());
  }
  EXPECT_EQ(offsets, (std::vector<std::uint64_t>{3, 5, 6, 9}));
  // The same lines again give the same states, others do not.
  auto same = LineReader::open(file("aa\nb\n\nccc"), kLimit);
  auto other = LineReader::open(file("aa\nB\n\nccc"), kLimit);
  for (const Buffer& state : states) {
    ASSERT_TRUE(*(*same)->next(line));
    EXPECT_EQ((*same)->state_hash(), state);
  }
  ASSERT_TRUE(*(*other)->next(line));
  EXPECT_EQ((*other)->state_hash(), states[0]);
  ASSERT_TRUE(*(*other)->next(line));
  EXPECT_NE((*other)->state_hash(), states[1]);
  ASSERT_TRUE(*(*other)->next(line));
  EXPECT_NE((*other)->state_hash(), states[2]);
}

TEST_F(LineReaderTest, TheStateIsOfTheLinesAlone) {
  auto states = [](const std::string& path, std::uint64_t limit) {
    std::vector<Buffer> all;
    auto reader = LineReader::open(path, limit);
    LineReader::Line line;
    while (*(*reader)->next(line)) all.push_back((*reader)->state_hash());
    return all;
  };
  // Beyond the limit a line is never whole in memory.
  const std::string text =
      "one\n" + std::string(300'000, 'x') + "\n" + std::string(3u << 20, 'y') + "\nlast";
  const auto all = states(file(text), kLimit);
  ASSERT_EQ(all.size(), 4u);
  for (const std::uint64_t limit :
       {std::uint64_t{2}, std::uint64_t{1000}, std::uint64_t{2} << 20}) {
    EXPECT_EQ(states(file(text), limit), all) << limit;
  }
  std::string other = text;
  other[1'000'000] = 'z';
  const auto others = states(file(other), 1000);
  EXPECT_EQ(others[1], all[1]);
  EXPECT_NE(others[2], all[2]);
  // A file that ends within its last line, and grows; and one that says how it is encoded.
  auto grown = states(file(text + "\nmore"), kLimit);
  grown.pop_back();
  EXPECT_EQ(grown, all);
  EXPECT_EQ(states(file("\xef\xbb\xbf" + text), kLimit), all);
}

TEST_F(LineReaderTest, SourceIsTheBeginningOfTheInput) {
  const std::string head(64u << 10, 'a');
  const auto source = [&](const std::string& text) {
    return (*LineReader::open(file(text), kLimit))->source();
  };
  EXPECT_EQ(source(head + "b"), source(head + "c"));
  EXPECT_NE(source(head), source(head.substr(1)));
  EXPECT_EQ(source("").size(), 32u);
}

TEST_F(LineReaderTest, DamagedAndTruncatedInputIsNamed) {
  std::mt19937 random(3);
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += std::to_string(random()) + "\n";
  for (const std::string& whole : {gzip(text), zstd(text)}) {
    for (const std::string& bytes :
         {whole.substr(0, whole.size() / 2), whole.substr(0, whole.size() - 1), whole + "garbage",
          whole.substr(0, whole.size() / 2) + "x" + whole.substr(whole.size() / 2)}) {
      const std::string path = file(bytes);
      const Error error = failure(path);
      EXPECT_EQ(error.code(), Errc::corrupt) << error.message();
      EXPECT_TRUE(error.message().starts_with(path + ": ")) << error.message();
    }
    EXPECT_EQ(failure(file(whole)).code(), Errc::ok);
  }
  // Only the magic number is left.
  EXPECT_EQ(failure(file("\x1f\x8b")).code(), Errc::corrupt);
  EXPECT_EQ(failure(file("\x28\xb5\x2f\xfd")).code(), Errc::corrupt);
}

TEST_F(LineReaderTest, NamesCompressionThatIsNotRead) {
  const std::pair<std::string, std::string> cases[] = {{"xz", std::string("\xfd\x37zXZ\0\0", 7)},
                                                       {"bzip2", "BZh11AY&SY\x12"},
                                                       {"lz4", "\x04\x22\x4d\x18"},
                                                       {"zip", "PK\x03\x04\x14"}};
  for (const auto& [name, bytes] : cases) {
    const Error error = failure(file(bytes));
    EXPECT_EQ(error.code(), Errc::invalid);
    EXPECT_NE(error.message().find("compressed with " + name + ", "), std::string_view::npos)
        << error.message();
    EXPECT_EQ(lines(file(gzip(bytes))).size(), 1u) << name;
  }
  for (const char* line : {"BZh9", "BZh91AY&S", "BZh", "PK"}) {
    EXPECT_EQ(lines(file(line)), std::vector<std::string>{line});
  }
}

TEST_F(LineReaderTest, RefusesWindowsBeyondTheLimit) {
  const Error error = failure(file(zstd("a\n", 28)));
  EXPECT_EQ(error.code(), Errc::exhausted);
  EXPECT_NE(error.message().find("--long=27"), std::string::npos) << error.message();
}

TEST_F(LineReaderTest, FilesThatCannotBeRead) {
  EXPECT_EQ(LineReader::open(folder_ / "absent", kLimit).code(), Errc::not_found);
  EXPECT_EQ(LineReader::open(folder_, kLimit).code(), Errc::invalid);
}

TEST_F(LineReaderTest, WriterMakesWhatTheReaderReads) {
  std::mt19937 random(11);
  Lines all;
  for (int i = 0; i < 20'000; ++i)
    all.push_back(std::to_string(random()) + std::string(i % 50, 'x'));
  for (const char* name : {"plain", "a.gz", "a.zst"}) {
    const std::string path = folder_ / name;
    ASSERT_TRUE(File::open(path, O_WRONLY | O_CREAT)->write("before\n"));
    {
      auto writer = LineWriter::open(path);
      ASSERT_TRUE(writer);
      for (const std::string& line : all) ASSERT_TRUE((*writer)->write(line));
      EXPECT_EQ(lines(path), Lines{"before"});  // until it is finished
      ASSERT_TRUE((*writer)->finish());
    }
    EXPECT_TRUE(lines(path) == all) << name;
    {
      auto writer = LineWriter::open(path);
      ASSERT_TRUE(writer && (*writer)->write("dropped"));
    }
    EXPECT_TRUE(lines(path) == all) << name;
    {
      auto writer = LineWriter::open(path);
      ASSERT_TRUE(writer && (*writer)->finish());
    }
    EXPECT_EQ(lines(path), Lines{});
  }
  // Nothing else is left in the folder.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 3);
  EXPECT_EQ(LineWriter::open(folder_).code(), Errc::invalid);
  EXPECT_EQ(LineWriter::open(folder_ / "absent" / "file").code(), Errc::not_found);
}

TEST_F(LineReaderTest, AWriterKeepsLinksAndPermissions) {
  namespace fs = std::filesystem;
  fs::create_directory(folder_ / "there");
  const std::string target = folder_ / "there" / "target";
  fs::create_symlink("there/target", folder_ / "link");
  fs::create_symlink("link", folder_ / "second");
  for (const char* const text : {"new", "replaced"}) {  // the first time the links lead nowhere
    auto writer = LineWriter::open(folder_ / "second");
    ASSERT_TRUE(writer) << writer.error().message();
    ASSERT_TRUE((*writer)->write(text));
    // What is not whole has no name: a process that is killed leaves nothing.
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "there"), {}),
              std::string(text) == "new" ? 0 : 1);
    ASSERT_TRUE((*writer)->finish());
    EXPECT_EQ(lines(target), Lines{text});
    EXPECT_TRUE(fs::is_symlink(folder_ / "link") && fs::is_symlink(folder_ / "second"));
    if (std::string(text) == "replaced") {
      EXPECT_EQ(fs::status(target).permissions(), fs::perms(0751));
    }
    fs::permissions(target, fs::perms(0751));
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "there"), {}), 1);
  fs::create_symlink("loop", folder_ / "loop");
  EXPECT_FALSE(LineWriter::open(folder_ / "loop"));
}

TEST_F(LineReaderTest, ALineThatIsTooLongIsHandedOnInPieces) {
  const std::string longest(3u << 20, 'x');
  for (const std::string end : {"\n", "\nshort\n", ""}) {
    std::string taken;
    int lines = 0;
    auto reader = LineReader::open(file("short\n" + longest + end), 1000,
                                   [&](std::string_view piece, bool last) -> Status {
                                     taken.append(piece);
                                     lines += last ? 1 : 0;
                                     return {};
                                   });
    ASSERT_TRUE(reader);
    LineReader::Line line;
    for (int i = 1; i <= 2; ++i) {
      ASSERT_TRUE(*(*reader)->next(line));
      EXPECT_EQ(line.too_long, i == 2);
    }
    EXPECT_EQ(lines, 1);
    EXPECT_TRUE(taken == longest);
    EXPECT_EQ(line.end_offset, 6 + longest.size() + (end.empty() ? 0 : 1));
  }
  auto reader = LineReader::open(file(longest), 1000, [](std::string_view, bool) -> Status {
    return Error(Errc::io, "full");
  });
  LineReader::Line line;
  EXPECT_EQ((*reader)->next(line).code(), Errc::io);
}

TEST_F(LineReaderTest, APipeThatPausesIsIdle) {
  const std::string pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  auto writer = File::open(pipe, O_RDWR);  // so that nobody waits for the other
  ASSERT_TRUE(writer && writer->write("one\ntwo\nhalf"));
  auto reader = LineReader::open(pipe, kLimit);
  ASSERT_TRUE(reader);
  EXPECT_TRUE((*reader)->source().empty());
  LineReader::Line line;
  for (const char* const text : {"one", "two"}) {
    EXPECT_FALSE((*reader)->is_idle());
    ASSERT_TRUE(*(*reader)->next(line));
    EXPECT_EQ(line.text, text);
  }
  EXPECT_TRUE((*reader)->is_idle());
  ASSERT_TRUE(writer->write(" a line\n"));
  EXPECT_FALSE((*reader)->is_idle());
  ASSERT_TRUE(*(*reader)->next(line));
  EXPECT_EQ(line.text, "half a line");
  // A file never pauses, and what it begins with is known.
  reader = LineReader::open(file("one"), kLimit);
  EXPECT_FALSE((*reader)->is_idle());
  EXPECT_EQ((*reader)->source().size(), 32u);
}

TEST_F(LineReaderTest, LinesAreAddedToAFile) {
  const std::string path = folder_ / "grows";
  for (const char* const line : {"one\n", "two\nha", "three\n"}) {
    auto out = LineAppender::open(path);
    ASSERT_TRUE(out) << out.error().message();
    ASSERT_TRUE((*out)->write(line));
    ASSERT_TRUE((*out)->sync());
  }
  // A line that was cut short is one by itself.
  EXPECT_EQ(lines(path), (std::vector<std::string>{"one", "two", "ha", "three"}));
  auto full = LineAppender::open("/dev/full");
  ASSERT_TRUE(full);
  EXPECT_EQ((*full)->write("x\n").code(), Errc::exhausted);
  EXPECT_TRUE((*full)->sync()) << "a device has nothing to sync";
  EXPECT_EQ(LineAppender::open(folder_ / "absent" / "file").code(), Errc::not_found);
  EXPECT_FALSE(LineAppender::open(folder_));
}

TEST_F(LineReaderTest, AByteOrderMarkIsPassedOverAtTheBeginningOnly) {
  EXPECT_EQ(lines(file("\xef\xbb\xbfone\n\xef\xbb\xbftwo")),
            (std::vector<std::string>{"one", "\xef\xbb\xbftwo"}));
  auto reader = LineReader::open(file("\xef\xbb\xbfone\n"), kLimit);
  LineReader::Line line;
  ASSERT_TRUE(*(*reader)->next(line));
  EXPECT_EQ(line.end_offset, 7u);
}

}  // namespace
}  // namespace tokvault
