#include "compute/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "compute/arena_layout.h"
#include "compute/evaluate_op.h"

namespace h5serve::compute {
namespace {

// Larger values are not computed while planning: a plan is kept.
constexpr int64_t kKnownLimit = int64_t{1} << 20;

// Where a value's memory comes from.
enum class Home { kNone, kInput, kKnown, kArena, kOutput, kString };

// Memory that one value or several views of it share.
struct Storage {
  Home home = Home::kNone;
  int64_t bytes = 0;
  int first = 0;  // step that writes it first
  int last = -1;  // last step that reads or writes it
  int index = 0;  // input, fresh output or string array
  bool is_output = false;
  int64_t offset = 0;
};

class Planner {
 public:
  Planner(const Graph& graph, std::span<const Value> outputs, std::span<const Shape> input_shapes)
      : graph_(graph),
        outputs_(outputs),
        types_(graph.values().size()),
        known_(graph.values().size()),
        storage_of_(graph.values().size(), -1) {
    plan_.input_shapes.assign(input_shapes.begin(), input_shapes.end());
  }

  absl::StatusOr<Plan> Make(int64_t max_bytes) {
    if (absl::Status status = InferTypes(); !status.ok()) return status;
    FindNeededNodes();
    AssignStorage();
    if (absl::Status status = LayOut(max_bytes); !status.ok()) return status;
    MakeSteps();
    MakeOutputs();
    return std::move(plan_);
  }

 private:
  // The value where it is known now.
  const Tensor* Known(Value value) const {
    const Tensor& tensor = known_[value.index];
    return tensor.empty() ? graph_.constant(value) : &tensor;
  }

  absl::Status InferTypes();
  absl::Status InferNode(const Graph::Node& node);
  absl::Status EvaluateKnown(const Graph::Node& node);
  void FindNeededNodes();
  void AssignStorage();
  int NewStorage(Value value, int step);
  void Attach(Value value, int storage);
  int StorageToReuse(const Graph::Node& node, int step) const;
  absl::Status LayOut(int64_t max_bytes);
  void MakeSteps();
  void AddView(Value value);
  void MakeOutputs();
  const Graph& graph_;
  std::span<const Value> outputs_;
  std::vector<ValueType> types_;
  std::vector<Tensor> known_;
  std::vector<int> storage_of_;
  std::vector<Storage> storages_;
  std::vector<int> order_;             // nodes that run, in order
  std::vector<int> last_use_;          // per value: last step that reads it
  std::vector<bool> is_output_value_;  // per value
  std::vector<ArenaBlock> scratch_;    // per step
  Plan plan_;
};

absl::Status Planner::InferTypes() {
  for (size_t i = 0; i < types_.size(); ++i) types_[i] = graph_.values()[i].type;
  for (size_t i = 0; i < graph_.inputs().size(); ++i) {
    types_[graph_.inputs()[i].index].shape = plan_.input_shapes[i];
  }
  for (const Graph::Node& node : graph_.nodes()) {
    if (absl::Status status = InferNode(node); !status.ok()) {
      if (node.label.empty()) return status;
      return absl::Status(status.code(),
                          absl::string_view(fmt::format("layer {}: {}", node.label,
                                                        std::string(status.message()))));
    }
  }
  return absl::OkStatus();
}

absl::Status Planner::InferNode(const Graph::Node& node) {
  std::vector<ValueType> inputs;
  std::vector<const Tensor*> constants;
  for (Value input : node.inputs) {
    inputs.push_back(types_[input.index]);
    constants.push_back(Known(input));
  }
  absl::StatusOr<std::vector<ValueType>> types =
      InferChecked(*node.op, InferContext(inputs, constants));
  if (!types.ok()) return types.status();
  if (types->size() != node.outputs.size()) {
    return absl::InternalError(fmt::format("{}: wrong number of outputs", node.op->name()));
  }
  for (size_t i = 0; i < types->size(); ++i) {
    const ValueType& type = (*types)[i];
    if (!type.shape.known()) {
      return absl::InvalidArgumentError(fmt::format("{}: a shape does not follow from shapes: {}",
                                                    node.op->name(), type.shape.ToString()));
    }
    types_[node.outputs[i].index] = type;
  }
  return EvaluateKnown(node);
}

absl::Status Planner::EvaluateKnown(const Graph::Node& node) {
  std::vector<Tensor> tensors;
  std::vector<ValueType> input_types;
  std::vector<ValueType> output_types;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Tensor* known = Known(node.inputs[i]);
    if (known == nullptr && !node.op->ReadsOnlyShape(static_cast<int>(i))) return absl::OkStatus();
    tensors.push_back(known == nullptr ? Tensor() : *known);
    input_types.push_back(types_[node.inputs[i].index]);
  }
  for (Value output : node.outputs) {
    output_types.push_back(types_[output.index]);
    if (output_types.back().shape.num_elements() > kKnownLimit) return absl::OkStatus();
  }
  absl::StatusOr<std::vector<Tensor>> results =
      EvaluateOp(*node.op, tensors, input_types, output_types);
  if (!results.ok()) return results.status();
  for (size_t i = 0; i < results->size(); ++i) known_[node.outputs[i].index] = (*results)[i];
  return absl::OkStatus();
}

void Planner::FindNeededNodes() {
  std::vector<bool> needed(types_.size());
  is_output_value_.assign(types_.size(), false);
  for (Value output : outputs_) needed[output.index] = is_output_value_[output.index] = true;
  for (int i = static_cast<int>(graph_.nodes().size()); i-- > 0;) {
    const Graph::Node& node = graph_.nodes()[i];
    const bool runs = std::any_of(node.outputs.begin(), node.outputs.end(), [&](Value value) {
      return needed[value.index] && known_[value.index].empty();
    });
    if (!runs) continue;
    order_.push_back(i);
    for (size_t j = 0; j < node.inputs.size(); ++j) {
      if (!node.op->ReadsOnlyShape(static_cast<int>(j))) needed[node.inputs[j].index] = true;
    }
  }
  std::reverse(order_.begin(), order_.end());
  last_use_.assign(types_.size(), -1);
  for (int step = 0; step < static_cast<int>(order_.size()); ++step) {
    const Graph::Node& node = graph_.nodes()[order_[step]];
    for (size_t j = 0; j < node.inputs.size(); ++j) {
      if (node.op->ReadsOnlyShape(static_cast<int>(j))) continue;
      last_use_[node.inputs[j].index] = step;
    }
  }
}

int Planner::NewStorage(Value value, int step) {
  const ValueType& type = types_[value.index];
  Storage storage;
  storage.first = storage.last = step;
  if (type.dtype == DType::kString) {
    storage.home = Home::kString;
  } else {
    storage.home = Home::kArena;
    storage.bytes = type.shape.num_elements() * SizeOf(type.dtype);
  }
  storages_.push_back(storage);
  return static_cast<int>(storages_.size()) - 1;
}

// Element-wise ops may overwrite an input when nobody needs it later: neither
// this step as another operand, nor any later step, nor the caller. Gives that
// input's storage, or -1.
int Planner::StorageToReuse(const Graph::Node& node, int step) const {
  if (node.outputs.size() != 1) return -1;
  const ValueType& to = types_[node.outputs[0].index];
  for (int i = 0; i < static_cast<int>(node.inputs.size()); ++i) {
    if (!node.op->CanOverwrite(i)) continue;
    const Value input = node.inputs[i];
    const ValueType& from = types_[input.index];
    const int storage = storage_of_[input.index];
    if (storage < 0 || from.dtype != to.dtype || !(from.shape == to.shape) ||
        storages_[storage].home != Home::kArena || storages_[storage].is_output ||
        storages_[storage].last > step) {
      continue;
    }
    bool alone = true;
    for (int j = 0; j < static_cast<int>(node.inputs.size()); ++j) {
      alone = alone && (j == i || storage_of_[node.inputs[j].index] != storage);
    }
    if (alone) return storage;
  }
  return -1;
}

void Planner::Attach(Value value, int storage_index) {
  storage_of_[value.index] = storage_index;
  Storage& storage = storages_[storage_index];
  storage.last = std::max(storage.last, last_use_[value.index]);
  storage.is_output = storage.is_output || is_output_value_[value.index];
}

void Planner::AssignStorage() {
  for (size_t i = 0; i < types_.size(); ++i) {
    if (Known(Value{static_cast<int>(i)}) == nullptr) continue;
    storage_of_[i] = static_cast<int>(storages_.size());
    storages_.push_back({Home::kKnown});
  }
  for (size_t i = 0; i < graph_.inputs().size(); ++i) {
    const Value input = graph_.inputs()[i];
    storage_of_[input.index] = static_cast<int>(storages_.size());
    storages_.push_back({Home::kInput, 0, 0, 0, static_cast<int>(i)});
  }
  for (int step = 0; step < static_cast<int>(order_.size()); ++step) {
    const Graph::Node& node = graph_.nodes()[order_[step]];
    const int shared =
        node.op->IsView() ? storage_of_[node.inputs[0].index] : StorageToReuse(node, step);
    if (shared >= 0) {
      Attach(node.outputs[0], shared);
      continue;
    }
    for (Value output : node.outputs) Attach(output, NewStorage(output, step));
  }
  // What is an output is computed straight into the caller's new tensor.
  for (Value output : outputs_) {
    Storage& storage = storages_[storage_of_[output.index]];
    if (storage.home != Home::kArena && storage.home != Home::kString) continue;
    storage.home = Home::kOutput;
    storage.index = static_cast<int>(plan_.fresh_outputs.size());
    plan_.fresh_outputs.push_back(types_[output.index]);
  }
}

absl::Status Planner::LayOut(int64_t max_bytes) {
  std::vector<ArenaBlock> blocks;
  std::vector<int> owners;
  for (size_t i = 0; i < storages_.size(); ++i) {
    Storage& storage = storages_[i];
    if (storage.home != Home::kArena) continue;
    blocks.push_back({storage.bytes, storage.first, storage.last, 0});
    owners.push_back(static_cast<int>(i));
  }
  const size_t values = blocks.size();
  for (int step = 0; step < static_cast<int>(order_.size()); ++step) {
    const Graph::Node& node = graph_.nodes()[order_[step]];
    std::vector<ValueType> inputs;
    for (Value input : node.inputs) inputs.push_back(types_[input.index]);
    const int64_t bytes = node.op->IsView() ? 0 : node.op->ScratchBytes(inputs);
    blocks.push_back({std::max<int64_t>(bytes, 0), step, step, 0});
  }
  plan_.arena_bytes = LayOutArena(blocks);
  double bytes = static_cast<double>(plan_.arena_bytes);
  for (const ValueType& type : plan_.fresh_outputs) {
    bytes += static_cast<double>(type.shape.num_elements()) * SizeOf(type.dtype);
  }
  if (plan_.arena_bytes < 0 || bytes > static_cast<double>(max_bytes)) {
    return absl::ResourceExhaustedError(
        fmt::format("a run for these shapes needs {:.0f} MB, more than the limit of {:.0f} MB",
                    bytes / 1e6, static_cast<double>(max_bytes) / 1e6));
  }
  for (size_t i = 0; i < values; ++i) storages_[owners[i]].offset = blocks[i].offset;
  scratch_.assign(blocks.begin() + static_cast<ptrdiff_t>(values), blocks.end());
  return absl::OkStatus();
}

void Planner::AddView(Value value) {
  const int view = static_cast<int>(plan_.views.size());
  const ValueType& type = types_[value.index];
  plan_.views.push_back({type.dtype, type.shape, nullptr});
  const int storage_index = storage_of_[value.index];
  if (storage_index < 0) return;  // only its shape is read
  const Storage& storage = storages_[storage_index];
  switch (storage.home) {
    case Home::kKnown:
      plan_.views.back().data = ViewOf(*Known(value)).data;
      break;
    case Home::kInput:
      plan_.input_patches.push_back({view, storage.index});
      break;
    case Home::kArena:
      plan_.arena_patches.push_back({view, storage.offset});
      break;
    case Home::kOutput:
      plan_.output_patches.push_back({view, storage.index});
      break;
    case Home::kString:
      plan_.string_patches.push_back({view, storage.index});
      break;
    case Home::kNone:
      break;
  }
}

void Planner::MakeSteps() {
  for (size_t value = 0; value < storage_of_.size(); ++value) {
    if (storage_of_[value] < 0) continue;
    Storage& storage = storages_[storage_of_[value]];
    // The first value of a storage has the shape; views have as many elements.
    if (storage.home != Home::kString || storage.index > 0) continue;
    storage.index = static_cast<int>(plan_.string_shapes.size()) + 1;
    plan_.string_shapes.push_back(types_[value].shape);
  }
  for (Storage& storage : storages_) {
    if (storage.home == Home::kString) --storage.index;
  }
  for (int step = 0; step < static_cast<int>(order_.size()); ++step) {
    const Graph::Node& node = graph_.nodes()[order_[step]];
    if (node.op->IsView()) continue;
    plan_.steps.push_back(
        {node.op.get(), static_cast<int>(plan_.views.size()), static_cast<int>(node.inputs.size()),
         static_cast<int>(node.outputs.size()), scratch_[step].offset, order_[step]});
    for (Value input : node.inputs) AddView(input);
    for (Value output : node.outputs) AddView(output);
  }
  for (Tensor& tensor : known_) {
    if (!tensor.empty()) plan_.known.push_back(tensor);
  }
}

void Planner::MakeOutputs() {
  for (Value value : outputs_) {
    Plan::Output output;
    output.type = types_[value.index];
    const Storage& storage = storages_[storage_of_[value.index]];
    if (storage.home == Home::kOutput) output.fresh = storage.index;
    if (storage.home == Home::kInput) output.input = storage.index;
    if (storage.home == Home::kKnown) output.known = Known(value)->Reshaped(output.type.shape);
    plan_.outputs.push_back(std::move(output));
  }
}

}  // namespace

absl::StatusOr<Plan> MakePlan(const Graph& graph, std::span<const Value> outputs,
                              std::span<const Shape> input_shapes, int64_t max_bytes) {
  return Planner(graph, outputs, input_shapes).Make(max_bytes);
}

}  // namespace h5serve::compute
