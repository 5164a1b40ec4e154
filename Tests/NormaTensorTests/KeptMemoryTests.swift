#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

import NormaTensor
import Testing

// Each in a process of its own, where nothing else makes tensors: so the counts are exact.
#if compiler(>=6.2)
  private let mebibyte = 1 << 20

  private func block(_ bytes: Int) throws -> Tensor { try Tensor.empty([bytes], dtype: .uint8) }

  extension Tensor {
    fileprivate var address: Int { get throws { try withDataPointer { Int(bitPattern: $0) } } }
    fileprivate func set(_ value: Int) throws { _ = try withDataPointer { memset($0, Int32(value), count) } }
    fileprivate func holds(_ value: Int) throws -> Bool {
      try withDataPointer { start in
        let first = start.load(as: UInt8.self)
        return Int(first) == value && memcmp(start, start + 1, count - 1) == 0
      }
    }
  }

  @Suite struct KeptMemoryTests {
    @Test func freedBlocksAreReused() async {
      await #expect(processExitsWith: .success) {
        TensorMemory.install(.keepingFreedBlocks)
        var first: Tensor? = try block(10 * mebibyte)
        let address = try first?.address
        #expect(TensorMemory.liveBytes == 10 * mebibyte)
        #expect(TensorMemory.keptBytes == 0)
        first = nil
        #expect(TensorMemory.liveBytes == 0)
        #expect(TensorMemory.keptBytes == 10 * mebibyte)
        let second = try block(10 * mebibyte)
        #expect(try second.address == address)
        #expect(TensorMemory.keptBytes == 0)
        let third = try block(10 * mebibyte)
        #expect(try third.address != address)
        #expect(TensorMemory.liveBytes == 20 * mebibyte)
        withExtendedLifetime((second, third)) {}
      }
    }

    @Test func theBestFitThatWasUsedLastIsTaken() async {
      await #expect(processExitsWith: .success) {
        TensorMemory.install(.keepingFreedBlocks)
        var blocks = try [10, 12, 16, 12].map { try block($0 * mebibyte) }
        let addresses = try blocks.map { try $0.address }
        while !blocks.isEmpty { blocks.removeFirst() }
        #expect(TensorMemory.keptBytes == 50 * mebibyte)
        let eleven = try block(11 * mebibyte)
        #expect(try eleven.address == addresses[3])
        #expect(TensorMemory.liveBytes == 12 * mebibyte, "what was given out is counted")
        let again = try block(11 * mebibyte)
        #expect(try again.address == addresses[1])
        // 16 is more than a quarter above.
        let other = try block(11 * mebibyte)
        #expect(try !addresses.contains(other.address))
        #expect(TensorMemory.liveBytes == 35 * mebibyte)
        #expect(TensorMemory.keptBytes == 26 * mebibyte)
        withExtendedLifetime((eleven, again, other)) {}
      }
    }

    @Test func sizesAreRoundedUpByAnEighthAtMost() async {
      await #expect(processExitsWith: .success) {
        TensorMemory.install(.keepingFreedBlocks)
        for power in 16..<27 {
          for offset in [0, 1, 1000, 1 << (power - 3), (1 << (power - 1)) + 7, (1 << power) - 1] {
            let bytes = (1 << power) + offset
            let tensor = try block(bytes)
            let given = TensorMemory.liveBytes
            #expect(given >= bytes && given - bytes <= bytes / 8, "\(bytes) → \(given)")
            #expect(given % 4096 == 0)
            let address = try tensor.address
            #expect(address % (bytes >= 2 * mebibyte ? 2 * mebibyte : 64) == 0)
            try tensor.set(1)
            withExtendedLifetime(tensor) {}
            TensorMemory.returnUnused()
          }
        }
        #expect(TensorMemory.liveBytes == 0)
      }
    }

    @Test func smallBlocksAreNotKept() async {
      await #expect(processExitsWith: .success) {
        TensorMemory.install(.keepingFreedBlocks)
        do {
          // So many that some begin on a page as large ones do.
          let tensors = try (0..<2000).map { try block(100 + $0 * 30) }
          let asked = tensors.reduce(0) { $0 + $1.count }
          #expect(TensorMemory.liveBytes >= asked)
          #expect(TensorMemory.liveBytes < asked + 2000 * 256)
          for tensor in tensors { #expect(try tensor.address % 64 == 0) }
        }
        #expect(TensorMemory.liveBytes == 0)
        #expect(TensorMemory.keptBytes == 0)
      }
    }

    @Test func boundsHold() async {
      await #expect(processExitsWith: .success) {
        TensorMemory.install(.keepingFreedBlocks)
        // A quarter more than tensors have held at one time, those in use included: the longest unused ones go.
        _ = try block(8 * mebibyte)
        #expect(TensorMemory.keptBytes == 8 * mebibyte)
        _ = try block(16 * mebibyte)
        #expect(TensorMemory.keptBytes == 16 * mebibyte)
        var small: Tensor? = try block(3 * mebibyte)
        #expect(TensorMemory.keptBytes == 16 * mebibyte)
        small = nil
        #expect(TensorMemory.keptBytes == 19 * mebibyte)
        small = try block(2 * mebibyte)
        #expect(TensorMemory.keptBytes == 3 * mebibyte)
        small = nil
        #expect(TensorMemory.keptBytes == 5 * mebibyte)
        #expect(TensorMemory.peakBytes == 16 * mebibyte)
        withExtendedLifetime(small) {}

        // A given limit.
        TensorMemory.setLimits(keptBytes: 20 * mebibyte)
        var blocks = try (0..<3).map { _ in try block(8 * mebibyte) }
        let addresses = try blocks.map { try $0.address }
        while !blocks.isEmpty { blocks.removeFirst() }
        #expect(TensorMemory.keptBytes == 16 * mebibyte)
        blocks = try (0..<2).map { _ in try block(8 * mebibyte) }
        #expect(try blocks.map { try $0.address } == [addresses[2], addresses[1]])
        blocks = []
        TensorMemory.setLimits(keptBytes: 10 * mebibyte)
        #expect(TensorMemory.keptBytes == 8 * mebibyte)
        _ = try block(64 * mebibyte)
        #expect(TensorMemory.keptBytes == 0)
      }
    }

    @Test func returningGivesBackToTheSystem() async {
      await #expect(processExitsWith: .success) {
        TensorMemory.install(.keepingFreedBlocks)
        try block(512 * mebibyte).set(1)
        #expect(TensorMemory.keptBytes == 512 * mebibyte)
        let held = ProcessMemory.residentBytes
        TensorMemory.returnUnused()
        #expect(TensorMemory.keptBytes == 0)
        if let held, let left = ProcessMemory.residentBytes { #expect(left < held - 400 * mebibyte) }
        // What may be kept is measured anew.
        _ = try block(4 * mebibyte)
        _ = try block(2 * mebibyte)
        #expect(TensorMemory.keptBytes == 4 * mebibyte || TensorMemory.keptBytes == 2 * mebibyte)
      }
    }

    @Test func idleBlocksAreGivenBack() async {
      await #expect(processExitsWith: .success) {
        TensorMemory.install(.keepingFreedBlocks)
        _ = try block(4 * mebibyte)
        usleep(50_000)
        #expect(TensorMemory.keptBytes == 4 * mebibyte)
        TensorMemory.setLimits(idle: .milliseconds(20))
        for _ in 0..<500 where TensorMemory.keptBytes > 0 { usleep(10_000) }
        #expect(TensorMemory.keptBytes == 0)
        _ = try block(4 * mebibyte)
        for _ in 0..<500 where TensorMemory.keptBytes > 0 { usleep(10_000) }
        #expect(TensorMemory.keptBytes == 0)
      }
    }

    /// Every task sees only its own numbers in its blocks, and the counts are right in the end.
    @Test func manyThreads() async {
      await #expect(processExitsWith: .success) {
        TensorMemory.install(.keepingFreedBlocks)
        try await withThrowingTaskGroup(of: Void.self) { group in
          for task in 1...4 {
            group.addTask {
              var held: [Tensor] = []
              for step in 0..<400 {
                let tensor = try block((1 + (step * 7 + task * 3) % 30) * 40_000)
                try tensor.set(task)
                held.append(tensor)
                if held.count > 6 {
                  let old = held.remove(at: step % 6)
                  #expect(try old.holds(task))
                }
                if step % 100 == 99 { TensorMemory.returnUnused() }
              }
              for tensor in held { #expect(try tensor.holds(task)) }
            }
          }
          try await group.waitForAll()
        }
        #expect(TensorMemory.liveBytes == 0)
        #expect(TensorMemory.keptBytes <= TensorMemory.peakBytes)
        #expect(TensorMemory.peakBytes <= 4 * 8 * 30 * 40_000 * 5 / 4)
      }
    }

    @Test func contentsAreIntactAfterReuse() async {
      await #expect(processExitsWith: .success) {
        TensorMemory.install(.keepingFreedBlocks)
        let values = (0..<1_000_000).map { Float($0) }
        for _ in 0..<3 {
          let x = try Tensor(values)
          let y = try x + x
          let z = try y - x
          #expect(try z.array(of: Float.self) == values)
          #expect(try x.array(of: Float.self) == values)
        }
      }
    }

    /// Blocks know where they came from.
    @Test func allocatorsCanBeExchanged() async {
      await #expect(processExitsWith: .success) {
        var early: Tensor? = try block(4 * mebibyte)
        TensorMemory.install(.system)
        var counted: Tensor? = try block(4 * mebibyte)
        let size = TensorMemory.liveBytes
        #expect(size >= 4 * mebibyte && size < 5 * mebibyte)
        TensorMemory.install(.keepingFreedBlocks)
        var kept: Tensor? = try block(8 * mebibyte)
        early = nil
        #expect(TensorMemory.liveBytes == size + 8 * mebibyte)
        counted = nil
        #expect(TensorMemory.liveBytes == 8 * mebibyte)
        #expect(TensorMemory.keptBytes == 0)
        _ = try block(2 * mebibyte)
        #expect(TensorMemory.keptBytes == 2 * mebibyte)
        TensorMemory.install(.system)
        #expect(TensorMemory.keptBytes == 0)
        kept = nil
        #expect(TensorMemory.liveBytes == 0)
        #expect(TensorMemory.keptBytes == 0)
        withExtendedLifetime((early, counted, kept)) {}
      }
    }

    #if canImport(Glibc)
      /// Kept blocks make room before memory is said to be out, and the error is libtorch's.
      @Test func outOfMemory() async {
        await #expect(processExitsWith: .success) {
          TensorMemory.install(.keepingFreedBlocks)
          var blocks = try (0..<3).map { _ in try block(320 * mebibyte) }
          while !blocks.isEmpty { blocks.removeFirst() }
          #expect(TensorMemory.keptBytes == 960 * mebibyte)
          // From here on the process may have 100 MiB more of addresses.
          var line = [CChar](repeating: 0, count: 256)
          let file = try #require(fopen("/proc/self/statm", "r"))
          _ = fgets(&line, 256, file)
          fclose(file)
          let limit = rlim_t(atol(line) * sysconf(Int32(_SC_PAGESIZE)) + 100 * mebibyte)
          var limits = rlimit(rlim_cur: limit, rlim_max: limit)
          #expect(setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limits) == 0)
          // The bound lets 640 MiB stay, but then there is no room.
          do {
            let tensor = try block(448 * mebibyte)
            #expect(TensorMemory.keptBytes == 0)
            #expect(TensorMemory.liveBytes == 448 * mebibyte)
            withExtendedLifetime(tensor) {}
          }
          let error = #expect(throws: TensorError.self) { try block(2000 * mebibyte) }
          #expect(error?.message.contains("\(2000 * mebibyte) bytes") == true)
          #expect(TensorMemory.keptBytes == 0)
          #expect(TensorMemory.liveBytes == 0)
          #expect(TensorMemory.peakBytes == 960 * mebibyte)
        }
      }
    #endif

    @Test func processMemoryFollows() async {
      await #expect(processExitsWith: .success) {
        guard let before = ProcessMemory.residentBytes, ProcessMemory.peakResidentBytes != nil else { return }
        TensorMemory.install(.system)
        do {
          let tensor = try block(400 * mebibyte)
          try tensor.set(1)
          #expect(ProcessMemory.residentBytes! > before + 300 * mebibyte)
          withExtendedLifetime(tensor) {}
        }
        TensorMemory.returnUnused()
        #expect(ProcessMemory.residentBytes! < before + 200 * mebibyte)
        #expect(ProcessMemory.peakResidentBytes! > before + 300 * mebibyte)
        if ProcessMemory.resetPeak() {
          #expect(ProcessMemory.peakResidentBytes! < before + 200 * mebibyte)
        }
      }
    }
  }
#endif
