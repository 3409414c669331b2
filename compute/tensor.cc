#include "compute/tensor.h"

#include <fmt/format.h>

#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

#include "compute/aligned_memory.h"

namespace h5serve::compute {
namespace {

// Owns an array of strings.
std::shared_ptr<void> AllocateStrings(int64_t count) {
  auto strings = std::make_shared<std::vector<std::string>>(static_cast<size_t>(count));
  void* data = strings->data();
  return {std::move(strings), data};
}

// The smallest address is never dereferenced: an empty string tensor has no
// elements, but must not look like a tensor without memory.
std::string* EmptyStrings() {
  static std::string empty;
  return &empty;
}

// Rounds half-way cases right when a double becomes a 16-bit float: rounding to
// odd in float32 first keeps what the second rounding needs to know.
float RoundToOdd(double value) {
  float rounded = static_cast<float>(value);
  if (static_cast<double>(rounded) == value || std::isnan(value) || std::isinf(rounded)) {
    return rounded;
  }
  if (std::fabs(static_cast<double>(rounded)) > std::fabs(value)) {
    rounded = std::nextafter(rounded, 0.0f);
  }
  return std::bit_cast<float>(std::bit_cast<uint32_t>(rounded) | 1u);
}

// 16-bit floats are uint16_t in memory, so that each needs a type of its own.
struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};
struct Truth {
  uint8_t byte;
};

template <typename From>
auto Load(From value) {
  if constexpr (std::is_same_v<From, Half>) {
    return HalfToFloat(value.bits);
  } else if constexpr (std::is_same_v<From, BFloat>) {
    return BFloat16ToFloat(value.bits);
  } else if constexpr (std::is_same_v<From, Truth>) {
    return static_cast<uint8_t>(value.byte != 0);
  } else {
    return value;
  }
}

template <typename To, typename From>
To Convert(From value) {
  if constexpr (std::is_same_v<To, Truth>) {
    return {static_cast<uint8_t>(value != From{0})};
  } else if constexpr (std::is_same_v<To, Half>) {
    if constexpr (std::is_same_v<From, float>) return {FloatToHalf(value)};
    return {FloatToHalf(RoundToOdd(static_cast<double>(value)))};
  } else if constexpr (std::is_same_v<To, BFloat>) {
    if constexpr (std::is_same_v<From, float>) return {FloatToBFloat16(value)};
    return {FloatToBFloat16(RoundToOdd(static_cast<double>(value)))};
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (std::isnan(value)) return 0;
    // The limits as floating-point numbers: the upper one may round up to the
    // first number that does not fit, so compare with >=.
    if (value <= static_cast<From>(std::numeric_limits<To>::min())) {
      return std::numeric_limits<To>::min();
    }
    if (value >= static_cast<From>(std::numeric_limits<To>::max())) {
      return std::numeric_limits<To>::max();
    }
    return static_cast<To>(value);
  } else {
    return static_cast<To>(value);
  }
}

template <typename From, typename To>
void CastElements(const void* from, void* to, int64_t count) {
  const From* source = static_cast<const From*>(from);
  To* target = static_cast<To*>(to);
  for (int64_t i = 0; i < count; ++i) target[i] = Convert<To>(Load(source[i]));
}

// Calls f with a value of the C++ type that stands for `dtype`.
template <typename F>
bool WithType(DType dtype, F f) {
  switch (dtype) {
    case DType::kFloat32:
      f(float{});
      return true;
    case DType::kFloat64:
      f(double{});
      return true;
    case DType::kFloat16:
      f(Half{});
      return true;
    case DType::kBFloat16:
      f(BFloat{});
      return true;
    case DType::kInt8:
      f(int8_t{});
      return true;
    case DType::kInt16:
      f(int16_t{});
      return true;
    case DType::kInt32:
      f(int32_t{});
      return true;
    case DType::kInt64:
      f(int64_t{});
      return true;
    case DType::kUInt8:
      f(uint8_t{});
      return true;
    case DType::kUInt16:
      f(uint16_t{});
      return true;
    case DType::kUInt32:
      f(uint32_t{});
      return true;
    case DType::kUInt64:
      f(uint64_t{});
      return true;
    case DType::kBool:
      f(Truth{});
      return true;
    case DType::kString:
      return false;
  }
  return false;
}

}  // namespace

Tensor Tensor::Allocate(DType dtype, const Shape& shape) {
  assert(CheckedElementCount(shape).has_value());
  Tensor tensor;
  const int64_t count = shape.num_elements();
  std::shared_ptr<void> memory = dtype == DType::kString
                                     ? AllocateStrings(count)
                                     : AllocateAligned(static_cast<size_t>(count * SizeOf(dtype)));
  tensor.data_ = memory.get() != nullptr ? memory.get() : EmptyStrings();
  tensor.owner_ = std::move(memory);
  tensor.dtype_ = dtype;
  tensor.shape_ = shape;
  return tensor;
}

Tensor Tensor::View(std::shared_ptr<const void> owner, const void* data, DType dtype,
                    const Shape& shape) {
  Tensor tensor;
  tensor.owner_ = std::move(owner);
  tensor.data_ = data != nullptr ? data : EmptyStrings();
  tensor.dtype_ = dtype;
  tensor.shape_ = shape;
  return tensor;
}

Tensor Tensor::Scalar(float value) { return Floats(Shape{}, {value}); }

Tensor Tensor::Scalar(int64_t value) { return Ints(Shape{}, {value}); }

Tensor Tensor::Scalar(bool value) {
  Tensor tensor = Allocate(DType::kBool, Shape{});
  *tensor.mutable_data<bool>() = value;
  return tensor;
}

Tensor Tensor::Floats(const Shape& shape, const std::vector<float>& values) {
  assert(static_cast<int64_t>(values.size()) == shape.num_elements());
  Tensor tensor = Allocate(DType::kFloat32, shape);
  if (!values.empty()) {
    std::memcpy(tensor.raw_mutable_data(), values.data(), values.size() * sizeof(float));
  }
  return tensor;
}

Tensor Tensor::Ints(const Shape& shape, const std::vector<int64_t>& values) {
  assert(static_cast<int64_t>(values.size()) == shape.num_elements());
  Tensor tensor = Allocate(DType::kInt64, shape);
  if (!values.empty()) {
    std::memcpy(tensor.raw_mutable_data(), values.data(), values.size() * sizeof(int64_t));
  }
  return tensor;
}

Tensor Tensor::Strings(const Shape& shape, std::vector<std::string> values) {
  assert(static_cast<int64_t>(values.size()) == shape.num_elements());
  auto strings = std::make_shared<std::vector<std::string>>(std::move(values));
  const void* data = strings->data();
  return View(std::move(strings), data, DType::kString, shape);
}

Tensor Tensor::Fill(const Shape& shape, float value) {
  Tensor tensor = Allocate(DType::kFloat32, shape);
  std::fill_n(tensor.mutable_data<float>(), shape.num_elements(), value);
  return tensor;
}

Tensor Tensor::Reshaped(const Shape& shape) const {
  assert(shape.num_elements() == num_elements());
  Tensor tensor = *this;
  tensor.shape_ = shape;
  return tensor;
}

Tensor Tensor::Rows(int64_t begin, int64_t end) const {
  assert(shape_.rank() >= 1 && begin >= 0 && begin <= end && end <= shape_[0]);
  Tensor tensor = *this;
  tensor.shape_[0] = 1;
  const int64_t row_bytes = tensor.shape_.num_elements() * SizeOf(dtype_);
  tensor.shape_[0] = end - begin;
  tensor.data_ = static_cast<const char*>(data_) + begin * row_bytes;
  return tensor;
}

absl::StatusOr<Tensor> Cast(const Tensor& tensor, DType dtype) {
  if (tensor.dtype() == dtype) return tensor;
  Tensor result;
  const bool numeric = WithType(tensor.dtype(), [&](auto from) {
    WithType(dtype, [&](auto to) {
      result = Tensor::Allocate(dtype, tensor.shape());
      CastElements<decltype(from), decltype(to)>(tensor.raw_data(), result.raw_mutable_data(),
                                                 tensor.num_elements());
    });
  });
  if (!numeric || result.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("cannot convert {} to {}", Name(tensor.dtype()), Name(dtype)));
  }
  return result;
}

float HalfToFloat(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1Fu;
  const uint32_t mantissa = bits & 0x3FFu;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent == 0) {
    // Subnormal: mantissa * 2^-24, exact in float32.
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return sign | 0x7E00u | ((magnitude >> 13) & 0x3FFu);  // NaN
  if (magnitude >= 0x477FF000u) return sign | 0x7C00u;  // rounds to 65536 or more
  if (magnitude < 0x38800000u) {
    // Below the smallest normal: adding 0.5 leaves the rounded multiple of 2^-24
    // in the low mantissa bits.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - 0x3F000000u);
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  return sign | static_cast<uint16_t>((magnitude - 0x38000000u + 0xFFFu + odd) >> 13);
}

float BFloat16ToFloat(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t FloatToBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace h5serve::compute
