// Activation functions of other packages, and layers that are one.

#include <array>

#include "model/custom/catalogue.h"

namespace h5serve::model {
namespace {

constexpr CatalogueRow::Use kAlways = CatalogueRow::Use::kAlways;
constexpr CatalogueRow::Use kOnDemand = CatalogueRow::Use::kOnDemand;

constexpr auto kRows = std::to_array<CatalogueRow>({
    {"bent_identity", "bent_identity BentIdentity", kAlways, "",
     "Wikipedia, Activation function: (sqrt(x^2 + 1) - 1) / 2 + x",
     R"json({"expression": "(sqrt(x * x + 1) - 1) / 2 + x", "mask": "pass"})json"},
    {"drop_path", "DropPath DropConnect FixedDropout", kAlways, "",
     "efficientnet, model.py: dropout, which does nothing when predicting",
     R"json({"expression": "x", "ignore": ["rate", "drop_prob", "drop_connect_rate", "drop_rate",
         "noise_shape", "seed"], "mask": "pass"})json"},
    {"gelu_exact", "gelu_exact gelu_erf", kAlways, "", "arXiv:1606.08415: x Phi(x)",
     R"json({"expression": "0.5 * x * (1 + erf(x / 2 ** 0.5))", "mask": "pass"})json"},
    {"gelu_tanh", "gelu_tanh gelu_new gelu_approx gelu_approximate approximate_gelu", kAlways, "",
     "arXiv:1606.08415: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))",
     R"json({"expression": "0.5 * x * (1 + tanh((2 / pi) ** 0.5 * (x + 0.044715 * x ** 3)))",
         "mask": "pass"})json"},
    {"hard_swish", "hard_swish hardswish hswish h_swish HardSwish Hardswish HSwish Hswish", kAlways,
     "", "arXiv:1905.02244: x relu6(x + 3) / 6",
     R"json({"expression": "x * minimum(maximum(x + 3, 0), 6) / 6", "mask": "pass"})json"},
    {"h_sigmoid", "h_sigmoid hsigmoid HSigmoid Hsigmoid", kAlways, "",
     "arXiv:1905.02244: relu6(x + 3) / 6",
     R"json({"expression": "minimum(maximum(x + 3, 0), 6) / 6", "mask": "pass"})json"},
    {"lisht", "lisht LiSHT Addons>lisht", kAlways, "", "arXiv:1901.05894: x tanh(x)",
     R"json({"expression": "x * tanh(x)", "mask": "pass"})json"},
    {"mish", "mish Mish Addons>mish", kAlways, "", "arXiv:1908.08681: x tanh(softplus(x))",
     R"json({"expression": "x * tanh(softplus(x))", "mask": "pass"})json"},
    {"NonMasking", "NonMasking RemoveMask", kAlways, "",
     "a layer that returns its input without the mask",
     R"json({"expression": "x", "mask": "stop"})json"},
    {"PELU", "PELU", kAlways, "",
     "keras-contrib, layers/advanced_activations/pelu.py: alpha / beta x above 0, "
     "alpha (exp(x / beta) - 1) below",
     R"json({"expression": "relu(x) * (alpha / beta) + alpha * (exp(-relu(-x) / beta) - 1)",
         "parameters": {"shared_axes": null}, "weights": ["alpha", "beta"], "mask": "pass"})json"},
    {"quick_gelu", "quick_gelu quickgelu QuickGELU QuickGelu", kAlways, "",
     "arXiv:1606.08415: x sigmoid(1.702 x)",
     R"json({"expression": "x * sigmoid(1.702 * x)", "mask": "pass"})json"},
    {"relu6", "relu6 ReLU6 Relu6", kAlways, "",
     "Keras 2.1, applications/mobilenet.py: min(max(x, 0), 6)",
     R"json({"expression": "minimum(maximum(x, 0), 6)", "mask": "pass"})json"},
    {"SineReLU", "SineReLU", kAlways, "",
     "keras-contrib, layers/advanced_activations/sinerelu.py: max(x, epsilon (sin x - cos x))",
     R"json({"expression": "maximum(epsilon * (sin(x) - cos(x)), x)", "parameters": {"epsilon": 0.0025},
         "mask": "pass"})json"},
    {"softMaxAxis1", "softMaxAxis1", kAlways, "", "softmax along axis 1",
     R"json({"expression": "softmax(x, axis=1)"})json"},
    {"squared_relu", "squared_relu relu_squared SquaredReLU", kAlways, "",
     "arXiv:2109.08668: max(x, 0)^2",
     R"json({"expression": "square(relu(x))", "mask": "pass"})json"},
    {"swish", "swish Swish", kAlways, "",
     "arXiv:1710.05941, and keras-contrib, layers/advanced_activations/swish.py: x sigmoid(beta x)",
     R"json({"expression": "x * sigmoid(beta * x)", "parameters": {"beta": 1.0}, "mask": "pass"})json"},
    {"tfa.gelu", "Addons>gelu", kOnDemand, "",
     "TensorFlow Addons 0.9 to 0.11, activations/gelu.py: the tanh form unless told otherwise",
     R"json({"expression": "0.5 * x * (1 + tanh((2 / pi) ** 0.5 * (x + 0.044715 * x ** 3)))",
         "mask": "pass"})json"},
    {"tfa.GELU", "Addons>GELU", kAlways, "", "TensorFlow Addons, layers/gelu.py",
     R"json({"expression": "keras.activations.gelu(x, approximate=approximate)",
         "parameters": {"approximate": true}, "mask": "pass"})json"},
    {"tfa.hardshrink", "Addons>hardshrink", kAlways, "",
     "TensorFlow Addons, activations/hardshrink.py: 0 from -0.5 to 0.5, else x",
     R"json({"expression": "where(logical_and(x >= -0.5, x <= 0.5), 0.0, x)", "mask": "pass"})json"},
    {"tfa.snake", "Addons>snake Addons>Snake snake", kAlways, "",
     "TensorFlow Addons, activations/snake.py: x + (1 - cos(2 f x)) / (2 f)",
     R"json({"expression": "x + (1 - cos(2 * frequency * x)) / (2 * frequency)",
         "parameters": {"frequency": 1}, "mask": "pass"})json"},
    {"tfa.softshrink", "Addons>softshrink", kAlways, "",
     "TensorFlow Addons, activations/softshrink.py: x moved by 0.5 towards 0",
     R"json({"expression": "where(x < -0.5, x + 0.5, where(x > 0.5, x - 0.5, 0.0))",
         "mask": "pass"})json"},
    {"tfa.Sparsemax", "Addons>sparsemax Addons>Sparsemax", kAlways, "",
     "arXiv:1602.02068: the projection on the simplex",
     R"json({"expression": [
         "refuse('an axis other than the last') if axis not in [-1, ndim(x) - 1] else 0",
         "z = -sort(-x, axis=-1)",
         "k = arange(1, x.shape[-1] + 1, 1, float32)",
         "s = cast(1 + k * z > cumsum(z, axis=-1), float32)",
         "tau = (sum(s * z, axis=-1, keepdims=True) - 1) / sum(s, axis=-1, keepdims=True)",
         "maximum(x - tau, 0)"],
       "parameters": {"axis": -1}, "mask": "pass"})json"},
    {"tfa.tanhshrink", "Addons>tanhshrink", kAlways, "",
     "TensorFlow Addons, activations/tanhshrink.py: x - tanh(x)",
     R"json({"expression": "x - tanh(x)", "mask": "pass"})json"},
});

}  // namespace

std::span<const CatalogueRow> CatalogueActivations() { return kRows; }

}  // namespace h5serve::model
