#include "query/tables.h"

#include <algorithm>
#include <array>

#include "base/checksum.h"
#include "tokvault/interchange.h"

namespace tokvault::query {
namespace {

// list() looks over the tables once for each page: the first is small for those who want a few
// rows, the others large.
constexpr std::uint64_t kFirstPage = 256;
constexpr std::uint64_t kPage = 65'536;
// Conversations whose texts are read together, since neighbours share blocks.
constexpr std::size_t kReadTogether = 64;
constexpr std::uint64_t kReadTextBytes = 4u << 20;

// A number of a row that is told by texts.
std::int64_t number_of_texts(std::span<const std::string_view> texts) {
  std::string key;
  for (const std::string_view text : texts) {
    key += std::to_string(text.size());
    key += ':';
    key += text;
  }
  return static_cast<std::int64_t>(checksum64(key));
}

std::string json_of_texts(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const std::string& text : texts) {
    if (out.size() > 1) out += ',';
    if (!append_json_string(text, out)) out += "null";  // bytes that are no text
  }
  return out + "]";
}

// The tenants that a condition is about.
Result<std::vector<std::string>> tenants_of(const Vault& vault, const Condition& condition) {
  TOKVAULT_ASSIGN(auto names, vault.tenants());
  if (condition.tenant) std::erase_if(names, [&](auto& name) { return name != *condition.tenant; });
  if (condition.is_empty) names.clear();
  return names;
}

// The conversations of all tenants that a condition is about, one after another.
class Summaries {
 public:
  Summaries(Reading& reading, Condition condition)
      : reading_(reading), condition_(std::move(condition)) {}

  Result<bool> next() {
    while (++at_ >= page_.size()) {
      TOKVAULT_ASSIGN(const bool more, next_page());
      if (!more) return false;
      at_ = SIZE_MAX;  // before the first
    }
    return true;
  }
  const Summary& get() const { return page_[at_]; }
  const std::string& tenant() const { return condition_.filter.tenant; }

 private:
  // Another page, which may be empty; false after the last.
  Result<bool> next_page() {
    page_.clear();
    at_ = 0;
    if (!is_begun_) {
      TOKVAULT_ASSIGN(tenants_, tenants_of(*reading_.vault, condition_));
      is_begun_ = true;
    }
    if (cursor_.empty()) {
      if (next_tenant_ == tenants_.size()) return false;
      condition_.filter.tenant = tenants_[next_tenant_++];
      limit_ = kFirstPage;
    }
    if (condition_.id) return look_up();
    TOKVAULT_ASSIGN(Page page, reading_.vault->list(condition_.filter, limit_, cursor_));
    limit_ = kPage;
    cursor_ = std::move(page.cursor);
    page_ = std::move(page.conversations);
    return true;
  }

  Result<bool> look_up() {
    auto summary = reading_.vault->summary(*condition_.id, condition_.filter.tenant);
    if (summary) {
      page_.push_back(std::move(*summary));
    } else if (summary.code() == Errc::corrupt && reading_.keep_going) {
      ++reading_.passed_over;
    } else if (summary.code() != Errc::not_found) {
      return std::move(summary).error();
    }
    return true;
  }

  Reading& reading_;
  Condition condition_;
  bool is_begun_ = false;
  std::vector<std::string> tenants_;
  std::size_t next_tenant_ = 0;
  std::string cursor_;
  std::uint64_t limit_ = kFirstPage;
  std::vector<Summary> page_;
  std::size_t at_ = 0;
};

class ConversationRows final : public Rows {
 public:
  ConversationRows(Reading& reading, Condition condition)
      : summaries_(reading, std::move(condition)) {}

  Result<bool> next() override { return summaries_.next(); }
  std::int64_t number() const override {
    return static_cast<std::int64_t>(summaries_.get().sequence);
  }
  Result<Cell> cell(std::size_t column) override {
    const Summary& s = summaries_.get();
    switch (column) {
      case 0:
        return Cell::of(summaries_.tenant());
      case 1:
        return Cell::of(s.id);
      case 2:
        return Cell::of(s.model);
      case 3:
        return Cell::of(s.application);
      case 4:
        if (auto text = time_text(s.time_ms)) return Cell::of(text_ = std::move(*text));
        return Cell();
      case 5:
        return Cell::of_time(s.time_ms);
      case 6:
        return Cell::of(s.messages);
      case 7:
        return Cell::of(s.tokens);
      case 8:
        return Cell::of(s.text_bytes);
      case 9:
        return Cell::of(text_ = json_of_texts(s.tags));
      case 10:
        return Cell::of(s.sequence);
      default:
        return Cell::of(s.first_sequence);
    }
  }

 private:
  Summaries summaries_;
  std::string text_;
};

class TagRows final : public Rows {
 public:
  TagRows(Reading& reading, Condition condition) : summaries_(reading, std::move(condition)) {}

  Result<bool> next() override {
    ++tag_;
    while (!is_begun_ || tag_ >= summaries_.get().tags.size()) {
      TOKVAULT_ASSIGN(const bool more, summaries_.next());
      if (!more) return false;
      is_begun_ = true;
      tag_ = 0;
    }
    return true;
  }
  std::int64_t number() const override {
    const std::string_view texts[] = {summaries_.tenant(), summaries_.get().id,
                                      summaries_.get().tags[tag_]};
    return number_of_texts(texts);
  }
  Result<Cell> cell(std::size_t column) override {
    switch (column) {
      case 0:
        return Cell::of(summaries_.tenant());
      case 1:
        return Cell::of(summaries_.get().id);
      default:
        return Cell::of(summaries_.get().tags[tag_]);
    }
  }

 private:
  Summaries summaries_;
  bool is_begun_ = false;
  std::size_t tag_ = 0;
};

constexpr std::uint64_t bit(unsigned column) { return std::uint64_t{1} << column; }
enum MessageColumn : unsigned { kTenant, kConversation, kPosition, kRole, kText, kTokens, kJson };
constexpr std::uint64_t kTextColumns = bit(kRole) | bit(kText) | bit(kJson);
constexpr std::uint64_t kContentColumns = kTextColumns | bit(kTokens);

class MessageRows final : public Rows {
 public:
  MessageRows(Reading& reading, Condition condition, std::uint64_t columns)
      : reading_(reading), columns_(columns), summaries_(reading, std::move(condition)) {}

  Result<bool> next() override {
    ++position_;
    while (at_ >= items_.size() || position_ >= items_[at_].messages) {
      position_ = 0;
      if (++at_ < items_.size()) continue;
      TOKVAULT_ASSIGN(const bool more, read_some());
      if (!more) return false;
      at_ = 0;
    }
    return true;
  }
  std::int64_t number() const override {
    // As many messages as that are 200 MB at least.
    return static_cast<std::int64_t>(items_[at_].sequence << 26 | position_);
  }
  Result<Cell> cell(std::size_t column) override {
    const Item& item = items_[at_];
    switch (column) {
      case kTenant:
        return Cell::of(item.tenant);
      case kConversation:
        return Cell::of(item.id);
      case kPosition:
        return Cell::of(position_);
      case kTokens: {
        std::uint64_t tokens = 0;
        for (const Value& v : item.tokens[position_].values) tokens += v.tokens.size();
        return Cell::of(tokens);
      }
      case kRole:
        return Cell::of(text_ = item.texts[position_].role());
      case kText:
        return Cell::of(text_ = item.texts[position_].text());
      default: {
        auto json = to_json(item.texts[position_]);
        if (!json) return std::move(json).error().with("conversation " + item.id);
        return Cell::of(text_ = std::move(*json));
      }
    }
  }

 private:
  struct Item {
    std::string tenant;
    std::string id;
    std::uint64_t sequence = 0;
    std::uint64_t messages = 0;
    std::vector<Message> texts{};   // if they are asked for
    std::vector<Message> tokens{};  // the same as tokens
    bool is_passed_over = false;
  };

  // The next conversations, which may all be passed over; false after the last.
  Result<bool> read_some() {
    items_.clear();
    std::uint64_t text_bytes = 0;
    while (items_.size() < kReadTogether && text_bytes < kReadTextBytes) {
      TOKVAULT_ASSIGN(const bool more, summaries_.next());
      if (!more) break;
      const Summary& s = summaries_.get();
      items_.push_back({summaries_.tenant(), s.id, s.sequence, s.messages});
      text_bytes += s.text_bytes;
    }
    if (items_.empty()) return false;
    if ((columns_ & kTextColumns) != 0) TOKVAULT_TRY(read_texts());
    if ((columns_ & bit(kTokens)) != 0) TOKVAULT_TRY(read_tokens());
    std::erase_if(items_, [](const Item& item) { return item.is_passed_over; });
    return true;
  }

  Status read_texts() {
    for (std::size_t first = 0; first < items_.size();) {
      std::size_t limit = first;
      std::vector<std::string> ids;
      while (limit < items_.size() && items_[limit].tenant == items_[first].tenant) {
        ids.push_back(items_[limit++].id);
      }
      TOKVAULT_ASSIGN(auto found, reading_.vault->get_batch(ids, items_[first].tenant));
      for (auto& conversation : found) {
        TOKVAULT_TRY(take(items_[first++], std::move(conversation), &Item::texts));
      }
    }
    return {};
  }

  Status read_tokens() {
    for (Item& item : items_) {
      if (item.is_passed_over) continue;
      TOKVAULT_TRY(take(item, reading_.vault->get_tokens(item.id, item.tenant), &Item::tokens));
    }
    return {};
  }

  Status take(Item& item, Result<Conversation> conversation, std::vector<Message> Item::* to) {
    if (conversation) {
      item.messages = conversation->messages.size();
      item.*to = std::move(conversation->messages);
      return {};
    }
    item.is_passed_over = true;
    const Error& error = conversation.error();
    if (error.code() == Errc::corrupt && reading_.keep_going) {
      ++reading_.passed_over;
      return {};
    }
    return std::move(conversation).error();
  }

  Reading& reading_;
  const std::uint64_t columns_;
  Summaries summaries_;
  std::vector<Item> items_;
  std::size_t at_ = 0;
  std::uint64_t position_ = 0;
  std::string text_;
};

class UsageRows final : public Rows {
 public:
  UsageRows(Reading& reading, Condition condition)
      : reading_(reading), condition_(std::move(condition)) {}

  Result<bool> next() override {
    if (!is_begun_) {
      TOKVAULT_ASSIGN(tenants_, tenants_of(*reading_.vault, condition_));
      is_begun_ = true;
    }
    while (++at_ >= rows_.size()) {
      if (next_tenant_ == tenants_.size()) return false;
      UsageQuery query{condition_.filter, true, true, true};
      query.filter.tenant = tenants_[next_tenant_++];
      TOKVAULT_ASSIGN(rows_, reading_.vault->usage(query));
      at_ = SIZE_MAX;
    }
    return true;
  }
  std::int64_t number() const override {
    const UsageRow& row = rows_[at_];
    const std::string_view texts[] = {tenant(), row.model, row.application, row.day};
    return number_of_texts(texts);
  }
  Result<Cell> cell(std::size_t column) override {
    const UsageRow& row = rows_[at_];
    switch (column) {
      case 0:
        return Cell::of(tenant());
      case 1:
        return Cell::of(row.model);
      case 2:
        return Cell::of(row.application);
      case 3:
        if (row.day.size() != kDayText.size()) return Cell();  // not of the years 0 to 9999
        return Cell::of(row.day);
      case 4:
        return Cell::of(row.conversations);
      case 5:
        return Cell::of(row.messages);
      default:
        return Cell::of(row.tokens);
    }
  }

 private:
  static constexpr std::string_view kDayText = "2026-11-21";
  const std::string& tenant() const { return tenants_[next_tenant_ - 1]; }

  Reading& reading_;
  Condition condition_;
  bool is_begun_ = false;
  std::vector<std::string> tenants_;
  std::size_t next_tenant_ = 0;
  std::vector<UsageRow> rows_;
  std::size_t at_ = SIZE_MAX;
};

class HoldRows final : public Rows {
 public:
  HoldRows(Reading& reading, Condition condition)
      : reading_(reading), condition_(std::move(condition)) {}

  Result<bool> next() override {
    if (!is_begun_) {
      TOKVAULT_ASSIGN(tenants_, tenants_of(*reading_.vault, condition_));
      is_begun_ = true;
    }
    ++holder_;
    while (at_ >= page_.segments.size() || holder_ >= page_.segments[at_].holders.size()) {
      holder_ = 0;
      if (++at_ < page_.segments.size()) continue;
      if (page_.cursor.empty() && next_tenant_ == tenants_.size()) return false;
      if (page_.cursor.empty()) ++next_tenant_;
      TOKVAULT_ASSIGN(
          page_, reading_.vault->list_segments({.tenant = tenant(), .holder = condition_.holder},
                                               kSegmentPage, page_.cursor));
      at_ = 0;
    }
    return true;
  }
  std::int64_t number() const override {
    const SegmentInfo& segment = page_.segments[at_];
    const std::string id = segment.id.to_string();
    const std::string_view texts[] = {tenant(), id, segment.holders[holder_]};
    return number_of_texts(texts);
  }
  Result<Cell> cell(std::size_t column) override {
    const SegmentInfo& segment = page_.segments[at_];
    switch (column) {
      case 0:
        return Cell::of(tenant());
      case 1:
        return Cell::of(text_ = segment.id.to_string());
      case 2:
        return Cell::of(segment.size);
      default:
        return Cell::of(segment.holders[holder_]);
    }
  }

 private:
  static constexpr std::uint64_t kSegmentPage = 10'000;
  const std::string& tenant() const { return tenants_[next_tenant_ - 1]; }

  Reading& reading_;
  Condition condition_;
  bool is_begun_ = false;
  std::vector<std::string> tenants_;
  std::size_t next_tenant_ = 0;
  SegmentPage page_;
  std::size_t at_ = 0;
  std::size_t holder_ = 0;
  std::string text_;
};

class FileRows final : public Rows {
 public:
  FileRows(Reading& reading, Condition condition)
      : reading_(reading), condition_(std::move(condition)) {}

  Result<bool> next() override {
    if (!is_begun_ && !condition_.is_empty) {
      TOKVAULT_ASSIGN(files_, reading_.vault->files());
    }
    is_begun_ = true;
    return ++at_ < files_.size();
  }
  std::int64_t number() const override {
    const std::string_view texts[] = {files_[at_].name};
    return number_of_texts(texts);
  }
  Result<Cell> cell(std::size_t column) override {
    const FileInfo& f = files_[at_];
    const bool has_rows = f.kind != FileInfo::Kind::artifact && f.damage.empty();
    const bool is_pack = f.kind == FileInfo::Kind::pack && f.damage.empty();
    switch (column) {
      case 0:
        return Cell::of(f.name);
      case 1:
        return Cell::of(kKinds[static_cast<std::size_t>(f.kind)]);
      case 2:
        return f.tenant ? Cell::of(*f.tenant) : Cell();
      case 3:
        return Cell::of(f.bytes);
      case 4:
        return has_rows ? Cell::of(f.conversations) : Cell();
      case 5:
        return has_rows ? Cell::of(f.segments) : Cell();
      case 6:
        return has_rows ? Cell::of(f.tokens_stored) : Cell();
      case 7:
        return f.level ? Cell::of(kLevels[static_cast<std::size_t>(*f.level) - 1]) : Cell();
      case 8:
        return is_pack ? Cell::of(std::uint64_t{f.is_compacted}) : Cell();
      case 9:
      case 10: {
        const auto text = time_text(column == 9 ? f.time_first_ms : f.time_last_ms);
        if (!has_rows || f.conversations == 0 || !text) return Cell();
        return Cell::of(text_ = *text);
      }
      default:
        return f.damage.empty() ? Cell() : Cell::of(f.damage);
    }
  }

 private:
  static constexpr std::array<std::string_view, 3> kKinds{"log", "pack", "artifact"};
  static constexpr std::array<std::string_view, 3> kLevels{"fast", "balanced", "dense"};

  Reading& reading_;
  Condition condition_;
  bool is_begun_ = false;
  std::vector<FileInfo> files_;
  std::size_t at_ = SIZE_MAX;
  std::string text_;
};

template <class R>
std::unique_ptr<Rows> open_rows(Reading& reading, Condition condition, std::uint64_t columns) {
  if constexpr (std::is_constructible_v<R, Reading&, Condition, std::uint64_t>) {
    return std::make_unique<R>(reading, std::move(condition), columns);
  } else {
    return std::make_unique<R>(reading, std::move(condition));
  }
}

constexpr std::string_view kTextType = "TEXT";
constexpr std::string_view kIntegerType = "INTEGER";

std::vector<Table> make_tables() {
  const SqlColumn tenant{"tenant", kTextType, "whose it is"};
  const SqlColumn id{"conversation", kTextType, "the id of the conversation"};
  const SqlColumn model{"model", kTextType, "empty if there is none"};
  const SqlColumn application{"application", kTextType, "empty if there is none"};
  return {
      {{"conversations",
        "one row each, without their content",
        {tenant,
         {"id", kTextType, "unique for a tenant"},
         model,
         application,
         {"time", kTextType, "2026-11-21T10:00:00.000Z"},
         {"time_ms", kIntegerType, "the same in milliseconds since 1970"},
         {"messages", kIntegerType, "how many"},
         {"tokens", kIntegerType, "of all texts and token arrays, logical"},
         {"text_bytes", kIntegerType, "of all texts"},
         {"tags", kTextType, "a JSON array"},
         {"sequence", kIntegerType, "order of writing; grows with every version"},
         {"first_sequence", kIntegerType, "of the first version: the order of list and export"}}},
       {Role::tenant, Role::id, Role::model, Role::application, Role::time, Role::time_ms,
        Role::none, Role::none, Role::none, Role::none, Role::none, Role::none},
       1e6,
       1,
       1,
       0,
       open_rows<ConversationRows>},
      {{"messages",
        "the messages of conversations; texts are read if role, text, tokens or json is asked for",
        {tenant,
         id,
         {"position", kIntegerType, "from 0"},
         {"role", kTextType, "empty if there is none"},
         {"text", kTextType, "of its content"},
         {"tokens", kIntegerType, "of its texts and token arrays"},
         {"json", kTextType, "the whole message"}}},
       {Role::tenant, Role::id, Role::none, Role::none, Role::none, Role::none, Role::none},
       1e7,
       10,
       2,
       kContentColumns,
       open_rows<MessageRows>},
      {{"tags", "the tags of conversations", {tenant, id, {"tag", kTextType, ""}}},
       {Role::tenant, Role::id, Role::tag},
       1e6,
       1,
       1,
       0,
       open_rows<TagRows>},
      {{"usage",
        "sums that packs keep, by model, application and day: the cheapest table to add up",
        {tenant,
         model,
         application,
         {"day", kTextType, "2026-11-21, UTC"},
         {"conversations", kIntegerType, "how many"},
         {"messages", kIntegerType, "how many"},
         {"tokens", kIntegerType, "of all texts and token arrays, logical"}}},
       {Role::tenant, Role::model, Role::application, Role::day, Role::none, Role::none,
        Role::none},
       1e4,
       1,
       1,
       0,
       open_rows<UsageRows>},
      {{"holds",
        "segments that somebody holds by themselves, a row for each holder",
        {tenant,
         {"segment", kTextType, "its id"},
         {"size", kIntegerType, "in tokens or bytes"},
         {"holder", kTextType, ""}}},
       {Role::tenant, Role::none, Role::none, Role::holder},
       1e5,
       1,
       1,
       0,
       open_rows<HoldRows>},
      {{"files",
        "live logs, packs and artifacts",
        {{"name", kTextType, "packs/00000002.pack"},
         {"kind", kTextType, "log, pack or artifact"},
         {"tenant", kTextType, "NULL for a log, which is everybody's"},
         {"bytes", kIntegerType, "on disk"},
         {"conversations", kIntegerType, "versions in it, erased ones included until gc"},
         {"segments", kIntegerType, "stored in it"},
         {"tokens_stored", kIntegerType, "of these"},
         {"level", kTextType, "of a pack: fast, balanced or dense, if it says so"},
         {"compacted", kIntegerType, "of a pack: 1 if a compaction made it"},
         {"first_time", kTextType, "of its conversations"},
         {"last_time", kTextType, "of its conversations"},
         {"damage", kTextType, "what is known of it, or NULL"}}},
       std::vector<Role>(12, Role::none),
       1e3,
       1,
       1,
       0,
       open_rows<FileRows>},
  };
}

}  // namespace

std::span<const Table> tables() {
  static const std::vector<Table> kTables = make_tables();
  return kTables;
}

}  // namespace tokvault::query
