#include "compute/batching/rows.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace h5serve::compute::batching {

bool HasRows(const BatchRequest& request) { return HasRows(request.inputs, request.rows); }

bool HasRows(const Outputs& outputs, int64_t rows) {
  return std::all_of(outputs.begin(), outputs.end(), [rows](const Tensor& output) {
    return output.shape().rank() > 0 && output.shape()[0] == rows;
  });
}

bool SameTrailing(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    const std::span<const int64_t> dims_a = a[i].shape().dims();
    const std::span<const int64_t> dims_b = b[i].shape().dims();
    if (a[i].dtype() != b[i].dtype() || dims_a.size() != dims_b.size()) return false;
    if (!std::equal(dims_a.begin() + 1, dims_a.end(), dims_b.begin() + 1)) return false;
  }
  return true;
}

Tensor ConcatRows(std::span<const Tensor> pieces) {
  int64_t rows = 0;
  for (const Tensor& piece : pieces) rows += piece.shape()[0];
  Shape shape = pieces[0].shape();
  shape[0] = rows;
  Tensor result = Tensor::Allocate(pieces[0].dtype(), shape);
  if (result.dtype() == DType::kString) {
    std::string* to = result.mutable_data<std::string>();
    for (const Tensor& piece : pieces) {
      to = std::copy_n(piece.data<std::string>(), piece.num_elements(), to);
    }
    return result;
  }
  char* to = static_cast<char*>(result.raw_mutable_data());
  for (const Tensor& piece : pieces) {
    if (piece.size_bytes() > 0) std::memcpy(to, piece.raw_data(), piece.size_bytes());
    to += piece.size_bytes();
  }
  return result;
}

std::vector<Tensor> SegmentInputs(const Segment& segment) {
  const std::vector<Tensor>& inputs = segment.pending->request.inputs;
  if (segment.whole()) return inputs;
  std::vector<Tensor> rows;
  for (const Tensor& input : inputs) rows.push_back(input.Rows(segment.begin, segment.end));
  return rows;
}

std::vector<Tensor> BatchInputs(std::span<const Segment> batch) {
  if (batch.size() == 1) return SegmentInputs(batch[0]);
  std::vector<std::vector<Tensor>> columns(batch[0].pending->request.inputs.size());
  for (const Segment& segment : batch) {
    std::vector<Tensor> inputs = SegmentInputs(segment);
    for (size_t i = 0; i < inputs.size(); ++i) columns[i].push_back(std::move(inputs[i]));
  }
  std::vector<Tensor> merged;
  for (const std::vector<Tensor>& column : columns) merged.push_back(ConcatRows(column));
  return merged;
}

std::vector<Outputs> SplitOutputs(const Outputs& outputs, std::span<const Segment> batch) {
  std::vector<Outputs> split;
  int64_t begin = 0;
  for (const Segment& segment : batch) {
    Outputs& own = split.emplace_back();
    for (const Tensor& output : outputs) own.push_back(output.Rows(begin, begin + segment.rows()));
    begin += segment.rows();
  }
  return split;
}

}  // namespace h5serve::compute::batching
