// The threads of this process.
#ifndef NORMA_THREADS_HPP
#define NORMA_THREADS_HPP

#ifdef __linux__
#include <cstdlib>
#include <dirent.h>
#include <sys/types.h>

namespace norma {

template <typename Body> void for_each_thread(Body &&body) {
  DIR *threads = opendir("/proc/self/task");
  if (!threads) {
    return;
  }
  while (auto entry = readdir(threads)) {
    if (auto thread = static_cast<pid_t>(atoi(entry->d_name))) {
      body(thread);
    }
  }
  closedir(threads);
}

} // namespace norma
#endif
#endif
