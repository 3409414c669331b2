#include "model/reader/lockdown.h"

#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define H5SERVE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define H5SERVE_SANITIZED 1
#endif
#endif
#ifndef H5SERVE_SANITIZED
#define H5SERVE_SANITIZED 0
#endif

namespace h5serve::model {
namespace {

void Limit(__rlimit_resource resource, uint64_t value) {
  const rlimit limit{value, value};
  setrlimit(resource, &limit);
}

uint64_t MappedBytes() {
  // Not through a stream: this process should stay small.
  char text[64] = {};
  const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return uint64_t{1} << 30;
  const ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  unsigned long long pages = 0;
  if (length <= 0 || std::sscanf(text, "%llu", &pages) != 1) return uint64_t{1} << 30;
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// The first process to die when memory runs out should be this one.
void VolunteerForOutOfMemory() {
  const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  [[maybe_unused]] const ssize_t written = write(fd, "1000", 4);
  close(fd);
}

bool AllowCalls(scmp_filter_ctx filter) {
  // getcwd and the failing opens below are what HDF5's H5Fopen does with the
  // name of an image that lies in memory.
  constexpr int kPlain[] = {
      SCMP_SYS(read),        SCMP_SYS(pread64),       SCMP_SYS(readv),
      SCMP_SYS(lseek),       SCMP_SYS(fstat),         SCMP_SYS(newfstatat),
      SCMP_SYS(close),       SCMP_SYS(munmap),        SCMP_SYS(mremap),
      SCMP_SYS(brk),         SCMP_SYS(madvise),       SCMP_SYS(exit),
      SCMP_SYS(exit_group),  SCMP_SYS(rt_sigreturn),  SCMP_SYS(rt_sigprocmask),
      SCMP_SYS(futex),       SCMP_SYS(getpid),        SCMP_SYS(gettid),
      SCMP_SYS(sched_yield), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),
      SCMP_SYS(getrandom),   SCMP_SYS(getcwd),        SCMP_SYS(getuid),
      SCMP_SYS(getgid),      SCMP_SYS(geteuid),       SCMP_SYS(getegid)};
  constexpr int kRefused[] = {SCMP_SYS(openat), SCMP_SYS(open),      SCMP_SYS(stat),
                              SCMP_SYS(lstat),  SCMP_SYS(access),    SCMP_SYS(readlink),
                              SCMP_SYS(ioctl),  SCMP_SYS(prlimit64), SCMP_SYS(flock)};
  for (const int call : kPlain) {
    if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) != 0) return false;
  }
  for (const int call : kRefused) {
    if (seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), call, 0) != 0) return false;
  }
  // Memory, but never memory to run code from.
  const scmp_arg_cmp not_executable{2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0};
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)}) {
    if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, not_executable) != 0) return false;
  }
  const scmp_arg_cmp to_stderr{0, SCMP_CMP_EQ, STDERR_FILENO, 0};
  return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(write), 1, to_stderr) == 0;
}

// Returns what failed, or null.
const char* FilterSystemCalls() {
  // A sanitizer's runtime may call anything when it reports; that is denied
  // instead of deadly, so that the report gets out.
  scmp_filter_ctx filter =
      seccomp_init(H5SERVE_SANITIZED ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS);
  if (filter == nullptr) return "seccomp_init";
  const char* failed = nullptr;
  if (!AllowCalls(filter)) {
    failed = "seccomp_rule_add";
  } else if (seccomp_load(filter) != 0) {
    failed = "seccomp_load";
  }
  seccomp_release(filter);
  return failed;
}

}  // namespace

bool BuiltWithSanitizer() { return H5SERVE_SANITIZED; }

std::string LockDown(const ChildLimits& limits) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  VolunteerForOutOfMemory();
  Limit(RLIMIT_CORE, 0);
  // At the soft limit SIGXCPU tells the cause; at the hard one SIGKILL would not.
  const rlimit cpu{limits.cpu_seconds, limits.cpu_seconds + rlim_t{2}};
  setrlimit(RLIMIT_CPU, &cpu);
  if (!H5SERVE_SANITIZED) {
    Limit(RLIMIT_AS, MappedBytes() + limits.extra_address_bytes);
    Limit(RLIMIT_NPROC, 0);
  }
  Limit(RLIMIT_NOFILE, 0);
  const char* failed = FilterSystemCalls();
  if (failed == nullptr) return "";
  return std::string("read without a system call filter, which the kernel refused: ") + failed +
         ": " + std::strerror(errno);
}

}  // namespace h5serve::model
