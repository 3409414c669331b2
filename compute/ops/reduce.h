// Reductions and scans.
#pragma once

#include <vector>

#include "compute/graph.h"

namespace h5serve::compute::ops {

enum class ReduceKind {
  kSum,
  kMean,
  kMax,
  kMin,
  kProduct,
  kVariance,  // of the population
  kStd,
  kLogSumExp,
  kL2Norm,
  kL1Norm,
  kAny,           // bool
  kAll,           // bool
  kCountNonzero,  // int64
};
// Over `axes` (negative from the end; empty: all). Mean, variance, std, norms
// and log-sum-exp give float32; sum, max, min, product keep int64.
Value Reduce(Graph& graph, ReduceKind kind, Value x, std::vector<int64_t> axes, bool keepdims);

enum class ArgKind { kArgMax, kArgMin };
// First index of the extreme along one axis; int64.
Value ArgReduce(Graph& graph, ArgKind kind, Value x, int64_t axis, bool keepdims = false);

enum class ScanKind { kSum, kProduct, kMax, kMin };
Value Cumulative(Graph& graph, ScanKind kind, Value x, int64_t axis, bool exclusive = false,
                 bool reverse = false);

// Softmax over `axes` together (usually one).
Value Softmax(Graph& graph, Value x, std::vector<int64_t> axes);
Value LogSoftmax(Graph& graph, Value x, int64_t axis);
// Projection on the simplex along an axis (Martins & Astudillo 2016).
Value Sparsemax(Graph& graph, Value x, int64_t axis);

// Along the last axis, descending; outputs (values, int64 indices).
std::vector<Value> TopK(Graph& graph, Value x, int64_t k);
// Ascending, stable.
Value Sort(Graph& graph, Value x, int64_t axis, bool descending = false);
Value ArgSort(Graph& graph, Value x, int64_t axis, bool descending = false);

// x / sqrt(max(sum(x^2), epsilon)) over axes.
Value L2Normalize(Graph& graph, Value x, std::vector<int64_t> axes, float epsilon);
// gamma (x - mean) / sqrt(variance + epsilon) + beta with moments over `axes`
// (kept). gamma and beta broadcast against x; either may be invalid (absent).
Value MomentsNormalize(Graph& graph, Value x, std::vector<int64_t> axes, float epsilon, Value gamma,
                       Value beta);

}  // namespace h5serve::compute::ops
