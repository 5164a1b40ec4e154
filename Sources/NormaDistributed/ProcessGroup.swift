import CTorch
import Dispatch
import NormaTensor
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The processes that train one network together, over libtorch's c10d (`TCPStore`; Gloo, and NCCL for tensors on CUDA devices).
///
/// All processes call the same operations in the same order on each lane. An operation that cannot be completed throws a
/// ``WorkerError`` which names the rank that it failed for and why; the group is of no more use then.
public final class ProcessGroup: @unchecked Sendable {
  /// The group that synchronized statistics span and that trainers belong to; nil for a process of its own.
  @TaskLocal public static var current: ProcessGroup?
  /// Whether the samples that this process computes with count. One that has none left at the end of an epoch computes with
  /// another's, so that all processes call the same operations.
  @TaskLocal public static var counts = true

  /// Whether this process reads and writes for all: rank 0, and one of its own.
  public static var leads: Bool { current.map { $0.rank == 0 } ?? true }

  /// This process, from 0.
  public let rank: Int
  /// How many there are.
  public let size: Int
  /// The ranks on this one's machine, itself among them.
  public private(set) var ranksOnThisMachine: [Int] = []
  /// This process's number among them, from 0, unless `LOCAL_RANK` tells another.
  public var localRank: Int { environment.localRank ?? ranksOnThisMachine.firstIndex(of: rank)! }
  /// Seconds after which a process that does not answer is given up.
  public let timeout: Double

  /// Operations of different lanes do not wait for each other; those on CUDA devices, which one connection of NCCL carries, do.
  public enum Lane: String, CaseIterable, Sendable {
    /// Statistics of norms, in the forward and the backward pass.
    case statistics
    case gradients
    /// What trainers agree on: losses, scores, the wish to stop.
    case control
  }

  let environment: WorkerEnvironment
  let store: KeyValueStore
  private let lanes: [Lane: Connections]
  /// For tensors on CUDA devices, from the first on.
  let devices = Mutex<Connections?>(nil)
  let connectingDevices = Mutex<Void>(())
  private let traffic = Mutex<[Lane: Traffic]>([:])
  private let failures = Atomic<Int>(0)
  private let spans = Mutex<(lane: Lane, all: [Span])?>(nil)
  private let lastLook = Mutex(ContinuousClock.now)
  /// A message that is being waited for, which cannot be done in pieces.
  private let watched = Mutex<(work: Pending.Work, since: ContinuousClock.Instant)?>(nil)
  private var watch: (any DispatchSourceTimer)?

  /// One lane's, or those of devices.
  final class Connections: @unchecked Sendable {
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
    do { try Self.meet(environment, store, address, timeout) } catch let error as WorkerError { throw error } catch {
      throw WorkerError("\(environment.store) was lost while the processes met", rank: environment.storeRank)
    }
    do {
      lanes = try [Lane: Connections](
        uniqueKeysWithValues: Lane.allCases.map { [store] lane in
          let connections = try store.answer(within: timeout) {
            guard
              let group = ct_group(
                store.handle, store.name(lane.rawValue), Int32(environment.rank), Int32(environment.size), address,
                environment.interface, timeout)
            else { throw TensorError.last("Gloo") }
            return Connections(group)
          }
          return (lane, connections)
        })
    } catch {
      Self.farewell(environment, store, to: Array(0..<environment.size), seconds: 2)
      let reason = Self.reason(of: error) ?? "no answer in \(Self.inWords(timeout))"
      throw WorkerError(
        "rank \(environment.rank) could not connect to the others (\(reason)); it is to be reached at \(address): "
          + "set GLOO_SOCKET_IFNAME to the network interface that the machines see each other by, or look whether one of them has ended"
      )
    }
    startWatching()
    let machine = Array(machineName.utf8)
    do {
      ranksOnThisMachine = try gather(machine).enumerated().filter { $0.element == machine }.map(\.offset)
    } catch {
      // Released, it would wait for the operation that has failed.
      _ = Unmanaged.passRetained(self)
      throw error
    }
  }

  deinit {
    watch?.cancel()
    abandonDevices(isFailure: false)
  }

  /// Has whoever waits for a message look around once another process has told of a failure or the store is lost.
  private func startWatching() {
    let timer = DispatchSource.makeTimerSource(queue: DispatchQueue(label: "norma.watch"))
    timer.schedule(deadline: .now() + 1, repeating: 1)
    timer.setEventHandler { [weak self] in
      guard let self, watched.withLock({ $0.map { ContinuousClock.now - $0.since >= .seconds(1) } ?? false }),
        !store.isSilent
      else { return }
      let isTrouble: Bool
      do { isTrouble = try store.has("trouble") } catch { isTrouble = !(error is KeyValueStore.Silence) }
      if isTrouble { watched.withLock { $0?.work.interrupt() } }
    }
    timer.resume()
    watch = timer
  }

  private static func store(_ environment: WorkerEnvironment, _ timeout: Double) throws -> KeyValueStore {
    func open(isServer: Bool, seconds: Double) throws -> KeyValueStore {
      try KeyValueStore(
        address: environment.address, port: environment.port, isServer: isServer,
        listeningSocket: isServer ? environment.listeningSocket : nil, prefix: "norma/\(environment.attempt)/",
        seconds: seconds)
    }
    // The number is soon another file's.
    if environment.keepsStore, getenv(WorkerEnvironment.socketVariable) != nil {
      unsetenv(WorkerEnvironment.socketVariable)
    }
    do { return try open(isServer: environment.keepsStore, seconds: timeout) } catch {
      let reason = reason(of: error) ?? "it does not answer"
      guard environment.keepsStore else {
        throw WorkerError(
          "rank \(environment.rank) could not reach \(environment.store) in \(inWords(timeout)): "
            + (environment.storeIsElsewhere
              ? "torchrun keeps it; is it running there?"
              : "rank 0 keeps it; is it running there, with this MASTER_ADDR and MASTER_PORT?"),
          rank: environment.storeRank)
      }
      // Who has the port may be another rank 0, which says so. libtorch asks for the name of each address that it connects to, which takes ten
      // seconds where no name service answers.
      let other =
        "\(error)".contains("already in use")
        ? try? open(isServer: false, seconds: min(timeout, 12)).text("rank/0", seconds: 1) : nil
      throw WorkerError(
        other.map { isTwice(environment, $0) }
          ?? "rank 0 could not open \(environment.store): another run may have the port; choose another MASTER_PORT (\(reason))"
      )
    }
  }

  private static func isTwice(_ environment: WorkerEnvironment, _ other: String) -> String {
    "rank \(environment.rank) is there twice: \(other) has it already; every process needs a RANK of its own, from 0 to "
      + "\(environment.size - 1), and every run a MASTER_PORT of its own"
  }

  /// Every process tells of itself and waits for all others.
  private static func meet(
    _ environment: WorkerEnvironment, _ store: KeyValueStore, _ address: String, _ timeout: Double
  ) throws {
    let (rank, size) = (environment.rank, environment.size)
    // All end at once, with the same words.
    func over(_ message: String, rank: Int? = nil) throws -> Never {
      let first = try store.claim("over", message)
      farewell(environment, store, to: Array(0..<size), seconds: 2)
      throw WorkerError(first ?? message, rank: rank)
    }
    let clock = ContinuousClock()
    let end = clock.now + .seconds(timeout)
    if let other = try store.claim("size", "\(size)"), other != "\(size)" {
      try over("rank \(rank) was started with WORLD_SIZE \(size), another process with \(other)")
    }
    if let other = try store.claim("rank/\(rank)", "\(address) (process \(getpid()) on \(hostName))") {
      throw WorkerError(isTwice(environment, other))
    }
    var missing = Array(0..<size)
    while true {
      missing = try missing.filter { try !store.has("rank/\($0)") }
      if missing.isEmpty { break }
      if let reason = try store.found("over") { try over(reason) }
      if clock.now >= end {
        try over("\(ranks(missing)) of WORLD_SIZE \(size) did not come in \(inWords(timeout))", rank: missing[0])
      }
      usleep(50_000)
    }
    let places = try (0..<size).map { try store.text("rank/\($0)", seconds: 1) }
    let local = places.indices.filter { places[$0].hasPrefix("127.") }
    if !local.isEmpty, local.count < size, environment.interface == nil {
      try over(
        "\(ranks(local)) would be reached by others at \(places[local[0]]), an address of the machine itself; give MASTER_ADDR as an address that "
          + "all machines know, or set GLOO_SOCKET_IFNAME")
    }
  }

  // MARK: - Operations

  /// What a process waits for.
  public struct Pending {
    let group: ProcessGroup
    let lane: Lane
    let work: Work
    /// Kept until the end.
    let tensors: [Tensor]
    let kind: Kind

    enum Kind {
      case collective
      /// Of two processes alone.
      case message
      /// Collective, on CUDA devices.
      case device
    }

    final class Work: @unchecked Sendable {
      private let handle: CTWork
      init(_ handle: CTWork) { self.handle = handle }
      deinit { ct_work_release(handle) }
      /// Whether it has come to its end in so many seconds.
      func wait(_ seconds: Double) throws -> Bool {
        let result = ct_work_wait(handle, seconds)
        guard result >= 0 else { throw TensorError.last("Gloo") }
        return result == 0
      }
      func waitOnDevice(_ seconds: Double) throws -> Bool {
        let result = ct_work_wait_on_device(handle, seconds)
        guard result >= 0 else { throw TensorError.last("NCCL") }
        return result == 0
      }
      func interrupt() { ct_work_interrupt(handle) }
    }

    /// - Throws: ``WorkerError`` when it cannot be completed.
    public func wait() throws {
      let clock = ContinuousClock()
      let start = clock.now
      defer {
        group.traffic.withLock { $0[lane, default: Traffic()].waitSeconds += (clock.now - start) / .seconds(1) }
      }
      do {
        // Who fails or gives up says so, since the others might not see it by their connections before their own time-out.
        switch kind {
        case .collective:
          while try !work.wait(1) { try group.look() }
        case .message:
          group.watched.withLock { $0 = (work, start) }
          defer { group.watched.withLock { $0 = nil } }
          while try !work.wait(0) { try group.look() }
        case .device:
          while try !work.waitOnDevice(min(1, group.timeout)) {
            try group.look()
            guard clock.now - start < .seconds(group.timeout) else { throw group.blame("NCCL timed out", isLate: true) }
          }
        }
        try group.lookNowAndThen()
      } catch {
        // The others are told first.
        let cause = error is WorkerError ? error : group.cause(of: error)
        if kind == .device { group.abandonDevices(isFailure: true) }
        throw cause
      }
    }
  }

  private func begin(
    _ lane: Lane, _ tensors: [Tensor], bytes: Int, _ kind: Pending.Kind = .collective, _ body: (CTGroup) -> CTWork?
  ) throws -> Pending {
    let device = tensors.first { $0.device.isCUDA }?.device
    let connections = try device.map { try deviceConnections($0) } ?? lanes[lane]!
    guard let work = withExtendedLifetime(tensors, { body(connections.handle) }) else {
      throw cause(of: TensorError.last(device == nil ? "Gloo" : "NCCL"))
    }
    traffic.withLock {
      $0[lane, default: Traffic()].operations += bytes > 0 ? 1 : 0
      $0[lane, default: Traffic()].bytes += bytes
    }
    return Pending(
      group: self, lane: lane, work: Pending.Work(work), tensors: tensors, kind: device == nil ? kind : .device)
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
    let begin = machineSeconds()
    defer { spans.withLock { if lane == $0?.lane { $0?.all.append(Span(begin: begin, end: machineSeconds())) } } }
    var values = values
    let cube = 1 << (Int.bitWidth - 1 - size.leadingZeroBitCount)
    func exchange(with other: Int, sends: Bool = true, receives: Bool = true) throws -> [Double] {
      let (own, given) = (try Tensor(values), try Tensor.empty([values.count], dtype: .float64))
      // With a new turn on its core, since Gloo sends on this thread: were the turn to end in the middle, Gloo's reading thread would take the core and
      // try for milliseconds to get the connection, which this thread holds.
      sched_yield()
      func begin(_ tensor: Tensor, bytes: Int, _ body: (CTGroup, CTTensor, Int32) -> CTWork?) throws -> Pending {
        try self.begin(lane, [tensor], bytes: bytes, .message) { body($0, tensor.handle, Int32(other)) }
      }
      let sent = try sends ? begin(own, bytes: values.count * own.dtype.size, ct_group_send) : nil
      let received = try receives ? begin(given, bytes: 0, ct_group_receive) : nil
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
  public func gather<Element: TensorElement>(_ elements: [Element]) throws -> [[Element]] {
    let counts: [Int64] = try gather(Tensor([Int64(elements.count)])).array()
    let most = max(1, counts.max().map(Int.init) ?? 0)
    let own = try Tensor.zeros([most], dtype: Element.dtype)
    try own.sliced(0..<elements.count).copy(from: Tensor(elements))
    let all: [Element] = try gather(own).array()
    return counts.enumerated().map { Array(all[$0 * most..<$0 * most + Int($1)]) }
  }

  /// Vectors of the same extent one after the other.
  private func gather(_ tensor: Tensor) throws -> Tensor {
    let all = try Tensor.zeros([size * tensor.count], dtype: tensor.dtype)
    try begin(.control, [all, tensor], bytes: tensor.count * tensor.dtype.size) {
      ct_group_all_gather($0, all.handle, tensor.handle)
    }.wait()
    return all
  }

  /// What rank 0 gives.
  public func lead<Element: TensorElement>(_ elements: [Element]) throws -> [Element] {
    try gather(rank == 0 ? elements : [])[0]
  }

  /// What rank 0 gives.
  public func lead(_ text: String) throws -> String { String(decoding: try lead(Array(text.utf8)), as: UTF8.self) }

  /// When a sum of this process began and ended, in seconds of the machine's clock, which its processes share.
  public struct Span: Sendable {
    public let begin: Double
    public let end: Double
  }

  /// Runs the body and takes the times of the ``sum(_:on:)``s of a lane in it.
  public func timingSums<Result>(on lane: Lane, _ body: () throws -> Result) rethrows -> (result: Result, spans: [Span])
  {
    spans.withLock { $0 = (lane, []) }
    let result = try body()
    let found = spans.withLock { spans in
      defer { spans = nil }
      return spans?.all ?? []
    }
    return (result, found)
  }

  /// What a lane has carried so far.
  public func carried(on lane: Lane) -> Traffic { traffic.withLock { $0[lane, default: Traffic()] } }

  // MARK: - Ending

  /// Tells the others why this process ends before its time, for what they say then.
  public func tell(failure message: String) {
    try? store.set("failed/\(rank)", message)
    _ = try? store.claim("trouble", message)
  }

  /// Whether all processes have failed at the same place, in the same call of this, so that they can go on with something else together. One alone cannot: the
  /// others wait for it in the middle of something.
  public func allFail(with message: String) -> Bool {
    let number = failures.add(1, ordering: .relaxed).newValue
    try? store.set("failure/\(number)/\(rank)", message)
    return (0..<size).allSatisfy { (try? store.text("failure/\(number)/\($0)", seconds: 10)) != nil }
  }

  /// ``tell(failure:)``, and whether rank 0, another one, ends for the same reason and need not be repeated.
  public func isTold(failure message: String) -> Bool {
    tell(failure: message)
    defer { farewell(to: Array(0..<size), seconds: 10) }
    return rank > 0 && (try? store.text("failed/0", seconds: 2)) == message
  }

  /// Waits until all processes are here, so that none sees another one end too early. Call it last.
  public func leave() throws {
    _ = try sum([0])
    farewell(to: Array(0..<size), seconds: 5)
  }

  /// Looks whether somebody has told of a failure. A store that does not answer tells nothing: connections will.
  /// - Throws: ``WorkerError``, also where the store is lost.
  private func look() throws {
    guard !store.isSilent else { return }
    do {
      guard let reason = try store.found("trouble") else { return }
      throw blame(reason, isLate: false)
    } catch is KeyValueStore.Silence {
    } catch let error as TensorError { throw blame(error.message.reason, isLate: false) }
  }

  /// ``look()``, for the loss of a store that no operation needs, as torchrun's.
  private func lookNowAndThen() throws {
    let now = ContinuousClock.now
    let isDue = lastLook.withLock { last in
      guard now - last >= .seconds(min(max(1, timeout / 4), 10)) else { return false }
      last = now
      return true
    }
    if isDue { try look() }
  }

  /// What libtorch says.
  static func reason(of error: any Error) -> String? { (error as? TensorError)?.message.reason }

  /// What a failed operation is to be blamed on.
  private func cause(of error: any Error) -> any Error {
    guard let reason = Self.reason(of: error) else { return error }
    return blame(reason, isLate: reason.contains("imed out") || reason.contains("timeout"))
  }

  func blame(_ reason: String, isLate: Bool) -> WorkerError {
    do { return try found(reason, isLate: isLate) } catch {
      let isSilent = error is KeyValueStore.Silence
      if environment.storeIsElsewhere {
        return WorkerError(
          "\(environment.store), which torchrun keeps, \(isSilent ? "does not answer" : "was lost")" + Self.advice)
      }
      return WorkerError(
        isSilent
          ? "rank 0 of \(size) did not answer, nor did \(environment.store), which it keeps: hanging, or the machine or its network is gone"
            + Self.advice
          : "rank 0 of \(size) was lost, and \(environment.store) with it: the process ended or was killed, or its machine is gone"
            + Self.advice,
        rank: 0)
    }
  }

  private static let advice = "; go on from the last checkpoint with --resume"

  /// Found out by which processes still answer at the store.
  private func found(_ reason: String, isLate: Bool) throws -> WorkerError {
    try store.set("stopped/\(rank)", "")
    if isLate { try store.set("late", "") }
    let first = try store.claim("trouble", reason) ?? reason
    let clock = ContinuousClock()
    // Others find out by themselves, or hear of it while they wait.
    let end = clock.now + .seconds(min(max(2, timeout / 10), 10))
    var silent = (0..<size).filter { $0 != rank }
    while true {
      for other in 0..<size where other != rank {
        guard let reason = try store.found("failed/\(other)") else { continue }
        farewell(to: (0..<size).filter { $0 != other }, seconds: 3)
        return WorkerError("rank \(other) of \(size) failed: \(reason)", rank: other)
      }
      silent = try silent.filter { try !store.has("stopped/\($0)") }
      if silent.isEmpty || clock.now >= end { break }
      usleep(20_000)
    }
    let someIsLate = try store.has("late")
    farewell(to: (0..<size).filter { !silent.contains($0) }, seconds: 3)
    if silent.isEmpty {
      return WorkerError(
        someIsLate && !isLate
          ? "rank \(rank) of \(size), this one, did not answer the others in \(Self.inWords(timeout)): stopped, or busy for longer"
            + Self.advice
          : "the connection between the \(size) processes was lost (\(first)), though all are there still" + Self.advice
      )
    }
    return WorkerError(
      (someIsLate
        ? "\(Self.ranks(silent)) of \(size) did not answer in \(Self.inWords(timeout)): hanging, or the machine or its network is gone"
        : "\(Self.ranks(silent)) of \(size) \(silent.count == 1 ? "was" : "were") lost: the process ended or was killed, or its machine is gone "
          + "(\(first))") + Self.advice,
      rank: silent.first)
  }

  private func farewell(to others: [Int], seconds: Double) {
    Self.farewell(environment, store, to: others, seconds: seconds)
  }

  /// Who keeps the store goes last, when those have looked into it who still can.
  private static func farewell(
    _ environment: WorkerEnvironment, _ store: KeyValueStore, to others: [Int], seconds: Double
  ) {
    try? store.set("left/\(environment.rank)", "")
    guard environment.keepsStore else { return }
    let clock = ContinuousClock()
    let end = clock.now + .seconds(seconds)
    for other in others where other != environment.rank {
      let left = (end - clock.now) / .seconds(1)
      if left > 0 { _ = try? store.text("left/\(other)", seconds: left) }
    }
  }

  static func ranks(_ ranks: [Int]) -> String {
    (ranks.count == 1 ? "rank " : "ranks ") + ranks.map(String.init).joined(separator: ", ")
  }

  static func inWords(_ seconds: Double) -> String {
    let text = seconds == seconds.rounded() ? "\(Int(seconds))" : "\(seconds)"
    return "\(text) s (--worker-timeout)"
  }
}
