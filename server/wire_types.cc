#include "server/wire_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

namespace h5serve::server {
namespace {

using compute::DType;

struct Row {
  DType dtype;
  int tensorflow;
  std::string_view inference;
  int inference_number;
};

constexpr auto kRows = std::to_array<Row>({
    {DType::kFloat32, 1, "FP32", 11},
    {DType::kFloat64, 2, "FP64", 12},
    {DType::kFloat16, 19, "FP16", 10},
    {DType::kBFloat16, 14, "BF16", 14},
    {DType::kInt8, 6, "INT8", 6},
    {DType::kInt16, 5, "INT16", 7},
    {DType::kInt32, 3, "INT32", 8},
    {DType::kInt64, 9, "INT64", 9},
    {DType::kUInt8, 4, "UINT8", 2},
    {DType::kUInt16, 17, "UINT16", 3},
    {DType::kUInt32, 22, "UINT32", 4},
    {DType::kUInt64, 23, "UINT64", 5},
    {DType::kBool, 10, "BOOL", 1},
    {DType::kString, 7, "BYTES", 13},
});

const Row& RowOf(DType dtype) {
  return *std::find_if(kRows.begin(), kRows.end(),
                       [dtype](const Row& row) { return row.dtype == dtype; });
}

}  // namespace

int TensorFlowType(DType dtype) { return RowOf(dtype).tensorflow; }

std::optional<DType> FromTensorFlowType(int number) {
  for (const Row& row : kRows) {
    if (row.tensorflow == number) return row.dtype;
  }
  return std::nullopt;
}

std::string_view InferenceType(DType dtype) { return RowOf(dtype).inference; }

std::optional<DType> FromInferenceType(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.inference == name) return row.dtype;
  }
  return std::nullopt;
}

int InferenceTypeNumber(DType dtype) { return RowOf(dtype).inference_number; }

absl::Status CheckRank(int64_t rank) {
  if (rank <= compute::kMaxRank) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "the shape has {} dimensions, at most {} are supported", rank, compute::kMaxRank));
}

absl::StatusOr<compute::Shape> DecodeShape(std::span<const int64_t> dims, DType dtype,
                                           int64_t max_bytes, const compute::Shape* declared) {
  if (absl::Status status = CheckRank(static_cast<int64_t>(dims.size())); !status.ok()) {
    return status;
  }
  for (int64_t dim : dims) {
    if (dim < 0) {
      return absl::InvalidArgumentError(
          fmt::format("the shape ({}) has a negative dimension", fmt::join(dims, ", ")));
    }
  }
  const compute::Shape shape(dims);
  if (declared != nullptr && !compute::Compatible(shape, *declared)) {
    return absl::InvalidArgumentError(
        fmt::format("expected shape {}, got {}", declared->ToString(), shape.ToString()));
  }
  const std::optional<int64_t> count = compute::CheckedElementCount(shape);
  if (!count || *count > max_bytes / compute::SizeOf(dtype)) {
    return absl::InvalidArgumentError(
        fmt::format("the shape ({}) needs more than the {} bytes a request may have",
                    fmt::join(dims, ", "), max_bytes));
  }
  return shape;
}

absl::StatusOr<compute::Tensor> DecodeRaw(std::string_view bytes, DType dtype,
                                          const compute::Shape& shape) {
  const int64_t size = shape.num_elements() * compute::SizeOf(dtype);
  if (static_cast<int64_t>(bytes.size()) != size) {
    return absl::InvalidArgumentError(
        fmt::format("got {} bytes of content, expected {} for shape {} of {}", bytes.size(), size,
                    shape.ToString(), compute::Name(dtype)));
  }
  if (dtype == DType::kBool) {
    const auto bad = std::find_if(bytes.begin(), bytes.end(),
                                  [](char c) { return static_cast<unsigned char>(c) > 1; });
    if (bad != bytes.end()) {
      return absl::InvalidArgumentError(
          fmt::format("byte {} of a bool tensor is neither 0 nor 1", bad - bytes.begin()));
    }
  }
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  if (size > 0 && address % static_cast<uintptr_t>(compute::SizeOf(dtype)) == 0) {
    return compute::Tensor::View(nullptr, bytes.data(), dtype, shape);
  }
  compute::Tensor tensor = compute::Tensor::Allocate(dtype, shape);
  if (size > 0) std::memcpy(tensor.raw_mutable_data(), bytes.data(), bytes.size());
  return tensor;
}

std::string_view RawBytes(const compute::Tensor& tensor) {
  return {static_cast<const char*>(tensor.raw_data()), static_cast<size_t>(tensor.size_bytes())};
}

}  // namespace h5serve::server
