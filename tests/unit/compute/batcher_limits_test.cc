// What the batcher refuses, splits and keeps back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "compute/batcher.h"
#include "tests/unit/compute/batcher_fixture.h"

namespace h5serve::compute {
namespace {

using ::testing::ElementsAre;

TEST(BatcherLimitsTest, PlacesOfClientsThatLeftAreGivenToOthers) {
  Recorder recorder;
  Doubler doubler;
  Gate gate;
  QueueOptions options = OnWorkers();
  options.max_queue_rows = 2;
  Batcher batcher(1, &recorder);
  auto queue = batcher.CreateQueue("m", options, gate.Guard(doubler.runner()));
  Call running, gone, next;
  ASSERT_TRUE(queue->Enqueue(running.Request(1, 0)).ok());
  gate.AwaitArrival();
  BatchRequest request = gone.Request(2, 0);
  request.cancelled = [] { return true; };
  ASSERT_TRUE(queue->Enqueue(std::move(request)).ok());

  EXPECT_TRUE(queue->Enqueue(next.Request(2, 1)).ok());

  gone.Await();
  EXPECT_EQ(gone.result.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(recorder.count(DropReason::kCancelled), 1);
  gate.opened.Notify();
  EXPECT_THAT(next.Await(), ElementsAre(2, 4));
}

TEST(BatcherLimitsTest, PartsOfDependentRowsAreNeverJoined) {
  Gate gate;
  QueueOptions options = OnWorkers();
  options.max_batch_size = 4;
  Batcher batcher(1, nullptr);
  // One value for the whole batch: the sum.
  auto queue = batcher.CreateQueue("m", options,
                                   gate.Guard([](std::span<const Tensor> inputs, const Parallelism*,
                                                 std::vector<Tensor>* outputs) {
                                     float sum = 0;
                                     for (int64_t i = 0; i < inputs[0].num_elements(); ++i)
                                       sum += inputs[0].data<float>()[i];
                                     outputs->push_back(Tensor::Floats(Shape{1}, {sum}));
                                     return absl::OkStatus();
                                   }));
  Call running, large, small;
  ASSERT_TRUE(queue->Enqueue(running.Request(1, 0)).ok());
  gate.AwaitArrival();
  ASSERT_TRUE(queue->Enqueue(large.Request(6, 0)).ok());
  ASSERT_TRUE(queue->Enqueue(small.Request(2, 1)).ok());

  gate.opened.Notify();

  large.Await();
  EXPECT_EQ(large.result.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(small.Await(), ElementsAre(3));
}

TEST(BatcherLimitsTest, KnowsCostsBeforehand) {
  Recorder recorder;
  Doubler doubler;
  Gate gate;
  QueueOptions options = OnWorkers();
  options.max_batch_size = 4;
  options.costs = {{1, absl::Seconds(1)}, {4, absl::Seconds(2)}};
  Batcher batcher(1, &recorder);
  auto queue = batcher.CreateQueue("m", options, gate.Guard(doubler.runner()));
  Call running, waiting, hurried;
  ASSERT_TRUE(queue->Enqueue(running.Request(1, 0)).ok());
  gate.AwaitArrival();
  ASSERT_TRUE(queue->Enqueue(waiting.Request(8, 0)).ok());
  BatchRequest request = hurried.Request(1, 0);
  request.deadline = absl::Now() + absl::Seconds(3);

  EXPECT_EQ(queue->expected_wait(), absl::Seconds(4));
  EXPECT_EQ(queue->Enqueue(std::move(request)).code(), absl::StatusCode::kDeadlineExceeded);

  gate.opened.Notify();
  waiting.Await();
}

TEST(BatcherLimitsTest, AtMostSoManyBatchesOfAModelRunAtOnce) {
  Doubler doubler;
  Gate gate;
  QueueOptions options = OnWorkers();
  options.max_batch_size = 1;
  options.max_concurrency = 1;
  Batcher batcher(2, nullptr);
  auto limited = batcher.CreateQueue("limited", options, gate.Guard(doubler.runner()));
  auto other = batcher.CreateQueue("other", OnWorkers(), doubler.runner());
  Call first, second, elsewhere;
  ASSERT_TRUE(limited->Enqueue(first.Request(1, 1)).ok());
  gate.AwaitArrival();
  ASSERT_TRUE(limited->Enqueue(second.Request(1, 2)).ok());

  // The other worker is free for other models only.
  ASSERT_TRUE(other->Enqueue(elsewhere.Request(1, 3)).ok());
  EXPECT_THAT(elsewhere.Await(), ElementsAre(6));
  EXPECT_EQ(gate.arrived, 1);

  gate.opened.Notify();
  EXPECT_THAT(second.Await(), ElementsAre(4));
}

}  // namespace
}  // namespace h5serve::compute
