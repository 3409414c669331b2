// Keeps a manager going.
#pragma once

#include <atomic>
#include <thread>

#include "model/manager.h"
#include "model/watcher.h"

namespace h5serve::model {

// The thread that steps a manager when its watcher or its clock says so.
//
//   InotifyWatcher watcher;
//   dependencies.wake = [&watcher] { watcher.Wake(); };
//   Manager manager(options, dependencies);
//   ManagerThread thread(&manager, &clock, &watcher);
//
// Destruction stops the thread; running loads go on until the manager goes.
class ManagerThread {
 public:
  ManagerThread(Manager* manager, const Clock* clock, Watcher* watcher);
  ~ManagerThread();

 private:
  void Loop();

  Manager* const manager_;
  const Clock* const clock_;
  Watcher* const watcher_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace h5serve::model
