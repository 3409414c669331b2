#include "model/custom/plugin_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "model/custom/plugin_abi.h"

namespace h5serve::model {
namespace {

using compute::Shape;
using compute::Tensor;

constexpr size_t kErrorBytes = 1024;
// Values around an output that must stay as they are.
constexpr int64_t kGuard = 1024;
// Elements of an output that is tried.
constexpr int64_t kMaxTrial = int64_t{1} << 26;
// A NaN that no computation gives.
constexpr uint32_t kUntouched = 0x7fc5a5a5;

h5serve_shape ToShape(const Shape& shape) {
  h5serve_shape result{};
  result.rank = shape.rank();
  for (int i = 0; i < shape.rank(); ++i) {
    result.dims[i] = shape[i] == compute::kUnknown ? H5SERVE_PLUGIN_UNKNOWN : shape[i];
  }
  return result;
}

// What the library said, as text that can be shown.
std::string Message(const char* error) {
  std::string text(error, strnlen(error, kErrorBytes));
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return text.empty() ? "no reason given" : text;
}

// Calls a function of the library. Exceptions must not leave it, and do not.
template <typename Function, typename... Arguments>
absl::Status Call(const char* what, Function function, Arguments... arguments) {
  char error[kErrorBytes] = {};
  try {
    if (function(arguments..., error, sizeof error - 1) == 0) return absl::OkStatus();
  } catch (...) {
    return absl::InvalidArgumentError(fmt::format("{} threw an exception", what));
  }
  return absl::InvalidArgumentError(fmt::format("{}: {}", what, Message(error)));
}

std::vector<h5serve_shape> ToShapes(const std::vector<Shape>& shapes) {
  std::vector<h5serve_shape> result;
  for (const Shape& shape : shapes) result.push_back(ToShape(shape));
  return result;
}

}  // namespace

struct PluginLayer::State {
  void* library = nullptr;
  const h5serve_plugin* plugin = nullptr;
  void* layer = nullptr;
  std::vector<std::pair<std::string, Tensor>> weights;

  absl::Status Open(const std::string& path) {
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      const char* why = dlerror();
      return absl::UnavailableError(why == nullptr ? path + ": cannot be loaded" : why);
    }
    using Entry = const h5serve_plugin* (*)();
    void* const symbol = dlsym(library, "h5serve_plugin_entry");
    if (symbol == nullptr) {
      return absl::FailedPreconditionError(
          fmt::format("{} does not export h5serve_plugin_entry", path));
    }
    plugin = std::bit_cast<Entry>(symbol)();
    if (plugin == nullptr) {
      return absl::FailedPreconditionError(fmt::format("{} gives no table of functions", path));
    }
    if (plugin->abi_version != H5SERVE_PLUGIN_ABI_VERSION ||
        plugin->struct_size != sizeof(h5serve_plugin)) {
      return absl::FailedPreconditionError(
          fmt::format("{} is made for version {} of the interface, this server has version {}",
                      path, plugin->abi_version, H5SERVE_PLUGIN_ABI_VERSION));
    }
    if (plugin->create == nullptr || plugin->destroy == nullptr ||
        plugin->bind_weights == nullptr || plugin->infer_shapes == nullptr ||
        plugin->run == nullptr) {
      return absl::FailedPreconditionError(fmt::format("{} lacks a function", path));
    }
    return absl::OkStatus();
  }

  absl::Status Bind() {
    std::vector<h5serve_weight> list;
    for (auto& [name, tensor] : weights) {
      h5serve_weight weight{};
      weight.name = name.c_str();
      weight.tensor.shape = ToShape(tensor.shape());
      weight.tensor.data = tensor.mutable_data<float>();
      list.push_back(weight);
    }
    return Call("bind_weights", plugin->bind_weights, layer,
                static_cast<const h5serve_weight*>(list.data()), static_cast<int32_t>(list.size()));
  }

  ~State() {
    if (layer != nullptr) plugin->destroy(layer);
    // The library stays: code of its threads may still run.
  }
};

PluginLayer::PluginLayer(std::unique_ptr<State> state) : state_(std::move(state)) {}
PluginLayer::~PluginLayer() = default;

absl::StatusOr<std::shared_ptr<const PluginLayer>> PluginLayer::Make(
    const std::string& path, const std::string& class_name, const std::string& config_json,
    std::vector<std::pair<std::string, Tensor>> weights) {
  auto state = std::make_unique<State>();
  if (absl::Status status = state->Open(path); !status.ok()) return status;
  for (auto& [name, tensor] : weights) {
    absl::StatusOr<Tensor> cast = compute::Cast(tensor, compute::DType::kFloat32);
    if (!cast.ok()) return cast.status();
    // The library gets memory of its own: weights are shared here.
    Tensor copy = Tensor::Allocate(compute::DType::kFloat32, cast->shape());
    std::memcpy(copy.raw_mutable_data(), cast->raw_data(), cast->size_bytes());
    state->weights.emplace_back(name, std::move(copy));
  }
  absl::Status status =
      Call("create", state->plugin->create, class_name.c_str(), config_json.c_str(), &state->layer);
  if (status.ok()) status = state->Bind();
  if (!status.ok()) return status;
  return std::shared_ptr<const PluginLayer>(new PluginLayer(std::move(state)));
}

absl::StatusOr<std::vector<Shape>> PluginLayer::InferShapes(
    const std::vector<Shape>& inputs) const {
  for (const Shape& shape : inputs) {
    if (shape.rank() > H5SERVE_PLUGIN_MAX_RANK) {
      return absl::InvalidArgumentError(
          fmt::format("rank {}, at most {} are handed on", shape.rank(), H5SERVE_PLUGIN_MAX_RANK));
    }
  }
  const std::vector<h5serve_shape> given = ToShapes(inputs);
  h5serve_shape results[H5SERVE_PLUGIN_MAX_OUTPUTS] = {};
  int32_t count = 0;
  if (absl::Status status = Call("infer_shapes", state_->plugin->infer_shapes, state_->layer,
                                 given.data(), static_cast<int32_t>(given.size()), results, &count);
      !status.ok()) {
    return status;
  }
  if (count < 1 || count > H5SERVE_PLUGIN_MAX_OUTPUTS) {
    return absl::InvalidArgumentError(fmt::format("infer_shapes says {} outputs", count));
  }
  std::vector<Shape> shapes;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t rank = results[i].rank;
    if (rank < 0 || rank > std::min(H5SERVE_PLUGIN_MAX_RANK, compute::kMaxRank)) {
      return absl::InvalidArgumentError(fmt::format("infer_shapes says rank {}", rank));
    }
    Shape shape;
    for (int32_t d = 0; d < rank; ++d) {
      const int64_t dim = results[i].dims[d];
      if (dim < H5SERVE_PLUGIN_UNKNOWN || dim > compute::kMaxElements) {
        return absl::InvalidArgumentError(fmt::format("infer_shapes says a dimension of {}", dim));
      }
      shape.push_back(dim == H5SERVE_PLUGIN_UNKNOWN ? compute::kUnknown : dim);
    }
    shapes.push_back(shape);
  }
  return shapes;
}

absl::Status PluginLayer::Run(const std::vector<std::pair<Shape, const float*>>& inputs,
                              const std::vector<std::pair<Shape, float*>>& outputs) const {
  std::vector<h5serve_tensor> in, out;
  for (const auto& [shape, data] : inputs) {
    in.push_back({ToShape(shape), const_cast<float*>(data)});
  }
  for (const auto& [shape, data] : outputs) out.push_back({ToShape(shape), data});
  return Call("run", state_->plugin->run, state_->layer,
              static_cast<const h5serve_tensor*>(in.data()), static_cast<int32_t>(in.size()),
              static_cast<const h5serve_tensor*>(out.data()), static_cast<int32_t>(out.size()));
}

absl::Status PluginLayer::CheckShapeRule(const std::vector<Shape>& inputs) const {
  const absl::StatusOr<std::vector<Shape>> shapes = InferShapes(inputs);
  if (!shapes.ok()) return shapes.status();
  std::vector<std::vector<float>> zeros, guarded;
  std::vector<std::pair<Shape, const float*>> in;
  std::vector<std::pair<Shape, float*>> out;
  for (const Shape& shape : inputs) {
    zeros.emplace_back(std::max<int64_t>(shape.num_elements(), 1), 0.0f);
    in.emplace_back(shape, zeros.back().data());
  }
  const float untouched = std::bit_cast<float>(kUntouched);
  guarded.reserve(shapes->size());
  for (const Shape& shape : *shapes) {
    if (!shape.known() || compute::CheckedElementCount(shape).value_or(kMaxTrial + 1) > kMaxTrial) {
      return absl::InvalidArgumentError(
          fmt::format("infer_shapes says {} for known inputs", shape.ToString()));
    }
    guarded.emplace_back(shape.num_elements() + 2 * kGuard, untouched);
    out.emplace_back(shape, guarded.back().data() + kGuard);
  }
  if (absl::Status status = Run(in, out); !status.ok()) return status;
  for (size_t i = 0; i < guarded.size(); ++i) {
    const int64_t size = (*shapes)[i].num_elements();
    const auto is_untouched = [](float value) {
      return std::bit_cast<uint32_t>(value) == kUntouched;
    };
    const auto begin = guarded[i].begin();
    if (!std::all_of(begin, begin + kGuard, is_untouched) ||
        !std::all_of(begin + kGuard + size, guarded[i].end(), is_untouched)) {
      return absl::InvalidArgumentError(fmt::format(
          "run writes outside of output {}, whose shape rule says {}", i, (*shapes)[i].ToString()));
    }
    if (std::any_of(begin + kGuard, begin + kGuard + size, is_untouched)) {
      return absl::InvalidArgumentError(
          fmt::format("run does not write all of output {}, whose shape rule says {}", i,
                      (*shapes)[i].ToString()));
    }
  }
  return absl::OkStatus();
}

}  // namespace h5serve::model
