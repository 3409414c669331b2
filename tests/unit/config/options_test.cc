#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "config/cpu_quota.h"
#include "config/load_options.h"
#include "config/option_table.h"
#include "config/values.h"

namespace h5serve::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TempFolder {
 public:
  TempFolder() {
    std::string name = ::testing::TempDir() + "/options-XXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  std::string Write(const std::string& name, const std::string& text) const {
    const std::filesystem::path path = std::filesystem::path(path_) / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(OptionTableTest, EveryOptionTakesItsOwnDefault) {
  for (const OptionRow& row : AllOptions()) {
    Options options;
    const std::string text = row.get(options);

    EXPECT_TRUE(row.set(&options, text).ok()) << row.name << " = " << text;
    EXPECT_EQ(row.get(options), text) << row.name;
  }
}

TEST(OptionTableTest, NamesAreFoundWithDashes) {
  ASSERT_NE(FindOption("drain-delay"), nullptr);
  EXPECT_EQ(FlagName(*FindOption("batching.max_batch_size")), "--batching-max-batch-size");
  EXPECT_EQ(VariableName(*FindOption("batching.max_batch_size")),
            "H5SERVE_BATCHING_MAX_BATCH_SIZE");
  EXPECT_EQ(FlagName(*FindOption("http")), "--http");
}

TEST(OptionTableTest, UnknownOptionNamesTheNearest) {
  Options options;

  EXPECT_THAT(Message(SetOption(&options, "drian_delay", "1s")),
              HasSubstr("did you mean drain_delay?"));
}

TEST(OptionTableTest, BadValueSaysWhatWasExpected) {
  Options options;

  EXPECT_THAT(Message(SetOption(&options, "threads", "many")), HasSubstr("0 to 4096"));
  EXPECT_THAT(Message(SetOption(&options, "log.level", "loud")), HasSubstr("debug, info"));
  EXPECT_EQ(options.server.threads, 0);
}

TEST(LoadOptionsTest, LaterSourcesWin) {
  const TempFolder folder;
  OptionSources sources;
  sources.file = folder.Write("c.json", R"({
    "models": "/file", "threads": 3, "http": {"listen": ":1", "threads": 2},
    "batching": {"max_batch_size": 7}, "required_models": ["a", "b"]})");
  sources.environment = {"H5SERVE_THREADS=4", "HOME=/root", "H5SERVE_ISA=x86-64-v3",
                         "H5SERVE_PORT=tcp://10.0.0.1:8500"};
  sources.flags = {{"threads", "5"}};

  const absl::StatusOr<Options> options = LoadOptions(sources);

  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->server.models, "/file");
  EXPECT_EQ(options->server.threads, 5);
  EXPECT_EQ(options->server.http.listen, ":1");
  EXPECT_EQ(options->model.batching.max_batch_size, 7);
  EXPECT_THAT(options->server.required_models, ElementsAre("a", "b"));
}

TEST(LoadOptionsTest, UnknownKeyNamesTheNearest) {
  const TempFolder folder;
  OptionSources sources;
  sources.file = folder.Write("c.json", R"({"batching": {"max_bach_size": 7}})");

  const absl::Status status = LoadOptions(sources).status();

  EXPECT_THAT(Message(status), HasSubstr("unknown key batching.max_bach_size"));
  EXPECT_THAT(Message(status), HasSubstr("did you mean batching.max_batch_size?"));
}

TEST(LoadOptionsTest, UnknownVariableNamesTheNearest) {
  OptionSources sources;
  sources.environment = {"H5SERVE_TREADS=4"};

  EXPECT_THAT(Message(LoadOptions(sources).status()), HasSubstr("did you mean H5SERVE_THREADS?"));
}

TEST(LoadOptionsTest, HostileFilesAreErrors) {
  const TempFolder folder;
  for (const std::string& text :
       {std::string("{"), std::string("[]"), std::string(1000000, '['),
        std::string("{\"models\": {\"a\": 1}}"), std::string("\xff\xfe"),
        std::string("{\"threads\": 1e300}"), std::string("{\"threads\": null}")}) {
    OptionSources sources;
    sources.file = folder.Write("c.json", text);

    EXPECT_FALSE(LoadOptions(sources).ok()) << text.substr(0, 40);
  }
  OptionSources sources;
  sources.file = folder.path() + "/none.json";
  EXPECT_FALSE(LoadOptions(sources).ok());
}

TEST(ModelOptionsTest, TakesEverySettingOfAModel) {
  const absl::StatusOr<ModelOptions> options = ParseModelOptions(R"json({
    "versions": {"specific": [3, 5]}, "labels": {"stable": 3}, "workers": 2,
    "batching": {"max_batch_size": 8, "max_batch_delay_us": 500, "max_queue": 100},
    "names": {"input_1": "image"}, "memory_limit": "1GiB", "golden_tolerance": 0.01,
    "compatibility": {"golden": "require"},
    "custom_objects": {"Mish": {"expression": "x * tanh(softplus(x))"}}
  })json",
                                                                 ModelOptions());

  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->versions.kind, VersionPolicy::Kind::kSpecific);
  EXPECT_THAT(options->versions.specific, ElementsAre(3, 5));
  EXPECT_EQ(options->labels.at("stable"), 3);
  EXPECT_EQ(options->workers, 2);
  EXPECT_EQ(options->batching.max_queue_rows, 100);
  EXPECT_EQ(options->batching.max_batch_delay.count(), 500);
  EXPECT_EQ(options->names.at("input_1"), "image");
  EXPECT_EQ(options->memory_limit_bytes, int64_t{1} << 30);
  EXPECT_EQ(options->compatibility.golden_relative_tolerance, 0.01);
  EXPECT_EQ(options->compatibility.golden, "require");
  EXPECT_THAT(options->custom_objects.at("Mish"), HasSubstr("softplus"));
}

TEST(ModelOptionsTest, VersionPoliciesInEveryForm) {
  const auto parse = [](const char* text) { return ParseModelOptions(text, {})->versions; };

  EXPECT_EQ(parse(R"({"versions": "all"})").kind, VersionPolicy::Kind::kAll);
  EXPECT_EQ(parse(R"({"versions": {"all": {}}})").kind, VersionPolicy::Kind::kAll);
  EXPECT_EQ(parse(R"({"versions": {"latest": 3}})").latest, 3);
  EXPECT_EQ(parse(R"({"versions": "latest 2"})").latest, 2);
  EXPECT_FALSE(ParseModelOptions(R"({"versions": {"latest": 0}})", {}).ok());
}

TEST(ModelOptionsTest, ServerOptionsAreUnknownThere) {
  EXPECT_THAT(Message(ParseModelOptions(R"({"listen": ":1"})", {}).status()),
              HasSubstr("unknown key listen"));
  EXPECT_THAT(Message(ParseModelOptions(R"({"plugins": "x.so"})", {}).status()),
              HasSubstr("unknown key plugins"));
}

TEST(ValuesTest, DurationsAndSizes) {
  EXPECT_EQ(ParseDuration("250ms")->count(), 250000);
  EXPECT_EQ(ParseDuration("0.05")->count(), 50000);
  EXPECT_EQ(ParseDuration("2 h")->count(), 7200000000);
  EXPECT_FALSE(ParseDuration("-1s").ok());
  EXPECT_FALSE(ParseDuration("5 parsecs").ok());
  EXPECT_EQ(*ParseBytes("512MiB"), int64_t{512} << 20);
  EXPECT_EQ(*ParseBytes("2GB"), 2000000000);
  EXPECT_EQ(*ParseBytes("17"), 17);
  EXPECT_FALSE(ParseBytes("1 XB").ok());
}

TEST(CpuQuotaTest, ReadsBothKindsOfControlGroups) {
  const TempFolder v2, v1;
  v2.Write("proc/self/cgroup", "0::/kubepods/pod\n");
  v2.Write("sys/fs/cgroup/kubepods/pod/cpu.max", "100000 100000\n");
  v2.Write("sys/fs/cgroup/kubepods/pod/memory.max", "max\n");
  v2.Write("sys/fs/cgroup/kubepods/memory.max", "1048576\n");
  v2.Write("sys/fs/cgroup/kubepods/pod/cpu.stat", "usage_usec 5\nthrottled_usec 2500000\n");
  v1.Write("proc/self/cgroup", "4:memory:/box\n1:cpu,cpuacct:/box\n");
  v1.Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n");
  v1.Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  v1.Write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712\n");
  v1.Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152\n");

  EXPECT_EQ(AvailableCpus(v2.path()), 1);
  EXPECT_EQ(MemoryLimitBytes(v2.path()), 1048576);
  EXPECT_EQ(CpuThrottledSeconds(v2.path()), 2.5);
  EXPECT_EQ(AvailableCpus(v1.path()), 1);
  EXPECT_EQ(MemoryLimitBytes(v1.path()), 2097152);
  EXPECT_EQ(MemoryLimitBytes("/nonexistent"), std::nullopt);
}

TEST(LoadOptionsTest, ReadsCustomObjectsFromAFileOfTheCommandLine) {
  const TempFolder folder;
  const std::string plain = folder.Write("plain.json", R"({"A": {"expression": "x"}})");
  const std::string pasted =
      folder.Write("pasted.json", R"({"custom_objects": {"B": {"expression": "2 * x"}}})");

  const auto options =
      LoadOptions({"", {}, {{"custom_objects", plain}, {"custom_objects", pasted}}});

  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_THAT(options->model.custom_objects.at("A"), HasSubstr("\"x\""));
  EXPECT_THAT(options->model.custom_objects.at("B"), HasSubstr("2 * x"));
  EXPECT_THAT(Message(LoadOptions({"", {}, {{"custom_objects", "/nowhere.json"}}}).status()),
              HasSubstr("/nowhere.json"));
}

TEST(ParseModelOptionsTest, LetsNoModelNameAFileOfCustomObjects) {
  const TempFolder folder;
  const std::string file = folder.Write("objects.json", R"({"A": {"expression": "x"}})");

  const auto options =
      ParseModelOptions(R"({"custom_objects": ")" + file + R"("})", ModelOptions());

  EXPECT_THAT(Message(options.status()), HasSubstr("expected an object"));
}

}  // namespace
}  // namespace h5serve::config
