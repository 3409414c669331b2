// Indexing, iterating, and what else looks into lists.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "model/bytecode/operators.h"

namespace h5serve::model {
namespace {

using Kind = PythonValue::Kind;

constexpr int64_t kMaxUnstacked = 4096;

// The place a key means in a list, or nullopt after a failure.
std::optional<size_t> Place(Interpretation& run, const PythonValue& key, size_t size) {
  if (!key.is_whole()) {
    run.Fail(fmt::format("the index of a list is {}", KindName(key)));
    return std::nullopt;
  }
  const int64_t length = static_cast<int64_t>(size);
  const int64_t place = key.whole() < 0 ? key.whole() + length : key.whole();
  if (place < 0 || place >= length) {
    run.Fail(fmt::format("index {} is beyond a list of {}", key.whole(), size));
    return std::nullopt;
  }
  return static_cast<size_t>(place);
}

// The places a slice means, in order; as PySlice_AdjustIndices.
std::vector<size_t> Places(Interpretation& run, const PythonValue& slice, size_t size) {
  const int64_t length = static_cast<int64_t>(size);
  const PythonItems& parts = *slice.items;
  for (const PythonValue& part : parts) {
    if (part.is_none() || part.is_whole()) continue;
    run.Fail(fmt::format("a bound of a list's slice is {}", KindName(part)));
    return {};
  }
  const int64_t step = parts[2].is_none() ? 1 : parts[2].whole();
  if (step == 0) {
    run.Fail("the step of a slice is 0");
    return {};
  }
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? length : length - 1;
  const auto bound = [&](const PythonValue& part, int64_t otherwise) {
    if (part.is_none()) return otherwise;
    const int64_t value = part.whole();
    return std::clamp(value < 0 ? value + length : value, low, high);
  };
  const int64_t begin = bound(parts[0], step > 0 ? low : high);
  const int64_t end = bound(parts[1], step > 0 ? high : low);
  std::vector<size_t> places;
  if (!run.Work(size)) return places;
  for (int64_t at = begin; step > 0 ? at < end : at > end;) {
    places.push_back(static_cast<size_t>(at));
    if (step > length || step < -length) break;
    at += step;
  }
  return places;
}

PythonValue SubscriptSequence(Interpretation& run, const PythonValue& x, const PythonValue& key) {
  if (key.kind == Kind::kSlice) {
    PythonItems items;
    for (size_t place : Places(run, key, x.items->size())) items.push_back((*x.items)[place]);
    return run.Sequence(x.kind, std::move(items));
  }
  PythonValue index = key;
  // An index computed with tensors, if it is known all the same.
  if (key.kind == Kind::kTensor) {
    const compute::Tensor* known = run.graph().constant(key.tensor);
    if (known != nullptr && known->num_elements() == 1 &&
        known->dtype() == compute::DType::kInt64) {
      index = PythonValue::Constant(*known->data<int64_t>());
    }
  }
  const std::optional<size_t> place = Place(run, index, x.items->size());
  return place ? (*x.items)[*place] : PythonValue();
}

PythonValue SubscriptText(Interpretation& run, const PythonValue& x, const PythonValue& key) {
  const std::string& text = x.constant.as_string();
  std::string taken;
  if (key.kind == Kind::kSlice) {
    for (size_t place : Places(run, key, text.size())) taken += text[place];
  } else if (const std::optional<size_t> place = Place(run, key, text.size())) {
    taken = text[*place];
  }
  return PythonValue::Constant(taken);
}

// Index of a key's value among a dict's items, or nullopt.
std::optional<size_t> FindKey(Interpretation& run, const PythonValue& dict,
                              const PythonValue& key) {
  if (!run.Work(dict.items->size())) return std::nullopt;
  for (size_t i = 0; i + 1 < dict.items->size(); i += 2) {
    const PythonValue same = Compare(run, PythonComparison::kEqual, (*dict.items)[i], key);
    if (run.failed()) return std::nullopt;
    if (same.is_constant() && Truth(run, same)) return i + 1;
  }
  return std::nullopt;
}

// True for a key that TensorFlow reads as one index per axis and NumPy as a list
// of places on the first axis.
bool IsBool(Interpretation& run, const PythonValue& key) {
  return key.kind == Kind::kTensor && run.graph().dtype(key.tensor) == compute::DType::kBool;
}

PythonValue SubscriptTensor(Interpretation& run, const PythonValue& x, const PythonValue& key) {
  bool masks = IsBool(run, key);
  if (key.is_sequence()) {
    for (const PythonValue& item : *key.items) masks = masks || IsBool(run, item);
  }
  if (masks) return run.Fail("it selects by a mask: the size of the result depends on the data");
  if (key.kind == Kind::kList) {
    const Writer& writer = run.writer();
    const bool tuple = writer.backend == "tensorflow" || writer.backend.empty();
    if (!tuple) {
      return CallTable(run, FunctionNamespace::kKerasOps, "take", {x, key},
                       {{"axis", PythonValue::Constant(0)}});
    }
  }
  return CallTable(run, FunctionNamespace::kKerasOps, "get_item", {x, key});
}

}  // namespace

PythonValue Subscript(Interpretation& run, const PythonValue& x, const PythonValue& key) {
  if (x.kind == Kind::kRandom) return x;
  if (x.is_tensor()) return SubscriptTensor(run, x, key);
  if (x.is_sequence()) return SubscriptSequence(run, x, key);
  if (x.is_text()) return SubscriptText(run, x, key);
  if (x.kind == Kind::kDict) {
    if (const std::optional<size_t> place = FindKey(run, x, key)) return (*x.items)[*place];
    return run.Fail("it looks up a key that its dict does not hold");
  }
  return run.Fail(fmt::format("it indexes {}", KindName(x)));
}

void StoreSubscript(Interpretation& run, const PythonValue& x, const PythonValue& key,
                    const PythonValue& value) {
  if (x.kind == Kind::kList && key.kind != Kind::kSlice) {
    if (const std::optional<size_t> place = Place(run, key, x.items->size())) {
      (*x.items)[*place] = value;
    }
    return;
  }
  if (x.kind == Kind::kDict) {
    if (const std::optional<size_t> place = FindKey(run, x, key)) {
      (*x.items)[*place] = value;
    } else if (run.heap().Charge(2)) {
      x.items->push_back(key);
      x.items->push_back(value);
    } else {
      run.Fail("it makes too many values");
    }
    return;
  }
  run.Fail(fmt::format("it assigns to parts of {}", KindName(x)));
}

PythonItems Items(Interpretation& run, const PythonValue& value) {
  switch (value.kind) {
    case Kind::kList:
    case Kind::kTuple:
      return run.Work(value.items->size()) ? *value.items : PythonItems{};
    case Kind::kIterator: {
      PythonItems rest(value.items->rbegin(), value.items->rend());
      value.items->clear();
      return rest;
    }
    case Kind::kDict: {
      PythonItems keys;
      for (size_t i = 0; i < value.items->size(); i += 2) keys.push_back((*value.items)[i]);
      return keys;
    }
    case Kind::kTensor: {
      const compute::Shape& shape = run.graph().shape(value.tensor);
      if (shape.rank() == 0 || shape[0] == compute::kUnknown) {
        run.Fail("it runs through a tensor whose length is not known");
        return {};
      }
      if (shape[0] > kMaxUnstacked) {
        run.Fail("it runs through a long tensor");
        return {};
      }
      const PythonValue rows = CallTable(run, FunctionNamespace::kKerasOps, "unstack", {value});
      return rows.is_sequence() ? *rows.items : PythonItems{};
    }
    case Kind::kConstant:
      if (value.is_text()) {
        PythonItems letters;
        for (const char c : value.constant.as_string()) {
          letters.push_back(PythonValue::Constant(std::string(1, c)));
        }
        return letters;
      }
      break;
    default:
      break;
  }
  run.Fail(fmt::format("it runs through {}", KindName(value)));
  return {};
}

PythonValue Length(Interpretation& run, const PythonValue& value) {
  if (value.is_text()) return PythonValue::Constant(int64_t(value.constant.as_string().size()));
  if (value.kind == Kind::kDict) return PythonValue::Constant(int64_t(value.items->size() / 2));
  if (value.is_sequence()) {
    return PythonValue::Constant(static_cast<int64_t>(value.items->size()));
  }
  if (value.kind == Kind::kTensor && run.graph().rank(value.tensor) > 0) {
    const PythonValue shape = run.ShapeOf(value.tensor);
    return run.failed() ? PythonValue() : shape.items->front();
  }
  return run.Fail(fmt::format("it takes the length of {}", KindName(value)));
}

}  // namespace h5serve::model
