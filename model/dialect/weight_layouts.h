// Array layouts of every version, converted to the canonical one.
#pragma once

#include "model/diagnosis.h"
#include "model/keras_model.h"
#include "model/lowering.h"

namespace h5serve::model {

// Converts what was bound: Keras 1's gates and channel orders, Theano's flipped
// kernels, cuDNN's recurrent layout; 16- and 64-bit floats to float32. Sets
// reset_after in GRU configs by the rank of the bias.
void ConvertLayouts(KerasModel* model, const Writer& writer, ModelWeights* weights,
                    DiagnosisList* diagnoses);

}  // namespace h5serve::model
