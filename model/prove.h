// Trial runs before a model may serve.
#pragma once

#include <string>

#include "config/options.h"
#include "model/diagnosis.h"
#include "model/servable.h"

namespace h5serve::model {

// Runs zeros, ones and seeded random input. NONFINITE_OUTPUT when no input gives
// finite values, with the first layer that produced one; a warning when only some
// do not. Shapes that only fail because an open dimension was tried too small
// are tried larger. Returns true when a row's outputs do not depend on the other
// rows: two rows give together what they give alone.
bool RunTrials(const Servable& servable, DiagnosisList* diagnoses);

// Compares with `path`.golden.npz (arrays "inputs/NAME", "outputs/NAME") as the
// policy asks: GOLDEN_MISSING, GOLDEN_INVALID, GOLDEN_MISMATCH.
void CheckGolden(const Servable& servable, const std::string& path,
                 const config::CompatibilityOptions& options, DiagnosisList* diagnoses);

// Compares the file's digest with `path`.sha256 where that exists: DIGEST_MISMATCH.
void CheckDigest(const std::string& path, const std::string& sha256, DiagnosisList* diagnoses);

}  // namespace h5serve::model
