// The text of a function while it is decompiled: lines so far, and the parts of
// expressions that are not in a line yet.
#pragma once

#include <string>
#include <vector>

#include "model/bytecode/decompile.h"

namespace h5serve::model {

// A part of an expression; whole parts need no brackets.
struct TextPart {
  std::string text;
  bool whole = true;
};

std::string Bracketed(const TextPart& part);
// Cut where it is too long for a message.
TextPart Shortened(std::string text, bool whole = true);
// A constant as Python writes it.
std::string ConstantText(const PythonObject& object);

// Stack and lines of a function that is being decompiled.
//
// Not thread-safe.
class DecompiledText {
 public:
  DecompiledText(const PythonCode& code, PythonVersion version) : code_(code), version_(version) {}

  void Push(TextPart part);
  TextPart Pop();
  std::vector<std::string> PopTexts(int count);
  std::vector<TextPart>& stack() { return stack_; }

  void Emit(const std::string& line);
  // Ends what ends at instruction `at`: loops, blocks, right sides of "and" and "or".
  void Arrive(int at);
  // `text` comes before what is computed until `target`.
  bool Await(int target, std::string text);
  // Lines until `target` belong to the last one.
  bool Indent(int target);
  // Ends the innermost block if that is at `at` and no value is left over.
  bool EndBlock(int at);
  bool EnterLoop(int target);

  // Names by their index in the code.
  std::string Name(int index) const;
  std::string Variable(int index) const;
  std::string Cell(int index) const;

  std::vector<std::string>& lines() { return lines_; }

 private:
  struct Pending {
    int target;
    std::string text;
  };

  const PythonCode& code_;
  PythonVersion version_;
  std::vector<TextPart> stack_;
  std::vector<std::string> lines_;
  std::vector<Pending> pending_;
  std::vector<int> blocks_;  // where they end
  std::vector<int> loops_;
};

}  // namespace h5serve::model
