#include "model/layers/encode.h"

#include <fmt/format.h>

#include "compute/ops/shape_ops.h"
#include "compute/ops/text.h"

namespace h5serve::model {

namespace ops = compute::ops;
using compute::Value;

Value Encode(const LayerScope& scope, Value ids, int64_t depth, const std::string& mode,
             Value weights) {
  compute::Graph& graph = scope.graph();
  if (mode == "int") return ids;
  if (mode == "one_hot") {
    // A last axis of size 1 is taken away, not nested.
    const int rank = graph.rank(ids);
    if (rank > 0 && graph.shape(ids).dim(-1) == 1 && rank > 1) {
      ids = ops::Squeeze(graph, ids, {-1});
    }
    return ops::OneHot(graph, ids, depth);
  }
  if (mode == "multi_hot" || mode == "binary" || mode == "count") {
    if (graph.rank(ids) == 1) ids = ops::ExpandDims(graph, ids, 1);
    return ops::BinCount(graph, ids, depth, mode != "count", mode == "count" ? weights : Value{},
                         /*ignore_negative=*/true);
  }
  scope.Fail(Code::kUnsupportedArgument,
             fmt::format("{}: output_mode={} not implemented", scope.path(), mode));
  return {};
}

}  // namespace h5serve::model
