#include "model/reader/exchange.h"

#include <algorithm>
#include <set>

#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

constexpr uint64_t kMaxEntries = 4'000'000;
constexpr size_t kMaxFindings = 1000;

class Encoder {
 public:
  void Number(uint64_t value) {
    while (value >= 0x80) {
      bytes_ += static_cast<char>(value | 0x80);
      value >>= 7;
    }
    bytes_ += static_cast<char>(value);
  }
  void Text(const std::string& text) {
    Number(text.size());
    bytes_ += text;
  }
  void OptionalText(const std::optional<std::string>& text) {
    Number(text.has_value());
    if (text) Text(*text);
  }
  void Texts(const std::vector<std::string>& texts) {
    Number(texts.size());
    for (const std::string& text : texts) Text(text);
  }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// After the first unsound value everything reads as nothing.
class Decoder {
 public:
  explicit Decoder(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t Number() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (position_ == bytes_.size()) break;
      const auto byte = static_cast<uint64_t>(bytes_[position_++]);
      value |= (byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    ok_ = false;
    return 0;
  }
  uint64_t NumberBelow(uint64_t limit) {
    const uint64_t value = Number();
    if (value < limit) return value;
    ok_ = false;
    return 0;
  }
  // Entries that take at least a byte each.
  uint64_t Count() {
    const uint64_t count = NumberBelow(kMaxEntries);
    if (count <= bytes_.size() - position_) return ok_ ? count : 0;
    ok_ = false;
    return 0;
  }
  std::string RawText() {
    const uint64_t size = Number();
    if (!ok_ || size > bytes_.size() - position_) {
      ok_ = false;
      return {};
    }
    std::string text(reinterpret_cast<const char*>(bytes_.data() + position_), size);
    position_ += size;
    return text;
  }
  std::string Text() { return ToUtf8(RawText()); }
  std::optional<std::string> OptionalText() {
    if (NumberBelow(2) == 0) return std::nullopt;
    return Text();
  }
  std::vector<std::string> Texts() {
    std::vector<std::string> texts;
    for (uint64_t left = Count(); left > 0 && ok_; --left) texts.push_back(Text());
    return texts;
  }
  std::vector<std::string> RawTexts() {
    std::vector<std::string> texts;
    for (uint64_t left = Count(); left > 0 && ok_; --left) texts.push_back(RawText());
    return texts;
  }
  bool at_end() const { return position_ == bytes_.size(); }
  bool ok() const { return ok_; }
  void Fail() { ok_ = false; }

 private:
  std::span<const std::byte> bytes_;
  size_t position_ = 0;
  bool ok_ = true;
};

void EncodeImage(const ModelImage& image, Encoder* encoder) {
  encoder->OptionalText(image.model_config);
  encoder->OptionalText(image.training_config);
  encoder->OptionalText(image.keras_version);
  encoder->OptionalText(image.backend);
  encoder->Number(image.version_on_weights);
  encoder->Number(image.weights_on_root);
  encoder->Number(image.layer_groups.size());
  for (const ModelImage::LayerGroup& group : image.layer_groups) {
    encoder->Text(group.name);
    encoder->Number(group.group_exists);
    encoder->Texts(group.weight_names);
  }
  encoder->Number(image.unsupported_datasets.size());
  for (const auto& [path, type] : image.unsupported_datasets) {
    encoder->Text(path);
    encoder->Text(type);
  }
  encoder->Texts(image.root_names);
  encoder->Texts(image.root_attributes);
  encoder->Texts(image.notes);
}

void DecodeImage(Decoder* decoder, ModelImage* image) {
  image->model_config = decoder->OptionalText();
  image->training_config = decoder->OptionalText();
  image->keras_version = decoder->OptionalText();
  image->backend = decoder->OptionalText();
  image->version_on_weights = decoder->NumberBelow(2) != 0;
  image->weights_on_root = decoder->NumberBelow(2) != 0;
  for (uint64_t left = decoder->Count(); left > 0 && decoder->ok(); --left) {
    ModelImage::LayerGroup group;
    group.name = decoder->Text();
    group.group_exists = decoder->NumberBelow(2) != 0;
    group.weight_names = decoder->Texts();
    image->layer_groups.push_back(std::move(group));
  }
  for (uint64_t left = decoder->Count(); left > 0 && decoder->ok(); --left) {
    std::string path = decoder->Text();
    image->unsupported_datasets.insert_or_assign(std::move(path), decoder->Text());
  }
  image->root_names = decoder->Texts();
  image->root_attributes = decoder->Texts();
  image->notes = decoder->Texts();
}

void EncodeArray(const ReaderRecords::Array& array, Encoder* encoder) {
  encoder->Text(array.path);
  encoder->Number(static_cast<uint64_t>(array.dtype));
  encoder->Number(array.shape.rank());
  for (const int64_t dim : array.shape) encoder->Number(dim);
  encoder->Number(array.in_file);
  encoder->Number(array.offset);
  if (array.dtype == compute::DType::kString) encoder->Texts(array.strings);
}

// Whether [offset, offset + bytes) lies in [begin, end).
bool LiesWithin(uint64_t offset, uint64_t bytes, uint64_t begin, uint64_t end) {
  return offset >= begin && offset <= end && bytes <= end - offset;
}

ReaderRecords::Array DecodeArray(Decoder* decoder, uint64_t arena_end, uint64_t file_bytes) {
  ReaderRecords::Array array;
  array.path = decoder->Text();
  array.dtype = static_cast<compute::DType>(
      decoder->NumberBelow(static_cast<uint64_t>(compute::DType::kString) + 1));
  const uint64_t rank = decoder->NumberBelow(compute::kMaxRank + 1);
  for (uint64_t axis = 0; axis < rank; ++axis) {
    array.shape.push_back(static_cast<int64_t>(decoder->NumberBelow(compute::kMaxElements + 1)));
  }
  array.in_file = decoder->NumberBelow(2) != 0;
  array.offset = decoder->Number();
  const std::optional<int64_t> elements = compute::CheckedElementCount(array.shape);
  if (!decoder->ok() || !elements) {
    decoder->Fail();
    return array;
  }
  if (array.dtype == compute::DType::kString) {
    array.strings = decoder->RawTexts();
    if (array.strings.size() != static_cast<uint64_t>(*elements)) decoder->Fail();
  } else {
    const uint64_t bytes = static_cast<uint64_t>(*elements) * compute::SizeOf(array.dtype);
    const bool sound = array.in_file ? LiesWithin(array.offset, bytes, 0, file_bytes)
                                     : array.offset % kArenaAlignment == 0 &&
                                           LiesWithin(array.offset, bytes, kArenaOffset, arena_end);
    if (!sound) decoder->Fail();
  }
  return array;
}

// Not more than the file holds, lest many arrays claim the same bytes.
bool FitInFile(const std::vector<ReaderRecords::Array>& arrays, uint64_t file_bytes) {
  std::set<std::pair<uint64_t, uint64_t>> places;
  uint64_t left = file_bytes;
  for (const ReaderRecords::Array& array : arrays) {
    const uint64_t bytes = array.shape.num_elements() * compute::SizeOf(array.dtype);
    if (!array.in_file || !places.emplace(array.offset, bytes).second) continue;
    if (bytes > left) return false;
    left -= bytes;
  }
  return true;
}

}  // namespace

std::string SerializeRecords(const ReaderRecords& records) {
  Encoder encoder;
  EncodeImage(records.image, &encoder);
  encoder.Number(records.arrays.size());
  for (const ReaderRecords::Array& array : records.arrays) EncodeArray(array, &encoder);
  const size_t findings = std::min(records.findings.size(), kMaxFindings);
  encoder.Number(findings);
  for (size_t i = 0; i < findings; ++i) {
    encoder.Number(static_cast<uint64_t>(records.findings[i].code));
    encoder.Text(records.findings[i].message);
    encoder.Text(records.findings[i].hdf5_path);
  }
  return encoder.Take();
}

std::optional<ReaderRecords> ParseRecords(std::span<const std::byte> bytes, uint64_t arena_end,
                                          uint64_t file_bytes) {
  Decoder decoder(bytes);
  ReaderRecords records;
  DecodeImage(&decoder, &records.image);
  for (uint64_t left = decoder.Count(); left > 0 && decoder.ok(); --left) {
    records.arrays.push_back(DecodeArray(&decoder, arena_end, file_bytes));
  }
  for (uint64_t left = decoder.NumberBelow(kMaxFindings + 1); left > 0 && decoder.ok(); --left) {
    const uint64_t code = decoder.NumberBelow(AllCodes().size());
    std::string message = Printable(decoder.RawText(), 1000);
    records.findings.push_back(
        {static_cast<Code>(code), std::move(message), Printable(decoder.RawText(), 1000)});
  }
  if (!decoder.ok() || !decoder.at_end()) return std::nullopt;
  if (!FitInFile(records.arrays, file_bytes)) return std::nullopt;
  return records;
}

}  // namespace h5serve::model
