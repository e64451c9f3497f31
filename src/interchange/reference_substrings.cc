// The substring registry of the reference system: `index.json` and `blobs.dat`.
//
// The blobs are token runs one behind the other, each token as LEB128, without any framing; the
// index says where each run lies and how many tokens it has. Nothing is checksummed there, so every
// number is held against every other, and a run that does not fit is an error, not a guess.
#include <simdjson.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "interchange/time_text.h"
#include "tokvault/substrings.h"

namespace tokvault {
namespace {

namespace dom = simdjson::dom;

Error wrong(std::size_t entry, std::string_view what) {
  return Error(Errc::invalid,
               "index.json, entry " + std::to_string(entry) + ": " + std::string(what));
}

Status read_entry(const dom::element& element, std::size_t number, ByteView blobs,
                  ReferenceSubstrings& out) {
  dom::object object;
  std::uint64_t id = 0, length = 0, offset = 0, bytes = 0;
  SubstringCounts counts;
  if (element.get(object) != simdjson::SUCCESS) return wrong(number, "no object");
  const auto field = [&](std::string_view name, std::uint64_t& value) {
    return object[name].get(value) == simdjson::SUCCESS;
  };
  if (!field("id", id) || !field("length", length) || !field("offset", offset) ||
      !field("bytes", bytes) || !field("source_occurrences", counts.segments)) {
    return wrong(number, "id, length, source_occurrences, offset and bytes are to be numbers");
  }
  std::string_view created;
  if (object["created_at"].get(created) == simdjson::SUCCESS) {
    const auto time = parse_iso8601(created);
    if (!time) return wrong(number, "created_at is no time");
    counts.created_ms = *time;
  }
  if (id == 0 || id >= UINT32_MAX) return wrong(number, "no run has this id");
  if (offset > blobs.size() || bytes > blobs.size() - offset) {
    return wrong(number, "it reaches beyond the end of blobs.dat");
  }
  // A token takes a byte at least: no length is believed that its bytes cannot have.
  if (length > bytes) return wrong(number, "its bytes are too few for its tokens");
  std::vector<Token> run;
  run.reserve(length);
  ByteReader in(blobs.substr(offset, bytes));
  while (!in.at_end()) {
    run.push_back(in.varint32());
    if (!in.ok()) return wrong(number, "a token is cut short, overlong or above 2^32 - 1");
  }
  if (run.size() != length) {
    return wrong(number, "it has " + std::to_string(run.size()) + " tokens and says " +
                             std::to_string(length));
  }
  // An id that was given out is not given out again, whatever became of its run.
  out.set.pass_over_ids(static_cast<SubstringId>(id));
  if (run.size() > kSubstringTokensMax) {
    ++out.too_long;
    return {};
  }
  // A run that was registered again got another id there.
  const auto same = out.set.longest_match(run);
  if (same && same->tokens == run.size()) {
    TOKVAULT_TRY(out.set.add(run, counts));
    return {};
  }
  auto added = out.set.add_as(static_cast<SubstringId>(id), run, counts);
  if (!added) return wrong(number, added.error().message());
  return {};
}

}  // namespace

Result<ReferenceSubstrings> read_reference_substrings(ByteView index_json, ByteView blobs) {
  if (index_json.empty()) return Error(Errc::invalid, "index.json is empty");
  dom::parser parser;
  dom::element document;
  const auto parsed = parser.parse(index_json.data(), index_json.size()).get(document);
  if (parsed != simdjson::SUCCESS) {
    return Error(Errc::invalid,
                 std::string("index.json is no JSON: ") + simdjson::error_message(parsed));
  }
  dom::array entries;
  if (document.get(entries) != simdjson::SUCCESS) {
    return Error(Errc::invalid, "index.json is no array");
  }
  struct Place {
    std::uint64_t id = 0;  // 0 if it has none
    std::size_t number = 0;
    dom::element entry;
  };
  std::vector<Place> places;
  for (const dom::element entry : entries) {
    Place place{0, places.size(), entry};
    if (entry["id"].get(place.id) != simdjson::SUCCESS) place.id = 0;
    places.push_back(place);
  }
  // A set takes runs of ascending ids at its end, and moves all behind it for any other. Of runs
  // that are registered twice the first id stays.
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return a.id != b.id ? a.id < b.id : a.number < b.number;
  });
  ReferenceSubstrings out;
  for (const Place& place : places) {
    TOKVAULT_TRY(read_entry(place.entry, place.number, blobs, out));
  }
  return out;
}

}  // namespace tokvault
