// Files, time and threads that do what a test says, when it says so.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "model/clock.h"
#include "model/executor.h"
#include "model/file_system.h"
#include "model/lifecycle.h"

namespace h5serve::model {

class FakeClock : public Clock {
 public:
  absl::Time Now() const override {
    absl::MutexLock lock(&mutex_);
    return start_ + elapsed_;
  }
  absl::Duration Elapsed() const override {
    absl::MutexLock lock(&mutex_);
    return elapsed_;
  }
  void Advance(absl::Duration by) {
    absl::MutexLock lock(&mutex_);
    elapsed_ += by;
  }

 private:
  const absl::Time start_ = absl::FromUnixSeconds(1'700'000'000);
  mutable absl::Mutex mutex_;
  absl::Duration elapsed_ = absl::Seconds(1000);
};

// Runs tasks when told to.
class ManualExecutor : public Executor {
 public:
  void Run(std::function<void()> task) override {
    absl::MutexLock lock(&mutex_);
    tasks_.push_back(std::move(task));
  }
  size_t size() const {
    absl::MutexLock lock(&mutex_);
    return tasks_.size();
  }
  // Runs the task that has waited longest. Returns false if there is none.
  bool RunOne() {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mutex_);
      if (tasks_.empty()) return false;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
    return true;
  }
  bool RunNewest() {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mutex_);
      if (tasks_.empty()) return false;
      task = std::move(tasks_.back());
      tasks_.pop_back();
    }
    task();
    return true;
  }

 private:
  mutable absl::Mutex mutex_;
  std::deque<std::function<void()>> tasks_;
};

// A tree of files in memory. Directories exist where files are below them.
//
// Thread-safe.
class FakeFileSystem : public FileSystem {
 public:
  explicit FakeFileSystem(const Clock* clock) : clock_(clock) {}

  // A new file, or new bytes for an old one, in place.
  void Write(const std::string& path, const std::string& bytes) {
    absl::MutexLock lock(&mutex_);
    Node& node = nodes_[path];
    if (node.stat.identity.inode == 0) node.stat.identity.inode = ++inodes_;
    node.bytes = bytes;
    node.stat.identity.size = static_cast<int64_t>(bytes.size());
    Touch(&node, /*modified=*/true);
  }
  void MakeDirectory(const std::string& path) {
    absl::MutexLock lock(&mutex_);
    Node& node = nodes_[path];
    node.stat.kind = FileKind::kDirectory;
    node.stat.identity.inode = ++inodes_;
    Touch(&node, true);
  }
  void MakeOther(const std::string& path, FileKind kind) {
    Write(path, "");
    absl::MutexLock lock(&mutex_);
    nodes_[path].stat.kind = kind;
  }
  // As touch and chmod do.
  void Touch(const std::string& path) {
    absl::MutexLock lock(&mutex_);
    Touch(&nodes_.at(path), true);
  }
  void ChangeMode(const std::string& path) {
    absl::MutexLock lock(&mutex_);
    Touch(&nodes_.at(path), false);
  }
  void SetModified(const std::string& path, absl::Time when) {
    absl::MutexLock lock(&mutex_);
    nodes_.at(path).stat.identity.mtime_ns = absl::ToUnixNanos(when);
  }
  void Move(const std::string& from, const std::string& to) {
    absl::MutexLock lock(&mutex_);
    Node node = nodes_.at(from);
    nodes_.erase(from);
    Touch(&node, false);
    nodes_[to] = node;
  }
  void Remove(const std::string& path) {
    absl::MutexLock lock(&mutex_);
    std::erase_if(nodes_, [&](const auto& entry) {
      return entry.first == path || entry.first.starts_with(path + "/");
    });
  }
  // What the calls for this path answer until Heal.
  void Break(const std::string& path, absl::Status status, bool is_link = false) {
    absl::MutexLock lock(&mutex_);
    if (is_link) nodes_[path].is_link = true;
    broken_[path] = std::move(status);
  }
  void Heal(const std::string& path) {
    absl::MutexLock lock(&mutex_);
    broken_.erase(path);
  }

  absl::StatusOr<std::vector<DirectoryEntry>> List(const std::string& path) const override {
    absl::MutexLock lock(&mutex_);
    if (const auto error = broken_.find(path); error != broken_.end()) return error->second;
    std::map<std::string, bool> names;
    const std::string prefix = path + "/";
    for (auto node = nodes_.lower_bound(prefix);
         node != nodes_.end() && node->first.starts_with(prefix); ++node) {
      const std::string rest = node->first.substr(prefix.size());
      const std::string name = rest.substr(0, rest.find('/'));
      names[name] = node->second.is_link && name == rest;
    }
    if (names.empty() && !IsDirectory(path)) return absl::NotFoundError(path);
    std::vector<DirectoryEntry> entries;
    for (const auto& [name, is_link] : names) entries.push_back({name, is_link});
    // No order is promised.
    std::reverse(entries.begin(), entries.end());
    return entries;
  }
  absl::StatusOr<FileStat> Stat(const std::string& path) const override {
    absl::MutexLock lock(&mutex_);
    if (const auto error = broken_.find(path); error != broken_.end()) return error->second;
    if (const auto node = nodes_.find(path); node != nodes_.end()) return node->second.stat;
    if (!IsDirectory(path)) return absl::NotFoundError(path);
    FileStat stat;
    stat.kind = FileKind::kDirectory;
    stat.identity.inode = std::hash<std::string>()(path);
    stat.identity.device = device_;
    return stat;
  }
  absl::StatusOr<std::string> Read(const std::string& path, int64_t offset,
                                   int64_t length) const override {
    absl::MutexLock lock(&mutex_);
    const auto node = nodes_.find(path);
    if (node == nodes_.end()) return absl::NotFoundError(path);
    if (offset >= static_cast<int64_t>(node->second.bytes.size())) return std::string();
    return node->second.bytes.substr(offset, length);
  }
  // As mounting another volume does to implied directories.
  void SetDevice(uint64_t device) {
    absl::MutexLock lock(&mutex_);
    device_ = device;
  }

 private:
  struct Node {
    FileStat stat;
    std::string bytes;
    bool is_link = false;
  };

  void Touch(Node* node, bool modified) const {
    const int64_t now = absl::ToUnixNanos(clock_->Now());
    // Two changes at the same moment differ all the same.
    node->stat.identity.ctime_ns = std::max(now, node->stat.identity.ctime_ns + 1);
    if (modified) node->stat.identity.mtime_ns = now;
  }
  bool IsDirectory(const std::string& path) const {
    if (const auto node = nodes_.find(path); node != nodes_.end()) {
      return node->second.stat.kind == FileKind::kDirectory;
    }
    const auto below = nodes_.lower_bound(path + "/");
    return below != nodes_.end() && below->first.starts_with(path + "/");
  }

  const Clock* const clock_;
  mutable absl::Mutex mutex_;
  std::map<std::string, Node> nodes_;
  std::map<std::string, absl::Status> broken_;
  uint64_t inodes_ = 0;
  uint64_t device_ = 0;
};

// Writes down what it hears: "iris/3 reading", "iris/3 serving>refused" for a
// replacement, "load iris/3 refused NOT_HDF5", "forgotten iris/3".
class RecordingListener : public LifecycleListener {
 public:
  void OnState(const VersionStatus& status) override {
    std::string line = NameOf(status.model, status.version) + " " + std::string(Name(status.state));
    if (status.replacement) line += ">" + std::string(Name(*status.replacement));
    Note(line);
  }
  void OnLoad(const VersionStatus& status,
              const std::vector<std::pair<LoadPhase, std::chrono::microseconds>>&) override {
    std::string line =
        "load " + NameOf(status.model, status.version) + " " + std::string(Name(status.state));
    if (status.state == ModelState::kRefused) line += " " + std::string(status.diagnoses.Reason());
    Note(line);
  }
  void OnScan(absl::Time, bool overflowed) override {
    absl::MutexLock lock(&mutex_);
    ++scans_;
    overflows_ += overflowed ? 1 : 0;
  }
  void OnForgotten(const std::string& model, int64_t version) override {
    Note("forgotten " + NameOf(model, version));
  }

  // What was heard since the last call.
  std::vector<std::string> Take() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(lines_, {});
  }
  int scans() const {
    absl::MutexLock lock(&mutex_);
    return scans_;
  }
  int overflows() const {
    absl::MutexLock lock(&mutex_);
    return overflows_;
  }

 private:
  static std::string NameOf(const std::string& model, int64_t version) {
    return model + "/" + std::to_string(version);
  }
  void Note(std::string line) {
    absl::MutexLock lock(&mutex_);
    lines_.push_back(std::move(line));
  }

  mutable absl::Mutex mutex_;
  std::vector<std::string> lines_;
  int scans_ = 0;
  int overflows_ = 0;
};

// A directory that goes with the test.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "h5serve-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

}  // namespace h5serve::model
