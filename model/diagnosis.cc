#include "model/diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace h5serve::model {
namespace {

// In the order of the enumerators. <- add a failure HERE
constexpr CodeInfo kCodes[] = {
    {Code::kFileNotFound, "FILE_NOT_FOUND", absl::StatusCode::kNotFound, Severity::kError, true,
     "There is no file of this name",
     "correct the path; the message lists the most similar names in the same directory"},
    {Code::kFileUnreadable, "FILE_UNREADABLE", absl::StatusCode::kPermissionDenied,
     Severity::kError, true,
     "The file exists but cannot be opened: permissions, or it is a pipe or device",
     "make the file readable for the user the server runs as"},
    {Code::kIoError, "IO_ERROR", absl::StatusCode::kUnavailable, Severity::kError, true,
     "Reading from the disk or the network file system failed",
     "check the disk or mount; the file is tried again"},
    {Code::kFileLocked, "FILE_LOCKED", absl::StatusCode::kUnavailable, Severity::kError, true,
     "Another process holds a write lock on the file",
     "close the program that writes the file; the file is tried again"},
    {Code::kEmptyFile, "EMPTY_FILE", absl::StatusCode::kDataLoss, Severity::kError, false,
     "The file has no bytes, which an aborted save leaves behind", "save the model again"},
    {Code::kNotHdf5, "NOT_HDF5", absl::StatusCode::kInvalidArgument, Severity::kError, false,
     "The file does not hold the HDF5 signature, and no other known format either",
     "check where the file came from and download or save it again"},
    {Code::kGitLfsPointer, "GIT_LFS_POINTER", absl::StatusCode::kInvalidArgument, Severity::kError,
     false, "The file is a Git LFS pointer, a short text that stands for the model",
     "run `git lfs pull` in the repository, or download the file itself; check the LFS quota"},
    {Code::kHtmlOrText, "HTML_OR_TEXT", absl::StatusCode::kInvalidArgument, Severity::kError, false,
     "The file is text: a web page saved instead of the model, or an architecture without weights",
     "download the raw file, or save the whole model with `model.save('model.h5')`"},
    {Code::kCompressedFile, "COMPRESSED_FILE", absl::StatusCode::kInvalidArgument, Severity::kError,
     false, "The file is compressed or an archive", "extract the model from it"},
    {Code::kKerasV3Zip, "KERAS_V3_ZIP", absl::StatusCode::kInvalidArgument, Severity::kError, false,
     "The file is a `.keras` archive that cannot be used as it is",
     "save the model again, as `.h5` or as a complete `.keras` file"},
    {Code::kSavedModelDir, "SAVEDMODEL_DIR", absl::StatusCode::kInvalidArgument, Severity::kError,
     false, "The path is a TensorFlow SavedModel directory",
     "load it with the TensorFlow that wrote it and call `model.save('model.h5')`"},
    {Code::kTfCheckpoint, "TF_CHECKPOINT", absl::StatusCode::kInvalidArgument, Severity::kError,
     false, "Only a TensorFlow checkpoint is there, which holds weights without an architecture",
     "rebuild the model in Python, load the checkpoint and call `model.save('model.h5')`"},
    {Code::kWrongFormatPb, "WRONG_FORMAT_PB", absl::StatusCode::kInvalidArgument, Severity::kError,
     false, "The file is a TensorFlow graph in protocol buffer form",
     "save the Keras model with `model.save('model.h5')`"},
    {Code::kWrongFormatTflite, "WRONG_FORMAT_TFLITE", absl::StatusCode::kInvalidArgument,
     Severity::kError, false, "The file is a TensorFlow Lite model",
     "use the Keras model the TensorFlow Lite file was converted from"},
    {Code::kWrongFormatOnnx, "WRONG_FORMAT_ONNX", absl::StatusCode::kInvalidArgument,
     Severity::kError, false, "The file is an ONNX model",
     "use the Keras model the ONNX file was exported from"},
    {Code::kWrongFormatPickle, "WRONG_FORMAT_PICKLE", absl::StatusCode::kInvalidArgument,
     Severity::kError, false, "The file is a Python pickle",
     "unpickle it in Python and call `model.save('model.h5')`"},
    {Code::kWrongFormatTorch, "WRONG_FORMAT_TORCH", absl::StatusCode::kInvalidArgument,
     Severity::kError, false, "The file is a PyTorch model",
     "use a Keras model; PyTorch files hold no Keras architecture"},
    {Code::kTruncated, "TRUNCATED", absl::StatusCode::kDataLoss, Severity::kError, false,
     "The file is shorter than its header says",
     "copy or download the file again and compare its SHA-256 digest"},
    {Code::kBeingWritten, "BEING_WRITTEN", absl::StatusCode::kUnavailable, Severity::kError, true,
     "The file changed while it was read, or its writer has not closed it",
     "write to another name and rename when done; the file is tried again"},
    {Code::kHdf5Corrupt, "HDF5_CORRUPT", absl::StatusCode::kDataLoss, Severity::kError, false,
     "The HDF5 structure is damaged",
     "save the model again, or copy it again from where it is intact"},
    {Code::kHdf5UnsupportedFeature, "HDF5_UNSUPPORTED_FEATURE", absl::StatusCode::kUnimplemented,
     Severity::kError, false, "The file uses an HDF5 feature that is not read here",
     "rewrite the file with `h5repack -f NONE`"},
    {Code::kExternalLink, "EXTERNAL_LINK", absl::StatusCode::kFailedPrecondition, Severity::kError,
     false, "The file refers to other files, which are never followed",
     "copy the data into the file"},
    {Code::kReaderCrashed, "READER_CRASHED", absl::StatusCode::kDataLoss, Severity::kError, false,
     "The isolated reading process crashed on this file, which only damaged or hostile files make "
     "it do",
     "save the model again, or copy it again from where it is intact"},
    {Code::kReaderTimeout, "READER_TIMEOUT", absl::StatusCode::kDataLoss, Severity::kError, false,
     "The isolated reading process did not finish in time, usually because the file is damaged",
     "save the model again; for a very large file on a slow disk raise the read timeout"},
    {Code::kReaderMemory, "READER_MEMORY", absl::StatusCode::kDataLoss, Severity::kError, false,
     "Reading the file asked for far more memory than its size justifies, usually because it is "
     "damaged",
     "save the model again, or copy it again from where it is intact"},
    {Code::kWeightsOnly, "WEIGHTS_ONLY", absl::StatusCode::kFailedPrecondition, Severity::kError,
     false, "The file holds weights but no architecture",
     "save the whole model with `model.save('model.h5')` instead of `save_weights`"},
    {Code::kNotAKerasFile, "NOT_A_KERAS_FILE", absl::StatusCode::kInvalidArgument, Severity::kError,
     false, "The file is HDF5, but Keras did not write it",
     "save the whole model with `model.save('model.h5')`"},
    {Code::kModelConfigInvalid, "MODEL_CONFIG_INVALID", absl::StatusCode::kDataLoss,
     Severity::kError, false,
     "The architecture stored in the file is not valid JSON or not a model",
     "save the model again"},
    {Code::kUnbuiltModel, "UNBUILT_MODEL", absl::StatusCode::kFailedPrecondition, Severity::kError,
     false, "The model was saved before it had weights",
     "call the model once, or `model.build(input_shape)`, before saving"},
    {Code::kIncompleteSave, "INCOMPLETE_SAVE", absl::StatusCode::kDataLoss, Severity::kError, false,
     "The file lists layers or weights that it does not hold: saving was aborted",
     "look for the error that ended the save, often duplicate weight names, and save again"},
    {Code::kUnsupportedVersion, "UNSUPPORTED_VERSION", absl::StatusCode::kUnimplemented,
     Severity::kError, false, "The Keras version that wrote the file is outside the accepted range",
     "save the model again with an accepted version, or widen `keras_versions`"},
    {Code::kNewerVersion, "WARN_NEWER_VERSION", absl::StatusCode::kUnimplemented,
     Severity::kWarning, false, "The file was written by a Keras newer than any tested",
     "compare outputs with a golden sample"},
    {Code::kInfoVersion, "INFO_VERSION", absl::StatusCode::kOk, Severity::kInfo, false,
     "Which Keras and backend wrote the file", ""},
    {Code::kUnknownBackend, "UNKNOWN_BACKEND", absl::StatusCode::kFailedPrecondition,
     Severity::kWarning, false,
     "The file does not tell which backend wrote it, and its conventions are assumed",
     "verify with a golden sample"},
    {Code::kBackendConverted, "WARN_BACKEND_CONVERTED", absl::StatusCode::kFailedPrecondition,
     Severity::kWarning, false,
     "The file was written by a backend with other conventions, which were converted",
     "verify with a golden sample"},
    {Code::kAssumedDataFormat, "ASSUMED_DATA_FORMAT", absl::StatusCode::kFailedPrecondition,
     Severity::kWarning, false, "A layer does not say how its dimensions are ordered",
     "verify with a golden sample"},
    {Code::kAssumedDefault, "ASSUMED_DEFAULT", absl::StatusCode::kFailedPrecondition,
     Severity::kWarning, false,
     "A setting is missing in the file; the default of its Keras version is used",
     "verify with a golden sample"},
    {Code::kInferredInputShape, "INFERRED_INPUT_SHAPE", absl::StatusCode::kFailedPrecondition,
     Severity::kWarning, false,
     "The input shape is missing in the file and was inferred from weights",
     "save the model with an input shape"},
    {Code::kUnknownConfigKey, "UNKNOWN_CONFIG_KEY", absl::StatusCode::kUnimplemented,
     Severity::kError, false, "A layer has a setting that no known Keras version wrote",
     "if it does not change predictions, set `unknown_config_key` to `warn`"},
    {Code::kInvalidConfigValue, "INVALID_CONFIG_VALUE", absl::StatusCode::kInvalidArgument,
     Severity::kError, false, "A setting of a layer has a value it cannot have",
     "correct the model and save it again"},
    {Code::kUnknownLayer, "UNKNOWN_LAYER", absl::StatusCode::kUnimplemented, Severity::kError,
     false, "A layer class is not part of Keras",
     "define the class in `custom_objects`, or build the model from Keras layers"},
    {Code::kCustomModelClass, "CUSTOM_MODEL_CLASS", absl::StatusCode::kUnimplemented,
     Severity::kError, false, "The model is a subclass whose file does not hold its graph",
     "build it as a functional or sequential model and save that"},
    {Code::kCustomLayerConfig, "CUSTOM_LAYER_CONFIG", absl::StatusCode::kFailedPrecondition,
     Severity::kError, false, "A custom layer's settings in the file do not fit its definition",
     "implement `get_config` completely and save again, or correct the definition"},
    {Code::kCustomDefinitionInvalid, "CUSTOM_DEFINITION_INVALID",
     absl::StatusCode::kInvalidArgument, Severity::kError, false,
     "A definition in `custom_objects` is not valid", "correct the definition"},
    {Code::kCustomPluginFailed, "CUSTOM_PLUGIN_FAILED", absl::StatusCode::kFailedPrecondition,
     Severity::kError, false,
     "A plug-in named by a custom object cannot be loaded or refused the layer",
     "check the plug-in's path, version and messages"},
    {Code::kInfoCatalogue, "INFO_CATALOGUE", absl::StatusCode::kOk, Severity::kInfo, false,
     "A class that Keras does not have is computed by the catalogue's formula for it",
     "verify with a golden sample, or define the class in `custom_objects`"},
    {Code::kUnknownActivation, "UNKNOWN_ACTIVATION", absl::StatusCode::kUnimplemented,
     Severity::kError, false, "An activation function is not part of Keras",
     "define the function in `custom_objects`"},
    {Code::kLambdaBytecode, "LAMBDA_BYTECODE", absl::StatusCode::kUnimplemented, Severity::kError,
     false, "A Lambda layer holds Python code that cannot be translated",
     "define the layer's expression in `custom_objects`, or replace it by Keras layers"},
    {Code::kLambdaNamedFunction, "LAMBDA_NAMED_FUNCTION", absl::StatusCode::kFailedPrecondition,
     Severity::kError, false, "A Lambda layer refers to a Python function only by its name",
     "define the function in `custom_objects`"},
    {Code::kUnsupportedOp, "UNSUPPORTED_OP", absl::StatusCode::kUnimplemented, Severity::kError,
     false, "An operation layer calls a function that is not implemented",
     "express it by supported operations or Keras layers"},
    {Code::kUnsupportedLayer, "UNSUPPORTED_LAYER", absl::StatusCode::kUnimplemented,
     Severity::kError, false, "A Keras layer is not implemented",
     "use a supported layer; `h5serve layers` lists them"},
    {Code::kUnsupportedArgument, "UNSUPPORTED_ARGUMENT", absl::StatusCode::kUnimplemented,
     Severity::kError, false, "A layer is used in a way that is not implemented",
     "use the layer in a supported way"},
    {Code::kQuantizedUnsupported, "QUANTIZED_UNSUPPORTED", absl::StatusCode::kUnimplemented,
     Severity::kError, false, "The layer is quantized in a form that is not implemented",
     "save the model before it is quantized"},
    {Code::kFeatureColumnsUnsupported, "FEATURE_COLUMNS_UNSUPPORTED",
     absl::StatusCode::kUnimplemented, Severity::kError, false,
     "The model uses TensorFlow feature columns", "use Keras preprocessing layers"},
    {Code::kVocabularyMissing, "VOCABULARY_MISSING", absl::StatusCode::kFailedPrecondition,
     Severity::kError, false, "A lookup layer's vocabulary is not in the file",
     "pass the vocabulary to the layer's constructor, or save as `.keras`"},
    {Code::kVocabularyFileExternal, "VOCABULARY_FILE_EXTERNAL",
     absl::StatusCode::kFailedPrecondition, Severity::kError, false,
     "A lookup layer reads its vocabulary from another file",
     "pass the vocabulary to the layer's constructor"},
    {Code::kStatefulRnn, "STATEFUL_RNN", absl::StatusCode::kFailedPrecondition, Severity::kWarning,
     false, "A recurrent layer keeps state between calls; here every request starts from zero",
     "save the model with `stateful=False`"},
    {Code::kBatchDependent, "BATCH_DEPENDENT", absl::StatusCode::kFailedPrecondition,
     Severity::kWarning, false,
     "A row's result depends on the other rows of its batch, so that requests are not merged",
     "send the rows that belong together in one request"},
    {Code::kGraphInvalid, "GRAPH_INVALID", absl::StatusCode::kInvalidArgument, Severity::kError,
     false, "The connections between layers are contradictory", "save the model again"},
    {Code::kNoOutputs, "NO_OUTPUTS", absl::StatusCode::kInvalidArgument, Severity::kError, false,
     "The model has no outputs", "save a model with at least one output"},
    {Code::kShapeInferenceFailed, "SHAPE_INFERENCE_FAILED", absl::StatusCode::kInvalidArgument,
     Severity::kError, false, "The shapes of connected layers do not fit",
     "check the model's input shape and save it again"},
    {Code::kWeightMissing, "WEIGHT_MISSING", absl::StatusCode::kDataLoss, Severity::kError, false,
     "An array that the file lists is not in it", "save the model again"},
    {Code::kWeightCountMismatch, "WEIGHT_COUNT_MISMATCH", absl::StatusCode::kInvalidArgument,
     Severity::kError, false, "A layer has more or fewer arrays than its configuration needs",
     "save architecture and weights together with `model.save`"},
    {Code::kWeightShapeMismatch, "WEIGHT_SHAPE_MISMATCH", absl::StatusCode::kInvalidArgument,
     Severity::kError, false, "An array does not have the shape its layer needs",
     "save architecture and weights together with `model.save`"},
    {Code::kWeightOrderAmbiguous, "WEIGHT_ORDER_AMBIGUOUS", absl::StatusCode::kFailedPrecondition,
     Severity::kError, false,
     "It cannot be told which of several arrays belongs to which layer of a nested model",
     "save the model again without nesting, or with unique layer names"},
    {Code::kWeightDtypeUnsupported, "WEIGHT_DTYPE_UNSUPPORTED", absl::StatusCode::kUnimplemented,
     Severity::kError, false, "An array has an element type that is not read",
     "save the weights as float32"},
    {Code::kWeightNonfinite, "WEIGHT_NONFINITE", absl::StatusCode::kFailedPrecondition,
     Severity::kWarning, false, "An array holds NaN or infinite values", "check the training run"},
    {Code::kUnusedWeights, "UNUSED_WEIGHTS", absl::StatusCode::kFailedPrecondition,
     Severity::kWarning, false, "The file holds arrays that no layer uses",
     "if a layer should use them, save architecture and weights together with `model.save`"},
    {Code::kRnnLayoutConflict, "RNN_LAYOUT_CONFLICT", absl::StatusCode::kInvalidArgument,
     Severity::kError, false, "A recurrent layer's arrays contradict its configuration",
     "save the model again"},
    {Code::kInfoTrainingConfigIgnored, "INFO_TRAINING_CONFIG_IGNORED", absl::StatusCode::kOk,
     Severity::kInfo, false,
     "Optimizer, loss and metrics are not needed for serving and were not read", ""},
    {Code::kNonfiniteOutput, "NONFINITE_OUTPUT", absl::StatusCode::kFailedPrecondition,
     Severity::kError, false, "The trial prediction was not finite",
     "check the weights for NaN and very large values"},
    {Code::kGoldenMismatch, "GOLDEN_MISMATCH", absl::StatusCode::kFailedPrecondition,
     Severity::kError, false, "The model does not reproduce its golden sample",
     "make the sample with the model as it was saved, or report the difference"},
    {Code::kGoldenMissing, "GOLDEN_MISSING", absl::StatusCode::kFailedPrecondition,
     Severity::kError, true, "A golden sample is required and not there",
     "put `FILE.golden.npz` beside the model"},
    {Code::kGoldenInvalid, "GOLDEN_INVALID", absl::StatusCode::kInvalidArgument, Severity::kError,
     true, "The golden sample cannot be read or does not fit the model's inputs and outputs",
     "write it with `numpy.savez`, arrays `inputs/NAME` and `outputs/NAME`"},
    {Code::kDigestMismatch, "DIGEST_MISMATCH", absl::StatusCode::kDataLoss, Severity::kError, true,
     "The file does not have the SHA-256 digest that lies beside it",
     "copy the file again, or correct the digest"},
    {Code::kSignatureChanged, "SIGNATURE_CHANGED", absl::StatusCode::kFailedPrecondition,
     Severity::kError, false, "Inputs or outputs differ from those of the version in service",
     "serve the model under another name, or set `signature_change` to `allow`"},
    {Code::kSettingsInvalid, "SETTINGS_INVALID", absl::StatusCode::kInvalidArgument,
     Severity::kError, false, "The model's settings are not valid", "correct `model.json`"},
    {Code::kResourceLimit, "RESOURCE_LIMIT", absl::StatusCode::kResourceExhausted, Severity::kError,
     true, "The model needs more memory than there is or than the limit allows",
     "raise the limit, or serve fewer models"},
    {Code::kInternalError, "INTERNAL_ERROR", absl::StatusCode::kInternal, Severity::kError, false,
     "A defect of h5serve", "report it with the file and the message"},
};

constexpr bool InOrder() {
  for (size_t i = 0; i < std::size(kCodes); ++i) {
    if (static_cast<size_t>(kCodes[i].code) != i) return false;
  }
  return true;
}
static_assert(InOrder());
static_assert(std::size(kCodes) == static_cast<size_t>(Code::kInternalError) + 1);

std::string_view StatusName(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return "";
    case absl::StatusCode::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case absl::StatusCode::kNotFound:
      return "NOT_FOUND";
    case absl::StatusCode::kPermissionDenied:
      return "PERMISSION_DENIED";
    case absl::StatusCode::kResourceExhausted:
      return "RESOURCE_EXHAUSTED";
    case absl::StatusCode::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case absl::StatusCode::kUnimplemented:
      return "UNIMPLEMENTED";
    case absl::StatusCode::kInternal:
      return "INTERNAL";
    case absl::StatusCode::kUnavailable:
      return "UNAVAILABLE";
    case absl::StatusCode::kDataLoss:
      return "DATA_LOSS";
    default:
      return "UNKNOWN";
  }
}

bool IsError(const Diagnosis& diagnosis) { return diagnosis.severity == Severity::kError; }

}  // namespace

const CodeInfo& Info(Code code) { return kCodes[static_cast<size_t>(code)]; }

std::span<const CodeInfo> AllCodes() { return kCodes; }

std::string_view Name(Code code) { return Info(code).name; }

std::string_view Name(Severity value) {
  switch (value) {
    case Severity::kError:
      return "error";
    case Severity::kWarning:
      return "warning";
    case Severity::kInfo:
      return "info";
  }
  return "error";
}

std::string CodesAsMarkdown() {
  std::string text =
      "# Failures\n\n"
      "Every finding about a model file has one of these codes. A code never changes its meaning.\n"
      "An error refuses the file; a warning or a note does not. Retried means that the same bytes\n"
      "may load at another time, so that the server tries again by itself.\n\n"
      "| code | severity | status | retried | meaning | remedy |\n"
      "| --- | --- | --- | --- | --- | --- |\n";
  for (const CodeInfo& info : kCodes) {
    text += fmt::format("| `{}` | {} | {} | {} | {} | {} |\n", info.name, Name(info.severity),
                        StatusName(info.status), info.transient ? "yes" : "no", info.meaning,
                        info.remedy);
  }
  return text;
}

Diagnosis& DiagnosisList::Add(Code code, std::string message, Place where,
                              std::vector<std::string> remedies) {
  return Add(Diagnosis{code, Info(code).severity, std::move(message), std::move(where),
                       std::move(remedies)});
}

Diagnosis& DiagnosisList::Add(Diagnosis diagnosis) {
  const std::string_view remedy = Info(diagnosis.code).remedy;
  if (diagnosis.remedies.empty() && !remedy.empty()) diagnosis.remedies.emplace_back(remedy);
  items_.push_back(std::move(diagnosis));
  return items_.back();
}

bool DiagnosisList::has_errors() const { return std::ranges::any_of(items_, IsError); }

bool DiagnosisList::Contains(Code code) const {
  return std::ranges::any_of(items_, [code](const Diagnosis& item) { return item.code == code; });
}

void DiagnosisList::Sort() {
  std::ranges::stable_sort(items_, {}, [](const Diagnosis& item) { return item.severity; });
}

absl::Status DiagnosisList::Summary() const {
  const auto first = std::ranges::find_if(items_, IsError);
  if (first == items_.end()) return absl::OkStatus();
  const auto more = std::ranges::count_if(items_, IsError) - 1;
  std::string message = fmt::format("{}: {}", Name(first->code), first->message);
  if (more > 0) message += fmt::format(" (and {} more error{})", more, more == 1 ? "" : "s");
  // A finding that a policy made an error may have a code that says OK.
  absl::StatusCode status = Info(first->code).status;
  if (status == absl::StatusCode::kOk) status = absl::StatusCode::kFailedPrecondition;
  return absl::Status(status, message);
}

std::string_view DiagnosisList::Reason() const {
  const auto first = std::ranges::find_if(items_, IsError);
  return first == items_.end() ? std::string_view() : Name(first->code);
}

}  // namespace h5serve::model
