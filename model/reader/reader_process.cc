#include "model/reader/reader_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace h5serve::model {
namespace {

constexpr size_t kDescriptors = 2;

// A message of one byte and room for the descriptors.
struct Message {
  char byte = 1;
  iovec content{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptors * sizeof(int))] = {};
  msghdr header{};

  Message() {
    header.msg_iov = &content;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
  }
};

// The child's environment: nothing of ours but where libraries lie.
std::vector<std::string> MakeEnvironment() {
  std::vector<std::string> environment = {std::string(kReaderVariable) + "=1",
                                          "HDF5_PLUGIN_PRELOAD=::", "HDF5_USE_FILE_LOCKING=FALSE"};
  for (const char* name : {"LD_LIBRARY_PATH", "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"}) {
    if (const char* value = std::getenv(name)) {
      environment.push_back(fmt::format("{}={}", name, value));
    }
  }
  return environment;
}

// Runs this program again. Returns its process id, or -1 with errno.
pid_t Spawn(int socket) {
  std::vector<std::string> environment = MakeEnvironment();
  std::vector<char*> environment_pointers;
  for (std::string& variable : environment) environment_pointers.push_back(variable.data());
  environment_pointers.push_back(nullptr);
  std::string program = "h5serve-reader";
  std::string argument = kReaderArgument;
  char* arguments[] = {program.data(), argument.data(), nullptr};

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, socket, kRequestSocket);
  posix_spawn_file_actions_addclosefrom_np(&actions, kRequestSocket + 1);
  // The daemon blocks and ignores signals as it needs; the child starts afresh.
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t child = -1;
  const int error = posix_spawn(&child, "/proc/self/exe", &actions, &attributes, arguments,
                                environment_pointers.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error == 0) return child;
  errno = error;
  return -1;
}

}  // namespace

std::optional<ReaderProcess> ReaderProcess::Start() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return std::nullopt;
  UniqueFd own(ends[0]);
  const UniqueFd low(ends[1]);
  // Above all numbers that the child is given, so that none overwrites another.
  const UniqueFd theirs(fcntl(low.get(), F_DUPFD_CLOEXEC, 16));
  if (theirs.get() < 0) return std::nullopt;
  const pid_t child = Spawn(theirs.get());
  if (child < 0) return std::nullopt;
  return ReaderProcess(child, std::move(own));
}

ReaderProcess::ReaderProcess(ReaderProcess&& other) noexcept
    : id_(std::exchange(other.id_, -1)), socket_(std::move(other.socket_)) {}

ReaderProcess& ReaderProcess::operator=(ReaderProcess&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(socket_, other.socket_);
  return *this;
}

ReaderProcess::~ReaderProcess() {
  if (id_ < 0) return;
  kill(id_, SIGKILL);
  while (waitpid(id_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool ReaderProcess::Send(int file_descriptor, int memory_descriptor) const {
  Message message;
  cmsghdr* const rights = CMSG_FIRSTHDR(&message.header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(kDescriptors * sizeof(int));
  const int descriptors[kDescriptors] = {file_descriptor, memory_descriptor};
  std::memcpy(CMSG_DATA(rights), descriptors, sizeof descriptors);
  ssize_t sent = -1;
  do {
    sent = sendmsg(socket_.get(), &message.header, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == 1;
}

pid_t ReaderProcess::Release() { return std::exchange(id_, -1); }

bool ReceiveFile(UniqueFd* file, UniqueFd* memory) {
  const UniqueFd socket(kRequestSocket);
  Message message;
  ssize_t got = -1;
  do {
    got = recvmsg(socket.get(), &message.header, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  const cmsghdr* const rights = CMSG_FIRSTHDR(&message.header);
  if (got != 1 || rights == nullptr || rights->cmsg_type != SCM_RIGHTS ||
      rights->cmsg_len != CMSG_LEN(kDescriptors * sizeof(int))) {
    return false;
  }
  int descriptors[kDescriptors];
  std::memcpy(descriptors, CMSG_DATA(rights), sizeof descriptors);
  *file = UniqueFd(descriptors[0]);
  *memory = UniqueFd(descriptors[1]);
  return true;
}

void SpareReader::Prepare() {
  {
    absl::MutexLock lock(&mutex_);
    if (waiting_) return;
  }
  std::optional<ReaderProcess> started;
  try {
    started = ReaderProcess::Start();
  } catch (const std::bad_alloc&) {
    return;  // the next load starts its own
  }
  absl::MutexLock lock(&mutex_);
  if (!waiting_) waiting_.swap(started);
}

std::optional<ReaderProcess> SpareReader::Take() {
  std::optional<ReaderProcess> taken;
  absl::MutexLock lock(&mutex_);
  taken.swap(waiting_);
  return taken;
}

pid_t SpareReader::waiting_id() const {
  absl::MutexLock lock(&mutex_);
  return waiting_ ? waiting_->id() : -1;
}

}  // namespace h5serve::model
