// Normalisation and scaling layers, and wrappers that normalise weights.

#include <array>

#include "model/custom/catalogue.h"

namespace h5serve::model {
namespace {

constexpr CatalogueRow::Use kAlways = CatalogueRow::Use::kAlways;

constexpr auto kRows = std::to_array<CatalogueRow>({
    {"contrib.GroupNormalization", "GroupNormalization", kAlways, "dialect == 'keras2'",
     "keras-contrib, layers/normalization/groupnormalization.py, which cuts groups after the batch "
     "axis without moving the channels there",
     R"json({"expression": [
         "shape = x.shape",
         "n = ndim(x)",
         "a = axis % n",
         "cut = [shape[i] // groups if i == a else shape[i] for i in range(1, n)]",
         "h = reshape(x, [shape[0], groups] + cut)",
         "axes = [i for i in range(2, n + 1)]",
         "h = (h - mean(h, axis=axes, keepdims=True)) / sqrt(var(h, axis=axes, keepdims=True) + epsilon)",
         "b = [1, groups] + [shape[i] // groups if i == a else 1 for i in range(1, n)]",
         "h = h * reshape(gamma, b) if scale else h",
         "h = h + reshape(beta, b) if center else h",
         "reshape(h, shape)"],
       "parameters": {"groups": 32, "axis": -1, "epsilon": 1e-5, "center": true, "scale": true},
       "weights": ["gamma if scale", "beta if center"], "mask": "pass"})json"},
    {"contrib.InstanceNormalization", "InstanceNormalization", kAlways,
     "'groups' not in config and 'epsilon' in config and 'axis' in config",
     "keras-contrib, layers/normalization/instancenormalization.py: (x - mean) / (std + epsilon)",
     R"json({"expression": [
         "n = ndim(x)",
         "a = None if axis is None else axis % n",
         "axes = [i for i in range(1, n) if a is None or i != a]",
         "h = (x - mean(x, axis=axes, keepdims=True)) / (std(x, axis=axes, keepdims=True) + epsilon)",
         "b = [x.shape[i] if a is not None and i == a else 1 for i in range(n)]",
         "h = h * reshape(gamma, b) if scale else h",
         "h + reshape(beta, b) if center else h"],
       "parameters": {"axis": null, "epsilon": 1e-3, "center": true, "scale": true},
       "weights": ["gamma if scale", "beta if center"], "mask": "pass"})json"},
    {"L2Normalization", "L2Normalization", kAlways, "'gamma_init' in config",
     "ssd_keras, keras_layers/keras_layer_L2Normalization.py: gamma x / |x| over the channels",
     R"json({"expression": "l2_normalize(x, axis=3, epsilon=1e-12) * gamma",
       "parameters": {"gamma_init": 20}, "weights": [{"name": "gamma", "saved": "{name}_gamma"}]})json"},
    {"Normalize", "Normalize", kAlways, "'scale' not in config",
     "ssd_keras (rykov8), ssd_layers.py: gamma x / |x| over the channels",
     R"json({"expression": "l2_normalize(x, axis=3, epsilon=1e-12) * gamma",
       "weights": [{"name": "gamma", "saved": "{name}_gamma"}]})json"},
    {"Scale", "Scale", kAlways, "'axis' in config",
     "DenseNet-Keras, custom_layers.py: gamma x + beta along an axis",
     R"json({"expression": [
         "b = [x.shape[i] if i == axis % ndim(x) else 1 for i in range(ndim(x))]",
         "reshape(gamma, b) * x + reshape(beta, b)"],
       "parameters": {"axis": -1, "momentum": 0.9},
       "weights": [{"name": "gamma", "saved": "{name}_gamma"},
                   {"name": "beta", "saved": "{name}_beta"}]})json"},
    {"tfa.GroupNormalization", "Addons>GroupNormalization", kAlways, "",
     "TensorFlow Addons, layers/normalizations.py: (x - mean) / sqrt(variance + epsilon) by groups",
     R"json({"layer": "GroupNormalization", "config": {"groups": "$groups", "axis": "$axis",
         "epsilon": "$epsilon", "center": "$center", "scale": "$scale"},
       "parameters": {"groups": 32, "axis": -1, "epsilon": 1e-3, "center": true, "scale": true}})json"},
    {"tfa.InstanceNormalization", "InstanceNormalization Addons>InstanceNormalization", kAlways,
     "'groups' in config",
     "TensorFlow Addons, layers/normalizations.py: (x - mean) / sqrt(variance + epsilon)",
     R"json({"layer": "GroupNormalization", "config": {"groups": -1, "axis": "$axis",
         "epsilon": "$epsilon", "center": "$center", "scale": "$scale"},
       "parameters": {"groups": -1, "axis": -1, "epsilon": 1e-3, "center": true, "scale": true}})json"},
    {"tfa.SpectralNormalization", "Addons>SpectralNormalization", kAlways, "",
     "TensorFlow Addons, layers/spectral_normalization.py: the stored kernel is normalised already",
     R"json({"expression": "layer(x)", "parameters": {"power_iterations": 1},
       "weights": [{"name": "sn_u", "trainable": false}]})json"},
    {"tfa.WeightNormalization", "WeightNormalization Addons>WeightNormalization", kAlways,
     "'data_init' in config",
     "TensorFlow Addons, layers/wrappers.py: kernel = g v / |v| over all axes but the last",
     R"json({"expression": [
         "v = layer.kernel",
         "axes = [i for i in range(ndim(v) - 1)]",
         "layer(x, kernel=v * rsqrt(maximum(sum(square(v), axis=axes, keepdims=True), 1e-12)) * g)"],
       "parameters": {"data_init": true},
       "weights": ["g", {"name": "initialized", "trainable": false}],
       "ignore": ["data_dep_init/kernel", "data_dep_init/bias"]})json"},
});

}  // namespace

std::span<const CatalogueRow> CatalogueNormalizations() { return kRows; }

}  // namespace h5serve::model
