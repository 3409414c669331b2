#include "model/lifecycle.h"

namespace h5serve::model {

std::string_view Name(ModelState state) {
  switch (state) {
    case ModelState::kFound:
      return "found";
    case ModelState::kSettling:
      return "settling";
    case ModelState::kReading:
      return "reading";
    case ModelState::kChecking:
      return "checking";
    case ModelState::kCompiling:
      return "compiling";
    case ModelState::kProving:
      return "proving";
    case ModelState::kServing:
      return "serving";
    case ModelState::kDraining:
      return "draining";
    case ModelState::kRefused:
      return "refused";
    case ModelState::kRemoved:
      return "removed";
  }
  return "unknown";
}

}  // namespace h5serve::model
