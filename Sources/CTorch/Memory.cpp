// CPU memory for tensors: counted, and large blocks kept for reuse after they are freed.
//
// The activations of a training step are of 1 to 100 MB, and every step asks for the same sizes again. malloc maps
// such blocks anew each time, so every step pays for page faults and zeroed pages; a kept block is mapped and warm.

// Written by `make setup` where this libtorch uses an older C++ library interface.
#if __has_include(<libtorch_abi.h>)
#include <libtorch_abi.h>
#endif

// Where libtorch is missing, CTorch.cpp says so.
#if __has_include(<c10/core/CPUAllocator.h>)

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <list>
#include <mutex>
#include <thread>
#include <unordered_map>

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__APPLE__)
#include <mach/mach.h>
#include <malloc/malloc.h>
#else
#include <malloc.h>
#endif

#include "CTorch.h"

namespace {

using Clock = std::chrono::steady_clock;

// Accounting -------------------------------------------------------------------------------------

std::atomic<int64_t> live_bytes{0}, peak_bytes{0};

void count_given(size_t bytes) {
  auto size = static_cast<int64_t>(bytes);
  auto live = live_bytes.fetch_add(size, std::memory_order_relaxed) + size;
  auto peak = peak_bytes.load(std::memory_order_relaxed);
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live, std::memory_order_relaxed)) {
  }
}

void count_freed(size_t bytes) {
  live_bytes.fetch_sub(static_cast<int64_t>(bytes), std::memory_order_relaxed);
}

size_t heap_block_size(void *pointer) {
#if defined(__APPLE__)
  return malloc_size(pointer);
#else
  return malloc_usable_size(pointer);
#endif
}

// The memory of this machine, or of the container if that has less.
size_t memory_of_machine() {
  size_t memory = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
#if defined(__linux__)
  for (auto path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    if (auto file = fopen(path, "r")) {
      unsigned long long limit;
      if (fscanf(file, "%llu", &limit) == 1) {
        memory = std::min<size_t>(memory, limit);
      }
      fclose(file);
    }
  }
#endif
  return memory;
}

// Sizes of large blocks --------------------------------------------------------------------------

constexpr size_t huge_page = size_t{2} << 20;
// Nothing larger is tried: the system's allocator has the error for it.
constexpr size_t largest = size_t{1} << 46;
// What malloc serves from its heap without a system call stays there. With eight classes to a power of two a class
// is whole pages from here on.
const size_t smallest = std::max<size_t>(size_t{64} << 10, 8 * static_cast<size_t>(sysconf(_SC_PAGESIZE)));

// Eight classes between a power of two and the next: at most an eighth of a block is unused.
constexpr int first_power = 15;
constexpr int class_count = (46 - first_power) * 8;

int class_of(size_t bytes) {
  int power = std::bit_width(bytes - 1) - 1; // 2^power < bytes <= 2^(power + 1)
  size_t eighths = ((bytes - 1) >> (power - 3)) + 1;
  return (power - first_power) * 8 + static_cast<int>(eighths) - 9;
}

size_t class_size(int index) { return static_cast<size_t>(9 + index % 8) << (first_power - 3 + index / 8); }

void *map_block(size_t size) {
  // Huge pages need their alignment: the block is cut out of a larger range.
  size_t room = size >= huge_page ? huge_page : 0;
  void *range = mmap(nullptr, size + room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (range == MAP_FAILED) {
    return nullptr;
  }
  auto start = static_cast<char *>(range);
  if (room) {
    size_t before = -reinterpret_cast<uintptr_t>(start) & (huge_page - 1);
    if (before) {
      munmap(start, before);
    }
    start += before;
    munmap(start + size, room - before);
#if defined(MADV_HUGEPAGE)
    madvise(start, size, MADV_HUGEPAGE);
#endif
  }
  return start;
}

// Kept blocks ------------------------------------------------------------------------------------

struct Block {
  void *address;
  int size_class;
  Clock::time_point freed{};
};
// Blocks move between lists by splicing, which neither allocates nor throws.
using Blocks = std::list<Block>;

class KeptBlocks {
public:
  // A block of at least `bytes`, whose size it sets; null when there is no memory.
  void *take(size_t bytes, size_t &size) {
    Blocks unused, fresh;
    {
      std::lock_guard lock(mutex);
      for (int c = class_of(bytes); c < class_count && class_size(c) <= bytes + bytes / 4; c++) {
        if (!kept[c].empty()) {
          size = class_size(c);
          kept_bytes -= size;
          add_given(size);
          given.splice(given.begin(), kept[c], kept[c].begin());
          return given.front().address;
        }
      }
      size = class_size(class_of(bytes));
      add_given(size);
      shrink(allowance(), unused);
    }
    unmap(unused);
    void *address = map_block(size);
    if (!address) {
      release();
      address = map_block(size);
    }
    if (address) {
      fresh.push_back({address, class_of(bytes)});
    }
    std::lock_guard lock(mutex);
    if (address) {
      places.emplace(address, fresh.begin());
      given.splice(given.begin(), fresh);
    } else {
      given_bytes -= size;
    }
    return address;
  }

  // The size of the block that was freed, or 0 when it is none of these.
  size_t give_back(void *address) {
    Blocks unused;
    size_t size;
    {
      std::lock_guard lock(mutex);
      auto place = places.find(address);
      if (place == places.end()) {
        return 0;
      }
      auto block = place->second;
      size = class_size(block->size_class);
      block->freed = Clock::now();
      kept[block->size_class].splice(kept[block->size_class].begin(), given, block);
      given_bytes -= size;
      kept_bytes += size;
      shrink(allowance(), unused);
      if (watcher_waits && kept_bytes) {
        wake_watcher.notify_one();
      }
    }
    unmap(unused);
    return size;
  }

  // Lets go of all kept blocks; what may be kept is measured anew from here.
  void release() {
    Blocks unused;
    {
      std::lock_guard lock(mutex);
      shrink(0, unused);
      most_given = given_bytes;
    }
    unmap(unused);
  }

  // Without keeping, blocks that are freed from now on go back at once.
  void set_keeping(bool value) {
    {
      std::lock_guard lock(mutex);
      keeps = value;
    }
    if (!value) {
      release();
    }
  }

  void set_limits(size_t bytes, Clock::duration idle) {
    Blocks unused;
    {
      std::lock_guard lock(mutex);
      limit = bytes;
      longest_idle = idle;
      shrink(allowance(), unused);
      wake_watcher.notify_one();
    }
    unmap(unused);
  }

  size_t bytes() {
    std::lock_guard lock(mutex);
    return kept_bytes;
  }

  // Releases what was not reused for long, so that a process that has dropped its model shrinks again.
  void watch() {
    std::unique_lock lock(mutex);
    for (;;) {
      if (kept_bytes == 0) {
        watcher_waits = true;
        wake_watcher.wait(lock);
        watcher_waits = false;
        continue;
      }
      auto due = oldest()->back().freed + longest_idle;
      if (Clock::now() < due) {
        wake_watcher.wait_until(lock, due);
        continue;
      }
      Blocks unused;
      drop_oldest(unused);
      lock.unlock();
      unmap(unused);
      lock.lock();
    }
  }

private:
  void add_given(size_t size) {
    given_bytes += size;
    most_given = std::max(most_given, given_bytes);
  }

  // Kept blocks and those in use together take a quarter more than was once in use at the same time (sizes in the
  // order of a training step never fit perfectly: without the quarter, a U-Net step maps an eighth of its blocks
  // anew, with it none), and leave a quarter of the machine alone.
  size_t allowance() const {
    size_t together = std::min(most_given + most_given / 4, machine / 4 * 3);
    return keeps && together > given_bytes ? std::min(limit, together - given_bytes) : 0;
  }

  // The list with the block that was not used for longest, at its end.
  Blocks *oldest() {
    Blocks *result = nullptr;
    for (auto &blocks : kept) {
      if (!blocks.empty() && (!result || blocks.back().freed < result->back().freed)) {
        result = &blocks;
      }
    }
    return result;
  }

  void drop_oldest(Blocks &unused) {
    auto &blocks = *oldest();
    auto last = std::prev(blocks.end());
    kept_bytes -= class_size(last->size_class);
    places.erase(last->address);
    unused.splice(unused.end(), blocks, last);
  }

  void shrink(size_t bytes, Blocks &unused) {
    while (kept_bytes > bytes) {
      drop_oldest(unused);
    }
  }

  // Without the lock, since it takes long.
  static void unmap(const Blocks &blocks) {
    for (auto &block : blocks) {
      munmap(block.address, class_size(block.size_class));
    }
  }

  std::mutex mutex;
  std::condition_variable wake_watcher;
  bool watcher_waits = false;
  std::array<Blocks, class_count> kept; // by size; the last freed at the front
  Blocks given;
  std::unordered_map<void *, Blocks::iterator> places;
  size_t kept_bytes = 0, given_bytes = 0, most_given = 0;
  bool keeps = false;
  size_t limit = SIZE_MAX;
  Clock::duration longest_idle = std::chrono::seconds(30);
  const size_t machine = memory_of_machine();
};

// Never destroyed: tensors may be freed while the process exits.
KeptBlocks &kept_blocks() {
  static auto &blocks = *new KeptBlocks();
  return blocks;
}

// The allocator ----------------------------------------------------------------------------------

std::atomic<bool> keeps_blocks{false};

// One for blocks of both kinds, also after keeping was switched off.
void free_block(void *pointer) {
  // Large blocks begin on a page; few blocks of the heap do.
  if ((reinterpret_cast<uintptr_t>(pointer) & 4095) == 0) {
    if (!pointer) {
      return;
    }
    if (auto size = kept_blocks().give_back(pointer)) {
      count_freed(size);
      return;
    }
  }
  count_freed(heap_block_size(pointer));
  c10::free_cpu(pointer);
}

struct CountingAllocator final : c10::Allocator {
  at::DataPtr allocate(size_t bytes) override {
    void *pointer = nullptr;
    if (bytes >= smallest && bytes <= largest && keeps_blocks.load(std::memory_order_relaxed)) {
      size_t size;
      pointer = kept_blocks().take(bytes, size);
      if (pointer) {
        count_given(size);
      }
    }
    if (!pointer && bytes) {
      // Throws libtorch's error where there is no memory.
      pointer = c10::alloc_cpu(bytes);
      count_given(heap_block_size(pointer));
    }
    return {pointer, pointer, &free_block, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }
  void copy_data(void *destination, const void *source, std::size_t count) const override {
    default_copy_data(destination, source, count);
  }
};

// The process ------------------------------------------------------------------------------------

#if defined(__linux__)
// Bytes that /proc/self/status names, or -1.
int64_t process_status(const char *key) {
  auto file = fopen("/proc/self/status", "r");
  if (!file) {
    return -1;
  }
  int64_t bytes = -1;
  char line[256];
  while (bytes < 0 && fgets(line, sizeof(line), file)) {
    long long kibibytes;
    if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), ": %lld", &kibibytes) == 1) {
      bytes = kibibytes * 1024;
    }
  }
  fclose(file);
  return bytes;
}
#endif

} // namespace

extern "C" {

void ct_memory_install(bool keep_blocks) {
  static const bool installed = [] {
    c10::SetCPUAllocator(new CountingAllocator(), /*priority=*/100);
    return true;
  }();
  (void)installed;
  if (keep_blocks) {
    static const bool watched = [] {
      try {
        std::thread([] { kept_blocks().watch(); }).detach();
      } catch (const std::exception &) {
        // Without it, blocks are kept longer.
      }
      return true;
    }();
    (void)watched;
  }
  keeps_blocks.store(keep_blocks, std::memory_order_relaxed);
  kept_blocks().set_keeping(keep_blocks);
}

void ct_memory_set_limits(int64_t kept_bytes, double idle_seconds) {
  kept_blocks().set_limits(kept_bytes < 0 ? SIZE_MAX : static_cast<size_t>(kept_bytes),
                           std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(idle_seconds)));
}

int64_t ct_memory_live(void) { return live_bytes.load(std::memory_order_relaxed); }
int64_t ct_memory_peak(void) { return peak_bytes.load(std::memory_order_relaxed); }
int64_t ct_memory_kept(void) { return static_cast<int64_t>(kept_blocks().bytes()); }
void ct_memory_reset_peak(void) { peak_bytes.store(ct_memory_live(), std::memory_order_relaxed); }

void ct_memory_trim(void) {
  kept_blocks().release();
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

int64_t ct_process_resident(void) {
#if defined(__linux__)
  return process_status("VmRSS");
#elif defined(__APPLE__)
  mach_task_basic_info info;
  mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
  auto status = task_info(mach_task_self(), MACH_TASK_BASIC_INFO, reinterpret_cast<task_info_t>(&info), &count);
  return status == KERN_SUCCESS ? static_cast<int64_t>(info.resident_size) : -1;
#else
  return -1;
#endif
}

int64_t ct_process_peak(void) {
#if defined(__linux__)
  return process_status("VmHWM");
#else
  rusage usage;
  return getrusage(RUSAGE_SELF, &usage) == 0 ? static_cast<int64_t>(usage.ru_maxrss) : -1;
#endif
}

bool ct_process_reset_peak(void) {
#if defined(__linux__)
  auto file = fopen("/proc/self/clear_refs", "w");
  if (!file) {
    return false;
  }
  bool written = fputs("5", file) >= 0;
  return fclose(file) == 0 && written;
#else
  return false;
#endif
}

} // extern "C"

#endif // libtorch was found
