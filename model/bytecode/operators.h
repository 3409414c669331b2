// Python's operators on tensors and constants.
#pragma once

#include <string_view>

#include "model/bytecode/interpretation.h"

namespace h5serve::model {

// In the order of BINARY_OP's argument.
enum class PythonOperator {
  kAdd,
  kAnd,
  kFloorDivide,
  kLeftShift,
  kMatMul,
  kMultiply,
  kModulo,
  kOr,
  kPower,
  kRightShift,
  kSubtract,
  kDivide,
  kXor,
  kOldDivide,  // "/" of Python 2: whole numbers stay whole
};
std::string_view Sign(PythonOperator op);  // "+"

// In the order of COMPARE_OP's argument.
enum class PythonComparison { kLess, kLessEqual, kEqual, kNotEqual, kGreater, kGreaterEqual };
std::string_view Sign(PythonComparison op);

PythonValue BinaryOperation(Interpretation& run, PythonOperator op, const PythonValue& a,
                            const PythonValue& b, bool in_place);
PythonValue UnaryOperation(Interpretation& run, std::string_view function, const PythonValue& x);
PythonValue Compare(Interpretation& run, PythonComparison op, const PythonValue& a,
                    const PythonValue& b);
// Whether the two are one object; fails where that is not known.
bool Identical(Interpretation& run, const PythonValue& a, const PythonValue& b);
bool Contains(Interpretation& run, const PythonValue& container, const PythonValue& item);
// Whether a condition holds; fails where it depends on data.
bool Truth(Interpretation& run, const PythonValue& value);

// x[key]
PythonValue Subscript(Interpretation& run, const PythonValue& x, const PythonValue& key);
// x[key] = value
void StoreSubscript(Interpretation& run, const PythonValue& x, const PythonValue& key,
                    const PythonValue& value);
// What iterating over a value gives, all at once.
PythonItems Items(Interpretation& run, const PythonValue& value);
// The number of items: a constant, or an open dimension of a tensor.
PythonValue Length(Interpretation& run, const PythonValue& value);

}  // namespace h5serve::model
