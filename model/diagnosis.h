// What is wrong with a model file, for people and for programs.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace h5serve::model {

// Stable codes. Their names (FILE_NOT_FOUND, …) are part of the interface: a
// code never changes its meaning. To add one, add its row to diagnosis.cc.
enum class Code {
  kFileNotFound,
  kFileUnreadable,
  kIoError,
  kFileLocked,
  kEmptyFile,
  kNotHdf5,
  kGitLfsPointer,
  kHtmlOrText,
  kCompressedFile,
  kKerasV3Zip,
  kSavedModelDir,
  kTfCheckpoint,
  kWrongFormatPb,
  kWrongFormatTflite,
  kWrongFormatOnnx,
  kWrongFormatPickle,
  kWrongFormatTorch,
  kTruncated,
  kBeingWritten,
  kHdf5Corrupt,
  kHdf5UnsupportedFeature,
  kExternalLink,
  kReaderCrashed,
  kReaderTimeout,
  kReaderMemory,
  kWeightsOnly,
  kNotAKerasFile,
  kModelConfigInvalid,
  kUnbuiltModel,
  kIncompleteSave,
  kUnsupportedVersion,
  kNewerVersion,
  kInfoVersion,
  kUnknownBackend,
  kBackendConverted,
  kAssumedDataFormat,
  kAssumedDefault,
  kInferredInputShape,
  kUnknownConfigKey,
  kInvalidConfigValue,
  kUnknownLayer,
  kCustomModelClass,
  kCustomLayerConfig,
  kCustomDefinitionInvalid,
  kCustomPluginFailed,
  kInfoCatalogue,
  kUnknownActivation,
  kLambdaBytecode,
  kLambdaNamedFunction,
  kUnsupportedOp,
  kUnsupportedLayer,
  kUnsupportedArgument,
  kQuantizedUnsupported,
  kFeatureColumnsUnsupported,
  kVocabularyMissing,
  kVocabularyFileExternal,
  kStatefulRnn,
  kBatchDependent,
  kGraphInvalid,
  kNoOutputs,
  kShapeInferenceFailed,
  kWeightMissing,
  kWeightCountMismatch,
  kWeightShapeMismatch,
  kWeightOrderAmbiguous,
  kWeightDtypeUnsupported,
  kWeightNonfinite,
  kUnusedWeights,
  kRnnLayoutConflict,
  kInfoTrainingConfigIgnored,
  kNonfiniteOutput,
  kGoldenMismatch,
  kGoldenMissing,
  kGoldenInvalid,
  kDigestMismatch,
  kSignatureChanged,
  kSettingsInvalid,
  kResourceLimit,
  kInternalError,
};

enum class Severity { kError, kWarning, kInfo };

// Where in the file; parts that do not apply are empty.
struct Place {
  std::string layer;         // name of the layer, nested ones as outer/inner
  std::string class_name;    // its class as the file writes it
  std::string json_pointer;  // into model_config
  std::string hdf5_path;
};

struct Diagnosis {
  Code code;
  Severity severity;
  std::string message;  // one sentence, no trailing full stop, lower case first
  Place where;
  std::vector<std::string> remedies;  // most useful first
};

// The row of a code in the table that documentation and messages come from.
struct CodeInfo {
  Code code;
  std::string_view name;
  absl::StatusCode status;
  Severity severity;  // unless a policy says otherwise
  bool transient;     // the same bytes may load at another time
  std::string_view meaning;
  std::string_view remedy;  // used when a diagnosis names none
};

const CodeInfo& Info(Code code);
std::span<const CodeInfo> AllCodes();
std::string_view Name(Code code);       // "FILE_NOT_FOUND"
std::string_view Name(Severity value);  // "error", "warning", "info"
// The table as the document docs/failures.md.
std::string CodesAsMarkdown();

// All findings about one file.
//
// Not thread-safe.
class DiagnosisList {
 public:
  // Adds with the code's usual severity; the code's usual remedy when none is given.
  Diagnosis& Add(Code code, std::string message, Place where = {},
                 std::vector<std::string> remedies = {});
  Diagnosis& Add(Diagnosis diagnosis);

  bool has_errors() const;
  bool empty() const { return items_.empty(); }
  bool Contains(Code code) const;
  const std::vector<Diagnosis>& items() const { return items_; }
  std::vector<Diagnosis>& items() { return items_; }
  // Errors first, then warnings, then notes; stable within each.
  void Sort();
  // The first error's status code with "CODE: message", and how many more
  // errors there are; OK without errors.
  absl::Status Summary() const;
  // Reason label for metrics: name of the first error's code, "" without errors.
  std::string_view Reason() const;

 private:
  std::vector<Diagnosis> items_;
};

}  // namespace h5serve::model
