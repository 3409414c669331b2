// Which instruction set the kernels use.
#pragma once

#include <string_view>
#include <vector>

#include "compute/kernels/kernel_table.h"

namespace h5serve::compute::kernels {

// The kernels for this CPU: the best set it has, or the one that the
// environment variable H5SERVE_ISA names ("x86-64-v3"), if the CPU has it.
// Chosen at the first call.
const KernelTable& Kernels();

// Name of the set in use.
std::string_view IsaName();

// All sets this CPU has, best first.
std::vector<const KernelTable*> AvailableKernels();

}  // namespace h5serve::compute::kernels
