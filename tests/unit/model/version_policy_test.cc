#include "model/version_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace h5serve::model {
namespace {

using config::VersionPolicy;
using testing::ElementsAre;
using testing::IsEmpty;
using Kind = VersionPolicy::Kind;

VersionChoice Available(int64_t version) { return {version, true, false, false}; }
VersionChoice Serving(int64_t version) { return {version, true, true, false}; }
VersionChoice Refused(int64_t version) { return {version, false, false, false}; }
// In service, while its file is no longer there.
VersionChoice Superseded(int64_t version) { return {version, false, true, false}; }
VersionChoice Deleted(int64_t version) { return {version, false, true, true}; }

TEST(VersionPolicyTest, LatestTakesTheNewestAvailable) {
  const VersionPlan plan =
      PlanVersions({Kind::kLatest, 2, {}}, {Available(1), Available(2), Refused(3), Available(4)});

  EXPECT_THAT(plan.wanted, ElementsAre(2, 4));
}

TEST(VersionPolicyTest, LatestIsAtLeastOne) {
  EXPECT_THAT(PlanVersions({Kind::kLatest, 0, {}}, {Available(1), Available(2)}).wanted,
              ElementsAre(2));
}

TEST(VersionPolicyTest, NothingLeavesServiceBeforeWhatIsWantedServes) {
  EXPECT_THAT(PlanVersions({}, {Serving(1), Available(2)}).retired, IsEmpty());
  EXPECT_THAT(PlanVersions({}, {Serving(1), Serving(2)}).retired, ElementsAre(1));
}

TEST(VersionPolicyTest, ARefusedSuccessorRetiresNothing) {
  EXPECT_THAT(PlanVersions({}, {Superseded(1), Refused(2)}).retired, IsEmpty());
  EXPECT_THAT(PlanVersions({}, {Superseded(1), Serving(2)}).retired, ElementsAre(1));
}

TEST(VersionPolicyTest, WhatWasDeletedLeavesWhenNothingElseCanBeHad) {
  EXPECT_THAT(PlanVersions({}, {Deleted(1)}).retired, ElementsAre(1));
  EXPECT_THAT(PlanVersions({}, {Available(1), Deleted(2)}).retired, IsEmpty());
  EXPECT_THAT(PlanVersions({}, {Serving(1), Deleted(2)}).retired, ElementsAre(2));
}

TEST(VersionPolicyTest, AllWantsAll) {
  EXPECT_THAT(PlanVersions({Kind::kAll, 1, {}}, {Serving(1), Available(2), Refused(3)}).wanted,
              ElementsAre(1, 2));
}

TEST(VersionPolicyTest, SpecificWantsTheListedThatAreThere) {
  const VersionPlan plan =
      PlanVersions({Kind::kSpecific, 1, {2, 9}}, {Serving(1), Available(2), Available(3)});

  EXPECT_THAT(plan.wanted, ElementsAre(2));
  EXPECT_THAT(plan.retired, IsEmpty());
}

TEST(VersionPolicyTest, AnUnfulfillableListRetiresNothing) {
  EXPECT_THAT(PlanVersions({Kind::kSpecific, 1, {9}}, {Serving(1)}).retired, IsEmpty());
}

}  // namespace
}  // namespace h5serve::model
