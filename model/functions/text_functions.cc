// Text.
#include "compute/ops/text.h"
#include "model/functions/function_call.h"

namespace h5serve::model {
namespace {

namespace ops = compute::ops;

FunctionArgument HashBuckets(FunctionCall& call) {
  ops::HashAttributes attributes;
  attributes.bins = call.RequiredInt("num_buckets");
  const compute::Value x = call.Tensor("x");
  if (const auto key = call.Ints("key")) {
    if (key->size() != 2) return call.Unsupported("key", "expected two integers");
    attributes.salted = true;
    attributes.salt[0] = static_cast<uint64_t>(key->at(0));
    attributes.salt[1] = static_cast<uint64_t>(key->at(1));
  }
  if (!call.ok()) return {};
  if (call.graph().dtype(x) != compute::DType::kString) return call.Invalid("expected text");
  return FunctionArgument::Tensor(ops::HashBuckets(call.graph(), x, attributes));
}

constexpr FunctionRow kFunctions[] = {
    {"<hash_buckets>", "x, num_buckets, key", HashBuckets},
};

}  // namespace

std::span<const FunctionRow> TextFunctions() { return kFunctions; }

}  // namespace h5serve::model
