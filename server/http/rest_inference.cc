// The Open Inference Protocol's REST API, with its binary extension.
#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/time/clock.h"
#include "server/grpc/inference_service.h"
#include "server/http/pages.h"
#include "server/rpc.h"

namespace h5serve::server {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> SplitPath(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const size_t end = std::min(path.find('/'), path.size());
    parts.emplace_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  return parts;
}

HttpResponse JsonPage(const Json& json) {
  return server::JsonPage(json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Json TensorsJson(
    const google::protobuf::RepeatedPtrField<inference::ModelMetadataResponse::TensorMetadata>&
        tensors) {
  Json list = Json::array();
  for (const auto& tensor : tensors) {
    list.push_back({{"name", tensor.name()},
                    {"datatype", tensor.datatype()},
                    {"shape", std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end())}});
  }
  return list;
}

Json ServerMetadataJson(const ServiceContext& context) {
  inference::ServerMetadataResponse metadata;
  FillServerMetadata(*context.options, &metadata);
  return {{"name", metadata.name()},
          {"version", metadata.version()},
          {"extensions",
           std::vector<std::string>(metadata.extensions().begin(), metadata.extensions().end())}};
}

Json ModelMetadataJson(const ServiceContext& context, const Served& served) {
  inference::ModelMetadataResponse metadata;
  FillModelMetadata(*context.store, served, &metadata);
  return {{"name", metadata.name()},
          {"versions",
           std::vector<std::string>(metadata.versions().begin(), metadata.versions().end())},
          {"platform", metadata.platform()},
          {"inputs", TensorsJson(metadata.inputs())},
          {"outputs", TensorsJson(metadata.outputs())}};
}

// Proto JSON has 64-bit integers as strings: numbers again, where they are such.
void NumbersAgain(Json* json) {
  if (json->is_structured()) {
    for (Json& member : *json) NumbersAgain(&member);
    return;
  }
  if (!json->is_string()) return;
  const std::string& text = json->get_ref<const std::string&>();
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (!text.empty() && error == std::errc() && end == text.data() + text.size()) *json = number;
}

Json ProtoJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) return {};
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

Json ModelConfigJson(const ServiceContext& context, const Served& served) {
  inference::ModelConfig config;
  FillModelConfig(*context.manager, served, &config);
  Json json = ProtoJson(config);
  for (const char* part :
       {"input", "output", "instance_group", "version_policy", "dynamic_batching"}) {
    if (!json.contains(part)) continue;
    Json& section = json[part];
    if (!section.is_array()) {
      NumbersAgain(&section);
      continue;
    }
    for (Json& item : section) {
      if (item.contains("dims")) NumbersAgain(&item["dims"]);
    }
  }
  return json;
}

absl::StatusOr<Json> StatisticsJson(const ServiceContext& context, const std::string& name,
                                    const std::string& version) {
  inference::ModelStatisticsResponse response;
  if (absl::Status status = FillStatistics(context, name, version, &response); !status.ok()) {
    return status;
  }
  Json json = ProtoJson(response);
  for (Json& model : json["model_stats"]) {
    for (auto& [key, value] : model.items()) {
      if (key != "name" && key != "version") NumbersAgain(&value);
    }
  }
  return json;
}

absl::StatusOr<HttpResponse> AnswerRepository(const ServiceContext& context,
                                              const std::vector<std::string>& parts) {
  if (parts.size() == 3 && parts[2] == "index") {
    inference::RepositoryIndexResponse index;
    FillRepositoryIndex(*context.manager, false, &index);
    Json list = Json::array();
    for (const auto& entry : index.models()) {
      Json item = {{"name", entry.name()}, {"version", entry.version()}, {"state", entry.state()}};
      if (!entry.reason().empty()) item["reason"] = entry.reason();
      list.push_back(std::move(item));
    }
    return JsonPage(list);
  }
  const bool load = parts.size() == 5 && parts[2] == "models" && parts[4] == "load";
  const bool unload = parts.size() == 5 && parts[2] == "models" && parts[4] == "unload";
  if (!load && !unload) return absl::NotFoundError("no such repository call");
  if (!context.options->enable_admin) {
    return absl::UnavailableError(
        "explicit model load / unload is not allowed if polling is enabled; start the server with "
        "--enable-admin to allow it");
  }
  const absl::Status status =
      load ? context.manager->Load(parts[3],
                                   absl::Now() + absl::FromChrono(context.options->http.timeout))
           : context.manager->Unload(parts[3]);
  if (status.ok()) return server::JsonPage("{}");
  return absl::Status(status.code(), fmt::format("failed to {} '{}', {}", load ? "load" : "unload",
                                                 parts[3], std::string(status.message())));
}

// /v2/models/NAME[/versions/V][/what]
struct ModelPath {
  std::string name, version, what;
};

std::optional<ModelPath> ParseModelPath(const std::vector<std::string>& parts) {
  if (parts.size() < 3 || parts[1] != "models" || parts[2].empty()) return std::nullopt;
  ModelPath path{parts[2], "", ""};
  size_t next = 3;
  if (parts.size() > 4 && parts[3] == "versions") {
    path.version = parts[4];
    next = 5;
  }
  if (parts.size() > next) path.what = parts[next++];
  if (parts.size() > next) return std::nullopt;
  return path;
}

absl::StatusOr<HttpResponse> AnswerModel(const ServiceContext& context, const ModelPath& path,
                                         const HttpRequest& request, Served* served) {
  absl::StatusOr<Served> found = context.inference->Find(path.name, path.version);
  if (path.what == "ready") {
    HttpResponse response;
    response.status = found.ok() ? 200 : 400;
    return response;
  }
  if (!found.ok()) return found.status();
  *served = *found;
  if (path.what.empty()) return JsonPage(ModelMetadataJson(context, *served));
  if (path.what == "config") return JsonPage(ModelConfigJson(context, *served));
  if (path.what == "infer") return AnswerInfer(context, *served, request);
  if (path.what == "stats") {
    const absl::StatusOr<Json> json = StatisticsJson(context, path.name, path.version);
    if (!json.ok()) return json.status();
    return JsonPage(*json);
  }
  return absl::NotFoundError(fmt::format(
      "no such call: /{}; there are ready, infer, config and stats", path.what.substr(0, 100)));
}

HttpResponse Health(bool good) {
  HttpResponse response;
  response.status = good ? 200 : 400;
  return response;
}

}  // namespace

HttpResponse AnswerInference(const ServiceContext& context, const HttpRequest& request) {
  const std::vector<std::string> parts = SplitPath(request.path);
  const bool repository = parts.size() > 1 && parts[1] == "repository";
  const std::optional<ModelPath> path = ParseModelPath(parts);
  const bool posts = repository || (path && path->what == "infer");
  if (auto wrong = WrongMethod(request, posts ? "POST" : "GET")) return *wrong;
  if (request.path == "/v2" || request.path == "/v2/") {
    return JsonPage(ServerMetadataJson(context));
  }
  if (request.path == "/v2/health/live") return Health(true);
  if (request.path == "/v2/health/ready") return Health(context.ready());

  const absl::Time started = absl::Now();
  Served served;
  absl::StatusOr<HttpResponse> response = absl::NotFoundError("no such call of /v2");
  std::string method = "v2";
  if (request.path == "/v2/models/stats") {
    const absl::StatusOr<Json> json = StatisticsJson(context, "", "");
    response = json.ok() ? absl::StatusOr<HttpResponse>(JsonPage(*json)) : json.status();
    method = "v2/stats";
  } else if (repository) {
    response = AnswerRepository(context, parts);
    method = "v2/repository";
  } else if (path) {
    response = AnswerModel(context, *path, request, &served);
    method = posts ? "v2/infer" : "v2/model";
  }
  context.metrics->OnRequest(served ? std::string_view(served->name) : std::string_view(),
                             served ? served->version : -1, method,
                             CodeName(response.status().code()), absl::Now() - started);
  return response.ok() ? *std::move(response) : JsonError(response.status());
}

}  // namespace h5serve::server
