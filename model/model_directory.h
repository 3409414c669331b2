// Which models and versions lie in a model directory.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "model/diagnosis.h"
#include "model/file_system.h"

namespace h5serve::model {

// One version found on disk.
struct Candidate {
  int64_t version = 0;
  std::string path;
  FileIdentity identity;
  // Identities of FILE.sha256 and FILE.golden.npz, in this order; zero if absent.
  FileIdentity digest_file;
  FileIdentity golden_file;
  // Why it cannot even be tried (a folder, two files for one version, …).
  DiagnosisList problems;
};

// One model found on disk.
struct FoundModel {
  std::string name;
  std::vector<Candidate> versions;  // by version, unique
  // Its model.json; an empty path if there is none.
  std::string settings_path;
  FileIdentity settings_identity;
  // About the model as a whole.
  DiagnosisList problems;
  // Part of it could not be read: what is missing here may still exist.
  bool incomplete = false;
};

struct DirectoryScan {
  // Not OK: nothing is known, `models` is empty.
  absl::Status status;
  FileIdentity root;
  std::vector<FoundModel> models;  // by name, unique
  // The models' folders, also those that hold no model, by name.
  std::map<std::string, FileIdentity> folders;
  // Where changes can happen: the root and the folders below that were read.
  std::vector<std::string> directories;
};

// Reads `root` in the layouts
//   NAME.h5  NAME.keras  NAME.hdf5   version = modification time in seconds
//   NAME/3.h5                        version 3
//   NAME/3/anything.h5               version 3, one model file in the folder
//   NAME/model.json                  settings
// Hidden names, names ending in ~, .tmp or .part, and other files are ignored;
// symbolic links are followed. Never opens a file.
DirectoryScan ScanModelDirectory(const FileSystem& files, const std::string& root);

// True for a name that carries a model file's ending and is not ignored.
bool IsModelFileName(std::string_view name);

// `text` when it is printable UTF-8, else with offending bytes as \xNN.
std::string PrintableName(std::string_view text);
bool IsPrintableUtf8(std::string_view text);

}  // namespace h5serve::model
