#include "model/dialect/weight_layouts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "model/dialect/weight_slots.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Shape;
using compute::Tensor;
using Dialect = Writer::Dialect;

// Copies with permuted axes; `flip` reverses an axis of the result.
Tensor Permuted(const Tensor& tensor, const std::vector<int>& axes, const std::vector<bool>& flip) {
  const int rank = tensor.shape().rank();
  std::vector<int64_t> strides(rank, 1);
  for (int i = rank - 2; i >= 0; --i) strides[i] = strides[i + 1] * tensor.shape()[i + 1];
  Shape shape;
  std::vector<int64_t> step(rank);
  int64_t start = 0;
  for (int i = 0; i < rank; ++i) {
    shape.push_back(tensor.shape()[axes[i]]);
    step[i] = strides[axes[i]];
    if (flip[i]) {
      start += (shape[i] - 1) * step[i];
      step[i] = -step[i];
    }
  }
  Tensor result = Tensor::Allocate(DType::kFloat32, shape);
  const float* from = tensor.data<float>() + start;
  float* to = result.mutable_data<float>();
  const int64_t count = result.num_elements();
  std::vector<int64_t> at(rank, 0);
  for (int64_t n = 0; n < count; ++n) {
    to[n] = *from;
    for (int i = rank - 1; i >= 0; --i) {
      from += step[i];
      if (++at[i] < shape[i]) break;
      from -= step[i] * shape[i];
      at[i] = 0;
    }
  }
  return result;
}

Tensor Transposed(const Tensor& tensor, const std::vector<int>& axes) {
  if (static_cast<int>(axes.size()) != tensor.shape().rank()) return tensor;
  return Permuted(tensor, axes, std::vector<bool>(axes.size(), false));
}

// Reverses every axis but the last two.
Tensor Flipped(const Tensor& tensor) {
  const int rank = tensor.shape().rank();
  if (rank < 3 || tensor.num_elements() == 0) return tensor;
  std::vector<int> axes(rank);
  std::iota(axes.begin(), axes.end(), 0);
  std::vector<bool> flip(rank, true);
  flip[rank - 1] = flip[rank - 2] = false;
  return Permuted(tensor, axes, flip);
}

// Concatenates along the last axis; empty when the shapes do not fit.
Tensor JoinLast(const std::vector<Tensor>& parts) {
  if (parts.empty()) return {};
  Shape shape = parts[0].shape();
  const int rank = shape.rank();
  if (rank == 0) return {};
  int64_t last = 0;
  for (const Tensor& part : parts) {
    if (part.shape().rank() != rank || part.dtype() != DType::kFloat32) return {};
    for (int i = 0; i + 1 < rank; ++i) {
      if (part.shape()[i] != shape[i]) return {};
    }
    last += part.shape().back();
  }
  shape.back() = last;
  Tensor result = Tensor::Allocate(DType::kFloat32, shape);
  float* to = result.mutable_data<float>();
  const int64_t rows = last == 0 ? 0 : result.num_elements() / last;
  for (int64_t row = 0; row < rows; ++row) {
    for (const Tensor& part : parts) {
      const int64_t width = part.shape().back();
      std::memcpy(to, part.data<float>() + row * width, width * sizeof(float));
      to += width;
    }
  }
  return result;
}

class Converter {
 public:
  Converter(const Writer& writer, ModelWeights* weights, DiagnosisList* diagnoses)
      : writer_(writer), weights_(*weights), diagnoses_(*diagnoses) {}

  void Model(KerasModel& model) {
    for (auto& layer : model.layers) Convert(*layer);
  }

  int flipped() const { return flipped_; }

 private:
  void Convert(Layer& layer) {
    const auto at = weights_.find(&layer);
    if (at != weights_.end()) {
      ToFloat32(at->second);
      if (writer_.dialect == Dialect::kKeras1) FromKeras1(layer, at->second);
      if (writer_.theano) FlipTheano(layer, at->second);
      FromCudnn(layer, at->second);
      SettleGru(layer, at->second);
    }
    for (auto& inner : layer.inner) Convert(*inner);
    if (layer.nested) Model(*layer.nested);
  }

  static void ToFloat32(LayerWeights& weights) {
    for (auto& [role, tensor] : weights) {
      if (!compute::IsFloat(tensor.dtype()) || tensor.dtype() == DType::kFloat32) continue;
      absl::StatusOr<Tensor> cast = compute::Cast(tensor, DType::kFloat32);
      if (cast.ok()) tensor = *std::move(cast);
    }
  }

  // One array per gate -> one per kind, gates in canonical order.
  void JoinGates(const Layer& layer, LayerWeights& weights, std::string_view gates,
                 bool transpose) {
    const std::pair<const char*, const char*> kinds[] = {
        {"W_", "kernel"}, {"U_", "recurrent_kernel"}, {"b_", "bias"}};
    for (const auto& [prefix, role] : kinds) {
      std::vector<Tensor> parts;
      for (char gate : gates) {
        const auto at = weights.find(prefix + std::string(1, gate));
        if (at == weights.end()) return;
        Tensor part = at->second;
        if (transpose && part.shape().rank() == 4) part = Transposed(part, {2, 3, 1, 0});
        parts.push_back(part);
      }
      Tensor joined = JoinLast(parts);
      if (joined.empty()) {
        diagnoses_.Add(
            Code::kWeightShapeMismatch,
            fmt::format("the gates of {} of layer {} have different shapes", role, layer.name),
            {layer.name, layer.written_class, layer.json_pointer, ""});
        return;
      }
      weights[role] = joined;
    }
    for (const auto& [prefix, role] : kinds) {
      for (char gate : gates) weights.erase(prefix + std::string(1, gate));
    }
  }

  static void TransposeRole(LayerWeights& weights, std::string_view role,
                            const std::vector<int>& axes) {
    const auto at = weights.find(role);
    if (at != weights.end()) at->second = Transposed(at->second, axes);
  }

  // Source: preprocess_weights_for_loading in keras/engine/saving.py of 2.2.4.
  void FromKeras1(const Layer& layer, LayerWeights& weights) {
    const std::string& name = layer.class_name;
    const bool first = layer.config.StringOr("data_format") == "channels_first";
    if (weights.contains("W_i")) {
      JoinGates(layer, weights, "ifco", first);
    } else if (weights.contains("W_z")) {
      JoinGates(layer, weights, "zrh", false);
    } else if (name == "Conv1D") {
      Keras1Conv1D(layer, weights);
    } else if (name == "Conv2D") {
      if (first) TransposeRole(weights, "kernel", {2, 3, 1, 0});
    } else if (name == "Conv2DTranspose") {
      TransposeRole(weights, "kernel", first ? std::vector{2, 3, 0, 1} : std::vector{0, 1, 3, 2});
    } else if (name == "SeparableConv2D" && first) {
      TransposeRole(weights, "depthwise_kernel", {2, 3, 1, 0});
      TransposeRole(weights, "pointwise_kernel", {2, 3, 1, 0});
    } else if (name == "Conv3D" && first) {
      TransposeRole(weights, "kernel", {2, 3, 4, 1, 0});
    }
  }

  // Stored as a two-dimensional convolution of width 1; before 1.1 transposed.
  static void Keras1Conv1D(const Layer& layer, LayerWeights& weights) {
    const auto at = weights.find("kernel");
    if (at == weights.end() || at->second.shape().rank() != 4) return;
    Tensor kernel = at->second;
    const std::optional<int64_t> filters = layer.config["filters"].ToInt();
    if (kernel.shape()[1] != 1 || (filters && kernel.shape()[3] != *filters)) {
      kernel = Transposed(kernel, {2, 3, 1, 0});
    }
    if (kernel.shape()[1] != 1) return;
    at->second = kernel.Reshaped(Shape{kernel.shape()[0], kernel.shape()[2], kernel.shape()[3]});
  }

  // Theano convolves, everyone else correlates.
  void FlipTheano(const Layer& layer, LayerWeights& weights) {
    const std::string& name = layer.class_name;
    const bool convolution = name == "Conv1D" || name == "Conv2D" || name == "Conv3D" ||
                             name == "Conv2DTranspose" || name == "Conv3DTranspose" ||
                             name == "ConvLSTM2D" ||
                             name == "ConvLSTM2DCell";
    if (!convolution) return;
    for (const char* role : {"kernel", "recurrent_kernel"}) {
      const auto at = weights.find(role);
      if (at == weights.end()) continue;
      at->second = Flipped(at->second);
      ++flipped_;
    }
  }

  // One gate's block, stored by cuDNN as the transposed matrix.
  static void CudnnBlocks(Tensor& kernel, int64_t gates) {
    const int64_t rows = kernel.shape()[0];
    const int64_t units = kernel.shape()[1] / gates;
    Tensor result = Tensor::Allocate(DType::kFloat32, kernel.shape());
    const float* from = kernel.data<float>();
    float* to = result.mutable_data<float>();
    const int64_t width = gates * units;
    for (int64_t g = 0; g < gates; ++g) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t u = 0; u < units; ++u) {
          // The block's row-major buffer is read as a (units, rows) matrix.
          const int64_t index = u * rows + r;
          to[r * width + g * units + u] = from[(index / units) * width + g * units + index % units];
        }
      }
    }
    kernel = result;
  }

  void FromCudnn(Layer& layer, LayerWeights& weights) {
    const bool lstm = layer.class_name == "LSTM";
    if (!lstm && layer.class_name != "GRU") return;
    const int64_t gates = lstm ? 4 : 3;
    const auto kernel = weights.find("kernel");
    const auto recurrent = weights.find("recurrent_kernel");
    const auto bias = weights.find("bias");
    if (kernel == weights.end() || recurrent == weights.end() || bias == weights.end()) return;
    if (kernel->second.shape().rank() != 2 || recurrent->second.shape().rank() != 2 ||
        bias->second.shape().rank() != 1) {
      return;
    }
    const int64_t units = recurrent->second.shape()[0];
    if (units == 0 || bias->second.shape()[0] != 2 * gates * units ||
        kernel->second.shape()[1] != gates * units ||
        recurrent->second.shape()[1] != gates * units) {
      return;
    }
    CudnnBlocks(kernel->second, gates);
    CudnnBlocks(recurrent->second, gates);
    if (lstm) {
      Tensor sum = Tensor::Allocate(DType::kFloat32, Shape{gates * units});
      const float* from = bias->second.data<float>();
      for (int64_t i = 0; i < gates * units; ++i) {
        sum.mutable_data<float>()[i] = from[i] + from[gates * units + i];
      }
      bias->second = sum;
    } else {
      bias->second = bias->second.Reshaped(Shape{2, gates * units});
      if (layer.config["reset_after"].is_bool() && !layer.config["reset_after"].as_bool()) {
        diagnoses_.Add(Code::kRnnLayoutConflict,
                       fmt::format("layer {}: the config says reset_after=false, a bias of {} "
                                   "values belongs to reset_after=true",
                                   layer.name, 2 * gates * units),
                       {layer.name, layer.written_class, layer.json_pointer, ""});
      }
    }
  }

  // The rank of the bias tells reset_after better than the config, which older
  // versions did not write.
  static void SettleGru(Layer& layer, const LayerWeights& weights) {
    if ((layer.class_name != "GRU" && layer.class_name != "GRUCell") || !layer.config.is_dict()) {
      return;
    }
    const auto bias = weights.find("bias");
    if (bias == weights.end()) return;
    layer.config.as_dict().insert_or_assign("reset_after", bias->second.shape().rank() == 2);
  }

  const Writer& writer_;
  ModelWeights& weights_;
  DiagnosisList& diagnoses_;
  int flipped_ = 0;
};

}  // namespace

void ConvertLayouts(KerasModel* model, const Writer& writer, ModelWeights* weights,
                    DiagnosisList* diagnoses) {
  Converter converter(writer, weights, diagnoses);
  converter.Model(*model);
  if (converter.flipped() > 0) {
    diagnoses->Add(Code::kBackendConverted,
                   fmt::format("{} convolution kernels were flipped: {} convolves where other "
                               "backends correlate; 'same' padding follows its rule",
                               converter.flipped(), writer.backend));
  }
}

}  // namespace h5serve::model
