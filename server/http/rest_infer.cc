// One inference of the Open Inference Protocol's REST API.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "absl/time/clock.h"
#include "server/http/pages.h"
#include "server/inference_codec.h"
#include "server/json_tensor.h"
#include "server/wire_types.h"

namespace h5serve::server {
namespace {

using compute::Tensor;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr int64_t kMaxTensorBytes = int64_t{256} << 20;
constexpr char kHeaderLength[] = "inference-header-content-length";

// What an infer request asks for.
struct Infer {
  std::string id;
  std::vector<Tensor> inputs;
  std::vector<InferOutput> outputs;
  std::vector<bool> binary;  // of each output
  InferenceRequest request;
};

std::string_view Member(const object& value, const char* name) {
  std::string_view text;
  return value[name].get_string().get(text) == simdjson::SUCCESS ? text : std::string_view();
}

// The integer parameter of an object's "parameters", if there is one.
std::optional<int64_t> IntParameter(const object& value, const char* name) {
  int64_t number = 0;
  if (value["parameters"][name].get_int64().get(number) != simdjson::SUCCESS) return std::nullopt;
  return number;
}

bool BoolParameter(const object& value, const char* name, bool otherwise) {
  bool flag = otherwise;
  return value["parameters"][name].get_bool().get(flag) == simdjson::SUCCESS ? flag : otherwise;
}

// An input of the JSON header; binary ones take their bytes off `binary`.
absl::StatusOr<Tensor> DecodeInput(const object& input, const model::TensorSpec& spec,
                                   std::string_view bytes, bool is_binary) {
  const std::string_view datatype = Member(input, "datatype");
  if (FromInferenceType(datatype) != spec.dtype) {
    return absl::InvalidArgumentError(fmt::format(
        "got datatype {}, expected {}", datatype.substr(0, 50), InferenceType(spec.dtype)));
  }
  simdjson::dom::array list;
  if (input["shape"].get_array().get(list) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("has no shape");
  }
  std::vector<int64_t> dims;
  for (element item : list) {
    if (absl::Status status = CheckRank(static_cast<int64_t>(dims.size())); !status.ok()) {
      return status;
    }
    int64_t dim = 0;
    if (item.get_int64().get(dim) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError("the shape must be a list of integers");
    }
    dims.push_back(dim);
  }
  const absl::StatusOr<compute::Shape> shape =
      DecodeShape(dims, spec.dtype, kMaxTensorBytes, &spec.shape);
  if (!shape.ok()) return shape.status();
  if (is_binary) {
    return spec.dtype == compute::DType::kString ? DecodeBytes(bytes, *shape)
                                                 : DecodeRaw(bytes, spec.dtype, *shape);
  }
  element data;
  if (input["data"].get(data) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("has neither data nor a binary_data_size");
  }
  Tensor tensor = Tensor::Allocate(spec.dtype, *shape);
  // Data may be nested like the shape, or flat.
  const absl::StatusOr<compute::Shape> nested = JsonShape(data);
  if (!nested.ok()) return nested.status();
  const bool flat = nested->rank() == 1 && shape->rank() != 1;
  const absl::Status status =
      FillTensor(data, flat ? compute::Shape{shape->num_elements()} : *shape, 0, &tensor);
  if (!status.ok()) return status;
  return tensor;
}

absl::Status DecodeInputs(const model::Signature& signature, const object& body,
                          std::string_view binary, std::vector<Tensor>* tensors) {
  simdjson::dom::array list;
  if (body["inputs"].get_array().get(list) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("the request has no list of inputs");
  }
  std::vector<std::string_view> names;
  for (element item : list) {
    object input;
    if (item.get_object().get(input) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError("each input must be an object");
    }
    names.push_back(Member(input, "name"));
  }
  if (absl::Status status = CheckInputNames(signature, names); !status.ok()) return status;
  tensors->resize(signature.inputs.size());
  size_t position = 0;
  for (element item : list) {
    const object input = item.get_object().value_unsafe();
    const std::string_view name = names[position++];
    const auto spec =
        std::find_if(signature.inputs.begin(), signature.inputs.end(),
                     [name](const model::TensorSpec& one) { return one.name == name; });
    const std::optional<int64_t> size = IntParameter(input, "binary_data_size");
    std::string_view bytes;
    if (size) {
      if (*size < 0 || *size > static_cast<int64_t>(binary.size())) {
        return AboutInput(name, absl::InvalidArgumentError(fmt::format(
                                    "binary_data_size is {}, but {} bytes follow the header", *size,
                                    binary.size())));
      }
      bytes = binary.substr(0, static_cast<size_t>(*size));
      binary.remove_prefix(bytes.size());
    }
    absl::StatusOr<Tensor> tensor = DecodeInput(input, *spec, bytes, size.has_value());
    if (!tensor.ok()) return AboutInput(name, tensor.status());
    (*tensors)[spec - signature.inputs.begin()] = *std::move(tensor);
  }
  if (binary.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} bytes follow the binary data of the inputs", binary.size()));
}

absl::Status DecodeOutputs(const model::Signature& signature, const object& body, Infer* infer) {
  const bool all_binary = BoolParameter(body, "binary_data_output", false);
  std::vector<std::string_view> names;
  std::vector<object> asked;
  element wanted;
  if (body["outputs"].get(wanted) == simdjson::SUCCESS) {
    simdjson::dom::array list;
    if (wanted.get_array().get(list) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError("outputs must be a list");
    }
    for (element item : list) {
      object output;
      if (item.get_object().get(output) != simdjson::SUCCESS) {
        return absl::InvalidArgumentError("each output must be an object");
      }
      names.push_back(Member(output, "name"));
      asked.push_back(output);
    }
  }
  const absl::StatusOr<std::vector<int>> selected = SelectOutputs(signature, names);
  if (!selected.ok()) return selected.status();
  for (size_t i = 0; i < selected->size(); ++i) {
    InferOutput output;
    output.index = (*selected)[i];
    bool binary = all_binary;
    if (!asked.empty()) {
      binary = BoolParameter(asked[i], "binary_data", all_binary);
      const std::optional<int64_t> classes = IntParameter(asked[i], "classification");
      if (classes && (*classes < 1 || *classes > 1000000)) {
        return absl::InvalidArgumentError(
            fmt::format("output \"{}\": classification must be a positive integer", names[i]));
      }
      output.top_classes = static_cast<int>(classes.value_or(0));
    }
    infer->outputs.push_back(output);
    infer->binary.push_back(binary);
  }
  return absl::OkStatus();
}

absl::Status DecodeId(const object& body, std::string* id) {
  element value;
  if (body["id"].get(value) != simdjson::SUCCESS) return absl::OkStatus();
  std::string_view text;
  if (value.get_string().get(text) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("id must be a string");
  }
  *id = std::string(text);
  return absl::OkStatus();
}

// A body without JSON is the raw value of the only input; its batch dimension
// follows from the size.
absl::Status DecodeRawBody(const model::Signature& signature, std::string_view body, Infer* infer) {
  if (signature.inputs.size() != 1) {
    return absl::InvalidArgumentError("raw requests are for models with one input");
  }
  const model::TensorSpec& spec = signature.inputs[0];
  compute::Shape shape = spec.shape;
  if (spec.dtype == compute::DType::kString) {
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (shape[axis] == compute::kUnknown) shape[axis] = 1;
    }
    if (shape.num_elements() != 1) {
      return AboutInput(spec.name, absl::InvalidArgumentError(fmt::format(
                                       "a raw request is one string, but the shape is {}; send a "
                                       "JSON header",
                                       spec.shape.ToString())));
    }
    infer->inputs.push_back(Tensor::Strings(shape, std::vector<std::string>(1, std::string(body))));
  } else {
    int64_t row = compute::SizeOf(spec.dtype);
    for (int axis = 1; axis < shape.rank(); ++axis) {
      if (shape[axis] == compute::kUnknown) {
        return absl::InvalidArgumentError("raw requests need a model of fixed shape");
      }
      row *= shape[axis];
    }
    if (shape.rank() > 0 && shape[0] == compute::kUnknown) {
      shape[0] = row > 0 ? static_cast<int64_t>(body.size()) / row : 0;
    }
    absl::StatusOr<Tensor> tensor = DecodeRaw(body, spec.dtype, shape);
    if (!tensor.ok()) return AboutInput(spec.name, tensor.status());
    infer->inputs.push_back(*std::move(tensor));
  }
  for (size_t i = 0; i < signature.outputs.size(); ++i) {
    infer->outputs.push_back({static_cast<int>(i), 0});
    infer->binary.push_back(true);
  }
  return absl::OkStatus();
}

absl::Status DecodeBody(const ServiceContext& context, const model::Signature& signature,
                        const HttpRequest& request, simdjson::dom::parser* parser, Infer* infer) {
  std::string_view header = request.body, binary;
  int64_t timeout = 0;
  if (const std::string_view length = request.Header(kHeaderLength); !length.empty()) {
    size_t size = 0;
    const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), size);
    if (error != std::errc() || end != length.data() + length.size() || size > header.size()) {
      return absl::InvalidArgumentError(
          fmt::format("Inference-Header-Content-Length: expected 0 to {}, not {}",
                      request.body.size(), length.substr(0, 50)));
    }
    binary = header.substr(size);
    header = header.substr(0, size);
  }
  if (header.empty() && !binary.empty()) {
    if (absl::Status status = DecodeRawBody(signature, binary, infer); !status.ok()) return status;
  } else {
    const absl::StatusOr<element> document = ParseJsonDocument(header, parser);
    if (!document.ok()) return document.status();
    object body;
    if (document->get_object().get(body) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError("the body must be a JSON object");
    }
    absl::Status status = DecodeId(body, &infer->id);
    if (status.ok()) status = DecodeInputs(signature, body, binary, &infer->inputs);
    if (status.ok()) status = DecodeOutputs(signature, body, infer);
    if (!status.ok()) return status;
    timeout = IntParameter(body, "timeout").value_or(0);
    infer->request.priority = IntParameter(body, "priority").value_or(0) > 1 ? 1 : 0;
  }
  infer->request.inputs = infer->inputs;
  infer->request.deadline = absl::Now() + absl::FromChrono(context.options->http.timeout);
  if (timeout > 0) {
    infer->request.deadline =
        std::min(infer->request.deadline, absl::Now() + absl::Microseconds(timeout));
  }
  return absl::OkStatus();
}

absl::StatusOr<HttpResponse> EncodeBody(const Served& served, const Infer& infer,
                                        const Outputs& tensors) {
  const model::Signature& signature = served->servable->signature();
  std::string json = fmt::format("{{\"model_name\":{},\"model_version\":\"{}\"",
                                 JsonQuote(served->name), served->version);
  if (!infer.id.empty()) json += fmt::format(",\"id\":{}", JsonQuote(infer.id));
  json += ",\"outputs\":[";
  std::string binary;
  bool any_binary = false;
  for (size_t i = 0; i < infer.outputs.size(); ++i) {
    Tensor tensor = tensors[infer.outputs[i].index];
    if (infer.outputs[i].top_classes > 0) {
      absl::StatusOr<Tensor> classes = TopClasses(tensor, infer.outputs[i].top_classes);
      if (!classes.ok()) return classes.status();
      tensor = *std::move(classes);
    }
    json += fmt::format("{}{{\"name\":{},\"datatype\":\"{}\",\"shape\":[{}],", i > 0 ? "," : "",
                        JsonQuote(signature.outputs[infer.outputs[i].index].name),
                        InferenceType(tensor.dtype()), fmt::join(tensor.shape().dims(), ","));
    if (infer.binary[i]) {
      any_binary = true;
      const size_t before = binary.size();
      AppendRaw(tensor, &binary);
      json += fmt::format("\"parameters\":{{\"binary_data_size\":{}}}}}", binary.size() - before);
    } else {
      json += "\"data\":";
      AppendJson(tensor, {tensor.num_elements()}, 0, /*base64=*/false, &json);
      json += '}';
    }
  }
  json += "]}";
  HttpResponse response;
  if (any_binary) {
    response.headers.emplace_back("Inference-Header-Content-Length",
                                  fmt::format("{}", json.size()));
    response.content_type = "application/octet-stream";
  }
  response.body = std::move(json) + binary;
  return response;
}

}  // namespace

absl::StatusOr<HttpResponse> AnswerInfer(const ServiceContext& context, const Served& served,
                                         const HttpRequest& request) {
  simdjson::dom::parser parser;
  Infer infer;
  absl::Status status =
      DecodeBody(context, served->servable->signature(), request, &parser, &infer);
  if (!status.ok()) return status;
  const absl::StatusOr<Outputs> outputs =
      context.inference->RunAndWait(served, std::move(infer.request));
  if (!outputs.ok()) return outputs.status();
  return EncodeBody(served, infer, *outputs);
}

}  // namespace h5serve::server
