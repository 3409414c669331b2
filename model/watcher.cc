#include "model/watcher.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

namespace h5serve::model {
namespace {

// Not IN_MODIFY: a long copy would raise thousands, and its end is what counts.
constexpr uint32_t kEvents = IN_CREATE | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_TO | IN_MOVED_FROM |
                             IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;

}  // namespace

InotifyWatcher::InotifyWatcher(bool use_inotify) : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!use_inotify) {
    status_ = absl::UnavailableError("inotify is switched off");
    return;
  }
  inotify_ = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (inotify_ < 0) {
    status_ =
        absl::UnavailableError(fmt::format("inotify: {}", std::generic_category().message(errno)));
  }
}

InotifyWatcher::~InotifyWatcher() {
  if (inotify_ >= 0) close(inotify_);
  if (wake_ >= 0) close(wake_);
}

void InotifyWatcher::Watch(const std::vector<std::string>& directories) {
  if (inotify_ < 0) return;
  status_ = absl::OkStatus();
  std::map<std::string, int> descriptors;
  std::map<int, std::string> watched;
  for (const std::string& directory : directories) {
    // For a directory already watched this returns its descriptor, for another
    // one that took its name a new one.
    const int descriptor = inotify_add_watch(inotify_, directory.c_str(), kEvents);
    if (descriptor < 0) {
      status_ = absl::UnavailableError(
          fmt::format("inotify: {}: {}", directory, std::generic_category().message(errno)));
      continue;
    }
    descriptors[directory] = descriptor;
    watched[descriptor] = directory;
  }
  for (const auto& [directory, descriptor] : descriptors_) {
    if (!watched.contains(descriptor)) inotify_rm_watch(inotify_, descriptor);
  }
  descriptors_ = std::move(descriptors);
  directories_ = std::move(watched);
}

WatchReport InotifyWatcher::Wait(absl::Duration timeout) {
  std::array<pollfd, 2> descriptors = {{{wake_, POLLIN, 0}, {inotify_, POLLIN, 0}}};
  const auto milliseconds = absl::ToInt64Milliseconds(
      absl::Ceil(std::clamp(timeout, absl::ZeroDuration(), absl::Hours(1)), absl::Milliseconds(1)));
  // poll ignores a negative descriptor.
  poll(descriptors.data(), descriptors.size(), static_cast<int>(milliseconds));
  uint64_t wakes;
  while (read(wake_, &wakes, sizeof(wakes)) < 0 && errno == EINTR) {
  }
  WatchReport report;
  if (inotify_ >= 0) Read(&report);
  return report;
}

void InotifyWatcher::Read(WatchReport* report) {
  alignas(inotify_event) std::array<char, 64 * 1024> buffer;
  for (;;) {
    const ssize_t length = read(inotify_, buffer.data(), buffer.size());
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return;
    for (ssize_t offset = 0; offset < length;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + offset);
      offset += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      report->changed = true;
      if ((event->mask & IN_Q_OVERFLOW) != 0) report->overflowed = true;
      const auto directory = directories_.find(event->wd);
      if (event->len == 0 || directory == directories_.end()) continue;
      const std::string path = fmt::format("{}/{}", directory->second, event->name);
      if ((event->mask & IN_MOVED_TO) != 0) {
        report->renamed.insert(path);
      } else if ((event->mask & (IN_CREATE | IN_CLOSE_WRITE)) != 0) {
        // Written to after it had been moved here.
        report->renamed.erase(path);
      }
    }
  }
}

void InotifyWatcher::Wake() {
  const uint64_t one = 1;
  while (write(wake_, &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

}  // namespace h5serve::model
