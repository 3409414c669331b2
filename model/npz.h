// NumPy's files of arrays.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "compute/tensor.h"

namespace h5serve::model {

struct NamedTensor {
  std::string name;
  compute::Tensor tensor;
};

// Reads one array of a .npy file: any byte order, C or Fortran order, numbers,
// booleans, bytes ('S') and text ('U', which becomes UTF-8). Opaque 2-byte
// elements are bfloat16. INVALID_ARGUMENT for damaged files, UNIMPLEMENTED for
// other element types; both name the file. Never throws.
absl::StatusOr<compute::Tensor> ReadNpy(const std::string& path);

// Reads the arrays of a .npz archive, compressed or not, in its order; members
// that are no arrays are left out. Sizes are checked before memory is taken.
absl::StatusOr<std::vector<NamedTensor>> ReadNpz(const std::string& path);

// Writes what numpy.load reads. bfloat16 becomes float32; strings become text
// where all of them are UTF-8, else bytes.
absl::Status WriteNpy(const std::string& path, const compute::Tensor& tensor);
absl::Status WriteNpz(const std::string& path, std::span<const NamedTensor> tensors);

}  // namespace h5serve::model
