// The LZF filter, which h5py brings along and the HDF5 library does not have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace h5serve::model {

// Unpacks LZF data to at most `max_bytes`; nullopt when they are damaged or longer.
std::optional<std::vector<uint8_t>> UnpackLzf(std::span<const uint8_t> packed, size_t max_bytes);

// Makes the HDF5 library read datasets packed by LZF.
void RegisterLzfFilter();

}  // namespace h5serve::model
