#include "compute/optimize/optimize.h"

#include "compute/optimize/drop_identity.h"
#include "compute/optimize/fold_scale.h"
#include "compute/optimize/fuse_activation.h"
#include "compute/optimize/fuse_addend.h"
#include "compute/optimize/fuse_affine.h"
#include "compute/optimize/move_transpose.h"
#include "compute/optimize/rewrite.h"
#include "compute/optimize/specialize.h"

namespace h5serve::compute::optimize {

Graph Optimize(Graph graph, std::vector<Value>* outputs, bool all) {
  // Permutations first: they stand between ops that could be fused.
  static constexpr Pass kMove[] = {DropIdentity, MergeTransposes, SinkTranspose};
  static constexpr Pass kFuse[] = {DropIdentity, MergeTransposes, FoldScale, FuseAddend,
                                   FuseActivation};
  // After folding, so that only what is left becomes an op of its own.
  static constexpr Pass kJoin[] = {FuseAffine, FuseActivation};
  static constexpr Pass kSpecialize[] = {Specialize};
  // One rewrite moves a permutation as far as it goes; those it then meets, and
  // what they leave with a single user, take another.
  constexpr int kRounds = 3;
  graph = Rewrite(graph, {}, outputs);
  for (int round = 0; all && round < kRounds && graph.status().ok(); ++round) {
    graph = Rewrite(graph, kMove, outputs);
  }
  for (int round = 0; all && round < 2 && graph.status().ok(); ++round) {
    graph = Rewrite(graph, kFuse, outputs);
  }
  if (all && graph.status().ok()) graph = Rewrite(graph, kJoin, outputs);
  if (graph.status().ok()) graph = Rewrite(graph, kSpecialize, outputs);
  // Constants that have gone into ops are dropped.
  if (graph.status().ok()) graph = Rewrite(graph, {}, outputs);
  return graph;
}

}  // namespace h5serve::compute::optimize
