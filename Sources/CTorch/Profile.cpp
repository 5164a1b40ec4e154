// Times of operators, through the callbacks that libtorch runs around every operator and every backward function.

// Written by `make setup` where this libtorch uses an older C++ library interface.
#if __has_include(<libtorch_abi.h>)
#include <libtorch_abi.h>
#endif

// Where libtorch is missing, CTorch.cpp says so.
#if __has_include(<ATen/record_function.h>)

#include <ATen/record_function.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "CTorch.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Frame {
  const void *key;   // the RecordFunction; null for a section
  const char *name;  // of a section; operators still have theirs when they end
  Clock::time_point entered, started; // before and after our own work at the beginning
  Clock::duration nested{};           // of the frames inside, with our own work
};

// What this thread is in, of the measurement that it was last part of.
struct Stack {
  int64_t measurement = 0;
  std::vector<Frame> frames;
};
thread_local Stack stack;

struct Totals {
  int64_t calls = 0;
  Clock::duration self{};
};

struct Hash : std::hash<std::string_view> {
  using is_transparent = void;
};

// The number of the running measurement, or 0. One at a time in the process.
std::atomic<int64_t> running{0};
std::mutex mutex;
std::unordered_map<std::string, Totals, Hash, std::equal_to<>> totals; // by name, under the mutex

void push(const void *key, const char *name, Clock::time_point entered) {
  stack.frames.push_back({key, name, entered, {}, {}});
  stack.frames.back().started = Clock::now();
}

// Ends the frame with this index, and those inside it that were never ended.
void pop_to(size_t index, std::string_view name, int64_t measurement) {
  auto stopped = Clock::now();
  auto &frames = stack.frames;
  while (frames.size() > index + 1) {
    auto left = frames.back();
    frames.pop_back();
    frames.back().nested += left.nested;
  }
  auto frame = frames.back();
  frames.pop_back();
  {
    std::lock_guard lock(mutex);
    if (running.load(std::memory_order_relaxed) == measurement) {
      auto found = totals.find(name);
      if (found == totals.end()) {
        found = totals.emplace(name, Totals()).first;
      }
      found->second.calls += 1;
      found->second.self += stopped - frame.started - frame.nested;
    }
  }
  if (!frames.empty()) {
    frames.back().nested += Clock::now() - frame.entered;
  }
}

// libtorch wraps every backward function in an operator named like this; one name serves them all.
constexpr std::string_view engine_prefix = "autograd::engine::evaluate_function";

std::unique_ptr<at::ObserverContext> begin_operator(const at::RecordFunction &function) {
  auto entered = Clock::now();
  auto measurement = running.load(std::memory_order_relaxed);
  if (measurement) {
    // On a thread of the autograd engine this may be the first of the measurement.
    if (stack.measurement != measurement) {
      stack.measurement = measurement;
      stack.frames.clear();
    }
    push(&function, nullptr, entered);
  }
  return nullptr;
}

void end_operator(const at::RecordFunction &function, at::ObserverContext *) {
  auto &frames = stack.frames;
  // The innermost as a rule.
  for (auto index = frames.size(); index-- > 0;) {
    if (frames[index].key == &function) {
      std::string_view name = function.name();
      if (name.substr(0, engine_prefix.size()) == engine_prefix) {
        name = "autograd::engine";
      }
      pop_to(index, name, stack.measurement);
      return;
    }
  }
}

// A section's token: the measurement and one more than the index of its frame.
constexpr int depth_bits = 16;

thread_local at::CallbackHandle callback = at::INVALID_CALLBACK_HANDLE;
thread_local std::vector<std::pair<std::string, Totals>> last_totals;
thread_local std::vector<CTProfileEntry> last_entries;

} // namespace

extern "C" {

bool ct_profile_start(void) {
  static std::atomic<int64_t> last{0};
  auto measurement = last.fetch_add(1) + 1;
  {
    std::lock_guard lock(mutex);
    int64_t none = 0;
    if (!running.compare_exchange_strong(none, measurement)) {
      return false;
    }
    totals.clear();
  }
  stack.measurement = measurement;
  stack.frames.clear();
  // Of this thread; libtorch carries it to the threads on which the autograd engine works for this one.
  callback = at::addThreadLocalCallback(
      at::RecordFunctionCallback(&begin_operator, &end_operator)
          .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
  return true;
}

int ct_profile_stop(const CTProfileEntry **entries) {
  at::removeCallback(callback);
  callback = at::INVALID_CALLBACK_HANDLE;
  stack = {};
  last_entries.clear();
  {
    std::lock_guard lock(mutex);
    last_totals.assign(totals.begin(), totals.end());
    totals.clear();
    running.store(0);
  }
  std::sort(last_totals.begin(), last_totals.end(),
            [](const auto &a, const auto &b) { return a.second.self > b.second.self; });
  for (const auto &[name, total] : last_totals) {
    auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(total.self).count();
    last_entries.push_back({name.c_str(), total.calls, nanoseconds});
  }
  *entries = last_entries.data();
  return static_cast<int>(last_entries.size());
}

int64_t ct_profile_enter(const char *name) {
  auto measurement = running.load(std::memory_order_relaxed);
  // Threads that have no part in the measurement are left out.
  if (measurement == 0 || stack.measurement != measurement || stack.frames.size() + 1 >= (1 << depth_bits)) {
    return 0;
  }
  push(nullptr, name, Clock::now());
  return (measurement << depth_bits) | static_cast<int64_t>(stack.frames.size());
}

void ct_profile_leave(int64_t token) {
  auto depth = static_cast<size_t>(token & ((1 << depth_bits) - 1));
  if (token && stack.measurement == token >> depth_bits && depth <= stack.frames.size()) {
    pop_to(depth - 1, stack.frames[depth - 1].name, stack.measurement);
  }
}

} // extern "C"

#endif // libtorch was found
