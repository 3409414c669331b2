#include "model/layers/layout.h"

#include <fmt/format.h>

#include "compute/ops/shape_ops.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::kUnknown;
using compute::Value;

std::optional<KerasTensor> OnlyInput(const LayerScope& scope, const CallInputs& inputs) {
  const std::vector<KerasTensor> tensors = inputs.Tensors();
  if (!tensors.empty()) return tensors[0];
  scope.Fail(Code::kGraphInvalid, fmt::format("layer {} is called without a tensor", scope.path()));
  return std::nullopt;
}

std::optional<KerasTensor> InputOfRank(const LayerScope& scope, const CallInputs& inputs,
                                       int rank) {
  std::optional<KerasTensor> x = OnlyInput(scope, inputs);
  if (!x || scope.graph().rank(x->value) == rank) return x;
  scope.Fail(
      Code::kShapeInferenceFailed,
      fmt::format("layer {} ({}) needs an input of rank {}, got {}", scope.path(),
                  scope.layer().written_class, rank, scope.graph().shape(x->value).ToString()));
  return std::nullopt;
}

Value ToChannelsLast(compute::Graph& graph, Value x) { return ops::MoveAxis(graph, x, 1, -1); }
Value ToChannelsFirst(compute::Graph& graph, Value x) { return ops::MoveAxis(graph, x, -1, 1); }

int SpatialRank(const Layer& layer) {
  for (char c : layer.class_name) {
    if (c >= '1' && c <= '3') return c - '0';
  }
  return 2;
}

std::optional<ConvPadding> ConvPaddingOf(const LayerScope& scope, int spatial,
                                         const std::vector<int64_t>& kernel_size) {
  ConvPadding result;
  result.attributes.strides = scope.Sizes("strides", spatial, 1);
  result.attributes.dilations = scope.Sizes("dilation_rate", spatial, 1);
  const std::string padding =
      scope.Choice("padding", "valid", {"valid", "same", "causal", "full", "half"});
  if (scope.failed()) return std::nullopt;
  const auto effective = [&](int i) {
    return (kernel_size[i] - 1) * result.attributes.dilations[i] + 1;
  };
  if (padding == "valid") return result;
  if (padding == "causal") {
    if (spatial != 1) {
      scope.BadValue("padding", "causal is for one dimension");
      return std::nullopt;
    }
    result.attributes.pads = {{effective(0) - 1, 0}};
  } else if (padding == "full") {
    for (int i = 0; i < spatial; ++i) {
      result.attributes.pads.emplace_back(effective(i) - 1, effective(i) - 1);
    }
  } else if (scope.writer().theano || padding == "half") {
    // Theano's "half": floor(k/2) cells on both sides, whatever the stride.
    for (int i = 0; i < spatial; ++i) {
      result.attributes.pads.emplace_back(effective(i) / 2, effective(i) / 2);
    }
    result.crop = padding == "same";
  } else {
    result.attributes.same = true;
  }
  return result;
}

Value CropToSame(const LayerScope& scope, Value x, Value y, const std::vector<int64_t>& strides) {
  compute::Graph& graph = scope.graph();
  const compute::Shape from = graph.shape(x);
  for (size_t i = 0; i < strides.size(); ++i) {
    const int axis = static_cast<int>(i) + 1;
    const int64_t size = from.dim(axis);
    if (size == kUnknown) {
      scope.Fail(Code::kUnsupportedArgument,
                 fmt::format("layer {}: Theano's 'same' padding needs fixed sizes", scope.path()));
      return {};
    }
    const int64_t wanted = (size + strides[i] - 1) / strides[i];
    const int64_t have = graph.shape(y).dim(axis);
    if (have > wanted) y = ops::SliceAxis(graph, y, axis, 0, wanted);
  }
  return y;
}

}  // namespace h5serve::model
