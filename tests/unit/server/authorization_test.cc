#include "server/grpc/authorization.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace h5serve::server {
namespace {

using ::testing::HasSubstr;

constexpr char kPolicy[] = R"({
  "name": "team",
  "deny_rules": [
    {"name": "no reloads", "request": {"paths": ["*HandleReloadConfigRequest"]}},
    {"name": "nobody unknown", "source": {"principals": [""]},
     "request": {"paths": ["/inference.*"]}}
  ],
  "allow_rules": [
    {"name": "predict", "request": {"paths": ["/tensorflow.serving.*"]}},
    {"name": "testers", "source": {"principals": ["spiffe://team/*", "tester"]},
     "request": {"headers": [{"key": "X-Stage", "values": ["test", "dev*"]}]}}
  ]
})";

bool Allows(const Caller& caller) {
  const auto policy = AuthorizationPolicy::Parse(kPolicy);
  EXPECT_TRUE(policy.ok()) << policy.status();
  return policy.ok() && (*policy)->Allows(caller);
}

TEST(AuthorizationPolicyTest, MatchesPathsByPrefixAndSuffix) {
  EXPECT_TRUE(Allows({.path = "/tensorflow.serving.PredictionService/Predict"}));
  EXPECT_FALSE(Allows({.path = "/grpc.health.v1.Health/Check"}));
}

TEST(AuthorizationPolicyTest, DenyRulesComeFirst) {
  EXPECT_FALSE(Allows({.path = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"}));
}

TEST(AuthorizationPolicyTest, WantsPrincipalAndHeader) {
  Caller caller{.path = "/inference.GRPCInferenceService/ModelInfer"};
  caller.authenticated = true;
  caller.identities = {"spiffe://team/alice"};
  EXPECT_FALSE(Allows(caller));
  caller.headers = {{"x-stage", "development"}};
  EXPECT_TRUE(Allows(caller));
  caller.identities = {"spiffe://other/alice"};
  EXPECT_FALSE(Allows(caller));
  caller.identities = {"tester"};
  EXPECT_TRUE(Allows(caller));
  caller.authenticated = false;
  caller.identities = {};
  EXPECT_FALSE(Allows(caller));
}

TEST(AuthorizationPolicyTest, RefusesWhatIsNoPolicy) {
  const struct {
    const char* json;
    const char* message;
  } kCases[] = {
      {"", "not valid JSON"},
      {"[]", "the policy must be an object"},
      {R"({"allow_rules": [{"name": "a"}]})", "name must be a string"},
      {R"({"name": "p"})", "allow_rules"},
      {R"({"name": "p", "allow_rules": [{"name": "a", "sauce": {}}]})", "unknown key \"sauce\""},
      {R"({"name": "p", "allow_rules": [{"name": "a", "request": {"paths": "x"}}]})",
       "allow_rules[0].request.paths must be a list of strings"},
      {R"({"name": "p", "allow_rules": [{"name": "a", "request": {"headers":
          [{"key": "grpc-foo", "values": ["x"]}]}}]})",
       "may not name"},
  };
  for (const auto& bad : kCases) {
    const auto policy = AuthorizationPolicy::Parse(bad.json);
    ASSERT_FALSE(policy.ok()) << bad.json;
    EXPECT_THAT(std::string(policy.status().message()), HasSubstr(bad.message));
  }
}

}  // namespace
}  // namespace h5serve::server
