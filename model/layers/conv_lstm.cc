// ConvLSTM1D, ConvLSTM2D, ConvLSTM3D.

#include <fmt/format.h>

#include "compute/ops/elementwise.h"
#include "compute/ops/recurrent.h"
#include "compute/ops/shape_ops.h"
#include "model/layers/activation.h"
#include "model/layers/layer_functions.h"
#include "model/layers/layout.h"
#include "model/layers/recurrent_call.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::Shape;
using compute::Value;

namespace {

Shape KernelShape(const std::vector<int64_t>& sizes, int64_t in, int64_t out) {
  Shape shape;
  for (int64_t size : sizes) shape.push_back(size);
  shape.push_back(in);
  shape.push_back(out);
  return shape;
}

// Channels behind the time axis to the end, or back.
Value StepsToLast(compute::Graph& graph, Value x) { return ops::MoveAxis(graph, x, 2, -1); }
Value StepsToFirst(compute::Graph& graph, Value x) { return ops::MoveAxis(graph, x, -1, 2); }

}  // namespace

std::vector<KerasTensor> LowerConvLstm(const LayerScope& scope, const CallInputs& inputs) {
  const int spatial = SpatialRank(scope.layer());
  if (!InputOfRank(scope, inputs, spatial + 3)) return {};
  const std::optional<RecurrentCall> call = ParseRecurrentCall(scope, inputs);
  if (!call) return {};
  if (call->time_major) {
    scope.Fail(Code::kUnsupportedArgument,
               fmt::format("layer {}: time_major is not supported", scope.path()));
    return {};
  }
  compute::Graph& graph = scope.graph();
  const bool first = scope.ChannelsFirst();
  const std::vector<int64_t> sizes = scope.Sizes("kernel_size", spatial, 1);
  ops::ConvLstmAttributes attributes;
  attributes.filters = scope.PositiveInt("filters");
  attributes.strides = scope.Sizes("strides", spatial, 1);
  attributes.dilations = scope.Sizes("dilation_rate", spatial, 1);
  attributes.same = scope.Choice("padding", "valid", {"valid", "same"}) == "same";
  attributes.activation = CellActivationOf(scope, "activation", "tanh");
  const bool keras3 = scope.writer().dialect == Writer::Dialect::kKeras3;
  attributes.recurrent_activation =
      CellActivationOf(scope, "recurrent_activation", keras3 ? "sigmoid" : "hard_sigmoid");
  attributes.go_backwards = scope.Bool("go_backwards", false);
  attributes.return_sequences = scope.Bool("return_sequences", false);
  attributes.theano_same = scope.writer().theano;
  if (scope.failed()) return {};
  ops::RecurrentInputs in;
  in.x = first ? StepsToLast(graph, call->x) : call->x;
  const int64_t gates = 4 * attributes.filters;
  in.kernel = scope.Weight("kernel", KernelShape(sizes, graph.shape(in.x).dim(-1), gates));
  in.recurrent_kernel =
      scope.Weight("recurrent_kernel", KernelShape(sizes, attributes.filters, gates));
  if (scope.Bool("use_bias", true)) in.bias = scope.Weight("bias", {gates});
  if (scope.failed()) return {};
  if (call->mask) in.mask = *call->mask;
  for (Value state : call->states) {
    in.initial_states.push_back(first ? ToChannelsLast(graph, state) : state);
  }
  std::vector<Value> out = ops::ConvLstm(graph, in, attributes);
  if (scope.failed() || out.size() != 3) return {};
  if (call->mask && call->zero_output_for_mask) {
    if (!attributes.return_sequences) {
      scope.Fail(Code::kUnsupportedArgument,
                 fmt::format("layer {}: zero_output_for_mask without sequences", scope.path()));
      return {};
    }
    // Outputs stand in processing order.
    Value keep = attributes.go_backwards ? ReverseTime(graph, *call->mask) : *call->mask;
    keep = ops::Cast(graph, keep, compute::DType::kFloat32);
    while (graph.rank(keep) < spatial + 3) keep = ops::ExpandDims(graph, keep, -1);
    out[0] = ops::Multiply(graph, out[0], keep);
  }
  if (first) {
    out[0] =
        attributes.return_sequences ? StepsToFirst(graph, out[0]) : ToChannelsFirst(graph, out[0]);
    for (size_t i = 1; i < out.size(); ++i) out[i] = ToChannelsFirst(graph, out[i]);
  }
  std::vector<KerasTensor> results{
      {out[0], attributes.return_sequences ? call->mask : std::nullopt}};
  if (scope.Bool("return_state", false)) {
    results.push_back({out[1], std::nullopt});
    results.push_back({out[2], std::nullopt});
  }
  return results;
}

}  // namespace h5serve::model
