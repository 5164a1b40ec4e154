// The threads of this process.
#ifndef NORMA_THREADS_HPP
#define NORMA_THREADS_HPP

#ifdef __linux__
#include <cstdlib>
#include <dirent.h>
#include <sys/types.h>

namespace norma {

// Whether the system tells them.
template <typename Body> bool for_each_thread(Body &&body) {
  DIR *threads = opendir("/proc/self/task");
  if (!threads) {
    return false;
  }
  while (auto entry = readdir(threads)) {
    if (auto thread = static_cast<pid_t>(atoi(entry->d_name))) {
      body(thread);
    }
  }
  closedir(threads);
  return true;
}

} // namespace norma
#endif
#endif
