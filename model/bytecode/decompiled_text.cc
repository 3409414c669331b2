#include "model/bytecode/decompiled_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

constexpr size_t kMaxText = 400;
constexpr int kMaxNesting = 4;
constexpr size_t kMaxBlocks = 32;
constexpr size_t kMaxStack = 256;

std::string TextOf(const PythonObject& object, int depth) {
  using Kind = PythonObject::Kind;
  switch (object.kind) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return object.integer != 0 ? "True" : "False";
    case Kind::kInt:
      return std::to_string(object.integer);
    case Kind::kFloat:
      return fmt::format("{}", object.number);
    case Kind::kText:
    case Kind::kBytes:
      return "'" + Printable(object.text, 60) + "'";
    case Kind::kEllipsis:
      return "...";
    case Kind::kTuple:
    case Kind::kList:
    case Kind::kSet: {
      std::string text;
      for (const auto& item : object.items) {
        if (depth > kMaxNesting || text.size() > kMaxText) {
          text += "…";
          break;
        }
        text += (text.empty() ? "" : ", ") + TextOf(*item, depth + 1);
      }
      if (object.items.size() == 1) text += ",";
      return "(" + text + ")";
    }
    default:
      return "<constant>";
  }
}

void CollectNames(const PythonCode& code, PythonVersion version, int depth,
                  std::vector<std::string>* names) {
  if (depth > kMaxNesting) return;
  const absl::StatusOr<std::vector<Instruction>> read = ReadInstructions(code, version);
  if (!read.ok()) return;
  for (const Instruction& i : *read) {
    if (i.opcode != Opcode::LOAD_GLOBAL && i.opcode != Opcode::LOAD_NAME) continue;
    const bool flagged = i.opcode == Opcode::LOAD_GLOBAL && version >= PythonVersion::k311;
    const auto place = static_cast<size_t>(flagged ? i.argument >> 1 : i.argument);
    if (place >= code.names.size() || names->size() >= 20) continue;
    const std::string name = Printable(code.names[place], 60);
    if (std::find(names->begin(), names->end(), name) == names->end()) names->push_back(name);
  }
  for (const auto& constant : code.constants) {
    if (constant->kind == PythonObject::Kind::kCode) {
      CollectNames(*constant->code, version, depth + 1, names);
    }
  }
}

}  // namespace

std::string Bracketed(const TextPart& part) {
  return part.whole ? part.text : "(" + part.text + ")";
}

TextPart Shortened(std::string text, bool whole) {
  if (text.size() > kMaxText) text = Printable(text, kMaxText);
  return {std::move(text), whole};
}

std::string ConstantText(const PythonObject& object) { return TextOf(object, 0); }

// What does not fit is not shown.
void DecompiledText::Push(TextPart part) {
  if (stack_.size() < kMaxStack) stack_.push_back(std::move(part));
}

TextPart DecompiledText::Pop() {
  if (stack_.empty()) return {"?"};
  TextPart part = std::move(stack_.back());
  stack_.pop_back();
  return part;
}

std::vector<std::string> DecompiledText::PopTexts(int count) {
  std::vector<std::string> texts;
  for (int k = 0; k < count && k < 256; ++k) texts.push_back(Pop().text);
  std::reverse(texts.begin(), texts.end());
  return texts;
}

void DecompiledText::Emit(const std::string& line) {
  lines_.push_back(std::string(2 * blocks_.size(), ' ') + Printable(line, kMaxText));
}

void DecompiledText::Arrive(int at) {
  while (!loops_.empty() && loops_.back() == at) {
    Pop();
    loops_.pop_back();
  }
  while (!blocks_.empty() && blocks_.back() <= at) blocks_.pop_back();
  while (!pending_.empty() && pending_.back().target <= at) {
    const TextPart right = Pop();
    Push(Shortened(pending_.back().text + Bracketed(right), false));
    pending_.pop_back();
  }
}

bool DecompiledText::Await(int target, std::string text) {
  pending_.push_back({target, std::move(text)});
  return pending_.size() < kMaxBlocks;
}

bool DecompiledText::Indent(int target) {
  blocks_.push_back(target);
  return blocks_.size() < kMaxBlocks;
}

bool DecompiledText::EndBlock(int at) {
  if (blocks_.empty() || blocks_.back() != at || !stack_.empty()) return false;
  blocks_.pop_back();
  return true;
}

bool DecompiledText::EnterLoop(int target) {
  loops_.push_back(target);
  return loops_.size() < kMaxBlocks;
}

std::string DecompiledText::Name(int index) const {
  const auto place = static_cast<size_t>(index);
  return place < code_.names.size() ? Printable(code_.names[place], 60) : "?";
}

std::string DecompiledText::Variable(int index) const {
  const auto place = static_cast<size_t>(index);
  return place < code_.variables.size() ? Printable(code_.variables[place], 60) : "?";
}

std::string DecompiledText::Cell(int index) const {
  if (version_ >= PythonVersion::k311) return Variable(index);
  const auto place = static_cast<size_t>(index);
  if (place < code_.cells.size()) return code_.cells[place];
  const size_t rest = place - code_.cells.size();
  return rest < code_.frees.size() ? code_.frees[rest] : "?";
}

std::vector<std::string> GlobalNames(const PythonCode& code, PythonVersion version) {
  std::vector<std::string> names;
  CollectNames(code, version, 0, &names);
  return names;
}

}  // namespace h5serve::model
