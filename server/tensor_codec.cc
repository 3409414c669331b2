#include "server/tensor_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

#include "server/inference.h"
#include "server/wire_types.h"

namespace h5serve::server {
namespace {

using compute::DType;
using compute::Shape;
using compute::Tensor;
using tensorflow::TensorProto;

std::string TypeName(int number) {
  const std::string& name = tensorflow::DataType_Name(static_cast<tensorflow::DataType>(number));
  return name.empty() ? fmt::format("DataType {}", number) : name;
}

std::string_view FieldName(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float_val";
    case DType::kFloat64:
      return "double_val";
    case DType::kFloat16:
    case DType::kBFloat16:
      return "half_val";
    case DType::kInt8:
    case DType::kInt16:
    case DType::kInt32:
    case DType::kUInt8:
    case DType::kUInt16:
      return "int_val";
    case DType::kInt64:
      return "int64_val";
    case DType::kUInt32:
      return "uint32_val";
    case DType::kUInt64:
      return "uint64_val";
    case DType::kBool:
      return "bool_val";
    case DType::kString:
      return "string_val";
  }
  return "";
}

absl::Status BadCount(int got, const Shape& shape, DType dtype) {
  if (got == 0) {
    return absl::InvalidArgumentError(
        fmt::format("got no values for shape {}: neither tensor_content nor {} is filled",
                    shape.ToString(), FieldName(dtype)));
  }
  return absl::InvalidArgumentError(fmt::format("got {} values in {}, expected {} for shape {}",
                                                got, FieldName(dtype), shape.num_elements(),
                                                shape.ToString()));
}

// Values whose wire type is the tensor's: shared when complete, else copied
// with the last one repeated.
template <typename T, typename Field>
absl::StatusOr<Tensor> Take(const Field& field, DType dtype, const Shape& shape) {
  const int64_t count = shape.num_elements();
  if (field.size() > count || (field.empty() && count > 0)) {
    return BadCount(field.size(), shape, dtype);
  }
  if (field.size() == count && count > 0) {
    return Tensor::View(nullptr, field.data(), dtype, shape);
  }
  Tensor tensor = Tensor::Allocate(dtype, shape);
  T* to = std::copy(field.begin(), field.end(), tensor.mutable_data<T>());
  if (count > 0) std::fill(to, tensor.mutable_data<T>() + count, field[field.size() - 1]);
  return tensor;
}

// Values that the wire carries in a wider type. `Bits` is the storage type.
template <typename Bits>
absl::StatusOr<Tensor> Narrow(const google::protobuf::RepeatedField<int32_t>& field, DType dtype,
                              const Shape& shape) {
  const int64_t count = shape.num_elements();
  if (field.size() > count || (field.empty() && count > 0)) {
    return BadCount(field.size(), shape, dtype);
  }
  Tensor tensor = Tensor::Allocate(dtype, shape);
  Bits* to = tensor.mutable_data<Bits>();
  for (int i = 0; i < field.size(); ++i) {
    if (field[i] < std::numeric_limits<Bits>::min() ||
        field[i] > std::numeric_limits<Bits>::max()) {
      return absl::InvalidArgumentError(fmt::format("value {} at position {} does not fit into {}",
                                                    field[i], i, compute::Name(dtype)));
    }
    to[i] = static_cast<Bits>(field[i]);
  }
  if (count > 0) std::fill(to + field.size(), to + count, to[field.size() - 1]);
  return tensor;
}

absl::StatusOr<Tensor> TakeStrings(const TensorProto& proto, const Shape& shape) {
  const int64_t count = shape.num_elements();
  const auto& field = proto.string_val();
  if (!proto.tensor_content().empty()) {
    return absl::InvalidArgumentError("strings must be in string_val, not in tensor_content");
  }
  if (field.size() > count || (field.empty() && count > 0)) {
    return BadCount(field.size(), shape, DType::kString);
  }
  Tensor tensor = Tensor::Allocate(DType::kString, shape);
  std::string* to = tensor.mutable_data<std::string>();
  for (int64_t i = 0; i < count; ++i) {
    to[i] = field.Get(static_cast<int>(std::min<int64_t>(i, field.size() - 1)));
  }
  return tensor;
}

absl::StatusOr<Tensor> TakeTyped(const TensorProto& proto, DType dtype, const Shape& shape) {
  switch (dtype) {
    case DType::kFloat32:
      return Take<float>(proto.float_val(), dtype, shape);
    case DType::kFloat64:
      return Take<double>(proto.double_val(), dtype, shape);
    case DType::kFloat16:
    case DType::kBFloat16:
      return Narrow<uint16_t>(proto.half_val(), dtype, shape);
    case DType::kInt8:
      return Narrow<int8_t>(proto.int_val(), dtype, shape);
    case DType::kInt16:
      return Narrow<int16_t>(proto.int_val(), dtype, shape);
    case DType::kUInt8:
      return Narrow<uint8_t>(proto.int_val(), dtype, shape);
    case DType::kUInt16:
      return Narrow<uint16_t>(proto.int_val(), dtype, shape);
    case DType::kInt32:
      return Take<int32_t>(proto.int_val(), dtype, shape);
    case DType::kInt64:
      return Take<int64_t>(proto.int64_val(), dtype, shape);
    case DType::kUInt32:
      return Take<uint32_t>(proto.uint32_val(), dtype, shape);
    case DType::kUInt64:
      return Take<uint64_t>(proto.uint64_val(), dtype, shape);
    case DType::kBool:
      return Take<bool>(proto.bool_val(), dtype, shape);
    case DType::kString:
      return TakeStrings(proto, shape);
  }
  return absl::InternalError("unknown element type");
}

template <typename T, typename Field>
void Put(const Tensor& tensor, Field* field) {
  const T* data = tensor.data<T>();
  field->Add(data, data + tensor.num_elements());
}

template <typename T>
void Widen(const Tensor& tensor, google::protobuf::RepeatedField<int32_t>* field) {
  const T* data = tensor.data<T>();
  field->Reserve(static_cast<int>(tensor.num_elements()));
  for (int64_t i = 0; i < tensor.num_elements(); ++i) field->AddAlreadyReserved(data[i]);
}

void EncodeInfo(const model::TensorSpec& spec, const std::string& name,
                tensorflow::TensorInfo* info) {
  info->set_name(name);
  info->set_dtype(static_cast<tensorflow::DataType>(TensorFlowType(spec.dtype)));
  for (int64_t dim : spec.shape) info->mutable_tensor_shape()->add_dim()->set_size(dim);
}

// The feature an example gives for an input, or null.
const tensorflow::Feature* FindFeature(const tensorflow::Example& example,
                                       const tensorflow::Example* context,
                                       const std::string& name) {
  for (const tensorflow::Example* part : {&example, context}) {
    if (part == nullptr) continue;
    const auto found = part->features().feature().find(name);
    if (found != part->features().feature().end()) return &found->second;
  }
  return nullptr;
}

// Writes a feature's values to row `row` of a tensor with `width` elements per row.
absl::Status FillRow(const tensorflow::Feature& feature, int64_t row, int64_t width,
                     Tensor* tensor) {
  const auto wrong_kind = [&](std::string_view wanted) {
    return absl::InvalidArgumentError(fmt::format("example {}: expected a {} for {} values", row,
                                                  wanted, compute::Name(tensor->dtype())));
  };
  const auto wrong_count = [&](int got) {
    return absl::InvalidArgumentError(
        fmt::format("example {}: got {} values, expected {}", row, got, width));
  };
  if (tensor->dtype() == DType::kString) {
    if (!feature.has_bytes_list()) return wrong_kind("bytes_list");
    const auto& values = feature.bytes_list().value();
    if (values.size() != width) return wrong_count(values.size());
    std::copy(values.begin(), values.end(), tensor->mutable_data<std::string>() + row * width);
    return absl::OkStatus();
  }
  if (tensor->dtype() == DType::kFloat32) {
    if (!feature.has_float_list()) return wrong_kind("float_list");
    const auto& values = feature.float_list().value();
    if (values.size() != width) return wrong_count(values.size());
    std::copy(values.begin(), values.end(), tensor->mutable_data<float>() + row * width);
    return absl::OkStatus();
  }
  if (!feature.has_int64_list()) return wrong_kind("int64_list");
  const auto& values = feature.int64_list().value();
  if (values.size() != width) return wrong_count(values.size());
  if (tensor->dtype() == DType::kInt64) {
    std::copy(values.begin(), values.end(), tensor->mutable_data<int64_t>() + row * width);
    return absl::OkStatus();
  }
  for (int64_t i = 0; i < width; ++i) {
    const int64_t value = values.Get(static_cast<int>(i));
    if (value < std::numeric_limits<int32_t>::min() ||
        value > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(
          fmt::format("example {}: value {} does not fit into int32", row, value));
    }
    tensor->mutable_data<int32_t>()[row * width + i] = static_cast<int32_t>(value);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Tensor> DecodeTensor(const TensorProto& proto, int64_t max_bytes,
                                    const Shape* declared) {
  const std::optional<DType> dtype = FromTensorFlowType(proto.dtype());
  if (!dtype) {
    return absl::InvalidArgumentError(
        fmt::format("element type {} is not supported", TypeName(proto.dtype())));
  }
  if (proto.tensor_shape().unknown_rank()) {
    return absl::InvalidArgumentError("the shape has an unknown rank");
  }
  const int rank = proto.tensor_shape().dim_size();
  if (absl::Status status = CheckRank(rank); !status.ok()) return status;
  std::array<int64_t, compute::kMaxRank> dims{};
  for (int axis = 0; axis < rank; ++axis) dims[axis] = proto.tensor_shape().dim(axis).size();
  const absl::StatusOr<Shape> shape =
      DecodeShape(std::span<const int64_t>(dims.data(), static_cast<size_t>(rank)), *dtype,
                  max_bytes, declared);
  if (!shape.ok()) return shape.status();
  if (*dtype != DType::kString && !proto.tensor_content().empty()) {
    return DecodeRaw(proto.tensor_content(), *dtype, *shape);
  }
  return TakeTyped(proto, *dtype, *shape);
}

absl::StatusOr<std::vector<Tensor>> DecodeInputs(const model::Signature& signature,
                                                 const tensorflow::serving::PredictRequest& request,
                                                 int64_t max_bytes) {
  std::vector<Tensor> inputs;
  inputs.reserve(signature.inputs.size());
  for (const model::TensorSpec& spec : signature.inputs) {
    const auto found = request.inputs().find(spec.name);
    if (found == request.inputs().end()) break;
    const TensorProto& proto = found->second;
    if (static_cast<int>(proto.dtype()) != TensorFlowType(spec.dtype)) {
      return AboutInput(spec.name,
                        absl::InvalidArgumentError(fmt::format(
                            "got element type {}, expected {} ({})", TypeName(proto.dtype()),
                            TypeName(TensorFlowType(spec.dtype)), compute::Name(spec.dtype))));
    }
    absl::StatusOr<Tensor> tensor = DecodeTensor(proto, max_bytes, &spec.shape);
    if (!tensor.ok()) return AboutInput(spec.name, tensor.status());
    inputs.push_back(*std::move(tensor));
  }
  if (inputs.size() == signature.inputs.size() &&
      static_cast<size_t>(request.inputs().size()) == inputs.size()) {
    return inputs;
  }
  std::vector<std::string_view> names;
  for (const auto& [name, proto] : request.inputs()) names.push_back(name);
  return CheckInputNames(signature, std::move(names));
}

void EncodeTensor(const Tensor& tensor, bool as_content, TensorProto* proto) {
  proto->set_dtype(static_cast<tensorflow::DataType>(TensorFlowType(tensor.dtype())));
  for (int64_t dim : tensor.shape()) proto->mutable_tensor_shape()->add_dim()->set_size(dim);
  if (as_content && tensor.dtype() != DType::kString) {
    const std::string_view bytes = RawBytes(tensor);
    proto->set_tensor_content(bytes.data(), bytes.size());
    return;
  }
  switch (tensor.dtype()) {
    case DType::kFloat32:
      return Put<float>(tensor, proto->mutable_float_val());
    case DType::kFloat64:
      return Put<double>(tensor, proto->mutable_double_val());
    case DType::kFloat16:
    case DType::kBFloat16:
      return Widen<uint16_t>(tensor, proto->mutable_half_val());
    case DType::kInt8:
      return Widen<int8_t>(tensor, proto->mutable_int_val());
    case DType::kInt16:
      return Widen<int16_t>(tensor, proto->mutable_int_val());
    case DType::kUInt8:
      return Widen<uint8_t>(tensor, proto->mutable_int_val());
    case DType::kUInt16:
      return Widen<uint16_t>(tensor, proto->mutable_int_val());
    case DType::kInt32:
      return Put<int32_t>(tensor, proto->mutable_int_val());
    case DType::kInt64:
      return Put<int64_t>(tensor, proto->mutable_int64_val());
    case DType::kUInt32:
      return Put<uint32_t>(tensor, proto->mutable_uint32_val());
    case DType::kUInt64:
      return Put<uint64_t>(tensor, proto->mutable_uint64_val());
    case DType::kBool:
      return Put<bool>(tensor, proto->mutable_bool_val());
    case DType::kString: {
      const std::string* data = tensor.data<std::string>();
      for (int64_t i = 0; i < tensor.num_elements(); ++i) proto->add_string_val(data[i]);
      return;
    }
  }
}

void EncodeSignature(const model::Signature& signature, tensorflow::SignatureDef* proto) {
  proto->set_method_name("tensorflow/serving/predict");
  for (const model::TensorSpec& spec : signature.inputs) {
    EncodeInfo(spec, fmt::format("serving_default_{}:0", spec.keras_name),
               &(*proto->mutable_inputs())[spec.name]);
  }
  int index = 0;
  for (const model::TensorSpec& spec : signature.outputs) {
    EncodeInfo(spec, fmt::format("StatefulPartitionedCall:{}", index++),
               &(*proto->mutable_outputs())[spec.name]);
  }
}

absl::StatusOr<std::vector<Tensor>> DecodeExamples(const model::Signature& signature,
                                                   const tensorflow::serving::Input& input,
                                                   int64_t max_bytes) {
  const tensorflow::Example* context = nullptr;
  const google::protobuf::RepeatedPtrField<tensorflow::Example>* examples = nullptr;
  if (input.has_example_list()) {
    examples = &input.example_list().examples();
  } else if (input.has_example_list_with_context()) {
    examples = &input.example_list_with_context().examples();
    context = &input.example_list_with_context().context();
  }
  if (examples == nullptr || examples->empty()) {
    return absl::InvalidArgumentError("Input is empty.");
  }
  std::vector<Tensor> tensors;
  for (const model::TensorSpec& spec : signature.inputs) {
    if (spec.dtype != DType::kFloat32 && spec.dtype != DType::kInt64 &&
        spec.dtype != DType::kInt32 && spec.dtype != DType::kString) {
      return AboutInput(
          spec.name, absl::InvalidArgumentError(fmt::format("examples cannot carry {}; use Predict",
                                                            compute::Name(spec.dtype))));
    }
    Shape row = spec.shape.Slice(1, spec.shape.rank());
    // One open dimension is as long as the first example says.
    int64_t fixed = 1;
    int open = -1;
    for (int axis = 0; axis < row.rank(); ++axis) {
      if (row[axis] != compute::kUnknown) {
        fixed *= row[axis];
      } else if (open >= 0) {
        return AboutInput(spec.name, absl::InvalidArgumentError(
                                         "its shape has several open dimensions, which examples "
                                         "cannot fill; use Predict"));
      } else {
        open = axis;
      }
    }
    const tensorflow::Feature* first = FindFeature((*examples)[0], context, spec.name);
    if (first != nullptr && open >= 0) {
      const int64_t values = first->has_float_list()   ? first->float_list().value_size()
                             : first->has_int64_list() ? first->int64_list().value_size()
                                                       : first->bytes_list().value_size();
      row[open] = fixed > 0 ? values / fixed : 0;
    }
    std::vector<int64_t> dims = {examples->size()};
    for (int64_t dim : row) dims.push_back(std::max<int64_t>(dim, 0));
    const absl::StatusOr<Shape> shape = DecodeShape(dims, spec.dtype, max_bytes);
    if (!shape.ok()) return AboutInput(spec.name, shape.status());
    Tensor tensor = Tensor::Allocate(spec.dtype, *shape);
    const int64_t width = tensor.num_elements() / examples->size();
    for (int i = 0; i < examples->size(); ++i) {
      const tensorflow::Feature* feature = FindFeature((*examples)[i], context, spec.name);
      if (feature == nullptr) {
        return AboutInput(spec.name, absl::InvalidArgumentError(
                                         fmt::format("example {} has no such feature", i)));
      }
      if (absl::Status status = FillRow(*feature, i, width, &tensor); !status.ok()) {
        return AboutInput(spec.name, status);
      }
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace h5serve::server
