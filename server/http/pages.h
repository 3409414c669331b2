// Everything the HTTP port answers.
#pragma once

#include <optional>
#include <string_view>

#include "server/grpc/service_context.h"
#include "server/http/http_server.h"

namespace h5serve::server {

// Finds the page of a request. Thread-safe.
class Pages {
 public:
  explicit Pages(const ServiceContext& context) : context_(context) {}

  HttpResponse Answer(const HttpRequest& request) const;

 private:
  HttpResponse Route(const HttpRequest& request) const;
  bool Allowed(const HttpRequest& request) const;
  HttpResponse Status() const;

  const ServiceContext context_;
};

// {"error": message} under an HTTP status.
HttpResponse JsonError(int status, std::string_view message);
// The same for a status of ours, with the HTTP code that fits.
HttpResponse JsonError(const absl::Status& status);
HttpResponse JsonPage(std::string body);
// OK when the method is `expected`, else 405.
std::optional<HttpResponse> WrongMethod(const HttpRequest& request, std::string_view expected);

// TensorFlow Serving's REST below /v1/, rest_tensorflow.cc.
HttpResponse AnswerTensorFlow(const ServiceContext& context, const HttpRequest& request);
// The Open Inference Protocol's below /v2, rest_inference.cc.
HttpResponse AnswerInference(const ServiceContext& context, const HttpRequest& request);
// Its inference calls, rest_infer.cc.
absl::StatusOr<HttpResponse> AnswerInfer(const ServiceContext& context, const Served& served,
                                         const HttpRequest& request);
// The page for people, status_page.cc.
std::string_view StatusPage();

}  // namespace h5serve::server
