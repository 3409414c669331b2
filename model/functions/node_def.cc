#include "model/functions/node_def.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <optional>

namespace h5serve::model {
namespace {

constexpr size_t kMaxItems = 65536;

std::optional<std::string> DecodeBase64(std::string_view text) {
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    int value = 0;
    if (c >= 'A' && c <= 'Z') {
      value = c - 'A';
    } else if (c >= 'a' && c <= 'z') {
      value = c - 'a' + 26;
    } else if (c >= '0' && c <= '9') {
      value = c - '0' + 52;
    } else if (c == '+' || c == '-') {
      value = 62;
    } else if (c == '/' || c == '_') {
      value = 63;
    } else if (c == '=' || c == '\n') {
      continue;
    } else {
      return std::nullopt;
    }
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes.push_back(static_cast<char>(bits >> count & 0xff));
    }
  }
  return bytes;
}

// Code points below 256 as bytes; nullopt where there are others.
std::optional<std::string> DecodeLatin1(std::string_view utf8) {
  std::string bytes;
  for (size_t i = 0; i < utf8.size(); ++i) {
    const uint8_t c = static_cast<uint8_t>(utf8[i]);
    if (c < 0x80) {
      bytes.push_back(static_cast<char>(c));
    } else if ((c == 0xc2 || c == 0xc3) && i + 1 < utf8.size()) {
      bytes.push_back(static_cast<char>((c & 3) << 6 | (static_cast<uint8_t>(utf8[++i]) & 0x3f)));
    } else {
      return std::nullopt;
    }
  }
  return bytes;
}

// --- JSON ------------------------------------------------------------------------

ConfigValue JsonNumber(const ConfigValue& value) {
  // 64-bit integers are strings in protobuf's JSON.
  if (!value.is_string()) return value;
  const std::string& text = value.as_string();
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) return number;
  return value;
}

ConfigValue JsonItem(std::string_view kind, const ConfigValue& value) {
  if (kind == "i" || kind == "f") return JsonNumber(value);
  if (kind == "b" || kind == "type") return value;
  if (kind == "s" && value.is_string()) {
    return DecodeBase64(value.as_string()).value_or(value.as_string());
  }
  return {};
}

ConfigValue JsonAttribute(const ConfigValue& value) {
  if (!value.is_dict()) return {};
  for (const auto& [kind, item] : value.as_dict()) {
    if (kind != "list") return JsonItem(kind, item);
    ConfigValue::List list;
    if (!item.is_dict()) return list;
    for (const auto& [item_kind, items] : item.as_dict()) {
      if (!items.is_list()) continue;
      for (const ConfigValue& element : items.as_list())
        list.push_back(JsonItem(item_kind, element));
    }
    return list;
  }
  return {};
}

absl::StatusOr<NodeDef> FromJson(const ConfigValue& value) {
  NodeDef node;
  node.name = std::string(value.StringOr("name"));
  node.op = std::string(value.StringOr("op"));
  if (node.op.empty()) return absl::InvalidArgumentError("a node without an op");
  if (value["input"].is_list()) {
    for (const ConfigValue& input : value["input"].as_list()) {
      if (input.is_string()) node.inputs.push_back(input.as_string());
    }
  }
  if (value["attr"].is_dict()) {
    for (const auto& [name, attribute] : value["attr"].as_dict()) {
      node.attributes.emplace(name, JsonAttribute(attribute));
    }
  }
  return node;
}

// --- the wire format of protobuf ----------------------------------------------------

// Reads fields one after the other; fails for good at the first malformed one.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  struct Field {
    uint32_t number = 0;
    uint32_t type = 0;       // 0 varint, 1 64 bits, 2 bytes, 5 32 bits
    uint64_t value = 0;      // types 0, 1, 5
    std::string_view bytes;  // type 2
  };

  bool Next(Field* field) {
    if (rest_.empty() || failed_) return false;
    const uint64_t tag = Varint();
    field->number = static_cast<uint32_t>(tag >> 3);
    field->type = static_cast<uint32_t>(tag & 7);
    switch (field->type) {
      case 0:
        field->value = Varint();
        break;
      case 1:
        field->value = Fixed(8);
        break;
      case 2: {
        const uint64_t size = Varint();
        if (size > rest_.size()) {
          failed_ = true;
          return false;
        }
        field->bytes = rest_.substr(0, size);
        rest_.remove_prefix(size);
        break;
      }
      case 5:
        field->value = Fixed(4);
        break;
      default:
        failed_ = true;
    }
    if (field->number == 0) failed_ = true;
    return !failed_;
  }

  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) break;
      const uint8_t byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    failed_ = true;
    return 0;
  }

  uint64_t Fixed(size_t bytes) {
    if (rest_.size() < bytes) {
      failed_ = true;
      return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; ++i) {
      value |= static_cast<uint64_t>(static_cast<uint8_t>(rest_[i])) << (8 * i);
    }
    rest_.remove_prefix(bytes);
    return value;
  }

  bool empty() const { return rest_.empty() || failed_; }
  bool failed() const { return failed_; }

 private:
  std::string_view rest_;
  bool failed_ = false;
};

constexpr std::array<std::string_view, 24> kTypes = {"",
                                                     "DT_FLOAT",
                                                     "DT_DOUBLE",
                                                     "DT_INT32",
                                                     "DT_UINT8",
                                                     "DT_INT16",
                                                     "DT_INT8",
                                                     "DT_STRING",
                                                     "DT_COMPLEX64",
                                                     "DT_INT64",
                                                     "DT_BOOL",
                                                     "DT_QINT8",
                                                     "DT_QUINT8",
                                                     "DT_QINT32",
                                                     "DT_BFLOAT16",
                                                     "DT_QINT16",
                                                     "DT_QUINT16",
                                                     "DT_UINT16",
                                                     "DT_COMPLEX128",
                                                     "DT_HALF",
                                                     "DT_RESOURCE",
                                                     "DT_VARIANT",
                                                     "DT_UINT32",
                                                     "DT_UINT64"};

ConfigValue Float(uint64_t bits) {
  return static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(bits)));
}

// One value of an AttrValue or of its list: fields 2 s, 3 i, 4 f, 5 b, 6 type.
ConfigValue WireItem(uint32_t number, uint64_t value, std::string_view bytes) {
  switch (number) {
    case 2:
      return std::string(bytes);
    case 3:
      return static_cast<int64_t>(value);
    case 4:
      return Float(value);
    case 5:
      return value != 0;
    case 6:
      return std::string(value < kTypes.size() ? kTypes[value] : "");
    default:
      return {};
  }
}

bool WireList(std::string_view bytes, ConfigValue::List* list) {
  WireReader reader(bytes);
  WireReader::Field field;
  while (reader.Next(&field)) {
    const bool packed = field.type == 2 && field.number >= 3 && field.number <= 6;
    if (!packed) {
      list->push_back(WireItem(field.number, field.value, field.bytes));
    } else {
      WireReader items(field.bytes);
      while (!items.empty()) {
        list->push_back(
            WireItem(field.number, field.number == 4 ? items.Fixed(4) : items.Varint(), {}));
        if (list->size() > kMaxItems) return false;
      }
      if (items.failed()) return false;
    }
    if (list->size() > kMaxItems) return false;
  }
  return !reader.failed();
}

bool WireAttribute(std::string_view bytes, NodeDef* node) {
  std::string name;
  std::string_view value;
  WireReader entry(bytes);
  WireReader::Field field;
  while (entry.Next(&field)) {
    if (field.number == 1) name = std::string(field.bytes);
    if (field.number == 2) value = field.bytes;
  }
  if (entry.failed() || name.empty()) return false;
  ConfigValue result;
  WireReader reader(value);
  while (reader.Next(&field)) {
    if (field.number == 1 && field.type == 2) {
      ConfigValue::List list;
      if (!WireList(field.bytes, &list)) return false;
      result = std::move(list);
    } else {
      result = WireItem(field.number, field.value, field.bytes);
    }
  }
  node->attributes[name] = std::move(result);
  return !reader.failed() && node->attributes.size() <= kMaxItems;
}

std::optional<NodeDef> FromWire(std::string_view bytes) {
  NodeDef node;
  WireReader reader(bytes);
  WireReader::Field field;
  while (reader.Next(&field)) {
    if (field.number > 7 || (field.number <= 5 && field.type != 2)) return std::nullopt;
    if (field.number == 1) node.name = std::string(field.bytes);
    if (field.number == 2) node.op = std::string(field.bytes);
    if (field.number == 3) node.inputs.emplace_back(field.bytes);
    if (field.number == 5 && !WireAttribute(field.bytes, &node)) return std::nullopt;
    if (node.inputs.size() > kMaxItems) return std::nullopt;
  }
  if (reader.failed() || node.op.empty()) return std::nullopt;
  return node;
}

}  // namespace

absl::StatusOr<NodeDef> ParseNodeDef(const ConfigValue& value) {
  if (value.is_dict()) return FromJson(value);
  if (!value.is_string()) return absl::InvalidArgumentError("expected a node");
  const std::string& text = value.as_string();
  if (const auto bytes = DecodeLatin1(text)) {
    if (auto node = FromWire(*bytes)) return *std::move(node);
  }
  if (auto node = FromWire(text)) return *std::move(node);
  if (const auto bytes = DecodeBase64(text)) {
    if (auto node = FromWire(*bytes)) return *std::move(node);
  }
  return absl::InvalidArgumentError("the node cannot be decoded");
}

}  // namespace h5serve::model
