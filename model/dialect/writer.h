// Who wrote a file, from its attributes and its structure.
#pragma once

#include "model/config_value.h"
#include "model/diagnosis.h"
#include "model/keras_model.h"
#include "model/model_image.h"

namespace h5serve::model {

// Decides version, dialect and backend. Structure is trusted over the version
// string: files are edited, re-saved by converters and written by forks. What
// had to be assumed is noted in `diagnoses`.
Writer DetectWriter(const ModelImage& image, const ConfigValue& model_config,
                    DiagnosisList* diagnoses);

// major, minor and patch of "2.2.4-tf", "3.0", …; parts that are missing are 0.
// False when the text does not start with a number.
bool ParseVersion(std::string_view text, int* major, int* minor, int* patch);

}  // namespace h5serve::model
