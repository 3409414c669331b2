#include "server/http/pages.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/time/clock.h"
#include "server/version.h"

namespace h5serve::server {
namespace {

using Json = nlohmann::json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

HttpResponse Text(int status, std::string body) {
  return {status, "text/plain; charset=utf-8", std::move(body), {}};
}

int HttpCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return 200;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kCancelled:
      return 499;
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

Json Tensors(const std::vector<model::TensorSpec>& specs) {
  Json list = Json::array();
  for (const model::TensorSpec& spec : specs) {
    list.push_back({{"name", spec.name},
                    {"dtype", compute::Name(spec.dtype)},
                    {"shape", std::vector<int64_t>(spec.shape.begin(), spec.shape.end())}});
  }
  return list;
}

Json Diagnoses(const model::DiagnosisList& diagnoses) {
  Json list = Json::array();
  for (const model::Diagnosis& diagnosis : diagnoses.items()) {
    list.push_back({{"code", Name(diagnosis.code)},
                    {"severity", Name(diagnosis.severity)},
                    {"message", diagnosis.message},
                    {"layer", diagnosis.where.layer},
                    {"remedies", diagnosis.remedies}});
  }
  return list;
}

}  // namespace

HttpResponse JsonError(int status, std::string_view message) {
  HttpResponse response;
  response.status = status;
  response.body = fmt::format("{{\"error\":{}}}\n", JsonQuote(message));
  return response;
}

HttpResponse JsonError(const absl::Status& status) {
  HttpResponse response = JsonError(HttpCode(status.code()), std::string(status.message()));
  if (absl::IsResourceExhausted(status)) response.headers.emplace_back("Retry-After", "1");
  return response;
}

HttpResponse JsonPage(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  return response;
}

std::optional<HttpResponse> WrongMethod(const HttpRequest& request, std::string_view expected) {
  if (request.method == expected || (expected == "GET" && request.method == "HEAD")) {
    return std::nullopt;
  }
  HttpResponse response =
      JsonError(405, fmt::format("{} takes {}, not {}", request.path, expected, request.method));
  response.headers.emplace_back("Allow", std::string(expected));
  return response;
}

bool Pages::Allowed(const HttpRequest& request) const {
  const std::string& file = context_.options->http.token_file;
  if (file.empty() || request.path == "/livez" || request.path == "/readyz") return true;
  // Read every time, so that a new token holds at once; without one nobody is let in.
  std::ifstream stream(file);
  std::string token((std::istreambuf_iterator<char>(stream)), {});
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  const std::string expected = "Bearer " + token;
  const std::string_view given = request.Header("authorization");
  return !token.empty() && given.size() == expected.size() &&
         CRYPTO_memcmp(given.data(), expected.data(), expected.size()) == 0;
}

HttpResponse Pages::Status() const {
  const model::Readiness readiness = context_.manager->readiness();
  nlohmann::json status = {{"server", "h5serve"},
                           {"version", kVersion},
                           {"ready", context_.ready()},
                           {"reason", readiness.reason},
                           {"missing", readiness.missing},
                           {"memory_used_bytes", context_.manager->memory_used_bytes()},
                           {"memory_limit_bytes", context_.manager->memory_limit_bytes()},
                           {"models", nlohmann::json::array()}};
  std::map<std::pair<std::string, int64_t>, Served> served;
  for (const Served& one : context_.store->All()) served[{one->name, one->version}] = one;
  for (const model::VersionStatus& version : context_.manager->StatusOfAll()) {
    const VersionStatistics counts = context_.statistics->Get(version.model, version.version);
    nlohmann::json entry = {
        {"name", version.model},
        {"state", Name(version.state)},
        {"since", absl::FormatTime(absl::RFC3339_sec, version.since, absl::UTCTimeZone())},
        {"path", version.path},
        {"keras_version", version.facts.keras_version},
        {"backend", version.facts.backend},
        {"sha256", version.facts.sha256},
        {"parameters", version.facts.parameters},
        {"memory_bytes", version.facts.memory_bytes},
        {"requests", counts.success.count},
        {"failures", counts.fail.count},
        {"diagnoses", Diagnoses(version.diagnoses)}};
    if (version.version != model::kNoVersion) entry["version"] = version.version;
    if (version.replacement) entry["replacement"] = Name(*version.replacement);
    const auto found = served.find({version.model, version.version});
    if (found != served.end()) {
      const model::Signature& signature = found->second->servable->signature();
      entry["inputs"] = Tensors(signature.inputs);
      entry["outputs"] = Tensors(signature.outputs);
      entry["waiting_rows"] = found->second->queue->waiting_rows();
    }
    status["models"].push_back(std::move(entry));
  }
  return JsonPage(Dump(status));
}

HttpResponse Pages::Route(const HttpRequest& request) const {
  const std::string& path = request.path;
  if (path.starts_with("/v1/") || path.starts_with("/V1/")) {
    return AnswerTensorFlow(context_, request);
  }
  if (path == "/v2" || path.starts_with("/v2/")) return AnswerInference(context_, request);
  if (auto wrong = WrongMethod(request, "GET")) return *wrong;
  if (path == "/metrics" || path == "/monitoring/prometheus/metrics") {
    return {200, "text/plain; version=0.0.4; charset=utf-8", context_.metrics->Serialize(), {}};
  }
  if (path == "/livez") return Text(200, "ok\n");
  if (path == "/readyz") {
    if (context_.ready()) return Text(200, "ok\n");
    const std::string reason = context_.manager->readiness().reason;
    return Text(503, reason.empty() ? "shutting down\n" : reason + "\n");
  }
  if (path == "/status.json") return Status();
  if (path == "/") {
    return {200,
            "text/html; charset=utf-8",
            std::string(StatusPage()),
            {{"Content-Security-Policy",
              "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
              "connect-src 'self'"}}};
  }
  return JsonError(404,
                   "no such page: there are /, /status.json, /metrics, /livez, /readyz, "
                   "/v1/models/… and /v2/…");
}

HttpResponse Pages::Answer(const HttpRequest& request) const {
  if (!Allowed(request)) {
    HttpResponse response = JsonError(401, "a valid bearer token is needed");
    response.headers.emplace_back("WWW-Authenticate", "Bearer");
    return response;
  }
  return Route(request);
}

}  // namespace h5serve::server
