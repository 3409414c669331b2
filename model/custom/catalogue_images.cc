// Layers over images, capsules, and layers that round their weights.

#include <array>

#include "model/custom/catalogue.h"

namespace h5serve::model {
namespace {

constexpr CatalogueRow::Use kAlways = CatalogueRow::Use::kAlways;
constexpr CatalogueRow::Use kOnDemand = CatalogueRow::Use::kOnDemand;

constexpr auto kRows = std::to_array<CatalogueRow>({
    {"BilinearUpsampling (align corners)", "BilinearUpsampling", kOnDemand, "",
     "keras-deeplab-v3-plus, model.py: tf.image.resize_bilinear(…, align_corners=True)",
     R"json({"expression": [
         "size = output_size or [int(x.shape[1] * upsampling[0]), int(x.shape[2] * upsampling[1])]",
         "tf.compat.v1.image.resize_bilinear(x, size, align_corners=True)"],
       "parameters": {"upsampling": [2, 2], "output_size": null, "data_format": null}})json"},
    {"BilinearUpsampling (half pixels)", "BilinearUpsampling BilinearUpSampling2D", kOnDemand, "",
     "tf.image.resize(…, method='bilinear') of TensorFlow 2",
     R"json({"expression": [
         "factor = upsampling or size",
         "to = output_size or target_size or [int(x.shape[1] * factor[0]), int(x.shape[2] * factor[1])]",
         "tf.image.resize(x, to, method='bilinear')"],
       "parameters": {"upsampling": null, "size": [2, 2], "output_size": null, "target_size": null,
         "data_format": null}})json"},
    {"BilinearUpsampling (legacy)", "BilinearUpsampling BilinearUpSampling2D", kOnDemand, "",
     "tf.image.resize_bilinear of TensorFlow 1",
     R"json({"expression": [
         "factor = upsampling or size",
         "to = output_size or target_size or [int(x.shape[1] * factor[0]), int(x.shape[2] * factor[1])]",
         "tf.compat.v1.image.resize_bilinear(x, to)"],
       "parameters": {"upsampling": null, "size": [2, 2], "output_size": null, "target_size": null,
         "data_format": null}})json"},
    {"CapsuleLayer", "CapsuleLayer", kAlways,
     "'num_capsule' in config and 'dim_capsule' in config and 'routings' in config",
     "CapsNet-Keras, capsulelayers.py: dynamic routing (arXiv:1710.09829)",
     R"json({"expression": [
         "u = einsum('bid,oied->boie', x, W)",
         "b = zeros_like(u[:, :, :, 0])",
         "v = [(c := softmax(b, axis=1), s := einsum('boi,boie->boe', c, u), q := sum(square(s), axis=-1, keepdims=True), o := q / (1 + q) / sqrt(q + 1e-7) * s, b := b + einsum('boe,boie->boi', o, u), o)[3] for r in range(routings)]",
         "v[-1]"],
       "parameters": {"num_capsule": null, "dim_capsule": null, "routings": 3},
       "weights": ["W"]})json"},
    {"Length (capsules)", "Length", kOnDemand, "",
     "CapsNet-Keras, capsulelayers.py: the length of each capsule's vector",
     R"json({"expression": "sqrt(sum(square(x), axis=-1) + 1e-7)"})json"},
    {"Mask (capsules)", "Mask", kOnDemand, "",
     "CapsNet-Keras, capsulelayers.py: the longest capsule, or the one a second input names",
     R"json({"expression": [
         "c = inputs[0]",
         "m = inputs[1] if len(inputs) == 2 else one_hot(argmax(sqrt(sum(square(c), axis=-1)), axis=1), c.shape[1])",
         "y = c * expand_dims(m, -1)",
         "reshape(y, [-1, c.shape[1] * c.shape[2]])"]})json"},
    {"PixelShuffler", "PixelShuffler", kAlways, "'size' in config",
     "faceswap, lib/model/layers.py: channels to pixels",
     R"json({"expression": [
         "refuse('channels_first') if data_format == 'channels_first' else 0",
         "r = size if len(size) == 2 else size + size",
         "s = x.shape",
         "c = s[3] // (r[0] * r[1])",
         "y = transpose(reshape(x, [-1, s[1], s[2], r[0], r[1], c]), [0, 1, 3, 2, 4, 5])",
         "reshape(y, [-1, s[1] * r[0], s[2] * r[1], c])"],
       "parameters": {"size": [2, 2], "data_format": null}})json"},
    {"QActivation", "QActivation qkeras>QActivation", kOnDemand, "",
     "QKeras, quantizers.py: quantized_relu and quantized_bits round to multiples of a step",
     R"json({"expression": [
         "t = quantizer(activation)",
         "clip(round(x * t[0]), t[1], t[2]) / t[0]"],
       "parameters": {"activation": null}, "mask": "pass"})json"},
    {"QConv2D", "QConv2D qkeras>QConv2D", kOnDemand, "",
     "QKeras, qconvolutional.py: a convolution with rounded weights",
     R"json({"expression": [
         "refuse('channels_first or groups') if data_format == 'channels_first' or groups != 1 else 0",
         "q = quantizer(kernel_quantizer)",
         "w = kernel if q is None else clip(round(kernel * q[0]), q[1], q[2]) / q[0]",
         "p = quantizer(bias_quantizer)",
         "b = 0.0 if not use_bias else bias if p is None else clip(round(bias * p[0]), p[1], p[2]) / p[0]",
         "y = conv(x, w, strides=strides, padding=padding, dilation_rate=dilation_rate) + b",
         "t = quantizer(activation) if is_quantizer(activation) else None",
         "activation(y) if t is None else clip(round(y * t[0]), t[1], t[2]) / t[0]"],
       "parameters": {"filters": null, "kernel_size": null, "strides": [1, 1], "padding": "valid",
         "data_format": null, "dilation_rate": [1, 1], "groups": 1, "activation": null,
         "use_bias": true, "kernel_quantizer": null, "bias_quantizer": null},
       "ignore": ["kernel_range", "bias_range", "mask"],
       "weights": ["kernel", "bias if use_bias"]})json"},
    {"QDense", "QDense qkeras>QDense", kOnDemand, "",
     "QKeras, qlayers.py: a dense layer with rounded weights",
     R"json({"expression": [
         "q = quantizer(kernel_quantizer)",
         "w = kernel if q is None else clip(round(kernel * q[0]), q[1], q[2]) / q[0]",
         "p = quantizer(bias_quantizer)",
         "b = 0.0 if not use_bias else bias if p is None else clip(round(bias * p[0]), p[1], p[2]) / p[0]",
         "y = K.dot(x, w) + b",
         "t = quantizer(activation) if is_quantizer(activation) else None",
         "activation(y) if t is None else clip(round(y * t[0]), t[1], t[2]) / t[0]"],
       "parameters": {"units": null, "activation": null, "use_bias": true,
         "kernel_quantizer": null, "bias_quantizer": null},
       "ignore": ["kernel_range", "bias_range"],
       "weights": ["kernel", "bias if use_bias"]})json"},
    {"ReflectionPadding2D", "ReflectionPadding2D", kAlways, "'padding' in config",
     "tf.pad(…, 'REFLECT') on rows and columns, as in style transfer and CycleGAN",
     R"json({"expression": [
         "p = [padding, padding] if ndim(padding) == 0 else padding",
         "refuse('padding that differs between rows and columns') if p[0] != p[1] else 0",
         "pad(x, [[0, 0], [p[0], p[0]], [p[1], p[1]], [0, 0]], mode='reflect')"],
       "parameters": {"padding": [1, 1], "data_format": null}})json"},
    {"SpatialPyramidPooling", "SpatialPyramidPooling", kAlways, "'pool_list' in config",
     "keras-spp, SpatialPyramidPooling.py: maxima of n by n regions whose borders are rounded",
     R"json({"expression": [
         "h = x.shape[1]",
         "w = x.shape[2]",
         "out = []",
         "t = [[[(out := out + [max(x[:, round(j * (h / n)):round(j * (h / n) + h / n), round(i * (w / n)):round(i * (w / n) + w / n)], axis=[1, 2])]) for i in range(n)] for j in range(n)] for n in pool_list]",
         "concatenate(out, axis=-1)"],
       "parameters": {"pool_list": null}})json"},
    {"SubPixelUpscaling", "SubPixelUpscaling", kAlways, "'scale_factor' in config",
     "keras-contrib, layers/convolutional/subpixelupscaling.py: tf.depth_to_space",
     R"json({"expression": [
         "refuse('channels_first') if data_format == 'channels_first' else 0",
         "tf.nn.depth_to_space(x, scale_factor)"],
       "parameters": {"scale_factor": 2, "data_format": null}})json"},
    {"tfa.StochasticDepth", "Addons>StochasticDepth", kAlways, "",
     "TensorFlow Addons, layers/stochastic_depth.py: shortcut + survival_probability residual",
     R"json({"inputs": ["shortcut", "residual"],
       "expression": "shortcut + survival_probability * residual",
       "parameters": {"survival_probability": 0.5}})json"},
    {"wBiFPNAdd", "wBiFPNAdd", kAlways, "",
     "EfficientDet (xuannianz), layers.py: inputs weighted by relu(w) over their sum plus epsilon",
     R"json({"expression": [
         "r = relu(w)",
         "y = 0.0",
         "t = [(y := y + r[i] * inputs[i]) for i in range(len(inputs))]",
         "y / (sum(r) + epsilon)"],
       "parameters": {"epsilon": 1e-4}, "weights": [{"name": "w", "saved": "{name}"}]})json"},
});

}  // namespace

std::span<const CatalogueRow> CatalogueImages() { return kRows; }

}  // namespace h5serve::model
