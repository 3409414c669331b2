#include "model/custom/expression.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "model/custom/expression_tokens.h"

namespace h5serve::model {
namespace {

using Node = ExpressionNode;
using NodePointer = std::unique_ptr<Node>;
using Kind = Node::Kind;

constexpr size_t kMaxSource = 16384;
constexpr int kMaxDepth = 128;
constexpr int kMaxNodes = 8192;

using Token = ExpressionToken;

constexpr auto kKeywords = std::to_array<std::string_view>(
    {"and", "else", "for", "if", "in", "is", "not", "or", "None", "True", "False", "lambda"});

bool IsKeyword(std::string_view text) {
  return std::find(kKeywords.begin(), kKeywords.end(), text) != kKeywords.end();
}

// Recursive descent. After an error every function gives null.
class Parser {
 public:
  Parser(std::string_view source, std::vector<Token> tokens)
      : source_(source), tokens_(std::move(tokens)) {}

  absl::StatusOr<std::shared_ptr<const Expression>> Run() {
    auto expression = std::make_shared<Expression>();
    expression->source = std::string(source_);
    while (!failed_) {
      while (Current().kind == Token::Kind::kNewline) ++at_;
      if (Current().kind == Token::Kind::kEnd) break;
      expression->statements.push_back(Statement());
      if (!failed_ && Current().kind != Token::Kind::kNewline &&
          Current().kind != Token::Kind::kEnd) {
        Fail("expected an operator or the end");
      }
    }
    if (!failed_ && expression->statements.empty()) Fail("expected an expression");
    if (!failed_ && !expression->statements.back().targets.empty()) {
      Fail("the last statement must be the result, not an assignment");
    }
    if (failed_) return absl::InvalidArgumentError(WithCaret(error_, source_, error_position_));
    return std::shared_ptr<const Expression>(std::move(expression));
  }

 private:
  const Token& Current() const { return tokens_[at_]; }
  const Token& Ahead(size_t n) const { return tokens_[std::min(at_ + n, tokens_.size() - 1)]; }
  bool Is(std::string_view text) const {
    return (Current().kind == Token::Kind::kOperator || Current().kind == Token::Kind::kName) &&
           Current().text == text;
  }
  bool Take(std::string_view text) {
    if (!Is(text)) return false;
    ++at_;
    return true;
  }

  NodePointer Fail(std::string_view error) {
    if (!failed_) {
      failed_ = true;
      error_ = std::string(error);
      error_position_ = Current().position;
    }
    return nullptr;
  }

  bool Expect(std::string_view text) {
    if (failed_) return false;
    if (Take(text)) return true;
    Fail(fmt::format("expected '{}'", text));
    return false;
  }

  NodePointer Make(Kind kind, size_t position, std::string_view text = "") {
    if (failed_) return nullptr;
    if (++nodes_ > kMaxNodes) return Fail("the expression is too large");
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->position = position;
    node->text = std::string(text);
    return node;
  }

  // Adds a child, which may be null; bounds the depth of the tree.
  void Adopt(Node* node, NodePointer child) {
    if (child) node->depth = std::max(node->depth, child->depth + 1);
    if (node->depth > kMaxDepth) Fail("nested too deeply");
    node->children.push_back(std::move(child));
  }

  // Bounds the recursion of one level of the grammar.
  struct Level {
    explicit Level(Parser* parser) : parser(parser) { ++parser->depth_; }
    ~Level() { --parser->depth_; }
    bool TooDeep() const {
      if (parser->depth_ > kMaxDepth) parser->Fail("nested too deeply");
      return parser->failed_;
    }
    Parser* parser;
  };

  ExpressionStatement Statement() {
    ExpressionStatement statement;
    // A list of names followed by "=" is an assignment.
    size_t ahead = 0;
    std::vector<std::string> targets;
    while (Ahead(ahead).kind == Token::Kind::kName && !IsKeyword(Ahead(ahead).text)) {
      targets.push_back(Ahead(ahead).text);
      ++ahead;
      if (Ahead(ahead).text == "=" && Ahead(ahead).kind == Token::Kind::kOperator) {
        at_ += ahead + 1;
        statement.targets = std::move(targets);
        break;
      }
      if (Ahead(ahead).text != "," || Ahead(ahead).kind != Token::Kind::kOperator) break;
      ++ahead;
    }
    statement.value = Tuple();
    return statement;
  }

  NodePointer Tuple() {
    const size_t position = Current().position;
    NodePointer first = Conditional();
    if (failed_ || !Is(",")) return first;
    NodePointer tuple = Make(Kind::kList, position);
    if (failed_) return nullptr;
    Adopt(tuple.get(), std::move(first));
    while (Take(",")) {
      if (Is(")") || Current().kind == Token::Kind::kNewline ||
          Current().kind == Token::Kind::kEnd) {
        break;
      }
      Adopt(tuple.get(), Conditional());
      if (failed_) return nullptr;
    }
    return tuple;
  }

  NodePointer Conditional() {
    const Level level(this);
    if (level.TooDeep()) return nullptr;
    if (Current().kind == Token::Kind::kName && !IsKeyword(Current().text) &&
        Ahead(1).kind == Token::Kind::kOperator && Ahead(1).text == ":=") {
      return Assignment();
    }
    NodePointer value = Or();
    if (failed_ || !Is("if") || in_comprehension_) return value;
    const size_t position = Current().position;
    ++at_;
    NodePointer condition = Or();
    if (!Expect("else")) return nullptr;
    NodePointer otherwise = Conditional();
    NodePointer node = Make(Kind::kConditional, position);
    if (failed_) return nullptr;
    Adopt(node.get(), std::move(value));
    Adopt(node.get(), std::move(condition));
    Adopt(node.get(), std::move(otherwise));
    return node;
  }

  NodePointer Assignment() {
    const Token& name = Current();
    at_ += 2;
    NodePointer value = Conditional();
    NodePointer node = Make(Kind::kAssignment, name.position, name.text);
    if (failed_) return nullptr;
    Adopt(node.get(), std::move(value));
    return node;
  }

  NodePointer Binary(NodePointer left, std::string_view text, size_t position, NodePointer right) {
    NodePointer node = Make(Kind::kBinary, position, text);
    if (failed_) return nullptr;
    Adopt(node.get(), std::move(left));
    Adopt(node.get(), std::move(right));
    return node;
  }

  // operand { operator operand }
  NodePointer Chain(std::initializer_list<std::string_view> operators,
                    NodePointer (Parser::*operand)()) {
    NodePointer left = (this->*operand)();
    while (!failed_) {
      const auto found = std::find_if(operators.begin(), operators.end(),
                                      [this](std::string_view text) { return Is(text); });
      if (found == operators.end()) return left;
      const size_t position = Current().position;
      ++at_;
      left = Binary(std::move(left), *found, position, (this->*operand)());
    }
    return nullptr;
  }

  NodePointer Or() { return Chain({"or"}, &Parser::And); }
  NodePointer And() { return Chain({"and"}, &Parser::Not); }

  NodePointer Not() {
    if (!Is("not")) return Comparison();
    const Level level(this);
    if (level.TooDeep()) return nullptr;
    const size_t position = Current().position;
    ++at_;
    NodePointer operand = Not();
    NodePointer node = Make(Kind::kUnary, position, "not");
    if (failed_) return nullptr;
    Adopt(node.get(), std::move(operand));
    return node;
  }

  std::string ComparisonOperator() {
    for (std::string_view text : {"<", "<=", ">", ">=", "==", "!="}) {
      if (Take(text)) return std::string(text);
    }
    if (Take("is")) return Take("not") ? "is not" : "is";
    if (Take("in")) return "in";
    if (Is("not") && Ahead(1).text == "in") {
      at_ += 2;
      return "not in";
    }
    return "";
  }

  NodePointer Comparison() {
    NodePointer left = Sum();
    NodePointer result;
    while (!failed_) {
      const size_t position = Current().position;
      const std::string text = ComparisonOperator();
      if (text.empty()) return result ? std::move(result) : std::move(left);
      if (result) return Fail("comparisons are not chained here: write a < b and b < c");
      result = Binary(std::move(left), text, position, Sum());
    }
    return nullptr;
  }

  NodePointer Sum() { return Chain({"+", "-"}, &Parser::Product); }
  NodePointer Product() { return Chain({"*", "//", "/", "%", "@"}, &Parser::Unary); }

  NodePointer Unary() {
    if (!Is("-") && !Is("+")) return Power();
    const Level level(this);
    if (level.TooDeep()) return nullptr;
    const Token& token = Current();
    ++at_;
    NodePointer operand = Unary();
    NodePointer node = Make(Kind::kUnary, token.position, token.text);
    if (failed_) return nullptr;
    Adopt(node.get(), std::move(operand));
    return node;
  }

  NodePointer Power() {
    NodePointer base = Postfix();
    if (failed_ || !Is("**")) return base;
    const Level level(this);
    if (level.TooDeep()) return nullptr;
    const size_t position = Current().position;
    ++at_;
    return Binary(std::move(base), "**", position, Unary());
  }

  NodePointer Postfix() {
    NodePointer node = Atom();
    while (!failed_) {
      const size_t position = Current().position;
      if (Take(".")) {
        if (Current().kind != Token::Kind::kName) return Fail("expected a name");
        NodePointer attribute = Make(Kind::kAttribute, position, Current().text);
        ++at_;
        if (failed_) return nullptr;
        Adopt(attribute.get(), std::move(node));
        node = std::move(attribute);
      } else if (Take("(")) {
        node = Arguments(std::move(node), position);
      } else if (Take("[")) {
        node = Slices(std::move(node), position);
      } else {
        return node;
      }
    }
    return nullptr;
  }

  NodePointer Arguments(NodePointer function, size_t position) {
    NodePointer call = Make(Kind::kCall, position);
    if (failed_) return nullptr;
    const bool outer = std::exchange(in_comprehension_, false);
    Adopt(call.get(), std::move(function));
    call->keywords.emplace_back();
    while (!failed_ && !Is(")")) {
      std::string keyword;
      if (Current().kind == Token::Kind::kName && Ahead(1).kind == Token::Kind::kOperator &&
          Ahead(1).text == "=") {
        keyword = Current().text;
        at_ += 2;
      } else if (!call->keywords.back().empty()) {
        return Fail("a positional argument after one with a name");
      }
      call->keywords.push_back(std::move(keyword));
      Adopt(call.get(), Conditional());
      if (!Is(")") && !Expect(",")) return nullptr;
    }
    in_comprehension_ = outer;
    if (!Expect(")")) return nullptr;
    return call;
  }

  NodePointer Slices(NodePointer sequence, size_t position) {
    NodePointer index = Make(Kind::kIndex, position);
    if (failed_) return nullptr;
    const bool outer = std::exchange(in_comprehension_, false);
    Adopt(index.get(), std::move(sequence));
    do {
      if (Is("]")) break;
      index->children.push_back(SliceOrIndex());
    } while (!failed_ && Take(","));
    in_comprehension_ = outer;
    if (!Expect("]")) return nullptr;
    if (index->children.size() == 1) return Fail("expected an index");
    return index;
  }

  NodePointer SliceOrIndex() {
    const size_t position = Current().position;
    NodePointer start;
    if (!Is(":")) {
      start = Conditional();
      if (failed_ || !Is(":")) return start;
    }
    NodePointer slice = Make(Kind::kSlice, position);
    if (failed_) return nullptr;
    Adopt(slice.get(), std::move(start));
    while (slice->children.size() < 3 && Take(":")) {
      const bool empty = Is(":") || Is(",") || Is("]");
      Adopt(slice.get(), empty ? nullptr : Conditional());
      if (failed_) return nullptr;
    }
    slice->children.resize(3);
    return slice;
  }

  NodePointer Constant(ConfigValue value) {
    NodePointer node = Make(Kind::kConstant, Current().position);
    ++at_;
    if (node) node->constant = std::move(value);
    return node;
  }

  NodePointer Atom() {
    const Level level(this);
    if (level.TooDeep()) return nullptr;
    const Token& token = Current();
    if (token.kind == Token::Kind::kNumber) return Constant(token.number);
    if (token.kind == Token::Kind::kString) return Constant(token.text);
    if (Is("None")) return Constant(ConfigValue());
    if (Is("True")) return Constant(true);
    if (Is("False")) return Constant(false);
    if (Take("...")) return Make(Kind::kEllipsis, token.position);
    if (token.kind == Token::Kind::kName && !IsKeyword(token.text)) {
      ++at_;
      return Make(Kind::kName, token.position, token.text);
    }
    if (Is("(")) return Parenthesis();
    if (Is("[")) return List();
    return Fail("expected a value");
  }

  NodePointer Parenthesis() {
    const size_t position = Current().position;
    ++at_;
    if (Take(")")) return Make(Kind::kList, position);
    const bool outer = std::exchange(in_comprehension_, false);
    NodePointer value = Tuple();
    in_comprehension_ = outer;
    if (!Expect(")")) return nullptr;
    return value;
  }

  NodePointer List() {
    const size_t position = Current().position;
    ++at_;
    const bool outer = std::exchange(in_comprehension_, false);
    NodePointer list = Make(Kind::kList, position);
    while (!failed_ && !Is("]")) {
      Adopt(list.get(), Conditional());
      if (!failed_ && list->children.size() == 1 && Is("for")) {
        list = Comprehension(std::move(list->children[0]), position);
        break;
      }
      if (!Is("]") && !Expect(",")) return nullptr;
    }
    in_comprehension_ = outer;
    if (!Expect("]")) return nullptr;
    return list;
  }

  NodePointer Comprehension(NodePointer value, size_t position) {
    ++at_;
    if (Current().kind != Token::Kind::kName || IsKeyword(Current().text)) {
      return Fail("expected a name");
    }
    NodePointer node = Make(Kind::kComprehension, position, Current().text);
    ++at_;
    if (!Expect("in")) return nullptr;
    in_comprehension_ = true;
    NodePointer iterable = Conditional();
    NodePointer condition;
    if (!failed_ && Take("if")) condition = Conditional();
    in_comprehension_ = false;
    if (failed_) return nullptr;
    Adopt(node.get(), std::move(value));
    Adopt(node.get(), std::move(iterable));
    Adopt(node.get(), std::move(condition));
    return node;
  }

  std::string_view source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int nodes_ = 0;
  // The "if" that follows belongs to the comprehension.
  bool in_comprehension_ = false;
  bool failed_ = false;
  std::string error_;
  size_t error_position_ = 0;
};

}  // namespace

std::string WithCaret(std::string_view what, std::string_view source, size_t position) {
  position = std::min(position, source.size());
  const size_t before = position == 0 ? std::string_view::npos : source.rfind('\n', position - 1);
  const size_t begin = before == std::string_view::npos ? 0 : before + 1;
  const size_t end = std::min(source.find('\n', position), source.size());
  // Long lines are cut around the place.
  const size_t from = position - begin > 60 ? position - 60 : begin;
  const size_t to = std::min(end, position + 60);
  std::string line(source.substr(from, to - from));
  for (char& c : line) c = static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  return fmt::format("{}:\n  {}\n  {}^", what, line, std::string(position - from, ' '));
}

absl::StatusOr<std::shared_ptr<const Expression>> ParseExpression(std::string_view source) {
  if (source.size() > kMaxSource) {
    return absl::InvalidArgumentError(
        fmt::format("an expression of {} bytes; at most {} are read", source.size(), kMaxSource));
  }
  absl::StatusOr<std::vector<Token>> tokens = SplitExpression(source);
  if (!tokens.ok()) return tokens.status();
  return Parser(source, *std::move(tokens)).Run();
}

}  // namespace h5serve::model
