// A small HTTP/1.1 server: one handler for all requests.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace h5serve::server {

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // decoded, without the query
  std::string query;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;

  // The header's value, or "".
  std::string_view Header(std::string_view lower_case_name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

// Called on several threads at once. What it throws becomes status 500.
using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

struct HttpServerOptions {
  std::string listen;  // "127.0.0.1:8501", "[::]:8501", ":8501"; port 0: any free one
  int threads = 8;
  int64_t max_body_bytes = int64_t{64} << 20;
  std::chrono::milliseconds timeout{30000};
};

// Thread-safe. Destruction waits for running requests, about a second.
class HttpServer {
 public:
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpServerOptions& options,
                                                           HttpHandler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  int port() const;

 private:
  struct State;
  explicit HttpServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace h5serve::server
