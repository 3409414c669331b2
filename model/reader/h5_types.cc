#include "model/reader/h5_types.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>

#include "model/reader/h5_reader.h"

namespace h5serve::model {
namespace {

// Deflate's best ratio is 1032; a variable-length string takes 16 bytes and
// occupies some 64 in memory.
constexpr uint64_t kMaxExpansion = 1100;
constexpr uint64_t kAlwaysAllowedBytes = 1 << 20;
// Larger arrays that need no conversion are read by the parent: into huge pages
// of its own, in a third of the time that filling shared memory takes.
constexpr uint64_t kLeftInFileBytes = 64 << 10;

// Of the call that failed last. HDF5's own stack is cleared by the next call,
// such as one that closes a handle on the way out.
H5Failure g_failure;

herr_t CollectFailure(unsigned depth, const H5E_error2_t* error, void* data) {
  auto* failure = static_cast<H5Failure*>(data);
  // The stack begins where the error arose.
  if (depth == 0 && error->desc != nullptr) failure->description = error->desc;
  if (error->min_num == H5E_NOSPACE || error->min_num == H5E_CANTALLOC) {
    failure->out_of_memory = true;
  }
  return 0;
}

herr_t KeepFailure(hid_t stack, void*) {
  g_failure = H5Failure();
  H5Ewalk2(stack, H5E_WALK_UPWARD, CollectFailure, &g_failure);
  return 0;
}

// ---- element types

bool HasFields(hid_t type, size_t sign, size_t exponent_at, size_t exponent_size,
               size_t mantissa_size, size_t bias) {
  size_t at[3];
  size_t size[2];
  if (H5Tget_fields(type, &at[0], &at[1], &size[0], &at[2], &size[1]) < 0) return false;
  return at[0] == sign && at[1] == exponent_at && size[0] == exponent_size && at[2] == 0 &&
         size[1] == mantissa_size && H5Tget_ebias(type) == bias;
}

std::optional<compute::DType> FloatType(hid_t type) {
  switch (H5Tget_size(type)) {
    case 8:
      return compute::DType::kFloat64;
    case 4:
      return compute::DType::kFloat32;
    case 2:
      if (HasFields(type, 15, 10, 5, 10, 15)) return compute::DType::kFloat16;
      if (HasFields(type, 15, 7, 8, 7, 127)) return compute::DType::kBFloat16;
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

std::optional<compute::DType> IntegerType(hid_t type) {
  const bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
  switch (H5Tget_size(type)) {
    case 1:
      return is_signed ? compute::DType::kInt8 : compute::DType::kUInt8;
    case 2:
      return is_signed ? compute::DType::kInt16 : compute::DType::kUInt16;
    case 4:
      return is_signed ? compute::DType::kInt32 : compute::DType::kUInt32;
    case 8:
      return is_signed ? compute::DType::kInt64 : compute::DType::kUInt64;
    default:
      return std::nullopt;
  }
}

// h5py stores bool as an enumeration of FALSE = 0 and TRUE = 1.
bool IsBool(hid_t type) {
  if (H5Tget_size(type) != 1 || H5Tget_nmembers(type) != 2) return false;
  for (unsigned i = 0; i < 2; ++i) {
    char value = 0;
    if (H5Tget_member_value(type, i, &value) < 0 || (value != 0 && value != 1)) return false;
    char* name = H5Tget_member_name(type, i);
    if (name == nullptr) return false;
    const bool matches = strcasecmp(name, value != 0 ? "TRUE" : "FALSE") == 0;
    H5free_memory(name);
    if (!matches) return false;
  }
  return true;
}

std::optional<compute::DType> ElementType(hid_t type) {
  switch (H5Tget_class(type)) {
    case H5T_FLOAT:
      return FloatType(type);
    case H5T_INTEGER:
      return IntegerType(type);
    case H5T_ENUM:
      if (IsBool(type)) return compute::DType::kBool;
      return std::nullopt;
    case H5T_OPAQUE:
      // NumPy has no bfloat16 of its own, so that h5py stores two opaque bytes.
      if (H5Tget_size(type) == 2) return compute::DType::kBFloat16;
      return std::nullopt;
    case H5T_STRING:
      return compute::DType::kString;
    default:
      return std::nullopt;
  }
}

std::string TypeName(hid_t type) {
  const size_t bits = H5Tget_size(type) * 8;
  switch (H5Tget_class(type)) {
    case H5T_FLOAT:
      return fmt::format("float{}", bits);
    case H5T_INTEGER:
      return fmt::format("int{}", bits);
    case H5T_ENUM:
      return "enumeration";
    case H5T_OPAQUE:
      return fmt::format("{} opaque bytes", bits / 8);
    case H5T_COMPOUND:
      return H5Tget_nmembers(type) == 2 ? fmt::format("compound (complex{}?)", bits) : "compound";
    case H5T_ARRAY:
      return "array";
    case H5T_REFERENCE:
      return "reference";
    case H5T_VLEN:
      return "variable-length list";
    case H5T_BITFIELD:
      return fmt::format("bitfield{}", bits);
    case H5T_TIME:
      return "time";
    default:
      return "unknown";
  }
}

// The type in which HDF5 hands the elements over.
hid_t MemoryType(hid_t file_type, compute::DType dtype) {
  switch (dtype) {
    case compute::DType::kFloat64:
      return H5Tcopy(H5T_NATIVE_DOUBLE);
    case compute::DType::kFloat32:
      return H5Tcopy(H5T_NATIVE_FLOAT);
    case compute::DType::kInt8:
      return H5Tcopy(H5T_NATIVE_INT8);
    case compute::DType::kInt16:
      return H5Tcopy(H5T_NATIVE_INT16);
    case compute::DType::kInt32:
      return H5Tcopy(H5T_NATIVE_INT32);
    case compute::DType::kInt64:
      return H5Tcopy(H5T_NATIVE_INT64);
    case compute::DType::kUInt8:
      return H5Tcopy(H5T_NATIVE_UINT8);
    case compute::DType::kUInt16:
      return H5Tcopy(H5T_NATIVE_UINT16);
    case compute::DType::kUInt32:
      return H5Tcopy(H5T_NATIVE_UINT32);
    case compute::DType::kUInt64:
      return H5Tcopy(H5T_NATIVE_UINT64);
    default:
      break;
  }
  const hid_t type = H5Tcopy(file_type);
  // The library has no native type for 16-bit floats. Opaque bytes have no order.
  if (type >= 0 && H5Tget_class(type) == H5T_FLOAT) H5Tset_order(type, H5T_ORDER_LE);
  return type;
}

// ---- filters

std::string FilterName(H5Z_filter_t filter) {
  // Numbers from the HDF Group's register of filters.
  constexpr std::pair<H5Z_filter_t, std::string_view> kNames[] = {
      {307, "bzip2"},        {32000, "lzf"},           {32001, "blosc"}, {32004, "lz4"},
      {32008, "bitshuffle"}, {32013, "zfp"},           {32015, "zstd"},  {32017, "sz"},
      {32026, "blosc2"},     {H5Z_FILTER_SZIP, "szip"}};
  for (const auto& [number, name] : kNames) {
    if (number == filter) return std::string(name);
  }
  return fmt::format("number {}", filter);
}

// "" when all filters of the dataset are built into the library.
std::string UnavailableFilter(hid_t properties) {
  const int count = H5Pget_nfilters(properties);
  for (int i = 0; i < count; ++i) {
    unsigned flags = 0;
    size_t values = 0;
    const H5Z_filter_t filter =
        H5Pget_filter2(properties, i, &flags, &values, nullptr, 0, nullptr, nullptr);
    if (filter < 0) return "of an unreadable kind";
    if (H5Zfilter_avail(filter) <= 0) return FilterName(filter);
  }
  return "";
}

// ---- strings

// Calls `read(memory_type, buffer)` and makes strings of what it reads.
template <typename ReadFunction>
bool ReadStringElements(hid_t type, hid_t space, size_t count, const ReadFunction& read,
                        std::vector<std::string>* strings) {
  if (H5Tis_variable_str(type) > 0) {
    const H5Handle memory_type(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(memory_type.id(), H5T_VARIABLE);
    H5Tset_cset(memory_type.id(), H5Tget_cset(type));
    std::vector<char*> pointers(count, nullptr);
    if (read(memory_type.id(), pointers.data()) < 0) return false;
    for (const char* text : pointers) strings->emplace_back(text != nullptr ? text : "");
    H5Dvlen_reclaim(memory_type.id(), space, H5P_DEFAULT, pointers.data());
    return true;
  }
  const size_t size = H5Tget_size(type);
  const H5T_str_t padding = H5Tget_strpad(type);
  std::vector<char> bytes(count * size);
  if (read(type, bytes.data()) < 0) return false;
  for (size_t i = 0; i < count; ++i) {
    std::string_view text(bytes.data() + i * size, size);
    if (padding == H5T_STR_NULLTERM) text = text.substr(0, text.find('\0'));
    while (!text.empty() &&
           (text.back() == '\0' || (padding == H5T_STR_SPACEPAD && text.back() == ' '))) {
      text.remove_suffix(1);
    }
    strings->emplace_back(text);
  }
  return true;
}

// What a size that comes from `stored` bytes of the file may expand to.
bool IsPlausible(uint64_t bytes, uint64_t stored) {
  return bytes <= stored * kMaxExpansion + kAlwaysAllowedBytes;
}

// Why elements could not be read: filters may be optional, so that only the
// attempt shows whether one is missing.
H5DatasetReader::Result Unreadable(hid_t dataset, const char* what) {
  const H5Failure failure = LastH5Failure();
  const H5Handle properties(H5Dget_create_plist(dataset), H5Pclose);
  const std::string filter = properties.valid() ? UnavailableFilter(properties.id()) : "";
  if (!filter.empty()) {
    return {H5DatasetReader::Problem::kFinding,
            fmt::format("an array is packed by the filter {}, which is not read here", filter),
            Code::kHdf5UnsupportedFeature};
  }
  return {H5DatasetReader::Problem::kFinding,
          fmt::format("cannot decode {}: {}", what, failure.description),
          failure.out_of_memory ? Code::kReaderMemory : Code::kHdf5Corrupt};
}

}  // namespace

bool H5Exists(hid_t group, const char* name) { return H5Lexists(group, name, H5P_DEFAULT) > 0; }

void KeepH5Failures() { H5Eset_auto2(H5E_DEFAULT, KeepFailure, nullptr); }

H5Failure LastH5Failure() {
  H5Failure failure = g_failure;
  if (failure.description.empty()) failure.description = "no reason given";
  return failure;
}

bool ReadAttributeStrings(hid_t object, const std::string& name, size_t file_bytes,
                          std::vector<std::string>* strings) {
  const H5Handle attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose);
  if (!attribute.valid()) return false;
  const H5Handle type(H5Aget_type(attribute.id()), H5Tclose);
  const H5Handle space(H5Aget_space(attribute.id()), H5Sclose);
  if (!type.valid() || !space.valid()) return false;
  if (H5Tget_class(type.id()) != H5T_STRING) return true;
  const H5S_class_t kind = H5Sget_simple_extent_type(space.id());
  if (kind == H5S_NULL) return true;
  const hssize_t count = H5Sget_simple_extent_npoints(space.id());
  if (count < 0 || kind == H5S_NO_CLASS) return false;
  if (count == 0) return true;
  const size_t size = std::max<size_t>(H5Tget_size(type.id()), 1);
  if (static_cast<uint64_t>(count) > file_bytes || size > file_bytes ||
      static_cast<uint64_t>(count) * size > file_bytes + kAlwaysAllowedBytes) {
    g_failure = {"more strings than the file has bytes", false};
    return false;
  }
  const auto read = [&](hid_t memory_type, void* buffer) {
    return H5Aread(attribute.id(), memory_type, buffer);
  };
  return ReadStringElements(type.id(), space.id(), count, read, strings);
}

H5DatasetReader::Result H5DatasetReader::Describe(ReaderRecords::Array* array) const {
  const H5Handle type(H5Dget_type(dataset_), H5Tclose);
  const H5Handle space(H5Dget_space(dataset_), H5Sclose);
  if (!type.valid() || !space.valid()) return {Problem::kCorrupt, "a dataset"};
  const std::optional<compute::DType> dtype = ElementType(type.id());
  if (!dtype) return {Problem::kType, TypeName(type.id())};
  array->dtype = *dtype;

  const bool is_null = H5Sget_simple_extent_type(space.id()) == H5S_NULL;
  if (is_null) {
    array->shape = {0};
    return CheckStorage(*array, is_null);
  }
  const int rank = H5Sget_simple_extent_ndims(space.id());
  if (rank < 0 || rank > H5S_MAX_RANK) return {Problem::kCorrupt, "a dataset's dimensions"};
  if (rank > compute::kMaxRank) return {Problem::kType, fmt::format("rank {}", rank)};
  std::array<hsize_t, H5S_MAX_RANK> dims{};
  if (H5Sget_simple_extent_dims(space.id(), dims.data(), nullptr) < 0) {
    return {Problem::kCorrupt, "a dataset's dimensions"};
  }
  array->shape = {};
  for (int axis = 0; axis < rank; ++axis) {
    if (dims[axis] > static_cast<hsize_t>(compute::kMaxElements)) {
      return {Problem::kFinding, "an array has more elements than any can have",
              Code::kHdf5Corrupt};
    }
    array->shape.push_back(static_cast<int64_t>(dims[axis]));
  }
  if (!compute::CheckedElementCount(array->shape)) {
    return {Problem::kFinding, "an array has more elements than any can have", Code::kHdf5Corrupt};
  }
  return CheckStorage(*array, is_null);
}

H5DatasetReader::Result H5DatasetReader::CheckStorage(const ReaderRecords::Array& array,
                                                      bool is_null) const {
  const H5Handle properties(H5Dget_create_plist(dataset_), H5Pclose);
  if (!properties.valid()) return {Problem::kCorrupt, "a dataset's layout"};
  const H5D_layout_t layout = H5Pget_layout(properties.id());
  if (layout == H5D_VIRTUAL) {
    return {Problem::kFinding, "a virtual dataset, whose data lie in other files",
            Code::kExternalLink};
  }
  if (H5Pget_external_count(properties.id()) > 0) {
    return {Problem::kFinding, "a dataset whose data lie in another file", Code::kExternalLink};
  }
  const int64_t elements = array.shape.num_elements();
  if (is_null || elements == 0) return {};

  H5D_space_status_t allocated = H5D_SPACE_STATUS_ERROR;
  if (H5Dget_space_status(dataset_, &allocated) < 0) return {Problem::kCorrupt, "a dataset"};
  if (allocated == H5D_SPACE_STATUS_NOT_ALLOCATED) {
    return {Problem::kFinding, "an array was created but never written", Code::kIncompleteSave};
  }
  const H5Handle type(H5Dget_type(dataset_), H5Tclose);
  const uint64_t element_bytes = H5Tget_size(type.id());
  const uint64_t stored = std::min<uint64_t>(H5Dget_storage_size(dataset_), file_.size());
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(static_cast<uint64_t>(elements), element_bytes, &bytes) ||
      !IsPlausible(bytes, stored)) {
    return {Problem::kFinding,
            fmt::format("an array of {} elements is stored in {} bytes", elements, stored),
            Code::kReaderMemory};
  }
  return {};
}

const std::byte* H5DatasetReader::StoredElements(hid_t type, hid_t memory_type,
                                                 uint64_t bytes) const {
  const haddr_t offset = H5Dget_offset(dataset_);  // undefined unless contiguous
  if (offset == HADDR_UNDEF || H5Tequal(type, memory_type) <= 0) return nullptr;
  if (H5Dget_storage_size(dataset_) != bytes) return nullptr;
  if (offset > file_.size() || bytes > file_.size() - offset) return nullptr;
  return file_.data() + offset;
}

H5DatasetReader::Result H5DatasetReader::Read(Arena* arena, ReaderRecords::Array* array) const {
  const H5Handle type(H5Dget_type(dataset_), H5Tclose);
  const int64_t elements = array->shape.num_elements();
  if (array->dtype == compute::DType::kString) {
    if (elements == 0) return {};
    const H5Handle space(H5Dget_space(dataset_), H5Sclose);
    const auto read = [&](hid_t memory_type, void* buffer) {
      return H5Dread(dataset_, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer);
    };
    if (!ReadStringElements(type.id(), space.id(), elements, read, &array->strings)) {
      return Unreadable(dataset_, "a dataset of strings");
    }
    return {};
  }
  const H5Handle memory_type(MemoryType(type.id(), array->dtype), H5Tclose);
  const uint64_t bytes = elements * compute::SizeOf(array->dtype);
  const std::byte* const stored = StoredElements(type.id(), memory_type.id(), bytes);
  if (stored != nullptr && bytes >= kLeftInFileBytes && array->dtype != compute::DType::kBool &&
      arena->LeaveInFile(bytes)) {
    array->in_file = true;
    array->offset = stored - file_.data();
    return {};
  }
  array->offset = arena->Allocate(bytes);
  if (array->offset == 0 && arena->has_budget()) {
    return {Problem::kFinding, "the arrays take more memory than the limit allows",
            Code::kResourceLimit};
  }
  if (array->offset == 0) {
    return {Problem::kFinding, "the arrays take more memory than the file's size justifies",
            Code::kReaderMemory};
  }
  if (elements == 0) return {};
  std::byte* destination = arena->at(array->offset);
  if (H5Dread(dataset_, memory_type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, destination) < 0) {
    return Unreadable(dataset_, "a dataset");
  }
  if (array->dtype == compute::DType::kBool) {
    for (int64_t i = 0; i < elements; ++i) {
      destination[i] = destination[i] != std::byte{0} ? std::byte{1} : std::byte{0};
    }
  }
  return {};
}

}  // namespace h5serve::model
