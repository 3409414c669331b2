// The compatibility policy: what a model must satisfy to be served.
#pragma once

#include "config/options.h"
#include "model/diagnosis.h"
#include "model/keras_model.h"
#include "model/servable.h"

namespace h5serve::model {

// Version and backend against the policy: UNSUPPORTED_VERSION,
// WARN_NEWER_VERSION, WARN_BACKEND_CONVERTED as error where refused.
void CheckWriter(const Writer& writer, const config::CompatibilityOptions& options,
                 DiagnosisList* diagnoses);

// Findings that become errors under the policy (stateful layers, converted
// backends): raises their severity.
void ApplySeverities(const config::CompatibilityOptions& options, DiagnosisList* diagnoses);

// SIGNATURE_CHANGED with every difference between the signature in service and a
// new one: names, dtypes, ranks and fixed dimensions.
void CheckSignature(const Signature& in_service, const Signature& candidate,
                    const config::CompatibilityOptions& options, DiagnosisList* diagnoses);

// True when `version` (three numbers) is inside a range such as ">=1.0.7,<3".
// nullopt-like error text in *error when the range cannot be read.
bool VersionInRange(const Writer& writer, const std::string& range, std::string* error);

}  // namespace h5serve::model
