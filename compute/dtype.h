// The element types a tensor can have.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace h5serve::compute {

enum class DType : uint8_t {
  kFloat32,
  kFloat64,
  kFloat16,
  kBFloat16,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUInt8,
  kUInt16,
  kUInt32,
  kUInt64,
  kBool,
  kString,
};

// Bytes of one element in memory; for kString the size of std::string.
int64_t SizeOf(DType dtype);

// The name Keras and NumPy use: "float32", "string", …
std::string_view Name(DType dtype);

// The inverse of Name.
std::optional<DType> ParseDType(std::string_view name);

bool IsFloat(DType dtype);
bool IsInteger(DType dtype);

// The type in which the compute graph carries values of `dtype`: float32 for
// every float, int64 for every integer, bool and string as they are. Tensors
// of clients and files keep their own type until they enter or leave a graph.
DType GraphDType(DType dtype);

}  // namespace h5serve::compute
