// What a release makes of one layer's config.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "model/compatibility/known_names.h"
#include "model/compatibility/rehearsal.h"

namespace h5serve::model {
namespace {

// "'a', 'b', and 'c'", as Python lists missing arguments.
std::string PythonList(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += names.size() == 2 ? " and " : i + 1 == names.size() ? ", and " : ", ";
    text += fmt::format("'{}'", names[i]);
  }
  return text;
}

bool IsRecurrent(std::string_view class_name) {
  return class_name == "LSTM" || class_name == "GRU" || class_name == "SimpleRNN" ||
         class_name == "Bidirectional";
}

// The bytes a function text stands for: base64, or before Keras 2.1.2 one
// character a byte.
std::string CodeBytes(const std::string& text) {
  std::string compact;
  std::ranges::copy_if(text, std::back_inserter(compact), [](char c) { return c != '\n'; });
  std::string bytes;
  if (absl::Base64Unescape(compact, &bytes) && !bytes.empty() &&
      (bytes[0] == 'c' || bytes[0] == '\xE3')) {
    return bytes;
  }
  bytes.clear();
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte == 0xC2 || byte == 0xC3) && i + 1 < text.size()) {
      bytes += static_cast<char>((byte == 0xC3 ? 0x40 : 0) + static_cast<unsigned char>(text[++i]));
    } else {
      bytes += static_cast<char>(byte);
    }
  }
  return bytes;
}

const ConfigValue& CodeOf(const ConfigValue& function) {
  if (function.is_list() && !function.as_list().empty()) return function.as_list()[0];
  return function["config"].is_dict() ? function["config"]["code"] : function["code"];
}

}  // namespace

std::string PythonOfBytecode(const ConfigValue& function) {
  const ConfigValue& code = CodeOf(function);
  if (!code.is_string()) return "";
  const std::string bytes = CodeBytes(code.as_string());
  if (bytes.empty()) return "";
  if (bytes[0] == 'c') return "2.7";
  if (bytes[0] != '\xE3') return "";
  const auto is_bytes = [&](size_t at) {
    return at < bytes.size() && (bytes[at] == 's' || bytes[at] == '\xF3');
  };
  // Six counts before the code since positional-only arguments exist.
  if (!is_bytes(21)) return is_bytes(25) ? "3.8 to 3.10" : "";
  const size_t first_instruction = 26;
  if (bytes.size() <= first_instruction) return "";
  const auto instruction = static_cast<unsigned char>(bytes[first_instruction]);
  // RESUME, COPY_FREE_VARS or MAKE_CELL starts every function since 3.11.
  const bool recent =
      instruction == 151 || instruction == 149 || instruction == 135 || instruction == 128;
  return recent ? "3.11 or later" : "3.4 to 3.7";
}

void Rehearsal::Arguments(const Element& element, const Constructor& constructor) {
  const ConstructorCall call =
      CallConstructor(element.class_name, constructor, element.config, release());
  const bool keras3 = line() == KerasLine::kKeras3;
  const auto missing = [&] {
    if (call.missing.empty()) return;
    const std::string error =
        fmt::format("TypeError: {}.__init__() missing {} required positional argument{}: {}",
                    constructor.class_name, call.missing.size(),
                    call.missing.size() == 1 ? "" : "s", PythonList(call.missing));
    Add(Cause::kMissingArgument, element.place,
        fmt::format("{} needs {}, which the file does not hold{}", element.class_name,
                    PythonList(call.missing),
                    release() <= Release::k1_2_2 ? ": Keras 1 has other argument names"
                                                 : ": the file uses other argument names"),
        error);
  };
  if (!call.strict) missing();
  for (const std::string& key : call.unknown) {
    std::string error;
    if (call.strict && !(line() == KerasLine::kTfKeras)) {
      error = fmt::format("TypeError: {}.__init__() got an unexpected keyword argument '{}'",
                          constructor.class_name, key);
    } else if (keras3) {
      error = fmt::format("ValueError: Unrecognized keyword arguments passed to {}: {{'{}': {}}}",
                          constructor.class_name, key, element.config[key].ToJson(40));
    } else if (call.strict) {
      error = fmt::format("ValueError: Unrecognized keyword arguments: ['{}']", key);
    } else {
      error = fmt::format("TypeError: ('Keyword argument not understood:', '{}')", key);
    }
    Add(Cause::kUnknownArgument, element.place,
        fmt::format("{} of this release does not take '{}'{}", element.class_name, key,
                    call.unknown.size() == 1
                        ? ""
                        : fmt::format(", nor {}",
                                      PythonList({call.unknown.begin() + 1, call.unknown.end()}))),
        error);
    break;
  }
  if (call.strict) missing();
}

void Rehearsal::Values(const Element& element) {
  if (!element.config.is_dict()) return;
  // Kernels come before biases in every constructor.
  for (const bool of_bias : {false, true}) {
    for (const auto& [key, value] : element.config.as_dict()) {
      if (key.starts_with("bias_") != of_bias) continue;
      if (key.ends_with("_initializer")) {
        Initializer(element, key, value);
      } else if (key.ends_with("_regularizer")) {
        Regularizer(element, key, value);
      } else if (key == "activation" || key.ends_with("_activation")) {
        Activation(element, key, value);
      }
    }
  }
}

void Rehearsal::Activation(const Element& element, std::string_view key, const ConfigValue& value) {
  // TensorFlow 2.13 to 2.15 wrote functions as Keras 3 does, and cannot read them from .h5.
  const bool object = value.StringOr("class_name") == "function";
  if (object ? line() == KerasLine::kKeras3
             : !value.is_string() || KnowsActivation(value.as_string(), release())) {
    return;
  }
  const std::string name = object ? "function" : value.as_string();
  Place place = element.place;
  place.json_pointer += fmt::format("/config/{}", key);
  Add(Cause::kUnknownActivation, place,
      object ? fmt::format("the activation is written as an object, {}, which only Keras 3 reads",
                           value.ToJson(60))
             : fmt::format("the activation \"{}\" is not known to this release", name),
      line() == KerasLine::kKeras3
          ? fmt::format("ValueError: Could not interpret activation function identifier: {}", name)
      : release() <= Release::k1_2_2
          ? fmt::format("Exception: Invalid activation function: {}", name)
          : fmt::format("ValueError: Unknown activation function:{}", name));
}

void Rehearsal::Initializer(const Element& element, std::string_view key,
                            const ConfigValue& value) {
  if (!value.is_dict() || value.StringOr("class_name").empty()) return;
  if (release() <= Release::k1_2_2) return;
  const std::string class_name(value.StringOr("class_name"));
  Place place = element.place;
  place.json_pointer += fmt::format("/config/{}", key);
  if (!KnowsInitializer(class_name, release())) {
    Add(Cause::kUnknownInitializer, place,
        fmt::format("the initializer {} is not known to this release", class_name),
        fmt::format("ValueError: Unknown initializer: {}", class_name));
    return;
  }
  const std::string_view foreign = ForeignInitializerKey(class_name, value["config"], release());
  if (foreign.empty()) return;
  Add(Cause::kInitializerArgument, place,
      fmt::format("the initializer {} of {} holds '{}', which this release does not take",
                  class_name, element.class_name, foreign),
      line() == KerasLine::kKeras3
          ? fmt::format("TypeError: Error when deserializing class '{}': {}.__init__() got an "
                        "unexpected keyword argument '{}'",
                        element.class_name, class_name, foreign)
          : fmt::format("TypeError: {}.__init__() got an unexpected keyword argument '{}'",
                        class_name, foreign));
}

void Rehearsal::Regularizer(const Element& element, std::string_view key,
                            const ConfigValue& value) {
  if (!value.is_dict() || value.Find("class_name") != nullptr || release() <= Release::k1_2_2) {
    return;
  }
  Place place = element.place;
  place.json_pointer += fmt::format("/config/{}", key);
  Add(Cause::kRegularizerForm, place,
      "the regularizer is written in the form of Keras 1, with a \"name\" instead of a class_name",
      fmt::format("ValueError: Improper config format: {}", value.ToJson(80)));
}

void Rehearsal::Lambda(const Element& element) {
  const ConfigValue& function = element.config["function"];
  const std::string python = PythonOfBytecode(function);
  if (python.empty()) {
    const std::string name =
        function.is_string() ? function.as_string() : std::string(function.StringOr("config"));
    Add(Cause::kLambdaFunctionName, element.place,
        fmt::format("the Lambda refers to the function \"{}\" by name only; its code is not in the "
                    "file",
                    name),
        fmt::format("ValueError: Unknown function in Lambda layer: {}", name));
    return;
  }
  if (line() == KerasLine::kKeras3) {
    Add(Cause::kLambdaSafeMode, element.place,
        fmt::format(
            "the Lambda holds bytecode of Python {}, which Keras 3 does not run unless told "
            "to",
            python),
        "ValueError: Requested the deserialization of a `Lambda` layer whose `function` is a "
        "Python lambda.");
    return;
  }
  Add(Cause::kLambdaBytecode, element.place,
      fmt::format("the Lambda holds bytecode of Python {}, which no other Python can run", python),
      python == "2.7" ? "ValueError: bad marshal data (unknown type code)"
                      : "EOFError: EOF read where object expected");
}

// Rules that hold for single classes.
void Rehearsal::LayerOddities(const Element& element) {
  const std::string_view name = element.class_name;
  if (line() == KerasLine::kKeras3) return Keras3Oddities(element);
  if (name == "Embedding" && release() >= Release::k2_0_0 && line() == KerasLine::kKeras &&
      element.config.StringOr("input_dtype") == "int32") {
    integer_embedding_ = true;
    if (release() >= Release::k2_3_0) {
      Add(Cause::kIntegerEmbedding, element.place,
          "input_dtype \"int32\" of Keras 1 becomes the type of the Embedding's weights, which "
          "cannot be initialized as integers",
          "UnboundLocalError: cannot access local variable 'NORM'", "theano");
    }
  }
  if (integer_embedding_ && IsRecurrent(name) && release() < Release::k2_3_0) {
    Add(Cause::kIntegerEmbedding, element.place,
        "input_dtype \"int32\" of Keras 1 becomes the type of the Embedding's outputs, so that "
        "the recurrent layer starts with integers",
        "ValueError: When compiling the inner function of scan the following error has been "
        "encountered",
        "theano");
  }
  const bool separable = name.starts_with("SeparableConv");
  if (separable && release() < Release::k2_2_0 && line() == KerasLine::kKeras) {
    Add(Cause::kMissingOnBackend, element.place,
        "separable convolution does not exist with Theano before Keras 2.2",
        "NotImplementedError:", "theano");
  }
  if (name == "GRU" && line() == KerasLine::kTfKeras && GruBiasIsOfOnePart(element)) {
    Add(Cause::kWeightShape, element.place,
        "the file does not say reset_after; tf.keras then assumes true, whose bias has two parts, "
        "but the stored one has one",
        "ValueError: GRU(reset_after=False) is not compatible with GRU(reset_after=True)");
  }
}

// A GRU that does not say reset_after and whose bias shows that it is false.
bool Rehearsal::GruBiasIsOfOnePart(const Element& element) const {
  if (element.config.Find("reset_after") != nullptr) return false;
  for (const ModelImage::LayerGroup& group : image_.layer_groups) {
    if (group.name != element.place.layer) continue;
    for (const std::string& weight : group.weight_names) {
      const auto at = image_.datasets.find(image_.WeightPath(group, weight));
      if (weight.find("bias") == std::string::npos || at == image_.datasets.end()) continue;
      return at->second.shape().rank() == 1;
    }
  }
  return false;
}

void Rehearsal::Keras3Oddities(const Element& element) {
  const std::string_view name = element.class_name;
  const ConfigValue& config = element.config;
  if (name == "Attention" && config.StringOr("score_mode") == "dot") {
    Add(Cause::kArgumentMisread, element.place,
        "score_mode \"dot\" is read as the function keras.layers.dot",
        "TypeError: Error when deserializing class 'Attention'");
  }
  if (config["axis"].is_list() && config["axis"].as_list().size() > 1) {
    if (name == "LayerNormalization" || name == "BatchNormalization") {
      Add(Cause::kArgumentMisread, element.place,
          "a list of several axes is dropped when an .h5 file is read, so that the weights do not "
          "fit the last axis alone",
          fmt::format("ValueError: Shape mismatch in layer (named {}) for weight gamma",
                      element.place.layer));
    } else {
      Note(
          fmt::format("the axes of {} are dropped when an .h5 file is read: it predicts "
                      "differently",
                      element.place.layer));
    }
  }
  const std::optional<int64_t> axis = config["axis"].ToInt();
  if (release() < Release::k3_12_0 && axis && *axis != -1) {
    Note(
        fmt::format("the axis {} of {} is dropped when an .h5 file is read, so that the last one "
                    "is taken",
                    *axis, element.place.layer));
  }
  if (name == "GRU" && GruBiasIsOfOnePart(element)) {
    Add(Cause::kWeightShape, element.place,
        "the file does not say reset_after; Keras 3 then assumes true, whose bias has two parts, "
        "but the stored one has one",
        fmt::format("ValueError: Shape mismatch in layer (named {}) for weight bias",
                    element.place.layer));
  }
  if (image_.backend == "theano" && (name.starts_with("Conv1D") || name.starts_with("Conv2D") ||
                                     name.starts_with("Conv3D") || name == "ConvLSTM2D")) {
    Note(
        "kernels of convolutions that Theano wrote are stored flipped, which Keras 3 does not "
        "undo: it predicts differently");
  }
}

}  // namespace h5serve::model
