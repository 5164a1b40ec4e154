import Foundation
import NormaDistributed
import Synchronization
import TestSupport

/// Runs the body once per rank, each on a thread of its own with a group of its own, connected over the loopback interface as
/// processes are.
/// - Returns: what the ranks return, in order.
/// - Throws: the error of the lowest rank that throws.
public func withWorkers<Value>(
  _ count: Int, timeout: Double = 60, _ body: @escaping @Sendable (ProcessGroup) throws -> Value
) throws -> [Value] {
  try workerResults(count, timeout: timeout, body).map { try $0.get() }
}

/// ``withWorkers(_:timeout:_:)`` with the errors that the ranks end with.
public func workerResults<Value>(
  _ count: Int, timeout: Double = 60, _ body: @escaping @Sendable (ProcessGroup) throws -> Value
) throws -> [Result<Value, any Error>] {
  precondition(NameService.isBrief)
  let socket = try ListeningSocket()
  let port = socket.port
  let store = socket.release()
  let results = Results<Value>(count)
  let threads = (0..<count).map { rank in
    let thread = Thread {
      results.set(
        rank,
        Result {
          var environment = WorkerEnvironment(rank: rank, size: count, port: port)
          environment.listeningSocket = store
          let group = try ProcessGroup(environment, timeout: timeout)
          return try ProcessGroup.$current.withValue(group) {
            do {
              let result = try body(group)
              try group.leave()
              return result
            } catch {
              // As a process does that ends with it.
              if !(error is WorkerError) { group.tell(failure: "\(error)") }
              throw error
            }
          }
        })
    }
    thread.stackSize = 16 << 20
    thread.start()
    return thread
  }
  results.wait()
  withExtendedLifetime(threads) {}
  return results.all
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
