#include "model/reader/missing_path.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <vector>

#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxEntries = 20'000;
constexpr size_t kMaxShown = 3;

std::vector<std::string> NamesIn(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory.empty() ? "." : directory, error), end;
       !error && it != end && names.size() < kMaxEntries; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

// Levenshtein's distance; names are short.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] != b[j - 1] ? 1 : 0);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

std::string Shown(const std::vector<std::string>& names) {
  std::string list;
  for (size_t i = 0; i < std::min(names.size(), kMaxShown); ++i) {
    list += (i > 0 ? ", " : "") + Printable(names[i], 100);
  }
  if (names.size() > kMaxShown) list += fmt::format(" and {} more", names.size() - kMaxShown);
  return list;
}

// Names worth proposing for `name`, nearest first.
std::vector<std::string> Similar(const std::string& name, std::vector<std::string> names) {
  std::vector<std::pair<size_t, std::string>> ranked;
  const fs::path stem = fs::path(name).stem();
  for (std::string& candidate : names) {
    if (candidate.starts_with('.')) continue;
    const size_t distance = Distance(name, candidate);
    const bool same_stem = fs::path(candidate).stem() == stem;
    if (distance <= std::max<size_t>(2, name.size() / 3) || same_stem) {
      ranked.emplace_back(same_stem ? 0 : distance, std::move(candidate));
    }
  }
  std::ranges::stable_sort(ranked, {}, &std::pair<size_t, std::string>::first);
  std::vector<std::string> similar;
  for (auto& [distance, candidate] : ranked) {
    if (similar.size() < kMaxShown) similar.push_back(std::move(candidate));
  }
  return similar;
}

bool IsModelName(const std::string& name) {
  const std::string extension = fs::path(name).extension().string();
  for (const std::string_view known : {".h5", ".hdf5", ".keras", ".hd5", ".hdf"}) {
    if (extension == known) return true;
  }
  return false;
}

}  // namespace

void DiagnoseMissing(const std::string& path, DiagnosisList* diagnoses) {
  const fs::path wanted(path);
  const std::string name = wanted.filename().string();
  std::error_code error;
  const fs::path parent = wanted.parent_path();
  if (!parent.empty() && !fs::is_directory(parent, error)) {
    diagnoses->Add(Code::kFileNotFound, fmt::format("{} does not exist: there is no directory {}",
                                                    Printable(path), Printable(parent.string())));
    return;
  }
  std::vector<std::string> names = NamesIn(parent);
  std::vector<std::string> parts;
  for (const std::string& candidate : names) {
    if (candidate == name + ".index" || candidate == name + ".meta" ||
        candidate.starts_with(name + ".data-0")) {
      parts.push_back(candidate);
    }
  }
  if (!parts.empty() && !name.empty()) {
    diagnoses->Add(Code::kTfCheckpoint,
                   fmt::format("{} does not exist, only the TensorFlow checkpoint {}, which holds "
                               "no architecture",
                               Printable(path), Shown(parts)));
    return;
  }
  std::vector<std::string> similar = Similar(name, names);
  if (similar.empty()) {
    std::ranges::copy_if(names, std::back_inserter(similar), IsModelName);
    diagnoses->Add(Code::kFileNotFound,
                   fmt::format("{} does not exist{}", Printable(path),
                               similar.empty() ? "; its directory holds no model"
                                               : "; its directory holds " + Shown(similar)));
    return;
  }
  diagnoses->Add(Code::kFileNotFound, fmt::format("{} does not exist; similar names: {}",
                                                  Printable(path), Shown(similar)));
}

void DiagnoseDirectory(const std::string& path, DiagnosisList* diagnoses) {
  const std::vector<std::string> names = NamesIn(path);
  const auto has = [&names](std::string_view name) {
    return std::ranges::find(names, name) != names.end();
  };
  const std::string shown = Printable(path);
  if (has("saved_model.pb") || has("saved_model.pbtxt")) {
    diagnoses->Add(Code::kSavedModelDir,
                   fmt::format("{} is a TensorFlow SavedModel directory", shown));
  } else if (has("config.json") && has("model.weights.h5")) {
    diagnoses->Add(Code::kKerasV3Zip, fmt::format("{} is an unpacked .keras archive", shown), {},
                   {"pack config.json, metadata.json and model.weights.h5 into one zip file"});
  } else if (std::ranges::any_of(names, [](const std::string& name) {
               return name == "checkpoint" || name.ends_with(".index");
             })) {
    diagnoses->Add(Code::kTfCheckpoint,
                   fmt::format("{} is a directory of a TensorFlow checkpoint", shown));
  } else {
    std::vector<std::string> models;
    std::ranges::copy_if(names, std::back_inserter(models), IsModelName);
    diagnoses->Add(Code::kNotHdf5,
                   fmt::format("{} is a directory{}", shown,
                               models.empty() ? "" : ", which holds " + Shown(models)),
                   {}, {"name a file"});
  }
}

void DiagnoseOpenError(const std::string& path, int error, DiagnosisList* diagnoses) {
  if (error == ENOENT || error == ENOTDIR) {
    DiagnoseMissing(path, diagnoses);
    return;
  }
  const bool shortage = error == EMFILE || error == ENFILE || error == ENOMEM || error == EIO ||
                        error == ETIMEDOUT || error == ESTALE || error == EINTR;
  diagnoses->Add(shortage ? Code::kIoError : Code::kFileUnreadable,
                 fmt::format("cannot read {}: {}", Printable(path), std::strerror(error)));
}

}  // namespace h5serve::model
