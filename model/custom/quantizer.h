// QKeras' quantizers, as its layers store them.
#pragma once

#include "absl/status/statusor.h"
#include "model/config_value.h"

namespace h5serve::model {

// True for "quantized_bits(6, 0, alpha=1)" and its serialized object, and for
// quantized_relu.
bool IsQuantizer(const ConfigValue& stored);

// [f, low, high] of the quantizer q(x) = clip(round(x f), low, high) / f; null for
// null. Source: google/qkeras, quantizers.py. UNIMPLEMENTED for quantizers that
// are another function: scales found from the data, sigmoids, slopes.
absl::StatusOr<ConfigValue> QuantizerSteps(const ConfigValue& stored);

}  // namespace h5serve::model
