#include "model/reader/reader_process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <string>

#include "model/reader/read_model.h"

namespace h5serve::model {
namespace {

bool ReadsWith(SpareReader* spare) {
  ReadOptions options;
  options.spare = spare;
  DiagnosisList diagnoses;
  return ReadModelFile(std::string(H5SERVE_MODEL_FILES) + "/arrays_gzip.h5", options, &diagnoses)
      .has_value();
}

TEST(SpareReaderTest, IsTakenByTheNextRead) {
  SpareReader spare;
  spare.Prepare();
  spare.Prepare();  // one is enough

  EXPECT_TRUE(ReadsWith(&spare));
  EXPECT_FALSE(spare.Take());
  EXPECT_TRUE(ReadsWith(&spare));
}

TEST(SpareReaderTest, IsReplacedWhenItWasKilled) {
  SpareReader spare;
  spare.Prepare();
  siginfo_t end;
  ASSERT_EQ(kill(spare.waiting_id(), SIGKILL), 0);
  ASSERT_EQ(waitid(P_PID, spare.waiting_id(), &end, WEXITED | WNOWAIT), 0);

  EXPECT_TRUE(ReadsWith(&spare));
}

TEST(ReaderProcessTest, EndsWithItsOwner) {
  pid_t id = -1;
  {
    std::optional<ReaderProcess> process = ReaderProcess::Start();
    ASSERT_TRUE(process);
    id = process->id();
    EXPECT_EQ(kill(id, 0), 0);
  }
  EXPECT_NE(kill(id, 0), 0);
}

}  // namespace
}  // namespace h5serve::model
