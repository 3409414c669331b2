#include "compute/batcher.h"

#include "absl/synchronization/blocking_counter.h"
#include "absl/time/clock.h"
#include "tests/unit/compute/batcher_fixture.h"

namespace h5serve::compute {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

TEST(BatcherTest, AnswersEachRequestWithItsOwnRows) {
  Doubler doubler;
  Batcher batcher(2, nullptr);
  auto queue = batcher.CreateQueue("m", QueueOptions(), doubler.runner());

  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 200; ++i) {
    calls.push_back(std::make_unique<Call>());
    ASSERT_TRUE(queue->Enqueue(calls.back()->Request(1 + i % 3, static_cast<float>(i))).ok());
  }

  for (int i = 0; i < 200; ++i) {
    const std::vector<float> got = calls[i]->Await();
    ASSERT_EQ(got.size(), static_cast<size_t>(1 + i % 3));
    for (size_t row = 0; row < got.size(); ++row) {
      EXPECT_EQ(got[row], 2 * (static_cast<float>(i) + static_cast<float>(row)));
    }
  }
}

TEST(BatcherTest, MergesWhatWaits) {
  Doubler doubler;
  Gate gate;
  Batcher batcher(1, nullptr);
  auto blocked = batcher.CreateQueue("blocked", OnWorkers(), gate.Guard(doubler.runner()));
  auto queue = batcher.CreateQueue("m", OnWorkers(), doubler.runner());
  Call blocker, calls[5];
  ASSERT_TRUE(blocked->Enqueue(blocker.Request(1, 0)).ok());
  gate.AwaitArrival();

  for (Call& call : calls) ASSERT_TRUE(queue->Enqueue(call.Request(2, 1)).ok());
  EXPECT_EQ(queue->waiting_rows(), 10);
  gate.opened.Notify();

  for (Call& call : calls) EXPECT_THAT(call.Await(), ElementsAre(2, 4));
  EXPECT_THAT(doubler.seen(), ElementsAre(1, 10));
  EXPECT_EQ(calls[4].timing.batch_rows, 10);
}

TEST(BatcherTest, SplitsRequestsLargerThanABatch) {
  Doubler doubler;
  QueueOptions options = OnWorkers();
  options.max_batch_size = 4;
  Batcher batcher(2, nullptr);
  auto queue = batcher.CreateQueue("m", options, doubler.runner());
  Call call;

  ASSERT_TRUE(queue->Enqueue(call.Request(10, 0)).ok());

  EXPECT_THAT(call.Await(), ElementsAre(0, 2, 4, 6, 8, 10, 12, 14, 16, 18));
  for (int64_t rows : doubler.seen()) EXPECT_LE(rows, 4);
}

TEST(BatcherTest, KeepsDifferentShapesApart) {
  Doubler doubler;
  Gate gate;
  Batcher batcher(1, nullptr);
  auto blocked = batcher.CreateQueue("blocked", OnWorkers(), gate.Guard(doubler.runner()));
  auto queue = batcher.CreateQueue("m", OnWorkers(), doubler.runner());
  Call blocker, narrow[2], wide[2];
  ASSERT_TRUE(blocked->Enqueue(blocker.Request(1, 0)).ok());
  gate.AwaitArrival();

  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(queue->Enqueue(narrow[i].Request(1, 1)).ok());
    ASSERT_TRUE(queue->Enqueue(wide[i].Request(1, 1, /*width=*/3)).ok());
  }
  gate.opened.Notify();

  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(narrow[i].Await(), ElementsAre(2));
    EXPECT_THAT(wide[i].Await(), ElementsAre(2, 4, 6));
  }
  EXPECT_THAT(doubler.seen(), ElementsAre(1, 2, 2));
}

TEST(BatcherTest, NeverMergesWhatIsNotBatchable) {
  Doubler doubler;
  Gate gate;
  QueueOptions options = OnWorkers();
  options.batchable = false;
  options.max_batch_size = 2;
  Batcher batcher(1, nullptr);
  auto blocked = batcher.CreateQueue("blocked", OnWorkers(), gate.Guard(doubler.runner()));
  auto queue = batcher.CreateQueue("m", options, doubler.runner());
  Call blocker, small[2], large;
  ASSERT_TRUE(blocked->Enqueue(blocker.Request(1, 0)).ok());
  gate.AwaitArrival();

  for (Call& call : small) ASSERT_TRUE(queue->Enqueue(call.Request(1, 1)).ok());
  ASSERT_TRUE(queue->Enqueue(large.Request(5, 0)).ok());
  gate.opened.Notify();

  for (Call& call : small) EXPECT_THAT(call.Await(), ElementsAre(2));
  EXPECT_THAT(large.Await(), ElementsAre(0, 2, 4, 6, 8));
  EXPECT_THAT(doubler.seen(), ElementsAre(1, 1, 1, 5));
}

TEST(BatcherTest, RefusesAtOnceWhenFull) {
  Recorder recorder;
  Doubler doubler;
  Gate gate;
  QueueOptions options = OnWorkers();
  options.max_queue_rows = 3;
  Batcher batcher(1, &recorder);
  auto queue = batcher.CreateQueue("m", options, gate.Guard(doubler.runner()));
  Call running, waiting, refused;
  ASSERT_TRUE(queue->Enqueue(running.Request(1, 0)).ok());
  gate.AwaitArrival();
  ASSERT_TRUE(queue->Enqueue(waiting.Request(3, 0)).ok());

  const absl::Status status = queue->Enqueue(refused.Request(1, 0));

  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("3 rows wait"));
  EXPECT_FALSE(refused.finished.HasBeenNotified());
  EXPECT_EQ(recorder.count(DropReason::kQueueFull), 1);
  gate.opened.Notify();
  waiting.Await();
}

TEST(BatcherTest, DropsExpiredRequestsBeforeComputing) {
  Recorder recorder;
  Doubler doubler;
  Gate gate;
  Batcher batcher(1, &recorder);
  auto queue = batcher.CreateQueue("m", OnWorkers(), gate.Guard(doubler.runner()));
  Call running, expired, late;
  ASSERT_TRUE(queue->Enqueue(running.Request(1, 0)).ok());
  gate.AwaitArrival();
  BatchRequest request = expired.Request(1, 7);
  request.deadline = absl::Now() + absl::Milliseconds(1);
  ASSERT_TRUE(queue->Enqueue(std::move(request)).ok());
  absl::SleepFor(absl::Milliseconds(2));
  request = late.Request(1, 7);
  request.deadline = absl::Now() - absl::Milliseconds(1);

  const absl::Status status = queue->Enqueue(std::move(request));
  gate.opened.Notify();

  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  expired.Await();
  EXPECT_EQ(expired.result.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(recorder.count(DropReason::kDeadline), 2);
  EXPECT_THAT(doubler.seen(), ElementsAre(1));
}

TEST(BatcherTest, DropsCancelledRequestsBeforeComputing) {
  Recorder recorder;
  Doubler doubler;
  Gate gate;
  Batcher batcher(1, &recorder);
  auto queue = batcher.CreateQueue("m", OnWorkers(), gate.Guard(doubler.runner()));
  Call running, gone;
  ASSERT_TRUE(queue->Enqueue(running.Request(1, 0)).ok());
  gate.AwaitArrival();
  BatchRequest request = gone.Request(1, 0);
  request.cancelled = [] { return true; };
  ASSERT_TRUE(queue->Enqueue(std::move(request)).ok());

  gate.opened.Notify();

  gone.Await();
  EXPECT_EQ(gone.result.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(recorder.count(DropReason::kCancelled), 1);
}

TEST(BatcherTest, OneBadRequestDoesNotFailItsNeighbours) {
  Doubler doubler;
  Gate gate;
  Batcher batcher(1, nullptr);
  auto blocked = batcher.CreateQueue("blocked", OnWorkers(), gate.Guard(doubler.runner()));
  auto queue = batcher.CreateQueue(
      "m", OnWorkers(),
      [inner = doubler.runner()](std::span<const Tensor> inputs, const Parallelism* parallelism,
                                 std::vector<Tensor>* outputs) -> absl::Status {
        for (int64_t i = 0; i < inputs[0].num_elements(); ++i) {
          if (inputs[0].data<float>()[i] < 0) return absl::InvalidArgumentError("negative");
        }
        return inner(inputs, parallelism, outputs);
      });
  Call blocker, good, bad, other;
  ASSERT_TRUE(blocked->Enqueue(blocker.Request(1, 0)).ok());
  gate.AwaitArrival();
  ASSERT_TRUE(queue->Enqueue(good.Request(1, 1)).ok());
  ASSERT_TRUE(queue->Enqueue(bad.Request(1, -1)).ok());
  ASSERT_TRUE(queue->Enqueue(other.Request(1, 3)).ok());

  gate.opened.Notify();

  EXPECT_THAT(good.Await(), ElementsAre(2));
  EXPECT_THAT(other.Await(), ElementsAre(6));
  bad.Await();
  EXPECT_EQ(bad.result.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(BatcherTest, UrgentRequestsGoFirst) {
  Doubler doubler;
  Gate gate;
  QueueOptions options = OnWorkers();
  options.max_batch_size = 1;
  Batcher batcher(1, nullptr);
  std::vector<float> order;
  auto queue = batcher.CreateQueue(
      "m", options,
      gate.Guard([&](std::span<const Tensor> inputs, const Parallelism* parallelism,
                     std::vector<Tensor>* outputs) {
        order.push_back(inputs[0].data<float>()[0]);
        return doubler.runner()(inputs, parallelism, outputs);
      }));
  Call running, ordinary, urgent;
  ASSERT_TRUE(queue->Enqueue(running.Request(1, 0)).ok());
  gate.AwaitArrival();
  BatchRequest request = ordinary.Request(1, 1);
  request.priority = 1;
  ASSERT_TRUE(queue->Enqueue(std::move(request)).ok());
  ASSERT_TRUE(queue->Enqueue(urgent.Request(1, 2)).ok());

  gate.opened.Notify();

  ordinary.Await();
  urgent.Await();
  EXPECT_THAT(order, ElementsAre(0, 2, 1));
}

TEST(BatcherTest, ModelsTakeTurns) {
  Gate gate;
  Doubler doubler;
  QueueOptions options = OnWorkers();
  options.max_batch_size = 1;
  Batcher batcher(1, nullptr);
  std::string order;
  const auto runner = [&](char name) {
    return [&order, &doubler, name](std::span<const Tensor> inputs, const Parallelism* parallelism,
                                    std::vector<Tensor>* outputs) {
      order += name;
      return doubler.runner()(inputs, parallelism, outputs);
    };
  };
  auto blocked = batcher.CreateQueue("blocked", options, gate.Guard(doubler.runner()));
  auto a = batcher.CreateQueue("a", options, runner('a'));
  auto b = batcher.CreateQueue("b", options, runner('b'));
  Call blocker, calls_a[4], calls_b[2];
  ASSERT_TRUE(blocked->Enqueue(blocker.Request(1, 0)).ok());
  gate.AwaitArrival();
  for (Call& call : calls_a) ASSERT_TRUE(a->Enqueue(call.Request(1, 0)).ok());
  for (Call& call : calls_b) ASSERT_TRUE(b->Enqueue(call.Request(1, 0)).ok());

  gate.opened.Notify();

  for (Call& call : calls_a) call.Await();
  for (Call& call : calls_b) call.Await();
  EXPECT_EQ(order, "ababaa");
}

TEST(BatcherTest, WaitsForTheDelayOnlyWhenAsked) {
  Recorder recorder;
  Doubler doubler;
  QueueOptions options = OnWorkers();
  options.max_batch_delay = absl::Milliseconds(20);
  options.max_batch_size = 4;
  Batcher batcher(2, &recorder);
  auto queue = batcher.CreateQueue("m", options, doubler.runner());
  Call calls[3];

  const absl::Time start = absl::Now();
  for (Call& call : calls) ASSERT_TRUE(queue->Enqueue(call.Request(1, 1)).ok());
  for (Call& call : calls) call.Await();

  EXPECT_GE(absl::Now() - start, absl::Milliseconds(19));
  EXPECT_THAT(doubler.seen(), ElementsAre(3));
}

TEST(BatcherTest, LearnsToRunCheapRequestsOnTheCallersThread) {
  Recorder recorder;
  Doubler doubler;
  QueueOptions options;
  options.inline_limit = absl::Seconds(10);
  Batcher batcher(1, &recorder);
  auto queue = batcher.CreateQueue("m", options, doubler.runner());
  Call first;
  ASSERT_TRUE(queue->Enqueue(first.Request(1, 1)).ok());
  first.Await();
  // The worker gives its place back shortly after it has answered.
  for (int i = 0; i < 1000; ++i) {
    Call call;
    ASSERT_TRUE(queue->Enqueue(call.Request(1, 1)).ok());
    call.Await();
    absl::MutexLock lock(&recorder.mutex);
    if (recorder.triggers[BatchTrigger::kInline] > 0) return;
  }
  FAIL() << "no request ran inline";
}

TEST(BatcherTest, ExceptionsBecomeErrors) {
  Batcher batcher(1, nullptr);
  auto queue = batcher.CreateQueue(
      "m", OnWorkers(),
      [](std::span<const Tensor>, const Parallelism*, std::vector<Tensor>*) -> absl::Status {
        throw std::runtime_error("broken");
      });
  Call call;

  ASSERT_TRUE(queue->Enqueue(call.Request(1, 0)).ok());

  call.Await();
  EXPECT_EQ(call.result.status().code(), absl::StatusCode::kInternal);
}

TEST(BatcherTest, ShutdownWhileFullAnswersEveryone) {
  Recorder recorder;
  Doubler doubler;
  Gate gate;
  QueueOptions options = OnWorkers();
  options.max_queue_rows = 8;
  options.max_batch_size = 1;
  auto batcher = std::make_unique<Batcher>(2, &recorder);
  auto queue = batcher->CreateQueue("m", options, gate.Guard(doubler.runner()));
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 20; ++i) {
    auto call = std::make_unique<Call>();
    if (queue->Enqueue(call->Request(1, 0)).ok()) calls.push_back(std::move(call));
  }
  gate.AwaitArrival();
  std::thread opener([&] {
    absl::SleepFor(absl::Milliseconds(5));
    gate.opened.Notify();
  });

  batcher = nullptr;

  opener.join();
  for (const auto& call : calls) {
    ASSERT_TRUE(call->finished.HasBeenNotified());
    if (!call->result.ok()) {
      EXPECT_EQ(call->result.status().code(), absl::StatusCode::kUnavailable);
    }
  }
  Call late;
  EXPECT_EQ(queue->Enqueue(late.Request(1, 0)).code(), absl::StatusCode::kUnavailable);
}

TEST(BatcherTest, DrainLetsWaitingRequestsFinish) {
  Doubler doubler;
  Batcher batcher(1, nullptr);
  auto queue = batcher.CreateQueue("m", OnWorkers(), doubler.runner());
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 50; ++i) {
    calls.push_back(std::make_unique<Call>());
    ASSERT_TRUE(queue->Enqueue(calls.back()->Request(1, 1)).ok());
  }

  batcher.Drain(absl::Now() + absl::Seconds(30));

  for (const auto& call : calls) EXPECT_THAT(call->Await(), ElementsAre(2));
  Call late;
  EXPECT_EQ(queue->Enqueue(late.Request(1, 0)).code(), absl::StatusCode::kUnavailable);
}

TEST(BatcherTest, ManyProducersAndQueuesUnderLoad) {
  Doubler doubler;
  QueueOptions options;
  options.max_queue_rows = 64;
  options.max_batch_size = 8;
  Batcher batcher(3, nullptr);
  std::atomic<int> answered{0}, refused{0};
  std::vector<std::thread> producers;
  for (int p = 0; p < 4; ++p) {
    producers.emplace_back([&, p] {
      auto queue = batcher.CreateQueue("m" + std::to_string(p % 2), options, doubler.runner());
      for (int i = 0; i < 300; ++i) {
        Call call;
        BatchRequest request = call.Request(1 + i % 11, static_cast<float>(i));
        request.priority = i % 2;
        if (!queue->Enqueue(std::move(request)).ok()) {
          ++refused;
          continue;
        }
        const std::vector<float> got = call.Await();
        if (!got.empty() && got[0] == 2 * static_cast<float>(i)) ++answered;
      }
    });
  }
  for (std::thread& producer : producers) producer.join();

  EXPECT_EQ(answered + refused, 1200);
}

}  // namespace
}  // namespace h5serve::compute
