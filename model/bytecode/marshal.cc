#include "model/bytecode/marshal.h"

#include <fmt/format.h>

#include <cstring>
#include <optional>

#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

using Object = PythonObject;
using ObjectPointer = std::shared_ptr<const PythonObject>;

// Code of Lambda layers has a few hundred bytes; that of a whole module, some thousand.
constexpr size_t kMaxBytes = size_t{1} << 22;
constexpr int kMaxDepth = 40;
constexpr int64_t kMaxWeight = int64_t{1} << 18;
constexpr size_t kMaxBytecode = size_t{1} << 16;
constexpr size_t kMaxVariables = 1024;
constexpr int kMaxArguments = 255;
constexpr int kFlagRef = 0x80;

// The format: Python/marshal.c of CPython 2.7 and 3.4 to 3.13.
class Reader {
 public:
  Reader(std::string_view bytes, CodeLayout layout) : bytes_(bytes), layout_(layout) {}

  absl::StatusOr<std::shared_ptr<const PythonCode>> Read() {
    if (bytes_.size() > kMaxBytes) return absl::InvalidArgumentError("code too large");
    const ObjectPointer object = ReadObject(0);
    if (object != nullptr && object->kind != Object::Kind::kCode) Fail("no code object");
    if (object != nullptr && at_ != bytes_.size()) Fail("bytes behind the code object");
    if (!error_.empty()) return absl::InvalidArgumentError(error_);
    return object->code;
  }

 private:
  std::nullptr_t Fail(std::string_view why) {
    if (error_.empty()) error_ = fmt::format("{} (at byte {})", why, at_);
    return nullptr;
  }

  bool Has(size_t count) const { return bytes_.size() - at_ >= count; }

  int ReadByte() {
    if (!Has(1)) {
      Fail("ends early");
      return 0;
    }
    return static_cast<unsigned char>(bytes_[at_++]);
  }

  int32_t ReadInt() {
    if (!Has(4)) {
      Fail("ends early");
      return 0;
    }
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value |= static_cast<uint32_t>(ReadByte()) << (8 * i);
    return static_cast<int32_t>(value);
  }

  // A count of things that take at least a byte each.
  size_t ReadSize() {
    const int32_t size = ReadInt();
    if (error_.empty() && (size < 0 || !Has(static_cast<size_t>(size)))) Fail("impossible size");
    return error_.empty() ? static_cast<size_t>(size) : 0;
  }

  std::string ReadBytes(size_t count) {
    if (!Has(count)) {
      Fail("ends early");
      return {};
    }
    std::string text(bytes_.substr(at_, count));
    at_ += count;
    return text;
  }

  double ReadDouble() {
    const std::string raw = ReadBytes(8);
    double value = 0;
    if (raw.size() == 8) std::memcpy(&value, raw.data(), 8);
    return value;
  }

  // Digits as text, as old versions wrote floats.
  double ReadTextDouble() {
    const std::string text = ReadBytes(static_cast<size_t>(ReadByte()));
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || end != text.c_str() + text.size()) Fail("no number");
    return value;
  }

  std::shared_ptr<Object> Make(Object::Kind kind) const {
    auto object = std::make_shared<Object>();
    object->kind = kind;
    return object;
  }

  ObjectPointer MakeInt(int64_t value) const {
    auto object = Make(Object::Kind::kInt);
    object->integer = value;
    return object;
  }

  ObjectPointer MakeText(Object::Kind kind, std::string text) const {
    auto object = Make(kind);
    object->weight += static_cast<int64_t>(text.size() / 64);
    object->text = std::move(text);
    return object;
  }

  // Digits of 15 bits.
  ObjectPointer ReadLong() {
    const int32_t count = ReadInt();
    const size_t digits = static_cast<size_t>(std::abs(static_cast<int64_t>(count)));
    if (!Has(2 * digits)) return Fail("impossible size");
    uint64_t magnitude = 0;
    bool large = false;
    for (size_t i = 0; i < digits; ++i) {
      const auto digit = static_cast<uint64_t>(ReadByte());
      const uint64_t value = digit | static_cast<uint64_t>(ReadByte()) << 8;
      if (value >= 1 << 15) return Fail("no digit");
      large = large || (i >= 4 && value != 0 && (i > 4 || value >= 1 << 3));
      if (i <= 4) magnitude |= value << (15 * i);
    }
    if (large) return Make(Object::Kind::kBigInt);
    const auto value = static_cast<int64_t>(magnitude);
    return MakeInt(count < 0 ? -value : value);
  }

  ObjectPointer ReadItems(Object::Kind kind, size_t count, int depth) {
    auto object = Make(kind);
    for (size_t i = 0; i < count && error_.empty(); ++i) {
      ObjectPointer item = ReadObject(depth + 1);
      if (item == nullptr) return nullptr;
      object->weight += item->weight;
      if (object->weight > kMaxWeight) return Fail("too many objects");
      object->items.push_back(std::move(item));
    }
    return object;
  }

  // Up to a null.
  ObjectPointer ReadDict(int depth) {
    auto object = Make(Object::Kind::kDict);
    while (error_.empty()) {
      if (!Has(1)) return Fail("ends early");
      if (object->items.size() % 2 == 0 && bytes_[at_] == '0') {
        ++at_;
        return object;
      }
      ObjectPointer item = ReadObject(depth + 1);
      if (item == nullptr) return nullptr;
      object->weight += item->weight;
      if (object->weight > kMaxWeight) return Fail("too many objects");
      object->items.push_back(std::move(item));
    }
    return nullptr;
  }

  // Strings of Python 2 are bytes and text at once.
  ObjectPointer ReadString(size_t count) {
    std::string text = ReadBytes(count);
    if (layout_ == CodeLayout::k27 && IsValidUtf8(text)) {
      return MakeText(Object::Kind::kText, std::move(text));
    }
    return MakeText(Object::Kind::kBytes, std::move(text));
  }

  ObjectPointer ReadUnicode(size_t count) {
    std::string text = ReadBytes(count);
    // Lone surrogates are text to Python, too: shown, never looked into.
    if (!IsValidUtf8(text)) text = Printable(text, text.size());
    return MakeText(Object::Kind::kText, std::move(text));
  }

  ObjectPointer Interned(ObjectPointer text) {
    if (layout_ == CodeLayout::k27) interned_.push_back(text);
    return text;
  }

  ObjectPointer ReadInterned() {
    const int32_t index = ReadInt();
    if (index < 0 || static_cast<size_t>(index) >= interned_.size()) return Fail("no such string");
    return interned_[static_cast<size_t>(index)];
  }

  ObjectPointer ReadReference() {
    const int32_t index = ReadInt();
    if (index < 0 || static_cast<size_t>(index) >= references_.size()) {
      return Fail("no such object");
    }
    // An object that is still being read: it would hold itself.
    if (references_[static_cast<size_t>(index)] == nullptr) return Fail("an object within itself");
    return references_[static_cast<size_t>(index)];
  }

  ObjectPointer ReadObject(int depth) {
    if (depth > kMaxDepth) return Fail("nested too deeply");
    const int code = ReadByte();
    if (!error_.empty()) return nullptr;
    const bool refers = layout_ != CodeLayout::k27 && (code & kFlagRef) != 0;
    const size_t place = references_.size();
    if (refers) references_.push_back(nullptr);
    ObjectPointer object = ReadTyped(static_cast<char>(refers ? code & ~kFlagRef : code), depth);
    if (!error_.empty()) return nullptr;
    if (refers) references_[place] = object;
    return object;
  }

  ObjectPointer ReadTyped(char type, int depth) {
    using Kind = Object::Kind;
    switch (type) {
      case 'N':
        return Make(Kind::kNone);
      case 'T':
      case 'F': {
        auto object = Make(Kind::kBool);
        object->integer = type == 'T';
        return object;
      }
      case '.':
        return Make(Kind::kEllipsis);
      case 'S':
      case '0':
        return Make(Kind::kOther);
      case 'i':
        return MakeInt(ReadInt());
      case 'I': {
        const auto low = static_cast<uint32_t>(ReadInt());
        const auto high = static_cast<uint32_t>(ReadInt());
        return MakeInt(static_cast<int64_t>(uint64_t{high} << 32 | low));
      }
      case 'l':
        return ReadLong();
      case 'g':
      case 'f': {
        auto object = Make(Kind::kFloat);
        object->number = type == 'g' ? ReadDouble() : ReadTextDouble();
        return object;
      }
      case 'y':
      case 'x': {
        for (int i = 0; i < 2; ++i) type == 'y' ? ReadDouble() : ReadTextDouble();
        return Make(Kind::kComplex);
      }
      case 's':
        return ReadString(ReadSize());
      case 't':
        return Interned(layout_ == CodeLayout::k27 ? ReadString(ReadSize())
                                                   : ReadUnicode(ReadSize()));
      case 'R':
        return ReadInterned();
      case 'u':
      case 'a':
      case 'A':
        return ReadUnicode(ReadSize());
      case 'z':
      case 'Z':
        return ReadUnicode(static_cast<size_t>(ReadByte()));
      case '(':
        return ReadItems(Kind::kTuple, ReadSize(), depth);
      case ')':
        return ReadItems(Kind::kTuple, static_cast<size_t>(ReadByte()), depth);
      case '[':
        return ReadItems(Kind::kList, ReadSize(), depth);
      case '<':
      case '>':
        return ReadItems(Kind::kSet, ReadSize(), depth);
      case '{':
        return ReadDict(depth);
      case 'r':
        return ReadReference();
      case 'c':
        return ReadCode(depth);
      default:
        return Fail("unknown type");
    }
  }

  // --- fields of a code object ---

  int ReadCount(int limit) {
    const int32_t value = ReadInt();
    if (value < 0 || value > limit) Fail("impossible count");
    return error_.empty() ? value : 0;
  }

  std::string ReadBytesField(int depth) {
    const ObjectPointer object = ReadObject(depth + 1);
    const bool fits =
        object != nullptr && (object->kind == Object::Kind::kBytes ||
                              (layout_ == CodeLayout::k27 && object->kind == Object::Kind::kText));
    if (!fits) Fail("bytes expected");
    if (fits) weight_ += object->weight;
    return fits ? object->text : std::string();
  }

  std::string ReadTextField(int depth) {
    const ObjectPointer object = ReadObject(depth + 1);
    const bool fits =
        object != nullptr && (object->kind == Object::Kind::kText ||
                              (layout_ == CodeLayout::k27 && object->kind == Object::Kind::kBytes));
    if (!fits) Fail("text expected");
    return fits ? object->text : std::string();
  }

  std::vector<std::string> ReadNames(int depth) {
    std::vector<std::string> names;
    const ObjectPointer object = ReadObject(depth + 1);
    if (object == nullptr || object->kind != Object::Kind::kTuple) {
      Fail("a tuple of names expected");
      return names;
    }
    for (const ObjectPointer& item : object->items) {
      if (item->kind != Object::Kind::kText) Fail("a name expected");
      names.push_back(item->text);
    }
    weight_ += object->weight;
    return names;
  }

  void ReadConstants(int depth, PythonCode* code) {
    const ObjectPointer object = ReadObject(depth + 1);
    if (object == nullptr || object->kind != Object::Kind::kTuple) {
      Fail("a tuple of constants expected");
      return;
    }
    code->constants = object->items;
    weight_ += object->weight;
  }

  void ReadVariables(int depth, PythonCode* code) {
    code->variables = ReadNames(depth);
    if (layout_ != CodeLayout::k311) {
      code->frees = ReadNames(depth);
      code->cells = ReadNames(depth);
      return;
    }
    const std::string kinds = ReadBytesField(depth);
    if (kinds.size() != code->variables.size()) Fail("kinds do not fit the variables");
    for (size_t i = 0; i < kinds.size() && error_.empty(); ++i) {
      const auto kind = static_cast<uint8_t>(kinds[i]);
      code->kinds.push_back(kind);
      if ((kind & PythonCode::kCell) != 0) code->cells.push_back(code->variables[i]);
      if ((kind & PythonCode::kFree) != 0) code->frees.push_back(code->variables[i]);
    }
  }

  ObjectPointer ReadCode(int depth) {
    auto code = std::make_shared<PythonCode>();
    code->layout = layout_;
    code->argument_count = ReadCount(kMaxArguments);
    if (layout_ == CodeLayout::k38 || layout_ == CodeLayout::k311) {
      code->positional_only_count = ReadCount(kMaxArguments);
    }
    if (layout_ != CodeLayout::k27) code->keyword_only_count = ReadCount(kMaxArguments);
    if (layout_ != CodeLayout::k311) ReadCount(1 << 16);  // number of local variables
    code->stack_size = ReadCount(1 << 16);
    code->flags = ReadInt();
    code->bytecode = ReadBytesField(depth);
    ReadConstants(depth, code.get());
    code->names = ReadNames(depth);
    ReadVariables(depth, code.get());
    code->file_name = ReadTextField(depth);
    code->name = ReadTextField(depth);
    if (layout_ == CodeLayout::k311) ReadTextField(depth);  // qualified name
    code->first_line = ReadInt();
    code->line_table = ReadBytesField(depth);
    if (layout_ == CodeLayout::k311) ReadBytesField(depth);  // table of exceptions
    if (!error_.empty()) return nullptr;
    if (code->bytecode.size() > kMaxBytecode || code->variables.size() > kMaxVariables ||
        code->cells.size() + code->frees.size() > kMaxVariables) {
      return Fail("a function too large");
    }
    if (code->positional_only_count > code->argument_count ||
        static_cast<size_t>(code->total_argument_count()) > code->variables.size()) {
      return Fail("fewer variables than arguments");
    }
    auto object = Make(Object::Kind::kCode);
    object->weight += std::exchange(weight_, 0);
    if (object->weight > kMaxWeight) return Fail("too many objects");
    object->code = std::move(code);
    return object;
  }

  std::string_view bytes_;
  CodeLayout layout_;
  size_t at_ = 0;
  std::string error_;
  std::vector<ObjectPointer> references_;
  std::vector<ObjectPointer> interned_;
  int64_t weight_ = 0;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const PythonCode>> ReadMarshalledCode(std::string_view bytes,
                                                                     CodeLayout layout) {
  return Reader(bytes, layout).Read();
}

}  // namespace h5serve::model
