// Instructions that compute, build and take apart values.
#include <fmt/format.h>

#include <array>
#include <optional>
#include <utility>

#include "model/bytecode/frame.h"
#include "model/bytecode/operators.h"
#include "model/bytecode/symbols.h"
#include "model/bytecode/text_values.h"

namespace h5serve::model {
namespace {

using Kind = PythonValue::Kind;

struct OperatorRow {
  Opcode opcode;
  PythonOperator op;
  bool in_place;
};
constexpr OperatorRow kOperators[] = {
    {Opcode::BINARY_ADD, PythonOperator::kAdd, false},
    {Opcode::INPLACE_ADD, PythonOperator::kAdd, true},
    {Opcode::BINARY_AND, PythonOperator::kAnd, false},
    {Opcode::INPLACE_AND, PythonOperator::kAnd, true},
    {Opcode::BINARY_FLOOR_DIVIDE, PythonOperator::kFloorDivide, false},
    {Opcode::INPLACE_FLOOR_DIVIDE, PythonOperator::kFloorDivide, true},
    {Opcode::BINARY_LSHIFT, PythonOperator::kLeftShift, false},
    {Opcode::INPLACE_LSHIFT, PythonOperator::kLeftShift, true},
    {Opcode::BINARY_MATRIX_MULTIPLY, PythonOperator::kMatMul, false},
    {Opcode::INPLACE_MATRIX_MULTIPLY, PythonOperator::kMatMul, true},
    {Opcode::BINARY_MULTIPLY, PythonOperator::kMultiply, false},
    {Opcode::INPLACE_MULTIPLY, PythonOperator::kMultiply, true},
    {Opcode::BINARY_MODULO, PythonOperator::kModulo, false},
    {Opcode::INPLACE_MODULO, PythonOperator::kModulo, true},
    {Opcode::BINARY_OR, PythonOperator::kOr, false},
    {Opcode::INPLACE_OR, PythonOperator::kOr, true},
    {Opcode::BINARY_POWER, PythonOperator::kPower, false},
    {Opcode::INPLACE_POWER, PythonOperator::kPower, true},
    {Opcode::BINARY_RSHIFT, PythonOperator::kRightShift, false},
    {Opcode::INPLACE_RSHIFT, PythonOperator::kRightShift, true},
    {Opcode::BINARY_SUBTRACT, PythonOperator::kSubtract, false},
    {Opcode::INPLACE_SUBTRACT, PythonOperator::kSubtract, true},
    {Opcode::BINARY_TRUE_DIVIDE, PythonOperator::kDivide, false},
    {Opcode::INPLACE_TRUE_DIVIDE, PythonOperator::kDivide, true},
    {Opcode::BINARY_XOR, PythonOperator::kXor, false},
    {Opcode::INPLACE_XOR, PythonOperator::kXor, true},
    {Opcode::BINARY_DIVIDE, PythonOperator::kOldDivide, false},
    {Opcode::INPLACE_DIVIDE, PythonOperator::kOldDivide, true},
};

// BINARY_OP numbers the operators, and again for +=, -=, …
constexpr int kBinaryOperators = 13;

// What COMPARE_OP's argument means, by version.
int ComparisonCode(int argument, PythonVersion version) {
  if (version >= PythonVersion::k313) return argument >> 5;
  return version == PythonVersion::k312 ? argument >> 4 : argument;
}

}  // namespace

bool Frame::RunOperator(const Instruction& i) {
  const auto binary = [this](PythonOperator op, bool in_place) {
    const PythonValue b = Pop();
    const PythonValue a = Pop();
    if (!run_.failed()) Push(BinaryOperation(run_, op, a, b, in_place));
    return true;
  };
  const auto unary = [this](std::string_view function) {
    const PythonValue x = Pop();
    if (!run_.failed()) Push(UnaryOperation(run_, function, x));
    return true;
  };
  switch (i.opcode) {
    case Opcode::BINARY_OP: {
      if (i.argument >= 2 * kBinaryOperators) {
        run_.Malformed("no such operator");
        return true;
      }
      return binary(static_cast<PythonOperator>(i.argument % kBinaryOperators),
                    i.argument >= kBinaryOperators);
    }
    case Opcode::UNARY_NEGATIVE:
      return unary("negative");
    case Opcode::UNARY_POSITIVE:
      return unary("positive");
    case Opcode::UNARY_INVERT:
      return unary("invert");
    case Opcode::UNARY_NOT: {
      const bool truth = Truth(run_, Pop());
      if (!run_.failed()) Push(PythonValue::Constant(!truth));
      return true;
    }
    case Opcode::CALL_INTRINSIC_1:
      if (i.argument == 5) return unary("positive");
      if (i.argument == 6) {
        Top().kind = Top().kind == Kind::kList ? Kind::kTuple : Top().kind;
        return true;
      }
      return false;
    default:
      break;
  }
  for (const OperatorRow& row : kOperators) {
    if (row.opcode == i.opcode) return binary(row.op, row.in_place);
  }
  return false;
}

bool Frame::RunComparison(const Instruction& i) {
  enum { kIn = 6, kNotIn = 7, kIs = 8, kIsNot = 9 };
  int code = -1;
  if (i.opcode == Opcode::COMPARE_OP) code = ComparisonCode(i.argument, version_);
  if (i.opcode == Opcode::CONTAINS_OP) code = i.argument != 0 ? kNotIn : kIn;
  if (i.opcode == Opcode::IS_OP) code = i.argument != 0 ? kIsNot : kIs;
  if (code < 0) return false;
  const PythonValue b = Pop();
  const PythonValue a = Pop();
  if (run_.failed()) return true;
  if (code < kIn) {
    Push(Compare(run_, static_cast<PythonComparison>(code), a, b));
  } else if (code == kIn || code == kNotIn) {
    Push(PythonValue::Constant(Contains(run_, b, a) == (code == kIn)));
  } else if (code == kIs || code == kIsNot) {
    Push(PythonValue::Constant(Identical(run_, a, b) == (code == kIs)));
  } else {
    run_.Fail("it handles exceptions");
  }
  return true;
}

bool Frame::RunSubscript(const Instruction& i) {
  const auto slice = [this](PythonValue start, PythonValue stop) {
    return run_.Sequence(Kind::kSlice, {std::move(start), std::move(stop), PythonValue::None()});
  };
  switch (i.opcode) {
    case Opcode::BINARY_SUBSCR: {
      const PythonValue key = Pop();
      const PythonValue x = Pop();
      if (!run_.failed()) Push(Subscript(run_, x, key));
      return true;
    }
    case Opcode::BINARY_SLICE: {
      PythonItems parts = PopItems(3);
      if (run_.failed()) return true;
      const PythonValue key = slice(parts[1], parts[2]);
      if (!run_.failed()) Push(Subscript(run_, parts[0], key));
      return true;
    }
    // Python 2: without bounds, with the first, the second, both.
    case Opcode::SLICE_0:
    case Opcode::SLICE_1:
    case Opcode::SLICE_2:
    case Opcode::SLICE_3: {
      const bool both = i.opcode == Opcode::SLICE_3;
      PythonValue stop = both || i.opcode == Opcode::SLICE_2 ? Pop() : PythonValue::None();
      PythonValue start = both || i.opcode == Opcode::SLICE_1 ? Pop() : PythonValue::None();
      const PythonValue x = Pop();
      if (run_.failed()) return true;
      const PythonValue key = slice(std::move(start), std::move(stop));
      if (!run_.failed()) Push(Subscript(run_, x, key));
      return true;
    }
    case Opcode::STORE_SUBSCR: {
      PythonItems parts = PopItems(3);  // value, container, key
      if (!run_.failed()) StoreSubscript(run_, parts[1], parts[2], parts[0]);
      return true;
    }
    case Opcode::BUILD_SLICE: {
      if (i.argument != 2 && i.argument != 3) {
        run_.Malformed("a slice of another number of parts");
        return true;
      }
      PythonItems parts = PopItems(i.argument);
      parts.resize(3, PythonValue::None());
      Push(run_.Sequence(Kind::kSlice, std::move(parts)));
      return true;
    }
    default:
      return false;
  }
}

bool Frame::RunBuild(const Instruction& i) {
  switch (i.opcode) {
    case Opcode::BUILD_TUPLE:
      Push(run_.Tuple(PopItems(i.argument)));
      return true;
    case Opcode::BUILD_LIST:
      Push(run_.List(PopItems(i.argument)));
      return true;
    case Opcode::BUILD_SET:
      Push(run_.Sequence(Kind::kSet, PopItems(i.argument)));
      return true;
    case Opcode::BUILD_MAP:
      // Before 3.5 the argument is only a hint.
      Push(run_.Sequence(Kind::kDict, version_ < PythonVersion::k35
                                          ? PythonItems{}
                                          : PopItems(int64_t{2} * i.argument)));
      return true;
    case Opcode::STORE_MAP: {
      const PythonValue key = Pop();
      const PythonValue value = Pop();
      if (!run_.failed()) StoreSubscript(run_, Top(), key, value);
      return true;
    }
    case Opcode::BUILD_CONST_KEY_MAP: {
      const PythonValue keys = Pop();
      PythonItems values = PopItems(i.argument);
      if (run_.failed()) return true;
      if (!keys.is_sequence() || keys.items->size() != values.size()) {
        run_.Malformed("keys do not fit the values");
        return true;
      }
      PythonItems pairs;
      for (size_t k = 0; k < values.size(); ++k) {
        pairs.push_back((*keys.items)[k]);
        pairs.push_back(std::move(values[k]));
      }
      Push(run_.Sequence(Kind::kDict, std::move(pairs)));
      return true;
    }
    case Opcode::BUILD_LIST_UNPACK:
    case Opcode::BUILD_TUPLE_UNPACK:
    case Opcode::BUILD_TUPLE_UNPACK_WITH_CALL: {
      PythonItems joined;
      for (const PythonValue& part : PopItems(i.argument)) {
        if (run_.failed()) return true;
        for (PythonValue& item : Items(run_, part)) joined.push_back(std::move(item));
      }
      Push(run_.Sequence(i.opcode == Opcode::BUILD_LIST_UNPACK ? Kind::kList : Kind::kTuple,
                         std::move(joined)));
      return true;
    }
    case Opcode::BUILD_MAP_UNPACK:
    case Opcode::BUILD_MAP_UNPACK_WITH_CALL: {
      // 3.5 keeps the place of the function above the count.
      const int count = version_ == PythonVersion::k35 ? i.argument & 0xFF : i.argument;
      const PythonItems dicts = PopItems(count);
      if (!run_.failed()) Push(CallBuiltin(run_, "dict", dicts, {}));
      return true;
    }
    case Opcode::LIST_TO_TUPLE:
      if (Top().kind == Kind::kList) Top().kind = Kind::kTuple;
      return true;
    default:
      return false;
  }
}

void Frame::AddTo(PythonValue& container, PythonItems added) {
  if (run_.failed()) return;
  if (container.items == nullptr) {
    run_.Malformed("adds to what holds nothing");
    return;
  }
  if (!run_.heap().Charge(added.size())) {
    run_.Fail("it makes too many values");
    return;
  }
  for (PythonValue& item : added) container.items->push_back(std::move(item));
}

bool Frame::RunExtend(const Instruction& i) {
  switch (i.opcode) {
    case Opcode::LIST_APPEND:
    case Opcode::SET_ADD: {
      PythonValue item = Pop();
      AddTo(Top(i.argument - 1), {std::move(item)});
      return true;
    }
    case Opcode::LIST_EXTEND:
    case Opcode::SET_UPDATE: {
      const PythonValue items = Pop();
      if (!run_.failed()) {
        // {1, 2} of constants is made from a frozenset.
        AddTo(Top(i.argument - 1), items.kind == Kind::kSet ? *items.items : Items(run_, items));
      }
      return true;
    }
    case Opcode::MAP_ADD: {
      // Before 3.8 the key is on top.
      PythonValue first = Pop(), second = Pop();
      if (version_ >= PythonVersion::k38) std::swap(first, second);
      const PythonValue dict = Top(i.argument - 1);
      if (!run_.failed()) StoreSubscript(run_, dict, first, second);
      return true;
    }
    case Opcode::DICT_UPDATE:
    case Opcode::DICT_MERGE: {
      const PythonValue added = Pop();
      const PythonValue dict = Top(i.argument - 1);
      if (run_.failed()) return true;
      if (added.kind != Kind::kDict || dict.kind != Kind::kDict) {
        run_.Fail("it merges what are no dicts");
        return true;
      }
      for (size_t k = 0; k + 1 < added.items->size() && !run_.failed(); k += 2) {
        StoreSubscript(run_, dict, (*added.items)[k], (*added.items)[k + 1]);
      }
      return true;
    }
    default:
      return false;
  }
}

bool Frame::RunUnpack(const Instruction& i) {
  if (i.opcode == Opcode::UNPACK_SEQUENCE) {
    const PythonValue value = Pop();
    if (run_.failed()) return true;
    const PythonItems items = Items(run_, value);
    if (run_.failed()) return true;
    if (items.size() != static_cast<size_t>(i.argument)) {
      run_.Fail(fmt::format("it unpacks {} values into {}", items.size(), i.argument));
      return true;
    }
    for (size_t k = items.size(); k > 0; --k) Push(items[k - 1]);
    return true;
  }
  if (i.opcode != Opcode::UNPACK_EX) return false;
  const PythonValue value = Pop();
  if (run_.failed()) return true;
  const PythonItems items = Items(run_, value);
  const size_t before = static_cast<size_t>(i.argument & 0xFF);
  const size_t after = static_cast<size_t>(i.argument >> 8);
  if (run_.failed()) return true;
  if (items.size() < before + after) {
    run_.Fail(fmt::format("it unpacks {} values into more", items.size()));
    return true;
  }
  const auto middle = items.begin() + static_cast<std::ptrdiff_t>(before);
  const auto end = items.end() - static_cast<std::ptrdiff_t>(after);
  for (size_t k = items.size(); k > items.size() - after; --k) Push(items[k - 1]);
  Push(run_.List(PythonItems(middle, end)));
  for (size_t k = before; k > 0; --k) Push(items[k - 1]);
  return true;
}

// Text in braces: names and labels, made of text and whole numbers.
bool Frame::RunText(const Instruction& i) {
  switch (i.opcode) {
    case Opcode::FORMAT_VALUE:
      if ((i.argument & 4) != 0) {
        run_.Fail("it formats text");
        return true;
      }
      [[fallthrough]];
    case Opcode::FORMAT_SIMPLE:
    case Opcode::CONVERT_VALUE: {
      const PythonValue value = Pop();
      if (!run_.failed()) Push(TextOf(run_, value));
      return true;
    }
    case Opcode::BUILD_STRING: {
      PythonValue text = PythonValue::Constant("");
      for (const PythonValue& part : PopItems(i.argument)) {
        if (run_.failed()) return true;
        text = BinaryOperation(run_, PythonOperator::kAdd, text, part, false);
      }
      Push(std::move(text));
      return true;
    }
    default:
      return false;
  }
}

}  // namespace h5serve::model
