// How conversations come out: by id, by filter in the order of import, and as sums.
#include <algorithm>
#include <charconv>

#include "base/clock.h"
#include "vault/recovery.h"
#include "vault/vault_impl.h"

namespace tokvault {
namespace {

// What scan() finds at once, and what of that it reads before it shows it.
constexpr std::uint64_t kFoundRows = 65'536;
constexpr std::uint64_t kPageRows = 512;
constexpr std::uint64_t kPageBytes = 16u << 20;

Error no_conversation(std::string_view id) {
  return Error(Errc::not_found, "no conversation " + std::string(id));
}

bool matches(const TenantState& tenant, const Filter& f, const Tables& t, std::uint32_t number) {
  const Row& row = t.rows[number];
  if (row.time_ms < f.time_from_ms || row.time_ms >= f.time_until_ms) return false;
  if (!f.model.empty() && t.models[row.model] != f.model) return false;
  if (!f.application.empty() && t.applications[row.application] != f.application) return false;
  if (f.tags.empty()) return true;
  const auto it = tenant.tags.find(hash_id(tenant.record.key, t.ids[number]));
  if (it == tenant.tags.end()) return false;
  return std::all_of(f.tags.begin(), f.tags.end(),
                     [&](const std::string& tag) { return it->second.contains(tag); });
}

constexpr std::int64_t day_start_ms(std::int64_t day) { return day * 86'400'000; }

// True if a filter's times cut no day in two that lies in the range.
bool whole_days(const Filter& f, const Source::Range& range) {
  auto cuts = [&](std::int64_t time) {
    return time > range.time_first_ms && time <= range.time_last_ms &&
           day_start_ms(day_of_ms(time)) != time;
  };
  return !cuts(f.time_from_ms) && !cuts(f.time_until_ms);
}

bool is_row_dead(const TenantState& tenant, const Tables& tables, std::uint32_t row) {
  return !tenant.deletions.empty() &&
         State::is_dead(tenant, hash_id(tenant.record.key, tables.ids[row]),
                        tables.rows[row].sequence);
}

}  // namespace

// Whether a conversation could not be read for a file that is gone, for the first time: then
// reading() is to look at the catalog again. A conversation that is not there has no os_code.
bool VaultImpl::is_gone(const Result<Conversation>& read, bool& again) const {
  if (read || !options_.read_only || read.code() != Errc::not_found ||
      read.error().os_code() == 0) {
    return false;
  }
  return !std::exchange(again, true);
}

Result<Found> VaultImpl::find_or_error(const TenantState* tenant, std::string_view id) const {
  const TenantDamage& damage = state_.damage(tenant);
  Standing now;
  if (tenant != nullptr) {
    auto there = standing(*tenant, id);
    if (!there) return std::move(there).error().with("conversation " + std::string(id));
    now = std::move(*there);
  } else {
    now.is_doubtful = damage.lost_until > 0;
  }
  if (now.is_doubtful) {
    return Error(Errc::corrupt,
                 "conversation " + std::string(id) + ": " + damage.where +
                     (now.found ? " and may have deleted it" : " and may have held it") +
                     " (`tokvault repair`)");
  }
  if (!now.found) return no_conversation(id);
  return std::move(*now.found);
}

Result<VaultImpl::Standing> VaultImpl::standing(const TenantState& tenant,
                                                std::string_view id) const {
  Standing now;
  TOKVAULT_ASSIGN(now.found, state_.find(tenant, id));
  const TenantDamage& damage = state_.damage(&tenant);
  if (damage.lost_until == 0) return now;
  if (now.found) {
    now.is_doubtful = now.found->get().sequence < damage.unproven_until;
  } else {
    // Unless it was deleted after all that is lost.
    const auto it = tenant.deletions.find(hash_id(tenant.record.key, id));
    now.is_doubtful = it == tenant.deletions.end() || it->second < damage.lost_until;
  }
  return now;
}

Status VaultImpl::expect_complete(const TenantState* tenant) const {
  const TenantDamage& damage = state_.damage(tenant);
  if (damage.lost_until == 0 || options_.keep_going) return {};
  return Error(Errc::corrupt, damage.where +
                                  ": conversations may be missing (`tokvault check` says "
                                  "which, `tokvault repair` gives them up)");
}

std::vector<Finding> VaultImpl::damage() const {
  std::vector<Finding> findings;
  (void)refresh();  // what cannot be read now is said by who reads it
  std::shared_lock lock(state_mutex_);
  for (const auto& [number, log] : state_.logs()) {
    CheckReport report;
    report_lost(*log, report);
    for (Finding& f : report.findings) findings.push_back(std::move(f));
  }
  for (const auto& [number, pack] : state_.lost_packs()) {
    findings.push_back({pack_name(number), pack.code, pack.what + ": " + contents_of(pack.file)});
  }
  std::lock_guard passed_over(passed_over_->mutex);
  for (const auto& [number, pack] : state_.packs()) {
    const auto it = passed_over_->packs.find(pack->name());
    if (it == passed_over_->packs.end()) continue;
    findings.push_back({pack->name(), Errc::corrupt,
                        it->second + ": " + std::to_string(pack->range().rows) + " conversations"});
  }
  return findings;
}

bool VaultImpl::passes_over(const Source& source, const Error& error) const {
  if (!options_.keep_going || error.code() != Errc::corrupt) return false;
  std::lock_guard lock(passed_over_->mutex);
  passed_over_->packs[source.name()] = without_name(error, source.name());
  return true;
}

Result<Conversation> VaultImpl::get_one(std::string_view id, std::string_view tenant_given,
                                        bool tokens) const {
  return reading_prepared([&](Preparing& preparing) -> Result<Conversation> {
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    TOKVAULT_ASSIGN(const Found found, find_or_error(tenant, id));
    if (preparing.is_cold(found.source)) return Conversation();
    if (!tokens && tokenizer_error_.code() != Errc::ok) return tokenizer_error_.clone();
    ConversationReader reader(state_, *tokenizer_, tenant->record.number);
    return reader.read(*found.source, *found.tables, found.row, tokens);
  });
}

Result<Conversation> VaultImpl::get(std::string_view id, std::string_view tenant) const {
  return get_one(id, tenant, false);
}

Result<Conversation> VaultImpl::get_tokens(std::string_view id, std::string_view tenant) const {
  return get_one(id, tenant, true);
}

Result<std::vector<Result<Conversation>>> VaultImpl::get_batch(
    std::span<const std::string> ids, std::string_view tenant_given) const {
  using Results = std::vector<Result<Conversation>>;
  bool again = false;
  return reading_prepared([&](Preparing& preparing) -> Result<Results> {
    Results results;
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    ConversationReader reader(state_, *tokenizer_, tenant ? tenant->record.number : 0);
    for (const std::string& id : ids) {
      auto found = find_or_error(tenant, id);
      if (found && tokenizer_error_.code() != Errc::ok) found = tokenizer_error_.clone();
      if (found && preparing.is_cold(found->source)) return Results();
      if (found) {
        results.push_back(reader.read(*found->source, *found->tables, found->row));
      } else {
        results.push_back(std::move(found).error());
      }
      if (is_gone(results.back(), again)) return std::move(results.back()).error();
    }
    return results;
  });
}

Summary VaultImpl::summary_of(const TenantState& tenant, const Found& found) const {
  const Row& row = found.get();
  const Tables& t = *found.tables;
  Summary s;
  s.id = t.ids[found.row];
  s.model = t.models[row.model];
  s.application = t.applications[row.application];
  s.time_ms = row.time_ms;
  s.messages = t.messages(row);
  s.tokens = row.tokens;
  s.text_bytes = row.text_bytes;
  s.sequence = row.sequence;
  s.first_sequence = row.first_sequence;
  if (!tenant.tags.empty()) {
    if (const auto it = tenant.tags.find(hash_id(tenant.record.key, s.id));
        it != tenant.tags.end()) {
      s.tags.assign(it->second.begin(), it->second.end());
    }
  }
  return s;
}

Result<Summary> VaultImpl::summary(std::string_view id, std::string_view tenant_given) const {
  return reading([&]() -> Result<Summary> {
    const TenantState* tenant = state_.tenant(tenant_name(tenant_given));
    TOKVAULT_ASSIGN(const Found found, find_or_error(tenant, id));
    const TenantDamage& damage = state_.damage(tenant);
    const auto tagged = damage.tagged.find(hash_id(tenant->record.key, id));
    if (!options_.keep_going &&
        (found.get().sequence < damage.untagged_until ||
         (tagged != damage.tagged.end() && found.get().sequence < tagged->second))) {
      return Error(Errc::corrupt, "conversation " + std::string(id) + ": " + damage.where +
                                      " and may have tagged it (`tokvault repair`)");
    }
    return summary_of(*tenant, found);
  });
}

Result<std::vector<Found>> VaultImpl::collect_page(const TenantState& tenant, const Filter& filter,
                                                   std::uint64_t after, std::uint64_t limit) const {
  // Sources are ordered by their first sequence number: once the page is full and its last row
  // comes before a source, so do all that follow.
  std::vector<Found> page;
  const std::uint64_t unproven_until = state_.damage(&tenant).unproven_until;
  auto earlier = [](const Found& a, const Found& b) {
    return a.get().first_sequence < b.get().first_sequence;
  };
  for (const auto& source : state_.sources(tenant.record.number)) {
    const Source::Range range = source->range();
    if (range.rows == 0 || range.sequence_last <= after) continue;
    if (range.time_last_ms < filter.time_from_ms || range.time_first_ms >= filter.time_until_ms) {
      continue;
    }
    if (page.size() == limit && range.sequence_first > page.front().get().first_sequence) break;
    auto read = source->tables();
    if (!read && passes_over(*source, read.error())) continue;
    TOKVAULT_ASSIGN(auto tables, std::move(read));
    for (std::uint32_t i = 0; i < tables->rows.size(); ++i) {
      const std::uint64_t first = tables->rows[i].first_sequence;
      if (first <= after) continue;
      if (tables->rows[i].sequence < unproven_until) continue;
      if (page.size() == limit && first > page.front().get().first_sequence) continue;
      if (!matches(tenant, filter, *tables, i)) continue;
      // Asked last, and of few: dead_rows() of each page would look up every deletion there is.
      if (is_row_dead(tenant, *tables, i)) continue;
      page.push_back({source, tables, i});
      std::push_heap(page.begin(), page.end(), earlier);
      if (page.size() > limit) {
        std::pop_heap(page.begin(), page.end(), earlier);
        page.pop_back();
      }
    }
  }
  std::sort_heap(page.begin(), page.end(), earlier);
  return page;
}

Result<Page> VaultImpl::list(const Filter& filter, std::uint64_t limit,
                             std::string_view cursor) const {
  std::uint64_t after = 0;
  if (!cursor.empty()) {
    const auto parsed = std::from_chars(cursor.data(), cursor.data() + cursor.size(), after);
    if (parsed.ec != std::errc() || parsed.ptr != cursor.data() + cursor.size()) {
      return Error(Errc::invalid, "not a cursor of list");
    }
  }
  if (limit == 0 || limit > 100'000) return Error(Errc::invalid, "limit is 1 to 100,000");
  return reading([&]() -> Result<Page> {
    Page page;
    const TenantState* tenant = state_.tenant(tenant_name(filter.tenant));
    TOKVAULT_TRY(expect_complete(tenant));
    if (tenant == nullptr) return page;
    TOKVAULT_ASSIGN(const auto found, collect_page(*tenant, filter, after, limit));
    for (const Found& f : found) page.conversations.push_back(summary_of(*tenant, f));
    if (found.size() == limit) page.cursor = std::to_string(found.back().get().first_sequence);
    return page;
  });
}

Status VaultImpl::scan(
    const Filter& filter,
    const std::function<bool(const Summary&, Result<Conversation>)>& visit) const {
  if (!visit) return Error(Errc::invalid, "nothing is there to visit conversations");
  // Where many of the next conversations are, with the tables that say so: packs that were
  // compacted hold conversations of any time, so that each time all of them are read. Valid until
  // something is written.
  std::vector<Found> found;
  std::size_t next = 0;
  std::pair<std::uint64_t, std::uint64_t> found_at;
  std::uint64_t after = 0;
  for (;;) {
    struct Item {
      Summary summary;
      Result<Conversation> conversation;
    };
    std::vector<Item> items;
    bool more = false;
    bool again = false;
    auto read = reading_prepared([&](Preparing& preparing) -> Status {
      items.clear();
      if (tokenizer_error_.code() != Errc::ok) return tokenizer_error_.clone();
      const TenantState* tenant = state_.tenant(tenant_name(filter.tenant));
      TOKVAULT_TRY(expect_complete(tenant));
      if (tenant == nullptr) return {};
      const std::pair now(state_.generation(), state_.next_sequence());
      if (next == found.size() || now != found_at) {
        found.clear();
        next = 0;
        TOKVAULT_ASSIGN(found, collect_page(*tenant, filter, after, kFoundRows));
        found_at = now;
      }
      // One for each page: it remembers files that a rewrite may have removed by the next.
      ConversationReader reader(state_, *tokenizer_, tenant->record.number);
      std::uint64_t bytes = 0;
      std::size_t end = next;
      // Large conversations one by one, so that a page is bounded by its bytes.
      while (end < found.size() && end - next < kPageRows && bytes < kPageBytes) {
        const Found& f = found[end];
        if (preparing.is_cold(f.source)) {
          if (!items.empty()) preparing.source.reset();  // the next page begins with it
          break;
        }
        ++end;
        items.push_back({summary_of(*tenant, f), reader.read(*f.source, *f.tables, f.row)});
        auto& conversation = items.back().conversation;
        if (is_gone(conversation, again)) return std::move(conversation).error();
        if (conversation) bytes += memory_bytes(*conversation);
      }
      more = end < found.size() || found.size() == kFoundRows;
      next = end;
      return {};
    });
    TOKVAULT_TRY(std::move(read));
    for (Item& item : items) {
      after = item.summary.first_sequence;
      if (!visit(item.summary, std::move(item.conversation))) return {};
    }
    if (!more) return {};
  }
}

Result<std::vector<UsageRow>> VaultImpl::usage(const UsageQuery& query) const {
  using Key = std::tuple<std::string, std::string, std::int64_t>;
  const Filter& filter = query.filter;
  return reading([&]() -> Result<std::vector<UsageRow>> {
    std::map<Key, UsageRow> sums;
    const TenantState* tenant = state_.tenant(tenant_name(filter.tenant));
    TOKVAULT_TRY(expect_complete(tenant));
    if (tenant == nullptr) return std::vector<UsageRow>();
    const std::uint64_t unproven_until = state_.damage(tenant).unproven_until;
    auto add = [&](std::string_view model, std::string_view application, std::int64_t day,
                   std::uint64_t conversations, std::uint64_t messages, std::uint64_t tokens) {
      Key key{query.by_model ? model : "", query.by_application ? application : "",
              query.by_day ? day : 0};
      UsageRow& row = sums[key];
      if (row.conversations == 0) {
        row.model = std::get<0>(key);
        row.application = std::get<1>(key);
        if (query.by_day) row.day = day_name(day);
      }
      row.conversations += conversations;
      row.messages += messages;
      row.tokens += tokens;
    };
    auto add_source = [&](const Source& source, const Source::Range& range) -> Status {
      TOKVAULT_ASSIGN(const auto dead, state_.dead_rows(*tenant, source));
      // A pack's own sums serve where the filter takes or leaves whole days and nothing is dead.
      if (source.is_pack() && dead.empty() && filter.tags.empty() && whole_days(filter, range) &&
          range.sequence_first >= unproven_until) {
        TOKVAULT_ASSIGN(const auto usage, static_cast<const PackFile&>(source).usage());
        for (const UsageEntry& e : usage->entries) {
          const std::string_view model = usage->models[e.model];
          const std::string_view application = usage->applications[e.application];
          const bool in_time = day_start_ms(e.day) >= filter.time_from_ms ||
                               range.time_first_ms >= filter.time_from_ms;
          const bool before_end = day_start_ms(e.day) < filter.time_until_ms;
          if (!in_time || !before_end || (!filter.model.empty() && filter.model != model) ||
              (!filter.application.empty() && filter.application != application)) {
            continue;
          }
          add(model, application, e.day, e.conversations, e.messages, e.tokens);
        }
        if (!usage->entries.empty()) return {};
      }
      TOKVAULT_ASSIGN(auto tables, source.tables());
      for (std::uint32_t i = 0; i < tables->rows.size(); ++i) {
        if ((!dead.empty() && dead[i]) || !matches(*tenant, filter, *tables, i)) continue;
        const Row& row = tables->rows[i];
        if (row.sequence < unproven_until) continue;
        add(tables->models[row.model], tables->applications[row.application],
            day_of_ms(row.time_ms), 1, tables->messages(row), row.tokens);
      }
      return {};
    };
    for (const auto& source : state_.sources(tenant->record.number)) {
      const Source::Range range = source->range();
      if (range.rows == 0 || range.time_last_ms < filter.time_from_ms ||
          range.time_first_ms >= filter.time_until_ms) {
        continue;
      }
      // It fails before it adds anything.
      auto added = add_source(*source, range);
      if (!added && !passes_over(*source, added.error())) return std::move(added).error();
    }
    std::vector<UsageRow> rows;
    for (auto& [key, row] : sums) rows.push_back(std::move(row));
    return rows;
  });
}

}  // namespace tokvault
