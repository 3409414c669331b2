// Preloaded, makes reading any file whose name holds "unreadable" fail as on a
// broken disk.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

typedef ssize_t (*ReadAt)(int, void*, size_t, off_t);

static ssize_t ReadUnlessBroken(const char* function, int descriptor, void* buffer, size_t bytes,
                                off_t offset) {
  char link[64];
  char path[4096] = {0};
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  if (readlink(link, path, sizeof path - 1) > 0 && strstr(path, "unreadable") != NULL) {
    errno = EIO;
    return -1;
  }
  return ((ReadAt)dlsym(RTLD_NEXT, function))(descriptor, buffer, bytes, offset);
}

ssize_t pread(int descriptor, void* buffer, size_t bytes, off_t offset) {
  return ReadUnlessBroken("pread", descriptor, buffer, bytes, offset);
}

ssize_t pread64(int descriptor, void* buffer, size_t bytes, off_t offset) {
  return ReadUnlessBroken("pread64", descriptor, buffer, bytes, offset);
}
