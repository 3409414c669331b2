#include "model/model_directory.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <utility>

namespace h5serve::model {
namespace {

constexpr std::array<std::string_view, 3> kModelEndings = {".h5", ".keras", ".hdf5"};
constexpr std::string_view kSettingsName = "model.json";

bool EndsWithIgnoringCase(std::string_view text, std::string_view ending) {
  if (text.size() < ending.size()) return false;
  const std::string_view tail = text.substr(text.size() - ending.size());
  return std::equal(tail.begin(), tail.end(), ending.begin(), [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
  });
}

// Names of files in the making, and of what is never a model.
bool IsIgnoredName(std::string_view name) {
  return name.empty() || name.front() == '.' || name.ends_with('~') || name.ends_with(".tmp") ||
         name.ends_with(".part") || name == "lost+found";
}

// Name without its model ending; the whole name if it has none.
std::string_view Stem(std::string_view name) {
  for (const std::string_view ending : kModelEndings) {
    if (name.size() > ending.size() && EndsWithIgnoringCase(name, ending)) {
      return name.substr(0, name.size() - ending.size());
    }
  }
  return name;
}

std::optional<int64_t> ParseVersion(std::string_view text) {
  int64_t version = 0;
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return version;
}

// Length of the UTF-8 sequence at the start of `text` that prints as one
// character; 0 if there is none (RFC 3629; control characters do not print).
size_t PrintableSequence(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return byte(0) >= 0x20 && byte(0) != 0x7f ? 1 : 0;
  const size_t length = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const bool overlong_or_surrogate_or_beyond =
      (byte(0) == 0xe0 && byte(1) < 0xa0) || (byte(0) == 0xed && byte(1) > 0x9f) ||
      (byte(0) == 0xf0 && byte(1) < 0x90) || (byte(0) == 0xf4 && byte(1) > 0x8f);
  const bool control = byte(0) == 0xc2 && byte(1) < 0xa0;
  return overlong_or_surrogate_or_beyond || control ? 0 : length;
}

int64_t Seconds(int64_t nanoseconds) { return std::max<int64_t>(0, nanoseconds) / 1'000'000'000; }

std::string Join(const std::string& directory, std::string_view name) {
  return directory.ends_with('/') ? fmt::format("{}{}", directory, name)
                                  : fmt::format("{}/{}", directory, name);
}

// A directory's entries, with the questions a scan has about them.
class Listing {
 public:
  Listing(const FileSystem& files, std::string path) : files_(files), path_(std::move(path)) {
    absl::StatusOr<std::vector<DirectoryEntry>> entries = files_.List(path_);
    status_ = entries.status();
    if (!entries.ok()) return;
    entries_ = *std::move(entries);
    std::erase_if(entries_, [](const DirectoryEntry& entry) { return IsIgnoredName(entry.name); });
    std::sort(entries_.begin(), entries_.end(),
              [](const DirectoryEntry& a, const DirectoryEntry& b) { return a.name < b.name; });
  }

  const absl::Status& status() const { return status_; }
  const std::vector<DirectoryEntry>& entries() const { return entries_; }
  std::string PathOf(const std::string& name) const { return Join(path_, name); }
  absl::StatusOr<FileStat> Stat(const std::string& name) const { return files_.Stat(PathOf(name)); }

  bool Contains(std::string_view name) const {
    const auto place =
        std::lower_bound(entries_.begin(), entries_.end(), name,
                         [](const DirectoryEntry& a, std::string_view b) { return a.name < b; });
    return place != entries_.end() && place->name == name;
  }

  // Zero if there is no such file.
  FileIdentity IdentityOf(const std::string& name) const {
    if (!Contains(name)) return {};
    const absl::StatusOr<FileStat> stat = Stat(name);
    return stat.ok() ? stat->identity : FileIdentity{};
  }

  // A candidate for the regular file `name`.
  Candidate CandidateFor(const std::string& name, int64_t version,
                         const FileIdentity& identity) const {
    Candidate candidate;
    candidate.version = version;
    candidate.path = PathOf(name);
    candidate.identity = identity;
    candidate.digest_file = IdentityOf(name + ".sha256");
    candidate.golden_file = IdentityOf(name + ".golden.npz");
    return candidate;
  }

 private:
  const FileSystem& files_;
  const std::string path_;
  absl::Status status_;
  std::vector<DirectoryEntry> entries_;
};

class Scanner {
 public:
  explicit Scanner(const FileSystem& files) : files_(files) {}

  DirectoryScan Scan(const std::string& root) {
    const absl::StatusOr<FileStat> stat = files_.Stat(root);
    const Listing listing(files_, root);
    scan_.status = stat.ok() ? listing.status() : stat.status();
    if (!scan_.status.ok()) return std::move(scan_);
    scan_.root = stat->identity;
    scan_.directories.push_back(root);
    for (const DirectoryEntry& entry : listing.entries()) {
      if (IsModelFileName(entry.name)) {
        AddFlatFile(listing, entry);
      } else if (!IsSidecarName(entry.name)) {
        AddModelFolder(listing, entry);
      }
    }
    for (auto& [name, model] : models_) {
      MergeDuplicates(&model);
      scan_.models.push_back(std::move(model));
    }
    return std::move(scan_);
  }

 private:
  static bool IsSidecarName(std::string_view name) {
    return name.ends_with(".sha256") || name.ends_with(".npz") || name.ends_with(".json");
  }

  // The model called `name`, or null with a problem noted if nobody could call
  // it by that name.
  FoundModel* ModelCalled(std::string_view name, const std::string& path) {
    FoundModel& model = models_[PrintableName(name)];
    model.name = PrintableName(name);
    if (IsPrintableUtf8(name)) return &model;
    model.problems.Add(Code::kSettingsInvalid,
                       fmt::format("the name of {} is not printable UTF-8, so that no client could "
                                   "ask for this model",
                                   PrintableName(path)),
                       {}, {"rename the file or folder"});
    return nullptr;
  }

  // Says why `entry`, named like a model file, is not a file that can be tried.
  // Returns false if there is nothing to say: it has just gone.
  bool Explain(const Listing& listing, const DirectoryEntry& entry,
               const absl::StatusOr<FileStat>& stat, DiagnosisList* problems) {
    const std::string path = PrintableName(listing.PathOf(entry.name));
    if (!stat.ok()) {
      if (absl::IsNotFound(stat.status())) {
        if (!entry.is_link) return false;
        problems->Add(Code::kFileNotFound, fmt::format("the symbolic link {} leads nowhere", path),
                      {}, {"let the link point to an existing file, or remove it"});
      } else if (absl::IsFailedPrecondition(stat.status())) {
        problems->Add(Code::kFileUnreadable,
                      fmt::format("{} is a symbolic link that leads to itself", path), {},
                      {"let the link point to an existing file, or remove it"});
      } else {
        problems->Add(
            absl::IsPermissionDenied(stat.status()) ? Code::kFileUnreadable : Code::kIoError,
            PrintableName(std::string(stat.status().message())));
      }
      return true;
    }
    if (stat->kind == FileKind::kDirectory) {
      const bool saved_model =
          Listing(files_, listing.PathOf(entry.name)).Contains("saved_model.pb");
      problems->Add(
          saved_model ? Code::kSavedModelDir : Code::kFileUnreadable,
          fmt::format("{} is a folder{}, not a model file", path,
                      saved_model ? " in TensorFlow's SavedModel format" : ""),
          {},
          {saved_model ? "save the model as .h5: model.save('model.h5')"
                       : "put the model file itself there, or give the folder a name without this "
                         "ending"});
      return true;
    }
    problems->Add(Code::kFileUnreadable,
                  fmt::format("{} is not a regular file but a pipe, socket or device", path), {},
                  {"put the model file itself there"});
    return true;
  }

  void AddFlatFile(const Listing& listing, const DirectoryEntry& entry) {
    const absl::StatusOr<FileStat> stat = listing.Stat(entry.name);
    DiagnosisList problems;
    const bool usable = stat.ok() && stat->kind == FileKind::kRegular;
    if (!usable && !Explain(listing, entry, stat, &problems)) return;
    FoundModel* const model = ModelCalled(Stem(entry.name), listing.PathOf(entry.name));
    if (model == nullptr) return;
    if (usable) {
      model->versions.push_back(
          listing.CandidateFor(entry.name, Seconds(stat->identity.mtime_ns), stat->identity));
      return;
    }
    NoteUnknown(stat.status(), model);
    for (Diagnosis& problem : problems.items()) model->problems.Add(std::move(problem));
  }

  // After an error that does not say that the file is gone, it may well exist.
  static void NoteUnknown(const absl::Status& status, FoundModel* model) {
    if (!status.ok() && !absl::IsNotFound(status) && !absl::IsFailedPrecondition(status)) {
      model->incomplete = true;
    }
  }

  void AddModelFolder(const Listing& root, const DirectoryEntry& entry) {
    const absl::StatusOr<FileStat> stat = root.Stat(entry.name);
    const bool unknown = !stat.ok() && !absl::IsNotFound(stat.status()) &&
                         !absl::IsFailedPrecondition(stat.status());
    if (!unknown && (!stat.ok() || stat->kind != FileKind::kDirectory)) return;
    if (stat.ok()) scan_.folders[PrintableName(entry.name)] = stat->identity;
    const std::string path = root.PathOf(entry.name);
    const Listing folder(files_, path);
    if (folder.status().ok() && folder.entries().empty()) {
      scan_.directories.push_back(path);  // something may soon be put there
      return;
    }
    if (absl::IsNotFound(folder.status())) return;
    FoundModel found;
    if (folder.status().ok()) {
      scan_.directories.push_back(path);
      ReadModelFolder(folder, &found);
      const bool empty = found.versions.empty() && found.problems.empty() &&
                         found.settings_path.empty() && !found.incomplete;
      if (empty) return;  // a folder of other things
    } else {
      found.incomplete = true;
      found.problems.Add(
          absl::IsPermissionDenied(folder.status()) ? Code::kFileUnreadable : Code::kIoError,
          PrintableName(std::string(folder.status().message())));
    }
    FoundModel* const model = ModelCalled(entry.name, path);
    if (model == nullptr) return;
    model->settings_path = std::move(found.settings_path);
    model->settings_identity = found.settings_identity;
    model->incomplete |= found.incomplete;
    for (Diagnosis& problem : found.problems.items()) model->problems.Add(std::move(problem));
    std::move(found.versions.begin(), found.versions.end(), std::back_inserter(model->versions));
  }

  void ReadModelFolder(const Listing& folder, FoundModel* model) {
    for (const DirectoryEntry& entry : folder.entries()) {
      if (entry.name == kSettingsName) {
        const absl::StatusOr<FileStat> stat = folder.Stat(entry.name);
        if (stat.ok()) {
          model->settings_path = folder.PathOf(entry.name);
          model->settings_identity = stat->identity;
        } else if (!absl::IsNotFound(stat.status())) {
          model->incomplete = true;
        }
        continue;
      }
      const std::optional<int64_t> version = ParseVersion(Stem(entry.name));
      if (IsModelFileName(entry.name)) {
        AddVersionFile(folder, entry, version, model);
      } else if (version) {
        AddVersionFolder(folder, entry, *version, model);
      }
    }
  }

  void AddVersionFile(const Listing& folder, const DirectoryEntry& entry,
                      std::optional<int64_t> version, FoundModel* model) {
    if (!version) {
      model->problems.Add(
          Code::kSettingsInvalid,
          fmt::format("the name of {} is not a version number, so that the file is not used",
                      PrintableName(folder.PathOf(entry.name))),
          {}, {"name it after its version, for example 1.h5, or put it into a folder 1"});
      return;
    }
    const absl::StatusOr<FileStat> stat = folder.Stat(entry.name);
    if (stat.ok() && stat->kind == FileKind::kRegular) {
      model->versions.push_back(folder.CandidateFor(entry.name, *version, stat->identity));
      return;
    }
    Candidate candidate;
    candidate.version = *version;
    candidate.path = folder.PathOf(entry.name);
    if (stat.ok()) candidate.identity = stat->identity;
    if (!Explain(folder, entry, stat, &candidate.problems)) return;
    NoteUnknown(stat.status(), model);
    model->versions.push_back(std::move(candidate));
  }

  void AddVersionFolder(const Listing& model_folder, const DirectoryEntry& entry, int64_t version,
                        FoundModel* model) {
    const absl::StatusOr<FileStat> stat = model_folder.Stat(entry.name);
    if (!stat.ok()) return NoteUnknown(stat.status(), model);
    if (stat->kind != FileKind::kDirectory) return;
    const std::string path = model_folder.PathOf(entry.name);
    const Listing folder(files_, path);
    if (!folder.status().ok()) return NoteUnknown(folder.status(), model);
    scan_.directories.push_back(path);
    std::vector<const DirectoryEntry*> model_files;
    for (const DirectoryEntry& file : folder.entries()) {
      if (IsModelFileName(file.name)) model_files.push_back(&file);
    }
    Candidate candidate;
    candidate.version = version;
    candidate.path = path;
    candidate.identity = stat->identity;
    if (model_files.size() == 1) {
      const DirectoryEntry& file = *model_files.front();
      const absl::StatusOr<FileStat> file_stat = folder.Stat(file.name);
      if (file_stat.ok() && file_stat->kind == FileKind::kRegular) {
        candidate = folder.CandidateFor(file.name, version, file_stat->identity);
      } else {
        if (!Explain(folder, file, file_stat, &candidate.problems)) return;
        NoteUnknown(file_stat.status(), model);
      }
    } else if (!ExplainFolder(folder, path, model_files, &candidate.problems)) {
      return;
    }
    model->versions.push_back(std::move(candidate));
  }

  // Says why a version's folder without exactly one model file cannot be used.
  // Returns false for an empty one: its file is yet to come.
  static bool ExplainFolder(const Listing& folder, const std::string& path,
                            const std::vector<const DirectoryEntry*>& model_files,
                            DiagnosisList* problems) {
    const std::string name = PrintableName(path);
    if (!model_files.empty()) {
      std::vector<std::string> names;
      for (const DirectoryEntry* file : model_files) names.push_back(PrintableName(file->name));
      if (names.size() > 5) names.resize(5);
      problems->Add(Code::kSettingsInvalid,
                    fmt::format("{} holds {} model files, and nothing says which one is meant: {}",
                                name, model_files.size(), fmt::join(names, ", ")),
                    {}, {"leave exactly one model file in a version's folder"});
      return true;
    }
    if (folder.Contains("saved_model.pb")) {
      problems->Add(Code::kSavedModelDir,
                    fmt::format("{} holds a model in TensorFlow's SavedModel format", name));
      return true;
    }
    if (folder.entries().empty()) return false;
    problems->Add(Code::kFileNotFound, fmt::format("{} holds no .h5 or .keras file", name));
    return true;
  }

  // Two files for one version: refuse both rather than pick one by chance.
  static void MergeDuplicates(FoundModel* model) {
    std::stable_sort(model->versions.begin(), model->versions.end(),
                     [](const Candidate& a, const Candidate& b) { return a.version < b.version; });
    std::vector<Candidate> unique;
    for (Candidate& candidate : model->versions) {
      if (unique.empty() || unique.back().version != candidate.version) {
        unique.push_back(std::move(candidate));
        continue;
      }
      unique.back().problems.Add(
          Code::kSettingsInvalid,
          fmt::format("version {} of model {} exists twice: {} and {}", candidate.version,
                      model->name, PrintableName(unique.back().path),
                      PrintableName(candidate.path)),
          {}, {"remove one of the two, or give it another version"});
    }
    model->versions = std::move(unique);
  }

  const FileSystem& files_;
  DirectoryScan scan_;
  std::map<std::string, FoundModel> models_;
};

}  // namespace

DirectoryScan ScanModelDirectory(const FileSystem& files, const std::string& root) {
  return Scanner(files).Scan(root);
}

bool IsModelFileName(std::string_view name) {
  return !IsIgnoredName(name) && Stem(name).size() < name.size();
}

bool IsPrintableUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = PrintableSequence(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string PrintableName(std::string_view text) {
  std::string printable;
  while (!text.empty()) {
    const size_t length = PrintableSequence(text);
    if (length == 0) {
      printable += fmt::format("\\x{:02x}", static_cast<unsigned char>(text.front()));
    } else {
      printable.append(text.substr(0, length));
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return printable;
}

}  // namespace h5serve::model
