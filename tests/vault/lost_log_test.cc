// A vault of which a log is gone, whatever has happened to it: what was written after all that it
// can have held is served, everything else is `corrupt` and says which file it is, and nothing is
// said not to be there. The same for a writer, which goes on with what is left, beside a lost pack
// too.
#include <algorithm>
#include <atomic>
#include <functional>

#include "tests/vault/harness.h"

namespace tokvault {
namespace {

// How a log can be lost, all of it.
std::vector<std::pair<std::string, std::function<void(FaultBackend&, const std::string&)>>>
losses() {
  auto bytes_of = [](const FaultBackend& disk, const std::string& name) {
    Buffer bytes;
    EXPECT_OK(disk.get(name, 0, *disk.size(name), bytes));
    return bytes;
  };
  return {
      {"missing", [](auto& disk, auto& name) { EXPECT_OK(disk.remove(name)); }},
      {"empty", [](auto& disk, auto& name) { disk.overwrite(name, Buffer()); }},
      {"zeros",
       [=](auto& disk, auto& name) {
         disk.overwrite(name, Buffer(bytes_of(disk, name).size(), '\0'));
       }},
      {"of another vault",
       [](auto& disk, auto& name) {
         LogHeader header;
         header.number = number_of(name);
         header.vault.id = Buffer(16, 'x');
         header.vault.tokenizer = "bytes";
         disk.overwrite(name, encode_log_header(header));
       }},
      {"another log",
       [](auto& disk, auto& name) {
         LogHeader header;
         header.number = number_of(name) + 7;
         header.vault.id = Buffer(16, 'x');
         disk.overwrite(name, encode_log_header(header));
       }},
  };
}

bool names(std::string_view text, const std::string& file) {
  return text.find(file) != std::string_view::npos;
}

// A pack of "old" and "gone", and a log of what came next and deleted "gone".
class LostLog : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(place_.create());
    auto vault = place_.open();
    ASSERT_OK(vault);
    put(**vault, {"old", "gone"});
    ASSERT_OK((*vault)->put_segments({&held_, 1}, {.holder = "early"}));
    ASSERT_OK((*vault)->seal());
    put(**vault, {"lost"});
    ASSERT_OK((*vault)->forget(std::vector<std::string>{"gone"}));
    ASSERT_OK((*vault)->put_segments({&alone_, 1}, {.holder = "late"}));
    ASSERT_OK((*vault)->put_segments({&short_, 1}, {.holder = "late"}));
    vault->reset();
    const auto logs = place_.disk.list("log");
    ASSERT_OK(logs);
    ASSERT_EQ(logs->size(), 1u);
    log_ = (*logs)[0].name;
  }

  static Conversation of(const std::string& id) {
    return conversation(id, {"text of " + id, shared_text(1)});
  }
  static void put(Vault& vault, const std::vector<std::string>& ids) {
    for (const std::string& id : ids) ASSERT_OK(vault.put(of(id), {}));
  }

  // Nothing is served that the log may have deleted, and nothing said not to be there.
  void expect_doubt(const Vault& vault, const std::string& where) const {
    for (const char* id : {"old", "gone", "lost", "never put"}) {
      const auto got = vault.get(id);
      EXPECT_EQ(got.code(), Errc::corrupt) << where << id << why(got);
      EXPECT_TRUE(names(why(got), log_)) << where << why(got);
      EXPECT_EQ(vault.summary(id).code(), Errc::corrupt) << where;
    }
    EXPECT_EQ(vault.list({}, 10).code(), Errc::corrupt) << where;
    EXPECT_EQ(vault.usage({}).code(), Errc::corrupt) << where;
    EXPECT_EQ(vault.get("x", "no tenant").code(), Errc::corrupt) << where;
    for (const Segment* s : {&held_, &alone_, &short_}) {
      const SegmentId id = s->id();
      EXPECT_EQ(vault.has_segments({&id, 1}).code(), Errc::corrupt) << where;
      EXPECT_EQ(vault.segment_info(id).code(), Errc::corrupt) << where;
      const auto got = vault.get_segments({&id, 1});
      ASSERT_OK(got) << where;
      EXPECT_EQ((*got)[0].code(), Errc::corrupt) << where;
      const auto of_nobody = vault.get_segments({&id, 1}, "no tenant");
      ASSERT_OK(of_nobody) << where;
      EXPECT_EQ((*of_nobody)[0].code(), Errc::corrupt) << where;
    }
    const auto held = vault.list_segments({}, 10);
    EXPECT_EQ(held.code(), Errc::corrupt) << where;
    EXPECT_TRUE(names(why(held), log_)) << where << why(held);
    EXPECT_EQ(vault.list_segments({.tenant = "no tenant"}, 10).code(), Errc::corrupt) << where;
    expect_named(vault, log_, where);
  }

  static void expect_named(const Vault& vault, const std::string& file, const std::string& where) {
    const auto damage = vault.damage();
    ASSERT_EQ(damage.size(), 1u) << where;
    EXPECT_EQ(damage[0].file, file) << where;
    EXPECT_EQ(damage[0].code, where.starts_with("missing") ? Errc::not_found : Errc::corrupt);
    const auto files = vault.files();
    ASSERT_OK(files) << where;
    EXPECT_EQ(std::count_if(files->begin(), files->end(),
                            [&](const FileInfo& f) { return f.name == file && !f.damage.empty(); }),
              1)
        << where;
    const auto report = vault.check({});
    ASSERT_OK(report) << where;
    EXPECT_EQ(std::count_if(report->findings.begin(), report->findings.end(),
                            [&](const Finding& f) { return f.file == file; }),
              1)
        << where;
  }

  MemoryPlace place_;
  std::string log_;
  const Segment held_ = Segment::of_bytes(std::string(300, 'e'));
  const Segment alone_ = Segment::of_bytes(std::string(300, 'l'));
  const Segment short_ = Segment::of_bytes("short");
};

TEST_F(LostLog, WhatCannotBeProvenIsCorrupt) {
  for (const auto& [loss, happen] : losses()) {
    MemoryPlace place = MemoryPlace::of(place_.disk.process_kill(), place_.catalog);
    happen(place.disk, log_);
    const auto reader = place.open({.read_only = true});
    ASSERT_OK(reader) << loss;
    expect_doubt(**reader, loss + ", reader: ");
    const auto going = place.open({.read_only = true, .keep_going = true});
    ASSERT_OK(going) << loss;
    const auto page = (*going)->list({}, 10);
    ASSERT_OK(page) << loss;
    EXPECT_TRUE(page->conversations.empty()) << loss;
    const auto segments = (*going)->list_segments({}, 10);
    ASSERT_OK(segments) << loss;
    EXPECT_TRUE(segments->segments.empty()) << loss;
    auto writer = place.open();
    ASSERT_OK(writer) << loss;
    expect_doubt(**writer, loss + ", writer: ");
  }
}

TEST_F(LostLog, AWriterGoesOnAndEndsTheDoubt) {
  for (const auto& [loss, happen] : losses()) {
    MemoryPlace place = MemoryPlace::of(place_.disk.process_kill(), place_.catalog);
    happen(place.disk, log_);
    const auto reader = place.open({.read_only = true});
    ASSERT_OK(reader) << loss;
    auto expect_new = [&](const Vault& vault, const std::string& where) {
      for (const char* id : {"lost", "new"}) {
        const auto got = vault.get(id);
        ASSERT_OK(got) << loss << where << id;
        EXPECT_TRUE(*got == of(id)) << loss << where << id;
        EXPECT_OK(vault.summary(id)) << loss << where;
      }
      for (const char* id : {"old", "gone", "never put"}) {
        EXPECT_EQ(vault.get(id).code(), Errc::corrupt) << loss << where << id;
      }
      EXPECT_EQ(vault.get("forgotten").code(), Errc::not_found) << loss << where;
      const SegmentId id = alone_.id();
      const auto there = vault.has_segments({&id, 1});
      ASSERT_OK(there) << loss << where;
      EXPECT_TRUE((*there)[0]) << loss << where;
      EXPECT_EQ(vault.list_segments({}, 10).code(), Errc::corrupt) << loss << where;
      expect_named(vault, log_, loss + where);
    };
    {
      auto writer = place.open();
      ASSERT_OK(writer) << loss;
      put(**writer, {"lost", "new", "forgotten"});
      ASSERT_OK((*writer)->forget(std::vector<std::string>{"forgotten"}));
      const auto again = (*writer)->put_segments({&alone_, 1}, {.holder = "late"});
      ASSERT_OK(again) << loss;
      EXPECT_NE((*again)[0].outcome, SegmentPut::Outcome::unchanged) << loss;
      EXPECT_EQ((*writer)->put(of("x"), {.tenant = "never heard of"}).code(), Errc::corrupt);
      expect_new(**writer, ", writer");
      expect_new(**reader, ", reader");
    }
    {  // none of it depends on who remembers
      auto writer = place.open();
      ASSERT_OK(writer) << loss;
      expect_new(**writer, ", again");
      ASSERT_OK((*writer)->seal()) << loss;
      expect_new(**writer, ", sealed");
      // What nobody can look into is not rewritten.
      EXPECT_EQ((*writer)->gc(false).code(), Errc::corrupt) << loss;
      EXPECT_EQ((*writer)->compact(Level::fast).code(), Errc::corrupt) << loss;
      put(**writer, {"last"});
    }
    {
      auto writer = place.open();
      ASSERT_OK(writer) << loss;
      expect_new(**writer, ", sealed and again");
      EXPECT_OK((*writer)->get("last"));
      const SegmentId id = held_.id();
      ASSERT_OK((*writer)->release_segments({&id, 1}, {.holder = "early"}));
      // The same without a catalog that could say how far the lost log went, as long as it names
      // it.
      expect_new(**reader, ", reader after sealing");
    }
    FaultBackend disk(place.disk);
    const auto repaired = Vault::repair(disk, place.catalog);
    ASSERT_OK(repaired) << loss;
    auto writer = place.open();
    ASSERT_OK(writer) << loss;
    EXPECT_TRUE((*writer)->damage().empty()) << loss;
    for (const char* id : {"old", "lost", "new", "last"}) {
      EXPECT_OK((*writer)->get(id)) << loss << id;
    }
    EXPECT_EQ((*writer)->get("forgotten").code(), Errc::not_found) << loss;
    EXPECT_EQ((*writer)->get("never put").code(), Errc::not_found) << loss;
    const auto held = (*writer)->list_segments({}, 10);
    ASSERT_OK(held) << loss;
    ASSERT_EQ(held->segments.size(), 1u) << loss;
    EXPECT_EQ(held->segments[0].id, alone_.id()) << loss;
    ASSERT_OK((*writer)->gc(false)) << loss;
    const auto report = (*writer)->check({.read_data = true});
    ASSERT_OK(report) << loss;
    EXPECT_TRUE(report->findings.empty()) << loss << report->findings[0].message;
  }
}

// Of a log that is not the last one it is known where it ended, and what came after it is served.
TEST_F(LostLog, WhatCameAfterItIsServed) {
  {
    auto writer = place_.open({.log_bytes_max = 1});  // each write begins another log
    ASSERT_OK(writer);
    put(**writer, {"second"});
  }
  const auto before = place_.disk.list("log");
  ASSERT_OK(before);
  const auto catalog = place_.catalog.load();
  ASSERT_OK(catalog);
  MemoryPlace place = MemoryPlace::of(place_.disk.process_kill(), place_.catalog);
  const std::string lost = before->back().name;
  {
    auto writer = place.open();
    ASSERT_OK(writer);
    put(**writer, {"third"});
  }
  // Only if the damaged one stays is there another after it.
  place.disk.overwrite(lost, Buffer(100, '\0'));
  {
    auto writer = place.open();
    ASSERT_OK(writer);
    put(**writer, {"fourth"});
    ASSERT_OK((*writer)->seal());
    put(**writer, {"fifth"});
  }
  ASSERT_OK(place.disk.remove(lost));
  const auto reader = place.open({.read_only = true});
  ASSERT_OK(reader);
  for (const char* id : {"fourth", "fifth"}) {
    const auto got = (*reader)->get(id);
    ASSERT_OK(got) << id;
    EXPECT_TRUE(*got == of(id));
  }
  EXPECT_EQ((*reader)->get("third").code(), Errc::corrupt);
}

// A writer in a vault that lacks a pack.
TEST_F(LostLog, AWriterGoesOnWithoutAPack) {
  const auto packs = place_.disk.list("packs");
  ASSERT_OK(packs);
  ASSERT_EQ(packs->size(), 1u);
  const std::string pack = (*packs)[0].name;
  for (const bool is_missing : {true, false}) {
    const std::string where = is_missing ? "missing pack" : "empty pack";
    MemoryPlace place = MemoryPlace::of(place_.disk.process_kill(), place_.catalog);
    Buffer kept;
    ASSERT_OK(place.disk.get(pack, 0, *place.disk.size(pack), kept));
    if (is_missing) {
      ASSERT_OK(place.disk.remove(pack));
    } else {
      place.disk.overwrite(pack, Buffer());
    }
    auto expect_rest = [&](const Vault& vault, const std::string& when) {
      expect_named(vault, pack, where + when);
      for (const char* id : {"lost", "new"}) {
        const auto got = vault.get(id);
        ASSERT_OK(got) << where << when << id;
        EXPECT_TRUE(*got == of(id)) << where << when << id;
      }
      EXPECT_EQ(vault.get("gone").code(), Errc::not_found) << where << when;
      EXPECT_EQ(vault.get("never put").code(), Errc::corrupt) << where << when;
      // All holds are in the catalog, but what one of them holds is gone.
      const auto held = vault.list_segments({}, 10);
      ASSERT_OK(held) << where << when;
      EXPECT_EQ(held->segments.size(), 3u) << where << when;
      const SegmentId id = held_.id();
      const auto got = vault.get_segments({&id, 1});
      ASSERT_OK(got) << where << when;
      EXPECT_EQ((*got)[0].code(), Errc::corrupt) << where << when;
    };
    {
      auto writer = place.open();
      ASSERT_OK(writer) << where;
      // A text of both stood in the pack: what is put brings it back for the other.
      EXPECT_EQ((*writer)->get("lost").code(), Errc::corrupt) << where;
      put(**writer, {"new", "lost"});
      ASSERT_OK((*writer)->put(of("lost"), {.replace = true}));
      expect_rest(**writer, ", written");
      ASSERT_OK((*writer)->seal()) << where;
      expect_rest(**writer, ", sealed");
      EXPECT_EQ((*writer)->get("old").code(), Errc::corrupt) << where;
      EXPECT_EQ((*writer)->gc(false).code(), Errc::corrupt) << where;
      EXPECT_EQ((*writer)->compact(Level::fast).code(), Errc::corrupt) << where;
      ASSERT_OK((*writer)->finish_merging());
    }
    auto writer = place.open();
    ASSERT_OK(writer) << where;
    expect_rest(**writer, ", again");
    writer->reset();
    // Put back where it was, it is as if nothing had happened.
    place.disk.overwrite(pack, kept);
    writer = place.open();
    ASSERT_OK(writer) << where;
    EXPECT_TRUE((*writer)->damage().empty()) << where;
    for (const char* id : {"old", "lost", "new"}) {
      const auto got = (*writer)->get(id);
      ASSERT_OK(got) << where << id;
      EXPECT_TRUE(*got == of(id)) << where << id;
    }
    EXPECT_EQ((*writer)->get("gone").code(), Errc::not_found) << where;
    ASSERT_OK((*writer)->gc(false)) << where;
    const auto report = (*writer)->check({.read_data = true});
    ASSERT_OK(report) << where;
    EXPECT_TRUE(report->findings.empty()) << where;
  }
}

// A disk that does not give out artifacts just now.
class WithoutArtifacts final : public ForwardingBackend {
 public:
  WithoutArtifacts(const FaultBackend& to, const std::atomic<Errc>& code)
      : ForwardingBackend(to), code_(code) {}
  Status get(std::string_view name, std::uint64_t offset, std::uint64_t size,
             Buffer& out) const override {
    const Errc code = code_;
    if (code != Errc::ok && name.starts_with("artifacts/")) return Error(code, "not just now", 1);
    return ForwardingBackend::get(name, offset, size, out);
  }

 private:
  const std::atomic<Errc>& code_;
};

// What is there, and cannot be read for want of memory, descriptors or a right, is not damaged: it
// is not put aside, and read as soon as it can be.
TEST(LogWithoutItsDictionary, IsNotDamagedIfThatIsThere) {
  MemoryPlace place;
  ASSERT_OK(place.create());
  const auto one = [](int i) {
    return conversation("c" + std::to_string(i), {shared_text(i % 5), "call " + std::to_string(i)});
  };
  std::atomic<Errc> code{Errc::ok};
  const auto open = [&](const VaultOptions& options) {
    return Vault::open(std::make_unique<WithoutArtifacts>(place.disk, code),
                       std::make_unique<SharedCatalog>(place.catalog), options);
  };
  {
    auto vault = open({});
    ASSERT_OK(vault);
    for (int i = 0; i < 60; ++i) ASSERT_OK((*vault)->put(one(i), {}));
    const auto trained = (*vault)->dictionaries().train({}, {.size_bytes = 1'024});
    ASSERT_OK(trained);
    ASSERT_OK((*vault)->dictionaries().activate(trained->id));
    int next = 60;
    for (const Errc why_not : {Errc::exhausted, Errc::denied, Errc::io}) {
      ASSERT_OK((*vault)->seal());
      auto reader = open({.read_only = true});
      ASSERT_OK(reader);
      ASSERT_OK((*reader)->get("c0"));
      ASSERT_OK((*vault)->put(one(next), {}));
      const auto dictionaries = (*vault)->dictionaries().list();
      ASSERT_OK(dictionaries);
      ASSERT_GT((*dictionaries)[0].files, 0u) << "the log names none";
      code = why_not;
      EXPECT_EQ((*reader)->get("c" + std::to_string(next)).code(), why_not);
      code = Errc::ok;
      EXPECT_OK((*reader)->get("c" + std::to_string(next))) << errc_name(why_not);
      ++next;
    }
  }
  for (const Errc why_not : {Errc::exhausted, Errc::denied, Errc::io}) {
    code = why_not;
    EXPECT_EQ(open({}).code(), why_not);
    WithoutArtifacts disk(place.disk, code);
    EXPECT_EQ(Vault::repair(disk, place.catalog).code(), why_not);
    EXPECT_TRUE(place.disk.list("quarantine")->empty());
  }
  code = Errc::ok;
  EXPECT_OK((*open({}))->get("c62"));
}

}  // namespace
}  // namespace tokvault
