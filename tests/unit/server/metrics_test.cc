#include "server/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "server/statistics.h"

namespace h5serve::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

model::VersionStatus Status(int64_t version, model::ModelState state) {
  model::VersionStatus status;
  status.model = "iris";
  status.version = version;
  status.state = state;
  status.since = absl::Now();
  status.facts.keras_version = "2.3.1";
  status.facts.memory_bytes = 1234;
  return status;
}

TEST(MetricsTest, EveryMetricIsDescribed) {
  for (const MetricRow& row : AllMetrics()) {
    EXPECT_TRUE(row.name.starts_with("h5serve_") || row.name.starts_with("process_")) << row.name;
    EXPECT_EQ(row.kind == "counter", row.name.ends_with("_total")) << row.name;
    EXPECT_FALSE(row.help.empty()) << row.name;
  }
}

TEST(MetricsTest, RequestsAreCountedByModelVersionMethodAndCode) {
  Metrics metrics;

  metrics.OnRequest("iris", 3, "Predict", "OK", absl::Milliseconds(1));
  metrics.OnRequest("iris", 3, "Predict", "OK", absl::Milliseconds(1));
  metrics.OnRequest("", -1, "Predict", "NOT_FOUND", absl::Milliseconds(1));

  EXPECT_THAT(
      metrics.Serialize(),
      AllOf(HasSubstr("h5serve_requests_total{code=\"OK\",method=\"Predict\","
                      "model=\"iris\",version=\"3\"} 2"),
            HasSubstr("code=\"NOT_FOUND\""),
            HasSubstr("h5serve_request_seconds_count{method=\"Predict\",model=\"iris\"} 2")));
}

TEST(MetricsTest, RefusalsAreCountedByReason) {
  Metrics metrics;
  model::VersionStatus refused = Status(4, model::ModelState::kRefused);
  refused.diagnoses.Add(model::Code::kTruncated, "the file ends early");

  metrics.OnLoad(refused, {{model::LoadPhase::kReading, std::chrono::microseconds(5)}});

  EXPECT_THAT(metrics.Serialize(),
              AllOf(HasSubstr("h5serve_model_loads_total{model=\"iris\",reason=\"TRUNCATED\","
                              "result=\"refused\"} 1"),
                    HasSubstr("phase=\"reading\"")));
}

TEST(MetricsTest, TellsServingFromNewest) {
  Metrics metrics;

  metrics.OnState(Status(3, model::ModelState::kServing));
  metrics.OnState(Status(4, model::ModelState::kRefused));

  EXPECT_THAT(
      metrics.Serialize(),
      AllOf(HasSubstr("h5serve_model_serving_version{model=\"iris\"} 3"),
            HasSubstr("h5serve_model_newest_version{model=\"iris\"} 4"),
            HasSubstr("h5serve_model_state{model=\"iris\",state=\"refused\",version=\"4\"} 1"),
            HasSubstr("h5serve_model_memory_bytes{model=\"iris\",version=\"3\"} 1234"),
            Not(HasSubstr("h5serve_model_candidate_age_seconds{model=\"iris\"} 0\n"))));
}

TEST(MetricsTest, ForgottenVersionsLeaveNoSeries) {
  Metrics metrics;
  metrics.OnState(Status(3, model::ModelState::kServing));
  metrics.OnRequest("iris", 3, "Predict", "OK", absl::Milliseconds(1));
  metrics.OnState(Status(3, model::ModelState::kRemoved));

  metrics.OnForgotten("iris", 3);

  EXPECT_THAT(metrics.Serialize(), Not(HasSubstr("version=\"3\"")));
}

TEST(MetricsTest, ProcessMetricsAreThere) {
  Metrics metrics;

  EXPECT_THAT(metrics.Serialize(),
              AllOf(HasSubstr("process_resident_memory_bytes"),
                    HasSubstr("process_cpu_seconds_total"), HasSubstr("process_open_fds")));
}

TEST(StatisticsTest, CountsRowsRequestsAndBatches) {
  Statistics statistics;
  compute::RequestTiming timing{absl::Microseconds(5), absl::Microseconds(7), 3, true};

  statistics.OnRequest("m", 1, absl::OkStatus(), 2, absl::Microseconds(20), timing);
  timing.leads_batch = false;
  statistics.OnRequest("m", 1, absl::OkStatus(), 1, absl::Microseconds(20), timing);
  statistics.OnRequest("m", 1, absl::InternalError("x"), 1, absl::Microseconds(20), {});

  const VersionStatistics got = statistics.Get("m", 1);
  EXPECT_EQ(got.inferences, 3u);
  EXPECT_EQ(got.executions, 1u);
  EXPECT_EQ(got.success.count, 2u);
  EXPECT_EQ(got.fail.count, 1u);
  EXPECT_EQ(got.queue.total, absl::Microseconds(10));
  EXPECT_EQ(got.batches.at(3).count, 1u);
}

}  // namespace
}  // namespace h5serve::server
