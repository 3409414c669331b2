// The language in which custom objects are defined: a small part of Python's
// expressions, parsed to a tree and never executed as code.
//
//   program     = statement { (";" | newline) statement }
//   statement   = [ name { "," name } "=" ] tuple
//   tuple       = conditional { "," conditional }
//   conditional = name ":=" conditional
//               | or [ "if" or "else" conditional ]
//   or          = and { "or" and }
//   and         = not { "and" not }
//   not         = "not" not | comparison
//   comparison  = sum { ("<" | "<=" | ">" | ">=" | "==" | "!=" | "is" ["not"] | ["not"] "in") sum }
//   sum         = product { ("+" | "-") product }
//   product     = unary { ("*" | "/" | "//" | "%" | "@") unary }
//   unary       = ("-" | "+") unary | power
//   power       = postfix [ "**" unary ]
//   postfix     = atom { "." name | "(" arguments ")" | "[" slices "]" }
//   atom        = number | string | name | "None" | "True" | "False" | "..."
//               | "(" [ tuple ] ")" | "[" [ list | comprehension ] "]"
//
// The value of the last statement is the result; a tuple gives several outputs.
// Newlines inside brackets do not count, "#" begins a comment.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config_value.h"

namespace h5serve::model {

// One node of the tree. What `children` are depends on the kind.
struct ExpressionNode {
  enum class Kind {
    kConstant,   // constant
    kName,       // text
    kAttribute,  // text, of children[0]
    kCall,       // children[0] called with the others; keywords beside each
    kIndex,      // children[0][children[1…]]
    kSlice,      // start, stop, step; each may be null
    kEllipsis,
    kUnary,          // text: "-", "+", "not"
    kBinary,         // text: the operator, "and" and "or" too
    kConditional,    // children[0] if children[1] else children[2]
    kList,           // also tuples
    kAssignment,     // text := children[0]
    kComprehension,  // children[0] for text in children[1], if children[2] (may be null)
  };

  Kind kind;
  size_t position = 0;  // in the source
  int depth = 1;        // levels of the tree below, this one included
  std::string text;
  ConfigValue constant;
  std::vector<std::unique_ptr<ExpressionNode>> children;
  std::vector<std::string> keywords;  // of kCall, as long as children; "" for positional
};

struct ExpressionStatement {
  std::vector<std::string> targets;  // empty for a bare value
  std::unique_ptr<ExpressionNode> value;
};

// A parsed program. Immutable.
struct Expression {
  std::string source;
  std::vector<ExpressionStatement> statements;
};

// INVALID_ARGUMENT with the place marked by a caret for anything that is not in
// the grammar, longer than 16 KiB, deeper than 128 or of more than 8192
// nodes. Never throws.
absl::StatusOr<std::shared_ptr<const Expression>> ParseExpression(std::string_view source);

// Names that the program reads before it assigns them, in order of appearance,
// without those that are only called or looked into as modules.
std::vector<std::string> FreeNames(const Expression& expression);

// "what: LINE\n     ^": a message with the line of `position` and a caret under it.
std::string WithCaret(std::string_view what, std::string_view source, size_t position);

}  // namespace h5serve::model
