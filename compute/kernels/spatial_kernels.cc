#include "compute/kernels/spatial_kernels.h"

#include <cassert>
#include <string_view>

#include "compute/kernels/dispatch.h"

namespace h5serve::compute::kernels {

namespace x86_64_v2 {
extern const SpatialKernels kSpatialKernels;
}
namespace x86_64_v3 {
extern const SpatialKernels kSpatialKernels;
}
namespace x86_64_v4 {
extern const SpatialKernels kSpatialKernels;
}

namespace {

const SpatialKernels& Choose() {
  for (const SpatialKernels* table : {&x86_64_v4::kSpatialKernels, &x86_64_v3::kSpatialKernels}) {
    if (IsaName() == table->isa) return *table;
  }
  return x86_64_v2::kSpatialKernels;
}

}  // namespace

const SpatialKernels& GetSpatialKernels() {
  static const SpatialKernels& table = Choose();
  return table;
}

}  // namespace h5serve::compute::kernels
