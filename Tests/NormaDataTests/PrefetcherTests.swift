import Dispatch
import Synchronization
import Testing

@testable import NormaData

@Suite struct PrefetcherTests {
  private struct Broken: Error {}

  private struct WeakReference {
    weak var core: Prefetcher<Int>.Core?
  }

  @Test(arguments: [1, 2, 3], [1, 2, 5])
  func elementsComeInOrder(workers: Int, depth: Int) throws {
    let prefetcher = Prefetcher<Int>(count: 23, depth: depth, workers: workers) { index, _ in index * index }
    var received: [Int] = []
    while let element = try prefetcher.next() { received.append(element) }
    #expect(received == (0..<23).map { $0 * $0 })
    #expect(try prefetcher.next() == nil)
  }

  @Test func nothingToDoEndsAtOnce() throws {
    let prefetcher = Prefetcher<Int>(count: 0, depth: 3, workers: 1) { index, _ in index }
    #expect(try prefetcher.next() == nil)
  }

  @Test func errorsReachTheConsumerInTheirPlace() throws {
    let prefetcher = Prefetcher<Int>(count: 10, depth: 4, workers: 2) { index, _ in
      if index == 3 { throw Broken() }
      return index
    }
    for index in 0..<3 { #expect(try prefetcher.next() == index) }
    #expect(throws: Broken.self) { try prefetcher.next() }
    #expect(try prefetcher.next() == nil)
    #expect(prefetcher.core.isCancelled)
  }

  @Test func preparesNoMoreThanTheDepthAhead() throws {
    let prefetcher = Prefetcher<Int>(count: 100, depth: 3, workers: 2) { index, _ in index }
    prefetcher.core.underWay.wait()
    #expect(prefetcher.core.begunCount == 3)
    _ = try prefetcher.next()
    prefetcher.core.underWay.wait()
    #expect(prefetcher.core.begunCount == 4)
  }

  /// A worker is held inside element 1 while the consumer lets go.
  @Test func abandonedWorkStopsAndIsFreed() throws {
    let entered = DispatchSemaphore(value: 0)
    let proceed = DispatchSemaphore(value: 0)
    let sawCancellation = Mutex(false)
    var prefetcher: Prefetcher<Int>? = Prefetcher(count: 1000, depth: 4, workers: 1) { index, isCancelled in
      if index < 1 { return index }
      entered.signal()
      proceed.wait()
      sawCancellation.withLock { $0 = isCancelled() }
      return nil
    }
    #expect(try prefetcher?.next() == 0)
    entered.wait()
    let reference = WeakReference(core: prefetcher?.core)
    let underWay = try #require(prefetcher).core.underWay
    prefetcher = nil
    #expect(reference.core?.isCancelled == true)
    proceed.signal()
    // Returns although elements 2 to 4 were queued and would wait for `proceed` if they were begun.
    underWay.wait()
    #expect(sawCancellation.withLock { $0 })
    // The last block may be released a moment after its group is left.
    for _ in 0..<1000 where reference.core != nil {
      _ = DispatchSemaphore(value: 0).wait(timeout: .now() + .milliseconds(1))
    }
    #expect(reference.core == nil)
  }

  @Test func waitingIsCounted() throws {
    let prefetcher = Prefetcher<Int>(count: 2, depth: 1, workers: 1) { index, _ in index }
    #expect(prefetcher.waitSeconds == 0)
    _ = try prefetcher.next()
    let first = prefetcher.waitSeconds
    #expect(first > 0)
    _ = try prefetcher.next()
    #expect(prefetcher.waitSeconds > first)
  }
}
