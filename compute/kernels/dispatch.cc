#include "compute/kernels/dispatch.h"

#include <cstdlib>

namespace h5serve::compute::kernels {

namespace x86_64_v2 {
extern const KernelTable kTable;
}
namespace x86_64_v3 {
extern const KernelTable kTable;
}
namespace x86_64_v4 {
extern const KernelTable kTable;
}

namespace {

bool HasV3() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

bool HasV4() {
  return HasV3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}

const KernelTable& Choose() {
  const std::vector<const KernelTable*> available = AvailableKernels();
  if (const char* wanted = std::getenv("H5SERVE_ISA")) {
    const std::string_view wanted_isa = wanted;
    for (const KernelTable* table : available) {
      if (table->isa == wanted_isa) return *table;
    }
  }
  return *available.front();
}

}  // namespace

std::vector<const KernelTable*> AvailableKernels() {
  std::vector<const KernelTable*> tables;
  if (HasV4()) tables.push_back(&x86_64_v4::kTable);
  if (HasV3()) tables.push_back(&x86_64_v3::kTable);
  tables.push_back(&x86_64_v2::kTable);
  return tables;
}

const KernelTable& Kernels() {
  static const KernelTable& table = Choose();
  return table;
}

std::string_view IsaName() { return Kernels().isa; }

}  // namespace h5serve::compute::kernels
