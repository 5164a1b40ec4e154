import Dispatch
import Synchronization

/// Prepares a series of elements on background threads, a bounded number ahead of the consumer.
///
/// Element i + depth is begun when element i is taken. So a slot is always free when an element is done:
/// workers never wait, which leaves nothing that could deadlock. Elements come out in order.
final class Prefetcher<Element: Sendable> {
  /// Prepares element `index`; may return `nil` once `isCancelled` says that nobody will take it.
  typealias Prepare = @Sendable (_ index: Int, _ isCancelled: () -> Bool) throws -> Element?

  let core: Core
  private let depth: Int
  private var position = 0
  private var waitNanoseconds: UInt64 = 0

  /// The time in seconds that `next()` spent waiting so far.
  var waitSeconds: Double { Double(waitNanoseconds) * 1e-9 }

  init(count: Int, depth: Int, workers: Int, prepare: @escaping Prepare) {
    precondition(depth > 0 && workers > 0, "a prefetcher needs a positive depth and a worker")
    self.depth = depth
    core = Core(count: count, depth: depth, workers: workers, prepare: prepare)
    for index in 0..<min(depth, count) { core.begin(index) }
  }

  deinit { core.cancel() }

  /// Waits for the next element; `nil` after the last one or after an error.
  func next() throws -> Element? {
    guard position < core.count else { return nil }
    let start = DispatchTime.now().uptimeNanoseconds
    let result = core.take(position)
    waitNanoseconds += DispatchTime.now().uptimeNanoseconds - start
    switch result {
    case .success(let element):
      core.begin(position + depth)
      position += 1
      return element
    case .failure(let error):
      position = core.count
      core.cancel()
      throw error
    }
  }

  /// What consumer and workers share; work under way keeps it alive, nothing else does after the prefetcher.
  final class Core: Sendable {
    let count: Int
    /// Entered once per element under way.
    let underWay = DispatchGroup()

    private let prepare: Prepare
    private let queues: [DispatchQueue]
    private let ready: [DispatchSemaphore]
    private let slots: Mutex<[Result<Element, any Error>?]>
    private let cancelled = Atomic(false)
    private let begun = Atomic(0)

    init(count: Int, depth: Int, workers: Int, prepare: @escaping Prepare) {
      self.count = count
      self.prepare = prepare
      queues = (0..<workers).map { DispatchQueue(label: "norma.loader.\($0)", qos: .userInitiated) }
      ready = (0..<depth).map { _ in DispatchSemaphore(value: 0) }
      slots = Mutex(Array(repeating: nil, count: depth))
    }

    var isCancelled: Bool { cancelled.load(ordering: .relaxed) }

    /// The number of elements whose preparation was begun.
    var begunCount: Int { begun.load(ordering: .relaxed) }

    func cancel() { cancelled.store(true, ordering: .relaxed) }

    func begin(_ index: Int) {
      if index >= count { return }
      queues[index % queues.count].async(group: underWay) { [self] in
        if isCancelled { return }
        begun.add(1, ordering: .relaxed)
        let result = Result { try prepare(index) { isCancelled } }
        let slot = index % ready.count
        switch result {
        case .success(.some(let element)): slots.withLock { $0[slot] = .success(element) }
        case .success(.none): return
        case .failure(let error): slots.withLock { $0[slot] = .failure(error) }
        }
        ready[slot].signal()
      }
    }

    func take(_ index: Int) -> Result<Element, any Error> {
      let slot = index % ready.count
      ready[slot].wait()
      return slots.withLock { slots in
        let result = slots[slot]!
        slots[slot] = nil
        return result
      }
    }
  }
}
