// LogFile: a log, read batch by batch and kept in memory, as it is bounded in size: its bodies
// decoded, the text apart from them at once or when it is read.
//
// A writer and a reader of another process build the same state from the same bytes: apply() is the
// only way in, so what a writer holds in memory is what a reader will find.
//
// Damage takes the batch that it lies in, and everything that the same tenant has after it in this
// log, whose numbers count on from it. Of each such batch whose header can be believed it is known
// which commits are lost; where the header cannot be, what follows is lost for every tenant.
#ifndef TOKVAULT_VAULT_LOG_FILE_H_
#define TOKVAULT_VAULT_LOG_FILE_H_

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/zstd.h"
#include "format/batch.h"
#include "format/log.h"
#include "tokvault/backend.h"
#include "vault/id_index.h"
#include "vault/log_text.h"
#include "vault/source.h"

namespace tokvault {

// A longer file is no log.
inline constexpr std::uint64_t kLogBytesMax = std::uint64_t{4} << 30;

// One tenant's part of a log.
class LogPart final : public Source, private BatchVisitor {
 public:
  LogPart(std::uint64_t file, std::uint32_t tenant);
  // As it is now; the two share the text.
  LogPart(const LogPart& other);
  LogPart& operator=(const LogPart&) = delete;

  std::uint64_t file() const override { return file_; }
  bool is_pack() const override { return false; }
  std::uint32_t tenant() const override { return tenant_; }
  std::string name() const override { return log_name(file_); }
  Range range() const override { return range_; }
  std::vector<std::uint64_t> artifacts() const override;
  Result<std::shared_ptr<const Tables>> tables() const override;
  Result<std::vector<std::uint32_t>> rows_of(const IdHash& id) const override;
  Result<ByteView> code(Stream stream, std::uint32_t number, Scratch& scratch) const override;
  Status decode_tokens(ByteView code, std::vector<Token>& out) const override;
  Result<std::optional<std::uint32_t>> find_segment(Stream stream, const ShortDigest& digest,
                                                    Scratch& scratch) const override;

  const Tables& table() const { return tables_; }
  const BatchBuilder::Counts& counts() const { return counts_; }
  const Buffer& tenant_key() const { return tenant_key_; }
  // Counts those that were not counted before: only sums ask for them, and opening need not wait.
  Result<std::uint64_t> tokens_stored() const;
  std::uint64_t size_bytes() const { return size_bytes_; }  // of its batches in the file
  // Frames that begin here, by the artifact whose dictionary they use; 0: none.
  struct Frames {
    std::uint64_t count = 0;
    std::uint64_t text_bytes = 0;
    std::uint64_t disk_bytes = 0;  // with the headers of their batches
  };
  const std::map<std::uint64_t, Frames>& frames() const { return frames_; }

 private:
  friend class LogFile;
  // Where the codes of a batch stand: in its body, or in a piece of a section's text.
  struct Codes {
    std::shared_ptr<const Buffer> body;
    std::shared_ptr<const LogText> text;
    std::uint32_t piece = 0;
    std::uint64_t text_size = 0;
    Result<ByteView> read() const;
  };
  // Takes in a body.
  Status apply(const Buffer& body, Codes codes, std::uint64_t sequence,
               std::vector<Record>& records);

  void on_model(std::string_view name) override { tables_.models.add(name); }
  void on_application(std::string_view name) override { tables_.applications.add(name); }
  void on_form(std::string_view form) override { tables_.add_form(form); }
  void on_segment(Stream stream, std::uint64_t offset, std::uint64_t size) override;
  void on_external(const External& external) override { tables_.externals.push_back(external); }
  Stream external_stream(std::uint32_t number) const override {
    return tables_.externals[number].stream;
  }
  void on_node(std::uint32_t parent, std::uint32_t form, std::span<const SegmentRef> refs) override;
  void on_conversation(std::string_view id, Row row, std::span<const SegmentRef> refs) override;
  void on_record(Record record) override;
  const FormInfo& form_info(std::uint32_t form) const override { return tables_.form_infos[form]; }

  struct Place {
    std::uint32_t batch = 0;
    std::uint32_t offset = 0;
    std::uint32_t size = 0;
  };
  const std::uint64_t file_;
  const std::uint32_t tenant_;
  Buffer tenant_key_;
  Tables tables_;
  BatchBuilder::Counts counts_;
  Range range_;
  IdIndex ids_;
  std::uint64_t size_bytes_ = 0;
  std::map<std::uint64_t, Frames> frames_;
  std::vector<Codes> codes_;  // of each batch that has any
  std::array<std::vector<Place>, kStreams> places_;
  std::vector<Record>* records_ = nullptr;  // during apply()
  struct DigestHash {
    std::size_t operator()(const ShortDigest& d) const;
  };
  // Made when first asked for, up to the segments that were there then.
  mutable std::array<std::unordered_map<ShortDigest, std::uint32_t, DigestHash>, kStreams> digests_;
  mutable std::array<std::uint32_t, kStreams> digests_done_{};
  // Tokens of the first segments, as far as they were counted.
  mutable std::uint64_t tokens_counted_ = 0;
  mutable std::size_t segments_counted_ = 0;
  mutable std::mutex derived_mutex_;  // over digests and counts
};

// Commits of a log that damage has taken.
struct LostCommits {
  std::uint64_t offset = 0;             // in the file
  std::optional<std::uint32_t> tenant;  // whose; absent: anybody's
  std::uint64_t first = 0;              // of the sequence numbers; 0: unknown
  std::uint64_t end = 0;                // behind the last one, or further
  bool is_end_known = false;
  Errc code = Errc::corrupt;                   // or not_found
  std::optional<std::uint64_t> conversations;  // that were written in them; absent: unknown
  std::optional<BatchChanges> changes;         // absent: unknown
  // The artifact that is missing or damaged, and with which they could be read; 0: they are damaged
  // themselves.
  std::uint64_t artifact = 0;
  std::string what;
};

// When the text of a log is decoded that stands apart from the bodies. `at_once`: what does not
// decode counts as lost; `when_read`: whoever reads it gets the error.
enum class DecodeText : std::uint8_t { at_once, when_read };

class LogFile {
 public:
  // An empty log as it is created.
  LogFile(std::uint64_t number, std::uint64_t header_size);
  // Reads a log as far as it can be; lost() says what cannot. `known_size`: up to here the log is
  // known to have been written, so that what is torn before is no interrupted write.
  // `first_sequence`: what it holds has no lower sequence number.
  static Result<std::shared_ptr<LogFile>> open(const Backend& backend, std::uint64_t number,
                                               std::uint64_t known_size,
                                               std::uint64_t first_sequence = 0,
                                               DecodeText decode_text = DecodeText::at_once);
  // A log of which nothing can be read, for `error`: whatever was committed in it is lost.
  static std::shared_ptr<LogFile> make_gone(std::uint64_t number, const Error& error,
                                            std::uint64_t first_sequence);

  // The log as it is now, to be read: neither follow() nor apply() goes on with it.
  std::shared_ptr<LogFile> copy_for_reading() const;

  // Reads what has been added to the file since. Returns whether anything was.
  Result<bool> follow(const Backend& backend);
  // Takes in a batch that was appended. `body`, `text`: what its payload decodes to.
  Status apply(const BatchHeader& header, std::uint64_t payload_size, Buffer body, Buffer text);

  std::uint64_t number() const { return number_; }
  std::string name() const { return log_name(number_); }
  // Whose log it is; nothing if its header is damaged.
  const std::optional<VaultRecord>& vault() const { return vault_; }
  std::uint64_t size_bytes() const { return size_; }  // up to the end of the last whole batch
  std::uint64_t text_bytes() const { return text_bytes_; }
  std::uint64_t row_count() const;
  std::uint64_t next_sequence() const { return next_sequence_; }
  // Of the first batch of which anything is known; 0: of none is.
  std::uint64_t first_sequence() const { return first_sequence_; }
  const std::map<std::uint32_t, std::shared_ptr<LogPart>>& parts() const { return parts_; }
  const std::vector<Record>& records() const { return records_; }  // in order
  // What damage has taken: such a log is not written to, and goes only by repair.
  const std::vector<LostCommits>& lost() const { return lost_; }
  // Whether it lacks that artifact.
  bool waits_for(std::uint64_t artifact) const;
  bool is_gone() const { return is_gone_; }
  // Nothing that is gone has this sequence number or a higher one. REQUIRES: is_gone()
  void end_gone(std::uint64_t sequence, bool is_known);

  // A section so far, for a writer that goes on with it.
  struct Section {
    std::uint32_t tenant = 0;
    std::uint64_t dictionary = 0;  // of the frames that are being written
    std::uint64_t text_bytes = 0;  // with those of bodies
    std::vector<std::shared_ptr<const Buffer>> bodies;
    std::shared_ptr<LogText> text = std::make_shared<LogText>();
    // What reads the frames.
    std::unique_ptr<StreamDecoder> decoder;
    std::shared_ptr<const Artifact> artifact;
    bool text_begins = false;  // no batch since the frame began has text apart
  };
  const std::vector<Section>& sections() const { return sections_; }

 private:
  using File = std::shared_ptr<const Buffer>;
  Status read_tail(const Backend& backend, const File& file, std::uint64_t known_size);
  // Reads the batch at size_, or as much of it as can be; false at the end.
  Result<bool> read_next(const Backend& backend, const File& file, std::uint64_t known_size);
  void lose(std::uint64_t offset, const BatchHeader* header, std::optional<BatchChanges> changes,
            std::string what);
  // What was lost last ended before this sequence number.
  void end_lost(std::uint64_t sequence, bool is_known);
  Status decode_batch(const Backend& backend, const BatchHeader& header, const BatchPieces& pieces,
                      const File& file);
  // The section of a batch; begins it if the batch does.
  Section& section_of(const BatchHeader& header);
  // A batch of that section is read next: gives up decoders of sections that no frame goes on in.
  void go_on_with(std::uint32_t section);
  // Takes in a batch whose text, where it stands apart, is that piece of its section's.
  Status take(const BatchHeader& header, std::uint64_t payload_size, Buffer body,
              std::uint32_t piece);

  const std::uint64_t number_;
  DecodeText decode_text_ = DecodeText::at_once;
  std::optional<VaultRecord> vault_;
  std::uint64_t size_ = 0;
  std::uint64_t text_bytes_ = 0;
  std::uint64_t next_sequence_ = 0;
  std::uint64_t first_sequence_ = 0;
  std::vector<Section> sections_;
  std::vector<std::uint32_t> open_sections_;  // whose frames may go on, the last used one last
  std::map<std::uint32_t, std::shared_ptr<LogPart>> parts_;
  std::vector<Record> records_;
  std::uint64_t search_budget_ = 0;
  std::vector<LostCommits> lost_;
  std::uint64_t missing_artifact_ = 0;    // for which decode_batch() failed last
  bool is_lost_open_ = false;             // the last of them: its end is not known yet
  std::set<std::uint32_t> lost_tenants_;  // whose batches that follow cannot be read
  bool all_lost_ = false;                 // anybody's
  bool is_gone_ = false;
};

}  // namespace tokvault

#endif  // TOKVAULT_VAULT_LOG_FILE_H_
