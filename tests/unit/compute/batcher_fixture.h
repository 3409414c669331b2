// Runners, gates, listeners and calls for the tests of the batcher.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "compute/batcher.h"

namespace h5serve::compute {

// Doubles every element, and remembers how many rows each batch had.
struct Doubler {
  absl::Mutex mutex;
  std::vector<int64_t> batches ABSL_GUARDED_BY(mutex);

  BatchRunner runner() {
    return
        [this](std::span<const Tensor> inputs, const Parallelism*, std::vector<Tensor>* outputs) {
          {
            absl::MutexLock lock(&mutex);
            batches.push_back(inputs[0].shape()[0]);
          }
          Tensor result = Tensor::Allocate(DType::kFloat32, inputs[0].shape());
          for (int64_t i = 0; i < result.num_elements(); ++i) {
            result.mutable_data<float>()[i] = 2 * inputs[0].data<float>()[i];
          }
          outputs->push_back(result);
          return absl::OkStatus();
        };
  }
  std::vector<int64_t> seen() {
    absl::MutexLock lock(&mutex);
    return batches;
  }
};

// Holds every batch until Open is called.
struct Gate {
  absl::Notification opened;
  std::atomic<int> arrived{0};

  BatchRunner Guard(BatchRunner runner) {
    return [this, runner](std::span<const Tensor> inputs, const Parallelism* parallelism,
                          std::vector<Tensor>* outputs) {
      ++arrived;
      opened.WaitForNotification();
      return runner(inputs, parallelism, outputs);
    };
  }
  void AwaitArrival() {
    while (arrived == 0) std::this_thread::yield();
  }
};

struct Recorder : BatchListener {
  absl::Mutex mutex;
  std::map<DropReason, int> dropped ABSL_GUARDED_BY(mutex);
  std::map<BatchTrigger, int> triggers ABSL_GUARDED_BY(mutex);

  void OnBatch(const std::string&, int64_t, int, BatchTrigger trigger, absl::Duration) override {
    absl::MutexLock lock(&mutex);
    ++triggers[trigger];
  }
  void OnQueued(const std::string&, int64_t) override {}
  void OnDropped(const std::string&, DropReason reason) override {
    absl::MutexLock lock(&mutex);
    ++dropped[reason];
  }
  int count(DropReason reason) {
    absl::MutexLock lock(&mutex);
    return dropped[reason];
  }
};

// A request of `rows` rows holding first, first + 1, … and its answer.
struct Call {
  absl::StatusOr<std::vector<Tensor>> result = absl::UnknownError("no answer yet");
  RequestTiming timing;
  absl::Notification finished;

  BatchRequest Request(int64_t rows, float first, int64_t width = 1) {
    Tensor input = Tensor::Allocate(DType::kFloat32, Shape{rows, width});
    for (int64_t i = 0; i < rows * width; ++i) {
      input.mutable_data<float>()[i] = first + static_cast<float>(i);
    }
    BatchRequest request;
    request.inputs = {input};
    request.rows = rows;
    request.done = [this](absl::StatusOr<std::vector<Tensor>> outputs, const RequestTiming& t) {
      result = std::move(outputs);
      timing = t;
      finished.Notify();
    };
    return request;
  }
  std::vector<float> Await() {
    finished.WaitForNotification();
    if (!result.ok()) return {};
    const Tensor& output = result->at(0);
    return {output.data<float>(), output.data<float>() + output.num_elements()};
  }
};

inline QueueOptions OnWorkers() {
  QueueOptions options;
  options.inline_limit = absl::ZeroDuration();
  return options;
}

}  // namespace h5serve::compute
