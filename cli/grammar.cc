// Every command, its arguments and options, and the function that does it.
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "command_line.h"
#include "commands.h"
#include "kv.h"
#include "options.h"
#include "substrings.h"

namespace tokvault::cli {
namespace {

void add_writing(CommandLine& line) {
  auto init = std::make_shared<InitCommand>();
  CLI::App* sub = line.add("init", "Make an empty vault", init, run_init);
  add_tokenizer(sub, init->tokenizer, init->pattern);

  auto import = std::make_shared<ImportCommand>();
  sub = line.add("import", "Store conversations from JSON lines, plain, .gz or .zst", import,
                 run_import);
  sub->add_option("FILE", import->files, "Files of JSON lines; - is standard input")
      ->required()
      ->check(kIsNamed);
  add_level(sub, import->level);
  add_tenant(sub, import->tenant);
  sub->add_option("--application", import->application, "For lines that name none");
  sub->add_option("--model", import->model, "For lines that name none");
  sub->add_flag("--replace", import->replace,
                "A line whose id is there with other content takes its place");
  sub->add_option("--skip-bad", import->skip_bad, "Append lines that cannot be stored to FILE")
      ->check(kIsNamed)
      ->check([](const std::string& file) {
        return std::string(file == "-" ? "bad lines go to a file, not to standard output" : "");
      })
      ->type_name("FILE");
  add_size(sub, "--max-line", import->line_bytes_max, "The longest line that is read");
  add_size(sub, "--log-size", import->log_bytes_max, "Seal a log into a pack at this size");
  add_size(sub, "--batch", import->batch_bytes, "Commit after so much input");
  add_number(sub, "--threads", import->threads, "0: as many as cores");
  sub->add_flag("--no-merge", import->no_merge, "Leave packs as sealing makes them");

  auto tag = std::make_shared<TagCommand>();
  sub = line.add("tag", "Add and remove tags: tokvault tag VAULT ID... +TAG -TAG", tag, run_tag);
  sub->add_option("ID", tag->ids, "Conversations");
  add_ids_from(sub, tag->ids_from);
  sub->add_option("--add", tag->add, "The same as +TAG")
      ->type_name("TAG")
      ->allow_extra_args(false)
      ->check(kIsText);
  sub->add_option("--remove", tag->remove, "The same as -TAG")
      ->type_name("TAG")
      ->allow_extra_args(false)
      ->check(kIsText);
  add_tenant(sub, tag->tenant);

  auto forget = std::make_shared<ForgetCommand>();
  sub = line.add("forget", "Make conversations unreadable; gc erases them", forget, run_forget);
  sub->add_option("ID", forget->ids, "Conversations");
  add_ids_from(sub, forget->ids_from);
  add_filter(sub, forget->filter, &forget->has_filter);
  sub->add_flag("--all", forget->all, "Every conversation of the tenant");
  sub->add_flag("--dry-run", forget->dry_run, "Only say how many");
}

void add_reading(CommandLine& line) {
  auto get = std::make_shared<GetCommand>();
  CLI::App* sub = line.add("get", "Print conversations", get, run_get);
  sub->add_option("ID", get->ids, "Conversations");
  add_ids_from(sub, get->ids_from);
  add_choice<Format>(sub, "--format", get->format,
                     {{"json", Format::json}, {"text", Format::text}, {"tokens", Format::tokens}},
                     "As");
  add_tenant(sub, get->tenant);

  auto list = std::make_shared<ListCommand>();
  sub = line.add("list", "List conversations", list, run_list);
  add_filter(sub, list->filter);
  add_number(sub, "--limit", list->limit, "At most so many; 0: all");
  sub->add_option("--cursor", list->cursor, "Go on where a list with --limit ended");
  add_keep_going(sub, list->keep_going);

  auto export_command = std::make_shared<ExportCommand>();
  sub = line.add("export", "Write conversations as JSON lines, in the order of import",
                 export_command, run_export);
  add_filter(sub, export_command->filter);
  sub->add_option("-o,--output", export_command->output,
                  "A file, compressed if its name ends in .gz or .zst")
      ->check(kIsNamed)
      ->type_name("FILE")
      ->default_str("standard output");
  add_choice<int>(sub, "--format", export_command->format, {{"jsonl", 0}}, "As");
  add_keep_going(sub, export_command->keep_going);

  auto explain = std::make_shared<ExplainCommand>();
  sub =
      line.add("explain", "Where the bytes are, and what was there already", explain, run_explain);
  sub->add_option("ID", explain->id, "One conversation; all if absent");
  add_number(sub, "--families", explain->families,
             "The largest families of near-duplicates; 0: do not look for what is near");
  add_size(sub, "--memory", explain->memory_bytes_max, "What looking for them may take", 1u << 20);
  add_tenant(sub, explain->tenant);

  auto near = std::make_shared<NearCommand>();
  sub = line.add("near", "List conversations that are like one of them", near, run_near);
  sub->add_option("ID", near->id, "The conversation")->required();
  add_likeness(sub, near->options.method, near->options.threshold);
  add_number(sub, "--limit", near->options.limit, "At most so many; 0: all, up to 100000",
             kNearMax);
  add_filter(sub, near->options.filter);

  auto dupes = std::make_shared<DupesCommand>();
  sub = line.add("dupes", "Group conversations that are nearly the same", dupes, run_dupes);
  add_likeness(sub, dupes->options.method, dupes->options.threshold);
  add_filter(sub, dupes->options.filter);
  add_number(sub, "--limit", dupes->limit, "Print at most so many groups; 0: all");
  CLI::Option* const ids =
      sub->add_flag("--ids", dupes->ids, "Print only the ids of what each group could do without");
  sub->add_option("-o,--output", dupes->output,
                  "Instead, write all conversations without those as JSON lines to a file")
      ->type_name("FILE")
      ->check(kIsNamed)
      ->excludes(ids);
  add_size(sub, "--memory", dupes->options.memory_bytes_max, "What it may take", 1u << 20);

  auto delta = std::make_shared<DeltaCommand>();
  sub = line.add("delta", "What one conversation copies of another, and what it brings", delta,
                 run_delta);
  sub->add_option("BASE", delta->base, "The conversation that is copied from")->required();
  sub->add_option("TARGET", delta->target, "The other one")->required();
  add_choice<DeltaCommand::Of>(sub, "--of", delta->of,
                               {{"conversations", DeltaCommand::Of::conversations},
                                {"text-files", DeltaCommand::Of::text_files},
                                {"token-files", DeltaCommand::Of::token_files}},
                               "What BASE and TARGET are");
  add_tenant(sub, delta->tenant);

  auto stats = std::make_shared<StatsCommand>();
  sub = line.add("stats", "What is in a vault, and what it takes", stats, run_stats);
  sub->add_option("--by", stats->by, "Sums by model, application, day, or several of them")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check([](const std::string& field) {
        if (field == "model" || field == "application" || field == "day") return std::string();
        return in_quotes(field) + " is none of model, application, day";
      })
      ->type_name("FIELD,...");
  add_filter(sub, stats->filter, &stats->has_filter);
  add_keep_going(sub, stats->keep_going);

  auto sql = std::make_shared<SqlCommand>();
  sub = line.add("sql", "Ask for conversations, messages, sums and files with SQL", sql, run_sql);
  sub->add_option("QUERY", sql->sql,
                  "SELECT ...; - reads it from standard input; if absent, list the tables");
  add_choice<SqlCommand::As>(sub, "--format", sql->as,
                             {{"table", SqlCommand::As::table}, {"csv", SqlCommand::As::csv}},
                             "As");
  add_keep_going(sub, sql->keep_going);

  auto tenants = std::make_shared<Command>();
  line.add("tenants", "List tenants, and what they have", tenants, run_tenants);
}

void add_segments(CommandLine& line) {
  CLI::App& group = line.add_group(
      "segment", "Segments by themselves, kept for whoever holds them beside conversations");
  auto add_one = [&](const std::string& name, const std::string& what,
                     ExitStatus (*function)(const SegmentCommand&)) {
    auto command = std::make_shared<SegmentCommand>();
    CLI::App* const sub = line.add(group, name, what, command, function);
    add_tenant(sub, command->tenant);
    return std::pair(sub, command);
  };
  auto add_ids = [](CLI::App* sub, SegmentCommand& command) {
    return sub->add_option("ID", command.ids, "Segments, as put prints them");
  };
  auto add_holder = [](CLI::App* sub, SegmentCommand& command, const std::string& what) {
    sub->add_option_function<std::string>(
           "--holder",
           [&command](const std::string& text) {
             command.holder = text;
             command.has_holder = true;
           },
           what)
        ->type_name("NAME")
        ->check(kIsText);
  };
  const std::vector<std::pair<std::string, SegmentCommand::As>> shapes{
      {"text", SegmentCommand::As::text},
      {"tokens", SegmentCommand::As::tokens},
      {"bytes", SegmentCommand::As::bytes}};
  {
    auto [sub, command] = add_one("put", "Store segments, and hold them", run_segment_put);
    sub->add_option("FILE", command->files, "A segment each; - is standard input")
        ->required()
        ->check(kIsNamed);
    add_choice<SegmentCommand::As>(sub, "--as", command->as, shapes, "What the files hold");
    add_holder(sub, *command, "Who holds them; the empty name if absent");
  }
  {
    auto [sub, command] = add_one("get", "Print segments", run_segment_get);
    add_ids(sub, *command)->required();
    add_choice<SegmentCommand::As>(
        sub, "--as", command->as,
        {{"text", SegmentCommand::As::text}, {"tokens", SegmentCommand::As::tokens}}, "Tokens as");
  }
  {
    auto [sub, command] =
        add_one("has",
                "Who holds segments, and how many conversations have them; exit status 3 "
                "if one is not there",
                run_segment_has);
    add_ids(sub, *command)->required();
  }
  {
    auto [sub, command] = add_one("hold", "Hold segments that are there", run_segment_hold);
    add_ids(sub, *command)->required();
    add_holder(sub, *command, "Who holds them; the empty name if absent");
  }
  {
    auto [sub, command] =
        add_one("release", "Give up holds; gc erases what nobody needs", run_segment_release);
    add_ids(sub, *command);
    add_holder(sub, *command, "Whose holds; the empty name if absent");
    sub->add_flag("--all", command->all, "Everything that the holder holds");
  }
  {
    auto [sub, command] = add_one("list", "List segments that are held", run_segment_list);
    add_holder(sub, *command, "Only what this one holds");
  }
  add_one("garbage", "List what gc would erase", run_segment_garbage);
  {
    auto [sub, command] = add_one(
        "replace", "Encode segments, and what lies in the same files, again", run_segment_replace);
    add_ids(sub, *command)->required();
    add_level(sub, command->level);
  }
  {
    auto command = std::make_shared<SegmentCommand>();
    CLI::App* const sub = line.add(group, "collect", "Erase garbage, of all tenants: what gc does",
                                   command, run_segment_collect);
    sub->add_flag("--dry-run", command->dry_run, "Only say what would be done");
  }
}

void add_upkeep(CommandLine& line) {
  auto gc = std::make_shared<GcCommand>();
  CLI::App* sub = line.add("gc", "Erase the bytes of what was forgotten or replaced", gc, run_gc);
  sub->add_flag("--dry-run", gc->dry_run, "Only say what would be done");

  auto compact = std::make_shared<CompactCommand>();
  sub = line.add("compact", "Rewrite a vault as small as the level makes it", compact, run_compact);
  add_level(sub, compact->options.level);
  add_size(sub, "--pack-size", compact->options.pack_bytes_max,
           "No pack larger than this; if absent, packs of at most 64M of text", 16u << 10);
  add_time(sub, "--older-than", compact->options.older_than_ms,
           "Only packs whose conversations are all older: 36h, 30d, or a time");
  sub->add_flag("--retrain", compact->options.retrain,
                "Train what packs may copy from anew, and use it if it pays");

  auto check = std::make_shared<CheckCommand>();
  sub = line.add("check", "Look for damage; exit status 5 if there is any", check, run_check);
  sub->add_flag("--read-data", check->read_data, "Decode every text too");

  auto repair = std::make_shared<RepairCommand>();
  sub = line.add("repair", "Rebuild the catalog from logs and packs", repair, run_repair);
  sub->add_flag("--give-up-logs", repair->options.give_up_logs,
                "Do without what is in logs that lack an artifact");

  auto dump = std::make_shared<DumpCommand>();
  sub = line.add("dump", "Describe one file of a vault", dump, run_dump, false);
  sub->add_option("FILE", dump->file, "A log, pack, artifact or catalog")
      ->required()
      ->check(kIsNamed);

  auto version = std::make_shared<Command>();
  line.add("version", "Print the version", version, run_version, false);
}

// tokvault substrings ACTION VAULT ...
void add_substrings(CommandLine& line) {
  CLI::App& group = line.add_group("substrings", "Runs of tokens that many conversations share");
  const auto add_action = [&](const std::string& name, const std::string& what,
                              ExitStatus (*function)(const SubstringsCommand&)) {
    auto command = std::make_shared<SubstringsCommand>();
    CLI::App* const sub = line.add(group, name, what, command, function);
    add_tenant(sub, command->tenant);
    return std::pair(sub, command);
  };
  const auto add_training = [](CLI::App* sub, SubstringsCommand& command) {
    add_number(sub, "--min-conversations", command.training.conversations_min,
               "Keep only what so many conversations hold");
  };
  auto [train, training] =
      add_action("train", "Find runs that recur and add them", run_substrings_train);
  add_training(train, *training);
  add_number(train, "--max-tokens", training->training.tokens_max, "Of all runs that are found");
  add_size(train, "--memory", training->training.memory_bytes, "For the tables of the search");
  auto [compact, compacting] = add_action(
      "compact", "Drop what no longer pays, rewrite packs with the set", run_substrings_compact);
  add_training(compact, *compacting);
  (void)add_action("list", "List the runs and the states of their set", run_substrings_list);
  auto [show, showing] = add_action("show", "Print runs", run_substrings_show);
  show->add_option("ID", showing->ids, "Numbers of runs")->required();
  auto [retain, retaining] = add_action("retain", "Drop all runs but these", run_substrings_retain);
  CLI::Option* kept = retain->add_option("ID", retaining->ids, "Numbers of runs");
  retain->add_flag("--none", retaining->none, "Drop all, also of a set that cannot be read")
      ->excludes(kept);
  auto [import, importing] = add_action(
      "import", "Add the runs of a registry of the reference layout", run_substrings_import);
  import->add_option("FOLDER", importing->folder, "With index.json and blobs.dat")
      ->required()
      ->check(kIsNamed);
}

void add_dictionaries(CommandLine& line) {
  CLI::App& group = line.add_group("dict", "Dictionaries: text that conversations have in common");

  auto train = std::make_shared<DictTrainCommand>();
  CLI::App* sub = line.add(group, "train", "Train one on what conversations have in common", train,
                           run_dict_train);
  add_size(sub, "--size", train->size_bytes,
           "Of the dictionary; if absent, by how much there is to train on, up to 110K");
  add_size(sub, "--sample", train->sample_bytes_max, "Look at so much text");
  sub->add_flag("--activate", train->activate, "What is written next uses it");
  add_filter(sub, train->filter, &train->has_filter);

  auto list = std::make_shared<DictCommand>();
  sub = line.add(group, "list", "List them by time", list, run_dict_list);
  add_tenant(sub, list->tenant);

  auto show = std::make_shared<DictCommand>();
  sub = line.add(group, "show", "What is known of one", show, run_dict_show);
  sub->add_option("ID", show->id, "The dictionary")->required();
  add_tenant(sub, show->tenant);

  auto activate = std::make_shared<DictCommand>();
  sub = line.add(group, "activate", "Have what is written next use one, or none", activate,
                 run_dict_activate);
  sub->add_option("ID", activate->id, "The dictionary, or none")->required();
  add_tenant(sub, activate->tenant);

  auto retire = std::make_shared<DictCommand>();
  sub = line.add(group, "retire", "Remove one that no file needs", retire, run_dict_retire);
  sub->add_option("ID", retire->id, "The dictionary")->required();
  sub->add_flag("--rewrite", retire->rewrite, "Rewrite the files that need it first");
  add_tenant(sub, retire->tenant);

  auto import = std::make_shared<DictFolderCommand>();
  sub = line.add(group, "import", "Add the dictionaries of a folder, or of a file", import,
                 run_dict_import);
  sub->add_option("PATH", import->path, "ID.zstd, ID.json, active")->required()->check(kIsNamed);
  add_tenant(sub, import->tenant);

  auto export_command = std::make_shared<DictFolderCommand>();
  sub =
      line.add(group, "export", "Write all of them into a folder", export_command, run_dict_export);
  sub->add_option("FOLDER", export_command->path, "Made if it is absent")
      ->required()
      ->check(kIsNamed);
  add_tenant(sub, export_command->tenant);
}

void add_tokenizers(CommandLine& line) {
  auto tokenize = std::make_shared<TokenizeCommand>();
  CLI::App* sub =
      line.add("tokenize", "Print the token ids of a text", tokenize, run_tokenize, false);
  sub->add_option("FILE", tokenize->file, "A text; - is standard input")
      ->capture_default_str()
      ->check(kIsNamed);
  add_tokenizer(sub, tokenize->tokenizer, tokenize->pattern);
  sub->add_flag("--special", tokenize->special, "Special tokens in the text become their ids");
  sub->add_flag("--count", tokenize->count, "Only how many");

  auto detokenize = std::make_shared<TokenizeCommand>();
  sub = line.add("detokenize", "Print the text of token ids", detokenize, run_detokenize, false);
  sub->add_option("FILE", detokenize->file, "Numbers; - is standard input")
      ->check(kIsNamed)
      ->capture_default_str();
  add_tokenizer(sub, detokenize->tokenizer, detokenize->pattern);
}

struct KvOption {
  const char* name;
  const char* type;  // empty: a flag
  const char* what;
};

void add_kv_command(CommandLine& line, CLI::App& group, const std::string& name,
                    const std::string& what, const std::vector<KvOption>& options,
                    const std::string& target = "STORE") {
  auto command = std::make_shared<KvCommand>();
  command->name = name;
  CLI::App* const sub = line.add(group, name, what, command, run_kv, false);
  CLI::Option* const where =
      sub->add_option(target, command->target,
                      target == "STORE" ? "The folder of the store" : "JSON lines of requests");
  // get needs none with --kvc, and says so.
  if (name == "get") {
    where->check(kIsNamed);
  } else {
    where->required()->check(kIsNamed);
  }
  for (const KvOption& option : options) {
    const std::string long_name =
        std::string(option.name).substr(std::string_view(option.name).starts_with("-o,") ? 3 : 0);
    auto& values = command->values;
    if (*option.type == '\0') {
      sub->add_flag_callback(option.name, [&values, long_name] { values[long_name]; }, option.what);
      continue;
    }
    sub->add_option_function<std::string>(
           option.name,
           [&values, long_name](const std::string& value) { values[long_name] = value; },
           option.what)
        ->type_name(option.type);
  }
}

void add_kv(CommandLine& line) {
  CLI::App& group = line.add_group("kv", "The checkpoint store: KV-cache states by token prefix");
  const KvOption tokens{"--tokens", "FILE", "Token ids; - is standard input"};
  const KvOption text{"--text", "FILE", "The prompt as text; - is standard input"};
  const KvOption name_space{"--namespace", "NAME=kvc",
                            "The model, or FIELD=VALUE,... of model, tokenizer, chat_template, "
                            "dtype, layout, lora, tenant, extra"};
  const KvOption budget{"--budget", "SIZE",
                        "Bytes on disk; if absent what the store was last given, 64G at first"};
  const KvOption eviction{"--eviction", "NAME=value", "value, lru or decayed_hits"};
  const KvOption codec{"--codec", "NAME=none", "none, zstd, plane8, planes16 or by_dtype"};
  const KvOption block{"--block-tokens", "N=256", "Tokens of a block; counts for a new store"};

  add_kv_command(
      line, group, "put", "Store the state of a prompt",
      {tokens,
       text,
       {"--payload", "FILE", "The state: as many bytes for each token; - is standard input"},
       {"--state", "", "In one piece instead of in blocks, as always without --tokens"},
       name_space,
       budget,
       eviction,
       codec,
       block});
  add_kv_command(line, group, "get", "Write the state of the longest stored prefix of a prompt",
                 {tokens,
                  text,
                  {"-o,--output", "FILE", "Where to; - is standard output"},
                  {"--kvc", "FOLDER", "Serve --text from these KVC files, without a store"},
                  name_space});
  add_kv_command(line, group, "match", "How much of a prompt is stored",
                 {tokens, text, name_space});
  add_kv_command(
      line, group, "explain", "How much of a prompt is stored, and why no more",
      {tokens, {"--sidecar", "NAME", "Whether the boundary has this one, too"}, name_space});
  add_kv_command(line, group, "list", "List records",
                 {{"--limit", "N=0", "At most so many; 0: all"}});
  add_kv_command(line, group, "stats", "Counts and sizes", {});
  add_kv_command(line, group, "check",
                 "Read and verify everything; exit status 5 if there is damage",
                 {{"--remove", "", "Take out what is damaged"}});
  add_kv_command(line, group, "evict", "Evict what is worth least, or what outlived its time",
                 {budget,
                  {"--bytes", "SIZE", "Until so much of the budget is free"},
                  {"--expired", "", "What outlived its time"},
                  eviction});
  add_kv_command(line, group, "import", "Take in KVC files, which stay where they are",
                 {{"--kvc", "FOLDER", "Of the files"}, name_space, budget, eviction, codec, block});
  add_kv_command(line, group, "export", "Write the KVC files of a namespace again, byte for byte",
                 {{"--kvc", "FOLDER", "Made if it is absent"}, name_space});
  add_kv_command(
      line, group, "replay", "Hits of eviction policies on a trace of requests",
      {{"--budget", "PERCENT,...=1,5,10,30", "Of the unique blocks"},
       {"--policy", "NAME,...",
        "Of value, lru, decayed_hits, arc, 2q, gdsf, aged_frequency, belady; all of them "
        "if absent"},
       {"--block-tokens", "N=512", "Tokens of a block of the trace"}},
      "TRACE");
}

}  // namespace

void add_commands(CommandLine& line) {
  add_writing(line);
  add_reading(line);
  add_segments(line);
  add_upkeep(line);
  add_substrings(line);
  add_dictionaries(line);
  add_tokenizers(line);
  add_kv(line);
}

}  // namespace tokvault::cli
