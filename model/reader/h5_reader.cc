#include "model/reader/h5_reader.h"

#include <fmt/format.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <span>
#include <string_view>

#include "model/reader/h5_types.h"
#include "model/reader/lzf_filter.h"
#include "model/reader/read_model.h"

namespace h5serve::model {
namespace {

constexpr int kMaxDepth = 64;
constexpr int kMaxLinks = 500'000;
// A hostile file links groups to each other so that paths double at each level.
constexpr int kMaxPathsOfGroup = 16;
constexpr size_t kMaxFindings = 200;
constexpr size_t kMaxNameBytes = 64 << 10;
// Numbers of hard-linked arrays are shared, strings are copied.
constexpr size_t kMaxCopiedStrings = 1000;
constexpr int kMaxPartsOfAttribute = 100'000;

// HDF5 asks these for the memory of an image. The file is mapped already, so
// that nothing needs to be allocated or copied.
void* g_image = nullptr;
void* ImageMalloc(size_t, H5FD_file_image_op_t, void*) { return g_image; }
void* ImageCopy(void* destination, const void*, size_t, H5FD_file_image_op_t, void*) {
  return destination;
}
void* ImageRealloc(void*, size_t, H5FD_file_image_op_t, void*) { return nullptr; }
herr_t ImageFree(void*, H5FD_file_image_op_t, void*) { return 0; }

hid_t OpenImage(void* file, size_t file_bytes) {
  g_image = file;
  H5FD_file_image_callbacks_t callbacks{};
  callbacks.image_malloc = ImageMalloc;
  callbacks.image_memcpy = ImageCopy;
  callbacks.image_realloc = ImageRealloc;
  callbacks.image_free = ImageFree;
  const H5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_core(access.id(), 1 << 20, 0);
  H5Pset_file_image_callbacks(access.id(), &callbacks);
  H5Pset_file_image(access.id(), file, file_bytes);
  return H5Fopen("image", H5F_ACC_RDONLY, access.id());
}

struct Link {
  std::string name;
  H5L_type_t type;
};

herr_t CollectLink(hid_t, const char* name, const H5L_info_t* info, void* links) {
  auto* list = static_cast<std::vector<Link>*>(links);
  if (list->size() >= kMaxLinks || std::strlen(name) > kMaxNameBytes) return -1;
  list->push_back({name, info->type});
  return 0;
}

herr_t CollectAttribute(hid_t, const char* name, const H5A_info_t*, void* names) {
  auto* list = static_cast<std::vector<std::string>*>(names);
  if (list->size() >= kMaxLinks || std::strlen(name) > kMaxNameBytes) return -1;
  list->emplace_back(name);
  return 0;
}

class H5ModelReader {
 public:
  H5ModelReader(hid_t file, std::span<const std::byte> bytes, bool is_archive_member, Arena* arena,
                ReaderRecords* records)
      : file_(file),
        bytes_(bytes),
        is_archive_member_(is_archive_member),
        arena_(*arena),
        records_(*records),
        image_(records->image) {}

  void Read() {
    const H5Handle root(H5Gopen2(file_, "/", H5P_DEFAULT), H5Gclose);
    if (!root.valid()) return AddCorrupt("the root group", "");
    ReadRoot(root.id());
    if (IsForeign(root.id())) return ListMembers(root.id());
    VisitGroup(root.id(), "", 0);
    if (!is_archive_member_) ReadLayerGroups(root.id());
  }

 private:
  // ---- findings

  void AddFinding(Code code, std::string message, const std::string& path) {
    if (records_.findings.size() < kMaxFindings) {
      records_.findings.push_back({code, std::move(message), path});
    }
  }

  void AddCorrupt(const std::string& what, const std::string& path) {
    const H5Failure failure = LastH5Failure();
    const Code code = failure.out_of_memory ? Code::kReaderMemory : Code::kHdf5Corrupt;
    AddFinding(code, fmt::format("cannot decode {}: {}", what, failure.description), path);
  }

  // ---- attributes

  static bool HasLayerNames(hid_t object) {
    return H5Aexists(object, "layer_names") > 0 || H5Aexists(object, "layer_names0") > 0;
  }

  std::optional<std::vector<std::string>> ReadStrings(hid_t object, const std::string& name,
                                                      const std::string& path) {
    if (H5Aexists(object, name.c_str()) <= 0) return std::nullopt;
    std::vector<std::string> strings;
    if (!ReadAttributeStrings(object, name, bytes_.size(), &strings)) {
      AddCorrupt("attribute " + name, path);
      return std::nullopt;
    }
    return strings;
  }

  std::optional<std::string> ReadString(hid_t object, const std::string& name,
                                        const std::string& path) {
    std::optional<std::vector<std::string>> strings = ReadStrings(object, name, path);
    if (!strings || strings->empty()) return std::nullopt;
    return std::move(strings->front());
  }

  // The list `name`, or else its parts `name`0, `name`1, … up to the first gap:
  // Keras splits lists that exceed HDF5's 64 KiB for an attribute.
  std::optional<std::vector<std::string>> ReadNameList(hid_t object, const std::string& name,
                                                       const std::string& path) {
    if (std::optional<std::vector<std::string>> whole = ReadStrings(object, name, path)) {
      return whole;
    }
    std::optional<std::vector<std::string>> names;
    for (int part = 0; part < kMaxPartsOfAttribute; ++part) {
      std::optional<std::vector<std::string>> more =
          ReadStrings(object, fmt::format("{}{}", name, part), path);
      if (!more) break;
      if (!names) names.emplace();
      std::ranges::move(*more, std::back_inserter(*names));
    }
    return names;
  }

  // Whether the file is no model, so that nobody needs its contents.
  bool IsForeign(hid_t root) const {
    if (is_archive_member_ || image_.model_config || HasLayerNames(root)) return false;
    for (const char* name : {"model_weights", "layers", "_layer_checkpoint_dependencies"}) {
      if (H5Exists(root, name)) return false;
    }
    return H5Aexists(root, "nb_layers") <= 0;
  }

  void ListMembers(hid_t root) {
    std::vector<Link> links;
    hsize_t position = 0;
    H5Literate(root, H5_INDEX_NAME, H5_ITER_NATIVE, &position, CollectLink, &links);
    for (Link& link : links) image_.root_names.push_back(std::move(link.name));
  }

  void ReadRoot(hid_t root) {
    hsize_t position = 0;
    if (H5Aiterate2(root, H5_INDEX_NAME, H5_ITER_NATIVE, &position, CollectAttribute,
                    &image_.root_attributes) < 0) {
      AddCorrupt("the attributes of the root group", "");
    }
    image_.model_config = ReadString(root, "model_config", "");
    image_.training_config = ReadString(root, "training_config", "");
    image_.keras_version = ReadString(root, "keras_version", "");
    image_.backend = ReadString(root, "backend", "");
  }

  // ---- groups and datasets

  void VisitGroup(hid_t group, const std::string& path, int depth) {
    std::vector<Link> links;
    hsize_t position = 0;
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, &position, CollectLink, &links) < 0) {
      AddCorrupt(
          path.empty() ? "the list of members of the root group" : "the list of members of a group",
          path);
    }
    groups_.insert(path);
    for (const Link& link : links) {
      if (depth == 0) image_.root_names.push_back(link.name);
      if (++links_seen_ > kMaxLinks) {
        if (links_seen_ == kMaxLinks + 1) {
          AddFinding(Code::kHdf5Corrupt, fmt::format("more than {} links", kMaxLinks), path);
        }
        return;
      }
      const bool of_optimizer = depth == 0 && (link.name == "optimizer_weights" ||
                                               (is_archive_member_ && link.name == "optimizer"));
      if (!of_optimizer) VisitLink(group, link, path, depth);
    }
  }

  void VisitLink(hid_t group, const Link& link, const std::string& path, int depth) {
    const std::string below = path.empty() ? link.name : path + "/" + link.name;
    if (link.type == H5L_TYPE_EXTERNAL) {
      AddExternalLink(group, link.name, below);
      return;
    }
    if (link.type != H5L_TYPE_HARD && link.type != H5L_TYPE_SOFT) {
      AddFinding(Code::kHdf5UnsupportedFeature, "a user-defined link", below);
      return;
    }
    const H5Handle object(H5Oopen(group, link.name.c_str(), H5P_DEFAULT), H5Oclose);
    H5O_info_t info;
    if (!object.valid() && link.type == H5L_TYPE_SOFT) return;  // leads nowhere
    if (!object.valid() || H5Oget_info2(object.id(), &info, H5O_INFO_BASIC) < 0) {
      AddCorrupt("an object", below);
    } else if (info.type == H5O_TYPE_DATASET) {
      VisitDataset(object.id(), below, info.addr);
    } else if (info.type == H5O_TYPE_GROUP) {
      if (std::ranges::find(ancestors_, info.addr) != ancestors_.end()) return;  // a cycle
      if (++paths_of_group_[info.addr] > kMaxPathsOfGroup) return;
      if (depth >= kMaxDepth) {
        AddFinding(Code::kHdf5Corrupt, fmt::format("groups nest deeper than {}", kMaxDepth), below);
        return;
      }
      ancestors_.push_back(info.addr);
      VisitGroup(object.id(), below, depth + 1);
      ancestors_.pop_back();
    }
  }

  void AddExternalLink(hid_t group, const std::string& name, const std::string& path) {
    std::array<char, 4096> value{};
    std::string_view target = "another file";
    const char* file = nullptr;
    if (H5Lget_val(group, name.c_str(), value.data(), value.size(), H5P_DEFAULT) >= 0 &&
        H5Lunpack_elink_val(value.data(), value.size(), nullptr, &file, nullptr) >= 0) {
      target = file;
    }
    AddFinding(Code::kExternalLink, fmt::format("refers to external file {}", target), path);
  }

  void VisitDataset(hid_t dataset, const std::string& path, haddr_t address) {
    if (const auto seen = arrays_by_address_.find(address); seen != arrays_by_address_.end()) {
      ReaderRecords::Array copy = records_.arrays[seen->second];
      copy.path = path;
      if (copy.strings.size() <= kMaxCopiedStrings) records_.arrays.push_back(std::move(copy));
      return;
    }
    ReaderRecords::Array array;
    array.path = path;
    const H5DatasetReader reader(dataset, bytes_);
    const H5DatasetReader::Result described = reader.Describe(&array);
    if (described.problem != H5DatasetReader::Problem::kNone) return AddProblem(described, path);
    const H5DatasetReader::Result read = reader.Read(&arena_, &array);
    if (read.problem != H5DatasetReader::Problem::kNone) return AddProblem(read, path);
    arrays_by_address_.emplace(address, records_.arrays.size());
    records_.arrays.push_back(std::move(array));
  }

  void AddProblem(const H5DatasetReader::Result& result, const std::string& path) {
    switch (result.problem) {
      case H5DatasetReader::Problem::kNone:
        break;
      case H5DatasetReader::Problem::kType:
        image_.unsupported_datasets.emplace(path, result.message);
        break;
      case H5DatasetReader::Problem::kCorrupt:
        AddCorrupt(result.message, path);
        break;
      case H5DatasetReader::Problem::kFinding:
        AddFinding(result.code, result.message, path);
        break;
    }
  }

  // ---- layers

  void ReadLayerGroups(hid_t root) {
    const H5Handle weights(groups_.contains("model_weights")
                               ? H5Gopen2(root, "model_weights", H5P_DEFAULT)
                               : H5I_INVALID_HID,
                           H5Gclose);
    // A layer of a file of save_weights may be called model_weights.
    const bool on_group = weights.valid() && (HasLayerNames(weights.id()) || !HasLayerNames(root));
    if (!on_group && !HasLayerNames(root)) return;
    image_.weights_on_root = !on_group;
    const hid_t base = on_group ? weights.id() : root;
    const std::string base_path = on_group ? "model_weights" : "";
    if (on_group) {
      if (std::optional<std::string> version = ReadString(base, "keras_version", base_path)) {
        image_.keras_version = std::move(version);
        image_.version_on_weights = true;
      }
      if (std::optional<std::string> backend = ReadString(base, "backend", base_path)) {
        image_.backend = std::move(backend);
      }
    }
    const std::optional<std::vector<std::string>> names =
        ReadNameList(base, "layer_names", base_path);
    if (!names) {
      // Without an architecture, too, saving ended even earlier: that is told instead.
      if (image_.model_config) {
        AddFinding(Code::kIncompleteSave, "the list layer_names is missing", base_path);
      }
      return;
    }
    for (const std::string& name : *names) ReadLayerGroup(root, base_path, name);
  }

  void ReadLayerGroup(hid_t root, const std::string& base_path, const std::string& name) {
    ModelImage::LayerGroup layer;
    layer.name = name;
    const std::string path = NormalizedPath(base_path + "/" + name);
    // Paths are looked up in what was visited, for links lead anywhere.
    layer.group_exists = !path.empty() && groups_.contains(path);
    if (layer.group_exists) {
      const H5Handle group(H5Gopen2(root, path.c_str(), H5P_DEFAULT), H5Gclose);
      std::optional<std::vector<std::string>> weights;
      if (group.valid()) weights = ReadNameList(group.id(), "weight_names", path);
      if (weights) {
        layer.weight_names = std::move(*weights);
      } else {
        AddFinding(Code::kIncompleteSave,
                   fmt::format("the list weight_names of layer {} is missing", name), path);
      }
    }
    image_.layer_groups.push_back(std::move(layer));
  }

  const hid_t file_;
  const std::span<const std::byte> bytes_;
  const bool is_archive_member_;
  Arena& arena_;
  ReaderRecords& records_;
  ModelImage& image_;
  int links_seen_ = 0;
  std::vector<haddr_t> ancestors_;
  std::map<haddr_t, int> paths_of_group_;
  std::set<std::string, std::less<>> groups_;
  std::map<haddr_t, size_t> arrays_by_address_;
};

}  // namespace

uint64_t Arena::Allocate(uint64_t bytes) {
  const uint64_t aligned = (used_ + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
  if (aligned > capacity_ || bytes > capacity_ - aligned) return 0;
  used_ = aligned + bytes;
  return aligned;
}

bool Arena::LeaveInFile(uint64_t bytes) {
  if (bytes > left_in_file_ || bytes > capacity_ - used_) return false;
  left_in_file_ -= bytes;
  capacity_ -= bytes;  // the parent's memory counts as well
  return true;
}

std::string Hdf5Version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

void InitializeHdf5() {
  H5dont_atexit();
  H5open();
  KeepH5Failures();
  H5PLset_loading_state(0);
  RegisterLzfFilter();
}

void ReadHdf5(void* file, size_t file_bytes, bool is_archive_member, Arena* arena,
              ReaderRecords* records) {
  const hid_t image = OpenImage(file, file_bytes);
  if (image < 0) {
    const H5Failure failure = LastH5Failure();
    records->findings.push_back(
        {failure.out_of_memory ? Code::kReaderMemory : Code::kHdf5Corrupt,
         fmt::format("cannot decode the file's superblock: {}", failure.description), ""});
    return;
  }
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(file), file_bytes);
  H5ModelReader(image, bytes, is_archive_member, arena, records).Read();
}

}  // namespace h5serve::model
