// Looks for NaN and infinity.
#pragma once

#include <cstdint>

namespace h5serve::compute {

// True when none of the `count` values is NaN or infinite. As fast as memory is.
bool AllFinite(const float* values, int64_t count);

}  // namespace h5serve::compute
