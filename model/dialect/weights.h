// Weights of a file, given to the layers they belong to.
#pragma once

#include "model/diagnosis.h"
#include "model/keras_model.h"
#include "model/lowering.h"
#include "model/model_image.h"

namespace h5serve::model {

// Assigns every stored array to a layer and role, converted to the canonical
// layout. Groups are matched by layer name; inside a group the order of the
// writing Keras is expected and verified against the stored names. Order that
// can be read in two ways is refused (WEIGHT_ORDER_AMBIGUOUS), never guessed.
//
// Settles what only the arrays tell in `model`'s configs (GRU's reset_after).
ModelWeights BindWeights(KerasModel* model, const ModelImage& image, const Writer& writer,
                         DiagnosisList* diagnoses);

}  // namespace h5serve::model
