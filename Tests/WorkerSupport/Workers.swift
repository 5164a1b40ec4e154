import Foundation
import NormaDistributed
import Synchronization

/// Runs the body once per rank, each on a thread of its own with a group of its own, connected over the loopback interface as
/// processes are.
/// - Returns: what the ranks return, in order.
/// - Throws: the error of the lowest rank that throws.
public func withWorkers<Result>(
  _ count: Int, timeout: Double = 60, _ body: @escaping @Sendable (ProcessGroup) throws -> Result
) throws -> [Result] {
  let port = try freePort()
  let results = Results<Result>(count)
  let threads = (0..<count).map { rank in
    let thread = Thread {
      results.set(
        rank,
        Swift.Result {
          let group = try ProcessGroup(WorkerEnvironment(rank: rank, size: count, port: port), timeout: timeout)
          return try ProcessGroup.$current.withValue(group) {
            do {
              let result = try body(group)
              try group.leave()
              return result
            } catch {
              group.tell(failure: "\(error)")
              throw error
            }
          }
        })
    }
    thread.stackSize = 16 << 20
    thread.start()
    // Who finds no store yet tries again only after a second.
    if rank == 0 { usleep(50_000) }
    return thread
  }
  results.wait()
  withExtendedLifetime(threads) {}
  return try results.all.map { try $0.get() }
}

private final class Results<Value>: @unchecked Sendable {
  private let condition = NSCondition()
  private var found: [Result<Value, any Error>?]

  init(_ count: Int) { found = Array(repeating: nil, count: count) }

  func set(_ rank: Int, _ result: Result<Value, any Error>) {
    condition.withLock {
      found[rank] = result
      condition.signal()
    }
  }

  func wait() {
    condition.withLock { while found.contains(where: { $0 == nil }) { condition.wait() } }
  }

  var all: [Result<Value, any Error>] { found.compactMap { $0 } }
}
