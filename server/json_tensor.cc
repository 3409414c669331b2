#include "server/json_tensor.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "server/log.h"
#include "server/wire_types.h"

namespace h5serve::server {
namespace {

using compute::DType;
using compute::Shape;
using compute::Tensor;
using simdjson::dom::element;
using simdjson::dom::element_type;

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string_view KindName(element value) {
  switch (value.type()) {
    case element_type::ARRAY:
      return "a list";
    case element_type::OBJECT:
      return "an object";
    case element_type::STRING:
      return "a string";
    case element_type::BOOL:
      return "a boolean";
    case element_type::NULL_VALUE:
      return "null";
    case element_type::INT64:
    case element_type::UINT64:
      return "an integer";
    case element_type::DOUBLE:
      return "a number with a fraction";
  }
  return "something else";
}

absl::Status WrongKind(element value, DType dtype) {
  return absl::InvalidArgumentError(
      fmt::format("got {}, expected {} values", KindName(value), compute::Name(dtype)));
}

std::optional<double> AsDouble(element value) {
  double number = 0;
  if (value.get_double().get(number) == simdjson::SUCCESS) return number;
  std::string_view text;
  if (value.get_string().get(text) != simdjson::SUCCESS) return std::nullopt;
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  return std::nullopt;
}

template <typename T>
absl::Status PutInteger(element value, DType dtype, T* to) {
  int64_t number = 0;
  uint64_t large = 0;
  bool fits = false;
  if (value.get_int64().get(number) == simdjson::SUCCESS) {
    fits = std::in_range<T>(number);
    *to = static_cast<T>(number);
  } else if (value.get_uint64().get(large) == simdjson::SUCCESS) {
    fits = std::in_range<T>(large);
    *to = static_cast<T>(large);
  } else {
    return WrongKind(value, dtype);
  }
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} does not fit into {}", simdjson::minify(value), compute::Name(dtype)));
}

absl::Status PutString(element value, std::string* to) {
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS) {
    *to = std::string(text);
    return absl::OkStatus();
  }
  simdjson::dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS || object.size() != 1 ||
      object["b64"].get_string().get(text) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(
        fmt::format("got {}, expected a string or {{\"b64\": …}}", KindName(value)));
  }
  absl::StatusOr<std::string> bytes = FromBase64(text);
  if (!bytes.ok()) return bytes.status();
  *to = *std::move(bytes);
  return absl::OkStatus();
}

absl::Status PutValue(element value, int64_t index, Tensor* tensor) {
  switch (tensor->dtype()) {
    case DType::kFloat32:
    case DType::kFloat64:
    case DType::kFloat16:
    case DType::kBFloat16: {
      const std::optional<double> number = AsDouble(value);
      if (!number) return WrongKind(value, tensor->dtype());
      const float single = static_cast<float>(*number);
      if (tensor->dtype() == DType::kFloat64) tensor->mutable_data<double>()[index] = *number;
      if (tensor->dtype() == DType::kFloat32) tensor->mutable_data<float>()[index] = single;
      if (tensor->dtype() == DType::kFloat16) {
        tensor->mutable_data<uint16_t>()[index] = compute::FloatToHalf(single);
      }
      if (tensor->dtype() == DType::kBFloat16) {
        tensor->mutable_data<uint16_t>()[index] = compute::FloatToBFloat16(single);
      }
      return absl::OkStatus();
    }
    case DType::kInt8:
      return PutInteger(value, tensor->dtype(), tensor->mutable_data<int8_t>() + index);
    case DType::kInt16:
      return PutInteger(value, tensor->dtype(), tensor->mutable_data<int16_t>() + index);
    case DType::kInt32:
      return PutInteger(value, tensor->dtype(), tensor->mutable_data<int32_t>() + index);
    case DType::kInt64:
      return PutInteger(value, tensor->dtype(), tensor->mutable_data<int64_t>() + index);
    case DType::kUInt8:
      return PutInteger(value, tensor->dtype(), tensor->mutable_data<uint8_t>() + index);
    case DType::kUInt16:
      return PutInteger(value, tensor->dtype(), tensor->mutable_data<uint16_t>() + index);
    case DType::kUInt32:
      return PutInteger(value, tensor->dtype(), tensor->mutable_data<uint32_t>() + index);
    case DType::kUInt64:
      return PutInteger(value, tensor->dtype(), tensor->mutable_data<uint64_t>() + index);
    case DType::kBool: {
      bool flag = false;
      if (value.get_bool().get(flag) != simdjson::SUCCESS) {
        return WrongKind(value, tensor->dtype());
      }
      tensor->mutable_data<bool>()[index] = flag;
      return absl::OkStatus();
    }
    case DType::kString:
      return PutString(value, tensor->mutable_data<std::string>() + index);
  }
  return absl::InternalError("unknown element type");
}

// Depth is bounded by the rank of a tensor.
absl::Status Fill(element value, const Shape& shape, int axis, int64_t* index, Tensor* tensor) {
  if (axis == shape.rank()) return PutValue(value, (*index)++, tensor);
  simdjson::dom::array list;
  if (value.get_array().get(list) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError(
        fmt::format("the lists are ragged: got {} where a list of "
                    "{} items was expected",
                    KindName(value), shape[axis]));
  }
  int64_t items = 0;
  for (element item : list) {
    if (++items > shape[axis]) break;
    if (absl::Status status = Fill(item, shape, axis + 1, index, tensor); !status.ok()) {
      return status;
    }
  }
  if (items == shape[axis]) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("the lists are ragged: got a list of {}{} items where one of {} was expected",
                  items > shape[axis] ? "at least " : "", items, shape[axis]));
}

template <typename T>
void AppendFloat(T value, std::string* json) {
  if (std::isnan(value)) {
    *json += "NaN";
  } else if (std::isinf(value)) {
    *json += value > 0 ? "Infinity" : "-Infinity";
  } else {
    const size_t start = json->size();
    fmt::format_to(std::back_inserter(*json), "{}", value);
    // A float stays one for readers that tell integers from floats.
    if (json->find_first_of(".e", start) == std::string::npos) *json += ".0";
  }
}

void AppendValue(const Tensor& tensor, int64_t index, bool base64, std::string* json) {
  const auto integer = [&](auto value) { fmt::format_to(std::back_inserter(*json), "{}", value); };
  switch (tensor.dtype()) {
    case DType::kFloat32:
      return AppendFloat(tensor.data<float>()[index], json);
    case DType::kFloat64:
      return AppendFloat(tensor.data<double>()[index], json);
    case DType::kFloat16:
      return AppendFloat(compute::HalfToFloat(tensor.data<uint16_t>()[index]), json);
    case DType::kBFloat16:
      return AppendFloat(compute::BFloat16ToFloat(tensor.data<uint16_t>()[index]), json);
    case DType::kInt8:
      return integer(static_cast<int>(tensor.data<int8_t>()[index]));
    case DType::kInt16:
      return integer(tensor.data<int16_t>()[index]);
    case DType::kInt32:
      return integer(tensor.data<int32_t>()[index]);
    case DType::kInt64:
      return integer(tensor.data<int64_t>()[index]);
    case DType::kUInt8:
      return integer(static_cast<unsigned>(tensor.data<uint8_t>()[index]));
    case DType::kUInt16:
      return integer(tensor.data<uint16_t>()[index]);
    case DType::kUInt32:
      return integer(tensor.data<uint32_t>()[index]);
    case DType::kUInt64:
      return integer(tensor.data<uint64_t>()[index]);
    case DType::kBool:
      *json += tensor.data<bool>()[index] ? "true" : "false";
      return;
    case DType::kString: {
      const std::string& text = tensor.data<std::string>()[index];
      *json += base64 ? fmt::format("{{\"b64\":\"{}\"}}", Base64(text)) : JsonQuote(text);
      return;
    }
  }
}

void Append(const Tensor& tensor, const Shape& shape, int axis, int64_t* index, bool base64,
            std::string* json) {
  if (axis == shape.rank()) return AppendValue(tensor, (*index)++, base64, json);
  *json += '[';
  for (int64_t i = 0; i < shape[axis]; ++i) {
    if (i > 0) *json += ',';
    Append(tensor, shape, axis + 1, index, base64, json);
  }
  *json += ']';
}

}  // namespace

std::string QuoteNonFinite(std::string_view json) {
  std::string quoted;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      quoted += c;
      if (c == '\\' && i + 1 < json.size()) {
        quoted += json[++i];
      } else if (c == '"') {
        in_string = false;
      }
      continue;
    }
    in_string = c == '"';
    bool replaced = false;
    for (std::string_view token : {"NaN", "Infinity", "-Infinity"}) {
      if (json.compare(i, token.size(), token) != 0) continue;
      quoted += fmt::format("\"{}\"", token);
      i += token.size() - 1;
      replaced = true;
      break;
    }
    if (!replaced) quoted += c;
  }
  return quoted;
}

absl::StatusOr<element> ParseJsonDocument(std::string_view json, simdjson::dom::parser* parser) {
  element document;
  simdjson::error_code error = parser->parse(json.data(), json.size()).get(document);
  if (error != simdjson::SUCCESS && (json.find("NaN") != std::string_view::npos ||
                                     json.find("Infinity") != std::string_view::npos)) {
    const std::string quoted = QuoteNonFinite(json);
    error = parser->parse(quoted.data(), quoted.size()).get(document);
  }
  if (error == simdjson::SUCCESS) return document;
  return absl::InvalidArgumentError(
      fmt::format("JSON parse error: {}", simdjson::error_message(error)));
}

absl::StatusOr<Shape> JsonShape(element value) {
  Shape shape;
  simdjson::dom::array list;
  while (value.get_array().get(list) == simdjson::SUCCESS) {
    if (shape.rank() == compute::kMaxRank) {
      return absl::InvalidArgumentError(
          fmt::format("lists are nested deeper than the {} supported", compute::kMaxRank));
    }
    int64_t items = 0;
    for (auto it = list.begin(); it != list.end(); ++it) ++items;
    shape.push_back(items);
    if (items == 0) break;
    value = list.at(0).value_unsafe();
  }
  return shape;
}

absl::Status FillTensor(element value, const Shape& shape, int64_t offset, Tensor* tensor) {
  return Fill(value, shape, 0, &offset, tensor);
}

absl::StatusOr<Tensor> TensorFromJson(element value, DType dtype, int64_t max_bytes,
                                      const Shape* declared) {
  const absl::StatusOr<Shape> nested = JsonShape(value);
  if (!nested.ok()) return nested.status();
  const absl::StatusOr<Shape> shape = DecodeShape(nested->dims(), dtype, max_bytes, declared);
  if (!shape.ok()) return shape.status();
  Tensor tensor = Tensor::Allocate(dtype, *shape);
  if (absl::Status status = FillTensor(value, *shape, 0, &tensor); !status.ok()) return status;
  return tensor;
}

void AppendJson(const Tensor& tensor, const Shape& shape, int64_t offset, bool base64,
                std::string* json) {
  Append(tensor, shape, 0, &offset, base64, json);
}

std::string Base64(std::string_view bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    const size_t length = std::min<size_t>(3, bytes.size() - i);
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < length ? static_cast<unsigned char>(bytes[i + j]) : 0);
    }
    for (size_t j = 0; j < 4; ++j) {
      text += j <= length ? kBase64[group >> (18 - 6 * j) & 63] : '=';
    }
  }
  return text;
}

absl::StatusOr<std::string> FromBase64(std::string_view text) {
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string bytes;
  uint32_t group = 0;
  int bits = 0;
  for (char c : text) {
    // The alphabet for addresses is accepted as well.
    const size_t digit = kBase64.find(c == '-' ? '+' : c == '_' ? '/' : c);
    if (digit == std::string_view::npos) {
      return absl::InvalidArgumentError("the value of b64 is not base64");
    }
    group = group << 6 | static_cast<uint32_t>(digit);
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes += static_cast<char>(group >> bits & 0xFF);
  }
  if (bits >= 6) return absl::InvalidArgumentError("the value of b64 is not base64");
  return bytes;
}

}  // namespace h5serve::server
