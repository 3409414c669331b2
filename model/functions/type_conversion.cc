#include "model/functions/type_conversion.h"

#include "compute/ops/elementwise.h"

namespace h5serve::model {

compute::Value ConvertType(compute::Graph& graph, compute::Value x, compute::DType dtype) {
  using compute::DType;
  if (!x.valid()) return x;
  const bool from_string = graph.dtype(x) == DType::kString;
  if (from_string && dtype == DType::kString) return x;
  if (from_string || dtype == DType::kString) {
    return graph.Fail(absl::UnimplementedError("text and numbers are not cast into each other"));
  }
  x = compute::ops::Cast(graph, x, compute::GraphDType(dtype));
  switch (dtype) {
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kInt8:
    case DType::kInt16:
    case DType::kUInt8:
    case DType::kUInt16:
      return compute::ops::RoundThrough(graph, x, dtype);
    default:
      return x;
  }
}

}  // namespace h5serve::model
