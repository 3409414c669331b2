#include "model/reader/sniff.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string_view>

#include "model/config_value.h"
#include "model/reader/superblock.h"
#include "model/text_encoding.h"

namespace h5serve::model {
namespace {

constexpr size_t kHeadBytes = 64 << 10;
constexpr size_t kMaxArchitectureBytes = 16 << 20;

std::string ReadAt(int descriptor, int64_t offset, size_t size, int* error) {
  std::string bytes(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t got = pread(descriptor, bytes.data() + done, size - done, offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) *error = errno;
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

bool ContainsNoCase(std::string_view text, std::string_view part) {
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) ==
           std::tolower(static_cast<unsigned char>(b));
  };
  return std::search(text.begin(), text.end(), part.begin(), part.end(), same) != text.end();
}

bool EndsWith(const std::string& path, std::string_view ending) {
  return path.size() >= ending.size() &&
         ContainsNoCase(path.substr(path.size() - ending.size()), ending);
}

std::string Hex(std::string_view bytes) {
  std::string text;
  for (const unsigned char byte : bytes) {
    text += fmt::format("{}{:02x}", text.empty() ? "" : " ", byte);
  }
  return text;
}

// ---- text

std::string_view TrimmedStart(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const size_t start = text.find_first_not_of(" \t\r\n");
  return start == std::string_view::npos ? std::string_view() : text.substr(start);
}

bool IsText(std::string_view head) {
  return std::ranges::none_of(head, [](unsigned char c) {
    return c < 0x09 || (c > 0x0D && c < 0x20 && c != 0x1B) || c == 0x7F;
  });
}

std::string_view FirstLine(std::string_view text) {
  return text.substr(0, text.find_first_of("\r\n"));
}

// The rest of the line that begins with `key` and a space.
std::string LineValue(std::string_view text, std::string_view key) {
  size_t at = 0;
  while (at < text.size()) {
    const std::string_view line = FirstLine(text.substr(at));
    if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == ' ') {
      return Printable(line.substr(key.size() + 1));
    }
    at += line.size() + 1;
  }
  return "";
}

void DiagnoseGitLfs(std::string_view head, const std::string& path, DiagnosisList* diagnoses) {
  const std::string size = LineValue(head, "size");
  const std::string oid = LineValue(head, "oid");
  std::string message = fmt::format("{} is a Git LFS pointer for a {}-byte object {}", path,
                                    size.empty() ? "?" : size, oid);
  if (head.find("<<<<<<<") != std::string_view::npos) message += ", with merge conflict markers";
  diagnoses->Add(Code::kGitLfsPointer, std::move(message));
}

std::string HtmlTitle(std::string_view head) {
  std::string lower(head);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  size_t begin = lower.find("<title");
  if (begin == std::string::npos) return "";
  begin = lower.find('>', begin);
  if (begin == std::string::npos) return "";
  const size_t end = lower.find('<', begin);
  if (end == std::string::npos) return "";
  std::string_view title = TrimmedStart(head.substr(begin + 1, end - begin - 1));
  while (!title.empty() && std::isspace(static_cast<unsigned char>(title.back()))) {
    title.remove_suffix(1);
  }
  return Printable(title, 120);
}

// Explains JSON; only a whole file can be parsed.
void DiagnoseJson(int descriptor, int64_t size, const std::string& path, DiagnosisList* diagnoses) {
  if (size <= static_cast<int64_t>(kMaxArchitectureBytes)) {
    int error = 0;
    const absl::StatusOr<ConfigValue> value =
        ParseJson(ReadAt(descriptor, 0, static_cast<size_t>(size), &error));
    if (value.ok() && value->Find("class_name") != nullptr && value->Find("config") != nullptr) {
      diagnoses->Add(Code::kHtmlOrText,
                     fmt::format("{} is the architecture of a {} as JSON, without weights", path,
                                 Printable(value->StringOr("class_name", "model"), 80)),
                     {}, {"save architecture and weights together with `model.save('model.h5')`"});
      return;
    }
    if (value.ok() && value->Find("modelTopology") != nullptr) {
      diagnoses->Add(Code::kHtmlOrText, fmt::format("{} is a TensorFlow.js model", path), {},
                     {"use the Keras model the TensorFlow.js files were converted from"});
      return;
    }
  }
  diagnoses->Add(Code::kHtmlOrText, fmt::format("{} is JSON text, not a model", path));
}

void DiagnoseText(std::string_view head, int descriptor, int64_t size, const std::string& path,
                  DiagnosisList* diagnoses) {
  const std::string_view text = TrimmedStart(head);
  if (text.starts_with("version https://git-lfs.github.com") ||
      (size < 4096 && text.find("git-lfs.github.com/spec") != std::string_view::npos)) {
    DiagnoseGitLfs(text, path, diagnoses);
  } else if (text.starts_with('<')) {
    const bool html = ContainsNoCase(text, "<html") || ContainsNoCase(text, "<!doctype html");
    const std::string title = HtmlTitle(text);
    diagnoses->Add(Code::kHtmlOrText,
                   fmt::format("{} is {} text{}: a web page saved instead of the model", path,
                               html ? "HTML" : "XML",
                               title.empty() ? "" : fmt::format(" titled \"{}\"", title)));
  } else if (text.starts_with('{') || text.starts_with('[')) {
    DiagnoseJson(descriptor, size, path, diagnoses);
  } else if (text.starts_with("ccopy_reg") || text.starts_with("(dp0") ||
             text.starts_with("(lp0")) {
    diagnoses->Add(Code::kWrongFormatPickle, fmt::format("{} is a Python pickle", path));
  } else if (text.find("class_name: ") != std::string_view::npos &&
             text.find("config:") != std::string_view::npos) {
    diagnoses->Add(Code::kHtmlOrText,
                   fmt::format("{} is an architecture as YAML, without weights", path), {},
                   {"save architecture and weights together with `model.save('model.h5')`"});
  } else if (text.starts_with("node {") || text.starts_with("saved_model_schema_version")) {
    diagnoses->Add(Code::kWrongFormatPb, fmt::format("{} is a TensorFlow graph as text", path));
  } else {
    diagnoses->Add(Code::kHtmlOrText, fmt::format("{} is text that begins with \"{}\"", path,
                                                  Printable(FirstLine(text), 80)));
  }
}

// ---- binary formats

struct Magic {
  size_t offset;
  std::string_view bytes;
  Code code;
  std::string_view what;
};

using std::string_view_literals::operator""sv;

constexpr Magic kMagics[] = {
    {0, "\x1F\x8B"sv, Code::kCompressedFile, "gzip"},
    {0, "BZh"sv, Code::kCompressedFile, "bzip2"},
    {0,
     "\xFD"
     "7zXZ\0"sv,
     Code::kCompressedFile, "xz"},
    {0, "\x28\xB5\x2F\xFD"sv, Code::kCompressedFile, "zstd"},
    {0, "\x04\x22\x4D\x18"sv, Code::kCompressedFile, "lz4"},
    {0, "7z\xBC\xAF\x27\x1C"sv, Code::kCompressedFile, "7z"},
    {0, "Rar!\x1A\x07"sv, Code::kCompressedFile, "rar"},
    {257, "ustar"sv, Code::kCompressedFile, "tar"},
    {4, "TFL3"sv, Code::kWrongFormatTflite, "a TensorFlow Lite model"},
    {0, "\x80\x02\x8A\x0A\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19"sv, Code::kWrongFormatTorch,
     "a PyTorch model"},
    {0, "\x93NUMPY"sv, Code::kNotHdf5, "a NumPy array"},
    {0, "CDF\x01"sv, Code::kNotHdf5, "a netCDF-3 file"},
    {0, "CDF\x02"sv, Code::kNotHdf5, "a netCDF-3 file"},
    {0, "\x0E\x03\x13\x01"sv, Code::kNotHdf5, "an HDF4 file, which is another format than HDF5"},
    {0, "MATLAB 5.0"sv, Code::kNotHdf5, "a MATLAB file"},
    {0, "GGUF"sv, Code::kNotHdf5, "a GGUF model"},
    {0, "%PDF"sv, Code::kNotHdf5, "a PDF document"},
    {0, "\x89PNG"sv, Code::kNotHdf5, "a PNG image"},
    {0, "\xFF\xD8\xFF"sv, Code::kNotHdf5, "a JPEG image"},
    {0,
     "\x7F"
     "ELF"sv,
     Code::kNotHdf5, "a program"},
    {0, "SQLite format 3"sv, Code::kNotHdf5, "an SQLite database"},
    {0, "\xD0\xCF\x11\xE0"sv, Code::kNotHdf5, "an old Office document"},
};

// Name that gzip keeps of what it packed.
std::string GzipName(std::string_view head) {
  if (head.size() < 12 || !head.starts_with("\x1F\x8B"sv) || (head[3] & 0x08) == 0 ||
      (head[3] & 0x04) != 0) {
    return "";
  }
  const std::string_view name = head.substr(10);
  return Printable(name.substr(0, name.find('\0')), 100);
}

std::string CompressedContents(std::string_view head, std::string_view kind) {
  const std::string name =
      kind == "gzip"  ? GzipName(head)
      : kind == "tar" ? Printable(head.substr(0, std::min<size_t>(100, std::strlen(head.data()))))
                      : "";
  return name.empty() ? "" : fmt::format(" holding {}", name);
}

std::optional<uint64_t> Varint(std::string_view bytes, size_t* at) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && *at < bytes.size(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes[(*at)++]);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

bool IsPrintable(std::string_view text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](unsigned char c) { return c >= 0x20 && c < 0x7F; });
}

// Protocol buffers have no signature; what their first fields are tells them apart.
std::optional<Magic> ProtocolBuffer(std::string_view head, const std::string& path) {
  size_t at = 1;
  if (head.starts_with('\x08')) {
    const std::optional<uint64_t> version = Varint(head, &at);
    if (!version || *version > 30 || at >= head.size() || head[at] != '\x12') return std::nullopt;
    ++at;
    const std::optional<uint64_t> size = Varint(head, &at);
    if (!size) return std::nullopt;
    // ONNX: ir_version, producer_name. SavedModel: schema version 1, meta graph.
    if (*size < 64 && at + *size <= head.size() && IsPrintable(head.substr(at, *size))) {
      return Magic{0, "", Code::kWrongFormatOnnx, "an ONNX model"};
    }
    if (*version == 1) return Magic{0, "", Code::kWrongFormatPb, "a TensorFlow SavedModel"};
    if (EndsWith(path, ".onnx")) return Magic{0, "", Code::kWrongFormatOnnx, "an ONNX model"};
    return std::nullopt;
  }
  if (!head.starts_with('\x0A')) return std::nullopt;
  // GraphDef: node { name: "…" op: "…" }.
  const std::optional<uint64_t> node = Varint(head, &at);
  if (!node || at >= head.size() || head[at] != '\x0A') return std::nullopt;
  ++at;
  const std::optional<uint64_t> name = Varint(head, &at);
  if (!name || *name >= *node || at + *name >= head.size() ||
      !IsPrintable(head.substr(at, *name)) || head[at + *name] != '\x12') {
    return std::nullopt;
  }
  return Magic{0, "", Code::kWrongFormatPb, "a TensorFlow graph"};
}

std::optional<Magic> FindMagic(std::string_view head, const std::string& path) {
  for (const Magic& magic : kMagics) {
    if (head.size() >= magic.offset && head.substr(magic.offset).starts_with(magic.bytes)) {
      return magic;
    }
  }
  if (head.size() > 2 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) {
    return Magic{0, "", Code::kWrongFormatPickle, "a Python pickle"};
  }
  if (head.size() > 9 && head.substr(8, 2) == "{\"") {
    return Magic{0, "", Code::kNotHdf5, "a safetensors file"};
  }
  return ProtocolBuffer(head, path);
}

bool IsCheckpointPart(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string_view name =
      std::string_view(path).substr(slash == std::string::npos ? 0 : slash + 1);
  return name.find(".data-0") != std::string_view::npos || name.ends_with(".index") ||
         name == "checkpoint";
}

void DiagnoseBinary(std::string_view head, const std::string& path, DiagnosisList* diagnoses) {
  if (const std::optional<Magic> magic = FindMagic(head, path)) {
    const bool packed = magic->code == Code::kCompressedFile;
    std::string message = fmt::format("{} is {}{}", path, magic->what,
                                      !packed                ? ""
                                      : magic->what == "tar" ? " archive"
                                                             : " data");
    if (packed) message += CompressedContents(head, magic->what);
    if (magic->code == Code::kNotHdf5) message += ", not HDF5";
    diagnoses->Add(magic->code, std::move(message));
    return;
  }
  if (std::ranges::all_of(head, [](char c) { return c == 0; })) {
    diagnoses->Add(Code::kNotHdf5, fmt::format("{} is not HDF5: it begins with zero bytes, as an "
                                               "unfinished download does",
                                               path));
    return;
  }
  // A text-mode transfer drops or adds carriage returns, which the signature is made to show.
  if (head.substr(0, 16).find("HDF") != std::string_view::npos) {
    diagnoses->Add(Code::kNotHdf5,
                   fmt::format("{} is not HDF5 any more: its signature was changed to {}, as a "
                               "transfer in text mode does",
                               path, Hex(head.substr(0, 8))),
                   {}, {"copy or download the file again in binary mode"});
    return;
  }
  diagnoses->Add(Code::kNotHdf5,
                 fmt::format("{} is not HDF5: its first bytes are {}, of no known format", path,
                             Hex(head.substr(0, 8))));
}

}  // namespace

ContentKind SniffContent(int descriptor, int64_t size, const std::string& path,
                         DiagnosisList* diagnoses) {
  if (size == 0) {
    diagnoses->Add(Code::kEmptyFile, fmt::format("{} has 0 bytes", path));
    return ContentKind::kOther;
  }
  int error = 0;
  const size_t head_size = std::min<size_t>(kHeadBytes, static_cast<size_t>(size));
  const std::string head = ReadAt(descriptor, 0, head_size, &error);
  if (error != 0) {
    diagnoses->Add(Code::kIoError, fmt::format("cannot read {}: {}", path, std::strerror(error)));
    return ContentKind::kOther;
  }
  const auto read = [&](int64_t offset, size_t bytes) {
    return ReadAt(descriptor, offset, bytes, &error);
  };
  if (const std::optional<Superblock> superblock = FindSuperblock(size, read)) {
    return CheckSuperblock(*superblock, size, path, diagnoses) ? ContentKind::kHdf5
                                                               : ContentKind::kOther;
  }
  if (head.starts_with("PK\x03\x04") || head.starts_with("PK\x05\x06")) return ContentKind::kZip;
  if (IsCheckpointPart(path)) {
    diagnoses->Add(Code::kTfCheckpoint,
                   fmt::format("{} is a part of a TensorFlow checkpoint, which "
                               "holds no architecture",
                               path));
  } else if (IsText(head)) {
    DiagnoseText(head, descriptor, size, path, diagnoses);
  } else {
    DiagnoseBinary(head, path, diagnoses);
  }
  return ContentKind::kOther;
}

void DiagnoseForeignZip(const std::vector<std::string>& members, const std::string& path,
                        DiagnosisList* diagnoses) {
  std::string list;
  bool all_arrays = !members.empty();
  for (const std::string& member : members) {
    if (member.ends_with("data.pkl")) {
      diagnoses->Add(Code::kWrongFormatTorch, fmt::format("{} is a PyTorch model", path));
      return;
    }
    if (member.ends_with("saved_model.pb")) {
      diagnoses->Add(Code::kSavedModelDir,
                     fmt::format("{} is a zip archive of a TensorFlow SavedModel", path));
      return;
    }
    all_arrays = all_arrays && member.ends_with(".npy");
    if (list.size() < 200) list += (list.empty() ? "" : ", ") + Printable(member, 80);
  }
  if (all_arrays) {
    diagnoses->Add(Code::kNotHdf5,
                   fmt::format("{} is an archive of NumPy arrays ({})", path, list));
    return;
  }
  diagnoses->Add(Code::kCompressedFile, fmt::format("{} is a zip archive holding {}", path,
                                                    list.empty() ? "nothing" : list));
}

}  // namespace h5serve::model
