#include "model/dialect/wiring.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "model/dialect/arguments.h"

namespace h5serve::model {
namespace {

using Kind = Argument::Kind;

// [layer, node, tensor] or [layer, node, tensor, kwargs].
bool IsTriple(const ConfigValue& value) {
  if (!value.is_list()) return false;
  const ConfigValue::List& list = value.as_list();
  return (list.size() == 3 || list.size() == 4) && list[0].is_string() && list[1].ToInt() &&
         list[2].ToInt() && (list.size() == 3 || list[3].is_dict() || list[3].is_null());
}

bool InRange(int64_t value) { return value >= 0 && value < (int64_t{1} << 20); }

// Builds the arguments of one layer's calls.
class CallParser {
 public:
  CallParser(const Layer& layer, const LayerIndex& index, Translation& translation)
      : layer_(layer), index_(index), translation_(translation) {}

  Call Parse(const ConfigValue& node) {
    Call call;
    if (node.is_dict() && node.Find("args") != nullptr) {
      ParseKeras3(node, &call);
    } else {
      ParseLegacy(node, &call);
    }
    return call;
  }

 private:
  static Argument Constant(const ConfigValue& value) {
    Argument argument;
    argument.constant = Unwrap(value);
    return argument;
  }

  Argument Ref(std::string_view layer, int64_t call, int64_t tensor) {
    Argument argument;
    argument.kind = Kind::kTensor;
    const auto at = index_.find(layer);
    if (at == index_.end() || !InRange(call) || !InRange(tensor)) {
      translation_.diagnoses->Add(
          Code::kGraphInvalid,
          fmt::format("layer {} takes output {} of call {} of layer {}, which does not exist",
                      layer_.name, tensor, call, layer),
          {layer_.name, layer_.written_class, layer_.json_pointer + "/inbound_nodes", ""});
      argument.tensor.layer = -1;
      return argument;
    }
    argument.tensor = {at->second, static_cast<int>(call), static_cast<int>(tensor)};
    return argument;
  }

  // A list or dict without tensors is a constant.
  static Argument Fold(Argument argument, const ConfigValue& source) {
    const auto constant = [](const Argument& item) { return item.kind == Kind::kConstant; };
    if (argument.kind == Kind::kList) {
      if (!std::all_of(argument.list.begin(), argument.list.end(), constant)) return argument;
    } else if (argument.kind == Kind::kDict) {
      for (const auto& [key, item] : argument.dict) {
        if (!constant(item)) return argument;
      }
    }
    return Constant(source);
  }

  Argument ParseValue(const ConfigValue& value, int depth) {
    if (depth > 64) return Constant(value);
    if (value.is_list()) {
      const ConfigValue::List& list = value.as_list();
      if (IsTriple(value)) {
        const std::string& name = list[0].as_string();
        if (name == "_CONSTANT_VALUE") return Constant(list[2]);
        if (index_.contains(name)) return Ref(name, *list[1].ToInt(), *list[2].ToInt());
      }
      // ["_CONSTANT_VALUE", -1, value, {}] with a value that is no integer.
      if (list.size() >= 3 && list[0].is_string() && list[0].as_string() == "_CONSTANT_VALUE") {
        return Constant(list[2]);
      }
      Argument argument;
      argument.kind = Kind::kList;
      for (const ConfigValue& item : list) argument.list.push_back(ParseValue(item, depth + 1));
      return Fold(std::move(argument), value);
    }
    if (value.is_dict()) return ParseDict(value, depth);
    return Constant(value);
  }

  Argument ParseDict(const ConfigValue& value, int depth) {
    const std::string_view class_name = value.StringOr("class_name");
    if (class_name == "__keras_tensor__") {
      const ConfigValue& history = value["config"]["keras_history"];
      if (IsTriple(history)) {
        const ConfigValue::List& list = history.as_list();
        return Ref(list[0].as_string(), *list[1].ToInt(), *list[2].ToInt());
      }
      return Ref("?", -1, -1);
    }
    if (class_name == "__tuple__") return ParseValue(value["items"], depth + 1);
    Argument argument;
    argument.kind = Kind::kDict;
    for (const auto& [key, item] : value.as_dict()) {
      argument.dict.emplace(key, ParseValue(item, depth + 1));
    }
    return Fold(std::move(argument), value);
  }

  void ParseKeras3(const ConfigValue& node, Call* call) {
    if (node["args"].is_list()) {
      for (const ConfigValue& item : node["args"].as_list()) {
        call->args.push_back(ParseValue(item, 0));
      }
    }
    ParseKwargs(node["kwargs"], call);
  }

  void ParseKwargs(const ConfigValue& kwargs, Call* call) {
    if (!kwargs.is_dict()) return;
    for (const auto& [key, item] : kwargs.as_dict()) {
      if (!item.is_null()) call->kwargs.emplace(key, ParseValue(item, 0));
    }
  }

  // The keyword arguments that stand as fourth element of the first reference.
  const ConfigValue* FindKwargs(const ConfigValue& node, int depth) {
    if (depth > 8) return nullptr;
    if (node.is_dict()) {
      for (const auto& [key, item] : node.as_dict()) {
        if (const ConfigValue* found = FindKwargs(item, depth + 1)) return found;
      }
      return nullptr;
    }
    if (!node.is_list()) return nullptr;
    const ConfigValue::List& list = node.as_list();
    if (list.size() == 4 && list[0].is_string() && list[3].is_dict()) return &list[3];
    for (const ConfigValue& item : list) {
      if (const ConfigValue* found = FindKwargs(item, depth + 1)) return found;
    }
    return nullptr;
  }

  void ParseLegacy(const ConfigValue& node, Call* call) {
    if (node.is_list() && !node.as_list().empty() && !node.as_list()[0].is_string() &&
        node.as_list().size() == 1) {
      call->args.push_back(ParseRefOrFail(node.as_list()[0]));
    } else {
      call->args.push_back(ParseRefOrFail(node));
    }
    if (const ConfigValue* kwargs = FindKwargs(node, 0)) ParseKwargs(*kwargs, call);
  }

  // Like ParseValue, but a triple must name a layer that exists.
  Argument ParseRefOrFail(const ConfigValue& value) {
    if (IsTriple(value)) {
      const ConfigValue::List& list = value.as_list();
      if (list[0].as_string() != "_CONSTANT_VALUE") {
        return Ref(list[0].as_string(), *list[1].ToInt(), *list[2].ToInt());
      }
    } else if (value.is_list() && !value.as_list().empty() && IsTriple(value.as_list()[0])) {
      Argument argument;
      argument.kind = Kind::kList;
      for (const ConfigValue& item : value.as_list()) {
        argument.list.push_back(ParseRefOrFail(item));
      }
      return argument;
    }
    return ParseValue(value, 0);
  }

  const Layer& layer_;
  const LayerIndex& index_;
  Translation& translation_;
};

bool CollectTensors(const ConfigValue& value, const LayerIndex& index, const std::string& key,
                    int depth, std::vector<TensorRef>* refs, std::vector<std::string>* keys) {
  if (depth > 16) return false;
  if (IsTriple(value)) {
    const ConfigValue::List& list = value.as_list();
    const auto at = index.find(list[0].as_string());
    if (at == index.end() || !InRange(*list[1].ToInt()) || !InRange(*list[2].ToInt())) return false;
    refs->push_back(
        {at->second, static_cast<int>(*list[1].ToInt()), static_cast<int>(*list[2].ToInt())});
    keys->push_back(key);
    return true;
  }
  if (value.is_list()) {
    for (const ConfigValue& item : value.as_list()) {
      if (!CollectTensors(item, index, "", depth + 1, refs, keys)) return false;
    }
    return true;
  }
  if (value.is_dict()) {
    // Keras flattens dicts in the order in which they were written.
    std::vector<const ConfigValue::Dict::value_type*> members;
    for (const auto& member : value.as_dict()) members.push_back(&member);
    std::stable_sort(members.begin(), members.end(), [](const auto* a, const auto* b) {
      return a->second.position() < b->second.position();
    });
    for (const auto* member : members) {
      if (!CollectTensors(member->second, index, member->first, depth + 1, refs, keys)) {
        return false;
      }
    }
    return true;
  }
  return value.is_null();
}

void VisitArgument(Argument& argument, const std::function<void(TensorRef&)>& visit) {
  switch (argument.kind) {
    case Kind::kConstant:
      return;
    case Kind::kTensor:
      visit(argument.tensor);
      return;
    case Kind::kList:
      for (Argument& item : argument.list) VisitArgument(item, visit);
      return;
    case Kind::kDict:
      for (auto& [key, item] : argument.dict) VisitArgument(item, visit);
      return;
  }
}

// The number that references to calls of a nested model start at.
int StartOf(int smallest, int largest, int calls, bool usual_one) {
  if (largest >= calls) return 1;
  if (smallest == 0) return 0;
  return usual_one ? 1 : 0;
}

}  // namespace

std::vector<Call> ParseInboundNodes(const ConfigValue& inbound_nodes, const Layer& layer,
                                    const LayerIndex& index, Translation& translation) {
  std::vector<Call> calls;
  if (!inbound_nodes.is_list()) return calls;
  CallParser parser(layer, index, translation);
  for (const ConfigValue& node : inbound_nodes.as_list()) calls.push_back(parser.Parse(node));
  return calls;
}

bool ParseTensorList(const ConfigValue& value, const LayerIndex& index,
                     std::vector<TensorRef>* refs, std::vector<std::string>* keys) {
  return CollectTensors(value, index, "", 0, refs, keys);
}

void VisitRefs(Call& call, const std::function<void(TensorRef&)>& visit) {
  for (Argument& argument : call.args) VisitArgument(argument, visit);
  for (auto& [key, argument] : call.kwargs) VisitArgument(argument, visit);
}

void RebaseNestedCalls(KerasModel* model, const Writer& writer) {
  const bool keras3 = writer.dialect == Writer::Dialect::kKeras3;
  for (size_t i = 0; i < model->layers.size(); ++i) {
    const Layer& nested = *model->layers[i];
    if (!nested.nested) continue;
    const int calls = static_cast<int>(nested.calls.size());
    const bool functional = nested.nested->class_name == "Functional";
    std::vector<TensorRef*> inner, outer;
    for (auto& layer : model->layers) {
      for (Call& call : layer->calls) {
        VisitRefs(call, [&](TensorRef& ref) {
          if (ref.layer == static_cast<int>(i)) inner.push_back(&ref);
        });
      }
    }
    for (TensorRef& ref : model->outputs) {
      if (ref.layer == static_cast<int>(i)) outer.push_back(&ref);
    }
    // Keras 1 and 2 use one numbering for both kinds of references.
    const auto rebase = [calls](const std::vector<TensorRef*>& refs, bool usual_one) {
      if (refs.empty()) return;
      int smallest = refs[0]->call, largest = refs[0]->call;
      for (const TensorRef* ref : refs) {
        smallest = std::min(smallest, ref->call);
        largest = std::max(largest, ref->call);
      }
      const int start = StartOf(smallest, largest, calls, usual_one);
      for (TensorRef* ref : refs) ref->call -= start;
    };
    if (keras3) {
      rebase(inner, false);
      rebase(outer, functional);
    } else {
      inner.insert(inner.end(), outer.begin(), outer.end());
      rebase(inner, true);
    }
  }
}

}  // namespace h5serve::model
