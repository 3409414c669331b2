// main() of tests that read model files: the reader starts the program again.
#include <gmock/gmock.h>

#include "model/reader/read_model.h"

int main(int argc, char** argv) {
  if (h5serve::model::IsReaderChild(argc, argv)) {
    return h5serve::model::RunReaderChild(argc, argv);
  }
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
