// Runs a test for every instruction set this CPU has.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "compute/kernels/dispatch.h"

namespace h5serve::compute {

class PerIsaTest : public testing::TestWithParam<const kernels::KernelTable*> {
 protected:
  const kernels::KernelTable& kernels() const { return *GetParam(); }
};

inline std::string IsaTestName(const testing::TestParamInfo<const kernels::KernelTable*>& info) {
  std::string name = info.param->isa;
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
}

}  // namespace h5serve::compute
