// The commands of dictionaries: tokvault dict train, list, show, activate, retire, import, export.
#include "commands.h"
#include "output.h"
#include "values.h"

namespace tokvault::cli {
namespace {

std::string json_of(const DictionaryInfo& d) {
  return JsonObject()
      .field("id", std::uint64_t{d.id})
      .field("number", d.number)
      .field("created", format_time_ms(d.created_ms))
      .field("size_bytes", d.size_bytes)
      .field("conversations", d.conversations)
      .field("samples", d.samples)
      .field("sample_bytes", d.sample_bytes)
      .field("active", d.active)
      .field("files", d.files)
      .text();
}

Result<std::uint32_t> parse_id(const std::string& text) {
  TOKVAULT_ASSIGN(const std::uint64_t id, parse_number(text, 0xffffffffu));
  return static_cast<std::uint32_t>(id);
}

Result<DictionaryInfo> find(const Vault& vault, std::uint32_t id, const std::string& tenant) {
  TOKVAULT_ASSIGN(const auto list, vault.dictionaries().list(tenant));
  for (const DictionaryInfo& d : list) {
    if (d.id == id) return d;
  }
  return Error(Errc::not_found, "no dictionary " + std::to_string(id));
}

void print_info(const DictionaryInfo& d) {
  print_line("dictionary " + std::to_string(d.id) + (d.active ? ", active" : ""));
  print_line("  made " + format_time_ms(d.created_ms) + ", " + format_bytes(d.size_bytes) +
             ", artifact " + std::to_string(d.number));
  if (d.samples > 0) {
    std::string of = "  trained on " + format_counted(d.samples, "sample");
    if (d.sample_bytes > 0) of += " of " + format_bytes(d.sample_bytes);
    if (d.conversations > 0) of += " from " + format_counted(d.conversations, "conversation");
    print_line(of);
  }
  print_line("  needed by " + format_counted(d.files, "file"));
}

}  // namespace

ExitStatus run_dict_train(const DictTrainCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  TOKVAULT_TRY(check_tenant(*vault, command.filter.tenant));
  DictionaryTraining training;
  training.size_bytes = command.size_bytes;
  training.sample_bytes_max = command.sample_bytes_max;
  TOKVAULT_ASSIGN(DictionaryInfo d, vault->dictionaries().train(command.filter, training));
  if (command.activate) {
    TOKVAULT_TRY(vault->dictionaries().activate(d.id, command.filter.tenant));
    d.active = true;
  }
  if (command.json) {
    print_line(json_of(d));
  } else {
    print_info(d);
  }
  return 0;
}

ExitStatus run_dict_list(const DictCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  TOKVAULT_TRY(check_tenant(*vault, command.tenant));
  TOKVAULT_ASSIGN(const auto list, vault->dictionaries().list(command.tenant));
  for (const DictionaryInfo& d : list) {
    if (command.json) {
      print_line(json_of(d));
    } else {
      print_line(std::to_string(d.id) + "  " + format_time_ms(d.created_ms) + "  " +
                 format_bytes(d.size_bytes) + "  artifact " + std::to_string(d.number) + "  " +
                 format_counted(d.files, "file") + (d.active ? "  active" : ""));
    }
  }
  return 0;
}

ExitStatus run_dict_show(const DictCommand& command) {
  TOKVAULT_ASSIGN(const std::uint32_t id, parse_id(command.id));
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  TOKVAULT_ASSIGN(const DictionaryInfo d, find(*vault, id, command.tenant));
  if (command.json) {
    print_line(json_of(d));
  } else {
    print_info(d);
  }
  return 0;
}

ExitStatus run_dict_activate(const DictCommand& command) {
  std::optional<std::uint32_t> id;
  if (command.id != "none") {
    TOKVAULT_ASSIGN(id, parse_id(command.id));
  }
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  TOKVAULT_TRY(check_tenant(*vault, command.tenant));
  TOKVAULT_TRY(vault->dictionaries().activate(id, command.tenant));
  if (command.json) {
    JsonObject out;
    print_line(id ? out.field("active", std::uint64_t{*id}).text()
                  : out.raw("active", "null").text());
  } else {
    print_line(id ? "dictionary " + command.id + " is active" : "no dictionary is active");
  }
  return 0;
}

ExitStatus run_dict_retire(const DictCommand& command) {
  TOKVAULT_ASSIGN(const std::uint32_t id, parse_id(command.id));
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  const Status status = vault->dictionaries().retire(id, command.rewrite, command.tenant);
  if (status.code() == Errc::conflict && !command.rewrite) {
    return Error(Errc::conflict, std::string(status.error().message()) + " (--rewrite does it)");
  }
  if (!status) return status.error().clone();
  if (command.json) {
    print_line(JsonObject().field("retired", std::uint64_t{id}).text());
  } else {
    print_line("retired dictionary " + command.id);
  }
  return 0;
}

ExitStatus run_dict_import(const DictFolderCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_writer(command));
  TOKVAULT_ASSIGN(const DictionaryImport done,
                  import_dictionaries(vault->dictionaries(), command.path, command.tenant));
  if (command.json) {
    auto ids = [](const std::vector<std::uint32_t>& of) {
      std::vector<std::string> out;
      for (const std::uint32_t id : of) out.push_back(std::to_string(id));
      return json_array(out);
    };
    print_line(JsonObject()
                   .raw("added", ids(done.added))
                   .raw("present", ids(done.present))
                   .raw("active", done.active ? std::to_string(*done.active) : "null")
                   .text());
    return 0;
  }
  std::string text =
      "added " + format_count(done.added.size()) + " of " +
      std::to_string(done.added.size() + done.present.size()) +
      (done.added.size() + done.present.size() == 1 ? " dictionary" : " dictionaries");
  if (done.active) text += ", " + std::to_string(*done.active) + " is active";
  print_line(text);
  return 0;
}

ExitStatus run_dict_export(const DictFolderCommand& command) {
  TOKVAULT_ASSIGN(const auto vault, open_reader(command));
  TOKVAULT_TRY(check_tenant(*vault, command.tenant));
  TOKVAULT_TRY(folder_outside_of(command.vault, command.path));
  TOKVAULT_ASSIGN(const auto ids,
                  export_dictionaries(vault->dictionaries(), command.path, command.tenant));
  if (command.json) {
    std::vector<std::string> out;
    for (const std::uint32_t id : ids) out.push_back(std::to_string(id));
    print_line(JsonObject().raw("exported", json_array(out)).text());
  } else {
    print_line("wrote " + format_count(ids.size()) +
               (ids.size() == 1 ? " dictionary" : " dictionaries") + " to " +
               printable(command.path));
  }
  return 0;
}

}  // namespace tokvault::cli
