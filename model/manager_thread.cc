#include "model/manager_thread.h"

namespace h5serve::model {

ManagerThread::ManagerThread(Manager* manager, const Clock* clock, Watcher* watcher)
    : manager_(manager), clock_(clock), watcher_(watcher), thread_([this] { Loop(); }) {}

ManagerThread::~ManagerThread() {
  stopping_ = true;
  watcher_->Wake();
  thread_.join();
}

void ManagerThread::Loop() {
  std::vector<std::string> watched = manager_->directories();
  watcher_->Watch(watched);
  WatchReport report;
  while (!stopping_) {
    const bool scanned = manager_->Step(report);
    report = WatchReport();
    if (scanned) {
      std::vector<std::string> directories = manager_->directories();
      watcher_->Watch(directories);
      // What was put into a new directory before it was watched raised no event.
      report.changed = directories != watched;
      watched = std::move(directories);
      if (report.changed) continue;
    }
    report = watcher_->Wait(manager_->NextStep() - clock_->Elapsed());
  }
}

}  // namespace h5serve::model
