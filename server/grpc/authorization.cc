#include "server/grpc/authorization.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/time/clock.h"

namespace h5serve::server {
namespace {

using Json = nlohmann::json;
using Rule = AuthorizationPolicy::Rule;

constexpr absl::Duration kLookEvery = absl::Seconds(1);
constexpr size_t kMaxPolicyBytes = size_t{1} << 20;

absl::Status Wrong(std::string_view place, std::string_view expected) {
  return absl::InvalidArgumentError(
      fmt::format("authorization_policy: {} must be {}", place, expected));
}

absl::Status OnlyKeys(const Json& object, const std::string& place,
                      std::initializer_list<std::string_view> known) {
  if (!object.is_object()) return Wrong(place, "an object");
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return absl::InvalidArgumentError(
          fmt::format("authorization_policy: {} has an unknown key \"{}\"", place, key));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadStrings(const Json& object, const char* key, const std::string& place,
                         std::vector<std::string>* strings) {
  if (!object.contains(key)) return absl::OkStatus();
  const Json& list = object[key];
  const std::string at = fmt::format("{}.{}", place, key);
  if (!list.is_array()) return Wrong(at, "a list of strings");
  for (const Json& item : list) {
    if (!item.is_string()) return Wrong(at, "a list of strings");
    strings->push_back(item.get<std::string>());
  }
  return absl::OkStatus();
}

absl::Status ReadHeaders(const Json& request, const std::string& place, Rule* rule) {
  if (!request.contains("headers")) return absl::OkStatus();
  const std::string at = place + ".headers";
  if (!request["headers"].is_array()) return Wrong(at, "a list");
  for (const Json& header : request["headers"]) {
    if (absl::Status status = OnlyKeys(header, at, {"key", "values"}); !status.ok()) return status;
    if (!header.contains("key") || !header["key"].is_string())
      return Wrong(at + ".key", "a string");
    std::string key = header["key"].get<std::string>();
    std::transform(key.begin(), key.end(), key.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (key.empty() || key[0] == ':' || key.starts_with("grpc-") || key == "host") {
      return absl::InvalidArgumentError(
          fmt::format("authorization_policy: {} may not name \"{}\"", at, key));
    }
    std::vector<std::string> values;
    if (absl::Status status = ReadStrings(header, "values", at, &values); !status.ok()) {
      return status;
    }
    if (values.empty()) return Wrong(at + ".values", "a list of at least one string");
    rule->headers.emplace_back(std::move(key), std::move(values));
  }
  return absl::OkStatus();
}

absl::Status ReadRule(const Json& json, const std::string& place, Rule* rule) {
  if (absl::Status status = OnlyKeys(json, place, {"name", "source", "request"}); !status.ok()) {
    return status;
  }
  if (!json.contains("name") || !json["name"].is_string())
    return Wrong(place + ".name", "a string");
  rule->name = json["name"].get<std::string>();
  if (json.contains("source")) {
    const Json& source = json["source"];
    if (absl::Status status = OnlyKeys(source, place + ".source", {"principals"}); !status.ok()) {
      return status;
    }
    absl::Status status = ReadStrings(source, "principals", place + ".source", &rule->principals);
    if (!status.ok()) return status;
  }
  if (!json.contains("request")) return absl::OkStatus();
  const Json& request = json["request"];
  const std::string at = place + ".request";
  absl::Status status = OnlyKeys(request, at, {"paths", "headers"});
  if (status.ok()) status = ReadStrings(request, "paths", at, &rule->paths);
  if (status.ok()) status = ReadHeaders(request, at, rule);
  return status;
}

absl::Status ReadRules(const Json& policy, const char* key, std::vector<Rule>* rules) {
  if (!policy.contains(key)) return absl::OkStatus();
  if (!policy[key].is_array()) return Wrong(key, "a list of rules");
  for (const Json& json : policy[key]) {
    Rule rule;
    absl::Status status = ReadRule(json, fmt::format("{}[{}]", key, rules->size()), &rule);
    if (!status.ok()) return status;
    rules->push_back(std::move(rule));
  }
  return absl::OkStatus();
}

bool MatchesPattern(std::string_view pattern, std::string_view text) {
  if (pattern == "*") return !text.empty();
  if (pattern.ends_with('*')) return text.starts_with(pattern.substr(0, pattern.size() - 1));
  if (pattern.starts_with('*')) return text.ends_with(pattern.substr(1));
  return pattern == text;
}

bool MatchesAny(const std::vector<std::string>& patterns, std::string_view text) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [text](const std::string& pattern) { return MatchesPattern(pattern, text); });
}

bool MatchesPrincipal(const Rule& rule, const Caller& caller) {
  if (rule.principals.empty()) return true;
  for (const std::string& pattern : rule.principals) {
    // "*" is whoever is authenticated, "" whoever is not.
    if (pattern == "*" && caller.authenticated) return true;
    if (pattern.empty() && !caller.authenticated) return true;
    if (pattern.empty()) continue;
    for (const std::string& identity : caller.identities) {
      if (MatchesPattern(pattern, identity)) return true;
    }
  }
  return false;
}

bool Matches(const Rule& rule, const Caller& caller) {
  if (!rule.paths.empty() && !MatchesAny(rule.paths, caller.path)) return false;
  for (const auto& wanted : rule.headers) {
    const bool found =
        std::any_of(caller.headers.begin(), caller.headers.end(), [&](const auto& header) {
          return header.first == wanted.first && MatchesAny(wanted.second, header.second);
        });
    if (!found) return false;
  }
  return MatchesPrincipal(rule, caller);
}

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(fmt::format("authorization_policy: cannot read {}", path));
  std::string text(kMaxPolicyBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxPolicyBytes) {
    return absl::InvalidArgumentError("authorization_policy: larger than a policy can be");
  }
  return text;
}

Caller CallerOf(const grpc::CallbackServerContext& context, std::string_view path) {
  Caller caller;
  caller.path = path;
  const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
  if (auth != nullptr) {
    caller.authenticated = auth->IsPeerAuthenticated();
    for (const char* property : {"x509_subject_alternative_name", "x509_common_name"}) {
      for (const grpc::string_ref& value : auth->FindPropertyValues(property)) {
        caller.identities.emplace_back(value.data(), value.size());
      }
    }
  }
  for (const auto& [key, value] : context.client_metadata()) {
    caller.headers.emplace_back(std::string(key.data(), key.size()),
                                std::string(value.data(), value.size()));
  }
  return caller;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const AuthorizationPolicy>> AuthorizationPolicy::Parse(
    std::string_view json) {
  const Json policy = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (policy.is_discarded()) {
    return absl::InvalidArgumentError("authorization_policy: the file is not valid JSON");
  }
  absl::Status status = OnlyKeys(policy, "the policy", {"name", "deny_rules", "allow_rules"});
  if (!status.ok()) return status;
  if (!policy.contains("name") || !policy["name"].is_string()) return Wrong("name", "a string");
  auto result = std::make_shared<AuthorizationPolicy>();
  status = ReadRules(policy, "deny_rules", &result->deny_);
  if (status.ok()) status = ReadRules(policy, "allow_rules", &result->allow_);
  if (!status.ok()) return status;
  if (result->allow_.empty()) return Wrong("allow_rules", "a list of at least one rule");
  return std::shared_ptr<const AuthorizationPolicy>(std::move(result));
}

bool AuthorizationPolicy::Allows(const Caller& caller) const {
  const auto matches = [&caller](const Rule& rule) { return Matches(rule, caller); };
  if (std::any_of(deny_.begin(), deny_.end(), matches)) return false;
  return std::any_of(allow_.begin(), allow_.end(), matches);
}

absl::StatusOr<std::unique_ptr<Authorization>> Authorization::FromFile(std::string path, Log* log) {
  absl::StatusOr<std::string> text = ReadText(path);
  if (!text.ok()) return text.status();
  absl::StatusOr<std::shared_ptr<const AuthorizationPolicy>> policy =
      AuthorizationPolicy::Parse(*text);
  if (!policy.ok()) return policy.status();
  std::unique_ptr<Authorization> authorization(new Authorization(std::move(path), log));
  absl::MutexLock lock(&authorization->mutex_);
  authorization->policy_ = *std::move(policy);
  authorization->text_ = *std::move(text);
  authorization->looked_ = absl::Now();
  return authorization;
}

std::shared_ptr<const AuthorizationPolicy> Authorization::Current() {
  absl::MutexLock lock(&mutex_);
  const absl::Time now = absl::Now();
  if (now - looked_ < kLookEvery) return policy_;
  looked_ = now;
  absl::StatusOr<std::string> text = ReadText(path_);
  if (text.ok() && *text == text_) return policy_;
  absl::Status status = text.status();
  if (text.ok()) {
    // A text is judged once, whatever comes of it.
    text_ = *text;
    absl::StatusOr<std::shared_ptr<const AuthorizationPolicy>> policy =
        AuthorizationPolicy::Parse(*text);
    status = policy.status();
    if (policy.ok()) policy_ = *std::move(policy);
  }
  if (status.ok()) {
    log_->Info("authorization policy read again", {{"path", path_}});
  } else {
    log_->Error("the new authorization policy is refused, the old one kept",
                {{"path", path_}, {"error", std::string(status.message())}});
  }
  return policy_;
}

absl::Status Authorization::Check(const grpc::CallbackServerContext& context,
                                  std::string_view path) {
  if (Current()->Allows(CallerOf(context, path))) return absl::OkStatus();
  return absl::PermissionDeniedError("Unauthorized RPC request rejected.");
}

}  // namespace h5serve::server
