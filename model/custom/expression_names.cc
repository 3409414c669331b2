// Which names an expression takes from outside.

#include <set>

#include "model/custom/expression.h"

namespace h5serve::model {
namespace {

using Node = ExpressionNode;
using Kind = Node::Kind;

// Collects names that are read before they are assigned.
class NameCollector {
 public:
  std::vector<std::string> Run(const Expression& expression) {
    for (const ExpressionStatement& statement : expression.statements) {
      Visit(*statement.value);
      bound_.insert(statement.targets.begin(), statement.targets.end());
    }
    return std::move(names_);
  }

 private:
  void Visit(const Node& node) {
    if (node.kind == Kind::kName) {
      if (!bound_.contains(node.text) && seen_.insert(node.text).second) {
        names_.push_back(node.text);
      }
      return;
    }
    size_t first = 0;
    if (node.kind == Kind::kCall) {
      const Node& callee = *node.children[0];
      first = IsModulePath(callee) ? 1 : 0;
      if (callee.kind == Kind::kIndex && callee.children[0]->kind == Kind::kName) {
        // One of several layers: its index matters, its name does not.
        first = 1;
        Visit(*callee.children[1]);
      }
    }
    if (node.kind == Kind::kAttribute && IsModulePath(node) &&
        node.children[0]->kind != Kind::kName) {
      return;
    }
    const bool fresh = node.kind == Kind::kComprehension && bound_.insert(node.text).second;
    for (size_t i = first; i < node.children.size(); ++i) {
      if (node.children[i]) Visit(*node.children[i]);
    }
    if (fresh) bound_.erase(node.text);
    if (node.kind == Kind::kAssignment) bound_.insert(node.text);
  }

  // A name, or names joined by dots.
  static bool IsModulePath(const Node& node) {
    if (node.kind == Kind::kName) return true;
    return node.kind == Kind::kAttribute && IsModulePath(*node.children[0]);
  }

  std::set<std::string> bound_;
  std::set<std::string> seen_;
  std::vector<std::string> names_;
};

}  // namespace

std::vector<std::string> FreeNames(const Expression& expression) {
  return NameCollector().Run(expression);
}

}  // namespace h5serve::model
