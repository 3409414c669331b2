// How the reading child gives up its rights.
#pragma once

#include <cstdint>
#include <string>

namespace h5serve::model {

// Whether the program is built with a sanitizer, whose runtime needs far more
// address space, time and system calls.
bool BuiltWithSanitizer();

struct ChildLimits {
  uint64_t extra_address_bytes;  // beyond what is mapped now
  uint32_t cpu_seconds;
};

// Irrevocably limits this process: memory, CPU time, no new file descriptors
// or processes, no new privileges, and only the system calls that computing
// and reading mapped memory take; any other kills it. Dies with its parent.
// Returns a note when the kernel offers no system call filter, else "".
std::string LockDown(const ChildLimits& limits);

}  // namespace h5serve::model
