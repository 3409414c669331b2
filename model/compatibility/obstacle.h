// Why a release of Keras does not load a file.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/compatibility/releases.h"
#include "model/diagnosis.h"

namespace h5serve::model {

// Stable causes; their names (UNKNOWN_CLASS, …) are part of the interface. To
// add one, add its row to obstacle.cc.
enum class Cause {
  kUnreadable,
  kContainer,
  kFileName,
  kNoModelConfig,
  kSequentialForm,
  kUnknownClass,
  kOperationNode,
  kMissingArgument,
  kUnknownArgument,
  kArgumentMisread,
  kUnknownActivation,
  kUnknownInitializer,
  kInitializerArgument,
  kRegularizerForm,
  kWrappedLayerForm,
  kModulePath,
  kNameNotAllowed,
  kNoInputShape,
  kLambdaBytecode,
  kLambdaSafeMode,
  kLambdaFunctionName,
  kIntegerEmbedding,
  kInputShapeMisread,
  kNodeIndex,
  kWeightShape,
  kOptimizerClass,
  kOptimizerArgument,
  kLossName,
  kMissingOnBackend,
};

struct CauseInfo {
  Cause cause;
  std::string_view name;
  std::string_view remedy;  // for somebody who must use that release
};

const CauseInfo& Info(Cause cause);
std::span<const CauseInfo> AllCauses();
std::string_view Name(Cause cause);

struct Obstacle {
  Cause cause;
  std::string message;  // our words: one sentence, lower case first, no full stop
  std::string error;    // what that Keras prints, as far as it can be foretold
  Place where;
  // Only with this backend, "theano"; "" for every backend.
  std::string only_with;
  std::string remedy;  // the cause's usual one when empty

  std::string_view Remedy() const { return remedy.empty() ? Info(cause).remedy : remedy; }
};

// What one release does with a file.
struct ReleaseVerdict {
  Release release;
  // In the order in which the release meets them: it stops at the first.
  std::vector<Obstacle> obstacles;
  // Loads, but computes something else; sentences.
  std::vector<std::string> notes;

  // With a backend that suits it.
  bool loads() const;
};

}  // namespace h5serve::model
