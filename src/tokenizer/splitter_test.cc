#include "tokenizer/splitter.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

namespace tokvault {
namespace {

using Pieces = std::vector<std::string>;

// The pieces of a copy of exactly the text's size, so that a sanitizer sees a byte read too far.
Pieces split(Pattern pattern, std::string_view text, std::size_t capacity = 3) {
  const std::unique_ptr<char[]> copy(new char[text.size()]);
  std::copy(text.begin(), text.end(), copy.get());
  Splitter splitter(pattern, {copy.get(), text.size()});
  std::vector<const char*> ends(capacity);
  Pieces out;
  const char* begin = copy.get();
  while (const std::size_t count = splitter.next(ends.data(), capacity)) {
    for (std::size_t i = 0; i < count; begin = ends[i++]) out.emplace_back(begin, ends[i]);
  }
  EXPECT_EQ(begin, copy.get() + text.size());
  return out;
}

Pieces cl100k(std::string_view text) { return split(Pattern::cl100k, text); }
Pieces o200k(std::string_view text) { return split(Pattern::o200k, text); }

TEST(Splitter, Words) {
  EXPECT_EQ(cl100k(""), Pieces{});
  EXPECT_EQ(cl100k("The quick fox."), (Pieces{"The", " quick", " fox", "."}));
  EXPECT_EQ(o200k("The quick fox."), (Pieces{"The", " quick", " fox", "."}));
  EXPECT_EQ(cl100k("a_b(c)"), (Pieces{"a", "_b", "(c", ")"}));
  EXPECT_EQ(o200k("a_b(c)"), (Pieces{"a", "_b", "(c", ")"}));
  EXPECT_EQ(cl100k("\tx\n\ty"), (Pieces{"\tx", "\n", "\ty"}));
}

TEST(Splitter, CapitalsSplitWordsInO200kOnly) {
  EXPECT_EQ(cl100k("parseHTMLDocument"), (Pieces{"parseHTMLDocument"}));
  EXPECT_EQ(o200k("parseHTMLDocument"), (Pieces{"parse", "HTMLDocument"}));
  EXPECT_EQ(o200k("aB ABC iPhoneX"), (Pieces{"a", "B", " ABC", " i", "Phone", "X"}));
  // Letters without case belong to both sides.
  EXPECT_EQ(o200k("AB\u4e2dC"), (Pieces{"AB\u4e2d", "C"}));
  EXPECT_EQ(o200k("\u4e2dABc"), (Pieces{"\u4e2dABc"}));
  EXPECT_EQ(o200k("\u4e2dAB"), (Pieces{"\u4e2d", "AB"}));
  EXPECT_EQ(o200k("\u01c5a\u01c5"), (Pieces{"\u01c5a", "\u01c5"}));
}

TEST(Splitter, Contractions) {
  EXPECT_EQ(cl100k("we'll 'tis"), (Pieces{"we", "'ll", " '", "tis"}));
  EXPECT_EQ(cl100k("'tis"), (Pieces{"'t", "is"}));
  EXPECT_EQ(o200k("'tis"), (Pieces{"'tis"}));
  EXPECT_EQ(cl100k("it'sx"), (Pieces{"it", "'s", "x"}));
  EXPECT_EQ(o200k("it'sx"), (Pieces{"it's", "x"}));
  EXPECT_EQ(o200k("IT'S THEY'rE o'k"), (Pieces{"IT'S", " THEY'rE", " o", "'k"}));
  EXPECT_EQ(cl100k("IT'S THEY'rE o'k"), (Pieces{"IT", "'S", " THEY", "'rE", " o", "'k"}));
  // The long s folds to s; the Kelvin sign folds to k, which is in no contraction.
  EXPECT_EQ(cl100k("a'\u017fb"), (Pieces{"a", "'\u017f", "b"}));
  EXPECT_EQ(o200k("a'\u017fb"), (Pieces{"a'\u017f", "b"}));
  EXPECT_EQ(cl100k("a'\u212ab"), (Pieces{"a", "'\u212ab"}));
}

TEST(Splitter, Numbers) {
  EXPECT_EQ(cl100k("1234567 8"), (Pieces{"123", "456", "7", " ", "8"}));
  EXPECT_EQ(o200k("12\u0663\u0664a"), (Pieces{"12\u0663", "\u0664", "a"}));
  EXPECT_EQ(o200k("x\u00b2"), (Pieces{"x", "\u00b2"}));
}

TEST(Splitter, Punctuation) {
  EXPECT_EQ(cl100k(" ...\r\n\n/a"), (Pieces{" ...\r\n\n", "/a"}));
  EXPECT_EQ(o200k(" ...\r\n/\n//a"), (Pieces{" ...\r\n/\n//", "a"}));
  EXPECT_EQ(o200k("!\u2019\u2019 \U0001f600b"), (Pieces{"!\u2019\u2019", " \U0001f600", "b"}));
}

TEST(Splitter, Spaces) {
  EXPECT_EQ(cl100k("a   b"), (Pieces{"a", "  ", " b"}));
  EXPECT_EQ(cl100k("a   "), (Pieces{"a", "   "}));
  EXPECT_EQ(cl100k("a \n \n  b"), (Pieces{"a", " \n \n", " ", " b"}));
  EXPECT_EQ(cl100k("a\u3000\u00a0b"), (Pieces{"a", "\u3000", "\u00a0b"}));
  EXPECT_EQ(cl100k("  1"), (Pieces{" ", " ", "1"}));
  // Not white space, though other definitions have them.
  EXPECT_EQ(cl100k(" \ufeff "), (Pieces{" \ufeff", " "}));
  EXPECT_EQ(cl100k("\x1c\x1c"), (Pieces{"\x1c\x1c"}));
}

TEST(Splitter, Marks) {
  EXPECT_EQ(cl100k("e\u0301a"), (Pieces{"e", "\u0301a"}));
  EXPECT_EQ(o200k("e\u0301a"), (Pieces{"e\u0301a"}));
  EXPECT_EQ(o200k("\u0301AB"), (Pieces{"\u0301", "AB"}));
  EXPECT_EQ(o200k("!\u0301!"), (Pieces{"!\u0301", "!"}));
  EXPECT_EQ(o200k("a\U000e0100b"), (Pieces{"a\U000e0100b"}));
}

TEST(Splitter, BytesThatAreNotTextAreOther) {
  EXPECT_EQ(cl100k("a\xff\xfe b"), (Pieces{"a", "\xff\xfe", " b"}));
  EXPECT_EQ(cl100k("\xff"
                   "a"),
            (Pieces{"\xff"
                    "a"}));
  // A lone surrogate, an overlong form, a sequence that is cut short, one beyond the last code
  // point.
  EXPECT_EQ(cl100k("a\xed\xa0\x80"
                   "b"),
            (Pieces{"a", "\xed\xa0\x80", "b"}));
  EXPECT_EQ(cl100k("a\xc0\x80"
                   "b"),
            (Pieces{"a", "\xc0\x80", "b"}));
  EXPECT_EQ(cl100k("a\xe0\x80\x80"
                   "b"),
            (Pieces{"a", "\xe0\x80\x80", "b"}));
  EXPECT_EQ(cl100k("a\xe4\xb8"), (Pieces{"a", "\xe4\xb8"}));
  EXPECT_EQ(cl100k("a\xf4\x90\x80\x80"), (Pieces{"a", "\xf4\x90\x80\x80"}));
  EXPECT_EQ(cl100k("a\xf0\x8f\xbf\xbf"), (Pieces{"a", "\xf0\x8f\xbf\xbf"}));
}

// What the fast implementation makes of ASCII must not depend on where a run meets the end of a
// vector, a batch or the text.
TEST(Splitter, LengthOfRunsDoesNotMatter) {
  for (std::size_t n = 1; n < 70; ++n) {
    const std::string lower(n, 'x');
    const std::string upper(n, 'X');
    EXPECT_EQ(o200k(upper + lower + " 1"), (Pieces{upper + lower, " ", "1"}));
    EXPECT_EQ(o200k(lower + upper), (Pieces{lower, upper}));
    EXPECT_EQ(o200k(upper + "\u00e9"), (Pieces{upper + "\u00e9"}));
    EXPECT_EQ(cl100k(upper + lower + "'s"), (Pieces{upper + lower, "'s"}));
    EXPECT_EQ(cl100k(lower + "\u00e9X"), (Pieces{lower + "\u00e9X"}));
    EXPECT_EQ(cl100k(std::string(n, '-') + "\n"), (Pieces{std::string(n, '-') + "\n"}));
  }
}

TEST(Splitter, BatchesDoNotMatterAndNoPieceIsEmpty) {
  std::mt19937 random(7);
  constexpr std::string_view kBytes = "aB1 \n\r'/.s\xc5\xbf\xe4\xb8\xad\xcc\x81\xc2\xa0\xff";
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (std::size_t n = random() % 40; n > 0; --n)
      text.push_back(kBytes[random() % kBytes.size()]);
    for (const Pattern pattern : {Pattern::cl100k, Pattern::o200k}) {
      const Pieces pieces = split(pattern, text, 100);
      EXPECT_EQ(pieces, split(pattern, text, 1));
      std::string joined;
      for (const std::string& piece : pieces) {
        EXPECT_FALSE(piece.empty());
        joined += piece;
      }
      EXPECT_EQ(joined, text);
    }
  }
}

}  // namespace
}  // namespace tokvault
