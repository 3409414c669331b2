// HDF5 values as ours: strings of every kind, arrays of every element type.
#pragma once

#include <hdf5.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model/reader/exchange.h"

namespace h5serve::model {

class Arena;

// Owns an HDF5 identifier.
class H5Handle {
 public:
  H5Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~H5Handle() {
    if (valid()) close_(id_);
  }
  H5Handle(const H5Handle&) = delete;
  H5Handle& operator=(const H5Handle&) = delete;

  bool valid() const { return id_ >= 0; }
  hid_t id() const { return id_; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

// Whether the group has a link of this name, whatever it leads to.
bool H5Exists(hid_t group, const char* name);

// What HDF5 says about the call that failed last, once KeepH5Failures was called.
struct H5Failure {
  std::string description;
  bool out_of_memory = false;
};
void KeepH5Failures();
H5Failure LastH5Failure();

// Reads an attribute of strings, fixed or variable-length, of any rank, in
// order. Attributes of other types hold no strings, which is no error: an empty
// list of names is stored as an array of floats. False when it cannot be read.
bool ReadAttributeStrings(hid_t object, const std::string& name, size_t file_bytes,
                          std::vector<std::string>* strings);

// Reads one dataset.
class H5DatasetReader {
 public:
  enum class Problem {
    kNone,
    kType,     // message: name of an element type that cannot be held
    kCorrupt,  // message: what cannot be decoded; LastH5Failure says why
    kFinding,  // code and message are complete
  };
  struct Result {
    Problem problem = Problem::kNone;
    std::string message;
    Code code = Code::kInternalError;
  };

  // Borrows `dataset` and the whole file, whose size bounds what it may expand to.
  H5DatasetReader(hid_t dataset, std::span<const std::byte> file)
      : dataset_(dataset), file_(file) {}

  // Sets type and shape, and finds what forbids reading the elements.
  Result Describe(ReaderRecords::Array* array) const;
  // Reads the elements of a described array.
  Result Read(Arena* arena, ReaderRecords::Array* array) const;

 private:
  Result CheckStorage(const ReaderRecords::Array& array, bool is_null) const;
  // The elements where they lie in the file just as memory wants them, or null.
  const std::byte* StoredElements(hid_t type, hid_t memory_type, uint64_t bytes) const;

  hid_t dataset_;
  std::span<const std::byte> file_;
};

}  // namespace h5serve::model
