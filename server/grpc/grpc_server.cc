#include "server/grpc/grpc_server.h"

#include <fmt/format.h>
#include <google/protobuf/stubs/logging.h>
#include <grpcpp/ext/channelz_service_plugin.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "server/grpc/credentials.h"
#include "server/grpc/inference_service.h"
#include "server/grpc/model_service.h"
#include "server/grpc/prediction_service.h"

namespace h5serve::server {
namespace {

// Names under which clients ask for the health of the server's services.
constexpr const char* kServices[] = {"",
                                     "tensorflow.serving.PredictionService",
                                     "tensorflow.serving.ModelService",
                                     "inference.GRPCInferenceService",
                                     "PredictionService",
                                     "ModelService"};

int Milliseconds(std::chrono::milliseconds duration) {
  return static_cast<int>(std::min<int64_t>(duration.count(), std::numeric_limits<int>::max()));
}

void SetChannelArguments(const config::ConnectionOptions& options, grpc::ServerBuilder* builder) {
  const int message = static_cast<int>(
      std::min<int64_t>(options.max_message_bytes, std::numeric_limits<int>::max()));
  builder->SetMaxReceiveMessageSize(message);
  builder->SetMaxSendMessageSize(message);
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(options.keepalive_time));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                              Milliseconds(options.keepalive_timeout));
  // Clients behind load balancers ping idle connections: that is no abuse.
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              Milliseconds(options.min_client_ping_interval));
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  if (options.max_age.count() > 0) {
    builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, Milliseconds(options.max_age));
    builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
                                Milliseconds(options.max_age_grace));
  }
  if (options.max_idle.count() > 0) {
    builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, Milliseconds(options.max_idle));
  }
}

// Linking the library of the reflection service is enough to have it in every
// server of the process.
class WithoutReflection : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const std::unique_ptr<grpc::ServerBuilderPlugin>& plugin) {
      return plugin->name().find("reflection") != std::string::npos;
    });
  }
};

absl::StatusOr<mode_t> ParseMode(const std::string& text) {
  unsigned mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  if (error != std::errc() || end != text.data() + text.size() || mode > 0777) {
    return absl::InvalidArgumentError(
        fmt::format("unix_socket_mode: expected permissions such as 0660, not {}", text));
  }
  return static_cast<mode_t>(mode);
}

}  // namespace

struct GrpcServer::State {
  explicit State(const ServiceContext& context)
      : prediction(context), models(context), inference(context) {}

  PredictionService prediction;
  ModelService models;
  InferenceService inference;
  std::string address;
  std::unique_ptr<grpc::Server> server;
};

GrpcServer::GrpcServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

GrpcServer::~GrpcServer() { Shutdown(absl::Now()); }

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const ServiceContext& context) {
  const config::ServerOptions& options = *context.options;
  auto state = std::make_unique<State>(context);
  const absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials =
      MakeCredentials(options.tls);
  if (!credentials.ok()) return credentials.status();
  const absl::StatusOr<mode_t> mode = ParseMode(options.unix_socket_mode);
  if (!mode.ok()) return mode.status();

  // It writes a line for every message that is malformed: clients could fill the log.
  google::protobuf::SetLogHandler(nullptr);
  grpc::EnableDefaultHealthCheckService(true);
  // Bookkeeping for it costs every call a little.
  if (options.enable_admin) grpc::channelz::experimental::InitChannelzService();
  grpc::ServerBuilder builder;
  if (options.enable_reflection) {
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  } else {
    builder.SetOption(std::make_unique<WithoutReflection>());
  }
  SetChannelArguments(options.grpc, &builder);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, options.enable_admin ? 1 : 0);
  int port = 0;
  if (!options.listen.empty()) {
    const std::string address = options.listen[0] == ':' ? "[::]" + options.listen : options.listen;
    builder.AddListeningPort(address, *credentials, &port);
  }
  if (!options.unix_socket.empty()) {
    builder.AddListeningPort("unix:" + options.unix_socket, grpc::InsecureServerCredentials());
  }
  builder.RegisterService(&state->prediction);
  builder.RegisterService(&state->models);
  builder.RegisterService(&state->inference);
  state->server = builder.BuildAndStart();
  if (state->server == nullptr) {
    return absl::UnavailableError(
        fmt::format("cannot listen for gRPC on {}: is the address free and valid?",
                    options.listen.empty() ? options.unix_socket : options.listen));
  }
  if (!options.listen.empty()) {
    const size_t colon = options.listen.rfind(':');
    state->address = fmt::format("{}:{}", options.listen.substr(0, colon), port);
  }
  if (!options.unix_socket.empty() && chmod(options.unix_socket.c_str(), *mode) != 0) {
    return absl::UnavailableError(
        fmt::format("cannot set the permissions of {}", options.unix_socket));
  }
  std::unique_ptr<GrpcServer> server(new GrpcServer(std::move(state)));
  server->SetServerHealth(false);
  return server;
}

const std::string& GrpcServer::address() const { return state_->address; }

void GrpcServer::SetHealth(const std::string& service, bool serving) {
  grpc::HealthCheckServiceInterface* const health = state_->server->GetHealthCheckService();
  if (health != nullptr) health->SetServingStatus(service, serving);
}

void GrpcServer::SetServerHealth(bool serving) {
  for (const char* service : kServices) SetHealth(service, serving);
}

void GrpcServer::Shutdown(absl::Time deadline) {
  state_->server->Shutdown(absl::ToChronoTime(deadline));
  state_->server->Wait();
}

}  // namespace h5serve::server
