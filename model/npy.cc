#include "model/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

using compute::DType;
using compute::Shape;
using compute::Tensor;

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr uint64_t kMaxHeaderBytes = 1 << 20;

struct Header {
  std::string descr;  // NumPy's name of the element type, such as "<f4"
  bool fortran_order = false;
  Shape shape;
};

// Reads the header, a Python dict of fixed keys.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  std::optional<Header> Parse() {
    Header header;
    if (!Take('{')) return std::nullopt;
    int keys = 0;
    while (!Take('}')) {
      const std::optional<std::string> key = String();
      if (!key || !Take(':')) return std::nullopt;
      if (*key == "descr") {
        const std::optional<std::string> descr = String();
        if (!descr) return std::nullopt;
        header.descr = *descr;
      } else if (*key == "fortran_order") {
        header.fortran_order = TakeWord("True");
        if (!header.fortran_order && !TakeWord("False")) return std::nullopt;
      } else if (*key != "shape" || !Dimensions(&header.shape)) {
        return std::nullopt;
      }
      ++keys;
      Take(',');
    }
    return keys == 3 ? std::optional<Header>(header) : std::nullopt;
  }

 private:
  void SkipSpace() {
    while (at_ < text_.size() && std::strchr(" \t\n", text_[at_]) != nullptr) ++at_;
  }

  bool Take(char c) {
    SkipSpace();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool TakeWord(std::string_view word) {
    SkipSpace();
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  std::optional<std::string> String() {
    SkipSpace();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) return std::nullopt;
    const size_t end = text_.find(text_[at_], at_ + 1);
    if (end == std::string_view::npos) return std::nullopt;
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }

  bool Dimensions(Shape* shape) {
    if (!Take('(')) return false;
    while (!Take(')')) {
      SkipSpace();
      int64_t dim = -1;
      const char* begin = text_.data() + at_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), dim);
      if (error != std::errc() || dim < 0 || shape->rank() == compute::kMaxRank) return false;
      at_ += static_cast<size_t>(end - begin);
      shape->push_back(dim);
      Take('L');  // Python 2's long integers
      Take(',');
    }
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
};

// An element as it lies in the file.
struct Element {
  DType dtype = DType::kFloat32;
  char kind = 'f';  // NumPy's letter
  uint64_t bytes = 4;
  bool swapped = false;  // big-endian
};

std::optional<DType> NumberType(char kind, uint64_t bytes) {
  struct Row {
    char kind;
    uint64_t bytes;
    DType dtype;
  };
  constexpr Row kRows[] = {
      {'f', 2, DType::kFloat16}, {'f', 4, DType::kFloat32}, {'f', 8, DType::kFloat64},
      {'i', 1, DType::kInt8},    {'i', 2, DType::kInt16},   {'i', 4, DType::kInt32},
      {'i', 8, DType::kInt64},   {'u', 1, DType::kUInt8},   {'u', 2, DType::kUInt16},
      {'u', 4, DType::kUInt32},  {'u', 8, DType::kUInt64},  {'b', 1, DType::kBool},
      {'V', 2, DType::kBFloat16}};
  for (const Row& row : kRows) {
    if (row.kind == kind && row.bytes == bytes) return row.dtype;
  }
  return std::nullopt;
}

absl::StatusOr<Element> ParseElement(std::string_view descr) {
  const std::string shown = Printable(descr, 80);
  Element element;
  if (descr == "bfloat16") return Element{DType::kBFloat16, 'V', 2, false};
  char order = '=';
  if (!descr.empty() && std::strchr("<>=|", descr[0]) != nullptr) {
    order = descr[0];
    descr.remove_prefix(1);
  }
  if (descr.starts_with('O')) {
    return absl::UnimplementedError(
        "an array of Python objects; convert it with .astype('U') or .astype('float32')");
  }
  if (descr.size() < 2) {
    return absl::UnimplementedError(fmt::format("elements of type \"{}\"", shown));
  }
  element.kind = descr[0];
  const auto [end, error] =
      std::from_chars(descr.data() + 1, descr.data() + descr.size(), element.bytes);
  if (error != std::errc() || end != descr.data() + descr.size()) {
    return absl::UnimplementedError(fmt::format("elements of type \"{}\"", shown));
  }
  element.swapped = order == '>';
  if (element.kind == 'S' || element.kind == 'a' || element.kind == 'U') {
    element.dtype = DType::kString;
    if (element.bytes > (uint64_t{1} << 30)) return absl::InvalidArgumentError("strings too long");
    if (element.kind == 'U') element.bytes *= 4;
    return element;
  }
  const std::optional<DType> dtype = NumberType(element.kind, element.bytes);
  if (!dtype) return absl::UnimplementedError(fmt::format("elements of type \"{}\"", shown));
  element.dtype = *dtype;
  return element;
}

// ---- elements

void SwapBytes(char* data, uint64_t count, uint64_t bytes) {
  for (uint64_t i = 0; i < count; ++i) std::reverse(data + i * bytes, data + (i + 1) * bytes);
}

void AppendUtf8(uint32_t code, std::string* text) {
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = 0xFFFD;
  if (code < 0x80) {
    *text += static_cast<char>(code);
  } else if (code < 0x800) {
    *text += static_cast<char>(0xC0 | code >> 6);
    *text += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    *text += static_cast<char>(0xE0 | code >> 12);
    *text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    *text += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    *text += static_cast<char>(0xF0 | code >> 18);
    *text += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    *text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    *text += static_cast<char>(0x80 | (code & 0x3F));
  }
}

std::string DecodeString(std::string_view bytes, const Element& element) {
  if (element.kind != 'U') {
    while (!bytes.empty() && bytes.back() == '\0') bytes.remove_suffix(1);
    return std::string(bytes);
  }
  std::vector<uint32_t> codes(bytes.size() / 4);
  std::memcpy(codes.data(), bytes.data(), codes.size() * 4);
  if (element.swapped) {
    for (uint32_t& code : codes) code = __builtin_bswap32(code);
  }
  while (!codes.empty() && codes.back() == 0) codes.pop_back();
  std::string text;
  for (const uint32_t code : codes) AppendUtf8(code, &text);
  return text;
}

// Moves elements from Fortran order, the first dimension fastest, to ours.
template <typename T>
void FromFortranOrder(const T* source, T* destination, const Shape& shape) {
  const int rank = shape.rank();
  const int64_t count = shape.num_elements();
  std::vector<int64_t> strides(rank, 1);
  for (int axis = 1; axis < rank; ++axis) strides[axis] = strides[axis - 1] * shape[axis - 1];
  std::vector<int64_t> index(rank, 0);
  int64_t from = 0;
  for (int64_t to = 0; to < count; ++to) {
    destination[to] = source[from];
    for (int axis = rank - 1; axis >= 0; --axis) {
      from += strides[axis];
      if (++index[axis] < shape[axis]) break;
      from -= index[axis] * strides[axis];
      index[axis] = 0;
    }
  }
}

Tensor ReorderFromFortran(const Tensor& tensor) {
  Tensor reordered = Tensor::Allocate(tensor.dtype(), tensor.shape());
  const auto move = [&]<typename T>(T) {
    FromFortranOrder(tensor.data<T>(), reordered.mutable_data<T>(), tensor.shape());
  };
  if (tensor.dtype() == DType::kString) {
    move(std::string());
    return reordered;
  }
  switch (compute::SizeOf(tensor.dtype())) {
    case 1:
      move(uint8_t{});
      break;
    case 2:
      move(uint16_t{});
      break;
    case 4:
      move(uint32_t{});
      break;
    default:
      move(uint64_t{});
      break;
  }
  return reordered;
}

absl::StatusOr<Tensor> ReadElements(const Header& header, const Element& element, int64_t count,
                                    const ReadExactly& read) {
  Tensor tensor = Tensor::Allocate(element.dtype, header.shape);
  const uint64_t bytes = static_cast<uint64_t>(count) * element.bytes;
  if (element.dtype == DType::kString) {
    std::string all(bytes, '\0');
    if (!read(all.data(), bytes)) return absl::InvalidArgumentError("the data are cut short");
    for (int64_t i = 0; i < count; ++i) {
      const std::string_view one = std::string_view(all).substr(i * element.bytes, element.bytes);
      tensor.mutable_data<std::string>()[i] = DecodeString(one, element);
    }
    return tensor;
  }
  char* data = static_cast<char*>(tensor.raw_mutable_data());
  if (!read(data, bytes)) return absl::InvalidArgumentError("the data are cut short");
  if (element.swapped && element.bytes > 1) SwapBytes(data, count, element.bytes);
  if (element.dtype == DType::kBool) {
    for (int64_t i = 0; i < count; ++i) data[i] = data[i] != 0;
  }
  return tensor;
}

absl::StatusOr<Header> ReadHeader(uint64_t size_bytes, const ReadExactly& read, uint64_t* used) {
  char fixed[12] = {};
  if (size_bytes < 10 || !read(fixed, 10) || std::string_view(fixed, 6) != kMagic) {
    return absl::InvalidArgumentError("not a NumPy array");
  }
  const auto byte = [&fixed](int i) {
    return static_cast<uint64_t>(static_cast<uint8_t>(fixed[i]));
  };
  uint64_t length = byte(8) | byte(9) << 8;
  *used = 10;
  if (byte(6) < 1 || byte(6) > 3) {
    return absl::UnimplementedError(fmt::format("version {} of the NumPy format", byte(6)));
  }
  if (byte(6) >= 2) {
    if (!read(fixed + 10, 2)) return absl::InvalidArgumentError("not a NumPy array");
    length |= byte(10) << 16 | byte(11) << 24;
    *used = 12;
  }
  if (length > kMaxHeaderBytes || length > size_bytes - std::min(size_bytes, *used)) {
    return absl::InvalidArgumentError("the header is cut short");
  }
  std::string text(length, '\0');
  if (!read(text.data(), length)) return absl::InvalidArgumentError("the header is cut short");
  *used += length;
  const std::optional<Header> header = HeaderParser(text).Parse();
  if (header) return *header;
  return absl::InvalidArgumentError(
      fmt::format("a header that is not read: {}", Printable(text, 120)));
}

// ---- writing

std::string_view Descr(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kBFloat16:
      return "<f4";
    case DType::kFloat64:
      return "<f8";
    case DType::kFloat16:
      return "<f2";
    case DType::kInt8:
      return "|i1";
    case DType::kInt16:
      return "<i2";
    case DType::kInt32:
      return "<i4";
    case DType::kInt64:
      return "<i8";
    case DType::kUInt8:
      return "|u1";
    case DType::kUInt16:
      return "<u2";
    case DType::kUInt32:
      return "<u4";
    case DType::kUInt64:
      return "<u8";
    case DType::kBool:
      return "|b1";
    case DType::kString:
      break;
  }
  return "";
}

std::string EncodeHeader(std::string_view descr, const Shape& shape) {
  std::string dims;
  for (const int64_t dim : shape) dims += fmt::format("{}, ", dim);
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr, dims);
  // The data begin at a multiple of 64.
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  std::string bytes(kMagic);
  bytes += {1, 0};
  bytes += static_cast<char>(header.size() & 0xFF);
  bytes += static_cast<char>(header.size() >> 8);
  return bytes + header;
}

std::vector<uint32_t> CodePoints(std::string_view text) {
  std::vector<uint32_t> codes;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i]);
    const int length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    uint32_t code = length == 1 ? lead : lead & (0x7F >> length);
    for (int k = 1; k < length; ++k) code = code << 6 | (static_cast<uint8_t>(text[i + k]) & 0x3F);
    codes.push_back(code);
    i += length;
  }
  return codes;
}

absl::StatusOr<std::string> EncodeStrings(const Tensor& tensor) {
  const std::span<const std::string> strings(tensor.data<std::string>(),
                                             static_cast<size_t>(tensor.num_elements()));
  const bool is_text = std::ranges::all_of(strings, IsValidUtf8);
  size_t longest = 1;
  for (const std::string& text : strings) {
    longest = std::max(longest, is_text ? CodePoints(text).size() : text.size());
  }
  const uint64_t width = longest * (is_text ? 4 : 1);
  if (width * strings.size() > (uint64_t{1} << 34)) {
    return absl::ResourceExhaustedError("strings of very different lengths");
  }
  std::string bytes =
      EncodeHeader(fmt::format("{}{}", is_text ? "<U" : "|S", longest), tensor.shape());
  size_t at = bytes.size();
  bytes.resize(at + width * strings.size());
  for (const std::string& text : strings) {
    if (is_text) {
      const std::vector<uint32_t> codes = CodePoints(text);
      std::memcpy(bytes.data() + at, codes.data(), codes.size() * 4);
    } else {
      std::memcpy(bytes.data() + at, text.data(), text.size());
    }
    at += width;
  }
  return bytes;
}

}  // namespace

static_assert(std::endian::native == std::endian::little);

absl::StatusOr<Tensor> DecodeNpy(uint64_t size_bytes, const ReadExactly& read) {
  uint64_t used = 0;
  const absl::StatusOr<Header> header = ReadHeader(size_bytes, read, &used);
  if (!header.ok()) return header.status();
  const absl::StatusOr<Element> element = ParseElement(header->descr);
  if (!element.ok()) return element.status();
  const std::optional<int64_t> count = compute::CheckedElementCount(header->shape);
  if (!count) return absl::InvalidArgumentError("an array with more elements than any can have");
  const uint64_t left = size_bytes - used;
  if (element->bytes > 0 && static_cast<uint64_t>(*count) > left / element->bytes) {
    return absl::InvalidArgumentError(
        fmt::format("an array of shape {} needs more than the {} bytes there are",
                    header->shape.ToString(), left));
  }
  // Elements without bytes (empty strings) must not cost memory without bound.
  if (element->bytes == 0 && static_cast<uint64_t>(*count) > size_bytes) {
    return absl::InvalidArgumentError("an array of more empty strings than its file has bytes");
  }
  absl::StatusOr<Tensor> tensor = ReadElements(*header, *element, *count, read);
  if (!tensor.ok() || !header->fortran_order || *count == 0) return tensor;
  return ReorderFromFortran(*tensor);
}

absl::StatusOr<std::string> EncodeNpy(const Tensor& tensor) {
  if (tensor.dtype() == DType::kString) return EncodeStrings(tensor);
  Tensor values = tensor;
  if (tensor.dtype() == DType::kBFloat16) {
    absl::StatusOr<Tensor> floats = compute::Cast(tensor, DType::kFloat32);
    if (!floats.ok()) return floats.status();
    values = *std::move(floats);
  }
  std::string bytes = EncodeHeader(Descr(tensor.dtype()), tensor.shape());
  const size_t size = static_cast<size_t>(values.size_bytes());
  if (size > 0) bytes.append(static_cast<const char*>(values.raw_data()), size);
  return bytes;
}

}  // namespace h5serve::model
