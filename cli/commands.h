// The commands: what the command line asks for, and the functions that do it.
//
// Each function prints its result and returns the exit status, or an error that main() prints.
#ifndef TOKVAULT_CLI_COMMANDS_H_
#define TOKVAULT_CLI_COMMANDS_H_

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "tokvault/tokvault.h"

namespace tokvault::cli {

using ExitStatus = Result<int>;

struct Command {
  std::string vault;
  bool json = false;
};

struct InitCommand : Command {
  std::string tokenizer = "o200k_base";
  std::string pattern;  // empty: not given
};

struct ImportCommand : Command {
  std::vector<std::string> files;
  Level level = Level::balanced;
  std::string tenant;
  std::string application;
  std::string model;
  bool replace = false;
  std::string skip_bad;
  std::uint64_t line_bytes_max = 64u << 20;
  std::uint64_t log_bytes_max = 16u << 20;
  std::uint64_t batch_bytes = 4u << 20;
  unsigned threads = 0;
  bool no_merge = false;
};

enum class Format : std::uint8_t { json, text, tokens };

struct GetCommand : Command {
  std::vector<std::string> ids;
  std::string ids_from;  // empty: none
  Format format = Format::json;
  std::string tenant;
};

struct ListCommand : Command {
  Filter filter;
  std::uint64_t limit = 0;  // 0: all
  std::string cursor;
  bool keep_going = false;
};

struct TagCommand : Command {
  std::vector<std::string> ids;
  std::string ids_from;  // empty: none
  std::vector<std::string> add;
  std::vector<std::string> remove;
  std::string tenant;
};

struct ExportCommand : Command {
  Filter filter;
  int format = 0;  // JSON lines, which is the only one
  std::string output = "-";
  bool keep_going = false;
  std::unordered_set<std::string> leave_out;  // ids
};

inline constexpr std::uint64_t kNearMax = 100'000;  // that the library lists

struct NearCommand : Command {
  std::string id;
  NearOptions options;
};

struct ExplainCommand : Command {
  std::string id;  // empty: all
  std::string tenant;
  std::uint64_t families = 10;
  std::uint64_t memory_bytes_max = DuplicateOptions().memory_bytes_max;  // to find them
};

struct DupesCommand : Command {
  DuplicateOptions options;
  std::uint64_t limit = 0;  // groups that are printed; 0: all
  bool ids = false;         // only those of duplicates
  std::string output;       // empty: none
};

struct DeltaCommand : Command {
  enum class Of : std::uint8_t { conversations, text_files, token_files };
  std::string base;
  std::string target;
  Of of = Of::conversations;
  std::string tenant;
};

struct StatsCommand : Command {
  bool keep_going = false;
  Filter filter;
  bool has_filter = false;
  std::vector<std::string> by;
};

struct ForgetCommand : Command {
  std::vector<std::string> ids;
  std::string ids_from;  // empty: none
  Filter filter;
  bool has_filter = false;
  bool all = false;
  bool dry_run = false;
};

struct GcCommand : Command {
  bool dry_run = false;
};

struct CompactCommand : Command {
  CompactOptions options;
};

struct CheckCommand : Command {
  bool read_data = false;
};

struct RepairCommand : Command {
  RepairOptions options;
};

struct DumpCommand : Command {
  std::string file;
};

struct SqlCommand : Command {
  enum class As : std::uint8_t { table, csv };
  std::string sql;  // empty: list the tables; -: from standard input
  As as = As::table;
  bool keep_going = false;
};

struct DictTrainCommand : Command {
  Filter filter;
  bool has_filter = false;
  std::uint64_t size_bytes = 0;  // 0: by what there is to train on
  std::uint64_t sample_bytes_max = 8u << 20;
  bool activate = false;
};

struct DictCommand : Command {
  std::string id;
  std::string tenant;
  bool rewrite = false;
};

struct DictFolderCommand : Command {
  std::string path;
  std::string tenant;
};

struct TokenizeCommand : Command {
  std::string tokenizer = "o200k_base";
  std::string pattern;  // empty: not given
  std::string file = "-";
  bool special = false;
  bool count = false;
};

struct SegmentCommand : Command {
  enum class As : std::uint8_t { text, tokens, bytes };
  std::vector<std::string> files;  // of put
  std::vector<std::string> ids;
  As as = As::text;
  std::string tenant;
  std::string holder;
  bool has_holder = false;
  bool all = false;  // of release: everything that the holder holds
  Level level = Level::balanced;
  bool dry_run = false;
};

// data.cc
ExitStatus run_get(const GetCommand& command);
ExitStatus run_export(const ExportCommand& command);
ExitStatus run_tokenize(const TokenizeCommand& command);
ExitStatus run_detokenize(const TokenizeCommand& command);
// delta.cc
ExitStatus run_delta(const DeltaCommand& command);
// dict.cc
ExitStatus run_dict_train(const DictTrainCommand& command);
ExitStatus run_dict_list(const DictCommand& command);
ExitStatus run_dict_show(const DictCommand& command);
ExitStatus run_dict_activate(const DictCommand& command);
ExitStatus run_dict_retire(const DictCommand& command);
ExitStatus run_dict_import(const DictFolderCommand& command);
ExitStatus run_dict_export(const DictFolderCommand& command);
// import.cc
ExitStatus run_import(const ImportCommand& command);
// explain.cc
ExitStatus run_explain(const ExplainCommand& command);
// near.cc
ExitStatus run_near(const NearCommand& command);
ExitStatus run_dupes(const DupesCommand& command);
// query.cc
ExitStatus run_list(const ListCommand& command);
ExitStatus run_stats(const StatsCommand& command);
ExitStatus run_tenants(const Command& command);
ExitStatus run_tag(const TagCommand& command);
ExitStatus run_forget(const ForgetCommand& command);
// segment.cc
ExitStatus run_segment_put(const SegmentCommand& command);
ExitStatus run_segment_get(const SegmentCommand& command);
ExitStatus run_segment_has(const SegmentCommand& command);
ExitStatus run_segment_hold(const SegmentCommand& command);
ExitStatus run_segment_release(const SegmentCommand& command);
ExitStatus run_segment_list(const SegmentCommand& command);
ExitStatus run_segment_garbage(const SegmentCommand& command);
ExitStatus run_segment_replace(const SegmentCommand& command);
ExitStatus run_segment_collect(const SegmentCommand& command);
// sql.cc
ExitStatus run_sql(const SqlCommand& command);
// upkeep.cc
ExitStatus run_init(const InitCommand& command);
ExitStatus run_gc(const GcCommand& command);
ExitStatus run_compact(const CompactCommand& command);
ExitStatus run_check(const CheckCommand& command);
ExitStatus run_repair(const RepairCommand& command);
ExitStatus run_dump(const DumpCommand& command);
ExitStatus run_version(const Command& command);

// What gc, compact and what does the same print.
void print_gc(const GcReport& report, bool dry_run, bool json);

// The splitter of a rank file if none is given.
inline constexpr char kDefaultPattern[] = "cl100k_base";
// What --tokenizer and --pattern say: a rank file, or a tokenizer that brings its own splitter, so
// that a pattern for it is `invalid`.
bool is_rank_file(const std::string& tokenizer);
Result<std::string> pattern_of(const std::string& tokenizer, const std::string& pattern);

// The vault for reading, beside whoever writes to it; and as its writer.
Result<std::unique_ptr<Vault>> open_reader(const Command& command, bool keep_going = false);
// `not_found` unless the vault has this tenant (empty: the default one): a name that is mistyped
// must not look like a tenant that has nothing.
Status check_tenant(const Vault& vault, const std::string& tenant);
// Says what is known to be damaged. Returns the exit status that says so, or 0.
int report_damage(const Vault& vault, const Command& command);
Result<std::unique_ptr<Vault>> open_writer(const Command& command,
                                           const VaultOptions& options = {});

}  // namespace tokvault::cli

#endif  // TOKVAULT_CLI_COMMANDS_H_
