#include "model/policy.h"

#include <fmt/format.h>

#include <tuple>

#include "model/dialect/writer.h"

namespace h5serve::model {
namespace {

// The newest Keras whose files were compared with it.
constexpr int kTestedMajor = 3, kTestedMinor = 15, kTestedPatch = 1;

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// One comparison, ">=2.1".
bool Holds(const Writer& writer, std::string_view term, std::string* error) {
  std::string_view op;
  for (std::string_view candidate : {">=", "<=", "==", "!=", ">", "<", "="}) {
    if (term.starts_with(candidate)) {
      op = candidate;
      break;
    }
  }
  int major = 0, minor = 0, patch = 0;
  if (op.empty() || !ParseVersion(Trim(term.substr(op.size())), &major, &minor, &patch)) {
    *error = fmt::format("\"{}\" is no comparison such as >=2.1.0", term);
    return false;
  }
  const auto have = std::make_tuple(writer.major, writer.minor, writer.patch);
  const auto want = std::make_tuple(major, minor, patch);
  if (op == ">=") return have >= want;
  if (op == "<=") return have <= want;
  if (op == ">") return have > want;
  if (op == "<") return have < want;
  if (op == "!=") return have != want;
  return have == want;
}

std::string Describe(const TensorSpec& spec) {
  return fmt::format("{} {} {}", spec.name, compute::Name(spec.dtype), spec.shape.ToString());
}

void CompareSpecs(std::string_view kind, const std::vector<TensorSpec>& old_specs,
                  const std::vector<TensorSpec>& new_specs, std::vector<std::string>* changes) {
  for (const TensorSpec& old_spec : old_specs) {
    const TensorSpec* found = nullptr;
    for (const TensorSpec& spec : new_specs) {
      if (spec.name == old_spec.name) found = &spec;
    }
    if (found == nullptr) {
      changes->push_back(fmt::format("{} {} is gone", kind, Describe(old_spec)));
    } else if (found->dtype != old_spec.dtype || !(found->shape == old_spec.shape)) {
      changes->push_back(
          fmt::format("{} {} became {}", kind, Describe(old_spec), Describe(*found)));
    }
  }
  for (const TensorSpec& spec : new_specs) {
    bool known = false;
    for (const TensorSpec& old_spec : old_specs) known |= old_spec.name == spec.name;
    if (!known) changes->push_back(fmt::format("{} {} is new", kind, Describe(spec)));
  }
}

}  // namespace

bool VersionInRange(const Writer& writer, const std::string& range, std::string* error) {
  std::string_view rest = range;
  while (!Trim(rest).empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view term = Trim(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (!term.empty() && !Holds(writer, term, error)) return false;
  }
  return true;
}

void CheckWriter(const Writer& writer, const config::CompatibilityOptions& options,
                 DiagnosisList* diagnoses) {
  const std::string version = writer.version.empty() ? "of an unknown version" : writer.version;
  std::string error;
  if (!VersionInRange(writer, options.keras_versions, &error)) {
    diagnoses->Add(Code::kUnsupportedVersion,
                   error.empty()
                       ? fmt::format("written by Keras {} ({}); the policy accepts {}", version,
                                     Name(writer.dialect), options.keras_versions)
                       : fmt::format("keras_versions \"{}\": {}", options.keras_versions, error));
  }
  const bool newer = std::make_tuple(writer.major, writer.minor, writer.patch) >
                     std::make_tuple(kTestedMajor, kTestedMinor, kTestedPatch);
  if (newer) {
    Diagnosis& diagnosis =
        diagnoses->Add(Code::kNewerVersion,
                       fmt::format("written by Keras {}, newer than the newest tested, {}.{}.{}",
                                   version, kTestedMajor, kTestedMinor, kTestedPatch));
    if (options.newer_keras == "refuse") diagnosis.severity = Severity::kError;
  }
  diagnoses->Add(
      Code::kInfoVersion,
      fmt::format("saved by Keras {}{}; read as {}", version,
                  writer.backend.empty() ? "" : " on " + writer.backend, Name(writer.dialect)));
  const bool foreign = writer.theano || writer.backend == "cntk";
  if (foreign && options.backend_conversion == "refuse") {
    Diagnosis& diagnosis = diagnoses->Add(
        Code::kBackendConverted,
        fmt::format("written on backend {}, and backend_conversion is \"refuse\"", writer.backend));
    diagnosis.severity = Severity::kError;
  }
}

void ApplySeverities(const config::CompatibilityOptions& options, DiagnosisList* diagnoses) {
  for (Diagnosis& diagnosis : diagnoses->items()) {
    if (diagnosis.code == Code::kStatefulRnn && options.stateful_rnn == "refuse") {
      diagnosis.severity = Severity::kError;
    }
  }
}

void CheckSignature(const Signature& in_service, const Signature& candidate,
                    const config::CompatibilityOptions& options, DiagnosisList* diagnoses) {
  if (options.signature_change == "allow") return;
  std::vector<std::string> changes;
  CompareSpecs("input", in_service.inputs, candidate.inputs, &changes);
  CompareSpecs("output", in_service.outputs, candidate.outputs, &changes);
  if (changes.empty()) return;
  std::string text;
  for (const std::string& change : changes) text += (text.empty() ? "" : "; ") + change;
  diagnoses->Add(Code::kSignatureChanged,
                 fmt::format("the signature differs from the version in service: {}", text));
}

}  // namespace h5serve::model
