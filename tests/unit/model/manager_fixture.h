// A manager on fake files, time, threads and loads.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "model/manager.h"
#include "tests/unit/model/fakes.h"

namespace h5serve::model {

// The bytes of a fake file say what comes of loading it:
//   "good"              serves; "good 300" needs 300 bytes
//   "bad NOT_HDF5"      refused with this code, as are other codes
//   anything after a comma makes the content another one
class ManagerTest : public testing::Test {
 protected:
  ManagerTest() : files_(&clock_) {
    options_.directory = "/m";
    options_.memory_limit_bytes = 1000;
    options_.scan_gap = absl::ZeroDuration();
    files_.MakeDirectory("/m");
  }
  ~ManagerTest() override {
    manager_ = nullptr;
    while (loads_.RunOne() || reaper_.RunOne()) {
    }
  }

  void Start() {
    ManagerDependencies dependencies;
    dependencies.files = &files_;
    dependencies.clock = &clock_;
    dependencies.loads = &loads_;
    dependencies.reaper = &reaper_;
    dependencies.store = &store_;
    dependencies.listener = &listener_;
    dependencies.load = [this](const LoadRequest& request) { return LoadFake(request); };
    dependencies.read_settings = [this](const std::string& path,
                                        const config::ModelOptions& defaults) {
      return ReadFakeSettings(path, defaults);
    };
    dependencies.digest = [this](const std::string& path) {
      ++digests_;
      return files_.Read(path, 0, 1 << 20);
    };
    manager_ = std::make_unique<Manager>(options_, dependencies);
  }

  // Scans and does everything that follows, without time going by.
  void Run(const WatchReport& report = Changed()) {
    manager_->Step(report);
    while (loads_.RunOne() || reaper_.RunOne()) {
    }
  }
  void StartAndRun() {
    Start();
    Run();
  }
  // Lets time go by in steps as fine as the manager asks for.
  void Pass(absl::Duration time) {
    const absl::Duration end = clock_.Elapsed() + time;
    for (;;) {
      const absl::Duration next = std::min(end, std::max(manager_->NextStep(), clock_.Elapsed()));
      clock_.Advance(next - clock_.Elapsed());
      Run(WatchReport());
      if (clock_.Elapsed() >= end) return;
      // Whatever was due has been done; a moment later is due next.
      if (manager_->NextStep() <= clock_.Elapsed()) clock_.Advance(absl::Milliseconds(1));
    }
  }

  static WatchReport Changed() {
    WatchReport report;
    report.changed = true;
    return report;
  }
  // A file old enough to be settled.
  void WriteOld(const std::string& path, const std::string& bytes) {
    files_.Write(path, bytes);
    clock_.Advance(absl::Minutes(1));
  }

  // Versions in service, as "iris/3".
  std::vector<std::string> Serving() const {
    std::vector<std::string> serving;
    for (const auto& served : store_.All()) {
      serving.push_back(served->name + "/" + std::to_string(served->version));
    }
    return serving;
  }
  std::string StateOf(const std::string& model, int64_t version) const {
    for (const VersionStatus& status : manager_->StatusOf(model)) {
      if (status.version != version) continue;
      std::string text(Name(status.state));
      if (status.replacement) text += ">" + std::string(Name(*status.replacement));
      return text;
    }
    return "unknown";
  }
  std::string MessageOf(const std::string& model, int64_t version) const {
    for (const VersionStatus& status : manager_->StatusOf(model)) {
      if (status.version == version) return std::string(status.diagnoses.Summary().message());
    }
    return "unknown";
  }
  // What is loaded, in order, since the last call.
  std::vector<std::string> TakeLoaded() { return std::exchange(loaded_, {}); }
  int64_t FlatVersion() const { return absl::ToUnixSeconds(clock_.Now()); }

  LoadOutcome LoadFake(const LoadRequest& request) {
    LoadOutcome outcome;
    const std::string bytes = files_.Read(request.path, 0, 1 << 20).value_or("");
    {
      absl::MutexLock lock(&loaded_mutex_);
      loaded_.push_back(request.path + "=" + bytes);
    }
    for (const LoadPhase phase : {LoadPhase::kReading, LoadPhase::kChecking}) {
      if (request.on_phase) request.on_phase(phase);
    }
    if (during_load_) during_load_();
    const bool readable = static_cast<int64_t>(bytes.size()) <= request.options.max_file_bytes;
    if (readable) outcome.facts.sha256 = bytes;
    const std::string head = bytes.substr(0, bytes.find(','));
    if (head.starts_with("bad ")) {
      for (const CodeInfo& info : AllCodes()) {
        if (info.name == head.substr(4)) outcome.diagnoses.Add(info.code, "the test says so");
      }
      return outcome;
    }
    int64_t needed = 1;
    if (head.starts_with("good ")) {
      const bool parsed = absl::SimpleAtoi(head.substr(5), &needed);
      EXPECT_TRUE(parsed) << head;
    }
    outcome.facts.memory_bytes = needed;
    if (request.memory_budget_bytes > 0 && needed > request.memory_budget_bytes) {
      outcome.diagnoses.Add(Code::kResourceLimit, "needs " + std::to_string(needed));
      return outcome;
    }
    Signature signature;
    signature.inputs.emplace_back();
    signature.inputs[0].name = head.starts_with("wide") ? "wide" : "narrow";
    if (request.in_service != nullptr &&
        request.in_service->inputs[0].name != signature.inputs[0].name) {
      outcome.diagnoses.Add(Code::kSignatureChanged, "other inputs");
      return outcome;
    }
    for (const LoadPhase phase : {LoadPhase::kCompiling, LoadPhase::kProving}) {
      if (request.on_phase) request.on_phase(phase);
    }
    outcome.servable = std::make_shared<const Servable>(signature, outcome.facts, nullptr, true);
    return outcome;
  }

  // Fake settings: words "latest=2", "all", "only=3", "label=stable:3",
  // "batch=8", "golden=require", "limit=10", "nonsense".
  absl::StatusOr<config::ModelOptions> ReadFakeSettings(const std::string& path,
                                                        const config::ModelOptions& defaults) {
    config::ModelOptions options = defaults;
    const std::string text = files_.Read(path, 0, 1000).value_or("");
    using Kind = config::VersionPolicy::Kind;
    const auto after = [&](std::string_view key) { return text.substr(key.size()); };
    if (text.starts_with("latest=")) {
      options.versions = {Kind::kLatest, std::stoi(after("latest=")), {}};
    } else if (text == "all") {
      options.versions = {Kind::kAll, 1, {}};
    } else if (text.starts_with("only=")) {
      options.versions = {Kind::kSpecific, 1, {std::stoi(after("only="))}};
    } else if (text.starts_with("label=")) {
      const size_t colon = text.find(':');
      options.labels[text.substr(6, colon - 6)] = std::stoi(text.substr(colon + 1));
    } else if (text.starts_with("batch=")) {
      options.batching.max_batch_size = std::stoi(after("batch="));
    } else if (text.starts_with("golden=")) {
      options.compatibility.golden = after("golden=");
    } else if (text.starts_with("limit=")) {
      options.memory_limit_bytes = std::stoi(after("limit="));
    } else {
      return absl::InvalidArgumentError("unknown key \"" + text + "\"");
    }
    return options;
  }

  FakeClock clock_;
  FakeFileSystem files_;
  ManualExecutor loads_;
  ManualExecutor reaper_;
  ModelStore store_;
  RecordingListener listener_;
  ManagerOptions options_;
  std::function<void()> during_load_;
  absl::Mutex loaded_mutex_;
  std::vector<std::string> loaded_;
  int digests_ = 0;
  std::unique_ptr<Manager> manager_;
};

}  // namespace h5serve::model
