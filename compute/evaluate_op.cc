#include "compute/evaluate_op.h"

#include <fmt/format.h>

#include "compute/aligned_memory.h"

namespace h5serve::compute {

TensorView ViewOf(const Tensor& tensor) {
  return {tensor.dtype(), tensor.shape(), const_cast<void*>(tensor.raw_data())};
}

absl::StatusOr<std::vector<Tensor>> EvaluateOp(const Op& op, std::span<const Tensor> inputs,
                                               std::span<const ValueType> input_types,
                                               std::span<const ValueType> output_types) {
  std::vector<Tensor> outputs;
  if (op.IsView()) {
    outputs.push_back(inputs[0].Reshaped(output_types[0].shape));
    return outputs;
  }
  std::vector<TensorView> views;
  for (size_t i = 0; i < inputs.size(); ++i) {
    views.push_back({input_types[i].dtype, input_types[i].shape, ViewOf(inputs[i]).data});
  }
  for (const ValueType& type : output_types) {
    outputs.push_back(Tensor::Allocate(type.dtype, type.shape));
    views.push_back(ViewOf(outputs.back()));
  }
  std::shared_ptr<void> scratch;
  if (int64_t bytes = op.ScratchBytes(input_types); bytes > 0) {
    scratch = AllocateAligned(static_cast<size_t>(bytes));
  }
  const std::span<const TensorView> all = views;
  const RunContext context(all.first(inputs.size()), all.subspan(inputs.size()), scratch.get(),
                           nullptr);
  if (absl::Status status = op.Run(context); !status.ok()) return status;
  return outputs;
}

absl::StatusOr<std::vector<ValueType>> InferChecked(const Op& op, const InferContext& context) {
  absl::StatusOr<std::vector<ValueType>> types = op.Infer(context);
  if (!types.ok()) return types;
  for (const ValueType& type : *types) {
    if (type.shape.known() && !CheckedElementCount(type.shape)) {
      return absl::InvalidArgumentError(
          fmt::format("{}: too many elements: {}", op.name(), type.shape.ToString()));
    }
  }
  if (op.IsView()) {
    const ValueType& from = context.input(0);
    const ValueType& to = types->at(0);
    if (from.dtype != to.dtype || (from.shape.known() && to.shape.known() &&
                                   from.shape.num_elements() != to.shape.num_elements())) {
      return absl::InvalidArgumentError(fmt::format("{}: cannot view {} as {}", op.name(),
                                                    from.shape.ToString(), to.shape.ToString()));
    }
  }
  return types;
}

}  // namespace h5serve::compute
