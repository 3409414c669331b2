// The table of one instruction set.
#include "compute/kernels/isa_functions.h"
#include "compute/kernels/rows.h"

namespace h5serve::compute::kernels::H5SERVE_ISA {
namespace {

#if defined(__AVX512F__)
constexpr const char* kIsa = "x86-64-v4";
#elif defined(__AVX2__)
constexpr const char* kIsa = "x86-64-v3";
#else
constexpr const char* kIsa = "x86-64-v2";
#endif

}  // namespace

extern const KernelTable kTable;
const KernelTable kTable = {
    .isa = kIsa,
    .unary = Unary,
    .relu_general = ReluGeneral,
    .classify = Classify,
    .binary = Binary,
    .compare = Compare,
    .select = SelectFloats,
    .softmax = SoftmaxRow,
    .log_softmax = LogSoftmaxRow,
    .moments = MomentsOfRow,
    .normalize = NormalizeRow,
    .affine = Affine,
    .panel_columns = kPanelColumns,
    .tile_rows = kTileRows,
    .pack = PackPanels,
    .gemm = MultiplyPacked,
};

}  // namespace h5serve::compute::kernels::H5SERVE_ISA
