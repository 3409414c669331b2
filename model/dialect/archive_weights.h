// Weights of .keras archives, whose paths follow Python attributes instead of
// variable names.
#pragma once

#include "model/diagnosis.h"
#include "model/keras_model.h"
#include "model/lowering.h"
#include "model/model_image.h"

namespace h5serve::model {

// Like BindWeights, for archives: arrays are at
// layers/<class in snake case>[_<n>]/…/vars/<i>. Source: keras/src/saving/saving_lib.py.
ModelWeights BindArchiveWeights(const KerasModel& model, const ModelImage& image,
                                const Writer& writer, DiagnosisList* diagnoses);

// "BatchNormalization" -> "batch_normalization", "Conv2DTranspose" -> "conv2d_transpose".
std::string SnakeCase(std::string_view class_name);

}  // namespace h5serve::model
