#include "compute/dtype.h"

#include <string>

namespace h5serve::compute {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  int64_t size;
};

constexpr Row kRows[] = {
    {DType::kFloat32, "float32", 4}, {DType::kFloat64, "float64", 8},
    {DType::kFloat16, "float16", 2}, {DType::kBFloat16, "bfloat16", 2},
    {DType::kInt8, "int8", 1},       {DType::kInt16, "int16", 2},
    {DType::kInt32, "int32", 4},     {DType::kInt64, "int64", 8},
    {DType::kUInt8, "uint8", 1},     {DType::kUInt16, "uint16", 2},
    {DType::kUInt32, "uint32", 4},   {DType::kUInt64, "uint64", 8},
    {DType::kBool, "bool", 1},       {DType::kString, "string", sizeof(std::string)},
};

}  // namespace

int64_t SizeOf(DType dtype) { return kRows[static_cast<int>(dtype)].size; }

std::string_view Name(DType dtype) { return kRows[static_cast<int>(dtype)].name; }

std::optional<DType> ParseDType(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

bool IsFloat(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat64 || dtype == DType::kFloat16 ||
         dtype == DType::kBFloat16;
}

bool IsInteger(DType dtype) {
  return !IsFloat(dtype) && dtype != DType::kBool && dtype != DType::kString;
}

DType GraphDType(DType dtype) {
  if (IsFloat(dtype)) return DType::kFloat32;
  if (IsInteger(dtype)) return DType::kInt64;
  return dtype;
}

}  // namespace h5serve::compute
