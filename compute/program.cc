#include "compute/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "compute/aligned_memory.h"
#include "compute/evaluate_op.h"
#include "compute/finite.h"
#include "compute/optimize/optimize.h"
#include "compute/plan.h"

namespace h5serve::compute {
namespace {

// Workspaces beyond this many are freed instead of kept for the next run.
constexpr size_t kMaxIdleWorkspaces = 16;
// An arena this large is only kept when the last run needed a quarter of it.
constexpr int64_t kLargeArena = int64_t{256} << 20;

// The memory of one run. Views are bound to the arena once per plan.
struct Workspace {
  std::shared_ptr<const Plan> plan;
  std::shared_ptr<void> arena;
  int64_t arena_bytes = 0;
  std::vector<TensorView> views;
  std::vector<Tensor> strings;

  void Bind(std::shared_ptr<const Plan> new_plan) {
    if (plan == new_plan) return;
    if (arena == nullptr || arena_bytes < new_plan->arena_bytes ||
        (arena_bytes > kLargeArena && arena_bytes / 4 > new_plan->arena_bytes)) {
      plan = nullptr;
      arena = nullptr;  // the old one first, so that both are never there at once
      arena_bytes = std::max<int64_t>(new_plan->arena_bytes, 1);
      arena = AllocateAligned(static_cast<size_t>(arena_bytes));
    }
    views = new_plan->views;
    for (const Plan::Patch& patch : new_plan->arena_patches) {
      views[patch.view].data = static_cast<char*>(arena.get()) + patch.place;
    }
    plan = std::move(new_plan);
  }
};

uint64_t HashOf(std::span<const Shape> shapes) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const Shape& shape : shapes) {
    for (int64_t dim : shape.dims()) {
      hash = (hash ^ static_cast<uint64_t>(dim)) * 0x100000001B3u;
    }
    hash = (hash ^ 0xFFu) * 0x100000001B3u;
  }
  return hash;
}

bool Equal(std::span<const Shape> a, std::span<const Shape> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

Tensor CopyOf(const Tensor& tensor) {
  Tensor copy = Tensor::Allocate(tensor.dtype(), tensor.shape());
  if (tensor.dtype() == DType::kString) {
    std::copy_n(tensor.data<std::string>(), tensor.num_elements(),
                copy.mutable_data<std::string>());
  } else if (tensor.num_elements() > 0) {
    std::memcpy(copy.raw_mutable_data(), tensor.raw_data(),
                static_cast<size_t>(tensor.size_bytes()));
  }
  return copy;
}

bool IsFinite(const Tensor& tensor) {
  if (tensor.dtype() != DType::kFloat32) return true;
  return AllFinite(tensor.data<float>(), tensor.num_elements());
}

absl::Status WithLabel(const std::string& label, const absl::Status& status) {
  if (label.empty()) return status;
  return absl::Status(status.code(), absl::string_view(fmt::format("layer {}: {}", label,
                                                                   std::string(status.message()))));
}

}  // namespace

struct Program::Plan : compute::Plan {
  uint64_t hash = 0;
};

struct Program::State {
  Graph graph;
  std::vector<Value> outputs;
  Options options;
  std::vector<ValueType> input_types;
  std::vector<ValueType> output_types;
  int64_t constant_bytes = 0;

  struct CachedPlan {
    std::shared_ptr<const Plan> plan;
    uint64_t last_use = 0;
  };
  absl::Mutex mutex;
  std::vector<CachedPlan> plans ABSL_GUARDED_BY(mutex);
  uint64_t clock ABSL_GUARDED_BY(mutex) = 0;
  std::vector<std::unique_ptr<Workspace>> idle ABSL_GUARDED_BY(mutex);

  absl::StatusOr<std::shared_ptr<const Plan>> FindPlan(std::span<const Shape> shapes)
      ABSL_LOCKS_EXCLUDED(mutex);
  std::unique_ptr<Workspace> TakeWorkspace(const compute::Plan* plan) ABSL_LOCKS_EXCLUDED(mutex);
  void GiveBack(std::unique_ptr<Workspace> workspace) ABSL_LOCKS_EXCLUDED(mutex);
  absl::Status CheckShapes(std::span<const Shape> shapes) const;
  absl::Status Execute(Workspace& workspace, std::span<const Tensor> inputs,
                       const Parallelism* parallelism, std::vector<Tensor>* results) const;
  void CountConstants();
};

absl::Status Program::State::CheckShapes(std::span<const Shape> shapes) const {
  if (shapes.size() != input_types.size()) {
    return absl::InvalidArgumentError(
        fmt::format("{} inputs expected, {} given", input_types.size(), shapes.size()));
  }
  for (size_t i = 0; i < shapes.size(); ++i) {
    if (!shapes[i].known() || !Compatible(shapes[i], input_types[i].shape)) {
      return absl::InvalidArgumentError(fmt::format("input {}: shape {} expected, {} given", i,
                                                    input_types[i].shape.ToString(),
                                                    shapes[i].ToString()));
    }
    if (!CheckedElementCount(shapes[i])) {
      return absl::InvalidArgumentError(
          fmt::format("input {}: too many elements: {}", i, shapes[i].ToString()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const Program::Plan>> Program::State::FindPlan(
    std::span<const Shape> shapes) {
  const uint64_t hash = HashOf(shapes);
  {
    absl::MutexLock lock(&mutex);
    for (CachedPlan& cached : plans) {
      if (cached.plan->hash == hash && Equal(cached.plan->input_shapes, shapes)) {
        cached.last_use = ++clock;
        return cached.plan;
      }
    }
  }
  if (absl::Status status = CheckShapes(shapes); !status.ok()) return status;
  absl::StatusOr<compute::Plan> made = MakePlan(graph, outputs, shapes, options.max_arena_bytes);
  if (!made.ok()) return made.status();
  auto plan = std::make_shared<Plan>();
  static_cast<compute::Plan&>(*plan) = *std::move(made);
  plan->hash = hash;
  std::shared_ptr<const Plan> dropped;  // freed outside the lock
  absl::MutexLock lock(&mutex);
  if (plans.size() >= static_cast<size_t>(std::max(options.max_plans, 1))) {
    auto oldest = std::min_element(
        plans.begin(), plans.end(),
        [](const CachedPlan& a, const CachedPlan& b) { return a.last_use < b.last_use; });
    dropped = std::move(oldest->plan);
    plans.erase(oldest);
  }
  plans.push_back({plan, ++clock});
  return std::shared_ptr<const Plan>(std::move(plan));
}

std::unique_ptr<Workspace> Program::State::TakeWorkspace(const compute::Plan* plan) {
  absl::MutexLock lock(&mutex);
  if (idle.empty()) return nullptr;
  // One that is bound to this plan already, otherwise the one used last.
  size_t best = idle.size() - 1;
  for (size_t i = idle.size(); i-- > 0;) {
    if (idle[i]->plan.get() == plan) {
      best = i;
      break;
    }
  }
  std::unique_ptr<Workspace> workspace = std::move(idle[best]);
  idle.erase(idle.begin() + static_cast<ptrdiff_t>(best));
  return workspace;
}

void Program::State::GiveBack(std::unique_ptr<Workspace> workspace) {
  absl::MutexLock lock(&mutex);
  if (idle.size() < kMaxIdleWorkspaces) idle.push_back(std::move(workspace));
}

absl::Status Program::State::Execute(Workspace& workspace, std::span<const Tensor> inputs,
                                     const Parallelism* parallelism,
                                     std::vector<Tensor>* results) const {
  const compute::Plan& plan = *workspace.plan;
  std::vector<TensorView>& views = workspace.views;
  std::vector<Tensor> fresh;
  fresh.reserve(plan.fresh_outputs.size());
  for (const ValueType& type : plan.fresh_outputs) {
    fresh.push_back(Tensor::Allocate(type.dtype, type.shape));
  }
  workspace.strings.clear();
  for (const Shape& shape : plan.string_shapes) {
    workspace.strings.push_back(Tensor::Allocate(DType::kString, shape));
  }
  for (const compute::Plan::Patch& patch : plan.input_patches) {
    views[patch.view].data = const_cast<void*>(inputs[patch.place].raw_data());
  }
  for (const compute::Plan::Patch& patch : plan.output_patches) {
    views[patch.view].data = fresh[patch.place].raw_mutable_data();
  }
  for (const compute::Plan::Patch& patch : plan.string_patches) {
    views[patch.view].data = workspace.strings[patch.place].raw_mutable_data();
  }
  const std::span<const TensorView> all = views;
  char* arena = static_cast<char*>(workspace.arena.get());
  for (const compute::Plan::Step& step : plan.steps) {
    const RunContext context(all.subspan(step.first_view, step.inputs),
                             all.subspan(step.first_view + step.inputs, step.outputs),
                             arena + step.scratch_offset, parallelism);
    if (absl::Status status = step.op->Run(context); !status.ok()) {
      return WithLabel(graph.nodes()[step.node].label, status);
    }
  }
  workspace.strings.clear();
  results->clear();
  results->reserve(plan.outputs.size());
  for (const compute::Plan::Output& output : plan.outputs) {
    if (output.fresh >= 0) {
      results->push_back(fresh[output.fresh].Reshaped(output.type.shape));
    } else {
      const Tensor& source = output.input >= 0 ? inputs[output.input] : output.known;
      results->push_back(CopyOf(source.Reshaped(output.type.shape)));
    }
  }
  return absl::OkStatus();
}

void Program::State::CountConstants() {
  std::vector<const void*> seen;
  for (const Graph::Node& node : graph.nodes()) {
    constant_bytes += node.op->ConstantBytes();
  }
  for (const Graph::ValueInfo& info : graph.values()) {
    if (!info.constant) continue;
    const void* data = info.constant->raw_data();
    if (std::find(seen.begin(), seen.end(), data) != seen.end()) continue;
    seen.push_back(data);
    constant_bytes += info.constant->size_bytes();
  }
}

Program::Program(std::unique_ptr<State> state) : state_(std::move(state)) {}

Program::~Program() = default;

absl::StatusOr<std::shared_ptr<const Program>> Program::Compile(Graph graph,
                                                                std::vector<Value> outputs,
                                                                const Options& options) {
  if (!graph.status().ok()) return graph.status();
  for (Value output : outputs) {
    if (!output.valid()) return absl::InvalidArgumentError("an output is not valid");
  }
  auto state = std::make_unique<State>();
  try {
    state->graph = optimize::Optimize(std::move(graph), &outputs, options.optimize);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory while compiling");
  }
  if (!state->graph.status().ok()) return state->graph.status();
  state->options = options;
  for (Value input : state->graph.inputs()) {
    state->input_types.push_back({state->graph.dtype(input), state->graph.shape(input)});
  }
  for (Value output : outputs) {
    state->output_types.push_back({state->graph.dtype(output), state->graph.shape(output)});
  }
  state->outputs = std::move(outputs);
  state->CountConstants();
  return std::shared_ptr<const Program>(new Program(std::move(state)));
}

absl::Status Program::Run(std::span<const Tensor> inputs, const Parallelism* parallelism,
                          std::vector<Tensor>* outputs) const {
  constexpr size_t kMaxInlineInputs = 8;
  std::array<Shape, kMaxInlineInputs> few;
  std::vector<Shape> many;
  if (inputs.size() > kMaxInlineInputs) many.resize(inputs.size());
  const std::span<Shape> shapes = inputs.size() > kMaxInlineInputs
                                      ? std::span<Shape>(many)
                                      : std::span<Shape>(few).first(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    shapes[i] = inputs[i].shape();
    if (i < state_->input_types.size() && inputs[i].dtype() != state_->input_types[i].dtype) {
      return absl::InvalidArgumentError(fmt::format("input {}: {} expected, {} given", i,
                                                    Name(state_->input_types[i].dtype),
                                                    Name(inputs[i].dtype())));
    }
    if (inputs[i].empty()) {
      return absl::InvalidArgumentError(fmt::format("input {} has no memory", i));
    }
  }
  try {
    absl::StatusOr<std::shared_ptr<const Plan>> plan = state_->FindPlan(shapes);
    if (!plan.ok()) return plan.status();
    std::unique_ptr<Workspace> workspace = state_->TakeWorkspace(plan->get());
    if (workspace == nullptr) workspace = std::make_unique<Workspace>();
    workspace->Bind(*std::move(plan));
    absl::Status status = state_->Execute(*workspace, inputs, parallelism, outputs);
    state_->GiveBack(std::move(workspace));
    return status;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory while running");
  }
}

absl::StatusOr<std::vector<ValueType>> Program::OutputTypes(
    std::span<const Shape> input_shapes) const {
  try {
    absl::StatusOr<std::shared_ptr<const Plan>> plan = state_->FindPlan(input_shapes);
    if (!plan.ok()) return plan.status();
    std::vector<ValueType> types;
    for (const compute::Plan::Output& output : (*plan)->outputs) types.push_back(output.type);
    return types;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory while planning");
  }
}

absl::StatusOr<double> Program::Flops(std::span<const Shape> input_shapes) const {
  try {
    absl::StatusOr<std::shared_ptr<const Plan>> plan = state_->FindPlan(input_shapes);
    if (!plan.ok()) return plan.status();
    double flops = 0;
    for (const compute::Plan::Step& step : (*plan)->steps) {
      std::vector<ValueType> types;
      for (int i = 0; i < step.inputs; ++i) {
        const TensorView& view = (*plan)->views[step.first_view + i];
        types.push_back({view.dtype, view.shape});
      }
      flops += step.op->Flops(types);
    }
    return flops;
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory while planning");
  }
}

absl::StatusOr<std::string> Program::FirstNonFinite(std::span<const Tensor> inputs) const {
  const Graph& graph = state_->graph;
  std::vector<Shape> shapes;
  for (const Tensor& input : inputs) shapes.push_back(input.shape());
  if (absl::Status status = state_->CheckShapes(shapes); !status.ok()) return status;
  std::vector<Tensor> values(graph.values().size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (graph.values()[i].constant) values[i] = *graph.values()[i].constant;
  }
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs()[i].index] = inputs[i];
  std::vector<int> uses(values.size());
  for (const Graph::Node& node : graph.nodes()) {
    for (Value input : node.inputs) ++uses[input.index];
  }
  for (const Graph::Node& node : graph.nodes()) {
    std::vector<Tensor> arguments;
    std::vector<ValueType> types;
    std::vector<const Tensor*> known;
    for (Value input : node.inputs) {
      arguments.push_back(values[input.index]);
      types.push_back({arguments.back().dtype(), arguments.back().shape()});
      known.push_back(&values[input.index]);
    }
    absl::StatusOr<std::vector<ValueType>> output_types =
        InferChecked(*node.op, InferContext(types, known));
    if (!output_types.ok()) return output_types.status();
    absl::StatusOr<std::vector<Tensor>> results =
        EvaluateOp(*node.op, arguments, types, *output_types);
    if (!results.ok()) return WithLabel(node.label, results.status());
    for (size_t i = 0; i < results->size(); ++i) {
      if (!IsFinite((*results)[i])) {
        return node.label.empty() ? std::string(node.op->name()) : node.label;
      }
      values[node.outputs[i].index] = std::move((*results)[i]);
    }
    for (Value input : node.inputs) {
      if (--uses[input.index] == 0) values[input.index] = Tensor();
    }
  }
  return std::string();
}

const std::vector<ValueType>& Program::input_types() const { return state_->input_types; }

const std::vector<ValueType>& Program::output_types() const { return state_->output_types; }

int64_t Program::constant_bytes() const { return state_->constant_bytes; }

int Program::num_nodes() const { return static_cast<int>(state_->graph.nodes().size()); }

std::string Program::ToString() const {
  const Graph& graph = state_->graph;
  const auto describe = [&](const std::vector<Value>& values) {
    std::string text;
    for (Value value : values) {
      if (!text.empty()) text += ", ";
      text += fmt::format("%{} {}{}", value.index, Name(graph.dtype(value)),
                          graph.shape(value).ToString());
      if (graph.constant(value) != nullptr) text += " constant";
    }
    return text;
  };
  std::string text;
  for (const Graph::Node& node : graph.nodes()) {
    text +=
        fmt::format("{} = {}({})", describe(node.outputs), node.op->name(), describe(node.inputs));
    if (!node.label.empty()) text += fmt::format("  # {}", node.label);
    text += '\n';
  }
  return text;
}

}  // namespace h5serve::compute
