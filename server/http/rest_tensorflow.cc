// TensorFlow Serving's REST API.
#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <charconv>
#include <optional>

#include "absl/time/clock.h"
#include "server/grpc/model_service.h"
#include "server/http/pages.h"
#include "server/json_tensor.h"
#include "server/results.h"
#include "server/rpc.h"
#include "server/tensor_codec.h"
#include "server/wire_types.h"

namespace h5serve::server {
namespace {

using compute::Tensor;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr int64_t kMaxTensorBytes = int64_t{256} << 20;

// /v1/models/NAME[/versions/N|/labels/L][/metadata|:verb]
struct Target {
  model::ModelSelector selector;
  std::string verb;  // "", "metadata", "predict", "classify", "regress"
};

absl::StatusOr<Target> ParsePath(std::string_view path) {
  const absl::Status malformed = absl::NotFoundError(fmt::format(
      "Malformed request: {}: expected /v1/models/NAME[/versions/N|/labels/L][/metadata] or a "
      "POST with :predict, :classify or :regress at the end",
      path.substr(0, 500)));
  constexpr std::string_view kPrefix = "/v1/models/";
  if (path.size() <= kPrefix.size() || path.substr(3, 8) != kPrefix.substr(3)) return malformed;
  path.remove_prefix(kPrefix.size());
  Target target;
  if (const size_t colon = path.rfind(':'); colon != std::string_view::npos) {
    target.verb = std::string(path.substr(colon + 1));
    path = path.substr(0, colon);
    if (target.verb != "predict" && target.verb != "classify" && target.verb != "regress") {
      return malformed;
    }
  } else if (path.ends_with("/metadata")) {
    target.verb = "metadata";
    path.remove_suffix(9);
  }
  const size_t slash = path.find('/');
  target.selector.name = std::string(path.substr(0, slash));
  if (target.selector.name.empty()) return malformed;
  if (slash == std::string_view::npos) return target;
  path.remove_prefix(slash);
  if (path.starts_with("/versions/")) {
    path.remove_prefix(10);
    int64_t version = 0;
    const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), version);
    if (error != std::errc() || end != path.data() + path.size()) return malformed;
    target.selector.version = version;
    return target;
  }
  if (path.starts_with("/labels/") && path.size() > 8) {
    target.selector.label = std::string(path.substr(8));
    return target;
  }
  return malformed;
}

std::string ProtoJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  return status.ok() ? json : "{}";
}

bool IsBase64(element value) {
  object members;
  return value.get_object().get(members) == simdjson::SUCCESS && members.size() == 1 &&
         members["b64"].error() == simdjson::SUCCESS;
}

// Tensors of "inputs": one value, or an object with a value for each input.
absl::StatusOr<std::vector<Tensor>> ColumnInputs(const model::Signature& signature, element value) {
  object members;
  const bool named = value.get_object().get(members) == simdjson::SUCCESS && !IsBase64(value);
  if (!named && signature.inputs.size() != 1) {
    return absl::InvalidArgumentError(
        fmt::format("inputs must be an object with a member for each of the {} inputs",
                    signature.inputs.size()));
  }
  if (named) {
    std::vector<std::string_view> names;
    for (const auto& [name, ignored] : members) names.push_back(name);
    if (absl::Status status = CheckInputNames(signature, names); !status.ok()) return status;
  }
  std::vector<Tensor> tensors;
  for (const model::TensorSpec& spec : signature.inputs) {
    const element one = named ? members[spec.name].value_unsafe() : value;
    absl::StatusOr<Tensor> tensor = TensorFromJson(one, spec.dtype, kMaxTensorBytes, &spec.shape);
    if (!tensor.ok()) return AboutInput(spec.name, tensor.status());
    tensors.push_back(*std::move(tensor));
  }
  return tensors;
}

// Tensors of "instances" whose entries are objects: entry i is row i.
absl::StatusOr<std::vector<Tensor>> NamedRows(const model::Signature& signature,
                                              const std::vector<object>& entries) {
  for (const object& entry : entries) {
    std::vector<std::string_view> names;
    for (const auto& [name, ignored] : entry) names.push_back(name);
    if (absl::Status status = CheckInputNames(signature, names); !status.ok()) return status;
  }
  std::vector<Tensor> tensors;
  for (const model::TensorSpec& spec : signature.inputs) {
    const absl::StatusOr<compute::Shape> row = JsonShape(entries[0][spec.name].value_unsafe());
    if (!row.ok()) return AboutInput(spec.name, row.status());
    std::vector<int64_t> dims = {static_cast<int64_t>(entries.size())};
    for (int64_t dim : *row) dims.push_back(dim);
    const absl::StatusOr<compute::Shape> shape =
        DecodeShape(dims, spec.dtype, kMaxTensorBytes, &spec.shape);
    if (!shape.ok()) return AboutInput(spec.name, shape.status());
    Tensor tensor = Tensor::Allocate(spec.dtype, *shape);
    const int64_t width = tensor.num_elements() / static_cast<int64_t>(entries.size());
    for (size_t i = 0; i < entries.size(); ++i) {
      const absl::Status status = FillTensor(entries[i][spec.name].value_unsafe(), *row,
                                             static_cast<int64_t>(i) * width, &tensor);
      if (!status.ok()) return AboutInput(spec.name, status);
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

absl::StatusOr<std::vector<Tensor>> RowInputs(const model::Signature& signature, element value) {
  simdjson::dom::array list;
  if (value.get_array().get(list) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("instances must be a list");
  }
  std::vector<object> entries;
  int64_t count = 0;
  for (element entry : list) {
    ++count;
    object members;
    if (entry.get_object().get(members) == simdjson::SUCCESS && !IsBase64(entry)) {
      entries.push_back(members);
    }
  }
  if (count == 0) return absl::InvalidArgumentError("instances is an empty list");
  if (entries.empty()) {
    if (signature.inputs.size() != 1) {
      return absl::InvalidArgumentError(
          fmt::format("each instance must be an object with a member for each of the {} inputs",
                      signature.inputs.size()));
    }
    return ColumnInputs(signature, value);
  }
  if (static_cast<int64_t>(entries.size()) != count) {
    return absl::InvalidArgumentError("some instances are objects and some are not");
  }
  return NamedRows(signature, entries);
}

bool PrintsBase64(const model::TensorSpec& spec) { return spec.name.ends_with("_bytes"); }

absl::StatusOr<std::string> RowOutputs(const model::Signature& signature, const Outputs& outputs) {
  const int64_t rows = outputs[0].shape().rank() > 0 ? outputs[0].shape()[0] : 0;
  for (const Tensor& output : outputs) {
    if (output.shape().rank() > 0 && output.shape()[0] == rows && rows > 0) continue;
    return absl::InvalidArgumentError(
        "the outputs have no row for each instance; use \"inputs\" instead of \"instances\"");
  }
  std::string json = "{\n    \"predictions\": [";
  for (int64_t row = 0; row < rows; ++row) {
    json += row > 0 ? ", " : "";
    if (outputs.size() > 1) json += '{';
    for (size_t i = 0; i < outputs.size(); ++i) {
      const model::TensorSpec& spec = signature.outputs[i];
      if (outputs.size() > 1) {
        json += fmt::format("{}{}: ", i > 0 ? ", " : "", JsonQuote(spec.name));
      }
      const compute::Shape shape = outputs[i].shape().Slice(1, outputs[i].shape().rank());
      AppendJson(outputs[i], shape, row * shape.num_elements(), PrintsBase64(spec), &json);
    }
    if (outputs.size() > 1) json += '}';
  }
  return json + "\n    ]\n}";
}

std::string ColumnOutputs(const model::Signature& signature, const Outputs& outputs) {
  std::string json = "{\n    \"outputs\": ";
  if (outputs.size() > 1) json += '{';
  for (size_t i = 0; i < outputs.size(); ++i) {
    const model::TensorSpec& spec = signature.outputs[i];
    if (outputs.size() > 1) json += fmt::format("{}{}: ", i > 0 ? ", " : "", JsonQuote(spec.name));
    AppendJson(outputs[i], outputs[i].shape(), 0, PrintsBase64(spec), &json);
  }
  if (outputs.size() > 1) json += '}';
  return json + "\n}";
}

absl::Status CheckSignatureName(const object& body) {
  element value;
  if (body["signature_name"].get(value) != simdjson::SUCCESS) return absl::OkStatus();
  std::string_view name;
  if (value.get_string().get(name) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("signature_name must be a string");
  }
  if (name.empty() || name == "serving_default") return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("Serving signature key \"{}\" not found.", name.substr(0, 200)));
}

InferenceRequest MakeRequest(const ServiceContext& context, std::vector<Tensor> inputs) {
  InferenceRequest request;
  request.inputs = std::move(inputs);
  request.deadline = absl::Now() + absl::FromChrono(context.options->http.timeout);
  return request;
}

absl::StatusOr<std::string> Predict(const ServiceContext& context, const Served& served,
                                    const object& body) {
  element instances, columns;
  const bool rows = body["instances"].get(instances) == simdjson::SUCCESS;
  const bool named = body["inputs"].get(columns) == simdjson::SUCCESS;
  if (rows == named) {
    return absl::InvalidArgumentError("the body must have either \"instances\" or \"inputs\"");
  }
  const model::Signature& signature = served->servable->signature();
  absl::StatusOr<std::vector<Tensor>> inputs =
      rows ? RowInputs(signature, instances) : ColumnInputs(signature, columns);
  if (!inputs.ok()) return inputs.status();
  const absl::StatusOr<Outputs> outputs =
      context.inference->RunAndWait(served, MakeRequest(context, *std::move(inputs)));
  if (!outputs.ok()) return outputs.status();
  if (rows) return RowOutputs(signature, *outputs);
  return ColumnOutputs(signature, *outputs);
}

// A feature of an example: a value or a list of values.
absl::Status AddFeature(std::string_view name, element value, tensorflow::Example* example) {
  tensorflow::Feature& feature =
      (*example->mutable_features()->mutable_feature())[std::string(name)];
  std::vector<element> values;
  simdjson::dom::array list;
  if (value.get_array().get(list) == simdjson::SUCCESS) {
    for (element item : list) values.push_back(item);
  } else {
    values.push_back(value);
  }
  for (element item : values) {
    int64_t integer = 0;
    double number = 0;
    std::string_view text;
    if (item.get_int64().get(integer) == simdjson::SUCCESS && !feature.has_float_list()) {
      feature.mutable_int64_list()->add_value(integer);
    } else if (item.get_double().get(number) == simdjson::SUCCESS) {
      // Integers before the first fraction were floats after all.
      std::vector<int64_t> before(feature.int64_list().value().begin(),
                                  feature.int64_list().value().end());
      for (int64_t one : before) {
        feature.mutable_float_list()->add_value(static_cast<float>(one));
      }
      feature.mutable_float_list()->add_value(static_cast<float>(number));
    } else if (item.get_string().get(text) == simdjson::SUCCESS) {
      feature.mutable_bytes_list()->add_value(text.data(), text.size());
    } else if (object members; item.get_object().get(members) == simdjson::SUCCESS &&
                               members["b64"].get_string().get(text) == simdjson::SUCCESS) {
      absl::StatusOr<std::string> bytes = FromBase64(text);
      if (!bytes.ok()) return bytes.status();
      feature.mutable_bytes_list()->add_value(*std::move(bytes));
    } else {
      return absl::InvalidArgumentError(
          fmt::format("feature {}: expected numbers or strings", name.substr(0, 100)));
    }
  }
  return absl::OkStatus();
}

// JSON tells no integer from a float without fraction: where the model wants
// floats, integers are meant as such.
void IntegersToFloats(const model::Signature& signature, tensorflow::Example* example) {
  for (const model::TensorSpec& spec : signature.inputs) {
    if (spec.dtype != compute::DType::kFloat32) continue;
    const auto found = example->mutable_features()->mutable_feature()->find(spec.name);
    if (found == example->mutable_features()->mutable_feature()->end()) continue;
    if (!found->second.has_int64_list()) continue;
    const tensorflow::Int64List integers = found->second.int64_list();
    for (int64_t value : integers.value()) {
      found->second.mutable_float_list()->add_value(static_cast<float>(value));
    }
  }
}

absl::StatusOr<tensorflow::serving::Input> ParseExamples(const model::Signature& signature,
                                                         const object& body) {
  simdjson::dom::array list;
  if (body["examples"].get_array().get(list) != simdjson::SUCCESS) {
    return absl::InvalidArgumentError("the body must have a list \"examples\"");
  }
  tensorflow::serving::Input input;
  auto* target = input.mutable_example_list_with_context();
  const auto add = [&](element value, tensorflow::Example* example) -> absl::Status {
    object features;
    if (value.get_object().get(features) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError("each example must be an object of features");
    }
    for (const auto& [name, feature] : features) {
      if (absl::Status status = AddFeature(name, feature, example); !status.ok()) return status;
    }
    IntegersToFloats(signature, example);
    return absl::OkStatus();
  };
  for (element value : list) {
    if (absl::Status status = add(value, target->add_examples()); !status.ok()) return status;
  }
  element context;
  if (body["context"].get(context) == simdjson::SUCCESS) {
    if (absl::Status status = add(context, target->mutable_context()); !status.ok()) return status;
  }
  return input;
}

absl::StatusOr<std::string> RunExamples(const ServiceContext& context, const Served& served,
                                        const object& body, bool classify) {
  const model::Signature& signature = served->servable->signature();
  const absl::StatusOr<tensorflow::serving::Input> input = ParseExamples(signature, body);
  if (!input.ok()) return input.status();
  absl::StatusOr<std::vector<Tensor>> inputs = DecodeExamples(signature, *input, kMaxTensorBytes);
  if (!inputs.ok()) return inputs.status();
  const absl::StatusOr<Outputs> outputs =
      context.inference->RunAndWait(served, MakeRequest(context, *std::move(inputs)));
  if (!outputs.ok()) return outputs.status();
  tensorflow::serving::ClassificationResult classes;
  tensorflow::serving::RegressionResult values;
  const absl::Status status = classify ? FillClassification(signature, *outputs, &classes)
                                       : FillRegression(signature, *outputs, &values);
  if (!status.ok()) return status;
  std::string json = "{\n    \"results\": [";
  for (int row = 0; row < classes.classifications_size(); ++row) {
    json += row > 0 ? ", [" : "[";
    for (int i = 0; i < classes.classifications(row).classes_size(); ++i) {
      const auto& one = classes.classifications(row).classes(i);
      json += fmt::format("{}[{}, ", i > 0 ? ", " : "", JsonQuote(one.label()));
      AppendJson(Tensor::Scalar(one.score()), {}, 0, false, &json);
      json += ']';
    }
    json += ']';
  }
  for (int row = 0; row < values.regressions_size(); ++row) {
    json += row > 0 ? ", " : "";
    AppendJson(Tensor::Scalar(values.regressions(row).value()), {}, 0, false, &json);
  }
  return json + "]\n}";
}

absl::StatusOr<std::string> AnswerStatus(const ServiceContext& context, const Target& target) {
  std::optional<int64_t> version = target.selector.version;
  if (!target.selector.label.empty()) {
    const absl::StatusOr<Served> served = context.inference->Find(target.selector);
    if (!served.ok()) return served.status();
    version = (*served)->version;
  }
  tensorflow::serving::GetModelStatusResponse response;
  const absl::Status status =
      FillModelStatus(*context.manager, target.selector.name, version, &response);
  if (!status.ok()) return status;
  return ProtoJson(response);
}

absl::StatusOr<std::string> AnswerMetadata(const Served& served) {
  tensorflow::serving::SignatureDefMap signatures;
  EncodeSignature(served->servable->signature(),
                  &(*signatures.mutable_signature_def())["serving_default"]);
  return fmt::format(
      "{{\n\"model_spec\":{{\n \"name\": {},\n \"signature_name\": \"\",\n \"version\": \"{}\"\n"
      "}},\n\"metadata\": {{\"signature_def\": {}}}\n}}",
      JsonQuote(served->name), served->version, ProtoJson(signatures));
}

}  // namespace

HttpResponse AnswerTensorFlow(const ServiceContext& context, const HttpRequest& request) {
  const absl::StatusOr<Target> target = ParsePath(request.path);
  if (!target.ok()) return JsonError(target.status());
  const bool asks = target->verb.empty() || target->verb == "metadata";
  if (auto wrong = WrongMethod(request, asks ? "GET" : "POST")) return *wrong;
  const absl::Time started = absl::Now();
  Served served;
  const auto answer = [&]() -> absl::StatusOr<std::string> {
    if (target->verb.empty()) return AnswerStatus(context, *target);
    absl::StatusOr<Served> found = context.inference->Find(target->selector);
    if (!found.ok()) return found.status();
    served = *std::move(found);
    if (target->verb == "metadata") return AnswerMetadata(served);
    simdjson::dom::parser parser;
    const absl::StatusOr<element> document = ParseJsonDocument(request.body, &parser);
    if (!document.ok()) return document.status();
    object body;
    if (document->get_object().get(body) != simdjson::SUCCESS) {
      return absl::InvalidArgumentError("the body must be a JSON object");
    }
    if (absl::Status status = CheckSignatureName(body); !status.ok()) return status;
    if (target->verb == "predict") return Predict(context, served, body);
    return RunExamples(context, served, body, target->verb == "classify");
  };
  const absl::StatusOr<std::string> json = answer();
  context.metrics->OnRequest(served ? std::string_view(served->name) : std::string_view(),
                             served ? served->version : -1,
                             "rest/" + (target->verb.empty() ? "status" : target->verb),
                             CodeName(json.status().code()), absl::Now() - started);
  return json.ok() ? JsonPage(*json) : JsonError(json.status());
}

}  // namespace h5serve::server
