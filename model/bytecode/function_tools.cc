// Python's functools and itertools.
#include <fmt/format.h>

#include <algorithm>

#include "model/bytecode/operators.h"
#include "model/bytecode/symbols.h"

namespace h5serve::model {
namespace {

using Kind = PythonValue::Kind;

constexpr std::string_view kPartial = "functools.partial";
constexpr size_t kMaxRows = 4096;

// A method whose items are the function, what it was given, and a dict of what it was
// given by name.
PythonValue MakePartial(Interpretation& run, PythonItems args, const PythonArguments& kwargs) {
  if (args.empty()) return run.Fail("partial without a function");
  PythonItems named;
  for (const auto& [name, value] : kwargs) {
    named.push_back(PythonValue::Constant(name));
    named.push_back(value);
  }
  args.push_back(run.Sequence(Kind::kDict, std::move(named)));
  PythonValue partial = run.Sequence(Kind::kMethod, std::move(args));
  partial.text = kPartial;
  return partial;
}

// All that follow each other in order: combinations of `size` places out of `count`.
PythonValue Combinations(Interpretation& run, const PythonItems& items, size_t size) {
  PythonItems rows;
  if (size > items.size()) return run.List({});
  std::vector<size_t> places(size);
  for (size_t i = 0; i < size; ++i) places[i] = i;
  while (true) {
    PythonItems row;
    for (size_t place : places) row.push_back(items[place]);
    rows.push_back(run.Tuple(std::move(row)));
    if (run.failed() || rows.size() > kMaxRows) return run.Fail("it makes too many combinations");
    size_t i = size;
    while (i > 0 && places[i - 1] == items.size() - size + i - 1) --i;
    if (i == 0) return run.List(std::move(rows));
    ++places[i - 1];
    for (; i < size; ++i) places[i] = places[i - 1] + 1;
  }
}

PythonValue Product(Interpretation& run, const PythonItems& args) {
  std::vector<PythonItems> rows = {{}};
  for (const PythonValue& arg : args) {
    const PythonItems items = Items(run, arg);
    if (run.failed()) return {};
    if (rows.size() * items.size() > kMaxRows) return run.Fail("it makes too many combinations");
    std::vector<PythonItems> longer;
    for (const PythonItems& row : rows) {
      for (const PythonValue& item : items) {
        longer.push_back(row);
        longer.back().push_back(item);
      }
    }
    rows = std::move(longer);
  }
  PythonItems tuples;
  for (PythonItems& row : rows) tuples.push_back(run.Tuple(std::move(row)));
  return run.List(std::move(tuples));
}

PythonValue Chain(Interpretation& run, const PythonItems& lists) {
  PythonItems all;
  for (const PythonValue& list : lists) {
    for (PythonValue& item : Items(run, list)) all.push_back(std::move(item));
    if (run.failed()) return {};
  }
  return run.List(std::move(all));
}

}  // namespace

PythonValue CallFunctionTool(Interpretation& run, std::string_view path, PythonItems args,
                             PythonArguments kwargs) {
  if (path == kPartial) return MakePartial(run, std::move(args), kwargs);
  if (kwargs.empty()) {
    if (path == "functools.reduce") return CallBuiltin(run, "reduce", std::move(args), {});
    if (path == "itertools.product") return Product(run, args);
    if (path == "itertools.chain") return Chain(run, args);
    if (path == "itertools.chain.from_iterable" && args.size() == 1) {
      return Chain(run, Items(run, args[0]));
    }
    const bool sized = args.size() == 2 && args[1].is_whole();
    if (path == "itertools.combinations" && sized && args[1].whole() >= 0) {
      const PythonItems items = Items(run, args[0]);
      const size_t size = static_cast<size_t>(std::min<int64_t>(args[1].whole(), kMaxRows));
      return run.failed() ? PythonValue() : Combinations(run, items, size);
    }
  }
  return run.Fail(fmt::format("unsupported function: {}", path));
}

bool IsPartial(const PythonValue& value) {
  return value.kind == Kind::kMethod && value.text == kPartial;
}

PythonValue CallPartial(Interpretation& run, const PythonValue& partial, const PythonItems& args,
                        PythonArguments kwargs) {
  PythonItems all(partial.items->begin() + 1, partial.items->end() - 1);
  all.insert(all.end(), args.begin(), args.end());
  const PythonItems& named = *partial.items->back().items;
  for (size_t i = 0; i + 1 < named.size(); i += 2) {
    kwargs.emplace(named[i].constant.as_string(), named[i + 1]);
  }
  if (!run.Enter()) return {};
  PythonValue result = run.Call(partial.items->front(), std::move(all), std::move(kwargs));
  run.Leave();
  return result;
}

}  // namespace h5serve::model
