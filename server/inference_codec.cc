#include "server/inference_codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "server/inference.h"
#include "server/wire_types.h"

namespace h5serve::server {
namespace {

using compute::DType;
using compute::Shape;
using compute::Tensor;
using inference::InferTensorContents;
using InputTensor = inference::ModelInferRequest::InferInputTensor;

template <typename Field>
absl::Status CheckCount(const Field& field, const Shape& shape, std::string_view name) {
  if (field.size() == shape.num_elements()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("got {} values in {}, expected {} for shape {}",
                                                field.size(), name, shape.num_elements(),
                                                shape.ToString()));
}

template <typename T, typename Field>
absl::StatusOr<Tensor> Share(const Field& field, std::string_view name, DType dtype,
                             const Shape& shape) {
  if (absl::Status status = CheckCount(field, shape, name); !status.ok()) return status;
  if (field.empty()) return Tensor::Allocate(dtype, shape);
  static_assert(sizeof(*field.data()) == sizeof(T));
  return Tensor::View(nullptr, field.data(), dtype, shape);
}

template <typename T, typename Field>
absl::StatusOr<Tensor> Narrow(const Field& field, std::string_view name, DType dtype,
                              const Shape& shape) {
  if (absl::Status status = CheckCount(field, shape, name); !status.ok()) return status;
  Tensor tensor = Tensor::Allocate(dtype, shape);
  T* to = tensor.mutable_data<T>();
  for (int i = 0; i < field.size(); ++i) {
    if (!std::in_range<T>(field[i])) {
      return absl::InvalidArgumentError(fmt::format("value {} at position {} does not fit into {}",
                                                    field[i], i, compute::Name(dtype)));
    }
    to[i] = static_cast<T>(field[i]);
  }
  return tensor;
}

absl::StatusOr<Tensor> DecodeContents(const InferTensorContents& contents, DType dtype,
                                      const Shape& shape) {
  switch (dtype) {
    case DType::kBool:
      return Share<bool>(contents.bool_contents(), "bool_contents", dtype, shape);
    case DType::kInt8:
      return Narrow<int8_t>(contents.int_contents(), "int_contents", dtype, shape);
    case DType::kInt16:
      return Narrow<int16_t>(contents.int_contents(), "int_contents", dtype, shape);
    case DType::kInt32:
      return Share<int32_t>(contents.int_contents(), "int_contents", dtype, shape);
    case DType::kInt64:
      return Share<int64_t>(contents.int64_contents(), "int64_contents", dtype, shape);
    case DType::kUInt8:
      return Narrow<uint8_t>(contents.uint_contents(), "uint_contents", dtype, shape);
    case DType::kUInt16:
      return Narrow<uint16_t>(contents.uint_contents(), "uint_contents", dtype, shape);
    case DType::kUInt32:
      return Share<uint32_t>(contents.uint_contents(), "uint_contents", dtype, shape);
    case DType::kUInt64:
      return Share<uint64_t>(contents.uint64_contents(), "uint64_contents", dtype, shape);
    case DType::kFloat32:
      return Share<float>(contents.fp32_contents(), "fp32_contents", dtype, shape);
    case DType::kFloat64:
      return Share<double>(contents.fp64_contents(), "fp64_contents", dtype, shape);
    case DType::kFloat16:
    case DType::kBFloat16:
      return absl::InvalidArgumentError(fmt::format(
          "{} values have no typed form; send raw_input_contents", InferenceType(dtype)));
    case DType::kString: {
      const auto& field = contents.bytes_contents();
      if (absl::Status status = CheckCount(field, shape, "bytes_contents"); !status.ok()) {
        return status;
      }
      Tensor tensor = Tensor::Allocate(dtype, shape);
      std::copy(field.begin(), field.end(), tensor.mutable_data<std::string>());
      return tensor;
    }
  }
  return absl::InternalError("unknown element type");
}

absl::StatusOr<Tensor> DecodeInput(const InputTensor& input, const std::string* raw,
                                   const model::TensorSpec& spec, int64_t max_bytes) {
  const std::optional<DType> dtype = FromInferenceType(input.datatype());
  if (dtype != spec.dtype) {
    return absl::InvalidArgumentError(fmt::format(
        "got datatype {}, expected {}", input.datatype().substr(0, 50), InferenceType(spec.dtype)));
  }
  if (input.parameters().contains("shared_memory_region")) {
    return absl::InvalidArgumentError("shared memory is not supported; send the values");
  }
  const absl::StatusOr<Shape> shape =
      DecodeShape(std::span<const int64_t>(input.shape().data(), input.shape_size()), *dtype,
                  max_bytes, &spec.shape);
  if (!shape.ok()) return shape.status();
  if (raw == nullptr) return DecodeContents(input.contents(), *dtype, *shape);
  if (input.has_contents()) {
    return absl::InvalidArgumentError("contents must not be sent along with raw_input_contents");
  }
  return *dtype == DType::kString ? DecodeBytes(*raw, *shape) : DecodeRaw(*raw, *dtype, *shape);
}

bool HasTypedForm(DType dtype) { return dtype != DType::kFloat16 && dtype != DType::kBFloat16; }

template <typename T, typename Field>
void Put(const Tensor& tensor, Field* field) {
  const T* data = tensor.data<T>();
  field->Add(data, data + tensor.num_elements());
}

void EncodeContents(const Tensor& tensor, InferTensorContents* contents) {
  switch (tensor.dtype()) {
    case DType::kBool:
      return Put<bool>(tensor, contents->mutable_bool_contents());
    case DType::kInt8:
      return Put<int8_t>(tensor, contents->mutable_int_contents());
    case DType::kInt16:
      return Put<int16_t>(tensor, contents->mutable_int_contents());
    case DType::kInt32:
      return Put<int32_t>(tensor, contents->mutable_int_contents());
    case DType::kInt64:
      return Put<int64_t>(tensor, contents->mutable_int64_contents());
    case DType::kUInt8:
      return Put<uint8_t>(tensor, contents->mutable_uint_contents());
    case DType::kUInt16:
      return Put<uint16_t>(tensor, contents->mutable_uint_contents());
    case DType::kUInt32:
      return Put<uint32_t>(tensor, contents->mutable_uint_contents());
    case DType::kUInt64:
      return Put<uint64_t>(tensor, contents->mutable_uint64_contents());
    case DType::kFloat32:
      return Put<float>(tensor, contents->mutable_fp32_contents());
    case DType::kFloat64:
      return Put<double>(tensor, contents->mutable_fp64_contents());
    case DType::kFloat16:
    case DType::kBFloat16:
      return;  // see HasTypedForm
    case DType::kString: {
      const std::string* data = tensor.data<std::string>();
      for (int64_t i = 0; i < tensor.num_elements(); ++i) contents->add_bytes_contents(data[i]);
      return;
    }
  }
}

}  // namespace

absl::StatusOr<Tensor> DecodeBytes(std::string_view raw, const Shape& shape) {
  // Each element has at least its length: nothing is reserved for what cannot be there.
  if (static_cast<int64_t>(raw.size() / sizeof(uint32_t)) < shape.num_elements()) {
    return absl::InvalidArgumentError(
        fmt::format("the content of {} bytes ends before element {} of {}", raw.size(),
                    raw.size() / sizeof(uint32_t), shape.num_elements()));
  }
  Tensor tensor = Tensor::Allocate(DType::kString, shape);
  std::string* to = tensor.mutable_data<std::string>();
  for (int64_t i = 0; i < shape.num_elements(); ++i) {
    uint32_t length = 0;
    if (raw.size() < sizeof length) {
      return absl::InvalidArgumentError(
          fmt::format("the content ends before element {} of {}", i, shape.num_elements()));
    }
    std::memcpy(&length, raw.data(), sizeof length);
    raw.remove_prefix(sizeof length);
    if (raw.size() < length) {
      return absl::InvalidArgumentError(
          fmt::format("element {} is said to have {} bytes, {} remain", i, length, raw.size()));
    }
    to[i].assign(raw.data(), length);
    raw.remove_prefix(length);
  }
  if (!raw.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{} bytes follow the last of {} elements", raw.size(), shape.num_elements()));
  }
  return tensor;
}

void AppendRaw(const Tensor& tensor, std::string* raw) {
  if (tensor.dtype() != DType::kString) {
    raw->append(RawBytes(tensor));
    return;
  }
  const std::string* data = tensor.data<std::string>();
  for (int64_t i = 0; i < tensor.num_elements(); ++i) {
    const uint32_t length = static_cast<uint32_t>(data[i].size());
    raw->append(reinterpret_cast<const char*>(&length), sizeof length);
    raw->append(data[i]);
  }
}

absl::StatusOr<std::vector<Tensor>> DecodeInferInputs(const model::Signature& signature,
                                                      const inference::ModelInferRequest& request,
                                                      int64_t max_bytes) {
  std::vector<std::string_view> names;
  for (const InputTensor& input : request.inputs()) names.push_back(input.name());
  if (absl::Status status = CheckInputNames(signature, names); !status.ok()) return status;
  const bool raw = !request.raw_input_contents().empty();
  if (raw && request.raw_input_contents_size() != request.inputs_size()) {
    return absl::InvalidArgumentError(
        fmt::format("got {} raw_input_contents for {} inputs, expected one for each",
                    request.raw_input_contents_size(), request.inputs_size()));
  }
  std::vector<Tensor> tensors;
  for (const model::TensorSpec& spec : signature.inputs) {
    const auto found = std::find(names.begin(), names.end(), spec.name);
    const int index = static_cast<int>(found - names.begin());
    absl::StatusOr<Tensor> tensor = DecodeInput(
        request.inputs(index), raw ? &request.raw_input_contents(index) : nullptr, spec, max_bytes);
    if (!tensor.ok()) return AboutInput(spec.name, tensor.status());
    tensors.push_back(*std::move(tensor));
  }
  return tensors;
}

absl::StatusOr<std::vector<InferOutput>> SelectInferOutputs(
    const model::Signature& signature, const inference::ModelInferRequest& request) {
  std::vector<std::string_view> names;
  for (const auto& output : request.outputs()) names.push_back(output.name());
  const absl::StatusOr<std::vector<int>> selected = SelectOutputs(signature, names);
  if (!selected.ok()) return selected.status();
  std::vector<InferOutput> outputs;
  for (size_t i = 0; i < selected->size(); ++i) {
    InferOutput output{.index = (*selected)[i]};
    if (!names.empty()) {
      const auto& parameters = request.outputs(static_cast<int>(i)).parameters();
      if (parameters.contains("shared_memory_region")) {
        return absl::InvalidArgumentError(
            fmt::format("output \"{}\": shared memory is not supported", names[i]));
      }
      const auto classes = parameters.find("classification");
      if (classes != parameters.end()) {
        const int64_t count = classes->second.int64_param();
        if (count < 1 || count > std::numeric_limits<int>::max()) {
          return absl::InvalidArgumentError(
              fmt::format("output \"{}\": classification must be a positive integer", names[i]));
        }
        output.top_classes = static_cast<int>(count);
      }
    }
    outputs.push_back(output);
  }
  return outputs;
}

absl::StatusOr<Tensor> TopClasses(const Tensor& scores, int count) {
  if (scores.shape().rank() < 1 || scores.dtype() == DType::kString) {
    return absl::InvalidArgumentError("classification needs an output of scores");
  }
  const absl::StatusOr<Tensor> floats = compute::Cast(scores, DType::kFloat32);
  if (!floats.ok()) return floats.status();
  const int64_t rows = scores.shape().rank() > 1 ? scores.shape()[0] : 1;
  const int64_t width = rows > 0 ? scores.num_elements() / rows : 0;
  const int64_t kept = std::min<int64_t>(count, width);
  Tensor tensor =
      Tensor::Allocate(DType::kString, scores.shape().rank() > 1 ? Shape{rows, kept} : Shape{kept});
  std::string* to = tensor.mutable_data<std::string>();
  std::vector<int64_t> order(width);
  for (int64_t row = 0; row < rows; ++row) {
    const float* value = floats->data<float>() + row * width;
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + kept, order.end(),
                      [value](int64_t a, int64_t b) {
                        return value[a] > value[b] || (value[a] == value[b] && a < b);
                      });
    for (int64_t i = 0; i < kept; ++i) {
      *to++ = fmt::format("{:.6f}:{}", value[order[i]], order[i]);
    }
  }
  return tensor;
}

absl::Status EncodeInferOutputs(const model::Signature& signature, std::span<const Tensor> tensors,
                                std::span<const InferOutput> outputs, bool raw,
                                inference::ModelInferResponse* response) {
  for (const InferOutput& output : outputs) {
    raw = raw || !HasTypedForm(tensors[output.index].dtype());
  }
  for (const InferOutput& output : outputs) {
    Tensor tensor = tensors[output.index];
    if (output.top_classes > 0) {
      absl::StatusOr<Tensor> classes = TopClasses(tensor, output.top_classes);
      if (!classes.ok()) return classes.status();
      tensor = *std::move(classes);
    }
    auto* proto = response->add_outputs();
    proto->set_name(signature.outputs[output.index].name);
    const std::string_view type = InferenceType(tensor.dtype());
    proto->set_datatype(type.data(), type.size());
    for (int64_t dim : tensor.shape()) proto->add_shape(dim);
    if (raw) {
      AppendRaw(tensor, response->add_raw_output_contents());
    } else {
      EncodeContents(tensor, proto->mutable_contents());
    }
  }
  return absl::OkStatus();
}

}  // namespace h5serve::server
