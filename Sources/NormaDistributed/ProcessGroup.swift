import CTorch
import NormaTensor
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The processes that train one network together, over libtorch's c10d (`TCPStore`, Gloo).
///
/// All processes call the same operations in the same order on each lane. An operation that cannot be completed throws a
/// ``WorkerError`` which names the rank that it failed for and why; the group is of no more use then.
public final class ProcessGroup: @unchecked Sendable {
  /// The group that synchronized statistics span and that trainers belong to; nil for a process of its own.
  @TaskLocal public static var current: ProcessGroup?
  /// Whether the samples that this process computes with count. One that has none left at the end of an epoch computes with
  /// another's, so that all processes call the same operations.
  @TaskLocal public static var counts = true

  /// This process, from 0.
  public let rank: Int
  /// How many there are.
  public let size: Int
  /// Seconds after which a process that does not answer is given up.
  public let timeout: Double

  /// Operations of different lanes do not wait for each other.
  public enum Lane: String, CaseIterable, Sendable {
    /// Statistics of norms, in the forward and the backward pass.
    case statistics
    case gradients
    /// What trainers agree on: losses, scores, the wish to stop.
    case control
  }

  private let environment: WorkerEnvironment
  private let store: KeyValueStore
  private let lanes: [Lane: Connections]
  private let traffic = Mutex<[Lane: Traffic]>([:])

  /// One lane's.
  private final class Connections: @unchecked Sendable {
    let handle: CTGroup
    init(_ handle: CTGroup) { self.handle = handle }
    deinit { ct_group_release(handle) }
  }

  /// What a lane has carried.
  public struct Traffic: Sendable, Equatable {
    /// Collective operations, and messages of this process to others.
    public var operations = 0
    /// Of the tensors that this process gave.
    public var bytes = 0
    /// How long callers waited.
    public var waitSeconds = 0.0
  }

  // MARK: - Beginning

  /// Meets the other processes.
  /// - Parameter timeout: seconds that everything may take that needs another process.
  /// - Throws: ``WorkerError`` when the store cannot be opened or reached, the processes do not agree on their number, a rank is
  ///   there twice, or one does not come.
  public init(_ environment: WorkerEnvironment, timeout: Double) throws {
    try Runtime.check()
    self.environment = environment
    (rank, size, self.timeout) = (environment.rank, environment.size, timeout)
    store = try Self.store(environment, timeout)
    let address =
      environment.interface == nil ? localAddress(towards: environment) : "that of \(environment.interface!)"
    do {
      try Self.meet(environment, store, address, timeout)
      lanes = try [Lane: Connections](
        uniqueKeysWithValues: Lane.allCases.map { [store] lane in
          guard
            let group = ct_group(
              store.handle, store.name(lane.rawValue), Int32(environment.rank), Int32(environment.size), address,
              environment.interface, timeout)
          else { throw TensorError.last("Gloo") }
          return (lane, Connections(group))
        })
    } catch let error as TensorError {
      throw WorkerError(
        "rank \(environment.rank) could not connect to the others (\(error.message.firstLine)); it is to be reached at \(address): "
          + "set GLOO_SOCKET_IFNAME to the network interface that the machines see each other by, or look whether one of them has ended"
      )
    }
  }

  private static func store(_ environment: WorkerEnvironment, _ timeout: Double) throws -> KeyValueStore {
    let keeps = environment.rank == 0 && !environment.storeIsElsewhere
    do {
      return try KeyValueStore(
        address: environment.address, port: environment.port, isServer: keeps,
        prefix: "norma/\(environment.attempt)/", seconds: timeout)
    } catch let error as TensorError {
      throw WorkerError(
        keeps
          ? "rank 0 could not open \(environment.store): another process with RANK 0 or another run may have the port; choose another "
            + "MASTER_PORT (libtorch: \(error.message.firstLine))"
          : "rank \(environment.rank) could not reach \(environment.store) in \(inWords(timeout)): "
            + (environment.storeIsElsewhere ? "torchrun keeps it" : "rank 0 keeps it; is it running there?")
            + " (libtorch: \(error.message.firstLine))")
    }
  }

  /// Every process tells of itself and waits for all others.
  private static func meet(
    _ environment: WorkerEnvironment, _ store: KeyValueStore, _ address: String, _ timeout: Double
  ) throws {
    let (rank, size) = (environment.rank, environment.size)
    let clock = ContinuousClock()
    let end = clock.now + .seconds(timeout)
    if let other = try store.claim("size", "\(size)"), other != "\(size)" {
      throw WorkerError("rank \(rank) was started with WORLD_SIZE \(size), another process with \(other)")
    }
    if let other = try store.claim("rank/\(rank)", "\(address) (process \(getpid()) on \(hostName))") {
      throw WorkerError(
        "rank \(rank) is there twice: \(other) has it already; every process needs a RANK of its own, from 0 to \(size - 1)"
      )
    }
    var places: [String] = []
    for other in 0..<size {
      let left = max(0.001, (end - clock.now) / .seconds(1))
      do { places.append(try store.text("rank/\(other)", seconds: left)) } catch {
        let missing = try (other..<size).filter { try !store.has("rank/\($0)") }
        throw WorkerError(
          missing.isEmpty
            ? "\(environment.store) was lost while the processes met"
            : "\(ranks(missing)) of WORLD_SIZE \(size) did not come in \(inWords(timeout))", rank: missing.first)
      }
    }
    let local = places.indices.filter { places[$0].hasPrefix("127.") }
    if !local.isEmpty, local.count < size, environment.interface == nil {
      throw WorkerError(
        "\(ranks(local)) would be reached by others at \(places[local[0]]), an address of the machine itself; give MASTER_ADDR as an address that "
          + "all machines know, or set GLOO_SOCKET_IFNAME")
    }
  }

  // MARK: - Operations

  /// What a process waits for.
  public struct Pending {
    fileprivate let group: ProcessGroup
    fileprivate let lane: Lane
    fileprivate let work: Work
    /// Kept until the end.
    fileprivate let tensors: [Tensor]

    fileprivate final class Work {
      private var handle: CTWork?
      init(_ handle: CTWork) { self.handle = handle }
      deinit { if let handle { ct_work_release(handle) } }
      func wait() -> Int32 {
        guard let handle else { return 0 }
        self.handle = nil
        return ct_work_wait(handle)
      }
    }

    /// - Throws: ``WorkerError`` when it cannot be completed.
    public func wait() throws {
      let clock = ContinuousClock()
      let start = clock.now
      let result = work.wait()
      group.traffic.withLock { $0[lane, default: Traffic()].waitSeconds += (clock.now - start) / .seconds(1) }
      guard result >= 0 else {
        throw group.cause(of: TensorError.last("Gloo"), after: (clock.now - start) / .seconds(1))
      }
    }
  }

  private func begin(
    _ lane: Lane, _ tensors: [Tensor], bytes: Int, _ body: (CTGroup) -> CTWork?
  ) throws -> Pending {
    guard let connections = lanes[lane], let work = withExtendedLifetime(tensors, { body(connections.handle) }) else {
      throw cause(of: TensorError.last("Gloo"), after: 0)
    }
    traffic.withLock {
      $0[lane, default: Traffic()].operations += bytes > 0 ? 1 : 0
      $0[lane, default: Traffic()].bytes += bytes
    }
    return Pending(group: self, lane: lane, work: Pending.Work(work), tensors: tensors)
  }

  /// Begins to replace the tensor, which is contiguous, by the sum over all processes; to be read after the wait. All processes
  /// have the same bits then.
  public func beginSum(_ tensor: Tensor, on lane: Lane) throws -> Pending {
    try begin(lane, [tensor], bytes: tensor.count * tensor.dtype.size) { ct_group_all_reduce($0, tensor.handle) }
  }

  /// The sum of a few numbers over all processes, the same bits in all.
  ///
  /// Processes exchange their sums in pairs at distances 1, 2, 4, …: so many times the latency of a message as the number of processes has bits, where
  /// Gloo's own ring takes 2 (size − 1) times. Beyond a power of two, the rest hand theirs in and get the sum.
  ///
  /// Thakur, Rabenseifner & Gropp 2005, "Optimization of Collective Communication Operations in MPICH", section 4.5 (recursive doubling).
  public func sum(_ values: [Double], on lane: Lane = .control) throws -> [Double] {
    var values = values
    let cube = 1 << (Int.bitWidth - 1 - size.leadingZeroBitCount)
    func exchange(with other: Int, sends: Bool = true, receives: Bool = true) throws -> [Double] {
      let (own, given) = (try Tensor(values), try Tensor.empty([values.count], dtype: .float64))
      let bytes = values.count * DType.float64.size
      let sent = try sends ? begin(lane, [own], bytes: bytes) { ct_group_send($0, own.handle, Int32(other)) } : nil
      let received =
        try receives ? begin(lane, [given], bytes: 0) { ct_group_receive($0, given.handle, Int32(other)) } : nil
      try received?.wait()
      try sent?.wait()
      return receives ? try given.array() : []
    }
    func add(_ others: [Double]) { for index in values.indices { values[index] += others[index] } }
    if rank >= cube {
      _ = try exchange(with: rank - cube, receives: false)
      return try exchange(with: rank - cube, sends: false)
    }
    if rank + cube < size { add(try exchange(with: rank + cube, sends: false)) }
    var distance = 1
    while distance < cube {
      add(try exchange(with: rank ^ distance))
      distance *= 2
    }
    if rank + cube < size { _ = try exchange(with: rank + cube, receives: false) }
    return values
  }

  /// Replaces the tensors' elements by those of another process.
  public func broadcast(_ tensors: [Tensor], from root: Int = 0) throws {
    try withoutGradients {
      for tensor in tensors where tensor.count > 0 {
        let plain = try tensor.detached().contiguous()
        try begin(.control, [plain], bytes: plain.count * plain.dtype.size) {
          ct_group_broadcast($0, plain.handle, Int32(root))
        }.wait()
        if rank != root, !tensor.isContiguous() { try tensor.copy(from: plain) }
      }
    }
  }

  /// What every process gives, by rank. The counts may differ.
  public func gather(_ bytes: [UInt8]) throws -> [[UInt8]] {
    let counts = try gather(Tensor([Int64(bytes.count)])).array(of: Int64.self).map(Int.init)
    let most = max(1, counts.max() ?? 0)
    let all = try gather(Tensor(bytes + [UInt8](repeating: 0, count: most - bytes.count))).array(of: UInt8.self)
    return counts.enumerated().map { Array(all[$0 * most..<$0 * most + $1]) }
  }

  /// A number of every process, by rank.
  public func gather(_ number: Double) throws -> [Double] { try gather(Tensor([number])).array() }

  /// Vectors of the same extent one after the other.
  private func gather(_ tensor: Tensor) throws -> Tensor {
    let all = try Tensor.zeros([size * tensor.count], dtype: tensor.dtype)
    try begin(.control, [all, tensor], bytes: tensor.count * tensor.dtype.size) {
      ct_group_all_gather($0, all.handle, tensor.handle)
    }.wait()
    return all
  }

  /// What a lane has carried so far.
  public func carried(on lane: Lane) -> Traffic { traffic.withLock { $0[lane, default: Traffic()] } }

  // MARK: - Ending

  /// Tells the others why this process ends before its time, for what they say then.
  public func tell(failure message: String) { try? store.set("failed/\(rank)", message) }

  /// ``tell(failure:)``, and whether rank 0, another one, ends for the same reason and need not be repeated.
  public func isTold(failure message: String) -> Bool {
    tell(failure: message)
    if rank == 0 {
      // Keeps the store for those that look.
      farewell([])
      return false
    }
    defer { try? store.set("left/\(rank)", "") }
    return (try? store.text("failed/0", seconds: 2)) == message
  }

  /// Waits until all processes are here, so that none sees another one end too early. Call it last.
  public func leave() throws {
    _ = try sum([0])
    // Who keeps the store goes last.
    try? store.set("left/\(rank)", "")
    if rank == 0, !environment.storeIsElsewhere {
      for other in 1..<max(1, size) where size > 1 { _ = try? store.text("left/\(other)", seconds: 5) }
    }
  }

  /// What a failed operation is to be blamed on, found out by which processes still answer at the store.
  private func cause(of error: any Error, after seconds: Double) -> any Error {
    guard let error = error as? TensorError else { return error }
    let isLate = seconds >= timeout * 0.9
    let found: WorkerError
    do { found = try blame(error.message.firstLine, isLate: isLate) } catch {
      found = WorkerError(
        environment.storeIsElsewhere
          ? "\(environment.store) was lost, which torchrun keeps"
          : "rank 0 was lost, and \(environment.store) with it: its process ended or was killed, or its machine is gone",
        rank: environment.storeIsElsewhere ? nil : 0)
    }
    return found
  }

  private func blame(_ message: String, isLate: Bool) throws -> WorkerError {
    try store.set("stopped/\(rank)", "")
    let clock = ContinuousClock()
    // Others find out by themselves, at about the same time.
    let end = clock.now + .seconds(min(max(2, timeout / 10), 10))
    var silent = (0..<size).filter { $0 != rank }
    while true {
      for other in 0..<size where try other != rank && store.has("failed/\(other)") {
        let reason = try store.text("failed/\(other)", seconds: 1)
        farewell([other])
        return WorkerError("rank \(other) of \(size) failed: \(reason)", rank: other)
      }
      silent = try silent.filter { try !store.has("stopped/\($0)") }
      if silent.isEmpty || clock.now >= end { break }
      usleep(20_000)
    }
    farewell(silent)
    if silent.isEmpty {
      return WorkerError(
        "the connection between the \(size) processes was lost (\(message)), though all are there still")
    }
    return WorkerError(
      isLate
        ? "\(Self.ranks(silent)) of \(size) did not answer in \(Self.inWords(timeout)): hanging, or the machine or its network is gone"
        : "\(Self.ranks(silent)) of \(size) was lost: the process ended or was killed, or its machine is gone (\(message))",
      rank: silent.first)
  }

  /// Who keeps the store stays until those have looked into it who still can.
  private func farewell(_ gone: [Int]) {
    try? store.set("left/\(rank)", "")
    guard rank == 0, !environment.storeIsElsewhere else { return }
    for other in 1..<size where !gone.contains(other) { _ = try? store.text("left/\(other)", seconds: 3) }
  }

  private static func ranks(_ ranks: [Int]) -> String {
    (ranks.count == 1 ? "rank " : "ranks ") + ranks.map(String.init).joined(separator: ", ")
  }

  private static func inWords(_ seconds: Double) -> String {
    let text = seconds == seconds.rounded() ? "\(Int(seconds))" : "\(seconds)"
    return "\(text) s (--worker-timeout)"
  }
}
