#include "server/http/http_server.h"

#include <civetweb.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <exception>

#include "server/log.h"

namespace h5serve::server {
namespace {

const char* Reason(int status) { return mg_get_response_code_text(nullptr, status); }

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

HttpResponse Error(int status, std::string_view message) {
  HttpResponse response;
  response.status = status;
  response.body = fmt::format("{{\"error\":{}}}\n", JsonQuote(message));
  return response;
}

// Reads the body, at most `limit` bytes of it. Returns 0, or the HTTP status
// that says what is wrong.
int ReadBody(mg_connection* connection, int64_t length, int64_t limit, std::string* body) {
  if (length > limit) return 413;
  if (length > 0) body->reserve(static_cast<size_t>(length));
  char buffer[65536];
  // Without a length, a body is chunked and ends by itself.
  while (length < 0 || static_cast<int64_t>(body->size()) < length) {
    const int read = mg_read(connection, buffer, sizeof buffer);
    if (read < 0) return 400;
    if (read == 0) break;
    if (static_cast<int64_t>(body->size()) + read > limit) return 413;
    body->append(buffer, static_cast<size_t>(read));
  }
  return length > 0 && static_cast<int64_t>(body->size()) < length ? 400 : 0;
}

// Reads what a client still sends of a body that was refused, within reason: it
// would otherwise see a broken connection instead of the answer.
void Discard(mg_connection* connection, int64_t length) {
  constexpr int64_t kMost = int64_t{64} << 20;
  char buffer[65536];
  for (int64_t left = length < 0 ? kMost : std::min(length, kMost); left > 0;) {
    const int read = mg_read(connection, buffer, sizeof buffer);
    if (read <= 0) break;
    left -= read;
  }
}

void Write(mg_connection* connection, const HttpResponse& response, bool head, bool close) {
  std::string text = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n"
      "X-Content-Type-Options: nosniff\r\n",
      response.status, Reason(response.status), response.content_type, response.body.size());
  for (const auto& [name, value] : response.headers) {
    text += fmt::format("{}: {}\r\n", name, value);
  }
  if (close) text += "Connection: close\r\n";
  text += "\r\n";
  if (!head) text += response.body;
  mg_write(connection, text.data(), text.size());
}

}  // namespace

std::string_view HttpRequest::Header(std::string_view lower_case_name) const {
  const auto found = headers.find(std::string(lower_case_name));
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

struct HttpServer::State {
  HttpServerOptions options;
  HttpHandler handler;
  mg_context* context = nullptr;
  std::string startup_error;

  HttpResponse Answer(const HttpRequest& request) const {
    try {
      return handler(request);
    } catch (const std::bad_alloc&) {
      return Error(503, "out of memory");
    } catch (const std::exception& error) {
      return Error(500, error.what());
    }
  }

  int Handle(mg_connection* connection) const {
    const mg_request_info* info = mg_get_request_info(connection);
    HttpRequest request;
    request.method = info->request_method;
    request.path = info->local_uri != nullptr ? info->local_uri : "";
    request.query = info->query_string != nullptr ? info->query_string : "";
    for (int i = 0; i < info->num_headers; ++i) {
      request.headers[Lower(info->http_headers[i].name)] = info->http_headers[i].value;
    }
    if (Lower(request.Header("expect")) == "100-continue") {
      mg_printf(connection, "HTTP/1.1 100 Continue\r\n\r\n");
    }
    const bool chunked = Lower(request.Header("transfer-encoding")) == "chunked";
    const int64_t length = chunked ? -1 : std::max<int64_t>(0, info->content_length);
    const bool head = request.method == "HEAD";
    const int problem = ReadBody(connection, length, options.max_body_bytes, &request.body);
    if (problem != 0) {
      const HttpResponse response = Error(
          problem, problem == 413
                       ? fmt::format("the body is larger than {} bytes", options.max_body_bytes)
                       : "the body ended early");
      // What is left of the body is not a request.
      Write(connection, response, head, /*close=*/true);
      Discard(connection, length < 0 ? length : length - std::ssize(request.body));
      mg_disable_connection_keep_alive(connection);
      return response.status;
    }
    const HttpResponse response = Answer(request);
    Write(connection, response, head, /*close=*/false);
    return response.status;
  }
};

HttpServer::HttpServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

HttpServer::~HttpServer() {
  if (state_->context != nullptr) mg_stop(state_->context);
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpServerOptions& options,
                                                              HttpHandler handler) {
  auto state = std::make_unique<State>();
  state->options = options;
  state->handler = std::move(handler);
  std::string port = options.listen;
  if (!port.empty() && port[0] == ':') port.erase(0, 1);
  const std::string threads = fmt::format("{}", options.threads);
  const std::string timeout = fmt::format("{}", options.timeout.count());
  const char* const settings[] = {"listening_ports",
                                  port.c_str(),
                                  "num_threads",
                                  threads.c_str(),
                                  "request_timeout_ms",
                                  timeout.c_str(),
                                  "enable_keep_alive",
                                  "yes",
                                  "keep_alive_timeout_ms",
                                  "15000",
                                  "tcp_nodelay",
                                  "1",
                                  nullptr};
  mg_callbacks callbacks{};
  callbacks.begin_request = [](mg_connection* connection) {
    const mg_request_info* info = mg_get_request_info(connection);
    return static_cast<const State*>(info->user_data)->Handle(connection);
  };
  callbacks.log_message = [](const mg_connection* connection, const char* message) {
    // Only what happens before listening is of interest; later lines are about
    // connections that broke.
    auto* owner = static_cast<State*>(mg_get_user_data(mg_get_context(connection)));
    if (owner != nullptr && owner->context == nullptr) owner->startup_error = message;
    return 1;
  };
  mg_init_library(0);
  state->context = mg_start(&callbacks, state.get(), const_cast<const char**>(settings));
  if (state->context == nullptr) {
    return absl::UnavailableError(fmt::format(
        "cannot listen for HTTP on {}: {}", options.listen,
        state->startup_error.empty() ? "is the address free and valid?" : state->startup_error));
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(state)));
}

int HttpServer::port() const {
  mg_server_port ports[8] = {};
  const int count = mg_get_server_ports(state_->context, 8, ports);
  return count > 0 ? ports[0].port : 0;
}

}  // namespace h5serve::server
